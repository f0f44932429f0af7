"""Reasoning about hypotheses and hidden states *together*: exact beliefs, exact information gain, exact smoothing.

A belief here is the joint posterior over hypotheses and states, J(b, m): b runs over the joint states of all factors that no
action sets, m over the distinct hypotheses. Hypothesis m predicts outcome o in column c with probability
(n + r_m)[o, c] / sum, n being the evidence so far and r_m its reduced prior. Hypotheses share few distinct columns, so what any
policy would show follows from sums of J over the hypotheses that agree, not from each hypothesis by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import xlogy

from activebmr.beliefs import Belief
from activebmr.dirichlet import LOG_FLOOR
from activebmr.efe import Terms
from activebmr.hypotheses import HypothesisSpace
from activebmr.layout import dynamics_of, layouts_of
from activebmr.models import POMDP
from activebmr.sparse import Floats, Ints

__all__ = ["Expectations", "JointReasoner", "Reasoning", "joint_size"]

_FLOOR = float(np.exp(LOG_FLOOR))
_ROWS_AT_ONCE = 512  # rows of a search looked into together, for memory's sake


@dataclass(frozen=True)
class Reasoning:
    """Settings of joint reasoning.

    Attributes:
        max_size: largest number of hypotheses x joint states per agent for which the joint posterior is kept; beyond it the
            agent falls back to factor marginals, and says so in a warning.
        lookahead: further steps that the gain is expected over, 0 for none. Each step multiplies the work by the
            policies and outcomes worth looking into.
        policy_cutoff: policies whose value is this many nats below the best one's are not looked into.
        evidence: what the posterior over hypotheses is carried from trial to trial by: ``"joint"``, exactly, by the joint
            posterior itself; or ``"counts"``, by model reduction of the counts that the trial added (agents who have adopted a
            hypothesis always use the counts).
        outcome_cutoff: outcomes less probable than this are not looked into.
        discount: what a gain one step later is worth, in (0, 1]; a little below 1, so that nothing is put off for ever that can
            be learned now.
    """

    max_size: int = 1_000_000
    lookahead: int = 0
    policy_cutoff: float = 0.05
    outcome_cutoff: float = 1e-12
    discount: float = 0.99
    evidence: str = "joint"

    def __post_init__(self) -> None:
        for name in ("max_size", "lookahead"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 0:
                raise ValueError(f"{name} of Reasoning must be a whole number >= 0; got {value!r}")
        if not self.policy_cutoff >= 0:
            raise ValueError(f"policy_cutoff of Reasoning must be >= 0 nats; got {self.policy_cutoff}")
        if not 0 <= self.outcome_cutoff < 1:
            raise ValueError(f"outcome_cutoff of Reasoning must lie in [0, 1); got {self.outcome_cutoff}")
        if self.evidence not in ("joint", "counts"):
            raise ValueError(f"evidence of Reasoning must be 'joint' or 'counts'; got {self.evidence!r}")
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount of Reasoning must lie in (0, 1]; got {self.discount}")


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
        chance: per distinct reduced column the probabilities of outcomes ``(n_agents, B, T, n_outcomes)``.
        entropy: their entropies ``(n_agents, B, T)``.
    """

    seen: Floats
    chance: list[Floats] = field(default_factory=list)
    entropy: list[Floats] = field(default_factory=list)

    def take(self, rows: Ints) -> Expectations:
        return Expectations(self.seen[rows], [c[rows] for c in self.chance], [h[rows] for h in self.entropy])


