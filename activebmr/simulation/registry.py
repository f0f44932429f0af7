"""Which paradigms there are: files of one's own, and modules that installed packages announce.

**A paradigm is a file.** ``activebmr run ./bandit.py`` runs it, ``activebmr new bandit`` writes one to begin with. It holds

* ``NAME``: what it is called, such as ``"bandit"``;
* ``DESCRIPTION``: a sentence;
* ``SCHEMES``: ``{name: sentence}``, the ways in which its agents may reason; ``DEFAULT_SCHEME``: one of these names;
* ``paradigm(scheme, true_rule, **options) -> activebmr.Paradigm``: the experiment under a scheme, where ``true_rule`` is the
  index of the hypothesis that is true in the world, ``"random"`` for another one per agent, or None for the paradigm's own. It
  may begin with ``def paradigm(scheme=DEFAULT_SCHEME, true_rule=None)``.

It may also hold

* ``MEASURES``: ``{name: (sentence, unit, function of the result, or name of a standard measure)}``, what is counted in it; the
  first one says what counts as success (see `activebmr.Measure`);
* ``TRIALS``: how many trials a run has if nothing else is said (32);
* ``OPTIONS``: ``{name: values}``, strings, the default first: further arguments of ``paradigm``, for ``--set name=value``;
* ``figures(result, folder) -> list of paths``: draws its figures (without it, a run draws those that suit any paradigm);
* ``table(result) -> (header, rows, notes)``: what a run prints instead of the means of its measures;
* ``SCENE``: the text of a JavaScript function ``scene(root, world)`` that draws a moment on the page, or the path of a file
  that holds it, as seen from the paradigm's own; and ``scene_data(paradigm) -> data``: what the scene is told, plain JSON.

Such a file may import others beside it, which are its own: another file's may have the same names. Everything in it is checked
when it is loaded, and what is wrong is said in a sentence. A file is run only where someone names it, never because a result
does.

To give a paradigm a name on every machine that a package is installed on, announce it in the ``setup.cfg`` of the package::

    [options.entry_points]
    activebmr.paradigms =
        my-paradigm = my_package.my_module

where the name is the module's ``NAME``. Nothing else differs.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from activebmr import checks
from activebmr.simulation.contract import flaw_of

if TYPE_CHECKING:
    from activebmr.simulation.paradigm import Paradigm
    from activebmr.simulation.result import Result

__all__ = [
    "GROUP",
    "ParadigmModule",
    "build_paradigm",
    "draw_figures",
    "folders_of_files",
    "installed",
    "is_file",
    "load_paradigm",
    "module_of",
    "options_as_run",
    "options_of",
    "paradigm_names",
    "scene_of",
    "told_file",
    "trials_of",
    "unknown",
    "where_to_find",
]

GROUP = "activebmr.paradigms"


class ParadigmModule(Protocol):
    """What a module must hold to be a paradigm."""

    NAME: str
    DESCRIPTION: str
    SCHEMES: Mapping[str, str]
    DEFAULT_SCHEME: str

    def paradigm(self, scheme: str, true_rule: int | str | None, **options: str) -> Paradigm: ...


# --- finding ----------------------------------------------------------------------------------------------------------------
def _announced() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        same = found.setdefault(point.name, [])
        if point.value not in [p.value for p in same]:  # a package may be found twice, in its folder and where it is installed
            same.append(point)
    return found


def paradigm_names() -> list[str]:
    """Names of all paradigms that installed packages announce, sorted; nothing is imported."""
    return sorted(_announced())


def is_file(name: str) -> bool:
    """Whether a paradigm is asked for by the path of a file, not by its name: it ends in ``.py`` or has a slash in it."""
    return name.endswith(".py") or "/" in name or "\\" in name


def load_paradigm(name: str) -> ParadigmModule:
    """Import the module of a paradigm and check that it is one.

    Args:
        name: of an installed paradigm, or the path of a file (``"./bandit.py"``).

    Raises:
        ValueError: if there is no such paradigm or file, if two packages announce different ones under this name, or if it
            cannot be imported, or lacks something.

    Example:
        >>> load_paradigm("three-ball").DEFAULT_SCHEME
        'reasoning'
    """
    if is_file(checks.text(name, "name")):
        return _from_file(Path(checks.path_like(name, "name")))
    found = _announced()
    if name not in found:
        file = f"; {name}.py is a file: say ./{name}.py" if Path(f"{name}.py").is_file() else ""
        raise ValueError(unknown("paradigm", name, sorted(found)) + file)
    if len(found[name]) > 1:
        raise ValueError(f"paradigm {name!r} is announced by several packages: {', '.join(p.value for p in found[name])}")
    point = found[name][0]
    try:
        module = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a plug-in does when imported, it must not take the others along
        raise ValueError(f"paradigm {name!r} cannot be loaded from {point.value}: {type(error).__name__}: {error}") from error
    problem = flaw_of(module, name)
    if problem:
        raise ValueError(f"paradigm {name!r} cannot be used: {point.value} {problem}")
    return cast(ParadigmModule, module)


def _from_file(path: Path) -> ParadigmModule:
    """Run a file as a module. It is not kept among the imported ones, so that other processes get its functions by what they
    do, not by a name that only this one knows.
    """
    if path.is_dir():
        raise ValueError(f"paradigm file {path} must be a Python file; it is a folder")
    if path.suffix != ".py":
        raise ValueError(f"paradigm file {path} must end in .py")
    if not path.is_file():
        near = checks.nearest(path.name, [p.name for p in path.parent.glob("*.py")])
        raise ValueError(f"paradigm file {path} does not exist" + (f"; did you mean {path.with_name(near)}?" if near else ""))
    folder = str(path.resolve().parent)
    title = f"paradigm_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(title, path.resolve())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(title)
    sys.modules[title] = module  # dataclasses ask for it
    helpers: dict[str, Any] = {}
    module.__dict__["__builtins__"] = vars(builtins) | {"__import__": _importer(folder, helpers)}
    try:
        with _beside(folder, helpers):
            spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # it may raise whatever it likes
        raise ValueError(
            f"paradigm file {path} cannot be loaded: {_where(error, path)}{type(error).__name__}: {error}"
        ) from error
    finally:
        sys.modules.pop(title, None)
        if before is not None:
            sys.modules[title] = before
    problem = flaw_of(module, None)
    if problem:
        raise ValueError(f"paradigm file {path} cannot be used: it {problem}")
    return cast(ParadigmModule, module)


_FOLDERS: list[str] = []  # of files that were loaded, in `sys.path` behind all others


def folders_of_files() -> tuple[str, ...]:
    """Folders of the paradigm files that this process has loaded: modules can be imported from there since."""
    return tuple(_FOLDERS)


def _importer(folder: str, helpers: dict[str, Any]) -> Any:
    """The ``import`` of a file, which finds what is beside it also when a function imports something later."""

    def imported(name: str, *more: Any, **named: Any) -> Any:
        with _beside(folder, helpers):
            return builtins.__import__(name, *more, **named)

    return imported


@contextmanager
def _beside(folder: str, helpers: dict[str, Any]) -> Iterator[None]:
    """Find modules in a folder for a while, and not in those of other files.

    Afterwards the modules that came from there are no longer among the imported ones, so that another file's helper of the same
    name is not taken for them; ``helpers`` keeps them. What is found elsewhere, as installed packages are, stays.
    """
    if folder not in _FOLDERS and folder not in sys.path:
        _FOLDERS.append(folder)
        sys.path.append(folder)  # other processes get the functions of a file without its import, and look here
    kept, path = dict(sys.modules), list(sys.path)
    elsewhere = [p for p in path if p not in _FOLDERS]
    sys.path[:] = [*elsewhere, folder] if folder in _FOLDERS else elsewhere
    sys.modules.update({name: m for name, m in helpers.items() if name not in kept})
    importlib.invalidate_caches()
    try:
        yield
    finally:
        more = [p for p in sys.path if p not in path]  # the file may have added some itself
        sys.path[:] = elsewhere
        try:
            for name in [n for n in sys.modules if n not in kept]:
                # what is imported of a package that was there before belongs to that
                if name in helpers or (name.partition(".")[0] not in kept and _is_helper(name, folder)):
                    helpers[name] = sys.modules.pop(name)
        finally:
            sys.path[:] = path + more


def _is_helper(name: str, folder: str) -> bool:
    """Whether a module lies in a folder, and is nowhere to be found else: not by finders of their own either, as those of
    packages are that are installed to be worked on.
    """
    top = name.partition(".")[0]
    beside = Path(folder, f"{top}.py").is_file() or Path(folder, top).is_dir()
    return beside and all(f.find_spec(top, None) is None for f in sys.meta_path if hasattr(f, "find_spec"))


def _where(error: BaseException, path: Path) -> str:
    """The last line of a file that an error came from."""
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path.resolve()):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"line {line}: " if line is not None else ""


def module_of(result: Result) -> ParadigmModule | None:
    """The installed paradigm of a result; None if there is none of its name, or it was run from a file.

    A file that a result names is never run: results may come from anyone. Who wants it names it (`load_paradigm`).

    Raises:
        ValueError: if the module has come to be no paradigm.
    """
    return None if told_file(result) is not None else installed(result.settings.get("paradigm"))


def told_file(result: Result) -> str | None:
    """The file that a result says it was run from, for messages alone; None if it says none."""
    schemes = result.settings.get("schemes")
    told = schemes.values() if isinstance(schemes, dict) else ()
    return next((str(t["file"]) for t in told if isinstance(t, dict) and t.get("file") is not None), None)


def installed(name: Any) -> ParadigmModule | None:
    """The installed paradigm of a name, such as a data file holds; None if there is none. No file is ever run."""
    return load_paradigm(name) if isinstance(name, str) and not is_file(name) and name in paradigm_names() else None


def options_as_run(module: ParadigmModule, result: Result, scheme: str) -> dict[str, str]:
    """Options of a paradigm's module as they were when a result was made; one that it does not know any more stays, so that
    the module says so. Options that settings do not hold are left to the module.
    """
    told = result.settings.get("schemes", {}).get(scheme, {})
    held = {name: told.get(f"paradigm_{name}", told.get(name)) for name in options_of(module)}
    values = options_of(module)
    return {n: next((v for v in values[n] if _alike(v, x)), str(x)) for n, x in held.items() if x is not None}


def _alike(option: str, value: Any) -> bool:
    """Whether an option, a string, says what settings hold, which may be a number."""
    try:
        return option == str(value) or float(option) == float(value)
    except (TypeError, ValueError):
        return False


def where_to_find(result: Result) -> str:
    """How to hand over a paradigm that was run from a file, in words."""
    file = told_file(result)
    known = f", such as --paradigm {Path(file).name}" if file else ""
    return (
        f"its paradigm {str(result.settings.get('paradigm'))!r} is not installed, and no file is run that a result names: name "
        f"it yourself with --paradigm FILE{known} (in Python: hand over registry.load_paradigm(FILE))"
    )


# --- using ------------------------------------------------------------------------------------------------------------------
def build_paradigm(module: ParadigmModule, scheme: str, rule: int | str | None = None, **options: str) -> Paradigm:
    """The experiment of a module under one of its schemes, with the module's ``MEASURES``; a paradigm from a file keeps the
    file's path among its settings.

    Raises:
        TypeError: if what the module's function returns is no `Paradigm`.
        ValueError: whatever it has to say against its arguments.
    """
    from activebmr.simulation.paradigm import Paradigm

    if not callable(getattr(module, "paradigm", None)):
        raise TypeError(f"module must be that of a paradigm (see load_paradigm); got {checks.brief(module)}")
    checks.text(scheme, "scheme")
    built = module.paradigm(scheme, rule, **options)
    if not isinstance(built, Paradigm):
        raise TypeError(f"paradigm of {module.NAME} must return an activebmr.Paradigm; got {built!r}")
    changes: dict[str, Any] = {}
    if not built.measures and getattr(module, "MEASURES", None):
        changes["measures"] = module.MEASURES
    file = file_of(module)
    if file is not None:
        changes["settings"] = {**built.settings, "file": str(file)}
    return replace(built, **changes) if changes else built


def file_of(module: ParadigmModule) -> Path | None:
    """The file that a module was loaded from by its path, None for an installed one."""
    name, file = getattr(module, "__name__", ""), getattr(module, "__file__", None)
    return Path(file) if file is not None and name.startswith("paradigm_file_") else None


def options_of(module: ParadigmModule) -> dict[str, list[str]]:
    """A paradigm's own options and the values that each may have, the default first."""
    return {name: list(values) for name, values in getattr(module, "OPTIONS", {}).items()}


