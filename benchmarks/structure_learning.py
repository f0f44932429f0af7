"""Structure learning by removing single parameters: which zeros of random sparse tables are found, and what it is worth.

    python benchmarks/structure_learning.py [--part state table moves searches misfit speed] [--tables 128] [--seed 0]
                                            [--out F.npz]

A likelihood has 6 to 12 outcomes and 50 to 500 states; each entry is zero with the given probability (a column keeps at least
one), the others of a column are uniform on the simplex. The agent starts from one count everywhere. Tables are the same for all
methods, so that differences are paired. Gain is the log likelihood of a held-out observation under the reduced counts less that
under the full ones: its expectation under the true likelihood, all states equally likely, in nats.

Moves (transitions): worlds of 6 to 30 states and 2 to 5 actions, in which each move from a state by an action to another state
does not exist with the given probability. An agent that sees where it is wanders through them, with actions of which some are
rarely tried (their probabilities are Dirichlet, of 1/2 each), and asks which moves do not exist.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

import numpy as np

from activebmr.arrays import standard_error
from activebmr.reduction import log_evidence_ratio
from activebmr.reduction.search.single_parameters import SingleParameters, single_ratios

SHARES = (0.0, 0.1, 0.25, 0.5)
MOVES = (0.0, 0.25, 0.5, 0.8)
SIZES = (20, 60, 200, 600, 2000)
Method = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


# --- tables and scores ---------------------------------------------------------------------------------------------------
def random_table(
    rng: np.random.Generator, n_outcomes: int, n_states: int, share: float, concentration: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """A likelihood, Dirichlet over its support with equal counts, and where it is zero."""
    zero = rng.random((n_outcomes, n_states)) < share
    while (empty := zero.all(axis=0)).any():
        zero[:, empty] = rng.random((n_outcomes, empty.sum())) < share
    weight = np.where(zero, 0.0, rng.gamma(concentration, size=zero.shape) + 1e-300)
    return weight / weight.sum(axis=0), zero


def observations(rng: np.random.Generator, truth: np.ndarray, size: int, whole: bool) -> np.ndarray:
    """Counts of outcomes: so many observations of each state, or of the whole table with states at random."""
    n_states = truth.shape[1]
    each = rng.multinomial(size, np.full(n_states, 1 / n_states)) if whole else np.full(n_states, size)
    return rng.multinomial(each, truth.T).T.astype(float)


def held_out(truth: np.ndarray, counts: np.ndarray) -> float:
    """Expected log likelihood of an observation, nats; -inf if something that happens is taken to be impossible."""
    with np.errstate(divide="ignore"):
        logs = np.log(counts / counts.sum(axis=0))
    return float((truth * np.where(truth > 0, logs, 0.0)).sum(axis=0).mean())


def by(**options) -> Method:
    """Posterior counts and removed entries of a table by `SingleParameters`."""
    space = SingleParameters(**options)

    def method(posterior: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = space.reduce(posterior[None], prior)
        return found.posterior[0], found.removed[0]

    return method


def entry_by_entry(posterior: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every entry whose own ratio reaches 3 nats becomes a zero, all at once, as in older SPM sleep routines."""
    removed = single_ratios(posterior, prior) >= 3.0
    return np.where(removed, 0.0, posterior), removed


def recover(
    method: Method, share: float, size: int, whole: bool, tables: int, seed: int, concentration: float = 1.0
) -> np.ndarray:
    """Precision (nan if nothing was removed), recall (nan if there are no zeros) and gain of each table ``(tables, 3)``."""
    rows = []
    for k in range(tables):
        rng = np.random.default_rng([seed, k, int(1000 * share), size, whole])
        n_outcomes, n_states = int(rng.integers(6, 13)), int(np.exp(rng.uniform(np.log(50), np.log(500))))
        truth, zero = random_table(rng, n_outcomes, n_states, share, concentration)
        prior = np.ones(truth.shape)
        posterior = prior + observations(rng, truth, size, whole)
        counts, removed = method(posterior, prior)
        found = (removed & zero).sum()
        precision = found / removed.sum() if removed.any() else np.nan
        recall = found / zero.sum() if zero.any() else np.nan
        rows.append((precision, recall, held_out(truth, counts) - held_out(truth, posterior)))
    return np.array(rows)


