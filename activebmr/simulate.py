"""`simulate`: run the agents of a paradigm, in batches, on any number of cores, with the same numbers whatever the batches."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.agent import Agent, AgentState, StepInfo, TrialInfo
from activebmr.dirichlet import safe_log
from activebmr.hypotheses import HypothesisSpace
from activebmr.layout import layouts_of
from activebmr.models import POMDP
from activebmr.processes import ModelProcess
from activebmr.results import DIMENSIONS, Result, read_npz, write_npz
from activebmr.sparse import Floats, Ints
from activebmr.tables import CountTable

__all__ = ["Paradigm", "Recorder", "discard_checkpoint", "simulate"]

BATCH = 64
"""Agents that are simulated together: enough to spread Python's overhead, few enough for their tables to stay in cache."""

_TRIALS_AHEAD = 16  # trials for which random numbers are drawn at once

_DISCOVERED = 1.0  # nats of divergence from the true likelihood, summed over columns, at which the truth counts as unknown


@dataclass(frozen=True)
class Paradigm:
    """An experiment under one scheme: who acts, in what world, for how long, and what counts as success.

    Attributes:
        name: name of the paradigm.
        scheme: name of the way its agents reason.
        agent: the agents.
        model: the world's model (transitions, initial states, likelihoods that no hypothesis speaks about).
        hypotheses: structures that the world may have; None if it is the model itself.
        truth: index of the true hypothesis, or ``"random"`` for another one per agent.
        trial_length: observations per trial.
        score: per modality the worth of its outcomes ``{modality: (worth of outcome 0, ...)}``; positive ones are wins and
            negative ones losses.
        settings: further settings, kept with the result.
    """

    name: str
    scheme: str
    agent: Agent
    model: POMDP
    trial_length: int
    hypotheses: HypothesisSpace | None = None
    truth: int | str | None = None
    score: dict[int, Sequence[float]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.trial_length < 1:
            raise ValueError(f"trial_length must be at least 1; got {self.trial_length}")
        if (self.hypotheses is None) != (self.truth is None):
            raise ValueError("hypotheses and truth must be given together, or neither of them")
        if self.hypotheses is not None and self.truth != "random":
            limit = len(self.hypotheses) - 1
            if not _is_whole(self.truth) or not 0 <= self.truth <= limit:  # type: ignore[operator]
                raise ValueError(f"truth must be 'random' or lie in 0..{limit}; got {self.truth!r}")
            object.__setattr__(self, "truth", int(self.truth))  # type: ignore[arg-type]
        self._check_fit()

    def _check_fit(self) -> None:
        mind, world = self.agent.model, self.model
        for name in ("num_states", "num_outcomes", "num_controls"):
            if getattr(mind, name) != getattr(world, name):
                raise ValueError(
                    f"agent must have a model with the {name} of the world, {getattr(world, name)}; got {getattr(mind, name)}"
                )
        own = self.agent.hypotheses
        if own is not None and self.hypotheses is not None and own.names != self.hypotheses.names:
            raise ValueError("agent must reason about the hypotheses of the world, in their order; its names differ")
        for m, worth in self.score.items():
            if not _is_whole(m) or not 0 <= m < world.num_modalities:
                raise ValueError(f"score must be keyed by modalities in 0..{world.num_modalities - 1}; got {m!r}")
            if len(worth) != world.num_outcomes[m]:
                raise ValueError(f"score[{m}] must hold the worth of {world.num_outcomes[m]} outcomes; got {list(worth)}")

    def truths(self, seed: int, agents: Ints) -> Ints | None:
        """The true hypothesis of each agent; a random one depends on the seed and the agent's number alone."""
        if self.hypotheses is None:
            return None
        if self.truth != "random":
            return np.full(len(agents), int(self.truth))  # type: ignore[arg-type]
        draws = [_stream(seed, int(k), 1).integers(len(self.hypotheses)) for k in agents]
        return np.array(draws, dtype=np.intp)


def _stream(seed: int, agent: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(agent, purpose)))


