"""Networks with horseshoe scales: what they give out, and their divergence against integrals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.distributions import Normal, kl_divergence  # noqa: E402
from torch.testing import assert_close  # noqa: E402

from activebmr.pruning.networks.for_weights import small_vit  # noqa: E402
from activebmr.pruning.weights.horseshoe import HorseshoeModule  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def two_layers(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2))


def made(net=None, spread=0.5, **kwargs):
    """With scales of rows that differ."""
    bayes = HorseshoeModule(two_layers() if net is None else net, **kwargs)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in bayes.scale_location.values():
            p.add_(spread * torch.randn(p.shape, generator=generator))
    return bayes


def gammas(location, tau0):
    """Scales of rows, as the paper has them."""
    *local, glob, log_inverse = np.exp(location.detach().double().numpy())
    tau2 = (tau0 * glob * np.array(local)) ** 2
    c2 = 1 / log_inverse
    return np.sqrt(c2 * tau2 / (c2 + tau2))


# --- outputs -----------------------------------------------------------------------------------------------------------------
def test_rows_of_matrices_have_scales_together_with_their_biases():
    bayes, tau0 = made(tau0=0.1), 0.1
    with torch.no_grad():
        bayes.posterior.location.fill_(1.0)
    assert bayes.rows == {"0": 4, "3": 2}
    assert [tuple(p.shape) for p in bayes.scale_location.values()] == [(6,), (4,)]
    first, last = (torch.from_numpy(gammas(bayes.scale_location[k], tau0)).float() for k in ("0", "3"))
    x = normal(5, 3)
    hidden = torch.tanh(1 + nn.functional.layer_norm((x.sum(dim=1, keepdim=True) + 1) * first, (4,)))
    assert_close(bayes.eval()(x), (hidden.sum(dim=1, keepdim=True) + 1) * last, rtol=1e-4, atol=1e-5)


def test_it_begins_about_where_the_network_is():
    net, x = two_layers(), normal(200, 3)
    want = net(x).detach()
    for tau0 in (0.01, 0.3):
        bayes = HorseshoeModule(two_layers(), tau0=tau0)
        for p in bayes.scale_location.values():
            assert_allclose(gammas(p, tau0), math.sqrt(3 / 4), rtol=1e-5)  # of 1 under a slab with c^2 = 3
        got = bayes.eval()(x)
        assert np.corrcoef(got.detach().numpy().ravel(), want.numpy().ravel())[0, 1] > 0.98
        assert_close(bayes.posterior.variance, torch.full_like(bayes.posterior.variance, 0.01))


def test_outputs_in_training_have_the_moments_of_draws():
    """Scales are drawn once a batch, in `predict` once a draw."""
    bayes, x = made(nn.Linear(3, 2), sd=0.3), normal(1, 3)
    for p in bayes.scale_log_sd.values():
        p.data.fill_(-1.0)
    torch.manual_seed(0)
    with torch.no_grad():
        local = torch.stack([bayes.train()(x)[0] for _ in range(3000)])
    drawn = bayes.predict(x, samples=3000)[:, 0]
    for moment in (torch.mean, torch.std):
        error = drawn.std(dim=0) * math.sqrt(2 / 3000) * (1 if moment is torch.mean else 2)
        assert ((moment(local, dim=0) - moment(drawn, dim=0)).abs() < 5 * error).all()


def test_predictions_repeat_and_do_not_depend_on_batches():
    bayes, x = made(), normal(9, 3)
    one = bayes.predict(x, 4, seed=2)
    assert torch.equal(bayes.predict(x, 4, seed=2), one)
    assert_close(bayes.predict(x, 4, seed=2, batch=4), one, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(bayes.predict(x, 4, seed=3), one)
    assert torch.equal(bayes.eval()(x), bayes(x))


def test_means_that_are_written_give_the_outputs_of_evaluation():
    bayes, x = made(), normal(9, 3)
    want = bayes.eval()(x).detach()
    assert_close(bayes.write_means()(x), want, rtol=1e-5, atol=1e-6)


# --- divergence --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("slab", [(2.0, 6.0), (3.0, 1.0)], ids=str)
def test_divergence_is_on_average_that_of_weights_and_scales(slab):
    """That of scales by quadrature of log-normal against half-Cauchy and gamma densities."""
    bayes = made(nn.Linear(3, 2), spread=0.3, slab=slab)
    sd = math.exp(-1)
    for p in bayes.scale_log_sd.values():
        p.data.fill_(-1.0)
    u = np.linspace(-10, 10, 2001)
    weight = np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi) * (u[1] - u[0])
    exact = kl_divergence(Normal(bayes.posterior.location, bayes.posterior.log_sd.exp()), Normal(0.0, 1.0)).sum().item()
    *scales, last = bayes.scale_location["net"].detach().double().numpy()
    entropy = 0.5 * math.log(2 * math.pi * math.e * sd**2)
    for location in scales:
        at = location + sd * u
        exact -= entropy + (weight * (math.log(2 / math.pi) + at - np.log1p(np.exp(2 * at)))).sum()
    at, (shape, rate) = last + sd * u, slab
    exact -= entropy + (weight * (shape * math.log(rate) - math.lgamma(shape) + shape * at - rate * np.exp(at))).sum()
    torch.manual_seed(0)
    found = np.array([bayes.kl().item() for _ in range(3000)])
    assert abs(found.mean() - exact) < 5 * found.std() / math.sqrt(3000)


def test_divergence_has_the_scales_of_the_last_batch():
    bayes, x = made().train(), normal(4, 3)
    torch.manual_seed(0)
    bayes(x)
    one = bayes.kl().item()
    torch.manual_seed(0)
    bayes(x)
    torch.rand(9)
    assert bayes.kl().item() == one
    assert bayes.kl().item() != one  # used up: another draw


def test_everything_gets_a_gradient():
    bayes = made().train()
    loss = bayes(normal(20, 3)).square().mean() + bayes.kl() / 20
    loss.backward()
    for name, p in bayes.named_parameters():
        if not name.startswith("net."):
            assert p.grad is not None and torch.isfinite(p.grad).all() and p.grad.all(), name
    trained = {id(p) for p in bayes.parameters() if p.requires_grad}
    assert len(trained) == 2 + 4


def test_units_without_a_use_get_small_scales():
    """Targets need one of four hidden units; inputs are the same for all."""
    torch.manual_seed(0)
    bayes = HorseshoeModule(nn.Linear(3, 4).double(), tau0=0.05)
    x = normal(60, 3).double()
    y = torch.zeros(60, 4, dtype=torch.float64)
    y[:, 1] = x @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    optimizer = torch.optim.Adam([p for p in bayes.parameters() if p.requires_grad], lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        ((bayes.train()(x) - y).square().sum() * 5 + bayes.kl()).backward()
        optimizer.step()
    scale = gammas(bayes.scale_location["net"], 0.05)
    assert scale[1] > 10 * scale[[0, 2, 3]].max()
    assert ((bayes.eval()(x) - y).square().mean(dim=0) < 0.05).all()


def test_larger_networks_are_taken():
    torch.manual_seed(0)
    net = small_vit((1, 8, 8), 10, patch=4, width=8, depth=1, num_heads=2)
    bayes = HorseshoeModule(net)
    x = normal(3, 1, 8, 8)
    assert bayes.train()(x).shape == bayes.eval()(x).shape == (3, 10)
    assert torch.isfinite(bayes.kl()) and bayes.predict(x, 2).shape == (2, 3, 10)
    state = made().state_dict()
    other = HorseshoeModule(two_layers(5))
    other.load_state_dict(state)
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize(
    "wrong",
    [dict(tau0=0.0), dict(tau0=math.nan), dict(sd=-1.0), dict(slab=(0.0, 1.0)), dict(slab=(1.0, math.nan))],
    ids=str,
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"(tau0|sd|slab\[[01]\]) must be a finite number > 0; got"):
        HorseshoeModule(nn.Linear(2, 2), **wrong)


# --- types and modes ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("late", [True, False])
def test_half_precision_networks_have_scales_in_single_precision(late):
    bayes = made(two_layers()).to(torch.bfloat16) if late else made(two_layers().to(torch.bfloat16))
    learned = [p for name, p in bayes.named_parameters() if not name.startswith("net.")]
    assert {p.dtype for p in learned} == {torch.float32} and {p.dtype for p in bayes.net.parameters()} == {torch.bfloat16}
    before, x = [p.detach().clone() for p in learned], normal(8, 3).bfloat16()
    (bayes.train()(x).float().square().sum() + bayes.kl()).backward()
    torch.optim.Adam(learned, lr=1e-5).step()
    assert all((p != b).any() for p, b in zip(learned, before, strict=True))
    assert bayes.eval()(x).dtype == bayes.predict(x, 2).dtype == torch.bfloat16


def test_weights_that_are_used_twice_have_one_draw_and_one_scale():
    layer = nn.Linear(3, 3)
    bayes, x = made(nn.Sequential(layer, nn.Tanh(), layer), sd=0.3), normal(4, 3)
    for p in bayes.scale_log_sd.values():
        p.data.fill_(-1.0)
    torch.manual_seed(0)
    with torch.no_grad():
        passes = torch.stack([bayes.train()(x) for _ in range(3000)])
    drawn = bayes.predict(x, samples=3000)
    for moment in (torch.mean, torch.std):
        error = drawn.std(dim=0) * math.sqrt(2 / 3000) * (1 if moment is torch.mean else 2)
        assert ((moment(passes, dim=0) - moment(drawn, dim=0)).abs() < 5 * error).all()
    one, other = (torch.corrcoef(t.flatten(1).T) for t in (passes, drawn))
    assert (one - other).abs().max() < 0.15
