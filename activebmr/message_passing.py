"""Variational message passing along paths: the belief scheme of active inference in 2017 (SPM's ``spm_MDP_VB_X``).

For every policy the agent keeps beliefs about each moment of the trial, from its beginning to one step ahead: what it has done
so far, then the policy's move. After every outcome all of them start again from indifference and descend the gradient of
variational free energy for 16 iterations, factor by factor and moment by moment. Policies are judged by the free energy of
their paths (how well they explain what was seen) and by expected free energy (what they will bring). The iterations double as
simulated neuronal activity (`activebmr.neurons`). Counts are learned from the beliefs held at the end of the trial. Source:
Friston et al. (2017), "Active inference, curiosity and insight", Neural Computation 29. Numbers agree with SPM's recorded run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from activebmr.beliefs import Belief
from activebmr.efe import Terms
from activebmr.layout import Layout
from activebmr.models import POMDP
from activebmr.planning import Evaluation
from activebmr.reduction import softmax
from activebmr.sparse import Floats, Ints
from activebmr.tables import CountTable, KnownTable

__all__ = ["Ascent", "Paths", "PathInference"]

ITERATIONS = 16
TIME_CONSTANT = 4.0
"""Of the gradient descent, and of the reset of the first moment's prior."""

_TINY = 1e-16  # added to probabilities before their logarithm is taken
_NEGLIGIBLE = float(np.exp(-16.0))  # joint states and outcomes that expected free energy leaves out
_CONVERGED = float(np.exp(-8.0))  # a smaller gain of free energy ends an early iteration ...
_ALWAYS_FROM = 4  # ... but from the fifth on beliefs always move (SPM)
_LARGEST = 1_000_000  # joint states x joint outcomes that fit


@dataclass(eq=False)
class Paths:
    """A batch's trial so far.

    Attributes:
        outcomes: per time and modality outcomes ``(n_agents,)`` or probabilities of outcomes ``(n_agents, O_m)``.
        controls: what was done after each of these but the last ``(n_agents, n_factors)``.
        joint: probability of all modalities' joint outcomes in every joint state, learned before this trial
            ``(n_agents or 1, n_joint_states, n_joint_outcomes)``, and minus its entropy ``(n_agents or 1, n_joint_states)``.
        likelihoods: likelihood of each joint state given each time's outcomes ``(n_agents, n_joint_states)``.
        beliefs: after the last outcome, per factor beliefs about every moment, averaged over policies
            ``(n_agents, times, S_f)``.
    """

    outcomes: list[list[np.ndarray]] = field(default_factory=list)
    controls: list[Ints] = field(default_factory=list)
    joint: tuple[Floats, Floats] | None = None
    likelihoods: list[Floats] = field(default_factory=list)
    beliefs: list[Floats] = field(default_factory=list)

    def copy(self) -> Paths:
        return replace(self, outcomes=list(self.outcomes), controls=list(self.controls), likelihoods=list(self.likelihoods))


@dataclass(eq=False)
class Ascent:
    """Beliefs that message passing came to, and how.

    Attributes:
        x: per factor beliefs of every policy about every moment ``(n_agents, n_policies, times, S_f)``.
        evidence: minus the variational free energy of each policy's path ``(n_agents, n_policies)``, nats.
        steps: if recorded, the same after every iteration.
    """

    x: list[Floats]
    evidence: Floats
    steps: list[Ascent] = field(default_factory=list)


