"""Beliefs that are kept as one distribution per factor, renewed by one of three filters.

- ``"factorised"``: exact for each observation (`activebmr.inference.factorised`);
- ``"sequential"``: one modality after the other (`activebmr.inference.sequential`);
- ``"mean-field"``: fixed-point iteration (`activebmr.inference.mean_field`).

Agents that learn transitions and initial states predict by their own. What one step says about a move is the product of what
is believed about a factor now and about its parents a step before, as in pymdp and SPM: a filter that keeps no joint
distribution over two times has no other. (Exact pairs of states are had with ``inference="exact"``.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from math import prod

import numpy as np

from activebmr.arrays import Bools, Floats, Ints
from activebmr.inference.beliefs import Belief, Past
from activebmr.inference.exact import LARGEST, Exact
from activebmr.inference.factorised import infer_factorised
from activebmr.inference.knowledge import Knowledge, Memory, Percept
from activebmr.inference.learned_dynamics import dynamics_for
from activebmr.inference.looking_up import Tables, columns_of, coupled, unknown_factors
from activebmr.inference.mean_field import ROUNDS, infer_mean_field
from activebmr.inference.protocol import recalled
from activebmr.inference.sequential import NEGLIGIBLE, infer_sequential
from activebmr.model.components import known_factors
from activebmr.model.layout import dynamics_of, layouts_of
from activebmr.model.pomdp import POMDP

__all__ = ["CERTAINTY", "INFERENCE", "ByFactors", "check_hindsight"]

INFERENCE: dict[str, Callable[..., tuple[Belief, Floats, Bools]]] = {
    "factorised": infer_factorised,
    "sequential": infer_sequential,
    "mean-field": infer_mean_field,
}
"""Filters by name: each takes (model, tables, agents, beliefs, outcomes, rounds) to (beliefs, log evidence, impossible)."""

CERTAINTY = {"sequential": NEGLIGIBLE, "factorised": 0.0}
"""Where only one joint state exceeds this (factor by factor), a scheme's posterior is that state whatever is observed."""


_REMEMBERED = 64  # times of a trial; in longer ones what met a filter's floor is called impossible
_AT_ONCE = 2**22  # joint states that are judged at a time


class ByFactors:
    """See `activebmr.inference.protocol.Believing`; ``filter`` is ``"factorised"``, ``"sequential"`` or ``"mean-field"``."""

    at_once, in_hindsight = True, False

    def __init__(self, model: POMDP, filter: str, rounds: int = ROUNDS) -> None:
        self.model, self._infer, self._rounds = model, INFERENCE[filter], rounds
        self._moving = any(table.kind == "B" for table in model.learned)
        if filter == "factorised":
            _check_size(model)

    def begin(self, knowledge: Knowledge) -> Belief:
        initial: list[Floats] = list(self.model.D)  # type: ignore[arg-type]
        for table, counts in knowledge.others.items():
            if table.kind == "D":
                initial[int(table.index)] = counts.likelihood[:, :-1]
        return Belief.start(initial, knowledge.n_agents)

    def perceive(self, belief: Belief, knowledge: Knowledge, controls: Ints | None, outcomes: Sequence[np.ndarray]) -> Percept:
        everyone, prior = np.arange(belief.rows), belief
        if controls is not None:
            prior = belief.predict(dynamics_for(self.model, knowledge.others, everyone), controls)
        after, evidence, floored = self._infer(self.model, knowledge.tables, everyone, prior, outcomes, self._rounds)
        past = belief.past
        if past is not None:
            past = (*past, (controls, outcomes)) if len(past) < _REMEMBERED else None
        if past is not None and floored.any() and self._judge is not None:
            suspects, size = np.flatnonzero(floored), max(c.n_hidden for c in self._judge.components)
            for part in np.array_split(suspects, 1 + len(suspects) * size // _AT_ONCE):
                floored[part] = _contradicted(self._judge, knowledge.tables, part, past)
        before = belief if self._moving and controls is not None else None
        return Percept(after.remembering(past, before), evidence, floored)

    @cached_property
    def _judge(self) -> Exact | None:
        """Filters drop what is improbable and keep a little of what is impossible: exact beliefs tell the two apart."""
        try:
            return Exact(self.model)
        except ValueError:  # there are too many joint states
            return None

    def marginals(self, belief: Belief) -> Sequence[Floats]:
        return belief

    def places(self, belief: Belief, modality: int) -> tuple[Ints, Ints, Floats]:
        layout = layouts_of(self.model)[modality]
        factors = unknown_factors(layout, belief)
        joint = belief.joint(factors)
        return joint.row, columns_of(layout, belief, factors, joint), joint.weight

    def moves(self, belief: Belief, factor: int, controls: Ints) -> tuple[Ints, Ints, Floats]:
        """See `activebmr.inference.protocol.Moving`: the product of what is believed now and what was a step before."""
        assert belief.before is not None
        joint = belief.before.joint(self.model.B_dependencies[factor])  # type: ignore[index]
        columns = joint.index * self.model.num_controls[factor] + controls[joint.row, factor]
        return joint.row, columns, joint.weight[:, None] * belief[factor][joint.row]

    def hindsight(self, memory: Memory, knowledge: Knowledge) -> Sequence[Belief]:
        """The end of the trial for factors that stay as they are; what was believed at the time for the others."""
        last, dynamics = memory.moments[-1].belief, dynamics_of(self.model)
        return [last.in_hindsight(moment.belief, dynamics) for moment in memory.moments]

    def recall(self, memory: Memory, knowledge: Knowledge) -> Sequence[Belief]:
        return recalled(self, memory, knowledge)


def check_hindsight(model: POMDP) -> None:
    """Raise ValueError if something is learned that these ways of believing do not see more clearly in hindsight: transitions,
    and initial states of factors that do not stay as they are.
    """
    kinds = dynamics_of(model).kind
    for table in model.learned:
        moves = table.kind == "D" and kinds[int(table.index)] != "fixed" and not (model.D[int(table.index)] == 1).any()  # type: ignore[index]
        if table.kind == "B" or moves:
            raise ValueError(
                f"smooth of Learning must be False for agents that learn p{table} and keep one distribution per factor, whose "
                "beliefs about factors that move stay what they were at the time: learn with inference='exact', or from those "
                "beliefs when the trial is over (Learning(at_end=True))"
            )


def _contradicted(judge: Exact, tables: Tables, agents: Ints, past: Past) -> Bools:
    """Whether the last observation of a past was impossible after what was done and seen before it ``(agents,)``."""
    belief, impossible = judge.start(len(agents)), np.zeros(len(agents), dtype=bool)
    for controls, outcomes in past or ():
        if controls is not None:
            belief = judge.predict(belief, controls[agents])
        percept = judge.update(belief, tables, agents, [o[agents] for o in outcomes])
        belief, impossible = percept.belief, percept.impossible
    return impossible


def _check_size(model: POMDP) -> None:
    """Raise ValueError if what one observation says about factors that it couples is too much to be held."""
    known = known_factors(model)
    for factors, _ in coupled(model, tuple(f for f in range(model.num_factors) if f not in known)):
        size = prod(model.num_states[f] for f in factors)
        if size > LARGEST:
            names = [model.labels["factor"][f] for f in factors]
            raise ValueError(
                f"inference of Agent must not be 'factorised' for this model: outcomes couple its factors {names}, which have "
                f"{size:.3g} joint states; choose 'sequential' or 'mean-field', which take one distribution per factor"
            )
