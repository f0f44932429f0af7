"""Whole agents from pymdp: they believe, plan, act and learn here as they do there, or are refused by the name of a setting."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_pymdp_parity import CLOSE, constant, live, x64  # noqa: F401 (a fixture)

from activebmr import Agent, Learning, Planner
from activebmr.interop.pymdp import agent_from_pymdp, from_pymdp, planner_from_pymdp


def parts(seed: int, n_factors: int = 2) -> dict[str, Any]:
    """Arrays of a random agent with two modalities, the first of which reads all factors."""
    import jax.numpy as jnp

    rng = np.random.default_rng(seed)
    sizes = (3, 2, 2)[:n_factors]
    counts = [rng.gamma(2.0, size=(3, *sizes)) + 0.1, rng.gamma(2.0, size=(2, sizes[-1])) + 0.1]
    moves = [rng.gamma(1.0, size=(n, n, 2)) for n in sizes]
    return {
        "A": [jnp.asarray(c / c.sum(axis=0)) for c in counts],
        "B": [jnp.asarray(b / b.sum(axis=0)) for b in moves],
        "C": [jnp.array([1.0, 0.0, -1.0]), jnp.array([0.0, 0.5])],
        "D": [jnp.asarray(rng.dirichlet(np.ones(n))) for n in sizes],
        "pA": [jnp.asarray(c) for c in counts],
        "A_dependencies": [list(range(n_factors)), [n_factors - 1]],
    }


def made(seed: int = 0, n_factors: int = 2, **settings: Any) -> Any:
    from pymdp.agent import Agent as PymdpAgent

    given = parts(seed, n_factors) | settings
    return PymdpAgent(**{k: v for k, v in given.items() if v is not None})


SETTINGS = {
    "one round": {"num_iter": 1},
    "three rounds, learning": {"num_iter": 3, "learn_A": True},
    "frozen counts with novelty": {"use_param_info_gain": True, "gamma": 2.0},
    "learning with novelty, two steps": {"use_param_info_gain": True, "learn_A": True, "policy_len": 2},
    "no information": {"use_states_info_gain": False, "pA": None},
    "one factor": {"n_factors": 1, "num_iter": 2, "learn_A": True},
    "one factor, exact": {"n_factors": 1, "inference_algo": "exact"},
    "three factors, five rounds": {"n_factors": 3, "num_iter": 5, "pA": None, "inference_algo": "ovf"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_whole_agents_live_here_as_there(x64: Any, name: str) -> None:  # noqa: F811
    theirs = made(len(name), **SETTINGS[name])
    ours = agent_from_pymdp(theirs)
    rng = np.random.default_rng(1)
    outcomes = [[int(rng.integers(3)), int(rng.integers(2))] for _ in range(5)]
    actions = rng.integers(2, size=(5, theirs.num_factors))
    state = ours.init()
    for t, said in enumerate(live(theirs, outcomes, actions)):
        state, info = ours.step(state, outcomes[t], action=actions[t])
        for mine, q in zip(info.qs, said["qs"], strict=True):
            assert_allclose(mine, q, **CLOSE)
        assert_allclose(info.free_energy, said["vfe"], **CLOSE)
        assert_allclose(info.neg_efe, said["neg_efe"] - constant(ours.model), **CLOSE)
        assert_allclose(info.q_pi, said["q_pi"], **CLOSE)
        for m in ours.model.learned_modalities:
            counts = said["pA"][m] if "pA" in said else np.asarray(theirs.pA[m][0])
            assert_allclose(ours.posterior_counts(state, m)[0], counts, **CLOSE)
    assert bool(ours.model.learned_modalities) == (theirs.pA is not None)


@pytest.mark.parametrize("length", [1, 2])
def test_actions_are_chosen_as_in_pymdp(x64: Any, length: int) -> None:  # noqa: F811
    """A policy drawn from softmax(alpha log q_pi), or each control from softmax(alpha log q(u)), or the best of them."""
    import jax
    import jax.numpy as jnp
    from pymdp import control

    settings = {"policy_len": length, "gamma": 1.5, "pA": None}
    first, alpha = made(3, **settings), 3.0
    policies, num_controls = first.policies.policy_arr, first.num_controls
    q_pi = live(first, [[2, 0]], [[0, 0]])[0]["q_pi"]
    marginals = partial(control.get_marginals, policies=policies, num_controls=num_controls)
    ways = {
        ("full", None): control.sample_policy(policies, q_pi),
        ("marginal", None): control.sample_action(policies, num_controls, q_pi),
        ("full", alpha): marginals(jax.nn.softmax(alpha * jnp.log(q_pi))),
        ("marginal", alpha): [jax.nn.softmax(alpha * jnp.log(p)) for p in marginals(q_pi)],
    }
    for (mode, sharp), wanted in ways.items():
        drawn = {} if sharp is None else {"action_selection": "stochastic", "alpha": sharp}
        ours = agent_from_pymdp(made(3, **settings, **drawn, sampling_mode=mode))
        _, info = ours.step(ours.init(), [2, 0], np.random.default_rng(0))
        if sharp is None:
            assert info.controls.tolist() == wanted.tolist()
            continue
        for mine, p in zip(info.control_probabilities, wanted, strict=True):
            assert_allclose(mine, p, **CLOSE)


def test_an_agent_of_a_batch(x64: Any) -> None:  # noqa: F811
    import jax.numpy as jnp

    theirs = made(pA=None, batch_size=3, gamma=jnp.array([1.0, 2.0, 3.0]), num_iter=4)
    assert [agent_from_pymdp(theirs, k).planner.gamma for k in range(3)] == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="which must say which of the 3 agents"):
        agent_from_pymdp(theirs)
    with pytest.raises(ValueError, match=r"which must lie in 0\.\.2, the agents of the batch; got 3"):
        agent_from_pymdp(theirs, 3)
    with pytest.raises(TypeError, match="which must be a whole number.*got 1.5"):
        agent_from_pymdp(theirs, 1.5)  # type: ignore[arg-type]


def test_what_an_agent_here_is_made_of(x64: Any) -> None:  # noqa: F811
    theirs = made(num_iter=7, action_selection="stochastic", alpha=4.0, gamma=2.0)
    ours = agent_from_pymdp(theirs)
    assert isinstance(ours, Agent) and ours.learning == Learning(rate=0)
    wanted = Planner(gains=("state",), modalities="separate", gamma=2.0, alpha=8.0, habit="always", novelty_cutoff=np.inf)
    assert ours.planner == wanted == planner_from_pymdp(theirs)
    assert agent_from_pymdp(made(learn_A=True)).learning == Learning()


def test_what_cannot_be_taken_over_is_refused_by_name(x64: Any) -> None:  # noqa: F811
    import jax.numpy as jnp

    def refused(name: str, got: str = "", **settings: Any) -> None:
        with pytest.raises(ValueError, match=f"{name} of (the|a) pymdp agent.*{got}"):
            agent_from_pymdp(made(**settings))

    counts = [jnp.ones((3, 3, 2)), jnp.ones((2, 2, 2))]
    with pytest.raises(ValueError, match=r"B\[0\] of the pymdp agent must be the mean of pB\[0\]"):
        agent_from_pymdp(made(pB=counts, learn_B=True))
    refused("use_inductive", use_inductive=True, H=[jnp.array([1.0, 0.0, 0.0]), jnp.array([1.0, 0.0])], inductive_depth=2)
    refused("use_utility", use_utility=False)
    refused("inference_algo", "'mmp'", inference_algo="mmp")
    refused("inference_algo", "'vmp'", inference_algo="vmp")
    refused("inference_algo", "'ovf'", inference_algo="ovf", learn_A=True)
    refused("inference_algo", "'exact'", inference_algo="exact", learn_A=True, n_factors=1)
    refused("inference_algo", "'exact'", inference_algo="exact", learn_A=True, n_factors=1, learning_mode="offline")
    refused("num_iter", "got 0", num_iter=0)
    refused("gamma", r"2\.0", gamma=2.0, E=jnp.array([0.4, 0.3, 0.2, 0.1]))
    with pytest.raises(TypeError, match=r"must be a pymdp\.agent\.Agent of pymdp 1\.0; got builtins\.list"):
        agent_from_pymdp([])  # type: ignore[arg-type]


def test_a_model_alone_says_what_it_leaves_behind(x64: Any) -> None:  # noqa: F811
    for settings, said in (
        ({"learn_A": False}, r"counts that do not learn \(learn_A=False\) of the pymdp agent are no part of its model"),
        ({"pA": None, "num_iter": 1}, "num_iter=1 of the pymdp agent"),
        ({"pA": None, "inference_algo": "vmp"}, "inference_algo='vmp' of the pymdp agent"),
    ):
        with pytest.warns(UserWarning, match=said):
            from_pymdp(made(**settings))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_pymdp(made(learn_A=True))
        from_pymdp(made(pA=None, n_factors=1, num_iter=1))
        agent_from_pymdp(made(num_iter=1))


@pytest.mark.parametrize("n_agents", [None, 3])
def test_what_pymdps_worlds_emit_is_taken(x64: Any, n_agents: int | None) -> None:  # noqa: F811
    """A list with, for each modality, whole numbers that may be floats, with an axis for agents and one for a single time."""
    import jax
    from pymdp.envs import PymdpEnv

    theirs = made(pA=None, batch_size=n_agents or 1)
    ours = agent_from_pymdp(theirs, which=0)
    arrays = {k: parts(0)[k] for k in ("A", "B", "D", "A_dependencies")}
    seen, _ = jax.vmap(PymdpEnv(**arrays).reset)(jax.random.split(jax.random.PRNGKey(0), n_agents or 1))
    assert [o.shape for o in seen] == [(n_agents or 1, 1)] * 2
    _, info = ours.step(ours.init(n_agents), seen, np.random.default_rng(0))
    plain = [np.ravel(o).astype(int) for o in seen]
    _, same = ours.step(ours.init(n_agents), plain, np.random.default_rng(0))
    for q, p in zip(info.qs, same.qs, strict=True):
        assert_allclose(q, p, rtol=0, atol=0)
