"""What agents find out about a T-maze, what it is worth to them, and when they ask the cue.

    python benchmarks/t_maze.py [--agents 512] [--sessions 96] [--others 128] [--counts 0] [--seed 0] [--jobs 1]

Agent k of every scheme has the same true structure and lives through the same random numbers. Agents who knew it from the start
have the same planner and plan the whole session; what a session can be worth to them is exact, by dynamic programming. The
bound is that of `activebmr.references.evidence_bound` for who sees more than any agent can, the observer one who does.
"""

from __future__ import annotations

import argparse
import os
import time

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy is imported: one core means one thread

import numpy as np  # noqa: E402

from activebmr import Result, simulate  # noqa: E402
from activebmr.arrays import standard_error  # noqa: E402
from activebmr.paradigms import t_maze  # noqa: E402
from activebmr.paradigms.t_maze.floors import best_possible  # noqa: E402
from activebmr.paradigms.t_maze.optimum import best_session  # noqa: E402
from activebmr.paradigms.t_maze.reading import KINDS, kind_of, structures_of  # noqa: E402


def told(values: np.ndarray, digits: int = 2) -> str:
    return f"{values.mean():.{digits}f} +- {standard_error(values):.{digits}f}"


def found(result: Result, seconds: float) -> None:
    """Who knows, after how many sessions."""
    n, sessions = result.sizes["agent"], result.sizes["trial"]
    right, when = result.adopted_truth[0], t_maze.known_after(result)[0]
    print(f"\n## reasoning: {n} agents, {sessions} sessions, Occam's window {t_maze.WINDOW:g} nats\n")
    wrong = int(t_maze.ever_wrong(result).sum())
    print(f"true structure adopted: {right.sum()} of {n} ({right.mean():.1%}); ever a wrong one: {wrong}")
    print(f"posterior of the truth in the end: {told(t_maze.posterior_of_truth(result)[0, :, -1], 5)}")
    share = [f"{q:.0%} {np.quantile(when, q):.0f}" for q in (0.5, 0.9, 0.99)]
    print(f"sessions until then: {told(when)} ({', '.join(share)}, latest {when.max()})")
    seen = t_maze.observer(result)
    print(f"an observer of everything: {told(seen)}; paired difference {told(when - seen)}")
    print(f"bound on the mean, not reached: {t_maze.floor(result):.2f}")
    print(f"{n * sessions / seconds:.0f} agent-sessions a second of processor time ({seconds:.0f} s)")


def gained(result: Result, knew: Result) -> None:
    """From adoption on, beside agents who always knew."""
    mine, theirs = t_maze.after(result)[0], t_maze.after(result, knew)[0]
    ok = np.isfinite(mine)
    gap = mine[ok] - theirs[ok]
    print(f"\n## From the session after adoption on ({ok.sum()} agents)\n")
    print(f"score of a session {told(mine[ok], 3)}, of agents who knew {told(theirs[ok], 3)}")
    print(f"paired difference {told(gap, 4)} ({100 * gap.mean() / theirs[ok].mean():+.3f} %), at most {np.abs(gap).max():.4f}")
    best, each = best_possible(knew), t_maze.scores(knew)[0].mean(axis=1)
    print(
        f"agents who knew, all sessions: {told(each, 3)}; expected of the best plan {best.mean():.3f} (exact), paired", end=" "
    )
    print(told(each - best, 3))
    missed = t_maze.scores(knew)[0].sum(axis=1) - t_maze.scores(result)[0].sum(axis=1)
    print(f"what finding out costs until then: {told(missed, 1)} points in all sessions")


def asked(result: Result) -> None:
    """Looks at the cue before and after adoption, by kind of structure, beside the best plan's."""
    looks, when = t_maze.looks(result), t_maze.known_after(result)[0]
    true = structures_of(result)
    kinds = np.array([kind_of(s) for s in true])
    best = np.array([best_session(s).looks for s in true])
    before = np.array([row[:k].mean() for row, k in zip(looks, when, strict=True)])
    later = np.array([row[k:].mean() if k < len(row) else np.nan for row, k in zip(looks, when, strict=True)])
    print("\n## Looks at the cue in a session\n")
    print("| true structure | agents | sessions until known | looks until then | after | best plan (exact) | largest gap |")
    print("|---|---|---|---|---|---|---|")
    for kind in KINDS:
        mine = kinds == kind
        done = mine & np.isfinite(later)
        most = np.abs(later[done] - best[done]).max() if done.any() else np.nan
        cells = [told(when[mine], 1), told(before[mine]), told(later[done]), told(best[done]), f"{most:.3f}"]
        print(f"| {kind} | {mine.sum()} | " + " | ".join(cells) + " |")


def others(main: Result, knew: Result, n_agents: int, jobs: int) -> None:
    """All schemes, agent by agent, on fewer agents (the first ones, who live the same whoever else is there)."""
    sessions, seed = main.sizes["trial"], int(main.seed)
    print(f"\n## All schemes ({n_agents} agents, {sessions} sessions)\n")
    print(
        "| scheme | found | ever wrong | posterior | sessions | score of a session | beside who knew (paired) | looks, last 8 |"
    )
    print("|---|---|---|---|---|---|---|---|")
    theirs = t_maze.scores(knew)[0].mean(axis=1)
    for name in t_maze.SCHEMES:
        if name == "knowing":
            continue
        result = main
        if name != "reasoning":
            result = simulate(t_maze.paradigm(name), n_agents, sessions, seed, jobs=jobs, trace=True)
        score = t_maze.scores(result)[0].mean(axis=1)[:n_agents]
        cells = [
            f"{result.adopted_truth[0, :n_agents].mean():.1%}",
            str(int(t_maze.ever_wrong(result)[0, :n_agents].sum())),
            told(t_maze.posterior_of_truth(result)[0, :n_agents, -1], 3),
            told(t_maze.known_after(result)[0, :n_agents], 1),
            told(score),
            told(score - theirs[:n_agents]),
            told(t_maze.looks(result)[:n_agents, -8:].mean(axis=1)),
        ]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def learning(counts: float, n_agents: int, sessions: int, seed: int, jobs: int) -> None:
    """Hypotheses that go on learning."""
    result = simulate(t_maze.paradigm(counts=counts), n_agents, sessions, seed, jobs=jobs)
    print(f"\n## Structures as {counts:g} counts a column ({n_agents} agents, {sessions} sessions)\n")
    when, wrong = t_maze.known_after(result)[0], int(t_maze.ever_wrong(result).sum())
    print(f"found {result.adopted_truth[0].mean():.1%}, ever wrong {wrong}, sessions {told(when)}, latest {when.max()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=512)
    parser.add_argument("--sessions", type=int, default=t_maze.TRIALS)
    parser.add_argument("--others", type=int, default=128, help="agents of the other schemes; 0 for none")
    parser.add_argument("--counts", type=float, default=0.0, help="also structures that are worth so many counts and learn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    n, sessions, seed = options.agents, options.sessions, options.seed
    begin = time.process_time()
    result = simulate(t_maze.paradigm(), n, sessions, seed, jobs=options.jobs, trace=True)
    found(result, time.process_time() - begin)
    begin = time.process_time()
    knew = simulate(t_maze.knowing(n, seed), n, sessions, seed)
    gained(result, knew)
    print(f"(agents who knew: {time.process_time() - begin:.0f} s of processor time)", flush=True)
    asked(result)
    if options.others:
        others(result, knew, min(options.others, n), options.jobs)
    if options.counts:
        learning(options.counts, max(options.others, 64), sessions + 32, seed, options.jobs)


if __name__ == "__main__":
    main()
