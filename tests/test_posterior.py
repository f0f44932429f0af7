"""Gaussian posteriors over weights: divergences of torch's own distributions, and what removal fixes for good."""

from __future__ import annotations

import copy
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.distributions import Normal, kl_divergence  # noqa: E402
from torch.testing import assert_close  # noqa: E402

from activebmr.pruning.weights.posterior import MeanField, NaturalGaussian, WeightPosterior, parameters_of  # noqa: E402

SEEDS = st.integers(0, 10**6)
SHAPES = {"a.weight": (4, 3), "a.bias": (4,), "norm.weight": (4,), "b.weight": (2, 4), "scale": ()}
N = 29
PRIORS = {"a.weight": 0.5, "norm.weight": 2.0}
MEANS = {"norm.weight": 1.0}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for name, shape in SHAPES.items()}


def uniform(low, high, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (low + (high - low) * torch.rand(N, generator=generator, dtype=torch.float64)).to(dtype)


def mean_field(seed=0, dtype=torch.float64):
    """With standard deviations from 0.02 to 3 times those of the prior."""
    q = MeanField(weights(seed, dtype), PRIORS, MEANS)
    with torch.no_grad():
        q.log_sd.add_(uniform(-4, 1, seed + 1, dtype))
    return q


def natural(seed=0):
    q = NaturalGaussian(weights(seed), PRIORS, MEANS, n_examples=50)
    q.hessian.copy_(uniform(0.01, 3, seed + 1))
    return q


def known(seed=0):
    return WeightPosterior(weights(seed), PRIORS, MEANS, uniform(0.01, 1, seed + 1))


MAKERS = {"mean field": mean_field, "natural": natural, "known": known}
each_kind = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def prior_of(q):
    return Normal(q.prior_mean, q.prior_variance.sqrt())


def some(share=0.4, seed=3):
    return torch.rand(N, generator=torch.Generator().manual_seed(seed)) < share


# --- layout ------------------------------------------------------------------------------------------------------------------
@each_kind
def test_weights_lie_in_one_vector_in_the_order_of_the_parameters(make):
    q, parts = make(), weights()
    assert q.n == N and q.n_removed == 0 and q.is_whole
    assert list(q.places) == list(SHAPES)
    for name, part in q.split(q.mean).items():
        assert part.shape == SHAPES[name] and torch.equal(part, parts[name])
    assert q.layers == {"a": [(0, 12), (12, 16)], "norm": [(16, 20)], "b": [(20, 28)], "": [(28, 29)]}
    for name, part in q.split(q.prior_variance).items():
        assert (part == PRIORS.get(name, 1.0)).all()
    for name, part in q.split(q.prior_mean).items():
        assert (part == MEANS.get(name, 0.0)).all()


def test_parts_are_views():
    q = mean_field()
    q.split(q.alive)["b.weight"][1, 2] = False
    assert (~q.alive).nonzero().flatten().tolist() == [26]


# --- divergence --------------------------------------------------------------------------------------------------------------
@given(SEEDS)
def test_divergence_and_its_slope_are_those_of_torchs_distributions(seed):
    q = mean_field(seed)
    q.remove(some(seed=seed))
    location, log_sd = (p.detach().clone().requires_grad_() for p in (q.location, q.log_sd))
    kl = kl_divergence(Normal(location, log_sd.exp()), prior_of(q))[q.alive].sum()
    assert_close(q.kl(), kl, rtol=1e-12, atol=1e-12)
    (1.7 * q.kl()).backward()
    (1.7 * kl).backward()
    assert_close(q.location.grad, location.grad, rtol=1e-12, atol=1e-12)
    assert_close(q.log_sd.grad, log_sd.grad, rtol=1e-12, atol=1e-12)
    assert not q.location.grad[~q.alive].any() and not q.log_sd.grad[~q.alive].any()


@each_kind
def test_divergence_of_every_kind_is_that_of_its_moments(make):
    q = make()
    for mask in (some(0.0), some(), some(1.1)):
        q.remove(mask)
        each = kl_divergence(Normal(q.raw_mean(), q.raw_variance().sqrt()), prior_of(q))
        assert_close(q.kl(), each[q.alive].sum(), rtol=1e-12, atol=1e-12)
    assert q.kl() == 0


def test_divergence_follows_priors_and_masks_however_they_are_written():
    q = mean_field()
    values = [q.kl().item()]
    saved = copy.deepcopy(q.state_dict())
    q.prior_variance[:12] = 9.0
    values.append(q.kl().item())
    q.alive[3] = False
    values.append(q.kl().item())
    q.prior_variance.mul_(2)
    values.append(q.kl().item())
    assert len(set(values)) == 4 and not q.is_whole
    each = kl_divergence(Normal(q.location, q.log_sd.exp()), prior_of(q))[q.alive].sum()
    assert_close(q.kl(), each, rtol=1e-12, atol=0)
    q.load_state_dict(saved)
    assert q.kl().item() == values[0] and q.is_whole


def test_copies_have_a_divergence_of_their_own():
    q = mean_field()
    before = q.kl().item()
    other = copy.deepcopy(q)
    other.prior_variance[:12] = 7.0
    other.remove(some())
    each = kl_divergence(Normal(other.location, other.log_sd.exp()), prior_of(other))[other.alive].sum()
    assert_close(other.kl(), each, rtol=1e-12, atol=0)
    assert q.kl().item() == before and q.n_removed == 0


def test_divergence_survives_changes_of_type():
    q = mean_field(dtype=torch.float32)
    before = q.kl().item()
    assert_close(q.double().kl().item(), before, rtol=1e-5, atol=0)
    assert_close(q.float().kl().item(), before, rtol=1e-6, atol=0)


def test_single_precision_is_enough_for_many_weights():
    generator = torch.Generator().manual_seed(0)
    n = 300_000
    mean = torch.randn(n, generator=generator)
    q = MeanField({"w": mean}, 0.3, variance=torch.full((n,), 1e-4))
    with torch.no_grad():
        q.log_sd.add_(torch.randn(n, generator=generator))
    exact = kl_divergence(Normal(q.location.double(), q.log_sd.double().exp()), Normal(0.0, math.sqrt(0.3))).sum()
    assert q.kl().dtype == torch.float32
    assert abs(q.kl().item() / exact.item() - 1) < 1e-5


# --- draws -------------------------------------------------------------------------------------------------------------------
@each_kind
def test_draws_have_the_posteriors_moments_and_removed_weights_their_priors_mean(make):
    q = make()
    q.remove(some())
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([q.sample(generator) for _ in range(4000)])
    assert (draws[:, ~q.alive] == q.prior_mean[~q.alive]).all() and (q.prior_mean[~q.alive] == 1).any()
    sd = q.raw_variance().sqrt()[q.alive]
    assert ((draws.mean(dim=0) - q.raw_mean())[q.alive].abs() < 5 * sd / math.sqrt(4000)).all()
    assert ((draws.std(dim=0)[q.alive] / sd - 1).abs() < 5 / math.sqrt(2 * 4000)).all()
    again = torch.stack([q.sample(torch.Generator().manual_seed(0))])
    assert torch.equal(again[0], draws[0]) and not draws.requires_grad


def test_variance_of_the_natural_posterior_is_that_of_examples_and_prior():
    """Precision: so many times the Hessian of the mean loss, plus the prior's."""
    q = natural()
    assert_close(1 / q.raw_variance(), 50 * q.hessian + 1 / q.prior_variance, rtol=1e-12, atol=0)
    first = NaturalGaussian(weights(), n_examples=7, hessian=3.0)
    assert_close(first.variance, torch.full((N,), 1 / 22, dtype=torch.float64), rtol=1e-12, atol=0)


# --- removal -----------------------------------------------------------------------------------------------------------------
@each_kind
def test_removed_weights_are_at_their_priors_mean_without_variance(make):
    q, mask = make(), some()
    raw = q.raw_mean().detach().clone(), q.raw_variance().detach().clone()
    assert q.remove(mask) == mask.sum() == q.n_removed
    assert q.remove(mask) == 0 and not q.is_whole
    assert q.remove(torch.ones_like(mask)) == N - mask.sum()
    q.alive.copy_(~mask)
    assert torch.equal(q.mean[mask], q.prior_mean[mask]) and not q.variance[mask].any()
    assert torch.equal(q.mean[~mask], raw[0][~mask]) and torch.equal(q.variance[~mask], raw[1][~mask])


@each_kind
def test_evidence_is_the_ratio_of_densities_at_the_priors_mean(make):
    """Savage and Dickey: what the posterior has there over what the prior has."""
    q = make()
    q.remove(some())
    at = q.prior_mean
    ratio = Normal(q.raw_mean(), q.raw_variance().sqrt()).log_prob(at) - prior_of(q).log_prob(at)
    found = q.removal_evidence()
    assert found.dtype == torch.float64 and not found.requires_grad
    assert_close(found[q.alive], ratio[q.alive].detach(), rtol=1e-10, atol=1e-10)
    assert (found[~q.alive] == -math.inf).all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_evidence_of_a_diverged_posterior_names_the_weight(value):
    q = mean_field()
    q.location.data[5] = value
    with pytest.raises(ValueError, match=f"evidence must be finite; weight 5 has mean {value}"):
        q.removal_evidence()
    mask = torch.zeros(N, dtype=torch.bool)
    mask[5] = True
    q.remove(mask)  # what is gone may be anything
    assert q.removal_evidence()[5] == -math.inf


@pytest.mark.parametrize("mask", [torch.zeros(3, dtype=torch.bool), torch.zeros(N), torch.zeros(N, 1, dtype=torch.bool)])
def test_wrong_masks_are_refused(mask):
    with pytest.raises(ValueError, match=r"mask must (be a tensor of truth values|have shape \(29,\)); got"):
        mean_field().remove(mask)


@each_kind
def test_states_are_saved_with_what_is_removed(make):
    q, other = make(), make(seed=9)
    q.remove(some())
    assert other.is_whole
    other.load_state_dict(q.state_dict())
    for name in ("mean", "variance", "alive"):
        assert torch.equal(getattr(q, name), getattr(other, name))
    assert q.kl() == other.kl()


# --- what is refused ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_wrong_prior_variances_are_refused(value):
    for kind in (MeanField, WeightPosterior):
        with pytest.raises(ValueError, match="prior_variance must be a finite number > 0; got .* for 'a.weight'"):
            kind(weights(), value)
    with pytest.raises(ValueError, match="got .* for 'b.weight'"):
        NaturalGaussian(weights(), {"b.weight": value}, n_examples=3)


@pytest.mark.parametrize(
    "wrong", [torch.ones(N - 1), torch.zeros(N), torch.full((N,), math.nan), torch.full((N,), math.inf), -torch.ones(N)]
)
def test_wrong_variances_are_refused(wrong):
    with pytest.raises(ValueError, match="variance must hold 29 finite numbers > 0"):
        WeightPosterior(weights(), variance=wrong)


def test_wrong_variances_are_refused_where_they_are_parameters():
    with pytest.raises(ValueError, match="variance must hold 29 finite numbers > 0"):
        MeanField(weights(), variance=torch.zeros(N))


def test_prior_variances_of_unknown_parameters_are_refused():
    with pytest.raises(ValueError, match="wieght"):
        MeanField(weights(), {"a.wieght": 2.0})


@pytest.mark.parametrize(
    "wrong",
    [
        *(dict(n_examples=n) for n in (0, math.nan)),
        *(dict(n_examples=3, hessian=h) for h in (0.0, -1.0, math.nan, math.inf)),
    ],
    ids=str,
)
def test_wrong_numbers_of_examples_and_hessians_are_refused(wrong):
    with pytest.raises(
        ValueError, match="n_examples must be a whole number >= 1; got|hessian must be a finite number > 0; got"
    ):
        NaturalGaussian(weights(), **wrong)


# --- parameters of a network -------------------------------------------------------------------------------------------------
def small():
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 2))


