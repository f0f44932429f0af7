"""Model reduction of transitions and initial states as of likelihoods: against the chain rule along paths that were seen."""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp

from activebmr import POMDP, Alternatives, HypothesisSpace, InformativeMappings, SingleParameters
from activebmr.model.naming import Table
from activebmr.reduction import bayesian_model_average, log_evidence_ratio, model_posterior, reduced_posterior
from activebmr.reduction.search.single_parameters import absent_probability, single_ratios

NAMES = ("pA[0]", "pB[0]", "pB[1]", "pD[0]", "pD[1]")


# --- worlds whose states are seen ----------------------------------------------------------------------------------------
class World:
    """Two factors, of which the second is driven by the first, and a modality that depends on both; and some trials in it."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        sizes, controls, outcomes = rng.integers(2, 4, size=2), rng.integers(1, 4, size=2), int(rng.integers(2, 4))
        s0, s1 = (int(n) for n in sizes)
        self.controls = [int(n) for n in controls]
        self.shapes = {
            "pA[0]": (outcomes, s0, s1),
            "pB[0]": (s0, s0, self.controls[0]),
            "pB[1]": (s1, s0, s1, self.controls[1]),
            "pD[0]": (s0,),
            "pD[1]": (s1,),
        }
        truth = {name: self.probabilities(shape) for name, shape in self.shapes.items()}
        self.seen = [self.trial(truth) for _ in range(int(rng.integers(1, 4)))]

    def counts(self, shape):
        return self.rng.gamma(1.0, size=shape) + 0.05

    def probabilities(self, shape, zeros=0.0):
        raw = self.counts(shape) * (self.rng.random(shape) >= zeros)
        raw[int(self.rng.integers(shape[0]))] += 0.1
        return raw / raw.sum(axis=0)

    def trial(self, truth):
        """What was seen one after the other: name of the table, outcome (or next state), and the column that it came from."""
        draw = lambda p: int(self.rng.choice(len(p), p=p))  # noqa: E731
        state = [draw(truth["pD[0]"]), draw(truth["pD[1]"])]
        events = [("pD[0]", state[0], ()), ("pD[1]", state[1], ())]
        for t in range(int(self.rng.integers(1, 9))):
            if t:
                u = [int(self.rng.integers(n)) for n in self.controls]
                columns = {"pB[0]": (state[0], u[0]), "pB[1]": (*state, u[1])}
                state = [draw(truth[name][(slice(None), *c)]) for name, c in columns.items()]
                events += [(name, s, c) for (name, c), s in zip(columns.items(), state, strict=True)]
            events.append(("pA[0]", draw(truth["pA[0]"][:, state[0], state[1]]), tuple(state)))
        return events

    def after(self, before):
        """Counts after all trials, from those before."""
        out = {name: x.copy() for name, x in before.items()}
        for name, outcome, column in itertools.chain(*self.seen):
            out[name][(outcome, *column)] += 1.0
        return out

    def log_evidence(self, hypothesis):
        """ln p(all that was seen), each event predicted by counts so far, or by values: first principles, no gamma function."""
        held = {name.lstrip("p"): np.array(x, dtype=float) for name, x in hypothesis.items()}
        learned, total = {name.lstrip("p") for name in hypothesis if name[0] == "p"}, 0.0
        for name, outcome, column in itertools.chain(*self.seen):
            table = name.lstrip("p")
            if table not in held:
                continue
            x = held[table][(slice(None), *column)]
            p = x[outcome] / x.sum()
            total += math.log(p) if p > 0 else -math.inf
            if table in learned:
                x[outcome] += 1.0
        return total


@settings(max_examples=100)
@given(st.integers(0, 10**6))
def test_ratios_of_every_table_are_those_of_the_exact_evidences_along_seen_paths(seed):
    world = World(seed)
    before = {name: world.counts(shape) for name, shape in world.shapes.items()}
    after = world.after(before)
    for name, shape in world.shapes.items():
        reduced = world.counts(shape)
        exact = world.log_evidence({name: reduced}) - world.log_evidence({name: before[name]})
        ratio = log_evidence_ratio(after[name], before[name], reduced)
        assert np.shape(ratio) == shape[1:]
        assert_allclose(ratio.sum(), exact, rtol=1e-9, atol=1e-10)
        assert_allclose(reduced_posterior(after[name], before[name], reduced), world.after({**before, name: reduced})[name])


@settings(max_examples=100)
@given(st.integers(0, 10**6))
def test_posterior_of_hypotheses_about_several_tables_by_counts_or_values(seed):
    """Bayes' rule with the exact evidence of each; some give values, and some of these exclude what was seen."""
    world = World(seed)
    about = [name for name in NAMES if world.rng.random() < 0.6] or ["pB[0]"]
    hypotheses = {}
    for h in range(4):
        told = {}
        for name in about:
            if world.rng.random() < 0.4:
                told[name.lstrip("p")] = world.probabilities(world.shapes[name], zeros=0.15)
            else:
                told[name] = world.counts(world.shapes[name])
        hypotheses[f"h{h}"] = told
    hypotheses["counts"] = {name: world.counts(world.shapes[name]) for name in about}
    weights = world.rng.gamma(2.0, size=5)
    space = HypothesisSpace(hypotheses, prior=weights)
    before = {name: world.counts(shape) for name, shape in world.shapes.items()}
    scores = np.array([world.log_evidence(h) for h in hypotheses.values()]) + np.log(weights)
    exact = np.exp(scores - logsumexp(scores))
    found = model_posterior(world.after(before), before, space)
    assert_allclose(found, exact, rtol=1e-8, atol=1e-12)
    # what the full prior is does not matter, not even if it excludes what was seen
    nothing = {name: np.where(world.rng.random(shape) < 0.5, 0.0, 1.0) for name, shape in world.shapes.items()}
    assert_allclose(model_posterior(world.after(nothing), nothing, space), exact, rtol=1e-8, atol=1e-12)


