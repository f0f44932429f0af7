"""Valid calls of agents and their settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from fuzzing_kinds import Example, flag, indices, number, seed, thing, whole, word, words
from fuzzing_parts import ONES, agent, call, dreamer, model, of_state, plain, space, under

import activebmr as ab


def ways() -> list[Callable[[], ab.Agent]]:
    """Agents of each way of believing."""
    names = ("exact", "factorised", "sequential", "mean-field", "paths", "spm")
    return [partial(ab.Agent, model(), inference=name, trial_length=3) for name in names]


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
        of_state("beliefs_under", {"hypothesis": 0}, lambda: under(), hypothesis=whole(0, 1, words=True)),
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
            max_size=whole(0),
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
        *(
            of_state(
                "step",
                {"observation": two, "rng": 0},
                who,
                observation=indices(-1, 1, missing=True),
                rng=seed(),
            )
            for who in ways()
        ),
    ]
