"""Names do not matter: relabelled states, outcomes, factors and modalities give the same results, relabelled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from worlds import random_controls, random_outcomes, random_space, random_world

from activebmr import POMDP, Agent, HypothesisSpace, Learning, Planner

# outcomes are drawn at random, and some are impossible
pytestmark = pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")

SEEDS = st.integers(0, 10**6)
SPM = {"search": "states", "modalities": "separate", "extra_step": True}
PER_POLICY = ("utility", "state_info_gain", "param_info_gain", "model_info_gain", "neg_efe", "q_pi")


class Relabelled:
    """A model and its hypotheses with factors, modalities, states, outcomes and controls in another order."""

    def __init__(self, model, space, rng, factors=True, modalities=True):
        n_f, n_m = model.num_factors, model.num_modalities
        self.factor = rng.permutation(n_f) if factors else np.arange(n_f)  # new factor i is the old factor[i]
        self.modality = rng.permutation(n_m) if modalities else np.arange(n_m)
        self.state = [rng.permutation(n) for n in model.num_states]  # of old factor f: new state i is the old state[f][i]
        self.outcome = [rng.permutation(n) for n in model.num_outcomes]
        self.control = [rng.permutation(n) for n in model.num_controls]
        to_new = np.argsort(self.factor)
        a_deps = [[int(to_new[f]) for f in model.A_dependencies[m]] for m in self.modality]
        b_deps = [[int(to_new[g]) for g in model.B_dependencies[f]] for f in self.factor]

        def table(array, m):
            return array[np.ix_(self.outcome[m], *(self.state[f] for f in model.A_dependencies[m]))]

        learned = [model.pA[m] is not None for m in self.modality]
        policies = [[[np.argsort(self.control[f])[step[f]] for f in self.factor] for step in p] for p in model.policies]
        self.model = POMDP(
            A=[None if held else table(model.A[m], m) for m, held in zip(self.modality, learned, strict=True)],
            pA=[table(model.pA[m], m) if held else None for m, held in zip(self.modality, learned, strict=True)],
            B=[
                model.B[f][np.ix_(self.state[f], *(self.state[g] for g in model.B_dependencies[f]), self.control[f])]
                for f in self.factor
            ],
            C=[model.C[m][..., self.outcome[m]] for m in self.modality],
            D=[model.D[f][self.state[f]] for f in self.factor],
            E=np.exp(model.log_policy_prior),
            A_dependencies=a_deps,
            B_dependencies=b_deps,
            policies=policies,
        )
        self.space = None
        if space is not None:
            at = {int(m): i for i, m in enumerate(self.modality)}
            dense = {n: {at[m]: table(space.dense(n, m), m) for m in space.tables} for n in space.names}
            self.space = HypothesisSpace(dense, prior=space.prior)

    def outcomes(self, old):
        """Observations in the new words."""
        return [old[m][:, self.outcome[m]] if old[m].ndim == 2 else np.argsort(self.outcome[m])[old[m]] for m in self.modality]

    def controls(self, old):
        return np.stack([np.argsort(self.control[f])[old[:, f]] for f in self.factor], axis=1)


def check(model, space, relabelled, seed, **options):
    rng = np.random.default_rng([seed, 3])
    learning = Learning(rate=0.7, retention=0.999)
    old, new = (Agent(m, s, learning=learning, **options) for m, s in ((model, space), (relabelled.model, relabelled.space)))
    states = [old.init(3), new.init(3)]
    for _ in range(2):
        for _ in range(2):
            outcomes, controls = random_outcomes(rng, model, 3, soft=True), random_controls(rng, model, 3)
            states[0], first = old.step(states[0], outcomes, action=controls)
            states[1], second = new.step(states[1], relabelled.outcomes(outcomes), action=relabelled.controls(controls))
            for name in PER_POLICY:
                assert_allclose(getattr(second, name), getattr(first, name), rtol=1e-7, atol=1e-9, err_msg=name)
            assert_allclose(second.free_energy, first.free_energy, rtol=1e-9, atol=1e-10)
            for i, f in enumerate(relabelled.factor):
                assert_allclose(second.qs[i], first.qs[f][:, relabelled.state[f]], rtol=1e-7, atol=1e-10)
            if space is not None:
                assert_allclose(second.model_posterior, first.model_posterior, rtol=1e-7, atol=1e-12)
            if model.policy_length == 1:
                assert_allclose(second.policy, first.policy)
        (states[0], one), (states[1], two) = old.end_trial(states[0]), new.end_trial(states[1])
        if space is not None:
            assert_allclose(two.log_odds, one.log_odds, rtol=1e-6, atol=1e-9)
    for i, m in enumerate(relabelled.modality):
        if model.pA[m] is not None:
            counts = old.posterior_counts(states[0], int(m))
            for k in range(3):
                order = np.ix_(relabelled.outcome[m], *(relabelled.state[f] for f in model.A_dependencies[m]))
                assert_allclose(new.posterior_counts(states[1], i)[k], counts[k][order], rtol=1e-8, atol=1e-12)


_WAYS = [(w, g) for w in ("models", "exact", "factorised") for g in ("exact", "plug-in") if (w, g) != ("models", "plug-in")]


@given(SEEDS, st.sampled_from(_WAYS))
def test_everything_may_be_relabelled(seed, way):
    inference, model_gain = way
    model = random_world(seed, max_factors=3)
    space = random_space(seed, model)
    relabelled = Relabelled(model, space, np.random.default_rng([seed, 4]))
    check(model, space, relabelled, seed, inference=inference, planner=Planner(model_gain=model_gain))


@settings(max_examples=30)
@given(SEEDS, st.sampled_from(["exact", "factorised"]), st.sampled_from(["outcomes", "states"]))
def test_the_search_does_not_depend_on_names(seed, inference, search):
    """All likely joint states are imagined (not the first four), so that the order of ties cannot matter."""
    model = random_world(seed, max_factors=3)
    planner = Planner(depth=1, search=search, modalities="separate", max_states=1000)
    relabelled = Relabelled(model, None, np.random.default_rng([seed, 4]))
    check(model, None, relabelled, seed, planner=planner, inference=inference)


@settings(max_examples=30)
@given(SEEDS)
def test_filtering_one_by_one_depends_on_the_order_of_modalities_alone(seed):
    model = random_world(seed, max_factors=3)
    relabelled = Relabelled(model, None, np.random.default_rng([seed, 4]), modalities=False)
    check(model, None, relabelled, seed, inference="sequential")


@settings(max_examples=20)
@given(SEEDS, st.sampled_from([{}, {"inference": "sequential", "planner": Planner(**SPM)}]))
def test_policies_of_two_steps_may_be_relabelled(seed, options):
    model = random_world(seed, max_factors=2, policy_length=2, max_controls=2)
    check(model, None, Relabelled(model, None, np.random.default_rng([seed, 4]), modalities=not options), seed, **options)


@settings(max_examples=30)
@given(SEEDS)
def test_a_factor_that_nothing_depends_on_changes_nothing(seed):
    model = random_world(seed, max_factors=3)
    rng = np.random.default_rng(seed)
    wider = model.with_(
        B=[*model.B, np.eye(3)[:, :, None]],
        D=[*model.D, rng.dirichlet(np.ones(3))],
        A=[None if p is not None else a for a, p in zip(model.A, model.pA, strict=True)],
        B_dependencies=[*model.B_dependencies, [model.num_factors]],
        policies=np.concatenate([model.policies, np.zeros((*model.policies.shape[:2], 1), dtype=int)], axis=2),
        E=np.exp(model.log_policy_prior),
        labels={},
    )
    agents = [Agent(m, planner=Planner(depth=1)) for m in (model, wider)]
    outcomes, controls = random_outcomes(rng, model, 2), random_controls(rng, model, 2)
    states = [a.init(2) for a in agents]
    for _ in range(2):
        (states[0], first), (states[1], second) = (
            a.step(s, outcomes, action=c)
            for a, s, c in zip(agents, states, (controls, np.pad(controls, ((0, 0), (0, 1)))), strict=True)
        )
        for name in PER_POLICY:
            assert_allclose(getattr(second, name), getattr(first, name), rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("seed", range(10))
def test_an_outcome_that_says_nothing_is_worth_nothing(seed):
    """A modality with the same outcome in every state changes neither beliefs nor values."""
    model = random_world(seed, max_factors=3)
    rng = np.random.default_rng(seed)
    deaf = model.with_(
        A=[*(None if p is not None else a for a, p in zip(model.A, model.pA, strict=True)), np.ones((1, model.num_states[0]))],
        pA=[*model.pA, None],
        C=[*model.C, None],
        A_dependencies=[*model.A_dependencies, [0]],
        labels={},
    )
    outcomes = random_outcomes(rng, model, 2)
    _, first = (one := Agent(model)).step(one.init(2), outcomes, action=random_controls(rng, model, 2))
    _, second = (two := Agent(deaf)).step(two.init(2), [*outcomes, np.zeros(2, dtype=int)], action=first.controls)
    for name in PER_POLICY:
        assert_allclose(getattr(second, name), getattr(first, name), rtol=1e-9, atol=1e-12, err_msg=name)
    assert_allclose(second.free_energy, first.free_energy, rtol=1e-12)
