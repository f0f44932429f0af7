"""The T-maze: its structures, its agents against enumeration of all that may have happened, and the best plans."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import Result, simulate
from activebmr.arrays import standard_error
from activebmr.references import evidence_bound
from paradigms import t_maze
from paradigms.t_maze import world
from paradigms.t_maze.floors import best_possible, watch
from paradigms.t_maze.going import typical
from paradigms.t_maze.lives import lives
from paradigms.t_maze.optimum import best_session, worths
from paradigms.t_maze.reading import KINDS, kind_of, structures_of
from paradigms.t_maze.world import CUE, STRUCTURES, Structure

CENTRE, _, LEFT, RIGHT = range(4)


# --- a T-maze of our own ---------------------------------------------------------------------------------------------------
def next_place(place: int, control: int) -> int:
    if place in (LEFT, RIGHT):
        return CENTRE
    if control == 0:
        return CUE if place == CENTRE else CENTRE
    return LEFT if control == 1 else RIGHT


def says(s: Structure, context: int, place: int, light: int, paid: int, reward: float) -> float:
    """Probability of what is seen in a context at a place."""
    if place == CENTRE:
        return float(light == 0 and paid == 0)
    if place == CUE:
        true = (light == 1) == (s.means == world.CONTEXTS[context])
        return (s.reliability if true else 1 - s.reliability) * (light > 0 and paid == 0)
    good = (context == 0) == (place == LEFT)
    return (reward if good == (paid == 1) else 1 - reward) * (light == 0 and paid > 0)


def moves_to(s: Structure, context: int, then: int, place: int) -> float:
    """Probability that a context follows another one when a place is left."""
    if s.stays or place in (CENTRE, CUE):
        return float(context == then)
    return 0.5


def starts(s: Structure, context: int) -> float:
    return {"even": 0.5, "left": 0.9 if context == 0 else 0.1, "right": 0.1 if context == 0 else 0.9}[s.start]


@cache
def traced(scheme: str, n_agents: int = 6, sessions: int = 3, seed: int = 1, **options) -> Result:
    return simulate(t_maze.paradigm(scheme, **options), n_agents, sessions, seed, trace=True)


def records(result: Result) -> tuple[np.ndarray, ...]:
    """Places, lights and what was found there ``(agents, sessions, times)``, and controls of the place."""
    trace = {name: x[0].astype(int) for name, x in result.trace.items() if name in ("states", "outcomes", "controls")}
    return trace["states"][..., 1], trace["outcomes"][..., 1], trace["outcomes"][..., 2], trace["controls"][..., 1]


# --- structures ------------------------------------------------------------------------------------------------------------
def test_thirty_structures_differ_and_are_as_likely():
    space = world.hypotheses()
    first, which = space.distinct()
    assert len(space) == 36 and len(first) == 30
    assert_allclose(np.bincount(which, space.prior), 1 / 30)
    for i, j in zip(*np.nonzero(which[:, None] == which[None]), strict=True):
        a, b = STRUCTURES[i], STRUCTURES[j]
        assert i == j or (a.useless and b.useless and (a.stays, a.start) == (b.stays, b.start))
    assert len(set(space.names)) == 36 and space.names[0] == "up=left .95, stays, even"
    assert space.descriptions[-1].startswith("light up tells nothing; the context is drawn anew after every visit")
    assert {kind_of(s) for s in STRUCTURES} == set(KINDS)


@pytest.mark.parametrize("index", range(36))
def test_tables_say_what_structures_say(index):
    s, tables = STRUCTURES[index], STRUCTURES[index].tables()
    for context, place, light in np.ndindex(2, 4, 3):
        expected = says(s, context, place, light, 0, 0.98) if place == CUE else float(light == 0)
        assert tables["A[cue]"][light, context, place] == pytest.approx(expected)
    for then, context, place in np.ndindex(2, 2, 4):
        assert tables["B[context]"][then, context, place, 0] == moves_to(s, context, then, place)
    assert_allclose(tables["D[context]"], [starts(s, c) for c in (0, 1)])


def test_world_is_what_is_shared():
    model = world.world_model(0.9)
    for place, control in np.ndindex(4, 3):
        assert model.B[1][next_place(place, control), place, control] == 1.0
    for paid, context, place in np.ndindex(3, 2, 4):
        expected = says(STRUCTURES[0], context, place, 0, paid, 0.9) if place != CUE else float(paid == 0)
        assert model.A[2][paid, context, place] == pytest.approx(expected)
    known = world.known_model(STRUCTURES[7], 0.9)
    assert_array_equal(known.A[1], STRUCTURES[7].cue())
    assert_array_equal(known.B[0], STRUCTURES[7].motion())
    assert_array_equal(known.D[0], STRUCTURES[7].first())


# --- beliefs ---------------------------------------------------------------------------------------------------------------
def session_evidence(s: Structure, places, lights, paid, reward: float, until: int) -> float:
    """Probability of what was seen in a session up to a time, summed over all paths of the context."""
    total = 0.0
    for path in product((0, 1), repeat=until + 1):
        p = starts(s, path[0])
        for t in range(until + 1):
            if t:
                p *= moves_to(s, path[t - 1], path[t], places[t - 1])
            p *= says(s, path[t], places[t], lights[t], paid[t], reward)
            if p == 0.0:
                break
        total += p
    return total


@pytest.mark.parametrize("scheme", ["reasoning", "random"])
def test_posterior_is_that_of_all_paths(scheme):
    result = traced(scheme, 3, 2, moves=6, reward=0.9)
    places, lights, paid, _ = records(result)
    for k in range(3):
        before = world.hypotheses().prior
        for i in range(2):
            for t in (0, 1, 3, 6):
                seen = (places[k, i], lights[k, i], paid[k, i])
                joint = before * [session_evidence(s, *seen, 0.9, t) for s in STRUCTURES]
                held = result.trace["model_posterior"][0, k, i, t]
                assert_allclose(held, joint / joint.sum(), rtol=0, atol=1e-10)
            before = joint / joint.sum()
            assert_allclose(result.model_posterior[0, k, i], before, rtol=0, atol=1e-10)


def test_hypotheses_worth_many_counts_are_sharp_ones():
    sharp, soft = traced("random", 4, 3), traced("random", 4, 3, counts=1e9)
    assert_array_equal(records(sharp)[3], records(soft)[3])
    assert_allclose(soft.model_posterior, sharp.model_posterior, atol=1e-6)
    learns = traced("random", 4, 3, counts=20.0)
    assert np.abs(learns.model_posterior - sharp.model_posterior).max() > 1e-3


# --- curiosity -------------------------------------------------------------------------------------------------------------
class Mind:
    """Joint beliefs about all structures and the context ``(36, 2)``, and what may be seen next."""

    def __init__(self, reward: float) -> None:
        self.up = np.array([s.up() for s in STRUCTURES])
        self.stays = np.array([s.stays for s in STRUCTURES])
        self.first = np.array([s.first() for s in STRUCTURES])
        self.pays = np.array([[reward, 1 - reward], [1 - reward, reward]])  # by arm and context

    def moved(self, w: np.ndarray, place: int) -> np.ndarray:
        if place in (CENTRE, CUE):
            return w
        return np.where(self.stays[:, None], w, w.sum(axis=1, keepdims=True) / 2)

    def seen(self, w: np.ndarray, place: int) -> list[np.ndarray]:
        """Joint probabilities of each thing that may be seen with structures and contexts."""
        if place == CENTRE:
            return [w]
        up = self.up if place == CUE else self.pays[place - LEFT][None]
        return [w * up, w * (1 - up)]

    def gain(self, branches: list[np.ndarray]) -> float:
        """Mutual information of structure and what is seen."""
        p = np.array([b.sum(axis=1) for b in branches])
        with np.errstate(divide="ignore", invalid="ignore"):
            each = p * np.log(p / (p.sum(axis=0) * p.sum(axis=1, keepdims=True)))
        return float(np.nansum(each))

    def worth(self, w: np.ndarray, place: int, ahead: int) -> np.ndarray:
        out = []
        for control in range(3):
            to = next_place(place, control)
            branches = self.seen(self.moved(w, place), to)
            value = self.gain(branches)
            if ahead:
                value += 0.99 * sum(b.sum() * self.worth(b / b.sum(), to, ahead - 1).max() for b in branches)
            out.append(value)
        return np.array(out)


@pytest.mark.parametrize(("scheme", "ahead"), [("reasoning", 1), ("gain", 0), ("reasoning", 2)])
def test_moves_are_those_of_the_most_gain(scheme, ahead):
    result = traced(scheme, 4, 3, lookahead=ahead)
    mind, (places, lights, paid, controls) = Mind(0.98), records(result)
    for k in range(4):
        structures = world.hypotheses().prior
        for i in range(3):
            w = structures[:, None] * mind.first
            for t in range(8):
                worth = mind.worth(w, places[k, i, t], min(ahead, 7 - t))
                held = result.trace["neg_efe"][0, k, i, t]
                assert_allclose(held - held.max(), worth - worth.max(), atol=1e-9)
                assert worth[controls[k, i, t]] > worth.max() - 1e-7
                to = places[k, i, t + 1]
                branches = mind.seen(mind.moved(w, places[k, i, t]), to)
                w = branches[int(2 in (lights[k, i, t + 1], paid[k, i, t + 1]))]
                w = w / w.sum()
            structures = w.sum(axis=1)


def test_who_is_told_where_sessions_begin_learns_it():
    """Being told is evidence about starts: the first session's posterior is that of all paths with this first context."""
    result = traced("clairvoyant", 3, 1, moves=4)
    states, (places, lights, paid, _) = result.trace["states"][0].astype(int), records(result)
    for k in range(3):
        joint = np.zeros(36)
        for m, s in enumerate(STRUCTURES):
            told = replace(s, start="left" if states[k, 0, 0, 0] == 0 else "right")  # .9: what no structure says for certain
            other = replace(s, start="right" if told.start == "left" else "left")
            seen = (places[k, 0], lights[k, 0], paid[k, 0], 0.98, 4)
            # of both starts together: a p + b q = P(seen, first told), with (.9, .1) and (.1, .9) solved for the first context
            both = np.array([session_evidence(x, *seen) for x in (told, other)])
            first = np.linalg.solve([[0.9, 0.1], [0.1, 0.9]], both)[0]
            joint[m] = world.hypotheses().prior[m] * starts(s, states[k, 0, 0, 0]) * first
        assert_allclose(result.model_posterior[0, k, 0], joint / joint.sum(), rtol=0, atol=1e-10)


