"""IVON: the steps of its paper, the posterior that is known of linear regression, and loops that people write."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, StepLR  # noqa: E402

from activebmr.pruning.weights.bayes import attach_posterior  # noqa: E402
from activebmr.pruning.weights.ivon import IVON  # noqa: E402

N, INPUTS, NOISE = 60, 4, 0.5


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def data():
    """Linear, with inputs that correlate."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(N, INPUTS)) + 0.6 * rng.normal(size=(N, 1))
    y = x @ np.array([1.5, -1.0, 0.0, 0.3]) + NOISE * rng.normal(size=N)
    return torch.from_numpy(x), torch.from_numpy(y)[:, None]


def linear(prior_variance=0.8, hessian=0.4, seed=0):
    torch.manual_seed(seed)
    net = nn.Linear(INPUTS, 1, bias=False).double()
    return attach_posterior(net, "ivon", n_examples=N, prior_variance=prior_variance, hessian=hessian).train()


def loss_of(bayes, x, y):
    return 0.5 * (bayes(x) - y).square().mean() / NOISE**2


def steps(bayes, optimizer, data, n, seed=0):
    torch.manual_seed(seed)
    for _ in range(n):
        optimizer.zero_grad()
        loss_of(bayes, *data).backward()
        optimizer.step()
    return bayes


def noise_to_come(n=INPUTS):
    """What the next draw will be made with."""
    state = torch.get_rng_state()
    eps = torch.randn(n, dtype=torch.float64).numpy()
    torch.set_rng_state(state)
    return eps


# --- the algorithm ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("clip", [math.inf, 0.3])
def test_steps_are_those_of_the_paper(data, clip):
    """Algorithm 1 of Shen et al. (2024), line by line, with the noise that was drawn and gradients by hand."""
    bayes, (lr, beta1, beta2) = linear(), (0.2, 0.8, 0.95)
    optimizer = bayes.optimizer(lr=lr, betas=(beta1, beta2), clip=clip)
    q, (x, y) = bayes.posterior, (t.numpy() for t in data)
    m, h, g = q.location.detach().numpy().copy(), np.full(INPUTS, 0.4), np.zeros(INPUTS)
    lam, delta = N, 1 / (N * 0.8)
    torch.manual_seed(0)
    for t in range(1, 6):
        eps = noise_to_come()
        loss_of(bayes, *data).backward()
        optimizer.step()
        sigma = 1 / np.sqrt(lam * (h + delta))
        theta = m + sigma * eps
        g_hat = x.T @ (x @ theta - y[:, 0]) / N / NOISE**2
        h_hat = g_hat * (theta - m) / sigma**2
        g = beta1 * g + (1 - beta1) * g_hat
        h = beta2 * h + (1 - beta2) * h_hat + 0.5 * (1 - beta2) ** 2 * (h - h_hat) ** 2 / (h + delta)
        g_bar = g / (1 - beta1**t)
        m = m - lr * np.clip((g_bar + delta * m) / (h + delta), -clip, clip)
        assert_allclose(q.location.detach(), m, rtol=1e-10)
        assert_allclose(q.hessian, h, rtol=1e-10)


def test_means_are_drawn_to_the_priors():
    """Without a loss they fall to their prior's mean, as fast as the learning rate and the share of the prior say."""
    bayes = attach_posterior(nn.LayerNorm(4).double(), "ivon", n_examples=10, prior_variance=0.1, hessian=1e-9)
    q = bayes.posterior
    with torch.no_grad():
        q.location.fill_(3.0)
    optimizer = bayes.train().optimizer(lr=0.1, betas=(0.0, 0.0))
    for step in range(1, 4):
        (0 * bayes(torch.ones(2, 4, dtype=torch.float64)).sum()).backward()
        q.hessian.zero_()
        optimizer.step()
        assert_allclose(q.location.detach() - q.prior_mean, (3 - q.prior_mean) * 0.9**step, rtol=1e-6)


