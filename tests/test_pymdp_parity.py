"""The same numbers as pymdp 1.0.4 where both mean the same, and what differs where they do not.

pymdp is slow to compile, so most tests hold the library to numbers recorded from it (tests/data/pymdp); the rest run it.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import DATA
from numpy.testing import assert_allclose
from scipy.special import logsumexp

from activebmr import POMDP, Agent, Planner
from activebmr.agent.agent import StepInfo
from activebmr.dirichlet import information_gain
from activebmr.interop.pymdp import from_pymdp, planner_from_pymdp, to_pymdp

# outcomes are drawn at random, whatever a model holds possible
pytestmark = pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")

N_MODELS = 20
CLOSE = {"rtol": 0.0, "atol": 1e-9}


@pytest.fixture
def x64() -> Iterator[Any]:
    """jax in float64, for one test only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pymdp and jax import is not ours
        import jax
        from pymdp.agent import Agent as _  # noqa: F401
    older = not hasattr(jax, "enable_x64")
    with (importlib.import_module("jax.experimental") if older else jax).enable_x64(True):
        yield jax


@cache
def golden() -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The recorded models with what pymdp made of them, and the versions of the programs."""
    with np.load(DATA / "pymdp" / "golden.npz", allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        cases: list[dict[str, Any]] = [dict(m) for m in about["models"]]
        for key in file.files:
            if key == "about":
                continue
            i, name, *at = key.split("/")
            if at:
                cases[int(i)].setdefault(name, {})[int(at[0])] = file[key]
            else:
                cases[int(i)][name] = file[key]
    for case in cases:
        case.update({k: [v[j] for j in range(len(v))] for k, v in case.items() if isinstance(v, dict)})
    return cases, about["versions"]


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_golden", DATA / "pymdp" / "make_golden.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model_of(case: dict[str, Any]) -> POMDP:
    learned = [None if k else x for k, x in zip(case["known"], case["pA"], strict=True)]
    return POMDP(
        A=[a if x is None else None for a, x in zip(case["A"], learned, strict=True)],
        pA=learned,
        **{k: case[k] for k in ("B", "C", "D", "E", "A_dependencies", "B_dependencies", "policies")},
    )


def planner_of(case: dict[str, Any], **changes: Any) -> Planner:
    settings = {"gains": ("state", "param"), "gamma": float(case["gamma"]), "habit": "always", "novelty_cutoff": np.inf}
    settings["modalities"] = "separate"
    return Planner(**(settings | changes))


def constant(model: POMDP) -> float:
    """What normalising preferences takes from the utility of every policy."""
    return float(model.policy_length * sum(logsumexp(c) for c in model.C))


def live(agent: Any, outcomes: Any, actions: Any) -> list[dict[str, Any]]:
    """What a pymdp agent believes, plans and learns along outcomes and actions; compiled, without a batch axis."""
    import equinox
    import jax.numpy as jnp

    @equinox.filter_jit
    def step(agent: Any, outcome: Any, prior: Any, action: Any) -> tuple[Any, Any, Any]:
        qs, info = agent.infer_states(outcome, prior, return_info=True)
        q_pi, neg_efe = agent.infer_policies(qs)
        out = {"qs": [q[0, -1] for q in qs], "vfe": info["vfe"][0], "q_pi": q_pi[0], "neg_efe": neg_efe[0]}
        if agent.learn_A:
            learned = agent.infer_parameters(qs, outcome, None)
            out |= {"pA": [x[0] for x in learned.pA], "A": [x[0] for x in learned.A]}
        else:
            learned = agent
        return out, learned, agent.update_empirical_prior(action, qs)

    steps, prior = [], agent.D
    for outcome, action in zip(outcomes, actions, strict=True):
        out, agent, prior = step(agent, [jnp.array([[o]]) for o in outcome], prior, jnp.asarray(action)[None])
        steps.append({k: [np.asarray(x) for x in v] if isinstance(v, list) else np.asarray(v) for k, v in out.items()})
    return steps


# --- the same ------------------------------------------------------------------------------------------------------------
def check_against(case: dict[str, Any], recorded: dict[str, Any]) -> None:
    """Our agent, beside another one that sees other things, against what pymdp made of one model."""
    model = model_of(case)
    agent = Agent(model, planner=planner_of(case), inference="mean-field")
    state = agent.init(2)
    rng = np.random.default_rng(0)
    for t, (outcome, action) in enumerate(zip(case["outcomes"], case["actions"], strict=True)):
        other = [rng.integers(n) for n in model.num_outcomes]
        state, info = agent.step(state, np.stack([other, outcome]), action=np.stack([np.zeros_like(action), action]))
        for f, q in enumerate(info.qs):
            assert_allclose(q[1], recorded["qs"][f][t], **CLOSE)
        assert_allclose(info.free_energy[1], recorded["vfe"][t], **CLOSE)
        assert_allclose(info.utility[1], recorded["utility"][t] - constant(model), **CLOSE)
        assert_allclose(info.state_info_gain[1], recorded["state_info_gain"][t], **CLOSE)
        assert_allclose(info.param_info_gain[1], recorded["param_info_gain"][t], **CLOSE)
        assert_allclose(info.neg_efe[1], recorded["neg_efe"][t] - constant(model), **CLOSE)
        assert_allclose(info.q_pi[1], recorded["q_pi"][t], **CLOSE)
        for m in model.learned_modalities:
            assert_allclose(state.counts(m)[1], recorded["pA_after"][m][t], **CLOSE)


@pytest.mark.parametrize("i", range(N_MODELS))
def test_beliefs_terms_policies_and_counts_are_pymdps(i: int) -> None:
    case = golden()[0][i]
    check_against(case, case)


@pytest.mark.parametrize("i", range(N_MODELS))
def test_beliefs_after_soft_outcomes_are_pymdps(i: int) -> None:
    case = golden()[0][i]
    agent = Agent(model_of(case), planner=Planner(alpha=None), inference="mean-field")
    _, info = agent.step(agent.init(), [o[None] for o in case["soft"]])
    for q, wanted in zip(info.qs, case["soft_qs"], strict=True):
        assert_allclose(q, wanted, **CLOSE)
    assert_allclose(info.free_energy, case["soft_vfe"], **CLOSE)


def test_recorded_models_cover_what_they_should() -> None:
    cases, versions = golden()
    assert len(cases) == N_MODELS and versions["inferactively-pymdp"] == "1.0.4"
    models = [model_of(c) for c in cases]
    assert {m.num_factors for m in models} == {1, 2, 3, 4} and {m.num_modalities for m in models} == {2, 3}
    assert {m.policy_length for m in models} == {1, 2} and max(len(m.controlled_factors) for m in models) > 1
    assert any(list(d) != sorted(d) for m in models for d in (*m.A_dependencies, *m.B_dependencies))
    assert any(len(d) > 1 for m in models for d in m.B_dependencies)
    assert any((b == 0).any() for m in models for b in m.B) and any(any(c["known"]) for c in cases)
    assert any(np.ptp(m.log_policy_prior) > 0.1 for m in models) and all(abs(c["gamma"] - 1) > 1e-3 for c in cases)


@pytest.mark.parametrize("i", [0, 9])
def test_our_models_behave_in_pymdp_as_they_do_here(x64: Any, i: int) -> None:
    case = golden()[0][i]
    model = model_of(case)
    agent = to_pymdp(model, planner_of(case), alpha=1.0)
    for t, out in enumerate(live(agent, case["outcomes"], case["actions"])):
        for f, q in enumerate(out["qs"]):
            assert q.dtype == np.float64
            assert_allclose(q, case["qs"][f][t], **CLOSE)
        for name in ("vfe", "neg_efe", "q_pi"):
            assert_allclose(out[name], case[name][t], **CLOSE)
        for m in model.learned_modalities:
            assert_allclose(out["pA"][m], case["pA_after"][m][t], **CLOSE)
        for m in set(range(model.num_modalities)) - set(model.learned_modalities):
            assert_allclose(out["A"][m], model.A[m], rtol=1e-12, atol=1e-17)


@pytest.mark.slow
@pytest.mark.parametrize("i", range(N_MODELS))
def test_recorded_numbers_are_what_pymdp_computes(x64: Any, i: int) -> None:
    made = script()
    case, model = golden()[0][i], made.random_model(i)
    for name in ("A", "B", "C", "D", "pA"):
        for mine, theirs in zip(model[name], case[name], strict=True):
            assert_allclose(mine, theirs, rtol=1e-12, atol=0)
    recorded = made.record(model)
    for name in ("vfe", "q_pi", "neg_efe", "utility", "state_info_gain", "param_info_gain"):
        assert_allclose(recorded[name], case[name], **CLOSE)
    check_against(case, recorded)
    # and our model, sent to pymdp
    live_steps = live(to_pymdp(model_of(case), planner_of(case), alpha=1.0), case["outcomes"], case["actions"])
    assert_allclose(np.stack([s["neg_efe"] for s in live_steps]), case["neg_efe"], **CLOSE)


# --- not the same --------------------------------------------------------------------------------------------------------
def lamp(**changes: Any) -> POMDP:
    """A lamp that may be on, off or broken and a button to push; its light is learned, with zeros, its sound is known."""
    leave, push = (0.7 * np.eye(3)[order] + 0.1 for order in ([0, 1, 2], [1, 0, 2]))
    held = {
        "A": [None, [[0.9, 0.5, 0.1], [0.1, 0.5, 0.9]]],
        "pA": [[[2.0, 0.5, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 1.0]], None],
        "B": [np.stack([leave, push], axis=2)],
        "C": [[1.0, 0.0, -2.0], None],
        "D": [[0.5, 0.3, 0.2]],
    }
    return POMDP(**(held | changes))


def both(model: POMDP, outcomes: list[list[int]], **changes: Any) -> tuple[list[dict[str, Any]], list[StepInfo], Any]:
    """pymdp and the library along the same outcomes, doing nothing; and our last state."""
    planner = planner_of({"gamma": 1.0})
    actions = np.zeros((len(outcomes), model.num_factors), dtype=int)
    theirs = live(to_pymdp(model, planner), outcomes, actions)
    agent = Agent(model, planner=planner_of({"gamma": 1.0}, **changes), inference="mean-field")
    state, infos = agent.init(), []
    for outcome, action in zip(outcomes, actions, strict=True):
        state, info = agent.step(state, np.array(outcome), action=action)
        infos.append(info)
    return theirs, infos, state


def test_difference_structural_zeros_start_to_grow_in_pymdp(x64: Any) -> None:
    model = lamp()
    theirs, ours, state = both(model, [[0, 0], [1, 0]])
    # until something is learned the two agree, zeros or not
    assert_allclose(ours[0].qs[0], theirs[0]["qs"][0], **CLOSE)
    assert_allclose(ours[0].neg_efe, theirs[0]["neg_efe"] - constant(model), **CLOSE)
    # what was impossible in a state leaves it the floor's share of the belief, and pymdp's count a trace
    zero = model.pA[0] == 0
    assert (state.counts(0)[0][zero] == 0).all()
    grown = theirs[0]["pA"][0][zero]
    assert grown.max() > 0 and grown.max() < 1e-14
    assert_allclose(theirs[0]["pA"][0], np.where(zero, 0.0, theirs[0]["pA"][0]), atol=1e-14, rtol=0)
    # that trace promises pymdp nats of novelty, while everything else stays the same
    assert information_gain(theirs[0]["pA"][0])[zero].max() > 30
    assert_allclose(ours[1].qs[0], theirs[1]["qs"][0], **CLOSE)
    extra = theirs[1]["neg_efe"] - constant(model) - ours[1].neg_efe
    assert extra.max() > 1.0


def test_known_likelihoods_with_zeros_stay_known_in_pymdp(x64: Any) -> None:
    """Mean-field beliefs give mass to states in which what was seen is impossible, and pymdp learns all modalities."""
    model = POMDP(
        A=[None, [[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]],
        pA=[np.full((2, 2), 0.7), None],
        B=[np.stack([np.eye(2), np.eye(2)[::-1]], axis=2), np.eye(2)[:, :, None]],
        A_dependencies=[[0], [0, 1]],
    )
    theirs, ours, _ = both(model, [[0, 0], [1, 0], [0, 1]])
    assert ours[0].qs[0][0] * ours[0].qs[1][1] > 1e-3
    for mine, step in zip(ours, theirs, strict=True):
        assert_allclose(mine.neg_efe, step["neg_efe"] - constant(model), **CLOSE)
        assert_allclose(step["A"][1], model.A[1], rtol=0, atol=1e-17)


def test_difference_log_floors(x64: Any) -> None:
    """What is impossible weighs 2.2e-16 in pymdp and in "mean-field", and nothing in exact beliefs."""
    model = POMDP(A=[[[1.0, 0.0], [0.0, 1.0]]], B=[np.stack([np.eye(2)] * 2, axis=2)], D=[[0.5, 0.5]])
    theirs, ours, _ = both(model, [[0]])
    exact, info = Agent(model, planner=Planner(alpha=None)), None
    _, info = exact.step(exact.init(), np.array([0]))
    floor = np.finfo(float).eps
    assert_allclose(theirs[0]["qs"][0], [1 - floor, floor], rtol=1e-6, atol=0)
    assert_allclose(ours[0].qs[0], theirs[0]["qs"][0], rtol=1e-6, atol=0)
    assert info.qs[0].tolist() == [1.0, 0.0]


def test_difference_log_of_a_policy_prior_of_zero(x64: Any) -> None:
    model = lamp(E=np.array([1.0, 0.0]))
    theirs, ours, _ = both(model, [[1, 0]])
    assert ours[0].q_pi[1] == 0.0 and 0 < theirs[0]["q_pi"][1] < 1e-14
    assert_allclose(ours[0].q_pi, theirs[0]["q_pi"], **CLOSE)


def test_difference_preferences_are_normalised_here(x64: Any) -> None:
    model = lamp(C=[[3.0, 1.0, -2.0], [0.5, 0.0]])
    theirs, ours, _ = both(model, [[1, 0]])
    shift = theirs[0]["neg_efe"] - ours[0].neg_efe
    assert_allclose(shift, logsumexp([3.0, 1.0, -2.0]) + logsumexp([0.5, 0.0]), **CLOSE)
    assert_allclose(ours[0].q_pi, theirs[0]["q_pi"], **CLOSE)


def test_difference_what_is_wanted_never_costs_32_nats_in_pymdp(x64: Any) -> None:
    """Its sums over outcomes would be nan with -inf among the preferences."""
    never = lamp(C=[[0.0, -np.inf, -1.0], None])
    theirs, ours, _ = both(never, [[1, 0]])
    assert (ours[0].neg_efe == -np.inf).all()
    floored = np.maximum([0.0, -np.inf, -1.0] - np.log(1 + np.exp(-1.0)), -32.0)
    _, ours, _ = both(lamp(C=[floored, None]), [[1, 0]])
    assert_allclose(ours[0].neg_efe, theirs[0]["neg_efe"] + np.log(0.5), **CLOSE)


def test_difference_novelty_cut_off(x64: Any) -> None:
    model = lamp(pA=[np.array([[300.0, 2.0, 1.0], [1.0, 300.0, 1.0], [1.0, 2.0, 300.0]]), None])
    theirs, ours, _ = both(model, [[1, 0]], novelty_cutoff=256.0)
    assert (ours[0].param_info_gain == 0).all()
    missing = theirs[0]["neg_efe"] - constant(model) - ours[0].neg_efe
    assert (missing > 1e-4).all()
    _, same, _ = both(model, [[1, 0]])
    assert_allclose(same[0].neg_efe, theirs[0]["neg_efe"] - constant(model), **CLOSE)
    assert_allclose(same[0].param_info_gain, missing, **CLOSE)


def test_agents_made_in_pymdp_behave_the_same_here(x64: Any) -> None:
    import jax.numpy as jnp
    from pymdp.agent import Agent as PymdpAgent

    rng = np.random.default_rng(3)
    counts = [rng.gamma(2.0, size=(3, 2, 3)), rng.gamma(2.0, size=(2, 3))]
    move = rng.gamma(1.0, size=(2, 2, 2))
    agent = PymdpAgent(
        A=[jnp.asarray(c / c.sum(axis=0)) for c in counts],
        B=[jnp.asarray(move / move.sum(axis=0)), jnp.eye(3)[:, :, None]],
        C=[jnp.array([1.0, 0.0, -1.0]), jnp.zeros(2)],
        pA=[jnp.asarray(c) for c in counts],
        A_dependencies=[[0, 1], [1]],
        policy_len=2,
        use_param_info_gain=True,
        learn_A=True,
        gamma=2.0,
    )
    outcomes, actions = [[0, 1], [2, 0], [1, 1]], [[0, 0], [1, 0], [1, 0]]
    theirs = live(agent, outcomes, actions)
    model = from_pymdp(agent)
    here = Agent(model, planner=planner_from_pymdp(agent), inference="mean-field")
    state = here.init()
    for t, (outcome, action) in enumerate(zip(outcomes, actions, strict=True)):
        state, info = here.step(state, np.array(outcome), action=np.array(action))
        assert_allclose(info.neg_efe, theirs[t]["neg_efe"] - constant(model), **CLOSE)
        assert_allclose(info.q_pi, theirs[t]["q_pi"], **CLOSE)
        assert info.policy == -1 or model.policies[info.policy, 0].tolist() == action
        for m in range(2):
            assert_allclose(state.counts(m)[0], theirs[t]["pA"][m], **CLOSE)
