"""`Journal`: what people played, kept as they play, so that nothing that happens to the program damages or loses it.

A folder holds three files. ``sessions.jsonl`` is the truth: a line for everybody who joins and for every trial that was played
to its end, only ever appended to (what could not be written to its end is taken back), under a lock that several programs
share, and written through to the disk before the game goes on. A program that is killed leaves at most half a line, which
nobody reads; what is lost is the trial that was being played. ``recordings.npz``, which `activebmr.replay` reads, and
``recordings.csv``, a row for each observation, are made anew from it after every trial, in one move each.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from activebmr.checks import is_whole
from activebmr.play.entries import checked_entry, parsed
from activebmr.play.game import Trial
from activebmr.play.locks import locked
from activebmr.play.setting import Setting
from activebmr.play.tables import write_csv, write_recording

__all__ = ["Journal", "belief_entry", "trial_entry"]

_SAME = ("paradigm", "options", "num_outcomes", "num_controls", "acting", "trial_length", "labels", "score", "hypotheses")
"""What sessions in one file must have in common, else one recording and one table could not hold them."""


class _Damaged(Exception):
    """A line cannot be read: why."""


class Journal:
    """Sessions in a folder, of this program and of others, earlier and at the same time.

    Args:
        folder: where the files are, made if need be.
        setting: the game that is played now; sessions of other games of the paradigm may lie in the same folder.

    Raises:
        ValueError: if the folder holds sessions of another paradigm, or of the same one with other options, names, hypotheses
            or worths (naming the first thing that differs), or a file that is no journal (naming the line).
        OSError: if nothing can be written there.

    Example:
        >>> import tempfile
        >>> from activebmr.play.setting import Setting
        >>> from activebmr.paradigms import three_ball
        >>> setting = Setting(three_ball.paradigm(), three_ball.paradigm(), n_trials=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     journal = Journal(folder, setting)
        ...     journal.join("Ada"), journal.join("Bo")
        (1, 2)
    """

    def __init__(self, folder: str | os.PathLike[str], setting: Setting) -> None:
        self.folder, self.setting = Path(folder), setting
        self.path = self.folder / "sessions.jsonl"
        self.recording, self.csv = self.folder / "recordings.npz", self.folder / "recordings.csv"
        self.lines: list[dict[str, Any]] = []
        """Everything in the file that can be read, in order."""
        self.damaged: dict[int, str] = {}
        """Lines, counted from 1, that are left out, and why: most are what is left of writing that was cut off."""
        self.problem: str | None = None
        """Why the tables could not be made, or lack a line, when somebody played last; the other file has everything."""
        self._read = self._counted = self._highest = 0
        self._joined: set[int] = set()
        self._turn = threading.Lock()  # threads of this program; the other lock is for other programs
        self._counting, self._waiting = threading.Lock(), 0
        self._kept: dict[Any, str] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._turn, locked(self.folder / ".lock"):
            self._catch_up()
            if not self.lines:
                if self.damaged:
                    line, why = next(iter(self.damaged.items()))
                    raise ValueError(
                        f"{self.path} must be a journal of played sessions; nothing in it can be read (line {line}: {why})"
                    )
                self._append({"kind": "games", **_about(setting)})
                self._catch_up()
            self._write_tables()

    def join(self, name: str, agent: int | None = None) -> int:
        """Enter a participant: his number, from 1, which nobody else has, whichever program he plays with.

        Args:
            name: what he calls himself; may be empty.
            agent: number of the agent in whose world he plays; None for that which belongs to his number.
        """
        with self._turn, locked(self.folder / ".lock"):
            self._catch_up()
            number = 1 + self._highest
            world = self.setting.agent_of(number) if agent is None else agent
            truth = self.setting.truth_of(world)
            entry = {"kind": "join", "participant": number, "name": name, "joined": _utc()} | _game(self.setting)
            self._append(entry | {"agent": world, "true_model": truth})
            self._catch_up()
        return number

    def add(self, entries: list[dict[str, Any]]) -> None:
        """Append entries (see `trial_entry` and `belief_entry`) and make the tables anew.

        If only the tables cannot be made, `problem` says so: the entries are safe, and must not be added again.

        Raises:
            OSError: if the entries could not be written. Nothing of them is kept then, and they can be added again.
        """
        self._wait(1)
        waits = True
        try:
            with self._turn, locked(self.folder / ".lock"):
                self._wait(-1)
                waits = False
                self._catch_up()
                self._append(*entries)
                if not self._waiting:  # whoever waits will write them with what is here
                    self._try_tables()
        finally:
            if waits:
                self._wait(-1)

    def finish(self) -> str | None:
        """Make the tables once more if they could not be made; `problem`."""
        with self._turn:
            if self.problem is not None:
                with suppress(OSError), locked(self.folder / ".lock"):
                    self._try_tables()
        return self.problem

    def _try_tables(self) -> None:
        known = len(self.damaged)
        try:
            self._catch_up()
            self._write_tables()
        except (OSError, ValueError) as error:
            names = f"{self.recording.name} and {self.csv.name}"
            self.problem = (
                f"{names} in {self.folder} could not be written ({error}); what was played is safe in {self.path.name}"
            )
        else:
            new = list(self.damaged.items())[known:]
            self.problem = f"{self.path}, line {new[0][0]}, is left out: {new[0][1]}" if new else None

    def _wait(self, more: int) -> None:
        with self._counting:
            self._waiting += more

    # --- the file --------------------------------------------------------------------------------------------------------
    def _catch_up(self) -> None:
        """Read what has been written since."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]  # the rest is half a line, which whoever writes next brings to its end
        self._read += len(whole)
        for line in whole.split(b"\n")[:-1]:
            self._counted += 1
            if not line.strip():
                continue
            try:
                self._take(line)
            except _Damaged as damage:
                self.damaged[self._counted] = str(damage)

    def _take(self, line: bytes) -> None:
        try:
            entry = parsed(line)
        except ValueError as error:
            raise _Damaged(str(error)) from None
        if not self.lines:
            self._check(entry)
        number = entry.get("participant")
        if is_whole(number) and 0 < number < 2**31:  # type: ignore[operator]
            self._highest = max(self._highest, number)  # type: ignore[type-var]  # also if the rest is damaged: nobody gets it again
        try:
            self.lines.append(checked_entry(entry, self.setting, self._joined))
        except ValueError as error:
            raise _Damaged(str(error)) from None
        if entry["kind"] == "join":
            self._joined.add(entry["participant"])

    def _append(self, *entries: dict[str, Any]) -> None:
        text = "".join(json.dumps(e, ensure_ascii=True, separators=(",", ":"), allow_nan=False) + "\n" for e in entries)
        with self.path.open("ab", buffering=0) as file:
            size, rest = file.tell(), text.encode()
            if size and not self._ends_with_a_line():
                rest = b"\n" + rest
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:  # all or nothing: whoever tries again must not write a trial twice
                with suppress(OSError):
                    file.truncate(size)
                raise

    def _ends_with_a_line(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _check(self, first: dict[str, Any]) -> None:
        """Refuse a folder in which other things are played."""
        own = json.loads(json.dumps(_about(self.setting)))  # as it comes back from a file
        if first["kind"] != "games":
            raise ValueError(f"{self.path} must begin with what is played; line {self._counted} does not say it")
        for name in _SAME:
            if name not in first:
                raise ValueError(f"{self.path}, line {self._counted}, must say {name}, but lacks it: choose another folder")
            if first[name] != own[name]:
                where, there, now = _difference(name, first[name], own[name])
                raise ValueError(
                    f"{self.folder} must hold sessions of the same paradigm; {where} is {there!r:.120} there and {now!r:.120} "
                    "now: choose another folder"
                )

    def _write_tables(self) -> None:
        write_recording(self.recording, self.lines, self.setting)
        write_csv(self.csv, self.lines, self.setting, self._kept)


def trial_entry(participant: int, trial: int, played: Trial) -> dict[str, Any]:
    """A line for a trial (from 0) that is over."""
    return {"kind": "trial", "participant": participant, "trial": trial, **vars(played)}


def belief_entry(participant: int, trial: int, hypothesis: int) -> dict[str, Any]:
    """A line for what was believed after a trial (from 0): a hypothesis, or -1 for "I do not know"."""
    return {"kind": "belief", "participant": participant, "trial": trial, "hypothesis": hypothesis, "said": _utc()}


def _difference(name: str, there: Any, now: Any) -> tuple[str, Any, Any]:
    """Where two descriptions differ first, and what stands there."""
    if isinstance(there, dict) and isinstance(now, dict) and there.keys() == now.keys():
        key = next(k for k in there if there[k] != now[k])
        return _difference(f"{name}[{key}]", there[key], now[key])
    if isinstance(there, list) and isinstance(now, list) and len(there) == len(now):
        at = next(i for i, (x, y) in enumerate(zip(there, now, strict=True)) if x != y)
        return _difference(f"{name}[{at}]", there[at], now[at])
    return name, there, now


def _about(setting: Setting) -> dict[str, Any]:
    """What all sessions in a folder have in common, for its first line."""
    from activebmr.version import __version__

    model = setting.model
    return {
        "paradigm": setting.paradigm.name,
        "num_outcomes": list(model.num_outcomes),
        "num_controls": list(model.num_controls),
        "acting": setting.acting,
        "trial_length": setting.paradigm.trial_length,
        "options": setting.options,
        "labels": setting.labels,
        "score": {str(m): [float(v) for v in worth] for m, worth in setting.paradigm.score.items()},
        "hypotheses": setting.sentences_of_hypotheses,
        "version": __version__,
    }


def _game(setting: Setting) -> dict[str, Any]:
    """What may differ between sessions of one paradigm."""
    plain = {k: v if isinstance(v, (bool, int, type(None))) else str(v) for k, v in setting.paradigm.settings.items()}
    return {"scheme": setting.paradigm.scheme, "seed": setting.seed, "trials": setting.n_trials, "settings": plain}


def _utc() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
