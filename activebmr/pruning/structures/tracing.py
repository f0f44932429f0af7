"""Which structures of a network can be removed, and where their noise goes: found by tracing the network symbolically.

The outputs of every linear or convolutional layer span a *channel space*, which lies on axis 1 (after a convolution) or on the
last axis (after a linear layer, or once maps are flattened). Elementwise operations keep it; so do pooling and normalisation
that work along other axes; adding two tensors makes their spaces one (a residual stream: its channels can go only where every
layer that writes to them agrees). Whatever is not known to keep channels apart and in order, and the network's output, makes a
space one that cannot be pruned. Inputs are taken to be batches, examples first.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import fx, nn

__all__ = ["Attention", "Site", "find_sites", "sites_by_name"]

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
SCALES = (nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Dropout)
"""f(theta x) = theta f(x) for theta >= 0: noise before or after is the same."""
CURVES = (nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.Sigmoid, nn.Softplus, nn.Hardswish, nn.Mish, nn.ReLU6)
POOLS: dict[Any, int] = {
    **dict.fromkeys((nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d), 3),
    **dict.fromkeys((F.max_pool1d, F.avg_pool1d, F.adaptive_avg_pool1d), 3),
    **dict.fromkeys((nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d), 4),
    **dict.fromkeys((F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d), 4),
}
"""Pooling, modules and functions, and the axes of what it pools; with one less it takes channels for a side of a map."""
SCALING = {F.relu, torch.relu, F.leaky_relu, F.dropout, "relu", "relu_", "contiguous"}
BENDING = {torch.tanh, F.tanh, F.gelu, F.silu, "tanh", "tanh_"}
"""Elementwise functions and methods, as `SCALES` and `CURVES` are."""
RESHAPING = {torch.flatten, "flatten", "view", "reshape", "mean"}
_ADDING = {operator.add, torch.add, operator.iadd, "add", "add_"}


class Attention(nn.Module):
    """What attention must look like for its heads to be pruned: ``proj``, a linear layer that reads the heads one after the
    other, and ``num_heads``. `activebmr.pruning.networks.for_structures` has one; ``nn.MultiheadAttention`` is known as well.
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
        readers: layers that read the structures of the group, each with how many of its input columns belong to one structure;
            empty if tracing does not know. In a residual group, these are the readers of all its sites, also those that read
            one of them before the others are added: channels go in the whole group or not at all, and all readers lose them.
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
        self.sizes: list[int] = []

    def new(self, size: int = 0, fixed: bool = False) -> int:
        self.parent.append(len(self.parent))
        self.fixed.append(fixed)
        self.sizes.append(size)
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


class Tracer(fx.Tracer):
    """Attention modules stay whole."""

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
        graph = Tracer().trace(net)
    except Exception as error:  # whatever user code does under symbolic values
        raise ValueError(
            f"net cannot be traced symbolically ({type(error).__name__}: {error}): name the layers to prune (names=[...])"
        ) from error
    modules = dict(net.named_modules())
    flow = _Flow(graph, modules)
    sites: list[Site] = []
    for node, module in ((n, modules[n.target]) for n in graph.nodes if n.op == "call_module"):
        if _is_attention(module):
            sites += _heads(str(node.target), module)
        elif node in flow.producers and not flow.spaces.fixed[flow.group(node)]:
            sites.append(_placed(node, module, modules, flow.group(node)))
    inputs = {name: flow.group(node.all_input_nodes[0]) for node, name in flow.producers.items()}
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


@dataclass(frozen=True)
class _Value:
    """A node's tensor: its channel space, on which axis this lies (None where it cannot be pruned), and the number of axes."""

    space: int
    axis: Literal["channels", "features"] | None = None
    ndim: int | None = None


