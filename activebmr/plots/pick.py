"""Picking measures, schemes, agents and trials by name or number, with errors that say what there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr import checks
from activebmr.simulation.result import Result

__all__ = [
    "LABELS",
    "Adoption",
    "Source",
    "adoption",
    "agent_measures",
    "index",
    "label_of",
    "of_source",
    "one_trial",
    "per_agent",
    "per_trial",
    "record",
    "trial_measures",
    "truth_of",
    "whose",
    "window_of",
]

Source = Result | Mapping[str, Any]
"""Where the steps of trials can be found: a result with a trace, its trace, or what `activebmr.replay` returned."""

LABELS = {
    "wins": "wins",
    "losses": "losses",
    "net_wins": "wins − losses",
    "confidence": "confidence (nats)",
    "free_energy": "free energy (nats)",
    "log_odds": "log odds of the best model (nats)",
    "kl_to_truth": "KL from the truth (nats)",
    "true_model_posterior": "posterior of the true model",
    "score": "score",
    "discovery_trials": "discovery time (trials)",
    "adoption_trial": "trial of adoption",
}
"""How axes name the measures of any paradigm; a paradigm's own are named as they are, see `label_of`."""


def of_source(value: Any, name: str) -> Source:
    """A source, see `Source`.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(value, (Result, Mapping)):
        raise TypeError(f"{name} must be a Result with a trace, its trace or a replay; got {checks.brief(value)}")
    return value


_NO_LINES = ("best_model", "adopted_model", "true_model")  # numbers of hypotheses, of which no mean can be taken


def label_of(measure: str, result: Result | None = None) -> str:
    """How axes name a measure; with a result, also its paradigm's own, with their units."""
    if measure in LABELS or result is None or measure not in result.measures:
        return LABELS.get(measure, measure.replace("_", " "))
    unit = result.about(measure)[1]
    return measure.replace("_", " ") + (f" ({unit})" if unit else "")


def _with_axes(result: Result, *axes: str) -> list[str]:
    """Measures of a result that have a number for each of these axes, and of which a mean can be taken."""
    return [n for n in result.measures if n not in _NO_LINES and result.dims(n) == axes]


def trial_measures(result: Result) -> list[str]:
    """Measures that `per_trial` knows of a result."""
    known = _with_axes(result, "scheme", "agent", "trial")
    return (["net_wins"] if {"wins", "losses"} <= set(known) else []) + known


def agent_measures(result: Result) -> list[str]:
    """Measures that `per_agent` knows of a result."""
    return _with_axes(result, "scheme", "agent")


