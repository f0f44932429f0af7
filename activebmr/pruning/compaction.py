"""`compact`: what pruning has left, as a network that is really smaller; `compaction_report`: how much smaller and faster.

First the means of the noise go into the weights (`_folded`): into the layer that makes a structure or its normalisation, or,
where a curve such as tanh lies between, into the columns of the layers that read it, or, where these read a sum, into a `Scale`
after the curve. Then structures that are gone lose their rows, and the layers that read them their columns (`slim`); which
layers hang together is found by Torch-Pruning (Fang et al. 2023, "DepGraph: towards any structural pruning"). Nothing is taken
on trust: a structure goes only if all that read it see a constant, and the outputs are compared before and after; what does not
fit stays in place, switched off, and is told in the `Structure`.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, fx, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from activebmr.pruning import tracing
from activebmr.pruning.attach import NoisyModule
from activebmr.pruning.tracing import LAYERS, NORMS, Site

__all__ = [
    "CompactionReport",
    "Comparison",
    "Measurement",
    "Scale",
    "SlimAttention",
    "Structure",
    "compact",
    "compaction_report",
    "compare",
    "measure",
    "slim",
    "structure_of",
]

Inputs = Tensor | tuple[Any, ...] | list[Any] | dict[str, Any]
"""Example inputs: a tensor, a sequence of positional arguments, or a mapping of keyword arguments."""


@dataclass
class Structure:
    """One compaction of a network: all that is needed to do it again to a network of the same kind (`slim`).

    Attributes:
        layers: ``{"layer": name, "with": names of layers that lose the same, "n": structures before, "kept": their indices}``.
        heads: by attention, ``{"n": heads before, "kept": their indices}``.
        scales: activations that a `Scale` follows, and the shape of its factor before.
        affine: normalisations that have been given weights and biases, which they did not have.
        biases: layers that have been given a bias.
        left: by layer and reason, structures that are gone and had to stay in place, switched off.
    """

    layers: list[dict[str, Any]] = field(default_factory=list)
    heads: dict[str, dict[str, Any]] = field(default_factory=dict)
    scales: dict[str, list[int]] = field(default_factory=dict)
    affine: list[str] = field(default_factory=list)
    biases: list[str] = field(default_factory=list)
    left: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def leave(self, name: str, reason: str, indices: list[int]) -> None:
        if indices:
            self.left.setdefault(name, {}).setdefault(reason, []).extend(indices)


def structure_of(small: nn.Module) -> list[Structure]:
    """What compactions have made of a network, oldest first.

    Raises:
        ValueError: if it has not been made by `compact` or `activebmr.pruning.load_compact`.
    """
    structures = getattr(small, "_compactions", None)
    if structures is None:
        raise ValueError(f"small must be a network made by compact; this {type(small).__name__} is not")
    return structures  # type: ignore[no-any-return]


class Scale(nn.Module):
    """Multiplies structures with ``factor`` ``(n,)`` or, for channels, ``(n, 1, ...)``."""

    factor: Tensor

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class SlimAttention(nn.Module):
    """Attention that is called like ``nn.MultiheadAttention`` and may have any number of heads of ``head_dim`` features.

    Averages of attention over heads would depend on heads that are gone: the second output is always None.
    """

    in_proj_bias = None  # nn.TransformerEncoderLayer asks for these two; a bias here would let it go past this forward
    _qkv_same_embed_dim = True

    def __init__(self, mha: nn.MultiheadAttention) -> None:
        super().__init__()
        d, bias = mha.embed_dim, mha.in_proj_bias is not None
        self.embed_dim, self.num_heads, self.head_dim = d, mha.num_heads, mha.head_dim
        self.batch_first, self.dropout = mha.batch_first, mha.dropout
        self.proj = mha.out_proj
        weights = mha.in_proj_weight.chunk(3) if mha._qkv_same_embed_dim else [getattr(mha, f"{x}_proj_weight") for x in "qkv"]
        biases = mha.in_proj_bias.chunk(3) if bias else (None, None, None)
        for name, w, b in zip("qkv", weights, biases, strict=True):
            layer = nn.Linear(w.shape[1], d, bias=bias)
            layer.weight = nn.Parameter(w.detach().clone())
            if b is not None:
                layer.bias = nn.Parameter(b.detach().clone())
            setattr(self, name, layer)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """Attend. Masks as in ``nn.MultiheadAttention``, but ``attn_mask`` must be the same for all heads ``(L, S)``."""
        swap = not self.batch_first and query.dim() == 3
        inputs = [x.transpose(0, 1) if swap else x for x in (query, key, value)]
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, self.head_dim)).transpose(-3, -2)
            for layer, x in zip((self.q, self.k, self.v), inputs, strict=True)
        )
        mask = None
        if attn_mask is not None:
            if attn_mask.dim() != 2:
                raise ValueError(f"attn_mask must have shape (L, S), as heads are gone; got {tuple(attn_mask.shape)}")
            mask = _additive(attn_mask, q)
        if key_padding_mask is not None:
            padding = _additive(key_padding_mask, q).unsqueeze(-2).unsqueeze(-2)
            mask = padding if mask is None else mask + padding
        drop = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, mask, drop, is_causal and mask is None)
        out = self.proj(out.transpose(-3, -2).flatten(-2))
        return (out.transpose(0, 1) if swap else out), None


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -torch.inf)


# --- the whole of it ---------------------------------------------------------------------------------------------------
def compact(noisy: NoisyModule, example_inputs: Inputs) -> nn.Module:
    """A smaller network that computes what the noisy one does in evaluation mode; it has no noise, and neither is changed.

    Args:
        noisy: a network with noise, usually after `activebmr.pruning.prune`.
        example_inputs: what the network may be called with: a tensor, a tuple of arguments or a dict of keyword arguments.
            They, and they with added noise, are run through it to see how it hangs together.

    Returns:
        a copy of the network, in evaluation mode, of the same class and with layers of the same names. Modules
        ``nn.MultiheadAttention`` that have lost heads are `SlimAttention`. At least one structure stays in each layer.

    Raises:
        TypeError: if ``noisy`` is no noisy module or the inputs are of another type.
        ValueError: if weights of a layer are parametrised (weight norm and the like).
        RuntimeError: if the means cannot be folded into the weights without changing outputs.

    Example:
        >>> small = compact(noisy, x[:1])
    """
    if not isinstance(noisy, NoisyModule):
        raise TypeError(f"noisy must be a NoisyModule (see attach_noise); got {type(noisy).__name__}")
    _check_inputs(example_inputs)
    for name in {n for s in noisy.sites.values() for n in (s.name, s.at, s.norm) if n}:
        if is_parametrized(noisy.net.get_submodule(name)):
            raise ValueError(
                f"noisy must hold plain weights; those of {name!r} are parametrised: use torch.nn.utils.parametrize."
                "remove_parametrizations first"
            )
    with _evaluating(noisy):
        probes = _probes(noisy, example_inputs)
        want = [_run(noisy, p) for p in probes]
    for into_scales in (False, True):
        net, structure = _folded(noisy, into_scales)
        if _agrees(net, probes, want):
            break
    else:
        raise RuntimeError(
            "noisy cannot be made smaller: with the means of its noise in the weights it computes something else"
        )
    _plan_layers(net, noisy, structure, probes)
    _plan_heads(net, noisy, structure)
    small = _slimmed(net, structure, probes, want)
    small._compactions = [*getattr(noisy.net, "_compactions", []), structure]  # type: ignore[assignment]
    return small


def _slimmed(net: nn.Module, structure: Structure, probes: list[Inputs], want: list[Any]) -> nn.Module:
    """`slim` of a copy; if that changes outputs, one step after the other, without those that do."""

    def attempt(start: nn.Module, part: Structure) -> nn.Module | None:
        trial = copy.deepcopy(start)
        try:
            slim(trial, part, probes[0])
            return trial if _agrees(trial, probes, want) else None
        except Exception:  # a forward that counts on the sizes of its layers may raise anything
            return None

    whole = attempt(net, structure)
    if whole is not None:
        return whole
    reason = "the network does not compute the same without them"
    layers, heads = structure.layers, structure.heads
    structure.layers, structure.heads = [], {}
    for step in layers:
        trial = attempt(net, Structure(layers=[step]))
        if trial is None:
            structure.leave(step["layer"], reason, _others(step))
        else:
            net = trial
            structure.layers.append(step)
    for name, step in heads.items():
        trial = attempt(net, Structure(heads={name: step}))
        if trial is None:
            structure.leave(name, reason, _others(step))
        else:
            net = trial
            structure.heads[name] = step
    return net


def _others(step: Mapping[str, Any]) -> list[int]:
    return sorted(set(range(step["n"])) - set(step["kept"]))


# --- means into weights --------------------------------------------------------------------------------------------------
def _folded(noisy: NoisyModule, into_scales: bool) -> tuple[nn.Module, Structure]:
    """A copy of the network with E[theta] of what is left in its weights, and zeros for what is not.

    Args:
        into_scales: whether means after a curve go into a `Scale` even where layers could take them.
    """
    net, structure = copy.deepcopy(noisy.net).eval(), Structure()
    columns = {} if into_scales else _columns_of_readers(noisy)
    curved = [s for s in noisy.sites.values() if s.fold == "consumer" and s.kind != "heads" and s.name not in columns]
    for site in curved:
        tail = 0 if site.kind == "features" else noisy.net.get_submodule(site.name).weight.dim() - 2  # type: ignore[operator,union-attr]
        structure.scales[site.at] = [site.n, *[1] * tail]
    norms = {s.norm for s in noisy.sites.values() if s.norm}
    structure.affine = sorted(n for n in norms if net.get_submodule(n).weight is None)
    make_room(net, structure)
    with torch.no_grad():
        for site in noisy.sites.values():
            noise = noisy.of(site.name)
            _fold_site(net, site, noise.posterior.mean() * noise.alive, noise.alive, columns, structure)
    return net, structure


def _fold_site(net: nn.Module, site: Site, theta: Tensor, alive: Tensor, columns: Any, structure: Structure) -> None:
    if site.kind == "heads":
        _multiply(net.get_submodule(site.at).weight, theta.repeat_interleave(site.size), 1)  # type: ignore[arg-type]
        return
    makers = [net.get_submodule(n) for n in (site.name, site.norm) if n]
    if site.fold == "producer":
        factors = [theta] if site.norm is None else [alive.to(theta.dtype), theta]
    else:
        factors = [alive.to(theta.dtype)] * len(makers)
        if site.at in structure.scales:
            _multiply(net.get_submodule(site.at)[1].factor, theta, 0)  # type: ignore[index]
        for reader, repeats in columns.get(site.name, ()):
            spread = theta.repeat_interleave(repeats) if site.kind == "channels" else theta.repeat(repeats)
            _multiply(net.get_submodule(reader).weight, spread, 1)  # type: ignore[arg-type]
    for maker, factor in zip(makers, factors, strict=True):
        for parameter in (maker.weight, maker.bias):
            if parameter is not None:
                _multiply(parameter, factor, 0)  # type: ignore[arg-type]


def _multiply(parameter: Tensor, factor: Tensor, axis: int) -> None:
    shape = [1] * parameter.dim()
    shape[axis] = -1
    parameter.copy_(parameter.double() * factor.reshape(shape))


def _columns_of_readers(noisy: NoisyModule) -> dict[str, list[tuple[str, int]]]:
    """By site after a curve, layers that read it and how many columns of each a structure has; without sites that something
    else reads, or that reach a layer through anything f with f(theta x) other than theta f(x).
    """
    sites = [s for s in noisy.sites.values() if s.fold == "consumer" and s.kind != "heads"]
    try:
        graph = tracing._Tracer().trace(noisy.net) if sites else fx.Graph()
    except Exception:  # whatever user code does under symbolic values
        return {}
    found = {}
    for site in sites:
        at = [n for n in graph.nodes if n.op == "call_module" and n.target == site.at]
        readers = _readers(at[0], noisy.net) if len(at) == 1 else None
        widths = [(r, noisy.net.get_submodule(r).weight.shape[1]) for r in readers or ()]  # type: ignore[union-attr]
        if readers is not None and all(w % site.n == 0 for _, w in widths):
            found[site.name] = [(r, w // site.n) for r, w in widths]
    return found


def _readers(node: fx.Node, net: nn.Module) -> list[str] | None:
    curves = {torch.tanh, F.tanh, F.gelu, F.silu}
    readers: list[str] = []
    pending = list(node.users)
    while pending:
        user = pending.pop()
        if user.op == "call_module":
            module = net.get_submodule(str(user.target))
            if isinstance(module, LAYERS) and getattr(module, "groups", 1) == 1:
                readers.append(str(user.target))
                continue
            passes = isinstance(module, (*tracing._SCALES, *tracing._POOLS))
        elif user.op == "call_function":
            if user.target is getattr and not tracing._is_tensor_op(user):
                continue
            passes = user.target in tracing._KEEPS - curves
        elif user.op == "call_method":
            if user.target in ("size", "dim"):
                continue
            passes = user.target in ("relu", "relu_", "flatten", "contiguous") or (
                user.target in tracing._RESHAPES_METHODS and tracing._keeps_channels(user)
            )
        else:
            passes = False
        if not passes:
            return None
        pending += list(user.users)
    return sorted(set(readers))


# --- what can go ---------------------------------------------------------------------------------------------------------
def _plan_layers(net: nn.Module, noisy: NoisyModule, structure: Structure, probes: list[Inputs]) -> None:
    """Fill ``structure.layers``; what layers see of structures that go becomes part of their biases.

    A structure goes if it is gone in every layer that it hangs together with, and all that read it see a constant.
    """
    gone = {name: mask.cpu() for name, mask in noisy.gone().items() if noisy.sites[name].kind != "heads"}
    if not any(mask.any() for mask in gone.values()):
        return
    names = {module: name for name, module in net.named_modules()}
    try:
        graph, seen = _dependencies(net, probes[0]), _seen(net, probes)
    except Exception as error:  # Torch-Pruning raises anything on networks that it does not know
        for name, mask in gone.items():
            structure.leave(name, f"the network cannot be followed: {error}", mask.nonzero().flatten().tolist())
        return
    done: set[str] = set()
    for root, mask in gone.items():
        layer, indices = net.get_submodule(root), mask.nonzero().flatten().tolist()
        if root in done or not indices:
            continue
        if layer not in graph.module2node:
            structure.leave(root, "Torch-Pruning does not find the layer", indices)
            continue
        group = graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, indices)
        members, stay = _stay(group, graph, names, gone, seen)
        done |= {root, *members}
        for reason, which in stay.items():
            structure.leave(root, reason, sorted(which))
        go = sorted(set(indices) - set().union(*stay.values()))
        if len(go) == len(mask):  # only if masks have been set by hand
            go = go[1:]
        if not go:
            continue
        group = graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, go)
        if not graph.check_pruning_group(group):
            structure.leave(root, "a layer would lose all it has", go)
            continue
        _constants_to_biases(group, graph, names, seen, structure)
        kept = sorted(set(range(len(mask))) - set(go))
        structure.layers.append({"layer": root, "with": sorted(members - {root}), "n": len(mask), "kept": kept})


def _stay(group: Any, graph: Any, names: Any, gone: Any, seen: Any) -> tuple[set[str], dict[str, set[int]]]:
    """Sites in a group of Torch-Pruning's, and by reason which of its structures have to stay."""
    members: set[str] = set()
    stay: dict[str, set[int]] = {}
    everything, read = set(group[0].root_idxs), False

    def keep(reason: str, which: set[int]) -> None:
        new = which - set().union(*stay.values())
        if new:  # the first reason is told
            stay.setdefault(reason, set()).update(new)

    for item in group.items:
        module, pairs = item.dep.target.module, list(zip(item.idxs, item.root_idxs, strict=True))
        name = names.get(module, "")
        depthwise = isinstance(module, LAYERS) and getattr(module, "groups", 1) == module.weight.shape[0] > 1
        if type(module).__module__.startswith("torch_pruning"):  # what is no module of the network
            if type(module).__name__ == "_OutputOp":
                keep("they are outputs of the network", everything)
        elif isinstance(module, (*NORMS, nn.PReLU, Scale, nn.Parameter)) or depthwise:  # pass a constant on as a constant
            continue
        elif not isinstance(module, LAYERS) or getattr(module, "groups", 1) > 1:
            keep(f"{name} ({type(module).__name__}) depends on them", everything)
        elif graph.is_out_channel_pruning_fn(item.dep.handler):
            members.add(name)
            keep(f"{name} needs them", {r for i, r in pairs if name not in gone or not gone[name][i]})
        else:
            read = True
            bad = {r for i, r in pairs if not _removable_column(module, name, i, seen)}
            keep(f"what {name} reads of them is not constant", bad)
    if not read:
        keep("no layer reads them", everything)
    return members, stay


