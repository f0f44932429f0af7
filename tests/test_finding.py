"""Where structures lie and who reads them: by hand for networks that mix axes; for random ones, by cutting structures out."""

from __future__ import annotations

import random
import re

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402

from activebmr.pruning import attach_noise, compact  # noqa: E402
from activebmr.pruning.structures.compaction import structure_of  # noqa: E402

L, C1, C2, R = nn.Linear, nn.Conv1d, nn.Conv2d, nn.ReLU


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def net_of(forward, **modules):
    """A network with this forward and these modules."""
    net = type("Net", (nn.Module,), {"forward": forward})()
    for name, module in modules.items():
        net.add_module(name, module)
    return net


def found(net, x):
    """By site, its readers."""
    try:
        return {s.name: set(s.readers) for s in attach_noise(net.eval(), example_inputs=x).sites.values()}
    except ValueError as error:
        assert "must have a structure that can be pruned" in str(error)
        return {}


def maps(end, o, **modules):
    """A convolution of 6 channels on 8 x 8 pixels, and after it another end."""
    return net_of(lambda s, x: s.o(end(s, s.r(s.c(x)))), c=C2(1, 6, 3), r=R(), o=L(o, 2), **modules)


def tokens(end, o, **modules):
    """A linear layer of 6 features on 4 tokens of 5, and after it another end."""
    return net_of(lambda s, x: s.o(end(s, s.r(s.l(x)))), l=L(5, 6), r=R(), o=L(o, 2), **modules)


