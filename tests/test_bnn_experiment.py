"""The experiment of regression networks: what rows say, on from where it was, and pruning that is worth more than ranks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from torch import nn  # noqa: E402

from activebmr.pruning.data.tables import TABLES, WAVES, load_regression, standardise_targets  # noqa: E402
from activebmr.pruning.experiments import bnn as bnn_experiment  # noqa: E402
from activebmr.pruning.experiments.bnn import (  # noqa: E402
    METHODS,
    TARGETS,
    BNNExperiment,
    _OneRun,
    _start_sd,
    _tenths,
    bnn_preset,
    curve,
    held_out,
    idle_units,
    run_bnn,
    run_bnn_seed,
)
from activebmr.pruning.weights.bayes import INFERENCES, attach_posterior  # noqa: E402
from activebmr.pruning.weights.free_energies import free_energy  # noqa: E402
from activebmr.pruning.weights.likelihoods import GaussianNoise  # noqa: E402
from activebmr.pruning.weights.settings import WeightTraining  # noqa: E402

TINY = WeightTraining(
    epochs=6, retrain=2, rounds=2, batch=50, lr=0.1, likelihood_lr=0.1, samples=2, step_back=False, patience=0
)
KEYS = {
    *("method", "split", "seed", "vfe_trained", "vfe", "vfe_predicted", "vfe_observed", "rmse", "nll", "removed"),
    *("removed_by_round", "near_ties", "rounds", "undone", "dead_units", "idle_units", "parameters", "outcome"),
    "epoch_seconds",
}


@pytest.fixture(autouse=True, scope="module")
def small():
    """Few draws and points, one thread."""
    threads, patch = torch.get_num_threads(), pytest.MonkeyPatch()
    torch.set_num_threads(1)
    patch.setattr(bnn_experiment, "SAMPLES", 5)
    few = lambda *args: curve(*args, points=5)  # noqa: E731
    patch.setattr(bnn_experiment, "curve", few)
    yield
    patch.undo()
    torch.set_num_threads(threads)


def untimed(rows):
    return repr([{k: v for k, v in row.items() if k != "epoch_seconds"} for row in rows])


@pytest.fixture(scope="module")
def found():
    return run_bnn(BNNExperiment(training=TINY, tolerance=0.1), [(0, 0), (3, 1)])


# --- rows --------------------------------------------------------------------------------------------------------------------
def test_there_is_a_row_for_every_run_and_method(found):
    rows, kept = found
    assert [(r["split"], r["seed"], r["method"]) for r in rows] == [(s, k, m) for s, k in ((0, 0), (3, 1)) for m in METHODS]
    n = 50 * 11 + 51
    for row in rows:
        assert set(row) == KEYS
        assert 0 <= row["removed"] <= 1 and row["parameters"] == round(n * (1 - row["removed"]))
        assert (
            all(0 <= share <= 1 for share in row["removed_by_round"])
            and sorted(row["removed_by_round"]) == row["removed_by_round"]
        )
        assert row["rounds"] == len(row["removed_by_round"]) and row["undone"] == 0
        assert row["removed_by_round"][-1:] in ([], [row["removed"]])
        assert 0 <= row["dead_units"] + row["idle_units"] <= 51
        assert all(math.isfinite(row[k]) for k in ("vfe", "vfe_trained", "vfe_predicted", "vfe_observed", "nll", "near_ties"))
        assert 10 < row["rmse"] < 400 and isinstance(row["outcome"], str)
    assert len(kept) == 2


def test_baselines_remove_as_many_as_what_they_are_compared_with(found):
    for run in (found[0][: len(METHODS)], found[0][len(METHODS) :]):
        by = {row["method"]: row for row in run}
        assert (
            by["full"]["removed"] == 0
            and by["full"]["outcome"] == "trained"
            and by["full"]["vfe"] == by["naive"]["vfe_trained"]
        )
        assert by["naive"]["removed"] > 0
        for name, model in (("naive-snr", "naive"), ("naive-mean-sd", "naive"), ("snr", "iterative"), ("mean-sd", "iterative")):
            assert by[name]["removed_by_round"] == by[model]["removed_by_round"], name
        assert by["bmr-80"]["removed"] == pytest.approx(max(0.8, by["iterative"]["removed"]), abs=1e-3)
        assert by["naive"]["epoch_seconds"] is None and by["naive"]["vfe"] == by["naive"]["vfe_observed"]
        assert len({by[m]["vfe"] for m in ("naive", "naive-snr", "naive-mean-sd")}) == 3
        assert len({row["vfe_trained"] for row in run}) == 1


def test_curves_begin_at_the_trained_network(found):
    rows, kept = found
    for arrays, full in zip(kept, (r for r in rows if r["method"] == "full"), strict=True):
        shares = arrays["curve_share"]
        assert shares.shape == (5,) and shares[0] == 0 and (np.diff(shares) > 0).all() and shares[-1] < 1
        for name in ("evidence", "snr", "mean-sd", "predicted"):
            assert arrays[f"curve_{name}"].shape == (5,) and arrays[f"curve_{name}"][0] == pytest.approx(full["vfe"])
        for name in ("iterative", "snr", "mean-sd"):
            row = next(r for r in rows if r["method"] == name and r["seed"] == full["seed"])
            assert arrays[f"{name}_removed_in_all"].tolist() == row["removed_by_round"]
            assert arrays[f"{name}_end"] == row["vfe"] and arrays[f"{name}_vfe_predicted"][-1] == row["vfe_predicted"]


def test_what_is_removed_first_costs_least_by_its_evidence():
    """Predictions fall as long as evidence is positive and rise after; what is gone already has none left."""
    data = load_regression("diabetes")
    torch.manual_seed(0)
    bayes = attach_posterior(nn.Sequential(nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 1)), "vbp", sd=0.1)
    noise = GaussianNoise(1, len(data.x_train))
    bayes.posterior.remove(torch.arange(bayes.posterior.n) == 3)
    state = bayes.posterior.alive.clone()
    found = curve(bayes, noise, data, points=73)
    assert torch.equal(bayes.posterior.alive, state)
    finite = found["predicted"][:72]
    assert found["evidence"][0] == free_energy(bayes, noise, (data.x_train, data.y_train))
    assert (np.diff(finite, n=2) > -1e-6).all()


# --- again, and on -----------------------------------------------------------------------------------------------------------
FEW = BNNExperiment(
    inference="bbb-local", methods=("full", "iterative", "snr"), training=replace(TINY, epochs=3), tolerance=0.1
)


def test_the_same_seed_gives_the_same_numbers_and_another_others():
    one, two = (run_bnn_seed(FEW, (0, 0)) for _ in range(2))
    assert untimed(one[0]) == untimed(two[0]) and all(np.array_equal(one[1][k], two[1][k]) for k in one[1])
    other = run_bnn_seed(FEW, (0, 1))
    assert other[0][0]["vfe"] != one[0][0]["vfe"]


@pytest.mark.parametrize("inference", ["bbb-local", "ivon"])
def test_interrupted_it_goes_on_to_the_same_numbers(tmp_path, inference):
    few = replace(FEW, inference=inference, training=replace(FEW.training, clip=0.1))
    whole = untimed(run_bnn(few, [(0, 0)])[0])
    told = []

    def tell(line):
        told.append(line)
        if len(told) in (2, 4, 6):
            raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run_bnn(few, [(0, 0)], tmp_path, tell=tell)
    rows, _ = run_bnn(few, [(0, 0)], tmp_path, tell=tell)
    assert untimed(rows) == whole
    assert told[0].startswith("split 0, seed 0, full: epoch 1: loss ")
    counted = len(told)
    again, _ = run_bnn(few, [(0, 0)], tmp_path, tell=tell)
    assert repr(again) == repr(rows) and len(told) == counted


def test_more_methods_go_on_from_the_trained_network(tmp_path):
    run_bnn(replace(FEW, methods=("full",)), [(0, 0)], tmp_path)
    told = []
    rows, _ = run_bnn(replace(FEW, methods=("naive-snr", "naive")), [(0, 0)], tmp_path, tell=told.append)
    assert [r["method"] for r in rows] == ["naive-snr", "naive"]
    assert told and not any(", full:" in line for line in told)
    assert untimed(rows) == untimed(run_bnn(replace(FEW, methods=("naive-snr", "naive")), [(0, 0)])[0])


def test_any_share_and_width_can_be_asked_for():
    asked = BNNExperiment(methods=("bmr-95", "full", "bmr-7"), training=TINY, hidden=9)
    rows, _ = run_bnn(asked, [(0, 0)])
    assert [r["method"] for r in rows] == ["bmr-95", "full", "bmr-7"]
    n, iterative = 9 * 12 + 1, run_bnn(replace(asked, methods=("iterative",)), [(0, 0)])[0][0]
    assert [r["parameters"] for r in rows[:2]] == [n - math.ceil(0.95 * n), n]
    assert rows[0]["rounds"] == len(rows[0]["removed_by_round"]) > 3
    assert rows[2]["parameters"] == min(n - math.ceil(0.07 * n), iterative["parameters"])
    wave = replace(asked, data="sine", methods=("full",), training=replace(TINY, epochs=1, batch=400))
    assert run_bnn(wave, [(0, 0)])[0][0]["parameters"] == 3 * 9 * 11 + 10


def test_waves_and_all_rows_are_taken():
    experiment = BNNExperiment("sine", methods=("full", "naive"), training=replace(TINY, epochs=1, batch=400), all_rows=True)
    rows, kept = run_bnn(experiment, [(None, 0)])
    assert [r["split"] for r in rows] == [None, None] and rows[0]["parameters"] == 3 * 16 * 18 + 17
    assert all(math.isfinite(r["vfe"]) and r["rmse"] < 10 for r in rows)


# --- parts -------------------------------------------------------------------------------------------------------------------
def test_held_out_errors_are_those_of_the_mixture_of_draws():
    data = load_regression("diabetes")
    torch.manual_seed(0)
    bayes, noise = attach_posterior(nn.Linear(10, 1), sd=0.5), GaussianNoise(1, len(data.x_train))
    found = held_out(bayes, noise, data, samples=40)
    drawn = bayes.predict(data.x_test, 40).double()
    y = data.y_test.double()
    assert found["rmse"] == pytest.approx((drawn.mean(dim=0) - y).square().mean().sqrt().item(), rel=1e-6)
    t = torch.distributions.StudentT(2 * noise.alpha, drawn, math.sqrt(noise.beta.item() / noise.alpha))
    density = t.log_prob(y).squeeze(-1).logsumexp(dim=0) - math.log(40)
    assert found["nll"] == pytest.approx(-density.mean().item(), rel=1e-6)


def test_units_of_targets_do_not_change_what_reports_mean():
    """A network trained on scaled targets, asked in raw units, says what the same network on raw targets would."""
    raw = load_regression("diabetes")
    scaled = standardise_targets(raw)
    torch.manual_seed(0)
    bayes, noise = attach_posterior(nn.Linear(10, 1), "vbp", sd=0.1), GaussianNoise(1, len(raw.x_train))
    beta = noise.beta.item()
    found = held_out(bayes, noise, scaled, 40)
    torch.manual_seed(0)
    drawn = bayes.predict(raw.x_test, 40).double() * scaled.y_sd + scaled.y_mean  # other draws of the same posterior
    assert found["rmse"] == pytest.approx((drawn.mean(0) - raw.y_test).square().mean().sqrt().item(), rel=0.02)
    t = torch.distributions.StudentT(2 * noise.alpha, drawn, scaled.y_sd.item() * math.sqrt(beta / noise.alpha))
    density = t.log_prob(raw.y_test.double()).squeeze(-1).logsumexp(dim=0) - math.log(40)
    assert found["nll"] == pytest.approx(-density.mean().item(), abs=0.05)


def made_table(folder, scale=1.0, rows=40):
    """The files of a table: rows 0 to 29 train, the others test."""
    rng, place = np.random.default_rng(0), folder / "wine"
    place.mkdir(parents=True, exist_ok=True)
    x = rng.normal(size=(rows, 3))
    np.savetxt(place / "data.txt", np.column_stack((x, scale * (x[:, 0] + 0.1 * rng.normal(size=rows)))))
    indices = {"features": range(3), "target": [3], "train_0": range(30), "test_0": range(30, rows)}
    for name, numbers in indices.items():
        np.savetxt(place / f"index_{name}.txt", list(numbers), fmt="%d")
    (place / "n_splits.txt").write_text("1")
    return str(folder)


def test_a_table_that_has_changed_is_not_that_of_the_finished_run(tmp_path):
    where = made_table(tmp_path / "data")
    few = BNNExperiment("wine", "bbb-local", ("full",), TINY, data_dir=where, hidden=4)
    one = run_bnn(few, [(0, 0)], tmp_path / "kept")[0][0]
    assert run_bnn(few, [(0, 0)], tmp_path / "kept")[0][0] == one
    made_table(tmp_path / "data", scale=100.0)
    two = run_bnn(few, [(0, 0)], tmp_path / "kept")[0][0]
    assert two["rmse"] == pytest.approx(100 * one["rmse"], rel=0.05)
    made_table(tmp_path / "data")
    assert run_bnn(few, [(0, 0)], tmp_path / "kept")[0][0] == one  # that of the first table is still there


def test_free_energies_are_those_of_targets_in_their_own_units():
    few = BNNExperiment(methods=("full",), training=replace(TINY, epochs=1))
    one = _OneRun(few, 0, 0, None, None)
    vfe = one.row("full")["vfe"]
    inside = free_energy(*one.fit("full")[:2], (one.data.x_train, one.data.y_train))
    assert one.data.y_train.std(correction=0) == pytest.approx(1)
    sd = load_regression("diabetes").y_train.std(correction=0).item()
    assert vfe == pytest.approx(inside + 398 * math.log(sd), rel=1e-6)


def test_targets_are_raw_where_published_ones_are():
    for all_rows, data, raw in ((False, "diabetes", False), (True, "diabetes", True), (False, "sine", True)):
        few = BNNExperiment(data, methods=("full",), all_rows=all_rows)
        assert (_OneRun(few, None if all_rows else 0, 0, None, None).data.y_sd == 1) == raw
        for targets in TARGETS:
            asked = _OneRun(replace(few, targets=targets), None if all_rows else 0, 0, None, None)
            assert (asked.data.y_sd == 1) == (targets == "raw")


def test_he_start_follows_the_number_of_inputs():
    torch.manual_seed(0)
    assert _start_sd(torch.empty(50, 8)) == 0.5 and _start_sd(torch.empty(50)) == 0.01
    one = {
        start: run_bnn(BNNExperiment(methods=("full",), training=replace(TINY, epochs=1), start=start), [(0, 0)])[0][0]["vfe"]
        for start in (None, "he", "published")
    }
    assert one[None] == one["he"] != one["published"]


def test_tenths_of_what_is_left():
    assert _tenths(50, 80, 100) == (55, 60, 64, 68, 72, 75, 78, 80)
    assert _tenths(80, 80, 100) == _tenths(93, 80, 100) == ()


def test_idle_units_have_weights_that_noise_drowns():
    bayes = attach_posterior(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1)), sd=0.1)
    out = bayes.posterior.split(bayes.posterior.location.detach())["2.weight"][0]
    out[:] = torch.tensor([1.0, 0.01, -0.01, 1.0, 0.0])
    assert idle_units(bayes) == 3
    mask = torch.zeros(bayes.posterior.n, dtype=torch.bool)
    bayes.posterior.split(mask)["2.weight"][0, 1] = True  # cut off by pruning instead
    bayes.posterior.split(mask)["0.weight"][2] = True
    bayes.remove(mask)
    assert idle_units(bayes) == 1


def test_every_data_set_has_settings():
    for name in (*TABLES, *WAVES):
        for inference in INFERENCES:
            settings = bnn_preset(name, inference)
            assert settings.epochs >= settings.retrain > 0 and settings.step_back and settings.samples > 0
            assert BNNExperiment(name, inference, training=settings).data == name


@pytest.mark.parametrize(
    "wrong, match",
    [
        (dict(data="mnist"), r"data must be one of \['diabetes', .*; got 'mnist'"),
        (dict(inference="mc"), "inference must be one of .*; got 'mc'"),
        (dict(methods=("full", "bmr")), "method must be one of .*; got 'bmr'"),
        (dict(methods=("bmr-0",)), "method must be one of .*, or bmr-N with N in 1..99; got 'bmr-0'"),
        (dict(methods=("bmr-100",)), "method must be one of .*; got 'bmr-100'"),
        (dict(hidden=0), "hidden must be None or a whole number >= 1; got 0"),
        (dict(hidden=2.0), "hidden must be None or a whole number >= 1; got 2.0"),
        (dict(targets="log"), r"targets must be None or one of \['standardised', 'raw'\]; got 'log'"),
        (dict(start="zeros"), r"start must be None or one of \['he', 'published'\]; got 'zeros'"),
        (dict(tolerance=-0.1), "tolerance must be a finite number >= 0; got -0.1"),
    ],
)
def test_wrong_experiments_are_refused(wrong, match):
    with pytest.raises(ValueError, match=match):
        BNNExperiment(**wrong)


def test_splits_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match=r"split of diabetes must be None or lie in 0\.\.19; got 20"):
        run_bnn(BNNExperiment(training=TINY), [(20, 0)])


# --- what it finds -----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_most_weights_go_and_predictions_stay():
    """Diabetes, with fewer and larger steps than the command takes."""
    settings = WeightTraining(epochs=150, retrain=40, rounds=3, batch=32, lr=0.03, likelihood_lr=0.03)
    experiment = BNNExperiment(methods=("full", "iterative"), training=settings, tolerance=0.1)
    rows, _ = run_bnn(experiment, [(0, 0)])
    by = {r["method"]: r for r in rows}
    assert by["iterative"]["removed"] > 0.4 and by["iterative"]["vfe"] < by["full"]["vfe"] - 10
    assert by["iterative"]["rmse"] < 1.1 * by["full"]["rmse"]
