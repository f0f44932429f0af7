"""`make test-versions`: the tests under every Python that the package promises, with the oldest and the newest NumPy.

nox                       every interpreter that is found here; others are left out and named
nox -s tests-3.13         one of them
nox -s oldest -- -k cli   the oldest versions of what is needed, and options for pytest
nox --download-python auto    interpreters that are not here are fetched by uv
"""

import re
from pathlib import Path

import nox
from packaging.requirements import Requirement

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
OLDEST = [
    "numpy==1.26.*",
    "scipy==1.11.*",
    "matplotlib==3.8.*",
    "typer==0.16.*",
    "rich==13.7.*",
    "loky==3.4.*",
    "cloudpickle==3.0.*",
]
XARRAY = "xarray==2024.6.*"
"""The lower bounds of setup.cfg; `tests/test_versions.py` compares them."""

SYSTEMS = {
    "linux": ("x86_64-manylinux_2_28", "linux", "Linux"),
    "macos": ("aarch64-apple-darwin", "darwin", "Darwin"),
    "windows": ("x86_64-pc-windows-msvc", "win32", "Windows"),
}
"""What uv, ``sys_platform`` and ``platform_system`` call the systems."""

PYTEST = ("python", "-m", "pytest", "-m", "not slow", "-n", "2", "--max-worker-restart", "0")

PINNED_ELSEWHERE = re.compile(r"nvidia-.*|cuda-toolkit|triton|pip")
"""Parts of torch's builds for graphics cards, whose versions torch itself says, and the environment's own pip."""

nox.options.sessions = ["tests", "oldest"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True


def run(session: nox.Session) -> None:
    """The quick tests; options after ``--`` go to pytest."""
    session.run(*PYTEST, "--dist", "loadfile", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Everything, at the versions of constraints.txt."""
    session.install("-c", "constraints.txt", "-e", ".[test]", "pip")
    run(session)


@nox.session(python=["3.11", "3.10"])
def oldest(session: nox.Session) -> None:
    """The package and xarray at the oldest versions that they may have: only files of tests that need no other extra."""
    session.install(*OLDEST, XARRAY, "-e", ".", "pytest>=9", "pytest-xdist", "hypothesis")
    session.run(*PYTEST, *(session.posargs or CORE))


@nox.session(python=PYTHONS)
def core(session: nox.Session) -> None:
    """The package and xarray at the versions of constraints.txt: minutes, where all of it takes hours."""
    session.install("-c", "constraints.txt", "-e", ".[xarray]", "pytest", "pytest-xdist", "hypothesis")
    session.run(*PYTEST, *(session.posargs or CORE))


@nox.session(venv_backend="none")
def pins(session: nox.Session) -> None:
    """For every Python and system: constraints.txt can be installed with all extras, and pins all that they bring."""
    from uv import find_uv_bin

    missing = set()
    for python in PYTHONS:
        for system, (target, platform, name) in SYSTEMS.items():
            said = session.run(
                find_uv_bin(), "pip", "compile", "--quiet", "setup.cfg", "--all-extras", "--no-header", "--no-annotate",
                "-c", "constraints.txt", "--python-platform", target, "--python-version", f"{python}.12", silent=True,
                external=True, env={"MACOSX_DEPLOYMENT_TARGET": "14.0"},
            )  # fmt: skip
            env = {"python_version": python, "python_full_version": f"{python}.12"}
            pinned = pins_for({**env, "sys_platform": platform, "platform_system": name})
            found = {canonical(Requirement(line).name) for line in str(said).splitlines() if "==" in line}
            missing |= {f"{n} (Python {python}, {system})" for n in found - pinned if not PINNED_ELSEWHERE.fullmatch(n)}
            session.log(f"Python {python}, {system}: {len(found)} distributions")
    if missing:
        session.error(f"constraints.txt does not pin {', '.join(sorted(missing))}")


def canonical(name: str) -> str:
    """A distribution's name as indices compare it."""
    return re.sub("[-_.]+", "-", name).lower()


def pins_for(environment: dict[str, str]) -> set[str]:
    """Names that constraints.txt pins in an environment, by what markers know of it."""
    lines = [line.split("#")[0].strip() for line in Path("constraints.txt").read_text(encoding="utf-8").splitlines()]
    read = [Requirement(line) for line in lines if line]
    return {canonical(r.name) for r in read if r.marker is None or r.marker.evaluate(environment)}


CORE = [
    f"tests/test_{name}.py"
    for name in (
        "agent", "bandit", "batches", "causal", "checks", "dirichlet", "hypotheses", "imports", "insight", "joint", "maze",
        "measures", "models", "observations", "paradigm_files", "paths", "planning", "plots", "reduction", "registry", "replay",
        "results", "runs", "search", "simulate", "t_maze", "worlds",
    )
]  # fmt: skip
