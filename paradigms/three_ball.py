"""The three-ball paradigm of active reasoning (Friston et al. 2025, Nature Communications 2026).

Three balls of three colours lie before the agent, who looks at one at a time and then reports a colour. A rule that it must
find says which ball's colour is right: the true one of the paper is "the colour of the centre ball says whose colour is right:
red: the left ball's, green: the centre one's, blue: the right one's". Any number of balls and colours can be had from
`paradigm`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from activebmr import (
    POMDP,
    Agent,
    Alternatives,
    ColumnTable,
    HypothesisSpace,
    Introspection,
    Learning,
    Paradigm,
    Planner,
    Reasoning,
    Result,
    Selection,
    context_rules,
)
from activebmr.model.policies import one_step_policies
from activebmr.planning.planner import GAINS
from activebmr.reduction.search.protocol import ModelSpace

NAME = "three-ball"
DESCRIPTION = "find the rule that says whose ball's colour is right, by looking, answering and thinking (Friston et al. 2025)"
SCHEMES = {
    "reasoning": "exact beliefs about rules and balls together, exact gains, learning from the whole trial, sharp rules",
    "laboratory": "the same, and before each trial the agent sets the balls itself, to learn most from them",
    "clairvoyant": "the same as reasoning, but told all colours before each trial: a reference point",
    "introspection": "awake it knows no rules and seeks what is new; after every trial, sleep compares the rules with none",
    "paper": "the paper's: gains about states, parameters and models (plug-in), number for number SPM's",
    "paper-exact": "the paper's with the exact gain about models (mutual information)",
    "paper-no-model": "the paper's without the gain about models",
    "paper-states": "the paper's with the gain about states alone",
    "paper-none": "the paper's without any gain: random behaviour until a rule is adopted",
    "paper-no-selection": "the paper's, but no rule is ever adopted",
    "knowing": "an agent that knows the true rule from the start",
}
DEFAULT_SCHEME = "reasoning"
SCENE = "three_ball_scene.js"

BALLS = ("left", "centre", "right")
COLOURS = ("red", "green", "blue")
TRIAL_LENGTH = 6
PREFERENCES = (0.0, 2.0, -6.0)
MEASURES = {
    "discovery": (
        "trials at whose end the learned likelihood was further than 1 nat from the truth (KL divergence)",
        "trials",
        "discovery_trials",
    ),
    "answered_right": (
        "trials that were answered right, and never wrong",
        "share",
        lambda result: (result.wins > 0) & (result.losses == 0),
    ),
    "points": ("times that the feedback was right, less those that it was wrong", "points", "score"),
}
"""What is counted: the first says what counts as success."""
PAPER_RULE = 64
SHARPNESS = 8.0
"""Observations that a rule is worth to agents who reason; the paper's are worth 1."""

_DECISIVE = (
    1e9  # action precision of agents who reason: a billionth of a nat of gain decides, and only true ties are left to chance
)
_PREPARATION = {"laboratory": "chosen", "clairvoyant": "told"}
_GAINS: dict[str, tuple[str, ...]] = {
    "paper-no-model": ("state", "param"),
    "paper-states": ("state",),
    "paper-none": (),
}


def names(n_balls: int, n_colours: int) -> tuple[list[str], list[str]]:
    """Names of balls and colours; the paper's for three of each."""
    more = ["yellow", "violet", "orange", "black", "white"]
    colours = [*COLOURS, *more][:n_colours] if n_colours <= 8 else [f"colour {i}" for i in range(n_colours)]
    return list(BALLS) if n_balls == 3 else [f"ball {i + 1}" for i in range(n_balls)], colours


@cache
def world_model(n_balls: int = 3, n_colours: int = 3) -> POMDP:
    """Everything about the paradigm but the rule: what is seen where, how gaze and choice move, what is preferred."""
    for what_, n in (("n_balls", n_balls), ("n_colours", n_colours)):
        if int(n) != n or n < 2:
            raise ValueError(f"{what_} must be a whole number >= 2; got {n}")
    balls, colours = names(n_balls, n_colours)
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
    looks, answers = [*balls, "start"], [*colours, "undecided"]
    return POMDP(
        A=[what, np.eye(n_balls + 1), feedback],
        B=still + moved,
        C=[None, None, PREFERENCES],
        D=start,
        A_dependencies=[list(range(n_balls + 1)), [gaze], list(range(n_balls + 2))],
        policies=one_step_policies(controls, first_fastest=True),
        labels={
            "factor": [*balls, "gaze", "choice"],
            "modality": ["what", "where", "feedback"],
            "states": {**{b: colours for b in balls}, "gaze": looks, "choice": answers},
            "outcomes": {"what": [*colours, "null"], "where": looks, "feedback": ["null", "right", "wrong"]},
            "controls": {"gaze": looks, "choice": answers},
        },
    )


