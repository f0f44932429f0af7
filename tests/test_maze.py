"""The maze: its maps, the fewest moves that could be, and agents held against bookkeeping done without the library."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from mazes import Explorer, walk
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import simulate
from activebmr.references import fewest_moves, optimal_moves
from paradigms import maze
from paradigms.maze.maps import distances, maps, still_possible, transitions
from paradigms.maze.measures import detour, ways

SMALL = [(8, 4, 2, 1), (12, 4, 2, 0), (9, 4, 3, 1), (10, 5, 2, 1), (2, 3, 1, 0)]


def steps_between(table: np.ndarray, a: int, b: int) -> float:
    """Moves from one room to another, by trying all ways, the short ones first."""
    edge, moves = {a}, 0
    while b not in edge:
        edge, moves = {int(table[r, d]) for r in edge for d in range(table.shape[1])}, moves + 1
        if moves > len(table):
            return np.inf
    return moves


# --- maps ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corridors", [0, 1, 2])
def test_maps_are_different_connected_and_share_their_corridors(corridors):
    tables = maps(100, 6, 3, seed=4, corridors=corridors)
    assert tables.shape == (100, 6, 3) and len(np.unique(tables, axis=0)) == 100
    shared = (tables == tables[0]).all(axis=0)
    assert_array_equal(shared, np.arange(3)[None] < np.full((6, 1), corridors))
    assert_array_equal(tables[0, :, :corridors], np.stack([(np.arange(6) + k) % 6 for k in (1, -1)], axis=1)[:, :corridors])
    for table in tables:
        assert all(len({r, *table[r].tolist()}) == 4 for r in range(6))  # three other rooms
        assert_array_equal(distances(table), [[steps_between(table, a, b) for b in range(6)] for a in range(6)])
    assert np.isfinite([distances(t) for t in tables]).all()
    assert_array_equal(tables, maps(100, 6, 3, seed=4, corridors=corridors))
    assert_array_equal(tables[:10], maps(10, 6, 3, seed=4, corridors=corridors))
    assert not np.array_equal(tables, maps(100, 6, 3, seed=5, corridors=corridors))


def test_transitions_lead_where_the_map_says():
    table = maps(2, 5, 3, seed=1, corridors=0)[0]
    b = transitions(table)
    assert b.shape == (5, 5, 3) and (b.sum(axis=0) == 1).all()
    assert all(b[table[r, d], r, d] == 1 for r, d in np.ndindex(5, 3))


def test_what_is_still_possible_is_what_agrees():
    tables, rng = maps(30, 5, 2, seed=2, corridors=1), np.random.default_rng(0)
    doors = rng.integers(2, size=(4, 3, 9))
    truths = rng.integers(30, size=(4, 3))
    rooms = np.zeros((4, 3, 9), dtype=int)
    for t in range(8):
        rooms[..., t + 1] = tables[truths, rooms[..., t], doors[..., t]]
    possible = still_possible(tables, rooms, doors)
    assert possible.shape == (4, 3, 9, 30)
    for i, j, t, m in np.ndindex(possible.shape):
        seen = [(rooms[i, j, s], doors[i, j, s], rooms[i, j, s + 1]) for s in range(t)]
        assert possible[i, j, t, m] == all(tables[m, r, d] == to for r, d, to in seen)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_maps": 1}, r"n_maps must be a whole number >= 2; got 1"),
        ({"n_rooms": 1}, r"n_rooms must be a whole number >= 2; got 1"),
        ({"n_doors": 6}, r"n_doors must be a whole number in 1\.\.5; got 6"),
        ({"n_doors": 2.5}, r"n_doors must be a whole number in 1\.\.5; got 2\.5"),
        ({"corridors": 4}, r"corridors must be a whole number in 0\.\.3; got 4"),
        ({"corridors": 3}, r"n_maps must be small enough .*3 of them corridors; got 100, found 1"),
        ({"n_maps": 17, "n_rooms": 4, "n_doors": 2, "corridors": 1}, r"n_maps must be small enough .* got 17, found 16"),
        ({"seed": -1}, r"seed must be a whole number >= 0; got -1"),
    ],
)
def test_maps_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        maps(**arguments)


# --- the fewest moves ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SMALL)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_best_observer_is_the_best_of_all_plans(size, seed):
    tables = maps(*size[:3], seed=seed, corridors=size[3])
    explorer = Explorer(tables)
    moves = optimal_moves(tables)
    # all that could be done in so many moves; moves beyond them are not counted, but nobody needs them
    least = [explorer.soonest(explorer.everything, room, 14) for room in range(size[1])]
    assert_allclose(moves.mean(axis=0), least, atol=1e-12)
    assert (moves == np.round(moves)).all()


def test_the_best_observer_knows_what_is_likely():
    """Two doors may tell; the one that settles what is likely comes first, whichever that is."""
    # from room 0 door 0 leads to 1 in map 0 alone, door 1 to 1 in map 2 alone; all else leads back to room 0
    tables = np.array([[[1, 2], [0, 0], [0, 0]], [[2, 2], [0, 0], [0, 0]], [[2, 1], [0, 0], [0, 0]]])
    for prior in ([8.0, 1.0, 1.0], [1.0, 1.0, 8.0]):
        moves, likely = optimal_moves(tables, prior), int(np.argmax(prior))
        assert moves[likely, 0] == 1.0
        assert_array_equal(np.sort(np.delete(moves[:, 0], likely)), [3.0, 3.0])  # there, back and there
        assert_allclose(np.average(moves[:, 0], weights=prior), 0.8 * 1 + 0.2 * 3)
    assert_array_equal(optimal_moves(tables, [8.0, 1.0, 1.0]), optimal_moves(tables, [80.0, 10.0, 10.0]))


def test_maps_that_agree_are_one_and_what_nothing_tells_takes_for_ever():
    tables = maps(6, 4, 2, seed=3, corridors=1)
    twice = np.concatenate([tables, tables[:2]])

    assert_array_equal(optimal_moves(twice, [1, 1, 2, 2, 2, 2, 1, 1])[:6], optimal_moves(tables))
    assert_array_equal(fewest_moves(twice)[6:], fewest_moves(tables)[:2])
    assert_array_equal(optimal_moves([[[1], [0]], [[1], [1]]]), [[2, 1], [2, 1]])
    assert_array_equal(optimal_moves(np.zeros((3, 2, 2), dtype=int)), np.zeros((3, 2)))  # nothing to find out
    # room 0 keeps whoever is there: maps that differ elsewhere cannot be told apart from it
    trap = np.array([[[0, 0], [0, 1]], [[0, 0], [1, 1]]])
    for moves in (optimal_moves(trap), fewest_moves(trap)):
        assert_array_equal(moves, [[np.inf, 1.0], [np.inf, 1.0]])


@pytest.mark.parametrize("size", SMALL)
def test_a_proof_is_the_shortest_of_all_walks(size):
    tables = maps(*size[:3], seed=6, corridors=size[3])
    fewest = fewest_moves(tables)
    assert (fewest <= optimal_moves(tables)).all()
    for m, room in np.ndindex(fewest.shape):
        walks = ((k, doors) for k in itertools.count() for doors in itertools.product(range(size[2]), repeat=k))
        assert fewest[m, room] == next(k for k, doors in walks if _proves(tables, m, room, doors))


def _proves(tables: np.ndarray, truth: int, room: int, doors: tuple[int, ...]) -> bool:
    left = np.ones(len(tables), dtype=bool)
    for d in doors:
        left &= tables[:, room, d] == tables[truth, room, d]
        room = tables[truth, room, d]
    return left.sum() == 1


def test_nobody_is_faster_than_the_floor():
    """All maps and rooms: the floor is below the mean of every way to explore, the proof below each single walk."""
    tables = maps(100, 6, 3)
    best, proof, explorer = optimal_moves(tables), fewest_moves(tables), Explorer(tables)
    assert (proof <= best).all() and proof.min() >= 1
    for ahead in (0, 3):
        rng = np.random.default_rng(0)
        taken = np.empty(best.shape)
        for m, room in np.ndindex(taken.shape):
            taken[m, room] = len(walk(tables, "gain", m, room, rng.random(200), ahead, explorer=explorer)[1])
        assert (taken >= proof).all()
        assert taken.mean() > best.mean() + 2 if ahead == 0 else abs(taken.mean() - best.mean()) < 0.15


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: f(np.zeros((3, 2))), ValueError, r"maps must have shape \(n_maps, n_states, n_controls\); got \(3, 2\)"),
        (lambda f: f(np.zeros((3, 2, 2))), TypeError, r"maps must hold whole numbers"),
        (lambda f: f(np.full((3, 2, 2), 2)), ValueError, r"maps must lead to states in 0\.\.1; got 2"),
        (lambda f: f(np.full((3, 2, 2), -1)), ValueError, r"maps must lead to states in 0\.\.1; got -1"),
        (lambda f: f(maps(20, 5, 2, corridors=1), max_sets=5), ValueError, r"at most max_sets=5 sets"),
        (lambda f: f(maps(20, 5, 2, corridors=1), max_sets=0), ValueError, r"max_sets must be at least 1; got 0"),
    ],
)
@pytest.mark.parametrize("function", [optimal_moves, fewest_moves])
def test_maps_that_make_no_sense_are_refused(function, call, error, message):
    with pytest.raises(error, match=message):
        call(function)


def test_priors_that_make_no_sense_are_refused():
    tables = maps(4, 4, 2, corridors=1)
    for prior in ([1, 1, 1], [1, 1, 1, 0], [1, 1, 1, np.nan]):
        with pytest.raises(ValueError, match="prior must"):
            optimal_moves(tables, prior)


# --- agents --------------------------------------------------------------------------------------------------------------


def bookkeeping(scheme: str, tables: np.ndarray, truth: int, draws: np.ndarray, ahead: int, explorer: Explorer):
    """The walk of an agent with these random numbers: the first one says where it begins, the last of each time decides."""
    n_rooms, n_doors = tables.shape[1:]
    other = np.repeat((1.0 - np.eye(n_rooms))[:, :, None] / (n_rooms - 1), n_doors, axis=2)
    average = np.mean([transitions(t) for t in tables], axis=0)
    kind, further, counts = {
        "look-ahead": ("gain", ahead, None),
        "gain": ("gain", 0, None),
        "random": ("random", 0, None),
        "novelty": ("novelty", 0, other),
        "novelty-informed": ("novelty", ahead, 0.1 * average),
    }[scheme]
    return walk(tables, kind, truth, int(draws[0, 0] * n_rooms), draws[:-1, -1], further, counts, explorer)


@pytest.mark.parametrize("corridors", [2, 1])
@pytest.mark.parametrize("scheme", list(maze.SCHEMES))
def test_agents_go_where_bookkeeping_goes(scheme, corridors):
    """Every room, every door, every posterior until the map is known, ties included; then nobody is wrong."""
    n_agents, moves, seed, ahead = 24, 24, 7, 2
    p = maze.paradigm(scheme, corridors=corridors, n_maps=40, moves=moves, lookahead=ahead)
    result = simulate(p, n_agents, 1, seed, trace=True)
    lived, explorer = ways(result), None
    known = lived.known_after()[0]
    for k in range(n_agents):
        truth = int(result.true_model[k])
        assert truth == np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(k, 1))).integers(40)
        draws = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(k, 0))).random((16, moves + 1, 3))[0]
        explorer = explorer or Explorer(lived.tables)
        rooms, doors, possible = bookkeeping(scheme, lived.tables, truth, draws, ahead, explorer)
        assert_array_equal(lived.rooms[0, k, : len(rooms)], rooms)
        assert_array_equal(lived.doors[0, k, : len(doors)], doors)
        assert known[k] == len(doors)
        if "novelty" in scheme:
            continue
        held = np.array([[left >> m & 1 for m in range(40)] for left in possible], dtype=float)
        posterior = result.trace["model_posterior"][0, k, 0]
        assert_allclose(posterior[: len(held)], held / held.sum(axis=1, keepdims=True), atol=1e-12)
        assert_allclose(posterior[len(held) :], np.repeat(np.eye(40)[[truth]], moves + 1 - len(held), axis=0)[:], atol=1e-12)
    if "novelty" not in scheme:
        done = lived.possible()[0, :, -1] == 1
        assert_array_equal(result.adopted_model[0] == result.true_model, done)
        assert not result.adopted_wrong.any()
        assert_array_equal(result.unsure[0, done, 0], known[done])


@pytest.mark.parametrize("scheme", ["look-ahead", "random"])
def test_who_knows_goes_straight_to_the_cheese_and_who_does_not_wants_none(scheme):
    p = maze.paradigm(scheme, n_maps=20, moves=24, lookahead=2)
    lived = ways(simulate(p, 40, 1, trace=True))
    beyond = detour(lived, maze.cheese(6))
    assert (np.isnan(beyond) | (beyond == 0)).all() and (beyond == 0).mean() > 0.5
    # without preferences all is the same until the map is known
    indifferent = replace(p, agent=p.agent.with_(model=p.agent.model.with_(C=None)))
    others = ways(simulate(indifferent, 40, 1, trace=True))
    assert_array_equal(others.known_after(), lived.known_after())
    before = np.arange(25) <= lived.known_after()[:, :, None]
    assert_array_equal(lived.rooms[before], others.rooms[before])


def moves_of(schemes: list[str], tables: np.ndarray, n: int) -> np.ndarray:
    """Moves of n agents by bookkeeping, which those of the library follow to the last move (above), and the best observer's."""
    explorer, best, moves = Explorer(tables), optimal_moves(tables), np.empty((len(schemes) + 1, n))
    for k in range(n):
        truth, draws = k % len(tables), np.random.default_rng(k).random((100, 3))
        moves[:-1, k] = [len(bookkeeping(name, tables, truth, draws, 3, explorer)[1]) for name in schemes]
        moves[-1, k] = best[truth, int(draws[0, 0] * tables.shape[1])]
    return moves


