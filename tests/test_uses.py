"""However a network uses its weights, they have the noise of their posterior: local draws against global ones; checkpoints."""

from __future__ import annotations

import copy
import math

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, prune  # noqa: E402
from torch.testing import assert_close  # noqa: E402
from torch.utils.checkpoint import checkpoint, checkpoint_sequential  # noqa: E402

from activebmr.pruning.weights.bayes import INFERENCES, attach_posterior  # noqa: E402
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


class Of(nn.Module):
    """A network of these modules, whose forward is a function of it and its inputs."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.run = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.run(self, x)


class Scaled(nn.Linear):
    def forward(self, x):
        return F.linear(x, 0.1 * self.weight, self.bias)


class SelfPadding(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias, self.stride)


class Standardised(nn.Conv2d):
    def forward(self, x):
        w = self.weight
        return F.conv2d(x, (w - w.mean((1, 2, 3), keepdim=True)) / w.std((1, 2, 3), keepdim=True), self.bias)


class OwnBackward(torch.autograd.Function):
    """A linear map with a backward pass of its own, which F.linear's noise would pass by."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return F.linear(x, w)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w, g.T @ x


class LowRank(nn.Module):
    def __init__(self):
        super().__init__()
        self.base, self.a, self.b = nn.Linear(4, 3), nn.Parameter(normal(2, 4)), nn.Parameter(normal(3, 2))

    def forward(self, x):
        return F.linear(x, self.base.weight + self.b @ self.a, self.base.bias)


def pruned_by_torch():
    layer = nn.Linear(4, 3)
    prune.custom_from_mask(layer, "weight", torch.arange(12).view(3, 4) % 2)
    return layer


def series(self, x):
    h = c = x.new_zeros(len(x), 3)
    for step in x.unbind(1):
        h, c = self.cell(step, (h, c))
    return h


def in_steps_of_a_map(self, x):
    for _ in range(3):
        x = torch.tanh(self.m(x))
    return x


def fused(self, x):
    q, k = self.qk.weight[:3], self.qk.weight[3:]
    return F.linear(x, q) * F.linear(x, k)


def attends(self, x):
    return self.m(x, x, x, need_weights=False)[0]


def without_gradients(self, x):
    with torch.no_grad():
        x = torch.tanh(self.a(x))
    return self.b(x)


def mapped(self, x):
    return torch.vmap(lambda row: F.linear(row, self.m.weight, self.m.bias))(x)


