"""Recordings of behaviour: what was observed and done, in one form whatever form it was handed over in.

Numbers are 0-based; -1 (or nan, None, or masked) is what was missed or is not known. From the time on from which nothing was
observed and nothing chosen a trial is over, so that trials of unequal length fit into one array, padded with -1.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr import checks
from activebmr.arrays import Ints
from activebmr.files import read_npz
from activebmr.model.layout import dynamics_of
from activebmr.model.pomdp import POMDP

__all__ = ["Recording", "load_recording"]

ARRAYS = ("states", "controls", "outcomes")
_AXES = {"states": "factors", "controls": "factors", "outcomes": "modalities"}
_MISSING = {"states": "not known", "controls": "missed", "outcomes": "missed"}


def load_recording(path: str | os.PathLike[str]) -> dict[str, NDArray[np.intp]]:
    """Read a recording, a ``.npz`` file with the arrays that `activebmr.replay` takes: ``controls``, ``outcomes`` and, if
    they are known, the world's ``states`` and the ``true_model`` of each participant.

    Raises:
        FileNotFoundError, ValueError: if the file is not there, damaged, no ``.npz``, or lacks an array.
        TypeError: if an array does not hold whole numbers.

    Example:
        >>> load_recording("participant7.npz")["outcomes"].shape  # trials, modalities, times
        (3, 3, 6)
    """
    checks.path_like(path, "path")
    arrays = read_npz(path, "recording", ("controls", "outcomes"))
    try:
        return {name: _whole(arrays[name], name) for name in (*ARRAYS, "true_model") if name in arrays}
    except TypeError as error:
        raise TypeError(f"recording {path} holds what cannot be: {error}") from error


@dataclass(frozen=True, eq=False)
class Recording:
    """What participants observed and did.

    Attributes:
        outcomes: ``(participants, trials, times, modalities)``, -1 for what was missed.
        controls: what was done between each time and the next ``(participants, trials, times, factors)``, -1 for what was
            missed; 0 for factors that have one control.
        states: states of the world ``(participants, trials, times, factors)``, -1 for what is not known; None if they were not
            recorded.
        lengths: observations of every trial ``(participants, trials)``, 0 for trials that did not take place.
        single: handed over without an axis for participants.

    Example:
        >>> recording = Recording.of(model, **load_recording("participant7.npz"))
        >>> recording.n_participants, recording.lengths.tolist()
        (1, [[6, 6, 6]])
    """

    outcomes: Ints
    controls: Ints
    states: Ints | None
    lengths: Ints
    single: bool

    @classmethod
    def of(cls, model: POMDP, states: Any, controls: Any, outcomes: Any) -> Recording:
        """A recording as `activebmr.replay` takes it, checked against a model.

        Raises:
            ValueError, TypeError: if the arrays do not have the same participants, trials and times, do not hold whole numbers
                or lie out of range.
        """
        if outcomes is None or controls is None:
            raise TypeError(f"{'outcomes' if outcomes is None else 'controls'} of the recording must be given; got None")
        seen, single = _trials(outcomes, "outcomes")
        sizes = {"states": model.num_states, "controls": model.num_controls, "outcomes": model.num_outcomes}
        parts = {"outcomes": seen}
        for name, value in (("controls", controls), ("states", states)):
            if value is not None:
                parts[name], alone = _trials(value, name)
                if alone != single:
                    raise ValueError(f"{name} of the recording must have an axis for participants just if outcomes have one")
        n = len(seen), max(map(len, seen)), max(t.shape[-1] for p in seen for t in p)
        held, short = {}, np.zeros(n[:2], dtype=bool)
        for name, part in parts.items():
            _check_shapes(name, part, seen, len(sizes[name]), single)
            held[name] = np.full((*n, len(sizes[name])), -1)
            for k, trials in enumerate(part):
                for i, trial in enumerate(trials):
                    held[name][k, i, : trial.shape[1]] = trial.T
                    if name == "controls":
                        short[k, i] = trial.shape[1] < seen[k][i].shape[1]
        lengths = _lengths(held["outcomes"], held["controls"][..., list(model.controlled_factors)], short)
        if not lengths.any():
            raise ValueError("outcomes of the recording must hold some that are not -1")
        for name, array in held.items():
            _check_range(name, array, sizes[name], lengths, single)
        held["controls"][..., np.array(model.num_controls) == 1] = 0
        return cls(held["outcomes"], held["controls"], held.get("states"), lengths, single)

    @property
    def n_participants(self) -> int:
        return len(self.outcomes)

    def chosen(self, model: POMDP) -> NDArray[np.bool_]:
        """Where something was chosen and is known ``(participants, trials, times)``; nothing follows the last observation."""
        known = (self.controls[..., list(model.controlled_factors)] >= 0).any(axis=-1)
        return np.asarray(known & (np.arange(known.shape[2]) < self.lengths[..., None] - 1))

    def applied(self, model: POMDP) -> Ints:
        """Controls with which the world went on ``(participants, trials, times, factors)``: those recorded and, where a
        response was missed, control 0 of a factor, or else the first that explains the states best.
        """
        applied = np.maximum(self.controls, 0)
        missed = (self.controls < 0) & (np.arange(self.controls.shape[2]) < self.lengths[..., None] - 1)[..., None]
        if self.states is None:
            return applied
        for k, i, t, f in np.argwhere(missed):
            now, after = self.states[k, i, t], self.states[k, i, t + 1, f]
            deps = list(model.B_dependencies[f])  # type: ignore[index]
            needed = [] if dynamics_of(model).target[f] is not None else [g for g in deps if now[g] < 0]
            if after >= 0 and not needed:
                chance = model.B[f][(after, *(max(int(now[g]), 0) for g in deps))]
                applied[k, i, t, f] = 0 if chance[0] > 0 else int(chance.argmax())
        return applied


# --- forms -----------------------------------------------------------------------------------------------------------------
def _trials(value: Any, name: str) -> tuple[list[list[NDArray[np.intp]]], bool]:
    """Participants' trials ``(middle axis, time)``, and whether there was no axis for participants."""
    depth = _depth(value)
    if depth not in (3, 4) or (isinstance(value, np.ndarray) and 0 in value.shape):
        middle = {"factors": "factor", "modalities": "modality"}[_AXES[name]]
        axes = f"(trial, {middle}, time), or (participant, trial, {middle}, time)"
        got = f"shape {np.shape(value)}" if isinstance(value, np.ndarray) else f"{depth} of them"
        raise ValueError(f"{name} of the recording must have axes {axes}; got {got}")
    people = [value] if depth == 3 else list(value)
    out = [[_whole(trial, name) for trial in trials] for trials in people]
    for trials in out:
        if not trials or any(t.ndim != 2 or 0 in t.shape for t in trials):
            raise ValueError(f"{name} of the recording must hold trials that are not empty, ({_AXES[name]}, times) each")
    return out, depth == 3


