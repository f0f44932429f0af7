"""Agents that differ, and agents made from others: what they share, and what they must not."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import activebmr as ab
from activebmr.agent.agent import Agent
from activebmr.planning.choice import policy_probabilities
from activebmr.simulation.checkpoints import Checkpoint

SETS = np.stack([np.eye(3)[:, [u] * 3] for u in range(3)], axis=2)
STILL = np.eye(2)[:, :, None]


def room(learned=False, **changes):
    """A gaze that controls set, and a hidden thing to look at."""
    a = np.random.default_rng(1).dirichlet(np.ones(4), size=(3, 2)).transpose(2, 0, 1)
    likelihood = {"A": [None], "pA": [20 * a]} if learned else {"A": [a]}
    return ab.POMDP(**{**likelihood, "B": [SETS, STILL], "C": [[0, 1, 2, 3]], "D": [np.eye(3)[0], [0.5, 0.5]], **changes})


def rules():
    counts = {"yes": [[8.0, 1.0], [1.0, 8.0]], "no": [[1.0, 8.0], [8.0, 1.0]]}
    return {name: {"pA[0]": np.array(value)} for name, value in counts.items()}


def thing(**changes):
    return ab.POMDP(**{"A": [None], "pA": [np.ones((2, 2))], "B": [STILL], **changes})


@pytest.mark.parametrize("learned", [False, True])
def test_a_gaze_that_obeys_some_agents_badly_reads_the_right_columns(learned):
    weak = 0.9 * SETS + 0.1 / 3
    agent = Agent(room(learned), planner=ab.Planner(alpha=None), own={"B[0]": np.stack([weak, weak])})
    alone = Agent(room(learned, B=[weak, STILL]), planner=ab.Planner(alpha=None))
    ours, theirs = agent.init(2), alone.init(2)
    for action in ([[1, 0], [2, 0]], [[0, 0], [1, 0]], [[2, 0], [2, 0]]):
        (ours, a), (theirs, b) = agent.step(ours, [[1], [2]], action=action), alone.step(theirs, [[1], [2]], action=action)
        np.testing.assert_allclose(a.neg_efe, b.neg_efe, atol=1e-12)
        np.testing.assert_allclose(a.qs[1], b.qs[1], atol=1e-12)
        np.testing.assert_allclose(a.free_energy, b.free_energy, atol=1e-12)
    if learned:
        np.testing.assert_allclose(ours.counts(0), theirs.counts(0), atol=1e-12)


def test_agents_with_hypotheses_may_want_different_things_of_what_no_hypothesis_speaks_about():
    walk = np.random.default_rng(0).dirichlet(np.ones(2), size=(2, 2)).transpose(2, 0, 1)
    model = ab.POMDP(
        A=[None, np.eye(2)], pA=[np.ones((2, 2)), None], B=[STILL, walk], A_dependencies=[[0], [1]], C=[None, [0.0, 1.0]]
    )
    wants = np.array([[0.0, 1.0], [2.0, 0.0]])
    several = Agent(model, ab.HypothesisSpace(rules()), own={"C[1]": wants})
    _, info = several.step(several.init(2), [[0, 1], [0, 1]], rng=0)
    for k, c in enumerate(wants):
        alone = Agent(model.with_(C=[None, c]), ab.HypothesisSpace(rules()))
        _, one = alone.step(alone.init(1), [[0, 1]], rng=0)
        np.testing.assert_allclose(info.neg_efe[k], one.neg_efe[0], atol=1e-12)


def test_what_users_do_to_their_arrays_afterwards_does_nothing_to_agents():
    counts = np.ones((2, 2, 2))
    agent = Agent(thing(), own={"pA[0]": counts})
    counts[:] = 7.0
    np.testing.assert_array_equal(agent.init(2).counts(0), np.ones((2, 2, 2)))


def test_agents_that_get_hypotheses_later_reason_about_them_as_by_default():
    assert Agent(thing()).with_(hypotheses=ab.HypothesisSpace(rules())).inference == "models"
    assert Agent(thing(), inference="exact").with_(hypotheses=ab.HypothesisSpace(rules())).inference == "exact"


def test_an_infinite_precision_takes_the_best_of_what_the_prior_allows():
    worth, prior = np.array([[3.0, 2.0, 1.0]]), np.array([-np.inf, 0.0, 0.0])
    np.testing.assert_array_equal(policy_probabilities(worth, np.inf, prior), [[0.0, 1.0, 0.0]])
    both = policy_probabilities(np.repeat(worth, 2, axis=0), np.array([[np.inf], [1.0]]), prior)
    np.testing.assert_allclose(both, [[0, 1, 0], [0, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))]])


@pytest.mark.parametrize("way", ["exact", "factorised", "sequential", "mean-field", "paths"])
def test_agents_and_states_survive_pickling_and_copying(way):
    agent = Agent(room(True), inference=way, planner=ab.Planner(alpha=None), trial_length=3)
    state, _ = agent.step(agent.init(2), [[0], [3]])
    expected = agent.step(state, [[1], [1]])[1]
    for twin in (pickle.loads(pickle.dumps((agent, state))), copy.deepcopy((agent, state))):
        found = twin[0].step(twin[1], [[1], [1]])[1]
        np.testing.assert_array_equal(found.neg_efe, expected.neg_efe)


def test_copies_do_not_take_other_wishes_for_the_ones_that_were_worked_out():
    """What is kept by the identity of an object says nothing in a copy, where another object may have that identity."""
    agent = Agent(room(), planner=ab.Planner(alpha=None))
    state, info = agent.step(agent.init(1), [[0]])
    twin = copy.deepcopy(agent)
    outlook = twin._mind.planning._outlook
    wish = twin._mind.planning.preferences.at(1)
    for _, part in outlook._parts:
        for block in part._blocks:
            held = next(iter(block._tables.values()))
            block._tables = {(id(wish),): ([object()], np.zeros_like(held[1]))}
    _, again = twin.step(twin.init(1), [[0]])
    np.testing.assert_array_equal(again.neg_efe, info.neg_efe)


def test_more_agents_with_settings_of_their_own_than_are_simulated_together():
    agent = Agent(room(), planner=ab.Planner(gamma=np.linspace(0.1, 3.0, 70)), trial_length=2)
    result = ab.simulate(ab.Paradigm("room", "differ", agent, agent.model, 2), 70, 1)
    assert len(result.arrays["agent"]) == 70


def test_checkpoints_tell_agents_apart_by_all_their_settings(tmp_path):
    def folder(**options):
        agent = Agent(thing(), trial_length=2, **options)
        return Checkpoint(tmp_path, [ab.Paradigm("thing", "one", agent, agent.model, 2)], {"seed": 0}).folder

    options = [{}, {"inference": "mean-field", "rounds": 3}, {"inference": "mean-field", "rounds": 4}]
    options += [{"own": {"pA[0]": x * np.ones((2, 2, 2))}} for x in (1.0, 2.0)]
    assert len({folder(**o) for o in options}) == len(options)


def test_dreams_of_agents_that_differ_are_refused():
    space = ab.Alternatives(ab.HypothesisSpace(rules()))
    with pytest.raises(ValueError, match="dream of Introspection must be None for agents that differ"):
        Agent(thing(), learning=ab.Learning(rate=[1.0, 2.0]), introspection=ab.Introspection(space, dream="remembered"))
    with pytest.raises(ValueError, match="evidence of Introspection must be 'own' for agents with tables of their own"):
        Agent(thing(), introspection=ab.Introspection(space, evidence="unbiased"), own={"pA[0]": np.ones((2, 2, 2))})


def test_nothing_keeps_a_model_when_its_agents_are_gone():
    model = room(True)
    agent = Agent(model, planner=ab.Planner(alpha=None, depth=1))
    agent.step(agent.init(1), [[0]])
    gone = weakref.ref(model)
    del model, agent
    gc.collect()
    assert gone() is None
