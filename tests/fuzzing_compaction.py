"""Valid calls of training with noise, compaction, its files, and weights that are held."""

from __future__ import annotations

from typing import Any

import torch
from fuzzing_kinds import Example, Kind, Spoiled, flag, number, place, thing, whole, word, words
from fuzzing_parts import call, folder
from fuzzing_structures import FEW, X, Y, criterion, fresh, net, noisy, noisy_thing, small
from fuzzing_tensors import example_inputs, function, network, pairs, tensor
from torch import nn

from activebmr import pruning


def of_training() -> list[Example]:
    return [
        call(
            "Training",
            pruning.Training,
            {
                "epochs": 1,
                "fine_tune": 0,
                "batch": 3,
                "lr": 1e-3,
                "noise_lr": 1e-2,
                "weight": 1.0,
                "warm_up": 0,
                "prune_from": 0,
                "schedule": "constant",
                "seed": 0,
            },
            epochs=whole(1),
            fine_tune=whole(0),
            batch=whole(1),
            lr=number(above=0.0),
            noise_lr=number(above=0.0),
            weight=number(least=0.0),
            warm_up=whole(0),
            prune_from=whole(0),
            schedule=word(),
            seed=whole(0),
        ),
        fresh(
            "fit",
            lambda: (
                pruning.fit,
                {
                    "model": noisy(),
                    "data": (X, Y),
                    "settings": FEW,
                    "loss": None,
                    "criterion": pruning.BMRS_N(),
                    "validation": (X, Y),
                    "batch_to": None,
                    "n_examples": None,
                    "checkpoint": None,
                    "progress": False,
                    "watch": None,
                },
            ),
            model=network(names=("criterion",)),
            data=pairs(),
            settings=thing(optional=True),
            loss=function(),
            criterion=criterion(optional=True),
            validation=pairs(optional=True),
            batch_to=function(names=("data",)),
            n_examples=whole(6, 6, optional=True, names=("data",)),
            checkpoint=Kind(
                lambda v, r: (s for s in place(reads=False).spoil(v, r) if s.value not in (None, "a.txt")),
                True,
                ("checkpoint", "path"),
            ),
            progress=flag(),
            watch=function(),
        ),
        fresh(
            "fit plain",
            lambda: (pruning.fit, {"model": net(), "data": (X, Y), "settings": FEW}),
            model=network(),
            data=pairs(),
        ),
        fresh(
            "fit numbers",
            lambda: (
                pruning.fit,
                {
                    "model": net(),
                    "data": (X, X[:, :2]),
                    "settings": FEW,
                    "loss": nn.functional.mse_loss,
                    "validation": (X, X[:, :2]),
                },
            ),
            data=numbers_too(),
            validation=numbers_too(optional=True),
        ),
        fresh(
            "accuracy",
            lambda: (pruning.accuracy, {"model": net(), "x": X, "y": Y, "batch": 4, "batch_to": None}),
            model=network(bare=True),
            x=tensor(names=("inputs", "data", "examples", "net", "model")),
            y=Kind(lambda v, r: _but(spoil_labels(v, r), "too large", "too small"), False, ("targets", "labels", "data")),
            batch=whole(1),
            batch_to=function(names=("data",)),
        ),
    ]


def numbers_too(**options: Any) -> Kind:
    """Data of numbers, of which the loss of torch takes whole ones too."""
    whole_ones = pairs(classes=None, **options)
    fine = "targets that are whole"
    return Kind(
        lambda v, r: (Spoiled(s.label, s.value, s.wrong and s.label != fine) for s in whole_ones.spoil(v, r)),
        True,
        (*whole_ones.names, "loss"),
    )


def spoil_labels(valid: Any, rng: Any) -> Any:
    from fuzzing_tensors import labels

    return labels(2).spoil(valid, rng)


