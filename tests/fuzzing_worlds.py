"""Valid calls of worlds, simulations and results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from fuzzing_kinds import (
    Example,
    Kind,
    callable_thing,
    flag,
    indices,
    number,
    numbers,
    place,
    text,
    thing,
    whole,
    word,
    words,
)
from fuzzing_parts import (
    agent,
    call,
    environment,
    folder,
    model,
    paradigm,
    recording,
    result,
    saved,
    several,
    space,
    theirs,
    wide,
)

import activebmr as ab
from activebmr.interop import gymnasium as gym_world
from activebmr.interop import pymdp as pymdp_world


def of_worlds() -> list[Example]:
    lived = {
        "paradigm": paradigm(),
        "states": None,
        "controls": np.zeros((1, 1, 3), int),
        "outcomes": np.ones((1, 1, 3), int),
        "every_policy": True,
    }
    process = lambda: ab.ModelProcess(model())  # noqa: E731
    uniforms = np.full((2, process().n_uniforms), 0.5)

    def stepped() -> tuple[Callable[..., Any], dict[str, Any]]:
        world = process()
        world.reset(uniforms)
        return world.step, {"controls": np.array([[0], [1]]), "uniforms": uniforms}

    def of_environment(method: str) -> Callable[[], tuple[Callable[..., Any], dict[str, Any]]]:
        def make() -> tuple[Callable[..., Any], dict[str, Any]]:
            process = ab.GymnasiumProcess(environment(), model(), chance=True)
            process.reset(np.full((1, 1), 0.5))
            arguments = {"uniforms": np.full((1, 1), 0.5)}
            return getattr(process, method), arguments | ({"controls": np.array([[1]])} if method == "step" else {})

        return make

    def played() -> tuple[Callable[..., Any], dict[str, Any]]:
        env = gym_world.ParadigmEnv("three-ball")
        env.reset(seed=0)
        return env.step, {"action": [0, 3]}

    return [
        call(
            "simulate",
            ab.simulate,
            {
                "paradigm": paradigm(),
                "n_agents": 2,
                "n_trials": 1,
                "seed": 0,
                "jobs": 1,
                "progress": False,
                "trace": False,
                "checkpoint": None,
            },
            paradigm=thing(),
            n_agents=whole(1),
            n_trials=whole(1),
            seed=whole(0),
            jobs=whole(None),
            progress=flag(),
            trace=flag(),
            checkpoint=text(optional=True),
        ),
        call(
            "replay",
            ab.replay,
            lived,
            paradigm=thing(),
            controls=indices(-1, 1, missing=True, unused=True, names=("recording",)),
            outcomes=indices(-1, 1, missing=True),
            every_policy=flag(),
            states=Kind(lambda v, r: indices(-1, 1, missing=True, optional=True).spoil(np.zeros((1, 1, 3), int), r)),
        ),
        call("load_recording", ab.load_recording, {"path": recording()}, path=place(reads=True)),
        call(
            "ModelProcess",
            ab.ModelProcess,
            {"model": model(), "hypotheses": space(), "truth": np.array([0, 1])},
            model=thing(),
            hypotheses=thing(optional=True),
            truth=indices(0, 1, optional=True, fixed=False, empty=True),
        ),
        call("ModelProcess.likelihood", process().likelihood, {"modality": 0}, modality=whole(0, 0)),
        call("ModelProcess.certain", process().certain, {"modality": 0}, modality=whole(0, 0)),
        call(
            "ModelProcess.reset",
            process().reset,
            {"uniforms": uniforms, "given": np.array([[0], [1]])},
            uniforms=numbers(least=0, most=1.0, names=("given",)),
            given=indices(-1, 1, optional=True),
        ),
        Example("ModelProcess.step", stepped, {"controls": indices(0, 1), "uniforms": numbers(least=0, most=1.0)}),
        call(
            "Paradigm",
            ab.Paradigm,
            {
                "name": "a",
                "scheme": "b",
                "agent": agent(),
                "model": model(),
                "trial_length": 3,
                "hypotheses": space(),
                "truth": 0,
                "score": {0: (0.0, 1.0)},
                "settings": {},
                "preparation": None,
                "candidates": None,
                "worlds": None,
                "measures": {},
            },
            name=text(),
            scheme=text(),
            agent=thing(),
            model=thing(others=(wide(),), names=("agent",)),
            trial_length=whole(1),
            hypotheses=thing(optional=True),
            truth=whole(0, 1, words=True, optional=True),
            score=thing(optional=True),
            settings=thing(optional=True, anything=True),
            candidates=thing(optional=True),
            worlds=callable_thing(optional=True),
            measures=thing(optional=True, names=("measure",)),
        ),
        call(
            "Paradigm.truths",
            paradigm().truths,
            {"seed": 0, "agents": np.array([0, 1])},
            seed=whole(0),
            agents=indices(0, 2**41, fixed=False),
        ),
        call(
            "Paradigm.world",
            paradigm().world,
            {"seed": 0, "agents": np.array([0, 1])},
            seed=whole(0),
            agents=indices(0, 2**41, fixed=False),
        ),
        call(
            "Measure",
            ab.Measure,
            {"sentence": "a", "unit": "b", "source": "score", "axes": ("scheme", "agent")},
            sentence=text(),
            unit=text(),
            source=callable_thing(),
            axes=words(optional=True),
        ),
        call(
            "GymnasiumProcess",
            ab.GymnasiumProcess,
            {"env": environment(), "model": model(), "seed": 0, "chance": False},
            env=thing(),
            model=thing(others=(wide(),), names=("env",)),
            seed=whole(0, optional=True),
            chance=flag(),
        ),
        call(
            "gymnasium.GymnasiumWorld",
            gym_world.GymnasiumWorld,
            {"env": environment, "model": model(), "vector": False},
            env=callable_thing(),
            model=thing(),
            vector=flag(),
        ),
        call(
            "gymnasium.GymnasiumWorld.sizes",
            gym_world.GymnasiumWorld.sizes,
            {"env": environment()},
            env=thing(names=("space",)),
        ),
        call(
            "gymnasium.GymnasiumWorld.paradigm",
            gym_world.GymnasiumWorld(environment, model()).paradigm,
            {"agent": ab.Agent(model()), "trial_length": 3, "name": None, "scheme": "a"},
            agent=thing(),
            trial_length=whole(1),
            name=text(optional=True),
            scheme=text(),
        ),
        call(
            "gymnasium.ParadigmEnv",
            gym_world.ParadigmEnv,
            {"paradigm": "bandit", "scheme": None, "true_rule": None, "render_mode": None},
            paradigm=word(),
            scheme=word(optional=True),
            render_mode=word(optional=True),
        ),
        call(
            "gymnasium.ParadigmEnv.reset",
            gym_world.ParadigmEnv("three-ball").reset,
            {"seed": 0, "options": None},
            seed=whole(0, optional=True),
            options=thing(optional=True),
        ),
        call(
            "pymdp.to_pymdp",
            pymdp_world.to_pymdp,
            {"model": model(), "planner": None},
            model=thing(),
            planner=thing(optional=True),
        ),
        call(
            "pymdp.from_pymdp",
            pymdp_world.from_pymdp,
            {"agent": theirs(), "which": None},
            agent=thing(),
            which=whole(0, 0, optional=True),
        ),
        call(
            "pymdp.agent_from_pymdp",
            pymdp_world.agent_from_pymdp,
            {"agent": theirs(), "which": None},
            agent=thing(),
            which=whole(0, 0, optional=True),
        ),
        call("pymdp.planner_from_pymdp", pymdp_world.planner_from_pymdp, {"agent": theirs()}, agent=thing()),
        call(
            "pymdp.policy_search",
            pymdp_world.policy_search,
            {"model": model(), "hypotheses": space(), "offset": 0.03, "model_gain": "exact"},
            model=thing(),
            hypotheses=thing(),
            offset=number(least=0.0),
            model_gain=word(),
        ),
        Example("GymnasiumProcess.step", of_environment("step"), {"controls": indices(0, 1)}),
        Example("GymnasiumProcess.reset", of_environment("reset"), {"uniforms": numbers(least=0, most=1.0)}),
        Example("gymnasium.ParadigmEnv.step", played, {"action": indices(0, 4)}),
    ]


def of_results() -> list[Example]:
    r, traced = several(), result()
    return [
        call("Result.load", ab.Result.load, {"path": saved()}, path=place(reads=True)),
        call("Result.save", r.save, {"path": folder() / "again.npz", "trace": False}, path=place(reads=False), trace=flag()),
        call("Result.dims", r.dims, {"name": "score"}, name=word(names=("measure",))),
        call("Result.about", r.about, {"name": "score"}, name=word(names=("measure",))),
        call("Result.trace_dims", traced.trace_dims, {"name": "outcomes"}, name=word(names=("trace",))),
        call("Result.index", r.index, {"scheme": 0}, scheme=whole(0, 1, words=True)),
        call("Result.per_agent", r.per_agent, {"name": "score"}, name=word(names=("measure",))),
        call(
            "Result.with_measures",
            r.with_measures,
            {"measures": {"x": ("a", "b", "score")}, "strict": True},
            measures=thing(optional=True, names=("measure",)),
            strict=flag(),
        ),
        call(
            "Result.to_dataframe",
            r.to_dataframe,
            {"measures": "score", "trace": False},
            measures=word(optional=True, empty=True, names=("measure",)),
            trace=flag(),
        ),
        call("Result.to_xarray", r.to_xarray, {"trace": False}, trace=flag()),
        call("Result", ab.Result, {"arrays": r.arrays, "trace": None}, arrays=thing(), trace=thing(optional=True)),
    ]
