"""`simulate`: run the agents of a paradigm, in batches, on any number of cores, with the same numbers whatever the batches."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr import checks
from activebmr.agent.agent import Agent
from activebmr.agent.state import StepInfo
from activebmr.arrays import Bools, Floats, Ints
from activebmr.reduction.evidence import log_odds
from activebmr.simulation.assembly import assemble
from activebmr.simulation.batches import BATCH, Watch, batches_of, divide
from activebmr.simulation.checkpoints import Checkpoint, discard_checkpoint
from activebmr.simulation.paradigm import Paradigm, describe, is_whole, stream
from activebmr.simulation.recorder import Recorder, divergence_from, of_classes, surprise_of_truth
from activebmr.simulation.result import Result
from activebmr.workers import all_cores, each

__all__ = ["Paradigm", "Recorder", "checkpoint_name", "discard_checkpoint", "simulate"]

_TRIALS_AHEAD = 16  # trials for which random numbers are drawn at once

_DISCOVERED = 1.0  # nats of divergence from the true likelihood, summed over columns, at which the truth counts as unknown


def trial_draws(agents: Ints, seed: int, length: int, n_uniforms: int) -> Iterator[Floats]:
    """For trial after trial the uniform random numbers of each agent ``(n_agents, length, n_uniforms + 1)``, the action's
    last.
    """
    streams = [stream(seed, int(k), 0) for k in agents]
    while True:
        ahead = np.stack([s.random((_TRIALS_AHEAD, length, n_uniforms + 1)) for s in streams])
        yield from ahead.swapaxes(0, 1)


Outcome = tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]
"""Measures with axes (agent, trial), and the trace if it is wanted."""


def run_batch(
    paradigm: Paradigm,
    agents: Ints,
    n_trials: int,
    seed: int,
    trace: bool = False,
    tick: Callable[[int], None] | None = None,
    watch: Callable[[], None] | None = None,
) -> Outcome:
    """Simulate some agents (by number) through all trials; ``tick`` is called after each trial with how many agents lived
    through it, ``watch`` after each step.
    """
    process = paradigm.world(seed, agents)
    try:
        return _live(paradigm, process, agents, n_trials, seed, trace, tick, watch)
    finally:
        getattr(process, "close", lambda: None)()


def _live(
    paradigm: Paradigm,
    process: Any,
    agents: Ints,
    n_trials: int,
    seed: int,
    trace: bool,
    tick: Callable[[int], None] | None,
    watch: Callable[[], None] | None,
) -> Outcome:
    """See `run_batch`."""
    agent, length = paradigm.agent, paradigm.trial_length
    truths = paradigm.truths(seed, agents)
    early = hasattr(process, "over")
    if early and len(agents) > 1 and _learns_in_step(agent):
        raise ValueError(
            "worlds of Paradigm must say ends_early = True if trials may end before their time (see GymnasiumWorld)"
        )
    draws = trial_draws(agents, seed, length, process.n_uniforms)
    state = agent.init(len(agents))
    measures = _empty(len(agents), n_trials, len(agent.model_names))
    dreams = [stream(seed, int(k), 2) for k in agents]
    recorder = Recorder(agent.model, length if early else None) if trace else None
    window = agent.selection.threshold
    # hypotheses that give values, or speak about other tables than likelihoods, leave no counts to be compared with the world
    by_posterior = agent.hypotheses is not None and not agent.hypotheses.plain
    classes = None if agent.hypotheses is None else agent.hypotheses.distinct()[1]
    for i in range(n_trials):
        uniforms = next(draws)
        controls: Ints | None = None
        for t in range(length):
            world, live = uniforms[:, t, :-1], None
            if early and t > 0:
                live = ~process.over  # of the others nothing is seen any more
                if not live.any():
                    break
            if controls is None:
                chosen = agent.experiments(state) if paradigm.preparation == "chosen" else None
                states, outcomes = process.reset(world, chosen)
                if i == 0:
                    _check_world(paradigm, process, early)
                known = states if paradigm.preparation == "told" else chosen
                if known is not None:
                    state.belief = agent.told(state, known)
            else:
                states, outcomes = process.step(controls, world)
            info = agent.life.advance(state, list(outcomes.T), uniforms[:, t, -1], None)
            controls = info.controls
            _count(measures, i, paradigm, info, outcomes, live, classes, window)
            if hasattr(process, "rewards"):
                _reward(measures, i, process.rewards)
            if recorder is not None:
                recorder.step(info, live, outcomes=outcomes, states=states)
            if watch is not None:
                watch()
        divergence = divergence_from(state, process)
        done = agent.life.conclude(state, dreams)
        if by_posterior and done.model_posterior is not None and truths is not None:
            divergence = surprise_of_truth(done.model_posterior, truths, classes)
        measures["kl_to_truth"][:, i] = divergence
        if done.model_posterior is not None and truths is not None:
            measures["model_posterior"][:, i] = done.model_posterior
            measures["log_odds"][:, i], measures["best_model"][:, i] = done.log_odds, done.best_model
            measures["true_model_posterior"][:, i] = done.model_posterior[np.arange(len(agents)), truths]
            changed = state.adopted != measures["adopted_model"]
            measures["adopted_model"] = state.adopted.copy()
            measures["adoption_trial"] = np.where(changed, i, measures["adoption_trial"])
        if recorder is not None:
            recorder.trial(done, divergence)
        if tick is not None:
            tick(len(agents))
    measures["discovery_trials"] = (measures["kl_to_truth"] > _DISCOVERED).sum(axis=1)
    return measures, recorder.arrays() if recorder is not None else {}


def _count(
    measures: dict[str, NDArray[Any]],
    trial: int,
    paradigm: Paradigm,
    info: StepInfo,
    outcomes: Ints,
    live: Bools | None,
    classes: Ints | None,
    window: Any,
) -> None:
    """Add what a step brought to the measures of its trial, for agents whose trial goes on (``live``; None: all)."""
    rows: Any = slice(None) if live is None else live
    measures["confidence"][rows, trial] += info.confidence[rows]
    measures["free_energy"][rows, trial] += info.free_energy[rows]
    measures["impossible"][rows, trial] += info.impossible[rows]
    if info.model_posterior is not None:
        unsure = ~(log_odds(of_classes(info.model_posterior, classes)) > window)
        measures["unsure"][rows, trial] += unsure[rows]
    for m, worth in paradigm.score.items():
        seen = outcomes[:, m] >= 0
        _reward(measures, trial, np.where(seen, np.asarray(worth)[np.where(seen, outcomes[:, m], 0)], 0.0))


def _check_world(paradigm: Paradigm, process: Any, early: bool) -> None:
    """Refuse a world that gives something else than what made it says, once it has begun: it would be left out silently."""
    if hasattr(process, "over") and not early:
        raise ValueError("worlds of Paradigm must have over from the beginning, not only after reset, if trials may end early")
    if getattr(paradigm.worlds, "comparable", True) and not hasattr(process, "comparable"):
        raise ValueError(
            "worlds of Paradigm must say comparable = False if their worlds do not say it themselves: nothing tells how what "
            "agents learn compares with them"
        )
    if hasattr(process, "rewards") and not getattr(paradigm.worlds, "rewarding", False):
        warnings.warn("worlds of Paradigm give rewards, which are left out: say rewarding = True to count them", stacklevel=2)


def _reward(measures: dict[str, NDArray[Any]], trial: int, value: Floats) -> None:
    measures["wins"][:, trial] += value > 0
    measures["losses"][:, trial] += value < 0
    measures["score"] += value


def _empty(n_agents: int, n_trials: int, n_models: int) -> dict[str, NDArray[Any]]:
    shape = (n_agents, n_trials)
    measures: dict[str, NDArray[Any]] = {name: np.zeros(shape) for name in ("confidence", "free_energy", "kl_to_truth")}
    measures |= {name: np.zeros(shape, dtype=np.int32) for name in ("wins", "losses", "impossible", "unsure")}
    measures |= {name: np.full(shape, np.nan) for name in ("log_odds", "true_model_posterior")}
    measures |= {"best_model": np.full(shape, -1, dtype=np.int32), "model_posterior": np.full((*shape, n_models), np.nan)}
    measures |= {name: np.full(n_agents, -1) for name in ("adopted_model", "adoption_trial")}
    measures["score"] = np.zeros(n_agents)
    return measures


def simulate(
    paradigm: Paradigm | Sequence[Paradigm],
    n_agents: int = 64,
    n_trials: int = 32,
    seed: int = 0,
    *,
    jobs: int = 1,
    progress: bool = False,
    trace: bool = False,
    checkpoint: str | Path | None = None,
) -> Result:
    """Simulate a paradigm under one or more schemes.

    Agent k of every scheme lives through the same random numbers, so schemes can be compared in pairs, and its numbers depend
    neither on how many agents there are, nor on ``jobs``.

    Args:
        paradigm: one paradigm, or several schemes of one.
        n_agents: agents per scheme, >= 1. Agents with settings of their own (arrays ``(n_agents,)``) must be as many, and are
            one batch.
        n_trials: trials of each agent, >= 1.
        seed: whole number >= 0.
        jobs: processes to use, >= 1, or -1 for all cores.
        progress: show a progress bar on standard error.
        trace: keep every step in ``result.trace`` (memory grows with everything).
        checkpoint: folder where finished batches are kept, so that an interrupted run can go on from there. Call
            `discard_checkpoint` once the result is saved.

    Returns:
        the measures. After Ctrl-C, those of the agents that had finished under all schemes (``settings["interrupted"]`` is
        true).

    Raises:
        ValueError, TypeError: on arguments out of range.
        KeyboardInterrupt: if interrupted before any agent had finished.

    Example:
        >>> schemes = [three_ball.paradigm("reasoning"), three_ball.paradigm("paper")]
        >>> result = simulate(schemes, n_agents=4, n_trials=3, seed=0)
        >>> result.wins.shape
        (2, 4, 3)
    """
    checks.flag(progress, "progress")
    checks.flag(trace, "trace")
    if checkpoint is not None:
        checks.path_like(checkpoint, "checkpoint")
    schemes = list(paradigm) if isinstance(paradigm, Iterable) else [paradigm]
    _check(schemes, n_agents, n_trials, seed, jobs)
    jobs = all_cores() if jobs == -1 else jobs
    size = max(1, min(BATCH, -(-n_agents // jobs)))
    whole = any(s.agent.differ for s in schemes)  # settings of each agent are those of one batch
    if any(_lives_alone(s) for s in schemes):
        size = 1
    if whole:
        if size == 1 < n_agents:
            raise ValueError(
                "agents with settings of their own must have trials of one length, or learn likelihoods alone, step by step: "
                "those of a batch learn together, and here episodes may end early"
            )
        size = n_agents
    settings = _settings(schemes, n_agents, n_trials, seed)
    store = Checkpoint(checkpoint, schemes, settings) if checkpoint is not None and not trace else None
    done: list[list[tuple[Ints, Outcome]]] = [[] for _ in schemes]
    interrupted = False
    with _progress(progress, len(schemes) * n_agents * n_trials) as tick:
        missing = []
        for s in range(len(schemes)):
            done[s] += [(agents, (measures, {})) for agents, measures in (store.load(s, n_agents) if store else ())]
            known = np.concatenate([np.zeros(0, dtype=np.intp), *(agents for agents, _ in done[s])])
            tick(len(known) * n_trials)
            missing += [(s, b) for b in batches_of(np.setdiff1d(np.arange(n_agents), known), size)]
        # all schemes of the first agents, then those of the next: only agents that have lived under all of them count
        todo = deque(
            (s, b, schemes[s], n_trials, seed, trace, not whole) for s, b in sorted(missing, key=lambda m: (m[1][0], m[0]))
        )
        try:
            for s, agents, outcome in _run(todo, jobs, tick):
                done[s].append((agents, outcome))
                if store:
                    store = _kept(store, s, agents, outcome[0])
        except KeyboardInterrupt:
            interrupted = True
    finished = [np.concatenate([np.zeros(0, dtype=np.intp), *(agents for agents, _ in pieces)]) for pieces in done]
    complete = np.sort(finished[0][np.all([np.isin(finished[0], one) for one in finished], axis=0)])
    if not len(complete):
        raise KeyboardInterrupt
    settings |= {"interrupted": interrupted}
    return assemble(schemes, seed, settings, done, complete)


def _kept(store: Checkpoint, scheme: int, agents: Ints, measures: dict[str, NDArray[Any]]) -> Checkpoint | None:
    """Keep a batch; where that is no longer possible the simulation goes on without."""
    try:
        store.save(scheme, agents, measures)
    except OSError as error:
        warnings.warn(f"finished batches can no longer be kept in {store.folder}: {error}", stacklevel=3)
        return None
    return store


def checkpoint_name(paradigm: Paradigm | Sequence[Paradigm], n_agents: int, n_trials: int, seed: int) -> str:
    """The name under which `simulate` keeps the finished batches of a run in its checkpoint folder."""
    schemes = list(paradigm) if isinstance(paradigm, Iterable) else [paradigm]
    return Checkpoint("", schemes, _settings(schemes, n_agents, n_trials, seed)).folder.name


def _lives_alone(paradigm: Paradigm) -> bool:
    """Whether each agent must be a batch of its own."""
    return bool(getattr(paradigm.worlds, "ends_early", False)) and _learns_in_step(paradigm.agent)


def _learns_in_step(agent: Agent) -> bool:
    """Whether agents of a batch need trials of the same length: after its own end an agent would still learn from what it does
    (transitions, habits), smooth over moments that there were not, or remember them.
    """
    at_once = agent.inference in ("exact", "factorised") and not (agent.learning.smooth or agent.learning.at_end)
    learned = {table.kind for table in agent.model.learned}
    plain = agent.hypotheses is None and agent.introspection is None and learned <= {"A", "D"}
    return not (plain and (at_once or not learned))


def _check(schemes: list[Paradigm], n_agents: int, n_trials: int, seed: int, jobs: int) -> None:
    if not schemes or not all(isinstance(s, Paradigm) for s in schemes):
        raise TypeError(f"paradigm must be a Paradigm or a list of them; got {schemes!r}")
    if len({s.scheme for s in schemes}) != len(schemes):
        raise ValueError(f"schemes must differ; got {[s.scheme for s in schemes]}")
    if len({(s.name, s.truth) for s in schemes}) != 1:
        raise ValueError("schemes to compare must belong to one paradigm with one truth")
    for name, value, least in (("n_agents", n_agents, 1), ("n_trials", n_trials, 1), ("seed", seed, 0)):
        if not is_whole(value) or value < least:
            raise ValueError(f"{name} must be a whole number >= {least}; got {value!r}")
        if value >= 2**63:
            raise ValueError(f"{name} must be below 2^63; got {value}")
    if not is_whole(jobs) or not (jobs == -1 or jobs >= 1):
        raise ValueError(f"jobs must be a whole number >= 1, or -1 for all cores; got {jobs!r}")


def _run(todo: deque[tuple[Any, ...]], jobs: int, tick: Callable[[int], None]) -> Iterator[tuple[int, Ints, Outcome]]:
    """Simulate batches; those that take long are put back in parts."""
    alone = jobs == 1 or len(todo) == 1
    work = partial(_part, tick=tick) if alone else _part
    for (s, agents, scheme, n_trials, seed, trace, _), outcome in each(work, todo, 1 if alone else jobs):
        if isinstance(outcome, list):
            todo.extendleft((s, part, scheme, n_trials, seed, trace, False) for part in reversed(outcome))
            continue
        if not alone:
            tick(len(agents) * n_trials)
        yield s, agents, outcome


def _part(
    scheme: int,
    agents: Ints,
    paradigm: Paradigm,
    n_trials: int,
    seed: int,
    trace: bool,
    divisible: bool,
    tick: Callable[[int], None] | None = None,
) -> Outcome | list[Ints]:
    """A batch, or the parts in which it is better done."""
    if not divisible:
        return run_batch(paradigm, agents, n_trials, seed, trace, tick)
    told = 0

    def count(lived: int) -> None:
        nonlocal told
        told += lived
        if tick is not None:
            tick(lived)

    def live(some: Ints, watch: Watch) -> Outcome:
        nonlocal told
        if tick is not None and told:
            tick(-told)  # of what was given up
        told = 0
        return run_batch(paradigm, some, n_trials, seed, trace, count, watch)

    outcome = divide(live, agents, n_trials * paradigm.trial_length)
    if isinstance(outcome, list) and tick is not None and told:
        tick(-told)
    return outcome


def _settings(schemes: list[Paradigm], n_agents: int, n_trials: int, seed: int) -> dict[str, Any]:
    from activebmr.version import __version__

    return {
        "paradigm": schemes[0].name,
        "schemes": {s.scheme: describe(s) for s in schemes},
        "truth": schemes[0].truth,
        "n_agents": int(n_agents),
        "n_trials": int(n_trials),
        "seed": int(seed),
        "version": __version__,
    }


@contextmanager
def _progress(show: bool, total: int) -> Iterator[Callable[[int], None]]:
    if not show:
        yield lambda n: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns: Iterable[Any] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("agent-trials"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("simulating", total=total)
        yield lambda n: bar.advance(task, n)
