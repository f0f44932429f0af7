"""Finished batches on disk: what an interrupted simulation goes on from."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.arrays import Ints
from activebmr.files import read_npz, write_npz
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.pomdp import POMDP
from activebmr.simulation.paradigm import Paradigm
from activebmr.simulation.result import DIMENSIONS

__all__ = ["Checkpoint", "discard_checkpoint"]


class Checkpoint:
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
        _digest_model(digest, model)
    for space in (paradigm.hypotheses, paradigm.agent.hypotheses):
        if space is not None:
            _digest_space(digest, space)
    for key, space in paradigm.agent.spaces.items():
        digest.update(repr((key, type(space).__name__)).encode())
        _digest_value(digest, space)
    digest.update(repr((paradigm.candidates, paradigm.agent.trial_length)).encode())
    if paradigm.worlds is not None:
        _digest_value(digest, paradigm.worlds)
    _digest_value(digest, {name: paradigm.agent.given[name] for name in ("own", "paths", "rounds")})
    digest.update(repr(sorted((m, tuple(map(float, worth))) for m, worth in paradigm.score.items())).encode())


def _digest_model(digest: Any, model: POMDP) -> None:
    for part in (model.A, model.B, model.C, model.D, model.E, model.pA, model.pB, model.pD, model.pE, [model.policies]):
        digest.update(b"whole" if isinstance(part, np.ndarray) else b"parts")
        for array in part:
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes() + str(np.shape(array)).encode())
    digest.update(repr((model.A_dependencies, model.B_dependencies)).encode())


def _digest_space(digest: Any, space: HypothesisSpace) -> None:
    digest.update(repr(space.names).encode() + space.prior.tobytes())
    for key in sorted(space.tables, key=str):
        table, sharp = space.tables[key], space.sharp[key]
        digest.update(str(key).encode() + table.columns.tobytes() + table.assignment.tobytes() + sharp.tobytes())
    for model in space.models:
        _digest_model(digest, model)


def _digest_value(digest: Any, value: Any, above: tuple[int, ...] = ()) -> None:
    """Feed settings, arrays, functions and what holds them into a hash.

    Args:
        digest: the hash.
        value: to be fed.
        above: ids of what holds it: things may hold each other.
    """
    if id(value) in above:
        return
    above = (*above, id(value))
    if isinstance(value, POMDP):
        _digest_model(digest, value)
    elif isinstance(value, np.ndarray):
        digest.update(str(value.shape).encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, (list, tuple)):
        for item in value:
            _digest_value(digest, item, above)
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            digest.update(str(key).encode())
            _digest_value(digest, value[key], above)
    elif isinstance(value, FunctionType):
        digest.update(f"{value.__module__}.{value.__qualname__}".encode())
        _digest_code(digest, value.__code__)
        _digest_value(digest, [_content(cell) for cell in value.__closure__ or ()], above)
        _digest_value(digest, [value.__defaults__, value.__kwdefaults__], above)
    elif isinstance(value, partial):
        _digest_value(digest, [value.func, value.args, value.keywords], above)
    elif isinstance(value, MethodType):
        _digest_value(digest, [value.__func__, value.__self__], above)
    elif isinstance(value, (type, ModuleType)):
        digest.update(f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}".encode())
        for one in value.__mro__ if isinstance(value, type) else ():
            if not _ours(one):
                _digest_methods(digest, one)
    elif hasattr(value, "__dict__"):
        # in our own types, private attributes are what is worked out on the way; in those of others they may be settings
        ours = _ours(type(value))
        _digest_value(digest, type(value), above)
        _digest_value(digest, {k: v for k, v in vars(value).items() if not (ours and str(k).startswith("_"))}, above)
    else:
        digest.update(repr(value).encode())


def _ours(kind: type) -> bool:
    return kind.__module__.split(".")[0] == "activebmr"


def _digest_methods(digest: Any, kind: type) -> None:
    for method in vars(kind).values():
        for function in (method, *(getattr(method, name, None) for name in ("__func__", "fget", "func"))):
            if isinstance(function, FunctionType):
                _digest_code(digest, function.__code__)


def _digest_code(digest: Any, code: CodeType) -> None:
    """What a function does."""
    digest.update(code.co_code + repr(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _digest_code(digest, constant)
        else:
            digest.update(repr(constant).encode())


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # not yet filled


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
