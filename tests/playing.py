"""What the tests of the game share: settings, and people who play at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from worlds import two_rooms

import activebmr as ab
from activebmr.paradigms import three_ball
from activebmr.play.game import Game
from activebmr.play.journal import Journal, trial_entry
from activebmr.play.setting import Setting

HTML = "<img src=x onerror=alert(1)>"


def setting_of(scheme: str = "reasoning", **more: Any) -> Setting:
    told = {"n_trials": 3, "seed": 4} | more
    return Setting(three_ball.paradigm(scheme), three_ball.paradigm("reasoning"), **told)


def bare_setting(**more: Any) -> Setting:
    """A world without hypotheses."""
    one = ab.Paradigm("rooms", "s", ab.Agent(two_rooms(), planner=ab.Planner(depth=1)), two_rooms(), 4)
    return Setting(one, one, **({"n_trials": 2} | more))


def play_on(game: Game, seed: int = 0, keep: Any = None) -> Game:
    """Play to the end with random moves."""
    rng, moves = np.random.default_rng(seed), game.setting.moves
    while game.phase != "over":
        if game.phase == "ready":
            game.begin()
        elif game.phase == "ask":
            game.believe(int(rng.integers(-1, len(game.setting.sentences_of_hypotheses))))
        else:
            trial = len(game.trials) - 1
            if game.move(trial, len(game.trials[-1].controls), moves[rng.integers(len(moves))]) and keep is not None:
                keep(trial, game.trials[trial])
    return game


def played(folder: Path, setting: Setting, *names: str, trials: int | None = None) -> Journal:
    journal = Journal(folder, setting)
    for name in names:
        number = journal.join(name)
        game, kept = Game(setting, setting.agent_of(number)), []
        play_on(game, number, lambda i, trial, kept=kept: kept.append((i, trial)))
        journal.add([trial_entry(number, i, trial) for i, trial in kept[:trials]])
    return journal
