"""Names of a model in the order of its axes, as pages, games and pictures show them."""

from __future__ import annotations

from typing import Any

from activebmr import checks
from activebmr.model.pomdp import POMDP

__all__ = ["names_by_axis", "policy_names"]


def names_by_axis(model: POMDP) -> dict[str, Any]:
    """Lists of names of ``factor`` and ``modality``; of ``state``, ``outcome`` and ``control`` one for each factor or modality.

    Example:
        >>> import numpy as np
        >>> names_by_axis(POMDP(A=[np.eye(2)], B=[np.eye(2)[:, :, None]], labels={"factor": ["room"]}))["factor"]
        ['room']
    """
    labels = model.labels
    return {
        "factor": [str(name) for name in labels["factor"]],
        "modality": [str(name) for name in labels["modality"]],
        "state": [[str(x) for x in labels["states"][f]] for f in labels["factor"]],
        "outcome": [[str(x) for x in labels["outcomes"][m]] for m in labels["modality"]],
        "control": [[str(x) for x in labels["controls"][f]] for f in labels["factor"]],
    }


@checks.checked(model=checks.an(POMDP))
def policy_names(model: POMDP) -> list[str]:
    """What every policy does: the controls of the controlled factors, steps after one another.

    Example:
        >>> policy_names(three_ball.world_model())[:2]
        ['left, red', 'centre, red']
    """
    names = names_by_axis(model)["control"]
    return [" → ".join(", ".join(names[f][step[f]] for f in model.controlled_factors) for step in p) for p in model.policies]
