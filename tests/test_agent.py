"""`Agent`: learning, forgetting, adopting a hypothesis, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from worlds import lamp_rules, random_controls, random_outcomes, random_world, two_rooms

from activebmr import Agent, HypothesisSpace, Learning, Planner, Selection, dirichlet, reduction

BRIGHT, DARK, BROKEN = range(3)
LEFT, RIGHT = range(2)
STAY = [LEFT, 0]


SPM = Planner(depth=1, search="states", modalities="separate", extra_step=True)
IMPOSSIBLE = pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")


def reasoner(model=None, **options) -> Agent:
    held = {"planner": SPM, "inference": "factorised", "selection": Selection(threshold=3.0, curious=True)}
    return Agent(model or two_rooms(), lamp_rules(), **(held | options))


def live(agent, state, outcomes, action=STAY):
    """Steps through outcomes ``[(place, light), ...]`` under one action; the last report."""
    for outcome in outcomes:
        state, info = agent.step(state, list(outcome), action=action)
    return state, info


# --- shapes --------------------------------------------------------------------------------------------------------------
def test_a_single_agent_reports_without_an_axis_for_agents(rng):
    agent = Agent(two_rooms())
    state, info = agent.step(agent.init(), [LEFT, BRIGHT], rng)
    assert info.q_pi.shape == info.utility.shape == info.neg_efe.shape == (2,)
    assert [q.shape for q in info.qs] == [(2,), (2,)]
    assert info.controls.shape == (2,)
    assert np.ndim(info.free_energy) == np.ndim(info.policy) == np.ndim(info.confidence) == 0
    assert isinstance(info.action, int)
    assert info.model_posterior is None
    assert (state.t, state.trial, state.n_agents) == (1, 0, 1)


def test_a_batch_reports_with_agents_first(rng):
    agent = reasoner()
    state, info = agent.step(agent.init(3), np.array([[LEFT, BRIGHT]] * 3), rng)
    assert info.q_pi.shape == (3, 2)
    assert info.model_posterior.shape == (3, 2)
    assert info.free_energy.shape == info.confidence.shape == info.policy.shape == (3,)
    assert info.controls.shape == (3, 2)
    assert info.action.shape == (3, 1)
    assert agent.posterior_counts(state, "light").shape == (3, 3, 2, 2)
    assert_array_equal(state.counts(1), agent.posterior_counts(state, "light"))
    state, done = agent.end_trial(state)
    assert done.model_posterior.shape == (3, 2)
    assert done.log_odds.shape == done.best_model.shape == done.adopted_now.shape == (3,)
    assert (state.t, state.trial, state.controls) == (0, 1, None)
    assert_array_equal(state.qs[0], [[1.0, 0.0]] * 3)


@pytest.mark.parametrize("form", ["integers", "lists", "arrays", "probabilities"])
def test_observations_may_be_given_in_any_form(form, rng):
    """Integers and certain probabilities are the same observation."""
    agent, seen = reasoner(two_rooms(D=None)), np.array([[LEFT, BRIGHT], [LEFT, DARK], [RIGHT, DARK]])
    forms = {
        "integers": seen,
        "lists": [seen[:, 0].tolist(), seen[:, 1].tolist()],
        "arrays": list(seen.T),
        "probabilities": [np.eye(2)[seen[:, 0]], np.eye(3)[seen[:, 1]]],
    }
    state, info = agent.step(agent.init(3), forms[form], action=[STAY] * 3)
    expected, reference = agent.step(agent.init(3), seen, action=[STAY] * 3)
    assert_allclose(info.neg_efe, reference.neg_efe, rtol=1e-12)
    assert_allclose(info.free_energy, reference.free_energy, rtol=1e-12)
    assert_allclose(state.counts(1), expected.counts(1), rtol=1e-12)
    for k in range(3):  # and alone
        alone = {"integers": seen[k], "lists": seen[k].tolist(), "arrays": [seen[k, :1], seen[k, 1:]]}
        alone["probabilities"] = [np.eye(2)[seen[k, 0]], np.eye(3)[seen[k, 1]]]
        _, single = agent.step(agent.init(), alone[form], action=STAY)
        assert_allclose(single.neg_efe, reference.neg_efe[k], rtol=1e-12)


def test_one_modality_may_be_observed_as_a_number(rng):
    model = two_rooms(A=[np.eye(2)], C=None, pA=None, A_dependencies=[[0]], labels={})
    agent = Agent(model)
    a, first = agent.step(agent.init(), LEFT, action=STAY)
    b, second = agent.step(agent.init(1), np.array([LEFT]), action=[STAY])
    assert_array_equal(first.q_pi, second.q_pi[0])


# --- beliefs by hand -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("inference", ["factorised", "sequential"])
def test_bayes_rule_by_hand(inference):
    agent = Agent(two_rooms(), inference=inference)
    _, info = agent.step(agent.init(), [LEFT, BRIGHT], action=STAY)
    likelihood = np.array([4 / 6, 1 / 6])  # of bright, lamp on or off, from counts (4, 1, 1) and (1, 4, 1)
    assert_allclose(info.qs[1], likelihood / likelihood.sum())
    assert_allclose(info.free_energy, -np.log(likelihood.mean()))
    assert_allclose(info.qs[0], [1.0, 0.0])


@pytest.mark.parametrize("inference", ["exact", "factorised", "sequential"])
def test_an_impossible_outcome_costs_32_nats_and_no_nan(inference):
    agent = Agent(two_rooms(D=[[0.0, 1.0], None]), inference=inference)
    with pytest.warns(UserWarning, match="impossible: place=1, light=broken at time 0"):
        state, info = agent.step(agent.init(), [RIGHT, BROKEN], action=STAY)
    assert info.impossible
    assert_allclose(info.free_energy, 32.0)
    assert_allclose(info.qs[1], [0.5, 0.5])
    assert_array_equal(state.counts(1)[0], agent.init().counts(1)[0])  # a structural zero: nothing was learned


# --- learning ------------------------------------------------------------------------------------------------------------
def test_counts_grow_by_outcome_times_belief():
    agent = Agent(two_rooms(), learning=Learning(rate=2.0))
    before = agent.init()
    after, info = agent.step(before, [LEFT, BRIGHT], action=STAY)
    gained = agent.posterior_counts(after, "light")[0] - agent.posterior_counts(before, "light")[0]
    expected = np.zeros((3, 2, 2))
    expected[BRIGHT, LEFT] = 2.0 * info.qs[1]
    assert_allclose(gained, expected, atol=1e-14)


@IMPOSSIBLE
@given(st.integers(0, 10**6), st.sampled_from(["exact", "factorised", "sequential"]))
def test_structural_zeros_are_never_learned_and_each_outcome_counts_once(seed, inference):
    rng, model = np.random.default_rng(seed), random_world(seed)
    agent = Agent(model, inference=inference, learning=Learning(rate=0.5, retention=0.9))
    state = agent.init(3)
    for _ in range(2):
        for _ in range(3):
            old, state = (
                state,
                agent.step(state, random_outcomes(rng, model, 3, soft=True), action=random_controls(rng, model, 3))[0],
            )
            for m in model.learned_modalities:
                gained = (state.counts(m) - old.counts(m)).reshape(3, -1).sum(axis=1)
                assert (gained <= 0.5 + 1e-9).all()
                if (model.pA[m] > 0).all():
                    assert_allclose(gained, 0.5, rtol=1e-9)
        kept, state = state, agent.end_trial(state)[0]
        for m in model.learned_modalities:
            assert_array_equal(state.counts(m), 0.9 * kept.counts(m))
    for m in model.learned_modalities:
        zero = np.broadcast_to(model.pA[m] == 0, (3, *model.pA[m].shape)).reshape(state.counts(m).shape)
        assert_array_equal(state.counts(m) == 0, zero)


def test_known_modalities_have_no_counts():
    agent = Agent(two_rooms())
    with pytest.raises(ValueError, match=r"modality 0 is known to the agent \(its pA is None\): it has no counts"):
        agent.init().counts(0)
    with pytest.raises(ValueError, match=r"modality must be one of \['place', 'light'\]; got 'smell'"):
        agent.posterior_counts(agent.init(), "smell")


def test_an_agent_that_knows_enough_expects_no_more_about_parameters():
    """Once every column holds a count of the cut-off, at once and not only after a trial (SPM)."""
    sure = np.array([[300.0, 1.0], [1.0, 255.5]])
    model = two_rooms(A=[np.eye(2), None], pA=[None, sure], A_dependencies=[[0], [0]], C=None, D=[[0.0, 1.0], None], labels={})
    agent = Agent(model)
    state, info = agent.step(agent.init(), [RIGHT, 1], action=[RIGHT, 0])
    assert (info.param_info_gain > 0).all()  # 255.5: one column is below
    state, info = agent.step(state, [RIGHT, 1], action=[RIGHT, 0])
    assert_array_equal(info.param_info_gain, [0.0, 0.0])  # 256.5


def test_each_agent_of_a_batch_knows_enough_for_itself():
    sure = np.array([[300.0, 1.0], [1.0, 255.5]])
    model = two_rooms(A=[np.eye(2), None], pA=[None, sure], A_dependencies=[[0], [0]], C=None, D=[[0.0, 1.0], None], labels={})
    agent = Agent(model)
    state, _ = agent.step(agent.init(2), np.array([[RIGHT, 1], [RIGHT, 0]]), action=[[RIGHT, 0]] * 2)
    _, info = agent.step(state, np.array([[RIGHT, 1], [RIGHT, 0]]), action=[[RIGHT, 0]] * 2)
    assert_array_equal(info.param_info_gain[0], [0.0, 0.0])
    assert (info.param_info_gain[1] > 0).all()


def test_an_agent_that_forgot_enough_is_curious_again():
    sure = np.array([[300.0, 1.0], [1.0, 256.5]])
    model = two_rooms(A=[np.eye(2), None], pA=[None, sure], A_dependencies=[[0], [0]], C=None, D=[[0.0, 1.0], None], labels={})
    agent = Agent(model, learning=Learning(retention=0.9))
    state, info = agent.step(agent.init(), [RIGHT, 0], action=[RIGHT, 0])
    assert_array_equal(info.param_info_gain, [0.0, 0.0])
    state, _ = agent.end_trial(state)
    _, info = agent.step(state, [RIGHT, 1], action=[RIGHT, 0])
    assert (info.param_info_gain > 0).all()


# --- hypotheses ----------------------------------------------------------------------------------------------------------
def test_posterior_over_hypotheses_is_that_of_bayesian_model_reduction():
    agent = reasoner(learning=Learning(rate=1.5, retention=0.999))
    state = agent.init(2)
    for outcome in ([LEFT, BRIGHT], [RIGHT, BRIGHT], [RIGHT, DARK]):
        state, _ = agent.step(state, np.array([outcome] * 2), action=[[RIGHT, 0]] * 2)
    counts = agent.posterior_counts(state, "light")[0]
    expected = reduction.model_posterior(counts, agent.model.pA[1], agent.hypotheses, offset=1 / 32)
    _, info = agent.step(state, np.array([[RIGHT, DARK]] * 2), action=[STAY] * 2)
    assert_allclose(info.model_posterior, [expected] * 2, rtol=1e-9)  # before this step's outcome is learned
    state, _ = agent.end_trial(state)
    _, info = agent.step(state, np.array([[LEFT, DARK]] * 2), action=[STAY] * 2)
    remembered = reduction.model_posterior(0.999 * counts, agent.model.pA[1], agent.hypotheses, offset=1 / 32)
    assert_allclose(info.model_posterior, [remembered] * 2, rtol=1e-9)


def test_forgetting_below_the_prior_keeps_the_posterior_finite():
    """Counts that fall below what the prior held are no evidence; they must not turn the hypotheses' scores into nan."""
    agent = reasoner(learning=Learning(retention=0.5))
    state = agent.init()
    for _ in range(4):
        state, info = live(agent, state, [[LEFT, BRIGHT], [RIGHT, DARK]], action=[RIGHT, 0])
        state, done = agent.end_trial(state)
        assert np.isfinite(done.model_posterior).all()
        assert_allclose(info.model_posterior.sum(), 1.0)
        assert np.isfinite(info.neg_efe).all()


