"""The causal world as a `POMDP`: what can be done to each variable, what is watched, and what each graph says will be seen."""

from __future__ import annotations

from functools import cache
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from activebmr import POMDP, HypothesisSpace
from activebmr.model.policies import one_step_policies
from activebmr.paradigms.causal.graphs import BACKGROUND, NAMES, OUTCOMES, SENTENCES, SETTINGS, STRENGTH, VARIABLES, likelihood

__all__ = ["experiments", "hypotheses", "outcome_names", "policies_that", "tables", "world_model"]

_DONE = ("not yet", "left", "set to 0", "set to 1")


def _views(watched: int) -> list[tuple[int, ...]]:
    """Which variables can be watched together."""
    return list(combinations(range(3), watched))


def outcome_names(watched: int = 3) -> list[str]:
    """Names of what may be seen, such as ``"01?"``: X off, Y on, Z not watched; the first is nothing."""
    names = ["nothing"]
    for view in _views(watched):
        for values in product("01", repeat=watched):
            shown = dict(zip(view, values, strict=True))
            names.append("".join(shown.get(v, "?") for v in range(3)))
    return names


@cache
def tables(watched: int = 3, strength: float = STRENGTH, background: float = BACKGROUND) -> NDArray[np.float64]:
    """Probabilities of what is seen under every graph, by what was done to each variable and, if not all can be watched, what
    is: ``(25, outcomes, 4, 4, 4[, views + 1])``; nothing is seen before something was done.
    """
    views, whole = _views(watched), likelihood(strength, background)
    out = np.zeros((len(NAMES), len(outcome_names(watched)), 4, 4, 4, len(views) + 1))
    out[:, 0] = 1.0
    for (a, setting), (v, view) in product(enumerate(SETTINGS), enumerate(views)):
        at = (*(s + 1 for s in setting), v + 1)
        out[(slice(None), 0, *at)] = 0.0
        for o, values in enumerate(OUTCOMES):
            seen = 1 + v * 2**watched + sum(values[i] << k for k, i in enumerate(reversed(view)))
            out[(slice(None), seen, *at)] += whole[a, :, o]
    out = out if watched < 3 else out[..., 1]
    out.setflags(write=False)
    return out


@cache
def world_model(watched: int = 3) -> POMDP:
    """Everything but the graph: each variable is left, set to 0 or set to 1, once a trial, and then what is watched is seen."""
    seen, views = outcome_names(watched), [" and ".join(VARIABLES[i] for i in view) for view in _views(watched)]
    controls = [3, 3, 3] + ([len(views)] if watched < 3 else [])
    factors = [*VARIABLES, "watch"][: len(controls)]
    moves = []
    for n in controls:  # whatever was done before is over
        move = np.zeros((n + 1, n + 1, n))
        move[np.arange(1, n + 1), :, np.arange(n)] = 1.0
        moves.append(move)
    return POMDP(
        A=[tables(watched).mean(axis=0)],
        B=moves,
        D=[np.eye(n + 1)[0] for n in controls],
        policies=one_step_policies(controls),
        labels={
            "factor": factors,
            "modality": ["seen"],
            "states": {f: (["not yet", *views] if f == "watch" else _DONE) for f in factors},
            "outcomes": {"seen": seen},
            "controls": {f: (views if f == "watch" else _DONE[1:]) for f in factors},
        },
    )


@cache
def hypotheses(watched: int = 3, strength: float = STRENGTH, background: float = BACKGROUND) -> HypothesisSpace:
    """The 25 graphs, each of which says for certain how probable everything is."""
    said = tables(watched, strength, background)
    return HypothesisSpace({name: {"A[seen]": t} for name, t in zip(NAMES, said, strict=True)}, descriptions=SENTENCES)


def policies_that(kind: str, watched: int = 3) -> NDArray[np.intp]:
    """Policies ``(n_policies, 1, factors)``: ``"open"`` ones leave something alone, ``"watching"`` ones everything."""
    policies = world_model(watched).policies
    left = (policies[:, 0, :3] == 0).sum(axis=1)
    return np.asarray(policies[left == 3 if kind == "watching" else left > 0])


def experiments(watched: int = 3, strength: float = STRENGTH, background: float = BACKGROUND) -> NDArray[np.float64]:
    """Probabilities of what is seen under every policy and graph ``(policies, 25, outcomes)``."""
    said, policies = tables(watched, strength, background), world_model(watched).policies[:, 0]
    return np.stack([said[(slice(None), slice(None), *(p + 1))] for p in policies])
