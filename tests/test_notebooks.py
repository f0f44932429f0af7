"""The notebooks run, print what their text says, and are stored without outputs; their exercises have right solutions."""

from __future__ import annotations

import json
import re
import runpy
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from activebmr import load_recording
from activebmr.teaching import check, example_recording

nbformat = pytest.importorskip("nbformat", reason="notebooks run with the extra 'test': nbformat, nbclient, ipykernel")
nbclient = pytest.importorskip("nbclient")

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"
NAMES = [str(p.relative_to(FOLDER).with_suffix("")) for p in sorted(FOLDER.rglob("*.ipynb"))]
LESSONS = [name for name in NAMES if "solutions" not in name]
SECONDS = 120

CLAIMS = {
    "1_beliefs": """
assert beliefs[2] == beliefs[-1] and round(beliefs[2], 10) == 0.9  # five red and three blue are as good as two red
assert int(np.argmax(surprises)) == 5 and balls[5] == 1  # the sixth ball, a blue one
assert abs(doubts[0] - np.log(2)) < 1e-12 and doubts[3] > doubts[2] and balls[2] == 1
assert still[-1] > 0.999 and moving[-1] < 0.95
""",
    "2_curiosity": """
assert places[int(np.argmax(only_state.state_info_gain))] == "window"
assert places[int(np.argmax(only_param.param_info_gain))] == "machine"
assert places[int(np.argmax(only_model.model_info_gain))] == "riddle"
assert abs(only_state.state_info_gain[WINDOW] - (before - after)) < 1e-12
assert np.count_nonzero(only_state.state_info_gain > 1e-12) == np.count_nonzero(only_model.model_info_gain > 1e-12) == 1
assert all(places[int(np.argmax(list(row.values())))] == p for row, p in zip(bored.values(), ["window", "machine", "riddle"]))
assert np.diff(novelty).max() < 0
discovery = result.discovery_trials.mean(axis=1)
error = result.discovery_trials.std(axis=1, ddof=1) / 4
assert discovery[3] > discovery[2] > discovery[1] > discovery[0] and discovery[1] - discovery[0] < error[1]
""",
    "3_insight": """
assert fair[-1] > anything[-1] and abs(lead - ratio[-1]) < 1e-4
assert leads.max() > 0 > leads[-1]
assert len(paradigm.hypotheses) == 81 and (when > 0).all() and result.adopted_truth.all()
night = int(result.adoption_trial[0, 0])
assert result.losses[0, 0, night + 1 :].sum() == 0 and result.wins[0, 0, night + 1 :].min() > 0
assert np.diff(truth.mean(axis=0)).max() < 0.15 and np.median(np.diff(truth, axis=1).max(axis=1)) > 0.4
assert result.model_posterior[0, 0, 0].max() < 0.5
""",
    "4_sleep": """
assert leads[-1] < 3 and mixed[-1] < 0
s = result.index("sleep")
assert result.best_model[s, 2, 0] != 0 and result.best_model[s, 2, night] == 0 and result.log_odds[s, 2, 0] < 3
assert (expected(night + 1).argmax(axis=0) == np.arange(3)).all() and expected(night + 1).diagonal().min() > 0.95
never_seen = expected(night)[:, 1]
assert np.ptp(never_seen) < 0.02  # what it has never met: green after a red cue
assert late[1] > late[0] and (nights > 0).all()
assert result.trace["outcomes"].shape[1] == 12
""",
    "5_recordings": """
assert len(students) == 18 and recording["outcomes"].shape[1] == 16
assert (wrongs > rights)[[0, 1]].all() and best[0] == "guessing" and best[1] == "paper-no-model"
assert made_by == best
alike = [int(k) for k, b in zip(students, best) if b == "paper-no-model"]
assert alike == [2, 3, 7, 9, 15, 18]
for k in alike:
    assert 0 < evidence["paper-no-model"][k - 1] - evidence["paper"][k - 1] < 6
assert table.min() > -np.log(8) - 1e-9
told = replayed["log_likelihood"]
assert np.isfinite(told).sum(axis=(1, 2)).min() == 80 == moves
""",
    "6_networks": """
assert removal(0.1, 0.2) > 0 > removal(0.9, 0.1) and removal(0.1, 0.03) < 0 < removal(0.3, 0.4)
assert {n for n, c in zip(names, first.T) if (c != 0).any()} == {"x1", "x2"}
assert r > 0.95 and abs(r - r_usual) < 0.03
assert left[-1] <= total / 5.5 and small[0].out_features < 20 and difference < 1e-5
""",
}
"""What the text says beyond the numbers that it quotes, run after the last cell of a notebook."""


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


@cache
def executed(name: str) -> tuple[Any, float]:
    """A notebook with its outputs, and how many seconds it took; claims are run after its last cell."""
    notebook = read(name)
    path = (FOLDER / name).parent
    if name in CLAIMS:
        notebook.cells.append(nbformat.v4.new_code_cell(CLAIMS[name]))
    start = time.perf_counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        resources = {"metadata": {"path": str(path)}}
        nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=resources).execute()
    return notebook, time.perf_counter() - start


def outputs_of(cell: Any) -> list[Any]:
    return list(cell.get("outputs", []))