def seen_in_the_right_room(agent, state=None, outcome=BRIGHT):
    """A trial in which the lamp, made sure of in the left room, is then seen in the right one too, again and again."""
    state = agent.init() if state is None else state
    state, _ = live(agent, state, [[LEFT, BRIGHT]] * 5, action=STAY)
    state, _ = live(agent, state, [[LEFT, BRIGHT]], action=[RIGHT, 0])
    return live(agent, state, [[RIGHT, outcome]] * 8, action=[RIGHT, 0])


def test_a_hypothesis_is_adopted_when_its_log_odds_pass_occams_window():
    state, info = seen_in_the_right_room(reasoner())
    odds = reduction.log_odds(info.model_posterior)
    assert info.model_posterior.argmax() == 1
    assert 1.0 < odds < 30.0
    for threshold, adopts in ((odds * (1 - 1e-9), True), (odds * (1 + 1e-9), False), (np.inf, False)):
        agent = reasoner(selection=Selection(threshold=threshold, concentration=64.0, curious=True))
        state, info = seen_in_the_right_room(agent)
        learned = state.counts(1)[0].copy()
        after, done = agent.end_trial(state)
        assert done.adopted_now[0] == adopts
        assert after.adopted[0] == (1 if adopts else -1)
        assert_allclose(done.log_odds, [odds])
        assert_array_equal(done.best_model, [1])
        average = 64.0 * reduction.bayesian_model_average(agent.hypotheses, 1, info.model_posterior)
        assert_allclose(after.counts(1)[0].reshape(3, 2, 2), average if adopts else learned.reshape(3, 2, 2), rtol=1e-12)


