"""Statistics of the three-ball schemes beside SPM's own runs and the numbers published in the paper.

    python benchmarks/against_spm.py [--agents 512] [--trials 64] [--seed 0] [--jobs 2]

For each scheme: share of agents that found the rule, wrong rules adopted, discovery time and score (mean +- standard error),
the same from SPM (git 03564157e under GNU Octave 7.3, 128 agents of 64 trials; 32 for ``knowing``), and how far the two are
apart in joint standard errors.
"""

from __future__ import annotations

import argparse
import math

from activebmr import simulate
from activebmr.paradigms import three_ball

# scheme: (discovery, its s.e., score, its s.e., wrong rules, agents), measured with SPM
SPM: dict[str, tuple[float, float, float, float, int | None, int]] = {
    "paper": (20.07, 0.93, 146.4, 2.7, 3, 128),
    "paper-no-model": (20.09, 0.80, 147.1, 2.5, 2, 128),
    "paper-states": (28.05, 0.99, 92.5, 3.8, 3, 128),
    "paper-none": (48.2, 1.4, 9.1, 6.4, 17, 128),
    "paper-no-selection": (64.0, 0.0, -11.0, 1.6, None, 128),
    "knowing": (0.0, 0.0, 213.7, 0.7, None, 32),
}
# scheme: (discovery, score) as published (64 agents)
PUBLISHED = {"paper": ("19.4", "150"), "paper-states": ("28.5", "89.2")}


def apart(ours: float, our_se: float, theirs: float, their_se: float) -> str:
    """Distance of two means in joint standard errors."""
    joint = math.hypot(our_se, their_se)
    return f"{(ours - theirs) / joint:+.1f}" if joint > 0 else ("0" if ours == theirs else "inf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("agents", 512), ("trials", 64), ("seed", 0), ("jobs", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    schemes = ["reasoning", "paper-exact", *SPM]
    paradigms = [three_ball.paradigm(s) for s in schemes]
    result = simulate(paradigms, options.agents, options.trials, options.seed, jobs=options.jobs, progress=True)
    print(f"{options.agents} agents x {options.trials} trials, seed {options.seed}; distances in joint standard errors\n")
    print("| scheme | found | wrong | discovery | SPM | apart | paper | score | SPM | apart | paper |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for row in result.summary():
        name = row["scheme"]
        cells = [name, f"{row['found']:.1%}" if row["has_hypotheses"] else "-", str(row["wrong"])]
        published = PUBLISHED.get(name, ("-", "-"))
        spm = SPM.get(name)
        for k, what in enumerate(("discovery", "score")):
            cells.append(f"{row[what]:.2f} +- {row[f'{what}_se']:.2f}")
            if spm is None:
                cells += ["-", "-"]
            else:
                mean, se = spm[2 * k], spm[2 * k + 1]
                cells += [f"{mean:g} +- {se:g}", apart(row[what], row[f"{what}_se"], mean, se)]
            cells.append(published[k])
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
