"""The inside of a trial: what happened, what was believed, what policies were worth and why, and what became of hypotheses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from activebmr import checks
from activebmr.model.pomdp import POMDP
from activebmr.plots.canvas import PictureAxes, picture
from activebmr.plots.events import draw_events, n_rows
from activebmr.plots.models import log_odds
from activebmr.plots.names import Names, names_of
from activebmr.plots.pick import Source, index, of_source, one_trial, truth_of, window_of
from activebmr.plots.relive import paradigm_of, relive
from activebmr.plots.steps import draw_beliefs, draw_policies, key_below
from activebmr.plots.style import fit, style_now
from activebmr.plots.thoughts import POINTS, draw_hypotheses, draw_odds, row_height
from activebmr.plots.values import draw_values, leading
from activebmr.simulation.holdings import model_as_it_was
from activebmr.simulation.paradigm import Paradigm
from activebmr.simulation.registry import ParadigmModule, build_paradigm, installed
from activebmr.simulation.result import Result

__all__ = ["PANELS", "trial"]

PANELS = ("events", "beliefs", "policies", "values", "hypotheses", "odds")
"""What `trial` can show, from top to bottom."""

_SLIDE = ("events", "beliefs", "values", "hypotheses")
_POLICIES, _ON_SLIDE = 20, 12  # so many policies have rows of their own
_WIDTH = 9.0  # inches


@dataclass
class _Shown:
    """One trial, and all that is known about it."""

    rows: dict[str, NDArray[Any]]
    names: Names
    truth: int | None = None
    model_names: Sequence[str] = ()
    classes: NDArray[np.intp] | None = None
    window: float = np.inf
    lived: Result | None = None
    where: tuple[int, int, int] = (0, 0, 0)
    everything: bool = False
    kept: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, dtype=np.intp))

    @property
    def belief(self) -> NDArray[np.float64] | None:
        """Posterior over hypotheses at every time, if the agent compares them within trials."""
        held = self.rows.get("model_posterior")
        if held is None or held.ndim != 2 or not held.shape[1] or np.isnan(held).any():
            return None
        return held


@checks.checked(source=of_source, model=checks.optional(checks.an(POMDP)), panels=checks.optional(checks.items(checks.text)))
def trial(
    source: Source,
    scheme: str | int = 0,
    agent: int = 0,
    trial: int = 0,
    *,
    model: POMDP | None = None,
    panels: Sequence[str] | None = None,
    module: ParadigmModule | None = None,
) -> Figure:
    """The inside of one trial of any paradigm: states, outcomes and actions, beliefs over each factor, the posterior over
    policies, every policy's value split into utility and gains, the belief over hypotheses, and its log odds.

    Results that were saved without a trace will do, if their paradigm is installed: the agent lives again, with the same random
    numbers. Under ``plots.style("talk")`` the figure has the shape of a slide.

    Args:
        source: from `simulate`, or what `activebmr.replay` returned.
        scheme: name or position.
        agent: its position, from 0.
        trial: from 0, as in arrays; the figure itself counts trials and times from 1.
        model: the agent's, which names everything; by default the paradigm's that the result names. Without either, factors
            have their names, and all else has numbers.
        panels: some of `PANELS`; by default all that there is something to show in.
        module: the paradigm's, see `activebmr.simulation.registry.load_paradigm`; by default the installed one of its name.
            That of a file has to be handed over: no file is run because a result names it.

    Returns:
        the figure.

    Raises:
        ValueError: if the scheme, the agent, the trial or a panel is not there, or the model is another one.

    Example:
        >>> figure = trial(result, "reasoning", agent=1, trial=2)
    """
    strange = [p for p in panels or () if p not in PANELS]
    if strange:
        raise ValueError(f"panels must be some of {list(PANELS)}; got {strange[0]!r}")
    if panels is not None and not panels:
        raise ValueError("panels must name at least one panel; got none")
    shown = _look_up(source, scheme, agent, trial, model, module)
    shown.everything = panels is not None or style_now() != "talk"
    slide = style_now() == "talk"
    wanted = [p for p in PANELS if p in (panels or (_SLIDE if slide else PANELS))]
    drawn = [part for name in wanted for part in _PARTS[name](shown)]
    if not drawn:
        raise ValueError(f"panels must name something that the trial has; there is nothing to show in {list(wanted)}")
    figure = _lay_out(drawn, slide)
    head, note = _words(shown, source, drawn)
    fit(figure.suptitle(head, x=0.012, ha="left", fontsize=11.5, fontweight="bold"))
    fit(figure.supxlabel(note, x=0.012, ha="left", fontsize="small", color="#444444"))
    return figure


# --- what is known ---------------------------------------------------------------------------------------------------------
def _look_up(
    source: Source, scheme: str | int, agent: int, trial: int, model: POMDP | None, module: ParadigmModule | None = None
) -> _Shown:
    if not isinstance(source, Result):
        rows = one_trial(source, scheme, agent, trial)
        paradigm = _replayed(source, module)
        model = paradigm.agent.model if model is None and paradigm is not None else model
        truth = int(np.asarray(source.get("true_model", -1)).flat[0])
        shown = _Shown(rows, names_of(model, rows), truth if truth >= 0 else None, where=(0, agent, trial))
        if paradigm is not None:
            shown.window = float(paradigm.agent.selection.threshold)
            if paradigm.hypotheses is not None:
                shown.model_names, shown.classes = paradigm.hypotheses.descriptions, paradigm.hypotheses.distinct()[1]
    else:
        s, a = source.index(scheme), index("agent", agent, source.sizes["agent"])
        index("trial", trial, source.sizes["trial"])
        traced = bool(source.trace) and not np.isnan(source.trace["q_pi"][s]).all()
        rows = one_trial(source, s, a, trial) if traced else one_trial(relive(source, s, a, trial, module=module), 0, 0, trial)
        paradigm = _paradigm(source, s, module)
        if model is None and paradigm is not None:
            first = paradigm if s == 0 else _paradigm(source, 0, module)  # whose names the settings have
            model = model_as_it_was(source.settings, paradigm.agent.model, paradigm.model, *([first.model] if first else []))
        if paradigm is not None and paradigm.hypotheses is not None and paradigm.hypotheses.models:
            rows.pop("states", None)  # the world is one of several models: its states are not those that agents believe in
        shown = _Shown(
            rows,
            names_of(model, rows, source.settings.get("labels")),
            truth_of(source, a),
            [str(n) for n in source["model_names"]],
            source["model_class"],
            window_of(source, s, within=True, agent=a),
            source,
            (s, a, trial),
        )
    shown.kept = leading(rows["q_pi"], rows["policy"], _ON_SLIDE if style_now() == "talk" else _POLICIES)
    return shown


def _replayed(source: Mapping[str, Any], module: ParadigmModule | None) -> Paradigm | None:
    """The paradigm of a replay that the command wrote, which names it; files that it may name are not run."""
    if not {"paradigm", "scheme"} <= set(source):
        return None
    truth = int(np.asarray(source.get("true_model", -1)).flat[0])
    try:
        module = installed(str(source["paradigm"])) if module is None else module
        if module is None:
            return None
        return build_paradigm(module, str(source["scheme"]), truth if truth >= 0 else None)
    except ValueError:
        return None


def _paradigm(result: Result, scheme: int, module: ParadigmModule | None) -> Paradigm | None:
    try:
        return paradigm_of(result, scheme, module)
    except ValueError:  # a paradigm that is not installed: all has numbers
        return None


# --- what is drawn ---------------------------------------------------------------------------------------------------------
@dataclass
class _Part:
    """A panel: its height in inches without what is around it, how to draw it on axes, and on which side of a slide."""

    height: float
    draw: Callable[[Axes], Any]
    right: bool = False
    around: float = 0.48


def _events(shown: _Shown) -> list[_Part]:
    return [_Part(0.19 * n_rows(shown.rows, shown.names), lambda ax: draw_events(shown.rows, shown.names, ax=ax))]


def _beliefs(shown: _Shown) -> list[_Part]:
    factors = _factors(shown)

    def draw(f: int, ax: Axes) -> None:
        draw_beliefs(shown.rows, shown.names, f, ax=ax)
        if f == factors[-1]:
            known = "states" in shown.rows and (shown.rows["states"] >= 0).any()
            ax.set_xlabel("time", loc="right")
            key_below(ax, "true state" if known else "", _room())
        else:
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)

    tall = lambda n: 0.155 * n if n <= 16 else 2.5  # noqa: E731
    return [
        _Part(tall(len(shown.names.states[f])), lambda ax, f=f: draw(f, ax), around=0.6 if f == factors[-1] else 0.25)  # type: ignore[misc]
        for f in factors
    ]


def _factors(shown: _Shown) -> list[int]:
    """Factors whose beliefs are drawn: those with states to doubt, on slides those that are ever in doubt."""
    factors = [f for f, states in enumerate(shown.names.states) if len(states) > 1]
    doubted = [f for f in factors if shown.rows[f"qs_{shown.names.factors[f]}"].max(axis=1).min() < 0.95]
    return factors if shown.everything else doubted


def _room() -> float:
    """Share of the width that a legend may have: slides have two panels beside each other."""
    return 0.27 if style_now() == "talk" else 0.62


def _policies(shown: _Shown) -> list[_Part]:
    if len(shown.names.policies) < 2:
        return []

    def draw(ax: Axes) -> None:
        wide = len(shown.rows["q_pi"]) <= 12
        draw_policies(shown.rows, shown.names, numbers=wide, policies=shown.kept, ax=ax)
        ax.set_xlabel("time", loc="right")
        key_below(ax, "what it does next", _room())

    return [_Part(0.145 * max(3, len(shown.kept)), draw, right=True, around=0.6)]


def _values(shown: _Shown) -> list[_Part]:
    if len(shown.names.policies) < 2:
        return []
    upright, slide = len(shown.rows["q_pi"]) > 12, style_now() == "talk"
    each = (0.36 if upright else 0.165) * (1.5 if len(shown.kept) <= 4 else 1.0)

    def draw(ax: Axes) -> None:
        numbers = len(shown.rows["q_pi"]) <= (6 if slide else 8)
        draw_values(shown.rows, shown.names, numbers=numbers, room=_room(), policies=shown.kept, ax=ax)

    return [_Part(each * len(shown.kept), draw, right=True, around=(0.9 if upright else 1.05) + 0.3 * slide)]


def _hypotheses(shown: _Shown) -> list[_Part]:
    belief = shown.belief
    if belief is None or belief.shape[1] < 2:
        return []
    most, points = (5, 130.0) if style_now() == "talk" else (8, POINTS)
    rows = min(belief.shape[1], most + 1)
    names, truth = shown.model_names, shown.truth
    draw = lambda ax: draw_hypotheses(belief, names, truth, most=most, points=points, ax=ax)  # noqa: E731
    return [_Part(row_height(names, points) * rows, draw, right=True)]


def _odds(shown: _Shown) -> list[_Part]:
    belief = shown.belief
    if belief is not None and belief.shape[1] > 1:
        return [
            _Part(0.9, lambda ax: draw_odds(belief, shown.classes, shown.truth, shown.window, room=_room(), ax=ax), True, 0.8)
        ]
    s, a, t = shown.where
    result = shown.lived
    if result is None or not np.isfinite(result["log_odds"][s, a]).any():
        return []

    def between(ax: Axes) -> None:  # agents that compare hypotheses when a trial is over, in their sleep
        log_odds(result, s, a, ax=ax)
        ax.axvspan(t + 0.5, t + 1.5, color="#E3E3E3", linewidth=0, zorder=0)

    return [_Part(1.1, between, True, 0.6)]


_PARTS: dict[str, Callable[[_Shown], list[_Part]]] = {
    "events": _events,
    "beliefs": _beliefs,
    "policies": _policies,
    "values": _values,
    "hypotheses": _hypotheses,
    "odds": _odds,
}


def _lay_out(parts: Sequence[_Part], slide: bool) -> Figure:
    """A column of panels as high as they need; on a slide two columns, what happens at the left and thoughts at the right."""
    columns = [[p for p in parts if not p.right], [p for p in parts if p.right]]
    columns = [c for c in (columns if slide else [list(parts)]) if c]
    needed = max(sum(p.height + p.around for p in c) for c in columns) + 0.75
    size = (max(10.0, needed * 16 / 9), max(10.0 * 9 / 16, needed)) if slide else (_WIDTH, needed)
    figure = picture(size, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.05, w_pad=0.06, hspace=0.0, wspace=0.02)  # type: ignore[union-attr, call-arg]
    grid = figure.add_gridspec(1, len(columns))
    for c, column in enumerate(columns):
        rows = grid[c].subgridspec(len(column), 1, height_ratios=[max(p.height, 0.15) for p in column])
        for k, part in enumerate(column):
            part.draw(figure.add_subplot(rows[k], axes_class=PictureAxes))
    return figure


def _words(shown: _Shown, source: Source, parts: Sequence[_Part]) -> tuple[str, str]:
    s, a, t = shown.where
    result = shown.lived
    if result is None:
        head = f"Trial {t + 1}" + (f" of participant {a}" if np.ndim(source["policy"]) == 3 else "")  # type: ignore[index]
    else:
        name = result.settings.get("paradigm", "")
        head = (
            f"{name}, scheme {result.schemes[s]}: agent {int(result['agent'][a])} in trial {t + 1} of {result.sizes['trial']}"
        )
    note = "Trials and times count from 1, agents and hypotheses from 0."
    if shown.truth is not None and len(shown.model_names) > shown.truth:
        note = f"True hypothesis: {shown.truth}, {shown.model_names[shown.truth]}. {note}"
    if not shown.everything and len(_factors(shown)) < sum(len(states) > 1 for states in shown.names.states):
        note += " Beliefs about factors that are known at all times are left out."
    if len(shown.kept) < len(shown.names.policies):
        note += f" Of {len(shown.names.policies)} policies the {len(shown.kept)} that were chosen or likeliest are shown."
    return head, note
