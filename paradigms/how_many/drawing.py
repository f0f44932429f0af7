"""Figures of the how-many paradigm: who names the right number after how many looks, what is believed on the way, and where one
agent looked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from activebmr import Result, plots
from activebmr.arrays import standard_error
from activebmr.paradigms.how_many.causes import NAMES, say_wiring, views, wirings
from activebmr.paradigms.how_many.looking import Source, looked_at, schemes_of, typical_agent
from activebmr.paradigms.how_many.measures import bounds, course, enough, late, looks_until, right, truths

__all__ = ["figures", "needed", "one_agent", "overview", "posterior", "right_number"]

COLOURS = {
    "gain": plots.PALETTE["blue"],
    "states": plots.PALETTE["vermilion"],
    "random": plots.PALETTE["grey"],
    "all": plots.PALETTE["black"],
}
NUMBERS = ("#E69F00", "#009E73", "#56B4E9", "#7B5EA7")
"""Colours of one, two, three and four causes."""
INK = plots.PALETTE["black"]
RIGHT = 0.95

_LETTERS = "ABCDEFGH"


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    return Figure(figsize=(width, height), layout="constrained").subplots() if ax is None else ax


def _tidy(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)


def _errors(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([standard_error(v) for v in values.T])


def right_number(source: Source, ax: Axes | None = None) -> Axes:
    """Share of agents who name the true number, by looks: bands of two standard errors, and when it is .95 for good."""
    ax = _axes(ax, 4.6, 3.2)
    ends, most = {}, 0
    for name, result, s in schemes_of(source):
        looks, chance = right(result)
        mean, error = chance[s].mean(axis=0), _errors(chance[s])
        ax.plot(looks, mean, color=COLOURS[name], lw=1.6)
        ax.fill_between(looks, mean - 2 * error, mean + 2 * error, color=COLOURS[name], alpha=0.22, linewidth=0)
        start = enough(result, RIGHT)[s]
        if start is not None:
            ax.plot([start], [RIGHT], "o", ms=4.5, color=COLOURS[name], mec="white", mew=0.7, zorder=4)
            ax.annotate(f"{start}", (start, RIGHT), xytext=(4, -9), textcoords="offset points", color=COLOURS[name], fontsize=8)
        ends[name] = float(looks[-1]), float(mean[-1])
        most = max(most, int(looks[-1]))
    ax.axhline(RIGHT, color=INK, lw=0.7, ls=(0, (3, 2)), zorder=0)
    ax.set(xlim=(0, most), ylim=(0.2, 1.0), xlabel="looks", ylabel="agents who name the right number")
    ax.set_yticks([0.25, 0.5, 0.75, 0.95, 1.0], ["25%", "50%", "75%", "95%", ""])
    _name_lines(ax, ends, most)
    plots.title(ax, _right_says(source))
    _tidy(ax)
    return ax


def _name_lines(ax: Axes, ends: Mapping[str, tuple[float, float]], most: float, gap: float = 0.055) -> None:
    """Names at the ends of lines, in their colours, moved apart where they would meet."""
    low = -1.0
    for name, (x, y) in sorted(ends.items(), key=lambda item: item[1][1]):
        low = max(y, low + gap) if x == most else y
        place = (x, low) if x == most else (x, y - 0.045)
        ax.annotate(
            f" {name}", place, color=COLOURS[name], va="center", ha="left" if x == most else "center",
            annotation_clip=False, fontweight="bold",
        )  # fmt: skip


def _right_says(source: Source) -> str:
    parts = []
    for name, result, s in schemes_of(source):
        looks, chance = right(result)
        start = enough(result, RIGHT)[s]
        until = f"{chance[s, :, -1].mean():.0%} after {looks[-1]}" if start is None else f"95% from {start} looks on"
        parts.append(f"{name} {until}")
    return "Right: " + ", ".join(parts)


def posterior(result: Result, scheme: str | int = 0, axes: Sequence[Axes] | None = None) -> Sequence[Axes]:
    """Mean posterior over the number by looks, of agents for whom one, two, three and four is true: four axes."""
    s = result.index(scheme)
    if axes is None:
        axes = list(Figure(figsize=(8.4, 2.6), layout="constrained").subplots(1, 4, sharey=True))
    looks, p = course(result)
    for k, ax in enumerate(axes):
        mine = p[s, truths(result) == k]
        if len(mine):
            shares = mine.mean(axis=0).T
            ax.stackplot(looks, shares, colors=NUMBERS, alpha=0.9, linewidth=0)
            below = np.concatenate([np.zeros((1, len(looks))), shares.cumsum(axis=0)])
            _number_bands(ax, looks, below)
        ax.set(xlim=(0, looks[-1]), ylim=(0, 1), xlabel="looks")
        ax.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
        if k:
            ax.tick_params(labelleft=False)
        ax.set_title(f"{NAMES[k]} in truth, n = {len(mine)}", loc="left")
        _tidy(ax)
    axes[0].set_ylabel(f"posterior of the number\n({result.schemes[s]})")
    return axes


def _number_bands(ax: Axes, looks: NDArray[np.intp], edges: NDArray[np.float64]) -> None:
    """Numbers in the bands between ``edges``, where these are widest."""
    inner = slice(len(looks) // 12, max(len(looks) - len(looks) // 12, len(looks) // 12 + 1))
    for k in range(len(NAMES)):
        width = (edges[k + 1] - edges[k])[inner]
        at = int(width.argmax()) + (inner.start or 0)
        if width.max() > 0.11:
            middle = (edges[k, at] + edges[k + 1, at]) / 2
            ax.text(looks[at], middle, str(k + 1), ha="center", va="center", color="white", fontweight="bold", fontsize=9)


def needed(source: Source, ax: Axes | None = None) -> Axes:
    """Looks until the true number has a posterior of .95, by number: means, two standard errors, and the bound (one box)."""
    ax = _axes(ax, 3.6, 3.2)
    rows = [(name, result, s) for name, result, s in schemes_of(source)]
    for i, (name, result, s) in enumerate(rows):
        when, never, truth = looks_until(result)[s], late(result)[s], truths(result)
        x = np.arange(4) + (i - (len(rows) - 1) / 2) * 0.17
        for k in range(4):
            mine = when[truth == k]
            if not len(mine):
                continue
            error = 2 * standard_error(mine) if len(mine) > 1 else 0.0
            some = never[truth == k].mean() > 0.02
            style: dict[str, Any] = {"mfc": "white" if some else COLOURS[name], "mec": COLOURS[name], "ms": 5}
            ax.errorbar(x[k], mine.mean(), error, fmt="o", color=COLOURS[name], lw=1.2, **style)
        said = result.settings["schemes"][name]
        world = int(said["watched"]), int(said["sensors"]), *(float(said[w]) for w in ("chance", "strength", "background"))
        if name in ("gain", "all"):
            ax.hlines(bounds(*world), np.arange(4) - 0.36, np.arange(4) + 0.36, color=COLOURS[name], lw=1.0, ls=(0, (2, 1)))
    ax.set_xticks(range(4), NAMES)
    ax.set(xlim=(-0.5, 3.5), ylim=(0, None), xlabel="true number of causes", ylabel="looks until 95% sure of it")
    most = max(int(course(result)[0][-1]) for _, result, _ in rows)
    plots.title(ax, f"Looks until sure; open: over 2% were late, and count with {most} or fewer; dashed: a bound on the mean")
    _tidy(ax)
    return ax


def one_agent(
    result: Result, scheme: str | int = 0, agent: int | None = None, ax: Axes | None = None, below: Axes | None = None
) -> Axes:
    """One agent in its first box: which two sensors it looked at, and what it saw, look by look; below its posterior over
    numbers. Traced results of two sensors a look.
    """
    s, k = result.index(scheme), typical_agent(result, scheme) if agent is None else agent
    said = result.settings["schemes"][result.schemes[s]]
    sensors, n = int(said["sensors"]), int(said["looks"])
    if ax is None or below is None:
        ax, below = Figure(figsize=(9.0, 4.0), layout="constrained").subplots(2, 1, sharex=True, height_ratios=(3, 1.2))
    pairs, number = views(sensors, 2), int(truths(result)[k])
    wiring = wirings(number + 1, sensors)[int(result.trace["states"][s, k, 0, 0, 1])]
    one = [wiring[a] == wiring[b] for a, b in pairs]
    order = sorted(range(len(pairs)), key=lambda i: (not one[i], i))
    seen, looks = result.trace["outcomes"][s, k, 0, 1:], result.trace["controls"][s, k, 0, :-1, 0]
    row = np.argsort(order)[looks]
    both, neither = (seen == 1).all(axis=1), (seen == 0).all(axis=1)
    x = np.arange(1, n + 1)
    for mark, which, face, label in (
        ("s", both, INK, "both on"),
        ("s", neither, "white", "both off"),
        ("x", ~both & ~neither, INK, "one of them on"),
    ):
        style = {"markersize": 4, "mew": 0.9, "mec": INK, "mfc": face}
        ax.plot(x[which], row[which], mark, ls="none", label=label, **style)
    ax.axhspan(-0.5, sum(one) - 0.5, color=NUMBERS[number], alpha=0.25, linewidth=0, zorder=0)
    ax.set(xlim=(0.3, n + 0.7), ylim=(len(pairs) - 0.5, -0.5))
    ax.set_yticks(range(len(pairs)), ["".join(_LETTERS[i] for i in pairs[j]) for j in order])
    ax.legend(loc="lower left", bbox_to_anchor=(1.0, 0.0), handletextpad=0.3, borderaxespad=0.2)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(labelbottom=False)
    p = result.trace["model_posterior"][s, k, 0]
    below.stackplot(np.arange(n + 1), p.T, colors=NUMBERS, alpha=0.9, linewidth=0)
    _number_bands(below, np.arange(n + 1), np.concatenate([np.zeros((1, n + 1)), p.T.cumsum(axis=0)]))
    below.set(xlim=(0.3, n + 0.7), ylim=(0, 1), xlabel="looks", ylabel="posterior")
    below.set_yticks([0, 1])
    when = looks_until(result)[s, k]
    sure = f"sure of {NAMES[number]} causes after {when} looks" if not late(result)[s, k] else f"{NAMES[number]} in truth"
    plots.title(ax, f"One agent ({result.schemes[s]}): {sure}. Box {say_wiring(wiring)}; shaded: pairs with one cause")
    for each in (ax, below):
        _tidy(each)
    return ax


def overview(results: Mapping[str, Result]) -> Figure:
    """All of it on one page, from traced results of one box by scheme."""
    gain = results["gain"]
    looks, chance = right(gain)
    n = {name: result.sizes["agent"] for name, result, _ in schemes_of(results)}
    told = (
        f"Exact gain names the right number of hidden causes (1 to 4) in {chance[0, :, -1].mean():.1%} of {n['gain']:,} boxes"
    )
    told += f" after {looks[-1]} looks at two of five sensors"
    if "random" in results:
        at, other = right(results["random"])
        told += f"; random looks in {other[0, :, min(looks[-1], at[-1])].mean():.0%}"
    if "states" in results:
        at, other = right(results["states"])
        told += f", curiosity about all states in {other[0, :, min(looks[-1], at[-1])].mean():.0%}"
    counts = ", ".join(f"{name} {count:,}" for name, count in n.items())
    below = (
        f"Every agent has one box, wired at random; causes are on or off anew at every look. Agents: {counts}. Bands and bars: "
        f"two standard errors. {_why(results)}"
    )
    page = plots.Page(9.3, told, below)
    right_number(results, page.axes(0.6, 0.45, 4.1, 2.25))
    needed(results, page.axes(5.8, 0.6, 2.95, 2.1))
    panels = [page.axes(0.6 + 2.08 * k, 3.65, 1.9, 1.5) for k in range(4)]
    posterior(gain, 0, panels)
    one_agent(gain, 0, None, page.axes(0.6, 6.05, 6.9, 1.75), page.axes(0.6, 7.95, 6.9, 0.75))
    return page.figure


def _why(results: Mapping[str, Result]) -> str:
    """In words where schemes look."""
    share = {name: values.mean() for name, values in looked_at(results).items()}
    if "states" not in share or "gain" not in share:
        return ""
    told = ", ".join(f"{name} in {value:.0%}" for name, value in share.items() if name not in ("states", "gain"))
    return (
        f"The number shows in pairs of sensors that have one cause; gain looks at such pairs in {share['gain']:.0%} of looks"
        f"{', ' + told if told else ''}, curiosity about all states in {share['states']:.0%}, as which causes are on now is "
        "seen best in other pairs (two or three causes in truth)."
    )


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw what a result shows into a folder, which is made if it is not there.

    Always ``right.png`` and ``posterior.png`` (of the first scheme); ``one_agent.png`` if the result was simulated with
    ``trace=True`` and its first scheme looks at two sensors.

    Returns:
        the files written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with plots.style():
        drawn = {"right.png": right_number(result).figure, "posterior.png": posterior(result)[0].figure}
        said = result.settings["schemes"][result.schemes[0]]
        if "controls" in result.trace and int(said["watched"]) == 2:
            drawn["one_agent.png"] = one_agent(result).figure
        return [plots.save(figure, folder / name) for name, figure in drawn.items()]  # type: ignore[arg-type]