def test_tables_are_known_by_any_of_their_names():
    before, after = np.ones((2, 2, 1)), np.array([[[3.0], [1.0]], [[1.0], [4.0]]])
    lit = np.ones((2, 2))
    hypotheses = {
        "stays": {"pB[0]": 0.1 + np.eye(2)[:, :, None], "pA[0]": lit},
        "goes": {"pB[0]": 1.1 - np.eye(2)[:, :, None], "pA[0]": lit},
    }
    space = HypothesisSpace(hypotheses)
    found = [
        model_posterior({b: after, a: lit}, {b: before, a: lit}, space)
        for b, a in (("pB[0]", 0), ("B[0]", "pA[0]"), (Table("B", 0), Table("A", 0)))
    ]
    assert_array_equal(found[0], found[1])
    assert_array_equal(found[0], found[2])
    assert found[0][0] > 0.99
    named = HypothesisSpace({n: {"pB[place]": h["pB[0]"]} for n, h in hypotheses.items()})
    assert_allclose(model_posterior(after, before, named), found[0])
    assert_allclose(model_posterior({"pB[place]": after}, {"pB[place]": before}, named), found[0])


def test_a_value_by_hand():
    """Two of one and none of the other: 1/2 x 2/3 under one count each, .9 x .9 if that is known, and 0 if it is excluded."""
    told = {"learned": {"pD[0]": [1.0, 1.0]}, "known": {"D[0]": [0.9, 0.1]}, "excluded": {"D[0]": [0.0, 1.0]}}
    p = np.array([1 / 3, 0.81, 0.0])
    assert_allclose(model_posterior([3.0, 1.0], [1.0, 1.0], HypothesisSpace(told)), p / p.sum(), rtol=1e-12)
    # 0 log 0 = 0; what is known gets no offset
    assert_allclose(
        model_posterior([3.0, 1.0], [1.0, 1.0], HypothesisSpace(dict(list(told.items())[1:])), offset=1 / 32), [1.0, 0.0]
    )


def test_an_average_has_hypotheses_of_one_kind():
    counts = HypothesisSpace({"a": {"pB[0]": np.ones((2, 2, 1))}, "b": {"pB[0]": np.full((2, 2, 1), 3.0)}})
    assert_allclose(bayesian_model_average(counts, "pB[0]", [0.5, 0.5], 2.0), np.full((2, 2, 1), 4.0))
    assert_allclose(bayesian_model_average(counts, Table("B", 0), [0.25, 0.75]), np.full((2, 2, 1), 2.5))
    values = HypothesisSpace({"a": {"D[0]": [1.0, 0.0]}, "b": {"D[0]": [0.5, 0.5]}})
    assert_allclose(bayesian_model_average(values, "D[0]", [0.5, 0.5], 8.0), [6.0, 2.0])
    mixed = HypothesisSpace({"a": {"pD[0]": [1.0, 0.0]}, "b": {"D[0]": [0.5, 0.5]}})
    with pytest.raises(
        ValueError, match=r"hypotheses about D\[0\] must all give counts or all give values to be averaged; 'b'"
    ):
        bayesian_model_average(mixed, "pD[0]", [0.5, 0.5])


