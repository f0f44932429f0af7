"""Valid calls of posteriors over weights and of likelihoods."""

from __future__ import annotations

from typing import Any

import torch
from fuzzing_kinds import Example, Kind, Spoiled, Stranger, flag, none_of, number, place, thing, whole, word, words
from fuzzing_parts import call
from fuzzing_structures import X, Y, fresh, net
from fuzzing_tensors import function, generator, labels, mask, network, tensor
from torch import Tensor

from activebmr import pruning

TARGETS = X[:, :2].clone()
FEW = pruning.WeightTraining(epochs=1, retrain=1, rounds=1, batch=3, samples=2)


def bayes(inference: str = "bbb-local") -> pruning.BayesianModule:
    return pruning.attach_posterior(net(), inference, n_examples=6)


def tables() -> dict[str, Tensor]:
    return {n: p.detach() for n, p in net().named_parameters()}


def weights() -> pruning.WeightPosterior:
    return pruning.WeightPosterior(tables())


def bayes_thing() -> Kind:
    return thing(names=("bayes",), others=(net(), bayes))


def likelihood(*, named: bool = False) -> Kind:
    values = ["nothing there", 1, 1.5, True, [], {}, Stranger(), pruning.Categorical, len, None, torch.zeros(3)]
    values += [] if named else ["categorical"]
    return Kind(lambda v, r: (Spoiled(repr(x)[:30], x) for x in values), False, ("likelihood",))


def weight_criterion(*, optional: bool = True, named: bool = False) -> Kind:
    values = ["nothing there", 1, 1.5, True, [], {}, Stranger(), pruning.ByEvidence, len, torch.zeros(3), pruning.BMRS_N()]

    def spoil(valid: Any, rng: Any) -> Any:
        yield from (Spoiled(repr(v)[:30], v) for v in values)
        if not optional:
            yield Spoiled("None", None)

    return Kind(spoil, optional, ("criterion", "method"))


def variances(*, by_name: bool = True) -> Kind:
    """A variance, or variances by name."""

    def spoil(valid: Any, rng: Any) -> Any:
        for s in number(above=0.0).spoil(1.0, rng):
            yield s
            yield Spoiled(f"0.bias: {s.label}", {"0.bias": s.value})
        yield Spoiled("another name", {"nothing there": 1.0})

    return Kind(spoil, False, ("prior_variance", "nothing there", "prior_mean"))


def pair_of(
    *, least: float | None = None, below: float | None = None, above: float | None = None, optional: bool = False
) -> Kind:
    """Two numbers."""

    def spoil(valid: Any, rng: Any) -> Any:
        yield from (Spoiled(repr(v)[:30], v) for v in ("nothing", 1, 1.5, True, [], (1.0,), (0.1, 0.2, 0.3), Stranger()))
        yield from none_of(optional)
        for s in number(least=least, above=above).spoil(0.5, rng):
            yield Spoiled(f"first is {s.label}", (s.value, valid[1]), s.wrong)
        if below is not None:
            yield Spoiled("at the upper bound", (valid[0], below))

    return Kind(spoil, False)


def file(*, names: tuple[str, ...] = ()) -> Kind:
    """A path of a file that is written."""
    return Kind(
        lambda v, r: (s for s in place(reads=False).spoil(v, r) if s.value not in (None, "a.txt")), True, ("path", *names)
    )


def flat_vector() -> Kind:
    """Weights in one vector; masks have that form as well."""
    fine = ("truth values",)
    return Kind(
        lambda v, r: (
            Spoiled(s.label, s.value, s.wrong and s.label not in fine) for s in tensor(finite=False, nan=True).spoil(v, r)
        )
    )


