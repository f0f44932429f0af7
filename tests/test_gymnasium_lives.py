"""Gymnasium both ways: rewards and ends of worlds behind worlds, one truth for a life, one environment for an agent."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from activebmr import POMDP, Agent, GymnasiumProcess, Paradigm, Planner, simulate
from paradigms import three_ball

gymnasium = pytest.importorskip("gymnasium")
interop = pytest.importorskip("activebmr.interop.gymnasium")
GymnasiumWorld, ParadigmEnv = interop.GymnasiumWorld, interop.ParadigmEnv


def walk() -> POMDP:
    return POMDP(A=[np.eye(16)], B=[np.full((16, 16, 4), 1 / 16)], C=[4 * np.eye(16)[15]])


def lake(trial_length: int = 12, vector: bool = False) -> Paradigm:
    model = walk()
    world = GymnasiumWorld("FrozenLake-v1", model, vector=vector, is_slippery=False)
    return world.paradigm(Agent(model, planner=Planner(depth=1)), trial_length)


class Row(gymnasium.Env):
    """Three places; action 1 goes right; the last one ends it, and so does a limit of its own. Both may say so at once."""

    def __init__(self, limit: int = 10, both: bool = False):
        self.observation_space, self.action_space = gymnasium.spaces.Discrete(3), gymnasium.spaces.Discrete(2)
        self.limit, self.both, self.closed = limit, both, 0

    def reset(self, *, seed=None, options=None):
        assert options is None  # no options but for those who know them
        super().reset(seed=seed)
        self.place, self.steps = 0, 0
        return 0, {}

    def step(self, action):
        self.place, self.steps = self.place + int(action), self.steps + 1
        done = self.place == 2
        return self.place, -0.5, done, self.steps == self.limit or (self.both and done), {}

    def close(self):
        self.closed += 1


def row() -> POMDP:
    return POMDP(A=[np.eye(3)], B=[np.full((3, 3, 2), 1 / 3)])


# --- an environment of a paradigm of an environment -----------------------------------------------------------------------
@pytest.mark.parametrize("vector", [False, True])
def test_rewards_and_ends_are_passed_on(vector):
    """Six steps lead to the goal of the lake: it pays 1 and is over."""
    env = ParadigmEnv(lake(vector=vector))
    env.reset(seed=1)
    steps = [env.step(action)[:4] for action in (2, 2, 1, 1, 1, 2)]
    assert [int(seen[0]) for seen, *_ in steps] == [1, 2, 6, 10, 14, 15]
    assert [tuple(step[1:]) for step in steps] == [(0.0, False, False)] * 5 + [(1.0, True, False)]
    with pytest.raises(RuntimeError, match="step must come after reset"):
        env.step(0)
    assert env.reset()[0].tolist() == [0]
    env.close()


@pytest.mark.parametrize(("length", "limit", "both", "ends"), [
    (10, 10, False, [(False, False), (True, False)]),  # it terminates
    (10, 10, True, [(False, False), (True, False)]),  # it terminates, whatever else is said
    (10, 1, False, [(False, True)]),  # cut off by its own limit
    (2, 10, False, [(False, True)]),  # cut off by the length of the trial
    (3, 10, False, [(False, False), (True, False)]),  # it terminates with the last observation of the trial
])  # fmt: skip
@pytest.mark.parametrize("vector", [False, True])
def test_ends_are_told_from_cuts(vector, length, limit, both, ends):
    def make():
        return Row(limit, both)

    def vectors(n):
        return gymnasium.vector.SyncVectorEnv([make] * n)

    world = GymnasiumWorld(vectors if vector else make, row(), vector=vector)
    env = ParadigmEnv(world.paradigm(Agent(row(), planner=Planner(gains=())), length))
    for _ in range(2):  # the second episode like the first
        env.reset(seed=0)
        told = []
        while not told or not any(told[-1]):
            _, reward, *end, _ = env.step(1)
            told.append(tuple(end))
            assert reward == -0.5
        assert told == ends


def test_a_seeded_reset_closes_the_environments_of_the_life_before():
    made = []

    def make():
        made.append(Row())
        return made[-1]

    env = ParadigmEnv(GymnasiumWorld(make, row()).paradigm(Agent(row()), 4))
    looked = len(made)
    env.reset(seed=0)
    env.reset()
    assert [e.closed for e in made[looked:]] == [0]
    env.reset(seed=1)
    assert [e.closed for e in made[looked:]] == [1, 0]
    env.close()
    assert [e.closed for e in made] == [1] * len(made)


class Silence:
    """A world of two modalities whose second one is not seen."""

    n_uniforms, comparable = 0, False

    def reset(self, uniforms, given=None):
        return np.zeros((1, 1), dtype=int), np.array([[0, -1]])

    def step(self, controls, uniforms):
        return self.reset(uniforms)


def test_what_is_not_seen_is_worth_nothing():
    """-1 must not read the worth, nor the name, of the last outcome."""
    model = POMDP(A=[np.ones((2, 1)) / 2] * 2, B=[np.ones((1, 1, 2))])
    paradigm = Paradigm(
        "silence",
        "s",
        Agent(model),
        model,
        4,
        score={0: (2.0, 0.0), 1: (0.0, 7.0)},
        worlds=lambda seed, agents, truths: Silence(),
    )
    env = ParadigmEnv(paradigm, render_mode="ansi")
    env.reset(seed=0)
    seen, reward, *_ = env.step(0)
    assert seen.tolist() == [0, -1] and reward == 2.0
    assert env.render().endswith(": not seen")


# --- one truth for a life -------------------------------------------------------------------------------------------------
class Spy(ParadigmEnv):
    seen: list[tuple[ParadigmEnv, int, int | None]] = []

    def reset(self, **options):
        answer = super().reset(**options)
        self.seen.append((self, answer[1]["trial"], self.truth))
        return answer


@pytest.mark.parametrize("kind", ["single", "wrapped", "vector"])
def test_an_agent_lives_with_one_truth(kind):
    """`GymnasiumWorld` seeds every trial; the truth is drawn by the first seed alone, and differs between agents."""

    def make():
        env = Spy("three-ball", "paper", "random")
        return gymnasium.wrappers.TimeLimit(env, 50) if kind == "wrapped" else env

    def vectors(n):
        return gymnasium.vector.SyncVectorEnv([make] * n)

    paradigm = three_ball.paradigm("knowing", 64)
    world = GymnasiumWorld(vectors if kind == "vector" else make, paradigm.model, vector=kind == "vector")
    Spy.seen = []
    result = simulate(world.paradigm(paradigm.agent, paradigm.trial_length), 5, 4, seed=2, trace=True)
    lives = {k: [(i, truth) for e, i, truth in Spy.seen if e is k] for k, *_ in Spy.seen}
    assert len(lives) == 5
    for life in lives.values():
        assert [i for i, _ in life] == list(range(4)) and len({truth for _, truth in life}) == 1
    assert len({life[0][1] for life in lives.values()}) > 2
    alone = simulate(world.paradigm(paradigm.agent, paradigm.trial_length), 2, 4, seed=2, trace=True)
    assert_array_equal(alone.trace["outcomes"], result.trace["outcomes"][:, :2])
    balls = result.trace["outcomes"][0, :, :, 1:, 0].reshape(20, -1)
    assert len({tuple(trial) for trial in balls.tolist()}) > 4  # trials do differ


def test_a_kept_truth_is_that_of_the_first_episode():
    env, keep = ParadigmEnv("three-ball", "paper", "random"), {"keep_truth": True}
    _, first = env.reset(seed=3, options=keep)
    assert first["truth"] == ParadigmEnv("three-ball", "paper", "random").reset(seed=3)[1]["truth"]
    kept = [env.reset(seed=s, options=keep)[1] for s in range(12)]
    assert {i["truth"] for i in kept} == {first["truth"]} and [i["trial"] for i in kept] == list(range(1, 13))
    starts = [tuple(i["states"].tolist()) for i in kept]
    assert len(set(starts)) > 3  # trials are drawn by their seed
    assert [tuple(env.reset(seed=s, options=keep)[1]["states"].tolist()) for s in range(12)] == starts
    assert len({env.reset(seed=s)[1]["truth"] for s in range(12)}) > 5  # without it everything is drawn anew
    assert env.reset(seed=4, options={"truth": 7, **keep})[1]["truth"] == 7
    with pytest.raises(TypeError, match=r"options\['keep_truth'\] must be True or False; got 'yes'"):
        env.reset(options={"keep_truth": "yes"})


# --- one environment for an agent -----------------------------------------------------------------------------------------
def test_agents_do_not_share_an_environment():
    env = Row()
    vector = gymnasium.vector.SyncVectorEnv([Row])
    for shared in (lambda: env, lambda: gymnasium.wrappers.TimeLimit(env, 5)):
        with pytest.raises(ValueError, match="env must be a function that makes a new environment at each call"):
            GymnasiumWorld(shared, row())
    with pytest.raises(ValueError, match="env must be a function that makes a new environment at each call"):
        GymnasiumWorld(lambda n: vector, row(), vector=True)
    with pytest.raises(ValueError, match="env must be a function that makes a new environment at each call"):
        GymnasiumWorld(lambda n: gymnasium.vector.SyncVectorEnv([lambda: env] * n), row(), vector=True)
    with pytest.raises(ValueError, match="env must hold one environment for each agent; number 2 is number 0"):
        GymnasiumProcess([env, Row(), env], row())
    with pytest.raises(ValueError, match="env must hold one environment for each agent; number 1 is number 0"):
        GymnasiumProcess(gymnasium.vector.SyncVectorEnv([lambda: env] * 2), row())