@pytest.mark.parametrize("prior_variance", [1.0, 0.02])
def test_it_comes_to_the_posterior_of_a_linear_regression(data, prior_variance):
    """The best Gaussian of independent weights has the exact mean, and as variances 1 over the diagonal of the precision."""
    x, y = (t.numpy() for t in data)
    precision = x.T @ x / NOISE**2 + np.eye(INPUTS) / prior_variance
    mean = np.linalg.solve(precision, x.T @ y[:, 0] / NOISE**2)
    bayes = linear(prior_variance, hessian=1.0)
    optimizer = bayes.optimizer(lr=0.1, betas=(0.9, 0.995))
    schedule = CosineAnnealingLR(optimizer, 3000)
    torch.manual_seed(0)
    hessians = []
    for step in range(3000):
        optimizer.zero_grad()
        loss_of(bayes, *data).backward()
        optimizer.step()
        schedule.step()
        if step >= 1500:
            hessians.append(bayes.posterior.hessian.clone())
    q = bayes.posterior
    sd = np.sqrt(1 / np.diag(precision))
    assert (np.abs(q.location.detach().numpy() - mean) < 0.1 * sd).all()
    # its estimate goes on to waver: compare the mean over steps
    average = torch.stack(hessians).mean(dim=0).numpy()
    assert_allclose(average, np.diag(x.T @ x) / N / NOISE**2, rtol=0.1)
    assert_allclose(1 / (N * average + 1 / prior_variance), sd**2, rtol=0.1)
    assert_allclose(q.raw_variance(), sd**2, rtol=0.25)


def test_precision_stays_positive_whatever_gradients_come(data):
    bayes = linear()
    optimizer = bayes.optimizer(betas=(0.9, 0.5))
    torch.manual_seed(0)
    for scale in (1.0, -1e3, 1e6, -1e9, 1e-3, 1e3):
        (scale * loss_of(bayes, *data)).backward()
        optimizer.step()
        assert (bayes.posterior.precision() > 0).all() and torch.isfinite(bayes.posterior.raw_variance()).all()


def test_removed_weights_stay_where_they_are(data):
    bayes = linear()
    optimizer = bayes.optimizer()
    steps(bayes, optimizer, data, 5)
    mask = torch.tensor([True, False, False, True])
    bayes.posterior.remove(mask)  # the optimiser is not told
    before = bayes.posterior.location.detach().clone()
    steps(bayes, optimizer, data, 5)
    after = bayes.posterior.location.detach()
    assert torch.equal(after[mask], before[mask]) and (after[~mask] != before[~mask]).all()
    # what is left learns as if there had never been anything else
    few = attach_posterior(nn.Linear(2, 1, bias=False).double(), "ivon", n_examples=N, prior_variance=0.8)
    with torch.no_grad():
        few.posterior.location.copy_(before[~mask])
        few.posterior.hessian.copy_(bayes.posterior.hessian[~mask])
    x, y = data
    torch.manual_seed(0)
    outputs = bayes.with_weights(torch.where(mask, 0.0, before), x)
    assert torch.allclose(outputs, few.train(False)(x[:, ~mask]))


# --- gradients ---------------------------------------------------------------------------------------------------------------
def by_hand(bayes, data, parts):
    """Gradient and estimate of the Hessian of a sum of losses ``(weight, rows)``, each with a draw of its own, in numpy."""
    q, (x, y) = bayes.posterior, (t.numpy() for t in data)
    m, sigma = q.location.detach().numpy(), q.raw_variance().sqrt().numpy()
    state, g, h = torch.get_rng_state(), 0.0, 0.0
    for weight, rows in parts:
        eps = torch.randn(INPUTS, dtype=torch.float64).numpy()
        mine = weight * x[rows].T @ (x[rows] @ (m + sigma * eps) - y[rows, 0]) / len(x[rows]) / NOISE**2
        g, h = g + mine, h + mine * eps / sigma
    torch.set_rng_state(state)
    return g, h


def halves(bayes, optimizer, data):
    for rows in (slice(0, 20), slice(20, N)):
        (len(data[0][rows]) / N * loss_of(bayes, *(t[rows] for t in data))).backward()


def three_draws(bayes, optimizer, data):
    (sum(loss_of(bayes, *data) for _ in range(3)) / 3).backward()


