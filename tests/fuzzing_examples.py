"""A valid call of every callable of the public API, and what its arguments are: what `fuzzing` spoils."""

from __future__ import annotations

from fuzzing_agents import of_agents
from fuzzing_evidence import of_evidence
from fuzzing_kinds import Example
from fuzzing_models import of_models
from fuzzing_plots import of_plots
from fuzzing_worlds import of_results, of_worlds

__all__ = ["examples"]


def examples() -> list[Example]:
    """All of them."""
    return [*of_models(), *of_agents(), *of_evidence(), *of_worlds(), *of_results(), *of_plots()]
