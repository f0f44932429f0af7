"""Valid calls of criteria for weights, their training, and the evidence that they go by."""

from __future__ import annotations

import torch
from fuzzing_kinds import Example, Kind, Spoiled, Stranger, flag, number, text, thing, whole, word, words
from fuzzing_parts import call
from fuzzing_structures import X, Y, fresh, net
from fuzzing_tensors import ABOUT_DATA, example_inputs, function, mask, network, pairs, tensor
from fuzzing_weights import FEW, TARGETS, bayes, bayes_thing, file, likelihood, pair_of, weight_criterion, weights

from activebmr import pruning
from activebmr.pruning.weights import free_energies, hyperpriors


def of_weight_criteria() -> list[Example]:
    at = {"at_most": number(above=0.0, most=1.0)}
    spared = {"spared": words(optional=True, any_text=True)}
    posterior = {"posterior": thing(), "round": whole(0)}
    criteria = {
        "ByEvidence": pruning.ByEvidence(),
        "SpikeAndSlab": pruning.SpikeAndSlab(),
        "Horseshoe": pruning.Horseshoe(steps=2),
        "ByRank": pruning.ByRank("snr", (2, 4)),
    }
    return [
        call("ByEvidence", pruning.ByEvidence, {"tolerance": 0.0, "name": "a"}, tolerance=number(least=0.0), name=text()),
        call(
            "SpikeAndSlab",
            pruning.SpikeAndSlab,
            {"a": 1.0, "b": 1.0, "sweeps": 2, "at_most": 0.5, "spared": ("0",), "name": "a"},
            a=number(above=0.0),
            b=number(above=0.0),
            sweeps=whole(1),
            **at,
            **spared,
            name=text(),
        ),
        call(
            "Horseshoe",
            pruning.Horseshoe,
            {
                "tau0": 0.01,
                "slab": (2.0, 6.0),
                "particles": 2,
                "columns": 2,
                "steps": 2,
                "tolerance": 0.1,
                "at_most": 0.5,
                "spared": ("0",),
                "name": "a",
            },
            tau0=number(above=0.0),
            slab=pair_of(above=0.0),
            particles=whole(1),
            columns=whole(1),
            steps=whole(1),
            tolerance=number(least=0.0),
            **at,
            **spared,
            name=text(),
        ),
        call(
            "ByRank",
            pruning.ByRank,
            {"by": "snr", "removed": (1, 2)},
            by=word(),
            removed=Kind(
                lambda v, r: (
                    Spoiled(repr(x)[:30], x)
                    for x in ("nothing", 1, (2, 1), (1.5,), (-1, 2), (True,), ("a",), None, {1, 2}, Stranger())
                )
            ),
        ),
        *(
            fresh(f"{n}.select", lambda c=c: (c.select, {"posterior": weights(), "round": 0}), **posterior)
            for n, c in criteria.items()
        ),
    ]


def of_weight_training() -> list[Example]:
    counted = {"n_examples": whole(6, 6, optional=True, names=("data",)), "batch_to": function(names=("data",))}
    given = {"n_examples": None, "batch_to": None}
    run = {
        "bayes": bayes_thing(),
        "likelihood": likelihood(),
        "data": pairs(),
        "settings": thing(optional=True),
        "criterion": weight_criterion(),
        "checkpoint": file(names=("checkpoint",)),
        "progress": flag(),
        "watch": function(),
        **counted,
    }
    training = {
        "epochs": whole(0),
        "retrain": whole(0),
        "rounds": whole(0, optional=True),
        "batch": whole(1),
        "lr": number(above=0.0),
        "likelihood_lr": number(above=0.0),
        "schedule": word(),
        "stop": flag(),
        "step_back": flag(),
        "samples": whole(0),
        "scale_prior": pair_of(above=0.0, optional=True),
        "memory": number(above=0.0),
        "clip": number(above=0.0, optional=True),
        "patience": number(least=0.0, finite=False),
        "seed": whole(0),
    }
    settled = {n: getattr(pruning.WeightTraining(rounds=1, scale_prior=(2.0, 2.0)), n) for n in training}
    return [
        call("WeightTraining", pruning.WeightTraining, settled, **training),
        fresh(
            "prune_weights",
            lambda: (
                pruning.prune_weights,
                {
                    "bayes": bayes(),
                    "likelihood": pruning.Categorical(),
                    "data": (X, Y),
                    "settings": FEW,
                    "criterion": pruning.ByEvidence(),
                    "checkpoint": None,
                    "progress": False,
                    "watch": None,
                    **given,
                },
            ),
            **run,
        ),
        fresh(
            "prune_weights numbers",
            lambda: (
                pruning.prune_weights,
                {"bayes": bayes("ivon"), "likelihood": pruning.GaussianNoise(2, 6), "data": (X, TARGETS), "settings": FEW},
            ),
            data=pairs(classes=None),
        ),
        fresh(
            "sparsify",
            lambda: (
                pruning.sparsify,
                {
                    "net": net(),
                    "data": (X, Y),
                    "likelihood": "categorical",
                    "method": "bmr",
                    "inference": "ivon",
                    "epochs": 2,
                    "start": 1,
                    "batch": 3,
                    "lr": 0.1,
                    "prior_variance": 0.1,
                    "learn_scales": False,
                    "memory": 5.0,
                    "seed": 0,
                    "checkpoint": None,
                    "progress": False,
                    "watch": None,
                    **given,
                },
            ),
            net=network(),
            data=pairs(),
            likelihood=likelihood(named=True),
            method=weight_criterion(optional=False),
            inference=word(),
            epochs=whole(1),
            start=whole(1, 2),
            batch=whole(1),
            lr=number(above=0.0, optional=True),
            prior_variance=number(above=0.0),
            learn_scales=flag(),
            memory=number(above=0.0),
            seed=whole(0),
            checkpoint=run["checkpoint"],
            progress=flag(),
            watch=function(),
            **counted,
        ),
        fresh(
            "compact_weights",
            lambda: (pruning.compact_weights, {"bayes": bayes(), "example_inputs": X[:2], "names": ["0"], "exclude": ()}),
            bayes=bayes_thing(),
            example_inputs=example_inputs(),
            names=words(optional=True),
            exclude=words(),
        ),
        fresh(
            "free_energy",
            lambda: (
                pruning.free_energy,
                {
                    "bayes": bayes(),
                    "likelihood": pruning.Categorical(),
                    "data": (X, Y),
                    "samples": 2,
                    "seed": 0,
                    "batch": 4,
                    **given,
                },
            ),
            bayes=bayes_thing(),
            likelihood=likelihood(),
            data=pairs(),
            samples=whole(1),
            seed=whole(0),
            batch=whole(1),
            **counted,
        ),
        fresh(
            "refresh_statistics",
            lambda: (pruning.refresh_statistics, {"bayes": _normed(), "data": (X, Y), "batch": 3, "seed": 0}),
            bayes=bayes_thing(),
            data=Kind(
                lambda v, r: (Spoiled(s.label, s.value, s.wrong and "label" not in s.label) for s in pairs().spoil(v, r)),
                False,
                ABOUT_DATA,
            ),
            batch=whole(2),
            seed=whole(0),
        ),
        fresh(
            "batches_for",
            lambda: (free_energies.batches_for, {"bayes": bayes(), "data": (X, Y), **given}),
            bayes=bayes_thing(),
            **counted,
        ),
        fresh(
            "learn_scales",
            lambda: (free_energies.learn_scales, {"bayes": bayes(), "shape": 2.0, "rate": 2.0}),
            bayes=bayes_thing(),
            shape=number(above=0.0),
            rate=number(above=0.0),
        ),
    ]


