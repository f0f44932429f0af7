"""Networks whose weights are pruned one by one: sizes, what they compute, and that every weight takes part."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

from activebmr.pruning.data.images import IMAGE_SHAPES, ImageData  # noqa: E402
from activebmr.pruning.networks.for_structures import VisionTransformer  # noqa: E402
from activebmr.pruning.networks.for_weights import (  # noqa: E402
    DENSE_NETWORKS,
    GRU,
    dense_network_named,
    gru_network,
    mixer,
    regression_mlp,
    small_vit,
    swish_mlp,
    tanh_lenet,
)

SMALL = (1, 8, 8)


def size(net) -> int:
    return sum(p.numel() for p in net.parameters())


def on_meta(make, *args, **kwargs):
    """A network without memory for its weights: as fast for large ones as for small ones."""
    with torch.device("meta"):
        return make(*args, **kwargs)


def images(name="digits", n=2) -> ImageData:
    """Made-up images of a data set's shape."""
    x = torch.randn(n, *IMAGE_SHAPES[name], generator=torch.Generator().manual_seed(5))
    y = torch.arange(n)
    return ImageData(name, 10, x, y, x, y, x, y)


def few(make, **kwargs):
    """A small transformer or mixer."""
    return make(SMALL, 10, patch=2, width=12, depth=2, **({"num_heads": 3} if make is small_vit else {"hidden": 20}), **kwargs)


# --- sizes -----------------------------------------------------------------------------------------------------------
def test_numbers_of_parameters():
    assert size(on_meta(swish_mlp, (1, 28, 28), 10)) == 785 * 500 + 3 * 501 * 500 + 501 * 10
    grey = (25 + 1) * 6 + (6 * 25 + 1) * 16 + (16 * 25 + 1) * 120 + 121 * 84 + 85 * 10
    assert grey == 61_706  # LeCun et al. (1998), all maps connected
    assert size(tanh_lenet((1, 28, 28), 10)) == size(tanh_lenet(SMALL, 10)) == grey
    colour = (3 * 25 + 1) * 18 + (18 * 25 + 1) * 48 + (48 * 25 + 1) * 360 + 361 * 256 + 257 * 10
    assert size(tanh_lenet((3, 32, 32), 10)) == colour
    embed, norm, head = (3 * 16 + 1) * 256, 2 * 256, 257 * 10
    mixing = lambda n, hidden: (n + 1) * hidden + (hidden + 1) * n  # noqa: E731
    block = 2 * norm + 4 * 257 * 256 + mixing(256, 512)
    assert size(on_meta(small_vit, (3, 32, 32), 10)) == embed + (64 + 1 + 1) * 256 + 6 * block + norm + head
    block = 2 * norm + mixing(64, 256) + mixing(256, 512)
    assert size(on_meta(mixer, (3, 32, 32), 10)) == embed + 6 * block + norm + head
    assert size(gru_network()) == 3 * 16 * (1 + 16 + 1) + 17
    assert size(regression_mlp(13)) == 14 * 50 + 51


def test_layers_and_what_they_are_called():
    net = swish_mlp(SMALL, 10, (7, 5))
    assert [name for name, _ in net.named_children()] == ["flatten", "fc1", "act1", "fc2", "act2", "fc3"]
    assert isinstance(net.act2, nn.SiLU)
    assert [name for name, _ in gru_network().named_children()] == ["gru", "out"]
    assert [name for name, _ in regression_mlp(3, 2, 4).named_children()] == ["fc1", "relu", "fc2"]
    assert isinstance(few(small_vit), VisionTransformer) and few(small_vit, mlp_ratio=3).blocks[1].fc1.out_features == 36


# --- forward ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", list(IMAGE_SHAPES))
@pytest.mark.parametrize("model", DENSE_NETWORKS)
def test_every_network_takes_every_data_set(model, name):
    net = on_meta(dense_network_named, model, images(name))
    assert net(images(name).x_test.to("meta")).shape == (2, 10)
    if hasattr(net, "embed"):
        assert net.embed.kernel_size == ((2, 2) if name == "digits" else (4, 4))
    assert not any(isinstance(m, nn.Dropout) for m in net.modules())


@pytest.mark.parametrize("make", [small_vit, mixer, swish_mlp, tanh_lenet])
def test_every_weight_takes_part(make):
    """None is pruned only because no data could reach it, but for biases that softmax or normalisation take out."""
    torch.manual_seed(0)
    net = few(make) if make in (small_vit, mixer) else make(SMALL, 10)
    out = net.double()(torch.randn(4, *SMALL, dtype=torch.float64))
    assert out.shape == (4, 10) and out.isfinite().all()
    out.square().sum().backward()
    for name, parameter in net.named_parameters():
        idle = name.endswith("attn.k.bias") or (make is mixer and name.endswith("fc2.bias"))
        assert ((parameter.grad.abs() > 1e-12) != idle).all(), name