class JointReasoner:
    """Beliefs J ``(rows, B, M)`` of agents that share a model and a space of hypotheses about one of its modalities.

    B joint states of the factors that no action sets (in C order of `still`), M distinct hypotheses, T joint states of the set
    factors. Policies must have one step.

    Raises:
        ValueError: if hypotheses speak about more than one modality, or a set factor's initial state is uncertain.
    """

    def __init__(self, model: POMDP, space: HypothesisSpace, offset: float, rate: float = 1.0) -> None:
        if len(space.tables) != 1:
            raise ValueError(f"joint reasoning needs hypotheses about one modality; these speak about {sorted(space.tables)}")
        known = [m for m in model.learned_modalities if m not in space.tables]
        if known:
            raise ValueError(f"joint reasoning learns only what the hypotheses are about: pA[{known[0]}] must be None")
        if model.policy_length != 1:
            raise ValueError(f"joint reasoning needs policies of one step; these have {model.policy_length}")
        self.model, self.space, self.rate = model, space, rate
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
        self._kept = [layouts_of(model)[m].keep(a) for m, a in enumerate(model.A)]  # likelihoods, columns as kept
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
        self.assigned_class = patterns.reshape(len(patterns), n_models, self.n_still)

    def _others(self) -> None:
        """Joint likelihood of the modalities that hypotheses do not speak about and that tell something about the states."""
        model = self.model
        joint = np.ones((self.n_set, self.n_still, 1))
        for m in range(model.num_modalities):
            if m == self.modality or not set(model.A_dependencies[m]) & set(self.still):  # type: ignore[index]
                continue
            chance = self._kept[m][self.columns[m]].transpose(1, 0, 2)  # (T, B, O)
            joint = (joint[..., None] * chance[:, :, None, :]).reshape(self.n_set, self.n_still, -1)
        self.others = joint
        self.others_entropy = -xlogy(joint, joint).sum(axis=2).T  # (B, T)

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
    def expectations(self, evidence: Floats) -> Expectations:
        """What follows from evidence counts ``(n_agents, n_columns, n_outcomes)`` of the modality in question."""
        out = Expectations(evidence[:, self.columns[self.modality]])
        for reduced in self.reduced:
            chance, entropy = _predict(out.seen, reduced)
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
        rows, slots = np.nonzero(self._same_column[placed])
        seen = expected.seen[rows, :, slots] + self.rate * soft[rows][:, None, :]
        expected.seen[rows, :, slots] = seen
        for k, reduced in enumerate(self.reduced):
            expected.chance[k][rows, :, slots], expected.entropy[k][rows, :, slots] = _predict(seen, reduced)

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
    ) -> tuple[Floats, Floats]:
        """Bayes' rule for the outcomes of all modalities ``(rows,)`` (or soft, ``(rows, O)``): new J and log evidence
        ``(rows,)``.
        """
        rows = np.arange(len(joint))
        likelihood = np.ones((len(joint), self.n_still))
        for m, outcome in enumerate(outcomes):
            if m == self.modality:
                continue
            a, column = self._kept[m], self.columns[m][:, placed].T  # column: (rows, B)
            chance = a[column, outcome[:, None]] if outcome.ndim == 1 else (a[column] * outcome[:, None, :]).sum(axis=2)
            likelihood *= np.maximum(chance, _FLOOR)
        by_column = []
        for chance in expected.chance:
            here = chance[rows, :, placed]  # (rows, B, O)
            outcome = outcomes[self.modality]
            seen = here[rows, :, outcome] if outcome.ndim == 1 else (here * outcome[:, None, :]).sum(axis=2)
            by_column.append(np.maximum(seen, _FLOOR))
        joint = self._weigh(joint * likelihood[:, :, None], placed, by_column)
        total = joint.reshape(len(joint), -1).sum(axis=1)
        return joint / total[:, None, None], np.log(total)

    def _weigh(self, joint: Floats, placed: Ints, by_column: list[Floats]) -> Floats:
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

    # --- policies --------------------------------------------------------------------------------------------------------
    def terms(
        self, joint: Floats, expected: Expectations, log_preferences: Sequence[Floats], novelty: Floats | None = None
    ) -> Terms:
        """Utility and exact gains of all policies. ``state`` is I(S; O), ``model`` is I(M; O | S): their sum is I(M, S; O).

        ``param`` is the expectation of the information gain W of single columns, if given as ``novelty`` (rows, columns,
        outcomes).
        """
        rows, n_policies = len(joint), len(self.model.policies)
        terms = Terms(*(np.zeros((rows, n_policies)) for _ in range(4)))
        for move in range(max(1, len(self.moves))):
            policies = np.flatnonzero(self.policy_move == move)
            after = np.matmul(self.transitions[move], joint) if self.transitions else joint
            foreseen, states, ambiguity = self._foreseen(after, expected)
            state, model = self._information(foreseen, states, ambiguity)
            utility = self._utility(foreseen, states, log_preferences)
            at = self.policy_set[policies]
            if novelty is not None:
                param = (foreseen * novelty[:, self.columns[self.modality]]).sum(axis=(1, 3))
                terms.param[:, policies] = param[:, at]
            terms.state[:, policies], terms.model[:, policies] = state[:, at], model[:, at]
            terms.utility[:, policies] = utility[:, at]
        return terms

    def _foreseen(self, joint: Floats, expected: Expectations) -> tuple[Floats, Floats, Floats]:
        """P(b, o) for every set state ``(rows, B, T, O)``, P(b) ``(rows, B)``, and E[H[O | m, s]] ``(rows, T)`` of the
        modality.
        """
        states = joint.sum(axis=2)
        shape = expected.chance[0].shape
        foreseen, ambiguity = np.empty(shape), np.empty((shape[0], shape[2]))
        for c, (first, *rest) in enumerate(self.present):
            at = np.flatnonzero(self.class_of_set == c)
            share = {k: (joint * self.has[c][k]).sum(axis=2) for k in rest}
            base = states
            for k in rest:
                base = base - share[k]
            share[first] = np.maximum(base, 0.0)
            part, doubt = 0.0, 0.0
            for k, g in share.items():
                part = part + g[:, :, None, None] * expected.chance[k][:, :, at]
                doubt = doubt + (g[:, :, None] * expected.entropy[k][:, :, at]).sum(axis=1)
            foreseen[:, :, at], ambiguity[:, at] = part, doubt
        return foreseen, states, ambiguity

    def _information(self, foreseen: Floats, states: Floats, ambiguity: Floats) -> tuple[Floats, Floats]:
        """I(S; O) and I(M; O | S) for every set state ``(rows, T)``."""
        others_entropy = np.matmul(states[:, None, :], self.others_entropy)[:, 0]
        # outcomes of all modalities together: (rows, T, O, others)
        together = np.matmul(foreseen.transpose(0, 2, 3, 1), self.others)
        surprise = -(together * np.log(np.maximum(together, _FLOOR))).sum(axis=(2, 3))
        given = np.maximum(states, 1e-300)[:, :, None, None]
        by_state = -(foreseen * np.log(np.maximum(foreseen / given, _FLOOR))).sum(axis=(1, 3))
        state_gain = np.maximum(surprise - by_state - others_entropy, 0.0)
        model_gain = np.maximum(by_state - ambiguity, 0.0)
        return state_gain, model_gain

    def _utility(self, foreseen: Floats, states: Floats, log_preferences: Sequence[Floats]) -> Floats:
        """Expected log preference of the outcomes of all modalities for every set state ``(rows, T)``."""
        utility = np.zeros((len(states), self.n_set))
        for m, c in enumerate(log_preferences):
            if not (c != c[0]).any():
                utility += c[0]
            elif m == self.modality:
                utility += (foreseen.sum(axis=1) * c).sum(axis=2)
            else:
                worth = (self._kept[m] * c).sum(axis=1)[self.columns[m]]
                utility += np.matmul(states[:, None, :], worth)[:, 0]
        return utility

    def look_ahead(
        self,
        joint: Floats,
        expected: Expectations,
        value: Floats,
        settings: Reasoning,
        worth: Callable[..., Floats],
        step: int = 1,
    ) -> Floats:
        """Add to each promising policy what the best continuation is expected to be worth, over the outcomes that it may have.

        Args:
            joint, expected: beliefs of the rows.
            value: worth of each policy by itself ``(rows, n_policies)``.
            settings: how far to look, and what is worth looking into.
            worth: from beliefs, expectations and how many steps ahead they lie to the worth of policies by themselves.
            step: how many steps ahead the continuations lie.

        Returns:
            the worth of policies; those not looked into keep a value below the others.
        """
        best = value.max(axis=1, keepdims=True)
        kept = value >= best - settings.policy_cutoff
        rows, policies = np.nonzero(kept)
        out = value.copy()
        for k in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(k, k + _ROWS_AT_ONCE)
            more = self._continuations(joint[rows[part]], expected.take(rows[part]), policies[part], settings, worth, step)
            out[rows[part], policies[part]] += settings.discount * more
        # what is not looked into stays below all that is
        least = np.where(kept, out, np.inf).min(axis=1, keepdims=True)
        return np.where(kept, out, least - 1.0 - (best - value))

    def _continuations(
        self,
        joint: Floats,
        expected: Expectations,
        policies: Ints,
        settings: Reasoning,
        worth: Callable[..., Floats],
        step: int,
    ) -> Floats:
        """Expected worth of the best policy after each row's policy has shown its outcome."""
        if self.transitions:
            joint = np.matmul(np.stack(self.transitions)[self.policy_move[policies]], joint)
        placed = self.policy_set[policies]
        rows = np.arange(len(joint))
        foreseen = self._foreseen(joint, expected)[0][rows, :, placed]  # (rows, B, O)
        chance = np.matmul(foreseen.transpose(0, 2, 1), self.others[placed])  # (rows, O, others)
        likeliest = chance.reshape(len(chance), -1).max(axis=1)[:, None, None]
        row, outcome, other = np.nonzero(chance > np.minimum(settings.outcome_cutoff, 0.5 * likeliest))
        after = joint[row] * self.others[placed[row], :, other][:, :, None]
        by_column = [c[row, :, placed[row], outcome] for c in expected.chance]
        after = self._weigh(after, placed[row], by_column)
        after /= after.reshape(len(after), -1).sum(axis=1)[:, None, None]
        later = expected.take(row)
        self.experience(later, placed[row], outcome)
        value = worth(after, later, step)
        if settings.lookahead > 1:
            value = self.look_ahead(after, later, value, replace(settings, lookahead=settings.lookahead - 1), worth, step + 1)
        weight = chance[row, outcome, other]
        total = np.bincount(row, weights=weight, minlength=len(joint))
        return np.bincount(row, weights=weight * value.max(axis=1), minlength=len(joint)) / total

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
    chance = seen + reduced
    total = chance[..., 0].copy()
    for o in range(1, chance.shape[-1]):
        total += chance[..., o]
    chance /= total[..., None]
    surprise = chance * np.log(np.maximum(chance, _FLOOR))
    entropy = -surprise[..., 0]
    for o in range(1, chance.shape[-1]):
        entropy = entropy - surprise[..., o]
    return chance, entropy