@cache
def rules(n_balls: int = 3, n_colours: int = 3) -> HypothesisSpace:
    """All rules, worth one observation each: 81 for three balls (75 distinct), the true one of the paper at index 64."""
    return context_rules(
        world_model(n_balls, n_colours),
        "feedback",
        objects=names(n_balls, n_colours)[0],
        answer="choice",
        null="null",
        right="right",
        wrong="wrong",
        sentence="the colour of the {context} ball says whose colour is right: {cases}",
    )


def lying(space: HypothesisSpace, lies: float) -> HypothesisSpace:
    """The same rules in a world whose feedback (right, wrong) is the opposite with probability ``lies``."""
    if not 0 <= lies < 0.5:
        raise ValueError(f"lies must be a probability in [0, 0.5); got {lies}")
    mix = np.array([[1.0, 0.0, 0.0], [0.0, 1.0 - lies, lies], [0.0, lies, 1.0 - lies]])
    tables = {m: ColumnTable(t.columns @ mix, t.assignment, t.shape) for m, t in space.tables.items()}
    return HypothesisSpace.from_columns(space.names, tables, space.prior, space.descriptions)


def known_rule(rule: int, n_balls: int = 3, n_colours: int = 3, lies: float = 0.0) -> POMDP:
    """The model of an agent that knows which rule holds."""
    model = world_model(n_balls, n_colours)
    return model.with_(A=[model.A[0], model.A[1], lying(rules(n_balls, n_colours), lies).dense(rule, 2)])


def naive_model(n_balls: int = 3, n_colours: int = 3, space: HypothesisSpace | None = None) -> POMDP:
    """The model of an agent that believes in the average of all rules, with a total count of 1 (the paper's naive agent)."""
    model = world_model(n_balls, n_colours)
    believed = rules(n_balls, n_colours) if space is None else space
    return model.with_(A=[model.A[0], model.A[1], None], pA=[None, None, believed.average(2, total=1.0)])


def paradigm(
    scheme: str = DEFAULT_SCHEME,
    true_rule: int | str | None = None,
    *,
    n_balls: int = 3,
    n_colours: int = 3,
    lies: float = 0.0,
    lies_known: bool = True,
    agent: Agent | None = None,
) -> Paradigm:
    """The paradigm under one of its `SCHEMES`.

    Args:
        scheme: name of the scheme.
        true_rule: index of the true rule, ``"random"`` for another one per agent (each distinct rule equally often); the
            paper's (64) by default, or 0 if there are not three balls of three colours.
        n_balls, n_colours: size of the world, >= 2; a trial has three observations more than there are balls.
        lies: probability that feedback says the opposite, in [0, 0.5).
        lies_known: whether agents know that probability.
        agent: agents to use instead of the scheme's (`reasoning_agent` makes variations).

    Raises:
        ValueError: for an unknown scheme, a rule or a number out of range, or a knowing agent with a random rule.
    """
    if scheme not in SCHEMES and agent is None:
        raise ValueError(f"scheme of {NAME} must be one of {list(SCHEMES)}; got {scheme!r}")
    size = n_balls, n_colours
    truth: int | str = (PAPER_RULE if size == (3, 3) else 0) if true_rule is None else true_rule
    world, length = world_model(*size), n_balls + 3
    space = lying(rules(*size), lies)
    settings: dict[str, Any] = {"true_rule": truth, "lies": lies, "lies_known": lies_known}
    # the world alone first: it checks the truth before an agent is made for it
    nobody = Agent(world, trial_length=length)
    bare = Paradigm(NAME, scheme, nobody, world, length, space, truth, {2: (0.0, 1.0, -1.0)}, settings, measures=MEASURES)
    if agent is None:
        believed = space if lies_known else rules(*size)
        agent = _agent(scheme, truth, size, believed, lies if lies_known else 0.0)
    return replace(bare, agent=agent, preparation=_PREPARATION.get(scheme))