@pytest.mark.parametrize("side", [4, 8, 15, 27, 28, 31, 32, 35])
def test_lenet_reduces_images_to_one_place(side):
    net = tanh_lenet((1, side, side), 10)
    assert net.fc1.in_features == 120
    assert net(torch.randn(2, 1, side, side)).shape == (2, 10)
    if side in (28, 32):
        assert net.conv1.padding == ((32 - side) // 2,) * 2


def test_lenet_takes_other_shapes():
    assert tanh_lenet((3, 12, 40), 5)(torch.randn(2, 3, 12, 40)).shape == (2, 5)
    assert on_meta(tanh_lenet, (3, 64, 64), 5)(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 5)


def test_swish_mlp_by_hand():
    torch.manual_seed(0)
    net, x = swish_mlp(SMALL, 3, (5,)), torch.randn(4, *SMALL)
    hidden = x.flatten(1) @ net.fc1.weight.T + net.fc1.bias
    assert_close(net(x), (hidden * torch.sigmoid(hidden)) @ net.fc2.weight.T + net.fc2.bias)


def test_networks_are_repeatable():
    for make in (lambda: few(mixer), lambda: few(small_vit), lambda: tanh_lenet(SMALL, 10), gru_network):
        weights = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            weights.append(torch.cat([p.detach().flatten() for p in make().parameters()]))
        assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("make", [small_vit, mixer, swish_mlp, tanh_lenet])
def test_dropout_only_while_training(make):
    def network(dropout):
        torch.manual_seed(0)
        return few(make, dropout=dropout) if make in (small_vit, mixer) else make(SMALL, 10, dropout=dropout)

    net, x = network(0.5), torch.randn(3, *SMALL)
    plain = network(0.0)
    assert list(net.state_dict()) == list(plain.state_dict())
    assert not torch.equal(net(x), net(x))
    assert_close(net.eval()(x), plain(x))


@pytest.mark.parametrize("make", [small_vit, mixer, swish_mlp, tanh_lenet])
def test_networks_can_be_traced_as_they_are(make):
    net, x = few(make) if make in (small_vit, mixer) else make(SMALL, 10), torch.randn(2, *SMALL)
    used = [node.target for node in torch.fx.symbolic_trace(net).graph.nodes if node.op == "call_module"]
    assert len(used) == len(set(used))
    assert_close(torch.fx.symbolic_trace(net)(x), net(x))


# --- mixer -----------------------------------------------------------------------------------------------------------
def test_a_mixer_without_token_mixing_does_not_see_where_patches_are():
    torch.manual_seed(0)
    net, x = few(mixer), torch.randn(2, *SMALL)
    moved = x.reshape(2, 1, 4, 2, 8)[:, :, [2, 0, 3, 1]].reshape(2, *SMALL)
    assert not torch.allclose(net(x), net(moved))
    with torch.no_grad():
        for block in net.blocks:
            block.fc2.weight.zero_()
    assert_close(net(x), net(moved))


def test_a_mixer_block_by_hand():
    torch.manual_seed(0)
    block, x = few(mixer).blocks[0].double(), torch.randn(2, 16, 12, dtype=torch.float64)
    normal = lambda z: (z - z.mean(-1, keepdim=True)) / torch.sqrt(z.var(-1, correction=0, keepdim=True) + 1e-6)  # noqa: E731
    gelu = lambda z: z * 0.5 * (1 + torch.erf(z / math.sqrt(2)))  # noqa: E731
    hidden = gelu(torch.einsum("ht,ntc->nhc", block.fc1.weight, normal(x)) + block.fc1.bias[:, None])
    y = x + torch.einsum("th,nhc->ntc", block.fc2.weight, hidden) + block.fc2.bias[:, None]
    hidden = gelu(torch.einsum("hc,ntc->nth", block.fc3.weight, normal(y)) + block.fc3.bias)
    assert_close(block(x), y + torch.einsum("ch,nth->ntc", block.fc4.weight, hidden) + block.fc4.bias)


# --- recurrent network -----------------------------------------------------------------------------------------------
def test_gru_step_by_step():
    torch.manual_seed(0)
    net, x = GRU(2, 5).double(), torch.randn(3, 7, 2, dtype=torch.float64)
    w, u, b = (p.detach().numpy() for p in (net.weight_ih, net.weight_hh, net.bias))
    sigma = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    for series, found in zip(x.numpy(), net(x).detach().numpy(), strict=True):
        h = np.zeros(5)
        for step in series:
            reset = sigma(w[:5] @ step + u[:5] @ h + b[:5])
            update = sigma(w[5:10] @ step + u[5:10] @ h + b[5:10])
            candidate = np.tanh(w[10:] @ step + u[10:] @ (reset * h) + b[10:])
            h = update * h + (1 - update) * candidate
        np.testing.assert_allclose(found, h, rtol=1e-12, atol=1e-14)


def test_gru_gates():
    """An open update gate keeps the state, at 0; a closed one takes the candidate, whose reset gate hides the past."""
    net, x = GRU(1, 3), torch.randn(2, 6, 1)
    with torch.no_grad():
        net.bias.zero_()[3:6] = 100.0
        assert_close(net(x), torch.zeros(2, 3))
        net.bias[:6] = -100.0
        assert_close(net(x), torch.tanh(x[:, -1] * net.weight_ih[6:, 0]))


def test_gru_has_the_parameters_that_it_says():
    net = GRU(2, 4)
    assert {name: tuple(p.shape) for name, p in net.named_parameters()} == {
        "weight_ih": (12, 2),
        "weight_hh": (12, 4),
        "bias": (12,),
    }
    assert all(p.abs().max() <= 0.5 and p.std() > 0.1 for p in net.parameters())


def test_gru_works_with_samples_of_its_weights():
    net, x = gru_network(2, 4, 3), torch.randn(5, 6, 2)
    samples = {name: torch.randn(8, *p.shape) for name, p in net.named_parameters()}
    together = torch.vmap(lambda p: torch.func.functional_call(net, p, (x,)))(samples)
    assert together.shape == (8, 5, 3)
    one = torch.func.functional_call(net, {name: p[3] for name, p in samples.items()}, (x,))
    assert_close(together[3], one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("net", "shape"), [(lambda: gru_network(1, 6), (16, 5, 1)), (lambda: regression_mlp(3), (16, 3))], ids=["gru", "mlp"]
)
def test_networks_of_series_and_tables_learn(net, shape):
    torch.manual_seed(0)
    net, x = net(), torch.randn(shape)
    y = x.flatten(1).sum(1, keepdim=True)
    optimizer, losses = torch.optim.Adam(net.parameters(), 0.02), []
    for _ in range(60):
        loss = nn.functional.mse_loss(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all((p.grad != 0).any() for p in net.parameters())
    assert losses[-1] < 0.5 * losses[0]


# --- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: dense_network_named("resnet", images()),
            r"model must be one of \['mlp', 'lenet', 'vit', 'mixer'\]; got 'resnet'",
        ),
        (lambda: dense_network_named("mlp", images(), 1.0), r"dropout must be a share in \[0, 1\); got 1.0"),
        (lambda: few(mixer, dropout=-0.1), r"dropout must be a share in \[0, 1\); got -0.1"),
        (lambda: swish_mlp(SMALL, 10, (5, 0)), r"sizes\[2\] must be a whole number >= 1; got 0"),
        (lambda: tanh_lenet((0, 8, 8), 10), "channels must be a whole number >= 1; got 0"),
        (lambda: tanh_lenet(SMALL, 0), "classes must be a whole number >= 1; got 0"),
        (lambda: small_vit((1, 9, 8), 10, patch=2), "patch must divide the sides of an image, 9 x 8; got 2"),
        (lambda: small_vit(SMALL, 10, mlp_ratio=0), "mlp_ratio must be a whole number >= 1; got 0"),
        (lambda: small_vit(SMALL, 10, width=12), r"width must be a multiple of num_heads \(8\); got 12"),
        (lambda: mixer((1, 8, 10), 10), "patch must divide the sides of an image, 8 x 10; got 4"),
        (lambda: mixer(SMALL, 10, patch=0), "patch must be a whole number >= 1; got 0"),
        (lambda: mixer(SMALL, 10, tokens_hidden=0), "tokens_hidden must be a whole number >= 1; got 0"),
        (lambda: GRU(0, 3), "n_in must be a whole number >= 1; got 0"),
        (lambda: GRU(2, 3)(torch.zeros(4, 5, 1)), r"x must have shape \(n, steps >= 1, 2\); got \(4, 5, 1\)"),
        (lambda: GRU(2, 3)(torch.zeros(4, 0, 2)), r"x must have shape \(n, steps >= 1, 2\); got \(4, 0, 2\)"),
        (lambda: gru_network(n_out=0), "n_out must be a whole number >= 1; got 0"),
        (lambda: regression_mlp(3, hidden=0), "hidden must be a whole number >= 1; got 0"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_data_must_be_images():
    with pytest.raises(TypeError, match="data must be ImageData; got str"):
        dense_network_named("mlp", "mnist")
