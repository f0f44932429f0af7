"""Checks of the exercises on beliefs: two bags of balls, *mostly red* (3 red to 1 blue) and *mostly blue* (1 to 3)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from activebmr.teaching.remark import Remark, about_number, about_probabilities

__all__ = ["BAGS", "COLOURS_IN_BAGS", "belief_after_draws", "belief_after_red", "surprise_of_blue"]

BAGS = ("mostly red", "mostly blue")
COLOURS_IN_BAGS = np.array([[0.75, 0.25], [0.25, 0.75]])
"""Probability of each colour (rows: red, blue) in each bag (columns)."""


def belief_after_red(answer: Any) -> Remark:
    """One bag in five is mostly red. A red ball was drawn: what do you believe about the bag?

    Args:
        answer: probabilities of mostly red and mostly blue.

    Example:
        >>> belief_after_red([0.15, 0.2])
        almost: you forgot to normalise: the numbers sum to 0.35; divide each of them by that
    """
    prior = np.array([0.2, 0.8])
    both = prior * COLOURS_IN_BAGS[0]
    slips = [
        (
            COLOURS_IN_BAGS[0],
            "that is what you would believe if both bags were equally common; but only one in five is mostly red",
        ),
        (prior, "that is what you believed before the draw; the red ball has to change it"),
        (prior * COLOURS_IN_BAGS[1] / (prior * COLOURS_IN_BAGS[1]).sum(), "that is what you would believe after a blue ball"),
    ]
    return about_probabilities(
        answer,
        both / both.sum(),
        BAGS,
        "a red ball speaks for the bag that is mostly red, but there are so few of them that the other is still more likely",
        slips,
        "multiply each bag's prior (0.2 and 0.8) by its probability of red (0.75 and 0.25), then normalise",
    )


def belief_after_draws(answer: Any) -> Remark:
    """Both bags are equally common. The balls were red, red, blue, each put back: what do you believe about the bag?

    Args:
        answer: probabilities of mostly red and mostly blue.

    Example:
        >>> belief_after_draws([2 / 3, 1 / 3])
        almost: that is the share of red balls that you saw; the question is which bag they came from
    """
    slips = [
        ([2 / 3, 1 / 3], "that is the share of red balls that you saw; the question is which bag they came from"),
        ([0.9, 0.1], "that is the belief after two red balls; the blue one takes a part of it back"),
        ([27 / 28, 1 / 28], "that is the belief after three red balls; the third one was blue"),
    ]
    return about_probabilities(
        answer,
        [0.75, 0.25],
        BAGS,
        "the blue ball takes back what one of the red balls said, whatever their order",
        slips,
        "use the belief after each ball as the prior for the next one",
    )


def surprise_of_blue(answer: Any) -> Remark:
    """You believe that the bag is mostly red with probability 0.9. How surprising is a blue ball?

    Args:
        answer: a surprise in nats.

    Example:
        >>> surprise_of_blue(0.3)
        almost: that is how probable a blue ball is; its surprise is minus the logarithm of that
    """
    blue = 0.9 * 0.25 + 0.1 * 0.75
    slips = [
        (blue, "that is how probable a blue ball is; its surprise is minus the logarithm of that"),
        (-math.log(0.25), "that is its surprise if you were certain of the bag; you are certain only to 0.9"),
        (-math.log(0.75), "that is its surprise if the bag were certainly mostly blue"),
    ]
    return about_number(
        answer,
        -math.log(blue),
        "a ball that has probability 0.3 surprises by -ln 0.3 nats",
        slips,
        "first find how probable a blue ball is, over both bags; then take minus its natural logarithm",
        nats=True,
    )