@pytest.mark.parametrize("order", [("left", "both"), ("both", "left")])
def test_until_insight_an_agent_is_only_curious(order):
    """Flat preferences and no search before adoption; its own preferences and the planner's depth after it."""
    space = HypothesisSpace({name: {1: lamp_rules().dense(name, 1)} for name in order})
    options = {"inference": "factorised", "selection": Selection(threshold=0.5, curious=True)}
    agent = Agent(two_rooms(), space, SPM, **options)
    state, info = seen_in_the_right_room(agent)
    assert_allclose(info.utility, -np.log(2) - np.log(3))
    terms = info.utility + info.state_info_gain + info.param_info_gain + info.model_info_gain
    assert_allclose(info.neg_efe, terms, rtol=1e-12)
    state, done = agent.end_trial(state)
    assert done.adopted_now[0]
    assert state.adopted[0] == order.index("both")
    _, info = agent.step(state, [LEFT, BRIGHT], action=STAY)
    own = np.log(reduction.softmax(np.array([1.0, 0.0, -2.0])))
    assert_allclose(info.utility[LEFT], np.log(0.5) + expected_light(agent, state, info) @ own, rtol=1e-9)
    terms = info.utility + info.state_info_gain + info.param_info_gain + info.model_info_gain
    assert (np.abs(info.neg_efe - terms) > 0.1).all()  # the search adds what may follow


