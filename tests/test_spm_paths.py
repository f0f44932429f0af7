"""``inference="spm"`` gives the numbers of SPM's ``spm_MDP_VB_XXX`` on random models (data/spm/README.md): beliefs about states
and paths, expected free energy, counts of A, B, D and E, the backwards pass, and what is done.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import POMDP, Agent, HypothesisSpace, Introspection, Learning, Planner, dirichlet
from activebmr.arrays import sample
from activebmr.reduction.search.single_parameters import SingleParameters
from paradigms import three_ball

FORWARD = [f"xxx_{i:02d}" for i in range(8)]
SMOOTHED = [f"xxx_{i:02d}_smoothed" for i in (2, 3, 6, 7)]
TRIALS = 4

every_run = pytest.mark.parametrize("name", FORWARD + SMOOTHED)


def recorded(spm, name):
    """What SPM did; files of the backwards pass hold only what differs from the run without it."""
    z = dict(spm(name.removesuffix("_smoothed")))
    if name.endswith("_smoothed"):
        z |= spm(name)
        del z["v"], z["w"]
    return z


def listed(z, name, count):
    return [z.get(f"{name}{i + 1}") for i in range(count)]


def model_of(z):
    """The agent's model: counts where SPM's agent has some, and the world's tables elsewhere."""
    n_modalities, n_factors = (sum(f"in_{kind}{i}" in z for i in range(1, 9)) for kind in "AB")
    numbers = {"A": n_modalities, "B": n_factors, "D": n_factors, "E": n_factors}
    given = {}
    for kind, n in numbers.items():
        counts = listed(z, f"in_{kind.lower()}", n)
        values = listed(z, f"in_{kind}", n)
        given[kind] = [None if c is not None else v for c, v in zip(counts, values, strict=True)]
        given[f"p{kind}"] = counts
    return POMDP(
        **given,
        C=[dirichlet.safe_log(c) for c in listed(z, "in_C", n_modalities)],
        A_dependencies=[z[f"in_A{m + 1}_deps"] - 1 for m in range(n_modalities)],
        policies=np.maximum(z["V"].astype(int) - 1, 0),
    )


def agent_of(z, smooth=False, **options):
    eta = float(z["par_eta"])
    planner = Planner(depth=int(z["par_N"]), search="states", modalities="separate", extra_step=True)
    learning = Learning(retention=eta / (eta + 1), smooth=smooth)
    given = {"planner": planner, "learning": learning, "trial_length": int(z["par_T"]), **options}
    return Agent(model_of(z), inference="spm", **given)


def seen_at(z, i, t, n=1):
    """Outcomes as SPM's agent was given them, distributions in some files, for ``n`` agents."""
    return [np.repeat(z[f"O{m}"][i, :, t][None], n, axis=0) for m in range(1, 9) if f"O{m}" in z]


def done_at(z, i, t):
    return np.maximum(z["u"][i, :, t].astype(int) - 1, 0)[None]


def lived(z, agent):
    """The recorded trials, step by step: (trial, time, state, report), and at the end of each (trial, None, state, before)."""
    state = agent.init(1)
    for i in range(TRIALS):
        for t in range(int(z["par_T"])):
            state, info = agent.step(state, seen_at(z, i, t), action=done_at(z, i, t))
            yield i, t, state, info
        before = state
        state, _ = agent.end_trial(state)
        yield i, None, state, before


def same(actual, expected, what=""):
    assert_allclose(actual, expected, rtol=1e-8, atol=1e-10, err_msg=what)


def posterior(z, kind, f):
    return z[f"post_{kind.lower()}{f + 1}"]