def index(name: str, value: Any, count: int) -> int:
    """A position in 0..count - 1."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or not 0 <= value < count:
        raise ValueError(f"{name} must be a whole number in 0..{count - 1}; got {value!r}")
    return int(value)


def per_trial(result: Result, measure: str, scheme: str | int) -> NDArray[Any]:
    """A measure of one scheme ``(agent, trial)``; ``net_wins`` are wins - losses."""
    checks.choice(measure, "measure", trial_measures(result))
    s = result.index(scheme)
    if measure == "net_wins":
        return result["wins"][s].astype(float) - result["losses"][s]
    values = result[measure][s].astype(float)
    if np.isnan(values).all():
        raise ValueError(f"measure {measure!r} must be known for the scheme: {result.schemes[s]!r} has no hypotheses")
    return values


def per_agent(result: Result, measure: str, scheme: str | int) -> NDArray[Any]:
    """A measure of one scheme ``(agent,)``; a trial of adoption counts from 1 and is nan for agents that adopted nothing."""
    checks.choice(measure, "measure", agent_measures(result))
    values = result[measure][result.index(scheme)].astype(float)
    return np.where(values < 0, np.nan, values + 1) if measure == "adoption_trial" else values


@dataclass(frozen=True)
class Adoption:
    """When an agent adopted the hypothesis that it holds in the end, and whether that was an insight.

    Attributes:
        trial: the trial after which it did, from 1.
        model: the hypothesis, from 0.
        right: whether it is the true one or agrees with it everywhere: only then it is an insight. None if nothing is known of
            the truth.
    """

    trial: int
    model: int
    right: bool | None

    @property
    def until(self) -> str:
        """What came to pass, after "until"."""
        if self.right:
            return "insight"
        return f"it adopts {'a wrong hypothesis' if self.right is False else 'a hypothesis'}"

    @property
    def sentence(self) -> str:
        """What came to pass, and when."""
        if self.right:
            return f"insight after trial {self.trial}"
        what = f"a wrong hypothesis ({self.model})" if self.right is False else f"hypothesis {self.model}"
        return f"it adopts {what} after trial {self.trial}"


def adoption(result: Result, scheme: int, agent: int) -> Adoption | None:
    """What an agent adopted, or None."""
    if "adoption_trial" not in result.arrays:
        return None
    trial, model = int(result["adoption_trial"][scheme, agent]), int(result["adopted_model"][scheme, agent])
    if trial < 0 or model < 0:
        return None
    right = None if truth_of(result, agent) is None else bool(result.adopted_truth[scheme, agent])
    return Adoption(trial + 1, model, right)


def truth_of(result: Result, agent: int) -> int | None:
    """The true hypothesis of an agent (from 0), or None."""
    true = np.asarray(result.arrays.get("true_model", -1))
    number = int(true[agent] if true.ndim else true)
    return number if number >= 0 else None


def whose(result: Result, scheme: int, agent: int, said: str) -> str:
    """A headline, with the agent and the scheme that it is about where there are several."""
    if result.sizes["agent"] == 1 and len(result.schemes) == 1:
        return said
    of = f" ({result.schemes[scheme]})" if len(result.schemes) > 1 else ""
    return f"Agent {agent}{of}: {said[0].lower()}{said[1:]}"


def window_of(result: Result, scheme: int, within: bool = False, agent: int | None = None) -> float:
    """Occam's window of a scheme, nats, as it was when the result was made: infinite where none is known.

    Args:
        result: from `simulate`.
        scheme: position.
        within: for odds of the posterior at the times of a trial. Agents that compare hypotheses in their sleep alone have no
            window for these: what they compare then is the evidence of each with that of none.
        agent: position, where agents may have windows of their own; without it these are infinite unless all are the same.
    """
    about = result.settings.get("schemes", {}).get(result.schemes[scheme], {})
    sleep = about.get("introspection")
    if sleep:
        windows = {_window(t["threshold"], agent) for t in sleep.values() if isinstance(t, Mapping) and "threshold" in t}
        return windows.pop() if len(windows) == 1 and not within else np.inf
    return _window((about.get("selection") or {}).get("threshold", 16.0), agent)


def _window(told: Any, agent: int | None) -> float:
    """A window as settings tell it: a number, or one for each agent."""
    try:
        windows = np.asarray(told, dtype=float).ravel()
    except (TypeError, ValueError):
        return np.inf
    if len(windows) > 1 and agent is not None and agent < len(windows):
        return float(windows[agent])
    return float(windows[0]) if len(windows) and (windows == windows[0]).all() else np.inf


@checks.checked(source=of_source)
def record(source: Result | Mapping[str, Any], scheme: str | int = 0, agent: int = 0) -> dict[str, NDArray[Any]]:
    """Everything recorded of one agent, step by step: arrays with axes ``(trial, ...)`` or ``(trial, time, ...)``.

    Args:
        source: a result of ``simulate(..., trace=True)``, its ``trace``, or what `activebmr.replay` returned (already
            one agent).
        scheme, agent: which one, for results.

    Example:
        >>> record(result, agent=1)["q_pi"].shape  # trials, times, policies
        (3, 6, 16)
    """
    if isinstance(source, Result):
        if not source.trace:
            raise ValueError(
                "source must be recorded step by step: simulate(..., trace=True), or replay; this Result has no trace"
            )
        scheme = source.index(scheme)
        source = source.trace
    if "policy" not in source:
        raise ValueError(f"source must be a Result, its trace or a replay, with an array 'policy'; got {sorted(source)}")
    if np.ndim(source["policy"]) == 2:
        return {name: np.asarray(array) for name, array in source.items() if np.ndim(array)}
    if np.ndim(source["policy"]) == 3:  # a replay of several participants
        a = index("agent", agent, len(source["policy"]))
        return {name: np.asarray(array)[a] for name, array in source.items() if np.ndim(array)}
    n_schemes, n_agents = np.shape(source["policy"])[:2]
    s, a = index("scheme", scheme, n_schemes), index("agent", agent, n_agents)
    return {name: np.asarray(array)[s, a] for name, array in source.items()}


@checks.checked(source=of_source)
def one_trial(source: Source, scheme: str | int, agent: int, trial: int) -> dict[str, NDArray[Any]]:
    """What was recorded in one trial (from 0) of an agent: ``(time, ...)`` for what changes within it; times that it lacks, as
    trials of a replay may be shorter than the longest one, are left out.

    Raises:
        ValueError: if there is no such trial, or it was not recorded.
    """
    rows = record(source, scheme, agent)
    trial = index("trial", trial, len(rows["policy"]))
    if isinstance(source, Result) and len(source.schemes) > 1 and np.isnan(rows["q_pi"]).all():
        raise ValueError(
            f"scheme must be one that has a trace; {source.schemes[source.index(scheme)]!r} has none beside the others, whose "
            "agents have other states or policies: simulate it alone"
        )
    lived = np.isfinite(rows["free_energy"][trial]) if "free_energy" in rows else np.ones(rows["policy"].shape[1], dtype=bool)
    if not lived.any():
        raise ValueError(f"trial {trial} of source did not take place")
    timed = {n for n, a in rows.items() if a.shape[:2] == rows["policy"].shape and not n.startswith("pA_")}
    held = {name: array[trial][lived] if name in timed else array[trial] for name, array in rows.items()}
    return {name: _own(name, array, held) for name, array in held.items()}


_OF_POLICIES = ("q_pi", "neg_efe", "utility", "state_info_gain", "param_info_gain", "model_info_gain")


def _own(name: str, array: NDArray[Any], held: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """An array without the policies, states or hypotheses that only other schemes of a result have: these are nan."""
    source = (
        held.get("q_pi") if name in _OF_POLICIES else array if name.startswith("qs_") or name == "model_posterior" else None
    )
    if source is None or source.ndim != 2 or array.ndim != 2 or not np.isnan(source[:, -1:]).any():
        return array
    there = np.flatnonzero(~np.isnan(source).any(axis=0))
    return array[:, : there[-1] + 1] if len(there) else array
