"""Schedules: remove structures while training goes on, after it one after the other, or all at once; and report every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from activebmr.pruning.structures.attach import NoisyModule
from activebmr.pruning.structures.criteria import Criterion

__all__ = ["Step", "compression", "prune", "prune_ranked", "prune_share"]


@dataclass(frozen=True)
class Step:
    """State of a network after one step of pruning.

    Attributes:
        left: structures left, by site.
        total: structures that there were, by site.
        removed: structures removed in this step, by site.
        evidence: mean score of the structures that are left, nats, by site (None without a criterion).
        parameters: parameters of the network that are not connected to a removed structure.
        compression: see `compression`.
        accuracy: share of validation examples classified right, or None.
        epoch: epoch (from 0) that it came after, or None.
    """

    left: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    evidence: dict[str, float] | None = None
    parameters: int | None = None
    compression: float = 0.0
    accuracy: float | None = None
    epoch: int | None = None

    @classmethod
    def of(cls, noisy: NoisyModule) -> Step:
        left = {name: int(noisy.of(name).alive.sum()) for name in noisy.sites}
        share, useless = _zeroed(noisy)
        total = sum(p.numel() for p in noisy.net.parameters())
        return cls(
            left=left,
            total={name: site.n for name, site in noisy.sites.items()},
            parameters=total - useless,
            compression=share,
        )

    def __str__(self) -> str:
        layers = ", ".join(f"{name} {self.left[name]}/{self.total[name]}" for name in self.left)
        text = f"{layers or 'no noise'}; compression {self.compression:.1%}"
        return text + (f", accuracy {self.accuracy:.2%}" if self.accuracy is not None else "")


def compression(noisy: NoisyModule) -> float:
    """Share of all trainable parameters that pruning has made useless (Wright et al. 2024): weights into and out of removed
    structures, their biases and normalisation, and the two parameters of their noise, of all parameters including the noise's.
    """
    return _zeroed(noisy)[0]


def _zeroed(noisy: NoisyModule) -> tuple[float, int]:
    """Share of all trainable parameters that are useless, and how many of the network's own are."""
    modules, gone = dict(noisy.net.named_modules()), noisy.gone()
    useless = {name: torch.zeros(p.shape, dtype=torch.bool) for name, p in noisy.net.named_parameters()}

    def mark(module: str, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
        for key, _ in modules[module].named_parameters(recurse=False):
            mask = useless[f"{module}.{key}" if module else key]
            if rows is not None:
                mask[rows] = True
            elif key == "weight" and columns is not None:
                mask[:, columns] = True

    for name, site in noisy.sites.items():
        dead = ~noisy.of(name).alive.cpu()
        if site.kind == "heads":
            across = dead.repeat_interleave(site.size)
            mark(site.at, columns=across)
            for part in ("q", "k", "v"):
                if isinstance(getattr(modules[name], part, None), nn.Linear):
                    mark(f"{name}.{part}", rows=across)
            if isinstance(modules[name], nn.MultiheadAttention):
                for key, parameter in modules[name].named_parameters(recurse=False):
                    if key in ("bias_k", "bias_v"):
                        useless[f"{name}.{key}"][..., across] = True
                    else:  # q, k and v one below the other, or each for itself
                        useless[f"{name}.{key}"][across.repeat(len(parameter) // len(across))] = True
            continue
        mark(name, rows=dead)
        if site.norm is not None:
            mark(site.norm, rows=dead)
        for reader, repeat in site.readers:
            mark(reader, columns=gone[name].cpu().repeat_interleave(repeat))
    n_useless = sum(int(m.sum()) for m in useless.values())
    total = sum(p.numel() for p in noisy.parameters())
    return (n_useless + 2 * noisy.n_removed) / total, n_useless


def prune(noisy: NoisyModule, criterion: Criterion) -> Step:
    """One shot: remove every structure whose score is at least 0 (at least one stays in each layer).

    Raises:
        ValueError: if the criterion only ranks (use `prune_share`), or a score is not finite: that never decides.
    """
    if not criterion.decides:
        raise ValueError(f"criterion {criterion.name!r} only ranks: use prune_share")
    scores = _scores(noisy, criterion)
    lost = noisy.remove({name: score >= 0 for name, score in scores.items()})
    return replace(Step.of(noisy), removed=lost, evidence=_evidence(noisy, scores))


def _scores(noisy: NoisyModule, criterion: Criterion) -> dict[str, Tensor]:
    scores = noisy.scores(criterion)
    for name, score in scores.items():
        if not torch.isfinite(score[noisy.of(name).alive]).all():
            raise ValueError(f"scores of {criterion.name} must be finite; those of {name!r} are not (has training diverged?)")
    return scores


def _may_go(noisy: NoisyModule, scores: dict[str, Tensor]) -> Tensor:
    """All scores in one vector; -inf for structures that are gone, and for the lowest of each layer, which stays."""
    spared = {}
    for name, score in scores.items():
        last = torch.where(noisy.of(name).alive, score, torch.full_like(score, torch.inf)).argmin()
        spared[name] = score.clone().index_fill_(0, last, -torch.inf)
    return torch.cat(list(spared.values()))


def _evidence(noisy: NoisyModule, scores: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(score[noisy.of(name).alive].mean()) for name, score in scores.items()}


def prune_share(noisy: NoisyModule, criterion: Criterion, share: float) -> Step:
    """Remove the share of all structures with the highest scores, whatever they are. The lowest of each layer stays, and others
    go in its place.

    Raises:
        ValueError: if the share lies outside [0, 1), or a score is not finite.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must lie in [0, 1); got {share}")
    scores = _scores(noisy, criterion)
    flat = _may_go(noisy, scores)
    best = flat.argsort(descending=True, stable=True)[: round(share * noisy.n_structures)]
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    chosen[best] = flat[best] > -torch.inf
    masks = dict(zip(scores, chosen.split([len(s) for s in scores.values()]), strict=True))
    lost = noisy.remove(masks)
    return replace(Step.of(noisy), removed=lost, evidence=_evidence(noisy, scores))


def prune_ranked(
    noisy: NoisyModule,
    criterion: Criterion,
    retrain: Callable[[NoisyModule], object],
    *,
    at_once: int | None = None,
    until: float = 0.0,
    judge: Callable[[NoisyModule], float] | None = None,
) -> Iterator[Step]:
    """After training: remove the structures with the highest scores, fine-tune, score anew, until none reaches the end.

    Args:
        noisy: a trained network.
        criterion: what ranks and stops.
        retrain: fine-tunes the network, e.g. ``lambda noisy: fit(noisy, data, Training(epochs=1))``.
        at_once: structures removed between two fine-tunings; by default a twentieth of all.
        until: score below which structures stay, nats.
        judge: accuracy on validation examples, for the reports.

    Yields:
        a report after every round; stopping early is fine, the network is then as the last report says.
    """
    few = max(1, noisy.n_structures // 20) if at_once is None else at_once
    if few < 1:
        raise ValueError(f"at_once must be a whole number >= 1; got {at_once}")
    while True:
        scores = _scores(noisy, criterion)
        flat = _may_go(noisy, scores)
        best = flat.argsort(descending=True, stable=True)[:few]
        chosen = torch.zeros_like(flat, dtype=torch.bool)
        chosen[best] = (flat[best] >= until) & (flat[best] > -torch.inf)
        lost = noisy.remove(dict(zip(scores, chosen.split([len(s) for s in scores.values()]), strict=True)))
        if not any(lost.values()):
            return
        retrain(noisy)
        found = None if judge is None else judge(noisy)
        yield replace(Step.of(noisy), removed=lost, evidence=_evidence(noisy, scores), accuracy=found)
