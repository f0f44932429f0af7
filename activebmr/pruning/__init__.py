"""Pruning of PyTorch networks by Bayesian model reduction (needs the extra ``pruning``: ``pip install activebmr[pruning]``).

Begin with `attach_noise`, train with ``noisy.kl()`` in the loss or with `fit`, `prune`, and `compact`.
"""

from activebmr.pruning.attach import NoisyModule, attach_noise
from activebmr.pruning.compaction import compact
from activebmr.pruning.criteria import (
    BMRS_N,
    BMRS_U,
    RELEASED_ODDS,
    L2Norm,
    MeanBelow,
    RandomRank,
    ReducedNormal,
    ReducedUniform,
    SNRBelow,
    criterion_named,
    log_evidence_ratio,
)
from activebmr.pruning.data import ImageData, load_images
from activebmr.pruning.measuring import CompactionReport, Comparison, Measurement, compaction_report, compare, measure
from activebmr.pruning.networks import network_named
from activebmr.pruning.noise import TruncatedLogNormal
from activebmr.pruning.saving import load_compact, save_compact
from activebmr.pruning.schedules import Step, compression, prune, prune_ranked, prune_share
from activebmr.pruning.slimming import structure_of
from activebmr.pruning.training import FitResult, Training, accuracy, fit

__all__ = [
    "BMRS_N",
    "BMRS_U",
    "RELEASED_ODDS",
    "CompactionReport",
    "Comparison",
    "FitResult",
    "ImageData",
    "L2Norm",
    "MeanBelow",
    "Measurement",
    "NoisyModule",
    "RandomRank",
    "ReducedNormal",
    "ReducedUniform",
    "SNRBelow",
    "Step",
    "Training",
    "TruncatedLogNormal",
    "accuracy",
    "attach_noise",
    "compact",
    "compaction_report",
    "compare",
    "compression",
    "criterion_named",
    "fit",
    "load_compact",
    "load_images",
    "log_evidence_ratio",
    "measure",
    "network_named",
    "prune",
    "prune_ranked",
    "prune_share",
    "save_compact",
    "structure_of",
]
