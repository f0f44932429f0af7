"""A bandit whose context may or may not matter: pull arms, and find out what their payoffs depend on, while it pays.

In every trial a colour and a side are seen, and one of three arms is pulled, which pays or does not. Its probability of paying
may depend on the arm alone, on the colour too, on the side too, or on both; which of these is true, and all probabilities, the
agent must find out. A payoff is preferred from the start: what an arm is expected to pay and what it is expected to tell, about
its own payoffs and about what matters, add up to its (negative) expected free energy.

Regret is counted from the payoffs of who always pulls the best arm, in the same trials with the same chance. `rivals` has
Thompson sampling and upper confidence bounds, on the same payoffs.

Sources: Friston et al. (2025) on gains about models; Markovic, Stojic, Schwobel & Kiebel (2021), "An empirical evaluation of
active inference in multi-armed bandits", Neural Networks 144.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from activebmr import Agent, HypothesisSpace, Paradigm, Planner, Result, Selection, simulate
from activebmr.arrays import standard_error
from activebmr.paradigms.bandit.rivals import RIVALS, Played, best, play
from activebmr.paradigms.bandit.world import PREFERENCE, STRUCTURES, TRIAL_LENGTH, model, structures, worlds

__all__ = [
    "DEFAULT_SCHEME",
    "DESCRIPTION",
    "MEASURES",
    "NAME",
    "OPTIONS",
    "RIVALS",
    "SCHEMES",
    "TRIALS",
    "agent_of",
    "figures",
    "floor",
    "paradigm",
    "regret",
    "rival",
    "rival_regret",
    "table",
]

NAME = "bandit"
DESCRIPTION = "pull arms whose payoffs depend on a context that may or may not matter, with preferences from the start"
SCHEMES = {
    "efe": "expected free energy: payoffs, and gains about payoffs and about what they depend on; exact beliefs about both",
    "no-model-gain": "the same without the gain about what payoffs depend on",
    "greedy": "the same beliefs, but only payoffs count",
    "apart": "takes every context for a bandit of its own: payoffs, and gains about them",
    "knowing": "knows what payoffs depend on, but not the payoffs",
}
SCENE = "scene.js"
DEFAULT_SCHEME = "efe"
TRIALS = 200
OPTIONS = {"preference": [str(PREFERENCE), "0.25", "1.0", "2.0", "4.0", "8.0"]}

WINDOW = 3.0
"""Occam's window, nats: log odds at which an agent makes one structure its own, until those of another pass it; of such odds
one structure in twenty-one is wrong at most."""

_GAINS: dict[str, tuple[str, ...]] = {"no-model-gain": ("param",), "greedy": ()}
_DECISIVE = 1e9  # action precision: the best arm is pulled, and true ties are left to chance


def paradigm(
    scheme: str = DEFAULT_SCHEME,
    true_rule: int | str | None = None,
    *,
    preference: float | str = PREFERENCE,
    agent: Agent | None = None,
) -> Paradigm:
    """The paradigm under one of its `SCHEMES`.

    Args:
        scheme: name of the scheme.
        true_rule: index of the true structure (0: only the arm matters; 1: the colour too; 2: the side too; 3: both), or
            ``"random"`` (the default) for another one per agent.
        preference: log odds with which a payoff is preferred to none, nats.
        agent: agents to use instead of the scheme's.

    Raises:
        ValueError: for an unknown scheme, a structure or a number out of range, or knowing agents with a random structure.
    """
    if scheme not in SCHEMES and agent is None:
        raise ValueError(f"scheme of {NAME} must be one of {list(SCHEMES)}; got {scheme!r}")
    liking = _preference(preference)
    truth: int | str = "random" if true_rule is None else true_rule
    space, world = structures(liking), model("both", liking)
    if agent is None:
        agent = agent_of(scheme, truth, liking)
    settings = {"true_rule": truth, "preference": liking}
    score = {"payoff": (0.0, 0.0, 1.0)}
    return Paradigm(NAME, scheme, agent, world, TRIAL_LENGTH, space, truth, score, settings, worlds=worlds, measures=MEASURES)


def _preference(given: float | str) -> float:
    try:
        liking = float(given)
    except (TypeError, ValueError):
        liking = np.nan
    if not (np.isfinite(liking) and liking >= 0) or isinstance(given, bool):
        raise ValueError(f"preference of {NAME} must be a number >= 0, in nats; got {given!r}")
    return liking


def agent_of(scheme: str, truth: int | str = "random", preference: float = PREFERENCE, window: float = WINDOW) -> Agent:
    """The agents of a scheme; see `paradigm`.

    Args:
        scheme, truth, preference: see `paradigm`.
        window: log odds at which a structure is adopted, nats; inf for never.
    """
    planner = Planner(gains=_GAINS.get(scheme, ("param", "model")), alpha=_DECISIVE)
    if scheme in ("apart", "knowing"):
        known = "both" if scheme == "apart" else _known(truth)
        return Agent(model(known, preference), planner=planner, trial_length=TRIAL_LENGTH)
    space: HypothesisSpace = structures(preference)
    return Agent(model("both", preference), space, planner, selection=Selection(threshold=window), trial_length=TRIAL_LENGTH)


def _known(truth: int | str) -> str:
    if truth == "random":
        raise ValueError("true_rule must be a number for the scheme 'knowing': all its agents know one structure; got 'random'")
    return list(STRUCTURES)[int(truth)]


# --- what came of it -----------------------------------------------------------------------------------------------------
def _lives(result: Result) -> tuple[int, np.ndarray, np.ndarray, int]:
    """Seed, agents' numbers, their true structures and the number of trials of a result."""
    agents = np.asarray(result.agent)
    return int(result.seed), agents, np.broadcast_to(result.true_model, agents.shape), result.sizes["trial"]