def test_by_itself_a_light_tells_little():
    """Where contexts do not stay, who looks at the next move alone hardly ever asks the cue."""
    truth = STRUCTURES.index(Structure("left", 0.95, False, "even"))
    asks = [t_maze.looks(traced(s, 8, 6, true_rule=truth)).mean() for s in ("gain", "reasoning")]
    assert asks[0] < 0.3 * asks[1]


# --- rewards ---------------------------------------------------------------------------------------------------------------
def best_of_all(s: Structure, moves: int, reward: float, soon: float) -> float:
    """The best plan's worth, by trying every control after every history, with joint beliefs that are never normalised."""

    def value(w: np.ndarray, place: int, left: int) -> float:
        if left == 0:
            return 0.0
        worth = []
        for control in range(3):
            to, moved = next_place(place, control), [sum(w[c] * moves_to(s, c, d, place) for c in (0, 1)) for d in (0, 1)]
            total = 0.0
            for light, paid in product(range(3), range(3)):
                seen = np.array([moved[c] * says(s, c, to, light, paid, reward) for c in (0, 1)])
                if seen.sum() > 0:
                    total += seen.sum() * world.WORTH[paid] + soon * value(seen, to, left - 1)
            worth.append(total)
        return max(worth)

    return value(np.array([starts(s, 0), starts(s, 1)]), CENTRE, moves)


