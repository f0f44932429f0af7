"""Which structures of a network can be removed, and where their noise goes: found by tracing the network symbolically.

The outputs of every linear or convolutional layer span a *channel space*. Elementwise operations, pooling and normalisation
keep it; adding two tensors makes their spaces one (a residual stream: its channels can go only where every layer that writes to
them agrees); whatever is not understood, and the network's output, makes a space one that cannot be pruned.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import fx, nn

__all__ = ["Attention", "Site", "find_sites", "sites_by_name"]

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_SCALES = (nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Dropout)  # f(theta x) = theta f(x): noise before or after is the same
_CURVES = (nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.Sigmoid, nn.Softplus, nn.Hardswish, nn.Mish, nn.ReLU6)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.Flatten)
_POOLS += (nn.Dropout2d,)
_KEEPS = {F.relu, torch.relu, torch.tanh, F.tanh, F.gelu, F.silu, F.leaky_relu, F.dropout, F.max_pool2d, F.max_pool1d}
_KEEPS |= {F.avg_pool2d, F.avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool1d, torch.flatten}
_KEEPS_METHODS = {"relu", "tanh", "flatten", "contiguous", "relu_", "tanh_"}
_RESHAPES_METHODS = {"view", "reshape", "mean"}
_ADDS = {operator.add, torch.add, operator.iadd}
_ADDS_METHODS = {"add", "add_"}


class Attention(nn.Module):
    """What attention must look like for its heads to be pruned: ``proj``, a linear layer that reads the heads one after the
    other, and ``num_heads``. `activebmr.pruning.networks` has one; ``nn.MultiheadAttention`` is known as well.
    """

    proj: nn.Linear
    num_heads: int


@dataclass(frozen=True)
class Site:
    """Where one noise variable per structure multiplies.

    Attributes:
        name: of the layer whose outputs are the structures (for heads, of the attention).
        at: module whose output is multiplied; for heads, the layer whose input is.
        n: number of structures.
        kind: ``"features"`` (last axis), ``"channels"`` (axis 1) or ``"heads"``.
        norm: normalisation between the layer and the noise, or None.
        fold: whether the mean goes into the ``"producer"`` (the layer or its normalisation) or into the ``"consumer"``.
        group: sites of one group write to the same channels, which go only together.
        size: columns of the consumer per structure of a head, else 1.
        readers: layers that read the structures, each with how many of its input columns belong to one structure; empty if
            tracing does not know.
    """

    name: str
    at: str
    n: int
    kind: str
    norm: str | None = None
    fold: str = "producer"
    group: int = -1
    size: int = 1
    readers: tuple[tuple[str, int], ...] = ()


class _Spaces:
    """Channel spaces, joined as needed."""

    def __init__(self) -> None:
        self.parent: list[int] = []
        self.fixed: list[bool] = []

    def new(self, fixed: bool = False) -> int:
        self.parent.append(len(self.parent))
        self.fixed.append(fixed)
        return len(self.parent) - 1

    def find(self, i: int) -> int:
        while self.parent[i] != i:
            i = self.parent[i]
        return i

    def join(self, spaces: Iterable[int]) -> int:
        roots = sorted({self.find(s) for s in spaces})
        for r in roots[1:]:
            self.parent[r] = roots[0]
            self.fixed[roots[0]] |= self.fixed[r]
        return roots[0]

    def fix(self, spaces: Iterable[int]) -> None:
        for s in spaces:
            self.fixed[self.find(s)] = True


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or _is_attention(m)


def _is_attention(module: nn.Module) -> bool:
    if isinstance(module, nn.MultiheadAttention):
        return True
    return isinstance(getattr(module, "proj", None), nn.Linear) and isinstance(getattr(module, "num_heads", None), int)


def find_sites(net: nn.Module) -> list[Site]:
    """Every structure of a network that can be removed.

    Raises:
        ValueError: if the network cannot be traced, a layer is used twice, weights are tied, or nothing can be pruned.
    """
    _check_tied(net)
    try:
        graph = _Tracer().trace(net)
    except Exception as error:  # whatever user code does under symbolic values
        raise ValueError(
            f"net cannot be traced symbolically ({type(error).__name__}: {error}): name the layers to prune (names=[...])"
        ) from error
    modules = dict(net.named_modules())
    spaces, of_node, producers = _Spaces(), {}, {}
    for node in graph.nodes:
        of_node[node] = _space(node, modules, spaces, of_node, producers)
    sites: list[Site] = []
    for node, module in ((n, modules[n.target]) for n in graph.nodes if n.op == "call_module"):
        if _is_attention(module):
            sites += _heads(str(node.target), module)
        elif node in producers and not spaces.fixed[spaces.find(of_node[node])]:
            sites.append(_placed(node, module, modules, spaces.find(of_node[node])))
    inputs = {str(n.target): spaces.find(of_node[n.args[0]]) for n in producers if isinstance(n.args[0], fx.Node)}
    sites = [s if s.kind == "heads" else replace(s, readers=_readers(s, inputs, modules)) for s in sites]
    if not sites:
        raise ValueError("net must have a structure that can be pruned: a layer whose outputs another layer reads; it has none")
    return sites


def _readers(site: Site, inputs: dict[str, int], modules: Any) -> tuple[tuple[str, int], ...]:
    """Layers whose input is the site's channel space; after flattening, a channel is several input columns of a linear one."""
    mine = [name for name, space in inputs.items() if space == site.group]
    width = lambda layer: layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels  # noqa: E731
    return tuple((name, width(modules[name]) // site.n) for name in mine)


def _check_tied(net: nn.Module) -> None:
    owners: dict[int, str] = {}
    for name, module in net.named_modules(remove_duplicate=False):
        for key, parameter in module.named_parameters(recurse=False):
            where = f"{name}.{key}" if name else key
            if owners.setdefault(id(parameter), where) != where:
                raise ValueError(f"net must not tie weights: {owners[id(parameter)]} and {where} are one parameter")


def _inputs(node: fx.Node) -> list[fx.Node]:
    return [n for n in node.all_input_nodes]


def _space(node: fx.Node, modules: Any, spaces: _Spaces, of_node: dict[Any, int], producers: dict[Any, str]) -> int:
    """Channel space of a node's output."""
    sources = [of_node[n] for n in _inputs(node)]
    if node.op in ("placeholder", "get_attr"):
        return spaces.new(fixed=True)
    if node.op == "output":
        spaces.fix(sources)
        return spaces.new(fixed=True)
    if node.op == "call_module":
        module = modules[node.target]
        if isinstance(module, LAYERS):
            if str(node.target) in producers.values():
                raise ValueError(f"net must use each layer once: {node.target} is used twice")
            grouped = getattr(module, "groups", 1) > 1
            if grouped:
                spaces.fix(sources)
            producers[node] = str(node.target)
            return spaces.new(fixed=grouped)
        if isinstance(module, (*NORMS, *_SCALES, *_CURVES, *_POOLS)):
            return spaces.join(sources)
    if (node.op == "call_function" and node.target in _KEEPS) or (node.op == "call_method" and node.target in _KEEPS_METHODS):
        return spaces.join(sources)
    if node.op == "call_method" and node.target in _RESHAPES_METHODS and _keeps_channels(node):
        return of_node[node.args[0]]
    if (node.op == "call_function" and node.target in _ADDS) or (node.op == "call_method" and node.target in _ADDS_METHODS):
        tensors = [of_node[n] for n in _inputs(node)]
        return spaces.join(tensors)
    if node.op == "call_method" and node.target in ("size", "dim"):
        return spaces.new(fixed=True)
    if node.op == "call_function" and node.target in (getattr, operator.getitem) and not _is_tensor_op(node):
        return spaces.new(fixed=True)
    spaces.fix(sources)
    return spaces.new(fixed=True)


def _is_tensor_op(node: fx.Node) -> bool:
    """Whether getattr or getitem reads a tensor's values, rather than its shape."""
    if node.target is getattr:
        return node.args[1] not in ("shape", "dtype", "device", "ndim")
    source = node.args[0]
    return not (
        isinstance(source, fx.Node) and (source.target == "size" or (source.target is getattr and source.args[1] == "shape"))
    )


def _keeps_channels(node: fx.Node) -> bool:
    """``x.view(n, -1)`` and ``x.mean((2, 3))`` keep channels in order; other reshapes may not."""
    if node.target == "mean":
        axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        axes = [axes] if isinstance(axes, int) else list(axes or [])  # type: ignore[arg-type]
        return bool(axes) and all(isinstance(a, int) and (a >= 2 or a in (-1, -2)) for a in axes)
    shape = node.args[1:]
    return len(shape) == 2 and shape[1] == -1


def _placed(node: fx.Node, module: Any, modules: Any, group: int) -> Site:
    """Noise after the layer, its normalisation and its activation, as far as nothing else reads what lies between."""
    linear = isinstance(module, nn.Linear)
    n = module.out_features if linear else module.out_channels
    at, norm, fold = str(node.target), None, "producer"
    reader = _only_reader(node, modules)
    if reader is not None and _normalises(modules[reader.target], n) and _calls(reader) == 1:
        at = norm = str(reader.target)
        node, reader = reader, _only_reader(reader, modules)
    if reader is not None and _calls(reader) == 1 and isinstance(modules[reader.target], (*_SCALES, *_CURVES)):
        at = str(reader.target)
        fold = "producer" if isinstance(modules[reader.target], _SCALES) else "consumer"
    return Site(
        str(node.target) if norm is None else _producer_of(node), at, n, "features" if linear else "channels", norm, fold, group
    )


def _producer_of(norm_node: fx.Node) -> str:
    return str(_inputs(norm_node)[0].target)


def _normalises(module: Any, n: int) -> bool:
    """Whether a module normalises n channels; after a linear layer on tokens, BatchNorm1d may have the tokens instead."""
    return isinstance(module, NORMS) and module.num_features == n


def _calls(node: fx.Node) -> int:
    """How often the module of a node is called."""
    return sum(1 for other in node.graph.nodes if other.op == "call_module" and other.target == node.target)


def _only_reader(node: fx.Node, modules: Any) -> fx.Node | None:
    readers = list(node.users)
    return readers[0] if len(readers) == 1 and readers[0].op == "call_module" else None


def _heads(name: str, module: Any) -> list[Site]:
    n = module.num_heads
    if n < 2:
        return []
    key = "out_proj" if isinstance(module, nn.MultiheadAttention) else "proj"
    width = getattr(module, key).in_features
    return [Site(name, f"{name}.{key}", n, "heads", None, "consumer", -1, width // n)]


def sites_by_name(net: nn.Module, names: Iterable[str]) -> list[Site]:
    """Sites at the outputs of layers given by name (or attention modules), without tracing: the user vouches for them.

    Raises:
        ValueError: if there is no such module, or it has no structures.
    """
    _check_tied(net)
    modules = dict(net.named_modules())
    sites: list[Site] = []
    for name in names:
        if name not in modules:
            raise ValueError(f"names must be modules of net, such as {next(iter(modules.keys() - {''}), '')!r}; got {name!r}")
        module = modules[name]
        if isinstance(module, LAYERS):
            linear = isinstance(module, nn.Linear)
            n = module.out_features if linear else module.out_channels
            sites.append(Site(name, name, n, "features" if linear else "channels"))
        elif _is_attention(module):
            sites += _heads(name, module)
        else:
            raise ValueError(
                f"names must be Linear, Conv1d, Conv2d or attention modules; {name!r} is a {type(module).__name__}"
            )
    if not sites:
        raise ValueError("names must hold at least one module with structures; got none")
    return sites
