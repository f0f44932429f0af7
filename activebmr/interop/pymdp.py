"""Exchange models and agents with pymdp 1.0.4 (the package ``inferactively-pymdp``), and give its agents our gain about models.

Arrays have the same layout in both. What means something else, or is missing, on one side:

=====================  =======================================  ====================================================
what                   pymdp 1.0.4                              activebmr
=====================  =======================================  ====================================================
precision              float32; float64 if jax's x64 is on      float64
beliefs                "fpi": mean field, 16 rounds             the same is ``inference="mean-field"``; "joint" is exact
log of zero            log 2.2e-16 = -36.04                     the same in "mean-field"; -32 in the other schemes
preferences C          used as given                            log softmax(C), >= -32: utilities differ by a constant
C over time            by steps of a policy, from now           by time of the trial: neither can be expressed in the other
prior E                of policies, always; log 0 is -36        of controls or policies; ``habit="always"``; log 0 is -inf
q_pi                   softmax(gamma neg_efe + log E)           the same
action                 softmax(alpha log q_pi), or the best     softmax(alpha (neg_efe + log E)): pymdp's alpha is ours / gamma
counts pA              of all modalities or of none             of any; the others are known, there with `KNOWN` counts
A and pA               two things until something is learned    A is the mean of the counts
learning               at every step, from filtered beliefs     the same; ``Learning`` also smooths and forgets
a count of zero        gets evidence like any other             never changes
novelty                at every count                           none once each column has one of ``novelty_cutoff`` (256)
counts over B          pB                                       none
controls of a factor   of any factors (B_action_dependencies)   its own
transitions            must depend on the factor itself         need not: it is added there, with equal columns
gain about models      none, but see `policy_search`            ``Planner(gains=("state", "param", "model"))``
deeper search          another one (pymdp.planning)             ``Planner(depth=...)``
=====================  =======================================  ====================================================

Where counts that are learned hold zeros, learning makes the two part: pymdp adds to them what rounding leaves of a belief, and
a count of 1e-16 promises 36 nats of novelty. Otherwise the same model and the same outcomes give the same numbers up to
rounding, with ``Agent(model, planner=planner_from_pymdp(agent), inference="mean-field")``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from activebmr.agent import Selection
from activebmr.dirichlet import LOG_FLOOR, mean
from activebmr.hypotheses import HypothesisSpace
from activebmr.inference import MEAN_FIELD_FLOOR
from activebmr.interop._model_gain import ModelGain, bits
from activebmr.models import POMDP
from activebmr.planning import Planner, log_preferences
from activebmr.reduction import softmax

if TYPE_CHECKING:
    import jax
    from pymdp.agent import Agent

__all__ = ["KNOWN", "from_pymdp", "planner_from_pymdp", "policy_search", "to_pymdp"]

KNOWN = 2.0**100
"""Counts per column that stand for a known likelihood in pymdp: more observations are lost in rounding, there is no novelty.

