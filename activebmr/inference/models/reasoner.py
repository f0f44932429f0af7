"""Reasoning about hypotheses and hidden states *together*: exact beliefs, exact information gain, exact smoothing.

A belief here is the joint posterior over hypotheses and states, J(b, m): b runs over the joint states of all factors that no
action sets, m over the distinct hypotheses. Hypothesis m predicts outcome o in column c with probability
(n + r_m)[o, c] / sum, n being the evidence so far and r_m its reduced prior. Hypotheses share few distinct columns, so what any
policy would show follows from sums of J over the hypotheses that agree, not from each hypothesis by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import xlogy

from activebmr.arrays import Bools, Floats, Ints
from activebmr.dirichlet import LOG_FLOOR
from activebmr.inference.beliefs import Belief
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.layout import dynamics_of, layouts_of
from activebmr.model.pomdp import POMDP

__all__ = ["Expectations", "JointReasoner", "joint_size"]

_FLOOR = float(np.exp(LOG_FLOOR))
_LARGEST_JOINT = 2**20  # numbers in the joint likelihood of the other modalities


def joint_size(model: POMDP, n_hypotheses: int) -> int:
    """Numbers in one agent's joint posterior: hypotheses x joint states of the factors that no action sets."""
    kinds = dynamics_of(model).kind
    return n_hypotheses * int(
        np.prod([n for n, kind in zip(model.num_states, kinds, strict=True) if kind != "set"], dtype=float)
    )


@dataclass(eq=False)
class Expectations:
    """What each hypothesis' columns predict, given the evidence of a batch of agents.

    Attributes:
        seen: evidence counts in every column, were the states such ``(n_agents, B, T, n_outcomes)``.
        chance: per distinct reduced column the probabilities of outcomes ``(n_agents, B, slots, n_outcomes)``, in the set
            states where some hypothesis has it (`JointReasoner.slots`).
        entropy: their entropies ``(n_agents, B, slots)``.
        rate: counts that an outcome adds within the trial, for all or ``(n_agents,)``.
    """

    seen: Floats
    chance: list[Floats] = field(default_factory=list)
    entropy: list[Floats] = field(default_factory=list)
    rate: Floats | float = 1.0

    def take(self, rows: Ints) -> Expectations:
        rate = self.rate[rows] if isinstance(self.rate, np.ndarray) else self.rate
        return Expectations(self.seen[rows], [c[rows] for c in self.chance], [h[rows] for h in self.entropy], rate)


