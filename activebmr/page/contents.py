"""What a page is made of: names, sentences and the packed numbers of the agents that are shown, as JSON holds them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr import checks
from activebmr.model.by_axis import names_by_axis, policy_names
from activebmr.model.pomdp import POMDP
from activebmr.page.lives import Life, Source, chosen_agents, lives, source_of
from activebmr.page.packing import layout, pack
from activebmr.reduction.evidence import log_odds
from activebmr.simulation import registry
from activebmr.simulation.holdings import model_as_it_was
from activebmr.simulation.paradigm import Paradigm
from activebmr.simulation.recorder import of_classes
from activebmr.simulation.result import Result

__all__ = ["AGENTS", "contents_of", "scene_of"]

AGENTS = 64
"""Agents that a page holds if nothing else is said: the first ones."""

_TERMS = {"utility": "utility", "state": "state_info_gain", "param": "param_info_gain", "model": "model_info_gain"}


def contents_of(
    result: Result, agents: Sequence[int] | None = None, schemes: Sequence[str] | None = None, paradigm: Any = None
) -> tuple[dict[str, Any], str | None]:
    """What a page shows of a result, and the script of its scene (None for the general one); see `activebmr.page.html`."""
    checks.an(Result)(result, "result")
    wanted = result.schemes if schemes is None else checks.sequence(schemes, "schemes")
    names = [result.schemes[result.index(s)] for s in wanted]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"schemes must name each scheme once, and at least one; got {names}")
    at = chosen_agents(result, agents, AGENTS)
    source = source_of(result, names, paradigm)
    truth = _truths(result)[at]
    lived = lives(result, source, at)
    space = source.paradigms[0].hypotheses
    classes = None if space is None else np.asarray(space.distinct()[1])
    sentences = [] if space is None else [str(s) for s in space.descriptions]
    shown = [_scheme(result, source, life, at, truth, classes) for life in lived]
    contents = {
        "format": 1,
        "paradigm": source.paradigms[0].name,
        "description": str(getattr(source.module, "DESCRIPTION", "")),
        "seed": int(result.seed),
        "version": str(result.version),
        "trials": result.sizes["trial"],
        "agents": [int(k) for k in np.asarray(result.agent)[at]],
        "truth": [int(k) for k in truth],
        "labels": names_by_axis(_named(result, source, source.paradigms[0])),
        "hypotheses": {"sentences": sentences, "classes": None if classes is None else [int(c) for c in classes]},
        "schemes": shown,
        "data": scene_data_of(source.module, source.paradigms[0]),
    }
    return contents, scene_of(source.module)


def _truths(result: Result) -> NDArray[np.intp]:
    true = result.arrays.get("true_model", np.array(-1))
    return np.broadcast_to(np.asarray(true, dtype=np.intp), (len(result.agent),))


# --- one scheme ----------------------------------------------------------------------------------------------------------
def _scheme(
    result: Result, source: Source, life: Life, at: NDArray[np.intp], truth: NDArray[np.intp], classes: NDArray[np.intp] | None
) -> dict[str, Any]:
    paradigm, rows = life.paradigm, life.rows
    agent = paradigm.agent
    thinks = classes is not None and "model_posterior" in rows and bool(np.isfinite(rows["model_posterior"]).any())
    # who compares hypotheses in sleep has another window: what the best must be better than is none
    s = result.index(paradigm.scheme)
    threshold = _windows(result, paradigm)[at]
    model = _named(result, source, paradigm)
    wins, losses = (_per_trial(result, name, s, at) for name in ("wins", "losses"))
    packed, kinds, adopted = [], [], []
    for k in range(len(at)):
        own = {name: array[k] for name, array in rows.items()}
        own["states"] = _comparable(own.get("states"), paradigm, int(truth[k]))
        arrays = _arrays(own, agent.model, wins[k], losses[k])
        if thinks:
            assert classes is not None
            arrays |= _compared(own["model_posterior"], classes, int(truth[k]))
        kinds = layout(arrays)
        packed.append(pack(arrays))
        beyond = float(threshold[k]) if agent.selection.at_once else np.inf
        adopted.append(_adoption(result, (s, int(at[k])), arrays, beyond, classes, int(truth[k])))
    return {
        "name": paradigm.scheme,
        "sentence": str(getattr(source.module, "SCHEMES", {}).get(paradigm.scheme, "")),
        "policies": policy_names(model),
        "heading": ", ".join(model.labels["factor"][f] for f in model.controlled_factors) or "policy",
        "hypotheses": thinks,
        "window": [float(x) if np.isfinite(x) else None for x in threshold],
        "adopted": adopted,
        "when": "in" if agent.selection.at_once else "asleep, after" if agent.introspection is not None else "after",
        "layout": kinds,
        "packed": packed,
    }


def _named(result: Result, source: Source, paradigm: Paradigm) -> POMDP:
    """The model of a scheme's agents, with the names that things had when the result was made."""
    firsts = [p.model for p in source.paradigms if p.scheme == result.schemes[0]]  # whose names settings have
    return model_as_it_was(result.settings, paradigm.agent.model, paradigm.model, *firsts)


