"""A valid call of every callable of the public API, and what its arguments are: what `fuzzing` spoils."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing import Example, Kind, callable_thing, flag, indices, number, numbers, place, seed, text, thing, whole, word, words

import activebmr as ab
from activebmr import dirichlet, plots, reduction
from activebmr.interop import gymnasium as gym_world
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


def examples() -> list[Example]:
    """All of them."""
    return [*of_models(), *of_agents(), *of_evidence(), *of_worlds(), *of_results(), *of_plots(), *of_others()]


def listed(**options: Any) -> Kind:
    """A list of one array, see `numbers`."""

    def spoil(valid: Any, rng: np.random.Generator) -> Any:
        yield from (_in_list(s) for s in numbers(**options).spoil(valid[0], rng))
        yield from thing(optional=bool(options.get("optional"))).spoil(valid, rng)

    return Kind(spoil, False, options.get("names", ()))


def of_models() -> list[Example]:
    m = model()
    still = m.with_(B=[None], pB=[np.array([[[2.0], [1.0]], [[1.0], [2.0]]])], labels={}, policies=None)
    dense = ab.ColumnTable(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0, 1], [1, 0]]), (2, 2))
    return [
        call(
            "POMDP",
            ab.POMDP,
            {
                "A": [SEEN],
                "B": [GO],
                "C": [[0.0, 1.0]],
                "D": [[0.5, 0.5]],
                "E": [[0.5, 0.5]],
                "A_dependencies": [[0]],
                "B_dependencies": [[0]],
                "policies": [[[0]], [[1]]],
                "policy_length": 1,
            },
            A=listed(least=0),
            B=listed(least=0),
            C=listed(finite=True, fixed=False, optional=True),
            D=listed(least=0, optional=True),
            E=listed(least=0, optional=True),
            A_dependencies=thing(optional=True),
            B_dependencies=thing(optional=True),
            policies=indices(0, 1, optional=True, fixed=False),
            policy_length=whole(1),
        ),
        call(
            "POMDP pB",
            ab.POMDP,
            {"A": [None], "B": [None], "pA": [COUNTS], "pB": [GO + 1], "pD": [[1.0, 2.0]], "pE": [[1.0, 1.0]]},
            pA=listed(least=0, fixed=False),
            pB=listed(least=0, names=("B",)),
            pD=listed(least=0, optional=True, names=("D",)),
            pE=listed(least=0, optional=True),
        ),
        call("POMDP.table", m.table, {"key": "A[0]"}, key=thing(names=("table", "modality"))),
        call("POMDP.factor", m.factor, {"name": 0}, name=whole(0, 0, words=True, names=("factor",))),
        call("POMDP.modality", m.modality, {"name": 0}, name=whole(0, 0, words=True, names=("modality",))),
        call(
            "HypothesisSpace",
            ab.HypothesisSpace,
            {
                "hypotheses": {"a": {0: COUNTS}, "b": {0: ONES}},
                "prior": [0.5, 0.5],
                "descriptions": ["a", "b"],
                "concentration": 1.0,
            },
            hypotheses=thing(names=("hypothesis",)),
            prior=numbers(least=0, optional=True),
            descriptions=words(optional=True, any_text=True),
            concentration=number(above=0.0),
        ),
        call(
            "HypothesisSpace.from_columns",
            ab.HypothesisSpace.from_columns,
            {"names": ["a", "b"], "tables": {0: dense}, "prior": None, "descriptions": None},
            names=words(names=("name", "assignment"), any_text=True),
            tables=thing(names=("table",)),
            prior=Kind(lambda v, r: numbers(least=0, optional=True).spoil([0.5, 0.5], r)),
            descriptions=words(optional=True, any_text=True),
        ),
        call(
            "HypothesisSpace.from_models",
            ab.HypothesisSpace.from_models,
            {"models": {"a": m, "b": m}},
            models=thing(names=("model",)),
        ),
        call("with_concentration", space().with_concentration, {"concentration": 2.0}, concentration=number(above=0.0)),
        call("HypothesisSpace.resolved", space().resolved, {"model": m}, model=thing(others=())),
        call("HypothesisSpace.check_against", space().check_against, {"model": m}, model=thing(others=(wide(),))),
        call(
            "HypothesisSpace.dense",
            space().dense,
            {"hypothesis": 0, "modality": 0},
            hypothesis=whole(0, 1, words=True),
            modality=whole(0, 0, words=True, names=("table",)),
        ),
        call("HypothesisSpace.index", space().index, {"hypothesis": 0}, hypothesis=whole(0, 1, words=True)),
        call(
            "HypothesisSpace.average",
            space().average,
            {"modality": 0, "weights": [0.5, 0.5], "total": 2.0},
            modality=whole(0, 0, words=True, names=("table",)),
            weights=numbers(least=0, optional=True),
            total=number(above=0.0, optional=True),
        ),
        call(
            "ColumnTable",
            ab.ColumnTable,
            {"columns": np.eye(2), "assignment": np.array([[0, 1]]), "shape": (2, 2)},
            columns=numbers(least=0, fixed=False, names=("assignment",)),
            assignment=indices(0, 1),
            shape=thing(),
        ),
        call("ColumnTable.dense", dense.dense, {"hypothesis": 0}, hypothesis=whole(0, 1)),
        call("ColumnTable.mixture", dense.mixture, {"weights": np.array([0.5, 0.5])}, weights=numbers(least=0, more=True)),
        call(
            "ColumnTable.class_mixture",
            dense.class_mixture,
            {"weights": np.array([0.5, 0.5])},
            weights=numbers(least=0, more=True),
        ),
        call(
            "frozen",
            ab.frozen,
            {"model": still, "factor": 0, "otherwise": None, "concentration": 1.0},
            model=thing(),
            factor=whole(0, 0, words=True),
            concentration=number(above=0.0, optional=True),
        ),
        call(
            "depends",
            ab.depends,
            {"model": m, "table": "A[0]", "drivers": [[], ["place"]], "values": lambda *s: [0.5, 0.5]},
            model=thing(),
            table=word(),
            drivers=thing(names=("factor",)),
            values=callable_thing(),
        ),
        call(
            "reachable_rules",
            ab.reachable_rules,
            {
                "model": m.with_(B=[None], pB=[GO + 1]),
                "factor": "place",
                "moves": {"one": [(("left", "go left"), "right")], "two": []},
                "sentence": "{name}",
            },
            model=thing(),
            factor=whole(0, 0, words=True),
            moves=thing(names=("move",)),
            sentence=text(),
        ),
        call(
            "context_rules",
            ab.context_rules,
            {
                "model": ball(),
                "feedback": 2,
                "objects": [0, 1],
                "answer": 2,
                "null": 0,
                "right": 1,
                "wrong": 2,
                "concentration": 1.0,
                "sentence": "{cases}",
            },
            model=thing(),
            feedback=whole(0, 2, words=True, names=("modality",)),
            objects=words(names=("factor",)),
            answer=whole(0, 4, words=True, names=("factor",)),
            null=whole(0, 2, words=True),
            concentration=number(above=0.0),
            sentence=text(),
        ),
    ]


def _in_list(spoiled: Any) -> Any:
    return type(spoiled)(f"in a list, {spoiled.label}", [spoiled.value], spoiled.wrong and spoiled.value is not None)


def of_agents() -> list[Example]:
    two = np.array([[0], [1]])
    state = agent().perceive(agent().init(2), two)[0]
    evaluation = agent().plan(state)
    return [
        call(
            "Agent",
            ab.Agent,
            {
                "model": model(),
                "hypotheses": space(),
                "planner": ab.Planner(),
                "inference": "models",
                "learning": ab.Learning(),
                "selection": ab.Selection(),
                "reasoning": ab.Reasoning(),
                "introspection": None,
                "trial_length": 3,
                "rounds": 16,
                "paths": None,
                "remember": False,
                "own": None,
            },
            model=thing(others=()),
            hypotheses=thing(optional=True),
            planner=thing(optional=True),
            inference=word(optional=True),
            learning=thing(optional=True),
            selection=thing(optional=True),
            reasoning=thing(optional=True),
            introspection=thing(optional=True),
            trial_length=whole(1, optional=True),
            rounds=whole(1),
            paths=thing(optional=True),
            remember=flag(),
            own=thing(optional=True),
        ),
        call("Agent.init", agent().init, {"n_agents": 2}, n_agents=whole(1, optional=True)),
        of_state("step", {"observation": two, "rng": 0}, observation=indices(-1, 1, missing=True), rng=seed()),
        of_state("step", {"observation": two, "action": two}, action=indices(0, 1)),
        of_state("perceive", {"observation": two}, observation=indices(-1, 1, missing=True)),
        of_state("plan", {}, seen=True),
        of_state(
            "learn",
            {"observation": two, "action": two},
            seen=True,
            observation=indices(-1, 1, missing=True),
            action=indices(0, 1),
        ),
        call("Agent.act", agent().act, {"evaluation": evaluation, "rng": 0}, evaluation=thing(), rng=seed(optional=False)),
        of_state("end_trial", {"rng": None}, rng=seed()),
        of_state("end_trial", {"rng": np.random.default_rng(0)}, dreamer, rng=seed()),
        of_state("sleep", {"rng": None}, plain, rng=seed()),
        of_state("instruct", {"taught": {0: ONES}}, plain, taught=thing(optional=True, names=("table", "modality"))),
        of_state("tell", {"states": two}, states=indices(-1, 1)),
        of_state("told", {"states": two}, states=indices(-1, 1)),
        of_state("experiments", {}),
        of_state("hindsight", {}, plain),
        of_state("foreseen", {}),
        of_state("beliefs_under", {"hypothesis": 0}, lambda: _under(), hypothesis=whole(0, 1, words=True)),
        of_state("prior_counts", {"table": 0}, plain, table=whole(0, 0, words=True, names=("modality",))),
        of_state("posterior_counts", {"table": 0}, plain, table=whole(0, 0, words=True, names=("modality",))),
        call("AgentState.counts", plain().init(2).counts, {"modality": 0}, modality=whole(0, 0)),
        call(
            "Learning",
            ab.Learning,
            {"rate": 1.0, "retention": 1.0, "smooth": False, "at_end": False},
            rate=number(least=0.0, named=True),
            retention=number(least=0.0, most=1.0, named=True),
            smooth=flag(),
            at_end=flag(),
        ),
        call(
            "Selection",
            ab.Selection,
            {
                "threshold": 16.0,
                "concentration": 512.0,
                "offset": 0.03,
                "curious": False,
                "last_outcome": False,
                "at_once": False,
            },
            threshold=number(finite=False),
            concentration=number(above=0.0),
            offset=number(least=0.0),
            curious=flag(),
            last_outcome=flag(),
            at_once=flag(),
        ),
        call(
            "Introspection",
            ab.Introspection,
            {"spaces": ab.SingleParameters(), "after": 1, "dream": None, "dreams": None, "evidence": "own"},
            spaces=thing(),
            dream=word(optional=True),
            dreams=whole(1, optional=True),
            evidence=word(),
        ),
        call("Introspection.due", plain().introspection.due, {"trial": 0}, trial=whole(0)),
        call("Introspection.of", plain().introspection.of, {"model": model()}, model=thing()),
        call("Learning.rates_of", ab.Learning().rates_of, {"model": model()}, model=thing()),
        call("Learning.among", ab.Learning().among, {"model": model(), "models": []}, model=thing()),
        call(
            "Planner",
            ab.Planner,
            {
                "depth": 0,
                "gains": ("state",),
                "model_gain": "exact",
                "gamma": 1.0,
                "alpha": 512.0,
                "habit": "first",
                "policy_cutoff": 0.1,
                "state_cutoff": 0.1,
                "max_states": 4,
                "penalty": 1.0,
                "novelty_cutoff": 1.0,
                "modalities": "together",
                "search": "outcomes",
                "backup": "posterior",
                "discount": 1.0,
                "max_nodes": 10,
                "sampling": "policy",
                "extra_step": False,
            },
            depth=whole(0),
            gains=words(),
            model_gain=word(),
            gamma=number(above=0.0, finite=False),
            alpha=number(above=0.0, optional=True, finite=False),
            habit=word(),
            policy_cutoff=number(least=0.0),
            state_cutoff=number(least=0.0),
            max_states=whole(1),
            penalty=number(least=0.0, finite=False),
            novelty_cutoff=number(least=0.0, finite=False),
            modalities=word(),
            search=word(),
            backup=word(),
            discount=number(least=0.0, most=1.0),
            max_nodes=whole(1),
            sampling=word(),
            extra_step=flag(),
        ),
        call(
            "Reasoning",
            ab.Reasoning,
            {"max_size": 10, "lookahead": 0, "outcome_cutoff": 0.0, "discount": 0.9, "evidence": "joint", "counts": "own"},
            max_size=whole(1),
            lookahead=whole(0),
            outcome_cutoff=number(least=0.0),
            discount=number(least=0.0, most=1.0),
            evidence=word(),
            counts=word(),
        ),
        call(
            "PathSettings",
            ab.PathSettings,
            {
                "policies": "ahead",
                "messages": "marginal",
                "iterations": 4,
                "tau": 1.0,
                "erp": 4.0,
                "stall": None,
                "zeta": np.inf,
                "beta": None,
                "eta": 1.0,
                "quirks": False,
            },
            policies=word(),
            messages=word(),
            iterations=whole(1),
            tau=number(above=0.0),
            erp=number(above=0.0),
            stall=number(least=0.0, optional=True),
            zeta=number(above=0.0, finite=False),
            beta=number(above=0.0, optional=True),
            eta=number(least=0.0),
            quirks=flag(),
        ),
    ]


@cache
def _under() -> ab.Agent:
    space = ab.HypothesisSpace.from_models({"one": model(), "two": model().with_(D=[[1.0, 0.0]])})
    return ab.Agent(model(), space, trial_length=3)


def of_evidence() -> list[Example]:
    both = {"posterior": COUNTS + 1, "prior": COUNTS}
    pair = {"posterior": numbers(least=0), "prior": numbers(least=0)}
    batch = {n: v[None] for n, v in both.items()}
    listed = ab.Alternatives(space(), check_support=False)
    reduced = np.array([ONES, 2 * ONES])
    held = {n: numbers(least=0, fixed=False) for n in ("counts", "p", "q")}
    return [
        call(
            "bayesian_model_average",
            reduction.bayesian_model_average,
            {"space": space(), "modality": 0, "weights": [0.5, 0.5], "concentration": 1.0},
            space=thing(),
            modality=whole(0, 0, words=True, names=("table",)),
            weights=numbers(least=0, optional=True),
            concentration=number(above=0.0),
        ),
        call(
            "log_evidence_ratio",
            reduction.log_evidence_ratio,
            {**both, "reduced_prior": ONES, "offset": 0.0},
            **pair,
            reduced_prior=numbers(least=0, fixed=False),
            offset=number(least=0.0),
        ),
        call(
            "reduced_posterior",
            reduction.reduced_posterior,
            {**both, "reduced_prior": ONES},
            **pair,
            reduced_prior=numbers(least=0, fixed=False),
        ),
        call(
            "model_posterior",
            reduction.model_posterior,
            {**both, "reduced_priors": reduced, "log_prior_odds": [0.0, 0.0], "offset": 0.0},
            **pair,
            reduced_priors=numbers(least=0, names=("reduced_prior", "log_prior_odds")),
            log_prior_odds=numbers(optional=True, finite=False, scalar=True),
            offset=number(least=0.0),
        ),
        call("log_odds", reduction.log_odds, {"probabilities": [0.2, 0.8]}, probabilities=numbers(least=0, fixed=False)),
        call(
            "log_odds_of_scores",
            reduction.log_odds_of_scores,
            {"log_scores": [0.0, 1.0]},
            log_scores=numbers(finite=False, fixed=False),
        ),
        call(
            "softmax",
            reduction.softmax,
            {"x": np.array([0.0, 1.0]), "axis": -1},
            x=numbers(finite=False, fixed=False),
            axis=whole(None),
        ),
        *(
            call(f"dirichlet.{f}", getattr(dirichlet, f), {"counts": COUNTS}, counts=held["counts"])
            for f in ("expected_mutual_information", "expected_log", "information_gain", "log_beta", "mean")
        ),
        *(
            call(
                f"dirichlet.{f}",
                getattr(dirichlet, f),
                {"counts": COUNTS, "outcome_preferences": [0.5, 0.5], "state_preferences": [0.5, 0.5]},
                counts=numbers(least=0, fixed=False, names=("outcome_preferences",)),
                outcome_preferences=numbers(least=0, optional=True),
                state_preferences=numbers(least=0, optional=True),
            )
            for f in ("mutual_information", "mutual_information_gradient")
        ),
        call("dirichlet.as_counts", dirichlet.as_counts, {"value": COUNTS, "name": "value"}, value=held["counts"]),
        call(
            "dirichlet.kl_categorical", dirichlet.kl_categorical, {"p": SEEN, "q": SEEN}, p=numbers(least=0), q=numbers(least=0)
        ),
        call(
            "dirichlet.kl_divergence",
            dirichlet.kl_divergence,
            {"q": COUNTS, "p": COUNTS, "floor": 0.1},
            p=numbers(least=0),
            q=numbers(least=0),
            floor=number(least=0.0),
        ),
        call("dirichlet.neg_entropy", dirichlet.neg_entropy, {"p": SEEN}, p=held["p"]),
        call("dirichlet.safe_log", dirichlet.safe_log, {"p": SEEN}, p=held["p"]),
        call(
            "Alternatives",
            ab.Alternatives,
            {"space": space(), "modality": 0, "threshold": 3.0, "offset": 0.03, "adopt": "reduced", "check_support": True},
            space=thing(),
            modality=whole(0, 0, optional=True, words=True, names=("table",)),
            threshold=number(finite=False),
            offset=number(least=0.0),
            adopt=word(),
            check_support=flag(),
        ),
        *(call(f"Alternatives.{f}", getattr(listed, f), batch, **pair) for f in ("ratios", "reduce")),
        call("Alternatives.adopted", listed.adopted, {"model": 0, **batch}, model=whole(0, 1), **pair),
        call(
            "InformativeMappings",
            ab.InformativeMappings,
            {
                "method": "information",
                "at": "posterior",
                "combine": "reduce",
                "threshold": 0.5,
                "preferences": None,
                "contract": (),
                "rate": 1.0,
                "cutoff": 3.0,
                "offset": 0.03,
            },
            method=word(),
            at=word(),
            combine=word(),
            threshold=number(finite=False),
            rate=number(above=0.0),
            cutoff=number(finite=False),
            offset=number(least=0.0),
            contract=thing(optional=True),
        ),
        *(
            call(
                f"InformativeMappings.{f}",
                getattr(ab.InformativeMappings(), f),
                both,
                posterior=numbers(least=0, more=True),
                prior=numbers(least=0),
            )
            for f in ("candidate", "reduce")
        ),
        call(
            "SingleParameters",
            ab.SingleParameters,
            {"search": "exact", "rate": "learn", "threshold": 3.0, "log_odds": 0.0, "adopt": "average", "remainder": 0.0},
            search=word(),
            threshold=number(finite=False),
            log_odds=number(finite=False),
            adopt=word(),
            remainder=number(least=0.0),
            rate=number(least=0.0, most=1.0),
        ),
        *(
            call(
                f"SingleParameters.{f}",
                getattr(ab.SingleParameters(), f),
                both,
                posterior=numbers(least=0, more=True),
                prior=numbers(least=0),
            )
            for f in ("evidence", "reduce")
        ),
    ]


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
            {"env": _env(), "model": model(), "seed": 0, "chance": False},
            env=thing(),
            model=thing(others=(wide(),), names=("env",)),
            seed=whole(0, optional=True),
            chance=flag(),
        ),
        call(
            "GymnasiumWorld",
            gym_world.GymnasiumWorld,
            {"env": _env, "model": model(), "vector": False},
            env=callable_thing(),
            model=thing(),
            vector=flag(),
        ),
        call("GymnasiumWorld.sizes", gym_world.GymnasiumWorld.sizes, {"env": _env()}, env=thing(names=("space",))),
        call(
            "GymnasiumWorld.paradigm",
            gym_world.GymnasiumWorld(_env, model()).paradigm,
            {"agent": ab.Agent(model()), "trial_length": 3, "name": None, "scheme": "a"},
            agent=thing(),
            trial_length=whole(1),
            name=text(optional=True),
            scheme=text(),
        ),
        call(
            "ParadigmEnv",
            gym_world.ParadigmEnv,
            {"paradigm": "bandit", "scheme": None, "true_rule": None, "render_mode": None},
            paradigm=word(),
            scheme=word(optional=True),
            render_mode=word(optional=True),
        ),
        call(
            "ParadigmEnv.reset",
            gym_world.ParadigmEnv("three-ball").reset,
            {"seed": 0, "options": None},
            seed=whole(0, optional=True),
            options=thing(optional=True),
        ),
        call(
            "to_pymdp", pymdp_world.to_pymdp, {"model": model(), "planner": None}, model=thing(), planner=thing(optional=True)
        ),
        call(
            "from_pymdp",
            pymdp_world.from_pymdp,
            {"agent": _theirs(), "which": None},
            agent=thing(),
            which=whole(0, 0, optional=True),
        ),
        call(
            "agent_from_pymdp",
            pymdp_world.agent_from_pymdp,
            {"agent": _theirs(), "which": None},
            agent=thing(),
            which=whole(0, 0, optional=True),
        ),
        call("planner_from_pymdp", pymdp_world.planner_from_pymdp, {"agent": _theirs()}, agent=thing()),
        call(
            "policy_search",
            pymdp_world.policy_search,
            {"model": model(), "hypotheses": space(), "offset": 0.03, "model_gain": "exact"},
            model=thing(),
            hypotheses=thing(),
            offset=number(least=0.0),
            model_gain=word(),
        ),
    ]


def _env(*_: Any, **__: Any) -> Any:
    import gymnasium

    class Light(gymnasium.Env):
        observation_space, action_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Discrete(2)

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return 0, {}

        def step(self, action: Any) -> Any:
            return 1, 0.0, False, False, {}

    return Light()


@cache
def _theirs() -> Any:
    return pymdp_world.to_pymdp(model())


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


def of_plots() -> list[Example]:
    r, traced, ax = several(), result(), {"ax": thing(optional=True)}
    who = {"scheme": whole(0, 1, words=True), "agent": whole(0, 1)}
    first = {"scheme": 0, "agent": 0}
    moment = {"trial": whole(0, 1), "scheme": whole(0, 0, words=True), "agent": whole(0, 1), **ax}
    now = {"source": traced, "trial": 0, **first}
    source, m, measure = {"source": thing()}, {"model": thing(others=(wide(),))}, word(names=("result", "measure"))
    held = {"result": thing()}
    n = responses()
    of_factor = {"factor": whole(0, 0, words=True), "responses": thing(), **ax}
    balls = {"source": traced, "model": ball(), "trial": 0, **first}
    panels = {n: getattr(plots, n) for n in ("events", "gains", "values")}
    return [
        call(
            "plots.beliefs",
            plots.beliefs,
            {**balls, "factor": 0, "bar": False},
            **source,
            **m,
            **moment,
            factor=whole(0, 4, words=True),
            bar=flag(),
        ),
        *(call(f"plots.{n}", getattr(plots, n), now, **source, **moment) for n in ("confidence", "doubt")),
        *(
            call(f"plots.{n}", f, balls, **source, **moment, model=thing(optional=True, others=(wide(),)))
            for n, f in panels.items()
        ),
        call(
            "plots.gains",
            plots.gains,
            {**balls, "parts": None, "numbers": False, "legend": True},
            parts=words(optional=True),
            numbers=flag(),
            legend=flag(),
        ),
        call(
            "plots.values",
            plots.values,
            {**balls, "parts": None, "relative": True, "numbers": False, "legend": True},
            parts=words(optional=True),
            numbers=flag(),
            legend=flag(),
            relative=flag(),
        ),
        call("plots.outcomes", plots.outcomes, balls, **source, **m, **moment),
        call(
            "plots.policies",
            plots.policies,
            {**balls, "numbers": False, "bar": False},
            **source,
            **m,
            **moment,
            numbers=flag(),
            bar=flag(),
        ),
        call(
            "plots.value_handles",
            plots.value_handles,
            now,
            **source,
            trial=moment["trial"],
            agent=moment["agent"],
            scheme=moment["scheme"],
        ),
        call("plots.record", plots.record, {"source": traced, **first}, **source, scheme=moment["scheme"], agent=who["agent"]),
        call(
            "plots.relive",
            plots.relive,
            {"result": traced, **first, "trial": 0},
            **held,
            scheme=moment["scheme"],
            agent=who["agent"],
            trial=moment["trial"],
        ),
        call(
            "plots.paradigm_of",
            plots.paradigm_of,
            {"result": traced, "scheme": 0},
            **held,
            scheme=moment["scheme"],
            module=thing(optional=True),
        ),
        call(
            "plots.trial",
            plots.trial,
            {**now, "model": None, "panels": ["events"]},
            **source,
            trial=moment["trial"],
            scheme=moment["scheme"],
            agent=moment["agent"],
            model=thing(optional=True, others=(wide(),)),
            panels=words(optional=True),
        ),
        call("plots.colour", plots.colour, {"index": 0}, index=whole(0)),
        call(
            "plots.curves",
            plots.curves,
            {"result": r, "measure": "free_energy", "schemes": None},
            **held,
            **ax,
            measure=measure,
            schemes=words(optional=True, names=("scheme",)),
        ),
        call(
            "plots.histogram",
            plots.histogram,
            {"result": r, "measure": "score", "schemes": None, "bins": 4},
            **held,
            **ax,
            measure=measure,
            schemes=words(optional=True, names=("scheme",)),
            bins=whole(1),
        ),
        call(
            "plots.insight",
            plots.insight,
            {"result": r, "scheme": 0, "bar": True, "legend": True},
            **held,
            **ax,
            scheme=who["scheme"],
            bar=flag(),
            legend=flag(),
        ),
        call(
            "plots.likelihood",
            plots.likelihood,
            {"A": SEEN, "model": model(), "modality": 0, "outcome": 0, "rows": None, "columns": None, "bar": False},
            A=numbers(least=0),
            model=thing(),
            modality=whole(0, 0, words=True),
            outcome=whole(0, 1, words=True),
            rows=words(optional=True),
            columns=words(optional=True),
            bar=flag(),
            **ax,
        ),
        call(
            "plots.log_odds",
            plots.log_odds,
            {"result": r, **first, "threshold": 3.0},
            **held,
            **who,
            **ax,
            threshold=number(optional=True, finite=False),
        ),
        call(
            "plots.model_posterior", plots.model_posterior, {"result": r, **first, "bar": True}, **held, **who, **ax, bar=flag()
        ),
        call(
            "plots.paired_scatter",
            plots.paired_scatter,
            {"result": r, "measure": "score", "scheme_a": 0, "scheme_b": 1},
            **held,
            **ax,
            measure=measure,
            scheme_a=whole(0, 1, words=True, names=("scheme",)),
            scheme_b=whole(0, 1, words=True, names=("scheme",)),
        ),
        call(
            "plots.series", plots.series, {"result": r, "measure": "confidence", **first}, **held, **who, **ax, measure=measure
        ),
        call(
            "plots.trajectories",
            plots.trajectories,
            {"result": r, "measure": "net_wins", "scheme": 0, "cumulative": False, "highlight": [True, False]},
            **held,
            **ax,
            measure=measure,
            scheme=who["scheme"],
            cumulative=flag(),
            highlight=thing(optional=True),
        ),
        call("plots.wins_and_losses", plots.wins_and_losses, {"result": r, **first}, **held, **who, **ax),
        call("plots.dopamine", plots.dopamine, {"responses": n}, responses=thing(), **ax),
        call("plots.firing_rates", plots.firing_rates, {"responses": n, "factor": 0, "bar": False}, **of_factor, bar=flag()),
        call(
            "plots.local_field_potentials",
            plots.local_field_potentials,
            {"responses": n, "factor": 0, "colours": None},
            **of_factor,
            colours=words(optional=True),
        ),
        call(
            "plots.policy_rates",
            plots.policy_rates,
            {"responses": n, "names": None},
            responses=thing(),
            **ax,
            names=words(optional=True, any_text=True),
        ),
        call("plots.policy_names", plots.policy_names, {"model": model()}, model=thing()),
        call("plots.style", plots.style, {"kind": "print"}, kind=word()),
        call(
            "plots.output",
            plots.output,
            {"form": "png", "dpi": 100.0},
            form=word(optional=True),
            dpi=number(above=0.0, optional=True),
        ),
        call("plots.title", plots.title, {"ax": plots.curves(r), "text": "a"}, ax=thing(), text=text()),
        call(
            "plots.wrap",
            plots.wrap,
            {"text": "a b", "points": 100.0, "size": 9.0, "weight": "normal"},
            text=text(),
            points=number(above=0.0),
            size=number(above=0.0),
        ),
        call(
            "plots.Page",
            plots.Page,
            {"height": 1.0, "head": "a", "below": "b"},
            height=number(above=0.0),
            head=text(),
            below=text(),
        ),
        call(
            "plots.save",
            plots.save,
            {"figure": plots.curves(r), "path": folder() / "a.png", "dpi": 50.0},
            figure=thing(),
            path=place(reads=False),
            dpi=number(above=0.0, optional=True),
        ),
        call("plots.general_figures", plots.general_figures, {"result": r, "folder": folder()}, result=thing()),
    ]


def of_others() -> list[Example]:
    return []
