"""What agents of one batch do not share: tables of their own, checked and sorted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from activebmr import checks
from activebmr.arrays import Floats
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.pomdp import POMDP

__all__ = ["Own"]

_SUM = 1e-6


@dataclass(frozen=True, eq=False)
class Own:
    """Tables of each agent, with a leading axis ``n_agents``.

    Attributes:
        preferences: log preferences by modality ``(n_agents, O_m)``.
        counts: Dirichlet counts by modality ``(n_agents, O_m, S_d0, ...)``.
        tables: by ``("A", m)``, ``("B", f)`` and ``("D", f)`` probabilities.
        prior: probabilities of hypotheses ``(n_agents, n_hypotheses)``, or None.
        n_agents: size of the batch that they are for, or None if there are none.
    """

    preferences: dict[int, Floats] = field(default_factory=dict)
    counts: dict[int, Floats] = field(default_factory=dict)
    tables: dict[tuple[str, int], Floats] = field(default_factory=dict)
    prior: Floats | None = None
    n_agents: int | None = None

    @classmethod
    def of(cls, model: POMDP, given: Mapping[str, Any], space: HypothesisSpace | None) -> Own:
        """Tables as users give them, by ``"C[feedback]"``, ``"pA[1]"``, ``"A[1]"``, ``"B[place]"``, ``"D[0]"``, ``"prior"``.

        Raises:
            ValueError: naming the key, the rule and the value.
            TypeError: if a value holds no numbers.
        """
        if not isinstance(given, Mapping):
            raise TypeError(f"own of Agent must be a dict from names like 'C[0]' to arrays; got {type(given).__name__}")
        preferences: dict[int, Floats] = {}
        counts: dict[int, Floats] = {}
        tables: dict[tuple[str, int], Floats] = {}
        prior, sizes = None, {}
        for key, value in given.items():
            array = checks.frozen(checks.float_array(value, f"own[{key!r}] of Agent"))
            sizes[key] = len(array) if array.ndim else 0
            match = re.fullmatch(r"(C|pA|A|B|D)\[([^\]]+)\]", str(key))
            if key == "prior":
                prior = _prior(array, space)
            elif match is None:
                raise ValueError(f"own of Agent must have keys like 'C[0]', 'pA[feedback]', 'B[place]' or 'prior'; got {key!r}")
            else:
                kind, name = match.groups()
                owner = int(name) if name.isdigit() else name
                if kind in ("C", "pA", "A"):
                    m = model.modality(owner)
                    if m in {"C": preferences, "pA": counts}.get(kind, {}) or (kind, m) in tables:
                        raise ValueError(f"own of Agent must name every table once; {kind}[{m}] is there twice")
                    checked = _of_modality(model, kind, m, array, key)
                    if kind == "A":
                        tables["A", m] = checked
                    else:
                        (preferences if kind == "C" else counts)[m] = checked
                else:
                    f = model.factor(owner)
                    if (kind, f) in tables:
                        raise ValueError(f"own of Agent must name every table once; {kind}[{f}] is there twice")
                    tables[kind, f] = _probabilities(array, getattr(model, kind)[f].shape, key)
        if len(set(sizes.values())) > 1:
            raise ValueError(f"own of Agent must hold tables for equally many agents; got {sizes}")
        return cls(preferences, counts, tables, prior, next(iter(sizes.values()), None))

    def check_size(self, n_agents: int) -> None:
        """Raise ValueError unless a batch has the size that the tables are for."""
        if self.n_agents is not None and self.n_agents != n_agents:
            raise ValueError(f"own of Agent has tables for {self.n_agents} agents; the batch has {n_agents}")


def _of_modality(model: POMDP, kind: str, m: int, array: Floats, key: str) -> Floats:
    shape = model.A[m].shape
    if kind == "A":
        if model.pA[m] is not None:  # type: ignore[index]
            raise ValueError(f"own[{key!r}] of Agent must speak about a known likelihood; pA[{m}] of the model holds counts")
        return _probabilities(array, shape, key)
    if kind == "C":
        if array.ndim != 2 or array.shape[1] != shape[0]:
            raise ValueError(f"own[{key!r}] of Agent must have shape (agents, {shape[0]}); got {array.shape}")
        if np.isnan(array).any() or (array == np.inf).any() or (array == -np.inf).all(axis=1).any():
            raise ValueError(f"own[{key!r}] of Agent must hold log preferences below infinity, some of them finite")
        return array
    if model.pA[m] is None:  # type: ignore[index]
        raise ValueError(f"own[{key!r}] of Agent needs counts to replace: pA[{m}] of the model is None")
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
        raise ValueError(f"own[{key!r}] of Agent must have shape {('agents', *shape)}; got {array.shape}")
    if not np.isfinite(array).all() or (array < 0).any() or not (array.sum(axis=1) > 0).all():
        raise ValueError(f"own[{key!r}] of Agent must hold finite counts >= 0, some in every column")
    return array


def _probabilities(array: Floats, shape: tuple[int, ...], key: str) -> Floats:
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
        raise ValueError(f"own[{key!r}] of Agent must have shape {('agents', *shape)}; got {array.shape}")
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(f"own[{key!r}] of Agent must hold finite probabilities >= 0")
    total = array.sum(axis=1)
    if (np.abs(total - 1.0) > _SUM).any():
        at = tuple(int(i) for i in np.argwhere(np.abs(total - 1.0) > _SUM)[0])
        raise ValueError(f"own[{key!r}] of Agent must sum to 1 over axis 1; column {at} sums to {float(total[at]):.6g}")
    exact = np.abs(total - 1.0) <= 4 * array.shape[1] * np.finfo(np.float64).eps
    return array if exact.all() else checks.frozen(np.where(exact[:, None], array, array / total[:, None]))


def _prior(array: Floats, space: HypothesisSpace | None) -> Floats:
    if space is None:
        raise ValueError("own['prior'] of Agent needs hypotheses; got none")
    if array.ndim != 2 or array.shape[1] != len(space):
        raise ValueError(f"own['prior'] of Agent must have shape (agents, {len(space)}); got {array.shape}")
    if not np.isfinite(array).all() or not (array > 0).all():
        raise ValueError("own['prior'] of Agent must hold positive numbers")
    return np.asarray(array / array.sum(axis=1, keepdims=True))
