"""What a trial is evidence for, under each model's own beliefs: at once where it is certain what happened, else in hindsight.

Expected counts of tables stand for what is known about them. They are exact where states are certain; and where states stay as
they are, outcomes of a trial are counted as they come in, in the columns that each state would make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from activebmr import checks
from activebmr.arrays import Bools, Floats, Ints
from activebmr.inference.worlds.beliefs import WorldBelief
from activebmr.inference.worlds.world import World
from activebmr.model.naming import Key, Table, table_of

__all__ = ["Rates", "noted", "rest_of_trial", "transition"]

_CERTAIN = 1e-12  # doubt that cannot matter to counts
_FAINTEST = 1e-250  # probability of a pair of states from which on logarithms alone are trusted

Rates = dict[Table, float | Floats]
"""Counts that one event adds, by table, see `Learning`."""


def noted(
    world: World,
    belief: WorldBelief,
    before: WorldBelief | None,
    controls: Ints | None,
    outcomes: Sequence[np.ndarray],
    rates: Rates,
) -> WorldBelief:
    """Beliefs whose counts hold what is certain to have happened now."""
    counts, during, counted = dict(belief.counts), dict(belief.during), {}
    for key in world.counting:
        kind, index = table_of(key)
        if kind == "A":
            soft = _amounts(outcomes[int(index)], world.model.num_outcomes[int(index)], rates[table_of(key)])
            if key in during:
                during[key] = _in_all_columns(world, int(index), belief, during[key], soft)
                continue
            columns, sure = _column(world, int(index), belief)
            counted[key] = sure
            where = sure & soft.any(axis=1)[:, None]
            counts[key] = _with(counts[key], where, columns, soft[:, None, :])
        elif kind == "B" and before is not None and controls is not None:
            pairs, columns = transition(world, belief, before, int(index), controls)
            # (n_agents, M, k, S_f): which column and next state hold all of the probability
            flat = pairs.reshape(*pairs.shape[:2], -1)
            sure = flat.max(axis=2) > 1.0 - _CERTAIN
            which, state = np.divmod(flat.argmax(axis=2), pairs.shape[3])
            rate = _rate(rates[table_of(key)], len(sure))
            amounts = np.eye(pairs.shape[3])[state] * rate[:, None, None]
            counted[key] = sure
            counts[key] = _with(counts[key], sure, np.take_along_axis(columns, which, axis=1), amounts)
    return replace(belief, counts=counts, during=during, counted=counted)


def rest_of_trial(
    world: World,
    filtered: Sequence[WorldBelief],
    path: Sequence[WorldBelief],
    controls: Sequence[Ints],
    outcomes: Sequence[Sequence[np.ndarray]],
    rates: Rates,
) -> dict[Key, Floats]:
    """Counts when a trial is over: what was not counted as it happened is added, as it is believed in hindsight.

    Args:
        world: the world.
        filtered, path: its beliefs at each time, as they were, and in hindsight.
        controls: what was done between them.
        outcomes: what was seen at each time.
        rates: see `Rates`.
    """
    counts = {key: path[-1].counts[key].copy() for key in world.counting}
    for key in world.counting:
        kind, index = table_of(key)
        rate = rates[table_of(key)]
        if kind == "D":
            i = world.home[int(index)]
            c = world.components[i]
            if int(index) in c.hidden:
                q = np.exp(path[0].log[i])
                start = c.marginals(q.reshape(-1, c.n_hidden))[c.hidden.index(int(index))]
                start = start.reshape(*q.shape[:2], 1, -1)
            else:
                start = np.eye(world.model.num_states[int(index)])[_state(world, int(index), path[0].known[i])][:, None, None]
            counts[key] += _rate(rate, len(start))[:, None, None, None] * start
        elif key in path[-1].during:
            counts[key] += _by_end(world, int(index), path[-1]) * path[-1].during[key]
        elif kind == "A":
            for belief, seen in zip(path, outcomes, strict=True):
                soft = _amounts(seen[int(index)], world.model.num_outcomes[int(index)], rate)
                weight, columns = _columns(world, int(index), belief)
                weight = np.where(belief.counted[key][..., None], 0.0, weight)
                _add(counts[key], columns, weight[..., None] * soft[:, None, None, :])
        else:
            each = _rate(rate, len(counts[key]))[:, None, None, None]
            for before, belief, moved in zip(filtered[:-1], path[1:], controls, strict=True):
                pairs, columns = transition(world, belief, before, int(index), moved)
                _add(counts[key], columns, each * np.where(belief.counted[key][..., None, None], 0.0, pairs))
    return counts


def transition(world: World, belief: WorldBelief, before: WorldBelief, factor: int, controls: Ints) -> tuple[Floats, Ints]:
    """How a factor may have come to its state: probabilities of each column of its transitions and each next state
    ``(n_agents, M or 1, k, S_f)``, as ``belief`` has it about the state of now, and the columns ``(n_agents, k)``.

    ``before`` must be the belief that what is foreseen was predicted from.
    """
    i = world.home[factor]
    c, mover = world.components[i], world.movers[i]
    known, rows = before.known[i], len(controls)
    if factor in c.known:
        here = dict(zip(c.known, c.states_of(known), strict=True))
        column = np.zeros(rows, dtype=np.intp)
        for d in world.model.B_dependencies[factor]:  # type: ignore[index]
            column = column * world.model.num_states[d] + here[d]
        column = column * world.model.num_controls[factor] + controls[:, factor]
        after = np.eye(world.model.num_states[factor])[_state(world, factor, belief.known[i])]
        return after[:, None, None], column[:, None]
    reads = mover.reads[factor]
    columns = reads.distinct + (reads.known[known] + controls[:, factor])[:, None]
    states = np.eye(world.model.num_states[factor])[mover.states[c.hidden.index(factor)]]  # (n_hidden, S_f)
    if mover.still:
        q = np.exp(belief.log[i])
        return np.matmul(reads.member.T, q[..., None] * states), columns
    assert belief.foreseen is not None
    foreseen = belief.foreseen[i]
    possible = foreseen > -np.inf
    ratio = np.where(possible, belief.log[i] - np.where(possible, foreseen, 0.0), -np.inf)
    log = before.log[i]
    early, late = (np.exp(x - np.maximum(x.max(axis=2, keepdims=True), -1e300)) for x in (log, ratio))
    out = np.empty((rows, max(early.shape[1], late.shape[1]), len(reads.distinct), states.shape[1]))
    for code, state, some in mover.groups(c.hidden_code(controls), known):
        if mover.varied:
            matrices = mover.matrices(belief.moved_by, code, state, some)
        else:
            matrices = np.ascontiguousarray(c.motion.matrix(code, state).T)[None, None]
        joint = early[some][..., None] * matrices * late[some][:, :, None, :]
        lost = joint.sum(axis=(2, 3)) < _FAINTEST
        if lost.any():
            with np.errstate(divide="ignore"):
                each = log[some][..., None] + np.log(matrices) + ratio[some][:, :, None, :]
            top = each.max(axis=(2, 3), keepdims=True)
            joint = np.where(lost[..., None, None], np.exp(each - np.where(np.isfinite(top), top, 0.0)), joint)
        out[some] = np.matmul(np.matmul(reads.member.T, joint), states)
    out /= np.maximum(out.sum(axis=(2, 3), keepdims=True), _FAINTEST)
    return out, columns


def _state(world: World, factor: int, known: Ints) -> Ints:
    """State of a known factor, from the known joint state of its component."""
    c = world.components[world.home[factor]]
    return np.asarray(c.states_of(known)[c.known.index(factor)])


def _columns(world: World, modality: int, belief: WorldBelief) -> tuple[Floats, Ints]:
    """Probabilities of a likelihood's columns now ``(n_agents, M or 1, k)``, and the columns ``(n_agents, k)``."""
    i = world.at[modality]
    reads = world.reads[i][modality]
    return reads.seen(np.exp(belief.log[i])), reads.known[belief.known[i]][:, None] + reads.distinct


