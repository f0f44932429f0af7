"""Compacted networks on disk: their weights and what has been taken out, as plain data. Nothing that is read can run code.

A folder holds ``weights.safetensors`` and ``structure.json``. The class of the network is not in it: who loads makes a dense
network as before, and `load_compact` cuts it to size as `compact` did.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections import OrderedDict
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from activebmr import checks
from activebmr.files import write_whole
from activebmr.pruning.data.batches import tried
from activebmr.pruning.data.checks import module
from activebmr.pruning.structures.cutting import Structure, cut, structure_of
from activebmr.pruning.units.inputs import Inputs, check_inputs

__all__ = ["FORMAT_VERSION", "load_compact", "save_compact"]

FORMAT_VERSION = 2
"""Of ``structure.json``; 1 named structures of Torch-Pruning's, and is no longer read."""

_KEYS = {"format_version", "torch_version", "network", "weights_sha256", "state_metadata", "compactions", "structure_sha256"}
_WEIGHTS, _STRUCTURE = "weights.safetensors", "structure.json"


def save_compact(small: nn.Module, folder: str | Path) -> Path:
    """Save a network that `compact` has made, trained further or not.

    Args:
        small: the network.
        folder: made if it is not there; what it holds of an earlier network is overwritten.

    Returns:
        the folder.

    Raises:
        ValueError: if ``small`` has not been made by `compact`, or has state that is no tensor.

    Example:
        >>> folder = save_compact(compact(noisy, x[:1]), "small")
        >>> small = load_compact(net, folder)
    """
    from safetensors.torch import save

    structures, state = structure_of(small), small.state_dict()
    folder = Path(checks.path_like(folder, "folder"))
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"small must have a state of tensors alone; {name!r} is a {type(value).__name__}")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder must be that of the network, or not exist yet; {folder} is a file")
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()})
    about = {
        "format_version": FORMAT_VERSION,
        "torch_version": str(torch.__version__),
        "network": type(small).__name__,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "state_metadata": {k: v for k, v in getattr(state, "_metadata", {}).items() if _plain(v)},
        "compactions": [asdict(s) for s in structures],
    }
    about["structure_sha256"] = _digest(about)
    write_whole(folder / _WEIGHTS, weights)
    write_whole(folder / _STRUCTURE, (json.dumps(about, indent=1) + "\n").encode())
    return folder


