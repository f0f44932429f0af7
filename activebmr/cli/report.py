"""What the command `activebmr` prints: tables of results, and summaries of replays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from activebmr.cli.problems import printable
from activebmr.cli.tables import Table, measure_table, paired

if TYPE_CHECKING:
    from rich.console import Console

    from activebmr.simulation.paradigm import Paradigm
    from activebmr.simulation.result import Result

__all__ = ["console", "print_table", "report_replay", "report_run", "truth_sentence"]


def console() -> Console:
    """What is printed through it has control characters written out: names may come from files of others."""
    from rich.console import Console
    from rich.text import Text

    class Screen(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str("\n".join(printable(line) for line in text.split("\n")), **options)

    return Screen(markup=False, highlight=False, emoji=False)


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


def report_run(result: Result, paradigm: Paradigm, target: Path, table: Callable[[Result], Table] | None = None) -> None:
    """Print what came of a run: the paradigm's own table, or the one about its measures."""
    screen = console()
    agents, trials = result.sizes["agent"], result.sizes["trial"]
    lived = f"{agents} agent{'s' * (agents > 1)}, {trials} trial{'s' * (trials > 1)}"
    header, rows, notes = (table or measure_table)(result)
    print_table(screen, f"{paradigm.name}: {lived}, seed {int(result.seed)}", header, rows)
    differences = paired(result) if table is None else None
    if differences is not None:
        print_table(screen, f"difference from {rows[0][0]}, agent by agent", *differences[:2])
    screen.print()
    if paradigm.hypotheses is not None:
        screen.print(f"true rule: {truth_sentence(paradigm)}")
    for name, count in zip(result.schemes, result.impossible.sum(axis=(1, 2)), strict=True):
        if count:
            screen.print(f"{name}: {int(count)} observations were impossible under its agents' model")
    for note in notes:
        screen.print(note)
    screen.print(f"\nresult: {target}", soft_wrap=True)


def report_replay(schemes: Sequence[Paradigm], replays: Sequence[dict[str, Any]], targets: Sequence[Path]) -> None:
    """Print how well schemes explain a recording: what `activebmr.replay` returned for each, and where that was written."""
    screen = console()
    sums = [_explained(arrays) for arrays in replays]
    if len(schemes) == 1:
        screen.print(f"{schemes[0].name}, {schemes[0].scheme}: {sums[0]['lived']}")
        _print_likelihood(screen, sums[0])
        screen.print(_adoption(schemes[0], replays[0]))
    else:
        together = sorted(zip(schemes, sums, replays, strict=True), key=lambda one: -one[1]["log_q_pi"])
        rows = [
            (
                p.scheme,
                *(f"{s[k]:.3f}" for k in ("log_q_pi", "log_chance", "q_pi")),
                f"{s['log_acting']:.5g}",
                str(s["impossible"]),
                _adopters(r),
            )
            for p, s, r in together
        ]
        header = ("scheme", "log likelihood", "by chance", "probability", "acting", "impossible", "adopted")
        print_table(screen, f"{schemes[0].name}: {sums[0]['lived']}", header, rows)
        for note in _REPLAY_NOTES:
            screen.print(note)
    for target in targets:
        screen.print(f"result: {target}", soft_wrap=True)


_REPLAY_NOTES = (
    "log likelihood: of what was done, mean per choice in nats, by the posterior over policies (q_pi), the best scheme first; "
    "by chance: if every policy were as probable as any other; probability: by q_pi, mean per choice",
    "acting: the same by the probabilities with which the agents act: those that hardly ever err (a large alpha) "
    "hold every lapse for all but impossible",
    "impossible: observations that cannot be under the scheme; adopted: participants for whom a rule was adopted",
)


def _explained(arrays: dict[str, Any]) -> dict[str, Any]:
    """What arrays of a replay come to."""
    import numpy as np

    lengths = np.isfinite(arrays["free_energy"]).sum(axis=-1)
    acting, q_pi, chance = (arrays[n] for n in ("log_likelihood", "log_likelihood_q_pi", "chance"))
    made = ~np.isnan(acting)
    foreign = made & (chance == 0) & (acting == -np.inf)
    scored = made & ~foreign
    mean = lambda x: float(x[scored].mean()) if scored.any() else np.nan  # noqa: E731
    times, trials = int(lengths.max()), int((lengths > 0).sum(axis=-1).max())
    people = f"{len(lengths)} participant{'s' if len(lengths) != 1 else ''}, " if lengths.ndim == 2 else ""
    length = (
        f"{times} observation{'s' * (times > 1)}" if (lengths[lengths > 0] == times).all() else f"up to {times} observations"
    )
    return {
        "lived": f"{people}{trials} trial{'s' * (trials > 1)} of {length}",
        "choices": int(made.sum()),
        "foreign": int(foreign.sum()),
        "missed": int(np.maximum(lengths - 1, 0).sum() - made.sum()),
        "scored": int(scored.sum()),
        "never": int((acting[scored] == -np.inf).sum()),
        "log_q_pi": mean(q_pi),
        "log_acting": mean(acting),
        "q_pi": mean(np.exp(q_pi)),
        "acting": mean(arrays["action_probability"]),
        "chance": mean(chance),
        "log_chance": float(np.log(chance[scored]).mean()) if (chance[scored] > 0).all() and scored.any() else -np.inf,
        "impossible": int(arrays["impossible"].sum()),
        "observations": int(lengths.sum()),
    }


def _print_likelihood(screen: Console, s: dict[str, Any]) -> None:
    if s["foreign"]:
        screen.print(f"{s['foreign']} of {s['choices']} recorded actions begin no policy and are left out")
    if s["missed"] and s["choices"]:
        screen.print(f"{s['missed']} of {s['missed'] + s['choices']} responses were missed and are left out")
    if s["scored"]:
        for words, kind in (
            ("by the posterior over policies (q_pi):", "q_pi"),
            ("by the probabilities with which the agents act (alpha):", "acting"),
        ):
            screen.print(words)
            screen.print(f"  probability of the recorded actions: mean {s[kind]:.3f} (chance {s['chance']:.3f})")
            screen.print(f"  log likelihood per choice: {s['log_' + kind]:.3f} nats (chance {s['log_chance']:.3f})")
        if s["never"]:
            screen.print(f"  {s['never']} of {s['scored']} recorded actions are ones that such agents never do")
    if s["impossible"]:
        screen.print(
            f"{s['impossible']} of {s['observations']} observations are impossible under the scheme: are outcomes counted from "
            "0, and is this their model?"
        )


def _adoption(paradigm: Paradigm, arrays: dict[str, Any]) -> str:
    """Who adopted what."""
    import numpy as np

    adopted = arrays["adopted_model"]
    if adopted.ndim == 2:
        return f"adopted a rule: {_adopters(arrays)} of {len(adopted)} participants"
    when = np.flatnonzero(adopted >= 0)
    if not len(when) or paradigm.hypotheses is None:
        return "adopted: no rule"
    model = int(adopted[when[0]])
    return f"adopted after trial {when[0]} (counted from 0): rule {model}, {paradigm.hypotheses.descriptions[model]}"


def _adopters(arrays: dict[str, Any]) -> str:
    return str(int((arrays["adopted_model"] >= 0).any(axis=-1).sum()))


def truth_sentence(paradigm: Paradigm) -> str:
    if paradigm.hypotheses is None:
        return "none"
    if paradigm.truth == "random":
        return "another one for every agent"
    index = int(paradigm.truth)  # type: ignore[arg-type]
    return f"{index}, {paradigm.hypotheses.descriptions[index]}"
