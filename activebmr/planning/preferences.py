"""Preferences over outcomes as planning uses them: normalised, at each time of a trial, one for all agents or their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from activebmr.arrays import Floats
from activebmr.model.pomdp import POMDP

__all__ = ["Preferences", "log_preferences"]


def log_preferences(model: POMDP, t: int, floor: float | None = None) -> list[Floats]:
    """log softmax(C) per modality for outcomes at time step t; with a ``floor``, no less than that (SPM: -32)."""
    return [_normalised(c, t, floor) for c in model.C]  # type: ignore[union-attr]


def _normalised(c: Floats, t: int, floor: float | None) -> Floats:
    row = c[min(t, len(c) - 1)] if c.ndim == 2 else c
    shifted = row - row.max(axis=-1, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log if floor is None else np.maximum(log, floor)


class Preferences:
    """Log preferences of the outcomes of a time.

    Args:
        model: whose C counts.
        floor: see `log_preferences`.
        own: per modality, where agents differ, the log preferences of each ``(n_agents, O_m)``.
    """

    def __init__(self, model: POMDP, floor: float | None = None, own: Mapping[int, Floats] | None = None) -> None:
        self._model, self._floor = model, floor
        self._own = {m: _normalised(c[:, None], 0, floor)[:, 0] for m, c in (own or {}).items()}
        self._flat: list[Floats] = [np.full(n, -np.log(n)) for n in model.num_outcomes]
        self._at: dict[int, list[Floats]] = {}
        # from some time on preferences do not change
        self._last = max((len(c) for c in model.C if c.ndim == 2), default=1) - 1  # type: ignore[union-attr]

    @property
    def differ(self) -> bool:
        """Whether agents differ in what they want."""
        return bool(self._own)

    def at(self, t: int, curious: bool = False) -> Sequence[Floats]:
        """Per modality ``(O_m,)``, or ``(n_agents, O_m)``; flat ones for agents who are merely curious."""
        if curious:
            return self._flat
        t = min(t, self._last)
        if t not in self._at:
            shared = log_preferences(self._model, t, self._floor)
            self._at[t] = [self._own.get(m, c) for m, c in enumerate(shared)]
        return self._at[t]
