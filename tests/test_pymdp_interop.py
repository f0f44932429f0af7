"""Models to pymdp and back, what cannot be exchanged, and our gain about models in pymdp's rollout."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_pymdp_mean_field import dense_world
from test_pymdp_parity import CLOSE, x64  # noqa: F401 (a fixture)
from worlds import lamp_rules, random_space, random_world, two_rooms

from activebmr import POMDP, Agent, Planner, Selection
from activebmr.interop import pymdp as interop
from activebmr.interop.pymdp import from_pymdp, planner_from_pymdp, policy_search, to_pymdp

LISTS = ("A", "B", "C", "D")
AS_PYMDP: dict[str, Any] = {"habit": "always", "modalities": "separate", "novelty_cutoff": np.inf}


def still(seed: int, make: Callable[..., POMDP] = random_world, **changes: Any) -> POMDP:
    """A random model whose preferences do not change over time."""
    model = make(seed, **changes)
    return model.with_(C=[c if c.ndim == 1 else c[0] for c in model.C])


def same(a: POMDP, b: POMDP) -> None:
    for name in LISTS:
        for x, y in zip(getattr(a, name), getattr(b, name), strict=True):
            assert_array_equal(x, y)
    for x, y in zip(a.pA, b.pA, strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            assert_array_equal(x, y)
    assert a.A_dependencies == b.A_dependencies and a.B_dependencies == b.B_dependencies
    assert_array_equal(a.policies, b.policies)


# --- there and back ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(6))
def test_models_come_back_bit_for_bit(x64: Any, seed: int) -> None:  # noqa: F811
    model = still(seed, policy_length=1 + seed % 2, max_controls=2)
    if any(f not in deps for f, deps in enumerate(model.B_dependencies)):
        model = from_pymdp(to_pymdp(model))  # pymdp adds the factor to its own dependencies
    back = from_pymdp(to_pymdp(model))
    same(model, back)
    if isinstance(model.E, np.ndarray):
        assert_array_equal(model.E, back.E)
    else:  # controls' priors become one over policies
        shift = model.log_policy_prior - back.log_policy_prior
        assert_allclose(shift, shift[0], rtol=0, atol=1e-14)


def test_agents_come_back_bit_for_bit(x64: Any) -> None:  # noqa: F811
    import jax
    import jax.numpy as jnp
    from pymdp.agent import Agent as PymdpAgent

    rng = np.random.default_rng(0)
    pa, b = rng.gamma(2.0, size=(3, 2, 2)), rng.gamma(1.0, size=(2, 2, 2))
    agent = PymdpAgent(
        A=[jnp.asarray(pa / pa.sum(axis=0))],
        B=[jnp.asarray(b / b.sum(axis=0)), jnp.eye(2)[:, :, None]],
        C=[jnp.array([0.0, 1.0, 2.0])],
        E=jnp.array([0.1, 0.2, 0.3, 0.4]),
        pA=[jnp.asarray(pa)],
        policy_len=2,
        policies=jnp.array([[[0, 0], [0, 0]], [[0, 0], [1, 0]], [[1, 0], [0, 0]], [[1, 0], [1, 0]]], dtype=jnp.int32),
        gamma=1.0,
        alpha=4.0,
        action_selection="stochastic",
        use_param_info_gain=True,
        learn_A=True,
    )
    back = to_pymdp(from_pymdp(agent), planner_from_pymdp(agent))
    leaves, wanted = jax.tree.leaves(back), jax.tree.leaves(agent)
    assert jax.tree.structure(back) == jax.tree.structure(agent)
    for x, y in zip(leaves, wanted, strict=True):
        assert_array_equal(np.asarray(x), np.asarray(y))


def test_planners_come_back(x64: Any) -> None:  # noqa: F811
    model = two_rooms()
    for planner in (
        Planner(gains=("state",), gamma=2.0, alpha=8.0, **AS_PYMDP),
        Planner(gains=("state", "param"), alpha=None, **AS_PYMDP),
        Planner(gains=(), **AS_PYMDP),
        Planner(gains=("state",), gamma=2.0, alpha=3.0, sampling="marginal", **AS_PYMDP),
    ):
        assert planner_from_pymdp(to_pymdp(model, planner)) == planner


def test_one_of_a_batch(x64: Any) -> None:  # noqa: F811
    import equinox

    model = two_rooms()
    agent = to_pymdp(model, batch_size=3)
    grown = agent.pA[1].at[2].multiply(2.0)
    agent = equinox.tree_at(lambda a: a.pA[1], agent, grown)
    same(from_pymdp(agent, which=1), model)
    assert_array_equal(from_pymdp(agent, which=2).pA[1], 2.0 * model.pA[1])
    with pytest.raises(ValueError, match="which must say which of the 3 agents"):
        from_pymdp(agent)
    with pytest.raises(ValueError, match=r"which must lie in 0\.\.2"):
        from_pymdp(agent, which=3)


def test_float32_without_x64() -> None:
    model = two_rooms()
    agent = to_pymdp(model)
    assert {str(x.dtype) for x in (*agent.A, *agent.B, *agent.C, *agent.D, *agent.pA, agent.E)} == {"float32"}
    back = from_pymdp(agent)
    assert back.learned_modalities == model.learned_modalities
    assert_allclose(back.pA[1], model.pA[1], rtol=1e-6)
    assert_array_equal(back.A[0], model.A[0])


def test_a_known_likelihood_is_known_again_after_pymdp_has_learned(x64: Any) -> None:  # noqa: F811
    import jax.numpy as jnp

    model = two_rooms()
    agent = to_pymdp(model)
    qs = [jnp.full((1, 1, 2), 0.5)] * 2
    learned = agent.infer_parameters(qs, [jnp.array([[0]]), jnp.array([[1]])], None)
    back = from_pymdp(learned)
    assert back.learned_modalities == (1,)
    assert_array_equal(back.A[0], model.A[0])
    assert back.pA[1][1].sum() == pytest.approx(model.pA[1][1].sum() + 1.0)


def test_a_factor_whose_transitions_do_not_depend_on_itself(x64: Any) -> None:  # noqa: F811
    """pymdp wants the factor among its own dependencies: it is added, and predictions stay what they were."""
    follow = np.array([[0.9, 0.2], [0.1, 0.8]])[:, :, None]
    model = two_rooms(B=[two_rooms().B[0], follow], B_dependencies=[[0], [0]])
    agent = to_pymdp(model)
    assert agent.B_dependencies == [[0], [0, 1]]
    import jax.numpy as jnp

    prior = agent.update_empirical_prior(jnp.array([[1, 0]]), [q[:, None] for q in agent.D])
    assert_allclose(np.asarray(prior[1])[0], follow[:, :, 0] @ model.D[0], rtol=1e-14)


# --- what cannot be exchanged --------------------------------------------------------------------------------------------
def test_what_pymdp_cannot_express(x64: Any) -> None:  # noqa: F811
    model = two_rooms()
    uneven = model.with_(E=[[0.9, 0.1], None])
    with pytest.raises(ValueError, match=r"C\[1\] of the model changes over the trial"):
        to_pymdp(model.with_(C=[None, [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]]))
    with pytest.raises(ValueError, match="depth of planner must be 0.*got 2"):
        to_pymdp(model, Planner(depth=2))
    with pytest.raises(ValueError, match="habit of planner must be 'always'.*got 'first'"):
        to_pymdp(uneven, Planner())
    with pytest.raises(ValueError, match=r"gamma of planner must be 1 if E is not uniform.*got 2\.0"):
        to_pymdp(uneven, Planner(gamma=2.0, habit="always"))
    with pytest.raises(ValueError, match="agent_options must not hold what the model says; got policies"):
        to_pymdp(model, policies=[[0, 0]])
    assert float(to_pymdp(uneven, Planner(gamma=2.0, **AS_PYMDP), alpha=3.0).alpha[0]) == 3.0
    with pytest.raises(ValueError, match="gamma of planner must be finite.*got inf"):
        to_pymdp(model, Planner(gamma=np.inf, **AS_PYMDP))
    with pytest.raises(ValueError, match="alpha of planner must be finite, or None.*got inf"):
        to_pymdp(model, Planner(alpha=np.inf, **AS_PYMDP))
    with pytest.warns(UserWarning, match="pymdp sums the gains of modalities"):
        to_pymdp(model, Planner(gains=("state",)))
    one_row = to_pymdp(model.with_(C=[None, [[0.0, 1.0, 0.0]]]))
    assert one_row.C[1].shape == (1, 3)


def test_what_a_pomdp_cannot_express(x64: Any) -> None:  # noqa: F811
    import jax.numpy as jnp
    from pymdp.agent import Agent as PymdpAgent

    a, b = jnp.eye(2), jnp.stack([jnp.eye(2)] * 2, axis=2)

    def made(**changes: Any) -> Any:
        return PymdpAgent(**({"A": [a], "B": [b], "A_dependencies": [[0]]} | changes))

    with pytest.raises(TypeError, match=r"must be a pymdp\.agent\.Agent of pymdp 1\.0; got builtins\.dict"):
        from_pymdp({})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"B\[0\] of the pymdp agent must be the mean of pB\[0\].*differ by 0\.25"):
        from_pymdp(made(pB=[b + 0.5], learn_B=True))
    with pytest.raises(ValueError, match=r"B_action_dependencies of the pymdp agent must be \[\[0\]\].*got \[\[0, 1\]\]"):
        both = jnp.stack([jnp.eye(2)] * 4, axis=2).reshape(2, 2, 2, 2)
        from_pymdp(made(B=[both], B_action_dependencies=[[0, 1]], num_controls=[2, 2]))
    with pytest.raises(ValueError, match=r"C\[0\] of the pymdp agent changes over the steps of a policy"):
        from_pymdp(made(C=[jnp.array([[[0.0, 1.0], [1.0, 0.0]]])], A=[a[None]], policy_len=2))
    with pytest.raises(ValueError, match=r"A\[0\] of the pymdp agent must be the mean of pA\[0\].*differ by 0\.5"):
        from_pymdp(made(pA=[jnp.ones((2, 2))]))
    with pytest.raises(ValueError, match="preprocess_fn of the pymdp agent must be None"):
        from_pymdp(made(preprocess_fn=lambda o: o, categorical_obs=True))
    with pytest.raises(ValueError, match="use_utility of the pymdp agent must be True"):
        planner_from_pymdp(made(use_utility=False))
    with pytest.raises(ValueError, match="use_inductive of the pymdp agent must be False"):
        planner_from_pymdp(made(use_inductive=True, H=[jnp.array([1.0, 0.0])]))
    with pytest.raises(ValueError, match="gamma of the pymdp agent must be 1"):
        planner_from_pymdp(made(gamma=2.0, E=jnp.array([0.9, 0.1])))
    assert planner_from_pymdp(made(sampling_mode="marginal", policy_len=2)).sampling == "marginal"
    assert planner_from_pymdp(made(sampling_mode="marginal", gamma=2.0, E=jnp.array([0.9, 0.1]))).gamma == 2.0


def test_preferences_of_one_time_are_taken(x64: Any) -> None:  # noqa: F811
    import jax.numpy as jnp
    from pymdp.agent import Agent as PymdpAgent

    b = jnp.stack([jnp.eye(2)] * 2, axis=2)
    agent = PymdpAgent(A=[jnp.eye(2)], B=[b], C=[jnp.array([[1.0, 0.0]])], E=jnp.array([3.0, 1.0]), A_dependencies=[[0]])
    model = from_pymdp(agent)
    assert_array_equal(model.C[0], [1.0, 0.0])
    assert_array_equal(model.E, [0.75, 0.25])  # pymdp takes priors that do not sum to one


def test_pymdp_is_imported_only_when_needed() -> None:
    code = """