class _Flow:
    """What becomes of channel spaces along a graph.

    Attributes:
        spaces: all channel spaces.
        producers: nodes that are layers, and their names.
    """

    def __init__(self, graph: fx.Graph, modules: Mapping[str, Any]) -> None:
        self.spaces, self.producers = _Spaces(), dict[fx.Node, str]()
        self._modules, self._values = modules, dict[fx.Node, _Value]()
        for node in graph.nodes:
            self._values[node] = self._value(node)

    def group(self, node: fx.Node) -> int:
        """Channel space of a node, with all that it has been joined with."""
        return self.spaces.find(self._values[node].space)

    def _value(self, node: fx.Node) -> _Value:
        module = self._modules[node.target] if node.op == "call_module" else None
        sources = [self._values[n] for n in node.all_input_nodes]
        if isinstance(module, LAYERS):
            return self._layer(node, module, sources[0])
        if node.op in ("placeholder", "get_attr") or reads_shape(node):
            return _Value(self.spaces.new(fixed=True))
        what = node.target if module is None else type(module)
        if node.op == "output" or not sources:
            found: _Value | None = None
        elif module is None and what in _ADDING:
            found = self._sum(sources)
        elif module is None and what in RESHAPING or isinstance(module, nn.Flatten):
            found = self._reshaped(node, module, sources[0])
        elif len(sources) > 1:
            found = None
        elif isinstance(module, (*SCALES, *CURVES, nn.Dropout2d)) or what in SCALING or what in BENDING:
            found = sources[0]
        elif isinstance(module, NORMS):
            found = sources[0] if self._along_channels(module, sources[0]) else None
        else:
            found = sources[0] if POOLS.get(what) == sources[0].ndim and sources[0].axis == "channels" else None
        if found is None or found.axis is None:
            self.spaces.fix(s.space for s in sources)
        return found or _Value(self.spaces.new(fixed=True))

    def _layer(self, node: fx.Node, module: Any, x: _Value) -> _Value:
        if str(node.target) in self.producers.values():
            raise ValueError(f"net must use each layer once: {node.target} is used twice")
        self.producers[node] = str(node.target)
        if isinstance(module, nn.Linear):
            if x.axis != "features":
                self.spaces.fix([x.space])
            return _Value(self.spaces.new(module.out_features), "features", x.ndim)
        ndim = 3 if isinstance(module, nn.Conv1d) else 4
        if x.axis != "channels" or x.ndim != ndim or module.groups > 1:
            self.spaces.fix([x.space])
        batch = x.ndim in (None, ndim)  # otherwise a single example, channels first
        return _Value(self.spaces.new(module.out_channels, fixed=module.groups > 1 or not batch), "channels", ndim)

    def _sum(self, terms: list[_Value]) -> _Value:
        """Terms of the same channels on the same axis; a layer with one output may be spread over another's channels."""
        axes, ranks = {t.axis for t in terms}, {t.ndim for t in terms}
        aligned = axes == {"features"} or (axes == {"channels"} and len(ranks) == 1)
        same = aligned and len({self.spaces.sizes[t.space] for t in terms}) == 1
        space = self.spaces.join(t.space for t in terms)
        return _Value(space, terms[0].axis if same else None, terms[0].ndim if len(ranks) == 1 else None)

    def _along_channels(self, norm: Any, x: _Value) -> bool:
        """Whether a normalisation has statistics of each channel: after a linear layer on tokens, it has each token's."""
        one = isinstance(norm, nn.BatchNorm1d)
        if x.axis == "channels":
            return x.ndim == (3 if one else 4)
        return one and (x.ndim == 2 or (x.ndim is None and norm.num_features == self.spaces.sizes[x.space]))

    def _reshaped(self, node: fx.Node, module: Any, x: _Value) -> _Value | None:
        """``flatten``, ``view``, ``reshape`` and ``mean``: whether and where the channels are afterwards."""
        if isinstance(module, nn.Flatten):
            return _flattened(x, module.start_dim, module.end_dim)
        if node.target == "mean":
            return _averaged(x, **_given(node, "dim", "keepdim"))
        if node.target not in ("view", "reshape"):
            return _flattened(x, **{"start_dim": 0, "end_dim": -1} | _given(node, "start_dim", "end_dim"))
        shape = node.args[1] if len(node.args) == 2 else node.args[1:]
        if not isinstance(shape, (tuple, list)) or len(shape) != 2:
            return None
        if shape[1] == -1 and self._is_batch(shape[0], node):
            return _flattened(x, 1, -1)
        return _Value(x.space, None, 2)

    def _is_batch(self, size: Any, node: fx.Node) -> bool:
        """Whether a number is that of the examples in a node's first argument: ``x.size(0)`` or ``x.shape[0]``."""
        if not isinstance(size, fx.Node) or size.args[1:] != (0,):
            return False
        whole = size.args[0] if size.target is operator.getitem else size
        if not isinstance(whole, fx.Node) or not _is_shape(whole):
            return False
        x = whole.args[0]
        same = x is node.args[0] or x.op == "placeholder"  # type: ignore[union-attr]
        return same or self._values[x].axis == "channels"  # type: ignore[index]


