"""What is known of a tensor while a network runs: which atoms lie where in it.

A tensor has one layer for each independent set of units that lies along its axes: the activations of a mixer have one for its
channels and one for its tokens. A layer is an array of atoms with as many axes as the tensor, of full size along the axes on
which it varies and of size 1 along all others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "Layer",
    "NormRead",
    "Note",
    "Read",
    "ShapeSeen",
    "SizeSeen",
    "View",
    "Work",
    "aligned",
    "compact",
    "indices",
    "moved",
]


@dataclass(frozen=True)
class Layer:
    """Atoms ``ids`` of one set of units; ``own`` if they are indices of a weight that has met no units yet."""

    ids: Tensor
    own: bool = False

    def varies(self, axis: int) -> bool:
        return self.ids.shape[axis] > 1

    @property
    def axes(self) -> list[int]:
        return [a for a, n in enumerate(self.ids.shape) if n > 1]


@dataclass(frozen=True)
class Note:
    """What is known of a tensor.

    Attributes:
        layers: see the module.
        weight: whether it is made of parameters and buffers alone.
        examples: number of the example that each place belongs to (compact, as a layer), or None.
        entered: the call of a module that it entered as it is (moved at most), or None.
        pending: mixtures of units (atoms, axis, reason) that it holds, which count once another tensor depends on it: numbers
        that
            only Python looks at (``if x.mean() > 100``) join nothing.
    """

    layers: tuple[Layer, ...] = ()
    weight: bool = False
    examples: Tensor | None = None
    entered: int | None = None
    pending: tuple[tuple[Tensor, int, str], ...] = ()

    def varying(self, axis: int) -> list[Layer]:
        return [x for x in self.layers if x.varies(axis)]


@dataclass(frozen=True)
class Read:
    """A tensor that enters a module which reads it with its weights.

    Attributes:
        module: its name.
        place: position of the tensor among the arguments, or its keyword.
        ids: atoms of units along its axes (compact).
        examples: number of the example along its axes (compact), or None.
    """

    module: str
    place: int | str
    ids: Tensor
    examples: Tensor | None


@dataclass(frozen=True)
class NormRead:
    """A normalisation over units that can be cut: its kind, the atoms ``(n,)`` along the axis (from behind) it works on, and
    what it adds to variances (None: what the module says).
    """

    module: str
    kind: str
    axis: int
    ids: Tensor
    eps: float | None = None


@dataclass(frozen=True)
class View:
    """Units spread over several axes ``ids`` by a view: what goes must leave a block."""

    ids: Tensor
    module: str


@dataclass(frozen=True)
class SizeSeen:
    """A size that an operation in a module's own code was given or met, or that of what the module was ``given``, and the atoms
    ``(size, ...)`` that make it up.
    """

    module: str
    size: int
    ids: Tensor
    given: bool = False


@dataclass(frozen=True)
class ShapeSeen:
    """An axis of what a call that names sizes returned, and the atoms ``(size, ...)`` along it.

    Attributes:
        module: in whose code it stands.
        call: its number among such calls in the module's own code, in one call of it.
        training: whether it was seen in training mode.
    """

    module: str
    call: int
    axis: int
    ids: Tensor
    training: bool = False


@dataclass(frozen=True)
class Work:
    """Floating-point operations: a constant times sizes of axes, each with its atoms."""

    constant: int
    axes: tuple[Tensor, ...]


def compact(ids: Tensor) -> Tensor:
    """Without repetition: size 1 along axes on which nothing changes."""
    for axis, n in enumerate(ids.shape):
        if n > 1:
            first = ids.narrow(axis, 0, 1)
            if ids.stride(axis) == 0 or bool((ids == first).all()):
                ids = first
    return ids


def aligned(ids: Tensor, ndim: int) -> Tensor:
    """With further axes in front, as in broadcasting."""
    return ids.reshape(*[1] * (ndim - ids.dim()), *ids.shape)


def moved(note: Note, shape: Sequence[int], move: Callable[[Tensor], Tensor]) -> Note:
    """The note of a tensor whose entries have been moved, repeated or left out, but not changed.

    Args:
        shape: of the tensor before.
        move: does the same to an array of numbers of this shape.
    """
    layers = []
    for layer in note.layers:
        ids = compact(move(layer.ids.expand(*shape)))
        if ids.numel() > 1:
            layers.append(Layer(ids, layer.own))
    examples = None if note.examples is None else compact(move(note.examples.expand(*shape)))
    if examples is not None and examples.numel() == 1:
        examples = None
    return Note(tuple(layers), note.weight, examples, note.entered, note.pending)


def indices(n: int, axis: int, ndim: int, ids: Tensor | None = None) -> Tensor:
    """Numbers 0 to n - 1, or these, along one of several axes."""
    flat = torch.arange(n) if ids is None else ids
    return flat.reshape(*[1] * axis, n, *[1] * (ndim - axis - 1))
