"""`ParadigmEnv`: a paradigm's world as a Gymnasium environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

try:
    import gymnasium
except ImportError as missing:
    raise ImportError("activebmr.interop.gymnasium needs gymnasium: pip install -e '.[gym]'") from missing

from activebmr import checks
from activebmr.simulation.environments import DiscreteSpace
from activebmr.simulation.paradigm import Paradigm
from activebmr.simulation.registry import build_paradigm, load_paradigm, paradigm_names

__all__ = ["ParadigmEnv", "register_paradigms"]

_LARGEST = 2**31 - 1


class ParadigmEnv(gymnasium.Env):  # type: ignore[misc]
    """The world of a paradigm, without its agents: one trial is one episode.

    Observations are ``MultiDiscrete``, one outcome per modality; actions one control per controlled factor, ``MultiDiscrete``,
    or ``Discrete`` if there is one. All count from 0. The reward of a step is what the outcomes that it led to are worth by the
    paradigm's score (0 if it has none), and what its world itself gives, if it gives rewards; what the first observation of a
    trial is worth is no step's reward. An outcome that such a world leaves out is -1 and worth nothing. What the agents of some
    schemes are told before a trial is no part of the world.

    An episode terminates with the last observation of the trial. Worlds whose trials may end before their time
    (`GymnasiumWorld`) say themselves when it terminates or is cut off; if they have not ended by the last observation of the
    trial, it is cut off there (truncated).

    Which hypothesis is true stays the same from episode to episode, as it does for an agent of a simulation, until the
    environment is seeded: ``reset(seed=...)`` begins a new life, and draws the truth (if the paradigm's is random), the world
    and all trials anew, from the seed alone. ``reset(seed=..., options={"keep_truth": True})`` seeds the trials alone: truth
    and world stay those of the first episode. `GymnasiumWorld`, which seeds every trial, asks for that by itself, so that each
    of its agents lives with one truth. ``reset(options={"truth": 3})``, an index or a name, sets the truth of a new life.

    Args:
        paradigm: a `Paradigm`, the name of an installed one, or the path of a file that holds one.
        scheme: under which to build it; only the world counts here. By default the paradigm's own default.
        true_rule: see the paradigm; by default its own.
        render_mode: ``"ansi"``: `render` returns what was seen last, in words.
        **options: the paradigm's own options.

    Attributes:
        labels: names of factors, modalities, states, outcomes and controls, as `POMDP.labels` has them.
        truth: index of the hypothesis that is true now, None if there are none.

    Raises:
        ValueError, TypeError: if there is no such paradigm, scheme or option.

    Example:
        >>> env = ParadigmEnv("three-ball")
        >>> observation, info = env.reset(seed=0)
        >>> observation.tolist(), env.labels["modality"]
        ([3, 3, 0], ['what', 'where', 'feedback'])
        >>> observation, reward, terminated, truncated, info = env.step([0, 3])  # look at the left ball
    """

    # metadata, since wrappers and vectors of environments pass it on: that `reset` knows the option keep_truth
    metadata = {"render_modes": ["ansi"], "render_fps": 4, "keeps_truth": True}

    def __init__(
        self,
        paradigm: Paradigm | str,
        scheme: str | None = None,
        true_rule: int | str | None = None,
        *,
        render_mode: str | None = None,
        **options: str,
    ) -> None:
        if isinstance(paradigm, Paradigm):
            if scheme is not None or true_rule is not None or options:
                raise ValueError("scheme, true_rule and options must not be given beside a Paradigm, which has them already")
            built = paradigm
        elif isinstance(paradigm, str):
            module = load_paradigm(paradigm)
            wanted = module.DEFAULT_SCHEME if scheme is None else scheme
            checks.choice(checks.text(wanted, "scheme"), f"scheme of {module.NAME}", module.SCHEMES)
            built = build_paradigm(module, wanted, true_rule, **options)
        else:
            raise TypeError(f"paradigm must be a Paradigm, the name of one or a path; got {paradigm!r}")
        checks.choice(render_mode, "render_mode", (None, "ansi"))
        self.paradigm, self.render_mode = built, render_mode
        model = built.model
        self.labels = model.labels
        self._controlled = list(model.controlled_factors)
        self.observation_space = gymnasium.spaces.MultiDiscrete(list(model.num_outcomes))
        controls = [model.num_controls[f] for f in self._controlled]
        self.action_space = (
            gymnasium.spaces.Discrete(controls[0]) if len(controls) == 1 else gymnasium.spaces.MultiDiscrete(controls or [1])
        )
        self._actions = DiscreteSpace(self.action_space, "action")
        self._process: Any = None
        self._time: int | None = None
        self._trial = 0
        self._seen: np.ndarray = np.zeros(0, dtype=np.int64)
        self.truth: int | None = None

    # --- episodes --------------------------------------------------------------------------------------------------------
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a trial: the first observation, and the trial (from 0), time, states and truth as ``info``.

        Args:
            seed: begins a new life: its truth (if the paradigm's is random), its world and all its trials are drawn anew, and
                depend on the seed alone. Without it the life goes on with its next trial.
            options: ``{"truth": index or name}`` begins a new life in which this hypothesis is true; ``{"keep_truth": True}``
                goes on with the same truth and world although there is a seed, which then seeds this trial and those after it
                (at the first reset there is nothing to keep, and the seed begins the life).

        Raises:
            ValueError: if there is no such hypothesis, or an option of another name.
            TypeError: if ``keep_truth`` is neither True nor False.
        """
        if seed is not None:
            seed = checks.whole_number(seed, "seed", 0)
        if options is not None:
            checks.mapping(options, "options")
        given = dict(options or {})
        unknown = set(given) - {"truth", "keep_truth"}
        if unknown:
            raise ValueError(f"options must hold 'truth' or 'keep_truth' alone; got {sorted(unknown, key=str)}")
        keep, truth = checks.flag(given.get("keep_truth", False), "options['keep_truth']"), given.get("truth")
        super().reset(seed=seed)
        if self._process is None or truth is not None or (seed is not None and not keep):
            self._begin_life(truth)
        else:
            self._trial += 1
        self._time = 0
        states, outcomes = self._process.reset(self._chance())
        return self._observed(states, outcomes)

    def _begin_life(self, truth: Any) -> None:
        life, nobody = int(self.np_random.integers(_LARGEST)), np.zeros(1, dtype=np.intp)
        built = self.paradigm
        if truth is not None:
            if built.hypotheses is None:
                raise ValueError(f"options must not hold 'truth' for {built.name}: it has no hypotheses; got {truth!r}")
            built = replace(built, truth=truth, candidates=None)
        truths = built.truths(life, nobody)
        self._close_world()
        self._process, self._trial = built.world(life, nobody), 0
        self.truth = None if truths is None else int(truths[0])

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Do something: observation, reward, whether the episode terminates, whether it is cut off, info as for `reset`.

        Raises:
            ValueError: if the action is not one of the action space.
            RuntimeError: before the first `reset`, and after the end of an episode.
        """
        if self._time is None:
            raise RuntimeError("step must come after reset: no episode is going on (it has ended, or none has begun)")
        controls = np.zeros((1, self.paradigm.model.num_factors), dtype=np.intp)
        if self._controlled:
            array = checks.index_array(action, "action", 0)
            if array.shape not in (self.action_space.shape, (len(self._controlled),)):
                raise ValueError(f"action must have shape {self.action_space.shape}, of the action space; got {array.shape}")
            controls[0, self._controlled] = self._actions.read(action)
        states, outcomes = self._process.step(controls, self._chance())
        self._time += 1
        observation, info = self._observed(states, outcomes)
        # -1 is an outcome that was not seen: no worth is read for it
        worth = sum(float(values[observation[m]]) for m, values in self.paradigm.score.items() if observation[m] >= 0)
        if hasattr(self._process, "rewards"):
            worth += float(self._process.rewards[0])
        terminated, truncated = self._ends()
        if terminated or truncated:
            self._time = None
        return observation, float(worth), terminated, truncated, info

    def _ends(self) -> tuple[bool, bool]:
        """Whether the episode terminates, and whether it is cut off, with what was seen last."""
        last = self._time is not None and self._time >= self.paradigm.trial_length - 1
        if not hasattr(self._process, "over"):
            return last, False
        over = bool(self._process.over[0])
        cut = over and bool(getattr(self._process, "truncated", [False])[0])
        return over and not cut, cut or (last and not over)

    def close(self) -> None:
        """Close the environments that the world is made of, if it is; the next `reset` begins a new life."""
        self._close_world()
        self._process, self._time = None, None

    def _close_world(self) -> None:
        if hasattr(self._process, "close"):
            self._process.close()

    def _chance(self) -> np.ndarray:
        return self.np_random.random((1, self._process.n_uniforms))

    def _observed(self, states: np.ndarray, outcomes: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        self._seen = np.array(outcomes[0], dtype=np.int64)
        info: dict[str, Any] = {"trial": self._trial, "time": self._time, "states": np.array(states[0])}
        if self.truth is not None:
            info["truth"] = self.truth
        return self._seen.copy(), info

    def render(self) -> str | None:
        """What was seen last, in words; None without a ``render_mode``."""
        if self.render_mode is None:
            return None
        outcomes, seen = self.labels["outcomes"], zip(self.labels["modality"], self._seen, strict=False)
        words = [f"{m}: {outcomes[m][o] if o >= 0 else 'not seen'}" for m, o in seen]
        return ", ".join(words) if words else "nothing yet"


def register_paradigms() -> list[str]:
    """Register every installed paradigm as ``activebmr/<name>-v0``; those that are registered already stay as they are.

    Returns:
        the ids.

    Example:
        >>> "activebmr/three-ball-v0" in register_paradigms()
        True
    """
    ids = []
    for name in paradigm_names():
        title = f"activebmr/{name}-v0"
        if title not in gymnasium.registry:
            gymnasium.register(title, entry_point="activebmr.interop.gymnasium:ParadigmEnv", kwargs={"paradigm": name})
        ids.append(title)
    return ids
