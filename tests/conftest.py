"""What all tests share: reproducible property tests and SPM's recorded numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

DATA = Path(__file__).parent / "data"

# the same examples on every machine and in every run: a failure can always be repeated
settings.register_profile(
    "activebmr", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("activebmr")


@cache
def _load(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / "spm" / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="session")
def spm() -> Callable[[str], dict[str, np.ndarray]]:
    """SPM's numbers by file name, see tests/data/spm/README.md."""
    return _load


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