A power of two, so that rounding changes nothing. What is impossible gets 2^40 of them: a probability of 1e-18, and a novelty
of 1e-12, where a count of zero would promise 36 nats as soon as pymdp has added what rounding leaves of a belief.
"""

_ZERO = 2.0**40
_LEARNABLE = 2.0**50  # a column with more cannot learn
_OF_THE_MODEL = ("A", "B", "C", "D", "E", "pA", "A_dependencies", "B_dependencies", "num_controls", "policies", "policy_len")

_MISSING = (
    "activebmr.interop.pymdp needs pymdp 1.0: pip install activebmr[pymdp]. (The package is inferactively-pymdp; what is just "
    "called pymdp is another program.)"
)

PolicySearch = Callable[["Agent", "list[jax.Array]", "jax.Array"], "tuple[jax.Array, dict[str, jax.Array]]"]


def _agent_class() -> type[Agent]:
    try:
        import jax  # noqa: F401
        from pymdp.agent import Agent
    except ImportError as error:
        raise ImportError(_MISSING) from error
    if not hasattr(Agent, "update_empirical_prior"):
        raise ImportError(_MISSING)
    return Agent


# --- from here to there --------------------------------------------------------------------------------------------------
def to_pymdp(model: POMDP, planner: Planner | None = None, **agent_options: Any) -> Agent:
    """A pymdp agent with our model, in float64 if jax's x64 mode is on: ``jax.config.update("jax_enable_x64", True)``.

    It learns the modalities that have counts. Likelihoods without counts get `KNOWN` of them if others have counts.

    Args:
        model: the model; preferences must not change over time.
        planner: gives gains, gamma and alpha; ``Planner(habit="always")`` by default. Its depth must be 0; a gain about
            models needs `policy_search` and is left out here.
        agent_options: further arguments of ``pymdp.agent.Agent``, such as ``batch_size`` or ``num_iter``, which win over
            what follows from the planner.

    Raises:
        ImportError: if pymdp is not installed.
        ValueError: if pymdp cannot express something.
    """
    make = _agent_class()
    taken = [name for name in agent_options if name in _OF_THE_MODEL]
    if taken:
        raise ValueError(f"agent_options must not hold what the model says; got {taken[0]}")
    import jax.numpy as jnp

    planner = Planner(habit="always") if planner is None else planner
    learned = model.learned_modalities
    a = [mean(model.pA[m]) if m in learned else model.A[m] for m in range(model.num_modalities)]  # type: ignore[index]
    pa = [model.pA[m] if m in learned else _known_counts(model.A[m]) for m in range(model.num_modalities)]  # type: ignore[index]
    transitions = [_with_itself(model, f) for f in range(model.num_factors)]
    arrays = lambda parts: [jnp.asarray(np.array(x)) for x in parts]  # noqa: E731
    options: dict[str, Any] = {
        "use_param_info_gain": "param" in planner.gains and bool(learned),
        "use_states_info_gain": "state" in planner.gains,
        "learn_A": bool(learned),
        "gamma": planner.gamma,
        **_action_options(model, planner, agent_options),
        **agent_options,
    }
    return make(
        A=arrays(a),
        B=arrays(b for b, _ in transitions),
        C=arrays(_preferences(model)),
        D=arrays(model.D),  # type: ignore[arg-type]
        E=jnp.asarray(_policy_prior(model, planner)),
        pA=arrays(pa) if learned else None,
        A_dependencies=[list(deps) for deps in model.A_dependencies],  # type: ignore[union-attr]
        B_dependencies=[deps for _, deps in transitions],
        policies=jnp.asarray(np.array(model.policies), dtype=jnp.int32),  # rollout fails on int64
        policy_len=model.policy_length,
        **options,
    )


def _known_counts(a: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(a > 0, KNOWN * a, _ZERO)


def _with_itself(model: POMDP, factor: int) -> tuple[NDArray[np.float64], list[int]]:
    """Transitions and their dependencies, with the factor itself among them."""
    b, deps = model.B[factor], list(model.B_dependencies[factor])  # type: ignore[index]
    if factor in deps:
        return b, deps
    return np.repeat(b[..., None, :], model.num_states[factor], axis=-2), [*deps, factor]


def _preferences(model: POMDP) -> list[NDArray[np.float64]]:
    """C as it is; where one of our log preferences would be floored, those, since pymdp has no floor."""
    for m, c in enumerate(model.C):  # type: ignore[arg-type]
        if c.ndim > 1 and (c != c[0]).any():
            raise ValueError(
                f"C[{m}] of the model changes over the trial; pymdp's preferences change over the steps of a policy instead, "
                "counted from now. Give one row"
            )
    raw = [c if c.ndim == 1 else c[0] for c in model.C]  # type: ignore[union-attr]
    return [c if p.min() > LOG_FLOOR else p for c, p in zip(raw, log_preferences(model, 0), strict=True)]


def _policy_prior(model: POMDP, planner: Planner) -> NDArray[np.float64]:
    if planner.habit != "always" and not _indifferent(model):
        raise ValueError(
            f"habit of planner must be 'always' if E is not uniform: pymdp's prior counts at every step; got {planner.habit!r}"
        )
    if isinstance(model.E, np.ndarray):
        return np.array(model.E)
    prior = softmax(model.log_policy_prior)
    return np.full(len(prior), 1.0 / len(prior)) if _indifferent(model) else prior


def _indifferent(model: POMDP) -> bool:
    logs = model.log_policy_prior
    return bool(np.ptp(logs) < 1e-12) if np.isfinite(logs).all() else False


def _action_options(model: POMDP, planner: Planner, given: dict[str, Any]) -> dict[str, Any]:
    """How actions are selected. pymdp draws from q_pi, in which gamma multiplies neg_efe alone and not log E."""
    if planner.depth > 0:
        raise ValueError(f"depth of planner must be 0: pymdp's agents evaluate policies as given; got {planner.depth}")
    if planner.gamma != 1.0 and not _indifferent(model) and not {"alpha", "action_selection"} & set(given):
        raise ValueError(
            f"gamma of planner must be 1 if E is not uniform (pymdp would weigh E differently when it draws actions); got "
            f"{planner.gamma}. Give alpha or action_selection to say how pymdp should draw them"
        )
    if planner.alpha is None:
        return {"action_selection": "deterministic"}
    return {"action_selection": "stochastic", "alpha": planner.alpha / planner.gamma}


# --- from there to here --------------------------------------------------------------------------------------------------
def from_pymdp(agent: Agent, which: int | None = None) -> POMDP:
    """The model of a pymdp agent, with its counts as they are now.

    Modalities whose every column holds 2^50 counts or more are known likelihoods, see `KNOWN`. An agent's settings are not
    part of its model: see `planner_from_pymdp`. pymdp has no labels: add them with ``model.with_(labels=...)``.

    Args:
        agent: a ``pymdp.agent.Agent``.
        which: which agent of its batch; may be left out if there is one.

    Raises:
        ImportError: if pymdp is not installed.
        TypeError: if ``agent`` is something else, such as an agent of pymdp's former version.
        ValueError: if a `POMDP` cannot express something, or ``which`` is out of range.
    """
    i = _checked(agent, which)
    own = [[f] for f in range(agent.num_factors)]
    if [list(d) for d in agent.B_action_dependencies] != own:
        raise ValueError(
            f"B_action_dependencies of the pymdp agent must be {own}, one control per factor; got {agent.B_action_dependencies}"
        )
    if agent.pB is not None:
        raise ValueError("pB of the pymdp agent must be None: a POMDP has no counts over transitions")
    if agent.preprocess_fn is not None:
        raise ValueError("preprocess_fn of the pymdp agent must be None: process outcomes before you give them to an Agent")
    one = lambda parts: [np.asarray(x[i], dtype=np.float64) for x in parts]  # noqa: E731
    a: list[Any] = one(agent.A)
    pa: list[Any] = [None] * len(a) if agent.pA is None else one(agent.pA)
    for m, counts in enumerate(pa):
        if counts is None:
            continue
        if counts.sum(axis=0).min() >= _LEARNABLE:
            a[m], pa[m] = np.where(counts < 2 * _ZERO, 0.0, a[m]), None
            continue
        gap = float(np.abs(a[m] - mean(counts)).max())
        if gap > 1e-6:
            raise ValueError(
                f"A[{m}] of the pymdp agent must be the mean of pA[{m}], what an Agent here goes by; they differ by {gap:.3g}. "
                "Make the agent with A = pA / pA.sum(0), or without pA"
            )
        a[m] = None
    prior = np.asarray(agent.E[i], dtype=np.float64)
    return POMDP(
        A=a,
        B=one(agent.B),
        C=[_without_time(c, m) for m, c in enumerate(one(agent.C))],
        D=one(agent.D),
        E=None if (prior == prior[0]).all() else (prior if abs(prior.sum() - 1.0) < 1e-6 else prior / prior.sum()),
        pA=pa,
        A_dependencies=agent.A_dependencies,
        B_dependencies=agent.B_dependencies,
        policies=np.asarray(agent.policies.policy_arr),
    )


def _checked(agent: Any, which: int | None) -> int:
    if not isinstance(agent, _agent_class()):
        raise TypeError(f"agent must be a pymdp.agent.Agent of pymdp 1.0; got {type(agent).__module__}.{type(agent).__name__}")
    if which is None:
        if agent.batch_size != 1:
            raise ValueError(f"which must say which of the {agent.batch_size} agents of the batch is meant")
        return 0
    if not 0 <= which < agent.batch_size:
        raise ValueError(f"which must lie in 0..{agent.batch_size - 1}, the agents of the batch; got {which}")
    return int(which)


def _without_time(c: NDArray[np.float64], m: int) -> NDArray[np.float64]:
    if c.ndim == 1:
        return c
    if (c != c[0]).any():
        raise ValueError(
            f"C[{m}] of the pymdp agent changes over the steps of a policy; a POMDP's preferences change over the trial "
            "instead. Give one row"
        )
    return c[0]


def planner_from_pymdp(agent: Agent, which: int | None = None) -> Planner:
    """A `Planner` that values and chooses policies as a pymdp agent does. Arguments and errors as in `from_pymdp`."""
    i = _checked(agent, which)
    if not agent.use_utility:
        raise ValueError("use_utility of the pymdp agent must be True: give the POMDP flat preferences (C=None) instead")
    if agent.use_inductive:
        raise ValueError("use_inductive of the pymdp agent must be False: there is no inductive planning here")
    if agent.sampling_mode != "full" and (len(agent.control_fac_idx) > 1 or agent.policy_len > 1):
        raise ValueError(
            f"sampling_mode of the pymdp agent must be 'full' (a policy is drawn, not a control per factor); got "
            f"{agent.sampling_mode!r}"
        )
    gamma, alpha, prior = float(agent.gamma[i]), float(agent.alpha[i]), np.asarray(agent.E[i])
    if gamma != 1.0 and not (prior == prior[0]).all():
        raise ValueError(
            f"gamma of the pymdp agent must be 1 if E is not uniform: actions weigh E differently here; got {gamma}"
        )
    gains = (("state", agent.use_states_info_gain), ("param", agent.use_param_info_gain))
    return Planner(
        gains=[name for name, used in gains if used],
        gamma=gamma,
        alpha=None if agent.action_selection == "deterministic" else alpha * gamma,
        habit="always",
        novelty_cutoff=np.inf,
    )


# --- our gain about models in pymdp's rollout ----------------------------------------------------------------------------
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
    _agent_class()
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
