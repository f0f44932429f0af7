"""`Climber`: how beliefs about one moment of a path move up the gradient of the evidence, factor by factor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from activebmr.arrays import Bools, Floats, Ints
from activebmr.inference.paths.settings import PathSettings
from activebmr.inference.paths.state import Paths
from activebmr.inference.paths.transitions import TINY, Transitions, outer
from activebmr.model.pomdp import POMDP

__all__ = ["Climber", "Route", "short_softmax"]


@dataclass(eq=False)
class Route:
    """Where an ascent goes: beliefs that it starts from, moment by moment and factor by factor ``(n, policies or 1, S_f)``;
    controls in between ``(n, policies or 1, n_factors)``; the last moment that was observed, and the last that hears from what
    comes after it.
    """

    x: list[list[Floats]]
    controls: list[Ints]
    now: int
    hears: int


class Climber:
    """Steps of the ascent for a model."""

    def __init__(self, model: POMDP, settings: PathSettings) -> None:
        self.model, self.settings = model, settings
        self._transitions = Transitions(model, expected_logs=settings.messages == "mean-field")

    def _rules(self, paths: Paths) -> Transitions:
        return self._transitions if paths.transitions is None else paths.transitions

    def _climb(
        self, paths: Paths, route: Route, j: int, likelihood: Floats | None, moving: Bools, errors: list[list[Floats]] | None
    ) -> Floats:
        """Move the beliefs about moment j, factor by factor, in place; returns SPM's share of the evidence."""
        rules, x, here, tau = self._rules(paths), route.x, route.x[j], self.settings.tau
        n_factors, edge, quirks = len(here), j in (0, len(x) - 1), self.settings.quirks
        still = None if moving.all() else ~moving
        total = np.zeros(moving.shape)
        felt: list[Floats] = []

        def update(f: int, message: Floats | None) -> None:
            nonlocal total
            sx = here[f]
            log_x = np.log(sx + TINY)
            v = self._from_before(rules, route, j, f) - log_x
            seen: Floats | float = 0.0
            if message is not None:
                seen = message if rules.expected_logs else np.log(message + TINY)
                v = v + seen
            after = rules.from_after(f, route.controls[j], here, x[j + 1]) if j < route.hears else None
            if after is not None:
                # two messages, each with the likelihood; expected logs add up as they are
                v = v + after if rules.expected_logs else v + after + (seen - log_x)
            if quirks:
                share = 0.5 * v
                if not edge and message is not None:
                    share -= (n_factors - 1) / n_factors * seen
                total = total + _dot(sx, share)
            elif after is not None and not rules.expected_logs:
                v = 0.5 * v
            fresh = short_softmax(v / tau + log_x)
            if still is not None:
                fresh = np.where(still[..., None], sx, fresh)
            if errors is not None:
                v = v - v.mean(axis=-1, keepdims=True)
                felt.append(v if still is None else np.where(still[..., None], 0.0, v))
            here[f] = fresh

        if likelihood is None:
            for f in range(n_factors):
                update(f, None)
        else:
            table = np.log(likelihood + TINY) if rules.expected_logs else likelihood
            self._sweep(table.reshape(len(table), 1, -1), 0, n_factors, here, update)
        if errors is not None:
            errors.append(felt)
        return total

    def _from_before(self, rules: Transitions, route: Route, j: int, f: int) -> Floats:
        if j == 0:
            return rules.log_initial[f][:, None]
        return rules.from_before(f, route.controls[j - 1][..., f], route.x[j - 1])

    def _sweep(self, table: Floats, low: int, high: int, q: Sequence[Floats], update: Callable[[int, Floats], None]) -> None:
        """Update factors ``low`` to ``high`` in turn, each with the likelihood expected under all others as they then are.

        ``table`` is the likelihood expected under the factors outside: ``(n, policies or 1, S_low * ...)``; ``update`` renews
        the entries of ``q``.
        """
        if high - low == 1:
            update(low, table)
            return
        middle = (low + high) // 2
        early = int(np.prod(self.model.num_states[low:middle]))
        flat = table.reshape(*table.shape[:2], early, -1)
        rest = np.matmul(flat, outer(q[middle:high])[..., None])[..., 0]
        self._sweep(rest, low, middle, q, update)
        rest = np.matmul(outer(q[low:middle])[..., None, :], flat)[..., 0, :]
        self._sweep(rest, middle, high, q, update)

    def _evidence(self, paths: Paths, route: Route) -> Floats:
        """Minus the free energy of what was lived ``(n, 1)``: expected log likelihoods, each once, minus what beliefs diverge
        from the message of the moment before.

        Under mean field that is a bound of the log evidence; else it is exact where states are certain, or there was a single
        outcome.
        """
        rules, x = self._rules(paths), route.x
        total: Floats | float = 0.0
        for j, here in enumerate(x):
            total = total + _dot(outer(here), np.log(paths.likelihoods[j] + TINY)[:, None])
            for f, q in enumerate(here):
                total = total + _dot(q, self._from_before(rules, route, j, f) - np.log(q + TINY))
        return np.asarray(total)


def _dot(a: Floats, b: Floats) -> Floats:
    """Sum of a * b over the last axis, which is short."""
    total = a[..., 0] * b[..., 0]
    for k in range(1, a.shape[-1]):
        total = total + a[..., k] * b[..., k]
    return total


def short_softmax(x: Floats) -> Floats:
    """exp(x) / sum(exp(x)) over a short last axis."""
    top = x[..., 0]
    for k in range(1, x.shape[-1]):
        top = np.maximum(top, x[..., k])
    out = np.exp(x - top[..., None])
    total = out[..., 0].copy()
    for k in range(1, x.shape[-1]):
        total += out[..., k]
    out /= total[..., None]
    return out
