"""A valid call of every callable of the public API, and what its arguments are: what `fuzzing` spoils."""

from __future__ import annotations

from fuzzing_agents import of_agents
from fuzzing_evidence import of_evidence
from fuzzing_kinds import Example
from fuzzing_models import of_models
from fuzzing_more import of_copies, of_gaussians, of_pages, of_references, of_teaching
from fuzzing_plots import of_plots
from fuzzing_worlds import of_results, of_worlds

__all__ = ["examples"]


def examples() -> list[Example]:
    """All of them."""
    core = [*of_models(), *of_copies(), *of_agents(), *of_evidence(), *of_gaussians(), *of_worlds(), *of_results()]
    return [*core, *of_references(), *of_plots(), *of_pages(), *of_teaching()]