import sys
import activebmr.interop.pymdp
assert not {"jax", "pymdp", "equinox"} & set(sys.modules), "imported too early"
sys.modules["pymdp.agent"] = None
from activebmr import POMDP
import numpy as np
for call in (activebmr.interop.pymdp.to_pymdp, activebmr.interop.pymdp.from_pymdp):
    try:
        call(POMDP(A=[np.eye(2)], B=[np.eye(2)[:, :, None]]))
    except ImportError as error:
        assert "pip install -e '.[pymdp]'" in str(error) and "inferactively-pymdp" in str(error), error
    else:
        raise AssertionError("no error")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_former_pymdp_is_refused(monkeypatch: pytest.MonkeyPatch, x64: Any) -> None:  # noqa: F811
    import pymdp.agent

    monkeypatch.setattr(pymdp.agent, "Agent", dict)
    with pytest.raises(ImportError, match="needs pymdp 1.0"):
        to_pymdp(two_rooms())


# --- gain about models ---------------------------------------------------------------------------------------------------
def searching(agent: Any, search: Any, outcomes: Any, actions: Any) -> list[dict[str, Any]]:
    """What a batch of pymdp agents makes of outcomes ``(step, agent, modality)`` with a policy search; compiled."""
    import equinox
    import jax
    import jax.numpy as jnp

    @equinox.filter_jit
    def step(agent: Any, outcome: Any, prior: Any, action: Any) -> tuple[Any, Any, Any]:
        qs = agent.infer_states(outcome, prior)
        q_pi, said = search(agent, qs, jax.random.PRNGKey(0))
        return {"q_pi": q_pi, **said}, agent.infer_parameters(qs, outcome, None), agent.update_empirical_prior(action, qs)

    steps, prior = [], agent.D
    for outcome, action in zip(outcomes, actions, strict=True):
        out, agent, prior = step(agent, [jnp.asarray(o)[:, None] for o in outcome.T], prior, jnp.asarray(action))
        steps.append({k: np.asarray(v) for k, v in out.items()})
    return steps


