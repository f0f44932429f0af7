"""`prune_weights`: train a posterior, remove what its evidence says, train again, until nothing new goes.

Beckers et al. (2024), algorithm 1, is ``epochs`` of training and then rounds of removal and ``retrain`` epochs; removal at once
(naive) is one round. Markovic et al. (2023) prune after every epoch, which is the same loop with other numbers. Minimised is
the variational free energy per example: mean expected negative log likelihood + (KL of weights + KL of the likelihood) / N.
"""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from activebmr.pruning.batches import Batches, Data
from activebmr.pruning.bayes import BayesianModule
from activebmr.pruning.checkpoints import load_checkpoint, save_checkpoint
from activebmr.pruning.likelihoods import Likelihood
from activebmr.pruning.posterior import NaturalGaussian
from activebmr.pruning.weight_criteria import WeightCriterion

__all__ = ["Round", "WeightFit", "WeightTraining", "free_energy", "learn_scales", "prune_weights"]

SCHEDULES = ("constant", "phases", "cosine")


@dataclass(frozen=True)
class WeightTraining:
    """Settings of `prune_weights`.

    Attributes:
        epochs: before the first removal; 0 goes on with a posterior that is trained already.
        retrain: after each removal.
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
        patience: seconds between checkpoints, at least.
        seed: of batches and draws.
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
    patience: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("retrain", 0), ("batch", 1), ("samples", 0), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} of WeightTraining must be a whole number >= {least}; got {value!r}")
        if self.rounds is not None and (not isinstance(self.rounds, int) or self.rounds < 0):
            raise ValueError(f"rounds of WeightTraining must be a whole number >= 0 or None; got {self.rounds!r}")
        for name in ("lr", "likelihood_lr", "memory"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} of WeightTraining must be a finite number > 0; got {getattr(self, name)}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule of WeightTraining must be one of {list(SCHEDULES)}; got {self.schedule!r}")
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
    """

    rounds: list[Round] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    vfe: float = math.nan
    vfe_trained: float = math.nan
    outcome: str = ""
    interrupted: bool = False


@torch.no_grad()
def free_energy(
    bayes: BayesianModule,
    likelihood: Likelihood,
    data: Data | Batches,
    samples: int = 50,
    seed: int = 0,
    batch: int = 2000,
) -> float:
    """Variational free energy of all the data, nats: expected negative log likelihood + KL of weights + KL of the likelihood.

    Deterministic for variance back-propagation; otherwise the mean of so many draws (the same for the same seed).
    """
    if samples < 1 and bayes.inference != "vbp":
        raise ValueError(f"samples must be 1 or more for inference {bayes.inference!r}; got {samples}")
    batches = data if isinstance(data, Batches) else Batches(data)
    was = bayes.training
    bayes.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        total = sum(float(_nll(bayes, likelihood, x, y, samples)) for x, y in batches.in_order(batch))
    bayes.train(was)
    _drop_draw(bayes)
    return total + float(bayes.kl()) + float(likelihood.kl())


def _nll(bayes: BayesianModule, likelihood: Likelihood, x: Tensor, y: Tensor, samples: int) -> Tensor:
    if bayes.inference == "vbp":
        return likelihood.nll(*_moments(bayes, x, y)).double().sum()
    return sum(likelihood.nll(bayes(x), y).double().sum() for _ in range(samples)) / samples  # type: ignore[return-value]


