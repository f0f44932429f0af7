"""Valid calls of data, batches, metrics and networks of the pruning experiments."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from fuzzing_kinds import Example, Kind, Spoiled, Stranger, flag, number, place, thing, whole, word
from fuzzing_parts import call
from fuzzing_structures import X, Y, fresh, net
from fuzzing_tensors import function, network, pairs, spoiled_masks, tensor

from activebmr import pruning
from activebmr.pruning.data import batches
from activebmr.pruning.experiments import metrics
from activebmr.pruning.networks import families, for_structures, for_weights


def sizes(*, count: int | None = None, least: int = 1, empty: bool = False, names: tuple[str, ...] = ()) -> Kind:
    """Several whole numbers."""

    def spoil(valid: Any, rng: Any) -> Any:
        values = ["nothing", 1, 1.5, True, {}, Stranger(), None, torch.zeros(3), [valid]]
        yield Spoiled("nothing in it", [], not empty)
        yield from (Spoiled(repr(v)[:30], v) for v in values)
        at = int(rng.integers(len(valid)))
        for s in whole(least).spoil(1, rng):
            yield Spoiled(f"[{at}] is {s.label}", [*valid[:at], s.value, *valid[at + 1 :]], s.wrong)
        if count is not None:
            yield Spoiled("too few", valid[:-1])
            yield Spoiled("too many", [*valid, 1])

    return Kind(spoil, False, names)


@cache
def images() -> pruning.ImageData:
    return pruning.load_images("digits")


@cache
def rows() -> pruning.RegressionData:
    return pruning.load_regression("sine")


def loader() -> Any:
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=3)


def of_data() -> list[Example]:
    where = Kind(lambda v, r: (s for s in place(reads=True).spoil(v, r) if s.value is not None), True, ("folder", "path"))
    ready = lambda: batches.Batches((X, Y))  # noqa: E731
    return [
        call(
            "load_images",
            pruning.load_images,
            {"name": "digits", "folder": None, "validation": 0.2, "seed": 0},
            name=word(),
            validation=number(least=0.0, most=0.9),
            seed=whole(0),
        ),
        call("load_images files", pruning.load_images, {"name": "digits", "folder": "/"}, folder=_loose(where)),
        call(
            "load_regression",
            pruning.load_regression,
            {"name": "sine", "folder": None, "split": 0, "seed": 0},
            name=word(),
            split=whole(0, 9, optional=True),
            seed=whole(0),
        ),
        call("standardise_targets", pruning.standardise_targets, {"data": rows()}, data=thing(others=(images(),))),
        fresh(
            "Batches",
            lambda: (batches.Batches, {"data": (X, Y), "n_examples": None, "batch_to": None, "device": None, "name": "data"}),
            data=Kind(_any_targets, False, ("data", "inputs", "targets", "examples", "loader")),
            n_examples=whole(6, 6, optional=True),
            batch_to=function(),
            device=Kind(
                lambda v, r: (Spoiled(repr(x)[:30], x) for x in ("nothing", 1.5, True, [], {}, Stranger(), b"cpu")), True
            ),
            name=Kind(lambda v, r: (Spoiled(repr(x), x) for x in (1, None, [], True)), False),
        ),
        fresh("Batches.shuffled", lambda: (ready().shuffled, {"size": 2}), size=whole(1)),
        fresh("Batches.in_order", lambda: (ready().in_order, {"size": 2}), size=whole(1)),
        fresh("Batches.n_batches", lambda: (ready().n_batches, {"size": 2}), size=whole(1)),
        fresh(
            "Batches.new_epoch",
            lambda: (batches.Batches(loader()).new_epoch, {"epoch": 0, "seed": 0}),
            epoch=whole(0),
            seed=whole(0),
        ),
        call("device_of", batches.device_of, {"net": net()}, net=Kind(_modules, False, ("net",))),
        call(
            "length_of_batch",
            batches.length_of_batch,
            {"inputs": X, "targets": None},
            inputs=Kind(
                lambda v, r: (Spoiled(repr(x)[:30], x) for x in ("nothing", 1, True, [], {}, None, Stranger())),
                False,
                ("batches",),
            ),
        ),
    ]


def _loose(kind: Kind) -> Kind:
    """A folder that digits need not have."""
    return Kind(lambda v, r: (Spoiled(s.label, s.value, False) for s in kind.spoil(v, r)), True, kind.names)


def _any_targets(valid: Any, rng: Any) -> Any:
    """Data whose targets may be anything, and whose inputs may have any width."""
    fine = ("label", "wide", "whole", "triples", "loader of inputs", "complex")
    return (Spoiled(s.label, s.value, s.wrong and not any(w in s.label for w in fine)) for s in pairs().spoil(valid, rng))


def _modules(valid: Any, rng: Any) -> Any:
    fine = ("without parameters", "empty", "on meta", "nan in weights")
    return (Spoiled(s.label, s.value, s.wrong and s.label not in fine) for s in network(fits=False).spoil(valid, rng))


def of_metrics() -> list[Example]:
    alive = {"a": torch.tensor([[True, False], [True, True]])}
    return [
        *(
            call(f"metrics.{n}", getattr(metrics, n), {"alive": alive}, alive=spoiled_masks(names=("alive",), known=False))
            for n in ("sparsity", "sparsity_by_layer", "removable_structures")
        ),
        call(
            "metrics.student_t_log_density",
            metrics.student_t_log_density,
            {"y": torch.zeros(2), "location": torch.zeros(2), "alpha": torch.ones(2), "beta": torch.ones(2)},
            y=tensor(fixed=False),
            location=tensor(fixed=False),
            alpha=tensor(above=0.0, fixed=False),
            beta=tensor(above=0.0, fixed=False),
        ),
    ]


def of_networks() -> list[Example]:
    shape = {"shape": sizes(count=3, names=("channels", "height", "width", "sides"))}
    classes = {"classes": whole(1)}
    small = {"shape": (1, 8, 8), "classes": 3}
    image = {"data": thing(others=(rows(), "nothing there"))}
    dropout = {"dropout": number(least=0.0, most=0.9)}
    blocks = {n: whole(1) for n in ("width", "depth")}
    patch = {"patch": whole(1, names=("patch",))}
    heads = {"num_heads": whole(1, names=("width",))}
    v, w = for_structures, for_weights
    return [
        call(
            "networks.mlp",
            v.mlp,
            {"sizes": (3, 4, 2), "activation": torch.nn.Tanh},
            sizes=sizes(),
            activation=function(optional=False),
        ),
        call("networks.mlp_for", v.mlp_for, {"data": images()}, data=Kind(_images, False)),
        call(
            "network_named data",
            v.network_named,
            {"model": "mlp", "data": images()},
            model=word(),
            data=Kind(_images, False),
        ),
        call("network_named", pruning.network_named, {"model": "mlp", "data": "digits"}, model=word(), data=word()),
        call("networks.lenet5", v.lenet5, small, **shape, **classes),
        call(
            "networks.ResNet",
            v.ResNet,
            {"depths": (1, 1), "classes": 3, "channels": 1, "width": 2, "small": True},
            depths=sizes(),
            **classes,
            channels=whole(1),
            width=whole(1),
            small=flag(),
        ),
        call(
            "networks.resnet50",
            v.resnet50,
            {"classes": 3, "channels": 1, "width": 1, "small": True},
            **classes,
            channels=whole(1),
            width=whole(1),
            small=flag(),
        ),
        call(
            "networks.resnet_tiny",
            v.resnet_tiny,
            {"classes": 3, "channels": 1, "width": 2},
            **classes,
            channels=whole(1),
            width=whole(1),
        ),
        call("networks.Attention", v.Attention, {"width": 4, "num_heads": 2}, width=whole(1), **heads),
        call(
            "networks.VisionTransformer",
            v.VisionTransformer,
            {**small, "patch": 4, "width": 4, "depth": 1, "num_heads": 2, "hidden": 3, "pool": "mean"},
            **shape,
            **classes,
            **patch,
            **blocks,
            **heads,
            hidden=whole(1, optional=True),
            pool=word(),
        ),
        call("networks.vit", v.vit, {**small, "pool": "mean"}, **shape, **classes, pool=word()),
        call("networks.vit_tiny", v.vit_tiny, {**small, "pool": "mean"}, **shape, **classes, pool=word()),
        call(
            "networks.dense_network_named",
            w.dense_network_named,
            {"model": "mlp", "data": images(), "dropout": 0.1},
            model=word(),
            **image,
            **dropout,
        ),
        call(
            "networks.swish_mlp",
            w.swish_mlp,
            {**small, "hidden": (4, 4), "dropout": 0.1},
            shape=sizes(count=3, names=("channels", "height", "width")),
            **classes,
            hidden=sizes(empty=True, names=("sizes",)),
            **dropout,
        ),
        call("networks.tanh_lenet", w.tanh_lenet, {**small, "dropout": 0.1}, **shape, **classes, **dropout),
        call(
            "networks.small_vit",
            w.small_vit,
            {**small, "patch": 4, "width": 4, "depth": 1, "num_heads": 2, "mlp_ratio": 1, "dropout": 0.1},
            **shape,
            **classes,
            **patch,
            **blocks,
            **heads,
            mlp_ratio=whole(1),
            **dropout,
        ),
        *(
            call(
                f"networks.{n}",
                getattr(w, n),
                {**small, "patch": 4, "width": 4, "hidden": 3, "depth": 1, "tokens_hidden": 2, "dropout": 0.1},
                **shape,
                **classes,
                **patch,
                **blocks,
                hidden=whole(1),
                tokens_hidden=whole(1),
                **dropout,
            )
            for n in ("Mixer", "mixer")
        ),
        call("networks.GRU", w.GRU, {"n_in": 1, "n_hidden": 2}, n_in=whole(1), n_hidden=whole(1)),
        call(
            "networks.gru_network",
            w.gru_network,
            {"n_in": 1, "n_hidden": 2, "n_out": 1},
            n_in=whole(1),
            n_hidden=whole(1),
            n_out=whole(1),
        ),
        call(
            "networks.regression_mlp",
            w.regression_mlp,
            {"n_in": 1, "n_out": 1, "hidden": 2},
            n_in=whole(1),
            n_out=whole(1),
            hidden=whole(1),
        ),
        call("networks.resnet50_family", families.resnet50_family, {"full": False}, full=flag()),
    ]


def _images(valid: Any, rng: Any) -> Any:
    return (s for s in (*word().spoil("digits", rng), *thing(others=(rows(),)).spoil(valid, rng)))
