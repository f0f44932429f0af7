"""The tasks of pymdp's tutorials, built from what they are, and lived through by both: the same beliefs, values and choices.

pymdp takes preferences C as they are; here they are normalised, log softmax(C), so each step of a policy is worth the sum over
modalities of log sum exp(C) less: one `constant` for all policies, which no choice depends on. pymdp sums information gain
over modalities (``modalities="separate"``). Its beliefs are a fixed-point iteration over factors; in these worlds agents see
where they are, which leaves nothing that couples the factors, so it arrives where exact inference is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from test_pymdp_parity import CLOSE, constant, x64  # noqa: F401 (a fixture)

from activebmr import POMDP, Agent, ModelProcess, Planner

Array = NDArray[np.float64]


def walks(shape: tuple[int, int], moves: Sequence[tuple[int, int]], walls: Sequence[int] = (), success: float = 1.0) -> Array:
    """Transitions on a grid: a move out of it, or into a wall, or that fails, leaves one where one is."""
    rows, columns = shape
    b = np.zeros((rows * columns, rows * columns, len(moves)))
    for here, (u, (down, right)) in ((h, m) for h in range(rows * columns) for m in enumerate(moves)):
        row, column = here // columns + down, here % columns + right
        inside = 0 <= row < rows and 0 <= column < columns
        to = row * columns + column if inside and row * columns + column not in walls else here
        b[to, here, u] += success
        b[here, here, u] += 1 - success
    return b


STILL = np.eye(2)[:, :, None]
NORTH, EAST, SOUTH, WEST, STAY = (-1, 0), (0, 1), (1, 0), (0, -1), (0, 0)


def only_at(places: dict[int, Array], n_places: int, n_outcomes: int) -> Array:
    """A likelihood that says nothing (outcome 0) but at some places; there ``(n_outcomes, S_1, ...)``."""
    a = np.zeros((n_outcomes, n_places, *next(iter(places.values())).shape[1:]))
    a[0] = 1.0
    for place, said in places.items():
        a[:, place] = said
    return a


def t_maze(cue: float = 0.95, won: float = 0.9, lost: float = 0.8, length: int = 2) -> POMDP:
    """Centre, left arm, right arm, cue, and a crossing between centre and arms; one step leads to a neighbour."""
    hint = np.array([[0.0, 0.0], [cue, 1 - cue], [1 - cue, cue]])
    left = np.array([[1 - won, 1 - lost], [won, 0.0], [0.0, lost]])
    beside = {0: (3, 4), 1: (4,), 2: (4,), 3: (0,), 4: (0, 1, 2)}
    move = np.zeros((5, 5, 5))
    for here, goal in np.ndindex(5, 5):
        move[goal if goal in beside[here] else here, here, goal] = 1.0
    return POMDP(
        A=[np.eye(5), only_at({1: left, 2: left[:, ::-1]}, 5, 3), only_at({3: hint}, 5, 3)],
        B=[move, STILL],
        C=[None, [0.0, 2.0, -3.0], None],
        D=[np.eye(5)[0], [0.5, 0.5]],
        A_dependencies=[[0], [0, 1], [0, 1]],
        policy_length=length,
    )


def simplified_t_maze(cue: float = 0.95, won: float = 1.0) -> POMDP:
    """Centre, left, right, cue; any place in one step; the cue is told by how its place looks (two looks)."""
    place = np.zeros((5, 4, 2))
    for here in range(3):
        place[here, here] = 1.0
    place[3:, 3] = [[cue, 1 - cue], [1 - cue, cue]]
    left = np.array([[1 - won, 1 - won], [won, 0.0], [0.0, won]])
    return POMDP(
        A=[place, only_at({1: left, 2: left[:, ::-1]}, 4, 3)],
        B=[np.stack([np.repeat(np.eye(4)[goal][:, None], 4, axis=1) for goal in range(4)], axis=2), STILL],
        C=[None, [0.0, 2.0, -2.0]],
        D=[np.eye(4)[0], [0.5, 0.5]],
    )


def cue_chaining(length: int = 4) -> POMDP:
    """A grid of 5 x 7: the first cue tells where the second one is, that one tells which of two places holds the reward."""
    at = lambda row, column: 7 * row + column  # noqa: E731
    first, second, rewards = at(2, 0), [at(0, 2), at(1, 3), at(3, 3), at(4, 2)], [at(1, 5), at(3, 5)]
    tells_where = only_at({first: np.eye(5)[:, 1:]}, 35, 5)
    tells_what = np.zeros((3, 35, 4, 2))
    tells_what[0] = 1.0
    for i, place in enumerate(second):
        tells_what[:, place, i] = np.eye(3)[:, 1:]
    gives = only_at({p: np.eye(3)[:, [1 + (i != 0), 1 + (i != 1)]] for i, p in enumerate(rewards)}, 35, 3)
    return POMDP(
        A=[np.eye(35), tells_where, tells_what, gives],
        B=[walks((5, 7), [NORTH, SOUTH, WEST, EAST, STAY]), np.eye(4)[:, :, None], STILL],
        C=[None, None, None, [0.0, 2.0, -4.0]],
        D=[np.eye(35)[0], None, None],
        A_dependencies=[[0], [0, 1], [0, 1, 2], [0, 2]],
        policy_length=length,
    )


def grid_world(side: int, goal: int, walls: Sequence[int] = (), success: float = 1.0, length: int = 1) -> POMDP:
    """A grid with walls on which one sees where one is, and wants to be closer to a goal."""
    n = side * side
    start = np.array([float(s not in walls) for s in range(n)])
    far = np.abs(np.array(np.divmod(np.arange(n), side)) - np.array([np.divmod(goal, side)]).T).sum(axis=0)
    return POMDP(
        A=[np.eye(n)],
        B=[walks((side, side), [NORTH, EAST, SOUTH, WEST, STAY], walls, success)],
        C=[-1.0 * far],
        D=[start / start.sum()],
        policy_length=length,
    )


# places of each set: its cue, its first and its second place for the reward; rows and columns count from 0
SETS = [((2, 1), (0, 0), (1, 0)), ((2, 3), (1, 4), (0, 4)), ((3, 2), (4, 1), (4, 3))]


def generalised_t_maze(length: int = 3, wants: int = 2) -> POMDP:
    """A grid of 5 x 5 with three cues, each of which tells in which of two places its own reward is; one reward is wanted."""
    index = lambda place: 5 * place[0] + place[1]  # noqa: E731
    cues = [only_at({index(cue): np.eye(3)[:, 1:]}, 25, 3) for cue, _, _ in SETS]
    gives = [only_at({index(a): np.eye(3)[:, [1, 2]], index(b): np.eye(3)[:, [2, 1]]}, 25, 3) for _, a, b in SETS]
    return POMDP(
        A=[np.eye(25), *cues, *gives],
        B=[walks((5, 5), [NORTH, SOUTH, WEST, EAST, STAY]), STILL, STILL, STILL],
        C=[None] * 4 + [[0.0, 2.0, -3.0] if i == wants else None for i in range(3)],
        D=[np.eye(25)[12], None, None, None],
        A_dependencies=[[0], *[[0, 1 + i] for i in range(3)] * 2],
        policy_length=length,
    )


@dataclass(frozen=True)
class Task:
    """A world, where in it one acts by script (places to go to by control), and settings."""

    make: Callable[[], POMDP]
    script: Sequence[int] = ()
    gamma: float = 1.0
    steps: int = 8


TASKS = {
    "T-maze": Task(t_maze, script=[3, 0, 4, 1, 4, 2], gamma=4.0),
    "T-maze, three steps": Task(partial(t_maze, 0.8, 1.0, 1.0, 3), script=[4, 1, 4, 0, 3]),
    "simplified T-maze": Task(simplified_t_maze, script=[3, 3, 1, 0, 2]),
    "cue chaining": Task(cue_chaining, script=[1, 1, 3, 3, 3, 0, 3], steps=10),
    "grid world": Task(partial(grid_world, 3, 8), gamma=2.0),
    "grid world with walls": Task(partial(grid_world, 5, 24, (6, 7, 12, 18), 0.9, 4), script=[1, 2, 0, 4, 1, 2]),
    "generalised T-maze": Task(generalised_t_maze, script=[2, 0, 0, 1, 2]),
}


# --- both ----------------------------------------------------------------------------------------------------------------
def in_pymdp(model: POMDP, **options: Any) -> Any:
    """pymdp's agent from plain arrays, not by way of `to_pymdp`."""
    import jax.numpy as jnp
    from pymdp.agent import Agent as PymdpAgent

    arrays = {k: [jnp.asarray(np.array(x)) for x in getattr(model, k)] for k in ("A", "B", "C", "D")}
    dependencies = {k: [list(d) for d in getattr(model, k)] for k in ("A_dependencies", "B_dependencies")}
    policies = jnp.asarray(np.array(model.policies), dtype=jnp.int32)
    return PymdpAgent(**arrays, **dependencies, policies=policies, policy_len=model.policy_length, **options)


