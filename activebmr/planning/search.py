"""Looking ahead: what policies are worth with what can be done after them, over every outcome that they may show.

    Q(b, pi) = G(b, pi) + discount sum_o P(o | b, pi) V(b_o)
    V(b) = sum_pi softmax(gamma Q(b, .))[pi] Q(b, pi)  or  max Q(b, .)

with b_o the exact beliefs after the outcome (sophisticated inference, Friston et al. 2021, branching over outcomes where they
branch over states). Branches that come to believe the same are one. A batch is searched in parts that fit into memory, and a
search that would look at too many beliefs is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.planning.choice import policy_probabilities

__all__ = ["Foresight", "Search"]

_AT_ONCE = 2**21  # numbers in the branches of the pairs looked into together


class Foresight(Protocol):
    """What a search needs to know about the beliefs of a way of believing.

    Attributes:
        numbers: about how many numbers the branches of one row and policy hold.
    """

    numbers: int

    def worth(self, belief: Any, agents: Ints, t: int) -> Floats:
        """What each policy of one step is worth by itself at time t ``(rows, n_policies)``."""
        ...

    def branches(self, belief: Any, agents: Ints, rows: Ints, policies: Ints) -> tuple[Any, Ints, Floats]:
        """Beliefs after each outcome of chosen pairs of row and policy, the pair of each (ascending), its probability."""
        ...

    def distinct(self, belief: Any, source: Ints) -> tuple[Ints, Ints]:
        """First of each set of rows with one source and, as far as beliefs can be compared, one future; and which set each row
        is in. First rows are in the order of their sources, which ascend.
        """
        ...

    def take(self, belief: Any, rows: Ints) -> Any:
        """Some rows of beliefs."""
        ...


@dataclass(frozen=True, eq=False)
class Search:
    """A search over outcomes.

    Attributes:
        foresight: beliefs and what they promise.
        gamma: precision of the posterior over policies: a number, or one per agent ``(n_agents,)``.
        backup: ``"posterior"`` or ``"best"``, see above.
        discount: what a step later is worth, in (0, 1].
        log_prior: log prior over policies of some agents at later steps ``(n_policies,)`` or ``(agents, n_policies)``, for the
            posterior alone.
        max_nodes: beliefs per agent beyond which a search is refused.
    """

    foresight: Foresight
    gamma: Floats | float
    backup: str
    discount: float
    log_prior: Callable[[Ints], Floats]
    max_nodes: int

    def look_ahead(self, belief: Any, agents: Ints, t: int, value: Floats, depth: int) -> Floats:
        """Worth of the policies at time t, ``value`` by themselves, with ``depth`` further steps ``(rows, n_policies)``."""
        return self._deeper(belief, agents, t, value, depth, {"nodes": 0, "agents": len(np.unique(agents))})

    def _refuse(self, nodes: float) -> None:
        raise ValueError(
            f"depth of Planner must be small enough for the search to look at no more than max_nodes={self.max_nodes} beliefs "
            f"an agent; this one needs at least {nodes:.3g}"
        )

    def _deeper(self, belief: Any, agents: Ints, t: int, value: Floats, depth: int, count: dict[str, int]) -> Floats:
        n_rows, n_policies = value.shape
        rows, policies = np.divmod(np.arange(n_rows * n_policies), n_policies)
        # a policy that is out of the question is not looked into
        open_ = np.flatnonzero(value.reshape(-1) > -np.inf)
        out = value.copy().reshape(-1)
        for some in _parts(agents[rows[open_]], max(1, _AT_ONCE // max(1, self.foresight.numbers))):
            part = open_[some]
            more = self._continuations(belief, agents, rows[part], policies[part], t, depth, count)
            out[part] += self.discount * more
        return out.reshape(value.shape)

    def _continuations(
        self, belief: Any, agents: Ints, rows: Ints, policies: Ints, t: int, depth: int, count: dict[str, int]
    ) -> Floats:
        """What comes after each pair of row and policy ``(pairs,)``."""
        after, pair, weight = self.foresight.branches(belief, agents, rows, policies)
        # an agent that comes to believe the same on two ways has one future
        first, same = self.foresight.distinct(after, agents[rows[pair]])
        count["nodes"] += len(first)
        if count["nodes"] > self.max_nodes * count["agents"]:
            self._refuse(count["nodes"] / count["agents"])
        after, who = self.foresight.take(after, first), agents[rows[pair[first]]]
        value = self.foresight.worth(after, who, t + 1)
        if depth > 1:
            value = self._deeper(after, who, t + 1, value, depth - 1, count)
        worth = self._backed_up(value, who)
        return np.bincount(pair, weights=weight * worth[same], minlength=len(rows))

    def _backed_up(self, value: Floats, agents: Ints) -> Floats:
        if self.backup == "best":
            return np.asarray(value.max(axis=1))
        gamma = self.gamma if np.ndim(self.gamma) == 0 else np.asarray(self.gamma)[agents][:, None]
        chance = policy_probabilities(value, gamma, self.log_prior(agents))
        return np.asarray((chance * np.where(chance > 0, value, 0.0)).sum(axis=1))


def _parts(owners: Ints, size: int) -> list[slice]:
    """Parts of pairs, given the agent of each (ascending), that are looked into together: whole agents where they fit, else
    parts of one agent; nobody's part depends on who else is there.
    """
    if len(owners) <= size:
        return [slice(0, len(owners))] if len(owners) else []
    starts = np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]]))
    out, begin = [], 0
    for a, b in zip(starts, np.append(starts[1:], len(owners)), strict=True):
        if b - begin > size and a > begin:
            out.append(slice(begin, int(a)))
            begin = int(a)
        while b - begin > size:
            out.append(slice(begin, begin + size))
            begin += size
        if begin > a:  # what is left of an agent that did not fit is a part of its own
            out.append(slice(begin, int(b)))
            begin = int(b)
    if begin < len(owners):
        out.append(slice(begin, len(owners)))
    return out
