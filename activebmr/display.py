"""What notebooks show of objects: small tables in HTML, every word escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["few", "html_table"]

_MOST = 8


def html_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str] = ()) -> str:
    """A table with a title above it and notes below it, for ``_repr_html_``; all text is escaped.

    Args:
        title: a line of text.
        header: names of the columns.
        rows: cells, turned into strings.
        notes: lines below the table.

    Example:
        >>> html_table("a < b", ["x"], [["&"]])
        '<div><p>a &lt; b</p><table><thead><tr><th>x</th></tr></thead><tbody><tr><td>&amp;</td></tr></tbody></table></div>'
    """
    head = "".join(f"<th>{escape(str(cell))}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    below = "".join(f"<p><small>{escape(note)}</small></p>" for note in notes)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div><p>{escape(title)}</p>{table}{below}</div>"


def few(names: Sequence[object], most: int = _MOST) -> str:
    """The first of some names, and how many more there are."""
    more = f", ... ({len(names)})" if len(names) > most else ""
    return ", ".join(str(n) for n in names[:most]) + more
