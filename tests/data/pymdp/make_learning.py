"""Record in learning.npz how pymdp 1.0.4 learns in 20 random models: ``python tests/data/pymdp/make_learning.py``, float64.

Uses pymdp's public `Agent` alone and nothing of activebmr. The models are those of make_golden.py with counts over transitions;
see README.md for the arrays.
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from make_golden import KNOWN, ZERO, random_model

N_MODELS, N_STEPS = 20, 4
LEARNING = Path(__file__).parent / "learning.npz"


def learning_model(seed: int) -> dict[str, Any]:
    """A random POMDP with transitions to learn, of one factor or more; what is learned holds no zeros, which pymdp revives."""
    model, rng = random_model(seed), np.random.default_rng(1000 + seed)
    known = [f > 0 and rng.random() < 0.3 for f in range(len(model["B"]))]
    pb, b = [], []
    for f, held in enumerate(model["B"]):
        counts = rng.gamma(1.0, 2.0, held.shape) + 0.05
        b.append(held if known[f] else counts / counts.sum(axis=0))
        pb.append(np.where(held > 0, KNOWN * held, ZERO) if known[f] else counts)
    del model["soft"]
    numbers = [len(x) for x in model["A"]], [x.shape[-1] for x in b]
    outcomes, actions = (np.stack([rng.integers(n, size=N_STEPS) for n in sizes], axis=1) for sizes in numbers)
    learn = {"learn_A": bool(seed % 2), "known_B": known}
    return model | {"B": b, "pB": pb, "outcomes": outcomes, "actions": actions} | learn


def record(model: dict[str, Any]) -> dict[str, Any]:
    """A trial learned at every step, and one learned at its end, each with the first step of the next trial after it."""
    import equinox
    import jax.numpy as jnp
    from pymdp.agent import Agent

    def agent(**options: Any) -> Agent:
        return Agent(
            **{k: [jnp.asarray(x) for x in model[k]] for k in ("A", "B", "C", "D", "pA", "pB")},
            E=jnp.asarray(model["E"]),
            A_dependencies=model["A_dependencies"],
            B_dependencies=model["B_dependencies"],
            policies=jnp.asarray(model["policies"]),
            policy_len=model["policies"].shape[1],
            gamma=float(model["gamma"]),
            learn_A=model["learn_A"],
            learn_B=True,
            use_param_info_gain=True,
            **options,
        )

    whole, curious = agent(), agent(use_utility=False, use_states_info_gain=False)
    held = lambda a: (a.A, a.B, a.pA, a.pB)  # noqa: E731

    @equinox.filter_jit
    def perceive(agent: Agent, outcome: Any, prior: Any) -> Any:
        qs, info = agent.infer_states(outcome, prior, return_info=True)
        q_pi, neg_efe = agent.infer_policies(qs)
        novelty = equinox.tree_at(held, curious, held(agent)).infer_policies(qs)[1]
        return qs, {"vfe": info["vfe"], "q_pi": q_pi, "neg_efe": neg_efe, "param_info_gain": novelty}

    @equinox.filter_jit
    def predict(agent: Agent, qs: Any, action: Any) -> Any:
        return agent.update_empirical_prior(action, qs)

    @equinox.filter_jit
    def learn(agent: Agent, before: Any, qs: Any, outcome: Any, action: Any) -> Agent:
        both = [jnp.concatenate(x, axis=1) for x in zip(before, qs, strict=True)]
        return agent.infer_parameters(qs, outcome, action[:, None], beliefs_B=both)

    @equinox.filter_jit
    def learn_at_last(agent: Agent, qs: Any, outcomes: Any, actions: Any) -> Agent:
        return agent.infer_parameters(qs, outcomes, actions)

    def trial(agent: Agent, online: bool) -> tuple[list[dict[str, Any]], Agent]:
        steps, beliefs, prior = [], [], agent.D
        # what led to the first time is no move: pymdp's rollout has -1 there, and counts none
        before, action = [d[:, None] for d in agent.D], -jnp.ones((1, model["actions"].shape[1]), dtype=int)
        for o, u in zip(model["outcomes"], model["actions"], strict=True):
            outcome = [jnp.array([[x]]) for x in o]
            qs, out = perceive(agent, outcome, prior)
            if online:
                agent = learn(agent, before, qs, outcome, action)
            out = {k: np.asarray(v)[0] for k, v in out.items()} | {"qs": [np.asarray(q)[0, -1] for q in qs]}
            steps.append(out | {k: [np.asarray(x)[0] for x in getattr(agent, k)] for k in ("pA", "pB")})
            action, before = jnp.asarray(u)[None], qs
            beliefs.append(qs)
            prior = predict(agent, qs, action)
        if not online:
            sequence = [jnp.concatenate(x, axis=1) for x in zip(*beliefs, strict=True)]
            seen = [jnp.asarray(x)[None] for x in model["outcomes"].T]
            agent = learn_at_last(agent, sequence, seen, jnp.asarray(model["actions"])[None])
        return steps, agent

    recorded: dict[str, Any] = {}
    for mode in ("online", "offline"):
        steps, after = trial(whole, mode == "online")
        _, next_first = perceive(after, [jnp.array([[x]]) for x in model["outcomes"][0]], after.D)
        recorded[f"{mode}_next_neg_efe"] = np.asarray(next_first["neg_efe"])[0]
        names = ("vfe", "q_pi", "neg_efe", "param_info_gain")
        recorded |= {f"{mode}_{name}": np.stack([s[name] for s in steps]) for name in names}
        recorded[f"{mode}_qs"] = [np.stack(x) for x in zip(*(s["qs"] for s in steps), strict=True)]
        recorded |= {f"{mode}_{k}": [np.asarray(x)[0] for x in getattr(after, k)] for k in ("pA", "pB")}
        if mode == "online":
            recorded["pB_along"] = [np.stack(x) for x in zip(*(s["pB"] for s in steps), strict=True)]
    return recorded


def main() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    arrays: dict[str, np.ndarray] = {}
    packages = ("inferactively-pymdp", "jax", "jaxlib", "equinox", "numpy")
    about = {"versions": {p: version(p) for p in packages} | {"python": platform.python_version()}, "models": []}
    for seed in range(N_MODELS):
        model = learning_model(seed)
        names = ("A_dependencies", "B_dependencies", "known", "known_B", "learn_A")
        about["models"].append({k: model.pop(k) for k in names})
        recorded = record(model | about["models"][-1])
        for name, value in (model | recorded).items():
            for i, x in enumerate(value) if isinstance(value, list) else [(None, value)]:
                arrays[f"{seed}/{name}" if i is None else f"{seed}/{name}/{i}"] = np.asarray(x)
        print(seed, [len(d) for d in model["D"]], about["models"][-1], model["policies"].shape)
    assert all(x.dtype.kind in "iu" or x.dtype == np.float64 for x in arrays.values())
    np.savez_compressed(LEARNING, about=np.array(json.dumps(about)), **arrays)


if __name__ == "__main__":
    main()
