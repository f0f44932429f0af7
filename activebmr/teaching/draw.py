"""Small pictures for notebooks: bars, lines, curves, dots and tables of shades, one call each.

They look as those of `activebmr.plots` do and return axes, which a notebook shows where a cell ends with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from activebmr import checks
from activebmr.arrays import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["bars", "curves", "dots", "lines", "shades"]

_NUMBERS = 8  # so many bars of several series have their numbers written above them
_MOST = checks.optional(checks.real(checks.POSITIVE))
_FINITE = checks.Rule("be finite", np.isfinite)
_WORDS = {"label": checks.text, "across": checks.text, "title": checks.text}


def _named(value: Any, name: str) -> Any:
    """The rule that there is something to draw for each of some names."""
    if not checks.mapping(value, name):
        raise ValueError(f"{name} must have a name and a number at least; got none")
    return value


def _numbers(value: Any, name: str) -> Floats:
    """The rule of a row of finite numbers."""
    row = checks.numbers(value, name, _FINITE)
    if row.ndim != 1:
        raise ValueError(f"{name} must be a list of numbers (n,); got shape {row.shape}")
    return row


def _form(value: Any, name: str) -> str:
    """The rule of how numbers are written."""
    try:
        format(1.0, checks.text(value, name))
    except ValueError:
        raise ValueError(f"{name} must say how numbers are written, as '.2f' does; got {value!r}") from None
    return value  # type: ignore[no-any-return]


@checks.checked(
    values=_named,
    label=checks.text,
    title=checks.text,
    most=_MOST,
    stacked=checks.flag,
    legend=checks.text,
    form=_form,
)
def bars(
    values: Mapping[str, Any],
    label: str,
    title: str = "",
    *,
    most: float | None = None,
    stacked: bool = False,
    legend: str = "",
    form: str = ".2f",
) -> Axes:
    """A bar for every name, with its number; or several series of bars, beside or on top of one another.

    Args:
        values: name -> number; or name of a series -> {name -> number}: then every series has a colour of its own.
        label: what the numbers are, with their unit.
        title: of the picture.
        most: upper end of the axis; 1 for probabilities.
        stacked: whether series stand on top of one another (none of them below 0), with their sum above them.
        legend: what the series are; above their names.
        form: how numbers are written; of many bars that stand beside one another they are left out.

    Raises:
        ValueError: if there is nothing to draw, series do not have the same names, or a negative number is to be stacked.

    Example:
        >>> ax = bars({"before": {"red": 0.5, "blue": 0.5}, "after": {"red": 0.75, "blue": 0.25}}, "belief", most=1)
    """
    from activebmr.plots.style import PALETTE, axes_of, colour, number, tidy
    from activebmr.plots.style import title as set_title

    names, series = _series(values)
    heights = np.array(list(series.values()))
    if stacked and (heights < 0).any():
        raise ValueError(f"values must not be negative to be stacked; least value {heights.min():.4g}")
    ax = axes_of(None, 5.5, 2.4 + 0.2 * (len(series) > 1))
    width, places = 0.8 if stacked else 0.8 / len(series), np.arange(len(names))
    base = np.zeros(len(names))
    for i, (key, row) in enumerate(series.items()):
        at = places if stacked else places + (i - (len(series) - 1) / 2) * width
        ax.bar(at, row, 0.92 * width, base, color=colour(i), label=key or None)
        if stacked:
            base = base + row
        elif heights.size <= _NUMBERS or len(series) == 1:
            _write(ax, at, row, form, number)
    if stacked:
        _write(ax, places, base, form, number)
        heights = base
    ax.axhline(0, color=PALETTE["black"], linewidth=0.7)
    low, high = min(0.0, heights.min()), max(heights.max(), 1e-9) if most is None else most
    ax.set_ylim(low * 1.1, high + 0.14 * (high - low))
    ax.set_xticks(places, names)
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel(label)
    tidy(ax)
    if "" not in series:
        ax.legend(title=legend or None, loc="upper left", bbox_to_anchor=(1.0, 1.0), alignment="left", frameon=False)
    if title:
        set_title(ax, title)
    return ax


def _series(values: Mapping[str, Any]) -> tuple[list[str], dict[str, Floats]]:
    """Names, and the numbers of every series; the only one of plain numbers has no name."""
    single = lambda v, key: checks.number(v, f"values[{key!r}]", _FINITE)  # noqa: E731
    if not all(isinstance(v, Mapping) for v in values.values()):
        return list(values), {"": np.array([single(v, key) for key, v in values.items()])}
    names = list(next(iter(values.values())))
    for key, row in values.items():
        if list(row) != names:
            raise ValueError(f"values must have the same names in every series, {names}; {key!r} has {list(row)}")
    return names, {str(key): np.array([single(v, key) for v in row.values()]) for key, row in values.items()}


def _write(ax: Axes, places: Floats, heights: Floats, form: str, number: Any) -> None:
    for x, y in zip(places, heights, strict=True):
        above = {"xytext": (0, 2), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        ax.annotate(number(y, form), (x, max(y, 0.0)), fontsize="small", **above)


@checks.checked(values=_named, start=checks.whole(), most=_MOST, scale=checks.one_of(("linear", "log")), **_WORDS)
def lines(
    values: Mapping[str, ArrayLike],
    label: str,
    across: str,
    title: str = "",
    *,
    start: int = 1,
    most: float | None = None,
    level: tuple[float, str] | None = None,
    scale: str = "linear",
) -> Axes:
    """A line for every name, over whole numbers: draws, looks, trials.

    Args:
        values: name -> numbers ``(n,)``.
        label: what they are, with their unit.
        across: what the whole numbers are.
        title: of the picture.
        start: the first whole number; 0 where the first entry is from before everything.
        most: upper end of the axis; 1 for probabilities, which then also begins at 0.
        level: a dashed line at this height, and what it is.
        scale: ``"linear"`` or ``"log"``.

    Raises:
        ValueError: if there is nothing to draw.

    Example:
        >>> ax = lines({"belief": [0.5, 0.75, 0.9]}, "mostly red", "draw", start=0, most=1)
    """
    from activebmr.plots.style import PALETTE, axes_of, colour, tidy, whole_numbers
    from activebmr.plots.style import title as set_title

    rows = {name: _numbers(row, f"values[{name!r}]") for name, row in values.items()}
    ax = axes_of(None, 5.5, 2.6)
    for i, (name, numbers) in enumerate(rows.items()):
        x = np.arange(start, start + len(numbers))
        dot = {"marker": "o", "markersize": 3.5} if len(numbers) <= 40 else {}
        ax.plot(x, numbers, color=colour(i), linewidth=1.5, label=name, **dot)
    if level is not None:
        ax.axhline(level[0], color=PALETTE["black"], linewidth=0.9, linestyle=(0, (4, 2)), label=level[1], zorder=1)
    ax.set_yscale(scale)
    if most is not None:
        ax.set_ylim(0, 1.05 * most)
    whole_numbers(ax.xaxis, 12)
    ax.set(xlabel=across, ylabel=label)
    tidy(ax)
    if len(values) > 1 or level is not None:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    if title:
        set_title(ax, title)
    return ax


_names = checks.items(checks.text)


@checks.checked(rows=_names, columns=_names, label=checks.text, title=checks.text, most=_MOST, form=checks.optional(_form))
def shades(
    values: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    title: str = "",
    *,
    most: float | None = None,
    form: str | None = ".2f",
) -> Axes:
    """A table of numbers as shades: white for the least (or for 0), dark for the most; with signs, in two colours.

    Args:
        values: ``(n_rows, n_columns)``.
        rows, columns: their names.
        label: what the numbers are, with their unit.
        title: of the picture.
        most: what the darkest shade stands for; 1 for probabilities, by default the largest number.
        form: how the numbers are written into the cells; None for not at all.

    Raises:
        ValueError: if there is not a name for every row and column.

    Example:
        >>> A = [[0.75, 0.25], [0.25, 0.75]]
        >>> ax = shades(A, ["red", "blue"], ["mostly red", "mostly blue"], "probability", most=1)
    """
    from activebmr.plots.style import SHADES, axes_of, number
    from activebmr.plots.style import title as set_title

    table = checks.numbers(values, "values", _FINITE)
    if not table.size or table.shape != (len(rows), len(columns)):
        raise ValueError(
            f"values must have shape {(len(rows), len(columns))}, as rows and columns have names; got {table.shape}"
        )
    long = max(map(len, columns)) > 60 / len(columns)  # names that would not find room beside one another
    ax = axes_of(None, max(5.5, 1.6 + 0.45 * len(columns) * (form is not None)), 1.0 + 0.3 * len(rows) + 0.4 * long)
    most = float(np.abs(table).max(initial=1e-9)) if most is None else most
    signs = bool((table < 0).any())
    image = ax.imshow(table, cmap="RdBu" if signs else SHADES, vmin=-most if signs else 0.0, vmax=most, aspect="auto")
    if form is not None:
        for i, j in np.ndindex(*table.shape):
            dark = abs(table[i, j]) > 0.6 * most
            ax.text(j, i, number(table[i, j], form), ha="center", va="center_baseline", color="white" if dark else "#222222",
                    fontsize="small")  # fmt: skip
    turned = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"} if long else {}
    ax.set_xticks(range(len(columns)), columns, **turned)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0)
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02, fraction=0.05)
    bar.set_label(label)
    bar.outline.set_linewidth(0.5)
    if title:
        set_title(ax, title)
    return ax


@checks.checked(x=_numbers, values=_named, **_WORDS)
def curves(x: ArrayLike, values: Mapping[str, ArrayLike], label: str, across: str, title: str = "") -> Axes:
    """A smooth curve for every name.

    Args:
        x: where the curves are known ``(n,)``.
        values: name -> heights ``(n,)``.
        label: what the heights are.
        across: what x is, with its unit.
        title: of the picture.

    Raises:
        ValueError: if there is nothing to draw, or a curve has another length than x.

    Example:
        >>> x = np.linspace(-3, 3, 61)
        >>> heights = {"prior": np.exp(-(x**2) / 2), "posterior": np.exp(-2 * (x - 1) ** 2)}
        >>> ax = curves(x, heights, "relative density", "value of a weight")
    """
    from activebmr.plots.style import PALETTE, axes_of, colour, tidy
    from activebmr.plots.style import title as set_title

    rows = {name: _numbers(row, f"values[{name!r}]") for name, row in values.items()}
    for name, heights in rows.items():
        if heights.shape != np.shape(x):
            raise ValueError(f"values must have a height for every x, shape {np.shape(x)}; {name!r} has {heights.shape}")
    ax = axes_of(None, 5.5, 2.6)
    for i, (name, heights) in enumerate(rows.items()):
        ax.plot(x, heights, color=colour(i), linewidth=1.5, label=name)
    ax.axvline(0, color=PALETTE["black"], linewidth=0.7, zorder=1)
    ax.set_ylim(bottom=0)
    ax.set(xlabel=across, ylabel=label)
    tidy(ax)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    if title:
        set_title(ax, title)
    return ax


@checks.checked(x=_numbers, y=_numbers, **_WORDS)
def dots(x: ArrayLike, y: ArrayLike, across: str, label: str, title: str = "") -> Axes:
    """A dot for every pair of numbers, with the line on which both are equal.

    Args:
        x, y: the numbers ``(n,)``.
        across, label: what x and y are.
        title: of the picture.

    Raises:
        ValueError: if there are not as many x as y.

    Example:
        >>> ax = dots([1.0, 2.0, 3.0], [1.2, 1.7, 3.1], "truth", "predicted")
    """
    from activebmr.plots.style import axes_of, colour, tidy
    from activebmr.plots.style import title as set_title

    a, b = np.asarray(x), np.asarray(y)
    if a.shape != b.shape:
        raise ValueError(f"x and y must have the same shape (n,); got {a.shape} and {b.shape}")
    ax = axes_of(None, 4.0, 3.6)
    ends = [min(a.min(initial=0), b.min(initial=0)), max(a.max(initial=1), b.max(initial=1))]
    ax.plot(ends, ends, color="#999999", linewidth=0.9, zorder=1)
    ax.scatter(a, b, s=8, color=colour(0), alpha=0.5, linewidths=0)
    ax.set(xlabel=across, ylabel=label)
    tidy(ax)
    if title:
        set_title(ax, title)
    return ax
