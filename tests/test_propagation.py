"""Means and variances through networks against exact formulas, quadrature and networks with sampled weights."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from conftest import DATA
from numpy.testing import assert_allclose
from scipy.stats import norm

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from activebmr.pruning.networks.for_weights import GRU, gru_network, regression_mlp  # noqa: E402
from activebmr.pruning.weights.propagation import (  # noqa: E402
    INPUT_VARIANCE,
    linear_moments,
    propagate,
    relu_moments,
    sigmoid_moments,
    tanh_moments,
)

VECTORS = json.loads((DATA / "gaussian_bmr_vectors.json").read_text())["vbp_moments"]
DRAWS = 40_000


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def double(x):
    return torch.as_tensor(x, dtype=torch.float64)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def posterior(net, seed=0, scale=0.6, sd=0.5):
    """Random means, and standard deviations up to ``sd``."""
    generator = seeded(seed)
    shapes = [(name, p.shape) for name, p in net.named_parameters()]
    draw = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes}
    return {
        name: (scale * draw[name], (sd * torch.rand(s, generator=generator, dtype=torch.float64)) ** 2) for name, s in shapes
    }


def sampled(net, weights, x, input_variance, n=DRAWS):
    """Outputs ``(n, len(x), n_out)``, each time with other weights and inputs."""
    generator = seeded(1)

    def draw(mean, variance):
        return mean + variance.sqrt() * torch.randn(n, *mean.shape, generator=generator, dtype=torch.float64)

    weights = {name: draw(*moments) for name, moments in weights.items()}
    inputs = draw(x, torch.full_like(x, input_variance))
    return torch.func.vmap(lambda w, x: torch.func.functional_call(net, w, (x,)))(weights, inputs)


def within_error(moments, draws, errors=5.0):
    """Whether mean and variance are those of draws, but for their sampling error."""
    n, mean = len(draws), draws.mean(dim=0)
    squares = (draws - mean) ** 2
    assert (moments[0] - mean).abs().le(errors * draws.std(dim=0) / math.sqrt(n) + 1e-12).all()
    assert (moments[1] - squares.mean(dim=0)).abs().le(errors * squares.std(dim=0) / math.sqrt(n) + 1e-12).all()


# --- layers ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", VECTORS, ids=lambda c: f"{c['mean']:.4g},{c['var']:.4g}")
def test_moments_of_activations_are_those_of_many_digits(case):
    x = double(case["mean"]), double(case["var"])
    mean, variance = relu_moments(x)
    assert_allclose([mean, variance], [case["relu_mean"], case["relu_var"]], rtol=1e-6)
    mean, variance = sigmoid_moments(x)
    assert_allclose([mean, variance], [case["sigmoid_mean_approx"], case["sigmoid_var_approx"]], rtol=1e-9)
    assert abs(mean.item() - case["sigmoid_mean_exact"]) < 0.01
    assert abs(mean.item() - case["sigmoid_mean_repo_bug"]) > 5e-5  # of the authors' code
    assert abs(math.sqrt(variance) - math.sqrt(case["sigmoid_var_exact"])) < 0.01
    mean, variance = tanh_moments(x)
    assert abs(mean.item() - case["tanh_mean_exact"]) < 0.01
    assert abs(math.sqrt(variance) - math.sqrt(case["tanh_var_exact"])) < 0.05


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)], ids=str)
def test_moments_of_a_linear_layer_are_those_of_sums_of_products(lead):
    x, weight = (normal(*lead, 4), normal(*lead, 4, seed=1) ** 2), (normal(2, 4, seed=2), normal(2, 4, seed=3) ** 2)
    bias = normal(2, seed=4), normal(2, seed=5) ** 2
    product = (
        x[0][..., None, :] * weight[0],
        x[1][..., None, :] * (weight[0] ** 2 + weight[1]) + x[0][..., None, :] ** 2 * weight[1],
    )
    for b in (bias, None):
        mean, variance = linear_moments(x, weight, b)
        assert mean.shape == variance.shape == (*lead, 2)
        assert_allclose(mean, product[0].sum(dim=-1) + (0 if b is None else b[0]), rtol=1e-12, atol=1e-13)
        assert_allclose(variance, product[1].sum(dim=-1) + (0 if b is None else b[1]), rtol=1e-12)


def test_moments_of_a_linear_layer_are_those_of_samples():
    layer = nn.Linear(3, 4)
    weights, x = posterior(layer, scale=1.0), normal(2, 3, seed=2)
    for input_variance in (0.0, 1e-3, 0.7):
        within_error(propagate(layer, weights, x, input_variance), sampled(layer, weights, x, input_variance))


def test_moments_of_relu_are_exact():
    mean, variance = (x.ravel() for x in np.meshgrid(np.linspace(-8, 8, 33), np.geomspace(1e-4, 30, 25), indexing="ij"))
    sd, u = np.sqrt(variance), np.linspace(0, 1, 4001)
    # over the part above 0, as far as there is mass
    low, high = np.clip(-mean / sd, -13, None), np.clip(-mean / sd, -13, None) + 26
    z = low[:, None] + (high - low)[:, None] * u
    weight = norm.pdf(z) * np.array([1, *np.tile([4, 2], 1999), 4, 1]) * ((high - low) / 12000)[:, None]  # Simpson's rule
    value = mean[:, None] + sd[:, None] * z
    first, second = (value * weight).sum(axis=1), (value**2 * weight).sum(axis=1)
    ours = relu_moments((double(mean), double(variance)))
    assert_allclose(ours[0], first, rtol=1e-6, atol=1e-9)
    assert_allclose(ours[1], second - first**2, rtol=1e-6, atol=1e-9)


def test_moments_of_relu_far_from_zero():
    x = double([-300.0, -40.0, 40.0, 300.0]), double([1.0, 1.0, 1.0, 1.0])
    mean, variance = relu_moments(x)
    assert_allclose(mean, [0, 0, 40, 300], atol=1e-12)
    assert_allclose(variance, [0, 0, 1, 1], atol=1e-9)
    assert_allclose(torch.stack(relu_moments((1000 * x[0], 1e6 * x[1])))[:, 2:], [[40_000, 300_000], [1e6, 1e6]], rtol=1e-6)
    mean, variance = relu_moments((double([-5.0, -6.0, -7.0]), torch.ones(3)))
    assert_allclose(mean, [norm.pdf(a) - a * norm.sf(a) for a in (5, 6, 7)], rtol=1e-6)


def test_moments_of_relu_far_above_zero_in_single_precision():
    mean, variance = torch.tensor([100.0, 1000.0, 5000.0]), torch.full((3,), 0.01)
    assert_allclose(relu_moments((mean, variance))[1], variance, rtol=1e-3)


def test_moments_of_sigmoid_and_tanh_are_close():
    """Largest errors of the probit approximation over this range, in means and standard deviations."""
    mean, variance = (x.ravel() for x in np.meshgrid(np.linspace(-8, 8, 33), np.geomspace(1e-4, 30, 15), indexing="ij"))
    u = np.linspace(-12, 12, 1601)
    weight, value = norm.pdf(u) * (u[1] - u[0]), mean[:, None] + np.sqrt(variance)[:, None] * u
    for exact, ours, bound in (
        (1 / (1 + np.exp(-value)), sigmoid_moments, (0.016, 0.06)),
        (np.tanh(value), tanh_moments, (0.035, 0.12)),
    ):
        first = (exact * weight).sum(axis=1)
        second = ((exact - first[:, None]) ** 2 * weight).sum(axis=1)
        found = ours((double(mean), double(variance)))
        assert np.abs(found[0].numpy() - first).max() < bound[0]
        assert np.abs(np.sqrt(found[1].numpy()) - np.sqrt(second)).max() < bound[1]


def test_activations_have_the_symmetries_of_their_functions():
    x = normal(50) * 3, normal(50, seed=1) ** 2
    mirrored = -x[0], x[1]
    (m, v), (n, w) = sigmoid_moments(x), sigmoid_moments(mirrored)
    assert_allclose(n, 1 - m, rtol=1e-12)
    assert_allclose(w, v, rtol=1e-12)
    (m, v), (n, w) = tanh_moments(x), tanh_moments(mirrored)
    assert_allclose(n, -m, rtol=1e-10, atol=1e-15)
    assert_allclose(w, v, rtol=1e-10)
    (m, v), (n, w) = relu_moments(x), relu_moments(mirrored)
    assert_allclose(m - n, x[0], rtol=1e-9, atol=1e-12)  # relu(x) - relu(-x) = x
    assert_allclose(v + w + 2 * m * n, x[1], rtol=1e-6)  # whose parts never are both above 0
    for of in (relu_moments, sigmoid_moments, tanh_moments):
        assert (of(x)[1] >= 0).all()


def test_without_variance_activations_are_their_functions():
    mean = torch.linspace(-5, 5, 41, dtype=torch.float64)
    for ours, of in ((relu_moments, torch.relu), (sigmoid_moments, torch.sigmoid), (tanh_moments, torch.tanh)):
        found = ours((mean, torch.zeros(41)))
        assert_allclose(found[0], of(mean), atol=1e-6)
        assert_allclose(found[1], 0.0, atol=1e-12)


# --- networks --------------------------------------------------------------------------------------------------------------
def nested(activation):
    return nn.Sequential(
        nn.Sequential(nn.Flatten(), nn.Linear(3, 8), activation(), nn.Dropout(0.0)),
        nn.Identity(),
        nn.Sequential(nn.Linear(8, 6), nn.Sequential(activation())),
        nn.Linear(6, 2),
    )


def test_one_hidden_layer_of_relu_is_exact_for_known_inputs():
    """Weights into each unit are independent Gaussians, so its input is one, and units do not depend on each other."""
    net = regression_mlp(3, 2, hidden=4)
    for seed in range(3):
        weights, x = posterior(net, seed, scale=1.0), normal(3, 3, seed=seed + 10)
        within_error(propagate(net, weights, x, 0.0), sampled(net, weights, x, 0.0))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
def test_deeper_networks_are_close_to_samples(activation):
    """Units of the second hidden layer share their inputs and are taken as independent, and as Gaussian."""
    net = nested(activation)
    for seed in range(2):
        weights, x = posterior(net, seed), normal(4, 3, seed=seed + 20)
        mean, variance = propagate(net, weights, x)
        draws = sampled(net, weights, x, INPUT_VARIANCE)
        sd = draws.std(dim=0)
        assert mean.shape == variance.shape == (4, 2)
        assert ((mean - draws.mean(dim=0)).abs() / sd).max() < 0.1
        assert_allclose(variance.sqrt() / sd, 1.0, atol=0.2)


def test_a_recurrent_network_is_close_to_samples():
    """Steps share their weights and are taken as independent: variances come out too small."""
    for seed, n_in in ((0, 1), (1, 2)):
        net = gru_network(n_in, 6, 1)
        weights, x = posterior(net, seed, sd=0.3), normal(3, 5, n_in, seed=seed + 30)
        mean, variance = propagate(net, weights, x)
        draws = sampled(net, weights, x, INPUT_VARIANCE, 15_000)
        sd = draws.std(dim=0)
        assert mean.shape == variance.shape == (3, 1)
        assert ((mean - draws.mean(dim=0)).abs() / sd).max() < 0.12
        assert_allclose(variance.sqrt() / sd, 1.0, atol=0.35)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_wide_networks_and_long_series_are_close_to_samples(seed):
    deep = nn.Sequential(nn.Linear(3, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 2))
    for net, x, scale, bounds in (
        (deep, normal(4, 3, seed=seed), 0.25, (0.08, 0.08)),
        (gru_network(1, 6, 1), normal(4, 8, 1, seed=seed), 0.6, (0.25, 0.5)),
    ):
        weights = posterior(net, seed, scale=scale, sd=0.3)
        mean, variance = propagate(net, weights, x)
        draws = sampled(net, weights, x, INPUT_VARIANCE)
        sd = draws.std(dim=0)
        assert ((mean - draws.mean(dim=0)).abs() / sd).max() < bounds[0]
        assert_allclose(variance.sqrt() / sd, 1.0, atol=bounds[1])


def test_products_of_a_gru_are_those_of_independent_factors():
    """Two steps, where a state with variance meets gates with variances; products by samples of independent Gaussians."""
    n, gru = 200_000, GRU(2, 3)
    weights, x = posterior(gru, 3, scale=1.0, sd=1.0), normal(2, 3, 2, seed=8)
    (w, w_var), (u, u_var), (b, b_var) = (weights[k] for k in ("weight_ih", "weight_hh", "bias"))
    generator = seeded(4)

    def draw(moments):
        return moments[0] + moments[1].sqrt() * torch.randn(n, *moments[0].shape, generator=generator, dtype=torch.float64)

    def of(draws):
        return draws.mean(dim=0), draws.var(dim=0)

    h = torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64)
    for step in range(3):
        into = linear_moments((x[:, step], torch.full((2, 2), 0.05)), (w, w_var), (b, b_var))
        from_h = linear_moments(h, (u[:6], u_var[:6]), None)
        r, z = (
            sigmoid_moments((into[0][:, rows] + from_h[0][:, rows], into[1][:, rows] + from_h[1][:, rows]))
            for rows in (slice(0, 3), slice(3, 6))
        )
        inner = linear_moments(of(draw(r) * draw(h)), (u[6:], u_var[6:]), None)
        g = tanh_moments((into[0][:, 6:] + inner[0], into[1][:, 6:] + inner[1]))
        keep = draw(z)
        h = of(keep * draw(h) + (1 - keep) * draw(g))
    mean, variance = propagate(gru, weights, x, 0.05)
    assert_allclose(mean, h[0], atol=0.01)
    assert_allclose(variance, h[1], rtol=0.02)


NETWORKS = [
    (regression_mlp(3, 2, hidden=5), (4, 3)),
    (nested(nn.ReLU), (4, 3)),
    (nested(nn.Tanh), (4, 3)),
    (nested(nn.Sigmoid), (4, 1, 3)),
    (gru_network(2, 4, 2), (4, 3, 2)),
    (nn.Sequential(nn.Linear(3, 2, bias=False)), (4, 3)),
]


@pytest.mark.parametrize("net, shape", NETWORKS, ids=["relu", "nested relu", "tanh", "sigmoid", "gru", "no bias"])
def test_without_variance_it_is_the_network_itself(net, shape):
    weights, x = posterior(net), normal(*shape, seed=1)
    known = {name: (mean, torch.zeros_like(mean)) for name, (mean, _) in weights.items()}
    mean, variance = propagate(net, known, x, 0.0)
    exact = torch.func.functional_call(net, {name: m for name, (m, _) in weights.items()}, (x,))
    assert_allclose(mean, exact, atol=2e-5)
    assert_allclose(variance, 0.0, atol=1e-10)


def test_inputs_have_the_authors_variance_unless_told():
    net = regression_mlp(3, 2, hidden=5)
    weights, x = posterior(net), normal(4, 3)
    assert INPUT_VARIANCE == 1e-3
    for ours, theirs in zip(propagate(net, weights, x), propagate(net, weights, x, 1e-3), strict=True):
        assert torch.equal(ours, theirs)
    assert (propagate(net, weights, x, 0.1)[1] > propagate(net, weights, x)[1]).all()
    # the net itself and its training mode have no part in it
    with torch.no_grad():
        net.fc1.weight.zero_()
    assert torch.equal(propagate(net.train(), weights, x)[0], propagate(net.eval(), weights, x)[0])


def test_examples_do_not_depend_on_each_other():
    for net, shape in NETWORKS[:5]:
        weights, x = posterior(net), normal(*shape, seed=1)
        whole, part = propagate(net, weights, x), propagate(net, weights, x[2:])
        for a, b in zip(whole, part, strict=True):
            assert_allclose(a[2:], b, rtol=1e-10, atol=1e-14)


# --- slopes ----------------------------------------------------------------------------------------------------------------
def leaves_of(weights, dtype=torch.float64):
    return [x.to(dtype).clone().requires_grad_() for pair in weights.values() for x in pair]


def with_leaves(net, names, x, input_variance=INPUT_VARIANCE):
    def run(*leaves):
        weights = {name: pair for name, pair in zip(names, zip(leaves[::2], leaves[1::2], strict=True), strict=True)}
        return propagate(net, weights, x, input_variance)

    return run


@pytest.mark.parametrize("of", [relu_moments, sigmoid_moments, tanh_moments])
def test_slopes_of_activations(of):
    x = (normal(6) * 2).requires_grad_(), (normal(6, seed=1) ** 2 + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda m, v: of((m, v)), x)


@pytest.mark.parametrize("net, shape", NETWORKS, ids=["relu", "nested relu", "tanh", "sigmoid", "gru", "no bias"])
def test_slopes_of_networks(net, shape):
    weights, x = posterior(net, 5), normal(2, *shape[1:], seed=2)
    weights = {name: (mean, variance + 0.01) for name, (mean, variance) in weights.items()}
    assert torch.autograd.gradcheck(with_leaves(net, list(weights), x), leaves_of(weights), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("net, shape", NETWORKS, ids=["relu", "nested relu", "tanh", "sigmoid", "gru", "no bias"])
def test_slopes_are_finite_where_weights_are_removed(net, shape, dtype):
    """One unit of every layer without any weight, then all weights; also for inputs without variance."""
    x = normal(*shape, seed=1).to(dtype)
    for gone in (lambda m: m[:1], lambda m: m):
        weights = posterior(net)
        for mean, variance in weights.values():
            gone(mean).zero_()
            gone(variance).zero_()
        for input_variance in (INPUT_VARIANCE, 0.0):
            leaves = leaves_of(weights, dtype)
            mean, variance = with_leaves(net, list(weights), x, input_variance)(*leaves)
            assert torch.isfinite(mean).all() and torch.isfinite(variance).all() and (variance >= 0).all()
            assert mean.dtype == variance.dtype == dtype
            slopes = torch.autograd.grad((mean**2 + variance).sum() + (variance + 1e-3).log().sum(), leaves)
            assert all(torch.isfinite(s).all() for s in slopes)


# --- errors ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "net, message",
    [
        (nn.Sequential(nn.Identity(), nn.Sequential(nn.SiLU())), "'1.0' is a SiLU"),
        (nn.Sequential(nn.BatchNorm1d(3)), "'0' is a BatchNorm1d"),
        (nn.Sequential(nn.ReLU6()), "'0' is a ReLU6"),
        (nn.Sequential(nn.Softmax(dim=1)), "'0' is a Softmax"),
        (nn.GRU(3, 3), "'net' is a GRU"),
        (nn.Conv1d(3, 3, 1), "'net' is a Conv1d"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_other_modules_are_refused_by_name(net, message):
    with pytest.raises(ValueError, match=f"variance back-propagation goes through Sequential, Linear, .*; {message}: use"):
        propagate(net, {}, torch.zeros(2, 3))


def test_a_module_without_moments_is_named():
    with pytest.raises(KeyError, match="0.weight"):
        propagate(nn.Sequential(nn.Linear(3, 2)), {}, torch.zeros(2, 3))


def test_a_bias_without_moments_is_named():
    weights = posterior(nn.Linear(3, 2))
    with pytest.raises(KeyError, match="bias"):
        propagate(nn.Linear(3, 2), {"weight": weights["weight"]}, normal(2, 3))


def test_a_negative_variance_of_inputs_is_refused():
    net = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="input_variance"):
        propagate(net, posterior(net), normal(2, 3), -1e-3)


def test_an_activation_used_twice_acts_twice():
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(1, 1), relu, nn.Linear(1, 1), relu)
    known = {"0.weight": -1.0, "0.bias": 2.0, "2.weight": -1.0, "2.bias": -1.0}  # relu(-1 relu(2 - x) - 1)
    means = {name: torch.full_like(p, known[name]) for name, p in net.state_dict().items()}
    weights = {name: (mean, torch.zeros_like(mean)) for name, mean in means.items()}
    assert_allclose(propagate(net, weights, torch.ones(1, 1), 0.0)[0], 0.0, atol=1e-5)


# --- modules that may compute anything ---------------------------------------------------------------------------------------
class Scaled(nn.Linear):
    def forward(self, x):
        return nn.functional.linear(x, 0.1 * self.weight, self.bias)


class Skip(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class Twice(nn.ReLU):
    def forward(self, x):
        return 2 * super().forward(x)


class Named(nn.Linear):
    """With a name of its own, and nothing else."""


def patched():
    layer = nn.Linear(3, 3)
    layer.forward = lambda x: 2 * nn.functional.linear(x, layer.weight)
    return layer


def hooked(register):
    layer = nn.Linear(3, 3)
    getattr(layer, register)(lambda *args: None)
    return layer


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: Scaled(3, 3), "is a Scaled with a forward of its own"),
        (lambda: Skip(nn.Linear(3, 3)), "is a Skip with a forward of its own"),
        (Twice, "is a Twice with a forward of its own"),
        (patched, "is a Linear with a forward of its own"),
        (lambda: hooked("register_forward_hook"), "is a Linear with hooks"),
        (lambda: hooked("register_forward_pre_hook"), "is a Linear with hooks"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), "is a Linear with parametrised weights"),
        (lambda: nn.utils.parametrizations.spectral_norm(Named(3, 3)), "is a Linear with parametrised weights"),
        (lambda: nn.BatchNorm1d(3), "is a BatchNorm1d"),
    ],
)
def test_modules_that_compute_something_else_are_refused_by_name(make, said):
    net = nn.Sequential()
    net.add_module("fine", nn.Linear(3, 3))
    net.add_module("odd", make())
    weights = {name: (p, torch.zeros_like(p)) for name, p in net.named_parameters()}
    with pytest.raises(ValueError, match=f"'odd' {said}: use inference 'bbb-local', 'bbb-global' or 'ivon'"):
        propagate(net, weights, torch.ones(2, 3))


def test_subclasses_that_compute_the_same_are_gone_through():
    net, plain = nn.Sequential(Named(3, 2), nn.ReLU()), nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    weights = {name: (p.detach(), 0.1 * p.detach() ** 2) for name, p in net.named_parameters()}
    x = torch.tensor([[0.3, -1.0, 2.0]])
    for a, b in zip(propagate(net, weights, x), propagate(plain, weights, x), strict=True):
        assert torch.equal(a, b)


def test_weights_that_are_used_twice_are_refused_by_name():
    layer = nn.Linear(3, 3)
    for net in (nn.Sequential(layer, nn.ReLU(), layer), nn.Sequential(layer, nn.Linear(3, 3))):
        net[-1].weight = layer.weight
        weights = {name: (p, torch.zeros_like(p)) for name, p in net.named_parameters()}
        with pytest.raises(ValueError, match=r"each is used once; '[12]\.weight' is '0\.weight' again"):
            propagate(net, weights, torch.ones(2, 3))
