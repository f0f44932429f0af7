"""Noise in a forward pass: what modules are handed is multiplied with it, by hooks that are there for the time of the pass.

Each example has a draw of its own wherever noise multiplies what a module is handed. Where weights are read in another way
(``F.linear`` with the weight of a layer that is not called, heads of ``nn.MultiheadAttention``, the recurrent weights of an
LSTM), the weights themselves are multiplied, with one draw for all examples of the pass.

With activation checkpointing parts of a pass run again in the backward pass. The hooks then stay until that has happened, and
multiply with the draws of the first run. Where this cannot be (the reentrant kind, which hides the part from gradients; weights
that are multiplied themselves), it is refused in the first pass.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from activebmr.pruning.units.plan import Plan, Reading

__all__ = ["Pass", "Places"]


class Places:
    """Where noise multiplies, made ready for many passes."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sizes = [site.n for site in plan.sites.values()]
        self.ready = [(reading, *_index(reading, plan)) for reading in plan.readings]
        self.shared = torch.zeros(plan.n + 1, dtype=torch.bool)  # structures with one draw for all examples
        for units in plan.by_hand.values():
            self.shared[torch.from_numpy(units[units >= 0])] = True
        for reading in plan.readings:
            if reading.example_axis is None and plan.examples is not None:
                self.shared[reading.units[reading.units >= 0]] = True
        for site in plan.sites.values():
            mine = slice(site.first, site.first + site.n)
            self.shared[mine] = bool(self.shared[mine].any())


def _index(reading: Reading, plan: Plan) -> tuple[list[int], Tensor | None, tuple[int, ...]]:
    """Numbers of the sites that a reading holds structures of, and where they are among those sites' (None: in their order, one
    after the other); the number after the last stands for none.
    """
    flat = reading.units.reshape(-1)
    mine = [k for k, s in enumerate(plan.sites.values()) if bool(((flat >= s.first) & (flat < s.first + s.n)).any())]
    place, at = torch.full((plan.n + 1,), -1), 0
    for k, site in enumerate(plan.sites.values()):
        if k in mine:
            place[site.first : site.first + site.n] = torch.arange(at, at + site.n)
            at += site.n
    index = torch.where(flat < 0, at, place[flat])
    plain = len(index) == at and bool((index == torch.arange(at)).all())
    return mine, None if plain else index, tuple(reading.units.shape)


