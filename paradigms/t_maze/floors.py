"""What nobody can do better: sessions until the structure is known, and what a session is worth to who knows it."""

from __future__ import annotations

from math import exp

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from activebmr import Result
from activebmr.paradigms.t_maze.optimum import best_session
from activebmr.paradigms.t_maze.reading import setting, structures_of, window_of
from activebmr.paradigms.t_maze.world import MOVES, STRUCTURES, Structure, hypotheses
from activebmr.references import evidence_bound
from activebmr.simulation.simulate import trial_draws

__all__ = ["best_possible", "floor", "observer", "watch"]

Floats = NDArray[np.float64]


def floor(result: Result) -> float:
    """Sessions without which nobody could have been as sure as these agents want to be, on average: a bound, not reached.

    It is that of an observer who sees the context of every visit that there is time for, and the cue as often as there is time
    for it: more than any agent can, see `activebmr.references.evidence_bound`.
    """
    distinct, which = hypotheses().distinct()
    most = _most(int(setting(result, "moves")))
    seen = np.array([[_seen(STRUCTURES[m], *most) for m in distinct]])
    bound = evidence_bound(seen, sure=1.0 / (1.0 + exp(-window_of(result, 0))))
    return float(bound[which[np.broadcast_to(result.true_model, result.agent.shape)]].mean())


def _most(moves: int) -> tuple[int, int]:
    """Visits of a session that are followed by another one, and looks at the cue; at most."""
    visits = (moves + 1) // 2
    return visits - 1, visits


def _seen(structure: Structure, n_changes: int, n_looks: int) -> Floats:
    """Probabilities of where a session begins, of how often the context changes, and how often the light says left."""
    changes = binom.pmf(np.arange(n_changes + 1), n_changes, 0.0 if structure.stays else 0.5)
    says = binom.pmf(np.arange(n_looks + 1), n_looks, structure.up()[0])
    return np.asarray((structure.first()[:, None, None] * changes[:, None] * says).reshape(-1))


def observer(result: Result) -> NDArray[np.intp]:
    """What `watch` says of the agents of a result, who want to be as sure as it ``(agent,)``."""
    truths = np.broadcast_to(result.true_model, result.agent.shape)
    size = result.sizes["trial"], int(setting(result, "moves")), window_of(result, 0)
    return watch(int(result.seed), result.agent, truths, *size)


def watch(
    seed: int, agents: NDArray[np.intp], truths: NDArray[np.intp], n_sessions: int, moves: int = MOVES, window: float = 10.0
) -> NDArray[np.intp]:
    """Sessions until an observer of each agent's world knows its structure, who sees more than any agent can ``(agent,)``.

    In every session it sees the context of all visits that there is time for, and the cue as often as there is time for it, in
    contexts that it knows. (It is not the agents' floor one by one, chance being what it is, but on average.)

    Args:
        seed, agents: of the simulation; the observer sees sessions begin as its agents do.
        truths: index of the true structure of each agent ``(agent,)``.
        n_sessions: sessions; who is not sure by then counts with all.
        moves: of a session.
        window: log odds at which it is sure, nats.
    """
    (n_changes, n_looks), distinct = _most(moves), hypotheses().distinct()[0]
    start, changed, up = np.array([_chances(STRUCTURES[t]) for t in truths]).T[:, :, None]
    begins, may_change, may_be_up = np.array([_chances(STRUCTURES[m]) for m in distinct]).T
    draws = trial_draws(agents, seed, moves + 1, 5)
    log_odds, when = np.zeros((len(truths), len(distinct))), np.full(len(truths), n_sessions)
    for session in range(n_sessions):
        drawn = next(draws)  # of factors (context, place) and modalities (place, cue, reward)
        first = drawn[:, 0, :1] < start
        changes = (drawn[:, 1 : n_changes + 1, 0] < changed).sum(axis=1, keepdims=True)
        says = (drawn[:, 1 : n_looks + 1, 3] < up).sum(axis=1, keepdims=True)
        log_odds += np.log(np.where(first, begins, 1.0 - begins))
        log_odds += binom.logpmf(changes, n_changes, may_change) + binom.logpmf(says, n_looks, may_be_up)
        ordered = np.sort(log_odds, axis=1)
        lead = ordered[:, -1] - np.logaddexp.reduce(ordered[:, :-1], axis=1)
        when = np.where((when == n_sessions) & (lead > window), session + 1, when)
    return when


def _chances(structure: Structure) -> tuple[float, float, float]:
    """Probability that a session begins left, that the context changes, that the light is up where the context is left."""
    return float(structure.first()[0]), 0.0 if structure.stays else 0.5, float(structure.up()[0])


def best_possible(result: Result) -> Floats:
    """What each agent could expect to score in a session if it knew the structure ``(agent,)``; exact."""
    size = int(setting(result, "moves")), float(setting(result, "reward"))
    return np.array([best_session(s, *size).score for s in structures_of(result)])