def _removable_column(layer: Any, name: str, i: int, seen: Any) -> bool:
    if name not in seen or i >= len(seen[name][0]):
        return False
    low, high = seen[name][0][i], seen[name][1][i]
    if low == high == 0 or not layer.weight[:, i].any():
        return True
    padded = not isinstance(layer, nn.Linear) and (isinstance(layer.padding, str) or any(layer.padding))
    eps = 100 * torch.finfo(low.dtype).eps
    return not padded and bool(high - low <= eps * max(abs(low), abs(high)))


@torch.no_grad()
def _constants_to_biases(group: Any, graph: Any, names: Any, seen: Any, structure: Structure) -> None:
    for item in group.items:
        layer = item.dep.target.module
        if not isinstance(layer, LAYERS) or graph.is_out_channel_pruning_fn(item.dep.handler):
            continue
        name, columns = names[layer], torch.tensor(item.idxs, device=layer.weight.device)
        weight = layer.weight[:, columns].double()
        constant = seen[name][1][columns].double()
        shift = weight.flatten(2).sum(2) @ constant if weight.dim() > 2 else weight @ constant
        layer.weight[:, columns] = 0
        if not shift.any():
            continue
        if layer.bias is None:
            layer.bias = nn.Parameter(torch.zeros_like(layer.weight[:, 0].flatten(1)[:, 0]), layer.weight.requires_grad)
            structure.biases.append(name)
        layer.bias.copy_(layer.bias.double() + shift)


