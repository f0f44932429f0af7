"""Agents that believe along paths learn transitions, initial states and habits: SPM's T-maze number for number, sums written
out by hand, batches, and what is refused.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import digamma
from worlds import positive, random_controls, random_outcomes, random_space, random_world

from activebmr import (
    POMDP,
    Agent,
    Introspection,
    Learning,
    Paradigm,
    PathSettings,
    Planner,
    SingleParameters,
    simulate,
)
from activebmr.inference.paths import PathCounts, Paths
from activebmr.model.naming import Table

# neighbours see at random what may be impossible
pytestmark = pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")

SPM = {"rtol": 0, "atol": 1e-8}


# --- SPM -----------------------------------------------------------------------------------------------------------------
def t_maze(z):
    """The T-maze of SPM's files, with counts of all that is learned there."""
    flat = lambda b: None if b is None else b[:, :, None]  # noqa: E731
    given = {}
    for kind, values, counts in (
        ("A", [z["in_A1"], z["in_A2"]], [z.get("in_a1"), z.get("in_a2")]),
        ("B", [z["in_B1"], flat(z["in_B2"])], [z.get("in_b1"), flat(z.get("in_b2"))]),
        ("D", [z["in_D1"], z["in_D2"]], [z.get("in_d1"), z.get("in_d2")]),
    ):
        given[kind] = [v if c is None else None for v, c in zip(values, counts, strict=True)]
        given[f"p{kind}"] = counts
    given["pE"] = z.get("in_e")
    policies = z["in_V"].astype(int).transpose(1, 0, 2) - 1
    return POMDP(**given, C=[z["in_C1"].T, z["in_C2"].T], policies=policies)


def settings_of(z):
    return PathSettings.spm(**{name: float(z[f"par_{name}"]) for name in ("tau", "erp", "zeta", "beta")})


def agent_of(z, **options):
    model, eta = t_maze(z), float(z["par_eta"])
    # SPM's eta is the rate of all counts but those of initial states
    learning = Learning(rate={f"p{table}": eta for table in model.learned if table.kind != "D"})
    held = {"planner": Planner(alpha=float(z["par_alpha"])), "learning": learning, "paths": settings_of(z)}
    return Agent(model, inference="paths", trial_length=3, **{**held, **options})


def seen_at(z, i, t):
    return z["o"][i, :, t].astype(int)[None] - 1


def done_at(z, i, t):
    return z["u"][i, :, t].astype(int)[None] - 1 if t < 2 else np.zeros((1, 2), dtype=int)


def after_spm(z, table, i):
    kind = table.kind.lower()
    return z["post_e" if kind == "e" else f"post_{kind}{int(table.index) + 1}"][i]


@pytest.mark.parametrize("name", ["X_ab", "X_habit", "X_demo"])
def test_agents_are_spms_number_for_number(spm, name):
    """Beliefs, free energy, worth and posterior of policies, probabilities of moves, counts, given what was done and seen."""
    z = spm(name)
    agent = agent_of(z)
    model, state = agent.model, agent.init(1)
    assert {t.kind for t in model.learned} == {"X_ab": set("ABD"), "X_habit": set("DE"), "X_demo": set("D")}[name]
    for i in range(len(z["o"])):
        for t in range(3):
            where = f"trial {i}, time {t}"
            state, info = agent.step(state, seen_at(z, i, t), action=done_at(z, i, t))
            assert_allclose(info.q_pi[0], z["R"][i, :, t], err_msg=f"R, {where}", **SPM)
            assert_allclose(info.neg_efe[0], z["G"][i, :, t], err_msg=f"G, {where}", **SPM)
            assert_allclose(-info.free_energy[0], z["H"][i, t], err_msg=f"H, {where}", **SPM)
            if t < 2:
                assert_allclose(info.control_probabilities[0][0], z["P"][i, :, 0, t], err_msg=f"P, {where}", **SPM)
        for f, moments in enumerate(zip(*agent.hindsight(state), strict=True)):
            assert_allclose(np.stack(moments, axis=-1)[0], z[f"X{f + 1}"][i], err_msg=f"X, trial {i}", **SPM)
        state, _ = agent.end_trial(state)
        for table in model.learned:
            counts = agent.posterior_counts(state, f"p{table}")[0]
            wanted = after_spm(z, table, i)
            assert_allclose(counts.reshape(wanted.shape), wanted, err_msg=f"p{table}, trial {i}", **SPM)