def of_posteriors() -> list[Example]:
    parameters = Kind(
        lambda v, r: [
            *thing().spoil(v, r),
            *(Spoiled(f"0.bias: {s.label}", {"0.bias": s.value}, s.wrong) for s in tensor(fixed=False).spoil(v["0.bias"], r)),
        ],
        False,
        ("parameters", "0.bias", "variance"),
    )
    n = len(weights().alive)
    prior = {"prior_variance": 1.0, "prior_mean": {"0.bias": 0.0}}
    of_prior = {
        "prior_variance": variances(),
        "prior_mean": Kind(
            lambda v, r: [
                *(s for s in thing(optional=True, anything=True).spoil(v, r)),
                *(Spoiled(f"0.bias: {s.label}", {"0.bias": s.value}, s.wrong) for s in number().spoil(0.0, r)),
                Spoiled("another name", {"nothing there": 1.0}, False),
            ],
            True,
            ("prior_mean", "nothing there"),
        ),
    }
    given = {"parameters": tables(), **prior, "variance": torch.ones(n)}
    kinds = {"parameters": parameters, **of_prior, "variance": tensor(above=0.0, optional=True)}
    made = {"WeightPosterior": weights, "MeanField": lambda: pruning.MeanField(tables())}
    made["NaturalGaussian"] = lambda: pruning.NaturalGaussian(tables(), n_examples=6)
    lr = {"lr": number(above=0.0)}
    natural = lambda: bayes("ivon").posterior  # noqa: E731
    several: list[Example] = []
    for name, make in made.items():
        several += [
            fresh(f"{name}.sample", lambda m=make: (m().sample, {"generator": None}), generator=generator()),
            fresh(f"{name}.split", lambda m=make: (m().split, {"flat": torch.zeros(n)}), flat=flat_vector()),
            fresh(f"{name}.remove", lambda m=make: (m().remove, {"mask": torch.zeros(n, dtype=torch.bool)}), mask=mask()),
        ]
    for name, make in (("BayesianModule", bayes), ("HorseshoeModule", lambda: pruning.HorseshoeModule(net()))):
        several += [
            fresh(f"{name}.draw_weights", lambda m=make: (m().draw_weights, {"generator": None}), generator=generator()),
            fresh(
                f"{name}.remove",
                lambda m=make: (m().remove, {"mask": torch.zeros(n, dtype=torch.bool), "optimizer": None}),
                mask=mask(),
                optimizer=thing(optional=True),
            ),
            fresh(
                f"{name}.write_means",
                lambda m=make: (m().write_means, {"hold": True}),
                hold=Kind(lambda v, r: (s for s in flag().spoil(v, r) if s.value is not None), True),
            ),
            fresh(f"{name}.optimizer", lambda m=make: (m().optimizer, {"lr": 0.1}), lr=number(above=0.0, optional=True)),
            fresh(
                f"{name}.predict",
                lambda m=make: (m().predict, {"x": X, "samples": 2, "seed": 0, "batch": 4}),
                x=tensor(fixed=False, names=("inputs", "net")),
                samples=whole(1),
                seed=whole(0),
                batch=whole(1),
            ),
            fresh(
                f"{name}.with_weights",
                lambda m=make: (lambda flat: m().with_weights(flat, X), {"flat": torch.zeros(n)}),
                flat=tensor(finite=False, nan=True),
            ),
        ]
    return [
        fresh(
            "attach_posterior",
            lambda: (
                pruning.attach_posterior,
                {"net": net(), "inference": "bbb-local", "prior_variance": 1.0, "sd": 0.1, "names": ["0.bias"]},
            ),
            net=network(fits=False, names=("names",)),
            inference=word(),
            prior_variance=variances(),
            sd=number(above=0.0, optional=True),
            names=words(optional=True),
        ),
        fresh(
            "attach_posterior ivon",
            lambda: (pruning.attach_posterior, {"net": net(), "inference": "ivon", "n_examples": 6, "hessian": 0.1}),
            n_examples=whole(1),
            hessian=number(above=0.0),
        ),
        call(
            "BayesianModule",
            lambda **more: pruning.BayesianModule(net(), **more),
            {"posterior": weights(), "inference": "bbb-global"},
            posterior=thing(),
            inference=word(),
        ),
        call("WeightPosterior", pruning.WeightPosterior, given, **kinds),
        call("MeanField", pruning.MeanField, given, **kinds),
        call(
            "NaturalGaussian",
            pruning.NaturalGaussian,
            {"parameters": tables(), **prior, "n_examples": 6, "hessian": 0.1},
            parameters=parameters,
            **of_prior,
            n_examples=whole(1),
            hessian=number(above=0.0),
        ),
        fresh(
            "HorseshoeModule",
            lambda: (pruning.HorseshoeModule, {"net": net(), "tau0": 0.01, "slab": (2.0, 6.0), "sd": 0.1}),
            net=network(fits=False),
            tau0=number(above=0.0),
            slab=pair_of(above=0.0),
            sd=number(above=0.0),
        ),
        fresh(
            "IVON",
            lambda: (pruning.IVON, {"posterior": natural(), "lr": 0.1, "betas": (0.9, 0.99), "clip": 1.0}),
            posterior=thing(others=(weights(),)),
            **lr,
            betas=pair_of(least=0.0, below=1.0),
            clip=number(above=0.0, finite=False),
        ),
        fresh("IVON.step", lambda: (_stepped, {"closure": None}), closure=function()),
        fresh(
            "IVON.forget",
            lambda: (pruning.IVON(natural()).forget, {"removed": torch.zeros(n, dtype=torch.bool)}),
            removed=mask(names=("removed",)),
        ),
        *several,
    ]


