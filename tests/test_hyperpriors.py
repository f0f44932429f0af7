"""Rates of kept weights and horseshoe scales: against numbers with many digits, reductions of Gaussians, and what must hold."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from conftest import DATA
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import betaln, digamma, entr, expit

torch = pytest.importorskip("torch")

from activebmr.gaussian import Gaussian, reduce_gaussian, removal_evidence, shrinkage_evidence  # noqa: E402
from activebmr.pruning.weights.criteria import Horseshoe  # noqa: E402
from activebmr.pruning.weights.hyperpriors import beta_bernoulli_odds, horseshoe_evidence, scale_evidence  # noqa: E402

VECTORS = json.loads((DATA / "gaussian_bmr_vectors.json").read_text())["spike_slab_beta_bernoulli"]
SEEDS = st.integers(0, 10**6)
ROWS, COLUMNS, STRONG = 6, 25, 2


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def double(x):
    return torch.as_tensor(x, dtype=torch.float64)


# --- rate of kept weights --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", VECTORS, ids=lambda c: f"{c['n_pruned']} of {len(c['active'])}")
def test_odds_of_each_sweep_are_those_of_many_digits(case):
    ratios = double(case["log_evidence_gain"])
    zeta = beta_bernoulli_odds(ratios)
    assert_allclose(zeta, case["zeta_sweeps"], rtol=1e-9)
    assert_array_equal(ratios <= zeta[-1], np.array(case["active"], dtype=bool))
    assert (ratios > zeta[-1]).sum() == case["n_pruned"]
    assert (ratios > 0).sum() == case["n_pruned_at_zero_threshold"]
    assert_allclose(beta_bernoulli_odds(ratios.flip(0).reshape(2, -1) if len(ratios) % 2 == 0 else ratios), zeta, rtol=1e-12)
    assert_array_equal(beta_bernoulli_odds(ratios, sweeps=2), zeta[:2])


def random_ratios(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(rng.uniform(-4, 4), 3, rng.integers(1, 60)), *np.exp(rng.uniform(-1.5, 2, 2))


@given(SEEDS)
def test_every_sweep_raises_the_bound(seed):
    """Of the marginal likelihood of slabs and spikes whose rate is Beta(a, b), with a Beta and Bernoulli posteriors."""
    ratios, a, b = random_ratios(seed)
    zeta = np.array([0, *beta_bernoulli_odds(double(ratios), a, b, sweeps=12)])
    bounds = []
    for before, after in zip(zeta[:-1], zeta[1:], strict=True):
        q = expit(before - ratios)
        a1, b1 = a + q.sum(), b + len(q) - q.sum()
        log_rate, log_rest = digamma([a1, b1]) - digamma(a1 + b1)
        assert_allclose(after, log_rate - log_rest, rtol=1e-9, atol=1e-12)
        kl = betaln(a, b) - betaln(a1, b1) + (a1 - a) * log_rate + (b1 - b) * log_rest
        bounds.append((q * log_rate + (1 - q) * (log_rest + ratios) + entr(q) + entr(1 - q)).sum() - kl)
    assert (np.diff(bounds) > -1e-9).all()


@given(SEEDS)
def test_odds_of_keeping_fall_with_what_removal_is_worth_and_mirror_those_of_removing(seed):
    ratios, a, b = random_ratios(seed)
    zeta = beta_bernoulli_odds(double(ratios), a, b)
    assert_allclose(beta_bernoulli_odds(double(-ratios), b, a), -zeta, rtol=1e-9, atol=1e-10)
    assert (beta_bernoulli_odds(double(ratios) + 1, a, b) < zeta).all()
    assert_allclose(beta_bernoulli_odds(double(np.full(7, -900.0)), a, b), digamma(a + 7) - digamma(b), rtol=1e-9)
    assert_allclose(beta_bernoulli_odds(double(np.full(7, 900.0)), a, b), digamma(a) - digamma(b + 7), rtol=1e-9)


def test_without_weights_odds_are_those_of_the_prior():
    assert_allclose(beta_bernoulli_odds(torch.zeros(0), 2.0, 3.0, sweeps=3), np.full(3, digamma(2) - digamma(3)), rtol=1e-12)
    assert beta_bernoulli_odds(torch.zeros(3)).dtype == torch.float64


@pytest.mark.parametrize("wrong", [dict(a=0.0), dict(b=-1.0), dict(a=math.nan), dict(sweeps=0)], ids=str)
def test_wrong_priors_of_the_rate_are_refused(wrong):
    with pytest.raises(ValueError, match="[ab] must be a finite number > 0; got|sweeps must be at least 1; got 0"):
        beta_bernoulli_odds(torch.zeros(2), **wrong)


# --- evidence of a scale ---------------------------------------------------------------------------------------------------
@given(SEEDS)
def test_evidence_of_a_scale_is_that_of_a_reduction(seed):
    rng = np.random.default_rng(seed)
    variance = double(np.exp(rng.uniform(-7, 0, 30)))
    mean = double(rng.normal(size=30)) * variance.sqrt() * 3
    squared = double(np.exp(rng.uniform(-7, 2, 30)))
    zero, one = torch.zeros(30), torch.ones(30).double()
    assert_allclose(scale_evidence(mean, variance, one), 0.0, atol=1e-12)
    assert_allclose(scale_evidence(mean, variance, zero), removal_evidence(mean, variance, 1.0), rtol=1e-12, atol=1e-12)
    ours = scale_evidence(mean, variance, squared)
    found = reduce_gaussian(Gaussian(mean, variance), Gaussian(zero, one), Gaussian(zero, squared))
    assert_allclose(ours, found.log_evidence_ratio, rtol=1e-9, atol=1e-11)
    assert_allclose(ours, shrinkage_evidence(mean, variance, 1.0, squared), rtol=1e-9, atol=1e-11)
    # one scale for a row, many draws of it
    many = scale_evidence(mean.reshape(5, 6), variance.reshape(5, 6), squared.reshape(6, 5)[..., None])
    assert many.shape == (6, 5, 6)
    assert_allclose(many[2, 3], scale_evidence(mean[18:24], variance[18:24], squared[13]), rtol=1e-12)


def test_evidence_of_a_scale_has_its_slope(rng):
    leaves = [double(x).requires_grad_() for x in (rng.normal(size=4), rng.uniform(0.1, 0.9, 4), rng.uniform(0.1, 3, 4))]
    assert torch.autograd.gradcheck(scale_evidence, leaves)


# --- horseshoe -------------------------------------------------------------------------------------------------------------
def layer(seed=0, sd=0.1):
    """Rows of strong weights, then rows of which data say no more than noise would."""
    rng = np.random.default_rng(seed)
    mean = sd * rng.uniform(-0.9, 0.9, (ROWS, COLUMNS))
    mean[:STRONG] = rng.choice([-1, 1], (STRONG, COLUMNS)) * rng.uniform(0.8, 2, (STRONG, COLUMNS))
    return double(mean), torch.full((ROWS, COLUMNS), sd**2, dtype=torch.float64)


@pytest.fixture(scope="module")
def fitted():
    return horseshoe_evidence(*layer())


def test_the_bound_rises_and_levels_off(fitted):
    assert fitted.evidence.shape == (300,)
    start, middle, end = fitted.evidence[:10], fitted.evidence[140:160], fitted.evidence[-20:]
    assert torch.isfinite(fitted.evidence).all()
    assert end.mean() > start.max() + 100
    assert abs(end.mean() - middle.mean()) < 0.02 * (end.mean() - start.mean())


def test_rows_of_noise_get_small_scales_and_lose_their_weights_strong_rows_keep_theirs(fitted):
    scale = fitted.squared_scale
    assert scale.shape == (ROWS,) and (scale > 0).all()
    assert (scale[:STRONG] > 0.5).all() and (scale[STRONG:] < 0.01).all()
    assert fitted.removal.shape == (ROWS, COLUMNS)
    assert (fitted.removal[STRONG:] > 0).all() and (fitted.removal[:STRONG] < -20).all()


def test_removal_is_weighed_against_the_rows_own_prior(fitted):
    mean, variance = layer()
    zero = torch.zeros(ROWS, 1)
    reduced = Gaussian(zero, fitted.squared_scale[:, None])
    flat = Gaussian(mean, variance), Gaussian(zero, 1.0)
    after = reduce_gaussian(*flat, reduced)
    removal = reduce_gaussian(after.posterior, reduced, Gaussian.point()).log_evidence_ratio
    assert_allclose(fitted.removal, removal, rtol=1e-9, atol=1e-10)


def test_in_rows_of_noise_removal_and_the_rows_own_prior_say_the_same(fitted):
    """Up to a tolerance that keeps strong rows whole: their scales have gone to 0 as well."""
    removal = fitted.removal[STRONG:]
    assert removal.abs().max() < Horseshoe().tolerance
    assert (removal < beta_bernoulli_odds(fitted.removal)[-1]).all()  # odds learned for the layer would keep them all


def test_nearly_all_weights_of_rows_of_noise_go(rng):
    """Means of weights that are truly 0 spread as widely as their posteriors: a third of them have SNR^2 > 1."""
    mean, variance = layer()
    mean[STRONG:] = double(0.1 * math.sqrt(0.99) * rng.normal(size=(ROWS - STRONG, COLUMNS)))
    flat = removal_evidence(mean, variance, 1.0)[STRONG:] > 0
    assert flat.double().mean() > 0.9
    go = horseshoe_evidence(mean, variance, steps=150).removal >= -Horseshoe().tolerance
    assert go[STRONG:].double().mean() > 0.85 and not go[:STRONG].any()


def test_the_same_seed_gives_the_same_and_others_nearly_so(fitted):
    state = torch.get_rng_state()
    again, other = horseshoe_evidence(*layer(), steps=40), horseshoe_evidence(*layer(), steps=40, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    repeated = horseshoe_evidence(*layer(), steps=40)
    for name in ("evidence", "squared_scale", "removal"):
        assert torch.equal(getattr(again, name), getattr(repeated, name))
    assert torch.equal(fitted.evidence[:40], again.evidence)
    assert not torch.equal(again.evidence, other.evidence)
    assert_allclose(again.squared_scale.log(), other.squared_scale.log(), atol=0.5)


def test_only_weights_that_are_left_count():
    mean, variance = layer()
    alive = torch.ones(ROWS, COLUMNS, dtype=torch.bool)
    alive[0, 3:] = alive[4] = alive[:, 7] = False
    mean[~alive], variance[~alive] = 0.0, 0.0
    found = horseshoe_evidence(mean, variance, alive, steps=60)
    elsewhere = torch.where(alive, mean, 3.0), torch.where(alive, variance, 0.3)
    other = horseshoe_evidence(*elsewhere, alive, steps=60)
    for name in ("evidence", "squared_scale", "removal"):
        assert torch.equal(getattr(found, name), getattr(other, name))
    assert (found.removal[~alive] == -torch.inf).all() and torch.isfinite(found.removal[alive]).all()
    # of a column that is gone everywhere, nothing is left
    without = horseshoe_evidence(*(torch.cat((x[:, :7], x[:, 8:]), dim=1) for x in (mean, variance, alive)), steps=60)
    assert_allclose(without.evidence, found.evidence, rtol=1e-9)
    assert_allclose(without.squared_scale, found.squared_scale, rtol=1e-9)
    full = horseshoe_evidence(*layer(), torch.ones(ROWS, COLUMNS, dtype=torch.bool), steps=5)
    assert torch.equal(full.evidence, horseshoe_evidence(*layer(), steps=5).evidence)


def test_inputs_stay_as_they_are_and_results_need_no_gradients():
    mean, variance = (x.float().requires_grad_() for x in layer())
    before = mean.detach().clone(), variance.detach().clone()
    found = horseshoe_evidence(mean, variance, steps=3)
    assert torch.equal(mean, before[0]) and torch.equal(variance, before[1]) and mean.grad is None
    for x in (found.evidence, found.squared_scale, found.removal):
        assert x.dtype == torch.float64 and not x.requires_grad


def start_draws(n_rows, tau0, slab, n=100_000):
    """Squared scales of the rows under the posterior that the fit begins with."""
    rng = np.random.default_rng(3)
    local, glob = (np.exp(math.exp(-2) * rng.normal(size=size)) for size in ((n, n_rows), (n, 1)))
    tau2 = (tau0 * glob * local) ** 2
    c2 = slab[1] / slab[0] * np.exp(math.exp(-2) * rng.normal(size=(n, 1)))
    return c2 * tau2 / (c2 + tau2)


def test_evidence_at_the_start_is_the_mean_over_scales_less_what_does_not_depend_on_the_weights():
    mean, variance = layer()
    mean, variance = mean[:3, :2], variance[:3, :2]
    settings = dict(tau0=0.5, slab=(3.0, 2.0), steps=1, particles=20_000)
    nothing = horseshoe_evidence(mean, variance, torch.zeros(3, 2, dtype=torch.bool), **settings)
    difference = (horseshoe_evidence(mean, variance, **settings).evidence - nothing.evidence).item()
    squared = double(start_draws(3, 0.5, (3.0, 2.0)))[..., None]
    each = scale_evidence(mean, variance, squared).sum(dim=(1, 2)).numpy()
    assert abs(difference - each.mean()) < 5 * each.std() * math.sqrt(1 / 20_000 + 1 / 100_000)


@pytest.mark.parametrize("slab", [(2.0, 6.0), (2.0, 2.0)], ids=str)
def test_evidence_without_weights_is_minus_the_divergence_of_the_scales(slab):
    n_rows, sd = 3, math.exp(-2)
    found = horseshoe_evidence(
        torch.zeros(n_rows, 2),
        torch.ones(n_rows, 2),
        torch.zeros(n_rows, 2, dtype=torch.bool),
        slab=slab,
        steps=1,
        particles=50_000,
    )
    u = np.linspace(-10, 10, 2001)
    log_q = -0.5 * u**2 - 0.5 * math.log(2 * math.pi) - math.log(sd)
    weight = np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi) * (u[1] - u[0])
    cauchy = math.log(2 / math.pi) + sd * u - np.log1p(np.exp(2 * sd * u))
    shape, rate = slab
    at = math.log(shape / rate) + sd * u
    gamma = shape * math.log(rate) - math.lgamma(shape) + shape * at - rate * np.exp(at)
    kl = (n_rows + 1) * (weight * (log_q - cauchy)).sum() + (weight * (log_q - gamma)).sum()
    assert_allclose(found.evidence.item(), -kl, atol=0.05)


def test_weights_that_data_have_widened_do_no_harm():
    """A dead unit's weights have their prior's variance, or a little more by chance."""
    mean, variance = layer()
    mean[0] *= 4
    mean[0, 3], variance[0, 3] = 0.0, 1.3
    found = horseshoe_evidence(mean, variance, steps=150)
    assert torch.isfinite(found.evidence).all() and torch.isfinite(found.removal).all()
