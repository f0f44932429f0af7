"""Expected free energy of policies under joint beliefs: utility, and gains about states and parameters.

Worth is worked out per *cell* (see `histories` beside this) and summed over the cells of each policy. Modalities of one
component inform together (what two of them both tell counts once) or, where asked, each by itself, summed; different
components are independent of each other, and their gains add up. What modalities depend on moves by itself within a component
often enough: then only those factors are followed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from functools import cached_property

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.joint_belief import JointBelief
from activebmr.inference.tables import KnownTable
from activebmr.model.components import Component, component_of, components_of
from activebmr.model.pomdp import POMDP
from activebmr.model.reading import Reading
from activebmr.planning.evaluation import Terms
from activebmr.planning.joint.blocks import LARGEST, Block, Own, Silent, Tables, TooLarge, apart
from activebmr.planning.joint.cells import Cells, Part
from activebmr.planning.joint.histories import histories_of
from activebmr.planning.preferences import Wish

__all__ = ["Outlook", "Wanted"]

Wanted = Sequence[Wish]
"""Log preferences of the steps ahead."""


class Outlook:
    """What the policies of a model promise.

    Args:
        model: the model.
        tables: what is known about each modality; those of learned ones are not looked at here.
        gains: which of ``"state"`` and ``"param"`` are wanted.
        together: whether the modalities of a component inform together.
        single: look at the first step of policies only.
        only: the components that count; all by default.
    """

    def __init__(
        self,
        model: POMDP,
        tables: Tables,
        gains: Sequence[str],
        together: bool = True,
        single: bool = False,
        only: Collection[int] | None = None,
    ) -> None:
        self.model, self.n_policies = model, len(model.policies)
        self._silent: list[tuple[int, int]] = []
        self._parts: list[tuple[int, Part]] = []
        for i, c in enumerate(components_of(model)):
            if only is not None and i not in only:
                continue
            for closure, blocks, own, silent in _groups(c, tables, together and "state" in gains):
                followed = component_of(model, closure)
                histories = histories_of(model, closure, single)
                part = Part(c, followed, histories, gains, blocks(followed), own(followed), silent(followed), not together)
                self._parts.append((i, part))

    def terms(self, belief: JointBelief, tables: Tables, agents: Ints, wanted: Wanted) -> Terms:
        """Terms of every policy, summed over as many steps as there are preferences for.

        Args:
            belief: beliefs of the rows now.
            tables: what the agents know.
            agents: agent of each row.
            wanted: see `Wanted`.
        """
        if not wanted:
            return Terms.zeros(belief.rows, self.n_policies)
        cells = [(part, part.cells(belief.known[i], belief.q(i), tables, agents, wanted)) for i, part in self._parts]
        return _Spread(cells, belief.rows, self.n_policies, len(wanted))


class _Spread(Terms):
    """Terms whose policies are added up when they are asked for."""

    def __init__(self, cells: list[tuple[Part, Cells]], rows: int, n_policies: int, steps: int) -> None:
        self._cells, self._rows, self._n_policies, self._steps = cells, rows, n_policies, steps

    def _sum(self, values: Callable[[Cells], Floats | None]) -> Floats:
        total: Floats | None = None
        for part, cells in self._cells:
            mine = values(cells)
            if mine is not None:
                spread = part.spread(mine, self._steps)
                total = spread if total is None else total + spread
        return np.zeros((self._rows, self._n_policies)) if total is None else total

    @cached_property
    def utility(self) -> Floats:  # type: ignore[override]
        return self._sum(lambda c: c.total("utility")) + self._constant

    @cached_property
    def state(self) -> Floats:  # type: ignore[override]
        return self._sum(lambda c: c.total("state"))

    @cached_property
    def param(self) -> Floats:  # type: ignore[override]
        return self._sum(lambda c: c.total("param"))

    @cached_property
    def model(self) -> Floats:  # type: ignore[override]
        return np.zeros((self._rows, self._n_policies))

    def value(self, gains: Sequence[str]) -> Floats:
        names = ["utility", *(g for g in ("state", "param") if g in gains)]
        total = self._sum(lambda c: c.total(*names))
        if self._constant != 0.0:
            total = total + self._constant
        return total + self.model if "model" in gains and "model" in self.__dict__ else total

    @property
    def _constant(self) -> float:
        return sum(cells.constant for _, cells in self._cells)


Maker = Callable[[Component], list]  # type: ignore[type-arg]


def _groups(c: Component, tables: Tables, together: bool) -> list[tuple[tuple[int, ...], Maker, Maker, Maker]]:
    """Sets of factors to follow, and what is read from each: blocks of known modalities, own ones, silent ones."""
    known = [m for m in c.telling if isinstance(tables[m], KnownTable)]
    own = [m for m in c.modalities if not isinstance(tables[m], KnownTable)]
    silent = [m for m in c.modalities if m not in c.telling and isinstance(tables[m], KnownTable)]
    groups: list[tuple[list[int], list[int]]] = [([m], []) for m in known] + [([], [m]) for m in own]
    if together and len(c.telling) > 1:
        try:
            _check_joint(c, tables, known, own)
            groups = [(known, own)]
        except TooLarge as error:
            _warn(c, error)
    by_closure: dict[tuple[int, ...], tuple[list[list[int]], list[list[int]], list[int]]] = {}
    for k, o in groups:
        held = by_closure.setdefault(_closure(c, [*k, *o]), ([], [], []))
        if o:
            held[1].append([*k, -1, *o])
        else:
            held[0].append(k)
    for m in silent:
        mine = _closure(c, [m])
        host = next((closure for closure in by_closure if set(mine) <= set(closure)), mine)
        by_closure.setdefault(host, ([], [], []))[2].append(m)
    return [
        (
            closure,
            lambda f, ks=ks: apart(f, tables, ks),
            lambda f, os=os: [_learned(f, tables, o) for o in os],
            lambda f, ms=ms: [Silent(f, tables, m) for m in ms],
        )
        for closure, (ks, os, ms) in by_closure.items()
    ]


def _learned(c: Component, tables: Tables, modalities: list[int]) -> tuple[list[Block], list[Own]]:
    """Modalities of each agent (after the -1) and the known ones (before it) that inform together with them."""
    at = modalities.index(-1)
    known, own = modalities[:at], modalities[at + 1 :]
    reading = Reading(c, [*known, *own])
    return [Block(c, tables, known, reading)] if known else [], [Own(c, m, reading) for m in own]


def _check_joint(c: Component, tables: Tables, known: list[int], own: list[int]) -> None:
    """Raise TooLarge if the joint outcomes of a component's modalities are too many."""
    reading = Reading(c, [*known, *own])
    size = reading.n_hidden * (Block(c, tables, known, reading).n_slots if known else 1)
    if own:
        size *= int(np.prod([c.model.num_outcomes[m] for m in own], dtype=float))
    if size > LARGEST:
        raise TooLarge(size)


def _warn(c: Component, error: TooLarge) -> None:
    names = [c.model.labels["modality"][m] for m in c.telling]
    warnings.warn(
        f"modalities {names[:4]}{'...' if len(names) > 4 else ''} inform separately here, their gains are summed: a table of "
        f"their joint outcomes would hold {error.args[0]:.3g} numbers, more than {LARGEST} (Planner(modalities='separate') "
        "does so without this warning)",
        stacklevel=3,
    )


def _closure(c: Component, modalities: Sequence[int]) -> tuple[int, ...]:
    """Factors that some modalities depend on, and those that these are moved by."""
    held = {f for m in modalities for f in c.model.A_dependencies[m]}  # type: ignore[index]
    while True:
        more = held | {g for f in held for g in c.model.B_dependencies[f]}  # type: ignore[index]
        if more == held:
            return tuple(sorted(held))
        held = more
