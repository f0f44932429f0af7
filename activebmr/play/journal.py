"""`Journal`: what people played, kept as they play, so that nothing that happens to the program damages or loses it.

A folder holds three files. ``sessions.jsonl`` is the truth: a line for everybody who joins and for every trial that was played
to its end, only ever appended to, under a lock that several programs share, and written through to the disk before the game
goes on. A program that is killed leaves at most half a line, which nobody reads; what is lost is the trial that was being
played. ``recordings.npz``, which `activebmr.replay` reads, and ``recordings.csv``, a row for each observation, are made anew
from it after every trial, in one move each.
"""

from __future__ import annotations

import json
import os
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from activebmr.play.game import Trial
from activebmr.play.locks import locked
from activebmr.play.setting import Setting
from activebmr.play.tables import write_csv, write_recording

__all__ = ["Journal", "belief_entry", "trial_entry"]

_SAME = ("paradigm", "num_outcomes", "num_controls", "acting", "trial_length")
"""What sessions in one file must have in common, else one recording could not hold them."""

_HELD = {
    "games": {"paradigm"},
    "join": {"participant", "name", "joined", "scheme", "seed", "agent", "true_model"},
    "trial": {"participant", "trial", "outcomes", "states", "controls", "moved_at", "seconds", "reaction_seconds"},
    "belief": {"participant", "trial", "hypothesis"},
}
"""What a line of each kind holds at least."""


class Journal:
    """Sessions in a folder, of this program and of others, earlier and at the same time.

    Args:
        folder: where the files are, made if need be.
        setting: the game that is played now; sessions of other games of the paradigm may lie in the same folder.

    Raises:
        ValueError: if the folder holds sessions of another paradigm, or a file that is no journal.
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
        self.unreadable = 0
        """Lines that cannot be read: what is left of writing that was cut off."""
        self._read = 0
        self._turn = threading.Lock()  # threads of this program; the other lock is for other programs
        self._counting, self._waiting = threading.Lock(), 0
        self._kept: dict[Any, str] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._turn, locked(self.folder / ".lock"):
            self._catch_up()
            if not self.lines:
                if self.unreadable:
                    raise ValueError(f"{self.path} must be a journal of played sessions; nothing in it can be read")
                self._append({"kind": "games", **_about(setting)})
            self._check()
            self._write_tables()

    def join(self, name: str, agent: int | None = None) -> int:
        """Enter a participant: his number, from 1, which nobody else has, whichever program he plays with.

        Args:
            name: what he calls himself; may be empty.
            agent: number of the agent in whose world he plays; None for that which belongs to his number.
        """
        with self._turn, locked(self.folder / ".lock"):
            self._catch_up()
            number = 1 + max((line["participant"] for line in self.lines if line["kind"] == "join"), default=0)
            world = self.setting.agent_of(number) if agent is None else agent
            truth = self.setting.truth_of(world)
            entry = {"kind": "join", "participant": number, "name": name, "joined": _utc()} | _game(self.setting)
            self._append(entry | {"agent": world, "true_model": truth})
        return number

    def add(self, entries: list[dict[str, Any]]) -> None:
        """Append entries (see `trial_entry` and `belief_entry`) and make the tables anew."""
        self._wait(1)
        waits = True
        try:
            with self._turn, locked(self.folder / ".lock"):
                self._wait(-1)
                waits = False
                self._catch_up()
                self._append(*entries)
                if not self._waiting:  # whoever waits will write them with what is here
                    self._write_tables()
        finally:
            if waits:
                self._wait(-1)

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
        for line in whole.splitlines():
            entry = _entry(line)
            if entry is not None:
                self.lines.append(entry)
            elif line.strip():
                self.unreadable += 1

    def _append(self, *entries: dict[str, Any]) -> None:
        text = "".join(json.dumps(e, ensure_ascii=True, separators=(",", ":"), allow_nan=False) + "\n" for e in entries)
        with self.path.open("ab") as file:
            if file.tell() and not self._ends_with_a_line():
                file.write(b"\n")
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        self._catch_up()

    def _ends_with_a_line(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _check(self) -> None:
        """Refuse a folder in which other things are played."""
        first, own = self.lines[0], _about(self.setting)
        if first["kind"] != "games":
            raise ValueError(f"{self.path} must begin with what is played; its first line does not say it")
        for name in _SAME:
            if first.get(name) != own[name]:
                raise ValueError(
                    f"{self.folder} must hold sessions of the same paradigm; {name} is {first.get(name)!r} there and "
                    f"{own[name]!r} now: choose another folder"
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


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    kind = entry.get("kind") if isinstance(entry, dict) else None
    return entry if isinstance(kind, str) and kind in _HELD and _HELD[kind] <= set(entry) else None


def _about(setting: Setting) -> dict[str, Any]:
    from activebmr.version import __version__

    model = setting.model
    return {
        "paradigm": setting.paradigm.name,
        "num_outcomes": list(model.num_outcomes),
        "num_controls": list(model.num_controls),
        "acting": setting.acting,
        "trial_length": setting.paradigm.trial_length,
        "version": __version__,
    }


def _game(setting: Setting) -> dict[str, Any]:
    """What may differ between sessions of one paradigm."""
    plain = {k: v if isinstance(v, (bool, int, type(None))) else str(v) for k, v in setting.paradigm.settings.items()}
    return {"scheme": setting.paradigm.scheme, "seed": setting.seed, "trials": setting.n_trials, "settings": plain}


def _utc() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
