"""Valid calls of the pruning API, which needs torch: as `fuzzing_examples` has them of the rest."""

from __future__ import annotations

from fuzzing_compaction import of_compaction, of_training
from fuzzing_data import of_data, of_metrics, of_networks
from fuzzing_kinds import Example
from fuzzing_structures import of_noise, of_schedules
from fuzzing_weight_training import of_evidence_of_weights, of_weight_criteria, of_weight_training
from fuzzing_weights import of_likelihoods, of_posteriors

__all__ = ["pruning_examples"]


def pruning_examples() -> list[Example]:
    """All of them."""
    structures = [*of_noise(), *of_schedules(), *of_training(), *of_compaction()]
    weights = [*of_posteriors(), *of_likelihoods(), *of_weight_criteria(), *of_weight_training(), *of_evidence_of_weights()]
    return [*structures, *weights, *of_data(), *of_metrics(), *of_networks()]