def _windows(result: Result, paradigm: Paradigm) -> NDArray[np.float64]:
    """Occam's window of every agent, nats, as it was when the result was made; infinite where there is none."""
    shape = (len(result.agent),)
    if paradigm.agent.hypotheses is None:
        return np.full(shape, np.inf)
    about = result.settings.get("schemes", {}).get(paradigm.scheme, {}).get("selection") or {}
    try:
        return np.broadcast_to(np.asarray(about["threshold"], dtype=float), shape)
    except (KeyError, TypeError, ValueError):  # settings of before, or written by another program
        return np.broadcast_to(np.asarray(paradigm.agent.selection.threshold, dtype=float), shape)


def _comparable(states: NDArray[Any] | None, paradigm: Paradigm, truth: int) -> NDArray[Any] | None:
    """True states as the agent's model counts them; -1 for factors that the world has not, or has other states of."""
    space = paradigm.hypotheses
    if states is None or space is None or not space.models or paradigm.worlds is not None or truth < 0:
        return states
    mind, world = names_by_axis(paradigm.agent.model), names_by_axis(space.models[truth])
    same = [f < len(world["state"]) and world["state"][f] == names for f, names in enumerate(mind["state"])]
    return np.where(same, states, -1)


def _per_trial(result: Result, name: str, s: int, at: NDArray[np.intp]) -> NDArray[Any]:
    """Counts of a measure in every trial; zeros where a paradigm has none."""
    shape = (len(at), result.sizes["trial"])
    array = result.arrays.get(name)
    if array is None or np.ndim(array) != 3:
        return np.zeros(shape, dtype=int)
    return np.minimum(np.nan_to_num(np.asarray(array, dtype=float)[s][at]), 32767).astype(int)


def _arrays(own: dict[str, NDArray[Any]], model: POMDP, wins: NDArray[Any], losses: NDArray[Any]) -> dict[str, Any]:
    """Everything of one agent but its hypotheses: axes (trial, time, ...)."""
    lived = np.isfinite(own["free_energy"])
    terms = {short: own[name] for short, name in _TERMS.items()}
    with np.errstate(invalid="ignore"):
        rest = own["neg_efe"] - sum(terms.values())
    # only differences between policies mean something here; beside the best they are small, and little is lost in 16 bits
    terms["utility"], rest = _beside_best(terms["utility"]), _beside_best(np.where(np.abs(rest) < 1e-9, 0.0, rest))
    arrays: dict[str, Any] = {"lengths": ("whole", lived.sum(axis=1)), "wins": ("whole", wins), "losses": ("whole", losses)}
    arrays |= {f"qs{f}": ("share", own[f"qs_{name}"]) for f, name in enumerate(model.labels["factor"])}
    arrays |= {short: ("half", values) for short, values in terms.items()}
    arrays["rest"] = "half", rest
    arrays |= _lead(own)
    arrays |= {"q": ("share", own["q_pi"]), "policy": ("whole", own["policy"])}
    sizes = {"outcomes": len(model.num_outcomes), "controls": len(model.num_states), "states": len(model.num_states)}
    for name, size in sizes.items():
        known = own.get(name)
        arrays[name] = "whole", np.full((*lived.shape, size), -1) if known is None else known
    return arrays


def _beside_best(values: NDArray[Any]) -> NDArray[Any]:
    """Values less the best one of each moment, over the last axis; where none is finite they stay as they are."""
    best = np.where(np.isfinite(values), values, -np.inf).max(axis=-1, keepdims=True)
    return values - np.where(np.isfinite(best), best, 0.0)


