"""`load_regression`: tables, splits, waves, what is refused, downloads."""

from __future__ import annotations

import hashlib
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch")

from activebmr.pruning.data import table_downloads  # noqa: E402
from activebmr.pruning.data.cache import cache_folder  # noqa: E402
from activebmr.pruning.data.table_downloads import SOURCES, index_sum  # noqa: E402
from activebmr.pruning.data.tables import TABLES, WAVES, load_regression, standardise_targets  # noqa: E402

N, FEATURES = 20, 4


def values(n=N, n_columns=FEATURES + 1) -> np.ndarray:
    """Made-up columns of very different scales; the last one is the target."""
    rng = np.random.default_rng(3)
    return rng.normal(size=(n, n_columns)) * 10.0 ** np.arange(-2, n_columns - 2) + 100 * np.arange(n_columns)


def write(place, data=None, *, features=range(FEATURES), targets=(FEATURES,), splits=None) -> None:
    """A table's files as they are published; splits are pairs of training and test rows."""
    data = values() if data is None else data
    rows = np.random.default_rng(4).permutation(len(data))
    splits = [(np.roll(rows, k)[2:], np.roll(rows, k)[:2]) for k in range(3)] if splits is None else splits
    place.mkdir(parents=True, exist_ok=True)
    (place / "data.txt").write_text("".join(" ".join(f"{v:.17g}" for v in row) + "\n" for row in data))
    lists = {"index_features": features, "index_target": targets, "n_splits": [len(splits)]}
    for k, (train, test) in enumerate(splits):
        lists |= {f"index_train_{k}": train, f"index_test_{k}": test}
    for file, numbers in lists.items():
        (place / f"{file}.txt").write_text("".join(f"{v}\n" for v in numbers))


def lines(path) -> list[str]:
    return path.read_text().splitlines()


def rows_of(place, part, k=0) -> list[int]:
    return [int(line) for line in lines(place / f"index_{part}_{k}.txt")]


def check(loaded, data, train, test, columns=range(FEATURES), targets=(FEATURES,)) -> None:
    """What was loaded is, but for the scale of the features, what was written."""
    columns = list(columns)
    assert loaded.columns == tuple(columns) and loaded.n_in == len(columns) and loaded.n_out == len(targets)
    assert not loaded.is_sequence
    for part, rows in (("train", train), ("test", test)):
        x, y = getattr(loaded, f"x_{part}"), getattr(loaded, f"y_{part}")
        assert x.dtype == y.dtype == torch.float32 and x.is_contiguous() and y.is_contiguous()
        back = x.double() * loaded.x_sd.double() + loaded.x_mean.double()
        assert_allclose(back, data[list(rows)][:, columns], rtol=1e-5, atol=1e-5)
        assert_array_equal(y, data[list(rows)][:, list(targets)].astype(np.float32))
    assert_allclose(loaded.x_train.mean(0), 0, atol=1e-5)
    assert_allclose(loaded.x_train.std(0, correction=0), 1, rtol=1e-5)


# --- tables ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("below", ["yacht", "uci/yacht", "", "anything"])
def test_where_tables_are_found(tmp_path, below):
    place = tmp_path / below
    write(place)
    for folder in {"yacht": [tmp_path, place, str(tmp_path)], "uci/yacht": [tmp_path, tmp_path / "uci", place]}.get(
        below, [place]
    ):
        for k in range(3):
            loaded = load_regression("yacht", folder, split=k)
            assert (loaded.name, loaded.split, loaded.dropped) == ("yacht", k, ())
            check(loaded, values(), rows_of(place, "train", k), rows_of(place, "test", k))


def test_another_tables_folder_is_not_taken(tmp_path):
    for other in ("boston", "bostonHousing/data"):
        write(tmp_path / other)
        assert load_regression("boston", tmp_path / other).n_in == FEATURES
        with pytest.raises(FileNotFoundError, match="or be the folder of concrete and hold data.txt; it has none of them"):
            load_regression("concrete", tmp_path / other)


def test_without_a_split_all_rows_are_training_rows(tmp_path):
    write(tmp_path)
    loaded = load_regression("wine", tmp_path, split=None)
    assert loaded.split is None and loaded.x_test is loaded.x_train and loaded.y_test is loaded.y_train
    check(loaded, values(), range(N), range(N))


