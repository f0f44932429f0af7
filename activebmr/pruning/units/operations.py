"""What an operation does to units: moves them, joins them place by place, reads them with weights, or mixes them.

One rule for each kind of operation of torch's ATen library, by name; pointwise operations are known by their tag, or by trying
them out. Any other operation is taken to mix all units that it is given, and they cannot go.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from activebmr.pruning.units.mixing import reduce
from activebmr.pruning.units.moving import move, select, take_slice, view
from activebmr.pruning.units.reading import contract_mm, convolve
from activebmr.pruning.units.rules import RULES, count, nothing, operands, pointwise, unknown

__all__ = ["apply_rule", "count"]


def apply_rule(seen: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
    """Note what an operation makes of the units of its inputs; ``seen`` is the `Follower`."""
    name = func._schema.name.removeprefix("aten::")
    does = RULES.get(name) or RULES.get(name.rstrip("_"))
    if does is None:
        does = pointwise if torch.Tag.pointwise in func.tags else unknown
    notes = [n for n in (seen.note_of(x) for x in operands(args, kwargs)) if n is not None]
    pending = tuple(dict.fromkeys(p for n in notes for p in n.pending))
    alone = all(n.pending or n.weight for n in notes)  # nothing but such numbers, weights and constants
    if does is nothing:
        return
    if pending and not (alone and does in (pointwise, move, view, reduce, select, take_slice)):
        count(seen, pending)
        pending = ()
    if does not in (move, view, contract_mm, convolve):
        for x in tree_leaves((args, kwargs)):
            found = seen.entry(seen.note_of(x))
            if found is not None:
                seen.impure.add(found.name)
    try:
        does(seen, func, args, kwargs, out)
    except Exception:  # a form of the operation that its rule does not know
        unknown(seen, func, args, kwargs, out)
    if pending:
        for x in tree_leaves(out):
            made = seen.note_of(x)
            if made is not None:
                more = tuple(p for p in pending if not any(p is q for q in made.pending))
                seen.note(x, replace(made, pending=made.pending + more))
