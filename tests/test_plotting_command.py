"""`activebmr plot`: every option, what is written, and what users get wrong."""

from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from activebmr import replay, simulate
from activebmr.cli.plotting import EPILOG, plot_command
from activebmr.cli.problems import Problem
from activebmr.files import write_npz
from paradigms import three_ball

app = typer.Typer()
app.command(epilog=EPILOG)(plot_command)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    result = simulate([three_ball.paradigm(s) for s in ("reasoning", "paper")], n_agents=3, n_trials=3, seed=0)
    return result.save(tmp_path_factory.mktemp("run") / "result.npz")


def size_of(path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def plot(*arguments) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_the_inside_of_a_trial_counted_from_one(saved, tmp_path):
    said = plot(saved, "--agent", 2, "--trial", 3, "--scheme", "paper", "--out", tmp_path)
    assert "paper-agent2-trial3.png" in said
    assert [p.name for p in tmp_path.iterdir()] == ["paper-agent2-trial3.png"]
    plot(saved, "--trial", 1, "--out", tmp_path, "--quiet")
    assert (tmp_path / "reasoning-agent0-trial1.png").exists()


def test_where_nothing_could_be_drawn_no_folder_is_left(saved, tmp_path):
    (tmp_path / "old").mkdir()
    for name in ("new", "old"):
        with pytest.raises(Problem, match="--agent must be one of the result's, 0 to 2; got 7"):
            plot(saved, "--agent", 7, "--out", tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(("form", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_formats(saved, tmp_path, form, start):
    plot(saved, "--format", form, "--out", tmp_path)
    files = list(tmp_path.iterdir())
    assert len(files) == 3 and all(f.suffix == f".{form}" and f.read_bytes().startswith(start) for f in files)
    plot(saved, "--agent", 0, "--format", form, "--panel", "odds", "--out", tmp_path)
    assert (tmp_path / f"reasoning-agent0-trial1.{form}").read_bytes().startswith(start)


def test_slides_and_dots(saved, tmp_path):
    plot(saved, "--style", "talk", "--out", tmp_path / "all")
    slides = list((tmp_path / "all").iterdir())
    assert len(slides) > 4 and all(size_of(s) == (1920, 1080) for s in slides)
    plot(saved, "--agent", 1, "--panel", "events", "--dpi", 50, "--out", tmp_path)
    assert size_of(tmp_path / "reasoning-agent1-trial1.png")[0] == 450


def test_a_replay(saved, tmp_path):
    traced = simulate(three_ball.paradigm(), n_agents=2, n_trials=2, seed=0, trace=True)
    done = {n: np.moveaxis(traced.trace[n][0], 2, 3) for n in ("controls", "outcomes")}
    about = {"paradigm": "three-ball", "scheme": "reasoning", "true_model": 64}
    write_npz(tmp_path / "told.npz", replay(three_ball.paradigm(), **done) | about)
    plot(tmp_path / "told.npz", "--agent", 1, "--trial", 2)
    assert (tmp_path / "told-participant1-trial2.png").exists()
    with pytest.raises(Problem, match="--agent must be 0 to 1; got 2"):
        plot(tmp_path / "told.npz", "--agent", 2)
    with pytest.raises(Problem, match="--scheme must not be given for a replay"):
        plot(tmp_path / "told.npz", "--scheme", "paper")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--trial", 0), "--trial must be 1 or more, as trials count from 1; got 0"),
        (("--trial", 4), "--trial must be 1 to 3; got 4"),
        (("--agent", 3), "--agent must be one of the result's, 0 to 2; got 3"),
        (("--agent", -1), "--agent must be one of the result's, 0 to 2; got -1"),
        (("--scheme", "best"), "--scheme must be one of reasoning, paper; got 'best'"),
        (("--panel", "all"), "--panel must be one of events, .*; got 'all'"),
        (("--style", "poster"), "--style must be one of print, talk; got 'poster'"),
        (("--format", "gif"), "--format must be one of png, svg, pdf; got 'gif'"),
        (("--dpi", 5), "--dpi must be 20 to 1200; got 5"),
    ],
)
def test_what_is_wrong_is_said(saved, tmp_path, arguments, message):
    with pytest.raises(Problem, match=message):
        plot(saved, "--out", tmp_path, *arguments)


def test_no_such_file(tmp_path):
    with pytest.raises(Problem, match="does not exist|No such file|not"):
        plot(tmp_path / "gone.npz")
    assert list(tmp_path.iterdir()) == []
