"""`prune_weights`: train a posterior, remove what its evidence says, train again, until nothing new goes.

Beckers et al. (2024), algorithm 1, is ``epochs`` of training and then rounds of removal and ``retrain`` epochs; removal at once
(naive) is one round. Markovic et al. (2023) prune after every epoch, which is the same loop with other numbers. Minimised is
the variational free energy per example: mean expected negative log likelihood + (KL of weights + KL of the likelihood) / N.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from activebmr import checks
from activebmr.pruning.data.batches import Batches, Data, call, length_of_batch
from activebmr.pruning.data.checkpoints import load_checkpoint, save_checkpoint
from activebmr.pruning.data.checks import check_progress
from activebmr.pruning.data.digests import digest, digest_of_function
from activebmr.pruning.data.modes import Modes, evaluating
from activebmr.pruning.weights.bayes import BayesianModule
from activebmr.pruning.weights.criteria import WeightCriterion, check_criterion
from activebmr.pruning.weights.free_energies import (
    batches_for,
    check_data,
    free_energy,
    learn_scales,
    moments,
    refresh_statistics,
)
from activebmr.pruning.weights.likelihoods import Likelihood, check_likelihood
from activebmr.pruning.weights.posterior import NaturalGaussian
from activebmr.pruning.weights.settings import Round, WeightFit, WeightTraining

__all__ = ["prune_weights"]


def prune_weights(
    bayes: BayesianModule,
    likelihood: Likelihood,
    data: Data | Batches,
    settings: WeightTraining | None = None,
    *,
    criterion: WeightCriterion | None = None,
    checkpoint: str | Path | None = None,
    progress: bool | Callable[[int, str], None] = False,
    watch: Callable[[int, BayesianModule, WeightFit], None] | None = None,
    n_examples: int | None = None,
    batch_to: Callable[[Any], tuple[Any, Any]] | None = None,
) -> WeightFit:
    """Train, remove, retrain.

    Args:
        bayes: network with a posterior. Parts that are in evaluation mode while it is in training mode (a frozen batch
            normalisation, a dropout that is off) stay so in training, now and when it is called again. At the end all is in
            evaluation mode, and running statistics of normalisation in training are taken anew with the means as weights.
        likelihood: what its outputs say about targets; it is moved to the posterior's device.
        data: inputs ``(n, ...)`` and targets, see the likelihood; or a `torch.utils.data.DataLoader` of such pairs, whose
            batches are used as they come (``settings.batch`` is not). Inputs may be several: see
            `activebmr.pruning.data.batches.Batches`.
        settings: see `WeightTraining`.
        criterion: what goes; None only trains.
        checkpoint: file that keeps what is finished. If it is there and was made with the same settings, the run goes on from
            it, to the same result; it is left there.
        progress: print a line for each epoch that the patience allows, or call this with the epoch and the line.
        watch: called after every epoch, and after its removal if there is one.
        n_examples: examples of an epoch, if a loader cannot say it or says it wrong.
        batch_to: makes a pair (inputs, targets) of a batch of a loader that is none, such as a dict.

    Raises:
        TypeError: if inputs or targets are no tensors, or outputs are none that the likelihood takes.
        ValueError: if they do not fit, are not finite, the posterior or the likelihood was made for another number of
            examples, the loss is no longer finite, or the checkpoint belongs to something else.

    Example:
        >>> bayes = attach_posterior(net, "ivon", n_examples=len(x))
        >>> fit = prune_weights(bayes, Categorical(), (x, y), WeightTraining(epochs=50), criterion=ByEvidence())
    """
    checks.an(BayesianModule)(bayes, "bayes")
    check_likelihood(likelihood)
    settings = WeightTraining() if settings is None else checks.an(WeightTraining)(settings, "settings")
    criterion = None if criterion is None else check_criterion(criterion)
    path = None if checkpoint is None else Path(checks.path_like(checkpoint, "checkpoint"))
    tell = check_progress(progress, watch, _print)
    batches = batches_for(bayes, data, n_examples, batch_to)
    run = _Run(bayes, likelihood, batches, settings, criterion, watch)
    if path is not None:
        run.resume(path)
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
        data: Batches,
        settings: WeightTraining,
        criterion: WeightCriterion | None,
        watch: Callable[[int, BayesianModule, WeightFit], None] | None,
    ) -> None:
        self.bayes, self.likelihood, self.settings, self.criterion, self.watch = bayes, likelihood, settings, criterion, watch
        self.data, self.modes = data, _modes_of_training(bayes)
        self.device = device = bayes.posterior.alive.device
        _check(bayes, likelihood.to(device), data)
        self.natural = isinstance(bayes.posterior, NaturalGaussian)
        own = set(map(id, bayes.posterior.parameters()))
        own |= {id(p) for name, p in bayes.net.named_parameters() if name in bayes.posterior.places}
        others = [p for m in (bayes, likelihood) for p in m.parameters() if p.requires_grad and id(p) not in own]
        if self.natural:
            # curvature is remembered for some epochs; 20 of them are 1e4 steps of 60,000 images
            memory = max(settings.memory * self.data.n_batches(settings.batch), 1000)
            clip = math.inf if settings.clip is None else settings.clip
            self.optimizers = [bayes.optimizer(lr=settings.lr, betas=(0.9, 1 - 1 / memory), clip=clip)]
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
        seed = int(np.random.SeedSequence([s.seed, self.epoch]).generate_state(1)[0])
        torch.manual_seed(seed)
        self.data.new_epoch(self.epoch, seed)
        self.modes.restore()
        total, seen, n_batches = torch.zeros((), dtype=torch.float64, device=self.device), 0, self.data.n_batches(s.batch)
        for i, (x, y) in enumerate(self.data.shuffled(s.batch)):
            self._set_rates(self.epoch + min(i / n_batches, 1.0))
            n = length_of_batch(x, y)
            total += self._step(x, y).detach() * n
            seen += n
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

    def _step(self, x: Any, y: Any) -> Tensor:
        if self.bayes.inference == "vbp":
            loss = self.likelihood.nll(*moments(self.bayes, x, y)).mean()
        else:
            loss = self.likelihood.nll(call(self.bayes, x), y).mean()
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
            cost = now - rounds[-1].vfe
            return self.finish(
                f"step back: retraining after round {len(rounds)} ended {cost:.1f} nats above what was before it"
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
        self.modes.restore()
        refresh_statistics(self.bayes, self.data, max(self.settings.batch, 2000), self.settings.seed)
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
        shapes, q = {k: list(v.shape) for k, v in self.bayes.state_dict().items()}, self.bayes.posterior
        settings = {k: v for k, v in asdict(self.settings).items() if k != "patience"}
        return {
            "settings": settings,
            "criterion": digest_of_function(self.criterion),
            "shapes": shapes,
            "data": self.data.identity(),
            "inference": self.bayes.inference,
            # what is learned itself tells nothing of where a run began
            "prior": None if self.settings.scale_prior else digest(q.prior_mean, q.prior_variance),
            "likelihood": digest_of_function(self.likelihood, False),
            "likelihood_shapes": [list(v.shape) for v in self.likelihood.state_dict().values()],
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


def _modes_of_training(bayes: BayesianModule) -> Modes:
    """Modes of all modules while it trains: as they are if the network is in training mode; else those of the last training,
    because evaluation mode does not tell what the user has switched off in training; else training mode for all.
    """
    if bayes.training and bayes.net.training:
        bayes.trained_in = Modes(bayes)
    elif bayes.trained_in is None:
        with evaluating(bayes, mode=True):
            bayes.trained_in = Modes(bayes)
    return bayes.trained_in


def _check(bayes: BayesianModule, likelihood: Likelihood, data: Batches) -> None:
    """Whether targets fit outputs, and all fits the number of examples."""
    q = bayes.posterior
    for name, part in (("posterior", q), ("likelihood", likelihood)):
        n = getattr(part, "n_examples", data.n)
        if n != data.n:
            raise ValueError(f"n_examples of the {name} must be that of the data, {data.n}; got {n}")
    check_data(bayes, likelihood, *data.first())