def worse(gain: np.ndarray) -> bool:
    """Whether held-out observations are less likely after reduction, beyond two standard errors."""
    return bool(np.isneginf(gain).any() or gain.mean() < -2 * standard_error(gain))


def mean(values: np.ndarray, digits: int = 3) -> str:
    """Mean +- standard error of what is defined."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return "-"
    if np.isneginf(defined).any():
        return f"-inf in {np.isneginf(defined).sum()} of {len(defined)}"
    return f"{defined.mean():.{digits}f}" + (f" +- {standard_error(defined):.{digits}f}" if len(defined) > 1 else "")


# --- moves ---------------------------------------------------------------------------------------------------------------
def random_world(rng: np.random.Generator, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Transitions ``(next states, states, actions)`` of a world, and which moves do not exist in it."""
    n_states, n_actions = int(rng.integers(6, 31)), int(rng.integers(2, 6))
    truth, zero = random_table(rng, n_states, n_states * n_actions, share)
    return truth.reshape(n_states, n_states, n_actions), zero.reshape(n_states, n_states, n_actions)


def walk(rng: np.random.Generator, truth: np.ndarray, actions: np.ndarray, steps: int) -> np.ndarray:
    """Counts of moves of a walk with actions drawn by their probabilities, of the shape of ``truth``."""
    n_states = len(truth)
    chosen, uniform = rng.choice(len(actions), size=steps, p=actions).tolist(), rng.random(steps).tolist()
    until = truth.cumsum(axis=0).transpose(1, 2, 0).tolist()
    here, path = int(rng.integers(n_states)), []
    for u, x in zip(chosen, uniform, strict=True):
        path.append(here)
        here = min(bisect_right(until[here][u], x), n_states - 1)
    counts = np.zeros(truth.shape)
    np.add.at(counts, ([*path[1:], here], path, chosen), 1.0)
    return counts


def recover_moves(method: Method, share: float, per_column: int, worlds: int, seed: int) -> np.ndarray:
    """Of each world: precision and recall of moves that do not exist (nan if none was removed, or there are none), recall where
    a state and action were tried at all, the share of these pairs that were not, and gain ``(worlds, 5)``.
    """
    rows = []
    for k in range(worlds):
        rng = np.random.default_rng([seed, k, int(1000 * share), per_column, 2])
        truth, zero = random_world(rng, share)
        actions = rng.dirichlet(np.full(truth.shape[2], 0.5))
        seen = walk(rng, truth, actions, per_column * truth[0].size)
        prior = np.ones(truth.shape)
        counts, removed = method(prior + seen, prior)
        tried = seen.any(axis=0)
        found, absent = (removed & zero).sum(), zero[:, tried].sum()
        precision = found / removed.sum() if removed.any() else np.nan
        recall = (found / zero.sum(), found / absent if absent else np.nan) if zero.any() else (np.nan, np.nan)
        rows.append((precision, *recall, 1 - tried.mean(), held_out(truth, counts) - held_out(truth, prior + seen)))
    return np.array(rows)


# --- parts ---------------------------------------------------------------------------------------------------------------
def recovery(o: argparse.Namespace, whole: bool) -> dict[str, np.ndarray]:
    """The default method at all shares of zeros and sizes."""
    where = "in the whole table" if whole else "of each state"
    print(f"\nSingleParameters(), observations {where} (n = {o.tables} random tables a cell)\n")
    print("| zeros | observations | tables reduced | precision | recall | gain (nats) | |\n|---|---|---|---|---|---|---|")
    all_, flagged = np.empty((len(SHARES), len(SIZES), o.tables, 3)), 0
    for i, share in enumerate(SHARES):
        for j, size in enumerate(SIZES):
            all_[i, j] = got = recover(by(), share, size, whole, o.tables, o.seed)
            reduced, flag = (got[:, 2] != 0).mean(), worse(got[:, 2])
            flagged += flag
            cells = [f"{share:.0%}", size, f"{reduced:.0%}", mean(got[:, 0]), mean(got[:, 1]), mean(got[:, 2], 5)]
            print("| " + " | ".join(map(str, cells)) + f" | {'WORSE' if flag else ''} |", flush=True)
    print(f"\n{flagged} of {len(SHARES) * len(SIZES)} cells significantly worse than the full model (more than 2 s.e.)")
    return {f"recovery_{'table' if whole else 'state'}": all_}


