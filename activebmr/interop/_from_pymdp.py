"""From pymdp to here: the model of an agent, its planner, and the whole agent."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from activebmr.agent.agent import Agent as OurAgent
from activebmr.agent.settings import Learning
from activebmr.counts import mean
from activebmr.interop._pymdp import LEARNABLE, ZERO, one_of_the_batch
from activebmr.model.pomdp import POMDP
from activebmr.planning.planner import Planner

if TYPE_CHECKING:
    from pymdp.agent import Agent

__all__ = ["agent_from_pymdp", "from_pymdp", "planner_from_pymdp"]

ROUNDS = 16
"""Rounds of inference of an agent by default, there and here."""


# --- the whole agent -----------------------------------------------------------------------------------------------------
def agent_from_pymdp(agent: Agent, which: int | None = None) -> OurAgent:
    """An agent that believes, plans, acts and learns as a pymdp agent does.

    Its model is that of `from_pymdp`, its planner that of `planner_from_pymdp`; beliefs are ``"mean-field"`` with as many
    rounds as the pymdp agent's ``num_iter``; counts of A and B are frozen (``Learning(rate={"pB": 0})``) unless it has
    ``learn_A`` and ``learn_B``, and learned at the end of a trial (``Learning(at_end=True)``) if its ``learning_mode`` is
    ``"offline"``, as at the end of a ``rollout``. Its flags ``learn_C``, ``learn_D`` and ``learn_E`` do nothing in pymdp, and
    nothing here. A search that is handed to ``rollout``
    (``policy_search``) is no part of an agent: in place of ``si_policy_search(horizon)`` use ``Planner(depth=horizon - 1)``.

    Args:
        agent: a ``pymdp.agent.Agent``.
        which: which agent of its batch; may be left out if there is one.

    Returns:
        an `Agent` without hypotheses and without an end of trials; of its beliefs and outcomes nothing is taken over.

    Raises:
        ImportError: if pymdp is not installed.
        TypeError: if ``agent`` is something else.
        ValueError: naming the setting, if something cannot be expressed here: inductive planning, controls that several
            factors share, inference over windows of time ("mmp", "vmp"), learning from smoothed beliefs ("ovf", "exact"),
            preferences over the steps of a policy.

    Example:
        >>> ours = agent_from_pymdp(pymdp.agent.Agent(A, B, C, D, policy_len=2, num_iter=8))
        >>> state, info = ours.step(ours.init(), [0, 1], rng)
    """
    i = one_of_the_batch(agent, which)
    model = _model(agent, i)
    return OurAgent(
        model, planner=_planner(agent, i), inference="mean-field", rounds=_rounds(agent), learning=_learning(agent, model)
    )


def _learning(agent: Agent, model: POMDP) -> Learning:
    """Rates of 1 for what the agent learns, of 0 for what it does not."""
    kinds = {table.kind for table in model.learned}
    learns = {"A": agent.learn_A, "B": agent.learn_B}
    rates = {f"p{kind}": float(learns[kind]) for kind in sorted(kinds or learns)}
    same = len(set(rates.values())) == 1
    rate: Any = rates.popitem()[1] if same else rates
    return Learning(rate=rate if kinds else float(agent.learn_A), at_end=_learns(agent) and agent.learning_mode == "offline")


def _learns(agent: Agent) -> bool:
    return bool(agent.learn_A or agent.learn_B)


def _rounds(agent: Agent) -> int:
    """Rounds of mean-field inference that leave the same beliefs."""
    algorithm = agent.inference_algo
    if algorithm not in ("fpi", "ovf", "exact"):
        raise ValueError(
            f"inference_algo of the pymdp agent must be 'fpi' (or 'ovf' or 'exact', if it does not learn); got {algorithm!r}, "
            "which infers the past again at each step from other messages than agents here exchange"
        )
    if _learns(agent) and algorithm != "fpi":
        raise ValueError(
            f"inference_algo of a pymdp agent that learns must be 'fpi'; got {algorithm!r}, which learns from smoothed beliefs"
        )
    if agent.num_factors == 1:  # one pass, whatever num_iter says
        return ROUNDS
    if agent.num_iter < 1:
        raise ValueError(f"num_iter of the pymdp agent must be at least 1; got {agent.num_iter}")
    return int(agent.num_iter)


# --- its model -----------------------------------------------------------------------------------------------------------
def from_pymdp(agent: Agent, which: int | None = None) -> POMDP:
    """The model of a pymdp agent, with its counts as they are now.

    Likelihoods and transitions whose every column holds 2^50 counts or more are known, see `KNOWN`. An agent's settings are not
    part of its model: see `agent_from_pymdp`. pymdp has no labels: add them with ``model.with_(labels=...)``.

    Args:
        agent: a ``pymdp.agent.Agent``.
        which: which agent of its batch; may be left out if there is one.

    Raises:
        ImportError: if pymdp is not installed.
        TypeError: if ``agent`` is something else, such as an agent of pymdp's former version.
        ValueError: if a `POMDP` cannot express something, or ``which`` is out of range.

    Warns:
        UserWarning: if an agent with this model would, by default, believe or learn something else.

    Example:
        >>> theirs = to_pymdp(world, Planner(gains=("state",), modalities="separate"))
        >>> ours = from_pymdp(theirs, 0).with_(labels=world.labels)
    """
    i = one_of_the_batch(agent, which)
    model = _model(agent, i)
    lost = _not_in_the_model(agent, model)
    if lost:
        warnings.warn(
            f"{' and '.join(lost)} of the pymdp agent are no part of its model: agent_from_pymdp takes them over", stacklevel=2
        )
    return model


def _not_in_the_model(agent: Agent, model: POMDP) -> list[str]:
    lost = []
    for kind, learns in (("A", agent.learn_A), ("B", agent.learn_B)):
        if any(table.kind == kind for table in model.learned) and not learns:
            lost.append(f"counts that do not learn (learn_{kind}=False)")
    if _learns(agent) and agent.learning_mode == "offline":
        lost.append("learning_mode='offline'")
    if agent.inference_algo in ("mmp", "vmp"):
        lost.append(f"inference_algo={agent.inference_algo!r}")
    if agent.num_factors > 1 and agent.num_iter != ROUNDS:
        lost.append(f"num_iter={agent.num_iter}")
    return lost


def _model(agent: Agent, i: int) -> POMDP:
    own = [[f] for f in range(agent.num_factors)]
    if [list(d) for d in agent.B_action_dependencies] != own:
        raise ValueError(
            f"B_action_dependencies of the pymdp agent must be {own}, one control per factor; got {agent.B_action_dependencies}"
        )
    if agent.preprocess_fn is not None:
        raise ValueError("preprocess_fn of the pymdp agent must be None: process outcomes before you give them to an Agent")
    one = lambda parts: [None if x is None else np.asarray(x[i], dtype=np.float64) for x in parts]  # noqa: E731
    a, pa = _learned("A", one(agent.A), None if agent.pA is None else one(agent.pA))
    b, pb = _learned("B", one(agent.B), None if agent.pB is None else one(agent.pB))
    prior = np.asarray(agent.E[i], dtype=np.float64)
    return POMDP(
        A=a,
        B=b,
        C=[_without_time(c, m) for m, c in enumerate(one(agent.C))],
        D=one(agent.D),
        E=None if (prior == prior[0]).all() else (prior if abs(prior.sum() - 1.0) < 1e-6 else prior / prior.sum()),
        pA=pa,
        pB=pb,
        A_dependencies=agent.A_dependencies,
        B_dependencies=agent.B_dependencies,
        policies=np.asarray(agent.policies.policy_arr),
    )


def _learned(name: str, values: list[Any], counts: list[Any] | None) -> tuple[list[Any], list[Any]]:
    """Values and counts of each table: one of the two, as what is known has no counts and what is learned follows from them."""
    if counts is None:
        return values, [None] * len(values)
    for i, held in enumerate(counts):
        if held is None:
            continue
        if held.sum(axis=0).min() >= LEARNABLE:
            values[i], counts[i] = np.where(held < 2 * ZERO, 0.0, values[i]), None
            continue
        gap = float(np.abs(values[i] - mean(held)).max())
        if gap > 1e-6:
            raise ValueError(
                f"{name}[{i}] of the pymdp agent must be the mean of p{name}[{i}], what an Agent here goes by; they differ by "
                f"{gap:.3g}. Make the agent with {name} = p{name} / p{name}.sum(0), or without p{name}"
            )
        values[i] = None
    return values, counts


def _without_time(c: NDArray[np.float64], m: int) -> NDArray[np.float64]:
    if c.ndim == 1:
        return c
    if (c != c[0]).any():
        raise ValueError(
            f"C[{m}] of the pymdp agent changes over the steps of a policy; a POMDP's preferences change over the trial "
            "instead. Give one row"
        )
    return c[0]


# --- its planner ---------------------------------------------------------------------------------------------------------
def planner_from_pymdp(agent: Agent, which: int | None = None) -> Planner:
    """A `Planner` that values and chooses policies as a pymdp agent does. Arguments and errors as in `from_pymdp`.

    Example:
        >>> theirs = to_pymdp(world, Planner(gains=("state",), modalities="separate", alpha=16.0))
        >>> planner_from_pymdp(theirs, 0).alpha
        16.0
    """
    return _planner(agent, one_of_the_batch(agent, which))


def _planner(agent: Agent, i: int) -> Planner:
    if not agent.use_utility:
        raise ValueError("use_utility of the pymdp agent must be True: give the POMDP flat preferences (C=None) instead")
    if agent.use_inductive:
        raise ValueError("use_inductive of the pymdp agent must be False: there is no inductive planning here")
    gamma, alpha, prior = float(agent.gamma[i]), float(agent.alpha[i]), np.asarray(agent.E[i])
    marginal, best = agent.sampling_mode == "marginal", agent.action_selection == "deterministic"
    if gamma != 1.0 and not (prior == prior[0]).all() and not marginal:
        raise ValueError(
            f"gamma of the pymdp agent must be 1 if E is not uniform: actions weigh E differently here; got {gamma}"
        )
    gains = (("state", agent.use_states_info_gain), ("param", agent.use_param_info_gain))
    return Planner(
        gains=[name for name, used in gains if used],
        modalities="separate",
        gamma=gamma,
        # a policy is drawn by its value here and by q_pi there, a control by its share of q_pi in both
        alpha=None if best else alpha if marginal else alpha * gamma,
        sampling="marginal" if marginal else "policy",
        habit="always",
        novelty_cutoff=np.inf,
    )
