"""The fewest moves in which it can be found out which of several maps is true: what any way of exploring is set beside.

A map says where each control leads from each state; all states are seen. What an observer knows is where it is and which maps
are still possible. That set only ever shrinks, and within one set all that is left to choose is the way to the next state and
control that tell its maps apart: the best observer is found exactly, set by set from the small to the large (a stochastic
shortest path; Bertsekas 2012, Dynamic Programming and Optimal Control II).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from activebmr import checks
from activebmr.arrays import Floats, Ints

__all__ = ["fewest_moves", "optimal_moves"]

_TIE = 1e-12


def optimal_moves(maps: ArrayLike, prior: ArrayLike | None = None, *, max_sets: int = 200_000) -> Floats:
    """Moves until one map is left, for an observer who chooses every move so that they are fewest on average.

    No agent can do better on average: the mean over maps, weighted with the prior, is the floor, exactly.

    Args:
        maps: the state to which each control leads ``(n_maps, n_states, n_controls)``, whole numbers. Those that agree
            everywhere are one.
        prior: probabilities of the maps ``(n_maps,)``, up to a factor, > 0; by default all are as likely.
        max_sets: sets of possible maps that it may look at; more are refused.

    Returns:
        moves if a map is true and the observer begins in a state ``(n_maps, n_states)``; inf where nothing that it could do
        would ever leave one map.

    Raises:
        ValueError: if numbers are out of range or shapes do not fit, or there are too many sets: then `fewest_moves` is a lower
            bound.
        TypeError: if maps hold other than whole numbers.

    Example:
        >>> optimal_moves([[[1], [0]], [[1], [1]]])  # one door, and where it leads from the second state differs
        array([[2., 1.],
               [2., 1.]])
    """
    tables, weights = _checked(maps, prior)
    max_sets = checks.whole_number(max_sets, "max_sets", least=1)
    first, which = np.unique(tables, axis=0, return_index=True, return_inverse=True)[1:]
    weights = np.bincount(which.reshape(-1), weights=weights, minlength=len(first))
    everything = _explore(tables[first], weights, max_sets)
    begin = max(everything, key=len)
    moves = np.empty((len(first), tables.shape[1]))
    for m, s in np.ndindex(*moves.shape):
        moves[m, s] = _way(everything, begin, m, s)
    return np.asarray(moves[which.reshape(-1)])


def fewest_moves(maps: ArrayLike, *, max_sets: int = 200_000) -> Floats:
    """Moves in which somebody who knows the true map could prove it to somebody who does not: a lower bound for all observers.

    Args:
        maps: as for `optimal_moves`.
        max_sets: pairs of state and set of possible maps that may be looked at for one map; more are refused.

    Returns:
        moves ``(n_maps, n_states)``: never more than those of `optimal_moves`; inf where there is no proof.

    Raises:
        ValueError, TypeError: as for `optimal_moves`.

    Example:
        >>> maps = [[[1, 0], [0, 0]], [[0, 1], [0, 0]], [[0, 0], [0, 0]]]
        >>> fewest_moves(maps)[:, 0], optimal_moves(maps)[:, 0]  # who knows the map tries the right control first
        (array([1., 1., 2.]), array([1., 2., 2.]))
    """
    tables, _ = _checked(maps, None)
    max_sets = checks.whole_number(max_sets, "max_sets", least=1)
    distinct, which = np.unique(tables, axis=0, return_inverse=True)
    bits = 1 << np.arange(len(distinct)).astype(object)
    moves = np.empty(distinct.shape[:2])
    for m, table in enumerate(distinct):
        # maps that say the same as the true one, as bits of a whole number
        same = [[int(bits[distinct[:, s, u] == to].sum()) for u, to in enumerate(row)] for s, row in enumerate(table)]
        for s in range(distinct.shape[1]):
            moves[m, s] = _proof(table, same, (1 << len(distinct)) - 1, m, s, max_sets)
    return np.asarray(moves[which.reshape(-1)])


def _checked(maps: ArrayLike, prior: ArrayLike | None) -> tuple[Ints, Floats]:
    try:
        tables = np.asarray(maps)
    except ValueError:  # lists of different lengths
        tables = np.empty((), dtype=object)
    if tables.ndim != 3 or 0 in tables.shape:
        raise ValueError(f"maps must have shape (n_maps, n_states, n_controls); got {tables.shape}")
    if isinstance(maps, np.ma.MaskedArray) and np.ma.getmaskarray(maps).any():
        raise ValueError(f"maps must not be masked; got {checks.brief(maps)}")
    if tables.dtype.kind not in "iu":
        raise TypeError(f"maps must hold whole numbers, the state to which each control leads; got {tables.dtype}")
    if tables.min() < 0 or tables.max() >= tables.shape[1]:
        wrong = tables[(tables < 0) | (tables >= tables.shape[1])][0]
        raise ValueError(f"maps must lead to states in 0..{tables.shape[1] - 1}; got {wrong}")
    weights = np.ones(len(tables)) if prior is None else checks.float_array(prior, "prior")
    if weights.shape != (len(tables),) or not np.isfinite(weights).all() or not (weights > 0).all():
        raise ValueError(f"prior must hold {len(tables)} positive numbers, one per map; got {prior}")
    return tables.astype(np.intp), weights


@dataclass(eq=False)
class _Set:
    """Maps that are possible together, and what can be done about it.

    Attributes:
        maps: their indices, ascending.
        entries: states in which an observer may come to hold just these possible.
        leads: the state to which each control leads, where they agree, else -1 ``(n_states, n_controls)``.
        parts: (state, control) -> what may be found there: (next state, key of the set that is left).
        control: the best control in each state ``(n_states,)``, -1 where none will ever tell.
        cost: expected moves ``(n_states,)``.
    """

    maps: Ints
    entries: set[int]
    leads: Ints = field(default_factory=lambda: np.zeros((0, 0), dtype=np.intp))
    parts: dict[tuple[int, int], list[tuple[int, bytes]]] = field(default_factory=dict)
    control: Any = None
    cost: Any = None


def _explore(tables: Ints, weights: Floats, max_sets: int) -> dict[bytes, _Set]:
    """All sets that an observer can come to, with what is best in each."""
    whole = np.arange(len(tables))
    sets = {whole.tobytes(): _Set(whole, set(range(tables.shape[1])))}
    queue, order = [(-len(tables), whole.tobytes())], []
    while queue:  # the largest first: by then all ways into it are known
        _, key = heapq.heappop(queue)
        here = sets[key]
        order.append(key)
        for to, some in _divide(here, tables):
            if some.tobytes() not in sets:
                sets[some.tobytes()] = _Set(some, set())
                heapq.heappush(queue, (-len(some), some.tobytes()))
                if len(sets) > max_sets:
                    raise ValueError(
                        f"maps must lead to at most max_sets={max_sets} sets of possible maps; these lead to more: "
                        "`fewest_moves` is a lower bound"
                    )
            sets[some.tobytes()].entries.add(to)
    for key in reversed(order):
        _decide(sets[key], sets, weights)
    return sets


def _divide(here: _Set, tables: Ints) -> list[tuple[int, Ints]]:
    """Find where the maps of a set agree, and what is left of it after each move at which they do not."""
    mine = tables[here.maps]
    here.leads = np.where((mine == mine[0]).all(axis=0), mine[0], -1)
    if len(here.maps) == 1:
        return []
    reached, open_ = set(here.entries), list(here.entries)
    while open_:  # states to which certain moves lead
        for to in here.leads[open_.pop()]:
            if to >= 0 and to not in reached:
                reached.add(int(to))
                open_.append(int(to))
    found = []
    for s, u in np.argwhere(here.leads < 0):
        if s in reached:
            after = mine[:, s, u]
            left = [(int(to), here.maps[after == to]) for to in np.unique(after)]
            here.parts[int(s), int(u)] = [(to, some.tobytes()) for to, some in left]
            found += left
    return found


def _decide(here: _Set, sets: dict[bytes, _Set], weights: Floats) -> None:
    """Expected moves and best controls of a set, once those of all smaller ones are known."""
    n_states = len(here.leads)
    if len(here.maps) == 1:
        here.cost, here.control = np.zeros(n_states), np.full(n_states, -1)
        return
    value = np.full(here.leads.shape, np.inf)
    for at, parts in here.parts.items():
        shares = np.array([weights[sets[key].maps].sum() for _, key in parts])
        value[at] = 1.0 + (shares / shares.sum() * [sets[key].cost[to] for to, key in parts]).sum()
    certain = here.leads >= 0
    cost = value.min(axis=1)
    while True:  # ways to where the maps differ, one move longer each time
        value = np.where(certain, 1.0 + cost[here.leads], value)
        nearer = np.minimum(cost, value.min(axis=1))
        if (nearer == cost).all():
            break
        cost = nearer
    good = value <= cost[:, None] * (1.0 + _TIE)
    here.cost, here.control = cost, np.where(np.isfinite(cost), good.argmax(axis=1), -1)


def _way(sets: dict[bytes, _Set], begin: bytes, truth: int, state: int) -> float:
    """Moves of the best observer if a map is true and it begins in a state."""
    here, moves = sets[begin], 0
    while len(here.maps) > 1:
        control = int(here.control[state])
        if control < 0:
            return np.inf
        moves += 1
        if (state, control) not in here.parts:
            state = int(here.leads[state, control])
            continue
        state, key = next((to, k) for to, k in here.parts[state, control] if truth in sets[k].maps)
        here = sets[key]
    return float(moves)


def _proof(table: Ints, same: list[list[int]], everything: int, truth: int, start: int, max_sets: int) -> float:
    """Length of the shortest way along which only the true map stays possible."""
    edge, seen, moves = [(start, everything)], {(start, everything)}, 0
    while edge:
        if any(left == 1 << truth for _, left in edge):
            return float(moves)
        further = []
        for s, left in edge:
            for u, to in enumerate(table[s]):
                after = int(to), left & same[s][u]
                if after not in seen:
                    seen.add(after)
                    further.append(after)
        if len(seen) > max_sets:
            raise ValueError(f"maps must lead to at most max_sets={max_sets} sets of possible maps; these lead to more")
        edge, moves = further, moves + 1
    return np.inf
