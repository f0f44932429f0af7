"""Differences of log gamma functions: against products, and against 60-digit numbers of mpmath 1.3 where steps are no whole
numbers.
"""

from __future__ import annotations

from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from activebmr.log_gamma import bregman_log, log_gamma_rest, log_rise, log_rise_difference, psi_rest

getcontext().prec = 60


def product(x: float, n: int) -> Decimal:
    """ln of x (x + 1) ... (x + n - 1), which is lnG(x + n) - lnG(x), to 60 digits."""
    return sum(((Decimal(x) + k).ln() for k in range(n)), Decimal(0))


sizes = st.floats(-12, 16.5).map(lambda e: 10.0**e)


@given(sizes, st.integers(0, 30))
def test_a_rise_by_a_whole_number_is_a_product(x, n):
    exact = float(product(x, n))
    assert_allclose(log_rise(x, n), exact, rtol=1e-13, atol=1e-11)
    end = x + n
    if Decimal(end) == Decimal(x) + n:
        assert_allclose(log_rise(end, -n), -exact, rtol=1e-13, atol=1e-11)


@pytest.mark.parametrize(
    "x, n, exact",
    [
        (1e16, 3.0, 110.52408446371419313),
        (1e16, -2.5, -92.103403719761826923),
        (3e12, 0.375, 10.77361252672370765),
        (5e15, 5e15, 182672543342323380.92),
        (40.0, 1e9, 19723266549.802590768),
        (1e-12, 7.5, -20.0966568791672913),
        (1000.5, -900.25, -5548.3896162109132537),
        (1e8, -99999990.0, -1742068053.3020072292),
        (257.0, 0.001, 0.0055471312472284841848),
    ],
)
def test_a_rise_by_any_step(x, n, exact):
    assert_allclose(log_rise(x, n), exact, rtol=1e-14, atol=1e-12)


@given(sizes, sizes, st.integers(0, 40))
def test_second_differences_where_few_outcomes_were_seen(r, p, n):
    assert_allclose(log_rise_difference(r, n, p), float(product(r, n) - product(p, n)), rtol=1e-13, atol=1e-10)


@given(sizes, st.floats(-3, 2).map(lambda e: 10.0**e), st.integers(1, 9))
def test_second_differences_where_many_were_seen(n, p, change):
    """It does not matter which side is called the outcomes: d^2 lnG is symmetric."""
    r = p + change
    if Decimal(r) == Decimal(p) + change:
        there = sum(((Decimal(p) + Decimal(n) + k).ln() for k in range(change)), Decimal(0))
        assert_allclose(log_rise_difference(r, n, p), float(there - product(p, change)), rtol=1e-13, atol=1e-10)


def test_what_cannot_be_seen_in_a_sum_still_counts():
    """1 - (1 - 1e-300) is 0 to a computer: lnG(1e-300) is not inf, and a step of 1 at 1e17 is not nothing."""
    assert_allclose(log_rise(1.0, -1.0, 1e-300), -np.log(1e-300))
    assert_allclose(log_rise_difference(1e-300, 5.0, 1.0), np.log(1e-300 * 24) - np.log(120), rtol=1e-14)
    assert_allclose(log_rise(1e17, 1.0), np.log(1e17), rtol=1e-15)


def test_each_number_is_its_own():
    """Whatever stands beside it in an array."""
    rng = np.random.default_rng(0)
    r, p, n = 10.0 ** rng.uniform(-6, 16, size=(3, 400))
    together = log_rise_difference(r, n, p)
    assert_array_equal(together, [log_rise_difference(*x) for x in zip(r, n, p, strict=True)])
    assert_array_equal(log_rise(p, n), [log_rise(*x) for x in zip(p, n, strict=True)])
    assert_array_equal(together[::7], log_rise_difference(r[::7], n[::7], p[::7]))


def test_shapes_are_broadcast():
    assert log_rise([[1.0], [1e9]], [1.0, 2.0, 3.0]).shape == (2, 3)
    assert log_rise_difference(np.full((4, 1), 1e12), np.ones(3), 2.0).shape == (4, 3)


@given(sizes)
def test_what_is_left_of_log_gamma_and_its_slope(x):
    """By the recurrences lnG(x + 1) = lnG(x) + ln x and psi(x + 1) = psi(x) + 1 / x, which no series knows of."""
    stretch = float(bregman_log(np.array(1 / x))) * x if x > 1e-6 else float((Decimal(x) + 1) * (1 + 1 / Decimal(x)).ln() - 1)
    # (x + 1) ln(x + 1) - x ln x - 1 = ln x + stretch
    rest = float(log_gamma_rest(np.array(x + 1.0)) - log_gamma_rest(np.array(x)))
    assert_allclose(rest, -stretch, rtol=1e-12, atol=1e-13 + 1e-15 * abs(np.log(x)))
    slope = float(psi_rest(np.array(x + 1.0)) - psi_rest(np.array(x)))
    assert_allclose(slope, float(1 / Decimal(x) - (1 + 1 / Decimal(x)).ln()), rtol=1e-12, atol=1e-14)
    assert psi_rest(np.array(x)) < 0


@given(st.floats(-17, 10), st.sampled_from([1, -1]))
def test_the_bregman_divergence_of_x_log_x(exponent, sign):
    d = sign * 10.0**exponent
    if d >= -1:
        x = Decimal(d)
        assert_allclose(float(bregman_log(np.array(d))), float((1 + x) * (1 + x).ln() - x) if d > -1 else 1.0, rtol=1e-13)
