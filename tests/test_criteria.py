"""Log evidence ratios of removal against quadrature and forms with many digits; the rules and baselines that rest on them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from conftest import DATA
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import truncnorm

torch = pytest.importorskip("torch")
mpmath = pytest.importorskip("mpmath")

from activebmr.pruning import (  # noqa: E402
    BMRS_N,
    BMRS_U,
    RELEASED_ODDS,
    L2Norm,
    MeanBelow,
    RandomRank,
    ReducedNormal,
    ReducedUniform,
    SNRBelow,
    TruncatedLogNormal,
    criterion_named,
    log_evidence_ratio,
)
from activebmr.pruning.structures.criteria import criterion_for  # noqa: E402

mpf = mpmath.mpf
LOW, HIGH = -20.0, 0.0
STEP = mpf(10) ** -32
LN2 = math.log(2)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def vectors(kind):
    cases = json.loads((DATA / "pruning" / "bmrs_vectors.json").read_text())[kind]
    return [{key: value if key == "prune" else float(value) for key, value in case.items()} for case in cases]


def noise(mu, log_sigma, grad=False, **interval):
    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=grad) for x in (mu, log_sigma)]
    return TruncatedLogNormal(*leaves, **interval)


def posterior_of(case):
    return noise([case["mu_q"]], [math.log(case["sigma_q"])], low=case["log_a"], high=case["log_b"])


# --- evidence -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", vectors("bmrs_n"), ids=lambda c: f"{c['mu_q']:g},{c['sigma_q']:.4g},{c['mu_p']:g}")
def test_ratio_of_a_normal_prior_is_that_of_quadrature(case):
    posterior, reduced = posterior_of(case), ReducedNormal(case["mu_p"], case["sigma_p"])
    ratio = log_evidence_ratio(posterior, reduced)
    assert_allclose(ratio, [case["dF"]], rtol=1e-9)
    assert (ratio.item() >= 0) == case["prune"]
    if case["mu_p"] == LOW:
        assert_allclose(BMRS_N(sd=case["sigma_p"]).scores(posterior), [case["dF"]], rtol=1e-9)


@pytest.mark.parametrize("case", vectors("bmrs_u"), ids=lambda c: f"{c['mu_q']:g},{c['sigma_q']:.4g},{c['p1']:g}")
def test_ratio_of_a_uniform_prior_is_that_of_quadrature(case):
    posterior, reduced = posterior_of(case), ReducedUniform(case["log_a2"], case["log_b2"])
    ratio = log_evidence_ratio(posterior, reduced)
    assert_allclose(ratio, [case["dF"]], rtol=1e-9)
    assert (ratio.item() >= 0) == case["prune"]
    assert_allclose(BMRS_U(case["p1"], case["p2"]).scores(posterior), [case["dF"]], rtol=1e-9)


def exact_mass(low, high):
    low, high = (-high, -low) if low > 0 else (low, high)
    return mpmath.ncdf(high) - mpmath.ncdf(low)


def exact_ratio(mu, log_sigma, reduced):
    """ln of the mean of q / p under the reduced prior: the textbook form."""
    sigma = mpmath.exp(log_sigma)
    z = exact_mass((LOW - mu) / sigma, (HIGH - mu) / sigma)
    if isinstance(reduced, ReducedUniform):
        low, high = mpf(reduced.low), mpf(reduced.high)
        return mpmath.log((HIGH - LOW) / (high - low) * exact_mass((low - mu) / sigma, (high - mu) / sigma) / z)
    m, s = mpf(reduced.mean), mpf(reduced.sd)
    total = mpmath.sqrt(sigma**2 + s**2)
    product = exact_mass(*(((end - mu) * s / sigma + (end - m) * sigma / s) / total for end in (LOW, HIGH)))
    density = mpmath.npdf((mu - m) / total) / total
    return mpmath.log((HIGH - LOW) * product * density / exact_mass((LOW - m) / s, (HIGH - m) / s) / z)


REDUCED = [
    ReducedNormal(LOW, 1e-6),
    ReducedNormal(-17.0, 1.5),
    ReducedNormal(-12.15, 1e-4),
    ReducedNormal(-3.0, 30.0),
    ReducedUniform(-23 * LN2, -8 * LN2),
    ReducedUniform(LOW, -4 * LN2),
    ReducedUniform(-10.0, HIGH),  # ends with the posterior, all of whose mass may be there
]


@pytest.mark.parametrize("reduced", REDUCED, ids=str)
def test_ratios_and_their_slopes_are_finite_and_right_wherever_training_may_go(reduced):
    """Also where the mean lies far outside the interval, and the terms of the textbook form have 19 digits before the point."""
    mu, log_sigma = (
        x.ravel() for x in np.meshgrid([-26.0, *np.linspace(-20, 5, 11), 0.3], np.linspace(-20, 5, 13), indexing="ij")
    )
    q = noise(mu, log_sigma, grad=True)
    ours = log_evidence_ratio(q, reduced)
    slopes = torch.autograd.grad(ours.sum(), (q.mu, q.log_sigma))
    exact = []
    with mpmath.workdps(110):
        for m, l in zip(mu.tolist(), log_sigma.tolist(), strict=True):
            m, l = mpf(m), mpf(l)
            sides = [((m + STEP, l), (m - STEP, l)), ((m, l + STEP), (m, l - STEP))]
            diffs = [(exact_ratio(*up, reduced) - exact_ratio(*down, reduced)) / (2 * STEP) for up, down in sides]
            exact.append([float(x) for x in (exact_ratio(m, l, reduced), *diffs)])
    exact = np.array(exact).T
    assert torch.isfinite(ours).all() and all(torch.isfinite(s).all() for s in slopes)
    assert_allclose(ours.detach(), exact[0], rtol=1e-9, atol=1e-12)
    # slopes in mu are differences of numbers of order 1 over sigma
    assert (np.abs(slopes[0].numpy() - exact[1]) <= 1e-7 * np.abs(exact[1]) + 1e-11 + 1e-15 / np.exp(log_sigma)).all()
    assert_allclose(slopes[1], exact[2], rtol=1e-7, atol=1e-11)


def test_squeezed_to_a_point_it_is_the_ratio_of_densities_there(rng):
    """Savage and Dickey: posterior over prior density at the point."""
    mu, log_sigma = rng.uniform(-20, 5, 100), rng.uniform(-2, 5, 100)
    q = noise(mu, log_sigma)
    for point in (LOW, -12.0, HIGH):
        limit = q.log_prob(point) + math.log(HIGH - LOW)
        # error: slope and curvature of the log density over the width of the point
        for sd in (1e-5, 1e-7, 1e-9):
            bound = sd * 25 / np.exp(2 * log_sigma) + 1e-10 * (1 + limit.abs().numpy())
            error = (log_evidence_ratio(q, ReducedNormal(point, sd)) - limit).abs()
            assert error.le(torch.as_tensor(bound)).all()
    assert_allclose(BMRS_N(sd=1e-10).scores(q), q.log_prob(LOW) + math.log(20), rtol=1e-7, atol=1e-7)


def test_no_change_of_prior_changes_no_evidence(rng):
    q = noise(rng.uniform(-20, 5, 200), rng.uniform(-20, 5, 200))
    assert_allclose(log_evidence_ratio(q, ReducedUniform(LOW, HIGH)), 0.0, atol=1e-9)
    wide = noise(rng.uniform(-20, 5, 50), rng.uniform(-1, 5, 50))
    assert_allclose(log_evidence_ratio(wide, ReducedNormal(-10.0, 1e7)), 0.0, atol=1e-6)


@pytest.mark.parametrize(
    "kind, numbers",
    [
        (ReducedUniform, (-21.0, -5.0)),
        (ReducedUniform, (-5.0, 1e-9)),
        (ReducedUniform, (-5.0, -5.0)),
        (ReducedUniform, (math.nan, -5.0)),
        (ReducedNormal, (-20.1, 1.0)),
        (ReducedNormal, (0.1, 1.0)),
        (ReducedNormal, (-20.0, 0.0)),
        (ReducedNormal, (math.nan, 1.0)),
        (ReducedNormal, (-10.0, math.nan)),
    ],
    ids=str,
)
def test_reduced_priors_outside_the_interval_are_refused(kind, numbers):
    with pytest.raises(ValueError, match=r"(reduced prior|(low|mean|sd) of Reduced\w+) must"):
        log_evidence_ratio(noise([0.0], [0.0]), kind(*numbers))


# --- rules ----------------------------------------------------------------------------------------------------------------
def random_posteriors(rng, n=400):
    return rng.uniform(-20, 3, n), rng.uniform(-1, 4, n)


@pytest.mark.parametrize("rule, low, high", [(BMRS_U(8), -23, -8), (BMRS_U(4), -23, -4), (BMRS_U(6, 11), -11, -6)])
def test_low_precision_rule_removes_iff_the_posterior_has_the_priors_share_of_mass_there(rng, rule, low, high):
    mu, log_sigma = random_posteriors(rng)
    sigma = np.exp(log_sigma)
    law = truncnorm((LOW - mu) / sigma, (HIGH - mu) / sigma, mu, sigma)
    share, prior = law.cdf(high * LN2) - law.cdf(low * LN2), (high - low) * LN2 / (HIGH - LOW)
    scores = rule.scores(noise(mu, log_sigma)).numpy()
    clear = np.abs(share - prior) > 1e-9
    assert_array_equal((scores >= 0)[clear], (share >= prior)[clear])
    assert 0.05 < (scores >= 0).mean() < 0.95  # both happen


def test_a_posterior_collapsed_below_low_precision_is_kept_unless_the_interval_begins_at_the_end():
    collapsed = noise([-20.0, -20.0, -19.0, -20.0], [-5.0, -20.0, 0.0, -1.0])
    for p1 in (4, 8):
        assert (BMRS_U(p1).scores(collapsed) < 0).all()
        assert (BMRS_U(p1, from_end=True).scores(collapsed) > 0).all()
    assert (BMRS_U(8, from_end=True).scores(noise([0.0, -1.0], [-5.0, 0.0])) < 0).all()


def test_exact_point_rule_approaches_0_from_below_and_removes_nothing_where_the_released_one_does():
    """Structures that the data do not need drift to the prior: sigma 20 to 100, mu about -1."""
    mu, sigma = (x.ravel() for x in np.meshgrid(np.linspace(-3, 1, 9), np.linspace(20, 100, 17), indexing="ij"))
    q = noise(mu, np.log(sigma))
    exact = BMRS_N().scores(q).reshape(9, 17)
    assert (exact < 0).all()
    assert (torch.diff(exact, dim=1) > 0).all()  # nearer to 0, the nearer it is to the prior
    assert exact[:, -1].abs().max() < 0.03
    assert (BMRS_N.released().scores(q) > 0).all()
    assert_allclose(BMRS_N.released().scores(q) - BMRS_N().scores(q), 0.5 * math.log(2 * math.pi), rtol=1e-12)


def test_log_prior_odds_are_added_to_the_evidence(rng):
    q = noise(*random_posteriors(rng))
    for rule in (BMRS_N, BMRS_U):
        assert_allclose(rule(log_prior_odds=-3.0).scores(q), rule().scores(q) - 3.0, rtol=1e-12, atol=1e-12)
    assert_allclose(RELEASED_ODDS, 0.9189385332046727, rtol=1e-15)


DECIDING = [BMRS_N(), BMRS_N.released(), BMRS_U(8), BMRS_U(4), BMRS_U(8, from_end=True), MeanBelow(), SNRBelow()]


@pytest.mark.parametrize("rule", DECIDING, ids=lambda r: r.name)
@pytest.mark.parametrize("where", ["mu", "log_sigma"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_posterior_that_is_no_number_never_decides(rule, where, value):
    leaves = {"mu": torch.tensor([0.0, -1.0]), "log_sigma": torch.tensor([0.0, -1.0])}
    leaves[where][1] = value
    with pytest.raises(ValueError, match=f"{rule.name} must be finite"):
        rule.scores(TruncatedLogNormal(**leaves))


@pytest.mark.parametrize("rule", DECIDING, ids=lambda r: r.name)
def test_every_posterior_that_training_may_reach_has_a_finite_score_and_no_neighbour_changes_it(rule):
    mu, log_sigma = (x.ravel() for x in np.meshgrid(np.linspace(-20, 5, 51), np.linspace(-20, 5, 51), indexing="ij"))
    scores = rule.scores(noise(mu, log_sigma))
    assert scores.dtype == torch.float64 and scores.shape == mu.shape and torch.isfinite(scores).all()
    assert_allclose(scores[7:8], rule.scores(noise(mu[7:8], log_sigma[7:8])), rtol=1e-13)


# --- baselines ------------------------------------------------------------------------------------------------------------
def test_thresholds_of_mean_and_signal_to_noise_ratio_are_where_they_say(rng):
    q = noise(*random_posteriors(rng))
    for rule, statistic in ((MeanBelow, q.mean()), (SNRBelow, q.snr())):
        for threshold in (0.05, rule().threshold):
            clear = (statistic / threshold - 1).abs() > 1e-9
            assert_array_equal((rule(threshold).scores(q) >= 0)[clear], (statistic < threshold)[clear])
    assert MeanBelow().threshold == 0.1 and SNRBelow().threshold == 1.0
    # the ratio does not see that a structure is as good as gone
    tiny = noise([-18.9], [math.log(0.5)])
    assert tiny.mean() < 1e-8 and SNRBelow().scores(tiny) < 0 < MeanBelow().scores(tiny)


def test_small_weights_go_first(rng):
    weights = torch.as_tensor(rng.normal(size=(6, 3, 2, 2)) * rng.permutation(6)[:, None, None, None])
    scores = L2Norm().scores(noise(np.zeros(6), np.zeros(6)), weights)
    norms = np.linalg.norm(weights.numpy().reshape(6, -1), axis=1)
    assert_array_equal(np.argsort(-scores.numpy()), np.argsort(norms))
    assert_allclose(-scores, norms, rtol=1e-12)
    with pytest.raises(ValueError, match="weights must be given"):
        L2Norm().scores(noise([0.0], [0.0]))
    with pytest.raises(ValueError, match="must be finite"):
        L2Norm().scores(noise([0.0], [0.0]), torch.tensor([[math.nan]]))


def test_chance_is_the_same_for_the_same_seed():
    q = noise(np.zeros(100), np.zeros(100))
    one, again, other = (RandomRank(seed).scores(q) for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert len(one.unique()) == 100 and (one <= 0).all()


def test_chance_is_independent_between_layers_and_lies_where_the_posterior_does():
    q = noise(np.zeros(100), np.zeros(100))
    one, again, other = (criterion_for(RandomRank(), layer).scores(q) for layer in ("a", "a", "b"))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 0.3
    assert not torch.equal(criterion_for(RandomRank(1), "a").scores(q), one)
    assert criterion_for(L2Norm(), "a") == L2Norm()  # most judge all layers alike
    mu = torch.zeros(5, device="meta")
    assert RandomRank().for_layer("a").scores(TruncatedLogNormal(mu, mu)).device.type == "meta"


def test_criteria_have_the_names_that_reports_use():
    q = noise([-15.0, -1.0], [1.0, 0.0])
    expected = {
        "l2": L2Norm(),
        "mean": MeanBelow(),
        "snr": SNRBelow(),
        "bmrs-n": BMRS_N.released(),
        "bmrs-u8": BMRS_U(8),
        "bmrs-u4": BMRS_U(4),
        "random": RandomRank(),
    }
    for name, rule in expected.items():
        named = criterion_named(name)
        assert named.name == rule.name == name
        assert named.decides == rule.decides == (name not in ("l2", "random"))
        weights = torch.ones(2, 3)
        assert torch.equal(named.scores(q, weights), rule.scores(q, weights))
    exact = criterion_named("bmrs-n-exact")
    assert exact.name == "bmrs-n-exact" and torch.equal(exact.scores(q), BMRS_N().scores(q))
    with pytest.raises(ValueError, match="criterion must be one of .*bmrs-n.*; got 'nosuch'"):
        criterion_named("nosuch")
