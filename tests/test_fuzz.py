"""Malformed calls and damaged files: clear errors or right answers alone. ``tests/fuzzing.py`` prints the counts.

The pruning API, which needs torch, has the same in ``test_fuzz_pruning.py``.
"""

from __future__ import annotations

from collections import Counter

import pytest
from fuzzing import CLEAR, check, drawn, judge, malformed
from fuzzing_examples import examples
from fuzzing_files import damaged
from fuzzing_public import CORE, UNCALLED, public_names
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def calls():
    return examples()


def test_valid_calls_are_valid(calls):
    for example in calls:
        function, arguments = example.make()
        function(**arguments)


def test_every_public_callable_has_an_example(calls):
    known = {e.name.split(" ")[0] for e in calls}
    assert public_names(CORE) - known == UNCALLED.keys()


def test_malformed_calls(calls):
    outcomes = [judge(*call) for call in malformed(calls, 200)]
    check(outcomes)
    assert Counter(o.verdict for o in outcomes)[CLEAR] > 150


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_many_malformed_calls(calls, seed):
    check([judge(*call) for call in malformed(calls, 2000, seed + 1)])


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_malformed_calls_that_hypothesis_chooses(calls, data):
    check([judge(*drawn(calls, data.draw))])


def test_damaged_files(tmp_path):
    check(list(damaged(tmp_path, 100)))


@pytest.mark.slow
def test_many_damaged_files(tmp_path):
    check(list(damaged(tmp_path, 3000, 1)))
