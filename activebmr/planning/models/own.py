"""Planning with beliefs about hypotheses whose evidence is their own: what belongs together, and what may come of a policy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.joint_belief import JointBelief
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.models.bank import ModelBelief
from activebmr.inference.models.own import OwnEvidence
from activebmr.model.components import component_of
from activebmr.planning.evaluation import Terms
from activebmr.planning.joint.blocks import LARGEST, Tables, TooLarge
from activebmr.planning.joint.branches import distinct_rows
from activebmr.planning.joint.outlook import Outlook
from activebmr.planning.models.bundles import Bundle, Here
from activebmr.planning.models.groups import Group

__all__ = ["OwnProspects"]

_COMPARED = 256  # numbers in a belief up to which equal ones are looked for


@dataclass(frozen=True, eq=False)
class _Imagined:
    """Beliefs of some rows: about hypotheses and what they speak about, group by group, and about the rest."""

    groups: list[Here]
    rest: JointBelief

    def take(self, rows: Ints) -> _Imagined:
        return _Imagined([g.take(rows) for g in self.groups], self.rest.take(rows))


class OwnProspects:
    """See `activebmr.planning.models.planning.Thinking`; beliefs are `ModelBelief`.

    Args:
        believing: whose beliefs they are.
        tables: what is known about modalities at the start.
        gains: which gains are wanted.
        together: whether modalities inform together.
        search: whether a search is to look into what may come: all components are then one.
    """

    def __init__(self, believing: OwnEvidence, tables: Tables, gains: Sequence[str], together: bool, search: bool) -> None:
        model = believing.model
        self._components, self._claims = believing.components, believing.claims
        self._n_models = believing.n_models
        every = list(range(len(self._components)))
        touched = [i for i, t in enumerate(believing.touched) if t]
        self.members: list[list[int]] = [every if search else touched]
        try:
            groups = [self._group(tables, members, together) for members in self.members]
        except TooLarge as error:
            if search:
                raise ValueError(
                    "lookahead of Reasoning must be 0 for this model: a table of its joint states and outcomes would hold "
                    f"{error.args[0]:.3g} numbers, more than {LARGEST}"
                ) from None
            self._warn(error)
            self.members = [[i] for i in touched]
            try:
                groups = [self._group(tables, members, False) for members in self.members]
            except TooLarge as alone:
                raise ValueError(
                    "max_size of Reasoning must be smaller for this model (beliefs are then kept as factor marginals): a table "
                    f"of joint states and outcomes of one modality would hold {alone.args[0]:.3g} numbers, more than {LARGEST}"
                ) from None
        self.groups = groups
        # a search branches over the joint outcomes of all modalities, also where gains are counted one by one
        self._whole = groups[0]
        self.can_branch = search
        if search and not together:
            self._whole = self._group(tables, every, True)
        rest = [i for i in every if i not in {j for g in self.members for j in g}]
        self._rest = Outlook(model, tables, gains, together, only=rest) if rest else None

    def _group(self, tables: Tables, members: list[int], together: bool) -> Group:
        parts = [self._components[i] for i in members]
        n_hidden = prod(c.n_hidden for c in parts)
        if n_hidden * self._n_models > LARGEST:
            raise TooLarge(n_hidden * self._n_models)
        if len(parts) == 1:
            whole = parts[0]
        else:
            whole = component_of(parts[0].model, tuple(f for c in parts for f in c.factors))
        claims = {m: c for m, c in self._claims.items() if m in whole.modalities}
        informing = [m for m in whole.modalities if m in claims or m in whole.telling or tables[m].learned]
        bundles = [informing] if together else [[m] for m in informing]
        return Group(whole, tables, claims, [Bundle(whole, tables, claims, b) for b in bundles])

    def _warn(self, error: TooLarge) -> None:
        warnings.warn(
            "modalities that hypotheses speak about inform separately here, their gains are summed: a table of joint states "
            f"and outcomes would hold {error.args[0]:.3g} numbers, more than {LARGEST} (Planner(modalities='separate') does "
            "the same without this warning where states are few)",
            stacklevel=2,
        )

    # --- see Thinking ------------------------------------------------------------------------------------------------------
    def imagined(self, belief: ModelBelief, agents: Ints) -> _Imagined:
        rows = agents
        weights = np.exp(belief.weights[rows])
        groups = []
        for members, group in zip(self.members, self.groups, strict=True):
            joint = weights[:, None, :]  # (rows, hidden, M)
            for i in members:
                q = np.exp(belief.log[i][rows])
                q = q.transpose(0, 2, 1) if q.ndim == 3 else q[:, :, None]
                joint = (joint[:, :, None, :] * q[:, None]).reshape(len(rows), -1, self._n_models)
            during = {m: belief.during[m][rows] for m in group.claims if m in belief.during}
            groups.append(Here(joint, self._known(members, belief, rows), during, rows, {}, ()))
        flat = [x[rows][:, 0] if x.ndim == 3 else x[rows] for x in belief.log]
        return _Imagined(groups, JointBelief([k[rows] for k in belief.known], flat))

    def _known(self, members: list[int], belief: ModelBelief, rows: Ints) -> Ints:
        known = np.zeros(len(rows), dtype=np.intp)
        for i in members:
            known = known * self._components[i].n_known + belief.known[i][rows]
        return known

    def terms(
        self,
        now: _Imagined,
        knowledge: Knowledge,
        agents: Ints,
        wanted: Sequence[Sequence[Floats]],
        novel: bool,
    ) -> Terms:
        out = None
        for group, here in zip(self.groups, now.groups, strict=True):
            one = group.terms(_informed(here, knowledge), wanted, novel)
            out = one if out is None else _sum(out, one)
        assert out is not None
        if self._rest is not None:
            rest = self._rest.terms(now.rest, knowledge.tables, agents, wanted)  # type: ignore[arg-type]
            out = _sum(out, rest)
        return out

    def ahead(
        self, knowledge: Knowledge, wanted: Callable[[int, Ints], Sequence[Floats]], gains: Sequence[str], cutoff: float
    ) -> _Ahead:
        return _Ahead(self, knowledge, wanted, gains, cutoff)


class _Ahead:
    """Foresight (`activebmr.planning.search`) of beliefs about hypotheses and states."""

    def __init__(
        self,
        prospects: OwnProspects,
        knowledge: Knowledge,
        wanted: Callable[[int, Ints], Sequence[Floats]],
        gains: Sequence[str],
        cutoff: float,
    ) -> None:
        self._of, self._knowledge, self._wanted, self._gains, self._cutoff = prospects, knowledge, wanted, gains, cutoff
        self.numbers = prospects._whole.bundles[0].size

    def worth(self, belief: _Imagined, agents: Ints, t: int) -> Floats:
        terms = self._of.terms(belief, self._knowledge, agents, [self._wanted(t + 1, agents)], False)
        return terms.value(self._gains)

    def branches(self, belief: _Imagined, agents: Ints, rows: Ints, policies: Ints) -> tuple[_Imagined, Ints, Floats]:
        here = _informed(belief.groups[0].take(rows), self._knowledge)
        then, row, chance = self._of._whole.branches(here, policies, self._cutoff)
        return _Imagined([then], belief.rest.take(rows[row])), row, chance

    def distinct(self, belief: _Imagined, source: Ints) -> tuple[Ints, Ints]:
        here = belief.groups[0]
        rows = len(source)
        numbers = [here.joint.reshape(rows, -1), *(x.reshape(rows, -1) for x in here.during.values())]
        if sum(x.shape[1] for x in numbers) > _COMPARED:
            return np.arange(rows), np.arange(rows)
        return distinct_rows(source, [here.known, *(np.round(x, 12) for many in numbers for x in many.T)])

    def take(self, belief: _Imagined, rows: Ints) -> _Imagined:
        return belief.take(rows)


def _informed(here: Here, knowledge: Knowledge) -> Here:
    return Here(here.joint, here.known, here.during, here.agents, knowledge.models.counts, knowledge.tables)


def _sum(a: Terms, b: Terms) -> Terms:
    return Terms(a.utility + b.utility, a.state + b.state, a.param + b.param, a.model + b.model)
