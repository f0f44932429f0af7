"""Removed weights that stay removed in fine-tuning: with every optimiser, in copies, in what is saved; and are let go again."""

from __future__ import annotations

import copy
import io

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402
from torch.optim.optimizer import _global_optimizer_post_hooks as watching  # noqa: E402

from activebmr.pruning.data.holding import held_weights, hold_weights, release_weights  # noqa: E402
from activebmr.pruning.weights.bayes import attach_posterior  # noqa: E402
from activebmr.pruning.weights.horseshoe import HorseshoeModule  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Functional(nn.Module):
    """Weights of a layer that is never called, and a gain."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.norm = nn.Linear(4, 3), nn.LayerNorm(3)

    def forward(self, x):
        return self.norm(F.linear(x, self.fc.weight, self.fc.bias))


def pruned(hold=True):
    bayes = attach_posterior(Functional(), sd=0.1)
    bayes.remove(torch.arange(bayes.posterior.n) % 2 == 0)
    return bayes, bayes.write_means(hold)


def is_held(net):
    """Every second number of all parameters, one after the other, is 0, or 1 for gains."""
    flat = nn.utils.parameters_to_vector(net.parameters())
    want = torch.zeros_like(flat)
    want[15:18] = 1.0
    return torch.equal(flat[::2], want[::2])


def train(net, optimizer, steps=3):
    for k in range(steps):

        def closure(k=k):
            optimizer.zero_grad()
            loss = (net(normal(8, 4, seed=k)) - 1).square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.3),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1, nesterov=True),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
    "fused": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
}


@pytest.mark.parametrize("late", [False, True], ids=["", "after training without"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_removed_weights_stay_while_others_learn(kind, late):
    """Also if the optimiser has momentum from before, and gains that it would draw to 0."""
    bayes, net = pruned(hold=not late)
    optimizer = OPTIMIZERS[kind](net.parameters())
    if late:
        train(net, optimizer)
        assert not is_held(net)
        bayes.write_means(hold=True)
    assert is_held(net)
    before = nn.utils.parameters_to_vector(net.parameters()).clone()
    for _ in range(3):
        train(net, optimizer, 1)
        assert is_held(net)
    after = nn.utils.parameters_to_vector(net.parameters())
    assert (after != before)[1::2].all()


def test_two_passes_before_a_backward_pass_do_not_count_as_changes():
    _, net = pruned()
    (net(normal(5, 4)) * net(normal(5, 4, seed=1))).sum().backward()
    assert net.fc.weight.grad.any()


def test_their_gradients_count_in_no_norm_and_no_momentum():
    _, net = pruned()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    for other in (net, copy.deepcopy(net)):
        other(normal(5, 4)).square().sum().backward()
        for name, (gone, _) in held_weights(other).items():
            assert not other.get_parameter(name).grad[gone].any() and other.get_parameter(name).grad[~gone].any()
    optimizer.step()
    assert not optimizer.state[net.fc.weight]["exp_avg_sq"][held_weights(net)["fc.weight"][0]].any()
    release_weights(net)
    optimizer.zero_grad()
    net(normal(5, 4)).square().sum().backward()
    assert net.fc.weight.grad.all()


def test_parameters_that_are_frozen_for_a_while_are_held_when_they_learn_again():
    _, net = pruned()
    net.requires_grad_(False)
    release_weights(net, ["norm.bias"])
    hold_weights(net, {"norm.bias": (torch.tensor([True, False, True]), torch.zeros(3))})
    net(normal(5, 4))
    net.requires_grad_(True)
    train(net, torch.optim.AdamW(net.parameters(), lr=0.1))
    assert not net.norm.bias[::2].any() and not net.norm.bias.grad[::2].any() and net.norm.bias[1] != 0


def test_what_no_optimiser_of_torch_has_done_is_undone_before_it_counts():
    _, net = pruned()
    want = net(normal(5, 4))
    gone = held_weights(net)["fc.weight"][0]
    with torch.no_grad():
        net.fc.weight[gone] = 7.0
    assert torch.equal(net(normal(5, 4)), want) and is_held(net)
    with torch.no_grad():
        net.fc.weight[gone] = 7.0
    assert not net.state_dict()["fc.weight"][gone].any()


def test_states_and_names_are_those_of_any_network_and_copies_hold_too(tmp_path):
    _, net = pruned()
    assert net.state_dict().keys() == Functional().state_dict().keys()
    assert [n for n, _ in net.named_parameters()] == [n for n, _ in Functional().named_parameters()]
    stream = io.BytesIO()
    torch.save(net, stream)
    stream.seek(0)
    for other in (copy.deepcopy(net), torch.load(stream, weights_only=False)):
        train(other, torch.optim.AdamW(other.parameters(), lr=0.1))
        assert is_held(other) and is_held(net) and not torch.equal(other.fc.weight, net.fc.weight)
        release_weights(other)
        train(other, torch.optim.AdamW(other.parameters(), lr=0.1))
        assert not is_held(other)
    train(net, torch.optim.AdamW(net.parameters(), lr=0.1))
    assert is_held(net)
    plain = Functional()
    plain.load_state_dict(net.state_dict())
    train(plain, torch.optim.AdamW(plain.parameters(), lr=0.1))
    assert not is_held(plain)


def test_they_can_be_cast():
    _, net = pruned()
    net.double()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    net(normal(5, 4).double()).sum().backward()
    optimizer.step()
    assert is_held(net) and held_weights(net)["norm.weight"][1].dtype == torch.float64


@pytest.mark.parametrize("way", ["release", "write again"])
def test_they_can_be_let_go(way):
    bayes, net = pruned()
    assert len(watching) == 1
    release_weights(net) if way == "release" else bayes.write_means(hold=False)
    assert not held_weights(net) and not net._forward_pre_hooks and not net._state_dict_pre_hooks
    assert is_held(net)
    train(net, torch.optim.Adam(net.parameters(), lr=0.1))
    assert not is_held(net)


def test_means_that_are_written_again_are_held_if_they_were():
    """With what has been removed in between, and without what is back."""
    bayes, net = pruned()
    before = bayes.posterior.alive.clone()
    bayes.remove(torch.arange(bayes.posterior.n) < 8)
    assert bayes.write_means() is net and int(held_weights(net)["fc.weight"][0].sum()) == 10
    bayes.posterior.alive.copy_(before)
    bayes.write_means()
    assert int(held_weights(net)["fc.weight"][0].sum()) == 6
    assert torch.equal(net(normal(5, 4)), bayes.eval()(normal(5, 4)))
    other, free = pruned(hold=False)
    other.write_means()
    assert not held_weights(free)


def test_a_parameter_of_another_shape_is_not_what_is_held():
    _, net = pruned()
    net.fc.weight = nn.Parameter(torch.ones(3, 5))
    with pytest.raises(ValueError, match=r"'fc.weight' must keep its shape \(3, 4\) .* got \(3, 5\): let them go first"):
        net(normal(2, 5))


def test_some_can_be_let_go_and_nothing_watches_when_nothing_is_held():
    _, net = pruned()
    release_weights(net, ["fc.weight"])
    assert set(held_weights(net)) == {"fc.bias", "norm.weight", "norm.bias"}
    train(net, torch.optim.Adam(net.parameters(), lr=0.1))
    assert net.fc.weight.all() and net.norm.weight[1] == 1
    release_weights(net)
    assert not watching


@pytest.mark.parametrize("whole", [True, False], ids=["of it", "of what it is in"])
@pytest.mark.parametrize("horseshoe", [False, True])
def test_a_new_posterior_takes_over_what_is_held(whole, horseshoe):
    _, net = pruned()
    gone = {name: mask for name, (mask, _) in held_weights(net).items()}
    outer = net if whole else nn.Sequential(net, nn.Linear(3, 2))
    bayes = HorseshoeModule(outer) if horseshoe else attach_posterior(outer, sd=0.1)
    assert bayes.posterior.n_removed == sum(int(m.sum()) for m in gone.values()) > 0
    alive = bayes.alive()
    assert all(torch.equal(alive[name if whole else f"0.{name}"], ~mask) for name, mask in gone.items())
    assert not held_weights(outer)
    torch.manual_seed(0)
    assert bayes.train()(normal(5, 4)).isfinite().all()
    assert bayes.write_means(hold=True) is outer and set(held_weights(outer)) == {n if whole else f"0.{n}" for n in gone}


def test_posteriors_on_a_part_leave_the_rest_held():
    _, net = pruned()
    bayes = attach_posterior(net, names=["fc.weight"])
    assert bayes.posterior.n_removed == 6 and "fc.weight" not in held_weights(net) and "fc.bias" in held_weights(net)
    bayes.write_means()
    assert "fc.bias" in held_weights(net)


def test_draws_that_stand_in_for_held_weights_are_not_touched():
    _, net = pruned()
    ones = {name: torch.ones_like(p) for name, p in net.named_parameters()}
    want = Functional()
    with torch.no_grad():
        for p in want.parameters():
            p.fill_(1.0)
    assert torch.equal(torch.func.functional_call(net, ones, (normal(5, 4),)), want(normal(5, 4)))


@pytest.mark.parametrize(
    "weights, match",
    [
        ({"fc.wieght": (torch.ones(3, 4) > 0, torch.zeros(3, 4))}, r"weights must name parameters of \['fc.weight'"),
        ({"fc.weight": (torch.ones(3, 4), torch.zeros(3, 4))}, r"of 'fc.weight' must be a bool mask .* got torch.float32"),
        ({"fc.weight": (torch.ones(4, 3) > 0, torch.zeros(3, 4))}, r"of shape \(3, 4\); got torch.bool \(4, 3\) and \(3, 4\)"),
        ({"fc.weight": (torch.ones(3, 4) > 0, torch.zeros(4))}, r"got torch.bool \(3, 4\) and \(4,\)"),
    ],
)
def test_what_does_not_fit_is_refused(weights, match):
    net = Functional()
    with pytest.raises(ValueError, match=match):
        hold_weights(net, weights)
    assert not held_weights(net)
