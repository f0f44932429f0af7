"""What `prune_weights` is told, and what it reports."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from activebmr import checks

__all__ = ["Round", "WeightFit", "WeightTraining"]

SCHEDULES = ("constant", "phases", "cosine")


@dataclass(frozen=True)
class WeightTraining:
    """Settings of `prune_weights`.

    Attributes:
        epochs: before the first removal; 0 goes on with a posterior that is trained already.
        retrain: after each removal; 0 ends with the first.
        rounds: at most so many removals; None goes on until nothing new is removed.
        batch: examples a step.
        lr: of the posterior's optimiser (Adam, or IVON).
        likelihood_lr: of what the likelihood learns, and of parameters without a posterior.
        schedule: of the learning rates: ``"constant"``; ``"phases"``: they fall to 0 over the last 40 % of each phase of
            training; ``"cosine"``: over all epochs (needs rounds).
        stop: whether a round that removes nothing is the last.
        step_back: whether a removal after which retraining ends with more free energy than there was before it is undone, and
            the last.
        samples: draws for estimates of the free energy (variance back-propagation needs none); 0 makes none, and then there is
            no step back.
        scale_prior: shape and rate of a Gamma prior of each layer's prior precision, which is then learned after every epoch
            from the first removal on (see `learn_scales`); None keeps it.
        memory: epochs over which IVON averages curvature, > 0 (and at least 1000 steps).
        clip: largest step of a weight in IVON before the learning rate, > 0; None has no limit. Curvature is an average over
            the past: where the noise of targets shrinks fast, steps would be too large for what the loss has become.
        patience: seconds between checkpoints, at least.
        seed: of batches and draws.

    Example:
        >>> settings = WeightTraining(epochs=4, retrain=2, rounds=1, batch=8)
        >>> found = prune_weights(bayes, Categorical(), data, settings, criterion=ByEvidence())
        >>> len(found.losses)
        6
    """

    epochs: int = 750
    retrain: int = 150
    rounds: int | None = None
    batch: int = 16
    lr: float = 1e-2
    likelihood_lr: float = 1e-2
    schedule: str = "phases"
    stop: bool = True
    step_back: bool = True
    samples: int = 50
    scale_prior: tuple[float, float] | None = None
    memory: float = 20.0
    clip: float | None = None
    patience: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("retrain", 0), ("batch", 1), ("samples", 0), ("seed", 0)):
            checks.whole_from(getattr(self, name), f"{name} of WeightTraining", least)
        if self.rounds is not None and (not checks.is_whole(self.rounds) or self.rounds < 0):
            raise ValueError(f"rounds of WeightTraining must be a whole number >= 0 or None; got {self.rounds!r}")
        for name in ("lr", "likelihood_lr", "memory"):
            checks.number(getattr(self, name), f"{name} of WeightTraining", checks.POSITIVE)
        if self.clip is not None:
            rule = checks.Rule("be None or a finite number > 0", checks.POSITIVE.holds)
            checks.number(self.clip, "clip of WeightTraining", rule)
        checks.number(self.patience, "patience of WeightTraining", checks.Rule("be a number >= 0", lambda x: x >= 0))
        for name in ("stop", "step_back"):
            checks.flag(getattr(self, name), f"{name} of WeightTraining")
        if self.scale_prior is not None:
            checks.pair(self.scale_prior, "scale_prior of WeightTraining", checks.POSITIVE)
        checks.choice(self.schedule, "schedule of WeightTraining", SCHEDULES)
        if self.rounds is None and (self.schedule == "cosine" or not self.stop):
            raise ValueError("rounds of WeightTraining must be given for schedule 'cosine' and where stop is False")


@dataclass
class Round:
    """One removal.

    Attributes:
        epoch: epochs of training before it.
        removed: weights that went in it.
        removed_in_all: share of all weights that are gone after it.
        vfe: free energy before it, nats (nan without samples).
        vfe_predicted: what the evidence promises for after it.
        vfe_observed: free energy right after it, estimated anew.
        near_ties: weights left whose evidence is within 0.1 nats of a tie.
        undone: whether it was taken back, because retraining ended with more free energy.
    """

    epoch: int
    removed: int
    removed_in_all: float
    vfe: float
    vfe_predicted: float
    vfe_observed: float
    near_ties: int
    undone: bool = False


@dataclass
class WeightFit:
    """What `prune_weights` did.

    Attributes:
        rounds: every removal.
        losses: free energy per example in training, by epoch (for IVON without the KL of the weights).
        seconds: by epoch.
        vfe: free energy at the end, nats (nan without samples).
        vfe_trained: free energy before the first removal.
        outcome: how it ended, in a sentence.
        interrupted: whether by Ctrl-C; a checkpoint then holds what was finished.

    Example:
        >>> settings = WeightTraining(epochs=4, retrain=2, rounds=1)
        >>> found = prune_weights(bayes, Categorical(), data, settings, criterion=ByEvidence())
        >>> print(found.outcome, found.vfe, found.rounds[0].removed)
    """

    rounds: list[Round] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    vfe: float = math.nan
    vfe_trained: float = math.nan
    outcome: str = ""
    interrupted: bool = False