def two_losses(bayes, optimizer, data):
    one, two = loss_of(bayes, *data), loss_of(bayes, *(t[:7] for t in data))
    (2 * two).backward()
    one.backward()


def backward_twice(bayes, optimizer, data):
    loss = loss_of(bayes, *data)
    loss.backward(retain_graph=True)
    loss.backward()


WAYS = {
    "halves": (halves, [(1 / 3, slice(0, 20)), (2 / 3, slice(20, N))]),
    "three draws": (three_draws, [(1 / 3, slice(None))] * 3),
    "two losses": (two_losses, [(1.0, slice(None)), (2.0, slice(0, 7))]),
    "twice": (backward_twice, [(2.0, slice(None))]),
}


@pytest.mark.parametrize("way", WAYS)
def test_several_draws_before_a_step_add_up_to_gradient_and_hessian(data, way):
    """Each draw has its own noise, which its gradient is multiplied by."""
    backward, parts = WAYS[way]
    bayes, beta2 = linear(), 0.9
    optimizer, q = bayes.optimizer(lr=0.1, betas=(0.0, beta2)), bayes.posterior
    torch.manual_seed(2)
    for _ in range(3):  # a step leaves nothing behind
        h, m, delta = q.hessian.clone(), q.location.detach().clone(), 1 / (N * 0.8)
        g_hat, h_hat = (torch.from_numpy(t) for t in by_hand(bayes, data, parts))
        backward(bayes, optimizer, data)
        assert_allclose(q.location.grad, g_hat, rtol=1e-10)
        optimizer.step()
        h = beta2 * h + (1 - beta2) * h_hat + 0.5 * (1 - beta2) ** 2 * (h - h_hat) ** 2 / (h + delta)
        assert_allclose(q.hessian, h, rtol=1e-9)
        assert_allclose(q.location.detach(), m - 0.1 * (g_hat + delta * m) / (h + delta), rtol=1e-9)


def test_accumulated_halves_come_to_the_same_posterior_as_whole_batches(data):
    """Means of many steps: of the weights, and of their variances."""
    found = []
    for way in (None, halves, three_draws):
        bayes = linear(hessian=1.0)
        optimizer = bayes.optimizer(lr=0.03, betas=(0.9, 0.999))
        torch.manual_seed(0)
        means, hessians = [], []
        for step in range(3000):
            optimizer.zero_grad()
            loss_of(bayes, *data).backward() if way is None else way(bayes, optimizer, data)
            optimizer.step()
            if step >= 1500:
                means.append(bayes.posterior.mean.clone())
                hessians.append(bayes.posterior.hessian.clone())
        found.append((torch.stack(means).mean(0), torch.stack(hessians).mean(0)))
    sd = (1 / (N * found[0][1] + 1 / 0.8)).sqrt()
    for mean, hessian in found[1:]:
        assert ((mean - found[0][0]).abs() < 0.15 * sd).all()
        assert_allclose(hessian, found[0][1], rtol=0.12)


def moved(data, use, beta2=0.5, **kwargs):
    """How far one step moves means and Hessian."""
    bayes = linear(**kwargs)
    optimizer, q = bayes.optimizer(lr=1.0, betas=(0.0, beta2)), bayes.posterior
    start = q.location.detach().clone()
    torch.manual_seed(0)
    use(bayes, optimizer)
    return q.location.detach() - start, q.hessian.clone()


def test_norms_of_gradients_are_those_of_the_draws_and_clipping_shortens_them(data):
    norms = []

    def clipped(most):
        def use(bayes, optimizer):
            loss_of(bayes, *data).backward()
            g = bayes.posterior.location.grad.norm()
            norms.append((float(torch.nn.utils.clip_grad_norm_(bayes.parameters(), most)), float(g)))
            optimizer.step()

        return use

    def scaled(bayes, optimizer):
        (1e-3 * loss_of(bayes, *data)).backward()
        optimizer.step()

    narrow = {"hessian": 1e6, "prior_variance": 1e6}
    free, short = (moved(data, clipped(most), 1 - 1e-9, **narrow) for most in (1e9, 1.0))
    assert norms[0] == norms[1] and norms[0][0] == pytest.approx(norms[0][1], rel=1e-4)
    assert_allclose(short[0], free[0] / norms[0][0], rtol=1e-3)
    # and what is clipped to a share is a step of that share of the loss, Hessian and all
    small = moved(data, clipped(1e-3 * norms[0][0]), **narrow)
    for a, b in zip(small, moved(data, scaled, **narrow), strict=True):
        assert_allclose(a, b, rtol=1e-4)


