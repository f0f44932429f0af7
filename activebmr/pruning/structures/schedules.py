"""Schedules: remove structures while training goes on, after it one after the other, or all at once; and report every step.

Which structures go first is always the criterion's word. How many go is its word too (`prune`, `prune_ranked`), or that of a
share of what they cost: structures, parameters, floating-point operations or time (`prune_share`). Reports say what the second
costs in evidence.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from activebmr import checks
from activebmr.pruning.data.batches import call, device_of, tried
from activebmr.pruning.structures.compaction import compact
from activebmr.pruning.structures.criteria import Criterion, checked_criterion
from activebmr.pruning.structures.noisy import NoisyModule, check_noisy
from activebmr.pruning.units.inputs import check_inputs

__all__ = ["COSTS", "Step", "compression", "prune", "prune_ranked", "prune_share"]

COSTS = ("structures", "parameters", "flops", "latency")
"""What `prune_share` can be asked for a share of."""
_SHORT = {"structure": "structures", "param": "parameters", "params": "parameters", "parameter": "parameters", "flop": "flops"}

Masks = Mapping[str, Tensor]


@dataclass(frozen=True)
class Step:
    """State of a network after one step of pruning.

    Attributes:
        left: structures left, by site.
        total: structures that there were, by site.
        removed: structures removed in this step, by site.
        evidence: mean score of the structures that are left, nats, by site (None without a criterion).
        parameters: parameters of the network that are left when it is compacted.
        compression: share of the network's parameters that goes with compacting it (`compression` counts otherwise).
        against: structures that this step removed though their scores said that they should stay, and `kept`: those that stayed
            though they should go; None unless the criterion decides.
        beyond: nats of evidence that this gives up beside removing exactly what the scores say: the scores of both, summed
            without their signs; None unless the criterion decides.
        accuracy: share of validation targets got right, or None.
        loss: nats per validation example by the user's own loss, or None.
        epoch: epoch (from 0) that it came after, or None.

    Example:
        >>> step = prune_share(noisy, L2Norm(), 0.5)
        >>> step.removed, step.parameters
        ({'0': 16}, 131)
        >>> print(step)
        0 16/32; compression 49.4%
    """

    left: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    evidence: dict[str, float] | None = None
    parameters: int | None = None
    compression: float = 0.0
    accuracy: float | None = None
    epoch: int | None = None
    loss: float | None = None
    against: int | None = None
    kept: int | None = None
    beyond: float | None = None

    @classmethod
    def of(cls, noisy: NoisyModule) -> Step:
        """How much of a network is left."""
        check_noisy(noisy)
        parameters, whole = round(noisy.cost("parameters")), sum(p.numel() for p in noisy.net.parameters())
        return cls(
            left={name: int(noisy.of(name).alive.sum()) for name in noisy.sites},
            total={name: site.n for name, site in noisy.sites.items()},
            parameters=parameters,
            compression=1.0 - parameters / whole,
        )

    def __str__(self) -> str:
        layers = ", ".join(f"{name} {self.left[name]}/{self.total[name]}" for name in self.left)
        text = f"{layers or 'no noise'}; compression {self.compression:.1%}"
        text += f", accuracy {self.accuracy:.2%}" if self.accuracy is not None else ""
        text += f", validation loss {self.loss:.4f}" if self.loss is not None else ""
        if self.beyond:
            text += f", {self.beyond:.1f} nats beyond the evidence ({self.against} removed and {self.kept} kept against it)"
        return text


def compression(noisy: NoisyModule) -> float:
    """Share of all trainable parameters that pruning has made useless, as Wright et al. (2024) count it: the network's own that
    go when it is compacted, and the two parameters of each removed structure's noise, of all parameters including the noise's.

    Example:
        >>> step = prune_share(noisy, L2Norm(), 0.5)
        >>> round(compression(noisy), 3)
        0.495
    """
    check_noisy(noisy)
    own, all_ = sum(p.numel() for p in noisy.net.parameters()), sum(p.numel() for p in noisy.parameters())
    return (own - noisy.cost("parameters") + 2 * noisy.n_removed) / all_


def prune(noisy: NoisyModule, criterion: Criterion) -> Step:
    """One shot: remove every structure whose score is at least 0 (at least one stays in each layer).

    Raises:
        ValueError: if the criterion only ranks (use `prune_share`), or a score is not finite: that never decides.

    Example:
        >>> noisy.of("0").mu.data[:8] = -20.0  # eight units whose noise has collapsed
        >>> step = prune(noisy, BMRS_N.released())
        >>> print(step)
        0 24/32; compression 24.7%
    """
    check_noisy(noisy)
    if not checked_criterion(criterion).decides:
        raise ValueError(f"criterion {criterion.name!r} only ranks: use prune_share")
    scores = _scores(noisy, criterion)
    return _remove(noisy, criterion, scores, {name: score >= 0 for name, score in scores.items()})


def _remove(noisy: NoisyModule, criterion: Criterion, scores: dict[str, Tensor], dead: Masks) -> Step:
    """Remove structures, and report what that did to the evidence."""
    before = {name: noisy.of(name).alive.clone() for name in scores}
    lost = noisy.remove(dead)
    against = kept = 0
    beyond = 0.0
    for name, score in scores.items():
        after = noisy.of(name).alive
        wrong, right = before[name] & ~after & (score < 0), after & (score >= 0)
        against, kept = against + int(wrong.sum()), kept + int(right.sum())
        beyond += float(score[right].sum()) - float(score[wrong].sum())
    evidence = {name: float(score[noisy.of(name).alive].mean()) for name, score in scores.items()}
    step = replace(Step.of(noisy), removed=lost, evidence=evidence)
    return replace(step, against=against, kept=kept, beyond=beyond) if criterion.decides else step


def _scores(noisy: NoisyModule, criterion: Criterion) -> dict[str, Tensor]:
    checked_criterion(criterion)
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


# --- a share -----------------------------------------------------------------------------------------------------------------
def prune_share(
    noisy: NoisyModule,
    criterion: Criterion,
    share: float,
    of: str = "structures",
    *,
    multiple_of: int = 1,
    example_inputs: Any = None,
) -> Step:
    """Remove the structures with the highest scores, whatever these are, until a share of the whole network's cost is saved.
    The lowest of each layer stays, and others go in its place; the report says how much evidence is given up (`Step.beyond`).

    Args:
        noisy: a network; what has been removed before counts as gone.
        criterion: what decides the order.
        share: in [0, 1), of the whole network's cost, to be saved now.
        of: ``"structures"``, ``"parameters"``, ``"flops"`` (of the example inputs that the noise was attached with), or
            ``"latency"``, which compacts and times the network some ten times. ``"params"``, ``"param"``, ``"flop"`` and the
            other singulars are accepted too.
        multiple_of: >= 1; what is left of each layer that is pruned is a multiple of it (for heads: their width is). Numbers
            are rounded up, and others go in the place of those that stay; a layer smaller than that stays whole.
        example_inputs: for ``"latency"``: what the network is called with; more examples make times steadier.

    Raises:
        ValueError: if the share lies outside [0, 1), or cannot be reached with one structure (or one multiple) in each layer
            (a share of structures goes as far as it can), ``of`` is unknown, ``multiple_of`` is no whole number >= 1, example
            inputs are missing, or a score is not finite.

    Example:
        >>> step = prune_share(noisy, BMRS_N.released(), 0.5, of="flops", multiple_of=8)
        >>> print(step.parameters, step.beyond)
    """
    check_noisy(noisy)
    share = checks.number(share, "share", checks.SHARE)
    multiple_of = checks.whole_from(multiple_of, "multiple_of", 1)
    kind = checks.choice(_SHORT.get(of, of) if isinstance(of, str) else of, "of", COSTS)
    if kind == "latency" and example_inputs is None:
        raise ValueError("example_inputs must be given for a share of latency; got None")
    if kind == "latency":
        check_inputs(example_inputs)
        tried(noisy, example_inputs, "example_inputs")
    scores = _scores(noisy, criterion)
    flat = _may_go(noisy, scores)
    order = flat.argsort(descending=True, stable=True)[: int((flat > -torch.inf).sum())]

    def left(count: int) -> dict[str, Tensor]:
        """Masks of what is left when the first so many have gone."""
        gone = torch.zeros_like(flat, dtype=torch.bool)
        gone[order[:count]] = True
        masks = dict(zip(scores, gone.split([len(s) for s in scores.values()]), strict=True))
        return {name: _rounded(noisy, name, scores[name], ~mask, multiple_of) for name, mask in masks.items()}

    if kind == "structures":
        saved = round(share * noisy.n_structures)
        count = min(saved, len(order)) if multiple_of == 1 else _fewest(left, len(order), _count, _count(left(0)) - saved)
    else:
        count = _fewest_that_save(noisy, kind, share, left, len(order), example_inputs)
    return _remove(noisy, criterion, scores, {name: ~mask for name, mask in left(count).items()})


def _count(masks: Masks) -> float:
    return float(sum(int(mask.sum()) for mask in masks.values()))


def _fewest(left: Callable[[int], Masks], most: int, cost: Callable[[Masks], float], goal: float) -> int:
    """Fewest structures, in order, whose removal brings a cost to its goal; all if none does."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if cost(left(middle)) <= goal:
            high = middle
        else:
            low = middle + 1
    return low


