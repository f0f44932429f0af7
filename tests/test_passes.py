"""Passes of noisy networks: whose draws are whose, whatever the shapes of inputs, the precision and the way to call."""

from __future__ import annotations

import copy
import math
import pickle

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from nets import counts_on_a_size, made, net_of, pruned  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from activebmr.pruning import attach_noise, compact, prune_share  # noqa: E402
from activebmr.pruning.structures.criteria import L2Norm  # noqa: E402


@pytest.fixture(autouse=True)
def same_every_time():
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def wide(noisy):
    """Noise of about 1, with draws that differ much."""
    for noise in noisy.noise.values():
        nn.init.constant_(noise.mu, -0.5)
        nn.init.constant_(noise.log_sigma, -0.5)
    return noisy


def fixed(noisy):
    for noise in noisy.noise.values():
        nn.init.constant_(noise.mu, 5.0)
        nn.init.constant_(noise.log_sigma, -20.0)
    return noisy


L = nn.Linear


# --- one draw for each example --------------------------------------------------------------------------------------------
def tokens_in_rows(self, x):
    """Linear layers see ``(n * t, width)``."""
    n, t, d = x.shape
    return self.b(torch.tanh(self.a(x.reshape(n * t, d)))).reshape(n, t, 3)


def time_in_front(self, x):
    """Linear layers see ``(t, n, width)``."""
    return self.b(torch.tanh(self.a(x.transpose(0, 1)))).transpose(0, 1)


def time_in_front_in_rows(self, x):
    """Linear layers see ``(t * n, width)``."""
    n, t, d = x.shape
    return self.b(torch.tanh(self.a(x.transpose(0, 1).reshape(t * n, d)))).reshape(t, n, 3).transpose(0, 1)


