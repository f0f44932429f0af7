"""Noise on networks of all kinds: found where it belongs, multiplied in as by hand, gone without a trace after each call."""

from __future__ import annotations

import copy
import math

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402

from activebmr.pruning import BMRS_N, BMRS_U, L2Norm, attach_noise, compact  # noqa: E402


@pytest.fixture(autouse=True)
def same_every_time():
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --- networks -------------------------------------------------------------------------------------------------------------
def mlp():
    return nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 3)
        self.fc1, self.fc2 = nn.Linear(5 * 4, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.relu(self.conv2(x))
        x = x.view(x.size(0), -1)
        return self.fc2(torch.relu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, n_in, n):
        super().__init__()
        self.conv1, self.bn1, self.act = nn.Conv2d(n_in, n, 3, padding=1, bias=False), nn.BatchNorm2d(n), nn.ReLU()
        self.conv2, self.bn2 = nn.Conv2d(n, n, 3, padding=1, bias=False), nn.BatchNorm2d(n)
        self.short = nn.Identity() if n_in == n else nn.Sequential(nn.Conv2d(n_in, n, 1, bias=False), nn.BatchNorm2d(n))

    def forward(self, x):
        out = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        out += self.short(x)
        return F.relu(out)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.first, self.second = Block(4, 4), Block(4, 6)
        self.head = nn.Linear(6, 3)
        for module in self.modules():  # running statistics as after some training
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.running_mean, module.bias.data):
                    tensor.normal_(0, 0.3)
                for tensor in (module.running_var, module.weight.data):
                    tensor.uniform_(0.5, 1.5)

    def forward(self, x):
        x = self.second(self.first(F.relu(self.bn(self.stem(x)))))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class SharedActivation(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.act = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3), nn.Tanh()

    def forward(self, x):
        return self.c(self.act(self.b(self.act(self.a(x)))))


class TorchAttention(nn.Module):
    def __init__(self, width=8, heads=4):
        super().__init__()
        self.embed, self.att = nn.Linear(6, width), nn.MultiheadAttention(width, heads, batch_first=True)
        self.fc1, self.fc2, self.head = nn.Linear(width, 5), nn.Linear(5, width), nn.Linear(width, 3)

    def forward(self, x):
        x = self.embed(x)
        x = x + self.att(x, x, x, need_weights=False)[0]
        x = x + self.fc2(F.gelu(self.fc1(x)))
        return self.head(x[:, 0])


class OwnAttention(nn.Module):
    def __init__(self, width=8, heads=4):
        super().__init__()
        self.num_heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def heads(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.num_heads, d // self.num_heads).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v)  # example, head, time, part

    def forward(self, x):
        return self.proj(self.heads(x).transpose(1, 2).reshape(x.shape))


class WithOwnAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.att, self.head = OwnAttention(), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.att(x).mean(1))


class Depthwise(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.deep = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=4)
        self.b, self.head = nn.Conv2d(4, 5, 1), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(F.relu(self.b(self.deep(self.a(x)))).mean((2, 3)))


