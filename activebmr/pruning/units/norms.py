"""Normalisations over units: which modules are one, and smaller ones that go on as if units that have gone were there, at 0.

The statistics of LayerNorm, RMSNorm and GroupNorm are means over units. A unit that has been removed counts in them as 0; when
it is cut away, the sum stays and only the number of units that it is divided by must stay as well. So the smaller normalisation
divides by the number that there was, and nothing is approximated.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["SlimGroupNorm", "SlimLayerNorm", "SlimRMSNorm", "kind_of_norm", "slim_norm"]


def kind_of_norm(module: nn.Module, x: Tensor) -> str | None:
    """``"layer"``, ``"rms"`` or ``"group"``, the axis of the units from behind and perhaps epsilon, for a module that
    normalises ``x``; else None.

    torch's own are known; of any other module without children and with no weights but vectors it is tried on random numbers
    what it computes: most libraries write their own.
    """
    if isinstance(module, nn.LayerNorm) and type(module).forward is nn.LayerNorm.forward:
        return "layer -1" if len(module.normalized_shape) == 1 else None
    if isinstance(module, nn.RMSNorm) and type(module).forward is nn.RMSNorm.forward:
        return "rms -1" if len(module.normalized_shape) == 1 else None
    if isinstance(module, nn.GroupNorm) and type(module).forward is nn.GroupNorm.forward:
        return f"group {1 - x.dim()}"
    if isinstance(module, (SlimLayerNorm, SlimRMSNorm, SlimGroupNorm)):
        return f"{module.kind} {module.axis if module.kind != 'group' else 1 - x.dim()}"
    return _by_trial(module, x)


def _by_trial(module: nn.Module, x: Tensor) -> str | None:
    vectors = [p for p in module._parameters.values() if p is not None]
    if next(module.children(), None) is not None or not vectors or any(p.dim() != 1 for p in vectors) or len(vectors) > 2:
        return None
    if isinstance(module, nn.modules.batchnorm._NormBase) or not x.is_floating_point() or x.dim() < 2 or module._buffers:
        return None
    (n,) = {len(p) for p in vectors} if len({len(p) for p in vectors}) == 1 else (0,)
    axes = [a for a in (-1, 1 - x.dim()) if x.shape[a] == n]
    if n < 2 or not axes or _weight_of(module) is None:
        return None
    generator = torch.Generator().manual_seed(0)
    tried = [torch.randn(x.shape, generator=generator).to(x.device, x.dtype) * scale + scale / 3 for scale in (3.0, 0.01, 1e-4)]
    try:
        got = [module.forward(r) for r in tried]
    except Exception:  # whatever user code does with numbers that it does not expect
        return None
    if not all(isinstance(y, Tensor) and y.shape == r.shape for y, r in zip(got, tried, strict=True)):
        return None
    for axis in axes:
        for kind in ("layer", "rms"):
            for eps in _epsilons(module):
                made = slim_norm(module, kind, axis, n, eps)
                if all(torch.allclose(made(r), y, rtol=1e-4, atol=1e-6) for r, y in zip(tried, got, strict=True)):
                    return f"{kind} {axis} {eps!r}"
    return None


def _weight_of(module: nn.Module) -> Tensor | None:
    named = dict(module.named_parameters(recurse=False))
    for key in ("weight", "scale", "gamma", "g", "gain"):
        if named.get(key) is not None:
            return named[key]
    return next(iter(named.values()), None)


def _bias_of(module: nn.Module) -> Tensor | None:
    named = [p for p in module._parameters.values() if p is not None]
    weight = _weight_of(module)
    return next((p for p in named if p is not weight), None)


def _epsilons(module: nn.Module) -> list[float]:
    own = [v for k, v in vars(module).items() if isinstance(v, float) and 0 < v < 0.1]
    return [*own, 1e-5, 1e-6, 1e-8, 0.0]


def _epsilon(module: nn.Module, like: Tensor) -> float:
    eps = getattr(module, "eps", None)
    if isinstance(eps, float):
        return eps
    own = [v for v in vars(module).values() if isinstance(v, float) and 0 < v < 0.1]
    return own[0] if own else torch.finfo(like.dtype).eps


def _wide(x: Tensor) -> Tensor:
    """Sums of squares leave the range of half precision."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class _Slim(nn.Module):
    """What smaller normalisations share.

    Args:
        n: units that are left.
        total: units that there were, which statistics are means over.
        axis: of the units, from behind.
    """

    kind = ""
    scale: Tensor

    def __init__(self, n: int, total: int, eps: float, axis: int, weight: Tensor | None, bias: Tensor | None) -> None:
        super().__init__()
        self.total, self.eps, self.axis = total, eps, axis
        self.weight = None if weight is None else nn.Parameter(weight.detach().clone())
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        like = weight if weight is not None else torch.zeros(())
        self.register_buffer("scale", torch.ones(n, dtype=like.dtype, device=like.device))

    def extra_repr(self) -> str:
        return f"{len(self.scale)} of {self.total}, eps={self.eps}"

    def _along(self, vector: Tensor, x: Tensor) -> Tensor:
        return vector.reshape(-1, *[1] * (-self.axis - 1))

    def _finished(self, x: Tensor) -> Tensor:
        if self.weight is not None:
            x = x * self._along(self.weight, x)
        return x if self.bias is None else x + self._along(self.bias, x)