def expected_light(agent, state, info):
    """What the agent expects to see if it stays in the left room."""
    counts = agent.posterior_counts(state, "light")[0][:, LEFT]
    return counts / counts.sum(axis=0) @ info.qs[1]


def test_an_agent_that_is_not_curious_wants_and_searches_from_the_start():
    agent = reasoner(selection=Selection(curious=False))
    state, info = live(agent, agent.init(), [[LEFT, BRIGHT]])
    assert np.ptp(info.utility) > 1e-3


def test_adopting_a_hypothesis_keeps_its_posterior_finite():
    """What is adopted may put nothing where the prior had counts: that is no evidence of minus one observation."""
    light = np.array(two_rooms().pA[1])
    light[:2, LEFT] = [[400.0, 1.0], [1.0, 400.0]]
    model = two_rooms(pA=[None, light])
    options = {"inference": "factorised", "selection": Selection(threshold=4.0, concentration=16.0)}
    agent = Agent(model, lamp_rules(model), **options)
    state, odds = agent.init(), []
    for _ in range(12):
        state, info = seen_in_the_right_room(agent, state)
        assert np.isfinite(info.model_posterior).all()
        assert np.isfinite(info.neg_efe).all()
        state, done = agent.end_trial(state)
        odds.append(done.log_odds[0])
    assert state.adopted[0] == 1
    assert (np.array(odds)[-3:] > 4.0).all()


