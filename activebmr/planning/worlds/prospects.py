"""What policies promise to agents that believe in worlds: utility, and exact gains about states, models and parameters.

    model   I(M; O) = H[sum_m w_m P_m(o)] - sum_m w_m H[P_m(o)]           models of all worlds together
    state   I(S; O | M) = sum_m w_m (H[P_m(o)] - sum_s q_m(s) H[A_m(. | s)])
    param   sum_m w_m E_m[W]: information that outcomes and moves give about columns of A and B, and first states about D

O are the outcomes of all modalities together, or each by itself, summed. Given a model the components of a world are
independent: its outcomes are distributed as a product over them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from math import prod

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.dirichlet import kl_divergence
from activebmr.inference.worlds.world import World
from activebmr.planning.evaluation import Terms
from activebmr.planning.worlds.histories import Histories, moved
from activebmr.planning.worlds.thoughts import Columns, Thoughts

__all__ = ["LARGEST", "Prospects", "plogp"]

LARGEST = 2**16
"""Joint outcomes of one pair of agent and model beyond which modalities inform separately."""
_AT_ONCE = 2**22  # numbers held at a time


class Prospects:
    """What the policies of one world promise.

    Args:
        world: the world.
        policies: controls of its factors ``(n_policies, n_steps, n_factors)``.
        gains: which gains are wanted.
        together: whether modalities inform together.
        whole: whether all components count for the gain about models, not only those in which its models differ (where other
            worlds are to be compared with).
    """

    def __init__(self, world: World, policies: Ints, gains: Sequence[str], together: bool, whole: bool) -> None:
        self.world, self.gains, self.together = world, gains, together
        self.histories = [Histories(c, policies) for c in world.components]
        self.compared = [whole or t for t in world.touched]
        tells = [[m for m in c.modalities if m in c.telling or self._differs(m)] for c in world.components]
        self.telling = [list(c.modalities) if whole else ms for c, ms in zip(world.components, tells, strict=True)]
        outcomes = world.model.num_outcomes
        self.joint = [m for ms, compared in zip(self.telling, self.compared, strict=True) for m in ms if compared]
        size = prod(outcomes[m] for m in self.joint)
        each = [prod(outcomes[m] for m in ms) for ms in self.telling]
        if together and max(size, *each, 1) > LARGEST:
            self.together = False
            names = [world.model.labels["modality"][m] for m in self.joint][:4]
            warnings.warn(
                f"modalities {names}... inform separately here, their gains are summed: they have {max(size, *each):.3g} joint "
                f"outcomes, more than {LARGEST} (Planner(modalities='separate') does so without this warning)",
                stacklevel=3,
            )
        self.steps = policies.shape[1]

    def _differs(self, modality: int) -> bool:
        source = self.world.source("A", modality)
        return source.by_model or source.by_agent

    @cached_property
    def width(self) -> int:
        """About how many numbers one pair of agent and model needs."""
        outcomes = self.world.model.num_outcomes
        each = [
            c.n_hidden * (c.n_hidden + (prod(outcomes[m] for m in ms) if self.together else max(outcomes)))
            for c, ms in zip(self.world.components, self.telling, strict=True)
        ]
        joint = prod(outcomes[m] for m in self.joint) if self.together else max(outcomes)
        return max(*each, joint)

    # --- policies ----------------------------------------------------------------------------------------------------------
    def look(
        self,
        thoughts: Thoughts,
        columns: Columns,
        wanted: Sequence[Sequence[Floats]],
        n_policies: int,
        gains: Sequence[str],
    ) -> tuple[Terms, list[list[list[Node]]]]:
        """Terms of every policy, summed over as many steps as there are preferences for, without the gain about models; and per
        step and component what is expected of each of its histories.
        """
        terms = Terms.zeros(thoughts.rows, n_policies)
        expected: list[list[list[Node]]] = []
        q = [[x] for x in thoughts.q]
        origins = {f: [x] for f, x in thoughts.origins.items()} if "param" in gains else {}
        known = [[k] for k in thoughts.known]
        for h, wants in enumerate(wanted):
            nodes: list[list[Node]] = []
            for i in range(len(self.world.components)):
                start = known[i]
                mine, q[i], known[i] = self._level(i, h, thoughts, columns, q[i], known[i], wants, gains)
                for f in origins:
                    if self.world.home[f] == i:
                        origins[f] = self._begun(f, h, thoughts, columns, origins[f], start, known[i], mine)
                of_policy = self.histories[i].levels[h].of_policy
                for name in ("utility", "state", "param"):
                    each = np.stack([getattr(n, name) for n in mine], axis=1)
                    getattr(terms, name)[:] += each[:, of_policy]
                nodes.append(mine)
            expected.append(nodes)
        return terms, expected

    def _level(
        self,
        i: int,
        h: int,
        thoughts: Thoughts,
        columns: Columns,
        before: list[Floats],
        known_before: list[Ints],
        wanted: Sequence[Floats],
        gains: Sequence[str],
    ) -> tuple[list[Node], list[Floats], list[Ints]]:
        level, c = self.histories[i].levels[h], self.world.components[i]
        nodes, after, known_after = [], [], []
        led: dict[tuple[int, int], Floats] = {}  # histories that differ in known factors alone move hidden ones alike
        for j, parent in enumerate(level.parent):
            q, known = before[parent], known_before[parent]
            then = c.known_next[int(level.known_code[j]), known] if c.known else known
            way = int(parent), int(level.hidden_code[j])
            if way not in led:
                led[way] = self.predict(i, thoughts, columns, q, known, way[1])
            now = led[way]
            node = self.node(i, thoughts, columns, now, then, wanted)
            if "param" in gains:
                node.param += self._novelty_of_moves(i, thoughts, columns, q, known, level.controls[j], now)
                node.param += self._novelty_of_outcomes(i, thoughts, columns, now, then)
            nodes.append(node)
            after.append(now)
            known_after.append(then)
        return nodes, after, known_after

    def _begun(
        self,
        f: int,
        h: int,
        thoughts: Thoughts,
        columns: Columns,
        before: list[Floats],
        known_before: list[Ints],
        known: list[Ints],
        nodes: list[Node],
    ) -> list[Floats]:
        """Where a factor began, together with where its component is one step later; what outcomes then say about that is
        added to the nodes.
        """
        i = self.world.home[f]
        level, out = self.histories[i].levels[h], []
        row, agents, models = self.units(i, thoughts)
        for j, parent in enumerate(level.parent):
            joint = self.predict_origin(i, thoughts, columns, before[parent], known_before[parent], int(level.hidden_code[j]))
            counts = columns.counts("D", f, agents, models)
            for ms in ([self.telling[i]] if self.together else [[m] for m in self.telling[i]]) if self.telling[i] else []:
                likelihood = self.likelihood(i, ms, thoughts, columns, known[j], slice(None))
                nodes[j].param += self._sum(i, thoughts, information_about_starts(joint, likelihood, counts))
            out.append(joint)
        return out

    def units(self, i: int, thoughts: Thoughts) -> tuple[Ints, Ints, Ints]:
        """Row, agent and model of each unit that a component has beliefs for."""
        if self.world.touched[i]:
            return thoughts.row, thoughts.agents[thoughts.row], thoughts.model
        rows = np.arange(thoughts.rows)
        return rows, thoughts.agents, np.zeros(thoughts.rows, dtype=np.intp)

    def predict(self, i: int, thoughts: Thoughts, columns: Columns, q: Floats, known: Ints, code: int | Ints) -> Floats:
        """Beliefs of a component's units one step later; ``code``: of the hidden factors' controls, for all rows or of each."""
        row, agents, models = self.units(i, thoughts)
        codes = code if np.ndim(code) == 0 else np.asarray(code)[row]
        return moved(self.world.movers[i], columns, q, agents, models, codes, known[row])

    def predict_origin(
        self, i: int, thoughts: Thoughts, columns: Columns, joint: Floats, known: Ints, code: int | Ints
    ) -> Floats:
        """`predict` for where a factor of the component began together with where it is ``(units, S_f, n_hidden)``."""
        row, agents, models = self.units(i, thoughts)
        codes = np.broadcast_to(code, thoughts.rows)[row]
        flat, n = joint.reshape(-1, joint.shape[2]), joint.shape[1]
        agents, models, codes, known = (np.repeat(x, n) for x in (agents, models, codes, known[row]))
        return moved(self.world.movers[i], columns, flat, agents, models, codes, known).reshape(joint.shape)

    def node(self, i: int, thoughts: Thoughts, columns: Columns, q: Floats, known: Ints, wanted: Sequence[Floats]) -> Node:
        """What is expected of a component whose units believe ``q``."""
        utility, state = np.zeros(thoughts.rows), np.zeros(thoughts.rows)
        chances: dict[int, Floats] = {}
        for m in self.world.components[i].modalities:
            chances[m] = self._expected(i, m, thoughts, columns, q, known)
            utility += self._utility(i, thoughts, chances[m], wanted[m])
        bundles = [self.telling[i]] if self.together else [[m] for m in self.telling[i]]
        expected, entropy = [], []
        asked = "state" in self.gains or ("model" in self.gains and self.compared[i])
        for ms in bundles if self.telling[i] and asked else []:
            chance = chances[ms[0]] if len(ms) == 1 else self._joint(i, ms, thoughts, columns, q, known)
            doubt = -plogp(chance)
            if "state" in self.gains and any(m in self.world.components[i].telling for m in ms):
                noise = sum(self._noise(i, m, thoughts, columns, q, known) for m in ms)
                state += self._sum(i, thoughts, np.maximum(doubt - noise, 0.0))
            if self.compared[i]:
                expected.append(chance)
                entropy.append(doubt)
        return Node(utility, state, np.zeros(thoughts.rows), expected, entropy)

    # --- parts -------------------------------------------------------------------------------------------------------------
    def _sum(self, i: int, thoughts: Thoughts, values: Floats) -> Floats:
        """Expectations over models ``(rows,)`` of what units have ``(units,)``."""
        if not self.world.touched[i]:
            share = thoughts.total(thoughts.weight)
            return values * share
        return thoughts.total(thoughts.weight * values)

    def _expected(self, i: int, m: int, thoughts: Thoughts, columns: Columns, q: Floats, known: Ints) -> Floats:
        """Probabilities of a modality's outcomes ``(units, O_m)``."""
        reads = self.world.reads[i][m]
        row, agents, models = self.units(i, thoughts)
        at = reads.known[known[row]][:, None] + reads.distinct
        return np.matmul(reads.seen(q)[:, None], columns.at("table", "A", m, agents, models, at))[:, 0]

    def _joint(self, i: int, ms: list[int], thoughts: Thoughts, columns: Columns, q: Floats, known: Ints) -> Floats:
        """Probabilities of joint outcomes of modalities ``(units, n)``, the last fastest."""
        row, _, _ = self.units(i, thoughts)
        size = prod(self.world.model.num_outcomes[m] for m in ms) * q.shape[1]
        out = np.empty((len(q), size // q.shape[1]))
        step = max(1, _AT_ONCE // size)
        for a in range(0, len(q), step):
            part = slice(a, a + step)
            out[part] = np.matmul(q[part][:, None], self.likelihood(i, ms, thoughts, columns, known, part))[:, 0]
        return out

    def likelihood(
        self, i: int, ms: list[int], thoughts: Thoughts, columns: Columns, known: Ints, part: slice | Ints
    ) -> Floats:
        """Probabilities of joint outcomes in each hidden state ``(units, n_hidden, n)``, of some units."""
        row, agents, models = (x[part] for x in self.units(i, thoughts))
        out: Floats | None = None
        for m in ms:
            reads = self.world.reads[i][m]
            at = reads.known[known[row]][:, None] + reads.hidden
            chance = columns.at("table", "A", m, agents, models, at)
            if out is None:
                out = chance
                continue
            n = out.shape[2] * chance.shape[2]  # not left to be found out: of a world that is refuted no units are left
            out = (out[..., None] * chance[:, :, None, :]).reshape(*chance.shape[:2], n)
        assert out is not None
        return out

    def _noise(self, i: int, m: int, thoughts: Thoughts, columns: Columns, q: Floats, known: Ints) -> Floats:
        """Expected entropy of a modality's outcome given the state ``(units,)``."""
        reads = self.world.reads[i][m]
        row, agents, models = self.units(i, thoughts)
        at = reads.known[known[row]][:, None] + reads.distinct
        return (reads.seen(q) * columns.at("entropy", "A", m, agents, models, at)).sum(axis=1)

    def _utility(self, i: int, thoughts: Thoughts, chance: Floats, wanted: Floats) -> Floats:
        if wanted.ndim == 1 and (wanted == wanted[0]).all():
            return np.asarray(float(wanted[0]) * thoughts.total(thoughts.weight))
        row, _, _ = self.units(i, thoughts)
        each = wanted[row] if wanted.ndim == 2 else wanted
        return self._sum(i, thoughts, (np.where(chance > 0, each, 0.0) * chance).sum(axis=1))

    def _novelty_of_outcomes(self, i: int, thoughts: Thoughts, columns: Columns, q: Floats, known: Ints) -> Floats:
        total = np.zeros(thoughts.rows)
        row, agents, models = self.units(i, thoughts)
        for m in self.world.components[i].modalities:
            if not self.world.source("A", m).curious:
                continue
            reads = self.world.reads[i][m]
            at, seen = reads.known[known[row]][:, None] + reads.distinct, reads.seen(q)
            total += self._sum(i, thoughts, self._gain("A", m, columns, agents, models, at, seen))
        return total

    def _novelty_of_moves(
        self, i: int, thoughts: Thoughts, columns: Columns, q: Floats, known: Ints, controls: Ints, after: Floats
    ) -> Floats:
        total = np.zeros(thoughts.rows)
        row, agents, models = self.units(i, thoughts)
        mover = self.world.movers[i]
        for f in self.world.components[i].hidden:
            if not self.world.source("B", f).curious:
                continue
            reads = mover.reads[f]
            at = reads.known[known[row]][:, None] + (reads.distinct + controls[f])
            total += self._sum(i, thoughts, self._gain("B", f, columns, agents, models, at, reads.seen(q)))
        return total

    def _gain(self, kind: str, index: int, columns: Columns, agents: Ints, models: Ints, at: Ints, seen: Floats) -> Floats:
        """Expected information about the columns of a table ``(units,)``: as outcomes and columns go together or, where
        modalities inform separately, as if they were independent (SPM, pymdp).
        """
        if self.together:
            return (seen * columns.at("gain", kind, index, agents, models, at)).sum(axis=1)
        expected = np.matmul(seen[:, None], columns.at("table", kind, index, agents, models, at))[:, 0]
        novelty = np.matmul(seen[:, None], columns.at("novelty", kind, index, agents, models, at))[:, 0]
        return (expected * novelty).sum(axis=1)


class Node:
    """What one history of a component promises.

    Attributes:
        utility, state, param: ``(rows,)``.
        expected, entropy: per bundle of modalities the probabilities of their joint outcomes ``(units, n)`` and the entropy of
            these ``(units,)``, where models are compared.
    """

    __slots__ = ("entropy", "expected", "param", "state", "utility")

    def __init__(self, utility: Floats, state: Floats, param: Floats, expected: list[Floats], entropy: list[Floats]) -> None:
        self.utility, self.state, self.param = utility, state, param
        self.expected, self.entropy = expected, entropy


def information_about_starts(joint: Floats, likelihood: Floats, counts: Floats) -> Floats:
    """Information, nats, that an outcome is expected to give about the probabilities of initial states ``(units,)``: what
    counting these as they are then believed in teaches more than counting them as they are believed in now,
    ``E_o KL[Dir(d + p(s_1 | o)) || Dir(d)] - KL[Dir(d + p(s_1)) || Dir(d)]``.

    Args:
        joint: probabilities of initial states and hidden joint states of now ``(units, S_f, n_hidden)``.
        likelihood: of outcomes in each of the latter ``(units, n_hidden, n)``.
        counts: d ``(units, S_f)``.
    """
    both = np.matmul(joint, likelihood).swapaxes(1, 2)  # (units, n, S_f)
    chance = both.sum(axis=2)
    after = both / np.where(chance > 0, chance, 1.0)[..., None]
    # (sums run in one order in any batch)
    taught = np.ascontiguousarray(chance * _divergence(counts[:, None], after)).sum(axis=1)
    return np.maximum(taught - _divergence(counts, joint.sum(axis=2)), 0.0)


def _divergence(counts: Floats, more: Floats) -> Floats:
    """KL divergence of Dirichlet distributions, of counts and ``more`` from counts alone, over the last axis."""
    shape = np.broadcast_shapes(counts.shape, more.shape)
    held = np.ascontiguousarray(np.moveaxis(np.broadcast_to(counts, shape), -1, 0))
    added = np.where(held > 0, np.ascontiguousarray(np.moveaxis(np.broadcast_to(more, shape), -1, 0)), 0.0)
    return kl_divergence(held + added, held, floor=0.0)


def plogp(p: Floats) -> Floats:
    """sum p log p over the last axis."""
    return np.asarray((p * np.log(np.maximum(p, 1e-300))).sum(axis=-1))
