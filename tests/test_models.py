"""`POMDP`: what it fills in, what it freezes, and what it refuses, with messages that name argument, rule and value."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from worlds import random_world, two_rooms

from activebmr import POMDP
from activebmr.model.policies import one_step_policies, policy_sequences

# factors with 2 and 3 states, the second one with 2 controls; modalities with 2 and 4 outcomes
A0, A1 = np.full((2, 2), 0.5), np.full((4, 2, 3), 0.25)
B0, B1 = np.eye(2)[:, :, None], np.repeat(np.eye(3)[:, :, None], 2, axis=2)
BASE = {"A": [A0, A1], "B": [B0, B1], "A_dependencies": [[0], [0, 1]]}


def build(**changes) -> POMDP:
    return POMDP(**(BASE | changes))


def edited(array: np.ndarray, at, value) -> np.ndarray:
    copy = array.astype(float).copy()
    copy[at] = value
    return copy


# --- what a model fills in -----------------------------------------------------------------------------------------------
def test_sizes_and_defaults():
    model = build()
    assert (model.num_states, model.num_controls, model.num_outcomes) == ((2, 3), (1, 2), (2, 4))
    assert (model.num_factors, model.num_modalities) == (2, 2)
    assert model.controlled_factors == (1,)
    assert model.learned_modalities == ()
    assert_array_equal(model.policies, [[[0, 0]], [[0, 1]]])
    assert_allclose(model.D[1], [1 / 3] * 3)
    assert_array_equal(model.C[1], np.zeros(4))
    assert_allclose(model.log_policy_prior, np.log([0.5, 0.5]))
    assert model.B_dependencies == ((0,), (1,))
    assert model.labels["factor"] == ["factor_0", "factor_1"]
    assert model.labels["outcomes"]["modality_1"] == ["0", "1", "2", "3"]
    assert build(A=[A1, A1], A_dependencies=None).A_dependencies == ((0, 1), (0, 1))


def test_expected_likelihood_of_counts():
    counts = np.array([[3.0, 1.0], [1.0, 0.0]])
    model = build(A=[None, A1], pA=[counts, None])
    assert_array_equal(model.A[0], [[0.75, 1.0], [0.25, 0.0]])
    assert model.learned_modalities == (0,)


def test_prior_over_policies():
    per_factor = build(E=[None, [0.2, 0.8]], policy_length=2)
    by_hand = [np.log(0.2 * 0.2), np.log(0.2 * 0.8), np.log(0.8 * 0.2), np.log(0.8 * 0.8)]
    assert_allclose(per_factor.log_policy_prior, by_hand)
    assert_allclose(build(E=np.array([0.3, 0.7])).log_policy_prior, np.log([0.3, 0.7]))
    assert_array_equal(build(E=[None, [0.0, 1.0]]).log_policy_prior, [-np.inf, 0.0])


def test_policies_are_all_sequences_with_the_last_factor_and_step_fastest():
    assert_array_equal(one_step_policies([2, 1, 2])[:, 0], [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]])
    assert_array_equal(one_step_policies([2, 1, 2], first_fastest=True)[:, 0], [[0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 1]])
    sequences = policy_sequences([1, 2], 2)
    assert sequences.shape == (4, 2, 2)
    assert_array_equal(sequences[:, :, 1], [[0, 0], [0, 1], [1, 0], [1, 1]])
    assert_array_equal(build(policy_length=2).policies, sequences)
    assert build(policies=[[0, 1]]).policies.shape == (1, 1, 2)
    assert build(policies=[[[0, 1], [0, 0], [0, 1]]]).policy_length == 3


def test_arrays_are_copied_and_frozen():
    given = A0.copy()
    model = build(A=[given, A1])
    given[:] = 0.0
    assert_array_equal(model.A[0], A0)
    for array in (*model.A, *model.B, *model.C, *model.D, model.policies, *model.E):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.A = ()


def test_parts_are_found_by_name_or_index():
    model = two_rooms()
    assert (model.factor("lamp"), model.factor(1), model.modality("light")) == (1, 1, 1)
    with pytest.raises(ValueError, match=r"factor must be one of \['room', 'lamp'\]; got 'attic'"):
        model.factor("attic")
    with pytest.raises(ValueError, match=r"modality must lie in 0\.\.1; got 2"):
        model.modality(2)


@pytest.mark.parametrize("seed", range(20))
def test_a_copy_with_nothing_changed_is_the_same(seed):
    model = random_world(seed, policy_length=1 + seed % 2, max_factors=2)
    copy = model.with_()
    for name in ("A", "B", "C", "D"):
        for ours, theirs in zip(getattr(copy, name), getattr(model, name), strict=True):
            assert_array_equal(ours, theirs)
    assert_array_equal(copy.policies, model.policies)
    assert_array_equal(copy.log_policy_prior, model.log_policy_prior)
    assert (copy.A_dependencies, copy.B_dependencies, copy.labels) == (
        model.A_dependencies,
        model.B_dependencies,
        model.labels,
    )


def test_a_copy_with_changes_is_checked_anew():
    model = build()
    assert_array_equal(model.with_(C=[None, [1.0, 2.0, 3.0, 4.0]]).C[1], [1.0, 2.0, 3.0, 4.0])
    assert_array_equal(model.C[1], np.zeros(4))
    with pytest.raises(ValueError, match=r"C\[1\] of POMDP must have shape"):
        model.with_(C=[None, [1.0, 2.0]])


def test_a_copy_may_have_longer_policies():
    assert build().with_(policy_length=3).policies.shape == (8, 3, 2)


# --- what it refuses -----------------------------------------------------------------------------------------------------
def shape(text: str) -> str:
    return text.replace("(", r"\(").replace(")", r"\)").replace("[", r"\[").replace("]", r"\]").replace("+", r"\+")


@pytest.mark.parametrize(
    "changes, message",
    [
        # likelihoods
        ({"A": [], "A_dependencies": None}, "A of POMDP must have at least one modality; got none"),
        ({"A": [None, A1]}, "A[0] of POMDP must be given where pA[0] is None"),
        ({"A": [A0, A0]}, "A[1] of POMDP must have shape (outcomes,) + (2, 3), the states it depends on; got (2, 2)"),
        ({"A": [[0.5, 0.5], A1]}, "A[0] of POMDP must have shape (outcomes,) + (2,), the states it depends on; got (2,)"),
        ({"A": [edited(A0, (0, 1), 0.43), A1]}, "A[0] of POMDP must sum to 1 over outcomes (axis 0); column (1,) sums to 0.93"),
        (
            {"A": [A0, edited(edited(A1, (0, 1, 2), -0.25), (1, 1, 2), 0.75)]},
            "A[1] of POMDP must not be negative; entry (0, 1, 2) is -0.25",
        ),
        ({"A": [edited(A0, (0, 0), np.nan), A1]}, "A[0] of POMDP must be finite; it holds nan"),
        # transitions
        ({"B": []}, "B of POMDP must have at least one factor; got none"),
        ({"B": [np.eye(2), B1]}, "B[0] of POMDP must have 3 axes (next state, 1 states, control); got 2"),
        ({"B": [np.ones((2, 3, 1)) / 2, B1]}, "B[0] of POMDP must have shape (2, 2) + (controls,); got (2, 3, 1)"),
        ({"B": [np.zeros((2, 2, 0)), B1]}, "B[0] of POMDP must have shape (2, 2) + (controls,); got (2, 2, 0)"),
        (
            {"B": [B0, edited(B1, (0, 2, 1), -0.07)]},
            "B[1] of POMDP must not be negative; entry (0, 2, 1) is -0.07",
        ),
        (
            {"B": [B0, edited(B1, (2, 2, 0), 0.93)]},
            "B[1] of POMDP must sum to 1 over next states (axis 0); column (2, 0) sums to 0.93",
        ),
        # dependencies
        ({"A_dependencies": [[0]]}, "A_dependencies must have 2 entries; got 1"),
        ({"A_dependencies": [[0], [0, 2]]}, "A_dependencies[1] must list distinct factors in 0..1; got [0, 2]"),
        ({"A_dependencies": [[0], [1, 1]]}, "A_dependencies[1] must list distinct factors in 0..1; got [1, 1]"),
        ({"A_dependencies": [[], [0, 1]]}, "A_dependencies[0] must list distinct factors in 0..1; got []"),
        ({"B_dependencies": [[0], [1], [1]]}, "B_dependencies must have 2 entries; got 3"),
        ({"B_dependencies": [[0], [-1]]}, "B_dependencies[1] must list distinct factors in 0..1; got [-1]"),
        ({"B_dependencies": [[0, 1], [1]]}, "B[0] of POMDP must have 4 axes (next state, 2 states, control); got 3"),
        # counts
        ({"pA": [None]}, "pA must have one entry per modality (2); got 1"),
        ({"pA": [np.ones((2, 3)), None]}, "pA[0] of POMDP must have the shape of A[0], (2, 2); got (2, 3)"),
        ({"pA": [edited(A0, (1, 0), -1.0), None]}, "pA[0] must not be negative; entry (1, 0) is -1"),
        ({"pA": [edited(A0, (1, 0), np.inf), None]}, "pA[0] must be finite; got inf"),
        (
            {"pA": [edited(A0, (slice(None), 1), 0.0), None]},
            "pA[0] of POMDP must have some count in every column; column (1,) has none",
        ),
        # preferences and priors
        ({"C": [None]}, "C of POMDP must have one entry per modality (2); got 1"),
        ({"C": [None, [0.0, 1.0]]}, "C[1] of POMDP must have shape (4,) or (time, 4); got (2,)"),
        ({"C": [None, np.zeros((0, 4))]}, "C[1] of POMDP must have shape (4,) or (time, 4); got (0, 4)"),
        ({"C": [[0.0, np.nan], None]}, "C[0] of POMDP must hold log preferences below infinity; got [ 0. nan]"),
        ({"C": [[0.0, np.inf], None]}, "C[0] of POMDP must hold log preferences below infinity; got [ 0. inf]"),
        ({"D": [None]}, "D of POMDP must have one entry per factor (2); got 1"),
        ({"D": [[1.0], None]}, "D[0] of POMDP must have shape (2,); got (1,)"),
        ({"D": [[0.5, 0.6], None]}, "D[0] of POMDP must sum to 1 over states (axis 0); it sums to 1.1"),
        ({"D": [[1.5, -0.5], None]}, "D[0] of POMDP must not be negative; entry (1,) is -0.5"),
        ({"E": [None]}, "E of POMDP must have one entry per factor (2), or be an array over policies; got 1"),
        ({"E": [None, [1.0]]}, "E[1] of POMDP must have shape (2,), the controls of factor 1; got (1,)"),
        ({"E": [None, [0.5, 0.4]]}, "E[1] of POMDP must sum to 1 over controls (axis 0); it sums to 0.9"),
        ({"E": np.ones(3) / 3}, "E as a vector must have one entry per policy (2); got (3,)"),
        ({"E": np.array([0.5, 0.6])}, "E of POMDP must sum to 1 over policies (axis 0); it sums to 1.1"),
        # policies
        ({"policies": [0, 1]}, "policies must have shape (policies, steps, 2 factors); got (2,)"),
        ({"policies": [[0, 1, 0]]}, "policies must have shape (policies, steps, 2 factors); got (1, 3)"),
        ({"policies": np.zeros((0, 1, 2), dtype=int)}, "policies must have shape (policies, steps, 2 factors); got (0, 1, 2)"),
        ({"policies": [[0, 0], [0, 2]]}, "policies[1, 0, 1] must lie in 0..1, the controls of factor 1; got 2"),
        ({"policies": [[[0, 0], [-1, 0]]]}, "policies[0, 1, 0] must lie in 0..0, the controls of factor 0; got -1"),
        ({"policy_length": 0}, "policy_length must be at least 1; got 0"),
        ({"policy_length": 20}, "policy_length=20 makes 1.05e+06 policies; list the ones you want in policies"),
        # labels
        (
            {"labels": {"colours": []}},
            "labels of POMDP must have keys among ['factor', 'modality', 'states', 'outcomes', 'contro",
        ),
        ({"labels": {"factor": ["a"]}}, "labels['factor'] must be 2 different names; got ['a']"),
        ({"labels": {"modality": ["a", "a"]}}, "labels['modality'] must be 2 different names; got ['a', 'a']"),
        (
            {"labels": {"factor": ["a", "b"], "states": {"c": ["x", "y"]}}},
            "labels['states'] must be keyed by names of factor ['a', 'b']; got 'c'",
        ),
        (
            {"labels": {"modality": ["a", "b"], "outcomes": {"b": ["x", "y"]}}},
            "labels['outcomes']['b'] must have 4 names; got 2",
        ),
        ({"labels": {"controls": {"factor_1": ["x"]}}}, "labels['controls']['factor_1'] must have 2 names; got 1"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=shape(message)):
        build(**changes)


def test_policies_must_be_indices():
    with pytest.raises(TypeError, match=r"policies must hold integers \(indices of controls\); got float64"):
        build(policies=[[0.0, 1.0]])


def test_small_rounding_in_sums_is_forgiven_and_mended():
    model = build(A=[A0 * (1 + 1e-8), A1])
    assert_array_equal(model.A[0], A0)


@pytest.mark.parametrize("precision", [np.float16, np.float32])
@pytest.mark.parametrize("size", [3, 1000])
def test_columns_of_single_precision_are_normalised_in_double(precision, size, rng):
    """They sum to 1 within their own rounding; beliefs go on with sums of 1 within that of float64."""
    a, b = (rng.random((size, size, 1)).astype(precision) for _ in range(2))
    a, b = a[..., 0] / a.sum(axis=0)[..., 0], b / b.sum(axis=0)
    d = a[:, 0]
    assert a.dtype == d.dtype == precision
    model = POMDP(A=[a], B=[b], D=[d])
    for exact, given in ((model.A[0], a), (model.B[0], b), (model.D[0], d)):
        assert exact.dtype == np.float64
        assert_allclose(exact.sum(axis=0), 1.0, rtol=1e-13)
        assert_allclose(exact, given, rtol=size * np.finfo(precision).eps)


def test_exact_columns_stay_bit_for_bit(rng):
    a = rng.dirichlet(np.ones(500), size=7).T
    a /= a.sum(axis=0)
    assert_array_equal(POMDP(A=[a], B=[np.eye(7)[:, :, None]]).A[0], a)


@pytest.mark.parametrize("name", ["A", "B", "C", "D", "E", "pA"])
@pytest.mark.parametrize("kind", ["masked", "complex", "words"])
def test_no_array_of_a_model_may_be_masked_complex_or_words(name, kind):
    """What stands under a mask is not meant, and an imaginary part is not nothing."""
    good = {"A": A0, "B": B0, "C": [0.0, 1.0], "D": [0.5, 0.5], "E": [1.0], "pA": 2 * A0}[name]
    bad = {
        "masked": np.ma.array(good, mask=np.arange(np.size(good)).reshape(np.shape(good)) == np.size(good) - 1),
        "complex": np.asarray(good) + 0j,
        "words": np.asarray(good).astype(str),
    }[kind]
    rest = {"A": A1, "B": B1}.get(name)
    error, message = (ValueError, "must not be masked") if kind == "masked" else (TypeError, "must be an array of real numbers")
    with pytest.raises(error, match=rf"{name}\[0\].* {message}"):
        build(**{name: [bad, rest]})


def test_a_vector_over_policies_may_not_be_masked():
    with pytest.raises(ValueError, match=r"E of POMDP must not be masked; entry \(0,\) is"):
        build(E=np.ma.array([0.5, 0.5], mask=[1, 0]))
    with pytest.raises(ValueError, match="policies must not be masked"):
        build(policies=np.ma.array([[0, 0], [0, 1]], mask=[[0, 0], [0, 1]]))


# --- likelihood and counts -----------------------------------------------------------------------------------------------
def test_a_likelihood_and_counts_that_contradict_each_other_are_refused():
    with pytest.raises(
        ValueError, match=r"A\[0\] of POMDP must be the mean of pA\[0\], or None; at \(0, 0\) A is 1 and the mean"
    ):
        build(A=[np.eye(2), A1], pA=[np.ones((2, 2)), None])
    counts = np.array([[3.0, 1.0], [1.0, 2.0]])
    mean = (counts / counts.sum(axis=0)).astype(np.float32)
    build(A=[mean, A1], pA=[counts, None])


def test_a_likelihood_follows_the_counts_of_a_copy():
    model = two_rooms()
    more = 3.0 * model.pA[1]
    more[0] += model.pA[1][0]
    copy = model.with_(pA=[None, more])
    assert_allclose(copy.A[1], more / more.sum(axis=0))
    known = model.with_(pA=None)
    assert known.learned_modalities == () and (known.A[1] == model.A[1]).all()
    with pytest.raises(ValueError, match=r"A\[1\] of POMDP must be the mean of pA\[1\]"):
        model.with_(pA=[None, more], A=model.A)


# --- indices, and what a model shows -------------------------------------------------------------------------------------
@pytest.mark.parametrize("bad", [[0.9], [1.0], ["0"], [None], [True]])
@pytest.mark.parametrize("name", ["A_dependencies", "B_dependencies"])
def test_dependencies_are_whole_numbers(name, bad):
    with pytest.raises(ValueError, match=rf"{name}\[0\] must list distinct factors in 0\.\.1; got \[{bad[0]!r}\]"):
        build(**{name: [bad, [1]]})


def test_indices_are_whole_numbers():
    model = two_rooms()
    assert build(A_dependencies=np.array([[0], [1]], dtype=np.int8), A=[A0, np.ones((1, 3))]).A_dependencies == ((0,), (1,))
    for bad in (0.9, 1.0, True, None):
        with pytest.raises(TypeError, match=f"factor must be a whole number; got {bad!r}"):
            model.factor(bad)
    for bad in (1.5, "2", None):
        with pytest.raises(TypeError, match=f"policy_length must be a whole number; got {bad!r}"):
            build(policy_length=bad)


def test_a_model_shows_itself_in_a_few_words():
    assert repr(two_rooms()) == (
        "POMDP(2 factors (2, 2) of states; 2 modalities (2, 3) of outcomes; 2 policies of 1 step; 1 learned)"
    )
    many = POMDP(A=[np.ones((1, 2))] * 300, B=[np.eye(2)[:, :, None]] * 200, A_dependencies=[[0]] * 300, policies=[[0] * 200])
    assert "POMDP(200 factors (2, 2, 2, 2, 2, 2, 2, 2, ...) of states" in repr(many)
    assert len(repr(many)) < 200