def test_what_was_adopted_first_stays_adopted():
    agent = reasoner(selection=Selection(threshold=0.5, concentration=32.0))
    state, _ = agent.end_trial(seen_in_the_right_room(agent)[0])
    assert state.adopted[0] == 1
    again = []
    for _ in range(30):  # from now on the right room's light tells the opposite of the lamp
        state, _ = seen_in_the_right_room(agent, state, DARK)
        state, done = agent.end_trial(state)
        again.append((int(done.best_model[0]), bool(done.adopted_now[0])))
    assert (0, True) in again  # the other hypothesis passed the window and its average was taken over ...
    assert state.adopted[0] == 1  # ... but which was the first insight is not rewritten


def test_what_was_adopted_is_what_is_used_in_later_trials():
    """Adopted counts decay like all others, and expectations follow from them: also about the room that was never seen."""
    both, prior = lamp_rules().dense("both", 1), two_rooms().pA[1]
    space = HypothesisSpace({"both": {1: both}, "neither": {1: 1.0 * (prior > 0)}})
    planner = Planner(search="states", modalities="separate")
    held = {"planner": planner, "inference": "factorised", "learning": Learning(retention=0.9)}
    agent = Agent(two_rooms(), space, selection=Selection(threshold=1.0, concentration=64.0), **held)
    never_again = Agent(two_rooms(), space, selection=Selection(threshold=np.inf), **held)
    state, done = agent.end_trial(live(agent, agent.init(), [[LEFT, BRIGHT]] * 12)[0])
    assert done.adopted_now[0]
    for _ in range(2):
        state, _ = never_again.end_trial(live(never_again, state, [[LEFT, BRIGHT]])[0])
    light = never_again.posterior_counts(state, "light")[0]
    average = 64.0 * reduction.bayesian_model_average(space, 1, done.model_posterior[0])
    assert_allclose(light[:, RIGHT], 0.9**2 * average[:, RIGHT], rtol=1e-12)
    _, info = never_again.step(state, [LEFT, BRIGHT], action=STAY)
    wants = np.log(reduction.softmax(np.array([1.0, 0.0, -2.0])))
    for room in (LEFT, RIGHT):
        seen = light[:, room] / light[:, room].sum(axis=0) @ info.qs[1]
        novelty = dirichlet.information_gain(light[:, room]) @ info.qs[1]
        assert_allclose(info.utility[room], np.log(0.5) + seen @ wants, rtol=1e-9)
        assert_allclose(info.param_info_gain[room], seen @ novelty, rtol=1e-9)


