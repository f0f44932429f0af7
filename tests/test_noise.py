"""Truncated log-normal noise against quadrature and closed forms with many digits, over the whole range of training."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from conftest import DATA
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch")
mpmath = pytest.importorskip("mpmath")

from activebmr.pruning import TruncatedLogNormal  # noqa: E402
from activebmr.pruning.structures.noise import LOG_THETA, _Quantile, log_mass, log_scaled_mass  # noqa: E402

mpf = mpmath.mpf
LOW, HIGH = LOG_THETA
MUS, LOG_SIGMAS = np.linspace(-20, 5, 26), np.linspace(-20, 5, 26)
STEP = mpf(10) ** -32  # of finite differences with 110 digits: their error is below 1e-30


@pytest.fixture(autouse=True, scope="module")
def many_digits():
    """(mu / sigma)^2 takes 19 digits before the point, finite differences 32: 110 are enough (220 give the same numbers)."""
    with mpmath.workdps(110):
        yield


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def vectors(kind):
    cases = json.loads((DATA / "pruning" / "bmrs_vectors.json").read_text())[kind]
    return [{key: float(value) for key, value in case.items()} for case in cases]


def noise(mu, log_sigma, grad=False, **interval):
    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=grad) for x in (mu, log_sigma)]
    return TruncatedLogNormal(*leaves, **interval)


def values_and_slopes(of, mu, log_sigma):
    """A quantity of the posterior and its derivatives in mu and log sigma, ``(3, n)``."""
    q = noise(mu, log_sigma, grad=True)
    value = of(q)
    slopes = torch.autograd.grad(value.sum(), (q.mu, q.log_sigma))
    return np.array([value.detach().numpy(), *(s.numpy() for s in slopes)])


# --- the same with 110 digits ---------------------------------------------------------------------------------------------
def exact_mass(low, high):
    low, high = (-high, -low) if low > 0 else (low, high)
    return mpmath.ncdf(high) - mpmath.ncdf(low)


def exact_stats(mu, log_sigma):
    """KL, log E[theta], log E[theta^2], SNR: the textbook forms."""
    sigma = mpmath.exp(log_sigma)
    alpha, beta = (LOW - mu) / sigma, (HIGH - mu) / sigma
    z = exact_mass(alpha, beta)
    edge = (alpha * mpmath.npdf(alpha) - beta * mpmath.npdf(beta)) / (2 * z)
    kl = mpmath.log(mpf(HIGH - LOW)) - log_sigma - mpmath.log(z) - mpmath.log(2 * mpmath.pi * mpmath.e) / 2 - edge
    first, second = (
        k * mu + (k * sigma) ** 2 / 2 + mpmath.log(exact_mass(alpha - k * sigma, beta - k * sigma) / z) for k in (1, 2)
    )
    return kl, first, second, 1 / mpmath.sqrt(mpmath.expm1(second - 2 * first))


def exact_table(mu, log_sigma):
    """Quantities and their derivatives in mu and log sigma ``(quantity, 3, n)``."""
    out = []
    for m, l in zip(mu, log_sigma, strict=True):
        m, l = mpf(float(m)), mpf(float(l))
        stats = exact_stats(m, l)
        for_mu, for_sigma = (
            [(x - y) / (2 * STEP) for x, y in zip(exact_stats(*up), exact_stats(*down), strict=True)]
            for up, down in (((m + STEP, l), (m - STEP, l)), ((m, l + STEP), (m, l - STEP)))
        )
        out.append([[float(x) for x in row] for row in zip(stats, for_mu, for_sigma, strict=True)])
    return np.moveaxis(np.array(out), 0, -1)


@pytest.fixture(scope="module")
def grid():
    """Whole numbers over the range of training, and points close to where the forms change; with what is exact there."""
    mu, log_sigma = (x.ravel() for x in np.meshgrid(MUS, LOG_SIGMAS, indexing="ij"))
    near = [-20.0, -19.999999, -19.9, -1e-3, -1e-6, 1e-9, 1e-6, 1e-3, 1e-2, 0.3]
    more = [x.ravel() for x in np.meshgrid(near, np.linspace(-19.5, 4.5, 17), indexing="ij")]
    mu, log_sigma = np.concatenate([mu, more[0]]), np.concatenate([log_sigma, more[1]])
    return mu, log_sigma, exact_table(mu, log_sigma)


# --- divergence, moments, signal-to-noise ratio ---------------------------------------------------------------------------
@pytest.mark.parametrize("case", vectors("posterior_stats"), ids=lambda c: f"{c['mu_q']:g},{c['sigma_q']:.4g}")
def test_statistics_are_those_of_quadrature(case):
    q = noise(case["mu_q"], math.log(case["sigma_q"]), low=case["log_a"], high=case["log_b"])
    mean, snr = q.mean().item(), q.snr().item()
    assert_allclose([q.kl().item(), mean, (mean / snr) ** 2, snr], [case[k] for k in ("kl", "mean", "var", "snr")], rtol=1e-9)


@pytest.mark.parametrize(
    "index, of, rounding",
    [
        # rounding, as an absolute bound: of KL's slopes; of log moments, whose terms are as large as sigma^2, and whose slopes
        # in mu are differences of numbers of order 1 over sigma; of the SNR's slopes
        (0, lambda q: q.kl(), lambda sigma: 1e-14 + 0 * sigma),
        (1, lambda q: q.log_moment(1), lambda sigma: 1e-14 + 4e-15 / sigma + 1e-15 * sigma**2),
        (2, lambda q: q.log_moment(2), lambda sigma: 1e-14 + 4e-15 / sigma + 1e-15 * sigma**2),
        (3, lambda q: q.snr(), lambda sigma: 1e-13 + 0 * sigma),
    ],
    ids=["kl", "first log moment", "second log moment", "snr"],
)
def test_values_and_slopes_are_finite_and_right_wherever_training_may_go(grid, index, of, rounding):
    mu, log_sigma, exact = grid
    ours, exact, bound = values_and_slopes(of, mu, log_sigma), exact[index], rounding(np.exp(log_sigma))
    assert np.isfinite(ours).all()
    assert_allclose(ours[0], exact[0], rtol=1e-7, atol=1e-14)
    assert (np.abs(ours - exact) <= 1e-7 * np.abs(exact) + bound).all()


def test_divergence_is_not_negative_and_none_where_the_posterior_is_the_prior(grid):
    mu, log_sigma, _ = grid
    assert (noise(mu, log_sigma).kl() > 0).all()
    flat = noise(np.linspace(-40, 20, 61), np.full(61, 8.0))  # sigma 2981, of an interval of 20
    assert_allclose(flat.kl(), 0.0, atol=1e-9)


def test_divergence_is_that_of_quadrature_for_other_intervals():
    x, w = np.polynomial.legendre.leggauss(200)
    for low, high, mu, sigma in [(-3.0, 2.0, 0.5, 1.0), (-8.0, -1.0, 0.0, 1.5), (1.0, 4.0, -0.5, 1.2), (-20.0, 0.0, -9.0, 4.0)]:
        q = noise(mu, math.log(sigma), low=low, high=high)
        at = torch.as_tensor(low + (high - low) * (x + 1) / 2)
        weights, log_q = torch.as_tensor(w) * (high - low) / 2, q.log_prob(at)
        density = torch.exp(log_q)
        assert_allclose((weights * density).sum(), 1.0, rtol=1e-12)
        assert_allclose(q.kl(), (weights * density * (log_q + math.log(high - low))).sum(), rtol=1e-10)
        for k in (0.5, 1, 2):
            assert_allclose(torch.exp(q.log_moment(k)), (weights * density * torch.exp(k * at)).sum(), rtol=1e-10)
        part = at < low + (high - low) / 3
        share = torch.exp(q.log_share(low, low + (high - low) / 3))
        assert_allclose(share, (weights * density)[part].sum(), rtol=0.05)


def test_mirrored_posteriors_have_the_same_divergence_and_mirrored_slopes(rng):
    mu, log_sigma = rng.uniform(-45, 25, 300), rng.uniform(-20, 5, 300)
    one, other = (values_and_slopes(lambda q: q.kl(), m, log_sigma) for m in (mu, LOW + HIGH - mu))
    assert_allclose(other * [[1], [-1], [1]], one, rtol=1e-7, atol=1e-14)


def test_signal_to_noise_ratio_does_not_change_if_theta_is_scaled(rng):
    mu, log_sigma = rng.uniform(-20, 5, 100), rng.uniform(-20, 5, 100)
    there = noise(mu - 7, log_sigma, low=LOW - 7, high=HIGH - 7)
    assert_allclose(there.snr(), noise(mu, log_sigma).snr(), rtol=1e-6)
    assert_allclose(there.log_moment(1) + 7, noise(mu, log_sigma).log_moment(1), rtol=1e-9, atol=1e-13)


def test_moments_of_the_prior_are_those_of_a_log_uniform_variable():
    flat = noise(-1.0, 9.0)
    mean, second = (1 - math.exp(-20)) / 20, (1 - math.exp(-40)) / 40
    assert_allclose(flat.mean(), mean, rtol=1e-6)
    assert_allclose(flat.snr(), mean / math.sqrt(second - mean**2), rtol=1e-6)
    assert_allclose([flat.mean(), flat.snr()], [0.05, 0.3333], rtol=2e-4)
    assert_allclose([noise(-1.0, 5.0).mean(), noise(-1.0, 5.0).snr()], [0.05, 0.3333], rtol=3e-3)


def test_single_precision_is_promoted_and_its_gradients_come_back():
    leaves = [torch.tensor([0.5, -3.0], dtype=torch.float32), torch.tensor([-5.0, 1.0], dtype=torch.float32)]
    narrow, wide = TruncatedLogNormal(*(x.requires_grad_() for x in leaves)), noise([0.5, -3.0], [-5.0, 1.0])
    for of in (TruncatedLogNormal.kl, TruncatedLogNormal.mean, TruncatedLogNormal.snr, TruncatedLogNormal.sample):
        assert of(narrow).dtype == torch.float64
    for of in (TruncatedLogNormal.kl, TruncatedLogNormal.mean, TruncatedLogNormal.snr):
        assert_allclose(of(narrow).detach(), of(wide), rtol=1e-14)
    slopes = torch.autograd.grad((narrow.kl() + narrow.sample()).sum(), leaves)
    assert all(s.dtype == torch.float32 and torch.isfinite(s).all() for s in slopes)


def test_masses_have_no_loss_in_the_tails(rng):
    low = np.concatenate([rng.uniform(-1e3, 1e3, 100), rng.uniform(-10, 10, 100), -rng.uniform(5, 1e8, 50)])
    high = low + np.exp(rng.uniform(-12, 5, low.size))
    exact = [exact_mass(mpf(float(a)), mpf(float(b))) for a, b in zip(low, high, strict=True)]
    ours = log_mass(*(torch.as_tensor(x) for x in (low, high)))
    near = np.abs(low) < 40
    # log(1 - e^-x) for x that is itself a difference: as many digits as the difference of the logs has
    lost = 1e-9 + 3e-16 * np.minimum(np.abs(low), np.abs(high)) ** 2 / np.minimum(1, (high - low) * np.abs(low))
    assert (np.abs(ours.numpy() - [float(mpmath.log(m)) for m in exact]) <= lost)[near].all()
    tail = high < 0
    exact = [m / mpmath.npdf(mpf(float(b))) for m, b in zip(exact, high, strict=True)]
    scaled = log_scaled_mass(*(torch.as_tensor(x[tail]) for x in (low, high)))
    assert_allclose(scaled, [float(mpmath.log(m)) for m, t in zip(exact, tail, strict=True) if t], rtol=1e-8, atol=1e-8)


def test_shares_are_the_whole_over_the_whole_and_add_up(rng):
    mu, log_sigma = np.append(rng.uniform(-45, 25, 200), [5, -25]), np.append(rng.uniform(-20, 5, 200), [-20, -20])
    q = noise(mu, log_sigma)
    assert_allclose(q.log_share(LOW, HIGH), 0.0, atol=1e-12)
    parts = torch.stack([q.log_share(a, b) for a, b in ((LOW, -12.0), (-12.0, -1.0), (-1.0, HIGH))])
    assert_allclose(torch.logsumexp(parts, dim=0), 0.0, atol=1e-8)
    # all of a posterior far above its interval is at the upper end, and far below it at the lower end
    assert_allclose([q.log_share(-10.0, HIGH)[-2], q.log_share(LOW, -10.0)[-1]], 0.0, atol=1e-15)


def test_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match="same shape; got \\(2,\\) and \\(3,\\)"):
        TruncatedLogNormal(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match="low must be less than high"):
        noise(0.0, 0.0, low=1.0, high=1.0)


# --- samples --------------------------------------------------------------------------------------------------------------
SAMPLED = [
    # inside, at the ends, above and below the interval; narrow, comparable and wide
    *[(m, l) for m in (-20.0, -10.0, -1.0, 0.0, 2.0, 5.0) for l in (-20.0, -5.0, -1.0, 0.0, 1.0, 2.0, 3.5, 5.0)],
    *[(-25.0, 1.0), (-30.0, -1.0), (-22.0, 3.0), (0.05, -4.0), (1e-6, -12.0)],
]


def test_samples_have_the_moments_of_the_closed_forms():
    n = 20_000
    q = noise(*np.array(SAMPLED).T)
    theta = q.sample(n, generator=torch.Generator().manual_seed(1))
    assert theta.shape == (n, len(SAMPLED))
    assert ((theta >= math.exp(LOW)) & (theta <= 1)).all()
    for k in (1, 2):
        exact, fourth = torch.exp(q.log_moment(k)), torch.exp(q.log_moment(2 * k))
        error = torch.sqrt((fourth - exact**2).clamp(min=0) / n)
        assert ((theta**k).mean(dim=0) - exact).abs().le(5 * error + 1e-10 * exact).all()
    median = torch.exp(_Quantile.apply(q.mu, q.log_sigma, torch.full_like(q.mu, 0.5), LOW, HIGH))
    wide = q.log_sigma > -20  # narrower ones have few floating-point numbers to fall on
    assert ((theta < median).double().mean(dim=0) - 0.5)[wide].abs().le(5 * 0.5 / math.sqrt(n)).all()


def test_samples_can_be_repeated_and_have_the_shape_of_the_noise():
    for shape in ((), (3,), (2, 3)):
        q = TruncatedLogNormal(torch.zeros(shape), torch.zeros(shape))
        one, two = (q.sample(4, generator=torch.Generator().manual_seed(7)) for _ in range(2))
        assert torch.equal(one, two) and one.shape == (4, *shape)
        assert q.sample(generator=torch.Generator().manual_seed(7)).shape == shape
        assert not torch.equal(one, q.sample(4, generator=torch.Generator().manual_seed(8)))
    torch.manual_seed(3)
    one = q.sample(4)
    torch.manual_seed(3)
    assert torch.equal(q.sample(4), one)


def exact_quantile(mu, log_sigma, u, start):
    """Solves F(x) = u with 110 digits, from where the code under test ended up; with the implicit function's derivatives."""
    mu, log_sigma, u, x = (mpf(float(v)) for v in (mu, log_sigma, u, start))
    x = min(max(x, LOW + mpf(10) ** -14), -(mpf(10) ** -18))

    def cdf(x, mu, log_sigma):
        sigma = mpmath.exp(log_sigma)
        alpha, z, beta = ((end - mu) / sigma for end in (LOW, x, HIGH))
        return exact_mass(alpha, z) / exact_mass(alpha, beta), exact_mass(z, beta) / exact_mass(alpha, beta)

    def density(x):
        sigma = mpmath.exp(log_sigma)
        return mpmath.npdf((x - mu) / sigma) / sigma / exact_mass((LOW - mu) / sigma, (HIGH - mu) / sigma)

    for _ in range(100):
        below, above = cdf(x, mu, log_sigma)
        # Newton on the log of the smaller part
        miss = mpmath.log(below / u) * below if u <= 0.5 else -mpmath.log(above / (1 - u)) * above
        step = -miss / density(x)
        x = x + step if LOW < x + step < HIGH else (x + (LOW if step < 0 else HIGH)) / 2
        if abs(step) < mpf(10) ** -45:
            break
    else:
        raise AssertionError("no quantile found")
    slopes = (
        -(cdf(x, *up)[0] - cdf(x, *down)[0]) / (2 * STEP) / density(x)
        for up, down in (
            ((mu + STEP, log_sigma), (mu - STEP, log_sigma)),
            ((mu, log_sigma + STEP), (mu, log_sigma - STEP)),
        )
    )
    return [float(v) for v in (x, *slopes)], float(density(x))


