"""What the command `activebmr` prints: tables of results, and summaries of replays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from activebmr.simulation.paradigm import Paradigm
    from activebmr.simulation.result import Result

__all__ = ["console", "print_table", "report_replay", "report_run", "truth_sentence"]


def console() -> Console:
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False)


def _pm(mean: float, error: float) -> str:
    return f"{round(mean, 1) + 0.0:.1f}" + (f" +- {error:.1f}" if error == error else "")  # never -0.0 or nan


def print_table(screen: Console, title: str, header: Sequence[str], rows: list[Sequence[str]]) -> None:
    """A table; in a narrow terminal a block of lines for each row."""
    from rich import box
    from rich.table import Table

    screen.print(f"\n{title}")
    width = sum(max(len(cell) for cell in column) + 2 for column in zip(header, *rows, strict=True)) + 2
    if width <= screen.width:
        table = Table(*header[:1], box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
        for name in header[1:]:
            table.add_column(name, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        screen.print(table)
        return
    for row in rows:
        screen.print(row[0], style="bold")
        for name, cell in zip(header[1:], row[1:], strict=True):
            screen.print(f"  {name}: {cell}")


Table = tuple[Sequence[str], list[Sequence[str]], Sequence[str]]
"""Header, rows and notes."""


def report_run(result: Result, paradigm: Paradigm, target: Path, table: Callable[[Result], Table] | None = None) -> None:
    """Print what came of a run: the paradigm's own table, or the one about discovery and score."""
    screen = console()
    agents, trials = result.sizes["agent"], result.sizes["trial"]
    lived = f"{agents} agent{'s' * (agents > 1)}, {trials} trial{'s' * (trials > 1)}"
    header, rows, notes = (table or _discovery_table)(result)
    print_table(screen, f"{paradigm.name}: {lived}, seed {int(result.seed)}", header, rows)
    if len(rows) > 1 and table is None:
        title = f"difference from {rows[0][0]}, agent by agent"
        print_table(screen, title, ("scheme", "discovery", "score"), _paired(result))
    screen.print(f"\ntrue rule: {truth_sentence(paradigm)}")
    for note in notes:
        screen.print(note)
    screen.print(f"\nresult: {target}", soft_wrap=True)


def _discovery_table(result: Result) -> Table:
    rows: list[Sequence[str]] = []
    for r in result.summary():
        found, wrong = (f"{r['found']:.0%}", str(r["wrong"])) if r["has_hypotheses"] else ("-", "-")
        discovery, score = _pm(r["discovery"], r["discovery_se"]), _pm(r["score"], r["score_se"])
        rows.append((r["scheme"], found, wrong, discovery, f"{r['discovery_median']:g}", score))
    notes = (
        "found: agents that adopted the true rule, or one that agrees with it everywhere; wrong: another rule",
        "discovery: trials until the learned likelihood is within 1 nat of the truth (KL divergence); agents that never "
        f"get there count with all {result.sizes['trial']}",
        "score: worth of all outcomes (where a win is 1 and a loss -1, wins minus losses); +-: standard error",
    )
    return ("scheme", "found", "wrong", "discovery", "median", "score"), rows, notes


def _paired(result: Result) -> list[Sequence[str]]:
    """Each scheme's difference from the first one; agent k lives through the same random numbers under all of them."""
    from activebmr.arrays import standard_error

    rows: list[Sequence[str]] = []
    for s, name in enumerate(result.schemes[1:], start=1):
        gaps = [result[m][s] - result[m][0] for m in ("discovery_trials", "score")]
        rows.append((name, *(_pm(float(g.mean()), standard_error(g)) for g in gaps)))
    return rows


def report_replay(paradigm: Paradigm, arrays: dict[str, Any], controls: Any, out: Path) -> None:
    import numpy as np

    screen = console()
    trials, times = controls.shape[0], controls.shape[2]
    screen.print(f"{paradigm.name}, {paradigm.scheme}: {trials} trials of {times} observations")
    if times > 1:
        done = controls[:, :, :-1].transpose(0, 2, 1)  # (trial, time, factor); nothing follows the last observation
        same = (paradigm.agent.model.policies[None, None, :, 0] == done[:, :, None]).all(axis=-1)
        chosen = (arrays["q_pi"][:, :-1] * same).sum(axis=-1)
        possible = same.any(axis=-1)
        if not possible.all():
            screen.print(f"{(~possible).sum()} of {possible.size} recorded actions begin no policy and are left out")
        if possible.any():
            surprise = np.log(np.maximum(chosen[possible], np.finfo(float).tiny)).mean()
            chance = same[possible].mean(axis=-1)
            screen.print(
                f"probability of the recorded actions: mean {chosen[possible].mean():.3f} (chance {chance.mean():.3f})"
            )
            screen.print(f"log likelihood per choice: {surprise:.3f} nats (chance {np.log(chance).mean():.3f})")
    when = np.flatnonzero(arrays["adopted_model"] >= 0)
    if len(when) and paradigm.hypotheses is not None:
        model = int(arrays["adopted_model"][when[0]])
        screen.print(f"adopted after trial {when[0]} (counted from 0): rule {model}, {paradigm.hypotheses.descriptions[model]}")
    else:
        screen.print("adopted: no rule")
    screen.print(f"result: {out}", soft_wrap=True)


def truth_sentence(paradigm: Paradigm) -> str:
    if paradigm.hypotheses is None:
        return "none"
    if paradigm.truth == "random":
        return "another one for every agent"
    index = int(paradigm.truth)  # type: ignore[arg-type]
    return f"{index}, {paradigm.hypotheses.descriptions[index]}"
