"""Bayesian model reduction of Gaussian posteriors: weights one by one, or all at once with their covariances.

A posterior q and its prior stand for a Gaussian likelihood; under another Gaussian prior, evidence and posterior follow without
the data. With the prior's mean as origin, likelihood precision L = P - Pi and l = P m, a reduced prior N(e, R) gives

    log evidence ratio = 1/2 ln |prior| / |posterior| - 1/2 ln |1 + L R| - 1/2 m' P m
                         + l' e - 1/2 e' L e + 1/2 (l - L e)' R (1 + L R)^-1 (l - L e)

which holds for R = 0 as well (a point mass: the Savage-Dickey ratio), so no tiny variance ever stands for zero. Sign: positive
favours the reduced model. Sources: Friston, Parr & Zeidman (2018), appendix; Beckers et al. (2024), arXiv 2210.09134, eq. 19
to 24 (their delta VFE is the negative of our log evidence ratio).

All of it works on NumPy arrays and on torch tensors, in float64: what comes in as tensors goes out as tensors, with gradients
and on their device; everything else is NumPy's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from activebmr import checks
from activebmr.namespaces import Array, broadcast, cholesky, doubles, inverse_from, namespace, solve_lower

__all__ = ["DenseGaussian", "Gaussian", "GaussianReduction", "best_shrinkage", "reduce_gaussian", "removal_evidence"]
__all__ += ["remove_block", "removal_threshold", "shrinkage_evidence"]


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Independent Gaussians.

    Attributes:
        mean: any shape.
        variance: same shape or one that broadcasts to it, > 0; 0 only in reduced priors, where it makes a point mass.

    Example:
        >>> posterior, prior = Gaussian([0.0, 1.0], 0.25), Gaussian([0.0, 0.0], 1.0)
        >>> found = reduce_gaussian(posterior, prior, Gaussian.point([0.0, 0.0]))
        >>> [round(ratio, 4) for ratio in found.log_evidence_ratio.tolist()]
        [0.6931, -1.3069]
    """

    mean: Array
    variance: Array

    def __post_init__(self) -> None:
        mean, variance = _read(mean=self.mean, variance=self.variance)
        mean, variance = broadcast(mean=mean, variance=variance)
        _finite(mean, "mean", "Gaussian")
        _finite(variance, "variance", "Gaussian")
        if _least(variance) < 0:
            raise ValueError(f"variance of Gaussian must be >= 0; least value {_least(variance):.6g}")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "variance", variance)

    @classmethod
    def point(cls, at: float | Array = 0.0) -> Gaussian:
        """All mass at one value: as a reduced prior it removes a weight."""
        _finite(_read(at=at)[0], "at", "Gaussian.point")
        return cls(at, 0.0)


@dataclass(frozen=True, eq=False)
class DenseGaussian:
    """A Gaussian with a full covariance.

    Attributes:
        mean: ``(n,)``.
        covariance: ``(n, n)``, symmetric; positive definite, in reduced priors semidefinite.

    Example:
        >>> posterior = DenseGaussian([0.0, 1.0], [[0.25, 0.1], [0.1, 0.25]])
        >>> found = remove_block(posterior, DenseGaussian([0.0, 0.0], np.eye(2)), [0])
        >>> round(float(found.posterior.covariance[0, 0]), 4)
        0.21
    """

    mean: Array
    covariance: Array

    def __post_init__(self) -> None:
        mean, covariance = _read(mean=self.mean, covariance=self.covariance)
        if mean.ndim != 1 or tuple(covariance.shape) != (len(mean), len(mean)):
            raise ValueError(
                "mean and covariance of DenseGaussian must have shapes (n,) and (n, n); "
                f"got {tuple(mean.shape)} and {tuple(covariance.shape)}"
            )
        _finite(mean, "mean", "DenseGaussian")
        _finite(covariance, "covariance", "DenseGaussian")
        gap = abs(covariance - covariance.T).max().item() if len(mean) else 0.0
        if gap > 0 and gap > 1e-8 * abs(covariance).max().item():
            raise ValueError(f"covariance of DenseGaussian must be symmetric; it differs from its transpose by {gap:.3g}")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", 0.5 * (covariance + covariance.T))


@dataclass(frozen=True, eq=False)
class GaussianReduction:
    """What a reduced prior would have led to.

    Attributes:
        log_evidence_ratio: ln p(data | reduced) - ln p(data | full), nats: one for each weight, or one for all together.
        posterior: posterior under the reduced prior.
    """

    log_evidence_ratio: Array
    posterior: Gaussian | DenseGaussian


