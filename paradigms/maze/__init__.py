"""Which map is the true one? An agent in a maze sees the room that it is in, and finds out where doors lead by walking.

Six rooms have three doors each. A hundred maps say where the doors lead, and one of them is true. Two doors of every room are
corridors of a ring, the same in all maps; the third leads one way to one of the three rooms that are left, to another one
in another map. What a door tells depends on what is known already, and where there is nothing to learn an agent has to walk:
exact gain looks at the next door alone, look-ahead at what lies behind it. Only when it knows the map does the agent look for
the cheese.

Without corridors (``corridors="0"``: all maps drawn without regard to each other) nearly every door tells as much as any other,
and there is little that any way of exploring could save: the best observer needs 3.3 moves where gain of the next move needs
3.4 and novelty 3.9.

The worlds of deterministic rooms in which agents explore by information gain are those of Little and Sommer (2013), "Learning
and exploration in action-perception loops", Frontiers in Neural Circuits 7.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from activebmr import POMDP, Agent, HypothesisSpace, Paradigm, Planner, Reasoning, Result, Selection
from activebmr.paradigms.maze.maps import maps, transitions
from activebmr.paradigms.maze.measures import MEASURES, known_after, table
from activebmr.paradigms.maze.scene import scene_data

__all__ = [
    "DEFAULT_SCHEME",
    "DESCRIPTION",
    "MEASURES",
    "NAME",
    "OPTIONS",
    "SCHEMES",
    "figures",
    "known_after",
    "map_space",
    "maps",
    "paradigm",
    "scene_data",
    "table",
    "world_model",
]

NAME = "maze"
DESCRIPTION = "find out which of 100 maps of a maze is true, in as few moves as can be, then fetch the cheese"
SCHEMES = {
    "look-ahead": "exact gain about the maps, expected over the next four moves",
    "gain": "exact gain about the maps, of the next move alone",
    "novelty": "knows no maps; counts where doors led, and takes the door of which it has seen least",
    "novelty-informed": "the same, but its counts begin as the average of the maps, and it looks four moves ahead",
    "random": "knows the maps, but takes any door until only one map is left",
}
SCENE = "scene.js"
DEFAULT_SCHEME = "look-ahead"
TRIALS = 1
OPTIONS = {"corridors": ("2", "1", "0")}

MOVES = 64
"""Moves of an agent in the only trial that there is."""
LOOKAHEAD = 3
WORTH = 3.0  # nats, of a room with cheese

_DECISIVE = 1e9  # action precision: only true ties are left to chance
_SOON = 0.5  # what cheese is worth a move later: below 0.618 the nearest way to it is best, however it goes on afterwards
_VAGUE = 0.1  # counts of an average of the maps: few, so that a door that was tried is known


def cheese(n_rooms: int) -> int:
    """The room with the cheese."""
    return n_rooms // 2


@cache
def world_model(n_rooms: int = 6, n_doors: int = 3) -> POMDP:
    """Rooms that are seen, and doors that lead to any other room: everything but the map. An agent begins in any room."""
    anywhere = np.repeat((1.0 - np.eye(n_rooms))[:, :, None] / (n_rooms - 1), n_doors, axis=2)
    names = [f"room {r}" for r in range(n_rooms)]
    return POMDP(
        A=[np.eye(n_rooms)],
        B=[anywhere],
        C=[WORTH * np.eye(n_rooms)[cheese(n_rooms)]],
        labels={
            "factor": ["room"],
            "modality": ["seen"],
            "states": {"room": names},
            "outcomes": {"seen": names},
            "controls": {"room": [f"door {d}" for d in range(n_doors)]},
        },
    )


@cache
def map_space(n_maps: int = 100, n_rooms: int = 6, n_doors: int = 3, seed: int = 0, corridors: int = 2) -> HypothesisSpace:
    """The maps as hypotheses about where doors lead, all as likely."""
    tables = maps(n_maps, n_rooms, n_doors, seed, corridors=corridors)
    return HypothesisSpace({f"map {m}": {"B[room]": transitions(t)} for m, t in enumerate(tables)})


def paradigm(
    scheme: str = DEFAULT_SCHEME,
    true_rule: int | str | None = None,
    *,
    corridors: str | int = "2",
    n_maps: int = 100,
    n_rooms: int = 6,
    n_doors: int = 3,
    map_seed: int = 0,
    moves: int = MOVES,
    lookahead: int = LOOKAHEAD,
) -> Paradigm:
    """The paradigm under one of its `SCHEMES`.

    Args:
        scheme: name of the scheme.
        true_rule: index of the true map; by default ``"random"``, another one per agent.
        corridors, n_maps, n_rooms, n_doors, map_seed: see `maps`.
        moves: of each agent, in one trial.
        lookahead: further moves that the schemes which look ahead look at.

    Raises:
        ValueError: for an unknown scheme, or a number out of range.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme of {NAME} must be one of {list(SCHEMES)}; got {scheme!r}")
    if str(corridors) not in [str(c) for c in range(n_doors + 1)]:
        raise ValueError(f"corridors of {NAME} must lie in 0..{n_doors}; got {corridors!r}")
    size = (n_maps, n_rooms, n_doors, map_seed, int(corridors))
    space, world = map_space(*size), world_model(n_rooms, n_doors)
    if scheme.startswith("novelty"):
        agent = _counting_agent(world, space, scheme == "novelty-informed", lookahead)
    else:
        agent = reasoning_agent(world, space, () if scheme == "random" else ("model",), lookahead * (scheme == "look-ahead"))
    names = ("n_maps", "n_rooms", "n_doors", "map_seed", "corridors")
    return Paradigm(
        NAME,
        scheme,
        agent,
        world,
        moves + 1,
        hypotheses=space,
        truth="random" if true_rule is None else true_rule,
        score={"seen": tuple(np.eye(n_rooms)[cheese(n_rooms)])},
        settings={**dict(zip(names, size, strict=True)), "lookahead": lookahead},
        measures=MEASURES,
    )


def reasoning_agent(world: POMDP, space: HypothesisSpace, gains: tuple[str, ...], lookahead: int) -> Agent:
    """An agent that knows the maps, and wants nothing but ``gains`` until it knows which is true."""
    longest = world.num_states[0] - 2  # further moves in which any room can be reached
    return Agent(
        world,
        space,
        Planner(depth=longest, gains=gains, backup="best", discount=_SOON, alpha=_DECISIVE),
        selection=Selection(curious=True, at_once=True),
        reasoning=Reasoning(lookahead=lookahead),
    )


def _counting_agent(world: POMDP, space: HypothesisSpace, informed: bool, lookahead: int) -> Agent:
    """An agent that knows no maps, and goes where it expects to learn most about single doors."""
    planner = Planner(gains=("param",), alpha=_DECISIVE)
    counts = _VAGUE * space.average("B[room]") if informed else world.B[0]
    model = world.with_(B=[None], C=None, pB=[counts], policies=None, policy_length=1 + lookahead * informed)
    return Agent(model, planner=planner)


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw a result of this paradigm into a folder and return the files written (imports matplotlib)."""
    from activebmr.paradigms.maze.drawing import figures as draw

    return draw(result, folder)
