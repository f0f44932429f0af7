"""Exact beliefs: one filter per component of coupled factors, in log space, and exact smoothing over a trial.

    predict   q(s') = sum_s B(s' | s, u) q(s)
    update    log q(s) += sum_m log A_m(o_m | s);  log evidence = log of the normaliser
    smooth    p(s_t | o_1:T) = q_t(s) sum_s' B(s' | s, u_t) p(s' | o_1:T) / q_t+1(s' before its outcome)

Within a component nothing is approximated. Minus the log evidence, summed over a trial, is -log p(o_1:T | u_1:T). Likelihoods
that are learned count with their expected value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Bools, Floats, Ints, least
from activebmr.dirichlet import LOG_FLOOR
from activebmr.inference.joint_belief import JointBelief
from activebmr.inference.knowledge import Knowledge, Memory, Percept
from activebmr.inference.marginals import Marginals
from activebmr.inference.protocol import recalled
from activebmr.inference.smoothing import moved_log, smooth
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.inference.told import given_states
from activebmr.model.components import Component, components_of
from activebmr.model.layout import layouts_of
from activebmr.model.motion import size_of_motion
from activebmr.model.pomdp import POMDP
from activebmr.model.reading import Reading

__all__ = ["LARGEST", "Exact", "check_size"]

Tables = Sequence[KnownTable | CountTable]

LARGEST = 2**22
"""Hidden joint states of one component beyond which exact beliefs are refused."""
_LARGEST_MOTION = 2**27  # numbers in the transitions of one component
_SMALL = 2**17  # numbers in a table of all outcomes of a component's modalities
_FAINTEST = 1e-250  # probability of an observation from which on logarithms alone are trusted
_NO_MASS = 1e-16  # less probable states cannot move a float64 sum


class _Lookup:
    """Log likelihoods of one modality in the states of its component."""

    def __init__(self, component: Component, modality: int) -> None:
        self.modality = modality
        self.known_offset, self.hidden_offset = component.columns(modality)
        self.telling = modality in component.telling
        if not self.telling:
            self.hidden_offset = self.hidden_offset[:1]
        self.n_states = layouts_of(component.model)[modality].n_states
        self._table: KnownTable | None = None
        self._log: Floats = np.zeros(0)

    def log_likelihood(self, table: KnownTable | CountTable, agents: Ints, known: Ints, outcome: np.ndarray) -> Floats:
        """``(rows, n_hidden)``, or ``(rows, 1)`` of a modality that tells nothing about hidden states; 0 where nothing was
        seen.
        """
        column = self.known_offset[known][:, None] + self.hidden_offset
        if table.learned:
            column = column + (agents * self.n_states)[:, None]
        if outcome.ndim == 2:
            return self._soft(table, column, outcome)
        missing = outcome < 0
        if isinstance(table, KnownTable):
            if self._table is not table:
                with np.errstate(divide="ignore"):
                    self._log, self._table = np.log(table.likelihood[:, :-1]), table
            log = self._log[column, np.maximum(outcome, 0)[:, None]]
        else:
            with np.errstate(divide="ignore"):
                log = np.log(table.likelihood[column, np.maximum(outcome, 0)[:, None]])
        if missing.any():
            log[missing] = 0.0
        return log

    @staticmethod
    def _soft(table: KnownTable | CountTable, column: Ints, outcome: Floats) -> Floats:
        chance = table.likelihood[column, :-1]
        seen = chance[..., 0] * outcome[:, None, 0]
        for o in range(1, chance.shape[2]):
            seen += chance[..., o] * outcome[:, None, o]
        with np.errstate(divide="ignore"):
            log = np.log(seen)
        log[~(outcome > 0).any(axis=1)] = 0.0
        return log


class _Together:
    """Log likelihoods of all outcomes of a component's modalities at once, where all are known and a table of them is small."""

    def __init__(self, component: Component) -> None:
        self._component = component
        # one outcome more: that nothing was seen
        self._sizes = [component.model.num_outcomes[m] + 1 for m in component.modalities]
        self._made: dict[int, KnownTable | CountTable] = {}
        self._log: Floats = np.zeros(0)

    @classmethod
    def of(cls, component: Component) -> _Together | None:
        """None where modalities have to be looked up one by one."""
        model = component.model
        if not component.modalities or any(model.pA[m] is not None for m in component.modalities):  # type: ignore[index]
            return None
        size = float(component.n_known * component.n_hidden)
        for m in component.modalities:
            size *= model.num_outcomes[m] + 1
            if size > _SMALL:  # thousands of modalities are more than a float can count
                return None
        return cls(component)

    def log_likelihood(self, tables: Tables, known: Ints, outcomes: Sequence[np.ndarray]) -> Floats | None:
        """``(rows, n_hidden)``, or None where an outcome is soft, or a table not the same for all agents."""
        modalities = self._component.modalities
        code = None
        for m, n in zip(modalities, self._sizes, strict=True):
            outcome, table = outcomes[m], tables[m]
            if outcome.ndim != 1:
                return None
            code = outcome % n if code is None else code * n + outcome % n  # -1 is the last
            if self._made.get(m) is not table:
                if not all(isinstance(tables[k], KnownTable) for k in modalities):
                    return None
                self._log = self._make([tables[k] for k in modalities])
                self._made = {k: tables[k] for k in modalities}
        return self._log[known, code]

    def _make(self, tables: Tables) -> Floats:
        c = self._component
        total = np.zeros((c.n_known, 1, c.n_hidden))
        for m, table in zip(c.modalities, tables, strict=True):
            known, hidden = c.columns(m)
            with np.errstate(divide="ignore"):
                log = np.log(table.likelihood[known[:, None] + hidden, :-1]).transpose(0, 2, 1)
            log = np.concatenate([log, np.zeros((c.n_known, 1, c.n_hidden))], axis=1)
            total = (total[:, :, None] + log[:, None]).reshape(c.n_known, -1, c.n_hidden)
        return total


