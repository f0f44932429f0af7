"""The README and the documentation: every block of code runs, page by page, and the site builds without a warning.

A block that is not run has the comment ``<!-- not run: WHY -->`` on the line before it; `NOT_RUN` counts them, so that none
slips through. Blocks of a page share their names and a folder of their own. Of bash blocks, lines that call ``activebmr`` are
run in this process; other lines need a mark.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import activebmr
from activebmr.cli import main

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(p for p in DOCS.rglob("*.md") if "notebooks" not in p.parts)]
NOT_RUN = {"installs": 6, "long": 4, "a player": 3, "R": 2}
"""How many blocks are not run, by the first words of the reason."""

PUBLIC = (
    "activebmr",
    "activebmr.plots",
    "activebmr.page",
    "activebmr.reduction",
    "activebmr.dirichlet",
    "activebmr.references",
    "activebmr.behaviour.replay",
    "activebmr.behaviour.recordings",
    "activebmr.simulation.neurons",
    "activebmr.interop.gymnasium",
    "activebmr.interop.pymdp",
    "activebmr.pruning",
    "activebmr.teaching",
    "activebmr.teaching.draw",
)
"""Modules whose names the reference has, and whose examples are run."""
NOT_TRIED = ("activebmr.interop.pymdp",)
"""Modules whose examples take an agent of pymdp, and half a minute to import it."""
SHOWN_ONLY = {"activebmr.pruning.load_compact", "activebmr.pruning.prune_weights"}
"""Names whose examples show what is written, but need a folder that is not there, or half a minute."""

_FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<language>[\w{}-]*)[^\n]*\n(?P<body>.*?)^(?P=ticks)[ \t]*$", re.M | re.S)
_MARK = re.compile(r"<!-- not run: (?P<why>[^>]+?) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """A block of code on a page: its language, its text, the line it begins at, and why it is not run, if it is not."""

    language: str
    text: str
    line: int
    why: str | None


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        mark = _MARK.search(text, 0, match.start())
        why = mark["why"] if mark is not None else None
        found.append(Block(match["language"], match["body"], text.count("\n", 0, match.start()) + 2, why))
    return [b for b in found if b.language in ("python", "bash", "powershell", "r")]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [p for p in PAGES if any(b.why is None for b in blocks_of(p))], ids=name_of)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(ROOT), *sys.path])
    monkeypatch.delitem(sys.modules, "my_maze", raising=False)  # of another page
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.why is not None:
            continue
        where = f"{name_of(page)}, line {block.line}"
        with contextlib.redirect_stdout(io.StringIO()) as said:
            if block.language == "python":
                # as many empty lines before it as the page has, so that an error names the line of the page
                exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
            else:
                assert block.language == "bash", f"{where}: only python and bash can be run; say why this is not"
                run_shell(block.text, where)
        expected = re.findall(r"^# prints: (.*)$", block.text, re.M)
        for text in expected:
            assert text in said.getvalue(), f"{where} must print {text!r}; it prints {said.getvalue()!r}"


def run_shell(text: str, where: str) -> None:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert words[0] == "activebmr", f"{where}: only lines that call activebmr are run; say why {line!r} is not"
        with contextlib.redirect_stderr(io.StringIO()) as complaint, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO("1\n" * 1000))  # whoever is asked something, answers 1
            status = main(words[1:])
        assert status == 0, f"{where}: {line!r} ended with {status}: {complaint.getvalue()}"


def test_what_is_not_run_is_counted() -> None:
    reasons = [b.why for page in PAGES for b in blocks_of(page) if b.why is not None]
    assert dict(Counter(why.split(":")[0] for why in reasons)) == {k: n for k, n in NOT_RUN.items() if n}


# --- the reference ---------------------------------------------------------------------------------------------------------
def public_objects(module: str) -> Iterator[tuple[str, Any]]:
    whole = importlib.import_module(module)
    for name in whole.__all__:
        value = getattr(whole, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            yield f"{module}.{name}", value


def test_the_reference_has_every_public_name() -> None:
    pages = "\n".join(p.read_text(encoding="utf-8") for p in (DOCS / "api").glob("*.md"))
    whole = set(re.findall(r"^\.\. automodule:: ([\w.]+)\n   :members:", pages, re.M))  # all that their __all__ names
    single = {name.rpartition(".")[2] for name in re.findall(r"^\.\. auto(?:class|function):: ([\w.]+)", pages, re.M)}
    wanted = {name.rpartition(".")[2] for module in set(PUBLIC) - whole for name, _ in public_objects(module)}
    assert wanted - single == set()
    assert single - wanted == set()  # nothing that is gone


def test_every_public_name_has_an_example_of_its_own() -> None:
    assert [name for module in PUBLIC for name, value in public_objects(module) if ">>> " not in (value.__doc__ or "")] == []


class Runs(doctest.OutputChecker):
    """Where an example says what it prints, it must; where it does not, it must run."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags)


