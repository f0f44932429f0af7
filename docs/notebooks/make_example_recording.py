"""Makes the recording that comes with the notebooks, of 18 **simulated** students.

    python docs/notebooks/make_example_recording.py [FILE]

They play 16 trials of the three-ball paradigm. Six of them think as the scheme
``reasoning`` does, six as ``paper-no-model`` does, six guess (``paper-none``). What
they do is random, by the precision with which they act: 40, 12 and 1 per nat. The same
command always writes the same numbers.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from activebmr import simulate
from activebmr.files import write_npz
from activebmr.paradigms import three_ball
from activebmr.teaching import example_recording

KINDS = {"reasoning": 40.0, "paper-no-model": 12.0, "paper-none": 1.0}
"""Schemes of the students, and the precision with which they act, per nat."""
EACH, TRIALS, SEED = 6, 16, 2026


def recording() -> dict[str, np.ndarray]:
    """Arrays as ``activebmr play`` writes them, and ``made_by``: everybody's scheme."""
    parts, made_by = [], []
    for k, (scheme, precision) in enumerate(KINDS.items()):
        paradigm = three_ball.paradigm(scheme)
        planner = replace(paradigm.agent.planner, alpha=precision)
        student = replace(paradigm, agent=paradigm.agent.with_(planner=planner))
        result = simulate(
            student, n_agents=EACH, n_trials=TRIALS, seed=SEED + k, trace=True
        )
        names = ("outcomes", "controls", "states")
        parts.append(
            {n: np.swapaxes(result.trace[n][0], 2, 3).astype(np.int8) for n in names}
        )  # (student, trial, ..., time)
        made_by += [scheme] * EACH
    order = np.random.default_rng(SEED).permutation(len(made_by))
    arrays = {
        name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]
    }
    n = len(made_by)
    about = {
        "participant": np.arange(1, n + 1),
        "name": np.array([f"simulated student {i + 1}" for i in range(n)]),
        "true_model": np.full(n, three_ball.PAPER_RULE),
        "made_by": np.array(made_by)[order],
        "paradigm": np.array(three_ball.NAME),
    }
    return arrays | about


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else example_recording()
    print(write_npz(path, recording()))
