"""Reduced Gaussian posteriors against numbers with 40 digits, quadrature, evidence from data, and what must not change them."""

from __future__ import annotations

import contextlib
import json
import math

import numpy as np
import pytest
from conftest import DATA
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar
from scipy.stats import multivariate_normal, norm

torch = pytest.importorskip("torch")

from activebmr.gaussian import best_shrinkage, removal_threshold, shrinkage_evidence  # noqa: E402
from activebmr.pruning import (  # noqa: E402
    DenseGaussian,
    Gaussian,
    reduce_gaussian,
    removal_evidence,
    remove_block,
)

VECTORS = json.loads((DATA / "gaussian_bmr_vectors.json").read_text())
SEEDS = st.integers(0, 10**6)
IDS = dict(ids=lambda c: f"{np.ravel(c['mean'])[0]:.4g}")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def double(x):
    return torch.as_tensor(x, dtype=torch.float64)


def each(mean, variance):
    return Gaussian(double(mean), double(variance))


def dense(mean, covariance):
    return DenseGaussian(double(mean), double(covariance))


def as_dense(g: Gaussian) -> DenseGaussian:
    return DenseGaussian(g.mean.reshape(-1), torch.diag(g.variance.reshape(-1)))


def moments(g):
    return [g.mean.numpy(), (g.variance if isinstance(g, Gaussian) else g.covariance).numpy()]


def same(one, other, rtol=1e-9, atol=0.0):
    assert_allclose(one.log_evidence_ratio, other.log_evidence_ratio, rtol=rtol, atol=atol)
    for x, y in zip(moments(one.posterior), moments(other.posterior), strict=True):
        assert_allclose(x, y, rtol=rtol, atol=atol)


def random_each(rng, n=5, shape=None):
    """Posterior, prior and two reduced priors of independent weights, most of them narrowed by data, some widened a little."""
    shape = (n,) if shape is None else shape
    prior = np.exp(rng.uniform(-2, 2, shape))
    variance = prior * np.exp(rng.uniform(-6, 0.3, shape))
    # where data have taken precision away, no reduced prior is wider than the prior by more than half of what is allowed
    widest = np.where(variance < prior, np.e, 0.5 + 0.5 / np.maximum(1 - prior / variance, 1e-3)).clip(0.1, np.e)
    reduced = [prior * np.exp(rng.uniform(-6, 0, shape)) * widest for _ in range(2)]
    return [each(rng.normal(size=shape) * np.sqrt(v), v) for v in (variance, prior, *reduced)]


def covariance(rng, n, spread=1.0):
    root = rng.normal(size=(n, n + 2)) * np.exp(spread * rng.normal(size=(n, 1)))
    return root @ root.T / n


def random_dense(rng, n=4, examples=None):
    """As from data: precision is the prior's and that of fewer, as many or more examples than weights."""
    design = rng.normal(size=(rng.integers(1, 2 * n) if examples is None else examples, n))
    prior, *reduced = (covariance(rng, n, 0.5) for _ in range(3))
    posterior = np.linalg.inv(np.linalg.inv(prior) + design.T @ design)
    posterior = (posterior + posterior.T) / 2
    return [dense(0.5 * rng.normal(size=n), c) for c in (posterior, prior, *reduced)]


# --- numbers with 40 digits ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", VECTORS["scalar"], **IDS)
@pytest.mark.parametrize("form", [each, lambda m, v: dense([m], [[v]])], ids=["each", "dense"])
def test_one_weight_is_that_of_many_digits(case, form):
    found = reduce_gaussian(*(form(case[f"{of}mean"], case[f"{of}var"]) for of in ("", "prior_", "red_")))
    assert_allclose(found.log_evidence_ratio.item(), -case["delta_vfe"], rtol=1e-9)
    mean, variance = moments(found.posterior)
    assert_allclose(mean.item(), case["red_post_mean"], rtol=1e-9)
    assert_allclose(variance.item(), case["red_post_var"], rtol=1e-9)


def test_many_weights_at_once_are_those_of_many_digits():
    table = {key: [case[key] for case in VECTORS["scalar"]] for key in VECTORS["scalar"][0]}
    found = reduce_gaussian(*(each(table[f"{of}mean"], table[f"{of}var"]) for of in ("", "prior_", "red_")))
    assert_allclose(found.log_evidence_ratio, -np.array(table["delta_vfe"]), rtol=1e-9)
    assert_allclose(found.posterior.mean, table["red_post_mean"], rtol=1e-9)
    assert_allclose(found.posterior.variance, table["red_post_var"], rtol=1e-9)


@pytest.mark.parametrize("case", VECTORS["vector"], **IDS)
def test_weights_with_covariances_are_those_of_many_digits(case):
    found = reduce_gaussian(*(dense(case[f"{of}mean"], case[f"{of}cov"]) for of in ("", "prior_", "red_")))
    assert_allclose(found.log_evidence_ratio, -case["delta_vfe"], rtol=1e-9)
    assert_allclose(found.posterior.mean, case["red_post_mean"], rtol=1e-9)
    assert_allclose(found.posterior.covariance, case["red_post_cov"], rtol=1e-9)


