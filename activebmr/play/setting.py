"""`Setting`: which game is played: the paradigm, against whom, for how long, and what a person may do in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from activebmr import checks
from activebmr.arrays import Ints
from activebmr.model.by_axis import names_by_axis
from activebmr.model.pomdp import POMDP
from activebmr.simulation.paradigm import Paradigm

__all__ = ["MAX_SEED", "MOST_TRIALS", "Setting"]

MOST_TRIALS = 1000
"""Trials that one person can be asked to play."""

MAX_SEED = 2**63 - 1
"""Largest seed: recordings keep it as a whole number of 64 bits."""


@dataclass(frozen=True, repr=False)
class Setting:
    """A game that people play, each in the world of one simulated agent.

    Participant k acts in the world that agent k of `activebmr.simulate` has with this seed: the same states, the same chance
    and the same true hypothesis, so that the two can be set side by side.

    Attributes:
        paradigm: the paradigm under the scheme of the agent to play against.
        observer: the same paradigm under the scheme of the observer, who afterwards sees what the person saw.
        n_trials: trials of a game, 1..`MOST_TRIALS`.
        seed: seed of all worlds, 0..`MAX_SEED`.
        ask: after every how many trials a person is asked which hypothesis he believes; 0 for never.
        description: what the game is about, in a sentence.
        sentences: what the two schemes are, by name.
        same_world: whether everybody plays in the world of agent 0, instead of one of his own.
        options: the paradigm's own options in force, by name; all who play into one folder must have the same.

    Raises:
        ValueError, TypeError: if a number is out of range, if the two schemes do not belong to one paradigm, if nothing can be
            done in it, or if beliefs are to be asked for where there are no hypotheses.

    Example:
        >>> from activebmr.play.setting import Setting
        >>> from activebmr.paradigms import three_ball
        >>> setting = Setting(three_ball.paradigm("paper"), three_ball.paradigm("reasoning"), n_trials=12, ask=3)
        >>> setting.moves.shape  # combinations of controls with which some policy begins, and factors
        (16, 5)
    """

    paradigm: Paradigm
    observer: Paradigm
    n_trials: int = 16
    seed: int = 0
    ask: int = 0
    description: str = ""
    sentences: dict[str, str] = field(default_factory=dict)
    same_world: bool = False
    options: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("paradigm", "observer"):
            if not isinstance(getattr(self, name), Paradigm):
                raise TypeError(f"{name} of Setting must be a Paradigm; got {getattr(self, name)!r}")
        one, other = self.paradigm, self.observer
        sizes = [(p.name, p.truth, p.trial_length, p.model.num_outcomes, p.model.num_controls) for p in (one, other)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"observer of Setting must be of the same paradigm, with the same truth; got {other!r} and {one!r}"
            )
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 (the dataclass is frozen)
        for name, least, most in (("n_trials", 1, MOST_TRIALS), ("seed", 0, MAX_SEED), ("ask", 0, None)):
            put(name, checks.whole_number(getattr(self, name), f"{name} of Setting", least, most))
        if self.paradigm.trial_length < 2 or not self.acting:
            raise ValueError(
                f"paradigm of Setting must let its agents do something; in {one.name} nothing can be done (trials of "
                f"{one.trial_length} observations, {len(self.acting)} controlled factors)"
            )
        if self.ask and one.hypotheses is None:
            raise ValueError(f"ask of Setting must be 0 for {one.name}, which has no hypotheses to believe in; got {self.ask}")

    def __repr__(self) -> str:
        against, observer = self.paradigm.scheme, self.observer.scheme
        return f"Setting({self.paradigm.name!r}, {self.n_trials} trials, against {against!r}, observed by {observer!r})"

    @property
    def model(self) -> POMDP:
        """The world's model, which has the names of all that is seen and done."""
        return self.paradigm.model

    @property
    def acting(self) -> list[int]:
        """Factors that something can be done about."""
        return [int(f) for f in self.model.controlled_factors]

    @property
    def knows_states(self) -> bool:
        """Whether states of the world are states of the model; those of worlds that are models of their own are not."""
        space = self.paradigm.hypotheses
        return space is None or not space.models

    @cached_property
    def moves(self) -> Ints:
        """All that can be done at any time ``(n_moves, n_factors)``: combinations of controls that begin some policy."""
        policies: Any = self.paradigm.agent.model.policies
        return np.unique(policies[:, 0, :], axis=0)

    @cached_property
    def sentences_of_hypotheses(self) -> list[str]:
        """What each hypothesis says, in a sentence; empty where there are none."""
        space = self.paradigm.hypotheses
        return [] if space is None else [str(s) for s in space.descriptions]

    @cached_property
    def classes(self) -> list[int]:
        """Hypotheses with the same number agree everywhere."""
        space = self.paradigm.hypotheses
        return [] if space is None else [int(c) for c in space.distinct()[1]]

    def agent_of(self, participant: int) -> int:
        """The agent, counted from 0, in whose world a participant, counted from 1, plays."""
        return 0 if self.same_world else participant - 1

    def truth_of(self, agent: int) -> int | None:
        """The true hypothesis of an agent's world; None where there are none."""
        truths = self.paradigm.truths(self.seed, np.array([agent]))
        return None if truths is None else int(truths[0])

    @property
    def rewarding(self) -> bool:
        """Whether the world gives rewards beside what outcomes are worth, as those of Gymnasium do."""
        return bool(getattr(self.paradigm.worlds, "rewarding", False))

    @property
    def scored(self) -> bool:
        """Whether anything in the game is worth something."""
        return bool(self.paradigm.score) or self.rewarding

    def worth(self, outcomes: Sequence[int], reward: float = 0.0) -> tuple[int, int, float]:
        """Wins, losses and score that an observation (outcome per modality, -1 for none) and the reward with it bring."""
        values = [float(np.asarray(worth)[outcomes[m]]) for m, worth in self.paradigm.score.items() if outcomes[m] >= 0]
        values.append(float(reward))
        return sum(v > 0 for v in values), sum(v < 0 for v in values), sum(values)

    @cached_property
    def labels(self) -> dict[str, Any]:
        """Names as a scene takes them: ``factor`` and ``modality``, and per factor or modality ``state``, ``outcome`` and
        ``control``.
        """
        return names_by_axis(self.model)
