"""Record in golden.npz what pymdp 1.0.4 computes for 20 random models: ``python tests/data/pymdp/make_golden.py``, float64.

Uses pymdp's public `Agent` alone and nothing of activebmr, so that the two stay independent. See README.md for the arrays.
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

N_MODELS, N_STEPS = 20, 3
# counts of a likelihood that is known, and of what it calls impossible: pymdp wants counts for all modalities or for none
KNOWN, ZERO = 2.0**100, 2.0**40
GOLDEN = Path(__file__).parent / "golden.npz"


def random_model(seed: int) -> dict[str, Any]:
    """A random POMDP in pymdp's layout, with 1 to 4 factors as the seed grows; zeros in B, D and known likelihoods.

    Dependencies come in any order; some likelihoods are known; every other four models have policies of two steps.
    """
    rng = np.random.default_rng(seed)
    n_factors, n_modalities = 1 + seed % 4, int(rng.integers(2, 4))
    sizes = [int(n) for n in rng.integers(2, 4, n_factors)]
    controls = [int(n) for n in rng.permutation([2, 3, 2, 1][:n_factors])]
    length = 1 + seed // 4 % 2

    def some(least: int, most: int, must: int | None = None) -> list[int]:
        chosen = [int(f) for f in rng.permutation(n_factors) if f != must][: rng.integers(least, most + 1)]
        return chosen if must is None else [int(f) for f in rng.permutation([must, *chosen])]

    def counts(shape: tuple[int, ...], zeros: float = 0.0) -> np.ndarray:
        x = rng.gamma(1.0, 2.0, shape) + 0.02
        dropped = rng.random(shape) < zeros
        np.put_along_axis(dropped, rng.integers(shape[0], size=(1, *shape[1:])), False, axis=0)
        return np.where(dropped, 0.0, x)

    normal = lambda x: x / x.sum(axis=0)  # noqa: E731
    a_deps = [some(1, min(n_factors, 3)) for _ in range(n_modalities)]
    b_deps = [some(0, min(n_factors - 1, 1), must=f) for f in range(n_factors)]
    known = [m > 0 and rng.random() < 0.4 for m in range(n_modalities)]
    pa = [counts((int(rng.integers(2, 5)), *(sizes[f] for f in d)), 0.3 * k) for d, k in zip(a_deps, known, strict=True)]
    grid = np.array(list(np.ndindex(*(controls * length)))).reshape(-1, length, n_factors)
    policies = rng.permutation(grid)[:24] if len(grid) > 24 else grid
    return {
        "A": [normal(x) for x in pa],
        "B": [normal(counts((n, *(sizes[g] for g in b_deps[f]), controls[f]), 0.2)) for f, n in enumerate(sizes)],
        "C": [rng.normal(0.0, 2.0, len(x)) for x in pa],
        "D": [normal(counts((n,), 0.2)) for n in sizes],
        "E": rng.dirichlet(np.ones(len(policies))),
        "pA": [np.where(x > 0, KNOWN * normal(x), ZERO) if k else x for x, k in zip(pa, known, strict=True)],
        "policies": policies,
        "gamma": np.array(rng.uniform(0.5, 4.0)),
        "outcomes": np.stack([rng.integers(len(x), size=N_STEPS) for x in pa], axis=1),
        "actions": np.stack([rng.integers(n, size=N_STEPS) for n in controls], axis=1),
        "soft": [rng.dirichlet(np.ones(len(x))) for x in pa],
        "known": known,
        "A_dependencies": a_deps,
        "B_dependencies": b_deps,
    }


def record(model: dict[str, Any]) -> dict[str, Any]:
    """Perceive, plan and learn along the model's outcomes and actions: arrays with the step first (jax must be in x64 mode)."""
    import equinox
    import jax.numpy as jnp
    from pymdp.agent import Agent

    def agent(**options: Any) -> Agent:
        lists = {k: [jnp.asarray(x) for x in model[k]] for k in ("A", "B", "C", "D", "pA")}
        return Agent(
            **lists,
            E=jnp.asarray(model["E"]),
            A_dependencies=model["A_dependencies"],
            B_dependencies=model["B_dependencies"],
            policies=jnp.asarray(model["policies"]),
            policy_len=model["policies"].shape[1],
            gamma=float(model["gamma"]),
            learn_A=True,
            **options,
        )

    def one_term(name: str) -> Agent:
        flags = ("use_utility", "use_states_info_gain", "use_param_info_gain")
        return agent(**{flag: flag == name for flag in flags})

    whole = agent(use_param_info_gain=True)
    parts = {
        "utility": one_term("use_utility"),
        "state_info_gain": one_term("use_states_info_gain"),
        "param_info_gain": one_term("use_param_info_gain"),
    }

    @equinox.filter_jit
    def step(whole: Agent, parts: dict[str, Agent], outcome: Any, prior: Any, action: Any) -> tuple[Any, Any, Any]:
        qs, info = whole.infer_states(outcome, prior, return_info=True)
        q_pi, neg_efe = whole.infer_policies(qs)
        out = {"qs": [q[0, -1] for q in qs], "vfe": info["vfe"][0], "q_pi": q_pi[0], "neg_efe": neg_efe[0]}
        for name, part in parts.items():
            same = equinox.tree_at(lambda a: (a.A, a.pA), part, (whole.A, whole.pA))
            out[name] = same.infer_policies(qs)[1][0]
        learned = whole.infer_parameters(qs, outcome, None)
        out["pA"] = [x[0] for x in learned.pA]
        return out, learned, whole.update_empirical_prior(action, qs)

    steps, prior = [], whole.D
    for outcome, action in zip(model["outcomes"], model["actions"], strict=True):
        out, whole, prior = step(whole, parts, [jnp.array([[o]]) for o in outcome], prior, jnp.asarray(action)[None])
        steps.append(out)
    many = lambda name: [np.stack(x) for x in zip(*(s[name] for s in steps), strict=True)]  # noqa: E731
    names = ("vfe", "q_pi", "neg_efe", *parts)
    recorded = {name: np.stack([s[name] for s in steps]) for name in names} | {"qs": many("qs"), "pA_after": many("pA")}

    @equinox.filter_jit
    def perceive(agent: Agent, soft: Any) -> Any:
        return agent.infer_states(soft, agent.D, return_info=True)

    qs, info = perceive(agent(categorical_obs=True), [jnp.asarray(o)[None] for o in model["soft"]])
    return recorded | {"soft_qs": [np.asarray(q)[0, -1] for q in qs], "soft_vfe": np.asarray(info["vfe"])[0]}


def main() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    arrays: dict[str, np.ndarray] = {}
    packages = ("inferactively-pymdp", "jax", "jaxlib", "equinox", "numpy")
    about = {"versions": {p: version(p) for p in packages} | {"python": platform.python_version()}, "models": []}
    for seed in range(N_MODELS):
        model = random_model(seed)
        about["models"].append({k: model.pop(k) for k in ("A_dependencies", "B_dependencies", "known")})
        recorded = record(model | about["models"][-1])
        for name, value in (model | recorded).items():
            for i, x in enumerate(value) if isinstance(value, list) else [(None, value)]:
                arrays[f"{seed}/{name}" if i is None else f"{seed}/{name}/{i}"] = np.asarray(x)
        print(seed, [len(d) for d in model["D"]], about["models"][-1], model["policies"].shape)
    assert all(x.dtype.kind in "iu" or x.dtype == np.float64 for x in arrays.values())
    np.savez_compressed(GOLDEN, about=np.array(json.dumps(about)), **arrays)


if __name__ == "__main__":
    main()
