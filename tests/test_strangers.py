"""Results of others: nothing that came with them is run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from activebmr import Result, plots, simulate
from activebmr.cli import command as cli
from activebmr.simulation import registry
from activebmr.simulation.registry import build_paradigm, load_paradigm


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A result of a paradigm from a file, and a trap: a file that leaves a trace when it is run."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "mine"]) == 0
    module = load_paradigm("./mine.py")
    path = simulate(build_paradigm(module, module.DEFAULT_SCHEME), 2, 2, seed=0).save(tmp_path / "own.npz")
    trap = tmp_path / "trap.py"
    trap.write_text("from pathlib import Path\nPath('run').write_text('it was run')\n")
    return path, trap


def naming(path: Path, file: str) -> Path:
    """A copy of a result that says it came from another file."""
    with np.load(path) as held:
        arrays = dict(held)
    settings = json.loads(str(arrays["settings"]))
    for told in settings["schemes"].values():
        assert Path(told["file"]).is_absolute()
        told["file"] = file
    arrays["settings"] = np.array(json.dumps(settings))
    target = path.with_name("sent.npz")
    np.savez(target, **arrays)
    return target


@pytest.mark.parametrize("file", ["trap.py", "./trap.py", "x/../trap.py", "//host/share/trap.py", "\\\\host\\share\\trap.py"])
def test_what_came_with_a_result_is_not_run(sent: tuple[Path, Path], capsys: pytest.CaptureFixture[str], file: str) -> None:
    path = naming(sent[0], file)
    Path("x").mkdir()
    result = Result.load(path)
    assert registry.module_of(result) is None
    with pytest.raises(ValueError, match="must be of a paradigm that is installed"):
        plots.trial(result, 0, 0, 0)
    for words in (["plot", "sent.npz", "--out", "drawn"], ["page", "sent.npz"]):
        cli.main(words)
    assert not Path("run").exists()


def test_even_a_file_of_ones_own_is_run_only_when_it_is_named(sent: tuple[Path, Path]) -> None:
    assert registry.module_of(Result.load(sent[0])) is None
    assert load_paradigm("./mine.py").NAME == "mine"


def test_loading_runs_nothing_that_a_result_names(sent: tuple[Path, Path]) -> None:
    """Loading reads arrays, whatever the result names."""
    result = Result.load(naming(sent[0], str(sent[1])))
    assert result.wins.shape == (1, 2, 2) and not Path("run").exists()
