"""Every number that is claimed of the how-many paradigm, with standard errors over agents.

    python benchmarks/how_many.py [--worlds 1000] [--random 400] [--states 128] [--boxes 64] [--jobs 2]

A look is one observation of two of five sensors, or of all (``all``). Every agent has one box, wired at random, but where it
says otherwise. Agent k of the schemes that look at two sensors has the same box, in which the same happens.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Sequence

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy is imported: one core means one thread

import numpy as np  # noqa: E402

from activebmr import Result, simulate  # noqa: E402
from activebmr.arrays import standard_error  # noqa: E402
from activebmr.paradigms import how_many  # noqa: E402
from activebmr.paradigms.how_many import looking, measures  # noqa: E402
from activebmr.paradigms.how_many.causes import NAMES  # noqa: E402

LOOKS = {"gain": 100, "all": 50, "random": 100, "states": 100}


def pm(values: Sequence[float] | np.ndarray, digits: int = 3) -> str:
    values = np.asarray(values, dtype=float)
    if not len(values):
        return "- (n = 0)"
    return f"{values.mean():.{digits}f} +- {standard_error(values):.{digits}f} (n = {len(values)})"


def named(result: Result) -> tuple[np.ndarray, np.ndarray]:
    looks, chance = measures.right(result)
    return looks, chance[0]


def shares(results: dict[str, Result]) -> None:
    print("\nShare of agents who name the right number (of 1 to 4 causes) after so many looks into one box")
    for s, r in results.items():
        looks, chance = named(r)
        at = [k for k in (5, 10, 15, 20, 25, 50, 75, 100) if k <= looks[-1]]
        print(f"  {s:7} " + ", ".join(f"{k}: {chance[:, k].mean():.3f}" for k in at))
        start = measures.enough(r)[0]
        more = "never for good" if start is None else f"from {start} looks on"
        print(f"  {'':7} at the end {pm(chance[:, -1], 4)}; at least 95%: {more}")
        truth = measures.truths(r)
        parts = [f"{NAMES[k]} {pm(chance[truth == k, -1])}" for k in range(4)]
        print(f"  {'':7} by true number: {', '.join(parts)}")
    for s in list(results)[1:]:
        if s != "all":
            ours, theirs = named(results["gain"])[1], named(results[s])[1]
            n = min(len(ours), len(theirs))
            print(f"  gain - {s} after {LOOKS[s]} looks, paired: {pm(ours[:n, -1] - theirs[:n, -1])}")


def until_sure(results: dict[str, Result]) -> None:
    print("\nLooks until the true number first has a posterior of .95 (who is late counts with all looks)")
    when = {s: measures.looks_until(r)[0] for s, r in results.items()}
    for s, r in results.items():
        late = int(measures.late(r)[0].sum())
        print(f"  {s:7} {pm(when[s], 1)}, median {np.median(when[s]):g}; {late} late after {LOOKS[s]}")
        print(f"  {'':7} floor (a bound on the mean, for these numbers): {measures.floor(r):.1f}")
    for s in ("random", "states"):
        n = min(len(when["gain"]), len(when[s]))
        print(f"  {s} - gain, paired: {pm(when[s][:n] - when['gain'][:n], 1)}")


def calibration(results: dict[str, Result]) -> None:
    print(
        "\nIs the posterior of the number that is named the share of agents who are right? (after half of the looks, and all)"
    )
    for s, r in results.items():
        looks, posterior = measures.course(r)
        chance = named(r)[1]
        for t in (len(looks) // 2, len(looks) - 1):
            best = posterior[0, :, t].max(axis=1)
            print(f"  {s:7} after {looks[t]:3}: says {best.mean():.3f}; right - said {pm(chance[:, t] - best)}")


def where_they_look(results: dict[str, Result]) -> None:
    print("\nShare of looks at two sensors of one cause, where the number shows (two or three causes in truth)")
    for s, values in looking.looked_at(results).items():
        print(f"  {s:7} {pm(values)}")


def order(result: Result, n: int = 64) -> None:
    """The same looks in another order: what is believed at the end."""
    rng = np.random.default_rng(0)
    views, seen = result.trace["controls"][0, :n, 0, :-1, 0], result.trace["outcomes"][0, :n, 0, 1:]
    agent = how_many.paradigm("random", looks=views.shape[1]).agent
    worst = 0.0
    for _ in range(2):
        mixed = rng.permutation(views.shape[1])
        state, blank = agent.init(n), np.zeros((n, agent.model.num_factors), dtype=int)
        for t in range(len(mixed) + 1):
            controls = blank.copy()
            controls[:, 0] = views[:, mixed[t]] if t < len(mixed) else 0
            state, _ = agent.step(state, seen[:, mixed[t - 1]] if t else np.zeros((n, 2), dtype=int), action=controls)
        _, report = agent.end_trial(state)
        worst = max(worst, np.abs(report.model_posterior - result.model_posterior[0, :n, 0]).max())
    print(f"\nOrder of the data: looks of {n} agents in 2 random orders; posteriors at the end differ by at most {worst:.1e}")


def boxes(n_agents: int, jobs: int) -> None:
    print("\nSeveral boxes of one number, each wired anew, 25 looks into each (gain): share right after each box")
    r = simulate(how_many.paradigm("gain"), n_agents, how_many.TRIALS, jobs=jobs)
    looks, chance = named(r)
    print("  " + ", ".join(f"{k} looks {chance[:, i].mean():.3f}" for i, k in enumerate(looks)))
    print(f"  at the end {pm(chance[:, -1])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=1000, help="agents who look by gain, and who see all")
    parser.add_argument("--random", type=int, default=400, help="agents who look at random")
    parser.add_argument("--states", type=int, default=128, help="agents who are curious about all states")
    parser.add_argument("--boxes", type=int, default=64, help="agents who have several boxes")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    n_agents = {"gain": options.worlds, "all": options.worlds, "random": options.random, "states": options.states}
    results = {}
    for scheme, looks in LOOKS.items():
        start, busy = time.perf_counter(), time.process_time()
        results[scheme] = simulate(
            how_many.paradigm(scheme, looks=looks), n_agents[scheme], 1, seed=0, jobs=options.jobs, trace=True
        )
        taken, own = time.perf_counter() - start, time.process_time() - busy
        rate = n_agents[scheme] * looks / taken
        print(
            f"{scheme}: {rate:.0f} agent-looks per second ({options.jobs} jobs; {taken:.0f} s, {own:.0f} s of this process)",
            flush=True,
        )
    shares(results)
    until_sure(results)
    calibration(results)
    where_they_look(results)
    order(results["gain"], min(64, options.worlds))
    boxes(options.boxes, options.jobs)
    print(f"\nlargest memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
