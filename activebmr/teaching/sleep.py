"""Checks of the exercises on sleep: reduced priors, scored from counts alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from activebmr import checks
from activebmr.simulation.result import Result
from activebmr.teaching.remark import Remark, about_number, named, no, right

__all__ = ["lead_after_contradiction", "lead_of_motif", "trial_of_insight", "what_sleep_needs"]

# four times red and nothing else, on a prior of one count for each of three colours; the motif adds 8 counts to red
_AWAKE = (1 / 3) * (2 / 4) * (3 / 5) * (4 / 6)
_MOTIF = (9 / 11) * (10 / 12) * (11 / 13) * (12 / 14)


def lead_of_motif(answer: Any) -> Remark:
    """Red was seen four times at one place. By how much does "red is seen here" (9 counts for red, 1 and 1) lead 1, 1, 1?

    Args:
        answer: a log evidence ratio in nats, positive if the motif is favoured.

    Example:
        >>> lead_of_motif(7.417)
        almost: that is the ratio of the evidences; take its natural logarithm
    """
    slips = [
        (_MOTIF / _AWAKE, "that is the ratio of the evidences; take its natural logarithm"),
        (math.log(_MOTIF), "that is the log evidence of the motif alone; subtract that of the counts without it"),
        (math.log(_AWAKE), "that is the log evidence of the counts without the motif alone; subtract it from the motif's"),
        (
            math.log((9 / 11) ** 4 / (1 / 3) ** 4),
            "you used the first look's probability for all four; counts grow with each look",
        ),
    ]
    return about_number(
        answer,
        math.log(_MOTIF / _AWAKE),
        "four looks are worth 2 nats for the motif; nobody had to look again to find that",
        slips,
        "use log_evidence_ratio(posterior, prior, reduced_prior), each with the counts for red, green and blue",
        nats=True,
    )


def lead_after_contradiction(answer: Any) -> Remark:
    """And if the fifth look at that place shows blue?

    Args:
        answer: the log evidence ratio after all five looks, in nats.

    Example:
        >>> lead_after_contradiction(-0.762)
        almost: that is what the fifth look alone is worth; add it to the lead of the four before
    """
    before, change = math.log(_MOTIF / _AWAKE), math.log((1 / 15) / (1 / 7))
    slips = [
        (change, "that is what the fifth look alone is worth; add it to the lead of the four before"),
        (before, "that is the lead before the fifth look; a look that the motif did not expect must cost it something"),
        (-math.inf, "it would be minus infinity if the motif had no count at all for blue; it has one"),
        (before - change, "the fifth look speaks against the motif: its lead must fall"),
    ]
    return about_number(
        answer,
        before + change,
        "one contradiction takes back what one or two looks had said, but does not refute a motif that leaves room for doubt",
        slips,
        "the posterior is now 5 counts for red, 1 for green, 2 for blue",
        nats=True,
    )


def trial_of_insight(answer: Any, result: Result, agent: int) -> Remark:
    """After which trial did an agent adopt the motif that it holds in the end?

    Args:
        answer: a trial, counted from 1.
        result: of a simulation whose last scheme sleeps.
        agent: its position, from 0.

    Raises:
        TypeError: if the result is none.
        ValueError: if it has no such agent, or the agent adopted nothing.
    """
    checks.an(Result)(result, "result")
    trials = np.asarray(result["adoption_trial"])[-1]
    agent = checks.whole_number(agent, "agent", 0, len(trials) - 1)
    trial = int(trials[agent])
    if trial < 0:
        raise ValueError(f"agent must be one that adopted a motif; agent {agent} of result adopted none")
    slips = [
        (trial, "arrays count trials from 0, people from 1: add 1"),
        (trial + 2, "that is the first trial that it begins with the motif; it adopted it in the sleep before"),
    ]
    return about_number(
        answer,
        trial + 1,
        "this is the sleep from which it woke with an insight",
        slips,
        "result.adoption_trial has axes scheme, agent; the last scheme is the one that sleeps",
        within=1e-9,
    )


def what_sleep_needs(answer: Any) -> Remark:
    """What does an agent need in order to compare motifs while it sleeps?

    Args:
        answer: ``"all outcomes again"``, ``"its counts"`` or ``"new outcomes"``.
    """
    name = named(answer, ("all outcomes again", "its counts", "new outcomes"))
    if isinstance(name, Remark):
        return name
    if name == "its counts":
        return right("prior and posterior counts are all that the log evidence ratio asks for; that is what reduction means")
    said = {
        "all outcomes again": "it may dream them again, but it need not: log_evidence_ratio takes counts and nothing else",
        "new outcomes": "asleep it sees nothing new; look at the arguments of log_evidence_ratio",
    }
    return no(said[name])
