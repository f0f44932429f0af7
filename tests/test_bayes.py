"""Networks with a posterior: noise of layers against draws of weights, what removal cuts for good, and what is refused."""

from __future__ import annotations

import copy
import math

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

from activebmr.pruning.weights.bayes import INFERENCES, BayesianModule, attach_posterior  # noqa: E402
from activebmr.pruning.weights.ivon import IVON  # noqa: E402
from activebmr.pruning.weights.posterior import MeanField, WeightPosterior  # noqa: E402

DRAWS = 10_000


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed))


def mlp(curve=nn.ReLU):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), curve(), nn.Linear(5, 4), curve(), nn.Linear(4, 2))


def convolutions():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.GroupNorm(1, 3),
        nn.Tanh(),
        nn.Conv2d(3, 2, 2, bias=False),
        nn.Flatten(),
        nn.Linear(18, 2),
    )


class Attending(nn.Module):
    """Attention of the library, whose weights are nobody's layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.attn, self.norm = nn.Linear(3, 4), nn.MultiheadAttention(4, 2, batch_first=True), nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.embed(x)
        return self.head(self.norm(x + self.attn(x, x, x, need_weights=False)[0]).mean(dim=1))


NETS = {
    "mlp": (mlp, (3,)),
    "convolutions": (convolutions, (1, 4, 4)),
    "attention": (Attending, (6, 3)),
}


def attached(net, inference="bbb-local", **kwargs):
    """With standard deviations that differ."""
    if inference == "ivon":
        bayes = attach_posterior(net, inference, n_examples=40, hessian=0.5, **kwargs)
        bayes.posterior.hessian.uniform_(0.1, 2, generator=seeded(5))
    else:
        bayes = attach_posterior(net, inference, **kwargs)
        with torch.no_grad():
            bayes.posterior.log_sd.uniform_(-3, -0.5, generator=seeded(5))
    return bayes


def some(bayes, share=0.4, seed=3):
    return torch.rand(bayes.posterior.n, generator=seeded(seed)) < share


def mask_of(bayes, **parts):
    """Mask of weights, from an index by parameter name with ``_`` for dots."""
    mask = torch.zeros(bayes.posterior.n, dtype=torch.bool)
    for name, index in parts.items():
        bayes.posterior.split(mask)[name.lstrip("_").replace("_", ".")][index] = True
    return mask


cases = pytest.mark.parametrize(
    "kind, inference",
    [(kind, inference) for kind in NETS for inference in INFERENCES if inference != "vbp" or kind == "mlp"],
)


# --- in evaluation -----------------------------------------------------------------------------------------------------------
@cases
def test_in_evaluation_it_is_the_network_with_mean_weights(kind, inference):
    make, shape = NETS[kind]
    net, x = make(), normal(7, *shape)
    want = net.eval()(x).detach()
    bayes = attached(net, inference).eval()
    assert torch.equal(bayes(x), bayes(x))
    assert_close(bayes(x), want, rtol=0, atol=0 if kind != "attention" else 1e-6)  # without gradients it has another kernel
    with torch.no_grad():
        bayes.posterior.location.add_(0.1)
    other = make()
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.1)
    assert_close(bayes(x), other.eval()(x), rtol=1e-5, atol=1e-6)
    assert_close(net(x), want, rtol=0, atol=1e-6)  # it has not been touched


@cases
def test_in_training_it_draws_and_leaves_no_trace_in_the_network(kind, inference):
    make, shape = NETS[kind]
    net, x = make(), normal(7, *shape)
    bayes = attached(net, inference).train()
    state = copy.deepcopy(net.state_dict())
    torch.manual_seed(1)
    one, two = bayes(x), bayes(x)
    torch.manual_seed(1)
    assert not torch.equal(one, two) and torch.equal(bayes(x), one)
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        bayes(torch.zeros(2, 2, 2, 2, 99))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert not any(p.requires_grad for p in net.parameters())
    trained = {id(p) for p in bayes.optimizer().param_groups[0]["params"]}
    assert trained == {id(p) for p in bayes.posterior.parameters()}


@cases
def test_every_weight_gets_a_gradient(kind, inference):
    make, shape = NETS[kind]
    bayes = attached(mlp(nn.Tanh) if kind == "mlp" else make(), inference).train()
    bayes(normal(20, *shape)).square().sum().backward()
    if inference == "ivon":
        grads = [bayes.posterior.location.grad, bayes.posterior.curvature.grad]
    else:
        grads = [bayes.posterior.location.grad, bayes.posterior.log_sd.grad]
    for grad in grads:
        assert torch.isfinite(grad).all()
        for name, part in bayes.posterior.split(grad).items():
            if name == "attn.in_proj_bias":  # that of keys adds the same to all scores of a query
                part = torch.cat((part[:4], part[8:]))
            assert part.all(), name


# --- local reparameterisation ------------------------------------------------------------------------------------------------
LAYERS = {
    "linear": (lambda: nn.Linear(5, 3), (5,)),
    "linear without bias": (lambda: nn.Linear(5, 3, bias=False), (5,)),
    "tokens": (lambda: nn.Linear(5, 3), (2, 5)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, padding=1, stride=2), (2, 7)),
    "conv2d": (lambda: nn.Conv2d(2, 3, 3, padding=1, stride=2), (2, 5, 5)),
    "conv2d grouped": (lambda: nn.Conv2d(4, 2, 2, groups=2, bias=False, dilation=2), (4, 5, 4)),
    "conv2d wrapped": (lambda: nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), (1, 4, 4)),
}


def moments_agree(one, two):
    """Means and variances over the first axis of independent draws, up to 5 standard errors."""
    for a, b in ((one.mean(0), two.mean(0)), (one.var(0), two.var(0))):
        second = a is not None and torch.equal(a, one.var(0))
        error = (one.std(0) ** 2 * math.sqrt(2) if second else one.std(0)) * math.sqrt(1 / len(one) + 1 / len(two))
        assert ((a - b).abs() < 5 * error + 1e-6).all()


@pytest.mark.parametrize("removed", [False, True], ids=["whole", "pruned"])
@pytest.mark.parametrize("kind", LAYERS)
def test_outputs_of_a_layer_have_the_moments_of_draws_of_its_weights(kind, removed):
    make, shape = LAYERS[kind]
    torch.manual_seed(0)
    bayes = attached(make())
    if removed:
        bayes.remove(some(bayes))
    x = normal(1, *shape)
    torch.manual_seed(1)
    with torch.no_grad():
        local = bayes.train()(x.expand(DRAWS, *shape))
    drawn = bayes.predict(x, samples=DRAWS // 4, seed=2)[:, 0]
    assert local.shape[1:] == drawn.shape[1:]
    moments_agree(local, drawn)


def test_local_noise_is_drawn_for_each_example_and_unit_by_itself_that_of_weights_for_all_at_once():
    net, x = nn.Linear(5, 3), torch.ones(2, 5)
    for inference, shared in (("bbb-local", False), ("bbb-global", True)):
        bayes = attached(copy.deepcopy(net), inference).train()
        torch.manual_seed(0)
        with torch.no_grad():
            draws = torch.stack([bayes(x) for _ in range(3000)]).flatten(1)  # two examples of three units each
        correlation = torch.corrcoef(draws.T)
        off = correlation - torch.eye(6)
        pairs = torch.stack([correlation[i, i + 3] for i in range(3)])
        if shared:
            assert (pairs > 0.999).all()
        else:
            assert off.abs().max() < 0.1


def test_gradients_are_those_of_the_expected_loss():
    """Of E (w'x + b - y)^2 = (m'x + n - y)^2 + sum x^2 s^2 + t^2, whichever way its draws are made."""
    torch.manual_seed(0)
    x, y, n = normal(1, 3), torch.tensor([[0.7]]), 30_000
    for inference in ("bbb-local", "bbb-global"):
        bayes = attached(nn.Linear(3, 1), inference).train()
        q = bayes.posterior
        if inference == "bbb-local":
            F.mse_loss(bayes(x.expand(n, 3)), y.expand(n, 1)).backward()
        else:
            (sum((bayes(x) - y).square().sum() for _ in range(n // 10)) / (n // 10)).backward()
        inputs = torch.cat([x[0], torch.ones(1)])
        apart = (q.location @ inputs - 0.7).item()
        assert_close(q.location.grad, 2 * apart * inputs, rtol=0.05, atol=0.1)
        assert_close(q.log_sd.grad, 2 * (inputs * q.log_sd.detach().exp()) ** 2, rtol=0.15, atol=0.1)


class ByKeyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(input=x)


def test_layers_may_be_called_by_keyword():
    bayes = attached(ByKeyword()).train()
    assert bayes(normal(4, 3)).shape == (4, 2)


def test_moments_of_back_propagation_are_about_those_of_draws():
    bayes = attached(mlp(), "vbp")
    with torch.no_grad():
        bayes.posterior.log_sd.fill_(-3.0)
    x = normal(6, 3)
    mean, variance = (m.detach() for m in bayes.moments(x))
    drawn = bayes.predict(x, samples=4000)
    assert_close(mean, drawn.mean(0), rtol=0, atol=0.02)
    assert_close(variance, drawn.var(0), rtol=0.3, atol=1e-3)
    torch.manual_seed(0)
    with torch.no_grad():
        noisy = bayes.train()(x[:1].expand(DRAWS, 3))
    assert_close(noisy.mean(0), mean[0], rtol=0, atol=5 * float(variance.max().sqrt()) / math.sqrt(DRAWS))
    assert_close(noisy.var(0), variance[0], rtol=0.06, atol=0)


# --- removal -----------------------------------------------------------------------------------------------------------------
@cases
def test_nothing_is_nan_where_all_weights_of_a_unit_or_of_the_network_are_removed(kind, inference):
    make, shape = NETS[kind]
    bayes = attached(make(), inference).train()
    first = next(iter(bayes.posterior.places.values()))
    unit = torch.zeros(bayes.posterior.n, dtype=torch.bool)
    unit[first.start : first.start + math.prod(first.shape[1:])] = True
    for mask in (unit, torch.ones_like(unit)):
        bayes.remove(mask)
        x = normal(5, *shape).requires_grad_()
        bayes.zero_grad()
        out = bayes(x)
        (out.square().sum() + bayes.kl()).backward()
        for p in (out, x.grad, *(p.grad for p in bayes.posterior.parameters() if p.grad is not None)):
            assert torch.isfinite(p).all()
        for p in bayes.posterior.parameters():
            assert p.grad is None or not p.grad[~bayes.posterior.alive].any()


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64,
        torch.bfloat16,
        torch.float16,
    ],
)
def test_nothing_is_nan_in_other_types(dtype):
    bayes = attached(mlp().to(dtype)).train()
    bayes.remove(mask_of(bayes, _0_weight=0, _0_bias=0))
    out = bayes(normal(5, 3).to(dtype))
    out.square().sum().backward()
    assert out.dtype == dtype and torch.isfinite(out).all()
    assert all(torch.isfinite(p.grad).all() for p in bayes.posterior.parameters())


@pytest.mark.parametrize("inference", ["bbb-local", "bbb-global", "vbp"])
def test_removed_weights_have_no_part_in_outputs_gradients_and_divergence(inference):
    """Whatever their raw values are."""
    bayes, x = attached(mlp(), inference), normal(8, 3)
    mask = some(bayes)
    bayes.remove(mask)
    found = []
    for value in (0.0, 50.0):
        with torch.no_grad():
            bayes.posterior.location[mask] = value
            bayes.posterior.log_sd[mask] = value / 25
        bayes.zero_grad()
        torch.manual_seed(0)
        loss = bayes.train()(x).square().sum() + bayes.kl()
        loss.backward()
        found.append((loss.detach(), bayes.eval()(x).detach(), *(p.grad.clone() for p in bayes.posterior.parameters())))
        found[-1] += (bayes.predict(x, 3),)
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)
    for p in bayes.posterior.parameters():
        assert not p.grad[mask].any() and p.grad[~mask].any()


OPTIMIZERS = {
    "own": None,
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.3),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.05, momentum=0.9),
}


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize(
    "inference, optimizer",
    [(inference, name) for inference in INFERENCES for name in OPTIMIZERS if inference != "ivon" or name == "own"],
)
def test_removed_weights_never_come_back(inference, optimizer, told):
    """With an optimiser full of momentum, also one that hears nothing of the removal."""
    net = mlp() if inference == "vbp" else nn.Sequential(mlp(), nn.LayerNorm(2))
    bayes, x = attached(net, inference), normal(8, 3)
    make = OPTIMIZERS[optimizer]
    optimizer = bayes.optimizer() if make is None else make(bayes.posterior.parameters())
    q = bayes.posterior

    def steps(n):
        for _ in range(n):
            optimizer.zero_grad()
            (bayes.train()(x).square().sum() + (0 if inference == "ivon" else bayes.kl())).backward()
            optimizer.step()

    torch.manual_seed(0)
    steps(5)
    mask = some(bayes)
    assert bayes.remove(mask, optimizer if told else None) == mask.sum()
    before = q.raw_mean().detach().clone()
    steps(5)
    assert torch.equal(q.mean[mask], q.prior_mean[mask]) and not q.variance[mask].any()
    assert (q.sample()[mask] == q.prior_mean[mask]).all() and (q.removal_evidence()[mask] == -math.inf).all()
    assert (q.raw_mean()[~mask] != before[~mask]).any() and q.n_removed == mask.sum()
    parameters = dict(bayes.write_means().named_parameters())
    for name, gone in q.split(mask).items():
        assert (parameters[name][gone] == (1.0 if name == "1.weight" else 0.0)).all()
    if told and make is None:
        momentum = optimizer.state[q.location]["momentum" if inference == "ivon" else "exp_avg"]
        assert not momentum[mask].any() and momentum[~mask].any()


def test_an_optimiser_that_is_told_forgets_removed_weights_and_only_those():
    bayes = attached(mlp())
    optimizer = bayes.optimizer()
    (bayes.train()(normal(8, 3)).square().sum() + bayes.kl()).backward()
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict()["state"])
    mask = some(bayes)
    bayes.remove(mask, optimizer)
    for i, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            gone = torch.where(mask, 0.0, before[i][key]) if value.shape == mask.shape else before[i][key]
            assert torch.equal(value, gone)


# --- normalisation, and what stays outside -----------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [lambda: nn.LayerNorm(4), lambda: nn.GroupNorm(2, 4), lambda: nn.RMSNorm(4)])
def test_gains_of_normalisation_are_around_1_and_removed_to_1(make):
    bayes = attached(nn.Sequential(nn.Linear(3, 4), make()))
    parts = bayes.posterior.split(bayes.posterior.prior_mean)
    assert [name for name, part in parts.items() if part.any()] == ["1.weight"] and (parts["1.weight"] == 1).all()
    bayes.remove(mask_of(bayes, _1_weight=slice(2)))
    with torch.no_grad():
        bayes.posterior.location.fill_(3.0)
    assert bayes.write_means()[1].weight.tolist() == [1, 1, 3, 3]
    alone = attach_posterior(make())
    assert (alone.posterior.split(alone.posterior.prior_mean)["weight"] == 1).all()


@pytest.mark.parametrize(
    "norm",
    [nn.InstanceNorm1d(4, affine=True), nn.BatchNorm1d(4, track_running_stats=False)],
    ids=lambda n: type(n).__name__,
)
def test_gains_of_other_normalisation_are_around_1(norm):
    bayes = attach_posterior(nn.Sequential(nn.Conv1d(3, 4, 1), norm))
    assert (bayes.posterior.split(bayes.posterior.prior_mean)["1.weight"] == 1).all()


@pytest.mark.parametrize(
    "inference",
    [
        "bbb-local",
        "bbb-global",
        "ivon",
        "vbp",
    ],
)
def test_parameters_without_a_posterior_stay_and_learn(inference):
    net = mlp(nn.Tanh)
    bayes = attached(net, inference, names=["0.weight", "4.bias"])
    assert list(bayes.posterior.places) == ["0.weight", "4.bias"] and bayes.posterior.n == 17
    learning = {name for name, p in net.named_parameters() if p.requires_grad}
    assert learning == {"0.bias", "2.weight", "2.bias", "4.weight"}
    bayes.train()(normal(8, 3)).square().sum().backward()
    for name, p in net.named_parameters():
        assert (p.grad is not None and p.grad.all()) == (name in learning), name


def test_layers_with_a_posterior_for_a_part_have_the_noise_of_that_part():
    torch.manual_seed(0)
    net, x = nn.Linear(3, 2), normal(1, 3)
    for names in (["weight"], ["bias"]):
        bayes = attached(copy.deepcopy(net), names=names).train()
        with torch.no_grad():
            draws = torch.stack([bayes(x)[0] for _ in range(3000)])
        sd = bayes.posterior.split(bayes.posterior.variance)[names[0]].sqrt().detach()
        want = (x * sd).square().sum(dim=1).sqrt() if names == ["weight"] else sd
        assert_close(draws.std(0), want, rtol=0.08, atol=0)


@cases
def test_means_are_written_into_the_network(kind, inference):
    make, shape = NETS[kind]
    bayes, x = attached(make(), inference), normal(6, *shape)
    with torch.no_grad():
        bayes.posterior.location.add_(0.1)
    bayes.remove(some(bayes))
    net = bayes.write_means()
    assert net is bayes.net
    means = bayes.posterior.split(bayes.posterior.mean)
    for name, p in net.named_parameters():
        assert torch.equal(p, means[name])
    assert_close(net.eval()(x), bayes.eval()(x), rtol=1e-5, atol=1e-6)


def test_masks_have_the_shapes_of_parameters():
    bayes = attached(mlp())
    bayes.remove(mask_of(bayes, _2_weight=(1, slice(3))))
    alive = bayes.alive()
    assert [tuple(a.shape) for a in alive.values()] == [tuple(p.shape) for p in bayes.net.parameters()]
    assert (~alive["2.weight"]).nonzero().tolist() == [[1, 0], [1, 1], [1, 2]]
    assert sum(int((~a).sum()) for a in alive.values()) == 3


# --- modes and types ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("training", [True, False])
def test_predictions_and_errors_in_them_leave_every_module_in_its_mode(training):
    net = nn.Sequential(mlp(), nn.Dropout(0.5), nn.BatchNorm1d(2))
    bayes, x = attached(net).train(training), normal(9, 3)
    net[1].train(not training)
    modes = [m.training for m in bayes.modules()]
    assert torch.equal(bayes.predict(x, 3), bayes.predict(x, 3))  # without dropout
    assert [m.training for m in bayes.modules()] == modes and net[2].num_batches_tracked == 0
    with pytest.raises((RuntimeError, ValueError)):
        bayes.predict(normal(9, 99), 3)
    assert [m.training for m in bayes.modules()] == modes


@pytest.mark.parametrize("inference", ["bbb-local", "bbb-global", "ivon"])
def test_batch_normalisation_keeps_its_statistics_under_draws(inference):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))
    bayes = attached(net, inference).train()
    assert (bayes.posterior.split(bayes.posterior.prior_mean)["1.weight"] == 1).all()
    for k in range(3):
        bayes(normal(20, 3, seed=k))
    assert net[1].num_batches_tracked == 3 and net[1].running_mean.any() and not net[1].running_mean.requires_grad
    assert torch.equal(bayes.eval()(normal(5, 3)), bayes(normal(5, 3)))


@pytest.mark.parametrize("late", [True, False], ids=["cast later", "cast before"])
@pytest.mark.parametrize("inference", ["bbb-local", "bbb-global", "ivon"])
def test_posteriors_of_half_precision_networks_are_kept_in_single_precision(inference, late):
    """Steps of 1e-4 would be lost next to log deviations of -5 in bfloat16."""
    net = mlp(nn.Tanh)
    bayes = attached(net, inference).to(torch.bfloat16) if late else attached(net.to(torch.bfloat16), inference)
    q, x = bayes.posterior, normal(8, 3).bfloat16()
    assert {t.dtype for t in (*q.parameters(), *q.buffers()) if t.is_floating_point()} == {torch.float32}
    assert all(p.dtype == torch.bfloat16 for p in bayes.net.parameters())
    before = {name: p.detach().clone() for name, p in q.named_parameters()}
    bayes.train()(x).square().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in q.parameters())
    bayes.optimizer(lr=1e-5).step()
    for name, p in q.named_parameters():
        assert (p != before[name]).float().mean() > (0.9 if name != "curvature" else -1)
    assert bayes.eval()(x).dtype == bayes.predict(x, 2).dtype == torch.bfloat16
    assert {p.dtype for p in bayes.write_means().parameters()} == {torch.bfloat16}
    assert bayes.double().posterior.location.dtype == torch.float64


# --- several inputs ----------------------------------------------------------------------------------------------------------
class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(3, 2), nn.Linear(4, 2)

    def forward(self, x, y):
        return self.a(x) + self.b(y)


def test_predictions_of_networks_with_several_inputs():
    bayes, x, y = attached(TwoInputs()), normal(7, 3), normal(7, 4)
    one = bayes.predict((x, y), 3)
    assert one.shape == (3, 7, 2)
    for other in ([x, y], {"x": x, "y": y}):
        assert_close(bayes.predict(other, 3, batch=2), one)


class Several(nn.Module):
    def __init__(self, third):
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.third = nn.Linear(3, 2), third

    def forward(self, x):
        return {"logits": self.fc(x), "hidden": (x, x[:, 0]), "third": self.third(x)}


def test_predictions_of_several_outputs_are_several():
    bayes, x = attached(Several(torch.exp)), normal(7, 3)
    found = bayes.predict(x, 3, batch=3)
    assert found["logits"].shape == (3, 7, 2) and found["hidden"][1].shape == (3, 7)
    assert_close(found["third"][2], x.exp())
    assert_close(found["logits"], attached(bayes.net.fc).predict(x, 3))


@pytest.mark.parametrize(
    "third, match",
    [
        (lambda x: "text", "outputs of the network must be tensors; one is a str"),
        (lambda x: x.sum(), r"a row for each of 7 examples; got \(\)"),
        (lambda x: torch.ones(2, 3), r"a row for each of 7 examples; got \(2, 3\)"),
    ],
)
def test_predictions_without_a_row_for_each_example_are_refused(third, match):
    with pytest.raises(ValueError, match=match):
        attached(Several(third)).predict(normal(7, 3), 2, batch=3)


# --- predictions -------------------------------------------------------------------------------------------------------------
@cases
def test_predictions_repeat_whatever_the_batches_and_the_mode(kind, inference):
    make, shape = NETS[kind]
    bayes, x = attached(make(), inference), normal(11, *shape)
    state = torch.get_rng_state()
    bayes.train()
    one = bayes.predict(x, samples=5, seed=3)
    assert bayes.training and one.shape == (5, 11, 2) and not one.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    bayes.eval()
    assert torch.equal(bayes.predict(x, samples=5, seed=3), one) and not bayes.training
    assert_close(bayes.predict(x, samples=5, seed=3, batch=4), one, rtol=1e-5, atol=1e-6)
    assert_close(bayes.predict(x[2:5], samples=2, seed=3), one[:2, 2:5], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(bayes.predict(x, samples=5, seed=4), one)
    assert one.std(dim=0).min() > 0


def test_predictions_are_those_of_networks_with_drawn_weights():
    bayes, x = attached(mlp()), normal(6, 3)
    weights = bayes.posterior.sample(seeded(3))
    net = copy.deepcopy(bayes.net)
    nn.utils.vector_to_parameters(weights, net.parameters())
    assert_close(bayes.predict(x, samples=1, seed=3)[0], net(x).detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("samples", [0, -1])
def test_no_predictions_are_refused(samples):
    with pytest.raises(ValueError, match=f"samples must be at least 1; got {samples}"):
        attached(mlp()).predict(normal(2, 3), samples=samples)


def test_gradients_of_a_natural_posterior_lie_where_every_optimiser_looks():
    """Removed weights have none, and the values of what is there for its gradient alone mean nothing."""
    bayes = attached(mlp(), "ivon")
    mask = some(bayes)
    bayes.remove(mask)
    bayes.train()(normal(8, 3)).square().sum().backward()
    q = bayes.posterior
    assert not q.location.grad[mask].any() and q.location.grad[~mask].any() and not q.curvature.grad[mask].any()
    before = bayes.predict(normal(4, 3), 3)
    with torch.no_grad():
        q.curvature.fill_(7.0)
    assert torch.equal(bayes.predict(normal(4, 3), 3), before) and "posterior.curvature" not in bayes.state_dict()


def test_posteriors_from_elsewhere_can_be_used():
    """A Laplace approximation, say: moments as they are given."""
    net = nn.Linear(3, 1)
    variance = torch.tensor([0.1, 0.2, 0.3, 0.4])
    bayes = BayesianModule(net, WeightPosterior(dict(net.named_parameters()), variance=variance), "bbb-global")
    x = torch.tensor([[1.0, 2.0, -1.0]])
    torch.manual_seed(0)
    draws = torch.stack([bayes.train()(x) for _ in range(4000)]).flatten()
    assert abs(draws.var().item() / (0.1 + 4 * 0.2 + 0.3 + 0.4) - 1) < 0.12
    assert bayes.predict(x, 4000).std().item() == pytest.approx(math.sqrt(1.6), rel=0.06)


# --- what it is made with ----------------------------------------------------------------------------------------------------
def test_first_means_and_deviations():
    net = mlp()
    flat = nn.utils.parameters_to_vector(net.parameters()).detach()
    bayes = attach_posterior(net, prior_variance=0.3)
    assert torch.equal(bayes.posterior.mean, flat) and isinstance(bayes.posterior, MeanField)
    assert_close(bayes.posterior.variance, torch.full_like(flat, 0.3))
    assert_close(
        attach_posterior(mlp(), sd=0.2, prior_variance={"0.weight": 4.0}).posterior.variance, torch.full_like(flat, 0.04)
    )
    ivon = attach_posterior(mlp(), "ivon", n_examples=20, hessian=2.0, prior_variance=0.5)
    assert_close(ivon.posterior.variance, torch.full_like(flat, 1 / 42))


def test_optimisers_are_those_of_the_inference():
    adam, ivon = attached(mlp()).optimizer(), attached(mlp(), "ivon").optimizer()
    assert type(adam) is torch.optim.Adam and adam.param_groups[0]["lr"] == 1e-2
    assert type(ivon) is IVON and ivon.param_groups[0]["lr"] == 0.1
    assert attached(mlp()).optimizer(lr=0.5, betas=(0.8, 0.9)).param_groups[0]["betas"] == (0.8, 0.9)
    assert attached(mlp(), "ivon").optimizer(0.5, clip=2.0).param_groups[0]["clip"] == 2.0


def tied():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    return net


def overlapping():
    """Two parameters on one memory, which no list of parameters tells."""
    net = tied()
    net[1].weight = nn.Parameter(net[0].weight.data.view(3, 3))
    return net


@pytest.mark.parametrize("inference", ["bbb-local", "bbb-global", "ivon"])
def test_tied_weights_have_one_draw_and_stay_tied(inference):
    bayes, x = attached(tied(), inference), normal(5, 3)
    q = bayes.posterior
    assert list(q.places) == ["0.weight", "0.bias", "1.bias"] and q.n == 15
    bayes.train()(x).square().sum().backward()
    assert torch.isfinite(q.location.grad).all() and q.location.grad.all()
    net = copy.deepcopy(bayes.net)
    with torch.no_grad():
        q.location.add_(0.5)
        for p in net.parameters():  # each once
            p.add_(0.5)
    assert_close(bayes.eval()(x), net.eval()(x))
    bayes.remove(mask_of(bayes, _0_weight=(1, 2)))
    assert bayes.write_means()[1].weight is bayes.net[0].weight and bayes.net[1].weight[1, 2] == 0
    assert_close(bayes.net(x), bayes(x))
    again = attached(bayes.net[1], inference)  # a part, under its own name
    assert list(again.posterior.places) == ["weight", "bias"] and not bayes.net[0].weight.requires_grad


def test_a_module_that_is_in_a_network_twice_is_left_as_it_was():
    layer = nn.Linear(3, 3)
    net, weight = nn.Sequential(layer, nn.Tanh(), layer), layer.weight
    for inference in ("bbb-local", "ivon"):
        bayes = attached(net, inference)
        bayes.train()(normal(4, 3))
        with pytest.raises((RuntimeError, ValueError)):
            bayes(normal(4, 7))
        assert layer.weight is weight and list(bayes.posterior.places) == ["0.weight", "0.bias"]


@pytest.mark.parametrize("names", [["1.weight"], ["0.weight"], ["1.weight", "0.weight"]])
def test_tied_weights_can_be_named_by_any_of_their_names(names):
    assert list(attached(tied(), names=names).posterior.places) == ["0.weight"]
    assert list(attached(tied(), names=["1.bias"]).posterior.places) == ["1.bias"]


def test_what_shares_memory_with_weights_that_have_no_posterior_does_not_matter():
    bayes = attached(nn.Sequential(overlapping(), nn.Linear(3, 2)), names=["1.weight"])
    assert bayes.posterior.n == 6


@pytest.mark.parametrize(
    "make, kwargs, match",
    [
        (mlp, dict(inference="bbb"), r"inference must be one of \['bbb-local', 'bbb-global', 'vbp', 'ivon'\]; got 'bbb'"),
        (overlapping, {}, "parameters must be one tensor if they are tied; '1.weight' shares memory with '0.weight'"),
        (nn.ReLU, {}, "net must have parameters that learn"),
        (mlp, dict(names=["fc1"]), "names must be parameters that learn, of .*; got 'fc1'"),
        *((mlp, dict(sd=sd), "sd must be a finite number > 0; got") for sd in (0.0, -1.0, math.nan, math.inf)),
        *((mlp, dict(prior_variance=v), "prior_variance must be a finite") for v in (0.0, -1.0, math.nan, math.inf)),
        (mlp, dict(inference="ivon"), "n_examples must be given for inference 'ivon'"),
        *((mlp, dict(inference="ivon", n_examples=9, hessian=h), "hessian must be a finite") for h in (0.0, -1.0, math.nan)),
        (mlp, dict(inference="ivon", n_examples=0), "n_examples must be a whole number >= 1"),
    ],
)
def test_wrong_networks_and_numbers_are_refused(make, kwargs, match):
    with pytest.raises(ValueError, match=match):
        attach_posterior(make(), **kwargs)


def test_back_propagation_says_which_module_it_does_not_go_through():
    bayes = attached(convolutions(), "vbp")
    with pytest.raises(ValueError, match="'0' is a Conv2d: use inference 'bbb-local'"):
        bayes.train()(normal(2, 1, 4, 4))


def test_a_second_posterior_can_take_the_place_of_the_first():
    net = mlp()
    first = attach_posterior(net)
    second = attach_posterior(net, "ivon", n_examples=20)
    assert second is not first and second.inference == "ivon"
    assert list(second.posterior.places) == list(first.posterior.places)  # of the network, not of the first one's parts


def test_a_posterior_on_the_whole_can_follow_one_on_a_part():
    net = mlp()
    attach_posterior(net[0])
    assert list(attach_posterior(net).posterior.places)[:2] == ["0.weight", "0.bias"]
