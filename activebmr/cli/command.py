"""The command `activebmr`: list paradigms, run them, replay recordings, draw results again.

Everything a user can get wrong is checked before any long work and told in one line on standard error (exit status 2). Whatever
takes long to import is imported inside the functions that need it.
"""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from activebmr.cli import page as page_cli
from activebmr.cli import play as play_cli
from activebmr.cli import plotting as plot_cli
from activebmr.cli import prune as prune_cli
from activebmr.cli.asking import (
    build,
    checked,
    fits_memory,
    in_range,
    module_named,
    processes,
    rule_of,
    scheme_names,
    schemes_of,
    settings_of,
)
from activebmr.cli.commands import Commands
from activebmr.cli.problems import INTERRUPTED, InterruptedRun, Problem, make_folder, save
from activebmr.cli.report import console, report_replay, report_run, truth_sentence
from activebmr.cli.running import run_in
from activebmr.cli.surroundings import patient_output, plain_warnings, signals_that_end
from activebmr.simulation.registry import (
    ParadigmModule,
    build_paradigm,
    draw_figures,
    load_paradigm,
    options_of,
    paradigm_names,
    trials_of,
)

if TYPE_CHECKING:
    from activebmr.simulation.result import Result

MAX_SEED = 2**63 - 1

app = Commands(
    help="Active inference with Bayesian model reduction: agents that reason about the structure of their world.",
    epilog="\b\nBegin with:\n  activebmr list\n  activebmr run three-ball",
    add_completion=False,
    rich_markup_mode=None,  # plain help reads well in narrow terminals and in files
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(prune_cli.app, name="prune")
app.command("page", epilog=page_cli.EPILOG)(page_cli.page)
app.command("play", epilog=play_cli.EPILOG)(play_cli.play)
app.command("plot", epilog=plot_cli.EPILOG)(plot_cli.plot_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """See `activebmr.cli.main`."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    words = sys.argv[1:] if arguments is None else list(arguments)
    with signals_that_end() as ended, plain_warnings(), patient_output() as output:
        status = _status(words)
        output.flush()
    if output.failure is not None and output.failure.errno != errno.EPIPE:
        status = _complain(f"output could not be written: {output.failure.strerror}", status or 1)
    return 128 + ended[0] if ended and status == INTERRUPTED else status


def _status(words: Sequence[str]) -> int:
    """Run the command; its exit status."""
    try:
        command = typer.main.get_command(app)
        status = command.main(args=words or ["--help"], prog_name="activebmr", standalone_mode=False) or 0
        if status == INTERRUPTED:  # so typer says that Ctrl-C has come to it
            print("interrupted", file=sys.stderr)
        return status
    except InterruptedRun:
        return INTERRUPTED
    except Problem as problem:
        return _complain(problem, problem.status)
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):  # what typer and click say about options
            raise
        return _complain(error.format_message(), 2)


def _complain(message: object, status: int) -> int:
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    return status


# --- options ---------------------------------------------------------------------------------------------------------------
def _option(text: str, metavar: str | None = None, default: str | bool = True) -> Any:
    return typer.Option(help=text, metavar=metavar, show_default=default)


ParadigmName = Annotated[
    str,
    typer.Argument(
        metavar="PARADIGM", help="Name of the paradigm, see 'activebmr list', or a file of one's own, such as ./bandit.py."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="An option of the paradigm's own, see 'activebmr list'; can be repeated.", metavar="NAME=VALUE"),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors, and show no progress bar.")]


def _version(wanted: bool) -> None:
    if wanted:
        from activebmr.version import __version__

        typer.echo(f"activebmr {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


@app.command("list", epilog="\b\nExample:\n  activebmr list three-ball")
def list_paradigms(
    paradigm: Annotated[
        list[str] | None,
        typer.Argument(metavar="PARADIGM...", help="Only these, by name or file.", show_default="all that are installed"),
    ] = None,
) -> None:
    """List the paradigms, their rules, schemes and options.

    A paradigm is an experiment; a scheme is a way in which its agents reason. A file of one's own is run by its path, and
    'activebmr new NAME' writes one to begin with. Other packages can add paradigms through the entry-point group
    'activebmr.paradigms'.
    """
    from rich.table import Table

    screen = console()
    names = paradigm or paradigm_names()
    if not names:
        raise Problem("no paradigm is installed (is activebmr itself installed, as with 'pip install -e .'?)")
    for name in names:
        try:
            module = load_paradigm(name)
            rules = _rules_sentence(module)
        except Exception as error:
            if paradigm:
                raise Problem(error) from error
            # a broken plug-in must not hide the others
            screen.print(f"{name}: not usable: {error}\n")
            continue
        screen.print(f"{name}: {module.DESCRIPTION}\n{rules}")
        table = Table.grid(padding=(0, 2))
        for scheme, sentence in module.SCHEMES.items():
            table.add_row(f"  {scheme}" + (" (default)" if scheme == module.DEFAULT_SCHEME else ""), sentence)
        screen.print("schemes (--scheme):")
        screen.print(table)
        for option, values in options_of(module).items():
            screen.print(f"option (--set {option}=...): {', '.join(values)}; the first by default")
        screen.print()


def _rules_sentence(module: ParadigmModule) -> str:
    own = build_paradigm(module, module.DEFAULT_SCHEME)
    if own.hypotheses is None:
        return "rules: none to be found"
    return f"rules (--true-rule): 0 to {len(own.hypotheses) - 1}; by default {truth_sentence(own)}"


@app.command(epilog="\b\nExample:\n  activebmr run three-ball --scheme paper --scheme paper-states --agents 128 --jobs -1")
def run(
    paradigm: ParadigmName,
    scheme: Annotated[
        list[str] | None,
        _option(
            "How the agents reason, see 'activebmr list'; repeat it to compare schemes with the first one, or say 'all'.",
            "NAME",
            "the paradigm's own",
        ),
    ] = None,
    true_rule: Annotated[
        str | None,
        _option(
            "The rule that holds in the world: its index, counted from 0 ('activebmr list' says how many there are), or "
            "'random' for another one per agent.",
            "N|random",
            "the paradigm's own",
        ),
    ] = None,
    agents: Annotated[int, _option("Agents per scheme, 1 or more.", "N")] = 64,
    trials: Annotated[int | None, _option("Trials of every agent, 1 or more.", "N", "the paradigm's own, or 32")] = None,
    seed: Annotated[int, _option("Seed of all random numbers, 0 or more; agent k has the same in all schemes.", "N")] = 0,
    jobs: Annotated[
        int,
        _option("Processes, 1 or more (at most one per core is used), or -1 for all cores. The numbers stay the same.", "N"),
    ] = 1,
    out: Annotated[
        Path | None,
        _option(
            "Folder for result.npz and figures, made if need be; a finished run's are replaced. If another run in it is not "
            "finished, this one goes to DIR-2, DIR-3, ...",
            "DIR",
            "results/PARADIGM",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Use DIR all the same, and give up the other runs in it that are not finished.")
    ] = False,
    settings: Settings = None,
    no_figures: Annotated[bool, typer.Option("--no-figures", help="Draw no figures.")] = False,
    page: Annotated[
        bool, typer.Option("--page", help="Write page.html too, which shows the agents thinking; see 'activebmr page'.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Simulate a paradigm under one or more schemes.

    Shows a progress bar, ends with a table (what the paradigm measures: which agents found the rule, how fast, how well they
    scored) and writes result.npz and figures. Ctrl-C keeps the agents that have finished, and the same command goes on from
    there.
    """
    module = module_named(paradigm)
    schemes = schemes_of(module, scheme, rule_of(true_rule), settings_of(module, settings))
    in_range("--agents", agents, 1)
    trials = trials_of(module) if trials is None else trials
    in_range("--trials", trials, 1)
    in_range("--seed", seed, 0, MAX_SEED)
    jobs = processes(jobs)
    fits_memory(schemes, agents, trials)

    def then(result: Result, folder: Path) -> None:
        if not quiet:
            report_run(result, schemes[0], folder / "result.npz", getattr(module, "table", None))
        if result.settings["interrupted"]:
            raise InterruptedRun
        if not no_figures:
            _draw(module, result, folder, quiet)
        if page:
            page_cli.write_page(result, folder / "page.html", paradigm=module, quiet=quiet)

    target = out if out is not None else Path("results") / module.NAME
    shown = not quiet and sys.stderr.isatty()
    run_in(target, schemes, agents, trials, seed, jobs, overwrite=overwrite, progress=shown, then=then)


@app.command(
    "replay",
    epilog="\b\nExample:\n  activebmr replay three-ball participant7.npz --scheme paper --out paper7.npz",
)
def replay_recording(
    paradigm: ParadigmName,
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="The .npz file that says what happened, see above.")],
    out: Annotated[Path, _option("File to write; its folder is made if need be, an old file is replaced.", "OUT.npz")],
    scheme: Annotated[
        list[str] | None,
        _option(
            "How the agent reasons, see 'activebmr list'; repeat it to compare schemes, or say 'all'.",
            "NAME",
            "the paradigm's own",
        ),
    ] = None,
    true_rule: Annotated[
        str | None,
        _option("The rule that held, counted from 0; only kl_to_truth and knowing agents need it.", "N", "the paradigm's own"),
    ] = None,
    settings: Settings = None,
    quiet: Quiet = False,
) -> None:
    """Say what an agent would have thought during a recording.

    This is how recorded participants are analysed: the agent perceives, learns, plans and selects models as always, but the
    world and the actions are the recording's. The probability that a scheme gave to what was really done says how well it
    explains a person: by the posterior over policies, and by the probabilities with which the scheme's agents act, which with a
    sharp choice (a large alpha) hold every lapse for all but impossible.

    RECORDING is a .npz file with arrays of integers, all counted from 0:

    \b
    states    (trial, factor, time)    states of the world, if known; the agent does not see them
    controls  (trial, factor, time)    what was done between time t and t+1; at the last time not
                                       used, and may be left out
    outcomes  (trial, modality, time)  what was observed

    Missed responses and outcomes are -1. A trial is over where all is -1 from some time on. For several participants an axis
    for them comes before all others.

    OUT.npz holds, with axes (trial, time), log_likelihood and action_probability of what was done (as the agents act),
    log_likelihood_q_pi (by the posterior over policies) and impossible (what cannot be under the scheme); with (trial, time,
    policy), neg_efe, its terms utility, state_info_gain, param_info_gain and model_info_gain, and q_pi, the posterior over
    policies; with (trial, time, ...) the beliefs qs_<factor> and model_posterior; with (trial, ...) the counts pA_<modality>,
    log_odds, kl_to_truth and adopted_model (-1 for none). With several schemes there is a file for each: OUT-<scheme>.npz.
    """
    from activebmr.behaviour.recordings import load_recording
    from activebmr.behaviour.replay import replay
    from activebmr.files import write_npz
    from activebmr.version import __version__

    module = module_named(paradigm)
    names = scheme_names(module, scheme)
    schemes = build(module, names, rule_of(true_rule, False), settings_of(module, settings))
    with checked():
        recorded = load_recording(recording)
    if true_rule is not None:  # what the user says goes before what the file says
        recorded.pop("true_model", None)
    targets = [out if len(names) == 1 else out.with_name(f"{out.stem}-{name}{out.suffix}") for name in names]
    for target in targets:
        if target.exists() and recording.samefile(target):
            raise Problem(f"--out must be another file than the recording {recording}")
    make_folder(out.parent, (), tuple(target.name for target in targets))
    with checked(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "an observation that the model holds impossible")  # all of them are counted
        replays = [replay(one, **recorded) for one in schemes]
    for one, arrays, target in zip(schemes, replays, targets, strict=True):
        about = {"paradigm": one.name, "scheme": one.scheme, "version": __version__}
        about |= {"true_model": recorded.get("true_model", -1 if one.truth in (None, "random") else int(one.truth))}
        save(partial(write_npz, arrays=arrays | about), target)
    if not quiet:
        report_replay(schemes, replays, targets)


