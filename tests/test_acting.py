"""From what policies are worth to what is done: ties, precisions of every size, one factor at a time, and the parts of a
step.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from enumeration import columns, lived, small_model, softmax
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from test_exact import observation

from activebmr import POMDP, Agent, Learning, Planner
from activebmr.planning.choice import log_policy_probabilities, policy_probabilities, policy_weights

SEEDS = st.integers(0, 10**6)


def go(n):
    """Control u leads to state u."""
    return np.repeat(np.eye(n)[:, None, :], n, axis=1)


def choice(worth, **more):
    """One look at places that are worth so much: what is done is all that matters."""
    n = len(worth)
    return POMDP(**({"A": [np.eye(n)], "B": [go(n)], "C": [np.asarray(worth, dtype=float)], "D": [np.eye(n)[0]]} | more))


def decide(model, n_agents=None, seed=0, seen=None, **planner):
    agent = Agent(model, planner=Planner(**({"gains": ()} | planner)))
    seen = np.zeros((n_agents or 1, model.num_modalities), dtype=int) if seen is None else seen
    return agent.step(agent.init(n_agents), seen if n_agents else seen[0], np.random.default_rng(seed))[1]


def near(found, p, n, sigmas=5.0):
    """Whether shares of n draws are those of some probabilities."""
    return (np.abs(found - p) <= sigmas * np.sqrt(p * (1 - p) / n) + 1e-12).all()


# --- ties --------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("alpha", [1e9, 1e15, np.inf])
def test_what_rounding_tells_apart_is_decided_by_lot(alpha):
    """Values 1e-12 apart are equal: each of the three is done by a third of 3,000 agents, however sharply they act."""
    info = decide(choice([0.0, 1.0, 1.0 + 1e-12, 1.0 - 1e-12]), 3000, alpha=alpha)
    assert near(np.bincount(info.policy, minlength=4) / 3000, np.array([0, 1, 1, 1]) / 3, 3000)
    assert_allclose(info.action_probabilities[0], np.array([0, 1, 1, 1]) / 3, atol=1e-12)


@pytest.mark.parametrize("alpha", [1e9, 1e17, np.inf])
def test_one_factor_at_a_time_rounding_decides_nothing_either(alpha):
    """Sums of three probabilities in two orders: equal but for 1e-17."""
    p = np.array([0.1, 0.2, 0.3, 0.2, 0.1, 0.3]) / 1.2
    model = POMDP(A=[np.eye(2)], A_dependencies=[[0]], B=[go(2)], D=[[1, 0]], E=p, policies=[[0], [0], [0], [1], [1], [1]])
    info = decide(model, sampling="marginal", alpha=alpha)
    assert_allclose(info.control_probabilities[0], [0.5, 0.5], atol=1e-12)


def test_without_alpha_the_first_of_equals_is_taken():
    info = decide(choice([0.0, 1.0 - 1e-12, 1.0, 1.0 + 1e-12]), alpha=None)
    assert info.policy == 1 and info.action == 1
    assert_array_equal(info.action_probabilities, [0, 1, 0, 0])


def test_ties_are_relative_to_the_spread_of_all_values():
    """1e-7 nats are nothing beside 1,000; beside 1 they decide."""
    assert decide(choice([0.0, -1000.0, 1e-7]), alpha=None).policy == 0
    assert decide(choice([0.0, -1.0, 1e-7]), alpha=None).policy == 2
    assert decide(choice([0.0, -1.0, 1e-7]), 100, alpha=np.inf).policy.tolist() == [2] * 100
    assert decide(choice([0.0, -np.inf, 1e-7]), alpha=None).policy == 2  # what is out of the question is no spread


# --- precisions --------------------------------------------------------------------------------------------------------------
def test_alpha_of_each_agent_from_blunt_to_infinite():
    worth, alpha = np.array([0.0, 0.5, -1.0]), [1e-9, 1.0, 3.0, 512.0, 1e7, np.inf]
    info = decide(choice(worth), 6, alpha=alpha)
    for k, a in enumerate(alpha):
        expected = np.eye(3)[1] if a > 1e3 else softmax(a * worth)
        assert_allclose(info.action_probabilities[k], expected, atol=1e-12)
    with pytest.raises(ValueError, match="alpha of Planner has one number for each of 6 agents; the batch has 2"):
        decide(choice(worth), 2, alpha=alpha)
    for bad in (0.0, -1.0, np.nan, [1.0, 0.0]):
        with pytest.raises(ValueError, match=r"alpha of Planner must be a number > 0, or inf"):
            Planner(alpha=bad)


def test_gamma_up_to_infinity():
    """All of q_pi is on the best of what the prior allows, shared by the prior among equals: the limit of large gammas."""
    worth = [0.0, 2.0, 2.0, 1.0]
    assert_allclose(decide(choice(worth), gamma=np.inf).q_pi, [0, 0.5, 0.5, 0], atol=1e-12)
    prior = [0.1, 0.6, 0.2, 0.1]
    assert_allclose(decide(choice(worth, E=np.array(prior)), gamma=np.inf).q_pi, [0, 0.75, 0.25, 0], atol=1e-12)
    for gamma in (1e6, np.inf):
        assert_allclose(decide(choice(worth, E=np.array([0.5, 0, 0, 0.5])), gamma=gamma).q_pi, [0, 0, 0, 1], atol=1e-12)
    shared = decide(choice(worth), 3, gamma=[1.0, np.inf, 1e12])
    assert_allclose(shared.q_pi, [softmax(worth), [0, 0.5, 0.5, 0], [0, 0.5, 0.5, 0]], atol=1e-9)


def test_policies_that_the_prior_excludes_are_never_taken():
    model = choice([0.0, 5.0, 1.0], E=[np.array([0.5, 0.0, 0.5])])
    for alpha in (1.0, 512.0, np.inf):
        info = decide(model, 500, alpha=alpha)
        assert not (info.policy == 1).any()
        assert (info.q_pi[:, 1] == 0).all() and (info.action_probabilities[:, 1] == 0).all()
    assert decide(model, alpha=None).policy == 2


def test_where_nothing_can_be_wanted_all_policies_are_alike():
    """Every place shows, now and then, what must never be: no nan, no warning; anything may be done."""
    never = POMDP(A=[np.full((2, 3), 0.5)], B=[go(3)], C=[[0, -np.inf]], D=[[1, 0, 0]])
    for more in ({}, {"alpha": np.inf}, {"gamma": np.inf}, {"depth": 1}, {"sampling": "marginal"}):
        info = decide(never, 4, **more)
        assert_allclose(info.q_pi, 1 / 3, atol=1e-12)
        assert_allclose(info.action_probabilities, 1 / 3, atol=1e-12)
    assert decide(never, alpha=None).policy == 0


def chances(worth, precision, log_prior):
    """Probabilities of one agent's policies, one after the other: exp(precision x worth) x prior, over their sum."""
    prior, n = [math.exp(x) for x in log_prior], len(worth)
    if max(worth) == -math.inf or precision == 0:  # nothing tells policies apart
        weight = [1.0] * n
    elif precision == math.inf:
        best = max((w for w, p in zip(worth, prior, strict=True) if p > 0), default=-math.inf)
        weight = [1.0 if best == -math.inf or w == best else 0.0 for w in worth]
    else:
        weight = [math.exp(precision * (w - max(worth))) for w in worth]
    both = [w * p for w, p in zip(weight, prior, strict=True)]
    both = both if sum(both) > 0 else prior  # the prior excludes all that is worth anything
    return np.array(both) / sum(both)