@pytest.mark.parametrize("index", [0, 4, 7, 9, 15, 24, 35])
def test_the_best_plan_is_the_best_of_all(index):
    s = STRUCTURES[index]
    for moves in (1, 2, 4):
        best = max(worths(s, CENTRE, float(s.first()[0]), moves, 0.9))
        assert best == pytest.approx(best_of_all(s, moves, 0.9, 0.99), abs=1e-9)
        # without discount a score is that of some plan, and what is best a little sooner is best
        assert best <= best_session(s, moves, 0.9).score <= best_of_all(s, moves, 0.9, 1.0) + 1e-9


def test_the_cue_is_worth_what_it_tells():
    looks = {(s.reliability, s.stays, s.start): best_session(s).looks for s in STRUCTURES if s.means == "left"}
    for (reliability, stays, start), n in looks.items():
        if reliability == 0.5:
            assert n == 0
        elif stays:
            assert n == (1 if reliability == 0.95 or start == "even" else 0)
        else:
            assert n == (2 if reliability == 0.75 and start != "even" else 3)


def test_who_knows_plans_as_the_best():
    """Every choice, of agents with structures of their own, is worth the most, and worth what dynamic programming says."""
    n = 12
    result = simulate(t_maze.knowing(n, seed=4), n, 3, seed=4, trace=True)
    places, lights, paid, controls = records(result)
    for k, s in enumerate(structures_of(result)):
        for i in range(3):
            left = s.first()[0]
            for t in range(8):
                here, to = places[k, i, t], places[k, i, t + 1]
                worth = np.array(worths(s, int(here), round(float(left), 12), 8 - t))
                held = result.trace["neg_efe"][0, k, i, t]
                assert_allclose(held - held.max(), worth - worth.max(), atol=1e-8)
                assert worth[controls[k, i, t]] > worth.max() - 1e-7
                w = np.array([left, 1 - left])
                if here in (LEFT, RIGHT) and not s.stays:
                    w = np.full(2, 0.5)
                w = w * [says(s, c, to, lights[k, i, t + 1], paid[k, i, t + 1], 0.98) for c in (0, 1)]
                left = w[0] / w.sum()
    assert_array_equal(result.true_model, traced("random", n, 1, seed=4).true_model)


