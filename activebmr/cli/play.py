"""The command ``activebmr play``: people in the place of the agent, in the browser or in a shell."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from activebmr.cli.asking import build, checked, in_range, module_named, rule_of, scheme_names, settings_of
from activebmr.cli.problems import Problem, make_folder
from activebmr.cli.report import console, print_table
from activebmr.simulation.registry import ParadigmModule, options_of, trials_of

if TYPE_CHECKING:
    from activebmr.play.journal import Journal
    from activebmr.play.setting import Setting

__all__ = ["EPILOG", "play"]

EPILOG = (
    "\b\nExamples:\n  activebmr play three-ball --against paper --ask 2\n  activebmr play three-ball --host 0.0.0.0 --trials 12"
)
_FEW = 5  # damaged lines that are told one by one
USUAL_TRIALS = 16  # at most, if nothing else is said: people tire


def _option(text: str, metavar: str | None = None, default: str | bool = True) -> Any:
    return typer.Option(help=text, metavar=metavar, show_default=default)


def play(
    paradigm: Annotated[
        str, typer.Argument(metavar="PARADIGM", help="Name of the paradigm, see 'activebmr list', or a file of one's own.")
    ],
    against: Annotated[
        str | None,
        _option("How the agent that you are compared with reasons, see 'activebmr list'.", "SCHEME", "the paradigm's own"),
    ] = None,
    observer: Annotated[
        str | None, _option("How the observer of what you saw reasons.", "SCHEME", "the paradigm's own")
    ] = None,
    trials: Annotated[
        int | None, _option("Trials of a game, 1 or more.", "N", f"the paradigm's own, at most {USUAL_TRIALS}")
    ] = None,
    ask: Annotated[int, _option("Ask after every Nth trial which hypothesis is believed; 0 for never.", "N", "never")] = 0,
    true_rule: Annotated[
        str | None,
        _option(
            "The rule that holds, counted from 0, or 'random' for another one per participant.",
            "N|random",
            "the paradigm's own",
        ),
    ] = None,
    seed: Annotated[
        int, _option("Seed of all worlds, 0 or more; the Nth participant plays in the world of the Nth agent of 'run'.", "N")
    ] = 0,
    same_world: Annotated[
        bool, typer.Option("--same-world", help="Let everybody play in the world of the first agent.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="An option of the paradigm's own, see 'activebmr list'; can be repeated.", metavar="NAME=VALUE"
        ),
    ] = None,
    out: Annotated[
        Path | None, _option("Folder for the recordings, made if need be; those in it stay.", "DIR", "results/PARADIGM/play")
    ] = None,
    terminal: Annotated[bool, typer.Option("--terminal", help="Play in this shell, without a browser.")] = False,
    name: Annotated[str, _option("What you call yourself, with --terminal.", "NAME", False)] = "",
    host: Annotated[
        str | None,
        _option("Let other machines play too: an address of this one, or 0.0.0.0 for all of them.", "ADDRESS", "127.0.0.1"),
    ] = None,
    port: Annotated[int | None, _option("Port to listen at; 0 for any that is free.", "N", "8765, or any")] = None,
    participants: Annotated[int, _option("Participants that are let in, 1 to 1000.", "N")] = 40,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the browser.")] = False,
) -> None:
    """Play a paradigm yourself, in the place of the agent, and be compared with it.

    You see what the agent would see. Afterwards you see what an ideal observer could have known from what you saw, and what the
    agent of --against did in the same world: their beliefs beside your moves, trial by trial, and how many trials each needed
    to be sure.

    The game opens in your browser (needs the extra play: pip install -e '.[play]') at an address that only this machine
    reaches, and that nobody knows but you; or it is played in this shell with --terminal, which needs nothing more.

    For a class, --host 0.0.0.0 lets everybody play in a browser of his own: tell them the address that is printed, which ends
    in a code. Who has the code can play; nobody sees more than his own game. What is sent is not encrypted.

    DIR holds everything that was played, of all participants: recordings.npz for 'activebmr replay', recordings.csv with a row
    for each observation (what was seen and done, when, and how long it took), and sessions.jsonl, from which these two are made
    after every trial. If the machine is switched off, at most the trials that were being played are lost.
    """
    module, setting = _setting(paradigm, against, observer, trials, ask, true_rule, seed, same_world, settings)
    if not 1 <= participants <= 1000:
        raise Problem(f"--participants must be 1 to 1000; got {participants}")
    if port is not None and not 0 <= port <= 65535:
        raise Problem(f"--port must be 0 to 65535; got {port}")
    if terminal and (host is not None or port is not None):
        raise Problem("--terminal needs neither --host nor --port")
    if not terminal:
        _need_server()
    folder = make_folder(
        out if out is not None else Path("results") / setting.paradigm.name / "play",
        (),
        ("sessions.jsonl", "recordings.npz", "recordings.csv"),
    )
    from activebmr.play.journal import Journal

    try:
        journal = Journal(folder, setting)
    except (OSError, ValueError) as error:
        raise Problem(error) from error
    if terminal:
        left = _in_terminal(setting, journal, name)
    else:
        left = _in_browser(module, setting, journal, host, port, participants, no_browser)
    _report(module, setting, journal, paradigm, settings or [], left)
    if left:
        raise Problem(f"{left} trials or answers could not be saved in {folder}", 1)


def _setting(
    paradigm: str,
    against: str | None,
    observer: str | None,
    trials: int | None,
    ask: int,
    true_rule: str | None,
    seed: int,
    same_world: bool,
    settings: list[str] | None,
) -> tuple[ParadigmModule, Setting]:
    """The paradigm's module, and the game that the options describe."""
    from activebmr.play.setting import MAX_SEED, MOST_TRIALS, Setting

    module = module_named(paradigm)
    schemes = [against or module.DEFAULT_SCHEME, observer or module.DEFAULT_SCHEME]
    scheme_names(module, schemes)
    more = settings_of(module, settings)
    n_trials = min(trials_of(module), USUAL_TRIALS) if trials is None else trials
    in_range("--trials", n_trials, 1, MOST_TRIALS)
    in_range("--ask", ask, 0)
    in_range("--seed", seed, 0, MAX_SEED)
    agent, ideal = build(module, schemes, rule_of(true_rule), more)
    sentences = {str(k): str(v) for k, v in module.SCHEMES.items()}
    options = {name: str(values[0]) for name, values in options_of(module).items()} | more
    with checked():
        return module, Setting(agent, ideal, n_trials, seed, ask, module.DESCRIPTION, sentences, same_world, options)


