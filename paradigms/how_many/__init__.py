"""How many hidden causes are behind what is seen? Models of one, two, three and four causes, which have other states, are
compared by what they predict (`HypothesisSpace.from_models`).

A box has five sensors, A to E. Behind them are one to four causes, which are on or off anew at every look; each sensor is
turned on by one of them, and by itself now and then. A sensor alone looks the same whatever the number is: what tells are
sensors that go on together. The agent looks at two sensors at a time. It knows how causes act, but neither how many there are
nor which one is behind which sensor. A trial is a box: of the same number of causes as all the agent's boxes, and wired anew.

The number, the wiring and the causes that are on are believed in together, exactly, so that looks (and boxes) may come in any
order. More causes can do whatever fewer can, if some of them are not there; here every cause has a sensor, so that a number
means what it says, and each model spreads its bets over its own wirings (1, 15, 25 and 10), which is all of Occam's razor that
there is.

Who seeks to know all states (``states``), be they of lasting interest or not, looks for ever at two sensors that are known to
have different causes: there most can be told about which causes are on now, and nothing about how many there are.

What each cause does is not learned from counts here: where counts of hidden states are, the posterior is an approximation which
depends on the order of the data (`activebmr.inference.worlds`).

Learners who ask how many latent causes are behind the stimuli that they see: Courville, Daw and Touretzky (2005), "Similarity
and discrimination in classical conditioning: a latent variable account", NIPS 17; Gershman and Blei (2012), "A tutorial on
Bayesian nonparametric models", J. Math. Psychol. 56.
"""

from __future__ import annotations

from math import inf, log
from pathlib import Path
from typing import Any

from activebmr import Agent, HypothesisSpace, Paradigm, Planner, Result, Selection, checks
from activebmr.paradigms.how_many.causes import BACKGROUND, CHANCE, SENSORS, STRENGTH, check_world, hypotheses, world_model
from activebmr.paradigms.how_many.measures import MEASURES, floor, looks_until, named, table

__all__ = [
    "DEFAULT_SCHEME",
    "DESCRIPTION",
    "MEASURES",
    "NAME",
    "OPTIONS",
    "SCHEMES",
    "TRIALS",
    "figures",
    "floor",
    "hypotheses",
    "looks_until",
    "named",
    "paradigm",
    "table",
    "world_model",
]

NAME = "how-many"
DESCRIPTION = "find out how many hidden causes (1 to 4) are behind five sensors, of which two can be looked at together"
SCHEMES = {
    "gain": "looks at what is expected to tell most about the number of causes (exact information gain)",
    "states": "the same, and about the states too: which cause is behind which sensor, and which causes are on now",
    "random": "looks at any two sensors",
    "all": "sees all five sensors at every look",
}
SCENE = "scene.js"
DEFAULT_SCHEME = "gain"
OPTIONS = {"watched": ("2", "3", "4")}
TRIALS = 8

LOOKS = 25
"""Looks into a box."""

_DECISIVE = 1e9  # action precision: a billionth of a nat of gain decides, and only true ties are left to chance
_GAINS: dict[str, tuple[str, ...]] = {"gain": ("model",), "states": ("model", "state")}


def paradigm(
    scheme: str = DEFAULT_SCHEME,
    true_rule: int | str | None = None,
    *,
    watched: int | str = 2,
    looks: int = LOOKS,
    sensors: int = SENSORS,
    chance: float = CHANCE,
    strength: float = STRENGTH,
    background: float = BACKGROUND,
    sure: float | None = None,
    agent: Agent | None = None,
) -> Paradigm:
    """The paradigm under one of its `SCHEMES`.

    Args:
        scheme: name of the scheme.
        true_rule: the true number: index (0 is one cause) or name (``"one"`` ... ``"four"``), or ``"random"``, the default:
            another one per agent.
        watched: how many sensors can be looked at together, from 2 (the scheme ``"all"`` sees all of them).
        looks: into each box, >= 1: a trial has one observation more, the first, in which nothing is looked at.
        sensors: of a box, 5 to 8.
        chance: that a cause is on, in (0, 1).
        strength, background: chance that a cause turns a sensor on, in (0, 1], and that it goes on by itself, in [0, 1); agents
            know them.
        sure: posterior at which agents make up their mind and stop looking for it; by default they never do.
        agent: agents to use instead of the scheme's.

    Raises:
        ValueError: for an unknown scheme, or a number out of range.

    Example:
        ``simulate([paradigm(s) for s in SCHEMES], n_agents=64, n_trials=8)``
    """
    if scheme not in SCHEMES and agent is None:
        raise ValueError(f"scheme of {NAME} must be one of {list(SCHEMES)}; got {scheme!r}")
    checks.whole_number(looks, "looks", least=1)
    seen = _number(watched)
    check_world(sensors, seen, chance, strength, background)
    seen = int(sensors) if scheme == "all" else seen
    world = seen, int(sensors), float(chance), float(strength), float(background)
    space = hypotheses(*world)
    if agent is None:
        agent = _agent(scheme, space, inf if sure is None else _log_odds(sure), int(looks) + 1)
    return Paradigm(
        NAME,
        scheme,
        agent,
        space.models[-1],
        int(looks) + 1,
        space,
        "random" if true_rule is None else true_rule,
        settings=dict(zip(("watched", "sensors", "chance", "strength", "background"), world, strict=True)) | {"looks": looks},
        measures=MEASURES,
    )


def _number(watched: Any) -> Any:
    """A number of sensors, which options give as a string."""
    return int(watched) if isinstance(watched, str) and watched.isdigit() else watched


def _log_odds(sure: Any) -> float:
    p = checks.number(sure, "sure", checks.Rule("lie in (0.5, 1)", lambda x: 0.5 < x < 1))
    return log(p / (1 - p))


def _agent(scheme: str, space: HypothesisSpace, threshold: float, length: int) -> Agent:
    """Their own model is the one of four causes: what agents report of states is about it."""
    return Agent(
        space.models[-1],
        space,
        Planner(gains=_GAINS.get(scheme, ()), alpha=_DECISIVE),
        selection=Selection(threshold=threshold),
        trial_length=length,
    )


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw a result of this paradigm into a folder and return the files written (imports matplotlib)."""
    from activebmr.paradigms.how_many.drawing import figures as draw

    return draw(result, folder)
