"""Hypotheses with evidence of their own: against shared evidence where both are exact, and against enumeration."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_joint import possible

from activebmr import POMDP, Agent, HypothesisSpace, Learning, Planner, Reasoning, Selection

OFFSET = 1 / 32
GO = np.repeat(np.eye(2)[:, None, :], 2, axis=1)
STAY = np.eye(2)[:, :, None]


def told(info) -> dict[str, np.ndarray]:
    names = ("free_energy", "utility", "state_info_gain", "model_info_gain", "param_info_gain", "neg_efe", "model_posterior")
    return {n: getattr(info, n) for n in names} | {f"qs{f}": q for f, q in enumerate(info.qs)}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("lookahead", [0, 1])
def test_in_a_first_trial_own_and_shared_evidence_agree(seed, moving, lookahead):
    """Nothing has been counted yet but what the trial itself shows, which is the same to all hypotheses given the states (where
    states move shared evidence never counts that, so that there hypotheses are sharp).
    """
    prob, trial = possible(41 * seed, moving, 3, rows=3, soft=bool(seed % 2))
    size = 1e10 if moving else 1.0
    prob.space = prob.space.with_concentration(size)
    agents = [
        Agent(prob.model, prob.space, Planner(gains=("state", "param", "model"), max_nodes=10**7), trial_length=6,
              selection=Selection(offset=OFFSET * size),
              reasoning=Reasoning(counts=c, lookahead=lookahead, outcome_cutoff=0.0))
        for c in ("own", "shared")
    ]  # fmt: skip
    states = [a.init(3) for a in agents]
    for t in range(3):
        reports = []
        for k, agent in enumerate(agents):
            action = (trial["controls"] + trial["controls"][:1])[t]
            states[k], info = agent.step(states[k], trial["outcomes"][t], action=action)
            reports.append(told(info))
        for name, value in reports[0].items():
            assert_allclose(value, reports[1][name], rtol=1e-7, atol=1e-9, err_msg=name)
    ended = [agent.end_trial(state)[1] for agent, state in zip(agents, states, strict=True)]
    assert_allclose(ended[0].log_odds, ended[1].log_odds, rtol=1e-7, atol=1e-9)
