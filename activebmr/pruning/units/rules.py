"""What operations do to units, in general: rules by name, and what is done place by place.

A rule is called with the `Follower`, the operation, its arguments and what it returned, and notes what became of the units of
its inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from activebmr.pruning.units.notes import Layer, Note, aligned, compact, moved

__all__ = [
    "RULES",
    "count",
    "examples_of",
    "is_weight",
    "joined",
    "merged",
    "nothing",
    "operands",
    "pointwise",
    "rule",
    "unknown",
]

Rule = Callable[[Any, Any, tuple[Any, ...], dict[str, Any], Any], None]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def count(seen: Any, pending: Sequence[tuple[Tensor, int, str]]) -> None:
    """Mixtures that another tensor depends on."""
    for ids, axis, reason in pending:
        seen.atoms.mix(ids, axis, reason)


def operands(args: Any, kwargs: Any) -> list[Tensor]:
    return [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]


def examples_of(notes: Sequence[Note | None], ndim: int) -> Tensor | None:
    found = [n.examples for n in notes if n is not None and n.examples is not None]
    found = [x for x in found if x.dim() <= ndim]
    return aligned(found[0], ndim) if found else None


def is_weight(notes: Sequence[Note | None]) -> bool:
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
    """Layers of what is combined place by place (aligned from behind): joined, and kept whole along axes on which another
    operand has a size that cannot change.
    """
    held = [
        [Layer(aligned(x.ids, ndim), x.own) for x in note.layers if x.ids.dim() <= ndim] if note is not None else []
        for note in notes
    ]
    weight = is_weight(notes)
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
    """Entries of a weight go with the units that they meet; where units are spread over more axes than the weight has (a gain
    for each feature of a head, for all heads alike), it cannot be cut, and its axis is kept whole.
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


@rule(
    "where",
    "addcmul",
    "addcdiv",
    "lerp",
    "prelu",
    "_prelu_kernel",
    "rsub",
    "dropout",
    "masked_fill",
    "fill",
    "clamp",
    "glu_jvp",
)
def pointwise(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    results = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
    if not results:
        return
    given = [x for x in operands(args, kwargs) if x.dim() <= results[0].dim()]
    notes = [seen.note_of(x) for x in given]
    if func._schema.name in ("aten::_prelu_kernel", "aten::prelu"):  # its weight lies along axis 1
        notes, given = _prelu(notes, given)
    ndim = results[0].dim()
    layers = joined(seen, notes, [x.shape for x in given], ndim, seen.said(func))
    note = Note(tuple(layers), is_weight(notes), examples_of(notes, ndim))
    for x in results:
        if x.shape == results[0].shape:
            seen.note(x, note)


def _prelu(notes: list[Note | None], given: list[Tensor]) -> tuple[list[Note | None], list[Tensor]]:
    x, weight = given
    note = notes[1]
    if weight.dim() == 1 and x.dim() > 1 and note is not None:
        shape = [1, len(weight), *[1] * (x.dim() - 2)]
        weight = weight.reshape(shape)
        note = moved(note, given[1].shape, lambda ids: ids.reshape(shape))
    return [notes[0], note], [x, weight]


@rule("native_dropout")
def dropout(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    note = seen.note_of(args[0])
    if note is not None:
        for x in out:
            seen.note(x, Note(note.layers, note.weight, note.examples))


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
@rule(
    "_batch_norm_with_update", "_batch_norm_no_update", "batch_norm", "miopen_batch_norm", "_native_batch_norm_legit_functional"
)
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
    seen.note(out[0] if isinstance(out, (tuple, list)) else out, Note(tuple(layers), False, examples_of(notes, x.dim())))


# --- nothing, and anything ------------------------------------------------------------
@rule(
    "_local_scalar_dense",
    "nonzero",
    "is_nonzero",
    "equal",
    "item",
    "sym_size",
    "empty_like",
    "zeros_like",
    "ones_like",
    "full_like",
)
@rule(
    "rand_like",
    "randn_like",
    "new_zeros",
    "new_ones",
    "new_empty",
    "new_full",
    "bernoulli",
    "randint_like",
    "set_",
    "resize_",
    "zero_",
)
@rule(
    "is_same_size",
    "_assert_async",
    "_assert_tensor_metadata",
    "new_empty_strided",
    "empty_strided",
    "isfinite",
    "isnan",
    "isinf",
)
def nothing(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    """What does not depend on the values of units, or is a number in Python afterwards."""


def _acts_alone(func: Any, args: tuple[Any, ...], kwargs: Any, out: Any) -> bool:
    """Whether an operation without a rule is pointwise, tried out: a change of one entry changes that entry alone."""
    if not isinstance(out, Tensor) or not out.is_floating_point() or not out.numel():
        return False
    generator = torch.Generator().manual_seed(0)
    given = list(args)
    for i, x in enumerate(args):
        if isinstance(x, Tensor):
            if x.shape != out.shape or not x.is_floating_point():
                return False
            given[i] = torch.randn(x.shape, generator=generator).to(x.device, x.dtype)

    def result(changed: int | None = None, place: int = 0) -> Tensor:
        mine = [x.clone() if isinstance(x, Tensor) else x for x in given]  # it may work in place
        if changed is not None:
            mine[changed].view(-1)[place] = 1.5 * mine[changed].view(-1)[place] + 0.5
        found: Tensor = func(*mine, **kwargs).clone()
        return found

    base = result()
    if not torch.equal(base, result()):  # it draws
        return False
    for i, x in enumerate(given):
        for place in torch.randint(out.numel(), (4,), generator=generator).tolist() if isinstance(x, Tensor) else ():
            changed = (result(i, place) != base).reshape(-1)
            changed[place] = False
            if bool(changed.any()):
                return False
    return True


def unknown(seen: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    try:
        alone = _acts_alone(func, args, kwargs, out)
    except Exception:  # whatever an operation does with numbers that it does not expect
        alone = False
    if alone:
        pointwise(seen, func, args, kwargs, out)
        return
    first = seen.before[0] if seen.before is not None else None  # it may have changed in place
    notes = [n for n in (first, *(seen.note_of(x) for x in operands(args, kwargs))) if n is not None]
    weight = is_weight(notes)
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