@pytest.mark.parametrize("case", VECTORS["savage_dickey_scalar"], **IDS)
def test_removal_of_a_weight_is_that_of_many_digits(case):
    m, v, p, pm = (double(case[k]) for k in ("mean", "var", "prior_var", "prior_mean"))
    ratio = removal_evidence(m, v, p, pm)
    assert_allclose(ratio, -case["delta_vfe"], rtol=1e-9)
    assert (ratio.item() > 0) == case["prune"]
    assert_allclose(reduce_gaussian(Gaussian(m, v), Gaussian(pm, p), Gaussian.point()).log_evidence_ratio, ratio, rtol=1e-12)
    assert_allclose(m * m / v, case["snr2"], rtol=1e-12)
    assert_allclose(removal_threshold(v, p), case["threshold_ln_inv_v"], rtol=1e-12)
    if case["prior_mean"] == 0:
        assert (case["snr2"] < removal_threshold(v, p).item()) == case["prune"]
        assert removal_evidence(m, v, p) == removal_evidence(m, v, p.item(), 0) == ratio
    # priors that are narrow, but no points: quadrature has about 1e-9 of its own
    for width, exact in case["delta_vfe_quad_by_red_over_prior_var"].items():
        found = reduce_gaussian(Gaussian(m, v), Gaussian(pm, p), Gaussian(double(0.0), float(width) * p))
        assert_allclose(found.log_evidence_ratio, -exact, rtol=1e-9, err_msg=width)


@pytest.mark.parametrize("case", VECTORS["savage_dickey_vector"], **IDS)
def test_removal_of_a_block_is_that_of_many_digits(case):
    prior = dense(np.zeros(len(case["mean"])), np.diag(case["prior_var"]))
    found = remove_block(dense(case["mean"], case["cov"]), prior, case["pruned"])
    assert_allclose(found.log_evidence_ratio, -case["delta_vfe"], rtol=1e-9)
    assert_allclose(found.posterior.mean, case["red_post_mean_rest"], rtol=1e-9)
    assert_allclose(found.posterior.covariance, case["red_post_cov_rest"], rtol=1e-9)


@pytest.mark.parametrize("case", VECTORS["improper"], ids=["< 0", "0"])
def test_no_proper_posterior_is_an_error_that_says_by_how_much(case):
    value = r"-0\.3" if case["var"] == 2 else r"(-?\d(\.\d+)?e-1\d|-?0)"
    with pytest.raises(ValueError, match=rf"posterior \+ reduced - prior precision is {value} \("):
        reduce_gaussian(*(each(case[f"{of}mean"], case[f"{of}var"]) for of in ("", "prior_", "red_")))
    with pytest.raises(ValueError, match="must leave v \\+ ratio"):
        shrinkage_evidence(double(case["mean"]), double(case["var"]), case["prior_var"], case["red_var"] / case["prior_var"])


def test_no_proper_posterior_with_covariances_is_an_error_too():
    """Told is the least eigenvalue of 1 + R' L R: 1 + 5 (1 / 2 - 1)."""
    case = VECTORS["improper"][0]
    with pytest.raises(ValueError, match=r"positive precision; the least eigenvalue of .* is -1\.5$"):
        reduce_gaussian(*(dense([case[f"{of}mean"]], [[case[f"{of}var"]]]) for of in ("", "prior_", "red_")))


def test_a_precision_of_exactly_zero_is_no_proper_posterior_with_covariances_either():
    case = VECTORS["improper"][1]
    with pytest.raises(ValueError, match="positive precision"):
        reduce_gaussian(*(dense([case[f"{of}mean"]], [[case[f"{of}var"]]]) for of in ("", "prior_", "red_")))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    for s2 in np.linspace(1.01, 6, 100):  # one direction of three has lost all precision
        posterior, reduced = (dense(np.zeros(3), turn @ np.diag([v, 0.5, 0.5]) @ turn.T) for v in (s2, s2 / (s2 - 1)))
        with pytest.raises(ValueError, match="positive precision"):
            reduce_gaussian(posterior, dense(np.zeros(3), np.eye(3)), reduced)


def test_a_precision_of_exactly_zero_is_no_proper_posterior_however_it_is_rounded():
    proper = []
    for s2 in np.linspace(1.01, 6, 100):
        with contextlib.suppress(ValueError):
            reduce_gaussian(each(0.0, s2), each(0.0, 1.0), each(0.0, s2 / (s2 - 1)))
            proper.append(s2)
    assert proper == []


@pytest.mark.parametrize("case", VECTORS["threshold_rule"], **IDS)
def test_narrower_priors_and_the_best_of_them_are_those_of_many_digits(case):
    m, v, p, r = (double(case[k]) for k in ("mean", "var", "prior_var", "r"))
    ratio = shrinkage_evidence(m, v, p, r)
    assert_allclose(ratio, -case["delta_vfe"], rtol=1e-9)
    found = reduce_gaussian(Gaussian(m, v), Gaussian(double(0.0), p), Gaussian(double(0.0), r * p))
    assert_allclose(found.log_evidence_ratio, -case["delta_vfe"], rtol=1e-9)
    assert (ratio.item() > 0) == case["prune"]
    best = case["ard_optimal_r"]
    assert_allclose(best_shrinkage(m, v, p), math.inf if best is None else best, rtol=1e-9)
    if case["r"] == 0:
        assert_allclose(removal_evidence(m, v, p), ratio, rtol=1e-12)
        assert_allclose(removal_threshold(v, p), case["snr2_threshold"], rtol=1e-9)


