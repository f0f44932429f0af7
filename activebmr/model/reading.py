"""What some modalities see of a component: the joint states of those of its factors that they depend on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.model.components import Component

__all__ = ["Reading", "project"]


class Reading:
    """Where the columns of some modalities lie: which known and hidden factors of a component they depend on.

    Attributes:
        known_of: index of the modalities' known joint state for each known joint state of the component ``(n_known,)``.
        n_known, n_hidden: numbers of joint states of the factors that they depend on.
        hidden_of: the same for hidden joint states ``(component's hidden states,)``.
        project: matrix ``(component's hidden states, theirs)`` that sums a belief over what they do not depend on, or None
            if they depend on all.
    """

    def __init__(self, component: Component, modalities: Sequence[int]) -> None:
        deps = {f for m in modalities for f in component.model.A_dependencies[m]}  # type: ignore[index]
        known = [i for i, f in enumerate(component.known) if f in deps]
        hidden = [i for i, f in enumerate(component.hidden) if f in deps]
        self.known_of = project(component.known_sizes, known)
        self.hidden_of = hidden_of = project(component.hidden_sizes, hidden)
        self.n_known = int(np.prod([component.known_sizes[i] for i in known], dtype=float))
        self.n_hidden = int(np.prod([component.hidden_sizes[i] for i in hidden], dtype=float))
        self.project = None if self.n_hidden == component.n_hidden else np.eye(self.n_hidden)[hidden_of]
        # any joint state of the component that stands for each of theirs
        self._known_state, self._hidden_state = _first(self.known_of, self.n_known), _first(hidden_of, self.n_hidden)
        self._component = component

    def columns(self, modality: int) -> Ints:
        """Column of a modality's table in each joint state ``(n_known, n_hidden)`` of the modalities' factors."""
        known, hidden = self._component.columns(modality)
        return np.asarray(known[self._known_state][:, None] + hidden[self._hidden_state][None, :])

    def seen(self, q: Floats) -> Floats:
        """Beliefs about what they depend on, from beliefs ``(rows, n, hidden states)``."""
        return q if self.project is None else np.matmul(q, self.project)


def project(sizes: tuple[int, ...], kept: list[int]) -> Ints:
    """For each joint state the joint state of some of its parts."""
    grid = np.indices(sizes).reshape(len(sizes), int(np.prod(sizes, dtype=float)))
    out = np.zeros(grid.shape[1], dtype=np.intp)
    for i in kept:
        out = out * sizes[i] + grid[i]
    return out


def _first(of: Ints, n: int) -> Ints:
    first = np.zeros(n, dtype=np.intp)
    first[of[::-1]] = np.arange(len(of))[::-1]
    return first