def regret(result: Result) -> np.ndarray:
    """Payoffs missed in each trial ``(scheme, agent, trial)``: 1 where the best arm would have paid and the one pulled did not.

    One random number per agent and trial decides about all arms, so that the arm that pays more often pays whenever the other
    does; on average over chance this is the difference of their probabilities.
    """
    return best(*_lives(result)) - result.wins


MEASURES = {
    "regret": ("payoffs missed in a trial, beside who always pulls the best arm", "payoffs", regret),
    "paid": ("trials that paid", "share", "wins"),
}
"""What is counted: the first says what counts as success, the less the better."""


def rival(result: Result, name: str, **settings: float) -> Played:
    """One of the `RIVALS` in the place of the agents of a result; see `rivals.play`."""
    return play(name, *_lives(result), **settings)


def rival_regret(result: Result, name: str, **settings: float) -> np.ndarray:
    """What one of the `RIVALS` misses in the same trials with the same chance ``(agent, trial)``; see `regret`."""
    return best(*_lives(result)) - rival(result, name, **settings).wins


def floor(result: Result) -> np.ndarray:
    """What agents miss who know what payoffs depend on, in the same trials with the same chance ``(agent, trial)``."""
    seed, agents, truths, n_trials = _lives(result)
    liking = next(iter(result.settings["schemes"].values()))["preference"]
    wins = np.empty((len(agents), n_trials))
    for truth in np.unique(truths):  # who is asked for does not change what becomes of the others
        told = simulate(paradigm("knowing", int(truth), preference=liking), int(agents.max()) + 1, n_trials, seed)
        wins[truths == truth] = told.wins[0][agents[truths == truth]]
    return best(seed, agents, truths, n_trials) - wins


def table(result: Result) -> tuple[list[str], list[list[str]], list[str]]:
    """What the command prints: one row per scheme, and one per rival."""
    missed, rows = regret(result).sum(axis=2), []
    thompson = rival_regret(result, "thompson").sum(axis=1)
    for s, scheme in enumerate(result.schemes):
        finds = bool(np.isfinite(result.true_model_posterior[s]).any())
        found = [
            f"{result.true_model_posterior[s, :, -1].mean():.2f}" if finds else "-",
            f"{result.adopted_truth[s].mean():.0%}" if finds else "-",
            f"{result.adopted_wrong[s].mean():.0%}" if finds else "-",
        ]
        rows.append([scheme, _pm(missed[s]), _pm(missed[s] - thompson), *found])
    if "knowing" not in result.schemes:
        told = floor(result).sum(axis=1)
        rows.append(["knowing", _pm(told), _pm(told - thompson), "-", "-", "-"])
    for name in RIVALS:
        missed_too = rival_regret(result, name).sum(axis=1)
        against = "-" if name == "thompson" else _pm(missed_too - thompson)
        rows.append([name, _pm(missed_too), against, "-", "-", "-"])
    notes = [
        f"regret: payoffs missed in {result.sizes['trial']} trials, beside who always pulls the best arm",
        "- thompson: the difference to Thompson sampling with the same beliefs, agent by agent on the same payoffs",
        f"truth: mean posterior of the true structure in the end; found, wrong: agents who adopted one, at {WINDOW:g} nats",
        "+-: standard error over agents",
    ]
    return ["player", "regret", "- thompson", "truth", "found", "wrong"], rows, notes


def _pm(values: np.ndarray) -> str:
    return f"{values.mean():.2f}" + (f" +- {standard_error(values):.2f}" if len(values) > 1 else "")


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw a result of this paradigm into a folder and return the files written (imports matplotlib)."""
    from activebmr.paradigms.bandit.drawing import figures as draw

    return draw(result, folder)
