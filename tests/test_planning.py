"""Beliefs, terms of the expected free energy and the search, against the dense reference on random worlds; and the planner's
rules.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from reference import Reference, side_by_side
from worlds import columns, lamp_rules, random_space, random_world, two_rooms

from activebmr import POMDP, Agent, HypothesisSpace, Learning, Planner
from activebmr.arrays import sample
from activebmr.planning.planner import GAINS
from activebmr.planning.preferences import log_preferences
from activebmr.reduction import model_posterior, softmax

SEEDS = st.integers(0, 10**6)
FILTERS = st.sampled_from(["factorised", "sequential"])
SPM = {"search": "states", "modalities": "separate", "extra_step": True}

# outcomes are drawn at random, and some are impossible
pytestmark = pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")


def spm(**options) -> Planner:
    """SPM's way of planning."""
    return Planner(**(SPM | options))


def spm_agent(model, hypotheses=None, planner=None, **options) -> Agent:
    """Agents that believe factor by factor and plan as SPM's."""
    return Agent(model, hypotheses, planner or spm(), **({"inference": "factorised"} | options))


def check(agent: Agent, seed: int, **options) -> None:
    for k, info, expected, counts in side_by_side(agent, seed, **options):
        for f, q in enumerate(expected["qs"]):
            assert_allclose(info.qs[f][k], q, rtol=1e-9, atol=1e-11)
        names = ("free_energy", "utility", "state_info_gain", "param_info_gain", "model_info_gain", "neg_efe", "q_pi")
        for name in names:
            assert_allclose(getattr(info, name)[k], expected[name], rtol=1e-8, atol=1e-10, err_msg=name)
        if expected["model_posterior"] is not None:
            assert_allclose(info.model_posterior[k], expected["model_posterior"], rtol=1e-8, atol=1e-12)
        for ours, theirs in counts.values():
            assert_allclose(ours, theirs.reshape(ours.shape), rtol=1e-10, atol=1e-13)


# --- against the reference -----------------------------------------------------------------------------------------------
@given(SEEDS, FILTERS)
def test_beliefs_and_evidence_are_those_of_the_dense_reference(seed, inference):
    check(spm_agent(random_world(seed), planner=spm(gains=()), inference=inference), seed, steps=4)


@given(SEEDS, FILTERS, st.sampled_from(["first", "always"]))
def test_terms_of_one_step_policies_are_those_of_the_dense_reference(seed, inference, habit):
    planner = spm(gains=("state", "param"), habit=habit, gamma=1.5)
    check(spm_agent(random_world(seed), planner=planner, inference=inference), seed)


@settings(max_examples=25)
@given(SEEDS)
def test_terms_of_three_step_policies_are_those_of_the_dense_reference(seed):
    model = random_world(seed, max_factors=3, policy_length=3, max_controls=2)
    check(spm_agent(model, random_space(seed, model)), seed, steps=2, n_agents=1)


@given(SEEDS, st.sampled_from(["exact", "plug-in"]))
def test_gain_about_models_is_that_of_the_dense_reference(seed, model_gain):
    """Models by brute force: every hypothesis' own table, every outcome, over two trials with forgetting.

    The prior weighs more than is forgotten, so that no evidence is negative (science: log evidence needs counts >= 0).
    """
    model = random_world(seed, max_factors=3)
    learning = Learning(rate=1.5, retention=0.999)
    agent = spm_agent(model, random_space(seed, model), spm(model_gain=model_gain), learning=learning)
    check(agent, seed, trials=2, steps=2)


@settings(max_examples=25)
@given(SEEDS, FILTERS, st.sampled_from(["first", "always"]), st.sampled_from([None, 2, 3]))
def test_search_one_step_deep_is_that_of_the_dense_reference(seed, inference, habit, trial_length):
    model = random_world(seed, max_factors=3)
    planner = spm(depth=1, habit=habit)
    agent = spm_agent(model, random_space(seed, model), planner, inference=inference, trial_length=trial_length)
    check(agent, seed, n_agents=2, steps=2)


@settings(max_examples=8)
@given(SEEDS, st.sampled_from([None, 2, 3, 4]))
def test_search_two_steps_deep_is_that_of_the_dense_reference(seed, trial_length):
    model = random_world(seed, max_factors=3, max_controlled=1)
    check(spm_agent(model, planner=spm(depth=2), trial_length=trial_length), seed, n_agents=1, steps=2, soft=False)