class Recorder:
    """Keeps every step of some agents: `simulate(..., trace=True)` and `replay` hand its arrays out."""

    def __init__(self, model: POMDP) -> None:
        self.model = model
        self.steps: list[dict[str, NDArray[Any]]] = []
        self.trials: list[dict[str, NDArray[Any]]] = []

    def step(self, info: StepInfo, outcomes: Ints, states: Ints) -> None:
        names = self.model.labels["factor"]
        row = {f"qs_{name}": q for name, q in zip(names, info.qs, strict=True)}
        for name in ("free_energy", "neg_efe", "utility", "state_info_gain", "param_info_gain", "model_info_gain", "q_pi"):
            row[name] = getattr(info, name)
        row |= {"confidence": info.confidence, "policy": info.policy, "controls": info.controls}
        row |= {"outcomes": outcomes, "states": states}
        if info.model_posterior is not None:
            row["model_posterior"] = info.model_posterior
        self.steps.append(row)

    def trial(self, info: TrialInfo, divergence: Floats) -> None:
        """Fold the steps since the last trial into one and add what the trial changed."""
        folded = {name: np.stack([s[name] for s in self.steps], axis=1) for name in self.steps[0]}
        self.steps.clear()
        for m, counts in info.counts.items():
            name = self.model.labels["modality"][m]
            folded[f"pA_{name}"] = layouts_of(self.model)[m].tensor(counts)
        if info.log_odds is not None:
            folded["log_odds"] = info.log_odds
        folded["kl_to_truth"] = divergence
        self.trials.append(folded)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All records: axes (agent, trial, ...), and (agent, trial, time, ...) for what changes within a trial."""
        return {name: np.stack([t[name] for t in self.trials], axis=1) for name in self.trials[0]}


def divergence_from(state: AgentState, process: ModelProcess) -> Floats:
    """KL divergence of the agents' learned likelihoods from the world's, summed over columns ``(n_agents,)``, nats."""
    total = np.zeros(state.n_agents)
    for m, table in enumerate(state.tables):
        if not isinstance(table, CountTable):
            continue
        expected = table.likelihood.reshape(state.n_agents, table.n_states, -1)
        certain = process.certain(m)
        if certain is not None:
            # one outcome per column: only its own probability counts (flat indices: sums run in one order in any batch)
            width = table.n_outcomes + 1
            at = np.arange(state.n_agents * table.n_states).reshape(state.n_agents, -1) * width + certain[:, table.layout.order]
            total -= safe_log(table.likelihood.reshape(-1)[at]).sum(axis=1)
        else:
            truth = process.likelihood(m)[:, table.layout.order]
            gap = truth * (safe_log(truth) - safe_log(expected[..., :-1]))
            total += np.ascontiguousarray(gap).reshape(state.n_agents, -1).sum(axis=1)
    return np.maximum(total, 0.0)


def run_batch(
    paradigm: Paradigm,
    agents: Ints,
    n_trials: int,
    seed: int,
    trace: bool = False,
    tick: Callable[[int], None] | None = None,
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Simulate some agents (by number) through all trials: measures with axes (agent, trial), and the trace if wanted."""
    agent, length = paradigm.agent, paradigm.trial_length
    truths = paradigm.truths(seed, agents)
    process = ModelProcess(paradigm.model, paradigm.hypotheses, truths)
    streams = [_stream(seed, int(k), 0) for k in agents]
    state = agent.init(len(agents))
    n_models = len(agent.hypotheses) if agent.hypotheses is not None else 0
    measures = _empty(len(agents), n_trials, n_models)
    recorder = Recorder(paradigm.model) if trace else None
    for i in range(n_trials):
        if i % _TRIALS_AHEAD == 0:
            ahead = np.stack([s.random((_TRIALS_AHEAD, length, process.n_uniforms + 1)) for s in streams])
        uniforms = ahead[:, i % _TRIALS_AHEAD]
        controls: Ints | None = None
        for t in range(length):
            world = uniforms[:, t, :-1]
            states, outcomes = process.reset(world) if controls is None else process.step(controls, world)
            info = agent._advance(state, list(outcomes.T), uniforms[:, t, -1], None)
            controls = info.controls
            measures["confidence"][:, i] += info.confidence
            measures["free_energy"][:, i] += info.free_energy
            for m, worth in paradigm.score.items():
                value = np.asarray(worth)[outcomes[:, m]]
                measures["wins"][:, i] += value > 0
                measures["losses"][:, i] += value < 0
                measures["score"] += value
            if recorder is not None:
                recorder.step(info, outcomes, states)
        divergence = divergence_from(state, process)
        done = agent._conclude(state)
        measures["kl_to_truth"][:, i] = divergence
        if done.model_posterior is not None and truths is not None:
            measures["model_posterior"][:, i] = done.model_posterior
            measures["log_odds"][:, i], measures["best_model"][:, i] = done.log_odds, done.best_model
            measures["true_model_posterior"][:, i] = done.model_posterior[np.arange(len(agents)), truths]
            first = (state.adopted >= 0) & (measures["adopted_model"] < 0)
            measures["adopted_model"] = np.where(first, state.adopted, measures["adopted_model"])
            measures["adoption_trial"] = np.where(first, i, measures["adoption_trial"])
        if recorder is not None:
            recorder.trial(done, divergence)
        if tick is not None:
            tick(len(agents))
    measures["discovery_trials"] = (measures["kl_to_truth"] > _DISCOVERED).sum(axis=1)
    return measures, recorder.arrays() if recorder is not None else {}


