"""What may come of a policy: every joint outcome that may be seen after it, and what is then thought of each world."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.planning.joint.branches import distinct_rows
from activebmr.planning.worlds.comparison import side_by_side
from activebmr.planning.worlds.prospects import LARGEST, Prospects
from activebmr.planning.worlds.thoughts import Columns, Thoughts

__all__ = ["Foresight"]

_CHANCE = 1e-16  # joint outcomes that are less probable cannot move a float64 sum
_LEAST = 1e-28  # probability of a model below which it is not thought of
_MARKS = 3  # random directions along which beliefs are compared


class Foresight:
    """One step into the future of thoughts about worlds.

    Raises:
        ValueError: if there are too many joint outcomes to branch over.
    """

    def __init__(self, prospects: Sequence[Prospects]) -> None:
        self._prospects = list(prospects)
        model = prospects[0].world.model
        self._seeing = [[i for i, ms in enumerate(p.telling) if ms] for p in prospects]
        seen = [sorted(m for i in at for m in p.telling[i]) for p, at in zip(prospects, self._seeing, strict=True)]
        self._sizes = [model.num_outcomes[m] for m in seen[0]]
        self._order = seen[0]
        size = prod(self._sizes)
        if size > LARGEST:
            names = [model.labels["modality"][m] for m in seen[0]]
            raise ValueError(
                f"depth of Planner and lookahead of Reasoning must be 0 for this model: modalities {names} have {size:.3g} "
                f"joint outcomes, more than {LARGEST}"
            )
        states = max(c.n_hidden for p in prospects for c in p.world.components)
        self.width = states * (states + size)
        self._directions: dict[int, Floats] = {}

    def branches(
        self, belief: Sequence[Thoughts], columns: Sequence[Columns], rows: Ints, policies: Ints, cutoff: float
    ) -> tuple[list[Thoughts], Ints, Floats]:
        """Thoughts after each row's policy and each joint outcome that it may show, the pair of row and policy that each comes
        from (ascending), and its probability.
        """
        then, chances = [], []
        for p, thoughts, held, seeing in zip(self._prospects, belief, columns, self._seeing, strict=True):
            after = self._moved(p, thoughts.take(rows, p.world), held, policies)
            then.append(after)
            each = [self._of_pairs(p, after, i, self._chance(p, after, held, i)) for i in seeing]
            chances.append(side_by_side(p, seeing, each) if each else np.ones((len(after.row), 1)))
        mixed = np.asarray(sum(x.total(x.weight[:, None] * c) for x, c in zip(then, chances, strict=True)))
        likeliest = mixed.max(axis=1, keepdims=True)
        row, outcome = np.nonzero(mixed > np.minimum(max(cutoff, _CHANCE), 0.5 * likeliest))
        weight = mixed[row, outcome]
        total = np.bincount(row, weights=weight, minlength=len(rows))
        out = [
            self._informed(p, thoughts.take(row, p.world), held, seeing, outcome)
            for p, thoughts, held, seeing in zip(self._prospects, then, columns, self._seeing, strict=True)
        ]
        return _normalised(self._prospects, out), row, weight / total[row]

    def _moved(self, p: Prospects, thoughts: Thoughts, columns: Columns, policies: Ints) -> Thoughts:
        q, known, origins = [], [], {}
        for i, c in enumerate(p.world.components):
            level = p.histories[i].levels[0]
            history = level.of_policy[policies]
            q.append(p.predict(i, thoughts, columns, thoughts.q[i], thoughts.known[i], level.hidden_code[history]))
            known.append(c.known_next[level.known_code[history], thoughts.known[i]] if c.known else thoughts.known[i])
            for f in thoughts.origins:
                if p.world.home[f] == i:
                    code = level.hidden_code[history]
                    origins[f] = p.predict_origin(i, thoughts, columns, thoughts.origins[f], thoughts.known[i], code)
        return Thoughts(thoughts.agents, thoughts.row, thoughts.model, thoughts.weight, q, known, origins)

    @staticmethod
    def _of_pairs(p: Prospects, thoughts: Thoughts, i: int, values: Floats) -> Floats:
        return values if p.world.touched[i] else values[thoughts.row]

    @staticmethod
    def _chance(p: Prospects, thoughts: Thoughts, columns: Columns, i: int) -> Floats:
        """Probabilities of a component's joint outcomes ``(units, n)``."""
        likelihood = p.likelihood(i, p.telling[i], thoughts, columns, thoughts.known[i], slice(None))
        return np.matmul(thoughts.q[i][:, None], likelihood)[:, 0]

    def _informed(self, p: Prospects, thoughts: Thoughts, columns: Columns, seeing: Sequence[int], outcome: Ints) -> Thoughts:
        """Thoughts given the joint outcome of each row; weights are not normalised."""
        each = dict(zip(self._order, np.unravel_index(outcome, self._sizes) if self._sizes else (), strict=True))
        weight, q, origins = thoughts.weight.copy(), list(thoughts.q), dict(thoughts.origins)
        for i in seeing:
            row, agents, models = p.units(i, thoughts)
            like = np.ones((len(row), q[i].shape[1]))
            for m in p.telling[i]:
                reads = p.world.reads[i][m]
                at = reads.known[thoughts.known[i][row]][:, None] + reads.hidden
                chance = columns.at("table", "A", m, agents, models, at)
                like *= np.take_along_axis(chance, each[m][row][:, None, None], axis=2)[..., 0]
            both = q[i] * like
            total = both.sum(axis=1)
            possible, safe = total > 0, np.maximum(total, 1e-300)
            q[i] = np.where(possible[:, None], both / safe[:, None], q[i])
            for f, x in origins.items():
                if p.world.home[f] == i:
                    origins[f] = np.where(possible[:, None, None], x * like[:, None] / safe[:, None, None], x)
            weight *= self._of_pairs(p, thoughts, i, total)
        return Thoughts(thoughts.agents, thoughts.row, thoughts.model, weight, q, thoughts.known, origins)

    # --- beliefs that are the same -------------------------------------------------------------------------------------------
    def distinct(self, belief: Sequence[Thoughts], source: Ints) -> tuple[Ints, Ints]:
        """First of each set of rows with the same source and the same thoughts, and which set each row is in.

        Thoughts are compared by where they lie along a few random directions: what differs has no chance to agree in all.
        """
        marks: list[np.ndarray] = []
        for p, thoughts in zip(self._prospects, belief, strict=True):
            marks += [k for k, c in zip(thoughts.known, p.world.components, strict=True) if c.n_known > 1]
            of_model = self._direction(p.world.n_models)[thoughts.model]
            marks += list(np.round(thoughts.total(thoughts.weight[:, None] * of_model), 11).T)
            for i, q in enumerate(thoughts.q):
                if q.shape[1] == 1:
                    continue
                along = np.matmul(q[:, None], self._direction(q.shape[1]))[:, 0]
                if p.world.touched[i]:
                    along = thoughts.total(thoughts.weight[:, None] * along * of_model)
                marks += list(np.round(along, 11).T)
        return distinct_rows(source, marks)

    def _direction(self, n: int) -> Floats:
        if n not in self._directions:
            self._directions[n] = np.random.default_rng(n).uniform(0.5, 1.5, size=(n, _MARKS))
        return self._directions[n]


def _normalised(prospects: Sequence[Prospects], thoughts: Sequence[Thoughts]) -> list[Thoughts]:
    """Thoughts whose models, over all worlds, have a probability of 1 in each row; those that are refuted are left out."""
    total = np.asarray(sum(x.total(x.weight) for x in thoughts))
    out = []
    for p, x in zip(prospects, thoughts, strict=True):
        weight = x.weight / np.maximum(total, 1e-300)[x.row]
        keep = np.flatnonzero(weight > _LEAST)
        q = [v[keep] if t else v for v, t in zip(x.q, p.world.touched, strict=True)]
        origins = {f: v[keep] if p.world.touched[p.world.home[f]] else v for f, v in x.origins.items()}
        out.append(Thoughts(x.agents, x.row[keep], x.model[keep], weight[keep], q, x.known, origins))
    return out
