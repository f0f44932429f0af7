"""Gymnasium environments as worlds."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from worlds import columns

from activebmr import POMDP, Agent, GymnasiumProcess, Planner

gymnasium = pytest.importorskip("gymnasium")
spaces = gymnasium.spaces


class Rooms(gymnasium.Env):
    """Go left or right; at the third step it is over. One sees the room and the number of steps (mod 3)."""

    def __init__(self, observation_space=None, action_space=None):
        self.observation_space = observation_space or spaces.MultiDiscrete([2, 3])
        self.action_space = action_space or spaces.Discrete(2)
        self.seeds, self.actions = [], []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.room, self.steps = 0, 0
        return np.array([0, 0]), {}

    def step(self, action):
        self.actions.append(action)
        self.room, self.steps = int(np.ravel(action)[0]), self.steps + 1
        return np.array([self.room, self.steps % 3]), 1.5, self.steps == 3, False, {}


def walker(**changes) -> POMDP:
    go = np.zeros((2, 2, 2))
    go[0, :, 0] = go[1, :, 1] = 1.0
    rng = np.random.default_rng(0)
    held = {"A": [np.eye(2), columns(rng, (3, 2))], "B": [go], "D": [[1.0, 0.0]]}
    return POMDP(**(held | changes))


def test_an_agent_lives_in_an_environment():
    env = Rooms()
    world = GymnasiumProcess(env, walker(), seed=5)
    agent = Agent(walker(C=[[0.0, 4.0], None]), planner=Planner(alpha=None, gains=()))
    none = np.zeros((1, 0))
    assert world.n_uniforms == 0
    state = agent.init(1)
    states, outcomes = world.reset(none)
    assert_array_equal(states, [[-1]])  # an environment does not tell its states
    seen = [outcomes[0]]
    for _ in range(5):
        state, info = agent.step(state, outcomes)
        states, outcomes = world.step(info.controls, none)
        seen.append(outcomes[0])
    assert_array_equal(seen, [[0, 0], [1, 1], [1, 2], [1, 0], [-1, -1], [-1, -1]])  # after its end, nothing
    assert env.actions == [1, 1, 1]
    assert all(isinstance(a, int) for a in env.actions)
    assert world.reward == pytest.approx(4.5)
    assert world.ended
    world.reset(none)
    assert (world.reward, world.ended) == (0.0, False)
    assert env.seeds == [5, None]


class Nested(Rooms):
    """The same, seen as a pair of (room, (room again, number of steps)); two actions at once, of which the second is idle."""

    def __init__(self):
        super().__init__(spaces.Tuple([spaces.Discrete(2), spaces.MultiDiscrete([2, 3])]), spaces.MultiDiscrete([2, 2]))

    def reset(self, **options):
        seen, info = super().reset(**options)
        return (int(seen[0]), seen), info

    def step(self, action):
        seen, *rest = super().step(action)
        return (int(seen[0]), seen), *rest


def test_tuples_of_spaces_and_several_controlled_factors():
    go = walker().B[0]
    model = POMDP(A=[np.eye(2), np.eye(2), np.full((3, 2, 2), 1 / 3)], B=[go, go], A_dependencies=[[0], [1], [0, 1]])
    env = Nested()
    world = GymnasiumProcess(env, model)
    _, outcomes = world.reset(np.zeros((1, 0)))
    assert_array_equal(outcomes, [[0, 0, 0]])
    _, outcomes = world.step(np.array([[1, 0]]), np.zeros((1, 0)))
    assert_array_equal(outcomes, [[1, 1, 1]])
    assert_array_equal(env.actions[0], [1, 0])


def test_an_environment_that_does_not_keep_to_its_space_is_noticed():
    env = Rooms(spaces.Tuple([spaces.Discrete(2), spaces.MultiDiscrete([2, 3])]), spaces.MultiDiscrete([2, 2]))
    model = POMDP(A=[np.eye(2), np.eye(2), np.full((3, 2), 1 / 3)], B=[walker().B[0]] * 2, A_dependencies=[[0], [1], [0]])
    with pytest.raises(ValueError, match="observation of the environment must hold 3 numbers; got"):
        GymnasiumProcess(env, model).reset(np.zeros((1, 0)))


@pytest.mark.parametrize(
    "env, message",
    [
        (
            Rooms(spaces.MultiDiscrete([2, 4])),
            r"observation space must have \[2, 3\] outcomes like the model's modalities; got \[2, 4\]",
        ),
        (Rooms(spaces.Discrete(2)), r"observation space must have \[2, 3\] outcomes like the model's modalities; got \[2\]"),
        (
            Rooms(action_space=spaces.Discrete(3)),
            r"action space must have \[2\] actions like the model's controlled factors; got \[3\]",
        ),
        (Rooms(spaces.Box(0, 1)), r"observation space must be Discrete, MultiDiscrete, or a Tuple or Dict of these; got Box"),
        (
            Rooms(action_space=spaces.Box(0, 1)),
            "action space must be Discrete, MultiDiscrete, or a Tuple or Dict of these; got Box",
        ),
        (
            Rooms(spaces.MultiBinary(2)),
            "observation space must be Discrete, MultiDiscrete, or a Tuple or Dict of these; got MultiBinary",
        ),
    ],
)
def test_spaces_must_match_the_model(env, message):
    with pytest.raises(ValueError, match=message):
        GymnasiumProcess(env, walker())


class FromFive(Rooms):
    """Counts rooms and steps from 5, and calls its actions 1 and 2."""

    def __init__(self):
        super().__init__(spaces.MultiDiscrete([2, 3], start=[5, 5]), spaces.Discrete(2, start=1))

    def reset(self, **options):
        seen, info = super().reset(**options)
        return seen + 5, info

    def step(self, action):
        seen, *rest = super().step(action - 1)
        return seen + 5, *rest


def test_spaces_may_start_anywhere():
    env = FromFive()
    world = GymnasiumProcess(env, walker())
    _, first = world.reset(np.zeros((1, 0)))
    _, second = world.step(np.array([[1]]), np.zeros((1, 0)))
    assert_array_equal([first[0], second[0]], [[0, 0], [1, 1]])
    assert env.actions == [1]


def test_without_gymnasium_the_error_says_what_to_install(monkeypatch):
    for name in ("gymnasium", "gymnasium.vector"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"GymnasiumProcess needs gymnasium: pip install -e '\.\[gym\]'"):
        GymnasiumProcess(Rooms(), walker())
