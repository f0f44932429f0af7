"""Which rows, columns and entries of a network's weights stand and fall together: classes of atoms, joined as a run shows it.

An atom is one index along one axis of one parameter or buffer: a row of a weight, one of its columns, an entry of a bias. A
unit (a neuron, a channel, a head) is a class of atoms: the row that writes it, the columns that read it, its entries in biases
and normalisations. Who belongs together is found by `activebmr.pruning.units.following`; here it is only kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

__all__ = ["NONE", "Atoms", "Axis"]

NONE = -1
"""In arrays of atoms: a place that belongs to none, and cannot go."""


@dataclass(frozen=True)
class Axis:
    """One axis of a parameter or buffer; its atoms are ``first`` to ``first + size - 1``."""

    tensor: str
    axis: int
    first: int
    size: int


class Atoms:
    """Atoms of a network, and what joins them.

    Attributes:
        tensors: parameters and buffers by their first name, each once.
        axes: of all of them.
        n: number of atoms.
        written: by atom, whether it is an index of the outputs of an operation with weights (a row).
        read: by atom, whether it is an index of its inputs (a column) that follows units of the network.
    """

    def __init__(self, net: nn.Module) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.axes: list[Axis] = []
        self._first: dict[tuple[str, int], int] = {}
        known: set[int] = set()
        self.n = 0
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            if id(tensor) in known:
                continue
            known.add(id(tensor))
            self.tensors[name] = tensor
            for axis, size in enumerate(tensor.shape):
                self._first[name, axis] = self.n
                self.axes.append(Axis(name, axis, self.n, size))
                self.n += size
        self.written, self.read = np.zeros(self.n, dtype=bool), np.zeros(self.n, dtype=bool)
        self._pairs: list[np.ndarray] = []
        self._told: list[tuple[np.ndarray, str, bool]] = []
        self._starts = np.array([a.first for a in self.axes])

    def of(self, name: str, axis: int) -> Tensor:
        """Atoms ``(size,)`` of an axis of a tensor."""
        first = self._first[name, axis]
        return torch.arange(first, first + self.tensors[name].shape[axis])

    def virtual(self, size: int) -> Tensor:
        """Atoms ``(size,)`` of no weight: an axis of something that is only repeated; it goes with what it meets."""
        self.axes.append(Axis("", 0, self.n, size))
        self._starts = np.append(self._starts, self.n)
        self.written, self.read = (np.append(x, np.zeros(size, dtype=bool)) for x in (self.written, self.read))
        self.n += size
        return torch.arange(self.n - size, self.n)

    def axis_of(self, atom: int) -> Axis:
        return self.axes[int(np.searchsorted(self._starts, atom, side="right")) - 1]

    # --- joining -------------------------------------------------------------------------------------------------------
    def join(self, a: Tensor, b: Tensor) -> None:
        """Atoms at the same places (after broadcasting) stand and fall together."""
        a, b = torch.broadcast_tensors(a, b)
        self._add(a.reshape(-1).numpy(), b.reshape(-1).numpy())

    def join_along(self, ids: Tensor, axis: int) -> None:
        """Atoms that differ only in their place along an axis stand and fall together."""
        if ids.shape[axis] > 1:
            flat = ids.movedim(axis, 0).reshape(ids.shape[axis], -1).numpy()
            known = np.where(flat >= 0, flat, flat.max(axis=0))  # where some belong to none
            self._add(np.repeat(known[:1], len(known) - 1, axis=0).reshape(-1), known[1:].reshape(-1))

    def _add(self, a: np.ndarray, b: np.ndarray) -> None:
        good = (a >= 0) & (b >= 0) & (a != b)
        if good.any():
            pairs = np.stack([a[good], b[good]])
            self._pairs.append(np.unique(pairs, axis=1) if pairs.shape[1] > 5000 else pairs)

    def mix(self, ids: Tensor, axis: int, reason: str) -> None:
        """An operation mixes what lies along an axis: it can only go as a whole."""
        if ids.shape[axis] > 1:
            self.join_along(ids, axis)
            self._tell(ids, reason, False)

    def keep(self, ids: Tensor, reason: str) -> None:
        """Atoms that cannot go."""
        self._tell(ids, reason, True)

    def _tell(self, ids: Tensor, reason: str, keep: bool) -> None:
        atoms = np.unique(ids.reshape(-1).numpy())
        self._told.append((atoms[atoms >= 0], reason, keep))

    def mark(self, ids: Tensor, role: str) -> None:
        """Set ``written`` or ``read``."""
        atoms = ids.reshape(-1).numpy()
        getattr(self, role)[atoms[atoms >= 0]] = True

    # --- what has been found -------------------------------------------------------------------------------------------
    def roots(self) -> np.ndarray:
        """By atom ``(n,)`` the number of its class."""
        if not self._pairs:
            return np.arange(self.n)
        pairs = np.concatenate(self._pairs, axis=1)
        graph = coo_array((np.ones(pairs.shape[1], dtype=np.int8), (pairs[0], pairs[1])), shape=(self.n, self.n))
        found: np.ndarray = connected_components(graph, directed=False)[1]
        first = np.full(found.max() + 1, self.n)  # a class is called by its first atom
        np.minimum.at(first, found, np.arange(self.n))
        self._pairs = [np.unique(pairs, axis=1)]
        return first[found]

    def kept(self, roots: np.ndarray) -> dict[int, str]:
        """Classes that cannot go, and why."""
        return self._reasons(roots, True)

    def mixed(self, roots: np.ndarray) -> dict[int, str]:
        """Classes in which an operation has mixed units, and which."""
        return self._reasons(roots, False)

    def _reasons(self, roots: np.ndarray, keep: bool) -> dict[int, str]:
        out: dict[int, str] = {}
        for atoms, reason, kept in self._told:
            if kept == keep:
                for root in np.unique(roots[atoms]):
                    out.setdefault(int(root), reason)
        return out

    def classes(self, roots: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Classes and their atoms, in the order of their first atoms."""
        order = np.argsort(roots, kind="stable")
        cuts = np.flatnonzero(np.diff(roots[order])) + 1
        for atoms in np.split(order, cuts):
            yield int(roots[atoms[0]]), atoms
