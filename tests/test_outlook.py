"""Terms of policies against enumeration of joint states and joint outcomes: utility, gains about states and parameters, to the
end of the trial; what histories share; memory.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from enumeration import Plans, at_time, columns, joint_states, lived, paths, small_model, softmax, start
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from test_exact import observation

from activebmr import POMDP, Agent, Learning, Planner
from activebmr.planning.joint import cells
from activebmr.planning.joint.histories import histories_of
from activebmr.planning.joint.keeping import keep

SEEDS = st.integers(0, 10**6)
GAINS = ("state", "param")
FROZEN = Learning(rate=0)


def before_planning(agent, trials):
    """A batch after the last observation of some trials (outcomes, controls), ready to plan; what the first one believes."""
    state = agent.init(len(trials))
    for t in range(len(trials[0][0])):
        state, _ = agent.perceive(state, seen := observation(agent.model, [o[t] for o, _ in trials]))
        if t < len(trials[0][0]) - 1:
            state = agent.learn(state, seen, np.array([c[t] for _, c in trials]))
    weights = paths(agent.model, *trials[0])[-1]
    return state, at_time(weights, weights.ndim - 1)


def check(model, planner, trials, trial_length=None, steps=None, **more):
    agent = Agent(model, planner=planner, learning=FROZEN, trial_length=trial_length, **more)
    state, q = before_planning(agent, trials)
    evaluation, t = agent.plan(state), len(trials[0][0]) - 1
    own = {int(k[2:-1]): np.asarray(v)[0] for k, v in more.get("own", {}).items() if k.startswith("C")}
    counts = None
    if any(k.startswith("p") for k in more.get("own", {})):
        counts = {int(k[3:-1]): np.asarray(v)[0] for k, v in more["own"].items() if k.startswith("p")}
    plans = Plans(model, planner.modalities == "together", counts, own)
    expected = plans.policies(q, t, model.policy_length if steps is None else steps)
    terms = evaluation.terms
    wanted = ["state" in planner.gains, "param" in planner.gains]
    for name, values, asked in zip(("utility", "state", "param"), expected.T, (True, *wanted), strict=True):
        assert_allclose(getattr(terms, name)[0], values * asked, rtol=1e-12, atol=1e-10, err_msg=name)
    worth = expected @ np.array([1.0, *wanted])
    assert_allclose(evaluation.neg_efe[0], worth, rtol=1e-12, atol=1e-10)
    if worth.max() > -np.inf:
        prior = model.log_policy_prior if t == 0 or planner.habit == "always" else 0.0
        assert_allclose(evaluation.q_pi[0], softmax(planner.gamma * worth + prior), atol=1e-10)


# --- terms -------------------------------------------------------------------------------------------------------------------
@settings(max_examples=120)
@given(SEEDS, st.sampled_from(["together", "separate"]), st.integers(1, 3))
def test_terms_are_those_of_enumeration(seed, modalities, steps):
    """Known and learned modalities, alone and together; preferences that change, or are minus infinity."""
    model, rng = small_model(seed, steps=steps, max_policies=8, learned=0.4, never=True), np.random.default_rng([seed, 1])
    gains = [GAINS, ("state",), ("param",), ()][seed % 4 if seed % 8 < 4 else 0]
    if seed % 3 == 0:  # some policies, in any order, perhaps twice
        model = model.with_(policies=model.policies[rng.integers(len(model.policies), size=rng.integers(1, 7))])
    planner = Planner(gains=gains, modalities=modalities, gamma=1.5, habit=["first", "always"][seed % 2])
    check(model, planner, [lived(model, rng, 1 + seed % 3)])


@settings(max_examples=30)
@given(SEEDS)
def test_preferences_and_counts_of_each_agent(seed):
    model, rng = small_model(seed, steps=1 + seed % 2, max_policies=8, learned=0.6), np.random.default_rng([seed, 1])
    own = {}
    for m, n in enumerate(model.num_outcomes):
        if rng.random() < 0.7:
            own[f"C[{m}]"] = np.where(rng.random((3, n)) < 0.1, -np.inf, rng.normal(size=(3, n)))
            own[f"C[{m}]"][:, 0] = 0.0
        if m in model.learned_modalities:
            own[f"pA[{m}]"] = np.stack([rng.gamma(2.0, size=model.pA[m].shape) * (model.pA[m] > 0) + model.pA[m] * 0.1] * 3)
    same = lived(model, rng, 1, missing=1.0)  # beliefs do not hang on counts
    check(model, Planner(gains=GAINS), [same] * 3, own=own)


@pytest.mark.parametrize("modalities", ["together", "separate"])
def test_two_modalities_that_say_the_same_inform_once(modalities):
    """Two eyes that both see a coin: together log 2, one by one 2 log 2."""
    model = POMDP(A=[np.eye(2)] * 2, B=[np.eye(2)[:, :, None]])
    agent = Agent(model, planner=Planner(gains=("state",), modalities=modalities, alpha=None))
    _, info = agent.step(agent.init(), [None, None])
    assert_allclose(info.state_info_gain, np.log(2) * (1 if modalities == "together" else 2), atol=1e-12)


def test_too_many_joint_outcomes_inform_separately_and_say_so_once():
    model = POMDP(A=[columns(np.random.default_rng(m), (2, 3), 0.0) for m in range(24)], B=[np.eye(3)[:, :, None]])
    with pytest.warns(UserWarning, match=r"modality_0.*\.\.\. inform separately.*more than 4194304.*modalities='separate'"):
        agent = Agent(model, planner=Planner(gains=("state",)))
    separate = Agent(model, planner=Planner(gains=("state",), modalities="separate"))
    for a in (agent, separate):
        _, info = a.step(a.init(), [0] * 24, rng := np.random.default_rng(0))
        assert rng is not None
        if a is agent:
            first = info
    assert_array_equal(first.state_info_gain, info.state_info_gain)
    Agent(model, planner=Planner(gains=("param",)))  # nothing that needs joint outcomes: not a word


# --- the end of the trial ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_policies_are_worth_what_can_still_be_seen(length, extra):
    """T - t - 1 observations will come (one more by SPM's count); none at the last one."""
    for seed in range(6):
        model, rng = small_model(seed, steps=3, max_policies=8), np.random.default_rng(seed)
        trial = lived(model, rng, length)
        for t in range(length):
            left = length - t - 1 + extra
            cut = trial[0][: t + 1], trial[1][:t]
            check(model, Planner(gains=GAINS, extra_step=extra), [cut], trial_length=length, steps=left)


# --- what histories share ----------------------------------------------------------------------------------------------------
def torus(n, slip):
    """A walk on a ring of rings ``n x n`` with noise: the order of moves does not matter, but for rounding."""
    stay, right = np.eye(n), np.roll(np.eye(n), 1, axis=0)
    noisy = (1 - slip) * right + slip * stay
    moves = [np.kron(noisy, stay), np.kron(noisy.T, stay), np.kron(stay, noisy), np.kron(stay, noisy.T), np.eye(n * n)]
    return np.stack(moves, axis=2)


@pytest.mark.parametrize("slip", [0.0, 0.1])
def test_walks_that_lead_to_the_same_place_are_worked_out_once(slip):
    """625 walks of four moves on a ring of rings, as many as brute force finds, from far fewer histories."""
    rng = np.random.default_rng(0)
    model = POMDP(
        A=[columns(rng, (3, 9)), columns(rng, (4, 9, 2))], A_dependencies=[[0], [0, 1]],
        B=[torus(3, slip), np.array([[0.9, 0.2], [0.1, 0.8]])[:, :, None]], C=[rng.normal(size=3), rng.normal(size=(6, 4))],
        policy_length=4,
    )  # fmt: skip
    assert len(model.policies) == 625
    agent = Agent(model, planner=Planner(gains=("state",)))
    state, _ = agent.perceive(agent.init(), [1, 2])
    evaluation, plans = agent.plan(state), Plans(model)
    q = start(model) * np.array([model.A[0][1, i] * model.A[1][2, i, j] for i in range(9) for j in range(2)])
    held: dict[bytes, np.ndarray] = {}

    def terms(b, t):
        key = bytes([t]) + np.round(b, 13).tobytes()
        if key not in held:
            held[key] = plans.terms(b, t)
        return held[key]

    for k in np.random.default_rng(1).choice(625, 60, replace=False):
        b, total = q / q.sum(), np.zeros(3)
        for h, controls in enumerate(model.policies[k]):
            b = plans.move(b, controls)
            total = total + terms(b, 1 + h)
        assert_allclose([evaluation.terms.utility[0, k], evaluation.terms.state[0, k]], total[:2], atol=1e-10)
    histories = histories_of(model, (0, 1))
    assert len(histories.levels[-1].parent) <= (9 if slip == 0 else 70)


def test_the_last_way_may_lead_nowhere_that_another_does_not():
    """Right and then stay is stay and then right: the second history of the first step has no future of its own. So too where
    one sees after each of three steps.
    """
    rng = np.random.default_rng(0)
    ring = np.stack([np.eye(3), np.roll(np.eye(3), 1, axis=0)], axis=2)
    for walks in ([[0, 1], [1, 0]], [[0, 1, 0], [1, 0, 0], [0, 1, 1]], [[0, 0, 1], [0, 1, 0], [1, 0, 0]]):
        for a in (columns(rng, (2, 3)), None):
            model = POMDP(
                A=[a], pA=[rng.gamma(1.0, size=(2, 3)) if a is None else None], B=[ring], C=[[0, 1.0]], D=[[0.2, 0.3, 0.5]],
                policies=np.array(walks)[:, :, None],
            )  # fmt: skip
            check(model, Planner(gains=GAINS), [lived(model, rng, 1)])


@settings(max_examples=25)
@given(SEEDS)
def test_random_walks_and_controls_that_do_nothing(seed):
    """Moves that commute, undo each other, or do nothing, of two factors of which one drives the other or not."""
    rng = np.random.default_rng(seed)
    ring = np.stack([np.eye(4), np.roll(np.eye(4), 1, axis=0), np.roll(np.eye(4), -1, axis=0)], axis=2)
    idle = np.repeat(np.eye(2)[:, :, None], 2, axis=2)
    driven = columns(rng, (2, 2, 4, 2))
    model = POMDP(
        A=[columns(rng, (3, 4, 2)), columns(rng, (2, 4))], A_dependencies=[[0, 1], [0]],
        B=[ring if seed % 3 else 0.7 * ring + 0.3 * columns(rng, (4, 4, 3)), idle if seed % 2 else driven],
        B_dependencies=[[0], [1] if seed % 2 else [1, 0]], C=[rng.normal(size=3), rng.normal(size=2)],
        D=[np.eye(4)[0] if seed % 5 == 0 else columns(rng, (4,)), None], policy_length=2,
    )  # fmt: skip
    check(model, Planner(gains=("state",)), [lived(model, rng, 2)])


# --- many agents -------------------------------------------------------------------------------------------------------------
def test_three_factors_of_ten_states_and_125_policies_fit_into_memory():
    """Beliefs about 1,000 joint states, 125 policies of three steps: less than a megabyte an agent, 1,000 agents at once."""
    draw = np.random.default_rng(0)
    A = [np.moveaxis(draw.dirichlet(np.ones(4), size=(10, 10, 10)), -1, 0) for _ in range(3)]
    B = [np.stack([np.roll(np.eye(10), u, 0) for u in range(5)], 2)] + [np.eye(10)[:, :, None]] * 2
    agent = Agent(POMDP(A=A, B=B, policy_length=3), planner=Planner(gains=("state",), alpha=None))
    seen = draw.integers(4, size=(1000, 3))
    agent.step(agent.init(2), seen[:2])  # what is kept for all
    tracemalloc.start()
    _, info = agent.step(agent.init(1000), seen)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6 * 1000
    _, single = agent.step(agent.init(1), seen[500:501])
    assert_array_equal(info.neg_efe[500], single.neg_efe[0])
    assert_allclose(info.q_pi.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("learned", [0.0, 1.0])
def test_a_batch_worked_through_in_parts_is_like_single_agents(learned, monkeypatch):
    """Nobody's numbers change by who else is there, bit for bit; nor by how much is held at a time."""
    for seed in range(8):
        model = small_model(seed, steps=2, learned=learned, max_policies=9)
        trials = [lived(model, np.random.default_rng([k, 2]), 2) for k in range(20)]
        agent = Agent(model, planner=Planner(gains=GAINS), learning=FROZEN)
        many = before_planning(agent, trials)[0]
        whole = agent.plan(many).neg_efe
        assert_array_equal(whole[:3], agent.plan(before_planning(agent, trials[:3])[0]).neg_efe)
        monkeypatch.setattr(cells, "_AT_ONCE", 200)
        assert_array_equal(agent.plan(many).neg_efe, whole)
        monkeypatch.undo()


def test_a_thousand_agents_are_like_ten():
    """Beyond some number of them products are made agent by agent in other ways; each row's sums stay the same, bit for bit."""
    model = small_model(55, steps=1)
    assert len(joint_states(model)) == 27
    trials = [lived(model, np.random.default_rng([k, 2]), 3) for k in range(10)]
    agent = Agent(model, planner=Planner(gains=GAINS), learning=FROZEN)
    few, many = before_planning(agent, trials)[0], before_planning(agent, trials * 100)[0]
    for f in range(model.num_factors):
        assert_array_equal(np.tile(few.qs[f], (100, 1)), many.qs[f])
    assert_array_equal(np.tile(agent.plan(few).neg_efe, (100, 1)), agent.plan(many).neg_efe)


def test_what_is_kept_for_later_has_bounds():
    kept = {}
    for i in range(1000):
        keep(kept, i, (np.zeros(3), object()))
        assert len(kept) <= 64
    large = np.zeros(2**22)
    for i in range(20):
        assert keep(kept, i, (large, None))[0] is large
        assert sum(x.size for x, _ in kept.values()) <= 2**24