def heads_in_front(self, x):
    """Linear layers see ``(n * h, t, width)``."""
    n, t, d = x.shape
    h = x.reshape(n, 2, t // 2, d).flatten(0, 1)
    return self.b(torch.tanh(self.a(h))).reshape(n, t, 3)


def convolved(self, x):
    """Convolutions see ``(n, width, t)``."""
    return self.d(torch.tanh(self.c(x.transpose(1, 2)))).transpose(1, 2)


FORWARDS = {f.__name__: f for f in (tokens_in_rows, time_in_front, time_in_front_in_rows, heads_in_front, convolved)}


@pytest.mark.parametrize("name", FORWARDS)
def test_tokens_of_an_example_share_its_draw_and_examples_do_not(name):
    net = net_of(FORWARDS[name], a=L(6, 5), b=L(5, 3), c=nn.Conv1d(6, 5, 1), d=nn.Conv1d(5, 3, 1)).double()
    same = torch.randn(6, dtype=torch.float64).expand(8, 4, 6)  # all tokens of all examples are equal
    noisy = wide(attach_noise(net, example_inputs=same[:2], draws=None))
    out = noisy(same)
    torch.testing.assert_close(out, out[:, :1].expand_as(out))
    assert len(out[:, 0].detach().round(decimals=9).unique(dim=0)) == 8
    few = wide(attach_noise(net, example_inputs=same[:2], draws=4))(same)  # examples take turns
    torch.testing.assert_close(few[:4], few[4:])
    assert len(few[:, 0].detach().round(decimals=9).unique(dim=0)) == 4
    torch.testing.assert_close(noisy.eval()(same)[:, 0], noisy(same)[:, 1])


def test_draws_are_those_of_each_example_whatever_is_called():
    """The factor of an example, read off the inputs of a layer, is the same for all places that belong to it."""
    net = net_of(time_in_front_in_rows, a=L(6, 5), b=L(5, 3)).double()
    x = torch.randn(7, 4, 6, dtype=torch.float64)
    noisy, read = wide(attach_noise(net, example_inputs=x[:3], draws=None)), {}
    forward = net.b.forward
    net.b.forward = lambda h: forward(read.setdefault("b", h))
    noisy(x)
    ratio = (read["b"] / torch.tanh(net.a(x.transpose(0, 1).reshape(28, 6)))).reshape(4, 7, 5)
    torch.testing.assert_close(ratio, ratio[:1].expand(4, -1, -1))
    assert len(ratio[0].detach().round(decimals=9).unique(dim=0)) == 7


def first(self, x):
    return self.b(torch.tanh(self.a(x)))


CALLS = {
    # forward, how it is called with x (n, 4, 6)
    "a dict": (lambda self, batch: first(self, batch["x"]), lambda x: ({"x": x},)),
    "keywords": (lambda self, x, scale: first(self, x * scale), lambda x: {"scale": torch.ones(len(x), 1, 1), "x": x}),
    "mask first": (
        lambda self, mask, x: first(self, x.masked_fill(mask[:, :, None], 0.0)),
        lambda x: (torch.zeros(len(x), 4, dtype=torch.bool), x),
    ),
    "mask for all examples first": (
        lambda self, mask, x: first(self, mask @ x),
        lambda x: (torch.eye(4, dtype=torch.float64), x),
    ),
    "numbers beside": (lambda self, x, k, flag=None: first(self, x * k), lambda x: (x, 2.0)),
    "a list in a tuple": (lambda self, pair: first(self, pair[0] + pair[1]), lambda x: ([x, x],)),
}


@pytest.mark.parametrize("name", CALLS)
def test_examples_are_found_among_arguments_of_all_kinds(name):
    forward, call = CALLS[name]
    net = net_of(forward, a=L(6, 5), b=L(5, 3)).double()
    same = torch.randn(6, dtype=torch.float64).expand(9, 4, 6)
    noisy = wide(attach_noise(net, example_inputs=call(same[:3]), draws=None))
    given = call(same)
    out = noisy(**given) if isinstance(given, dict) else noisy(*given)
    torch.testing.assert_close(out, out[:, :1].expand_as(out))
    assert len(out[:, 0].detach().round(decimals=9).unique(dim=0)) == 9


def test_time_first_inputs_are_pruned_as_any():
    """Which axis holds examples cannot be told from the shapes; means and what is removed do not depend on it."""
    net = net_of(lambda self, x: self.b(self.a(x)[0]), a=nn.LSTM(6, 5), b=L(5, 3))
    x = torch.randn(7, 2, 6)
    noisy = wide(attach_noise(net, example_inputs=x))
    assert noisy(x).shape == (7, 2, 3) and noisy(torch.randn(5, 3, 6)).shape == (5, 3, 3)
    assert not torch.allclose(noisy(x), noisy(x))
    noisy.remove({"a": torch.arange(5) < 2})
    noisy.eval()
    small = compact(noisy, x)
    assert small.a.hidden_size == 3
    longer = torch.randn(11, 4, 6)
    torch.testing.assert_close(small(longer), noisy(longer))


@pytest.mark.parametrize(
    "net, shape",
    [
        (lambda: nn.Sequential(L(6, 5), nn.Tanh(), L(5, 3)), (6,)),
        (lambda: nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Conv2d(5, 3, 3)), (2, 8, 8)),
        (lambda: nn.TransformerEncoderLayer(6, 2, 5, batch_first=True, dropout=0.0), (4, 6)),
    ],
)
def test_a_single_example_without_an_axis_of_its_own(net, shape):
    net = net().double()
    batch = torch.randn(4, *shape, dtype=torch.float64)
    one = batch[0]
    for example_inputs in (batch[:2], one):
        noisy = wide(attach_noise(net, example_inputs=example_inputs))
        assert noisy.train()(one).shape == net(one).shape
        assert not torch.allclose(noisy(one), noisy(one))
        noisy.eval()
        torch.testing.assert_close(noisy(one), noisy(batch)[0])
        torch.testing.assert_close(fixed(noisy)(one), net.eval()(one), rtol=1e-4, atol=1e-6)


