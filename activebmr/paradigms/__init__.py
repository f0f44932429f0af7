"""Paradigms: worked experiments for activebmr agents. Their files are those in `paradigms/` at the top of a checkout.

A package that is built holds the files themselves in this place (setup.py); this module is for checkouts alone.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[2] / "paradigms")]