def test_values_of_gradients_are_clipped_too(data):
    def use(bayes, optimizer):
        loss_of(bayes, *data).backward()
        torch.nn.utils.clip_grad_value_(bayes.parameters(), 1e-4)
        assert bayes.posterior.location.grad.abs().max() <= 1e-4
        optimizer.step()

    assert 0 < moved(data, use, hessian=1e4, prior_variance=1e6)[0].abs().max() < 3e-8


@pytest.mark.parametrize("unscaled", [True, False])
def test_scaled_losses_move_it_as_unscaled_ones(data, unscaled):
    def scaled(bayes, optimizer):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        scaler.scale(loss_of(bayes, *data)).backward()
        if unscaled:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()

    def plain(bayes, optimizer):
        loss_of(bayes, *data).backward()
        optimizer.step()

    for a, b in zip(moved(data, scaled), moved(data, plain), strict=True):
        assert_allclose(a, b, rtol=1e-9)


def test_a_scaler_passes_over_steps_with_infinite_gradients(data):
    def use(bayes, optimizer):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        scaler.scale(math.inf * loss_of(bayes, *data)).backward()
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == 512
        optimizer.zero_grad()
        scaler.scale(loss_of(bayes, *data)).backward()
        scaler.step(optimizer)

    change, hessian = moved(data, use)
    assert torch.isfinite(change).all() and change.any() and torch.isfinite(hessian).all()


@pytest.mark.parametrize("zero", ["optimizer", "module", "zeros"])
def test_dropped_gradients_are_dropped_for_good(data, zero):
    def use(dropped):
        def run(bayes, optimizer):
            if dropped:
                state = torch.get_rng_state()
                (50 * loss_of(bayes, *data)).backward()
                optimizer.zero_grad(zero != "zeros") if zero != "module" else bayes.zero_grad()
                torch.set_rng_state(state)
            loss_of(bayes, *data).backward()
            optimizer.step()

        return run

    for a, b in zip(moved(data, use(True)), moved(data, use(False)), strict=True):
        assert torch.equal(a, b)


def test_gradients_of_gradients_reach_it(data):
    """A penalty on the slope of outputs with respect to inputs."""
    bayes, x = linear(), data[0][:5].clone().requires_grad_()
    slope = torch.autograd.grad(bayes(x).square().sum(), x, create_graph=True)[0]
    eps_free = bayes.posterior.location.grad
    slope.square().sum().backward()
    assert eps_free is None and bayes.posterior.location.grad.all() and bayes.posterior.curvature.grad.all()


def test_weights_that_are_removed_between_a_draw_and_a_step_stay(data):
    bayes = linear()
    optimizer = bayes.optimizer()
    loss_of(bayes, *data).backward()
    mask = torch.tensor([True, False, False, True])
    bayes.remove(mask, optimizer)
    before = bayes.posterior.location.detach().clone()
    optimizer.step()
    assert torch.equal(bayes.posterior.location[mask], before[mask]) and (bayes.posterior.location != before)[~mask].all()


# --- loops -----------------------------------------------------------------------------------------------------------------
def loop_before(bayes, optimizer, data):
    optimizer.zero_grad()
    loss_of(bayes, *data).backward()
    optimizer.step()


def loop_after_forward(bayes, optimizer, data):
    loss = loss_of(bayes, *data)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def loop_after_step(bayes, optimizer, data):
    loss_of(bayes, *data).backward()
    optimizer.step()
    optimizer.zero_grad()


def loop_never(bayes, optimizer, data):
    loss_of(bayes, *data).backward()
    optimizer.step()


