"""Operations that move units, repeat them, leave some out, or put them one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from activebmr.pruning.units.notes import Layer, Note, SizeSeen, View, aligned, indices, moved
from activebmr.pruning.units.rules import examples_of, is_weight, joined, merged, rule, unknown

__all__ = ["move", "pieces", "select", "take_slice", "view"]


@rule(
    "t", "transpose", "permute", "unsqueeze", "squeeze", "expand", "clone", "_to_copy", "alias", "detach", "contiguous", "roll"
)
@rule("flip", "repeat", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "unfold", "diagonal")
@rule(
    "movedim",
    "lift_fresh",
    "view_as",
    "constant_pad_nd",
    "rot90",
    "as_strided_copy",
    "swapaxes",
    "to",
    "expand_copy",
    "tril",
    "triu",
)
def move(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    note, shape = seen.before
    if note is None or not isinstance(out, Tensor):
        return
    name = func._schema.name.removeprefix("aten::").rstrip("_")
    if tuple(out.shape) == tuple(shape) and name in (
        "clone",
        "_to_copy",
        "alias",
        "detach",
        "contiguous",
        "expand",
        "lift_fresh",
        "to",
        "tril",
        "triu",
    ):
        seen.note(out, note)
        return
    if name == "constant_pad_nd":
        _padded(seen, args, out, note)
        return
    if name in ("roll", "flip", "unfold", "diagonal", "rot90"):  # places are given by number
        keep_along(seen, note, [a for a in range(x.dim()) if _touched(name, args, a, x.dim())], seen.said(func))
    if name in ("channel_shuffle", "native_channel_shuffle", "pixel_shuffle", "pixel_unshuffle"):
        _in_blocks(seen, name, args, x, note)
    found = moved(note, shape, lambda ids: func(ids, *args[1:]))
    if name.startswith("expand"):  # what is only repeated along an axis has there as much as there is to meet
        before = (*[1] * (out.dim() - len(shape)), *shape)
        more = [
            Layer(indices(n, a, out.dim(), seen.atoms.virtual(n)), own=True)
            for a, n in enumerate(out.shape)
            if n > 1 and before[a] == 1
        ]
        found = replace(found, layers=(*found.layers, *more))
    seen.note(out, found)


def _touched(name: str, args: Any, axis: int, ndim: int) -> bool:
    dims = args[2] if name in ("roll", "rot90") and len(args) > 2 else args[1] if len(args) > 1 else []
    dims = [dims] if isinstance(dims, int) else dims
    return name == "diagonal" or axis in [d % ndim for d in dims] or not dims


def keep_along(seen: Any, note: Note, axes: Sequence[int], what: str) -> None:
    for layer in note.layers:
        if not layer.own:
            for axis in axes:
                seen.atoms.mix(layer.ids, axis, f"{what} takes them by number")


def _padded(seen: Any, args: Any, out: Tensor, note: Note) -> None:
    pads = list(args[1])
    layers = []
    for layer in note.layers:
        full = layer.ids
        for i in range(0, len(pads), 2):
            axis = out.dim() - 1 - i // 2
            if full.shape[axis] > 1 and (pads[i] or pads[i + 1]):
                ends = [full.new_full((*full.shape[:axis], n, *full.shape[axis + 1 :]), -1) for n in pads[i : i + 2] if n > 0]
                parts = ([ends[0]] if pads[i] > 0 else []) + [full] + (ends[-1:] if pads[i + 1] > 0 else [])
                full = torch.cat(parts, axis)
        layers.append(Layer(full, layer.own))
    seen.note(out, Note(tuple(layers), note.weight, note.examples, note.entered))


def _in_blocks(seen: Any, name: str, args: Any, x: Tensor, note: Note) -> None:
    """Rearrangements of channels in blocks of a fixed number."""
    n = int(args[1]) ** (2 if name.startswith("pixel") else 1)
    for layer in note.layers:
        if layer.own or not layer.varies(1):
            continue
        if name.startswith("channel") or name.startswith("native"):  # (groups, n): the same of each group
            seen.atoms.join_along(layer.ids.unflatten(1, (n, -1)), 1)
        elif name == "pixel_shuffle":
            seen.atoms.join_along(layer.ids.unflatten(1, (-1, n)), 2)


@rule("as_strided")
def as_strided(seen: Any, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    """Another order in memory of the same tensor, as pooling makes it; anything else is not followed."""
    note, shape = seen.before
    sizes, strides = tuple(args[1]), tuple(args[2])
    dense = sorted(n for n in shape if n > 1) == sorted(n for n, s in zip(sizes, strides, strict=True) if n > 1 and s)
    if note is not None and sizes == shape and dense and func._schema.is_mutable and sum(n > 1 for n in shape[1:]) <= 1:
        seen.note(out, note)
    else:
        unknown(seen, func, args, kwargs, out)


@rule("view", "_unsafe_view", "reshape", "unflatten", "flatten", "_reshape_alias", "view_copy", "_reshape_copy")
def view(seen: Any, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    x = args[0]
    note = seen.note_of(x)
    if note is None:
        return
    found = moved(note, x.shape, lambda ids: ids.reshape(out.shape))
    if not note.weight:  # repetitions that share an axis with units now are theirs
        real = {a for layer in found.layers for a in layer.axes if not layer.own}
        found = replace(found, layers=tuple(x for x in found.layers if not x.own or not real & set(x.axes)))
    for layer in found.layers:
        if not layer.own and len(layer.axes) > 1:
            seen.views.append(View(layer.ids, seen.here))
    seen.record_sizes(seen.here, note, x.shape)
    seen.record_sizes(seen.here, found, out.shape)
    seen.note(out, found)


@rule("slice", "narrow")
def take_slice(seen: Any, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    x = args[0]
    note = seen.note_of(x)
    if note is None:
        return
    axis = (args[1] if len(args) > 1 else 0) % x.dim()
    n, size = x.shape[axis], out.shape[axis]
    step = args[4] if len(args) > 4 else 1
    start = (args[2] if len(args) > 2 and args[2] is not None else 0) if func._schema.name == "aten::slice" else int(args[2])
    start = min(max(start + n if start < 0 else start, 0), n)
    if size < n:
        pieces(seen, note, axis, n, size, start, step, seen.said(func))
    seen.note(out, moved(note, x.shape, lambda ids: func(ids, *args[1:], **kwargs)))


def pieces(seen: Any, note: Note, axis: int, n: int, size: int, start: int, step: int, what: str) -> None:
    """Equal pieces of an axis stay equal if the same goes from each; pieces of other sizes cannot be cut."""
    for layer in note.layers:
        if layer.own or not layer.varies(axis):
            continue
        if size and step == 1 and n % size == 0 and start % size == 0:
            seen.atoms.join_along(layer.ids.unflatten(axis, (n // size, size)), axis)
            ids = layer.ids.movedim(axis, 0)
            seen.sizes.append(SizeSeen(seen.here, size, ids[start : start + size].reshape(size, -1)))
            seen.sizes.append(SizeSeen(seen.here, n, ids.reshape(n, -1)))
        else:
            seen.atoms.mix(layer.ids, axis, f"{what} takes some of them by number")


@rule(
    "split",
    "split_with_sizes",
    "chunk",
    "unsafe_split",
    "unsafe_chunk",
    "tensor_split",
    "unsafe_split_with_sizes",
    "split_copy",
)
def split(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    note = seen.note_of(x)
    if note is None:
        return
    axis = (args[2] if len(args) > 2 else kwargs.get("dim", 0)) % x.dim()
    sizes = [y.shape[axis] for y in out]
    if len(set(sizes)) == 1:
        pieces(seen, note, axis, x.shape[axis], sizes[0], 0, 1, seen.said(func))
    else:
        for layer in note.layers:
            if not layer.own and layer.varies(axis):
                seen.atoms.mix(layer.ids, axis, f"{seen.said(func)} takes unequal parts of them")
    start = 0
    for y, size in zip(out, sizes, strict=True):
        seen.note(y, moved(note, x.shape, lambda ids, a=start, n=size: ids.narrow(axis, a, n)))  # type: ignore[misc]
        start += size


@rule("select", "unbind")
def select(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    note = seen.note_of(x)
    if note is None:
        return
    axis = (args[1] if len(args) > 1 else 0) % x.dim()
    for layer in note.layers:
        if not layer.own:
            seen.atoms.mix(layer.ids, axis, f"{seen.said(func)} takes one of them by number")
    if isinstance(out, Tensor):
        index = args[2]
        seen.note(out, moved(note, x.shape, lambda ids: ids.select(axis, index)))
    else:
        for i, y in enumerate(out):
            seen.note(y, moved(note, x.shape, lambda ids, i=i: ids.select(axis, i)))  # type: ignore[misc]


@rule("index", "index_select", "gather", "take_along_dim", "masked_select")
def index(seen: Any, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    x, name = args[0], func._schema.name.removeprefix("aten::")
    note = seen.note_of(x)
    if note is None or name in ("masked_select",):
        unknown(seen, func, args, kwargs, out)
        return
    if name == "index":
        axes = [a for a, i in enumerate(args[1]) if i is not None]
    else:
        axes = [args[1] % x.dim()]
        if name == "index_select" and _repeats(args[2], x.shape[axes[0]]):
            axes = []
    keep_along(seen, note, axes, seen.said(func))
    if note.examples is not None and any(note.examples.shape[a] > 1 for a in axes):
        note = replace(note, examples=None)  # which of them are taken may depend on what they are
    where = tree_map_only(Tensor, lambda i: i.cpu(), args[1:])  # atoms lie there, whatever the network's device
    seen.note(out, moved(note, x.shape, lambda ids: func(ids.contiguous(), *where, **kwargs)))


def _repeats(which: Tensor, n: int) -> bool:
    """Whether numbers are 0 to n - 1, each as often as the others, in a row or in turn."""
    if len(which) % n:
        return False
    all_, r = torch.arange(n, device=which.device), len(which) // n
    return bool((which == all_.repeat_interleave(r)).all() or (which == all_.repeat(r)).all())


@rule("cat", "concat", "stack", "_cat")
def concatenate(seen: Any, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    parts = [x for x in args[0] if x.numel()]
    notes: list[Note | None] = [seen.note_of(x) for x in parts]
    axis = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % out.dim()
    shapes = [list(x.shape) for x in parts]
    if func._schema.name == "aten::stack":
        notes = [
            None if n is None else moved(n, x.shape, lambda ids: ids.unsqueeze(axis)) for n, x in zip(notes, parts, strict=True)
        ]
        shapes = [[*s[:axis], 1, *s[axis:]] for s in shapes]
    weight = is_weight(notes)
    # along all other axes the parts are combined place by place
    across = [
        None if n is None else Note(tuple(x for x in n.layers if not x.varies(axis)), n.weight, n.examples) for n in notes
    ]
    flat = [[1 if a == axis else m for a, m in enumerate(s)] for s in shapes]
    layers = joined(seen, across, flat, out.dim(), seen.said(func))
    along = [[x for x in n.layers if x.varies(axis) and (weight or not x.own)] if n is not None else [] for n in notes]
    if any(along):
        layers.append(_one_after_the_other(seen, along, shapes, axis, weight, seen.said(func)))
    examples = None
    if axis != 0 or all(n is None or n.examples is None for n in notes):
        examples = examples_of(across, out.dim())
    seen.note(out, Note(tuple(x for x in layers if x.axes), weight, examples))
    seen.record_sizes(seen.here, seen.note_of(out), out.shape)


def _one_after_the_other(
    seen: Any, along: list[list[Layer]], shapes: list[list[int]], axis: int, weight: bool, what: str
) -> Layer:
    """The layer along the axis on which parts follow each other; what they hold of it may vary along further axes."""
    one = [merged(seen, found)[0].ids if found else None for found in along]
    ndim = len(shapes[0])
    wide = [max(i.shape[a] for i in one if i is not None) if a != axis else 1 for a in range(ndim)]
    rows = []
    for shape, ids in zip(shapes, one, strict=True):
        size = [shape[axis] if a == axis else n for a, n in enumerate(wide)]
        if ids is None:
            rows.append(torch.full(size, -1))
            continue
        rows.append(ids.expand(size))
    if any(i is None for i in one):
        for ids in (i for i in one if i is not None):
            for other in [a for a, n in enumerate(ids.shape) if n > 1 and a != axis]:
                seen.atoms.mix(ids, other, f"{what} puts them beside what cannot go")
    ids = torch.cat(rows, axis)
    if sum(n > 1 for n in ids.shape) > 1 and not weight:
        seen.views.append(View(ids, seen.here))
    return Layer(ids, weight)


@rule("copy")
def copy(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    target, source = args[0], args[1]
    note = seen.note_of(source)
    if note is None:
        return
    if target.numel() * target.element_size() == target.untyped_storage().nbytes():
        layers = tuple(Layer(aligned(x.ids, target.dim()), x.own) for x in note.layers)
        seen.note(target, Note(layers, note.weight, examples_of([note], target.dim())))
    else:
        for layer in note.layers:
            seen.atoms.keep(layer.ids, f"{seen.said(func)} writes them into a part of a tensor")
