"""What a result of the T-maze says about itself: its settings, and the structures that were true."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from activebmr import Result
from activebmr.paradigms.t_maze.world import STRUCTURES, Structure

__all__ = ["KINDS", "kind_of", "setting", "structures_of", "window_of"]


def structures_of(result: Result) -> list[Structure]:
    """The true structure of each agent."""
    return [STRUCTURES[int(t)] for t in np.broadcast_to(result.true_model, result.agent.shape)]


def setting(result: Result, name: str) -> Any:
    """A setting of the paradigm."""
    return next(iter(result.settings["schemes"].values()))[name]


def window_of(result: Result, s: int) -> float:
    """Occam's window of a scheme, nats."""
    return float(result.settings["schemes"][result.schemes[s]]["selection"]["threshold"])


def kind_of(structure: Structure) -> str:
    """What matters to how often the cue is worth a look: how reliable it is, and whether the context stays."""
    if structure.useless:
        return "useless"
    return f"{structure.reliability:.2f} ".replace("0.", ".") + ("stays" if structure.stays else "redrawn")


KINDS = tuple(f"{r} {m}" for m, r in product(("redrawn", "stays"), (".95", ".75"))) + ("useless",)
"""All that `kind_of` may say."""
