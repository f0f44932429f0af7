"""The three-ball paradigm of active reasoning (Friston et al. 2025, Nature Communications 2026).

Three balls of three colours lie before the agent, who looks at one at a time and then reports a colour. A rule that it must
find says which ball's colour is right: the true one of the paper is "the colour of the centre ball says whose colour is right:
red: the left ball's, green: the centre one's, blue: the right one's".
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from activebmr import POMDP, Agent, HypothesisSpace, Learning, Paradigm, Planner, Result, Selection, context_rules
from activebmr.models import one_step_policies
from activebmr.planning import GAINS

BALLS = ("left", "centre", "right")
COLOURS = ("red", "green", "blue")
TRIAL_LENGTH = 6
PREFERENCES = (0.0, 2.0, -6.0)


@cache
def world_model() -> POMDP:
    """Everything about the paradigm but the rule: what is seen where, how gaze and choice move, what is preferred."""
    n_balls, n_colours = len(BALLS), len(COLOURS)
    sizes = [n_colours] * n_balls + [n_balls + 1, n_colours + 1]
    gaze = n_balls
    what = np.zeros((n_colours + 1, *sizes[: gaze + 1]))
    for state in np.ndindex(*sizes[: gaze + 1]):
        seen = state[state[gaze]] if state[gaze] < n_balls else n_colours
        what[(seen, *state)] = 1.0
    feedback = np.full((3, *sizes), 0.5)
    feedback[0] = 0.0
    feedback[..., n_colours] = np.array([1.0, 0.0, 0.0]).reshape(3, *[1] * (n_balls + 1))
    still = [np.eye(n)[:, :, None] for n in sizes[:n_balls]]
    moved = [np.repeat(np.eye(n)[:, None, :], n, axis=1) for n in sizes[n_balls:]]
    start = [np.full(n_colours, 1 / n_colours)] * n_balls + [np.eye(n_balls + 1)[n_balls], np.eye(n_colours + 1)[n_colours]]
    controls = [1] * n_balls + sizes[n_balls:]
    return POMDP(
        A=[what, np.eye(n_balls + 1), feedback],
        B=still + moved,
        C=[None, None, PREFERENCES],
        D=start,
        A_dependencies=[list(range(n_balls + 1)), [gaze], list(range(n_balls + 2))],
        policies=one_step_policies(controls, first_fastest=True),
        labels={
            "factor": [*BALLS, "gaze", "choice"],
            "modality": ["what", "where", "feedback"],
            "states": {**{b: COLOURS for b in BALLS}, "gaze": [*BALLS, "start"], "choice": [*COLOURS, "undecided"]},
            "outcomes": {"what": [*COLOURS, "null"], "where": [*BALLS, "start"], "feedback": ["null", "right", "wrong"]},
            "controls": {"gaze": [*BALLS, "start"], "choice": [*COLOURS, "undecided"]},
        },
    )


@cache
def rules() -> HypothesisSpace:
    """The 81 rules (75 distinct), the true one of the paper at index 64."""
    return context_rules(
        world_model(),
        "feedback",
        objects=BALLS,
        answer="choice",
        null="null",
        right="right",
        wrong="wrong",
        sentence="the colour of the {context} ball says whose colour is right: {cases}",
    )


@cache
def knowing_model() -> POMDP:
    """The world with the paper's true rule known for certain."""
    return known_rule(PAPER_RULE)


def known_rule(rule: int) -> POMDP:
    """The model of an agent that knows which rule holds."""
    model = world_model()
    return model.with_(A=[model.A[0], model.A[1], rules().dense(rule, 2)])


@cache
def naive_model() -> POMDP:
    """The model of an agent that believes in the average of all rules, with a total count of 1 (the paper's naive agent)."""
    model = world_model()
    return model.with_(A=[model.A[0], model.A[1], None], pA=[None, None, rules().average(2, total=1.0)])


NAME = "three-ball"
DESCRIPTION = "find the rule that says whose ball's colour is right, by looking, answering and thinking (Friston et al. 2025)"
PAPER_RULE = 64

SCHEMES = {
    "reasoning": "gains about states, parameters and models, the latter exact (mutual information)",
    "paper": "the paper's: the same with the plug-in gain about models, number for number SPM's",
    "paper-no-model": "the paper's without the gain about models",
    "paper-states": "the paper's with the gain about states alone",
    "paper-none": "the paper's without any gain: random behaviour until a rule is adopted",
    "paper-no-selection": "the paper's, but no rule is ever adopted",
    "knowing": "an agent that knows the true rule from the start",
}
DEFAULT_SCHEME = "reasoning"

_GAINS = {
    "paper-no-model": ("state", "param"),
    "paper-states": ("state",),
    "paper-none": (),
}


def paradigm(scheme: str = DEFAULT_SCHEME, true_rule: int | str | None = None) -> Paradigm:
    """The paradigm under one of its `SCHEMES`.

    Args:
        scheme: name of the scheme.
        true_rule: index of the true rule, 0 to 80, ``"random"`` for another one per agent; the paper's (64) by default.

    Raises:
        ValueError: for an unknown scheme, a rule out of range, or a knowing agent with a random rule.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme of {NAME} must be one of {list(SCHEMES)}; got {scheme!r}")
    truth: int | str = PAPER_RULE if true_rule is None else true_rule
    settings: dict[str, Any] = {"true_rule": truth}
    world = Paradigm(
        NAME, scheme, Agent(world_model()), world_model(), TRIAL_LENGTH, rules(), truth, {2: (0.0, 1.0, -1.0)}, settings
    )
    return replace(world, agent=_agent(scheme, truth))


def _agent(scheme: str, truth: int | str) -> Agent:
    if scheme == "knowing":
        if truth == "random":
            raise ValueError("true_rule must be a number for the scheme 'knowing': all its agents know one rule; got 'random'")
        return Agent(known_rule(int(truth)), planner=Planner(depth=1), inference="sequential", trial_length=TRIAL_LENGTH)
    planner = Planner(depth=1, gains=_GAINS.get(scheme, GAINS), model_gain="exact" if scheme == "reasoning" else "plug-in")
    threshold = np.inf if scheme == "paper-no-selection" else 16.0
    return Agent(
        naive_model(),
        rules(),
        planner,
        inference="sequential",
        learning=Learning(retention=512 / 513),
        selection=Selection(threshold=threshold, curious=True),
        trial_length=TRIAL_LENGTH,
    )


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw a result of this paradigm into a folder and return the files written (imports matplotlib)."""
    from paradigms.three_ball_figures import figures as draw

    return draw(result, folder)
