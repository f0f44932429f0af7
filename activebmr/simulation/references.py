"""Reference points: how fast a rule could be found at all, so that any paradigm can be set beside its own floor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from activebmr import checks
from activebmr.arrays import Floats, Ints, standard_error
from activebmr.inference.models.reasoner import JointReasoner
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.simulation.paradigm import Paradigm
from activebmr.simulation.result import Result
from activebmr.simulation.simulate import simulate, trial_draws
from activebmr.simulation.worlds import ModelProcess

__all__ = ["ObserverResult", "clairvoyant", "evidence_bound", "ideal_observer", "lower_bound"]


@dataclass(frozen=True, eq=False)
class ObserverResult:
    """Trials that an observer needed ``(n_agents,)``; those who were not done in time count with all trials.

    Example:
        >>> ObserverResult(np.array([4, 6, 8]), np.array([True, True, False]))
        6.00 +- 1.15 trials (n = 3, median 6, 1 not done in time)
    """

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

    Example:
        >>> round(lower_bound(three_ball.paradigm().hypotheses, answers=3), 2)
        3.93
    """
    checks.an(HypothesisSpace)(space, "space")
    return log(len(space.distinct()[0])) / log(checks.whole_number(answers, "answers", 2))


def evidence_bound(outcomes: ArrayLike, prior: ArrayLike | None = None, sure: float = 0.95) -> Floats:
    """Trials without which, on average, nobody is sure of the truth, whatever experiments they choose: a bound, no estimate.

    Where hypothesis m is true, an experiment e adds on average the divergence KL[P_e(o | m) || P_e(o | n)] to the log odds of m
    against n. To hold m with probability ``sure``, the odds of the others must sum to (1 - sure) / sure or less, and the mean
    of exp(-x) is not below exp(-mean of x). So the mean numbers of times that each experiment is done, N_e, obey

        sum_n  prior_n / prior_m  exp(- sum_e N_e KL_e[m || n])  <=  (1 - sure) / sure

    and the least sum of N_e that does is below the mean number of trials until then. It is what an observer would need who
    knows already which experiments suit the truth, and gets the average evidence from each: nobody is as fast.

    Args:
        outcomes: probabilities of outcomes ``(experiments, hypotheses, outcomes)``, whatever is chosen in a trial being one
            experiment. Trials are independent, given the truth.
        prior: probabilities of hypotheses ``(hypotheses,)``, positive; uniform by default.
        sure: in (0, 1).

    Returns:
        trials if each hypothesis is true ``(hypotheses,)``; inf for those that no experiment can tell from too many others.
        An alternative that a single outcome can exclude for good counts as excluded.

    Raises:
        ValueError: if probabilities or shapes do not fit.

    Example:
        >>> evidence_bound([[[0.9, 0.1], [0.1, 0.9]]]).round(1)  # a coin of two kinds: log(19) / KL throws
        array([1.7, 1.7])

    Source: Wald (1945), "Sequential tests of statistical hypotheses", Ann. Math. Stat. 16 (log odds of a sum of a random number
    of terms); Chernoff (1959), "Sequential design of experiments", Ann. Math. Stat. 30 (the choice of experiments).
    """
    tables = checks.float_array(outcomes, "outcomes")
    if tables.ndim != 3 or 0 in tables.shape or not (tables >= 0).all() or not np.allclose(tables.sum(axis=2), 1.0, atol=1e-9):
        raise ValueError(
            "outcomes must hold probabilities (experiments, hypotheses, outcomes) that sum to 1 over the last axis; got shape "
            f"{tables.shape}"
        )
    count = tables.shape[1]
    weights = np.ones(count) if prior is None else checks.float_array(prior, "prior")
    if weights.shape != (count,) or not np.isfinite(weights).all() or not (weights > 0).all():
        raise ValueError(f"prior must hold {count} positive numbers, one per hypothesis; got {prior}")
    level = checks.number(sure, "sure", checks.Rule("lie in (0, 1)", lambda x: 0 < x < 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(tables)
        each = tables[:, :, None] * (logs[:, :, None] - logs[:, None])
    gaps = np.where(tables[:, :, None] > 0, each, 0.0).sum(axis=3)  # (experiments, true, other)
    gaps[gaps < 1e-12] = 0.0
    others = [np.arange(count) != m for m in range(count)]
    return np.array([_least_trials(gaps[:, m, o], np.log(weights[o] / weights[m]), level) for m, o in enumerate(others)])


def _least_trials(gaps: Floats, log_odds: Floats, sure: float) -> float:
    """See `evidence_bound`: the least sum of N over experiments, given what each adds to the log odds against others
    ``(experiments, others)``.

    What a solver finds is not taken at its word: weights of the others that it comes to give a bound by themselves (Lagrange's
    dual), which is true however good they are.
    """
    from scipy.optimize import minimize  # slow to import, seldom needed

    goal = np.log((1 - sure) / sure)
    if np.logaddexp.reduce(log_odds) <= goal:
        return 0.0
    same = (gaps == 0).all(axis=0)
    if same.any() and np.logaddexp.reduce(log_odds[same]) >= goal:
        return float("inf")
    kept = np.isfinite(gaps).all(axis=0)
    gaps, log_odds = gaps[:, kept], log_odds[kept]
    if not kept.any() or np.logaddexp.reduce(log_odds) <= goal:
        return 1.0

    def left(n: Floats) -> Floats:
        return np.asarray(log_odds - n @ gaps)

    def shares(n: Floats) -> Floats:
        return np.asarray(np.exp(left(n) - np.logaddexp.reduce(left(n))))

    scale = 1.0
    while np.logaddexp.reduce(left(np.full(len(gaps), scale))) > goal:
        scale *= 2
    room = {
        "type": "ineq",
        "fun": lambda x: goal - np.logaddexp.reduce(left(scale * x)),
        "jac": lambda x: scale * (gaps @ shares(scale * x)),
    }
    ones = np.ones(len(gaps))
    options = {"maxiter": 500, "ftol": 1e-12}
    found = minimize(np.sum, ones, jac=lambda x: ones, bounds=[(0, None)] * len(ones), constraints=room, options=options)
    share = shares(scale * found.x)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(share > 0, share * np.log(share), 0.0).sum()
    return max(1.0, float((entropy + share @ log_odds - goal) / (gaps @ share).max()))


def ideal_observer(paradigm: Paradigm, n_agents: int = 1024, n_trials: int = 256, seed: int = 0) -> ObserverResult:
    """Trials until elimination by logic leaves one hypothesis, for an observer who sees everything that a trial could show.

    In each trial it sees the states that no action sets and learns what the true hypothesis says about them (in the three-ball
    paradigm: the balls and the correct colour); every hypothesis that says anything else is out. Observer k lives through the
    same states and has the same true hypothesis as agent k of ``simulate`` with this seed.

    If the paradigm's agents choose the states themselves (``preparation="chosen"``), so does the observer.

    Raises:
        ValueError: if the paradigm has no hypotheses, or its world leaves outcomes to chance: then `clairvoyant` is the
            reference.

    Example:
        >>> ideal_observer(three_ball.paradigm(), n_agents=64)
        9.53 +- 0.53 trials (n = 64, median 9.5)
    """
    if not isinstance(paradigm, Paradigm) or paradigm.hypotheses is None:
        raise ValueError(f"paradigm must be a Paradigm with hypotheses to tell apart; got {checks.brief(paradigm)}")
    n_agents, n_trials = (checks.whole_from(v, n, 1) for n, v in (("n_agents", n_agents), ("n_trials", n_trials)))
    seed = checks.whole_number(seed, "seed", 0)
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

    Raises:
        ValueError, TypeError: if there is no such paradigm, its agents do not reason jointly, or as `simulate` does.

    Example:
        >>> told = clairvoyant(three_ball.paradigm(), n_agents=2, n_trials=3)
        >>> told.schemes
        ['clairvoyant']
    """
    checks.an(Paradigm)(paradigm, "paradigm")
    return simulate(replace(paradigm, scheme="clairvoyant", preparation="told"), n_agents, n_trials, seed, jobs=jobs)