def _empty(n_agents: int, n_trials: int, n_models: int) -> dict[str, NDArray[Any]]:
    shape = (n_agents, n_trials)
    measures: dict[str, NDArray[Any]] = {name: np.zeros(shape) for name in ("confidence", "free_energy", "kl_to_truth")}
    measures |= {name: np.zeros(shape, dtype=np.int32) for name in ("wins", "losses")}
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
        n_agents: agents per scheme, >= 1.
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
    """
    schemes = [paradigm] if isinstance(paradigm, Paradigm) else list(paradigm)
    _check(schemes, n_agents, n_trials, seed, jobs)
    size = BATCH if jobs == 1 else max(1, min(BATCH, -(-n_agents // _cores(jobs))))
    batches = [np.arange(a, min(a + size, n_agents)) for a in range(0, n_agents, size)]
    work = [(s, b) for b in range(len(batches)) for s in range(len(schemes))]
    settings = _settings(schemes, n_agents, n_trials, seed)
    store = _Checkpoint(checkpoint, schemes, settings) if checkpoint is not None and not trace else None
    done: dict[tuple[int, int], Any] = {}
    interrupted = False
    with _progress(progress, len(schemes) * n_agents * n_trials) as tick:
        for s, b in work:
            found = store.load(s, batches[b]) if store else None
            if found is not None:
                done[s, b] = found, {}
                tick(len(batches[b]) * n_trials)
        todo = [(s, b, schemes[s], batches[b], n_trials, seed, trace) for s, b in work if (s, b) not in done]
        try:
            for s, b, outcome in _run(todo, jobs, tick):
                done[s, b] = outcome
                if store:
                    store.save(s, batches[b], outcome[0])
        except KeyboardInterrupt:
            interrupted = True
    complete = [b for b in range(len(batches)) if all((s, b) in done for s in range(len(schemes)))]
    if not complete:
        raise KeyboardInterrupt
    result = _assemble(schemes, seed, settings | {"interrupted": interrupted}, done, [(b, batches[b]) for b in complete])
    return result


def _check(schemes: list[Paradigm], n_agents: int, n_trials: int, seed: int, jobs: int) -> None:
    if not schemes or not all(isinstance(s, Paradigm) for s in schemes):
        raise TypeError(f"paradigm must be a Paradigm or a list of them; got {schemes!r}")
    if len({s.scheme for s in schemes}) != len(schemes):
        raise ValueError(f"schemes must differ; got {[s.scheme for s in schemes]}")
    if len({(s.name, s.truth) for s in schemes}) != 1:
        raise ValueError("schemes to compare must belong to one paradigm with one truth")
    for name, value, least in (("n_agents", n_agents, 1), ("n_trials", n_trials, 1), ("seed", seed, 0)):
        if not _is_whole(value) or value < least:
            raise ValueError(f"{name} must be a whole number >= {least}; got {value!r}")
        if value >= 2**63:
            raise ValueError(f"{name} must be below 2^63; got {value}")
    if not _is_whole(jobs) or not (jobs == -1 or jobs >= 1):
        raise ValueError(f"jobs must be a whole number >= 1, or -1 for all cores; got {jobs!r}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _cores(jobs: int) -> int:
    if jobs > 0:
        return jobs
    from joblib import cpu_count

    return int(cpu_count())


def _run(todo: list[tuple[Any, ...]], jobs: int, tick: Callable[[int], None]) -> Iterator[tuple[int, int, Any]]:
    if jobs == 1 or len(todo) == 1:
        for s, b, *arguments in todo:
            yield s, b, run_batch(*arguments, tick=tick)
        return
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
    with _deaf_to_interrupts():
        outcomes = pool(delayed(_job)(*arguments) for arguments in todo)
    for s, b, outcome in outcomes:
        tick(outcome[0]["wins"].size)
        yield s, b, outcome


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started in here ignore Ctrl-C, which a terminal sends to them too: their parent decides what becomes of
    them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers, and only it is interrupted
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _job(s: int, b: int, *arguments: Any) -> tuple[int, int, Any]:
    return s, b, run_batch(*arguments)


def _settings(schemes: list[Paradigm], n_agents: int, n_trials: int, seed: int) -> dict[str, Any]:
    from activebmr import __version__

    return {
        "paradigm": schemes[0].name,
        "schemes": {s.scheme: describe(s) for s in schemes},
        "truth": schemes[0].truth,
        "n_agents": int(n_agents),
        "n_trials": int(n_trials),
        "seed": int(seed),
        "version": __version__,
    }


def describe(paradigm: Paradigm) -> dict[str, Any]:
    """Everything that tells one scheme from another, as JSON holds it."""
    agent = paradigm.agent
    parts = {name: dict(vars(getattr(agent, name))) for name in ("planner", "learning", "selection")}
    own = {"inference": agent.inference, "hypotheses": len(agent.hypotheses) if agent.hypotheses is not None else 0}
    return _plain({**own, **parts, "trial_length": paradigm.trial_length, **paradigm.settings})


def _plain(value: Any) -> Any:
    """A value as JSON holds it everywhere: infinities and what JSON does not know become strings."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _assemble(
    schemes: list[Paradigm],
    seed: int,
    settings: dict[str, Any],
    done: dict[tuple[int, int], Any],
    batches: list[tuple[int, Ints]],
) -> Result:
    def gather(part: int, name: str) -> NDArray[Any]:
        """One measure of all batches; each batch's share is dropped once it is copied, so that nothing is held twice for
        long.
        """
        shares = [[done[s, b][part].pop(name) for b, _ in batches] for s in range(len(schemes))]
        shape = shares[0][0].shape[1:]
        if name == "model_posterior":  # schemes without hypotheses have none to report
            shape = (*shape[:-1], max(x.shape[-1] for row in shares for x in row))
        whole = np.empty((len(schemes), sum(len(a) for _, a in batches), *shape), dtype=shares[0][0].dtype)
        if name == "model_posterior":
            whole.fill(np.nan)
        for s, row in enumerate(shares):
            at = 0
            for x in row:
                if x.shape[1:] == shape:
                    whole[s, at : at + len(x)] = x
                at += len(x)
            row.clear()
        return whole

    arrays: dict[str, Any] = {name: gather(0, name) for name in DIMENSIONS}
    agents = np.concatenate([a for _, a in batches])
    space = schemes[0].hypotheses
    truths = schemes[0].truths(seed, agents)
    arrays |= {
        "scheme": np.array([s.scheme for s in schemes]),
        "model_names": np.array(space.descriptions if space is not None else [], dtype=str),
        "model_class": space.distinct()[1] if space is not None else np.zeros(0, dtype=np.intp),
        "true_model": -1 if truths is None else (truths if schemes[0].truth == "random" else truths[0]),
        "agent": agents,
        "seed": seed,
        "version": settings["version"],
        "settings": json.dumps(settings | {"n_agents": len(agents)}),
    }
    common = set.intersection(*(set(done[s, b][1]) for s in range(len(schemes)) for b, _ in batches))
    return Result(arrays, {name: gather(1, name) for name in sorted(common)})