def reduce_gaussian(
    posterior: Gaussian | DenseGaussian, prior: Gaussian | DenseGaussian, reduced: Gaussian | DenseGaussian
) -> GaussianReduction:
    """Evidence and posterior under another prior, from the posterior alone.

    Args:
        posterior: after the data.
        prior: that it was found with.
        reduced: the other prior; variance 0 makes a point mass.

    Raises:
        TypeError: if the three are not all `Gaussian` or all `DenseGaussian`.
        ValueError: if shapes differ, a variance of posterior or prior is 0, or no proper posterior follows: the reduced prior
            is wider than the prior where data have taken precision away (1/s^2 + 1/r^2 - 1/p^2 <= 0).

    Example:
        >>> found = reduce_gaussian(Gaussian(1.0, 0.25), Gaussian(0.0, 1.0), Gaussian.point())
        >>> round(float(found.log_evidence_ratio), 4)
        -1.3069
    """
    if all(isinstance(g, Gaussian) for g in (posterior, prior, reduced)):
        return _reduce_each(posterior, prior, reduced)  # type: ignore[arg-type]
    if all(isinstance(g, DenseGaussian) for g in (posterior, prior, reduced)):
        return _reduce_dense(posterior, prior, reduced)  # type: ignore[arg-type]
    kinds = ", ".join(type(g).__name__ for g in (posterior, prior, reduced))
    raise TypeError(f"posterior, prior and reduced must all be Gaussian or all DenseGaussian; got {kinds}")


@np.errstate(divide="ignore", over="ignore", invalid="ignore")  # point masses have infinite precision, as torch takes it
def _reduce_each(posterior: Gaussian, prior: Gaussian, reduced: Gaussian) -> GaussianReduction:
    for name, g in (("posterior", posterior), ("prior", prior)):
        if _least(g.variance) <= 0:
            raise ValueError(f"variance of {name} must be > 0; least value {_least(g.variance):.6g}")
    three = posterior, prior, reduced
    q_mean, p_mean, r_mean, s2, p2, r2 = doubles(*(g.mean for g in three), *(g.variance for g in three))
    broadcast(posterior=q_mean, prior=p_mean, reduced=r_mean)
    xp = namespace(s2)
    m, e = q_mean - p_mean, r_mean - p_mean
    likelihood = 1 / s2 - 1 / p2
    width = 1 + likelihood * r2
    # exactly 0 comes out as rounding leaves it
    fails = ~(width > 1e-14 * (1 + r2 / s2 + r2 / p2))
    if fails.any():
        _improper((1 / r2 + likelihood)[fails].min().item())
    pull = m / s2 - likelihood * e
    # m e / s2 - L e^2 / 2 + r2 pull^2 / (2 width) - m^2 / (2 s2), in a form in which large SNRs do not cancel
    fit = (0.5 * m**2 / s2 * (r2 / p2 - 1) + e * (m / s2 - 0.5 * likelihood * e)) / width
    ratio = 0.5 * xp.log(p2 / s2) - 0.5 * xp.log1p(likelihood * r2) + fit
    return GaussianReduction(ratio, type(posterior)(r_mean + r2 * pull / width, r2 / width))


def _reduce_dense(posterior: DenseGaussian, prior: DenseGaussian, reduced: DenseGaussian) -> GaussianReduction:
    if not len(posterior.mean) == len(prior.mean) == len(reduced.mean):
        sizes = [len(g.mean) for g in (posterior, prior, reduced)]
        raise ValueError(f"posterior, prior and reduced must have the same number of weights; got {sizes}")
    three = posterior, prior, reduced
    q_mean, p_mean, r_mean, q_cov, p_cov, r_cov = doubles(*(g.mean for g in three), *(g.covariance for g in three))
    xp = namespace(q_cov)
    precision, log_posterior = _inverse(q_cov, "posterior")
    prior_precision, log_prior = _inverse(p_cov, "prior")
    likelihood = precision - prior_precision
    m, e = q_mean - p_mean, r_mean - p_mean
    root = _root(r_cov)
    gained, given = root.T @ precision @ root, root.T @ prior_precision @ root
    width = doubles(np.eye(len(m)), gained)[0] + gained - given
    factor = cholesky(width)
    # exactly 0 comes out as rounding leaves it
    rounding = 4 * len(m) * np.finfo(np.float64).eps * (1 + xp.linalg.norm(gained) + xp.linalg.norm(given))
    least = xp.linalg.eigvalsh(width)[:1]
    if factor is None or (least <= rounding).any():
        raise ValueError(
            "reduced must leave a posterior with positive precision; the least eigenvalue of 1 + R' (P - Pi) R, with R R' the "
            f"reduced covariance, is {least.min().item():.6g}"
        )
    pull = precision @ m - likelihood @ e
    inner = solve_lower(factor, (root.T @ pull)[:, None])
    half = solve_lower(factor, root.T)  # half' half is the reduced covariance
    fit = m @ precision @ e - 0.5 * e @ likelihood @ e + 0.5 * (inner**2).sum() - 0.5 * m @ precision @ m
    ratio = 0.5 * (log_prior - log_posterior) - xp.log(factor.diagonal()).sum() + fit
    return GaussianReduction(ratio, type(posterior)(r_mean + half.T @ inner[:, 0], half.T @ half))


