"""Moves until the map of a maze is known, scheme by scheme, beside the fewest that could be.

    python benchmarks/maze.py [--agents 512] [--corridors 2 1 0] [--map-seeds 0] [--schemes ...] [--lookaheads] [--jobs 1]

Agent k of every scheme has the same true map, begins in the same room and breaks ties by the same random numbers. The floor is
that of the observer who chooses moves that are fewest on average: exact, by dynamic programming over rooms and sets of possible
maps. A proof by one who knows the map, and the entropy of the maps over what a door can tell at most, are lower bounds for it.
"straight": agents that, once they knew, went the shortest way to the cheese, of those that had time for it.
"""

from __future__ import annotations

import argparse
import os
import time

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy is imported: one core means one thread

import numpy as np  # noqa: E402

from activebmr import simulate  # noqa: E402
from activebmr.arrays import standard_error  # noqa: E402
from activebmr.paradigms import maze  # noqa: E402
from activebmr.paradigms.maze.measures import detour, floor_of, ways  # noqa: E402
from activebmr.references import fewest_moves, optimal_moves  # noqa: E402

PAIRS = (("look-ahead", "gain"), ("gain", "novelty"), ("look-ahead", "novelty-informed"))


def told(values: np.ndarray) -> str:
    return f"{values.mean():6.2f} +- {standard_error(values):.2f}"


def floors(corridors: int, seed: int) -> None:
    """What can be said without any agent, over all maps and first rooms."""
    tables = maze.maps(seed=seed, corridors=corridors)
    begin = time.perf_counter()
    best = optimal_moves(tables)
    seconds = time.perf_counter() - begin
    answers = max(len(np.unique(tables[:, r, d])) for r, d in np.ndindex(tables.shape[1:]))
    print(f"\n## {len(tables)} maps (seed {seed}), {corridors} corridors\n")
    print(f"best observer, all maps and first rooms (exact, {seconds:.1f} s): {best.mean():.3f} moves")
    print(f"lower bounds: proof {fewest_moves(tables).mean():.3f}, entropy {np.log(len(tables)) / np.log(answers):.3f}")


def measure(schemes: list[str], n_agents: int, corridors: int, seed: int, jobs: int) -> None:
    """All schemes, agent by agent."""
    known, shown = {}, None
    print(f"\n| scheme | moves ({n_agents} agents) | median | above the best | late | wrong | straight | agents a second |")
    print("|---|---|---|---|---|---|---|---|")
    for name in schemes:
        begin = time.perf_counter()
        result = simulate(maze.paradigm(name, corridors=corridors, map_seed=seed), n_agents, 1, jobs=jobs, trace=True)
        rate = n_agents / (time.perf_counter() - begin)
        shown = lived = ways(result)
        known[name], floor = lived.known_after()[0], floor_of(lived)
        late = int((lived.possible()[0, :, -1] > 1).sum())
        cells = [told(known[name]), f"{np.median(known[name]):g}", told(known[name] - floor.best), str(late)]
        if np.isfinite(result.true_model_posterior).any():
            beyond = detour(lived, maze.cheese(lived.tables.shape[1]))[0]
            in_time = ~np.isnan(beyond)
            cells += [str(int(result.adopted_wrong.sum())), f"{int((beyond[in_time] == 0).sum())} of {int(in_time.sum())}"]
        else:
            cells += ["-", "-"]
        print(f"| {name} | " + " | ".join(cells) + f" | {rate:.1f} |", flush=True)
    assert shown is not None
    floor = floor_of(shown)
    print(f"| the best observer | {told(floor.best)} | {np.median(floor.best):g} | | | | | |")
    print(f"| a proof | {told(floor.proof)} | {np.median(floor.proof):g} | | | | | |\n")
    for few, many in PAIRS:
        if {few, many} <= set(known):
            gap = known[many] - known[few]
            print(f"{few}: {100 * gap.mean() / known[many].mean():.1f} % fewer moves than {many} (paired {told(gap).strip()})")


def lookaheads(n_agents: int, corridors: int, seed: int) -> None:
    """Gain over more and more moves."""
    print("\n| further moves looked at | moves |\n|---|---|")
    for k in range(5):
        result = simulate(maze.paradigm("look-ahead", corridors=corridors, map_seed=seed, lookahead=k), n_agents, 1, trace=True)
        print(f"| {k} | {told(ways(result).known_after()[0])} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=512)
    parser.add_argument("--corridors", type=int, nargs="+", default=[2, 1, 0])
    parser.add_argument("--map-seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--schemes", nargs="+", default=list(maze.SCHEMES), choices=list(maze.SCHEMES))
    parser.add_argument("--lookaheads", action="store_true", help="also measure gain over 1 to 5 moves")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    for corridors in options.corridors:
        for seed in options.map_seeds:
            floors(corridors, seed)
            measure(options.schemes, options.agents, corridors, seed, options.jobs)
            if options.lookaheads:
                lookaheads(options.agents, corridors, seed)


if __name__ == "__main__":
    main()
