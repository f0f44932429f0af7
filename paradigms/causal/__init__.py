"""The causal paradigm: which of the 25 graphs over three binary variables is true, by setting variables and seeing what follows
(Bramley, Lagnado and Speekenbrink 2015, "Conservative forgetful scholars").

In every test the agent leaves each variable alone, sets it to 0 or sets it to 1 (27 settings), and then sees all three (or as
many as it can watch, and must choose). A variable goes on by itself with probability .1, and each of its causes that is on
turns it on with probability .8 (noisy-or). All of this is known but the graph, of which 25 are as likely as any other.

**Watching alone does tell equivalent graphs apart here, slowly**: with known strengths X->Y and Y->X do not make the same
distribution, as effects are more frequent than causes. Where the parameters are unknown too, watching never can, however long:
`paradigms.causal.free` has exact evidence for that case, and observers who reason by it.

There is no scheme for novelty: all hypotheses are sharp, so that nothing but the graph can be learned. (Where parameters are
unknown, seeking novelty too is what makes the difference; see `free.study`.)
"""

from __future__ import annotations

from math import inf, log
from pathlib import Path
from typing import Any

from activebmr import Agent, HypothesisSpace, Paradigm, Planner, Reasoning, Result, Selection, checks
from activebmr.paradigms.causal.graphs import BACKGROUND, STRENGTH
from activebmr.paradigms.causal.measures import MEASURES, floor, found, table, trials_until
from activebmr.paradigms.causal.world import hypotheses, policies_that, world_model

__all__ = [
    "DEFAULT_SCHEME",
    "DESCRIPTION",
    "MEASURES",
    "NAME",
    "OPTIONS",
    "SCHEMES",
    "figures",
    "floor",
    "found",
    "hypotheses",
    "paradigm",
    "table",
    "trials_until",
    "world_model",
]

NAME = "causal"
DESCRIPTION = "find which of 25 causal graphs is true, by setting variables and watching (Bramley et al. 2015)"
SCHEMES = {
    "gain": "sets what is expected to tell most about the graph (exact information gain)",
    "random-open": "random settings, but never all three variables, which tells nothing",
    "random": "any of the 27 settings, at random",
    "watching": "never sets anything",
}
SCENE = "scene.js"
DEFAULT_SCHEME = "gain"
TRIALS = 12
OPTIONS = {"watched": ("3", "2", "1")}

_DECISIVE = 1e9  # action precision: a billionth of a nat of gain decides, and only true ties are left to chance
_KINDS = {"random-open": "open", "watching": "watching"}


def paradigm(
    scheme: str = DEFAULT_SCHEME,
    true_rule: int | str | None = None,
    *,
    watched: int | str = 3,
    tests: int = 1,
    lookahead: int = 0,
    strength: float = STRENGTH,
    background: float = BACKGROUND,
    sure: float | None = None,
    agent: Agent | None = None,
) -> Paradigm:
    """The paradigm under one of its `SCHEMES`.

    Args:
        scheme: name of the scheme.
        true_rule: index or name of the true graph (`graphs.NAMES`), or ``"random"``, the default: another one per agent.
        watched: how many variables can be watched at a time, 1 to 3; which ones, agents choose (by gain, or at random).
        tests: settings in a trial, >= 1. What was done before a test is over, so that trials of 2 tests are 2 of 1 test, but
            for agents that look ahead.
        lookahead: further tests of the trial that the scheme ``gain`` looks ahead, below ``tests``. (It hardly pays.)
        strength, background: of the noisy-or, in (0, 1] and [0, 1); agents know them.
        sure: posterior at which agents make up their mind and stop trying; by default they never do.
        agent: agents to use instead of the scheme's.

    Raises:
        ValueError: for an unknown scheme, a graph or a number out of range.

    Example:
        ``simulate([paradigm(s) for s in SCHEMES], n_agents=64, n_trials=12)``
    """
    if scheme not in SCHEMES and agent is None:
        raise ValueError(f"scheme of {NAME} must be one of {list(SCHEMES)}; got {scheme!r}")
    if str(watched) not in OPTIONS["watched"]:
        raise ValueError(f"watched must be 1, 2 or 3; got {watched!r}")
    checks.whole_number(tests, "tests", least=1)
    checks.whole_number(lookahead, "lookahead", 0, tests - 1)
    seen = int(watched)
    space = hypotheses(seen, float(strength), float(background))
    if agent is None:
        threshold = inf if sure is None else _log_odds(sure)
        agent = _agent(scheme, space, seen, threshold, lookahead, tests + 1)
    return Paradigm(
        NAME,
        scheme,
        agent,
        world_model(seen),
        tests + 1,
        space,
        "random" if true_rule is None else true_rule,
        settings={"watched": seen, "tests": tests, "strength": float(strength), "background": float(background)},
        measures=MEASURES,
    )


def _log_odds(sure: Any) -> float:
    p = checks.number(sure, "sure", checks.Rule("lie in (0.5, 1)", lambda x: 0.5 < x < 1))
    return log(p / (1 - p))


def _agent(scheme: str, space: HypothesisSpace, watched: int, threshold: float, lookahead: int, length: int) -> Agent:
    model = world_model(watched)
    if scheme in _KINDS:
        model = model.with_(policies=policies_that(_KINDS[scheme], watched))
    aimless = scheme.startswith("random")
    return Agent(
        model,
        space,
        Planner(gains=() if aimless else ("model",), alpha=_DECISIVE),
        selection=Selection(threshold=threshold),
        reasoning=Reasoning(lookahead=0 if aimless else lookahead),
        trial_length=length,
    )


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw a result of this paradigm into a folder and return the files written (imports matplotlib)."""
    from activebmr.paradigms.causal.drawing import figures as draw

    return draw(result, folder)
