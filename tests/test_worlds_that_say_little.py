"""Worlds of one's own that say less than they do, or say it late: nothing of them is dropped or mistaken without a word."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from activebmr import POMDP, Agent, Paradigm, simulate
from activebmr.simulation.simulate import checkpoint_name

MODEL = POMDP(A=[np.eye(2)], B=[np.stack([np.eye(2), np.eye(2)[::-1]], axis=2)], D=[np.array([0.5, 0.5])])


class World:
    """A coin that controls turn over; ``late``: what it says only after its first reset."""

    n_uniforms = 1

    def __init__(self, agents: np.ndarray, late: dict[str, Any], early: dict[str, Any]) -> None:
        self.state, self.late = np.zeros((len(agents), 1), dtype=int), late
        vars(self).update(early)

    def reset(self, uniforms: np.ndarray, chosen: Any = None) -> tuple[np.ndarray, np.ndarray]:
        vars(self).update(self.late)
        return self.state, self.state

    def step(self, controls: np.ndarray, uniforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.state = (self.state + controls[:, :1]) % 2
        return self.state, self.state


class Worlds:
    def __init__(self, late: dict[str, Any], early: dict[str, Any], **said: Any) -> None:
        self.late, self.early = late, early
        vars(self).update(said)

    def __call__(self, seed: int, agents: np.ndarray, truths: Any) -> World:
        return World(agents, self.late, self.early)


def paradigm(worlds: Any) -> Paradigm:
    return Paradigm("coin", "any", Agent(MODEL), MODEL, 3, worlds=worlds)


GAIN = {"rewards": np.ones(2)}


@pytest.mark.parametrize(("late", "early"), [(GAIN, {}), ({}, GAIN)])
def test_rewards_count_from_whenever_they_are_there(late: dict[str, Any], early: dict[str, Any]) -> None:
    told = Worlds(late, early, rewarding=True, comparable=False)
    assert list(simulate(paradigm(told), 2, 2, seed=0).arrays["score"][0]) == [6.0, 6.0]
    with pytest.warns(UserWarning, match="give rewards, which are left out: say rewarding = True"):
        result = simulate(paradigm(Worlds(late, early, comparable=False)), 2, 2, seed=0)
    assert "score" not in result


def test_ends_that_are_said_late_are_refused() -> None:
    over = {"over": np.zeros(2, dtype=bool)}
    with pytest.raises(ValueError, match="must have over from the beginning"):
        simulate(paradigm(Worlds(over, {}, comparable=False, ends_early=True)), 2, 2, seed=0)


def test_worlds_that_cannot_be_compared_must_say_so() -> None:
    with pytest.raises(ValueError, match="must say comparable = False"):
        simulate(paradigm(Worlds({}, {})), 2, 2, seed=0)
    assert "kl_to_truth" not in simulate(paradigm(Worlds({}, {}, comparable=False)), 2, 2, seed=0)


def made(seed: int, agents: np.ndarray, truths: Any, worth: float = 1.0) -> World:
    return World(agents, {}, {"rewards": np.full(len(agents), worth)})


class Maker:
    def __init__(self, worth: float) -> None:
        self.worth = worth

    def make(self, seed: int, agents: np.ndarray, truths: Any) -> World:
        return made(seed, agents, truths, self.worth)


class Doubler(Maker):
    def make(self, seed: int, agents: np.ndarray, truths: Any) -> World:
        return made(seed, agents, truths, 2 * self.worth)


class Inherits(Maker):
    pass


WORLDS = {
    "function": lambda: made,
    "partial": lambda: partial(made, worth=1.0),
    "other partial": lambda: partial(made, worth=2.0),
    "method": lambda: Maker(1.0).make,
    "method of another": lambda: Maker(2.0).make,
    "other method": lambda: Doubler(1.0).make,
    "inherited": lambda: Inherits(1.0).make,
}


def test_finished_batches_belong_to_one_world() -> None:
    names = [{n: checkpoint_name(paradigm(make()), 2, 2, 0) for n, make in WORLDS.items()} for _ in range(2)]
    assert names[0] == names[1]
    assert len(set(names[0].values())) >= len(WORLDS) - 1  # what is inherited is what is inherited from, by name or by code
