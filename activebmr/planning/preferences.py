"""Preferences over outcomes as planning uses them: normalised, at each time of a trial, one for all agents or their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.model.pomdp import POMDP

__all__ = ["Preferences", "Wish", "log_preferences"]


def log_preferences(model: POMDP, t: int, floor: float | None = None) -> list[Floats]:
    """log softmax(C) per modality for outcomes at time step t; with a ``floor``, no less than that (SPM: -32)."""
    return [_normalised(c, t, floor) for c in model.C]  # type: ignore[union-attr]


def _normalised(c: Floats, t: int, floor: float | None) -> Floats:
    row = c[min(t, len(c) - 1)] if c.ndim == 2 else c
    shifted = row - row.max(axis=-1, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log if floor is None else np.maximum(log, floor)


def _each_normalised(c: Floats, floor: float | None) -> Floats:
    return np.stack([_normalised(row, 0, floor) for row in c])


class Wish(Sequence[Floats]):
    """Log preferences of one time: per modality ``(O_m,)`` or, where agents differ, ``(rows, O_m)``.

    Attributes:
        plain: per modality whether they are finite and the same for all agents.
        flat: per modality whether all outcomes are worth the same to all agents.
    """

    def __init__(self, values: Sequence[Floats]) -> None:
        self._values = list(values)
        self.plain = [c.ndim == 1 and bool(c.min() > -np.inf) for c in self._values]
        self.flat = [plain and bool((c == c[0]).all()) for plain, c in zip(self.plain, self._values, strict=True)]

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, modality: int) -> Floats:  # type: ignore[override]
        return self._values[modality]

    def __iter__(self) -> Iterator[Floats]:
        return iter(self._values)

    def of(self, rows: Ints | slice) -> Wish:
        """What some agents want."""
        return Wish([c[rows] if c.ndim == 2 else c for c in self._values])


class Preferences:
    """Log preferences of the outcomes of a time.

    Args:
        model: whose C counts.
        floor: see `log_preferences`.
        own: per modality, where agents differ, the log preferences of each ``(n_agents, O_m)``.
    """

    def __init__(self, model: POMDP, floor: float | None = None, own: Mapping[int, Floats] | None = None) -> None:
        self._model, self._floor = model, floor
        self._own = {m: _each_normalised(c, floor) for m, c in (own or {}).items()}
        self._flat = Wish([np.full(n, -np.log(n)) for n in model.num_outcomes])
        self._at: dict[int, Wish] = {}
        # from some time on preferences do not change
        self._last = max((len(c) for c in model.C if c.ndim == 2), default=1) - 1  # type: ignore[union-attr]

    def at(self, t: int, curious: bool = False) -> Wish:
        """What is wanted at a time; nothing in particular by agents who are merely curious."""
        if curious:
            return self._flat
        t = min(t, self._last)
        if t not in self._at:
            shared = log_preferences(self._model, t, self._floor)
            self._at[t] = Wish([self._own.get(m, c) for m, c in enumerate(shared)])
        return self._at[t]

    def of(self, t: int, agents: Ints, curious: bool = False) -> Wish:
        """The same for some agents, in their order."""
        wish = self.at(t, curious)
        return wish.of(agents) if self._own and not curious else wish
