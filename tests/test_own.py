"""Tables that agents of one batch do not share: each agent lives as if alone with a model that has its tables."""

import numpy as np
import pytest
from enumeration import certain, columns, small_model

from activebmr import POMDP, Agent, Planner

N = 3


def own_tables(model, rng):
    """Some tables of every kind, another for each agent, and the models that have them."""
    own, theirs = {}, [{kind: list(getattr(model, kind)) for kind in ("A", "B", "C", "D", "pA")} for _ in range(N)]

    def give(kind, i, draw):
        if rng.random() < 0.6:
            own[f"{kind}[{i}]"] = np.stack([draw() for _ in range(N)])
            for k in range(N):
                theirs[k][kind][i] = own[f"{kind}[{i}]"][k]

    for f in range(model.num_factors):
        give("B", f, lambda f=f: columns(rng, model.B[f].shape))
        give("D", f, lambda f=f: (certain if rng.random() < 0.3 else columns)(rng, model.D[f].shape))
    for m in range(model.num_modalities):
        give("C", m, lambda m=m: rng.normal(size=model.num_outcomes[m]))
        if model.pA[m] is None:
            give("A", m, lambda m=m: columns(rng, model.A[m].shape))
        else:
            give("pA", m, lambda m=m: rng.gamma(1.0, size=model.A[m].shape) + 0.1)
    models = []
    for tables in theirs:
        tables["A"] = [None if p is not None else a for a, p in zip(tables["A"], tables["pA"], strict=True)]
        models.append(
            POMDP(
                **tables,
                A_dependencies=model.A_dependencies,
                B_dependencies=model.B_dependencies,
                policy_length=model.policy_length,
            )
        )
    return own, models


@pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")
@pytest.mark.parametrize("seed", range(24))
def test_each_agent_lives_as_if_alone_with_its_tables(seed):
    rng = np.random.default_rng(1000 + seed)
    model = small_model(seed, steps=1 + seed % 2, max_policies=4)
    own, models = own_tables(model, rng)
    if not own:
        pytest.skip("no table drawn")
    planner = Planner(gains=("state", "param"), depth=0 if seed % 2 else 2, alpha=None)
    together = Agent(model, planner=planner, own=own, remember=True)
    alone = [Agent(m, planner=planner, remember=True) for m in models]
    state, states = together.init(N), [a.init(1) for a in alone]
    for _ in range(3):
        seen = np.stack([rng.integers(n, size=N) for n in model.num_outcomes], axis=1)
        did = np.stack([rng.integers(n, size=N) for n in model.num_controls], axis=1)
        state, info = together.step(state, seen, action=did)
        for k in range(N):
            states[k], one = alone[k].step(states[k], seen[k : k + 1], action=did[k : k + 1])
            np.testing.assert_allclose(info.free_energy[k], one.free_energy[0], atol=1e-12)
            np.testing.assert_allclose(info.neg_efe[k], one.neg_efe[0], atol=1e-11)
            np.testing.assert_allclose(info.q_pi[k], one.q_pi[0], atol=1e-11)
            for q, q_alone in zip(info.qs, one.qs, strict=True):
                np.testing.assert_allclose(q[k], q_alone[0], atol=1e-12)
    for now, *then in zip(
        together.hindsight(state), *(a.hindsight(s) for a, s in zip(alone, states, strict=True)), strict=False
    ):
        for f, q in enumerate(now):
            for k in range(N):
                np.testing.assert_allclose(q[k], then[k][f][0], atol=1e-12)
    learned, _ = together.end_trial(state)
    for k in range(N):
        lone, _ = alone[k].end_trial(states[k])
        for m in range(model.num_modalities):
            if model.pA[m] is not None:
                np.testing.assert_allclose(learned.counts(m)[k], lone.counts(m)[0], atol=1e-12)


def two_beliefs():
    return POMDP(A=[None], B=[np.eye(2)[:, :, None]], D=[[0.5, 0.5]], pA=[np.full((2, 2), 2.0)])


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"A[0]": np.full((3, 2, 2), 0.5)}, "known likelihood"),
        ({"pA[0]": np.zeros((3, 2, 2))}, "some in every column"),
        ({"pA[0]": np.ones((3, 2))}, "must have shape"),
        ({"C[0]": np.full((3, 2), np.inf)}, "below infinity"),
        ({"C[0]": np.zeros((3, 3))}, r"shape \(agents, 2\)"),
        ({"D[0]": np.full((3, 2), 0.4)}, "must sum to 1"),
        ({"B[0]": np.ones((3, 2, 2, 1))}, "must sum to 1"),
        ({"B[0]": np.ones((3, 2, 2))}, "must have shape"),
        ({"E[0]": np.ones((3, 2))}, "must have keys like"),
        ({"C[5]": np.zeros((3, 2))}, "5"),
        ({"prior": np.ones((3, 2))}, "needs hypotheses"),
        ({"C[0]": np.zeros((3, 2)), "D[0]": np.full((2, 2), 0.5)}, "equally many"),
    ],
)
def test_what_is_wrong_with_own_tables_is_named(own, message):
    with pytest.raises(ValueError, match=message):
        Agent(two_beliefs(), own=own)


def test_beliefs_are_a_sequence_of_the_factors_that_agents_share(rng):
    """From the end too, and no further: also where agents have a factor more that tells them apart."""
    model = POMDP(A=[columns(rng, (3, 2, 3))], B=[columns(rng, (2, 2, 1)), columns(rng, (3, 3, 1))])
    for own in (None, {"D[0]": np.stack([columns(rng, (2,)) for _ in range(N)])}):
        agent = Agent(model, own=own)
        _, info = agent.step(agent.init(N), np.zeros((N, 1), dtype=int), action=np.zeros((N, 2), dtype=int))
        assert len(info.qs) == 2
        for f, q in enumerate(info.qs):
            assert q.shape == (N, 2 + f)
            np.testing.assert_array_equal(info.qs[f - 2], q)
        for f in (2, -3):
            with pytest.raises(IndexError, match="factor must lie in 0..1; got"):
                info.qs[f]


def test_a_batch_of_another_size_is_refused():
    for own in ({"C[0]": np.zeros((3, 2))}, {"D[0]": np.full((3, 2), 0.5)}):
        agent = Agent(two_beliefs(), own=own)
        with pytest.raises(ValueError, match="3 agents; the batch has 4"):
            agent.init(4)


@pytest.mark.parametrize("inference", ["factorised", "sequential", "mean-field"])
def test_filters_refuse_tables_that_they_would_ignore(inference):
    with pytest.raises(ValueError, match="own"):
        Agent(two_beliefs(), inference=inference, own={"D[0]": np.full((3, 2), 0.5)})
