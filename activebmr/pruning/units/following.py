"""`follow`: run a network once on examples and see which of its weights stand and fall together.

Every operation that runs, whoever calls it (layers, functions, subclasses with forwards of their own, networks that branch on
values), is seen at the level at which torch executes it. Tensors carry notes of the units that lie along their axes
(`activebmr.pruning.units.notes`); an operation moves them, joins them, or mixes them, and a rule for each
(`activebmr.pruning.units.operations`) says which. What has no rule is taken to mix everything that it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from activebmr.pruning.data.batches import call
from activebmr.pruning.units.atoms import Atoms
from activebmr.pruning.units.examples import Examples
from activebmr.pruning.units.inputs import Inputs, tensors
from activebmr.pruning.units.norms import kind_of_norm
from activebmr.pruning.units.notes import Layer, NormRead, Note, Read, ShapeSeen, SizeSeen, View, Work, indices
from activebmr.pruning.units.operations import apply_rule, count
from activebmr.pruning.units.shapes import ShapeCalls

__all__ = ["Follower", "follow"]


@dataclass
class _Call:
    number: int
    name: str
    module: nn.Module
    inputs: dict[int | str, Tensor]
    norm: str | None = None
    shapes: int = 0  # calls that name sizes, so far


@dataclass(eq=False)
class Follower(TorchDispatchMode):  # type: ignore[misc]
    """What has been seen of a run.

    Attributes:
        atoms: of the network, joined.
        reads: tensors that enter modules which read them, by module.
        by_hand: parameters and the axis along which they are read other than by a module to which the units were handed.
        norms: normalisations over units.
        views, sizes, work, shapes: see there.
        called: modules that ran.
        impure: modules that did other things with what they were handed than read it.
        handed: by module, the weights that read what it was handed, and along which axis.
    """

    net: nn.Module
    atoms: Atoms
    reads: dict[str, list[Read]] = field(default_factory=dict)
    by_hand: set[tuple[str, int]] = field(default_factory=set)
    norms: dict[str, NormRead] = field(default_factory=dict)
    views: list[View] = field(default_factory=list)
    sizes: list[SizeSeen] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)
    shapes: list[ShapeSeen] = field(default_factory=list)
    called: set[str] = field(default_factory=set)
    impure: set[str] = field(default_factory=set)
    handed: dict[str, set[tuple[str, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self._notes: dict[Any, Note] = {}
        self._alive: list[Any] = []
        self._calls: list[_Call] = []
        self._count = 0
        self._paused = 0
        self._looking = False  # while this looks at modules itself
        self.before: tuple[Note | None, tuple[int, ...]] | None = None
        self.names = {id(m): name for name, m in self.net.named_modules()}
        self.first_names = {id(t): name for name, t in self.atoms.tensors.items()}
        for name, tensor in self.atoms.tensors.items():
            ndim = tensor.dim()
            layers = [
                Layer(indices(n, axis, ndim, self.atoms.of(name, axis)), own=True)
                for axis, n in enumerate(tensor.shape)
                if n > 1
            ]
            self.note(tensor, Note(tuple(layers), weight=True))

    def owners_by_name(self) -> dict[str, str]:
        """By tensor, the module that holds it."""
        return {name: name.rpartition(".")[0] for name in self.atoms.tensors}

    # --- notes ---------------------------------------------------------------------------------------------------------
    @staticmethod
    def _key(tensor: Tensor) -> Any:
        return tensor.untyped_storage()._cdata, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()

    def note_of(self, tensor: Any) -> Note | None:
        """What is known of a tensor; None if it was made of nothing but numbers."""
        return self._notes.get(self._key(tensor)) if isinstance(tensor, Tensor) and not tensor.is_sparse else None

    def note(self, tensor: Tensor, note: Note) -> None:
        storage = tensor.untyped_storage()
        self._alive.append(storage)  # so that nothing else comes to lie there
        self._notes[self._key(tensor)] = note

    # --- modules -------------------------------------------------------------------------------------------------------
    @property
    def here(self) -> str:
        """Name of the module whose code runs."""
        return self._calls[-1].name if self._calls else ""

    @property
    def module(self) -> nn.Module:
        return self._calls[-1].module if self._calls else self.net

    def said(self, func: Any) -> str:
        """An operation as users know it, and where it ran."""
        name = func._schema.name.removeprefix("aten::").strip("_") if hasattr(func, "_schema") else str(func)
        kind = type(self.module).__name__
        return f"{name} in {self.here!r} ({kind})" if self.here else name

    def entry(self, note: Note | None) -> _Call | None:
        """The call of the module that runs, if the tensor entered it."""
        found = self._calls[-1] if self._calls else None
        return found if found is not None and note is not None and note.entered == found.number else None

    def read(self, note: Note | None, own: Tensor, units: Tensor) -> None:
        """Weights ``own`` read ``units``: through the module that runs, to which they were handed, or by hand."""
        axis = self.atoms.axis_of(int(own.reshape(-1)[0]))
        entered = self.entry(note)
        tensor = self.atoms.tensors[axis.tensor]
        if (
            entered is None
            or not any(t is tensor for t in entered.module._parameters.values())
            or (next(entered.module.children(), None) is not None and not isinstance(entered.module, nn.MultiheadAttention))
        ):
            self.by_hand.add((axis.tensor, axis.axis))
            return
        self.handed.setdefault(entered.name, set()).add((axis.tensor, axis.axis))
        for place, given in entered.inputs.items():
            self._hand(entered.name, place, self.note_of(given), units)

    def _hand(self, module: str, place: int | str, note: Note | None, units: Tensor | None) -> None:
        held = self.reads.setdefault(module, [])
        for layer in note.layers if note is not None and units is not None else ():
            if not bool(torch.isin(layer.ids[layer.ids >= 0], units).any()):
                continue
            known = any(r.place == place and r.ids.shape == layer.ids.shape and torch.equal(r.ids, layer.ids) for r in held)
            if not layer.own and not known:
                held.append(Read(module, place, layer.ids, note.examples if note is not None else None))

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        with self._alone():
            self._entered(module, args, kwargs)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        was, self._looking = self._looking, True
        try:
            yield
        finally:
            self._looking = was

    def _entered(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._count += 1
        self.called.add(self.names.get(id(module), ""))
        inputs: dict[int | str, Tensor] = {i: a for i, a in enumerate(args) if isinstance(a, Tensor)}
        inputs |= {k: a for k, a in kwargs.items() if isinstance(a, Tensor)}
        made = _Call(self._count, self.names.get(id(module), ""), module, inputs)
        if self._paused == 0:
            for tensor in inputs.values():
                known = self.note_of(tensor)
                if known is not None:
                    self.note(tensor, replace(known, entered=made.number))
                    self.record_sizes(made.name, known, tensor.shape, given=True)
            made.norm = self._norm(module, inputs)
        self._calls.append(made)
        if made.norm is not None:
            self._paused += 1

    def record_sizes(self, module: str, note: Note, shape: Sequence[int], given: bool = False) -> None:
        """Sizes of axes along which units lie: a module may hold them in attributes of its own."""
        for layer in note.layers:
            for axis in layer.axes if not layer.own else ():
                ids = layer.ids.movedim(axis, 0)
                self.sizes.append(SizeSeen(module, int(shape[axis]), ids.reshape(len(ids), -1), given))

    def noted_shape(self, out: Any, axis: int) -> None:
        """A call in the module's own code has named sizes."""
        if self._looking:
            return
        if not self._calls:
            return
        call = self._calls[-1].shapes
        self._calls[-1].shapes += 1
        if self._paused:
            return
        parts = [out] if isinstance(out, Tensor) else list(out[:1])
        with self._alone():
            self._note_shape(parts, call)

    def _note_shape(self, parts: list[Tensor], call: int) -> None:
        for x in parts:
            note = self.note_of(x)
            for layer in note.layers if note is not None else ():
                for a in layer.axes if not layer.own else ():
                    if note is not None and note.examples is not None and note.examples.shape[a] > 1:
                        continue  # its size is not that of units alone
                    ids = layer.ids.movedim(a, 0)
                    self.shapes.append(ShapeSeen(self.here, call, a, ids.reshape(len(ids), -1), self.module.training))

    def _norm(self, module: nn.Module, inputs: dict[int | str, Tensor]) -> str | None:
        """The kind of a normalisation over units whose inside need not be followed."""
        first = next(iter(inputs.values()), None)
        note = self.note_of(first)
        if first is None or note is None or len(inputs) != 1:
            return None
        self._paused += 1
        try:
            return kind_of_norm(module, first)
        finally:
            self._paused -= 1

    def _leave(self, module: nn.Module, output: Any) -> None:
        with self._alone():
            self._left(module, output)

    def _left(self, module: nn.Module, output: Any) -> None:
        made = self._calls.pop()
        if made.norm is None:
            return
        self._paused -= 1
        ((place, x),) = made.inputs.items()
        kind, axis, *eps = made.norm.split()
        note = self.note_of(x)
        assert note is not None
        self._normalise(made, kind, int(axis), x.dim(), note, float(eps[0]) if eps else None)
        self._hand(made.name, place, note, self.norms[made.name].ids if made.name in self.norms else None)
        self.note(output, Note(note.layers, False, note.examples))

    def _normalise(self, made: _Call, kind: str, axis: int, ndim: int, note: Note, eps: float | None) -> None:
        """A normalisation along an axis (from behind) whose statistics can be corrected for units that go."""
        along = []
        for layer in [x for x in note.layers if x.varies(axis) and not x.own]:
            if layer.axes == [axis % ndim]:
                along.append(layer)
            else:  # the same for several heads: its statistics are those of each
                self.atoms.mix(layer.ids, axis % ndim, f"normalisation in {made.name!r} has statistics over them")
        for parameter in made.module._parameters.values():
            if parameter is None:
                continue
            ids = self.atoms.of(self.first_names[id(parameter)], 0)
            if not along:
                self.atoms.keep(ids, "it works on what cannot go")
            for layer in along:
                flat = layer.ids.movedim(axis, -1).reshape(-1, layer.ids.shape[axis])[0]
                self.atoms.join(flat, ids)
        for layer in along:
            flat = layer.ids.movedim(axis, -1).reshape(-1, layer.ids.shape[axis])[0]
            self.norms[made.name] = NormRead(made.name, kind, axis, flat, eps)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch would import its compiler (a second or more) to keep it away from a mode that it never sees."""
        return False

    # --- operations ----------------------------------------------------------------------------------------------------
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        before = [self.note_of(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        first = args[0] if args and isinstance(args[0], Tensor) else None
        self.before = None if first is None else (self.note_of(first), tuple(first.shape))  # an operation may turn its axes
        out = func(*args, **kwargs)
        if any(note is not None for note in before):
            self._paused += 1
            try:
                apply_rule(self, func, args, kwargs, out)
            finally:
                self._paused -= 1
        return out

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hooks on all modules, for the time of a run."""
        handles = []
        for module in self.net.modules():
            handles.append(
                module.register_forward_pre_hook(lambda m, args, kwargs: self._enter(m, args, kwargs), with_kwargs=True)
            )
            handles.append(module.register_forward_hook(lambda m, args, output: self._leave(m, output)))
        fast, there = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
        recurrent = any(isinstance(m, nn.RNNBase) for m in self.net.modules())
        try:
            torch.backends.mha.set_fastpath_enabled(False)  # it runs a whole layer as one operation
            if recurrent:  # and so do recurrent layers there
                torch.backends.mkldnn.set_flags(_enabled=False)
            yield
        finally:
            if recurrent:
                torch.backends.mkldnn.set_flags(_enabled=there)
            torch.backends.mha.set_fastpath_enabled(fast)
            for handle in handles:
                handle.remove()