def moves(o: argparse.Namespace) -> dict[str, np.ndarray]:
    """The default method on transitions, at all shares of moves that do not exist and lengths of walks."""
    print(f"\nSingleParameters(), transitions of wandering agents (n = {o.tables} random worlds a cell)\n")
    print("| no moves | steps a column | reduced | never tried | precision | recall | of what was tried | gain (nats) | |")
    print("|---|---|---|---|---|---|---|---|---|")
    all_, flagged = np.empty((len(MOVES), len(SIZES), o.tables, 5)), 0
    for i, share in enumerate(MOVES):
        for j, size in enumerate(SIZES):
            all_[i, j] = got = recover_moves(by(), share, size, o.tables, o.seed)
            flag = worse(got[:, 4])
            flagged += flag
            cells = [f"{share:.0%}", size, f"{(got[:, 4] != 0).mean():.0%}", mean(got[:, 3])]
            cells += [*(mean(got[:, c]) for c in (0, 1, 2)), mean(got[:, 4], 5)]
            print("| " + " | ".join(map(str, cells)) + f" | {'WORSE' if flag else ''} |", flush=True)
    print(f"\n{flagged} of {len(MOVES) * len(SIZES)} cells significantly worse than the full model (more than 2 s.e.)")
    return {"moves": all_}


