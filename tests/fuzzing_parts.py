"""What valid calls are made of: models, agents and results as small as can be, and the calls themselves."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing_kinds import (
    Example,
    Kind,
    numbers,
    thing,
)

import activebmr as ab
from activebmr.interop import pymdp as pymdp_world
from activebmr.simulation.neurons import neuronal_responses
from paradigms import three_ball

SEEN = np.array([[0.9, 0.2], [0.1, 0.8]])
COUNTS = 4 * SEEN
ONES = np.ones((2, 2))
GO = np.stack([np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 1.0]])], axis=2)
LABELS = {
    "factor": ["place"],
    "modality": ["light"],
    "states": {"place": ["left", "right"]},
    "outcomes": {"light": ["off", "on"]},
    "controls": {"place": ["go left", "go right"]},
}


@cache
def model() -> ab.POMDP:
    return ab.POMDP(A=[SEEN], B=[GO], C=[[0.0, 1.0]], pA=[COUNTS], labels=LABELS)


@cache
def wide() -> ab.POMDP:
    return ab.POMDP(A=[np.eye(3)], B=[np.ones((3, 3, 3)) / 3], C=[[0.0, 1.0, 2.0]])


@cache
def space() -> ab.HypothesisSpace:
    return ab.HypothesisSpace({"so": {0: [[2.0, 1.0], [1.0, 2.0]]}, "else": {0: [[1.0, 2.0], [2.0, 1.0]]}})


@cache
def agent(**options: Any) -> ab.Agent:
    return ab.Agent(model(), space(), trial_length=3, **options)


@cache
def plain() -> ab.Agent:
    return ab.Agent(model(), trial_length=3, remember=True, introspection=ab.Introspection(ab.SingleParameters()))


@cache
def dreamer() -> ab.Agent:
    return ab.Agent(model(), trial_length=3, introspection=ab.Introspection(ab.SingleParameters(), dream="generated"))


@cache
def paradigm() -> ab.Paradigm:
    return ab.Paradigm("two places", "agent", agent(), model(), 3, space(), 0, {0: (-1.0, 1.0)})


@cache
def result() -> ab.Result:
    return ab.simulate(three_ball.paradigm(), 2, 2, trace=True)


@cache
def several() -> ab.Result:
    return ab.simulate([three_ball.paradigm(s) for s in ("reasoning", "knowing")], 2, 2)


@cache
def ball() -> ab.POMDP:
    return three_ball.paradigm().agent.model


@cache
def responses() -> Any:
    lived = ab.Agent(model(), trial_length=3)
    return neuronal_responses(lived, lived.init(), [[0], [1], [0]], [[1], [0]])


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="activebmr-fuzzing-"))


@cache
def saved() -> Path:
    return several().save(folder() / "result.npz")


@cache
def recording() -> Path:
    path = folder() / "recording.npz"
    np.savez(path, controls=np.zeros((1, 1, 3), int), outcomes=np.zeros((1, 1, 3), int))
    return path


def call(name: str, function: Callable[..., Any], arguments: dict[str, Any], /, **kinds: Kind) -> Example:
    return Example(name, lambda: (function, dict(arguments)), kinds)


def of_state(
    method: str,
    arguments: dict[str, Any],
    who: Callable[[], ab.Agent] = agent,
    seen: bool = False,
    n: int | None = 2,
    **kinds: Kind,
) -> Example:
    """A method of agents that takes their state."""

    def make() -> tuple[Callable[..., Any], dict[str, Any]]:
        state = who().init(n)
        if method == "hindsight":
            state, _ = who().step(state, [[0], [1]], 0)
        if seen:
            state, _ = who().perceive(state, [[0], [1]])
        return getattr(who(), method), {"state": state, **arguments}

    return Example(f"Agent.{method}", make, {"state": strange_state(who, seen), **kinds})


def strange_state(who: Callable[[], ab.Agent], seen: bool) -> Kind:
    """States that are none, or those of agents with another model."""

    def spoil(valid: Any, rng: np.random.Generator) -> Any:
        other = ab.Agent(wide(), trial_length=3)
        foreign = other.init(2)
        yield from thing(others=(other.perceive(foreign, [[0], [1]])[0] if seen else foreign,)).spoil(valid, rng)

    return Kind(spoil, False, ("state",))


def _in_list(spoiled: Any) -> Any:
    return type(spoiled)(f"in a list, {spoiled.label}", [spoiled.value], spoiled.wrong and spoiled.value is not None)


def listed(**options: Any) -> Kind:
    """A list of one array, see `numbers`."""

    def spoil(valid: Any, rng: np.random.Generator) -> Any:
        yield from (_in_list(s) for s in numbers(**options).spoil(valid[0], rng))
        yield from thing(optional=bool(options.get("optional"))).spoil(valid, rng)

    return Kind(spoil, False, options.get("names", ()))


@cache
def under() -> ab.Agent:
    space = ab.HypothesisSpace.from_models({"one": model(), "two": model().with_(D=[[1.0, 0.0]])})
    return ab.Agent(model(), space, trial_length=3)


def environment(*_: Any, **__: Any) -> Any:
    import gymnasium

    class Light(gymnasium.Env):
        observation_space, action_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Discrete(2)

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return 0, {}

        def step(self, action: Any) -> Any:
            return 1, 0.0, False, False, {}

    return Light()


@cache
def theirs() -> Any:
    return pymdp_world.to_pymdp(model())