def test_the_default_is_the_first_split(tmp_path):
    write(tmp_path)
    one, two = load_regression("wine", tmp_path), load_regression("wine", tmp_path, split=np.int64(0), seed=5)
    assert torch.equal(one.x_train, two.x_train) and torch.equal(one.y_test, two.y_test)
    assert type(two.split) is int


def test_the_scale_is_that_of_the_training_rows_alone(tmp_path):
    data = values()
    write(tmp_path, data, splits=[(range(2, N), (0, 1))])
    before = load_regression("wine", tmp_path)
    data[:2] *= 1000
    write(tmp_path, data, splits=[(range(2, N), (0, 1))])
    after = load_regression("wine", tmp_path)
    assert torch.equal(before.x_train, after.x_train) and torch.equal(before.x_sd, after.x_sd)
    check(after, data, range(2, N), (0, 1))
    assert after.x_test.abs().max() > 100


def test_columns_are_those_of_the_index_files(tmp_path):
    data = values(n_columns=6)
    write(tmp_path, data, features=(4, 0, 3), targets=(5, 1))
    rows = rows_of(tmp_path, "train"), rows_of(tmp_path, "test")
    check(load_regression("energy", tmp_path), data, *rows, columns=(4, 0, 3), targets=(5, 1))


def test_constant_columns_are_dropped(tmp_path):
    data = values()
    data[:, 1] = 0.998  # the mean of so many of them is rounded, so that they seem to vary
    data[:, 2] = 7.0
    data[0, 2] = 8.0  # varies, but not over the training rows
    write(tmp_path, data, splits=[(range(2, N), (0, 1))])
    loaded = load_regression("naval", tmp_path)
    assert loaded.dropped == (1, 2)
    check(loaded, data, range(2, N), (0, 1), columns=(0, 3))
    loaded = load_regression("naval", tmp_path, split=None)
    assert loaded.dropped == (1,)
    check(loaded, data, range(N), range(N), columns=(0, 2, 3))


def test_columns_far_from_zero_and_hardly_varying_ones(tmp_path):
    data = values()
    data[:, 0] = 1e9 + np.arange(N) % 2  # float32 could not tell these apart
    data[:, 1] = np.arange(N) * 1e-300  # nor these from 0
    write(tmp_path, data)
    loaded = load_regression("wine", tmp_path, split=None)
    assert_allclose(loaded.x_train[:, 0], np.where(np.arange(N) % 2, 1, -1), rtol=1e-6)
    assert loaded.dropped == (1,) and (loaded.x_sd > 0).all()


def test_how_numbers_are_written_does_not_matter(tmp_path):
    write(tmp_path)
    expected = load_regression("wine", tmp_path)
    for path in tmp_path.iterdir():
        text = path.read_text()
        spaced = text.replace(" ", "\t  ").replace("\n", " \r\n\r\n")
        path.write_bytes((spaced if path.name == "data.txt" else "".join(f"{float(v):.4e}\n" for v in text.split())).encode())
    again = load_regression("wine", tmp_path)
    assert torch.equal(expected.x_train, again.x_train) and torch.equal(expected.y_test, again.y_test)


def test_large_tables_are_read(tmp_path):
    data = np.random.default_rng(5).normal(size=(45730, 10)).round(4)
    write(tmp_path, data, features=range(9), targets=(9,), splits=[(range(4573, 45730), range(4573))])
    loaded = load_regression("protein", tmp_path)
    assert loaded.x_train.shape == (41157, 9) and loaded.y_test.shape == (4573, 1)


# --- diabetes --------------------------------------------------------------------------------------------------------
def test_diabetes_needs_no_folder():
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True, scaled=False)
    whole = load_regression("diabetes", split=None)
    assert whole.columns == tuple(range(10)) and whole.dropped == () and whole.x_test is whole.x_train
    assert_allclose(whole.x_train, (x - x.mean(0)) / x.std(0), rtol=1e-5, atol=1e-6)
    assert_array_equal(whole.y_train[:, 0], y)


def test_splits_of_diabetes_are_seeded_and_complete():
    whole = load_regression("diabetes", split=None)
    targets = sorted(whole.y_train[:, 0].tolist())
    seen = set()
    for k in range(20):
        loaded = load_regression("diabetes", split=k)
        assert (len(loaded.x_train), len(loaded.x_test)) == (398, 44)
        assert sorted(torch.cat((loaded.y_train, loaded.y_test))[:, 0].tolist()) == targets
        assert torch.equal(loaded.x_train, load_regression("diabetes", split=k, seed=0).x_train)
        seen.add(tuple(loaded.y_test[:, 0].tolist()))
    seen.add(tuple(load_regression("diabetes", seed=1).y_test[:, 0].tolist()))
    assert len(seen) == 21


