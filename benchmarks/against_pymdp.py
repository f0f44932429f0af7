"""Speed of the engine beside jitted pymdp, on one core, in many worlds: from a T-maze to 1,000 states, from 1 to 256 agents.

    python benchmarks/against_pymdp.py [--json FILE] [--models NAME ...] [--agents N ...] [--x64] [--scan] [--old DIR]

Both sides live through the same kind of trials, of 20 outcomes: a step of the world, beliefs about states, the expected free
energy of all policies (utility and state information gain), an action drawn from it. Likelihoods are known, nothing is learned.
pymdp as its users get most out of it: a trial of all agents is a `rollout` in one compiled call, in float32 unless --x64 says
otherwise (--scan puts many trials into one call, which saves what the call itself costs: 7 us a step of one agent).
Its gain is a sum over modalities, so ours is asked for the same (``modalities="separate"``).

A row: ``ratio`` is our steps per second divided by pymdp's, the median over repetitions in which both are timed one after the
other in this process, and below it ``low`` and ``high``, the extremes. Times are CPU times per agent and step. Compilation is
apart. Where a call of pymdp would take too long, fewer agents are timed and their time per agent counts (``pymdp agents`` says
how many): it is proportional to the number of agents there. ``memory`` is what a step of ours holds at its peak beyond what
there was before, per agent. With --old the same rows are timed with another version of this library, from the folder DIR that
holds its package, in a process beside this one on the same core, again in turns: ``to old`` is our steps per second divided by
the old ones.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy is imported: one core means one thread
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import gc  # noqa: E402
import subprocess  # noqa: E402
import time  # noqa: E402
import tracemalloc  # noqa: E402
import warnings  # noqa: E402
from collections.abc import Callable  # noqa: E402
from dataclasses import fields  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from activebmr import POMDP, Agent, ModelProcess, Planner  # noqa: E402

TRIAL = 20  # outcomes in a trial
ALPHA = 16.0
ENOUGH = 0.1  # seconds that one timing of one side should take
TOO_LONG = 0.8  # seconds above which a call of pymdp gets fewer agents


# --- worlds --------------------------------------------------------------------------------------------------------------
def t_maze(length: int) -> POMDP:
    """pymdp's T-maze of five places, neighbours only, with a cue of 0.95 and rewards that come in 9 of 10 cases."""
    cue, won = 0.95, 0.9
    centre, arms, bottom, crossing = 0, (1, 2), 3, 4
    reward, hint = np.zeros((3, 5, 2)), np.zeros((3, 5, 2))
    reward[0], hint[0] = 1.0, 1.0
    hint[:, bottom] = [[0.0, 0.0], [cue, 1 - cue], [1 - cue, cue]]
    for i, arm in enumerate(arms):
        reward[:, arm] = 0.0
        reward[[1, 0], arm, i] = won, 1 - won
        reward[[2, 0], arm, 1 - i] = won, 1 - won
    paths = {(centre, bottom), (centre, crossing), *((crossing, arm) for arm in arms)}
    move = np.zeros((5, 5, 5))
    for here, goal in np.ndindex(5, 5):
        move[goal if {(here, goal), (goal, here)} & paths else here, here, goal] = 1.0
    return POMDP(
        A=[np.eye(5), reward, hint],
        B=[move, np.eye(2)[:, :, None]],
        C=[None, [0.0, 2.0, -3.0], None],
        D=[np.eye(5)[centre], None],
        A_dependencies=[[0], [0, 1], [0, 1]],
        policy_length=length,
    )


def grid(side: int, length: int, slip: float = 0.0, blur: float = 0.0) -> POMDP:
    """A grid with four moves and staying, towards a goal in the corner; moves fail and positions are misread now and then."""
    n = side * side
    move = np.zeros((n, n, 5))
    for here in range(n):
        row, column = divmod(here, side)
        for u, (down, right) in enumerate(((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))):
            to = np.clip([row + down, column + right], 0, side - 1)
            move[to[0] * side + to[1], here, u] += 1 - slip
            move[here, here, u] += slip
    near = move.mean(axis=2)
    goal = -0.3 * np.abs(np.array(np.divmod(np.arange(n), side)) - (side - 1)).sum(axis=0)
    seen = (1 - blur) * np.eye(n) + blur * near
    return POMDP(A=[seen], B=[move], C=[goal], D=[np.eye(n)[0]] if blur == 0 else None, policy_length=length)


