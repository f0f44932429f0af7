"""Networks of every kind: half of what is found goes, what is left computes the same, and reports say what is left."""

from __future__ import annotations

import copy
from functools import partial

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.utils._pytree import tree_leaves, tree_map  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from activebmr.pruning import attach_noise, compact  # noqa: E402
from activebmr.pruning.networks.families import FAMILIES, resnet50_family  # noqa: E402
from activebmr.pruning.networks.families_convolutional import ConvNeXt, DenseNet, InvertedNet, ShuffleNet  # noqa: E402
from activebmr.pruning.networks.families_language import Bert, Gpt, Llama  # noqa: E402
from activebmr.pruning.networks.families_residual import BasicBlock, Bottleneck, ResidualNet, VideoNet  # noqa: E402
from activebmr.pruning.networks.families_transformers import Mixer, Swin, ViT  # noqa: E402

MOST = {
    "mlp": 0.52,
    "lenet": 0.36,
    "vgg": 0.36,
    "resnet18": 0.35,
    "resnet50": 0.36,
    "preact-resnet": 0.36,
    "groupnorm-resnet": 0.35,
    "resnext": 0.36,
    "regnet": 0.37,
    "mobilenet-v2": 0.42,
    "mobilenet-v3": 0.43,
    "efficientnet": 0.43,
    "densenet": 0.37,
    "convnext": 0.39,
    "video": 0.36,
    "siamese": 0.36,
    "autoencoder": 0.49,
    "unet": 0.36,
    "deeplab": 0.36,
    "vit": 0.38,
    "transformer-encoder": 0.38,
    "bert": 0.38,
    # torch-pruning fails on these, or leaves them as they are: half of all rows and columns is about 0.3
    "shufflenet-v2": 0.4,
    "segmentation": 0.4,
    "mlp-mixer": 0.4,
    "gpt-untied": 0.4,
    "llama": 0.4,
    "lstm": 0.4,
    "gru": 0.4,
    # the width of the stream stays: rows of the embedding are outputs, columns what comes in
    "gpt": 0.6,
    "gpt2-library": 0.6,
    # its forward takes the size of a head from the width of what comes in, so that neither can go without the other
    "swin": 0.75,
}
"""Share of parameters that may be left: what torch-pruning leaves by halves (benchmarks/coverage.py) + 0.1."""


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def call(net, inputs):
    if isinstance(inputs, dict):
        return net(**inputs)
    return net(*inputs) if isinstance(inputs, tuple) else net(inputs)


def size(net):
    return sum(p.numel() for p in net.parameters())


def flops(net, inputs):
    """In double precision: of an LSTM in single precision the counter sees nothing."""
    net = copy.deepcopy(net).double()
    inputs = tree_map(lambda x: x.double() if x.is_floating_point() else x, inputs)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), FlopCounterMode(display=False) as counter:
            call(net, inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops()


@torch.no_grad()
def made(name):
    """A network of a family in which nothing is 0 or 1 that usually is, with statistics of its own maps, and example inputs."""
    net, inputs = FAMILIES[name]()
    for p in net.parameters():
        spread = float(p.std()) if p.dim() > 1 else 0.0
        p.add_((0.5 * spread or 0.2) * torch.randn_like(p))
    net.train()
    for _ in range(10):
        call(net, FAMILIES[name]()[1])
    return net.eval(), inputs


@torch.no_grad()
def noisy_of(net, inputs):
    """With noise whose means differ from unit to unit."""
    noisy = attach_noise(net, example_inputs=inputs).eval()
    for name in noisy.sites:
        noisy.of(name).mu.uniform_(-0.7, 0.5)
    return noisy


def more(name, inputs):
    """Other inputs than those that a network was attached with, and more of them."""
    other = FAMILIES[name]()[1]
    return tree_map(lambda *parts: torch.cat(parts), inputs, other)


# --- pruning -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FAMILIES)
def test_half_of_the_units_go_and_the_rest_computes_the_same(name):
    net, inputs = made(name)
    noisy, others = noisy_of(net, inputs), more(name, inputs)
    whole = size(net)
    with torch.no_grad():
        dense = call(noisy, others)
        noisy.remove({site: torch.arange(noisy.sites[site].n) % 2 == 1 for site in noisy.sites})
        want = call(noisy, others)
        reported = noisy.cost("parameters"), noisy.cost("flops")
        small = compact(noisy, inputs)
        for x, expected in ((inputs, call(noisy, inputs)), (others, want)):
            torch.testing.assert_close(call(small, x), expected, rtol=1e-3, atol=1e-4)
    changed = [float((a - b).abs().max()) for a, b in zip(tree_leaves(dense), tree_leaves(want), strict=True)]
    assert min(changed) > 0.01  # or a network that computes the same would mean little
    assert reported == (size(small), flops(small, inputs))
    assert size(small) <= MOST[name] * whole


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "segmentation"])  # class numbers have no gradient
def test_every_theta_has_a_part_in_the_outputs(name):
    net, inputs = made(name)
    noisy = noisy_of(net, inputs).train()
    loss = sum(out.square().mean() for out in tree_leaves(call(noisy, inputs)))
    loss.backward()
    for site in noisy.sites:
        grad = noisy.of(site).mu.grad
        assert grad is not None and torch.isfinite(grad).all(), site
        assert grad.any(), site


def test_each_family_has_a_limit():
    assert MOST.keys() == FAMILIES.keys()


