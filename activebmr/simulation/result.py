"""`Result`: what a simulation measured, as named arrays with named dimensions, saved as a plain ``.npz`` (no pickle)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.arrays import standard_error
from activebmr.files import read_npz, write_npz

__all__ = ["DIMENSIONS", "Result"]

DIMENSIONS: dict[str, tuple[str, ...]] = {
    "wins": ("scheme", "agent", "trial"),
    "losses": ("scheme", "agent", "trial"),
    "confidence": ("scheme", "agent", "trial"),
    "free_energy": ("scheme", "agent", "trial"),
    "impossible": ("scheme", "agent", "trial"),
    "unsure": ("scheme", "agent", "trial"),
    "log_odds": ("scheme", "agent", "trial"),
    "kl_to_truth": ("scheme", "agent", "trial"),
    "best_model": ("scheme", "agent", "trial"),
    "true_model_posterior": ("scheme", "agent", "trial"),
    "model_posterior": ("scheme", "agent", "trial", "model"),
    "score": ("scheme", "agent"),
    "discovery_trials": ("scheme", "agent"),
    "adopted_model": ("scheme", "agent"),
    "adoption_trial": ("scheme", "agent"),
}
"""Measures of a result and their axes. Confidence, free energy, log odds and KL are in nats: the latter of learned likelihoods
from the world's or, where hypotheses leave no counts to compare, of the posterior over them from the true one. ``impossible``
counts observations that agents' models held impossible, ``unsure`` those after which no hypothesis was beyond Occam's window.
"""

# files of 0.1 count neither what was held impossible, nor how long agents were unsure
_LATER = ("impossible", "unsure")
_MEASURED = (name for name in DIMENSIONS if name not in _LATER)
_REQUIRED = (*_MEASURED, "scheme", "model_names", "model_class", "true_model", "seed", "version", "settings")


class Result:
    """Measures of one or more schemes of a paradigm over agents and trials.

    Every measure of `DIMENSIONS` is an attribute: ``result.wins`` is ``(scheme, agent, trial)``, ``result.score``
    ``(scheme, agent)`` and so on. Further attributes: ``scheme`` names, ``model_names``, ``model_class`` (hypotheses with the
    same number agree everywhere), ``true_model`` (an index, or one per agent), ``agent`` (the agents' numbers), ``seed``,
    ``version`` and ``settings`` (a dict).

    Adopted models and trials are 0-based, -1 for none. Measures about hypotheses are nan for agents that have none.
    """

    def __init__(self, arrays: Mapping[str, Any], trace: Mapping[str, NDArray[Any]] | None = None) -> None:
        missing = [name for name in _REQUIRED if name not in arrays]
        if missing:
            raise ValueError(f"arrays of Result must hold {list(_REQUIRED)}; they lack {missing}")
        self.arrays: dict[str, NDArray[Any]] = {name: np.asarray(value) for name, value in arrays.items()}
        for name in _LATER:
            self.arrays.setdefault(name, np.zeros(self.arrays["wins"].shape, dtype=np.int32))
        sizes: dict[str, int] = {}
        for name, dims in DIMENSIONS.items():
            shape = self.arrays[name].shape
            if len(shape) != len(dims):
                raise ValueError(f"{name} of Result must have axes {dims}; got shape {shape}")
            for dim, size in zip(dims, shape, strict=True):
                if sizes.setdefault(dim, size) != size:
                    raise ValueError(f"{name} of Result must have {sizes[dim]} along {dim} like the other measures; got {size}")
        self.sizes = sizes
        self.trace: dict[str, NDArray[Any]] = dict(trace or {})
        """Step-by-step records with axes (scheme, agent, trial, ...), if the simulation was asked for them; not saved.

        In the recorder's order; what a scheme has none of (a posterior over hypotheses, say) is nan.
        """

    def __getattr__(self, name: str) -> Any:
        arrays = self.__dict__.get("arrays", {})
        if name not in arrays:
            raise AttributeError(f"Result has no measure {name!r}; it has {sorted(arrays)}")
        return arrays[name]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name]

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the run."""
        return dict(json.loads(str(self.arrays["settings"])))

    @property
    def schemes(self) -> list[str]:
        return [str(s) for s in self.arrays["scheme"]]

    def index(self, scheme: str | int) -> int:
        """Position of a scheme given by name or index."""
        if isinstance(scheme, str):
            if scheme not in self.schemes:
                raise ValueError(f"scheme must be one of {self.schemes}; got {scheme!r}")
            return self.schemes.index(scheme)
        if not isinstance(scheme, (int, np.integer)) or not 0 <= scheme < len(self.schemes):
            raise ValueError(f"scheme must lie in 0..{len(self.schemes) - 1}; got {scheme}")
        return int(scheme)

    # --- what came of it -------------------------------------------------------------------------------------------------
    @property
    def adopted_truth(self) -> NDArray[np.bool_]:
        """Whether each agent adopted the true hypothesis, or one that agrees with it everywhere ``(scheme, agent)``."""
        classes, adopted = self.arrays["model_class"], self.arrays["adopted_model"]
        if len(classes) == 0:
            return np.zeros(adopted.shape, dtype=bool)
        return (adopted >= 0) & (classes[adopted] == classes[np.broadcast_to(self.arrays["true_model"], adopted.shape)])

    @property
    def adopted_wrong(self) -> NDArray[np.bool_]:
        """Whether each agent adopted a hypothesis that is not the true one ``(scheme, agent)``."""
        return (self.arrays["adopted_model"] >= 0) & ~self.adopted_truth

    def summary(self) -> list[dict[str, Any]]:
        """One row per scheme: agents, shares and counts of adoptions, means and standard errors of discovery time and score."""
        rows = []
        for s, name in enumerate(self.schemes):
            discovery, score = self.arrays["discovery_trials"][s], self.arrays["score"][s]
            rows.append(
                {
                    "scheme": name,
                    "agents": self.sizes["agent"],
                    "trials": self.sizes["trial"],
                    "has_hypotheses": bool(np.isfinite(self.arrays["true_model_posterior"][s]).any()),
                    "found": float(self.adopted_truth[s].mean()),
                    "wrong": int(self.adopted_wrong[s].sum()),
                    "discovery": float(discovery.mean()),
                    "discovery_se": standard_error(discovery),
                    "discovery_median": float(np.median(discovery)),
                    "undiscovered": int((discovery >= self.sizes["trial"]).sum()),
                    "score": float(score.mean()),
                    "score_se": standard_error(score),
                    "impossible": int(self.arrays["impossible"][s].sum()),
                }
            )
        return rows

    def __repr__(self) -> str:
        head = ", ".join(f"{n} {d}{'s' if n != 1 else ''}" for d, n in self.sizes.items() if d != "model")
        lines = [f"Result of {self.settings.get('paradigm', 'a paradigm')}: {head}; seed {int(self.arrays['seed'])}"]
        for row in self.summary():
            found = (
                f"{row['found']:.0%} found the true model, {row['wrong']} adopted a wrong one, "
                if row["has_hypotheses"]
                else ""
            )
            lines.append(
                f"  {row['scheme']}: {found}discovery after {row['discovery']:.1f} +- {row['discovery_se']:.1f} trials "
                f"(median {row['discovery_median']:g}), score {row['score']:.1f} +- {row['score_se']:.1f}"
                + (f"; {row['impossible']} observations were impossible to its agents" if row["impossible"] else "")
            )
        return "\n".join(lines)

    # --- in and out ------------------------------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write all measures and settings as ``.npz``."""
        return write_npz(path, self.arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """Read a saved result; see `read_npz` for the errors."""
        return cls(read_npz(path, "result file", _REQUIRED))

    def to_xarray(self) -> Any:
        """The measures as an ``xarray.Dataset`` with named dimensions and coordinates (needs xarray)."""
        import xarray

        coords = {"scheme": self.schemes}
        if self.sizes["model"] == len(self.arrays["model_names"]):
            coords["model"] = [str(n) for n in self.arrays["model_names"]]
        data = {name: (dims, self.arrays[name]) for name, dims in DIMENSIONS.items()}
        return xarray.Dataset(data, coords=coords, attrs={"seed": int(self.arrays["seed"]), **self.settings})