class Concatenating(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(6, 4), nn.Linear(6, 5), nn.Linear(9, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.d(torch.tanh(self.c(torch.cat([self.a(x), self.b(x)], dim=1))))


class Branching(nn.Module):
    """A forward that looks at values."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x):
        if x.sum() > 1e9:
            raise FloatingPointError("much too large")
        return self.c(F.relu(self.b(F.relu(self.a(x)))))


flat, image, sequence = (lambda: torch.randn(9, 6)), (lambda: torch.randn(9, 1, 8, 8)), (lambda: torch.randn(9, 5, 6))
NETS = {
    # name: network, inputs, structures by site, names of the layers that write them if there are several
    "mlp": (mlp, flat, {"0": 7, "2": 5}, {}),
    "convolutional": (Convolutional, lambda: torch.randn(9, 1, 10, 10), {"conv1": 4, "conv2": 5, "fc1": 6}, {}),
    "residual": (
        Residual,
        image,
        {"stem": 4, "first.conv1": 4, "second.conv1": 6, "second.conv2": 6},
        {"stem": ("stem", "first.conv2"), "second.conv2": ("second.conv2", "second.short.0")},
    ),
    "shared activation": (SharedActivation, flat, {"a": 5, "b": 4}, {}),
    "nn.MultiheadAttention": (
        TorchAttention,
        sequence,
        {"embed": 8, "att": 4, "fc1": 5},
        {"embed": ("embed", "att.out_proj", "fc2")},
    ),
    "attention": (WithOwnAttention, lambda: torch.randn(9, 5, 8), {"att": 4, "att.proj": 8}, {"att": ("att.qkv",)}),
    "depthwise": (Depthwise, image, {"a": 4, "b": 5}, {"a": ("a", "deep")}),
    "concatenating": (Concatenating, flat, {"a": 4, "b": 5, "c": 4}, {}),
    "branching": (Branching, flat, {"a": 5, "b": 4}, {}),
}
every_net = pytest.mark.parametrize("make, inputs, found, layers", NETS.values(), ids=NETS)


def spread(noisy, low=-3.0, high=1.0):
    """Noise of many sizes."""
    for noise in noisy.noise.values():
        nn.init.uniform_(noise.mu, low, high)
        nn.init.uniform_(noise.log_sigma, -3.0, 1.0)
    return noisy


def without_noise(noisy):
    """Every theta exactly 1."""
    for noise in noisy.noise.values():
        nn.init.constant_(noise.mu, 5.0)
        nn.init.constant_(noise.log_sigma, -20.0)
    return noisy


# --- what is found --------------------------------------------------------------------------------------------------------
@every_net
def test_structures_that_can_go_are_found_and_no_others(make, inputs, found, layers):
    for example_inputs in (None, inputs()):  # guessed or given
        noisy = attach_noise(make(), example_inputs=example_inputs)
        assert {name: site.n for name, site in noisy.sites.items()} == found
        assert {name: site.layers for name, site in noisy.sites.items()} == {name: (name,) for name in found} | layers
        assert noisy.n_structures == sum(found.values()) and noisy.n_removed == 0
        assert all(site.stays is None for site in noisy.sites.values())
        (last,) = noisy.left_out.items()
        assert last[1] == "they are outputs of the network"
        assert noisy(inputs()).shape == (9, 3)


@every_net
def test_sites_follow_each_other_and_hold_every_index_once(make, inputs, found, layers):
    noisy = attach_noise(make(), example_inputs=inputs())
    shapes = {name: tensor.shape for name, tensor in (*noisy.net.named_parameters(), *noisy.net.named_buffers())}
    first = 0
    for site in noisy.sites.values():
        assert site.first == first
        first += site.n
        assert set(site.rows) <= site.parts.keys() and set(site.readers) & dict(noisy.net.named_modules()).keys()
        for (tensor, axis), which in site.parts.items():
            assert which.shape == (shapes[tensor][axis],)
            assert sorted(set(which.tolist()) - {-1}) == list(range(site.n))
    assert first == noisy.n_structures


def test_layers_by_name_are_all_that_gets_noise():
    assert list(attach_noise(mlp(), ["2"]).sites) == ["2"]
    assert list(attach_noise(WithOwnAttention(), ["att"]).sites) == ["att"]
    assert list(attach_noise(WithOwnAttention(), ["att.qkv"]).sites) == ["att"]
    assert list(attach_noise(Branching(), iter("ba")).sites) == ["a", "b"]
    for name in ("stem", "first.conv2"):  # whoever writes to a stream stands for it
        assert list(attach_noise(Residual(), [name]).sites) == ["stem"]


def test_layers_can_be_left_out_by_name():
    noisy = attach_noise(Convolutional(), exclude=["conv2"])
    assert list(noisy.sites) == ["conv1", "fc1"] and noisy.left_out["conv2"] == "it is excluded"
    noisy = attach_noise(Residual(), exclude=["second"])  # all that is in it
    assert list(noisy.sites) == ["stem", "first.conv1"]
    assert {noisy.left_out[f"second.{n}"] for n in ("conv1", "conv2", "short.0")} == {"it is excluded"}
    noisy = attach_noise(Residual(), exclude=["first.conv2"])  # it writes to the stream of the stem, which then stays
    assert "stem" not in noisy.sites and noisy.left_out["first.conv2"] == "it is excluded" and "stem" in noisy.left_out
    with pytest.raises(ValueError, match="names must be layers .* 'conv2' is left out: it is excluded"):
        attach_noise(Convolutional(), ["conv1", "conv2"], exclude=["conv2"])


def test_layers_that_are_used_twice_are_pruned_like_others_where_they_can():
    class Twins(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 5), nn.Linear(5, 3)

        def forward(self, x):
            one, two = (torch.tanh(self.a(part)) for part in x.chunk(2, -1))
            return self.b((one - two).abs())

    net, x = Twins(), flat()
    noisy = spread(attach_noise(net, example_inputs=x)).eval()
    theta = noisy.of("a").posterior.mean().detach().float()
    one, two = (torch.tanh(net.a(part)) for part in x.chunk(2, -1))
    torch.testing.assert_close(noisy(x), net.b((one - two).abs() * theta))


def test_weights_that_are_tied_are_pruned_where_they_can():
    """The features of an embedding that decodes as well are a stream like any other."""

    class Language(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.fc1, self.fc2 = nn.Embedding(11, 6), nn.Linear(6, 8), nn.Linear(8, 6)
            self.decode = nn.Linear(6, 11, bias=False)
            self.decode.weight = self.embed.weight

        def forward(self, x):
            x = self.embed(x)
            return self.decode(x + self.fc2(F.relu(self.fc1(x))))

    net, x = Language(), torch.randint(0, 11, (9, 5))
    noisy = spread(attach_noise(net, example_inputs=x)).eval()
    assert noisy.sites["fc1"].n == 8
    thetas = {name: noisy.of(name).posterior.mean().detach().float() for name in noisy.sites}
    stream = thetas.get("embed", torch.ones(6))
    h = net.embed(x)
    h = h + net.fc2(F.relu(net.fc1(h * stream)) * thetas["fc1"])
    torch.testing.assert_close(noisy(x), net.decode(h * stream))
    assert net.decode.weight is net.embed.weight


def tied():
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    net[2].weight = net[0].weight
    return net


def used_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)

        def forward(self, x):
            return self.c(self.b(self.a(self.b(self.a(x)))))

    return Twice()


@pytest.mark.parametrize(
    "make, names, error, message",
    [
        (tied, None, ValueError, "must have a structure that can be pruned.*'0'"),  # columns of both are the inputs
        (tied, ["0"], ValueError, "names must be layers whose structures can go; '0' is left out"),
        (tied, ["2"], ValueError, "'2' is left out: its weights are those of '0'"),
        (used_twice, None, ValueError, "must have a structure that can be pruned.*a: "),
        (lambda: nn.Linear(6, 3), None, ValueError, "must have a structure that can be pruned"),
        (lambda: nn.Sequential(nn.ReLU(), nn.Linear(6, 3), nn.Tanh()), None, ValueError, "must have a structure"),
        (
            lambda: nn.Sequential(nn.Linear(6, 4), nn.Softmax(1), nn.Linear(4, 3)),
            None,
            ValueError,
            "has none .0: softmax in '1'",
        ),
        (lambda: nn.Sequential(nn.ReLU(), nn.Tanh()), None, ValueError, "net must have a structure .*: it has no parameters"),
        (mlp, ["nosuch"], ValueError, "names must be modules of net.*got 'nosuch'"),
        (mlp, ["1"], ValueError, "names must be layers whose structures can go; '1' is left out: it writes no structures"),
        (mlp, ["0", "4"], ValueError, "'4' is left out: they are outputs of the network"),
        (mlp, [], ValueError, "names must hold at least one module"),
        (mlp, "0", TypeError, "names must be a list of names of modules; got the string '0'"),
        (Branching, ["a", "z"], ValueError, "got 'z'"),
        (lambda: F.relu, None, TypeError, "net must be a torch.nn.Module; got"),
        (lambda: nn.DataParallel(mlp()), None, ValueError, "hand over net.module of this DataParallel"),
        (lambda: torch.compile(mlp(), backend="eager"), None, ValueError, "hand over net._orig_mod of this OptimizedModule"),
    ],
)
def test_networks_that_cannot_be_pruned_are_refused_with_the_reason(make, names, error, message):
    with pytest.raises(error, match=message):
        attach_noise(make(), names)


def test_exclude_must_name_modules():
    with pytest.raises(ValueError, match="exclude must be modules of net, such as '[0-4]'; got 'nosuch'"):
        attach_noise(mlp(), exclude=["nosuch"])
    with pytest.raises(TypeError, match="exclude must be a list of names of modules; got the string '0'"):
        attach_noise(mlp(), exclude="0")
    with pytest.raises(ValueError, match="must have a structure that can be pruned.*it is excluded"):
        attach_noise(mlp(), exclude=["0", "2"])


def test_exclude_that_leaves_nothing_out_is_refused():
    """A layer under its second name is the same layer; what writes no structures cannot keep any."""
    net = Branching()
    net.again = net.a
    noisy = attach_noise(net, exclude=["again"], example_inputs=flat())
    assert list(noisy.sites) == ["b"] and noisy.left_out["a"] == "it is excluded"
    with pytest.raises(ValueError, match="exclude must .*'1'"):
        attach_noise(mlp(), exclude=["1"])


def test_example_inputs_must_be_what_the_network_takes():
    with pytest.raises(ValueError, match="example_inputs must be what net can be called with; it raises RuntimeError: mat1"):
        attach_noise(mlp(), example_inputs=torch.randn(2, 5))
    with pytest.raises(TypeError, match="example_inputs must be a tensor, .*; got str"):
        attach_noise(mlp(), example_inputs="x")

    class Two(Branching):
        def forward(self, x, scale):
            return super().forward(x * scale)

    with pytest.raises(ValueError, match="example_inputs must be given: net takes none of the usual inputs"):
        attach_noise(Two())
    x = flat()
    for example_inputs in ((x, torch.ones(9, 1)), [x, torch.ones(9, 1)], {"scale": torch.ones(9, 1), "x": x}):
        assert list(attach_noise(Two(), example_inputs=example_inputs).sites) == ["a", "b"]


@pytest.mark.parametrize("draws", [0, -1, 1.5, "many", True])
def test_draws_must_be_a_whole_number(draws):
    with pytest.raises(ValueError, match="draws must be a whole number"):
        attach_noise(mlp(), draws=draws)


def test_unknown_sites_and_masks_of_a_wrong_shape_are_refused():
    noisy = attach_noise(mlp())
    with pytest.raises(ValueError, match="name must be one of the sites .*got '1'"):
        noisy.of("1")
    with pytest.raises(ValueError, match="one of the sites"):
        noisy.remove({"nosuch": torch.ones(3, dtype=torch.bool)})
    with pytest.raises(ValueError, match="must have shape \\(7,\\); got \\(6,\\)"):
        noisy.remove({"0": torch.ones(6, dtype=torch.bool)})
    for mistaken in ({"nosuch": mask(7)}, {"0": mask(6)}, {"0": torch.ones(7)}):
        with pytest.raises((ValueError, TypeError), match="must"):
            noisy.cost("parameters", mistaken)
        with pytest.raises((ValueError, TypeError), match="must"):
            noisy.remove(mistaken)
    assert noisy.n_removed == 0


# --- wrapped, not changed ---------------------------------------------------------------------------------------------------
def traces(net):
    """Hooks and attributes of a network's modules, to be compared before and after."""
    return [
        (name, sorted(vars(m)), len(m._forward_hooks), len(m._forward_pre_hooks), sorted(m._parameters))
        for name, m in net.named_modules()
    ]


@every_net
def test_the_network_is_the_same_before_and_after_calls(make, inputs, found, layers):
    net, x = make().eval(), inputs()
    before, output, state, parameters = traces(net), net(x), copy.deepcopy(net.state_dict()), dict(net.named_parameters())
    noisy = spread(attach_noise(net, example_inputs=x))
    for mode in (True, False):
        noisy.train(mode)
        for module in net.modules():  # statistics of batches are not what is asked about
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        noisy(x).sum().backward()
    net.eval()
    assert traces(net) == before
    assert torch.equal(net(x), output)
    after = net.state_dict()
    assert set(after) == set(state) and all(torch.equal(after[key], state[key]) for key in state)
    now = dict(net.named_parameters())
    assert set(now) == set(parameters) and all(now[key] is parameters[key] for key in now)
    assert all(p.grad is not None for p in parameters.values())


@pytest.mark.parametrize("training", [False, True])
def test_finding_structures_leaves_no_trace(training):
    """The network is run in both modes and cut in copies: statistics, modes, gradients and settings of torch stay."""
    net = Residual().train(training)
    net.first.bn1.eval()
    net.head.weight.requires_grad_(False)
    before, state, modes = traces(net), copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    settings = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled(), torch.is_grad_enabled()
    for example_inputs in (None, image()):
        attach_noise(net, example_inputs=example_inputs)
        after = net.state_dict()
        assert after.keys() == state.keys() and all(torch.equal(after[key], state[key]) for key in state)
        assert traces(net) == before and [m.training for m in net.modules()] == modes
        assert all(p.grad is None for p in net.parameters())
        assert [n for n, p in net.named_parameters() if not p.requires_grad] == ["head.weight"]
    assert settings == (torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled(), torch.is_grad_enabled())


@pytest.mark.parametrize(
    "make, inputs, found, layers", [NETS[name] for name in ("mlp", "residual", "nn.MultiheadAttention", "attention")]
)
def test_an_error_within_a_call_leaves_no_trace(make, inputs, found, layers):
    net, x = make().eval(), inputs()
    noisy = spread(attach_noise(net)).eval()
    before, output, expected = traces(net), net(x), noisy(x)

    def fail(module, args):
        raise RuntimeError("out of memory")

    last = list(net.children())[-1]
    handle = last.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        noisy(x)
    handle.remove()
    assert traces(net) == before
    assert torch.equal(net(x), output) and torch.equal(noisy(x), expected)


def test_what_is_wrapped_can_be_saved_and_loaded():
    net, x = Residual(), torch.randn(9, 1, 8, 8)
    noisy = spread(attach_noise(net))
    noisy.remove({"stem": torch.tensor([True, False, True, False])})
    other = attach_noise(Residual())
    assert not torch.equal(other.eval()(x), noisy.eval()(x))
    other.load_state_dict(copy.deepcopy(noisy.state_dict()))
    assert torch.equal(other(x), noisy(x)) and other.n_removed == 2
    twin = copy.deepcopy(noisy)
    assert torch.equal(twin(x), noisy(x))


# --- multiplied in by hand --------------------------------------------------------------------------------------------------
def test_outputs_are_those_of_networks_with_means_multiplied_in_by_hand():
    def thetas(noisy, *names):
        return [noisy.of(name).posterior.mean().detach().float() for name in names]

    net, x = mlp(), flat()
    noisy = spread(attach_noise(net)).eval()
    a, b = thetas(noisy, "0", "2")
    torch.testing.assert_close(noisy(x), net[4](torch.tanh(net[2](torch.tanh(net[0](x)) * a)) * b))

    net, x = SharedActivation(), flat()
    noisy = spread(attach_noise(net)).eval()
    a, b = thetas(noisy, "a", "b")
    torch.testing.assert_close(noisy(x), net.c(torch.tanh(net.b(torch.tanh(net.a(x)) * a)) * b))

    net, x = Convolutional(), torch.randn(9, 1, 10, 10)
    noisy = spread(attach_noise(net)).eval()
    a, b, c = thetas(noisy, "conv1", "conv2", "fc1")
    h = F.max_pool2d(F.relu(net.conv1(x)), 2) * a[:, None, None]
    h = (F.relu(net.conv2(h)) * b[:, None, None]).flatten(1)
    torch.testing.assert_close(noisy(x), net.fc2(F.relu(net.fc1(h)) * c))

    net, x = Residual().eval(), image()
    noisy = spread(attach_noise(net)).eval()
    stream, a, b, end = (t[:, None, None] for t in thetas(noisy, *NETS["residual"][2]))
    h = F.relu(net.bn(net.stem(x)))  # the stream itself is not multiplied, what reads it is, wherever it does
    h = F.relu(net.first.bn2(net.first.conv2(F.relu(net.first.bn1(net.first.conv1(h * stream))) * a)) + h)
    block = net.second
    h, short = h * stream, block.short(h * stream)
    h = F.relu(block.bn2(block.conv2(F.relu(block.bn1(block.conv1(h))) * b)) + short)
    torch.testing.assert_close(noisy(x), net.head(h.mean((2, 3)) * end[:, 0, 0]))

    net, x = Depthwise(), image()  # of the two convolutions, the second reads each channel for itself
    noisy = spread(attach_noise(net)).eval()
    a, b = thetas(noisy, "a", "b")
    h = F.relu(net.b(net.deep(net.a(x)) * a[:, None, None]))
    torch.testing.assert_close(noisy(x), net.head(h.mean((2, 3)) * b))

    net, x = Concatenating(), flat()
    noisy = spread(attach_noise(net)).eval()
    a, b, c = thetas(noisy, "a", "b", "c")
    torch.testing.assert_close(noisy(x), net.d(torch.tanh(net.c(torch.cat([net.a(x) * a, net.b(x) * b], 1))) * c))

    net, x = WithOwnAttention(), torch.randn(9, 5, 8)
    noisy = spread(attach_noise(net)).eval()
    a, b = thetas(noisy, "att", "att.proj")
    heads = net.att.heads(x) * a[:, None, None]
    torch.testing.assert_close(noisy(x), net.head(net.att.proj(heads.transpose(1, 2).reshape(9, 5, 8)).mean(1) * b))

    net, x = TorchAttention(), sequence()
    noisy = spread(attach_noise(net)).eval()
    stream, a, b = thetas(noisy, "embed", "att", "fc1")
    h = net.embed(x)
    qkv = F.linear(h * stream, net.att.in_proj_weight, net.att.in_proj_bias)
    q, k, v = qkv.reshape(9, 5, 3, 4, 2).permute(2, 0, 3, 1, 4)
    heads = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(2), dim=-1) @ v * a[:, None, None]
    h = h + net.att.out_proj(heads.transpose(1, 2).reshape(9, 5, 8))
    h = h + net.fc2(F.gelu(net.fc1(h * stream)) * b)
    torch.testing.assert_close(noisy(x), net.head(h[:, 0] * stream))
    with torch.no_grad():  # where torch takes a fast path of its own
        torch.testing.assert_close(noisy(x), net.head(h[:, 0] * stream))


def test_noise_comes_after_batch_norm_whose_statistics_are_those_without_noise():
    """A channel that is gone is 0 for whoever reads it, not what a bias of BatchNorm makes of 0."""
    net, x = Residual(), image()
    noisy = spread(attach_noise(net, ["first.conv1"]))
    alone = copy.deepcopy(net)
    noisy.train()(x)
    alone.train()(x)
    for key in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(net.first.bn1, key), getattr(alone.first.bn1, key))
    without_noise(noisy).eval().remove({"first.conv1": mask(4, 1, 3)})
    h = F.relu(net.bn(net.stem(x)))
    inner = F.relu(net.first.bn1(net.first.conv1(h)))
    assert (inner[:, 1] != 0).any()
    inner = inner * ~mask(4, 1, 3)[:, None, None]
    h = F.relu(net.first.bn2(net.first.conv2(inner)) + h)
    torch.testing.assert_close(noisy(x), net.head(net.second(h).mean((2, 3))))