def _given(node: fx.Node, *names: str) -> dict[str, Any]:
    """Arguments of a call after the tensor, those that are among these names."""
    given = {**dict(zip(names, node.args[1:], strict=False)), **node.kwargs}
    return {name: given[name] for name in names if name in given}


def _flattened(x: _Value, start_dim: Any, end_dim: Any) -> _Value | None:
    if not isinstance(start_dim, int) or not isinstance(end_dim, int):
        return None
    if x.ndim is None:
        return _Value(x.space, None, 2) if (start_dim, end_dim) == (1, -1) else None
    start, end = start_dim % x.ndim, end_dim % x.ndim
    ndim = x.ndim - (end - start)
    if start == end or (x.axis == "channels" and start > 1):
        return replace(x, ndim=ndim)
    if x.axis == "channels" and (start, ndim) == (1, 2):  # the values of a channel one after the other
        return _Value(x.space, "features", 2)
    return _Value(x.space, None, ndim)


def _averaged(x: _Value, dim: Any = None, keepdim: Any = False) -> _Value | None:
    axes = [dim] if isinstance(dim, int) else dim
    if x.axis != "channels" or x.ndim is None or not isinstance(axes, (tuple, list)) or not isinstance(keepdim, bool):
        return None
    if not axes or not all(isinstance(a, int) and a % x.ndim > 1 for a in axes):
        return None
    ndim = x.ndim if keepdim else x.ndim - len(axes)
    return _Value(x.space, "features" if ndim == 2 else "channels", ndim)


def reads_shape(node: fx.Node) -> bool:
    """Whether a node is a shape, a size or another fact of a tensor rather than made of its values."""
    if node.op == "call_method":
        return node.target in ("size", "dim")
    if node.op != "call_function":
        return False
    if node.target is getattr:
        return node.args[1] in ("shape", "dtype", "device", "ndim")
    source = node.args[0] if node.target is operator.getitem else None
    return isinstance(source, fx.Node) and _is_shape(source)


def _is_shape(node: fx.Node) -> bool:
    return node.target == "size" or (node.target is getattr and node.args[1] == "shape")


def _placed(node: fx.Node, module: Any, modules: Any, group: int) -> Site:
    """Noise after the layer, its normalisation and its activation, as far as nothing else reads what lies between."""
    linear = isinstance(module, nn.Linear)
    n = module.out_features if linear else module.out_channels
    at, norm, fold = str(node.target), None, "producer"
    reader = _only_reader(node, modules)
    if reader is not None and _normalises(modules[reader.target], n) and _calls(reader) == 1:
        at = norm = str(reader.target)
        node, reader = reader, _only_reader(reader, modules)
    if reader is not None and _calls(reader) == 1 and isinstance(modules[reader.target], (*SCALES, *CURVES)):
        at = str(reader.target)
        fold = "producer" if isinstance(modules[reader.target], SCALES) else "consumer"
    return Site(
        str(node.target) if norm is None else _producer_of(node), at, n, "features" if linear else "channels", norm, fold, group
    )


def _producer_of(norm_node: fx.Node) -> str:
    return str(norm_node.all_input_nodes[0].target)


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
