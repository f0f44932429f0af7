"""Runs of an experiment: each in a folder of its own, kept when finished, gone on with when interrupted."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from activebmr.folders import alone_in
from activebmr.pruning.data.digests import digest
from activebmr.pruning.experiments.keeping import Arrays, Rows, keep_run, kept_run, write_json
from activebmr.workers import each, one_line

__all__ = ["FORMAT", "Tell", "epoch_seconds", "run_all", "saying", "write_json"]

FORMAT = 2
"""Of what is kept; another one is not read."""
Tell = Callable[[str], None]


def run_all(
    one: Callable[..., tuple[Rows, Arrays]],
    experiment: Any,
    column: str,
    key: str,
    runs: list[tuple[str, Any]],
    folder: Path | None,
    *,
    load: Callable[[Any, Any], Any] | None = None,
    jobs: int = 1,
    tell: Tell | None = None,
) -> tuple[Rows, list[Arrays]]:
    """Make all runs of an experiment, or read those that are finished.

    A run is read only if its settings, its data, and the versions of this package, of torch and of the format are those that it
    was made with; a file of it that is damaged is named in a warning, and the run is made again.

    Args:
        one: makes one: called with the experiment, what the run is, its folder and ``tell``, and, with ``load``, its data.
        experiment: a dataclass; runs that differ only in ``column`` share a folder, and with it what they trained.
        column: attribute of the experiment that lists what rows are about.
        key: of a row that says which of those it is about.
        runs: name and description of each.
        folder: where they are kept; None keeps nothing. Only one process may be at work there.
        load: reads the data of a run, a dataclass of tensors and plain values: called with the experiment and what the run is.
        jobs: processes; numbers do not depend on it. They end with this one, and what a killed one was at is made again.
        tell: called with lines of progress (with one job).

    Raises:
        BlockingIOError: if another process is at work in the folder.
    """
    with nullcontext() if folder is None else alone_in(folder):
        todo = [(one, load, experiment, column, key, name, what, folder) for name, what in runs]
        if jobs == 1 or len(runs) == 1:
            done = [_kept_or_run(*arguments, tell=tell) for arguments in todo]
        else:
            numbered = deque((k, *arguments) for k, arguments in enumerate(todo))
            ended = {arguments[0]: outcome for arguments, outcome in each(_in_worker, numbered, min(jobs, len(runs)))}
            done = [ended[k] for k in range(len(runs))]
    return [row for rows, _ in done for row in rows], [kept for _, kept in done]


def _in_worker(number: int, *arguments: Any) -> tuple[Rows, Arrays]:
    """A run in a process of its own; its number is for who waits for it."""
    warnings.formatwarning = one_line
    return _kept_or_run(*arguments)


def _kept_or_run(
    one: Callable[..., tuple[Rows, Arrays]],
    load: Callable[[Any, Any], Any] | None,
    experiment: Any,
    column: str,
    key: str,
    name: str,
    what: Any,
    root: Path | None,
    tell: Tell | None = None,
) -> tuple[Rows, Arrays]:
    torch.set_num_threads(1)  # more threads add up in another order
    wanted = getattr(experiment, column)
    data = () if load is None else (load(experiment, what),)
    folder = None if root is None else root / _digest_of(experiment, column, data) / name
    found = None if folder is None else kept_run(folder)
    if found is not None:
        rows = {r[key]: r for r in found[0]}
        if set(wanted) <= set(rows):
            return [rows[name] for name in wanted], found[1]
    made, arrays = one(experiment, what, folder, tell, *data)
    if folder is not None:
        keep_run(folder, made, arrays)
    return made, arrays


def _digest_of(experiment: Any, column: str, data: tuple[Any, ...]) -> str:
    """What tells runs apart whose numbers may differ. Where data lie does not matter, but what they are."""
    alike = {k: v for k, v in asdict(experiment).items() if k not in (column, "data_dir")}
    try:
        own = version("activebmr")
    except PackageNotFoundError:
        own = "unknown"
    alike |= {"versions": [own, torch.__version__, FORMAT], "data_digest": [digest(vars(d)) for d in data]}
    return hashlib.sha256(json.dumps(alike, sort_keys=True).encode()).hexdigest()[:16]


# --- what experiments share --------------------------------------------------------------------------------------------------
def saying(tell: Tell | None, *words: str) -> Callable[[int, str], None] | bool:
    """What `fit` and `prune_weights` take as ``progress``: lines that say first what they are about; False without ``tell``."""
    if tell is None:
        return False
    return lambda epoch, line: tell(f"{', '.join(words)}: {line}")


def epoch_seconds(seconds: list[float]) -> float | None:
    """Median time of an epoch; None where nothing was trained."""
    return float(np.median(seconds)) if seconds else None
