"""The T-maze: an animal that must find out what the cue means, how reliable it is, and how the context comes and goes.

The field's textbook case, with its structure in question. A session is a number of visits to the arms of a maze, one of which
holds a reward; a cue says which one, if it says anything. `paradigms.t_maze.world` has the structures: what a light that is up
means and how reliably (a likelihood), whether the context stays for a session or is drawn anew after every visit (transitions),
and in which context sessions begin (initial states). All three are compared at once, exactly.

The agents of the scheme ``reasoning`` want nothing but to know until they know; then they plan the whole session for rewards.
By itself a light tells nothing about its meaning: what it tells depends on what is found in the arm afterwards; and whether
contexts stay shows at the next visit, after the way back. So the gain must be expected over three moves. Agents who look at the
next move alone (``gain``) hardly ever go to the cue where contexts do not stay.

Occam's window is `WINDOW` nats: the posterior being exact, the chance that an agent ever adopts a wrong structure is about
exp(-window) at most, 2 % for one of 512 agents.

Sources: Friston, Rigoli, Ognibene, Mathys, FitzGerald & Pezzulo (2015), "Active inference and epistemic value", Cognitive
Neuroscience 6 (the task); Friston et al. (2025) on gains about models.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from activebmr import Agent, Paradigm, Planner, Reasoning, Result, Selection, checks
from activebmr.paradigms.t_maze.floors import floor, observer
from activebmr.paradigms.t_maze.lives import looks
from activebmr.paradigms.t_maze.measures import MEASURES, after, ever_wrong, known_after, posterior_of_truth, scores, table
from activebmr.paradigms.t_maze.world import (
    MOVES,
    REWARD,
    STRUCTURES,
    WORTH,
    hypotheses,
    known_model,
    learning_model,
    own_tables,
    world_model,
)

__all__ = [
    "DEFAULT_SCHEME",
    "DESCRIPTION",
    "MEASURES",
    "NAME",
    "OPTIONS",
    "SCHEMES",
    "TRIALS",
    "WINDOW",
    "after",
    "ever_wrong",
    "figures",
    "floor",
    "hypotheses",
    "known_after",
    "knowing",
    "looks",
    "observer",
    "paradigm",
    "posterior_of_truth",
    "reasoning_agent",
    "scores",
    "table",
    "world_model",
]

NAME = "t-maze"
DESCRIPTION = "find out what the cue of a T-maze means, how reliable it is, whether the context stays, and how it begins"
SCHEMES = {
    "reasoning": "exact gain about the structure, expected over three moves; rewards count once the structure is known",
    "clairvoyant": "the same as reasoning, but told before each session in which context it begins: a reference point",
    "gain": "the same as reasoning, but expected of the next move alone",
    "no-model": "gain about the context, none about the structure; rewards count once the structure is known",
    "random": "moves at random until the structure is known",
    "preferences": "rewards count from the start, beside the gain about the structure; both over three moves",
    "utility": "rewards alone count, from the start, over three moves",
    "knowing": "knows the structure from the start, and plans the whole session",
}
SCENE = "scene.js"
DEFAULT_SCHEME = "reasoning"
TRIALS = 96
OPTIONS = {"moves": (str(MOVES), "4", "6", "10", "12"), "counts": ("sharp", "128", "256", "512")}

WINDOW = 10.0
"""Occam's window, nats."""
LOOKAHEAD = 2
"""Further moves over which gains are expected."""

_DECISIVE = 1e9  # action precision: only true ties are left to chance
_SOON = 0.99  # what a reward is worth a move later: rewards that come sooner break ties
_GAINS: dict[str, tuple[str, ...]] = {"no-model": ("state",), "random": (), "utility": ()}
_PATIENT = ("preferences", "utility")  # whose preferences count from the start


