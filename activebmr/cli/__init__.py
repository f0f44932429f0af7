"""The command ``activebmr``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 (trouble at the end), 2 (wrong input), 130 (Ctrl-C), or 128 and
    the number of another signal.

    Args:
        arguments: words of the command line; None takes the process's own.
    """
    try:
        from activebmr.cli.command import main as command  # takes a while, in which somebody may change his mind
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return command(arguments)