@pytest.mark.parametrize("alike", [True, False], ids=["one precision", "precisions"])
@pytest.mark.parametrize("lot", ["never", "sometimes"], ids=["all possible", "some impossible"])
def test_probabilities_of_policies_are_those_of_a_plain_loop(alike, lot, rng):
    for _ in range(200):
        rows, n = rng.integers(1, 4), rng.integers(1, 5)
        worth = rng.choice([-2.0, -0.5, 0.0, 0.25, 1.0, 3.0], size=(rows, n))
        prior = rng.gamma(1.0, size=n) + 0.01
        if lot == "sometimes":
            worth[rng.random(worth.shape) < 0.3] = -np.inf
            prior[(rng.random(n) < 0.3) & (np.arange(n) > 0)] = 0.0
        with np.errstate(divide="ignore"):
            log_prior = np.log(prior / prior.sum())
        each = rng.choice([0.0, 0.5, 1.0, 2.0, np.inf], size=rows)
        precision = float(each[0]) if alike else each[:, None]
        each = np.full(rows, each[0]) if alike else each
        for its_prior, logs in ((0.0, np.zeros(n)), (log_prior, log_prior)):
            expected = np.array([chances(list(w), g, list(logs)) for w, g in zip(worth, each, strict=True)])
            assert_allclose(policy_probabilities(worth, precision, its_prior), expected, atol=1e-12)
            assert_allclose(np.exp(log_policy_probabilities(worth, precision, its_prior)), expected, atol=1e-12)
            weights = policy_weights(worth, precision, its_prior)
            assert_allclose(weights, expected / expected.max(axis=1, keepdims=True), atol=1e-12)


