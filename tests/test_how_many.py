"""The how-many paradigm: boxes, evidence and looks against sums over all wirings and causes, written down anew."""

from __future__ import annotations

import sys
from functools import cache
from io import BytesIO
from itertools import combinations, product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import plots, simulate
from activebmr.arrays import standard_error
from activebmr.references import evidence_bound
from activebmr.simulation.registry import options_of
from paradigms import how_many
from paradigms.how_many import causes, drawing, looking, measures

P, STRENGTH, BACKGROUND, SENSORS = 0.5, 0.9, 0.05, 5
PAIRS = list(combinations(range(SENSORS), 2))
ON = {0: BACKGROUND, 1: 1 - (1 - BACKGROUND) * (1 - STRENGTH)}


# --- boxes, by hand ----------------------------------------------------------------------------------------------------------
@cache
def partitions(n_causes):
    """Ways to share sensors among causes, each of which gets some: as sets, whatever causes are called."""
    found = {}
    for owner in product(range(n_causes), repeat=SENSORS):
        groups = frozenset(frozenset(s for s in range(SENSORS) if owner[s] == c) for c in range(n_causes))
        if all(groups):
            found.setdefault(groups, owner)
    return list(found.values())


def chance(owner, view, seen):
    """Probability of what a look shows, in a box of this wiring."""
    n, total = max(owner) + 1, 0.0
    for states in product((0, 1), repeat=n):
        p = np.prod([P if x else 1 - P for x in states])
        for s, x in zip(view, seen, strict=True):
            on = ON[states[owner[s]]]
            p *= on if x else 1 - on
        total += p
    return total


@cache
def tables(watched):
    """Per number of causes the probabilities of what looks show ``(wirings, views, outcomes)``."""
    views, outcomes = list(combinations(range(SENSORS), watched)), list(product((0, 1), repeat=watched))
    return [np.array([[[chance(w, v, o) for o in outcomes] for v in views] for w in partitions(k)]) for k in (1, 2, 3, 4)]


def entropy(p):
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)


def test_wirings_are_all_ways_to_share_sensors_among_causes():
    for k in (1, 2, 3, 4):
        ours = {frozenset(frozenset(s for s in range(SENSORS) if w[s] == c) for c in range(k)) for w in causes.wirings(k)}
        theirs = {frozenset(frozenset(s for s in range(SENSORS) if w[s] == c) for c in range(k)) for w in partitions(k)}
        assert ours == theirs and len(ours) == len(causes.wirings(k))
    assert [len(causes.wirings(k)) for k in (1, 2, 3, 4)] == [1, 15, 25, 10]
    assert [len(causes.wirings(k, 6)) for k in (1, 2, 3, 4)] == [1, 31, 90, 65]
    assert causes.wirings(2, 3) == ((0, 0, 1), (0, 1, 0), (0, 1, 1))
    assert causes.say_wiring((0, 1, 0, 2, 1)) == "AC|BE|D"
    assert_array_equal(np.bincount(causes.numbers_of()), [0, 1, 15, 25, 10])


@pytest.mark.parametrize("watched", [2, 3, 5])
def test_what_looks_show(watched):
    """Tables of looks, and those of the models with their factors, against sums over causes; a sensor alone tells nothing."""
    ours, at = causes.experiments(watched), 0
    for k, theirs in enumerate(tables(watched)):
        mine = {w: ours[:, at + i] for i, w in enumerate(causes.wirings(k + 1))}
        at += len(mine)
        for i, owner in enumerate(partitions(k + 1)):
            order = list(dict.fromkeys(owner))
            assert_allclose(mine[tuple(order.index(c) for c in owner)], theirs[i], atol=1e-15)
        model = causes.world_model(k + 1, watched)
        assert model.num_states == (len(ours) + 1, len(theirs), *[2] * (k + 1))
        assert model.num_outcomes == (2,) * watched
        joint = np.ones((1, len(ours) + 1, len(theirs), *[2] * (k + 1)))
        for a in model.A:
            joint = (joint[:, None] * a[None]).reshape(-1, *joint.shape[1:])
        mixed = joint.mean(axis=tuple(range(3, joint.ndim)))  # causes are on or off alike
        assert_allclose(mixed[:, 1:].transpose(1, 2, 0), ours[:, at - len(theirs) : at], atol=1e-15)
        assert_array_equal(mixed[0, 0], 1.0)  # nothing is looked at: all seems off
    assert at == ours.shape[1]
    alone = ours.reshape(*ours.shape[:2], 2, -1).sum(axis=3)
    assert_allclose(alone, np.broadcast_to(alone[0, 0], alone.shape), atol=1e-15)


