"""`compact`: what pruning has left, as a network that is really smaller.

First the means of the noise go into the weights (`_folded`): into the layer that makes a structure or its normalisation, or,
where a curve such as tanh lies between, into the columns of the layers that read it, or, where these read a sum, into a `Scale`
after the curve. Then structures that are gone lose their rows, and the layers that read them their columns (`slim`); which
layers hang together is found by Torch-Pruning (Fang et al. 2023, "DepGraph: towards any structural pruning"). Nothing is taken
on trust: a structure goes only if all that read it see a constant, and the outputs are compared before and after; what does not
fit stays in place, switched off, and is told in the `Structure`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import is_parametrized

from activebmr.pruning.structures.attach import NoisyModule
from activebmr.pruning.structures.slimming import (
    Inputs,
    Scale,
    SlimAttention,
    Structure,
    call,
    check_inputs,
    dependencies,
    evaluating,
    make_room,
    others,
    separable,
    slim,
    structure_of,
    tensors,
)
from activebmr.pruning.structures.tracing import LAYERS, NORMS, POOLS, RESHAPING, SCALES, SCALING, Site, Tracer, reads_shape

__all__ = [
    "Scale",
    "SlimAttention",
    "Structure",
    "compact",
    "slim",
    "structure_of",
]


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
    check_inputs(example_inputs)
    for name in {n for s in noisy.sites.values() for n in (s.name, s.at, s.norm) if n}:
        if is_parametrized(noisy.net.get_submodule(name)):
            raise ValueError(
                f"noisy must hold plain weights; those of {name!r} are parametrised: use torch.nn.utils.parametrize."
                "remove_parametrizations first"
            )
    with evaluating(noisy):
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
            structure.leave(step["layer"], reason, others(step))
        else:
            net = trial
            structure.layers.append(step)
    for name, step in heads.items():
        trial = attempt(net, Structure(heads={name: step}))
        if trial is None:
            structure.leave(name, reason, others(step))
        else:
            net = trial
            structure.heads[name] = step
    return net


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
        graph = Tracer().trace(noisy.net) if sites else fx.Graph()
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
    readers: list[str] = []
    pending = list(node.users)
    while pending:
        user = pending.pop()
        if reads_shape(user):
            continue
        what: Any = user.target
        if user.op == "call_module":
            module = net.get_submodule(str(user.target))
            if isinstance(module, LAYERS) and getattr(module, "groups", 1) == 1:
                readers.append(str(user.target))
                continue
            what = type(module)
        # tracing has made sure that channels stay apart wherever a site's are reshaped or pooled
        passes = isinstance(what, type) and issubclass(what, (*SCALES, nn.Flatten, nn.Dropout2d))
        if not (passes or what in SCALING or what in RESHAPING or what in POOLS):
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
        graph, seen = dependencies(net, probes[0]), _seen(net, probes)
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
        if separable(net.get_submodule(name)):
            structure.heads[name] = step
        else:
            structure.leave(name, "the attention has no separate q, k, v and head_dim", others(step))


# --- running networks ----------------------------------------------------------------------------------------------------
def _run(net: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Outputs that are tensors; random numbers are always the same."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return tensors(call(net, inputs))


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
