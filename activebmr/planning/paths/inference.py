"""Planning along paths: expected free energy of policies, their posterior and its precision, and what to do next.

Values are *negative* expected free energies, so that more is better. Beliefs come from `activebmr.inference.paths`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.dirichlet import column_information_gain
from activebmr.inference.beliefs import Belief
from activebmr.inference.paths.beliefs import PathBeliefs
from activebmr.inference.paths.likelihoods import everywhere, expected_likelihood, neg_entropy
from activebmr.inference.paths.settings import PathSettings
from activebmr.inference.paths.state import Ascent, Paths, PolicyBelief
from activebmr.inference.paths.transitions import TINY, outer
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.pomdp import POMDP
from activebmr.planning.choice import policy_probabilities, tied
from activebmr.planning.evaluation import Evaluation, Terms

__all__ = ["PathInference"]

_NEGLIGIBLE = float(np.exp(-16.0))  # less probable joint states are left out of SPM's expected free energy
_LEAST_RATE = 1 / 1024  # of its prior, that the rate of the precision may fall to


class PathInference(PathBeliefs):
    """Message passing along paths and the choice of policies that goes with it, for a batch of agents.

    Args:
        model: any model; policies of ``settings.policies == "trial"`` must have one step less than the trial has outcomes.
        trial_length: number of outcomes in a trial.
        gains: which of ``"state"`` and ``"param"`` count beside utility.
        gamma: precision of the posterior over policies, a number or one for each agent; not used if ``settings.beta`` is
            given.
        preferences: log preferences of every modality for the outcomes of a time, ``(O_m,)`` or ``(n_agents, O_m)``.
        settings: None: those of 2017, `PathSettings.curiosity`.

    Raises:
        ValueError: if the model does not fit, or its joint states and outcomes are too many.

    Example:
        >>> inference = PathInference(model, 3, ("state",), 1.0, preferences, PathSettings())
        >>> paths = Paths()
        >>> belief, free_energy, evaluation = inference.advance(paths, tables, None, outcomes)
        >>> controls, probabilities = inference.action_probabilities(paths, alpha=16.0)
    """

    def __init__(
        self,
        model: POMDP,
        trial_length: int | None,
        gains: Sequence[str],
        gamma: float | Floats,
        preferences: Callable[[int], Sequence[Floats]],
        settings: PathSettings | None = None,
    ) -> None:
        super().__init__(model, trial_length, settings)
        self.gains, self.gamma, self.preferences = tuple(gains), gamma, preferences

    # --- a step --------------------------------------------------------------------------------------------------------
    def advance(
        self, paths: Paths, tables: Sequence[KnownTable | CountTable], controls: Ints | None, outcomes: list[np.ndarray]
    ) -> tuple[Belief, Floats, Evaluation]:
        """Take in what was done and then seen; evaluate the policies. Changes ``paths``.

        Args:
            paths: the trial so far, a new `Paths` at its beginning.
            tables: what agents know about each modality.
            controls: what was done since the last outcome ``(n_agents, n_factors)``; None at the first.
            outcomes: per modality ``(n_agents,)``, -1 for what was not seen, or probabilities ``(n_agents, O_m)``.

        Returns:
            beliefs about the present, free energy of states, policies and precision ``(n_agents,)``, and the worth of the
            policies. The posterior over policies and the precision are then in ``paths.policies``.
        """
        ascent = self.take_in(paths, tables, controls, outcomes)
        evaluation, free_energy, policies = self._judge(paths, tables, ascent)
        paths.policies = policies
        paths.posteriors.append(policies.q_pi)
        paths.beliefs = [(x * policies.q_pi[:, :, None, None]).sum(axis=1) for x in ascent.x]
        belief = Belief([np.ascontiguousarray(b[:, paths.now]) for b in paths.beliefs], None, self.model.num_states)
        return belief, free_energy, evaluation

    def evaluate(self, paths: Paths, tables: Sequence[KnownTable | CountTable], ascent: Ascent) -> tuple[Evaluation, Floats]:
        """Worth of the policies given beliefs about their paths, and the free energy of states, policies and precision
        ``(n_agents,)``.
        """
        return self._judge(paths, tables, ascent)[:2]

    def action_probabilities(self, paths: Paths, alpha: float | Floats | None = None) -> tuple[Ints, Floats]:
        """Probability of each combined control that some policy begins with: softmax(alpha log P), P the posterior of all
        policies that do it now.

        Args:
            paths: after any outcome but the last of a trial.
            alpha: precision of actions, > 0, also infinite, for all or for each agent; None takes the most probable one, and
                the first of equals.

        Returns:
            controls ``(n_actions, n_factors)``, in the order of the first policy that goes on with each, and their
            probabilities ``(n_agents, n_actions)``.

        Raises:
            ValueError: if ``alpha`` is not positive, or nothing has been seen yet.
        """
        if paths.policies is None:
            raise ValueError("paths must have seen an outcome before actions have probabilities")
        moves = self.moves(paths)
        _, first = np.unique(moves, axis=0, return_index=True)
        controls = moves[np.sort(first)]
        member = (moves[:, None] == controls).all(axis=2).astype(np.float64)
        chance = np.matmul(paths.policies.q_pi[:, None], member)[:, 0]
        if alpha is None:
            return controls, np.eye(len(controls))[tied(chance).argmax(axis=1)]
        precision = np.reshape(np.asarray(alpha, dtype=float), (-1, 1))
        if not (precision > 0).all():
            raise ValueError(f"alpha must be > 0, or None for the most probable action; got {alpha}")
        with np.errstate(divide="ignore"):
            log = np.log(chance)
        return controls, policy_probabilities(log, precision)

    # --- policies ------------------------------------------------------------------------------------------------------
    def _judge(
        self, paths: Paths, tables: Sequence[KnownTable | CountTable], ascent: Ascent
    ) -> tuple[Evaluation, Floats, PolicyBelief]:
        terms = self._terms(paths, tables, ascent)
        value, evidence = terms.value(self.gains), ascent.evidence
        log_prior = self.model.log_policy_prior if paths.log_prior is None else paths.log_prior
        if paths.counts is not None and paths.counts.pE is not None:
            log_prior = np.log(paths.counts.pE / paths.counts.pE.sum(axis=1, keepdims=True) + TINY)
        if paths.kept is not None:
            for term in (terms.utility, terms.state, terms.param, value):
                term *= paths.kept
        possible = self.possible(paths)
        if possible is not None:
            evidence = np.where(possible, evidence, -np.inf)
        policies, precision = self._posterior(value, evidence, log_prior, paths)
        free_energy = self._free_energy(policies, evidence)
        if paths.kept is not None:
            evidence = np.where(paths.kept, evidence, -np.inf)
        evaluation = Evaluation(terms, value, policies.q_pi, log_prior, evidence, precision=precision)
        return evaluation, free_energy, policies

    def _posterior(self, value: Floats, evidence: Floats, log_prior: Floats, paths: Paths) -> tuple[PolicyBelief, Floats]:
        """Beliefs about policies and, if it is inferred, their precision; and the precision that their posterior was made with
        ``(n_agents, 1)``.
        """
        settings, n = self.settings, len(value)
        worth = value if paths.kept is None else np.where(paths.kept, value, -np.inf)

        def believe(precision: Floats) -> tuple[Floats, Floats]:
            posterior = policy_probabilities(worth, precision, log_prior + evidence)
            return posterior, policy_probabilities(worth, precision, log_prior)

        if settings.beta is None:
            gamma = np.broadcast_to(np.reshape(np.asarray(self.gamma, dtype=float), (-1, 1)), (n, 1))
            q_pi, prior = believe(gamma)
            none = np.zeros((n, 0, value.shape[1]))
            return PolicyBelief(q_pi, prior, gamma[:, 0], 1.0 / gamma[:, 0], none, none[..., 0]), gamma
        rate = np.full(n, settings.beta)
        if settings.quirks and paths.before is not None:
            rate = paths.before.rate
        posteriors, precisions = [], []
        for _ in range(settings.iterations):
            used = 1.0 / rate[:, None]
            q_pi, prior = believe(used)
            surprise = ((q_pi - prior) * np.where(np.isfinite(value), value, 0.0)).sum(axis=1)
            rate = rate - (rate - settings.beta + surprise) / 2.0
            if not settings.quirks:
                rate = np.maximum(rate, settings.beta * _LEAST_RATE)
            posteriors.append(q_pi)
            precisions.append(1.0 / rate)
        if not settings.quirks:  # SPM's posterior is one iteration behind its precision
            used = 1.0 / rate[:, None]
            q_pi, prior = believe(used)
        steps = np.stack(posteriors, axis=1), np.stack(precisions, axis=1)
        return PolicyBelief(q_pi, prior, 1.0 / rate, rate, *steps), used

    def _free_energy(self, policies: PolicyBelief, evidence: Floats) -> Floats:
        """Divergence of the policies' posterior from their prior, minus what is expected of the evidence, plus the complexity
        of the precision ``(n_agents,)``.
        """
        tiny = np.finfo(float).tiny
        log_q, log_p = (np.log(np.maximum(p, tiny)) for p in (policies.q_pi, policies.prior))
        seen = np.where(policies.q_pi > 0, evidence, 0.0)  # nought times minus infinity is nought
        total: Floats = (policies.q_pi * (log_q - log_p - seen)).sum(axis=1)
        w = policies.precision
        if self.settings.beta is None:
            if not self.settings.quirks:
                return total
            w = np.where(np.isinf(w), 1.0, w)
            return total + w - np.log(w)  # SPM: as if the rate were 1
        if self.settings.quirks:
            return total
        ratio = self.settings.beta * w
        return total + ratio - 1.0 - np.log(ratio)

    # --- expected free energy ------------------------------------------------------------------------------------------
    def _terms(self, paths: Paths, tables: Sequence[KnownTable | CountTable], ascent: Ascent) -> Terms:
        """Utility and gains of every policy, summed over the moments to come (with SPM's quirks, the present one, too)."""
        quirks, horizon = self.settings.quirks, ascent.x[0].shape[2]
        terms = Terms.zeros(*ascent.evidence.shape)
        assert paths.joint is not None
        joint, ambiguity = paths.joint
        if quirks and "param" in self.gains:
            self._initial_novelty(paths, ascent, terms.param)
        for j in range(paths.now if quirks else paths.now + 1, horizon):
            states = outer([x[:, :, j] for x in ascent.x])
            likely = np.where(states > _NEGLIGIBLE, states, 0.0) if quirks else states
            outcome = np.matmul(likely, joint)
            told = np.matmul(likely, ambiguity[..., None])[..., 0] - neg_entropy(outcome, quirks)
            terms.state += told if quirks else np.maximum(told, 0.0)
            for table, worth in zip(tables, self.preferences(j), strict=True):
                seen = np.matmul(states, np.moveaxis(expected_likelihood(self.model, table), 1, 2))
                terms.utility += _worth(seen, worth)
                if isinstance(table, CountTable) and "param" in self.gains:
                    terms.param += self._novelty(table, states, seen)
            if "param" in self.gains and j > paths.now:
                self._transition_novelty(paths, ascent, j, terms.param)
        return terms

    def _novelty(self, table: CountTable, states: Floats, seen: Floats) -> Floats:
        """What a moment is expected to tell about a likelihood ``(n_agents, n_policies)``."""
        if self.settings.quirks:
            gain = _early_gain(table.counts, axis=2)
            return (seen * np.matmul(states, np.moveaxis(everywhere(self.model, table.layout, gain), 1, 2))).sum(axis=-1)
        expected = table.likelihood[:, :-1] * table.novelty
        gain = expected.sum(axis=1).reshape(-1, table.n_states, 1)
        found = np.matmul(states, np.moveaxis(everywhere(self.model, table.layout, gain), 1, 2))[..., 0]
        return np.where(table.novel[:, None], found, 0.0)

    def _initial_novelty(self, paths: Paths, ascent: Ascent, into: Floats) -> None:
        for f, d in enumerate(paths.counts.pD if paths.counts is not None else ()):
            if d is not None:
                into += (ascent.x[f][:, :, 0] * _early_gain(d, axis=1)[:, None]).sum(axis=-1)

    def _transition_novelty(self, paths: Paths, ascent: Ascent, j: int, into: Floats) -> None:
        """What the step before moment j is expected to tell about transitions: E[B] x W, W the gain of one count."""
        counts, model, moves = paths.counts, self.model, self._moves_before(paths, j)
        for f, b in enumerate(counts.pB if counts is not None else ()):
            if b is None:
                continue
            deps = model.B_dependencies[f]  # type: ignore[index]
            flat = np.moveaxis(b, -1, 1).reshape(len(b), b.shape[-1], b.shape[1], -1)  # (agents, control, next state, states)
            before, after = outer([ascent.x[g][:, :, j - 1] for g in deps]), ascent.x[f][:, :, j]
            if self.settings.quirks and deps == (f,):
                gain, count = _early_gain(flat, axis=2), min(b.shape[-1], before.shape[1])
                told = np.matmul(gain[:, :count], after[:, :count, :, None])[..., 0]
                into[:, :count] += (before[:, :count] * told).sum(axis=-1)
            else:
                expected = flat / flat.sum(axis=2, keepdims=True)
                gain = (expected * column_information_gain(flat, axis=2)).sum(axis=2)  # (agents, control, states)
                told = (np.take(gain, moves[:, f], axis=1) * before).sum(axis=-1)
                novel = None if counts.novel is None or self.settings.quirks else counts.novel[f]
                into += told if novel is None else np.where(novel[:, None], told, 0.0)

    def _moves_before(self, paths: Paths, j: int) -> Ints:
        """What each policy does between moments j - 1 and j, which lie ahead ``(n_policies, n_factors)``."""
        step = j - 1 if self.settings.policies == "trial" else j - 1 - paths.now
        return self.model.policies[:, step]


def _worth(seen: Floats, worth: Floats) -> Floats:
    """Expected preference of outcomes ``(n_agents, n_policies, O)``.

    Beliefs along paths never come to nought: an outcome that must never be is held impossible where it is negligible.
    """
    if not np.isfinite(worth).all():
        each = worth if worth.ndim == 1 else worth[:, None]
        return np.multiply(seen, each, out=np.zeros_like(seen), where=seen > _NEGLIGIBLE).sum(axis=-1)
    return np.matmul(seen, worth) if worth.ndim == 1 else (seen * worth[:, None]).sum(axis=-1)


def _early_gain(counts: Floats, axis: int) -> Floats:
    """(1/a - 1/a0) / 2, where a0 sums over ``axis``: the form that novelty had in 2017; 0 where nothing is possible."""
    total = counts.sum(axis=axis, keepdims=True)
    gain = 1.0 / np.where(counts > 0, counts, 1.0) - 1.0 / np.where(total > 0, total, 1.0)
    return np.where(counts > 0, gain, 0.0) / 2.0
