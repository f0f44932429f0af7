"""What policies promise where hypotheses differ: joint beliefs about hypotheses and the states of some components.

Given a hypothesis components are independent; hypotheses tie them together, so that those which hypotheses speak about are
looked at as one, as far as the table of their joint states and outcomes can be held.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.models.claims import Claims
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.components import Component
from activebmr.model.reading import Reading
from activebmr.planning.evaluation import Terms
from activebmr.planning.joint.histories import histories_of
from activebmr.planning.joint.supports import by_support
from activebmr.planning.models.bundles import Bundle, Here, plogp

__all__ = ["Group"]

Tables = Sequence[KnownTable | CountTable]

_AT_ONCE = 2**21  # numbers held at a time


class Group:
    """Factors that hypotheses tie together, and what their modalities promise.

    Args:
        group: the factors, as one component.
        tables: what is known about modalities.
        claims: per modality of the group what hypotheses claim about it.
        bundles: modalities that inform together.
    """

    def __init__(self, group: Component, tables: Tables, claims: dict[int, Claims], bundles: list[Bundle]) -> None:
        self.group, self.bundles, self.claims = group, bundles, claims
        self.n_models = next(iter(claims.values())).n_models
        self.histories = histories_of(group.model, group.factors, False)
        single = histories_of(group.model, group.factors, True)
        self.first = single
        known = [m for m in group.modalities if m not in claims and isinstance(tables[m], KnownTable)]
        self._wanted = []
        for m in known:
            reading = Reading(group, [m])
            self._wanted.append((m, reading, tables[m].likelihood[reading.columns(m), :-1]))

    def moved(self, here: Here, steps: int, single: bool = False) -> Floats:
        """Joint beliefs after every hidden history of the first steps ``(rows, n_histories, n_hidden, M)``."""
        histories = self.first if single else self.histories
        rows, n, models = here.joint.shape
        if not histories.levels:
            return here.joint[:, None]
        flat = np.ascontiguousarray(here.joint.transpose(0, 2, 1)).reshape(rows * models, n)
        q = histories.beliefs(flat, np.repeat(here.known, models), steps)  # (rows * M, histories, n)
        return np.ascontiguousarray(q.reshape(rows, models, -1, n).transpose(0, 2, 3, 1))

    def terms(self, here: Here, wanted: Sequence[Sequence[Floats]], novel: bool) -> Terms:
        """Terms of every policy, summed over as many steps as there are preferences for."""
        h, steps = self.histories, len(wanted)
        n_cells = h.ends[steps - 1]
        rows, n_policies = len(here.known), len(h.cell)
        out = Terms.zeros(rows, n_policies)
        numbers = n_cells * max(b.size for b in self.bundles)
        size = max(1, _AT_ONCE // numbers)
        for a in range(0, rows, size):
            part = slice(a, min(a + size, rows))
            mine = [[c[part] if c.ndim == 2 else c for c in w] for w in wanted]
            cells = self._cells(here.take(part), mine, novel, n_cells)
            for name in ("utility", "state", "param", "model"):
                value = getattr(cells, name)
                total = value[:, h.cell[:, 0]]
                for t in range(1, steps):
                    total += value[:, h.cell[:, t]]
                getattr(out, name)[part] = total
        return out

    def _cells(self, here: Here, wanted: Sequence[Sequence[Floats]], novel: bool, n_cells: int) -> Terms:
        h = self.histories
        known, step = h.known(here.known, n_cells), h.step[:n_cells]
        moved = self.moved(here, len(wanted))
        of_cell = h.hidden[:n_cells] if h.levels else None
        out = Terms.zeros(len(known), n_cells)
        states = moved.sum(axis=3)
        for m, reading, chance in self._wanted:
            for t, w in enumerate(wanted):
                cells = np.flatnonzero(step == t)
                seen = reading.seen(states)
                seen = (
                    np.broadcast_to(seen, (len(known), len(cells), seen.shape[2]))
                    if of_cell is None
                    else seen.take(of_cell[cells], axis=1)
                )
                out.utility[:, cells] += _known_worth(chance, w[m], seen, reading.known_of[known[:, cells]])
        for bundle in self.bundles:
            joint = moved if bundle.project is None else np.matmul(bundle.project.T, moved)
            if of_cell is not None:
                self._bundle(bundle, here, joint.take(of_cell, axis=1), known, step, wanted, novel, out, slice(None), None)
                continue
            for rows, index in by_support(joint[:, 0].sum(axis=2)):
                where = slice(None) if rows is None else rows
                some, x = here.take(where), joint[where]
                if index is not None:
                    x = np.take_along_axis(x, index[:, None, :, None], axis=2)
                mine = [[c[where] if c.ndim == 2 else c for c in w] for w in wanted]
                self._bundle(bundle, some, x, known[where], step, mine, novel, out, where, index)
        return out

    def _bundle(
        self,
        bundle: Bundle,
        here: Here,
        joint: Floats,
        known: Ints,
        step: Ints,
        wanted: Sequence[Sequence[Floats]],
        novel: bool,
        out: Terms,
        where: Ints | slice,
        index: Ints | None,
    ) -> None:
        """Add what one bundle promises; ``joint``: ``(rows, cells or 1, width, M)``."""
        at = bundle.reading.known_of[known]
        hidden = np.arange(bundle.n_hidden)[None] if index is None else index
        chance, doubt, each, _ = bundle.predict(here, at, hidden)
        others, unsure, single = bundle.others(here, at, hidden)
        states = np.broadcast_to(joint.sum(axis=3), (*at.shape, joint.shape[2]))
        noise = (states * unsure).sum(axis=2)
        if chance is None:
            assert others is not None
            seen = np.matmul(states[:, :, None, :], others)[:, :, 0]
            out.state[where] += np.maximum(-plogp(seen) - noise, 0.0)
        else:
            foreseen = np.matmul(joint[..., None, :], chance)[..., 0, :]  # P(s, o) (rows, cells, width, O)
            together = foreseen.sum(axis=2) if others is None else np.matmul(foreseen.swapaxes(2, 3), others)
            surprise = -plogp(together.reshape(*at.shape, -1))
            by_state = -(plogp(foreseen) - _xlogx(states)).sum(axis=2)
            ambiguity = (joint * doubt).sum(axis=(2, 3))
            out.state[where] += np.maximum(surprise - by_state - noise, 0.0)
            out.model[where] += np.maximum(by_state - ambiguity, 0.0)
        for c, own in zip(bundle.claims, each, strict=True):
            seen = foreseen if len(each) == 1 else np.matmul(joint[..., None, :], own)[..., 0, :]
            out.utility[where] += _expected_worth(seen.sum(axis=2), c.modality, step, wanted)
            if novel:
                out.param[where] += self._novelty(bundle, c.modality, here, at, hidden, seen)
        for m, own in single.items():
            seen = states[..., None] * own
            out.utility[where] += _expected_worth(seen.sum(axis=2), m, step, wanted)
            if novel:
                out.param[where] += self._novelty(bundle, m, here, at, hidden, seen)

    @staticmethod
    def _novelty(bundle: Bundle, m: int, here: Here, at: Ints, hidden: Ints, seen: Floats) -> Floats:
        table = here.tables[m]
        if not isinstance(table, CountTable):
            return np.zeros(at.shape)
        columns = bundle.columns[m][at[:, :, None], hidden[:, None, :]] + here.agents[:, None, None] * table.n_states
        gain = (seen * table.novelty[columns]).sum(axis=(2, 3))
        return np.where(table.novel[here.agents][:, None], gain, 0.0)

    def branches(self, here: Here, policies: Ints, cutoff: float) -> tuple[Here, Ints, Floats]:
        """Beliefs after each row's policy and each joint outcome that it may show, the row of each, and its probability.

        Only for a group whose modalities all inform together.
        """
        (bundle,) = self.bundles
        h, rows = self.first, np.arange(len(policies))
        cell = h.cell[policies, 0]
        known = h.maps[cell, here.known]
        joint = self.moved(here, 1, True)
        joint = joint[rows, h.hidden[cell]] if h.levels else joint[:, 0]
        at, hidden = bundle.reading.known_of[known][:, None], np.arange(bundle.n_hidden)[None]
        chance = bundle.predict(here, at, hidden)[0]
        assert chance is not None
        like = chance[:, 0]  # (rows, n_hidden, M, O)
        others = bundle.others(here, at, hidden)[0]
        foreseen = np.matmul(joint[..., None, :], like)[..., 0, :]  # (rows, n_hidden, O)
        other = np.ones((len(rows), like.shape[1], 1)) if others is None else others[:, 0]
        both = np.matmul(foreseen.transpose(0, 2, 1), other)  # (rows, O, others)
        likeliest = both.reshape(len(both), -1).max(axis=1)[:, None, None]
        row, outcome, slot = np.nonzero(both > np.minimum(cutoff, 0.5 * likeliest))
        after = joint[row] * like[row, :, :, outcome] * other[row, :, slot][:, :, None]
        after /= after.reshape(len(after), -1).sum(axis=1)[:, None, None]
        seen = np.unravel_index(outcome, [c.n_outcomes for c in bundle.claims])
        during = {}
        for c, o in zip(bundle.claims, seen, strict=True):
            during[c.modality] = here.during[c.modality][row]
            if c.still or c.common:
                of_component = self._known_of_claims(c, known[row])
                during[c.modality] = c.note(during[c.modality], of_component, np.eye(c.n_outcomes)[o])
        weight = both[row, outcome, slot]
        total = np.bincount(row, weights=weight, minlength=len(rows))
        then = Here(after, known[row], during, here.agents[row], here.counts, here.tables)
        return then, row, weight / total[row]

    def _known_of_claims(self, claims: Claims, known: Ints) -> Ints:
        """Known state of a modality's own component, from that of the group."""
        c = claims.component
        if c.known == self.group.known:
            return known
        states = self.group.states_of(known)
        out = np.zeros(len(known), dtype=np.intp)
        for f, n in zip(c.known, c.known_sizes, strict=True):
            out = out * n + states[self.group.known.index(f)]
        return out


