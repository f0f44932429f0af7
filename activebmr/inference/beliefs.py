"""`Belief`: factorised beliefs of a batch, which remembers what is certain and which joint states have mass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.model.layout import Dynamics
from activebmr.ragged import Ragged, chosen_rows, cross, from_marginals

__all__ = ["SUPPORT", "Belief", "Past"]

SUPPORT = 1e-16
"""Joint states whose factors have smaller marginal probabilities cannot move a float64 sum."""


Past = tuple[tuple[Ints | None, Sequence[np.ndarray]], ...] | None
"""What was done and seen in a trial, time by time; None if it is too long ago."""


class Belief(Sequence[Floats]):
    """Marginals ``(rows, S_f)`` of every factor; a sequence of arrays to the outside.

    A factor whose state is certain in every row is kept as that state ``known[f]`` ``(rows,)``; its marginals are made when
    asked for. ``past`` is what the beliefs come from, if they remember, and ``before`` what was believed a step earlier.
    """

    def __init__(
        self, marginals: Sequence[Floats | None], known: Sequence[Ints | None] | None = None, sizes: Sequence[int] = ()
    ):
        self._marginals: list[Floats | None] = list(marginals)
        self.known: list[Ints | None] = [None] * len(self._marginals) if known is None else list(known)
        self.sizes = tuple(sizes) or tuple(q.shape[1] for q in self._marginals if q is not None)
        self.rows = next(len(x) for x in (*self._marginals, *self.known) if x is not None)
        self._joints: dict[tuple[tuple[int, ...], float], Ragged] = {}
        self.past: Past = ()
        self.before: Belief | None = None
        # fewer rows that some factors are repeated from, and which: their lists are made once
        self._origin: tuple[Belief, Ints, frozenset[int]] | None = None

    @classmethod
    def of(cls, beliefs: Belief | Sequence[Floats]) -> Belief:
        """``beliefs`` itself, or a list of marginals as a Belief."""
        return beliefs if isinstance(beliefs, Belief) else cls(list(beliefs))

    @classmethod
    def start(cls, initial: Sequence[Floats], rows: int) -> Belief:
        """The prior over initial states, per factor the same in every row ``(S_f,)``, or of each row ``(rows, S_f)``."""
        marginals: list[Floats | None] = []
        known: list[Ints | None] = []
        for d in initial:
            sure = bool((d == 1).any(axis=-1).all())
            known.append(np.broadcast_to(d.argmax(axis=-1), rows).copy() if sure else None)
            marginals.append(None if sure else np.broadcast_to(d, (rows, d.shape[-1])).copy())
        return cls(marginals, known, [d.shape[-1] for d in initial])

    def __len__(self) -> int:
        return len(self._marginals)

    def __getitem__(self, factor: int) -> Floats:  # type: ignore[override]
        q = self._marginals[factor]
        if q is None:
            known = self.known[factor]
            assert known is not None
            q = self._marginals[factor] = np.eye(self.sizes[factor])[known]
        return q

    def __iter__(self) -> Iterator[Floats]:
        return (self[f] for f in range(len(self)))

    def copy(self) -> Belief:
        return self

    def remembering(self, past: Past, before: Belief | None = None) -> Belief:
        """The same beliefs with a past, and with what was believed a step earlier (of which the past is forgotten)."""
        out = Belief(self._marginals, self.known, self.sizes)
        out._joints, out.past = self._joints, past
        out.before = None if before is None else before.remembering(None)
        return out

    def take(self, rows: Ints) -> Belief:
        """Some rows, in any order and number."""
        out = Belief(
            [None if q is None else q.take(rows, axis=0) for q in self._marginals],
            [None if k is None else k[rows] for k in self.known],
            self.sizes,
        )
        return out.repeating(self, rows, frozenset(range(len(self))))

    def repeating(self, origin: Belief, rows: Ints, factors: frozenset[int]) -> Belief:
        """The same, knowing that its beliefs about ``factors`` are those of rows of another one."""
        if origin._origin is not None:
            origin, of, shared = origin._origin
            rows, factors = of[rows], factors & shared
        if origin.rows < self.rows:
            self._origin = origin, rows, factors
        return self

    def replaced(self, factors: Sequence[int], marginals: Sequence[Floats]) -> Belief:
        """A copy with new marginals of some factors."""
        if not factors:
            return self
        fresh, known = list(self._marginals), list(self.known)
        for f, q in zip(factors, marginals, strict=True):
            fresh[f], known[f] = q, None
        return Belief(fresh, known, self.sizes)

    def joint(self, factors: tuple[int, ...], threshold: float = SUPPORT) -> Ragged:
        """Product of the marginals of some factors where all exceed the threshold; indices flat in C order of ``factors``."""
        if len(factors) == 1:
            return self.support(factors[0], threshold)
        key = factors, threshold
        if key not in self._joints:
            if self._origin is not None and factors and self._origin[2].issuperset(factors):
                origin, rows, _ = self._origin
                self._joints[key] = chosen_rows(origin.joint(factors, threshold), rows)
            elif not factors:
                self._joints[key] = Ragged(np.arange(self.rows + 1), np.zeros(self.rows, dtype=np.intp), np.ones(self.rows))
            else:
                *rest, last = factors
                before, after = self.joint(tuple(rest), threshold), self.support(last, threshold)
                self._joints[key] = cross(before, after, stride_a=self.sizes[last])
        return self._joints[key]

    def support(self, factor: int, threshold: float = SUPPORT) -> Ragged:
        """States of one factor whose probability exceeds the threshold."""
        key = (-1, factor), threshold
        if key not in self._joints:
            known = self.known[factor]
            if known is None:
                self._joints[key] = from_marginals(self[factor], threshold)
            else:
                self._joints[key] = Ragged(np.arange(self.rows + 1), known, np.ones(self.rows))
        return self._joints[key]

    def likely(self, factor: int, cutoff: float) -> Ragged:
        """States of one factor whose probability exceeds the cut-off, or half the largest where that is less."""
        known = self.known[factor]
        if known is not None or self.sizes[factor] * cutoff < 1.0:
            return self.support(factor, cutoff)
        q = self[factor]
        return from_marginals(np.where(q > np.minimum(cutoff, 0.5 * q.max(axis=1, keepdims=True)), q, -1.0), 0.0)

    def in_hindsight(self, then: Belief, dynamics: Dynamics) -> Belief:
        """Beliefs about an earlier moment of a trial, from these (its end) for factors that stay as they are, else from
        ``then``.
        """
        kept = [kind == "fixed" for kind in dynamics.kind]
        return Belief(
            [(self if keep else then)._marginals[f] for f, keep in enumerate(kept)],
            [(self if keep else then).known[f] for f, keep in enumerate(kept)],
            self.sizes,
        )

    def predict(self, dynamics: Dynamics, controls: Ints) -> Belief:
        """Beliefs one step later under controls ``(rows, n_factors)``."""
        marginals, known = list(self._marginals), list(self.known)
        for f, kind in enumerate(dynamics.kind):
            if kind == "set":
                target = dynamics.target[f]
                assert target is not None
                marginals[f], known[f] = None, target[controls[:, f]]
            elif kind == "general":
                marginals[f], known[f] = dynamics.step(list(self), f, controls[:, f]), None
        out = Belief(marginals, known, self.sizes)
        if "general" not in dynamics.kind:  # what is fixed keeps the lists already made
            kept = {f for f, k in enumerate(dynamics.kind) if k == "fixed"}
            out._joints = {key: j for key, j in self._joints.items() if set(key[0]) - {-1} <= kept}
        return out
