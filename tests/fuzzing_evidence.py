"""Valid calls of evidence, divergences and searches."""

from __future__ import annotations

import numpy as np
from fuzzing_kinds import Example, flag, number, numbers, thing, whole, word
from fuzzing_parts import COUNTS, ONES, SEEN, call, space

import activebmr as ab
from activebmr import dirichlet, reduction


def of_evidence() -> list[Example]:
    both = {"posterior": COUNTS + 1, "prior": COUNTS}
    pair = {"posterior": numbers(least=0), "prior": numbers(least=0)}
    batch = {n: v[None] for n, v in both.items()}
    listed = ab.Alternatives(space(), check_support=False)
    reduced = np.array([ONES, 2 * ONES])
    held = {n: numbers(least=0, fixed=False) for n in ("counts", "p", "q")}
    return [
        call(
            "bayesian_model_average",
            reduction.bayesian_model_average,
            {"space": space(), "modality": 0, "weights": [0.5, 0.5], "concentration": 1.0},
            space=thing(),
            modality=whole(0, 0, words=True, names=("table",)),
            weights=numbers(least=0, optional=True),
            concentration=number(above=0.0),
        ),
        call(
            "log_evidence_ratio",
            reduction.log_evidence_ratio,
            {**both, "reduced_prior": ONES, "offset": 0.0},
            **pair,
            reduced_prior=numbers(least=0, fixed=False),
            offset=number(least=0.0),
        ),
        call(
            "reduced_posterior",
            reduction.reduced_posterior,
            {**both, "reduced_prior": ONES},
            **pair,
            reduced_prior=numbers(least=0, fixed=False),
        ),
        call(
            "model_posterior",
            reduction.model_posterior,
            {**both, "reduced_priors": reduced, "log_prior_odds": [0.0, 0.0], "offset": 0.0},
            **pair,
            reduced_priors=numbers(least=0, names=("reduced_prior", "log_prior_odds")),
            log_prior_odds=numbers(optional=True, finite=False, scalar=True),
            offset=number(least=0.0),
        ),
        call("log_odds", reduction.log_odds, {"probabilities": [0.2, 0.8]}, probabilities=numbers(least=0, fixed=False)),
        call(
            "log_odds_of_scores",
            reduction.log_odds_of_scores,
            {"log_scores": [0.0, 1.0]},
            log_scores=numbers(finite=False, fixed=False),
        ),
        call(
            "softmax",
            reduction.softmax,
            {"x": np.array([0.0, 1.0]), "axis": -1},
            x=numbers(finite=False, fixed=False),
            axis=whole(None),
        ),
        *(
            call(f"dirichlet.{f}", getattr(dirichlet, f), {"counts": COUNTS}, counts=held["counts"])
            for f in ("expected_mutual_information", "expected_log", "information_gain", "log_beta", "mean")
        ),
        *(
            call(
                f"dirichlet.{f}",
                getattr(dirichlet, f),
                {"counts": COUNTS, "outcome_preferences": [0.5, 0.5], "state_preferences": [0.5, 0.5]},
                counts=numbers(least=0, fixed=False, names=("outcome_preferences",)),
                outcome_preferences=numbers(least=0, optional=True),
                state_preferences=numbers(least=0, optional=True),
            )
            for f in ("mutual_information", "mutual_information_gradient")
        ),
        call("dirichlet.as_counts", dirichlet.as_counts, {"value": COUNTS, "name": "value"}, value=held["counts"]),
        call(
            "dirichlet.kl_categorical", dirichlet.kl_categorical, {"p": SEEN, "q": SEEN}, p=numbers(least=0), q=numbers(least=0)
        ),
        call(
            "dirichlet.kl_divergence",
            dirichlet.kl_divergence,
            {"q": COUNTS, "p": COUNTS, "floor": 0.1},
            p=numbers(least=0),
            q=numbers(least=0),
            floor=number(least=0.0),
        ),
        call("dirichlet.neg_entropy", dirichlet.neg_entropy, {"p": SEEN}, p=held["p"]),
        call("dirichlet.safe_log", dirichlet.safe_log, {"p": SEEN}, p=held["p"]),
        call(
            "Alternatives",
            ab.Alternatives,
            {"space": space(), "modality": 0, "threshold": 3.0, "offset": 0.03, "adopt": "reduced", "check_support": True},
            space=thing(),
            modality=whole(0, 0, optional=True, words=True, names=("table",)),
            threshold=number(finite=False),
            offset=number(least=0.0),
            adopt=word(),
            check_support=flag(),
        ),
        *(call(f"Alternatives.{f}", getattr(listed, f), batch, **pair) for f in ("ratios", "reduce")),
        call("Alternatives.adopted", listed.adopted, {"model": 0, **batch}, model=whole(0, 1), **pair),
        call(
            "InformativeMappings",
            ab.InformativeMappings,
            {
                "method": "information",
                "at": "posterior",
                "combine": "reduce",
                "threshold": 0.5,
                "preferences": None,
                "contract": (),
                "rate": 1.0,
                "cutoff": 3.0,
                "offset": 0.03,
            },
            method=word(),
            at=word(),
            combine=word(),
            threshold=number(finite=False),
            rate=number(above=0.0),
            cutoff=number(finite=False),
            offset=number(least=0.0),
            contract=thing(optional=True),
        ),
        *(
            call(
                f"InformativeMappings.{f}",
                getattr(ab.InformativeMappings(), f),
                both,
                posterior=numbers(least=0, more=True),
                prior=numbers(least=0),
            )
            for f in ("candidate", "reduce")
        ),
        call(
            "SingleParameters",
            ab.SingleParameters,
            {"search": "exact", "rate": "learn", "threshold": 3.0, "log_odds": 0.0, "adopt": "average", "remainder": 0.0},
            search=word(),
            threshold=number(finite=False),
            log_odds=number(finite=False),
            adopt=word(),
            remainder=number(least=0.0),
            rate=number(least=0.0, most=1.0),
        ),
        *(
            call(
                f"SingleParameters.{f}",
                getattr(ab.SingleParameters(), f),
                both,
                posterior=numbers(least=0, more=True),
                prior=numbers(least=0),
            )
            for f in ("evidence", "reduce")
        ),
    ]
