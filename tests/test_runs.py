"""Runs of experiments: kept when finished, gone on with, and the same in other processes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from activebmr.pruning.experiments.runs import run_all, write_json  # noqa: E402


@dataclass(frozen=True)
class Plan:
    methods: tuple[str, ...] = ("a", "b")
    size: int = 3


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def calls():
    return []


@pytest.fixture
def one(calls):
    def make(plan, what, folder, tell):
        calls.append((plan.methods, what, folder))
        if tell is not None:
            tell(f"run {what}")
        rng = np.random.default_rng(what)
        rows = [
            {"method": m, "seed": what, "value": float(rng.normal()), "none": None, "parts": {"x": [1, 2.5]}}
            for m in plan.methods
        ]
        return rows, {f"{m}_curve": rng.normal(size=plan.size) for m in plan.methods} | {"names": np.array(["first", "second"])}

    return make


RUNS = [("seed-0", 0), ("seed-1", 1)]


def same(a, b):
    assert a[0] == b[0] and len(a[1]) == len(b[1])
    for x, y in zip(a[1], b[1], strict=True):
        assert x.keys() == y.keys() and all(np.array_equal(x[k], y[k]) and x[k].dtype == y[k].dtype for k in x)


def test_finished_runs_are_read_back(tmp_path, one, calls):
    made = run_all(one, Plan(), "methods", "method", RUNS, tmp_path)
    assert [(r["method"], r["seed"]) for r in made[0]] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)] and len(made[1]) == 2
    assert len(calls) == 2
    same(run_all(one, Plan(), "methods", "method", RUNS, tmp_path), made)
    assert len(calls) == 2
    more = run_all(one, Plan(), "methods", "method", [*RUNS, ("seed-2", 2)], tmp_path)
    assert [c[1] for c in calls] == [0, 1, 2] and more[0][:4] == made[0]


def test_fewer_methods_or_another_order_are_read_and_more_are_made_in_the_same_folder(tmp_path, one, calls):
    rows, _ = run_all(one, Plan(), "methods", "method", RUNS, tmp_path)
    few, _ = run_all(one, Plan(methods=("b", "a")), "methods", "method", RUNS, tmp_path)
    assert few == [rows[1], rows[0], rows[3], rows[2]]
    assert run_all(one, Plan(methods=("b",)), "methods", "method", RUNS, tmp_path)[0] == [rows[1], rows[3]]
    assert len(calls) == 2
    run_all(one, Plan(methods=("a", "b", "c")), "methods", "method", RUNS, tmp_path)
    assert len(calls) == 4 and {c[2] for c in calls[2:]} == {c[2] for c in calls[:2]}  # where the others have what they trained
    run_all(one, Plan(size=4), "methods", "method", RUNS, tmp_path)
    assert len(calls) == 6 and len({c[2] for c in calls}) == 4  # other settings are other runs


def test_without_a_folder_nothing_is_kept(tmp_path, one, calls, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        run_all(one, Plan(), "methods", "method", RUNS, None)
    assert [c[2] for c in calls] == [None] * 4 and not list(tmp_path.iterdir())


def test_what_was_not_finished_is_made_again(tmp_path, one, calls):
    def broken(plan, what, folder, tell):
        if what == 1:
            raise KeyboardInterrupt
        return one(plan, what, folder, tell)

    with pytest.raises(KeyboardInterrupt):
        run_all(broken, Plan(), "methods", "method", RUNS, tmp_path)
    lines = []
    run_all(one, Plan(), "methods", "method", RUNS, tmp_path, tell=lines.append)
    assert [c[1] for c in calls] == [0, 1] and lines == ["run 1"]


def test_a_finished_run_survives_an_interrupted_write_of_more_methods(tmp_path, one, monkeypatch):
    run_all(one, Plan(), "methods", "method", RUNS, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.glob("*/*/kept.npz")}
    real = Path.write_bytes

    def broken(part, content):
        real(part, content[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", broken)
    with pytest.raises(KeyboardInterrupt):
        run_all(one, Plan(methods=("a", "b", "c")), "methods", "method", RUNS, tmp_path)
    assert not list(tmp_path.rglob("*.part"))
    assert len(before) == 2 and all(path.read_bytes() == content for path, content in before.items())


def test_files_are_never_there_in_part(tmp_path, monkeypatch):
    path = tmp_path / "new" / "x.json"
    write_json(path, {"a": [1, None, "x"]})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": [1, None, "x"]}
    write_json(path, {"a": 2}, indent=1)
    assert json.loads(path.read_text()) == {"a": 2} and [p.name for p in path.parent.iterdir()] == ["x.json"]


@pytest.mark.slow
def test_numbers_do_not_depend_on_processes(tmp_path):
    """Of both experiments of single weights, as they are: other processes know nothing of what is patched here."""
    from activebmr.pruning.experiments.bnn import BNNExperiment, run_bnn
    from activebmr.pruning.experiments.sparse import SparseExperiment, SparsePreset, run_sparse
    from activebmr.pruning.weights.settings import WeightTraining

    training = WeightTraining(epochs=3, retrain=2, rounds=1, batch=100, samples=2)
    bnn = BNNExperiment(inference="bbb-local", methods=("full", "naive", "iterative"), training=training)
    sparse = SparseExperiment(model="lenet", methods=("bmr-ss",), settings=SparsePreset(epochs=2, start=1, batch=480))
    for run, experiment, runs in ((run_bnn, bnn, [(0, 0), (1, 0)]), (run_sparse, sparse, 2)):
        alone, beside = run(experiment, runs), run(experiment, runs, tmp_path, jobs=2)
        for rows in (alone[0], beside[0]):
            for row in rows:
                del row["epoch_seconds"]
        same(alone, beside)
