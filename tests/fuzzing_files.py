"""Damaged files of every kind that is read: clear errors that name the file, or what was saved, and nothing else."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing import ACCEPTED, CLEAR, RIGHT, UNCLEAR, Outcome

from activebmr import Result, load_recording, simulate
from activebmr.simulation.registry import load_paradigm
from paradigms import three_ball

PARADIGM = """
from paradigms import three_ball
NAME, DESCRIPTION, SCHEMES, DEFAULT_SCHEME, TRIALS = "mine", "a file", {{"a": "one", "b": "two"}}, "a", 3
OPTIONS = {{"pace": ["slow", "fast"]}}
MEASURES = {{"clean": ("trials without a loss", "share", "wins")}}
def paradigm(scheme="a", true_rule=None, *, pace="slow"):
    return three_ball.paradigm()
{name} = {value}
"""
SETTINGS = ("NAME", "DESCRIPTION", "SCHEMES", "DEFAULT_SCHEME", "TRIALS", "OPTIONS", "MEASURES", "SCENE", "paradigm", "figures")
VALUES = (
    "1",
    "1.5",
    "True",
    "b'a'",
    "[]",
    "['a']",
    "{'a': 1}",
    "{1: 'a'}",
    "float('nan')",
    "object()",
    "lambda: None",
    "int",
    "''",
    "'a/b'",
    "1j",
    "-3",
    "{'a': []}",
    "{'a': [1]}",
    "{'clean': (1, 2, 3)}",
    "{'': ('a', 'b', 'wins')}",
)
_FINE = {
    "TRIALS": {"1"},
    "DESCRIPTION": {"''", "'a/b'"},
    "SCENE": {"''", "'a/b'"},
    "paradigm": {"int"},
    "figures": {"int", "lambda: None"},
}


@dataclass(frozen=True)
class File:
    """A file, how it is read, and whether what was read is what was saved."""

    kind: str
    path: Path
    read: Callable[[], Any]
    same: Callable[[Any], bool]


def files(folder: Path) -> list[File]:
    """A file of each kind."""
    return [*_of_results(folder), *_checkpoints(folder), *_networks(folder)]


def damaged(folder: Path, count: int, start: int = 0) -> Iterator[Outcome]:
    """``count`` files with a few bytes changed, cut off or added, and as many settings of paradigms' files as there are."""
    rng = np.random.default_rng(start)
    held = files(folder)
    for k in range(count):
        file = held[k % len(held)]
        whole = file.path.read_bytes()
        label, spoiled = _spoiled(whole, rng)
        file.path.write_bytes(spoiled)
        yield _judge(file.kind, str(file.path), label, file.read, file.same)
        file.path.write_bytes(whole)
    yield from _paradigms(folder, rng, min(count, len(SETTINGS) * len(VALUES)))


def _spoiled(whole: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Other bytes, and what was done to them."""
    data, way = bytearray(whole), int(rng.integers(7))
    at = int(rng.integers(len(data)))
    if way == 0:
        data[at] ^= 1 << int(rng.integers(8))
        return f"a bit at {at} turned", bytes(data)
    if way == 1:
        data[at] = int(rng.integers(256))
        return f"byte {at} is {data[at]}", bytes(data)
    if way == 2:
        return f"cut off at {at}", bytes(data[:at])
    if way == 3:
        end = at + int(rng.integers(1, 50))
        return f"bytes {at} to {end} left out", bytes(data[:at] + data[end:])
    if way == 4:
        more = rng.bytes(int(rng.integers(1, 50)))
        return f"bytes put in at {at}", bytes(data[:at] + more + data[at:])
    if way == 5:
        end = min(at + int(rng.integers(1, 200)), len(data))
        data[at:end] = rng.bytes(end - at)
        return f"bytes {at} to {end} by chance", bytes(data)
    digits = [m.start() for m in re.finditer(rb"[0-9]", whole)]
    if digits:
        at = digits[int(rng.integers(len(digits)))]
        data[at] = 48 + (data[at] - 48 + int(rng.integers(1, 10))) % 10
    return f"another digit at {at}", bytes(data)


def _judge(kind: str, name: str, label: str, read: Callable[[], Any], same: Callable[[Any], bool]) -> Outcome:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with np.errstate(all="ignore"):
                held = read()
    except (ValueError, TypeError, FileNotFoundError) as error:
        clear = name in str(error)
        return Outcome(kind, "file", label, CLEAR if clear else UNCLEAR, f"{type(error).__name__}: {error}")
    except Exception as error:
        return Outcome(kind, "file", label, UNCLEAR, f"{type(error).__name__}: {error}")
    return Outcome(kind, "file", label, RIGHT if same(held) else ACCEPTED, "")


def _alike(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a
    )


def _of_results(folder: Path) -> list[File]:
    result = simulate(three_ball.paradigm(), 2, 2, trace=True)
    whole = result.save(folder / "result.npz", trace=True)
    kept = Result.load(whole)
    same = lambda r: _alike(r.arrays, kept.arrays) and _alike(r.trace, kept.trace)  # noqa: E731
    loose = folder / "loose.npz"  # without compression, whose checks find much
    np.savez(loose, **kept.arrays)
    recorded = folder / "recording.npz"
    np.savez(recorded, **{n: np.moveaxis(kept.trace[n][0, 0], 1, 2) for n in ("controls", "outcomes", "states")})
    told = load_recording(recorded)
    return [
        File("result", whole, lambda: Result.load(whole), same),
        File("result, not compressed", loose, lambda: Result.load(loose), lambda r: _alike(r.arrays, kept.arrays)),
        File("recording", recorded, lambda: load_recording(recorded), lambda r: _alike(r, told)),
    ]


def _checkpoints(folder: Path) -> list[File]:
    """What a simulation that goes on from a damaged batch gives is what it gives without."""
    paradigm, place = three_ball.paradigm(), folder / "batches"
    run = lambda: simulate(paradigm, 2, 1, checkpoint=place)  # noqa: E731
    whole = run()
    (path,) = place.glob("*/*.npz")
    return [File("checkpoint", path, run, lambda r: _alike(r.arrays, whole.arrays))]


def _networks(folder: Path) -> list[File]:
    try:
        import torch
        from nets import SHAPES, made, pruned

        from activebmr.pruning.structures.compaction import compact
        from activebmr.pruning.structures.saving import load_compact, save_compact
    except ImportError:
        return []
    x = torch.randn(2, *SHAPES["mlp"], generator=torch.Generator().manual_seed(0))
    small = compact(pruned(made("mlp")), x)
    place = save_compact(small, folder / "network")
    dense, state = made("mlp", seed=7), small.state_dict()

    def same(net: Any) -> bool:
        other = net.state_dict()
        with torch.no_grad():
            return (
                other.keys() == state.keys()
                and all(torch.equal(state[k], other[k]) for k in state)
                and torch.equal(net(x), small(x))
            )

    read = lambda: load_compact(dense, place)  # noqa: E731
    return [File(f"network: {n}", place / n, read, same) for n in ("structure.json", "weights.safetensors")]


def _paradigms(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Outcome]:
    """Files of paradigms, one setting of which is something else."""
    every = [(name, value) for name in SETTINGS for value in VALUES]
    for i in rng.permutation(len(every))[:count]:
        name, value = every[i]
        path = folder / f"mine{i}.py"
        path.write_text(PARADIGM.format(name=name, value=value), encoding="utf-8")
        fine = value in _FINE.get(name, set())
        yield _judge(
            f"paradigm file, {name}", path.name, value, lambda p=path: load_paradigm(str(p)), lambda _, fine=fine: fine
        )
