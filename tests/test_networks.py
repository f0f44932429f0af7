"""Networks of the experiments: sizes, shapes, and the structures that noise finds in them."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

from activebmr.pruning import attach_noise  # noqa: E402
from activebmr.pruning.data.images import IMAGE_SHAPES, ImageData  # noqa: E402
from activebmr.pruning.networks import for_structures as nets  # noqa: E402
from activebmr.pruning.networks.for_structures import (  # noqa: E402
    Attention,
    VisionTransformer,
    lenet5,
    mlp,
    mlp_for,
    network_named,
    resnet50,
    resnet_tiny,
    vit,
    vit_base,
    vit_tiny,
)


def size(net) -> int:
    return sum(p.numel() for p in net.parameters())


def images(name="mnist", n=2) -> ImageData:
    """Made-up images of a data set's shape."""
    x = torch.randn(n, *IMAGE_SHAPES[name], generator=torch.Generator().manual_seed(5))
    y = torch.arange(n)
    return ImageData(name, 10, x, y, x, y, x, y)


def on_meta(make, *args, **kwargs):
    """A network without memory for its weights: as fast for large ones as for small ones."""
    with torch.device("meta"):
        return make(*args, **kwargs)


# --- sizes -----------------------------------------------------------------------------------------------------------
def test_numbers_of_parameters():
    assert size(lenet5((1, 28, 28))) == 61_706  # LeCun et al. (1998), all maps connected
    assert size(lenet5((3, 32, 32))) == 62_006
    whole = on_meta(resnet50, 1000)
    assert size(whole) == 25_557_032 and size(whole) - size(whole.fc) == 23_508_032  # He et al. (2016), as in torchvision
    base = on_meta(vit_base, 1000)
    assert size(base) == 86_567_656 and size(base) - size(base.head) == 85_798_656  # Dosovitskiy et al. (2021)
    assert size(mlp((784, *[100] * 7, 10))) == 784 * 100 + 6 * 100 * 100 + 7 * 100 + 100 * 10 + 10


def test_large_networks_see_images_of_their_size():
    x = torch.empty(2, 3, 224, 224, device="meta")
    assert on_meta(resnet50, 1000)(x).shape == (2, 1000)
    assert on_meta(vit_base, 1000)(x).shape == (2, 1000)


def test_hidden_layers_of_the_protocol():
    for name, hidden in {"digits": [100] * 3, "mnist": [100] * 7, "fashion-mnist": [150], "cifar10": [150] * 5}.items():
        for data in (name, images(name)):
            net = mlp_for(data)
            layers = [m for m in net if isinstance(m, nn.Linear)]
            assert [m.out_features for m in layers] == [*hidden, 10]
            assert layers[0].in_features == np.prod(IMAGE_SHAPES[name])
            assert sum(isinstance(m, nn.Tanh) for m in net) == len(hidden)


def test_names_are_those_of_torchvision():
    names = set(on_meta(resnet50, 1000).state_dict())
    for name in ("conv1.weight", "bn1.running_mean", "layer1.0.conv3.weight", "layer4.2.bn3.weight", "fc.bias"):
        assert name in names
    assert {n.rpartition(".")[0] for n in names if "downsample" in n} == {
        f"layer{i}.0.downsample.{j}" for i in range(1, 5) for j in (0, 1)
    }


# --- forward ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", list(IMAGE_SHAPES))
@pytest.mark.parametrize("model", nets.NETWORKS)
def test_every_network_takes_every_data_set(model, name):
    data = images(name)
    if model == "resnet50":  # far too slow with memory
        net = on_meta(network_named, model, data)
        assert net(data.x_test.to("meta")).shape == (2, 10)
        net = resnet50(10, IMAGE_SHAPES[name][0], width=2, small=True)
    else:
        net = network_named(model, name)
    out = net(data.x_test)
    assert out.shape == (2, 10) and out.dtype == torch.float32 and out.isfinite().all()
    out.sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert attach_noise(net, example_inputs=data.x_test).n_structures > 0