@pytest.fixture(scope="module")
def at_hand() -> dict[str, Any]:
    """What examples take as given."""
    from paradigms import three_ball

    names: dict[str, Any] = {n: getattr(activebmr, n) for n in activebmr.__all__}
    light = activebmr.POMDP(A=[np.eye(2)], B=[np.eye(2)[:, :, None]], labels={"modality": ["light"]})
    result = activebmr.simulate(three_ball.paradigm(), n_agents=2, n_trials=3, seed=0, trace=True)
    return names | {
        **{"np": np, "ab": activebmr, "three_ball": three_ball, "result": result},
        **{"model": three_ball.world_model(), "world": light, "agent": activebmr.Agent(light)},
    }


def a_small_network() -> dict[str, Any]:
    """What examples of pruning take as given."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    from activebmr import pruning

    torch.manual_seed(0)
    make = lambda: nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 3))  # noqa: E731
    net, x, y = make(), torch.randn(24, 4), torch.randint(0, 3, (24,))
    noisy, dataset = pruning.attach_noise(net), TensorDataset(x, y)
    return {
        **{"torch": torch, "nn": nn, "F": nn.functional, "DataLoader": DataLoader, "net": net, "x": x, "y": y, "data": (x, y)},
        **{"dataset": dataset, "loader": DataLoader(dataset, 8), "noisy": noisy, "bayes": pruning.attach_posterior(make())},
        **{"optimizer": torch.optim.Adam(noisy.parameters()), "n_examples": len(x)},
    }


def record_somebody(result: Any, path: Path) -> None:
    np.savez(path, **{n: result.trace[n][0, 0].swapaxes(-1, -2) for n in ("states", "controls", "outcomes")})


@pytest.mark.parametrize("module", [m for m in PUBLIC if m not in NOT_TRIED])
def test_the_examples_of_docstrings_run(
    module: str, at_hand: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    record_somebody(at_hand["result"], Path("participant7.npz"))
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    broken = {}
    for name, value in public_objects(module):
        for case in doctest.DocTestFinder(recurse=inspect.isclass(value)).find(value, name):
            if not case.examples or case.name in SHOWN_ONLY or not case.filename:
                continue
            case.globs = vars(sys.modules[value.__module__]) | vars(importlib.import_module(module)) | at_hand
            if module == "activebmr.pruning":
                case.globs |= a_small_network()
            said: list[str] = []
            if doctest.DocTestRunner(Runs(), optionflags=flags, verbose=False).run(case, out=said.append).failed:
                broken[case.name] = "".join(said)[-600:]
    assert broken == {}, "\n".join(f"{name}: {why}" for name, why in broken.items())


# --- the site --------------------------------------------------------------------------------------------------------------
def test_the_site_builds_without_a_warning_and_without_a_network(tmp_path: Path) -> None:
    """The notebooks are run elsewhere; here only their text is read."""
    pytest.importorskip("sphinx", reason="the extra 'docs' is not installed")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-D",
        "nb_execution_mode=off",
        str(DOCS),
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=os.environ | {"NO_COLOR": "1"})
    assert done.returncode == 0, done.stderr[-4000:]
    loaded = re.compile(r"""<(?:script|img|iframe)[^>]+src="(?:https?:)?//|<link[^>]+href="(?:https?:)?//[^>]*stylesheet""")
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    assert [p.name for p in pages if loaded.search(p.read_text(encoding="utf-8"))] == []