@pytest.mark.parametrize(("seed", "length", "kind"), [(9, 2, "exact"), (11, 1, "plug-in")])
def test_policy_search_has_our_gain_about_models(x64: Any, seed: int, length: int, kind: str) -> None:  # noqa: F811
    model = still(seed, dense_world, policy_length=length, max_factors=3)
    space = random_space(seed, model)
    rng = np.random.default_rng(seed)
    n_agents, n_steps = 3, 3
    outcomes = np.stack([rng.integers(n, size=(n_steps, n_agents)) for n in model.num_outcomes], axis=2)
    actions = np.stack([rng.integers(n, size=(n_steps, n_agents)) for n in model.num_controls], axis=2)
    planner = Planner(model_gain=kind, gamma=1.0, alpha=None, **AS_PYMDP)
    selection = Selection(offset=1 / 16)
    agent = Agent(model, space, planner, inference="mean-field", selection=selection)
    search = policy_search(model, space, offset=1 / 16, model_gain=kind)
    steps = searching(to_pymdp(model, planner, batch_size=n_agents), search, outcomes, actions)
    state = agent.init(n_agents)
    for t, step in enumerate(steps):
        state, info = agent.step(state, outcomes[t], action=actions[t])
        assert_allclose(step["model_posterior"], info.model_posterior, **CLOSE)
        assert_allclose(step["model_info_gain"], info.model_info_gain, **CLOSE)
        assert_allclose(step["q_pi"], info.q_pi, **CLOSE)
        assert_allclose(np.diff(step["neg_efe"]), np.diff(info.neg_efe), **CLOSE)
    assert steps[-1]["model_info_gain"].max() > 1e-6


