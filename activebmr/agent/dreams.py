"""Dreams: who lives through them, and trials that are made up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from activebmr.arrays import Floats, Ints, sample
from activebmr.inference.knowledge import Memory, Moment
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.layout import layout_of
from activebmr.model.naming import Table
from activebmr.model.pomdp import POMDP

__all__ = ["Dreamer", "Living", "lived_by", "make_up"]


class Living(Protocol):
    """What dreamers do, in place."""

    def begin(self, state: Any) -> None:
        """Begin a trial: believe what is known before any of it."""
        ...

    def relive(self, state: Any, trial: Memory) -> None:
        """Perceive a remembered trial and learn from it; nothing is planned or chosen."""
        ...

    def advance(self, state: Any, outcomes: list[np.ndarray], uniform: Floats, controls: Ints | None) -> Any:
        """One step."""
        ...

    def conclude(self, state: Any) -> Any:
        """End a trial."""
        ...


class Dreamer(Protocol):
    """Who lives through trials in a dream: agents without hypotheses that never sleep."""

    model: POMDP
    trial_length: int | None
    life: Living

    def init(self, n_agents: int | None = None) -> Any:
        """Their state before the first observation."""
        ...


def lived_by(trial: Memory, who: Ints) -> Memory:
    """A trial as some agents of a batch lived it."""
    take = lambda controls: None if controls is None else controls[who]  # noqa: E731
    return Memory([Moment(take(m.controls), [o[who] for o in m.outcomes], None) for m in trial.moments])


def make_up(dreamer: Dreamer, mind: Any, n_trials: int, streams: Sequence[np.random.Generator]) -> None:
    """Trials in a world that is as each agent expects it to be (its expected tables when it falls asleep)."""
    model, n, length = dreamer.model, mind.n_agents, dreamer.trial_length
    if length is None:
        raise ValueError("trial_length of Agent must be given to make up dreams")
    likelihoods = [_expected(t, n) for t in mind.tables]
    moves, starts = ([_expected_of(mind, Table(kind, f), model) for f in range(model.num_factors)] for kind in ("B", "D"))
    everyone = np.arange(n)
    for _ in range(n_trials):
        uniforms = np.stack([s.random((length, model.num_factors + model.num_modalities + 1)) for s in streams])
        states = np.empty((n, model.num_factors), dtype=np.intp)
        controls: Ints | None = None
        for t in range(length):
            u, before = uniforms[:, t], states.copy()
            for f in range(model.num_factors):
                if controls is None:
                    chance = starts[f][:, 0]
                else:
                    deps = model.B_dependencies[f]  # type: ignore[index]
                    sizes = [*(model.num_states[g] for g in deps), model.num_controls[f]]
                    here = np.ravel_multi_index([*(before[:, g] for g in deps), controls[:, f]], sizes)
                    chance = moves[f][everyone, here]
                states[:, f] = sample(chance, u[:, f])
            outcomes = []
            for m, table in enumerate(mind.tables):
                column = sum(states[:, f] * stride for f, stride in table.layout.strides.items())
                outcomes.append(sample(likelihoods[m][everyone, column], u[:, model.num_factors + m]))
            controls = dreamer.life.advance(mind, outcomes, u[:, -1], None).controls
        dreamer.life.conclude(mind)


def _expected(table: KnownTable | CountTable, n: int) -> Floats:
    """Expected probabilities of a table's columns for each agent ``(n, n_states, n_outcomes)``, as they are now."""
    shape = (n, table.n_states, table.n_outcomes)
    return np.broadcast_to(table.likelihood[:, :-1].reshape(-1, *shape[1:]), shape).copy()


def _expected_of(mind: Any, table: Table, model: POMDP) -> Floats:
    """The same of transitions or initial states, be they learned or known."""
    if table in mind.knowledge.others:
        return _expected(mind.knowledge.others[table], mind.n_agents)
    known = layout_of(model, table).keep(model.values_of(table))
    return np.broadcast_to(known, (mind.n_agents, *known.shape))
