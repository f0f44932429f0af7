"""How large the package is with each extra, and how long it takes to import.

    python benchmarks/imports.py [--extras NAME ...] [--repeats 3] [--clean] [--wheel FILE]

For each extra: how many distributions it brings beyond those of the plain package (for "onnx", beyond those of "pruning"), the
bytes of their files, and seconds until what is used of it is imported, in a fresh process, the fastest of ``--repeats``. They
are seconds of the processor, so that what else a machine does is not counted. "plain" is the package alone, with all names that
it has for everybody (`import activebmr` itself loads them when they are asked for). Sizes are those of what is installed here;
extras of which something is missing are left out and named.

``--clean`` builds the wheel (or takes ``--wheel``) and installs it with each extra into an environment of its own, which needs
a package index and, for "pruning", gigabytes. Sizes are then those of all that was installed, without pip. In each of them
`from activebmr import *` must take less than half a second and load none of the large packages; the status is 1 if not.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]

USED = {
    "plain": "activebmr.behaviour.replay, activebmr.references",
    "pymdp": "activebmr.interop.pymdp, pymdp.agent",
    "pruning": "activebmr.pruning, torch",
    "onnx": "activebmr.pruning, torch, onnx, onnxscript",
    "gym": "activebmr.interop.gymnasium",
    "play": "activebmr.play.server, starlette.applications, uvicorn",
    "xarray": "activebmr, xarray",
    "notebooks": "activebmr.teaching, ipywidgets",
    "docs": "activebmr, sphinx.application, myst_nb",
    "command": "activebmr.cli.command",
    "plots": "activebmr.plots, matplotlib.pyplot",
}
"""What is imported by those who use an extra. The command and the figures belong to the plain package."""

LATE = "matplotlib torch jax xarray pandas numba pymdp gymnasium sklearn onnx starlette sphinx rich typer loky joblib"
"""What `from activebmr import *` must not load, wherever it is installed."""

SECONDS = 0.5

ONTO = {"onnx": "pruning"}
"""Extras that are of use only beside another one."""


def canonical(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def extras() -> list[str]:
    """Names of the extras of the package."""
    return distribution("activebmr").metadata.get_all("Provides-Extra") or []


def requirements(name: str, wanted: Iterable[str]) -> list[Requirement]:
    """What a distribution needs here, with some of its extras."""
    asked = ["", *wanted]
    found = [Requirement(text) for text in distribution(name).requires or []]
    return [r for r in found if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in asked)]


def closure(wanted: Iterable[str] = ()) -> set[str]:
    """All distributions that the package needs with some extras, itself included.

    Raises:
        PackageNotFoundError: if one is not installed.
    """
    todo, done = [("activebmr", frozenset(wanted))], set()
    while todo:
        name, asked = todo.pop()
        if (name, asked) not in done:
            done.add((name, asked))
            todo += [(canonical(r.name), frozenset(r.extras)) for r in requirements(name, asked)]
    return {name for name, _ in done}


def size_of(name: str) -> int:
    """Bytes of the files of a distribution; those of this package are counted where they are written."""
    if name == "activebmr":
        files = [p for folder in ("activebmr", "paradigms") for p in (ROOT / folder).rglob("*") if p.suffix != ".pyc"]
    else:
        files = [Path(str(f.locate())) for f in distribution(name).files or [] if f.suffix != ".pyc"]
    return sum(f.stat().st_size for f in files if f.is_file())


def seconds_of(modules: str, python: str = sys.executable, repeats: int = 3, cwd: Path = ROOT) -> float | None:
    """Processor seconds until modules are imported, in a fresh process, the fastest of some; None if they cannot be."""
    code = f"import time; t = time.process_time(); import {modules}; print(time.process_time() - t)"
    env = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # the first of all imports compiles
    times = []
    for _ in range(repeats):
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=cwd, env=env)
        if done.returncode:
            print(f"{modules}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            return None
        times.append(float(done.stdout.split()[-1]))
    return min(times)


def here(extra: str, repeats: int) -> tuple[str, str, str]:
    """Distributions, megabytes and seconds of an extra, as it is installed here."""
    plain, own = closure(), extra in extras()
    names = closure([extra]) - (closure([ONTO[extra]]) if extra in ONTO else plain) if own else plain
    size = sum(size_of(name) for name in names)
    seconds = seconds_of(USED[extra], repeats=repeats)
    count = f"{'+' if own else ''}{len(names)}"
    return count, f"{'+' if own else ''}{size / 1e6:.0f}", "-" if seconds is None else f"{seconds:.2f}"


def loaded(python: str, cwd: Path) -> list[str]:
    """Which of the packages that nobody asked for `from activebmr import *` loads."""
    code = f"import sys; from activebmr import *; print(*[n for n in {LATE!r}.split() if n in sys.modules])"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=cwd).stdout.split()


def clean(extra: str, wheel: Path, repeats: int) -> tuple[int, float, float | None, list[str]]:
    """Distributions, megabytes and seconds of an environment that is made for an extra, and what is wrong with it."""
    wanted = ",".join([extra, *([ONTO[extra]] if extra in ONTO else [])])
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        empty = set(folder.rglob("*"))
        what = f"{wheel}[{wanted}]" if extra in extras() else str(wheel)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-compile", "-c", str(ROOT / "constraints.txt"), what], check=True, cwd=folder)
        ask = "import json, sysconfig; print(json.dumps(sysconfig.get_paths()['purelib']))"
        packages = Path(json.loads(subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout))
        # also what stands beside the packages: commands, and what notebooks and manuals look for in share/
        size = sum(p.stat().st_size for p in set(folder.rglob("*")) - empty if p.is_file() and not p.is_symlink())
        count = len(list(packages.glob("*.dist-info")))
        seconds_of(USED[extra], str(python), 1, folder)  # which also compiles what is imported
        seconds = seconds_of(USED[extra], str(python), repeats, folder)
        alone, found = seconds_of(USED["plain"], str(python), repeats, folder), loaded(str(python), folder)
    faults = [f"{extra}: from activebmr import * loads {', '.join(found)}"] if found else []
    if alone is None or alone >= SECONDS:
        faults.append(f"{extra}: from activebmr import * takes {alone} s")
    return count, size / 1e6, seconds, faults


def beyond(extra: str, of: dict[str, tuple[int, float, float | None, list[str]]]) -> tuple[str, str, str]:
    """A row of what was measured in clean environments, beyond the one that the extra adds to."""
    count, size, seconds, _ = of[extra]
    under = of.get(ONTO.get(extra, "plain")) if extra in extras() else None
    told = "-" if seconds is None else f"{seconds:.2f}"
    if under is None:
        return str(count), f"{size:.0f}", told
    return f"+{count - under[0]}", f"+{size - under[1]:.0f}", told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", nargs="+", default=list(USED), choices=list(USED), metavar="NAME", help=", ".join(USED))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clean", action="store_true")
    parser.add_argument("--wheel", type=Path)
    options = parser.parse_args()
    print("| extra | distributions | megabytes | seconds to import |\n| --- | ---: | ---: | ---: |")
    of: dict[str, tuple[int, float, float | None, list[str]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        if options.clean and options.wheel is None:
            build = [sys.executable, "-m", "build", "--wheel", "--outdir", folder, str(ROOT)]
            subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
            (options.wheel,) = Path(folder).glob("*.whl")
        for extra in options.extras:
            try:
                if options.clean:
                    of[extra] = clean(extra, options.wheel.resolve(), options.repeats)
                row = beyond(extra, of) if options.clean else here(extra, options.repeats)
            except PackageNotFoundError as error:
                print(f"{extra}: {error} is not installed", file=sys.stderr)
                continue
            print(f"| {extra} | {' | '.join(row)} |", flush=True)
    faults = [fault for row_ in of.values() for fault in row_[3]]
    if options.clean:
        print("\n" + ("\n".join(faults) or f"from activebmr import *: below {SECONDS} s everywhere, nothing else is loaded"))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
