"""The 25 causal graphs over three binary variables: what each makes of a setting, and which of them watching cannot tell apart.

A setting is what somebody does to each variable: 0 leaves it alone, 1 sets it to 0, 2 sets it to 1. Set variables are cut off
from their causes (Pearl's do); the others come about as the graph has it.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations, permutations, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from activebmr import checks

__all__ = [
    "BACKGROUND",
    "GRAPHS",
    "NAMES",
    "OUTCOMES",
    "SENTENCES",
    "SETTINGS",
    "STRENGTH",
    "VARIABLES",
    "causes_of",
    "divergences",
    "equivalence_classes",
    "likelihood",
    "say_setting",
    "setting_index",
]

VARIABLES = ("X", "Y", "Z")
STRENGTH, BACKGROUND = 0.8, 0.1
"""Of a noisy-or: chance that a cause that is on turns its effect on, and that a variable goes on by itself."""

SETTINGS: tuple[tuple[int, ...], ...] = tuple(product(range(3), repeat=3))
"""All 27, the last variable fastest; `SETTINGS[0]` is to watch."""
OUTCOMES: tuple[tuple[int, ...], ...] = tuple(product(range(2), repeat=3))
"""Values of the three variables, the last fastest."""

_ARROWS = tuple(permutations(range(3), 2))


def _acyclic(arrows: tuple[tuple[int, int], ...]) -> bool:
    """Whether some order of the variables puts all causes before their effects."""
    return any(all(order.index(a) < order.index(b) for a, b in arrows) for order in permutations(range(3)))


GRAPHS: tuple[tuple[tuple[int, int], ...], ...] = tuple(
    arrows for n in range(4) for arrows in combinations(_ARROWS, n) if _acyclic(arrows)
)
"""Arrows (cause, effect) of every graph without circles, fewest first."""
NAMES = tuple(", ".join(f"{VARIABLES[a]}->{VARIABLES[b]}" for a, b in g) or "none" for g in GRAPHS)
SENTENCES = tuple(
    " and ".join(f"{VARIABLES[a]} causes {VARIABLES[b]}" for a, b in g) or "no variable causes another" for g in GRAPHS
)


def causes_of(graph: int, variable: int) -> tuple[int, ...]:
    """The variables with an arrow to this one, in order."""
    return tuple(a for a, b in GRAPHS[graph] if b == variable)


def setting_index(setting: ArrayLike) -> NDArray[np.intp]:
    """Index in `SETTINGS` of settings ``(..., 3)``."""
    return np.asarray(np.asarray(setting, dtype=np.intp) @ np.array([9, 3, 1]))


def say_setting(index: int) -> str:
    """A setting in words: ``"X=1, Z=0"``, or ``"watch"``."""
    return ", ".join(f"{v}={s - 1}" for v, s in zip(VARIABLES, SETTINGS[index], strict=True) if s) or "watch"


def likelihood(strength: float = STRENGTH, background: float = BACKGROUND) -> NDArray[np.float64]:
    """Probabilities of the eight outcomes under every setting and graph, with a noisy-or ``(27, 25, 8)``.

    A variable that is left alone is on with probability 1 - (1 - background) (1 - strength)^k, k of its causes being on.

    Raises:
        ValueError: unless strength lies in (0, 1] and background in [0, 1): else all graphs are one.

    Example:
        ``likelihood()[9 * 2, NAMES.index("X->Y")]``: what may come of setting X to 1 where X causes Y.

    Source: Bramley, Lagnado and Speekenbrink (2015), "Conservative forgetful scholars", J. Exp. Psychol.: LMC 41.
    """
    checks.number(strength, "strength", checks.FRACTION)
    checks.number(background, "background", checks.SHARE)
    out = np.ones((len(SETTINGS), len(GRAPHS), len(OUTCOMES)))
    for a, g, o in np.ndindex(*out.shape):
        for variable, (done, value) in enumerate(zip(SETTINGS[a], OUTCOMES[o], strict=True)):
            if done:
                out[a, g, o] *= value == done - 1
            else:
                active = sum(OUTCOMES[o][c] for c in causes_of(g, variable))
                off = (1 - background) * (1 - strength) ** active
                out[a, g, o] *= 1 - off if value else off
    return out


@cache
def equivalence_classes() -> NDArray[np.intp]:
    """The Markov equivalence class of every graph ``(25,)``, 11 in all: graphs of a class can represent the same distributions.

    Two graphs are equivalent if they join the same variables and have the same colliders (two causes that no arrow joins).

    Source: Verma and Pearl (1990), "Equivalence and synthesis of causal models", UAI.
    """
    kinds: dict[tuple[frozenset[frozenset[int]], frozenset[int]], int] = {}
    classes = []
    for g, arrows in enumerate(GRAPHS):
        joined = frozenset(frozenset(pair) for pair in arrows)
        colliders = frozenset(v for v in range(3) if len(causes_of(g, v)) == 2 and frozenset(causes_of(g, v)) not in joined)
        classes.append(kinds.setdefault((joined, colliders), len(kinds)))
    out = np.array(classes, dtype=np.intp)
    out.setflags(write=False)
    return out


def divergences(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kullback-Leibler divergence of every graph's outcomes from every other's, nats: ``(..., graphs, outcomes)`` makes
    ``(..., true graph, other graph)``; inf where an outcome that is possible under the true one excludes the other.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(tables)
        each = tables[..., :, None, :] * (logs[..., :, None, :] - logs[..., None, :, :])
    return np.asarray(np.where(tables[..., :, None, :] > 0, each, 0.0).sum(axis=-1))
