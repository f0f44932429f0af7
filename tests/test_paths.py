"""Beliefs along paths: SPM's T-maze number for number; without its quirks, exact answers, bounds, policies of several steps,
factors that move each other, outcomes that were not seen, and bits.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from worlds import columns, random_controls, random_outcomes, random_world

from activebmr import POMDP
from activebmr.inference.knowledge import Knowledge, Memory
from activebmr.inference.paths import PathCounts, Paths, PathSettings
from activebmr.inference.paths.climbing import short_softmax
from activebmr.inference.paths.transitions import Transitions
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.layout import layouts_of
from activebmr.planning.paths.along import AlongPaths
from activebmr.planning.paths.inference import PathInference
from activebmr.planning.preferences import log_preferences

GAINS = ("state", "param")


def tables_of(model, n_agents=1):
    layouts = layouts_of(model)
    return [
        KnownTable(model.A[m], layouts[m])
        if counts is None
        else CountTable.start(counts, layouts[m], n_agents, None, float("inf"))
        for m, counts in enumerate(model.pA)
    ]


def engine(model, times, settings=None, gains=GAINS, gamma=1.0):
    return PathInference(model, times, gains, gamma, lambda t: log_preferences(model, t), settings or PathSettings())


def live(inference, outcomes, controls, n_agents, tables=None, counts=None):
    """Through a trial ``outcomes[t][m]``, ``controls[t]``: the paths, and the reports of all times."""
    tables = tables_of(inference.model, n_agents) if tables is None else tables
    paths, reports = Paths(counts=counts), []
    for t, seen in enumerate(outcomes):
        reports.append(inference.advance(paths, tables, controls[t - 1] if t else None, list(seen)))
    return paths, reports


# --- SPM -----------------------------------------------------------------------------------------------------------------
def t_maze(z):
    """The model of SPM's files, the scheme, and what its agent begins with."""
    norm = lambda d: d / d.sum()  # noqa: E731
    learned = [z.get("in_a1"), z.get("in_a2")]
    wants = [np.log(np.exp(c - c.max(axis=0)) / np.exp(c - c.max(axis=0)).sum(axis=0)) for c in (z["in_C1"], z["in_C2"])]
    model = POMDP(
        A=[None if a is not None else z[f"in_A{m + 1}"] for m, a in enumerate(learned)],
        B=[z["in_B1"], z["in_B2"][:, :, None]],
        C=[c.T for c in wants],
        D=[norm(z["in_D1"]), norm(z["in_D2"])],
        pA=learned,
        policies=z["in_V"].astype(int).transpose(1, 0, 2) - 1,
    )
    settings = PathSettings.spm(**{name: float(z[f"par_{name}"]) for name in ("tau", "erp", "zeta", "beta", "eta")})
    inference = PathInference(model, 3, GAINS, 1.0, lambda t: [c[:, t] for c in wants], settings)
    counts = PathCounts.start(
        model,
        1,
        [z["in_b1"], z["in_b2"][:, :, None]] if "in_b1" in z else None,
        [z["in_d1"], z["in_d2"]] if "in_d1" in z else None,
        z.get("in_e"),
    )
    return inference, counts


def check_step(inference, z, i, t, paths, report):
    """Everything that SPM reports of one outcome of one trial."""
    where, same = f"trial {i}, time {t}", {"rtol": 0, "atol": 1e-9}
    _, free_energy, evaluation = report
    again, policies = inference.ascend(paths, record=True), paths.policies
    assert_allclose(again.evidence[0], z["F"][i, :, t], err_msg=f"F, {where}", **same)
    assert_allclose(evaluation.neg_efe[0], z["G"][i, :, t], err_msg=f"G, {where}", **same)
    assert_allclose(evaluation.q_pi[0], z["R"][i, :, t], err_msg=f"R, {where}", **same)
    assert_allclose(-free_energy[0], z["H"][i, t], err_msg=f"H, {where}", **same)
    assert_allclose(policies.precision[0], z["w"][i, t], err_msg=f"w, {where}", **same)
    span = slice(16 * t, 16 * t + 16)
    assert_allclose(policies.precisions[0], z["wn"][i, span], err_msg=f"wn, {where}", **same)
    assert_allclose(policies.posteriors[0].T, z["un"][i, :, span], err_msg=f"un, {where}", **same)
    for f in range(2):
        for name, held in (("xn", [s.x for s in again.steps]), ("vn", [s.errors for s in again.steps])):
            if f"{name}{f + 1}" in z:
                average = np.stack([np.tensordot(evaluation.q_pi[0], step[f][0], 1) for step in held])
                wanted = z[f"{name}{f + 1}"][i, ..., t].transpose(0, 2, 1)
                assert_allclose(average, wanted, err_msg=f"{name}{f + 1}, {where}", **same)
    if t < 2:
        controls, chance = inference.action_probabilities(paths, float(z["par_alpha"]))
        assert_allclose(chance[0], z["P"][i, controls[:, 0], 0, t], err_msg=f"P, {where}", **same)


