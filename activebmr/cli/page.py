"""The command ``activebmr page``: a result as a page in the browser that shows its agents thinking."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from activebmr.cli.problems import Problem, make_folder, printable
from activebmr.cli.report import console

if TYPE_CHECKING:
    from activebmr.simulation.result import Result

__all__ = ["EPILOG", "numbers", "page", "write_page"]

EPILOG = "\b\nExamples:\n  activebmr page results/three-ball\n  activebmr page result.npz --agents 0-3,17 --out class.html"
LARGE = 10.0  # megabytes from which a page opens slowly


def page(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="A result.npz that 'activebmr run' wrote, or the folder that it is in.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write; an old one is replaced.", metavar="PAGE.html", show_default="page.html beside RESULT"
        ),
    ] = None,
    agents: Annotated[
        str | None,
        typer.Option(
            help="Numbers of the agents that can be chosen in the page, such as 0-7 or 0,3,12.",
            metavar="NUMBERS",
            show_default="the first 64",
        ),
    ] = None,
    scheme: Annotated[
        list[str] | None,
        typer.Option(help="A scheme that can be chosen; can be repeated.", metavar="NAME", show_default="all of RESULT"),
    ] = None,
    paradigm: Annotated[
        str | None,
        typer.Option(
            help="Name or file of the paradigm. That of a file has to be named: no file is run because RESULT names it.",
            metavar="PARADIGM",
            show_default="RESULT's, if it is installed",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Write a page that shows agents thinking: open it in any browser.

    It plays their trials moment by moment: the world, what an agent believes, which hypothesis it holds true, what every policy
    is worth to it and why, and when it had its insight; two schemes can be watched side by side. All is in one file, which
    needs no network. A result without a trace will do: its agents live again, with the same seed.
    """
    from activebmr.simulation.result import Result

    file = result / "result.npz" if os.path.isdir(result) else result
    try:
        loaded = Result.load(file)
    except (OSError, TypeError, ValueError) as error:
        raise Problem(error) from error
    target = out if out is not None else file.parent / "page.html"
    write_page(loaded, target, agents=agents, schemes=scheme, paradigm=paradigm, quiet=quiet)


def write_page(
    result: Result,
    target: Path,
    *,
    agents: str | None = None,
    schemes: list[str] | None = None,
    paradigm: Any = None,
    quiet: bool = False,
) -> None:
    """Write the page of a result and say where it is.

    Args:
        result: what was simulated.
        target: file to write.
        agents: numbers, such as ``"0-3,17"``.
        schemes, paradigm: see `activebmr.page.html`.
        quiet: say nothing.

    Raises:
        Problem: if something in the arguments is wrong, or the file cannot be written.
    """
    from activebmr.page import write
    from activebmr.page.contents import AGENTS

    chosen = None if agents is None else numbers(agents)
    make_folder(target.parent, (), (target.name,))
    try:
        path = write(result, target, agents=chosen, schemes=schemes, paradigm=paradigm)
    except OSError as error:
        raise Problem(f"{target} could not be written: {error}", 1) from error
    except (TypeError, ValueError) as error:
        raise Problem(error) from error
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError) as error:  # a file of something else
        raise Problem(f"RESULT must be what a simulation wrote: {type(error).__name__}: {error}") from error
    if not quiet:
        size = path.stat().st_size / 1e6
        note = ": fewer --agents make it smaller" if size > LARGE else ""
        console().print(printable(f"page: {path.resolve().as_uri()} ({size:.1f} MB{note})"), soft_wrap=True)
        if chosen is None and result.sizes["agent"] > AGENTS:
            console().print(f"it holds the first {AGENTS} of {result.sizes['agent']} agents; --agents of 'page' chooses others")


def numbers(text: str) -> list[int]:
    """Whole numbers of a list such as ``"0-3,17"``: [0, 1, 2, 3, 17].

    Raises:
        Problem: if it is none.
    """
    out: list[int] = []
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        if len(first) > 18 or len(last) > 18:
            raise Problem(f"--agents must be numbers of at most 18 digits; got {part.strip()[:24]}...")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise Problem(f"--agents must be numbers such as 0-3,17; got {text!r}")
        if dash and int(last) - int(first) > 100_000:
            raise Problem(f"--agents must name at most 100000 agents; got {text!r}")
        out.extend(range(int(first), int(last if dash else first) + 1))
    return list(dict.fromkeys(out))