def test_logs_of_probabilities_go_where_probabilities_cannot():
    worth = np.array([[0.0, -1000.0, -np.inf]])
    assert_array_equal(log_policy_probabilities(worth, 2.0), [[0.0, -2000.0, -np.inf]])
    assert_array_equal(policy_weights(worth, 2.0), [[1.0, 0.0, 0.0]])
    assert policy_weights(np.array([[0.0, -690.0]]), 1.0)[0, 1] > 0


# --- how actions are drawn ---------------------------------------------------------------------------------------------------
def two_hands(seed=0, steps=1):
    """Two controlled factors and one that nobody moves; what is seen depends on both."""
    rng = np.random.default_rng(seed)
    return POMDP(
        A=[columns(rng, (4, 2, 3)), columns(rng, (2, 2))], A_dependencies=[[0, 2], [1]],
        B=[go(2), np.eye(2)[:, :, None], go(3)], C=[rng.normal(size=4), None], policy_length=steps,
    )  # fmt: skip


CASES = {
    "policy": {"alpha": 2.0},
    "policy, sharp": {"alpha": 512.0},
    "policy, alpha of each": {"alpha": np.linspace(0.5, 4.0, 4000)},
    "marginal": {"sampling": "marginal", "alpha": 1.0},
    "marginal, sharp": {"sampling": "marginal", "alpha": 16.0},
    "marginal, infinite": {"sampling": "marginal", "alpha": np.inf},
}


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_actions_are_drawn_with_the_probabilities_reported(case, steps):
    """4,000 agents; shares of joint controls, and of each factor's, are the mean of what they report."""
    n = 4000
    model = two_hands(steps=steps)
    info = decide(model, n, **CASES[case])
    p = info.action_probabilities
    assert_allclose(p.sum(axis=1), 1, atol=1e-12)
    code = info.actions[:, 0] * 3 + info.actions[:, 2]
    drawn = np.bincount(info.controls[:, 0] * 3 + info.controls[:, 2], minlength=6) / n
    assert near(drawn[code], p.mean(axis=0), n)
    assert [len(q.T) for q in info.control_probabilities] == [2, 1, 3]
    for f, q in enumerate(info.control_probabilities):
        assert_allclose(q.sum(axis=1), 1, atol=1e-12)
        assert near(np.bincount(info.controls[:, f], minlength=q.shape[1]) / n, q.mean(axis=0), n)
        for u in range(q.shape[1]):
            assert_allclose(q[:, u], p[:, info.actions[:, f] == u].sum(axis=1), atol=1e-12)
    assert_array_equal(info.action, info.controls[:, [0, 2]])
    chosen = model.first_controls[np.maximum(info.policy, 0)]
    assert ((chosen == info.controls).all(axis=1) | (info.policy < 0)).all()


