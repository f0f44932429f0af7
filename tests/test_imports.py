"""`import activebmr` needs numpy and scipy alone; everything else is loaded by those who use it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import activebmr

LATE = (
    "matplotlib",
    "torch",
    "jax",
    "xarray",
    "pymdp",
    "gymnasium",
    "loky",
    "joblib",
    "rich",
    "typer",
    "pandas",
    "numba",
    "sklearn",
    "starlette",
)

SECONDS = 0.5
"""How long an import may take, of processor time, so that what else a machine does is not counted."""


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running some code."""
    ask = f"{code}\nimport sys; print(' '.join(sorted({{m.split('.')[0] for m in sys.modules}})))"
    run = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "from activebmr import *",
        "import paradigms.three_ball",
        "from paradigms.three_ball import paradigm\nimport activebmr\nactivebmr.simulate(paradigm(), 1, 1)",
    ],
    ids=["import", "paradigm", "simulate"],
)
def test_only_numpy_and_scipy_are_loaded(code):
    loaded = loaded_after(code)
    assert {"numpy", "scipy", "activebmr"} <= loaded
    assert loaded.isdisjoint(LATE), f"loaded too early: {sorted(loaded & set(LATE))}"


def test_what_is_public_is_imported_when_it_is_asked_for():
    assert loaded_after("import activebmr; activebmr.cli.main").isdisjoint({*LATE, "numpy", "scipy"})
    assert {"activebmr", "numpy"} <= loaded_after("import activebmr; activebmr.Agent; activebmr.reduction.log_odds")
    assert {*activebmr.__all__, "plots", "pruning", "interop"} <= set(dir(activebmr))
    with pytest.raises(AttributeError, match="module 'activebmr' has no attribute 'agents'"):
        activebmr.agents  # noqa: B018


def seconds_of(modules: str) -> float:
    """Processor seconds that an import takes in a fresh process."""
    code = f"import time; t = time.process_time(); import {modules}; print(time.process_time() - t)"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env, check=True)
    return float(run.stdout)


def test_the_import_is_quick():
    """On a crowded machine processor time is several times what it is on a quiet one: where NumPy and SciPy alone take more
    than a third of what is allowed, three times as long as theirs is.
    """
    times, others = [], []
    for _ in range(12):  # the first one compiles, and others may be at work here
        times.append(seconds_of("activebmr.behaviour.replay"))  # which needs nearly all
        if times[-1] < SECONDS:
            return
        others.append(seconds_of("numpy, scipy.special, scipy.sparse"))
        if len(times) > 3 and min(times) < 3 * min(others):
            return
    raise AssertionError(f"import activebmr takes {min(times):.2f} s of processor time at best, {min(others):.2f} without it")


def test_everything_that_is_exported_is_there_and_documented():
    for name in activebmr.__all__:
        assert getattr(activebmr, name).__doc__, name
    assert len(set(activebmr.__all__)) == len(activebmr.__all__)
    assert activebmr.__version__.startswith("0.2.0")