def trials_of(module: ParadigmModule) -> int:
    """How many trials a run of a paradigm has if nothing else is said."""
    return int(getattr(module, "TRIALS", 32))


def scene_of(module: ParadigmModule) -> str | None:
    """The JavaScript of a paradigm's scene, None if it has none.

    Raises:
        ValueError: if it names a file that cannot be read.
    """
    scene = getattr(module, "SCENE", None)
    if scene is None or (isinstance(scene, str) and ("\n" in scene or "function" in scene or "=>" in scene)):
        return scene
    path = Path(scene)
    file = getattr(module, "__file__", None)
    path = path if path.is_absolute() or file is None else Path(file).parent / path
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"SCENE of {module.NAME} must be JavaScript or a file that holds it; {path}: {error}") from error


def draw_figures(module: ParadigmModule, result: Result, folder: Path) -> list[Path] | None:
    """Let a paradigm draw its figures of a result into a folder; None if it draws none."""
    draw = getattr(module, "figures", None)
    return None if draw is None else [Path(p) for p in draw(result, folder)]


def unknown(what: str, name: str, known: list[str]) -> str:
    """Message about a name that does not exist: the ones that do, and the one that may be meant."""
    if not known:
        if what != "paradigm":
            return f"there is no {what} {name!r}: there is none at all"
        return f"there is no {what} {name!r}: none is installed (is activebmr itself installed, as with 'pip install -e .'?)"
    return f"there is no {what} {name!r}, only {', '.join(known)}{checks.meant(name, known)}"
