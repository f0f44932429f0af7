"""Structures of a network (`Site`), where they lie and where noise goes (`Plan`), and what is left without some of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from activebmr.pruning.units.examples import Examples

__all__ = ["Plan", "Reading", "Site", "cost", "restricted"]


@dataclass(frozen=True)
class Site:
    """Structures of the same kind, one noise variable each.

    Attributes:
        name: of the layer that writes them first, or of the attention whose heads they are.
        n: number of structures.
        first: number of the first among the structures of all sites.
        layers: names of the layers that write them.
        readers: names of the layers that read them.
        parts: by tensor and axis ``(size,)``: which structure an index belongs to, or -1.
        rows: those of ``parts`` along which structures are written.
        heads: whether they are heads of an attention.
        stays: why structures that are removed stay in place, switched off; None if they go.
    """

    name: str
    n: int
    first: int
    layers: tuple[str, ...]
    readers: tuple[str, ...]
    parts: Mapping[tuple[str, int], np.ndarray] = field(repr=False)
    rows: tuple[tuple[str, int], ...] = field(repr=False)
    heads: bool = False
    stays: str | None = None


@dataclass(frozen=True)
class Reading:
    """Where noise multiplies: an argument of a module.

    Attributes:
        module: its name.
        place: position or keyword of the argument.
        units: along its axes (size 1 where they do not vary), the number of the structure, or -1.
        example_axis: axis of the argument along which examples lie, or None.
        inner: whether examples take turns along it (time outside) rather than lie in blocks.
    """

    module: str
    place: int | str
    units: Tensor
    example_axis: int | None
    inner: bool = False


@dataclass(frozen=True)
class Plan:
    """All that is known of a network's structures.

    Attributes:
        sites: by name.
        left_out: by layer, why it has no noise.
        readings: where noise multiplies arguments.
        by_hand: by parameter and axis ``(size,)``, structures whose noise multiplies the parameter itself, for all examples of
        a
            call alike.
        norms: by module: kind, axis from behind, what is added to variances (None: the module's), structures along the axis.
        parts: by tensor and axis, as in `Site`, for all sites together.
        columns: those of ``parts`` along which structures are read.
        sizes: sizes in the code of modules: module, size, structures that make it up, whether it is that of what it was given.
        work: floating-point operations: constant, and by axis its size and structures ``(size, k)``.
        shapes: sizes that calls in the code of modules name: module, whether in training mode, number of the call, axis,
            structures ``(size, k)``.
        examples: where examples lie in the inputs, or None.
        unseen: modules with weights that did not run with the example inputs.
    """

    sites: dict[str, Site]
    left_out: dict[str, str]
    readings: list[Reading]
    by_hand: dict[tuple[str, int], np.ndarray]
    norms: dict[str, tuple[str, int, float | None, np.ndarray]]
    parts: dict[tuple[str, int], np.ndarray]
    columns: set[tuple[str, int]]
    sizes: list[tuple[str, int, np.ndarray, bool]]
    work: list[tuple[int, list[np.ndarray]]]
    examples: Examples | None
    unseen: list[str] = field(default_factory=list)
    shapes: list[tuple[str, bool, int, int, np.ndarray]] = field(default_factory=list)

    @property
    def n(self) -> int:
        return sum(s.n for s in self.sites.values())


def restricted(plan: Plan, names: Iterable[str], left_out: Mapping[str, str] | None = None) -> Plan:
    """The plan with these sites alone.

    Args:
        left_out: reasons, by layer, for sites that are not among them.
    """
    sites: dict[str, Site] = {}
    new = np.full(plan.n + 1, -1)  # the last is for -1
    for name in names:
        site = plan.sites[name]
        first = sum(s.n for s in sites.values())
        new[site.first : site.first + site.n] = np.arange(first, first + site.n)
        sites[name] = replace(site, first=first)
    some = lambda units: bool((units >= 0).any())  # noqa: E731
    parts = {key: units for key, old in plan.parts.items() if some(units := new[old])}
    readings = [replace(r, units=units) for r in plan.readings if some(units := torch.from_numpy(new[r.units.numpy()]))]
    return replace(
        plan,
        sites=sites,
        left_out={**plan.left_out, **(left_out or {})},
        readings=readings,
        by_hand={key: units for key, old in plan.by_hand.items() if some(units := new[old])},
        norms={key: (*about, units) for key, (*about, old) in plan.norms.items() if some(units := new[old])},  # type: ignore[misc]
        parts=parts,
        columns={key for key in plan.columns if key in parts},
        sizes=[(module, size, new[old], given) for module, size, old, given in plan.sizes],
        work=[(c, [new[old] for old in axes]) for c, axes in plan.work],
        shapes=[(*where, new[old]) for *where, old in plan.shapes],  # type: ignore[misc]
    )


def cost(plan: Plan, net: nn.Module, of: str, alive: np.ndarray) -> float:
    """Structures, parameters or floating-point operations that are left.

    Args:
        alive: by structure (of all sites), whether it is left.
    """
    if of == "structures":
        return float(alive.sum())
    if of == "parameters":
        total = 0
        known: set[int] = set()
        for name, parameter in net.named_parameters():
            if id(parameter) not in known:
                known.add(id(parameter))
                total += math.prod(_left_along(plan.parts.get((name, a)), n, alive) for a, n in enumerate(parameter.shape))
        return float(total)
    return float(sum(c * math.prod(_left_of(units, alive) for units in axes) for c, axes in plan.work))


def _left_along(units: np.ndarray | None, n: int, alive: np.ndarray) -> int:
    return n if units is None else int(((units < 0) | alive[units]).sum())


def _left_of(units: np.ndarray, alive: np.ndarray) -> int:
    return int(((units < 0) | alive[units]).any(axis=1).sum())
