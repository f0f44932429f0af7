"""Figures of agents in a maze: how many moves they need to know it, and the way of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from activebmr import Result, plots
from activebmr.arrays import standard_error
from activebmr.paradigms.maze.maps import still_possible
from activebmr.paradigms.maze.measures import Ways, floor_of, ways

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["discovery", "figures", "one_agent", "overview", "telling_agent"]

COLOURS = {
    "look-ahead": "blue",
    "gain": "vermilion",
    "novelty": "green",
    "novelty-informed": "orange",
    "random": "purple",
    "best": "black",
    "proof": "grey",
}
WORDS = {
    "look-ahead": "exact gain,\nlooking ahead",
    "gain": "exact gain\nof the next move",
    "novelty": "novelty\nknows no maps",
    "novelty-informed": "novelty, informed\nby the maps",
    "random": "random",
    "best": "the best observer\n(exact)",
    "proof": "a proof by one\nwho knows the map",
}
_MOST = 34  # moves that are drawn
_SHOWN = 10  # panels in a row
_TALL = 1.52  # inches of a row


# --- moves until the map is known ----------------------------------------------------------------------------------------
def _moves(names: Sequence[str], lived: Ways) -> dict[str, np.ndarray]:
    """Moves until the map is known, of each scheme and of what it is set beside, the most first."""
    floor = floor_of(lived)
    moves = {**dict(zip(names, lived.known_after(), strict=True)), "best": floor.best, "proof": floor.proof}
    return dict(sorted(moves.items(), key=lambda row: -row[1].mean()))


def _ridges(ax: Axes, moves: dict[str, np.ndarray], late: int, most: int = _MOST, words: bool = True) -> None:
    """Distributions of moves until the map is known, one below the other, their means and standard errors, and the floor.

    ``late``: moves at which agents were late. Those who need ``most`` or more are drawn together.
    """
    rows = list(moves.items())
    edges = np.arange(-0.5, most + 1.5)
    for k, (name, values) in enumerate(rows):
        paint, base = plots.PALETTE[COLOURS[name]], len(rows) - 1 - k
        share = np.histogram(np.minimum(values, most), edges)[0] / len(values)
        ax.stairs(base + 0.82 * share / share.max(), edges, baseline=base, fill=True, color=paint, alpha=0.35, linewidth=0)
        error = standard_error(values)
        ax.errorbar(values.mean(), base + 0.2, xerr=None if np.isnan(error) else error, color=paint, marker="o", markersize=4)
        slow = int((values >= late).sum())
        note = f" ({slow} late)" if slow else ""
        number = f"{values.mean():.2f}" + ("" if np.isnan(error) else f" ± {error:.2f}") + note
        ax.text(most - 0.7, base + 0.55, number, ha="right", va="center", fontweight="bold", color=paint, fontsize=8.5)
    ax.axvline(moves["best"].mean(), color=plots.PALETTE["black"], linewidth=0.8, linestyle=(0, (4, 2)))
    ax.set(xlim=(-0.5, most + 0.5), ylim=(-0.1, len(rows)), xlabel="moves until one map is left")
    ax.set_yticks([len(rows) - 1 - k + 0.35 for k in range(len(rows))])
    ax.set_yticklabels([WORDS[name] for name, _ in rows] if words else [])
    ax.tick_params(axis="y", length=0)
    if any((values > most).any() for values in moves.values()):
        ticks = [t for t in range(0, most, 5) if most - t > 2]
        ax.set_xticks([*ticks, most], [*map(str, ticks), f"{most}+"])
    ax.spines[["top", "right", "left"]].set_visible(False)


def _fewer(known: dict[str, np.ndarray], few: str, many: str) -> str:
    """How many moves one scheme spares beside another, paired."""
    gap = known[many] - known[few]
    error = standard_error(gap)
    paired = f"{gap.mean():.2f}" + ("" if np.isnan(error) else f" ± {error:.2f}")
    return f"{100 * gap.mean() / known[many].mean():.0f} % fewer than {many} ({paired}, paired)".replace("-", "−")


def _story(names: Sequence[str], lived: Ways) -> tuple[str, str]:
    known = dict(zip(names, lived.known_after(), strict=True))
    best, n_maps = floor_of(lived).best, len(lived.tables)
    first = "look-ahead" if "look-ahead" in known else names[0]
    others = [f"{name} {known[name].mean():.1f}" for name in ("gain", "novelty", "random") if name in known and name != first]
    head = f"{first.capitalize()} knows which of {n_maps} maps is true after {known[first].mean():.1f} moves"
    head += f" (the best observer: {best.mean():.1f})" + (f"; {', '.join(others)}" if others else "")
    pairs = [(a, b) for a, b in (("look-ahead", "gain"), ("gain", "novelty")) if {a, b} <= set(known)]
    below = "; ".join(f"{a.capitalize() if i == 0 else a}: {_fewer(known, a, b)}" for i, (a, b) in enumerate(pairs))
    return head, f"{below}{'. ' if below else ''}{len(best)} agents. Dots: means and standard errors. Dashed: the best mean."


def discovery(names: Sequence[str], lived: Ways) -> Figure:
    """Moves until the map is known, scheme by scheme, beside the best observer and a proof by one who knows."""
    rows = len(names) + 2
    page = plots.Page(0.52 * rows + 0.55, *_story(names, lived))
    moves, late = _moves(names, lived), lived.rooms.shape[2] - 1
    _ridges(page.axes(1.5, 0.05, 7.3, 0.52 * rows), moves, late, int(np.clip(max(v.max() for v in moves.values()), 8, 40)))
    return page.figure


# --- one agent's way -----------------------------------------------------------------------------------------------------
def telling_agent(names: Sequence[str], lived: Ways, schemes: Sequence[str] = ("look-ahead", "gain")) -> int:
    """An agent to draw: its moves under both schemes are nearest to the means of all."""
    at = [list(names).index(s) for s in schemes if s in names] or [0]
    known = lived.known_after()[at]
    return int(np.abs(known - known.mean(axis=1, keepdims=True)).sum(axis=0).argmin())


def one_agent(names: Sequence[str], lived: Ways, agent: int) -> Figure:
    """The ways of one agent under the schemes, and what it holds possible after each move."""
    shown = [(s, name) for s, name in enumerate(names) if name in ("look-ahead", "gain")] or [(0, names[0])]
    known = lived.known_after()[:, agent]
    told = " and ".join(f"{known[s]} moves under {name}" for s, name in shown)
    page = plots.Page(_TALL * len(shown), f"One agent knows the map after {told}", _LEGEND)
    for k, (s, name) in enumerate(shown):
        _way(page, _TALL * k, name, lived, s, agent)
    return page.figure


_LEGEND = (
    "An agent like the others. Rings: the rooms after a move. Black: where it is, and how it came there. Grey: corridors, the "
    "same in all maps. Orange: where other doors may lead (the thicker, the more maps say so). Blue: where they are known to "
    "lead."
)


def _way(page: Any, top: float, name: str, lived: Ways, s: int, agent: int) -> None:
    rooms, doors = lived.rooms[s, agent], lived.doors[s, agent]
    possible = still_possible(lived.tables, rooms, doors)
    end = int((possible.sum(axis=1) == 1).argmax()) or len(rooms) - 1
    times = np.arange(end + 1)
    if len(times) > _SHOWN:
        times = np.concatenate([times[: _SHOWN - 1], [end]])
    size = (plots.WIDTH - 0.3) / _SHOWN
    for k, t in enumerate(times):
        ax = page.axes(0.15 + k * size, top + 0.5, size * 0.94, size * 0.94)
        _maze(ax, lived.tables, possible[t], int(rooms[t]), int(rooms[t - 1]) if t else None)
        left = int(possible[t].sum())
        skipped = "… " if k and t - times[k - 1] > 1 else ""
        words = "start" if t == 0 else f"{skipped}move {t}"
        ax.set_title(f"{words}\n{left} map{'s' * (left > 1)}", fontsize=7.5, pad=2)
    words = f"{WORDS.get(name, name)}: {end} moves".replace("\n", " ")
    page.figure.text(
        0.15 / plots.WIDTH, 1 - (page.start + top) / page.height, words[0].upper() + words[1:],
        color=plots.PALETTE[COLOURS.get(name, "black")], fontsize=8.5, fontweight="bold", va="top",
    )  # fmt: skip


def _maze(ax: Axes, tables: np.ndarray, possible: np.ndarray, here: int, before: int | None) -> None:
    """The rooms in a ring, with what is known of the doors."""
    n_rooms = tables.shape[1]
    angle = np.pi / 2 - 2 * np.pi * np.arange(n_rooms) / n_rooms
    place = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    always = (tables == tables[0]).all(axis=0)
    for room, door in np.ndindex(*tables.shape[1:]):
        to, many = np.unique(tables[possible, room, door], return_counts=True)
        for target, share in zip(to, many / many.sum(), strict=True):
            if always[room, door]:
                _line(ax, place[room], place[target], "#C8C8C8", 1.6, 0.0, zorder=1)
            elif len(to) == 1:
                _line(ax, place[room], place[target], plots.PALETTE["blue"], 1.1, 0.12, zorder=3, head=True)
            else:
                _line(ax, place[room], place[target], plots.PALETTE["orange"], 0.3 + 1.3 * share, 0.12, zorder=2, alpha=0.75)
    ax.scatter(*place.T, s=26, color="white", edgecolors="#888888", linewidths=0.7, zorder=4)
    ax.scatter(*place[here], s=34, color=plots.PALETTE["black"], zorder=6)
    if before is not None:
        _line(ax, place[before], place[here], plots.PALETTE["black"], 1.4, 0.12, zorder=5, head=True)
    ax.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal")
    ax.axis("off")


def _line(
    ax: Axes,
    a: np.ndarray,
    b: np.ndarray,
    paint: str,
    width: float,
    bend: float,
    zorder: int,
    head: bool = False,
    alpha: float = 1.0,
) -> None:
    from matplotlib.patches import FancyArrowPatch

    style = "-|>,head_length=2.2,head_width=1.3" if head else "-"
    ax.add_artist(
        FancyArrowPatch(
            a, b, arrowstyle=style, connectionstyle=f"arc3,rad={bend}", color=paint, linewidth=width, alpha=alpha,
            zorder=zorder, shrinkA=3.2, shrinkB=3.2,
        )
    )  # fmt: skip


# --- all of it -----------------------------------------------------------------------------------------------------------
def overview(names: Sequence[str], lived: Ways, unrelated: Ways, agent: int | None = None) -> Figure:
    """Both kinds of maps side by side, and below them one agent's ways.

    Args:
        names: schemes.
        lived: agents in mazes with corridors.
        unrelated: agents before maps that are drawn without regard to each other, under the same schemes.
        agent: the agent whose ways are drawn; by default one like the others.
    """
    rows, tall = len(names) + 2, 0.42
    head, _ = _story(names, lived)
    known, loose = (dict(zip(names, x.known_after(), strict=True)) for x in (lived, unrelated))
    least = floor_of(unrelated).best.mean()
    below = (
        f"With corridors: look-ahead {_fewer(known, 'look-ahead', 'gain')}, gain {_fewer(known, 'gain', 'novelty')}. Unrelated "
        f"maps leave little to save: every new door tells, so that gain ({loose['gain'].mean():.2f}) is near the best already "
        f"({least:.2f}). {len(lived.truths)} agents; dots: means and standard errors; dashed: the mean of the best observer; "
        f"late: not done in {lived.rooms.shape[2] - 1} moves, with which they count."
    )
    first = tall * rows + 0.95
    page = plots.Page(first + 0.45 + 2 * _TALL, head, below)
    moves, late = _moves(names, lived), lived.rooms.shape[2] - 1
    ax = page.axes(1.5, 0.3, 4.6, tall * rows)
    _ridges(ax, moves, late)
    plots.title(ax, f"{len(lived.tables)} maps that share the corridors of a ring")
    ax = page.axes(6.35, 0.3, 2.5, tall * rows)
    others = _moves(names, unrelated)
    _ridges(ax, {name: others[name] for name in moves}, late, 12, words=False)
    plots.title(ax, f"{len(unrelated.tables)} unrelated maps")
    who = telling_agent(names, lived) if agent is None else agent
    page.figure.text(
        0.15 / plots.WIDTH, 1 - (page.start + first) / page.height, plots.wrap(_LEGEND, (plots.WIDTH - 0.3) * 72, 8.5),
        fontsize=8.5, color="#444444", va="top", linespacing=1.25,
    )  # fmt: skip
    for k, name in enumerate(("look-ahead", "gain")):
        _way(page, first + 0.45 + _TALL * k, name, lived, list(names).index(name), who)
    return page.figure


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw what a result shows into a folder, which is made if it is not there.

    ``moves.png``: moves until the map is known, per scheme; ``one_agent.png``: the ways of one agent.

    Returns:
        the files written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names, lived = result.schemes, ways(result)
    with plots.style():
        drawn = {"moves.png": discovery(names, lived), "one_agent.png": one_agent(names, lived, telling_agent(names, lived))}
        return [plots.save(figure, folder / name) for name, figure in drawn.items()]
