"""Record in tutorials.npz what pymdp 1.0.4 learns in its tutorials: ``python tests/data/pymdp/make_tutorials.py``, float64.

Uses pymdp's public `Agent` and `rollout` alone and nothing of activebmr. The worlds are those of its tutorial on learning (a
grid of 7 x 7 places that are seen; A, B or both are unknown), and one of two factors that drive each other. See README.md.
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

SIDE, N_AGENTS, N_BLOCKS, N_STEPS = 7, 2, 2, 8
TUTORIALS = Path(__file__).parent / "tutorials.npz"

N_PLACES, CENTRE = SIDE**2, SIDE**2 // 2
UNKNOWN = np.full(N_PLACES, 1 / N_PLACES)


def moves() -> np.ndarray:
    """Up, right, down, left; a move out of the grid leaves one where one is."""
    b = np.zeros((N_PLACES, N_PLACES, 4))
    for here, (u, step) in ((h, x) for h in range(N_PLACES) for x in enumerate([(-1, 0), (0, 1), (1, 0), (0, -1)])):
        row, column = here // SIDE + step[0], here % SIDE + step[1]
        inside = 0 <= row < SIDE and 0 <= column < SIDE
        b[SIDE * row + column if inside else here, here, u] = 1.0
    return b


def grid(learn: str, start: np.ndarray, length: int = 1, neighbours: bool = False) -> dict[str, Any]:
    """The tutorial's agent; ``neighbours``: it knows where moves lead, but not which leads where."""
    world = {"A": [np.eye(N_PLACES)], "B": [moves()], "D": [np.eye(N_PLACES)[CENTRE]]}
    flat = {"A": np.full((N_PLACES, N_PLACES), 1 / N_PLACES), "B": np.full(moves().shape, 1 / N_PLACES)}
    if neighbours:
        flat["B"] = flat["B"] + np.minimum(moves().sum(axis=2, keepdims=True), 1.0)
    return {
        "world": world,
        "counts": {kind: [flat[kind]] for kind in learn},
        "D": [start],
        "C": [np.zeros(N_PLACES)],
        "length": length,
        "A_dependencies": [[0]],
        "B_dependencies": [[0]],
    }


def interacting() -> dict[str, Any]:
    """A place (3) and a lamp (2), each with two controls: where moves lead depends on the lamp, how it burns on the place.

    What is seen of either is noisy. Both likelihoods and both transitions are learned.
    """
    rng = np.random.default_rng(5)
    table = lambda shape, sharp: (lambda x: x / x.sum(axis=0))(rng.gamma(sharp, size=shape) + 0.02)  # noqa: E731
    world = {
        "A": [table((3, 3, 2), 0.3), table((2, 2), 0.2)],
        "B": [table((3, 3, 2, 2), 0.2), table((2, 3, 2, 2), 0.2)],
        "D": [np.array([0.6, 0.3, 0.1]), np.array([0.5, 0.5])],
    }
    return {
        "world": world,
        "counts": {k: [2.0 * x + rng.uniform(0.1, 1.0, x.shape) for x in world[k]] for k in "AB"},
        "D": world["D"],
        "C": [np.array([0.0, 1.0, 2.0]), np.array([0.5, 0.0])],
        "length": 2,
        "A_dependencies": [[0, 1], [1]],
        "B_dependencies": [[0, 1], [0, 1]],
    }


TASKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "moves": (grid("B", UNKNOWN, length=3), {"inference_algo": "exact", "learning_mode": "offline"}),
    "moves, online": (grid("B", UNKNOWN), {"learning_mode": "online"}),
    "places": (grid("A", np.eye(N_PLACES)[CENTRE]), {"inference_algo": "exact", "learning_mode": "offline"}),
    "places, start unknown": (grid("A", UNKNOWN), {"inference_algo": "exact", "learning_mode": "offline"}),
    "places and moves": (grid("AB", np.eye(N_PLACES)[CENTRE], neighbours=True), {"learning_mode": "offline"}),
    "places and moves, online": (grid("AB", np.eye(N_PLACES)[CENTRE], neighbours=True), {"learning_mode": "online"}),
    "interacting": (interacting(), {"learning_mode": "offline", "num_iter": 16}),
    "interacting, online": (interacting(), {"learning_mode": "online", "num_iter": 16}),
}
"""Models, and settings of pymdp's agents (its inference is "fpi" and online by default)."""


