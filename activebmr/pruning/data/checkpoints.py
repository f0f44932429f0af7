"""Checkpoints of long trainings: whole or not there at all, and only read by the run that they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(path: Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Write tensors and plain values in one move."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    torch.save({"identity": identity} | state, part)
    part.replace(path)


def load_checkpoint(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """What was saved, or None if there is no such file.

    Raises:
        ValueError: if it is damaged or was made with other settings, data or networks.
    """
    if not path.exists():
        return None
    try:
        held = torch.load(path, weights_only=True)
    except Exception as error:  # whatever a damaged archive raises
        raise ValueError(f"checkpoint {path} cannot be read: truncated or damaged ({type(error).__name__})") from error
    if not isinstance(held, dict) or held.get("identity") != identity:
        raise ValueError(f"checkpoint {path} belongs to other settings, data or another network: remove it or choose another")
    return held