def compiled() -> Callable[..., Any]:
    import equinox

    @equinox.filter_jit
    def step(agent: Any, outcome: Any, prior: Any) -> Any:
        qs = agent.infer_states(outcome, prior)
        q_pi, neg_efe = agent.infer_policies(qs)
        return qs, q_pi, neg_efe

    return step


def planner_for(task: Task, **changes: Any) -> Planner:
    settings = {"gains": ("state",), "gamma": task.gamma, "alpha": None, "modalities": "separate"}
    return Planner(**(settings | changes))


@pytest.mark.parametrize("name", TASKS)
def test_beliefs_values_and_choices_are_pymdps(x64: Any, name: str) -> None:  # noqa: F811
    """Along a script that leads to cues and rewards, and then as the agent likes; with exact and with pymdp's own beliefs."""
    import jax.numpy as jnp

    task, rng = TASKS[name], np.random.default_rng(len(name))
    model = task.make()
    theirs, step = in_pymdp(model, gamma=task.gamma), compiled()
    agents = [Agent(model, planner=planner_for(task), inference=i) for i in ("exact", "mean-field")]
    world, states, prior = ModelProcess(model), [agent.init() for agent in agents], theirs.D
    _, outcomes = world.reset(rng.random((1, world.n_uniforms)))
    for t in range(task.steps):
        qs, q_pi, neg_efe = step(theirs, [jnp.array([[o]]) for o in outcomes[0]], prior)
        action = [task.script[t], *[0] * (model.num_factors - 1)] if t < len(task.script) else None
        for k, agent in enumerate(agents):
            states[k], info = agent.step(states[k], outcomes[0], rng, action=action)
            for mine, q in zip(info.qs, qs, strict=True):
                assert_allclose(mine, q[0, -1], **CLOSE)
            assert_allclose(info.neg_efe, neg_efe[0] - constant(model), **CLOSE)
            assert_allclose(info.q_pi, q_pi[0], **CLOSE)
            if action is None:  # the best of all, or as good as the best
                assert q_pi[0, info.policy] >= q_pi[0].max() - 1e-9
                action = info.controls
        _, outcomes = world.step(np.atleast_2d(action), rng.random((1, world.n_uniforms)))
        prior = theirs.update_empirical_prior(jnp.atleast_2d(jnp.asarray(action)), qs)