TOKENS = torch.randint(7, (6, 4), generator=torch.Generator().manual_seed(1))
ODD = {
    "functional linear": (lambda: Of(lambda s, x: F.linear(x, s.m.weight, s.m.bias), m=nn.Linear(4, 3)), (6, 4)),
    "scaled weights": (lambda: nn.Sequential(Scaled(4, 3)), (6, 4)),
    "own padding": (lambda: nn.Sequential(SelfPadding(2, 3, 3)), (3, 2, 4, 4)),
    "standardised weights": (lambda: nn.Sequential(Standardised(2, 3, 3)), (3, 2, 4, 4)),
    "product with the weight of a layer": (lambda: Of(lambda s, x: x @ s.m.weight.T + s.m.bias, m=nn.Linear(4, 3)), (6, 4)),
    "einsum": (lambda: Of(lambda s, x: torch.einsum("ni,oi->no", x, s.m.weight), m=nn.Linear(4, 3)), (6, 4)),
    "twice, difference": (lambda: Of(lambda s, x: s.m(x) - s.m(0.5 * x), m=nn.Linear(4, 3)), (6, 4)),
    "the same layer in steps": (lambda: Of(in_steps_of_a_map, m=nn.Linear(4, 4)), (6, 4)),
    "module that is there twice": (lambda: nn.Sequential(m := nn.Linear(4, 4), nn.Tanh(), m), (6, 4)),
    "a shared bias": (lambda: Of(lambda s, x: s.m(x) - s.m.bias, m=nn.Linear(4, 3)), (6, 4)),
    "a bias before its layer": (lambda: Of(lambda s, x: s.m(x + s.m.bias), m=nn.Linear(4, 4)), (6, 4)),
    "linear and norm of its weight": (lambda: Of(lambda s, x: s.m(x) / s.m.weight.norm(), m=nn.Linear(4, 3)), (6, 4)),
    "norm of a weight and its linear": (
        lambda: Of(lambda s, x: s.m.weight.norm() * x.sum() + s.m(x), m=nn.Linear(4, 3)),
        (6, 4),
    ),
    "cosines": (lambda: Of(lambda s, x: F.linear(F.normalize(x), F.normalize(s.m.weight)), m=nn.Linear(4, 3)), (6, 4)),
    "fused weights": (lambda: Of(fused, qk=nn.Linear(4, 6)), (6, 4)),
    "low rank": (LowRank, (6, 4)),
    "attention of the library": (lambda: Of(attends, m=nn.MultiheadAttention(4, 2, batch_first=True)), (3, 2, 4)),
    "cell in a loop": (lambda: Of(series, cell=nn.LSTMCell(4, 3)), (5, 3, 4)),
    "lstm": (lambda: Of(lambda s, x: s.m(x)[0].mean(1), m=nn.LSTM(4, 3, batch_first=True, bidirectional=True)), (5, 3, 4)),
    "gru": (lambda: Of(lambda s, x: s.m(x)[1][0], m=nn.GRU(4, 3, batch_first=True)), (5, 3, 4)),
    "weight norm": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3))), (6, 4)),
    "orthogonal": (lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 3))), (6, 4)),
    "mask of torch": (lambda: nn.Sequential(pruned_by_torch()), (6, 4)),
    "bilinear": (lambda: Of(lambda s, x: s.m(x, x.flip(0)), m=nn.Bilinear(4, 4, 3)), (6, 4)),
    "tied embedding": (lambda: Of(lambda s, x: F.linear(s.m(TOKENS[: len(x)]), s.m.weight), m=nn.Embedding(7, 4)), (6, 4)),
    "bag of embeddings": (lambda: Of(lambda s, x: s.m(TOKENS[: len(x)]), m=nn.EmbeddingBag(7, 4)), (6, 4)),
    "transposed convolution": (lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)), (3, 2, 3, 3)),
    "transposed convolution, grouped": (lambda: nn.Sequential(nn.ConvTranspose1d(4, 4, 3, groups=2)), (3, 4, 5)),
    "conv3d": (lambda: nn.Sequential(nn.Conv3d(2, 3, 3, padding="same")), (2, 2, 3, 3, 3)),
    "circular": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2, padding_mode="circular")), (3, 4, 4, 4)),
    "conv by keyword": (
        lambda: Of(lambda s, x: F.conv1d(input=x, weight=s.m.weight, bias=s.m.bias, stride=2), m=nn.Conv1d(2, 3, 3)),
        (3, 2, 7),
    ),
    "gains": (lambda: nn.Sequential(nn.LayerNorm(4), nn.PReLU(4)), (6, 4)),
    "batch normalisation": (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False).eval()), (6, 4)),
    "backward of its own": (lambda: Of(lambda s, x: OwnBackward.apply(x, s.m.weight), m=nn.Linear(4, 3)), (6, 4)),
    "mapped over rows": (lambda: Of(mapped, m=nn.Linear(4, 3)), (6, 4)),
    "without gradients at first": (lambda: Of(without_gradients, a=nn.Linear(4, 4), b=nn.Linear(4, 3)), (6, 4)),
    "cast to its own type": (lambda: Of(lambda s, x: F.linear(x, s.m.weight.to(x.dtype)), m=nn.Linear(4, 3)), (6, 4)),
}


def passes(make, inference, x, n, gradients=False):
    """Outputs of n passes in training mode."""
    torch.manual_seed(0)
    bayes = attach_posterior(make(), inference, sd=0.4)
    with torch.no_grad():
        bayes.posterior.log_sd.add_(0.3 * normal(bayes.posterior.n, seed=3))
    torch.manual_seed(1)
    with torch.set_grad_enabled(gradients):
        return torch.stack([bayes(x).detach() for _ in range(n)])


@pytest.mark.parametrize("kind", ODD)
def test_local_draws_have_the_moments_of_global_ones(kind):
    """Up to five standard errors of the mean, and of the deviation up to what 600 draws can tell of all outputs together."""
    make, shape = ODD[kind]
    x = normal(*shape)
    local, drawn = (passes(make, inference, x, 600, gradients=inference == "bbb-local") for inference in INFERENCES[:2])
    error = (local.var(0) / 600 + drawn.var(0) / 600).sqrt()
    assert ((local.mean(0) - drawn.mean(0)).abs() < 5 * error + 1e-5).all()
    moving = drawn.std(0) > 1e-5
    assert moving.any() and ((local.std(0) > 1e-5) == moving).all()
    ratio = (local.std(0) / drawn.std(0))[moving]
    assert float(ratio.log().mean()) == pytest.approx(0, abs=0.12) and ratio.min() > 0.75 and ratio.max() < 1.33
    assert moving.all() or kind == "gains"


@pytest.mark.parametrize("kind", ["twice, difference", "cell in a loop", "tied embedding", "linear and norm of its weight"])
def test_outputs_of_shared_weights_vary_together(kind):
    """One draw in all places of a pass: examples correlate as they do under one draw of all weights."""
    make, shape = ODD[kind]
    x = normal(*shape)
    one, other = (torch.corrcoef(passes(make, i, x, 1500).flatten(1).T) for i in INFERENCES[:2])
    assert (one - other).abs().max() < 0.2 and (other - torch.eye(len(other))).abs().max() > 0.4


