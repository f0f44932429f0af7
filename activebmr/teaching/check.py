"""Checks of the notebooks' exercises: hand over an answer, and read what is wrong with it.

    >>> from activebmr.teaching import check
    >>> check.belief_after_red([0.15, 0.2])
    almost: you forgot to normalise: the numbers sum to 0.35; divide each of them by that

Every check returns a `Remark`, which is true in an ``if`` just when the answer is right. An answer of ``...`` is none yet. What
each of them asks is the first line of its docstring.
"""

from activebmr.teaching.beliefs import belief_after_draws, belief_after_red, surprise_of_blue
from activebmr.teaching.curiosity import gain_of_looking, gain_of_noise, motives
from activebmr.teaching.insight import evidence_of_any_coin, lead_of_fair_coin, probability_at_window
from activebmr.teaching.networks import evidence_for_removal, inputs_needed, weights_that_go
from activebmr.teaching.recordings import best_scheme, lead_of_class, log_likelihood_of_three
from activebmr.teaching.sleep import lead_after_contradiction, lead_of_motif, trial_of_insight, what_sleep_needs

__all__ = [
    "belief_after_draws",
    "belief_after_red",
    "best_scheme",
    "evidence_for_removal",
    "evidence_of_any_coin",
    "gain_of_looking",
    "gain_of_noise",
    "inputs_needed",
    "lead_after_contradiction",
    "lead_of_class",
    "lead_of_fair_coin",
    "lead_of_motif",
    "log_likelihood_of_three",
    "motives",
    "probability_at_window",
    "surprise_of_blue",
    "trial_of_insight",
    "weights_that_go",
    "what_sleep_needs",
]