def _seen(net: nn.Module, probes: list[Inputs]) -> dict[str, tuple[Tensor, Tensor]]:
    """By layer, the lowest and highest value that each of its columns reads."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: Any, args: tuple[Any, ...]) -> None:
            (x,) = args
            if isinstance(module, nn.Linear):
                flat = x.reshape(-1, x.shape[-1])
            else:  # without a batch, channels come first
                flat = (x if x.dim() == module.weight.dim() else x[None]).transpose(0, 1).flatten(1).T
            low, high = flat.amin(0), flat.amax(0)
            if name in seen:
                low, high = torch.minimum(low, seen[name][0]), torch.maximum(high, seen[name][1])
            seen[name] = low, high

        return hook

    handles = [m.register_forward_pre_hook(watch(n)) for n, m in net.named_modules() if isinstance(m, LAYERS)]
    try:
        for probe in probes:
            _run(net, probe)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _plan_heads(net: nn.Module, noisy: NoisyModule, structure: Structure) -> None:
    for name in (s.name for s in noisy.sites.values() if s.kind == "heads"):
        alive = noisy.of(name).alive.cpu()
        if alive.all():
            continue
        kept = alive.nonzero().flatten().tolist() or [0]
        step = {"n": len(alive), "kept": kept}
        if _separable(net.get_submodule(name)):
            structure.heads[name] = step
        else:
            structure.leave(name, "the attention has no separate q, k, v and head_dim", _others(step))


def _separable(attention: Any) -> bool:
    """Whether heads of an attention can be removed."""
    if isinstance(attention, nn.MultiheadAttention):
        return attention.bias_k is None and not attention.add_zero_attn
    parts = [getattr(attention, key, None) for key in "qkv"]
    width = attention.num_heads * getattr(attention, "head_dim", 0)
    return attention.proj.in_features == width and all(isinstance(p, nn.Linear) and p.out_features == width for p in parts)


# --- the smaller network -------------------------------------------------------------------------------------------------
def make_room(net: nn.Module, structure: Structure) -> None:
    """Add, in place, the modules and parameters that a compaction has added, all of them neutral."""
    for name, shape in structure.scales.items():
        like = next(net.parameters())
        _replace(net, name, nn.Sequential(net.get_submodule(name), Scale(shape).to(like.device, like.dtype)))
    for name in structure.affine:
        norm: Any = net.get_submodule(name)
        like = next(net.parameters())
        norm.affine = True
        norm.weight = nn.Parameter(torch.ones(norm.num_features, device=like.device, dtype=like.dtype))
        norm.bias = nn.Parameter(torch.zeros(norm.num_features, device=like.device, dtype=like.dtype))
    for name in structure.biases:
        layer: Any = net.get_submodule(name)
        layer.bias = nn.Parameter(torch.zeros_like(layer.weight[:, 0].flatten(1)[:, 0]))


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, key = name.rpartition(".")
    setattr(net.get_submodule(parent), key, module)


def slim(net: nn.Module, structure: Structure, example_inputs: Inputs) -> None:
    """Remove, in place, the structures that a compaction has removed.

    Raises:
        ValueError: if the network has not the layers or sizes that the structure names.
    """
    trainable = {name: p.requires_grad for name, p in net.named_parameters()}
    graph = _dependencies(net, example_inputs) if structure.layers else None
    for step in structure.layers:
        layer = _checked(net, step["layer"], step)
        if layer not in graph.module2node:  # type: ignore[union-attr]
            raise ValueError(f"net must use {step['layer']!r} when it is called with example_inputs; it does not")
        pruner = graph.get_pruner_of_module(layer)  # type: ignore[union-attr]
        graph.get_pruning_group(layer, pruner.prune_out_channels, _others(step)).prune(record_history=False)  # type: ignore[union-attr]
    for name, step in structure.heads.items():
        _slim_heads(net, name, _checked(net, name, step), step["kept"])
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(trainable.get(name, True))


def _checked(net: nn.Module, name: str, step: Mapping[str, Any]) -> Any:
    module = dict(net.named_modules()).get(name)
    if module is None:
        raise ValueError(f"net must have the layer {name!r}; it has not")
    n = _count(module)
    if n != step["n"]:
        raise ValueError(f"net must have {step['n']} structures in {name!r}; it has {n}")
    return module


def _count(module: Any) -> int | None:
    """Structures of a layer or attention."""
    for key in ("num_heads", "out_features", "out_channels"):
        if isinstance(getattr(module, key, None), int):
            return int(getattr(module, key))
    return None


def _slim_heads(net: nn.Module, name: str, attention: Any, kept: list[int]) -> None:
    if not _separable(attention):
        raise ValueError(f"net must have separate q, k, v and head_dim in {name!r}; {type(attention).__name__} has not")
    if isinstance(attention, nn.MultiheadAttention):
        attention = SlimAttention(attention).train(attention.training)
        _replace(net, name, attention)
    d, device = attention.head_dim, attention.proj.weight.device
    rows = (torch.tensor(kept, device=device)[:, None] * d + torch.arange(d, device=device)).flatten()
    for layer in (attention.q, attention.k, attention.v):
        layer.weight = nn.Parameter(layer.weight.detach()[rows].clone())
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias.detach()[rows].clone())
        layer.out_features = len(rows)
    attention.proj.weight = nn.Parameter(attention.proj.weight.detach()[:, rows].clone())
    attention.proj.in_features = len(rows)
    attention.num_heads = len(kept)


def _dependencies(net: nn.Module, example_inputs: Inputs) -> Any:
    """Torch-Pruning's graph of what hangs together; the network is as before."""
    import torch_pruning as tp  # 1 s

    class ScalePruner(tp.BasePruningFunc):  # type: ignore[misc,name-defined]
        def prune_out_channels(self, layer: Scale, idxs: list[int]) -> Scale:
            kept = [i for i in range(len(layer.factor)) if i not in set(idxs)]
            layer.factor = layer.factor[kept]
            return layer

        prune_in_channels = prune_out_channels

        def get_out_channels(self, layer: Scale) -> int:
            return len(layer.factor)

        get_in_channels = get_out_channels

    trainable = {p: p.requires_grad for p in net.parameters()}
    modes = {m: m.training for m in net.modules()}
    try:
        for p in trainable:
            p.requires_grad_(True)  # it follows gradients
        with torch.enable_grad():
            return tp.DependencyGraph().build_dependency(
                net,
                example_inputs,
                forward_fn=lambda model, inputs: [x for x in _tensors(_call(model, inputs)) if x.requires_grad],
                customized_pruners={Scale: ScalePruner()},
                verbose=False,
            )
    finally:
        for p, flag in trainable.items():
            p.requires_grad_(flag)
        for m, mode in modes.items():
            m.training = mode


