"""Checks of arguments: what they take, what they refuse, and that messages name argument, rule and value."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from activebmr import Learning, Selection, checks


class Whole:
    """A whole number of another library, as torch and jax have them."""

    def __index__(self):
        return 3


@pytest.mark.parametrize("value", [3, np.int8(3), np.array(3), Whole()])
def test_whole_numbers_of_all_kinds(value):
    assert checks.is_whole(value)
    whole = checks.whole_number(value, "depth", least=0, most=3)
    assert whole == 3 and type(whole) is int


@pytest.mark.parametrize("value", [3.0, 0.9, "3", None, True, np.bool_(True), np.array(True), np.array([3]), np.float64(3)])
def test_no_whole_numbers(value):
    assert not checks.is_whole(value)
    with pytest.raises(TypeError, match="depth must be a whole number; got"):
        checks.whole_number(value, "depth")


@pytest.mark.parametrize(
    "value, bounds, message",
    [
        (4, {"least": 0, "most": 3}, r"depth must lie in 0\.\.3; got 4"),
        (-1, {"least": 0}, "depth must be at least 0; got -1"),
        (4, {"most": 3}, "depth must be at most 3; got 4"),
    ],
)
def test_whole_numbers_out_of_bounds(value, bounds, message):
    with pytest.raises(ValueError, match=message):
        checks.whole_number(value, "depth", **bounds)


@pytest.mark.parametrize("word", ["no", "yes", 0, 1, None])
def test_flags_are_true_or_false(word):
    assert checks.flag(np.True_, "smooth") is True
    with pytest.raises(TypeError, match=f"smooth must be True or False; got {word!r}"):
        checks.flag(word, "smooth")


def test_choices():
    assert checks.choice("exact", "inference", ("exact", "paths")) == "exact"
    for bad in ("Exact", None, 1, np.zeros(2)):
        with pytest.raises(ValueError, match=r"inference must be one of \['exact', 1.0\]; got"):
            checks.choice(bad, "inference", ("exact", 1.0))


@pytest.mark.parametrize(
    "value", [[[1, 2], [3, 4]], np.eye(2, dtype=np.float32), np.eye(2, dtype=bool), np.ma.array(np.eye(2))]
)
def test_arrays_of_real_numbers(value):
    array = checks.float_array(value, "A")
    assert array.dtype == np.float64 and type(array) is np.ndarray
    assert_array_equal(array, np.array(value, dtype=float))


@pytest.mark.parametrize(
    "value, error, message",
    [
        (np.ma.array(np.eye(2), mask=[[0, 0], [1, 0]]), ValueError, r"A must not be masked; entry \(1, 0\) is"),
        (np.ma.array(0.5, mask=True), ValueError, r"A must not be masked; entry \(\) is"),
        (np.eye(2) + 0j, TypeError, "A must be an array of real numbers; got array"),
        ([[1.0, 2.0], [3.0]], TypeError, "A must be an array of real numbers; got"),
        (["a", "b"], TypeError, "A must be an array of real numbers; got"),
        (["1", "2"], TypeError, "A must be an array of real numbers; got"),
        ({"a": 1}, TypeError, "A must be an array of real numbers; got"),
        (np.array("2020-01-01", dtype="datetime64[D]"), TypeError, "A must be an array of real numbers; got"),
    ],
)
def test_what_is_no_array_of_real_numbers(value, error, message):
    with pytest.raises(error, match=message):
        checks.float_array(value, "A")


@pytest.mark.parametrize(
    "rule, good, bad",
    [
        (checks.POSITIVE, [1e-300, 5], [0, -1, np.inf, np.nan]),
        (checks.POSITIVE_OR_INFINITE, [1e-300, np.inf], [0, -1, np.nan]),
        (checks.NOT_NEGATIVE, [0, 5], [-1e-300, np.inf, np.nan]),
        (checks.PROBABILITY, [0, 1], [-0.1, 1.1, np.nan]),
        (checks.FRACTION, [0.1, 1], [0, 1.1, np.nan]),
        (checks.ANY_NUMBER, [-np.inf, 0, np.inf], [np.nan]),
    ],
)
def test_rules_hold_for_one_number_and_for_one_per_agent(rule, good, bad):
    for value in good:
        assert checks.number(value, "x", rule) == value
    assert_array_equal(checks.per_agent(good, "x", rule), good)
    for value in bad:
        with pytest.raises(ValueError, match=f"^x must {_plain(rule.words)}; got {value}"):
            checks.number(np.float32(value), "x", rule) if not np.isfinite(value) else checks.number(value, "x", rule)
        with pytest.raises(ValueError, match=f"^x must {_plain(rule.words)}; got .* for agent 1$"):
            checks.per_agent([good[0], value], "x", rule)


def _plain(text: str) -> str:
    return text.replace("(", r"\(").replace("[", r"\[").replace("]", r"\]").replace(")", r"\)")


def test_one_number_for_all_agents_or_one_for_each():
    for one in (2, 2.0, np.float32(2), np.array(2.0)):
        assert checks.per_agent(one, "gamma", checks.POSITIVE) == 2.0
        assert type(checks.per_agent(one, "gamma", checks.POSITIVE)) is float
    given = np.array([1.0, 2.0, 4.0])
    each = checks.per_agent(given, "gamma", checks.POSITIVE)
    given[:] = 0.0  # theirs is a copy
    assert_array_equal(each, [1.0, 2.0, 4.0])
    with pytest.raises(ValueError, match="read-only"):
        each[0] = 3.0
    assert_array_equal(checks.each_agent(each, 3, "gamma"), each)
    assert_array_equal(checks.each_agent(2.0, 3, "gamma"), [2.0, 2.0, 2.0])
    with pytest.raises(ValueError, match="gamma has one number for each of 3 agents; the batch has 2"):
        checks.each_agent(each, 2, "gamma")


@pytest.mark.parametrize(
    "value, error, message",
    [
        (None, TypeError, "gamma must be a number, or an array of one number per agent; got None"),
        ("1", TypeError, "gamma must be a number, or an array of one number per agent; got '1'"),
        (True, TypeError, "gamma must be a number, or an array of one number per agent; got True"),
        (1j, TypeError, "gamma must be an array of real numbers; got 1j"),
        ([], ValueError, r"gamma must be a number, or an array \(n_agents,\) of one per agent; got shape \(0,\)"),
        ([[1.0]], ValueError, r"gamma must be a number, or an array \(n_agents,\) of one per agent; got shape \(1, 1\)"),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), ValueError, r"gamma must not be masked; entry \(1,\) is"),
    ],
)
def test_what_is_neither_one_number_nor_one_per_agent(value, error, message):
    with pytest.raises(error, match=message):
        checks.per_agent(value, "gamma", checks.POSITIVE)


# --- settings that agents may have each for themselves -------------------------------------------------------------------
def test_settings_per_agent():
    learning = Learning(rate=[0, 0.5], retention=np.array([1.0, 0.9]))
    assert_array_equal(learning.rate, [0.0, 0.5])
    assert_array_equal(learning.retention, [1.0, 0.9])
    assert Learning(rate=0).rate == 0.0 and not Learning().smooth
    selection = Selection(threshold=[3, np.inf], concentration=[512, 8])
    assert_array_equal(selection.threshold, [3.0, np.inf])
    assert_array_equal(selection.concentration, [512.0, 8.0])
    assert Learning(rate=[1, 2]) == Learning(rate=[1, 2]) != Learning(rate=[1, 3])
    assert hash(Learning(rate=[1, 2])) == hash(Learning(rate=[1, 2]))
    assert Learning(0.5) == Learning(0.5) != Selection()


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: Learning(rate=[1.0, -1.0]), ValueError, "rate of Learning must be a finite number >= 0; got -1.0 for agent 1"),
        (lambda: Learning(retention=[0.0]), ValueError, r"retention of Learning must lie in \(0, 1\]; got 0.0 for agent 0"),
        (lambda: Learning(smooth="no"), TypeError, "smooth of Learning must be True or False; got 'no'"),
        (lambda: Selection(curious=1), TypeError, "curious of Selection must be True or False; got 1"),
        (lambda: Selection(last_outcome="all"), TypeError, "last_outcome of Selection must be True or False; got 'all'"),
        (lambda: Selection(offset=[0.1, 0.2]), TypeError, r"offset of Selection must be a single number; got \[0.1, 0.2\]"),
        (lambda: Selection(threshold=[16, np.nan]), ValueError, "threshold of Selection must be a number of nats, or inf"),
        (lambda: Selection(concentration=[0.0, 1.0]), ValueError, "concentration of Selection must be a finite number > 0"),
    ],
)
def test_bad_settings_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