def _stepped(closure: Any) -> Any:
    held = bayes("ivon")
    optimizer = held.optimizer(0.1)
    held(X).sum().backward()
    return optimizer.step(closure)


def of_likelihoods() -> list[Example]:
    outputs = tensor(finite=False, nan=True, names=("outputs", "targets"))
    noise = pruning.GaussianNoise(2, 6)
    checking = {"y": TARGETS, "outputs": torch.zeros(6, 2)}
    of_y = Kind(lambda v, r: tensor().spoil(v, r), False, ("targets",))
    log_p = torch.log_softmax(torch.zeros(6, 2), dim=1)
    return [
        call(
            "Categorical",
            pruning.Categorical,
            {"axis": 1, "ignore": -100},
            axis=Kind(lambda v, r: (s for s in whole(1, 1, optional=True).spoil(v, r) if repr(s.value) != "-1")),
            ignore=whole(None, optional=True),
        ),
        call(
            "Categorical.check",
            pruning.Categorical().check,
            {"y": Y, "outputs": torch.zeros(6, 2)},
            y=labels(2, ("outputs",)),
            outputs=outputs,
        ),
        call(
            "GaussianNoise",
            pruning.GaussianNoise,
            {"n_out": 2, "n_examples": 6, "shape": 1.0, "rate": 1.0, "variance": None},
            n_out=whole(1),
            n_examples=whole(1),
            shape=number(above=0.0),
            rate=number(above=0.0),
            variance=number(above=0.0, optional=True),
        ),
        call("GaussianNoise.check", noise.check, checking, y=of_y, outputs=outputs),
        call(
            "calibration",
            pruning.calibration,
            {"probabilities": log_p.exp(), "labels": Y, "bins": 3, "binning": "equal-count"},
            probabilities=tensor(least=0.0, names=("probabilities", "labels")),
            labels=labels(2),
            bins=whole(1),
            binning=word(),
        ),
        call(
            "classification_metrics",
            pruning.classification_metrics,
            {"log_probabilities": log_p[None], "labels": Y, "bins": 3},
            log_probabilities=tensor(names=("log_probabilities", "labels"), fixed=False),
            labels=labels(2),
            bins=whole(1),
        ),
        call(
            "regression_metrics",
            pruning.regression_metrics,
            {"means": torch.zeros(3, 6, 2), "y": TARGETS, "log_densities": torch.zeros(3, 6)},
            means=tensor(names=("y", "log_densities")),
            y=tensor(),
            log_densities=tensor(finite=False),
        ),
    ]