def _need_server() -> None:
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise Problem(f"play in the browser needs {' and '.join(missing)}: pip install -e '.[play]' (or play with --terminal)")


# --- in a shell ------------------------------------------------------------------------------------------------------------
def _in_terminal(setting: Setting, journal: Journal, name: str) -> int:
    """Let somebody play; how much of what was played could not be saved."""
    from activebmr.play.terminal import comparison, play_in_terminal

    game, unsaved = None, []
    try:
        with suppress(KeyboardInterrupt):  # as "q": what was played is kept
            game = play_in_terminal(setting, journal, name, unsaved=unsaved)
    except OSError as error:
        raise Problem(f"nobody can be entered in {journal.path}: {error}", 1) from error
    except ValueError as error:  # of the paradigm's world; trials before this one are in the journal
        raise Problem(error, 1) from error
    if unsaved:
        with suppress(OSError):
            journal.add(unsaved)
            unsaved.clear()
    print()
    if game is None or not game.finished:
        return len(unsaved)
    print("The observer and the agent think about your game ...", file=sys.stderr)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header, rows, notes = comparison(game)
    screen = console()
    print_table(screen, "your game, and what others made of it (log odds of the best hypothesis, nats)", header, rows)
    for note in notes:
        screen.print(note)
    return len(unsaved)