def test_who_found_out_lives_on_as_if_it_had_always_known():
    """Few counts of patience, so that all is over soon: sessions after adoption are those of who knew, to the last reward."""
    n, sessions = 16, 12
    result = simulate(t_maze.paradigm(window=2.0, moves=6), n, sessions, seed=2, trace=True)
    told = simulate(t_maze.knowing(n, 2, moves=6), n, sessions, seed=2, trace=True)
    right, when = result.adopted_truth[0], t_maze.known_after(result)[0]
    assert (right & (when < sessions)).sum() >= 4
    mine, theirs = (x.trace["outcomes"][0] for x in (result, told))
    for k in np.flatnonzero(right & (when < sessions)):
        assert_array_equal(mine[k, when[k] :], theirs[k, when[k] :])
    assert_array_equal(t_maze.after(result), t_maze.after(result, told))
    done = np.isfinite(t_maze.after(result)[0])
    assert_array_equal(done, right & (when < sessions))


def test_rewards_are_nothing_to_the_curious_and_something_to_the_others():
    p = t_maze.paradigm("reasoning")
    indifferent = replace(p, agent=p.agent.with_(model=p.agent.model.with_(C=None)))
    lived, others = traced("reasoning", 4, 3), simulate(indifferent, 4, 3, 1, trace=True)
    assert_array_equal(records(lived)[0], records(others)[0])
    scores = [t_maze.scores(traced(s, 12, 4)).mean() for s in ("reasoning", "preferences")]
    assert scores[1] > scores[0] + 1


