"""Measures: what a simulation counts of every agent, by name, with a sentence, a unit and named axes.

`STANDARD` are those that every simulation may have; a paradigm adds its own (`Measure`), the first of which says what counts as
success in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr import checks

__all__ = ["ABOUT_HYPOTHESES", "DIMENSIONS", "STANDARD", "Measure", "blank", "measures_of", "of_whom", "worked_out"]

_TRIAL, _AGENT = ("scheme", "agent", "trial"), ("scheme", "agent")


@dataclass(frozen=True)
class Measure:
    """What a number means and where it comes from.

    Attributes:
        sentence: what it says, in words, without a full stop: ``"trials in which the cheese was found"``.
        unit: of the numbers: ``"trials"``, ``"nats"``, ``"share"``, ``"steps"``; ``""`` for mere numbers.
        source: a function of the `Result` that returns an array ``(scheme, agent)`` or ``(scheme, agent, trial)``; or the name
            of a standard measure, or of another attribute of `Result`, such as ``"adopted_truth"``.
        axes: names of the axes, where the array has others than these.

    Raises:
        ValueError, TypeError: if one of these is something else.

    Example:
        >>> Measure("trials without a loss", "share", lambda result: result.losses == 0).unit
        'share'
    """

    sentence: str
    unit: str
    source: str | Callable[[Any], Any]
    axes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.sentence, str) or not self.sentence.strip():
            raise TypeError(f"sentence of Measure must be a sentence; got {self.sentence!r}")
        if not isinstance(self.unit, str):
            raise TypeError(f"unit of Measure must be a string, such as 'trials' or ''; got {self.unit!r}")
        if not isinstance(self.source, str) and not callable(self.source):
            raise TypeError(f"source of Measure must be a function of the result or a name; got {self.source!r}")
        if self.axes is not None:
            axes = (self.axes,) if isinstance(self.axes, str) else tuple(checks.sequence(self.axes, "axes of Measure"))
            if not all(isinstance(a, str) for a in axes) or axes[:2] != _AGENT or len(set(axes)) != len(axes):
                raise ValueError(f"axes of Measure must be names that begin with 'scheme', 'agent'; got {self.axes!r}")
            object.__setattr__(self, "axes", axes)


STANDARD: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "wins": ("outcomes that are worth more than nothing", "outcomes", _TRIAL),
    "losses": ("outcomes that are worth less than nothing", "outcomes", _TRIAL),
    "confidence": ("negative entropy of the posterior over policies, summed over the trial", "nats", _TRIAL),
    "free_energy": ("variational free energy of what was observed, summed over the trial", "nats", _TRIAL),
    "impossible": ("observations that the agent's model held impossible", "observations", _TRIAL),
    "unsure": ("observations after which no hypothesis was beyond Occam's window", "observations", _TRIAL),
    "log_odds": ("log odds of the best hypothesis", "nats", _TRIAL),
    "kl_to_truth": ("divergence of what was learned, or of the posterior over hypotheses, from the truth", "nats", _TRIAL),
    "best_model": ("index of the best hypothesis, -1 for none", "index", _TRIAL),
    "true_model_posterior": ("posterior probability of the true hypothesis", "probability", _TRIAL),
    "model_posterior": ("posterior probability of every hypothesis", "probability", (*_TRIAL, "model")),
    "score": ("worth of all outcomes", "worth", _AGENT),
    "discovery_trials": ("trials at whose end what was learned was further than 1 nat from the truth", "trials", _AGENT),
    "adopted_model": ("index of the hypothesis that was adopted, -1 for none", "index", _AGENT),
    "adoption_trial": ("trial after which it was adopted, counted from 0, -1 for none", "index", _AGENT),
}
"""Name -> sentence, unit, axes."""

DIMENSIONS: dict[str, tuple[str, ...]] = {name: axes for name, (_, _, axes) in STANDARD.items()}
"""Standard measures and their axes. Confidence, free energy, log odds and KL are in nats: the latter of learned likelihoods
from the world's or, where hypotheses leave no counts to compare, of the posterior over them from the true one. ``impossible``
counts observations that agents' models held impossible, ``unsure`` those after which no hypothesis was beyond Occam's window.
"""

ABOUT_HYPOTHESES = (
    *("unsure", "log_odds", "best_model", "true_model_posterior", "model_posterior", "adopted_model", "adoption_trial"),
)
"""Standard measures that only simulations with hypotheses have."""
ABOUT_SCORE = ("wins", "losses", "score")
ABOUT_TRUTH = ("kl_to_truth", "discovery_trials")


def of_whom(score: bool, hypotheses: bool, truth: bool) -> list[str]:
    """Names of the standard measures that a simulation has.

    Args:
        score: whether outcomes (or the world's rewards) are worth something.
        hypotheses: whether some agents compare hypotheses.
        truth: whether what some agents learn can be compared with the world.
    """
    without = (() if score else ABOUT_SCORE) + (() if hypotheses else ABOUT_HYPOTHESES) + (() if truth else ABOUT_TRUTH)
    return [name for name in STANDARD if name not in without]


def blank(name: str, sizes: Mapping[str, int]) -> NDArray[Any]:
    """A measure about hypotheses of agents that have none: nan, or -1 among indices."""
    shape = tuple(sizes[axis] for axis in STANDARD[name][2])
    if name == "unsure":
        return np.zeros(shape, dtype=np.int32)
    return np.full(shape, -1) if STANDARD[name][1] == "index" else np.full(shape, np.nan)


def measures_of(given: Any) -> dict[str, Measure]:
    """A paradigm's own measures: ``{name: (sentence, unit, function or name)}``, or `Measure` objects.

    Raises:
        ValueError, TypeError: if it is no such mapping, naming the measure and the rule.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"measures must map names to (sentence, unit, function or name); got {given!r}")
    out: dict[str, Measure] = {}
    for name, value in given.items():
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            raise ValueError(f"measures must have names like variables, such as 'trials_won'; got {name!r}")
        if name in STANDARD:
            raise ValueError(f"measures must not have the name of a standard measure; got {name!r}")
        if isinstance(value, (tuple, list)) and len(value) in (3, 4):
            try:
                value = Measure(*value)
            except (TypeError, ValueError) as error:
                raise type(error)(f"measure {name!r}: {error}") from None
        if not isinstance(value, Measure):
            raise TypeError(f"measure {name!r} must be (sentence, unit, function or name); got {value!r}")
        out[name] = value
    return out


def worked_out(name: str, measure: Measure, result: Any) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The numbers of a measure and the names of their axes.

    Raises:
        ValueError: if its function fails, or returns something that is no array of numbers with these axes.
    """
    try:
        value = getattr(result, measure.source) if isinstance(measure.source, str) else measure.source(result)
        array = np.asarray(value)
    except Exception as error:  # whatever a user's function does
        raise ValueError(f"measure {name!r} could not be worked out: {type(error).__name__}: {error}") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"measure {name!r} must hold numbers; got {array.dtype}")
    axes = measure.axes if measure.axes is not None else _TRIAL[: array.ndim]
    if array.ndim != len(axes) or array.ndim < 2:
        wanted = f"axes {axes}" if measure.axes is not None else "axes (scheme, agent) or (scheme, agent, trial)"
        raise ValueError(f"measure {name!r} must have {wanted}; got shape {array.shape}")
    for axis, size in zip(axes, array.shape, strict=True):
        if axis in result.sizes and result.sizes[axis] != size:
            raise ValueError(f"measure {name!r} must have {result.sizes[axis]} along {axis}; got {size} in shape {array.shape}")
    return array, axes
