"""What a network's predictions are worth, and how much of it is gone: accuracy, log score, calibration, errors and sparsity.

Predictions of a Bayesian network come as samples: one set of probabilities (or densities) for each draw of the weights. They
are averaged as probabilities, never as logarithms, before they are judged. All is computed in float64. Sources: Guo et al.
(2017) for the expected calibration error; Markovic, Friston & Kiebel (2023), arXiv 2309.12095, who report accuracy, negative
log-likelihood and that error with 20 bins of equal counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from activebmr import checks
from activebmr.pruning.data.checks import numbers, whole_labels

__all__ = ["BINNINGS", "Calibration", "calibration", "classification_metrics", "regression_metrics", "removable_structures"]
__all__ += ["sparsity", "sparsity_by_layer", "student_t_log_density"]

BINNINGS = ("equal-count", "equal-width")
"""How `calibration` divides examples: into equally many, or into those of equally wide ranges of confidence."""

_TOLERANCE = 1e-4  # by which probabilities may miss a sum of 1: float32 softmax is far better, float16 about as good


@dataclass(frozen=True, eq=False)
class Calibration:
    """How far confidence and accuracy lie apart, bins ascending by confidence; empty bins are left out.

    Attributes:
        ece: expected calibration error, a fraction in [0, 1]: sum over bins of share x abs(accuracy - confidence).
        count: examples in each bin ``(n_bins,)``, int64.
        confidence: mean probability of the predicted class in each bin ``(n_bins,)``, float64.
        accuracy: share of each bin's examples classified right ``(n_bins,)``, float64.
    """

    ece: float
    count: Tensor
    confidence: Tensor
    accuracy: Tensor


# --- classification --------------------------------------------------------------------------------------------------
def calibration(probabilities: Tensor, labels: Tensor, bins: int = 20, binning: str = "equal-count") -> Calibration:
    """Expected calibration error of class probabilities, and the bins that it is made of.

    Args:
        probabilities: of each class ``(n, classes)``; the first of the largest is the prediction, and its value the confidence.
        labels: ``(n,)``, whole numbers in 0..classes - 1.
        bins: number of bins, >= 1.
        binning: ``"equal-count"``: examples, sorted by confidence, in nearly equal parts, the first ones larger by one (among
            equal confidences the order of the examples decides); or ``"equal-width"``: bin k holds confidences in
            (k / bins, (k + 1) / bins].

    Raises:
        TypeError: if labels are not whole numbers.
        ValueError: if shapes do not fit, probabilities are negative, not finite or do not sum to 1, labels lie out of range,
            or there are no such bins.

    Example:
        >>> calibration(torch.tensor([[0.75, 0.25]] * 4), torch.tensor([0, 0, 1, 1]), bins=1).ece
        0.25
    """
    p = numbers(probabilities, "probabilities", None).detach()
    if p.ndim != 2 or 0 in p.shape:
        raise ValueError(f"probabilities must have shape (n, classes), without a 0; got {tuple(p.shape)}")
    bins = checks.whole_from(bins, "bins", 1)
    checks.choice(binning, "binning", BINNINGS)
    _distributions(p, "probabilities")
    y = _labels(labels, *p.shape).to(p.device)
    confidence, predicted = p.max(dim=1)
    right = (predicted == y).double()
    if binning == "equal-count":
        order = confidence.argsort(stable=True)
        bin_of = torch.empty_like(order)
        for k, part in enumerate(order.tensor_split(bins)):
            bin_of[part] = k
    else:
        edges = torch.arange(1, bins, dtype=torch.float64, device=p.device) / bins
        bin_of = torch.bucketize(confidence, edges)
    count = torch.bincount(bin_of, minlength=bins)
    sums = [torch.zeros(bins, dtype=torch.float64, device=p.device).index_add_(0, bin_of, x) for x in (confidence, right)]
    there = count > 0
    means = [s[there] / count[there] for s in sums]
    ece = float((count[there] / len(y) * (means[1] - means[0]).abs()).sum())
    return Calibration(ece, count[there], *means)


def classification_metrics(log_probabilities: Tensor, labels: Tensor, bins: int = 20) -> dict[str, float]:
    """Accuracy, log score and calibration of predictions, averaged over samples of the weights.

    Args:
        log_probabilities: of each class, nats, ``(samples, n, classes)`` or, for one sample, ``(n, classes)``; -inf for 0.
        labels: ``(n,)``, whole numbers in 0..classes - 1.
        bins: of equal counts, see `calibration`.

    Returns:
        ``accuracy``: share classified right by the mean probabilities; ``nll``: mean of -ln(mean probability of the label),
        nats per example (inf if some label has none); ``ece``: see `Calibration`.

    Raises:
        TypeError: if labels are not whole numbers.
        ValueError: if shapes do not fit, there is no distribution (have they gone through log_softmax?), or labels lie out of
            range.

    Example:
        >>> samples = torch.tensor([[[0.5, 0.5]] * 4, [[0.75, 0.25]] * 4]).double()
        >>> found = classification_metrics(samples.log(), torch.tensor([0, 0, 0, 1]), bins=1)
        >>> {name: round(value, 4) for name, value in found.items()}
        {'accuracy': 0.75, 'nll': 0.5977, 'ece': 0.125}
    """
    bins = checks.whole_from(bins, "bins", 1)
    logs = numbers(log_probabilities, "log_probabilities", None).detach()
    logs = logs.unsqueeze(0) if logs.ndim == 2 else logs
    if logs.ndim != 3 or 0 in logs.shape:
        shape = tuple(torch.as_tensor(log_probabilities).shape)
        raise ValueError(f"log_probabilities must have shape (samples, n, classes) or (n, classes), without a 0; got {shape}")
    _distributions(logs.exp(), "exponentials of log_probabilities")
    y = _labels(labels, *logs.shape[1:]).to(logs.device)
    mean = torch.logsumexp(logs, dim=0) - math.log(len(logs))
    return {
        "accuracy": float((mean.argmax(dim=1) == y).double().mean()),
        "nll": float(-mean.gather(1, y[:, None]).mean()),
        "ece": calibration(mean.exp(), y, bins).ece,
    }


# --- regression ------------------------------------------------------------------------------------------------------
def regression_metrics(means: Tensor, y: Tensor, log_densities: Tensor) -> dict[str, float]:
    """Error and log score of predictions, averaged over samples of the weights.

    Args:
        means: predicted means ``(samples, n, n_out)``, in units of the targets.
        y: targets ``(n, n_out)``.
        log_densities: of each row of targets under each sample ``(samples, n)``, nats; -inf for 0.

    Returns:
        ``rmse``: root of the mean squared error of the mean over samples, over all rows and outputs, in units of the targets;
        ``nll``: mean of -ln(mean density over samples), nats per row.

    Raises:
        ValueError: if shapes do not fit, means or targets are not finite, or log densities are nan or inf.

    Example:
        >>> regression_metrics(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[0.0], [1.0]]), torch.tensor([[-1.0, -2.0]]))
        {'rmse': 1.0, 'nll': 1.5}
    """
    given = {"means": means, "y": y, "log_densities": log_densities}
    m, targets, logs = (numbers(x, name, None).detach() for name, x in given.items())
    if m.ndim != 3 or 0 in m.shape:
        raise ValueError(f"means must have shape (samples, n, n_out), without a 0; got {tuple(m.shape)}")
    if targets.shape != m.shape[1:]:
        raise ValueError(f"y must have shape {tuple(m.shape[1:])}, as means have; got {tuple(targets.shape)}")
    if logs.shape != m.shape[:2]:
        raise ValueError(f"log_densities must have shape {tuple(m.shape[:2])}, as means have; got {tuple(logs.shape)}")
    _finite(m, "means")
    _finite(targets, "y")
    if (bad := logs.isnan() | (logs == math.inf)).any():
        raise ValueError(f"log_densities must be finite or -inf; got {logs[bad][0].item()}")
    log_mean = torch.logsumexp(logs, dim=0) - math.log(len(logs))
    return {"rmse": float((m.mean(dim=0) - targets).square().mean().sqrt()), "nll": float(-log_mean.mean())}


def student_t_log_density(y: Tensor | float, location: Tensor | float, alpha: Tensor | float, beta: Tensor | float) -> Tensor:
    """Log density of y ~ N(location, 1 / tau) with tau ~ Gamma(alpha, rate beta) integrated out: Student's t with 2 alpha
    degrees of freedom and scale sqrt(beta / alpha); outputs are independent, each with a tau of its own.

    Args:
        y: where, ``(..., n_out)``; all arguments broadcast.
        location: centre.
        alpha: shape of the precision's gamma distribution, > 0.
        beta: its rate, > 0, in squared units of y.

    Returns:
        sum over the last axis ``(...)``, nats, float64. Gradients flow.

    Raises:
        ValueError: if shapes do not broadcast or have no axis, a value is not finite, or alpha or beta is not above 0.
    """
    values = {"y": y, "location": location, "alpha": alpha, "beta": beta}
    device = next((x.device for x in values.values() if isinstance(x, Tensor)), None)
    tensors = {name: numbers(x, name, None).to(device) for name, x in values.items()}
    for name, x in tensors.items():
        _finite(x, name)
        if name in ("alpha", "beta") and x.numel() and x.min() <= 0:
            raise ValueError(f"{name} must be > 0; least value {x.min().item():.6g}")
    shapes = {name: tuple(x.shape) for name, x in tensors.items()}
    try:
        x, m, a, b = torch.broadcast_tensors(*tensors.values())
    except RuntimeError as error:
        raise ValueError(f"shapes of y, location, alpha and beta must broadcast; got {shapes}") from error
    if x.ndim == 0:
        raise ValueError(f"y, location, alpha or beta must have a last axis of outputs; got {shapes}")
    each = _log_gamma_step(a) - 0.5 * torch.log(2 * math.pi * b) - (a + 0.5) * torch.log1p((x - m) ** 2 / (2 * b))
    return each.sum(dim=-1)


def _log_gamma_step(a: Tensor) -> Tensor:
    """ln Gamma(a + 1/2) - ln Gamma(a); for large a by its asymptotic series, as the difference would lose all digits."""
    large = a > 100
    small, big = torch.where(large, 1.0, a), torch.where(large, a, 100.0)
    series = 0.5 * torch.log(big) - 1 / (8 * big) + 1 / (192 * big**3)
    return torch.where(large, series, torch.lgamma(small + 0.5) - torch.lgamma(small))


# --- sparsity --------------------------------------------------------------------------------------------------------
def sparsity_by_layer(alive: Mapping[str, Tensor]) -> dict[str, float]:
    """Fraction of each parameter's weights that is removed, in [0, 1].

    Args:
        alive: by parameter name, which weights are left: bool, any shape but an empty one.

    Raises:
        TypeError: if a mask is not a bool tensor.
        ValueError: if a mask is empty.
    """
    _masks(alive)
    return {name: int((~mask).sum()) / mask.numel() for name, mask in alive.items()}


def sparsity(alive: Mapping[str, Tensor]) -> float:
    """Fraction of all weights that is removed, in [0, 1]; argument and errors as for `sparsity_by_layer`.

    Raises:
        ValueError: if there is no mask at all.
    """
    _masks(alive)
    if not alive:
        raise ValueError("alive must hold at least one mask; got none")
    return sum(int((~mask).sum()) for mask in alive.values()) / sum(mask.numel() for mask in alive.values())


def removable_structures(alive: Mapping[str, Tensor]) -> dict[str, dict[str, int]]:
    """Rows and columns of weights that pruning has emptied, so that a smaller dense layer could take the layer's place.

    A row without weights is an output that no longer depends on the input, and is its bias at most; a column without weights is
    an input that the layer does not read.

    Args:
        alive: by parameter name, which weights are left, bool: of linear layers ``(n_out, n_in)`` and 2-d convolutions
            ``(n_out, n_in, height, width)``. Masks with another number of axes, such as biases, are passed over.

    Returns:
        by parameter name, ``rows`` and ``columns`` without a weight left, and ``n_rows`` and ``n_columns`` that there are.

    Raises:
        TypeError: if a mask is not a bool tensor.
        ValueError: if a mask is empty.
    """
    _masks(alive)
    found = {}
    for name, mask in alive.items():
        if mask.ndim in (2, 4):
            linked = mask.flatten(2).any(dim=2) if mask.ndim == 4 else mask
            n_rows, n_columns = linked.shape
            rows, columns = (int((~linked.any(dim=axis)).sum()) for axis in (1, 0))
            found[name] = {"rows": rows, "columns": columns, "n_rows": n_rows, "n_columns": n_columns}
    return found


# --- what is refused -------------------------------------------------------------------------------------------------
def _finite(x: Tensor, name: str) -> None:
    if not (good := torch.isfinite(x)).all():
        raise ValueError(f"{name} must be finite; got {x[~good][0].item()}")


def _distributions(p: Tensor, name: str) -> None:
    _finite(p, name)
    if p.min() < 0:
        raise ValueError(f"{name} must be >= 0; least value {p.min().item():.6g}")
    total = p.sum(dim=-1).flatten()
    worst = total[(total - 1).abs().argmax()].item()
    if abs(worst - 1) > _TOLERANCE:
        raise ValueError(f"{name} must sum to 1 over classes; one sum is {worst:.6g}")


def _labels(labels: Tensor, n: int, classes: int) -> Tensor:
    y = whole_labels(labels, "labels")
    if y.shape != (n,):
        raise ValueError(f"labels must have shape ({n},), one for each example; got {tuple(y.shape)}")
    y = y.long()
    if (bad := (y < 0) | (y >= classes)).any():
        raise ValueError(f"labels must lie in 0..{classes - 1}; got {y[bad][0].item()}")
    return y


def _masks(alive: Mapping[str, Tensor]) -> None:
    for name, mask in checks.mapping(alive, "alive").items():
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            raise TypeError(f"alive[{name!r}] must be a bool tensor; got {getattr(mask, 'dtype', type(mask).__name__)}")
        checks.real_tensor(mask, f"alive[{name!r}]")
        if not mask.numel():
            raise ValueError(f"alive[{name!r}] must not be empty; got shape {tuple(mask.shape)}")