# --- measures --------------------------------------------------------------------------------------------------------------
def test_agents_do_not_depend_on_each_other():
    some, more = (simulate(t_maze.paradigm(), n, 3, seed=2) for n in (2, 5))
    for name in ("wins", "model_posterior", "free_energy"):
        assert_array_equal(some[name], more[name][:, :2])
    some, more = (simulate(t_maze.knowing(n, 2), n, 3, seed=2) for n in (2, 5))
    assert_array_equal(some.wins, more.wins[:, :2])


def test_measures_are_what_they_say():
    result = traced("random", 12, 6)
    truth = result.true_model
    which = result.model_class
    for k in range(12):
        same = which == which[truth[k]]
        assert_allclose(t_maze.posterior_of_truth(result)[0, k], result.model_posterior[0, k][:, same].sum(axis=1))
    places, _, paid, _ = records(result)
    assert_array_equal(t_maze.looks(result), (places == CUE).sum(axis=2))
    assert_array_equal(t_maze.scores(result)[0], (np.array(world.WORTH)[paid]).sum(axis=2))
    assert_allclose(t_maze.scores(result).sum(axis=2), result.score)
    assert (t_maze.known_after(result) == 6).all() and np.isnan(t_maze.after(result)).all()
    plain = simulate(t_maze.paradigm("random"), 12, 6, seed=1)
    for mine, again in zip(lives(result, 0, 5), lives(plain, "random", 5), strict=True):
        assert_array_equal(mine, again)
    careless = simulate(t_maze.paradigm(window=0.0), 12, 3, seed=1)
    wrong = [which[m] != which[t] for m, t in zip(careless.best_model[0], truth, strict=True)]
    ahead = careless.log_odds[0] > 0
    assert_array_equal(t_maze.ever_wrong(careless)[0], [(w & a).any() for w, a in zip(wrong, ahead, strict=True)])
    assert t_maze.ever_wrong(careless).any()


def test_nobody_is_faster_than_the_floor_on_average():
    """The bound is below the observer who sees everything; both by formulas of their own."""
    space = world.hypotheses()
    distinct, which = space.distinct()
    # start, changes among four visits, and four looks in known contexts
    tables = []
    for s in (STRUCTURES[i] for i in distinct):
        changes = [1.0, 0, 0, 0, 0, 0, 0, 0] if s.stays else [1 / 8] * 8
        up = s.up()[0]
        looks = [np.prod([up if x else 1 - up for x in seen]) for seen in product((1, 0), repeat=4)]
        tables.append(np.einsum("i,j,k", s.first(), changes, looks).reshape(-1))
    each = evidence_bound([tables], sure=1 / (1 + np.exp(-10)))
    few = traced("random", 12, 6)
    assert t_maze.floor(few) == pytest.approx(each[which[few.true_model]].mean(), rel=1e-6)
    seen = watch(0, np.arange(360), np.tile(distinct, 12), 90)
    assert 20 < each.mean() < seen.mean() - 3 * standard_error(seen) and (seen < 90).all()
    assert_array_equal(watch(1, few.agent, few.true_model, 6), t_maze.observer(few))
    # one life by hand
    draws = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(7, 0))).random((96, 9, 6))
    s, odds = STRUCTURES[distinct[7]], np.zeros(30)
    for session in range(seen[7]):
        odds_before, u = odds.copy(), draws[session]
        first = int(u[0, 0] >= s.first()[0])
        contexts = [c for c in (u[1:4, 0] < (0.0 if s.stays else 0.5))]
        lights = u[1:5, 3] < s.up()[0]
        for j, h in enumerate(STRUCTURES[i] for i in distinct):
            stay = np.prod([(0.5 if not h.stays else float(not c)) for c in contexts])
            light = np.prod([h.up()[0] if x else h.up()[1] for x in lights])
            with np.errstate(divide="ignore"):
                odds[j] += np.log(h.first()[first] * stay * light)
    leads = [np.sort(x)[-1] - np.logaddexp.reduce(np.sort(x)[:-1]) for x in (odds_before, odds)]
    assert leads[0] <= 10 < leads[1] and odds.argmax() == 7


