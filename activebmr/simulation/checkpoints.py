"""Finished agents on disk: what an interrupted simulation goes on from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.arrays import Ints
from activebmr.files import read_npz, write_npz
from activebmr.fingerprints import fingerprint
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.pomdp import POMDP
from activebmr.simulation.paradigm import Paradigm
from activebmr.simulation.result import DIMENSIONS

__all__ = ["Checkpoint", "discard_checkpoint"]


class Checkpoint:
    """Finished agents on disk, in a folder of their own per set of settings: a file for each batch of agents of a scheme.

    Args:
        folder: where those folders are.
        schemes: what is simulated.
        settings: of the run.

    Raises:
        UnknownStateError: if something of the user's own has state that cannot be read; it says what.
    """

    def __init__(self, folder: str | Path, schemes: list[Paradigm], settings: dict[str, Any]) -> None:
        # the number of agents is left out: asking for more agents later goes on from the ones there are
        key = json.dumps({k: v for k, v in settings.items() if k != "n_agents"}, sort_keys=True)
        self.folder = Path(folder) / fingerprint(key, [_makes_numbers(s) for s in schemes], shorter=_SHORTER)[:16]

    def load(self, scheme: int, n_agents: int) -> Iterator[tuple[Ints, dict[str, NDArray[Any]]]]:
        """What is kept of the first agents of a scheme, in pieces that do not overlap: numbers and measures of agents."""
        found = (re.fullmatch(rf"{scheme}-(\d+)-(\d+)\.npz", path.name) for path in _listed(self.folder))
        at = 0
        for first, last in sorted((int(m[1]), int(m[2])) for m in found if m):
            agents = np.arange(first, last + 1)
            if last < at or first >= n_agents:
                continue
            try:
                held = read_npz(self.folder / f"{scheme}-{first}-{last}.npz", "checkpoint", list(DIMENSIONS))
            except (OSError, ValueError):
                continue  # cut off while it was written: do those agents again
            if any(len(array) != len(agents) for array in held.values()):
                continue
            wanted = (agents >= at) & (agents < n_agents)  # another run may have had other batches
            yield agents[wanted], {name: array[wanted] for name, array in held.items()}
            at = last + 1

    def save(self, scheme: int, agents: Ints, measures: dict[str, NDArray[Any]]) -> None:
        write_npz(self.folder / f"{scheme}-{agents[0]}-{agents[-1]}.npz", measures)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _makes_numbers(paradigm: Paradigm) -> dict[str, Any]:
    """Everything that makes a paradigm's numbers, beyond its settings."""
    agent = paradigm.agent
    return {
        "models": [paradigm.model, agent.model],
        "hypotheses": [paradigm.hypotheses, agent.hypotheses],
        "spaces": agent.spaces,
        "candidates": paradigm.candidates,
        "trial_length": agent.trial_length,
        "worlds": paradigm.worlds,
        "given": {name: agent.given[name] for name in ("own", "paths", "rounds")},
        "score": sorted((m, tuple(map(float, worth))) for m, worth in paradigm.score.items()),
    }


def _of_model(model: POMDP) -> list[Any]:
    """What of a model makes numbers: labels do not."""
    tables = [model.A, model.B, model.C, model.D, model.E, model.pA, model.pB, model.pD, model.pE, model.policies]
    return [*tables, model.A_dependencies, model.B_dependencies]


def _of_space(space: HypothesisSpace) -> list[Any]:
    tables = {key: [t.columns, t.assignment, space.sharp[key]] for key, t in space.tables.items()}
    return [space.names, space.prior, tables, space.models]


_SHORTER = {POMDP: _of_model, HypothesisSpace: _of_space}


def discard_checkpoint(folder: str | Path, only: str | None = None) -> None:
    """Remove the finished batches that `simulate` kept in a folder, and the folder if nothing else is in it.

    Args:
        folder: what `simulate` was told as ``checkpoint``.
        only: leave all but the batches of this name alone (see `checkpoint_name`); None removes those of every run.
    """
    for kept in Path(folder).glob("*" if only is None else only):
        if re.fullmatch("[0-9a-f]{16}", kept.name) and kept.is_dir():
            for path in kept.iterdir():
                if re.fullmatch(r"\.?\d+-\d+-\d+\.npz(\.\d+\.part)?", path.name):
                    path.unlink(missing_ok=True)
            with suppress(OSError):
                kept.rmdir()
    with suppress(OSError):
        Path(folder).rmdir()