def test_diabetes_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="'diabetes' comes with scikit-learn: pip install scikit-learn"):
        load_regression("diabetes")


def test_standardised_targets_have_the_scale_of_their_training_rows():
    raw = load_regression("diabetes")
    found = standardise_targets(raw)
    assert_allclose(found.y_train.mean(0), [0], atol=1e-6)
    assert_allclose(found.y_train.std(0, correction=0), [1], rtol=1e-6)
    for one, other in ((found.y_train, raw.y_train), (found.y_test, raw.y_test)):
        assert_allclose(one * found.y_sd + found.y_mean, other, rtol=1e-5)
    assert raw.y_sd == 1 and raw.y_mean == 0 and torch.equal(found.x_train, raw.x_train)
    again = standardise_targets(found)
    assert_allclose(again.y_sd, found.y_sd, rtol=1e-6)
    assert_allclose(again.y_mean, found.y_mean, rtol=1e-6)


# --- waves -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", WAVES)
def test_windows_are_followed_by_their_targets(name):
    loaded = load_regression(name, split=None)
    assert loaded.is_sequence and (loaded.n_in, loaded.n_out) == (1, 1)
    assert loaded.x_test is loaded.x_train and loaded.y_test is loaded.y_train
    assert loaded.x_train.shape == (792, 8, 1) and loaded.y_train.shape == (792, 1)
    assert loaded.x_train.is_contiguous() and loaded.y_train.is_contiguous()
    assert loaded.x_train.dtype == loaded.y_train.dtype == loaded.x_mean.dtype == torch.float32
    assert loaded.x_mean.tolist() == [0] and loaded.x_sd.tolist() == [1]
    assert loaded.columns == (0,) and loaded.dropped == ()
    series = np.concatenate((loaded.x_train[0, :, 0], loaded.y_train[:, 0]))
    for i in range(792):
        assert_array_equal(loaded.x_train[i, :, 0], series[i : i + 8])
        assert loaded.y_train[i, 0] == series[i + 8]


@pytest.mark.parametrize(
    ("name", "wave"),
    [
        ("sine", lambda t: np.sin(t)),
        ("sawtooth", lambda t: np.sin(t) - np.sin(2 * t) / 2 + np.sin(3 * t) / 3 - np.sin(4 * t) / 4),
        ("square", lambda t: np.sin(t) + np.sin(3 * t) / 3 + np.sin(5 * t) / 5 + np.sin(7 * t) / 7),
    ],
)
def test_waves_are_those_of_beckers(name, wave):
    loaded = load_regression(name, split=None)
    series = np.concatenate((loaded.x_train[0, :, 0], loaded.y_train[:, 0]))
    assert_allclose(series, wave(0.01 * np.pi * np.arange(800)), rtol=1e-6, atol=1e-7)
    assert_allclose(series[200:], series[:600], rtol=0, atol=1e-6)  # four periods
    quarter = {"sine": 1, "sawtooth": 2 / 3, "square": 1 - 1 / 3 + 1 / 5 - 1 / 7}[name]
    assert_allclose(series[[0, 50, 100, 150]], [0, quarter, 0, -quarter], atol=1e-6)


@given(st.sampled_from(WAVES), st.sampled_from([None, *range(10)]), st.integers(0, 2**40))
def test_waves_do_not_depend_on_the_seed(name, split, seed):
    one, other = load_regression(name, split=split), load_regression(name, split=split, seed=seed)
    for part in ("x_train", "y_train", "x_test", "y_test"):
        assert torch.equal(getattr(one, part), getattr(other, part))


