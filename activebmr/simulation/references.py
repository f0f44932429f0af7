"""Reference points: how fast a rule could be found at all, so that any paradigm can be set beside its own floor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np

from activebmr.arrays import Ints, standard_error
from activebmr.inference.models.reasoner import JointReasoner
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.simulation.paradigm import Paradigm, is_whole
from activebmr.simulation.result import Result
from activebmr.simulation.simulate import simulate, trial_draws
from activebmr.simulation.worlds import ModelProcess

__all__ = ["ObserverResult", "clairvoyant", "ideal_observer", "lower_bound"]


@dataclass(frozen=True, eq=False)
class ObserverResult:
    """Trials that an observer needed ``(n_agents,)``; those who were not done in time count with all trials."""

    trials: Ints
    finished: Any

    @property
    def mean(self) -> float:
        return float(self.trials.mean())

    @property
    def standard_error(self) -> float:
        return standard_error(self.trials)

    def __repr__(self) -> str:
        late = int((~self.finished).sum())
        note = f", {late} not done in time" if late else ""
        of = f"(n = {len(self.trials)}, median {np.median(self.trials):g}{note})"
        return f"{self.mean:.2f} +- {self.standard_error:.2f} trials {of}"


def lower_bound(space: HypothesisSpace, answers: int) -> float:
    """log(hypotheses) / log(answers): trials without which no experiment with so many answers can tell all hypotheses apart.

    Hypotheses that agree everywhere count once.
    """
    if answers < 2:
        raise ValueError(f"answers must be at least 2; got {answers}")
    return log(len(space.distinct()[0])) / log(answers)


def ideal_observer(paradigm: Paradigm, n_agents: int = 1024, n_trials: int = 256, seed: int = 0) -> ObserverResult:
    """Trials until elimination by logic leaves one hypothesis, for an observer who sees everything that a trial could show.

    In each trial it sees the states that no action sets and learns what the true hypothesis says about them (in the three-ball
    paradigm: the balls and the correct colour); every hypothesis that says anything else is out. Observer k lives through the
    same states and has the same true hypothesis as agent k of ``simulate`` with this seed.

    If the paradigm's agents choose the states themselves (``preparation="chosen"``), so does the observer.

    Raises:
        ValueError: if the paradigm has no hypotheses, or its world leaves outcomes to chance: then `clairvoyant` is the
            reference.
    """
    if not isinstance(paradigm, Paradigm) or paradigm.hypotheses is None:
        raise ValueError("paradigm must be a Paradigm with hypotheses to tell apart")
    for name, value in (("n_agents", n_agents), ("n_trials", n_trials)):
        if not is_whole(value) or value < 1:
            raise ValueError(f"{name} must be a whole number >= 1; got {value!r}")
    space = paradigm.hypotheses
    for table in space.tables.values():
        if ((table.columns > 0).sum(axis=1) > 1).any():
            raise ValueError("elimination by logic needs hypotheses that leave nothing to chance; compare with `clairvoyant`")
    reasoner = JointReasoner(paradigm.model, space, offset=1.0)
    classes = space.distinct()[1]
    agents = np.arange(n_agents)
    truths = paradigm.truths(seed, agents)
    assert truths is not None
    alive = np.ones((n_agents, len(space)), dtype=bool)
    trials = np.full(n_agents, n_trials)
    finished = np.zeros(n_agents, dtype=bool)
    process = ModelProcess(paradigm.model, space, truths)
    said = reasoner.assigned_class.transpose(2, 1, 0)  # (B, M, classes)
    for i, draws in enumerate(trial_draws(agents, seed, paradigm.trial_length, process.n_uniforms)):
        if i == n_trials or finished.all():
            break
        chosen = None
        if paradigm.preparation == "chosen":
            best = reasoner.structure_gain(alive / alive.sum(axis=1, keepdims=True)).argmax(axis=1)
            chosen = np.full((n_agents, paradigm.model.num_factors), -1)
            chosen[:, list(reasoner.still)] = np.stack(np.unravel_index(best, reasoner.still_sizes), axis=1)
        states, _ = process.reset(draws[:, 0, :-1], chosen)
        here = said[np.ravel_multi_index([states[:, f] for f in reasoner.still], reasoner.still_sizes)]
        alive &= (here == here[agents, truths][:, None]).all(axis=2)
        left = alive & (classes[None] != classes[truths][:, None])
        done = ~left.any(axis=1) & ~finished
        trials[done] = i + 1
        finished |= done
    return ObserverResult(trials, finished)


def clairvoyant(paradigm: Paradigm, n_agents: int = 1024, n_trials: int = 64, seed: int = 0, *, jobs: int = 1) -> Result:
    """The paradigm's own agents, told before each trial the states that no action sets: what not having to look is worth.

    Needs agents that reason jointly. Where feedback is noisy, this is the reference in place of `ideal_observer`.
    """
    return simulate(replace(paradigm, scheme="clairvoyant", preparation="told"), n_agents, n_trials, seed, jobs=jobs)
