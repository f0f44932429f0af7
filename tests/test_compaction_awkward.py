"""`compact`: awkward networks, and what cannot be cut, which is refused, left out or switched off, with the reason."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from nets import counts_on_a_size, difference, lively, n_parameters, net_of, pruned  # noqa: E402
from torch import nn  # noqa: E402

from activebmr.pruning import attach_noise  # noqa: E402
from activebmr.pruning.experiments.measuring import measure  # noqa: E402
from activebmr.pruning.structures.compaction import compact, structure_of  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --- awkward networks ----------------------------------------------------------------------------------------------
L, C, R, T = nn.Linear, nn.Conv2d, nn.ReLU, nn.Tanh


def _dynamic(then):
    """A forward that branches on values."""

    def forward(self, x):
        return x if x.sum() > 1e9 else then(self, x)

    return forward


class Mixed(nn.Module):
    """A layer with a forward and a parameter of its own, which nobody calls by the names of torch's layers."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight, self.gain = nn.Parameter(torch.randn(n_in, n_out)), nn.Parameter(torch.rand(n_out))

    def forward(self, x):
        return torch.einsum("...i,io->...o", x, self.weight) * self.gain


AWKWARD = {
    # name: network, shape, names
    "curves into a sum": (
        lambda: net_of(
            lambda s, x: s.out(s.t1(s.a(x)) + s.t2(s.b(x))), a=L(5, 8), b=L(5, 8), t1=T(), t2=nn.GELU(), out=L(8, 3)
        ),
        (5,),
        None,
    ),
    "curves of maps into a sum": (
        lambda: net_of(
            lambda s, x: s.out((s.t1(s.n(s.a(x))) + s.t2(s.b(x))).flatten(1)),
            **{"a": C(3, 8, 3), "b": C(3, 8, 3), "n": nn.BatchNorm2d(8), "t1": T(), "t2": nn.SiLU(), "out": L(128, 3)},
        ),
        (3, 6, 6),
        None,
    ),
    "normalisation after ReLU": (
        lambda: nn.Sequential(C(3, 8, 3), R(), nn.BatchNorm2d(8), C(8, 6, 3, bias=False), R(), nn.Flatten(), L(24, 3)),
        (3, 6, 6),
        None,
    ),
    "normalisation after ReLU, with a border": (
        lambda: nn.Sequential(C(3, 8, 3), R(), nn.BatchNorm2d(8), C(8, 6, 3, padding=1), R(), nn.Flatten(), L(96, 3)),
        (3, 6, 6),
        None,
    ),
    "normalisation after tanh": (
        lambda: nn.Sequential(L(5, 8), T(), nn.BatchNorm1d(8), L(8, 6), T(), L(6, 2)),
        (5,),
        None,
    ),
    "normalisation without weights": (
        lambda: nn.Sequential(
            L(5, 8), nn.BatchNorm1d(8, affine=False), R(), L(8, 6), nn.BatchNorm1d(6, affine=False), T(), L(6, 2)
        ),
        (5,),
        None,
    ),
    "depthwise": (
        lambda: nn.Sequential(C(3, 8, 1), R(), C(8, 8, 3, groups=8), R(), C(8, 6, 1), R(), nn.Flatten(), L(96, 2)),
        (3, 6, 6),
        None,
    ),
    "depthwise between named layers": (
        lambda: nn.Sequential(C(3, 8, 1), R(), C(8, 8, 3, groups=8), R(), C(8, 6, 1), R(), nn.Flatten(), L(96, 2)),
        (3, 6, 6),
        ["0", "4"],
    ),
    "grouped": (
        lambda: nn.Sequential(C(3, 8, 1), R(), C(8, 8, 3, groups=2), R(), C(8, 6, 1), R(), nn.Flatten(), L(96, 2)),
        (3, 6, 6),
        None,
    ),
    "grouped and named": (
        lambda: nn.Sequential(C(3, 8, 1), R(), C(8, 8, 3, groups=2), R(), C(8, 6, 1), R(), nn.Flatten(), L(96, 2)),
        (3, 6, 6),
        ["0", "2"],
    ),
    "tokens flattened": (
        lambda: nn.Sequential(L(5, 6), T(), nn.Flatten(), L(18, 6), R(), L(6, 2)),
        (3, 5),
        ["0", "3"],
    ),
    "means of maps": (
        lambda: net_of(lambda s, x: s.b(s.t(s.a(x)).mean((2, 3))), a=C(3, 8, 3), t=T(), b=L(8, 3)),
        (3, 6, 6),
        None,
    ),
    "series": (
        lambda: nn.Sequential(
            *(nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6), nn.SiLU(), nn.AvgPool1d(2)),
            *(nn.Conv1d(6, 5, 1), R(), nn.Flatten(), L(15, 3)),
        ),
        (3, 8),
        None,
    ),
    "curves that are not 0 at 0": (
        lambda: nn.Sequential(C(3, 6, 3), nn.Softplus(), C(6, 5, 3, padding=1), nn.Sigmoid(), nn.Flatten(), L(80, 3)),
        (3, 6, 6),
        None,
    ),
    "tanh read twice": (
        lambda: net_of(lambda s, x: (lambda h: s.b(h) * s.c(h))(s.t(s.a(x))), a=L(5, 8), t=T(), b=L(8, 3), c=L(8, 3)),
        (5,),
        None,
    ),
    "function for an activation": (
        lambda: net_of(lambda s, x: s.b(torch.tanh(s.a(x))), a=L(5, 8), b=L(8, 3)),
        (5,),
        None,
    ),
    "normalisation first": (
        lambda: net_of(
            lambda s, x: (lambda h: s.out((h + s.b(s.r2(s.n2(s.a(s.r1(s.n1(h))))))).flatten(1)))(s.stem(x)),
            **{"stem": C(3, 6, 3), "n1": nn.BatchNorm2d(6), "r1": R(), "a": C(6, 5, 3, padding=1)},
            **{"n2": nn.BatchNorm2d(5), "r2": R(), "b": C(5, 6, 3, padding=1), "out": L(96, 3)},
        ),
        (3, 6, 6),
        None,
    ),
    "one normalisation for two layers": (
        lambda: net_of(
            lambda s, x: s.c(s.r(s.n(s.a(x))) + s.n(s.b(x))),
            **{"a": L(5, 8), "b": L(5, 8), "n": nn.BatchNorm1d(8), "r": R(), "c": L(8, 3)},
        ),
        (5,),
        None,
    ),
    "one normalisation for two layers in turn": (
        lambda: net_of(
            lambda s, x: s.c(s.n(s.b(s.r(s.n(s.a(x)))))),
            **{"a": L(5, 8), "b": L(8, 8), "n": nn.BatchNorm1d(8), "r": R(), "c": L(8, 3)},
        ),
        (5,),
        None,
    ),
    "one curve for two layers": (
        lambda: net_of(lambda s, x: s.c(s.t(s.b(s.t(s.a(x))))), **{"a": L(5, 8), "b": L(8, 7), "c": L(7, 3), "t": T()}),
        (5,),
        None,
    ),
    "normalisation of tokens": (
        lambda: nn.Sequential(L(5, 8), nn.BatchNorm1d(4), R(), nn.Flatten(), L(32, 3)),
        (4, 5),
        ["0"],
    ),
    "dynamic": (
        lambda: net_of(_dynamic(lambda s, x: s.c(torch.sigmoid(s.b(F.relu(s.a(x)))))), a=L(5, 8), b=L(8, 7), c=L(7, 3)),
        (5,),
        ["a", "b"],
    ),
    "dynamic, before LayerNorm": (
        lambda: net_of(_dynamic(lambda s, x: s.c(s.n(s.a(x)))), a=L(5, 8), n=nn.LayerNorm(8), c=L(8, 3)),
        (5,),
        ["a"],
    ),
    "dynamic sum, one layer named": (
        lambda: net_of(_dynamic(lambda s, x: s.c(F.relu(s.a(x) + s.b(x)))), a=L(5, 8), b=L(5, 8), c=L(8, 3)),
        (5,),
        ["a"],
    ),
    "dynamic concatenation": (
        lambda: net_of(
            _dynamic(lambda s, x: s.c(torch.cat([F.relu(s.a(x)), torch.sigmoid(s.b(x))], 1))),
            **{"a": L(5, 8), "b": L(5, 6), "c": L(14, 3)},
        ),
        (5,),
        ["a", "b"],
    ),
    "library encoder": (
        lambda: nn.TransformerEncoderLayer(12, 3, 20, batch_first=True),
        (4, 12),
        ["self_attn", "linear1"],
    ),
    "library encoders, tokens first": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 3, 20), 2, enable_nested_tensor=False),
        (4, 12),
        ["layers.0.self_attn", "layers.1.self_attn", "layers.1.linear1"],
    ),
    "gates": (
        lambda: net_of(
            lambda s, x: s.b(F.glu(s.a(x), -1)) + s.c(F.silu(s.d(x)) * s.e(x)),
            **{"a": L(5, 12), "b": L(6, 3), "c": L(7, 3), "d": L(5, 7), "e": L(5, 7)},
        ),
        (5,),
        None,
    ),
    "transposed": (
        lambda: nn.Sequential(
            *(C(3, 8, 3), R(), nn.ConvTranspose2d(8, 6, 2, 2), nn.BatchNorm2d(6), R(), C(6, 4, 1), nn.Flatten(), L(256, 2))
        ),
        (3, 6, 6),
        None,
    ),
    "groups of channels": (
        lambda: nn.Sequential(
            C(3, 8, 3), nn.GroupNorm(2, 8), R(), C(8, 6, 3, padding=1), nn.GroupNorm(1, 6), nn.Flatten(), L(96, 2)
        ),
        (3, 6, 6),
        None,
    ),
    "root mean squares": (lambda: nn.Sequential(L(5, 8), nn.RMSNorm(8), L(8, 6), R(), nn.RMSNorm(6), L(6, 2)), (5,), None),
    "a layer of one's own": (lambda: nn.Sequential(Mixed(5, 8), R(), Mixed(8, 7), T(), L(7, 2)), (5,), None),
    "a slope for each channel": (
        lambda: nn.Sequential(C(3, 8, 3), nn.PReLU(8), C(8, 5, 1), nn.Flatten(), L(80, 2)),
        (3, 6, 6),
        None,
    ),
    "dense": (
        lambda: net_of(
            lambda s, x: (lambda h: s.c(torch.cat([h, F.relu(s.b(h)), x], 1)))(F.relu(s.a(x))), a=L(5, 6), b=L(6, 7), c=L(18, 3)
        ),
        (5,),
        None,
    ),
    "recurrent": (
        lambda: net_of(lambda s, x: s.b(s.a(s.e(x))[0][:, -1]), e=L(5, 6), a=nn.LSTM(6, 7, batch_first=True), b=L(7, 3)),
        (4, 5),
        None,
    ),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_networks(name):
    make, shape, names = AWKWARD[name]
    torch.manual_seed(3)
    net, x = lively(make()), torch.randn(2, *shape)
    noisy = pruned(net, names=names, seed=2, example_inputs=x)
    assert any(mask.any() for mask in noisy.gone().values())
    small = compact(noisy, torch.randn(1, *shape))
    worst, spread = difference(noisy, small, torch.randn(300, *shape))
    assert worst < min(1e-5, 1e-3 * spread)
    assert noisy.cost("parameters") == n_parameters(small) < n_parameters(net)
    assert structure_of(small)[-1].left == {}


