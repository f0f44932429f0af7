"""`Room`: everybody who plays with this program, their keys and their games; every trial is kept as soon as it is over."""

from __future__ import annotations

import secrets
import threading
import unicodedata
from collections.abc import Callable
from typing import Any

from activebmr.play.debrief import debrief
from activebmr.play.game import Game, OutOfTurn
from activebmr.play.journal import Journal, belief_entry, trial_entry
from activebmr.play.setting import Setting

__all__ = ["NAME_LENGTH", "Full", "Participant", "Room", "Stranger"]

NAME_LENGTH = 40
"""Characters of a participant's name that are kept."""


class Full(ValueError):
    """No more participants are let in."""


class Stranger(ValueError):
    """The key is nobody's."""


class Participant:
    """Somebody who plays. Only one request at a time deals with his game."""

    def __init__(self, number: int, name: str, game: Game) -> None:
        self.number, self.name, self.game = number, name, game
        self.turn = threading.Lock()
        self.unsaved: list[dict[str, Any]] = []
        """What could not be written to the journal yet."""
        self.told: dict[str, Any] | None = None


class Room:
    """Participants of one setting, by the secret key that each got when he joined.

    Args:
        setting: the game that is played.
        journal: where it is kept.
        most: participants that this program lets in, >= 1.
        say: what is told a sentence about everything of note: who joins, who has finished, what could not be saved.

    Example:
        >>> import tempfile
        >>> from activebmr.paradigms import three_ball
        >>> setting = Setting(three_ball.paradigm(), three_ball.paradigm(), n_trials=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     room = Room(setting, Journal(folder, setting), most=30)
        ...     key, number = room.join("Ada")
        ...     room.begin(key)["phase"]
        'move'
    """

    def __init__(
        self, setting: Setting, journal: Journal, most: int = 40, say: Callable[[str], None] = lambda sentence: None
    ) -> None:
        self.setting, self.journal, self.most, self._say = setting, journal, most, say
        self._people: dict[str, Participant] = {}
        self.teacher = secrets.token_urlsafe(18)
        """Key of whoever may see how everybody is doing."""
        self._door, self._thinking = threading.Lock(), threading.Lock()
        self._problem: str | None = None  # with the tables, that was told last

    def __len__(self) -> int:
        return len(self._people)

    def join(self, name: str = "") -> tuple[str, int]:
        """Let somebody in: his secret key, and his number, from 1.

        Raises:
            Full: if there are as many participants as may be.
            OSError: if it cannot be kept.
        """
        with self._door:
            if len(self._people) >= self.most:
                raise Full(f"there are {self.most} participants already, and no more are let in")
            name = clean_name(name)
            number = self.journal.join(name)
            key = secrets.token_urlsafe(18)
            self._people[key] = Participant(number, name, Game(self.setting, self.setting.agent_of(number)))
        self._say(f"{self._called(self._people[key])} joined")
        return key, number

    def state(self, key: str) -> dict[str, Any]:
        """How somebody's game stands, as plain data.

        ``participant``, ``name``, ``phase``, ``trial`` (being played or just over, from 0; -1 before the first), ``played``
        (trials that are over), ``wins``, ``losses``, ``score``, ``moments`` of that trial (``outcomes``, and ``controls`` done
        after them or None), ``each`` (score of each trial that is over), and ``unsaved``: whether something could not be
        written to the disk. States of the world are never told.
        """
        with self._of(key).turn:
            return self._state(self._of(key))

    def begin(self, key: str) -> dict[str, Any]:
        """Begin the next trial."""
        person = self._of(key)
        with person.turn:
            person.game.begin()
            return self._state(person)

    def move(self, key: str, trial: int, time: int, controls: Any, seconds: float | None = None) -> dict[str, Any]:
        """Make a move, see `Game.move`; what was played is kept when the trial is over."""
        person = self._of(key)
        with person.turn:
            if person.game.move(trial, time, controls, seconds):
                self._keep(person, trial_entry(person.number, trial, person.game.trials[trial]))
                self._mention_end(person)
            return self._state(person)

    def believe(self, key: str, trial: int, hypothesis: int) -> dict[str, Any]:
        """Answer, after a trial, which hypothesis is believed; see `Game.believe`."""
        person = self._of(key)
        with person.turn:
            if trial != len(person.game.trials) - 1:
                raise OutOfTurn(f"the answer due is that after trial {len(person.game.trials)}; got one after {trial + 1}")
            person.game.believe(hypothesis)
            self._keep(person, belief_entry(person.number, trial, hypothesis))
            self._mention_end(person)
            return self._state(person)

    def leave(self, key: str) -> dict[str, Any]:
        """End the game early."""
        person = self._of(key)
        with person.turn:
            if person.game.phase != "over":
                person.game.leave()
                self._mention_end(person)
            return self._state(person)

    def debrief(self, key: str) -> dict[str, Any] | None:
        """What the observer and the agent made of it, see `debrief`; worked out once, for one participant at a time: None while
        it is being worked out for somebody else, who was there first.

        Raises:
            OutOfTurn: if the game is not over.
        """
        person = self._of(key)
        if person.game.phase != "over":
            raise OutOfTurn("what others would have thought is told when the game is over")
        if person.told is None and self._thinking.acquire(blocking=False):
            try:
                person.told = debrief(person.game)
            finally:
                self._thinking.release()
        return person.told

    def overview(self, key: str) -> list[dict[str, Any]]:
        """How everybody is doing: ``participant``, ``name``, ``phase``, ``played``, ``score`` and ``thought``, whether the game
        is over and was thought about; then also ``said``, ``enough`` and ``agent``: the trials after which the participant
        named the right hypothesis for good, the observer was sure, and the agent was (None: not).

        Raises:
            Stranger: if the key is not that of the teacher.
        """
        if not secrets.compare_digest(key.encode(), self.teacher.encode()):
            raise Stranger("the key is not that of whoever runs this game")
        out = []
        for person in list(self._people.values()):
            game, told = person.game, person.told
            one = {"participant": person.number, "name": person.name, "phase": game.phase, "played": len(game.finished)}
            one |= {"score": game.sums()[2], "thought": told is not None}
            if told is not None:
                one |= {"said": told["you"]["sure"], "agent": told["agent"]["sure"]}
                one["enough"] = told["observer"] and told["observer"]["sure"]
            out.append(one)
        return out

    def save_rest(self) -> int:
        """Write what could not be written before; how many entries still cannot."""
        for person in self._people.values():
            with person.turn:
                self._write(person)
        return sum(len(person.unsaved) for person in self._people.values())

    # --- within ----------------------------------------------------------------------------------------------------------
    def _of(self, key: str) -> Participant:
        person = self._people.get(key)
        if person is None:
            raise Stranger("the key is not that of a participant: join first")
        return person

    def _state(self, person: Participant) -> dict[str, Any]:
        game = person.game
        wins, losses, score = game.sums()
        moments: list[dict[str, Any]] = []
        if game.trials:
            last = game.trials[-1]
            done = [*last.controls, *[None] * (len(last.outcomes) - len(last.controls))]
            moments = [{"outcomes": o, "controls": u} for o, u in zip(last.outcomes, done, strict=True)]
        return {
            "participant": person.number,
            "name": person.name,
            "phase": game.phase,
            "trial": len(game.trials) - 1,
            "played": len(game.finished),
            "wins": wins,
            "losses": losses,
            "score": score,
            "each": [game.worth(t)[2] for t in game.finished],
            "moments": moments,
            "unsaved": bool(person.unsaved),
        }

    def _keep(self, person: Participant, entry: dict[str, Any]) -> None:
        """Write what is new, and what could not be written before; a full disk does not end the game."""
        person.unsaved.append(entry)
        self._write(person)

    def _write(self, person: Participant) -> None:
        if not person.unsaved:
            return
        try:
            self.journal.add(person.unsaved)
        except OSError as error:
            self._say(f"{self._called(person)}: trial {person.unsaved[-1]['trial'] + 1} could not be saved: {error}")
            return
        person.unsaved = []
        if self.journal.problem != self._problem and self.journal.problem is not None:
            self._say(f"warning: {self.journal.problem}")
        self._problem = self.journal.problem

    def _mention_end(self, person: Participant) -> None:
        if person.game.phase == "over":
            wins, losses, score = person.game.sums()
            won = f", score {score:g} ({wins} won, {losses} lost)" if self.setting.scored else ""
            self._say(f"{self._called(person)} has finished: {len(person.game.finished)} trials{won}")

    def _called(self, person: Participant) -> str:
        return f"participant {person.number}" + (f" ({person.name})" if person.name else "")


def clean_name(name: Any) -> str:
    """A name in one line: what cannot be printed (also what turns the writing around) becomes a space, and it is cut.

    Raises:
        TypeError: if it is no string.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be text; got {name!r}")
    kept = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in name)
    return " ".join(kept.split())[:NAME_LENGTH].strip()