def searches(o: argparse.Namespace) -> dict[str, np.ndarray]:
    """Other searches, rates, windows and ways to adopt, over cells of both kinds of data."""
    cells = [(s, n, w) for w in (False, True) for s in SHARES for n in (20, 200, 2000)]
    print(f"\nMethods over {len(cells)} cells: 4 shares of zeros x 20, 200, 2000 observations of each state, or of all states")
    print(f"(n = {o.tables // 2} tables a cell; means over all tables with zeros)\n")
    print("| method | precision | recall | gain (nats) | cells significantly worse |\n|---|---|---|---|---|")
    out = {}
    methods = {
        "default: exact, learned rate, average": by(),
        "joint": by(search="joint"),
        "greedy": by(search="greedy"),
        "exact, log_odds 1": by(log_odds=1.0),
        "exact, log_odds 3": by(log_odds=3.0),
        "no window (threshold 0)": by(threshold=0.0),
        "no window at all (threshold -inf)": by(threshold=-np.inf),
        "rate 0.5": by(rate=0.5),
        "rate 0.5, no window at all": by(rate=0.5, threshold=-np.inf),
        "rate 0.25": by(rate=0.25),
        "zero instead of average": by(adopt="zero"),
        "zero, log_odds 3": by(adopt="zero", log_odds=3.0),
        "zero, joint": by(adopt="zero", search="joint"),
        "entry by entry, 3 nats, zero": entry_by_entry,
    }
    for name, method in methods.items():
        got = np.stack([recover(method, *cell, o.tables // 2, o.seed) for cell in cells])
        bad = sum(worse(g[:, 2]) for g in got)
        sparse = np.concatenate([g for g, cell in zip(got, cells, strict=True) if cell[0] > 0])
        row = [name, mean(sparse[:, 0]), mean(sparse[:, 1]), mean(sparse[:, 2], 4), f"{bad} of {len(cells)}"]
        print("| " + " | ".join(row) + " |", flush=True)
        out["method_" + "".join(c if c.isalnum() else "_" for c in name)] = got
    return out


def misfit(o: argparse.Namespace) -> dict[str, np.ndarray]:
    """Likelihoods that are not as the agent's prior has it: nearly zero without being it, or far from zero."""
    print(f"\nThe default where the prior is wrong (n = {o.tables} tables a cell, {', '.join(map(str, SIZES))} observations)\n")
    print("| true Dirichlet counts | zeros | observations | precision | recall | gain (nats) | lowest cell | cells worse |")
    print("|---|---|---|---|---|---|---|---|")
    out = {}
    for concentration in (0.1, 0.3, 3.0, 10.0):
        for share in (0.0, 0.25):
            for whole in (False, True):
                got = np.stack([recover(by(), share, n, whole, o.tables, o.seed, concentration) for n in SIZES])
                flat, low = got.reshape(-1, 3), got[:, :, 2].mean(axis=1).argmin()
                cells = [concentration, f"{share:.0%}", "whole table" if whole else "each state"]
                cells += [*(mean(flat[:, i]) for i in (0, 1)), mean(flat[:, 2], 4), mean(got[low, :, 2], 5)]
                print(
                    "| " + " | ".join(map(str, cells)) + f" | {sum(worse(g[:, 2]) for g in got)} of {len(SIZES)} |", flush=True
                )
                out[f"misfit_{concentration}_{share}_{'table' if whole else 'state'}"] = got
    return out


def speed(o: argparse.Namespace) -> dict[str, np.ndarray]:
    """Time and memory of a million entries, and a loop over entries for comparison."""
    rng = np.random.default_rng(o.seed)
    truth, _ = random_table(rng, 100, 10_000, 0.5)
    seen = observations(rng, truth, 200, False)
    flat, random = np.ones(seen.shape), rng.gamma(1.0, size=seen.shape) + 0.01
    print(f"\nA table of 100 outcomes and 10,000 states ({seen.nbytes / 1e6:.0f} MB), one core\n")
    print("| what | prior counts | seconds | peak memory, tables |\n|---|---|---|---|")

    def row(name: str, prior: str, call: Callable[[], object]) -> float:
        start = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1] / seen.nbytes
        tracemalloc.stop()
        print(f"| {name} | {prior} | {seconds:.2f} | {peak:.1f} |", flush=True)
        return seconds

    times = {}
    for kind, prior in (("equal", flat), ("random", random)):
        posterior = prior + seen
        times[kind] = row("single_ratios", kind, lambda q=posterior, p=prior: single_ratios(q, p))
        for options in ({}, {"search": "joint"}, {"search": "joint", "rate": 0.5, "adopt": "zero"}, {"search": "greedy"}):
            space = SingleParameters(**options)
            name = ", ".join(f"{k}={v!r}" for k, v in options.items())
            row(f"SingleParameters({name}).reduce", kind, lambda q=posterior, p=prior, s=space: s.reduce(q[None], p[None]))
    posterior = random + seen
    space = SingleParameters(remainder=1 / 32)
    row("SingleParameters(remainder=1/32).reduce", "random", lambda: space.reduce(posterior[None], random[None]))

    few = rng.integers(0, seen.size, size=3000)
    ratios = single_ratios(posterior, random)
    start = time.perf_counter()
    looped = np.empty(len(few))
    for i, at in enumerate(few):
        k, s = divmod(int(at), seen.shape[1])
        reduced = random[:, s].copy()
        reduced[k] = 0.0
        looped[i] = log_evidence_ratio(posterior[:, s], random[:, s], reduced)
    loop = (time.perf_counter() - start) / len(few) * seen.size
    possible = np.isfinite(looped)
    mine = ratios.reshape(-1)[few]
    error = np.abs(mine[possible] - looped[possible]).max() if np.isneginf(mine[~possible]).all() else np.inf
    print(f"\na loop of log_evidence_ratio over entries: {loop:.0f} s for all of them (from {len(few)}),", end=" ")
    print(f"{loop / times['random']:.0f} times as long as single_ratios; largest difference {error:.1g} nats")
    return {"seconds": np.array([times["equal"], times["random"], loop])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {
        "state": lambda o: recovery(o, False),
        "table": lambda o: recovery(o, True),
        "moves": moves,
        "searches": searches,
        "misfit": misfit,
        "speed": speed,
    }
    parser.add_argument("--part", nargs="+", choices=list(parts), default=list(parts))
    parser.add_argument("--tables", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="save all numbers as an .npz file")
    options = parser.parse_args()
    if options.tables < 4:
        parser.error(f"--tables must be 4 at least, for standard errors; got {options.tables}")
    numbers: dict[str, np.ndarray] = {}
    for part in options.part:
        numbers |= parts[part](options)
    if options.out:
        np.savez_compressed(options.out, **numbers)


if __name__ == "__main__":
    main()