class SlimLayerNorm(_Slim):
    """LayerNorm over ``total`` units of which those that are not given are 0; inputs are multiplied with ``scale`` first."""

    kind = "layer"

    def forward(self, x: Tensor) -> Tensor:
        kind, x = x.dtype, _wide(x) * self._along(self.scale, x)
        n = x.shape[self.axis]
        mean = x.sum(self.axis, keepdim=True) / self.total
        centred = x - mean
        squares = centred.square().sum(self.axis, keepdim=True) + (self.total - n) * mean.square()
        return self._finished((centred * torch.rsqrt(squares / self.total + self.eps)).to(kind))


class SlimRMSNorm(_Slim):
    """RMSNorm over ``total`` units of which those that are not given are 0; inputs are multiplied with ``scale`` first."""

    kind = "rms"

    def forward(self, x: Tensor) -> Tensor:
        kind, x = x.dtype, _wide(x) * self._along(self.scale, x)
        squares = x.square().sum(self.axis, keepdim=True)
        return self._finished((x * torch.rsqrt(squares / self.total + self.eps)).to(kind))


class SlimGroupNorm(_Slim):
    """GroupNorm over groups of ``total`` channels each, of which those that are not given are 0.

    Args:
        groups: by channel that is left, the number of its group.
    """

    kind = "group"
    groups: Tensor

    def __init__(
        self, n: int, total: int, eps: float, axis: int, weight: Tensor | None, bias: Tensor | None, num_groups: int = 1
    ) -> None:
        super().__init__(n, total, eps, axis, weight, bias)
        self.num_groups = num_groups
        self.register_buffer("groups", torch.arange(n, device=self.scale.device) // max(total, 1))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.dim() - 2))
        kind, x = x.dtype, _wide(x) * self.scale.reshape(shape)
        flat = x.flatten(2) if x.dim() > 2 else x.unsqueeze(2)
        count = self.total * flat.shape[2]
        zeros = flat.new_zeros(len(flat), self.num_groups)
        mean = zeros.index_add(1, self.groups, flat.sum(2)) / count
        centred = flat - mean[:, self.groups, None]
        here = torch.bincount(self.groups, minlength=self.num_groups) * flat.shape[2]
        squares = zeros.index_add(1, self.groups, centred.square().sum(2)) + (count - here) * mean.square()
        factor = torch.rsqrt(squares / count + self.eps)[:, self.groups, None]
        out = (centred * factor).reshape(x.shape).to(kind)
        if self.weight is not None:
            out = out * self.weight.reshape(shape)
        return out if self.bias is None else out + self.bias.reshape(shape)


def slim_norm(module: Any, kind: str, axis: int, n: int, eps: float | None = None) -> _Slim:
    """The same normalisation, ready to lose units."""
    if isinstance(module, _Slim):
        return module
    weight, bias = _weight_of(module), _bias_of(module)
    like = weight if weight is not None else torch.zeros(())
    eps = _epsilon(module, like) if eps is None else eps
    if kind == "group":
        made: _Slim = SlimGroupNorm(n, n // module.num_groups, eps, axis, weight, bias, module.num_groups)
    else:
        made = (SlimLayerNorm if kind == "layer" else SlimRMSNorm)(n, n, eps, axis, weight, bias)
    for new, old in ((made.weight, weight), (made.bias, bias)):
        if new is not None and old is not None:
            new.requires_grad_(old.requires_grad)
    return made.train(module.training)
