"""Malformed calls and damaged files: clear errors or right answers alone. ``tests/fuzzing.py`` prints the counts."""

from __future__ import annotations

from collections import Counter

import pytest
from fuzzing import ACCEPTED, CLEAR, UNCLEAR, Outcome, judge, malformed
from fuzzing_examples import examples
from fuzzing_files import damaged
from fuzzing_public import CORE, UNCALLED, public_names


def check(outcomes: list[Outcome]) -> None:
    wrong = [o for o in outcomes if o.verdict in (ACCEPTED, UNCLEAR)]
    told = "\n".join(f"{o.verdict}: {o.example}({o.argument}={o.label}): {o.said[:200]}" for o in wrong[:20])
    assert not wrong, f"{len(wrong)} of {len(outcomes)}:\n{told}"


@pytest.fixture(scope="module")
def calls():
    return examples()


def test_valid_calls_are_valid(calls):
    for example in calls:
        function, arguments = example.make()
        function(**arguments)


def test_every_public_callable_has_an_example(calls):
    assert public_names(CORE) - UNCALLED.keys() <= {e.name.split(" ")[0] for e in calls}


def test_malformed_calls(calls):
    outcomes = [judge(*call) for call in malformed(calls, 200)]
    check(outcomes)
    assert Counter(o.verdict for o in outcomes)[CLEAR] > 150


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_many_malformed_calls(calls, seed):
    check([judge(*call) for call in malformed(calls, 2000, seed + 1)])


def test_damaged_files(tmp_path):
    check(list(damaged(tmp_path, 100)))


@pytest.mark.slow
def test_many_damaged_files(tmp_path):
    check(list(damaged(tmp_path, 3000, 1)))
