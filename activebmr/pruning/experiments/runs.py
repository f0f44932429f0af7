"""Runs of an experiment: each in a folder of its own, kept when finished, gone on with when interrupted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["run_all", "write_json"]

Rows = list[dict[str, Any]]
Arrays = dict[str, NDArray[Any]]


def run_all(
    one: Callable[..., tuple[Rows, Arrays]],
    experiment: Any,
    column: str,
    key: str,
    runs: list[tuple[str, Any]],
    folder: Path | None,
    *,
    jobs: int = 1,
    tell: Callable[[str], None] | None = None,
) -> tuple[Rows, list[Arrays]]:
    """Make all runs of an experiment, or read those that are finished.

    Args:
        one: makes one: called with the experiment, what the run is, its folder and ``tell``.
        experiment: a dataclass; runs that differ only in ``column`` share a folder, and with it what they trained.
        column: attribute of the experiment that lists what rows are about.
        key: of a row that says which of those it is about.
        runs: name and description of each.
        folder: where they are kept; None keeps nothing.
        jobs: processes; numbers do not depend on it.
        tell: called with lines of progress (with one job).
    """
    alike = {k: v for k, v in asdict(experiment).items() if k != column}
    digest = hashlib.sha256(json.dumps(alike, sort_keys=True).encode()).hexdigest()[:16]
    todo = [(one, experiment, column, key, what, None if folder is None else folder / digest / name) for name, what in runs]
    if jobs == 1 or len(runs) == 1:
        done = [_kept_or_run(*arguments, tell) for arguments in todo]
    else:
        from joblib import Parallel, delayed

        done = Parallel(n_jobs=min(jobs, len(runs)))(delayed(_kept_or_run)(*arguments) for arguments in todo)
    return [row for rows, _ in done for row in rows], [kept for _, kept in done]


def _kept_or_run(
    one: Callable[..., tuple[Rows, Arrays]],
    experiment: Any,
    column: str,
    key: str,
    what: Any,
    folder: Path | None,
    tell: Callable[[str], None] | None = None,
) -> tuple[Rows, Arrays]:
    torch.set_num_threads(1)  # more threads add up in another order
    wanted = getattr(experiment, column)
    if folder is not None and (folder / "rows.json").is_file():
        rows = {r[key]: r for r in json.loads((folder / "rows.json").read_text(encoding="utf-8"))["rows"]}
        if set(wanted) <= set(rows):
            with np.load(folder / "kept.npz", allow_pickle=False) as kept:
                return [rows[name] for name in wanted], {name: kept[name] for name in kept.files}
    rows_, arrays = one(experiment, what, folder, tell)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / ".kept.part.npz"
        np.savez_compressed(part, **arrays)  # type: ignore[arg-type]
        part.replace(folder / "kept.npz")
        write_json(folder / "rows.json", {"rows": rows_})
    return rows_, arrays


def write_json(path: Path, content: dict[str, Any], indent: int | None = None) -> None:
    """Write a file in one move, so that it is never there in part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")
    part.replace(path)
