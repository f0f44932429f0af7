"""Reference points against elimination written out on the rules' sentences, and the agents that should stand on them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import Agent, HypothesisSpace, Paradigm
from activebmr.references import ObserverResult, clairvoyant, ideal_observer, lower_bound
from activebmr.simulation.simulate import simulate
from paradigms import three_ball
from paradigms.three_ball import paradigm


def all_rules(n_balls: int, n_colours: int) -> list[tuple[int, tuple[int, ...]]]:
    """(context, criterion of each colour), the context fastest, then the criterion of the first colour."""
    criteria = itertools.product(range(n_balls), repeat=n_colours)  # the last fastest
    return [(context, tuple(c[::-1])) for c in criteria for context in range(n_balls)]


def correct(rule: tuple[int, tuple[int, ...]], balls: tuple[int, ...]) -> int:
    context, criterion = rule
    return balls[criterion[balls[context]]]


def elimination(states: np.ndarray, truths: np.ndarray, n_balls: int = 3, n_colours: int = 3) -> list[int]:
    """Trials until one rule is left, from the balls of every trial ``(agents, trials, balls)``; -1 if there are too few."""
    rules = all_rules(n_balls, n_colours)
    everything = list(itertools.product(range(n_colours), repeat=n_balls))
    table = {r: tuple(correct(r, balls) for balls in everything) for r in rules}
    out = []
    for k, truth in enumerate(truths):
        alive, needed = set(table.values()), -1  # rules that agree everywhere are one
        for i, balls in enumerate(states[k]):
            at = everything.index(tuple(int(b) for b in balls))
            alive = {t for t in alive if t[at] == table[rules[truth]][at]}
            if len(alive) == 1:
                needed = i + 1
                break
        out.append(needed)
    return out


def balls_of(p: Paradigm, n_agents: int, n_trials: int, seed: int) -> np.ndarray:
    """The balls that agents of a simulation with this seed live through."""
    trace = simulate(p, n_agents, n_trials, seed, trace=True).trace["states"]
    states = trace.reshape(n_agents, n_trials, *trace.shape[-2:])  # one scheme
    n_balls = len(p.model.num_states) - 2
    assert (states[:, :, :1, :n_balls] == states[:, :, :, :n_balls]).all()
    return states[:, :, 0, :n_balls]


def measured(result, name: str) -> np.ndarray:
    return np.asarray(result[name])


# --- the references themselves ----------------------------------------------------------------------------------------------


def test_rules_are_what_this_file_thinks_they_are():
    space, rules = three_ball.rules(), all_rules(3, 3)
    assert rules[64] == (1, (0, 1, 2)) and three_ball.PAPER_RULE == 64
    for h, rule in enumerate(rules):
        tensor = space.dense(h, 2)
        for balls in itertools.product(range(3), repeat=3):
            for answer in range(3):
                says = int(tensor[(slice(None), *balls, 0, answer)].argmax())
                assert says == (1 if answer == correct(rule, balls) else 2)


@pytest.mark.parametrize(
    ("truth", "size"), [(None, (3, 3)), ("random", (3, 3)), (5, (3, 3)), ("random", (4, 2)), ("random", (2, 3))]
)
def test_ideal_observer_is_elimination(truth, size):
    n_agents, n_trials, seed = 24, 40, 5
    p = paradigm("paper-none", truth, n_balls=size[0], n_colours=size[1])
    balls = balls_of(p, n_agents, n_trials, seed)
    truths = p.truths(seed, np.arange(n_agents))
    by_hand = np.array(elimination(balls, truths, *size))
    ideal = ideal_observer(p, n_agents, n_trials, seed)
    assert_array_equal(ideal.finished, by_hand > 0)
    assert_array_equal(ideal.trials, np.where(by_hand > 0, by_hand, n_trials))
    assert (truth == "random") == (len(set(truths)) > 1)


def test_ideal_observer_stands_on_the_published_floor():
    """10.5 trials for the paper's rule, 11.17 for uniform rules (20,000 runs of a separate script)."""
    for truth, floor in ((None, 10.5), ("random", 11.17)):
        r = ideal_observer(paradigm("reasoning", truth), 2048, 200, seed=1)
        assert r.finished.all()
        assert abs(r.mean - floor) < 4 * r.standard_error + 0.03
    assert 4.0 < r.trials.std() < 6.0


