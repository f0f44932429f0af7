"""What `compact` puts in the place of modules: sizes in users' code, slim normalisations, attention with fewer heads."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from nets import difference, lively, made, n_parameters, net_of, pruned  # noqa: E402
from torch import nn  # noqa: E402

from activebmr.pruning import attach_noise  # noqa: E402
from activebmr.pruning.structures.compaction import compact, structure_of  # noqa: E402
from activebmr.pruning.units.attention import SlimAttention  # noqa: E402
from activebmr.pruning.units.norms import kind_of_norm, slim_norm  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


L, C, R, T = nn.Linear, nn.Conv2d, nn.ReLU, nn.Tanh


# --- sizes in users' code --------------------------------------------------------------------------------------------
class Counting(nn.Module):
    """Attention that knows its sizes in one of the ways that are usual."""

    def __init__(self, style, width=12, heads=3):
        super().__init__()
        self.style, self.scale = style, (width // heads) ** -0.5
        self.q, self.k, self.v, self.out = (L(width, width) for _ in range(4))
        if style in ("heads", "heads of width", "both", "in front"):
            self.num_heads = heads
        if style in ("dim", "both", "in front"):
            self.head_dim = width // heads
        if style == "heads of width":
            self.hidden = width

    def forward(self, x):
        if self.style == "in front":  # heads beside examples
            n, t, _ = x.shape
            parts = (f(x).view(n, t, self.num_heads, self.head_dim).transpose(1, 2) for f in (self.q, self.k, self.v))
            q, k, v = (p.reshape(n * self.num_heads, t, self.head_dim) for p in parts)
            y = torch.bmm(torch.softmax(torch.bmm(q, k.transpose(1, 2)) * self.scale, dim=-1), v)
            return self.out(y.view(n, self.num_heads, t, self.head_dim).transpose(1, 2).reshape(n, t, -1))
        shape = {
            "heads": lambda: (self.num_heads, -1),
            "dim": lambda: (-1, self.head_dim),
            "both": lambda: (self.num_heads, self.head_dim),
            "heads of width": lambda: (self.num_heads, self.hidden // self.num_heads),
        }[self.style]()
        q, k, v = (f(x).unflatten(-1, shape).transpose(1, 2) for f in (self.q, self.k, self.v))
        weights = torch.softmax(q @ k.transpose(-2, -1) * self.scale, dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("style", ["heads", "dim", "both", "heads of width", "in front"])
def test_sizes_that_attention_holds_in_attributes_are_renewed(style):
    torch.manual_seed(0)
    net = nn.Sequential(L(6, 12), Counting(style), L(12, 2))
    x = torch.randn(2, 5, 6)
    noisy = attach_noise(net.eval(), example_inputs=x).eval()
    heads = next(n for n, s in noisy.sites.items() if s.layers == ("1.q", "1.k", "1.v"))
    noisy.remove({heads: torch.tensor([False, True, False]), "0": torch.arange(12) < 2, "1.out": torch.arange(12) > 8})
    small = compact(noisy, x)
    assert structure_of(small)[0].left == {} and noisy.cost("parameters") == n_parameters(small)
    assert small[1].q.weight.shape == (8, 10) and small[1].out.weight.shape == (9, 8)
    sizes = {key: getattr(small[1], key) for key in ("num_heads", "head_dim", "hidden") if hasattr(small[1], key)}
    assert sizes == {k: v for k, v in {"num_heads": 2, "head_dim": 4, "hidden": 8}.items() if k in vars(net[1])}
    assert (net[1].q.out_features, getattr(net[1], "num_heads", 3)) == (12, 3)  # the network itself keeps its own
    assert difference(noisy, small, torch.randn(100, 5, 6))[0] < 1e-5


def test_lists_of_sizes_are_renewed():
    for kind in (list, tuple):
        net = net_of(lambda s, x: (lambda p: s.b(p[0] * torch.sigmoid(p[1])))(s.a(x).split(s.parts, -1)), a=L(5, 12), b=L(6, 3))
        net.parts = kind([6, 6])
        noisy = attach_noise(net.eval(), example_inputs=torch.randn(2, 5)).eval()
        noisy.remove({"a": torch.arange(6) < 2})
        small = compact(noisy, torch.randn(2, 5))
        assert small.parts == kind([4, 4]) and net.parts == kind([6, 6]) and small.a.out_features == 8
        assert difference(noisy, small, torch.randn(100, 5))[0] < 1e-5


def numbers(self, x):
    return self.c(torch.tanh(self.b(torch.relu(self.a(x)).view(-1, 8, 16))).reshape(-1, 112))


def numbers_after_another_call_in_training(self, x):
    x = torch.relu(self.a(x))
    if self.training:
        x = x.reshape(len(x), -1, 1).reshape(len(x), 8, 16)
    return self.c(torch.tanh(self.b(x.view(-1, 8, 16))).reshape(-1, 112))


def numbers_of_examples(self, x):
    """The first axis has the channels of all examples."""
    n = len(x)
    h = torch.relu(self.a(x)).reshape(n * 8, 16)
    return self.c(torch.tanh(self.b(h.reshape(n, 8, 16))).reshape(n, 112))


@pytest.mark.parametrize("forward", [numbers, numbers_after_another_call_in_training, numbers_of_examples])
def test_numbers_in_calls_are_those_of_what_is_left(forward):
    """Or the layer stays; in any case it is right for any number of examples, and in training as well."""
    torch.manual_seed(0)
    net = net_of(forward, a=C(3, 8, 3), b=nn.Conv1d(8, 7, 1), c=L(112, 3)).eval()
    x, many = torch.randn(2, 3, 6, 6), torch.randn(30, 3, 6, 6)
    noisy = pruned(net, share=0.5, example_inputs=x)
    small = compact(noisy, x)
    assert n_parameters(small) == noisy.cost("parameters") < n_parameters(net)
    assert difference(noisy, small, many)[0] < 1e-5
    torch.testing.assert_close(small.train()(many), noisy.eval()(many), rtol=1e-4, atol=1e-5)  # without dropout: the same
    assert small.train()(many[:1]).shape == (1, 3)


# --- normalisations --------------------------------------------------------------------------------------------------
NORMS = {
    "layer": (nn.LayerNorm(8), (5, 8), -1),
    "layer, without weights": (nn.LayerNorm(8, elementwise_affine=False), (5, 8), -1),
    "layer, without bias": (nn.LayerNorm(8, bias=False, eps=1e-3), (4, 5, 8), -1),
    "rms": (nn.RMSNorm(8, eps=1e-3), (5, 8), -1),
    "rms, epsilon of its own": (nn.RMSNorm(8), (4, 5, 8), -1),
    "group": (nn.GroupNorm(2, 8), (4, 8, 3, 3), 1),
    "group, without weights": (nn.GroupNorm(4, 8, affine=False), (4, 8, 3), 1),
    "group, of vectors": (nn.GroupNorm(2, 8, eps=1e-2), (4, 8), 1),
}


@pytest.mark.parametrize("name", NORMS)
def test_slim_normalisations_are_torch_s_with_what_is_gone_at_0(name):
    norm, shape, axis = NORMS[name]
    torch.manual_seed(0)
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 2.0)
    x = 3 * torch.randn(shape) + 1
    kind, along = (kind_of_norm(norm, x) or " ").split()
    slim = slim_norm(norm, kind, int(along), 8)
    torch.testing.assert_close(slim(x), norm(x), rtol=1e-5, atol=1e-6)
    kept = torch.tensor([0, 2, 3, 5, 6])  # GroupNorm of 4 groups loses half of two groups and a whole one
    mask = torch.zeros(8).index_fill(0, kept, 1.0)
    silenced = x * (mask if axis == -1 else mask.reshape(-1, *[1] * (x.dim() - 2)))
    slim.scale = slim.scale[kept]
    for key in ("weight", "bias"):
        if getattr(slim, key) is not None:
            setattr(slim, key, nn.Parameter(getattr(slim, key)[kept]))
    if kind == "group":
        slim.groups = slim.groups[kept]
    got, want = slim(x.index_select(axis, kept)), norm(silenced).index_select(axis, kept)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    assert "5 of" in repr(slim)


def test_means_before_a_normalisation_are_multiplied_in_it():
    """Its statistics are those of inputs that have been multiplied, which no weight behind it can make good."""
    for norm in (nn.LayerNorm(8), nn.RMSNorm(8), nn.GroupNorm(2, 8)):
        torch.manual_seed(0)
        noisy = pruned(lively(nn.Sequential(L(5, 8), norm, L(8, 3))), share=0.0, example_inputs=torch.randn(2, 5))
        mean = noisy.of("0").posterior.mean().detach().float()
        small, x = compact(noisy, torch.randn(2, 5)), torch.randn(50, 5)
        torch.testing.assert_close(small[1].scale, mean)
        torch.testing.assert_close(small[2].weight, noisy.net[2].weight * mean)
        by_hand = noisy.net[2](noisy.net[1](noisy.net[0](x) * mean) * mean)  # both read structures
        torch.testing.assert_close(small(x), by_hand, rtol=1e-4, atol=1e-5)


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
        noisy = attach_noise(made("vit-mha" if library else "vit"), example_inputs=torch.randn(2, 1, 8, 8))
        assert noisy.sites["encoders.0.attn"].heads
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
    noisy = attach_noise(net.eval(), ["attn"], torch.randn(2, 4, 12))
    noisy.remove({"attn": torch.tensor([True, False, False])})
    small = compact(noisy.eval(), torch.randn(1, 4, 12))
    ((reason, which),) = structure_of(small)[0].left["attn"].items()
    assert "add_bias_kv or add_zero_attn" in reason and which == [0]
    assert difference(noisy, small, torch.randn(100, 4, 12))[0] < 1e-5


class Fused(nn.Module):
    """Self-attention with one layer for queries, keys and values, in the ways in which libraries write it."""

    def __init__(self, order="part head", causal=False, width=12, heads=3):
        super().__init__()
        self.n_head, self.order, self.causal = heads, order, causal
        self.qkv, self.proj = L(width, 3 * width), L(width, width)
        self.attn_drop, self.resid_drop = nn.Dropout(0.3), nn.Dropout(0.2)

    def forward(self, x, mask=None):
        n, t, width = x.shape
        size, y = width // self.n_head, self.qkv(x)
        if self.order == "part head":
            q, k, v = (p.view(n, t, self.n_head, size).transpose(1, 2) for p in y.split(width, dim=2))
        else:
            q, k, v = y.reshape(n, t, self.n_head, 3, size).permute(3, 0, 2, 1, 4)
        drop = self.attn_drop.p if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, mask, drop, self.causal)
        return self.resid_drop(self.proj(out.transpose(1, 2).reshape(n, t, width)))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("order", ["part head", "head part"])
def test_fused_attention_keeps_its_own_code(order, causal):
    """Its sizes follow from the width of the input; they are renewed where it runs."""
    torch.manual_seed(0)
    net = lively(nn.Sequential(L(6, 12), Fused(order, causal), L(12, 2)))
    x = torch.randn(2, 5, 6)
    noisy = pruned(net, share=0.0, example_inputs=x)
    site = next(s for s in noisy.sites.values() if s.layers == ("1.qkv",))
    assert site.n == 3 and site.heads and site.readers == ("1.proj",)
    noisy.remove({site.name: torch.tensor([False, False, True]), "0": torch.arange(12) < 5, "1.proj": torch.arange(12) < 4})
    small = compact(noisy, x)
    slim = small[1]
    assert isinstance(slim, Fused) and structure_of(small)[0].left == {}
    assert slim.qkv.weight.shape == (24, 7) and slim.proj.weight.shape == (8, 8)
    assert noisy.cost("parameters") == n_parameters(small)
    worst, spread = difference(noisy, small, torch.randn(300, 9, 6))
    assert worst < min(1e-5, 1e-3 * spread)
    again = compact(pruned(small, seed=4, share=0.5, example_inputs=x), x)  # and once more
    assert n_parameters(again) < n_parameters(small)
    assert slim.train()(torch.randn(2, 5, 7)).shape == (2, 5, 8)


def test_forwards_that_look_at_their_attention_s_weights_keep_their_heads():
    """Averages of attention over heads cannot be had without some of them."""
    net = net_of(lambda s, x: s.out(torch.cat(s.attn(x, x, x), -1)), out=L(17, 3))
    net.attn = nn.MultiheadAttention(12, 3, batch_first=True)
    with pytest.raises(ValueError, match="it has none .*attn: "):
        attach_noise(net.eval(), example_inputs=torch.randn(2, 5, 12))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")  # torch's own, of its way to skip padding
def test_padding_masks_of_library_encoders():
    """In evaluation without gradients torch packs tokens that are no padding together, and goes past the forwards of parts."""
    torch.manual_seed(0)
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 4, 20, batch_first=True), 2).eval()
    x, padding = torch.randn(3, 5, 12), torch.arange(5) >= torch.tensor([[5], [3], [2]])
    inputs = {"src": x, "src_key_padding_mask": padding}
    for example_inputs in (x, inputs):
        noisy = pruned(net, share=0.5, example_inputs=example_inputs)
        heads, hidden = noisy.sites["layers.0.self_attn"], noisy.sites["layers.1.linear1"]
        assert (heads.n, hidden.n) == (4, 20)
        want = noisy(**inputs)[~padding]
        small = compact(noisy, example_inputs)
        assert n_parameters(small) < n_parameters(net)
        with torch.no_grad():
            for one in (noisy, small):
                torch.testing.assert_close(one(**inputs)[~padding], want)
    assert net.use_nested_tensor and torch.backends.mha.get_fastpath_enabled()