def world(model: POMDP) -> Any:
    import jax.numpy as jnp
    from pymdp.envs import PymdpEnv

    arrays = {k: [jnp.asarray(np.array(x)) for x in getattr(model, k)] for k in ("A", "B", "D")}
    deps = {k: [list(d) for d in getattr(model, k)] for k in ("A_dependencies", "B_dependencies")}
    return PymdpEnv(**arrays, **deps)


def curious() -> POMDP:
    light = np.array([[[4.0, 1.0], [1.0, 1.0]], [[1.0, 4.0], [1.0, 1.0]], [[1.0, 1.0], [0.1, 0.1]]])
    return two_rooms(C=None, pA=[None, light])


@pytest.mark.filterwarnings("ignore:jax.nn.one_hot input should be integer-typed")  # pymdp's worlds give outcomes as floats
def test_policy_search_in_rollout(x64: Any) -> None:  # noqa: F811
    """Compiled and scanned over time; everything that it reports is what our own agent says about the same life."""
    import equinox
    import jax
    from pymdp.envs import rollout

    model = curious()
    space, env = lamp_rules(model), world(model)
    agent = to_pymdp(model, Planner(**AS_PYMDP), batch_size=2)
    search = policy_search(model, space)
    run: Callable[..., Any] = equinox.filter_jit(lambda a, key: rollout(a, env, 6, key, policy_search=search)[1])
    info = run(agent, jax.random.PRNGKey(0))
    ours = Agent(model, space, Planner(alpha=None, **AS_PYMDP), inference="mean-field")
    state = ours.init(2)
    for t in range(7):
        seen = np.stack([np.ravel(o[:, t]).astype(int) for o in info["observation"]], axis=1)
        state, said = ours.step(state, seen, action=np.asarray(info["action"][:, t]))
        assert_allclose(info["model_posterior"][:, t], said.model_posterior, **CLOSE)
        assert_allclose(info["model_info_gain"][:, t], said.model_info_gain, **CLOSE)
        assert_allclose(info["qpi"][:, t], said.q_pi, **CLOSE)
    assert info["model_info_gain"].dtype == np.float64 and info["model_info_gain"].max() > 1e-3
    assert not np.allclose(info["model_posterior"][:, -1], space.prior)


