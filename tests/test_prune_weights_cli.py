"""The commands ``activebmr prune bnn`` and ``prune sparse``: reports, figures, and what users get wrong."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from activebmr.cli import command as cli  # noqa: E402


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("activebmr.pruning.experiments.sparse.SAMPLES", 3)
    monkeypatch.setattr("activebmr.pruning.experiments.bnn.SAMPLES", 3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(*arguments):
    """Exit status of the command."""
    try:
        return cli.main(list(arguments)) or 0
    except SystemExit as stop:
        return stop.code or 0


def report(folder):
    return json.loads((folder / "report.json").read_text())


def test_bnn_writes_settings_and_a_row_for_each_split_and_method(tmp_path, capsys):
    pytest.importorskip("sklearn")
    small = ["--epochs", "3", "--retrain", "1", "--method", "full", "--method", "naive", "--method", "snr"]
    assert run("prune", "bnn", *small, "--splits", "2", "--out", str(tmp_path), "--quiet") == 0
    assert capsys.readouterr().out == ""
    found = report(tmp_path)
    assert found["settings"]["data"] == "diabetes" and found["settings"]["splits"] == 2
    assert [(r["split"], r["method"]) for r in found["rows"]] == [(s, m) for s in (0, 1) for m in ("full", "naive", "snr")]
    for row in found["rows"]:
        assert 0 <= row["removed"] <= 1 and row["rmse"] > 0
        assert {"vfe", "vfe_predicted", "vfe_observed", "nll", "near_ties", "outcome"} <= row.keys()
    assert (tmp_path / "free_energy.png").is_file() and (tmp_path / "methods.png").is_file()


def test_all_rows_have_no_split_and_the_table_is_printed(tmp_path, capsys):
    pytest.importorskip("sklearn")
    arguments = ["--all-rows", "--epochs", "2", "--retrain", "1", "--method", "full", "--method", "naive"]
    assert run("prune", "bnn", *arguments, "--out", str(tmp_path), "--no-figures") == 0
    assert {r["split"] for r in report(tmp_path)["rows"]} == {None}
    said = " ".join(capsys.readouterr().out.split())
    assert "nats per row: all rows" in said
    assert "VFE after removing a share of the weights at once" in said and said.count("90%: ") == 3
    assert not list(tmp_path.glob("*.png"))


def test_sparse_writes_settings_and_a_row_for_each_method(tmp_path):
    pytest.importorskip("sklearn")
    arguments = ["--model", "lenet", "--epochs", "2", "--method", "map", "--method", "bmr-ss"]
    assert run("prune", "sparse", *arguments, "--out", str(tmp_path), "--quiet") == 0
    found = report(tmp_path)
    assert [r["method"] for r in found["rows"]] == ["map", "bmr-ss"]
    for row in found["rows"]:
        assert 0 <= row["accuracy"] <= 1 and 0 <= row["ece"] <= 1 and 0 <= row["removed"] <= 1
        assert row["compact_parameters"] <= 61706
    assert (tmp_path / "training.png").is_file() and (tmp_path / "sparsity.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bnn", "--data", "bostn"], "boston"),
        (["bnn", "--inference", "vpb"], "vbp"),
        (["bnn", "--method", "iterativ"], "iterative"),
        (["bnn", "--method", "bmr-100"], "bmr-N with N in 1..99; got 'bmr-100'"),
        (["bnn", "--hidden", "0"], "hidden must be None or a whole number >= 1; got 0"),
        (["bnn", "--splits", "0"], "--splits must be 1 or more; got 0"),
        (["bnn", "--tolerance", "-1"], "tolerance must be a finite number >= 0; got -1.0"),
        (["bnn", "--splits", "99", "--epochs", "1"], "split of diabetes must be None or lie in 0..19"),
        (["bnn", "--data", "boston", "--data-dir", "/nowhere"], "/nowhere"),
        (["bnn", "--data", "sine", "--epochs", "-1"], "epochs of WeightTraining must be a whole number >= 0; got -1"),
        (["sparse", "--model", "lenet5"], "lenet"),
        (["sparse", "--method", "bmr"], "bmr-ss"),
        (["sparse", "--inference", "vbp"], "inference must be one of"),
        (["sparse", "--epochs", "3", "--start", "4"], "start must lie in 1..epochs"),
        (["sparse", "--seeds", "0"], "--seeds must be 1 or more; got 0"),
    ],
)
def test_what_users_get_wrong_is_named(arguments, message, tmp_path, capsys):
    extra = ["--method", "full"] if arguments[0] == "bnn" and "--method" not in arguments else []
    assert run("prune", *arguments, *extra, "--out", str(tmp_path)) != 0
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "report.json").exists()
