"""Operations that read units with weights, and write others: products of matrices, convolutions, embeddings, attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from activebmr.pruning.units.notes import Layer, Note, Work, compact, moved
from activebmr.pruning.units.rules import examples_of, is_weight, joined, rule, unknown

__all__ = ["contract_mm", "convolve"]


@rule("mm", "bmm", "addmm", "baddbmm", "mv", "dot", "addmv", "linear", "addbmm", "vdot")
def contract_mm(seen: Any, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
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
    seen.work.append(
        Work(2, tuple(axis_ids(spread, a, n) for a, n in enumerate([*x.shape[: batch + 1], y.shape[-1], x.shape[-1]])))
    )
    layers = contracted(seen, spread, [shape_x, shape_y], seen.said(func))
    weight = is_weight(notes)
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


def axis_ids(notes: Sequence[Note | None], axis: int, n: int) -> Tensor:
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
        real = [x for x in mine.layers if x.varies(last) and not x.own]
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
            made = other is not None and other.weight
            for layer in real:
                why = "reads them with weights that are made in another way" if made else "sums over them"
                seen.atoms.mix(layer.ids, last, f"{what} {why}")
            for layer in own:
                seen.atoms.keep(layer.ids, f"{what} uses it in another way")
    if all(n is not None and n.weight for n in notes):  # weights that are made of weights
        for note in notes:
            for layer in note.layers if note is not None else ():
                if layer.varies(last):
                    seen.atoms.keep(layer.ids, f"{what} makes weights of it")
    weight = is_weight(notes)
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
        left.append(Note(tuple(layers), weight, note.examples))
    flat = [[*s[:last], 1] for s in shapes]
    return joined(seen, left, flat, last + 1, what)


def _one_weight(notes: Sequence[Note | None], mine: Note, last: int) -> bool:
    """Whether the other operand is a weight that reads units along the last axis: what is left of them lies there no more."""
    return any(n is not None and n is not mine and n.weight and any(x.varies(last) for x in n.layers) for n in notes)


@rule(
    "convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution", "convolution_overrideable", "_slow_conv2d_forward"
)
@rule(
    "slow_conv3d_forward", "_nnpack_spatial_convolution", "thnn_conv2d", "_conv_depthwise2d", "conv_depthwise3d", "slow_conv3d"
)
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


def _conv_work(
    seen: Any, x: Tensor, weight: Tensor, out: Tensor, rows: Any, columns: Any, result: Any, transposed: bool
) -> None:
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


@rule("embedding")
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
    if examples is not None and (examples.dim() != out.dim() or len(examples) > len(out)):
        examples = None
    seen.note(out, Note(layers, False, examples))


@rule("_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    """The mean or sum of rows, as many for each bag."""
    note, result = seen.note_of(args[1]), out[0]
    embedding(seen, func, args, kwargs, result)
    if note is not None and note.examples is not None and len(note.examples) % len(result) == 0:
        first = note.examples.reshape(len(result), -1)[:, :1]
        seen.note(result, replace(seen.note_of(result), examples=first))


@rule(
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
)
@rule("_scaled_dot_product_cudnn_attention", "_scaled_dot_product_attention_math", "scaled_dot_product_attention")
@rule("_scaled_dot_product_fused_attention_overrideable", "_scaled_dot_product_attention_math_for_mps")
def attend(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
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
    which = axis_ids([Note(tuple(layers))], 1, heads)
    rest = q.shape[0] * q.shape[2] * k.shape[2]
    seen.work.append(Work(2 * rest * (q.shape[3] + v.shape[3]), (which,)))
    seen.note(result, Note(tuple(layers), False, examples_of(parts, 4)))