@pytest.mark.parametrize("name", ["X_demo", "X_knowing", "X_habit", "X_ab"])
def test_spms_t_maze_number_for_number(spm, name):
    z, same = spm(name), {"rtol": 0, "atol": 1e-9}
    inference, counts = t_maze(z)
    tables, layouts = tables_of(inference.model), layouts_of(inference.model)
    for i in range(len(z["o"])):
        paths = Paths(counts=counts)
        for t in range(3):
            done = z["u"][i, :, t - 1].astype(int)[None] - 1 if t else None
            report = inference.advance(paths, tables, done, list(z["o"][i, :, t].astype(int)[:, None] - 1))
            check_step(inference, z, i, t, paths, report)
        counts = inference.learn(paths)
        for f in range(2):
            assert_allclose(paths.beliefs[f][0].T, z[f"X{f + 1}"][i], err_msg=f"X, trial {i}", **same)
            assert_allclose(paths.x[f][0].transpose(2, 1, 0), z[f"Q{f + 1}"][i], err_msg=f"Q, trial {i}", **same)
            for letter, held in (("b", counts.pB[f]), ("d", counts.pD[f])):
                if held is not None:
                    after = z[f"post_{letter}{f + 1}"][i]
                    assert_allclose(held[0].reshape(after.shape), after, err_msg=f"{letter}, trial {i}", **same)
        if counts.pE is not None:
            assert_allclose(counts.pE[0], z["post_e"][i], err_msg=f"e, trial {i}", **same)
        for m in inference.model.learned_modalities:
            before = tables[m].tensor()
            a = before + (before > 0) * inference.settings.eta * inference.lessons(paths, paths.beliefs, m)
            assert_allclose(a[0], z[f"post_a{m + 1}"][i], err_msg=f"a, trial {i}", **same)
            tables[m].replace(np.arange(1), layouts[m].columns(a), np.arange(layouts[m].n_states))


def test_all_that_spm_learns_moved(spm):
    """It was no trivial agreement: every table changed, policies were dropped, and precision moved."""
    z = spm("X_ab")
    for letter in "abd":
        assert all(np.abs(z[f"post_{letter}{f}"][-1] - z[f"in_{letter}{f}"]).max() > 0.1 for f in (1, 2))
    assert (spm("X_demo")["R"][:, :, 2] == 0).any() and np.ptp(spm("X_demo")["w"]) > 0.1


# --- exact answers -------------------------------------------------------------------------------------------------------
def paths_of_states(model, outcomes, controls):
    """log p(path, outcomes) of every path of joint states of one agent ``(n_joint,) * times``, by enumeration."""
    sizes = model.num_states
    states = list(itertools.product(*(range(n) for n in sizes)))

    def likely(o, s):
        shown = [a[(o[m], *(s[f] for f in model.A_dependencies[m]))] for m, a in enumerate(model.A) if o[m] >= 0]
        return np.prod(shown)

    def step(s, r, u):
        return np.prod([b[(r[f], *(s[g] for g in model.B_dependencies[f]), u[f])] for f, b in enumerate(model.B)])

    p = np.array([np.prod([d[s[f]] for f, d in enumerate(model.D)]) * likely(outcomes[0], s) for s in states])
    for t in range(1, len(outcomes)):
        move = np.array([[step(s, r, controls[t - 1]) * likely(outcomes[t], r) for r in states] for s in states])
        p = p[..., None] * move
    return states, p


def smoothed(model, outcomes, controls):
    """Exact factor marginals of every time ``[f] (times, S_f)``, and the log evidence."""
    states, p = paths_of_states(model, outcomes, controls)
    total, out = p.sum(), []
    for f, n in enumerate(model.num_states):
        member = np.eye(n)[[s[f] for s in states]]
        moments = [p.sum(axis=tuple(k for k in range(p.ndim) if k != t)) @ member for t in range(p.ndim)]
        out.append(np.array(moments) / total)
    return out, np.log(total)


def trial(rng, model, times):
    outcomes = [[int(rng.integers(n)) for n in model.num_outcomes] for _ in range(times)]
    return outcomes, [[int(rng.integers(n)) for n in model.num_controls] for _ in range(times - 1)]


def one_agent(inference, outcomes, controls):
    return live(inference, [[np.array([o]) for o in seen] for seen in outcomes], [np.array([u]) for u in controls], 1)


def forgetful(rng, sizes=(3, 2)):
    """Factors that each control puts somewhere by chance, whatever was before, each with a modality of its own."""
    b = [np.repeat(columns(rng, (n, 1, 2), 0.0), n, axis=1) for n in sizes]
    a = [columns(rng, (3, n), 0.0) for n in sizes]
    d = [columns(rng, (n,), 0.0) for n in sizes]
    return POMDP(A=a, B=b, D=d, A_dependencies=[[f] for f in range(len(sizes))])


@pytest.mark.parametrize("seed", range(5))
def test_mean_field_is_exact_where_moments_and_factors_are_independent(seed):
    """Then beliefs are the exact smoothed ones, and free energy is minus the log evidence."""
    rng = np.random.default_rng(seed)
    model = forgetful(rng)
    outcomes, controls = trial(rng, model, 4)
    exact, log_evidence = smoothed(model, outcomes, controls)
    paths, reports = one_agent(engine(model, 4, PathSettings(messages="mean-field")), outcomes, controls)
    for f in range(2):
        assert_allclose(paths.beliefs[f][0], exact[f], atol=1e-9)
    assert_allclose(-reports[-1][1][0], log_evidence, atol=1e-9)