class Exact:
    """Exact filtering and smoothing, see `activebmr.inference.protocol.Believing`.

    Raises:
        ValueError: if a component has more hidden joint states, or transitions, than can be held; the message names the
            factors, the size and the ways of believing that do without.
    """

    at_once, in_hindsight = True, False

    def __init__(self, model: POMDP) -> None:
        self.model = model
        self.components = components_of(model)
        for c in self.components:
            check_size(model, c)
        self.lookups = [[_Lookup(c, m) for m in c.modalities] for c in self.components]
        self._together = [_Together.of(c) for c in self.components]
        self._everyone = np.arange(1)
        self._places = {}
        for i, c in enumerate(self.components):
            for m in c.modalities:
                reading = Reading(c, [m])
                self._places[m] = i, reading, reading.columns(m)
        self._initial = []
        for c in self.components:
            with np.errstate(divide="ignore"):
                self._initial.append(np.log(c.initial))

    def begin(self, knowledge: Knowledge) -> JointBelief:
        return self.start(knowledge.n_agents)

    def start(self, n_agents: int) -> JointBelief:
        """The prior over initial states."""
        known = [np.full(n_agents, c.start) for c in self.components]
        log = [np.repeat(x[None], n_agents, axis=0) for x in self._initial]
        return JointBelief(known, log)

    def predict(self, belief: JointBelief, controls: Ints) -> JointBelief:
        """Beliefs one step later under controls ``(rows, n_factors)``."""
        known, log, q = [], [], []
        for i, c in enumerate(self.components):
            here = belief.known[i]
            known.append(c.known_next[c.known_code(controls), here] if c.known else here)
            if c.motion.still:
                log.append(belief.log[i])
                q.append(belief._q[i])
                continue
            logs, after = moved_log(c, belief.log[i], c.hidden_code(controls), here, belief.q(i))
            log.append(logs)
            q.append(after)
        return JointBelief(known, log, q)

    def update(self, belief: JointBelief, tables: Tables, agents: Ints, outcomes: Sequence[np.ndarray]) -> Percept:
        """Bayes' rule for the outcomes of all modalities: integers ``(rows,)``, -1 for unseen, or probabilities of outcomes
        ``(rows, O_m)``.

        Where the beliefs hold an observation impossible, likelihoods of 0 count as e^-32: the states that it contradicts least
        remain, and the row is reported.
        """
        logs, qs = [], []
        evidence, impossible = None, np.zeros(belief.rows, dtype=bool)
        for i, lookups in enumerate(self.lookups):
            if not lookups:
                logs.append(belief.log[i])
                qs.append(belief._q[i])
                continue
            known, prior = belief.known[i], belief.log[i]
            quick = self._together[i].log_likelihood(tables, known, outcomes) if self._together[i] is not None else None
            if quick is not None:
                total = prior + quick
            else:
                total = prior
                for x in lookups:
                    total = total + x.log_likelihood(tables[x.modality], agents, known, outcomes[x.modality])
            log, q, seen, bad = _normalised(total)
            if bad is not None:
                floored = prior[bad]
                for x in lookups:
                    part = x.log_likelihood(tables[x.modality], agents, known, outcomes[x.modality])
                    floored = floored + np.maximum(part[bad], LOG_FLOOR)
                log[bad], q[bad], seen[bad], _ = _normalised(floored)
                impossible |= bad
            evidence = seen if evidence is None else evidence + seen
            logs.append(log)
            qs.append(q)
        return Percept(JointBelief(belief.known, logs, qs), np.zeros(belief.rows) if evidence is None else evidence, impossible)

    def perceive(
        self, belief: JointBelief, knowledge: Knowledge, controls: Ints | None, outcomes: Sequence[np.ndarray]
    ) -> Percept:
        if controls is not None:
            belief = self.predict(belief, controls)
        everyone = self._everyone
        if len(everyone) != belief.rows:
            everyone = self._everyone = np.arange(belief.rows)
        return self.update(belief, knowledge.tables, everyone, outcomes)

    def told(self, belief: JointBelief, states: Ints) -> JointBelief:
        """Beliefs of agents that are told states ``(n_agents, n_factors)`` before a trial; -1 tells nothing about a factor."""
        log = [given_states(x, c.hidden, c.hidden_sizes, states) for x, c in zip(belief.log, self.components, strict=True)]
        return JointBelief(belief.known, log)

    def recall(self, memory: Memory, knowledge: Knowledge) -> Sequence[JointBelief]:
        return recalled(self, memory, knowledge)

    def marginals(self, belief: JointBelief) -> Marginals:
        return Marginals(self.components, belief)

    def places(self, belief: JointBelief, modality: int) -> tuple[Ints, Ints, Floats]:
        i, reading, columns = self._places[modality]
        q = reading.seen(belief.q(i)[:, None])[:, 0]
        rows, hidden = np.nonzero(q > _NO_MASS)
        return rows, columns[reading.known_of[belief.known[i]][rows], hidden], q[rows, hidden]

    def hindsight(self, memory: Memory, knowledge: Knowledge) -> Sequence[JointBelief]:
        moments = memory.moments
        controls = [m.controls for m in moments[1:] if m.controls is not None]
        smoothed = smooth(self.model, [m.belief for m in moments], controls)
        return [smoothed.at(t) for t in range(len(moments))]


