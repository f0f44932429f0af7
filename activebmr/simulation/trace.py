"""What the axes of a trace are called, and what their coordinates are, from the labels of the world's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from activebmr.model.pomdp import POMDP

__all__ = ["axes_of_trace", "coordinates", "labels_of"]

_STEP, _TRIAL = ("scheme", "agent", "trial", "time"), ("scheme", "agent", "trial")
_OF_POLICIES = ("neg_efe", "utility", "state_info_gain", "param_info_gain", "model_info_gain", "q_pi")
_LAST = {
    **dict.fromkeys(_OF_POLICIES, ("policy",)),
    **dict.fromkeys(("free_energy", "confidence", "impossible", "policy"), ()),
    "controls": ("factor",),
    "states": ("factor",),
    "outcomes": ("modality",),
    "model_posterior": ("model",),
}
_OF_TRIALS = ("log_odds", "kl_to_truth")


def labels_of(model: POMDP) -> dict[str, Any]:
    """What a result keeps of a model: names of factors, modalities, states, outcomes and controls, and what depends on what."""
    plain = {k: {n: list(v) for n, v in x.items()} if isinstance(x, Mapping) else list(x) for k, x in model.labels.items()}
    return {
        "labels": plain,
        "A_dependencies": [list(d) for d in model.A_dependencies],  # type: ignore[union-attr]
        "B_dependencies": [list(d) for d in model.B_dependencies],  # type: ignore[union-attr]
    }


def axes_of_trace(name: str, shape: tuple[int, ...], settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the axes of a record, from scheme to the last; ``axis_k`` where nothing is known about one.

    Args:
        name: of the record, such as ``"qs_gaze"`` or ``"pA_feedback"``.
        shape: of its array.
        settings: of the result, with the labels of its model.
    """
    labels = settings.get("labels") or {}
    if name in _OF_TRIALS:
        axes = _TRIAL
    elif name in _LAST:
        axes = (*_STEP, *_LAST[name])
    elif name.startswith("qs_"):
        axes = (*_STEP, f"state_{name[3:]}")
    else:
        axes = (*_TRIAL, *_of_counts(name, labels, settings))
    if len(axes) != len(shape):
        start = _STEP if len(shape) > 3 and name[:2] not in ("pA", "pB", "pD", "pE") else _TRIAL
        axes = (*start, *(f"axis_{k}" for k in range(len(shape) - len(start))))
    return axes


def _of_counts(name: str, labels: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Axes of counts: ``pA_m`` (outcome, states), ``pB_f`` (next state, states, control), ``pD_f`` (state), ``pE_f``."""
    kind, _, about = name.partition("_")
    factors, modalities = labels.get("factor", []), labels.get("modality", [])
    if kind == "pA" and about in modalities:
        parents = settings["A_dependencies"][modalities.index(about)]
        return (f"outcome_{about}", *(f"state_{factors[f]}" for f in parents))
    if kind == "pB" and about in factors:
        parents = settings["B_dependencies"][factors.index(about)]
        return (f"next_state_{about}", *(f"state_{factors[f]}" for f in parents), f"control_{about}")
    if kind == "pD" and about in factors:
        return (f"state_{about}",)
    if kind == "pE":
        return (f"control_{about}",) if about else ("policy",)
    return ()


def coordinates(axis: str, size: int, settings: Mapping[str, Any], names: Mapping[str, list[Any]]) -> list[Any] | None:
    """What lies along an axis, or None if nothing is known about it: names of labels, and numbers of trials and times, from 1.

    Args:
        axis: name of the axis.
        size: its length.
        settings: of the result.
        names: what is known of schemes, agents and hypotheses.
    """
    labels = settings.get("labels") or {}
    kind, _, about = axis.removeprefix("next_").partition("_")
    found: list[Any] | None = None
    if axis in ("trial", "time"):
        found = list(range(1, size + 1))
    elif axis in names:
        found = names[axis]
    elif axis in ("factor", "modality"):
        found = labels.get(axis)
    elif kind in ("state", "outcome", "control"):
        found = labels.get(f"{kind}s", {}).get(about)
    return found if found is not None and len(found) == size else None