# --- running networks ----------------------------------------------------------------------------------------------------
def _check_inputs(example_inputs: Any) -> None:
    if not isinstance(example_inputs, (Tensor, tuple, list, dict)):
        raise TypeError(
            f"example_inputs must be a tensor, a tuple of arguments or a dict of keyword arguments; got "
            f"{type(example_inputs).__name__}"
        )


def _call(net: nn.Module, inputs: Inputs) -> Any:
    if isinstance(inputs, dict):
        return net(**inputs)
    return net(inputs) if isinstance(inputs, Tensor) else net(*inputs)


def _run(net: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Outputs that are tensors; random numbers are always the same."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return _tensors(_call(net, inputs))


def _tensors(outputs: Any) -> list[Tensor]:
    return [x for x in tree_leaves(outputs) if isinstance(x, Tensor)]


def _agrees(net: nn.Module, probes: list[Inputs], want: list[list[Tensor]]) -> bool:
    for probe, expected in zip(probes, want, strict=True):
        got = _run(net, probe)
        if len(got) != len(expected):
            return False
        for a, b in zip(got, expected, strict=True):
            if a.shape != b.shape or a.dtype != b.dtype:
                return False
            if a.is_floating_point():
                share = min(max(1000 * torch.finfo(b.dtype).eps, 1e-10), 0.05)
                room = share * max(0.01, float(b.abs().max()) if b.numel() else 0.0)
                if not bool(((a - b).abs() <= room).all()):
                    return False
    return True


def _probes(net: nn.Module, inputs: Inputs) -> list[Inputs]:
    """The example and noisy versions of it: what is constant for one input need not be for others."""
    generator = torch.Generator().manual_seed(0)

    def vary(x: Any) -> Any:
        if isinstance(x, Tensor) and x.is_floating_point() and x.numel():
            spread = float(x.double().std()) if x.numel() > 1 else 0.0
            noise = torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x.device, x.dtype)
            return x.detach() + (spread or 1.0) * noise
        if isinstance(x, Tensor) and x.numel() and x.dtype in (torch.int64, torch.int32):
            return x.flatten()[torch.randperm(x.numel(), generator=generator).to(x.device)].reshape(x.shape)
        return x

    probes: list[Inputs] = [inputs]
    for _ in range(3):
        if isinstance(inputs, Tensor):
            varied: Inputs = vary(inputs)
        elif isinstance(inputs, dict):
            varied = {k: vary(v) for k, v in inputs.items()}
        else:
            varied = tuple(vary(v) for v in inputs)
        try:
            outputs = _run(net, varied)
        except Exception:  # inputs that the network does not take, such as negative ones
            continue
        if all(bool(torch.isfinite(x).all()) for x in outputs):
            probes.append(varied)
    return probes


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    modes = {m: m.training for m in net.modules()}
    try:
        net.eval()
        yield
    finally:
        for m, mode in modes.items():
            m.training = mode