# --- SPM's numbers -------------------------------------------------------------------------------------------------------
@every_run
def test_beliefs_and_policies(spm, name):
    z, smooth = recorded(spm, name), name.endswith("_smoothed")
    agent, factors = agent_of(z, smooth), [f for f in range(8) if f"X{f + 1}" in z]
    constant = np.log(agent.model.num_outcomes).sum()  # SPM counts it once for each step that it looks at
    for i, t, state, info in lived(z, agent):
        if t is None:
            continue
        at = f"trial {i}, time {t}"
        same(info.q_pi[0], z["R"][i, :, t], at)
        same(state.belief.path_evidence[0], z["Z"][i, t], at)
        value, g = (info.neg_efe + info.acting.evaluation.log_prior)[0], z["G"][i, :, t].copy()
        if len(g) > 1:
            cut = g < -200.0
            g -= constant * (1 + ((agent.planner.depth > 0 and t < int(z["par_T"]) - 1) & ~cut))
        same(value, g, at)
        if smooth:
            continue
        same(info.confidence[0], z["w"][i, t], at)
        same(-info.free_energy[0], z["F"][i, t], at)
        for f in factors:
            same(info.qs[f][0], z[f"X{f + 1}"][i, :, t], at)
            if t > 0:
                same(state.belief.path[f][0], z[f"P{f + 1}"][i, :, t - 1], at)


@every_run
def test_counts(spm, name):
    z = recorded(spm, name)
    agent, prior = agent_of(z, name.endswith("_smoothed")), {}
    tables = agent.model.learned
    assert {t.kind.lower() for t in tables} == set(str(z["par_learn"]))
    for i, t, state, _ in lived(z, agent):
        if t is not None:
            continue
        for table in tables:
            kind, f = table
            counts = agent.posterior_counts(state, f"p{table}")[0]
            same(counts, posterior(z, kind, f)[i], f"p{table} after trial {i}")
            before = prior.get(table, agent.model.counts_of(table))
            assert_array_equal(counts == 0, before == 0)
            same(-dirichlet.kl_divergence(counts, before).sum(), z[f"F{kind.lower()}"][i, f], f"KL of p{table}")
            prior[table] = counts


@pytest.mark.parametrize("name", SMOOTHED)
def test_backwards_pass(spm, name):
    z = recorded(spm, name)
    agent = agent_of(z, smooth=True)
    for i, t, _, before in lived(z, agent):
        if t is not None:
            continue
        beliefs = agent.hindsight(before)
        trial = agent.life.believing.backwards(before.memory, before.knowledge)
        same(trial.evidence[0], z["F"][i])
        for t in range(int(z["par_T"])):
            for f in range(agent.model.num_factors):
                same(beliefs[t][f][0], z[f"X{f + 1}"][i, :, t], f"trial {i}, time {t}")
                if t < int(z["par_T"]) - 1:
                    same(trial.path[t][f][0], z[f"P{f + 1}"][i, :, t], f"trial {i}, time {t}")


@pytest.mark.parametrize("name", FORWARD + SMOOTHED)
def test_same_random_numbers_same_life(spm, name):
    """World and agent draw from the numbers that SPM drew from, and do and see what it did, through all trials."""
    z = recorded(spm, name)
    agent, model = agent_of(z, name.endswith("_smoothed")), model_of(z)
    world = {kind: [x for x in listed(z, f"in_{kind}", 8) if x is not None] for kind in "ABDE"}
    draws, state = iter(z["draws"]), agent.init(1)
    draw = lambda p: int(sample(p[None], np.array([next(draws)]))[0])  # noqa: E731
    controlled = z["in_U"] > 0
    for i in range(TRIALS):
        controls = None
        for t in range(int(z["par_T"])):
            if t == 0:
                path = np.array([draw(e) for e in world["E"]])
                states = [draw(d) for d in world["D"]]
            else:
                for f in np.flatnonzero(controlled):
                    assert draw(np.eye(model.num_controls[f])[controls[f]]) == controls[f]
                path[controlled] = controls[controlled]
                assert_array_equal(path + 1, z["u"][i, :, t - 1])
                states = [draw(b[:, s, u]) for b, s, u in zip(world["B"], states, path, strict=True)]
            assert_array_equal(np.array(states) + 1, z["s"][i, :, t])
            outcomes = seen_at(z, i, t)
            for m, a in enumerate(world["A"]):
                chances = a[(slice(None), *(states[f] for f in model.A_dependencies[m]))]
                if "in_o" not in z:
                    assert draw(chances) + 1 == z["o"][i, m, t]
                    same(chances, outcomes[m][0])  # the distribution reaches the agent, not what was drawn from it
            last = t == int(z["par_T"]) - 1
            uniform = np.array([0.0 if last else next(draws)])
            controls = agent.life.advance(state, outcomes, uniform, None).controls[0]
        agent.life.conclude(state)
    assert next(draws, None) is None


