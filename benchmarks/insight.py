"""What sleep is worth in the rule-learning paradigm of 2017: when insight comes, what it changes, and how SPM's run compares.

    python benchmarks/insight.py [--agents 256] [--jobs 2]

All comparisons are between agents who live through the same random numbers; +- is the standard error over agents. SPM's run
is in tests/data/spm/rule2017.npz.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from activebmr import Result, simulate
from activebmr.arrays import standard_error
from activebmr.paradigms import insight, three_ball

SPM = Path(__file__).parents[1] / "tests" / "data" / "spm" / "rule2017.npz"
SPM_RATE = 0.31  # agent-trials per second under Octave on one core (3.2 s a trial)


def pm(values: np.ndarray, digits: int = 2, scale: float = 1.0) -> str:
    kept = scale * values[~np.isnan(values)]
    return f"{kept.mean():.{digits}f} +- {standard_error(kept):.{digits}f}"


def run(agents: int, jobs: int, schemes: list[str], trials: int = 32, **options: str) -> Result:
    return simulate([insight.paradigm(s, **options) for s in schemes], agents, trials, 0, jobs=jobs)


INSIGHT = "| scheme | found | trial of insight: median (range) | mean | hold a wrong motif in the end |\n|---|---|---|---|---|"
CHANGES = """
up to insight (sleep, and sleep less naive) and after it (sleep, naive, difference); same trials, same worlds:

| scheme | measure | before | before, less naive | after | naive | difference |
|---|---|---|---|---|---|---|"""


def aha(result: Result) -> None:
    """When sleep first finds the true motif, and which motif agents hold in the end."""
    print(INSIGHT)
    when = insight.aha_trial(result)
    for s, scheme in enumerate(result.schemes):
        if (result.best_model[s] < 0).all():
            continue
        found = when[s][when[s] >= 0] + 1
        quartiles = np.percentile(found, [0, 25, 50, 75, 100])
        print(
            f"| {scheme} | {len(found)} of {len(when[s])} | {quartiles[2]:g} ({quartiles[0]:g} to {quartiles[4]:g}; half in "
            f"{quartiles[1]:g} to {quartiles[3]:g}) | {found.mean():.2f} +- {standard_error(found):.2f} | "
            f"{int(result.adopted_wrong[s].sum())} |"
        )


def split(values: np.ndarray, when: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of a measure (agent, trial) up to each agent's insight and after it ``(agent,)``; nan where there is no trial."""
    trial = np.arange(values.shape[1])
    before = np.where(trial <= when[:, None], values, np.nan)
    after = np.where((trial > when[:, None]) & (when[:, None] >= 0), values, np.nan)
    with np.errstate(invalid="ignore"):
        return tuple(np.nansum(x, axis=1) / (~np.isnan(x)).sum(axis=1) for x in (before, after))


def before_and_after(result: Result, *schemes: str) -> None:
    """Free energy, confidence and accuracy up to insight and after it, beside the same trials of agents who never sleep."""
    print(CHANGES)
    for scheme in schemes:
        _before_and_after(result, scheme)


def _before_and_after(result: Result, scheme: str) -> None:
    s, n = result.index(scheme), result.index("naive")
    when = insight.aha_trial(result)[s]
    hit = insight.hits(result).astype(float)
    for name, values in (("correct, %", 100 * hit), ("free energy", result.free_energy), ("confidence", result.confidence)):
        (b, a), (b0, a0) = split(values[s], when), split(values[n], when)
        print(f"| {scheme} | {name} | {pm(b)} | {pm(b - b0)} | {pm(a)} | {pm(a0)} | {pm(a - a0)} |")


