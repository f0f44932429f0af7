"""After the game: an observer of what the person saw, and the agent in the person's world, trial by trial.

The observer lives through the person's observations and moves (`activebmr.replay`) under the observer's scheme, so its
posterior is what the person could have known. The agent plays the same game by itself: the same world, the same chance
(agent k of `activebmr.simulate` with this seed). Both are sure from the first trial on after which the log odds of the best
hypothesis lie beyond Occam's window.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.behaviour.replay import replay
from activebmr.model.by_axis import policy_names
from activebmr.play.game import Game
from activebmr.play.setting import Setting
from activebmr.reduction.evidence import log_odds
from activebmr.simulation.paradigm import Paradigm
from activebmr.simulation.recorder import of_classes
from activebmr.simulation.simulate import run_batch

__all__ = ["WINDOW", "debrief"]

WINDOW = 3.0
"""Nats (odds of 20 to 1) from which on one is sure where a scheme has no Occam's window for that, or an infinite one."""

_TERMS = {"utility": "utility", "state": "state_info_gain", "param": "param_info_gain", "model": "model_info_gain"}
_MOST_VALUES = 64  # policies whose values are told


def debrief(game: Game) -> dict[str, Any]:
    """What the person, the observer and the agent did, thought and needed, as plain data for a page.

    Args:
        game: a game that is over.

    Returns:
        ``paradigm``, ``truth`` (index of the true hypothesis, or None), ``hypotheses`` (sentences), ``classes`` (those with one
        number agree everywhere), ``factors``, ``states`` and ``policies`` (names), and what concerns ``you``, the ``observer``
        (None if no trial was played) and the ``agent``. Trials count from 1 here, indices from 0; nats are nats.

        All three have ``wins``, ``losses`` and ``score`` (lists over trials) and ``sure``, the trial after which they were sure
        for the first time, or None. You are sure from the first answer on after which every answer was right; ``beliefs`` holds
        what you said (trial -> hypothesis, -1 for "I do not know").

        The others have ``scheme``, ``sentence``, ``ideal`` (whether its beliefs about hypotheses and states together are
        exact), ``odds`` (log odds of the best hypothesis after every trial; None for those who compare none), ``window`` (where
        sureness begins) and ``own_window`` (whether the scheme says so itself), ``hypothesis`` (that they were sure of, or
        None), ``right`` (whether it is true, or agrees everywhere with what is), and ``trials``, a list of moments each:
        ``outcomes``, ``states``, ``controls`` (None at the last), ``qs``, ``posterior``, ``values`` (``utility``, ``state``,
        ``param``, ``model`` and ``worth`` of every policy; None if there are too many), ``q`` (posterior over policies),
        ``chosen`` (index of the policy, -1 for none) and ``chance`` (of what was done, by ``q``).

    Raises:
        ValueError: if the game is not over, or if the observer's scheme cannot live through it.
    """
    if game.phase != "over":
        raise ValueError(f"game of debrief must be over; it is at {game.phase!r}")
    setting = game.setting
    truth, labels = setting.truth_of(game.agent), setting.labels
    out: dict[str, Any] = {
        "paradigm": setting.paradigm.name,
        "truth": truth,
        "hypotheses": setting.sentences_of_hypotheses,
        "classes": setting.classes or None,
        "factors": labels["factor"],
        "states": labels["state"],
        "policies": policy_names(setting.paradigm.agent.model),
        "you": _you(game, truth),
        "observer": None,
        "agent": None,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an observation that a scheme holds impossible shows in its beliefs
        if game.finished:
            seen = _replayed(_with_truth(setting.observer, truth), game)
            brought = {name: out["you"][name] for name in ("wins", "losses", "score")}  # it saw what you saw
            out["observer"] = _told(setting, setting.observer, seen, truth, brought)
        trials = setting.n_trials + _learns_asleep(setting.paradigm)
        _, trace = run_batch(setting.paradigm, np.array([game.agent]), trials, setting.seed, trace=True)
    arrays = {name: array[0] for name, array in trace.items()}
    out["agent"] = _told(setting, setting.paradigm, arrays, truth, _brought(setting, game.agent, arrays))
    return out


def _learns_asleep(paradigm: Paradigm) -> bool:
    """Whether the agents compare hypotheses between trials alone. What they found after the last one shows at the start of one
    trial more, which they live to see, and of which nothing else is told.
    """
    return paradigm.agent.hypotheses is None and paradigm.hypotheses is not None


def _with_truth(paradigm: Paradigm, truth: int | None) -> Paradigm:
    """The paradigm with the one truth of this world: only one can be replayed."""
    return paradigm if truth is None else replace(paradigm, truth=truth)


def _replayed(paradigm: Paradigm, game: Game) -> dict[str, NDArray[Any]]:
    recorded = game.recorded()
    if _learns_asleep(paradigm):  # a last start, at which nothing is done
        starts = {
            name: -np.ones_like(a[-1][:, :1]) if name == "controls" else a[-1][:, :1] for name, a in recorded.items() if a
        }
        recorded = {name: a and [*a, starts[name]] for name, a in recorded.items()}
    try:
        return replay(paradigm, **recorded)
    except ValueError:  # schemes whose beliefs rest on the policies that they drop cannot evaluate every one
        return replay(paradigm, **recorded, every_policy=False)


def _brought(setting: Setting, agent: int, arrays: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
    """Wins, losses and score of the agent's trials. Rewards are in no trace: what it did is done once more in its world."""
    game = Game(replace(setting, ask=0), agent)
    for i in range(setting.n_trials):
        game.begin()
        over = False
        for t in range(setting.paradigm.trial_length - 1):
            over = over or game.move(i, t, arrays["controls"][i, t])
    return _sums(game)


def _sums(game: Game) -> dict[str, list[Any]]:
    each = [game.worth(trial) for trial in game.finished]
    return {name: [worth[k] for worth in each] for k, name in enumerate(("wins", "losses", "score"))}


def _you(game: Game, truth: int | None) -> dict[str, Any]:
    classes, sure = game.setting.classes, None
    for trial, hypothesis in sorted(game.beliefs.items()):
        right = hypothesis >= 0 and truth is not None and classes[hypothesis] == classes[truth]
        sure = (sure or trial + 1) if right else None
    return {
        **_sums(game),
        "beliefs": {str(trial + 1): h for trial, h in sorted(game.beliefs.items())},
        "sure": sure,
    }


def _told(
    setting: Setting,
    paradigm: Paradigm,
    arrays: dict[str, NDArray[Any]],
    truth: int | None,
    brought: dict[str, list[Any]],
) -> dict[str, Any]:
    """What a scheme's agent thought, did and needed; arrays have axes (trial, time, ...), and perhaps a last start."""
    outcomes = arrays["outcomes"][: len(brought["score"])]
    lengths = (outcomes >= 0).any(axis=2).sum(axis=1)
    odds, window, own = _odds(setting, paradigm, arrays, lengths)
    sure = [] if odds is None else np.flatnonzero(odds > window)
    held = int(_at_end(arrays, int(sure[0]), int(lengths[sure[0]])).argmax()) if len(sure) else None
    classes = setting.classes
    return {
        "scheme": paradigm.scheme,
        "sentence": setting.sentences.get(paradigm.scheme, ""),
        "ideal": paradigm.agent.inference == "models",  # exact over hypotheses and states
        "window": window,
        "own_window": own,
        **brought,
        "odds": None if odds is None else _plain(odds),
        "sure": int(sure[0]) + 1 if len(sure) else None,
        "hypothesis": held,
        "right": None if held is None or truth is None else classes[held] == classes[truth],
        "trials": [[_moment(setting, arrays, i, t, int(n)) for t in range(int(n))] for i, n in enumerate(lengths)],
    }


def _odds(
    setting: Setting, paradigm: Paradigm, arrays: dict[str, NDArray[Any]], lengths: NDArray[np.intp]
) -> tuple[NDArray[Any] | None, float, bool]:
    """Log odds of the best hypothesis after every trial, nats (None where none are compared), from where on one is sure, and
    whether the scheme says so itself.
    """
    window = float(np.max(paradigm.agent.selection.threshold))
    if "model_posterior" not in arrays:
        return None, window, True
    if paradigm.agent.hypotheses is None:  # those who compare hypotheses asleep report the evidence against knowing none
        ends = np.stack([_at_end(arrays, i, int(n)) for i, n in enumerate(lengths)])
        known = np.isfinite(ends).all(axis=1)
        odds = np.full(len(ends), np.nan)
        odds[known] = log_odds(of_classes(ends[known], np.array(setting.classes)))
        return odds, WINDOW, False
    own = bool(np.isfinite(window))
    return arrays["log_odds"], window if own else WINDOW, own


def _at_end(arrays: dict[str, NDArray[Any]], trial: int, length: int) -> NDArray[Any]:
    """Posterior over hypotheses when a trial was over: schemes that learn between trials show it at the next one's start."""
    posterior = arrays["model_posterior"]
    return np.asarray(posterior[trial + 1, 0] if trial + 1 < len(posterior) else posterior[trial, length - 1])


def _moment(setting: Setting, arrays: dict[str, NDArray[Any]], i: int, t: int, length: int) -> dict[str, Any]:
    names = setting.labels["factor"]
    q, last = arrays["q_pi"][i, t], t == length - 1
    chosen = -1 if last else int(arrays["policy"][i, t])
    told = len(q) <= _MOST_VALUES
    policies: Any = setting.paradigm.agent.model.policies
    controls = [int(u) for u in arrays["controls"][i, t]]
    does = (policies[:, 0] == np.array(controls)).all(axis=1)
    posterior = arrays.get("model_posterior")
    states = arrays["states"][i, t] if "states" in arrays and setting.knows_states else None
    return {
        "outcomes": [int(o) for o in arrays["outcomes"][i, t]],
        "states": None if states is None else [int(s) for s in states],
        "controls": None if last else controls,
        "qs": [_plain(arrays[f"qs_{name}"][i, t]) for name in names if f"qs_{name}" in arrays],
        "posterior": None if posterior is None else _plain(posterior[i, t]),
        "values": {**{k: _plain(arrays[n][i, t]) for k, n in _TERMS.items()}, "worth": _plain(arrays["neg_efe"][i, t])}
        if told
        else None,
        "q": _plain(q) if told else None,
        "chosen": chosen,
        "chance": None if last or not does.any() else _plain(q[does].sum()),
    }


def _plain(values: Any) -> Any:
    """Numbers with four digits as JSON holds them: None for nan, and for what is infinite a number beyond all others."""
    rounded = np.asarray(values, dtype=np.float64)
    bounded = np.nan_to_num(rounded, nan=np.nan, posinf=1e9, neginf=-1e9)
    if bounded.ndim == 0:
        return None if np.isnan(bounded) else float(f"{float(bounded):.4g}")
    return [_plain(x) for x in bounded]