def _depth(value: Any) -> int:
    """Axes of an array, or of arrays in lists."""
    if isinstance(value, (list, tuple)):
        return 1 + max(map(_depth, value), default=0)
    return int(np.ndim(value))


def _whole(array: Any, name: str) -> NDArray[np.intp]:
    """Whole numbers, -1 where there is none."""
    if np.ma.isMaskedArray(array):
        array = array.astype(np.float64).filled(np.nan)
    array = np.asarray(array)
    if array.dtype == object:
        array = np.array([np.nan if x is None else x for x in array.ravel()]).reshape(array.shape)
    if array.dtype.kind == "f":
        whole = np.where(np.isnan(array), -1.0, array)
        if (whole == np.rint(whole)).all():
            array = whole.astype(np.intp)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} of the recording must hold integers; got {array.dtype}")
    return array.astype(np.intp)


def _lengths(outcomes: Ints, controls: Ints, short: NDArray[np.bool_]) -> Ints:
    """Observations of every trial. Where controls have an entry less than outcomes each was followed by an observation, even if
    that was missed; otherwise the last one may be what was left unused.
    """
    times = np.arange(1, outcomes.shape[2] + 1)
    seen = ((outcomes >= 0).any(axis=3) * times).max(axis=2)
    done = ((controls >= 0).any(axis=3) * times).max(axis=2)
    return np.minimum(np.maximum(seen, np.where(short & (done > 0), done + 1, done)), outcomes.shape[2])


# --- checks ----------------------------------------------------------------------------------------------------------------
def _check_shapes(
    name: str, part: list[list[NDArray[np.intp]]], seen: list[list[NDArray[np.intp]]], size: int, single: bool
) -> None:
    """The same participants, trials and times as outcomes have; controls may have a time less."""
    fewer = 1 if name == "controls" else 0
    fits = [len(p) for p in part] == [len(p) for p in seen] and all(
        t.shape[0] == size and s.shape[1] - fewer <= t.shape[1] <= s.shape[1]
        for p, q in zip(part, seen, strict=True)
        for t, s in zip(p, q, strict=True)
    )
    if fits:
        return
    shapes = {t.shape for p in part for t in p}, {t.shape[1] for p in seen for t in p}
    if len(shapes[0]) == len(shapes[1]) == len({len(p) for p in part}) == len({len(p) for p in seen}) == 1:
        people = () if single else (len(seen),)
        wanted = (*people, len(seen[0]), size, *shapes[1])
        got = (*(() if single else (len(part),)), len(part[0]), *next(iter(shapes[0])))
        words = "participants, " * (not single) + f"trials, {_AXES[name]}, times"
        less = ", or one time less" * fewer
        raise ValueError(f"{name} of the recording must have shape {wanted} ({words}){less}; got {got}")
    if [len(p) for p in part] != [len(p) for p in seen]:
        raise ValueError(
            f"{name} of the recording must have as many trials of each participant as outcomes, {[len(p) for p in seen]}; got "
            f"{[len(p) for p in part]}"
        )
    for k, (p, q) in enumerate(zip(part, seen, strict=True)):
        for i, (t, s) in enumerate(zip(p, q, strict=True)):
            if t.shape[0] != size or not s.shape[1] - fewer <= t.shape[1] <= s.shape[1]:
                at = f"[{i}]" if single else f"[{k}][{i}]"
                less = ", or one time less" * fewer
                wanted = (size, s.shape[1])
                raise ValueError(
                    f"{name}{at} of the recording must have shape {wanted} ({_AXES[name]}, times){less}; got {t.shape}"
                )


def _check_range(name: str, array: Ints, limits: tuple[int, ...], lengths: Ints, single: bool) -> None:
    used = np.arange(array.shape[2]) < lengths[..., None] - (name == "controls")  # nothing follows the last time
    bad = ((array < -1) | (array >= np.array(limits))) & used[..., None]
    if bad.any():
        k, i, t, m = (int(x) for x in np.argwhere(bad)[0])
        at = f"[{i}, {m}, {t}]" if single else f"[{k}, {i}, {m}, {t}]"
        raise ValueError(
            f"{name}{at} of the recording must lie in 0..{limits[m] - 1}, or be -1 where it was {_MISSING[name]}; got "
            f"{int(array[k, i, t, m])} (counted from 0)"
        )
