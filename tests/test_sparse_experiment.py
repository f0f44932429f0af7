"""The experiment of sparse classifiers: what rows and traces say, and on from where it was."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from activebmr.pruning.data.images import IMAGE_SHAPES  # noqa: E402
from activebmr.pruning.experiments import sparse as sparse_experiment  # noqa: E402
from activebmr.pruning.experiments.sparse import (  # noqa: E402
    SPARSE_METHODS,
    SparseExperiment,
    SparsePreset,
    run_sparse,
    run_sparse_seed,
    sparse_preset,
)
from activebmr.pruning.networks.for_weights import DENSE_NETWORKS, swish_mlp  # noqa: E402
from activebmr.pruning.weights.sparsify import sparse_training  # noqa: E402

TINY = SparsePreset(epochs=4, start=2, batch=96, lr=5.0)
LAYERS = {"fc1": 65 * 16, "fc2": 17 * 12, "fc3": 13 * 10}
COMMON = {
    "method",
    "seed",
    "inference",
    "accuracy",
    "nll",
    "ece",
    "epoch_seconds",
    "removed",
    "parameters",
    "compact_parameters",
}
MORE = {"removed_by_layer", "sizes_by_layer", "structures", "dead_structures", "outcome"}


@pytest.fixture(autouse=True, scope="module")
def small():
    """A small network, few draws, checkpoints after every epoch, one thread."""
    threads, patch = torch.get_num_threads(), pytest.MonkeyPatch()
    torch.set_num_threads(1)
    made = lambda model, data, dropout=0.0: swish_mlp(data.shape, data.classes, (16, 12), dropout)  # noqa: E731
    patch.setattr(sparse_experiment, "dense_network_named", made)
    patch.setattr(sparse_experiment, "sparse_training", lambda *a: replace(sparse_training(*a), patience=0))
    patch.setattr(sparse_experiment, "SAMPLES", 5)
    patch.setattr(sparse_experiment, "TRACE_SAMPLES", 2)
    yield
    patch.undo()
    torch.set_num_threads(threads)


def untimed(rows):
    return repr([{k: v for k, v in row.items() if k != "epoch_seconds"} for row in rows])


@pytest.fixture(scope="module")
def found():
    return run_sparse(SparseExperiment(settings=TINY), 1)


def test_there_is_a_row_for_every_method(found):
    rows, _ = found
    n = sum(LAYERS.values())
    assert [r["method"] for r in rows] == list(SPARSE_METHODS)
    assert [r["inference"] for r in rows] == ["adam", "ivon", "bbb-local", "ivon", "ivon"]
    for row in rows:
        assert set(row) == (COMMON if row["method"] == "map" else COMMON | MORE)
        for key in ("accuracy", "ece", "removed"):
            assert 0 <= row[key] <= 1
        assert row["nll"] > 0 and row["seed"] == 0 and row["epoch_seconds"] > 0
        assert row["parameters"] == round(n * (1 - row["removed"])) <= n and 0 < row["compact_parameters"] <= n
        if row["method"] == "map":
            continue
        assert sum(row["sizes_by_layer"].values()) == n
        removed = sum(row["removed_by_layer"][k] * size for k, size in row["sizes_by_layer"].items())
        assert all(0 <= v <= 1 for v in row["removed_by_layer"].values()) and removed == pytest.approx(n * row["removed"])
        assert row["structures"] == 38 and 0 <= row["dead_structures"] <= 38
        assert (row["removed"] > 0) == row["method"].startswith("bmr")
        assert row["outcome"] == ("all 2 rounds done" if row["method"].startswith("bmr") else "trained")


def test_traces_have_every_epoch(found):
    rows, (arrays,) = found
    for row in rows:
        name = row["method"]
        assert arrays[f"{name}_epoch"].tolist() == [1, 2, 3, 4]
        for key in ("accuracy", "nll", "ece", "removed"):
            assert arrays[f"{name}_{key}"].shape == (4,) and np.isfinite(arrays[f"{name}_{key}"]).all()
        removed = arrays[f"{name}_removed"]
        assert removed[0] == 0 and (np.diff(removed) >= 0).all() and removed[-1] == row["removed"]
        if name.startswith("bmr"):
            assert removed[1] > 0  # after the removal that follows the second epoch
    assert arrays["map_nll"][-1] < arrays["map_nll"][0]


def test_the_same_seed_gives_the_same_numbers_and_another_others():
    few = SparseExperiment(methods=("map", "horseshoe", "bmr-ss"), settings=replace(TINY, epochs=2, start=1))
    one, two = run_sparse_seed(few, 0), run_sparse_seed(few, 0)
    assert untimed(one[0]) == untimed(two[0]) and all(np.array_equal(one[1][k], two[1][k]) for k in one[1])
    rows, kept = run_sparse(few, 2)
    assert untimed(rows[:3]) == untimed(one[0]) and len(kept) == 2
    assert all(a["nll"] != b["nll"] for a, b in zip(rows[:3], rows[3:], strict=True))


@pytest.mark.parametrize("method", ["flat", "bmr-ss", "horseshoe"])
def test_interrupted_it_goes_on_to_the_same_numbers(tmp_path, method):
    few = SparseExperiment(methods=(method,), settings=TINY)
    whole, arrays = run_sparse(few, 1)
    told = []

    def tell(line):
        told.append(line)
        if len(told) in (1, 3):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_sparse(few, 1, tmp_path, tell=tell)
    rows, kept = run_sparse(few, 1, tmp_path, tell=tell)
    assert told[0].startswith(f"seed 0, {method}: epoch 1: loss ")
    assert untimed(rows) == untimed(whole)
    assert kept[0].keys() == arrays[0].keys() and all(np.array_equal(kept[0][k], arrays[0][k]) for k in kept[0])
    counted = len(told)
    assert repr(run_sparse(few, 1, tmp_path, tell=tell)[0]) == repr(rows) and len(told) == counted
    trace = json.loads(next(tmp_path.glob(f"*/seed-0/{method}-trace.json")).read_text())
    assert list(trace) == ["1", "2", "3", "4"]


def test_more_methods_use_what_has_been_trained(tmp_path):
    few = SparseExperiment(methods=("flat",), settings=replace(TINY, epochs=2, start=1))
    first, _ = run_sparse(few, 1, tmp_path)
    told = []
    both, _ = run_sparse(replace(few, methods=("map", "flat")), 1, tmp_path, tell=told.append)
    assert untimed(both[1:]) == untimed(first) and not any("flat" in line for line in told)


def test_every_inference_but_back_propagation_is_taken():
    few = SparseExperiment(methods=("flat", "bmr-ss"), settings=replace(TINY, epochs=2, start=1, lr=0.01, learn_scales=True))
    for inference in ("bbb-local", "bbb-global"):
        rows, _ = run_sparse_seed(replace(few, inference=inference), 0)
        assert [r["inference"] for r in rows] == [inference] * 2 and all(math.isfinite(r["nll"]) for r in rows)


@pytest.mark.parametrize(
    "wrong, match",
    [
        (dict(data="diabetes"), r"data must be one of \['digits'.*; got 'diabetes'"),
        (dict(model="resnet50"), r"model must be one of \['mlp', 'lenet', 'vit', 'mixer'\]; got 'resnet50'"),
        (dict(inference="vbp"), r"inference must be one of \['bbb-local', 'bbb-global', 'ivon'\]; got 'vbp'"),
        (dict(methods=("map", "bmr")), "method must be one of .*; got 'bmr'"),
        (dict(settings=SparsePreset(epochs=3, start=4)), r"start must lie in 1\.\.epochs; got 4 and 3"),
        (dict(settings=SparsePreset(epochs=3, start=0)), r"start must lie in 1\.\.epochs; got 0 and 3"),
    ],
)
def test_wrong_experiments_are_refused(wrong, match):
    with pytest.raises(ValueError, match=match):
        SparseExperiment(**wrong)


def test_every_data_set_and_network_has_settings():
    for data in IMAGE_SHAPES:
        for model in DENSE_NETWORKS:
            assert SparseExperiment(data, model, settings=sparse_preset(data, model)).model == model


@pytest.mark.slow
def test_digits_are_known_with_a_fraction_of_the_weights():
    """The network is as small as here; settings are those of the command, in half the epochs."""
    settings = replace(sparse_preset("digits", "mlp"), epochs=50, start=15)
    rows, _ = run_sparse(SparseExperiment(methods=("map", "bmr-ss"), settings=settings), 1)
    by = {r["method"]: r for r in rows}
    assert all(r["accuracy"] > 0.9 for r in rows)
    assert by["bmr-ss"]["removed"] > 0.3 and by["bmr-ss"]["accuracy"] > by["map"]["accuracy"] - 0.03