def paradigm(
    scheme: str = DEFAULT_SCHEME,
    true_rule: int | str | None = None,
    *,
    moves: int | str = MOVES,
    reward: float = REWARD,
    counts: float | str = "sharp",
    window: float = WINDOW,
    lookahead: int = LOOKAHEAD,
    agent: Agent | None = None,
) -> Paradigm:
    """The paradigm under one of its `SCHEMES`; its trials are sessions.

    Args:
        scheme: name of the scheme.
        true_rule: index or name of the true structure (`world.STRUCTURES`), or ``"random"``, the default: another one per
            agent, each distinct one as often.
        moves: of a session, >= 2.
        reward: probability of a reward in the right arm, in (.5, 1]; agents know it.
        counts: ``"sharp"`` if a structure says for certain how reliable a cue is and how contexts begin and move; or the
            observations a column that it is worth, > 0, and goes on learning from. Below 100 hypotheses learn to say the same
            before one is far enough ahead to be adopted.
        window: Occam's window, nats.
        lookahead: further moves that schemes look ahead until a structure is adopted (``gain``, ``random``: none).
        agent: agents to use instead of the scheme's.

    Raises:
        ValueError: for an unknown scheme, a structure or a number out of range, or knowing agents with a random structure
            (see `knowing`).
        TypeError: if a number is none.

    Example:
        ``simulate([paradigm(s) for s in ("reasoning", "gain")], n_agents=64, n_trials=64)``
    """
    if scheme not in SCHEMES and agent is None:
        raise ValueError(f"scheme of {NAME} must be one of {list(SCHEMES)}; got {scheme!r}")
    n_moves, worth = _moves(moves), _counts(counts)
    model, space = world_model(float(reward)), hypotheses(worth)
    truth: Any = "random" if true_rule is None else true_rule
    bare = Paradigm(
        NAME,
        scheme,
        Agent(model) if agent is None else agent,  # the world first: it checks the truth before an agent is made for it
        model,
        n_moves + 1,
        space,
        truth,
        {"reward": WORTH},
        {"moves": n_moves, "reward": float(reward), "counts": "sharp" if worth is None else worth},
        measures=MEASURES,
    )
    if agent is None:
        told = "told" if scheme == "clairvoyant" else None
        agent = _agent(scheme, bare.truth, n_moves, float(reward), worth, window, lookahead)
        return replace(bare, agent=agent, preparation=told)
    return bare


def _moves(given: Any) -> int:
    value = int(given) if isinstance(given, str) and given.isdigit() else given
    return checks.whole_number(value, f"moves of {NAME}", least=2)


def _counts(given: Any) -> float | None:
    if given == "sharp":
        return None
    try:
        return checks.number(float(given), "counts", checks.POSITIVE)
    except (TypeError, ValueError):
        raise ValueError(f"counts of {NAME} must be 'sharp' or a number > 0; got {given!r}") from None


def _agent(scheme: str, truth: Any, moves: int, reward: float, counts: float | None, window: float, lookahead: int) -> Agent:
    if scheme == "knowing":
        if truth == "random":
            raise ValueError(
                "true_rule must be a number for the scheme 'knowing': all its agents know one structure; got 'random' (see "
                "knowing of activebmr.paradigms.t_maze)"
            )
        return Agent(known_model(STRUCTURES[truth], reward), planner=_planner(moves - 1))
    ahead = 0 if scheme in ("gain", "random") else lookahead
    patient = scheme in _PATIENT
    return reasoning_agent(moves, reward, _GAINS.get(scheme, ("model",)), ahead, not patient, window, counts)


def _planner(depth: int, gains: tuple[str, ...] = ("model",)) -> Planner:
    return Planner(depth=depth, gains=gains, backup="best", discount=_SOON, alpha=_DECISIVE)


def reasoning_agent(
    moves: int = MOVES,
    reward: float = REWARD,
    gains: tuple[str, ...] = ("model",),
    lookahead: int = LOOKAHEAD,
    curious: bool = True,
    window: float = WINDOW,
    counts: float | None = None,
) -> Agent:
    """An agent that holds all structures possible.

    Args:
        moves, reward, window, lookahead: see `paradigm`.
        gains: which gains count; see `activebmr.Planner`.
        curious: whether rewards count only once a structure is adopted. Then the whole session is planned; else, from the
            start to the end, as far as gains are.
        counts: see `world.hypotheses`.
    """
    return Agent(
        world_model(reward) if counts is None else learning_model(counts, reward),
        hypotheses(counts),
        _planner(moves - 1 if curious else lookahead, gains),
        selection=Selection(threshold=window, curious=curious, at_once=True),
        reasoning=Reasoning(lookahead=lookahead),
    )


def knowing(
    n_agents: int, seed: int = 0, true_rule: int | str = "random", *, moves: int = MOVES, reward: float = REWARD
) -> Paradigm:
    """The paradigm for agents who know, each of them, the structure that is true for it, however these are drawn.

    Agent k has the structure, and lives through the random numbers, of agent k of the other schemes with this seed.

    Args:
        n_agents, seed: what ``simulate`` will be told.
        true_rule, moves, reward: see `paradigm`.
    """
    bare = paradigm("knowing", true_rule, moves=moves, reward=reward, agent=Agent(world_model(reward)))
    truths = bare.truths(seed, np.arange(n_agents))
    return replace(bare, agent=Agent(world_model(reward), planner=_planner(_moves(moves) - 1), own=own_tables(truths)))


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw a result of this paradigm into a folder and return the files written (imports matplotlib)."""
    from activebmr.paradigms.t_maze.drawing import figures as draw

    return draw(result, folder)
