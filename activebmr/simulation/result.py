"""`Result`: what a simulation measured, as named arrays with named axes, saved as a plain ``.npz`` (no pickle)."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr import checks
from activebmr.arrays import standard_error
from activebmr.files import read_npz, write_npz
from activebmr.simulation.holdings import check_trace, check_values, read_settings, sizes_of
from activebmr.simulation.measures import ABOUT_HYPOTHESES, DIMENSIONS, STANDARD, blank, measures_of, worked_out

__all__ = ["DIMENSIONS", "Result"]

# what files of 0.1 and of the first builds of 0.2 hold: every measure, but maybe neither what was held impossible, nor how long
# agents were unsure
_LATER = ("impossible", "unsure")
_ABOUT = ("scheme", "model_names", "model_class", "true_model", "seed", "version", "settings")
_TRACE = "trace/"


class Result:
    """Measures of one or more schemes of a paradigm over agents and trials.

    ``result.measures`` holds what there is, by name: the standard ones (`DIMENSIONS`) that the paradigm has, and its own. Each
    is an attribute too: ``result.free_energy`` is ``(scheme, agent, trial)``; ``result.dims("free_energy")`` names the axes,
    and ``result.about("free_energy")`` says what it means. A paradigm without a score has no wins, losses and score; where
    nothing can be compared with a truth there is no discovery. Measures about hypotheses that no agent has are nan (or -1) when
    they are asked for by name.

    Further attributes: ``scheme`` names, ``model_names``, ``model_class`` (hypotheses with the same number agree everywhere),
    ``true_model`` (an index, or one per agent), ``agent`` (the agents' numbers), ``seed``, ``version``, ``settings`` (a dict),
    ``sizes`` (length of each axis) and ``trace`` (every step, if the simulation was asked for it).

    Adopted models and trials are 0-based in arrays, -1 for none; in tables (`to_dataframe`, CSV) trials count from 1.

    Args:
        arrays: measures and attributes by name, as ``arrays`` of another result has them.
        trace: step-by-step records, axes (scheme, agent, trial, ...).

    Raises:
        ValueError: if something is missing, has other axes than it should, or holds what no simulation can have written.

    Example:
        >>> from activebmr import simulate
        >>> from activebmr.paradigms import three_ball
        >>> result = simulate(three_ball.paradigm(), n_agents=2, n_trials=2)
        >>> result.dims("model_posterior")
        ('scheme', 'agent', 'trial', 'model')
    """

    def __init__(self, arrays: Mapping[str, Any], trace: Mapping[str, NDArray[Any]] | None = None) -> None:
        checks.mapping(arrays, "arrays")
        self.arrays: dict[str, NDArray[Any]] = {name: np.asarray(value) for name, value in arrays.items()}
        missing = [name for name in _ABOUT if name not in arrays]
        settings = {} if "settings" in missing else read_settings(self.arrays["settings"])
        told = settings.get("measures")  # what the paradigm has; files of before hold all that there was
        missing = [name for name in _needed(told) if name not in arrays and name not in _ABOUT] + missing
        if missing:
            raise ValueError(f"arrays of Result must hold {list(_needed(told))}; they lack {missing}")
        for name in _LATER if told is None else (n for n in _LATER if n in told):
            self.arrays.setdefault(name, np.zeros(self.arrays["free_energy"].shape, dtype=np.int32))
        axes = {n: tuple(a["axes"]) for n, a in told.items()} if told is not None else dict(DIMENSIONS)
        self.sizes = sizes_of(self.arrays, axes)
        if told is None and self.sizes.get("model") == 0:
            axes = {name: a for name, a in axes.items() if name not in ABOUT_HYPOTHESES}
        self.sizes.setdefault("model", 0)
        self.arrays.setdefault("agent", np.arange(self.sizes["agent"]))
        self._axes = axes
        check_values(self.arrays, self._axes, self.sizes)
        for name in ("true_model", *(n for n in STANDARD if STANDARD[n][1] == "index" and n in self.arrays)):
            if self.arrays[name].dtype.kind == "f":  # whole numbers, written by another program
                self.arrays[name] = self.arrays[name].astype(np.intp)
        self.trace: dict[str, NDArray[Any]] = {} if trace is None else dict(checks.mapping(trace, "trace"))
        for name, array in self.trace.items():
            if not isinstance(array, np.ndarray) or array.shape[:2] != (self.sizes["scheme"], self.sizes["agent"]):
                wanted = (self.sizes["scheme"], self.sizes["agent"])
                raise ValueError(f"trace[{name!r}] must be an array {wanted} + (trials, ...); got {checks.brief(array)}")
        """Step-by-step records with axes (scheme, agent, trial, ...), if the simulation was asked for them.

        In the recorder's order; what a scheme has none of (a posterior over hypotheses, say) is nan. `trace_dims` names the
        axes.
        """

    # --- what there is ---------------------------------------------------------------------------------------------------
    @property
    def measures(self) -> dict[str, NDArray[Any]]:
        """What was measured, by name: the paradigm's own measures first."""
        own = [name for name in self._axes if name not in STANDARD]
        return {name: self.arrays[name] for name in (*own, *(n for n in STANDARD if n in self._axes))}

    @property
    def own_measures(self) -> list[str]:
        """Names of the paradigm's own measures; the first one says what counts as success."""
        return [name for name in self._axes if name not in STANDARD]

    def dims(self, name: str) -> tuple[str, ...]:
        """Names of a measure's axes.

        Raises:
            ValueError: if there is no such measure.
        """
        if checks.text(name, "name") not in self._axes:
            raise ValueError(f"name must be a measure of this Result, one of {list(self.measures)}; got {name!r}")
        return self._axes[name]

    def about(self, name: str) -> tuple[str, str]:
        """What a measure says, in a sentence, and its unit.

        Raises:
            ValueError: if there is no such measure.
        """
        self.dims(name)
        if name in STANDARD:
            return STANDARD[name][:2]
        told = self.settings["measures"][name]
        return str(told["sentence"]), str(told["unit"])

    def trace_dims(self, name: str) -> tuple[str, ...]:
        """Names of the axes of a record in ``trace``: those of ``"qs_gaze"`` are scheme, agent, trial, time and state_gaze.

        Raises:
            ValueError: if there is no such record.
        """
        from activebmr.simulation.trace import axes_of_trace

        if checks.text(name, "name") not in self.trace:
            raise ValueError(f"name must be a record of the trace, one of {list(self.trace)}; got {name!r}")
        return axes_of_trace(name, self.trace[name].shape, self.settings)

    def __getattr__(self, name: str) -> Any:
        arrays = self.__dict__.get("arrays", {})
        if name in arrays:
            return arrays[name]
        if name in ABOUT_HYPOTHESES and "sizes" in self.__dict__:
            return blank(name, self.sizes)
        raise AttributeError(f"Result has no measure {name!r}; it has {sorted(arrays)}")

    def __getitem__(self, name: str) -> NDArray[Any]:
        try:
            return np.asarray(getattr(self, name) if name not in self.arrays else self.arrays[name])
        except AttributeError as error:
            raise KeyError(str(error)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._axes

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *self.arrays})

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the run."""
        return read_settings(self.arrays["settings"])

    @property
    def schemes(self) -> list[str]:
        return [str(s) for s in self.arrays["scheme"]]

    def index(self, scheme: str | int) -> int:
        """Position of a scheme given by name or index."""
        if isinstance(scheme, str):
            checks.choice(scheme, "scheme", self.schemes)
            return self.schemes.index(scheme)
        return checks.whole_number(scheme, "scheme", 0, len(self.schemes) - 1)

    def with_measures(self, measures: Mapping[str, Any], *, strict: bool = True) -> Result:
        """This result and further measures, ``{name: (sentence, unit, function or name)}``; see `Measure`.

        Args:
            measures: what to work out. Those of the same name are replaced.
            strict: whether a measure that cannot be worked out is an error, or is left out with a warning.

        Raises:
            ValueError, TypeError: if a measure is none, has the name of something else, or (``strict``) cannot be worked out.

        Example:
            >>> from activebmr import simulate
            >>> from activebmr.paradigms import three_ball
            >>> result = simulate(three_ball.paradigm(), n_agents=2, n_trials=2)
            >>> result.with_measures({"clean": ("trials without a loss", "share", lambda r: r.losses == 0)}).clean.shape
            (1, 2, 2)
        """
        checks.flag(strict, "strict")
        wanted = measures_of(measures)
        out = Result(self.arrays, self.trace)
        told = out.settings.get("measures") or {n: _told(*STANDARD[n]) for n in self._axes}
        for name, measure in wanted.items():
            if name not in told and (name in out.arrays or hasattr(Result, name)) or name in ("sizes", "trace", "arrays"):
                raise ValueError(f"measures must not have the name of something that every Result has; got {name!r}")
            try:
                array, axes = worked_out(name, measure, out)
            except ValueError as error:
                if strict:
                    raise
                warnings.warn(f"{error}; it is left out", stacklevel=2)
                continue
            told[name] = _told(measure.sentence, measure.unit, axes)
            out.arrays[name], out._axes[name] = array, axes
            for axis, size in zip(axes, array.shape, strict=True):
                out.sizes.setdefault(axis, size)
        out.arrays["settings"] = np.array(json.dumps(out.settings | {"measures": told}))
        return out

    # --- what came of it -------------------------------------------------------------------------------------------------
    @property
    def adopted_truth(self) -> NDArray[np.bool_]:
        """Whether each agent adopted the true hypothesis, or one that agrees with it everywhere ``(scheme, agent)``."""
        classes, adopted = self.arrays["model_class"], self["adopted_model"]
        if len(classes) == 0:
            return np.zeros(adopted.shape, dtype=bool)
        return (adopted >= 0) & (classes[adopted] == classes[np.broadcast_to(self.arrays["true_model"], adopted.shape)])

    @property
    def adopted_wrong(self) -> NDArray[np.bool_]:
        """Whether each agent adopted a hypothesis that is not the true one ``(scheme, agent)``."""
        return (self["adopted_model"] >= 0) & ~self.adopted_truth

    def per_agent(self, name: str) -> NDArray[np.float64]:
        """A measure of every agent ``(scheme, agent)``: the mean over its trials (and what other axes there are) of what is
        known, nan if nothing is.
        """
        self.dims(name)
        array = np.asarray(self[name], dtype=float)
        array = array.reshape(*array.shape[:2], -1)
        known = ~np.isnan(array)
        count = known.sum(axis=-1)
        return np.where(count > 0, np.where(known, array, 0.0).sum(axis=-1) / np.maximum(count, 1), np.nan)

    def summary(self) -> list[dict[str, Any]]:
        """One row per scheme: agents, shares and counts of adoptions, means and standard errors of the paradigm's own measures
        (``measures``: name -> (mean, standard error), over agents of whom something is known), and of discovery time and score,
        nan where there are none.
        """
        rows, hypotheses = [], self["true_model_posterior"]
        nothing = np.full(self.sizes["agent"], np.nan)
        for s, name in enumerate(self.schemes):
            discovery, score = (
                np.asarray(self.arrays[n][s], dtype=float) if n in self.arrays else nothing
                for n in ("discovery_trials", "score")
            )
            own = {n: self.per_agent(n)[s] for n in self.own_measures}
            late = "discovery_trials" in self.arrays
            rows.append(
                {
                    "scheme": name,
                    "agents": self.sizes["agent"],
                    "trials": self.sizes["trial"],
                    "has_hypotheses": bool(np.isfinite(hypotheses[s]).any()),
                    "found": float(self.adopted_truth[s].mean()),
                    "wrong": int(self.adopted_wrong[s].sum()),
                    "discovery": float(discovery.mean()),
                    "discovery_se": standard_error(discovery),
                    "discovery_median": float(np.median(discovery)),
                    "undiscovered": int((discovery >= self.sizes["trial"]).sum()) if late else 0,
                    "score": float(score.mean()),
                    "score_se": standard_error(score),
                    "impossible": int(self["impossible"][s].sum()),
                    "measures": {n: _mean(v) for n, v in own.items()},
                }
            )
        return rows

    def __repr__(self) -> str:
        from activebmr.simulation.showing import text_of

        return text_of(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: a table with a row for every scheme."""
        from activebmr.simulation.showing import html_of

        return html_of(self)

    # --- in and out ------------------------------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str], trace: bool = False) -> Path:
        """Write the result: all measures and settings as ``.npz``, or a tidy table as ``.csv``.

        Args:
            path: where to; its folder is made, an old file is replaced.
            trace: whether to write the trace too, which takes most of the room.

        Returns:
            the path.

        Raises:
            ValueError: if the path ends in something else, or there is no trace to write.

        Example:
            >>> path = result.save("result.npz", trace=True)  # doctest: +SKIP
            >>> Result.load(path).trace.keys()  # doctest: +SKIP
        """
        checks.path_like(path, "path")
        if checks.flag(trace, "trace") and not self.trace:
            raise ValueError("trace must be recorded to be saved: simulate(..., trace=True); this Result has none")
        suffix = Path(path).suffix.lower()
        if suffix == ".csv":
            from activebmr.simulation.tidy import write_csv

            return write_csv(self, path, trace)
        if suffix != ".npz":
            raise ValueError(
                f"path must end in .npz (everything) or .csv (a table); for others see to_dataframe and to_xarray; got "
                f"{os.fspath(path)!r}"
            )
        records = {_TRACE + name: array for name, array in self.trace.items()} if trace else {}
        return write_npz(path, self.arrays | records)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """Read a saved result, with its trace if it was saved.

        Raises:
            FileNotFoundError, ValueError: see `read_npz`; and if the file holds what no simulation can have written.
        """
        checks.path_like(path, "path")
        held = read_npz(path, "result file", ())
        with _in_file(path):
            told = read_settings(held["settings"]).get("measures") if "settings" in held else None
        required = _needed(told)
        missing = [name for name in required if name not in held]
        if missing:
            raise ValueError(f"result file {path} must hold the arrays {list(required)}; it lacks {missing}")
        trace = {name[len(_TRACE) :]: array for name, array in held.items() if name.startswith(_TRACE)}
        with _in_file(path):
            result = cls({name: array for name, array in held.items() if not name.startswith(_TRACE)}, trace)
            check_trace(trace, result.sizes)
        return result

    def to_dataframe(self, measures: str | Iterable[str] | None = None, trace: bool = False) -> Any:
        """A tidy ``pandas.DataFrame``: columns scheme, agent, trial, time, measure and value, one row per number.

        Trials and times count from 1 (and so do the values of ``adoption_trial``, missing for none); what has no trial or time
        leaves these empty. Measures with further axes (``model_posterior``) come only if they are named, with a column for each
        such axis.

        Args:
            measures: names of measures or records of the trace; by default all measures without further axes.
            trace: add what was recorded at every time: free energy, confidence, and states, controls and outcomes by name
                (``outcomes_colour``).

        Raises:
            ValueError: for a name that there is not, or if there is no trace.
            ImportError: if pandas is not installed (``pip install activebmr[xarray]``).

        Example:
            >>> table = result.to_dataframe("wins")  # doctest: +SKIP
            >>> table.groupby(["scheme", "trial"])["value"].mean()  # doctest: +SKIP
        """
        from activebmr.simulation.tidy import columns_of

        checks.flag(trace, "trace")
        if measures is not None and not isinstance(measures, str):
            measures = checks.items(checks.text)(measures, "measures")
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_dataframe needs pandas: pip install -e '.[xarray]'") from error
        return pandas.DataFrame(columns_of(self, measures, trace))

    def to_xarray(self, trace: bool = False) -> Any:
        """The measures as an ``xarray.Dataset`` that ``to_netcdf`` takes (needs xarray), with coordinates for every axis: names
        of schemes and hypotheses, the agents' numbers, trials and times counted from 1.

        Values are those of the arrays (``adoption_trial`` counts from 0); every variable has the attributes ``description`` and
        ``units``. Attributes of the dataset: seed, version, paradigm, and all settings as JSON.

        Args:
            trace: add the records of every step, with the names of states, outcomes and controls as coordinates.

        Raises:
            ValueError: if there is no trace.
            ImportError: if xarray is not installed (``pip install activebmr[xarray]``).

        Example:
            >>> result.to_xarray().to_netcdf("result.nc")  # doctest: +SKIP
        """
        from activebmr.simulation.datasets import dataset_of

        return dataset_of(self, checks.flag(trace, "trace"))


@contextmanager
def _in_file(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors in here say in which file what they are about was found."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(f"result file {path} holds what cannot be: {error}") from error


def _told(sentence: str, unit: str, axes: Iterable[str]) -> dict[str, Any]:
    """What settings say about a measure."""
    return {"sentence": sentence, "unit": unit, "axes": list(axes)}


def _needed(told: Mapping[str, Any] | None) -> tuple[str, ...]:
    return (*(name for name in (DIMENSIONS if told is None else told) if name not in _LATER), *_ABOUT)


def _mean(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard error of what is known."""
    known = values[~np.isnan(values)]
    return (float(known.mean()), float(standard_error(known))) if len(known) else (np.nan, np.nan)


def declared(measures: Iterable[str]) -> dict[str, Any]:
    """What settings say about the standard measures of a simulation."""
    return {name: _told(*STANDARD[name]) for name in measures}
