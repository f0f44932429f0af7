"""The world of the bandit: what is seen, what arms pay, the structures that payoffs may have, and who draws them."""

from __future__ import annotations

from functools import cache

import numpy as np

from activebmr import POMDP, ColumnTable, HypothesisSpace, ModelProcess

__all__ = [
    "ARMS",
    "COLOURS",
    "COUNTS",
    "PREFERENCE",
    "SENTENCES",
    "SIDES",
    "STRUCTURES",
    "TRIAL_LENGTH",
    "model",
    "payoffs",
    "structures",
    "worlds",
]

COLOURS = ("red", "green", "blue")
SIDES = ("left", "centre", "right")
ARMS = ("first", "second", "third")
TRIAL_LENGTH = 2
"""The context is seen; then an arm is pulled, and its payoff seen."""

STRUCTURES: dict[str, tuple[str, ...]] = {"neither": (), "colour": ("colour",), "side": ("side",), "both": ("colour", "side")}
"""Which part of the context the payoffs of the arms depend on."""
SENTENCES = (
    "nothing but the arm matters",
    "the colour matters, beside the arm",
    "the side matters, beside the arm",
    "colour and side both matter, beside the arm",
)

COUNTS = 1.0
"""Counts of a payoff and of none that every arm begins with: its probability of paying is uniform, for agents and world."""
PREFERENCE = 0.5
"""Log odds with which a payoff is preferred to none, nats."""

_NOTHING, _PAID = 1, 2  # outcomes of the modality "payoff"; 0 is seen before an arm is pulled
_PURPOSE = 3  # of the random stream that draws an agent's payoffs (0 to 2 are the simulation's own)


@cache
def model(structure: str, preference: float = PREFERENCE) -> POMDP:
    """What an agent believes who knows that payoffs have this structure, but not the payoffs.

    Args:
        structure: one of the `STRUCTURES`.
        preference: log odds with which a payoff is preferred, nats.
    """
    sizes = {"colour": len(COLOURS), "side": len(SIDES), "arm": len(ARMS) + 1}
    names = list(sizes)
    matter = [*STRUCTURES[structure], "arm"]
    counts = np.zeros((3, *(sizes[f] for f in matter)))
    counts[[_NOTHING, _PAID]] = COUNTS
    counts[..., len(ARMS)] = np.array([COUNTS, 0.0, 0.0]).reshape(3, *[1] * (len(matter) - 1))
    pulled = np.zeros((len(ARMS) + 1, len(ARMS) + 1, len(ARMS)))
    for arm in range(len(ARMS)):
        pulled[arm, :, arm] = 1.0
    return POMDP(
        A=[np.eye(len(COLOURS)), np.eye(len(SIDES)), None],
        B=[np.eye(len(COLOURS))[:, :, None], np.eye(len(SIDES))[:, :, None], pulled],
        C=[None, None, (0.0, 0.0, preference)],
        D=[None, None, np.eye(len(ARMS) + 1)[len(ARMS)]],
        pA=[None, None, counts],
        A_dependencies=[[0], [1], [names.index(f) for f in matter]],
        labels={
            "factor": names,
            "modality": ["colour seen", "side seen", "payoff"],
            "states": {"colour": list(COLOURS), "side": list(SIDES), "arm": [*ARMS, "none"]},
            "outcomes": {"colour seen": list(COLOURS), "side seen": list(SIDES), "payoff": ["not yet", "nothing", "paid"]},
            "controls": {"arm": list(ARMS)},
        },
    )


@cache
def structures(preference: float = PREFERENCE) -> HypothesisSpace:
    """The structures as hypotheses: models that differ in what the payoff depends on, equally likely at first."""
    return HypothesisSpace.from_models({s: model(s, preference) for s in STRUCTURES}, descriptions=SENTENCES)


# --- what arms pay -------------------------------------------------------------------------------------------------------
def payoffs(seed: int, agents: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Probabilities ``(n_agents, colours, sides, arms)`` that arms pay, uniform draws of every agent's own.

    Args:
        seed, agents: an agent's draws depend on the seed and on its number alone.
        truths: the true structure of each agent ``(n_agents,)``: contexts that differ in nothing that matters pay alike.
    """
    shape = len(COLOURS), len(SIDES), len(ARMS)
    out = np.empty((len(agents), *shape))
    for row, (agent, truth) in enumerate(zip(agents, truths, strict=True)):
        drawn = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(agent), _PURPOSE))).beta(
            COUNTS, COUNTS, shape
        )
        matter = list(STRUCTURES.values())[truth]
        if "colour" not in matter:
            drawn = drawn[:1]
        if "side" not in matter:
            drawn = drawn[:, :1]
        out[row] = drawn
    return out


def worlds(seed: int, agents: np.ndarray, truths: np.ndarray) -> ModelProcess:
    """The bandits of some agents, each with payoffs of its own; whichever arm is pulled, one number per trial decides."""
    chance = payoffs(seed, agents, truths)
    pulled = np.stack([np.zeros_like(chance), 1 - chance, chance], axis=-1).reshape(-1, 3)
    columns = np.concatenate([pulled, [[1.0, 0.0, 0.0]]])  # the last one is seen before an arm is pulled
    assignment = np.full((*chance.shape[:3], len(ARMS) + 1), len(pulled))
    assignment[..., : len(ARMS)] = np.arange(len(pulled)).reshape(chance.shape)
    every = model("both")
    table = ColumnTable(columns, assignment.reshape(len(agents), -1), every.A[2].shape)
    own = HypothesisSpace.from_columns([str(k) for k in range(len(agents))], {2: table})
    process = ModelProcess(every, own, np.arange(len(agents)))
    process.comparable = False  # what agents learn depends on less than this table does, unless both matter
    return process
