"""Worlds that agents act in: a generative process made from a model, or any Gymnasium environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from activebmr.arrays import Floats, Ints, sample, sample_cumulative
from activebmr.dirichlet import mean
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.layout import dynamics_of
from activebmr.model.pomdp import POMDP

__all__ = ["GymnasiumProcess", "ModelProcess", "Process"]


class Process(Protocol):
    """What a world offers: states and outcomes of a batch of agents, driven by uniform random numbers.

    Attributes:
        n_uniforms: how many uniform numbers in [0, 1) one step of one agent uses.
    """

    n_uniforms: int

    def reset(self, uniforms: Floats) -> tuple[Ints, Ints]:
        """Begin a trial: states ``(n_agents, n_factors)`` and outcomes ``(n_agents, n_modalities)``."""
        ...

    def step(self, controls: Ints, uniforms: Floats) -> tuple[Ints, Ints]:
        """Apply controls ``(n_agents, n_factors)``: the next states and outcomes."""
        ...


class ModelProcess:
    """A world that follows a `POMDP`, in which, if hypotheses are given, one of them is true for each agent.

    Args:
        model: transitions, initial states, and the likelihood of every modality that the hypotheses do not speak about.
        hypotheses: structures that the world may have; the likelihood of the true one is the mean of its counts.
        truth: index of the true hypothesis of each agent ``(n_agents,)``.
    """

    def __init__(self, model: POMDP, hypotheses: HypothesisSpace | None = None, truth: Ints | None = None) -> None:
        if (hypotheses is None) != (truth is None):
            raise ValueError("hypotheses and truth must be given together, or neither of them")
        if hypotheses is not None and truth is not None:
            hypotheses, truth = hypotheses.resolved(model), np.asarray(truth)
            if truth.ndim != 1 or (truth < 0).any() or (truth >= len(hypotheses)).any():
                raise ValueError(f"truth must hold an index in 0..{len(hypotheses) - 1} for each agent; got {truth}")
        self.model, self.hypotheses, self.truth = model, hypotheses, truth
        self.n_uniforms = model.num_factors + model.num_modalities
        tables = hypotheses.tables if hypotheses is not None else {}
        # per modality: distinct columns of outcome probabilities, and (truth, state) -> column
        self._columns: list[tuple[Floats, Ints]] = []
        for m, a in enumerate(model.A):
            if m in tables:
                self._columns.append((mean(tables[m].columns.T).T, tables[m].assignment))
            else:
                flat = a.reshape(a.shape[0], -1).T
                self._columns.append((flat, np.arange(len(flat))[None]))
        self._cumulative = [c.cumsum(axis=1) for c, _ in self._columns]
        # per factor the next state's cumulative probabilities by controls and states
        self._moves = [np.ascontiguousarray(np.moveaxis(b, 0, -1)).cumsum(axis=-1) for b in model.B]
        self._strides = [_strides([model.num_states[f] for f in deps]) for deps in model.A_dependencies]  # type: ignore[union-attr]
        self._certain = [c.argmax(axis=1) if (c.max(axis=1) == 1.0).all() else None for c, _ in self._columns]
        self.states: Ints = np.zeros((0, model.num_factors), dtype=np.intp)

    def likelihood(self, modality: int) -> Floats:
        """True likelihood of a modality for each agent, by state: ``(n_agents or 1, n_states, n_outcomes)``."""
        columns, assignment = self._columns[modality]
        which = assignment[self.truth] if len(assignment) > 1 else assignment
        return np.asarray(columns[which])

    def certain(self, modality: int) -> Ints | None:
        """The outcome in each state ``(n_agents or 1, n_states)`` if the world leaves nothing to chance there, else None."""
        outcomes, assignment = self._certain[modality], self._columns[modality][1]
        if outcomes is None:
            return None
        return np.asarray(outcomes[assignment[self.truth] if len(assignment) > 1 else assignment])

    def reset(self, uniforms: Floats, given: Ints | None = None) -> tuple[Ints, Ints]:
        """Begin a trial; states ``given`` (n_agents, n_factors) that are not -1 are set instead of drawn."""
        n = len(uniforms)
        draws = [sample(np.repeat(d[None], n, axis=0), uniforms[:, f]) for f, d in enumerate(self.model.D)]  # type: ignore[arg-type]
        self.states = np.stack(draws, axis=1)
        if given is not None:
            self.states = np.where(given >= 0, given, self.states)
        return self.states, self._outcomes(uniforms)

    def step(self, controls: Ints, uniforms: Floats) -> tuple[Ints, Ints]:
        model, old = self.model, self.states
        fresh = np.empty_like(old)
        dynamics = dynamics_of(model)
        for f in range(model.num_factors):
            target = dynamics.target[f]
            if dynamics.kind[f] == "fixed":
                fresh[:, f] = old[:, f]
            elif target is not None:
                fresh[:, f] = target[controls[:, f]]
            else:
                deps = model.B_dependencies[f]  # type: ignore[index]
                rows = self._moves[f][(*(old[:, d] for d in deps), controls[:, f])]
                fresh[:, f] = sample_cumulative(rows, uniforms[:, f])
        self.states = fresh
        return fresh, self._outcomes(uniforms)

    def _outcomes(self, uniforms: Floats) -> Ints:
        model = self.model
        out = np.empty((len(self.states), model.num_modalities), dtype=np.intp)
        for m, (columns, assignment) in enumerate(self._columns):
            deps = model.A_dependencies[m]  # type: ignore[index]
            column = self.states[:, deps[0]]
            if len(deps) > 1:
                column = column * self._strides[m][0]
            for f, stride in zip(deps[1:], self._strides[m][1:], strict=True):
                column += self.states[:, f] * stride
            if len(columns) != assignment.size:  # hypotheses share columns
                column = assignment[self.truth if len(assignment) > 1 else 0, column]
            certain = self._certain[m]
            if certain is None:
                out[:, m] = sample_cumulative(self._cumulative[m][column], uniforms[:, model.num_factors + m])
            else:
                out[:, m] = certain[column]
        return out


def _strides(sizes: list[int]) -> list[int]:
    """How far apart the states of each factor lie in C order."""
    return [int(np.prod(sizes[i + 1 :], dtype=int)) for i in range(len(sizes))]


class GymnasiumProcess:
    """One Gymnasium environment with discrete observations and actions as a world for a single agent.

    Args:
        env: a ``gymnasium.Env`` whose spaces are ``Discrete``, ``MultiDiscrete`` or a ``Tuple`` of ``Discrete``.
        model: the agent's model: its modalities must match the observation space, its controlled factors the action space.
        seed: seeds the first reset.

    Raises:
        ImportError: if gymnasium is not installed (``pip install activebmr[gym]``).
        ValueError: if a space is not discrete or does not match the model.
    """

    n_uniforms = 0

    def __init__(self, env: Any, model: POMDP, seed: int | None = None) -> None:
        try:
            import gymnasium  # noqa: F401
        except ImportError as error:
            raise ImportError("GymnasiumProcess needs gymnasium: pip install activebmr[gym]") from error
        self.env, self.model, self._seed = env, model, seed
        (seen, self._first_seen), (moved, self._first_moved) = (
            _sizes(env.observation_space, "observation"),
            _sizes(env.action_space, "action"),
        )
        if seen != list(model.num_outcomes):
            raise ValueError(
                f"observation space must have {list(model.num_outcomes)} outcomes like the model's modalities; got {seen}"
            )
        controls = [model.num_controls[f] for f in model.controlled_factors]
        if moved != controls:
            raise ValueError(f"action space must have {controls} actions like the model's controlled factors; got {moved}")
        self.reward = 0.0
        self.ended = False

    def reset(self, uniforms: Floats) -> tuple[Ints, Ints]:
        observation, _ = self.env.reset(seed=self._seed)
        self._seed, self.reward, self.ended = None, 0.0, False
        return self._unknown(), self._outcomes(observation)

    def step(self, controls: Ints, uniforms: Floats) -> tuple[Ints, Ints]:
        """Apply controls; once the environment has ended, its last observation is repeated until the trial is over."""
        if not self.ended:
            action = np.atleast_2d(controls)[0, list(self.model.controlled_factors)] + self._first_moved
            observation, reward, terminated, truncated, _ = self.env.step(int(action[0]) if len(action) == 1 else action)
            self.reward += float(reward)
            self.ended = bool(terminated or truncated)
            self._last = self._outcomes(observation)
        return self._unknown(), self._last

    def _outcomes(self, observation: Any) -> Ints:
        parts = observation if isinstance(observation, (tuple, list)) else [observation]
        flat = np.concatenate([np.ravel(part) for part in parts]).astype(np.intp)
        if len(flat) != len(self._first_seen):
            raise ValueError(f"observation of the environment must hold {len(self._first_seen)} numbers; got {observation!r}")
        return np.asarray(flat - self._first_seen)[None]

    def _unknown(self) -> Ints:
        return np.full((1, self.model.num_factors), -1)


def _sizes(space: Any, name: str) -> tuple[list[int], Ints]:
    """Sizes of the parts of a discrete space, and the first number of each (0 unless the space says otherwise)."""
    parts: Sequence[Any] = getattr(space, "spaces", None) or [space]
    sizes: list[int] = []
    first: list[int] = []
    for part in parts:
        if hasattr(part, "nvec"):
            sizes += [int(n) for n in np.ravel(part.nvec)]
            first += [int(n) for n in np.ravel(getattr(part, "start", np.zeros_like(part.nvec)))]
        elif hasattr(part, "n") and type(part).__name__ == "Discrete":
            sizes.append(int(part.n))
            first.append(int(getattr(part, "start", 0)))
        else:
            raise ValueError(f"{name} space must be Discrete, MultiDiscrete or a Tuple of Discrete; got {space}")
    return sizes, np.array(first, dtype=np.intp)
