"""`compact`: smaller networks compute what the noisy ones do, have as many parameters as they must, and are worth it."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from nets import SHAPES, counts_on_a_size, difference, made, mlp, n_parameters, pruned, to_sizes  # noqa: E402
from torch import nn  # noqa: E402

from activebmr.pruning import attach_noise  # noqa: E402
from activebmr.pruning.experiments.measuring import compaction_report, compare, measure  # noqa: E402
from activebmr.pruning.structures.compaction import compact, structure_of  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


L, C, R, T = nn.Linear, nn.Conv2d, nn.ReLU, nn.Tanh


# --- the same function, fewer parameters ---------------------------------------------------------------------------
def units(small, site):
    """How many structures of a site the layers that write it have, one after the other."""
    module = small.get_submodule(site.name)
    if hasattr(module, "num_heads"):
        return [module.num_heads]
    return [len(small.get_submodule(name.replace("out_proj", "proj")).weight) for name in site.layers]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SHAPES)
def test_output_is_that_of_the_masked_network(name, seed):
    net = made(name, seed)
    x = torch.randn(2, *SHAPES[name])
    noisy = pruned(net, seed=seed + 10, example_inputs=x)
    small = compact(noisy, x)
    worst, spread = difference(noisy, small, torch.randn(1000, *SHAPES[name]))
    assert worst < min(2e-5, 1e-3 * spread)  # a fold gone wrong would be seen
    assert noisy.cost("parameters") == n_parameters(small) < n_parameters(net) == noisy.cost_dense("parameters")
    assert noisy.cost("flops") == measure(small, x, repeats=1).flops < noisy.cost_dense("flops")
    assert noisy.cost_dense("flops") == measure(net, x, repeats=1).flops
    assert noisy.cost("structures") == noisy.n_structures - noisy.n_removed
    assert structure_of(small)[-1].left == {}
    assert not any("noise" in key or "alive" in key for key in small.state_dict())
    for site_name, dead in noisy.gone().items():
        site = noisy.sites[site_name]
        assert set(units(small, site)) == {site.n - int(dead.sum())}


@pytest.mark.parametrize("name", SHAPES)
def test_cost_of_masks_is_what_removing_them_leaves(name):
    """Masks that have not been applied are counted as `compact` would leave them."""
    x = torch.randn(2, *SHAPES[name])
    noisy = pruned(made(name), share=0.0, example_inputs=x)
    generator = torch.Generator().manual_seed(3)
    masks = {n: torch.rand(s.n, generator=generator) < 0.7 for n, s in noisy.sites.items()}
    before = [noisy.cost(of) for of in ("structures", "parameters", "flops")]
    found = [noisy.cost(of, masks) for of in ("structures", "parameters", "flops")]
    assert before == [noisy.cost_dense(of) for of in ("structures", "parameters", "flops")]
    noisy.remove({n: ~mask for n, mask in masks.items()})
    small = compact(noisy, x)
    assert found == [sum(int(m.sum()) for m in masks.values()), n_parameters(small), measure(small, x, repeats=1).flops]
    with pytest.raises(ValueError, match=r"of must be one of \['structures', 'parameters', 'flops'\]; got 'seconds'"):
        noisy.cost("seconds")


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
    new, old = ({k: v.shape for k, v in n.state_dict().items()} for n in (small, net))
    assert {k for k in new if k not in old} == {  # the means of what a normalisation reads have a place of their own
        f"{k}.scale" for k, m in net.named_modules() if isinstance(m, nn.LayerNorm)
    }
    assert {k: new[k] for k in old} == old
    assert difference(noisy, small, torch.randn(100, *SHAPES[name]))[0] < 1e-5
    assert difference(net, small, torch.randn(100, *SHAPES[name]))[0] > 1e-3


@pytest.mark.parametrize("name", SHAPES)
def test_one_structure_stays_in_each_layer(name):
    noisy = pruned(made(name), share=0.0)
    noisy.remove({n: torch.ones(s.n, dtype=torch.bool) for n, s in noisy.sites.items()})
    small = compact(noisy, torch.randn(2, *SHAPES[name]))
    assert difference(noisy, small, torch.randn(100, *SHAPES[name]))[0] < 5e-5  # one feature in LayerNorm: all or nothing
    assert all(p.numel() > 0 for p in small.parameters())
    assert all(set(units(small, site)) == {1} for site in noisy.sites.values())


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


def test_a_channel_of_a_residual_stream_goes_from_all_that_write_and_read_it():
    noisy = pruned(made("residual"), share=0.0)
    assert noisy.sites["stem"].layers == ("stem", "blocks.0.conv2")
    dead = torch.tensor([True, False, False, True, False, False])
    noisy.remove({"stem": dead})
    small = compact(noisy, torch.randn(2, 3, 8, 8))
    net, first, second = noisy.net, small.blocks[0], small.blocks[1]
    assert small.stem.out_channels == small.bn.num_features == first.conv2.out_channels == first.bn2.num_features == 4
    assert first.conv1.in_channels == second.conv1.in_channels == second.short[0].in_channels == 4
    assert first.conv1.out_channels == 6 and second.conv1.out_channels == 8
    # a row of the stem with its bias, two BatchNorms, a row of conv2, columns of three readers
    one = (27 + 1) + 2 + 2 + 9 * 6 + 9 * 6 + 9 * 8 + 8
    assert n_parameters(small) == n_parameters(net) - 2 * one
    assert torch.equal(small.stem.weight, net.stem.weight[~dead])
    assert difference(noisy, small, torch.randn(1000, 3, 8, 8))[0] < 1e-5


def test_a_feature_of_a_stream_of_tokens_goes_from_all_that_write_and_read_it():
    for name in ("vit", "vit-mha"):
        noisy = pruned(made(name), share=0.0, example_inputs=torch.randn(2, 1, 8, 8))
        noisy.remove({"embed": torch.arange(12) < 5})
        small = compact(noisy, torch.randn(2, 1, 8, 8))
        # of each encoder: two LayerNorms, columns of q, k, v and fc1, rows with biases of the output layer and fc2
        encoder = 2 * 2 + 3 * 12 + 20 + (12 + 1) + (20 + 1)
        one = (4 + 1) + 1 + 17 + 2 * encoder + 2 + 5  # embedding, token, places, encoders, last LayerNorm, columns of the head
        assert n_parameters(small) == n_parameters(noisy.net) - 5 * one
        assert small.token.shape == (1, 1, 7) and small.place.shape == (1, 17, 7)
        assert small.norm.total == 12 and len(small.norm.weight) == 7
        assert difference(noisy, small, torch.randn(1000, 1, 8, 8))[0] < 1e-5


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
    assert noisy.cost("flops") in (report.after.flops, 2 * report.after.flops)  # of a call with one example or with two
    text = str(report)
    assert "61,706" in text and "7,160" in text and "0.116" in text and "latency (ms)" in text
    assert any(line.split() == ["fc1", "120", "19", "19"] for line in text.splitlines())


def test_report_tells_what_had_to_stay():
    x = torch.randn(2, 3, 6, 6)
    noisy = pruned(counts_on_a_size(), share=0.5, names=["a", "b"], example_inputs=x)
    report = compaction_report(noisy, compact(noisy, x), x, repeats=1)
    a, b = (int(mask.sum()) for mask in noisy.gone().values())
    assert report.structures == {"a": (5, 5 - a, 5 - a), "b": (6, 6 - b, 6)}
    assert f"switched off in b, not removed: {b} (the network cannot be run without them (" in str(report)
    assert report.after.flops == noisy.cost("flops") and report.after.parameters == noisy.cost("parameters")


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


def test_parametrised_weights_stay_and_say_why():
    """They are made anew in every call, from what cannot be cut."""
    net = nn.Sequential(L(5, 6), T(), nn.utils.parametrizations.weight_norm(L(6, 7)), T(), L(7, 8), T(), L(8, 3))
    noisy = pruned(net, example_inputs=torch.randn(2, 5))
    assert list(noisy.sites) == ["4"]
    assert "made in another way" in noisy.left_out["0"] and "parametrised" in noisy.left_out["2"]
    small = compact(noisy, torch.randn(2, 5))
    assert n_parameters(small) < n_parameters(net) and difference(noisy, small, torch.randn(50, 5))[0] < 1e-6
    with pytest.raises(ValueError, match="'2' is left out: .*parametrised"):
        attach_noise(net, ["2"], torch.randn(2, 5))
    with pytest.raises(ValueError, match="parametrised"):
        attach_noise(net[:3])