def test_weights_that_are_read_by_hand_are_multiplied_themselves():
    class ByHand(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = nn.Linear(6, 5), nn.Linear(5, 4), nn.GRU(4, 7, batch_first=True), nn.Linear(7, 3)

        def forward(self, x):
            h = torch.tanh(F.linear(F.relu(self.a(x)), self.b.weight, self.b.bias))
            return self.d(self.c(h)[0][:, -1])

    net, x = ByHand(), sequence()
    noisy = spread(attach_noise(net, example_inputs=x)).eval()
    assert {name: site.n for name, site in noisy.sites.items()} == {"a": 5, "b": 4, "c": 7}
    before = {name: p for name, p in net.named_parameters()}
    a, b, c = (noisy.of(name).posterior.mean().detach().float() for name in "abc")
    by_hand = copy.deepcopy(net)  # everything that reads, multiplied
    with torch.no_grad():
        for weight, theta in (
            (by_hand.b.weight, a),
            (by_hand.c.weight_ih_l0, b),
            (by_hand.c.weight_hh_l0, c),
            (by_hand.d.weight, c),
        ):
            weight.mul_(theta)
    torch.testing.assert_close(noisy(x), by_hand(x))
    with torch.no_grad():  # what the recurrent layer is handed can have a draw for each example: not here
        noisy.of("b").mu.fill_(5.0), noisy.of("b").log_sigma.fill_(-20.0)
    same = x[:1].expand(9, -1, -1)  # and of the others, one draw for all examples of a call
    out = noisy.train()(same)
    torch.testing.assert_close(out, out[:1].expand_as(out))
    assert not torch.allclose(noisy(same), out)
    assert all(p is before[name] for name, p in net.named_parameters())
    noisy(x).square().sum().backward()
    assert all((n.mu.grad != 0).any() for n in noisy.noise.values()) and all(p.grad is not None for p in net.parameters())


def test_noise_as_good_as_1_changes_nothing():
    for make, inputs, _, _ in NETS.values():
        net, x = make().eval(), inputs()
        torch.testing.assert_close(without_noise(attach_noise(net)).eval()(x), net(x), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(attach_noise(net).eval()(x), net(x), rtol=0.2, atol=0.05)  # before training: about 1


def test_draws_differ_between_calls_and_examples_and_means_do_not():
    net, x = mlp().double(), torch.randn(1, 6, dtype=torch.float64).expand(64, -1)  # equal examples
    different = lambda output: len(output.detach().round(decimals=10).unique(dim=0))  # noqa: E731
    noisy = spread(attach_noise(net, draws=16))
    one, two = noisy(x), noisy(x)
    assert not torch.allclose(one, two)
    assert different(one) == 16  # examples take turns
    torch.testing.assert_close(one[:16], one[16:32])
    assert different(spread(attach_noise(net, draws=1))(x)) == 1
    assert different(spread(attach_noise(net, draws=None))(x)) == 64
    noisy.eval()
    assert torch.equal(noisy(x), noisy(x)) and different(noisy(x)) == 1
    assert noisy.train()(x[:5]).shape == (5, 3)  # fewer examples than draws


def test_outputs_average_over_draws_as_noise_in_a_linear_network_must():
    net, x = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)).double(), torch.randn(1, 6, dtype=torch.float64)
    noisy = spread(attach_noise(net, draws=None))
    with torch.no_grad():
        many, mean = noisy(x.expand(20_000, -1)), noisy.eval()(x)[0]
    error = many.std(dim=0) / math.sqrt(len(many))
    assert ((many.mean(dim=0) - mean).abs() <= 5 * error).all()


