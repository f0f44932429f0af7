"""What an operation does to units: moves them, joins them place by place, reads them with weights, or mixes them.

One rule for each kind of operation of torch's ATen library, by name; pointwise operations are known by their tag. An operation
without a rule is taken to mix all units that it is given, and they cannot go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from activebmr.pruning.units.notes import Layer, Note, aligned, compact, moved

__all__ = ["apply_rule"]

Rule = Callable[[Any, Any, tuple[Any, ...], dict[str, Any], Any], None]
RULES: dict[str, Rule] = {}


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def apply_rule(seen: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
    """Note what an operation makes of the units of its inputs; ``seen`` is the `Follower`."""
    name = func._schema.name.removeprefix("aten::")
    rule = RULES.get(name) or RULES.get(name.rstrip("_"))
    if rule is None:
        rule = pointwise if torch.Tag.pointwise in func.tags else unknown
    notes = [n for n in (seen.note_of(x) for x in _operands(args, kwargs)) if n is not None]
    pending = tuple(dict.fromkeys(p for n in notes for p in n.pending))
    alone = all(n.pending or n.weight for n in notes)  # nothing but such numbers, weights and constants
    if rule is nothing:
        return
    if pending and not (alone and rule in (pointwise, move, view, reduce, select, take_slice)):
        count(seen, pending)
        pending = ()
    if rule not in (move, view, contract_mm, convolve):
        for x in tree_leaves((args, kwargs)):
            found = seen.entry(seen.note_of(x))
            if found is not None:
                seen.impure.add(found.name)
    rule(seen, func, args, kwargs, out)
    if pending:
        for x in tree_leaves(out):
            made = seen.note_of(x)
            if made is not None:
                more = tuple(p for p in pending if not any(p is q for q in made.pending))
                seen.note(x, replace(made, pending=made.pending + more))


def count(seen: Any, pending: Sequence[tuple[Tensor, int, str]]) -> None:
    """Mixtures that another tensor depends on."""
    for ids, axis, reason in pending:
        seen.atoms.mix(ids, axis, reason)


def _operands(args: Any, kwargs: Any) -> list[Tensor]:
    return [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]


def _examples(notes: Sequence[Note | None], ndim: int) -> Tensor | None:
    found = [n.examples for n in notes if n is not None and n.examples is not None]
    found = [x for x in found if x.dim() <= ndim]
    return aligned(found[0], ndim) if found else None


def _is_weight(notes: Sequence[Note | None]) -> bool:
    return all(n is None or n.weight for n in notes)


# --- place by place --------------------------------------------------------------------------------------------------------
def merged(seen: Any, layers: list[Layer]) -> list[Layer]:
    """Layers that vary along the same axis are one: what lies at the same place stands and falls together."""
    out: list[Layer] = []
    for layer in layers:
        for other in [x for x in out if set(x.axes) & set(layer.axes)]:
            seen.atoms.join(layer.ids, other.ids)
            a, b = torch.broadcast_tensors(other.ids, layer.ids)
            layer = Layer(compact(torch.where(a >= 0, a, b)), layer.own and other.own)
            out = [x for x in out if x is not other]
        out.append(layer)
    return [x for x in out if x.axes]


def joined(seen: Any, notes: list[Note | None], shapes: list[Sequence[int]], ndim: int, what: str) -> list[Layer]:
    """Layers of what is combined place by place (aligned from behind): joined, and kept whole along axes on which another operand
    has a size that cannot change.
    """
    held = [
        [Layer(aligned(x.ids, ndim), x.own) for x in note.layers if x.ids.dim() <= ndim] if note is not None else []
        for note in notes
    ]
    weight = _is_weight(notes)
    for i, note in enumerate(notes):
        if note is None:
            continue
        shape = [*[1] * (ndim - len(shapes[i])), *shapes[i]]
        for axis in range(ndim):
            if shape[axis] <= 1 or any(x.varies(axis) for x in held[i]):
                continue
            for j, others in enumerate(held):
                for layer in others:
                    if j == i or not layer.varies(axis):
                        continue
                    if layer.own:
                        if not weight and not note.weight:
                            seen.atoms.keep(layer.ids, f"{what} combines it with what cannot go")
                        continue
                    seen.atoms.mix(layer.ids, axis, f"{what} combines them with a tensor of a size that is fixed")
    flat = [x for layers in held for x in layers]
    real = merged(seen, [x for x in flat if not x.own])
    if weight:
        return merged(seen, [x for x in flat if x.own])
    for layers in held:
        own = [x for x in layers if x.own]
        for layer in own:
            _bound(seen, layer, own, real, what)
    return real


def _bound(seen: Any, layer: Layer, own: list[Layer], real: list[Layer], what: str) -> None:
    """Entries of a weight go with the units that they meet; where units are spread over more axes than the weight has (a gain for
    each feature of a head, for all heads alike), it cannot be cut, and its axis is kept whole.
    """
    (axis,) = layer.axes[:1]
    for units in [x for x in real if x.varies(axis)]:
        others = [a for a in units.axes if a != axis]
        if not others or set(layer.axes) == set(units.axes):
            seen.atoms.join(layer.ids, units.ids)
        elif all(any(x.varies(a) for x in own) for a in others):
            if axis == min(units.axes):
                seen.atoms.join(layer.ids, units.ids)
        else:
            seen.atoms.mix(units.ids, axis, f"{what} combines them with a weight that is the same for several")


@_rule("where", "addcmul", "addcdiv", "lerp", "prelu", "_prelu_kernel", "rsub", "dropout", "masked_fill", "fill", "clamp", "glu_jvp")
def pointwise(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    results = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
    if not results:
        return
    operands = [x for x in _operands(args, kwargs) if x.dim() <= results[0].dim()]
    notes = [seen.note_of(x) for x in operands]
    if func._schema.name in ("aten::_prelu_kernel", "aten::prelu"):  # its weight lies along axis 1
        notes, operands = _prelu(notes, operands)
    ndim = results[0].dim()
    layers = joined(seen, notes, [x.shape for x in operands], ndim, seen.said(func))
    note = Note(tuple(layers), _is_weight(notes), _examples(notes, ndim))
    for x in results:
        if x.shape == results[0].shape:
            seen.note(x, note)


def _prelu(notes: list[Note | None], operands: list[Tensor]) -> tuple[list[Note | None], list[Tensor]]:
    x, weight = operands
    note = notes[1]
    if weight.dim() == 1 and x.dim() > 1 and note is not None:
        shape = [1, len(weight), *[1] * (x.dim() - 2)]
        weight = weight.reshape(shape)
        note = moved(note, operands[1].shape, lambda ids: ids.reshape(shape))
    return [notes[0], note], [x, weight]


@_rule("native_dropout")
def dropout(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    note = seen.note_of(args[0])
    if note is not None:
        for x in out:
            seen.note(x, Note(note.layers, note.weight, note.examples))


@_rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
@_rule("_batch_norm_with_update", "_batch_norm_no_update", "batch_norm", "miopen_batch_norm", "_native_batch_norm_legit_functional")
def batch_norm(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    shape = [1, -1, *[1] * (x.dim() - 2)]
    notes: list[Note | None] = [seen.note_of(x)]
    shapes: list[Sequence[int]] = [x.shape]
    for parameter in args[1:5]:
        note = seen.note_of(parameter) if isinstance(parameter, Tensor) else None
        if note is not None:
            notes.append(moved(note, parameter.shape, lambda ids: ids.reshape(shape)))
            shapes.append([1, len(parameter), *[1] * (x.dim() - 2)])
    layers = joined(seen, notes, shapes, x.dim(), seen.said(func))
    seen.note(out[0] if isinstance(out, (tuple, list)) else out, Note(tuple(layers), False, _examples(notes, x.dim())))


# --- moved -----------------------------------------------------------------------------------------------------------------
@_rule("t", "transpose", "permute", "unsqueeze", "squeeze", "expand", "clone", "_to_copy", "alias", "detach", "contiguous", "roll")
@_rule("flip", "repeat", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "unfold", "diagonal")
@_rule("movedim", "lift_fresh", "view_as", "constant_pad_nd", "rot90", "as_strided_copy", "swapaxes", "to", "expand_copy", "tril", "triu")
def move(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    note, shape = seen.before
    if note is None or not isinstance(out, Tensor):
        return
    name = func._schema.name.removeprefix("aten::").rstrip("_")
    if out.shape == shape and name in ("clone", "_to_copy", "alias", "detach", "contiguous", "expand", "lift_fresh", "to", "tril", "triu"):
        seen.note(out, note)
        return
    if name == "constant_pad_nd":
        _padded(seen, args, out, note)
        return
    if name in ("roll", "flip", "unfold", "diagonal", "rot90"):  # places are given by number
        _keep_along(seen, note, [a for a in range(x.dim()) if _touched(name, args, a, x.dim())], seen.said(func))
    if name in ("channel_shuffle", "native_channel_shuffle", "pixel_shuffle", "pixel_unshuffle"):
        _in_blocks(seen, name, args, x, note)
    seen.note(out, moved(note, shape, lambda ids: func(ids, *args[1:])))


def _touched(name: str, args: Any, axis: int, ndim: int) -> bool:
    dims = args[2] if name in ("roll", "rot90") and len(args) > 2 else args[1] if len(args) > 1 else []
    dims = [dims] if isinstance(dims, int) else dims
    return name == "diagonal" or axis in [d % ndim for d in dims] or not dims


def _keep_along(seen: Any, note: Note, axes: Sequence[int], what: str) -> None:
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


@_rule("view", "_unsafe_view", "reshape", "unflatten", "flatten", "_reshape_alias", "view_copy", "_reshape_copy")
def view(seen: Any, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    from activebmr.pruning.units.following import View

    x = args[0]
    note = seen.note_of(x)
    if note is None:
        return
    found = moved(note, x.shape, lambda ids: ids.reshape(out.shape))
    for layer in found.layers:
        if not layer.own and len(layer.axes) > 1:
            seen.views.append(View(layer.ids, seen.here))
    _sizes(seen, note, x.shape)
    _sizes(seen, found, out.shape)
    seen.note(out, found)


def _sizes(seen: Any, note: Note, shape: Sequence[int]) -> None:
    from activebmr.pruning.units.following import SizeSeen

    for layer in note.layers:
        if not layer.own:
            for axis in layer.axes:
                ids = layer.ids.movedim(axis, 0)
                seen.sizes.append(SizeSeen(seen.here, int(shape[axis]), ids.reshape(len(ids), -1)))


@_rule("slice", "narrow")
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
        _pieces(seen, note, axis, n, size, start, step, seen.said(func))
    seen.note(out, moved(note, x.shape, lambda ids: func(ids, *args[1:], **kwargs)))


def _pieces(seen: Any, note: Note, axis: int, n: int, size: int, start: int, step: int, what: str) -> None:
    """Equal pieces of an axis stay equal if the same goes from each; pieces of other sizes cannot be cut."""
    from activebmr.pruning.units.following import SizeSeen

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


@_rule("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk", "tensor_split", "unsafe_split_with_sizes", "split_copy")
def split(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    note = seen.note_of(x)
    if note is None:
        return
    axis = (args[2] if len(args) > 2 else kwargs.get("dim", 0)) % x.dim()
    sizes = [y.shape[axis] for y in out]
    if len(set(sizes)) == 1:
        _pieces(seen, note, axis, x.shape[axis], sizes[0], 0, 1, seen.said(func))
    else:
        for layer in note.layers:
            if not layer.own and layer.varies(axis):
                seen.atoms.mix(layer.ids, axis, f"{seen.said(func)} takes unequal parts of them")
    start = 0
    for y, size in zip(out, sizes, strict=True):
        seen.note(y, moved(note, x.shape, lambda ids, a=start, n=size: ids.narrow(axis, a, n)))  # type: ignore[misc]
        start += size


@_rule("select", "unbind")
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


@_rule("index", "index_select", "gather", "take_along_dim", "masked_select")
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
    _keep_along(seen, note, axes, seen.said(func))
    seen.note(out, moved(note, x.shape, lambda ids: func(ids.contiguous(), *args[1:], **kwargs)))


def _repeats(which: Tensor, n: int) -> bool:
    """Whether numbers are 0 to n - 1, each as often as the others, in a row or in turn."""
    if len(which) % n:
        return False
    all_, r = torch.arange(n, device=which.device), len(which) // n
    return bool((which == all_.repeat_interleave(r)).all() or (which == all_.repeat(r)).all())


@_rule("cat", "concat", "stack", "_cat")
def concatenate(seen: Any, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    parts = [x for x in args[0] if x.numel()]
    notes: list[Note | None] = [seen.note_of(x) for x in parts]
    axis = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % out.dim()
    shapes = [list(x.shape) for x in parts]
    if func._schema.name == "aten::stack":
        notes = [None if n is None else moved(n, x.shape, lambda ids: ids.unsqueeze(axis)) for n, x in zip(notes, parts, strict=True)]
        shapes = [[*s[:axis], 1, *s[axis:]] for s in shapes]
    weight = _is_weight(notes)
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
        examples = _examples(across, out.dim())
    seen.note(out, Note(tuple(x for x in layers if x.axes), weight, examples))
    _sizes(seen, seen.note_of(out), out.shape)


def _one_after_the_other(
    seen: Any, along: list[list[Layer]], shapes: list[list[int]], axis: int, weight: bool, what: str
) -> Layer:
    """The layer along the axis on which parts follow each other; what they hold of it may vary along further axes."""
    from activebmr.pruning.units.following import View

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


@_rule("copy")
def copy(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    target, source = args[0], args[1]
    note = seen.note_of(source)
    if note is None:
        return
    if target.numel() * target.element_size() == target.untyped_storage().nbytes():
        layers = tuple(Layer(aligned(x.ids, target.dim()), x.own) for x in note.layers)
        seen.note(target, Note(layers, note.weight, _examples([note], target.dim())))
    else:
        for layer in note.layers:
            seen.atoms.keep(layer.ids, f"{seen.said(func)} writes them into a part of a tensor")


# --- read with weights -----------------------------------------------------------------------------------------------------
@_rule("mm", "bmm", "addmm", "baddbmm", "mv", "dot", "addmv", "linear", "addbmm", "vdot")
def contract_mm(seen: Any, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    from activebmr.pruning.units.following import Work

    name = func._schema.name.removeprefix("aten::").rstrip("_")
    first, rest = (args[0], args[1:]) if name.startswith(("addm", "badd")) else (None, args)
    x, y = rest[0], rest[1]
    if name in ("linear", "addbmm", "dot", "vdot", "mv", "addmv"):
        unknown(seen, func, args, kwargs, out)
        return
    batch = x.dim() - 2
    notes = [seen.note_of(x), seen.note_of(y)]
    shape_x, shape_y = [*x.shape[: batch + 1], 1, x.shape[-1]], [*y.shape[:batch], 1, y.shape[-1], y.shape[-2]]
    spread = [
        None if notes[0] is None else moved(notes[0], x.shape, lambda ids: ids.unsqueeze(-2)),
        None if notes[1] is None else moved(notes[1], y.shape, lambda ids: ids.unsqueeze(batch).transpose(-1, -2)),
    ]
    seen.work.append(Work(2, tuple(_axis_ids(spread, a, n) for a, n in enumerate([*x.shape[: batch + 1], y.shape[-1], x.shape[-1]]))))
    layers = contracted(seen, spread, [shape_x, shape_y], seen.said(func))
    weight = _is_weight(notes)
    found = Note(tuple(Layer(x.ids.squeeze(-1), x.own) for x in layers), weight, _after(spread))
    if first is not None:
        mine = seen.note_of(first)
        parts = joined(seen, [found, mine], [out.shape, first.shape], out.dim(), seen.said(func))
        found = Note(tuple(parts), weight, found.examples)
    seen.note(out, found)


def _after(notes: Sequence[Note | None]) -> Tensor | None:
    for note in notes:
        if note is not None and note.examples is not None and note.examples.shape[-1] == 1:
            return note.examples.squeeze(-1)
    return None


def _axis_ids(notes: Sequence[Note | None], axis: int, n: int) -> Tensor:
    """Atoms ``(n, k)`` of all units that lie along an axis; -1 where there are none."""
    for own in (False, True):
        for note in notes:
            for layer in note.layers if note is not None else ():
                if layer.own == own and layer.varies(axis):
                    return layer.ids.movedim(axis, 0).reshape(n, -1)
    return torch.full((n, 1), -1)


def contracted(seen: Any, notes: list[Note | None], shapes: list[Sequence[int]], what: str) -> list[Layer]:
    """Layers of a product of two operands, summed over the last axis; that axis is left with size 1."""
    last = len(shapes[0]) - 1
    for i, j in ((0, 1), (1, 0)):
        mine, other = notes[i], notes[j]
        if mine is None or mine.weight:
            continue
        real = [x for x in mine.layers if x.varies(last)]
        own = [x for x in other.layers if x.varies(last)] if other is not None and other.weight else []
        if own and len(own) == 1 and own[0].axes == [last]:
            if real:
                for layer in real:
                    seen.atoms.join(layer.ids, own[0].ids)
                    if bool((layer.ids < 0).any()):  # places that nothing can take away
                        places = layer.ids.reshape(-1, layer.ids.shape[last])[0] < 0
                        seen.atoms.keep(own[0].ids.reshape(-1)[places], "it is read where nothing can go")
                seen.atoms.mark(own[0].ids, "read")
                seen.read(mine, own[0].ids, torch.cat([x.ids.reshape(-1) for x in real]))
            else:
                seen.atoms.keep(own[0].ids, "it reads what cannot go")
        else:
            for layer in real:
                seen.atoms.mix(layer.ids, last, f"{what} sums over them")
            for layer in own:
                seen.atoms.keep(layer.ids, f"{what} uses it in another way")
    if all(n is not None and n.weight for n in notes):  # weights that are made of weights
        for note in notes:
            for layer in note.layers if note is not None else ():
                if layer.varies(last):
                    seen.atoms.keep(layer.ids, f"{what} makes weights of it")
    weight = _is_weight(notes)
    left: list[Note | None] = []
    for note in notes:
        if note is None:
            left.append(None)
            continue
        layers = []
        for layer in note.layers:
            if layer.varies(last):
                rest = Layer(compact(layer.ids.narrow(last, 0, 1)), layer.own)
                if layer.own or not rest.axes or (note.weight is False and _one_weight(notes, note, last)):
                    continue
                layers.append(rest)
            elif layer.own and not weight and note.weight:
                seen.atoms.mark(layer.ids, "written")
                layers.append(Layer(layer.ids, False))
            else:
                layers.append(layer)
        left.append(Note(tuple(layers), False, note.examples))
    flat = [[*s[:last], 1] for s in shapes]
    return joined(seen, left, flat, last + 1, what)


def _one_weight(notes: Sequence[Note | None], mine: Note, last: int) -> bool:
    """Whether the other operand is a weight that reads units along the last axis: what is left of them lies there no more."""
    return any(n is not None and n is not mine and n.weight and any(x.varies(last) for x in n.layers) for n in notes)


@_rule("convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution", "convolution_overrideable", "_slow_conv2d_forward")
@_rule("slow_conv3d_forward", "_nnpack_spatial_convolution", "thnn_conv2d", "_conv_depthwise2d", "conv_depthwise3d", "slow_conv3d")
def convolve(seen: Any, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    if not func._schema.name.endswith("::convolution"):
        unknown(seen, func, args, kwargs, out)
        return
    x, weight, bias, transposed, groups = args[0], args[1], args[2], args[6], args[8]
    note, own, what = seen.note_of(x), seen.note_of(weight), seen.said(func)
    if own is None or not own.weight:
        unknown(seen, func, args, kwargs, out)
        return
    rows = _flat_own(own, 1 if transposed else 0)
    columns = _flat_own(own, 0 if transposed else 1)
    ids = _channels(seen, note, what)
    outer = tuple(_across(note, out.dim())) if note is not None else ()
    result: Tensor | None = None
    if groups == 1:
        if rows is not None:
            seen.atoms.mark(rows, "written")
            result = rows
        if columns is not None and note is not None:
            if ids is not None:
                seen.atoms.join(ids, columns)
                if bool((ids < 0).any()):
                    seen.atoms.keep(columns[ids < 0], "it is read where nothing can go")
                seen.atoms.mark(columns, "read")
                seen.read(note, columns, ids)
            elif not note.weight:
                seen.atoms.keep(columns, "it reads what cannot go")
        elif ids is not None:
            seen.atoms.keep(ids, f"{what} reads them with weights that are made in another way")
    else:
        result = _grouped(seen, weight, rows, columns, ids, groups, transposed, out.shape[1], what)
    layers = list(outer)
    if result is not None:
        layers.append(Layer(result.reshape(1, -1, *[1] * (out.dim() - 2))))
    layers = [x for x in layers if x.axes]
    examples = None if note is None or note.examples is None else note.examples[(slice(None), *[slice(0, 1)] * (x.dim() - 1))]
    found = Note(tuple(layers), False, examples)
    if isinstance(bias, Tensor):
        mine = seen.note_of(bias)
        shape = [1, len(bias), *[1] * (out.dim() - 2)]
        mine = None if mine is None else moved(mine, bias.shape, lambda i: i.reshape(shape))
        found = Note(tuple(joined(seen, [found, mine], [out.shape, shape], out.dim(), what)), False, examples)
    _conv_work(seen, x, weight, out, rows, columns, result, transposed)
    seen.note(out, found)


def _conv_work(seen: Any, x: Tensor, weight: Tensor, out: Tensor, rows: Any, columns: Any, result: Any, transposed: bool) -> None:
    from activebmr.pruning.units.following import Work

    kernel = weight[0, 0].numel() if weight.dim() > 2 else 1
    places = (x if transposed else out)[0, 0].numel() * len(out)
    others = columns if columns is not None else torch.full((weight.shape[0 if transposed else 1],), -1)
    mine = result if result is not None else torch.full((out.shape[1],), -1)
    if transposed and weight.shape[1] != out.shape[1]:  # groups
        others, mine = torch.full((weight.shape[0],), -1) if columns is None else columns, torch.full((weight.shape[1],), -1)
    seen.work.append(Work(2 * kernel * places, (mine.reshape(-1, 1), others.reshape(-1, 1))))


def _flat_own(note: Note, axis: int) -> Tensor | None:
    """Atoms of a weight along one of its axes; None if it has none there any more."""
    found = [x for x in note.layers if x.own and x.axes == [axis]]
    return found[0].ids.reshape(-1) if len(found) == 1 else None


def _channels(seen: Any, note: Note | None, what: str) -> Tensor | None:
    """Atoms ``(n,)`` along axis 1; what lies along the axes behind it is mixed."""
    found = None
    for layer in note.layers if note is not None else ():
        for axis in range(2, layer.ids.dim()):
            seen.atoms.mix(layer.ids, axis, f"{what} mixes places")
        if layer.varies(1) and not layer.own:
            found = layer.ids.movedim(1, -1).reshape(-1, layer.ids.shape[1])[0]
            if layer.varies(0):
                seen.atoms.mix(layer.ids, 0, f"{what} reads them for all examples alike")
    return found


def _across(note: Note, ndim: int) -> list[Layer]:
    """Layers along the first axis alone."""
    return [Layer(x.ids.reshape(-1, *[1] * (ndim - 1))) for x in note.layers if x.axes == [0]]


def _grouped(
    seen: Any, weight: Tensor, rows: Any, columns: Any, ids: Any, groups: int, transposed: bool, n_out: int, what: str
) -> Tensor | None:
    """A group's inputs and outputs are one unit: the group. What it reads is no place for noise, and no column of it can go."""
    if transposed:  # rows (outputs of one group) are shared by all; its first axis has the inputs of all groups
        both = columns
        result = columns.reshape(groups, -1)[:, :1].expand(groups, n_out // groups).reshape(-1) if columns is not None else None
        if rows is not None:
            seen.atoms.keep(rows, f"{what} has {groups} groups")
    else:
        both, result = rows, rows
        if columns is not None:
            seen.atoms.keep(columns, f"{what} has {groups} groups")
    if both is None:
        if ids is not None:
            seen.atoms.keep(ids, f"{what} has groups and weights that are made in another way")
        return None
    seen.atoms.mark(both, "written")
    if ids is None:
        seen.atoms.keep(both, f"{what} has groups and reads what cannot go")
        return result
    blocks = both.reshape(groups, -1)
    seen.atoms.join_along(blocks, 1)
    seen.atoms.join_along(ids.reshape(groups, -1), 1)
    seen.atoms.join(ids.reshape(groups, -1)[:, 0], blocks[:, 0])
    if bool((ids < 0).any()):
        seen.atoms.keep(both, f"{what} has groups and reads what cannot go")
    return result


@_rule("embedding")
def embedding(seen: Any, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    note = seen.note_of(args[0])
    index_note = seen.note_of(args[1])
    columns = _flat_own(note, 1) if note is not None and note.weight else None
    rows = _flat_own(note, 0) if note is not None and note.weight else None
    if rows is not None:
        seen.atoms.keep(rows, "inputs are numbers of its rows")
    layers = ()
    if columns is not None:
        seen.atoms.mark(columns, "written")
        layers = (Layer(columns.reshape(*[1] * (out.dim() - 1), -1)),)
    examples = None if index_note is None or index_note.examples is None else index_note.examples.unsqueeze(-1)
    seen.note(out, Note(layers, False, examples))


@_rule("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention")
@_rule("_scaled_dot_product_cudnn_attention", "_scaled_dot_product_attention_math", "scaled_dot_product_attention")
@_rule("_scaled_dot_product_fused_attention_overrideable", "_scaled_dot_product_attention_math_for_mps")
def attend(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    from activebmr.pruning.units.following import Work

    q, k, v = args[:3]
    result = out[0] if isinstance(out, (tuple, list)) else out
    notes = [seen.note_of(x) for x in (q, k, v)]
    heads = q.shape[1]
    what = seen.said(func)
    parts, shapes = [], []
    for i, (x, note) in enumerate(zip((q, k, v), notes, strict=True)):
        if note is None:
            continue
        if x.shape[1] != heads:
            note = moved(note, x.shape, lambda ids, n=x.shape[1]: ids.repeat_interleave(heads // n, 1))  # type: ignore[misc]
        layers = []
        for layer in note.layers:
            ids = layer.ids
            for axis in ((3,) if i < 2 else ()) + ((2,) if i else ()):
                seen.atoms.mix(ids, axis, f"{what} sums over them")
                ids = ids.narrow(axis, 0, 1)
            layers.append(Layer(compact(ids), layer.own))
        parts.append(Note(tuple(x for x in layers if x.axes), note.weight, note.examples))
        shapes.append([x.shape[0], heads, x.shape[2] if i == 0 else 1, x.shape[3] if i == 2 else 1])
    layers = joined(seen, parts, shapes, 4, what)
    which = _axis_ids([Note(tuple(layers))], 1, heads)
    rest = q.shape[0] * q.shape[2] * k.shape[2]
    seen.work.append(Work(2 * rest * (q.shape[3] + v.shape[3]), (which,)))
    seen.note(result, Note(tuple(layers), False, _examples(parts, 4)))


# --- mixed -----------------------------------------------------------------------------------------------------------------
@_rule("sum", "mean", "amax", "amin", "max", "min", "prod", "any", "all", "argmax", "argmin", "std", "var", "norm", "logsumexp")
@_rule("linalg_vector_norm", "var_mean", "std_mean", "median", "aminmax", "nansum", "count_nonzero", "mode", "kthvalue")
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


@_rule("_softmax", "softmax", "_log_softmax", "log_softmax", "cumsum", "cumprod", "sort", "topk", "cummax", "cummin", "logcumsumexp")
@_rule("_safe_softmax", "argsort", "renorm", "glu")
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
        _pieces(seen, note, axis, x.shape[axis], half, 0, 1, seen.said(func))
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


@_rule("max_pool1d", "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool2d")
@_rule("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
@_rule("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "upsample_nearest1d", "upsample_nearest2d")
@_rule("upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d", "mkldnn_max_pool2d")
@_rule("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d")
@_rule("_upsample_nearest_exact3d", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d")
@_rule("replication_pad2d", "replication_pad3d", "fractional_max_pool2d", "fractional_max_pool3d", "max_pool1d_with_indices")
@_rule("grid_sampler_2d", "grid_sampler_3d")
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


@_rule("native_layer_norm", "native_group_norm", "_fused_rms_norm")
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
    for parameter in _operands(args[1:], kwargs):
        mine = seen.note_of(parameter)
        for layer in mine.layers if mine is not None else ():
            seen.atoms.keep(layer.ids, f"{seen.said(func)} has statistics over it")
    seen.note(out[0] if isinstance(out, (tuple, list)) else out, Note(note.layers, False, note.examples))


@_rule("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "item", "sym_size", "empty_like", "zeros_like", "ones_like", "full_like")
@_rule("rand_like", "randn_like", "new_zeros", "new_ones", "new_empty", "new_full", "bernoulli", "randint_like", "set_", "resize_", "zero_")
@_rule("is_same_size", "_assert_async", "_assert_tensor_metadata", "new_empty_strided", "empty_strided", "isfinite", "isnan", "isinf")
def nothing(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    """What does not depend on the values of units, or is a number in Python afterwards."""


def _acts_alone(func: Any, args: tuple[Any, ...], kwargs: Any, out: Any) -> bool:
    """Whether an operation without a rule is pointwise, tried out: a change of one entry changes that entry alone."""
    if not isinstance(out, Tensor) or not out.is_floating_point() or func._schema.is_mutable or not out.numel():
        return False
    if not torch.equal(func(*args, **kwargs), out):  # it draws
        return False
    generator = torch.Generator().manual_seed(0)
    for i, x in enumerate(args):
        if not isinstance(x, Tensor):
            continue
        if x.shape != out.shape or not x.is_floating_point():
            return False
        for place in torch.randint(x.numel(), (4,), generator=generator).tolist():
            other = x.clone().reshape(-1)
            other[place] = other[place] * 1.5 + 0.5
            changed = func(*args[:i], other.reshape(x.shape), *args[i + 1 :], **kwargs) != out
            changed = changed.reshape(-1)
            changed[place] = False
            if bool(changed.any()):
                return False
    return True


def unknown(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    if _acts_alone(func, args, kwargs, out):
        pointwise(seen, func, args, kwargs, out)
        return
    notes = [n for n in (seen.note_of(x) for x in _operands(args, kwargs)) if n is not None]
    weight = _is_weight(notes)
    for note in notes:
        for layer in note.layers:
            if not layer.own:
                for axis in layer.axes:
                    seen.atoms.mix(layer.ids, axis, f"{seen.said(func)} may mix them")
                seen.atoms.keep(layer.ids, f"{seen.said(func)} may mix them")
            elif not weight:
                seen.atoms.keep(layer.ids, f"{seen.said(func)} uses it in a way that is not known")
    for y in tree_leaves(out):
        if isinstance(y, Tensor):
            seen.note(y, Note((), weight))
