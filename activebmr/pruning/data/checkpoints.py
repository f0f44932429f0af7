"""Checkpoints of long trainings: whole or not there at all, and only read by the run that they belong to."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import torch

from activebmr.files import write_whole

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(path: Path, identity: dict[str, Any], state: dict[str, Any]) -> bool:
    """Write tensors and plain values in one move.

    Returns:
        whether that could be done. If not (a full disk, a folder that cannot be written), there is a warning, and an older
        checkpoint is still there: training is worth more than its checkpoint.
    """
    buffer = io.BytesIO()  # torch's own errors about files do not say which
    torch.save({"identity": identity} | state, buffer)
    try:
        write_whole(path, buffer.getvalue())
    except OSError as error:
        warnings.warn(
            f"checkpoint {path} could not be written ({error.strerror or error}): the run goes on without it", stacklevel=2
        )
        return False
    return True


def load_checkpoint(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """What was saved, or None if there is no such file.

    Raises:
        ValueError: if it is damaged or was made with other settings, data or networks.
    """
    if not path.exists():
        return None
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)  # whoever loads it knows where tensors go
    except Exception as error:  # whatever a damaged archive raises
        raise ValueError(f"checkpoint {path} cannot be read: truncated or damaged ({type(error).__name__})") from error
    if not isinstance(held, dict) or held.get("identity") != identity:
        raise ValueError(f"checkpoint {path} belongs to other settings, data or another network: remove it or choose another")
    return held
