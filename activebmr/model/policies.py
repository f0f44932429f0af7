"""Policies: sequences of combinations of controls."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

__all__ = ["one_step_policies", "policy_sequences"]


def one_step_policies(num_controls: Sequence[int], first_fastest: bool = False) -> NDArray[np.intp]:
    """All combinations of controls for one step, ``(n_policies, 1, n_factors)``; the last factor varies fastest, as in pymdp.

    ``first_fastest=True`` gives SPM's order, in which the first controlled factor varies fastest.
    """
    order = [range(n) for n in num_controls]
    combos = list(product(*order[::-1])) if first_fastest else list(product(*order))
    array = np.array(combos, dtype=np.intp).reshape(len(combos), len(order))
    return array[:, None, ::-1] if first_fastest else array[:, None, :]


def policy_sequences(num_controls: Sequence[int], length: int) -> NDArray[np.intp]:
    """All sequences of ``length`` combinations of controls, ``(n_policies, length, n_factors)``, the last step fastest."""
    if length < 1:
        raise ValueError(f"policy_length must be at least 1; got {length}")
    steps = one_step_policies(num_controls)[:, 0]
    return np.array([np.stack(s) for s in product(steps, repeat=length)], dtype=np.intp)
