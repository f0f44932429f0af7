"""Sleep: after a trial, search for simpler models of what was seen, go on with what wins, and dream of it.

What is remembered of a life, what introspection (`activebmr.agent.introspection`) makes of it, and instruction, which hands
agents another prior. Whoever dreams is another agent, the *dreamer*: of the same mind, without hypotheses and without sleep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from activebmr.agent.introspection import Introspection
from activebmr.agent.settings import Learning
from activebmr.arrays import Bools, Floats, Ints, sample
from activebmr.inference.knowledge import Knowledge, Memory, Moment
from activebmr.model.layout import layouts_of
from activebmr.model.pomdp import POMDP
from activebmr.reduction.search.alternatives import Alternatives
from activebmr.reduction.search.protocol import ModelSpace, Reduction

__all__ = ["Awake", "Dreamer", "Findings", "Sleep", "Sleeper", "Sleeping"]


class Living(Protocol):
    """What dreamers do, in place."""

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


@dataclass(frozen=True, eq=False)
class Findings:
    """What a night brought: reductions by modality and, if a list of models was searched, what it says of each agent."""

    reductions: dict[int, Reduction]
    listed: Reduction | None = None


@dataclass(eq=False)
class Sleep:
    """What agents that introspect keep beside their tables, by modality; columns in the order of its layout.

    Attributes:
        origin: counts that they began life with ``(n_agents, n_states, n_outcomes)``.
        full: counts that they would have by now had they never reduced anything, of the same shape.
        prior: counts that they go on from, as if before any data, of the same shape.
        held: model of a list that each has adopted ``(n_agents,)``, -1 for none.
        trials: trials remembered, the current one last.
        found: what the last introspection found.
        parent: with unbiased evidence, the minds of agents that live through the same trials and never sleep.
    """

    origin: dict[int, Floats]
    full: dict[int, Floats]
    prior: dict[int, Floats]
    held: dict[int, Ints]
    trials: list[Memory] = field(default_factory=lambda: [Memory()])
    found: dict[int, Reduction] = field(default_factory=dict)
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

    def witness(self, modality: int, agents: Ints, states: Ints, amounts: Floats) -> None:
        """Count outcomes (entries, n_outcomes) under the unreduced model, unless another mind does; an agent's columns must
        differ from each other.
        """
        if modality in self.full and self.parent is None:
            possible = self.origin[modality][agents, states] > 0
            self.full[modality][agents, states] += possible * amounts


class Sleeping(Protocol):
    """What may happen between trials; what it keeps is ``knowledge.sleep``.

    Attributes:
        names: names of the models of the list that is searched, if there is one.
        spaces: the spaces of reduced models, by modality.
        listed: the modality about which a list is searched, or None.
    """

    names: tuple[str, ...]
    spaces: Mapping[int, ModelSpace]
    listed: int | None

    def start(self, knowledge: Knowledge) -> None:
        """Begin a life."""
        ...

    def take_in(self, knowledge: Knowledge, controls: Ints | None, outcomes: list[np.ndarray]) -> None:
        """Remember a step."""
        ...

    def counted(
        self, knowledge: Knowledge, modality: int, agents: Ints, columns: Ints, amounts: Floats, change: Floats | None
    ) -> None:
        """See `activebmr.agent.learning.Listener`."""
        ...

    def fall_asleep(self, knowledge: Knowledge, trial: int, streams: Sequence[np.random.Generator] | None) -> Findings | None:
        """After a trial."""
        ...

    def introspect(self, knowledge: Knowledge, streams: Sequence[np.random.Generator] | None) -> dict[int, Reduction]:
        """Search for simpler models now."""
        ...


class Awake:
    """Agents that never sleep."""

    names: tuple[str, ...] = ()
    listed: int | None = None

    def __init__(self) -> None:
        self.spaces: Mapping[int, ModelSpace] = {}

    def start(self, knowledge: Knowledge) -> None:
        pass

    def take_in(self, knowledge: Knowledge, controls: Ints | None, outcomes: list[np.ndarray]) -> None:
        pass

    def counted(
        self, knowledge: Knowledge, modality: int, agents: Ints, columns: Ints, amounts: Floats, change: Floats | None
    ) -> None:
        pass

    def fall_asleep(self, knowledge: Knowledge, trial: int, streams: Sequence[np.random.Generator] | None) -> Findings | None:
        return None

    def introspect(self, knowledge: Knowledge, streams: Sequence[np.random.Generator] | None) -> dict[int, Reduction]:
        return {}


class Sleeper:
    """Agents that introspect.

    Args:
        model: the model that they are born with.
        settings: when they sleep, what they search, whether they dream.
        learning: how counts fade.
        scored: modalities that hypotheses speak about; sleep must speak about others.
        dreamer: makes who lives through their dreams.
    """

    def __init__(
        self,
        model: POMDP,
        settings: Introspection,
        learning: Learning,
        scored: Sequence[int],
        dreamer: Callable[[], Dreamer],
    ) -> None:
        self.model, self.settings, self._learning, self._scored = model, settings, learning, tuple(scored)
        self.spaces: dict[int, ModelSpace] = settings.of(model)
        shared = sorted(set(self.spaces) & set(scored))
        if shared:
            raise ValueError(
                f"introspection must speak about modalities that no hypothesis speaks about; both do about {shared}"
            )
        if np.ndim(learning.retention):
            raise ValueError("retention of Learning must be one number for agents that introspect; got one for each")
        self._make_dreamer, self._dreamer = dreamer, None  # type: ignore[var-annotated]
        self.listed = next((m for m, space in self.spaces.items() if isinstance(space, Alternatives)), None)
        self.names = () if self.listed is None or scored else self.spaces[self.listed].names  # type: ignore[attr-defined]

    @property
    def dreamer(self) -> Dreamer:
        if self._dreamer is None:
            self._dreamer = self._make_dreamer()
        return self._dreamer  # type: ignore[return-value]

    def start(self, knowledge: Knowledge) -> None:
        layouts, n = layouts_of(self.model), knowledge.n_agents
        born = {m: knowledge.tables[m].counts.copy() for m in self.spaces}  # type: ignore[union-attr]
        knowledge.sleep = Sleep(
            born,
            {m: x.copy() for m, x in born.items()},
            {m: x.copy() for m, x in born.items()},
            {m: np.full(n, -1) for m in self.spaces},
            parent=self.dreamer.init(n) if self.settings.evidence == "unbiased" else None,
        )
        assert all(layouts[m].n_states == x.shape[1] for m, x in born.items())

    def take_in(self, knowledge: Knowledge, controls: Ints | None, outcomes: list[np.ndarray]) -> None:
        knowledge.sleep.trials[-1].add(controls, outcomes, None)

    def counted(
        self, knowledge: Knowledge, modality: int, agents: Ints, columns: Ints, amounts: Floats, change: Floats | None
    ) -> None:
        knowledge.sleep.witness(modality, agents, columns, amounts)

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
        kept = float(self._learning.retention)
        if sleep.parent is not None:
            before = {m: sleep.parent.tables[m].counts.copy() for m in sleep.full}
            self.dreamer.life.relive(sleep.parent, sleep.trials[-1])
            for m, counts in before.items():
                after = sleep.parent.tables[m].counts
                sleep.full[m] = after.copy() if kept == 1.0 else sleep.full[m] + (after / kept - counts)
        if kept < 1.0:
            for m, born in sleep.origin.items():
                sleep.full[m] = born + kept * (sleep.full[m] - born)

    def introspect(self, knowledge: Knowledge, streams: Sequence[np.random.Generator] | None) -> dict[int, Reduction]:
        """Search the spaces of reduced models, go on with what wins, and dream if the prior has changed."""
        sleep, settings = knowledge.sleep, self.settings
        found: dict[int, Reduction] = {}
        changed = np.zeros(knowledge.n_agents, dtype=bool)
        for m, space in self.spaces.items():
            layout = layouts_of(self.model)[m]
            posterior, prior = layout.tensor(sleep.full[m]), layout.tensor(sleep.origin[m])
            if isinstance(space, Alternatives):
                found[m] = space.reduce(posterior, prior, sleep.held[m])
                sleep.held[m] = found[m].held
            else:
                found[m] = space.reduce(posterior, prior)
            changed |= _go_on_with(knowledge, m, layout.columns(found[m].prior), layout.columns(found[m].posterior))
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
        for m in self.model.learned_modalities:
            own = made_up or m not in sleep.prior
            counts = knowledge.tables[m].counts[who] if own else sleep.prior[m][who]  # type: ignore[union-attr]
            mind.tables[m].replace(np.arange(len(who)), counts, np.arange(counts.shape[1]))
        if made_up:
            if streams is None:
                raise ValueError("rng must be given to make up dreams")
            _make_up(dreamer, mind, settings.dreams or 16, [streams[k] for k in who])
        else:
            lived = [t for t in sleep.trials if t.moments]
            for trial in lived[-settings.dreams :] if settings.dreams else lived:
                dreamer.life.relive(mind, _of(trial, who))
        for m in sleep.prior:
            counts = mind.tables[m].counts
            knowledge.tables[m].replace(who, counts, np.arange(counts.shape[1]))  # type: ignore[union-attr]


def _go_on_with(knowledge: Knowledge, modality: int, prior: Floats, posterior: Floats) -> Bools:
    """Give agents whose prior has changed the reduced counts; who they are."""
    sleep = knowledge.sleep
    other = (prior != sleep.prior[modality]).any(axis=(1, 2))
    who = np.flatnonzero(other)
    if len(who):
        sleep.prior[modality][who] = prior[who]
        knowledge.tables[modality].replace(who, posterior[who], np.arange(prior.shape[1]))  # type: ignore[union-attr]
    return np.asarray(other)


def _of(trial: Memory, who: Ints) -> Memory:
    take = lambda controls: None if controls is None else controls[who]  # noqa: E731
    return Memory([Moment(take(m.controls), [o[who] for o in m.outcomes], None) for m in trial.moments])


def _make_up(dreamer: Dreamer, mind: Any, n_trials: int, streams: Sequence[np.random.Generator]) -> None:
    """Trials in a world that is as each agent expects it to be (its expected likelihoods when it falls asleep)."""
    model, n, length = dreamer.model, mind.n_agents, dreamer.trial_length
    if length is None:
        raise ValueError("trial_length of Agent must be given to make up dreams")
    expected = [
        np.broadcast_to(t.likelihood[:, :-1].reshape(-1, t.n_states, t.n_outcomes), (n, t.n_states, t.n_outcomes)).copy()
        for t in mind.tables
    ]
    forward = [np.moveaxis(b.reshape(b.shape[0], -1, b.shape[-1]), 2, 0) for b in model.B]
    for _ in range(n_trials):
        uniforms = np.stack([s.random((length, model.num_factors + model.num_modalities + 1)) for s in streams])
        states = np.empty((n, model.num_factors), dtype=np.intp)
        controls: Ints | None = None
        for t in range(length):
            u, before = uniforms[:, t], states.copy()
            for f, d in enumerate(model.D):  # type: ignore[arg-type]
                if controls is None:
                    chance = np.repeat(d[None], n, axis=0)
                else:
                    deps = model.B_dependencies[f]  # type: ignore[index]
                    here = np.ravel_multi_index([before[:, g] for g in deps], [model.num_states[g] for g in deps])
                    chance = forward[f][controls[:, f], :, here]
                states[:, f] = sample(chance, u[:, f])
            outcomes = []
            for m, table in enumerate(mind.tables):
                column = sum(states[:, f] * stride for f, stride in table.layout.strides.items())
                outcomes.append(sample(expected[m][np.arange(n), column], u[:, model.num_factors + m]))
            controls = dreamer.life.advance(mind, outcomes, u[:, -1], None).controls
        dreamer.life.conclude(mind)


def instruct(model: POMDP, knowledge: Knowledge, taught: Mapping[int | str, Any], scored: Sequence[int]) -> list[int]:
    """Give agents another prior to go on from, in place: see `Agent.instruct`. The modalities that it was about."""
    about, n_agents = [], knowledge.n_agents
    for key, value in taught.items():
        m = model.modality(key)
        about.append(m)
        table, layout = knowledge.tables[m], layouts_of(model)[m]
        if m in scored:
            raise ValueError(f"taught must not speak about modality {m}, which the agent has hypotheses about")
        if m not in model.learned_modalities:
            raise ValueError(f"taught must speak about modalities with counts, {list(model.learned_modalities)}; got {m}")
        counts, shape = np.asarray(value, dtype=np.float64), model.A[m].shape
        given = counts.shape
        if given == shape:
            counts = np.repeat(counts[None], n_agents, axis=0)
        if counts.shape != (n_agents, *shape):
            raise ValueError(f"taught[{key!r}] must have shape {model.A[m].shape}, for each agent or for all; got {given}")
        bad = ~np.isfinite(counts) | (counts < 0)
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(f"taught[{key!r}] must hold finite counts >= 0; entry {at} is {counts[at]:.6g}")
        if (counts.sum(axis=1) <= 0).any():
            at = tuple(int(i) for i in np.argwhere(counts.sum(axis=1) <= 0)[0])
            raise ValueError(f"taught[{key!r}] must have some count in every column; column {at} (agent, states) has none")
        prior = layout.columns(counts)
        born = layout.keep(model.pA[m])[None]  # type: ignore[index]
        if ((prior > 0) & (born == 0)).any():
            raise ValueError(f"taught[{key!r}] must be zero where pA[{m}] is, a structural zero of the model's prior")
        before = born if knowledge.sleep is None or m not in knowledge.sleep.prior else knowledge.sleep.prior[m]
        seen = np.where(prior > 0, np.maximum(table.counts - before, 0.0), 0.0)  # type: ignore[union-attr]
        table.replace(np.arange(n_agents), prior + seen, np.arange(layout.n_states))  # type: ignore[union-attr]
        if knowledge.sleep is not None and m in knowledge.sleep.prior:
            knowledge.sleep.origin[m], knowledge.sleep.prior[m] = prior, prior.copy()
            knowledge.sleep.full[m] = prior + seen
            if knowledge.sleep.parent is not None:
                knowledge.sleep.parent.tables[m].replace(  # type: ignore[union-attr]
                    np.arange(n_agents), prior + seen, np.arange(layout.n_states)
                )
            knowledge.sleep.held[m] = np.full(n_agents, -1)
    return about