def factors(n_states: int, controls: tuple[int, ...], length: int, seed: int) -> POMDP:
    """Three noisy factors, and three modalities that each tell of two of them."""
    rng = np.random.default_rng(seed)
    seen, moved = [], []
    for m in range(3):
        a = rng.gamma(0.5, size=(n_states, n_states, n_states))
        a[np.arange(n_states), np.arange(n_states)] += 2.0
        seen.append(a / a.sum(axis=0))
        b = rng.gamma(0.5, size=(n_states, n_states, controls[m]))
        for u in range(controls[m]):
            b[(np.arange(n_states) + u) % n_states, np.arange(n_states), u] += 3.0
        moved.append(b / b.sum(axis=0))
    wanted = [np.linspace(0.0, 1.0, n_states), None, np.linspace(0.5, -0.5, n_states)]
    return POMDP(A=seen, B=moved, C=wanted, A_dependencies=[[0, 1], [1, 2], [2, 0]], policy_length=length)


def many_states(n: int, n_controls: int, seed: int) -> POMDP:
    """One factor of many states; everything may follow from anything."""
    rng = np.random.default_rng(seed)
    a, b = rng.gamma(0.1, size=(n, n)) + 1e-3, rng.gamma(0.1, size=(n, n, n_controls)) + 1e-3
    return POMDP(A=[a / a.sum(axis=0)], B=[b / b.sum(axis=0)], C=[np.linspace(0.0, 2.0, n)])


MODELS: dict[str, Callable[[], POMDP]] = {
    "t-maze, 2 steps": lambda: t_maze(2),
    "t-maze, 3 steps": lambda: t_maze(3),
    "t-maze, 4 steps": lambda: t_maze(4),
    "grid 5x5, 1 step": lambda: grid(5, 1, slip=0.1, blur=0.2),
    "grid 5x5, 4 steps": lambda: grid(5, 4, slip=0.1, blur=0.2),
    "grid 10x10, 2 steps": lambda: grid(10, 2, slip=0.1, blur=0.2),
    "grid 10x10, 4 steps": lambda: grid(10, 4, slip=0.1, blur=0.2),
    "3x3 factors, 2 steps": lambda: factors(4, (2, 2, 2), 2, seed=0),
    "3x10 states, 3 steps": lambda: factors(10, (5, 1, 1), 3, seed=1),
    "1000 states, 1 step": lambda: many_states(1000, 3, seed=2),
}
MOST_AGENTS = {"3x10 states, 3 steps": 64, "1000 states, 1 step": 64}  # pymdp would take gigabytes for more of the latter


# --- this library --------------------------------------------------------------------------------------------------------
class Ours:
    """Agents of this library in their world; an old version runs the same lines, in another process."""

    def __init__(self, model: POMDP, modalities: str, inference: str | None) -> None:
        own = {f.name for f in fields(Planner)}
        options = {"modalities": modalities} if "modalities" in own else {}
        believing = {} if inference is None else {"inference": inference}
        planner = Planner(gains=("state",), alpha=ALPHA, **options)  # type: ignore[arg-type]
        self.agent = Agent(model, planner=planner, trial_length=None, **believing)  # type: ignore[arg-type]
        self.world = ModelProcess(model)
        life = getattr(self.agent, "life", None)
        self._advance = self.agent._advance if life is None else life.advance  # 0.1 has no life of its own

    def advance(self, state: Any, outcomes: Any, uniform: Any) -> Any:
        """One step in place, as `simulate` takes it; returns the controls."""
        return self._advance(state, list(outcomes.T), uniform, None).controls

    def live(self, n_agents: int, n_steps: int, rng: np.random.Generator) -> None:
        for t in range(n_steps):
            if t % TRIAL == 0:
                state = self.agent.init(n_agents)
                _, outcomes = self.world.reset(rng.random((n_agents, self.world.n_uniforms)))
            controls = self.advance(state, outcomes, rng.random(n_agents))
            _, outcomes = self.world.step(controls, rng.random((n_agents, self.world.n_uniforms)))

    def seconds(self, n_agents: int, n_steps: int, seed: int) -> float:
        """CPU seconds of a step of all agents."""
        rng = np.random.default_rng(seed)
        start = time.process_time()
        self.live(n_agents, n_steps, rng)
        return (time.process_time() - start) / n_steps

    def memory(self, n_agents: int) -> float:
        """Bytes per agent that a step holds at its peak, beyond what there was before; the most in three steps."""
        rng, world, state = np.random.default_rng(0), self.world, self.agent.init(n_agents)
        _, outcomes = world.reset(rng.random((n_agents, world.n_uniforms)))
        most = 0
        gc.collect()
        for t in range(4):
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            controls = self.advance(state, outcomes, rng.random(n_agents))
            if t > 0:  # the first step fills what is worked out once for a model
                most = max(most, tracemalloc.get_traced_memory()[1] - before)
            tracemalloc.stop()
            _, outcomes = world.step(controls, rng.random((n_agents, world.n_uniforms)))
        return most / n_agents