def papers_planner(depth: int = 1, **settings: Any) -> Planner:
    """The paper's (SPM's) way of planning: likely states and the outcomes expected in them are what lies ahead, modalities
    inform one by one, and one more step is looked forward to than a trial has.
    """
    return Planner(depth=depth, search="states", modalities="separate", extra_step=True, **settings)


def _agent(scheme: str, truth: int | str, size: tuple[int, int], space: HypothesisSpace, lies: float) -> Agent:
    length = size[0] + 3
    if scheme == "knowing":
        if truth == "random":
            raise ValueError("true_rule must be a number for the scheme 'knowing': all its agents know one rule; got 'random'")
        model = known_rule(int(truth), *size, lies=lies)
        return Agent(model, planner=papers_planner(), inference="sequential", trial_length=length)
    if scheme == "introspection":
        return introspective_agent(*size, space=space)
    if not scheme.startswith("paper"):
        return reasoning_agent(*size, space=space)
    gain = "exact" if scheme == "paper-exact" else "plug-in"
    return Agent(
        naive_model(*size, space),
        space,
        papers_planner(gains=_GAINS.get(scheme, GAINS), model_gain=gain),
        inference="sequential",
        learning=Learning(retention=512 / 513),
        selection=Selection(threshold=np.inf if scheme == "paper-no-selection" else 16.0, curious=True),
        trial_length=length,
    )


def introspective_agent(
    n_balls: int = 3,
    n_colours: int = 3,
    *,
    space: HypothesisSpace | None = None,
    threshold: float = 3.0,
    model_space: ModelSpace | None = None,
    after: int = 1,
) -> Agent:
    """The agent of the scheme ``introspection``: awake it knows no rules, but seeks what is new to it; asleep it compares them.

    Args:
        n_balls, n_colours: size of the world.
        space: the rules that sleep considers; all by default.
        threshold: Occam's window, nats: the lead that a rule must have over what the agent holds.
        model_space: search this space of reduced models instead of the rules.
        after: trials between sleeps.
    """
    believed = rules(n_balls, n_colours) if space is None else space
    return Agent(
        naive_model(n_balls, n_colours, believed),
        planner=papers_planner(gains=("state", "param")),
        inference="sequential",
        learning=Learning(smooth=True),
        selection=Selection(curious=True),
        introspection=Introspection(
            model_space or Alternatives(believed, threshold=threshold, adopt="claims"), after, evidence="unbiased"
        ),
        trial_length=n_balls + 3,
    )


def reasoning_agent(
    n_balls: int = 3,
    n_colours: int = 3,
    *,
    space: HypothesisSpace | None = None,
    concentration: float = SHARPNESS,
    joint: bool = True,
    smooth: bool = True,
    model_gain: str = "exact",
    lookahead: int = 0,
    evidence: str = "joint",
    curious: bool = True,
) -> Agent:
    """The agent of the scheme ``reasoning``; each argument takes away, or adds, one of its parts.

    Args:
        n_balls, n_colours: size of the world.
        space: the rules that it considers; all by default.
        concentration: observations that a rule is worth.
        joint: beliefs about rules and balls together, or factor by factor.
        smooth: learn from the whole trial at its end, or from what was believed at each step.
        evidence: carry the posterior over rules on exactly (``"joint"``), or by reduction of the counts (``"counts"``).
        model_gain: ``"exact"`` or ``"plug-in"``.
        lookahead: further steps that gains are expected over.
        curious: whether it has no preferences before it has found a rule, or acts on what it believes from the start.
    """
    believed = rules(n_balls, n_colours) if space is None else space
    planner, search = (Planner, {"search": "states"}) if joint else (papers_planner, {})
    return Agent(
        naive_model(n_balls, n_colours, believed),
        believed.with_concentration(concentration),
        planner(depth=1, gains=("state", "model"), model_gain=model_gain, alpha=_DECISIVE, **search),
        inference="models" if joint else "sequential",
        learning=Learning(smooth=smooth),
        selection=Selection(curious=curious, last_outcome=True),
        reasoning=Reasoning(lookahead=lookahead, evidence=evidence, counts="shared", max_size=2_000_000) if joint else None,
        trial_length=n_balls + 3,
    )


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw a result of this paradigm into a folder and return the files written (imports matplotlib)."""
    from activebmr.paradigms.three_ball_figures import figures as draw

    return draw(result, folder)
