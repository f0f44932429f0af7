"""Long lives: whether agents of the three-ball paradigm grow, slow down or drift over thousands of trials.

    python benchmarks/long_lives.py [--trials 5000] [--agents 2] [--schemes ...] [--seed 0] [--settled 500] [--traced 500]

Every scheme lives twice. The first life is left alone, and tells

- memory: resident set size of the process (its slope less what the measures fill of their own arrays, which are as long as the
  life by design), memory blocks that Python holds, and bytes of the pickled state of the agents;
- processor seconds per trial in the first ``--settled`` trials and in as many at the end.

The second life has the same seed. It is handed over in its middle as a pickle, every belief that something was learned from is
written down, and in its last ``--traced`` trials tracemalloc counts live bytes between trials. It tells

- live: bytes that Python and NumPy have asked for since tracing began and still hold, after a tenth of the trials that are
  traced and at the end;
- counts, evidence: the largest difference between what the agents have counted and the sum of what was written down, each
  worked out by `math.fsum`, which rounds once (agents that take over other counts when they adopt a rule are checked until then
  and anew from there on);
- mass: how far all counts of an outcome are from the whole number of times that it was seen;
- odds: the largest difference in nats between the log posterior over rules and Bayes' rule by `math.lgamma` from the counts
  that were written down, since the rule was adopted;
- tables: the largest difference between what agents look up (expected likelihoods, scores of rules) and the same worked out
  anew;
- sums: how far from 1 any posterior over states, policies or rules, and any column that is expected, ever was;
- halves: whether all measures, and the counts at the end, are those of the first life, bit for bit.

Ends with status 1 and a sentence where memory grows, or something drifts by 1e-9 or more.
"""

from __future__ import annotations

import argparse
import copy
import gc
import math
import os
import pickle
import sys
import time
import tracemalloc
from dataclasses import dataclass, replace
from typing import Any

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy is imported: one core means one thread

import numpy as np  # noqa: E402

from activebmr import Result, simulate  # noqa: E402
from activebmr.agent.state import AgentState  # noqa: E402
from activebmr.inference.models.shared import Bank  # noqa: E402
from activebmr.inference.tables import CountTable  # noqa: E402
from activebmr.model.naming import Table  # noqa: E402
from activebmr.paradigms import three_ball  # noqa: E402

DRIFT = 1e-9
GROWTH = 64e3
"""Bytes per 1,000 trials that count as growth: less than the smallest array that a trial could leave (112 bytes each)."""

BLOCKS = 500
"""The same of memory blocks: less than one object for two trials."""

SLACK = {"live": 64e3, "state": 0.0, "blocks": 400.0}
"""What free lists and small caches of Python and NumPy may still take, however long a life is."""

MODALITY = 2  # feedback: what is learned


def resident() -> float:
    """Bytes of this process that are in memory; nan where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return float(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return math.nan


def traced() -> float:
    """Live bytes that tracemalloc knows of, once there is no garbage; nan where it does not trace."""
    gc.collect()
    return float(tracemalloc.get_traced_memory()[0]) if tracemalloc.is_tracing() else math.nan


def packed(state: AgentState) -> bytes:
    """A state of agents as a pickle, without the agents' own method that it has for its ``qs``."""
    return pickle.dumps(replace(state, marginals=None))


@dataclass
class Sample:
    """What was measured after some trials."""

    trial: int
    resident: float
    blocks: int
    live: float
    state: int


class Watched:
    """An agent's `life` that does what it does and looks at it: hand it to ``agent.life``.

    Args:
        life: the life itself.
        n_trials: how long it is.
        at: trials after which memory is measured.
    """

    def __init__(self, life: Any, n_trials: int, at: tuple[int, ...]) -> None:
        self.life, self.at, self.state = life, at, None
        self.samples: list[Sample] = []
        self.clock = np.full(n_trials + 1, time.process_time())  # whole from the start: what is kept here is no growth

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["life"], name)

    def conclude(self, state: Any, streams: Any = None) -> Any:
        info = self.life.conclude(state, streams)
        self.state, now = state, state.trial
        self.clock[now:] = time.process_time()
        if state.trial in self.at:
            gc.collect()
            self.samples.append(Sample(state.trial, resident(), sys.getallocatedblocks(), traced(), len(packed(state))))
            self.clock[now:] = time.process_time()
        return info

    def seconds(self, first: int, last: int) -> float:
        """Processor seconds per trial between two trials."""
        return float(self.clock[last] - self.clock[first]) / (last - first)