def _but(spoiled: Any, *fine: str) -> Any:
    """Labels out of range are never right: no network says them."""
    return (Spoiled(s.label, s.value, s.wrong and s.label not in fine) for s in spoiled)


def of_compaction() -> list[Example]:
    two = {"example_inputs": example_inputs()}
    saved = pruning.save_compact(small(), folder() / "small")
    repeats = {"repeats": whole(1)}
    return [
        fresh("compact", lambda: (pruning.compact, {"noisy": noisy(), "example_inputs": X[:2]}), noisy=noisy_thing(), **two),
        fresh("structure_of", lambda: (pruning.structure_of, {"small": small()}), small=thing(others=(net(),))),
        fresh(
            "save_compact",
            lambda: (pruning.save_compact, {"small": small(), "folder": folder() / "again"}),
            small=thing(others=(net(),)),
            folder=Kind(
                lambda v, r: (s for s in place(reads=False).spoil(v, r) if s.value not in ("a.txt", "/")),
                False,
                ("folder", "path"),
            ),
        ),
        fresh(
            "load_compact",
            lambda: (pruning.load_compact, {"net": net(), "folder": saved, "example_inputs": X[:2]}),
            net=network(finite=False),
            folder=place(reads=True),
            example_inputs=example_inputs(optional=True),
        ),
        fresh(
            "measure",
            lambda: (pruning.measure, {"model": net(), "example_inputs": X[:2], "repeats": 1}),
            model=network(bare=True),
            **two,
            **repeats,
        ),
        fresh(
            "compare",
            lambda: (pruning.compare, {"before": net(), "after": net(), "example_inputs": X[:2], "repeats": 1}),
            before=network(bare=True, names=("before",)),
            after=network(bare=True, names=("after",)),
            **two,
            **repeats,
        ),
        fresh(
            "compaction_report",
            lambda: (
                pruning.compaction_report,
                {"noisy": noisy(), "small": small(), "example_inputs": X[:2], "repeats": 1},
            ),
            noisy=noisy_thing(),
            small=thing(others=(net(),)),
            **two,
            **repeats,
        ),
        fresh(
            "hold_weights",
            lambda: (pruning.hold_weights, {"net": net(), "weights": {}}),
            net=network(fits=False, finite=False, bare=True, names=("weights",)),
            weights=thing(
                optional=True,
                names=("weights", "mask", "weights"),
                others=({"0.weight": (torch.ones(4, 3), torch.ones(4, 3))}, {"0.weight": 1}, {"0.weight": (1, 2)}),
            ),
        ),
        fresh(
            "hold_weights held",
            lambda: (
                pruning.hold_weights,
                {"net": net(), "weights": {"0.bias": (torch.ones(4, dtype=torch.bool), torch.zeros(4))}},
            ),
            weights=_held(),
        ),
        fresh(
            "release_weights",
            lambda: (pruning.release_weights, {"net": net(), "names": ["0.bias"]}),
            net=network(fits=False, finite=False, bare=True),
            names=words(optional=True),
        ),
    ]


def _held() -> Kind:
    """Masks and values of a parameter."""
    yes, zero = torch.ones(4, dtype=torch.bool), torch.zeros(4)

    def spoil(valid: Any, rng: Any) -> Any:
        for value in (
            None,
            1,
            yes,
            (yes,),
            (yes, zero, zero),
            (zero, zero),
            (yes, yes.to("meta")),
            (yes[:2], zero),
            (yes, zero[:2]),
        ):
            yield Spoiled(f"{value!r}"[:30], {"0.bias": value})
        yield Spoiled("complex", {"0.bias": (yes, zero.to(torch.complex64))})
        yield Spoiled("nan", {"0.bias": (yes, zero / 0)})
        yield Spoiled("lists", {"0.bias": ([True] * 4, [0.0] * 4)}, False)
        yield Spoiled("another name", {"0.biass": (yes, zero)})

    return Kind(spoil, False, ("weights", "0.bias", "mask"))