def test_parameters_that_learn_are_found_in_the_networks_order():
    net = small()
    assert list(parameters_of(net)) == [name for name, _ in net.named_parameters()]
    net[1].weight.requires_grad_(False)
    net.register_parameter("count", nn.Parameter(torch.tensor(3), requires_grad=False))
    found = parameters_of(net)
    assert list(found) == ["0.weight", "0.bias", "1.bias", "3.weight", "3.bias"]
    assert found["3.bias"] is net[3].bias
    assert list(parameters_of(net, ["3.bias", "0.weight"])) == ["0.weight", "3.bias"]


def tied():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    return net


def overlapping():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = nn.Parameter(net[0].weight.data)
    return net


def part_of_another():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    net[1].bias = nn.Parameter(net[0].bias.data[1:])
    return net


def with_nan():
    net = small()
    net[3].bias.data[1] = math.nan
    return net


def frozen():
    return small().requires_grad_(False)


def mixed_types():
    net = small()
    net[3].double()
    return net


@pytest.mark.parametrize(
    "make, names, match",
    [
        (overlapping, None, r"one tensor if they are tied; '1\.weight' shares memory with '0\.weight' but is another tensor"),
        (overlapping, ["0.weight"], r"'1\.weight' shares memory with '0\.weight'"),
        (part_of_another, ["1.bias"], r"'1\.bias' shares memory with '0\.bias'"),
        (lambda: nn.Sequential(nn.ReLU()), None, "net must have parameters that learn; it has none"),
        (frozen, None, "net must have parameters that learn; it has none"),
        (small, [], "net must have parameters that learn; it has none"),
        (small, ["0.weight", "2.weight"], r"names must be parameters that learn, of \['0\.weight'.*got '2\.weight'"),
        (mixed_types, None, r"one type and lie on one device; got .*float32.*float64|one type.*float64.*float32"),
        (with_nan, None, r"parameters must be finite; '3\.bias' holds nan"),
    ],
)
def test_networks_that_can_have_no_posterior_are_refused(make, names, match):
    with pytest.raises(ValueError, match=match):
        parameters_of(make(), names)


