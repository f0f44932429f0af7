"""How near to the floor of the paradigm the scheme ``reasoning`` comes, which of its parts matter, and how it generalises.

    python benchmarks/reasoning.py [--agents 8192] [--part discovery ablation size lies] [--jobs 2] [--seed 0]

Discovery time is the number of trials after which the learned likelihood is still more than 1 nat from the truth. Agent k
lives through the same balls under every scheme, and so does the ideal observer, who sees them all and eliminates by logic:
differences are paired.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from activebmr import Paradigm, Result, simulate
from activebmr.arrays import standard_error
from activebmr.paradigms import three_ball
from activebmr.references import ideal_observer, lower_bound


def mean(values: np.ndarray) -> str:
    """Mean +- standard error."""
    return f"{np.mean(values):.2f} +- {standard_error(values):.2f}"


def row(name: str, result: Result, ideal: np.ndarray | None) -> None:
    """One line of a table: found, wrong, discovery, difference from the ideal observer (and agents later than it), score."""
    summary, trials = result.summary()[0], result.discovery_trials[0]
    gap = "-" if ideal is None else f"{mean(trials - ideal)} ({(trials > ideal).sum()} later)"
    cells = [name, f"{summary['found']:.1%}", str(summary["wrong"]), mean(trials), gap, mean(result.score[0])]
    print("| " + " | ".join(cells) + " |", flush=True)


def header(title: str, n: int, trials: int) -> None:
    print(f"\n{title} (n = {n} agents, {trials} trials)\n")
    print("| scheme | found | wrong | discovery | minus ideal observer | score |\n|---|---|---|---|---|---|")


def discovery(o: argparse.Namespace) -> None:
    """The headline: rules that are the paper's, and random ones, beside the ideal observer."""
    for rule, name in ((None, "the paper's rule"), ("random", "a random rule per agent, each distinct one equally likely")):
        bare = three_ball.paradigm("reasoning", rule)
        ideal = ideal_observer(bare, o.agents, o.trials, o.seed)
        header(f"Discovery: {name}", o.agents, o.trials)
        print(f"| ideal observer | | | {mean(ideal.trials)} | | |")
        row("reasoning", run(three_ball.paradigm("reasoning", rule), o.agents, o), ideal.trials)
        few = min(o.agents, 2048)
        row(f"laboratory (n = {few})", run(three_ball.paradigm("laboratory", rule), few, o), None)
        if rule is None:
            for scheme in ("clairvoyant", "paper"):
                n = min(o.agents, 512)
                row(f"{scheme} (n = {n})", run(three_ball.paradigm(scheme), n, o), ideal.trials[:n])
    bound = lower_bound(three_ball.rules(), 3)
    print(f"\nno experiment with 3 answers can tell 75 rules apart in fewer than {bound:.2f} trials")


def run(paradigm: Paradigm, agents: int, o: argparse.Namespace, trials: int | None = None) -> Result:
    return simulate(paradigm, agents, o.trials if trials is None else trials, o.seed, jobs=o.jobs)


def ablation(o: argparse.Namespace) -> None:
    """Each part of the scheme taken away, one at a time; paired seeds."""
    n = min(o.agents, 512)
    ideal = ideal_observer(three_ball.paradigm("reasoning"), n, o.trials, o.seed).trials
    make: Callable[..., Paradigm] = lambda **parts: three_ball.paradigm("reasoning", agent=three_ball.reasoning_agent(**parts))  # noqa: E731
    header("What each part is worth", n, o.trials)
    row("all of it", run(make(), n, o), ideal)
    for name, parts in (
        ("rules judged by smoothed counts alone", {"evidence": "counts"}),
        ("... and without smoothed learning", {"evidence": "counts", "smooth": False}),
        ("without the exact gain (plug-in)", {"model_gain": "plug-in"}),
        ("without joint beliefs", {"joint": False}),
        ("without sharp rules (1 count)", {"concentration": 1.0}),
        ("acting on the average rule before insight", {"curious": False}),
    ):
        row(name, run(make(**parts), n, o), ideal)
    few = min(n, 64)
    row(f"with look-ahead of 1 step (n = {few})", run(make(lookahead=1), few, o, 32), np.minimum(ideal[:few], 32))
    row(f"the same agents without (n = {few})", run(make(), few, o, 32), np.minimum(ideal[:few], 32))


def size(o: argparse.Namespace) -> None:
    """Four balls of four colours: 1024 rules."""
    n = min(o.agents, 64)
    paradigm = three_ball.paradigm("reasoning", "random", n_balls=4, n_colours=4)
    ideal = ideal_observer(paradigm, n, 64, o.seed)
    header("Four balls of four colours, random rules out of 1024", n, 48)
    print(f"| ideal observer | | | {mean(ideal.trials)} | | |")
    start = time.perf_counter()
    row("reasoning", run(paradigm, n, o, 48), ideal.trials)
    print(f"\n{time.perf_counter() - start:.0f} s")


def lies(o: argparse.Namespace) -> None:
    """Feedback that says the opposite with probability 0.1."""
    n, trials = min(o.agents, 1024), 96
    header("Feedback lies with probability 0.1", n, trials)
    for scheme, known in (("clairvoyant", True), ("reasoning", True), ("reasoning", False)):
        paradigm = three_ball.paradigm(scheme, lies=0.1, lies_known=known)
        result = run(paradigm, n, o, trials)
        row(f"{scheme}, lies {'known' if known else 'unknown'}", result, None)
        when = result.adoption_trial[0][result.adopted_truth[0]] + 1
        print(f"|   trial of the (last) adoption of the true rule | | | {mean(when)} | | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"discovery": discovery, "ablation": ablation, "size": size, "lies": lies}
    parser.add_argument("--part", nargs="+", choices=list(parts), default=list(parts))
    for name, default in (("agents", 8192), ("trials", 64), ("seed", 0), ("jobs", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    for part in options.part:
        parts[part](options)


if __name__ == "__main__":
    main()
