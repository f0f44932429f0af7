"""What policies make of one component of a world: distinct histories of controls, and the beliefs that they lead to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.worlds.moving import Mover
from activebmr.model.components import Component
from activebmr.planning.worlds.thoughts import Columns

__all__ = ["Histories", "Level", "moved"]


@dataclass(frozen=True, eq=False)
class Level:
    """Distinct histories of one step.

    Attributes:
        parent: history of the step before ``(n,)``; 0 is the present for the first step.
        hidden_code, known_code: combinations of controls of hidden and of known factors ``(n,)``.
        controls: of the component's factors ``(n, n_factors of the model)``; 0 for others.
        of_policy: history of each policy ``(n_policies,)``.
    """

    parent: Ints
    hidden_code: Ints
    known_code: Ints
    controls: Ints
    of_policy: Ints


class Histories:
    """Histories that policies ``(n_policies, n_steps, n_factors)`` make of a component, step by step (``levels``)."""

    def __init__(self, component: Component, policies: Ints) -> None:
        self.levels: list[Level] = []
        before = np.zeros(len(policies), dtype=np.intp)
        mine = list(component.factors)
        for h in range(policies.shape[1]):
            key = np.column_stack([before, policies[:, h, mine]])
            distinct, index = np.unique(key, axis=0, return_inverse=True)
            before = index.reshape(-1)
            controls = np.zeros((len(distinct), policies.shape[2]), dtype=np.intp)
            controls[:, mine] = distinct[:, 1:]
            codes = component.hidden_code(controls), component.known_code(controls)
            self.levels.append(Level(distinct[:, 0], *codes, controls, before))


def moved(mover: Mover, columns: Columns, q: Floats, agents: Ints, models: Ints, code: int | Ints, known: Ints) -> Floats:
    """Beliefs ``(units, n_hidden)`` one step later.

    Args:
        mover: how the component moves.
        columns: tables as believed.
        q: beliefs of the units.
        agents, models: whose tables each unit moves by ``(units,)``.
        code: combination of controls of hidden factors, for all units or of each.
        known: known joint state of each unit.
    """
    if mover.still:
        return q
    c = mover.component
    codes = np.broadcast_to(code, len(q))
    out = np.empty_like(q)
    for u, k, units in mover.groups(codes, known):
        if not mover.varied:
            out[units] = c.motion.forward(np.ascontiguousarray(q[units])[:, None], u, k)[:, 0]
            continue
        controls = np.unravel_index(u, c.hidden_controls)
        matrix: Floats | None = None
        for i, f in enumerate(c.hidden):
            part = columns.at("table", "B", f, agents[units], models[units], mover.columns(f, int(controls[i]), k))
            if len(c.hidden) > 1:
                part = part.take(mover.states[i], axis=-1)  # see `Mover.matrices`
            matrix = part if matrix is None else matrix * part
        assert matrix is not None
        out[units] = np.matmul(q[units][:, None], matrix)[:, 0]
    return out
