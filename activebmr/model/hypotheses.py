"""`HypothesisSpace`: alternative structures of a model, as named reduced priors, as values, or as models of their own.

A hypothesis says what Dirichlet counts some tables would have before any data if it were true, or what their values are (it is
then *sharp*: nothing is left to learn). Spaces repeat themselves:
the 81 rules of the three-ball paradigm are 81 tensors of 1296 numbers, yet hold only three distinct columns. So a space is
stored as the distinct columns of each modality and, per hypothesis and state, which of them stands there (`ColumnTable`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from activebmr import checks
from activebmr.dirichlet import as_counts
from activebmr.model.columns import ColumnTable, compressed
from activebmr.model.naming import Table, read_name
from activebmr.model.pomdp import POMDP
from activebmr.model.probabilities import columns

__all__ = ["ColumnTable", "HypothesisSpace", "checked_concentration"]


def checked_concentration(value: float) -> float:
    return checks.number(value, "concentration", checks.POSITIVE)


def _key_of(name: Any) -> tuple[Any, bool]:
    """What a name of a hypothesis' table is kept by, and whether it is that of values.

    Likelihoods are kept by the index of their modality (or its name until a model says which one that is), others as `Table`.
    """
    table, counts = read_name(name, "keys of a hypothesis")
    if table.kind == "E":
        raise ValueError(f"keys of a hypothesis must name tables of A, B or D; got {name!r}, a habit")
    return (table.index if table.kind == "A" else table), not counts


def _shown(key: Any) -> str:
    return str(key) if isinstance(key, Table) else f"A[{key}]"


def _in_order(keys: Iterable[Any]) -> list[Any]:
    def rank(key: Any) -> tuple[Any, ...]:
        kind, index = key if isinstance(key, Table) else ("A", key)
        return kind, isinstance(index, str), index

    return sorted(keys, key=rank)


class HypothesisSpace:
    """Named alternative models: what some tables (likelihoods, transitions, initial states) would be if each were true.

    Args:
        hypotheses: from the name of each hypothesis to what it says, ``{"pA[m]": counts, "B[f]": values}``: counts (``pA``,
            ``pB``, ``pD``) of the shape of the model's, a reduced prior that goes on being learned; or values (``A``, ``B``,
            ``D``), probabilities that are known if the hypothesis is true. m and f are indices of modalities and factors, or
            their names, which `resolved` looks up in a model (as agents, worlds and paradigms do). Every hypothesis must speak
            about the same tables, be it by counts or by values. Columns whose numbers differ by rounding alone are one.
        prior: prior probabilities of the hypotheses ``(n_hypotheses,)``, positive; normalised. Uniform by default.
        descriptions: one sentence per hypothesis; the names by default.
        concentration: what all counts are multiplied with: how many observations a hypothesis that gives 1 count is worth.

    Attributes:
        tables: what is said of each table, a `ColumnTable`: of likelihoods by index of the modality (by its name until
            `resolved`), of others by ``Table("B", f)``.
        sharp: of each of these which hypotheses give values ``(n_hypotheses,)``.
        models: the models that a space `from_models` is made of, in order; empty for others.

    Raises:
        ValueError: if there are fewer than two hypotheses, or shapes, keys, signs, sums or the prior do not fit.
        TypeError: if counts or values are no real numbers.

    Example:
        >>> clear, random = np.array([[0.9, 0.1], [0.1, 0.9]]), np.full((2, 2), 0.5)
        >>> space = HypothesisSpace({"clear": {"A[light]": clear}, "random": {"A[light]": random}}, prior=[0.2, 0.8])
        >>> agent = Agent(world, space)
    """

    models: tuple[POMDP, ...] = ()

    def __init__(
        self,
        hypotheses: Mapping[str, Mapping[Any, ArrayLike]],
        prior: ArrayLike | None = None,
        descriptions: Sequence[str] | None = None,
        concentration: float = 1.0,
    ) -> None:
        names = list(checks.mapping(hypotheses, "hypotheses"))
        if len(names) < 2:
            raise ValueError(f"hypotheses must name at least 2 models; got {len(names)}")
        read: dict[str, dict[Any, NDArray[np.float64]]] = {}
        values: dict[str, set[Any]] = {}
        for n in names:
            read[n], values[n] = _read(n, hypotheses[n])
        keys = _in_order(read[names[0]])
        if not keys:
            raise ValueError(f"hypotheses[{names[0]!r}] must give the counts or values of at least one table; got none")
        for n in names:
            if _in_order(read[n]) != keys:
                told, wanted = ([_shown(k) for k in _in_order(x)] for x in (read[n], keys))
                raise ValueError(f"hypotheses[{n!r}] must speak about the tables {wanted} like {names[0]!r}; got {told}")
        tables: dict[Any, ColumnTable] = {}
        sharp: dict[Any, NDArray[np.bool_]] = {}
        scale = checked_concentration(concentration)
        for k in keys:
            shape = read[names[0]][k].shape
            for n in names:
                if read[n][k].shape != shape:
                    raise ValueError(
                        f"hypotheses[{n!r}] must give {_shown(k)} the shape {shape} like {names[0]!r}; got {read[n][k].shape}"
                    )
            sharp[k] = np.array([k in values[n] for n in names])
            tables[k] = compressed([read[n][k] if k in values[n] else scale * read[n][k] for n in names], shape)
        self._set(names, tables, prior, descriptions, sharp)

    @classmethod
    def from_columns(
        cls,
        names: Sequence[str],
        tables: Mapping[Any, ColumnTable],
        prior: ArrayLike | None = None,
        descriptions: Sequence[str] | None = None,
        sharp: Mapping[Any, NDArray[np.bool_]] | None = None,
    ) -> HypothesisSpace:
        """A space from distinct columns, without ever building its dense tensors; ``sharp``: see `HypothesisSpace`."""
        space = cls.__new__(cls)
        names = checks.items(checks.text)(names, "names")
        for key, table in checks.mapping(tables, "tables").items():
            checks.an(ColumnTable)(table, f"tables[{key!r}]")
        if not tables:
            raise ValueError("tables must hold at least one; got none")
        space._set(list(names), dict(tables), prior, descriptions, sharp)
        return space

    @classmethod
    def from_models(
        cls,
        models: Mapping[str, POMDP],
        prior: ArrayLike | None = None,
        descriptions: Sequence[str] | None = None,
    ) -> HypothesisSpace:
        """Hypotheses that are whole models, with states of their own, compared by what they predict.

        Args:
            models: from the name of each hypothesis to its model. They must agree in their outcomes, preferences (``C``),
                numbers of controls that act on them, policies and priors over these (``E``); what of a model has counts is
                learned by it alone.
            prior, descriptions: see `HypothesisSpace`.

        Raises:
            TypeError: if something else than a `POMDP` is given.
            ValueError: if there are fewer than two, or their outcomes, preferences or controls differ.

        Example:
            ``HypothesisSpace.from_models({"one cause": one, "two causes": two})``
        """
        space, names = cls.__new__(cls), list(checks.mapping(models, "models"))
        if len(names) < 2:
            raise ValueError(f"models must name at least 2 models; got {len(names)}")
        for n in names:
            if not isinstance(models[n], POMDP):
                raise TypeError(f"models[{n!r}] must be a POMDP; got {type(models[n]).__name__}")
        first = models[names[0]]
        for n in names[1:]:
            _check_comparable(first, models[n], names[0], n)
        space._set(names, {}, prior, descriptions, None)
        space.models = tuple(models.values())
        return space

    def _set(
        self,
        names: list[str],
        tables: dict[Any, ColumnTable],
        prior: ArrayLike | None,
        descriptions: Sequence[str] | None,
        sharp: Mapping[Any, NDArray[np.bool_]] | None,
    ) -> None:
        if len(set(names)) != len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise ValueError(f"names of hypotheses must differ; {twice!r} stands twice")
        weights = np.ones(len(names)) if prior is None else checks.float_array(prior, "prior")
        if weights.shape != (len(names),) or not np.isfinite(weights).all() or not (weights > 0).all():
            raise ValueError(f"prior must hold {len(names)} positive numbers, one per hypothesis; got {prior}")
        if descriptions is not None:
            checks.items(checks.text)(descriptions, "descriptions")
        if descriptions is not None and len(descriptions) != len(names):
            raise ValueError(f"descriptions must hold {len(names)} sentences, one per hypothesis; got {len(descriptions)}")
        for m, table in tables.items():
            if not isinstance(m, (str, Table)):
                checks.whole_number(m, "modalities of a HypothesisSpace", least=0)
            as_counts(table.columns, f"columns of modality {m}")
            if table.assignment.shape != (len(names), int(np.prod(table.shape[1:]))):
                raise ValueError(
                    f"assignment of modality {m} must have shape {(len(names), int(np.prod(table.shape[1:])))}, a row for "
                    f"each of the names; got {table.assignment.shape}"
                )
            if not (table.columns.sum(axis=1) > 0).all():
                raise ValueError(f"every column of a hypothesis about modality {m} must hold some counts; one holds none")
        self.names: tuple[str, ...] = tuple(names)
        self.descriptions: tuple[str, ...] = tuple(descriptions) if descriptions is not None else self.names
        self.tables = tables
        none = np.zeros(len(names), dtype=bool)
        self.sharp: dict[Any, NDArray[np.bool_]] = {k: none if sharp is None else np.asarray(sharp[k]) for k in tables}
        self.prior: NDArray[np.float64] = weights / weights.sum()

    def with_concentration(self, concentration: float) -> HypothesisSpace:
        """The same hypotheses with all counts multiplied: sharper above 1, softer below."""
        factor = checked_concentration(concentration)
        if any(s.any() for s in self.sharp.values()) or self.models:
            raise ValueError("with_concentration needs hypotheses that give counts; some of these give values, or are models")
        tables = {m: ColumnTable(factor * t.columns, t.assignment, t.shape) for m, t in self.tables.items()}
        return self.from_columns(self.names, tables, self.prior, self.descriptions)

    @property
    def plain(self) -> bool:
        """Whether hypotheses speak about likelihoods alone, and by counts."""
        likelihoods = not self.models and not any(isinstance(k, Table) for k in self.tables)
        return likelihoods and not any(s.any() for s in self.sharp.values())

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        if self.models:
            return f"HypothesisSpace({len(self)} models of their own)"
        about = [str(m) for m in self.tables]
        if sum(len(m) + 2 for m in about) > 120:
            about = [f"{len(about)} of them"]
        distinct = len(self.distinct()[0])
        what = "tables" if any(isinstance(k, Table) for k in self.tables) else "modalities"
        return f"HypothesisSpace({len(self)} hypotheses about {what} [{', '.join(about)}]; {distinct} distinct)"

    def _repr_html_(self) -> str:
        """What a notebook shows: the hypotheses, and how probable they are at first."""
        from activebmr.model.showing import html_of_hypotheses

        return html_of_hypotheses(self)

    @checks.checked(model=checks.an(POMDP))
    def resolved(self, model: POMDP) -> HypothesisSpace:
        """The same space with every table known by its index, as agents need it: names are looked up in the model's labels.

        Raises:
            ValueError: if the model has no modality or factor of that name, or two keys mean the same one.
        """
        if not any(isinstance(k[1] if isinstance(k, Table) else k, str) for k in self.tables):
            return self
        tables: dict[Any, ColumnTable] = {}
        sharp: dict[Any, NDArray[np.bool_]] = {}
        for k, table in self.tables.items():
            found: Any = Table(k.kind, model.factor(k.index)) if isinstance(k, Table) else model.modality(k)
            if found in tables:
                what = "factors" if isinstance(k, Table) else "modalities"
                mine = k.index if isinstance(k, Table) else k
                one = found.index if isinstance(k, Table) else found
                raise ValueError(f"keys of a hypothesis must name different {what}; {one} and {mine!r} are one")
            tables[found], sharp[found] = table, self.sharp[k]
        ordered = {k: tables[k] for k in _in_order(tables)}
        return self.from_columns(self.names, ordered, self.prior, self.descriptions, sharp)

    def dense(self, hypothesis: int | str, modality: int | str) -> NDArray[np.float64]:
        """The reduced prior of one hypothesis about one modality as a tensor of counts."""
        return self._table(modality).dense(self.index(hypothesis))

    def index(self, hypothesis: str | int) -> int:
        """Index of a hypothesis given by name or index."""
        if isinstance(hypothesis, str):
            if hypothesis not in self.names:
                raise ValueError(
                    f"hypothesis must be one of the {len(self)} names, such as {self.names[0]!r}; got {hypothesis!r}"
                    + checks.meant(hypothesis, self.names)
                )
            return self.names.index(hypothesis)
        return checks.whole_number(hypothesis, "hypothesis", 0, len(self) - 1)

    def _table(self, modality: Any) -> ColumnTable:
        key = modality
        if not isinstance(key, (str, Table)) and not checks.is_whole(key):
            raise TypeError(f"modality must be an index, or the name of a table; got {checks.brief(key)}")
        if key not in self.tables and isinstance(modality, str) and "[" in modality:
            key = _key_of(modality)[0]
        if key not in self.tables:
            held = [k if isinstance(k, (int, str)) and not isinstance(k, Table) else str(k) for k in self.tables]
            raise ValueError(f"modality must be one that the hypotheses speak about, {held}; got {modality!r}")
        return self.tables[key]

    def average(self, modality: int | str, weights: ArrayLike | None = None, total: float | None = None) -> NDArray[np.float64]:
        """Bayesian model average of the reduced priors, a tensor of counts.

        Args:
            modality: index of the modality.
            weights: probabilities ``(n_hypotheses,)``; the prior of the space by default.
            total: if given, the tensor is scaled to this total mass (Friston et al. 2025 give the naive agent total mass 1).
        """
        table = self._table(modality)
        sharp = next((s for k, s in self.sharp.items() if self.tables[k] is table), np.zeros(1, dtype=bool))
        if sharp.any() and not sharp.all():
            raise ValueError(f"average needs hypotheses that all give counts, or all values, of {modality!r}; some give each")
        share = self.prior if weights is None else checks.numbers(weights, "weights", checks.NOT_NEGATIVE)
        if share.shape != (len(self),):
            raise ValueError(f"weights must hold {len(self)} numbers, one per hypothesis; got shape {share.shape}")
        if total is not None:
            total = checks.number(total, "total", checks.POSITIVE)
        mixed = table.mixture(share)
        tensor = mixed.T.reshape(table.shape)
        return tensor if total is None else tensor * (total / tensor.sum())

    def distinct(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """First hypothesis of every class of hypotheses that agree everywhere, and the class of each hypothesis."""
        if self.models:
            return np.arange(len(self)), np.arange(len(self))
        parts = [t.assignment for t in self.tables.values()]
        parts += [s[:, None].astype(np.intp) for s in self.sharp.values() if s.any() and not s.all()]
        stacked = np.concatenate(parts, axis=1)
        _, first, which = np.unique(stacked, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        return first[order], rank[which.reshape(-1)]

    def merged(self) -> HypothesisSpace:
        """The space with hypotheses that agree everywhere made one, which carries their joint prior probability."""
        first, which = self.distinct()
        if len(first) == len(self):
            return self
        tables = {m: ColumnTable(t.columns, t.assignment[first], t.shape) for m, t in self.tables.items()}
        prior = np.bincount(which, weights=self.prior, minlength=len(first))
        sharp = {k: s[first] for k, s in self.sharp.items()}
        return self.from_columns([self.names[i] for i in first], tables, prior, [self.descriptions[i] for i in first], sharp)

    @checks.checked(model=checks.an(POMDP))
    def check_against(self, model: POMDP) -> None:
        """Raise ValueError unless every hypothesis is a reduction of the model's counts, or gives values that lie within them;
        of a space of models, unless the model is one of them.
        """
        if self.models:
            if not any(model is m for m in self.models):
                raise ValueError("model of Agent must be one of the models that the hypotheses are")
            return
        for k, table in self.resolved(model).tables.items():
            at = k if isinstance(k, Table) else Table("A", k)
            owner = f"modality {at.index}" if at.kind == "A" else f"factor {at.index}"
            sharp = self.resolved(model).sharp[k]
            there = int(at.index) < (model.num_modalities if at.kind == "A" else model.num_factors)
            counts = model.counts_of(at) if there else None
            if not there and at.kind != "A":
                raise ValueError(f"hypotheses speak about {at}, but the model has factors 0..{model.num_factors - 1} only")
            if not there or (counts is None and not sharp.all()):
                raise ValueError(f"hypotheses speak about {owner}, but p{at} of the model is None: it has no counts to reduce")
            shape = model.values_of(at).shape
            if shape != table.shape:
                name = f"p{at}" if counts is not None else str(at)
                raise ValueError(f"hypotheses about {owner} must have the shape of {name}, {shape}; got {table.shape}")
            clash = None if counts is None else table.clash(counts.reshape(len(counts), -1) <= 0)
            if clash is not None:
                j, entry, given = clash
                raise ValueError(
                    f"hypothesis {self.names[j]!r} gives {given:.6g} {'to' if sharp[j] else 'counts to'} p{at}{list(entry)}, a "
                    "structural zero of the model's prior: a reduced prior must lie within the full one"
                )


def _read(name: str, given: Mapping[Any, ArrayLike]) -> tuple[dict[Any, NDArray[np.float64]], set[Any]]:
    """What one hypothesis says, by key, and the keys that it gives values of."""
    read: dict[Any, NDArray[np.float64]] = {}
    values: set[Any] = set()
    for key, array in given.items():
        table, of_values = _key_of(key)
        if table in read:
            raise ValueError(f"hypotheses[{name!r}] must give each table once; got {list(given)}")
        what = f"hypotheses[{name!r}][{key!r}]"
        if of_values:
            read[table] = columns(array, what, "outcomes" if not isinstance(table, Table) else "states")
            values.add(table)
        else:
            read[table] = as_counts(array, what)
    return read, values


def _check_comparable(a: POMDP, b: POMDP, name_a: str, name_b: str) -> None:
    """Raise ValueError unless two models see the same outcomes, want the same and can do the same."""

    def check(what: str, mine: Any, other: Any) -> None:
        if mine != other:
            raise ValueError(f"models must agree in their {what}; {name_a!r} has {mine}, {name_b!r} {other}")

    check("numbers of outcomes", a.num_outcomes, b.num_outcomes)
    check("names of modalities", a.labels["modality"], b.labels["modality"])
    check("names of outcomes", a.labels["outcomes"], b.labels["outcomes"])
    controlled = [[m.num_controls[f] for f in m.controlled_factors] for m in (a, b)]
    check("numbers of controls", *controlled)
    acting = [m.policies[:, :, list(m.controlled_factors)] for m in (a, b)]
    if acting[0].shape != acting[1].shape or not np.array_equal(*acting):
        raise ValueError(f"models must agree in their policies; those of {name_a!r} and {name_b!r} differ")
    habits = [any(table.kind == "E" for table in m.learned) for m in (a, b)]
    if habits[0] != habits[1] or not np.allclose(a.log_policy_prior, b.log_policy_prior, rtol=0, atol=1e-12):
        raise ValueError(f"models must agree in their priors over policies; E (or pE) of {name_a!r} and {name_b!r} differ")
    for m, (mine, other) in enumerate(zip(a.C, b.C, strict=True)):  # type: ignore[arg-type]
        if not np.array_equal(mine, other):
            raise ValueError(f"models must agree in their preferences; C[{m}] of {name_a!r} and {name_b!r} differ")
