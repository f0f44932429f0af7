"""Criteria for removing a structure: a score for each, in nats, at least 0 where it should go.

Bayesian model reduction compares the model with one in which the structure's noise has another prior, from the posterior alone
(`log_evidence_ratio`: posterior, prior, reduced prior -> ln p(data | reduced) - ln p(data | full), positive where the reduced
model is better; the prior is uniform on the interval of log theta). `BMRS_N` squeezes the prior to a point at theta = e^-20;
`BMRS_U` to values of theta that low-precision numbers cannot tell from 0. The baselines have thresholds of their own, or only
rank. Sources: Wright, Igel & Selvan (2024), arXiv 2406.01345, eq. 9 to 13; Savage-Dickey for the point.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from activebmr import checks
from activebmr.pruning.structures.noise import TruncatedLogNormal, log_mass, log_scaled_mass

__all__ = ["BMRS_N", "BMRS_U", "Criterion", "L2Norm", "MeanBelow", "RandomRank", "ReducedNormal", "ReducedUniform", "SNRBelow"]
__all__ += ["RELEASED_ODDS", "criterion_for", "criterion_named", "log_evidence_ratio"]

RELEASED_ODDS = 0.5 * math.log(2 * math.pi)
"""Log prior odds that make `BMRS_N` the rule of the authors' released code, which leaves 2 pi out of its normal density: 0.919
nats in favour of removal. Structures that the data do not need drift to the prior, where the exact evidence ratio approaches 0
from below, so the exact rule (log prior odds 0) removes nothing, while the released one removes them all.
"""


@dataclass(frozen=True)
class ReducedNormal:
    """Reduced prior N(mean, sd^2) over x = log theta, truncated to the posterior's interval.

    Example:
        >>> posterior = TruncatedLogNormal(torch.tensor([-10.0]), torch.tensor([0.0]))
        >>> log_evidence_ratio(posterior, ReducedNormal(mean=-10.0, sd=1e-6))
        tensor([2.0768], dtype=torch.float64)
    """

    mean: float
    sd: float

    def __post_init__(self) -> None:
        checks.number(self.mean, "mean of ReducedNormal", _FINITE)
        checks.number(self.sd, "sd of ReducedNormal", checks.POSITIVE)


@dataclass(frozen=True)
class ReducedUniform:
    """Reduced prior that is uniform on an interval of x = log theta within the posterior's.

    Example:
        >>> posterior = TruncatedLogNormal(torch.tensor([-10.0]), torch.tensor([-5.0]))
        >>> log_evidence_ratio(posterior, ReducedUniform(low=-12.0, high=-8.0))
        tensor([1.6094], dtype=torch.float64)
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            checks.number(getattr(self, name), f"{name} of ReducedUniform", _FINITE)


_FINITE = checks.Rule("be a finite number", np.isfinite)