# --- beyond SPM ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("name", ["xxx_03", "xxx_04", "xxx_07"])
def test_agents_of_a_batch_do_not_see_each_other(spm, name, smooth):
    z = recorded(spm, name)
    agent, rows = agent_of(z, smooth), np.array([0, 2, 1, 0, 3])
    together, alone = agent.init(len(rows)), [agent.init(1) for _ in rows]
    for _ in range(2):
        for t in range(int(z["par_T"])):
            every = [np.stack([seen_at(z, j, t)[m][0] for j in rows]) for m in range(agent.model.num_modalities)]
            action = np.concatenate([done_at(z, j, t) for j in rows])
            together, info = agent.step(together, every, action=action)
            for k, j in enumerate(rows):
                alone[k], own = agent.step(alone[k], seen_at(z, j, t), action=done_at(z, j, t))
                assert_array_equal(info.neg_efe[k], own.neg_efe[0])
                assert_array_equal(info.free_energy[k], own.free_energy[0])
        together, _ = agent.end_trial(together)
        for k in range(len(rows)):
            alone[k], _ = agent.end_trial(alone[k])
            for table in agent.model.learned:
                counts = [agent.posterior_counts(s, f"p{table}") for s in (together, alone[k])]
                assert_array_equal(counts[0][k], counts[1][0])


@pytest.mark.parametrize("smooth", [False, True])
def test_rates_of_tables(spm, smooth):
    z = recorded(spm, "xxx_03")
    still = agent_of(z, learning=Learning(rate={"pB[0]": 0.0, "pA": 0.0, "pD": 0.0, "pE": 0.0, "pB[1]": 2.0}, smooth=smooth))
    full = agent_of(z, learning=Learning(smooth=smooth))
    states = [agent.init(2) for agent in (still, full)]
    for t in range(int(z["par_T"])):
        for k, agent in enumerate((still, full)):
            states[k], _ = agent.step(states[k], seen_at(z, 0, t, 2), action=np.repeat(done_at(z, 0, t), 2, axis=0))
    states = [agent.end_trial(s)[0] for agent, s in zip((still, full), states, strict=True)]
    for table in full.model.learned:
        start = full.model.counts_of(table)
        grown = [agent.posterior_counts(s, f"p{table}")[0] - start for agent, s in zip((still, full), states, strict=True)]
        assert grown[1].sum() > 0.9
        assert_allclose(grown[0].sum(), {"B": {1: 2.0}}.get(table.kind, {}).get(table.index, 0.0) * grown[1].sum(), atol=1e-9)


@pytest.mark.parametrize("depth", [0, 1])
def test_where_nothing_but_likelihoods_is_learned_it_is_the_scheme_of_the_paper(depth):
    planner = Planner(depth=depth, search="states", modalities="separate", extra_step=True)
    model, learning = three_ball.naive_model(), Learning(retention=512 / 513)
    agents = [Agent(model, inference=way, planner=planner, learning=learning, trial_length=4) for way in ("sequential", "spm")]
    states, rng = [agent.init(3) for agent in agents], np.random.default_rng(0)
    for _ in range(2):
        balls, gaze, choice = rng.integers(3, size=(3, 3)), np.full(3, 3), np.full(3, 3)
        for _ in range(4):
            what = np.where(gaze < 3, balls[np.arange(3), gaze % 3], 3)
            seen = np.stack([what, gaze, np.where(choice < 3, rng.integers(1, 3, size=3), 0)], axis=1)
            gaze, choice = rng.integers(4, size=(2, 3))
            action = np.stack([gaze, choice], axis=1)
            reports = []
            for k, agent in enumerate(agents):
                states[k], info = agent.step(states[k], seen, action=action)
                reports.append(info)
            assert_allclose(reports[0].neg_efe, reports[1].neg_efe, rtol=1e-10, atol=1e-10)
            assert_allclose(reports[0].free_energy, reports[1].free_energy, rtol=1e-10, atol=1e-10)
        states = [agent.end_trial(state)[0] for agent, state in zip(agents, states, strict=True)]
    assert_allclose(*(s.counts(2) for s in states), rtol=1e-10, atol=1e-12)