@pytest.mark.parametrize("kind", ["functional linear", "own padding", "conv by keyword", "cast to its own type", "conv3d"])
def test_weights_that_are_used_once_have_local_draws(kind):
    """Two equal examples have noise of their own."""
    make, shape = ODD[kind]
    x = normal(*shape)[:1].expand(2, *shape[1:])
    one, other = passes(make, "bbb-local", x, 500).flatten(2).unbind(1)
    for i in range(one.shape[1]):
        assert torch.corrcoef(torch.stack([one[:, i], other[:, i]]))[0, 1].abs() < 0.2


@pytest.mark.parametrize("kind", [k for k in ODD if k != "gains"])
def test_all_weights_that_are_used_learn_under_local_draws(kind):
    make, shape = ODD[kind]
    bayes = attach_posterior(make(), "bbb-local", sd=0.2)
    torch.manual_seed(0)
    (bayes(normal(*shape)) ** 3).sum().backward()
    q = bayes.posterior
    unused = {  # by the network itself
        "einsum": ["m.bias"],
        "cosines": ["m.bias"],
        "fused weights": ["qk.bias"],
        "backward of its own": ["m.bias"],
        "cast to its own type": ["m.bias"],
        "without gradients at first": ["a.weight", "a.bias"],
        "a shared bias": ["m.bias"],  # it is taken away again
        "twice, difference": ["m.bias"],
    }.get(kind, [])
    for name, part in q.split(q.location.grad).items():
        assert bool(part.any()) == (name not in unused), name
    for name, part in q.split(q.log_sd.grad).items():
        assert bool(part.any()) == (name not in unused), name


@pytest.mark.parametrize("kind", ["twice, difference", "backward of its own", "low rank", "functional linear"])
def test_gradients_of_local_draws_are_those_of_global_ones_on_average(kind):
    make, shape = ODD[kind]
    x, found = normal(*shape), []
    for inference in INFERENCES[:2]:
        torch.manual_seed(0)
        bayes = attach_posterior(make(), inference, sd=0.4)
        torch.manual_seed(1)
        (sum(bayes(x).square().sum() for _ in range(1500)) / 1500).backward()
        found.append(torch.cat([bayes.posterior.location.grad, bayes.posterior.log_sd.grad]))
    scale = found[1].abs().max().item()
    assert_close(found[0], found[1], rtol=0.1, atol=0.08 * scale)


def test_a_use_that_comes_up_later_is_seen():
    """A layer that is called once at first and twice from the third pass on; numbers are those of a network known before."""

    class Growing(nn.Module):
        def __init__(self):
            super().__init__()
            self.m, self.norm, self.times = nn.Linear(4, 4), nn.BatchNorm1d(4), 1

        def forward(self, x):
            for _ in range(self.times):
                x = self.norm(self.m(x))
            return x

    x = normal(6, 4)
    torch.manual_seed(0)
    one = attach_posterior(Growing(), "bbb-local", sd=0.3)
    other = copy.deepcopy(one)
    other.net.times = 2
    torch.manual_seed(3)
    other(x)  # knows it from here on
    for bayes in (one, other):
        bayes.net.norm.reset_running_stats()
        bayes.net.times = 2
    outputs = []
    for bayes in (one, other):
        torch.manual_seed(4)
        outputs.append(bayes(x))
    assert torch.equal(*outputs)
    for a, b in zip(one.net.buffers(), other.net.buffers(), strict=True):
        assert torch.equal(a, b)
    assert one.net.norm.num_batches_tracked == 2  # of the pass that counts


@pytest.mark.parametrize("inference", ["bbb-local", "bbb-global", "ivon"])
def test_recurrent_networks_can_be_copied_after_a_pass(inference):
    net = nn.LSTM(4, 3, batch_first=True)
    weights = [p.clone() for p in net.parameters()]
    bayes = attach_posterior(net, inference, n_examples=5)
    bayes(normal(5, 3, 4))[0].sum().backward()
    other = copy.deepcopy(bayes)
    assert all(a is b for a, b in zip(net._flat_weights, net.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), weights, strict=True))
    assert torch.equal(other.eval()(normal(5, 3, 4))[0], bayes.eval()(normal(5, 3, 4))[0])