# --- against integrals and data --------------------------------------------------------------------------------------------
@given(SEEDS)
def test_ratio_is_the_log_mean_of_reduced_over_full_prior_by_quadrature(seed):
    posterior, prior, reduced, _ = random_each(np.random.default_rng(seed), 1)
    found = reduce_gaussian(posterior, prior, reduced)
    mean, variance = (x.item() for x in moments(found.posterior))
    x = mean + math.sqrt(variance) * np.linspace(-14, 14, 2001)
    q, p, r = (norm.logpdf(x, *(float(v) for v in (g.mean, g.variance.sqrt()))) for g in (posterior, prior, reduced))
    total = np.exp(q + r - p).sum() * (x[1] - x[0])
    assert_allclose(found.log_evidence_ratio.item(), math.log(total), rtol=1e-9, atol=1e-10)
    assert_allclose(np.exp(q + r - p) / total, norm.pdf(x, mean, math.sqrt(variance)), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_ratio_of_two_weights_is_that_of_quadrature(seed):
    posterior, prior, reduced, _ = random_dense(np.random.default_rng(seed), 2)
    found = reduce_gaussian(posterior, prior, reduced)
    mean, cov = moments(found.posterior)
    u = np.linspace(-9, 9, 241)
    z = np.stack(np.meshgrid(u, u, indexing="ij"), axis=-1)
    root = np.linalg.cholesky(cov)
    q, p, r = (multivariate_normal.logpdf(mean + z @ root.T, *moments(g)) for g in (posterior, prior, reduced))
    total = np.exp(q + r - p).sum() * (u[1] - u[0]) ** 2 * np.linalg.det(root)
    assert_allclose(found.log_evidence_ratio, math.log(total), rtol=1e-9, atol=1e-9)


def test_ratio_is_the_log_mean_of_reduced_over_full_prior_by_monte_carlo(rng):
    posterior, prior = random_dense(rng, 3)[:2]
    # a reduced prior that is no wider than what the draws see
    reduced = DenseGaussian(prior.mean + 0.1, 0.6 * prior.covariance)
    found = reduce_gaussian(posterior, prior, reduced)
    w = rng.multivariate_normal(*moments(posterior), size=200_000, method="cholesky")
    weight = np.exp(multivariate_normal.logpdf(w, *moments(reduced)) - multivariate_normal.logpdf(w, *moments(prior)))
    error = weight.std() / math.sqrt(len(w)) / weight.mean()
    assert error < 0.01
    assert abs(found.log_evidence_ratio.item() - math.log(weight.mean())) < 5 * error
    mean = (weight[:, None] * w).mean(axis=0) / weight.mean()
    spread = (weight[:, None] * (w - mean)).std(axis=0) / math.sqrt(len(w)) / weight.mean()
    assert (np.abs(found.posterior.mean.numpy() - mean) < 5 * spread).all()


@given(SEEDS)
def test_ratio_is_the_difference_of_log_evidences_of_linear_regression(seed):
    """From data, and without: under the full and the reduced prior, a point for some weights among them."""
    rng = np.random.default_rng(seed)
    n, weights, noise = int(rng.integers(1, 9)), int(rng.integers(2, 6)), 0.3
    design, y = rng.normal(size=(n, weights)), rng.normal(size=n)

    def fit(mean, cov):
        """Log evidence, and the posterior, in terms of the covariance of data: a point is as good as any."""
        data = design @ cov @ design.T + noise * np.eye(n)
        gain = np.linalg.solve(data, design @ cov).T
        log_evidence = multivariate_normal.logpdf(y, design @ mean, data)
        after = cov - gain @ design @ cov
        return log_evidence, mean + gain @ (y - design @ mean), (after + after.T) / 2

    full = rng.normal(size=weights), covariance(rng, weights, 0.3)
    posterior, prior = dense(*fit(*full)[1:]), dense(*full)
    before = fit(*full)[0]
    others = [(rng.normal(size=weights), covariance(rng, weights, 0.3))]
    line = rng.normal(size=(weights, 1))
    others += [(others[0][0], line @ line.T), (np.zeros(weights), np.zeros((weights, weights)))]  # of rank 1 and 0
    for mean, cov in others:
        found = reduce_gaussian(posterior, prior, dense(mean, cov))
        log_evidence, after, spread = fit(mean, cov)
        assert_allclose(found.log_evidence_ratio.item(), log_evidence - before, rtol=1e-7, atol=1e-7)
        assert_allclose(found.posterior.mean, after, rtol=1e-6, atol=1e-7)
        assert_allclose(found.posterior.covariance, spread, rtol=1e-6, atol=1e-7)


# --- what must not change anything -----------------------------------------------------------------------------------------
@given(SEEDS)
def test_one_weight_many_and_a_diagonal_covariance_agree(seed):
    posterior, prior, reduced, _ = random_each(np.random.default_rng(seed), 5)
    together = reduce_gaussian(posterior, prior, reduced)
    full = reduce_gaussian(*(as_dense(g) for g in (posterior, prior, reduced)))
    assert_allclose(full.log_evidence_ratio, together.log_evidence_ratio.sum(), rtol=1e-9, atol=1e-11)
    assert_allclose(full.posterior.mean, together.posterior.mean, rtol=1e-9, atol=1e-13)
    assert_allclose(full.posterior.covariance, torch.diag(together.posterior.variance), rtol=1e-9, atol=1e-15)
    for i in range(5):
        one = reduce_gaussian(*(Gaussian(g.mean[i], g.variance[i]) for g in (posterior, prior, reduced)))
        assert_allclose(one.log_evidence_ratio, together.log_evidence_ratio[i], rtol=1e-12)
        assert_allclose(moments(one.posterior), [x[i] for x in moments(together.posterior)], rtol=1e-12)


def test_numbers_and_tensors_of_any_shape_are_spread_over_weights(rng):
    posterior, prior, reduced, _ = random_each(rng, shape=(2, 3))
    found = reduce_gaussian(posterior, prior, reduced)
    assert found.log_evidence_ratio.shape == found.posterior.mean.shape == found.posterior.variance.shape == (2, 3)
    narrow = Gaussian(posterior.mean, 0.1)
    assert narrow.variance.shape == (2, 3)
    wide = reduce_gaussian(narrow, Gaussian(0.0, 1.0), Gaussian.point())
    assert_allclose(wide.log_evidence_ratio, removal_evidence(narrow.mean, narrow.variance, 1.0), rtol=1e-12)
    assert_array_equal(moments(wide.posterior), np.zeros((2, 2, 3)))
    empty = each(np.zeros((0, 3)), np.zeros((0, 3)))
    assert reduce_gaussian(empty, empty, empty).log_evidence_ratio.shape == (0, 3)


@given(SEEDS)
def test_the_prior_itself_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    posterior, prior, _, _ = random_each(rng)
    found = reduce_gaussian(posterior, prior, prior)
    assert_allclose(found.log_evidence_ratio, 0.0, atol=1e-11)
    assert_allclose(moments(found.posterior), moments(posterior), rtol=1e-10, atol=1e-12)
    assert_array_equal(shrinkage_evidence(posterior.mean, posterior.variance, prior.variance, 1.0), 0.0)
    posterior, prior, _, _ = random_dense(rng)
    found = reduce_gaussian(posterior, prior, prior)
    assert_allclose(found.log_evidence_ratio, 0.0, atol=1e-9)
    for ours, before in zip(moments(found.posterior), moments(posterior), strict=True):
        assert_allclose(ours, before, rtol=1e-8, atol=1e-10)
    found = remove_block(posterior, prior, [])
    assert_allclose(found.log_evidence_ratio, 0.0, atol=1e-9)
    assert_allclose(found.posterior.covariance, posterior.covariance, rtol=1e-8, atol=1e-10)


@given(SEEDS)
def test_two_reductions_are_one_and_their_ratios_add_up(seed):
    rng = np.random.default_rng(seed)
    for make, point in (
        (random_each, Gaussian.point(torch.full((5,), 0.3))),
        (random_dense, dense(np.full(4, 0.3), np.diag([0.0, 1.0, 0.0, 2.0]))),
    ):
        posterior, a, b, c = make(rng)
        for last in (c, point):
            if isinstance(a, Gaussian) and last is point:
                posterior = Gaussian(posterior.mean, torch.minimum(posterior.variance, a.variance))
            first = reduce_gaussian(posterior, a, b)
            second = reduce_gaussian(first.posterior, b, last)
            once = reduce_gaussian(posterior, a, last)
            total = first.log_evidence_ratio + second.log_evidence_ratio
            assert_allclose(total, once.log_evidence_ratio, rtol=1e-7, atol=1e-8)
            for x, y in zip(moments(second.posterior), moments(once.posterior), strict=True):
                assert_allclose(x, y, rtol=1e-7, atol=1e-9)
        back = reduce_gaussian(first.posterior, b, a)
        assert_allclose(back.log_evidence_ratio, -first.log_evidence_ratio, rtol=1e-7, atol=1e-8)


@given(SEEDS, st.floats(-20, 20))
def test_a_shift_of_all_means_shifts_the_posterior_and_nothing_else(seed, shift):
    rng = np.random.default_rng(seed)
    for three, form in ((random_each(rng)[:3], Gaussian), (random_dense(rng)[:3], DenseGaussian)):
        here = reduce_gaussian(*three)
        spread = [g.variance if form is Gaussian else g.covariance for g in three]
        there = reduce_gaussian(*(form(g.mean + shift, v) for g, v in zip(three, spread, strict=True)))
        assert_allclose(there.log_evidence_ratio, here.log_evidence_ratio, rtol=1e-8, atol=1e-8)
        assert_allclose(there.posterior.mean - shift, here.posterior.mean, rtol=1e-8, atol=1e-9)
        assert_allclose(moments(there.posterior)[1], moments(here.posterior)[1], rtol=1e-12)


@given(SEEDS)
def test_other_coordinates_give_the_same_evidence(seed):
    """Weights in another order, and any linear map of them."""
    rng = np.random.default_rng(seed)
    three = random_dense(rng)[:3]
    here = reduce_gaussian(*three)
    for a in (np.eye(4)[rng.permutation(4)], rng.normal(size=(4, 4)) + 3 * np.eye(4)):
        there = reduce_gaussian(*(dense(a @ g.mean.numpy(), a @ g.covariance.numpy() @ a.T) for g in three))
        assert_allclose(there.log_evidence_ratio, here.log_evidence_ratio, rtol=1e-7, atol=1e-7)
        assert_allclose(there.posterior.mean, a @ here.posterior.mean.numpy(), rtol=1e-6, atol=1e-7)
        assert_allclose(there.posterior.covariance, a @ here.posterior.covariance.numpy() @ a.T, rtol=1e-6, atol=1e-7)


@given(SEEDS)
def test_weights_that_know_nothing_of_each_other_add_up(seed):
    rng = np.random.default_rng(seed)
    one, two = random_dense(rng, 2)[:3], random_dense(rng, 3)[:3]

    def both(g, h):
        return DenseGaussian(torch.cat((g.mean, h.mean)), torch.block_diag(g.covariance, h.covariance))

    found = reduce_gaussian(*(both(g, h) for g, h in zip(one, two, strict=True)))
    parts = [reduce_gaussian(*three) for three in (one, two)]
    assert_allclose(found.log_evidence_ratio, sum(p.log_evidence_ratio for p in parts), rtol=1e-8, atol=1e-9)
    whole = both(*(p.posterior for p in parts))
    assert_allclose(found.posterior.covariance, whole.covariance, rtol=1e-8, atol=1e-10)


def test_narrower_and_narrower_priors_end_in_a_point(rng):
    posterior, prior, _, _ = random_each(rng, 50)
    at = torch.linspace(-1, 1, 50, dtype=torch.float64)
    point = reduce_gaussian(posterior, prior, Gaussian.point(at))
    assert_array_equal(moments(point.posterior), [at, 0 * at])
    # to first order in the width of the prior
    pull = (posterior.mean - at) / posterior.variance - (prior.mean - at) / prior.variance
    slope = 0.5 * (pull**2 - 1 / posterior.variance + 1 / prior.variance)
    for width in (1e-6, 1e-9, 1e-12):
        near = reduce_gaussian(posterior, prior, Gaussian(at, width * prior.variance))
        change = near.log_evidence_ratio - point.log_evidence_ratio
        bound = 1e-12 * (1 + point.log_evidence_ratio.abs()) + 20 * (width * prior.variance * slope) ** 2
        assert (change - width * prior.variance * slope).abs().le(bound + 1e-3 * (width * prior.variance * slope).abs()).all()
        assert_allclose(near.posterior.mean, at, atol=1e4 * width)


@pytest.mark.parametrize("seed", range(5))
def test_narrower_and_narrower_priors_end_in_a_singular_one(seed):
    """Also in one that leaves free a line which is no axis."""
    rng = np.random.default_rng(seed)
    posterior, prior, _, _ = random_dense(rng, 4)
    for rank in range(4):
        root = rng.normal(size=(4, rank))
        line = root @ root.T
        found = reduce_gaussian(posterior, prior, dense(np.full(4, 0.2), line))
        for width in (1e-7, 1e-10):
            near = reduce_gaussian(posterior, prior, dense(np.full(4, 0.2), line + width * np.eye(4)))
            assert_allclose(near.log_evidence_ratio, found.log_evidence_ratio, rtol=0, atol=1e5 * width)
            assert_allclose(near.posterior.mean, found.posterior.mean, atol=1e4 * width)
            assert_allclose(near.posterior.covariance, found.posterior.covariance, atol=1e4 * width)


# --- removal of blocks -----------------------------------------------------------------------------------------------------
@given(SEEDS)
def test_removal_is_the_ratio_of_densities_at_zero_and_leaves_what_is_known_of_the_rest(seed):
    """Savage and Dickey, with densities of another library: covariances in prior and posterior, any means."""
    rng = np.random.default_rng(seed)
    posterior, prior, _, _ = random_dense(rng, 5)
    gone = sorted(rng.permutation(5)[: rng.integers(1, 5)].tolist())
    stay = [i for i in range(5) if i not in gone]
    found = remove_block(posterior, prior, gone)
    (m, c), (pm, pc) = moments(posterior), moments(prior)
    at, block = np.zeros(len(gone)), np.ix_(gone, gone)
    q, p = multivariate_normal.logpdf(at, m[gone], c[block]), multivariate_normal.logpdf(at, pm[gone], pc[block])
    assert_allclose(found.log_evidence_ratio, q - p, rtol=1e-8, atol=1e-8)
    gain = np.linalg.solve(c[block], c[np.ix_(gone, stay)]).T
    assert_allclose(found.posterior.mean, m[stay] - gain @ m[gone], rtol=1e-7, atol=1e-8)
    assert_allclose(found.posterior.covariance, c[np.ix_(stay, stay)] - gain @ c[np.ix_(gone, stay)], rtol=1e-7, atol=1e-8)
    same(remove_block(posterior, prior, gone[::-1] + gone), found, rtol=0)
    same(remove_block(posterior, prior, torch.tensor(gone)), found, rtol=0)


@given(SEEDS)
def test_weights_removed_one_after_another_are_weights_removed_together(seed):
    rng = np.random.default_rng(seed)
    posterior, prior, _, _ = random_dense(rng, 4)
    together = remove_block(posterior, prior, [1, 3])
    first = remove_block(posterior, prior, [1])
    rest = remove_block(prior, prior, [1]).posterior  # a prior is a posterior without data
    second = remove_block(first.posterior, rest, [2])
    assert_allclose(first.log_evidence_ratio + second.log_evidence_ratio, together.log_evidence_ratio, rtol=1e-7, atol=1e-8)
    for x, y in zip(moments(second.posterior), moments(together.posterior), strict=True):
        assert_allclose(x, y, rtol=1e-6, atol=1e-8)


# --- ill-conditioned covariances -------------------------------------------------------------------------------------------
def exact_reduction(mp, posterior, prior, reduced):
    """Ratio and posterior mean from precisions, with many digits."""
    (m, c), (pm, pc), (rm, rc) = ((mp.matrix(x.tolist()) for x in moments(g)) for g in (posterior, prior, reduced))
    p, pi, pr = c**-1, pc**-1, rc**-1
    after = p + pr - pi
    mean = after**-1 * (p * m + pr * rm - pi * pm)
    logs = mp.log(mp.det(pi) * mp.det(after) / (mp.det(p) * mp.det(pr)))
    terms = [(m.T * p * m)[0], (rm.T * pr * rm)[0], -(pm.T * pi * pm)[0], -(mean.T * after * mean)[0]]
    return float(-(logs + sum(terms)) / 2), np.array([float(x) for x in mean])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("condition", [1e4, 1e8])
def test_ill_conditioned_covariances_lose_no_more_digits_than_their_condition_takes(seed, condition):
    mpmath = pytest.importorskip("mpmath")
    rng = np.random.default_rng(seed)
    n = 6

    def turned(values):
        q = np.linalg.qr(rng.normal(size=(n, n)))[0]
        cov = (q * values) @ q.T
        return (cov + cov.T) / 2

    prior = dense(rng.normal(size=n), turned(np.geomspace(1, 4, n)))
    # as exact as float64 gives it: directions known to a variance of 1 / condition, and some hardly known
    cov = turned(np.geomspace(1 / condition, 0.9, n))
    posterior = dense(rng.normal(size=n), cov)
    reduced = dense(np.zeros(n), turned(np.geomspace(1e-3, 1, n)))
    found = reduce_gaussian(posterior, prior, reduced)
    with mpmath.workdps(60):
        exact, mean = exact_reduction(mpmath, posterior, prior, reduced)
        gone = [1, 4]
        m, c = (mpmath.matrix(x.tolist()) for x in (moments(posterior)[0][gone], moments(posterior)[1][np.ix_(gone, gone)]))
        p, r = (mpmath.matrix(x.tolist()) for x in (moments(prior)[0][gone], moments(prior)[1][np.ix_(gone, gone)]))
        dickey = mpmath.log(mpmath.det(r) / mpmath.det(c)) - (m.T * c**-1 * m)[0] + (p.T * r**-1 * p)[0]
    # a rounding of the covariance itself changes its inverse, and with it all terms, by condition * 1e-16 of their size
    close = dict(rtol=1e-15 * condition, atol=1e-14 * condition)
    assert_allclose(found.log_evidence_ratio, exact, **close)
    assert_allclose(found.posterior.mean, mean, **close)
    assert_allclose(remove_block(posterior, prior, gone).log_evidence_ratio, float(dickey) / 2, **close)


def test_a_covariance_that_is_not_positive_definite_is_named():
    nearly = np.array([[1.0, 1.0], [1.0, 1.0]])
    good = dense([0, 0], np.eye(2))
    with pytest.raises(ValueError, match="covariance of posterior must be positive definite; its least eigenvalue is"):
        reduce_gaussian(dense([0, 0], nearly), good, good)
    with pytest.raises(ValueError, match="covariance of prior must be positive definite; its least eigenvalue is -1"):
        reduce_gaussian(good, dense([0, 0], [[0, 1], [1, 0]]), good)
    with pytest.raises(ValueError, match="covariance of reduced must be positive semidefinite; its least eigenvalue is -0.5"):
        reduce_gaussian(good, good, dense([0, 0], [[0.5, 1], [1, 0.5]]))
    reduce_gaussian(good, good, dense([0, 0], nearly))


# --- closed forms ----------------------------------------------------------------------------------------------------------
def random_weights(rng, n=400):
    variance, prior = np.exp(rng.uniform(-6, 1, n)), np.exp(rng.uniform(-1, 1, n))
    return (double(x) for x in (np.sqrt(variance) * rng.normal(size=n) * np.exp(rng.uniform(-1, 1.5, n)), variance, prior))


def test_closed_forms_are_reductions(rng):
    mean, variance, prior = random_weights(rng)
    zero = torch.zeros_like(mean)
    full = Gaussian(mean, variance), Gaussian(zero, prior)
    assert_allclose(
        removal_evidence(mean, variance, prior),
        reduce_gaussian(*full, Gaussian.point(zero)).log_evidence_ratio,
        rtol=1e-9,
        atol=1e-12,
    )
    for ratio in (0.0, 1e-6, 0.3, 1.0):
        found = reduce_gaussian(*full, Gaussian(zero, ratio * prior)).log_evidence_ratio
        assert_allclose(shrinkage_evidence(mean, variance, prior, ratio), found, rtol=1e-9, atol=1e-11)
    narrow = variance < prior  # there, wider priors have a posterior too
    found = reduce_gaussian(*full, Gaussian(zero, torch.where(narrow, 30 * prior, prior))).log_evidence_ratio
    ratio = torch.where(narrow, 30.0, 1.0).double()
    assert_allclose(shrinkage_evidence(mean, variance, prior, ratio), found, rtol=1e-9, atol=1e-11)
    shifted = Gaussian(mean, variance), Gaussian(zero + 0.7, prior)
    assert_allclose(
        removal_evidence(mean, variance, prior, 0.7),
        reduce_gaussian(*shifted, Gaussian.point(zero)).log_evidence_ratio,
        rtol=1e-9,
        atol=1e-12,
    )


def test_a_weight_goes_iff_its_signal_to_noise_ratio_is_below_the_threshold(rng):
    mean, variance, prior = random_weights(rng, 2000)
    goes, snr2, threshold = removal_evidence(mean, variance, prior) > 0, mean**2 / variance, removal_threshold(variance, prior)
    assert_array_equal(goes, snr2 < threshold)
    assert 0.1 < goes.double().mean() < 0.9
    assert not goes[variance >= prior].any()
    assert not goes[mean.abs() > math.exp(-0.5) * prior.sqrt()].any()
    # and some go that are nearly as large as that
    assert removal_evidence(double(0.606), double(math.exp(-1)), 1.0) > 0
    assert removal_evidence(double(0.607), double(math.exp(-1)), 1.0) < 0


def test_best_prior_is_the_argmax_of_the_evidence(rng):
    mean, variance, prior = random_weights(rng, 150)
    best = best_shrinkage(mean, variance, prior)
    v = variance / prior
    for m, s2, p2, r, share in zip(mean, variance, prior, best.tolist(), v.tolist(), strict=True):

        def evidence(ratio, m=m, s2=s2, p2=p2):
            return shrinkage_evidence(m, s2, p2, ratio).item()

        if share >= 1:
            assert r == math.inf
            widest = 1e3 if share == 1 else share / (share - 1)  # where the posterior's precision would be 0
            values = [evidence(x * widest) for x in np.linspace(0, 0.999, 20)]
            assert (np.diff(values) > 0).all()
            continue
        grid = [evidence(x) for x in (0, *np.geomspace(1e-8, 1e4, 60))]
        assert evidence(r) >= max(grid) - 1e-12 * (1 + abs(max(grid)))
        if r == 0:
            assert m**2 <= s2 * (1 - share)
            continue
        found = minimize_scalar(lambda x, e=evidence: -e(math.exp(x)), bounds=math.log(r) + np.array([-5, 5]), method="bounded")
        assert_allclose(-found.fun, evidence(r), rtol=1e-6, atol=1e-7)
        assert_allclose(found.x, math.log(r), atol=2e-2)
    assert (best == 0).any() and (best == math.inf).any() and ((best > 0) & (best < 1)).any()


def test_between_the_two_thresholds_removal_beats_the_old_prior_and_shrinking_beats_removal(rng):
    variance = double(np.exp(rng.uniform(-6, -0.1, 200)))
    low, high = 1 - variance, removal_threshold(variance, 1.0)
    assert (low < high).all()
    mean = ((low + double(rng.uniform(0.02, 0.98, 200)) * (high - low)) * variance).sqrt()
    removal, best = removal_evidence(mean, variance, 1.0), best_shrinkage(mean, variance, 1.0)
    assert (removal > 0).all() and (best > 0).all() and (best < 1).all()
    assert (shrinkage_evidence(mean, variance, 1.0, best) > removal).all()
    below = (0.99 * low * variance).sqrt()
    assert (best_shrinkage(below, variance, 1.0) == 0).all()
    above = (1.01 * high * variance).sqrt()
    assert (removal_evidence(above, variance, 1.0) < 0).all()


def test_single_precision_is_promoted():
    one = [torch.tensor([0.3, -0.2]), torch.tensor([0.1, 0.05])]
    assert Gaussian(*one).mean.dtype == DenseGaussian(one[0], torch.eye(2)).covariance.dtype == torch.float64
    assert Gaussian([1, 2], 1).variance.dtype == Gaussian.point(0).mean.dtype == torch.float64
    for found in (
        removal_evidence(*one, 1.0),
        removal_threshold(one[1], 1.0),
        shrinkage_evidence(*one, 1.0, 0.5),
        best_shrinkage(*one, 1.0),
        reduce_gaussian(Gaussian(*one), Gaussian(0.0, 1.0), Gaussian.point()).log_evidence_ratio,
    ):
        assert found.dtype == torch.float64
    wide = removal_evidence(*(x.double() for x in one), 1.0)
    assert_array_equal(removal_evidence(*one, 1.0), wide)


def test_large_signals_keep_their_digits():
    """SNR^2 of 1e8 and a prior that changes little: the ratio is of order 1e-5."""
    mpmath = pytest.importorskip("mpmath")
    m, s2, p2 = 10.0, 1e-6, 4.0
    with mpmath.workdps(50):
        m_, v = mpmath.mpf(m), mpmath.mpf(s2) / p2
        r = mpmath.mpf(1 + 1e-6)
        d = v + r * (1 - v)
        exact = float(-mpmath.log(d) / 2 - m_**2 / mpmath.mpf(s2) * v * (1 - r) / d / 2)
    assert_allclose(shrinkage_evidence(double(m), double(s2), p2, 1 + 1e-6), exact, rtol=1e-7)
    found = reduce_gaussian(each(m, s2), each(0.0, p2), each(0.0, p2 * (1 + 1e-6))).log_evidence_ratio
    assert_allclose(found, exact, atol=1e-7)


# --- errors ----------------------------------------------------------------------------------------------------------------
def test_kinds_are_not_mixed():
    one, full = each([0.0], [1.0]), dense([0.0], [[1.0]])
    for three in ((one, full, one), (full, full, one), (one, one, None)):
        kinds = ", ".join(type(g).__name__ for g in three)
        with pytest.raises(TypeError, match=f"must all be Gaussian or all DenseGaussian; got {kinds}"):
            reduce_gaussian(*three)


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: each([0.0], [-1e-3]), "variance of Gaussian must be >= 0; least value -0.001"),
        (lambda: each([math.nan], [1.0]), "mean of Gaussian must be finite; got nan"),
        (lambda: each([0.0], [math.nan]), "variance of Gaussian must be finite; got nan"),
        (lambda: each([0.0, 0.0], [1.0, math.inf]), "variance of Gaussian must be finite; got inf"),
        (lambda: dense([math.inf], [[1.0]]), "mean of DenseGaussian must be finite; got inf"),
        (lambda: dense([0.0], [[math.nan]]), "covariance of DenseGaussian must be finite; got nan"),
        (lambda: dense([0.0, 0.0], [[1.0, 0.5], [0.4, 1.0]]), "must be symmetric; it differs from its transpose by 0.1"),
        (lambda: dense([0.0, 0.0], [1.0, 1.0]), r"shapes \(n,\) and \(n, n\); got \(2,\) and \(2,\)"),
        (lambda: dense([[0.0]], [[1.0]]), r"got \(1, 1\) and \(1, 1\)"),
        (lambda: dense([0.0], np.eye(2)), r"got \(1,\) and \(2, 2\)"),
        (lambda: dense(0.0, 1.0), r"got \(\) and \(\)"),
    ],
)
def test_what_is_no_gaussian_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_covariances_are_made_exactly_symmetric():
    rough = dense([0.0, 0.0], [[1.0, 0.5 + 1e-12], [0.5, 1.0]]).covariance
    assert torch.equal(rough, rough.T)


