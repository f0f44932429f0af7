"""Beliefs, terms of the expected free energy and the search, against the dense reference on random worlds; and the planner's rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from reference import side_by_side
from worlds import lamp_rules, random_space, random_world, two_rooms

from activebmr import Agent, Learning, Planner, Selection
from activebmr.planning import GAINS, log_preferences, sample

SEEDS = st.integers(0, 10**6)


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
@given(SEEDS, st.sampled_from(["joint", "sequential"]))
def test_beliefs_and_evidence_are_those_of_the_dense_reference(seed, inference):
    check(Agent(random_world(seed), planner=Planner(gains=()), inference=inference), seed, steps=4)


@given(SEEDS, st.sampled_from(["joint", "sequential"]), st.sampled_from(["first", "always"]))
def test_terms_of_one_step_policies_are_those_of_the_dense_reference(seed, inference, habit):
    planner = Planner(gains=("state", "param"), habit=habit, gamma=1.5)
    check(Agent(random_world(seed), planner=planner, inference=inference), seed)


@settings(max_examples=25)
@given(SEEDS)
def test_terms_of_three_step_policies_are_those_of_the_dense_reference(seed):
    model = random_world(seed, max_factors=3, policy_length=3, max_controls=2)
    check(Agent(model, random_space(seed, model)), seed, steps=2, n_agents=1)


@given(SEEDS, st.sampled_from(["exact", "plug-in"]))
def test_gain_about_models_is_that_of_the_dense_reference(seed, model_gain):
    """Models by brute force: every hypothesis' own table, every outcome, over two trials with forgetting.

    The prior weighs more than is forgotten, so that no evidence is negative (science: log evidence needs counts >= 0).
    """
    model = random_world(seed, max_factors=3)
    learning = Learning(rate=1.5, retention=0.999)
    agent = Agent(model, random_space(seed, model), Planner(model_gain=model_gain), learning=learning)
    check(agent, seed, trials=2, steps=2)


@settings(max_examples=25)
@given(SEEDS, st.sampled_from(["joint", "sequential"]), st.sampled_from(["first", "always"]), st.sampled_from([None, 2, 3]))
def test_search_one_step_deep_is_that_of_the_dense_reference(seed, inference, habit, trial_length):
    model = random_world(seed, max_factors=3)
    planner = Planner(depth=1, habit=habit)
    agent = Agent(model, random_space(seed, model), planner, inference=inference, trial_length=trial_length)
    check(agent, seed, n_agents=2, steps=2)


@settings(max_examples=8)
@given(SEEDS, st.sampled_from([None, 2, 3, 4]))
def test_search_two_steps_deep_is_that_of_the_dense_reference(seed, trial_length):
    model = random_world(seed, max_factors=3, max_controlled=1)
    check(Agent(model, planner=Planner(depth=2), trial_length=trial_length), seed, n_agents=1, steps=2, soft=False)


def test_search_three_steps_deep_is_that_of_the_dense_reference():
    check(Agent(two_rooms(), planner=Planner(depth=3)), 0, n_agents=2, steps=3)
