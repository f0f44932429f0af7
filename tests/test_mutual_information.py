"""Mutual information of counts, against SPM (tests/data/spm) and finite differences."""

from pathlib import Path

import numpy as np
import pytest

from activebmr import dirichlet

ORACLE = np.load(Path(__file__).parent / "data" / "spm" / "unit_MI.npz")
CASES = sorted({name.split("_")[1] for name in ORACLE.files if name.startswith("a_")})


@pytest.mark.parametrize("case", CASES)
def test_mutual_information_is_spms(case):
    a, c, h = (ORACLE[f"{name}_{case}"] for name in "ach")
    n = int(case)
    for v, extra in enumerate(((), (c,), (c, h))):
        assert dirichlet.mutual_information(a, *extra) == pytest.approx(ORACLE["E"][n, v], rel=1e-10, abs=1e-13)
        gradient = dirichlet.mutual_information_gradient(a, *extra)
        theirs = ORACLE[f"dEdA_{case}_{v}"]
        held = a > 0  # at a zero SPM floors each logarithm by itself, and the derivative is infinite anyway
        np.testing.assert_allclose(gradient[held], theirs[held], rtol=1e-10, atol=1e-12)
        # SPM's derivative by the counts keeps only the diagonal of the derivative of a / sum(a)
        by_counts = theirs * (1 - a / a.sum()) / a.sum()
        np.testing.assert_allclose(by_counts, ORACLE[f"dEda_{case}_{v}"], rtol=1e-10, atol=1e-13)
    assert dirichlet.expected_mutual_information(a) == pytest.approx(ORACLE["dirMI"][n], rel=1e-10)


def test_gradient_is_the_slope_along_every_direction_that_keeps_the_total():
    rng = np.random.default_rng(3)
    counts = rng.random((3, 4)) + 0.1
    counts /= counts.sum()
    weights = rng.random(3), rng.random(4)
    gradient = dirichlet.mutual_information_gradient(counts, *weights)
    step = rng.normal(size=counts.shape)
    step -= step.mean()
    h = 1e-6
    up, down = (dirichlet.mutual_information(counts + s * h * step, *weights) for s in (1, -1))
    assert (gradient * step).sum() == pytest.approx((up - down) / (2 * h), rel=1e-6)


def test_expected_mutual_information_is_the_average_over_dirichlet_samples():
    rng = np.random.default_rng(4)
    counts = rng.random((2, 3)) * 3 + 0.2
    draws = rng.dirichlet(counts.ravel(), 20000).reshape(-1, 2, 3)
    values = np.array([dirichlet.mutual_information(d) for d in draws[:4000]])
    error = values.std() / np.sqrt(len(values))
    assert abs(dirichlet.expected_mutual_information(counts) - values.mean()) < 4 * error


@pytest.mark.parametrize("counts", [np.zeros((2, 2)), -np.ones((2, 2))])
def test_counts_without_mass_are_refused(counts):
    for function in (dirichlet.mutual_information, dirichlet.expected_mutual_information):
        with pytest.raises(ValueError, match="counts must"):
            function(counts)


def test_preferences_of_the_wrong_size_are_refused():
    with pytest.raises(ValueError, match="outcome_preferences must hold 2 numbers"):
        dirichlet.mutual_information(np.ones((2, 3)), [1.0, 2.0, 3.0])
