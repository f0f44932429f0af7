"""Gymnasium both ways: environments as worlds of simulations, and paradigms as environments."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import POMDP, Agent, GymnasiumProcess, Introspection, Learning, Paradigm, Planner, SingleParameters, simulate
from activebmr.simulation.environments import DiscreteSpace
from paradigms import three_ball

gymnasium = pytest.importorskip("gymnasium")
spaces = gymnasium.spaces
interop = pytest.importorskip("activebmr.interop.gymnasium")
GymnasiumWorld, ParadigmEnv = interop.GymnasiumWorld, interop.ParadigmEnv


class Corridor(gymnasium.Env):
    """Places 0..3 in a row; action 1 goes right, 0 stays; at place 3 it is over, and pays 1. A slip of chance ends it too."""

    def __init__(self, slips: float = 0.0):
        self.observation_space, self.action_space, self.slips = spaces.Discrete(4), spaces.Discrete(2), slips
        self.closed = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return 0, {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.place += action
        slipped = self.np_random.random() < self.slips
        return self.place, float(self.place == 3), self.place == 3, bool(slipped), {}

    def close(self):
        self.closed += 1


def right(n=4):
    move = np.zeros((n, n, 2))
    move[:, :, 0] = np.eye(n)
    move[[*range(1, n), n - 1], range(n), 1] = 1.0
    return move


def corridor(**held) -> POMDP:
    return POMDP(**({"A": [np.eye(4)], "B": [right()], "C": [[0, 0, 0, 3.0]], "D": [np.eye(4)[0]]} | held))


def walker(model, **options) -> Agent:
    return Agent(model, planner=Planner(gains=(), alpha=None, depth=2), **options)


# --- worlds ---------------------------------------------------------------------------------------------------------------
def test_a_simulation_in_an_environment():
    """Who goes right all the time is there after three steps; then the trial is over, and no measure has anything of later."""
    model = corridor()
    result = simulate(GymnasiumWorld(Corridor, model).paradigm(walker(model), 10), 5, 3, trace=True)
    assert_array_equal(result.wins, 1)
    assert_array_equal(result.score, 3.0)
    assert_array_equal(result.trace["outcomes"][0, :, :, :, 0], np.broadcast_to([0, 1, 2, 3] + [-1] * 6, (5, 3, 10)))
    assert_array_equal(np.isnan(result.trace["free_energy"][0, 0, 0]), np.arange(10) > 3)
    assert_allclose(result.free_energy, np.nansum(result.trace["free_energy"], axis=-1), atol=1e-12)
    assert "kl_to_truth" not in result and "model_posterior" not in result and "wins" in result
    assert result.settings["paradigm"] == "Corridor"


@pytest.mark.parametrize(
    "change",
    [
        {"B": [None], "pB": [0.5 * right() + 0.1]},
        {"pE": [np.ones(2)], "E": None},
        {"A": [None], "pA": [np.eye(4) + 0.1]},
        {"D": [None], "pD": [np.ones(4)]},
    ],
    ids=["transitions", "habits", "likelihood", "start"],
)
@pytest.mark.parametrize("learning", [{}, {"smooth": True}, {"at_end": True}], ids=["at once", "smooth", "at end"])
def test_nothing_is_learned_after_the_end(change, learning):
    """Counts grow by one for each observation, move or beginning that there was, and not for the rest of the trial."""
    model = corridor(**change)
    agent = walker(model, learning=Learning(**learning))
    result = simulate(GymnasiumWorld(lambda: Corridor(0.2), model).paradigm(agent, 12), 6, 4, seed=1, trace=True)
    lived = (result.trace["outcomes"][0, ..., 0] >= 0).sum(axis=-1)  # observations of each agent and trial
    assert lived.min() < lived.max() < 12
    kind = next(k for k in ("pA", "pB", "pD", "pE") if k in change)
    name = next(n for n in result.trace if n.startswith(kind))
    added = {"pA": lived, "pD": np.ones_like(lived)}.get(kind, lived - 1)
    total = result.trace[name][0].reshape(*lived.shape, -1).sum(axis=-1)
    assert_allclose(total, np.sum(change[kind][0]) + added.cumsum(axis=1), rtol=1e-9)


@pytest.mark.parametrize("own", [{}, {"B": [None], "pB": [0.5 * right() + 0.1]}, {"A": [None], "pA": [np.eye(4) + 0.1]}])
def test_numbers_depend_neither_on_other_agents_nor_on_jobs(own):
    model = corridor(**own)
    agent = Agent(model, planner=Planner(gains=("param",)))
    paradigm = GymnasiumWorld(SlippyCorridor, model).paradigm(agent, 8)
    few, many, jobs = simulate(paradigm, 3, 4, 5), simulate(paradigm, 7, 4, 5), simulate(paradigm, 7, 4, 5, jobs=2)
    for name, array in few.measures.items():
        assert_array_equal(many[name][:, :3], array, err_msg=name)
        assert_array_equal(jobs[name], many[name], err_msg=name)
    assert len({tuple(row) for row in many.confidence[0].round(9).tolist()}) > 1  # lives differ


class SlippyCorridor(Corridor):
    def __init__(self):
        super().__init__(0.3)


def test_sleep_does_not_see_what_there_was_not():
    """An agent that remembers its trials lives alone, and remembers them as long as they were."""
    model = corridor(A=[None], pA=[np.eye(4) + 0.1])
    agent = walker(model, introspection=Introspection(SingleParameters(), dream="remembered"))
    result = simulate(GymnasiumWorld(SlippyCorridor, model).paradigm(agent, 9), 3, 3, trace=True)
    assert np.isfinite(result.free_energy).all()


@pytest.mark.parametrize("kind", ["discrete", "tuple"])
def test_vectors_of_environments_are_the_same_world(kind):
    """The same seeds in one vector, of which some have ended and are reset within, or in single environments."""
    make = SlippyCorridor if kind == "discrete" else TwoThings
    model = corridor(C=[[0, 0, 0, 0.5]]) if kind == "discrete" else two_things_model()
    agent = Agent(model, planner=Planner(gains=()))
    single = GymnasiumWorld(make, model)
    vector = GymnasiumWorld(lambda n: gymnasium.vector.SyncVectorEnv([make] * n), model, vector=True)
    one, other = (simulate(w.paradigm(agent, 8), 6, 5, seed=2, trace=True) for w in (single, vector))
    for name in one.trace:
        assert_array_equal(other.trace[name], one.trace[name], err_msg=name)
    assert_array_equal(other.score, one.score)
    assert (one.trace["outcomes"] < 0).any()


class TwoThings(gymnasium.Env):
    """A dict of a place and of signs is seen, a tuple of a direction and a shout is done; it ends when both are 1."""

    def __init__(self):
        self.observation_space = spaces.Dict({"place": spaces.Discrete(2, start=3), "signs": spaces.MultiDiscrete([2, 3])})
        self.action_space = spaces.Tuple((spaces.Discrete(2), spaces.MultiDiscrete([2])))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"place": 3, "signs": np.array([int(self.np_random.integers(2)), 0])}, {}

    def step(self, action):
        assert self.action_space.contains(action), action
        go, shout = action[0], int(action[1][0])
        return {"place": 3 + go, "signs": np.array([shout, 2])}, -1.0, bool(go and shout), False, {}


def two_things_model() -> POMDP:
    go = np.repeat(np.eye(2)[:, None, :], 2, axis=1)
    third = np.full((3, 2, 2), 1 / 3)
    return POMDP(A=[np.eye(2), np.eye(2), third], B=[go, go], A_dependencies=[[0], [1], [0, 1]])


def test_spaces_read_and_write_what_they_hold():
    deep = spaces.Dict({"b": spaces.Tuple((spaces.Discrete(3, start=-1), spaces.MultiDiscrete([[2, 2], [4, 2]]))),
                        "a": spaces.Discrete(5)})  # fmt: skip
    space = DiscreteSpace(deep, "observation")
    rng = np.random.default_rng(0)
    for _ in range(20):
        row = rng.integers(space.sizes)
        member = space.write(row)
        assert deep.contains(member)
        assert_array_equal(space.read(member), row)
    deep.seed(0)
    assert_array_equal(space.write(space.read(deep.sample()))["a"] >= 0, True)


def test_what_lies_outside_of_a_space_is_noticed():
    space = DiscreteSpace(spaces.Discrete(3, start=1), "observation")
    for value, message in ((0, r"must lie in 1\.\.3 .* got 0"), (4, r"must lie in 1\.\.3"), (1.5, "must hold 1 numbers")):
        with pytest.raises(ValueError, match=f"observation of the environment {message}"):
            space.read(value)


def test_environments_are_closed_when_a_batch_is_over():
    made = []

    def make():
        made.append(Corridor())
        return made[-1]

    model = corridor()
    simulate(GymnasiumWorld(make, model).paradigm(walker(model), 5), 3, 2)
    assert len(made) == 5 and all(env.closed == 1 for env in made)  # two to look at the spaces, and one per agent


def test_an_id_and_its_options_reach_gymnasium():
    model = POMDP(A=[np.eye(16)], B=[np.full((16, 16, 4), 1 / 16)])
    world = GymnasiumWorld("FrozenLake-v1", model, map_name="4x4", is_slippery=False)
    assert GymnasiumWorld.sizes("FrozenLake-v1") == ([16], [4])
    result = simulate(world.paradigm(Agent(model), 6), 2, 2)
    assert result.settings["schemes"]["agent"]["map_name"] == "4x4"
    with pytest.raises(ValueError, match="env must be the id of a Gymnasium environment; got 'FrozenLaki-v1'"):
        GymnasiumWorld("FrozenLaki-v1", model)
    with pytest.raises(ValueError, match=r"observation space must have \[4\] outcomes like the model's modalities; got \[16\]"):
        GymnasiumWorld("FrozenLake-v1", corridor())
    with pytest.raises(ValueError, match="observation space must be Discrete, MultiDiscrete, or a Tuple or Dict of these"):
        GymnasiumWorld("Pendulum-v1", corridor())
    with pytest.raises(TypeError, match="env must be the id of an environment or a function that makes one; got 3"):
        GymnasiumWorld(3, model)
    with pytest.raises(ValueError, match=r"options must not be given beside a function .*\['slips'\]"):
        GymnasiumWorld(Corridor, corridor(), slips=0.5)
    with pytest.raises(TypeError, match=r"env must make a gymnasium\.Env; got None"):
        GymnasiumWorld(lambda: None, model)


def test_worlds_that_may_end_must_say_so():
    """A bare function instead of `GymnasiumWorld`: agents that would learn on are refused, not let learn in silence."""
    model = corridor(B=[None], pB=[0.5 * right() + 0.1])
    make = lambda seed, agents, truths: GymnasiumProcess([Corridor() for _ in agents], model, chance=True)  # noqa: E731
    with pytest.raises(ValueError, match="worlds of Paradigm must say ends_early = True"):
        simulate(Paradigm("corridor", "s", Agent(model), model, 5, worlds=make), 3, 2)


def test_batches_of_environments_have_one_space():
    with pytest.raises(ValueError, match="env must hold environments with the same spaces; those of number 1 differ"):
        GymnasiumProcess([Corridor(), TwoThings()], corridor())
    with pytest.raises(ValueError, match="env must be an environment or a list of them; got an empty list"):
        GymnasiumProcess([], corridor())
    same_step = gymnasium.vector.SyncVectorEnv([Corridor], autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP)
    with pytest.raises(ValueError, match="env must be a vector that resets at the next step"):
        GymnasiumProcess(same_step, corridor())


# --- paradigms as environments -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["bandit", "causal", "how-many", "insight", "maze", "t-maze", "three-ball"])
def test_every_paradigm_passes_gymnasiums_checker(name):
    from gymnasium.utils.env_checker import check_env

    env = gymnasium.make(f"activebmr/{name}-v0")
    check_env(env.unwrapped)  # warnings are errors here
    rng = np.random.default_rng(0)
    for _ in range(2):
        seen, _ = env.reset(seed=0)
        steps, over = 0, False
        while not over:
            seen, reward, over, cut, info = env.step(rng.integers(env.action_space.nvec) if hasattr(env.action_space, "nvec")
                                                     else int(rng.integers(env.action_space.n)))  # fmt: skip
            steps += 1
            assert env.observation_space.contains(seen) and not cut
        assert steps == env.unwrapped.paradigm.trial_length - 1


def test_an_environment_is_the_paradigms_world():
    """Outcomes, states and rewards are those of the world's process for the same random numbers."""
    paradigm = three_ball.paradigm("paper", 64)
    env = ParadigmEnv(paradigm)
    seen, info = env.reset(seed=11)
    rng = np.random.default_rng(np.random.PCG64(np.random.SeedSequence(11)))
    life = int(rng.integers(2**31 - 1))
    process = paradigm.world(life, np.zeros(1, dtype=int))
    states, outcomes = process.reset(rng.random((1, process.n_uniforms)))
    assert_array_equal(seen, outcomes[0])
    assert_array_equal(info["states"], states[0])
    total, ends = 0.0, []
    for gaze, choice in ((1, 3), (0, 3), (2, 3), (3, 0), (3, 1)):
        seen, reward, over, _, info = env.step([gaze, choice])
        states, outcomes = process.step(np.array([[0, 0, 0, gaze, choice]]), rng.random((1, process.n_uniforms)))
        assert_array_equal(seen, outcomes[0])
        assert reward == {0: 0.0, 1: 1.0, 2: -1.0}[int(seen[2])]
        total += reward
        ends.append(over)
    assert ends == [False] * 4 + [True] and total in (-2, 0, 2)
    with pytest.raises(RuntimeError, match="step must come after reset"):
        env.step([0, 0])


