"""Valid calls of what prunes structures: noise, criteria and schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from fuzzing_kinds import Example, Kind, Spoiled, Stranger, flag, number, text, thing, whole, word, words
from fuzzing_parts import call
from fuzzing_tensors import example_inputs, function, generator, network, spoiled_masks, tensor
from torch import nn

from activebmr import pruning
from activebmr.pruning.structures.noise import TruncatedLogNormal

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 0, 1, 1, 0])
FEW = pruning.Training(epochs=1, fine_tune=0, batch=3, warm_up=0, prune_from=0)
Made = tuple[Callable[..., Any], dict[str, Any]]


def net() -> nn.Sequential:
    """Three inputs, four hidden units, two classes."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def noisy() -> pruning.NoisyModule:
    return pruning.attach_noise(net(), example_inputs=X[:2])


def small() -> nn.Module:
    held = noisy()
    held.remove({"0": torch.tensor([True, False, False, False])})
    return pruning.compact(held, X[:2])


def fresh(name: str, make: Callable[[], Made], /, **kinds: Kind) -> Example:
    """An example whose things are made anew for every call, because calls change them."""
    return Example(name, make, kinds)


def noisy_thing() -> Kind:
    return thing(names=("noisy",), others=(net(), noisy))


def criterion(*, optional: bool = False) -> Kind:
    values = ["bmrs-n", "nothing there", 1, 1.5, True, [], {}, Stranger(), pruning.BMRS_N, len, torch.zeros(3)]

    def spoil(valid: Any, rng: Any) -> Any:
        yield from (Spoiled(repr(v)[:30], v) for v in values)
        if not optional:
            yield Spoiled("None", None)

    return Kind(spoil, optional, ("criterion",))


def posterior() -> TruncatedLogNormal:
    return TruncatedLogNormal(torch.tensor([-1.0, 0.0]), torch.tensor([-2.0, 0.0]))


