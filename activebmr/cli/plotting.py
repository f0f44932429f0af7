"""`activebmr plot`: the figures of a result again, or the inside of one trial of it, or of a replay."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from activebmr.cli.asking import one_of
from activebmr.cli.problems import Problem, make_folder, printable
from activebmr.cli.report import console

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from activebmr.simulation.registry import ParadigmModule
    from activebmr.simulation.result import Result

__all__ = ["EPILOG", "plot_command"]

EPILOG = (
    "\b\nExamples:\n  activebmr plot results/three-ball/result.npz --out figures\n"
    "  activebmr plot results/three-ball/result.npz --agent 3 --trial 2\n"
    "  activebmr plot results/three-ball/result.npz --style talk --format svg"
)

STYLES = ("print", "talk")
FORMATS = ("png", "svg", "pdf")


def _option(text: str, metavar: str | None = None, default: str | bool = True) -> Any:
    return typer.Option(help=text, metavar=metavar, show_default=default)


def plot_command(
    result: Annotated[
        Path,
        typer.Argument(
            metavar="RESULT", help="A .npz file that 'activebmr run' or 'activebmr replay' wrote, or the folder of a run."
        ),
    ],
    out: Annotated[Path | None, _option("Folder for the figures, made if need be.", "DIR", "the folder of RESULT")] = None,
    agent: Annotated[
        int | None,
        _option("Draw the inside of a trial of this agent (its number, from 0), or of this participant of a replay.", "N", "0"),
    ] = None,
    trial: Annotated[int | None, _option("Draw the inside of this trial, counted from 1.", "N", "1")] = None,
    scheme: Annotated[
        str | None, _option("Whose trial is drawn, if RESULT has several schemes.", "NAME", "the first of RESULT")
    ] = None,
    panel: Annotated[
        list[str] | None,
        _option(
            "What of the trial is drawn: events, beliefs, policies, values, hypotheses or odds; repeat it for several.",
            "NAME",
            "all that there is",
        ),
    ] = None,
    style: Annotated[
        str, _option("'print', or 'talk' for slides: 16:9, one picture on each, type for the last row.", "print|talk")
    ] = "print",
    form: Annotated[str, typer.Option("--format", help="What the files are.", metavar="png|svg|pdf")] = "png",
    dpi: Annotated[
        float | None, _option("Dots per inch of PNG files, 20 to 1200.", "N", "125, or as many as make slides 1920 dots wide")
    ] = None,
    paradigm: Annotated[
        str | None,
        _option(
            "Name or file of the paradigm. That of a file has to be named: no file is run because RESULT names it.",
            "PARADIGM",
            "RESULT's, if it is installed",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Draw the figures of a result again, or with --agent or --trial the inside of one trial.

    The inside of a trial shows what happened, what the agent believed, which policies it preferred, what each of them was worth
    to it (utility and information gains, in nats), and what it thought of the hypotheses. RESULT need not have been saved with
    a trace: the agent lives again, with the same random numbers.

    Trials and times count from 1 here and in figures; agents and hypotheses from 0. In Python, all positions count from 0.
    """
    from activebmr.simulation.registry import load_paradigm, told_file, where_to_find

    if _is_dir(result):  # the folder of a run
        result = result / "result.npz"
    one_of("--style", style, STYLES)
    one_of("--format", form, FORMATS)
    if dpi is not None and not 20 <= dpi <= 1200:
        raise Problem(f"--dpi must be 20 to 1200; got {dpi:g}")
    if trial is not None and trial < 1:
        raise Problem(f"--trial must be 1 or more, as trials count from 1; got {trial}")
    os.environ.setdefault("MPLBACKEND", "Agg")
    inside = agent is not None or trial is not None or scheme is not None or bool(panel)
    new = None if out is None or _is_dir(out) else out
    folder = make_folder(out if out is not None else result.parent) if os.path.isfile(result) else None
    with _emptied(new), _checked():
        source = _read(result)
        if folder is None:  # (the file went away meanwhile)
            folder = make_folder(out if out is not None else result.parent)
        module = None if paradigm is None else load_paradigm(paradigm)
        if inside or isinstance(source, dict):
            paths = [_inside(source, folder, result.stem, agent or 0, trial or 1, scheme, panel, style, form, dpi, module)]
        else:
            paths = _all(source, folder, style, form, dpi, module)
    if not quiet:
        console().print(printable(f"figures: {folder}: {', '.join(p.name for p in paths)}"), soft_wrap=True)
        if module is None and not isinstance(source, dict) and told_file(source) is not None:
            console().print(printable(f"figures and names of its own are not drawn: {where_to_find(source)}"), soft_wrap=True)


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, say
        return False