def test_reductions_that_cannot_be_are_refused(rng):
    posterior, prior, reduced, _ = random_each(rng, 3)
    zero = Gaussian(torch.zeros(3), 0.0)
    for three, name in (((zero, prior, reduced), "posterior"), ((posterior, zero, reduced), "prior")):
        with pytest.raises(ValueError, match=f"variance of {name} must be > 0; least value 0"):
            reduce_gaussian(*three)
    small = random_dense(rng, 2)[0]
    posterior, prior, reduced, _ = random_dense(rng, 3)
    for three, sizes in (((small, prior, reduced), "2, 3, 3"), ((posterior, prior, small), "3, 3, 2")):
        with pytest.raises(ValueError, match=rf"same number of weights; got \[{sizes}\]"):
            reduce_gaussian(*three)
    for index in ([3], [0, -1]):
        with pytest.raises(ValueError, match=f"index must lie in 0..2; got {index[-1]}"):
            remove_block(posterior, prior, index)
    with pytest.raises(ValueError, match="ratio must be >= 0; got -0.1"):
        shrinkage_evidence(torch.zeros(2), torch.ones(2), 2.0, torch.tensor([0.5, -0.1]))
    with pytest.raises(ValueError, match="ratio must be finite; got nan"):
        shrinkage_evidence(torch.zeros(1), torch.ones(1), 2.0, math.nan)


def test_shapes_that_do_not_fit_are_refused(rng):
    with pytest.raises(ValueError, match="shape"):
        Gaussian(torch.zeros(3), torch.ones(2))


def test_weights_of_other_shapes_are_refused(rng):
    with pytest.raises(ValueError, match="shape"):
        reduce_gaussian(random_each(rng, 3)[0], random_each(rng, 2)[1], Gaussian.point())


def test_a_prior_over_other_weights_is_refused_when_blocks_are_removed(rng):
    with pytest.raises(ValueError, match="number of weights"):
        remove_block(random_dense(rng, 3)[0], random_dense(rng, 2)[1], [0])


def test_all_weights_may_be_removed(rng):
    posterior, prior, _, _ = random_dense(rng, 3)
    found = remove_block(posterior, prior, [0, 1, 2])
    q, p = (multivariate_normal.logpdf(np.zeros(3), *moments(g)) for g in (posterior, prior))
    assert_allclose(found.log_evidence_ratio, q - p, rtol=1e-9, atol=1e-9)
    assert found.posterior.mean.shape == (0,) and found.posterior.covariance.shape == (0, 0)
