"""Sleep: after a trial, search for simpler models of what was seen, go on with what wins, and dream of it.

What is remembered of a life, and what introspection (`activebmr.agent.introspection`) makes of it. Whoever dreams
(`activebmr.agent.dreams`) is another agent, the *dreamer*: of the same mind, without hypotheses and without sleep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from activebmr.agent.dreams import Dreamer, lived_by, make_up
from activebmr.agent.introspection import Introspection
from activebmr.agent.settings import Learning
from activebmr.arrays import Bools, Floats, Ints
from activebmr.inference.knowledge import Knowledge, Memory
from activebmr.model.layout import layout_of
from activebmr.model.naming import Key, Table, key_of, table_of
from activebmr.model.pomdp import POMDP
from activebmr.reduction.search.alternatives import Alternatives
from activebmr.reduction.search.protocol import ModelSpace, Reduction

__all__ = ["Awake", "Dreamer", "Findings", "Sleep", "Sleeper", "Sleeping"]


@dataclass(frozen=True, eq=False)
class Findings:
    """What a night brought: reductions by table and, if a list of models was searched, what it says of each agent."""

    reductions: dict[Key, Reduction]
    listed: Reduction | None = None


@dataclass(eq=False)
class Sleep:
    """What agents that introspect keep beside their tables, by what these are kept by; columns in the order of the layout.

    Attributes:
        origin: counts that they began life with ``(n_agents, n_states, n_outcomes)``.
        full: counts that they would have by now had they never reduced anything, of the same shape.
        prior: counts that they go on from, as if before any data, of the same shape.
        held: model of a list that each has adopted ``(n_agents,)``, -1 for none.
        trials: trials remembered, the current one last.
        found: what the last introspection found.
        parent: with unbiased evidence, the minds of agents that live through the same trials and never sleep.
    """

    origin: dict[Key, Floats]
    full: dict[Key, Floats]
    prior: dict[Key, Floats]
    held: dict[Key, Ints]
    trials: list[Memory] = field(default_factory=lambda: [Memory()])
    found: dict[Key, Reduction] = field(default_factory=dict)
    parent: Any = None

    def copy(self) -> Sleep:
        return replace(
            self,
            origin=dict(self.origin),
            full={m: x.copy() for m, x in self.full.items()},
            prior={m: x.copy() for m, x in self.prior.items()},
            held={m: x.copy() for m, x in self.held.items()},
            parent=None if self.parent is None else self.parent.copy(),
            trials=[*self.trials[:-1], self.trials[-1].copy()],
        )

    def witness(self, key: Key, agents: Ints, columns: Ints, amounts: Floats) -> None:
        """Count outcomes (entries, n_outcomes) under the unreduced model, unless another mind does; an agent's columns must
        differ from each other.
        """
        if key in self.full and self.parent is None:
            possible = self.origin[key][agents, columns] > 0
            self.full[key][agents, columns] += possible * amounts


class Sleeping(Protocol):
    """What may happen between trials; what it keeps is ``knowledge.sleep``.

    Attributes:
        names: names of the models of the list that is searched, if there is one.
        spaces: the spaces of reduced models, by what their tables are kept by.
        listed: the (first) table about which a list is searched, or None.
    """

    names: tuple[str, ...]
    spaces: Mapping[Key, ModelSpace]
    listed: Key | None

    def start(self, knowledge: Knowledge) -> None:
        """Begin a life."""
        ...

    def take_in(self, knowledge: Knowledge, controls: Ints | None, outcomes: list[np.ndarray]) -> None:
        """Remember a step."""
        ...

    def counted(
        self, knowledge: Knowledge, key: Key, agents: Ints, columns: Ints, amounts: Floats, change: Floats | None
    ) -> None:
        """See `activebmr.agent.learning.Listener`."""
        ...

    def fall_asleep(self, knowledge: Knowledge, trial: int, streams: Sequence[np.random.Generator] | None) -> Findings | None:
        """After a trial."""
        ...

    def introspect(self, knowledge: Knowledge, streams: Sequence[np.random.Generator] | None) -> dict[Key, Reduction]:
        """Search for simpler models now."""
        ...


class Awake:
    """Agents that never sleep."""

    names: tuple[str, ...] = ()
    listed: Key | None = None

    def __init__(self) -> None:
        self.spaces: Mapping[Key, ModelSpace] = {}

    def start(self, knowledge: Knowledge) -> None:
        pass

    def take_in(self, knowledge: Knowledge, controls: Ints | None, outcomes: list[np.ndarray]) -> None:
        pass

    def counted(
        self, knowledge: Knowledge, key: Key, agents: Ints, columns: Ints, amounts: Floats, change: Floats | None
    ) -> None:
        pass

    def fall_asleep(self, knowledge: Knowledge, trial: int, streams: Sequence[np.random.Generator] | None) -> Findings | None:
        return None

    def introspect(self, knowledge: Knowledge, streams: Sequence[np.random.Generator] | None) -> dict[Key, Reduction]:
        return {}


class Sleeper:
    """Agents that introspect.

    Args:
        model: the model that they are born with.
        settings: when they sleep, what they search, whether they dream.
        learning: how counts fade.
        scored: what the tables that hypotheses speak about are kept by; sleep must speak about others.
        dreamer: makes who lives through their dreams.
    """

    def __init__(
        self,
        model: POMDP,
        settings: Introspection,
        learning: Learning,
        scored: Sequence[Key],
        dreamer: Callable[[], Dreamer],
    ) -> None:
        self.model, self.settings, self._learning, self._scored = model, settings, learning, tuple(scored)
        self.spaces: dict[Key, ModelSpace] = settings.of(model)
        shared = [key for key in self.spaces if key in self._scored]
        if shared:
            plain = not any(isinstance(key, Table) for key in shared)
            owners, told = ("modalities", sorted(shared)) if plain else ("tables", [f"p{table_of(k)}" for k in shared])  # type: ignore[type-var]
            raise ValueError(f"introspection must speak about {owners} that no hypothesis speaks about; both do about {told}")
        retention = learning.retentions_of(model)
        self._kept = {key: retention[table_of(key)] for key in self.spaces}
        each = [key for key, kept in self._kept.items() if np.ndim(kept)]
        if each:
            of = "" if not isinstance(learning.retention, Mapping) else f" of p{table_of(each[0])}"
            raise ValueError(f"retention of Learning{of} must be one number for agents that introspect; got one for each")
        self._make_dreamer, self._dreamer = dreamer, None  # type: ignore[var-annotated]
        self.listed = next((m for m, space in self.spaces.items() if isinstance(space, Alternatives)), None)
        self.names = () if self.listed is None or scored else self.spaces[self.listed].names  # type: ignore[attr-defined]

    @property
    def dreamer(self) -> Dreamer:
        if self._dreamer is None:
            self._dreamer = self._make_dreamer()
        return self._dreamer  # type: ignore[return-value]

    def start(self, knowledge: Knowledge) -> None:
        n = knowledge.n_agents
        born = {key: knowledge.counted(key).counts.copy() for key in self.spaces}
        knowledge.sleep = Sleep(
            born,
            {key: x.copy() for key, x in born.items()},
            {key: x.copy() for key, x in born.items()},
            {key: np.full(n, -1) for key in self.spaces},
            parent=self.dreamer.init(n) if self.settings.evidence == "unbiased" else None,
        )
        assert all(layout_of(self.model, key).n_states == x.shape[1] for key, x in born.items())

    def take_in(self, knowledge: Knowledge, controls: Ints | None, outcomes: list[np.ndarray]) -> None:
        knowledge.sleep.trials[-1].add(controls, outcomes, None)

    def counted(
        self, knowledge: Knowledge, key: Key, agents: Ints, columns: Ints, amounts: Floats, change: Floats | None
    ) -> None:
        knowledge.sleep.witness(key, agents, columns, amounts)

    def fall_asleep(self, knowledge: Knowledge, trial: int, streams: Sequence[np.random.Generator] | None) -> Findings | None:
        sleep = knowledge.sleep
        self._review(sleep)
        found = self.introspect(knowledge, streams) if self.settings.due(trial) else {}
        sleep.trials = [*sleep.trials, Memory()] if self.settings.dream == "remembered" else [Memory()]
        listed = sleep.found.get(self.listed) if self.listed is not None and not self._scored else None
        return Findings(found, listed)

    def _review(self, sleep: Sleep) -> None:
        """After a trial, count what it showed under the unreduced model; evidence fades like counts, what came before it does
        not.
        """
        if sleep.parent is not None:
            mind = sleep.parent.knowledge
            before = {key: mind.counted(key).counts.copy() for key in sleep.full}
            self.dreamer.life.relive(sleep.parent, sleep.trials[-1])
            for key, counts in before.items():
                after, kept = mind.counted(key).counts, float(self._kept[key])
                sleep.full[key] = after.copy() if kept == 1.0 else sleep.full[key] + (after / kept - counts)
        for key, born in sleep.origin.items():
            kept = float(self._kept[key])
            if kept < 1.0:
                sleep.full[key] = born + kept * (sleep.full[key] - born)

    def introspect(self, knowledge: Knowledge, streams: Sequence[np.random.Generator] | None) -> dict[Key, Reduction]:
        """Search the spaces of reduced models, go on with what wins, and dream if the prior has changed."""
        sleep, settings = knowledge.sleep, self.settings
        found: dict[Key, Reduction] = {}
        changed = np.zeros(knowledge.n_agents, dtype=bool)
        for key, space in self.spaces.items():
            layout = layout_of(self.model, key)
            posterior, prior = layout.tensor(sleep.full[key]), layout.tensor(sleep.origin[key])
            if isinstance(space, Alternatives):
                found[key] = now = space.reduce(posterior, prior, sleep.held[key])
                sleep.held[key] = now.held  # type: ignore[assignment]
            else:
                found[key] = now = space.reduce(posterior, prior)
            changed |= _go_on_with(knowledge, key, layout.columns(now.prior), layout.columns(now.posterior))
        sleep.found = found
        if self.listed is not None and not self._scored:
            knowledge.adopted = sleep.held[self.listed].copy()
        if settings.dream is not None and changed.any():
            self._dream(knowledge, np.flatnonzero(changed), streams)
        return found

    def _dream(self, knowledge: Knowledge, who: Ints, streams: Sequence[np.random.Generator] | None) -> None:
        """Let some agents live through trials again; their counts are then what they gather on top of the reduced prior
        (remembered trials), or of what they have (made-up ones).
        """
        sleep, settings, dreamer = knowledge.sleep, self.settings, self.dreamer
        mind = dreamer.init(len(who))
        made_up = settings.dream == "generated"
        for key in map(key_of, self.model.learned):
            own = made_up or key not in sleep.prior
            counts = knowledge.counted(key).counts[who] if own else sleep.prior[key][who]
            mind.knowledge.counted(key).replace(np.arange(len(who)), counts, np.arange(counts.shape[1]))
        dreamer.life.begin(mind)  # where trials begin may be among what was reduced
        if made_up:
            if streams is None:
                raise ValueError("rng must be given to make up dreams")
            make_up(dreamer, mind, settings.dreams or 16, [streams[k] for k in who])
        else:
            lived = [t for t in sleep.trials if t.moments]
            for trial in lived[-settings.dreams :] if settings.dreams else lived:
                dreamer.life.relive(mind, lived_by(trial, who))
        for key in sleep.prior:
            counts = mind.knowledge.counted(key).counts
            knowledge.counted(key).replace(who, counts, np.arange(counts.shape[1]))


def _go_on_with(knowledge: Knowledge, key: Key, prior: Floats, posterior: Floats) -> Bools:
    """Give agents whose prior has changed the reduced counts; who they are."""
    sleep = knowledge.sleep
    other = (prior != sleep.prior[key]).any(axis=(1, 2))
    who = np.flatnonzero(other)
    if len(who):
        sleep.prior[key][who] = prior[who]
        knowledge.counted(key).replace(who, posterior[who], np.arange(prior.shape[1]))
    return np.asarray(other)