class PathInference:
    """Message passing for a model with policies of one step.

    Args:
        model: every factor must move by itself (``B_dependencies[f] == [f]``), and policies must have one step.
        trial_length: number of observations in a trial.
        gains: which of ``"state"`` and ``"param"`` count beside utility.
        gamma: precision of the posterior over policies.
        preferences: log preferences of every modality for the outcomes of a time.

    Raises:
        ValueError: if the model does not fit, or its joint states and outcomes are too many.
    """

    def __init__(
        self,
        model: POMDP,
        trial_length: int | None,
        gains: Sequence[str],
        gamma: float,
        preferences: Callable[[int], Sequence[Floats]],
    ) -> None:
        if trial_length is None:
            raise ValueError("trial_length of Agent must be given for message passing, which ends with the trial")
        if model.policy_length != 1:
            raise ValueError(f"policies must have one step for message passing along paths; got {model.policy_length}")
        coupled = [f for f, deps in enumerate(model.B_dependencies) if deps != (f,)]  # type: ignore[arg-type]
        if coupled:
            raise ValueError(
                f"B_dependencies must be the factor itself for message passing; factors {coupled} depend on others"
            )
        size = int(np.prod(model.num_states)) * int(np.prod(model.num_outcomes))
        if size > _LARGEST:
            raise ValueError(f"joint states x joint outcomes must be at most {_LARGEST} for message passing; got {size}")
        self.model, self.trial_length, self.gains, self.gamma = model, trial_length, tuple(gains), gamma
        self.preferences = preferences
        self._forward = [np.moveaxis(b, 2, 0) for b in model.B]  # (control, next state, state)
        self._backward = [_normalised(f.transpose(0, 2, 1)) for f in self._forward]
        self._log_initial = [np.log(d + _TINY) for d in model.D]  # type: ignore[union-attr]
        self._first = [softmax(x / TIME_CONSTANT) for x in self._log_initial]

    # --- a step --------------------------------------------------------------------------------------------------------
    def advance(
        self, paths: Paths, tables: Sequence[KnownTable | CountTable], controls: Ints | None, outcomes: list[np.ndarray]
    ) -> tuple[Belief, Floats, Evaluation]:
        """Take in what was done and then seen; evaluate the policies.

        Returns:
            beliefs about the present, free energy of states, policies and precision ``(n_agents,)`` as SPM sums it, and the
            worth of the policies.
        """
        if paths.joint is None:
            paths.joint = self._joint_likelihood(tables)
        if controls is not None:
            paths.controls.append(controls)
        paths.outcomes.append(outcomes)
        paths.likelihoods.append(self._likelihood(tables, outcomes))
        ascent = self.ascend(paths)
        evaluation, free_energy = self.evaluate(paths, tables, ascent)
        paths.beliefs = [(x * evaluation.q_pi[:, :, None, None]).sum(axis=1) for x in ascent.x]
        now = len(paths.outcomes) - 1
        belief = Belief([np.ascontiguousarray(b[:, now]) for b in paths.beliefs], None, self.model.num_states)
        return belief, free_energy, evaluation

    def evaluate(self, paths: Paths, tables: Sequence[KnownTable | CountTable], ascent: Ascent) -> tuple[Evaluation, Floats]:
        """Worth of the policies given beliefs about their paths, and the free energy of states, policies and precision
        ``(n_agents,)``.
        """
        terms = self._terms(paths, tables, ascent)
        value = terms.value(self.gains)
        log_prior = self.model.log_policy_prior
        prior = softmax(self.gamma * value + log_prior)
        q_pi = softmax(self.gamma * value + log_prior + ascent.evidence)
        log_q, log_p = (np.log(np.maximum(p, np.finfo(float).tiny)) for p in (q_pi, prior))
        free_energy = (q_pi * (log_q - log_p - ascent.evidence)).sum(axis=1) + self.gamma - np.log(self.gamma)
        return Evaluation(terms, value, q_pi, log_prior, ascent.evidence), free_energy

    def recall(self, paths: Paths, tables: Sequence[KnownTable | CountTable]) -> list[Floats]:
        """Beliefs about every moment of a whole trial, given its outcomes and controls, under other counts."""
        again = Paths(paths.outcomes, paths.controls, likelihoods=[self._likelihood(tables, o) for o in paths.outcomes])
        return [x[:, 0] for x in self.ascend(again, ahead=False).x]

    def lessons(self, paths: Paths, beliefs: Sequence[Floats], modality: int) -> Floats:
        """Counts that a trial adds to a modality ``(n_agents, O_m, S_d0, ...)``, from beliefs about its moments."""
        total: Floats | float = 0.0
        for t, outcomes in enumerate(paths.outcomes):
            joint = outcomes[modality]
            joint = joint if joint.ndim == 2 else np.eye(self.model.num_outcomes[modality])[joint]
            for f in self.model.A_dependencies[modality]:  # type: ignore[index]
                q = beliefs[f][:, t]
                joint = joint[..., None] * q.reshape(len(q), *[1] * (joint.ndim - 1), -1)
            total = total + joint
        return np.asarray(total)

    # --- beliefs -------------------------------------------------------------------------------------------------------
    def ascend(self, paths: Paths, ahead: bool = True, record: bool = False) -> Ascent:
        """Climb to the beliefs of every policy about every moment; without ``ahead``, about the past of a single path."""
        now = len(paths.outcomes) - 1
        last = now >= self.trial_length - 1 or not ahead
        n, sizes = len(paths.likelihoods[0]), self.model.num_states
        moves = self.model.first_controls if ahead else self.model.first_controls[:1]
        # moment by moment and factor by factor ``(n, policies, S_f)``; the past is the same for all policies, and worked out
        # once for all of them
        x = [[np.full((n, 1, s), 1.0 / s) for s in sizes] for _ in range(now + 1)]
        if now == 0:  # later on, beliefs start again from indifference about the first moment, too
            x[0] = [np.repeat(first[None, None], n, axis=0) for first in self._first]
        path: list[Ints] = [c[:, None] for c in paths.controls]
        if not last:
            x.append([np.full((n, len(moves), s), 1.0 / s) for s in sizes])
            path.append(np.broadcast_to(moves, (n, *moves.shape)))
        evidence, gain = np.zeros((n, len(moves))), np.ones((n, len(moves)))
        steps: list[Ascent] = []
        whole = lambda: [np.stack([_spread(moment[f], len(moves)) for moment in x], axis=2) for f in range(len(sizes))]  # noqa: E731
        for i in range(ITERATIONS):
            moving = np.ones_like(gain, dtype=bool) if i >= _ALWAYS_FROM else gain > _CONVERGED
            shared = bool((moving == moving[:, :1]).all())
            if not shared:  # policies part: from now on each has a past of its own
                x = [[_spread(q, len(moves)) for q in moment] for moment in x]
            total = np.zeros_like(evidence)
            for j in range(len(x)):
                mask = moving[:, :1] if x[j][0].shape[1] == 1 else moving
                total = total + self._climb(x, j, now, path, paths.likelihoods[j] if j <= now else None, mask)
            total = np.where(moving, total, evidence)
            gain = total - evidence if i > 0 else gain
            evidence = total
            if record:
                steps.append(Ascent(whole(), evidence))
        return Ascent(whole(), evidence, steps)

    def _climb(
        self, x: list[list[Floats]], j: int, now: int, path: list[Ints], likelihood: Floats | None, moving: np.ndarray
    ) -> Floats:
        """Move the beliefs about moment j, factor by factor, in place; returns their share of the evidence."""
        n_factors, here = len(x[j]), x[j]
        edge = j in (0, len(x) - 1)
        still = None if moving.all() else ~moving
        total = np.zeros(moving.shape)

        def update(f: int, message: Floats | None) -> None:
            nonlocal total
            sx = here[f]
            log_x = np.log(sx + _TINY)
            before = self._log_initial[f] if j == 0 else self._step(self._forward[f], path[j - 1][..., f], x[j - 1][f])
            v = before - log_x
            if message is not None:
                seen = np.log(message + _TINY)
                v += seen
            if j < now:
                v += self._step(self._backward[f], path[j][..., f], x[j + 1][f])
                v += seen - log_x
            share = 0.5 * v
            if not edge and message is not None:
                share -= (n_factors - 1) / n_factors * seen
            total += _dot(sx, share)
            v /= TIME_CONSTANT
            v += log_x
            fresh = _softmax(v)
            if still is not None:
                fresh = np.where(still[..., None], sx, fresh)
            here[f] = fresh

        if likelihood is None:
            for f in range(n_factors):
                update(f, None)
        else:
            self._sweep(likelihood.reshape(len(likelihood), 1, -1), 0, n_factors, here, update)
        return total

    def _step(self, matrices: Floats, control: Ints, q: Floats) -> Floats:
        """Log of what a factor's beliefs become under each row's control."""
        # a product per row and policy: its rounding must not depend on how many there are
        chosen = matrices if len(matrices) == 1 else matrices[control]
        return np.log(np.matmul(chosen, q[..., None])[..., 0] + _TINY)

    def _sweep(self, table: Floats, low: int, high: int, q: Sequence[Floats], update: Callable[[int, Floats], None]) -> None:
        """Update factors ``low`` to ``high`` in turn, each with the likelihood expected under all others as they then are.

        ``table`` is the likelihood expected under the factors outside: ``(n, policies or 1, S_low * ...)``; ``update`` renews
        the entries of ``q``.
        """
        if high - low == 1:
            update(low, table)
            return
        middle = (low + high) // 2
        early = int(np.prod(self.model.num_states[low:middle]))
        flat = table.reshape(*table.shape[:2], early, -1)
        rest = np.matmul(flat, _outer(q[middle:high])[..., None])[..., 0]
        self._sweep(rest, low, middle, q, update)
        rest = np.matmul(_outer(q[low:middle])[..., None, :], flat)[..., 0, :]
        self._sweep(rest, middle, high, q, update)

    # --- what is seen, and what would be -------------------------------------------------------------------------------
    def _everywhere(self, layout: Layout, columns: Floats) -> Floats:
        """A modality's columns as kept ``(n, n_states, O_m)`` in all joint states ``(n, O_m, all joint states)``."""
        tensor = layout.tensor(columns)
        shape = [self.model.num_states[f] if f in layout.deps else 1 for f in range(self.model.num_factors)]
        tensor = tensor.transpose(0, 1, *(2 + np.argsort(layout.deps))).reshape(*tensor.shape[:2], *shape)
        return np.broadcast_to(tensor, (*tensor.shape[:2], *self.model.num_states)).reshape(*tensor.shape[:2], -1)

    def _expected(self, table: KnownTable | CountTable) -> Floats:
        """E[A] of a modality ``(n_agents or 1, O_m, all joint states)``."""
        columns = table.likelihood[:, :-1].reshape(-1, table.n_states, table.n_outcomes)
        return self._everywhere(table.layout, columns)

    def _likelihood(self, tables: Sequence[KnownTable | CountTable], outcomes: list[np.ndarray]) -> Floats:
        n = len(outcomes[0])
        total: Floats | float = 1.0
        for table, outcome in zip(tables, outcomes, strict=True):
            expected = self._expected(table)
            soft = outcome if outcome.ndim == 2 else np.eye(table.n_outcomes)[outcome]
            total = total * np.matmul(soft[:, None], np.broadcast_to(expected, (n, *expected.shape[1:])))[:, 0]
        return np.asarray(total)

    def _joint_likelihood(self, tables: Sequence[KnownTable | CountTable]) -> tuple[Floats, Floats]:
        joint = np.ones((1, int(np.prod(self.model.num_states)), 1))
        for table in tables:
            expected = np.moveaxis(self._expected(table), 1, 2)
            joint = (joint[..., None] * expected[:, :, None]).reshape(max(len(joint), len(expected)), joint.shape[1], -1)
        return joint, (joint * np.log(joint + _NEGLIGIBLE)).sum(axis=2)

    def _terms(self, paths: Paths, tables: Sequence[KnownTable | CountTable], ascent: Ascent) -> Terms:
        """Utility and gains of every policy, summed over the present and the next moment (SPM counts the present, too)."""
        now, horizon = len(paths.outcomes) - 1, ascent.x[0].shape[2]
        shape = ascent.evidence.shape
        terms = Terms(*(np.zeros(shape) for _ in range(4)))
        assert paths.joint is not None
        joint, neg_entropy = paths.joint
        for j in range(now, horizon):
            q = [x[:, :, j] for x in ascent.x]
            states = _outer(q)
            likely = np.where(states > _NEGLIGIBLE, states, 0.0)
            outcome = np.matmul(likely, joint)
            terms.state += np.matmul(likely, neg_entropy[..., None])[..., 0]
            terms.state -= (outcome * np.log(outcome + _NEGLIGIBLE)).sum(axis=-1)
            for table, worth in zip(tables, self.preferences(j), strict=True):
                expected = self._expected(table)
                seen = np.matmul(states, np.moveaxis(expected, 1, 2))
                terms.utility += np.matmul(seen, worth)
                if isinstance(table, CountTable) and "param" in self.gains:
                    terms.param += (seen * np.matmul(states, self._novelty(table))).sum(axis=-1)
        return terms

    def _novelty(self, table: CountTable) -> Floats:
        """(1/a - 1/a0) / 2 in every joint state ``(n_agents, all joint states, O_m)``: the 2017 form of novelty."""
        a = table.counts
        total = a.sum(axis=2, keepdims=True)
        columns = np.where(a > 0, 1.0 / np.where(a > 0, a, 1.0) - 1.0 / np.where(total > 0, total, 1.0), 0.0) / 2.0
        return np.moveaxis(self._everywhere(table.layout, columns), 1, 2)