def test_gradients_reach_weights_and_noise():
    noisy = spread(attach_noise(Convolutional()))
    noisy(torch.randn(9, 1, 10, 10)).square().sum().backward()
    for name, parameter in noisy.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    assert all((n.mu.grad != 0).any() and (n.log_sigma.grad != 0).any() for n in noisy.noise.values())


def test_parameters_out_of_range_come_back_at_the_next_call_in_training():
    noisy = attach_noise(mlp())
    noise = noisy.of("0")
    with torch.no_grad():
        noise.mu[:2], noise.log_sigma[:2] = torch.tensor([-70.0, 70.0]), torch.tensor([-70.0, 70.0])
    assert torch.isfinite(noisy(flat())).all()
    assert noise.mu[:2].tolist() == [-20.0, 5.0] and noise.log_sigma[:2].tolist() == [-20.0, 5.0]


# --- removal --------------------------------------------------------------------------------------------------------------
def mask(n, *dead):
    out = torch.zeros(n, dtype=torch.bool)
    out[list(dead)] = True
    return out


def test_what_has_been_removed_stays_removed_and_is_multiplied_with_0():
    net, x = mlp(), flat()
    noisy = without_noise(attach_noise(net))
    assert noisy.remove({"0": mask(7, 1, 2), "2": mask(5, 4)}) == {"0": 2, "2": 1}
    assert noisy.remove({"0": mask(7, 2, 3)}) == {"0": 1}  # one of them has gone before
    assert noisy.remove({"0": mask(7)}) == {"0": 0}  # nothing comes back
    assert noisy.n_removed == 4 and torch.equal(~noisy.of("0").alive, mask(7, 1, 2, 3))
    h = torch.tanh(net[0](x)) * ~mask(7, 1, 2, 3)
    by_hand = net[4](torch.tanh(net[2](h)) * ~mask(5, 4))
    for mode in (True, False):
        torch.testing.assert_close(noisy.train(mode)(x), by_hand)
    net[0].weight.grad = None
    noisy(x).sum().backward()
    assert (net[0].weight.grad[mask(7, 1, 2, 3)] == 0).all() and (net[0].weight.grad[0] != 0).all()
    assert (noisy.of("0").mu.grad[mask(7, 1, 2, 3)] == 0).all()


