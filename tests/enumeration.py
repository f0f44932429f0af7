"""The truth about small models, by enumeration: every path of joint states, every joint outcome, every policy, in plain loops.

Nothing of the package is used but the arrays of `POMDP`. An outcome is an integer, None (not seen) or a vector of
probabilities. Joint states are those of all factors, in C order.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.special import digamma

from activebmr import POMDP


# --- small models of every kind ----------------------------------------------------------------------------------------------
def columns(rng, shape, zeros=0.25):
    """Probabilities over axis 0, some of them 0."""
    raw = rng.gamma(1.0, size=shape) + 0.02
    gone = rng.random(shape) < zeros
    np.put_along_axis(gone, rng.integers(shape[0], size=shape[1:])[None], False, axis=0)
    raw = np.where(gone, 0.0, raw)
    return raw / raw.sum(axis=0)


def certain(rng, shape):
    """One outcome for sure in every column."""
    out = np.zeros(shape)
    np.put_along_axis(out, rng.integers(shape[0], size=shape[1:])[None], 1.0, axis=0)
    return out


def _moves(rng, shape, own):
    kind = rng.random()
    if kind < 0.4:
        return columns(rng, shape)
    if kind < 0.55:
        return certain(rng, shape)
    if kind < 0.75 and own:
        return np.stack([np.eye(shape[0])[rng.permutation(shape[0]) if u else slice(None)] for u in range(shape[-1])], axis=2)
    if kind < 0.85 and own:
        stay = np.repeat(np.eye(shape[0])[:, :, None], shape[-1], axis=2)
        return 0.8 * stay + 0.2 * columns(rng, shape)
    place = certain(rng, (shape[0], shape[-1]))
    return np.broadcast_to(place.reshape(shape[0], *[1] * (len(shape) - 2), shape[-1]), shape).copy()


def small_model(
    seed, *, max_factors=3, max_states=3, learned=0.3, steps=1, max_policies=6, coupled=0.5, never=False, max_outcomes=3
):
    """A random model: factors that drive each other or do not, by chance or with certainty; likelihoods known or learned that
    depend on some of them; initial states certain or not; preferences that may change over time, or be minus infinity
    (``never``).
    """
    rng = np.random.default_rng(seed)
    n_factors = int(rng.integers(1, max_factors + 1))
    sizes = [int(n) if rng.random() < 0.93 else 1 for n in rng.integers(2, max_states + 1, n_factors)]
    controls = [1] * n_factors
    for f in rng.permutation(n_factors)[: rng.integers(1, 3)]:
        controls[f] = int(rng.integers(2, 4))
        if math.prod(controls) ** steps > max_policies:
            controls[f] = 2 if math.prod(controls) // controls[f] * 2**steps <= max_policies else 1
    if math.prod(controls) ** steps > max_policies:
        controls = [1] * n_factors
    b, b_deps = [], []
    for f in range(n_factors):
        others = [int(g) for g in rng.permutation(n_factors) if g != f]
        deps = others[: rng.integers(1, 3)] if rng.random() < coupled else []
        deps = deps if deps and rng.random() < 0.3 else [f, *deps]
        deps = [int(g) for g in rng.permutation(deps)]
        b_deps.append(deps)
        b.append(_moves(rng, (sizes[f], *(sizes[g] for g in deps), controls[f]), deps == [f]))
    a, a_deps, pa, c = [], [], [], []
    for _ in range(int(rng.integers(1, 4))):
        deps = [int(g) for g in rng.permutation(n_factors)[: 1 if rng.random() < 0.5 else rng.integers(1, n_factors + 1)]]
        shape = (int(rng.integers(2, max_outcomes + 1)) if rng.random() < 0.93 else 1, *(sizes[g] for g in deps))
        table = certain(rng, shape) if rng.random() < 0.25 else columns(rng, shape)
        counted = rng.random() < learned
        a_deps.append(deps)
        a.append(None if counted else table)
        pa.append(table * rng.gamma(2.0, size=shape[1:]) * 2 + 0.1 * (table > 0) if counted else None)
        kind = rng.random()
        wish = None if kind < 0.3 else rng.normal(size=(3, shape[0]) if kind < 0.5 else shape[0])
        if never and wish is not None and shape[0] > 1 and rng.random() < 0.5:
            wish[..., rng.integers(shape[0])] = -np.inf
        c.append(wish)
    d = [certain(rng, (n,)) if rng.random() < 0.4 else columns(rng, (n,)) for n in sizes]
    return POMDP(A=a, B=b, C=c, D=d, pA=pa, A_dependencies=a_deps, B_dependencies=b_deps, policy_length=steps)


def lived(model, rng, steps, missing=0.2, soft=0.0, controls=None):
    """What happens in a trial: outcomes per time and modality, and the controls in between."""
    state = [int(rng.choice(len(d), p=d)) for d in model.D]
    seen, done = [], []
    for t in range(steps):
        row = []
        for m, deps in enumerate(model.A_dependencies):
            chance = model.A[m][(slice(None), *(state[g] for g in deps))]
            outcome = int(rng.choice(len(chance), p=chance))
            if rng.random() < missing:
                row.append(None)
            elif rng.random() < soft:
                row.append(0.7 * np.eye(len(chance))[outcome] + 0.3 * rng.dirichlet(np.ones(len(chance))))
            else:
                row.append(outcome)
        seen.append(row)
        if t < steps - 1:
            u = [int(rng.integers(n)) for n in model.num_controls] if controls is None else controls[t]
            done.append(u)
            moved = []
            for f, deps in enumerate(model.B_dependencies):
                chance = model.B[f][(slice(None), *(state[g] for g in deps), u[f])]
                moved.append(int(rng.choice(len(chance), p=chance)))
            state = moved
    return seen, done


# --- paths -------------------------------------------------------------------------------------------------------------------
def joint_states(model):
    return list(itertools.product(*(range(n) for n in model.num_states)))


def start(model):
    return np.array([math.prod(model.D[f][x] for f, x in enumerate(s)) for s in joint_states(model)])


def transitions(model, controls):
    """(next, now)"""
    states = joint_states(model)
    out = np.zeros((len(states), len(states)))
    for j, old in enumerate(states):
        each = [model.B[f][(slice(None), *(old[g] for g in deps), controls[f])] for f, deps in enumerate(model.B_dependencies)]
        for i, new in enumerate(states):
            p = 1.0
            for f, x in enumerate(new):
                p *= each[f][x]
            out[i, j] = p
    return out


def likelihood(model, outcomes, tables=None):
    """Probability of what was seen in every joint state."""
    out, tables = [], model.A if tables is None else tables
    for s in joint_states(model):
        p = 1.0
        for m, o in enumerate(outcomes):
            if o is None:
                continue
            column = tables[m][(slice(None), *(s[g] for g in model.A_dependencies[m]))]
            p *= column[o] if isinstance(o, (int, np.integer)) else sum(a * b for a, b in zip(o, column, strict=True))
        out.append(p)
    return np.array(out)


def paths(model, outcomes, controls, tables=None):
    """Weight of every path of joint states that begins a trial, together with what is seen along it: one array per time, an
    axis for each time up to it.
    """
    weight, out = start(model), []
    for t, seen in enumerate(outcomes):
        if t > 0:
            weight = weight[..., None] * transitions(model, controls[t - 1]).T
        weight = weight * likelihood(model, seen, tables)
        out.append(weight)
    return out


def at_time(weights, t):
    """Probabilities of the joint states at time t, given all that the paths were weighted with."""
    other = tuple(i for i in range(weights.ndim) if i != t)
    return weights.sum(axis=other) / weights.sum()


def marginal(model, q, factor):
    out = np.zeros(model.num_states[factor])
    for p, s in zip(q, joint_states(model), strict=True):
        out[s[factor]] += p
    return out


def pair(model, weights, t, factor):
    """Probability of a factor's state at time t + 1 together with those of its parents at time t."""
    other = tuple(i for i in range(weights.ndim) if i not in (t, t + 1))
    two, states = weights.sum(axis=other) / weights.sum(), joint_states(model)
    deps = model.B_dependencies[factor]
    out = np.zeros((model.num_states[factor], *(model.num_states[g] for g in deps)))
    for i, old in enumerate(states):
        for j, new in enumerate(states):
            out[(new[factor], *(old[g] for g in deps))] += two[i, j]
    return out