@pytest.mark.parametrize("name", ["X_ab", "X_habit"])
def test_recorded_lives_in_one_batch(spm, name):
    """Agents that live through the recorded trials in other orders: each has the bits that it has alone."""
    z = spm(name)
    agent, lives = agent_of(z), [[0, 1, 2], [5, 0, 7], [3, 3, 1]]
    together, alone = agent.init(3), [agent.init(1) for _ in lives]
    for trials in zip(*lives, strict=True):
        for t in range(3):
            seen, done = (np.concatenate([at(z, i, t) for i in trials]) for at in (seen_at, done_at))
            together, info = agent.step(together, seen, action=done)
            for k in range(3):
                alone[k], single = agent.step(alone[k], seen[[k]], action=done[[k]])
                for what in ("q_pi", "neg_efe", "free_energy"):
                    assert_array_equal(getattr(info, what)[k], getattr(single, what)[0])
        together = agent.end_trial(together)[0]
        alone = [agent.end_trial(state)[0] for state in alone]
    for table in agent.model.learned:
        for k in range(3):
            counts = [agent.posterior_counts(state, f"p{table}") for state in (together, alone[k])]
            assert_array_equal(counts[0][k], counts[1][0])


# --- sums written out ----------------------------------------------------------------------------------------------------
SCHEMES = {
    "marginal": PathSettings(),
    "mean-field": PathSettings(messages="mean-field"),
    "trial": PathSettings(policies="trial", beta=1.0, zeta=4.0),
    "spm": PathSettings.spm(),
    "curiosity": PathSettings.curiosity(),
}


def learner(seed, name, **changes):
    """A random world in which everything is learned, with structural zeros and factors that move each other."""
    rng, trial = np.random.default_rng(seed), SCHEMES[name].policies == "trial"
    model = random_world(seed, max_factors=2, policy_length=2 if trial else 1 + seed % 2, max_controls=2)
    b, d = ([positive(rng, x.shape) * (x > 0) + 1.5 * (x > 0) for x in held] for held in (model.B, model.D))
    e = np.ones(len(model.policies)) if trial else [positive(rng, (n,), 0.0) for n in model.num_controls]
    return model.with_(**{"pB": b, "pD": d, "pE": e, **changes})


