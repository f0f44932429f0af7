"""Players that are no agents: Thompson sampling and upper confidence bounds, on the same contexts and the same chance.

Contexts, arms and payoffs are seen, so that all there is to believe has closed forms: Beta distributions of every structure's
payoffs, and the evidence of each structure (a product of Beta functions). The agents of `paradigms.bandit` believe the same.

Sources: Thompson (1933), Biometrika 25; Auer, Cesa-Bianchi & Fischer (2002), "Finite-time analysis of the multiarmed bandit
problem", Machine Learning 47.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from activebmr import ModelProcess
from activebmr.paradigms.bandit.world import ARMS, COLOURS, COUNTS, SIDES, STRUCTURES, TRIAL_LENGTH, payoffs, worlds
from activebmr.simulation.simulate import trial_draws

__all__ = ["BOUNDS", "RIVALS", "Beliefs", "Played", "best", "play"]

BOUNDS = {"ucb": 0.35, "ucb-structures": 0.3}
"""Width of confidence bounds, c in mean + c sqrt(log N / n): the best of seven on a seed of its own; UCB1 has sqrt(2)."""

_PURPOSE = 4  # of the random stream that a player draws from


@dataclass(frozen=True, eq=False)
class Played:
    """What came of it: payoffs ``(n_agents, n_trials)``, arms pulled (the same), and after each trial the posterior over the
    player's structures ``(n_agents, n_trials, n_structures)``.
    """

    wins: np.ndarray
    arms: np.ndarray
    posterior: np.ndarray


class Beliefs:
    """Exact beliefs about payoffs and their structure, of many players who see everything.

    Args:
        n_players: how many.
        structures: the structures that they hold possible, equally likely at first.

    Attributes:
        seen: how often each arm paid, and did not, in each context ``(n_players, colours, sides, arms, 2)``.
        log_evidence: log probability of all payoffs so far under each structure ``(n_players, n_structures)``, nats.
    """

    def __init__(self, n_players: int, structures: tuple[str, ...] = tuple(STRUCTURES)) -> None:
        self.structures = structures
        self.seen = np.zeros((n_players, len(COLOURS), len(SIDES), len(ARMS), 2))
        self.log_evidence = np.zeros((n_players, len(structures)))

    @property
    def posterior(self) -> np.ndarray:
        """Probabilities of the structures ``(n_players, n_structures)``."""
        relative = np.exp(self.log_evidence - self.log_evidence.max(axis=1, keepdims=True))
        return relative / relative.sum(axis=1, keepdims=True)

    def counts(self, colour: np.ndarray, side: np.ndarray) -> np.ndarray:
        """Beta counts (paid, not) of every arm in a context, under each structure ``(n_players, n_structures, arms, 2)``."""
        who = np.arange(len(self.seen))
        by = {
            (): self.seen.sum(axis=(1, 2)),
            ("colour",): self.seen[who, colour].sum(axis=1),
            ("side",): self.seen[who, :, side].sum(axis=1),
            ("colour", "side"): self.seen[who, colour, side],
        }
        return np.stack([by[STRUCTURES[s]] for s in self.structures], axis=1) + COUNTS

    def see(self, colour: np.ndarray, side: np.ndarray, arm: np.ndarray, paid: np.ndarray) -> None:
        """Learn what an arm paid (0 or 1), all ``(n_players,)``."""
        who = np.arange(len(self.seen))
        counts = self.counts(colour, side)[who, :, arm]
        self.log_evidence += np.log(counts[who, :, 1 - paid] / counts.sum(axis=2))
        self.seen[who, colour, side, arm, 1 - paid] += 1.0


Choice = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""From the posterior over structures, counts and uniform random numbers ``(n_players, 1 + arms)`` to the arms pulled."""


