"""What modalities that inform together would show under every hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.models.claims import Claims
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.components import Component
from activebmr.model.layout import layouts_of
from activebmr.model.reading import Reading
from activebmr.planning.joint.blocks import LARGEST, TooLarge, joint_outcomes

__all__ = ["Bundle", "Here", "plogp"]

Tables = Sequence[KnownTable | CountTable]

_FEW = 8  # outcomes up to which a sum over them is faster one by one


@dataclass(frozen=True, eq=False)
class Here:
    """Beliefs of some rows about hypotheses and the states of a group.

    Attributes:
        joint: probabilities ``(rows, n_hidden, M)``.
        known: known joint state of the group ``(rows,)``.
        during: per modality what was seen in this trial ``(rows, n_states, O)``, see `Claims`.
        agents: agent of each row ``(rows,)``.
        counts: per modality the evidence of the batch, see `Claims`.
        tables: what agents know about the other modalities.
    """

    joint: Floats
    known: Ints
    during: dict[int, Floats]
    agents: Ints
    counts: dict[int, Floats]
    tables: Tables

    def take(self, rows: Ints | slice) -> Here:
        during = {m: x[rows] for m, x in self.during.items()}
        return Here(self.joint[rows], self.known[rows], during, self.agents[rows], self.counts, self.tables)


class Bundle:
    """Modalities of a group that inform together.

    Args:
        group: factors that belong together.
        tables: what is known about modalities.
        claims: per modality what hypotheses claim about it.
        modalities: which modalities.

    Raises:
        TooLarge: if their joint outcomes are too many.
    """

    def __init__(self, group: Component, tables: Tables, claims: dict[int, Claims], modalities: Sequence[int]) -> None:
        self.claims = [claims[m] for m in modalities if m in claims]
        self.known = [m for m in modalities if m not in claims and isinstance(tables[m], KnownTable)]
        self.learned = [m for m in modalities if m not in claims and not isinstance(tables[m], KnownTable)]
        self.reading = Reading(group, modalities)
        # gains about hypotheses are told from those about states by all hidden states, also by those that no modality reads
        r = self.reading
        whole = r.hidden_of if self.claims else np.arange(r.n_hidden)
        self.n_hidden, self.project = len(whole), None if self.claims else r.project
        self.columns = {m: r.columns(m)[:, whole] for m in modalities}  # (n_known, n_hidden)
        self.n_models = max((c.n_models for c in self.claims), default=1)
        self.block = joint_outcomes(tables, r, self.known)[0][:, whole] if self.known else None  # (n_known, n_hidden, slots)
        self.n_claimed = prod(c.n_outcomes for c in self.claims)
        self.n_others = prod(group.model.num_outcomes[m] for m in self.learned)
        self.n_others *= 1 if self.block is None else self.block.shape[2]
        size = self.n_hidden * (self.n_models * self.n_claimed + self.n_claimed * self.n_others)
        if size > LARGEST:
            raise TooLarge(size)
        self.size = size
        self._n_states = {m: layouts_of(group.model)[m].n_states for m in self.learned}

    def predict(self, here: Here, at: Ints, hidden: Ints) -> tuple[Floats | None, Floats, list[Floats], Ints]:
        """What is to be seen at known states ``at`` ``(rows, cells)`` of the reading and hidden ones ``(rows or 1, width)``.

        Returns:
            probabilities of joint outcomes of the modalities that hypotheses speak about ``(rows, cells, width, M, O)`` (None
            if there is none), their entropy ``(rows, cells, width, M)``, the probabilities of each by itself, and the columns'
            places ``(rows, cells, width)``.
        """
        rows = np.arange(len(at))[:, None, None]
        agents = here.agents[:, None, None]
        place = (at[:, :, None], hidden[:, None, :])
        whole: Floats | None = None
        entropy = np.zeros((1, 1, 1, 1))
        each = []
        for c in self.claims:
            columns = self.columns[c.modality][place]
            chance = c.predict(here.counts[c.modality], here.during[c.modality], agents, rows, columns)
            entropy = entropy - plogp(chance)
            each.append(chance)
            whole = chance if whole is None else (whole[..., None] * chance[..., None, :]).reshape(*chance.shape[:-1], -1)
        return whole, entropy, each, place[0]

    def others(self, here: Here, at: Ints, hidden: Ints) -> tuple[Floats | None, Floats, dict[int, Floats]]:
        """Probabilities of joint outcomes of the other modalities ``(rows, cells, width, n)``, their entropy, and those of
        learned ones by themselves.
        """
        whole: Floats | None = None
        entropy = np.zeros((1, 1, 1))
        if self.block is not None:
            whole = self.block[at[:, :, None], hidden[:, None, :]]
            entropy = entropy - plogp(whole)
        single = {}
        for m in self.learned:
            columns = self.columns[m][at[:, :, None], hidden[:, None, :]] + here.agents[:, None, None] * self._n_states[m]
            one = here.tables[m].likelihood[columns]
            single[m], chance = one[..., :-1], one[..., :-1]
            entropy = entropy - one[..., -1]
            whole = chance if whole is None else (whole[..., None] * chance[..., None, :]).reshape(*chance.shape[:-1], -1)
        return whole, entropy, single


def plogp(p: Floats) -> Floats:
    """sum p log p over the last axis."""
    term = p * np.log(np.maximum(p, 1e-300))
    if term.shape[-1] > _FEW:
        return np.asarray(term.sum(axis=-1))
    total = term[..., 0].copy()
    for o in range(1, term.shape[-1]):
        total += term[..., o]
    return total
