"""Which Pythons and versions are promised: the same in the metadata, `make test-versions`, the workflow and the docs."""

from __future__ import annotations

import ast
import configparser
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "tests.yml"


def setup() -> configparser.ConfigParser:
    read = configparser.ConfigParser()
    read.read(ROOT / "setup.cfg", encoding="utf-8")
    return read


def pythons() -> list[str]:
    """The Pythons of the classifiers."""
    return re.findall(r"Python :: (3\.\d+)", setup()["metadata"]["classifiers"])


def nox_values() -> dict[str, Any]:
    """The lists of noxfile.py, read without nox."""
    found = {}
    for node in ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.List):
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def workflow() -> dict[str, Any]:
    return pytest.importorskip("yaml").safe_load(WORKFLOW.read_text(encoding="utf-8"))


def test_the_same_pythons_everywhere() -> None:
    told = pythons()
    assert told == ["3.10", "3.11", "3.12", "3.13", "3.14"]
    assert setup()["options"]["python_requires"] == f">={told[0]}"
    assert nox_values()["PYTHONS"] == told
    assert f"Python {told[0]} to {told[-1]}" in (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    assert workflow()["jobs"]["tests"]["strategy"]["matrix"]["python"] == told


def test_the_oldest_versions_are_those_of_the_metadata() -> None:
    bounds = [line.strip() for line in setup()["options"]["install_requires"].splitlines() if line.strip()]
    assert f'XARRAY = "{setup()["options.extras_require"]["xarray"].strip().replace(">=", "==")}.*"' in (
        ROOT / "noxfile.py"
    ).read_text(encoding="utf-8")
    assert sorted(nox_values()["OLDEST"]) == sorted(b.replace(">=", "==") + ".*" for b in bounds)


def test_all_that_the_tests_need_is_pinned() -> None:
    """Every distribution that the extra ``test`` brings here, whatever brings it; `make pins` does so for other systems."""
    pinned = set()
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        read = Requirement(line.split("#")[0]) if line.split("#")[0].strip() else None
        if read is not None:
            assert [s.operator for s in read.specifier] == ["=="], line
            if read.marker is None or read.marker.evaluate():
                assert canonical(read.name) not in pinned, f"{line}: pinned twice"
                pinned.add(canonical(read.name))
    todo, needed = [("activebmr", frozenset({"test"}))], set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in needed or name.startswith(("nvidia-", "cuda-toolkit", "triton")):  # torch itself pins these
            continue
        needed.add((name, extras))
        try:
            told = [Requirement(text) for text in distribution(name).requires or []]
        except PackageNotFoundError:  # not installed here: what it needs cannot be known
            continue
        here = [r for r in told if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in ("", *extras))]
        todo += [(canonical(r.name), frozenset(r.extras)) for r in here]
    assert {name for name, _ in needed} - pinned == {"activebmr"}


def canonical(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def test_the_tests_of_the_oldest_versions_are_there() -> None:
    names = re.search(r"for name in \((.*?)\)\n", (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.S)
    assert names is not None
    for name in ast.literal_eval(f"[{names[1]}]"):
        assert (ROOT / "tests" / f"test_{name}.py").is_file(), name


def test_the_workflow_is_valid() -> None:
    """By a linter, and by what GitHub needs of a job; nothing but the checks' own actions may be used."""
    config, linter = pytest.importorskip("yamllint.config"), pytest.importorskip("yamllint.linter")
    rules = config.YamlLintConfig("{extends: default, rules: {line-length: {max: 128}}}")
    assert [str(p) for p in linter.run(WORKFLOW.read_text(encoding="utf-8"), rules)] == []
    read = workflow()
    assert set(read["on"]) == {"push", "pull_request", "workflow_dispatch"} and read["permissions"] == {"contents": "read"}
    assert {job["runs-on"] for job in read["jobs"].values()} == {"${{ matrix.system }}", "ubuntu-latest"}
    assert read["jobs"]["tests"]["strategy"]["matrix"]["system"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    for name, job in read["jobs"].items():
        assert set(job) <= {"name", "runs-on", "timeout-minutes", "strategy", "env", "steps"}, name
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step) and set(step) <= {"uses", "with", "name", "run"}, (name, step)
            assert step.get("uses", "actions/x@v1").startswith("actions/")
    text = WORKFLOW.read_text(encoding="utf-8")
    for target in re.findall(r"run: make (\S+)", text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M), target


def test_extras_are_documented() -> None:
    page = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    for extra in setup()["options.extras_require"]:
        assert f"`{extra}`" in page, extra
