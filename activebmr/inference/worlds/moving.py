"""How the hidden joint states of a component move, where transitions of its factors may differ between agents and models."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.smoothing import moved_log
from activebmr.inference.worlds.places import Reads, of_transitions
from activebmr.model.components import Component

__all__ = ["LARGEST", "Mover", "log_moved"]

LARGEST = 1024
"""Hidden joint states of one component beyond which transitions that differ are refused."""

_FAINT = -600.0  # nats below the largest weight; fainter ones are moved as logarithms

Tables = Mapping[int, Floats]
"""By factor its transitions ``(n_agents or 1, n_models or 1, n_columns, S_f)``."""


class Mover:
    """Transitions of a component.

    Args:
        component: the component.
        varied: factors whose transitions differ between agents or models.

    Attributes:
        varied: those of the component's hidden factors.
        still: whether nothing ever moves.
        reads: per hidden factor the columns that its transitions are read from.
        by_known: whether transitions depend on the known joint state.

    Raises:
        ValueError: if transitions differ and there are too many joint states to hold them for each.
    """

    def __init__(self, component: Component, varied: frozenset[int]) -> None:
        c = self.component = component
        self.varied = tuple(f for f in c.hidden if f in varied)
        self.still = not self.varied and (c.motion.still or all(_stays(c, f) for f in c.hidden))
        if self.varied and c.n_hidden > LARGEST:
            names = [c.model.labels["factor"][f] for f in c.hidden]
            raise ValueError(
                f"transitions that are learned or in question must belong to components of at most {LARGEST} joint states; the "
                f"factors {names}, which are coupled, have {c.n_hidden}: choose inference='mean-field' or 'sequential', which "
                "keep one distribution per factor"
            )
        self.reads: dict[int, Reads] = {f: of_transitions(c, f) for f in c.hidden}
        self.by_known = any(r.known.any() for r in self.reads.values())
        self.states = np.indices(c.hidden_sizes).reshape(len(c.hidden), c.n_hidden)

    def columns(self, factor: int, control: int, known: int) -> Ints:
        """Column of a factor's transitions in each hidden joint state ``(n_hidden,)``."""
        r = self.reads[factor]
        return r.hidden + (int(r.known[known]) + control)

    def matrices(self, tables: Tables, code: int, known: int, rows: Ints | slice) -> Floats:
        """Transition probabilities ``(rows or 1, models or 1, now, next)`` under one combination of the hidden factors'
        controls.
        """
        c = self.component
        controls = np.unravel_index(code, c.hidden_controls) if c.hidden else ()
        out: Floats | None = None
        for i, f in enumerate(c.hidden):
            table = tables[f]
            mine = table if len(table) == 1 else table[rows]
            # taken, not indexed: matrices then lie in memory, and are multiplied, in one way however many rows there are
            part = mine.take(self.columns(f, int(controls[i]), known), axis=2)
            if len(c.hidden) > 1:
                part = part.take(self.states[i], axis=3)
            out = part if out is None else out * part
        assert out is not None
        return out

    def groups(self, codes: Ints, known: Ints) -> list[tuple[int, int, Ints]]:
        """Combinations of controls and known states that occur, and the rows of each."""
        key = codes * self.component.n_known + (known if self.by_known else 0)
        out = []
        for k in np.unique(key):
            rows = np.flatnonzero(key == k)
            out.append((int(codes[rows[0]]), int(known[rows[0]]), rows))
        return out

    def move(self, log: Floats, codes: Ints, known: Ints, tables: Tables, back: bool = False) -> Floats:
        """Log weights ``(rows, models, n_hidden)`` forward, or (transposed) backward, under each row's controls."""
        if self.still:
            return log
        if not self.varied:
            times, flat = log.shape[1], log.reshape(-1, log.shape[2])
            weights = None if back else np.exp(flat)
            out, _ = moved_log(self.component, flat, np.repeat(codes, times), np.repeat(known, times), weights, back)
            return out.reshape(log.shape)
        moved = []
        groups = self.groups(codes, known)
        for code, state, rows in groups:
            matrices = self.matrices(tables, code, state, rows)
            moved.append(log_moved(log[rows], matrices.swapaxes(2, 3) if back else matrices))
        if len(groups) == 1:
            return moved[0]
        return np.concatenate(moved)[np.argsort(np.concatenate([rows for *_, rows in groups]))]


def _stays(component: Component, factor: int) -> bool:
    """Whether a factor stays as it is whatever is done."""
    model = component.model
    b = model.B[factor]
    own = model.B_dependencies[factor] == (factor,)  # type: ignore[index]
    return own and all(np.array_equal(b[:, :, u], np.eye(len(b))) for u in range(b.shape[2]))


def log_moved(log: Floats, matrices: Floats) -> Floats:
    """Logs of ``exp(log) @ matrices`` for each row and model: ``(rows, models, n)``; nothing is lost that is too faint for a
    number of its own.
    """
    top = log.max(axis=2, keepdims=True)
    shift = np.where(np.isfinite(top), top, 0.0)
    faint = (log < shift + _FAINT) & (log > -np.inf)
    with np.errstate(divide="ignore"):
        if not faint.any():
            moved = np.matmul(np.exp(log - shift)[:, :, None], matrices)[:, :, 0]
            return np.asarray(np.log(moved) + shift)
        each = log[..., None] + np.log(matrices)
        top = each.max(axis=2)
        shift = np.where(np.isfinite(top), top, 0.0)
        return np.asarray(np.log(np.exp(each - shift[:, :, None]).sum(axis=2)) + shift)
