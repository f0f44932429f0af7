"""`Motion`: transitions, initial states and paths as a batch of agents expects them."""

from __future__ import annotations

import numpy as np

from activebmr.arrays import Floats
from activebmr.inference.knowledge import Knowledge
from activebmr.model.naming import Table
from activebmr.model.once import once
from activebmr.model.pomdp import POMDP

__all__ = ["Motion", "bilinear", "carried", "check_motion", "inferred_factors"]


def check_motion(model: POMDP) -> None:
    """Raise ValueError if a factor's states depend on others, or priors are about whole policies: this scheme knows neither."""
    for f, deps in enumerate(model.B_dependencies):  # type: ignore[arg-type]
        if deps != (f,):
            raise ValueError(f"B_dependencies[{f}] of POMDP must be [{f}] for inference='spm'; got {list(deps)}")
    if isinstance(model.E, np.ndarray):
        raise ValueError("E of POMDP must be per factor for inference='spm'; got one vector over policies")
    if model.policy_length > 1:
        raise ValueError(f"policies of POMDP must have one step for inference='spm'; got {model.policy_length} steps")


@once
def inferred_factors(model: POMDP) -> frozenset[int]:
    """Factors that nobody controls: all policies leave their control at the same number, so that their path is inferred."""
    controls = model.policies.reshape(-1, model.num_factors)
    return frozenset(int(f) for f in np.flatnonzero((controls == controls[0]).all(axis=0)))


class Motion:
    """What follows from counts of B, D and E at one moment, or from these tables where they are known."""

    def __init__(self, model: POMDP, knowledge: Knowledge) -> None:
        self._model, self._knowledge, self.n_agents = model, knowledge, knowledge.n_agents
        self._made: dict[int, Floats] = {}

    def transitions(self, f: int) -> Floats:
        """E[B] of a factor, path by path ``(n_agents, U_f, S_f next, S_f)``."""
        if f not in self._made:
            self._made[f] = self._transitions(f)
        return self._made[f]

    def _transitions(self, f: int) -> Floats:
        table = self._knowledge.others.get(Table("B", f))
        known = np.moveaxis(self._model.B[f], -1, 0)
        if table is None:
            return np.broadcast_to(known, (self.n_agents, *known.shape))
        return self._by_path(f, table.likelihood[:, :-1])

    def novelty(self, f: int) -> Floats | None:
        """W of a factor's transitions ``(n_agents, U_f, S_f next, S_f)``, 0 for agents that have nothing left to learn about
        them; None if they are known. (SPM goes on with the last novelty there was.)
        """
        table = self._knowledge.others.get(Table("B", f))
        if table is None:
            return None
        return np.where(table.novel[:, None, None, None], self._by_path(f, table.novelty), 0.0)

    def _by_path(self, f: int, columns: Floats) -> Floats:
        """From columns ``(n_agents * S_f * U_f, S_f next)``, the path fastest, to ``(n_agents, U_f, S_f next, S_f)``."""
        n, states = self.n_agents, self._model.num_states[f]
        return np.ascontiguousarray(columns.reshape(n, states, -1, states).transpose(0, 2, 3, 1))

    def initial(self, f: int) -> Floats:
        """E[D] of a factor ``(n_agents, S_f)``."""
        return self._single("D", f, self._model.D[f])  # type: ignore[index]

    def paths(self, f: int) -> Floats:
        """E[E] of a factor ``(n_agents, U_f)``."""
        return self._single("E", f, self._model.E[f])

    def _single(self, kind: str, f: int, known: Floats) -> Floats:
        table = self._knowledge.others.get(Table(kind, f))
        if table is None:
            return np.repeat(known[None], self.n_agents, axis=0)
        return np.ascontiguousarray(table.likelihood[:, :-1])


def carried(matrices: Floats, q: Floats, path: Floats) -> Floats:
    """States one step on ``(n, S)``, from matrices ``(n, U, S, S)``, states and beliefs about the path ``(n, U)``."""
    after = np.matmul(matrices, q[:, None, :, None])[..., 0]
    return np.asarray(np.matmul(path[:, None, :], after)[:, 0])


def bilinear(matrices: Floats, after: Floats, before: Floats) -> Floats:
    """after' M_u before for every path ``(n, U)``."""
    reached = np.matmul(matrices, before[:, None, :, None])
    return np.asarray(np.matmul(after[:, None, None, :], reached)[:, :, 0, 0])