def test_the_prior_over_hypotheses_counts():
    space = lamp_rules()
    dense = {n: {"pA[1]": space.dense(n, 1)} for n in space.names}
    agent = Agent(two_rooms(), HypothesisSpace(dense, prior=[0.9, 0.1]), inference="factorised")
    assert_allclose(agent.init().model_posterior, [[0.9, 0.1]])
    fair = Agent(two_rooms(), HypothesisSpace(dense), inference="factorised")
    state, _ = live(agent, agent.init(), [[LEFT, BRIGHT]] * 3)
    _, info = agent.step(state, [LEFT, BRIGHT], action=STAY)
    other, _ = live(fair, fair.init(), [[LEFT, BRIGHT]] * 3)
    _, even = fair.step(other, [LEFT, BRIGHT], action=STAY)
    weighted = even.model_posterior * [0.9, 0.1]
    assert_allclose(info.model_posterior, weighted / weighted.sum(), rtol=1e-10)


# --- states are values ---------------------------------------------------------------------------------------------------
def public(state) -> list[np.ndarray]:
    held = [*state.qs, state.adopted, state.counts(1), np.array([state.t, state.trial]), state.knowledge.models.values]
    return [np.array(x) for x in (*held, state.model_posterior, [] if state.controls is None else state.controls)]


def reports(info) -> list[np.ndarray]:
    names = ("free_energy", "utility", "state_info_gain", "param_info_gain", "model_info_gain", "neg_efe", "q_pi", "policy")
    return [*(np.array(q) for q in info.qs), *(np.array(getattr(info, n)) for n in (*names, "controls", "model_posterior"))]


@IMPOSSIBLE
def test_a_step_leaves_the_state_it_was_given_as_it_was():
    agent = reasoner(learning=Learning(retention=0.999), selection=Selection(threshold=0.5))
    state = agent.init(3)
    for t in range(4):
        seen = np.array([[LEFT, BRIGHT], [RIGHT, DARK], [RIGHT, BROKEN]])
        before = public(state)
        first, info = agent.step(state, seen, np.random.default_rng(t))
        told, became = reports(info), public(first)
        agent.step(state, seen[::-1], np.random.default_rng(9))
        agent.end_trial(state)
        agent.end_trial(first)
        agent.step(first, seen[::-1], np.random.default_rng(8))
        for a, b in zip(public(state), before, strict=True):
            assert_array_equal(a, b)
        second, again = agent.step(state, seen, np.random.default_rng(t))
        for a, b in zip((*reports(again), *public(second)), (*told, *became), strict=True):
            assert_array_equal(a, b)
        for a, b in zip((*reports(info), *public(first)), (*told, *became), strict=True):
            assert_array_equal(a, b)
        state = first


def test_actions_follow_the_generator_and_the_posterior():
    agent = Agent(two_rooms(), planner=Planner(alpha=2.0))
    state = agent.init(4000)
    seen = np.zeros((4000, 2), dtype=int)
    _, info = agent.step(state, seen, np.random.default_rng(1))
    _, again = agent.step(state, seen, np.random.default_rng(1))
    assert_array_equal(info.policy, again.policy)
    chance = reduction.softmax(2.0 * (info.neg_efe[0] + agent.model.log_policy_prior))
    assert abs((info.policy == 0).mean() - chance[0]) < 4 * np.sqrt(chance.prod() / 4000)
    best = Agent(two_rooms(), planner=Planner(alpha=None))
    _, sure = best.step(best.init(3), seen[:3])
    assert_array_equal(sure.policy, [info.neg_efe[0].argmax()] * 3)
    assert_array_equal(sure.action[:, 0], sure.controls[:, 0])


