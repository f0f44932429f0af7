"""Valid calls of models and hypotheses, and of what is said about their counts."""

from __future__ import annotations

import numpy as np
from fuzzing_kinds import Example, Kind, callable_thing, indices, number, numbers, text, thing, whole, word, words
from fuzzing_parts import COUNTS, GO, ONES, SEEN, ball, call, listed, model, space, wide

import activebmr as ab


def of_models() -> list[Example]:
    m = model()
    still = m.with_(B=[None], pB=[np.array([[[2.0], [1.0]], [[1.0], [2.0]]])], labels={}, policies=None)
    dense = ab.ColumnTable(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0, 1], [1, 0]]), (2, 2))
    return [
        call(
            "POMDP",
            ab.POMDP,
            {
                "A": [SEEN],
                "B": [GO],
                "C": [[0.0, 1.0]],
                "D": [[0.5, 0.5]],
                "E": [[0.5, 0.5]],
                "A_dependencies": [[0]],
                "B_dependencies": [[0]],
                "policies": [[[0]], [[1]]],
                "policy_length": 1,
            },
            A=listed(least=0),
            B=listed(least=0),
            C=listed(finite=False, fixed=False, optional=True),
            D=listed(least=0, optional=True),
            E=listed(least=0, optional=True),
            A_dependencies=thing(optional=True),
            B_dependencies=thing(optional=True),
            policies=indices(0, 1, optional=True, fixed=False),
            policy_length=whole(1),
        ),
        call(
            "POMDP pB",
            ab.POMDP,
            {"A": [None], "B": [None], "pA": [COUNTS], "pB": [GO + 1], "pD": [[1.0, 2.0]], "pE": [[1.0, 1.0]]},
            pA=listed(least=0, fixed=False, names=("A",)),
            pB=listed(least=0, names=("B",)),
            pD=listed(least=0, optional=True, names=("D",)),
            pE=listed(least=0, optional=True),
        ),
        call("POMDP.table", m.table, {"key": "A[0]"}, key=thing(names=("table", "modality"))),
        call("POMDP.factor", m.factor, {"name": 0}, name=whole(0, 0, words=True, names=("factor",))),
        call("POMDP.modality", m.modality, {"name": 0}, name=whole(0, 0, words=True, names=("modality",))),
        call(
            "HypothesisSpace",
            ab.HypothesisSpace,
            {
                "hypotheses": {"a": {0: COUNTS}, "b": {0: ONES}},
                "prior": [0.5, 0.5],
                "descriptions": ["a", "b"],
                "concentration": 1.0,
            },
            hypotheses=thing(names=("hypothesis",)),
            prior=numbers(least=0, optional=True),
            descriptions=words(optional=True, any_text=True),
            concentration=number(above=0.0),
        ),
        call(
            "HypothesisSpace.from_columns",
            ab.HypothesisSpace.from_columns,
            {"names": ["a", "b"], "tables": {0: dense}, "prior": None, "descriptions": None},
            names=words(names=("name", "assignment"), any_text=True),
            tables=thing(names=("table",)),
            prior=Kind(lambda v, r: numbers(least=0, optional=True).spoil([0.5, 0.5], r)),
            descriptions=words(optional=True, any_text=True),
        ),
        call(
            "HypothesisSpace.from_models",
            ab.HypothesisSpace.from_models,
            {"models": {"a": m, "b": m}},
            models=thing(names=("model",)),
        ),
        call(
            "HypothesisSpace.with_concentration",
            space().with_concentration,
            {"concentration": 2.0},
            concentration=number(above=0.0),
        ),
        call("HypothesisSpace.resolved", space().resolved, {"model": m}, model=thing(others=())),
        call("HypothesisSpace.check_against", space().check_against, {"model": m}, model=thing(others=(wide(),))),
        call(
            "HypothesisSpace.dense",
            space().dense,
            {"hypothesis": 0, "modality": 0},
            hypothesis=whole(0, 1, words=True),
            modality=whole(0, 0, words=True, names=("table",)),
        ),
        call("HypothesisSpace.index", space().index, {"hypothesis": 0}, hypothesis=whole(0, 1, words=True)),
        call(
            "HypothesisSpace.average",
            space().average,
            {"modality": 0, "weights": [0.5, 0.5], "total": 2.0},
            modality=whole(0, 0, words=True, names=("table",)),
            weights=numbers(least=0, optional=True),
            total=number(above=0.0, optional=True),
        ),
        call(
            "ColumnTable",
            ab.ColumnTable,
            {"columns": np.eye(2), "assignment": np.array([[0, 1]]), "shape": (2, 2)},
            columns=numbers(least=0, fixed=False, names=("assignment",)),
            assignment=indices(0, 1),
            shape=thing(),
        ),
        call("ColumnTable.dense", dense.dense, {"hypothesis": 0}, hypothesis=whole(0, 1)),
        call("ColumnTable.mixture", dense.mixture, {"weights": np.array([0.5, 0.5])}, weights=numbers(least=0, more=True)),
        call(
            "ColumnTable.class_mixture",
            dense.class_mixture,
            {"weights": np.array([0.5, 0.5])},
            weights=numbers(least=0, more=True),
        ),
        call(
            "frozen",
            ab.frozen,
            {"model": still, "factor": 0, "otherwise": None, "concentration": 1.0},
            model=thing(),
            factor=whole(0, 0, words=True),
            concentration=number(above=0.0, optional=True),
        ),
        call(
            "depends",
            ab.depends,
            {"model": m, "table": "A[0]", "drivers": [[], ["place"]], "values": lambda *s: [0.5, 0.5]},
            model=thing(),
            table=word(),
            drivers=thing(names=("factor",)),
            values=callable_thing(),
        ),
        call(
            "reachable_rules",
            ab.reachable_rules,
            {
                "model": m.with_(B=[None], pB=[GO + 1]),
                "factor": "place",
                "moves": {"one": [(("left", "go left"), "right")], "two": []},
                "sentence": "{name}",
            },
            model=thing(),
            factor=whole(0, 0, words=True),
            moves=thing(names=("move",)),
            sentence=text(),
        ),
        call(
            "context_rules",
            ab.context_rules,
            {
                "model": ball(),
                "feedback": 2,
                "objects": [0, 1],
                "answer": 2,
                "null": 0,
                "right": 1,
                "wrong": 2,
                "concentration": 1.0,
                "sentence": "{cases}",
            },
            model=thing(),
            feedback=whole(0, 2, words=True, names=("modality",)),
            objects=words(names=("factor",)),
            answer=whole(0, 4, words=True, names=("factor",)),
            null=whole(0, 2, words=True),
            concentration=number(above=0.0),
            sentence=text(),
        ),
        call("POMDP.values_of", m.values_of, {"table": m.table("A[0]")}, table=thing()),
        call("POMDP.counts_of", m.counts_of, {"table": m.table("A[0]")}, table=thing()),
    ]
