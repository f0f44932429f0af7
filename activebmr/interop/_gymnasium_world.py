"""`GymnasiumWorld`: Gymnasium environments as the world of a paradigm, one for each agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from activebmr import checks
from activebmr.agent.agent import Agent
from activebmr.arrays import Ints
from activebmr.model.pomdp import POMDP
from activebmr.simulation.environments import DiscreteSpace, GymnasiumProcess, members
from activebmr.simulation.paradigm import Paradigm

__all__ = ["GymnasiumWorld"]


class GymnasiumWorld:
    """A world for `simulate` that is a Gymnasium environment with discrete spaces, made anew for every agent.

    Spaces are ``Discrete``, ``MultiDiscrete``, or a ``Tuple`` or ``Dict`` of these; their parts, in order, are the model's
    modalities and its controlled factors. Trials are episodes: each one is seeded by the random numbers of its agent and trial,
    and may end before its time. From then on nothing is seen and nothing is learned. Rewards count as the score: positive ones
    as wins, negative ones as losses. In environments of paradigms (`ParadigmEnv`) the seed of a trial draws no truth: each
    agent lives with the truth that its first trial drew.

    Agents that learn transitions or habits, smooth, sleep or compare hypotheses live one by one, as trials of a batch may end
    at different times; others live in batches.

    Args:
        env: an id (``"FrozenLake-v1"``), or a function without arguments that makes an environment, a new one at each call.
        model: the agents' model, whose sizes must be those of the environment's spaces; its tables are what the agents assume,
            not what the environment does.
        vector: make one vector of environments for a batch (``gymnasium.make_vec``, or ``env`` as a function of the number of
            environments) instead of a list of single ones.
        **options: of ``gymnasium.make``, for an id.

    Raises:
        ImportError: if gymnasium is not installed (``pip install -e '.[gym]'``).
        TypeError, ValueError: if there is no such environment, its spaces do not fit the model, or the function gives the same
            environment again.

    Example:
        >>> import numpy as np
        >>> from activebmr import POMDP, Agent, Planner, simulate
        >>> model = POMDP(A=[np.eye(16)], B=[None], pB=[np.full((16, 16, 4), 0.1)], C=[np.eye(16)[15] * 4])
        >>> lake = GymnasiumWorld("FrozenLake-v1", model, is_slippery=False)
        >>> result = simulate(lake.paradigm(Agent(model, planner=Planner(depth=2)), trial_length=20), n_agents=4, n_trials=10)
        >>> result.wins.shape
        (1, 4, 10)
    """

    ends_early, rewarding, comparable = True, True, False

    def __init__(self, env: str | Callable[..., Any], model: POMDP, *, vector: bool = False, **options: Any) -> None:
        try:
            import gymnasium  # noqa: F401
        except ImportError as error:
            raise ImportError("GymnasiumWorld needs gymnasium: pip install -e '.[gym]'") from error
        if not isinstance(env, str) and not callable(env):
            raise TypeError(f"env must be the id of an environment or a function that makes one; got {env!r}")
        if options and not isinstance(env, str):
            raise ValueError(f"options must not be given beside a function that makes environments; got {sorted(options)}")
        if not isinstance(model, POMDP):
            raise TypeError(f"model must be a POMDP; got {model!r}")
        self.env, self.model, self.vector, self.options = env, model, checks.flag(vector, "vector"), options
        first = self._process(1)  # whether all of it fits together is found out now
        if not isinstance(env, str):
            self._check_new(first)
        first.close()

    @property
    def name(self) -> str:
        return self.env if isinstance(self.env, str) else getattr(self.env, "__name__", type(self.env).__name__)

    def __repr__(self) -> str:
        return f"GymnasiumWorld({self.name!r}, {self.model!r})"

    def __call__(self, seed: int, agents: Ints, truths: Ints | None = None) -> GymnasiumProcess:
        """The environments of some agents, as `Paradigm.worlds` has it."""
        return self._process(len(agents))

    def _check_new(self, first: GymnasiumProcess) -> None:
        """Agents that shared an environment would step each other's world, and a closed one would go on to the next batch."""
        second = self._process(1)
        old = {id(env) for env in [first.env, *members(first.env)]}
        for env in [second.env, *members(second.env)]:
            if id(env) in old:
                raise ValueError(f"env must be a function that makes a new environment at each call; got one twice: {env!r}")
        second.close()

    def _process(self, n: int) -> GymnasiumProcess:
        import gymnasium

        envs: Any
        if self.vector:
            envs = self.env(n) if callable(self.env) else _made(gymnasium.make_vec, self.env, {"num_envs": n, **self.options})
            if not isinstance(envs, gymnasium.vector.VectorEnv) or envs.num_envs != n:
                raise TypeError(f"env must make a gymnasium.vector.VectorEnv of {n} environments; got {envs!r}")
        else:
            make = self.env if callable(self.env) else lambda: _made(gymnasium.make, self.env, self.options)
            envs = [make() for _ in range(n)]
            if not isinstance(envs[0], gymnasium.Env):
                raise TypeError(f"env must make a gymnasium.Env; got {envs[0]!r}")
        return GymnasiumProcess(envs, self.model, chance=True)

    @checks.checked(agent=checks.an(Agent), name=checks.optional(checks.text), scheme=checks.text)
    def paradigm(
        self,
        agent: Agent,
        trial_length: int,
        *,
        name: str | None = None,
        scheme: str = "agent",
        measures: Mapping[str, Any] | None = None,
    ) -> Paradigm:
        """The world as an experiment.

        Args:
            agent: the agents; their model must have the sizes of the world's.
            trial_length: observations of an episode at most, the first one included; agents do not plan beyond.
            name: of the paradigm; that of the environment by default.
            scheme: name of the way its agents reason.
            measures: see `Paradigm`.

        Raises:
            ValueError, TypeError: see `Paradigm`.
        """
        settings = {"env": self.name, "vector": self.vector, **{k: v for k, v in self.options.items() if k != "vector"}}
        title = name if name is not None else self.name.split("/")[-1].split(":")[-1]
        return Paradigm(
            title, scheme, agent, self.model, trial_length, settings=settings, worlds=self, measures=dict(measures or {})
        )

    @staticmethod
    def sizes(env: Any) -> tuple[list[int], list[int]]:
        """Numbers of outcomes of each modality and of controls of each controlled factor that a model of an environment needs.

        Args:
            env: an environment, or the id of one.

        Raises:
            ValueError: if a space is not discrete.

        Example:
            >>> GymnasiumWorld.sizes("FrozenLake-v1")
            ([16], [4])
        """
        import gymnasium

        if not isinstance(env, str) and not hasattr(env, "observation_space"):
            raise TypeError(f"env must be an environment of Gymnasium, or the id of one; got {checks.brief(env)}")
        made = _made(gymnasium.make, env, {}) if isinstance(env, str) else env
        seen, done = DiscreteSpace(made.observation_space, "observation"), DiscreteSpace(made.action_space, "action")
        if isinstance(env, str):
            made.close()
        return seen.sizes, done.sizes


def _made(make: Callable[..., Any], name: Any, options: Mapping[str, Any]) -> Any:
    """What gymnasium makes of an id."""
    from gymnasium.error import Error

    try:
        return make(name, **options)
    except Error as error:
        raise ValueError(f"env must be the id of a Gymnasium environment; got {name!r}: {error}") from error
