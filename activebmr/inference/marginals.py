"""Factor marginals of joint beliefs, worked out when they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from activebmr.arrays import Floats
from activebmr.model.components import Component

__all__ = ["Marginals"]


class Marginals(Sequence[Floats]):
    """Per factor the probabilities of its states ``(rows, S_f)``; a sequence of arrays to the outside."""

    def __init__(self, components: Sequence[Component], belief: Any) -> None:
        self._components, self._belief = components, belief
        self._made: dict[int, Floats] = {}

    def __len__(self) -> int:
        return sum(len(c.factors) for c in self._components)

    def __getitem__(self, factor: int) -> Floats:  # type: ignore[override]
        if factor < 0:
            factor += len(self)
        if not 0 <= factor < len(self):
            raise IndexError(f"factor must lie in 0..{len(self) - 1}; got {factor}")
        if factor not in self._made:
            i = next(i for i, c in enumerate(self._components) if factor in c.factors)
            c = self._components[i]
            for f, q in zip(c.hidden, c.marginals(self._belief.q(i)) if c.hidden else (), strict=True):
                self._made[f] = q.view()
                self._made[f].flags.writeable = False  # it may be the belief itself
            for f, size, state in zip(c.known, c.known_sizes, c.states_of(self._belief.known[i]), strict=True):
                self._made[f] = np.eye(size)[state]
        return self._made[factor]

    def __iter__(self) -> Iterator[Floats]:
        return (self[f] for f in range(len(self)))