class Old:
    """The same in another process, with the version of this library that lies in a folder; asked over pipes."""

    def __init__(self, folder: str, modalities: str, inference: str | None) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--serve", "--modalities", modalities]
        command += [] if inference is None else ["--inference", inference]
        environment = os.environ | {"PYTHONPATH": str(Path(folder).resolve())}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        found = self._hear()
        if not str(found).startswith(str(Path(folder).resolve())):
            raise SystemExit(f"{folder} holds no package activebmr: {found} was imported instead")

    def _hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def seconds(self, model: str, n_agents: int, n_steps: int, seed: int) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([model, n_agents, n_steps, seed]) + "\n")
        self.process.stdin.flush()
        return float(self._hear())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(modalities: str, inference: str | None) -> None:
    """Answer requests of a benchmark that runs elsewhere: one line in, one line out."""
    import activebmr

    print(json.dumps(activebmr.__file__), flush=True)
    made: dict[str, Ours] = {}
    for line in sys.stdin:
        name, n_agents, n_steps, seed = json.loads(line)
        if name not in made:
            made = {name: Ours(MODELS[name](), modalities, inference)}
        print(json.dumps(made[name].seconds(n_agents, n_steps, seed)), flush=True)


# --- pymdp ---------------------------------------------------------------------------------------------------------------
class Peer:
    """pymdp's agents in their world: trials in one compiled call, each of them a `rollout`."""

    def __init__(self, model: POMDP, n_agents: int, n_trials: int, precision: str, calls: int = 1) -> None:
        import jax
        import jax.numpy as jnp
        from pymdp.agent import Agent as PymdpAgent
        from pymdp.envs import PymdpEnv, rollout

        jax.config.update("jax_enable_x64", precision == "float64")
        self.jax, self.n_agents, self.n_steps, self.calls = jax, n_agents, n_trials * calls * TRIAL, calls
        arrays = {k: [jnp.asarray(np.array(x), precision) for x in getattr(model, k)] for k in ("A", "B", "D")}
        dependencies = {k: [list(d) for d in getattr(model, k)] for k in ("A_dependencies", "B_dependencies")}
        world = PymdpEnv(**arrays, **dependencies)
        agents = PymdpAgent(
            **{k: list(v) for k, v in arrays.items()},
            **dependencies,
            C=[jnp.asarray(np.array(c), precision) for c in model.C],  # type: ignore[union-attr]
            policy_len=model.policy_length,
            batch_size=n_agents,
            action_selection="stochastic",
            alpha=ALPHA,
        )

        def trial(agents: Any, key: Any) -> tuple[Any, Any]:
            last, info = rollout(agents, world, TRIAL - 1, key)
            return agents, (last["action"], info)

        def run(agents: Any, keys: Any) -> Any:
            return trial(agents, keys[0])[1] if n_trials == 1 else jax.lax.scan(trial, agents, keys)[1]

        start = time.process_time()
        self.run = jax.jit(run).lower(agents, self.keys(0, n_trials)).compile()
        self.compiled = time.process_time() - start
        self.agents, self.n_trials = agents, n_trials

    def keys(self, seed: int, n_trials: int) -> Any:
        return self.jax.random.split(self.jax.random.PRNGKey(seed), n_trials)

    def seconds(self, seed: int) -> float:
        """CPU seconds of a step of all agents."""
        keys = [self.keys(seed + call, self.n_trials) for call in range(self.calls)]
        self.jax.block_until_ready(keys)
        start = time.process_time()
        for key in keys:
            self.jax.block_until_ready(self.run(self.agents, key))
        return (time.process_time() - start) / self.n_steps