def test_draws_and_their_slopes_are_those_of_the_exact_quantile_function():
    mus = [*np.linspace(-20, 5, 11), -19.99, -19.999999, -1e-6, 1e-6, 1e-3, 0.1]
    points = [(m, l, u) for m in mus for l in np.linspace(-20, 5, 11) for u in (1e-6, 0.01, 0.6, 1 - 1e-3)]
    mu, log_sigma, u = (torch.tensor(x, dtype=torch.float64) for x in zip(*points, strict=True))
    mu.requires_grad_()
    log_sigma.requires_grad_()
    x = _Quantile.apply(mu, log_sigma, u, LOW, HIGH)
    slopes = torch.autograd.grad(x.sum(), (mu, log_sigma))
    x = x.detach()
    exact, density = zip(*(exact_quantile(*p, s) for p, s in zip(points, x.tolist(), strict=True)), strict=True)
    exact, density = np.array(exact).T, np.array(density)
    # a draw is as good as a probability with an error of 4e-15, or x with one of 1e-14
    assert (np.abs(x.numpy() - exact[0]) <= 1e-14 + 4e-15 / density).all()
    for ours, theirs in zip(slopes, exact[1:], strict=True):
        assert np.isfinite(ours.numpy()).all()
        assert_allclose(ours, theirs, rtol=2e-6, atol=1e-9)


