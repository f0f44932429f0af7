"""`Mindset`: expected free energy of policies one step ahead, as ``spm_MDP_VB_XXX`` reckons it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.dirichlet import LOG_FLOOR
from activebmr.inference.beliefs import Belief
from activebmr.inference.looking_up import Tables
from activebmr.inference.spm.motion import Motion, inferred_factors
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.pomdp import POMDP
from activebmr.planning.evaluation import Terms
from activebmr.planning.marginal_predictions import Cells, Given

__all__ = ["Mindset", "Outlook"]

_FLOOR = float(np.exp(LOG_FLOOR))


@dataclass(eq=False)
class Outlook:
    """What comes next under every policy.

    Attributes:
        belief: predicted marginals, of rows ``(row, policy)``, the policy fastest.
        agents: agent of each of these rows.
        novelty: gain about transitions ``(rows, n_policies)``.
    """

    belief: Belief
    agents: Ints
    novelty: Floats


class Mindset:
    """What agents go by when they judge policies at one moment.

    Args:
        model: policies of one step.
        motion, tables: what the batch expects and knows.
        gains: which of ``"state"`` and ``"param"`` are wanted.
        first: whether nothing has been learned in this trial: until then SPM leaves out ambiguity and novelty of modalities
            that no policy reaches. (They are the same for all policies, but for what a search makes of them.)
    """

    def __init__(self, model: POMDP, motion: Motion, tables: Tables, gains: Sequence[str], first: bool) -> None:
        self._motion, self._tables, self._gains = motion, tables, gains
        self._controls, self._inferred = model.first_controls, inferred_factors(model)
        self._left_out = [first and set(table.layout.deps) <= self._inferred for table in tables]

    def outlook(self, belief: Belief, agents: Ints) -> Outlook:
        """Predictions from beliefs of some rows, whose agents are ``agents``.

        Paths that nobody controls are expected as the prior E says, not as they have been inferred; and the novelty of a
        transition from i to j is weighed with the probability to be in j now and to go to i: both are SPM's.
        """
        motion, controls = self._motion, self._controls
        marginals, novelty = [], np.zeros((belief.rows, len(controls)))
        for f, q in enumerate(belief):
            after = np.matmul(motion.transitions(f)[agents], q[:, None, :, None])[..., 0]
            if f in self._inferred:
                after = np.matmul(motion.paths(f)[agents][:, None, :], after)
                marginals.append(np.repeat(after, len(controls), axis=1))
                continue
            marginals.append(np.take(after, controls[:, f], axis=1))
            gain = motion.novelty(f) if "param" in self._gains else None
            if gain is not None:
                turned = np.matmul(q[:, None, None, :], gain[agents])
                novelty += np.take(np.matmul(turned, after[..., None])[:, :, 0, 0], controls[:, f], axis=1)
        rows = [np.ascontiguousarray(q).reshape(-1, q.shape[2]) for q in marginals]
        return Outlook(Belief(rows), np.repeat(agents, len(controls)), novelty)

    def terms(self, outlook: Outlook, log_preferences: Sequence[Floats]) -> Terms:
        """Utility and gains of every policy, modality by modality.

        Args:
            outlook: predictions.
            log_preferences: log C per modality ``(O_m,)``, or of each agent ``(n_agents, O_m)``.
        """
        shape = outlook.novelty.shape
        utility, state, param = (np.zeros(shape) for _ in range(3))
        given = Given(outlook.belief)
        for m, table in enumerate(self._tables):
            cells = given.cells(table.layout)
            expected = _expect(table, table.likelihood, cells, outlook.agents)
            outcome = expected[:, :-1]
            wanted = log_preferences[m] if log_preferences[m].ndim == 1 else log_preferences[m][outlook.agents]
            utility += (outcome * np.where(outcome > 0, wanted, 0.0)).sum(axis=1).reshape(shape)
            if "state" in self._gains:
                entropy = -(outcome * np.log(np.maximum(outcome, _FLOOR))).sum(axis=1)
                state += (entropy + (0.0 if self._left_out[m] else expected[:, -1])).reshape(shape)
            if "param" in self._gains and isinstance(table, CountTable) and not self._left_out[m]:
                surprise = _expect(table, table.novelty, cells, outlook.agents)
                gain = np.where(table.novel[outlook.agents], (outcome * surprise).sum(axis=1), 0.0)
                param += gain.reshape(shape)
        return Terms(utility, state, param + outlook.novelty, np.zeros(shape))


def _expect(table: KnownTable | CountTable, values: Floats, cells: Cells, agents: Ints) -> Floats:
    """Expectation of a table's columns ``(n * n_states, K)`` under each row's prediction: ``(rows, K)``."""
    return cells.joint.expect(values, agents * table.n_states if table.learned else None)
