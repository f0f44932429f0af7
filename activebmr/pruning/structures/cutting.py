"""What a compaction takes out of a network (`Structure`), and how (`cut`): rows, columns and entries, by name.

A `Structure` is plain data: it can be saved, and applied to another network of the same kind without running it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from activebmr.pruning.units.attention import SlimAttention
from activebmr.pruning.units.norms import slim_norm
from activebmr.pruning.units.plan import Plan
from activebmr.pruning.units.shapes import resize, resized_sizes

__all__ = ["Structure", "cut", "structure_for", "structure_of", "without_shortcuts"]


@dataclass
class Structure:
    """One compaction of a network: all that is needed to do it again to a network of the same kind (`cut`).

    Attributes:
        sites: by site, ``{"n": structures before, "kept": their numbers, "layers": names of layers that write them}``.
        kept: by parameter or buffer, by axis, ``{"n": size before, "kept": indices that stay}``.
        norms: normalisations that are replaced: ``{"kind", "axis", "eps", "total": units before, "kept": their
            indices}``.
        attention: modules ``nn.MultiheadAttention`` that become `SlimAttention`.
        sizes: by module, attributes in its own code and their new values.
        shapes: by module, for "eval" and "train", by number of a call in its code that names sizes, by axis, the size it is to
            name (`activebmr.pruning.units.shapes.resize`).
        left: by site and reason, structures that are gone and had to stay in place, switched off.
    """

    sites: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    norms: dict[str, dict[str, Any]] = field(default_factory=dict)
    attention: list[str] = field(default_factory=list)
    sizes: dict[str, dict[str, Any]] = field(default_factory=dict)
    shapes: dict[str, dict[str, dict[str, dict[str, int]]]] = field(default_factory=dict)
    left: dict[str, dict[str, list[int]]] = field(default_factory=dict)


def structure_of(small: nn.Module) -> list[Structure]:
    """What compactions have made of a network, oldest first.

    Raises:
        ValueError: if it has not been made by `compact` or `activebmr.pruning.load_compact`.

    Example:
        >>> step = prune_share(noisy, L2Norm(), 0.5)
        >>> last = structure_of(compact(noisy, x[:1]))[-1]
        >>> last.sites["0"]["n"], len(last.sites["0"]["kept"])
        (32, 16)
    """
    structures = getattr(small, "_compactions", None)
    if structures is None or not isinstance(small, nn.Module):
        raise ValueError(f"small must be a network made by compact; this {type(small).__name__} is not")
    return structures  # type: ignore[no-any-return]


# --- what to cut -----------------------------------------------------------------------------------------------------------
def structure_for(net: nn.Module, plan: Plan, alive: np.ndarray, scaled: set[str], guess: int = 0) -> Structure:
    """What has to be done to a network for structures to be gone.

    Args:
        alive: by structure of all sites, whether it stays.
        scaled: normalisations that get a factor of each unit, whatever goes.
        guess: what to do about sizes in users' code: renew those that modules hold in attributes, 0 if operations met them, 1
            numbers of heads alone, 2 also widths of inputs; 3: name others in calls.
    """
    out = Structure()
    for name, site in plan.sites.items():
        mine = alive[site.first : site.first + site.n]
        if not mine.all():
            out.sites[name] = {"n": site.n, "kept": np.flatnonzero(mine).tolist(), "layers": list(site.layers)}
    for (tensor, axis), units in plan.parts.items():
        stays = (units < 0) | alive[units]
        if not stays.all():
            out.kept.setdefault(tensor, {})[str(axis)] = {"n": len(stays), "kept": np.flatnonzero(stays).tolist()}
    for module, (kind, axis, eps, units) in plan.norms.items():
        stays = (units < 0) | alive[units]
        if not stays.all() or module in scaled:
            out.norms[module] = {
                "kind": kind,
                "axis": axis,
                "eps": eps,
                "total": len(units),
                "kept": np.flatnonzero(stays).tolist(),
            }
    cut_in = {name.rpartition(".")[0] for name in out.kept}
    for name, module in net.named_modules():
        if isinstance(module, nn.MultiheadAttention) and (name in cut_in or f"{name}.out_proj" in cut_in):
            out.attention.append(name)
    out.sizes = {k: v for k, v in _sizes(net, plan, alive, guess).items() if k not in out.attention} if guess < 3 else {}
    out.shapes = {k: v for k, v in _shapes(net, plan, alive).items() if k not in out.attention and (guess == 3 or _has(net, k))}
    return out


def _has(net: nn.Module, name: str) -> bool:
    return resized_sizes(net.get_submodule(name)) is not None


def _shapes(net: nn.Module, plan: Plan, alive: np.ndarray) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    """Sizes to be named by calls in the code of modules in which one of them changes."""
    out: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    changed, seen = set(), set()
    for module, training, call, axis, units in plan.shapes:
        if module not in out:
            before = resized_sizes(net.get_submodule(module)) or {}  # of an earlier compaction
            out[module] = {
                mode: {str(k): {str(a): n for a, n in axes.items()} for k, axes in calls.items()}
                for mode, calls in before.items()
            }
            changed |= {module} if before else set()
        left = int(((units < 0) | alive[units]).any(axis=1).sum())
        if left != len(units):
            changed.add(module)
        calls = out[module].setdefault("train" if training else "eval", {})
        axes, key = calls.setdefault(str(call), {}), (module, training, call, axis)
        axes[str(axis)] = min(left, axes[str(axis)]) if key in seen else left
        seen.add(key)
    for calls in out.values():
        calls.setdefault("eval", {})
    return {m: calls for m, calls in out.items() if m in changed and not isinstance(net.get_submodule(m), _KNOWN)}


_KNOWN = (nn.Linear, nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)


def _sizes(net: nn.Module, plan: Plan, alive: np.ndarray, guess: int) -> dict[str, dict[str, Any]]:
    """New values of sizes that modules hold in attributes of their own: number of heads, width, sizes of parts."""
    seen: dict[str, dict[int, set[int]]] = {}
    for module, size, units, given in plan.sizes:
        if given and guess < 2:
            continue
        left = int(((units < 0) | alive[units]).any(axis=1).sum())
        seen.setdefault(module, {}).setdefault(size, set()).add(left)
    out: dict[str, dict[str, Any]] = {}
    for name, sizes in seen.items():
        module = net.get_submodule(name)
        if isinstance(module, _KNOWN) or name in plan.norms:
            continue
        for key, value in vars(module).items():
            if key.startswith("_") or key == "training":
                continue
            new = _renewed(key, value, sizes, guess)
            if new != value:
                out.setdefault(name, {})[key] = new
    return out


def _renewed(key: str, value: Any, sizes: Mapping[int, set[int]], guess: int) -> Any:
    if isinstance(value, (tuple, list)) and all(isinstance(v, int) for v in value) and value:
        return [_renewed(key, v, sizes, guess) for v in value] if guess != 1 else value
    if not isinstance(value, int) or isinstance(value, bool) or value not in sizes:
        return value
    counts_heads = re.search(r"head|group", key) is not None and re.search(r"dim|size|width|chan|feat", key) is None
    left = sizes[value]
    if guess == 1 and not counts_heads:
        return value
    if len(left) == 1:
        return next(iter(left))
    return min(left) if counts_heads else max(left)


# --- cutting ---------------------------------------------------------------------------------------------------------------
def cut(net: nn.Module, structure: Structure) -> None:
    """Do, in place, what a structure says.

    Raises:
        ValueError: if the network has not the modules, parameters or sizes that the structure names, or an attention has what
            `SlimAttention` has not.
    """
    _check_sizes(net, structure)
    kept = {name: {int(a): step["kept"] for a, step in axes.items()} for name, axes in structure.kept.items()}
    for name in structure.attention:
        kept = _slim_attention(net, name, kept)
    for name, step in structure.norms.items():
        norm = slim_norm(_module(net, name), step["kind"], step["axis"], step["total"], step.get("eps"))
        if len(norm.scale) != step["total"]:
            raise ValueError(f"net must have {step['total']} units in {name!r}; it has {len(norm.scale)}")
        _replace(net, name, norm)
        which = torch.as_tensor(step["kept"], device=norm.scale.device)
        norm.scale = norm.scale[which]
        if step["kind"] == "group":
            norm.groups = norm.groups[which]  # type: ignore[assignment]
        kept |= {f"{name}.{key}": {0: step["kept"]} for key in ("weight", "bias") if getattr(norm, key) is not None}
    without_shortcuts(net)
    _take(net, kept)
    for name, module in net.named_modules():
        if isinstance(module, SlimAttention) or any(key.rpartition(".")[0] == name for key in kept):
            _sync(module)
    for name, calls in structure.shapes.items():
        resize(_module(net, name), calls)  # type: ignore[arg-type]
    for name, attributes in structure.sizes.items():
        module = _module(net, name)
        for key, value in attributes.items():
            old = getattr(module, key, None)
            setattr(module, key, type(old)(value) if isinstance(old, (tuple, list)) else value)


def _check_sizes(net: nn.Module, structure: Structure) -> None:
    """Whether a network has what a structure names, in the sizes that it names."""
    held = {name: tensor for name, _, _, tensor in _holders(net)}
    for name, axes in structure.kept.items():
        if name not in held:
            raise ValueError(f"net must have the parameter {name!r}; it has not")
        for axis, step in axes.items():
            shape = held[name].shape
            if int(axis) >= len(shape) or shape[int(axis)] != step["n"]:
                raise ValueError(f"net must have {step['n']} entries along axis {axis} of {name!r}; it has {tuple(shape)}")
    for name, step in structure.norms.items():
        module = _module(net, name)
        if step["kind"] == "group" and not hasattr(module, "num_groups"):
            raise ValueError(f"net must have a GroupNorm in {name!r}; it is a {type(module).__name__}")
    for name, attributes in structure.sizes.items():
        for key, value in attributes.items():
            old = vars(_module(net, name)).get(key)
            plain = isinstance(old, int) and not isinstance(old, bool) and isinstance(value, int)
            if not plain and not (isinstance(old, (tuple, list)) and isinstance(value, list) and len(old) == len(value)):
                raise ValueError(f"net must have a size in {name!r} called {key!r}; it holds {type(old).__name__}")


def _module(net: nn.Module, name: str) -> nn.Module:
    found = dict(net.named_modules()).get(name)
    if found is None:
        raise ValueError(f"net must have the module {name!r}; it has not")
    return found


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, key = name.rpartition(".")
    setattr(net.get_submodule(parent), key, module)


def _holders(net: nn.Module) -> Iterator[tuple[str, nn.Module, str, Tensor]]:
    for name, module in net.named_modules():
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                yield (f"{name}.{key}" if name else key), module, key, tensor


@torch.no_grad()
def _take(net: nn.Module, kept: Mapping[str, Mapping[int, list[int]]]) -> None:
    """Keep indices of parameters and buffers, wherever the same tensor is held."""
    held = list(_holders(net))
    by_name = {name: tensor for name, _, _, tensor in held}
    for name, axes in kept.items():
        old = by_name.get(name)
        if old is None:
            raise ValueError(f"net must have the parameter {name!r}; it has not")
        new = old.detach()
        for axis, which in axes.items():
            if axis >= new.dim() or (which and which[-1] >= new.shape[axis]):
                raise ValueError(f"net must have at least {which[-1] + 1} entries along axis {axis} of {name!r}")
            new = new.index_select(axis, torch.as_tensor(which, device=new.device, dtype=torch.long))
        made = nn.Parameter(new, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else new.clone()
        for _, module, key, tensor in held:
            if tensor is old:
                setattr(module, key, made)
                if key in module._buffers:
                    module._buffers[key] = made


def _sync(module: Any) -> None:
    """Sizes that a layer of torch's holds beside its weights."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.conv._ConvNd):
        w, transposed = module.weight, module.transposed
        if module.groups > 1:
            each = (module.in_channels if transposed else module.out_channels) // module.groups
            module.groups = len(w) // each
        module.in_channels, module.out_channels = (w.shape[0], w.shape[1]) if transposed else (w.shape[1], w.shape[0])
        if transposed:
            module.out_channels *= module.groups
        else:
            module.in_channels *= module.groups
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        module.num_features = len(module.weight if module.weight is not None else module.running_mean)
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
    elif isinstance(module, nn.RNNBase):
        module.hidden_size, module.input_size = module.weight_hh_l0.shape[1], module.weight_ih_l0.shape[1]
        module._init_flat_weights()
    elif isinstance(module, SlimAttention):
        module.num_heads = len(module.q.weight) // module.head_dim


