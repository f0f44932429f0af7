"""Boxes with hidden causes behind their sensors, as models (`POMDP`) of one, two, three or four causes: they differ in how many
states there are.

The causes of a box are on or off anew at every look. A sensor has one cause, which turns it on; which cause each sensor has,
the *wiring* of the box, is hidden too and stays as it is. So a model of k causes has k factors of two states and one whose
states are all wirings in which every cause has a sensor.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from activebmr import POMDP, HypothesisSpace, checks

__all__ = [
    "BACKGROUND",
    "CHANCE",
    "NAMES",
    "SENSORS",
    "STRENGTH",
    "check_world",
    "experiments",
    "hypotheses",
    "numbers_of",
    "say_wiring",
    "views",
    "wirings",
    "world_model",
]

SENSORS = 5
CHANCE = 0.5
"""Of a cause to be on in a look."""
STRENGTH, BACKGROUND = 0.9, 0.05
"""Of a noisy-or: chance that a cause that is on turns its sensor on, and that a sensor goes on by itself."""
NAMES = ("one", "two", "three", "four")

_LETTERS = "ABCDEFGH"
_MOST = 8  # sensors: 2795 wirings

Wiring = tuple[int, ...]
"""Which cause each sensor has; causes are numbered in the order of their first sensors."""


@cache
def wirings(n_causes: int, n_sensors: int = SENSORS) -> tuple[Wiring, ...]:
    """All wirings in which every cause has a sensor, each once, however causes are numbered.

    Example:
        ``wirings(2, 3)`` is ``((0, 0, 1), (0, 1, 0), (0, 1, 1))``
    """
    found = [(0,)]
    for _ in range(n_sensors - 1):  # a sensor has one of the causes so far, or the next one
        found = [(*w, c) for w in found for c in range(min(max(w) + 2, n_causes))]
    return tuple(w for w in found if max(w) + 1 == n_causes)


def say_wiring(wiring: Wiring) -> str:
    """A wiring in letters: the sensors of each cause, ``"AC|B|DE"``."""
    return "|".join("".join(_LETTERS[s] for s, cause in enumerate(wiring) if cause == c) for c in range(max(wiring) + 1))


@cache
def views(n_sensors: int, watched: int) -> tuple[tuple[int, ...], ...]:
    """Which sensors can be looked at together."""
    return tuple(combinations(range(n_sensors), watched))


def check_world(sensors: int, watched: int, chance: float, strength: float, background: float) -> None:
    """Raise ValueError unless boxes of one to four causes can be made, and told apart, with these settings."""
    checks.whole_number(sensors, "sensors", len(NAMES) + 1, _MOST)
    checks.whole_number(watched, "watched", 2, sensors)
    inside = checks.Rule("lie in (0, 1)", lambda x: 0 < x < 1)
    checks.number(chance, "chance", inside)
    checks.number(strength, "strength", checks.FRACTION)
    checks.number(background, "background", checks.SHARE)


@cache
def world_model(
    n_causes: int,
    watched: int = 2,
    sensors: int = SENSORS,
    chance: float = CHANCE,
    strength: float = STRENGTH,
    background: float = BACKGROUND,
) -> POMDP:
    """A box of so many causes, before which the agent chooses what to look at. At the first time it looks at nothing and sees
    all as off.

    Args:
        n_causes: 1 to 4.
        watched: sensors in a look.
        sensors: of the box.
        chance, strength, background: of causes and sensors, see `CHANCE` and `STRENGTH`.
    """
    seen, wired = views(sensors, watched), wirings(n_causes, sensors)
    moves = np.zeros((len(seen) + 1, len(seen) + 1, len(seen)))
    moves[np.arange(1, len(seen) + 1), :, np.arange(len(seen))] = 1.0
    drawn = np.array([1 - chance, chance])
    anew = np.repeat(drawn[:, None, None], 2, axis=1)
    on = _on(wired, n_causes, strength, background)  # (wirings, sensors, *causes)
    likelihoods = []
    for place in range(watched):
        lit = np.zeros((len(seen) + 1, len(wired), *[2] * n_causes))
        lit[1:] = np.stack([on[:, view[place]] for view in seen])
        likelihoods.append(np.stack([1 - lit, lit]))
    causes = [f"cause {k + 1}" for k in range(n_causes)]
    names = [f"sensor {place + 1} of the look" for place in range(watched)]
    looks = [" and ".join(_LETTERS[s] for s in view) for view in seen]
    return POMDP(
        A=likelihoods,
        B=[moves, np.eye(len(wired))[:, :, None], *[anew] * n_causes],
        D=[np.eye(len(seen) + 1)[0], None, *[drawn] * n_causes],
        labels={
            "factor": ["look", "wiring", *causes],
            "modality": names,
            "states": {
                "look": ["nowhere", *looks],
                "wiring": [say_wiring(w) for w in wired],
                **dict.fromkeys(causes, ["off", "on"]),
            },
            "outcomes": dict.fromkeys(names, ["off", "on"]),
            "controls": {"look": looks},
        },
    )


def _on(wired: tuple[Wiring, ...], n_causes: int, strength: float, background: float) -> NDArray[np.float64]:
    """Probability that each sensor is on, by wiring and states of the causes ``(wirings, sensors, 2, 2, ...)``."""
    states = np.array(list(product((0, 1), repeat=n_causes)))
    driven = states.T[np.array(wired)]  # (wirings, sensors, joint states): whether its cause is on
    on = 1 - (1 - background) * (1 - strength) ** driven
    return np.asarray(on.reshape(*on.shape[:2], *[2] * n_causes))


@cache
def hypotheses(
    watched: int = 2,
    sensors: int = SENSORS,
    chance: float = CHANCE,
    strength: float = STRENGTH,
    background: float = BACKGROUND,
) -> HypothesisSpace:
    """One, two, three or four causes, all as likely; given the number, all wirings are."""
    models = {n: world_model(k + 1, watched, sensors, chance, strength, background) for k, n in enumerate(NAMES)}
    return HypothesisSpace.from_models(models, descriptions=[f"{n} hidden cause{'s' * (n != 'one')}" for n in NAMES])


@cache
def numbers_of(sensors: int = SENSORS) -> NDArray[np.intp]:
    """Number of causes of every wiring, of one cause first ``(wirings,)``."""
    out = np.array([k + 1 for k in range(len(NAMES)) for _ in wirings(k + 1, sensors)], dtype=np.intp)
    out.setflags(write=False)
    return out


@cache
def experiments(
    watched: int = 2,
    sensors: int = SENSORS,
    chance: float = CHANCE,
    strength: float = STRENGTH,
    background: float = BACKGROUND,
) -> NDArray[np.float64]:
    """Probabilities of what every look shows in boxes of every wiring (`numbers_of`), whatever their causes do
    ``(views, wirings, outcomes)``; outcomes are those of the sensors looked at, the last fastest.
    """
    seen, tables = views(sensors, watched), []
    for k in range(len(NAMES)):
        on = _on(wirings(k + 1, sensors), k + 1, strength, background).reshape(-1, sensors, 2 ** (k + 1))
        states = np.array(list(product((0, 1), repeat=k + 1)))
        weight = np.where(states, chance, 1 - chance).prod(axis=1)
        each = []
        for view in seen:
            joint = np.ones((len(on), 1, len(weight)))
            for s in view:
                pair = np.stack([1 - on[:, s], on[:, s]], axis=1)
                joint = (joint[:, :, None] * pair[:, None]).reshape(len(on), -1, len(weight))
            each.append(joint @ weight)
        tables.append(np.stack(each))
    out = np.concatenate(tables, axis=1)
    out.setflags(write=False)
    return out
