"""Speed of the three-ball schemes on one core, beside jitted pymdp on the same model in the same run.

    python benchmarks/three_ball.py [--agents 1 64 1024] [--trials 64] [--schemes ...] [--no-pymdp]

Prints agent-trials per second (a trial is 6 observations, each followed by the evaluation of 16 policies and learning) and the
ratio to pymdp's ``rollout``, which evaluates expected utility and the gains about states and parameters; it has no gain about
models, no deeper search and no model selection. SPM under Octave made 0.33 trials per second (3.1 CPU seconds each) for the
naive agent.
"""

from __future__ import annotations

import argparse
import os
import time

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy is imported: one core means one thread

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

from activebmr import simulate  # noqa: E402
from activebmr.paradigms import three_ball  # noqa: E402


def rate(scheme: str, n_agents: int, n_trials: int, repeats: int) -> float:
    """Agent-trials per second of one scheme, the best of some repeats."""
    paradigm = three_ball.paradigm(scheme)
    simulate(paradigm, 1, 1)
    best = 0.0
    for repeat in range(repeats):
        start = time.perf_counter()
        simulate(paradigm, n_agents, n_trials, seed=repeat)
        best = max(best, n_agents * n_trials / (time.perf_counter() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 64, 1024])
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--schemes", nargs="+", default=list(three_ball.SCHEMES), choices=list(three_ball.SCHEMES))
    parser.add_argument("--no-pymdp", action="store_true")
    options = parser.parse_args()

    peer: dict[int, float] = {}
    if not options.no_pymdp:
        from pymdp_three_ball import pymdp_rate

        for n in options.agents:
            peer[n] = pymdp_rate(n, max(4, min(options.trials, 4096 // n)), 0)
    print(f"agent-trials per second on one core, {options.trials} trials; in brackets the ratio to pymdp\n")
    print("| scheme | " + " | ".join(f"{n} agent{'s' * (n > 1)}" for n in options.agents) + " |")
    print("|---|" + "---|" * len(options.agents))
    if peer:
        print("| jitted pymdp (float32) | " + " | ".join(f"{peer[n]:.0f}" for n in options.agents) + " |")
    for scheme in options.schemes:
        cells = []
        for n in options.agents:
            ours = rate(scheme, n, options.trials, repeats=3 if n <= 64 else 1)
            cells.append(f"{ours:.0f}" + (f" ({ours / peer[n]:.2f})" if peer else ""))
        print(f"| {scheme} | " + " | ".join(cells) + " |", flush=True)
    print("\nSPM under GNU Octave, naive agent: 0.33 (measured earlier, not in this run)")


if __name__ == "__main__":
    main()
