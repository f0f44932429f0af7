"""Every number that is claimed of the causal paradigm, with standard errors over agents; the same agents under every scheme.

    python benchmarks/causal.py [--agents 512] [--trials 512] [--pairs 256] [--free 256] [--jobs 2]

A trial is one setting of the three variables and what was seen then. Agent k has the same true graph under every scheme.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy is imported: one core means one thread

import numpy as np  # noqa: E402

from activebmr import Result, simulate  # noqa: E402
from activebmr.arrays import standard_error  # noqa: E402
from activebmr.paradigms import causal  # noqa: E402
from activebmr.paradigms.causal import free, measures  # noqa: E402
from activebmr.paradigms.causal.graphs import GRAPHS, divergences, equivalence_classes, likelihood  # noqa: E402
from activebmr.references import evidence_bound  # noqa: E402

LONG_ENOUGH = 64  # trials after which nobody who chooses by gain is late


def pm(values: Sequence[float] | np.ndarray, digits: int = 3) -> str:
    values = np.asarray(values, dtype=float)
    return f"{values.mean():.{digits}f} +- {standard_error(values):.{digits}f} (n = {len(values)})"


def after_twelve(results: dict[str, Result]) -> None:
    print("\nAfter 12 trials: share of agents who name the true graph (guessing among the most probable), and its posterior")
    share = {s: measures.found(r)[0, :, 11] for s, r in results.items()}
    truth = {s: r.true_model_posterior[0, :, 11] for s, r in results.items()}
    for s, r in results.items():
        best = r.model_posterior[0, :, 11].max(axis=1)
        print(f"  {s:12} found {pm(share[s])}   posterior {pm(truth[s])}")
        print(f"  {'':12} the most probable graph has {best.mean():.3f} (calibrated: that is the share found)")
    for s in list(results)[1:]:
        print(f"  gain - {s}: found {pm(share['gain'] - share[s])}   posterior {pm(truth['gain'] - truth[s])}")


def until_sure(results: dict[str, Result]) -> None:
    print("\nTrials until the true graph first has a posterior of .95 (who is late counts with all trials)")
    when = {s: measures.trials_until(r)[0] for s, r in results.items()}
    for s, r in results.items():
        late = int(measures.late(r)[0].sum())
        print(f"  {s:12} {pm(when[s], 2)}, median {np.median(when[s]):g}; {late} late after {r.sizes['trial']}")
    for s in list(results)[1:]:
        fewer = 1 - when["gain"].mean() / when[s].mean()
        margin = pm(when[s] * 2 / 3 - when["gain"], 2)
        print(f"  {s} - gain: {pm(when[s] - when['gain'], 2)}; gain needs {fewer:.1%} fewer (2/3 of {s} - gain: {margin})")
    bound = measures.floor(results["gain"])
    print(f"  floor (a bound, for these agents' graphs): {bound:.2f}; gain takes {when['gain'].mean() / bound:.2f} times that")
    for s, tables in (("watching", likelihood()[:1]), ("random", _by_lot())):
        truth = results["gain"].true_model
        print(f"  the same bound for {s} alone: {evidence_bound(tables)[truth].mean():.2f}")


def _by_lot() -> np.ndarray:
    """One experiment: a setting by lot, and what comes of it."""
    tables = likelihood()
    return np.concatenate(list(tables / len(tables)), axis=1)[None]


def looking_ahead(n_agents: int, jobs: int) -> None:
    print("\nLooking one test ahead (trials of two tests, what is expected of both), beside gain on the same agents")
    when = {}
    for lookahead in (0, 1):
        start = time.perf_counter()
        r = simulate(causal.paradigm("gain", tests=2, lookahead=lookahead), n_agents, 12, jobs=jobs)
        when[lookahead] = 2 * measures.trials_until(r)[0]
        print(
            f"  {lookahead} ahead: posterior after 6 and 12 tests {pm(r.true_model_posterior[0, :, 2])}, "
            f"{pm(r.true_model_posterior[0, :, 5])}; tests to .95 {pm(when[lookahead], 2)}; {time.perf_counter() - start:.0f} s"
        )
    print(f"  tests to .95, gain - look-ahead: {pm(when[0] - when[1], 2)}")


def views(n_agents: int, jobs: int) -> None:
    print("\nWhere not all variables can be watched: scheme gain, trials to .95 of 64")
    for watched in (3, 2, 1):
        r = simulate(causal.paradigm("gain", watched=watched), n_agents, LONG_ENOUGH, jobs=jobs)
        late = int(measures.late(r)[0].sum())
        print(
            f"  {watched} watched: {pm(measures.trials_until(r)[0], 2)}, {late} late; floor (bound) {measures.floor(r):.2f}; "
            f"found after 12 {pm(measures.found(r)[0, :, 11])}"
        )


def known_strengths() -> None:
    print("\nWhat known strengths tell those who only watch, between Markov-equivalent graphs (nats per trial, KL)")
    classes = equivalence_classes()
    same = (classes[:, None] == classes) & ~np.eye(len(GRAPHS), dtype=bool)
    tables = likelihood()
    gaps = divergences(tables)
    watched, best = gaps[0][same], gaps.max(axis=0)[same]
    print(f"  watching: {watched.min():.4f} to {watched.max():.4f}, median {np.median(watched):.4f} ({same.sum()} pairs)")
    print(f"  the best setting for each pair: {best.min():.4f} to {best.max():.4f}, median {np.median(best):.4f}")


def unknown_parameters(n_agents: int, n_trials: int = 200) -> None:
    print(
        f"\nParameters unknown (worth {free.SAMPLE_SIZE:g} observation): posterior of the truth, and of its equivalence class"
    )
    classes = equivalence_classes()
    ends = {}
    for way in free.WAYS:
        study = free.study(way, n_agents, n_trials)
        same = classes == classes[study.truth][:, None]
        of_class = (study.posterior * same[:, None]).sum(axis=2)
        at = [11, 59, n_trials - 1]
        ends[way] = study.of_truth[:, -1]
        told = ", ".join(f"{pm(study.of_truth[:, t])} after {t + 1}" for t in at)
        print(f"  {way:12} {told}; class {pm(of_class[:, -1])}")
        if way == "watching":
            equal = np.abs(study.of_truth - of_class / same.sum(axis=1)[:, None]).max()
            print(f"  {'':12} largest difference between graphs of the true class: {equal:.1e}")
    for way in ("graph", "random", "watching"):
        print(f"  gain - {way}: {pm(ends['gain'] - ends[way])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=512)
    parser.add_argument("--trials", type=int, default=512, help="of agents who do not choose by gain")
    parser.add_argument("--pairs", type=int, default=256, help="agents who look ahead")
    parser.add_argument("--free", type=int, default=256, help="observers who know no parameters")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    results = {}
    for scheme in causal.SCHEMES:
        start, n_trials = time.perf_counter(), LONG_ENOUGH if scheme == "gain" else options.trials
        results[scheme] = simulate(causal.paradigm(scheme), options.agents, n_trials, seed=0, jobs=options.jobs)
        rate = options.agents * n_trials / (time.perf_counter() - start)
        print(f"{scheme}: {rate:.0f} agent-trials per second ({options.jobs} jobs)", flush=True)
    after_twelve(results)
    until_sure(results)
    known_strengths()
    unknown_parameters(options.free)
    views(options.agents, options.jobs)
    looking_ahead(options.pairs, options.jobs)


if __name__ == "__main__":
    main()
