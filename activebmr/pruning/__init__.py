"""Pruning of PyTorch networks by Bayesian model reduction (needs the extra ``pruning``: ``pip install activebmr[pruning]``).

Begin with `attach_noise`, train with ``noisy.kl()`` in the loss, `prune`, and `compact`.
"""

from activebmr.pruning.attach import NoisyModule, attach_noise
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
from activebmr.pruning.noise import TruncatedLogNormal

__all__ = [
    "BMRS_N",
    "BMRS_U",
    "RELEASED_ODDS",
    "L2Norm",
    "MeanBelow",
    "NoisyModule",
    "RandomRank",
    "ReducedNormal",
    "ReducedUniform",
    "SNRBelow",
    "TruncatedLogNormal",
    "attach_noise",
    "criterion_named",
    "log_evidence_ratio",
]
