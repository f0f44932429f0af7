"""`activebmr run`: the folder that a run goes to, and the way from there to a saved result."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from activebmr.cli.problems import InterruptedRun, Problem, make_folder, save
from activebmr.folders import alone_in
from activebmr.workers import WorkersKilledError

if TYPE_CHECKING:
    from activebmr.simulation.paradigm import Paradigm
    from activebmr.simulation.result import Result

__all__ = ["run_in"]

_UNFINISHED = "unfinished"
_MOST = 1000  # numbered folders that are looked at


def run_in(
    out: Path,
    schemes: list[Paradigm],
    agents: int,
    trials: int,
    seed: int,
    jobs: int,
    *,
    overwrite: bool,
    progress: bool,
    then: Callable[[Result, Path], None],
) -> None:
    """Simulate, save, and go on with the result while nobody else may use the folder.

    Args:
        out: folder that is asked for. If an unfinished run of other settings is in it, or one is at work, it is another one
            beside it, with a number.
        schemes, agents, trials, seed, jobs: as `simulate` takes them.
        overwrite: use ``out`` all the same, and give up what is unfinished there.
        progress: show a progress bar.
        then: called with the result, finished or interrupted, and the folder.

    Raises:
        Problem: if the folder cannot be used, the result not be written, or nobody can do the work.
        InterruptedRun: after Ctrl-C, if nothing can be saved; what is kept has been said.
    """
    from activebmr.simulation.simulate import discard_checkpoint, simulate

    name = _name(schemes, agents, trials, seed)
    with _folder(out, name, overwrite) as folder:
        target, unfinished = folder / "result.npz", folder / _UNFINISHED
        try:
            result = simulate(
                schemes, agents, trials, seed, jobs=jobs, progress=progress, checkpoint=unfinished if name else None
            )
        except KeyboardInterrupt:
            kept = any(unfinished.glob("*/*.npz"))
            note = f"finished parts are in {unfinished}; the same command goes on from there" if kept else "nothing to keep"
            where = " under all schemes" * (len(schemes) > 1)
            print(f"interrupted before any agent had finished{where}: {note}", file=sys.stderr)
            raise InterruptedRun from None
        except WorkersKilledError as error:
            raise Problem(error, 1) from error
        save(result.save, target)
        if result.settings["interrupted"]:
            print(f"interrupted: {result.sizes['agent']} of {agents} agents had finished and are in {target}", file=sys.stderr)
            again = "the same command goes on from there" if name else "the same command begins anew"
            print(f"{again}; 'activebmr plot {target}' draws what there is", file=sys.stderr)
        elif name:
            discard_checkpoint(unfinished, name)
        then(result, folder)


def _name(schemes: list[Paradigm], agents: int, trials: int, seed: int) -> str | None:
    """The name of the folder of finished parts; None if there can be none, which is told."""
    from activebmr.simulation.simulate import checkpoint_name

    try:
        return checkpoint_name(schemes, agents, trials, seed)
    except TypeError as error:  # something of the user's own cannot be told from another
        print(f"warning: what is finished cannot be kept for going on after an interruption: {error}", file=sys.stderr)
        return None


@contextmanager
def _folder(out: Path, name: str | None, overwrite: bool) -> Iterator[Path]:
    """The folder of a run, which nobody else may use for as long as the block takes."""
    from activebmr.simulation.simulate import discard_checkpoint

    make_folder(out, (_UNFINISHED,), ("result.npz",))
    choices = [out, *(out.with_name(f"{out.name}-{k}") for k in range(2, _MOST))]
    if overwrite:
        choices = [out]
    elif name is not None:
        choices = [c for c in choices[1:] if (c / _UNFINISHED / name).is_dir()] + choices
        if (out / _UNFINISHED / name).is_dir():
            choices = [out]
    for folder in choices:
        others = _others(folder / _UNFINISHED, name)
        if others and not overwrite:
            continue
        if folder != out:
            make_folder(folder, (_UNFINISHED,), ("result.npz",))
        with ExitStack() as held:
            try:
                held.enter_context(alone_in(folder / _UNFINISHED))
            except BlockingIOError as error:
                if len(choices) == 1:
                    raise Problem(error) from error
                continue
            for other in others:
                discard_checkpoint(folder / _UNFINISHED, other)
            if folder != out:
                print(
                    f"{out} has another run that is not finished: this one goes to {folder} (--overwrite gives the other up)",
                    file=sys.stderr,
                )
            yield folder
        with suppress(OSError):  # if nothing unfinished is left in it
            (folder / _UNFINISHED).rmdir()
        return
    raise Problem(f"--out {out} cannot be used: it and {_MOST} folders beside it have runs that are not finished")


def _others(unfinished: Path, name: str | None) -> list[str]:
    """Names of unfinished runs in a folder, but for one."""
    try:
        kept = [p.name for p in unfinished.iterdir() if re.fullmatch("[0-9a-f]{16}", p.name) and p.name != name]
        return [k for k in kept if any((unfinished / k).glob("*.npz"))]
    except OSError:
        return []