def test_search_three_steps_deep_is_that_of_the_dense_reference():
    check(spm_agent(two_rooms(), planner=spm(depth=3)), 0, n_agents=2, steps=3)


# --- bounds and identities -----------------------------------------------------------------------------------------------
def entropy(p, axis=-1):
    return -(p * np.log(np.maximum(p, 1e-300))).sum(axis=axis)


def one_modality(model):
    return model.with_(
        A=[None],
        pA=[model.pA[0]],
        C=None,
        A_dependencies=[model.A_dependencies[0]],
        labels={},
    )


@given(SEEDS)
def test_gains_are_positive_and_bounded(seed):
    """No look tells more than there is to know: the entropy of the states, of the models, and of the outcome itself."""
    model = one_modality(random_world(seed))
    space = random_space(seed, model)
    agent = spm_agent(model, space)
    reference = Reference(model)
    for k, info, expected, _ in side_by_side(agent, seed):
        states = [
            sum(entropy(q) for f, q in enumerate(reference.predict(expected["qs"], policy[0])) if f in model.A_dependencies[0])
            for policy in model.policies
        ]
        for gain in (info.state_info_gain[k], info.param_info_gain[k], info.model_info_gain[k]):
            assert (gain >= 0).all()
        assert (info.state_info_gain[k] <= np.minimum(states, np.log(model.num_outcomes[0])) + 1e-9).all()
        assert (info.model_info_gain[k] <= min(entropy(info.model_posterior[k]), np.log(model.num_outcomes[0])) + 1e-9).all()
        assert (info.utility[k] <= 1e-12).all()
        assert_allclose(info.q_pi[k].sum(), 1.0)


@pytest.mark.parametrize("model_gain", ["exact", "plug-in"])
def test_there_is_nothing_to_learn_about_models_that_agree(model_gain):
    model = two_rooms()
    counts = lamp_rules().dense("both", 1)
    twins = HypothesisSpace({name: {"pA[1]": counts} for name in ("one", "other", "third")})
    agent = spm_agent(model, twins, spm(model_gain=model_gain))
    for _, info, _, _ in side_by_side(agent, 0, trials=2):
        assert_array_equal(info.model_info_gain, 0.0)
        assert_allclose(info.model_posterior, 1 / 3)


@pytest.mark.parametrize("model_gain", ["exact", "plug-in"])
def test_there_is_nothing_to_learn_about_models_once_one_is_certain(model_gain):
    space = lamp_rules()
    sure = HypothesisSpace({n: {1: space.dense(n, 1)} for n in space.names}, prior=[1.0, 1e-300])
    for _, info, _, _ in side_by_side(spm_agent(two_rooms(), sure, spm(model_gain=model_gain)), 0):
        assert_allclose(info.model_info_gain, 0.0, atol=1e-12)


@given(SEEDS, st.sampled_from(["exact", "plug-in"]))
def test_hypotheses_may_be_listed_in_any_order(seed, model_gain):
    model = random_world(seed, max_factors=2)
    space = random_space(seed, model)
    order = np.random.default_rng(seed).permutation(len(space))
    names = [space.names[i] for i in order]
    dense = {n: {f"pA[{m}]": space.dense(n, m) for m in space.tables} for n in names}
    agents = [spm_agent(model, s, spm(model_gain=model_gain)) for s in (space, HypothesisSpace(dense, space.prior[order]))]
    reports = [[info for _, info, _, _ in side_by_side(a, seed, n_agents=1)] for a in agents]
    for first, second in zip(*reports, strict=True):
        assert_allclose(second.model_info_gain, first.model_info_gain, rtol=1e-9, atol=1e-12)
        assert_allclose(second.model_posterior, first.model_posterior[:, order], rtol=1e-9)


def test_plug_in_gain_is_one_update_with_expected_counts():
    """The divergence between what Bayesian model reduction says after and before, and no expectation over outcomes."""
    agent = spm_agent(two_rooms(), lamp_rules(), spm(model_gain="plug-in"))
    state, _ = agent.step(agent.init(), [0, 0], action=[1, 0])
    counts = agent.posterior_counts(state, "light")[0]
    _, info = agent.step(state, [1, 1], action=[0, 0])
    likelihood = counts / counts.sum(axis=0)
    for policy in range(2):
        q_states = np.zeros((2, 2))
        q_states[policy] = info.qs[1]
        q_outcome = (likelihood * q_states).sum(axis=(1, 2))
        gained = np.multiply.outer(q_outcome, q_states) * (counts > 0)
        before = model_posterior(counts, agent.model.pA[1], agent.hypotheses, offset=1 / 32)
        after = model_posterior(counts + gained, agent.model.pA[1], agent.hypotheses, offset=1 / 32)
        assert_allclose(info.model_info_gain[policy], (after * np.log(after / before)).sum(), rtol=1e-8)