def test_an_empty_batch_goes_through():
    noisy = attach_noise(nn.Sequential(L(6, 5), nn.Tanh(), L(5, 3)))
    for mode in (True, False):
        assert noisy.train(mode)(torch.empty(0, 6)).shape == (0, 3)


def test_examples_that_are_held_in_another_way_than_shown_are_refused():
    def forward(self, x):
        rows = x.reshape(-1, 6)
        y = self.b(torch.tanh(self.a(rows[:10] if len(rows) > 8 else rows)))
        return y.sum(0) + x.sum((1, 2))[:, None]

    noisy, x = attach_noise(net_of(forward, a=L(6, 5), b=L(5, 3)), example_inputs=torch.randn(2, 4, 6)), torch.randn(3, 4, 6)
    assert noisy(x[:2]).shape == (2, 3)
    said = "inputs must hold examples as example_inputs did: 'b' is handed 10 rows for 3 examples"
    with pytest.raises(ValueError, match=said):
        noisy(x)
    assert noisy.eval()(x).shape == (3, 3)


# --- precision ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_noise_stays_in_double_precision_and_learns_in_networks_of_any(dtype):
    noisy = attach_noise(nn.Sequential(L(6, 5), nn.ReLU(), L(5, 3))).to(dtype)
    noise = noisy.of("0")
    assert noisy.net[0].weight.dtype == dtype and noise.mu.dtype == noise.log_sigma.dtype == torch.float64
    assert noise.alive.dtype == torch.bool and noisy.kl().dtype == torch.float64
    x = torch.randn(9, 6, dtype=dtype)
    assert noisy(x).dtype == dtype
    optimizer = torch.optim.SGD(noisy.parameter_groups(1e-3))
    before = noise.log_sigma.detach().clone()
    (noisy(x).double().square().mean() + noisy.kl()).backward()
    optimizer.step()
    moved = noise.log_sigma.detach() - before
    assert (moved != 0).all() and (moved.abs() < 0.03).any()  # less than a step of bfloat16 there
    noisy.eval()
    small = compact(noisy, x)
    tolerance = 4 * float(torch.finfo(dtype).eps)
    assert small[0].weight.dtype == dtype
    torch.testing.assert_close(small(x), noisy(x), rtol=tolerance, atol=tolerance)


def test_networks_that_are_cast_before_get_noise_too():
    net = nn.Sequential(L(6, 5), nn.LayerNorm(5), L(5, 4), nn.Tanh(), L(4, 3)).bfloat16()
    noisy = wide(attach_noise(net))
    assert noisy.of("0").mu.dtype == torch.float64 and noisy(torch.randn(9, 6).bfloat16()).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        out = wide(attach_noise(nn.Sequential(L(6, 5), nn.ReLU(), L(5, 3))))(torch.randn(9, 6))
    assert out.dtype == torch.bfloat16


# --- activation checkpointing ---------------------------------------------------------------------------------------------
class Checkpointed(nn.Module):
    def __init__(self, on, reentrant=False):
        super().__init__()
        self.a, self.b, self.c, self.d = L(6, 5), L(5, 5), L(5, 4), L(4, 3)
        self.on, self.reentrant = on, reentrant

    def forward(self, x):
        h = torch.tanh(self.a(x))
        part = lambda t: F.gelu(self.c(torch.tanh(self.b(t))))  # noqa: E731
        return self.d(checkpoint(part, h, use_reentrant=self.reentrant) if self.on else part(h))


def hooks(net):
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in net.modules())


def with_checkpoints(on, **kwargs):
    torch.manual_seed(3)
    return wide(attach_noise(Checkpointed(on, **kwargs), example_inputs=torch.randn(2, 6)))