def log_evidence_ratio(posterior: TruncatedLogNormal, reduced: ReducedNormal | ReducedUniform) -> Tensor:
    """ln p(data | reduced prior) - ln p(data | uniform prior) of each structure, nats, float64 (Wright et al. 2024, eq. 9).

    Raises:
        TypeError: if one of them is something else.
        ValueError: if the reduced prior lies outside the posterior's interval.

    Example:
        >>> posterior = TruncatedLogNormal(torch.tensor([-15.0, -5.0]), torch.tensor([-1.0, -1.0]))
        >>> log_evidence_ratio(posterior, ReducedUniform(-20.0, -10.0))
        tensor([  0.6931, -95.2038], dtype=torch.float64)
    """
    checks.an(TruncatedLogNormal)(posterior, "posterior")
    checks.an((ReducedNormal, ReducedUniform))(reduced, "reduced")
    a, b, mu = posterior.low, posterior.high, posterior.mu
    if isinstance(reduced, ReducedUniform):
        if not a <= reduced.low < reduced.high <= b:
            raise ValueError(f"reduced prior must lie within [{a}, {b}]; got [{reduced.low}, {reduced.high}]")
        return math.log((b - a) / (reduced.high - reduced.low)) + posterior.log_share(reduced.low, reduced.high)
    if not (a <= reduced.mean <= b and reduced.sd > 0):
        raise ValueError(f"reduced prior must have a mean within [{a}, {b}] and sd > 0; got {reduced}")
    sigma, m, s = posterior.sigma, reduced.mean, reduced.sd
    total = torch.sqrt(sigma**2 + s**2)
    own = [torch.tensor((end - m) / s, dtype=torch.float64, device=mu.device) for end in (a, b)]
    # the product of both densities is a normal one again; its mass in the interval
    product = [((end - mu) * s / sigma + (end - m) * sigma / s) / total for end in (a, b)]
    flip = posterior.bounds[0] > 0  # mirrored where the posterior's mean lies below the interval, so that it never does
    (alpha, beta), (pa, pb) = (
        (torch.where(flip, -high, low), torch.where(flip, -low, high)) for low, high in (posterior.bounds, product)
    )
    near = torch.where(flip, *own)  # the end of the interval that is nearer to that mean
    inside = log_mass(pa, pb) - log_mass(alpha, beta) - 0.5 * ((mu - m) / total) ** 2
    # both means lie outside: (mu / sigma)^2, which may have 19 digits, cancels between all three
    outside = (beta < 0) & (pb < 0)
    if outside.any():
        low, high = torch.full_like(mu, -2.0), torch.full_like(mu, -1.0)
        masses = [
            log_scaled_mass(torch.where(outside, x, low), torch.where(outside, y, high)) for x, y in ((pa, pb), (alpha, beta))
        ]
        inside = torch.where(outside, masses[0] - masses[1] - 0.5 * near**2, inside)
    return math.log(b - a) - log_mass(*own) - 0.5 * math.log(2 * math.pi) - torch.log(total) + inside


class Criterion(Protocol):
    """How structures are judged.

    A criterion that judges layers for other reasons than their noise and weights has a method ``for_layer(name)``, which
    returns the criterion for the layer of that name; without one it is the same for all (see `criterion_for`).

    Attributes:
        name: as reports call it.
        decides: whether a score of at least 0 says that a structure should go; otherwise scores only rank.
    """

    name: str
    decides: bool

    def scores(self, posterior: TruncatedLogNormal, weights: Tensor | None = None) -> Tensor:
        """Score of each structure of a layer ``(n,)``, float64: the higher, the rather it goes.

        Args:
            posterior: over the noise of the layer.
            weights: incoming weights of each structure ``(n, n_in)``; only `L2Norm` needs them.
        """
        ...


def _of_settings(criterion: Any, *odds: str, above: tuple[str, ...] = ()) -> None:
    """Check the attributes of a criterion: those named, and its name and whether it decides."""
    kind = type(criterion).__name__
    for name in odds:
        checks.number(getattr(criterion, name), f"{name} of {kind}", _FINITE)
    for name in above:
        checks.number(getattr(criterion, name), f"{name} of {kind}", checks.POSITIVE)
    checks.text(criterion.name, f"name of {kind}")
    checks.flag(criterion.decides, f"decides of {kind}")


def _judged(posterior: Any, weights: Any) -> None:
    """Refuse what no criterion can judge, before it is looked into."""
    checks.an(TruncatedLogNormal)(posterior, "posterior")
    if weights is not None and not checks.real_tensor(weights, "weights").is_floating_point():
        raise TypeError(f"weights must be floating-point numbers; got {weights.dtype}")


def _checked(scores: Tensor, posterior: TruncatedLogNormal, name: str) -> Tensor:
    """The scores, if they and what they judge are numbers: a posterior without width has a score, and yet is no posterior."""
    for what, x in (("scores of", scores), ("mu judged by", posterior.mu), ("log sigma judged by", posterior.log_sigma)):
        if not torch.isfinite(x).all():
            bad = x[~torch.isfinite(x)][0].item()
            raise ValueError(f"{what} {name} must be finite; got {bad} (has training diverged?)")
    return scores


