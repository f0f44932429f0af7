"""Hypotheses at scale: ``python benchmarks/structure.py`` prints agent-trials per second and memory per agent, one core.

- maps: a graph of 6 rooms with 3 doors each, hypotheses about where doors lead (transitions, as values);
- rules: the three-ball paradigm with 4 balls and 4 colours, 1,024 rules about what is right (a likelihood, as counts);
- tables: hypotheses about one likelihood of 8 columns, which learn on;
- moves: hypotheses about transitions of 6 states under 3 controls, which learn on.

Each is run with a growing number of hypotheses: cost should grow linearly with them, or less.
"""

from __future__ import annotations

import argparse
import os
import pickle
import time
import tracemalloc
from collections.abc import Callable

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402

from activebmr import POMDP, Agent, HypothesisSpace, ModelProcess, Planner, Reasoning, Selection  # noqa: E402
from activebmr.paradigms import three_ball  # noqa: E402

NEVER = Selection(threshold=np.inf)


def maps(n: int) -> tuple[Agent, ModelProcess, int]:
    rng = np.random.default_rng(0)
    model = POMDP(A=[np.eye(6)], B=[np.full((6, 6, 3), 1 / 6)], D=[np.eye(6)[0]])
    space = HypothesisSpace({str(i): {"B[0]": np.eye(6)[:, rng.integers(6, size=(6, 3))]} for i in range(n)})
    agent = Agent(model, space, Planner(gains=("model",)), selection=NEVER, reasoning=Reasoning(max_size=10**9))
    return agent, ModelProcess(model, space, np.arange(AGENTS) % n), 8


def rules(n: int) -> tuple[Agent, ModelProcess, int]:
    model, space = three_ball.world_model(4, 4), three_ball.rules(4, 4)
    some = np.linspace(0, len(space) - 1, n).astype(int)
    tables = {m: type(t)(t.columns, t.assignment[some], t.shape) for m, t in space.tables.items()}
    space = HypothesisSpace.from_columns([space.names[i] for i in some], tables)
    agent = three_ball.reasoning_agent(4, 4, space=space).with_(reasoning=Reasoning(counts="shared", max_size=10**9))
    return agent.with_(selection=NEVER), ModelProcess(model, space, np.arange(AGENTS) % n), 7


def tables(n: int) -> tuple[Agent, ModelProcess, int]:
    rng = np.random.default_rng(0)
    here = np.stack([np.eye(8)[:, [u] * 8] for u in range(8)], axis=2)
    model = POMDP(A=[None, np.eye(8)], B=[here], pA=[np.ones((3, 8)), None])
    space = HypothesisSpace({str(i): {0: 0.1 + 4 * np.eye(3)[:, rng.integers(3, size=8)]} for i in range(n)})
    agent = Agent(model, space, Planner(gains=("model",)), selection=NEVER, reasoning=Reasoning(max_size=10**9))
    return agent, ModelProcess(model, space, np.arange(AGENTS) % n), 4


def moves(n: int) -> tuple[Agent, ModelProcess, int]:
    rng = np.random.default_rng(0)
    model = POMDP(A=[np.eye(6)], B=[None], D=[np.eye(6)[0]], pB=[np.ones((6, 6, 3))])
    space = HypothesisSpace({str(i): {"pB[0]": 0.1 + 4 * np.eye(6)[:, rng.integers(6, size=(6, 3))]} for i in range(n)})
    agent = Agent(model, space, Planner(gains=("model",)), selection=NEVER, reasoning=Reasoning(max_size=10**9))
    return agent, ModelProcess(model, space, np.arange(AGENTS) % n), 8


AGENTS = 16
ROWS: dict[str, tuple[Callable[[int], tuple[Agent, ModelProcess, int]], tuple[int, ...]]] = {
    "maps": (maps, (25, 50, 100, 200)),
    "rules": (rules, (128, 256, 512, 1024)),
    "tables": (tables, (625, 1250, 2500, 5000)),
    "moves": (moves, (25, 50, 100, 200)),
}


def run(agent: Agent, world: ModelProcess, length: int, n_trials: int) -> tuple[float, float]:
    """Seconds of processor time that the trials take, and kilobytes that the state of an agent holds."""
    rng, state = np.random.default_rng(1), agent.init(AGENTS)
    begin = time.process_time()
    for _ in range(n_trials):
        controls = None
        for _ in range(length):
            uniforms = rng.random((AGENTS, world.n_uniforms + 1))
            if controls is None:
                _, outcomes = world.reset(uniforms[:, :-1])
            else:
                _, outcomes = world.step(controls, uniforms[:, :-1])
            controls = agent.life.advance(state, list(outcomes.T), uniforms[:, -1], None).controls
        agent.life.conclude(state)
    took = time.process_time() - begin
    held = pickle.dumps((state.knowledge.models, state.knowledge.tables, state.knowledge.others))
    return took, len(held) / AGENTS / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    options = parser.parse_args()
    print(f"{AGENTS} agents, {options.trials} trials, one core")
    print(f"{'hypotheses':>18}  {'agent-trials/s':>14}  {'KiB/agent kept':>14}  {'KiB/agent at most':>17}  {'cost each':>9}")
    for name in options.rows:
        make, sizes = ROWS[name]
        first = None
        for n in sizes:
            agent, world, length = make(n)
            run(agent, world, length, 1)
            took, kept = min(run(agent, world, length, options.trials) for _ in range(2))
            tracemalloc.start()
            run(agent, world, length, 1)
            peak = tracemalloc.get_traced_memory()[1] / AGENTS / 1024
            tracemalloc.stop()
            first = took / n if first is None else first
            rate = AGENTS * options.trials / took
            print(f"{n:>10} {name:>7}  {rate:>14.1f}  {kept:>14.1f}  {peak:>17.1f}  {took / n / first:>9.2f}")


if __name__ == "__main__":
    main()