# --- agents ------------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def results():
    """Two boxes of 8 looks each, by scheme."""
    return {s: simulate(how_many.paradigm(s, looks=8), n_agents=24, n_trials=2, seed=3, trace=True) for s in how_many.SCHEMES}


def looked_at(result):
    """Views and outcomes of every look ``(agent, trial, look)``, outcomes as one number."""
    seen = result.trace["outcomes"][0, :, :, 1:]
    return result.trace["controls"][0, :, :, :-1, 0], (seen * 2 ** np.arange(seen.shape[3])[::-1]).sum(axis=3)


def test_agents_believe_and_look_as_bayes_has_it(results):
    """After every look, in both boxes; and gains about the number, and about number and wiring, of what was chosen."""
    for scheme, result in results.items():
        each = tables(5 if scheme == "all" else 2)
        views, outcomes = looked_at(result)
        for a in range(0, 24, 3):
            odds = np.full(4, 0.25)
            for box in range(2):
                weights = [np.full(len(t), odds[k] / len(t)) for k, t in enumerate(each)]
                for i, (v, o) in enumerate(zip(views[a, box], outcomes[a, box], strict=True)):
                    if scheme in ("gain", "states"):
                        predicted = np.array([np.tensordot(w, t, 1) / w.sum() for w, t in zip(weights, each, strict=True)])
                        told = entropy(np.tensordot(odds, predicted, 1)) - np.tensordot(odds, entropy(predicted), 1)
                        assert_allclose(result.trace["model_info_gain"][0, a, box, i], told, atol=1e-11)
                        worth = told + (_about_states(weights, odds, predicted) if scheme == "states" else 0.0)
                        assert worth[v] > worth.max() - 1e-8
                    weights = [w * t[:, v, o] for w, t in zip(weights, each, strict=True)]
                    odds = np.array([w.sum() for w in weights])
                    weights, odds = [w / odds.sum() for w in weights], odds / odds.sum()
                    assert_allclose(result.trace["model_posterior"][0, a, box, i + 1], odds, atol=1e-11)
                assert_allclose(result.model_posterior[0, a, box], odds, atol=1e-11)
    assert all((r.impossible == 0).all() for r in results.values())
    assert len(np.unique(results["random"].trace["controls"][0, ..., :-1, 0])) == len(PAIRS)


def _about_states(weights, odds, predicted):
    """I(S; O | M): what a look tells about wiring and causes together is the entropy of what it shows, less that of sensors
    whose causes are known.
    """
    noise = 2 * np.mean([entropy(np.array([1 - p, p])) for p in ON.values()])
    return np.tensordot(odds, entropy(predicted), 1) - noise


def test_the_posterior_is_that_of_all_hidden_paths():
    """Three looks: every wiring and every sequence of states of the causes."""
    result = simulate(how_many.paradigm("random", looks=3), n_agents=4, n_trials=1, seed=1, trace=True)
    views, outcomes = looked_at(result)
    for a in range(4):
        evidence = []
        for k in (1, 2, 3, 4):
            total = 0.0
            for owner in partitions(k):
                for path in product(product((0, 1), repeat=k), repeat=3):
                    p = 1.0
                    for states, v, o in zip(path, views[a, 0], outcomes[a, 0], strict=True):
                        for s, x in zip(PAIRS[v], divmod(int(o), 2), strict=True):
                            p *= ON[states[owner[s]]] if x else 1 - ON[states[owner[s]]]
                        p *= P**k
                    total += p
            evidence.append(total / len(partitions(k)))
        assert_allclose(result.model_posterior[0, a, 0], np.array(evidence) / sum(evidence), atol=1e-12)


