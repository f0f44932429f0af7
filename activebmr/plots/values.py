"""What every policy is worth at every time of a trial, and why: utility and information gains as stacked bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from activebmr import checks
from activebmr.model.pomdp import POMDP
from activebmr.plots.names import Names, distinct, names_of
from activebmr.plots.pick import Source, of_source, one_trial
from activebmr.plots.style import PALETTE, axes_of, legend_below, number, time_axis, title

__all__ = ["PARTS", "draw_values", "gains", "leading", "parts_of", "value_handles", "values"]

PARTS = {
    "utility": ("utility", "vermilion"),
    "state": ("gain about states", "blue"),
    "param": ("gain about parameters", "green"),
    "model": ("gain about models", "orange"),
    "later": ("later moves", "purple"),
}
"""Parts of what a policy is worth, what legends call them and their colours. Those that are not gains are costs or prizes."""

_GAINS = ("state", "param", "model")
_COLUMNS = 12  # so many times have room for a column of their own with bars to the right
_ROOM, _BESIDE = 0.72, 0.6  # of a column or a row that bars may fill; the same where numbers stand beside them
_FAR = 16.0  # nats below the best policy at which nobody can tell how far it is

Floats = NDArray[np.float64]


def parts_of(rows: Mapping[str, NDArray[np.float64]], relative: bool = True) -> dict[str, Floats]:
    """What every policy is worth, split into `PARTS` that sum to ``neg_efe``: arrays ``(time, policy)`` in nats.

    ``later`` is what a planner that looks ahead expects of the moves after the policy; 0 for all others.

    Args:
        rows: one trial, as `one_trial` returns it.
        relative: whether utility and later moves are counted from the policy that has most of each at the time. What all
            policies share decides nothing; the parts then sum to ``neg_efe`` but for a number that all policies share.
    """
    parts = {"utility": rows["utility"]} | {g: rows[f"{g}_info_gain"] for g in _GAINS}
    total = sum(parts.values(), np.zeros_like(rows["utility"]))
    later = rows["neg_efe"] - total if "neg_efe" in rows else np.zeros_like(total)
    scale = np.abs(total).max(initial=1.0)
    parts["later"] = np.where(np.abs(later) > 1e-9 * scale, later, 0.0)  # sums in another order are no look-ahead
    if relative:
        for name in ("utility", "later"):
            parts[name] = parts[name] - parts[name].max(axis=1, keepdims=True)
    return parts


@checks.checked(
    source=of_source,
    model=checks.optional(checks.an(POMDP)),
    parts=checks.optional(checks.items(checks.text)),
    relative=checks.flag,
    numbers=checks.flag,
    legend=checks.flag,
    ax=checks.optional(checks.an(Axes)),
)
def values(
    source: Source,
    model: POMDP | None = None,
    *,
    trial: int = 0,
    scheme: str | int = 0,
    agent: int = 0,
    parts: Sequence[str] | None = None,
    relative: bool = True,
    numbers: bool = False,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """What every policy (rows) is worth at every time of a trial: stacked bars of utility and gains, in nats.

    Gains lengthen a bar to the right, utility that is missing to the left; the black line is the sum. The grey ground and the
    triangle mark what the agent did next. Trials of more than 12 times have a row of upright bars for every policy.

    Args:
        source: a result of ``simulate(..., trace=True)``, or what `activebmr.replay` returned.
        model: the agent's, names controls; without it policies have numbers.
        trial, scheme, agent: which trial; positions, from 0.
        parts: some of ``utility``, ``state``, ``param``, ``model`` and ``later``; by default those that are not zero throughout
            the trial.
        relative: whether utility and later moves are counted from the policy that has most of each at the time: what all
            policies share decides nothing.
        numbers: whether to write the sum of the parts beside the bars.
        legend: whether to add it, below the axes.
        ax: where to draw.

    Raises:
        ValueError: if a part, the trial, the scheme or the agent is not there, or the model is another one.

    Example:
        >>> ax = values(result, model, agent=1, trial=2)
    """
    rows = one_trial(source, scheme, agent, trial)
    return draw_values(rows, names_of(model, rows), parts=parts, relative=relative, numbers=numbers, legend=legend, ax=ax)


@checks.checked(
    source=of_source,
    model=checks.optional(checks.an(POMDP)),
    parts=checks.optional(checks.items(checks.text)),
    numbers=checks.flag,
    legend=checks.flag,
    ax=checks.optional(checks.an(Axes)),
)
def gains(
    source: Source,
    model: POMDP | None = None,
    *,
    trial: int = 0,
    scheme: str | int = 0,
    agent: int = 0,
    parts: Sequence[str] | None = None,
    numbers: bool = False,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """The information gains of every policy alone, and not its utility: `values` of the parts ``state``, ``param`` and
    ``model``, or those of them that are not zero throughout the trial. The arguments are those of `values`.

    Example:
        >>> ax = gains(result, model, agent=1, trial=2)
    """
    rows = one_trial(source, scheme, agent, trial)
    chosen = [g for g in _GAINS if rows[f"{g}_info_gain"].any()] if parts is None else parts
    return draw_values(rows, names_of(model, rows), parts=chosen, numbers=numbers, legend=legend, ax=ax)


def draw_values(
    rows: Mapping[str, NDArray[np.float64]],
    names: Names,
    *,
    parts: Sequence[str] | None = None,
    relative: bool = True,
    numbers: bool = False,
    legend: bool = True,
    room: float = 0.62,
    policies: Sequence[int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The bars of `values`, of one trial as `one_trial` returns it; ``policies`` are those to draw, all by default, and
    ``room`` is that of `legend_below`.
    """
    strange = [p for p in parts or () if p not in PARTS]
    if strange:
        raise ValueError(f"parts must be some of {list(PARTS)}; got {strange[0]!r}")
    every = parts_of(rows, relative)
    shown = [p for p in PARTS if (every[p].any() if parts is None else p in parts)]
    kept = np.arange(len(names.policies)) if policies is None else np.asarray(policies)
    stack = {p: every[p][:, kept] for p in shown}
    n_times = len(rows["q_pi"])
    total = sum(stack.values(), np.zeros((n_times, len(kept))))
    words = distinct([names.policies[k] for k in kept], 36)
    upright = n_times > _COLUMNS
    ax = axes_of(ax, 7.0, 1.4 + (0.42 if upright else 0.18) * len(kept))
    position = {int(k): i for i, k in enumerate(kept)}
    chosen = np.array([position.get(int(k), -1) for k in rows["policy"]])
    chosen[-1] = -1  # nothing follows the last time
    bars = _Bars(ax, stack, total, upright, _BESIDE if numbers and not upright else _ROOM)
    bars.ground(chosen)
    bars.draw()
    if numbers and not upright:
        bars.write()
    bars.frame(chosen, words)
    if legend:
        legend_below(ax, bars.handles(relative, chosen), 32.0 if upright else 40.0, room)
    title(ax, _say(every, total, shown, kept, names))
    return ax