def _fewest_that_save(noisy: NoisyModule, kind: str, share: float, left: Callable[[int], Masks], most: int, inputs: Any) -> int:
    """Fewest structures, in order, whose removal saves a share of the whole network's cost."""

    def cost(masks: Masks) -> float:
        return _latency(noisy, masks, inputs) if kind == "latency" else noisy.cost(kind, masks)

    if share == 0:  # times are never quite the same twice
        return 0
    everything = {name: torch.ones_like(noisy.of(name).alive) for name in noisy.sites}
    whole, now = cost(everything), cost({name: noisy.of(name).alive for name in noisy.sites})
    goal, least = now - share * whole, cost(left(most))
    if least > goal:
        most_saved = max(now - least, 0.0) / whole
        raise ValueError(
            f"share must be one that can be saved: with what may go, {most_saved:.1%} of the {kind} of the whole network are; "
            f"got {share}"
        )
    return _fewest(left, most, cost, goal)


def _rounded(noisy: NoisyModule, name: str, scores: Tensor, stays: Tensor, multiple: int) -> Tensor:
    """Mask of what is left of a layer, a multiple in number: the next one above what would stay, if the layer has so many."""
    alive = noisy.of(name).alive
    multiple //= math.gcd(multiple, _width(noisy, name))
    here, want = int(alive.sum()), int((alive & stays).sum())
    if multiple == 1 or here < multiple or (want == here == len(alive)):
        return alive & stays if multiple == 1 else alive.clone()
    count = -(-want // multiple) * multiple
    if count > here:  # the whole layer stays, or, if it has been pruned before, the next multiple below
        count = here if here == len(alive) else here // multiple * multiple
    best = torch.where(alive, scores, torch.full_like(scores, torch.inf)).argsort(stable=True)[:count]
    return torch.zeros_like(alive).index_fill_(0, best, True)


def _width(noisy: NoisyModule, name: str) -> int:
    """Rows or columns of a weight that belong to one structure of a layer: of a head as many as it has dimensions, else 1."""
    counts = [int((ids == 0).sum()) for ids in noisy.sites[name].parts.values()]
    return min((n for n in counts if n), default=1)


# --- costs -------------------------------------------------------------------------------------------------------------------
def _latency(noisy: NoisyModule, masks: Masks, inputs: Any, repeats: int = 9) -> float:
    """Median time of a call of the network that is compacted with these masks, ms."""
    other = copy.deepcopy(noisy).eval()
    for name, mask in masks.items():
        other.of(name).alive.copy_(mask)
    small, times = compact(other, inputs).eval(), []
    with torch.no_grad():
        for _ in range(repeats + 3):
            start = time.perf_counter()
            call(small, inputs)
            if device_of(small).type == "cuda":
                torch.cuda.synchronize()
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[3:])


