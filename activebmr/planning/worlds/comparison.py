"""Gains about models: what an observation tells about which of them is true, whichever world they belong to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.planning.worlds.prospects import Node, Prospects, plogp
from activebmr.planning.worlds.thoughts import Thoughts

__all__ = ["Comparison", "side_by_side"]

Nodes = list[list[Node]]
"""Per component of a world the nodes of one step."""


class Comparison:
    """I(M; O) of every policy, from what each model of each world expects."""

    def __init__(self, prospects: Sequence[Prospects]) -> None:
        self._prospects = list(prospects)
        self._together = all(p.together for p in prospects)

    def gain(self, now: Sequence[Thoughts], expected: Sequence[Sequence[Nodes]], steps: int) -> Floats:
        """``(rows, n_policies)``, summed over steps; ``expected``: per world and step."""
        total: Floats | float = 0.0
        for h in range(steps):
            nodes = [of_world[h] for of_world in expected]
            if self._together:
                total = total + self._step(now, nodes, h, None)
                continue
            for m in self._prospects[0].joint:
                total = total + self._step(now, nodes, h, m)
        return np.maximum(total, 0.0)

    def _step(self, now: Sequence[Thoughts], nodes: Sequence[Nodes], h: int, modality: int | None) -> Floats:
        """Gain of one step from all modalities together, or from one."""
        used = [self._components(p, modality) for p in self._prospects]
        keys = [
            p.histories[i].levels[h].of_policy for p, components in zip(self._prospects, used, strict=True) for i in components
        ]
        if not keys:
            return np.zeros((now[0].rows, len(self._prospects[0].histories[0].levels[h].of_policy)))
        distinct, which = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True)
        out = np.empty((now[0].rows, len(distinct)))
        for j, histories in enumerate(distinct):
            mixed: Floats | float = 0.0
            doubt: Floats | float = 0.0
            at = 0
            for p, thoughts, mine, components in zip(self._prospects, now, nodes, used, strict=True):
                chosen = [mine[i][k] for i, k in zip(components, histories[at : at + len(components)], strict=True)]
                at += len(components)
                chance, entropy = _expectation(p, thoughts, components, chosen, modality)
                mixed = mixed + thoughts.total(thoughts.weight[:, None] * chance)
                doubt = doubt + thoughts.total(thoughts.weight * entropy)
            out[:, j] = -plogp(np.asarray(mixed)) - doubt
        return out[:, which.reshape(-1)]

    @staticmethod
    def _components(p: Prospects, modality: int | None) -> list[int]:
        """Components whose outcomes tell models apart."""
        if modality is not None:
            return [p.world.at[modality]]
        return [i for i, compared in enumerate(p.compared) if compared and p.telling[i]]


def _expectation(
    p: Prospects, thoughts: Thoughts, components: Sequence[int], nodes: Sequence[Node], modality: int | None
) -> tuple[Floats, Floats]:
    """Probabilities of outcomes under every model ``(pairs, n)``, and their entropy ``(pairs,)``."""
    if modality is not None:
        (i,), (node,) = components, nodes
        k = p.telling[i].index(modality)
        return _of_pairs(p, thoughts, i, node.expected[k]), _of_pairs(p, thoughts, i, node.entropy[k])
    chances = [_of_pairs(p, thoughts, i, node.expected[0]) for i, node in zip(components, nodes, strict=True)]
    entropies = [_of_pairs(p, thoughts, i, node.entropy[0]) for i, node in zip(components, nodes, strict=True)]
    return side_by_side(p, components, chances), np.asarray(sum(entropies))


def _of_pairs(p: Prospects, thoughts: Thoughts, i: int, values: Floats) -> Floats:
    """What units of a component have, of pairs of row and model."""
    return values if p.world.touched[i] else values[thoughts.row]


def side_by_side(p: Prospects, components: Sequence[int], chances: Sequence[Floats]) -> Floats:
    """Probabilities of the joint outcomes of independent components ``(pairs, n)``, modalities in ascending order."""
    out, order = chances[0], list(p.telling[components[0]])
    for i, chance in zip(components[1:], chances[1:], strict=True):
        out = (out[:, :, None] * chance[:, None, :]).reshape(len(out), out.shape[1] * chance.shape[1])
        order += p.telling[i]
    if order == sorted(order):
        return out
    sizes = [p.world.model.num_outcomes[m] for m in order]
    axes: Ints = np.argsort(order)
    return np.ascontiguousarray(out.reshape(len(out), *sizes).transpose(0, *(1 + axes))).reshape(out.shape)
