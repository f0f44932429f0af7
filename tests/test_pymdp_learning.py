"""Counts of A and B learned as pymdp 1.0.4 learns them, online and offline, and what moves are worth knowing about.

Most tests hold the library to numbers recorded from pymdp (tests/data/pymdp); the rest run it. pymdp adds evidence to counts of
zero (its issue 453): where learned tables hold zeros both are compared without them.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import DATA
from numpy.testing import assert_allclose, assert_array_equal
from test_pymdp_parity import CLOSE, constant, planner_of, x64  # noqa: F401 (a fixture)

from activebmr import POMDP, Agent, HypothesisSpace, Learning, Planner
from activebmr.interop.pymdp import agent_from_pymdp, from_pymdp, policy_search, to_pymdp

# outcomes are drawn at random, whatever a model holds possible
pytestmark = pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")

N_MODELS = 20
SEPARATE = {"modalities": "separate", "habit": "always", "novelty_cutoff": np.inf}


@cache
def recorded() -> list[dict[str, Any]]:
    with np.load(DATA / "pymdp" / "learning.npz", allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        cases: list[dict[str, Any]] = [dict(m) for m in about["models"]]
        assert len(cases) == N_MODELS and about["versions"]["inferactively-pymdp"] == "1.0.4"
        for key in file.files:
            if key != "about":
                i, name, *at = key.split("/")
                if at:
                    cases[int(i)].setdefault(name, {})[int(at[0])] = file[key]
                else:
                    cases[int(i)][name] = file[key]
    for case in cases:
        case.update({k: [v[j] for j in range(len(v))] for k, v in case.items() if isinstance(v, dict)})
    return cases


def script(name: str) -> ModuleType:
    """A script beside the recorded numbers, which may import its neighbours."""
    folder = str(DATA / "pymdp")
    spec = importlib.util.spec_from_file_location(name, f"{folder}/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


def model_of(case: dict[str, Any]) -> POMDP:
    """The recorded model: of a table that is known there are no counts, of one that is learned there are nothing but counts."""
    held = {}
    for kind, known in (("A", case["known"]), ("B", case["known_B"])):
        held[f"p{kind}"] = [None if k else n for k, n in zip(known, case[f"p{kind}"], strict=True)]
        held[kind] = [x if k else None for k, x in zip(known, case[kind], strict=True)]
    return POMDP(**held, **{k: case[k] for k in ("C", "D", "E", "A_dependencies", "B_dependencies", "policies")})


def check_against(case: dict[str, Any], numbers: dict[str, Any], mode: str, others: int = 1) -> None:
    """Our agent, beside others that see other things, against a trial of pymdp's and the first step of the next."""
    model = model_of(case)
    learning = Learning(rate={} if case["learn_A"] else {"pA": 0.0}, at_end=mode == "offline")
    if not model.learned_modalities:
        learning = Learning(at_end=mode == "offline")
    agent = Agent(model, planner=planner_of(case), inference="mean-field", learning=learning)
    state, rng = agent.init(1 + others), np.random.default_rng(0)

    def seen(outcome: Any) -> Any:
        return np.stack([*([rng.integers(n) for n in model.num_outcomes] for _ in range(others)), outcome])

    def counts_are(kind: str, theirs: Any) -> None:
        for i, known in enumerate(case["known" if kind == "A" else "known_B"]):
            if not known:
                assert_allclose(agent.posterior_counts(state, f"p{kind}[{i}]")[-1], theirs[i], **CLOSE)

    for t, (outcome, action) in enumerate(zip(case["outcomes"], case["actions"], strict=True)):
        others_do = [[rng.integers(n) for n in model.num_controls] for _ in range(others)]
        state, info = agent.step(state, seen(outcome), action=np.stack([*others_do, action]))
        for f, q in enumerate(info.qs):
            assert_allclose(q[-1], numbers[f"{mode}_qs"][f][t], **CLOSE)
        assert_allclose(info.free_energy[-1], numbers[f"{mode}_vfe"][t], **CLOSE)
        assert_allclose(info.param_info_gain[-1], numbers[f"{mode}_param_info_gain"][t], **CLOSE)
        assert_allclose(info.neg_efe[-1], numbers[f"{mode}_neg_efe"][t] - constant(model), **CLOSE)
        assert_allclose(info.q_pi[-1], numbers[f"{mode}_q_pi"][t], **CLOSE)
        if mode == "online":
            counts_are("B", [along[t] for along in numbers["pB_along"]])
    state, _ = agent.end_trial(state)
    for kind in "AB":
        counts_are(kind, numbers[f"{mode}_p{kind}"])
    _, info = agent.step(state, seen(case["outcomes"][0]), rng)
    assert_allclose(info.neg_efe[-1], numbers[f"{mode}_next_neg_efe"] - constant(model), **CLOSE)


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("i", range(N_MODELS))
def test_counts_beliefs_and_values_are_pymdps(i: int, mode: str) -> None:
    case = recorded()[i]
    check_against(case, case, mode)