def remove_block(posterior: DenseGaussian, prior: DenseGaussian, index: Sequence[int]) -> GaussianReduction:
    """Fix some weights at 0 and leave the others their prior, given those zeros (Savage-Dickey).

    Args:
        posterior: over n weights.
        prior: over the same.
        index: which weights go, each in 0..n-1.

    Returns:
        the log evidence ratio, and the posterior over the weights that stay, in their order.

    Example:
        >>> posterior = DenseGaussian([0.0, 1.0], np.eye(2) / 4)
        >>> found = remove_block(posterior, DenseGaussian([0.0, 0.0], np.eye(2)), [0])
        >>> round(float(found.log_evidence_ratio), 4), round(float(found.posterior.mean[0]), 4)
        (0.6931, 1.0)
    """
    for name, g in (("posterior", posterior), ("prior", prior)):
        if not isinstance(g, DenseGaussian):
            raise TypeError(f"{name} must be a DenseGaussian; got {checks.brief(g)}")
    n = len(posterior.mean)
    if len(prior.mean) != n:
        raise ValueError(f"posterior and prior must have the same number of weights; got {n} and {len(prior.mean)}")
    gone = np.zeros(n, dtype=np.bool_)
    gone[checks.index_array(index, "index", 0, n - 1).reshape(-1)] = True
    out, stay = np.flatnonzero(gone), np.flatnonzero(~gone)
    xp = namespace(prior.mean)
    _inverse(prior.covariance, "prior")
    cross = prior.covariance[stay][:, out]
    weight = xp.linalg.solve(prior.covariance[out][:, out], cross.T) if len(out) else cross.T
    rest = prior.covariance[stay][:, stay] - cross @ weight
    mean, covariance = xp.zeros_like(prior.mean), xp.zeros_like(prior.covariance)
    mean[stay] = prior.mean[stay] - weight.T @ prior.mean[out]
    covariance[stay[:, None], stay] = 0.5 * (rest + rest.T)
    found = reduce_gaussian(posterior, prior, type(prior)(mean, covariance))
    q = found.posterior
    assert isinstance(q, DenseGaussian)
    return GaussianReduction(found.log_evidence_ratio, type(q)(q.mean[stay], q.covariance[stay][:, stay]))


def _inverse(covariance: Array, name: str) -> tuple[Array, Array]:
    """Precision and log determinant of a covariance."""
    xp, factor = namespace(covariance), cholesky(covariance)
    if factor is None:
        least = xp.linalg.eigvalsh(covariance).min().item()
        raise ValueError(f"covariance of {name} must be positive definite; its least eigenvalue is {least:.6g}")
    return inverse_from(factor), 2 * xp.log(factor.diagonal()).sum()


def _root(covariance: Array) -> Array:
    """C with C C' = covariance, which may be singular."""
    xp, factor = namespace(covariance), cholesky(covariance)
    if factor is not None:
        return factor
    values, vectors = xp.linalg.eigh(covariance)
    if len(values) and values[0] < -1e-10 * max(values[-1].item(), 1e-300):
        raise ValueError(f"covariance of reduced must be positive semidefinite; its least eigenvalue is {values[0].item():.6g}")
    return vectors * xp.sqrt(xp.clip(values, 0, None))


def _improper(value: float) -> None:
    raise ValueError(
        "reduced must leave a posterior with positive precision: posterior + reduced - prior precision "
        f"is {value:.6g} (the reduced prior is wider than the prior where data have taken precision away)"
    )


def _read(**named: Array) -> tuple[Array, ...]:
    """Arguments in float64 and of one library; what holds no real numbers is refused."""
    for name, x in named.items():
        if isinstance(x, (bool, np.bool_)) or str(getattr(x, "dtype", "")).endswith("bool"):
            raise TypeError(f"{name} must be real numbers, not truth values; got {checks.brief(x)}")
        named[name] = checks.real_tensor(x, name) if checks.is_tensor(x) else checks.float_array(x, name)
    return doubles(*named.values())