REFUSED = {
    # name: network, shape, the layer that is named, reason
    "outputs": (lambda: nn.Sequential(L(10, 8), T(), L(8, 9)), (10,), "2", "they are outputs of the network"),
    "softmax": (lambda: net_of(lambda s, x: s.c(torch.softmax(s.a(x), -1)), a=L(5, 8), c=L(8, 3)), (5,), "a", "softmax"),
    "means": (lambda: net_of(lambda s, x: s.b(torch.tanh(s.a(x)).mean(-1)), a=L(5, 8), b=L(4, 3)), (4, 5), "a", "read|mean"),
    "sorted": (lambda: net_of(lambda s, x: s.b(s.a(x).sort(-1)[0]), a=L(5, 8), b=L(8, 3)), (5,), "a", "sort"),
    "summed up": (lambda: net_of(lambda s, x: s.b(s.a(x).cumsum(-1)), a=L(5, 8), b=L(8, 3)), (5,), "a", "cumsum"),
    "transformed": (lambda: net_of(lambda s, x: s.b(torch.fft.fft(s.a(x)).real), a=L(5, 8), b=L(8, 3)), (5,), "a", "fft"),
    "given to what is fixed": (
        lambda: net_of(lambda s, x: s.b(s.a(x) * x), a=L(8, 8), b=L(8, 3)),
        (8,),
        "a",
        "fixed|cannot go",
    ),
    "one unit": (lambda: nn.Sequential(L(5, 1), T(), L(1, 3)), (5,), "0", "one unit"),
    "not called": (
        lambda: net_of(lambda s, x: s.b(torch.tanh(s.a(x))), a=L(5, 8), b=L(8, 3), c=L(8, 3)),
        (5,),
        "c",
        "not called",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_layers_that_cannot_go_are_refused_by_name_and_left_out_with_the_reason(name):
    make, shape, layer, reason = REFUSED[name]
    x = torch.randn(2, *shape)
    with pytest.raises(ValueError, match=f"names must be layers whose structures can go; '{layer}' is left out: .*({reason})"):
        attach_noise(make(), [layer], x)
    both = net_of(lambda s, x: s.one(x).sum() + s.three(torch.tanh(s.two(x.flatten(1)))), one=make())
    both.two, both.three = L(x[0].numel(), 4), L(4, 2)
    noisy = attach_noise(both, example_inputs=x)  # what else there is goes on
    assert "two" in noisy.sites and not any(layer in s.layers for s in noisy.sites.values())
    assert f"one.{layer}" in noisy.left_out


def test_what_fails_when_it_is_cut_is_left_out_or_switched_off_if_it_is_named():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6)
    noisy = attach_noise(counts_on_a_size(), example_inputs=x)
    assert list(noisy.sites) == ["a"] and "the network cannot be run without them" in noisy.left_out["b"]
    noisy = pruned(counts_on_a_size(), names=["a", "b"], share=0.5, example_inputs=x)
    assert noisy.sites["a"].stays is None and noisy.sites["b"].stays.startswith("the network cannot be run without them (Inde")
    a, b = noisy.gone().values()
    assert a.any() and b.any()
    small = compact(noisy, x)
    assert small.a.out_channels == 5 - int(a.sum()) and small.b.out_channels == 6
    (left,) = structure_of(small)[0].left["b"].items()
    assert left == (noisy.sites["b"].stays, b.nonzero().flatten().tolist())
    assert noisy.cost("parameters") == n_parameters(small)  # what stays in place is counted
    assert noisy.cost("flops") == measure(small, x, repeats=1).flops
    assert difference(noisy, small, torch.randn(300, 3, 6, 6))[0] < 1e-5


def test_branches_that_the_example_inputs_of_attach_did_not_show():
    """Found when it is made smaller: whatever changes outputs there stays in place."""

    def size_in_the_code(self, x):
        h = F.relu(self.a(x))
        if len(x) > 3 and h.shape[1] != 8:
            raise IndexError("there must be 8 features")
        return self.c(torch.tanh(self.b(h)))

    def another_reader(self, x):
        h = F.relu(self.a(x))
        return self.c(torch.tanh(self.b(h))) + (self.d(h) if len(x) > 3 else 0)

    for forward in (size_in_the_code, another_reader):
        torch.manual_seed(0)
        noisy = pruned(net_of(forward, a=L(5, 8), b=L(8, 7), c=L(7, 3), d=L(8, 3)), share=0.5, example_inputs=torch.randn(2, 5))
        assert list(noisy.sites) == ["a", "b"] and all(mask.any() for mask in noisy.gone().values())
        if forward is another_reader:  # where it reads was never seen
            with pytest.raises(RuntimeError, match="'d' was not called then"):
                noisy(torch.randn(8, 5))
            assert compact(noisy, torch.randn(2, 5)).a.out_features == 8 - int(noisy.gone()["a"].sum())
            continue
        small = compact(noisy, torch.randn(8, 5))
        assert list(structure_of(small)[0].left) == ["a"] and small.a.out_features == 8
        assert small.c.in_features == 7 - int(noisy.gone()["b"].sum())
        for n in (2, 50):
            assert difference(noisy, small, torch.randn(n, 5))[0] < 1e-5


def test_networks_that_draw_in_evaluation_mode_are_refused():
    """Nothing can be compared."""
    net = net_of(lambda s, x: s.b(F.dropout(s.a(x), 0.5, training=True)), a=L(5, 30), b=L(30, 3))
    for names in (None, ["a"]):
        with pytest.raises(ValueError, match="compute the same"):
            attach_noise(net, names, torch.randn(2, 5))


def test_means_that_cannot_be_folded_into_weights_are_refused():
    """A weight that its layer reads in one branch and a function in another, which was not shown: there it has no noise."""

    def forward(self, x):
        h = F.relu(self.a(x))
        return F.linear(h, self.b.weight) if len(x) > 3 else self.b(h)

    noisy = pruned(net_of(forward, a=L(5, 8), b=L(8, 7)), example_inputs=torch.randn(2, 5))
    assert n_parameters(compact(noisy, torch.randn(2, 5))) < n_parameters(noisy.net)
    with pytest.raises(RuntimeError, match="noisy cannot be made smaller: .* it computes something else"):
        compact(noisy, torch.randn(8, 5))


def test_an_uninformative_example_does_no_harm():
    noisy = pruned(lively(AWKWARD["tokens flattened"][0]()), share=0.5, example_inputs=torch.zeros(1, 3, 5))
    small = compact(noisy, torch.zeros(1, 3, 5))
    assert n_parameters(small) < n_parameters(noisy.net)
    assert difference(noisy, small, torch.randn(300, 3, 5))[0] < 1e-5


def test_keyword_arguments_and_whole_numbers():
    torch.manual_seed(0)
    net = net_of(
        lambda self, tokens, scale: self.b(self.t(self.a(self.e(tokens).mean(1) * scale))),
        **{"e": nn.Embedding(10, 6), "a": L(6, 8), "t": T(), "b": L(8, 3)},
    )
    x = {"tokens": torch.randint(0, 10, (50, 4)), "scale": torch.rand(50, 1)}
    for example in ({k: v[:2] for k, v in x.items()}, tuple(v[:2] for v in x.values())):
        noisy = pruned(net, share=0.5, example_inputs=example)
        small = compact(noisy, example)
        with torch.no_grad():
            assert torch.allclose(noisy(**x), small(**x), atol=1e-6)
        gone = noisy.gone()
        assert small.a.out_features == 8 - int(gone["a"].sum()) < 8
        assert small.e.embedding_dim == small.a.in_features == 6 - int(gone["e"].sum()) < 6


def test_outputs_that_are_no_tensors():
    net = net_of(lambda s, x: {"y": s.b(s.t(s.a(x))), "n": (x.shape[0], None)}, a=L(5, 8), t=T(), b=L(8, 3))
    noisy = pruned(lively(net))
    small, x = compact(noisy, torch.randn(1, 5)), torch.randn(50, 5)
    with torch.no_grad():
        assert torch.allclose(noisy(x)["y"], small(x)["y"], atol=1e-6)
    assert small(x)["n"] == (50, None) and small.a.out_features < 8