def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match="net must be a torch.nn.Module; got \\["):
        parameters_of([nn.Linear(2, 2)])


def test_normalisation_of_every_kind_is_taken():
    """Running statistics are no parameters."""
    net = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, track_running_stats=False), nn.InstanceNorm2d(2), nn.GroupNorm(1, 2)
    )
    assert len(parameters_of(net)) == 6
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.InstanceNorm2d(2, track_running_stats=True))
    assert list(parameters_of(net)) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_tied_parameters_are_one_by_any_of_their_names():
    assert list(parameters_of(tied())) == ["0.weight", "0.bias", "1.bias"]
    assert list(parameters_of(tied(), ["1.weight", "1.bias"])) == ["0.weight", "1.bias"]
    flat = torch.randn(6)  # neighbours in one memory
    net = nn.Linear(2, 2)
    net.weight, net.bias = nn.Parameter(flat[:4].view(2, 2)), nn.Parameter(flat[4:])
    assert len(parameters_of(net)) == 2


@each_kind
def test_numbers_stay_in_single_precision_when_the_rest_is_cast(make):
    q = make().float()
    mean = q.mean.clone()
    q.to(torch.bfloat16)
    assert q.mean.dtype == q.variance.dtype == q.prior_variance.dtype == torch.float32 and torch.equal(q.mean, mean)
    half = type(q)({n: p.half() for n, p in weights().items()}, **({"n_examples": 5} if make is natural else {}))
    assert half.mean.dtype == torch.float32 and half.kl().dtype == torch.float32


@each_kind
def test_standard_deviations_are_roots_of_variances(make):
    q, mask = make(), some()
    assert_close(q.sd, q.variance.sqrt())
    q.remove(mask)
    assert_close(q.sd**2, q.variance)
    assert not q.sd[mask].any() and q.sd[~mask].all()


def test_states_of_natural_posteriors_have_nothing_that_is_there_for_gradients_alone():
    q, other = natural(), natural(seed=5)
    assert set(q.state_dict()) == {"prior_mean", "prior_variance", "alive", "location", "hessian"}
    state = q.state_dict()
    other.load_state_dict(state)
    assert torch.equal(other.location, q.location) and "curvature" not in state and not other.curvature.any()
