"""Lives of thousands of trials: agents neither grow, nor slow their lives down by what they keep, nor drift."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from activebmr import simulate
from activebmr.paradigms import three_ball

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "long_lives.py"


@pytest.fixture(scope="module")
def lives() -> ModuleType:
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("long_lives", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["long_lives"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("scheme", ["reasoning", "paper-no-selection"])
def test_hundreds_of_trials(lives: ModuleType, scheme: str) -> None:
    report = lives.live(scheme, n_agents=2, n_trials=300, settled=100, last=60)
    assert report.faults() == []
    assert report.drift["counts"] < 1e-11 and report.drift["sums"] < 1e-14


@pytest.mark.slow
@pytest.mark.parametrize("scheme", list(three_ball.SCHEMES))
def test_thousands_of_trials(lives: ModuleType, scheme: str) -> None:
    report = lives.live(scheme, n_agents=2, n_trials=5000, settled=500, last=500)
    assert report.faults() == []
    # a busy machine slows a life down here and there, but a life that slows itself down does so tenfold over so many trials
    assert report.seconds[1] < 3 * report.seconds[0]


def test_counts_follow_from_the_trace_alone() -> None:
    """Of agents who learn at once and believe factor by factor: counts by the definition, each summed with one rounding."""
    n = 120
    result = simulate(three_ball.paradigm("paper-no-selection"), n_agents=1, n_trials=n, trace=True)
    trace = {name: array[0, 0] for name, array in result.trace.items()}
    names = ["left", "centre", "right", "gaze", "choice"]
    joint = np.einsum("nta,ntb,ntc,ntg,ntw->ntabcgw", *(trace[f"qs_{name}"] for name in names))
    kept = 512 / 513
    counts = three_ball.naive_model().pA[2]
    assert counts is not None
    for o in range(3):
        seen = (trace["outcomes"][..., 2] == o)[:, :, None, None, None, None, None] * joint
        faded = seen.sum(axis=1) * (kept ** np.arange(n, 0, -1.0))[:, None, None, None, None, None]
        for state in np.ndindex(*counts.shape[1:]):
            begun = float(counts[(o, *state)])
            expected = math.fsum([begun * kept**n, *faded[(slice(None), *state)]]) if begun > 0 else 0.0
            assert trace["pA_feedback"][(-1, o, *state)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("what", ["counts", "odds", "live", "blocks"])
def test_what_drifts_or_grows_is_found(lives: ModuleType, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A life that is not quite right is reported, by what is wrong with it."""
    kept: list[np.ndarray] = []
    advance, conclude = lives.Audited.advance, lives.Watched.conclude

    def off(self, state, streams=None):
        if what == "counts" and state.trial == 20:
            state.tables[2].counts[0] *= 1 + 1e-7
        elif what == "odds" and state.trial == 45 and state.adopted[0] >= 0:
            state.knowledge.models.log_posterior[0, :5] += 1e-6
        return conclude(self, state, streams)

    def hoard(self, *arguments):
        kept.extend(np.zeros(2 if what == "blocks" else 200) for _ in range(4))
        return advance(self, *arguments) if isinstance(self, lives.Audited) else self.life.advance(*arguments)

    monkeypatch.setattr(lives.Watched, "conclude", off)
    if what in ("live", "blocks"):
        monkeypatch.setattr(lives.Watched, "advance", hoard, raising=False)
        monkeypatch.setattr(lives.Audited, "advance", hoard)
    scheme = "reasoning" if what == "odds" else "paper-no-selection"
    report = lives.live(scheme, n_agents=1, n_trials=60, settled=20, last=60)
    assert any(f": {what} " in sentence for sentence in report.faults())