@pytest.mark.slow
@pytest.mark.parametrize("i", range(N_MODELS))
def test_recorded_learning_is_what_pymdp_computes(x64: Any, i: int) -> None:  # noqa: F811
    made = script("make_learning")
    model = made.learning_model(i)
    numbers = made.record(model)
    for name, value in numbers.items():
        for mine, theirs in zip(value, recorded()[i][name], strict=True):
            assert_allclose(mine, theirs, **CLOSE)
    for mode in ("online", "offline"):
        check_against(recorded()[i], numbers, mode)


# --- there and back ------------------------------------------------------------------------------------------------------
def door(**changes: Any) -> POMDP:
    """A place, learned to move in, and a door that is known to stay, beside it; a likelihood is learned as well."""
    rng = np.random.default_rng(2)
    held: dict[str, Any] = {
        "A": [None, np.array([[0.9, 0.2], [0.1, 0.8]])],
        "pA": [rng.gamma(2.0, size=(3, 3, 2)), None],
        "B": [None, np.eye(2)[:, :, None]],
        "pB": [rng.gamma(2.0, size=(3, 3, 2, 2)), None],
        "C": [[0.0, 1.0, 2.0], None],
        "A_dependencies": [[0, 1], [1]],
        "B_dependencies": [[0, 1], [1]],
    }
    return POMDP(**(held | changes))


def test_models_that_learn_transitions_come_back_bit_for_bit(x64: Any) -> None:  # noqa: F811
    for model in (
        door(),
        door(A=[np.full((3, 3, 2), 1 / 3), door().A[1]], pA=None),
        door(B=[door().B[0], door().B[1]], pB=None),
    ):
        agent = to_pymdp(model, Planner(**SEPARATE))
        assert (agent.learn_A, agent.learn_B) == (model.pA[0] is not None, model.pB[0] is not None)
        back = from_pymdp(agent)
        assert back.learned == model.learned
        for kind in ("A", "B", "pA", "pB"):
            for x, y in zip(getattr(back, kind), getattr(model, kind), strict=True):
                assert (x is None) == (y is None) and (x is None or np.array_equal(x, y))
        assert agent_from_pymdp(agent).learning == Learning()


def test_what_of_a_pymdp_agent_learns_learns_here(x64: Any) -> None:  # noqa: F811
    model = door()
    for learns, mode, learning in (
        ((True, True), "online", Learning()),
        ((True, False), "online", Learning(rate={"pA": 1.0, "pB": 0.0})),
        ((False, True), "offline", Learning(rate={"pA": 0.0, "pB": 1.0}, at_end=True)),
        ((False, False), "offline", Learning(rate=0.0)),
    ):
        agent = to_pymdp(model, Planner(**SEPARATE), learn_A=learns[0], learn_B=learns[1], learning_mode=mode)
        assert agent_from_pymdp(agent).learning == learning
        lost = [f"learn_{k}=False" for k, yes in zip("AB", learns, strict=True) if not yes]
        lost += ["learning_mode='offline'"] if mode == "offline" and any(learns) else []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            from_pymdp(agent)
        said = " ".join(str(w.message) for w in caught if "no part of its model" in str(w.message))
        assert [name for name in ("learn_A=False", "learn_B=False", "learning_mode='offline'") if name in said] == lost