@dataclass(frozen=True)
class BMRS_N:  # noqa: N801 (the paper's name)
    """Reduced prior squeezed to a point: N(low end, sd^2). Removes a structure iff ratio + log prior odds >= 0.

    Attributes:
        log_prior_odds: nats in favour of removal before any data; 0 is the exact rule, `RELEASED_ODDS` the released code's.
        sd: width of the point, in log theta.

    Example:
        >>> noisy.of("0").log_sigma.data[:8] = 5.0  # as uncertain as the prior
        >>> prune(noisy, BMRS_N()).removed, prune(noisy, BMRS_N.released()).removed
        ({'0': 0}, {'0': 8})
    """

    log_prior_odds: float = 0.0
    sd: float = 1e-6
    name: str = "bmrs-n"
    decides: bool = True

    def __post_init__(self) -> None:
        _of_settings(self, "log_prior_odds", above=("sd",))

    @classmethod
    def released(cls) -> BMRS_N:
        """The rule of the authors' released code; see `RELEASED_ODDS`."""
        return cls(RELEASED_ODDS)

    def scores(self, posterior: TruncatedLogNormal, weights: Tensor | None = None) -> Tensor:
        """Log evidence ratio plus log prior odds; see `Criterion.scores`."""
        _judged(posterior, weights)
        ratio = log_evidence_ratio(posterior, ReducedNormal(posterior.low, self.sd))
        return _checked(ratio + self.log_prior_odds, posterior, self.name)


@dataclass(frozen=True)
class BMRS_U:  # noqa: N801
    """Reduced prior uniform in log theta between 2^-p2 and 2^-p1. Removes a structure iff ratio + log prior odds >= 0.

    With p2 = 23, the precision of float32, and p1 = 8 or 4, that of bfloat16 or of 4 bits. A posterior that has collapsed below
    2^-p2 has no mass there, and the paper's rule keeps it; ``from_end=True`` begins the interval at its lower end instead.

    Example:
        >>> noisy.of("0").mu.data[:8] = -10.0  # theta of about 0.00005, less than 2^-4
        >>> prune(noisy, BMRS_U(p1=4)).removed
        {'0': 8}
    """

    p1: float = 8.0
    p2: float = 23.0
    log_prior_odds: float = 0.0
    from_end: bool = False
    decides: bool = True

    def __post_init__(self) -> None:
        checks.flag(self.from_end, "from_end of BMRS_U")
        for name in ("p1", "p2"):
            checks.number(getattr(self, name), f"{name} of BMRS_U", _FINITE)
        _of_settings(self, "log_prior_odds")

    @property
    def name(self) -> str:
        return f"bmrs-u{self.p1:g}"

    def scores(self, posterior: TruncatedLogNormal, weights: Tensor | None = None) -> Tensor:
        """Log evidence ratio plus log prior odds; see `Criterion.scores`."""
        _judged(posterior, weights)
        low = posterior.low if self.from_end else -self.p2 * math.log(2)
        ratio = log_evidence_ratio(posterior, ReducedUniform(low, -self.p1 * math.log(2)))
        return _checked(ratio + self.log_prior_odds, posterior, self.name)


@dataclass(frozen=True)
class MeanBelow:
    """Baseline: E[theta] below a threshold.

    Example:
        >>> noisy.of("0").mu.data[:8] = -3.0  # theta of about 0.05
        >>> prune(noisy, MeanBelow(threshold=0.1)).removed
        {'0': 8}
    """

    threshold: float = 0.1
    name: str = "mean"
    decides: bool = True

    def __post_init__(self) -> None:
        _of_settings(self, above=("threshold",))

    def scores(self, posterior: TruncatedLogNormal, weights: Tensor | None = None) -> Tensor:
        """Log of threshold / E[theta]; see `Criterion.scores`."""
        _judged(posterior, weights)
        return _checked(math.log(self.threshold) - posterior.log_moment(1), posterior, self.name)


@dataclass(frozen=True)
class SNRBelow:
    """Baseline: signal-to-noise ratio below a threshold (Neklyudov et al. 2017).

    Example:
        >>> noisy.of("0").log_sigma.data[:8] = 2.0  # a wide posterior
        >>> prune(noisy, SNRBelow(threshold=1.0)).removed
        {'0': 8}
    """

    threshold: float = 1.0
    name: str = "snr"
    decides: bool = True

    def __post_init__(self) -> None:
        _of_settings(self, above=("threshold",))

    def scores(self, posterior: TruncatedLogNormal, weights: Tensor | None = None) -> Tensor:
        """Log of threshold / SNR; see `Criterion.scores`."""
        _judged(posterior, weights)
        return _checked(math.log(self.threshold) - torch.log(posterior.snr()), posterior, self.name)