def _finite(x: Array, name: str, of: str = "") -> None:
    finite = namespace(x).isfinite(x)
    if not finite.all():
        raise ValueError(f"{name}{of and f' of {of}'} must be finite; got {x[~finite][0].item()}")


def _least(x: Array) -> float:
    return x.min().item() if math.prod(x.shape) else math.inf


def _weights(**named: Array) -> tuple[Array, ...]:
    """Finite arguments that broadcast, variances above 0, as `_read` has them."""
    found = dict(zip(named, _read(**named), strict=True))
    for name, x in found.items():
        _finite(x, name)
        if "variance" in name and _least(x) <= 0:
            raise ValueError(f"{name} must be > 0; least value {_least(x):.6g}")
    broadcast(**found)
    return tuple(found.values())


# --- closed forms for weights with zero-centred priors ---------------------------------------------------------------
def removal_evidence(mean: Array, variance: Array, prior_variance: Array | float, prior_mean: Array | float = 0.0) -> Array:
    """Log evidence ratio of fixing each weight at 0: 1/2 ln(prior variance / variance) - mean^2 / (2 variance), plus
    prior_mean^2 / (2 prior variance).

    Args:
        mean: of the posterior; any shape.
        variance: of the posterior, > 0, same shape.
        prior_variance: > 0, a number or the same shape.
        prior_mean: a number or the same shape.

    Positive where the weight should go: with a prior around 0 iff SNR^2 < `removal_threshold`. Beckers et al. (2024), eq. 24,
    in the limit of a reduced prior without width.

    Example:
        >>> round(float(removal_evidence(1.0, 0.25, prior_variance=1.0)), 4)
        -1.3069
    """
    return removal_evidence_of(*_weights(mean=mean, variance=variance, prior_variance=prior_variance, prior_mean=prior_mean))


def removal_evidence_of(mean: Array, variance: Array, prior_variance: Array, prior_mean: Array | float = 0.0) -> Array:
    """`removal_evidence` of what has been checked; nan and infinite numbers go through it."""
    centred = isinstance(prior_mean, float) and prior_mean == 0
    mean, variance, prior_variance, prior_mean = doubles(mean, variance, prior_variance, prior_mean)
    ratio = 0.5 * (namespace(mean).log(prior_variance / variance) - mean * mean / variance)
    return ratio if centred else ratio + 0.5 * prior_mean**2 / prior_variance


def removal_threshold(variance: Array, prior_variance: Array | float) -> Array:
    """SNR^2 = mean^2 / variance below which a weight goes: ln(prior variance / variance); none goes where it is <= 0."""
    variance, prior_variance = _weights(variance=variance, prior_variance=prior_variance)
    return namespace(variance).log(prior_variance / variance)


def shrinkage_evidence(mean: Array, variance: Array, prior_variance: Array | float, ratio: Array | float) -> Array:
    """Log evidence ratio of a prior whose variance is ``ratio`` times the old one (both centred at 0).

    Raises:
        ValueError: if a ratio is negative, or no proper posterior follows (``v + ratio (1 - v) <= 0``, v = variance over prior
            variance).
    """
    mean, variance, prior_variance, ratio = _weights(mean=mean, variance=variance, prior_variance=prior_variance, ratio=ratio)
    if _least(ratio) < 0:
        raise ValueError(f"ratio must be >= 0; got {_least(ratio):.6g}")
    v = variance / prior_variance
    d = v + ratio * (1 - v)
    if not (d > 0).all():
        raise ValueError(
            f"ratio must leave v + ratio (1 - v) > 0, v = variance / prior_variance; least is {d.min().item():.6g}"
        )
    return -0.5 * namespace(d).log(d) - 0.5 * mean**2 / variance * v * (1 - ratio) / d


@np.errstate(divide="ignore", over="ignore", invalid="ignore")  # where v = 1
def best_shrinkage(mean: Array, variance: Array, prior_variance: Array | float) -> Array:
    """Ratio >= 0 of prior variances that maximises `shrinkage_evidence`: max(0, v (SNR^2 - (1 - v)) / (1 - v)^2), with v =
    variance / prior variance; 0 removes the weight; inf where v >= 1: evidence then grows with
    the ratio, up to v / (v - 1), beyond which no proper posterior follows.

    Between SNR^2 = 1 - v and `removal_threshold` removing beats the old prior, yet shrinking beats removing.
    """
    mean, variance, prior_variance = _weights(mean=mean, variance=variance, prior_variance=prior_variance)
    xp, v = namespace(mean), variance / prior_variance
    best = xp.clip(v * (mean**2 / variance - (1 - v)) / (1 - v) ** 2, 0, None)
    return xp.where(v < 1, best, xp.full_like(best, math.inf))