BOTH = HypothesisSpace({n: {"pB[0]": np.ones((2, 2, 1)) + k, "pD[0]": np.ones(2)} for k, n in enumerate("ab")})
SHARP = HypothesisSpace({"a": {"D[0]": [0.5, 0.5]}, "b": {"pD[0]": [1.0, 1.0]}})
MOVES, START = np.ones((2, 2, 1)), np.ones(2)


@pytest.mark.parametrize(
    "posterior, prior, space, message",
    [
        (MOVES, MOVES, BOTH, r"posterior and prior must be dicts keyed by the tables \['B\[0\]', 'D\[0\]'\]"),
        ({"pB[0]": MOVES}, {"pB[0]": MOVES}, BOTH, r"posterior must hold the counts of the tables .*; got \['pB\[0\]'\]"),
        (
            {"pB[0]": MOVES, "pD[0]": START},
            {"pB[0]": MOVES},
            BOTH,
            r"prior must hold the counts of the tables .*; got \['pB\[0\]'\]",
        ),
        ({"pB[0]": MOVES, "B[0]": MOVES, "pD[0]": START}, {}, BOTH, "posterior must name each table once"),
        (
            {"pB[0]": MOVES[:, :1], "pD[0]": START},
            {"pB[0]": MOVES, "pD[0]": START},
            BOTH,
            r"posterior and prior of B\[0\] must have shape \(2, 2, 1\); got \(2, 1, 1\) and \(2, 2, 1\)",
        ),
        ({"moves(0)": MOVES, "p[0]": START}, {}, BOTH, "names of tables must be names of tables like 'pA"),
        ([1.0, 0.5], [1.0, 1.0], SHARP, r"posterior of D\[0\] must not be below prior where a hypothesis gives values; entry"),
    ],
)
def test_counts_that_do_not_fit_a_space_are_named(posterior, prior, space, message):
    with pytest.raises(ValueError, match=message):
        model_posterior(posterior, prior, space)


def test_models_of_their_own_are_not_compared_by_counts():
    model = POMDP(A=[np.eye(2)], B=[np.eye(2)[:, :, None]])
    space = HypothesisSpace.from_models({"one": model, "two": model.with_(D=[[0.9, 0.1]])})
    with pytest.raises(ValueError, match="these are models of their own"):
        model_posterior(START, START, space)
    with pytest.raises(ValueError, match="its hypotheses are models of their own"):
        Alternatives(space)


# --- searches ------------------------------------------------------------------------------------------------------------
def test_lists_of_models_of_transitions_and_initial_states(rng):
    prior = {"pB[0]": np.ones((3, 3, 2)), "pD[0]": np.ones(3)}
    told = {h: {n: rng.gamma(1.0, size=x.shape) + 0.1 for n, x in prior.items()} for h in "abc"}
    space = HypothesisSpace(told)
    for name, before in prior.items():
        after = before + np.stack([10 * np.rint(told[h][name]) for h in "abca"])
        found = Alternatives(space, name, threshold=-np.inf, offset=0.0).reduce(after, before)
        ratios = [[np.sum(log_evidence_ratio(q, before, told[h][name])) for h in "abc"] for q in after]
        assert_allclose(found.ratios, ratios, rtol=1e-9, atol=1e-10)
        best = np.where(np.max(ratios, axis=1) >= 0, np.argmax(ratios, axis=1), -1)
        assert_array_equal(found.held, best)
        for k in range(4):
            expected = told["abc"[best[k]]][name] if best[k] >= 0 else before
            assert_allclose(found.prior[k], expected)
            assert_allclose(found.posterior[k], expected + (after[k] - before))
        assert len(set(best.tolist())) > 1
    assert Alternatives(space, Table("D", 0)).table is Alternatives(space, "D[0]").table
    with pytest.raises(ValueError, match=r"table must be given, one of \['B\[0\]', 'D\[0\]'\]"):
        Alternatives(space)
    with pytest.raises(ValueError, match=r"table must be one that the models speak about, .*; got pB\[1\]"):
        Alternatives(space, "pB[1]")
    with pytest.raises(ValueError, match=r"models of Alternatives must give counts of D\[0\].*; 'a' gives values"):
        Alternatives(SHARP)