@dataclass(frozen=True)
class L2Norm:
    """Baseline that only ranks: small norm of the incoming weights first.

    Example:
        >>> prune_share(noisy, L2Norm(), 0.5).left
        {'0': 16}
    """

    name: str = "l2"
    decides: bool = False

    def __post_init__(self) -> None:
        _of_settings(self)

    def scores(self, posterior: TruncatedLogNormal, weights: Tensor | None = None) -> Tensor:
        """Minus the norm of the incoming weights; see `Criterion.scores`."""
        if weights is None:
            raise ValueError("weights must be given for the criterion l2")
        _judged(posterior, weights)
        if weights.dim() < 2 or len(weights) != posterior.mu.numel():
            raise ValueError(f"weights must have shape ({posterior.mu.numel()}, n_in); got {tuple(weights.shape)}")
        return _checked(-weights.double().flatten(1).norm(dim=1), posterior, self.name)


@dataclass(frozen=True)
class RandomRank:
    """Baseline that only ranks: by chance, the same for the same seed and layer, independent between layers.

    Example:
        >>> prune_share(noisy, RandomRank(seed=1), 0.25).left
        {'0': 24}
    """

    seed: int = 0
    name: str = "random"
    decides: bool = False
    layer: str = ""

    def __post_init__(self) -> None:
        checks.whole_number(self.seed, "seed of RandomRank", 0)
        checks.text(self.layer, "layer of RandomRank")
        _of_settings(self)

    def for_layer(self, name: str) -> RandomRank:
        """The criterion whose random numbers are those of a layer."""
        return replace(self, layer=name)

    def scores(self, posterior: TruncatedLogNormal, weights: Tensor | None = None) -> Tensor:
        """Uniform random numbers below 0, on the device of the posterior; see `Criterion.scores`."""
        _judged(posterior, weights)
        own = np.random.SeedSequence([self.seed, zlib.crc32(self.layer.encode())])
        seed = int(own.generate_state(1)[0]) if self.layer else self.seed
        numbers = torch.rand(posterior.mu.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return -numbers.to(posterior.mu.device)


def checked_criterion(criterion: Any) -> Criterion:
    """A criterion as it is.

    Raises:
        TypeError: if it is none, such as a class or a name.
    """
    if isinstance(criterion, (type, str)) or not all(hasattr(criterion, key) for key in ("name", "decides", "scores")):
        hint = f"; did you mean {criterion.__name__}()?" if isinstance(criterion, type) else ""
        hint = f"; did you mean criterion_named({criterion!r})?" if isinstance(criterion, str) else hint
        raise TypeError(f"criterion must be a criterion such as BMRS_U(); got {criterion!r}{hint}")
    return criterion  # type: ignore[no-any-return]


def criterion_for(criterion: Criterion, layer: str) -> Criterion:
    """What judges the layer of this name: the criterion, or what its ``for_layer`` says.

    Raises:
        TypeError: if it is no criterion, or the name no text.

    Example:
        >>> criterion_for(RandomRank(seed=1), "0").layer
        '0'
        >>> criterion_for(L2Norm(), "0")
        L2Norm(name='l2', decides=False)
    """
    checks.text(layer, "layer")
    own = getattr(checked_criterion(criterion), "for_layer", None)
    return criterion if own is None else own(layer)


_NAMED: dict[str, Criterion] = {
    "l2": L2Norm(),
    "mean": MeanBelow(),
    "snr": SNRBelow(),
    "bmrs-n": BMRS_N.released(),
    "bmrs-n-exact": BMRS_N(name="bmrs-n-exact"),
    "bmrs-u8": BMRS_U(8.0),
    "bmrs-u4": BMRS_U(4.0),
    "random": RandomRank(),
}


def criterion_named(name: str) -> Criterion:
    """A criterion by the name that reports use; ``bmrs-n`` is the released rule (`RELEASED_ODDS`), ``bmrs-n-exact`` the exact.

    Raises:
        ValueError: if there is none of that name.

    Example:
        >>> criterion_named("mean")
        MeanBelow(threshold=0.1, name='mean', decides=True)
    """
    checks.choice(name, "criterion", _NAMED)
    return _NAMED[name]
