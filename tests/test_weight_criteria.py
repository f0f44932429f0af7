"""Which weights go: against thresholds of signal over noise, layer by layer, and as many as ranks are asked for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from activebmr.gaussian import removal_threshold  # noqa: E402
from activebmr.pruning.weights.criteria import (  # noqa: E402
    RANKS,
    ByEvidence,
    ByRank,
    Horseshoe,
    SpikeAndSlab,
    rank_scores,
)
from activebmr.pruning.weights.hyperpriors import beta_bernoulli_odds  # noqa: E402
from activebmr.pruning.weights.posterior import MeanField, NaturalGaussian, WeightPosterior  # noqa: E402

SEEDS = st.integers(0, 10**6)
SHAPES = {"a.weight": (8, 6), "a.bias": (8,), "norm.weight": (8,), "norm.bias": (8,), "b.weight": (3, 8), "b.bias": (3,)}
N, FIRST, NORM, LAST = 99, slice(0, 56), slice(56, 72), slice(72, 99)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def posterior(seed=0, gone=0.2, log_variance=(-6.0, 0.5), size=0.5):
    """Some weights wider than their prior, some gone."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high):
        return low + (high - low) * torch.rand(N, generator=generator, dtype=torch.float64)

    means = (size * torch.randn(N, generator=generator, dtype=torch.float64)).split([math.prod(s) for s in SHAPES.values()])
    parameters = {name: part.view(shape) for (name, shape), part in zip(SHAPES.items(), means, strict=True)}
    priors = {"a.weight": 0.7, "b.bias": 2.0}
    q = WeightPosterior(parameters, priors, {"norm.weight": 1.0}, uniform(*log_variance).exp())
    q.remove(uniform(0, 1) < gone)
    return q


def only(mask, part):
    """Whether nothing outside a slice is chosen."""
    rest = mask.clone()
    rest[part] = False
    return not rest.any()


# --- each for itself -------------------------------------------------------------------------------------------------------
@given(SEEDS)
def test_weights_go_below_a_threshold_of_signal_over_noise(seed):
    q = posterior(seed)
    snr2 = (q.raw_mean() - q.prior_mean) ** 2 / q.raw_variance()
    below = snr2 < removal_threshold(q.raw_variance(), q.prior_variance)
    mask = ByEvidence().select(q, 0)
    assert mask.dtype == torch.bool and torch.equal(mask, below & q.alive)
    assert not mask[(q.raw_variance() > q.prior_variance)].any()


@given(SEEDS)
def test_a_tolerance_takes_more_and_only_those_with_little_evidence(seed):
    q = posterior(seed)
    masks = [ByEvidence(t).select(q, 0) for t in (0.0, 0.1, 1.0, 20.0)]
    evidence = q.removal_evidence()
    for few, many, tolerance in zip(masks[:-1], masks[1:], (0.1, 1.0, 20.0), strict=True):
        assert (many | ~few).all()
        assert torch.equal(many, evidence >= -tolerance)
    assert not (masks[-1] & ~q.alive).any()


@pytest.mark.parametrize("tolerance", [-0.1, math.nan, math.inf])
def test_wrong_tolerances_are_refused(tolerance):
    with pytest.raises(ValueError, match=f"tolerance must be a finite number >= 0; got {tolerance}"):
        ByEvidence(tolerance)


# --- spike and slab --------------------------------------------------------------------------------------------------------
@given(SEEDS)
def test_spikes_are_those_beyond_the_odds_of_their_layer(seed):
    q = posterior(seed)
    mask = SpikeAndSlab(2.0, 0.5, sweeps=3, at_most=1.0, spared=()).select(q, 0)
    evidence = q.removal_evidence()
    for part in (FIRST, NORM, LAST):
        mine, left = evidence[part], q.alive[part]
        odds = beta_bernoulli_odds(mine[left], 2.0, 0.5, 3)[-1]
        assert torch.equal(mask[part], (mine > odds) & left)
        if odds > 0:  # a layer that is needed sets a higher bar
            assert (mine[mask[part]] > 0).all()


def test_layers_do_not_hear_of_each_other():
    q = posterior()
    rule = SpikeAndSlab(spared=())
    before = rule.select(q, 0)
    q.raw_mean()[FIRST] *= 0.01
    after = rule.select(q, 0)
    assert torch.equal(after[56:], before[56:]) and not torch.equal(after[FIRST], before[FIRST])


