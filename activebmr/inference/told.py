"""`given_states`: beliefs of agents who are told some of the hidden states before a trial."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Floats, Ints

__all__ = ["given_states"]


def given_states(log: Floats, factors: Sequence[int], sizes: Sequence[int], states: Ints) -> Floats:
    """Log probabilities of joint states, given some of the states that they are made of.

    Args:
        log: normalised log probabilities of joint states in C order ``(rows, ..., n)``.
        factors, sizes: the factors that these are made of, and how many states each has.
        states: per row the state of every factor of the model ``(rows, n_factors)``; -1 tells nothing about it.

    Returns:
        the same, conditioned; rows that are told nothing are as they were. States that were held impossible are believed
        nevertheless: all that fit are then as probable as each other.
    """
    about = states[:, list(factors)]
    rows = np.flatnonzero((about >= 0).any(axis=1))
    if not len(rows):
        return log
    n = log.shape[-1]
    fits = np.ones((len(rows), n), dtype=bool)
    for state, told in zip(np.indices(sizes).reshape(len(sizes), n), about[rows].T, strict=True):
        fits &= (told[:, None] < 0) | (told[:, None] == state)
    fits = fits.reshape(len(rows), *(1,) * (log.ndim - 2), n)
    new = np.where(fits, log[rows], -np.inf)
    new = np.where(fits & (new.max(axis=-1, keepdims=True) == -np.inf), 0.0, new)
    new -= new.max(axis=-1, keepdims=True)  # the only state that fits then has exactly 0
    out = log.copy()
    out[rows] = new - np.log(np.exp(new).sum(axis=-1, keepdims=True))
    return out
