"""Modes of modules: every one has its own again."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from activebmr.pruning.data.modes import Modes, evaluating  # noqa: E402


def mixed():
    """Some parts frozen in a network in training, some on in a part in evaluation."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)), nn.Dropout())
    net[1].eval()
    net[1][0].train()
    return net


def modes_of(net):
    return [m.training for m in net.modules()]


@pytest.mark.parametrize("mode", [False, True])
def test_inside_all_have_one_mode_and_afterwards_their_own(mode):
    net = mixed()
    before = modes_of(net)
    with evaluating(net, mode) as same:
        assert same is net and set(modes_of(net)) == {mode}
        net[2].train(not mode)
    assert modes_of(net) == before == [True, True, False, True, False, True]


def test_after_an_error_too():
    net = mixed()
    before = modes_of(net)
    with pytest.raises(ZeroDivisionError), evaluating(net):
        raise ZeroDivisionError
    assert modes_of(net) == before


def test_it_can_be_nested_and_is_evaluation_by_default():
    net = mixed()
    before = modes_of(net)
    with evaluating(net), evaluating(net, True):
        pass
    with evaluating(net):
        with evaluating(net, True):
            assert net[1][1].training
        assert not any(modes_of(net))
    assert modes_of(net) == before


def test_modes_are_kept_for_later():
    net = mixed()
    held, before = Modes(net), modes_of(net)
    for _ in range(2):
        net.train()
        held.restore()
        assert modes_of(net) == before
