"""What filters of factor marginals share: which columns of a likelihood joint states read, which rows saw nothing, which
factors an observation couples.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from activebmr.arrays import Bools, Floats, Ints
from activebmr.dirichlet import LOG_FLOOR
from activebmr.inference.beliefs import Belief
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.layout import Layout
from activebmr.model.once import once
from activebmr.model.pomdp import POMDP
from activebmr.ragged import Ragged

__all__ = [
    "FLOOR",
    "Outcomes",
    "Tables",
    "columns_at",
    "columns_of",
    "coupled",
    "likelihood_at",
    "likelihood_of",
    "marginals_at",
    "marginals_of",
    "unknown_factors",
    "unseen",
]

Outcomes = Sequence[np.ndarray]
"""Per modality integer outcomes ``(rows,)``, -1 for unseen, or probabilities of outcomes ``(rows, O_m)``, all 0 for unseen."""
Tables = Sequence[KnownTable | CountTable]

FLOOR = float(np.exp(LOG_FLOOR))
"""Least likelihood that beliefs go on with, e^-32 (SPM)."""


def unknown_factors(layout: Layout, belief: Belief) -> tuple[int, ...]:
    """Factors of a layout whose state is not certain in every row, in the order kept."""
    return tuple(f for f in layout.strides if belief.known[f] is None)


def columns_of(layout: Layout, belief: Belief, factors: tuple[int, ...], joint: Ragged) -> Ints:
    """Columns (as kept by a layout) of the entries of a joint over ``factors``; the layout's other factors must be known."""
    return columns_at(layout, belief, factors, joint.index, None if joint.single else joint.row)


def columns_at(layout: Layout, belief: Belief, factors: tuple[int, ...], index: Ints, row: Ints | None) -> Ints:
    """Columns of joint states ``index`` of ``factors`` in a belief's rows ``row``; None for one state in each row."""
    column: Ints | int
    if factors == layout.still:
        column = index * layout.n_slab if factors else 0
    else:
        column = 0
        states = np.unravel_index(index, [belief.sizes[f] for f in factors]) if factors else ()
        for f, state in zip(factors, states, strict=True):
            if f in layout.strides:
                column = column + state * layout.strides[f]
    known: Ints | int = 0
    for f, stride in layout.strides.items():
        if f not in factors:
            state = belief.known[f]
            assert state is not None
            known = known + (state if stride == 1 else state * stride)
    if isinstance(known, int):
        return column if isinstance(column, np.ndarray) else np.zeros(len(index), dtype=np.intp)
    return np.asarray(column + (known if row is None else known[row]))


def likelihood_of(table: KnownTable | CountTable, agents: Ints, joint: Ragged, columns: Ints, outcome: np.ndarray) -> Floats:
    """Likelihood of each entry's joint state given its row's outcome (linear in soft outcomes, as in SPM); what it is for rows
    that saw nothing does not matter.
    """
    return likelihood_at(table, agents, None if joint.single else joint.row, columns, outcome)


def likelihood_at(table: KnownTable | CountTable, agents: Ints, row: Ints | None, columns: Ints, outcome: np.ndarray) -> Floats:
    """The same for joint states of the rows ``row``; None for one state in each row."""
    index = columns
    if table.learned:
        first = agents * table.n_states
        index = columns + (first if row is None else first[row])
    if outcome.ndim == 1:
        seen = outcome if row is None else outcome[row]
        return table.likelihood.reshape(-1)[index * (table.n_outcomes + 1) + seen]
    rows, soft = table.likelihood.take(index, axis=0), outcome if row is None else outcome.take(row, axis=0)
    total = rows[:, 0] * soft[:, 0]
    for o in range(1, table.n_outcomes):
        total += rows[:, o] * soft[:, o]
    return total


def marginals_of(joint: Ragged, posterior: Floats, sizes: Sequence[int]) -> list[Floats]:
    """Marginals of each factor of a joint distribution whose indices are flat in C order."""
    return marginals_at(joint.rows, joint.row, joint.index, posterior, sizes)


def marginals_at(rows: int, row: Ints, index: Ints, weight: Floats, sizes: Sequence[int]) -> list[Floats]:
    """Sums of the weights of joint states ``index`` of the rows ``row``, for each state of each factor."""
    out, rest, width = [], index, prod(sizes)
    for size in sizes[::-1]:
        width //= size
        if width == 1:
            state = rest
        else:
            above = rest // size
            state, rest = rest - above * size, above
        cell = state + row * size
        out.append(np.bincount(cell, weights=weight, minlength=rows * size).reshape(rows, size))
    return out[::-1]


def unseen(outcome: np.ndarray) -> Bools | None:
    """Rows that saw no outcome of a modality; None if all did."""
    if outcome.ndim == 1:
        return outcome < 0 if outcome.min() < 0 else None
    # rows sum to 1, or to 0
    return ~outcome.any(axis=1) if outcome.sum() < len(outcome) - 0.5 else None


@once
def coupled(model: POMDP, unknown: tuple[int, ...]) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Unknown factors that modalities couple, with these modalities: what one observation says about different groups is
    independent. Modalities of known factors alone are a group with no factors.
    """
    groups: list[tuple[set[int], list[int]]] = []
    for m, deps in enumerate(model.A_dependencies):  # type: ignore[arg-type]
        factors, modalities = set(deps) & set(unknown), [m]
        apart = []
        for other in groups:
            if other[0] & factors or not (other[0] or factors):
                factors, modalities = factors | other[0], other[1] + modalities
            else:
                apart.append(other)
        groups = [*apart, (factors, modalities)]
    return tuple((tuple(sorted(factors)), tuple(sorted(modalities))) for factors, modalities in groups)