def against_spm(result: Result) -> None:
    """Where SPM's one run lies among ours."""
    spm = np.load(SPM)
    naive, sleep = result.index("naive"), result.index("sleep-own")
    when = insight.aha_trial(result)[sleep] + 1
    hit = insight.hits(result)
    own = {
        "trial at which sleep finds the motif": (when[when > 0], float(spm["sleep_trial"].item())),
        "naive: trials answered right, of 32": (hit[naive].sum(axis=1), float(spm["hit"].sum())),
        "naive: free energy per trial": (result.free_energy[naive].mean(axis=1), float(spm["F"].mean())),
        "naive: confidence per trial": (result.confidence[naive].mean(axis=1), float(spm["Fu"].mean())),
    }
    after = slice(int(spm["sleep_trial"].item()) - 1, None)
    for name, mine, key in (("free energy", result.free_energy, "F"), ("confidence", result.confidence, "Fu")):
        change = split(mine[sleep], when - 1)[1] - split(mine[naive], when - 1)[1]
        own[f"{name} after sleep less without"] = (
            change[np.isfinite(change)],
            float((spm[f"sws_{key}"] - spm[key])[after].mean()),
        )
    for name, (values, theirs) in own.items():
        below = (values < theirs).mean() + 0.5 * (values == theirs).mean()
        print(f"| {name} | {values.mean():.2f} | {values.min():.2f} to {values.max():.2f} | {theirs:.2f} | {below:.0%} |")


def instruction(result: Result) -> None:
    """The first 16 trials of instructed agents and of naive ones."""
    s, n = result.index("instructed"), result.index("naive")
    hit = insight.hits(result).astype(float)
    for name, values in (
        ("correct, %", 100 * hit),
        ("free energy", result.free_energy),
        ("confidence", result.confidence),
    ):
        told, untold = values[s, :, :16].mean(axis=1), values[n, :, :16].mean(axis=1)
        print(f"| {name} | {pm(told)} | {pm(untold)} | {pm(told - untold)} |")


def three_balls(agents: int, jobs: int) -> None:
    """Introspection where the paper of 2025 has agents reason while awake."""
    schemes = ["introspection", "reasoning", "paper"]
    result = simulate([three_ball.paradigm(s) for s in schemes], agents, 64, 0, jobs=jobs)
    for row in result.summary():
        s = result.index(row["scheme"])
        when = result.adoption_trial[s][result.adoption_trial[s] >= 0] + 1
        print(
            f"| {row['scheme']} | {row['found']:.1%} | {row['wrong']} | {row['discovery']:.2f} +- {row['discovery_se']:.2f} | "
            f"{np.median(when):g} | {row['score']:.1f} +- {row['score_se']:.1f} |"
        )
    gap = result.score[0] - result.score[1]
    print(f"\nscore of introspection less reasoning, agent by agent: {pm(gap, 1)}")


def speed(agents: int) -> None:
    for planner in insight.PLANNERS:
        for scheme in ("naive", "sleep", "sleep-dream"):
            paradigm = insight.paradigm(scheme, planner=planner)
            start = time.perf_counter()
            simulate(paradigm, agents, 32, 0)
            rate = agents * 32 / (time.perf_counter() - start)
            print(f"| {planner} | {scheme} | {rate:.0f} | {rate / SPM_RATE:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=256)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    schemes = ["naive", "sleep", "sleep-dream", "sleep-own", "instructed", "knowing"]
    for planner in insight.PLANNERS:
        result = run(args.agents, args.jobs, schemes, planner=planner)
        print(f"\n## planner {planner}: {args.agents} agents, 32 trials\n")
        aha(result)
        before_and_after(result, "sleep", "sleep-dream", "sleep-own")
        print("\nfirst 16 trials, instructed and naive:\n\n| measure | instructed | naive | difference |\n|---|---|---|---|")
        instruction(result)
        if planner == "2017":
            print("\nSPM's run among ours (sleep-own is SPM's way):\n")
            print("| measure | mean | range | SPM | below SPM |\n|---|---|---|---|---|")
            against_spm(result)
        soft = run(args.agents, args.jobs, ["naive", "sleep", "sleep-own"], planner=planner, adopt="reduced")
        print("\nthe motif's counts adopted as they are (adopt=reduced):\n")
        aha(soft)
        before_and_after(soft, "sleep")
    print(f"\n## three balls, {args.agents} agents, 64 trials\n")
    print("| scheme | found | wrong | discovery | median trial of adoption | score |\n|---|---|---|---|---|---|")
    three_balls(args.agents, args.jobs)
    print("\n## agent-trials per second on one core (64 agents)\n")
    print("| planner | scheme | rate | times SPM's 0.31 |\n|---|---|---|---|")
    speed(64)


if __name__ == "__main__":
    main()