# --- how much it is worth ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Measurement:
    """``parameters``: their number. ``flops``: floating-point operations of a call, a multiplication and an addition being two,
    matrix products, convolutions and attention alone. ``latency_ms``: median time of a call on one thread, milliseconds.
    """

    parameters: int
    flops: int
    latency_ms: float


@dataclass(frozen=True)
class Comparison:
    """Two networks with the same inputs; ``latency_ratio``: median over pairs of times of after / before, below 1 if faster."""

    before: Measurement
    after: Measurement
    latency_ratio: float


@dataclass(frozen=True)
class CompactionReport(Comparison):
    """What a compaction is worth.

    Attributes:
        structures: by site, structures before, those that are not pruned, and those in the smaller network.
        left: by layer and reason, structures that are pruned and had to stay in place, switched off.
    """

    structures: dict[str, tuple[int, int, int]]
    left: dict[str, dict[str, list[int]]]

    def __str__(self) -> str:
        width = max(20, *(len(name) + 2 for name in self.structures))
        lines = [f"{'':{width}}{'before':>12}{'after':>12}{'ratio':>9}"]
        for name, a, b, ratio, form in (
            ("parameters", self.before.parameters, self.after.parameters, None, ","),
            ("FLOPs", self.before.flops, self.after.flops, None, ","),
            ("latency (ms)", self.before.latency_ms, self.after.latency_ms, self.latency_ratio, ".3f"),
        ):
            share = ratio if ratio is not None else b / a if a else 1.0
            lines.append(f"{name:{width}}{a:>12{form}}{b:>12{form}}{share:>9.3f}")
        lines += ["", f"{'structures':{width}}{'before':>12}{'not pruned':>12}{'after':>12}"]
        lines += [f"{name:{width}}{n:>12}{alive:>12}{after:>12}" for name, (n, alive, after) in self.structures.items()]
        for name, reasons in self.left.items():
            lines += [f"switched off in {name}, not removed: {len(which)} ({reason})" for reason, which in reasons.items()]
        return "\n".join(lines)


