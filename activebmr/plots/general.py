"""Figures that any result has: measures over trials and over agents, and what became of hypotheses; each by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from activebmr import checks
from activebmr.arrays import standard_error
from activebmr.files import file_name
from activebmr.plots.measures import histogram, trial_axis
from activebmr.plots.models import insight, log_odds, model_posterior
from activebmr.plots.page import save
from activebmr.plots.pick import agent_measures, label_of, per_trial, trial_measures
from activebmr.plots.style import axes_of, colour, legend_below, number, style, style_now, tidy, title
from activebmr.simulation.result import Result

__all__ = ["curves", "general_figures"]

_TRIALS = ("net_wins", "kl_to_truth", "true_model_posterior", "free_energy")  # without a paradigm's own the first two
_AGENTS = ("score", "discovery_trials", "adoption_trial")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)))


@checks.checked(result=checks.an(Result), measure=checks.text, ax=checks.optional(checks.an(Axes)))
def curves(
    result: Result, measure: str = "free_energy", schemes: Sequence[str | int] | None = None, *, ax: Axes | None = None
) -> Axes:
    """A measure over trials: the mean over agents of every scheme, with its standard error as a band.

    Args:
        result: from `simulate`.
        measure: one with a value per trial, or ``net_wins`` (wins - losses).
        schemes: names or positions; by default all that have the measure.
        ax: where to draw.

    Raises:
        ValueError: if a measure or a scheme is not there, or no scheme is left.

    Example:
        >>> both = ab.simulate([three_ball.paradigm(scheme) for scheme in ("reasoning", "paper")], n_agents=4, n_trials=3)
        >>> ax = curves(both, "true_model_posterior", ["reasoning", "paper"])
    """
    chosen = [
        result.index(s) for s in (range(result.sizes["scheme"]) if schemes is None else checks.sequence(schemes, "schemes"))
    ]
    if not chosen:
        raise ValueError("schemes must name at least one scheme; got none")
    rows = {s: per_trial(result, measure, s) for s in chosen if schemes is not None or _known(result, measure, s)}
    if not rows:
        raise ValueError(f"measure {measure!r} must be known for a scheme; it is for none")
    ax = axes_of(ax)
    trials = np.arange(1, result.sizes["trial"] + 1)
    dot = "o" if len(trials) == 1 else ""
    for s, values in rows.items():
        values = np.where(np.isfinite(values), values, np.nan)
        mean = values.mean(axis=0)
        error = np.array([standard_error(v) for v in values.T])
        line = {"color": colour(s), "linestyle": _DASHES[s // 7 % len(_DASHES)], "linewidth": 1.8, "marker": dot}
        ax.plot(trials, mean, label=result.schemes[s], **line)
        if np.isfinite(error).any():
            ax.fill_between(trials, mean - error, mean + error, color=colour(s), alpha=0.2, linewidth=0)
    trial_axis(ax, len(trials))
    ax.set_ylabel(label_of(measure, result))
    legend_below(ax, points=32, room=0.85)
    last = {s: float(v[:, -1].mean()) for s, v in rows.items()}
    name = label_of(measure, result).split(" (")[0]
    name = name[:1].upper() + name[1:]
    low, high = min(last, key=lambda s: last[s]), max(last, key=lambda s: last[s])
    if len(rows) == 1:
        title(ax, f"{name}: {number(last[low])} in the last trial ({result.schemes[low]})")
    else:
        ends = f"from {number(last[low])} ({result.schemes[low]}) to {number(last[high])} ({result.schemes[high]})"
        title(ax, f"{name} in the last trial: {ends}; bands: standard errors")
    tidy(ax)
    return ax


def _known(result: Result, measure: str, scheme: int) -> bool:
    try:
        return bool(np.isfinite(per_trial(result, measure, scheme)).any())
    except ValueError as error:
        if "must be one of" in str(error):  # there is no such measure at all
            raise
        return False


@checks.checked(result=checks.an(Result), folder=checks.path_like)
def general_figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw what any result shows into a folder, which is made if it is not there; one picture in each file.

    ``trials_<measure>.png``: means over trials (`curves`). ``agents_<measure>.png``: how agents differ (`histogram`). If agents
    have hypotheses: ``adoptions.png`` (`insight`), and of the agent in the middle ``hypotheses.png`` (`model_posterior`) and
    ``log_odds.png``. In the style of the `style` block that one is in, so under ``style("talk")`` they are slides.

    Returns:
        the files written.

    Example:
        >>> paths = general_figures(result, "figures")
        >>> paths[0].name
        'trials_answered_right.png'
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with style(style_now()):
        return [save(ax, folder / f"{file_name(name)}.png") for name, ax in _drawn(result)]


def _drawn(result: Result) -> Iterator[tuple[str, Axes]]:
    own = set(result.own_measures)
    by_trial, by_agent = trial_measures(result), agent_measures(result)
    told = [result[m] for m in result.own_measures]  # a paradigm may have a standard measure under a name of its own
    again = {m for m in by_agent if m not in own and any(np.array_equal(result[m], t, equal_nan=True) for t in told)}
    usual = [m for m in _TRIALS if m in by_trial][:2]
    for measure in [m for m in by_trial if m in own] + usual:
        if any(_known(result, measure, s) for s in range(result.sizes["scheme"])):
            yield f"trials_{measure}", curves(result, measure)
    for measure in [m for m in by_agent if m in own] + [m for m in _AGENTS if m in by_agent and m not in own | again]:
        yield f"agents_{measure}", histogram(result, measure)
    belief = result["true_model_posterior"]
    thinking = [s for s in range(result.sizes["scheme"]) if np.isfinite(belief[s]).any()]
    if thinking:
        s = thinking[0]
        times = result["adoption_trial"][s].astype(float)
        times = np.where(times < 0, result.sizes["trial"], times)
        agent = int(np.abs(times - np.median(times)).argmin())
        yield "adoptions", insight(result, s)
        yield "hypotheses", model_posterior(result, s, agent)
        yield "log_odds", log_odds(result, s, agent)
