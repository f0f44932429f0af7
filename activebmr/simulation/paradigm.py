"""`Paradigm`: an experiment under one scheme, and how a result describes it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from activebmr import checks
from activebmr.agent.agent import Agent
from activebmr.arrays import Ints
from activebmr.checks import is_whole
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.naming import table_of
from activebmr.model.pomdp import POMDP
from activebmr.simulation.measures import measures_of
from activebmr.simulation.worlds import ModelProcess, ModelsProcess

__all__ = ["Paradigm", "describe", "is_whole", "stream"]


def _agents(value: Any, name: str) -> Ints:
    """Numbers of agents ``(n_agents,)``."""
    array = checks.index_array(value, name, 0, 2**32 - 1)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name} must hold the numbers of some agents (n_agents,); got shape {array.shape}")
    return array


@dataclass(frozen=True, repr=False)
class Paradigm:
    """An experiment under one scheme: who acts, in what world, for how long, and what counts as success.

    Attributes:
        name: name of the paradigm.
        scheme: name of the way its agents reason.
        agent: the agents. They know when a trial ends: those whose ``trial_length`` is None get the paradigm's.
        model: the world's model (transitions, initial states, likelihoods that no hypothesis speaks about).
        trial_length: observations per trial, >= 1.
        hypotheses: structures that the world may have; None if it is the model itself.
        truth: the true hypothesis (index or name), or ``"random"`` for another one per agent. Kept as an index.
        score: per modality (index or name) the worth of its outcomes ``{modality: (worth of outcome 0, ...)}``; positive ones
            are wins and negative ones losses. Kept by index.
        settings: further settings, kept with the result.
        candidates: hypotheses (indices or names) that a random truth is drawn from, each as likely as any other; by default all
            that differ.
        preparation: what agents that reason jointly know of the states that no action sets before a trial: ``None`` nothing,
            ``"told"`` all of it, or ``"chosen"``: they set them, to learn most about the hypotheses, until one is adopted.
        worlds: what makes the world of some agents, ``worlds(seed, agents, truths)``, where these have worlds of their own that
            ``model`` and ``hypotheses`` do not say all about; each agent's must depend on the seed, its number and its truth
            alone. Gymnasium environments are such worlds, see `activebmr.interop.gymnasium.GymnasiumWorld`. It may have
            attributes: ``ends_early``, whether trials may end before their time; ``rewarding``, whether it gives rewards; and
            ``comparable``, whether what agents learn can be compared with it (true if it does not say).
        measures: the paradigm's own measures, ``{name: (sentence, unit, function of the result or name)}``; the first one says
            what counts as success. See `Measure`.

    Raises:
        ValueError, TypeError: if the parts do not fit together, naming the one that does not.

    Example:
        >>> from activebmr import POMDP, Agent
        >>> world = POMDP(A=[np.eye(2)], B=[np.repeat(np.eye(2)[:, None, :], 2, axis=1)], labels={"modality": ["room"]})
        >>> seen = {"lit": ("trials in which the second room was seen", "share", lambda result: result.wins > 0)}
        >>> Paradigm("rooms", "any", Agent(world), world, trial_length=4, score={"room": (0, 1)}, measures=seen).score
        {0: (0, 1)}
    """

    name: str
    scheme: str
    agent: Agent
    model: POMDP
    trial_length: int
    hypotheses: HypothesisSpace | None = None
    truth: int | str | None = None
    score: dict[Any, Sequence[float]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    preparation: str | None = None
    candidates: Sequence[Any] | None = None
    worlds: Callable[[int, Ints, Ints | None], Any] | None = None
    measures: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 (the dataclass is frozen)
        for name in ("name", "scheme"):
            checks.text(getattr(self, name), f"{name} of Paradigm")
        checks.an(Agent)(self.agent, "agent")
        checks.an(POMDP)(self.model, "model")
        checks.optional(checks.an(HypothesisSpace))(self.hypotheses, "hypotheses")
        for name in ("score", "settings", "measures"):
            checks.mapping(getattr(self, name), name)
        if self.worlds is not None and (not callable(self.worlds) or isinstance(self.worlds, type)):
            raise TypeError(f"worlds must be a function of seed, agents and truths; got {checks.brief(self.worlds)}")
        if np.ma.is_masked(self.truth):
            raise TypeError("truth must not be masked")
        put("trial_length", checks.whole_number(self.trial_length, "trial_length", least=1))
        if (self.hypotheses is None) != (self.truth is None):
            raise ValueError("hypotheses and truth must be given together, or neither of them")
        if self.hypotheses is not None:
            put("hypotheses", self.hypotheses.resolved(self.model))
            if not isinstance(self.truth, str) or self.truth != "random":
                put("truth", self._hypothesis(self.truth, "truth must be 'random'"))
        if self.candidates is not None:
            if len(checks.sequence(self.candidates, "candidates")) == 0:
                raise ValueError("candidates must be hypotheses; got none")
            put("candidates", [self._hypothesis(c, "candidates must be names of hypotheses") for c in self.candidates])
        put("score", {self._modality(m): worth for m, worth in self.score.items()})
        put("measures", measures_of(self.measures))
        self._check_fit()
        if self.agent.trial_length is None:  # else they would look for outcomes after the last one
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what there was to say was said when the agents were made
                put("agent", self.agent.with_(trial_length=self.trial_length))

    def _hypothesis(self, given: Any, rule: str) -> int:
        names = () if self.hypotheses is None else self.hypotheses.names
        if isinstance(given, str) and given in names:
            return names.index(given)
        if not is_whole(given) or not 0 <= given < len(names):
            raise ValueError(f"{rule} or lie in 0..{len(names) - 1}; got {given!r}")
        return int(given)

    def _modality(self, given: Any) -> int:
        names = self.model.labels["modality"]
        if isinstance(given, str) and given in names:
            return int(names.index(given))
        if not is_whole(given) or not 0 <= given < len(names):
            raise ValueError(
                f"score must be keyed by names of modalities or by modalities in 0..{len(names) - 1}; got {given!r}"
            )
        return int(given)

    def __repr__(self) -> str:
        about = f"{self.name!r}, {self.scheme!r}; trials of {self.trial_length}; {self.model!r}"
        return f"Paradigm({about}{'' if self.hypotheses is None else f'; {len(self.hypotheses)} hypotheses'})"

    def _check_fit(self) -> None:
        if self.preparation not in (None, "told", "chosen"):
            raise ValueError(f"preparation must be None, 'told' or 'chosen'; got {self.preparation!r}")
        if self.preparation is not None and not self.agent.reasons_jointly:
            raise ValueError(
                f"preparation {self.preparation!r} needs an agent that reasons jointly (Agent(..., reasoning=...))"
            )
        if self.preparation == "chosen" and not self.agent.sets_states:
            raise ValueError(
                "preparation 'chosen' needs hypotheses about likelihoods alone, given as counts; those of the agent speak of "
                "other tables, or give values, or it learns transitions"
            )
        if self.agent.trial_length not in (None, self.trial_length):
            raise ValueError(
                f"trial_length of the agent must be the paradigm's, {self.trial_length}, or None; got {self.agent.trial_length}"
            )
        mind, world = self.agent.model, self.model
        for name in ("num_states", "num_outcomes", "num_controls"):
            if getattr(mind, name) != getattr(world, name):
                raise ValueError(
                    f"agent must have a model with the {name} of the world, {getattr(world, name)}; got {getattr(mind, name)}"
                )
        names = self.agent.model_names
        if names and self.hypotheses is not None and names != self.hypotheses.names:
            raise ValueError("agent must reason about the hypotheses of the world, in their order; its names differ")
        for m, worth in self.score.items():
            checks.sequence(worth, f"score[{m}]")
            if len(worth) != world.num_outcomes[m]:
                raise ValueError(f"score[{m}] must hold the worth of {world.num_outcomes[m]} outcomes; got {list(worth)}")

    @checks.checked(seed=checks.whole(0), agents=_agents)
    def truths(self, seed: int, agents: Ints) -> Ints | None:
        """The true hypothesis of each agent; a random one depends on the seed and the agent's number alone."""
        if self.hypotheses is None:
            return None
        if self.truth != "random":
            return np.full(len(agents), int(self.truth))  # type: ignore[arg-type]
        # hypotheses that agree everywhere are one: each distinct one is as likely as any other
        distinct = self.hypotheses.distinct()[0] if self.candidates is None else self.candidates
        draws = [distinct[stream(seed, int(k), 1).integers(len(distinct))] for k in agents]
        return np.array(draws, dtype=np.intp)

    @checks.checked(seed=checks.whole(0), agents=_agents)
    def world(self, seed: int, agents: Ints, truths: Ints | None = None) -> Any:
        """The world that agents of these numbers live in; ``truths``: their true hypotheses, by default those of `truths`."""
        truths = self.truths(seed, agents) if truths is None else truths
        if self.worlds is not None:
            return self.worlds(seed, agents, truths)
        if self.hypotheses is not None and self.hypotheses.models:
            assert truths is not None
            return ModelsProcess(self.model, self.hypotheses, truths)
        return ModelProcess(self.model, self.hypotheses, truths)