def test_the_likeliest_structure_of_a_layer_stays():
    noisy = spread(attach_noise(mlp()))
    best = int(noisy.of("2").posterior.mean().argmax())
    assert noisy.remove({"2": torch.ones(5, dtype=torch.bool)}) == {"2": 4}
    assert noisy.of("2").alive.nonzero().tolist() == [[best]]
    noisy.remove({"2": torch.ones(5, dtype=torch.bool)})
    assert noisy.of("2").alive.sum() == 1
    with torch.no_grad():  # a removed one is not called back, however likely it has become
        noisy.of("2").mu[:] = -20.0
        noisy.of("2").mu[(best + 1) % 5] = 5.0
    noisy.remove({"2": torch.ones(5, dtype=torch.bool)})
    assert noisy.of("2").alive.nonzero().tolist() == [[best]]


def test_divergence_and_scores_are_those_of_structures_that_are_left():
    noisy = spread(attach_noise(Residual()))
    sites = list(noisy.sites)
    each = {name: noisy.of(name).posterior.kl() for name in sites}
    torch.testing.assert_close(noisy.kl(), sum(kl.sum() for kl in each.values()), rtol=1e-12, atol=0)
    assert noisy.kl().dtype == torch.float64 and noisy.kl().shape == ()
    noisy.remove({"stem": mask(4, 0, 2), "second.conv1": mask(6, 5)})
    left = {name: noisy.of(name).alive for name in sites}
    torch.testing.assert_close(noisy.kl(), sum((each[n] * left[n]).sum() for n in sites), rtol=1e-12, atol=0)
    noisy.kl().backward()
    assert (noisy.of("stem").mu.grad[mask(4, 0, 2)] == 0).all()
    for rule in (BMRS_N(), BMRS_U(4), L2Norm()):
        scores = noisy.scores(rule)
        assert list(scores) == sites and all(torch.equal(torch.isneginf(scores[n]), ~left[n]) for n in sites)
        assert not any(s.requires_grad for s in scores.values())
    norms = noisy.net.second.conv1.weight.detach().flatten(1).norm(dim=1).double()
    torch.testing.assert_close(-noisy.scores(L2Norm())["second.conv1"][:5], norms[:5])


