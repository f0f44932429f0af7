"""What the commands ``activebmr prune ...`` share: options, checks, and the way from a run to its report."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from activebmr.cli.problems import InterruptedRun, Problem, make_folder
from activebmr.cli.report import console
from activebmr.workers import WorkersKilledError

IMAGES = ("digits", "mnist", "fashion-mnist", "cifar10")

Seeds = Annotated[int, typer.Option(help="Runs, with seeds from 0 on.", metavar="N")]
Jobs = Annotated[int, typer.Option(help="Processes; the numbers stay the same, times do not.", metavar="N")]
NoFigures = Annotated[bool, typer.Option("--no-figures", help="Draw no figures.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
ImageDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the images (npz, or the original files); without it they are downloaded once.", metavar="DIR"),
]


def check_known(what: str, value: str, known: tuple[str, ...]) -> None:
    """Stop with the names that there are, and the nearest, if a name is none of them."""
    from activebmr.simulation.registry import unknown

    if value not in known:
        raise Problem(unknown(what, value, list(known)))


def check_positive(options: Mapping[str, int]) -> None:
    """Stop if an option (name to value) is below 1."""
    for option, value in options.items():
        if value < 1:
            raise Problem(f"{option} must be 1 or more; got {value}")


def need_torch() -> None:
    """Stop with the way to install it if torch is missing."""
    try:
        import activebmr.pruning  # noqa: F401
    except ImportError as error:
        raise Problem(f"pruning needs the extra 'pruning' (pip install -e '.[pruning]'): {error}") from error


def run_and_report(
    work: Callable[[Path, Callable[[str], None] | None], tuple[list[dict[str, Any]], list[dict[str, Any]]]],
    settings: Mapping[str, Any],
    out: Path,
    *,
    table: Callable[[list[dict[str, Any]], list[dict[str, Any]]], None],
    figures: str,
    no_figures: bool,
    quiet: bool,
) -> None:
    """Run an experiment, write ``report.json``, print its table, draw its figures.

    Args:
        work: called with the folder for unfinished runs and a function that shows a line of progress (or None); returns rows
            and what figures need.
        settings: for the report; versions are added.
        out: folder, made if it is missing.
        table: prints rows, and what of the rest it needs.
        figures: module with ``draw(rows, kept, folder)``, which returns the files it wrote.
        no_figures, quiet: as the options say.
    """
    from importlib import import_module

    import torch

    from activebmr.pruning.experiments.runs import write_json
    from activebmr.version import __version__

    folder = make_folder(out, ("unfinished",), ("report.json",))
    tell = None if quiet or not sys.stderr.isatty() else lambda line: print(f"\r{line:<150.150}", end="", file=sys.stderr)
    try:
        rows, kept = work(folder / "unfinished", tell)
    except KeyboardInterrupt:
        print(
            f"\ninterrupted: finished epochs are in {folder / 'unfinished'}; the same command goes on from there",
            file=sys.stderr,
        )
        raise InterruptedRun from None
    except WorkersKilledError as error:
        raise Problem(error, 1) from error
    except (ImportError, OSError, ValueError) as error:
        raise Problem(error) from error
    if tell is not None:
        print(file=sys.stderr)
    content = {"settings": {**settings, "version": __version__, "torch": torch.__version__}, "rows": rows}
    failure = None
    try:
        write_json(folder / "report.json", content, indent=1)
    except OSError as error:  # what has been found is shown all the same
        failure = error
    if not quiet:
        table(rows, kept)
    if failure is not None:
        raise Problem(f"{folder / 'report.json'} could not be written: {failure.strerror or failure}") from failure
    if not quiet:
        console().print(f"\nreport: {folder / 'report.json'}", soft_wrap=True)
    if not no_figures:
        os.environ.setdefault("MPLBACKEND", "Agg")
        try:
            drawn = import_module(figures).draw(rows, kept, folder)
        except OSError as error:
            raise Problem(f"figures could not be written to {folder}: {error.strerror or error}") from error
        if not quiet:
            console().print(f"figures: {folder}: {', '.join(p.name for p in drawn)}", soft_wrap=True)


def mean_and_error(rows: list[dict[str, Any]], key: str, digits: int = 2, scale: float = 1.0) -> str:
    """Mean of a column times a scale, with its standard error where there are several rows."""
    import numpy as np

    from activebmr.arrays import standard_error

    values = np.array([scale * r[key] for r in rows], dtype=float)
    error = f" +- {standard_error(values):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{error}"