def measure(model: nn.Module, example_inputs: Inputs, repeats: int = 20) -> Measurement:
    """Parameters, FLOPs and latency of a network in evaluation mode; ``repeats`` blocks of calls are timed."""
    return compare(model, model, example_inputs, repeats).before


def compare(before: nn.Module, after: nn.Module, example_inputs: Inputs, repeats: int = 20) -> Comparison:
    """Measure two networks, their times in turn, so that what else the computer does meets both.

    Raises:
        TypeError: if the inputs are of another type than `compact` takes.
        ValueError: if ``repeats`` is not at least 1.
    """
    _check_inputs(example_inputs)
    if not isinstance(repeats, int) or repeats < 1:
        raise ValueError(f"repeats must be a whole number >= 1; got {repeats!r}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _evaluating(before), _evaluating(after):
            flops = [_flops(net, example_inputs) for net in (before, after)]
            times = _interleaved((before, after), example_inputs, repeats)
    finally:
        torch.set_num_threads(threads)
    measured = [
        Measurement(sum(p.numel() for p in net.parameters()), f, statistics.median(t))
        for net, f, t in zip((before, after), flops, times, strict=True)
    ]
    return Comparison(*measured, statistics.median(b / a for a, b in zip(*times, strict=True)))


def _flops(net: nn.Module, inputs: Inputs) -> int:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the counter knows neither fused attention nor the fast path to it
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), FlopCounterMode(display=False) as counter:
            _call(net, inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops())