@pytest.mark.parametrize("name", WAVES)
def test_tests_of_waves_share_no_step_with_training(name):
    whole = load_regression(name, split=None)
    tested = []
    for k in range(10):
        loaded = load_regression(name, split=k)
        tests = list(range(711, 792)) if k == 0 else list(range(79 * k - 79, 79 * k))
        steps = {step for i in tests for step in range(i, i + 9)}  # of windows and targets
        trains = [i for i in range(792) if steps.isdisjoint(range(i, i + 9))]
        assert len(trains) == {0: 703, 1: 705}.get(k, 697)
        for part, rows in (("train", trains), ("test", tests)):
            x, y = getattr(loaded, f"x_{part}"), getattr(loaded, f"y_{part}")
            assert torch.equal(x, whole.x_train[rows]) and torch.equal(y, whole.y_train[rows])
            assert x.is_contiguous() and y.is_contiguous()
        assert loaded.split == k and loaded.x_mean.tolist() == [0] and loaded.x_sd.tolist() == [1]
        far = torch.cdist(loaded.x_test[..., 0].double(), loaded.x_train[..., 0].double())
        assert far.amin(1).max() < 1e-5  # the series repeats
        tested += tests
    assert sorted(tested) == list(range(792))


# --- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "cats"},
            r"name must be one of \['diabetes', 'boston', .*'yacht', 'sine', 'sawtooth', 'square'\]; got 'cats'",
        ),
        ({"name": None}, "name must be one of .*; got None"),
        ({"seed": -1}, "seed must be a whole number >= 0; got -1"),
        ({"seed": 0.5}, "seed must be a whole number >= 0; got 0.5"),
        ({"seed": True}, "seed must be a whole number >= 0; got True"),
        ({"seed": None}, "seed must be a whole number >= 0; got None"),
        ({"split": 20}, r"split of diabetes must be None or lie in 0\.\.19; got 20"),
        ({"split": -1}, r"split of diabetes must be None or lie in 0\.\.19; got -1"),
        ({"name": "sine", "split": 10}, r"split of sine must be None or lie in 0\.\.9; got 10"),
        ({"split": 1.0}, "split must be None or a whole number; got 1.0"),
        ({"split": "all"}, "split must be None or a whole number; got 'all'"),
        ({"split": False}, "split must be None or a whole number; got False"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_regression(**{"name": "diabetes", **arguments})


def test_wrong_arguments_for_tables_from_files(tmp_path):
    write(tmp_path)
    for split in (3, -1):
        with pytest.raises(ValueError, match=rf"split of wine must be None or lie in 0\.\.2; got {split}"):
            load_regression("wine", tmp_path, split=split)
    with pytest.raises(ValueError, match="seed must be"):
        load_regression("wine", tmp_path, seed=-1)


def test_wrong_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder .*nowhere does not exist"):
        load_regression("wine", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="must hold wine/data.txt or uci/wine/data.txt, or be .* it has none of them"):
        load_regression("wine", tmp_path)
    (tmp_path / "data.txt").write_text("1 2\n")
    with pytest.raises(ValueError, match="folder must be the folder that holds the files of wine; .*data.txt is a file"):
        load_regression("wine", tmp_path / "data.txt")


@pytest.mark.parametrize("file", ["index_features", "index_target", "n_splits", "index_train_1", "index_test_1"])
def test_missing_empty_and_meaningless_files(tmp_path, file):
    write(tmp_path)
    path = tmp_path / f"{file}.txt"
    for content in (b"", b" \n\n", b"one\n", b"\xff\xfe1\n", b"1\n2 3\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"table file .*{file}.txt must hold lines of equally many numbers: "):
            load_regression("wine", tmp_path, split=1)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"table file .*{file}.txt does not exist"):
        load_regression("wine", tmp_path, split=1)


@pytest.mark.parametrize("split", [0, None])
def test_truncated_data(tmp_path, split):
    write(tmp_path, values().round(3))
    path = tmp_path / "data.txt"
    whole = path.read_text()
    for content in (whole[: whole.rstrip().rfind(" ")], whole + "1 2\n", whole + "1 2 3 4 five\n", "", whole.replace(" ", "")):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"data.txt must hold lines of|index_features.txt must be whole numbers in 0\.\.0"):
            load_regression("wine", tmp_path, split=split)
    path.write_text("".join(whole.splitlines(keepends=True)[:-5]))
    with pytest.raises(
        ValueError, match=r"index_train_0.txt must be whole numbers in 0\.\.14 \(data.txt has 15 rows\); got 1\d"
    ):
        load_regression("wine", tmp_path, split=split)


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "1e39"])
def test_values_that_are_no_numbers(tmp_path, bad):
    write(tmp_path)
    table = [line.split() for line in lines(tmp_path / "data.txt")]
    table[7][2] = bad
    (tmp_path / "data.txt").write_text("\n".join(map(" ".join, table)))
    value = re.escape(str(float(bad)))
    with pytest.raises(
        ValueError,
        match=rf"values in .*data.txt must be finite and fit float32; row 7, column 2 \(from 0\) is {value}",
    ):
        load_regression("wine", tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("index_features", "0\n5\n", r"index_features.txt must be whole numbers in 0\.\.4 \(data.txt has 5 columns\); got 5"),
        ("index_features", "0\n-1\n", "index_features.txt must be .*; got -1"),
        ("index_features", "0\n0.5\n", "index_features.txt must be .*; got 0.5"),
        ("index_features", "0\n1\n0\n", "must name each column once at most; column 0 comes more than once"),
        ("index_features", "0\n4\n", "must name each column once at most; column 4 comes more than once"),
        ("index_target", "nan\n", "index_target.txt must be .*; got nan"),
        ("index_target", "inf\n", "index_target.txt must be .*; got inf"),
        ("index_train_0", "0\n1\n20\n", r"index_train_0.txt must be .* 0\.\.19 \(data.txt has 20 rows\); got 20"),
        ("index_test_0", "0\n-3\n", "index_test_0.txt must be .*; got -3"),
        ("n_splits", "0\n", r"n_splits.txt must hold one whole number >= 1; it holds \[0.0\]"),
        ("n_splits", "1.5\n", r"n_splits.txt must hold .* it holds \[1.5\]"),
        ("n_splits", "inf\n", r"n_splits.txt must hold .* it holds \[inf\]"),
        ("n_splits", "nan\n", r"n_splits.txt must hold .* it holds \[nan\]"),
        ("n_splits", "3\n3\n", r"n_splits.txt must hold .* it holds \[3.0, 3.0\]"),
    ],
)
def test_index_files_with_something_else(tmp_path, file, content, message):
    write(tmp_path)
    (tmp_path / f"{file}.txt").write_text(content)
    with pytest.raises(ValueError, match=message):
        load_regression("wine", tmp_path)


