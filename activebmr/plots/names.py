"""`Names`: what the parts of a trial are called, from a model, or by number where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.model.by_axis import policy_names
from activebmr.model.pomdp import POMDP
from activebmr.plots.style import short

__all__ = ["Names", "distinct", "names_of", "policy_names"]


@dataclass(frozen=True)
class Names:
    """What things are called.

    Attributes:
        factors, modalities: their names.
        states, outcomes, controls: names per factor, modality and factor.
        controlled: factors that actions change.
        policies: what each policy does, in words.
    """

    factors: Sequence[str]
    modalities: Sequence[str]
    states: Sequence[Sequence[str]]
    outcomes: Sequence[Sequence[str]]
    controls: Sequence[Sequence[str]]
    controlled: Sequence[int]
    policies: Sequence[str]


def names_of(model: POMDP | None, rows: Mapping[str, NDArray[Any]], labels: Mapping[str, Any] | None = None) -> Names:
    """Names from a model, or else by number from what was recorded of an agent.

    Args:
        model: the agent's.
        rows: as `record` returns them, of all trials or of one.
        labels: as of a model; used without one, as far as they fit.

    Raises:
        ValueError: if the model has other factors, modalities or policies than were recorded.
    """
    n_policies = rows["q_pi"].shape[-1]
    if model is None:
        return _by_number(rows, n_policies, labels or {})
    labels, policies = model.labels, policy_names(model)
    if len(policies) != n_policies:
        raise ValueError(f"model must have the {n_policies} policies of the source; it has {len(policies)}")
    factors, modalities = list(labels["factor"]), list(labels["modality"])
    sizes = {f: rows[f"qs_{f}"].shape[-1] if f"qs_{f}" in rows else None for f in factors}
    wrong = [f for f, n in zip(factors, model.num_states, strict=True) if sizes[f] != n]
    if wrong or len(factors) != sum(name.startswith("qs_") for name in rows):
        if not wrong:
            raise ValueError(f"model must have the factors of the source; it has {factors} alone")
        raise ValueError(f"model must have the factors of the source; {wrong[0]!r} has {sizes[wrong[0]]} states there")
    more = rows["outcomes"][..., len(modalities) :] if "outcomes" in rows else np.zeros(0)
    if "outcomes" in rows and (rows["outcomes"].shape[-1] < len(modalities) or (more >= 0).any()):
        count = rows["outcomes"].shape[-1]
        raise ValueError(f"model must have the {count} modalities of the source; it has {len(modalities)}")
    return Names(
        factors,
        modalities,
        [labels["states"][f] for f in factors],
        [labels["outcomes"][m] for m in modalities],
        [labels["controls"][f] for f in factors],
        list(model.controlled_factors),
        policies,
    )


def _by_number(rows: Mapping[str, NDArray[Any]], n_policies: int, labels: Mapping[str, Any]) -> Names:
    """Names from labels where there are any that fit, else by number, as a model has them that is given none."""
    factors = [name.removeprefix("qs_") for name in rows if name.startswith("qs_")]
    count = lambda values: int(np.max(values, initial=0)) + 1  # noqa: E731
    seen, done = rows.get("outcomes"), rows.get("controls")
    n_modalities = 0 if seen is None else seen.shape[-1]
    n_controls = [1 if done is None else count(done[..., f]) for f in range(len(factors))]
    modalities = list(labels.get("modality", ()))
    if len(modalities) != n_modalities:
        modalities = [f"modality_{m}" for m in range(n_modalities)]

    def called(kind: str, owner: str, least: int, exactly: bool = False) -> list[str]:
        words = list(labels.get(kind, {}).get(owner, ()))
        return words if len(words) == least or (len(words) > least and not exactly) else [str(i) for i in range(least)]

    return Names(
        factors,
        modalities,
        [called("states", f, rows[f"qs_{f}"].shape[-1], True) for f in factors],
        [called("outcomes", name, count(seen[..., m])) for m, name in enumerate(modalities)],  # type: ignore[index]
        [called("controls", f, n) for f, n in zip(factors, n_controls, strict=True)],
        [f for f, n in enumerate(n_controls) if n > 1],
        [f"policy {i}" for i in range(n_policies)],
    )


def distinct(names: Sequence[str], most: int) -> list[str]:
    """Names cut to so many letters; those that would then look alike get their numbers before them."""
    cut = [short(n, most) for n in names]
    return [c if cut.count(c) == 1 else short(f"{i}: {n}", most) for i, (c, n) in enumerate(zip(cut, names, strict=True))]
