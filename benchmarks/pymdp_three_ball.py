"""Speed of pymdp 1.0.4, the peer, on the three-ball model.

Run it as a script for a table; with `taskset -c 0` in front of it on one core.
"""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

import numpy as np

# colour left, centre, right; gaze: left, centre, right, start; choice: a colour, none
N_STATES = (3, 3, 3, 4, 4)
DEPENDENCIES = [[0, 1, 2, 3], [3], [0, 1, 2, 3, 4]]  # of what, where, feedback
N_STEPS = 5  # actions in a trial; each leads to an outcome, so with the first there are 6


def feedback_likelihood(context: int, criteria: tuple[int, ...]) -> np.ndarray:
    """Feedback (null, right, wrong) if the colour of ball `context` tells which ball has the right colour."""
    *balls, _, choice = np.indices(N_STATES)
    answer = np.choose(np.take(criteria, balls[context]), balls)
    return np.stack([choice == 3, choice == answer, (choice != 3) & (choice != answer)]).astype(float)


def three_ball_model() -> dict[str, Any]:
    """Arrays of the world and of the naive agent, in pymdp's layout and without a batch axis."""
    *balls, gaze = np.indices(N_STATES[:4])
    what = np.moveaxis(np.eye(4)[np.choose(gaze, [*balls, np.full_like(gaze, 3)])], -1, 0)
    rules = itertools.product(range(3), itertools.product(range(3), repeat=3))
    average = np.mean([feedback_likelihood(*rule) for rule in rules], axis=0)
    control = np.repeat(np.eye(4)[:, None], 4, axis=1)  # the control is the next state
    preferences = np.array([0.0, 2.0, -6.0])
    return {
        "A": [what, np.eye(4), feedback_likelihood(1, (0, 1, 2))],
        "agent_A": [what, np.eye(4), average],
        "pA": [512 * what, 512 * np.eye(4), average],
        "B": [np.eye(3)[:, :, None]] * 3 + [control] * 2,
        "C": [np.zeros(4), np.zeros(4), preferences - np.log(np.exp(preferences).sum())],
        "D": [np.full(3, 1 / 3)] * 3 + [np.eye(4)[3]] * 2,
    }


def pymdp_rate(n_agents: int, n_trials: int, seed: int, precision: str = "float32") -> float:
    """Agent-trials per second of pymdp's `rollout`, jitted, on the three-ball model.

    Timed: one compiled call that scans over `n_trials` trials of `n_agents` agents (pymdp's batch axis).
    A trial is one `rollout` of 5 time steps, that is 6 outcomes, and at each of them: a step of the world
    (`PymdpEnv`), state inference (`fpi`, the default 16 iterations), expected free energy of 16 one-step
    policies (utility, state and parameter information gain), a sampled action, and learning of A from the
    filtered beliefs. The counts of what and where start at 512, those of the feedback at the average over
    the 81 rules (pymdp cannot leave a modality out of learning and novelty) and carry over to the next
    trial. The history that `rollout` returns is dropped, so XLA need not store the counts at every step.
    Not timed: building the model, compilation and a first run of the same call.
    Precision: `float32`, which is pymdp's default, or `float64`.
    What pymdp lacks of active reasoning: information gain over models, their reduction and selection.
    Its beliefs are mean-field, not exact, and here it plans one step deep.
    """
    import jax
    import jax.numpy as jnp
    from pymdp.agent import Agent
    from pymdp.envs import PymdpEnv, rollout

    with jax.enable_x64(precision == "float64"):
        model = {k: [jnp.asarray(x, precision) for x in xs] for k, xs in three_ball_model().items()}
        dependencies = {"A_dependencies": DEPENDENCIES, "B_dependencies": [[f] for f in range(len(N_STATES))]}
        world = PymdpEnv(A=model["A"], B=model["B"], D=model["D"], **dependencies)
        agents = Agent(
            A=model["agent_A"],
            **{k: model[k] for k in ("B", "C", "D", "pA")},
            **dependencies,
            # given, because rollout fails in float64 on the int64 array that pymdp would make
            policies=jnp.array([[[0, 0, 0, g, c]] for c in range(4) for g in range(4)], dtype=jnp.int32),
            use_param_info_gain=True,
            action_selection="stochastic",
            alpha=512.0,
            learn_A=True,
            batch_size=n_agents,
        )

        @jax.jit
        def run(agents: Agent, keys: jax.Array) -> tuple[Agent, jax.Array]:
            def trial(agents: Agent, key: jax.Array) -> tuple[Agent, jax.Array]:
                last, info = rollout(agents, world, N_STEPS, key)
                return last["agent"], info["observation"][2]

            return jax.lax.scan(trial, agents, keys)

        keys = jax.random.split(jax.random.PRNGKey(seed), (2, n_trials))
        jax.block_until_ready(run(agents, keys[0]))
        start = time.perf_counter()
        jax.block_until_ready(run(agents, keys[1]))
        return n_agents * n_trials / (time.perf_counter() - start)


def main() -> None:
    """Print the rates of 1, 64 and 1024 agents in both precisions."""
    print(f"agent-trials/s on {len(os.sched_getaffinity(0))} core(s)")
    print(f"{'agents':>6} {'float32':>8} {'float64':>8}")
    for n_agents, n_trials in ((1, 2048), (64, 64), (1024, 8)):
        rates = [pymdp_rate(n_agents, n_trials, 0, precision) for precision in ("float32", "float64")]
        print(f"{n_agents:6d} {rates[0]:8.0f} {rates[1]:8.0f}")


if __name__ == "__main__":
    main()