@pytest.mark.parametrize(("depth", "nodes"), [(1, 128), pytest.param(2, 1200, marks=pytest.mark.slow)])
def test_the_simplified_t_maze_by_sophisticated_inference(depth: int, nodes: int) -> None:
    """pymdp's tree search with nothing cut off, two and three steps deep, in float32: it fails in float64."""
    import jax.numpy as jnp
    from pymdp.planning.si import si_policy_search

    model = simplified_t_maze().with_(C=[None, [0.0, 2.0, -3.0]])
    theirs = in_pymdp(model)
    qs = theirs.infer_states([jnp.array([[0]]), jnp.array([[0]])], theirs.D)
    nothing = {"policy_prune_threshold": 0.0, "observation_prune_threshold": 1e-9, "entropy_stop_threshold": -1.0}
    q_pi, _ = si_policy_search(horizon=depth + 1, max_nodes=nodes, max_branching=16, **nothing)(theirs, qs)
    ours = Agent(model, planner=Planner(depth=depth, gains=("state",), modalities="separate", alpha=None))
    _, info = ours.step(ours.init(), [0, 0])
    assert_allclose(info.q_pi, q_pi[0], rtol=0, atol=2e-5)


@pytest.mark.slow
def test_the_worlds_are_pymdps(x64: Any) -> None:  # noqa: F811
    """The arrays of pymdp's environments; which of two places rewards is not known to the agent, as it is to the world."""
    import jax
    from pymdp.envs.cue_chaining import CueChainingEnv
    from pymdp.envs.generalized_tmaze import GeneralizedTMazeEnv, get_maze_matrix, parse_maze
    from pymdp.envs.grid_world import GridWorld
    from pymdp.envs.tmaze import SimplifiedTMaze, TMaze

    walls = [divmod(w, 5) for w in (6, 7, 12, 18)]
    pairs = {
        "T-maze": TMaze(cue_validity=0.95, reward_probability=0.9, punishment_probability=0.8),
        "simplified T-maze": SimplifiedTMaze(cue_validity=0.95),
        "cue chaining": CueChainingEnv(),
        "grid world": GridWorld(shape=(3, 3)),
        "grid world with walls": GridWorld(shape=(5, 5), walls=walls, success_prob=0.9),
        "generalised T-maze": GeneralizedTMazeEnv(parse_maze(get_maze_matrix(), jax.random.PRNGKey(0))),
    }
    for name, env in pairs.items():
        model = TASKS[name].make()
        assert [list(d) for d in model.A_dependencies] == env.A_dependencies or name == "simplified T-maze"
        for letter in "ABD":
            for mine, theirs in zip(getattr(model, letter), getattr(env, letter), strict=True):
                if letter == "D" and name == "generalised T-maze" and len(mine) == 2:
                    assert_allclose(mine, 0.5)
                else:
                    assert_allclose(mine, theirs, rtol=0, atol=1e-7)