def coin(**changes):
    """A place that is left or not, and a second factor with two ways to go that nobody chooses."""
    swap = np.stack([np.eye(2), np.eye(2)[::-1]], axis=2)
    given = {"A": [np.eye(2), np.eye(2)], "B": [swap, swap], "A_dependencies": [[0], [1]], "policies": [[0, 0], [1, 0]]}
    return POMDP(**{**given, **changes})


SETTINGS = {"planner": Planner(modalities="separate")}


def test_the_path_that_nobody_chooses_is_inferred():
    agent = Agent(coin(), inference="spm", **SETTINGS)
    state = agent.init()
    for t, (here, other) in enumerate([(0, 0), (0, 1), (0, 0), (0, 1)]):
        state, info = agent.step(state, [here, other], action=[0, 0])
        assert_allclose(info.qs[1], np.eye(2)[other], atol=1e-12)
        assert_allclose(state.belief.path[1][0], [0.5, 0.5] if t == 0 else [0.0, 1.0], atol=1e-12)
    assert agent.life.believing.inferred == {1}


def test_what_was_not_seen_teaches_nothing():
    counts = np.full((2, 2), 1.0)
    agent = Agent(coin(A=[None, np.eye(2)], pA=[counts, None]), inference="spm", learning=Learning(smooth=True), **SETTINGS)
    state = agent.init()
    for _ in range(3):
        state, info = agent.step(state, [-1, 0], action=[0, 0])
    assert info.free_energy == pytest.approx(0.0, abs=1e-9)
    state, _ = agent.end_trial(state)
    assert_allclose(agent.posterior_counts(state, "pA[0]")[0], counts, atol=1e-12)


def test_a_search_needs_no_known_end(spm):
    z = recorded(spm, "xxx_02")
    agent = agent_of(z, trial_length=None)
    _, info = agent.step(agent.init(), [o[0] for o in seen_at(z, 0, 0)], action=done_at(z, 0, 0)[0])
    same(info.q_pi, z["R"][0, :, 0])


def test_what_it_cannot_do_is_refused(spm):
    model = coin()
    hypotheses = HypothesisSpace({"one": {"pA[0]": np.ones((2, 2))}, "two": {"pA[0]": np.eye(2) + 0.1}})
    learning = coin(A=[None, np.eye(2)], pA=[np.ones((2, 2)), None])
    with pytest.raises(ValueError, match="hypotheses of Agent must be left out for inference='spm'"):
        Agent(learning, hypotheses, inference="spm", **SETTINGS)
    with pytest.raises(ValueError, match="introspection of Agent must be left out for inference='spm'"):
        Agent(learning, inference="spm", introspection=Introspection(SingleParameters()), **SETTINGS)
    with pytest.raises(ValueError, match="search of Planner must be 'states' for inference='spm'; got 'outcomes'"):
        Agent(model, inference="spm", planner=Planner(depth=1, modalities="separate"))
    with pytest.raises(ValueError, match="policies of POMDP must have one step for inference='spm'; got 2"):
        Agent(coin(policies=None, policy_length=2), inference="spm", **SETTINGS)
    with pytest.raises(ValueError, match="E of POMDP must be per factor for inference='spm'"):
        Agent(coin(E=np.array([0.5, 0.5])), inference="spm", **SETTINGS)
    driven = np.zeros((2, 2, 2, 2))
    driven[0] = 1.0
    with pytest.raises(ValueError, match=r"B_dependencies\[1\] of POMDP must be \[1\] for inference='spm'; got \[0, 1\]"):
        Agent(coin(B=[model.B[0], driven], B_dependencies=[[0], [0, 1]]), inference="spm", **SETTINGS)
    with pytest.warns(UserWarning, match="modalities inform separately with inference='spm'"):
        Agent(model, inference="spm")
