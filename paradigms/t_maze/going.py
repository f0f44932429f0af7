"""Figures of where animals in a T-maze go: when the cue is asked, and the lives of three of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from activebmr import Result, plots
from activebmr.paradigms.t_maze.measures import known_after
from activebmr.paradigms.t_maze.reading import KINDS, kind_of, structures_of
from activebmr.paradigms.t_maze.world import CUE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["STRIP", "asked", "named", "three_lives", "tidy", "typical"]

INK = plots.PALETTE["black"]
KIND = dict(zip(KINDS, ("blue", "sky", "green", "orange", "vermilion"), strict=True))
SAYS = {
    ".95 redrawn": "cue .95, context redrawn",
    ".75 redrawn": "cue .75, context redrawn",
    ".95 stays": "cue .95, context stays",
    ".75 stays": "cue .75, context stays",
    "useless": "useless cue",
}
_CELLS = ("#FFFFFF", plots.PALETTE["orange"], plots.PALETTE["blue"], "#B9C6CF")
_CELL_NAMES = ("centre", "cue", "arm, rewarded", "arm, punished")
_AROUND = 20  # sessions before and after adoption
STRIP = 0.92  # inches of a life


def named(ax: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Names at the ends of lines, in their colours, moved apart where they would meet."""
    low, high = ax.get_ylim()
    gap, ends = 0.07 * (high - low), sorted(ends)
    at = [y for y, _, _ in ends]
    for _ in range(200):
        for i in range(len(at) - 1):
            lack = gap - (at[i + 1] - at[i])
            if lack > 1e-9:
                at[i], at[i + 1] = at[i] - lack / 2, at[i + 1] + lack / 2
    for y, (_, name, paint) in zip(at, ends, strict=True):
        ax.text(1.01, y, name, transform=ax.get_yaxis_transform(), va="center", color=plots.PALETTE[paint], fontsize=8)


def tidy(ax: Axes) -> None:
    """Leave out the frame's right and upper side."""
    ax.spines[["top", "right"]].set_visible(False)


def asked(ax: Axes, looks: NDArray[np.intp], kinds: NDArray[np.str_], origin: NDArray[np.intp] | None) -> None:
    """Looks at the cue in a session by kind of structure: over sessions, or around each agent's ``origin``."""
    n = looks.shape[1]
    x = np.arange(1, n + 1) if origin is None else np.arange(-_AROUND, _AROUND + 1)
    top, ends = 0.0, []
    for kind in KINDS:
        mine = np.flatnonzero(kinds == kind)
        if origin is not None:
            mine = mine[origin[mine] < n]
        if not len(mine):
            continue
        values = looks[mine].astype(float)
        if origin is not None:
            at = origin[mine][:, None] + x - 1  # x = 0 is the session of adoption, x = 1 the first one after it
            there = (at >= 0) & (at < n)
            values = np.where(there, np.take_along_axis(values, np.clip(at, 0, n - 1), axis=1), np.nan)
            kept = there.any(axis=0)
        else:
            kept = np.ones(len(x), dtype=bool)
        mean = np.nansum(values, axis=0) / np.maximum(np.isfinite(values).sum(axis=0), 1)
        ax.plot(x[kept], mean[kept], color=plots.PALETTE[KIND[kind]], linewidth=1.7)
        ends.append((float(mean[kept][-1]), SAYS[kind], KIND[kind]))
        top = max(top, float(mean[kept].max()))
    ax.set(ylim=(-0.05, max(1.05, 1.08 * top)), xlim=(x[0], x[-1]))
    if origin is not None:
        ax.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
    else:
        named(ax, ends)
    tidy(ax)


def _strip(ax: Axes, places: NDArray[np.intp], paid: NDArray[np.intp], adopted: int | None) -> None:
    """Where one agent is after each move ``(sessions, moves + 1)``, and what it finds there."""
    from matplotlib.colors import ListedColormap

    cells = np.where(places > CUE, np.where(paid == 1, 2, 3), places)[:, 1:]
    n, moves = cells.shape
    ax.imshow(cells.T, cmap=ListedColormap(_CELLS), vmin=0, vmax=3, aspect="auto", extent=(0.5, n + 0.5, moves + 0.5, 0.5))
    if adopted is not None:
        ax.axvline(adopted + 0.5, color=INK, linewidth=1.4)
    ax.set(ylabel="move")
    ax.set_yticks([1, moves])
    ax.tick_params(length=0)


def typical(result: Result, kind: str, n_agents: int, scheme: int = 0) -> int | None:
    """Of the first agents with a structure of this kind the one that needs the median of sessions to adopt it."""
    kinds = np.array([kind_of(s) for s in structures_of(result)[:n_agents]])
    mine = np.flatnonzero((kinds == kind) & result.adopted_truth[scheme, :n_agents])
    if not len(mine):
        return None
    when = known_after(result)[scheme, mine]
    return int(mine[np.argsort(np.abs(when - np.median(when)), kind="stable")[0]])


def three_lives(page: plots.Page, result: Result, lived: Mapping[str, tuple[np.ndarray, np.ndarray]], top: float) -> None:
    """The first scheme's typical agents for three kinds of structure, session by session and move by move."""
    from matplotlib.patches import Patch

    if not lived:
        return
    name = next(iter(lived))
    places, paid = lived[name]
    shown = [(kind, typical(result, kind, len(places), result.index(name))) for kind in (".95 redrawn", ".95 stays", "useless")]
    axes = []
    for kind, agent in shown:
        if agent is None:
            continue
        ax = page.axes(0.6, top + STRIP * len(axes), 8.2, 0.58)
        done = int(known_after(result)[result.index(name), agent])
        _strip(ax, places[agent], paid[agent], done if done < len(places[agent]) else None)
        head = f"One agent ({name}): " if not axes else ""
        ax.set_title(f"{head}{SAYS[kind]}; known after {done} sessions", loc="left", fontsize=8.5)
        ax.tick_params(labelbottom=False)
        axes.append(ax)
    if axes:
        axes[-1].tick_params(labelbottom=True)
        axes[-1].set_xlabel("session")
        marks = [Patch(facecolor=c, edgecolor="#888888", linewidth=0.5) for c in _CELLS]
        axes[0].legend(
            marks, _CELL_NAMES, ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, handlelength=0.9,
            columnspacing=1.2,
        )  # fmt: skip
