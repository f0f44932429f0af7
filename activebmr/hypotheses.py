"""`HypothesisSpace`: alternative structures of a likelihood, as named reduced priors.

A hypothesis says what Dirichlet counts some likelihoods would have before any data if it were true. Spaces repeat themselves:
the 81 rules of the three-ball paradigm are 81 tensors of 1296 numbers, yet hold only three distinct columns. So a space is
stored as the distinct columns of each modality and, per hypothesis and state, which of them stands there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from activebmr.dirichlet import as_counts
from activebmr.models import POMDP

__all__ = ["ColumnTable", "HypothesisSpace", "context_rules"]


@dataclass(frozen=True, eq=False)
class ColumnTable:
    """Reduced priors of one modality as distinct columns.

    Attributes:
        columns: the distinct columns of counts, ``(n_columns, n_outcomes)``.
        assignment: which column stands at each state under each hypothesis, ``(n_hypotheses, n_columns_of_the_likelihood)``,
            the states of the likelihood's factors flattened in C order.
        shape: shape of the likelihood, ``(n_outcomes, n_states_0, ...)``.
    """

    columns: NDArray[np.float64]
    assignment: NDArray[np.intp]
    shape: tuple[int, ...]

    def dense(self, hypothesis: int) -> NDArray[np.float64]:
        """The counts of one hypothesis as a tensor of the likelihood's shape."""
        return self.columns[self.assignment[hypothesis]].T.reshape(self.shape)

    def mixture(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average of the reduced priors under weights ``(..., n_hypotheses)``: counts ``(..., n_states, n_outcomes)``."""
        classes, of_state = self.column_classes
        return self.class_mixture(weights)[..., of_state, :]

    def class_mixture(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same for each of the `column_classes`: counts ``(..., n_classes, n_outcomes)``."""
        classes, _ = self.column_classes
        per_class = np.zeros((*weights.shape[:-1], len(classes), self.columns.shape[1]))
        for k, column in enumerate(self.columns):
            share = np.matmul(weights[..., None, :], (classes == k).T.astype(np.float64))[..., 0, :]
            per_class += share[..., None] * column
        return per_class

    @property
    def column_classes(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """States that no hypothesis tells apart: ``(classes, n_hypotheses)`` and the class of each state."""
        if not hasattr(self, "_classes"):
            classes, of_state = np.unique(self.assignment.T, axis=0, return_inverse=True)
            object.__setattr__(self, "_classes", (classes, of_state.reshape(-1)))
        return self._classes  # type: ignore[attr-defined, no-any-return]


def _checked_concentration(value: float) -> float:
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"concentration must be a finite number > 0; got {value}")
    return float(value)


def _compress(tensors: Sequence[NDArray[np.float64]], shape: tuple[int, ...]) -> ColumnTable:
    stacked = np.stack([t.reshape(shape[0], -1).T for t in tensors])
    flat = stacked.reshape(-1, shape[0])
    # columns that differ by rounding alone are one
    _, first, assignment = np.unique(np.round(flat, 12), axis=0, return_index=True, return_inverse=True)
    return ColumnTable(flat[first], assignment.reshape(stacked.shape[:2]).astype(np.intp), shape)


def _modality_of(key: Any) -> int:
    if isinstance(key, (int, np.integer)):
        return int(key)
    match = re.fullmatch(r"pA\[(\d+)\]", str(key))
    if match is None:
        raise ValueError(f"keys of a hypothesis must be 'pA[m]' or the index m of a modality; got {key!r}")
    return int(match.group(1))


class HypothesisSpace:
    """Named alternative models: reduced Dirichlet priors over the likelihoods of one or more modalities.

    Args:
        hypotheses: from the name of each hypothesis to its reduced priors, ``{"pA[m]": counts}`` with counts of the shape of
            the model's ``pA[m]``. Every hypothesis must speak about the same modalities.
        prior: prior probabilities of the hypotheses ``(n_hypotheses,)``, positive; normalised. Uniform by default.
        descriptions: one sentence per hypothesis; the names by default.
        concentration: what all counts are multiplied with: how many observations a hypothesis that gives 1 count is worth.

    Raises:
        ValueError: if there are fewer than two hypotheses, or shapes, keys, signs or the prior do not fit.
    """

    def __init__(
        self,
        hypotheses: Mapping[str, Mapping[Any, ArrayLike]],
        prior: ArrayLike | None = None,
        descriptions: Sequence[str] | None = None,
        concentration: float = 1.0,
    ) -> None:
        names = list(hypotheses)
        if len(names) < 2:
            raise ValueError(f"hypotheses must name at least 2 models; got {len(names)}")
        read = {
            n: {_modality_of(k): as_counts(v, f"hypotheses[{n!r}][{k!r}]") for k, v in hypotheses[n].items()} for n in names
        }
        modalities = sorted(read[names[0]])
        if not modalities:
            raise ValueError(f"hypotheses[{names[0]!r}] must give the counts of at least one modality; got none")
        tables: dict[int, ColumnTable] = {}
        for m in modalities:
            shape = read[names[0]][m].shape
            for n in names:
                if sorted(read[n]) != modalities:
                    raise ValueError(
                        f"hypotheses[{n!r}] must give the modalities {modalities} like {names[0]!r}; got {sorted(read[n])}"
                    )
                if read[n][m].shape != shape:
                    raise ValueError(
                        f"hypotheses[{n!r}]['pA[{m}]'] must have shape {shape} like {names[0]!r}; got {read[n][m].shape}"
                    )
            tables[m] = _compress([_checked_concentration(concentration) * read[n][m] for n in names], shape)
        self._set(names, tables, prior, descriptions)

    @classmethod
    def from_columns(
        cls,
        names: Sequence[str],
        tables: Mapping[int, ColumnTable],
        prior: ArrayLike | None = None,
        descriptions: Sequence[str] | None = None,
    ) -> HypothesisSpace:
        """A space from distinct columns, without ever building its dense tensors."""
        space = cls.__new__(cls)
        space._set(list(names), dict(tables), prior, descriptions)
        return space

    def _set(
        self, names: list[str], tables: dict[int, ColumnTable], prior: ArrayLike | None, descriptions: Sequence[str] | None
    ) -> None:
        if len(set(names)) != len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise ValueError(f"names of hypotheses must differ; {twice!r} stands twice")
        weights = np.ones(len(names)) if prior is None else np.asarray(prior, dtype=np.float64)
        if weights.shape != (len(names),) or not np.isfinite(weights).all() or not (weights > 0).all():
            raise ValueError(f"prior must hold {len(names)} positive numbers, one per hypothesis; got {prior}")
        if descriptions is not None and len(descriptions) != len(names):
            raise ValueError(f"descriptions must hold {len(names)} sentences, one per hypothesis; got {len(descriptions)}")
        for m, table in tables.items():
            if table.assignment.shape != (len(names), int(np.prod(table.shape[1:]))):
                raise ValueError(
                    f"assignment of modality {m} must have shape {(len(names), int(np.prod(table.shape[1:])))}; "
                    f"got {table.assignment.shape}"
                )
            if not (table.columns.sum(axis=1) > 0).all():
                raise ValueError(f"every column of a hypothesis about modality {m} must hold some counts; one holds none")
        self.names: tuple[str, ...] = tuple(names)
        self.descriptions: tuple[str, ...] = tuple(descriptions) if descriptions is not None else self.names
        self.tables = tables
        self.prior: NDArray[np.float64] = weights / weights.sum()

    def with_concentration(self, concentration: float) -> HypothesisSpace:
        """The same hypotheses with all counts multiplied: sharper above 1, softer below."""
        factor = _checked_concentration(concentration)
        tables = {m: ColumnTable(factor * t.columns, t.assignment, t.shape) for m, t in self.tables.items()}
        return self.from_columns(self.names, tables, self.prior, self.descriptions)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        distinct = len(self.distinct()[0])
        return f"HypothesisSpace({len(self)} hypotheses about modalities {sorted(self.tables)}; {distinct} distinct)"

    def dense(self, hypothesis: int | str, modality: int) -> NDArray[np.float64]:
        """The reduced prior of one hypothesis about one modality as a tensor of counts."""
        return self._table(modality).dense(self.index(hypothesis))

    def index(self, hypothesis: str | int) -> int:
        """Index of a hypothesis given by name or index."""
        if isinstance(hypothesis, str):
            if hypothesis not in self.names:
                raise ValueError(
                    f"hypothesis must be one of the {len(self)} names, such as {self.names[0]!r}; got {hypothesis!r}"
                )
            return self.names.index(hypothesis)
        if not 0 <= int(hypothesis) < len(self):
            raise ValueError(f"hypothesis must lie in 0..{len(self) - 1}; got {hypothesis}")
        return int(hypothesis)

    def _table(self, modality: int) -> ColumnTable:
        if modality not in self.tables:
            raise ValueError(f"modality must be one that the hypotheses speak about, {sorted(self.tables)}; got {modality}")
        return self.tables[modality]

    def average(self, modality: int, weights: ArrayLike | None = None, total: float | None = None) -> NDArray[np.float64]:
        """Bayesian model average of the reduced priors, a tensor of counts.

        Args:
            modality: index of the modality.
            weights: probabilities ``(n_hypotheses,)``; the prior of the space by default.
            total: if given, the tensor is scaled to this total mass (Friston et al. 2025 give the naive agent total mass 1).
        """
        table = self._table(modality)
        share = self.prior if weights is None else np.asarray(weights, dtype=np.float64)
        if share.shape != (len(self),):
            raise ValueError(f"weights must hold {len(self)} numbers, one per hypothesis; got shape {share.shape}")
        mixed = table.mixture(share)
        tensor = mixed.T.reshape(table.shape)
        return tensor if total is None else tensor * (total / tensor.sum())

    def distinct(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """First hypothesis of every class of hypotheses that agree everywhere, and the class of each hypothesis."""
        stacked = np.concatenate([t.assignment for _, t in sorted(self.tables.items())], axis=1)
        _, first, which = np.unique(stacked, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        return first[order], rank[which.reshape(-1)]

    def merged(self) -> HypothesisSpace:
        """The space with hypotheses that agree everywhere made one, which carries their joint prior probability."""
        first, which = self.distinct()
        tables = {m: ColumnTable(t.columns, t.assignment[first], t.shape) for m, t in self.tables.items()}
        prior = np.bincount(which, weights=self.prior, minlength=len(first))
        return self.from_columns([self.names[i] for i in first], tables, prior, [self.descriptions[i] for i in first])

    def check_against(self, model: POMDP) -> None:
        """Raise ValueError unless every hypothesis is a reduction of the model's counts."""
        for m, table in self.tables.items():
            if m >= model.num_modalities or model.pA[m] is None:
                raise ValueError(
                    f"hypotheses speak about modality {m}, but pA[{m}] of the model is None: it has no counts to reduce"
                )
            counts = model.pA[m]
            if counts.shape != table.shape:
                raise ValueError(
                    f"hypotheses about modality {m} must have the shape of pA[{m}], {counts.shape}; got {table.shape}"
                )
            impossible = counts.reshape(counts.shape[0], -1).T <= 0
            for k, column in enumerate(table.columns):
                clash = (table.assignment == k)[:, :, None] & impossible & (column > 0)
                if clash.any():
                    j, s, o = (int(i) for i in np.argwhere(clash)[0])
                    at = (o, *(int(i) for i in np.unravel_index(s, counts.shape[1:])))
                    raise ValueError(
                        f"hypothesis {self.names[j]!r} gives {column[o]:.6g} counts to pA[{m}]{list(at)}, a structural zero of "
                        "the model's prior: a reduced prior must lie within the full one"
                    )


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
    columns = np.eye(len(outcomes))[[int(null_), int(right_), int(wrong_)]] * _checked_concentration(concentration)
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