def test_norms_of_structures_are_those_of_all_that_writes_them():
    net = TorchAttention()
    scores = attach_noise(net).scores(L2Norm())
    rows = net.att.in_proj_weight.detach().double().reshape(3, 4, 2, 8)  # queries, keys, values; head; feature; width
    torch.testing.assert_close(-scores["att"], rows.transpose(0, 1).flatten(1).norm(dim=1))
    stream = torch.cat([layer.weight.detach().double() for layer in (net.embed, net.att.out_proj, net.fc2)], dim=1)
    torch.testing.assert_close(-scores["embed"], stream.norm(dim=1))
    net = WithOwnAttention()
    rows = net.att.qkv.weight.detach().double().reshape(3, 4, 2, 8).transpose(0, 1).flatten(1)
    torch.testing.assert_close(-attach_noise(net).scores(L2Norm())["att"], rows.norm(dim=1))


def reading(net, *names):
    """What layers are handed, by name, from now on."""
    read = {}

    def watch(name, layer):
        forward = layer.forward

        def watched(x):
            read[name] = x
            return forward(x)

        layer.forward = watched

    for name in names:
        watch(name, net.get_submodule(name))
    return read


def test_what_is_gone_is_0_for_all_that_read_it():
    net = Residual().eval()
    noisy = without_noise(attach_noise(net)).eval()
    readers = {name: site.readers for name, site in noisy.sites.items()}
    assert readers == {
        "stem": ("first.conv1", "second.conv1", "second.short.0"),
        "first.conv1": ("first.conv2",),
        "second.conv1": ("second.conv2",),
        "second.conv2": ("head",),
    }
    dead = {"stem": mask(4, 1, 2), "first.conv1": mask(4, 3), "second.conv1": mask(6), "second.conv2": mask(6, 0, 4)}
    noisy.remove(dead)
    gone = noisy.gone()
    assert gone.keys() == dead.keys() and all(torch.equal(gone[name], dead[name]) for name in dead)
    read = reading(net, *(name for names in readers.values() for name in names))
    for mode in (False, True):
        noisy.train(mode)(torch.randn(64, 1, 8, 8))
        for name, names in readers.items():
            for reader in names:
                silent = (read[reader].transpose(0, 1).flatten(1) == 0).all(dim=1)
                assert torch.equal(silent, dead[name])