def loop_closure(bayes, optimizer, data):
    def closure():
        optimizer.zero_grad()
        loss = loss_of(bayes, *data)
        loss.backward()
        return loss

    assert optimizer.step(closure).item() > 0


@pytest.mark.parametrize("loop", [loop_after_forward, loop_after_step, loop_never, loop_closure])
def test_every_order_of_a_loop_gives_the_same_bits(data, loop):
    found = []
    for run in (loop_before, loop):
        bayes = linear()
        optimizer = bayes.optimizer()
        torch.manual_seed(0)
        for _ in range(4):
            run(bayes, optimizer, data)
        found.append((bayes.posterior.location.detach(), bayes.posterior.hessian))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def forward_alone(bayes, optimizer, data):
    loss_of(bayes, *data)


def in_evaluation(bayes, optimizer, data):
    bayes.eval()
    loss_of(bayes, *data)


def dropped(bayes, optimizer, data):
    loss_of(bayes, *data).backward()
    optimizer.zero_grad()


def used_up(bayes, optimizer, data):
    loop_before(bayes, optimizer, data)


@pytest.mark.parametrize("before", [lambda *_: None, forward_alone, in_evaluation, dropped, used_up])
def test_steps_without_a_gradient_are_refused(data, before):
    bayes = linear()
    optimizer = bayes.optimizer()
    before(bayes, optimizer, data)
    state = copy.deepcopy(bayes.posterior.state_dict())
    with pytest.raises(RuntimeError, match="IVON needs the gradient of a forward pass in training mode: call backward before"):
        optimizer.step()
    assert all(torch.equal(value, state[key]) for key, value in bayes.posterior.state_dict().items())
    loop_before(bayes.train(), optimizer, data)  # and goes on


@pytest.mark.parametrize(
    "make, rates",
    [
        (lambda o: LambdaLR(o, lambda step: [1.0, 0.5, 0.0, 2.0, 1.0][step]), [0.2, 0.1, 0.0, 0.4]),
        (lambda o: StepLR(o, 2, gamma=0.1), [0.2, 0.2, 0.02, 0.02]),
        (lambda o: CosineAnnealingLR(o, 4), [0.2, 0.1 * (1 + math.sqrt(0.5)), 0.1, 0.1 * (1 - math.sqrt(0.5))]),
    ],
)
def test_schedulers_set_its_rates(data, make, rates):
    """Steps of the mean are rate times what does not depend on the rate, if gradients are taken at the same place."""
    bayes = linear()
    optimizer = bayes.optimizer(lr=0.2)
    schedule = make(optimizer)
    for rate in rates:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)
        other = copy.deepcopy(bayes)
        unit = other.optimizer(lr=1.0)
        unit.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        unit.param_groups[0]["lr"] = 1.0
        start = bayes.posterior.location.detach().clone()
        steps(bayes, optimizer, data, 1)
        steps(other, unit, data, 1)
        schedule.step()
        moved, by_one = (b.posterior.location.detach() - start for b in (bayes, other))
        assert_allclose(moved, rate * by_one, rtol=1e-9, atol=1e-14)


def test_states_are_saved_and_go_on_to_the_same_bits(data):
    halves = linear()
    first = halves.optimizer()
    steps(halves, first, data, 3)
    again = linear(seed=7)
    again.load_state_dict(halves.state_dict())
    second = again.optimizer(lr=0.5)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    steps(halves, first, data, 3, seed=1)
    steps(again, second, data, 3, seed=1)
    for key, value in halves.state_dict().items():
        if key.startswith("posterior"):
            assert torch.equal(value, again.state_dict()[key])
    assert second.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(
    "wrong",
    [
        *(dict(lr=lr) for lr in (0.0, -1.0, math.nan)),
        *(dict(betas=betas) for betas in ((1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9, math.nan))),
        *(dict(clip=clip) for clip in (0.0, -1.0, math.nan)),
    ],
    ids=str,
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"(lr|clip) must be a .*number > 0.*; got|betas\[[01]\] must lie in \[0, 1\); got"):
        IVON(linear().posterior, **wrong)
