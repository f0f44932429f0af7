"""Instruction: agents are handed another prior, and keep what they have seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from activebmr.arrays import Floats
from activebmr.inference.knowledge import Knowledge
from activebmr.model.layout import layout_of
from activebmr.model.naming import Key, Table, key_of, table_of
from activebmr.model.pomdp import POMDP

__all__ = ["instruct"]


def instruct(model: POMDP, knowledge: Knowledge, taught: Mapping[Any, Any], scored: Sequence[Key]) -> list[Key]:
    """Give agents another prior to go on from, in place: see `Agent.instruct`. What it was about."""
    about, everyone = [], np.arange(knowledge.n_agents)
    for name, value in taught.items():
        key = key_of(model.table(name))
        about.append(key)
        counts = _checked_lesson(model, key, name, value, scored, len(everyone))
        table, layout, sleep = knowledge.counted(key), layout_of(model, key), knowledge.sleep
        prior = layout.columns(counts)
        born = layout.keep(model.counts_of(table_of(key)))[None]  # type: ignore[arg-type]
        if ((prior > 0) & (born == 0)).any():
            raise ValueError(f"taught[{name!r}] must be zero where p{table_of(key)} is, a structural zero of the model's prior")
        slept = sleep is not None and key in sleep.prior
        seen = np.where(prior > 0, np.maximum(table.counts - (sleep.prior[key] if slept else born), 0.0), 0.0)
        table.replace(everyone, prior + seen, np.arange(layout.n_states))
        if slept:
            sleep.origin[key], sleep.prior[key], sleep.full[key] = prior, prior.copy(), prior + seen
            sleep.held[key] = np.full(len(everyone), -1)
            if sleep.parent is not None:
                sleep.parent.knowledge.counted(key).replace(everyone, prior + seen, np.arange(layout.n_states))
    return about


def _checked_lesson(model: POMDP, key: Key, name: Any, value: Any, scored: Sequence[Key], n_agents: int) -> Floats:
    """Counts to be taught, those of each agent ``(n_agents, n_outcomes, ...)``."""
    table = table_of(key)
    owner = f"p{table}" if isinstance(key, Table) else f"modality {key}"
    if key in scored:
        raise ValueError(f"taught must not speak about {owner}, which the agent has hypotheses about")
    if table not in model.learned or table.kind == "E":
        if all(t.kind == "A" for t in model.learned) and not isinstance(key, Table):
            raise ValueError(f"taught must speak about modalities with counts, {list(model.learned_modalities)}; got {key}")
        held = [f"p{t}" for t in model.learned if t.kind != "E"]
        raise ValueError(f"taught must speak about tables with counts, {held}; got p{table}")
    counts, shape = np.asarray(value, dtype=np.float64), model.values_of(table).shape
    given = counts.shape
    if given == shape:
        counts = np.repeat(counts[None], n_agents, axis=0)
    if counts.shape != (n_agents, *shape):
        raise ValueError(f"taught[{name!r}] must have shape {shape}, for each agent or for all; got {given}")
    bad = ~np.isfinite(counts) | (counts < 0)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"taught[{name!r}] must hold finite counts >= 0; entry {at} is {counts[at]:.6g}")
    if (counts.sum(axis=1) <= 0).any():
        at = tuple(int(i) for i in np.argwhere(counts.sum(axis=1) <= 0)[0])
        raise ValueError(f"taught[{name!r}] must have some count in every column; column {at} (agent, states) has none")
    return counts
