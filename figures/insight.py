"""What sleep and instruction are worth in the rule-learning paradigm, 256 agents each: ``python figures/insight.py`` draws
``figures/insight.png`` (about 2 minutes)."""

from pathlib import Path

from activebmr import plots, simulate
from activebmr.paradigms import insight, insight_figures

SCHEMES = ("naive", "sleep", "instructed")
AGENTS, TRIALS, SEED = 256, 32, 0


def main() -> None:
    result = simulate([insight.paradigm(s) for s in SCHEMES], n_agents=AGENTS, n_trials=TRIALS, seed=SEED, jobs=-1)
    with plots.style():
        insight_figures.save(insight_figures.summary(result), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
