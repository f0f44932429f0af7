"""Doing something: drawing a policy, or controls factor by factor, from what policies are worth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from activebmr import checks
from activebmr.arrays import Bools, Floats, Ints, sample
from activebmr.model.observations import policy_of
from activebmr.model.pomdp import POMDP
from activebmr.planning.choice import Actions, log_policy_probabilities, policy_probabilities, policy_weights, tied
from activebmr.planning.evaluation import Evaluation
from activebmr.planning.planner import Planner
from activebmr.planning.settings import gamma_of

__all__ = ["Acting", "ActionProbabilities"]

_BLUNT = 1e5  # a precision up to which what rounding tells apart is equal anyhow


class Acting:
    """How agents act on an `Evaluation`, by ``alpha`` and ``sampling`` of a `Planner`."""

    def __init__(self, model: POMDP, planner: Planner) -> None:
        self.model, self._planner, self.actions = model, planner, Actions(model)

    @property
    def needs_chance(self) -> bool:
        """Whether random numbers are needed."""
        return self._planner.alpha is not None

    def _alpha(self, rows: int) -> Floats | float | None:
        alpha = self._planner.alpha
        if alpha is None or isinstance(alpha, float):
            return alpha
        return checks.each_agent(alpha, rows, "alpha of Planner")[:, None]

    def choose(self, evaluation: Evaluation, uniform: Floats) -> tuple[Ints, Ints]:
        """A policy of every row ``(rows,)``, and what it does first ``(rows, n_factors)``, from one uniform number each."""
        alpha = self._alpha(len(evaluation.q_pi))
        if evaluation.acts is not None:
            moves, chance = evaluation.acts
            controls = moves[sample(chance, uniform)]
            return policy_of(self.model, controls), controls
        if self._planner.sampling == "marginal":
            marginal = self.actions.marginal(evaluation.q_pi, alpha)
            controls = self.actions.draw_marginal(marginal, uniform)
            return policy_of(self.model, controls), controls
        worth = self._worth(evaluation)
        if not (isinstance(alpha, float) and alpha <= _BLUNT):
            worth = tied(worth)
        if alpha is None:
            policy = worth.argmax(axis=1)
        else:
            policy = sample(policy_weights(worth, alpha), uniform)  # what is drawn from need not sum to one
        return policy, self.actions.begin[policy]

    @staticmethod
    def _worth(evaluation: Evaluation) -> Floats:
        worth = evaluation.neg_efe
        if isinstance(evaluation.log_prior, np.ndarray):
            worth = worth + evaluation.log_prior
        return worth + evaluation.path_evidence if isinstance(evaluation.path_evidence, np.ndarray) else worth

    def policies(self, evaluation: Evaluation) -> Floats:
        """Probabilities with which policies are drawn ``(rows, n_policies)``."""
        worth, alpha = tied(self._worth(evaluation)), self._alpha(len(evaluation.q_pi))
        if alpha is None:
            return np.eye(worth.shape[1])[worth.argmax(axis=1)]
        return policy_probabilities(worth, alpha)


@dataclass(eq=False)
class ActionProbabilities:
    """With what probability agents do what, worked out when it is asked for."""

    acting: Acting
    evaluation: Evaluation

    @property
    def actions(self) -> Actions:
        return self.acting.actions

    @cached_property
    def policies(self) -> Floats:
        return self.acting.policies(self.evaluation)

    @cached_property
    def _marginal(self) -> list[Floats]:
        return self.actions.marginal(self.evaluation.q_pi, self.acting._alpha(len(self.evaluation.q_pi)))

    @cached_property
    def probabilities(self) -> Floats:
        """Of every combination of controls that begins some policy ``(rows, n_actions)``."""
        if self.evaluation.acts is not None:
            return np.stack([self._of_moves(c) for c in self.actions.controls], axis=1)
        if self.acting._planner.sampling == "policy":
            return self.actions.probabilities(self.policies)
        out = np.ones((len(self.evaluation.q_pi), len(self.actions.controls)))
        for f, p in enumerate(self._marginal):
            out = out * p[:, self.actions.controls[:, f]]
        return out

    @cached_property
    def per_factor(self) -> list[Floats]:
        """Of every control of each factor ``(rows, U_f)``."""
        return self._marginal if self.acting._planner.sampling == "marginal" else self.actions.per_factor(self.probabilities)

    def _of_moves(self, controls: Ints) -> Floats:
        moves, chance = self.evaluation.acts  # type: ignore[misc]
        same = (moves[None] == np.broadcast_to(controls, (len(chance), moves.shape[1]))[:, None]).all(axis=2)
        return np.asarray((chance * same).sum(axis=1))

    def of(self, controls: Ints) -> Floats:
        """Probability of doing just that ``(rows,)``: controls ``(rows, n_factors)``; 0 for what begins no policy."""
        if self.evaluation.acts is not None:
            return self._of_moves(controls)
        if self.acting._planner.sampling == "marginal":
            out = np.ones(len(controls))
            for f, p in enumerate(self._marginal):
                out = out * p[np.arange(len(controls)), controls[:, f]]
            return out
        same = (self.actions.controls[None] == controls[:, None]).all(axis=2)
        return np.asarray((self.probabilities * same).sum(axis=1))

    # --- what was done, scored ---------------------------------------------------------------------------------------------
    def log_of(self, controls: Ints) -> Floats:
        """Log of `of` ``(rows,)``, nats, also where the probability is too small for a number of its own; -inf for what such
        agents never do. Factors whose control is -1 may do anything.
        """
        worth, alpha = self.acting._worth(self.evaluation), self.acting._alpha(len(self.evaluation.q_pi))
        if self.evaluation.moves is not None:
            return self._log_of_moves(controls, alpha)
        if self.acting._planner.sampling == "marginal":
            return self._log_marginal(controls, alpha)
        return _log_sum(_sharpened(tied(worth), alpha), self.begin(controls))

    def log_q_pi_of(self, controls: Ints) -> Floats:
        """Log of the posterior probability of all policies that do just that now ``(rows,)``, nats; see `log_of`."""
        return _log_sum(self._log_q_pi, self.begin(controls))

    def begin(self, controls: Ints) -> Bools:
        """Which policies do that now ``(rows, n_policies)``; factors whose control is -1 may do anything."""
        moves = self.acting.model.first_controls if self.evaluation.moves is None else self.evaluation.moves
        return _agree(moves, controls)

    @cached_property
    def _log_q_pi(self) -> Floats:
        e = self.evaluation
        precision = gamma_of(self.acting._planner, np.arange(len(e.q_pi))) if e.precision is None else e.precision
        with np.errstate(divide="ignore"):
            log = np.log(e.q_pi)
        faint = e.q_pi < _FAINT
        if faint.any():
            log = np.where(faint, log_policy_probabilities(e.neg_efe, precision, e.log_prior + e.path_evidence), log)
        return log

    def _log_of_moves(self, controls: Ints, alpha: Floats | float | None) -> Floats:
        moves, _ = self.evaluation.acts  # type: ignore[misc]
        rows = len(controls)
        each = [_log_sum(self._log_q_pi, self.begin(np.broadcast_to(c, (rows, len(c))))) for c in moves]
        return _log_sum(_sharpened(_decided(np.stack(each, axis=1), alpha), alpha), _agree(moves, controls))

    def _log_marginal(self, controls: Ints, alpha: Floats | float | None) -> Floats:
        total, anything = np.zeros(len(controls)), np.full(self.actions.controls.shape[1], -1)
        for f, n in enumerate(self.actions.num_controls):
            each = []
            for u in range(n):
                anything[f] = u
                each.append(_log_sum(self._log_q_pi, self.begin(np.broadcast_to(anything, (len(controls), len(anything))))))
            anything[f] = -1
            log = _sharpened(_decided(np.stack(each, axis=1), alpha), alpha)
            total += np.where(controls[:, f] < 0, 0.0, log[np.arange(len(controls)), controls[:, f]])
        return total


_FAINT = 1e-290  # probabilities below this have lost digits


def _sharpened(worth: Floats, alpha: Floats | float | None) -> Floats:
    """Log of softmax(alpha x worth) ``(rows, n)``; the first of the best alone if alpha is None."""
    if alpha is None:
        return np.where(np.arange(worth.shape[1]) == worth.argmax(axis=1)[:, None], 0.0, -np.inf)
    return log_policy_probabilities(worth, alpha)


def _decided(log: Floats, alpha: Floats | float | None) -> Floats:
    """What decides between actions with these log probabilities: without alpha, the probabilities, rounding aside."""
    return tied(np.exp(log) if alpha is None else log)


def _agree(moves: Ints, controls: Ints) -> Bools:
    """Which moves ``(n, n_factors)`` are the controls of each row, where these are not -1 ``(rows, n)``."""
    return np.asarray(((moves[None] == controls[:, None]) | (controls[:, None] < 0)).all(axis=2))


def _log_sum(log: Floats, member: Bools) -> Floats:
    """Log of the sum of the members' probabilities ``(rows,)``, from their logs ``(rows, n)``."""
    held = np.where(member, log, -np.inf)
    top = held.max(axis=1)
    shift = np.where(top == -np.inf, 0.0, top)
    with np.errstate(divide="ignore"):
        return np.asarray(shift + np.log(np.exp(held - shift[:, None]).sum(axis=1)))
