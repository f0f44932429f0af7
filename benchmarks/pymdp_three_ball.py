"""Speed of pymdp 1.0.4, the peer, on the three-ball model: as it is, and with our gain about models as its policy search.

Run it as a script for a table; with `taskset -c 0` in front of it on one core.
"""

from __future__ import annotations

import os
import time

import numpy as np

from activebmr import Planner
from activebmr.interop.pymdp import policy_search, to_pymdp
from activebmr.paradigms import three_ball

N_STEPS = three_ball.TRIAL_LENGTH - 1  # actions in a trial; each leads to an outcome, so with the first there are 6


def pymdp_rate(n_agents: int, n_trials: int, seed: int, precision: str = "float32", model_gain: bool = False) -> float:
    """Agent-trials per second of pymdp's `rollout`, jitted, on the three-ball model.

    Timed: one compiled call that scans over `n_trials` trials of `n_agents` agents (pymdp's batch axis).
    A trial is one `rollout` of 5 time steps, that is 6 outcomes, and at each of them: a step of the world
    (`PymdpEnv`), state inference (`fpi`, the default 16 iterations), expected free energy of 16 one-step
    policies (utility, state and parameter information gain), a sampled action, and learning of A from the
    filtered beliefs. The counts of what and where are those of known likelihoods (pymdp cannot leave a
    modality out of learning and novelty), those of the feedback the naive agent's; they carry over to the next
    trial. The history that `rollout` returns is dropped, so XLA need not store the counts at every step.
    Not timed: building the model, compilation and a first run of the same call.
    Precision: `float32`, which is pymdp's default, or `float64`.
    What pymdp lacks of active reasoning: information gain over models, their reduction and selection.
    `model_gain` adds the first as a policy search, which calls NumPy at every step.
    Its beliefs are mean-field, not exact, and here it plans one step deep.
    """
    import jax
    import jax.numpy as jnp
    from pymdp.agent import Agent
    from pymdp.envs import PymdpEnv, rollout

    jax.config.update("jax_enable_x64", precision == "float64")
    model, truth = three_ball.naive_model(), three_ball.known_rule(three_ball.PAPER_RULE)
    arrays = {k: [jnp.asarray(np.array(x), precision) for x in getattr(truth, k)] for k in ("A", "B", "D")}
    dependencies = {k: [list(d) for d in getattr(truth, k)] for k in ("A_dependencies", "B_dependencies")}
    world = PymdpEnv(**arrays, **dependencies)
    agents = to_pymdp(model, Planner(gains=("state", "param"), modalities="separate", alpha=512.0), batch_size=n_agents)
    search = policy_search(model, three_ball.rules()) if model_gain else None

    @jax.jit
    def run(agents: Agent, keys: jax.Array) -> tuple[Agent, jax.Array]:
        def trial(agents: Agent, key: jax.Array) -> tuple[Agent, jax.Array]:
            last, info = rollout(agents, world, N_STEPS, key, policy_search=search)
            return last["agent"], info["observation"][2]

        return jax.lax.scan(trial, agents, keys)

    keys = jax.random.split(jax.random.PRNGKey(seed), (2, n_trials))
    jax.block_until_ready(run(agents, keys[0]))
    start = time.perf_counter()
    jax.block_until_ready(run(agents, keys[1]))
    return n_agents * n_trials / (time.perf_counter() - start)


def main() -> None:
    """Print the rates of 1, 64 and 1024 agents in both precisions, without and with the gain about models."""
    print(f"agent-trials/s on {len(os.sched_getaffinity(0))} core(s)")
    print(f"{'agents':>6} {'float32':>8} {'float64':>8} {'float32 with model gain':>24} {'float64 with model gain':>24}")
    for n_agents, n_trials in ((1, 2048), (64, 64), (1024, 8)):
        plain = [pymdp_rate(n_agents, n_trials, 0, precision) for precision in ("float32", "float64")]
        more = [pymdp_rate(n_agents, n_trials // 4, 0, precision, True) for precision in ("float32", "float64")]
        print(f"{n_agents:6d} {plain[0]:8.0f} {plain[1]:8.0f} {more[0]:24.0f} {more[1]:24.0f}", flush=True)


if __name__ == "__main__":
    main()