def test_known_transitions_are_known_again_after_pymdp_has_learned(x64: Any) -> None:  # noqa: F811
    import jax.numpy as jnp

    model = door()
    agent = to_pymdp(model, Planner(**SEPARATE))
    qs = [jnp.full((1, 2, n), 1 / n) for n in model.num_states]
    learned = agent.infer_parameters(qs, [jnp.array([[0, 1]]), jnp.array([[1, 1]])], jnp.array([[[1, 0]]]), beliefs_B=qs)
    back = from_pymdp(learned)
    assert back.learned == model.learned
    assert_array_equal(back.B[1], model.B[1])
    assert_allclose(back.pB[0] - model.pB[0], np.broadcast_to([0.0, 1 / 18], (3, 3, 2, 2)), rtol=0, atol=1e-12)


def test_what_pymdp_cannot_learn(x64: Any) -> None:  # noqa: F811
    with pytest.raises(ValueError, match=r"pD\[1\] of the model must be None: pymdp's agents do not learn D"):
        to_pymdp(door(pD=[None, [1.0, 2.0]]))
    with pytest.raises(ValueError, match=r"pE\[0\] of the model must be None: pymdp's agents do not learn E"):
        to_pymdp(door(pE=[[1.0, 2.0], None]))
    with pytest.raises(ValueError, match=r"B_dependencies\[0\] of the model must hold 0 itself if pB\[0\] is learned"):
        to_pymdp(door(pB=[np.ones((3, 2, 2)), None], B_dependencies=[[1], [1]]))
    with pytest.raises(ValueError, match="agent_options must not hold what the model says; got pB"):
        to_pymdp(door(), pB=None)


def test_a_gain_about_models_needs_known_transitions(x64: Any) -> None:  # noqa: F811
    model = door()
    space = HypothesisSpace({n: {0: model.pA[0] + k} for k, n in enumerate(("as it is", "more"))})
    search = policy_search(model, space)
    with pytest.raises(ValueError, match="learn_B of the pymdp agent must be False for a gain about models"):
        search(to_pymdp(model, Planner(**SEPARATE)), [d[:, None] for d in to_pymdp(model).D], None)


def test_difference_moves_that_cannot_be_get_counts_in_pymdp(x64: Any) -> None:  # noqa: F811
    """Its issue 453: products of marginals give shares to moves with a count of zero, and it adds them; else counts agree."""
    import jax.numpy as jnp

    stay, turn = np.array([[4.0, 0.0], [1.0, 2.0]]), np.array([[1.0, 3.0], [2.0, 0.0]])
    model = POMDP(A=[[[0.8, 0.3], [0.2, 0.7]]], B=[None], pB=[np.stack([stay, turn], axis=2)])
    theirs = to_pymdp(model, Planner(**SEPARATE))
    ours = Agent(model, planner=Planner(**SEPARATE), inference="mean-field")
    state, qs = ours.init(), []
    for o, u in ((0, 0), (1, 1)):
        state, info = ours.step(state, [o], action=[u])
        qs.append(info.qs[0])
    both = [jnp.asarray(np.stack(qs)[None])]
    learned = theirs.infer_parameters(both, [jnp.array([[0, 1]])], jnp.array([[[0]]]), beliefs_B=both)
    grown, zero = np.asarray(learned.pB[0][0]), model.pB[0] == 0
    mine = ours.posterior_counts(state, "pB[0]")[0]
    assert_allclose(mine[~zero], grown[~zero], **CLOSE)
    assert (mine[zero] == 0).all() and grown[zero].max() > 0.05