class _Checkpoint:
    """Finished batches on disk, in a folder of their own per set of settings."""

    def __init__(self, folder: str | Path, schemes: list[Paradigm], settings: dict[str, Any]) -> None:
        # the number of agents is left out: asking for more agents later goes on from the ones there are
        key = json.dumps({k: v for k, v in settings.items() if k != "n_agents"}, sort_keys=True)
        digest = hashlib.sha256(key.encode())
        for scheme in schemes:
            _digest(digest, scheme)
        self.folder = Path(folder) / digest.hexdigest()[:16]

    def _path(self, scheme: int, agents: Ints) -> Path:
        return self.folder / f"{scheme}-{agents[0]}-{agents[-1]}.npz"

    def load(self, scheme: int, agents: Ints) -> dict[str, NDArray[Any]] | None:
        path = self._path(scheme, agents)
        try:
            return read_npz(path, "checkpoint", list(DIMENSIONS)) if path.is_file() else None
        except ValueError:
            return None  # cut off while it was written: do that batch again

    def save(self, scheme: int, agents: Ints, measures: dict[str, NDArray[Any]]) -> None:
        write_npz(self._path(scheme, agents), measures)


def _digest(digest: Any, paradigm: Paradigm) -> None:
    """Feed everything that makes a paradigm's numbers, beyond its settings, into a hash."""
    for model in (paradigm.model, paradigm.agent.model):
        for part in (model.A, model.B, model.C, model.D, model.E, model.pA, [model.policies]):
            for array in part:
                digest.update(
                    b"none" if array is None else np.ascontiguousarray(array).tobytes() + str(np.shape(array)).encode()
                )
        digest.update(repr((model.A_dependencies, model.B_dependencies)).encode())
    for space in (paradigm.hypotheses, paradigm.agent.hypotheses):
        if space is not None:
            digest.update(repr(space.names).encode() + space.prior.tobytes())
            for m, table in sorted(space.tables.items()):
                digest.update(str(m).encode() + table.columns.tobytes() + table.assignment.tobytes())
    digest.update(repr(sorted((m, tuple(map(float, worth))) for m, worth in paradigm.score.items())).encode())


def discard_checkpoint(folder: str | Path) -> None:
    """Remove the finished batches that `simulate` kept in a folder, and the folder if nothing else is in it."""
    for kept in Path(folder).glob("*"):
        if re.fullmatch("[0-9a-f]{16}", kept.name) and kept.is_dir():
            for path in kept.iterdir():
                if re.fullmatch(r"\.?\d+-\d+-\d+\.npz(\.\d+\.part)?", path.name):
                    path.unlink(missing_ok=True)
            with suppress(OSError):
                kept.rmdir()
    with suppress(OSError):
        Path(folder).rmdir()


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
