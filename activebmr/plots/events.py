"""What happened in a trial: states, outcomes and actions, in words where there is room and as marks where there is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from activebmr import checks
from activebmr.model.pomdp import POMDP
from activebmr.plots.names import Names, names_of
from activebmr.plots.pick import Source, of_source, one_trial
from activebmr.plots.style import PALETTE, axes_of, short, time_axis, title

__all__ = ["draw_events", "events", "n_rows"]

_LETTERS = 66  # so many fit beside each other in the columns of all times
_LONGEST = 16

_KINDS = {"state": "grey", "outcome": "blue", "action": "vermilion"}


@checks.checked(source=of_source, model=checks.optional(checks.an(POMDP)), ax=checks.optional(checks.an(Axes)))
def events(
    source: Source,
    model: POMDP | None = None,
    *,
    trial: int = 0,
    scheme: str | int = 0,
    agent: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """What happened at every time of a trial: the true states (grey), what was observed (blue) and what was done next (red).

    In words if there is room for them in the columns; otherwise every state, outcome and action that occurs has a row of marks.

    Args:
        source: a result of ``simulate(..., trace=True)``, or what `activebmr.replay` returned.
        model: names everything; without it there are numbers.
        trial, scheme, agent: which trial; positions, from 0.
        ax: where to draw.

    Raises:
        ValueError: if the trial, the scheme or the agent is not there, or the model is another one.

    Example:
        >>> ax = events(result, model, agent=1, trial=2)
    """
    rows = one_trial(source, scheme, agent, trial)
    return draw_events(rows, names_of(model, rows), ax=ax)


def _tracks(rows: Mapping[str, NDArray[Any]], names: Names) -> list[tuple[str, str, list[str | None]]]:
    """Kind, name and words at each time of everything that can be told; None: unknown, or nothing to be done any more."""
    said = lambda words, at: str(words[at]) if 0 <= at < len(words) else None  # noqa: E731 (states of another model have no names)
    out: list[tuple[str, str, list[str | None]]] = []
    if "states" in rows and (rows["states"] >= 0).any():
        for f, name in enumerate(names.factors):
            if len(names.states[f]) > 1:
                out.append(("state", name, [said(names.states[f], x) for x in rows["states"][:, f]]))
    for m, name in enumerate(names.modalities):
        out.append(("outcome", name, [said(names.outcomes[m], o) for o in rows["outcomes"][:, m]]))
    for f in names.controlled:
        done = [said(names.controls[f], u) for u in rows["controls"][:, f]]
        out.append(("action", names.factors[f], [*done[:-1], None]))  # nothing follows the last time
    return out


def _wordy(tracks: list[tuple[str, str, list[str | None]]]) -> bool:
    longest = max((min(len(w or ""), _LONGEST) for _, _, words in tracks for w in words), default=0)
    times = len(tracks[0][2]) if tracks else 0
    return times * (longest + 1) <= _LETTERS


def _marks(tracks: list[tuple[str, str, list[str | None]]]) -> list[tuple[str, str, str, NDArray[np.intp]]]:
    """Kind, name, word and times of whatever occurs."""
    out = []
    for kind, name, words in tracks:
        for word in dict.fromkeys(w for w in words if w is not None):
            out.append((kind, name, word, np.flatnonzero([w == word for w in words]) + 1))
    return out


def n_rows(rows: Mapping[str, NDArray[Any]], names: Names) -> int:
    """How many rows `draw_events` needs."""
    tracks = _tracks(rows, names)
    return len(tracks) if _wordy(tracks) else len(_marks(tracks))


def draw_events(rows: Mapping[str, NDArray[Any]], names: Names, *, ax: Axes | None = None) -> Axes:
    """`events` of one trial, as `one_trial` returns it."""
    tracks, times = _tracks(rows, names), len(rows["policy"])
    wordy = _wordy(tracks)
    marks = [] if wordy else _marks(tracks)
    lines: list[tuple[str, str]] = []
    for y, (kind, name, words) in enumerate(tracks if wordy else []):
        lines.append((kind, short(name, 24)))
        for t, word in enumerate(words):
            text = "–" if word is None and not (kind == "action" and t == times - 1) else short(word or "", _LONGEST)
            ink = PALETTE[_KINDS[kind]] if kind != "state" else "#555555"
            ax = axes_of(ax, 7.0, 0.9 + 0.25 * len(tracks))
            ax.text(t + 1, y, text, ha="center", va="center", fontsize="small", color=ink, parse_math=False)
    ax = axes_of(ax, 7.0, 0.9 + 0.2 * max(len(marks), 1))
    for y, (kind, name, word, at) in enumerate(marks):
        lines.append((kind, f"{short(name, 20)}: {short(word, _LONGEST)}"))
        marker = {"state": "s", "outcome": "o", "action": ">"}[kind]
        ax.scatter(at + (0.5 if kind == "action" else 0.0), np.full(len(at), y), s=14, marker=marker,
                   color=PALETTE[_KINDS[kind]], linewidths=0)  # fmt: skip
    prefix = {"state": "", "outcome": "sees ", "action": "does "}
    ax.set_yticks(range(len(lines)), [f"{prefix[k]}{n}" for k, n in lines])
    for label, (kind, _) in zip(ax.get_yticklabels(), lines, strict=True):
        label.set_parse_math(False)
        label.set_color("#555555" if kind == "state" else PALETTE[_KINDS[kind]])
    ax.set_ylim(max(len(lines), 1) - 0.5, -0.5)
    for y in range(1, len(lines)):
        new = lines[y][0] != lines[y - 1][0]
        ax.axhline(y - 0.5, color="#777777" if new else "#DDDDDD", linewidth=0.8 if new else 0.6)
    time_axis(ax, times)
    ax.tick_params(length=0)
    ax.spines[:].set_color("#BBBBBB")
    known = any(k == "state" for k, _ in lines)
    parts = ["states (grey)"] * known + ["outcomes (blue)"] + ["actions until the next time (red)"] * bool(names.controlled)
    title(ax, f"What happened: {', '.join(parts)}")
    return ax