def test_what_is_saved_and_what_cannot_be():
    """The paradigm's claims, paired."""
    ahead, gain, novelty, best = moves_of(["look-ahead", "gain", "novelty"], maps(seed=1), 200)
    assert ahead.mean() < 0.85 * gain.mean() - 2 * (gain - ahead).std() / 200**0.5
    assert gain.mean() < 0.7 * novelty.mean() and ahead.mean() < 1.05 * best.mean()
    # maps that have nothing in common: the floor itself is too near for anybody to save 15 % or 30 %
    gain, novelty, best = moves_of(["gain", "novelty"], maps(50, seed=1, corridors=0), 200)
    assert 0.9 * gain.mean() < best.mean() < gain.mean() and best.mean() > 0.8 * novelty.mean()


@pytest.mark.slow
def test_the_agents_save_what_bookkeeping_says():
    """The same with agents, of which none is wrong."""
    result = simulate([maze.paradigm(s) for s in ("look-ahead", "gain", "novelty")], 128, 1, trace=True)
    ahead, gain, novelty = ways(result).known_after()
    assert ahead.mean() < 0.85 * gain.mean() and gain.mean() < 0.7 * novelty.mean()
    assert result.adopted_truth[:2].all() and not result.adopted_wrong.any()


def test_an_agents_way_is_its_own():
    p = maze.paradigm("look-ahead", n_maps=30, moves=8)
    many, few = (ways(simulate(p, n, 1, seed=2, trace=True)) for n in (66, 5))
    assert_array_equal(many.rooms[:, :5], few.rooms)
    assert_array_equal(many.doors[:, :5], few.doors)