@contextmanager
def _emptied(folder: Path | None) -> Iterator[None]:
    """Leave no empty folder behind where nothing could be drawn."""
    try:
        yield
    except Problem:
        with suppress(OSError):  # there is something in it
            if folder is not None:
                folder.rmdir()
        raise


@contextmanager
def _checked() -> Iterator[None]:
    try:
        yield
    except (OSError, TypeError, ValueError) as error:
        raise Problem(error) from error
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError) as error:  # a file of something else
        raise Problem(f"RESULT must be what a simulation or a replay wrote: {type(error).__name__}: {error}") from error


def _read(path: Path) -> Result | dict[str, Any]:
    """A result, or the arrays of a replay."""
    from activebmr.files import read_npz
    from activebmr.simulation.result import Result

    if path.is_file():
        arrays = read_npz(path, "result file", ())
        if {"log_likelihood", "q_pi"} <= set(arrays):
            return dict(arrays)
    return Result.load(path)


def _inside(
    source: Result | dict[str, Any],
    folder: Path,
    stem: str,
    agent: int,
    trial: int,
    scheme: str | None,
    panels: list[str] | None,
    style: str,
    form: str,
    dpi: float | None,
    module: ParadigmModule | None = None,
) -> Path:
    """Draw one trial; ``trial`` counts from 1."""
    import numpy as np

    from activebmr import plots
    from activebmr.files import file_name

    for panel in panels or ():
        one_of("--panel", panel, plots.PANELS)
    if isinstance(source, dict):
        if "policy" not in source or np.ndim(source["policy"]) not in (2, 3):
            raise Problem("RESULT must hold a policy for every trial and time of a replay; it holds none")
        if scheme is not None:
            raise Problem("--scheme must not be given for a replay: it is of one scheme")
        several = source["policy"].ndim == 3
        count = source["policy"].shape[0] if several else 1
        if not 0 <= agent < count:
            raise Problem(f"--agent must be {'0' if count == 1 else f'0 to {count - 1}'}; got {agent}")
        n_trials, position, name = source["policy"].shape[-2], agent, stem
        name += f"-participant{agent}" * several
        chosen: str | int = 0
    else:
        chosen = 0 if scheme is None else scheme
        if scheme is not None:
            one_of("--scheme", scheme, source.schemes)
        numbers = [int(k) for k in source["agent"]]
        if agent not in numbers:
            raise Problem(f"--agent must be one of the result's, {numbers[0]} to {numbers[-1]}; got {agent}")
        n_trials, position = source.sizes["trial"], numbers.index(agent)
        name = f"{file_name(source.schemes[source.index(chosen)])}-agent{agent}"
    if trial > n_trials:
        raise Problem(f"--trial must be 1 to {n_trials}; got {trial}")
    with plots.style(style):
        figure: Figure = plots.trial(source, chosen, position, trial - 1, panels=panels or None, module=module)
        return plots.save(figure, folder / f"{name}-trial{trial}.{form}", dpi)


def _all(
    result: Result, folder: Path, style: str, form: str, dpi: float | None, module: ParadigmModule | None = None
) -> list[Path]:
    """The paradigm's own figures, or those that any result has; these alone on slides."""
    from activebmr import plots
    from activebmr.simulation.registry import draw_figures, module_of

    module = module_of(result) if module is None else module
    with plots.style(style), plots.output(form, dpi):
        try:
            drawn = draw_figures(module, result, folder) if module is not None and style == "print" else None
            return plots.general_figures(result, folder) if drawn is None else drawn
        except Exception as error:  # the result is safe; say so in a line
            raise Problem(f"the figures could not be drawn: {type(error).__name__}: {error}", 1) from error