def test_networks_are_repeatable():
    for make in (lambda: network_named("lenet5", "digits"), lambda: resnet_tiny(10), lambda: vit_tiny((1, 8, 8), 10)):
        weights = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            weights.append(torch.cat([p.detach().flatten() for p in make().parameters()]))
        assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_classes_and_shape_come_from_the_data():
    data = replace(images("digits"), name="letters", classes=26)
    for model in ("lenet5", "vit"):
        assert network_named(model, data)(data.x_test).shape == (2, 26)
    assert lenet5((1, 12, 40))(torch.randn(2, 1, 12, 40)).shape == (2, 10)
    assert mlp((5, 4, 3))(torch.randn(2, 5)).shape == (2, 3)


def test_large_images_get_the_large_stem():
    small, large = (on_meta(resnet50, 10, small=s) for s in (True, False))
    assert small.conv1.kernel_size == (3, 3) and large.conv1.kernel_size == (7, 7)
    assert isinstance(small.maxpool, nn.Identity) and isinstance(large.maxpool, nn.MaxPool2d)


@pytest.mark.parametrize("make", [lambda: resnet_tiny(10), lambda: vit_tiny((1, 8, 8), 10), lambda: lenet5((1, 8, 8))])
def test_networks_can_be_traced_as_they_are(make):
    net, x = make().eval(), torch.randn(2, 1, 8, 8)
    assert_close(torch.fx.symbolic_trace(net)(x), net(x))


def test_a_residual_block_adds_its_shortcut():
    block = resnet_tiny(10).layer1[1].eval()
    nn.init.zeros_(block.bn3.weight)
    x = torch.randn(2, 16, 4, 4)
    assert_close(block(x), torch.relu(x))


# --- attention -------------------------------------------------------------------------------------------------------
def test_attention_is_that_of_torch():
    torch.manual_seed(0)
    ours, theirs = Attention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([m.weight for m in (ours.q, ours.k, ours.v)]))
        theirs.in_proj_bias.copy_(torch.cat([m.bias for m in (ours.q, ours.k, ours.v)]))
        theirs.out_proj.load_state_dict(ours.proj.state_dict())
    x = torch.randn(2, 5, 12)
    assert_close(ours(x), theirs(x, x, x, need_weights=False)[0])