def expected_counts(model, beliefs, outcomes, modality):
    """Counts of one modality that a trial adds, from beliefs about the joint state at each time."""
    out, deps = np.zeros(model.A[modality].shape), model.A_dependencies[modality]
    for q, seen in zip(beliefs, outcomes, strict=True):
        o = seen[modality]
        if o is None:
            continue
        o = np.eye(len(out))[o] if isinstance(o, (int, np.integer)) else o
        for p, s in zip(q, joint_states(model), strict=True):
            out[(slice(None), *(s[g] for g in deps))] += o * p
    return out * (np.ones(out.shape) if model.pA[modality] is None else model.pA[modality] > 0)


# --- planning ----------------------------------------------------------------------------------------------------------------
def wanted(model, modality, t, own=None):
    """Log preferences of the outcomes at time t."""
    c = model.C[modality] if own is None or modality not in own else own[modality]
    c = c[min(t, len(c) - 1)] if c.ndim == 2 else c
    return c - np.log(np.exp(c - c.max()).sum()) - c.max()


def novelty(counts):
    """Expected gain of information about the column, for each outcome in each column."""
    out = np.zeros(counts.shape)
    for at in np.ndindex(*counts.shape):
        a, whole = counts[at], counts[(slice(None), *at[1:])].sum()
        if a > 0:
            w = math.log(whole) - math.log(a) + 1 / a - 1 / whole + digamma(a) - digamma(whole)
            out[at] = max(w, 0.0)
    return out


