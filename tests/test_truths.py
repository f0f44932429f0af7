"""The truths that long tests look for in hundreds of random models, each in a few of them, always the same.

They take a moment, tell first what is wrong, and are few enough to be run again and again.
"""

from __future__ import annotations

import importlib
import itertools
import zlib

import pytest

FILTERS = {"inference": ("factorised", "sequential")}
_ = {}
TRUTHS = {
    # file: tests in it, with what they are given besides a seed
    "exact": {
        "beliefs_of_a_trial_are_those_of_all_its_paths": _,
        "every_way_to_keep_transitions_says_the_same": _,
        "what_is_impossible_is_reported_and_nothing_else": _,
        "counts_of_a_trial_are_those_of_all_its_paths": _,
    },
    "joint": {
        "update_is_bayes_rule": {"moving": (False, True), "soft": (False, True)},
        "terms_are_mutual_informations": {"moving": (False, True)},
        "param_is_the_expected_novelty": _,
        "smooth_is_hindsight_over_whole_trajectories": _,
    },
    "outlook": {
        "terms_are_those_of_enumeration": {"modalities": ("together", "separate"), "steps": (1, 2, 3)},
        "preferences_and_counts_of_each_agent": _,
    },
    "planning": {
        "beliefs_and_evidence_are_those_of_the_dense_reference": FILTERS,
        "terms_of_one_step_policies_are_those_of_the_dense_reference": FILTERS | {"habit": ("first", "always")},
        "terms_of_three_step_policies_are_those_of_the_dense_reference": _,
        "gain_about_models_is_that_of_the_dense_reference": {"model_gain": ("exact", "plug-in")},
        "search_one_step_deep_is_that_of_the_dense_reference": FILTERS | {"habit": ("first",), "trial_length": (None, 2)},
    },
    "search": {
        "the_search_is_the_exhaustive_recursion": {
            "depth": (0, 1, 2),
            "backup": ("posterior", "best"),
            "modalities": ("together", "separate"),
        }
    },
    "worlds": {
        "counts_of_a_trial_are_those_of_all_paths": _,
        "learning_at_once_counts_pairs_as_they_are_then_believed_in": _,
        "values_are_those_of_enumeration": {"together": (False, True), "steps": (1, 2)},
        "a_search_is_a_recursion_over_outcomes": _,
        "outcomes_teach_about_initial_states": _,
        "the_posterior_over_sharp_hypotheses_is_that_of_all_paths": _,
        "where_states_are_seen_hypotheses_that_learn_are_compared_exactly": _,
    },
    "worlds_models": {
        "the_posterior_over_models_is_that_of_all_paths": _,
        "gains_are_those_of_all_joint_outcomes": {"together": (False, True)},
        "a_search_branches_over_the_outcomes_of_all_models": {"backup": ("best", "posterior")},
        "within_a_trial_models_whose_states_stay_learn_exactly": _,
        "counts_of_the_own_model_are_those_of_all_its_paths": _,
    },
    "worlds_more": {"models_of_their_own_are_compared_and_planned_with_as_enumeration_does": _},
    "invariances": {"the_search_does_not_depend_on_names": {"inference": ("exact", "factorised"), "search": ("outcomes",)}},
}
FEW = 4  # models, or one for each choice of what they are given


def _cases():
    for file, tests in TRUTHS.items():
        for name, given in tests.items():
            choices = list(itertools.product(*given.values()))
            for i in range(max(FEW, len(choices))):
                seed = zlib.crc32(f"{name} {i}".encode()) % 10**6
                yield pytest.param(file, name, dict(zip(given, choices[i % len(choices)], strict=True)), seed, id=f"{name}-{i}")


# outcomes are drawn at random, and some are impossible
@pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")
@pytest.mark.parametrize("file, name, given, seed", _cases())
def test_a_truth_in_a_few_models(file, name, given, seed):
    test = getattr(importlib.import_module(f"test_{file}"), f"test_{name}")
    test.hypothesis.inner_test(seed=seed, **given)