def test_one_draw_of_a_stream_is_for_all_that_read_it():
    """Each example has its own, which is the same wherever the stream is read in this pass."""

    class Stream(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x):
            x = self.a(x)
            return self.d(x + self.c(F.relu(self.b(x))))

    net, x = Stream().double(), torch.randn(9, 6, dtype=torch.float64)
    noisy = spread(attach_noise(net, draws=None))
    assert noisy.sites["a"].layers == ("a", "c") and noisy.sites["a"].readers == ("b", "d") and len(noisy.sites) == 2
    read = reading(net, *"bcd")
    noisy(x)
    h = net.a(x)
    theta, inner = read["b"] / h, read["c"] / F.relu(net.b(read["b"]))
    torch.testing.assert_close(read["d"] / (h + net.c(read["c"])), theta)
    assert len(theta.detach().round(decimals=9).unique(dim=0)) == 9
    assert len(inner.detach().nan_to_num().round(decimals=9).unique(dim=0)) == 9


def test_a_stream_that_is_read_by_hand_as_well_has_one_draw_for_all():
    """A weight that is multiplied itself is one for all examples, and so must be the draw wherever else the stream is read."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(5, 4)

        def forward(self, x):
            x = self.a(x)
            return self.b(x) + F.linear(x, self.c.weight)

    net, x = Both().double(), torch.randn(9, 6, dtype=torch.float64)
    noisy = spread(attach_noise(net, draws=None, example_inputs=x))
    read = reading(net, "b")
    out, h = noisy(x), net.a(x)
    theta = read["b"] / h
    torch.testing.assert_close(theta, theta[:1].expand_as(theta))
    torch.testing.assert_close(out, F.linear(h * theta, net.b.weight + net.c.weight, net.b.bias))
    noisy(x)
    assert not torch.allclose(read["b"] / h, theta)


def test_groups_for_an_optimiser_hold_every_parameter_once():
    noisy = attach_noise(Residual())
    net, noise = noisy.parameter_groups(1e-3)
    assert (net["lr"], noise["lr"]) == (1e-3, pytest.approx(1e-2))
    assert noisy.parameter_groups(1e-3, 0.5)[1]["lr"] == 0.5
    held = [id(p) for group in (net, noise) for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in noisy.parameters()) and len(set(held)) == len(held)
    assert {id(p) for p in noise["params"]} == {id(p) for n in noisy.noise.values() for p in (n.mu, n.log_sigma)}
    torch.optim.Adam(noisy.parameter_groups(1e-3))


@pytest.mark.parametrize("optimiser", [torch.optim.AdamW, torch.optim.SGD])
def test_weights_decay_and_noise_does_not(optimiser):
    noisy = spread(attach_noise(mlp()))
    before = copy.deepcopy(noisy.state_dict())
    steps = optimiser(noisy.parameter_groups(1e-2), lr=1e-2, weight_decay=0.5)
    for parameter in noisy.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(5):
        steps.step()
    for name, value in noisy.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("noise"), name


# --- random networks --------------------------------------------------------------------------------------------------------
class RandomNet(nn.Module):
    """Convolutions, residual sums, normalisation, pooling and activations (with f(0) = 0) as they come."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        pick = lambda *options: options[int(torch.randint(len(options), (), generator=generator))]  # noqa: E731
        self.layers, self.norms, self.acts, self.plan = nn.ModuleList(), nn.ModuleList(), nn.ModuleList(), []
        width = 2
        for _ in range(pick(2, 3, 4)):
            n = pick(width, 3, 4, 5)
            self.layers.append(nn.Conv2d(width, n, 3, padding=1, bias=pick(True, False)))
            self.norms.append(pick(nn.BatchNorm2d(n), nn.Identity()))
            self.acts.append(pick(nn.ReLU(), nn.Tanh(), nn.GELU(), nn.LeakyReLU(0.2), nn.Identity()))
            then = pick("", "relu", "tanh", "gelu", "pool", "method")
            self.plan.append((then, n == width and pick(True, True, False)))
            width = n
        self.end = pick("mean", "flatten")
        self.fc1 = nn.Linear(width if self.end == "mean" else width * 16, pick(4, 6))
        self.fc2 = nn.Linear(self.fc1.out_features, 3)

    def forward(self, x):
        for layer, norm, act, (then, residual) in zip(self.layers, self.norms, self.acts, self.plan, strict=True):
            y = act(norm(layer(x)))
            x = torch.add(x, y) if residual else y
            if then in ("relu", "tanh", "gelu"):
                x = getattr(F, then)(x)
            elif then == "pool":
                x = F.avg_pool2d(x, 3, stride=1, padding=1)
            elif then == "method":
                x = x.relu()
        x = F.adaptive_avg_pool2d(x, 4)
        x = x.mean((2, 3)) if self.end == "mean" else x.flatten(1)
        return self.fc2(torch.tanh(self.fc1(x)))

    def streams(self):
        """By stream of maps, the layers that add to it, and those that read it; that of the network's inputs is the first."""
        found = [([], [])]
        for i, (_, residual) in enumerate(self.plan):
            found[-1][1].append(f"layers.{i}")
            if not residual:
                found.append(([], []))
            found[-1][0].append(f"layers.{i}")
        found[-1][1].append("fc1")
        return [*found, (["fc1"], ["fc2"])]


