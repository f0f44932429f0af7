"""Reduced Gaussians of NumPy arrays: numbers with 40 digits, the same as of torch tensors, and without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import DATA
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from activebmr.gaussian import (
    DenseGaussian,
    Gaussian,
    best_shrinkage,
    reduce_gaussian,
    removal_evidence,
    removal_threshold,
    remove_block,
    shrinkage_evidence,
)

VECTORS = json.loads((DATA / "gaussian_bmr_vectors.json").read_text())
IDS = dict(ids=lambda c: f"{np.ravel(c['mean'])[0]:.4g}")


def parts(found):
    q = found.posterior
    return found.log_evidence_ratio, q.mean, q.variance if isinstance(q, Gaussian) else q.covariance


def random_dense(rng, n):
    """Posterior, prior and a reduced prior, as from data; every other reduced prior is singular."""
    means = rng.normal(size=(3, n))
    roots = rng.normal(size=(2, n, n + 2))
    prior, reduced = roots @ roots.swapaxes(1, 2) / n
    if rng.random() < 0.5:
        reduced[0] = reduced[:, 0] = 0
    design = rng.normal(size=(rng.integers(1, 2 * n + 1), n))
    posterior = np.linalg.inv(np.linalg.inv(prior) + design.T @ design)
    return list(zip(means, ((posterior + posterior.T) / 2, prior, reduced), strict=True))


@pytest.mark.parametrize("case", VECTORS["scalar"], **IDS)
def test_one_weight_is_that_of_many_digits(case):
    numbers = [(case[f"{of}mean"], case[f"{of}var"]) for of in ("", "prior_", "red_")]
    for found in (
        reduce_gaussian(*(Gaussian(m, v) for m, v in numbers)),
        reduce_gaussian(*(DenseGaussian([m], [[v]]) for m, v in numbers)),
    ):
        exact = -case["delta_vfe"], case["red_post_mean"], case["red_post_var"]
        for value, right in zip(parts(found), exact, strict=True):
            assert isinstance(value, (np.ndarray, np.float64)) and value.dtype == np.float64
            assert_allclose(value, np.reshape(right, np.shape(value)), rtol=1e-9)


@pytest.mark.parametrize("case", VECTORS["vector"], **IDS)
def test_weights_with_covariances_are_those_of_many_digits(case):
    found = reduce_gaussian(*(DenseGaussian(case[f"{of}mean"], case[f"{of}cov"]) for of in ("", "prior_", "red_")))
    for value, right in zip(parts(found), (-case["delta_vfe"], case["red_post_mean"], case["red_post_cov"]), strict=True):
        assert_allclose(value, right, rtol=1e-9)


@pytest.mark.parametrize("case", VECTORS["savage_dickey_vector"], **IDS)
def test_removal_of_a_block_is_that_of_many_digits(case):
    prior = DenseGaussian(np.zeros(len(case["mean"])), np.diag(case["prior_var"]))
    found = remove_block(DenseGaussian(case["mean"], case["cov"]), prior, case["pruned"])
    for value, right in zip(
        parts(found), (-case["delta_vfe"], case["red_post_mean_rest"], case["red_post_cov_rest"]), strict=True
    ):
        assert_allclose(value, right, rtol=1e-9)


@pytest.mark.parametrize("case", VECTORS["threshold_rule"], **IDS)
def test_closed_forms_are_those_of_many_digits(case):
    m, v, p, r = (case[k] for k in ("mean", "var", "prior_var", "r"))
    assert_allclose(shrinkage_evidence(m, v, p, r), -case["delta_vfe"], rtol=1e-9)
    best = case["ard_optimal_r"]
    assert_allclose(best_shrinkage(m, v, p), np.inf if best is None else best, rtol=1e-9)
    if r == 0:
        assert_allclose(removal_threshold(v, p), case["snr2_threshold"], rtol=1e-9)
    point = reduce_gaussian(Gaussian(m, v), Gaussian(0.0, p), Gaussian.point()).log_evidence_ratio
    assert_allclose(removal_evidence(m, v, p), point, rtol=1e-12)


@given(st.integers(0, 10**6))
def test_numpy_and_torch_agree(seed):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 5))
    three = random_dense(rng, n)
    tensors = [tuple(map(torch.as_tensor, one)) for one in three]
    each = [(m, np.diag(c)) for m, c in three]
    each_tensors = [tuple(torch.tensor(x) for x in one) for one in each]
    gone = rng.permutation(n)[: rng.integers(0, n + 1)].tolist()
    for ours, theirs in (
        (reduce_gaussian(*(DenseGaussian(*x) for x in three)), reduce_gaussian(*(DenseGaussian(*x) for x in tensors))),
        (
            remove_block(*(DenseGaussian(*x) for x in three[:2]), gone),
            remove_block(*(DenseGaussian(*x) for x in tensors[:2]), gone),
        ),
        (
            reduce_gaussian(*(Gaussian(*x) for x in each[:2]), Gaussian.point()),
            reduce_gaussian(*(Gaussian(*x) for x in each_tensors[:2]), Gaussian.point()),
        ),
    ):
        for x, y in zip(parts(ours), parts(theirs), strict=True):
            assert isinstance(y, torch.Tensor) and y.dtype == torch.float64
            assert_allclose(x, y.numpy(), rtol=1e-8, atol=1e-10)


def test_what_meets_a_tensor_becomes_one_and_gradients_pass():
    torch = pytest.importorskip("torch")
    mean = torch.tensor([0.3, -0.2], requires_grad=True)
    found = removal_evidence(mean, [0.1, 0.05], np.array([1.0, 2.0]))
    found.sum().backward()
    assert_allclose(mean.grad, [-3.0, 4.0], rtol=1e-6)
    posterior = Gaussian(torch.tensor([0.3, -0.2]), [0.1, 0.05])
    mixed = reduce_gaussian(posterior, Gaussian([0.0, 0.0], 1.0), Gaussian.point())
    assert isinstance(mixed.log_evidence_ratio, torch.Tensor) and isinstance(mixed.posterior.variance, torch.Tensor)


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: Gaussian([0.0], [-1e-3]), "variance of Gaussian must be >= 0; least value -0.001"),
        (lambda: Gaussian([np.nan], 1.0), "mean of Gaussian must be finite; got nan"),
        (lambda: Gaussian(np.zeros(3), np.ones(2)), r"shapes must fit .*mean \(3,\), variance \(2,\)"),
        (lambda: DenseGaussian([0.0, 0.0], [[1.0, 0.5], [0.4, 1.0]]), "must be symmetric"),
        (lambda: DenseGaussian([0.0], np.eye(2)), r"got \(1,\) and \(2, 2\)"),
        (lambda: reduce_gaussian(Gaussian(0, 2), Gaussian(0, 1), Gaussian(0, 5)), r"prior precision is -0\.3 \("),
        (lambda: reduce_gaussian(Gaussian(0, 0), Gaussian(0, 1), Gaussian(0, 1)), "variance of posterior must be > 0"),
        (
            lambda: reduce_gaussian(*(DenseGaussian([0.0, 0.0], np.ones((2, 2))),) * 3),
            "covariance of posterior must be positive definite; its least eigenvalue is",
        ),
        (lambda: remove_block(*(DenseGaussian([0.0], [[1.0]]),) * 2, [1]), "index must lie in 0..0; got 1"),
        (lambda: shrinkage_evidence(0.0, 1.0, 2.0, -0.1), "ratio must be >= 0; got -0.1"),
    ],
)
def test_what_cannot_be_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_torch_is_not_needed():
    code = "import sys; sys.modules['torch'] = None; from activebmr.gaussian import *; print(removal_evidence(0.5, 0.1, 1.0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert_allclose(float(done.stdout), 0.5 * np.log(10) - 1.25, rtol=1e-12)
