"""What a way of believing must do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.knowledge import Knowledge, Memory, Percept

__all__ = ["Believing", "Moving", "recalled"]


class Believing(Protocol):
    """A way of believing. Beliefs are its own affair: agents hand them back as they were given, and never change them.

    Attributes:
        at_once: whether counts may be learned within a trial, from what is believed at the moment; otherwise agents learn when
            the trial is over, whatever their `Learning` says.
        in_hindsight: whether counts are always learned from beliefs given the whole trial, whatever `Learning` says.

    Ways that let agents learn transitions also have ``moves``, see `Moving`; those in which policies of several steps become
    habits have ``habits``: what a belief adds to their counts ``(n_agents, n_policies)``, or None. Agents of others are refused
    when they are built.
    """

    at_once: bool
    in_hindsight: bool

    def begin(self, knowledge: Knowledge) -> Any:
        """Beliefs before the first outcome of a trial."""
        ...

    def perceive(self, belief: Any, knowledge: Knowledge, controls: Ints | None, outcomes: Sequence[np.ndarray]) -> Percept:
        """Predict what was done to the world (``controls``, None at the first time), and take in what was seen."""
        ...

    def marginals(self, belief: Any) -> Sequence[Floats]:
        """Probabilities of every factor's states ``(n_agents, S_f)``."""
        ...

    def places(self, belief: Any, modality: int) -> tuple[Ints, Ints, Floats]:
        """Where in a modality's table the world may have been: entries (agent, column, probability), agents ascending, no
        column of an agent twice.
        """
        ...

    def hindsight(self, memory: Memory, knowledge: Knowledge) -> Sequence[Any]:
        """Beliefs about every time of a trial that is over, given all of it as far as this way of believing can."""
        ...

    def recall(self, memory: Memory, knowledge: Knowledge) -> Sequence[Any]:
        """Beliefs about every time of a trial that is lived again: what was done and seen then is known, nothing is chosen."""
        ...


class Moving(Protocol):
    """What a way of believing must do, beside `Believing`, for transitions to be learned, and for initial states to be believed
    as they have been learned.
    """

    def moves(self, belief: Any, factor: int, controls: Ints) -> tuple[Ints, Ints, Floats]:
        """How a factor may have come to its state of now, from a belief and the controls ``(n_agents, n_factors)`` that led to
        it: entries (agent, column of the factor's transitions, probability of the column with each next state ``(S_f,)``),
        agents ascending, no column of an agent twice. Columns are numbered by parents' states, then the control, the last
        fastest.
        """
        ...


def recalled(way: Believing, memory: Memory, knowledge: Knowledge) -> list[Any]:
    """`Believing.recall` by perceiving one time after the other."""
    belief, out = way.begin(knowledge), []
    for moment in memory.moments:
        belief = way.perceive(belief, knowledge, moment.controls, moment.outcomes).belief
        out.append(belief)
    return out