@pytest.mark.parametrize("tau", [1.0, 3.0])
@pytest.mark.parametrize("seed", range(12))
def test_under_mean_field_free_energy_bounds_surprise_and_never_rises(seed, tau):
    rng = np.random.default_rng(seed)
    model = random_world(seed, max_factors=2)
    possible = lambda tables: [0.9 * x + 0.1 / len(x) for x in tables]  # noqa: E731
    model = model.with_(pA=None, A=possible(model.A), B=possible(model.B), D=possible(model.D))
    outcomes, controls = trial(rng, model, 3)
    _, log_evidence = smoothed(model, outcomes, controls)
    inference = engine(model, 3, PathSettings(messages="mean-field", tau=tau))
    paths, _ = one_agent(inference, outcomes, controls)
    rising = np.array([step.evidence[0, 0] for step in inference.ascend(paths, record=True).steps])
    assert (np.diff(rising) >= -1e-9).all()
    assert rising[-1] <= log_evidence + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_one_outcome_is_answered_by_bayes_rule(seed):
    rng = np.random.default_rng(seed)
    model = POMDP(A=[columns(rng, (4, 3), 0.0)], B=[columns(rng, (3, 3, 2), 0.0)], D=[columns(rng, (3,), 0.0)])
    outcomes, _ = trial(rng, model, 1)
    exact, log_evidence = smoothed(model, outcomes, [])
    paths, reports = one_agent(engine(model, 1), outcomes, [])
    assert_allclose(paths.beliefs[0][0], exact[0], atol=1e-12)
    assert_allclose(-reports[0][1][0], log_evidence, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_a_state_that_is_always_seen_costs_what_its_path_is_worth(seed):
    """Likelihoods, initial states and every transition count once: free energy is minus log p(path)."""
    rng = np.random.default_rng(seed)
    model = POMDP(A=[np.eye(3)], B=[columns(rng, (3, 3, 2), 0.0)], D=[columns(rng, (3,), 0.0)])
    outcomes, controls = trial(rng, model, 4)
    exact, log_evidence = smoothed(model, outcomes, controls)
    paths, reports = one_agent(engine(model, 4), outcomes, controls)
    assert_allclose(paths.beliefs[0][0], exact[0], atol=1e-9)
    assert_allclose(-reports[-1][1][0], log_evidence, atol=1e-9)


@pytest.mark.parametrize("times", [2, 4])
def test_news_travels_back_through_certain_moves(times):
    """A place that moves round in a circle, seen only at the end: every moment is known, to 0.1%, for certainty halves in log
    odds with every moment.
    """
    circle = np.roll(np.eye(3), 1, axis=0)[:, :, None]
    model = POMDP(A=[np.eye(3)], B=[circle], D=[[0.5, 0.3, 0.2]])
    outcomes = [[-1]] * (times - 1) + [[2]]
    exact, _ = smoothed(model, outcomes, [[0]] * times)
    paths, _ = one_agent(engine(model, times), outcomes, [[0]] * times)
    assert_allclose(paths.beliefs[0][0], exact[0], atol=1e-3)


# --- factors that move each other ----------------------------------------------------------------------------------------
def follower():
    """A leader that goes where it is told, and a follower that goes where the leader was."""
    go = np.zeros((3, 3, 3))
    for u in range(3):
        go[u, :, u] = 1.0
    follow = np.eye(3)[:, :, None]
    return POMDP(
        A=[np.eye(3), np.eye(3)], B=[go, follow], A_dependencies=[[0], [1]], B_dependencies=[[0], [0]], policy_length=2
    )


def test_a_leader_is_known_by_its_follower_and_the_follower_by_its_leader():
    inference = engine(follower(), 3)
    paths, _ = one_agent(inference, [[1, -1], [-1, -1], [-1, 2]], [[2, 0], [0, 0]])
    leader, behind = paths.beliefs[0][0].argmax(axis=1), paths.beliefs[1][0].argmax(axis=1)
    assert_array_equal(leader, [1, 2, 0])
    assert_array_equal(behind[1:], [1, 2])
    assert_allclose(paths.beliefs[1][0, 0], 1 / 3, atol=1e-9)  # nobody says where it came from
    # ... and what is seen of the follower tells where the leader was, though nothing else does
    hidden = engine(follower().with_(B=[np.full((3, 3, 3), 1 / 3), follower().B[1]]), 2)
    paths, _ = one_agent(hidden, [[-1, -1], [-1, 2]], [[0, 0]])
    assert_allclose(paths.beliefs[0][0, 0], np.eye(3)[2], atol=1e-6)


def test_what_a_follower_will_show_is_worth_what_it_is_wanted():
    """After two moves it is where the leader goes first."""
    model = follower().with_(C=[None, [0.0, 1.0, 3.0]])
    inference = engine(model, 3, gains=())
    paths, reports = one_agent(inference, [[0, 1]], [])
    log_c = np.log(np.exp([0.0, 1.0, 3.0]) / np.exp([0.0, 1.0, 3.0]).sum())
    expected = [2 * -np.log(3) + log_c[0] + log_c[first] for first in model.policies[:, 0, 0]]
    assert_allclose(reports[0][2].neg_efe[0], expected, atol=1e-9)
    controls, chance = inference.action_probabilities(paths, alpha=None)
    assert_array_equal(controls[chance[0].argmax()], [2, 0])


@pytest.mark.parametrize("logs", [False, True])
def test_messages_between_any_factors_are_the_sums_that_they_should_be(rng, logs):
    sizes, deps = (2, 3, 2), [[1, 0], [2], [0, 2, 1]]
    b = [columns(rng, (sizes[f], *(sizes[g] for g in d), 2), 0.0) for f, d in enumerate(deps)]
    model = POMDP(A=[np.ones((1, *sizes))], B=b, B_dependencies=deps)
    rules = Transitions(model, expected_logs=logs)
    here, after = ([rng.dirichlet(np.ones(n), size=(5, 2)) for n in sizes] for _ in range(2))
    control = rng.integers(2, size=(5, 2, 3))
    named = dict(zip(range(3), "abc", strict=True))
    for f, d in enumerate(deps):
        for i, k in itertools.product(range(5), range(2)):
            inside = "".join(named[g] for g in d)
            held = [here[g][i, k] for g in d]
            chosen = [np.log(x + 1e-16) if logs else x for x in b]
            table = chosen[f][..., control[i, k, f]]
            found = np.einsum(f"s{inside},{','.join(inside)}->s", table, *held)
            assert_allclose(rules.from_before(f, control[..., f], here)[i, k], found if logs else np.log(found + 1e-16))
            total = 0.0
            for child, parents in enumerate(deps):
                if f in parents:
                    table = chosen[child][..., control[i, k, child]]
                    axis = 1 + parents.index(f)
                    if not logs:
                        table = table / table.sum(axis=axis, keepdims=True)
                    inside = "".join(named[g] for g in parents)
                    rest = [named[g] for g in parents if g != f]
                    heard = np.einsum(
                        f"s{inside},s{''.join(',' + r for r in rest)}->{named[f]}",
                        table,
                        after[child][i, k],
                        *(here[g][i, k] for g in parents if g != f),
                    )
                    total = total + (heard if logs else np.log(heard + 1e-16))
            assert_allclose(rules.from_after(f, control, here, after)[i, k], total)


# --- policies of several steps -------------------------------------------------------------------------------------------
def entropy(p):
    p = np.asarray(p).ravel()
    return -(p[p > 0] * np.log(p[p > 0])).sum()


def worth_by_hand(model, q, policy, times, t):
    """Utility and joint information gain of a policy's steps from beliefs q[f] at time t, as far as the trial goes."""
    utility = gain = 0.0
    for h in range(min(len(policy), times - 1 - t)):
        joint_before = q[0]
        for x in q[1:]:
            joint_before = np.multiply.outer(joint_before, x)
        after = []
        for f, b in enumerate(model.B):
            deps = model.B_dependencies[f]
            table = b[..., policy[h][f]]
            product = q[deps[0]]
            for g in deps[1:]:
                product = np.multiply.outer(product, q[g])
            after.append(np.tensordot(table, product, product.ndim))
        q = after
        states = list(itertools.product(*(range(n) for n in model.num_states)))
        weight = np.array([np.prod([q[f][s[f]] for f in range(len(q))]) for s in states])
        shown = []
        for s in states:
            p = np.ones(1)
            for m, a in enumerate(model.A):
                p = np.multiply.outer(p, a[(slice(None), *(s[f] for f in model.A_dependencies[m]))])
            shown.append(p.ravel())
        shown = np.array(shown)
        mixed = weight @ shown
        gain += entropy(mixed) - weight @ [entropy(p) for p in shown]
        wants = log_preferences(model, t + h + 1)
        for m, a in enumerate(model.A):
            seen = sum(
                w * a[(slice(None), *(s[f] for f in model.A_dependencies[m]))] for w, s in zip(weight, states, strict=True)
            )
            utility += seen @ wants[m]
    return utility, gain


@pytest.mark.parametrize("length", [2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_policies_of_several_steps_are_worth_what_they_bring_until_the_trial_ends(seed, length):
    rng = np.random.default_rng(seed)
    model = random_world(seed, max_factors=2, policy_length=length, max_controls=2).with_(pA=None)
    times = 4
    inference = engine(model, times, gains=("state",))
    outcomes, controls = trial(rng, model, times)
    paths, reports = one_agent(inference, outcomes, controls)
    for t, (qs, _, evaluation) in enumerate(reports):
        for k, policy in enumerate(model.policies):
            utility, gain = worth_by_hand(model, [q[0] for q in qs], policy, times, t)
            assert_allclose(evaluation.terms.utility[0, k], utility, atol=1e-10)
            assert_allclose(evaluation.terms.state[0, k], gain, atol=1e-10)
        assert_allclose(evaluation.neg_efe[0], (evaluation.terms.utility + evaluation.terms.state)[0])
    assert_array_equal(reports[-1][2].neg_efe, 0.0)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_with_spms_quirks_policies_ahead_of_any_length_tell_the_same_past_the_same(length):
    """Where nothing is uncertain, more steps change nothing about the present."""
    go = np.stack([np.roll(np.eye(4), u, axis=0) for u in range(2)], axis=2)
    model = POMDP(A=[np.eye(4)], B=[go], policy_length=length)
    _, reports = one_agent(engine(model, 5, PathSettings.curiosity()), [[0], [1], [1]], [[1], [0]])
    for t, place in enumerate([0, 1, 1]):
        assert_allclose(reports[t][0][0], np.eye(4)[[place]], atol=1e-5)
    assert reports[0][2].q_pi.shape == (1, 2**length)


def test_policies_of_a_trial_are_given_up_when_something_else_was_done():
    go = np.stack([np.roll(np.eye(4), u, axis=0) for u in range(2)], axis=2)
    model = POMDP(A=[np.eye(4)], B=[go], policy_length=2, C=[[0.0, 0.0, 1.0, 0.0]])
    inference = engine(model, 3, PathSettings(policies="trial"))
    paths, reports = one_agent(inference, [[0], [1], [1]], [[1], [0]])
    q = np.array([r[2].q_pi[0] for r in reports])
    assert (q[0] > 0).all() and q[0].argmax() == 3
    assert_array_equal(q[1] > 0, [False, False, True, True])
    assert_array_equal(q[2] > 0, [False, False, True, False])
    assert_array_equal(inference.moves(paths)[:, 0], [0, 1, 0, 1])
    # whoever does what no policy does keeps them all
    rare = engine(model.with_(policies=model.policies[:1]), 3, PathSettings(policies="trial"))
    assert_allclose(one_agent(rare, [[0], [1]], [[1]])[1][1][2].q_pi, 1.0)


def test_unlikely_policies_of_a_trial_can_be_dropped():
    go = np.stack([np.roll(np.eye(4), u, axis=0) for u in range(2)], axis=2)
    model = POMDP(A=[np.eye(4)], B=[go], policy_length=2, C=[[0.0, 0.0, 8.0, 0.0]])
    inference = engine(model, 3, PathSettings(policies="trial", zeta=3.0))
    paths, reports = one_agent(inference, [[0], [1]], [[1]])
    assert_array_equal(paths.kept[0], [False, False, False, True])
    assert_array_equal(reports[1][2].q_pi[0], [0, 0, 0, 1])
    assert_array_equal(reports[1][2].path_evidence[0][:3], -np.inf)
    assert np.isfinite(reports[1][2].path_evidence[0][3])


@pytest.mark.parametrize("seed", range(3))
def test_actions_have_the_probabilities_of_the_policies_that_begin_with_them(seed):
    rng = np.random.default_rng(seed)
    model = random_world(seed, max_factors=2, policy_length=2)
    inference = engine(model, 3, gamma=np.array([0.5, 2.0, np.inf]))
    paths, _ = live(inference, [random_outcomes(rng, model, 3)], [], 3)
    controls, chance = inference.action_probabilities(paths, alpha=np.array([1.0, 2.0, np.inf]))
    q = paths.policies.q_pi
    mass = np.array([[q[i][(model.policies[:, 0] == c).all(axis=1)].sum() for c in controls] for i in range(3)])
    assert_allclose(chance[0], mass[0], atol=1e-12)
    assert_allclose(chance[1], mass[1] ** 2 / (mass[1] ** 2).sum(), atol=1e-12)
    assert_allclose(chance.sum(axis=1), 1.0)
    assert_allclose(chance[2], (mass[2] > mass[2].max() - 1e-9) / (mass[2] > mass[2].max() - 1e-9).sum())
    _, best = inference.action_probabilities(paths)
    assert_array_equal(best.sum(axis=1), 1.0)
    with pytest.raises(ValueError, match="alpha must be > 0"):
        inference.action_probabilities(paths, alpha=0.0)
    with pytest.raises(ValueError, match="paths must have seen an outcome"):
        inference.action_probabilities(Paths())


def test_what_must_never_be_costs_nothing_where_it_cannot_be():
    go = np.stack([np.roll(np.eye(3), u, axis=0) for u in range(2)], axis=2)
    model = POMDP(A=[np.eye(3)], B=[go], C=[[0.0, -np.inf, 0.0]])
    _, reports = one_agent(engine(model, 2, PathSettings(iterations=64)), [[0]], [])
    assert_allclose(reports[0][2].q_pi, [[1.0, 0.0]], atol=1e-12)


# --- precision -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(4))
def test_precision_is_where_its_free_energy_is_least(seed):
    """Rate = beta - (posterior - prior) . worth; having done what leads to what is worth much makes confident."""
    go = np.stack([np.roll(np.eye(4), u, axis=0) for u in range(2)], axis=2)
    rng = np.random.default_rng(seed)
    policies = np.array([[[0], [0]], [[0], [1]], [[1], [1]]])
    model = POMDP(A=[columns(rng, (4, 4), 0.0)], B=[go], policies=policies, C=[rng.normal(size=4) / 2])
    inference = engine(model, 3, PathSettings(policies="trial", beta=1.0, iterations=200))
    for done in (0, 1):
        paths, reports = one_agent(inference, [[1], [2]], [[done]])
        policies, worth = paths.policies, reports[1][2].neg_efe[0]
        drive = (policies.q_pi[0] - policies.prior[0]) @ worth
        assert_allclose(policies.rate[0], 1.0 - drive, atol=1e-9)
        assert (policies.precision[0] > 1) == (drive > 0)
        log_prior = worth * policies.precision[0]
        assert_allclose(policies.prior[0], np.exp(log_prior) / np.exp(log_prior).sum(), atol=1e-9)


def test_without_evidence_about_policies_precision_stays_as_it_was():
    """Policies from now on all share the past, which says nothing about what comes."""
    model = random_world(3, max_factors=2, policy_length=2)
    rng = np.random.default_rng(0)
    inference = engine(model, 4, PathSettings(beta=0.5))
    outcomes = [random_outcomes(rng, model, 6) for _ in range(3)]
    paths, reports = live(inference, outcomes, [random_controls(rng, model, 6) for _ in range(2)], 6)
    assert_allclose(paths.policies.precision, 2.0, rtol=1e-12)
    assert np.isfinite(reports[-1][1]).all()


# --- what is learned -----------------------------------------------------------------------------------------------------
def test_what_is_seen_to_happen_is_counted_where_it_happened():
    """A place that is always seen: transitions, initial states and policies are counted as they were."""
    model = POMDP(A=[np.eye(3)], B=[np.full((3, 3, 2), 1 / 3)], policy_length=3)
    inference = engine(model, 4, PathSettings(policies="trial", eta=0.5))
    prior_b = np.ones((3, 3, 2))
    prior_b[2, 0, 1] = 0.0
    counts = PathCounts.start(model, 1, [prior_b], [np.array([1.0, 1.0, 2.0])], np.ones(8))
    paths, _ = live(inference, [[np.array([o])] for o in (0, 1, 1, 2)], [np.array([[u]]) for u in (1, 0, 1)], 1, counts=counts)
    after = inference.learn(paths)
    expected = prior_b.copy()
    for before, now, u in ((0, 1, 1), (1, 1, 0), (1, 2, 1)):
        expected[now, before, u] += 0.5
    assert_allclose(after.pB[0][0], expected, atol=1e-6)
    assert_allclose(after.pD[0][0], [1.5, 1.0, 2.0], atol=1e-6)
    assert_allclose(after.pE[0], 1.0 + 0.5 * np.eye(8)[0b101], atol=1e-9)
    assert_array_equal(counts.pB[0][0], prior_b)
    with pytest.raises(ValueError, match="paths must have counts"):
        inference.learn(Paths())


def test_transitions_never_tried_are_worth_trying():
    model = POMDP(A=[np.eye(2)], B=[np.full((2, 2, 2), 0.5)])
    prior = np.ones((2, 2, 2))
    prior[..., 0] = 20.0
    inference = engine(model, 2, gains=("param",))
    counts = PathCounts.start(model, 1, [prior])
    _, reports = live(inference, [[np.array([0])]], [], 1, counts=counts)
    gain = reports[0][2].terms.param[0]
    # the expected divergence of two counts from themselves with one more, by quadrature of nothing: closed form for (1, 1)
    assert_allclose(gain[1], np.log(2) - 0.5, atol=1e-9)
    assert gain[1] > 10 * gain[0] > 0


@pytest.mark.parametrize(
    "given, message",
    [
        ({"pB": [np.ones((2, 2))]}, r"pB\[0\] must have shape \(2, 2, 2\); got \(2, 2\)"),
        ({"pB": []}, r"pB must have one entry per factor \(1\); got 0"),
        ({"pD": [np.array([1.0, -1.0])]}, r"pD\[0\] must hold finite counts >= 0; got -1.0"),
        ({"pB": [np.zeros((2, 2, 2))]}, r"pB\[0\] must have some count in every column"),
        ({"pE": np.ones(3)}, r"pE must have shape \(2,\); got \(3,\)"),
    ],
)
def test_counts_that_do_not_fit_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        PathCounts.start(POMDP(A=[np.eye(2)], B=[np.full((2, 2, 2), 0.5)]), 3, **given)


# --- outcomes that were not seen -----------------------------------------------------------------------------------------
SCHEMES = {
    "marginal": PathSettings(),
    "mean-field": PathSettings(messages="mean-field"),
    "trial": PathSettings(policies="trial", beta=1.0, zeta=4.0),
    "spm": PathSettings.spm(),
    "curiosity": PathSettings.curiosity(),
}


def world(seed, name, times=3):
    length = times - 1 if SCHEMES[name].policies == "trial" else 1 + seed % 2
    return random_world(seed, max_factors=2, policy_length=length, max_controls=2)


@pytest.mark.parametrize("form", ["-1", "nan"])
@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("seed", range(3))
def test_what_was_not_seen_changes_nothing(seed, name, form):
    """As if the modality had told nothing: a second one that shows the same in all states, less the surprise at that."""
    model, rng = world(seed, name), np.random.default_rng(seed)
    known = [None if p is not None else a for a, p in zip(model.A, model.pA, strict=True)]
    more = {"pA": [*model.pA, None], "C": [*model.C, None], "A_dependencies": [*model.A_dependencies, [0]], "labels": {}}
    dull = model.with_(A=[*known, np.ones((1, model.num_states[0]))], **more)
    half = model.with_(A=[*known, columns(rng, (2, model.num_states[0]))], **more)
    outcomes = [random_outcomes(rng, model, 4) for _ in range(3)]
    controls = [random_controls(rng, model, 4) for _ in range(2)]
    missing = np.full(4, -1) if form == "-1" else np.full((4, 2), np.nan)
    a, _ = live(engine(dull, 3, SCHEMES[name], gains=()), [[*o, np.zeros(4, dtype=int)] for o in outcomes], controls, 4)
    inference = engine(half, 3, SCHEMES[name], gains=())
    b, _ = live(inference, [[*o, missing] for o in outcomes], controls, 4)
    for t in range(3):
        assert_allclose(a.likelihoods[t], b.likelihoods[t], rtol=1e-12)
    assert_array_equal(inference.lessons(b, b.beliefs, model.num_modalities), 0.0)
    if name in ("marginal", "mean-field"):  # elsewhere what is expected of the modality bears upon policies and so on states
        for f in range(model.num_factors):
            assert_allclose(a.beliefs[f], b.beliefs[f], rtol=1e-9, atol=1e-12)


def test_an_agent_that_sees_nothing_goes_by_what_it_did():
    go = np.stack([np.roll(np.eye(4), u, axis=0) for u in range(2)], axis=2)
    model = POMDP(A=[np.eye(4)], B=[go], D=[[1.0, 0.0, 0.0, 0.0]])
    paths, reports = one_agent(engine(model, 4), [[-1], [-1], [-1], [-1]], [[1], [0], [1]])
    assert_allclose(paths.beliefs[0][0], np.eye(4)[[0, 1, 1, 2]], atol=1e-6)
    assert_allclose([r[1][0] for r in reports], 0.0, atol=1e-9)


def test_the_impossible_is_noticed():
    go = np.stack([np.roll(np.eye(4), u, axis=0) for u in range(2)], axis=2)
    model = POMDP(A=[np.eye(4)], B=[go], D=[[1.0, 0.0, 0.0, 0.0]])
    inference, tables = engine(model, 4), tables_of(model)
    paths, found = Paths(), []
    for t, o in enumerate([0, 2, 3, 0]):
        inference.advance(paths, tables, np.array([[1]]) if t else None, [np.array([o])])
        found.append(bool(paths.impossible[0]))
    assert found == [False, True, False, False]  # having found itself in 2, it goes on from there


def test_what_is_called_impossible_is(rng):
    """Until the first impossible outcome, by enumeration of all paths; what can be is never called impossible."""
    found = []
    for seed in range(60):
        model = random_world(seed, max_factors=2).with_(pA=None)
        outcomes, controls = trial(rng, model, 3)
        inference, tables, paths = engine(model, 3), tables_of(model), Paths()
        for t, seen in enumerate(outcomes):
            inference.advance(paths, tables, np.array([controls[t - 1]]) if t else None, [np.array([o]) for o in seen])
            possible = paths_of_states(model, outcomes[: t + 1], controls)[1].sum() > 0
            found.append((bool(paths.impossible[0]), bool(possible)))
            assert found[-1] != (True, True)
            if not possible:
                break
    assert found.count((True, False)) > 10 * found.count((False, False))


# --- bits ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("seed", range(4))
def test_agent_k_is_the_same_in_any_batch(seed, name, learns):
    model, rng, n = world(seed, name), np.random.default_rng(seed), 24
    inference = engine(model, 3, SCHEMES[name])
    trials = [
        ([random_outcomes(rng, model, n, soft=True) for _ in range(3)], [random_controls(rng, model, n) for _ in range(2)])
        for _ in range(2)
    ]
    for outcomes, _ in trials:
        for seen in outcomes:
            for o in seen:
                if o.ndim == 1:
                    o[rng.random(n) < 0.2] = -1

    def life(who):
        b, d, e = [2 * b + 1 for b in model.B], [d + 1 for d in model.D], np.ones(len(model.policies))
        counts = PathCounts.start(model, len(who), b, d, e)
        out = []
        for outcomes, controls in trials:
            seen = [[o[who] for o in time] for time in outcomes]
            paths, reports = live(inference, seen, [u[who] for u in controls], len(who), counts=counts if learns else None)
            counts = inference.learn(paths) if learns else counts
            for q, free_energy, evaluation in reports:
                out += [*q, free_energy, evaluation.neg_efe, evaluation.q_pi, evaluation.terms.param]
            out += [*paths.x, inference.action_probabilities(paths, 3.0)[1], paths.policies.precision, *counts.pB, *counts.pD]
            out += [inference.lessons(paths, paths.beliefs, m) for m in range(model.num_modalities)]
        return out

    crowd = life(np.arange(n))
    for k in (0, 7, n - 1):
        for whole, few, single in zip(crowd, life(np.array([(k + 5) % n, k])), life(np.array([k])), strict=True):
            assert_array_equal(whole[k], single[0])
            assert_array_equal(few[1], single[0])


def test_agent_k_is_the_same_in_any_batch_where_policies_part(monkeypatch):
    """Some policies of some agents stall early, and from then on have a past of their own: still one life for each."""
    climb, parted = PathInference._climb, set()

    def spy(self, paths, route, j, likelihood, moving, errors):
        if moving.shape[1] > 1:
            parted.update((len(moving), bool(p)) for p in (moving != moving[:, :1]).any(axis=1))
        return climb(self, paths, route, j, likelihood, moving, errors)

    monkeypatch.setattr(PathInference, "_climb", spy)
    for seed in range(3):
        model, rng = random_world(seed, max_factors=3), np.random.default_rng(seed)
        inference = engine(model, 3, PathSettings.curiosity(stall=0.05))
        outcomes = [random_outcomes(rng, model, 64) for _ in range(3)]
        controls = [random_controls(rng, model, 64) for _ in range(2)]
        crowd, _ = live(inference, outcomes, controls, 64)
        for k in (0, 1, 63):
            alone, _ = live(inference, [[o[[k]] for o in time] for time in outcomes], [u[[k]] for u in controls], 1)
            for f in range(model.num_factors):
                assert_array_equal(crowd.x[f][k], alone.x[f][0])
            assert_array_equal(crowd.policies.q_pi[k], alone.policies.q_pi[0])
    # it did happen: in the crowd, to some and not to others
    assert {(64, True), (64, False)} <= parted


# --- as parts of an agent ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", SCHEMES)
def test_as_a_way_of_believing_it_says_the_same(name):
    model, rng, n = world(1, name), np.random.default_rng(1), 5
    inference = engine(model, 3, SCHEMES[name])
    way, tables = AlongPaths(model, inference), tables_of(model, n)
    outcomes, controls = [random_outcomes(rng, model, n) for _ in range(3)], [random_controls(rng, model, n) for _ in range(2)]
    paths, reports = live(inference, outcomes, controls, n, tables)
    knowledge, memory = Knowledge(tables, np.full(n, -1)), Memory()
    belief = way.begin(knowledge)
    for t in range(3):
        before, done = belief, controls[t - 1] if t else None
        percept = way.perceive(belief, knowledge, done, outcomes[t])
        belief = percept.belief
        memory.add(done, outcomes[t], belief)
        assert before.paths.now == t - 1  # which has not changed
        assert_array_equal(percept.log_evidence, -reports[t][1])
        assert_array_equal(belief.evaluation.q_pi, reports[t][2].q_pi)
        for q, wanted in zip(way.marginals(belief), reports[t][0], strict=True):
            assert_array_equal(q, wanted)
    for m in model.learned_modalities:
        layout, total = layouts_of(model)[m], 0.0
        for t, moment in enumerate(way.hindsight(memory, knowledge)):
            agents, column, weight = way.places(moment, m)
            counts = np.zeros((n, layout.n_states, model.num_outcomes[m]))
            counts[agents, column, outcomes[t][m][agents]] = weight
            total = total + layout.tensor(counts)
        assert_allclose(total, inference.lessons(paths, paths.beliefs, m), atol=1e-12)


# --- refusals ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "given, message",
    [
        ({"policies": "now"}, "policies of PathSettings must be one of"),
        ({"messages": "bethe"}, "messages of PathSettings must be one of"),
        ({"iterations": 0}, "iterations of PathSettings must be a whole number >= 1; got 0"),
        ({"tau": 0.5}, "tau of PathSettings must be at least 1 and finite; got 0.5"),
        ({"zeta": 0.0}, "zeta of PathSettings must be a number > 0, or inf; got 0.0"),
        ({"zeta": 3.0}, "zeta of PathSettings drops policies of a whole trial"),
        ({"beta": 0.0}, "beta of PathSettings must be a finite number > 0; got 0.0"),
        ({"stall": 0.1}, "stall of PathSettings is one of SPM's quirks"),
        ({"eta": -1.0}, "eta of PathSettings must be a finite number >= 0; got -1.0"),
        ({"quirks": True, "messages": "mean-field"}, "messages of PathSettings must be 'marginal' with SPM's quirks"),
    ],
)
def test_settings_that_make_no_sense_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        PathSettings(**given)


def test_policies_of_a_trial_must_have_its_length():
    model = POMDP(A=[np.eye(2)], B=[np.full((2, 2, 2), 0.5)], policy_length=2)
    with pytest.raises(ValueError, match="policies of a whole trial of 4 outcomes must have 3 steps .*; got 2"):
        engine(model, 4, PathSettings.spm())


def test_softmax_of_few_numbers_bears_large_ones_wherever_they_stand():
    for at in range(4):
        x = np.array([0.0, -1.0, 1.0, 2.0]) + 1000.0 * (np.arange(4) == at)
        assert_allclose(short_softmax(np.stack([x, x - 5000.0])), [np.eye(4)[at]] * 2, atol=1e-300)
    x = np.random.default_rng(0).normal(size=(5, 3))
    assert_allclose(short_softmax(x), np.exp(x) / np.exp(x).sum(axis=1, keepdims=True), rtol=1e-14)
