"""An agent's numbers do not depend on who else is simulated: bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from worlds import lamp_rules, random_controls, random_outcomes, random_space, random_world, two_rooms

from activebmr import Agent, Learning, Paradigm, Planner, Selection, simulate
from paradigms import three_ball

# neighbours see at random what may be impossible
pytestmark = pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")

SPM = {"search": "states", "modalities": "separate", "extra_step": True}
REPORTS = ("free_energy", "utility", "state_info_gain", "param_info_gain", "model_info_gain", "neg_efe", "q_pi", "controls")


def same_bits(batch, k, alone):
    """Report of agent k of a batch against that of the same agent on its own."""
    for name in REPORTS:
        assert_array_equal(getattr(batch, name)[k], getattr(alone, name)[0], err_msg=name)
    for q, single in zip(batch.qs, alone.qs, strict=True):
        assert_array_equal(q[k], single[0])
    if alone.model_posterior is not None:
        assert_array_equal(batch.model_posterior[k], alone.model_posterior[0])


def live(agent, n_agents, which, outcomes, controls):
    """Steps of the agents ``which`` of a crowd through recorded trials (trial, time, agent, ...)."""
    state, reports = agent.init(len(which)), []
    for trial, moves in zip(outcomes, controls, strict=True):
        for seen, done in zip(trial, moves, strict=True):
            state, info = agent.step(state, [o[which] for o in seen], action=done[which])
            reports.append(info)
        state, done = agent.end_trial(state)
        reports.append(done)
    return state, reports


def crowd(agent, n_agents, trials, steps, seed, soft):
    rng, model = np.random.default_rng(seed), agent.model
    outcomes = [[random_outcomes(rng, model, n_agents, soft) for _ in range(steps)] for _ in range(trials)]
    controls = [[random_controls(rng, model, n_agents) for _ in range(steps)] for _ in range(trials)]
    return outcomes, controls


def check(agent, n_agents=64, trials=2, steps=3, seed=0, soft=False, members=(0, 1, 63)):
    """Everybody else sees and does something else at random: alone, in threes, and in the whole crowd it is one life."""
    outcomes, controls = crowd(agent, n_agents, trials, steps, seed, soft)
    together, everyone = live(agent, n_agents, np.arange(n_agents), outcomes, controls)
    for k in members:
        lonely, alone = live(agent, n_agents, np.array([k]), outcomes, controls)
        three, trio = live(agent, n_agents, np.array([(k + 17) % n_agents, k, (k + 31) % n_agents]), outcomes, controls)
        for whole, few, single in zip(everyone, trio, alone, strict=True):
            if hasattr(single, "q_pi"):
                same_bits(whole, k, single)
                same_bits(few, 1, single)
            elif single.model_posterior is not None:
                for name in ("model_posterior", "log_odds", "best_model", "adopted_now"):
                    assert_array_equal(getattr(whole, name)[k], getattr(single, name)[0])
                    assert_array_equal(getattr(few, name)[1], getattr(single, name)[0])
        for m in agent.model.learned_modalities:
            assert_array_equal(together.counts(m)[k], lonely.counts(m)[0])
            assert_array_equal(three.counts(m)[1], lonely.counts(m)[0])
        assert together.adopted[k] == three.adopted[1] == lonely.adopted[0]
    return together


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("inference", ["factorised", "sequential", "mean-field"])
@pytest.mark.parametrize("model_gain", ["exact", "plug-in"])
@pytest.mark.parametrize("seed", range(3))
def test_random_worlds(seed, inference, model_gain, soft):
    model = random_world(seed, max_factors=3)
    planner = Planner(model_gain=model_gain, depth=1, **SPM)
    agent = Agent(model, random_space(seed, model), planner, inference=inference)
    check(agent, seed=seed, soft=soft, trials=1, members=(0, 63))


@pytest.mark.parametrize(
    "planner", [Planner(), Planner(depth=1), Planner(depth=1, modalities="separate"), Planner(depth=1, **SPM)]
)
@pytest.mark.parametrize("inference", ["exact", "factorised"])
@pytest.mark.parametrize("seed", range(3))
def test_random_worlds_without_hypotheses(seed, inference, planner):
    check(Agent(random_world(seed, max_factors=3), planner=planner, inference=inference), seed=seed, members=(0, 63))


@pytest.mark.parametrize("planner", [Planner(), Planner(**SPM)])
@pytest.mark.parametrize("inference", ["exact", "factorised", "sequential"])
def test_policies_of_several_steps(inference, planner):
    model = random_world(5, max_factors=2, policy_length=2, max_controls=2)
    check(Agent(model, random_space(5, model), planner, inference=inference), seed=5)


def test_neighbours_that_have_adopted_and_neighbours_that_have_not():
    """Some plan with their preferences and ahead, others are only curious: each in its own way, in one batch."""
    agent = Agent(
        two_rooms(),
        lamp_rules(),
        Planner(depth=1, **SPM),
        inference="sequential",
        learning=Learning(retention=0.999),
        selection=Selection(threshold=3.0, curious=True, concentration=64.0),
    )
    state = check(agent, trials=2, steps=5, members=tuple(range(0, 64, 7)))
    assert 5 < (state.adopted >= 0).sum() < 59


@pytest.mark.parametrize("scheme", ["reasoning", "paper", "knowing"])
def test_three_balls_among_agents_that_see_the_impossible(scheme):
    """Random outcomes and moves: neighbours contradict the rules, themselves and each other."""
    check(three_ball.paradigm(scheme).agent, trials=2, steps=6, members=(0, 63))


@pytest.mark.parametrize("scheme", ["reasoning", "paper"])
def test_three_balls_beside_agents_that_know_everything(scheme):
    """One naive agent among 63 whose counts are sharp, and one sharp agent among 63 naive ones."""
    agent = three_ball.paradigm(scheme).agent
    steps = [[[3], [3], [0]], [[0], [0], [1]], [[1], [1], [2]], [[3], [2], [0]]]
    moves = [[0, 0, 0, 0, 1], [0, 0, 0, 1, 2], [0, 0, 0, 2, 3], [0, 0, 0, 2, 3]]

    def run(sharp):
        state = agent.init(len(sharp))
        reports = []
        for i in range(4):
            for (what, where, feedback), move in zip(steps, moves, strict=True):
                seen = [np.where(sharp, o[0], (o[0] + i) % 3) for o in (what, where, feedback)]
                state, info = agent.step(state, seen, action=[move] * len(sharp))
                reports.append(info)
            state, _ = agent.end_trial(state)
        return reports

    alone = {kind: run(np.array([kind])) for kind in (True, False)}
    for kind in (True, False):
        among = np.full(64, not kind)
        among[40] = kind
        for whole, single, other in zip(run(among), alone[kind], alone[not kind], strict=True):
            same_bits(whole, 40, single)
            same_bits(whole, 3, other)


# --- whole simulations ---------------------------------------------------------------------------------------------------
def rooms(**options) -> Paradigm:
    model = two_rooms()
    held = {"inference": "sequential", "selection": Selection(threshold=1.0, curious=True)}
    agent = Agent(model, lamp_rules(), Planner(depth=1, **SPM), **(held | options))
    return Paradigm("rooms", "plain", agent, model, 4, lamp_rules(), 1, {1: (1.0, 0.0, -1.0)})


def arrays_of(result) -> dict[str, np.ndarray]:
    kept = {k: v for k, v in result.arrays.items() if k != "settings"}
    return kept | {f"trace {k}": v for k, v in result.trace.items()}


@pytest.mark.parametrize("n_agents", [1, 3, 64, 70])
def test_agent_k_is_the_same_in_any_number_of_agents(n_agents):
    """70 agents fill more than one batch."""
    schemes = [three_ball.paradigm(s, "random") for s in ("reasoning", "paper")]
    whole = arrays_of(simulate(schemes, 80, 2, seed=3, trace=True))
    part = arrays_of(simulate(schemes, n_agents, 2, seed=3, trace=True))
    assert set(part) == set(whole)
    for name, array in part.items():
        wide = whole[name]
        if name in ("true_model", "agent"):
            wide = wide[:n_agents]
        elif wide.ndim > 1:
            wide = wide[:, :n_agents]
        assert_array_equal(array, wide, err_msg=name)
    assert len(set(whole["true_model"])) > 20


@pytest.mark.parametrize("paradigm, n_agents", [(rooms, 5), (rooms, 70), (three_ball.paradigm, 2), (three_ball.paradigm, 67)])
def test_same_seed_same_result_on_any_number_of_cores(paradigm, n_agents):
    one, two = (simulate(paradigm(), n_agents, 4, seed=11, jobs=jobs) for jobs in (1, 2))
    for name, array in arrays_of(one).items():
        assert_array_equal(arrays_of(two)[name], array, err_msg=name)
    assert one.settings == two.settings


def test_another_seed_is_another_life():
    one, two = (simulate(rooms(), 3, 4, seed=seed) for seed in (0, 1))
    assert (one.free_energy != two.free_energy).any(axis=-1).all()


def test_schemes_live_through_the_same_random_numbers():
    """Paired by agent: with identical schemes, identical lives; with others, the same balls lie there."""
    twin = three_ball.paradigm("paper")
    other = three_ball.paradigm("reasoning")
    result = simulate([twin, other], 4, 2, seed=0, trace=True)
    assert_array_equal(result.trace["states"][0, ..., :3], result.trace["states"][1, ..., :3])