def thompson(posterior: np.ndarray, counts: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Draw a structure from the posterior, then payoffs from what is believed under it; pull the best arm of these."""
    who = np.arange(len(counts))
    structure = (posterior.cumsum(axis=1) > uniforms[:, :1]).argmax(axis=1)
    paid, not_paid = np.moveaxis(counts[who, structure], -1, 0)
    return np.asarray(betaincinv(paid, not_paid, uniforms[:, 1:]).argmax(axis=1))


def upper_bound(width: float) -> Choice:
    """Pull the arm with the highest upper bound, averaged over structures; arms not pulled yet come first, ties by lot."""

    def choose(posterior: np.ndarray, counts: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        paid, times = counts[..., 0] - COUNTS, counts.sum(axis=-1) - 2 * COUNTS
        pulled = np.maximum(times, 1.0)
        spread = width * np.sqrt(np.log(np.maximum(times.sum(axis=-1, keepdims=True), 1.0)) / pulled)
        bound = np.where(times > 0, paid / pulled + spread, 1e3)
        return np.asarray(((posterior[..., None] * bound).sum(axis=1) + 1e-9 * uniforms[:, 1:]).argmax(axis=1))

    return choose


def anything(posterior: np.ndarray, counts: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Pull any arm."""
    return uniforms[:, 1:].argmax(axis=1)


_ALL, _APART = tuple(STRUCTURES), ("both",)
RIVALS: dict[str, str] = {
    "thompson": "Thompson sampling: draws a structure, then its payoffs, from what it believes; the same beliefs as our agents",
    "thompson-apart": "Thompson sampling that takes every context for a bandit of its own",
    "ucb": "upper confidence bounds, every context a bandit of its own",
    "ucb-structures": "upper confidence bounds under each structure, averaged by the posterior over structures",
    "random": "any arm",
}
"""Players to compare agents with."""


def _rival(name: str, width: float | None) -> tuple[Choice, tuple[str, ...]]:
    bound = upper_bound(BOUNDS.get(name, 0.0) if width is None else width)
    known: dict[str, tuple[Choice, tuple[str, ...]]] = {
        "thompson": (thompson, _ALL),
        "thompson-apart": (thompson, _APART),
        "ucb": (bound, _APART),
        "ucb-structures": (bound, _ALL),
        "random": (anything, _ALL),
    }
    if name not in known:
        raise ValueError(f"rival must be one of {list(RIVALS)}; got {name!r}")
    return known[name]


def play(rival: str, seed: int, agents: np.ndarray, truths: np.ndarray, n_trials: int, *, width: float | None = None) -> Played:
    """Let a rival play in the place of some agents of ``simulate``: same contexts, same payoffs, same chance.

    Args:
        rival: one of the `RIVALS`.
        seed, agents, n_trials: of the simulation: its seed, the numbers of the agents ``(n_agents,)``, and trials.
        truths: the true structure of each agent ``(n_agents,)``.
        width: width of the bounds of "ucb" and "ucb-structures", >= 0; `BOUNDS` by default.

    Raises:
        ValueError: if there is no such rival.
    """
    choose, held = _rival(rival, width)
    beliefs = Beliefs(len(agents), held)
    streams = [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(k), _PURPOSE))) for k in agents]
    uniforms = np.stack([s.random((n_trials, 1 + len(ARMS))) for s in streams])
    posteriors: list[np.ndarray] = []

    def pull(trial: int, colour: np.ndarray, side: np.ndarray) -> np.ndarray:
        return choose(beliefs.posterior, beliefs.counts(colour, side), uniforms[:, trial])

    def learn(colour: np.ndarray, side: np.ndarray, arm: np.ndarray, paid: np.ndarray) -> None:
        beliefs.see(colour, side, arm, paid)
        posteriors.append(beliefs.posterior)

    wins, arms = _live(seed, agents, truths, n_trials, pull, learn)
    return Played(wins, arms, np.stack(posteriors, axis=1))


def best(seed: int, agents: np.ndarray, truths: np.ndarray, n_trials: int) -> np.ndarray:
    """Payoffs ``(n_agents, n_trials)`` of who always pulls the arm that pays most often: what regret is counted from."""
    arms, who = payoffs(seed, agents, truths).argmax(axis=3), np.arange(len(agents))
    return _live(seed, agents, truths, n_trials, lambda trial, colour, side: arms[who, colour, side], lambda *seen: None)[0]


def _live(
    seed: int,
    agents: np.ndarray,
    truths: np.ndarray,
    n_trials: int,
    pull: Callable[[int, np.ndarray, np.ndarray], np.ndarray],
    learn: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Payoffs and arms ``(n_agents, n_trials)`` of a life through the random numbers of ``simulate``."""
    process: ModelProcess = worlds(seed, agents, truths)
    draws = trial_draws(agents, seed, TRIAL_LENGTH, process.n_uniforms)
    wins, arms = (np.empty((len(agents), n_trials), dtype=np.int32) for _ in range(2))
    for trial in range(n_trials):
        uniforms = next(draws)[:, :, :-1]
        (colour, side, _), _ = process.reset(uniforms[:, 0])[0].T, None
        arms[:, trial] = pull(trial, colour, side)
        controls = np.stack([np.zeros_like(colour), np.zeros_like(colour), arms[:, trial]], axis=1)
        _, outcomes = process.step(controls, uniforms[:, 1])
        wins[:, trial] = outcomes[:, 2] == 2
        learn(colour, side, arms[:, trial], wins[:, trial])
    return wins, arms