def _normalised(total: Floats) -> tuple[Floats, Floats, Floats, Bools | None]:
    """Log probabilities, probabilities and the log of the normaliser, all -inf where nothing is possible; and where that is, or
    None for nowhere.
    """
    q = np.exp(total)
    mass = np.add.reduce(q, axis=1, keepdims=True)
    held = np.maximum(mass, _FAINTEST)
    evidence = np.log(held)
    q /= held
    log, lost = total - evidence, None
    if least(mass) < _FAINTEST:  # too improbable for a number that is not a logarithm
        rows = np.flatnonzero(mass[:, 0] < _FAINTEST)
        lost = np.zeros(len(total), dtype=bool)
        log[rows], q[rows], evidence[rows, 0], lost[rows] = _normalised_logs(total[rows])
        lost = lost if lost.any() else None
    return log, q, evidence[:, 0], lost


def _normalised_logs(total: Floats) -> tuple[Floats, Floats, Floats, Bools]:
    top = total.max(axis=1, keepdims=True)
    lost = top == -np.inf
    top = np.where(lost, 0.0, top)
    q = np.exp(total - top)
    mass = np.where(lost, 1.0, q.sum(axis=1, keepdims=True))
    evidence = top + np.log(mass)
    return total - evidence, q / mass, np.where(lost, -np.inf, evidence)[:, 0], lost[:, 0]


def check_size(model: POMDP, c: Component) -> None:
    """Raise ValueError if exact beliefs about a component are too large to be held."""
    names = [model.labels["factor"][f] for f in c.hidden]
    transitions = 0.0 if c.motion.still else size_of_motion(model, c.known, c.hidden)
    own = all(set(model.B_dependencies[f]) <= {f, *c.known} for f in c.hidden)  # type: ignore[index]
    if c.n_hidden > LARGEST or (transitions > _LARGEST_MOTION and not own):
        size = f"{c.n_hidden:.3g} joint states" + ("" if own else f" and {transitions:.3g} transitions")
        raise ValueError(
            f"inference of Agent must not be 'exact' for this model: its factors {names} are coupled, and their joint beliefs "
            f"would hold {size}; choose 'sequential' or 'mean-field', which keep one distribution per factor"
        )
