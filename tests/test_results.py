"""`Result` and the files it is kept in."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from worlds import lamp_rules, two_rooms

from activebmr import Agent, Paradigm, Result, simulate
from activebmr.arrays import standard_error
from activebmr.files import read_npz, write_npz
from activebmr.simulation.result import DIMENSIONS


def by_hand(**changes) -> dict:
    """2 schemes, 3 agents, 4 trials, 3 models of which the first and the last agree everywhere; the second scheme has none."""
    shape = (2, 3, 4)
    has = np.array([True, False])[:, None, None]
    arrays = {
        "wins": np.ones(shape, dtype=int),
        "losses": np.zeros(shape, dtype=int),
        "confidence": np.full(shape, -1.0),
        "free_energy": np.full(shape, 2.0),
        "log_odds": np.where(has, np.ones(shape), np.nan),
        "kl_to_truth": np.zeros(shape),
        "best_model": np.where(has, np.zeros(shape, dtype=int), -1),
        "true_model_posterior": np.where(has, np.full(shape, 0.5), np.nan),
        "model_posterior": np.where(has[..., None], np.full((*shape, 3), 1 / 3), np.nan),
        "score": np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]]),
        "discovery_trials": np.array([[1, 4, 2], [4, 4, 4]]),
        "adopted_model": np.array([[2, 1, -1], [-1, -1, -1]]),
        "adoption_trial": np.array([[0, 3, -1], [-1, -1, -1]]),
        "scheme": np.array(["thinking", "knowing"]),
        "model_names": np.array(["one", "two", "like one"]),
        "model_class": np.array([0, 1, 0]),
        "true_model": np.array(0),
        "agent": np.arange(3),
        "seed": np.array(3),
        "version": np.array("0"),
        "settings": np.array(json.dumps({"paradigm": "by hand", "n_agents": 3})),
    }
    return arrays | changes


def without(name) -> dict:
    return {k: v for k, v in by_hand().items() if k != name}


# --- summaries -----------------------------------------------------------------------------------------------------------
def test_summary_by_hand():
    thinking, knowing = Result(by_hand()).summary()
    assert thinking["scheme"] == "thinking"
    assert (thinking["agents"], thinking["trials"]) == (3, 4)
    assert thinking["has_hypotheses"] is True
    assert thinking["found"] == pytest.approx(1 / 3)  # agent 0 adopted a model that agrees with the true one
    assert thinking["wrong"] == 1
    assert thinking["discovery"] == pytest.approx(7 / 3)
    assert thinking["discovery_se"] == pytest.approx(np.sqrt(7 / 3) / np.sqrt(3))  # variance of 1, 4, 2
    assert thinking["discovery_median"] == 2
    assert thinking["undiscovered"] == 1
    assert thinking["score"] == pytest.approx(3.0)
    assert thinking["score_se"] == pytest.approx(np.sqrt(7.0) / np.sqrt(3))
    assert knowing["has_hypotheses"] is False
    assert (knowing["found"], knowing["wrong"], knowing["undiscovered"]) == (0.0, 0, 3)


def test_adoptions_by_hand():
    result = Result(by_hand())
    assert_array_equal(result.adopted_truth, [[True, False, False], [False] * 3])
    assert_array_equal(result.adopted_wrong, [[False, True, False], [False] * 3])
    each = Result(by_hand(true_model=np.array([1, 1, 0])))  # another truth for every agent
    assert_array_equal(each.adopted_truth, [[False, True, False], [False] * 3])


def test_text_says_it_in_sentences():
    text = repr(Result(by_hand()))
    assert text.splitlines()[0] == "Result of by hand: 2 schemes, 3 agents, 4 trials; seed 3"
    assert "thinking: 33% found the true model, 1 adopted a wrong one, discovery after 2.3 +- 0.9 trials (median 2)" in text
    assert "knowing: discovery after 4.0 +- 0.0 trials (median 4), score 1.0 +- 1.0" in text


def test_standard_error():
    assert standard_error(np.array([1.0, 3.0])) == pytest.approx(1.0)
    assert np.isnan(standard_error(np.array([1.0])))


def test_measures_are_attributes_and_items():
    result = Result(by_hand())
    assert_array_equal(result.wins, result["wins"])
    assert result.schemes == ["thinking", "knowing"]
    assert result.sizes == {"scheme": 2, "agent": 3, "trial": 4, "model": 3}
    assert result.settings["paradigm"] == "by hand"
    assert (result.index("knowing"), result.index(1)) == (1, 1)
    with pytest.raises(AttributeError, match="Result has no measure 'luck'; it has"):
        result.luck  # noqa: B018
    with pytest.raises(ValueError, match=r"scheme must be one of \['thinking', 'knowing'\]; got 'guessing'"):
        result.index("guessing")
    with pytest.raises(ValueError, match=r"scheme must lie in 0\.\.1; got 2"):
        result.index(2)


# --- bad input -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [n for n in by_hand() if n != "agent"])
def test_nothing_may_be_missing(name):
    with pytest.raises(ValueError, match=rf"arrays of Result must hold .*; they lack \['{name}'\]"):
        Result(without(name))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"losses of Result must have axes \('scheme', 'agent', 'trial'\); got shape \(2, 3\)"):
        Result(by_hand(losses=np.zeros((2, 3))))
    with pytest.raises(ValueError, match="score of Result must have 3 along agent like the other measures; got 5"):
        Result(by_hand(score=np.zeros((2, 5))))


# --- files ---------------------------------------------------------------------------------------------------------------
@pytest.fixture
def simulated():
    space = lamp_rules()
    return simulate(Paradigm("rooms", "s", Agent(two_rooms(), space), two_rooms(), 3, space, "random", {1: (1, 0, -1)}), 3, 4)


def test_what_is_saved_is_what_is_read(simulated, tmp_path):
    path = simulated.save(tmp_path / "new folder" / "result.npz")
    again = Result.load(path)
    assert set(again.arrays) == set(simulated.arrays)
    for name, array in simulated.arrays.items():
        assert_array_equal(again[name], array, err_msg=name)
        assert again[name].dtype == array.dtype
    assert again.settings == simulated.settings
    assert repr(again) == repr(simulated)
    assert [p.name for p in path.parent.iterdir()] == ["result.npz"]  # no half file is left beside it


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # NumPy 1.26 leaves its archive open
def test_a_failed_write_leaves_nothing_behind(tmp_path):
    class Stubborn:
        def __array__(self, *args, **kwargs):
            raise RuntimeError("no")

    write_npz(tmp_path / "a.npz", {"x": np.arange(3)})
    with pytest.raises(RuntimeError, match="no"):
        write_npz(tmp_path / "a.npz", {"x": Stubborn()})
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    assert_array_equal(read_npz(tmp_path / "a.npz", "file", ["x"])["x"], np.arange(3))


def test_truncated_files_are_refused(simulated, tmp_path):
    path = simulated.save(tmp_path / "result.npz")
    whole = path.read_bytes()
    for share in (0.0, 0.001, 0.3, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match=r"result file .*result.npz is not a readable \.npz file: truncated, damaged or"):
            Result.load(path)


def test_damaged_files_are_refused(simulated, tmp_path):
    path = simulated.save(tmp_path / "result.npz")
    whole = bytearray(path.read_bytes())
    middle = whole.index(b"PK\x03\x04", 100) + 60  # within the second array's compressed bytes
    whole[middle : middle + 8] = b"\xff" * 8
    path.write_bytes(bytes(whole))
    with pytest.raises(ValueError, match=r"result file .* is not a readable \.npz file"):
        Result.load(path)


def zipped(path, how=zipfile.ZIP_STORED, header: str | None = None) -> bytes:
    """A file with the arrays a and b, compressed in a way of one's choice, or with an odd header of a; and its bytes."""
    with zipfile.ZipFile(path, "w", how) as file:
        for name in "ab":
            raw = io.BytesIO()
            np.save(raw, np.arange(300) % 7)
            content = raw.getvalue()
            if header is not None:
                content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + bytes(64)
            file.writestr(f"{name}.npy", content)
    return path.read_bytes()


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_bytes_changed_at_random_are_refused_or_do_not_matter(tmp_path, how):
    rng, path = np.random.default_rng(0), tmp_path / "file.npz"
    pytest.importorskip({zipfile.ZIP_BZIP2: "bz2", zipfile.ZIP_LZMA: "lzma"}.get(how, "zlib"))
    whole, refused = np.frombuffer(zipped(path, how), np.uint8), 0
    for _ in range(300):
        changed = whole.copy()
        changed[rng.integers(len(whole), size=3)] = rng.choice(np.array([0, 1, 255], np.uint8), 3)
        path.write_bytes(changed.tobytes())
        try:
            read_npz(path, "file", [])
        except ValueError as error:
            assert "is not a readable .npz file" in str(error)
            refused += 1
    assert refused > 200


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [((6, 8), 1, "is encrypted"), ((8, 10), 99, "compression method is not supported")],
    ids=["encrypted", "compressed in an unknown way"],
)
def test_encryption_and_unknown_compression_are_named(tmp_path, offset, value, message):
    path = tmp_path / "file.npz"
    changed = bytearray(zipped(path))
    for mark, at in zip(
        (b"PK\x03\x04", b"PK\x01\x02"), offset, strict=True
    ):  # each file's own header and the table of contents
        changed[changed.index(mark) + at] = value
    path.write_bytes(changed)
    with pytest.raises(ValueError, match=rf"file .*file\.npz is not a readable \.npz file: .*{message}"):
        read_npz(path, "file", [])