def test_ideal_observer_is_the_same_for_all_schemes_and_counts_late_ones():
    few = ideal_observer(paradigm("paper"), 32, 6, seed=2)
    many = ideal_observer(paradigm("reasoning"), 64, 200, seed=2)
    assert_array_equal(few.finished, many.trials[:32] <= 6)
    assert_array_equal(few.trials, np.minimum(many.trials[:32], 6))
    assert "not done in time" in repr(few) and "not done" not in repr(many)
    assert isinstance(few, ObserverResult)
    assert_allclose(many.standard_error, many.trials.std(ddof=1) / math.sqrt(64))


def test_lower_bound():
    assert_allclose(lower_bound(three_ball.rules(), 3), math.log(75) / math.log(3))  # 81 rules, 75 distinct
    one = np.array([[8.0, 1.0], [1.0, 8.0]])
    three = HypothesisSpace({"a": {"pA[0]": one}, "b": {"pA[0]": one[::-1]}, "same as a": {"pA[0]": one}})
    assert_allclose(lower_bound(three, 2), 1.0)
    for answers in (1, 0):
        with pytest.raises(ValueError, match="answers must be at least 2"):
            lower_bound(three, answers)


def test_ideal_observer_needs_hypotheses():
    world = three_ball.known_rule(64)
    with pytest.raises(ValueError, match="with hypotheses to tell apart"):
        ideal_observer(Paradigm("x", "y", Agent(world), world, 6))


def test_logic_needs_a_world_that_leaves_nothing_to_chance():
    with pytest.raises(ValueError, match="leave nothing to chance"):
        ideal_observer(three_ball.paradigm("reasoning", lies=0.1), 4)
    with pytest.raises(ValueError, match="n_agents must be a whole number >= 1; got 0"):
        ideal_observer(three_ball.paradigm("reasoning"), 0)


def test_observer_who_sets_the_states_and_observer_who_is_told():
    assert (ideal_observer(three_ball.paradigm("laboratory"), 8).trials == 4).all()
    told = clairvoyant(three_ball.paradigm("reasoning"), 8, 24, seed=1)
    assert (told.discovery_trials[0] == ideal_observer(three_ball.paradigm("reasoning"), 8, 24, seed=1).trials).all()


# --- agents that should stand on them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("truth", [None, "random"])
def test_reasoning_agents_find_rules_when_logic_can(truth):
    """Agent by agent: the rule is found in the trial in which elimination leaves it alone, and it is the true one."""
    p = paradigm("reasoning", truth)
    result, ideal = simulate(p, 64, 48, seed=3), ideal_observer(p, 64, 48, seed=3)
    assert ideal.finished.all()
    truths, cls = p.truths(3, np.arange(64)), p.hypotheses.distinct()[1]
    adopted = measured(result, "adopted_model")[0]
    assert (adopted >= 0).all()
    assert_array_equal(cls[adopted], cls[truths])
    found = measured(result, "discovery_trials")[0]
    assert (found >= ideal.trials).all()  # nobody is faster than logic
    assert_array_equal(found, ideal.trials)


def test_looking_ahead_does_not_put_off_what_can_be_learned_now():
    p = paradigm("reasoning", agent=three_ball.reasoning_agent(lookahead=1))
    result, ideal = simulate(p, 8, 32, seed=1), ideal_observer(p, 8, 32, seed=1)
    assert_array_equal(measured(result, "discovery_trials")[0], ideal.trials)


def test_laboratory_needs_four_trials():
    p = paradigm("laboratory")
    result = simulate(p, 64, 8, seed=0)
    assert_array_equal(measured(result, "discovery_trials")[0], 4)
    assert_array_equal(measured(result, "adopted_model")[0], 64)
    assert lower_bound(p.hypotheses, 3) <= 4


def test_laboratory_for_random_rules():
    p = paradigm("laboratory", "random")
    result = simulate(p, 64, 10, seed=0)
    found = measured(result, "discovery_trials")[0]
    assert found.min() >= 3 and found.max() <= 5  # rules that few others resemble are found in 3
    assert abs(found.mean() - 4.34) < 0.2
    cls = p.hypotheses.distinct()[1]
    assert_array_equal(cls[measured(result, "adopted_model")[0]], cls[p.truths(0, np.arange(64))])


def test_clairvoyants_are_not_slower_than_logic():
    p = paradigm("clairvoyant")
    result, ideal = simulate(p, 32, 48, seed=3), ideal_observer(p, 32, 48, seed=3)
    found = measured(result, "discovery_trials")[0]
    assert (found >= ideal.trials).all()
    assert found.mean() <= ideal.mean + 0.5


