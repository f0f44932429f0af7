"""The world of the T-maze: where the animal may go, what it sees there, and the structures that it may be in.

A session is a number of moves. From the centre the animal goes to the cue, or into the left or the right arm; from the cue into
an arm, or back to the centre; from an arm it is carried back to the centre, whatever it wants, and on that way the context may
be drawn anew. In the arm that the context says there is a reward, nearly always; in the other one a punishment.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr import POMDP, HypothesisSpace, checks

__all__ = [
    "CONTEXTS",
    "CUE",
    "MOVES",
    "NEXT",
    "PLACES",
    "REWARD",
    "STRUCTURES",
    "WORTH",
    "Structure",
    "hypotheses",
    "known_model",
    "learning_model",
    "own_tables",
    "world_model",
]

PLACES = ("centre", "cue", "left arm", "right arm")
CUE = 1
CONTEXTS = ("left", "right")
MOVES = 8
"""Moves of a session: four visits to an arm, or three if the cue is looked at before each of them."""
REWARD = 0.98
"""Probability of a reward in the arm that the context says, and of a punishment in the other one; agents know it."""
WORTH = (0.0, 2.0, -1.0)
"""What nothing, reward and punishment are worth: score, and log preferences in nats. Arms are worth a visit even by chance."""
RELIABILITIES = (0.95, 0.75, 0.5)
STARTS = {"even": 0.5, "left": 0.9, "right": 0.1}
"""Probability that a session begins in the context left."""

NEXT = ((1, 2, 3), (0, 2, 3), (0, 0, 0), (0, 0, 0))
"""Where each control leads, by the place that is left."""
_ARMS = (2, 3)


@dataclass(frozen=True)
class Structure:
    """What may be true of a T-maze.

    Attributes:
        means: the context in which the cue's light is up, ``"left"`` or ``"right"``.
        reliability: probability that the cue says so, in [.5, 1]; at .5 it is useless and means nothing.
        stays: whether the context is the same for all of a session, or drawn anew (1/2 each) after every visit to an arm.
        start: where sessions begin: one of `STARTS`.
    """

    means: str
    reliability: float
    stays: bool
    start: str

    @property
    def name(self) -> str:
        """Such as ``"up=left .95, stays, even"``."""
        return (
            f"up={self.means} {self.reliability:.2f}".replace("0.", ".")
            + f", {'stays' if self.stays else 'redrawn'}, {self.start}"
        )

    @property
    def sentence(self) -> str:
        """All of it in words."""
        cue = "tells nothing" if self.useless else f"means {self.means} with probability {self.reliability:g}"
        stays = "stays for a session" if self.stays else "is drawn anew after every visit"
        start = "either side as often" if self.start == "even" else f"the {self.start} side in 9 of 10"
        return f"light up {cue}; the context {stays}; sessions begin with {start}"

    @property
    def useless(self) -> bool:
        """Whether the cue tells nothing."""
        return self.reliability == 0.5

    def up(self) -> NDArray[np.float64]:
        """Probability that the light is up, by context ``(2,)``."""
        says = self.reliability if self.means == "left" else 1.0 - self.reliability
        return np.array([says, 1.0 - says])

    def cue(self) -> NDArray[np.float64]:
        """Likelihood of the cue's light (dark, up, down) ``(3, contexts, places)``; it is seen at the cue alone."""
        out = np.zeros((3, 2, len(PLACES)))
        out[0] = 1.0
        out[:, :, CUE] = np.stack([np.zeros(2), self.up(), 1.0 - self.up()])
        return out

    def motion(self) -> NDArray[np.float64]:
        """Transitions of the context ``(contexts, contexts, places, 1)``, by the place that is left."""
        out = np.repeat(np.eye(2)[:, :, None, None], len(PLACES), axis=2)
        if not self.stays:
            out[:, :, _ARMS] = 0.5
        return out

    def first(self) -> NDArray[np.float64]:
        """Probabilities of the contexts that sessions begin in ``(2,)``."""
        return np.array([STARTS[self.start], 1.0 - STARTS[self.start]])

    def tables(self) -> dict[str, NDArray[np.float64]]:
        """What a hypothesis says of the model."""
        return {"A[cue]": self.cue(), "B[context]": self.motion(), "D[context]": self.first()}