def test_only_the_gains_asked_for_count():
    reports = {}
    for gains in ((), ("state",), ("param",), ("model",), GAINS):
        agent = spm_agent(two_rooms(), lamp_rules(), spm(gains=gains))
        _, reports[gains] = agent.step(agent.init(), [0, 0], action=[0, 0])
    full = reports[GAINS]
    for gains, info in reports.items():
        named = {g: getattr(info, f"{g}_info_gain") for g in GAINS}
        for gain, value in named.items():
            assert_array_equal(value, getattr(full, f"{gain}_info_gain") if gain in gains else 0.0)
        assert_allclose(info.neg_efe, info.utility + sum(named.values()), rtol=1e-12)


def test_gamma_sharpens_and_habits_shift_the_posterior_over_policies():
    model = two_rooms(E=[[0.9, 0.1], None])
    for habit, steps_with_habit in (("first", [True, False]), ("always", [True, True])):
        agent = spm_agent(model, planner=spm(gamma=3.0, habit=habit))
        state = agent.init()
        for counts in steps_with_habit:
            state, info = agent.step(state, [0, 0], action=[0, 0])
            habit_now = np.log([0.9, 0.1]) * counts
            assert_allclose(info.q_pi, softmax(3.0 * info.neg_efe + habit_now), rtol=1e-10)


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("habit", ["first", "always"])
def test_policies_that_the_prior_excludes_are_never_taken(depth, habit):
    agent = spm_agent(two_rooms(E=[[1.0, 0.0], None]), planner=spm(depth=depth, habit=habit))
    state, info = agent.step(agent.init(), [0, 0], np.random.default_rng(0))
    assert_allclose(info.q_pi, [1.0, 0.0])
    assert info.policy == 0
    assert not np.isnan(info.neg_efe).any()


def test_the_search_looks_no_further_than_the_trial():
    """At the last time but one the search sees as far as SPM's (to the end of the trial and one step), at the last not at
    all.
    """
    agent, plain = (spm_agent(two_rooms(), planner=spm(depth=d), trial_length=3) for d in (1, 0))
    states = [agent.init(), plain.init()]
    for t in range(3):
        (states[0], deep), (states[1], flat) = (
            a.step(s, [0, 0], action=[0, 0]) for a, s in zip((agent, plain), states, strict=True)
        )
        assert np.allclose(deep.neg_efe, flat.neg_efe) == (t == 2)


def test_policies_that_look_bad_are_cut():
    model = two_rooms(C=[[50.0, 0.0], None])
    agent = spm_agent(model, planner=spm(depth=1, penalty=100.0))
    _, info = agent.step(agent.init(), [0, 0], action=[0, 0])
    flat = info.utility + info.state_info_gain + info.param_info_gain
    assert_allclose(info.neg_efe[1], flat[0] - 100.0, rtol=1e-12)
    patient = spm_agent(model, planner=spm(depth=1, policy_cutoff=0.0))
    _, info = patient.step(patient.init(), [0, 0], action=[0, 0])
    assert info.neg_efe[1] > flat[1] - 200.0  # expanded too