@pytest.mark.parametrize(
    "shape", ["(4, ", "(10000000000000000000000,)", "(100000000000000,)", "(True,)", "[[1]:2]", "(" * 3000]
)
def test_odd_headers_are_refused(tmp_path, shape):
    zipped(tmp_path / "file.npz", header="{'descr': '<i8', 'fortran_order': False, 'shape': " + shape + "}")
    with pytest.raises(ValueError, match=r"is not a readable \.npz file"):
        read_npz(tmp_path / "file.npz", "file", [])


@pytest.mark.parametrize("name", ["text", "npy", "pickle"])
def test_other_files_are_refused(name, tmp_path):
    path = tmp_path / "result.npz"
    if name == "text":
        path.write_text("score\n1\n")
    elif name == "npy":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    else:
        path.write_bytes(pickle.dumps({"score": 1}))
    with pytest.raises(ValueError, match=r"result file .* is not a readable \.npz file"):
        Result.load(path)


class Bomb:
    """Its pickle would run code of its choice."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_no_pickle_is_ever_loaded(simulated, tmp_path):
    path = tmp_path / "result.npz"
    np.savez(path, **(simulated.arrays | {"score": np.array([[Bomb()]], dtype=object)}))
    with pytest.raises(
        ValueError, match=r"result file .* is not a readable \.npz file: truncated, damaged or with pickled objects"
    ):
        Result.load(path)


def test_a_file_of_0_1_counts_nothing_impossible(simulated, tmp_path):
    old = {k: v for k, v in simulated.arrays.items() if k != "impossible"}
    result = Result.load(write_npz(tmp_path / "result.npz", old))
    assert result.impossible.shape == result.wins.shape and not result.impossible.any()


def test_a_file_of_before_without_hypotheses_has_no_measures_about_them(tmp_path):
    """Files of before hold every measure, blank where there was nothing; what cannot have been there is not listed."""
    result = simulate(Paradigm("rooms", "s", Agent(two_rooms()), two_rooms(), 3, score={1: (1, 0, -1)}), 2, 2)
    settings = {k: v for k, v in result.settings.items() if k not in ("measures", "labels")}
    old = result.arrays | {name: result[name] for name in DIMENSIONS} | {"settings": json.dumps(settings)}
    again = Result.load(write_npz(tmp_path / "result.npz", old))
    assert set(again.measures) == set(result.measures)
    assert again.model_posterior.shape == (1, 2, 2, 0) and repr(again) == repr(result)


def test_what_agents_hold_impossible_is_counted(tmp_path):
    """Agents who think that the left room shows no light, in a world whose light is bright or dark."""
    blind = np.zeros((3, 2, 2))
    blind[2, 0], blind[:2, 1] = 1.0, 0.5
    model = two_rooms(A=[np.eye(2), blind], pA=None)
    world = two_rooms(A=[np.eye(2), np.full((3, 2, 2), [[[0.5]], [[0.5]], [[0.0]]])], pA=None)
    paradigm = Paradigm("rooms", "s", Agent(model), world, 3)
    result = simulate(paradigm, 4, 5, seed=1, trace=True)
    left = result.trace["states"][..., 0] == 0
    assert_array_equal(result.trace["impossible"], left)
    assert_array_equal(result.impossible, left.sum(axis=-1))
    assert result.summary()[0]["impossible"] == left.sum() > 0
    assert f"{left.sum()} observations were impossible" in repr(result)
    assert_array_equal(Result.load(result.save(tmp_path / "r.npz")).impossible, result.impossible)


@pytest.mark.parametrize("name", ["score", "settings", "model_class"])
def test_a_file_without_an_array_is_refused(simulated, tmp_path, name):
    path = write_npz(tmp_path / "result.npz", {k: v for k, v in simulated.arrays.items() if k != name})
    with pytest.raises(ValueError, match=rf"result file .* must hold the arrays .*; it lacks \['{name}'\]"):
        Result.load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"result file .*nowhere\.npz does not exist"):
        Result.load(tmp_path / "nowhere.npz")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Result.load(tmp_path)


# --- xarray --------------------------------------------------------------------------------------------------------------
def test_xarray_has_names_for_everything(simulated):
    pytest.importorskip("xarray")
    data = simulated.to_xarray()
    assert set(data.data_vars) == {*DIMENSIONS, "true_model"}
    for name, dims in DIMENSIONS.items():
        assert data[name].dims == dims
        assert_array_equal(data[name], simulated[name])
    assert list(data.scheme.values) == ["s"]
    assert list(data.model.values) == ["left", "both"]
    assert data.attrs["seed"] == 0
    assert_allclose(float(data.score.sel(scheme="s").mean()), simulated.score.mean())


def test_xarray_of_agents_without_hypotheses():
    pytest.importorskip("xarray")
    result = simulate(Paradigm("rooms", "s", Agent(two_rooms()), two_rooms(), 3), 2, 2)
    assert "model" not in result.to_xarray().sizes and result.sizes["model"] == 0
