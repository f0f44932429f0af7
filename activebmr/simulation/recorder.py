"""`Recorder`: every step of some agents, as named arrays; and how far what they learned is from the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.agent.state import AgentState, StepInfo, TrialInfo
from activebmr.arrays import Bools, Floats, Ints
from activebmr.counts import safe_log
from activebmr.inference.tables import CountTable
from activebmr.model.layout import layout_of
from activebmr.model.naming import KINDS, Key, table_of
from activebmr.model.pomdp import POMDP
from activebmr.simulation.worlds import ModelProcess, ModelsProcess

__all__ = ["Recorder", "divergence_from", "nothing", "of_classes", "surprise_of_truth"]


class Recorder:
    """Keeps every step of some agents: `simulate(..., trace=True)` and `replay` hand its arrays out.

    Args:
        model: names factors and modalities.
        times: length of the time axis, for trials that may be shorter; None if all are equally long.
    """

    def __init__(self, model: POMDP, times: int | None = None) -> None:
        self.model, self.times = model, times
        self.steps: list[dict[str, NDArray[Any]]] = []
        self.trials: list[dict[str, NDArray[Any]]] = []

    def step(self, info: StepInfo, live: Bools | None = None, **more: NDArray[Any]) -> None:
        """Keep a report and, beside it (or instead of what it says), ``more`` under names of its own, ``(n_agents, ...)``.

        Args:
            info: the report.
            live: agents whose trial goes on ``(n_agents,)``; of others there is nothing to keep. None: of everyone.
        """
        names = self.model.labels["factor"]
        row = {f"qs_{name}": q for name, q in zip(names, info.qs, strict=True)}
        for name in ("free_energy", "neg_efe", "utility", "state_info_gain", "param_info_gain", "model_info_gain", "q_pi"):
            row[name] = getattr(info, name)
        row |= {"confidence": info.confidence, "impossible": info.impossible, "policy": info.policy, "controls": info.controls}
        row |= more
        if info.model_posterior is not None:
            row["model_posterior"] = info.model_posterior
        if live is not None and not live.all():
            row = {name: _blanked(array, ~live) for name, array in row.items()}
        self.steps.append(row)

    def trial(self, info: TrialInfo, divergence: Floats) -> None:
        """Fold the steps since the last trial into one and add what the trial changed."""
        names = dict.fromkeys(name for step in self.steps for name in step)
        folded = {name: np.stack([_held(name, s, self.steps) for s in self.steps], axis=1) for name in names}
        if self.times is not None:
            folded = {name: _padded(array, self.times) for name, array in folded.items()}
        self.steps.clear()
        for key, counts in info.counts.items():
            folded[self._name(key)] = layout_of(self.model, key).tensor(counts)
        if info.log_odds is not None:
            folded["log_odds"] = info.log_odds
        folded["kl_to_truth"] = divergence
        self.trials.append(folded)

    def _name(self, key: Key) -> str:
        """What the counts of a table are recorded as: ``"pA_feedback"``, ``"pB_place"``, and ``"pE"`` of whole policies."""
        table = table_of(key)
        if table.index == -1:
            return f"p{table.kind}"
        return f"p{table.kind}_{self.model.labels[KINDS[table.kind]][int(table.index)]}"

    def skip(self) -> None:
        """A trial that did not take place."""
        self.trials.append({})

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All records: axes (agent, trial, ...), and (agent, trial, time, ...) for what changes within a trial; nan, -1 among
        whole numbers or False where a trial has none of a thing.
        """
        names = dict.fromkeys(name for trial in self.trials for name in trial)
        return {name: np.stack([_held(name, t, self.trials) for t in self.trials], axis=1) for name in names}


def nothing(dtype: np.dtype[Any]) -> float | int | bool:
    """What stands for nothing in an array: nan, -1 or False."""
    return {"f": np.nan, "b": False}.get(dtype.kind, -1)


def _held(name: str, row: dict[str, NDArray[Any]], rows: list[dict[str, NDArray[Any]]]) -> NDArray[Any]:
    """What a row holds under a name, or nothing in the shape that others have."""
    if name in row:
        return row[name]
    other = next(r[name] for r in rows if name in r)
    return np.full(other.shape, nothing(other.dtype), dtype=other.dtype)


def _blanked(array: NDArray[Any], agents: Bools) -> NDArray[Any]:
    """An array ``(n_agents, ...)`` with nothing in the rows of some agents."""
    out = np.array(array)
    out[agents] = nothing(out.dtype)
    return out


def _padded(array: NDArray[Any], times: int) -> NDArray[Any]:
    """An array ``(n_agents, time, ...)`` with nothing at the times that it lacks."""
    out = np.full((len(array), times, *array.shape[2:]), nothing(array.dtype), dtype=array.dtype)
    out[:, : array.shape[1]] = array
    return out


def divergence_from(state: AgentState, process: ModelProcess | ModelsProcess) -> Floats:
    """KL divergence of the agents' learned likelihoods from the world's, nats ``(n_agents,)``: summed over the columns that
    some policy can lead to; 0 in worlds that are models of their own.
    """
    total = np.zeros(state.n_agents)
    if not getattr(process, "comparable", False):
        return total
    for m, table in enumerate(state.tables):
        if not isinstance(table, CountTable):
            continue
        expected = table.likelihood.reshape(state.n_agents, table.n_states, -1)
        certain, visited = process.certain(m), table.layout.visited(process.model)
        if certain is not None:
            # one outcome per column: only its own probability counts (flat indices: sums run in one order in any batch)
            width = table.n_outcomes + 1
            at = np.arange(state.n_agents * table.n_states).reshape(state.n_agents, -1) * width + certain[:, table.layout.order]
            at = np.ascontiguousarray(at[:, visited])
            total -= safe_log(table.likelihood.reshape(-1)[at]).sum(axis=1)
        else:
            truth = process.likelihood(m)[:, table.layout.order]
            gap = (truth * (safe_log(truth) - safe_log(expected[..., :-1])))[:, visited]
            total += np.ascontiguousarray(gap).reshape(state.n_agents, -1).sum(axis=1)
    return np.maximum(total, 0.0)


def of_classes(posterior: Floats, classes: Ints | None) -> Floats:
    """Probabilities of hypotheses that differ ``(n_agents, n)``: nothing tells apart those that agree everywhere."""
    if classes is None or classes.max() + 1 == len(classes):  # (then each is its own)
        return posterior
    out = np.zeros((len(posterior), classes.max() + 1))
    np.add.at(out, (slice(None), classes), posterior)
    return out


def surprise_of_truth(posterior: Floats, truths: Ints, classes: Ints | None = None) -> Floats:
    """KL divergence of a posterior over hypotheses from certainty of the true one (or any that agrees with it everywhere, see
    `of_classes`), nats ``(n_agents,)``.
    """
    each, true = of_classes(posterior, classes), truths if classes is None else classes[truths]
    return -np.log(np.maximum(each[np.arange(len(truths)), true], 1e-300))