class Plans:
    """What policies are worth from a belief about the joint states."""

    def __init__(self, model, together=True, counts=None, own=None):
        self.model, self.together, self.own = model, together, own
        self.counts = {m: p for m, p in enumerate(model.pA) if p is not None} if counts is None else counts
        self.tables = [self.counts[m] / self.counts[m].sum(axis=0) if m in self.counts else a for m, a in enumerate(model.A)]
        self.states = joint_states(model)
        self.moves = {}
        joint = list(itertools.product(*(range(n) for n in model.num_outcomes)))
        self.joint = [(o, likelihood(model, list(o), self.tables)) for o in joint]
        single = lambda m, o: [o if i == m else None for i in range(model.num_modalities)]  # noqa: E731
        self.single = [
            [likelihood(model, single(m, o), self.tables) for o in range(n)] for m, n in enumerate(model.num_outcomes)
        ]
        self.novel = {}
        for m, c in self.counts.items():
            w = novelty(c)
            self.novel[m] = np.array([w[(slice(None), *(s[g] for g in model.A_dependencies[m]))] for s in self.states])

    def move(self, q, controls):
        key = tuple(int(u) for u in controls)
        if key not in self.moves:
            self.moves[key] = transitions(self.model, key)
        return self.moves[key] @ q

    @staticmethod
    def _told(q, likelihoods):
        """Mutual information of the state and what is seen."""
        total = 0.0
        for like in likelihoods:
            row = q * like
            chance = row.sum()
            for joint, p in zip(row, q, strict=True):
                if joint > 0:
                    total += joint * math.log(joint / (chance * p))
        return total

    def terms(self, q, t):
        """Utility, gain about states, gain about parameters of beliefs that are predictions for time t."""
        utility = state = param = 0.0
        for m, likes in enumerate(self.single):
            for c, like in zip(wanted(self.model, m, t, self.own), likes, strict=True):
                p = float(q @ like)
                utility += p * c if p > 0 else 0.0
            state += 0.0 if self.together else self._told(q, likes)
            if m in self.novel and self.together:
                param += sum(float(q @ (like * self.novel[m][:, o])) for o, like in enumerate(likes))
            elif m in self.novel:
                param += sum(float(q @ like) * float(q @ self.novel[m][:, o]) for o, like in enumerate(likes))
        if self.together:
            state = self._told(q, [like for _, like in self.joint])
        return np.array([utility, state, param])

    def policies(self, q, t, steps):
        """Terms of every policy, summed over its first steps ``(n_policies, 3)``."""
        out = []
        for policy in self.model.policies:
            b, total = q, np.zeros(3)
            for h in range(min(steps, len(policy))):
                b = self.move(b, policy[h])
                total = total + self.terms(b, t + 1 + h)
            out.append(total)
        return np.array(out)

    def search(self, q, t, depth, gains, *, gamma=1.0, backup="posterior", discount=1.0, later=0.0):
        """Worth of policies of one step with ``depth`` further steps, over every joint outcome."""
        out = []
        for policy in self.model.policies:
            b = self.move(q, policy[0])
            terms = self.terms(b, t + 1)
            worth = terms[0] + sum(terms[1 + ("state", "param").index(g)] for g in gains)
            if depth > 0 and worth > -np.inf:
                for _, like in self.joint:
                    row = b * like
                    if row.sum() > 0:
                        ahead = self.search(
                            row / row.sum(), t + 1, depth - 1, gains, gamma=gamma, backup=backup, discount=discount, later=later
                        )
                        worth += discount * row.sum() * self.back(ahead, gamma, backup, later)
            out.append(worth)
        return np.array(out)

    @staticmethod
    def back(ahead, gamma, backup, later):
        if backup == "best" or (ahead == -np.inf).all():
            return ahead.max()
        p = softmax(gamma * ahead + later)
        return sum(x * v for x, v in zip(p, ahead, strict=True) if x > 0)


def softmax(x):
    weight = np.exp(np.asarray(x) - np.max(x))
    return weight / weight.sum()