@pytest.mark.parametrize(
    "make", [SpikeAndSlab, lambda **k: Horseshoe(steps=20, tolerance=50.0, **k)], ids=["spikes", "horseshoe"]
)
def test_the_last_layer_or_those_named_are_spared(make):
    q = posterior(size=0.05)
    mask = make().select(q, 0)
    assert mask[FIRST].any() and mask[NORM].any() and only(mask, slice(0, 72))
    assert make(spared=()).select(q, 0)[LAST].any()
    assert only(make(spared=("a", "norm")).select(q, 0), LAST)
    with pytest.raises(ValueError, match=r"spared must name layers of \['a', 'norm', 'b'\]; got 'c'"):
        make(spared=("a", "c")).select(q, 0)
    alone = WeightPosterior({"w": torch.zeros(4, 3)}, variance=torch.full((12,), 0.01))
    assert make().select(alone, 0).any()  # the only layer is not the last one


@given(SEEDS, st.floats(0.01, 1.0))
def test_at_most_a_share_of_a_layer_goes_in_a_round_and_that_with_the_most_evidence(seed, share):
    q = posterior(seed, size=0.1)
    whole = SpikeAndSlab(at_most=1.0).select(q, 0)
    mask = SpikeAndSlab(at_most=share).select(q, 0)
    evidence = q.removal_evidence()
    for part in (FIRST, NORM):
        most = max(int(share * int(q.alive[part].sum())), 1)
        assert mask[part].sum() == min(most, int(whole[part].sum()))
        assert (whole[part] | ~mask[part]).all()
        stays = whole[part] & ~mask[part]
        if stays.any():
            assert evidence[part][mask[part]].min() >= evidence[part][stays].max()


def test_priors_of_the_rate_lean_to_keeping_or_removing():
    q = posterior(size=0.2)
    counts = [int(SpikeAndSlab(a, b, at_most=1.0).select(q, 0).sum()) for a, b in ((1, 500), (1, 1), (500, 1))]
    assert counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize(
    "rule", [ByEvidence(), SpikeAndSlab(spared=()), Horseshoe(spared=(), steps=5), ByRank("snr", (99, 99))]
)
def test_what_is_gone_is_never_chosen_again(rule):
    q = posterior(gone=0.5)
    gone = ~q.alive
    q.raw_mean()[gone] = 0.0  # whatever its evidence would be
    assert not (rule.select(q, 0) & gone).any()
    q.remove(q.alive.clone())
    assert not rule.select(q, 1).any()


# --- horseshoe -------------------------------------------------------------------------------------------------------------
def rows(seed=0, scale=1.0):
    """Two strong rows of eight, biases with them; the others are noise."""
    generator = torch.Generator().manual_seed(seed)
    strong = torch.zeros(8, 1, dtype=torch.float64)
    strong[[1, 4]] = 1.5
    sign = torch.randn(8, 25, generator=generator, dtype=torch.float64).sign()
    noise = 0.05 * torch.randn(8, 26, generator=generator, dtype=torch.float64)
    means = torch.cat((strong * sign, strong), dim=1) + noise
    parameters = {"a.weight": scale * means[:, :25], "a.bias": scale * means[:, 25], "b.weight": torch.ones(3, 8)}
    return WeightPosterior(parameters, scale**2, variance=torch.full((232,), (0.05 * scale) ** 2))


def test_rows_of_noise_go_and_strong_rows_stay_with_their_biases():
    q = rows()
    mask = Horseshoe(at_most=1.0).select(q, 0)
    parts = q.split(mask)
    strong = torch.zeros(8, dtype=torch.bool)
    strong[[1, 4]] = True
    assert not parts["a.weight"][strong].any() and not parts["a.bias"][strong].any() and not parts["b.weight"].any()
    assert parts["a.weight"][~strong].double().mean() > 0.8 and parts["a.bias"][~strong].sum() >= 4
    looser = Horseshoe(at_most=1.0, tolerance=1.0).select(q, 0)
    assert (looser | ~mask).all() and looser.sum() > mask.sum()


def test_horseshoes_do_not_depend_on_units():
    """Of weights, with their prior; and not on the type."""
    one = Horseshoe(at_most=1.0).select(rows(), 0)
    assert torch.equal(Horseshoe(at_most=1.0).select(rows(scale=8.0), 0), one)
    state = torch.get_rng_state()
    assert torch.equal(Horseshoe(at_most=1.0).select(rows(), 0), one)
    assert torch.equal(torch.get_rng_state(), state)


def test_horseshoes_take_at_most_a_share():
    q = rows()
    whole = Horseshoe(at_most=1.0).select(q, 0)
    half = Horseshoe().select(q, 0)
    assert half.sum() == int(0.5 * 208) < whole.sum() and (whole | ~half).all()
    q.remove(half)
    again = Horseshoe().select(q, 1)
    assert 0 < again.sum() <= 52 and not (again & half).any()


