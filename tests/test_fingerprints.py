"""What tells one value from another when a run goes on, and what is refused because nothing can."""

from __future__ import annotations

import functools
import io
import os
import random
import subprocess
import sys
import threading
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest

from activebmr import POMDP
from activebmr.fingerprints import UnknownStateError, fingerprint

ENV = dict(os.environ)


class Slots:
    __slots__ = ("_x",)

    def __init__(self, x):
        self._x = x


class Hidden:
    """Its representation says nothing."""

    def __init__(self, x):
        self.__x = np.array(x)

    def __repr__(self):
        return "Hidden()"


class Number(float):
    """A number with a setting of its own."""


class Words(dict):
    more = None


@dataclass
class Plan:
    depth: int
    weights: tuple = ()


Pair = namedtuple("Pair", "a b")


def number(x, more):
    made = Number(x)
    made.more = more
    return made


def words(more):
    made = Words(a=1)
    made.more = more
    return made


def scaled(by):
    def inner(x):
        return x * by

    return inner


def generator(seed):
    return np.random.default_rng(seed)


def structured(x):
    return np.array([(1, x)], dtype=[("a", int), ("b", float)])


class Machine:
    def __init__(self, x):
        self.parent, self.x = self, x  # holds itself

    def step(self):
        return self.x


def bound(x):
    return Machine(x).step


def with_method(code):
    space = {}
    exec(f"class Made:\n    def act(self):\n        return {code}\n", space)
    return space["Made"]()


def reads_global(value):
    space = {"RATE": value}
    exec("def f(x):\n    return [x * RATE for _ in 'a']\n", space)
    return space["f"]


def calls_global(code):
    space = {}
    exec(f"def helper(x):\n    return {code}\ndef f(x):\n    return helper(x)\n", space)
    return space["f"]


KINDS = {
    "numbers": (lambda x: x, 1, 2),
    "types": (lambda x: x, 1, 1.0),
    "truth": (lambda x: x, 1, True),
    "signs of zero": (lambda x: x, 0.0, -0.0),
    "lists": (lambda x: [x, [x]], 1, 2),
    "list and tuple": (lambda kind: kind((1, 2)), list, tuple),
    "where lists end": (lambda x: x, [[1], [2]], [[1, 2], []]),
    "dicts": (lambda x: {"a": x}, 1, 2),
    "keys": (lambda x: {x: 1}, "a", "b"),
    "sets": (lambda x: {"a", "b", x}, "c", "d"),
    "arrays": (lambda x: np.full(3, x), 1.0, 2.0),
    "types of arrays": (lambda kind: np.zeros(2, kind), float, np.int64),
    "shapes": (lambda shape: np.zeros(shape), (2, 3), (3, 2)),
    "arrays of objects": (lambda x: np.array([None, [x]], dtype=object), 1, 2),
    "structured arrays": (structured, 1.0, 2.0),
    "closures": (scaled, 1.0, 2.0),
    "partials": (lambda x: functools.partial(scaled, by=x), 1.0, 2.0),
    "methods": (bound, 1.0, 2.0),
    "code": (with_method, "1", "2"),
    "global values": (reads_global, 1.0, 2.0),
    "global functions": (calls_global, "x + 1", "x + 2"),
    "slots": (Slots, 1, 2),
    "private state": (Hidden, [1.0], [2.0]),
    "subclasses of numbers": (lambda x: number(1.0, x), "a", "b"),
    "subclasses of dicts": (words, "a", "b"),
    "dataclasses": (Plan, 1, 2),
    "named tuples": (lambda x: Pair(1, x), 1, 2),
    "queues": (lambda x: deque([x], maxlen=3), 1, 2),
    "ordered": (lambda x: OrderedDict(x), [("a", 1)], [("a", 2)]),
    "random numbers": (generator, 1, 2),
    "Python's random numbers": (random.Random, 1, 2),
    "itself": (Machine, 1, 2),
    "models": (lambda x: POMDP(A=[np.eye(2)], B=[np.eye(2)[..., None]], C=[[0.0, x]]), 1.0, 2.0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_equal_values_have_one_fingerprint_and_others_another(kind):
    make, one, other = KINDS[kind]
    assert fingerprint(make(one)) == fingerprint(make(one)) != fingerprint(make(other))


def test_tensors_count_with_their_values():
    torch = pytest.importorskip("torch")
    seen = {
        fingerprint(x)
        for x in (torch.zeros(2), torch.ones(2), torch.zeros(2, dtype=torch.bfloat16), torch.zeros(1, 2), torch.zeros(0))
    }
    assert len(seen) == 5 and fingerprint(torch.zeros(2)) in seen
    linear = torch.nn.Linear(2, 2)
    before = fingerprint(linear)
    with torch.no_grad():
        linear.weight += 1
    assert fingerprint(linear) != before


def test_what_is_worked_out_on_the_way_does_not_count():
    class Lazy:
        def __init__(self):
            self.x = 2

        @cached_property
        def square(self):
            return self.x**2

    lazy = Lazy()
    before = fingerprint(lazy)
    assert lazy.square == 4 and fingerprint(lazy) == before


def test_what_is_shared_is_walked_through_once():
    value = [1]
    for _ in range(200):  # 2 to the 200 ways
        value = [value, value]
    assert fingerprint(value) == fingerprint(value)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"log": io.BytesIO()}, None),
        ({"turns": (i for i in range(3))}, r"turns holds a builtins\.generator, whose state cannot be read"),
        ([threading.Lock()], r"\[0\] holds a _thread\.lock"),
        (scaled(open(sys.executable, "rb")), r"scaled\.<locals>\.inner\(\)\.\[0\] holds a _io\.BufferedReader"),  # noqa: SIM115
    ],
    ids=["memory", "generator", "lock", "file"],
)
def test_state_that_cannot_be_read_is_refused_by_name(value, what):
    if what is None:  # what is in memory can be read
        assert fingerprint(value) == fingerprint(value)
        return
    with pytest.raises(UnknownStateError, match=what):
        fingerprint(value)


def test_fingerprints_are_the_same_in_every_process():
    """Neither addresses nor the order of hashes come into them."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_fingerprints as t\n"
        "from activebmr.fingerprints import fingerprint\n"
        "print(fingerprint({k: make(one) for k, (make, one, _) in t.KINDS.items()}))"
    )
    said = set()
    for seed in "12":
        command = [sys.executable, "-c", code, os.path.dirname(__file__)]
        done = subprocess.run(command, capture_output=True, text=True, env={**ENV, "PYTHONHASHSEED": seed})
        assert done.returncode == 0, done.stderr
        said.add(done.stdout)
    assert len(said) == 1