# --- ranked -----------------------------------------------------------------------------------------------------------------
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

    Raises:
        TypeError, ValueError: as `prune` does, and if an argument is out of range.

    Yields:
        a report after every round; stopping early is fine, the network is then as the last report says.

    Example:
        >>> noisy.of("0").mu.data[:8] = -20.0
        >>> again = Training(epochs=1, fine_tune=0)
        >>> for step in prune_ranked(noisy, BMRS_N.released(), lambda noisy: fit(noisy, data, again), at_once=4):
        ...     print(step)
    """
    check_noisy(noisy)
    few = max(1, noisy.n_structures // 20) if at_once is None else checks.whole_from(at_once, "at_once", 1)
    until = checks.number(until, "until", checks.ANY_NUMBER)
    checks.function(retrain, "retrain")
    if judge is not None:
        checks.function(judge, "judge")
    while True:
        scores = _scores(noisy, criterion)
        flat = _may_go(noisy, scores)
        best = flat.argsort(descending=True, stable=True)[:few]
        chosen = torch.zeros_like(flat, dtype=torch.bool)
        chosen[best] = (flat[best] >= until) & (flat[best] > -torch.inf)
        if not chosen.any():
            return
        dead = dict(zip(scores, chosen.split([len(s) for s in scores.values()]), strict=True))
        step = _remove(noisy, criterion, scores, dead)
        retrain(noisy)
        found = None if judge is None else judge(noisy)
        now = Step.of(noisy)  # fine-tuning may have pruned as well
        step = replace(step, left=now.left, parameters=now.parameters, compression=now.compression, accuracy=found)
        yield replace(step, against=None, kept=None, beyond=None) if step.kept else step  # the next rounds may take them
