"""What a way of planning must do."""

from __future__ import annotations

from typing import Any, Protocol

from activebmr.arrays import Floats, Ints
from activebmr.inference.knowledge import Knowledge
from activebmr.planning.evaluation import Evaluation

__all__ = ["Planning"]


class Planning(Protocol):
    """A way of planning, for the beliefs of one way of believing (or of several)."""

    def evaluate(
        self, belief: Any, knowledge: Knowledge, agents: Ints, t: int, model_posterior: Floats | None, curious: bool
    ) -> Evaluation:
        """Worth of every policy to some agents of a batch.

        Args:
            belief: beliefs of the whole batch.
            knowledge: what the whole batch knows.
            agents: whose policies are wanted, ascending; results have a row for each.
            t: time of the last observation, from 0.
            model_posterior: probabilities of hypotheses of the whole batch ``(n_agents, n_hypotheses)``, or None.
            curious: they have no preferences yet, and look one step ahead only.
        """
        ...