def of_noise() -> list[Example]:
    scoring = {"posterior": posterior(), "weights": torch.ones(2, 3)}
    of_scores = {"posterior": thing(), "weights": tensor(fixed=False, optional=True, finite=False, nan=True, names=("scores",))}
    criteria = {
        "BMRS_N": pruning.BMRS_N(),
        "BMRS_U": pruning.BMRS_U(),
        "MeanBelow": pruning.MeanBelow(),
        "SNRBelow": pruning.SNRBelow(),
        "L2Norm": pruning.L2Norm(),
        "RandomRank": pruning.RandomRank(),
    }
    q = posterior()
    loose = tensor(finite=False, nan=True)  # criteria say what has diverged; scores may be asked for their device alone
    of_posterior = Kind(lambda v, r: (Spoiled(s.label, s.value, s.wrong and s.label != "on meta") for s in loose.spoil(v, r)))
    named = {"name": text(), "decides": flag()}
    return [
        fresh(
            "attach_noise",
            lambda: (pruning.attach_noise, {"net": net(), "names": ["0"], "example_inputs": X[:2], "exclude": (), "draws": 4}),
            net=network(names=("names",)),
            names=words(optional=True),
            example_inputs=example_inputs(optional=True),
            exclude=words(),
            draws=whole(1, optional=True),
        ),
        fresh("NoisyModule.of", lambda: (noisy().of, {"name": "0"}), name=word()),
        fresh("NoisyModule.rows", lambda: (noisy().rows, {"name": "0"}), name=word()),
        fresh("NoisyModule.alive", lambda: (noisy().alive, {"masks": None}), masks=spoiled_masks(optional=True)),
        fresh(
            "NoisyModule.cost",
            lambda: (noisy().cost, {"of": "parameters", "alive": None}),
            of=word(),
            alive=spoiled_masks(optional=True),
        ),
        fresh("NoisyModule.cost_dense", lambda: (noisy().cost_dense, {"of": "flops"}), of=word()),
        fresh("NoisyModule.remove", lambda: (noisy().remove, {"dead": {}}), dead=spoiled_masks()),
        fresh("NoisyModule.scores", lambda: (noisy().scores, {"criterion": pruning.BMRS_N()}), criterion=criterion()),
        fresh(
            "NoisyModule.parameter_groups",
            lambda: (noisy().parameter_groups, {"lr": 0.1, "noise_lr": None}),
            lr=number(above=0.0),
            noise_lr=number(above=0.0, optional=True),
        ),
        call(
            "TruncatedLogNormal",
            TruncatedLogNormal,
            {"mu": q.mu, "log_sigma": q.log_sigma, "low": -20.0, "high": 0.0},
            mu=of_posterior,
            log_sigma=of_posterior,
            low=number(),
            high=number(),
        ),
        call("TruncatedLogNormal.log_prob", q.log_prob, {"x": torch.zeros(2)}, x=tensor(fixed=False, names=("x",))),
        call("TruncatedLogNormal.log_moment", q.log_moment, {"k": 1.0}, k=number()),
        call("TruncatedLogNormal.log_share", q.log_share, {"low": -2.0, "high": -1.0}, low=number(), high=number()),
        call(
            "TruncatedLogNormal.sample",
            q.sample,
            {"draws": 2, "generator": None},
            draws=whole(1, optional=True),
            generator=generator(),
        ),
        call("ReducedNormal", pruning.ReducedNormal, {"mean": -3.0, "sd": 1.0}, mean=number(), sd=number(above=0.0)),
        call("ReducedUniform", pruning.ReducedUniform, {"low": -3.0, "high": -1.0}, low=number(), high=number()),
        call(
            "log_evidence_ratio",
            pruning.log_evidence_ratio,
            {"posterior": q, "reduced": pruning.ReducedNormal(-3.0, 1.0)},
            posterior=thing(),
            reduced=thing(others=(pruning.ReducedNormal(5.0, 1.0), pruning.ReducedUniform(-30.0, -1.0))),
        ),
        call(
            "BMRS_N",
            pruning.BMRS_N,
            {"log_prior_odds": 0.0, "sd": 1e-6, "name": "a", "decides": True},
            log_prior_odds=number(),
            sd=number(above=0.0),
            **named,
        ),
        call(
            "BMRS_U",
            pruning.BMRS_U,
            {"p1": 8.0, "p2": 23.0, "log_prior_odds": 0.0, "from_end": False, "decides": True},
            p1=number(),
            p2=number(),
            log_prior_odds=number(),
            from_end=flag(),
            decides=flag(),
        ),
        call(
            "MeanBelow",
            pruning.MeanBelow,
            {"threshold": 0.1, "name": "a", "decides": True},
            threshold=number(above=0.0),
            **named,
        ),
        call(
            "SNRBelow", pruning.SNRBelow, {"threshold": 0.1, "name": "a", "decides": True}, threshold=number(above=0.0), **named
        ),
        call("L2Norm", pruning.L2Norm, {"name": "a", "decides": False}, **named),
        call(
            "RandomRank",
            pruning.RandomRank,
            {"seed": 0, "name": "a", "decides": False, "layer": "b"},
            seed=whole(0),
            **named,
            layer=text(),
        ),
        call("RandomRank.for_layer", pruning.RandomRank().for_layer, {"name": "a"}, name=Kind(text().spoil, False, ("layer",))),
        *(call(f"{n}.scores", c.scores, scoring, **of_scores) for n, c in criteria.items()),
        call(
            "criterion_for",
            pruning.criterion_for,
            {"criterion": pruning.RandomRank(), "layer": "a"},
            criterion=criterion(),
            layer=text(),
        ),
        call("criterion_named", pruning.criterion_named, {"name": "bmrs-n"}, name=word(names=("criterion",))),
    ]


def of_schedules() -> list[Example]:
    step = {"noisy": noisy_thing(), "criterion": criterion()}
    return [
        fresh("compression", lambda: (pruning.compression, {"noisy": noisy()}), noisy=noisy_thing()),
        fresh("Step.of", lambda: (pruning.Step.of, {"noisy": noisy()}), noisy=noisy_thing()),
        fresh("prune", lambda: (pruning.prune, {"noisy": noisy(), "criterion": pruning.BMRS_N()}), **step),
        fresh(
            "prune_share",
            lambda: (
                pruning.prune_share,
                {
                    "noisy": noisy(),
                    "criterion": pruning.BMRS_N(),
                    "share": 0.2,
                    "of": "parameters",
                    "multiple_of": 1,
                    "example_inputs": X[:2],
                },
            ),
            **step,
            share=number(least=0.0, most=0.9),
            of=word(),
            multiple_of=whole(1),
            example_inputs=Kind(
                lambda v, r: (Spoiled(s.label, s.value, False) for s in example_inputs(optional=True).spoil(v, r)),
                True,
                ("example_inputs",),
            ),
        ),
        fresh(
            "prune_share latency",
            lambda: (
                pruning.prune_share,
                {"noisy": noisy(), "criterion": pruning.BMRS_N(), "share": 0.0, "of": "latency", "example_inputs": X[:2]},
            ),
            example_inputs=example_inputs(),
        ),
        fresh(
            "prune_ranked",
            lambda: (
                pruning.prune_ranked,
                {
                    "noisy": noisy(),
                    "criterion": pruning.BMRS_N(),
                    "retrain": lambda n: None,
                    "at_once": 2,
                    "until": 0.0,
                    "judge": None,
                },
            ),
            **step,
            retrain=function(optional=False),
            at_once=whole(1, optional=True),
            until=number(finite=False),
            judge=function(),
        ),
    ]