def _xlogx(p: Floats) -> Floats:
    return p * np.log(np.maximum(p, 1e-300))


def _known_worth(chance: Floats, wanted: Floats, seen: Floats, at: Ints) -> Floats:
    """Expected log preference ``(rows, cells)`` of a known modality; ``chance`` ``(n_known, n_hidden, O)``."""
    if wanted.ndim == 1:
        worth = np.where(chance > 0, wanted, 0.0) * chance
        given = worth.sum(axis=2)[at]  # (rows, cells, n_hidden)
    else:
        given = (np.where(chance[at] > 0, wanted[:, None, None, :], 0.0) * chance[at]).sum(axis=3)
    return (np.where(seen > 0, given, 0.0) * seen).sum(axis=2)


def _expected_worth(expected: Floats, m: int, step: Ints, wanted: Sequence[Sequence[Floats]]) -> Floats:
    """Expected log preference of outcomes ``(rows, cells, O)``: ``(rows, cells)``."""
    out = np.empty(expected.shape[:2])
    for t, w in enumerate(wanted):
        cells = np.flatnonzero(step == t)
        p, c = expected[:, cells], w[m]
        out[:, cells] = (np.where(p > 0, c[:, None, :] if c.ndim == 2 else c, 0.0) * p).sum(axis=2)
    return out