def _normed() -> pruning.BayesianModule:
    torch.manual_seed(0)
    held = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    return pruning.attach_posterior(held)


def of_evidence_of_weights() -> list[Example]:
    mean, one = torch.tensor([0.1, 1.0]), torch.ones(2)
    three = {n: pruning.Gaussian(mean, s * one) for n, s in (("posterior", 0.1), ("prior", 1.0), ("reduced", 0.5))}
    dense = pruning.DenseGaussian(mean, 0.1 * torch.eye(2)), pruning.DenseGaussian(0 * mean, torch.eye(2))
    loose = {"mean": tensor(fixed=False), "variance": tensor(above=0.0, fixed=False)}
    rows = {"mean": torch.zeros(3, 2), "variance": torch.full((3, 2), 0.5)}
    return [
        call(
            "Gaussian",
            pruning.Gaussian,
            {"mean": mean, "variance": one},
            mean=loose["mean"],
            variance=tensor(least=0.0, fixed=False),
        ),
        call(
            "Gaussian.point",
            pruning.Gaussian.point,
            {"at": 0.0},
            at=Kind(
                lambda v, r: (s for s in number().spoil(v, r) if s.label not in ("a table", "an empty list")),
                False,
                ("mean", "at"),
            ),
        ),
        call(
            "DenseGaussian",
            pruning.DenseGaussian,
            {"mean": mean, "covariance": torch.eye(2)},
            mean=tensor(),
            covariance=tensor(),
        ),
        call("reduce_gaussian", pruning.reduce_gaussian, three, **{n: thing(others=(dense[0],)) for n in three}),
        call(
            "remove_block",
            pruning.remove_block,
            {"posterior": dense[0], "prior": dense[1], "index": [0]},
            posterior=thing(others=(three["prior"],)),
            prior=thing(others=(three["prior"],)),
        ),
        call(
            "removal_evidence",
            pruning.removal_evidence,
            {"mean": mean, "variance": 0.1 * one, "prior_variance": one, "prior_mean": 0 * one},
            **loose,
            prior_variance=tensor(above=0.0, fixed=False),
            prior_mean=tensor(fixed=False),
        ),
        call(
            "hyperpriors.beta_bernoulli_odds",
            hyperpriors.beta_bernoulli_odds,
            {"ratios": mean, "a": 1.0, "b": 1.0, "sweeps": 2},
            ratios=tensor(fixed=False),
            a=number(above=0.0),
            b=number(above=0.0),
            sweeps=whole(1),
        ),
        call(
            "hyperpriors.horseshoe_evidence",
            hyperpriors.horseshoe_evidence,
            {
                **rows,
                "alive": torch.ones(3, 2, dtype=torch.bool),
                "tau0": 0.01,
                "slab": (2.0, 6.0),
                "particles": 2,
                "columns": 2,
                "steps": 2,
                "lr": 0.1,
                "seed": 0,
            },
            mean=tensor(),
            variance=tensor(above=0.0),
            alive=Kind(lambda v, r: (s for s in mask().spoil(v, r) if s.value is not None), True, ("alive",)),
            tau0=number(above=0.0),
            slab=pair_of(above=0.0),
            particles=whole(1),
            columns=whole(1),
            steps=whole(1),
            lr=number(above=0.0),
            seed=whole(0),
        ),
    ]
