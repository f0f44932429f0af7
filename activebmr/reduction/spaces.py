"""A hypothesis space against counts of several tables: which table a name means, and the log evidence of every hypothesis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from activebmr.arrays import Floats
from activebmr.dirichlet import as_counts
from activebmr.model.columns import ColumnTable
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.naming import Table, read_name
from activebmr.reduction.ratios import log_evidence

__all__ = ["about", "key_in", "shown", "space_evidence"]


def shown(key: Any) -> str:
    """A table as errors name it, of what it is kept by."""
    return str(key) if isinstance(key, Table) else f"modality {key}"


def about(space: HypothesisSpace) -> str:
    """The tables that hypotheses speak about, for errors."""
    if any(isinstance(k, Table) for k in space.tables):
        return f"tables {[str(k) if isinstance(k, Table) else f'A[{k}]' for k in space.tables]}"
    return f"modalities {list(space.tables)}"


def key_in(name: Any) -> Any:
    """What a space keeps a table by, of its name ``"pB[place]"``, a `Table`, or the index or name of a modality."""
    if isinstance(name, str) and "[" not in name:
        return name  # a modality that no model has given an index yet
    table, _ = read_name(name, "names of tables")
    return table.index if table.kind == "A" else table


def space_evidence(space: HypothesisSpace, posterior: Any, prior: Any, offset: float) -> Floats:
    """Log evidence of every hypothesis ``(n_hypotheses,)``, up to a constant, its prior probability left out.

    Args:
        space: the hypotheses.
        posterior, prior: counts after and before the data: of the only table, or dicts by names of tables.
        offset: see `activebmr.reduction.log_evidence_ratio`.

    Raises:
        ValueError: if a table is missing or named twice, or counts do not fit.
    """
    if space.models:
        raise ValueError(
            "hypotheses must speak about tables; these are models of their own, which no counts of one model compare (agents "
            "do, by what they predict)"
        )
    if not isinstance(posterior, Mapping) or not isinstance(prior, Mapping):
        if len(space.tables) != 1:
            raise ValueError(f"posterior and prior must be dicts keyed by the {about(space)}")
        (only,) = space.tables
        posterior, prior = (x if isinstance(x, Mapping) else {only: x} for x in (posterior, prior))
    q, p = (_by_key(space, x, name) for x, name in ((posterior, "posterior"), (prior, "prior")))
    return np.asarray(sum(_table_evidence(space, key, q[key], p[key], offset) for key in space.tables))


def _by_key(space: HypothesisSpace, given: Mapping[Any, ArrayLike], what: str) -> dict[Any, ArrayLike]:
    """Counts by what the space keeps their tables by; others than its own may be among them."""
    out: dict[Any, ArrayLike] = {}
    for name, counts in given.items():
        key = key_in(name)
        if key in out:
            raise ValueError(f"{what} must name each table once; got {list(given)}")
        out[key] = counts
    missing = [key for key in space.tables if key not in out]
    if missing:
        raise ValueError(f"{what} must hold the counts of the {about(space)}; got {list(given)}")
    return out


def _table_evidence(space: HypothesisSpace, key: Any, posterior: ArrayLike, prior: ArrayLike, offset: float) -> Floats:
    """Log evidence of every hypothesis about one table: each distinct (column, what stands there) is scored once."""
    table, sharp = space.tables[key], space.sharp[key]
    q, p = as_counts(posterior, "posterior"), as_counts(prior, "prior")
    owner = shown(key)
    if not q.shape == p.shape == table.shape:
        raise ValueError(f"posterior and prior of {owner} must have shape {table.shape}; got {q.shape} and {p.shape}")
    if sharp.any():
        lost = q - p < -1e-12 * max(1.0, float(np.abs(q - p).max()))
        if lost.any():
            at = tuple(int(i) for i in np.argwhere(lost)[0])
            raise ValueError(
                f"posterior of {owner} must not be below prior where a hypothesis gives values; entry {at} has {q[at]:.6g} "
                f"counts after and {p[at]:.6g} before. After forgetting, take as the prior what is left of it"
            )
        # what one hypothesis gives as counts, another may give as values
        kinds = np.concatenate([table.columns, table.columns])
        table = ColumnTable(kinds, table.assignment + len(table.columns) * sharp[:, None], table.shape)
    q, p = q.reshape(table.shape[0], -1), p.reshape(table.shape[0], -1)
    state, column, pair = table.placed
    of_values = column >= len(space.tables[key].columns)
    each = log_evidence(q[:, state], p[:, state], table.columns[column].T, offset, of_values)
    return np.asarray(each[pair].sum(axis=1))