def _moments(bayes: BayesianModule, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean, variance = bayes.moments(x)
    return mean, y, variance


def _drop_draw(bayes: BayesianModule) -> None:
    if hasattr(bayes.posterior, "draw"):
        bayes.posterior.draw = None  # type: ignore[assignment]


@torch.no_grad()
def learn_scales(bayes: BayesianModule, shape: float = 2.0, rate: float = 2.0) -> dict[str, float]:
    """Set each layer's prior variance by its own weights, and return it: precision ~ Gamma(shape, rate), a conjugate update.

    (shape + n / 2) / (rate + sum of (variance + (mean - prior mean)^2) / 2) over the n weights of the layer that are left,
    after Markovic et al. (2023), whose c^-2 ~ Gamma(2, 2) has a log-normal posterior instead.
    """
    q, found = bayes.posterior, {}
    square = (q.raw_mean() - q.prior_mean) ** 2 + q.raw_variance()
    for layer, slices in q.layers.items():
        left = torch.cat([q.alive[slice(*s)] for s in slices])
        spread = torch.cat([square[slice(*s)] for s in slices])[left].double().sum()
        precision = (shape + 0.5 * float(left.sum())) / (rate + 0.5 * float(spread))
        for s in slices:
            q.prior_variance[slice(*s)] = 1 / precision
        found[layer] = 1 / precision
    return found


def prune_weights(
    bayes: BayesianModule,
    likelihood: Likelihood,
    data: Data,
    settings: WeightTraining | None = None,
    *,
    criterion: WeightCriterion | None = None,
    checkpoint: str | Path | None = None,
    progress: bool | Callable[[int, str], None] = False,
    watch: Callable[[int, BayesianModule, WeightFit], None] | None = None,
) -> WeightFit:
    """Train, remove, retrain.

    Args:
        bayes: network with a posterior.
        likelihood: what its outputs say about targets.
        data: inputs ``(n, ...)`` and targets, see the likelihood; or a `torch.utils.data.DataLoader` of such pairs, whose
            batches are used as they come (``settings.batch`` is not).
        settings: see `WeightTraining`.
        criterion: what goes; None only trains.
        checkpoint: file that keeps what is finished. If it is there and was made with the same settings, the run goes on from
            it, to the same result; it is left there.
        progress: print a line for each epoch that the patience allows, or call this with the epoch and the line.
        watch: called after every epoch, and after its removal if there is one.

    Raises:
        TypeError: if inputs or targets are no tensors.
        ValueError: if they do not fit, are not finite, the loss is no longer finite, or the checkpoint belongs to something
            else.
    """
    run = _Run(bayes, likelihood, data, settings or WeightTraining(), criterion, watch)
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None:
        run.resume(path)
    tell = progress if callable(progress) else _print if progress else None
    try:
        run.go_on(path, tell)
    except KeyboardInterrupt:
        if path is None:
            raise
        run.result.interrupted = True
    bayes.eval()
    return run.result


def _print(epoch: int, line: str) -> None:
    import sys

    print(line, file=sys.stderr)


class _Run:
    """State of one run: an epoch is a unit, with random numbers of its own."""

    def __init__(
        self,
        bayes: BayesianModule,
        likelihood: Likelihood,
        data: Data,
        settings: WeightTraining,
        criterion: WeightCriterion | None,
        watch: Callable[[int, BayesianModule, WeightFit], None] | None,
    ) -> None:
        self.bayes, self.likelihood, self.settings, self.criterion, self.watch = bayes, likelihood, settings, criterion, watch
        self.data = Batches(data)
        self.device = device = _check(bayes, likelihood, self.data)
        self.natural = isinstance(bayes.posterior, NaturalGaussian)
        own = set(map(id, bayes.posterior.parameters()))
        own |= {id(p) for name, p in bayes.net.named_parameters() if name in bayes.posterior.places}
        others = [p for m in (bayes, likelihood) for p in m.parameters() if p.requires_grad and id(p) not in own]
        if self.natural:
            # curvature is remembered for some epochs; 20 of them are 1e4 steps of 60,000 images
            memory = max(settings.memory * self.data.n_batches(settings.batch), 1000)
            self.optimizers = [bayes.optimizer(lr=settings.lr, betas=(0.9, 1 - 1 / memory))]
            groups = [{"params": others, "lr": settings.likelihood_lr}]
        else:
            self.optimizers = []
            groups = [{"params": list(bayes.posterior.parameters()), "lr": settings.lr}]
            groups += [{"params": others, "lr": settings.likelihood_lr}]
        groups = [g for g in groups if g["params"]]
        if groups:
            self.optimizers.append(torch.optim.Adam(groups, fused=device.type in ("cpu", "cuda")))
        self.rates = [[g["lr"] for g in o.param_groups] for o in self.optimizers]
        self.epoch, self.phase_start, self.done = 0, 0, False
        self.before: dict[str, Any] | None = None  # state before the last removal, for a step back
        self.result = WeightFit()

    # --- the loop --------------------------------------------------------------------------------------------------------
    def go_on(self, path: Path | None, tell: Callable[[int, str], None] | None) -> None:
        saved = told = time.monotonic()
        while not self.done:
            line = ""
            if self.epoch < self.phase_end:
                line = self.run_epoch()
            elif self.criterion is not None:
                line = self.remove()
            if self.criterion is None and self.epoch >= self.phase_end:
                line = line or "nothing to do"
                self.finish("trained")
            if self.watch is not None:
                self.watch(self.epoch, self.bayes, self.result)
            now = time.monotonic()
            if path is not None and (self.done or now - saved > self.settings.patience):
                self.save(path)
                saved = now
            if tell is not None and (self.done or now - told > min(1.0, self.settings.patience)):
                tell(self.epoch, line)
                told = now

    @property
    def phase_end(self) -> int:
        length = self.settings.epochs if not self.result.rounds else self.settings.retrain
        return self.phase_start + length

    def run_epoch(self) -> str:
        s, start = self.settings, time.perf_counter()
        torch.manual_seed(int(np.random.SeedSequence([s.seed, self.epoch]).generate_state(1)[0]))
        self.bayes.train()
        total, seen, n_batches = torch.zeros((), dtype=torch.float64, device=self.device), 0, self.data.n_batches(s.batch)
        for i, (x, y) in enumerate(self.data.shuffled(s.batch)):
            self._set_rates(self.epoch + i / n_batches)
            total += self._step(x, y).detach() * len(x)
            seen += len(x)
        loss = float(total) / max(seen, 1)
        if not math.isfinite(loss):
            raise ValueError(f"the loss must stay finite; it is {loss} after epoch {self.epoch} (a smaller lr may help)")
        if s.scale_prior is not None and self.epoch + 1 >= s.epochs:  # weights have to grow before they say how large they are
            learn_scales(self.bayes, *s.scale_prior)
        self.result.losses.append(loss)
        self.result.seconds.append(time.perf_counter() - start)
        self.epoch += 1
        share = self.bayes.posterior.n_removed / self.bayes.posterior.n
        return f"epoch {self.epoch}: loss {loss:.4f}, {share:.1%} removed, round {len(self.result.rounds)}"

    def _step(self, x: Tensor, y: Tensor) -> Tensor:
        if self.bayes.inference == "vbp":
            loss = self.likelihood.nll(*_moments(self.bayes, x, y)).mean()
        else:
            loss = self.likelihood.nll(self.bayes(x), y).mean()
        loss = loss + self.likelihood.kl() / self.data.n
        if not self.natural:
            loss = loss + self.bayes.kl() / self.data.n
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def _set_rates(self, now: float) -> None:
        s, factor = self.settings, 1.0
        if s.schedule == "cosine":
            assert s.rounds is not None
            factor = 0.5 * (1 + math.cos(math.pi * now / (s.epochs + s.rounds * s.retrain)))
        elif s.schedule == "phases":
            done = (now - self.phase_start) / max(self.phase_end - self.phase_start, 1)
            factor = 1.0 if done < 0.6 else 0.5 * (1 + math.cos(math.pi * (done - 0.6) / 0.4))
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    # --- removal ---------------------------------------------------------------------------------------------------------
    def remove(self) -> str:
        s, rounds = self.settings, self.result.rounds
        now = self.vfe()
        if not rounds:
            self.result.vfe_trained = now
        elif s.step_back and s.samples and self.before is not None and now > rounds[-1].vfe:
            self._restore(self.before)
            rounds[-1].undone = True
            return self.finish(
                f"step back: retraining after round {len(rounds)} ended at {now:.1f} nats, before it {rounds[-1].vfe:.1f}"
            )
        if s.rounds is not None and len(rounds) >= s.rounds:
            return self.finish(f"all {s.rounds} rounds done")
        assert self.criterion is not None
        mask = self.criterion.select(self.bayes.posterior, len(rounds))
        evidence = self.bayes.posterior.removal_evidence()
        if s.stop and not mask.any():
            return self.finish(f"nothing new to remove after {len(rounds)} rounds")
        if s.step_back and s.samples:
            self.before = self._state()
        went = self.bayes.remove(mask, self.optimizers[0])
        near = int((evidence[self.bayes.posterior.alive].abs() < 0.1).sum())
        q = self.bayes.posterior
        rounds.append(Round(self.epoch, went, q.n_removed / q.n, now, now - float(evidence[mask].sum()), self.vfe(), near))
        self.phase_start = self.epoch
        if s.retrain == 0:
            return self.finish("removed, without retraining")
        return f"round {len(rounds)}: {went} removed, {rounds[-1].removed_in_all:.1%} in all"

    def finish(self, outcome: str) -> str:
        self.done, self.result.outcome = True, outcome
        self.result.vfe = self.vfe()
        if math.isnan(self.result.vfe_trained):
            self.result.vfe_trained = self.result.vfe
        return outcome

    def vfe(self) -> float:
        if not self.settings.samples:
            return math.nan
        return free_energy(self.bayes, self.likelihood, self.data, self.settings.samples, self.settings.seed)

    # --- state -----------------------------------------------------------------------------------------------------------
    def _state(self) -> dict[str, Any]:
        held = {"bayes": self.bayes, "likelihood": self.likelihood}
        states: dict[str, Any] = {name: copy.deepcopy(module.state_dict()) for name, module in held.items()}
        return states | {"optimizers": [copy.deepcopy(o.state_dict()) for o in self.optimizers]}

    def _restore(self, state: dict[str, Any]) -> None:
        self.bayes.load_state_dict(state["bayes"])
        self.likelihood.load_state_dict(state["likelihood"])
        for optimizer, held in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(copy.deepcopy(held))

    def _identity(self) -> dict[str, Any]:
        shapes = {k: list(v.shape) for k, v in self.bayes.state_dict().items()}
        settings = {k: v for k, v in asdict(self.settings).items() if k != "patience"}
        return {
            "settings": settings,
            "criterion": re.sub(r" at 0x[0-9a-f]+", "", f"{self.criterion!r} {getattr(self.criterion, '__dict__', None)}"),
            "shapes": shapes,
            "data": self.data.identity(),
            "inference": self.bayes.inference,
            "likelihood": [type(self.likelihood).__name__, *(list(v.shape) for v in self.likelihood.state_dict().values())],
        }

    def save(self, path: Path) -> None:
        result = asdict(self.result)
        plain = {"epoch": self.epoch, "phase_start": self.phase_start, "done": self.done, "result": result}
        save_checkpoint(path, self._identity(), self._state() | plain | {"before": self.before})

    def resume(self, path: Path) -> None:
        held = load_checkpoint(path, self._identity())
        if held is None:
            return
        self._restore(held)
        self.epoch, self.phase_start, self.done, self.before = (held[k] for k in ("epoch", "phase_start", "done", "before"))
        rounds = [Round(**r) for r in held["result"].pop("rounds")]
        self.result = WeightFit(rounds=rounds, **held["result"])


def _check(bayes: BayesianModule, likelihood: Likelihood, data: Batches) -> torch.device:
    """Whether targets fit outputs; the device that all is on."""
    x, y = data.first()
    was = bayes.training
    bayes.eval()
    with torch.no_grad():
        outputs = bayes(x[:2])
    bayes.train(was)
    likelihood.check(y, outputs[:1].expand(len(y), *outputs.shape[1:]))
    return x.device