def test_heads_can_be_cut_away():
    """A head without rows and columns is a head whose noise is 0."""
    torch.manual_seed(0)
    net, x = vit_tiny((1, 8, 8), 10), torch.randn(2, 1, 8, 8)
    noisy = attach_noise(net).eval()
    assert noisy.sites["blocks.0.attn"].heads and not noisy.sites["blocks.0.fc1"].heads
    noisy.remove({"blocks.0.attn": torch.tensor([False, True, False])})
    for name in noisy.sites:
        noisy.of(name).mu.data.fill_(5.0)  # theta is 1 for what is left
        noisy.of(name).log_sigma.data.fill_(-20.0)
    smaller = copy.deepcopy(net)
    attn, left = smaller.blocks[0].attn, torch.tensor([0, 1, 2, 3, 8, 9, 10, 11])
    for layer in (attn.q, attn.k, attn.v):
        layer.weight, layer.bias = nn.Parameter(layer.weight[left]), nn.Parameter(layer.bias[left])
    attn.proj.weight = nn.Parameter(attn.proj.weight[:, left])
    attn.num_heads = 2
    assert_close(smaller(x), noisy(x), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(net(x), noisy(x))


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_what_the_classifier_reads(pool):
    net = VisionTransformer((1, 8, 8), 10, patch=2, width=12, depth=2, num_heads=3, pool=pool)
    assert net.position.shape[1] == (17 if pool == "class" else 16)
    assert hasattr(net, "token") == (pool == "class")
    with torch.no_grad():
        net.position.zero_()
        x = torch.randn(2, 1, 8, 8)
        patches = x.reshape(2, 1, 4, 2, 8)[:, :, [2, 0, 3, 1]].reshape(2, 1, 8, 8)
        assert_close(net(x), net(patches), rtol=1e-4, atol=1e-5)  # without positions the order of patches does not matter


# --- structures ------------------------------------------------------------------------------------------------------
def found(net, x=None) -> dict[str, tuple]:
    """By site: how many structures, who writes them beside the layer that gives the name, and who reads them."""
    sites = attach_noise(net, example_inputs=x).sites
    return {name: (s.n, [n for n in s.layers if n != name], list(s.readers)) for name, s in sites.items()}


def test_sites_of_a_multilayer_perceptron():
    for activation in (nn.Tanh, nn.ReLU, nn.Sigmoid):
        assert found(mlp((6, 5, 4, 3), activation)) == {"fc1": (5, [], ["fc2"]), "fc2": (4, [], ["fc3"])}


def test_sites_of_lenet5():
    assert found(lenet5((1, 28, 28))) == {
        "conv1": (6, [], ["conv2"]),
        "conv2": (16, [], ["fc1"]),
        "fc1": (120, [], ["fc2"]),
        "fc2": (84, [], ["fc3"]),
    }


def test_sites_of_a_residual_network():
    """Who adds to the same stream is one site, and whoever comes later reads it."""
    second = ["layer2.0.conv1", "layer2.0.downsample.0"]
    assert found(resnet_tiny(10)) == {
        "conv1": (4, [], ["layer1.0.conv1", "layer1.0.downsample.0"]),
        "layer1.0.conv1": (4, [], ["layer1.0.conv2"]),
        "layer1.0.conv2": (4, [], ["layer1.0.conv3"]),
        "layer1.0.conv3": (16, ["layer1.0.downsample.0", "layer1.1.conv3"], ["layer1.1.conv1", *second]),
        "layer1.1.conv1": (4, [], ["layer1.1.conv2"]),
        "layer1.1.conv2": (4, [], ["layer1.1.conv3"]),
        "layer2.0.conv1": (8, [], ["layer2.0.conv2"]),
        "layer2.0.conv2": (8, [], ["layer2.0.conv3"]),
        "layer2.0.conv3": (32, ["layer2.0.downsample.0"], ["fc"]),
    }


def test_sites_of_resnet50():
    """All of its 53 convolutions write structures that can go; each stage is one residual stream."""
    noisy = attach_noise(resnet50(10, width=4, small=True), example_inputs=torch.randn(2, 3, 16, 16))
    convolutions = [name for name, m in noisy.net.named_modules() if isinstance(m, nn.Conv2d)]
    written = [name for s in noisy.sites.values() for name in s.layers]
    assert len(convolutions) == 53 and sorted(written) == sorted(convolutions)
    assert sorted(len(s.layers) for s in noisy.sites.values() if len(s.layers) > 1) == [4, 4, 5, 7]
    assert noisy.left_out == {"fc": "they are outputs of the network"}
    assert all(s.stays is None for s in noisy.sites.values())


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_sites_of_a_vision_transformer(pool):
    """Heads, hidden units, and the features of the stream of tokens, which LayerNorm and all layers share."""
    net = vit_tiny((1, 8, 8), 10, pool=pool)
    blocks = [f"blocks.{i}" for i in range(2)]
    readers = [f"{b}.{name}" for b in blocks for name in ("attn.q", "attn.k", "attn.v", "fc1")]
    expected = {"embed": (12, [f"{b}.{name}" for b in blocks for name in ("attn.proj", "fc2")], [*readers, "head"])}
    for b in blocks:
        expected[f"{b}.attn"] = (3, [f"{b}.attn.{part}" for part in "qkv"], [f"{b}.attn.proj"])
        expected[f"{b}.fc1"] = (20, [], [f"{b}.fc2"])
    assert found(net) == expected
    # whoever holds an entry for each feature loses it with the feature
    parts = attach_noise(net).sites["embed"].parts
    assert {("position", 2), ("norm.weight", 0), ("blocks.1.norm2.bias", 0)} <= parts.keys()
    assert (("token", 2) in parts) == (pool == "class")


def test_networks_without_memory_are_refused():
    """Structures are found by running the network, which one on the meta device cannot be."""
    x = torch.randn(2, 1, 8, 8)
    for inputs in (x, x.to("meta"), None):
        with pytest.raises(ValueError, match="meta"):
            attach_noise(on_meta(lenet5, (1, 8, 8)), example_inputs=inputs)


@pytest.mark.parametrize(
    "make",
    [lambda: mlp_for("digits"), lambda: lenet5((1, 8, 8)), lambda: resnet_tiny(10), lambda: vit_tiny((1, 8, 8), 10)],
    ids=["mlp", "lenet5", "resnet", "vit"],
)
def test_networks_learn_with_noise(make):
    torch.manual_seed(0)
    x, y = torch.randn(16, 1, 8, 8), torch.arange(16) % 10
    noisy = attach_noise(make(), example_inputs=x[:2])
    optimizer = torch.optim.Adam(noisy.parameter_groups(1e-2))
    losses = []
    for _ in range(10):
        loss = nn.functional.cross_entropy(noisy(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


# --- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: network_named("alexnet", "mnist"),
            r"model must be one of \['mlp', 'lenet5', 'resnet50', 'vit'\]; got 'alexnet'",
        ),
        (lambda: network_named("mlp", "cats"), "data must be images or one of .*; got 'cats'"),
        (lambda: mlp_for(replace(images(), name="letters")), r"others need sizes of their own \(mlp\); got 'letters'"),
        (lambda: mlp((3,)), r"sizes must hold at least those of input and output; got \[3\]"),
        (lambda: mlp((3, 0, 2)), r"sizes\[1\] must be a whole number >= 1; got 0"),
        (lambda: lenet5((1, 3, 8)), "shape of an image must be at least 4 x 4 for lenet5; got 3 x 8"),
        (lambda: lenet5((1, 8, 8), 0), "classes must be a whole number >= 1; got 0"),
        (lambda: resnet50(10, width=0), "width must be a whole number >= 1; got 0"),
        (lambda: Attention(10, 3), r"width must be a multiple of num_heads \(3\); got 10"),
        (lambda: vit((1, 9, 8), 10), "patch must divide the sides of an image, 9 x 8; got 2"),
        (lambda: vit((1, 8, 8), 10, pool="max"), r"pool must be one of \['class', 'mean'\]; got 'max'"),
        (
            lambda: VisionTransformer((1, 8, 8), 10, patch=0, width=4, depth=1, num_heads=2),
            "patch must be a whole number >= 1; got 0",
        ),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [lambda: resnet_tiny(10), lambda: vit_tiny((1, 8, 8), 10)], ids=["resnet", "vit"])
def test_deep_networks_train_are_pruned_and_compacted(make):
    """Tiny ResNet and ViT through the whole life of a pruned network; the smaller one computes the same on 1,000 inputs."""
    from activebmr.pruning import BMRS_U, Training, compact, fit, prune

    torch.manual_seed(0)
    x, y = torch.randn(96, 1, 8, 8), torch.randint(10, (96,))
    noisy = attach_noise(make(), example_inputs=x[:2])
    fit(noisy, (x, y), Training(epochs=2, fine_tune=0, batch=32, warm_up=0, prune_from=0))
    with torch.no_grad():  # as long training would leave them: some as the prior has them, others sure to be there
        for name in noisy.sites:
            noise = noisy.of(name)
            spare = torch.arange(len(noise.mu)) % 3 != 0
            noise.mu.copy_(torch.where(spare, -8.0, -0.2))
            noise.log_sigma.copy_(torch.where(spare, 1.5, -3.0))
    step = prune(noisy, BMRS_U(4))
    assert noisy.n_removed >= noisy.n_structures // 2 and step.compression > 0.3
    small, probes = compact(noisy, x[:2]), torch.randn(1000, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(small(probes), noisy.eval()(probes), rtol=1e-4, atol=1e-5)
    assert size(small) == noisy.cost("parameters") < 0.8 * size(noisy.net)