def test_gains_are_judged_around_their_priors_mean():
    gains = torch.tensor([1.0, 1.01, 0.99, 1.0, 3.0, 1.0])
    q = WeightPosterior(
        {"norm.weight": gains, "norm.bias": torch.zeros(6)}, 1.0, {"norm.weight": 1.0}, torch.full((12,), 0.05**2)
    )
    for rule in (Horseshoe(at_most=1.0), ByEvidence(), SpikeAndSlab(at_most=1.0)):
        mask = q.split(rule.select(q, 0))
        assert not mask["norm.weight"][4], rule
        assert mask["norm.weight"][[0, 1, 2, 3, 5]].any(), rule


# --- ranks -----------------------------------------------------------------------------------------------------------------
@given(SEEDS, st.sampled_from(RANKS))
def test_ranks_remove_as_many_as_asked_for_and_the_highest(seed, by):
    q = posterior(seed, gone=0.1)
    first = q.n_removed
    rule = ByRank(by, (first + 5, first + 5, first + 40, 1000))
    assert rule.name == by
    removed = [5, 0, 35, N - first - 40, 0]
    for round, count in enumerate(removed):
        scores = rank_scores(q, by)
        mask = rule.select(q, round)
        assert mask.sum() == count and not (mask & ~q.alive).any()
        stays = q.alive & ~mask
        if mask.any() and stays.any():
            assert scores[mask].min() >= scores[stays].max()
        q.remove(mask)


def test_ties_go_in_the_weights_order():
    q = WeightPosterior({"w": torch.tensor([1.0, 0.5, 0.5, 0.5, 0.5, 2.0])}, variance=torch.full((6,), 0.1))
    for by in RANKS:
        assert ByRank(by, (2,)).select(q, 0).nonzero().flatten().tolist() == [1, 2]
        assert ByRank(by, (5,)).select(q, 0).nonzero().flatten().tolist() == [0, 1, 2, 3, 4]
    q.remove(torch.tensor([False, True, False, False, False, False]))
    assert ByRank("snr", (3,)).select(q, 0).nonzero().flatten().tolist() == [2, 3]


def test_less_than_is_gone_already_is_nothing():
    q = posterior(gone=0.5)
    assert not ByRank("evidence", (3,)).select(q, 0).any() and not ByRank("evidence", ()).select(q, 0).any()


def test_ranks_know_noise_from_signal():
    """Of one weight strong and certain, one weak and certain, one strong and uncertain, one weak and uncertain."""
    mean, variance = torch.tensor([2.0, -0.1, -2.0, 0.1]), torch.tensor([0.01, 0.01, 0.9, 0.9])
    q = WeightPosterior({"w": mean}, variance=variance)
    order = {by: rank_scores(q, by).argsort(descending=True).tolist() for by in RANKS}
    assert order == {"snr": [3, 1, 2, 0], "mean-sd": [1, 3, 0, 2], "evidence": [1, 3, 2, 0]}
    q.remove(torch.tensor([False, True, False, False]))
    for by in RANKS:
        scores = rank_scores(q, by)
        assert scores.dtype == torch.float64 and scores[1] == -math.inf and torch.isfinite(scores[[0, 2, 3]]).all()


@given(SEEDS)
def test_with_equal_variances_evidence_ranks_as_signal_over_noise(seed):
    q = posterior(seed, log_variance=(-3.0, -3.0), gone=0.0)
    q.prior_variance.fill_(1.0)
    orders = [rank_scores(q, by).argsort(descending=True).tolist() for by in RANKS]
    assert orders[0] == orders[1] == orders[2]


def test_ranks_take_every_posterior():
    parameters = {"w": torch.randn(4, 3, generator=torch.Generator().manual_seed(0))}
    for q in (MeanField(parameters), NaturalGaussian(parameters, n_examples=9)):
        for by in RANKS:
            assert not rank_scores(q, by).requires_grad
            assert ByRank(by, (4,)).select(q, 0).sum() == 4
        for rule in (ByEvidence(), SpikeAndSlab(), Horseshoe(steps=3)):
            assert rule.select(q, 0).shape == (12,)


@pytest.mark.parametrize(
    "by, removed, match",
    [
        ("magnitude", (1,), r"by must be one of \['evidence', 'snr', 'mean-sd'\]; got 'magnitude'"),
        ("snr", (3, 2), r"removed must not fall; got \(3, 2\)"),
    ],
)
def test_wrong_ranks_are_refused(by, removed, match):
    with pytest.raises(ValueError, match=match):
        ByRank(by, removed)


def test_scores_by_something_else_are_refused():
    with pytest.raises(ValueError, match="by must be one of"):
        rank_scores(posterior(), "magnitude")


@pytest.mark.parametrize("of", [SpikeAndSlab, Horseshoe])
@pytest.mark.parametrize("at_most", [0.0, -0.5, 1.5, float("nan")])
def test_shares_that_are_none_are_refused(of, at_most):
    with pytest.raises(ValueError, match=r"at_most must be a share > 0 and <= 1; got "):
        of(at_most=at_most)
