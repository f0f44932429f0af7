"""Regret of agents and rivals in the bandit, what agents find that payoffs depend on, and what the settings were chosen by.

    python benchmarks/bandit.py [--agents 512] [--after 200 400 1000] [--jobs 2]

All players live through the same contexts, payoffs and chance, agent by agent; +- is the standard error over agents. The
preference (of two that are equal there, the one that explores more) and the width of confidence bounds were chosen on seed
1001, all else is measured on seed 0.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from activebmr import Paradigm, Result, simulate
from activebmr.arrays import standard_error
from activebmr.paradigms import bandit
from activebmr.paradigms.bandit.world import PREFERENCE, STRUCTURES

TUNING = 1001
PREFERENCES = (0.125, 0.25, 0.5, 0.75, 1.0, 2.0, 4.0, 8.0, 16.0)
WIDTHS = (0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 2**0.5)
SCHEMES = ("efe", "no-model-gain", "greedy", "apart")


def pm(values: np.ndarray, digits: int = 2) -> str:
    return f"{values.mean():.{digits}f} +- {standard_error(values):.{digits}f}"


def unselected(preference: float) -> Paradigm:
    """The scheme "efe" of agents who never adopt a structure."""
    return bandit.paradigm("efe", preference=preference, agent=bandit.agent_of("efe", "random", preference, np.inf))


def players(result: Result) -> dict[str, np.ndarray]:
    """Regret ``(n_agents, n_trials)`` of schemes, of who knows the structure, and of rivals."""
    missed = dict(zip(result.schemes, bandit.regret(result), strict=True))
    missed["knowing"] = bandit.floor(result)
    return missed | {name: bandit.rival_regret(result, name) for name in bandit.RIVALS}


def regrets(result: Result, missed: dict[str, np.ndarray], after: int) -> None:
    """Regret after so many trials, beside Thompson sampling's."""
    names = " | ".join(STRUCTURES)
    print("| player | regret | less Thompson's | agents with less, with more | last 50 trials | " + names + " |")
    print("|---|---|---|---|---|" + "---|" * len(STRUCTURES))
    thompson = missed["thompson"][:, :after].sum(axis=1)
    for name, values in missed.items():
        total = values[:, :after].sum(axis=1)
        gap = total - thompson
        by = " | ".join(pm(total[result.true_model == m]) for m in range(len(STRUCTURES)))
        share = f"{np.mean(gap < 0):.0%}, {np.mean(gap > 0):.0%}"
        print(f"| {name} | {pm(total)} | {pm(gap)} | {share} | {pm(values[:, after - 50 : after].sum(axis=1))} | {by} |")
    print(
        "\npaired differences to Thompson's by true structure:\n\n| player | " + names + " |\n|---|" + "---|" * len(STRUCTURES)
    )
    for name in ("efe", "no-model-gain", "greedy", "ucb-structures"):
        gap = missed[name][:, :after].sum(axis=1) - thompson
        print(f"| {name} | " + " | ".join(pm(gap[result.true_model == m]) for m in range(len(STRUCTURES))) + " |")


def adopted_after(result: Result, s: int, after: int) -> np.ndarray:
    """The structure that agents hold for theirs after so many trials ``(n_agents,)``: the last one whose log odds passed."""
    passed = result.log_odds[s, :, :after] > bandit.WINDOW
    last = after - 1 - passed[:, ::-1].argmax(axis=1)
    return np.where(passed.any(axis=1), result.best_model[s][np.arange(len(last)), last], -1)


def found(result: Result, after: int) -> None:
    """What agents have found after so many trials that payoffs depend on."""
    print("\n| scheme | true | posterior of it | most probable | adopted it | a wrong one |\n|---|---|---|---|---|---|")
    for s, scheme in enumerate(result.schemes[:3]):
        adopted = adopted_after(result, s, after)
        held, best = result.true_model_posterior[s, :, after - 1], result.best_model[s, :, after - 1] == result.true_model
        right, wrong = adopted == result.true_model, (adopted >= 0) & (adopted != result.true_model)
        for m, name in enumerate([*STRUCTURES, "all"]):
            mine = result.true_model == m if name != "all" else np.ones(len(held), dtype=bool)
            shares = " | ".join(f"{x[mine].mean():.1%}" for x in (best, right, wrong))
            print(f"| {scheme} | {name} | {pm(held[mine], 3)} | {shares} |")


def worth_of_the_gain(result: Result, missed: dict[str, np.ndarray], after: int) -> None:
    """What the gain about models adds, agent by agent."""
    regret = (missed["efe"] - missed["no-model-gain"])[:, :after].sum(axis=1)
    held = result.true_model_posterior[0, :, after - 1] - result.true_model_posterior[1, :, after - 1]
    print(f"\nwith the gain about models, less without it: regret {pm(regret)}, posterior of the truth {pm(held, 3)}")


def calibration(result: Result, after: int) -> None:
    """How often a structure is true that an agent gives such a probability, over all structures and agents."""
    held, true = result.model_posterior[0, :, after - 1], np.eye(len(STRUCTURES))[result.true_model]
    print("\n| posterior | how many | its mean | true |\n|---|---|---|---|")
    for low, high in ((0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
        inside = (held >= low) & (held < high)
        print(f"| {low:g} to {min(high, 1):g} | {inside.sum()} | {held[inside].mean():.3f} | {pm(true[inside], 3)} |")


def tuning(agents: int, trials: int, seed: int, jobs: int) -> None:
    """Regret by the size of the preference, and by the width of the bounds."""
    print(f"\nseed {seed}, {trials} trials; agents who adopt nothing\n")
    print("| preference, nats | regret | less Thompson's |\n|---|---|---|")
    for size in PREFERENCES:
        result = simulate(unselected(size), agents, trials, seed, jobs=jobs)
        missed = bandit.regret(result)[0].sum(axis=1)
        print(f"| {size:g} | {pm(missed)} | {pm(missed - bandit.rival_regret(result, 'thompson').sum(axis=1))} |")
    print("\n| width of bounds | ucb | ucb-structures |\n|---|---|---|")
    for width in WIDTHS:
        both = [bandit.rival_regret(result, name, width=width).sum(axis=1) for name in ("ucb", "ucb-structures")]
        print(f"| {width:.2f} | {pm(both[0])} | {pm(both[1])} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=512)
    parser.add_argument("--after", type=int, nargs="+", default=[200, 400, 1000])
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    first = args.after[0]
    schemes = [bandit.paradigm(s) for s in SCHEMES]
    start = time.perf_counter()
    result = simulate(schemes, args.agents, max(args.after), 0, jobs=args.jobs)
    rate = result.wins.size / (time.perf_counter() - start)
    print(f"# {args.agents} agents, preference {PREFERENCE:g} nats, seed 0 ({rate:.0f} agent-trials/s, {args.jobs} jobs)")
    missed = players(result)
    for after in args.after:
        print(f"\n## after {after} trials\n")
        regrets(result, missed, after)
        found(result, after)
        worth_of_the_gain(result, missed, after)
        calibration(result, after)
    for seed in (TUNING, 0):
        print(f"\n## what settings do{': the seed that they were chosen on' if seed == TUNING else ''}")
        tuning(args.agents, first, seed, args.jobs)
    kinds = schemes[0], unselected(PREFERENCE)
    with_, without = (bandit.regret(simulate(p, args.agents, first, 0, jobs=args.jobs))[0].sum(axis=1) for p in kinds)
    print(f"\nregret of agents who adopt one at {bandit.WINDOW:g} nats, less that of who adopt none: {pm(with_ - without)}")


if __name__ == "__main__":
    main()
