"""Checks of the exercises on networks: is a weight needed? No torch is imported here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from activebmr import checks
from activebmr.teaching.remark import Remark, about_number, almost, no, opened, right

__all__ = ["WEIGHTS", "evidence_for_removal", "inputs_needed", "weights_that_go"]

WEIGHTS = {"a": (0.10, 0.20), "b": (0.90, 0.10), "c": (0.50, 0.50), "d": (0.15, 0.03)}
"""Posterior mean and standard deviation of four weights; the prior has mean 0 and standard deviation 1."""


def _evidence(mean: float, sd: float) -> float:
    """Log density of N(mean, sd^2) at 0 minus that of N(0, 1), nats."""
    return math.log(1 / sd) - 0.5 * (mean / sd) ** 2


def evidence_for_removal(answer: Any) -> Remark:
    """A weight's posterior has mean 0.1 and standard deviation 0.2, its prior mean 0 and standard deviation 1. Is it needed?

    Args:
        answer: the log evidence ratio of the network without it against the network with it, in nats.

    Example:
        >>> evidence_for_removal(-1.484)
        almost: the size is right, the sign is not
    """
    truth = _evidence(0.1, 0.2)
    slips = [
        (
            math.log(5),
            "that is the first part; the posterior at 0 is lower than at its mean: subtract half of (mean / sd) squared",
        ),
        (math.log(5) - 0.25, "you forgot the half before (mean / sd) squared"),
        (math.exp(truth), "that is the ratio of the two densities at 0; take its natural logarithm"),
    ]
    why = "positive: the network without it is better supported; at 0 the posterior is higher than the prior was"
    help = "it is the log density of the posterior at 0 minus that of the prior at 0"
    return about_number(answer, truth, why, slips, help, nats=True)


def weights_that_go(answer: Any) -> Remark:
    """Which of four weights are better removed (log evidence ratio above 0)?

    Args:
        answer: their names, in a list, a set or a text: ``["a", "b"]``.

    Example:
        >>> weights_that_go(["a", "d"])
        almost: you went by size: d is small, but so certain that it cannot be 0; c is larger, but might as well be 0
    """
    remark = opened(answer)
    if remark is not None:
        return remark
    parts = answer.replace(",", " ").split() if isinstance(answer, str) else answer
    if isinstance(parts, (list, tuple)) and len(parts) == 1 and isinstance(parts[0], str):
        parts = list(parts[0])
    if not isinstance(parts, (list, tuple, set, frozenset)) or not {str(p) for p in parts} <= set(WEIGHTS):
        return no(f"the answer must be a list of names out of {list(WEIGHTS)}; got {answer!r}")
    chosen = {str(p) for p in parts}
    truth = {name for name, (mean, sd) in WEIGHTS.items() if _evidence(mean, sd) > 0}
    if chosen == truth:
        return right("what counts is not how large a weight is, but whether 0 is a good guess of it")
    if chosen == {"a", "d"}:
        return almost("you went by size: d is small, but so certain that it cannot be 0; c is larger, but might as well be 0")
    if chosen == set(WEIGHTS) - truth:
        return almost("these are the weights that stay: a positive log evidence ratio favours the network without the weight")
    missed, extra = sorted(truth - chosen), sorted(chosen - truth)
    said = [f"{', '.join(missed)} should go as well"] * bool(missed) + [f"{', '.join(extra)} should stay"] * bool(extra)
    return (almost if len(missed) + len(extra) == 1 else no)("; ".join(said))


def inputs_needed(answer: Any, first_layer: Any, names: list[str]) -> Remark:
    """Which inputs does a pruned network still read?

    Args:
        answer: names of inputs, in a list or a set.
        first_layer: weights of its first layer ``(n_units, n_inputs)``, 0 where they are removed: an array or a tensor.
        names: of the inputs ``(n_inputs,)``.

    Raises:
        ValueError: if there is not a name for every input.
    """
    held = first_layer.detach().cpu().numpy() if checks.is_tensor(first_layer) else first_layer
    weights, names = (
        checks.numbers(held, "first_layer", checks.Rule("be finite", np.isfinite)),
        checks.items(checks.text)(names, "names"),
    )
    if weights.ndim != 2 or weights.shape[1] != len(names):
        raise ValueError(f"names must have one name for every column of first_layer, {weights.shape}; got {len(names)}")
    remark = opened(answer)
    if remark is not None:
        return remark
    if isinstance(answer, str):
        answer = answer.replace(",", " ").split()
    if not isinstance(answer, (list, tuple, set, frozenset)) or not {str(a) for a in answer} <= set(names):
        return no(f"the answer must be a list of names out of {list(names)}; got {answer!r}")
    chosen = {str(a) for a in answer}
    used = {name for name, column in zip(names, weights.T, strict=True) if (column != 0).any()}
    if chosen == used:
        return right(
            f"all weights from {len(names) - len(used)} of {len(names)} inputs are gone: the network found what matters"
        )
    if chosen == set(names) - used:
        return almost("these are the inputs that it does not read any more")
    missed, extra = sorted(used - chosen), sorted(chosen - used)
    said = [f"it still reads {', '.join(missed)}"] * bool(missed) + [f"it does not read {', '.join(extra)}"] * bool(extra)
    return no("; ".join(said))