def life(model, n_agents, seed=0, trials=2, steps=3):
    """Outcomes and controls of every trial and time, of which many are missing."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(trials):
        seen = [random_outcomes(rng, model, n_agents) for _ in range(steps)]
        for outcomes in seen:
            for o in outcomes:
                o[rng.random(n_agents) < 0.2] = -1
        out.append((seen, [random_controls(rng, model, n_agents) for _ in range(steps)]))
    return out


def lived(agent, trials, which=None, n_agents=2):
    """Through trials: the state after each, just before it ended and then."""
    which = np.arange(n_agents) if which is None else which
    state, out = agent.init(len(which)), []
    for seen, done in trials:
        for outcomes, controls in zip(seen, done, strict=True):
            state, _ = agent.step(state, [o[which] for o in outcomes], action=controls[which])
        before = state
        state, _ = agent.end_trial(state)
        out.append((before, state))
    return out


def all_counts(agent, state):
    return {str(t): agent.posterior_counts(state, f"p{t}") for t in agent.model.learned}


@pytest.mark.parametrize("name", ["marginal", "mean-field", "curiosity"])
@pytest.mark.parametrize("seed", range(3))
def test_counts_are_products_of_what_is_believed_in_the_end(seed, name):
    """Policies from now on share the past, so that beliefs about it need no average: all four tables by hand."""
    model = learner(seed, name)
    agent, trials = Agent(model, inference="paths", trial_length=3, paths=SCHEMES[name]), life(model, 2, seed)
    counts = {str(t): np.stack([model.counts_of(t)] * 2) for t in model.learned}
    for (before, after), (seen, done) in zip(lived(agent, trials), trials, strict=True):
        q = [[np.asarray(m) for m in moment] for moment in agent.hindsight(before)]
        for k in range(2):
            new = {name: np.zeros_like(c[k]) for name, c in counts.items()}
            for t in range(3):
                for table in model.learned:
                    i, told = int(table.index), new[str(table)]
                    if table.kind == "A" and seen[t][i][k] >= 0:
                        told[seen[t][i][k]] += outer([q[t][f][k] for f in model.A_dependencies[i]])
                    if table.kind == "B" and t > 0:
                        pair = [q[t][i][k], *(q[t - 1][f][k] for f in model.B_dependencies[i])]
                        told[..., done[t - 1][k, i]] += outer(pair)
                    if table.kind == "D" and t == 0:
                        told += q[0][i][k]
                    if table.kind == "E" and t > 0:
                        told[done[t - 1][k, i]] += 1
            for name, told in new.items():
                counts[name][k] += told * (counts[name][k] > 0)
        for name, found in all_counts(agent, after).items():
            assert_allclose(found, counts[name], atol=1e-12, err_msg=name)
            assert_array_equal(found == 0, counts[name] == 0)


def outer(parts):
    joint = np.ones(())
    for p in parts:
        joint = np.multiply.outer(joint, p)
    return joint


@pytest.mark.parametrize("name", ["trial", "spm"])
@pytest.mark.parametrize("seed", range(3))
def test_counts_of_agents_are_those_of_the_scheme_by_itself(seed, name):
    """Policies of whole trials: what is believed, worth and learned, with counts that are kept apart from agents."""
    model = learner(seed, name)
    agent, trials = Agent(model, inference="paths", trial_length=3, paths=SCHEMES[name]), life(model, 2, seed)
    scheme, state = agent.path_inference, agent.init(2)
    counts = PathCounts.start(model, 2, model.pB, model.pD, model.pE)
    for seen, done in trials:
        paths, tables = Paths(counts=counts), state.knowledge.tables
        for t in range(3):
            _, _, evaluation = scheme.advance(paths, tables, done[t - 1] if t else None, seen[t])
            state, info = agent.step(state, seen[t], action=done[t])
            assert_allclose(info.q_pi, evaluation.q_pi, atol=1e-12)
            assert_allclose(info.neg_efe, evaluation.neg_efe, atol=1e-9)
        counts = scheme.learn(paths)
        state, _ = agent.end_trial(state)
        assert_allclose(agent.posterior_counts(state, "pE"), counts.pE, atol=1e-12)
        for f in range(model.num_factors):
            assert_allclose(agent.posterior_counts(state, f"pB[{f}]"), counts.pB[f], atol=1e-12)
            assert_allclose(agent.posterior_counts(state, f"pD[{f}]"), counts.pD[f], atol=1e-12)


ROOM = np.ones((3, 3, 2))


def seen_places(policies="trial", **changes):
    """A place that is always seen; nobody knows how it moves."""
    held = {
        "A": [np.eye(3)],
        "B": [None],
        "pB": [ROOM],
        "pD": [np.array([1.0, 1.0, 2.0])],
        "pE": np.ones(8),
        "policy_length": 3,
    }
    return POMDP(**(held | changes)), PathSettings(policies=policies)


def walk(agent, n=1, places=(0, 1, 1, 2), moves=(1, 0, 1, 0)):
    state = agent.init(n)
    for o, u in zip(places, moves, strict=True):
        state, _ = agent.step(state, np.full((n, 1), o), action=np.full((n, 1), u))
    return agent.end_trial(state)[0]


def walked(rate=1.0):
    expected = ROOM.copy()
    for before, now, u in ((0, 1, 1), (1, 1, 0), (1, 2, 1)):
        expected[now, before, u] += rate
    return expected


def test_rates_and_retention_are_those_of_each_table_and_agent():
    model, settings = seen_places()
    learning = Learning(rate={"pB": [0.5, 2.0], "pE": 0.25, "pD": [0.0, 1.0]}, retention={"pB": 0.5, "pD[0]": [0.9, 1.0]})
    agent = Agent(model, inference="paths", trial_length=4, paths=settings, learning=learning)
    state = walk(agent, 2)
    for k, (rate, first, kept) in enumerate([(0.5, 0.0, 0.9), (2.0, 1.0, 1.0)]):
        assert_allclose(agent.posterior_counts(state, "pB[0]")[k], 0.5 * walked(rate), atol=1e-6)
        assert_allclose(
            agent.posterior_counts(state, "pD[0]")[k], kept * (np.array([1, 1, 2]) + first * np.eye(3)[0]), atol=1e-6
        )
        assert_allclose(agent.posterior_counts(state, "pE")[k], 1.0 + 0.25 * np.eye(8)[0b101], atol=1e-9)
    assert_array_equal(agent.prior_counts(state, "pB[0]"), [ROOM, ROOM])


def test_a_trial_that_ends_early_is_learned_from_as_far_as_it_went():
    model, settings = seen_places()
    agent = Agent(model, inference="paths", trial_length=4, paths=settings)
    state = walk(agent, places=(0, 1), moves=(1, 0))
    expected = ROOM.copy()
    expected[1, 0, 1] += 1
    assert_allclose(agent.posterior_counts(state, "pB[0]")[0], expected, atol=1e-6)
    assert_allclose(agent.posterior_counts(state, "pE")[0].sum(), 9.0)
    assert agent.posterior_counts(state, "pE")[0][4:].sum() > 4.9  # whatever policies began with what was done


def test_what_was_learned_is_believed_and_planned_with():
    """Where trials begin, where moves lead, what is habit, and what is new."""
    model, settings = seen_places("ahead", pE=[np.ones(2)], policy_length=1, C=[[0.0, 0.0, 5.0]])
    agent = Agent(model, inference="paths", trial_length=4, paths=settings, planner=Planner(gains=("param",), alpha=None))
    state = agent.init(1)
    for _ in range(30):
        for o, u in zip((1, 2, 1, 2), (1, 1, 1, 1), strict=True):
            state, info = agent.step(state, [[o]], action=[[u]])
        state, _ = agent.end_trial(state)
    b, d, e = (agent.posterior_counts(state, n)[0] for n in ("pB[0]", "pD[0]", "pE[0]"))
    assert_allclose(e, [1, 91])
    assert_allclose(agent.foreseen(state)[0][0], d / d.sum())
    state, info = agent.step(state, [[1]], action=[[1]])
    want = np.array([0.0, 0.0, 5.0]) - np.log(np.exp([0.0, 0.0, 5.0]).sum())
    expected = b / b.sum(axis=0)
    for u in range(2):
        assert_allclose(info.utility[0, u], expected[:, 1, u] @ want, atol=1e-6)
        column = b[:, 1, u]  # what one more count changes the density by: divergence of Dirichlets
        gain = np.log(column.sum() / column) + digamma(column + 1) - digamma(column.sum() + 1)
        assert_allclose(info.param_info_gain[0, u], gain @ expected[:, 1, u], atol=1e-6)
    value = info.neg_efe[0] + np.log(e / e.sum())
    assert_allclose(info.q_pi[0], np.exp(value) / np.exp(value).sum(), atol=1e-9)
    settled = agent.with_(planner=Planner(gains=("param",), alpha=None, novelty_cutoff=1.0))
    _, info = settled.step(settled.init(1), [[1]], action=[[1]])
    assert_array_equal(info.param_info_gain, 0.0)


def test_agents_can_be_taught_how_the_world_moves():
    model, settings = seen_places()
    agent = Agent(model, inference="paths", trial_length=4, paths=settings)
    ring = np.stack([np.roll(np.eye(3), step, axis=0) for step in (1, 2)], axis=2)
    state = agent.instruct(agent.init(1), {"pB[0]": 0.01 + 50 * ring, "pD[0]": np.array([9.0, 1.0, 2.0])})
    assert_allclose(agent.foreseen(state)[0][0], [0.75, 1 / 12, 1 / 6])
    for u in (0, 1):
        there, _ = agent.step(state, [[0]], action=[[u]])
        assert agent.foreseen(there)[0][0].argmax() == u + 1
    assert_array_equal(agent.posterior_counts(agent.init(1), "pB[0]")[0], ROOM)


# --- sleep ---------------------------------------------------------------------------------------------------------------
def test_trials_that_are_lived_again_teach_the_same():
    """The model that agents were born with learns from the same trials what they do, while they go on with what they have."""
    for name, seed in (("marginal", 0), ("mean-field", 1), ("trial", 2)):
        model = learner(seed, name, **({"pE": None} if name == "trial" else {}))
        spaces = {f"p{t}": SingleParameters(threshold=np.inf) for t in model.learned if t.kind != "E"}
        agent = Agent(
            model,
            inference="paths",
            trial_length=3,
            paths=SCHEMES[name],
            introspection=Introspection(spaces, evidence="unbiased"),
        )
        state = lived(agent, life(model, 3, seed), n_agents=3)[-1][1]
        for table in model.learned:
            if table.kind in "BD":
                told = agent.posterior_counts(state, f"p{table}")
                again = state.sleep.parent.knowledge.counted(table).tensor()
                assert_allclose(again, told, atol=1e-9)


@pytest.mark.parametrize("dream", ["remembered", "generated"])
def test_sleepers_dream_of_moves(dream):
    model, settings = seen_places("ahead", pE=None, policy_length=1)
    space = {"pB[0]": SingleParameters(threshold=0.0, remainder=1 / 32)}
    options = {"inference": "paths", "trial_length": 4, "paths": settings}
    agent = Agent(model, introspection=Introspection(space, dream=dream, dreams=2, after=[3]), **options)
    state, rng = agent.init(2), np.random.default_rng(0)
    for _ in range(4):
        for o, u in zip((0, 1, 0, 1), (1, 1, 1, 0), strict=True):
            state, _ = agent.step(state, [[o], [o]], action=[[u], [u]])
        state, _ = agent.end_trial(state, rng)
    b = agent.posterior_counts(state, "pB[0]")[0]
    assert b[2, 0, 1] < 0.5 < b[1, 0, 1]  # this move does not exist


# --- batches -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("seed", range(2))
def test_agent_k_is_the_same_in_any_batch(seed, name):
    model, n = learner(seed, name), 12
    agent = Agent(model, inference="paths", trial_length=3, paths=SCHEMES[name], learning=Learning(retention={"pB": 0.9}))
    trials = life(model, n, seed)
    crowd = all_counts(agent, lived(agent, trials, n_agents=n)[-1][1])
    for k in (0, 7, n - 1):
        single = all_counts(agent, lived(agent, trials, np.array([k]))[-1][1])
        few = all_counts(agent, lived(agent, trials, np.array([(k + 5) % n, k]))[-1][1])
        for table, counts in crowd.items():
            assert_array_equal(counts[k], single[table][0], err_msg=table)
            assert_array_equal(few[table][1], single[table][0], err_msg=table)


@pytest.mark.parametrize("name", ["trial", "spm", "curiosity"])
def test_simulated_agents_do_not_see_each_other(name):
    """Nor whether they are many, and the batch that they come in."""
    model = learner(0, name)
    agent = Agent(model, inference="paths", trial_length=3, paths=SCHEMES[name])
    paradigm = Paradigm("world", name, agent, model, 3)
    few, many = (simulate(paradigm, n, 2, seed=3, trace=True).trace for n in (2, 66))
    for what in ("outcomes", "controls", "q_pi", "neg_efe", "free_energy"):
        assert_array_equal(few[what], many[what][:, :2], err_msg=what)


def test_hypotheses_about_likelihoods_go_with_learned_transitions():
    model = learner(1, "marginal")
    space = random_space(1, model)
    agent = Agent(model, space, Planner(gains=("state", "param")), inference="paths", trial_length=3, paths=PathSettings())
    plain = agent.with_(hypotheses=None)
    a, b = (lived(x, life(model, 2))[-1][1] for x in (agent, plain))
    assert a.model_posterior.shape == (2, len(space)) and np.ptp(a.model_posterior) > 1e-3
    for table in model.learned:
        if table.kind != "A":
            found = [x.posterior_counts(s, f"p{table}") for x, s in ((agent, a), (plain, b))]
            assert found[0].shape == found[1].shape and not np.array_equal(found[0][0], model.counts_of(table))


# --- refusals ------------------------------------------------------------------------------------------------------------
def test_what_cannot_be_learned_is_refused_by_name():
    model, settings = seen_places()
    with pytest.raises(
        ValueError, match=r"eta of PathSettings must be 1 for agents, who learn at the rates of Learning.*; got 0.5"
    ):
        Agent(model, inference="paths", trial_length=4, paths=PathSettings(policies="trial", eta=0.5))
    for way in ({}, {"inference": "factorised"}, {"inference": "paths", "paths": PathSettings()}):
        with pytest.raises(ValueError, match=r"pE of POMDP must be per factor for policies of several steps \(here 3\)"):
            Agent(model, trial_length=4, **way)
    sleeps = Introspection({"pB[0]": SingleParameters()})
    with pytest.raises(ValueError, match="pE of POMDP must be per factor for agents that introspect"):
        Agent(model, inference="paths", trial_length=4, paths=settings, introspection=sleeps)
    with pytest.raises(ValueError, match="rate of Learning must name tables that are learned"):
        Agent(model, inference="paths", trial_length=4, paths=settings, learning=Learning(rate={"pA[0]": 1.0}))
    with pytest.raises(ValueError, match="trial_length of Agent must be given for message passing"):
        Agent(model, inference="paths", paths=settings)
    assert Table("E", -1) in model.learned