def follow(net: nn.Module, inputs: Inputs, examples: Examples | None, atoms: Atoms | None = None) -> Follower:
    """Run a network in the mode in which it is, and note what hangs together.

    Args:
        inputs: what it is called with.
        examples: where examples lie in them; None for a single one.
        atoms: of the network, if other runs have been followed; new ones otherwise.

    Raises:
        whatever the network raises.
    """
    found = Follower(net, Atoms(net) if atoms is None else atoms)
    for module_name, module in net.named_modules():
        if is_parametrized(module):
            inside = f"{module_name}." if module_name else ""
            for name, tensor in found.atoms.tensors.items():
                if name.startswith(inside):
                    for axis in range(tensor.dim()):
                        found.atoms.keep(found.atoms.of(name, axis), f"weights of {module_name!r} are parametrised")

    places = {} if examples is None else examples.places
    numbers = iter(range(10**6))

    def given(x: Tensor) -> Tensor:
        x = x.clone()  # a place of its own
        axis = places.get(next(numbers))
        which = None if axis is None or examples is None else indices(examples.n, axis, x.dim())
        found.note(x, Note(examples=which))
        return x

    with torch.no_grad(), found.watching():
        inputs = tree_map_only(Tensor, given, inputs)
        with found, ShapeCalls(found.noted_shape):
            outputs = call(net, inputs)
    for tensor in tensors(outputs):
        note = found.note_of(tensor)
        count(found, note.pending if note is not None else ())
        for layer in note.layers if note is not None else ():
            found.atoms.keep(layer.ids, "they are outputs of the network")
    return found
