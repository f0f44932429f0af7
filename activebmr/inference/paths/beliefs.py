"""`PathBeliefs`: variational message passing along the paths of all policies, and what is learned from where it ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Bools, Floats, Ints
from activebmr.inference.paths.climbing import Climber, Route, short_softmax
from activebmr.inference.paths.lessons import expected_transitions, learned, likelihood_lessons, moved
from activebmr.inference.paths.likelihoods import joint_likelihood, state_likelihood
from activebmr.inference.paths.settings import PathSettings
from activebmr.inference.paths.state import Ascent, PathCounts, Paths
from activebmr.inference.paths.transitions import TINY, outer
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.pomdp import POMDP

__all__ = ["PathBeliefs"]

_ALWAYS_FROM = 4  # from the fifth sweep on beliefs always move (SPM)
_LARGEST = 1_000_000  # joint states x joint outcomes that fit


class PathBeliefs(Climber):
    """Beliefs along paths.

    Args:
        model: any model; policies of ``settings.policies == "trial"`` must have one step less than the trial has outcomes.
        trial_length: number of outcomes in a trial.
        settings: None: those of 2017, `PathSettings.curiosity`.

    Raises:
        ValueError: if the model does not fit, or its joint states and outcomes are too many.
    """

    def __init__(self, model: POMDP, trial_length: int | None, settings: PathSettings | None = None) -> None:
        settings = PathSettings.curiosity() if settings is None else settings
        if trial_length is None:
            raise ValueError("trial_length of Agent must be given for message passing, which ends with the trial")
        if settings.policies == "trial" and model.policy_length != trial_length - 1:
            raise ValueError(
                f"policies of a whole trial of {trial_length} outcomes must have {trial_length - 1} steps for message passing "
                f"along paths; got {model.policy_length}"
            )
        size = int(np.prod(model.num_states)) * int(np.prod(model.num_outcomes))
        if size > _LARGEST:
            raise ValueError(f"joint states x joint outcomes must be at most {_LARGEST} for message passing; got {size}")
        super().__init__(model, settings)
        self.trial_length = trial_length

    # --- an outcome ----------------------------------------------------------------------------------------------------
    def take_in(
        self, paths: Paths, tables: Sequence[KnownTable | CountTable], controls: Ints | None, outcomes: list[np.ndarray]
    ) -> Ascent:
        """Take in what was done, if anything, and then seen: the beliefs of every policy; changes ``paths``."""
        if paths.joint is None:
            paths.joint = joint_likelihood(self.model, tables, self.settings.quirks)
        self._expect(paths)
        if controls is not None:
            paths.controls.append(controls)
        paths.outcomes.append(outcomes)
        paths.likelihoods.append(state_likelihood(self.model, tables, outcomes))
        self._reach(paths)
        paths.earlier, paths.before = paths.x, paths.policies
        paths.kept = self._kept(paths)
        ascent = self.ascend(paths)
        paths.x = ascent.x
        return ascent

    def _expect(self, paths: Paths) -> None:
        """Expect transitions and initial states as they have been learned."""
        if paths.counts is not None and paths.transitions is None:
            paths.transitions = expected_transitions(self.model, paths.counts, self.settings)

    def recall(self, paths: Paths, tables: Sequence[KnownTable | CountTable]) -> list[Floats]:
        """Beliefs about every moment of a whole trial, given its outcomes and controls, under other counts."""
        self._expect(paths)
        again = Paths(
            paths.outcomes, paths.controls, likelihoods=[state_likelihood(self.model, tables, o) for o in paths.outcomes]
        )
        again.transitions = paths.transitions
        return [x[:, 0] for x in self.ascend(again, ahead=False).x]

    def moved(self, paths: Paths, factor: int, t: int) -> Floats:
        """Which of a factor's transitions led to moment t >= 1 ``(n_agents, S_f, S_d0, ..., U_f)``, see `learn`."""
        return moved(self.model, paths, self.settings, factor, t)

    def moves(self, paths: Paths) -> Ints:
        """What each policy does next ``(n_policies, n_factors)``."""
        step = paths.now if self.settings.policies == "trial" else 0
        return self.model.policies[:, min(step, self.model.policy_length - 1)]

    def _kept(self, paths: Paths) -> Bools | None:
        """Policies that are still carried on with ``(n_agents, n_policies)``; None for all."""
        if paths.before is None or self.settings.policies != "trial" or not np.isfinite(self.settings.zeta):
            return None
        q = paths.before.q_pi
        return q > np.exp(-self.settings.zeta) * q.max(axis=1, keepdims=True)

    def possible(self, paths: Paths) -> Bools | None:
        """Policies of a trial that would have done what was done so far ``(n_agents, n_policies)``; None for all, as for
        agents who did what no policy does.
        """
        if self.settings.policies != "trial" or self.settings.quirks or not paths.controls:
            return None
        done = np.stack(paths.controls, axis=1)
        same = (self.model.policies[None, :, : done.shape[1]] == done[:, None]).all(axis=(2, 3))
        return same | ~same.any(axis=1, keepdims=True)

    def _reach(self, paths: Paths) -> None:
        """Follow which states can be; beliefs along paths, which never come to nought, do not tell what is impossible."""
        rules, likelihood = self._rules(paths), paths.likelihoods[-1]
        if paths.reach is None:
            reach = [np.repeat(d > 0, len(likelihood) // len(d), axis=0) for d in rules.initial]
        else:
            before = [q[:, None] for q in paths.reach]
            reach = [rules.predict(f, paths.controls[-1][:, None, f], before)[:, 0] > 0 for f in range(len(before))]
        can = (outer([q.astype(np.float64) for q in reach]) > 0) & (likelihood > 0)
        paths.impossible = ~can.any(axis=1)
        can |= paths.impossible[:, None]  # what cannot be has happened: anything may be
        joint = can.reshape(len(can), *self.model.num_states)
        others = [tuple(g + 1 for g in range(len(reach)) if g != f) for f in range(len(reach))]
        paths.reach = [joint.any(axis=axes).astype(np.float64) for axes in others]

    # --- the ascent ----------------------------------------------------------------------------------------------------
    def ascend(self, paths: Paths, ahead: bool = True, record: bool = False) -> Ascent:
        """Climb to the beliefs of every policy about every moment; without ``ahead``, about what was lived alone."""
        if self.settings.quirks:
            return self._ascend_all(paths, ahead, record)
        return self._ascend_past(paths, ahead, record)

    def _ascend_all(self, paths: Paths, ahead: bool, record: bool) -> Ascent:
        """SPM's way: past and future climb alike, and evidence is summed on the way."""
        settings, route = self.settings, self._route(paths, ahead)
        n, n_policies = len(paths.likelihoods[0]), len(self.model.policies) if ahead else 1
        kept = paths.kept if paths.kept is not None and ahead else np.ones((n, n_policies), dtype=bool)
        evidence, gain = np.zeros((n, n_policies)), np.ones((n, n_policies))
        steps: list[Ascent] = []
        for i in range(settings.iterations):
            stalls = settings.stall is not None and i < _ALWAYS_FROM
            moving = kept & (gain > settings.stall) if stalls else kept
            if not (moving == moving[:, :1]).all():  # policies part: from now on each has a past of its own
                route.x = [[_spread(q, n_policies) for q in moment] for moment in route.x]
            total = np.zeros_like(evidence)
            errors: list[list[Floats]] | None = [] if record else None
            for j in range(len(route.x)):
                mask = moving[:, :1] if route.x[j][0].shape[1] == 1 else moving
                likelihood = paths.likelihoods[j] if j <= route.now else None
                total = total + self._climb(paths, route, j, likelihood, mask, errors)
            total = np.where(moving, total, evidence)
            gain = total - evidence if i > 0 else gain
            evidence = total
            if errors is not None:
                steps.append(Ascent(_whole(route.x, n_policies), evidence, errors=_whole(errors, n_policies)))
        return Ascent(_whole(route.x, n_policies), evidence, steps)

    def _ascend_past(self, paths: Paths, ahead: bool, record: bool) -> Ascent:
        """What was lived climbs, once for all policies; what is to come is predicted from it."""
        route = self._route(paths, ahead=False)
        to_come = self._to_come(paths) if ahead else []
        n, n_policies = len(paths.likelihoods[0]), len(self.model.policies) if ahead else 1
        everyone = np.ones((n, 1), dtype=bool)

        def reached() -> Ascent:
            evidence = np.repeat(self._evidence(paths, route), n_policies, axis=1)
            moments, before = list(route.x), route.x[-1]
            for control in to_come:
                before = [self._rules(paths).predict(f, control[..., f], before) for f in range(len(before))]
                moments.append(before)
            return Ascent(_whole(moments, n_policies), evidence)

        steps: list[Ascent] = []
        for _ in range(self.settings.iterations):
            for j in range(len(route.x)):
                self._climb(paths, route, j, paths.likelihoods[j], everyone, None)
            if record:
                steps.append(reached())
        end = steps[-1] if steps else reached()
        return Ascent(end.x, end.evidence, steps)

    def _route(self, paths: Paths, ahead: bool) -> Route:
        settings, now, n, sizes = self.settings, paths.now, len(paths.likelihoods[0]), self.model.num_states
        own = settings.own_past and ahead
        to_come = self._to_come(paths) if ahead and not own else []
        if own:
            controls = [_for_all(self.model.policies[:, j], n) for j in range(self.model.policy_length)]
        else:
            controls = [c[:, None] for c in paths.controls[:now]] + to_come
        first = self._first(paths, n)
        if own and paths.earlier is not None:
            held = [short_softmax(np.log(x + TINY) / settings.erp) for x in paths.earlier]
            x = [[np.ascontiguousarray(q[:, :, j]) for q in held] for j in range(self.trial_length)]
        else:
            n_policies = len(self.model.policies)
            counts = [n_policies if own or j > now else 1 for j in range(len(controls) + 1)]
            x = [[np.full((n, k, s), 1.0 / s) for s in sizes] for k in counts]
            if now == 0 or settings.own_past:  # later on, beliefs start again from indifference about the first moment, too
                x[0] = [_spread(q, counts[0]) for q in first]
        return Route(x, controls, now, len(x) - 1 if own else now)

    def _to_come(self, paths: Paths) -> list[Ints]:
        """Controls of every policy from now to its end or that of the trial, each ``(n_agents, n_policies, n_factors)``."""
        now, n, policies = paths.now, len(paths.likelihoods[0]), self.model.policies
        first = now if self.settings.policies == "trial" else 0
        steps = range(first, min(policies.shape[1], first + self.trial_length - 1 - now))
        return [_for_all(policies[:, h], n) for h in steps]

    def _first(self, paths: Paths, n: int) -> list[Floats]:
        """Where beliefs about the first moment start ``(n, 1, S_f)``: at its prior, made flatter."""
        spread = [np.repeat(x, n if len(x) == 1 else 1, axis=0) for x in self._rules(paths).log_initial]
        return [short_softmax(x / self.settings.erp)[:, None] for x in spread]

    # --- what is learned -----------------------------------------------------------------------------------------------
    def lessons(self, paths: Paths, beliefs: Sequence[Floats], modality: int) -> Floats:
        """Counts that a trial adds to a modality ``(n_agents, O_m, S_d0, ...)``, from beliefs about its moments; an outcome
        that was not seen adds none.
        """
        return likelihood_lessons(self.model, paths, beliefs, modality)

    def learn(self, paths: Paths) -> PathCounts:
        """Counts after a trial, at the rate ``settings.eta``: of transitions from pairs of beliefs about neighbouring moments,
        of initial states from those about the first, of policies from their posterior.

        Raises:
            ValueError: if ``paths`` have no counts, or have seen no outcome.
        """
        return learned(self.model, paths, self.settings)


def _for_all(moves: Ints, n_agents: int) -> Ints:
    return np.broadcast_to(moves, (n_agents, *moves.shape))


def _spread(q: Floats, n_policies: int) -> Floats:
    """Beliefs shared by all policies ``(n, 1, S_f)`` as those of each."""
    return q if q.shape[1] == n_policies else np.repeat(q, n_policies, axis=1)


def _whole(moments: Sequence[Sequence[Floats]], n_policies: int) -> list[Floats]:
    """Moment by moment and factor by factor to per factor ``(n, n_policies, times, S_f)``."""
    return [np.stack([_spread(moment[f], n_policies) for moment in moments], axis=2) for f in range(len(moments[0]))]