def test_slopes_of_draws_are_finite_differences_at_the_same_random_numbers(monkeypatch):
    mu, log_sigma = np.array(SAMPLED)[np.array(SAMPLED)[:, 1] > -6].T
    u = torch.rand((5, mu.size), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(torch, "rand", lambda *args, **kwargs: u.clone())
    q = noise(mu, log_sigma, grad=True)
    ours = torch.autograd.grad(q.sample(5).sum(), (q.mu, q.log_sigma))
    h = 1e-6
    for i, slope in enumerate(ours):
        shift = [h * (i == 0), h * (i == 1)]
        up, down = (noise(mu + s * shift[0], log_sigma + s * shift[1]).sample(5).sum(dim=0) for s in (1, -1))
        assert_allclose(slope, (up - down) / (2 * h), rtol=1e-5, atol=1e-7)


def test_slopes_of_draws_average_to_those_of_the_mean():
    n = 10_000
    points = np.array([p for p in SAMPLED if p[1] > -20])
    q = noise(*points.T, grad=True)
    exact = torch.autograd.grad(q.mean().sum(), (q.mu, q.log_sigma))
    draws = [x.detach().expand(n, -1).clone().requires_grad_() for x in (q.mu, q.log_sigma)]
    theta = TruncatedLogNormal(*draws).sample(generator=torch.Generator().manual_seed(4))
    for slope, wanted in zip(torch.autograd.grad(theta.sum(), draws), exact, strict=True):
        error = slope.std(dim=0) / math.sqrt(n)
        assert (slope.mean(dim=0) - wanted).abs().le(5 * error + 1e-12).all()
    pooled = torch.autograd.grad(
        q.sample(n, generator=torch.Generator().manual_seed(4)).sum(), (q.mu, q.log_sigma)
    )  # draws along the first axis are summed over
    each = torch.autograd.grad(TruncatedLogNormal(*draws).sample(generator=torch.Generator().manual_seed(4)).sum(), draws)
    for one, many in zip(pooled, each, strict=True):
        assert_allclose(one, many.sum(dim=0), rtol=1e-9, atol=1e-9)