def test_a_given_action_is_taken_and_named():
    agent = Agent(two_rooms(policies=[[LEFT, 0]]))
    state, info = agent.step(agent.init(), [LEFT, DARK], action=[RIGHT, 0])
    assert info.policy == -1  # no policy of the agent does that
    assert_array_equal(info.controls, [RIGHT, 0])
    state, info = agent.step(state, [RIGHT, DARK], action=[LEFT, 0])
    assert_array_equal(info.qs[0], [0.0, 1.0])
    assert info.policy == 0


def test_confidence_is_minus_the_entropy_of_policies():
    agent = Agent(two_rooms())
    _, info = agent.step(agent.init(), [LEFT, DARK], action=STAY)
    assert_allclose(info.confidence, (info.q_pi * np.log(info.q_pi)).sum())


# --- bad input -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: Agent("model"), TypeError, "model of Agent must be a POMDP; got str"),
        (lambda: Agent(None), TypeError, "model of Agent must be a POMDP; got NoneType"),
        (lambda: Agent(two_rooms(), {}), TypeError, "hypotheses of Agent must be a HypothesisSpace; got dict"),
        (lambda: Agent(two_rooms(), None, 1), TypeError, "planner of Agent must be a Planner; got int"),
        (lambda: Agent(two_rooms(), learning=0.1), TypeError, "learning of Agent must be a Learning; got float"),
        (lambda: Agent(two_rooms(), selection=16), TypeError, "selection of Agent must be a Selection; got int"),
        (lambda: Agent(two_rooms(), inference="magic"), ValueError, r"inference of Agent must be one of \[.*\]; got 'magic'"),
        (
            lambda: Agent(two_rooms(), trial_length=0),
            ValueError,
            "trial_length of Agent must be a whole number >= 1, or None; got 0",
        ),
        (
            lambda: Agent(two_rooms(), trial_length=2.5),
            ValueError,
            "trial_length of Agent must be a whole number >= 1, or None",
        ),
        (
            lambda: Agent(two_rooms(policy_length=2), planner=Planner(depth=1)),
            ValueError,
            "depth of Planner must be 0 for policies of several steps; got depth 1 and policies of 2 steps",
        ),
        (
            lambda: Agent(two_rooms(pA=[None, None], A=[np.eye(2), np.full((3, 2, 2), 1 / 3)]), lamp_rules(two_rooms())),
            ValueError,
            r"hypotheses speak about modality 1, but pA\[1\] of the model is None",
        ),
        (
            lambda: Agent(two_rooms()).init(0),
            ValueError,
            "n_agents must be a whole number >= 1, or None for a single agent; got 0",
        ),
        (lambda: Agent(two_rooms()).init(1.5), ValueError, "n_agents must be a whole number >= 1"),
        (lambda: Learning(rate=-0.5), ValueError, "rate of Learning must be a finite number >= 0; got -0.5"),
        (lambda: Learning(rate=np.nan), ValueError, "rate of Learning must be a finite number >= 0; got nan"),
        (lambda: Learning(smooth="no"), TypeError, "smooth of Learning must be True or False; got 'no'"),
        (lambda: Learning(retention=0.0), ValueError, r"retention of Learning must lie in \(0, 1\]; got 0.0"),
        (lambda: Learning(retention=1.1), ValueError, r"retention of Learning must lie in \(0, 1\]; got 1.1"),
        (lambda: Learning(retention=np.nan), ValueError, r"retention of Learning must lie in \(0, 1\]; got nan"),
        (
            lambda: Selection(threshold=np.nan),
            ValueError,
            "threshold of Selection must be a number of nats, or inf for never; got nan",
        ),
        (lambda: Selection(concentration=0.0), ValueError, "concentration of Selection must be a finite number > 0; got 0.0"),
        (lambda: Selection(offset=0.0), ValueError, "offset of Selection must be a finite number > 0; got 0.0"),
        (lambda: Selection(offset=np.inf), ValueError, "offset of Selection must be a finite number > 0; got inf"),
    ],
)
def test_bad_parts_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "n_agents, observation, error, message",
    [
        (
            2,
            np.zeros((2, 3), dtype=int),
            ValueError,
            r"observation must have shape \(2, 2\) \(agents, modalities\); got \(2, 3\)",
        ),
        (
            3,
            np.zeros((2, 2), dtype=int),
            ValueError,
            r"observation must have shape \(3, 2\) \(agents, modalities\); got \(2, 2\)",
        ),
        (3, np.zeros(3, dtype=int), ValueError, r"observation must have shape \(3, 2\) \(agents, modalities\)"),
        (3, 0, ValueError, r"observation must have shape \(3, 2\) \(agents, modalities\)"),
        (None, np.array([0, 1, 0]), ValueError, r"observation must have shape \(1, 2\) \(agents, modalities\)"),
        (None, 1, ValueError, r"observation must have"),  # a number is enough for one modality only, not for two
        (2, [np.zeros(2, dtype=int)], ValueError, r"observation must have one entry per modality \(2\); got 1"),
        (2, [[0, 0], [0]], ValueError, r"observation\[1\] must hold one outcome per agent \(2\); got shape \(1,\)"),
        (2, [[0, 0], [0, 3]], ValueError, r"observation\[1\] must lie in 0\.\.2, or be -1 for what was not seen; got 3"),
        (2, [[-2, 0], [0, 0]], ValueError, r"observation\[0\] must lie in 0\.\.1, or be -1 for what was not seen; got -2"),
        (None, [0, "bright"], TypeError, r"observation\[1\] must hold integers, or probabilities of outcomes; got <U6"),
        (
            2,
            [[0, 0], np.full((2, 3), 0.5)],
            ValueError,
            r"observation\[1\] as probabilities must have shape \(2, 3\) and rows that sum",
        ),
        (
            2,
            [[0, 0], np.array([[1.5, -0.5, 0.0]] * 2)],
            ValueError,
            r"observation\[1\] as probabilities must have shape \(2, 3\)",
        ),
        (2, [[0, 0], np.full((2, 2), 0.5)], ValueError, r"observation\[1\] as probabilities must have shape \(2, 3\)"),
        (None, [0, np.full(2, 0.5)], ValueError, r"observation\[1\] as probabilities must have shape \(1, 3\)"),
        (None, [0, np.array([np.nan, 0.5, 0.5])], ValueError, r"observation\[1\] as probabilities must"),
        (None, None, TypeError, "observation must"),
    ],
)
def test_bad_observations_are_named(n_agents, observation, error, message, rng):
    agent = Agent(two_rooms())
    with pytest.raises(error, match=message):
        agent.step(agent.init(n_agents), observation, rng)


