"""Sleep: between trials, agents look for simpler models of what they have seen, and may dream of it.

After a trial the counts that an agent has gathered are handed to a space of reduced models (`activebmr.reduction.search`).
What it goes on with is the reduced prior, and the evidence under it. Every introspection starts from the prior that the agent
began life with and from all that it has seen since, so what was adopted too early can be given up again. Dreams let it live
through remembered trials once more, or through trials that it makes up, with the reduced prior in mind: what was seen is then
credited to the states that the new model says it came from. Source: Friston et al. (2017), "Active inference, curiosity and
insight".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from activebmr import checks
from activebmr.model.naming import Key, Table, key_of, table_of
from activebmr.model.pomdp import POMDP
from activebmr.reduction.search.alternatives import Alternatives
from activebmr.reduction.search.protocol import ModelSpace

__all__ = ["Introspection"]

DREAMS = (None, "remembered", "generated")


@dataclass(frozen=True, eq=False)
class Introspection:
    """When agents look for simpler models, among which, and whether they dream.

    Attributes:
        spaces: the space of reduced models, per table whose counts are learned: a modality (name or index), or a table by its
            name (``"pB[place]"``, ``"pD[0]"``); a space alone if there is only one.
        after: every how many trials, a whole number >= 1; or the trials after which, counted from 0.
        dream: ``None``, ``"remembered"`` or ``"generated"``: what an agent lives through whenever its prior has changed.
        dreams: how many trials: the last ones remembered, None for all of them; or how many it makes up (16 if None).
        evidence: whose beliefs say in which states things were seen. ``"own"``: the agent's, who may see what it has come to
            believe in (SPM). ``"unbiased"``: those that the model it was born with has, learning from the same trials; a
            wrong hypothesis is then refuted by what follows, at the price of perceiving every trial twice.

    Example:
        >>> sleep = Introspection(SingleParameters(), after=8, dream="generated", dreams=16)
        >>> lamp = POMDP(A=[None], B=[np.eye(2)[:, :, None]], pA=[np.ones((2, 2))])
        >>> agent = Agent(lamp, introspection=sleep)
    """

    spaces: ModelSpace | Mapping[Any, ModelSpace]
    after: int | Sequence[int] = 1
    dream: str | None = None
    dreams: int | None = None
    evidence: str = "own"

    def __post_init__(self) -> None:
        given = list(self.spaces.values()) if isinstance(self.spaces, Mapping) else [self.spaces]
        for space in given:
            if isinstance(space, type) or not callable(getattr(space, "reduce", None)):
                raise TypeError(f"spaces of Introspection must be ModelSpaces (with reduce); got {type(space).__name__}")
        if not given:
            raise ValueError("spaces of Introspection must hold at least one; got none")
        if checks.is_whole(self.after):
            if self.after < 1:
                raise ValueError(f"after of Introspection must be a whole number >= 1, or a list of trials; got {self.after}")
        else:
            trials = np.asarray(self.after, dtype=None if np.size(self.after) else np.intp)
            if trials.ndim != 1 or not np.issubdtype(trials.dtype, np.integer) or (trials < 0).any():
                raise ValueError(
                    f"after of Introspection must be a whole number >= 1, or trials counted from 0; got {self.after!r}"
                )
            object.__setattr__(self, "after", tuple(int(t) for t in trials))
        checks.choice(self.dream, "dream of Introspection", DREAMS)
        checks.choice(self.evidence, "evidence of Introspection", ("own", "unbiased"))
        if self.dreams is not None and (not checks.is_whole(self.dreams) or self.dreams < 1):
            raise ValueError(f"dreams of Introspection must be a whole number >= 1, or None; got {self.dreams!r}")

    @checks.checked(model=checks.an(POMDP))
    def of(self, model: POMDP) -> dict[Key, ModelSpace]:
        """The spaces by what their tables are kept by, checked against a model.

        Raises:
            TypeError: if something else than a space is given.
            ValueError: if a table does not exist, has no counts, is named twice, or is one of habits.
        """
        learned = [key_of(t) for t in model.learned if t.kind != "E"]
        plain = not any(isinstance(k, Table) for k in learned)
        owners, shown = ("modality", learned) if plain else ("table", [f"p{table_of(k)}" for k in learned])
        spaces: dict[Key, ModelSpace] = {}
        if isinstance(self.spaces, Mapping):
            for name, space in self.spaces.items():
                key = key_of(model.table(name))
                if key in spaces:
                    raise ValueError(f"spaces of Introspection must name each table once; got {list(self.spaces)}")
                spaces[key] = space
        elif len(learned) == 1:
            spaces = {learned[0]: self.spaces}
        else:
            raise ValueError(f"spaces of Introspection must be keyed by {owners}: the model learns {shown}")
        for key, space in spaces.items():
            if key not in learned:
                if plain and not isinstance(key, Table):
                    raise ValueError(f"spaces of Introspection must speak about modalities with counts, {shown}; got {key}")
                raise ValueError(f"spaces of Introspection must speak about tables with counts, {shown}; got p{table_of(key)}")
            if isinstance(space, Alternatives):
                _check_list(model, key, space)
        return spaces

    @checks.checked(trial=checks.whole(0))
    def due(self, trial: int) -> bool:
        """Whether to introspect after this trial (counted from 0)."""
        if isinstance(self.after, tuple):
            return trial in self.after
        return (trial + 1) % int(self.after) == 0  # type: ignore[call-overload,no-any-return]


def _check_list(model: POMDP, key: Key, space: Alternatives) -> None:
    """Raise ValueError unless a list of models is about the table that it is to be searched for."""
    table = table_of(key)
    wanted, owner = model.values_of(table).shape, str(table) if isinstance(key, Table) else f"modality {key}"
    if space.table.shape != wanted:
        raise ValueError(f"models about {owner} must have the shape of p{table}, {wanted}; got {space.table.shape}")
    said = model.table(space.key)
    if said != table:
        raise ValueError(f"models that are searched for p{table} must speak about it; these speak about p{said}")
