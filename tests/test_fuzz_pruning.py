"""Malformed calls of the pruning API: clear errors or right answers alone; see ``test_fuzz.py``."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("torch", reason="the pruning API needs torch: pip install activebmr[pruning]")
pytest.importorskip("safetensors", reason="networks are saved with safetensors: pip install activebmr[pruning]")
pytest.importorskip("sklearn", reason="digits come with scikit-learn: pip install activebmr[pruning]")

from fuzzing import CLEAR, check, drawn, judge, malformed  # noqa: E402
from fuzzing_pruning import pruning_examples  # noqa: E402
from fuzzing_public import PRUNING, UNCALLED_PRUNING, public_names  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402


@pytest.fixture(scope="module")
def calls():
    return pruning_examples()


def test_valid_calls_are_valid(calls):
    for example in calls:
        function, arguments = example.make()
        function(**arguments)


def test_every_public_callable_has_an_example(calls):
    known = {e.name.split(" ")[0] for e in calls}
    assert public_names(PRUNING) - known == UNCALLED_PRUNING.keys()


def test_malformed_calls(calls):
    outcomes = [judge(*call) for call in malformed(calls, 200)]
    check(outcomes)
    assert Counter(o.verdict for o in outcomes)[CLEAR] > 150


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_malformed_calls(calls, seed):
    check([judge(*call) for call in malformed(calls, 2000, seed + 1)])


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_malformed_calls_that_hypothesis_chooses(calls, data):
    check([judge(*drawn(calls, data.draw))])
