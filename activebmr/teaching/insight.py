"""Checks of the exercises on insight as model selection: a coin that is fair, or may have any bias."""

from __future__ import annotations

import math
from typing import Any

from activebmr.teaching.remark import Remark, about_number

__all__ = ["evidence_of_any_coin", "lead_of_fair_coin", "probability_at_window"]

_FAIR, _ANY = 1 / 8, 1 / 12  # of head, head, tail


def evidence_of_any_coin(answer: Any) -> Remark:
    """How probable is head, head, tail for somebody who begins with one count for head and one for tail, and counts on?

    Args:
        answer: a probability.

    Example:
        >>> evidence_of_any_coin(0.125)
        almost: that is the evidence of the fair coin; the other hypothesis changes its mind with every toss
    """
    slips = [
        (_FAIR, "that is the evidence of the fair coin; the other hypothesis changes its mind with every toss"),
        (
            4 / 27,
            "that is how probable the best coin makes it, which is known only afterwards; before, it could have been any coin",
        ),
        (1 / 4, "that is how probable two heads are in any order; this order is one of three"),
        (-math.log(_ANY), "that is minus the logarithm of it"),
        (math.log(_ANY), "that is the logarithm of it"),
    ]
    return about_number(
        answer,
        _ANY,
        "1/2 for the first head, then 2/3 for the second, then 1/4 for the tail",
        slips,
        "multiply the probabilities of the three tosses, and add a count after each one",
        within=0.003,
    )


def lead_of_fair_coin(answer: Any) -> Remark:
    """After head, head, tail: what is the log evidence ratio of the fair coin against any coin?

    Args:
        answer: in nats, positive if the fair coin is favoured.

    Example:
        >>> lead_of_fair_coin(1.5)
        almost: that is the ratio of the evidences; take its natural logarithm
    """
    slips = [
        (_FAIR / _ANY, "that is the ratio of the evidences; take its natural logarithm"),
        (_FAIR - _ANY, "that is the difference of the evidences; take the difference of their logarithms"),
        (math.log(_ANY / _FAIR), "the size is right, the sign is not: what favours the fair coin is positive"),
    ]
    return about_number(
        answer,
        math.log(_FAIR / _ANY),
        "three tosses favour the simple hypothesis a little: it wasted nothing on coins that would have done otherwise",
        slips,
        "the evidences are 1/8 and 1/12; take the logarithm of their ratio",
        nats=True,
    )


def probability_at_window(answer: Any) -> Remark:
    """There are two hypotheses, and one leads by exactly 3 nats. How probable is it?

    Args:
        answer: a probability.

    Example:
        >>> probability_at_window(20.1)
        almost: those are the odds, e to the 3: 20.1 to 1; the probability is 20.1 out of 21.1
    """
    odds = math.exp(3)
    slips = [
        (odds, "those are the odds, e to the 3: 20.1 to 1; the probability is 20.1 out of 21.1"),
        (1 / (1 + odds), "that is the other hypothesis' probability"),
        (1 / odds, "those are the odds of the other hypothesis"),
    ]
    return about_number(
        answer,
        odds / (1 + odds),
        "odds of 20 to 1: Occam's window of 3 nats is how sure one is at the level that statistics calls 5 %",
        slips,
        "e to the lead gives the odds; odds of x to 1 are a probability of x / (x + 1)",
        within=0.0045,
    )
