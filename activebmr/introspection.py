"""Sleep: between trials, agents look for simpler models of what they have seen, and may dream of it.

After a trial the counts that an agent has gathered are handed to a space of reduced models (`activebmr.structure`). What it
goes on with is the reduced prior, and the evidence under it. Every introspection starts from the prior that the agent began
life with and from all that it has seen since, so what was adopted too early can be given up again. Dreams let it live through
remembered trials once more, or through trials that it makes up, with the reduced prior in mind: what was seen is then credited
to the states that the new model says it came from. Source: Friston et al. (2017), "Active inference, curiosity and insight".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from activebmr.layout import layouts_of
from activebmr.message_passing import Paths
from activebmr.models import POMDP
from activebmr.planning import sample
from activebmr.sparse import Floats, Ints
from activebmr.structure import Alternatives, ModelSpace, Reduction

if TYPE_CHECKING:
    from activebmr.agent import Agent
    from activebmr.states import AgentState

__all__ = ["Introspection", "Memory", "Sleep"]

DREAMS = (None, "remembered", "generated")


@dataclass(frozen=True, eq=False)
class Introspection:
    """When agents look for simpler models, among which, and whether they dream.

    Attributes:
        spaces: the space of reduced models, per modality (name or index) whose counts are learned; a space alone if there is
            only one.
        after: every how many trials, a whole number >= 1; or the trials after which, counted from 0.
        dream: ``None``, ``"remembered"`` or ``"generated"``: what an agent lives through whenever its prior has changed.
        dreams: how many trials: the last ones remembered, None for all of them; or how many it makes up (16 if None).
        evidence: whose beliefs say in which states things were seen. ``"own"``: the agent's, who may see what it has come to
            believe in (SPM). ``"unbiased"``: those that the model it was born with has, learning from the same trials; a
            wrong insight is then refuted by what follows, at the price of perceiving every trial twice.
    """

    spaces: ModelSpace | Mapping[int | str, ModelSpace]
    after: int | Sequence[int] = 1
    dream: str | None = None
    dreams: int | None = None
    evidence: str = "own"

    def __post_init__(self) -> None:
        if isinstance(self.after, (int, np.integer)) and not isinstance(self.after, bool):
            if self.after < 1:
                raise ValueError(f"after of Introspection must be a whole number >= 1, or a list of trials; got {self.after}")
        else:
            trials = np.asarray(self.after, dtype=None if np.size(self.after) else np.intp)
            if trials.ndim != 1 or not np.issubdtype(trials.dtype, np.integer) or (trials < 0).any():
                raise ValueError(
                    f"after of Introspection must be a whole number >= 1, or trials counted from 0; got {self.after!r}"
                )
            object.__setattr__(self, "after", tuple(int(t) for t in trials))
        if self.dream not in DREAMS:
            raise ValueError(f"dream of Introspection must be one of {list(DREAMS)}; got {self.dream!r}")
        if self.evidence not in ("own", "unbiased"):
            raise ValueError(f"evidence of Introspection must be 'own' or 'unbiased'; got {self.evidence!r}")
        whole = isinstance(self.dreams, (int, np.integer)) and not isinstance(self.dreams, bool)
        if self.dreams is not None and (not whole or self.dreams < 1):
            raise ValueError(f"dreams of Introspection must be a whole number >= 1, or None; got {self.dreams!r}")

    def of(self, model: POMDP) -> dict[int, ModelSpace]:
        """The spaces by index of modality, checked against a model.

        Raises:
            TypeError: if something else than a space is given.
            ValueError: if a modality does not exist or has no counts.
        """
        learned = model.learned_modalities
        if isinstance(self.spaces, Mapping):
            spaces = {model.modality(m): space for m, space in self.spaces.items()}
        elif len(learned) == 1:
            spaces = {learned[0]: self.spaces}
        else:
            raise ValueError(f"spaces of Introspection must be keyed by modality: the model learns {list(learned)}")
        for m, space in spaces.items():
            if m not in learned:
                raise ValueError(f"spaces of Introspection must speak about modalities with counts, {list(learned)}; got {m}")
            if not callable(getattr(space, "reduce", None)):
                raise TypeError(f"spaces of Introspection must be ModelSpaces (with reduce); got {type(space).__name__}")
            if isinstance(space, Alternatives) and space.table.shape != model.A[m].shape:
                raise ValueError(
                    f"models about modality {m} must have the shape of pA[{m}], {model.A[m].shape}; got {space.table.shape}"
                )
        return spaces

    def due(self, trial: int) -> bool:
        """Whether to introspect after this trial (counted from 0)."""
        if isinstance(self.after, tuple):
            return trial in self.after
        return (trial + 1) % int(self.after) == 0  # type: ignore[call-overload,no-any-return]


@dataclass(eq=False)
class Memory:
    """A trial as it was lived: outcomes of every time and modality, and the controls in between."""

    outcomes: list[list[np.ndarray]] = field(default_factory=list)
    controls: list[Ints] = field(default_factory=list)

    def add(self, controls: Ints | None, outcomes: list[np.ndarray]) -> None:
        """What was done, if anything, and then seen."""
        if controls is not None:
            self.controls.append(controls)
        self.outcomes.append(outcomes)

    def take(self, who: Ints) -> Memory:
        return Memory([[o[who] for o in time] for time in self.outcomes], [c[who] for c in self.controls])


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
    parent: AgentState | None = None

    @classmethod
    def start(cls, agent: Agent, n_agents: int) -> Sleep:
        model, spaces, layouts = agent.model, agent.spaces, layouts_of(agent.model)
        born = {m: np.repeat(layouts[m].keep(model.pA[m])[None], n_agents, axis=0) for m in spaces}  # type: ignore[index]
        return cls(
            born,
            {m: x.copy() for m, x in born.items()},
            {m: x.copy() for m, x in born.items()},
            {m: np.full(n_agents, -1) for m in spaces},
            parent=agent.dreamer.init(n_agents) if agent.introspection.evidence == "unbiased" else None,  # type: ignore[union-attr]
        )

    def copy(self) -> Sleep:
        last = Memory(list(self.trials[-1].outcomes), list(self.trials[-1].controls))
        return replace(
            self,
            origin=dict(self.origin),
            full={m: x.copy() for m, x in self.full.items()},
            prior={m: x.copy() for m, x in self.prior.items()},
            held={m: x.copy() for m, x in self.held.items()},
            parent=None if self.parent is None else self.parent.copy(),
            trials=[*self.trials[:-1], last],
        )

    def witness(self, modality: int, agents: Ints, states: Ints, amounts: Floats) -> None:
        """Count outcomes (entries, n_outcomes) under the unreduced model, unless another mind does; an agent's columns must
        differ from each other.
        """
        if modality in self.full and self.parent is None:
            possible = self.origin[modality][agents, states] > 0
            self.full[modality][agents, states] += possible * amounts

    def review(self, agent: Agent) -> None:
        """After a trial, count what it showed under the unreduced model; evidence fades like counts, what came before it does
        not.
        """
        kept = agent.learning.retention
        if self.parent is not None:
            before = {m: self.parent.tables[m].counts.copy() for m in self.full}  # type: ignore[union-attr]
            relive(agent.dreamer, self.parent, self.trials[-1])
            for m, counts in before.items():
                after = self.parent.tables[m].counts  # type: ignore[union-attr]
                self.full[m] = after.copy() if kept == 1.0 else self.full[m] + (after / kept - counts)
        if kept < 1.0:
            for m, born in self.origin.items():
                self.full[m] = born + kept * (self.full[m] - born)


def fall_asleep(agent: Agent, state: AgentState, streams: Sequence[np.random.Generator] | None) -> dict[int, Reduction]:
    """After a trial: review it, introspect if it is time to, and keep it for dreams."""
    settings, sleep = agent.introspection, state.sleep
    if settings is None or sleep is None:
        return {}
    sleep.review(agent)
    found = introspect(agent, state, streams) if settings.due(state.trial) else {}
    sleep.trials = [*sleep.trials, Memory()] if settings.dream == "remembered" else [Memory()]
    return found


def introspect(agent: Agent, state: AgentState, streams: Sequence[np.random.Generator] | None) -> dict[int, Reduction]:
    """Search the spaces of reduced models after a trial, go on with what wins, and dream if the prior has changed."""
    sleep, settings = state.sleep, agent.introspection
    assert sleep is not None and settings is not None
    found: dict[int, Reduction] = {}
    changed = np.zeros(state.n_agents, dtype=bool)
    for m, space in agent.spaces.items():
        layout = layouts_of(agent.model)[m]
        posterior, prior = layout.tensor(sleep.full[m]), layout.tensor(sleep.origin[m])
        if isinstance(space, Alternatives):
            found[m] = space.reduce(posterior, prior, sleep.held[m])
            sleep.held[m] = found[m].held  # type: ignore[assignment]
        else:
            found[m] = space.reduce(posterior, prior)
        fresh = layout.columns(found[m].prior)
        other = (fresh != sleep.prior[m]).any(axis=(1, 2))
        who = np.flatnonzero(other)
        if len(who):
            sleep.prior[m][who] = fresh[who]
            counts = layout.columns(found[m].posterior)[who]
            state.tables[m].replace(who, counts, np.arange(layout.n_states))  # type: ignore[union-attr]
        changed |= other
    sleep.found = found
    if agent.listed is not None and agent.hypotheses is None:
        state.model_posterior, state.adopted = found[agent.listed].probabilities, sleep.held[agent.listed].copy()
    if settings.dream is not None and changed.any():
        _dream(agent, state, np.flatnonzero(changed), streams)
    return found


def _dream(agent: Agent, state: AgentState, who: Ints, streams: Sequence[np.random.Generator] | None) -> None:
    """Let some agents live through trials again; their counts are then what they gather on top of the reduced prior
    (remembered trials), or of what they have (made-up ones).
    """
    sleep, settings = state.sleep, agent.introspection
    assert sleep is not None and settings is not None
    dreamer = agent.dreamer
    mind = dreamer.init(len(who))
    made_up = settings.dream == "generated"
    for m in agent.model.learned_modalities:
        counts = state.tables[m].counts[who] if made_up or m not in sleep.prior else sleep.prior[m][who]  # type: ignore[union-attr]
        mind.tables[m].replace(np.arange(len(who)), counts, np.arange(counts.shape[1]))  # type: ignore[union-attr]
    if made_up:
        if streams is None:
            raise ValueError("rng must be given to make up dreams")
        _make_up(dreamer, mind, settings.dreams or 16, [streams[k] for k in who])
    else:
        lived = [t for t in sleep.trials if t.outcomes]
        for trial in lived[-settings.dreams :] if settings.dreams else lived:
            relive(dreamer, mind, trial.take(who))
    for m in sleep.prior:
        counts = mind.tables[m].counts  # type: ignore[union-attr]
        state.tables[m].replace(who, counts, np.arange(counts.shape[1]))  # type: ignore[union-attr]


def _make_up(dreamer: Agent, mind: AgentState, n_trials: int, streams: Sequence[np.random.Generator]) -> None:
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
            controls = dreamer._advance(mind, outcomes, u[:, -1], None).controls
        dreamer._conclude(mind)


def instruct(agent: Agent, state: AgentState, taught: Mapping[int | str, Any]) -> None:
    """Give agents another prior to go on from, in place: see `Agent.instruct`."""
    if state.t != 0:
        raise ValueError(f"agents can be instructed before a trial; this one is at time {state.t}")
    for key, value in taught.items():
        m = agent.model.modality(key)
        table, layout = state.tables[m], layouts_of(agent.model)[m]
        if m in agent._scorers:
            raise ValueError(f"taught must not speak about modality {m}, which the agent has hypotheses about")
        if m not in agent.model.learned_modalities:
            raise ValueError(f"taught must speak about modalities with counts, {list(agent.model.learned_modalities)}; got {m}")
        counts, shape = np.asarray(value, dtype=np.float64), agent.model.A[m].shape
        given = counts.shape
        if given == shape:
            counts = np.repeat(counts[None], state.n_agents, axis=0)
        if counts.shape != (state.n_agents, *shape):
            raise ValueError(
                f"taught[{key!r}] must have shape {agent.model.A[m].shape}, for each agent or for all; got {given}"
            )
        bad = ~np.isfinite(counts) | (counts < 0)
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(f"taught[{key!r}] must hold finite counts >= 0; entry {at} is {counts[at]:.6g}")
        if (counts.sum(axis=1) <= 0).any():
            at = tuple(int(i) for i in np.argwhere(counts.sum(axis=1) <= 0)[0])
            raise ValueError(f"taught[{key!r}] must have some count in every column; column {at} (agent, states) has none")
        prior = layout.columns(counts)
        born = layout.keep(agent.model.pA[m])[None]  # type: ignore[index]
        if ((prior > 0) & (born == 0)).any():
            raise ValueError(f"taught[{key!r}] must be zero where pA[{m}] is, a structural zero of the model's prior")
        before = born if state.sleep is None or m not in state.sleep.prior else state.sleep.prior[m]
        seen = np.where(prior > 0, np.maximum(table.counts - before, 0.0), 0.0)  # type: ignore[union-attr]
        table.replace(np.arange(state.n_agents), prior + seen, np.arange(layout.n_states))  # type: ignore[union-attr]
        if state.sleep is not None and m in state.sleep.prior:
            state.sleep.origin[m], state.sleep.prior[m] = prior, prior.copy()
            state.sleep.full[m] = prior + seen
            if state.sleep.parent is not None:
                state.sleep.parent.tables[m].replace(  # type: ignore[union-attr]
                    np.arange(state.n_agents), prior + seen, np.arange(layout.n_states)
                )
            state.sleep.held[m] = np.full(state.n_agents, -1)
            if m == agent.listed and agent.hypotheses is None:
                state.model_posterior, state.adopted = None, np.full(state.n_agents, -1)


def relive(agent: Agent, state: AgentState, trial: Memory) -> None:
    """Perceive a remembered trial and learn from it; nothing is planned or chosen."""
    from activebmr import conclusion  # which imports this module

    inference = agent.path_inference
    if inference is not None:
        paths = Paths(list(trial.outcomes), list(trial.controls))
        paths.beliefs = inference.recall(paths, state.tables)
        state.paths = paths
    else:
        for t, outcomes in enumerate(trial.outcomes):
            state.controls = trial.controls[t - 1] if t else None
            agent._perceive(state, list(outcomes))
            conclusion.take_in(agent, state, list(outcomes))
    agent._conclude(state)