IMAGE, TOKENS, FLAT = (2, 1, 8, 8), (2, 4, 5), (2, 5)
CASES = {
    # name: network, shape of its input, sites with their readers
    "flattened to positions, then whole": (
        net_of(lambda s, x: s.o(s.l(s.c(x).flatten(2)).flatten(1)), c=C2(1, 6, 3), l=L(36, 10), o=L(60, 2)),
        IMAGE,
        {},
    ),
    "flattened in two steps": (maps(lambda s, h: h.flatten(2).flatten(1), 216), IMAGE, {"c": {"o"}}),
    "flattened, first axes given": (maps(lambda s, h: torch.flatten(h, start_dim=1), 216), IMAGE, {"c": {"o"}}),
    "flattened, last axes given": (maps(lambda s, h: h.flatten(-3), 216), IMAGE, {"c": {"o"}}),
    "flattened as a module": (maps(lambda s, h: s.f(h), 216, f=nn.Flatten()), IMAGE, {"c": {"o"}}),
    "flattened to rows": (maps(lambda s, h: h.flatten(1, 2), 6), IMAGE, {}),
    "flattened with the examples": (maps(lambda s, h: torch.flatten(h).reshape(2, 216), 216), IMAGE, {"c": {"o"}}),
    "flattened to positions": (maps(lambda s, h: s.f(h), 36, f=nn.Flatten(2)), IMAGE, {}),
    "viewed": (maps(lambda s, h: h.view(h.size(0), -1), 216), IMAGE, {"c": {"o"}}),
    "viewed, size of the shape": (maps(lambda s, h: h.reshape(h.shape[0], -1), 216), IMAGE, {"c": {"o"}}),
    "viewed, size of all sizes": (maps(lambda s, h: h.reshape((h.size()[0], -1)), 216), IMAGE, {"c": {"o"}}),
    "viewed, size of the input": (
        net_of(lambda s, x: s.o(s.c(x).view(x.size(0), -1)), c=C2(1, 6, 3), o=L(216, 2)),
        IMAGE,
        {"c": {"o"}},
    ),
    "viewed as more examples": (maps(lambda s, h: h.view(6, -1), 72), IMAGE, {"c": {"o"}}),
    "viewed, size of another axis": (maps(lambda s, h: h.view(h.size(1), -1), 72), IMAGE, {"c": {"o"}}),
    "viewed as three axes": (maps(lambda s, h: h.view(h.size(0), 9, -1), 24), IMAGE, {}),
    "read without flattening": (maps(lambda s, h: h, 6), IMAGE, {}),
    "moved": (maps(lambda s, h: h.flatten(2).transpose(1, 2), 6), IMAGE, {"c": {"o"}}),
    "pooled": (
        maps(lambda s, h: torch.flatten(F.adaptive_avg_pool2d(F.max_pool2d(h, 2), 2), 1), 24),
        IMAGE,
        {"c": {"o"}},
    ),
    "pooled by a module": (maps(lambda s, h: s.p(h).flatten(1), 54, p=nn.AvgPool2d(2)), IMAGE, {"c": {"o"}}),
    "pooled along channels": (maps(lambda s, h: F.max_pool2d(h.flatten(2), 2).flatten(1), 54), IMAGE, {}),
    "pooled along positions": (maps(lambda s, h: F.max_pool1d(h.flatten(2), 2).flatten(1), 108), IMAGE, {"c": {"o"}}),
    "pooled once flat": (maps(lambda s, h: F.max_pool1d(h.flatten(1), 2), 108), IMAGE, {}),
    "mean over maps": (maps(lambda s, h: h.mean((2, 3)), 6), IMAGE, {"c": {"o"}}),
    "mean over maps from behind": (maps(lambda s, h: h.mean(dim=[-1, -2]), 6), IMAGE, {"c": {"o"}}),
    "mean over maps that stay": (maps(lambda s, h: h.mean((2, 3), keepdim=True).flatten(1), 6), IMAGE, {"c": {"o"}}),
    "mean over rows": (maps(lambda s, h: h.mean(2).flatten(1), 36), IMAGE, {"c": {"o"}}),
    "mean over rows, read by columns": (maps(lambda s, h: h.mean(2), 6), IMAGE, {}),
    "mean over channels": (maps(lambda s, h: h.mean((-3, -1)), 6), IMAGE, {}),
    "series, mean over channels": (
        net_of(lambda s, x: s.o(s.c(x).mean((-1, -2))[:, None]), c=C1(4, 6, 3), o=L(1, 2)),
        TOKENS,
        {},
    ),
    "series": (nn.Sequential(C1(4, 6, 3), nn.BatchNorm1d(6), nn.MaxPool1d(3), nn.Flatten(), L(6, 2)), TOKENS, {"0": {"4"}}),
    "series read as a single map": (
        net_of(lambda s, x: s.o(s.d(s.c(x)).flatten(1)), c=C1(4, 6, 3), d=C2(2, 2, 1), o=L(18, 2)),
        TOKENS,
        {},
    ),
    "maps read as series": (
        net_of(lambda s, x: s.o(s.d(s.c(x).flatten(2)).flatten(1)), c=C2(1, 6, 3), d=C1(6, 2, 1), o=L(72, 2)),
        IMAGE,
        {"c": {"d"}, "d": {"o"}},
    ),
    "tokens": (tokens(lambda s, h: h, 6), TOKENS, {"l": {"o"}}),
    "tokens flattened": (tokens(lambda s, h: h.flatten(1), 24), TOKENS, {"l": {"o"}}),
    "tokens viewed": (tokens(lambda s, h: h.view(h.size(0), -1), 24), TOKENS, {"l": {"o"}}),
    "tokens averaged along features": (tokens(lambda s, h: h.mean(-1), 4), TOKENS, {}),
    "tokens pooled": (tokens(lambda s, h: s.p(h), 3, p=nn.MaxPool1d(2)), TOKENS, {}),
    "tokens normalised": (tokens(lambda s, h: s.n(h), 6, n=nn.BatchNorm1d(4)), TOKENS, {"l": {"o"}}),
    "tokens read as a series": (
        net_of(lambda s, x: s.o(s.c(s.l(x)).flatten(1)), l=L(5, 6), c=C1(4, 3, 2), o=L(15, 2)),
        TOKENS,
        {"c": {"o"}},
    ),
    "features known to be flat": (
        net_of(lambda s, x: s.o(s.l(s.f(x)).flatten(1)), f=nn.Flatten(), l=L(20, 6), o=L(6, 2)),
        TOKENS,
        {"l": {"o"}},
    ),
    "features viewed flat": (
        net_of(lambda s, x: s.o(s.l(x.view(-1, 20)).flatten(-1)), l=L(20, 6), o=L(6, 2)),
        TOKENS,
        {"l": {"o"}},
    ),
    "features normalised": (nn.Sequential(L(5, 6), nn.BatchNorm1d(6), R(), L(6, 2)), FLAT, {"0": {"3"}}),
    "flat maps normalised": (maps(lambda s, h: s.n(h.flatten(1)), 216, n=nn.BatchNorm1d(216)), IMAGE, {"c": {"o"}}),
    "features added": (
        net_of(lambda s, x: s.o(s.a(x) + s.b(x)), a=L(5, 6), b=L(5, 6), o=L(6, 2)),
        FLAT,
        {"a": {"o"}},
    ),
    "one feature added to all": (
        net_of(lambda s, x: s.o(s.a(x) + s.b(x)), a=L(5, 6), b=L(5, 1), o=L(6, 2)),
        FLAT,
        {"a": {"o"}},
    ),
    "features added to flat maps": (
        net_of(lambda s, x: s.o(s.c(x).flatten(1) + s.l(x.flatten(1))), c=C2(1, 6, 3), l=L(64, 216), o=L(216, 2)),
        IMAGE,
        {"c": {"o"}},
    ),
    "features added to means of maps": (
        net_of(lambda s, x: s.o(s.c(x).mean((2, 3)) + s.l(x.flatten(1))), c=C2(1, 6, 3), l=L(64, 6), o=L(6, 2)),
        IMAGE,
        {"c": {"o"}},
    ),
    "features added to maps": (
        net_of(lambda s, x: s.o((s.c(x) + s.l(x)).flatten(1)), c=C2(1, 6, 3, padding=1), l=L(8, 8), o=L(384, 2)),
        IMAGE,
        {},
    ),
    "a group is read by all who read a member": (
        net_of(
            lambda s, x: (lambda h: s.o((h + s.b(F.relu(s.a(h)))).flatten(1)))(s.stem(x)),
            **{"stem": C2(1, 6, 3), "a": C2(6, 4, 1), "b": C2(4, 6, 1), "o": L(216, 2)},
        ),
        IMAGE,
        {"stem": {"a", "o"}, "a": {"b"}},
    ),
    "layer called with a keyword": (net_of(lambda s, x: s.o(input=s.l(input=x)), l=L(5, 6), o=L(6, 2)), FLAT, {"l": {"o"}}),
}


