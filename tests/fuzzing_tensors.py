"""Kinds of arguments of the pruning API: tensors, labels, masks, networks and data, each with its malformed values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from fuzzing_kinds import Kind, Spoiled, Stranger, none_of
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

ABOUT_DATA = ("data", "inputs", "targets", "labels", "examples", "loader", "batches", "n_examples", "outputs", "net", "x", "y")


def put(base: Tensor, value: Any, rng: np.random.Generator) -> Tensor:
    """The same with one entry replaced."""
    out = base.detach().clone()
    if out.numel():
        out[tuple(int(rng.integers(n)) for n in out.shape)] = value
    return out


def strange(base: Tensor) -> Iterator[Spoiled]:
    """What is no tensor of the kind, whatever the kind."""
    shape = tuple(base.shape)
    yield Spoiled("a word", "nothing")
    yield Spoiled("words", np.full(shape, "a"))
    yield Spoiled("complex numbers", torch.ones(shape, dtype=torch.complex64))
    yield Spoiled("objects", np.full(shape, Stranger(), dtype=object))
    yield Spoiled("ragged", [[1.0, 2.0], [1.0]])
    yield Spoiled("a set", {1.0, 2.0})
    yield Spoiled("a dict", {"a": 1.0})
    yield Spoiled("a stranger", Stranger())
    yield Spoiled("on meta", torch.ones(shape, device="meta", dtype=base.dtype))
    yield Spoiled("a module", nn.Linear(2, 2))
    yield Spoiled("the class", torch.Tensor)
    if base.dim():
        yield Spoiled("sparse", torch.ones(shape).to(base.dtype).to_sparse())


def tensor(
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    finite: bool = True,
    fixed: bool = True,
    optional: bool = False,
    nan: bool = False,
    scalar: bool = False,
    names: tuple[str, ...] = (),
) -> Kind:
    """A tensor of real numbers."""

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        base = torch.as_tensor(valid).detach().double()
        yield from strange(base)
        yield Spoiled("nan", put(base, torch.nan, rng), not nan)
        yield Spoiled("inf", put(base, torch.inf, rng), finite)
        yield Spoiled("-inf", put(base, -torch.inf, rng), finite)
        yield Spoiled("truth values", torch.ones(base.shape, dtype=torch.bool))
        if least is not None:
            yield Spoiled("too small", put(base, least - float(rng.integers(1, 5)), rng))
        if above is not None:
            yield Spoiled("at the bound", put(base, above, rng))
            yield Spoiled("too small", put(base, above - float(rng.integers(1, 5)), rng))
        if most is not None:
            yield Spoiled("too large", put(base, most + 0.5, rng))
        yield Spoiled("nothing in it", torch.zeros(0), fixed)
        yield Spoiled("an axis more", base[None], fixed)
        if base.dim() and len(base) > 1:
            yield Spoiled("too few", base[:-1], fixed)
        if base.dim() and not scalar:
            yield Spoiled("one number", 0.5, fixed)
        yield Spoiled("an array", base.numpy(), False)
        yield Spoiled("half precision", base.half(), False)
        yield from none_of(optional)

    return Kind(spoil, optional, names)


def labels(classes: int, names: tuple[str, ...] = ()) -> Kind:
    """Class numbers."""

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        base = torch.as_tensor(valid)
        yield from strange(base)
        yield Spoiled("halves", base + 0.5)
        yield Spoiled("truth values", base > 0)
        yield Spoiled("too small", put(base, -int(rng.integers(1, 5)), rng))
        yield Spoiled("too large", put(base, classes - 1 + int(rng.integers(1, 5)), rng))
        yield Spoiled("nothing in it", base[:0])
        yield Spoiled("an axis more", base[None])
        yield Spoiled("too few", base[:-1])
        yield Spoiled("one number", 0)
        yield Spoiled("a list", base.tolist(), False)
        yield Spoiled("None", None)

    return Kind(spoil, False, (*names, "label", "labels", "targets"))


def mask(names: tuple[str, ...] = ()) -> Kind:
    """Truth values."""

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        base = torch.as_tensor(valid)
        yield from strange(base)
        yield Spoiled("whole numbers", base.long())
        yield Spoiled("numbers", base.double())
        yield Spoiled("nothing in it", base[:0])
        yield Spoiled("an axis more", base[None])
        yield Spoiled("too few", base[:-1])
        yield Spoiled("one value", True)
        yield Spoiled("a list", base.tolist(), False)
        yield Spoiled("None", None)

    return Kind(spoil, False, (*names, "mask"))


def spoiled_masks(names: tuple[str, ...] = (), *, optional: bool = False, known: bool = True) -> Kind:
    """A dict of masks by name; ``known`` if names and shapes are given by a network."""
    any_shape = ("an axis more", "too few")

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        key, held = next(iter((valid or {"0": torch.ones(4, dtype=torch.bool)}).items()))
        for one in mask().spoil(held, rng):
            yield Spoiled(f"{key}: {one.label}", {key: one.value}, one.wrong and (known or one.label not in any_shape))
        yield Spoiled("another name", {"nothing there": held}, known)
        yield Spoiled("a number as name", {1: held}, known)
        yield from (Spoiled(repr(v)[:30], v) for v in ("nothing", 1, True, 1.5, [held], Stranger(), held))
        yield from none_of(optional)

    return Kind(spoil, optional, (*names, "mask", "nothing there", "name"))


def network(*, fits: bool = True, names: tuple[str, ...] = (), finite: bool = True, bare: bool = False) -> Kind:
    """A module; ``fits`` if it is called with data beside it, ``bare`` if it needs no parameters."""

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        values = [
            None,
            "nothing",
            1,
            1.5,
            True,
            [],
            {},
            Stranger(),
            nn.Linear,
            len,
            torch.zeros(3),
            np.zeros(3),
            nn.Linear(2, 2).weight,
        ]
        yield from (Spoiled(repr(v)[:30], v) for v in values)
        yield Spoiled("without parameters", nn.Sequential(nn.Tanh()), not bare)
        yield Spoiled("empty", nn.Sequential(), not bare)
        yield Spoiled("on meta", nn.Sequential(nn.Linear(3, 4, device="meta"), nn.Linear(4, 2, device="meta")), fits)
        bad = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        bad[0].weight.data[0, 0] = torch.nan
        yield Spoiled("nan in weights", bad, finite)
        if fits:
            yield Spoiled("another width", nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)))
        yield Spoiled("in double", nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double(), False)
        frozen = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).requires_grad_(False)
        yield Spoiled("frozen", frozen, False)

    return Kind(spoil, False, ("net", "model", *ABOUT_DATA, "example_inputs", "parameters", *names))


def pairs(*, classes: int | None = 2, optional: bool = False, names: tuple[str, ...] = ()) -> Kind:
    """Inputs ``(n, 3)`` and targets ``(n,)`` (or, without classes, ``(n, n_out)``), or a loader of them."""

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        x, y = valid if valid is not None else (torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 0, 1]))
        loader = lambda *t, **o: DataLoader(TensorDataset(*t), **{"batch_size": 3, **o})  # noqa: E731
        values = ["nothing", 1, 1.5, True, [], {}, (), Stranger(), DataLoader, len, x, (x,), (x, y, y), {"x": x, "y": y}]
        yield from (Spoiled(repr(v)[:30], v) for v in values)
        yield Spoiled("a consumed generator", iter(()))
        yield Spoiled("examples one by one", list(zip(x, y, strict=True)))
        yield Spoiled("a data set", TensorDataset(x, y))
        yield Spoiled("arrays", (x.numpy(), y.numpy()))
        yield Spoiled("too few targets", (x, y[:-1]))
        yield Spoiled("no examples", (x[:0], y[:0]))
        yield Spoiled("nan in inputs", (put(x, torch.nan, rng), y))
        yield Spoiled("inf in inputs", (put(x, torch.inf, rng), y))
        yield Spoiled("complex inputs", (x.to(torch.complex64), y))
        yield Spoiled("sparse inputs", (x.to_sparse(), y))
        yield Spoiled("inputs on meta", (x.to("meta"), y))
        yield Spoiled("double inputs", (x.double(), y), False)
        yield Spoiled("whole inputs", (x.long(), y))
        yield Spoiled("wide inputs", (torch.cat([x, x], dim=1), y))
        yield Spoiled("words", (["a"] * len(x), y))
        yield Spoiled("None in it", (x, None))
        yield Spoiled("one number", (x[0, 0], y[0]))
        yield Spoiled("an empty loader", loader(x[:0], y[:0]))
        yield Spoiled("a loader that drops all", loader(x, y, batch_size=50, drop_last=True))
        yield Spoiled("a loader of inputs", loader(x))
        yield Spoiled("a loader of triples", loader(x, y, y))
        yield Spoiled("a loader of wide inputs", loader(torch.cat([x, x], dim=1), y))
        if classes is not None:
            yield Spoiled("labels that are no class", (x, put(y, classes + int(rng.integers(0, 4)), rng)))
            yield Spoiled("negative labels", (x, put(y, -1, rng)))
            yield Spoiled("labels that are numbers", (x, y.double()))
            yield Spoiled("labels that are truth values", (x, y > 0))
            yield Spoiled("labels of another shape", (x, y[:, None]))
            yield Spoiled("a loader of labels that are no class", loader(x, y + classes))
            yield Spoiled("a loader of labels that are numbers", loader(x, y.double()))
        else:
            yield Spoiled("nan in targets", (x, put(y, torch.nan, rng)))
            yield Spoiled("complex targets", (x, y.to(torch.complex64)))
            yield Spoiled("targets of another shape", (x, y[:, :1].expand(-1, 3)))
            yield Spoiled("targets that are whole", (x, y.long()))
        yield from none_of(optional)

    return Kind(spoil, optional, (*ABOUT_DATA, "validation", *names))


def example_inputs(*, optional: bool = False) -> Kind:
    """What a network of three inputs may be called with."""

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        values = ["nothing", 1, 1.5, True, [], {}, (), Stranger(), np.zeros((2, 3)), torch.Tensor, {"nothing_there": valid}]
        yield from (Spoiled(repr(v)[:30], v) for v in values)
        yield Spoiled("wide", torch.randn(2, 5))
        yield Spoiled("whole", torch.ones(2, 3, dtype=torch.long))
        yield Spoiled("complex", torch.ones(2, 3, dtype=torch.complex64))
        yield Spoiled("on meta", torch.ones(2, 3, device="meta"))
        yield Spoiled("nan", torch.full((2, 3), torch.nan))
        yield Spoiled("words", (["a", "b"],))
        yield Spoiled("two", (torch.randn(2, 3), torch.randn(2, 3)))
        yield Spoiled("none", torch.randn(0, 3), False)
        yield Spoiled("double", torch.randn(2, 3).double(), False)
        yield from none_of(optional)

    return Kind(spoil, optional, ("example_inputs", "inputs", "net"))


def generator() -> Kind:
    """Torch's source of random numbers, or None."""
    values = [0, 1.5, True, "nothing", {}, [], Stranger(), np.random.default_rng(0), torch.Generator, torch, torch.zeros(3)]
    return Kind(lambda valid, rng: (Spoiled(repr(v)[:30], v) for v in values), True, ("generator",))


def function(*, optional: bool = True, names: tuple[str, ...] = ()) -> Kind:
    """A function; of functions it is seen what they do only when they are called."""
    values = ["nothing", 1, 1.5, True, [], {}, Stranger(), torch.zeros(3)]

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        yield from (Spoiled(repr(v)[:30], v) for v in values)
        yield from none_of(optional)

    return Kind(spoil, optional, names)