def test_a_search_among_very_many_states():
    """Beliefs so flat that no state is likely on its own; the search still finds something to imagine."""
    n = 4000
    stay_or_shift = np.stack([np.eye(n), np.roll(np.eye(n), 1, axis=0)], axis=2)
    model = POMDP(A=[np.repeat(np.eye(2), n // 2, axis=1)], B=[stay_or_shift])
    agent = spm_agent(model, planner=spm(depth=1))
    _, info = agent.step(agent.init(), [np.array([0.5, 0.5])], action=[0])
    assert np.isfinite(info.neg_efe).all()


def test_a_high_state_cutoff_leaves_something_to_imagine():
    agent = spm_agent(two_rooms(), planner=spm(depth=1, state_cutoff=0.9))
    _, info = agent.step(agent.init(), [0, np.full(3, 1 / 3)], action=[0, 0])
    assert np.isfinite(info.neg_efe).all()


def test_rounding_does_not_decide_what_is_imagined():
    """Of 27 equally probable states the first four are looked into, also where sums have left them a last digit apart."""

    def values(noise):
        rng = np.random.default_rng(3)
        chances = [np.array([1.0, 1.0, 1.0]) / 3 + noise * rng.normal(size=3) for _ in range(3)]
        model = POMDP(
            A=[columns(rng, (4, 3, 3, 3, 2)), np.eye(2)],
            B=[
                *(np.eye(3)[:, :, None] for _ in range(3)),
                np.stack([[[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]], axis=2),
            ],
            C=[[1.0, 0.0, 0.0, -2.0], None],
            D=[*(c / c.sum() for c in chances), None],
            A_dependencies=[[0, 1, 2, 3], [3]],
        )
        agent = spm_agent(model, planner=spm(depth=1))
        return agent.step(agent.init(), [np.full(4, 0.25), 0], action=[0] * 4)[1].neg_efe

    assert_allclose(values(1e-15), values(0.0), rtol=1e-9)
    assert np.abs(values(1e-3) - values(0.0)).max() > 1e-3  # where they do differ, others are looked into


# --- preferences and drawing ---------------------------------------------------------------------------------------------
def test_preferences_are_normalised_floored_and_may_change_over_time():
    model = two_rooms(C=[[[0.0, 0.0], [3.0, 0.0]], [0.0, -100.0, np.log(3)]])
    first, second = log_preferences(model, 0, -32.0), log_preferences(model, 1, -32.0)
    assert_allclose(first[0], np.log([0.5, 0.5]))
    assert_allclose(second[0], np.log(softmax(np.array([3.0, 0.0]))))
    assert_allclose(log_preferences(model, 7, -32.0)[0], second[0])  # the last row holds from then on
    assert_allclose(first[1], [np.log(0.25), -32.0, np.log(0.75)])
    assert_allclose(log_preferences(model, 0)[1], [np.log(0.25), np.log(0.25) - 100.0, np.log(0.75)])  # only SPM's have a floor
    never = two_rooms(C=[None, [1.0, -np.inf, 1.0]])
    for floor, worst in ((-32.0, -32.0), (None, -np.inf)):
        assert_allclose(log_preferences(never, 0, floor)[1], [np.log(0.5), worst, np.log(0.5)])


def test_preferences_at_a_time_are_about_outcomes_at_that_time():
    model = two_rooms(C=[[[0.0, 0.0], [0.0, 9.0], [0.0, 0.0]], None])
    agent = spm_agent(model, planner=spm(gains=()))
    state, info = agent.step(agent.init(), [0, 0], action=[0, 0])
    assert info.utility[1] - info.utility[0] > 8.9  # where the next outcome, at time 1, should be the right room
    state, info = agent.step(state, [0, 0], action=[0, 0])
    assert_allclose(info.utility[1], info.utility[0])


@pytest.mark.parametrize("inference", ["exact", "factorised", "sequential", "models"])
def test_wishes_of_every_step_ahead_are_those_of_its_time(inference, rng):
    """Every place can be reached from every other, and is seen: what may be had is the sum of the best of each time to come."""
    wishes = rng.normal(size=(6, 3))
    log = wishes - np.log(np.exp(wishes).sum(axis=1, keepdims=True))
    go = np.repeat(np.eye(3)[:, None, :], 3, axis=1)
    model, space, settings = POMDP(A=[np.eye(3)], B=[go], C=[wishes], D=[[1, 0, 0]]), None, {"inference": inference}
    if inference == "models":  # a lamp that tells nothing about places, and which nobody has a wish about
        model = POMDP(A=[np.eye(3), None], B=[go], C=[wishes, None], D=[[1, 0, 0]], pA=[None, np.ones((2, 3))])
        space = HypothesisSpace({"even": {1: np.ones((2, 3))}, "odd": {1: [[3.0] * 3, [1.0] * 3]}})
        log, settings = log - np.log(2), {}
    planner = Planner(gains=(), backup="best", alpha=None)
    long = Agent(model.with_(policy_length=2), space, planner, **settings)
    _, info = long.step(long.init(), [0] * model.num_modalities)
    assert_allclose(info.neg_efe, [log[1, u] + log[2, v] for u, v in long.model.policies[:, :, 0]], rtol=1e-9)
    for depth in range(1 if inference == "models" else 4):
        searches = [{}]
        if inference in ("factorised", "sequential"):
            searches.append({"search": "states", "modalities": "separate", "policy_cutoff": 0.0})
        for search in searches:
            agent = Agent(model, space, Planner(depth=depth, gains=(), backup="best", alpha=None, **search), **settings)
            state = agent.init()
            for t in range(2):
                state, info = agent.step(state, [0] * model.num_modalities, action=[0])
                assert_allclose(info.neg_efe, log[t + 1] + log[t + 2 : t + 2 + depth].max(axis=1).sum(), rtol=1e-9)


def test_sampling_inverts_the_cumulative_probabilities():
    chances = np.array([[0.2, 0.0, 0.5, 0.3]])
    grid = (np.arange(1000) + 0.5) / 1000
    drawn = sample(np.repeat(chances, 1000, axis=0), grid)
    assert_array_equal(np.bincount(drawn, minlength=4), [200, 0, 500, 300])
    assert_array_equal(drawn, np.sort(drawn))
    edges = sample(np.repeat(chances, 4, axis=0), np.array([0.0, 0.2, 0.7, 1 - 1e-17]))
    assert_array_equal(edges, [0, 2, 3, 3])
    assert_array_equal(sample(7.0 * chances, np.array([0.5])), [2])  # need not be normalised
    assert_array_equal(sample(np.array([[0.0, 1.0, 0.0]]), np.array([0.999999])), [1])


# --- bad input -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options, message",
    [
        ({"depth": -1}, "depth of Planner must be a whole number >= 0; got -1"),
        ({"depth": 0.5}, "depth of Planner must be a whole number >= 0; got 0.5"),
        ({"gains": ("state", "money")}, r"gains of Planner must be different names among \['state', 'param', 'model'\]"),
        ({"gains": ("state", "state")}, r"gains of Planner must be different names .* got \['state', 'state'\]"),
        ({"model_gain": "best"}, r"model_gain of Planner must be one of \['exact', 'plug-in'\]; got 'best'"),
        ({"habit": "never"}, r"habit of Planner must be one of \['first', 'always'\]; got 'never'"),
        ({"gamma": 0.0}, "gamma of Planner must be a number > 0, or inf; got 0.0"),
        ({"gamma": np.nan}, "gamma of Planner must be a number > 0, or inf; got nan"),
        ({"penalty": -1.0}, "penalty of Planner must be > 0; got -1.0"),
        ({"novelty_cutoff": 0}, "novelty_cutoff of Planner must be > 0; got 0"),
        ({"alpha": 0.0}, "alpha of Planner must be a number > 0, or inf; got 0.0"),
        ({"policy_cutoff": 1.0}, r"policy_cutoff of Planner must lie in \[0, 1\); got 1.0"),
        ({"state_cutoff": -0.1}, r"state_cutoff of Planner must lie in \[0, 1\); got -0.1"),
        ({"max_states": 0}, "max_states of Planner must be a whole number >= 1; got 0"),
        ({"max_states": 1.5}, "max_states of Planner must be a whole number >= 1; got 1.5"),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Planner(**options)


# --- other scipys --------------------------------------------------------------------------------------------------------
def test_gains_are_a_list_of_names():
    with pytest.raises(TypeError, match="gains of Planner must be a list of names; got the single string 'state'"):
        Planner(gains="state")


def test_planners_with_the_same_settings_are_equal():
    """Also with an array for each agent, in a set and as keys."""
    one = Planner(gains=["state"], gamma=[0.5, 2.0], alpha=None)
    assert one == Planner(gains=("state",), gamma=np.array([0.5, 2.0]), alpha=None)
    assert hash(one) == hash(Planner(gains=("state",), gamma=np.array([0.5, 2.0]), alpha=None))
    others = [Planner(), Planner(gamma=[0.5, 2.0]), Planner(gains=("state",), gamma=[0.5, 3.0], alpha=None), Planner(depth=1)]
    assert len({one, *others, Planner()}) == 1 + len(others)
    assert one != "a planner" and one != others[2]


def test_numbers_do_not_depend_on_a_private_function_of_scipy(monkeypatch):
    """Where scipy does not offer the inner loop that sums rows, its sparse product does."""
    from activebmr import ragged as sparse

    if getattr(sparse, "_csr_matvecs", None) is None:
        pytest.skip("this scipy has no such function, or it is no longer used")

    def life():
        agent = spm_agent(two_rooms(), lamp_rules(), spm(depth=1))
        return [info for _, info, _, _ in side_by_side(agent, 0, n_agents=3)]

    usual = life()
    monkeypatch.setattr(sparse, "_csr_matvecs", None)
    for first, second in zip(usual, life(), strict=True):
        assert_allclose(second.neg_efe, first.neg_efe, rtol=1e-12)
        assert_allclose(second.model_posterior, first.model_posterior, rtol=1e-12)
