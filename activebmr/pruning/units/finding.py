"""`plan_of`: the structures of a network, from what running it has shown, and why others are left out.

A unit is a class of atoms (`activebmr.pruning.units.atoms`) that something writes and something reads; units that take the same
of the same weights are one site, with one noise variable each: the channels of a residual stream are one site, whoever writes
them, and so are the heads of an attention.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._pytree import tree_map_only

from activebmr.pruning.data.modes import evaluating
from activebmr.pruning.units.examples import Examples, examples_of
from activebmr.pruning.units.following import Follower, follow
from activebmr.pruning.units.inputs import Inputs, disturbed
from activebmr.pruning.units.notes import compact
from activebmr.pruning.units.plan import Plan, Reading, Site

__all__ = ["plan_of"]

_LAYERS = (
    *(nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.RNNCellBase),
    nn.MultiheadAttention,
)
"""What users expect to hear about when it has no noise."""


def plan_of(net: nn.Module, inputs: Inputs, exclude: tuple[str, ...] = ()) -> Plan:
    """Find the structures of a network by running it, in evaluation mode and in training mode.

    Raises:
        whatever the network raises when it is called with the inputs.
    """
    recurrent = any(isinstance(m, (nn.RNNBase, nn.RNNCellBase)) for m in net.modules())
    if recurrent and any(p.device.type == "cuda" for p in net.parameters()):  # there they run as one operation
        net, inputs = copy.deepcopy(net).cpu(), tree_map_only(Tensor, lambda x: x.cpu(), inputs)
    inputs, examples = examples_of(net, inputs)
    with evaluating(net):
        seen = follow(net, inputs, examples)
    _follow_training(net, inputs, examples, seen)
    for seed in range(4):  # inputs that take other ways through the network
        if _all_called(net, seen):
            break
        try:
            with evaluating(net):
                _merge(seen, follow(net, disturbed(inputs, seed=seed), examples, seen.atoms))
        except Exception:  # whatever user code does with inputs that it does not expect
            continue
    return _Planner(net, seen, examples, exclude).plan()


def _follow_training(net: nn.Module, inputs: Inputs, examples: Examples | None, seen: Follower) -> None:
    """What only training shows: further heads, other branches. A network that cannot be run in training on so little says
    nothing.
    """
    before = {name: b.clone() for name, b in net.named_buffers()}
    devices = {p.device for p in net.parameters() if p.device.type == "cuda"}
    try:
        with torch.random.fork_rng(devices=list(devices)), evaluating(net, True):
            other = follow(net, inputs, examples, seen.atoms)
    except Exception:  # BatchNorm with one value for each channel, losses that need targets
        return
    finally:
        with torch.no_grad():
            for name, b in net.named_buffers():
                if name in before and before[name].shape == b.shape:
                    b.copy_(before[name])
    _merge(seen, other)


def _all_called(net: nn.Module, seen: Follower) -> bool:
    return all(name in seen.called or next(m.parameters(recurse=False), None) is None for name, m in net.named_modules())


def _merge(seen: Follower, other: Follower) -> None:
    """What another run has shown beside. (Numbers of calls that name sizes are those of the first run in each mode.)"""
    seen.called |= other.called
    for module, reads in other.reads.items():
        seen.reads.setdefault(module, reads)
    for module, weights in other.handed.items():
        seen.handed[module] = seen.handed.get(module, set()) | weights
    seen.by_hand |= other.by_hand
    seen.impure |= other.impure
    known = {(s.module, s.training) for s in seen.shapes}
    seen.shapes += [s for s in other.shapes if (s.module, s.training) not in known]
    seen.views += other.views
    seen.sizes += other.sizes
    seen.norms = other.norms | seen.norms


class _Planner:
    def __init__(self, net: nn.Module, seen: Follower, examples: Examples | None, exclude: tuple[str, ...]) -> None:
        self.net, self.seen, self.atoms, self.examples, self.exclude = net, seen, seen.atoms, examples, exclude
        self._by_hand()
        self.roots = _settled(seen)
        self.kept = self.atoms.kept(self.roots)
        self.mixed = self.atoms.mixed(self.roots)
        # parameters of the network itself are called by their own name, parametrised ones belong to their layer
        self.module_of = {t: m.partition(".parametrizations.")[0] or t for t, m in seen.owners_by_name().items()}

    def _by_hand(self) -> None:
        """Modules that do more with what they are handed than read it: their weights are multiplied instead."""
        for module in self.seen.impure & set(self.seen.handed):
            inner = self.net.get_submodule(module)
            if isinstance(inner, (nn.MultiheadAttention, nn.RNNBase)):
                continue
            self.seen.by_hand |= self.seen.handed[module]
        for module, weights in list(self.seen.handed.items()):  # read in both ways: by hand everywhere
            if weights & self.seen.by_hand:
                self.seen.by_hand |= weights
                self.seen.reads.pop(module, None)

    # --- sites ---------------------------------------------------------------------------------------------------------
    def plan(self) -> Plan:
        good, why = self._classes()
        sites = self._grouped(good)
        number = np.full(self.atoms.n, -1)  # by atom, the structure
        first = 0
        made: dict[str, Site] = {}
        for classes in sites:
            for unit, atoms in enumerate(classes):
                number[atoms] = first + unit
            site = self._site(classes, first, set(made))
            made[site.name] = site
            first += site.n
        parts, columns = self._parts(number)
        by_hand = {key: parts[key] for key in self.seen.by_hand if key in parts}
        readings = self._readings(number)
        norms = {
            name: (r.kind, r.axis, r.eps, _numbers(number, r.ids)) for name, r in self.seen.norms.items() if _any(number, r.ids)
        }
        sizes = [(s.module, s.size, _numbers(number, s.ids), s.given) for s in self.seen.sizes]
        work = [(w.constant, [_numbers(number, ids) for ids in w.axes]) for w in self.seen.work]
        shapes = [(s.module, s.training, s.call, s.axis, _numbers(number, s.ids)) for s in self.seen.shapes]
        found = Plan(made, self._left_out(made, why), readings, by_hand, norms, parts, columns, sizes, work, self.examples)
        return replace(found, shapes=shapes, unseen=self._unseen_modules())

    def _classes(self) -> tuple[list[np.ndarray], dict[int, str]]:
        """Classes that can go; and why others cannot."""
        good, why = [], {}
        read_by_norms = np.zeros(self.atoms.n, dtype=bool)
        for norm in self.seen.norms.values():
            read_by_norms[norm.ids[norm.ids >= 0].numpy()] = True
        for root, atoms in self.atoms.classes(self.roots):
            written, read = self.atoms.written[atoms], self.atoms.read[atoms]
            if not written.any():
                continue
            if root in self.kept:
                why[root] = self.kept[root]
            elif not read.any():
                why[root] = "no layer reads them"
            elif (both := self._tied(atoms[written], atoms[read])) is not None:
                why[root] = f"{both} both writes and reads them (tied weights)"
            else:
                good.append(atoms)
        return good, why

    def _tied(self, written: np.ndarray, read: np.ndarray) -> str | None:
        both = np.intersect1d(written, read)
        return repr(self.atoms.axis_of(int(both[0])).tensor) if len(both) else None

    def _grouped(self, classes: list[np.ndarray]) -> list[list[np.ndarray]]:
        """Classes that take equally much of the same weights, in the order of what they are written by."""
        groups: dict[Any, list[np.ndarray]] = {}
        starts = np.array([a.first for a in self.atoms.axes])
        for atoms in classes:
            axes, counts = np.unique(np.searchsorted(starts, atoms, side="right") - 1, return_counts=True)
            groups.setdefault((tuple(axes), tuple(counts)), []).append(atoms)
        return [g for g in groups.values() if len(g) > 1 and not self._excluded(g)]

    def _excluded(self, group: list[np.ndarray]) -> bool:
        names = {self.module_of[self.atoms.axis_of(int(a)).tensor] for a in group[0] if self.atoms.written[a]}
        return any(n == e or n.startswith(f"{e}.") for n in names for e in self.exclude)

    def _site(self, classes: list[np.ndarray], first: int, taken: set[str]) -> Site:
        axes: dict[tuple[str, int], np.ndarray] = {}
        rows, layers, readers = [], [], []
        for unit, atoms in enumerate(classes):
            for atom in atoms:
                axis = self.atoms.axis_of(int(atom))
                key = axis.tensor, axis.axis
                if not axis.tensor:
                    continue
                if key not in axes:
                    axes[key] = np.full(axis.size, -1)
                    if self.atoms.written[atom]:
                        rows.append(key)
                        layers.append(self.module_of[axis.tensor])
                    if self.atoms.read[atom]:
                        readers.append(self.module_of[axis.tensor])
                axes[key][atom - axis.first] = unit
        layers, readers = list(dict.fromkeys(layers)), list(dict.fromkeys(readers))
        attention = self._attention(layers, readers) if (axes[rows[0]] == 0).sum() > 1 else None
        name = base = attention or layers[0]
        k = 2
        while name in taken:
            name, k = f"{base}:{k}", k + 1
        return Site(name, len(classes), first, tuple(layers), tuple(readers), axes, tuple(rows), attention is not None)

    def _attention(self, layers: list[str], readers: list[str]) -> str | None:
        """The attention that layers are queries, keys and values of, and readers its output."""
        shared = list(
            takewhile(lambda parts: len(set(parts)) == 1, zip(*(n.split(".") for n in (*layers, *readers)), strict=False))
        )
        common = ".".join(parts[0] for parts in shared)
        module = dict(self.net.named_modules()).get(common)
        if not common or module is None:
            return None
        heads = any("head" in key and isinstance(value, int) for key, value in vars(module).items())
        return common if heads else None

    # --- places --------------------------------------------------------------------------------------------------------
    def _parts(self, number: np.ndarray) -> tuple[dict[tuple[str, int], np.ndarray], set[tuple[str, int]]]:
        parts, columns = {}, set()
        for axis in self.atoms.axes:
            if not axis.tensor:
                continue
            mine = number[axis.first : axis.first + axis.size]
            if (mine >= 0).any():
                parts[axis.tensor, axis.axis] = mine
                if (self.atoms.read[axis.first : axis.first + axis.size] & (mine >= 0)).any():
                    columns.add((axis.tensor, axis.axis))
        return parts, columns

    def _readings(self, number: np.ndarray) -> list[Reading]:
        out = []
        for module, reads in self.seen.reads.items():
            by_place: dict[Any, list[Reading]] = {}
            for read in reads:
                units = compact(torch.from_numpy(_numbers(number, read.ids)))
                if (units >= 0).any():
                    axis, inner = _example_axis(read.examples, None if self.examples is None else self.examples.n)
                    found = Reading(module, read.place, units, axis, inner)
                    known = by_place.setdefault(read.place, [])
                    if not any(r.units.shape == units.shape and torch.equal(r.units, units) for r in known):
                        known.append(found)
            for found_ in by_place.values():
                out += found_
        return out

    def _left_out(self, sites: dict[str, Site], why: dict[int, str]) -> dict[str, str]:
        """By layer that writes units none of which is in a site, the reason."""
        inside = {name for s in sites.values() for name in s.layers}
        out: dict[str, str] = {}
        for axis in self.atoms.axes:
            if not axis.tensor:
                continue
            module = self.module_of[axis.tensor]
            mine = slice(axis.first, axis.first + axis.size)
            if module in inside or not self.atoms.written[mine].any() or module in out:
                continue
            out[module] = self._reason(self.roots[mine], why, module)
        for name, module in self.net.named_modules():
            kinds = (
                nn.Linear,
                nn.modules.conv._ConvNd,
                nn.Embedding,
                nn.EmbeddingBag,
                nn.RNNBase,
                nn.MultiheadAttention,
                nn.Bilinear,
            )
            if isinstance(module, kinds) and name not in inside | out.keys():
                inner = any(n.startswith(f"{name}.") for n in inside | out.keys())
                if not inner and not any(s == name for s in sites):
                    out[name] = self._reason(np.array([], dtype=int), why, name)
        return out

    def _reason(self, roots: np.ndarray, why: dict[int, str], module: str) -> str:
        if any(module == e or module.startswith(f"{e}.") for e in self.exclude):
            return "it is excluded"
        told = [why[r] for r in roots if r in why]
        mixed = [self.mixed[r] for r in roots if r in self.mixed]
        if len(roots) == 1:
            return "it has one unit"
        if len(set(roots)) == 1 and mixed:
            return mixed[0]
        if told:
            return max(set(told), key=told.count)
        if mixed:
            return mixed[0]
        if len(roots) == 0:
            return self._unseen(module)
        return "its units are joined to those of other layers that cannot go"

    def _unseen_modules(self) -> list[str]:
        """Modules with weights that did not run: where they read units is not known."""
        return [
            name
            for name, m in self.net.named_modules()
            if name not in self.seen.called and next(m.parameters(recurse=False), None) is not None
        ]

    def _unseen(self, module: str) -> str:
        """Why a layer writes nothing."""
        if is_parametrized(self.net.get_submodule(module)):
            return "its weights are parametrised"
        mine = dict(self.net.get_submodule(module).named_parameters(recurse=False))
        for parameter in mine.values():
            first = self.seen.first_names[id(parameter)].rpartition(".")[0]
            if first != module:
                return f"its weights are those of {first!r}"
        if any(getattr(self.net.get_submodule(module), key, 0) == 1 for key in ("out_features", "out_channels")):
            return "it has one unit"
        if module in self.seen.called:
            return "what it does with its weights cannot be followed"
        return "it was not called with the example inputs"


def _any(number: np.ndarray, ids: Tensor) -> bool:
    return bool((_numbers(number, ids) >= 0).any())


def _numbers(number: np.ndarray, ids: Tensor) -> np.ndarray:
    flat = ids.numpy()
    return np.where(flat >= 0, number[np.maximum(flat, 0)], -1)


def _example_axis(examples: Tensor | None, n: int | None) -> tuple[int | None, bool]:
    """Along which axis examples lie, and whether they take turns there; None if they lie in another way, or not all."""
    if examples is None or n is None:
        return None, False
    axes = [a for a, n in enumerate(examples.shape) if n > 1]
    if len(axes) != 1:
        return None, False
    flat = examples.reshape(-1)
    if len(flat) % n:
        return None, False
    numbers, times = torch.arange(n), len(flat) // n
    if torch.equal(flat, numbers.repeat_interleave(times)):
        return axes[0], False
    return (axes[0], True) if torch.equal(flat, numbers.repeat(times)) else (None, False)


# --- units spread over several axes -------------------------------------------------------------------------------------------
def _settled(seen: Follower) -> np.ndarray:
    """Classes, after what a view spreads over several axes has been joined so that a block is left whatever goes."""
    views = {(tuple(v.ids.shape), v.ids.numpy().tobytes()): v for v in seen.views}
    for _ in range(len(views) + 2):
        roots = seen.atoms.roots()
        changed = False
        for v in views.values():
            axis = _to_join(roots, v.ids)
            if axis is not None:
                for other in range(v.ids.dim()):
                    if other != axis:
                        seen.atoms.join_along(v.ids, other)
                changed = True
                break
        if not changed:
            return roots
    return seen.atoms.roots()


def _to_join(roots: np.ndarray, ids: Tensor) -> int | None:
    """The axis along which alone units may differ; None if they already do so along one axis at most."""
    flat = ids.numpy()
    found = np.where(flat >= 0, roots[np.maximum(flat, 0)], -1)
    axes = [a for a, n in enumerate(found.shape) if n > 1]
    varying = [a for a in axes if (found != found.take([0], axis=a)).any()]
    if len(varying) < 2:
        return None
    return max(varying, key=lambda a: (_left(found, a), -a))


def _left(found: np.ndarray, axis: int) -> int:
    """How many classes there are if what has the same index along an axis is one."""
    rows = np.moveaxis(found, axis, 0).reshape(found.shape[axis], -1)
    which, place = np.unique(rows, return_inverse=True)
    n = len(rows)
    index = np.repeat(np.arange(n), rows.shape[1])
    good = rows.reshape(-1) >= 0
    edges = (np.ones(good.sum()), (index[good], n + place.reshape(-1)[good]))
    size = n + len(which)
    return int(connected_components(coo_array(edges, shape=(size, size)), directed=False)[0])