@pytest.mark.parametrize("name", CASES)
def test_sites_and_readers_by_hand(name):
    torch.manual_seed(0)
    net, shape, expected = CASES[name]
    assert found(net, torch.randn(shape)) == expected
    check_removable(net, shape, all_found=bool(expected))


# --- structures can really be removed ---------------------------------------------------------------------------------
def check_removable(net, shape, all_found=True) -> int:
    """A network with a part of its structures cut out computes what it does with them switched off; how many there are."""
    net, x = net.eval().double(), torch.randn(shape, dtype=torch.float64)
    try:
        noisy = attach_noise(net, example_inputs=x).eval()
    except ValueError as error:
        assert "must have a structure that can be pruned" in str(error)
        return 0
    said = [reason for reason in noisy.left_out.values() if "cannot be run" in reason or "does not compute" in reason]
    assert not said or not all_found
    for noise in noisy.noise.values():
        nn.init.uniform_(noise.mu, -2.0, 0.5)
    noisy.remove({name: torch.rand(site.n) < 0.4 for name, site in noisy.sites.items()})
    small, other = compact(noisy, x), torch.randn(shape, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(small(other), noisy(other))
    assert structure_of(small)[-1].left == {}
    assert noisy.cost("parameters") == sum(p.numel() for p in small.parameters())
    return noisy.n_structures


class RandomNet(nn.Module):
    """Steps as they come, whatever they do to the axes: layers with normalisation and an activation, pooling, reshaping, sums
    with what was there before. All activations have f(0) = 0, and normalisation follows layers at once: 0 stays 0.
    """

    def __init__(self, seed):
        super().__init__()
        self.random = random.Random(seed)
        self.shape = self.random.choice([(2, 4), (2, 3, 4), (2, 4, 4), (2, 2, 4, 4)])
        self.parts, self.steps = nn.ModuleList(), []
        made = [torch.randn(self.shape)]
        for _ in range(self.random.randint(3, 8)):
            self.steps.append(self.step(made))
            made.append(self.steps[-1](made))
        self.last = L(made[-1].flatten(1).shape[1], 3)
        for module in self.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                for tensor in (module.running_mean, module.bias.data):
                    tensor.normal_()
                for tensor in (module.running_var, module.weight.data):
                    tensor.uniform_(0.5, 1.5)

    def step(self, made):
        """A function of all that was made so far."""
        x = made[-1]
        d = x.dim()
        kinds = ["layer"] * 4 + ["function"] * 2 + ["add"] * 2 + ["pool"] + (["reshape"] * 2 if d > 2 else [])
        return getattr(self, "any_" + self.random.choice(kinds))(made, x, d)

    def any_layer(self, made, x, d):
        pick, n = self.random.choice, self.random.choice([1, 2, 3, 4, x.shape[1]])
        layer, norm = L(x.shape[-1], n), nn.Identity()
        if d > 2 and pick([True, True, False]):
            layer = (C1 if d == 3 else C2)(x.shape[1], n, 3, padding=1)
            norm = pick([norm, (nn.BatchNorm1d if d == 3 else nn.BatchNorm2d)(n)])
        elif d < 4:
            norm = pick([norm, nn.BatchNorm1d(n if d == 2 else x.shape[1])])
        self.parts.append(nn.Sequential(layer, norm, pick([R, nn.Tanh, nn.GELU, nn.Identity])()))
        i = len(self.parts) - 1
        return lambda made, net=self: net.parts[i](made[-1])

    def any_function(self, made, x, d):
        function = self.random.choice([F.relu, torch.tanh, F.silu, lambda y: y.relu(), lambda y: 2 * y])
        return lambda made: function(made[-1])

    def any_add(self, made, x, d):
        def fits(y):
            return (
                y.dim() <= d
                and len(y) == len(x)
                and all(a in (1, b) for a, b in zip(y.shape[::-1], x.shape[::-1], strict=False))
            )

        i = self.random.choice([i for i, y in enumerate(made) if fits(y)])
        return lambda made: made[i] + made[-1]

    def any_pool(self, made, x, d):
        pools = {2: [F.max_pool1d], 3: [F.avg_pool1d, F.max_pool1d, F.max_pool2d], 4: [F.avg_pool2d]}[d]
        pool = self.random.choice(pools)
        return lambda made: pool(made[-1], 3, 1, 1)

    def any_reshape(self, made, x, d):
        start, end = sorted(self.random.sample(range(1, d), 2))
        few = self.random.sample(range(1, d), self.random.randint(1, d - 2))
        axes = tuple(self.random.choice([a, a - d]) for a in few)
        reshape = self.random.choice(
            [
                lambda y: y.flatten(start, end - d),
                lambda y: torch.flatten(y, start),
                lambda y: y.contiguous().view(y.size(0), -1),
                lambda y: y.reshape(y.shape[0], -1),
                lambda y: y.mean(axes),
                lambda y: y.mean(axes, keepdim=True),
                lambda y: y.transpose(1, -1),
            ]
        )
        return lambda made: reshape(made[-1])

    def forward(self, x):
        made = [x]
        for step in self.steps:
            made.append(step(made, self) if step.__code__.co_argcount == 2 else step(made))
        return self.last(made[-1].flatten(1))


@pytest.mark.parametrize("seed", range(6))
def test_every_structure_of_random_networks_can_be_removed(seed):
    torch.manual_seed(seed)
    tried = 0
    for i in range(20):
        net = RandomNet(20 * seed + i)
        tried += check_removable(net, net.shape)
    assert tried > 20


# --- what is left out, and why ----------------------------------------------------------------------------------------
REASONS = {
    "softmax over units": (lambda s, h: torch.softmax(h, -1), "softmax in 'net' .Net. mixes them"),
    "cumsum": (lambda s, h: torch.cumsum(h, -1), "cumsum"),
    "sorted": (lambda s, h: h.sort(-1).values, "sort"),
    "one by number": (lambda s, h: h[:, [0, 2, 1, 3, 4, 5]], "index .* takes them by number"),
    "unequal parts": (lambda s, h: torch.cat(h.split([2, 4], -1)[::-1], -1), "unequal parts"),
    "multiplied by a constant matrix": (lambda s, h: h @ torch.ones(6, 6), "mm .* sums over them"),
    "sine and cosine of their sum": (lambda s, h: h + h.sum(-1, keepdim=True).sin(), "sum .* mixes them"),
    "a transform": (lambda s, h: torch.fft.rfft(h, n=10).real, "fft"),
    "norm without a module": (lambda s, h: F.layer_norm(h, (6,)), "layer_norm .* has statistics over them"),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_mixes_units_is_named(name):
    function, reason = REASONS[name]
    net = net_of(lambda s, x: s.o(function(s, s.b(F.relu(s.a(x))))), a=L(5, 7), b=L(7, 6), o=L(6, 2))
    outer = net_of(lambda s, x: s.net(x), net=net)
    noisy = attach_noise(outer, example_inputs=torch.randn(3, 5))
    assert list(noisy.sites) == ["net.a"]
    assert re.search(reason, noisy.left_out["net.b"]), noisy.left_out["net.b"]
    assert noisy.left_out["net.o"] == "they are outputs of the network"


def test_numbers_that_only_python_looks_at_join_nothing():
    net = net_of(lambda s, x: s.o(F.relu(s.b(h if (h := s.a(x)).mean() < 100 else 2 * h))), a=L(5, 7), b=L(7, 6), o=L(6, 2))
    assert found(net, torch.randn(3, 5)) == {"a": {"b"}, "b": {"o"}}


def test_a_layer_that_is_used_twice_has_one_set_of_units():
    net = net_of(lambda s, x: s.o(F.relu(s.a(F.relu(s.a(x))))), a=L(6, 6), o=L(6, 2))
    with pytest.raises(ValueError, match="a: .*reads what cannot go"):  # its columns read the input
        attach_noise(net, example_inputs=torch.randn(3, 6))
    net = net_of(lambda s, x: s.o(F.relu(s.a(F.relu(s.a(F.relu(s.first(x))))))), first=L(4, 6), a=L(6, 6), o=L(6, 2))
    noisy = attach_noise(net, example_inputs=torch.randn(3, 4))
    assert {n: s.layers for n, s in noisy.sites.items()} == {"first": ("first", "a")}
    check_removable(net, (3, 4))


def test_tied_weights_are_left_out_where_they_both_write_and_read():
    net = net_of(lambda s, x: s.head(s.e(x) + s.down(F.relu(s.up(s.e(x))))), e=nn.Embedding(9, 6), up=L(6, 8), down=L(8, 6))
    net.head = L(6, 9, bias=False)
    net.head.weight = net.e.weight
    noisy = attach_noise(net, example_inputs=torch.randint(0, 9, (3, 4)))
    assert list(noisy.sites) == ["up"]
    assert noisy.left_out["down"] == "'e.weight' both writes and reads them (tied weights)"
    assert noisy.left_out["head"] == "its weights are those of 'e'"
