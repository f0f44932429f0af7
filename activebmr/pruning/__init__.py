"""Pruning of PyTorch networks by Bayesian model reduction (needs the extra ``pruning``: ``pip install activebmr[pruning]``).

Structures: begin with `attach_noise`, train with ``noisy.kl()`` in the loss or with `fit`, `prune`, and `compact`. Single
weights: `sparsify` does it all; or begin with `attach_posterior`, and go on with `prune_weights` and `compact_weights`.

Packages, each importing only from those before it: ``data``, ``networks``, ``units``, ``structures``, ``weights``,
``experiments``.
"""

from activebmr.pruning.data.holding import hold_weights, release_weights
from activebmr.pruning.data.images import ImageData, load_images
from activebmr.pruning.data.tables import RegressionData, load_regression, standardise_targets
from activebmr.pruning.experiments.measuring import (
    CompactionReport,
    Comparison,
    Measurement,
    compaction_report,
    compare,
    measure,
)
from activebmr.pruning.experiments.metrics import calibration, classification_metrics, regression_metrics
from activebmr.pruning.networks.for_structures import network_named
from activebmr.pruning.structures.attach import attach_noise
from activebmr.pruning.structures.compaction import compact, structure_of
from activebmr.pruning.structures.criteria import (
    BMRS_N,
    BMRS_U,
    RELEASED_ODDS,
    L2Norm,
    MeanBelow,
    RandomRank,
    ReducedNormal,
    ReducedUniform,
    SNRBelow,
    criterion_for,
    criterion_named,
    log_evidence_ratio,
)
from activebmr.pruning.structures.noise import TruncatedLogNormal
from activebmr.pruning.structures.noisy import NoisyModule
from activebmr.pruning.structures.saving import load_compact, save_compact
from activebmr.pruning.structures.schedules import Step, compression, prune, prune_ranked, prune_share
from activebmr.pruning.structures.training import FitResult, Training, accuracy, fit
from activebmr.pruning.weights.bayes import BayesianModule, attach_posterior
from activebmr.pruning.weights.compacting import compact_weights
from activebmr.pruning.weights.criteria import ByEvidence, ByRank, Horseshoe, SpikeAndSlab
from activebmr.pruning.weights.free_energies import free_energy, refresh_statistics
from activebmr.pruning.weights.gaussian import DenseGaussian, Gaussian, reduce_gaussian, removal_evidence, remove_block
from activebmr.pruning.weights.horseshoe import HorseshoeModule
from activebmr.pruning.weights.ivon import IVON
from activebmr.pruning.weights.likelihoods import Categorical, GaussianNoise, Likelihood
from activebmr.pruning.weights.posterior import MeanField, NaturalGaussian, WeightPosterior
from activebmr.pruning.weights.settings import WeightFit, WeightTraining
from activebmr.pruning.weights.sparsify import Sparsified, sparsify
from activebmr.pruning.weights.training import prune_weights

__all__ = [
    "BMRS_N",
    "BMRS_U",
    "IVON",
    "RELEASED_ODDS",
    "BayesianModule",
    "ByEvidence",
    "ByRank",
    "Categorical",
    "CompactionReport",
    "Comparison",
    "DenseGaussian",
    "FitResult",
    "Gaussian",
    "GaussianNoise",
    "Horseshoe",
    "HorseshoeModule",
    "ImageData",
    "L2Norm",
    "Likelihood",
    "MeanBelow",
    "MeanField",
    "Measurement",
    "NaturalGaussian",
    "NoisyModule",
    "RandomRank",
    "ReducedNormal",
    "ReducedUniform",
    "RegressionData",
    "SNRBelow",
    "Sparsified",
    "SpikeAndSlab",
    "Step",
    "Training",
    "TruncatedLogNormal",
    "WeightFit",
    "WeightPosterior",
    "WeightTraining",
    "accuracy",
    "attach_noise",
    "attach_posterior",
    "calibration",
    "classification_metrics",
    "compact",
    "compact_weights",
    "compaction_report",
    "compare",
    "compression",
    "criterion_for",
    "criterion_named",
    "fit",
    "free_energy",
    "hold_weights",
    "load_compact",
    "load_images",
    "load_regression",
    "standardise_targets",
    "log_evidence_ratio",
    "measure",
    "network_named",
    "prune",
    "prune_ranked",
    "prune_share",
    "prune_weights",
    "reduce_gaussian",
    "regression_metrics",
    "refresh_statistics",
    "release_weights",
    "removal_evidence",
    "remove_block",
    "save_compact",
    "sparsify",
    "structure_of",
]
