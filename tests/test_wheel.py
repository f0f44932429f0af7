"""What is released: the wheel, built from the source distribution, installed by itself and used from another folder."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

import activebmr

ROOT = Path(__file__).parents[1]
PLACES = {"activebmr": ROOT / "activebmr", "activebmr/paradigms": ROOT / "paradigms"}
"""Where the files of a wheel are written."""

KINDS = {".py", ".js", ".css", ".html", ".npz", ".typed"}
"""Endings of the files that the package is made of."""


def run(*words: str | Path, cwd: Path, timeout: float = 240) -> str:
    """Run a command without settings of this process that would let it find the checkout; returns what it prints."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    env |= {"MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1", "COLUMNS": "100"}
    done = subprocess.run([str(w) for w in words], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def wanted_files() -> dict[str, Path]:
    """Files of a wheel by the names that they should have in it, and where they are written."""
    found = {}
    for inside, place in PLACES.items():
        for path in sorted(place.rglob("*")):
            if path.suffix in KINDS and "__pycache__" not in path.parts:
                found[f"{inside}/{path.relative_to(place).as_posix()}"] = path  # paradigms last: its __init__ is the wheel's
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution; nothing is built in the checkout."""
    if find_spec("build") is None or int(version("setuptools").split(".")[0]) < 77:
        pytest.skip("build or setuptools 77 is not installed (extra: test)")
    source = tmp_path_factory.mktemp("source") / "checkout"
    unwanted = shutil.ignore_patterns(
        ".*", "__pycache__", "*.egg-info", "build", "dist", "results", "shared", "_build", "*.pt", "*.png"
    )
    shutil.copytree(ROOT, source, ignore=unwanted)
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source, cwd=out)
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment with the wheel and what it depends on, but not the checkout."""
    folder = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    place = "Scripts" if os.name == "nt" else "bin"
    python = folder / place / ("python.exe" if os.name == "nt" else "python")
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # a line of a .pth file adds a folder, but not what the .pth files of that folder add: the checkout stays out
    shared = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "shared.pth").write_text("\n".join([*sorted(shared), *(p for p in sys.path if p.endswith("-packages"))]))
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--quiet", "--no-index", wheel, cwd=folder)
    return folder / place


def test_the_wheel_holds_every_file_and_takes_one_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
        wanted = wanted_files()
        assert names == set(wanted)
        for name, path in wanted.items():
            assert archive.read(name) == path.read_bytes(), name
        (metadata,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        told = email.message_from_bytes(archive.read(metadata))
        assert told["Name"] == "activebmr" and told["Version"] == activebmr.__version__
        assert told["License-Expression"] == "MIT" and any(n.endswith("licenses/LICENSE") for n in archive.namelist())
        assert {n.split("/")[0] for n in names} == {"activebmr"}


def test_the_source_distribution_holds_what_its_tests_need(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {n.split("/", 1)[1] for n in archive.getnames() if "/" in n}
    needed = ["constraints.txt", "Makefile", "tests/conftest.py", "activebmr/paradigms/__init__.py", "paradigms/__init__.py"]
    needed += [p.relative_to(ROOT).as_posix() for p in ROOT.glob("tests/*.py")]
    assert set(needed) <= names
    assert not [n for n in names if "__pycache__" in n or n.startswith("results/")]


def test_metadata_and_contents_pass_the_checkers(built: Path, wheel: Path) -> None:
    if find_spec("twine") is None or find_spec("check_wheel_contents") is None:
        pytest.skip("twine or check-wheel-contents is not installed (extra: release)")
    run(sys.executable, "-m", "twine", "check", "--strict", *sorted(built.iterdir()), cwd=built)
    run(sys.executable, "-m", "check_wheel_contents", wheel, cwd=built)


def test_an_installed_wheel_is_whole(installed: Path, tmp_path: Path) -> None:
    """The command's ways through a run, from a folder that has nothing to do with the checkout."""
    command, python = installed / "activebmr", installed / "python"
    places = "import activebmr.paradigms.maze as maze, activebmr; print(activebmr.__file__, maze.__file__)"
    where = run(python, "-c", places, cwd=tmp_path)
    assert str(ROOT) not in where and where.count(str(installed.parent)) == 2
    no_name = "import importlib.util as u; print(u.find_spec('paradigms'), u.find_spec('tests'))"
    assert run(python, "-c", no_name, cwd=tmp_path).split() == ["None", "None"]

    listed = run(command, "list", cwd=tmp_path)
    for name in ("bandit", "causal", "how-many", "insight", "maze", "t-maze", "three-ball"):
        assert name in listed
    small = ("--agents", "2", "--trials", "2", "--jobs", "2")  # two processes: workers import the paradigm by its name
    run(command, "run", "three-ball", *small, "--out", "out", cwd=tmp_path)
    assert (tmp_path / "out" / "result.npz").is_file() and list((tmp_path / "out").glob("*.png"))
    run(command, "page", "out", cwd=tmp_path)
    assert "scene" in (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    run(command, "new", "mine", cwd=tmp_path)
    run(command, "run", "./mine.py", "--agents", "2", "--trials", "2", "--no-figures", "--out", "mine", cwd=tmp_path)
    assert (tmp_path / "mine" / "result.npz").is_file()


def test_a_module_of_ones_own_may_be_called_paradigms(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "paradigms.py").write_text("OWN = 1\n")
    code = "import activebmr.paradigms.three_ball, paradigms; print(paradigms.OWN)"
    assert run(installed / "python", "-c", code, cwd=tmp_path).strip() == "1"


def test_in_a_checkout_both_names_give_the_same_modules() -> None:
    code = """
import sys, pickle
import paradigms.maze.maps
from paradigms import three_ball, maze
assert maze is sys.modules["activebmr.paradigms.maze"]
short, long = (sys.modules[name + ".maze.maps"] for name in ("paradigms", "activebmr.paradigms"))
assert short is long and maze.maps is long.maps  # a function of the name of its module
from activebmr.paradigms import three_ball as same
assert three_ball is same and b"activebmr.paradigms" in pickle.dumps(three_ball.paradigm)
try:
    import paradigms.nothing
except ModuleNotFoundError as error:
    print(error)
"""
    assert "paradigms.nothing" in run(sys.executable, "-W", "error", "-c", code, cwd=ROOT)