@pytest.mark.parametrize("split", [0, None])
@pytest.mark.parametrize(
    ("train", "test", "row", "times"),
    [
        (range(2, N), (0, 1, 2), 2, 2),
        (range(3, N), (0, 1), 2, 0),
        (range(2, N), (0, 1, 1), 1, 2),
        (range(2, N - 1), (0, 1), N - 1, 0),
        ((*range(2, N), 5), (0, 1), 5, 2),
    ],
    ids=["overlap", "gap", "twice in test", "end", "twice in train"],
)
def test_splits_that_overlap_or_do_not_cover(tmp_path, split, train, test, row, times):
    write(tmp_path, splits=[(train, test)])
    with pytest.raises(
        ValueError,
        match=f"index_train_0.txt and index_test_0.txt in .* must together hold each of the 20 rows once; "
        f"row {row} comes {times} times",
    ):
        load_regression("wine", tmp_path, split=split)


def test_constant_targets_and_features(tmp_path):
    data = values(n_columns=6)
    data[2:, 5] = 3.5
    write(tmp_path, data, targets=(4, 5), splits=[(range(2, N), (0, 1))])
    with pytest.raises(ValueError, match="targets of .*data.txt must vary over the training rows; target 1 is always 3.5"):
        load_regression("wine", tmp_path)
    assert load_regression("wine", tmp_path, split=None).n_out == 2
    data = values()
    data[:, :FEATURES] = 0.1
    write(tmp_path, data)
    with pytest.raises(ValueError, match="features of .*data.txt must vary over the training rows; all 4 are constant"):
        load_regression("wine", tmp_path)


