"""Results as tables: tidy frames and CSV, xarray and netCDF, and traces in files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from worlds import lamp_rules, two_rooms

from activebmr import POMDP, Agent, Learning, Paradigm, Planner, Result, simulate

N_AGENTS, N_TRIALS, TIMES = 3, 2, 4


def rooms(scheme="s", **more) -> Paradigm:
    space = lamp_rules()
    return Paradigm("rooms", scheme, Agent(two_rooms(), space, Planner(depth=1)), two_rooms(), TIMES, space, "random",
                    {1: (1, 0, -1)}, **more)  # fmt: skip


@pytest.fixture(scope="module")
def result() -> Result:
    half = {"half": ("half of the wins", "outcomes", lambda r: r.wins / 2)}
    return simulate([rooms("one", measures=half), rooms("other")], N_AGENTS, N_TRIALS, seed=3, trace=True)


# --- traces in files -----------------------------------------------------------------------------------------------------
def test_a_trace_is_saved_if_one_asks(result, tmp_path):
    bare, whole = result.save(tmp_path / "bare.npz"), result.save(tmp_path / "whole.npz", trace=True)
    assert not Result.load(bare).trace
    again = Result.load(whole)
    assert list(again.trace) == list(result.trace) and set(again.arrays) == set(result.arrays)
    for name, array in result.trace.items():
        assert_array_equal(again.trace[name], array, err_msg=name)
        assert again.trace[name].dtype == array.dtype
        assert again.trace_dims(name) == result.trace_dims(name)
    assert_array_equal(again.save(tmp_path / "again.npz", trace=True).exists(), True)


def test_there_must_be_a_trace(tmp_path):
    plain = simulate(rooms(), 2, 1)
    for call in (
        lambda: plain.save(tmp_path / "r.npz", trace=True),
        lambda: plain.to_dataframe(trace=True),
        lambda: plain.to_xarray(trace=True),
    ):
        with pytest.raises(ValueError, match=r"trace must be recorded to be .*: simulate\(..., trace=True\)"):
            call()
    with pytest.raises(ValueError, match="name must be a record of the trace"):
        plain.trace_dims("qs_room")


def test_every_axis_of_a_trace_has_a_name(result):
    labels = two_rooms().labels
    step = ("scheme", "agent", "trial", "time")
    assert result.trace_dims(f"qs_{labels['factor'][1]}") == (*step, f"state_{labels['factor'][1]}")
    assert result.trace_dims("neg_efe") == (*step, "policy")
    assert result.trace_dims("outcomes") == (*step, "modality")
    assert result.trace_dims("model_posterior") == (*step, "model")
    assert result.trace_dims("log_odds") == step[:3]
    light = labels["modality"][1]
    parents = [f"state_{labels['factor'][f]}" for f in two_rooms().A_dependencies[1]]
    assert result.trace_dims(f"pA_{light}") == (*step[:3], f"outcome_{light}", *parents)
    for name, array in result.trace.items():
        assert len(result.trace_dims(name)) == array.ndim and not any(a.startswith("axis") for a in result.trace_dims(name))


def test_counts_of_every_kind_have_named_axes():
    go = np.repeat(np.eye(2)[:, None, :], 2, axis=1)
    labels = {"factor": ["place"], "modality": ["sign"]}
    model = POMDP(A=[None], pA=[np.ones((3, 2))], B=[None], pB=[go + 0.1], D=[None], pD=[np.ones(2)], E=None, pE=[np.ones(2)],
                  labels=labels)  # fmt: skip
    result = simulate(Paradigm("all", "s", Agent(model, learning=Learning()), model, 3), 2, 2, trace=True)
    assert result.trace_dims("pB_place")[3:] == ("next_state_place", "state_place", "control_place")
    assert result.trace_dims("pA_sign")[3:] == ("outcome_sign", "state_place")
    assert result.trace_dims("pD_place")[3:] == ("state_place",)
    assert result.trace_dims("pE_place")[3:] == ("control_place",)


# --- tidy tables ---------------------------------------------------------------------------------------------------------
def test_a_tidy_frame_has_a_row_for_every_number(result):
    pytest.importorskip("pandas")
    frame = result.to_dataframe()
    assert list(frame.columns) == ["scheme", "agent", "trial", "measure", "value"]
    flat = [n for n in result.measures if len(result.dims(n)) <= 3]
    assert len(frame) == sum(result[n].size for n in flat) and set(frame["measure"]) == set(flat)
    wins = frame[frame["measure"] == "wins"].set_index(["scheme", "agent", "trial"])["value"]
    for (s, k, i), value in np.ndenumerate(result.wins):
        assert wins.loc[(result.schemes[s], k, i + 1)] == value
    assert frame.loc[frame["measure"] == "score", "trial"].isna().all()
    assert (frame["measure"] == "half").sum() == result.wins.size


def test_trials_are_counted_from_one_also_as_values(result):
    pytest.importorskip("pandas")
    value = result.to_dataframe("adoption_trial")["value"].to_numpy().reshape(result.adoption_trial.shape)
    never = result.adoption_trial < 0
    assert np.isnan(value[never]).all() and (value[~never] == result.adoption_trial[~never] + 1).all()


def test_a_tidy_frame_of_every_time(result):
    pytest.importorskip("pandas")
    frame = result.to_dataframe(trace=True)
    light = two_rooms().labels["modality"][1]
    seen = frame[frame["measure"] == f"outcomes_{light}"]
    assert len(seen) == 2 * N_AGENTS * N_TRIALS * TIMES and set(seen["time"]) == {1, 2, 3, 4}
    assert_array_equal(seen["value"].to_numpy().reshape(2, N_AGENTS, N_TRIALS, TIMES), result.trace["outcomes"][..., 1])
    energy = frame[(frame["measure"] == "free_energy_each_time") & (frame["scheme"] == "one")]
    assert energy["value"].sum() == pytest.approx(result.free_energy[0].sum())
    assert frame.loc[frame["measure"] == "wins", "time"].isna().all()


def test_measures_with_more_axes_come_if_they_are_named(result):
    pytest.importorskip("pandas")
    frame = result.to_dataframe(["model_posterior", "qs_room"] if "qs_room" in result.trace else "model_posterior")
    assert {"model", "measure", "value"} <= set(frame.columns)
    posterior = frame[(frame["measure"] == "model_posterior") & (frame["agent"] == 1) & (frame["trial"] == 2)]
    assert_array_equal(posterior[posterior["scheme"] == "one"]["value"], result.model_posterior[0, 1, 1])
    assert list(posterior["model"][:2]) == ["left", "both"]
    with pytest.raises(ValueError, match="measures must be among .*; got 'luck'"):
        result.to_dataframe(["wins", "luck"])


def test_csv_says_the_same_as_the_frame(result, tmp_path):
    pandas = pytest.importorskip("pandas")
    for trace in (False, True):
        path = result.save(tmp_path / "new" / "r.csv", trace=trace)
        read = pandas.read_csv(path)
        pandas.testing.assert_frame_equal(read, result.to_dataframe(trace=trace), check_dtype=False)
    assert [p.name for p in path.parent.iterdir()] == ["r.csv"]


def test_csv_needs_no_pandas(result, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    with result.save(tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"scheme": "one", "agent": "0", "trial": "1", "measure": "half", "value": rows[0]["value"]}
    with pytest.raises(ImportError, match=r"to_dataframe needs pandas: pip install -e '\.\[xarray\]'"):
        result.to_dataframe()


@pytest.mark.parametrize("name", ["r.xlsx", "r", "r.nc", "r.npy"])
def test_other_files_are_refused_by_name(result, tmp_path, name):
    with pytest.raises(ValueError, match=rf"path must end in \.npz .* or \.csv .*; got '.*{name}'"):
        result.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


# --- xarray --------------------------------------------------------------------------------------------------------------
def test_a_dataset_and_its_trace_survive_netcdf(result, tmp_path):
    xarray = pytest.importorskip("xarray")
    data = result.to_xarray(trace=True)
    data.to_netcdf(tmp_path / "r.nc")
    with xarray.open_dataset(tmp_path / "r.nc") as back:
        assert set(back.data_vars) == set(data.data_vars)
        for name in data.data_vars:
            assert_array_equal(back[name].values, data[name].values, err_msg=name)
        assert json.loads(back.attrs["settings"]) == result.settings
        assert back["trial"].values.tolist() == [1, 2] and back["time"].values.tolist() == [1, 2, 3, 4]
        assert back["modality"].values.tolist() == two_rooms().labels["modality"]
        assert back["wins"].attrs == {"description": "outcomes that are worth more than nothing", "units": "outcomes"}
        assert_array_equal(back["policy_chosen"], result.trace["policy"])
        assert_array_equal(back["true_model"], result.true_model)
    one = data["model_posterior"].sel(scheme="other", agent=2, trial=1)
    assert_array_equal(one, result.model_posterior[1, 2, 0])


def test_odd_names_and_large_seeds_survive_netcdf(tmp_path):
    xarray = pytest.importorskip("xarray")
    labels = {"factor": ["in/out", "a lamp"], "modality": ["was gesehen wird: ö", "2nd"]}
    model = two_rooms(labels=labels)
    result = simulate(Paradigm("ungewöhnlich", "s", Agent(model), model, 2), 2, 1, seed=2**62, trace=True)
    result.to_xarray(trace=True).to_netcdf(tmp_path / "r.nc")
    with xarray.open_dataset(tmp_path / "r.nc") as back:
        assert back.attrs["seed"] == str(2**62) and back.attrs["paradigm"] == "ungewöhnlich"
        assert "qs_in_out" in back


def test_policies_of_other_numbers_are_told_apart():
    """Schemes with fewer policies have nothing for the rest; what they have is where it belongs."""
    few = two_rooms(policies=[[1, 0]])
    short = Paradigm("rooms", "few", Agent(few), two_rooms(), TIMES)
    result = simulate([Paradigm("rooms", "all", Agent(two_rooms()), two_rooms(), TIMES), short], 2, 1, trace=True)
    assert result.trace["q_pi"].shape[-1] == 2
    assert np.isfinite(result.trace["q_pi"][0]).all()
    assert_array_equal(np.isnan(result.trace["q_pi"][1]), np.broadcast_to([False, True], result.trace["q_pi"][1].shape))
