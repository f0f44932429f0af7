"""Likelihoods of a component as planning reads them: what outcomes are possible in each known state, and how probable.

A *block* holds modalities that inform together. For every joint state of the known factors that it depends on it lists the
joint outcomes that can occur there at all (slots), with their probabilities in every joint state of the hidden factors; further
columns hold minus the entropy of the outcomes and their expected log preference. Whatever policies do, what they may show
follows from one product of a belief with such a table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.components import Component
from activebmr.model.layout import layouts_of
from activebmr.model.reading import Reading
from activebmr.planning.joint.keeping import keep
from activebmr.planning.preferences import Wish

__all__ = ["LARGEST", "Apart", "Block", "Own", "Silent", "Tables", "TooLarge", "apart", "joint_outcomes"]

LARGEST = 2**22
"""Numbers in a table of joint outcomes beyond which modalities inform separately."""

Tables = Sequence[KnownTable | CountTable]


class TooLarge(Exception):
    """A table of joint outcomes would hold too many numbers (the argument)."""


def joint_outcomes(tables: Tables, reading: Reading, modalities: Sequence[int]) -> tuple[Floats, Ints]:
    """Joint outcomes of known modalities that can occur in each known state: probabilities ``(n_known, n_hidden, n_slots)``
    and, per slot, each modality's outcome ``(n_known, n_slots, n_modalities)``.

    Raises:
        TooLarge: if the table would hold more than `LARGEST` numbers.
    """
    chance = np.ones((reading.n_known, reading.n_hidden, 1))
    which = np.zeros((reading.n_known, 1, 0), dtype=np.intp)
    for m in modalities:
        table = tables[m]
        own = table.likelihood[reading.columns(m), :-1]  # (n_known, n_hidden, O)
        if chance.size * own.shape[2] > LARGEST:
            raise TooLarge(chance.size * own.shape[2])
        chance = (chance[..., None] * own[..., None, :]).reshape(*own.shape[:2], -1)
        fresh = np.broadcast_to(np.arange(own.shape[2])[None, None, :, None], (*which.shape[:2], own.shape[2], 1))
        which = np.concatenate([np.repeat(which[:, :, None], own.shape[2], axis=2), fresh], axis=3)
        which = which.reshape(reading.n_known, -1, which.shape[3])
        # leave out what cannot be; where fewer outcomes are possible, slots of probability 0 fill up
        possible = (chance > 0).any(axis=1)
        width = int(possible.sum(axis=1).max())
        order = np.argsort(~possible, axis=1, kind="stable")[:, :width]
        chance = np.take_along_axis(chance, order[:, None, :], axis=2)
        which = np.take_along_axis(which, order[:, :, None], axis=1)
    return np.ascontiguousarray(chance), which


class Block:
    """Known modalities that inform together (or a single one).

    Attributes:
        modalities: the modalities.
        chance: probabilities of the slots ``(n_known, n_hidden, n_slots)``.
        outcome: outcome of each modality in each slot ``(n_known, n_slots, n_modalities)``; -1 where a slot is none of its.
    """

    def __init__(self, component: Component, tables: Tables, modalities: Sequence[int], reading: Reading | None = None) -> None:
        self.modalities = tuple(modalities)
        self.reading = Reading(component, modalities) if reading is None else reading
        self.chance, self.outcome = self._slots(tables)
        columns = [self.reading.columns(m) for m in modalities]
        ambiguity = np.zeros(self.chance.shape[:2])
        for m, c in zip(modalities, columns, strict=True):
            ambiguity += tables[m].likelihood[c, -1]
        self._base = np.concatenate([self.chance, ambiguity[..., None]], axis=2)
        self.n_slots = self.chance.shape[2]
        self._tables: dict[tuple[int, ...], tuple[list[Wish], Floats]] = {}

    def _slots(self, tables: Tables) -> tuple[Floats, Ints]:
        return joint_outcomes(tables, self.reading, self.modalities)

    def table(self, wanted: list[Wish]) -> Floats:
        """Slots, minus their entropy, and their expected log preference by each of several wishes ``(n_known, n_hidden,
        width)``.
        """
        held = self._tables.get(tuple(map(id, wanted)))
        # copies of a block, in another process too, keep keys that say nothing there
        if held is None or any(a is not b for a, b in zip(held[0], wanted, strict=True)):
            columns = [self._base, *(self._worth(w)[..., None] for w in wanted)]
            table = np.ascontiguousarray(np.concatenate(columns, axis=2))
            # the wishes are kept too, so that no others can have their ids
            held = keep(self._tables, tuple(map(id, wanted)), (list(wanted), table))
        return held[1]

    def _worth(self, wish: Wish) -> Floats:
        value = np.zeros(self.outcome.shape[:2])
        for i, m in enumerate(self.modalities):
            o = self.outcome[:, :, i]
            value += np.where(o >= 0, wish[m][o], 0.0)
        # what cannot occur costs nothing, also where it is never wanted
        return np.asarray((np.where(self.chance > 0, value[:, None, :], 0.0) * self.chance).sum(axis=2))


class Apart(Block):
    """Known modalities that each inform by itself, read in one stroke: each has slots of its own."""

    def _slots(self, tables: Tables) -> tuple[Floats, Ints]:
        chance, outcome = [], []
        for i, m in enumerate(self.modalities):
            own, which = joint_outcomes(tables, self.reading, [m])
            mine = np.full((*which.shape[:2], len(self.modalities)), -1)
            mine[:, :, i] = which[:, :, 0]
            chance.append(own)
            outcome.append(mine)
        return np.concatenate(chance, axis=2), np.concatenate(outcome, axis=1)


def apart(component: Component, tables: Tables, groups: Sequence[Sequence[int]]) -> list[Block]:
    """Blocks of known modalities; those that inform by themselves and depend on the same factors are read together."""
    out: list[Block] = []
    alone: dict[tuple[int, ...], list[int]] = {}
    for modalities in groups:
        if len(modalities) > 1:
            out.append(Block(component, tables, modalities))
        else:
            deps = tuple(sorted(component.model.A_dependencies[modalities[0]]))  # type: ignore[index]
            alone.setdefault(deps, []).append(modalities[0])
    return out + [Apart(component, tables, ms) if len(ms) > 1 else Block(component, tables, ms) for ms in alone.values()]


class Silent:
    """A modality that depends on known factors alone (or on none): it tells nothing, but may be preferred."""

    def __init__(self, component: Component, tables: Tables, modality: int) -> None:
        self.modality = modality
        self.reading = Reading(component, [modality])
        self.column = self.reading.columns(modality)[:, 0]
        self.chance = tables[modality].likelihood[self.column, :-1]

        self._worth: dict[int, tuple[Wish, Floats]] = {}

    def worth(self, wish: Wish, modality: int) -> Floats:
        """Expected log preference in each known state ``(n_known,)``."""
        held = self._worth.get(id(wish))
        if held is None or held[0] is not wish:
            preference = wish[modality]
            worth = (np.where(self.chance > 0, preference, 0.0) * self.chance).sum(axis=1)
            held = keep(self._worth, id(wish), (wish, worth))
        return held[1]


class Own:
    """A modality whose likelihood differs between agents, because each has learned its own."""

    def __init__(self, component: Component, modality: int, reading: Reading | None = None) -> None:
        self.modality = modality
        self.reading = Reading(component, [modality]) if reading is None else reading
        self.columns = self.reading.columns(modality)  # (n_known, n_hidden)
        self.n_states = layouts_of(component.model)[modality].n_states

    def at(self, agents: Ints, known: Ints) -> Ints:
        """Positions in the agents' tables of all hidden states, for rows at known states ``(rows, n)``: ``(rows, n,
        n_hidden)``.
        """
        return np.asarray(agents[:, None, None] * self.n_states + self.columns[known])