def _slim_attention(net: nn.Module, name: str, kept: dict[str, dict[int, list[int]]]) -> dict[str, dict[int, list[int]]]:
    """Replace an attention by one with layers of their own for queries, keys and values; returns what is kept, by new names."""
    old = _module(net, name)
    if isinstance(old, SlimAttention):
        return kept
    if not isinstance(old, nn.MultiheadAttention):
        raise ValueError(f"net must have an nn.MultiheadAttention in {name!r}; it is a {type(old).__name__}")
    if old.bias_k is not None or old.add_zero_attn:
        raise ValueError(f"{name!r} has keys of its own (add_bias_kv or add_zero_attn), which heads cannot be cut from")
    new = SlimAttention(old).train(old.training)
    first = old.in_proj_weight if old._qkv_same_embed_dim else old.q_proj_weight
    for layer in (new.q, new.k, new.v):
        layer.requires_grad_(first.requires_grad)  # type: ignore[union-attr]
    _replace(net, name, new)
    d, out = old.embed_dim, dict(kept)
    for key, layer in (("in_proj_weight", "weight"), ("in_proj_bias", "bias")):
        axes = out.pop(f"{name}.{key}", None)
        for i, part in enumerate("qkv"):
            mine = {}
            for axis, which in (axes or {}).items():
                mine[axis] = which if axis else [w - i * d for w in which if i * d <= w < (i + 1) * d]
            if mine:
                out[f"{name}.{part}.{layer}"] = mine
    for part in "qkv":
        axes = out.pop(f"{name}.{part}_proj_weight", None)
        if axes:
            out[f"{name}.{part}.weight"] = axes
    for key in ("weight", "bias"):
        axes = out.pop(f"{name}.out_proj.{key}", None)
        if axes:
            out[f"{name}.proj.{key}"] = axes
    return out


def without_shortcuts(net: nn.Module) -> None:
    """Layers of ``nn.TransformerEncoder`` have a fast path past the forwards of their parts: not where these are our own."""
    for layer in net.modules():
        if isinstance(layer, nn.TransformerEncoderLayer):
            parts = (layer.self_attn, layer.norm1, layer.norm2)
            if any(type(p).__module__.startswith("activebmr.") for p in parts):
                layer.activation_relu_or_gelu = 0
    for encoder in net.modules():
        if isinstance(encoder, nn.TransformerEncoder):
            layers = [m for m in encoder.layers if isinstance(m, nn.TransformerEncoderLayer)]
            if any(m.activation_relu_or_gelu == 0 for m in layers):
                encoder.use_nested_tensor = encoder.enable_nested_tensor = False