# --- in the browser --------------------------------------------------------------------------------------------------------
def _in_browser(
    module: ParadigmModule, setting: Setting, journal: Journal, host: str | None, port: int | None, most: int, no_browser: bool
) -> int:
    """Let people play until Ctrl-C; how much of what they played could not be saved."""
    from activebmr.page.contents import scene_data_of, scene_of
    from activebmr.play.places import code, listen
    from activebmr.play.room import Room
    from activebmr.play.server import make_app, serve

    screen = console()
    say = lambda sentence: screen.print(sentence, soft_wrap=True)  # noqa: E731
    try:
        scene, data = scene_of(module), scene_data_of(module, setting.paradigm)
        place = listen(host, port)
    except (OSError, TypeError, ValueError) as error:
        raise Problem(error) from error
    token = code(place.shared)
    room = Room(setting, journal, most, say)
    try:
        app = make_app(
            room,
            token,
            place.port,
            names=place.names,
            any_address=place.everywhere,
            scene=scene,
            scene_data=data,
            addresses=tuple(place.url(token, a) for a in place.addresses),
        )
    except (ImportError, TypeError, ValueError) as error:
        place.socket.close()
        raise Problem(error) from error
    if place.shared:
        where = "one of this machine's addresses" if place.everywhere else str(host)
        print(
            f"warning: every machine that reaches {where} (all in its network, and whoever that lets in) can now connect; who "
            "knows the code can play, and what is sent is not encrypted",
            file=sys.stderr,
        )
    own = place.url(token, place.addresses[-1])  # 127.0.0.1 if it can be
    say(f"play at: {place.url(token)}")
    for other in place.addresses[1:]:
        say(f"     or: {place.url(token, other)}")
    if place.shared:
        say(f"how everybody is doing, for you alone: {own}class#{room.teacher}")
    say(f"up to {most} participants; everything is kept in {journal.folder}; Ctrl-C ends the games")
    if not no_browser and _has_screen():
        import webbrowser

        webbrowser.open(f"{own}class#{room.teacher}" if place.shared else own)
    with suppress(KeyboardInterrupt):
        serve(app, place.socket)
    return room.save_rest()


def _has_screen() -> bool:
    """Whether a browser would open a window, instead of taking over this shell."""
    if not sys.stdout.isatty():
        return False
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _report(module: ParadigmModule, setting: Setting, journal: Journal, paradigm: str, settings: list[str], left: int) -> None:
    """Where everything is, and what can be done with it; ``left``: how much could not be saved."""
    screen = console()
    for line, why in list(journal.damaged.items())[:_FEW]:
        print(f"warning: {journal.path}, line {line}, is left out: {why}", file=sys.stderr)
    if len(journal.damaged) > _FEW:
        print(f"warning: and so are {len(journal.damaged) - _FEW} more of its lines", file=sys.stderr)
    problem = journal.finish()
    played = {(line["participant"], line["trial"]) for line in journal.lines if line["kind"] == "trial"}
    if problem is not None:
        print(f"warning: {problem}", file=sys.stderr)
    if not played:
        if left:  # which is told last
            return
        screen.print("no trial was played to its end: nothing was recorded")
        return
    trials, people = len(played), {who for who, _ in played}
    screen.print(f"recorded: {trials} trial{'s' * (trials > 1)} of {len(people)} participant{'s' * (len(people) > 1)}")
    if problem is not None:
        return
    screen.print(f"recordings: {journal.recording} and {journal.csv}", soft_wrap=True)
    target = journal.folder / "replay.npz"
    schemes = "" if "all" in module.SCHEMES else " --scheme all"
    # the true rules are in the recording, the paradigm's own options are not
    own = "".join(f" --set {_word(text)}" for text in settings)
    words = f"{_word(paradigm)} {_word(journal.recording)}{schemes}{own} --out {_word(target)}"
    screen.print(f"next: activebmr replay {words}", soft_wrap=True, markup=False, highlight=False)


def _word(text: object) -> str:
    """Something as one word of a command."""
    return str(text) if os.name == "nt" else shlex.quote(str(text))
