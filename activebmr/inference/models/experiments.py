"""Which states of the world would teach most about hypotheses."""

from __future__ import annotations

from functools import cached_property
from math import prod

import numpy as np
from scipy.special import xlogy

from activebmr.arrays import Floats, Ints
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.layout import dynamics_of, layouts_of
from activebmr.model.pomdp import POMDP

__all__ = ["Experiments"]

_LARGEST = 2**16  # joint states that can be gone through
_WORTH = 1e-9  # nats; less is rounding


class Experiments:
    """Experiments that could be set up: joint states of the factors that no action sets and hypotheses speak about."""

    def __init__(self, model: POMDP, space: HypothesisSpace) -> None:
        self._model, self._space = model, space
        layouts = layouts_of(model)
        self._factors = tuple(sorted({f for m in space.tables for f in layouts[m].still}))
        self._sizes = tuple(model.num_states[f] for f in self._factors)

    @cached_property
    def _classes(self) -> list[Ints]:
        """Per joint state which hypotheses say the same about all that it could show ``(M,)``."""
        n = prod(self._sizes)
        if n > _LARGEST:
            raise ValueError(f"experiments of Agent need at most {_LARGEST} joint states to choose from; this model has {n}")
        grid = np.indices(self._sizes).reshape(len(self._sizes), n)
        says = []
        for m, table in self._space.tables.items():
            layout = layouts_of(self._model)[m]
            assigned = table.assignment[:, layout.order].reshape(len(self._space), layout.n_still, layout.n_slab)
            at = np.zeros(n, dtype=np.intp)
            for f, size in zip(layout.still, layout.still_sizes, strict=True):
                at = at * size + grid[self._factors.index(f)]
            says.append(assigned[:, at])
        whole = np.concatenate(says, axis=2)  # (M, n, what it could show)
        return [np.unique(whole[:, b], axis=0, return_inverse=True)[1].reshape(-1) for b in range(n)]

    def gain(self, posterior: Floats) -> Floats:
        """Entropy of what the hypotheses together say about each joint state ``(rows, n)``: what could be learned from it."""
        gain = np.zeros((len(posterior), len(self._classes)))
        for b, of in enumerate(self._classes):
            chance = np.matmul(posterior[:, None, :], np.eye(of.max() + 1)[of])[:, 0]
            gain[:, b] = -xlogy(chance, chance).sum(axis=1)
        return gain

    def best(self, posterior: Floats) -> Ints:
        """States ``(rows, n_factors)`` of the most telling joint state; -1 for set factors, and where none tells anything."""
        out = np.full((len(posterior), self._model.num_factors), -1)
        if not len(posterior):
            return out
        gain = self.gain(posterior)
        rows = np.flatnonzero(gain.max(axis=1) > _WORTH)
        for f, kind in enumerate(dynamics_of(self._model).kind):
            if kind != "set":
                out[rows, f] = 0  # whatever hypotheses do not speak about
        best = gain[rows].argmax(axis=1)
        for f, state in zip(self._factors, np.unravel_index(best, self._sizes) if self._sizes else (), strict=True):
            out[rows, f] = state
        return out