def test_truths_last_until_the_environment_is_seeded():
    env = ParadigmEnv("three-ball", "paper", "random")
    truths = {env.reset(seed=s)[1]["truth"] for s in range(12)}
    assert len(truths) > 5
    _, first = env.reset(seed=3)
    again = [env.reset()[1] for _ in range(3)]
    assert [i["truth"] for i in again] == [first["truth"]] * 3 and [i["trial"] for i in again] == [1, 2, 3]
    assert env.reset(options={"truth": 7})[1]["truth"] == 7 == env.reset()[1]["truth"]
    with pytest.raises(ValueError, match="truth must be 'random'"):
        env.reset(options={"truth": 81})
    with pytest.raises(ValueError, match=r"options must hold 'truth' or 'keep_truth' alone; got \['rule'\]"):
        env.reset(options={"rule": 1})


def test_what_is_no_environment_is_refused():
    with pytest.raises(ValueError, match="did you mean 'three-ball'"):
        ParadigmEnv("three-bal")
    with pytest.raises(ValueError, match="scheme of three-ball must be one of"):
        ParadigmEnv("three-ball", "quick")
    with pytest.raises(TypeError, match="paradigm must be a Paradigm, the name of one or a path; got 3"):
        ParadigmEnv(3)
    with pytest.raises(ValueError, match="must not be given beside a Paradigm"):
        ParadigmEnv(three_ball.paradigm(), "paper")
    with pytest.raises(ValueError, match=r"render_mode must be one of \[None, 'ansi'\]; got 'human'"):
        ParadigmEnv("maze", render_mode="human")
    env = ParadigmEnv("maze")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action of the environment must lie in 0\.\.2"):
        env.step(3)


def test_an_environment_says_what_was_seen():
    env = ParadigmEnv("three-ball", render_mode="ansi")
    env.reset(seed=0)
    assert env.render() == "what: null, where: start, feedback: null"


def test_round_and_round():
    """Agents of a simulation live in the environment of a paradigm as they do in the paradigm itself: right answers are as
    frequent for who knows the rule.
    """
    paradigm = three_ball.paradigm("knowing", 64)
    world = GymnasiumWorld(lambda: ParadigmEnv(paradigm), paradigm.model)
    there = simulate(world.paradigm(paradigm.agent, 6), 24, 4)
    here = simulate(paradigm, 24, 4)
    assert abs(there.wins.mean() - here.wins.mean()) < 0.4 and there.losses.sum() == here.losses.sum() == 0
