"""What pymdp's counts and beliefs say about hypotheses: the NumPy half of `activebmr.interop.pymdp.policy_search`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from activebmr.agent.settings import Selection
from activebmr.arrays import softmax
from activebmr.inference.beliefs import Belief
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.layout import layouts_of
from activebmr.model.pomdp import POMDP
from activebmr.planning.marginal import MarginalPlanning
from activebmr.planning.planner import Planner
from activebmr.planning.preferences import Preferences
from activebmr.reduction.scoring import ModelScorer

if TYPE_CHECKING:
    import jax
    from pymdp.agent import Agent

__all__ = ["ModelGain", "bits"]


class ModelGain:
    """Posterior over hypotheses, and what each policy would tell about them, from pymdp's counts and beliefs."""

    def __init__(self, model: POMDP, hypotheses: HypothesisSpace, selection: Selection, planner: Planner) -> None:
        hypotheses.check_against(model)
        self.modalities = sorted(hypotheses.tables)
        self.full = model
        chosen = lambda parts: [parts[m] for m in self.modalities]  # noqa: E731
        # the other modalities say nothing about the hypotheses
        self.model = POMDP(
            A=chosen(model.A),
            B=model.B,
            pA=chosen(model.pA),
            A_dependencies=chosen(model.A_dependencies),
            B_dependencies=model.B_dependencies,
            policies=model.policies,
        )
        self.log_prior = np.log(hypotheses.prior)
        self.planning = MarginalPlanning(self.model, planner, "mean-field", Preferences(self.model), None)
        self.layouts = layouts_of(self.model)
        self.prior = [layout.keep(p) for layout, p in zip(self.layouts, self.model.pA, strict=True)]  # type: ignore[arg-type]
        self.scorers = [
            ModelScorer(hypotheses.tables[m], prior, selection.offset, layout.order)
            for m, prior, layout in zip(self.modalities, self.prior, self.layouts, strict=True)
        ]

    def check(self, agent: Agent) -> None:
        """Raise ValueError unless an agent (traced, it may be) has the shapes and policies of the model."""
        import jax

        if agent.pA is None:
            raise ValueError("pA of the pymdp agent must be counts for a gain about models; got None")
        if agent.learn_B:
            raise ValueError(
                "learn_B of the pymdp agent must be False for a gain about models, which predicts by the model's B"
            )
        for name, found, wanted in (
            ("num_states", agent.num_states, self.full.num_states),
            ("num_obs", agent.num_obs, self.full.num_outcomes),
            ("num_controls", agent.num_controls, self.full.num_controls),
            ("A_dependencies", map(tuple, agent.A_dependencies), self.full.A_dependencies),
        ):
            expected, got = list(wanted), list(found)  # type: ignore[call-overload]
            if expected != got:
                raise ValueError(f"{name} of the pymdp agent must be {expected} as in the model; got {got}")
        with jax.ensure_compile_time_eval():
            policies = np.asarray(agent.policies.policy_arr)
        if not np.array_equal(policies, self.full.policies):
            raise ValueError(
                f"policies of the pymdp agent must be those of the model, in their order; got shape {policies.shape}"
            )

    def __call__(self, counts: list[Any], beliefs: list[Any]) -> list[NDArray[np.uint32]]:
        """From counts ``(agents, O, S...)`` and beliefs ``(agents, S_f)`` as `bits`: the posterior ``(agents, hypotheses)`` and
        the gain of each policy ``(agents, policies)``, as bits too."""
        doubled = beliefs[0].ndim == 3
        qs = Belief.of([numbers(q, doubled).astype(np.float64) for q in beliefs])
        everyone = np.arange(qs.rows)
        scores = np.repeat(self.log_prior[None], len(everyone), axis=0)
        tables: list[KnownTable | CountTable] = []
        for k, (layout, scorer) in enumerate(zip(self.layouts, self.scorers, strict=True)):
            table = CountTable.start(self.model.pA[k], layout, len(everyone), scorer, novelty_cutoff=0.0)  # type: ignore[index]
            given = numbers(counts[k], doubled)
            kept = given.reshape(*given.shape[:2], -1)[:, :, layout.order].transpose(0, 2, 1)
            prior = self.prior[k]
            changed = ((kept != prior.astype(kept.dtype)) & (prior > 0)).any(axis=2)
            table.counts[changed] = np.where(prior > 0, kept, 0.0)[changed]
            table.touched[:] = changed
            table.renew(everyone)
            scores += table.scores(everyone)
            tables.append(table)
        posterior = softmax(scores)
        knowledge = Knowledge(tables, adopted=np.full(qs.rows, -1))
        gain = self.planning.model_gain(qs, knowledge, everyone, 0, posterior)
        return [as_bits(posterior, doubled), as_bits(gain, doubled)]


# jax switches float64 on and off thread by thread, and would round what it hands to a callback's thread: so numbers go as bits
def bits(array: jax.Array) -> jax.Array:
    """A float32 ``(...)`` or float64 array as uint32 ``(...)`` or ``(..., 2)``."""
    import jax

    return jax.lax.bitcast_convert_type(array, np.uint32)


def numbers(bits: Any, doubled: bool) -> NDArray[Any]:
    raw = np.ascontiguousarray(bits)
    return raw.view(np.float64)[..., 0] if doubled else raw.view(np.float32)


def as_bits(numbers: NDArray[np.float64], doubled: bool) -> NDArray[np.uint32]:
    if doubled:
        return np.ascontiguousarray(numbers)[..., None].view(np.uint32)
    return numbers.astype(np.float32).view(np.uint32)
