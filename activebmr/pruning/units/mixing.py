"""Operations that mix units: sums, means and maxima over an axis, softmax, pooling, normalisations."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from activebmr.pruning.units.moving import pieces
from activebmr.pruning.units.notes import Layer, Note, compact, moved
from activebmr.pruning.units.rules import operands, pointwise, rule

__all__ = ["along", "reduce"]


@rule("sum", "mean", "amax", "amin", "max", "min", "prod", "any", "all", "argmax", "argmin", "std", "var", "norm", "logsumexp")
@rule("linalg_vector_norm", "var_mean", "std_mean", "median", "aminmax", "nansum", "count_nonzero", "mode", "kthvalue")
def reduce(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    note = seen.note_of(x)
    if note is None:
        return
    if len(args) > 1 and isinstance(args[1], Tensor):  # the larger of two
        pointwise(seen, func, args, kwargs, out)
        return
    names = [a.name for a in func._schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    dims = given.get("dim")
    dims = list(range(x.dim())) if dims is None or dims == [] else [dims] if isinstance(dims, int) else list(dims)
    dims = [d % x.dim() for d in dims]
    layers, mixed = [], list(note.pending)
    for layer in note.layers:
        ids = layer.ids
        for axis in dims:
            if not layer.own and ids.shape[axis] > 1:
                mixed.append((ids, axis, f"{seen.said(func)} mixes them"))
                ids = ids.max(axis, keepdim=True).values
            ids = ids.narrow(axis, 0, 1)
        if not layer.own or not any(layer.varies(d) for d in dims):
            layers.append((compact(ids), layer.own))
    keep = bool(given.get("keepdim", False))
    examples = note.examples
    if examples is not None:
        examples = None if any(examples.shape[d] > 1 for d in dims) else examples

    def shaped(ids: Tensor) -> Tensor:
        return ids if keep else ids.reshape([n for a, n in enumerate(ids.shape) if a not in dims])

    found = Note(
        tuple(y for y in (Layer(shaped(i), o) for i, o in layers) if y.axes),
        note.weight,
        None if examples is None else shaped(examples),
        None,
        tuple(mixed),
    )
    for y in tree_leaves(out):
        if isinstance(y, Tensor):
            seen.note(y, found)


@rule(
    "_softmax",
    "softmax",
    "_log_softmax",
    "log_softmax",
    "cumsum",
    "cumprod",
    "sort",
    "topk",
    "cummax",
    "cummin",
    "logcumsumexp",
)
@rule("_safe_softmax", "argsort", "renorm", "glu")
def along(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    note = seen.note_of(x)
    if note is None:
        return
    names = [a.name for a in func._schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    axis = int(given.get("dim", -1)) % max(x.dim(), 1)
    if func._schema.name == "aten::glu":
        half = x.shape[axis] // 2
        pieces(seen, note, axis, x.shape[axis], half, 0, 1, seen.said(func))
        seen.note(out, moved(note, x.shape, lambda ids: ids.narrow(axis, 0, half)))
        return
    for layer in note.layers:
        if not layer.own:
            seen.atoms.mix(layer.ids, axis, f"{seen.said(func)} mixes them")
    for y in tree_leaves(out):
        if not isinstance(y, Tensor):
            continue
        if y.shape == x.shape:
            seen.note(y, Note(note.layers, note.weight, note.examples))
        else:
            layers = tuple(z for z in (Layer(compact(x.ids.narrow(axis, 0, 1)), x.own) for x in note.layers) if z.axes)
            seen.note(y, Note(layers, note.weight, note.examples))


def _places(name: str) -> int:
    return next((int(c[0]) for c in (name[i:] for i in range(len(name))) if c[:2] in ("1d", "2d", "3d")), 0)


@rule(
    "max_pool1d", "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool2d"
)
@rule("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
@rule("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "upsample_nearest1d", "upsample_nearest2d")
@rule(
    "upsample_nearest3d",
    "upsample_linear1d",
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "upsample_trilinear3d",
    "mkldnn_max_pool2d",
)
@rule("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d")
@rule("_upsample_nearest_exact3d", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d")
@rule("replication_pad2d", "replication_pad3d", "fractional_max_pool2d", "fractional_max_pool3d", "max_pool1d_with_indices")
@rule("grid_sampler_2d", "grid_sampler_3d")
def spatial(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    note = seen.note_of(x)
    if note is None:
        return
    behind = _places(func._schema.name)
    layers = []
    for layer in note.layers:
        ids = layer.ids
        for axis in range(x.dim() - behind, x.dim()):
            if not layer.own:
                seen.atoms.mix(ids, axis, f"{seen.said(func)} mixes them")
            ids = ids.narrow(axis, 0, 1)
        layers.append(Layer(compact(ids), layer.own))
    examples = note.examples
    if examples is not None and any(examples.shape[a] > 1 for a in range(x.dim() - behind, x.dim())):
        examples = None
    for y in tree_leaves(out):
        if isinstance(y, Tensor) and y.dim() == x.dim():
            seen.note(y, Note(tuple(z for z in layers if z.axes), note.weight, examples))


@rule("native_layer_norm", "native_group_norm", "_fused_rms_norm")
def other_norm(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    """Normalisations that no module of a known kind does: statistics cannot be corrected for what goes."""
    x = args[0]
    note = seen.note_of(x)
    if note is None:
        return
    axes = [1] if "group" in func._schema.name else list(range(x.dim() - len(args[1]), x.dim()))
    for layer in note.layers:
        for axis in axes:
            if not layer.own:
                seen.atoms.mix(layer.ids, axis, f"{seen.said(func)} has statistics over them")
    for parameter in operands(args[1:], kwargs):
        mine = seen.note_of(parameter)
        for layer in mine.layers if mine is not None else ():
            seen.atoms.keep(layer.ids, f"{seen.said(func)} has statistics over it")
    seen.note(out[0] if isinstance(out, (tuple, list)) else out, Note(note.layers, False, note.examples))
