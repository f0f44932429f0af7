"""Batches of agents: how many live together, so that Python's overhead is spread and an interrupted run keeps a lot."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

import numpy as np

from activebmr.arrays import Ints

__all__ = ["BATCH", "Watch", "batches_of", "divide"]

T = TypeVar("T")

BATCH = 64
"""Agents that are simulated together: enough to spread Python's overhead, few enough for their tables to stay in cache."""

SMALLEST = 8
"""Agents of the smallest part of a batch."""

LONG = 20.0
"""Seconds after which a batch should be finished: an interrupted run loses the batch that it is at."""

WORSE = 1.4
"""How much longer all may take in parts than as a whole."""

_AFTER = 2.0  # seconds after which is estimated how long a batch will take


class Watch:
    """Called after every step of a batch: notices early that it takes long.

    Args:
        total: steps that there will be.
        steps: stop with `StopIteration` after so many of them, or
        seconds: after this time.
        estimate: whether to notice that it takes long.

    Raises:
        TooLongError: after two seconds, if all will take longer than `LONG`.
        StopIteration: see above.
    """

    def __init__(self, total: int, steps: int | None = None, seconds: float = np.inf, estimate: bool = True) -> None:
        self.total, self.steps, self.seconds = total, steps, seconds
        self.done, self.begun, self.estimate = 0, time.perf_counter(), estimate and steps is None

    @property
    def passed(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.begun

    def __call__(self) -> None:
        self.done += 1
        if self.done == self.steps or self.passed > self.seconds:
            raise StopIteration
        if self.estimate and self.passed > _AFTER:
            self.estimate = False
            if self.passed * self.total / self.done > LONG:
                raise TooLongError


class TooLongError(Exception):
    """Of a batch that will take longer than `LONG`."""


def divide(live: Callable[[Ints, Watch], T], agents: Ints, total: int) -> T | list[Ints]:
    """Simulate a batch or, if that takes long and parts of it do not take much longer, say which parts.

    Args:
        live: simulates agents, and calls the watch after each step.
        agents: of the batch.
        total: steps of the simulation.

    Returns:
        what ``live`` returns, or the agents of each part.
    """
    watch = Watch(total, estimate=len(agents) >= 2 * SMALLEST)
    try:
        return live(agents, watch)
    except TooLongError:
        whole, steps = watch.passed, watch.done
    best, pieces = len(agents), 2
    while len(agents) // pieces >= SMALLEST and whole * total / steps > LONG * pieces / 2:
        size = -(-len(agents) // pieces)
        allowed = WORSE * whole * size / len(agents)
        short = Watch(total, steps, allowed)
        with suppress(StopIteration):
            live(agents[:size], short)
        if short.passed > allowed:
            break
        best, pieces = size, 2 * pieces
    return live(agents, Watch(total, estimate=False)) if best == len(agents) else batches_of(agents, best)


def batches_of(agents: Sequence[int] | Ints, size: int) -> list[Ints]:
    """Agents in batches of at most a size, each of agents whose numbers follow each other.

    Example:
        >>> [b.tolist() for b in batches_of([0, 1, 2, 5, 6], 2)]
        [[0, 1], [2], [5, 6]]
    """
    numbers = np.asarray(agents, dtype=np.intp)
    runs: Iterable[Ints] = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    return [run[at : at + size] for run in runs for at in range(0, len(run), size)]