@pytest.mark.parametrize("seed", range(12))
def test_removing_a_structure_is_silencing_it_where_it_is_read(seed):
    """Columns of 0 in all layers that read it, in a copy that knows no noise; and what writes it does not matter any more."""
    net = RandomNet(seed).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.bias.data.normal_()
    x = torch.randn(6, 2, 6, 6)
    noisy = without_noise(attach_noise(net, example_inputs=x)).eval()
    (inputs, *_), streams = net.streams(), net.streams()[1:]
    assert [(list(s.layers), list(s.readers)) for s in noisy.sites.values()] == streams
    assert noisy.left_out.keys() == {"fc2", *inputs[0]}  # what is added to the inputs stays
    generator = torch.Generator().manual_seed(seed)
    silenced = copy.deepcopy(net)
    for site in noisy.sites.values():
        i = int(torch.randint(site.n, (), generator=generator))
        noisy.remove({site.name: mask(site.n, i)})
        for reader in site.readers:
            weight = silenced.get_submodule(reader).weight.data
            weight.unflatten(1, (site.n, -1))[:, i] = 0.0
    assert not torch.allclose(net(x), silenced(x), rtol=1e-3)
    torch.testing.assert_close(noisy(x), silenced(x))
    before = noisy(x)
    for site in noisy.sites.values():
        dead = ~noisy.of(site.name).alive
        for layer in (net.get_submodule(name) for name in site.layers):
            for parameter in layer.parameters():
                parameter.data[dead] = torch.randn_like(parameter.data[dead])
    torch.testing.assert_close(noisy(x), before, rtol=0, atol=0)
    small, many = compact(noisy, x), torch.randn(100, 2, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(small(many), noisy(many))
    n_left = sum(p.numel() for p in small.parameters())
    assert n_left == noisy.cost("parameters") < noisy.cost_dense("parameters")