def test_horseshoe_scales_reach_weights_however_they_are_used():
    torch.manual_seed(0)
    plain, functional = nn.Sequential(nn.Linear(4, 3)), Of(lambda s, x: F.linear(x, s.m.weight, s.m.bias), m=nn.Linear(4, 3))
    functional.m.load_state_dict(plain[0].state_dict())
    x, found = normal(6, 4), []
    for net in (plain, functional):
        bayes = HorseshoeModule(net, sd=0.3)
        torch.manual_seed(1)
        with torch.no_grad():
            found.append(torch.stack([bayes(x) for _ in range(300)]))
    assert torch.equal(*found) and found[0].std(0).min() > 0.1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_large_inputs_do_not_overflow_in_mixed_precision(dtype):
    """Squares of inputs are beyond half precision."""
    torch.manual_seed(0)
    bayes, x = attach_posterior(nn.Sequential(nn.Linear(4, 3), nn.Tanh()), "bbb-local", sd=1e-3), 500 * normal(6, 4)
    with torch.autocast("cpu", dtype=dtype):
        out = bayes.net[0](x)
        noisy = attach_posterior(bayes.net[0], "bbb-local", sd=1e-3)
        draws = torch.stack([noisy(x) for _ in range(300)]).float()
    assert out.dtype == dtype and torch.isfinite(draws).all()
    want = 1e-3 * (x.square().sum(1, keepdim=True) + 1).sqrt().expand(6, 3)
    assert_close(draws.std(0), want, rtol=0.25, atol=0.02 * float(out.abs().max()) * (dtype is torch.bfloat16))


# --- activation checkpointing ------------------------------------------------------------------------------------------------
class Checkpointed(nn.Module):
    """The middle of three layers is computed anew in the backward pass."""

    def __init__(self, reentrant, how="checkpoint"):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.middle, self.last = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.reentrant, self.how = reentrant, how

    def forward(self, x):
        h = torch.relu(self.first(x))
        if self.how == "functional":
            return self.last(checkpoint(lambda t: t @ self.middle.weight.T, h, use_reentrant=self.reentrant))
        if self.how == "in sequence":
            parts = nn.Sequential(self.middle, nn.Tanh())
            return self.last(checkpoint_sequential(parts, 2, h, use_reentrant=self.reentrant))
        if self.how == "inside of another":
            inner = lambda t: checkpoint(self.middle, t, use_reentrant=self.reentrant)  # noqa: E731
            return self.last(checkpoint(inner, h, use_reentrant=self.reentrant))
        return self.last(checkpoint(self.middle, h, use_reentrant=self.reentrant))


@pytest.mark.parametrize("how", ["checkpoint", "functional", "in sequence", "inside of another"])
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("inference", ["bbb-local", "bbb-global", "ivon"])
def test_checkpoints_of_drawn_weights_are_refused_at_once(inference, reentrant, how):
    bayes = attach_posterior(Checkpointed(reentrant, how), inference, n_examples=6)
    for mode in (True, False):  # gradients of the means would be wrong, too
        with pytest.raises(ValueError, match=r"checkpointing \(torch.utils.checkpoint\).*activebmr.*'middle'.*'middle.weight'"):
            bayes.train(mode)(normal(6, 4).requires_grad_())
    if not reentrant:  # which would warn
        with torch.no_grad():
            assert torch.isfinite(bayes.train()(normal(6, 4))).all()  # there is no backward pass
        assert torch.isfinite(bayes.predict(normal(6, 4), 2)).all()


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("inference", ["bbb-local", "bbb-global", "ivon"])
def test_checkpoints_of_other_parts_are_none_of_its_business(inference, reentrant):
    names, found = ["first.weight", "last.weight", "last.bias"], []
    for how in ("checkpoint", None):
        net = Checkpointed(reentrant)
        if how is None:
            net.forward = lambda x, net=net: net.last(net.middle(torch.relu(net.first(x))))
        bayes = attach_posterior(net, inference, names=names, n_examples=6)
        torch.manual_seed(1)
        bayes.train()(normal(6, 4)).square().sum().backward()
        found.append({name: p.grad for name, p in bayes.named_parameters() if p.grad is not None})
    assert "net.middle.weight" in found[0]
    assert_close(*found)


@pytest.mark.parametrize("inference", ["bbb-local", "bbb-global", "ivon"])
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_around_the_whole_computes_the_same(inference, reentrant):
    """It draws again what it drew, because checkpoints keep random numbers."""
    found = []
    for on in (True, False):
        torch.manual_seed(0)
        bayes = attach_posterior(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), inference, n_examples=6).train()
        x = normal(6, 4).requires_grad_()
        torch.manual_seed(1)
        out = checkpoint(bayes, x, use_reentrant=reentrant) if on else bayes(x)
        out.square().sum().backward()
        found.append([x.grad, *(p.grad for p in bayes.posterior.parameters())])
    assert_close(*found)
    assert math.isfinite(found[0][0].sum())
