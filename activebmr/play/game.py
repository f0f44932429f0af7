"""`Game`: one person in the place of an agent, from the first trial to the last."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.play.setting import Setting
from activebmr.simulation.simulate import trial_draws

__all__ = ["Game", "OutOfTurn", "Trial"]


class OutOfTurn(ValueError):
    """Something was done that is not due: a move of another trial or time, or an answer that nobody asked for."""


@dataclass(eq=False)
class Trial:
    """What happened in a trial, as lists over times.

    Attributes:
        outcomes: what was observed, one number per modality.
        states: states of the world, one number per factor; -1 for what is not known.
        controls: what was done after each observation but the last, one number per factor.
        moved_at: when, in seconds since 1970 (UTC).
        seconds: how long it took from the observation to the move, by this machine's clock.
        reaction_seconds: the same by the browser's clock, without the way through the network; None where it said none.
        rewards: what the world gave with each observation, beside what outcomes are worth; 0 in worlds that give none.
    """

    outcomes: list[list[int]] = field(default_factory=list)
    states: list[list[int]] = field(default_factory=list)
    controls: list[list[int]] = field(default_factory=list)
    moved_at: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    reaction_seconds: list[float | None] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)


class Game:
    """A person's game. Its phases follow one another: ``"ready"`` (a trial can begin), ``"move"`` (something is to be done),
    then perhaps ``"ask"`` (which hypothesis is believed?), and ``"over"``.

    Args:
        setting: which game it is.
        agent: number, from 0, of the agent in whose world it is played.
        clock: seconds that never go back, and `now` seconds since 1970; for tests.

    Example:
        >>> from activebmr.play.game import Game
        >>> from activebmr.play.setting import Setting
        >>> from activebmr.paradigms import three_ball
        >>> setting = Setting(three_ball.paradigm(), three_ball.paradigm(), n_trials=1)
        >>> game = Game(setting)
        >>> game.begin()
        >>> game.move(0, 0, setting.moves[0])  # is the trial over?
        False
        >>> game.phase, len(game.trials[0].outcomes)
        ('move', 2)
    """

    def __init__(
        self,
        setting: Setting,
        agent: int = 0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.setting, self.agent = setting, int(agent)
        self._clock, self._now = clock, now
        who = np.array([self.agent])
        self._process = setting.paradigm.world(setting.seed, who)
        self._draws = trial_draws(who, setting.seed, setting.paradigm.trial_length, self._process.n_uniforms)
        self._uniforms: Floats | None = None
        self._shown = 0.0
        self._allowed = {tuple(int(u) for u in move) for move in setting.moves}
        self.phase = "ready"
        self.trials: list[Trial] = []
        self.beliefs: dict[int, int] = {}
        """What was believed after trials (from 0) in which that was asked: a hypothesis, or -1 for "I do not know"."""

    @property
    def finished(self) -> list[Trial]:
        """Trials that were played to their end."""
        return self.trials[:-1] if self.phase == "move" else list(self.trials)

    def begin(self) -> None:
        """Begin the next trial: its first observation.

        Raises:
            OutOfTurn: if a trial is being played, an answer is due or the game is over.
        """
        self._due("ready")
        self._uniforms = next(self._draws)
        states, outcomes = self._process.reset(self._uniforms[:, 0, :-1])
        self.trials.append(Trial())
        self.phase = "move"
        self._see(states, outcomes)

    def move(self, trial: int, time: int, controls: Any, reaction_seconds: float | None = None) -> bool:
        """Do something, and see what comes of it.

        Args:
            trial, time: which trial and time, from 0, the move is meant for: one that was sent twice is made once.
            controls: one number per factor ``(n_factors,)``; 0 for factors that nothing can be done about.
            reaction_seconds: how long the browser says that it took, or None.

        Returns:
            whether the trial is over.

        Raises:
            OutOfTurn: if no such move is due.
            ValueError: if the controls begin no policy.
        """
        self._due("move")
        played = self.trials[-1]
        if (trial, time) != (len(self.trials) - 1, len(played.controls)):
            due = f"trial {len(self.trials)}, time {len(played.controls) + 1}"
            raise OutOfTurn(f"the move due is that of {due}; got one of trial {trial + 1}, time {time + 1}")
        chosen = tuple(int(u) for u in controls)
        if chosen not in self._allowed:
            raise ValueError(f"controls must be one of the moves that can be made; got {list(chosen)}")
        took = self._clock() - self._shown
        played.controls.append(list(chosen))
        played.moved_at.append(round(self._now(), 3))
        played.seconds.append(round(took, 3))
        # a browser cannot have had longer than this machine waited for it
        sane = reaction_seconds is not None and 0 <= reaction_seconds <= took + 0.05
        played.reaction_seconds.append(round(float(reaction_seconds), 3) if sane else None)  # type: ignore[arg-type]
        assert self._uniforms is not None
        self._see(*self._process.step(np.array([chosen]), self._uniforms[:, len(played.controls), :-1]))
        over = bool(np.any(getattr(self._process, "over", False)))  # worlds of Gymnasium may end a trial early
        if over or len(played.outcomes) == self.setting.paradigm.trial_length:
            self._go_on(self._after(len(self.trials)))
        return self.phase != "move"

    def believe(self, hypothesis: int) -> None:
        """Answer which hypothesis is believed; -1 for "I do not know".

        Raises:
            OutOfTurn: if that was not asked.
            ValueError: if there is no such hypothesis.
        """
        self._due("ask")
        count = len(self.setting.sentences_of_hypotheses)
        if not -1 <= hypothesis < count:
            raise ValueError(f"hypothesis must lie in 0..{count - 1}, or be -1 for 'I do not know'; got {hypothesis}")
        self.beliefs[len(self.trials) - 1] = int(hypothesis)
        self._go_on("over" if len(self.trials) == self.setting.n_trials else "ready")

    def leave(self) -> None:
        """End the game early; a trial that is being played is given up."""
        if self.phase == "move":
            self.trials.pop()
        self._go_on("over")

    def sums(self) -> tuple[int, int, float]:
        """Wins, losses and score so far."""
        each = [self.worth(trial) for trial in self.trials]
        return sum(w for w, _, _ in each), sum(x for _, x, _ in each), float(sum(s for _, _, s in each))

    def worth(self, trial: Trial) -> tuple[int, int, float]:
        """Wins, losses and score that a trial has brought so far."""
        each = [self.setting.worth(o, r) for o, r in zip(trial.outcomes, trial.rewards, strict=True)]
        return sum(w for w, _, _ in each), sum(x for _, x, _ in each), float(sum(s for _, _, s in each))

    def recorded(self) -> dict[str, list[Ints] | None]:
        """States, controls and outcomes of the finished trials, as `activebmr.replay` takes them (lists of ``(axis, time)``);
        None for states that the world's model does not know.
        """
        held = {name: [np.array(getattr(t, name)).T for t in self.finished] for name in ("states", "controls", "outcomes")}
        return held | ({} if self.setting.knows_states else {"states": None})

    def _due(self, phase: str) -> None:
        if self.phase != phase:
            words = {"ready": "begin a trial", "move": "make a move", "ask": "say what you believe"}
            raise OutOfTurn(f"it is not the time to {words[phase]}: the game is at {self.phase!r}")

    def _go_on(self, phase: str) -> None:
        self.phase = phase
        if phase == "over":
            getattr(self._process, "close", lambda: None)()  # of Gymnasium's environments

    def _see(self, states: Ints, outcomes: Ints) -> None:
        played = self.trials[-1]
        reward = float(getattr(self._process, "rewards", (0.0,))[0])
        if not np.isfinite(reward):
            self.leave()  # the world has moved on already: the trial cannot be gone on with
            raise ValueError(f"rewards of the world of {self.setting.paradigm.name} must be finite numbers; got {reward}")
        played.states.append([int(s) for s in states[0]])
        played.outcomes.append([int(o) for o in outcomes[0]])
        played.rewards.append(reward)
        self._shown = self._clock()

    def _after(self, played: int) -> str:
        if self.setting.ask and (played % self.setting.ask == 0 or played == self.setting.n_trials):
            return "ask"
        return "over" if played == self.setting.n_trials else "ready"