def _column(world: World, modality: int, belief: WorldBelief) -> tuple[Ints, Bools]:
    """The most probable column of a likelihood ``(n_agents, M)``, and whether it is certain."""
    weight, columns = _columns(world, modality, belief)
    sure = weight.max(axis=2) > 1.0 - _CERTAIN
    column = np.take_along_axis(columns, weight.argmax(axis=2), axis=1)
    shape = len(sure), world.n_models
    return np.broadcast_to(column, shape), np.broadcast_to(sure, shape)


def _by_end(world: World, modality: int, belief: WorldBelief) -> Floats:
    """Probability at the end of a trial of the states that make each column ``(n_agents, M, n_columns, 1)``: of columns that
    differ in known states alone it is the same.
    """
    i = world.at[modality]
    reads = world.reads[i][modality]
    weight = reads.seen(np.exp(belief.log[i]))
    table = np.zeros((*weight.shape[:2], world.claims[modality].prior.shape[1], 1))
    for known in np.unique(reads.known):
        table[:, :, known + reads.distinct, 0] = weight
    return table


def _in_all_columns(world: World, modality: int, belief: WorldBelief, during: Floats, soft: Floats) -> Floats:
    i = world.at[modality]
    reads = world.reads[i][modality]
    after, rows = during.copy(), np.arange(len(soft))[:, None]
    after[rows, 0, reads.known[belief.known[i]][:, None] + reads.distinct] += soft[:, None, :]
    return after


def _with(counts: Floats, sure: Bools, columns: Ints, amounts: Floats) -> Floats:
    """Counts ``(n_agents, M, n_columns, n_outcomes)`` with amounts ``(n_agents, M or 1, n_outcomes)`` at one column of each
    model, where that is sure.
    """
    if not sure.any():
        return counts
    out = counts.copy()
    agent, model = np.nonzero(np.broadcast_to(sure, counts.shape[:2]))
    each = np.broadcast_to(amounts, (*counts.shape[:2], counts.shape[3]))
    out[agent, model, np.broadcast_to(columns, counts.shape[:2])[agent, model]] += each[agent, model]
    return out


def _add(counts: Floats, columns: Ints, amounts: Floats) -> None:
    """Add amounts ``(n_agents, M or 1, k, n_outcomes)`` at columns ``(n_agents, k)``, in place."""
    agents = np.arange(len(counts))[:, None]
    counts[agents, :, columns] += amounts.swapaxes(1, 2)


def _amounts(outcome: np.ndarray, n_outcomes: int, rate: float | Floats) -> Floats:
    """Counts that an outcome is worth ``(n_agents, n_outcomes)``."""
    soft = outcome.astype(np.float64) if outcome.ndim == 2 else np.eye(n_outcomes)[outcome]
    if outcome.ndim == 1:
        soft[outcome < 0] = 0.0
    return _rate(rate, len(soft))[:, None] * soft


def _rate(rate: float | Floats, n_agents: int) -> Floats:
    return checks.each_agent(rate, n_agents, "rate of Learning")
