"""Names of a model's tables: ``"pA[cue]"``, ``"B[0]"``, ``"pD[context]"``."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from activebmr import checks

__all__ = ["KINDS", "Key", "Table", "key_of", "read_name", "table_of"]

KINDS = {"A": "modality", "B": "factor", "D": "factor", "E": "factor"}
"""What the tables of each kind are numbered by."""


class Table(NamedTuple):
    """One table of a model: its kind (a key of `KINDS`) and the index of its modality or factor.

    Prior probabilities over whole policies, which belong to no factor, are ``Table("E", -1)``.
    """

    kind: str
    index: int | str

    def __str__(self) -> str:
        return self.kind if self.index == -1 else f"{self.kind}[{self.index}]"


Key = int | Table
"""What tables are kept by: likelihoods by the index of their modality, others as `Table`."""


def key_of(table: Table) -> Key:
    """What a table is kept by."""
    return int(table.index) if table.kind == "A" else table


def table_of(key: Key) -> Table:
    """The table that is kept by a key."""
    return key if isinstance(key, Table) else Table("A", key)


def read_name(key: Any, what: str) -> tuple[Table, bool]:
    """The table that a name means, its owner by name if the name has it so, and whether the name is that of counts.

    Args:
        key: ``"pB[f]"`` (counts) or ``"B[f]"`` (values) with the index or the name of the owner; a `Table` (counts); or the
            index of a modality (its counts).
        what: what is named, for the error.

    Raises:
        ValueError: if it is none of these.
    """
    if isinstance(key, Table):
        return key, True
    if checks.is_whole(key) and int(key) >= 0:
        return Table("A", int(key)), True
    match = re.fullmatch(r"(p?)([ABDE])\[(.+)\]", str(key))
    if match is None and str(key) in ("E", "pE"):
        return Table("E", -1), str(key) == "pE"
    if match is None or re.fullmatch(r"-\d+", match[3]):
        raise ValueError(
            f"{what} must be names of tables like 'pA[m]', 'B[f]' or 'pD[f]' (with the index or name of a modality or factor), "
            f"or the index m >= 0 of a modality; got {key!r}"
        )
    owner: int | str = int(match[3]) if match[3].isdecimal() else match[3]
    return Table(match[2], owner), bool(match[1])