STRUCTURES: tuple[Structure, ...] = tuple(
    Structure(*parts) for parts in product(CONTEXTS, RELIABILITIES, (True, False), STARTS)
)
"""All structures, in the order of `hypotheses`: 36, of which 30 differ, as what a useless cue means is nothing."""


@cache
def hypotheses(counts: float | None = None) -> HypothesisSpace:
    """The structures as hypotheses about the likelihood of the cue's light and the transitions and start of the context.

    Structures that agree everywhere are one, and all that differ are equally probable.

    Args:
        counts: observations that what a hypothesis says of a column is worth, > 0, which it then goes on learning from; None if
            it knows all for certain.
    """
    share = [0.5 if s.useless else 1.0 for s in STRUCTURES]
    said = {s.name: s.tables() for s in STRUCTURES}
    if counts is not None:
        checks.number(counts, "counts", checks.POSITIVE)
        said = {name: {f"p{key}": counts * table for key, table in tables.items()} for name, tables in said.items()}
    return HypothesisSpace(said, share, [s.sentence for s in STRUCTURES])


@cache
def world_model(reward: float = REWARD) -> POMDP:
    """Everything but the structure: in its place stands the average of all.

    Args:
        reward: probability of a reward in the right arm, in (.5, 1].
    """
    checks.number(reward, "reward", checks.Rule("lie in (0.5, 1]", lambda x: 0.5 < x <= 1))
    place = np.zeros((len(PLACES), len(PLACES), 3))
    for here, control in np.ndindex(len(PLACES), 3):
        place[NEXT[here][control], here, control] = 1.0
    worth = np.zeros((3, 2, len(PLACES)))
    worth[0, :, :2] = 1.0
    for context, arm in np.ndindex(2, 2):
        right = reward if context == arm else 1.0 - reward
        worth[1:, context, _ARMS[arm]] = right, 1.0 - right
    believed = hypotheses()
    return POMDP(
        A=[np.eye(len(PLACES)), believed.average("A[cue]"), worth],
        B=[believed.average("B[context]"), place],
        C=[None, None, WORTH],
        D=[believed.average("D[context]"), np.eye(len(PLACES))[0]],
        A_dependencies=[[1], [0, 1], [0, 1]],
        B_dependencies=[[0, 1], [1]],
        labels={
            "factor": ["context", "place"],
            "modality": ["place", "cue", "reward"],
            "states": {"context": list(CONTEXTS), "place": list(PLACES)},
            "outcomes": {
                "place": list(PLACES),
                "cue": ["dark", "up", "down"],
                "reward": ["nothing", "reward", "punishment"],
            },
            "controls": {"place": ["to the cue, or back", "left", "right"]},
        },
    )


@cache
def learning_model(counts: float, reward: float = REWARD) -> POMDP:
    """The same with so many counts a column wherever hypotheses that learn speak."""
    model = world_model(reward)
    return model.with_(pA=[None, counts * model.A[1], None], pB=[counts * model.B[0], None], pD=[counts * model.D[0], None])


def known_model(structure: Structure, reward: float = REWARD) -> POMDP:
    """The model of an agent that knows the structure."""
    model, told = world_model(reward), structure.tables()
    A, B, D = ([*x] for x in (model.A, model.B, model.D))
    A[1], B[0], D[0] = told["A[cue]"], told["B[context]"], told["D[context]"]
    return model.with_(A=A, B=B, D=D)


def own_tables(truths: Any) -> dict[str, NDArray[np.float64]]:
    """Tables of agents who know the structure of their world, by index ``(n_agents,)``, as ``own`` of `Agent` takes them."""
    each = [STRUCTURES[int(t)].tables() for t in truths]
    return {key: np.stack([tables[key] for tables in each]) for key in each[0]}