def supports_of(prior, seen, rate):
    """Probability that each entry of a column is absent, by going through all its supports."""
    weight, absent = [], []
    for gone in itertools.product([False, True], repeat=len(prior)):
        if not all(gone):
            reduced = np.where(gone, 0.0, prior)
            odds = sum(math.log(rate if g else 1 - rate) for g in gone)
            weight.append(odds + float(log_evidence_ratio(prior + seen, prior, reduced)))
            absent.append(gone)
    p = np.exp(np.array(weight) - logsumexp(weight))
    return p @ np.array(absent, dtype=float)


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_probabilities_that_moves_and_starts_do_not_exist_are_those_of_all_supports(seed):
    rng = np.random.default_rng(seed)
    prior = rng.gamma(2.0, size=(3, 3, 2)) + 0.2 if rng.random() < 0.5 else np.full((3, 3, 2), 0.7)
    seen = rng.choice([0.0, 0.0, 1.0, 6.0], size=prior.shape)
    found = absent_probability(prior + seen, prior, rate=0.3)
    for at in np.ndindex(3, 2):
        column = (slice(None), *at)
        assert_allclose(found[column], supports_of(prior[column], seen[column], 0.3), rtol=1e-6, atol=1e-8)
    start = absent_probability((prior + seen)[:, 0, 0], prior[:, 0, 0], rate=0.3)
    assert_allclose(start, found[:, 0, 0], rtol=1e-10)
    assert_allclose(single_ratios((prior + seen)[:, 0, 0], prior[:, 0, 0]), single_ratios(prior + seen, prior)[:, 0, 0])


@pytest.mark.parametrize("search", ["exact", "joint", "greedy"])
def test_a_table_of_transitions_is_searched_as_the_likelihood_of_the_same_columns(search, rng):
    prior, seen = np.ones((6, 6, 3)), rng.poisson(rng.gamma(0.3, 20.0, size=(2, 6, 6, 3))).astype(float)
    for space in (SingleParameters(search=search), InformativeMappings(threshold=0.0)):
        moves, flat = space.reduce(prior + seen, prior), space.reduce((prior + seen).reshape(2, 6, 18), prior.reshape(6, 18))
        assert_array_equal(moves.prior.reshape(2, 6, 18), flat.prior)
        assert_array_equal(moves.posterior.reshape(2, 6, 18), flat.posterior)
        assert_array_equal(moves.log_evidence_ratio, flat.log_evidence_ratio)
        start, column = space.reduce((prior + seen)[:, :, 0, 0], prior[:, 0, 0]), (prior + seen)[:, :, 0, :1]
        assert_array_equal(start.prior, space.reduce(column, prior[:, 0, :1]).prior[..., 0])
    assert moves.accepted.all()


def test_one_column_tells_nothing_that_could_be_made_more_informative():
    found = InformativeMappings(threshold=-np.inf).reduce(np.array([[9.0, 1.0, 3.0]]), np.ones(3))
    assert_array_equal(found.prior, np.ones((1, 3)))
    liked = InformativeMappings(threshold=-np.inf, preferences=[1.0, 0.0, 0.0]).reduce(np.array([[9.0, 1.0, 3.0]]), np.ones(3))
    assert liked.prior[0, 0] > 1.0


# --- which moves do not exist --------------------------------------------------------------------------------------------
benchmark = importlib.util.spec_from_file_location(
    "structure_learning", Path(__file__).parents[1] / "benchmarks" / "structure_learning.py"
)
structure_learning = importlib.util.module_from_spec(benchmark)
benchmark.loader.exec_module(structure_learning)


@pytest.mark.parametrize(
    "share, per_column, precision, recall", [(0.5, 60, 0.8, 0.97), (0.5, 600, 0.88, 0.97), (0.0, 200, None, None)]
)
def test_moves_that_do_not_exist_are_found_by_wandering(share, per_column, precision, recall):
    """The benchmark's worlds, a few of them: held-out moves are never less likely, whatever was removed."""
    got = structure_learning.recover_moves(structure_learning.by(), share, per_column, 12, 0)
    assert not structure_learning.worse(got[:, 4])
    if precision is None:
        assert np.isnan(got[:, :3]).all() and (got[:, 4] == 0).all()  # a world with all moves stays as it is
    else:
        assert np.nanmean(got[:, 0]) > precision and np.nanmean(got[:, 2]) > recall and got[:, 4].mean() > 0.01