# --- both ----------------------------------------------------------------------------------------------------------------
class Row:
    """Times of one model and one number of agents, taken in turns."""

    def __init__(self, name: str, n_agents: int, ours: Ours, old: Old | None, repeats: int) -> None:
        self.name, self.n_agents, self.ours, self.old, self.repeats = name, n_agents, ours, old, repeats

    def measure(self, peer: Peer | None) -> dict[str, Any]:
        """``us_*``: microseconds per agent and step; ``ratio``: how many times as fast as pymdp."""
        self.ours.seconds(self.n_agents, 1, 0), self._old(1, 0)  # what is worked out once for a model
        first = self.ours.seconds(self.n_agents, 2, 0), self._old(2, 0)
        steps = [int(np.clip(ENOUGH / max(s, 1e-9), 2 if s > TOO_LONG else TRIAL, 4096)) if s else 0 for s in first]
        mine, theirs, former = [], [], []
        slow = max(first[0] * steps[0], 0.0 if peer is None else peer.seconds(0) * peer.n_steps) > TOO_LONG
        for repeat in range(1, (3 if slow else self.repeats) + 1):
            if peer is not None:
                theirs.append(1e6 * peer.seconds(repeat) / peer.n_agents)
            mine.append(1e6 * self.ours.seconds(self.n_agents, steps[0], repeat) / self.n_agents)
            if self.old is not None:
                slow = first[1] * steps[1] > 2 and repeat > 1  # an old version that takes seconds a step is timed once
                former.append(former[-1] if slow else 1e6 * self._old(steps[1], repeat) / self.n_agents)
        out: dict[str, Any] = {"us": float(np.median(mine)), "memory": self.ours.memory(self.n_agents)}
        if peer is not None:
            ratios = np.array(theirs) / np.array(mine)
            out |= {"ratio": float(np.median(ratios)), "low": float(ratios.min()), "high": float(ratios.max())}
            out |= {"us_pymdp": float(np.median(theirs)), "pymdp_agents": peer.n_agents, "compile_s": peer.compiled}
        if self.old is not None:
            out |= {"us_old": float(np.median(former)), "to_old": float(np.median(np.array(former) / np.array(mine)))}
        return out

    def _old(self, n_steps: int, seed: int) -> float:
        return 0.0 if self.old is None else self.old.seconds(self.name, self.n_agents, n_steps, seed)


COLUMNS = {
    "model": ("model", "{:21}"),
    "policies": ("policies", "{:8d}"),
    "agents": ("agents", "{:6d}"),
    "ratio": ("ratio", "{:7.2f}"),
    "low": ("low", "{:7.2f}"),
    "high": ("high", "{:7.2f}"),
    "us": ("us", "{:9.1f}"),
    "us_pymdp": ("us pymdp", "{:9.1f}"),
    "pymdp_agents": ("pymdp agents", "{:12d}"),
    "compile_s": ("compile s", "{:9.1f}"),
    "us_old": ("us old", "{:9.1f}"),
    "to_old": ("to old", "{:7.2f}"),
    "memory": ("memory KB", "{:9.1f}"),
}


def table_line(row: dict[str, Any] | None, columns: list[str]) -> str:
    cells = []
    for key in columns:
        title, form = COLUMNS[key]
        width = max(len(title), len(form.format("" if key == "model" else 0)))
        value = title if row is None else form.format(row[key] / 1e3 if key == "memory" else row[key])
        cells.append(value.ljust(width) if key == "model" else value.rjust(width))
    return "  ".join(cells)


def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    old = Old(options.old, options.modalities, options.inference) if options.old else None
    left_out = {"ratio", "low", "high", "us_pymdp", "pymdp_agents", "compile_s"} if options.no_pymdp else set()
    left_out |= set() if old else {"us_old", "to_old"}
    columns = [c for c in COLUMNS if c not in left_out]
    print(table_line(None, columns), flush=True)
    for name in options.models:
        model = MODELS[name]()
        ours, guess = Ours(model, options.modalities, options.inference), 1e-4  # of pymdp's seconds per agent and step
        peer = None
        for n_agents in options.agents:
            if n_agents > MOST_AGENTS.get(name, n_agents):
                continue
            n_timed = min(n_agents, max(1, int(TOO_LONG / (guess * TRIAL))))
            enough = peer is not None and n_timed < n_agents and n_timed <= 1.5 * peer.n_agents  # what was compiled will do
            if not options.no_pymdp and not enough:
                trials = int(np.clip(ENOUGH / (guess * TRIAL * n_timed), 1, 64))
                batches = (trials, 1) if options.scan else (1, trials)
                peer = Peer(model, n_timed, batches[0], "float64" if options.x64 else "float32", batches[1])
            row = {"model": name, "policies": len(model.policies), "agents": n_agents}
            row |= Row(name, n_agents, ours, old, options.repeats).measure(peer)
            guess = row.get("us_pymdp", 0.0) / 1e6
            rows.append(row)
            print(table_line(row, columns), flush=True)
            gc.collect()
    if old is not None:
        old.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS), metavar="NAME")
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--x64", action="store_true", help="pymdp in float64, as ours is")
    parser.add_argument("--scan", action="store_true", help="a compiled call of pymdp for many trials, not for each")
    parser.add_argument("--no-pymdp", action="store_true", help="only this library (and --old)")
    parser.add_argument("--old", metavar="DIR", help="folder that holds the package activebmr of another version")
    parser.add_argument("--modalities", default="separate", help="of our planner")
    parser.add_argument("--inference", help="of our agents; their default if left out")
    parser.add_argument("--json", metavar="FILE", help="write the rows there, too")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of jax, about what pymdp does
    if options.serve:
        serve(options.modalities, options.inference)
        return
    rows = compare(options)
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