def test_policy_search_in_float32_and_vmapped() -> None:
    """pymdp's default precision, uncompiled; and mapped over several beliefs, where an axis stands before the batch's."""
    import jax
    import jax.numpy as jnp

    model = curious()
    space, agent = lamp_rules(model), to_pymdp(curious(), Planner(**AS_PYMDP), batch_size=2)
    search = policy_search(model, space)
    rng = np.random.default_rng(0)
    qs = [rng.dirichlet(np.ones(n), size=(3, 2, 1)).astype(np.float32) for n in model.num_states]
    q_pi, mapped = jax.jit(jax.vmap(lambda q: search(agent, q, None)))([jnp.asarray(q) for q in qs])
    assert mapped["model_info_gain"].dtype == np.float32 and q_pi.shape == (3, 2, len(model.policies))
    alone, said = search(agent, [jnp.asarray(q[2]) for q in qs], None)
    assert_allclose(q_pi[2], alone, rtol=1e-5)
    assert_allclose(mapped["model_info_gain"][2], said["model_info_gain"], rtol=1e-5, atol=1e-7)


def test_policy_search_refuses_what_does_not_fit(x64: Any) -> None:  # noqa: F811
    model = curious()
    space = lamp_rules(model)
    search = policy_search(model, space)
    qs = [q[:, None] for q in to_pymdp(model).D]
    known = model.with_(pA=None)
    with pytest.raises(ValueError, match="pA of the pymdp agent must be counts"):
        search(to_pymdp(known), qs, None)
    with pytest.raises(ValueError, match="policies of the pymdp agent must be those of the model"):
        search(to_pymdp(model.with_(policies=model.policies[::-1])), qs, None)
    three = model.with_(B=[model.B[0], np.stack([np.eye(2)] * 3, axis=2)], policies=None, E=None, labels={})
    with pytest.raises(ValueError, match=r"num_controls of the pymdp agent must be \[2, 1\].*got \[2, 3\]"):
        search(to_pymdp(three), qs, None)
    with pytest.raises(ValueError, match=r"pA\[1\] of the model is None"):
        policy_search(known, space)
    with pytest.raises(ValueError, match="model_gain of Planner must be one of"):
        policy_search(model, space, model_gain="best")
    with pytest.raises(ValueError, match="offset of Selection must be a finite number > 0"):
        policy_search(model, space, offset=-2.0)


def test_names() -> None:
    assert all(hasattr(interop, name) for name in interop.__all__)
