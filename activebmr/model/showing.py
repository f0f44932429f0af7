"""What notebooks show of models and hypotheses: sizes and names in a table, every word escaped."""

from __future__ import annotations

from typing import Any

from activebmr.display import few, html_table

__all__ = ["html_of_hypotheses", "html_of_model"]

_MOST = 12  # rows


def html_of_model(model: Any) -> str:
    """Factors and modalities of a model, their sizes and labels, and what is learned of them."""
    labels, learned = model.labels, [str(table) for table in model.learned]
    rows: list[list[object]] = []
    for f, name in enumerate(labels["factor"]):
        controls = f"controls: {few(labels['controls'][name])}" if model.num_controls[f] > 1 else "no controls"
        counts = ", ".join(f"p{t}" for t in learned if t in (f"B[{f}]", f"D[{f}]", f"E[{f}]"))
        rows.append([f"factor {f}", name, model.num_states[f], few(labels["states"][name]), controls, counts])
    for m, name in enumerate(labels["modality"]):
        parents = few([labels["factor"][f] for f in model.A_dependencies[m]])  # type: ignore[index]
        counts = f"pA[{m}]" if f"A[{m}]" in learned else ""
        outcomes = few(labels["outcomes"][name])
        rows.append([f"modality {m}", name, model.num_outcomes[m], outcomes, f"depends on: {parents}", counts])
    header = ["", "name", "size", "states or outcomes", "", "learned"]
    return html_table(repr(model), header, _shortened(rows))


def html_of_hypotheses(space: Any) -> str:
    """Hypotheses in words, and how probable they are at first."""
    words = zip(space.descriptions, space.prior, strict=True)
    rows: list[list[object]] = [[i, text, f"{p:.3g}"] for i, (text, p) in enumerate(words)]
    return html_table(repr(space), ["", "hypothesis", "prior"], _shortened(rows))


def _shortened(rows: list[list[object]]) -> list[list[object]]:
    if len(rows) <= _MOST:
        return rows
    return [*rows[:_MOST], ["...", f"{len(rows) - _MOST} more", *[""] * (len(rows[0]) - 2)]]