def test_figures_and_table_need_no_trace(tmp_path):
    size = {"n_maps": 12, "n_rooms": 5, "moves": 14, "map_seed": 1, "lookahead": 1}
    schemes = [maze.paradigm(s, **size) for s in ("gain", "novelty", "look-ahead")]
    traced, plain = (simulate(schemes, 6, 1, seed=1, trace=t) for t in (True, False))
    assert not plain.trace
    assert_array_equal(ways(plain).rooms, ways(traced).rooms)
    assert_array_equal(ways(plain).doors, ways(traced).doors)
    assert_array_equal(ways(plain, 3, ["look-ahead"]).rooms, ways(traced).rooms[2:, :3])
    assert_array_equal(maze.known_after(plain), ways(traced).known_after())
    header, rows, notes = maze.table(plain)
    assert [r[0] for r in rows] == ["gain", "novelty", "look-ahead", "the best observer", "a proof by one who knows"]
    assert {len(r) for r in rows} == {len(header)} and len(notes) == 3
    written = maze.figures(plain, tmp_path / "new")
    assert [f.name for f in written] == ["moves.png", "one_agent.png"] and all(f.stat().st_size > 10_000 for f in written)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheme": "gains"}, r"scheme of maze must be one of .*; got 'gains'"),
        ({"corridors": "4"}, r"corridors of maze must lie in 0\.\.3; got '4'"),
        ({"corridors": 1.5}, r"corridors of maze must lie in 0\.\.3; got 1\.5"),
        ({"true_rule": 100}, r"truth must be 'random' or lie in 0\.\.99; got 100"),
        ({"lookahead": -1}, r"lookahead of Reasoning must be a whole number >= 0; got -1"),
        ({"moves": -1}, r"trial_length .*got 0"),
    ],
)
def test_paradigms_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        maze.paradigm(**arguments)
