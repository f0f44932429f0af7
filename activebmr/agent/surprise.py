"""Words about observations that agents hold impossible."""

from __future__ import annotations

import warnings

import numpy as np

from activebmr.arrays import Bools
from activebmr.model.pomdp import POMDP

__all__ = ["Surprise"]


class Surprise:
    """Warns, once, of impossible observations that users hand in; simulations and replays count them instead."""

    def __init__(self, model: POMDP) -> None:
        self._model, self._told = model, False

    def tell(self, t: int, outcomes: list[np.ndarray], impossible: Bools) -> None:
        """Warn if any agent's observation at time t is impossible."""
        if self._told or not impossible.any():
            return
        self._told = True
        k, labels = int(impossible.argmax()), self._model.labels
        seen = ", ".join(
            f"{name}={labels['outcomes'][name][o[k]] if o.ndim == 1 else 'soft'}"
            for name, o in zip(labels["modality"][:6], outcomes, strict=False)
            if o.ndim == 2 or o[k] >= 0
        )
        warnings.warn(
            f"an observation that the model holds impossible: {seen} at time {t} (agent {k}); beliefs go on as if its "
            "probability were e^-32. Is the model wrong, or are outcomes numbered differently? (info.impossible marks all such "
            "observations; this is said once)",
            stacklevel=3,
        )