def _digest(about: dict[str, Any]) -> str:
    """Of all that ``structure.json`` says, but the digest itself."""
    said = {key: value for key, value in about.items() if key != "structure_sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _plain(metadata: Any) -> bool:
    return isinstance(metadata, dict) and all(isinstance(v, (int, str, float, bool, type(None))) for v in metadata.values())


def load_compact(net: nn.Module, folder: str | Path, example_inputs: Inputs | None = None) -> nn.Module:
    """Load a network that `save_compact` has saved.

    Args:
        net: a dense network as it was before `compact`, with any weights; it is not changed.
        folder: where the compacted one is.
        example_inputs: what ``net`` may be called with, as for `compact`; if given, the network is run on them once, so that
            what does not fit is found now.

    Returns:
        the compacted network, in evaluation mode, on the device of ``net``.

    Raises:
        TypeError: if ``net`` is no module.
        FileNotFoundError: if the folder lacks a file.
        ValueError: if a file is damaged or of another format, or ``net`` has other layers or sizes.

    Example:
        >>> small = load_compact(lenet5((1, 28, 28)), "folder", x[:1])
    """
    module(net)
    if example_inputs is not None:
        check_inputs(example_inputs)
    folder = Path(checks.path_like(folder, "folder"))
    structures, digest, metadata = _read_structure(folder / _STRUCTURE)
    state = _read_weights(folder / _WEIGHTS, digest)
    small = copy.deepcopy(net).eval()
    for structure in structures:
        cut(small, structure)
    _check_state(small, state, folder)
    held = OrderedDict(state)
    held._metadata = OrderedDict(metadata)  # type: ignore[attr-defined]
    small.load_state_dict(held)
    small._compactions = structures  # type: ignore[assignment]
    if example_inputs is not None:
        tried(small, example_inputs, "example_inputs")
    return small


def _check_state(small: nn.Module, state: dict[str, torch.Tensor], folder: Path) -> None:
    mine = small.state_dict()
    for names, problem in ((mine.keys() - state.keys(), "lacks"), (state.keys() - mine.keys(), "has, and net has not,")):
        if names:
            raise ValueError(f"net must have the weights that are in {folder}; the folder {problem} {sorted(names)[0]!r}")
    for name, value in state.items():
        for what in ("shape", "dtype"):
            here, there = getattr(mine[name], what), getattr(value, what)
            if here != there:
                here, there = (tuple(x) if what == "shape" else x for x in (here, there))
                raise ValueError(f"net must have the weights that are in {folder}; {what} of {name!r} is {here}, not {there}")


def _read_weights(path: Path, digest: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not path.is_file():
        raise FileNotFoundError(f"folder must hold {path.name}, as save_compact writes it; {path} is not there")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{path} must be the file that was saved with {_STRUCTURE}; it is damaged or another")
    try:
        return load(data)  # type: ignore[no-any-return]
    except SafetensorError as error:
        raise ValueError(f"{path} must be a safetensors file; it cannot be read ({error})") from error


def _read_structure(path: Path) -> tuple[list[Structure], str, dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"folder must hold {path.name}, as save_compact writes it; {path} is not there")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be JSON, as save_compact writes it; it cannot be read ({error})") from error
    version = about.get("format_version") if isinstance(about, dict) else None
    if type(version) is not int or version < 1:
        raise ValueError(f"{path} must have a whole format_version >= 1; got {version!r}")
    if version > FORMAT_VERSION:
        raise ValueError(f"{path} must have a format_version up to {FORMAT_VERSION}; got {version}: a newer activebmr wrote it")
    if version < FORMAT_VERSION:
        raise ValueError(
            f"{path} must have format_version {FORMAT_VERSION}; got {version}: activebmr 0.1 wrote it, compact again"
        )
    digest, found = about.get("weights_sha256"), about.get("compactions")
    if not isinstance(digest, str) or not isinstance(found, list):
        raise ValueError(f"{path} must have weights_sha256 and compactions, as save_compact writes them")
    metadata = about.get("state_metadata", {})
    if not isinstance(metadata, dict) or not all(_plain(v) for v in metadata.values()):
        raise ValueError(f"{path} must have state_metadata of plain values, by module")
    structures = [_structure(path, s) for s in found]
    unknown = about.keys() - _KEYS
    if unknown:
        raise ValueError(f"{path} must have the keys {sorted(_KEYS)}; got {sorted(unknown)[0]!r} beside them")
    if about.get("structure_sha256", _digest(about)) != _digest(about):  # files of before have none
        raise ValueError(
            f"{path} must be as save_compact wrote it; its digest is that of another text: it is damaged or was edited"
        )
    return structures, digest, metadata


def _structure(path: Path, data: Any) -> Structure:
    keys = {f.name for f in fields(Structure)}
    if not isinstance(data, dict) or data.keys() != keys:
        raise ValueError(
            f"{path} must have compactions with {sorted(keys)}; got {data if not isinstance(data, dict) else list(data)}"
        )
    structure = Structure(**data)
    for key in ("sites", "kept", "norms", "sizes", "shapes", "left"):
        value = getattr(structure, key)
        if not isinstance(value, dict) or not all(isinstance(v, dict) for v in value.values()):
            raise ValueError(f"{path} must have a mapping of mappings in {key}; got {value!r}")
    if not isinstance(structure.attention, list) or not all(isinstance(name, str) for name in structure.attention):
        raise ValueError(f"{path} must have names of modules in attention; got {structure.attention!r}")
    for axes in structure.kept.values():
        for axis, step in axes.items():
            if not str(axis).isdecimal() or not isinstance(step, dict):
                raise ValueError(f"{path} must have n and kept by number of the axis in kept; got {axis!r}: {step!r}")
            _check_kept(path, step.get("kept"), step.get("n"))
    for step in structure.sites.values():
        _check_kept(path, step.get("kept"), step.get("n"))
    for step in structure.norms.values():
        kind = step.get("kind") in ("layer", "rms", "group") and type(step.get("axis")) is int
        if not kind or not _is_eps(step.get("eps")):
            raise ValueError(f"{path} must have kind, axis and eps in norms; got {step!r}")
        _check_kept(path, step.get("kept"), step.get("total"))
    for modes in structure.shapes.values():
        if not modes.keys() <= {"eval", "train"} or "eval" not in modes or not all(_is_shapes(c) for c in modes.values()):
            raise ValueError(f"{path} must have sizes by axis by call for eval and train in shapes; got {modes!r}")
    for attributes in structure.sizes.values():
        for value in attributes.values():
            if not (_is_size(value) or (isinstance(value, list) and all(type(v) is int for v in value))):
                raise ValueError(f"{path} must have whole numbers in sizes; got {value!r}")
    return structure


def _check_kept(path: Path, kept: Any, n: Any) -> None:
    good = isinstance(kept, list) and kept and all(type(i) is int and i >= 0 for i in kept) and _is_size(n) and kept[-1] < n
    if not good or kept != sorted(set(kept)):
        raise ValueError(
            f"{path} must have kept indices in ascending order, at least one, from 0 to n - 1; got {kept!r}, n {n!r}"
        )


def _is_shapes(calls: Any) -> bool:
    return isinstance(calls, dict) and all(
        str(k).isdecimal() and isinstance(axes, dict) and all(str(a).isdecimal() and _is_size(n) for a, n in axes.items())
        for k, axes in calls.items()
    )


def _is_eps(x: Any) -> bool:
    return x is None or (isinstance(x, float) and 0 <= x < 1)


def _is_size(x: Any) -> bool:
    return type(x) is int and x >= 1