def text_of(cell: Any) -> str:
    """What a cell shows in words."""
    parts = []
    for output in outputs_of(cell):
        data = output.get("data", {})
        parts += [output.get("text", ""), data.get("text/plain", ""), re.sub("<[^>]*>", " ", data.get("text/html", ""))]
    return "\n".join(parts).strip()


def checks_in(name: str) -> list[str]:
    """Names of the checks that a notebook calls."""
    code = [cell.source for cell in read(name).cells if cell.cell_type == "code"]
    return [found for source in code for found in re.findall(r"check\.(\w+)\(", source)]


# --- what is stored --------------------------------------------------------------------------------------------------------
def test_there_are_six_lessons_with_solutions():
    assert len(LESSONS) == 6
    assert [*LESSONS, *(f"solutions/{name}" for name in LESSONS)] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_stored_without_outputs(name):
    """In the form that docs/notebooks/tidy.py brings them into."""
    stored = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    tidied = runpy.run_path(str(FOLDER / "tidy.py"))["tidied"]
    assert stored == tidied(json.loads(stored)), "run: python docs/notebooks/tidy.py"
    nbformat.validate(read(name))


@pytest.mark.parametrize("name", LESSONS)
def test_every_exercise_has_a_solution(name):
    assert len(checks_in(name)) >= 3
    assert set(checks_in(name)) == set(checks_in(f"solutions/{name}"))


def test_every_check_belongs_to_an_exercise():
    assert {c for name in LESSONS for c in checks_in(name)} == set(check.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    for cell in read(name).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#:]+)\)", cell.source):
                assert ((FOLDER / name).parent / target).exists(), target


@pytest.mark.parametrize("name", LESSONS)
def test_one_idea_a_cell(name):
    """Cells of a screen, and never two of code without a word between them, but where the second shows what the first made."""
    cells = read(name).cells
    assert max(len(c.source.splitlines()) for c in cells if c.cell_type == "code") <= 30
    kinds = "".join(c.cell_type[0] for c in cells)
    assert "ccc" not in kinds and kinds.startswith("m")


# --- what they do ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_notebooks_run(name):
    """Without an error or a warning, in time; with pictures, which appear without magic."""
    notebook, seconds = executed(name)
    assert seconds < SECONDS
    said = [o for cell in notebook.cells for o in outputs_of(cell)]
    assert [o.text for o in said if o.output_type == "stream" and o.name == "stderr"] == []
    pictures = sum("image/png" in o.get("data", {}) for o in said)
    assert pictures >= (6 if name in LESSONS else 1)
    assert not any(c.source.lstrip().startswith("%") for c in notebook.cells)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_in_the_text_are_computed_above(name):
    """Every decimal number that the text states stands in the code or in the output of a cell before it; in solutions, which
    state questions first, of any cell."""
    cells = executed(name)[0].cells
    seen = "" if name in LESSONS else "".join(c.source + text_of(c) for c in cells if c.cell_type == "code")
    for cell in cells:
        if cell.cell_type == "code":
            seen += cell.source + text_of(cell)
            continue
        if "# Exercises" in cell.source:
            break  # questions state numbers of their own
        for number in re.findall(r"(?<![\w.])\d+\.\d+", cell.source):
            assert number in seen or _rounded(number, seen), f"{number!r} in: {cell.source[:200]}"


def _rounded(number: str, seen: str) -> bool:
    """Whether a number is one that was printed, rounded."""
    places = len(number.split(".")[1])
    return any(f"{float(x):.{places}f}" == number for x in re.findall(r"\d+\.\d+", seen))


@pytest.mark.parametrize("name", LESSONS)
def test_exercises_are_open(name):
    """An exercise that nobody has answered says so."""
    for cell in executed(name)[0].cells:
        if cell.cell_type == "code" and "check." in cell.source and "import" not in cell.source:
            assert text_of(cell).startswith("no answer yet")


@pytest.mark.parametrize("name", LESSONS)
def test_solutions_are_right(name):
    cells = executed(f"solutions/{name}")[0].cells
    answered = [c for c in cells if c.cell_type == "code" and re.search(r"check\.\w+\(", c.source)]
    assert len(answered) >= 3
    for cell in answered:
        assert re.search(r"(?m)^right", text_of(cell)), cell.source


def test_progress_bars_work_in_notebooks():
    code = "from activebmr import simulate\nfrom paradigms import three_ball\n"
    code += "simulate(three_ball.paradigm(), n_agents=2, n_trials=2, seed=0, progress=True)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    said = notebook.cells[0].outputs
    assert [o.text for o in said if o.output_type == "stream" and o.name == "stderr"] == []
    assert any("Result of three-ball" in o.get("data", {}).get("text/plain", "") for o in said)


def test_the_recording_can_be_made_anew():
    """The example recording is what its script makes, of simulated students, and says so."""
    script = runpy.run_path(str(FOLDER / "make_example_recording.py"))
    made = script["recording"]()
    with np.load(example_recording()) as stored:
        assert set(stored) == set(made)
        for name, array in made.items():
            np.testing.assert_array_equal(stored[name], array)
        assert all("simulated" in str(name) for name in stored["name"])
    loaded = load_recording(example_recording())
    assert loaded["outcomes"].shape == (18, 16, 3, 6) and set(loaded) == {"outcomes", "controls", "states", "true_model"}
