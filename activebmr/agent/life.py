"""`Life`: the straight walk of a batch of agents through steps and trials, each verb a method of a part, in place.

A step: perceive (predict, update) -> plan (terms, values) -> choose -> learn and remember. The end of a trial: learn -> forget
-> compare hypotheses -> adopt -> sleep -> begin. No part asks which other part it is dealing with.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.agent.acting import Acting, ActionProbabilities
from activebmr.agent.assembly import Mind
from activebmr.agent.learning import Learner
from activebmr.agent.sleep import Sleeping
from activebmr.agent.state import AgentState, StepInfo, TrialInfo
from activebmr.arrays import Floats, Ints
from activebmr.inference.knowledge import Knowledge, Memory, Percept
from activebmr.model.observations import policy_of
from activebmr.model.pomdp import POMDP
from activebmr.planning.evaluation import Evaluation

__all__ = ["Life"]


class Life:
    """What agents do, made of parts; changes the states that it is given.

    Args:
        model: the model.
        mind: the ways of believing, planning and comparing hypotheses.
        learner: the way of learning.
        sleeping: what happens between trials.
        acting: how something is done.
    """

    def __init__(self, model: POMDP, mind: Mind, learner: Learner, sleeping: Sleeping, acting: Acting) -> None:
        self.model, self.mind = model, mind
        self.believing, self.planning, self.comparing = mind.believing, mind.planning, mind.comparing
        self.learner, self.sleeping, self.acting = learner, sleeping, acting
        self._everyone: dict[int, Ints] = {}
        self._controlled = np.array(model.controlled_factors, dtype=np.intp)

    def born(self, knowledge: Knowledge, single: bool) -> AgentState:
        """The state before the first observation."""
        posterior = self.comparing.start(knowledge)
        self.sleeping.start(knowledge)
        belief = self.believing.begin(knowledge)
        return AgentState(0, 0, belief, None, knowledge, Memory(), posterior, self.believing.marginals, single)

    # --- a step ----------------------------------------------------------------------------------------------------------
    def advance(self, state: AgentState, outcomes: list[np.ndarray], uniform: Floats, controls: Ints | None) -> StepInfo:
        """One step: outcomes per modality, one uniform number per agent, and what is done if that is given."""
        percept = self.perceive(state, outcomes)
        evaluation = self.plan(state)
        if controls is None:
            policy, controls = self.acting.choose(evaluation, uniform)
        else:
            policy = policy_of(self.model, controls)
        belief, posterior = state.belief, state.model_posterior
        self.learn(state, outcomes, controls)
        return StepInfo(
            qs=self.believing.marginals(belief),
            free_energy=-percept.log_evidence,
            impossible=percept.impossible,
            terms=evaluation.terms,
            neg_efe=evaluation.neg_efe,
            q_pi=evaluation.q_pi,
            policy=policy,
            controls=controls,
            action=controls[:, self._controlled],
            model_posterior=posterior,
            acting=ActionProbabilities(self.acting, evaluation),
        )

    def perceive(self, state: AgentState, outcomes: list[np.ndarray]) -> Percept:
        """Predict, and take in an observation."""
        percept = self.believing.perceive(state.belief, state.knowledge, state.controls, outcomes)
        state.belief, state.perceived = percept.belief, True
        posterior = self.comparing.posterior(state.knowledge, state.belief)
        if posterior is not None:  # else what sleep has found holds on
            state.model_posterior = posterior
        return percept

    def plan(self, state: AgentState) -> Evaluation:
        """What every policy is worth; to agents who are merely curious, and to the others."""
        everyone, curious = self._all(state.n_agents), self.comparing.curious(state.knowledge)
        if curious is None or not curious.any():
            return self._evaluate(state, everyone, False)
        if curious.all():
            return self._evaluate(state, everyone, True)
        parts = [np.flatnonzero(curious), np.flatnonzero(~curious)]
        done = [self._evaluate(state, parts[0], True), self._evaluate(state, parts[1], False)]
        return Evaluation.merge(done, np.argsort(np.concatenate(parts)))

    def _evaluate(self, state: AgentState, agents: Ints, curious: bool) -> Evaluation:
        return self.planning.evaluate(state.belief, state.knowledge, agents, state.t, state.model_posterior, curious)

    def _all(self, n: int) -> Ints:
        if n not in self._everyone:
            self._everyone[n] = np.arange(n)
        return self._everyone[n]

    def learn(self, state: AgentState, outcomes: list[np.ndarray], controls: Ints) -> None:
        """Learn from an observation or keep it, remember what was done, and go on in time."""
        self.sleeping.take_in(state.knowledge, state.controls, outcomes)
        self.learner.take_in(state.knowledge, state.memory, state.controls, outcomes, state.belief)
        state.controls, state.perceived = controls, False
        state.t += 1

    # --- the end of a trial ----------------------------------------------------------------------------------------------
    def conclude(self, state: AgentState, streams: Sequence[np.random.Generator] | None = None) -> TrialInfo:
        """End a trial; ``streams``: one generator per agent, for those who make up dreams."""
        knowledge = state.knowledge
        self.learner.conclude(knowledge, state.memory)
        counts = self.learner.forget(knowledge)
        verdict = self.comparing.judge(knowledge, state.belief, state.model_posterior)
        if verdict is not None:
            counts = {m: c.copy() for m, c in counts.items()} if verdict.passing.any() else counts
            state.model_posterior = self.comparing.adopt(knowledge, verdict)
        counts = {m: c.copy() if m in self.sleeping.spaces else c for m, c in counts.items()}
        findings = self.sleeping.fall_asleep(knowledge, state.trial, streams)
        info = TrialInfo(None, None, None, np.zeros(state.n_agents, dtype=bool), counts)
        if verdict is not None:
            info = TrialInfo(state.model_posterior, verdict.log_odds, verdict.best, verdict.passing, counts)
        if findings is not None:
            info.reductions = findings.reductions
            if findings.listed is not None:
                found = findings.listed
                state.model_posterior = found.probabilities
                info.model_posterior, info.log_odds = found.probabilities, found.log_evidence_ratio
                info.best_model, info.adopted_now = found.model, found.accepted
        self.begin(state)
        state.trial += 1
        return info

    def begin(self, state: AgentState) -> None:
        """A new trial."""
        state.belief = self.believing.begin(state.knowledge)
        state.memory, state.controls, state.t, state.perceived = Memory(), None, 0, False

    def relive(self, state: AgentState, trial: Memory) -> None:
        """Perceive a remembered trial and learn from it, in place; nothing is planned or chosen."""
        if self.believing.at_once:
            for moment in trial.moments:
                state.controls = moment.controls
                self.perceive(state, list(moment.outcomes))
                self.learner.take_in(state.knowledge, state.memory, moment.controls, list(moment.outcomes), state.belief)
        else:
            for moment, belief in zip(trial.moments, self.believing.recall(trial, state.knowledge), strict=True):
                self.learner.take_in(state.knowledge, state.memory, moment.controls, list(moment.outcomes), belief)
        self.conclude(state)
