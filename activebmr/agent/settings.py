"""`Learning` and `Selection`: how an agent's counts change, and when it makes a hypothesis its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from activebmr import checks
from activebmr.arrays import Floats
from activebmr.model.naming import Table
from activebmr.model.pomdp import POMDP

__all__ = ["Learning", "Selection"]

_WINDOW = checks.Rule("be a number of nats, or inf for never", checks.ANY_NUMBER.holds)


class _Settings:
    """Equal if all values are; an array counts as one value."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(_equal(value, vars(other)[name]) for name, value in vars(self).items())

    def __hash__(self) -> int:
        return hash(tuple(_bytes(value) for value in vars(self).values()))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
    return isinstance(a, Mapping) == isinstance(b, Mapping) and bool(np.array_equal(a, b))


def _bytes(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple(sorted((k, np.asarray(v).tobytes()) for k, v in value.items()))
    return np.asarray(value).tobytes()


@dataclass(frozen=True, eq=False)
class Learning(_Settings):
    """How counts change. Numbers marked (n_agents,) are one for all agents of a batch, or an array with one for each.

    Attributes:
        rate: counts that one outcome (or move) adds, >= 0 (n_agents,); 0 freezes the counts of an agent that stays uncertain.
            Or a dict from names of tables (``"pB[place]"``) or kinds of them (``"pB"``) to such rates; of tables that it does
            not name it is 1.
        retention: what counts are multiplied with after every trial, in (0, 1] (n_agents,); 1 forgets nothing (SPM: 512/513).
            Or a dict, likewise.
        smooth: whether counts are added at the end of a trial, from beliefs about every moment given the whole trial, instead
            of at every step, from what was believed at that moment (SPM). Without joint reasoning this is exact for factors
            that stay as they are; factors that move by themselves keep what was believed at each moment.
        at_end: whether counts are added at the end of a trial even so, from what was believed at each moment (pymdp's
            ``learning_mode="offline"``). Smooth learning always is at the end.

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if ``smooth`` or ``at_end`` is not a bool, or a number is none.

    Example:
        >>> Learning(rate=[0.1, 1.0]).rate
        array([0.1, 1. ])
        >>> quick = Learning(rate={"pB[place]": 4.0}, retention={"pA": 0.99})
    """

    rate: float | Floats | Mapping[str, float | Floats] = 1.0
    retention: float | Floats | Mapping[str, float | Floats] = 1.0
    smooth: bool = False
    at_end: bool = False

    def __post_init__(self) -> None:
        for name, rule in (("rate", checks.NOT_NEGATIVE), ("retention", checks.FRACTION)):
            value = getattr(self, name)
            if isinstance(value, Mapping):
                checked: Any = {k: checks.per_agent(v, f"{name}[{k!r}] of Learning", rule) for k, v in value.items()}
            else:
                checked = checks.per_agent(value, f"{name} of Learning", rule)
            object.__setattr__(self, name, checked)
        for name in ("smooth", "at_end"):
            object.__setattr__(self, name, checks.flag(getattr(self, name), f"{name} of Learning"))

    @checks.checked(model=checks.an(POMDP), models=checks.items(checks.an(POMDP)))
    def among(self, model: POMDP, models: Sequence[POMDP]) -> Learning:
        """The same for one of several models: without what is said of tables that others of these have alone.

        Raises:
            ValueError: if a name is of a learned table of none of them.
        """
        if len(models) < 2:
            return self
        kept = {name: _of_some(getattr(self, name), model, models, f"{name} of Learning") for name in ("rate", "retention")}
        return replace(self, **kept)

    @checks.checked(model=checks.an(POMDP))
    def rates_of(self, model: POMDP) -> dict[Table, float | Floats]:
        """Rate of every learned table of a model.

        Raises:
            ValueError: if a name is none of a learned table, or of their kinds.
        """
        return _of_tables(self.rate, model, "rate of Learning")

    @checks.checked(model=checks.an(POMDP))
    def retentions_of(self, model: POMDP) -> dict[Table, float | Floats]:
        """Retention of every learned table; errors as in `rates_of`."""
        return _of_tables(self.retention, model, "retention of Learning")


def _of_tables(value: Any, model: POMDP, name: str) -> dict[Table, float | Floats]:
    if not isinstance(value, Mapping):
        return dict.fromkeys(model.learned, value)
    out: dict[Table, float | Floats] = dict.fromkeys(model.learned, 1.0)
    for key in sorted(value, key=lambda k: "[" in str(k)):  # kinds first: what a table has by its own name goes before
        for table in _named(key, model, name):
            out[table] = value[key]
    return out


def _named(key: str, model: POMDP, name: str) -> list[Table]:
    """The learned tables that a name of one, or of a kind of them, means."""
    of_kind = re.fullmatch(r"p([ABDE])", str(key))
    tables = [t for t in model.learned if of_kind is not None and t.kind == of_kind[1]]
    if of_kind is None or (key == "pE" and not tables):
        tables = [model.table(key)]
    if not tables or not set(tables) <= set(model.learned):
        known = [f"p{t}" for t in model.learned]
        raise ValueError(f"{name} must name tables that are learned, {known}; got {key!r}{checks.meant(key, known)}")
    return tables


def _of_some(value: Any, model: POMDP, models: Sequence[POMDP], name: str) -> Any:
    """What a model has of rates by name, of which each must be that of a learned table of one of the models."""
    if not isinstance(value, Mapping):
        return value
    kept = {}
    for key in value:
        refused = {}
        for i, m in enumerate(models):
            try:
                _named(key, m, name)
            except ValueError as error:
                refused[i] = error
        if len(refused) == len(models):
            raise refused[0]
        if not any(m is model for i, m in enumerate(models) if i in refused):
            kept[key] = value[key]
    return kept


@dataclass(frozen=True, eq=False)
class Selection(_Settings):
    """When an agent makes one of its hypotheses its own (Friston et al. 2025, eq. 12 and 13).

    Attributes:
        threshold: Occam's window in nats: log odds of the best hypothesis above which it is adopted; ``inf`` for never. One
            for all agents, or an array ``(n_agents,)``.
        concentration: counts that the adopted average of hypotheses carries per column, > 0 (SPM: 512). One for all agents, or
            an array ``(n_agents,)``.
        offset: added to all counts when hypotheses are scored, > 0 (SPM: 1/32); see `reduction.log_evidence_ratio`.
        last_outcome: whether the posterior that decides includes what the trial's last outcome taught (SPM's does not; with
            joint reasoning it always does).
        curious: whether, until a hypothesis is adopted (or introspection has found one of a list), preferences are flat and the
            planner looks one step ahead only.
        at_once: whether a hypothesis is adopted as soon as its log odds pass Occam's window, also within a trial; only for
            agents that reason exactly about tables of any kind or about models of their own.

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if ``curious``, ``last_outcome`` or ``at_once`` is not a bool, or a number is none.

    Example:
        >>> Selection(threshold=[3.0, np.inf]).threshold
        array([ 3., inf])
    """

    threshold: float | Floats = 16.0
    concentration: float | Floats = 512.0
    offset: float = 1 / 32
    curious: bool = False
    last_outcome: bool = False
    at_once: bool = False

    def __post_init__(self) -> None:
        for name, rule in (("threshold", _WINDOW), ("concentration", checks.POSITIVE)):
            object.__setattr__(self, name, checks.per_agent(getattr(self, name), f"{name} of Selection", rule))
        object.__setattr__(self, "offset", checks.number(self.offset, "offset of Selection", checks.POSITIVE))
        for name in ("curious", "last_outcome", "at_once"):
            object.__setattr__(self, name, checks.flag(getattr(self, name), f"{name} of Selection"))