class JointReasoner:
    """Beliefs J ``(rows, B, M)`` of agents that share a model and a space of hypotheses about one of its modalities.

    B joint states of the factors that no action sets (in C order of `still`), M distinct hypotheses, T joint states of the set
    factors. Policies must have one step.

    Raises:
        ValueError: if hypotheses speak about more than one modality, or a set factor's initial state is uncertain.
    """

    def __init__(self, model: POMDP, space: HypothesisSpace, offset: float) -> None:
        if len(space.tables) != 1:
            raise ValueError(f"joint reasoning needs hypotheses about one modality; these speak about {sorted(space.tables)}")
        known = [m for m in model.learned_modalities if m not in space.tables]
        if known:
            raise ValueError(f"joint reasoning learns only what the hypotheses are about: pA[{known[0]}] must be None")
        if model.policy_length != 1:
            raise ValueError(f"joint reasoning needs policies of one step; these have {model.policy_length}")
        self.model, self.space = model, space
        self._dynamics = dynamics_of(model)
        kinds = self._dynamics.kind
        self.still = tuple(f for f, kind in enumerate(kinds) if kind != "set")
        self.set = tuple(f for f, kind in enumerate(kinds) if kind == "set")
        for f in self.set:
            if not (model.D[f] == 1.0).any():  # type: ignore[index]
                raise ValueError(
                    f"joint reasoning needs a certain initial state of factor {f}, which actions set; D[{f}] is not"
                )
        self.still_sizes = tuple(model.num_states[f] for f in self.still)
        self.set_sizes = tuple(model.num_states[f] for f in self.set)
        self.n_still, self.n_set = int(np.prod(self.still_sizes)), int(np.prod(self.set_sizes))
        ((self.modality, table),) = space.tables.items()
        self.kept = [layouts_of(model)[m].keep(a) for m, a in enumerate(model.A)]  # likelihoods, columns as kept
        with np.errstate(divide="ignore"):
            self._log_kept = [np.log(a) for a in self.kept]
        self.columns = [self._columns(m) for m in range(model.num_modalities)]  # (B, T) into each modality's kept columns
        self.reduced = table.columns + offset
        first = self.columns[self.modality][0]
        self._same_column = first[:, None] == first  # set states that the modality does not tell apart
        order = layouts_of(model)[self.modality].order
        assigned = table.assignment[:, order][:, self.columns[self.modality]]  # (M, B, T)
        self._classes(assigned)
        self._others()
        self.initial = self._product([model.D[f] for f in self.still])  # type: ignore[index]
        self.start = self._flat_set(np.array([[int(model.D[f].argmax()) for f in self.set]]))[0] if self.set else 0  # type: ignore[index]
        targets = [self._dynamics.target[f][model.first_controls[:, f]] for f in self.set]  # type: ignore[index]
        self.policy_set = (
            self._flat_set(np.stack(targets, axis=1)) if self.set else np.zeros(len(model.policies), dtype=np.intp)
        )
        moved = [f for f in self.still if kinds[f] == "general"]
        self.moves, self.policy_move = np.unique(model.first_controls[:, moved], axis=0, return_inverse=True)
        self.policy_move = self.policy_move.reshape(-1)
        self._moved = moved
        self.transitions = [self._transition(moved, move) for move in self.moves] if moved else []
        self._by_move = {tuple(int(u) for u in move): t for move, t in zip(self.moves, self.transitions, strict=False)}

    # --- what is fixed ---------------------------------------------------------------------------------------------------
    def _flat_set(self, states: Ints) -> Ints:
        return np.ravel_multi_index(list(states.T), self.set_sizes) if self.set else np.zeros(len(states), dtype=np.intp)

    @staticmethod
    def _product(marginals: Sequence[Floats]) -> Floats:
        joint = np.ones(1)
        for q in marginals:
            joint = (joint[:, None] * q).reshape(-1)
        return joint

    def _columns(self, m: int) -> Ints:
        layout = layouts_of(self.model)[m]
        still = np.indices(self.still_sizes).reshape(len(self.still), self.n_still)
        placed = np.indices(self.set_sizes).reshape(len(self.set), self.n_set)
        column = np.zeros((self.n_still, self.n_set), dtype=np.intp)
        for f, stride in layout.strides.items():
            if f in self.still:
                column += (still[self.still.index(f)] * stride)[:, None]
            else:
                column += placed[self.set.index(f)] * stride
        return column

    def _classes(self, assigned: Ints) -> None:
        """Group set states in which the hypotheses differ alike; per group the distinct columns and who has them where."""
        n_models = len(assigned)
        patterns, of_set = np.unique(assigned.reshape(-1, self.n_set).T, axis=0, return_inverse=True)
        self.class_of_set = of_set.reshape(-1)
        self.present: list[list[int]] = []
        self.has: list[dict[int, Floats]] = []
        for pattern in patterns:
            by_state = pattern.reshape(n_models, self.n_still).T  # (B, M)
            present = [int(k) for k in np.unique(by_state)]
            self.present.append(present)
            self.has.append({k: (by_state == k).astype(np.float64) for k in present[1:]})
        # set states in which some hypothesis has a column, and where each of them stands among those
        self.slots = [np.flatnonzero([k in self.present[c] for c in self.class_of_set]) for k in range(len(self.reduced))]
        self.slot_of = np.full((len(self.reduced), self.n_set), -1)
        for k, slots in enumerate(self.slots):
            self.slot_of[k, slots] = np.arange(len(slots))
        self.assigned_class = patterns.reshape(len(patterns), n_models, self.n_still)

    def _others(self) -> None:
        """Joint likelihood of the modalities that hypotheses do not speak about and that tell something about the states."""
        model = self.model
        self.others_entropy = np.zeros((self.n_still, self.n_set))  # (B, T)
        joint: Floats | None = np.ones((self.n_set, self.n_still, 1))
        self.apart: list[Floats] = []
        for m in range(model.num_modalities):
            if m == self.modality or not set(model.A_dependencies[m]) & set(self.still):  # type: ignore[index]
                continue
            chance = self.kept[m][self.columns[m]].transpose(1, 0, 2)  # (T, B, O)
            self.others_entropy -= xlogy(chance, chance).sum(axis=2).T
            self.apart.append(chance)
            if joint is not None and joint.size * chance.shape[2] > _LARGEST_JOINT:
                joint = None  # too many joint outcomes: these modalities inform separately
            if joint is not None:
                joint = (joint[..., None] * chance[:, :, None, :]).reshape(self.n_set, self.n_still, -1)
        self.others = joint

    def _transition(self, moved: list[int], move: Ints) -> Floats:
        """Transition matrix (next, now) of the joint still states under controls ``move`` of the factors that move."""
        grid = np.indices(self.still_sizes).reshape(len(self.still), self.n_still)
        matrix = np.ones((self.n_still, self.n_still))
        for i, f in enumerate(self.still):
            deps = self.model.B_dependencies[f]  # type: ignore[index]
            control = int(move[moved.index(f)]) if f in moved else 0
            if not set(deps) <= set(self.still):
                raise ValueError(
                    f"joint reasoning needs transitions of factor {f} that do not depend on factors that actions set"
                )
            now = tuple(grid[self.still.index(d)] for d in deps)
            matrix *= self.model.B[f][(grid[i][:, None], *(x[None] for x in now), control)]
        return matrix

    # --- beliefs ---------------------------------------------------------------------------------------------------------
    def expectations(self, evidence: Floats, rate: Floats | float = 1.0) -> Expectations:
        """What follows from evidence counts ``(n_agents, n_columns, n_outcomes)`` of the modality in question."""
        out = Expectations(evidence[:, self.columns[self.modality]], rate=rate)
        for reduced, slots in zip(self.reduced, self.slots, strict=True):
            chance, entropy = _predict(out.seen[:, :, slots], reduced)
            out.chance.append(chance)
            out.entropy.append(entropy)
        return out

    def experience(self, expected: Expectations, placed: Ints, outcome: np.ndarray) -> None:
        """Count an outcome within the trial, in place: whatever the states are, it was seen in the column that they make.

        Exact where states stay as they are: given the states, a second look at a column then says less than the first, as it
        does to the evidence afterwards. Where states move, evidence is only counted when the trial is over.
        """
        if self.transitions:
            return
        soft = outcome if outcome.ndim == 2 else np.eye(expected.seen.shape[3])[outcome]
        if outcome.ndim == 1 and (outcome < 0).any():
            soft = np.where((outcome < 0)[:, None], 0.0, soft)
        if isinstance(expected.rate, np.ndarray):
            soft = expected.rate[:, None] * soft
        elif expected.rate != 1.0:
            soft = expected.rate * soft
        rows, slots = np.nonzero(self._same_column[placed])
        seen = expected.seen[rows, :, slots] + soft[rows][:, None, :]
        expected.seen[rows, :, slots] = seen
        for k, reduced in enumerate(self.reduced):
            slot = self.slot_of[k][slots]
            where = np.flatnonzero(slot >= 0)
            at = rows[where], slice(None), slot[where]
            expected.chance[k][at], expected.entropy[k][at] = _predict(seen[where], reduced)

    def begin(self, model_posterior: Floats, states: Floats | None = None) -> Floats:
        """J at the start of a trial: hypotheses ``(rows, M)`` times initial states, or given ones ``(rows, B)``."""
        b = self.initial[None] if states is None else states
        return np.asarray(b[:, :, None] * model_posterior[:, None, :])

    def move(self, joint: Floats, controls: Ints) -> Floats:
        """J one step later under controls ``(rows, n_factors)``."""
        if not self.transitions:
            return joint
        return np.matmul(self._matrices(controls), joint)

    def _matrices(self, controls: Ints) -> Floats:
        """Transition matrices of each row's controls, of recorded actions that begin no policy too ``(rows, B, B)``."""
        keys = [tuple(int(u) for u in row) for row in controls[:, self._moved]]
        for key in set(keys) - set(self._by_move):
            self._by_move[key] = self._transition(self._moved, np.array(key))
        return np.array([self._by_move[key] for key in keys]).reshape(len(keys), self.n_still, self.n_still)

    def placed(self, controls: Ints) -> Ints:
        """Joint state of the set factors after controls ``(rows, n_factors)``."""
        states = [self._dynamics.target[f][controls[:, f]] for f in self.set]  # type: ignore[index]
        return self._flat_set(np.stack(states, axis=1)) if states else np.zeros(len(controls), dtype=np.intp)

    def update(
        self, joint: Floats, expected: Expectations, placed: Ints, outcomes: Sequence[np.ndarray]
    ) -> tuple[Floats, Floats, Bools]:
        """Bayes' rule for the outcomes of all modalities ``(rows,)`` (or soft, ``(rows, O)``): new J and log evidence
        ``(rows,)``.
        """
        alive = joint.sum(axis=2) > 0
        others, shift = self._log_others(placed, outcomes, alive)
        rows, b = np.nonzero(alive & (others > -np.inf))
        own = self._by_column(expected, placed[rows], rows, b, outcomes[self.modality])
        fresh, evidence = self._updated(joint, placed, others, (rows, b), own)
        evidence = evidence + shift
        impossible = evidence == -np.inf
        if impossible.any():  # likelihoods of 0 count as e^-32: the states that are contradicted least remain
            bad = np.flatnonzero(impossible)
            some = [o[bad] for o in outcomes]
            softened, shift = self._log_others(placed[bad], some, alive[bad], LOG_FLOOR)
            rows, b = (x.reshape(-1) for x in np.indices((len(bad), self.n_still)))
            few = expected.take(bad)
            own = [np.maximum(x, _FLOOR) for x in self._by_column(few, placed[bad][rows], rows, b, some[self.modality])]
            fresh[bad], found = self._updated(joint[bad], placed[bad], softened, (rows, b), own)
            evidence[bad] = found + shift
        return fresh, evidence, impossible

    def _log_others(
        self, placed: Ints, outcomes: Sequence[np.ndarray], alive: Bools, floor: float = -np.inf
    ) -> tuple[Floats, Floats]:
        """Log likelihood ``(rows, B)`` of the modalities that hypotheses do not speak about, less its largest ``(rows,)``, in
        states with mass (``alive``): those without could dwarf them.
        """
        total = np.zeros((len(placed), self.n_still))
        for m, outcome in enumerate(outcomes):
            if m == self.modality:
                continue
            column = self.columns[m].T[placed]  # (rows, B)
            if outcome.ndim == 1:
                log, missing = self._log_kept[m][column, outcome[:, None]], outcome < 0
            else:
                with np.errstate(divide="ignore"):
                    log = np.log((self.kept[m][column] * outcome[:, None, :]).sum(axis=2))
                missing = ~(outcome > 0).any(axis=1)
            if missing.any():
                log[missing] = 0.0
            total += np.maximum(log, floor)
        total = np.where(alive, total, -np.inf)
        top = total.max(axis=1)
        shift = np.where(top == -np.inf, 0.0, top)
        return total - shift[:, None], shift

    def _by_column(self, expected: Expectations, placed: Ints, rows: Ints, b: Ints, outcome: np.ndarray) -> list[Floats]:
        """Likelihood of the outcome in each distinct reduced column, at entries (row, state) ``(entries,)``."""
        out = []
        missing = outcome < 0 if outcome.ndim == 1 else ~(outcome > 0).any(axis=1)
        for chance, slot in zip(expected.chance, self.slot_of, strict=True):
            here = chance[rows, b, slot[placed]]  # where no hypothesis has it any other will do: it is not used
            seen = here[np.arange(len(rows)), outcome[rows]] if outcome.ndim == 1 else (here * outcome[rows]).sum(axis=1)
            if missing.any():
                seen[missing[rows]] = 1.0
            out.append(seen)
        return out

    def _updated(
        self, joint: Floats, placed: Ints, others: Floats, at: tuple[Ints, Ints], own: list[Floats]
    ) -> tuple[Floats, Floats]:
        """J after likelihoods, and log evidence; -inf where nothing is possible. Nothing has mass but at entries ``at``."""
        rows, b = at
        values = joint[at]  # (entries, M)
        values *= np.exp(others[at])[:, None]
        classes = self.class_of_set[placed[rows]]
        for c in np.unique(classes):
            here = np.flatnonzero(classes == c)
            first, *rest = self.present[c]
            factor = own[first][here][:, None]
            for k in rest:
                factor = factor + self.has[c][k][b[here]] * (own[k][here] - own[first][here])[:, None]
            values[here] *= factor
        mass = np.bincount(rows, values.sum(axis=1), len(joint))
        with np.errstate(divide="ignore"):
            evidence = np.log(mass)
        out = np.zeros_like(joint)
        out[at] = values / np.where(mass > 0, mass, 1.0)[rows][:, None]
        return out, evidence

    def weigh(self, joint: Floats, placed: Ints, by_column: list[Floats]) -> Floats:
        """J times, for each hypothesis, the likelihood ``(rows, B)`` of the column that it has at each state; in place."""
        classes = self.class_of_set[placed]
        for c in np.unique(classes):
            here = np.flatnonzero(classes == c)
            first, *rest = self.present[c]
            factor = by_column[first][here][:, :, None]
            for k in rest:
                factor = factor + self.has[c][k] * (by_column[k][here] - by_column[first][here])[:, :, None]
            joint[here] *= factor
        return joint

    def smooth(self, filtered: list[Floats], controls: list[Ints]) -> list[Floats]:
        """Beliefs at every time given the whole trial: from filtered J and the controls between them."""
        if not self.transitions:
            return [filtered[-1]] * len(filtered)
        out = [filtered[-1]]
        for joint, control in zip(filtered[-2::-1], controls[::-1], strict=True):
            matrices = self._matrices(control)
            predicted = np.matmul(matrices, joint)
            ratio = np.divide(out[0], predicted, out=np.zeros_like(predicted), where=predicted > 0)
            out.insert(0, joint * np.matmul(matrices.transpose(0, 2, 1), ratio))
        return out

    def marginals(self, joint: Floats, placed: Ints) -> Belief:
        """Factor marginals of J, with the set factors known."""
        states = joint.sum(axis=2).reshape(len(joint), *self.still_sizes)
        marginals: list[Floats | None] = [None] * self.model.num_factors
        known: list[Ints | None] = [None] * self.model.num_factors
        for i, f in enumerate(self.still):
            others = tuple(k + 1 for k in range(len(self.still)) if k != i)
            marginals[f] = np.ascontiguousarray(states.sum(axis=others))
        for f, state in zip(self.set, np.unravel_index(placed, self.set_sizes) if self.set else (), strict=True):
            known[f] = state
        return Belief(marginals, known, self.model.num_states)

    def structure_gain(self, model_posterior: Floats) -> Floats:
        """Entropy of what the hypotheses together say about each joint state ``(rows, B)``: what could be learned from it."""
        patterns = self.assigned_class.transpose(2, 1, 0)  # (B, M, classes)
        gain = np.zeros((len(model_posterior), self.n_still))
        for b, pattern in enumerate(patterns):
            _, which = np.unique(pattern, axis=0, return_inverse=True)
            member = np.eye(which.max() + 1)[which.reshape(-1)]
            chance = np.matmul(model_posterior[:, None, :], member)[:, 0]
            gain[:, b] = -xlogy(chance, chance).sum(axis=1)
        return gain


def _predict(seen: Floats, reduced: Floats) -> tuple[Floats, Floats]:
    """Probabilities of outcomes ``(..., O)`` under a reduced prior after evidence, and their entropies."""
    # outcome by outcome: they are few
    counts = [seen[..., o] + reduced[o] for o in range(seen.shape[-1])]
    total = counts[0]
    for count in counts[1:]:
        total = total + count
    chance, entropy = np.empty(seen.shape), np.zeros(total.shape)
    for o, count in enumerate(counts):
        p = count / total
        chance[..., o] = p
        entropy -= p * np.log(np.maximum(p, _FLOOR))
    return chance, entropy
