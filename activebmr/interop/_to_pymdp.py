"""From here to pymdp: `to_pymdp`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from activebmr import checks
from activebmr.arrays import softmax
from activebmr.counts import LOG_FLOOR, mean
from activebmr.interop._pymdp import KNOWN, ZERO, agent_class
from activebmr.model.pomdp import POMDP
from activebmr.planning.planner import Planner
from activebmr.planning.preferences import log_preferences

if TYPE_CHECKING:
    from pymdp.agent import Agent

__all__ = ["to_pymdp"]

_SIZES = ("A_dependencies", "B_dependencies", "num_controls", "policies", "policy_len")
_OF_THE_MODEL = ("A", "B", "C", "D", "E", "pA", "pB", *_SIZES)


@checks.checked(model=checks.an(POMDP), planner=checks.optional(checks.an(Planner)))
def to_pymdp(model: POMDP, planner: Planner | None = None, **agent_options: Any) -> Agent:
    """A pymdp agent with our model, in float64 if jax's x64 mode is on: ``jax.config.update("jax_enable_x64", True)``.

    It learns the likelihoods and transitions that have counts, online. Those without get `KNOWN` of them if others of their
    kind have counts.

    Args:
        model: the model; preferences must not change over time. What is preferred never (-inf) gets -32 nats there.
        planner: gives gains, gamma, alpha and how actions are drawn; ``Planner(habit="always", modalities="separate")`` by
            default. Its depth must be 0; a gain about models needs `policy_search` and is left out here. gamma and alpha may
            hold one number for each agent of the batch.
        agent_options: further arguments of ``pymdp.agent.Agent``, such as ``batch_size`` or ``num_iter``, which win over
            what follows from the planner.

    Raises:
        ImportError: if pymdp is not installed.
        ValueError: if pymdp cannot express something, such as counts of initial states or habits, or of transitions that do
            not depend on their own factor.

    Warns:
        UserWarning: if modalities inform together in the planner: in pymdp their gains are summed.

    Example:
        >>> agent = to_pymdp(model, Planner(gains=("state",), modalities="separate", alpha=16.0), batch_size=8)
    """
    make = agent_class()
    taken = [name for name in agent_options if name in _OF_THE_MODEL]
    if taken:
        raise ValueError(f"agent_options must not hold what the model says; got {taken[0]}")
    import jax.numpy as jnp

    planner = Planner(habit="always", modalities="separate") if planner is None else planner
    a_known, b_known = _expected(model, "A"), _expected(model, "B")
    pa, pb = (_counts(model, kind, values) for kind, values in (("A", a_known), ("B", b_known)))
    _check_learned(model)
    transitions = [_with_itself(model, f, b) for f, b in enumerate(b_known)]
    arrays = lambda parts: [jnp.asarray(np.array(x)) for x in parts]  # noqa: E731
    options: dict[str, Any] = {
        "use_param_info_gain": "param" in planner.gains and (pa is not None or pb is not None),
        "use_states_info_gain": "state" in planner.gains,
        "learn_A": pa is not None,
        "learn_B": pb is not None,
        "gamma": planner.gamma,
        **_action_options(model, planner, agent_options),
        **agent_options,
    }
    preferences, prior = _preferences(model), _policy_prior(model, planner)
    if planner.modalities == "together" and model.num_modalities > 1 and set(planner.gains) & {"state", "param"}:
        warnings.warn(
            "pymdp sums the gains of modalities, which this planner does not: modalities='separate' gives the same values",
            stacklevel=2,
        )
    return make(
        A=arrays(a_known),
        B=arrays(b for b, _ in transitions),
        C=arrays(preferences),
        D=arrays(model.D),  # type: ignore[arg-type]
        E=jnp.asarray(prior),
        pA=None if pa is None else arrays(pa),
        pB=None if pb is None else arrays(_with_itself(model, f, p)[0] for f, p in enumerate(pb)),
        A_dependencies=[list(deps) for deps in model.A_dependencies],  # type: ignore[union-attr]
        B_dependencies=[deps for _, deps in transitions],
        policies=jnp.asarray(np.array(model.policies), dtype=jnp.int32),  # rollout fails on int64
        policy_len=model.policy_length,
        **options,
    )


def _expected(model: POMDP, kind: str) -> list[NDArray[np.float64]]:
    """Values of all tables of a kind: the means of counts where there are some."""
    return [x if n is None else mean(n) for x, n in zip(getattr(model, kind), getattr(model, f"p{kind}"), strict=True)]


def _counts(model: POMDP, kind: str, known: list[NDArray[np.float64]]) -> list[NDArray[np.float64]] | None:
    """Counts of all tables of a kind, of known ones so many that they stay known; None if there are no others."""
    held = getattr(model, f"p{kind}")
    if all(n is None for n in held):
        return None
    return [np.where(x > 0, KNOWN * x, ZERO) if n is None else n for x, n in zip(known, held, strict=True)]


def _check_learned(model: POMDP) -> None:
    for table in model.learned:
        if table.kind in "DE":
            raise ValueError(f"p{table} of the model must be None: pymdp's agents do not learn {table.kind}")
        if table.kind == "B" and table.index not in model.B_dependencies[int(table.index)]:  # type: ignore[index]
            raise ValueError(
                f"B_dependencies[{table.index}] of the model must hold {table.index} itself if p{table} is learned: pymdp adds "
                "it, and would learn a table for each of its states"
            )


def _with_itself(model: POMDP, factor: int, b: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[int]]:
    """Transitions (or counts of them) and their dependencies, with the factor itself among them."""
    deps = list(model.B_dependencies[factor])  # type: ignore[index]
    if factor in deps:
        return b, deps
    return np.repeat(b[..., None, :], model.num_states[factor], axis=-2), [*deps, factor]


def _preferences(model: POMDP) -> list[NDArray[np.float64]]:
    """C as it is; where it holds -inf, of which pymdp's sums would be nan, our log preferences with a floor."""
    for m, c in enumerate(model.C):  # type: ignore[arg-type]
        if c.ndim > 1 and (c != c[0]).any():
            raise ValueError(
                f"C[{m}] of the model changes over the trial; pymdp's preferences change over the steps of a policy instead, "
                "counted from now. Give one row"
            )
    raw = [c if c.ndim == 1 else c[0] for c in model.C]  # type: ignore[union-attr]
    return [c if np.isfinite(c).all() else p for c, p in zip(raw, log_preferences(model, 0, LOG_FLOOR), strict=True)]


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
    if not np.isfinite(planner.gamma).all():
        raise ValueError(f"gamma of planner must be finite: pymdp multiplies values with it; got {planner.gamma}")
    drawn = {"sampling_mode": "marginal" if planner.sampling == "marginal" else "full"}
    if planner.alpha is None:
        return {**drawn, "action_selection": "deterministic"}
    if not np.isfinite(planner.alpha).all() and not {"alpha", "action_selection"} & set(given):
        raise ValueError(f"alpha of planner must be finite, or None for the best action; got {planner.alpha}")
    if planner.sampling == "marginal":
        return {**drawn, "action_selection": "stochastic", "alpha": planner.alpha}
    uneven = np.any(np.asarray(planner.gamma) != 1.0) and not _indifferent(model)
    if uneven and not {"alpha", "action_selection"} & set(given):
        raise ValueError(
            f"gamma of planner must be 1 if E is not uniform (pymdp would weigh E differently when it draws actions); got "
            f"{planner.gamma}. Give alpha or action_selection to say how pymdp should draw them"
        )
    return {**drawn, "action_selection": "stochastic", "alpha": planner.alpha / planner.gamma}