def _again(views, outcomes, order, boxes):
    """The posterior at the end of looks in another order, of boxes in another order."""
    agent = how_many.paradigm("random", looks=views.shape[2]).agent
    state = agent.init(len(views))
    for box in boxes:
        seen = np.stack([outcomes[:, box] // 2, outcomes[:, box] % 2], axis=2)[:, order]
        nothing = np.zeros((len(views), 1, 2), dtype=int)
        controls = np.zeros((len(views), len(order) + 1, agent.model.num_factors), dtype=int)
        controls[:, :-1, 0] = views[:, box][:, order]
        for t, row in enumerate(np.concatenate([nothing, seen], axis=1).swapaxes(0, 1)):
            state, _ = agent.step(state, row, action=controls[:, t])
        state, report = agent.end_trial(state)
    return report.model_posterior


def test_the_order_of_looks_and_boxes_does_not_matter(results):
    rng = np.random.default_rng(0)
    views, outcomes = looked_at(results["gain"])
    expected = results["gain"].model_posterior[0, :, -1]
    for order, boxes in ((np.arange(8)[::-1], (0, 1)), (np.arange(8), (1, 0)), (rng.permutation(8), (1, 0))):
        assert_allclose(_again(views, outcomes, order, boxes), expected, rtol=0, atol=1e-12)


def test_names_of_sensors_do_not_matter(results):
    """Sensors A and D change places: the same posterior."""
    views, outcomes = looked_at(results["gain"])
    swap = [3, 1, 2, 0, 4]
    renamed, turned = np.empty_like(views), np.empty_like(outcomes)
    for v, o in product(range(len(PAIRS)), range(4)):
        pair = [swap[s] for s in PAIRS[v]]
        here = (views == v) & (outcomes == o)
        renamed[here] = PAIRS.index(tuple(sorted(pair)))
        turned[here] = o if pair == sorted(pair) else 2 * (o % 2) + o // 2
    assert_allclose(_again(renamed, turned, np.arange(8), (0, 1)), results["gain"].model_posterior[0, :, -1], atol=1e-12)


def test_worlds_are_wired_as_their_number_says(results):
    """Every box anew, all wirings alike; states of the true model, -1 for causes that it lacks."""
    for r in results.values():
        states = r.trace["states"][0]
        assert set(r.true_model) == {0, 1, 2, 3}
        for k in range(4):
            mine = states[r.true_model == k]
            assert (mine[..., 2 + k + 1 :] == -1).all() and set(np.unique(mine[..., 2 : 3 + k])) == {0, 1}
            assert (mine[..., 1] == mine[:, :, :1, 1]).all() and mine[..., 1].max() < len(causes.wirings(k + 1))
    many = simulate(how_many.paradigm("all", "three", looks=1), n_agents=64, n_trials=25, trace=True)
    count = np.bincount(many.trace["states"][0, :, :, 0, 1].ravel(), minlength=25)
    assert ((count - 64) ** 2 / 64).sum() < 55  # chi-squared of 24 degrees of freedom: 55 is 1 in 3,000


def test_posteriors_are_calibrated():
    """The mean posterior of the number that is named is the share of agents who name the right one."""
    for scheme, looks in (("all", 8), ("random", 16)):
        r = simulate(how_many.paradigm(scheme, looks=looks), n_agents=128, n_trials=1, seed=5)
        gap = measures.named(r.model_posterior, measures.truths(r))[0, :, 0] - r.model_posterior[0, :, 0].max(axis=1)
        assert abs(gap.mean()) < 3.5 * standard_error(gap)


def test_the_right_number_in_more_than_95_of_100_worlds():
    """Where all sensors are seen, after 36 looks into one box."""
    r = simulate(how_many.paradigm("all", looks=36), n_agents=100, n_trials=1, seed=7)
    share = measures.named(r.model_posterior, measures.truths(r))[0, :, -1]
    assert share.mean() > 0.95
    assert r.true_model_posterior[0, :, -1].mean() > 0.95


@pytest.mark.slow
def test_gain_finds_the_number_where_random_looks_do_not_and_curiosity_about_states_is_lost():
    ends = {}
    for scheme in ("gain", "random", "states"):
        r = simulate(how_many.paradigm(scheme, looks=64), n_agents=48, n_trials=1, seed=2, trace=True)
        ends[scheme] = r.true_model_posterior[0, :, -1]
        if scheme == "gain":
            assert measures.floor(r) < measures.looks_until(r)[0].mean()
            assert measures.right(r)[1][0, :, -1].mean() > 0.85
        if scheme == "states":
            assert looking.looked_at({"states": r})["states"].mean() < 0.08
    for other in ("random", "states"):
        gap = ends["gain"] - ends[other]
        assert gap.mean() > 3 * standard_error(gap)


# --- measures ----------------------------------------------------------------------------------------------------------------
def test_who_names_the_right_number():
    posterior = np.array([[[0.7, 0.1, 0.1, 0.1]], [[0.4, 0.4, 0.1, 0.1]], [[0.1, 0.2, 0.3, 0.4]]])
    assert_allclose(measures.named(posterior, np.array([0, 1, 2])), [[1.0], [0.5], [0.0]])
    assert_allclose(measures.named(posterior[None, :, :], np.array([1, 2, 3])), [[[0.0], [0.0], [1.0]]])


def test_courses(results):
    traced = results["gain"]
    looks, posterior = measures.course(traced)
    assert_array_equal(looks, np.arange(17))
    assert_allclose(posterior[:, :, 0], 0.25)
    untraced = simulate(how_many.paradigm("gain", looks=8), n_agents=24, n_trials=2, seed=3)
    boxes, at_ends = measures.course(untraced)
    assert_array_equal(boxes, [0, 8, 16])
    assert_allclose(at_ends, posterior[:, :, [0, 8, 16]], atol=1e-14)
    when, never = measures.looks_until(traced), measures.late(traced)
    truth = posterior[0, np.arange(24), :, traced.true_model]
    for a in range(24):
        there = np.flatnonzero(truth[a] >= 0.95)
        assert when[0, a] == (there[0] if len(there) else 16) and never[0, a] == (len(there) == 0)
    (start,) = measures.enough(traced, share=0.4)
    share = measures.right(traced)[1][0].mean(axis=0)
    assert (share[start:] >= 0.4).all() and share[start - 1] < 0.4
    assert measures.enough(traced, share=1.0) == [None]


def test_schemes_that_see_different_things_can_be_traced_together():
    """A trace has room for the scheme that sees most; what others do not see is nothing (-1). Beliefs are there for all."""
    both = simulate([how_many.paradigm(s, looks=2) for s in ("gain", "all")], n_agents=3, n_trials=1, trace=True)
    seen = both.trace["outcomes"]
    assert seen.shape == (2, 3, 1, 3, 5)
    assert (seen[0, ..., :2] >= 0).all() and (seen[0, ..., 2:] == -1).all() and (seen[1] >= 0).all()
    looks, posterior = measures.course(both)
    assert_array_equal(looks, [0, 1, 2])
    assert_allclose(posterior.sum(axis=3), 1.0)


def test_bounds_are_those_of_each_wiring():
    bounds = measures.bounds(2, SENSORS, P, STRENGTH, BACKGROUND)
    ours, numbers = causes.experiments(2), causes.numbers_of()
    others = np.flatnonzero(numbers != 2)
    prior = np.concatenate([[1.0], np.array([0, 1, 15, 25, 10])[numbers[others]] ** -1.0])
    each = [evidence_bound(ours[:, [i, *others]], prior)[0] for i in (1, 4, 9)]
    shapes = [tuple(sorted(np.bincount(w))) for w in causes.wirings(2)]
    by_shape = {shapes[i - 1]: b for i, b in zip((1, 4, 9), each, strict=True)}
    assert len(by_shape) == 2
    assert_allclose(bounds[1], np.mean([by_shape[s] for s in shapes]), rtol=1e-5)
    assert (measures.bounds(5, SENSORS, P, STRENGTH, BACKGROUND) < bounds / 3).all()
    one = simulate(how_many.paradigm("all", looks=2), n_agents=3, n_trials=1)
    assert_allclose(measures.floor(one), measures.bounds(5, SENSORS, P, STRENGTH, BACKGROUND)[one.true_model].mean())


def test_the_floor_is_about_one_box(results):
    with pytest.raises(ValueError, match="result must be about one box"):
        measures.floor(results["gain"])


# --- contract, bad input, drawing --------------------------------------------------------------------------------------------
def test_contract_of_a_paradigm():
    assert options_of(how_many) == {"watched": ["2", "3", "4"]}
    assert how_many.DEFAULT_SCHEME in how_many.SCHEMES
    assert how_many.paradigm().truth == "random" and how_many.TRIALS >= 1
    assert how_many.paradigm(true_rule="two").truth == how_many.paradigm(true_rule=1).truth == 1
    r = simulate([how_many.paradigm(s, watched="3", looks=1) for s in how_many.SCHEMES], n_agents=3, n_trials=2)
    header, rows, notes = how_many.table(r)
    assert len(rows) == 4 and all(len(row) == len(header) for row in rows)
    assert "1 look into each of 2 boxes" in notes[0]
    assert [s["watched"] for s in r.settings["schemes"].values()] == [3, 3, 3, 5]


def test_agents_may_make_up_their_mind():
    r = simulate(how_many.paradigm("all", "one", looks=30, sure=0.95), n_agents=16, n_trials=1)
    assert r.adopted_truth.mean() > 0.9
    assert int(r.true_model) == 0


def test_the_world_can_be_another_one():
    space = how_many.hypotheses(2, 6, 0.3, 0.8, 0.1)
    one = how_many.paradigm("random", sensors=6, chance=0.3, strength=0.8, background=0.1, looks=1)
    r = simulate(one, n_agents=2, n_trials=1)
    assert [m.num_states[1] for m in space.models] == [1, 31, 90, 65]
    assert r.settings["schemes"]["random"]["background"] == 0.1
    lit = space.models[1].A[0][1, 1, 0]
    assert_allclose(sorted(np.unique(lit)), [0.1, 1 - 0.9 * 0.2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "luck"}, "scheme of how-many must be one of"),
        ({"true_rule": "five"}, "truth must be 'random' or lie in 0..3; got 'five'"),
        ({"true_rule": 4}, "truth must be 'random' or lie in 0..3; got 4"),
        ({"looks": 0}, "looks must be"),
        ({"watched": 1}, "watched must"),
        ({"watched": "6"}, "watched must"),
        ({"watched": "two"}, "watched must"),
        ({"sensors": 4}, "sensors must"),
        ({"sensors": 9}, "sensors must"),
        ({"chance": 1.0}, "chance must lie in"),
        ({"chance": 0.0}, "chance must lie in"),
        ({"strength": 0.0}, "strength must lie in"),
        ({"background": 1.0}, "background must lie in"),
        ({"sure": 0.5}, "sure must lie in"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        how_many.paradigm(**options)


def test_figures(results, tmp_path):
    before = dict(plots.PALETTE)
    drawn = how_many.figures(results["gain"], tmp_path / "new")
    assert [p.name for p in drawn] == ["right.png", "posterior.png", "one_agent.png"]
    assert all(p.stat().st_size > 5000 for p in drawn)
    untraced = simulate([how_many.paradigm(s, looks=3) for s in ("all", "gain")], n_agents=3, n_trials=2)
    assert [p.name for p in how_many.figures(untraced, tmp_path)] == ["right.png", "posterior.png"]
    one_box = {s: simulate(how_many.paradigm(s, looks=3), n_agents=12, n_trials=1, trace=True) for s in how_many.SCHEMES}
    page = drawing.overview(one_box)
    page.savefig(BytesIO(), format="png")
    assert "12" in page.texts[1].get_text()
    assert before == plots.PALETTE
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
