"""Gymnasium environments as worlds: discrete spaces read as rows of whole numbers, and batches of environments.

What is not seen is -1, as everywhere: of an environment whose episode has ended nothing is seen any more, so that nothing can
be learned from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from activebmr import checks
from activebmr.arrays import Floats, Ints
from activebmr.model.pomdp import POMDP

__all__ = ["DiscreteSpace", "GymnasiumProcess", "members"]


class DiscreteSpace:
    """A discrete Gymnasium space as a row of whole numbers, each counted from 0.

    Args:
        space: ``Discrete``, ``MultiDiscrete``, or a ``Tuple`` or ``Dict`` of such spaces, however deep.
        name: what the space is, for errors.

    Attributes:
        sizes: how many values each number of the row has, in the space's own order.

    Raises:
        ValueError: if some part of the space is not discrete.

    Example:
        >>> from gymnasium.spaces import Dict, Discrete, MultiDiscrete
        >>> seen = DiscreteSpace(Dict({"place": Discrete(4, start=1), "signs": MultiDiscrete([2, 3])}), "observation")
        >>> seen.sizes, seen.read({"place": 1, "signs": [1, 2]}).tolist()
        ([4, 2, 3], [0, 1, 2])
    """

    def __init__(self, space: Any, name: str) -> None:
        self.space, self.name = space, name
        sizes, first = self._parts(space)
        self.sizes, self._first = sizes, np.array(first, dtype=np.intp)

    def _parts(self, space: Any) -> tuple[list[int], list[int]]:
        held = getattr(space, "spaces", None)
        if isinstance(held, (Mapping, tuple, list)):
            sizes: list[int] = []
            first: list[int] = []
            for part in _values(held):
                n, start = self._parts(part)
                sizes, first = sizes + n, first + start
            return sizes, first
        if hasattr(space, "nvec"):
            start = getattr(space, "start", np.zeros_like(space.nvec))
            return [int(n) for n in np.ravel(space.nvec)], [int(n) for n in np.ravel(start)]
        if hasattr(space, "n") and type(space).__name__ == "Discrete":
            return [int(space.n)], [int(getattr(space, "start", 0))]
        raise ValueError(f"{self.name} space must be Discrete, MultiDiscrete, or a Tuple or Dict of these; got {self.space}")

    def read(self, value: Any) -> Ints:
        """A member of the space as a row ``(len(sizes),)``.

        Raises:
            ValueError: if it does not hold as many numbers as the space, or one that lies outside of it.
        """
        try:
            flat = np.concatenate([np.ravel(part) for part in self._leaves(self.space, value)])
            row = flat.astype(np.intp)
            if flat.shape != (len(self.sizes),) or (row != flat).any():
                raise ValueError
        except (TypeError, ValueError, KeyError, IndexError, OverflowError):
            raise ValueError(f"{self.name} of the environment must hold {len(self.sizes)} numbers; got {value!r}") from None
        row = row - self._first
        outside = (row < 0) | (row >= self.sizes)
        if outside.any():
            i = int(outside.argmax())
            low = int(self._first[i])
            raise ValueError(
                f"{self.name} of the environment must lie in {low}..{low + self.sizes[i] - 1} (number {i} of its space); got "
                f"{value!r}"
            )
        return row

    def _leaves(self, space: Any, value: Any) -> list[Any]:
        held = getattr(space, "spaces", None)
        if isinstance(held, Mapping):
            return [leaf for key, part in held.items() for leaf in self._leaves(part, value[key])]
        if isinstance(held, (tuple, list)):
            if len(value) != len(held):
                raise ValueError
            return [leaf for part, inner in zip(held, value, strict=True) for leaf in self._leaves(part, inner)]
        return [value]

    def write(self, row: Sequence[int] | Ints) -> Any:
        """The member of the space that a row ``(len(sizes),)`` stands for: what the space itself contains."""
        return self._member(self.space, [int(x) for x in np.asarray(row) + self._first])

    def _member(self, space: Any, row: list[int]) -> Any:
        """Takes what it needs from the front of the row."""
        held = getattr(space, "spaces", None)
        if isinstance(held, Mapping):
            return {key: self._member(part, row) for key, part in held.items()}
        if isinstance(held, (tuple, list)):
            return tuple(self._member(part, row) for part in held)
        if hasattr(space, "nvec"):
            shape = np.shape(space.nvec)
            mine = [row.pop(0) for _ in range(int(np.prod(shape, dtype=int)))]
            return np.array(mine, dtype=space.dtype).reshape(shape)
        return row.pop(0)


def _values(held: Any) -> Sequence[Any]:
    return list(held.values()) if isinstance(held, Mapping) else list(held)


class GymnasiumProcess:
    """Gymnasium environments with discrete observations and actions as a world: one for each agent of a batch.

    An episode of an environment is a trial. Once it has ended nothing is seen any more (all outcomes are -1) until the next
    `reset`; the environment is not stepped, and agents learn nothing from what they do not see. Agents that learn transitions
    or habits do learn from what they do, so whoever steps an agent by hand should stop when ``ended`` is true
    (`activebmr.simulate` sees to all of this).

    Args:
        env: a ``gymnasium.Env``, a list of them (all with the same spaces), or a ``gymnasium.vector.VectorEnv`` that resets its
            environments at the next step. Spaces are ``Discrete``, ``MultiDiscrete``, or a ``Tuple`` or ``Dict`` of these.
        model: the agents' model: its modalities must match the observation space, its controlled factors the action space.
        seed: seeds the first reset; environments of a batch get this seed, the next one, and so on.
        chance: whether the random numbers that `reset` is given seed the environments at every reset, so that each trial is
            that of its numbers, whatever the environments did before.

    Attributes:
        reward: what the episode has brought so far: a number for one environment, else ``(n_agents,)``.
        ended: whether the episode has ended: a bool for one environment, else ``(n_agents,)``.
        over, rewards: for any number of agents ``(n_agents,)``: whose episode has ended, and what the last step brought.
        truncated: ``(n_agents,)``: whose episode has ended because it was cut off, not because it terminated.

    Environments whose ``metadata`` say ``keeps_truth`` (`activebmr.interop.gymnasium.ParadigmEnv`) draw which hypothesis is
    true when they are seeded. With ``chance``, which seeds every trial, they are asked to keep the truth of their first trial:
    an agent lives with one truth.

    Raises:
        ImportError: if gymnasium is not installed (``pip install -e '.[gym]'``).
        ValueError: if a space is not discrete or does not match the model, an environment stands for two agents, or a vector
            of environments cannot be used.

    Example:
        >>> import gymnasium, numpy as np
        >>> env = gymnasium.make("FrozenLake-v1", is_slippery=False)
        >>> walk = np.full((16, 16, 4), 1 / 16)
        >>> world = GymnasiumProcess(env, POMDP(A=[np.eye(16)], B=[walk]), seed=0)
        >>> _, outcomes = world.reset(np.zeros((1, 0)))
        >>> outcomes.tolist()
        [[0]]
    """

    comparable = False

    def __init__(self, env: Any, model: POMDP, seed: int | None = None, *, chance: bool = False) -> None:
        try:
            from gymnasium.vector import VectorEnv
        except ImportError as error:
            raise ImportError("GymnasiumProcess needs gymnasium: pip install -e '.[gym]'") from error
        checks.an(POMDP)(model, "model")
        self.env, self.model, self._seed = env, model, None if seed is None else checks.whole_number(seed, "seed", 0)
        self.n_uniforms = int(checks.flag(chance, "chance"))
        self._single = not isinstance(env, (list, tuple, VectorEnv))
        self._vector = env if isinstance(env, VectorEnv) else None
        self._envs = [] if self._vector is not None else list(env) if isinstance(env, (list, tuple)) else [env]
        if self._vector is None and not self._envs:
            raise ValueError("env must be an environment or a list of them; got an empty list")
        _check_distinct(members(env))
        if self._vector is not None:
            _check_autoreset(self._vector)
            spaces = [(env.single_observation_space, env.single_action_space)]
        else:
            for e in self._envs:
                if isinstance(e, type) or not all(
                    hasattr(e, n) for n in ("observation_space", "action_space", "reset", "step")
                ):
                    raise TypeError(f"env must be an environment of Gymnasium, or a list of them; got {checks.brief(e)}")
            spaces = [(e.observation_space, e.action_space) for e in self._envs]
        seen, moved = (DiscreteSpace(space, name) for space, name in zip(spaces[0], ("observation", "action"), strict=True))
        for k, pair in enumerate(spaces):
            if pair != spaces[0]:
                raise ValueError(f"env must hold environments with the same spaces; those of number {k} differ from number 0's")
        if seen.sizes != list(model.num_outcomes):
            raise ValueError(
                f"observation space must have {list(model.num_outcomes)} outcomes like the model's modalities; got {seen.sizes}"
            )
        controls = [model.num_controls[f] for f in model.controlled_factors]
        if moved.sizes != controls:
            raise ValueError(
                f"action space must have {controls} actions like the model's controlled factors; got {moved.sizes}"
            )
        self._seen, self._moved = seen, moved
        self.n_agents = int(env.num_envs) if self._vector is not None else len(self._envs)
        self.over, self.rewards = np.zeros(self.n_agents, dtype=bool), np.zeros(self.n_agents)
        self.truncated = np.zeros(self.n_agents, dtype=bool)
        keeps = [_keeps_truth(e) for e in ([self._vector] if self._vector is not None else self._envs)]
        self._options: list[dict[str, Any] | None] = [{"keep_truth": True} if chance and k else None for k in keeps]
        self._total = np.zeros(self.n_agents)

    @property
    def reward(self) -> Any:
        return float(self._total[0]) if self._single else self._total.copy()

    @property
    def ended(self) -> Any:
        return bool(self.over[0]) if self._single else self.over.copy()

    def reset(self, uniforms: Floats, given: Ints | None = None) -> tuple[Ints, Ints]:
        """Begin an episode in every environment: states ``(n_agents, n_factors)``, all -1, and outcomes ``(n_agents,
        n_modalities)``.

        Args:
            uniforms: numbers in [0, 1) ``(n_agents, n_uniforms)``; the first one seeds, if there is one.
            given: states that agents set; environments cannot be set.

        Raises:
            ValueError: if some states are given.
        """
        if given is not None and (np.asarray(given) >= 0).any():
            raise ValueError("given must be None for Gymnasium environments: their states cannot be set")
        seeds: list[int | None] = [None] * self.n_agents
        uniforms = checks.numbers(uniforms, "uniforms", checks.PROBABILITY)
        if uniforms.ndim != 2 or len(uniforms) != self.n_agents:
            raise ValueError(f"uniforms must have shape ({self.n_agents}, n_uniforms); got {uniforms.shape}")
        if uniforms.shape[1] > 0:
            seeds = [int(u * 2**31) for u in uniforms[:, 0]]
        elif self._seed is not None:
            seeds = [self._seed + k for k in range(self.n_agents)]
        self._seed = None
        self.over[:], self.truncated[:], self.rewards[:], self._total[:] = False, False, 0.0, 0.0
        if self._vector is not None:
            first = self._vector.reset(seed=None if seeds[0] is None else seeds, **_given(self._options[0]))[0]
            observations = self._split(first)
        else:
            beginnings = zip(self._envs, seeds, self._options, strict=True)
            observations = [e.reset(seed=s, **_given(options))[0] for e, s, options in beginnings]
        return self._unknown(), np.stack([self._seen.read(o) for o in observations])

    def step(self, controls: Ints, uniforms: Floats) -> tuple[Ints, Ints]:
        """Apply controls ``(n_agents, n_factors)``; nothing is seen (-1) where the episode had ended before."""
        array = checks.index_array(controls, "controls", 0)
        wanted = (self.n_agents, self.model.num_factors)
        array = checks.index_array(array[None] if array.ndim == 1 else array, "controls", 0, None, wanted)
        if (array >= np.array(self.model.num_controls)).any():
            raise ValueError(f"controls must lie below the numbers of controls {self.model.num_controls}; got {array}")
        rows = array[:, list(self.model.controlled_factors)]
        live = np.flatnonzero(~self.over)
        out = np.full((self.n_agents, self.model.num_modalities), -1, dtype=np.intp)
        self.rewards = np.zeros(self.n_agents)
        if self._vector is not None and len(live):
            seen, reward, terminated, truncated, _ = self._vector.step(self._joined(rows))
            for k, observation in enumerate(self._split(seen)):
                if not self.over[k]:
                    out[k] = self._seen.read(observation)
            self.rewards[live] = np.asarray(reward, dtype=float)[live]
            done, cut = np.asarray(terminated, dtype=bool), np.asarray(truncated, dtype=bool)
            self.truncated = self.truncated | (cut & ~done & ~self.over)
            self.over = self.over | done | cut
        elif self._vector is None:
            for k in live:
                observation, reward, terminated, truncated, _ = self._envs[k].step(self._moved.write(rows[k]))
                out[k], self.rewards[k] = self._seen.read(observation), float(reward)
                self.over[k], self.truncated[k] = bool(terminated or truncated), bool(truncated and not terminated)
        self._total += self.rewards
        return self._unknown(), out

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs if self._vector is None else [self._vector]:
            env.close()

    def _split(self, observations: Any) -> list[Any]:
        from gymnasium.vector.utils import iterate

        return list(iterate(self._vector.observation_space, observations))  # type: ignore[union-attr]

    def _joined(self, rows: Ints) -> Any:
        from gymnasium.vector.utils import concatenate, create_empty_array

        space = self._moved.space
        return concatenate(space, [self._moved.write(row) for row in rows], create_empty_array(space, len(rows)))

    def _unknown(self) -> Ints:
        return np.full((self.n_agents, self.model.num_factors), -1)


def members(env: Any) -> list[Any]:
    """The environments, without their wrappers, of one, a list or a vector; of a vector that hides its own, the vector."""
    held = env if isinstance(env, (list, tuple)) else getattr(env, "envs", None) if hasattr(env, "num_envs") else None
    return [getattr(e, "unwrapped", e) for e in (held if isinstance(held, (list, tuple)) else [env])]


def _check_distinct(envs: list[Any]) -> None:
    """An environment that stood for two agents would mix their lives up: a step of one would move the other."""
    seen: dict[int, int] = {}
    for k, env in enumerate(envs):
        if id(env) in seen:
            raise ValueError(f"env must hold one environment for each agent; number {k} is number {seen[id(env)]}: {env!r}")
        seen[id(env)] = k


def _keeps_truth(env: Any) -> bool:
    metadata = getattr(env, "metadata", None)
    return isinstance(metadata, Mapping) and metadata.get("keeps_truth") is True


def _given(options: dict[str, Any] | None) -> dict[str, Any]:
    """Options as an argument of reset; other environments need not know of any."""
    return {} if options is None else {"options": dict(options)}


def _check_autoreset(vector: Any) -> None:
    """With any other mode the last observation of an episode would be lost, or ended environments be stepped."""
    mode = vector.metadata.get("autoreset_mode") if isinstance(getattr(vector, "metadata", None), dict) else None
    if getattr(mode, "name", mode) not in (None, "NEXT_STEP"):
        raise ValueError(f"env must be a vector that resets at the next step (AutoresetMode.NEXT_STEP); got {mode}")