def _lead(own: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """How the policy that was chosen stands beside the others: how many are as probable as the best, what it is worth less than
    that one if it is less probable, and from the best to the next that is less probable, nats.
    """
    q, worth = np.nan_to_num(own["q_pi"]), np.nan_to_num(own["neg_efe"], nan=-np.inf)
    best = q >= q.max(axis=-1, keepdims=True) * (1.0 - 1e-9)
    chosen = np.maximum(own["policy"], 0)[..., None]
    top = np.where(best, worth, -np.inf).max(axis=-1)
    with np.errstate(invalid="ignore"):  # of trials that are over, and policies that cannot be
        short = top - np.take_along_axis(worth, chosen, -1)[..., 0]
        lead = np.maximum(top - np.where(best, -np.inf, worth).max(axis=-1), 0.0)
    short = np.where(np.take_along_axis(best, chosen, -1)[..., 0], 0.0, np.maximum(short, 1e-6))
    return {"ties": ("whole", best.sum(axis=-1)), "short": ("half", short), "lead": ("half", lead)}


def _compared(posterior: NDArray[Any], classes: NDArray[np.intp], truth: int) -> dict[str, Any]:
    """The posterior over hypotheses at every moment, the log odds of the best, and whether that is the true one."""
    n_trials, n_times, n = posterior.shape
    flat = posterior.reshape(-1, n)
    known = np.isfinite(flat).all(axis=1)
    each = of_classes(np.where(known[:, None], flat, 1.0 / n), classes)
    odds = np.where(known, log_odds(each), np.nan).reshape(n_trials, n_times)
    right = known & (each.argmax(axis=1) == (classes[truth] if truth >= 0 else -1))
    return {
        "posterior": ("share", posterior),
        "compared": ("whole", known.reshape(n_trials, n_times).astype(int)),
        "odds": ("half", odds),
        "right": ("whole", right.reshape(n_trials, n_times).astype(int)),
    }


def _adoption(
    result: Result,
    who: tuple[int, int],
    arrays: dict[str, Any],
    window: float,
    classes: NDArray[np.intp] | None,
    truth: int,
) -> dict[str, Any]:
    """Which hypothesis an agent (scheme, position) adopted in the end, at which moment, and whether it is the true one.

    ``window``: log odds from which it does so within a trial; inf if it waits for the trial's end.
    """
    model, trial = (int(result.arrays[n][who]) if n in result.arrays else -1 for n in ("adopted_model", "adoption_trial"))
    if model < 0 or trial < 0 or classes is None:
        return {"model": -1, "trial": -1, "time": -1, "right": False}
    time = max(int(arrays["lengths"][1][trial]) - 1, 0)
    if "odds" in arrays:
        beyond = np.flatnonzero(arrays["odds"][1][trial] > window)
        time = int(beyond[0]) if len(beyond) else time
    return {"model": model, "trial": trial, "time": time, "right": truth >= 0 and bool(classes[model] == classes[truth])}


# --- the scene -----------------------------------------------------------------------------------------------------------
def scene_of(module: Any) -> str | None:
    """The script of a paradigm's scene, an expression that is a function; None if it has none.

    Raises:
        ValueError: if ``SCENE`` holds no function, or its file cannot be read.
    """
    scene = None if module is None else registry.scene_of(module)
    if scene is None:
        return None
    if "=>" not in scene and "function" not in scene:
        raise ValueError(f"SCENE of {module.NAME} must hold a JavaScript function; got {scene[:60]!r}")
    return scene.strip().rstrip(";")


def scene_data_of(module: Any, paradigm: Paradigm) -> Any:
    """What a paradigm's module tells its scene; None if it tells nothing.

    Raises:
        ValueError, TypeError: if it cannot be made, or JSON cannot hold it.
    """
    make = getattr(module, "scene_data", None)
    if make is None:
        return None
    try:
        data = make(paradigm)
    except Exception as error:  # it is the paradigm's own code: say whose it is
        raise ValueError(f"scene_data of {module.NAME} failed: {type(error).__name__}: {error}") from error
    try:
        json.dumps(data, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"scene_data of {module.NAME} must return what JSON can hold: {error}") from error
    return data
