"""Variance back-propagation: means and variances of a network's outputs in closed form, layer by layer, without sampling.

Beckers et al. (2024), arXiv 2210.09134, sections III-B and appendix. Inputs to a layer count as independent Gaussians; moments
of ReLU are exact for them, those of sigmoid and tanh follow from the probit approximation of the logistic function. The
moments of a GRU's products are those of independent factors (the authors' code differs; these were checked by Monte Carlo).
Weights that are used at every step count as drawn anew, so that variances of a GRU come out too small: after 8 steps by up to
a third.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils import parametrize

from activebmr.pruning.networks.for_weights import GRU

__all__ = ["INPUT_VARIANCE", "linear_moments", "propagate", "relu_moments", "sigmoid_moments", "tanh_moments"]

INPUT_VARIANCE = 1e-3
"""Variance given to the inputs (Beckers et al. 2024): keeps roots away from 0."""

Moments = tuple[Tensor, Tensor]
_TINY = 1e-12
_ROOT_HALF, _DENSITY = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)


def linear_moments(x: Moments, weight: Moments, bias: Moments | None) -> Moments:
    """Moments of W x + b: inputs ``(..., n_in)``, weights ``(n_out, n_in)``, bias ``(n_out,)``, each a mean and a variance."""
    (x_mean, x_var), (w_mean, w_var) = x, weight
    b_mean, b_var = (None, None) if bias is None else bias
    mean = F.linear(x_mean, w_mean, b_mean)
    # v_x (mu_W^2 + s_W^2) + x^2 s_W^2 in one product
    inputs = torch.cat((x_var, x_mean * x_mean), dim=-1)
    return mean, F.linear(inputs, torch.cat((w_mean * w_mean + w_var, w_var), dim=-1), b_var)


def relu_moments(x: Moments) -> Moments:
    """Moments of max(0, x), x Gaussian."""
    mean, var = x
    sd = (var + _TINY).sqrt()
    ratio = mean / sd
    above, below = 0.5 * torch.special.erfc(ratio * -_ROOT_HALF), 0.5 * torch.special.erfc(ratio * _ROOT_HALF)
    density = torch.exp(-0.5 * ratio * ratio) * _DENSITY * sd
    first = mean * above + density
    # E x^2 - (E x)^2 without the cancellation of large means
    return first, (above * (var + mean * mean * below) + density * (mean * (below - above) - density)).clamp_min(0)


def sigmoid_moments(x: Moments) -> Moments:
    """Approximate moments of 1 / (1 + exp(-x)), x Gaussian (MacKay 1992; variance after Daunizeau 2017)."""
    mean, var = x
    t = torch.sqrt(1 + (math.pi / 8) * var)
    first = torch.sigmoid(mean / t)
    return first, first * (1 - first) * (1 - 1 / t)


def tanh_moments(x: Moments) -> Moments:
    """Approximate moments of tanh(x) = 2 sigmoid(2 x) - 1, x Gaussian."""
    first, var = sigmoid_moments((2 * x[0], 4 * x[1]))
    return 2 * first - 1, 4 * var


def _product(a: Moments, b: Moments) -> Moments:
    """Moments of the product of independent variables."""
    return a[0] * b[0], a[1] * (b[0] ** 2 + b[1]) + a[0] ** 2 * b[1]


def _gru(module: GRU, x: Moments, weights: Mapping[str, Moments]) -> Moments:
    n = module.n_hidden
    w, u, b = (weights[k] for k in ("weight_ih", "weight_hh", "bias"))
    gates_u, last_u = ((u[0][i], u[1][i]) for i in (slice(0, 2 * n), slice(2 * n, None)))
    mean, var = x
    inputs = linear_moments(x, w, b)  # of all steps at once
    h = mean.new_zeros(len(mean), n), mean.new_zeros(len(mean), n)
    for step in range(mean.shape[1]):
        into = inputs[0][:, step], inputs[1][:, step]
        from_h = linear_moments(h, gates_u, None)
        gates = sigmoid_moments((into[0][:, : 2 * n] + from_h[0], into[1][:, : 2 * n] + from_h[1]))
        r, z = ((gates[0][:, i], gates[1][:, i]) for i in (slice(0, n), slice(n, None)))
        inner = linear_moments(_product(r, h), last_u, None)
        g = tanh_moments((into[0][:, 2 * n :] + inner[0], into[1][:, 2 * n :] + inner[1]))
        keep, new = z[0], 1 - z[0]
        spread = (keep**2 + z[1]) * h[1] + (new**2 + z[1]) * g[1] + z[1] * (h[0] - g[0]) ** 2
        h = keep * h[0] + new * g[0], spread
    return h


def propagate(net: nn.Module, weights: Mapping[str, Moments], x: Tensor, input_variance: float = INPUT_VARIANCE) -> Moments:
    """Mean and variance of a network's outputs.

    Args:
        net: `nn.Sequential` (also nested) of Linear, ReLU, Sigmoid, Tanh, Flatten, Identity, Dropout (left out) and `GRU`.
        weights: by parameter name its means and variances.
        x: inputs.
        input_variance: of every input, >= 0.

    Raises:
        ValueError: for other modules: also for subclasses of these with a ``forward`` of their own, for modules with hooks or
            parametrised weights, which may compute anything, and for weights that are used twice.
    """
    if not 0 <= input_variance < math.inf:
        raise ValueError(f"input_variance must be a finite number >= 0; got {input_variance}")
    _no_second_use(net, set(weights))
    return _through("", net, (x, torch.full_like(x, input_variance)), weights)


_KNOWN = (
    nn.Sequential,
    nn.Linear,
    GRU,
    nn.ReLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Flatten,
    nn.Identity,
    nn.Dropout,
)


def _kind(name: str, module: nn.Module) -> type[nn.Module]:
    """Which of the known modules this one computes as.

    Raises:
        ValueError: if it is none, or what it computes need not be what the known one does.
    """
    kind = next((k for k in _KNOWN if isinstance(module, k)), None)
    if kind is None:
        why = f"is a {type(module).__name__}"
    elif type(module).forward is not kind.forward or "forward" in vars(module):
        why = f"is a {type(module).__name__} with a forward of its own"
    elif parametrize.is_parametrized(module):
        why = f"is a {kind.__name__} with parametrised weights"
    elif any(module.__dict__.get(hooks) for hooks in ("_forward_hooks", "_forward_pre_hooks")):
        why = f"is a {type(module).__name__} with hooks"
    else:
        return kind
    raise ValueError(
        "variance back-propagation goes through Sequential, Linear, ReLU, Sigmoid, Tanh, Flatten and GRU; "
        f"{name or 'net'!r} {why}: use inference 'bbb-local', 'bbb-global' or 'ivon'"
    )


def _no_second_use(net: nn.Module, names: set[str]) -> None:
    """Weights that two layers share count as drawn twice here."""
    seen: dict[int, str] = {}
    for name, p in net.named_parameters(remove_duplicate=False):
        if id(p) in seen and (name in names or seen[id(p)] in names):
            raise ValueError(
                f"variance back-propagation needs weights of which each is used once; {name!r} is {seen[id(p)]!r} again: "
                "use inference 'bbb-local', 'bbb-global' or 'ivon'"
            )
        seen[id(p)] = name


def _through(name: str, module: nn.Module, x: Moments, weights: Mapping[str, Moments]) -> Moments:
    at = f"{name}." if name else ""
    kind = _kind(name, module)
    if kind is nn.Sequential:
        for child, inner in module._modules.items():  # a module that is used twice is there twice
            assert inner is not None
            x = _through(at + child, inner, x, weights)
        return x
    if kind is nn.Linear:
        return linear_moments(x, weights[at + "weight"], None if module.bias is None else weights[at + "bias"])
    if kind is GRU:
        assert isinstance(module, GRU)
        return _gru(module, x, {k: weights[at + k] for k in ("weight_ih", "weight_hh", "bias")})
    if kind is nn.ReLU:
        return relu_moments(x)
    if kind is nn.Sigmoid:
        return sigmoid_moments(x)
    if kind is nn.Tanh:
        return tanh_moments(x)
    if kind is nn.Flatten:
        return module(x[0]), module(x[1])
    return x
