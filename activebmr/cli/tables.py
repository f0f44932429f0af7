"""The tables that `activebmr run` prints where a paradigm prints none of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from activebmr.simulation.showing import mean_of, value_of

if TYPE_CHECKING:
    from activebmr.simulation.result import Result

__all__ = ["Table", "measure_table", "paired"]

Table = tuple[Sequence[str], list[Sequence[str]], Sequence[str]]
"""Header, rows and notes."""


def measure_table(result: Result) -> Table:
    """What a paradigm measures, one row per scheme: its own measures or, where it has none, discovery and score."""
    rows, own = result.summary(), result.own_measures
    seeks = any(r["has_hypotheses"] for r in rows)
    discovery, score = (not own and name in result for name in ("discovery_trials", "score"))
    header = ["scheme", *(["found", "wrong"] if seeks else []), *(_column(result, n) for n in own)]
    header += ["discovery", "median"] * discovery + ["score"] * score
    plain = not (own or discovery or score)
    header += ["free energy"] * plain
    cells: list[Sequence[str]] = []
    for s, r in enumerate(rows):
        adopted = [f"{r['found']:.0%}", str(r["wrong"])] if r["has_hypotheses"] else ["-", "-"]
        row = [r["scheme"], *(adopted if seeks else []), *(value_of(*r["measures"][n], result.about(n)[1]) for n in own)]
        row += [mean_of(r["discovery"], r["discovery_se"]), f"{r['discovery_median']:g}"] * discovery
        row += [mean_of(r["score"], r["score_se"])] * score
        row += [mean_of(*_mean(result.per_agent("free_energy")[s]), 2)] * plain
        cells.append(row)
    return header, cells, _notes(result, seeks, own, discovery, score, plain)


def _notes(result: Result, seeks: bool, own: list[str], discovery: bool, score: bool, plain: bool) -> list[str]:
    notes = []
    if seeks:
        notes.append("found: agents that adopted the true rule, or one that agrees with it everywhere; wrong: another rule")
    notes += [f"{_column(result, name)}: {result.about(name)[0]}" for name in own]
    if discovery:
        notes.append(
            "discovery: trials at whose end the learned likelihood was further than 1 nat from the truth (KL divergence); "
            f"agents that never get there count with all {result.sizes['trial']}"
        )
    if score:
        notes.append("score: worth of all outcomes (where a win is 1 and a loss -1, wins minus losses); +-: standard error")
    elif result.sizes["agent"] > 1:
        notes += ["free energy: nats per trial"] * plain + ["+-: standard error over agents"]
    return notes


def paired(result: Result) -> Table | None:
    """Each scheme's difference from the first one; agent k lives through the same random numbers under all of them. None for
    one scheme, or where nothing can be compared.
    """
    own = result.own_measures
    names = {_column(result, n): n for n in own} or {
        title: n for title, n in (("discovery", "discovery_trials"), ("score", "score")) if n in result
    }
    if len(result.schemes) < 2 or not names:
        return None
    each = {title: result.per_agent(n) for title, n in names.items()}
    rows: list[Sequence[str]] = []
    for s, scheme in enumerate(result.schemes[1:], start=1):
        cells = []
        for title, values in each.items():
            digits = 3 if result.about(names[title])[1] in ("share", "probability") else 2 if own else 1
            cells.append(mean_of(*_mean(values[s] - values[0]), digits))
        rows.append((scheme, *cells))
    return ("scheme", *each), rows, ()


def _mean(values: Any) -> tuple[float, float]:
    import numpy as np

    from activebmr.arrays import standard_error

    known = values[~np.isnan(values)]
    return (float(known.mean()), float(standard_error(known))) if len(known) else (np.nan, np.nan)


def _column(result: Result, name: str) -> str:
    return name.replace("_", " ")