def gradients(noisy, x):
    torch.manual_seed(4)
    noisy(x).square().sum().backward()
    found = {name: p.grad.clone() for name, p in noisy.named_parameters()}
    noisy.zero_grad()
    return found


def test_gradients_with_checkpoints_are_those_without():
    one, two, x = with_checkpoints(False), with_checkpoints(True), torch.randn(9, 6)
    for _ in range(2):  # draws of the part that runs again are those of its first run
        want, got = gradients(one, x), gradients(two, x)
        assert want.keys() == got.keys() and all((g != 0).any() for g in got.values())
        torch.testing.assert_close(got, want)
        assert hooks(two.net) == 0
    found = []
    for noisy in (one, two):
        torch.manual_seed(5)
        found += torch.autograd.grad(noisy(x.requires_grad_()).sum(), x)
    torch.testing.assert_close(*found)


def test_what_is_checkpointed_may_be_called_alone_before_it_runs_again():
    noisy, x = with_checkpoints(True), torch.randn(9, 6)
    want = gradients(with_checkpoints(True), x)
    alone = noisy.net(x)
    torch.manual_seed(4)
    loss = noisy(x).square().sum()
    assert torch.equal(noisy.net(x), alone)  # between the two it is what it was
    loss.backward()
    torch.testing.assert_close({n: p.grad for n, p in noisy.named_parameters()}, want)


def test_two_passes_that_wait_are_refused():
    noisy, x = with_checkpoints(True), torch.randn(9, 6)
    one = noisy(x)
    with pytest.raises(RuntimeError, match="must go backward after each forward pass, before the next; two passes wait"):
        noisy(x)
    assert hooks(noisy.net) == 0
    del one
    gradients(noisy, x)  # and goes on
    with torch.no_grad():
        for _ in range(2):  # nothing waits where there are no gradients
            noisy(x)


def test_gradients_with_checkpoints_in_evaluation_mode_are_those_without():
    """So are those with noise that is not trained: the part runs again all the same."""
    x = torch.randn(9, 6)
    for change in (lambda noisy: noisy.eval(), lambda noisy: noisy.noise.requires_grad_(False)):
        found = []
        for on in (False, True):
            noisy = with_checkpoints(on)
            change(noisy)
            torch.manual_seed(4)
            noisy(x).square().sum().backward()
            found.append({name: p.grad for name, p in noisy.net.named_parameters()})
            assert hooks(noisy.net) == 0
        torch.testing.assert_close(found[1], found[0])


def test_checkpoints_that_hide_noise_from_gradients_are_refused():
    noisy, x = with_checkpoints(False, reentrant=True), torch.randn(9, 6)
    noisy.net.on = True
    said = "must not have reentrant activation checkpointing around '[bc]'.*use_reentrant=False"
    with pytest.raises(RuntimeError, match=said):
        noisy(x)
    assert hooks(noisy.net) == 0


def read_by_function(self, t):
    return F.linear(torch.tanh(self.a(t)), self.b.weight)


def read_by_recurrent_layer(self, t):
    return self.b(self.c(self.a(t)[:, None].expand(-1, 3, -1))[0][:, 2])


@pytest.mark.parametrize("part", [read_by_function, read_by_recurrent_layer])
def test_checkpoints_around_weights_that_are_multiplied_themselves_are_refused(part):
    """When the part runs again they are back, so that gradients would be those of a network without noise."""

    def forward(self, x):
        return checkpoint(part, self, x, use_reentrant=False) if self.on else part(self, x)

    net, x = net_of(forward, a=L(6, 5), b=L(5, 3), c=nn.GRU(5, 5, batch_first=True)), torch.randn(9, 6)
    net.on = False
    noisy = attach_noise(net, example_inputs=x)
    net.on, before = True, dict(net.named_parameters())
    with pytest.raises(RuntimeError, match="checkpoint.*weight.*whose noise multiplies the weight itself"):
        noisy(x)
    assert all(p is before[name] for name, p in net.named_parameters()) and hooks(net) == 0
    with torch.no_grad():
        assert noisy(x).shape == (9, 3)


