"""`HypothesisSpace`: alternative structures of a likelihood, as named reduced priors.

A hypothesis says what Dirichlet counts some likelihoods would have before any data if it were true. Spaces repeat themselves:
the 81 rules of the three-ball paradigm are 81 tensors of 1296 numbers, yet hold only three distinct columns. So a space is
stored as the distinct columns of each modality and, per hypothesis and state, which of them stands there (`ColumnTable`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from activebmr import checks
from activebmr.dirichlet import as_counts
from activebmr.model.columns import ColumnTable, compressed
from activebmr.model.pomdp import POMDP

__all__ = ["ColumnTable", "HypothesisSpace", "checked_concentration"]


def checked_concentration(value: float) -> float:
    return checks.number(value, "concentration", checks.POSITIVE)


def _modality_of(key: Any) -> int | str:
    """The modality that a key of a hypothesis means: its index, or its name until a model says which one that is."""
    if checks.is_whole(key):
        modality = int(key)
    else:
        match = re.fullmatch(r"pA\[(.+)\]", str(key))
        if match is None:
            raise ValueError(
                f"keys of a hypothesis must be 'pA[m]' or the index m of a modality; got {key!r} (m may be the modality's name)"
            )
        if re.fullmatch(r"-?\d+", match[1]) is None:
            return match[1]
        modality = int(match[1])
    if modality < 0:
        raise ValueError(f"keys of a hypothesis must be 'pA[m]' or the index m of a modality, m >= 0; got {key!r}")
    return modality


def _in_order(modalities: Iterable[int | str]) -> list[int | str]:
    return sorted(modalities, key=lambda m: (isinstance(m, str), m))


class HypothesisSpace:
    """Named alternative models: reduced Dirichlet priors over the likelihoods of one or more modalities.

    Args:
        hypotheses: from the name of each hypothesis to its reduced priors, ``{"pA[m]": counts}`` with counts of the shape of
            the model's ``pA[m]``; m is the index of a modality, or its name, which `resolved` looks up in a model (as agents,
            worlds and paradigms do). Every hypothesis must speak about the same modalities. Columns of counts whose numbers
            differ by rounding alone are one.
        prior: prior probabilities of the hypotheses ``(n_hypotheses,)``, positive; normalised. Uniform by default.
        descriptions: one sentence per hypothesis; the names by default.
        concentration: what all counts are multiplied with: how many observations a hypothesis that gives 1 count is worth.

    Attributes:
        tables: the reduced priors of each modality, a `ColumnTable` by index (by name until `resolved`).

    Raises:
        ValueError: if there are fewer than two hypotheses, or shapes, keys, signs or the prior do not fit.
        TypeError: if counts are no real numbers.

    Example:
        ``HypothesisSpace({"left": {"pA[feedback]": left}, "right": {"pA[feedback]": right}})``
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
        modalities = _in_order(read[names[0]])
        if not modalities:
            raise ValueError(f"hypotheses[{names[0]!r}] must give the counts of at least one modality; got none")
        tables: dict[Any, ColumnTable] = {}
        for n in names:
            if len(read[n]) != len(hypotheses[n]):
                raise ValueError(f"hypotheses[{n!r}] must give each modality once; got {list(hypotheses[n])}")
            if _in_order(read[n]) != modalities:
                raise ValueError(
                    f"hypotheses[{n!r}] must give the modalities {modalities} like {names[0]!r}; got {_in_order(read[n])}"
                )
        for m in modalities:
            shape = read[names[0]][m].shape
            for n in names:
                if read[n][m].shape != shape:
                    raise ValueError(
                        f"hypotheses[{n!r}]['pA[{m}]'] must have shape {shape} like {names[0]!r}; got {read[n][m].shape}"
                    )
            tables[m] = compressed([checked_concentration(concentration) * read[n][m] for n in names], shape)
        self._set(names, tables, prior, descriptions)

    @classmethod
    def from_columns(
        cls,
        names: Sequence[str],
        tables: Mapping[Any, ColumnTable],
        prior: ArrayLike | None = None,
        descriptions: Sequence[str] | None = None,
    ) -> HypothesisSpace:
        """A space from distinct columns, without ever building its dense tensors."""
        space = cls.__new__(cls)
        space._set(list(names), dict(tables), prior, descriptions)
        return space

    def _set(
        self, names: list[str], tables: dict[Any, ColumnTable], prior: ArrayLike | None, descriptions: Sequence[str] | None
    ) -> None:
        if len(set(names)) != len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise ValueError(f"names of hypotheses must differ; {twice!r} stands twice")
        weights = np.ones(len(names)) if prior is None else checks.float_array(prior, "prior")
        if weights.shape != (len(names),) or not np.isfinite(weights).all() or not (weights > 0).all():
            raise ValueError(f"prior must hold {len(names)} positive numbers, one per hypothesis; got {prior}")
        if descriptions is not None and len(descriptions) != len(names):
            raise ValueError(f"descriptions must hold {len(names)} sentences, one per hypothesis; got {len(descriptions)}")
        for m, table in tables.items():
            if not isinstance(m, str):
                checks.whole_number(m, "modalities of a HypothesisSpace", least=0)
            as_counts(table.columns, f"columns of modality {m}")
            if table.assignment.shape != (len(names), int(np.prod(table.shape[1:]))):
                raise ValueError(
                    f"assignment of modality {m} must have shape {(len(names), int(np.prod(table.shape[1:])))}; "
                    f"got {table.assignment.shape}"
                )
            if table.assignment.min(initial=0) < 0 or table.assignment.max(initial=0) >= len(table.columns):
                raise ValueError(f"assignment of modality {m} must lie in 0..{len(table.columns) - 1}, the distinct columns")
            if not (table.columns.sum(axis=1) > 0).all():
                raise ValueError(f"every column of a hypothesis about modality {m} must hold some counts; one holds none")
        self.names: tuple[str, ...] = tuple(names)
        self.descriptions: tuple[str, ...] = tuple(descriptions) if descriptions is not None else self.names
        self.tables = tables
        self.prior: NDArray[np.float64] = weights / weights.sum()

    def with_concentration(self, concentration: float) -> HypothesisSpace:
        """The same hypotheses with all counts multiplied: sharper above 1, softer below."""
        factor = checked_concentration(concentration)
        tables = {m: ColumnTable(factor * t.columns, t.assignment, t.shape) for m, t in self.tables.items()}
        return self.from_columns(self.names, tables, self.prior, self.descriptions)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        about = [str(m) for m in self.tables]
        if sum(len(m) + 2 for m in about) > 120:
            about = [f"{len(about)} of them"]
        distinct = len(self.distinct()[0])
        return f"HypothesisSpace({len(self)} hypotheses about modalities [{', '.join(about)}]; {distinct} distinct)"

    def resolved(self, model: POMDP) -> HypothesisSpace:
        """The same space with every modality known by its index, as agents need it: names are looked up in the model's labels.

        Raises:
            ValueError: if the model has no modality of that name, or two keys mean the same one.
        """
        if not any(isinstance(m, str) for m in self.tables):
            return self
        tables: dict[Any, ColumnTable] = {}
        for m, table in self.tables.items():
            if model.modality(m) in tables:
                raise ValueError(f"keys of a hypothesis must name different modalities; {model.modality(m)} and {m!r} are one")
            tables[model.modality(m)] = table
        return self.from_columns(self.names, {m: tables[m] for m in sorted(tables)}, self.prior, self.descriptions)

    def dense(self, hypothesis: int | str, modality: int | str) -> NDArray[np.float64]:
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
        return checks.whole_number(hypothesis, "hypothesis", 0, len(self) - 1)

    def _table(self, modality: int | str) -> ColumnTable:
        if modality not in self.tables:
            raise ValueError(f"modality must be one that the hypotheses speak about, {list(self.tables)}; got {modality!r}")
        return self.tables[modality]

    def average(self, modality: int | str, weights: ArrayLike | None = None, total: float | None = None) -> NDArray[np.float64]:
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
        stacked = np.concatenate([t.assignment for t in self.tables.values()], axis=1)
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
        for m, table in self.resolved(model).tables.items():
            if m >= model.num_modalities or model.pA[m] is None:
                raise ValueError(
                    f"hypotheses speak about modality {m}, but pA[{m}] of the model is None: it has no counts to reduce"
                )
            counts = model.pA[m]
            if counts.shape != table.shape:
                raise ValueError(
                    f"hypotheses about modality {m} must have the shape of pA[{m}], {counts.shape}; got {table.shape}"
                )
            clash = table.clash(counts <= 0)
            if clash is not None:
                j, at, given = clash
                raise ValueError(
                    f"hypothesis {self.names[j]!r} gives {given:.6g} counts to pA[{m}]{list(at)}, a structural zero of "
                    "the model's prior: a reduced prior must lie within the full one"
                )
