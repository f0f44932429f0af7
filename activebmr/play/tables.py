"""Played sessions as tables: the recording that `activebmr.replay` reads, and a CSV file for everything else."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from activebmr.files import in_one_move, plain_cell, write_npz
from activebmr.play.setting import Setting

__all__ = ["write_csv", "write_recording"]


def write_recording(path: Path, lines: Iterable[dict[str, Any]], setting: Setting) -> None:
    """Write a journal's trials as one recording; nothing is written while there are none.

    It holds what `activebmr.load_recording` reads, with an axis for participants before all others: ``outcomes``, ``controls``
    and, if the model knows them, ``states`` ``(participant, trial, ..., time)``, counted from 0, -1 for what did not take
    place. Beside that, by participant: ``participant`` (his number, from 1), ``name``, ``seed`` and ``agent`` (whose world it
    was), ``true_model`` (-1 for none); ``belief`` ``(participant, trial)``, -1 for none and for "I do not know"; and
    ``moved_at`` (seconds since 1970, UTC), ``seconds`` and ``reaction_seconds`` ``(participant, trial, time)``, nan for none;
    in worlds that give rewards also ``rewards`` ``(participant, trial, time)``, what came with each observation.
    """
    people, trials, beliefs = _gathered(lines)
    who = [k for k in people if k in trials]
    if not who:
        return
    model, length = setting.model, setting.paradigm.trial_length
    n = len(who), 1 + max(max(trials[k]) for k in who)
    shapes = {"outcomes": model.num_modalities, "controls": model.num_factors}
    if setting.knows_states:
        shapes["states"] = model.num_factors
    arrays: dict[str, Any] = {name: np.full((*n, size, length), -1) for name, size in shapes.items()}
    arrays |= {name: np.full((*n, length), np.nan) for name in ("moved_at", "seconds", "reaction_seconds")}
    arrays["belief"] = np.full(n, -1)
    if setting.rewarding:
        arrays["rewards"] = np.full((*n, length), np.nan)
    for row, k in enumerate(who):
        for i, entry in trials[k].items():
            for name in shapes:
                values = np.array(entry[name], dtype=np.intp).T
                arrays[name][row, i, :, : values.shape[1]] = values
            for name in ("moved_at", "seconds", "reaction_seconds", *(("rewards",) if setting.rewarding else ())):
                values = np.array(entry[name], dtype=np.float64)  # None becomes nan
                arrays[name][row, i, : len(values)] = values
            arrays["belief"][row, i] = beliefs.get((k, i), -1)
    told = {name: [people[k][name] for k in who] for name in ("participant", "name", "seed", "agent", "true_model")}
    told["true_model"] = [-1 if t is None else t for t in told["true_model"]]
    arrays |= {name: np.array(values, dtype=str if name == "name" else np.int64) for name, values in told.items()}
    write_npz(path, arrays | {"paradigm": setting.paradigm.name})


def write_csv(path: Path, lines: Iterable[dict[str, Any]], setting: Setting, kept: dict[Any, str]) -> None:
    """Write a journal's trials as a table with a row for each observation, in one move; participants, trials and times count
    from 1, and names stand for outcomes and controls.

    Args:
        path: the file.
        lines: of the journal.
        setting: the game.
        kept: text of trials that were written before, filled here: a journal only grows.
    """
    people, trials, beliefs = _gathered(lines)
    with in_one_move(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        file.write(_text([_header(setting)]))
        for k, person in people.items():
            for i, trial in sorted(trials.get(k, {}).items()):
                key = k, i, beliefs.get((k, i))
                if key not in kept:
                    kept[key] = _text(_rows(person, trial, key[2], setting))
                file.write(kept[key])


def _header(setting: Setting) -> list[str]:
    labels = setting.labels
    seen = [f"observed: {name}" for name in labels["modality"]]
    done = [f"done: {labels['factor'][f]}" for f in setting.acting]
    first = ["participant", "name", "joined", "scheme", "seed", "true hypothesis", "trial", "time"]
    return [*first, *seen, *done, "score", "moved at", "seconds", "reaction seconds", "believed after the trial"]


def _text(rows: Iterable[list[Any]]) -> str:
    held = io.StringIO(newline="")
    csv.writer(held).writerows([plain_cell(x) for x in row] for row in rows)
    return held.getvalue()


def _rows(person: dict[str, Any], trial: dict[str, Any], belief: int | None, setting: Setting) -> Iterator[list[Any]]:
    """Rows of one trial; ``belief``: what was said after it, None if that was not asked."""
    labels, sentences, acting = setting.labels, setting.sentences_of_hypotheses, setting.acting
    say = lambda i: "" if i is None or not 0 <= i < len(sentences) else sentences[i]  # noqa: E731
    own = [*(person[n] for n in ("participant", "name", "joined", "scheme", "seed")), say(person["true_model"])]
    believed, last = "" if belief is None else say(belief) or "I do not know", len(trial["outcomes"]) - 1
    for t, outcomes in enumerate(trial["outcomes"]):
        seen = [labels["outcome"][m][o] if o >= 0 else "" for m, o in enumerate(outcomes)]
        moved = t < len(trial["controls"])
        done = [labels["control"][f][trial["controls"][t][f]] if moved else "" for f in acting]
        took = [trial[n][t] if moved else "" for n in ("seconds", "reaction_seconds")]
        score = setting.worth(outcomes, trial["rewards"][t])[2] if setting.scored else ""
        when = _utc(trial["moved_at"][t]) if moved else ""
        yield [*own, trial["trial"] + 1, t + 1, *seen, *done, score, when, *took, believed if t == last else ""]


def _gathered(
    lines: Iterable[dict[str, Any]],
) -> tuple[dict[int, dict[str, Any]], dict[int, dict[int, dict[str, Any]]], dict[tuple[int, int], int]]:
    """Participants by number, their trials by number, and what they said that they believed after trials."""
    people: dict[int, dict[str, Any]] = {}
    trials: dict[int, dict[int, dict[str, Any]]] = {}
    beliefs: dict[tuple[int, int], int] = {}
    for line in lines:
        if line["kind"] == "join":
            people[line["participant"]] = line
        elif line["kind"] == "trial":
            trials.setdefault(line["participant"], {})[line["trial"]] = line
        elif line["kind"] == "belief":
            beliefs[line["participant"], line["trial"]] = line["hypothesis"]
    return dict(sorted(people.items())), trials, beliefs


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