@pytest.mark.parametrize(
    "action, error, message",
    [
        ([0.0, 0.0], TypeError, r"action must hold integers \(indices of controls\); got float64"),
        (
            [0, 0, 0],
            ValueError,
            r"action must have shape \(1, 2\) \(agents, factors\), or \(1, 1\) \(the controlled ones\); got \(3,\)",
        ),
        ([[0, 0], [0, 0]], ValueError, r"action must have shape \(1, 2\) \(agents, factors\), .*; got \(2, 2\)"),
        ([2, 0], ValueError, r"action of factor 0 must lie in 0\.\.1; got \[2\]"),
        ([0, 1], ValueError, r"action of factor 1 must lie in 0\.\.0; got \[1\]"),
        ([-1, 0], ValueError, r"action of factor 0 must lie in 0\.\.1; got \[-1\]"),
    ],
)
def test_bad_actions_are_named(action, error, message):
    agent = Agent(two_rooms())
    with pytest.raises(error, match=message):
        agent.step(agent.init(), [0, 0], action=action)


def test_an_action_cannot_be_drawn_without_a_generator():
    agent = Agent(two_rooms())
    with pytest.raises(
        ValueError, match=r"rng must be given to draw an action \(or give action, or a Planner with alpha=None\)"
    ):
        agent.step(agent.init(), [0, 0])