def _interleaved(nets: tuple[nn.Module, ...], inputs: Inputs, repeats: int) -> list[list[float]]:
    """Times of a call, ms, by network and repeat; calls of less than a millisecond are timed several at a time."""

    def timed(net: nn.Module, calls: int) -> float:
        cuda = next((p.is_cuda for p in net.parameters()), False)
        start = time.perf_counter()
        for _ in range(calls):
            _call(net, inputs)
        if cuda:
            torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - start) / calls

    times: list[list[float]] = [[] for _ in nets]
    with torch.no_grad():
        calls = [max(1, int(1.0 / max(min(timed(net, 1) for _ in range(3)), 1e-3))) for net in nets]
        for _ in range(repeats):
            for mine, net, n in zip(times, nets, calls, strict=True):
                mine.append(timed(net, n))
    return times


def compaction_report(noisy: NoisyModule, small: nn.Module, example_inputs: Inputs, repeats: int = 20) -> CompactionReport:
    """Compare the network under a noisy module, without its noise, with what `compact` has made of it.

    Example:
        >>> print(compaction_report(noisy, compact(noisy, x[:1]), x[:1]))
    """
    if not isinstance(noisy, NoisyModule):
        raise TypeError(f"noisy must be a NoisyModule (see attach_noise); got {type(noisy).__name__}")
    left = structure_of(small)[-1].left
    found = compare(noisy.net, small, example_inputs, repeats)
    structures = {
        name: (site.n, int(noisy.of(name).alive.sum()), _count(small.get_submodule(name)) or 0)
        for name, site in noisy.sites.items()
    }
    return CompactionReport(found.before, found.after, found.latency_ratio, structures, left)
