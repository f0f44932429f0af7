"""`replay`: let agents live through a recording, of another program or of a person, and report what they would have thought.

The agent perceives the recorded outcomes, learns, evaluates policies and selects models as always, but the world and the
actions are the recording's. This is how recorded participants are analysed: ``q_pi`` at the recorded actions is how probable
the scheme's posterior over policies made what was actually done (simulated agents act more sharply, by softmax(alpha x
neg_efe)).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.files import read_npz
from activebmr.simulation.paradigm import Paradigm, stream
from activebmr.simulation.recorder import Recorder, divergence_from
from activebmr.simulation.worlds import ModelProcess

__all__ = ["load_recording", "replay"]

RECORDING = ("states", "controls", "outcomes")


def load_recording(path: str | os.PathLike[str]) -> dict[str, NDArray[np.intp]]:
    """Read a recording: 0-based integers ``states`` (trial, factor, time), ``controls`` (trial, factor, time; what was done
    between t and t + 1) and ``outcomes`` (trial, modality, time).

    Raises:
        FileNotFoundError, ValueError: if the file is not there, damaged, or lacks an array.
        TypeError: if an array does not hold whole numbers.
    """
    arrays = read_npz(path, "recording", RECORDING)
    return {name: _whole(arrays[name], name) for name in RECORDING}


def _whole(array: NDArray[Any], name: str) -> NDArray[np.intp]:
    array = np.asarray(array)
    if array.dtype.kind == "f" and (array == np.rint(array)).all():
        array = array.astype(np.intp)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} of the recording must hold integers; got {array.dtype}")
    return array.astype(np.intp)


def replay(paradigm: Paradigm, states: Any, controls: Any, outcomes: Any) -> dict[str, NDArray[Any]]:
    """Let one agent of a paradigm live through recorded trials.

    Args:
        paradigm: gives the agent, and the truth that its likelihood is compared with (not a random one).
        states: the world's states ``(trial, factor, time)``, 0-based; kept beside the result, the agent does not see them.
        controls: controls ``(trial, factor, time)`` applied between t and t + 1; at the last time they are not used.
        outcomes: what was observed ``(trial, modality, time)``.

    Returns:
        named arrays, 0-based, nats. Axes (trial, time, policy): ``neg_efe``, ``utility``, ``state_info_gain``,
        ``param_info_gain``, ``model_info_gain``, ``q_pi``. Axes (trial, time, ...): ``qs_<factor>``, ``model_posterior``,
        ``free_energy``, ``confidence``, ``policy`` (index of the recorded action, -1 if no policy does that), ``controls``,
        ``outcomes``, ``states``. Axes (trial, ...): ``pA_<modality>`` (end of the trial, after forgetting, before a model is
        adopted), ``log_odds``, ``kl_to_truth``, ``adopted_model`` (in force after the trial, -1 for none).

    Raises:
        ValueError, TypeError: if the arrays do not have the same trials and times, do not hold whole numbers or lie out of
            range.
    """
    model, agent = paradigm.model, paradigm.agent
    arrays = {n: _whole(a, n) for n, a in (("states", states), ("controls", controls), ("outcomes", outcomes))}
    _check(paradigm, arrays)
    n_trials, _, length = arrays["outcomes"].shape
    truths = paradigm.truths(0, np.arange(1))
    process = ModelProcess(model, paradigm.hypotheses, truths)
    state, recorder = agent.init(1), Recorder(model)
    dreams = [stream(0, 0, 2)]
    adopted = []
    for i in range(n_trials):
        for t in range(length):
            seen = arrays["outcomes"][i, :, t][None]
            last = t == length - 1
            done = np.zeros((1, model.num_factors), dtype=np.intp) if last else arrays["controls"][i, :, t][None]
            info = agent._advance(state, list(seen.T), np.zeros(1), done)
            recorder.step(info, seen, arrays["states"][i, :, t][None])
        divergence = divergence_from(state, process)
        recorder.trial(agent._conclude(state, dreams), divergence)
        adopted.append(state.adopted[0])
    out = {name: array[0] for name, array in recorder.arrays().items()}
    return out | {"adopted_model": np.array(adopted)}


def _check(paradigm: Paradigm, arrays: dict[str, NDArray[np.intp]]) -> None:
    model = paradigm.model
    if paradigm.truth == "random":
        raise ValueError("truth must be one hypothesis in a replay; got 'random'")
    shape = arrays["outcomes"].shape
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"outcomes of the recording must have axes (trial, modality, time); got shape {shape}")
    trials, times = shape[0], shape[2]
    if times > paradigm.trial_length:
        raise ValueError(f"outcomes of the recording must have at most {paradigm.trial_length} times per trial; got {times}")
    for name, middle, limits in (
        ("states", "factors", model.num_states),
        ("controls", "factors", model.num_controls),
        ("outcomes", "modalities", model.num_outcomes),
    ):
        array, wanted = arrays[name], (trials, len(limits), times)
        if array.shape != wanted:
            raise ValueError(f"{name} of the recording must have shape {wanted} (trials, {middle}, times); got {array.shape}")
        for i, limit in enumerate(limits):
            bad = (array[:, i] < 0) | (array[:, i] >= limit)
            if name == "controls":
                bad[:, -1] = False  # nothing follows the last time
            if bad.any():
                k, t = (int(x) for x in np.argwhere(bad)[0])
                raise ValueError(
                    f"{name}[{k}, {i}, {t}] of the recording must lie in 0..{limit - 1}; got {int(array[k, i, t])} (0-based)"
                )
