"""`compact`: smaller networks compute what the noisy ones do, whatever the layers are and hang together."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch_pruning")

import torch.nn.functional as F  # noqa: E402, N812
from nets import SHAPES, lively, made, mlp, pruned, to_sizes  # noqa: E402
from torch import nn  # noqa: E402

from activebmr.pruning import attach_noise  # noqa: E402
from activebmr.pruning.experiments.measuring import compaction_report, compare, measure  # noqa: E402
from activebmr.pruning.structures.compaction import compact, structure_of  # noqa: E402
from activebmr.pruning.structures.slimming import SlimAttention  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def n_parameters(net):
    return sum(p.numel() for p in net.parameters())


def difference(noisy, small, x):
    """Largest difference of outputs, and their spread over inputs."""
    with torch.no_grad():
        a, b = noisy(x), small(x)
    return float((a - b).abs().max()), float(a.std(dim=0).max())


def net_of(forward, **modules):
    """A network with this forward and these modules."""
    net = type("Net", (nn.Module,), {"forward": forward})()
    for name, module in modules.items():
        net.add_module(name, module)
    return net


# --- the same function, fewer parameters ---------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SHAPES)
def test_output_is_that_of_the_masked_network(name, seed):
    net = made(name, seed)
    noisy = pruned(net, seed=seed + 10)
    small = compact(noisy, torch.randn(1, *SHAPES[name]))
    worst, spread = difference(noisy, small, torch.randn(1000, *SHAPES[name]))
    assert worst < min(1e-5, 1e-3 * spread)  # a fold gone wrong would be seen
    assert n_parameters(small) < n_parameters(net)
    assert structure_of(small)[-1].left == {}
    assert not any("noise" in key or "alive" in key for key in small.state_dict())
    gone = noisy.gone()
    for site in noisy.sites.values():
        layer = small.get_submodule(site.name)
        n = layer.num_heads if site.kind == "heads" else len(layer.weight)
        assert n == site.n - int(gone[site.name].sum())


def test_mlp_has_as_many_parameters_as_counted_by_hand():
    noisy = pruned(made("mlp"), share=0.0)
    to_sizes(noisy, **{"0": 5, "2": 4})
    small = compact(noisy, torch.randn(2, 10))
    assert n_parameters(small) == (10 * 5 + 5) + (5 * 4 + 4) + (4 * 4 + 4)
    assert difference(noisy, small, torch.randn(1000, 10))[0] < 1e-6


def test_lenet_has_as_many_parameters_as_counted_by_hand():
    noisy = pruned(made("lenet"), share=0.0)
    assert n_parameters(noisy.net) == 61706
    to_sizes(noisy, conv1=5, conv2=11, fc1=19, fc2=13)
    small = compact(noisy, torch.randn(1, 1, 28, 28))
    assert n_parameters(small) == (25 * 5 + 5) + (25 * 5 * 11 + 11) + (25 * 11 * 19 + 19) + (19 * 13 + 13) + (13 * 10 + 10)
    assert small.fc1.in_features == 11 * 25


@pytest.mark.parametrize("name", SHAPES)
def test_nothing_pruned_is_the_same_network_with_the_means_in_its_weights(name):
    net = made(name)
    noisy = pruned(net, share=0.0)
    small = compact(noisy, torch.randn(2, *SHAPES[name]))
    assert n_parameters(small) == n_parameters(net)
    assert {k: v.shape for k, v in small.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}
    assert difference(noisy, small, torch.randn(100, *SHAPES[name]))[0] < 1e-5
    assert difference(net, small, torch.randn(100, *SHAPES[name]))[0] > 1e-3


@pytest.mark.parametrize("name", SHAPES)
def test_one_structure_stays_in_each_layer(name):
    noisy = pruned(made(name), share=0.0)
    noisy.remove({n: torch.ones(s.n, dtype=torch.bool) for n, s in noisy.sites.items()})
    small = compact(noisy, torch.randn(2, *SHAPES[name]))
    assert difference(noisy, small, torch.randn(100, *SHAPES[name]))[0] < 1e-5
    assert all(p.numel() > 0 for p in small.parameters())


def test_masks_that_have_been_set_by_hand_may_be_empty():
    noisy = pruned(made("mlp"), share=0.0)
    noisy.of("0").alive[:] = False
    small = compact(noisy, torch.randn(2, 10))
    assert small[0].out_features == 1
    assert difference(noisy, small, torch.randn(100, 10))[0] < 1e-6


@pytest.mark.parametrize("training", [False, True])
def test_network_and_noise_are_left_as_they_were(training):
    net = made("residual")
    noisy = pruned(net).train(training)
    noisy.net.blocks[0].eval()
    noisy.net.head.weight.requires_grad_(False)
    before, modes = copy.deepcopy(noisy.state_dict()), [m.training for m in noisy.modules()]
    small = compact(noisy, torch.randn(2, 3, 8, 8))
    after = noisy.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert modes == [m.training for m in noisy.modules()]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in (*noisy.modules(), *small.modules()))
    assert [k for k, p in small.named_parameters() if not p.requires_grad] == ["head.weight"]
    assert not any(m.training for m in small.modules())
    assert net.stem.out_channels == 6 and all(p.grad is None for p in net.parameters())
    assert not {p.data_ptr() for p in net.parameters()} & {p.data_ptr() for p in small.parameters()}


def test_statistics_of_batch_norm_are_those_of_what_is_left():
    noisy = pruned(made("residual"))
    small = compact(noisy, torch.randn(2, 3, 8, 8))
    kept = ~noisy.gone()["blocks.1.conv1"]
    for name in ("running_mean", "running_var"):
        assert torch.equal(getattr(small.blocks[1].bn1, name), getattr(noisy.net.blocks[1].bn1, name)[kept])


def test_what_is_dead_in_one_member_of_a_residual_group_alone_is_switched_off_there():
    noisy = pruned(made("residual"), share=0.0)
    first = torch.arange(6) < 2
    noisy.remove({"stem": first})  # blocks.0.conv2 adds to the same channels
    small = compact(noisy, torch.randn(2, 3, 8, 8))
    assert small.stem.out_channels == 6 and n_parameters(small) == n_parameters(noisy.net)
    assert not small.stem.weight[:2].any() and not small.bn.weight[:2].any() and not small.bn.bias[:2].any()
    assert small.blocks[0].bn2.weight.all()
    noisy.remove({"blocks.0.conv2": torch.arange(6) < 1})
    small = compact(noisy, torch.randn(2, 3, 8, 8))
    assert small.stem.out_channels == small.blocks[0].conv2.out_channels == small.blocks[1].conv1.in_channels == 5
    assert difference(noisy, small, torch.randn(1000, 3, 8, 8))[0] < 1e-5


def test_smaller_network_can_be_trained_pruned_and_made_smaller_again():
    net = made("lenet")
    first = compact(pruned(net), torch.randn(1, 1, 28, 28))
    noisy = pruned(first, seed=5)
    second = compact(noisy, torch.randn(1, 1, 28, 28))
    assert n_parameters(second) < n_parameters(first) < n_parameters(net)
    assert difference(noisy, second, torch.randn(200, 1, 28, 28))[0] < 1e-5
    assert len(structure_of(first)) == 1 and len(structure_of(second)) == 2
    F.mse_loss(second.train()(torch.randn(4, 1, 28, 28)), torch.zeros(4, 10)).backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in second.parameters())


def test_double_precision_agrees_to_all_digits():
    net = made("residual").double()
    noisy = pruned(net)
    small = compact(noisy, torch.randn(2, 3, 8, 8, dtype=torch.float64))
    assert difference(noisy, small, torch.randn(100, 3, 8, 8, dtype=torch.float64))[0] < 1e-13


# --- awkward networks ----------------------------------------------------------------------------------------------
L, C, R, T = nn.Linear, nn.Conv2d, nn.ReLU, nn.Tanh


def _dynamic(then):
    """A forward that symbolic tracing does not get through."""

    def forward(self, x):
        return x if x.sum() > 1e9 else then(self, x)

    return forward


AWKWARD = {
    # name: network, shape, names, fewer parameters, reason why something stays
    "curves into a sum": (
        lambda: net_of(
            lambda s, x: s.out(s.t1(s.a(x)) + s.t2(s.b(x))), a=L(5, 8), b=L(5, 8), t1=T(), t2=nn.GELU(), out=L(8, 3)
        ),
        (5,),
        None,
        True,
        None,
    ),
    "curves of maps into a sum": (
        lambda: net_of(
            lambda s, x: s.out((s.t1(s.n(s.a(x))) + s.t2(s.b(x))).flatten(1)),
            **{"a": C(3, 8, 3), "b": C(3, 8, 3), "n": nn.BatchNorm2d(8), "t1": T(), "t2": nn.SiLU(), "out": L(128, 3)},
        ),
        (3, 6, 6),
        None,
        True,
        None,
    ),
    "normalisation after ReLU, constant in a bias": (
        lambda: nn.Sequential(C(3, 8, 3), R(), nn.BatchNorm2d(8), C(8, 6, 3, bias=False), R(), nn.Flatten(), L(24, 3)),
        (3, 6, 6),
        None,
        True,
        None,
    ),
    "normalisation after ReLU, constant with a border": (
        lambda: nn.Sequential(C(3, 8, 3), R(), nn.BatchNorm2d(8), C(8, 6, 3, padding=1), R(), nn.Flatten(), L(96, 3)),
        (3, 6, 6),
        None,
        True,
        "not constant",
    ),
    "normalisation after tanh": (
        lambda: nn.Sequential(L(5, 8), T(), nn.BatchNorm1d(8), L(8, 6), T(), L(6, 2)),
        (5,),
        None,
        True,
        None,
    ),
    "normalisation without weights": (
        lambda: nn.Sequential(
            L(5, 8), nn.BatchNorm1d(8, affine=False), R(), L(8, 6), nn.BatchNorm1d(6, affine=False), T(), L(6, 2)
        ),
        (5,),
        None,
        True,
        None,
    ),
    "depthwise": (
        lambda: nn.Sequential(C(3, 8, 1), R(), C(8, 8, 3, groups=8), R(), C(8, 6, 1), R(), nn.Flatten(), L(96, 2)),
        (3, 6, 6),
        None,
        True,
        None,
    ),
    "depthwise between named layers": (
        lambda: nn.Sequential(C(3, 8, 1), R(), C(8, 8, 3, groups=8), R(), C(8, 6, 1), R(), nn.Flatten(), L(96, 2)),
        (3, 6, 6),
        ["0", "4"],
        True,
        None,
    ),
    "grouped": (
        lambda: nn.Sequential(C(3, 8, 1), R(), C(8, 8, 3, groups=2), R(), C(8, 6, 1), R(), nn.Flatten(), L(96, 2)),
        (3, 6, 6),
        None,
        True,
        None,
    ),
    "grouped and named": (
        lambda: nn.Sequential(C(3, 8, 1), R(), C(8, 8, 3, groups=2), R(), C(8, 6, 1), R(), nn.Flatten(), L(96, 2)),
        (3, 6, 6),
        ["0", "2"],
        False,
        "depends on them",
    ),
    "tokens flattened": (
        lambda: nn.Sequential(L(5, 6), T(), nn.Flatten(), L(18, 6), R(), L(6, 2)),
        (3, 5),
        ["0", "3"],
        True,
        "does not compute the same",
    ),
    "maps flattened to positions": (
        lambda: nn.Sequential(C(3, 4, 3), T(), nn.Flatten(2), L(16, 6), R(), nn.Flatten(), L(24, 2)),
        (3, 6, 6),
        ["0", "3"],
        False,
        "not constant",
    ),
    "means of maps": (
        lambda: net_of(lambda s, x: s.b(s.t(s.a(x)).mean((2, 3))), a=C(3, 8, 3), t=T(), b=L(8, 3)),
        (3, 6, 6),
        None,
        True,
        None,
    ),
    "series": (
        lambda: nn.Sequential(
            *(nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6), nn.SiLU(), nn.AvgPool1d(2)),
            *(nn.Conv1d(6, 5, 1), R(), nn.Flatten(), L(15, 3)),
        ),
        (3, 8),
        None,
        True,
        None,
    ),
    "curves that are not 0 at 0": (
        lambda: nn.Sequential(C(3, 6, 3), nn.Softplus(), C(6, 5, 3, padding=1), nn.Sigmoid(), nn.Flatten(), L(80, 3)),
        (3, 6, 6),
        None,
        True,
        None,
    ),
    "tanh read twice": (
        lambda: net_of(lambda s, x: (lambda h: s.b(h) * s.c(h))(s.t(s.a(x))), a=L(5, 8), t=T(), b=L(8, 3), c=L(8, 3)),
        (5,),
        None,
        True,
        None,
    ),
    "function for an activation": (
        lambda: net_of(lambda s, x: s.b(torch.tanh(s.a(x))), a=L(5, 8), b=L(8, 3)),
        (5,),
        None,
        True,
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
        True,
        "not constant",
    ),
    "one normalisation for two layers": (
        lambda: net_of(
            lambda s, x: s.c(s.r(s.n(s.a(x))) + s.n(s.b(x))),
            **{"a": L(5, 8), "b": L(5, 8), "n": nn.BatchNorm1d(8), "r": R(), "c": L(8, 3)},
        ),
        (5,),
        None,
        True,
        None,
    ),
    "one normalisation for two layers in turn": (
        lambda: net_of(
            lambda s, x: s.c(s.n(s.b(s.r(s.n(s.a(x)))))),
            **{"a": L(5, 8), "b": L(8, 8), "n": nn.BatchNorm1d(8), "r": R(), "c": L(8, 3)},
        ),
        (5,),
        None,
        False,
        "b needs them",
    ),
    "one curve for two layers": (
        lambda: net_of(lambda s, x: s.c(s.t(s.b(s.t(s.a(x))))), **{"a": L(5, 8), "b": L(8, 7), "c": L(7, 3), "t": T()}),
        (5,),
        None,
        True,
        None,
    ),
    "normalisation of tokens": (
        lambda: nn.Sequential(L(5, 8), nn.BatchNorm1d(4), R(), nn.Flatten(), L(32, 3)),
        (4, 5),
        ["0"],
        False,
        "would lose all",
    ),
    "means of features": (
        lambda: net_of(lambda s, x: s.b(s.t(s.a(x)).mean(-1)), a=L(5, 8), t=T(), b=L(4, 3)),
        (4, 5),
        ["a"],
        False,
        "not constant",
    ),
    "dynamic": (
        lambda: net_of(_dynamic(lambda s, x: s.c(torch.sigmoid(s.b(F.relu(s.a(x)))))), a=L(5, 8), b=L(8, 7), c=L(7, 3)),
        (5,),
        ["a", "b"],
        True,
        None,
    ),
    "dynamic, before LayerNorm": (
        lambda: net_of(_dynamic(lambda s, x: s.c(s.n(s.a(x)))), a=L(5, 8), n=nn.LayerNorm(8), c=L(8, 3)),
        (5,),
        ["a"],
        False,
        "n (LayerNorm) depends on them",
    ),
    "dynamic, before softmax": (
        lambda: net_of(_dynamic(lambda s, x: s.c(torch.softmax(s.a(x), -1))), a=L(5, 8), c=L(8, 3)),
        (5,),
        ["a"],
        False,
        "not constant",
    ),
    "dynamic sum, one layer named": (
        lambda: net_of(_dynamic(lambda s, x: s.c(F.relu(s.a(x) + s.b(x)))), a=L(5, 8), b=L(5, 8), c=L(8, 3)),
        (5,),
        ["a"],
        False,
        "b needs them",
    ),
    "dynamic concatenation": (
        lambda: net_of(
            _dynamic(lambda s, x: s.c(torch.cat([F.relu(s.a(x)), torch.sigmoid(s.b(x))], 1))),
            **{"a": L(5, 8), "b": L(5, 6), "c": L(14, 3)},
        ),
        (5,),
        ["a", "b"],
        True,
        None,
    ),
    "dynamic, sizes in the code": (
        lambda: net_of(_dynamic(lambda s, x: s.c(F.relu(s.a(x)).view(-1, 96))), a=C(3, 6, 3), c=L(96, 3)),
        (3, 6, 6),
        ["a"],
        False,
        "does not compute the same",
    ),
    "outputs named": (lambda: nn.Sequential(L(10, 8), T(), L(8, 9)), (10,), ["2"], False, "no layer reads them"),
    "library encoder": (
        lambda: nn.TransformerEncoderLayer(12, 3, 20, batch_first=True),
        (4, 12),
        ["self_attn", "linear1"],
        True,
        None,
    ),
    "library encoders, tokens first": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 3, 20), 2, enable_nested_tensor=False),
        (4, 12),
        ["layers.0.self_attn", "layers.1.self_attn", "layers.1.linear1"],
        True,
        None,
    ),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_networks(name):
    make, shape, names, smaller, reason = AWKWARD[name]
    torch.manual_seed(3)
    net = lively(make())
    noisy = pruned(net, names=names)
    assert any(mask.any() for mask in noisy.gone().values())
    small = compact(noisy, torch.randn(1, *shape))
    worst, spread = difference(noisy, small, torch.randn(300, *shape))
    assert worst < min(1e-5, 1e-3 * spread)
    assert (n_parameters(small) < n_parameters(net)) == smaller
    reasons = " ".join(r for by in structure_of(small)[-1].left.values() for r in by)
    assert (reason in reasons) if reason else not reasons


def test_an_uninformative_example_does_no_harm():
    noisy = pruned(lively(AWKWARD["tokens flattened"][0]()), share=0.5, names=["0", "3"])
    small = compact(noisy, torch.zeros(1, 3, 5))
    assert difference(noisy, small, torch.randn(300, 3, 5))[0] < 1e-5


def test_keyword_arguments_and_whole_numbers():
    torch.manual_seed(0)
    net = net_of(
        lambda self, tokens, scale: self.b(self.t(self.a(self.e(tokens).mean(1) * scale))),
        **{"e": nn.Embedding(10, 6), "a": L(6, 8), "t": T(), "b": L(8, 3)},
    )
    x = {"tokens": torch.randint(0, 10, (50, 4)), "scale": torch.rand(50, 1)}
    noisy = pruned(net)
    for example in ({k: v[:2] for k, v in x.items()}, tuple(v[:2] for v in x.values())):
        small = compact(noisy, example)
        with torch.no_grad():
            assert torch.allclose(noisy(**x), small(**x), atol=1e-6)
        assert small.a.out_features == 8 - int(noisy.gone()["a"].sum()) < 8


def test_outputs_that_are_no_tensors():
    net = net_of(lambda s, x: {"y": s.b(s.t(s.a(x))), "n": (x.shape[0], None)}, a=L(5, 8), t=T(), b=L(8, 3))
    noisy = pruned(lively(net))
    small, x = compact(noisy, torch.randn(1, 5)), torch.randn(50, 5)
    with torch.no_grad():
        assert torch.allclose(noisy(x)["y"], small(x)["y"], atol=1e-6)
    assert small(x)["n"] == (50, None) and small.a.out_features < 8


def test_networks_that_torch_pruning_cannot_follow_keep_their_sizes(monkeypatch):
    import torch_pruning

    def fail(*args, **kwargs):
        raise AttributeError("no such thing")

    monkeypatch.setattr(torch_pruning.DependencyGraph, "build_dependency", fail)
    noisy = pruned(made("mlp"))
    small = compact(noisy, torch.randn(1, 10))
    assert difference(noisy, small, torch.randn(100, 10))[0] < 1e-6
    assert n_parameters(small) == n_parameters(noisy.net)
    assert structure_of(small)[0].left.keys() == {"0", "2"}


# --- attention -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("sizes", [{}, {"kdim": 5, "vdim": 7}, {"bias": False}])
def test_slim_attention_is_multihead_attention(batch_first, sizes):
    torch.manual_seed(0)
    mha = nn.MultiheadAttention(12, 3, batch_first=batch_first, **sizes).eval()
    slim = SlimAttention(mha)
    shapes = (12, sizes.get("kdim", 12), sizes.get("vdim", 12))
    q, k, v = (torch.randn(*((2, t) if batch_first else (t, 2)), d) for t, d in zip((4, 6, 6), shapes, strict=True))
    padding = torch.arange(6) >= torch.tensor([[6], [3]])
    forbidden = torch.rand(4, 6) < 0.3
    forbidden[:, 0] = False
    for masks in ({}, {"key_padding_mask": padding}, {"attn_mask": torch.randn(4, 6)}, {"attn_mask": forbidden}):
        got, none = slim(q, k, v, need_weights=False, **masks)
        assert none is None
        torch.testing.assert_close(got, mha(q, k, v, need_weights=False, **masks)[0], atol=1e-6, rtol=1e-5)
    both = {"key_padding_mask": torch.zeros(2, 6).masked_fill(padding, -torch.inf), "attn_mask": torch.randn(4, 6)}
    torch.testing.assert_close(slim(q, k, v, **both)[0], mha(q, k, v, **both)[0], atol=1e-6, rtol=1e-5)
    single = [x[0] if batch_first else x[:, 0] for x in (q, k, v)]
    torch.testing.assert_close(slim(*single)[0], mha(*single)[0], atol=1e-6, rtol=1e-5)


def test_heads_have_their_own_rows_and_columns():
    for library in (False, True):
        noisy = attach_noise(made("vit-mha" if library else "vit"))
        noisy.remove({"encoders.0.attn": torch.tensor([False, True, False])})
        small = compact(noisy.eval(), torch.randn(1, 1, 8, 8))
        attention = small.encoders[0].attn
        assert attention.num_heads == 2 and attention.head_dim == 4 and attention.proj.weight.shape == (12, 8)
        assert attention.q.weight.shape == attention.k.weight.shape == attention.v.weight.shape == (8, 12)
        assert isinstance(attention, SlimAttention) == library
        assert type(small.encoders[1].attn) is type(noisy.net.encoders[1].attn)


def test_masks_for_each_head_are_refused():
    slim = SlimAttention(nn.MultiheadAttention(12, 3, batch_first=True))
    x = torch.randn(2, 4, 12)
    with pytest.raises(ValueError, match="attn_mask must have shape .L, S."):
        slim(x, x, x, attn_mask=torch.zeros(6, 4, 4))


def test_heads_that_cannot_be_removed_are_switched_off():
    net = net_of(lambda s, x: s.out(s.attn(x, x, x, need_weights=False)[0]), out=L(12, 3))
    net.attn = nn.MultiheadAttention(12, 3, batch_first=True, add_bias_kv=True)
    noisy = attach_noise(net.eval())
    noisy.remove({"attn": torch.tensor([True, False, False])})
    small = compact(noisy.eval(), torch.randn(1, 4, 12))
    assert structure_of(small)[0].left == {"attn": {"the attention has no separate q, k, v and head_dim": [0]}}
    assert difference(noisy, small, torch.randn(100, 4, 12))[0] < 1e-5


# --- what it is worth ----------------------------------------------------------------------------------------------
def test_operations_are_those_of_the_layers():
    found = measure(mlp(), torch.randn(7, 10), repeats=2)
    assert found.flops == 2 * 7 * (10 * 12 + 12 * 9 + 9 * 4)
    assert found.parameters == 10 * 12 + 12 + 12 * 9 + 9 + 9 * 4 + 4
    assert found.latency_ms > 0


def test_operations_of_attention_do_not_depend_on_who_wrote_it():
    flops = {name: measure(made(name), torch.randn(2, 1, 8, 8), repeats=1).flops for name in ("vit", "vit-mha")}
    assert flops["vit"] == flops["vit-mha"] > 0


def test_smaller_network_is_faster():
    before = nn.Sequential(*(L(500, 500) for _ in range(4))).train()
    after = nn.Sequential(*(L(500, 500) for _ in range(1)))
    threads = torch.get_num_threads()
    found = compare(before, after, torch.randn(20, 500), repeats=5)
    assert found.latency_ratio < 0.6 and found.after.latency_ms < found.before.latency_ms
    assert found.after.flops * 4 == found.before.flops
    assert before.training and torch.get_num_threads() == threads


def test_report_tells_sizes_before_and_after():
    noisy = pruned(made("lenet"), share=0.0)
    to_sizes(noisy, conv1=5, conv2=11, fc1=19, fc2=13)
    x = torch.randn(1, 1, 28, 28)
    report = compaction_report(noisy, compact(noisy, x), x, repeats=2)
    assert report.structures == {"conv1": (6, 5, 5), "conv2": (16, 11, 11), "fc1": (120, 19, 19), "fc2": (84, 13, 13)}
    assert (report.before.parameters, report.after.parameters) == (61706, 7160)
    conv = 2 * 25 * (28 * 28 * 5 + 10 * 10 * 5 * 11)
    assert report.after.flops == conv + 2 * (275 * 19 + 19 * 13 + 13 * 10)
    text = str(report)
    assert "61,706" in text and "7,160" in text and "0.116" in text and "latency (ms)" in text
    assert any(line.split() == ["fc1", "120", "19", "19"] for line in text.splitlines())


def test_report_tells_what_had_to_stay():
    make, shape, names, _, _ = AWKWARD["dynamic, before LayerNorm"]
    noisy = pruned(make(), share=0.5, names=names)
    x = torch.randn(1, *shape)
    report = compaction_report(noisy, compact(noisy, x), x, repeats=1)
    dead = int(noisy.gone()["a"].sum())
    assert report.structures["a"] == (8, 8 - dead, 8)
    assert f"switched off in a, not removed: {dead} (n (LayerNorm) depends on them)" in str(report)


# --- errors --------------------------------------------------------------------------------------------------------
def test_errors_name_what_is_wrong():
    net, x = made("mlp"), torch.randn(1, 10)
    noisy = attach_noise(net)
    with pytest.raises(TypeError, match="noisy must be a NoisyModule .*; got Sequential"):
        compact(net, x)
    with pytest.raises(TypeError, match="example_inputs must be a tensor, .*; got str"):
        compact(noisy, "x")
    with pytest.raises(TypeError, match="example_inputs must be .*; got int"):
        compare(net, net, 3)
    with pytest.raises(ValueError, match="repeats must be a whole number >= 1; got 0"):
        measure(net, x, repeats=0)
    with pytest.raises(ValueError, match="small must be a network made by compact; this Sequential is not"):
        structure_of(net)
    with pytest.raises(TypeError, match="noisy must be a NoisyModule"):
        compaction_report(net, compact(noisy, x), x)


def test_parametrised_weights_are_refused():
    net = made("mlp")
    nn.utils.parametrizations.weight_norm(net[2])
    with pytest.raises(ValueError, match="noisy must hold plain weights; those of '2' are parametrised"):
        compact(pruned(net), torch.randn(1, 10))