def test_four_balls_of_two_colours():
    p = paradigm("reasoning", "random", n_balls=4, n_colours=2)
    result, ideal = simulate(p, 32, 40, seed=1), ideal_observer(p, 32, 40, seed=1)
    found = measured(result, "discovery_trials")[0]
    assert ideal.finished.all()
    assert (found >= ideal.trials).all()
    assert found.mean() <= 1.05 * ideal.mean
    cls = p.hypotheses.distinct()[1]
    assert_array_equal(cls[measured(result, "adopted_model")[0]], cls[p.truths(1, np.arange(32))])


@pytest.mark.parametrize("known", [True, False])
def test_lying_feedback_ends_with_the_right_rule(known):
    p = paradigm("reasoning", lies=0.1, lies_known=known)
    result = simulate(p, 32, 96, seed=0)
    assert_array_equal(measured(result, "adopted_model")[0], 64)


def test_without_lies_the_options_change_nothing():
    plain, told = (
        simulate(p, 4, 14, seed=1) for p in (paradigm("reasoning"), paradigm("reasoning", lies=0.0, lies_known=False))
    )
    for name in ("free_energy", "kl_to_truth", "model_posterior"):
        assert_array_equal(measured(plain, name), measured(told, name))
    for lies in (-0.1, 0.5):
        with pytest.raises(ValueError, match="lies must be a probability"):
            paradigm("reasoning", lies=lies)


@pytest.mark.parametrize(
    "scheme", ["paper", "paper-exact", "paper-no-model", "paper-states", "paper-none", "paper-no-selection"]
)
def test_papers_schemes_know_nothing_of_this(scheme):
    """No joint posterior, filtered learning, hypotheses worth one count, 81 of them: what parity with SPM rests on."""
    agent = paradigm(scheme).agent
    assert agent.reasoning is None and not agent.reasons_jointly
    assert agent.init(1).belief.known[:3] == [None] * 3  # marginals of the balls
    assert not agent.learning.smooth and agent.learning.retention == 512 / 513
    assert not agent.selection.last_outcome and agent.selection.curious
    assert agent.inference == "sequential" and agent.planner.depth == 1 and agent.planner.alpha == 512
    assert agent.planner.search == "states" and agent.planner.modalities == "separate" and agent.planner.extra_step
    assert len(agent.hypotheses) == 81 and agent.hypotheses.tables[2].columns.max() == 1.0
    assert paradigm(scheme).preparation is None


RECORDED = {
    "paper": (306.1234551875486, -739.6267163077443, 6929.880880677421),
    "paper-no-model": (323.01152019854203, -765.1157895910645, 7128.1684992716855),
    "paper-states": (240.51589611198284, -783.8062472794625, 7281.6121770774225),
    "paper-none": (208.02655450899545, -798.505552005057, 9151.972861063643),
}
"""Free energy, confidence and divergence, summed over all trials."""


def test_papers_schemes_keep_their_numbers():
    """Recorded before there was joint reasoning (commit 9f4e7e9): 4 agents, 12 trials, seed 0."""
    result = simulate([paradigm(s) for s in RECORDED], 4, 12, seed=0)
    for i, (scheme, (free_energy, confidence, kl)) in enumerate(RECORDED.items()):
        assert_allclose(measured(result, "free_energy")[i].sum(), free_energy, rtol=1e-9, err_msg=scheme)
        assert_allclose(measured(result, "confidence")[i].sum(), confidence, rtol=1e-9, err_msg=scheme)
        assert_allclose(measured(result, "kl_to_truth")[i].sum(), kl, rtol=1e-9, err_msg=scheme)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [None, "random"])
def test_2048_agents_stand_on_the_floor(rule):
    paradigm = three_ball.paradigm("reasoning", rule)
    result, ideal = simulate(paradigm, 2048, 64, jobs=2), ideal_observer(paradigm, 2048, 64)
    assert not result.adopted_wrong.any()
    assert result.adopted_truth.all()
    assert abs(result.discovery_trials[0] - ideal.trials).mean() < 0.05


@pytest.mark.slow
def test_the_papers_hypotheses_and_the_laboratory():
    soft = three_ball.paradigm("reasoning", agent=three_ball.reasoning_agent(concentration=1.0))
    assert simulate(soft, 512, 64, jobs=2).discovery_trials.mean() <= 17.0
    assert simulate(three_ball.paradigm("laboratory"), 512, 16, jobs=2).discovery_trials.mean() <= 4.1


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
def test_lies_do_not_mislead(known):
    result = simulate(three_ball.paradigm("reasoning", lies=0.1, lies_known=known), 1024, 96, jobs=2)
    assert result.adopted_truth.mean() >= 0.99