# --- downloads -------------------------------------------------------------------------------------------------------
@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder that is asked for the files of yacht as if it were a server, and an empty cache."""
    served, cache = tmp_path / "served", tmp_path / "cache"
    place = served / "there" / "data"
    write(place)
    contents = {path.name: path.read_bytes() for path in place.iterdir()}
    md5 = hashlib.md5(contents.pop("data.txt")).hexdigest()
    source = table_downloads.Source("there", 3, md5, index_sum(contents))
    monkeypatch.setitem(table_downloads.SOURCES, "yacht", source)
    monkeypatch.setattr(table_downloads, "SERVER", served.as_uri() + "/")
    monkeypatch.setenv("ACTIVEBMR_DATA", str(cache))
    return place


def no_network(*args, **kwargs):
    raise AssertionError("nothing should be downloaded")


def cached() -> set[str]:
    return {p.relative_to(cache_folder()).as_posix() for p in cache_folder().rglob("*") if p.is_file()}


def test_tables_are_downloaded_once(server, monkeypatch, capsys):
    rows = rows_of(server, "train", 2), rows_of(server, "test", 2)
    check(load_regression("yacht", split=2), values(), *rows)
    printed = capsys.readouterr()
    assert printed.out == "" and f"downloading {server.as_uri()}/data.txt to " in printed.err
    assert f"downloading 9 files of indices from {server.as_uri()}/ to " in printed.err
    assert cached() == {f"uci/yacht/{p.name}" for p in server.iterdir()}
    assert all((cache_folder() / "uci" / "yacht" / p.name).read_bytes() == p.read_bytes() for p in server.iterdir())
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    check(load_regression("yacht", split=2), values(), *rows)
    check(load_regression("yacht", cache_folder(), split=2), values(), *rows)


def test_a_download_that_was_broken_off_goes_on(server, capsys):
    load_regression("yacht")
    for lost, said in (("data.txt", "data.txt to"), ("index_test_1.txt", "9 files of indices")):
        (cache_folder() / "uci" / "yacht" / lost).unlink()
        capsys.readouterr()
        check(load_regression("yacht"), values(), rows_of(server, "train"), rows_of(server, "test"))
        printed = capsys.readouterr().err
        assert said in printed and len(printed.splitlines()) == 1


def test_tables_put_into_the_cache_are_used(server, monkeypatch):
    data = values() + 1
    write(cache_folder() / "uci" / "yacht", data)
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    check(load_regression("yacht"), data, rows_of(server, "train"), rows_of(server, "test"))


def test_files_that_are_not_the_published_ones(server):
    data, index = server / "data.txt", server / "index_train_1.txt"
    published = data.read_bytes()
    data.write_bytes(published[:-3])
    with pytest.raises(
        FileNotFoundError, match=r"yacht is not in .*yacht and could not be downloaded \(.*data.txt: its md5 is"
    ):
        load_regression("yacht")
    assert cached() == set()
    data.write_bytes(published)
    index.write_bytes(index.read_bytes()[:-3])
    with pytest.raises(FileNotFoundError, match="the sha256 of the index files is .* instead of .* get the files another way"):
        load_regression("yacht")
    assert cached() == {"uci/yacht/data.txt"}  # what is there is whole


@pytest.mark.parametrize("lost", ["data.txt", "index_target.txt"])
def test_files_that_are_not_there(server, lost):
    (server / lost).unlink()
    with pytest.raises(FileNotFoundError, match=f"{lost}: URLError.*: get the files another way and name their folder"):
        load_regression("yacht")
    assert not [file for file in cached() if file.endswith(".part") or "index" in file]


def test_connections_that_break(server, monkeypatch):
    def broken(url, **settings):
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib.request.urlopen", broken)
    with pytest.raises(FileNotFoundError, match="data.txt: TimeoutError: timed out.*name their folder"):
        load_regression("yacht")


def test_a_cache_that_cannot_be_written(server):
    cache_folder().write_text("a file")
    with pytest.raises(FileNotFoundError, match="could not be downloaded .*(FileExists|NotADirectory).*name their folder"):
        load_regression("yacht")


def test_what_is_known_of_the_published_files():
    assert set(SOURCES) == set(TABLES) - {"diabetes"} and not set(TABLES) & set(WAVES)
    for part, size in (("data_md5", 32), ("index_sha256", 64)):
        sums = [getattr(source, part) for source in SOURCES.values()]
        assert len(set(sums)) == 9 and all(len(s) == size and int(s, 16) >= 0 for s in sums)
    assert len({source.directory for source in SOURCES.values()}) == 9
    assert [len(SOURCES[name].index_files) for name in ("boston", "protein")] == [43, 13]


def test_the_sum_of_many_files_is_that_of_the_command():
    # printf 1 > index_a; printf 22 > n_splits.txt; LC_ALL=C sha256sum index_* n_splits.txt | sha256sum
    assert (
        index_sum({"n_splits.txt": b"22", "index_a": b"1"})
        == "93bb4dd8a684d32a8eb0f822445d7a85cca90ca4f097cfd6c6f3f03eb6ddaaba"
    )