# --- copies, and what is printed -------------------------------------------------------------------------------------------
def test_copies_are_independent():
    noisy = wide(attach_noise(nn.Sequential(L(6, 5), nn.LayerNorm(5), L(5, 4), nn.Tanh(), L(4, 3))))
    noisy.remove({"0": torch.arange(5) < 2})
    x = torch.randn(9, 6)
    for twin in (copy.deepcopy(noisy), pickle.loads(pickle.dumps(noisy))):
        assert twin.training and twin.sites.keys() == noisy.sites.keys() and twin.draws == noisy.draws
        torch.manual_seed(5)
        one = noisy(x)
        torch.manual_seed(5)
        assert torch.equal(one, twin(x))
        twin.remove({"2": torch.arange(4) < 3})
        with torch.no_grad():
            twin.of("0").mu.fill_(-3.0)
            twin.net[0].weight.zero_()
        assert noisy.of("2").alive.all() and (noisy.of("0").mu == -0.5).all() and noisy.net[0].weight.any()
        assert twin.n_removed == 5 and noisy.n_removed == 2
        small = compact(twin.eval(), x)
        torch.testing.assert_close(small(x), twin(x))
    mode = copy.deepcopy(noisy.eval())
    assert not any(m.training for m in mode.modules())


def test_copies_of_a_network_that_waits_for_its_backward_pass():
    noisy, x = with_checkpoints(True), torch.randn(9, 6)
    noisy(x)
    twin = copy.deepcopy(noisy)
    assert hooks(twin.net) == hooks(noisy.net) == 0
    gradients(twin, x)
    gradients(noisy, x)


def test_what_is_printed_tells_shares_and_reasons():
    net = nn.Sequential(L(6, 5), nn.Softmax(-1), L(5, 8), nn.ReLU(), L(8, 3))
    noisy = attach_noise(net, example_inputs=torch.randn(2, 6))
    noisy.remove({"2": torch.arange(8) < 3})
    text = repr(noisy)
    assert "5 of 8 structures left" in text and "2: 5/8" in text
    assert "0: left out, softmax in '1' (Softmax)" in text and "4: left out, they are outputs of the network" in text
    assert noisy.left_out.keys() == {"0", "4"}
    noisy.left_out.clear()
    assert noisy.left_out  # a copy
    text = repr(attach_noise(made("residual")))
    assert "stem: 6/6 (with blocks.0.conv2)" in text
    text = repr(attach_noise(counts_on_a_size(), ["b"], torch.randn(2, 3, 6, 6)))
    assert "b: 6/6, only switched off: the network cannot be run without them" in text


def test_sizes_of_what_is_left():
    """`cost` of what has been removed, of other masks and of all, counted by hand."""
    noisy = pruned(made("mlp"), share=0.0, example_inputs=torch.randn(3, 10))
    noisy.remove({"0": torch.arange(12) >= 5, "2": torch.arange(9) >= 4})
    assert noisy.cost("structures") == 9 and noisy.cost_dense("structures") == 21
    assert noisy.cost() == (10 * 5 + 5) + (5 * 4 + 4) + (4 * 4 + 4)
    assert noisy.cost_dense("parameters") == (10 * 12 + 12) + (12 * 9 + 9) + (9 * 4 + 4)
    assert noisy.cost("flops") == 3 * 2 * (10 * 5 + 5 * 4 + 4 * 4)
    masks = {"0": torch.arange(12) < 7}  # the other site as it is
    assert noisy.cost("parameters", masks) == (10 * 7 + 7) + (7 * 4 + 4) + (4 * 4 + 4)
    step = prune_share(noisy, L2Norm(), 0.0)
    assert step.parameters == noisy.cost("parameters")
    assert math.isclose(step.compression, 1 - noisy.cost() / noisy.cost_dense())