def test_one_factor_at_a_time_as_pymdp_does_it():
    """softmax(alpha log q(u)), q(u) the sum of q_pi over the policies that begin with it; by loops."""
    model = two_hands(steps=2)
    info = decide(model, sampling="marginal", alpha=3.0)
    for f, n in enumerate(model.num_controls):
        q = np.zeros(n)
        for p, policy in zip(info.q_pi, model.policies, strict=True):
            q[policy[0, f]] += p
        assert_allclose(info.control_probabilities[f], softmax(3.0 * np.log(q)), atol=1e-12)
    best = decide(model, sampling="marginal", alpha=None)
    assert [int(p.argmax()) for p in best.control_probabilities] == best.controls.tolist()


def test_pymdp_draws_with_the_same_probabilities():
    pytest.importorskip("pymdp")
    import jax.numpy as jnp
    from pymdp import control

    model = two_hands(steps=2)
    info = decide(model, sampling="marginal", alpha=1.0)
    theirs = control.get_marginals(jnp.asarray(info.q_pi), jnp.asarray(model.policies), list(model.num_controls))
    for ours, q in zip(info.control_probabilities, theirs, strict=True):
        assert_allclose(ours, np.asarray(q), atol=1e-6)


def test_marginals_of_policies_that_are_listed_may_combine_to_what_is_none():
    """Policies (0, 0) and (1, 1): one hand at a time they may do (0, 1), which begins no policy; that is what is reported."""
    model = two_hands().with_(policies=[[0, 0, 0], [1, 0, 1]], C=None)
    info = decide(model, 2000, sampling="marginal", alpha=1.0)
    assert set(map(tuple, info.controls[:, [0, 2]].tolist())) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert (info.policy[info.controls[:, 0] != info.controls[:, 2]] == -1).all()
    assert_allclose(info.control_probabilities[0], 0.5, atol=1e-12)


def test_a_policy_that_is_listed_twice_is_twice_as_likely():
    info = decide(choice([0.0, 0.0]).with_(policies=[[0], [1], [1]]), alpha=1.0)
    assert_allclose(info.action_probabilities, [1 / 3, 2 / 3], atol=1e-12)
    assert_array_equal(info.actions, [[0], [1]])