def stream(seed: int, agent: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(agent, purpose)))


def describe(paradigm: Paradigm) -> dict[str, Any]:
    """Everything that tells one scheme from another, as JSON holds it."""
    agent = paradigm.agent
    parts = {name: dict(vars(getattr(agent, name))) for name in ("planner", "learning", "selection")}
    own: dict[str, Any] = {
        "reasoning": None if agent.reasoning is None else dict(vars(agent.reasoning)),
        "reasons_jointly": agent.reasons_jointly,
        "preparation": paradigm.preparation,
    }
    if agent.introspection is not None:
        sleep = agent.introspection
        own["introspection"] = {
            "after": sleep.after,
            "dream": sleep.dream,
            "dreams": sleep.dreams,
            "evidence": sleep.evidence,
        } | {
            f"p{table_of(key)}": {"space": type(space).__name__}
            | {k: v for k, v in getattr(space, "__dict__", {}).items() if isinstance(v, _SIMPLE)}
            for key, space in agent.spaces.items()
        }
    own |= {"inference": agent.inference, "hypotheses": len(agent.hypotheses) if agent.hypotheses is not None else 0}
    own |= {**parts, "trial_length": paradigm.trial_length}
    # a paradigm's setting may have the name of one of the agent's: both are told
    return _plain(own | {f"paradigm_{k}" if k in own else k: v for k, v in paradigm.settings.items()})


_SIMPLE = (str, int, float, bool, tuple, type(None))


def _plain(value: Any) -> Any:
    """A value as JSON holds it everywhere: arrays become lists, infinities and what JSON does not know strings."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