class Pass:
    """One forward pass.

    Args:
        theta: draws ``(few, n)``, which the examples of the pass share in turn, or one for all ``(1, n)``.
        examples: how many examples there are.
    """

    def __init__(self, net: nn.Module, places: Places, theta: Tensor, examples: int) -> None:
        self.net, self.places, self.theta, self.examples = net, places, theta, examples
        self.parts = theta.split(places.sizes, dim=1)  # once: a slice for each reading would cost a whole theta backwards
        self._handles: list[RemovableHandle] = []
        self._swapped: list[tuple[nn.Module, str, Tensor]] = []
        self._watched = torch.is_grad_enabled()
        self._shortcuts = any(isinstance(m, nn.TransformerEncoder) for m in net.modules())
        self._fast = True
        self._guard: _Guard | None = None
        self._running, self._waiting = False, 0
        self.again = False  # whether a part will run again in the backward pass

    def __enter__(self) -> Pass:
        self._running = True
        try:
            modules = dict(self.net.named_modules())
            by_module: dict[str, list[Any]] = {}
            for ready in self.places.ready:
                by_module.setdefault(ready[0].module, []).append(ready)
            for name in self.places.plan.unseen:
                if name in modules:
                    self._handles.append(modules[name].register_forward_pre_hook(_refuse(name)))
            gone = [name for name in by_module if name not in modules]
            if gone:
                raise RuntimeError(f"net must be as it was when noise was attached; the module {gone[0]!r} is gone")
            for name, mine in by_module.items():
                self._handles.append(modules[name].register_forward_pre_hook(self._multiply(name, mine), with_kwargs=True))
            if self.places.plan.by_hand:
                self._swap(modules)
        except BaseException:
            self.close()
            raise
        if self._shortcuts:  # torch's fast path goes past the parts of a layer
            self._fast = torch.backends.mha.get_fastpath_enabled()
            torch.backends.mha.set_fastpath_enabled(False)
        if self._guard is not None:
            self._guard.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._running = False
        if self._guard is not None:
            self._guard.__exit__(None, None, None)
        if self._shortcuts:
            torch.backends.mha.set_fastpath_enabled(self._fast)
        for module, key, parameter in self._swapped:
            _set(module, key, parameter)
        self._swapped = []
        if error[0] is not None or not self.again:
            self.close()
        elif self.theta.requires_grad:
            self.theta.register_hook(lambda grad: self.close())

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.again = False

    # --- what modules are handed -----------------------------------------------------------------------------------------
    def _multiply(self, name: str, ready: list[Any]) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not self._running:
                if torch._C._current_graph_task_id() == -1:
                    return None  # the network is called alone, before the backward pass
                self._waiting -= 1
                if self._waiting == 0:  # all has run again
                    self.close()
            if self._watched and self._running:
                self._look_for_checkpoint(name)
            given: dict[Any, Any] = dict(enumerate(args)) | kwargs
            names = list(inspect.signature(module.forward).parameters) if len(args) != 1 or kwargs else []
            done: dict[int, Tensor] = {}  # attention asks whether its arguments are the same tensor
            new = dict(given)
            for one in ready:
                reading = one[0]
                place = _place(reading.place, given, names)
                x = given.get(place)
                if not isinstance(x, Tensor):
                    continue
                if id(x) not in done:
                    done[id(x)] = x * self._factor(x, one, name)
                elif sum(r[0].place == reading.place for r in ready) > 1:
                    done[id(x)] = done[id(x)] * self._factor(x, one, name)
                new[place] = done[id(x)]
            return tuple(new[i] for i in range(len(args))), {k: new[k] for k in kwargs}

        return hook

    def _factor(self, x: Tensor, ready: Any, name: str) -> Tensor:
        reading, sites, index, shape = ready
        theta = self.parts[sites[0]] if len(sites) == 1 else torch.cat([self.parts[k] for k in sites], dim=1)
        theta = theta.to(x.device, x.dtype)
        if index is not None:
            theta = torch.cat([theta, theta.new_ones(len(theta), 1)], dim=1)[:, index.to(x.device)]
        missing = len(shape) - x.dim()
        if missing > 0:
            shape = shape[missing:]
        axis = reading.example_axis
        if self.examples == 1 or len(theta) == 1 or axis is None or missing > 0:
            return theta[0].reshape(shape)
        extra = -missing  # axes of x that were not there in the examples: in front, behind that of the examples
        n = x.shape[axis]
        if n % self.examples:
            raise ValueError(
                f"inputs must hold examples as example_inputs did: {name!r} is handed {n} rows for {self.examples} examples"
            )
        if len(theta) < self.examples:
            theta = theta.repeat(-(-self.examples // len(theta)), 1)[: self.examples]
        if n > self.examples:
            times = n // self.examples
            theta = theta.repeat(times, 1) if reading.inner else theta.repeat_interleave(times, 0)
        inside = [m for a, m in enumerate(shape) if a != axis]
        full = theta.reshape(n, *[1] * extra, *inside)
        return full.movedim(0, axis) if axis else full

    # --- weights that are read by hand -----------------------------------------------------------------------------------
    def _swap(self, modules: dict[str, nn.Module]) -> None:
        n = self.places.plan.n
        by_parameter: dict[str, Tensor] = {}
        held = dict(self.net.named_parameters()) | dict(self.net.named_buffers())
        gone = [tensor for tensor, _ in self.places.plan.by_hand if tensor not in held]
        if gone:
            raise RuntimeError(f"net must be as it was when noise was attached; the weight {gone[0]!r} is gone")
        first = torch.cat([self.theta[0], self.theta.new_ones(1)])
        for (tensor, axis), units in self.places.plan.by_hand.items():
            weight = by_parameter.get(tensor, held[tensor])
            index = torch.from_numpy(units).to(self.theta.device)
            factor = first[torch.where(index < 0, n, index)]
            shape = [1] * weight.dim()
            shape[axis] = -1
            by_parameter[tensor] = weight * factor.reshape(shape).to(weight.device, weight.dtype)
        for module in modules.values():
            for key, parameter in (*module._parameters.items(), *module._buffers.items()):
                for tensor, weight in by_parameter.items():
                    if parameter is held[tensor] and parameter is not None:
                        self._swapped.append((module, key, parameter))
                        _set(module, key, weight)
        if self._watched:
            self._guard = _Guard({id(weight): tensor for tensor, weight in by_parameter.items()})

    def _look_for_checkpoint(self, name: str) -> None:
        kind = _checkpoint()
        if kind is None:
            return
        if kind == "reentrant":
            raise RuntimeError(
                f"net must not have reentrant activation checkpointing around {name!r}: it hides noise from gradients "
                "(activebmr.pruning); use torch.utils.checkpoint with use_reentrant=False"
            )
        self.again = True
        self._waiting += 1


def _refuse(name: str) -> Any:
    def hook(module: nn.Module, args: Any) -> None:
        raise RuntimeError(
            f"net must run as it did with example_inputs: {name!r} was not called then, so that it is not known where it reads "
            "structures (activebmr.pruning); give example_inputs that reach it"
        )

    return hook


def _place(place: int | str, given: dict[Any, Any], names: list[str]) -> int | str:
    """Where an argument is, whether it is handed by position or by name."""
    if place in given:
        return place
    if isinstance(place, int):
        return names[place] if place < len(names) else place
    return names.index(place) if place in names else place


class _Guard(TorchFunctionMode):  # type: ignore[misc]
    """Refuses activation checkpointing around whatever uses weights that noise multiplies: the second run would not have it."""

    def __init__(self, weights: dict[int, str]) -> None:
        super().__init__()
        self.weights = weights

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for x in (*args, *kwargs.values()):
            for tensor in x if isinstance(x, (list, tuple)) else (x,):
                name = self.weights.get(id(tensor))
                if name is not None and _checkpoint() is not None:
                    raise RuntimeError(
                        f"net must not have activation checkpointing around {name!r}, whose noise multiplies the weight itself "
                        "(activebmr.pruning): switch checkpointing off there, or leave the layer out (exclude=[...])"
                    )
        return func(*args, **kwargs)


def _set(module: nn.Module, key: str, weight: Tensor) -> None:
    (module._parameters if key in module._parameters else module._buffers)[key] = weight  # type: ignore[assignment]
    names = getattr(module, "_flat_weights_names", None)
    if names is not None and key in names:  # recurrent layers hold a list beside
        module._flat_weights[names.index(key)] = weight  # type: ignore[operator,index,union-attr]


def _checkpoint() -> str | None:
    """Whether activation checkpointing has called what runs now: "reentrant", "other", or None."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.endswith("checkpoint.py") and "torch" in name and "utils" in name:
            return "other" if torch.is_grad_enabled() else "reentrant"
        frame = frame.f_back
    return None