def _normalised(matrices: Floats) -> Floats:
    """Columns (over axis 1) made to sum to one; a column without mass is uniform."""
    total = matrices.sum(axis=1, keepdims=True)
    return np.divide(matrices, total, out=np.full_like(matrices, 1.0 / matrices.shape[1]), where=total > 0)


def _spread(q: Floats, n_policies: int) -> Floats:
    """Beliefs shared by all policies ``(n, 1, S_f)`` as those of each."""
    return q if q.shape[1] == n_policies else np.repeat(q, n_policies, axis=1)


def _dot(a: Floats, b: Floats) -> Floats:
    """Sum of a * b over the last axis, which is short."""
    total = a[..., 0] * b[..., 0]
    for k in range(1, a.shape[-1]):
        total += a[..., k] * b[..., k]
    return total


def _softmax(x: Floats) -> Floats:
    """exp(x) / sum(exp(x)) over a short last axis."""
    top = x[..., 0]
    for k in range(1, x.shape[-1]):
        top = np.maximum(top, x[..., k])
    out = np.exp(x - top[..., None])
    total = out[..., 0].copy()
    for k in range(1, x.shape[-1]):
        total += out[..., k]
    out /= total[..., None]
    return out


def _outer(marginals: Sequence[Floats]) -> Floats:
    """Product of marginals ``(..., S_0 * S_1 * ...)``, the last factor fastest."""
    joint = marginals[0]
    for q in marginals[1:]:
        joint = (joint[..., :, None] * q[..., None, :]).reshape(*joint.shape[:-1], -1)
    return joint
