"""Modes of modules: evaluation for a while, and training with the modes that the user chose for parts of a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["Modes", "evaluating"]


class Modes:
    """Training or evaluation mode of every module of a network, as they are now.

    A user may have parts of a network in another mode than the rest, say a batch normalisation whose statistics are frozen, or
    a dropout that is off: ``net.train()`` and ``net.eval()`` would both undo that.

    Args:
        net: any module.
    """

    def __init__(self, net: nn.Module) -> None:
        self._held = [(module, module.training) for module in net.modules()]

    def restore(self) -> None:
        """Put every module into the mode that it had."""
        for module, training in self._held:
            module.training = training


@contextmanager
def evaluating(net: nn.Module, mode: bool = False) -> Iterator[nn.Module]:
    """Evaluation mode inside the block; every module has the mode that it had before afterwards, also after an error.

    Args:
        net: any module.
        mode: True for training mode instead.

    Example:
        >>> with evaluating(net), torch.no_grad():
        ...     logits = net(x)
    """
    modes = Modes(net)
    try:
        net.train(mode)
        yield net
    finally:
        modes.restore()
