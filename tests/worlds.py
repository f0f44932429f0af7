"""Small worlds for tests: one written out by hand, and random ones of every shape that `POMDP` allows."""

from __future__ import annotations

import numpy as np

from activebmr import POMDP, HypothesisSpace


def columns(rng: np.random.Generator, shape: tuple[int, ...], zeros: float = 0.2) -> np.ndarray:
    """Random probabilities over axis 0, some of them exactly zero."""
    counts = positive(rng, shape, zeros)
    return counts / counts.sum(axis=0)


def positive(rng: np.random.Generator, shape: tuple[int, ...], zeros: float = 0.2, scale: float = 1.0) -> np.ndarray:
    """Random counts, some exactly zero, with mass in every column."""
    counts = scale * rng.gamma(1.0, size=shape) + 0.01
    dropped = rng.random(shape) < zeros
    keep = rng.integers(shape[0], size=shape[1:])
    np.put_along_axis(dropped, keep[None], False, axis=0)
    return np.where(dropped, 0.0, counts)


def transitions(rng: np.random.Generator, shape: list[int], zeros: float) -> np.ndarray:
    """Transitions of every kind: by chance, certain but from state to state, as it is, or put into a state by each control."""
    kind = rng.random()
    if kind < 0.4:
        return columns(rng, tuple(shape), zeros)
    if kind < 0.6:
        return columns(rng, tuple(shape), 1.0)
    if shape[-1] == 1 and len(shape) == 3 and shape[0] == shape[1]:
        return np.eye(shape[0])[:, :, None]
    target = np.eye(shape[0])[:, rng.integers(shape[0], size=shape[-1])]
    return np.broadcast_to(target.reshape(shape[0], *[1] * (len(shape) - 2), shape[-1]), shape)


def random_world(
    seed: int, max_factors: int = 4, policy_length: int = 1, max_controls: int = 3, max_controlled: int = 2, zeros: float = 0.2
) -> POMDP:
    """A model with random sizes, dependencies (in any order), zeros, priors, preferences and learned modalities."""
    rng = np.random.default_rng(seed)
    n_factors = int(rng.integers(1, max_factors + 1))
    sizes = [int(n) for n in rng.integers(2, 4, n_factors)]
    moved = rng.permutation(n_factors)[: rng.integers(1, max_controlled + 1)]
    controls = [int(rng.integers(2, max_controls + 1)) if f in moved else 1 for f in range(n_factors)]
    b_deps, a_deps, pa, a, c = [], [], [], [], []
    for f in range(n_factors):
        others = [int(g) for g in rng.permutation(n_factors) if g != f][: rng.integers(0, 2)]
        itself = [] if others and rng.random() < 0.3 else [f]  # what becomes of a factor may depend on another one alone
        b_deps.append([int(g) for g in rng.permutation([*itself, *others])])
    b = [transitions(rng, [sizes[f], *(sizes[g] for g in b_deps[f]), controls[f]], zeros) for f in range(n_factors)]
    for m in range(int(rng.integers(1, 4))):
        deps = [int(g) for g in rng.permutation(n_factors)[: rng.integers(1, min(n_factors, 3) + 1)]]
        shape = (int(rng.integers(2, 5)), *(sizes[g] for g in deps))
        learned = m == 0 or rng.random() < 0.5
        a_deps.append(deps)
        pa.append(positive(rng, shape, zeros, scale=2.0) if learned else None)
        a.append(None if learned else columns(rng, shape, zeros if rng.random() < 0.7 else 1.0))
        c.append([None, rng.normal(size=shape[0]), rng.normal(size=(3, shape[0]))][rng.integers(3)])
    d = [columns(rng, (n,), zeros if rng.random() < 0.6 else 1.0) for n in sizes]
    model = POMDP(A=a, B=b, C=c, D=d, pA=pa, A_dependencies=a_deps, B_dependencies=b_deps, policy_length=policy_length)
    e = [None, [columns(rng, (n,), 0.0) for n in controls], columns(rng, (len(model.policies),), 0.0)][rng.integers(3)]
    return model.with_(E=e)


def random_space(seed: int, model: POMDP, n_hypotheses: int = 4) -> HypothesisSpace:
    """Hypotheses about some learned modalities: each puts one of three random columns at every state, within the zeros of
    pA.
    """
    rng = np.random.default_rng([seed, 1])
    learned = list(model.learned_modalities)
    about = sorted(int(m) for m in rng.permutation(learned)[: rng.integers(1, len(learned) + 1)])
    hypotheses: dict[str, dict[str, np.ndarray]] = {f"h{h}": {} for h in range(n_hypotheses)}
    for m in about:
        prior = np.asarray(model.pA[m])
        whole = rng.random() < 0.5  # whole numbers of counts take another path than fractions
        pool = positive(rng, (len(prior), 3), 0.4, scale=2.0)
        pool = np.ceil(pool) if whole else pool
        for name in hypotheses:
            counts = pool[:, rng.integers(3, size=prior.shape[1:])] * (prior > 0)
            empty = counts.sum(axis=0) == 0
            hypotheses[name][f"pA[{m}]"] = np.where(empty, (prior > 0).astype(float), counts)
    return HypothesisSpace(hypotheses, prior=rng.gamma(2.0, size=n_hypotheses))


def random_outcomes(rng: np.random.Generator, model: POMDP, n_agents: int, soft: bool = False) -> list[np.ndarray]:
    """Observations of a batch: integers, or (``soft``) probabilities for about half the modalities."""
    out = []
    for n in model.num_outcomes:
        if soft and rng.random() < 0.5:
            out.append(rng.dirichlet(np.ones(n), size=n_agents))
        else:
            out.append(rng.integers(n, size=n_agents))
    return out


def random_controls(rng: np.random.Generator, model: POMDP, n_agents: int) -> np.ndarray:
    return np.stack([rng.integers(n, size=n_agents) for n in model.num_controls], axis=1)


def two_rooms(**changes) -> POMDP:
    """Two rooms to go to (factor "room"), a lamp that is on or off (factor "lamp"); one sees the room and, dimly, the lamp.

    The lamp's likelihood is learned: in room "left" it can be seen, in room "right" the agent only knows that "broken" is
    impossible (a structural zero).
    """
    go = np.zeros((2, 2, 2))
    go[0, :, 0] = go[1, :, 1] = 1.0
    light = np.array([[[4.0, 1.0], [1.0, 1.0]], [[1.0, 4.0], [1.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]])  # (outcome, room, lamp)
    held = {
        "A": [np.eye(2), None],
        "B": [go, np.eye(2)[:, :, None]],
        "C": [None, [1.0, 0.0, -2.0]],
        "D": [[1.0, 0.0], None],
        "pA": [None, light],
        "A_dependencies": [[0], [0, 1]],
        "labels": {
            "factor": ["room", "lamp"],
            "modality": ["place", "light"],
            "states": {"room": ["left", "right"], "lamp": ["on", "off"]},
            "outcomes": {"light": ["bright", "dark", "broken"]},
            "controls": {"room": ["left", "right"]},
        },
    }
    return POMDP(**(held | changes))


def lamp_rules(model: POMDP | None = None, sharp: float = 4.0) -> HypothesisSpace:
    """Two hypotheses about the light: it tells the lamp's state in the left room, or in both."""
    prior = np.asarray((model or two_rooms()).pA[1])
    left = np.ones_like(prior) * (prior > 0)
    left[:, 0] = sharp * np.eye(3)[:, :2]
    both = left.copy()
    both[:, 1] = sharp * np.eye(3)[:, :2]
    return HypothesisSpace({"left": {"pA[1]": left}, "both": {"pA[1]": both}})