# --- the networks themselves -------------------------------------------------------------------------------------------
def _regnet_block(n_in, width, stride, norm):
    return Bottleneck(n_in, width, stride, norm, expansion=1, groups=width // 8, gate=True)


MOBILE = (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 32, 3, 2, 3), (6, 64, 4, 2, 3), (6, 96, 3, 1, 3), (6, 160, 3, 2, 3)
EFFICIENT = (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5)
PUBLISHED = {
    "ResNet-18": (lambda: ResidualNet(BasicBlock, (2,) * 4, (64, 128, 256, 512), classes=1000, large=True), 11_689_512),
    "ResNet-50": (lambda: resnet50_family(full=True)[0], 25_557_032),
    "ResNeXt-50 32x4d": (
        lambda: ResidualNet(
            partial(Bottleneck, expansion=2, groups=32),
            (3, 4, 6, 3),
            (128, 256, 512, 1024),
            expansion=2,
            classes=1000,
            stem=64,
            large=True,
        ),
        25_028_904,
    ),
    "RegNetY-400MF": (
        lambda: ResidualNet(_regnet_block, (1, 3, 6, 6), (48, 104, 208, 440), classes=1000, stem=32),
        4_344_144,
    ),
    "MobileNetV2": (lambda: InvertedNet((*MOBILE, (6, 320, 1, 1, 3)), stem=32, last=1280, classes=1000), 3_504_872),
    "EfficientNet-B0": (
        lambda: InvertedNet((*EFFICIENT, (6, 320, 1, 1, 3)), stem=32, last=1280, act=nn.SiLU, gate=nn.Sigmoid, classes=1000),
        5_288_548,
    ),
    # its stem is 3 x 3 here, not 7 x 7
    "DenseNet-121": (lambda: DenseNet((6, 12, 24, 16), 32, 1000), 7_978_856 - 64 * 3 * (49 - 9)),
    "ShuffleNetV2": (lambda: ShuffleNet((4, 8, 4), (116, 232, 464), stem=24, last=1024, classes=1000), 2_278_604),
    "ConvNeXt-T": (lambda: ConvNeXt((3, 3, 9, 3), (96, 192, 384, 768), 1000), 28_589_128),
    "R3D-18": (lambda: VideoNet((64, 128, 256, 512), 400), 33_371_472),
    "Mixer-B/16": (lambda: Mixer(224, 16, 768, 12, 1000), 59_880_472),
    "ViT-B/16": (lambda: ViT(224, 16, 768, 12, 12, 1000), 86_567_656),
    "Swin-T": (lambda: Swin((2, 2, 6, 2), 96, (3, 6, 12, 24), window=7, classes=1000), 28_288_354),
    "BERT-base": (lambda: Bert(30522, 512, 768, 12, 12, 2), 109_483_778),
    "GPT-2": (lambda: Gpt(vocabulary=50257, length=1024, width=768, num_heads=12, depth=12), 124_439_808),
    "GPT-2, library": (
        lambda: Gpt(library=True, vocabulary=50257, length=1024, width=768, num_heads=12, depth=12),
        124_439_808,
    ),
    "Llama-2 7B": (lambda: Llama(32000, 4096, 32, 32, 11008, 32), 6_738_415_616),
}
"""Networks at their published sizes, and their numbers of parameters there."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_have_as_many_parameters_as_published(name):
    make, n = PUBLISHED[name]
    with torch.device("meta"):
        assert size(make()) == n


@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_repeatable_and_in_evaluation_mode(name):
    outputs = []
    for _ in range(2):
        torch.manual_seed(3)
        net, inputs = FAMILIES[name]()
        assert not any(module.training for module in net.modules())
        with torch.no_grad():
            outputs.append(tree_leaves(call(net, inputs)))
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))


@pytest.mark.parametrize("name", ["gpt", "gpt-untied", "gpt2-library", "llama"])
def test_language_models_see_nothing_of_what_comes_later(name):
    net, tokens = made(name)
    changed = tokens.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 60
    with torch.no_grad():
        a, b = net(tokens), net(changed)
    torch.testing.assert_close(a[:, :7], b[:, :7])
    assert (a[:, 7:] - b[:, 7:]).abs().amax(dim=(0, 2)).min() > 1e-3


def test_bert_does_not_see_tokens_that_are_masked():
    net, inputs = made("bert")
    changed = {**inputs, "input_ids": torch.where(inputs["attention_mask"] == 0, 5, inputs["input_ids"])}
    assert not torch.equal(changed["input_ids"], inputs["input_ids"])
    with torch.no_grad():
        torch.testing.assert_close(net(**changed), net(**inputs))
        unmasked = [net(x["input_ids"])["logits"] for x in (inputs, changed)]
    assert (unmasked[0][1] - unmasked[1][1]).abs().max() > 1e-3


def test_windows_of_swin_do_not_join_opposite_edges():
    """In the shifted block a change in one corner must not reach the opposite one, with which it shares a window."""
    block = Swin(depths=(2,), num_heads=(2,)).eval().features[1]
    x = torch.randn(1, 8, 8, 24)
    changed = x.clone()
    changed[:, 0, 0] += torch.randn(24)  # a constant would be normalised away
    with torch.no_grad():
        reached = (block(x) - block(changed)).abs().amax(dim=(0, 3)) > 1e-6
    want = torch.zeros(8, 8, dtype=torch.bool)
    want[:2, :2] = True
    assert torch.equal(reached, want)
