"""Checks of the exercises on recordings, and the recording that comes with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from activebmr import checks
from activebmr.teaching.remark import Remark, about_number, almost, named, no, right

__all__ = ["LEADS", "best_scheme", "example_recording", "lead_of_class", "log_likelihood_of_three"]

LEADS = (2.1, -0.4, 1.3, 0.8, 2.6, 1.6)
"""Nats by which one scheme leads another in each of six students."""


def example_recording() -> Path:
    """The recording of a class that comes with the package, for `activebmr.load_recording`.

    It was made by **simulated** students, 18 of them, who played 16 trials of the three-ball paradigm each; no human being was
    recorded. It has the form of recordings made by ``activebmr play``. Besides what is loaded, it holds ``made_by``: how each
    student was simulated.

    Example:
        >>> from activebmr import load_recording
        >>> load_recording(example_recording())["outcomes"].shape  # students, trials, modalities, times
        (18, 16, 3, 6)
    """
    return Path(str(files("activebmr.teaching") / "example_recording.npz"))


def log_likelihood_of_three(answer: Any) -> Remark:
    """A scheme gave the three things that a student did the probabilities 0.5, 0.25 and 0.8. What is the log likelihood?

    Args:
        answer: in nats.

    Example:
        >>> log_likelihood_of_three(0.1)
        almost: that is the likelihood, the product of the three; take its natural logarithm
    """
    truth = math.log(0.5 * 0.25 * 0.8)
    slips = [
        (0.1, "that is the likelihood, the product of the three; take its natural logarithm"),
        (math.log((0.5 + 0.25 + 0.8) / 3), "you took the mean of the probabilities; they have to be multiplied"),
        (math.log(0.5 + 0.25 + 0.8), "you added the probabilities; add their logarithms"),
        (truth / 3, "that is the mean of the three log likelihoods; their sum is asked for"),
    ]
    return about_number(answer, truth, "logarithms of probabilities add up", slips, "add the three logarithms", nats=True)


def best_scheme(answer: Any, log_evidence: Mapping[str, ArrayLike], student: int) -> Remark:
    """Which scheme explains a student best?

    Args:
        answer: the name of a scheme.
        log_evidence: of every scheme, in nats: name -> ``(n_students,)``.
        student: his number, counted from 1.

    Raises:
        TypeError, ValueError: if the log evidences are none, or there is no such student.
    """
    if not isinstance(log_evidence, Mapping) or not log_evidence:
        raise TypeError(f"log_evidence must be a dict from schemes to arrays; got {type(log_evidence).__name__}")
    table = {str(name): checks.float_array(values, f"log_evidence[{name!r}]") for name, values in log_evidence.items()}
    sizes = {v.shape for v in table.values()}
    if len(sizes) != 1 or len(next(iter(sizes))) != 1:
        raise ValueError(f"log_evidence must have one number per student for every scheme; got shapes {sorted(sizes)}")
    n = next(iter(sizes))[0]
    if not checks.is_whole(student) or not 1 <= student <= n:
        raise ValueError(f"student must be a whole number in 1..{n}; got {checks.brief(student)}")
    name = named(answer, list(table))
    if isinstance(name, Remark):
        return name
    row = {scheme: float(values[student - 1]) for scheme, values in table.items()}
    best = max(row, key=row.__getitem__)
    behind = row[best] - row[name]
    if behind <= 1e-9:
        second = max((value for scheme, value in row.items() if scheme != name), default=row[best])
        lead = row[best] - second
        return right(
            f"it leads by {lead:.1f} nats" + ("" if lead > 3 else ", which is within Occam's window: do not be too sure")
        )
    if behind <= 3:
        return almost(f"it is only {behind:.1f} nats behind the best, which is within Occam's window, but it is behind")
    return no(f"another scheme leads it by {behind:.1f} nats; the largest number in the student's column is the best")


def lead_of_class(answer: Any, leads: Sequence[float] = LEADS) -> Remark:
    """One scheme leads another by so many nats in each student. What is its lead in the whole class, if all think alike?

    Args:
        answer: in nats.
        leads: of every student, nats.

    Example:
        >>> lead_of_class(8.0)
        right: evidence of people who do not know of one another adds up: what nobody shows alone, a class may show
    """
    values = checks.float_array(leads, "leads")
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"leads must be a list of finite numbers; got {leads!r}")
    truth = float(values.sum())
    slips = [
        (float(values.mean()), "that is the mean; the evidence of people who do not know of one another adds up"),
        (float(values.max()), "that is the largest lead of one student; what the others say counts as well"),
        (float(np.abs(values).sum()), "one student speaks for the other scheme: his lead is negative"),
        (math.exp(truth) if truth < 50 else math.inf, "those are the odds; the lead is their logarithm"),
    ]
    why = "evidence of people who do not know of one another adds up: what nobody shows alone, a class may show"
    return about_number(answer, truth, why, slips, "add the leads")