def test_table_and_figures_are_made(tmp_path):
    options = {"moves": 4, "window": 2.0}
    result = simulate([t_maze.paradigm(s, **options) for s in ("reasoning", "preferences", "gain")], 6, 4, seed=3)
    header, rows, notes = t_maze.table(result)
    assert [r[0] for r in rows][:3] == result.schemes and {len(r) for r in rows} == {len(header)} and len(notes) == 4
    files = t_maze.figures(result, tmp_path / "new")
    assert [f.name for f in files] == ["t_maze.png"] and all(f.stat().st_size > 10_000 for f in files)
    alone = simulate(t_maze.paradigm("knowing", 5, moves=4), 1, 1)
    assert t_maze.figures(alone, tmp_path) and t_maze.table(alone)[1][0][0] == "knowing"
    assert typical(result, "useless", 0) is None
    strange = simulate(t_maze.paradigm("gain", moves=4, agent=t_maze.reasoning_agent(4, gains=())), 4, 3)
    with pytest.raises(ValueError, match=r"result must have a trace, .* not those of the scheme 'gain'"):
        t_maze.looks(strange)
    own = simulate(t_maze.paradigm("mine", moves=4, agent=t_maze.reasoning_agent(4)), 4, 3)
    assert t_maze.figures(own, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheme": "none"}, r"scheme of t-maze must be one of .*; got 'none'"),
        ({"true_rule": 36}, r"truth must be 'random' or lie in 0\.\.35; got 36"),
        ({"true_rule": "left"}, r"truth must be 'random' or lie in 0\.\.35; got 'left'"),
        ({"scheme": "knowing"}, r"true_rule must be a number for the scheme 'knowing'"),
        ({"moves": 1}, r"moves of t-maze must be at least 2; got 1"),
        ({"moves": 2.5}, r"moves of t-maze must be a whole number; got 2\.5"),
        ({"moves": "many"}, r"moves of t-maze must be a whole number; got 'many'"),
        ({"reward": 0.5}, r"reward must lie in \(0\.5, 1\]; got 0\.5"),
        ({"counts": "soft"}, r"counts of t-maze must be 'sharp' or a number > 0; got 'soft'"),
        ({"counts": 0}, r"counts of t-maze must be 'sharp' or a number > 0; got 0"),
        ({"lookahead": -1}, r"must be a whole number >= 0; got -1"),
    ],
)
def test_paradigms_that_cannot_be_are_refused(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        t_maze.paradigm(**arguments)


def test_structures_have_names():
    p = t_maze.paradigm("knowing", "up=right .75, redrawn, left")
    assert STRUCTURES[p.truth] == Structure("right", 0.75, False, "left")
    assert t_maze.paradigm(moves="12").trial_length == 13


# --- what it must show -----------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_structure_is_found_and_pays():
    """48 agents: they find the truth, none is ever wrong; from then on they ask the cue, and score, as in the best plan."""
    n, sessions = 48, 88
    result = simulate(t_maze.paradigm(), n, sessions, seed=0, trace=True)
    assert result.adopted_truth.mean() >= 0.97 and not t_maze.ever_wrong(result).any()
    told = simulate(t_maze.knowing(n, 0), n, sessions, seed=0)
    assert_array_equal(t_maze.after(result), t_maze.after(result, told))
    gap = t_maze.scores(told)[0].mean(axis=1) - best_possible(told)
    assert abs(gap.mean()) < 4 * standard_error(gap)
    looks, when = t_maze.looks(result), t_maze.known_after(result)[0]
    assert t_maze.floor(result) < when.mean() < 1.25 * watch(0, result.agent, result.true_model, sessions).mean()
    before = []
    for k, s in enumerate(structures_of(result)):
        if result.adopted_truth[0, k] and when[k] < sessions:
            assert looks[k, when[k] :].mean() == pytest.approx(best_session(s).looks, abs=1e-9)
            before.append(looks[k, : when[k]].mean())  # who takes long is nearly sure for long, and looks less
    assert np.mean(before) - 4 * standard_error(np.array(before)) > 2
