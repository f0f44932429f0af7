"""How weights are used in a forward pass: by a layer's function, whose outputs can be drawn in their place, or in another way.

What stands in for a parameter in a pass is a draw of it, so that whatever a network computes of it is right. `LocalDraws` sees
every function of torch that is called with a stand-in. Where that is the linear map or the convolution of it, once in a pass,
the outputs are drawn instead, each for itself (Kingma, Salimans & Welling 2015). Type and name of the module say nothing: a
layer may scale its weight, read that of another layer, or be called twice.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["LocalDraws", "Uses", "call_with"]

_PRODUCTS = frozenset((F.linear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d))
"""Functions of (inputs, weight, bias, ...) whose outputs are sums of products of one input and one weight, each weight once."""
_VALUES = frozenset(("item", "tolist", "numpy", "__array__", "__bool__", "__float__", "__int__", "__complex__", "__index__"))
"""Methods that give out what is in a tensor as something else; all others without a tensor tell of its shape or type."""
_TINY = 1e-16
"""Least variance of a drawn output: a root has no slope at 0, where all weights of a unit are removed."""


def _tiny(x: Tensor) -> float:
    return max(_TINY, torch.finfo(x.dtype).tiny)


_ONE_AT_A_TIME = threading.RLock()
"""What stands in for a parameter does so in all threads."""


def call_with(
    net: nn.Module, weights: Mapping[str, Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any], uses: Uses | None = None
) -> Any:
    """Outputs of a network with other tensors in place of its parameters, which are in their place again afterwards.

    Args:
        net: any module.
        weights: what stands in, by parameter name; tied parameters follow.
        args, kwargs: what the network is called with.
        uses: what watches them meanwhile; without it, and where gradients are wanted, one that refuses activation
            checkpointing.
    """
    if uses is None and torch.is_grad_enabled():
        uses = Uses(weights)
    with _ONE_AT_A_TIME:
        places = _places(net, weights)
        try:
            for name, parameters, key, _ in places:
                parameters[key] = weights[name]
            with nullcontext() if uses is None else uses:
                return net(*args, **kwargs)
        finally:
            for _, parameters, key, own in places:
                parameters[key] = own
            for module in net.modules():
                if isinstance(module, nn.RNNBase):  # keeps a list of its weights, which would go on to hold the stand-ins
                    module._init_flat_weights()


def _places(net: nn.Module, names: Iterable[str]) -> list[tuple[str, Any, str, Any]]:
    """Where parameters of these names are kept, under all names that they have: name, dict of a module, key and parameter."""
    known = {}
    for name in names:
        owner, _, key = name.rpartition(".")
        known[id(net.get_submodule(owner)._parameters[key])] = name
    return [
        (known[id(p)], module._parameters, key, p)
        for module in net.modules()
        for key, p in module._parameters.items()
        if id(p) in known
    ]


class Uses(TorchFunctionMode):
    """Sees what a network does with stand-ins, and refuses activation checkpointing of them.

    A checkpoint computes its part of a network anew in the backward pass, when the stand-ins are gone: its gradients would be
    those of other weights, or missing.

    Args:
        weights: stand-ins by parameter name.

    Raises:
        ValueError: out of a pass in which gradients are wanted and a checkpoint uses a stand-in.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.weights = weights  # they must live as long as their ids are known
        self.names = {id(t): name for name, t in weights.items()}
        self.with_gradients = torch.is_grad_enabled()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = list(self._found(args))
        if kwargs:
            found += self._found(kwargs.values())
        if not found:
            return func(*args, **(kwargs or {}))
        if self.with_gradients:
            _refuse_checkpoints(found[0])
        return self.use(found, func, args, kwargs or {})

    def use(self, names: list[str], func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What a function gives that is called with stand-ins of these names."""
        return func(*args, **kwargs)

    def _found(self, values: Iterable[Any]) -> Iterator[str]:
        for value in values:
            if isinstance(value, Tensor):
                name = self.names.get(id(value))
                if name is not None:
                    yield name
            elif isinstance(value, (tuple, list)):
                yield from self._found(value)
            elif isinstance(value, dict):
                yield from self._found(value.values())


class LocalDraws(Uses):
    """Draws outputs of linear maps and convolutions where a weight is used by one of them, and in no other way, in a pass.

    Weights that are used twice in a pass, as by two branches or at every step of a series, have one draw in both: two draws of
    outputs would be independent. They are noted in ``again`` if the first use drew outputs; such a pass must be made anew.

    Rows of a batch count as examples. Places of an image, or tokens, are drawn independently as well, although they share
    their weights: each output has the right distribution, their correlation within an example is left out.

    Args:
        weights: draws by parameter name, which stand in.
        means, sds: of the weights, by parameter name.
        shared: names of parameters that are known to be used more than once.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], means: Mapping[str, Tensor], sds: Mapping[str, Tensor], shared: set[str]
    ) -> None:
        super().__init__(weights)
        self.means, self.sds, self.shared = means, sds, shared
        self.local: set[str] = set()
        self.drawn: set[str] = set()
        self.again: set[str] = set()

    def use(self, names: list[str], func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if func in _PRODUCTS:
            inputs, weight, bias, rest, options = _arguments(args, kwargs)
            name, other = self.names.get(id(weight)), self.names.get(id(bias))
            if name is not None and len(names) == 1 + (other is not None) and self._may_be_local(name, inputs):
                if other is not None and not self._may_be_local(other, inputs):
                    self._note([other])
                    other = None
                self.local |= {name} if other is None else {name, other}
                return self._drawn_outputs(func, name, other, (inputs, bias, rest, options))
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        # what gives a stand-in back as it is, such as a cast to the type that it has, has made no use of it yet
        if (name in _VALUES or _holds_tensor(result)) and (id(result) not in self.names or name.endswith("_")):
            self._note(names)
        return result

    def _may_be_local(self, name: str, inputs: Any) -> bool:
        known = name in self.shared or name in self.drawn or name in self.local
        # without gradients inside of a pass that has them is the forward of a function with a backward of its own
        usual = self.with_gradients == torch.is_grad_enabled() and isinstance(inputs, Tensor)
        return usual and not known and not torch._C._functorch.is_functorch_wrapped_tensor(inputs)

    def _note(self, names: Iterable[str]) -> None:
        self.drawn.update(names)
        self.again |= self.local.intersection(names)

    def _drawn_outputs(self, func: Any, name: str, other: str | None, call: tuple[Any, ...]) -> Tensor:
        inputs, bias, rest, options = call
        mean = func(inputs, self.means[name], bias if other is None else self.means[other], *rest, **options)
        weight, add = self.sds[name].square(), None if other is None else self.sds[other].square()
        if mean.dtype == torch.float16:  # squares of usual inputs are beyond its range
            with torch.autocast(mean.device.type, enabled=False):
                add = None if add is None else add.float()
                variance = func(inputs.float().square(), weight.float(), add, *rest, **options)
        else:
            variance = func(inputs.square(), weight, add, *rest, **options)
        # convolutions by transforms may round to less than 0
        sd = variance.clamp_min(_tiny(variance)).sqrt().to(mean.dtype)
        return torch.addcmul(mean, sd, torch.randn_like(mean))


def _arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any, Any, tuple[Any, ...], dict[str, Any]]:
    """Inputs, weight, bias, and what else a linear map or convolution is told."""
    options = dict(kwargs)
    first = [args[i] if i < len(args) else options.pop(key, None) for i, key in enumerate(("input", "weight", "bias"))]
    return first[0], first[1], first[2], args[3:], options


def _holds_tensor(result: Any) -> bool:
    return isinstance(result, Tensor) or (isinstance(result, (tuple, list)) and any(map(_holds_tensor, result)))


def _refuse_checkpoints(name: str) -> None:
    """Look through the callers, up to the call of the network, for one that checkpoints."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code is not call_with.__code__:
        if frame.f_code.co_filename == torch.utils.checkpoint.__file__:
            raise ValueError(
                "net must not use activation checkpointing (torch.utils.checkpoint) where activebmr has a posterior over its "
                f"weights: it would compute {name.rpartition('.')[0] or 'net'!r} anew in the backward pass, when the weights "
                f"that were drawn ({name!r} first of all) are gone. Switch checkpointing off, or name only parameters outside"
            )
        frame = frame.f_back  # type: ignore[assignment]