class Audited(Watched):
    """A watched life that writes down what is learned from, and is handed over as a pickle after ``half`` trials.

    Args:
        agent: whose life it is.
        n_agents, n_trials: how many, and how long.
        half: trials after which the state is replaced by a pickled copy of itself.
        traced: trials at the end that tracemalloc follows.
    """

    def __init__(self, agent: Any, n_agents: int, n_trials: int, half: int, traced: int) -> None:
        super().__init__(agent.life, n_trials, (n_trials - traced + traced // 10, n_trials))
        self.trace_from = n_trials - traced
        self.agent, self.half, self.handed = agent, half, 0.0
        self.learns = MODALITY in agent.model.learned_modalities
        size = agent.model.pA[MODALITY].size if self.learns else 0
        self.seen = np.zeros((n_agents, agent.model.num_outcomes[MODALITY]), dtype=np.int64)
        outcomes = self.seen.shape[1]
        self.amounts = np.full((n_trials, n_agents, size // outcomes, outcomes), 0.0)
        self.kept = float(agent.learning.retentions_of(agent.model)[Table("A", MODALITY)]) if self.learns else 1.0
        self.since, self.base = np.zeros(n_agents, dtype=np.intp), np.zeros(self.amounts.shape[1:])
        self.drift = {"counts": 0.0, "evidence": 0.0, "mass": 0.0, "odds": 0.0, "tables": 0.0, "sums": 0.0}
        self.adopted_with: dict[int, tuple[Any, Any]] = {}  # per agent the log posterior and the evidence when it first adopted

    def note(self, what: str, difference: Any) -> None:
        """Keep the largest difference; what is no number counts as infinitely far off."""
        largest = float(np.max(np.abs(difference), initial=0.0))
        self.drift[what] = max(self.drift[what], math.inf if math.isnan(largest) else largest)

    def advance(self, state: Any, outcomes: Any, uniform: Any, controls: Any) -> Any:
        if state.trial == self.trace_from and state.t == 0:
            tracemalloc.start()
        if state.trial == 0 and state.t == 0 and self.learns:
            self.base = state.tables[MODALITY].counts.copy()
        info = self.life.advance(state, outcomes, uniform, controls)
        for q in (*info.qs, info.q_pi, *([] if info.model_posterior is None or state.sleep else [info.model_posterior])):
            self.note("sums", np.sum(q, axis=-1) - 1.0)
        if not state.memory.moments and self.learns:  # learned from at once
            self.write(state.trial, state.belief, outcomes)
        self.seen[np.arange(len(self.seen)), outcomes[MODALITY]] += 1
        return info

    def write(self, trial: int, belief: Any, outcomes: Any) -> None:
        """Write down what an observation adds to which columns."""
        who, column, weight = self.life.believing.places(belief, MODALITY)
        np.add.at(self.amounts, (trial, who, column, outcomes[MODALITY][who]), weight)

    def conclude(self, state: Any, streams: Any = None) -> Any:
        memory, trial = state.memory, state.trial
        if memory.moments and self.learns:
            for moment, belief in zip(memory.moments, self.life.believing.hindsight(memory, state.knowledge), strict=True):
                self.write(trial, belief, moment.outcomes)
        info = super().conclude(state, streams)
        if self.learns:
            self.follow(state, info)
        if state.trial == self.half:
            before = traced()  # (nan where nothing is traced yet)
            vars(state).update({**vars(pickle.loads(packed(state))), "marginals": state.marginals})
            self.handed = traced() - before  # known tables and layouts, which states share with their agents until now
        return info

    def follow(self, state: Any, info: Any) -> None:
        """Where agents have taken over other counts, check those that they had, and go on from the new ones."""
        had, have = info.counts[MODALITY], state.tables[MODALITY].counts
        changed = np.flatnonzero((had != have).any(axis=(1, 2)))
        for k in changed:
            self.check_counts(k, had[k], state.trial)
            self.since[k], self.base[k] = state.trial, have[k]
        bank = state.knowledge.models
        if isinstance(bank, Bank):
            for k in np.flatnonzero(state.adopted >= 0):
                if k not in self.adopted_with:
                    self.adopted_with[k] = bank.log_posterior[k].copy(), bank.evidence[k].copy()

    # --- the same in another way -----------------------------------------------------------------------------------------
    def added(self, agent: int, first: int, last: int) -> Any:
        """What trials from ``first`` up to ``last`` added to an agent's columns, faded, rounded once."""
        part = self.amounts[first:last, agent]
        faded = part * np.power(self.kept, np.arange(last - first, 0, -1))[:, None, None] if self.kept < 1 else part
        total = np.zeros(part.shape[1:])
        for cell in zip(*np.nonzero(part.any(axis=0)), strict=True):
            total[cell] = math.fsum(faded[(slice(None), *cell)])
        return total

    def check_counts(self, agent: int, counts: Any, trial: int) -> None:
        """Compare counts with those that an agent began with and what was written down since."""
        base, first = self.base[agent], self.since[agent]
        expected = base * self.kept ** float(trial - first) + (base > 0) * self.added(agent, first, trial)
        self.note("counts", counts - expected)

    def finish(self) -> None:
        """Check what can only be checked at the end of a life."""
        state, everyone = self.state, range(len(self.seen))
        for table in state.tables:
            if isinstance(table, CountTable):
                self.note("sums", table.likelihood[:, :-1].sum(axis=1) - 1.0)
                anew = copy.deepcopy(table)
                anew.renew(np.arange(len(table.counts)))
                self.note("tables", table.likelihood - anew.likelihood)
                self.note("tables", table.unsettled - anew.unsettled)
                if table.differences is not None:
                    self.note("tables", table.differences - anew.differences)
        if not self.learns:
            return
        for k in everyone:
            self.check_counts(k, state.tables[MODALITY].counts[k], state.trial)
        bank = state.knowledge.models
        if isinstance(bank, Bank):
            self.note("mass", bank.evidence.sum(axis=1) - self.seen)
            for k in everyone:
                self.note("evidence", bank.evidence[k] - self.added(k, 0, state.trial))
                if k in self.adopted_with:
                    self.check_odds(k, bank.log_posterior[k])
        if state.sleep is not None:
            gathered = state.sleep.full[MODALITY] - state.sleep.origin[MODALITY]
            self.note("mass", gathered.sum(axis=1) - self.seen)

    def check_odds(self, agent: int, log_posterior: Any) -> None:
        """Compare a log posterior over rules with Bayes' rule since a rule was adopted, by definition."""
        before, evidence = self.adopted_with[agent]
        now = self.added(agent, 0, self.state.trial)
        scorer = self.life.believing.reasoner
        (table,) = scorer.space.tables.values()
        columns = scorer.reduced[table.assignment[:, self.state.tables[MODALITY].layout.order]]  # (rules, columns, outcomes)
        where = np.flatnonzero((now != 0).any(axis=1))

        def ascending(prior: Any, counts: Any) -> float:
            """Log evidence of counts under one column's Dirichlet prior."""
            total, own = float(prior.sum()), float(counts.sum())
            parts = [math.lgamma(a + n) - math.lgamma(a) for a, n in zip(prior, counts, strict=True)]
            return math.fsum([math.lgamma(total), -math.lgamma(total + own), *parts])

        distinct: dict[tuple[int, bytes], float] = {}
        expected = np.array(before, dtype=float)
        for m, own in enumerate(columns):
            gain = []
            for c in where:
                key = int(c), own[c].tobytes()
                if key not in distinct:
                    distinct[key] = ascending(own[c], now[c]) - ascending(own[c], evidence[c])
                gain.append(distinct[key])
            expected[m] += math.fsum(gain)
        best = int(np.argmax(log_posterior))
        self.note("odds", (log_posterior - log_posterior[best]) - (expected - expected[best]))


@dataclass
class Report:
    """What two lives of a scheme showed; bytes and seconds."""

    scheme: str
    n_trials: int
    settled: int
    plain: list[Sample]
    traced: list[Sample]
    own: float
    seconds: tuple[float, float]
    drift: dict[str, float]
    same: bool

    def slope(self) -> float:
        """Bytes by which the process grows in 1,000 trials, without what the measures fill."""
        first, last = self.plain[0], self.plain[-1]
        return (last.resident - first.resident) / (last.trial - first.trial) * 1000 - self.own

    def faults(self) -> list[str]:
        """Sentences about what grew or drifted."""
        found = [f"{self.scheme}: {name} drift by {x:.1e}" for name, x in self.drift.items() if not x < DRIFT]
        for samples, what, limit in (
            (self.traced, "live", GROWTH),
            (self.plain, "state", GROWTH),
            (self.plain, "blocks", BLOCKS),
        ):
            first, last = (getattr(x, what) for x in (samples[0], samples[-1]))
            if not last - first < SLACK[what] + limit * (samples[-1].trial - samples[0].trial) / 1000:
                found.append(f"{self.scheme}: {what} grows from {first:.0f} to {last:.0f}")
        return found if self.same else [*found, f"{self.scheme}: two halves are not the whole"]

    def row(self) -> str:
        """A line of the table."""
        cells = [f"{s.resident / 1e6:.1f}" for s in (self.plain[0], self.plain[-1])]
        cells += [f"{self.slope() / 1e6:+.2f}"]
        cells += [f"{s.blocks}" for s in (self.plain[0], self.plain[-1])]
        cells += [f"{s.live / 1e3:.0f}" for s in (self.traced[0], self.traced[-1])]
        cells += [f"{s.state / 1e3:.0f}" for s in (self.plain[0], self.plain[-1])]
        cells += [f"{1e3 * s:.2f}" for s in self.seconds]
        cells += [f"{x:.0e}" if x else "0" for x in self.drift.values()]
        return f"| {self.scheme} | {' | '.join(cells)} | {'same' if self.same else 'differ'} |"


HEAD = (
    "scheme", "RSS", "at end", "slope", "blocks", "at end", "live", "at end", "state", "at end", "first", "last",
    "counts", "evidence", "mass", "odds", "tables", "sums", "halves",
)  # fmt: skip


def alike(one: Result, other: Result) -> bool:
    """Whether two results hold the same numbers, bit for bit."""
    names = [name for name in one.arrays if name != "settings"]
    return all(one.arrays[n].tobytes() == other.arrays[n].tobytes() for n in names)


def live(scheme: str, n_agents: int, n_trials: int, seed: int = 0, settled: int = 500, last: int = 500) -> Report:
    """Both lives of a scheme.

    Args:
        scheme: name of a three-ball scheme.
        n_agents: agents, >= 1.
        n_trials: trials of each.
        seed: of the lives.
        settled: trials after which memory is measured first, < ``n_trials``.
        last: trials at the end that tracemalloc follows, <= ``n_trials``.

    Returns:
        what they showed.
    """
    simulate(three_ball.paradigm(scheme), n_agents, 20, seed)  # what is made once for all agents is made now
    paradigm = three_ball.paradigm(scheme)
    agent: Any = paradigm.agent
    agent.life = plain = Watched(agent.life, n_trials, (settled, n_trials))
    result = simulate(paradigm, n_agents, n_trials, seed)

    again = three_ball.paradigm(scheme)
    agent = again.agent
    agent.life = audited = Audited(agent, n_agents, n_trials, n_trials // 2, last)
    try:
        halves = simulate(again, n_agents, n_trials, seed)
    finally:
        tracemalloc.stop()
    audited.finish()
    if n_trials - last < n_trials // 2:
        audited.samples[-1].live -= audited.handed
    counts = [[t.counts for t in w.state.tables if isinstance(t, CountTable)] for w in (plain, audited)]
    same = alike(result, halves) and all(np.array_equal(a, b) for a, b in zip(*counts, strict=True))
    # pages of arrays of nan are filled from the beginning, those of zeros as trials are written
    own = sum(result.arrays[n].itemsize for n in ("confidence", "free_energy", "kl_to_truth", "wins", "losses", "impossible"))
    seconds = plain.seconds(0, settled), plain.seconds(n_trials - settled, n_trials)
    return Report(
        scheme, n_trials, settled, plain.samples, audited.samples, 1000.0 * n_agents * (own + 4), seconds, audited.drift, same
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--schemes", nargs="+", default=list(three_ball.SCHEMES), choices=list(three_ball.SCHEMES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settled", type=int, default=500)
    parser.add_argument("--traced", type=int, default=500)
    options = parser.parse_args()
    print(f"{options.agents} agents, {options.trials} trials; figures after {options.settled} trials and at the end")
    print("RSS: megabytes, slope per 1,000 trials; live, state: kilobytes; first, last: processor milliseconds per trial\n")
    print(f"| {' | '.join(HEAD)} |\n|---|" + "---:|" * (len(HEAD) - 1))
    faults = []
    for scheme in options.schemes:
        report = live(scheme, options.agents, options.trials, options.seed, options.settled, options.traced)
        print(report.row(), flush=True)
        faults += report.faults()
    print("\n" + ("\n".join(faults) or "nothing grows, nothing drifts"))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
