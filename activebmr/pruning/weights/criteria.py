"""Which weights go: by their evidence alone, with a learned rate, with learned scales, or by rank.

All read a `WeightPosterior` and return a mask over its weights; where a criterion has evidence, it is the log evidence ratio of
removing a weight, positive where it should go. Sources: Beckers et al. (2024), arXiv 2210.09134; Markovic, Friston & Kiebel
(2023), arXiv 2309.12095.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from activebmr import checks
from activebmr.pruning.weights.hyperpriors import beta_bernoulli_odds, horseshoe_evidence
from activebmr.pruning.weights.posterior import WeightPosterior

__all__ = ["RANKS", "ByEvidence", "ByRank", "Horseshoe", "SpikeAndSlab", "WeightCriterion", "check_criterion", "rank_scores"]

RANKS = ("evidence", "snr", "mean-sd")
"""What weights can be ranked by; see `rank_scores`."""


class WeightCriterion(Protocol):
    """How weights are judged.

    Attributes:
        name: as reports call it.
    """

    name: str

    def select(self, posterior: WeightPosterior, round: int) -> Tensor:
        """Mask ``(n,)`` of the weights that should go in this round (from 0); those that are gone are not in it."""
        ...


def check_criterion(criterion: Any, name: str = "criterion") -> WeightCriterion:
    """``criterion`` if it judges weights.

    Raises:
        TypeError: if it does not, such as a class or a criterion for structures.
    """
    judges = callable(getattr(criterion, "select", None)) and not isinstance(criterion, (type, str, Tensor))
    if not judges:
        hint = f"; did you mean {criterion.__name__}()?" if isinstance(criterion, type) else ""
        raise TypeError(f"{name} must be a criterion for weights such as ByEvidence(); got {checks.brief(criterion)}{hint}")
    return criterion  # type: ignore[no-any-return]


@dataclass(frozen=True)
class ByEvidence:
    """Bayesian model reduction: a weight goes iff its log evidence ratio is at least minus the tolerance (nats, >= 0).

    Near-ties, whose evidence says next to nothing either way, decide the rate of removal: most of the weights of a wide network
    lie within 0.1 nats. A tolerance takes those that would stay by less than it.

    Example:
        >>> posterior = WeightPosterior({"w": torch.tensor([0.0, 1.0])}, variance=torch.tensor([0.25, 0.25]))
        >>> ByEvidence().select(posterior)
        tensor([ True, False])
    """

    tolerance: float = 0.0
    name: str = "bmr"

    def __post_init__(self) -> None:
        checks.number(self.tolerance, "tolerance", checks.NOT_NEGATIVE)
        checks.text(self.name, "name of ByEvidence")

    def select(self, posterior: WeightPosterior, round: int = 0) -> Tensor:
        _judged(posterior, round)
        return posterior.removal_evidence() >= -self.tolerance


@dataclass(frozen=True)
class SpikeAndSlab:
    """Spike-and-slab with a rate of kept weights ~ Beta(a, b) in each layer; see `beta_bernoulli_odds`.

    Attributes:
        spared: layers of which nothing goes, by name; None spares the last one that has weights.
        at_most: share of a layer's weights that are left which may go in one round: those with the most evidence. Evidence is
            each weight's alone, while the others stay; what many at once would cost is seen only after training has gone on.

    Example:
        >>> found = sparsify(net, data, method=SpikeAndSlab(a=1.0, b=9.0), epochs=2, start=1)
    """

    a: float = 1.0
    b: float = 1.0
    sweeps: int = 4
    at_most: float = 0.5
    spared: tuple[str, ...] | None = None
    name: str = "bmr-ss"

    def __post_init__(self) -> None:
        _check_share(self.at_most)
        for name in ("a", "b"):
            checks.number(getattr(self, name), f"{name} of SpikeAndSlab", checks.POSITIVE)
        checks.whole_from(self.sweeps, "sweeps of SpikeAndSlab", 1)
        _check_names(self)

    def select(self, posterior: WeightPosterior, round: int = 0) -> Tensor:
        _judged(posterior, round)
        ratios = posterior.removal_evidence()
        mask = torch.zeros_like(posterior.alive)
        for slices in _pruned_layers(posterior, self.spared).values():
            at = torch.cat([torch.arange(*s, device=ratios.device) for s in slices])
            mine = ratios[at]
            left = mine > -torch.inf
            if left.any():
                odds = beta_bernoulli_odds(mine[left], self.a, self.b, self.sweeps)[-1]
                mask[at] = _strongest(left & (mine > odds), mine, self.at_most * float(left.sum()))
        return mask


@dataclass(frozen=True)
class Horseshoe:
    """Regularised-horseshoe scales for the rows of each layer, fitted to the frozen posterior; see `horseshoe_evidence`.

    A weight goes iff a point at 0 has at most ``tolerance`` nats less evidence than its row's fitted scale: in rows whose scale
    is next to 0 both say the same. For ``at_most`` see `SpikeAndSlab`.

    Example:
        >>> found = sparsify(net, data, method=Horseshoe(tau0=0.1, steps=20), epochs=2, start=1)
    """

    tau0: float = 0.01
    slab: tuple[float, float] = (2.0, 6.0)
    particles: int = 4
    columns: int = 32
    steps: int = 100
    tolerance: float = 0.1
    at_most: float = 0.5
    spared: tuple[str, ...] | None = None
    name: str = "bmr-rhs"

    def __post_init__(self) -> None:
        _check_share(self.at_most)
        checks.number(self.tau0, "tau0 of Horseshoe", checks.POSITIVE)
        checks.pair(self.slab, "slab of Horseshoe", checks.POSITIVE)
        for name in ("particles", "columns", "steps"):
            checks.whole_from(getattr(self, name), f"{name} of Horseshoe", 1)
        checks.number(self.tolerance, "tolerance of Horseshoe", checks.NOT_NEGATIVE)
        _check_names(self)

    def select(self, posterior: WeightPosterior, round: int = 0) -> Tensor:
        _judged(posterior, round)
        mask = torch.zeros_like(posterior.alive)
        sd = posterior.prior_variance.sqrt()
        mean = (posterior.raw_mean().detach() - posterior.prior_mean) / sd
        variance = posterior.raw_variance().detach() / posterior.prior_variance
        for slices in _pruned_layers(posterior, self.spared).values():
            tables = [(s, _rows(posterior, s)) for s in slices]
            n_rows = max(rows for _, rows in tables)
            fitting = [(s, rows) for s, rows in tables if rows == n_rows]  # weight and bias of one unit share its row
            m, v, left = (
                torch.cat([x[slice(*s)].view(n_rows, -1) for s, _ in fitting], dim=1) for x in (mean, variance, posterior.alive)
            )
            if not left.any():
                continue
            found = horseshoe_evidence(
                m,
                v,
                left,
                tau0=self.tau0,
                slab=self.slab,
                particles=self.particles,
                columns=self.columns,
                steps=self.steps,
                lr=0.1,
                seed=round,
            )
            go = _strongest((found.removal >= -self.tolerance) & left, found.removal, self.at_most * float(left.sum()))
            start = 0
            for s, _ in fitting:
                width = (s[1] - s[0]) // n_rows
                mask[slice(*s)] = go[:, start : start + width].reshape(-1)
                start += width
        return mask


def _judged(posterior: Any, round: Any) -> None:
    """Refuse what no criterion can judge."""
    checks.an(WeightPosterior)(posterior, "posterior")
    checks.whole_number(round, "round", 0)


def _check_share(at_most: float) -> None:
    checks.number(at_most, "at_most", checks.Rule("be a share > 0 and <= 1", checks.FRACTION.holds))


def _check_names(criterion: SpikeAndSlab | Horseshoe) -> None:
    kind = type(criterion).__name__
    checks.text(criterion.name, f"name of {kind}")
    if criterion.spared is not None:
        checks.items(checks.text)(criterion.spared, f"spared of {kind}")


def _strongest(mask: Tensor, evidence: Tensor, most: float) -> Tensor:
    """The mask, or the part of it with the most evidence if it holds more than so many (at least one)."""
    count = max(int(most), 1)
    if int(mask.sum()) <= count:
        return mask
    chosen = torch.where(mask, evidence, torch.full_like(evidence, -torch.inf)).flatten()
    few = torch.zeros_like(chosen, dtype=torch.bool)
    few[chosen.argsort(descending=True, stable=True)[:count]] = True
    return few.view_as(mask)


def _rows(posterior: WeightPosterior, at: tuple[int, int]) -> int:
    place = next(p for p in posterior.places.values() if (p.start, p.stop) == at)
    return place.shape[0] if place.shape else 1


def _pruned_layers(posterior: WeightPosterior, spared: Sequence[str] | None) -> dict[str, list[tuple[int, int]]]:
    layers = posterior.layers
    if spared is None:
        matrices = [p.layer for p in posterior.places.values() if len(p.shape) > 1]
        spared = matrices[-1:] if len(set(matrices)) > 1 else []
    for name in spared:
        if name not in layers:
            raise ValueError(f"spared must name layers of {list(layers)}; got {name!r}{checks.meant(name, layers)}")
    return {name: slices for name, slices in layers.items() if name not in spared}


def rank_scores(posterior: WeightPosterior, by: str) -> Tensor:
    """Scores ``(n,)``, float64, the higher, the rather a weight goes; -inf for those that are gone.

    Args:
        posterior: of the weights.
        by: ``"evidence"``, ``"snr"`` (minus |mean| / sd) or ``"mean-sd"`` (minus |mean| + sd, after Beckers et al. 2024).
    """
    if by == "evidence":
        return posterior.removal_evidence()
    mean = (posterior.raw_mean().detach() - posterior.prior_mean).abs().double()
    sd = posterior.raw_variance().detach().double().sqrt()
    checks.choice(by, "by", RANKS)
    scores = -mean / sd if by == "snr" else -(mean + sd)
    return torch.where(posterior.alive, scores, torch.full_like(scores, -torch.inf))


@dataclass(frozen=True)
class ByRank:
    """Baseline: the weights with the highest `rank_scores`, until a given number is gone in all.

    Attributes:
        by: one of `RANKS`.
        removed: weights gone after each round, not falling.

    Example:
        >>> criterion = ByRank("snr", removed=(100, 150))
        >>> bayes.remove(criterion.select(bayes.posterior, round=0))
        100
        >>> bayes.remove(criterion.select(bayes.posterior, round=1))
        50
    """

    by: str
    removed: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.by

    def __post_init__(self) -> None:
        checks.choice(self.by, "by", RANKS)
        for i, n in enumerate(checks.sequence(self.removed, "removed")):
            checks.whole_number(n, f"removed[{i}]", 0)
        if any(b < a for a, b in zip(self.removed, self.removed[1:], strict=False)):
            raise ValueError(f"removed must not fall; got {self.removed}")

    def select(self, posterior: WeightPosterior, round: int = 0) -> Tensor:
        _judged(posterior, round)
        mask = torch.zeros_like(posterior.alive)
        if round < len(self.removed):
            more = max(self.removed[round] - posterior.n_removed, 0)
            mask[rank_scores(posterior, self.by).argsort(descending=True, stable=True)[:more]] = True
        return mask & posterior.alive