def agent_of(task: dict[str, Any], settings: dict[str, Any]) -> Any:
    """The pymdp agent of a task (jax must be in x64 mode)."""
    import jax.numpy as jnp
    from pymdp.agent import Agent

    counts, n_controls = task["counts"], [b.shape[-1] for b in task["world"]["B"]]
    values = {k: [x / x.sum(axis=0) for x in counts[k]] if k in counts else task["world"][k] for k in "AB"}
    grid_of = np.array(list(np.ndindex(*(n_controls * task["length"]))))
    policies = grid_of.reshape(-1, task["length"], len(n_controls))
    return Agent(
        **{k: [jnp.asarray(x) for x in lists] for k, lists in (values | {k: task[k] for k in "CD"}).items()},
        **{f"p{k}": [jnp.asarray(x) for x in lists] for k, lists in counts.items()},
        **{f"learn_{k}": k in counts for k in "AB"},
        A_dependencies=task["A_dependencies"],
        B_dependencies=task["B_dependencies"],
        policies=jnp.asarray(policies, dtype=jnp.int32),  # rollout fails on int64
        policy_len=task["length"],
        use_param_info_gain=True,
        action_selection="stochastic",
        alpha=0.4,
        batch_size=N_AGENTS,
        **({"num_iter": 1} | settings),
    )


def record(task: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Blocks of a rollout, with the counts learned in one being those of the next: arrays (block, agent, step, ...)."""
    import equinox
    import jax
    import jax.numpy as jnp
    from pymdp.envs import PymdpEnv, rollout

    lists = {k: [jnp.asarray(x) for x in v] for k, v in task["world"].items()}
    world = PymdpEnv(**lists, A_dependencies=task["A_dependencies"], B_dependencies=task["B_dependencies"])
    run = equinox.filter_jit(lambda agent, key: rollout(agent, world, N_STEPS - 1, key))
    agent, blocks = agent_of(task, settings), []
    for key in jax.random.split(jax.random.PRNGKey(0), N_BLOCKS):
        last, info = run(agent, key)
        agent = last["agent"]
        block = {k: np.asarray(info[k]) for k in ("action", "neg_efe", "qpi")}
        block["outcomes"] = np.stack([np.asarray(o)[..., 0] for o in info["observation"]], axis=-1).astype(int)
        block["qs"] = [np.asarray(q) for q in info["qs"]]
        blocks.append(block | {f"p{k}": [np.asarray(x) for x in getattr(agent, f"p{k}")] for k in task["counts"]})
    together = {k: np.stack([b[k] for b in blocks]) for k in ("action", "neg_efe", "qpi", "outcomes")}
    parts = {k: [np.stack(x) for x in zip(*(b[k] for b in blocks), strict=True)] for k in blocks[0] if k not in together}
    return together | parts


def main() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    packages = ("inferactively-pymdp", "jax", "jaxlib", "equinox", "numpy")
    versions = {p: version(p) for p in packages} | {"python": platform.python_version()}
    arrays: dict[str, np.ndarray] = {"about": np.array(json.dumps({"versions": versions, "tasks": list(TASKS)}))}
    for i, (name, (task, settings)) in enumerate(TASKS.items()):
        for key, value in record(task, settings).items():
            for j, x in enumerate(value) if isinstance(value, list) else [(None, value)]:
                arrays[f"{i}/{key}" if j is None else f"{i}/{key}/{j}"] = np.asarray(x)
        print(name, flush=True)
    np.savez_compressed(TUTORIALS, **arrays)


if __name__ == "__main__":
    main()
