"""How far the posterior over hypotheses is from the true one, in small worlds whose paths can all be enumerated.

    python benchmarks/model_posterior.py [--worlds N] [--seed S]

Worlds have 2 hidden states, 2 outcomes and 2 hypotheses about the likelihood, whose columns are drawn from a uniform Dirichlet
and are worth so many counts; 3 trials of 3 outcomes, drawn from one of the hypotheses. The true posterior sums the exact
Dirichlet-multinomial evidence over all paths of hidden states of all trials. The last table is a case in which no structure can
be found: a context that is drawn anew in every trial and never shown, and a cue that is blue or red in turn.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import logsumexp

from activebmr import POMDP, Agent, HypothesisSpace, Learning, Reasoning, Selection

OFFSET = 1e-15
STAYS = np.eye(2)[:, :, None]
WAYS = {
    "own counts": {"reasoning": Reasoning(counts="own")},
    "own, by counts": {"reasoning": Reasoning(counts="own", evidence="counts")},
    "shared counts": {"reasoning": Reasoning(counts="shared")},
    "soft counts": {"inference": "sequential"},
}
"""Ways of keeping hypotheses; the last is the paper's."""

Trials = Sequence[Sequence[int]]


def _rise(start: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Log of start (start + 1) ... (start + steps - 1), without differences of large numbers."""
    k = np.arange(steps.max(initial=0))
    return np.where(k < steps[..., None], np.log(start[..., None] + k), 0.0).sum(axis=-1)


def enumerated(model: POMDP, space: HypothesisSpace, trials: Trials) -> np.ndarray:
    """The true posterior, by a sum over all paths of the hidden states."""
    start, move = np.log(model.D[0]), model.B[0][:, :, 0]
    length = len(trials[0])
    paths = [p for p in itertools.product(range(2), repeat=length) if all(move[b, a] > 0 for a, b in itertools.pairwise(p))]
    # all evidences depend on the paths by the counts that they make: (column, outcome), added up trial by trial
    tally: dict[tuple[int, ...], float] = {(0, 0, 0, 0): 0.0}
    for trial in trials:
        new: dict[tuple[int, ...], list[float]] = {}
        for path in paths:
            log_p = start[path[0]] + sum(np.log(move[b, a]) for a, b in itertools.pairwise(path))
            more = [0] * 4
            for s, o in zip(path, trial, strict=True):
                more[2 * s + o] += 1
            for counts, log_q in tally.items():
                key = tuple(x + y for x, y in zip(counts, more, strict=True))
                new.setdefault(key, []).append(log_p + log_q)
        tally = {key: float(logsumexp(values)) for key, values in new.items()}
    counts = np.array(list(tally)).reshape(-1, 2, 2)  # (kinds of paths, columns, outcomes)
    weight = np.array(list(tally.values()))
    scores = []
    for h in range(len(space)):
        prior = space.dense(h, 0).T + OFFSET
        score = _rise(prior, counts).sum(axis=2) - _rise(prior.sum(axis=1), counts.sum(axis=2))
        scores.append(logsumexp(weight + score.sum(axis=1)))
    return np.exp(np.array(scores) - logsumexp(scores))


def posterior(model: POMDP, space: HypothesisSpace, trials: Trials, way: dict) -> np.ndarray:
    """What agents come to believe."""
    agent = Agent(
        model,
        space,
        selection=Selection(threshold=np.inf, last_outcome=True, offset=OFFSET),
        learning=Learning(smooth=True),
        **way,
    )
    state = agent.init()
    for trial in trials:
        for outcome in trial:
            state, _ = agent.step(state, outcome, 0)
        state, end = agent.end_trial(state)
    return end.model_posterior[0]


def worlds(n: int, seed: int, size: float, moves: bool) -> Iterator[tuple[POMDP, HypothesisSpace, list[list[int]]]]:
    """Random worlds and what is seen there."""
    rng = np.random.default_rng([seed, int(moves)])
    for _ in range(n):
        tables = rng.dirichlet(np.ones(2), size=(2, 2)).transpose(0, 2, 1)  # (hypotheses, outcomes, states)
        move = rng.dirichlet(np.ones(2), size=2).T[:, :, None] if moves else STAYS
        start = rng.dirichlet(np.ones(2))
        model = POMDP(A=[None], B=[move], D=[start], pA=[np.ones((2, 2))])
        space = HypothesisSpace({"a": {"pA[0]": size * tables[0]}, "b": {"pA[0]": size * tables[1]}})
        true = tables[rng.integers(2)]
        trials = []
        for _ in range(3):
            s, seen = int(rng.random() < start[1]), []
            for _ in range(3):
                seen.append(int(rng.random() < true[1, s]))
                s = int(rng.random() < move[1, s, 0])
            trials.append(seen)
        yield model, space, trials


def errors(n: int, seed: int) -> None:
    """Print the largest error of a probability: median and worst of n worlds."""
    print(f"error of the posterior over hypotheses, {n} worlds (median, worst)")
    print(f"{'hidden states':14} {'counts':>9} " + " ".join(f"{name:>20}" for name in WAYS))
    for moves in (False, True):
        for size in (1.0, 8.0, 64.0, 1e12):
            found: dict[str, list[float]] = {name: [] for name in WAYS}
            for model, space, trials in worlds(n, seed, size, moves):
                truth = enumerated(model, space, trials)
                for name, way in WAYS.items():
                    found[name].append(float(np.abs(posterior(model, space, trials, way) - truth).max()))
            cells = [f"{np.median(e):9.2g} {max(e):9.2g}" for e in found.values()]
            print(f"{'move' if moves else 'stay':14} {size:9g} " + " ".join(f"{cell:>20}" for cell in cells))


def no_structure() -> None:
    """Print what is believed where nothing can be found."""
    model = POMDP(A=[None], B=[STAYS], D=[[0.5, 0.5]], pA=[np.ones((2, 2))])
    tables = {"left": 7.92 * np.eye(2) + 0.08 * (1 - np.eye(2)), "nothing": np.full((2, 2), 4.0)}
    tables = {"left": tables["left"], "right": tables["left"][::-1], "nothing": tables["nothing"]}
    space = HypothesisSpace({name: {"pA[0]": t} for name, t in tables.items()})
    print("\nno structure to be found: p(left), p(right), p(nothing)")
    for n in (20, 200):
        trials = [[t % 2] for t in range(n)]
        rows = {"enumerated": enumerated(model, space, trials)}
        rows |= {name: posterior(model, space, trials, way) for name, way in WAYS.items()}
        for name, p in rows.items():
            print(f"{n:4} trials  {name:15} " + " ".join(f"{x:.3f}" for x in p))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=200, help="number of random worlds")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    errors(options.worlds, options.seed)
    no_structure()


if __name__ == "__main__":
    main()
