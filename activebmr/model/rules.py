"""Generators of hypothesis spaces: all rules of a kind."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from activebmr.model.hypotheses import ColumnTable, HypothesisSpace, checked_concentration
from activebmr.model.pomdp import POMDP

__all__ = ["context_rules"]


def context_rules(
    model: POMDP,
    feedback: str | int,
    *,
    objects: Sequence[str | int],
    answer: str | int,
    null: str | int = 0,
    right: str | int = 1,
    wrong: str | int = 2,
    concentration: float = 1.0,
    sentence: str = "the colour of {context} says whose colour is right: {cases}",
) -> HypothesisSpace:
    """All rules of the kind "the colour of <context> says which object's colour is right" (Friston et al. 2025, eq. 14).

    Each rule picks one object as the context and, for every value that it can have, one object as the criterion; an answer is
    right if it equals the criterion's value. For n objects of k values there are ``n * n**k`` rules; some agree everywhere.

    Args:
        model: gives sizes, dependencies and the labels that the names and sentences are made of.
        feedback: modality (name or index) that says whether an answer was right.
        objects: the factors (names or indices) that can be context or criterion; all with the same number of values.
        answer: the factor that holds the answer. Its first values are those of the objects; any further state is "no answer".
        null, right, wrong: outcomes (names or indices) of the feedback when nothing was answered, and for right and wrong
            answers.
        concentration: Dirichlet counts that a rule puts on the outcome it predicts.
        sentence: format of the description, with ``{context}`` and ``{cases}``.

    Returns:
        a space whose rules are ordered with the context fastest, then the criterion of the first value, stored as its
        (at most three) distinct columns.
    """
    m = model.modality(feedback)
    deps = model.A_dependencies[m]
    outcomes = model.labels["outcomes"][model.labels["modality"][m]]
    null_, right_, wrong_ = (outcomes.index(x) if isinstance(x, str) and x in outcomes else x for x in (null, right, wrong))
    for name, value in (("null", null_), ("right", right_), ("wrong", wrong_)):
        if isinstance(value, str) or not 0 <= int(value) < len(outcomes):
            raise ValueError(f"{name} must be an outcome of {model.labels['modality'][m]}, one of {outcomes}; got {value!r}")
    if len({int(null_), int(right_), int(wrong_)}) != 3:
        raise ValueError(f"null, right and wrong must be three different outcomes; got {null!r}, {right!r} and {wrong!r}")
    factors = [model.factor(o) for o in objects]
    sizes = {model.num_states[f] for f in factors}
    if len(factors) < 1 or len(sizes) != 1:
        raise ValueError(f"objects must be factors with equally many states; got {[model.num_states[f] for f in factors]}")
    k = sizes.pop()
    answer_factor = model.factor(answer)
    missing = [model.labels["factor"][f] for f in (*factors, answer_factor) if f not in deps]
    if missing:
        raise ValueError(f"{model.labels['modality'][m]} must depend on every object and the answer; it does not on {missing}")
    if model.num_states[answer_factor] < k:
        raise ValueError(f"answer must have a state for each of the {k} values; it has {model.num_states[answer_factor]}")

    grid = np.indices([model.num_states[f] for f in deps]).reshape(len(deps), -1)
    value = np.stack([grid[deps.index(f)] for f in factors])  # (objects, states)
    said = grid[deps.index(answer_factor)]
    columns = np.eye(len(outcomes))[[int(null_), int(right_), int(wrong_)]] * checked_concentration(concentration)
    names, descriptions, assignment = [], [], []
    labels = [model.labels["factor"][f] for f in factors]
    values = model.labels["states"][labels[0]]
    for reverse in product(range(len(factors)), repeat=k):
        criteria = reverse[::-1]
        for context in range(len(factors)):
            criterion = np.asarray(criteria)[value[context]]
            correct = np.take_along_axis(value, criterion[None], axis=0)[0] == said
            assignment.append(np.where(said >= k, 0, np.where(correct, 1, 2)))
            cases = ", ".join(f"{v}: {labels[c]}" for v, c in zip(values, criteria, strict=False))
            names.append(f"{labels[context]}({', '.join(labels[c] for c in criteria)})")
            descriptions.append(sentence.format(context=labels[context], cases=cases))
    table = ColumnTable(columns, np.array(assignment, dtype=np.intp), model.A[m].shape)
    return HypothesisSpace.from_columns(names, {m: table}, descriptions=descriptions)
