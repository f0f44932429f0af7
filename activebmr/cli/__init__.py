"""The command ``activebmr``."""

from activebmr.cli.command import main

__all__ = ["main"]