# --- pymdp's tutorials ---------------------------------------------------------------------------------------------------
@cache
def tutorials() -> tuple[ModuleType, dict[str, dict[str, Any]]]:
    """The script that records them, and what it has recorded of each task."""
    made = script("make_tutorials")
    with np.load(DATA / "pymdp" / "tutorials.npz", allow_pickle=False) as file:
        names = json.loads(str(file["about"]))["tasks"]
        assert names == list(made.TASKS)
        out: dict[str, dict[str, Any]] = {name: {} for name in names}
        for key in sorted(k for k in file.files if k != "about"):
            i, name, *at = key.split("/")
            held = out[names[int(i)]]
            if at:
                held.setdefault(name, []).append(file[key])
            else:
                held[name] = file[key]
    return made, out


def model_of_task(task: dict[str, Any]) -> POMDP:
    world, counts = task["world"], task["counts"]
    return POMDP(
        **{k: [None] * len(world[k]) if k in counts else world[k] for k in "AB"},
        **{f"p{k}": lists for k, lists in counts.items()},
        **{k: task[k] for k in "CD"},
        policy_length=task["length"],
        **{k: task[k] for k in ("A_dependencies", "B_dependencies")},
    )


def relive(agent: Agent, said: dict[str, Any], values: bool = True) -> None:
    """Our agents along what pymdp's saw and did: the same beliefs, values and counts, block by block."""
    n_blocks, n_agents, n_steps = said["action"].shape[:3]
    state = agent.init(n_agents)
    for block in range(n_blocks):
        for t in range(n_steps):
            state, info = agent.step(state, said["outcomes"][block, :, t], action=said["action"][block, :, t])
            if not values:
                continue
            for f, q in enumerate(info.qs):
                assert_allclose(q, said["qs"][f][block, :, t], **CLOSE)
            assert_allclose(info.neg_efe, said["neg_efe"][block, :, t] - constant(agent.model), **CLOSE)
            assert_allclose(info.q_pi, said["qpi"][block, :, t], **CLOSE)
        state, _ = agent.end_trial(state)
        for table in agent.model.learned:
            mine = agent.posterior_counts(state, f"p{table}")
            assert_allclose(mine, said[f"p{table.kind}"][int(table.index)][block], **CLOSE)
            assert np.abs(mine - agent.prior_counts(state, f"p{table}")).max() > 0.1


LIVED = [
    "moves",
    "moves, online",
    "places",
    "places and moves",
    "places and moves, online",
    "interacting",
    "interacting, online",
]


@pytest.mark.parametrize("name", LIVED)
def test_tutorials_give_the_counts_that_they_give_in_pymdp(name: str) -> None:
    made, said = tutorials()
    task, settings = made.TASKS[name]
    planner = Planner(gains=("state", "param"), **SEPARATE)
    learning = Learning(at_end=settings["learning_mode"] == "offline")
    rounds = settings.get("num_iter", 1)
    relive(Agent(model_of_task(task), planner=planner, inference="mean-field", rounds=rounds, learning=learning), said[name])


@pytest.mark.parametrize("name", ["moves", "places", "places, start unknown"])
def test_tutorials_whose_beliefs_are_smoothed_give_the_counts_of_exact_beliefs(name: str) -> None:
    made, said = tutorials()
    planner = Planner(gains=("state",), **SEPARATE)
    agent = Agent(model_of_task(made.TASKS[name][0]), planner=planner, inference="exact", learning=Learning(smooth=True))
    relive(agent, said[name], values=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:jax.nn.one_hot input should be integer-typed")  # pymdp's worlds give outcomes as floats
@pytest.mark.parametrize("name", ["moves, online", "places, start unknown", "interacting"])
def test_recorded_tutorials_are_what_pymdp_computes(x64: Any, name: str) -> None:  # noqa: F811
    made, said = tutorials()
    for key, value in made.record(*made.TASKS[name]).items():
        for mine, theirs in zip(value, said[name][key], strict=True):
            assert_allclose(mine, theirs, **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["moves, online", "interacting"])
def test_whole_agents_of_the_tutorials_are_taken_over(x64: Any, name: str) -> None:  # noqa: F811
    made, said = tutorials()
    relive(agent_from_pymdp(made.agent_of(*made.TASKS[name]), 0), said[name])