def _say(every: Mapping[str, Floats], total: Floats, shown: Sequence[str], kept: NDArray[np.intp], names: Names) -> str:
    gain = sum((every[p] for p in shown if p in _GAINS), np.zeros_like(every["utility"]))[:, kept]
    if not set(shown) & set(_GAINS) or gain.max(initial=0.0) < 0.005:
        return "What policies are worth: nothing is to be gained, utility decides" if "utility" in shown else "Nothing to gain"
    t, k = np.unravel_index(int(gain.argmax()), gain.shape)
    words = names.policies[int(kept[k])]
    return f"Most to gain at time {t + 1}: {number(float(gain.max()), '.2f')} nats ({words})"


def leading(q_pi: Floats, policy: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Which policies to draw if there are more than ``most``: those chosen and the likeliest at any time, in their order."""
    if q_pi.shape[1] <= most:
        return np.arange(q_pi.shape[1])
    weight = q_pi.max(axis=0).copy()
    weight[policy[:-1][policy[:-1] >= 0]] += 1.0
    return np.sort(np.argsort(-weight, kind="stable")[:most])


@checks.checked(source=of_source, words=checks.optional(checks.mapping), relative=checks.flag)
def value_handles(
    source: Source,
    *,
    trial: int = 0,
    scheme: str | int = 0,
    agent: int = 0,
    words: Mapping[str, str] | None = None,
    relative: bool = True,
) -> list[Patch | Line2D]:
    """Entries of a legend of `values`, for figures that have it elsewhere or in other words.

    Args:
        source, trial, scheme, agent, relative: as of `values`.
        words: what to call some of the parts.

    Example:
        >>> ax = values(result, model, legend=False)
        >>> handles = value_handles(result, words={"model": "gain about rules"})
        >>> legend = ax.figure.legend(handles=handles, loc="outside lower left")
    """
    rows = one_trial(source, scheme, agent, trial)
    stack = {p: v for p, v in parts_of(rows, relative).items() if v.any()}
    bars = _Bars(None, stack, sum(stack.values(), np.zeros_like(rows["q_pi"])), False)
    return bars.handles(relative, np.zeros(1, dtype=np.intp), words or {})


class _Bars:
    """Stacked bars of every time and policy. Lying: a column for each time, bars to the right; upright: a row for each policy,
    bars upwards, times along x.
    """

    def __init__(self, ax: Axes | None, stack: Mapping[str, Floats], total: Floats, upright: bool, room: float = _ROOM) -> None:
        self.ax: Any = ax
        self.stack, self.total, self.upright = stack, total, upright
        self.n_times, self.n_policies = total.shape
        near = total >= total.max(axis=1, keepdims=True) - _FAR
        up = sum((np.maximum(v, 0) for v in stack.values()), np.zeros_like(total))
        down = sum((np.minimum(v, 0) for v in stack.values()), np.zeros_like(total))
        self.most, self.least = float(up.max(initial=0.0)), float(down[near].min(initial=0.0))
        self.cut = bool((down < self.least - 1e-9).any())
        self.unit = room / max(self.most - self.least, 1e-9)

    def zero(self, t: NDArray[np.float64] | float) -> NDArray[np.float64] | float:
        """Where the bars of a time (lying) or of a policy (upright) begin."""
        return t - 0.46 - self.least * self.unit if not self.upright else t + 0.46 + self.least * self.unit

    def draw(self) -> None:
        where, at = np.meshgrid(np.arange(self.n_policies), np.arange(1, self.n_times + 1))
        up, down = np.zeros_like(self.total), np.zeros_like(self.total)
        for part, size in self.stack.items():
            paint = PALETTE[PARTS[part][1]]
            for sign, base in ((1, up), (-1, down)):
                length = np.maximum(sign * size, 0.0)
                if sign < 0:  # what is far below all that matters ends at the edge
                    length = np.minimum(length, -self.least - base)
                seen = length * self.unit > 0.002 * _ROOM  # bars of no width would leave slivers
                start, width = sign * base[seen] * self.unit, sign * length[seen] * self.unit
                if self.upright:
                    bottom = self.zero(where[seen].astype(float)) - start
                    self.ax.bar(at[seen], -width, 0.82, bottom, color=paint, linewidth=0)
                else:
                    left = self.zero(at[seen].astype(float)) + start
                    self.ax.barh(where[seen], width, 0.72, left, color=paint, linewidth=0)
                base += length
        ends = np.maximum(self.total, self.least) * self.unit
        worth = self.total >= self.least - 1e-9
        if {p for p, v in self.stack.items() if (v < 0).any()}:  # else the sum is where the bar ends
            if self.upright:
                y = self.zero(where[worth].astype(float)) - ends[worth]
                self.ax.hlines(y, at[worth] - 0.41, at[worth] + 0.41, color=PALETTE["black"], linewidth=1.1, zorder=3)
            else:
                x = self.zero(at[worth].astype(float)) + ends[worth]
                self.ax.vlines(x, where[worth] - 0.4, where[worth] + 0.4, color=PALETTE["black"], linewidth=1.3, zorder=3)

    def ground(self, chosen: NDArray[np.intp]) -> None:
        """Grey behind what was chosen."""
        t = np.flatnonzero(chosen >= 0)
        self.ax.barh(chosen[t], np.ones(len(t)), 1.0, t + 0.5, color="#E3E3E3", linewidth=0, zorder=0)
        if not self.upright:
            self.ax.scatter(t + 1.44, chosen[t], s=22, marker="<", color=PALETTE["black"], linewidths=0, zorder=3)

    def write(self) -> None:
        """The sum of the parts behind the bars."""
        up = sum((np.maximum(v, 0) for v in self.stack.values()), np.zeros_like(self.total))
        for t, k in np.argwhere((np.abs(self.total) >= 0.005) & (self.total >= self.least - 1e-9)):
            x = self.zero(float(t + 1)) + max(up[t, k], 0.0) * self.unit + 0.02
            self.ax.text(x, k, number(self.total[t, k], ".2f"), ha="left", va="center_baseline", fontsize="x-small")

    def frame(self, chosen: NDArray[np.intp], words: Sequence[str]) -> None:
        ax = self.ax
        ax.set_yticks(range(self.n_policies), words)
        ax.set_ylim(self.n_policies - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.spines[:].set_color("#BBBBBB")
        ax.set_ylabel("policy")
        size = 10 ** np.floor(np.log10(max(self.most, -self.least, 1e-9)))
        round_ = lambda most: max((m * size for m in (1, 2, 5) if m * size <= most), default=0.0)  # noqa: E731
        marks = [m for m in (-round_(-self.least), 0.0, round_(self.most)) if m or m == 0.0]
        marks = sorted(set(marks) | {0.0})
        if self.upright:
            time_axis(ax, self.n_times)
            ax.hlines(np.arange(0.5, self.n_policies - 1), 0.5, self.n_times + 0.5, color="#BBBBBB", linewidth=0.7)
            ax.hlines(self.zero(np.arange(self.n_policies) + 0.0), 0.5, self.n_times + 0.5, color="#777777", linewidth=0.5)
            for mark in marks:  # the scale, beside the uppermost row
                y = self.zero(0.0) - mark * self.unit
                ax.annotate(f"{number(mark, 'g')}", (1.0, y), (3, 0), xycoords=ax.get_yaxis_transform(), va="center",
                            textcoords="offset points", fontsize="x-small", annotation_clip=False)  # fmt: skip
            ax.set_xlabel("time (bars in nats, scale at the right)")
            return
        times = np.arange(1, self.n_times + 1)
        ax.vlines(np.arange(1.5, self.n_times), -0.5, self.n_policies - 0.5, color="#BBBBBB", linewidth=0.7)
        if self.least < 0:
            ax.vlines(self.zero(times + 0.0), -0.5, self.n_policies - 0.5, color="#999999", linewidth=0.5, zorder=1)
        ax.set_xlim(0.5, self.n_times + 0.5)
        told = [
            (t, m) for t in times for m in (marks if self.n_times <= 8 or t == 1 else [0.0])
        ]  # the scale, where it has room
        ax.set_xticks(
            [self.zero(float(t)) + m * self.unit for t, m in told], [number(m, "g") for _, m in told], fontsize="x-small"
        )
        ax.set_xticks(times, [f"\n{t}" for t in times], minor=True)
        ax.tick_params(axis="x", which="minor", length=0)
        ax.set_xlabel("nats at each time")

    def handles(self, relative: bool, chosen: NDArray[np.intp], words: Mapping[str, str] | None = None) -> list[Patch | Line2D]:
        below = {"utility": ", below the best policy's", "later": ", below the best policy's"} if relative else {}
        called = {p: PARTS[p][0] for p in PARTS} | dict(words or {})
        out: list[Patch | Line2D] = [
            Patch(facecolor=PALETTE[PARTS[p][1]], label=called[p] + below.get(p, "")) for p in self.stack
        ]
        if {p for p, v in self.stack.items() if (v < 0).any()}:
            out.append(Line2D([], [], color=PALETTE["black"], linewidth=1.3, label="the sum"))
        if (chosen >= 0).any():
            out.append(Patch(facecolor="#E3E3E3", label="what it does next"))
        if self.cut:
            out.append(Line2D([], [], linestyle="", label=f"(cut: over {_FAR:g} nats below the best)"))
        return out
