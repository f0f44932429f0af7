"""`ColumnTable`: many tensors of counts as the few distinct columns that they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from activebmr import checks

__all__ = ["ColumnTable", "compressed"]

_ROUNDING = 8 * np.finfo(np.float64).eps
"""Share of a count by which two may differ and still be the same number, rounded twice."""

_FEW = 64  # columns up to which averages go column by column


@dataclass(frozen=True, eq=False)
class ColumnTable:
    """Reduced priors of one modality as distinct columns.

    Attributes:
        columns: the distinct columns of counts, ``(n_columns, n_outcomes)``.
        assignment: which column stands at each state under each hypothesis, ``(n_hypotheses, n_columns_of_the_likelihood)``,
            the states of the likelihood's factors flattened in C order.
        shape: shape of the likelihood, ``(n_outcomes, n_states_0, ...)``.

    Example:
        >>> table = three_ball.rules().tables[2]
        >>> len(table.columns), len(table.assignment)
        (3, 81)
    """

    columns: NDArray[np.float64]
    assignment: NDArray[np.intp]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        columns = checks.numbers(self.columns, "columns of ColumnTable", checks.NOT_NEGATIVE)
        shape = tuple(checks.items(checks.whole(1))(self.shape, "shape of ColumnTable"))
        if columns.ndim != 2 or len(shape) < 1 or columns.shape[1] != shape[0]:
            raise ValueError(
                f"columns of ColumnTable must have shape (n_columns, outcomes of shape {shape}); got {columns.shape}"
            )
        assignment = checks.index_array(self.assignment, "assignment of ColumnTable", 0, len(columns) - 1)
        if assignment.ndim != 2 or assignment.shape[1] != prod(shape[1:]):
            raise ValueError(
                f"assignment of ColumnTable must have shape (n_hypotheses, {prod(shape[1:])}), a column for each state; got "
                f"{assignment.shape}"
            )
        for name, value in (("columns", columns), ("assignment", assignment), ("shape", shape)):
            object.__setattr__(self, name, value)

    def dense(self, hypothesis: int) -> NDArray[np.float64]:
        """The counts of one hypothesis as a tensor of the likelihood's shape."""
        hypothesis = checks.whole_number(hypothesis, "hypothesis", 0, len(self.assignment) - 1)
        return self.columns[self.assignment[hypothesis]].T.reshape(self.shape)

    def mixture(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average of the reduced priors under weights ``(..., n_hypotheses)``: counts ``(..., n_states, n_outcomes)``."""
        _, of_state = self.column_classes
        return self.class_mixture(weights)[..., of_state, :]

    def class_mixture(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same for each of the `column_classes`: counts ``(..., n_classes, n_outcomes)``."""
        weights = checks.numbers(weights, "weights", checks.NOT_NEGATIVE)
        if weights.shape[-1:] != (len(self.assignment),):
            raise ValueError(f"weights must have {len(self.assignment)} numbers on the last axis; got shape {weights.shape}")
        classes, _ = self.column_classes
        if len(self.columns) > _FEW:
            return np.asarray(np.matmul(weights[..., None, None, :], self.columns[classes])[..., 0, :])
        per_class = np.zeros((*weights.shape[:-1], len(classes), self.columns.shape[1]))
        for k, column in enumerate(self.columns):
            share = np.matmul(weights[..., None, :], (classes == k).T.astype(np.float64))[..., 0, :]
            per_class += share[..., None] * column
        return per_class

    @property
    def column_classes(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """States that no hypothesis tells apart: ``(classes, n_hypotheses)`` and the class of each state."""
        if not hasattr(self, "_classes"):
            classes, of_state = np.unique(self.assignment.T, axis=0, return_inverse=True)
            object.__setattr__(self, "_classes", (classes, of_state.reshape(-1)))
        return self._classes  # type: ignore[attr-defined, no-any-return]

    @property
    def placed(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Distinct pairs of a state and a column that some hypothesis puts there: state and column of each ``(n_pairs,)``, and
        which pair holds for each hypothesis and state ``(n_hypotheses, n_states)``.
        """
        n_states = self.assignment.shape[1]
        code = self.assignment * n_states + np.arange(n_states)
        used = np.zeros(len(self.columns) * n_states, dtype=bool)
        used[code] = True
        column, state = np.divmod(np.flatnonzero(used), n_states)
        return state, column, (np.cumsum(used) - 1)[code]

    def clash(self, impossible: NDArray[np.bool_]) -> tuple[int, tuple[int, ...], float] | None:
        """Where a hypothesis gives counts to an impossible entry: its index, the entry and the counts; None if nowhere.

        Args:
            impossible: which entries are, of the likelihood's shape.
        """
        state, column, pair = self.placed
        bad = (self.columns[column] > 0) & impossible.reshape(len(impossible), -1).T[state]
        if not bad.any():
            return None
        k, outcome = (int(i) for i in np.argwhere(bad)[0])
        at = (outcome, *(int(i) for i in np.unravel_index(state[k], self.shape[1:])))
        return int((pair[:, state[k]] == k).argmax()), at, float(self.columns[column[k], outcome])


def compressed(tensors: Sequence[NDArray[np.float64]], shape: tuple[int, ...]) -> ColumnTable:
    """Tensors of one shape as a table; columns of numbers that differ by rounding alone, whatever their size, are one."""
    stacked = np.stack([t.reshape(shape[0], -1).T for t in tensors])
    flat = stacked.reshape(-1, shape[0])
    values, which = np.unique(flat, return_inverse=True)
    fresh = np.diff(values, prepend=values[:1]) > _ROUNDING * values
    _, first, assignment = np.unique(
        np.cumsum(fresh)[which].reshape(flat.shape), axis=0, return_index=True, return_inverse=True
    )
    return ColumnTable(flat[first], assignment.reshape(stacked.shape[:2]).astype(np.intp), shape)