@settings(max_examples=30)
@given(SEEDS)
def test_draws_of_an_agent_do_not_depend_on_the_batch(seed):
    """The same number drawn leads to the same action: of a batch of three and of each alone."""
    model, rng = small_model(seed, steps=1 + seed % 2), np.random.default_rng(seed)
    sampling = ["policy", "marginal"][seed // 2 % 2]
    agent = Agent(model, planner=Planner(alpha=2.0, sampling=sampling))
    seen = [lived(model, rng, 1)[0][0] for _ in range(3)]
    info = agent.step(agent.init(3), observation(model, seen), np.random.default_rng(5))[1]
    uniform = np.random.default_rng(5).random(3)

    class Fixed(np.random.Generator):
        def random(self, size=None, **_):
            return np.array([self.next])

    for k in range(3):
        generator = Fixed(np.random.PCG64(0))
        generator.next = uniform[k]
        single = agent.step(agent.init(1), observation(model, [seen[k]]), generator)[1]
        assert_array_equal(single.controls[0], info.controls[k])
        assert_array_equal(single.action_probabilities[0], info.action_probabilities[k])


# --- the parts of a step -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("inference", ["exact", "factorised", "sequential", "mean-field"])
@pytest.mark.parametrize("sampling", ["policy", "marginal"])
def test_a_step_is_perceive_plan_act_learn(inference, sampling):
    model = small_model(4, learned=1.0)
    planner = Planner(alpha=2.0, sampling=sampling, modalities="together" if inference == "exact" else "separate")
    agent = Agent(model, planner=planner, inference=inference, learning=Learning(rate=0.5))
    whole = parts = agent.init(3)
    for t in range(3):
        seen = observation(model, [lived(model, np.random.default_rng([t, k]), 1)[0][0] for k in range(3)])
        whole, info = agent.step(whole, seen, np.random.default_rng(t))
        before = parts
        parts, percept = agent.perceive(parts, seen)
        assert parts.t == before.t == t
        evaluation = agent.plan(parts)
        policy, controls = agent.act(evaluation, np.random.default_rng(t))
        parts = agent.learn(parts, seen, controls)
        assert_array_equal(-percept.log_evidence, info.free_energy)
        assert_array_equal(percept.impossible, info.impossible)
        for name in ("neg_efe", "q_pi"):
            assert_array_equal(getattr(evaluation, name), getattr(info, name))
        assert_array_equal(policy, info.policy)
        assert_array_equal(controls, info.controls)
        assert (whole.t, parts.t) == (t + 1, t + 1)
        for m in model.learned_modalities:
            assert_array_equal(whole.counts(m), parts.counts(m))
            if t == 0:
                assert_array_equal(before.counts(m)[0], model.pA[m])  # the state before stays as it was
    for a, b in zip(whole.qs, parts.qs, strict=True):
        assert_array_equal(a, b)


def test_what_a_step_needs_to_draw():
    model = choice([0.0, 1.0])
    agent = Agent(model)
    with pytest.raises(ValueError, match="rng must be given to draw an action"):
        agent.step(agent.init(), 0)
    with pytest.raises(ValueError, match="rng must be given to draw an action"):
        agent.act(agent.plan(agent.perceive(agent.init(), 0)[0]))
    for bad in ("0", 1.5, np.random.RandomState(0)):
        with pytest.raises(TypeError, match="rng must be a numpy.random.Generator, or a seed; got"):
            agent.step(agent.init(), 0, bad)
    assert agent.step(agent.init(), 0, 3)[1].policy == agent.step(agent.init(), 0, np.random.default_rng(3))[1].policy
    decided = Agent(model, planner=Planner(alpha=None))
    assert decided.act(decided.plan(decided.perceive(decided.init(), 0)[0]))[0].tolist() == [1]


@pytest.mark.parametrize("inference", ["exact", "factorised", "mean-field", "paths"])
def test_parts_of_a_step_out_of_order_are_named(inference):
    """An observation that is perceived twice would count twice, and time must not go on without one."""
    planner = Planner(modalities="together" if inference == "exact" else "separate", alpha=None)
    agent = Agent(choice([0.0, 1.0]), planner=planner, inference=inference, trial_length=2)
    born = agent.init()
    for verb, call in (("plan", lambda s: agent.plan(s)), ("learn", lambda s: agent.learn(s, 0, 0))):
        with pytest.raises(ValueError, match=f"{verb} needs a state from `perceive`; .* has not perceived .* time 0"):
            call(born)
    seen, _ = agent.perceive(born, 0)
    for verb, call in (
        ("perceive", lambda s: agent.perceive(s, 0)),
        ("step", lambda s: agent.step(s, 0)),
        ("end_trial", lambda s: agent.end_trial(s)),
        ("foreseen", lambda s: agent.foreseen(s)),
    ):
        with pytest.raises(ValueError, match=f"{verb} needs a state .* has perceived that of time 0: call learn first"):
            call(seen)
    with pytest.raises(ValueError, match="before a trial; this one is at time 0, which it has perceived"):
        agent.instruct(seen, {})
    first, second = agent.plan(seen), agent.plan(seen)
    assert_array_equal(first.neg_efe, second.neg_efe)
    assert_array_equal(agent.act(first)[1], agent.act(first)[1])
    left, right = agent.learn(seen, 0, 0), agent.learn(seen, 0, 1)  # from one state one can go two ways
    assert (left.t, right.t, seen.t) == (1, 1, 0) and seen.perceived and not left.perceived
    with pytest.raises(ValueError, match="learn needs a state from `perceive`"):
        agent.learn(left, 0, 0)
    over = agent.learn(agent.perceive(left, 0)[0], 0, 0)
    with pytest.raises(ValueError, match="the trial is over"):
        agent.perceive(over, 0)
    with pytest.raises(ValueError, match="learn needs a state from `perceive`"):
        agent.learn(over, 0, 0)
    fresh, _ = agent.end_trial(over)
    assert agent.perceive(fresh, 0)[0].perceived