@app.command("new", epilog="\b\nExample:\n  activebmr new my-maze\n  activebmr run ./my_maze.py")
def new_paradigm(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the paradigm is to be called, such as my-maze.")],
    quiet: Quiet = False,
) -> None:
    """Write a paradigm of one's own to begin with, NAME.py in this folder: a small T-maze with every part explained.

    It runs at once; change it bit by bit into what you want, and run it again. No file is ever replaced.
    """
    from activebmr.cli.new import next_steps, write_paradigm

    with checked():
        path = write_paradigm(name)
    if not quiet:
        for line in next_steps(path):
            console().print(line, soft_wrap=True)


# --- what is written -------------------------------------------------------------------------------------------------------
def _draw(module: ParadigmModule, result: Result, folder: Path, quiet: bool) -> None:
    """The paradigm's own figures or, where it has none, those that any result has."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    try:
        paths = draw_figures(module, result, folder)
        if paths is None:
            from activebmr.plots import general_figures

            paths = general_figures(result, folder)
    except Exception as error:  # the result is safe; say so in a line
        raise Problem(f"the figures could not be drawn: {type(error).__name__}: {error}", 1) from error
    if paths and not quiet:
        names = ", ".join(p.name for p in paths)
        console().print(f"figures: {folder}: {names}", soft_wrap=True)
