"""`make test-versions`: the tests under every Python that the package promises, with the oldest and the newest NumPy.

nox                       every interpreter that is found here; others are left out and named
nox -s tests-3.13         one of them
nox -s oldest -- -k cli   the oldest versions of what is needed, and options for pytest
nox --download-python auto    interpreters that are not here are fetched by uv
"""

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
OLDEST = ["numpy==1.26.*", "scipy==1.11.*", "matplotlib==3.8.*", "typer==0.16.*", "rich==13.7.*", "loky==3.4.*"]
XARRAY = "xarray==2024.6.*"
"""The lower bounds of setup.cfg; `tests/test_versions.py` compares them."""

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True


def run(session: nox.Session) -> None:
    """The quick tests; options after ``--`` go to pytest."""
    session.run("python", "-m", "pytest", "-m", "not slow", "-n", "2", "--dist", "loadfile", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Everything, at the versions of constraints.txt."""
    session.install("-c", "constraints.txt", "-e", ".[test]", "pip")
    run(session)


@nox.session(python=["3.11", "3.10"])
def oldest(session: nox.Session) -> None:
    """The package and xarray at the oldest versions that they may have: only files of tests that need no other extra."""
    session.install(*OLDEST, XARRAY, "-e", ".", "pytest>=8", "pytest-xdist", "hypothesis")
    session.run("python", "-m", "pytest", "-m", "not slow", "-n", "2", *(session.posargs or CORE))


CORE = [
    f"tests/test_{name}.py"
    for name in (
        "agent", "bandit", "batches", "causal", "checks", "dirichlet", "hypotheses", "imports", "insight", "joint", "maze",
        "measures", "models", "observations", "paradigm_files", "paths", "planning", "plots", "reduction", "registry", "replay",
        "results", "runs", "search", "simulate", "t_maze", "worlds",
    )
]  # fmt: skip
