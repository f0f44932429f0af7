"""Our gain about models in pymdp's ``rollout``: `policy_search`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from activebmr import checks
from activebmr.agent.settings import Selection
from activebmr.inference.mean_field import MEAN_FIELD_FLOOR
from activebmr.interop._model_gain import ModelGain, bits
from activebmr.interop._pymdp import agent_class
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.pomdp import POMDP
from activebmr.planning.planner import Planner

if TYPE_CHECKING:
    import jax
    from pymdp.agent import Agent

__all__ = ["policy_search"]

PolicySearch = Callable[["Agent", "list[jax.Array]", "jax.Array"], "tuple[jax.Array, dict[str, jax.Array]]"]


@checks.checked(model=checks.an(POMDP), hypotheses=checks.an(HypothesisSpace))
def policy_search(
    model: POMDP, hypotheses: HypothesisSpace, *, offset: float = 1 / 32, model_gain: str = "exact"
) -> PolicySearch:
    """A search for the ``policy_search`` argument of pymdp's ``rollout`` that adds the expected information gain about models.

    To the value that ``agent.infer_policies`` gives each policy it adds the gain about which hypothesis is true, from the
    agent's counts and beliefs at that moment; q_pi follows with the agent's gamma and E. The gain is worked out in NumPy, on
    the host (``jax.pure_callback``), so the search can be jitted and scanned but not differentiated. Hypotheses are not
    adopted: to do that, look at the counts with `activebmr.reduction.model_posterior` between rollouts.

    Args:
        model: what the agent started from: its counts (evidence is what has come on top), transitions and policies.
        hypotheses: alternative reduced priors over its counts.
        offset: added to all counts when hypotheses are scored, as in `Selection`.
        model_gain: ``"exact"`` or ``"plug-in"``, as in `Planner`.

    Returns:
        a function of agent, beliefs and random key that returns q_pi ``(batch, policies)`` and a dict of what ``rollout``
        records: ``neg_efe`` with the gain in it, ``model_info_gain`` (both ``(batch, policies)``) and ``model_posterior``
        ``(batch, hypotheses)``. Counts that grew at structural zeros of the model are left out.

    Example:
        >>> model = from_pymdp(agent)
        >>> last, info = rollout(agent, env, 32, key, policy_search=policy_search(model, space))
        >>> info["model_posterior"][0, -1]
    """
    agent_class()
    gain = ModelGain(model, hypotheses, Selection(offset=offset), Planner(gains=("model",), model_gain=model_gain))

    def search(agent: Agent, qs: list[jax.Array], rng_key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        import jax
        import jax.numpy as jnp

        gain.check(agent)
        _, value = agent.infer_policies(qs)
        kind = value.dtype
        made = [jax.ShapeDtypeStruct((agent.batch_size, n), kind) for n in (len(hypotheses), value.shape[1])]
        said = jax.pure_callback(
            gain,
            [jax.eval_shape(bits, x) for x in made],
            [bits(agent.pA[m].astype(kind)) for m in gain.modalities],
            [bits(q[:, -1].astype(kind)) for q in qs],
            vmap_method="sequential",
        )
        model_posterior, information = (jax.lax.bitcast_convert_type(x, kind) for x in said)
        value = value + information
        log_prior = jnp.log(jnp.maximum(agent.E, MEAN_FIELD_FLOOR))
        q_pi = jax.nn.softmax(agent.gamma[:, None] * value + log_prior, axis=-1)
        return q_pi, {"neg_efe": value, "model_info_gain": information, "model_posterior": model_posterior}

    return search
