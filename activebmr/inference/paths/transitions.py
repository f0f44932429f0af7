"""`Transitions`: what beliefs about one moment say about its neighbours, for factors that move alone or by each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.model.pomdp import POMDP

__all__ = ["TINY", "Transitions", "normalised", "outer"]

TINY = 1e-16
"""Added to probabilities before their logarithm is taken."""


@dataclass(eq=False)
class _Child:
    """A factor whose next state depends on this one's and on ``others``; backward ``(n or 1, U, S, S_next * others)``."""

    factor: int
    others: tuple[int, ...]
    backward: Floats


class Transitions:
    """Messages between the moments of a path.

    Args:
        model: the model.
        B: per factor ``(S_f, S_d0, ..., U_f)`` or, one for each agent, with a first axis; None: the model's.
        D: per factor ``(S_f,)`` or ``(n_agents, S_f)``; None: the model's.
        expected_logs: whether messages are expected logs (mean field), or logs of what is expected.
        backward: of the shapes of ``B``, what messages to the past are made of; None: ``B``.
    """

    def __init__(
        self,
        model: POMDP,
        B: Sequence[Floats] | None = None,
        D: Sequence[Floats] | None = None,
        expected_logs: bool = False,
        backward: Sequence[Floats] | None = None,
    ) -> None:
        self.deps, self.expected_logs = model.B_dependencies, expected_logs
        self.forward: list[Floats] = []
        self.log_forward: list[Floats] = []
        self.children: list[list[_Child]] = [[] for _ in model.num_states]
        self.initial = [np.atleast_2d(d) for d in (model.D if D is None else D)]  # type: ignore[union-attr]
        self.log_initial = [np.log(d + TINY) for d in self.initial]
        B = model.B if B is None else B
        for f, deps in enumerate(self.deps):  # type: ignore[arg-type]
            tensor = _by_control(B[f], len(deps))
            flat = np.ascontiguousarray(tensor.reshape(*tensor.shape[:3], -1))
            self.forward.append(flat)
            if expected_logs:
                self.log_forward.append(np.log(flat + TINY))
            tensor = tensor if backward is None else _by_control(backward[f], len(deps))
            for i, g in enumerate(deps):
                turned = np.moveaxis(tensor, 3 + i, 2)
                turned = np.ascontiguousarray(turned.reshape(*turned.shape[:3], -1))
                others = tuple(h for h in deps if h != g)
                self.children[g].append(_Child(f, others, np.log(turned + TINY) if expected_logs else normalised(turned)))

    def predict(self, f: int, control: Ints, before: Sequence[Floats]) -> Floats:
        """Beliefs about a factor under each row's control, given those about all factors a moment earlier."""
        return _apply(self.forward[f], control, outer([before[g] for g in self.deps[f]]))  # type: ignore[index]

    def from_before(self, f: int, control: Ints, before: Sequence[Floats]) -> Floats:
        """What the moment before says about a factor."""
        if self.expected_logs:
            return _apply(self.log_forward[f], control, outer([before[g] for g in self.deps[f]]))  # type: ignore[index]
        return np.log(self.predict(f, control, before) + TINY)

    def from_after(self, f: int, controls: Ints, here: Sequence[Floats], after: Sequence[Floats]) -> Floats | None:
        """What the moment after says about a factor, all that depends on it together; None if nothing does.

        Args:
            controls: what is done in between ``(n, policies or 1, n_factors)``.
        """
        total: Floats | None = None
        for child in self.children[f]:
            q = outer([after[child.factor], *(here[g] for g in child.others)])
            heard = _apply(child.backward, controls[..., child.factor], q)
            message = heard if self.expected_logs else np.log(heard + TINY)
            total = message if total is None else total + message
        return total


def _by_control(b: Floats, n_deps: int) -> Floats:
    """Transitions as ``(agents or 1, control, next state, states...)``."""
    return np.moveaxis(b[None] if b.ndim == n_deps + 2 else b, -1, 1)


def _apply(matrices: Floats, control: Ints, q: Floats) -> Floats:
    """Each row's matrix ``(n or 1, U, a, b)`` under its control ``(n, policies or 1)`` times its beliefs ``(.., .., b)``."""
    if matrices.shape[1] == 1:
        chosen = matrices
    elif len(matrices) == 1:
        chosen = matrices[0][control]
    else:
        chosen = matrices[np.arange(len(matrices))[:, None], control]
    # a product per row and policy: its rounding must not depend on how many there are
    return np.matmul(chosen, q[..., None])[..., 0]


def normalised(matrices: Floats) -> Floats:
    """Columns (over axis -2) made to sum to one; a column without mass is uniform."""
    total = matrices.sum(axis=-2, keepdims=True)
    return np.divide(matrices, total, out=np.full_like(matrices, 1.0 / matrices.shape[-2]), where=total > 0)


def outer(marginals: Sequence[Floats]) -> Floats:
    """Product of marginals ``(..., S_0 * S_1 * ...)``, the last factor fastest."""
    joint = marginals[0]
    for q in marginals[1:]:
        pairs = joint[..., :, None] * q[..., None, :]
        joint = pairs.reshape(*pairs.shape[:-2], -1)
    return joint
