"""Compacted networks on disk: their weights and what has been taken out, as plain data. Nothing that is read can run code.

A folder holds ``weights.safetensors`` and ``structure.json``. The class of the network is not in it: who loads makes a dense
network as before, and `load_compact` cuts it to size as `compact` did.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from activebmr.pruning.structures.slimming import Inputs, Structure, make_room, slim, structure_of

__all__ = ["FORMAT_VERSION", "load_compact", "save_compact"]

FORMAT_VERSION = 1
"""Of ``structure.json``."""

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
    """
    from safetensors.torch import save

    structures, state = structure_of(small), small.state_dict()
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"small must have a state of tensors alone; {name!r} is a {type(value).__name__}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()})
    about = {
        "format_version": FORMAT_VERSION,
        "torch_version": str(torch.__version__),
        "network": type(small).__name__,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "compactions": [asdict(s) for s in structures],
    }
    (folder / _WEIGHTS).write_bytes(weights)
    (folder / _STRUCTURE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return folder


def load_compact(net: nn.Module, folder: str | Path, example_inputs: Inputs) -> nn.Module:
    """Load a network that `save_compact` has saved.

    Args:
        net: a dense network as it was before `compact`, with any weights; it is not changed.
        folder: where the compacted one is.
        example_inputs: what ``net`` may be called with, as for `compact`.

    Returns:
        the compacted network, in evaluation mode, on the device of ``net``.

    Raises:
        TypeError: if ``net`` is no module.
        FileNotFoundError: if the folder lacks a file.
        ValueError: if a file is damaged or of a newer format, or ``net`` has other layers or sizes.

    Example:
        >>> small = load_compact(lenet5((1, 28, 28)), "folder", x[:1])
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch.nn.Module; got {type(net).__name__}")
    folder = Path(folder)
    structures, digest = _read_structure(folder / _STRUCTURE)
    state = _read_weights(folder / _WEIGHTS, digest)
    small = copy.deepcopy(net).eval()
    for structure in structures:
        _check_names(small, structure)
        make_room(small, structure)
        slim(small, structure, example_inputs)
    _check_state(small, state, folder)
    small.load_state_dict(state)
    small._compactions = structures  # type: ignore[assignment]
    return small


def _check_names(net: nn.Module, structure: Structure) -> None:
    known = dict(net.named_modules())
    for name in (*structure.scales, *structure.affine, *structure.biases):
        if name not in known:
            raise ValueError(f"net must have the layer {name!r}; it has not")


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


def _read_structure(path: Path) -> tuple[list[Structure], str]:
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
    digest, found = about.get("weights_sha256"), about.get("compactions")
    if not isinstance(digest, str) or not isinstance(found, list):
        raise ValueError(f"{path} must have weights_sha256 and compactions, as save_compact writes them")
    return [_structure(path, s) for s in found], digest


def _structure(path: Path, data: Any) -> Structure:
    keys = {f.name for f in fields(Structure)}
    if not isinstance(data, dict) or data.keys() != keys:
        raise ValueError(
            f"{path} must have compactions with {sorted(keys)}; got {data if not isinstance(data, dict) else list(data)}"
        )
    structure = Structure(**data)
    for key, kind in (("layers", list), ("heads", dict), ("scales", dict), ("affine", list), ("biases", list), ("left", dict)):
        if not isinstance(getattr(structure, key), kind):
            raise ValueError(f"{path} must have {key} of the type {kind.__name__}; got {getattr(structure, key)!r}")
    if not all(_is_size(x) for shape in structure.scales.values() for x in (shape if isinstance(shape, list) else [None])):
        raise ValueError(f"{path} must have scales with shapes; got {structure.scales!r}")
    if not all(isinstance(name, str) for name in (*structure.affine, *structure.biases)):
        raise ValueError(f"{path} must have names of layers in affine and biases")
    for step in (*structure.layers, *structure.heads.values()):
        n, kept = (step.get("n"), step.get("kept")) if isinstance(step, dict) else (None, None)
        good = _is_size(n) and isinstance(kept, list) and kept and all(type(i) is int and 0 <= i < n for i in kept)
        if not good or kept != sorted(set(kept)):
            raise ValueError(f"{path} must have kept indices in ascending order, at least one, from 0 to n - 1; got {step!r}")
    if not all(isinstance(step.get("layer"), str) for step in structure.layers):
        raise ValueError(f"{path} must have the name of a layer in each of layers")
    return structure


def _is_size(x: Any) -> bool:
    return type(x) is int and x >= 1
