"""What a result shows of itself: a few lines in a shell, a table in a notebook."""

from __future__ import annotations

from typing import Any

from activebmr.arrays import standard_error
from activebmr.display import html_table

__all__ = ["html_of", "mean_of", "text_of", "value_of"]

_MOST = 12  # schemes that are shown


def text_of(result: Any) -> str:
    """A line about the simulation, and one about every scheme."""
    rows = result.summary()
    lines = [f"  {row['scheme']}: {_sentence(result, row)}" for row in rows[:_MOST]]
    if len(rows) > _MOST:
        lines.append(f"  ... and {len(rows) - _MOST} more schemes")
    return "\n".join([_title(result), *lines])


def html_of(result: Any) -> str:
    """A table with a row for every scheme; all text is escaped."""
    rows = result.summary()
    found, own = any(row["has_hypotheses"] for row in rows), result.own_measures
    standard = [] if own else [n for n, a in (("discovery", "discovery_trials"), ("score", "score")) if a in result]
    header = ["scheme", *(["found", "wrong"] if found else []), *own, *standard]
    cells = []
    for row in rows:
        adopted = [f"{row['found']:.0%}", str(row["wrong"])] if row["has_hypotheses"] else ["-", "-"]
        means = [value_of(*row["measures"][n], result.about(n)[1], "±") for n in own]
        means += [mean_of(row[n], row[f"{n}_se"], 1, "±") for n in standard]
        cells.append([row["scheme"], *(adopted if found else []), *means])
    notes = [f"{name}: {sentence}" + (f" ({unit})" if unit else "") for name in own for sentence, unit in [result.about(name)]]
    return html_table(_title(result), header, cells, notes)


def _title(result: Any) -> str:
    head = ", ".join(f"{n} {d}{'s' if n != 1 else ''}" for d, n in list(result.sizes.items())[:3])
    return f"Result of {result.settings.get('paradigm', 'a paradigm')}: {head}; seed {int(result.seed)}"


def _sentence(result: Any, row: dict[str, Any]) -> str:
    """What came of a scheme."""
    parts = []
    if row["has_hypotheses"]:
        parts.append(f"{row['found']:.0%} found the true model, {row['wrong']} adopted a wrong one")
    for name, (mean, error) in row["measures"].items():
        unit = result.about(name)[1]
        parts.append(f"{name} {value_of(mean, error, unit)}" + f" {unit}" * (unit not in ("", "share", "probability")))
    if not row["measures"] and "discovery_trials" in result:
        discovery = f"discovery after {mean_of(row['discovery'], row['discovery_se'])} trials"
        parts.append(f"{discovery} (median {row['discovery_median']:g})")
    if not row["measures"] and "score" in result:
        parts.append(f"score {mean_of(row['score'], row['score_se'])}")
    if not parts:
        energy = result["free_energy"][result.schemes.index(row["scheme"])].mean(axis=-1)
        parts.append(f"free energy {mean_of(float(energy.mean()), standard_error(energy))} nats a trial")
    more = f"; {row['impossible']} observations were impossible to its agents" if row["impossible"] else ""
    return ", ".join(parts) + more


def value_of(mean: float, error: float, unit: str, sign: str = "+-") -> str:
    """A mean and its standard error, as their unit is usually read: shares in per cent, probabilities with three digits."""
    if unit == "share" and mean == mean:
        return f"{mean:.1%}" + (f" {sign} {100 * error:.1f}" if error == error else "")
    return mean_of(mean, error, 3 if unit == "probability" else 2, sign)


def mean_of(mean: float, error: float, digits: int = 1, sign: str = "+-") -> str:
    """A mean and its standard error, which one agent has not; never -0.0 or nan."""
    if mean != mean:
        return "-"
    return f"{round(mean, digits) + 0.0:.{digits}f}" + (f" {sign} {error:.{digits}f}" if error == error else "")
