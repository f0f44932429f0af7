"""What is around a command while it runs: signals that end it, warnings of one line, and an output whose reader may leave."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from activebmr.workers import one_line

__all__ = ["PatientOutput", "patient_output", "plain_warnings", "signals_that_end"]

_GONE = (errno.EPIPE, errno.ENOSPC, errno.EIO)  # the reader has left, the disk is full, the terminal is closed


@contextmanager
def signals_that_end() -> Iterator[list[int]]:
    """While the block runs, SIGTERM and SIGHUP interrupt it as Ctrl-C does, so that it keeps what is finished and its workers
    end with it; yields a list that then holds the signal. Signals that are ignored (nohup) stay so.
    """
    ended: list[int] = []

    def end(number: int, frame: object) -> None:
        ended.append(number)
        raise KeyboardInterrupt

    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {n: signal.getsignal(n) for n in numbers}
    mine = [n for n in numbers if before[n] == signal.SIG_DFL]
    for n in mine:
        signal.signal(n, end)
    try:
        yield ended
    finally:
        for n in mine:
            signal.signal(n, before[n])


@contextmanager
def plain_warnings() -> Iterator[None]:
    """While the block runs, warnings are one line each."""
    before, warnings.formatwarning = warnings.formatwarning, one_line
    try:
        yield
    finally:
        warnings.formatwarning = before


class PatientOutput:
    """A stream that goes on when nobody reads it any more (``| head``) or it can take no more: the work goes on, and what is
    written from then on is lost.

    Args:
        stream: what it stands for; all but writing is its own.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, do: Any, *arguments: Any) -> None:
        try:
            do(*arguments)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            self.failure = error
            with suppress(AttributeError, OSError, ValueError):  # Python would complain again when it ends
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def patient_output() -> Iterator[PatientOutput]:
    """While the block runs, standard output and standard error are `PatientOutput`; yields the former."""
    before = sys.stdout, sys.stderr
    patient, errors = map(PatientOutput, before)
    sys.stdout, sys.stderr = patient, errors  # type: ignore[assignment]
    try:
        yield patient
    finally:
        patient.flush()
        errors.flush()
        sys.stdout, sys.stderr = before
