"""A slow agent to check the fast one with: dense tensors over all joint states, plain loops over policies, models and outcomes.

Written from the equations (see the docstrings of `activebmr`), it shares no code with the package but the arrays of `POMDP` and
`HypothesisSpace`. One agent; nothing is batched, cached or sparse.
"""

from __future__ import annotations

import itertools
import math
from functools import reduce

import numpy as np
from scipy.special import digamma, gammaln

FLOOR = math.exp(-32)


def log(x):
    return np.log(np.maximum(x, FLOOR))


def softmax(x):
    weights = np.exp(np.asarray(x) - np.max(x))
    return weights / weights.sum()


def outer(marginals):
    """Joint distribution of independent factors, one axis per factor."""
    return reduce(np.multiply.outer, marginals)


def marginals_of(joint):
    return [joint.sum(axis=tuple(a for a in range(joint.ndim) if a != f)) for f in range(joint.ndim)]


def novelty(counts):
    """Textbook formula of the gain in information about a column's parameters."""
    out = np.zeros_like(counts)
    for at in np.ndindex(*counts.shape):
        a, total = counts[at], counts[(slice(None), *at[1:])].sum()
        if a > 0:
            out[at] = max(0.0, math.log(total) - math.log(a) + 1 / a - 1 / total + digamma(a) - digamma(total))
    return out


def log_evidence(evidence, prior):
    """Log evidence of counts that were added to a Dirichlet prior, all columns together."""
    total = 0.0
    for column in np.ndindex(*prior.shape[1:]):
        p, n = prior[(slice(None), *column)], evidence[(slice(None), *column)]
        held = p > 0
        total += gammaln(p.sum()) - gammaln((p + n).sum()) + (gammaln((p + n)[held]) - gammaln(p[held])).sum()
    return total


class Reference:
    """One agent, step by step; the arguments mean what they mean to `Agent` and `Planner`."""

    def __init__(self, model, space=None, *, inference="factorised", depth=0, gains=("state", "param", "model"),
                 model_gain="exact", gamma=1.0, habit="first", rate=1.0, retention=1.0, offset=1 / 32,
                 trial_length=None):  # fmt: skip
        self.model, self.space, self.inference, self.depth, self.gains = model, space, inference, depth, gains
        self.model_gain, self.gamma, self.habit, self.rate, self.retention = model_gain, gamma, habit, rate, retention
        self.offset, self.trial_length = offset, trial_length
        self.counts = {m: np.array(model.pA[m]) for m in model.learned_modalities}
        self.start()

    def start(self):
        self.t, self.qs, self.controls = 0, [np.array(d) for d in self.model.D], None

    def likelihood(self, m):
        return self.counts[m] / self.counts[m].sum(axis=0) if m in self.counts else self.model.A[m]

    # --- hidden states ---------------------------------------------------------------------------------------------------
    def predict(self, qs, controls):
        out = []
        for f, b in enumerate(self.model.B):
            joint = outer([qs[d] for d in self.model.B_dependencies[f]])
            out.append(np.array([(b[s, ..., controls[f]] * joint).sum() for s in range(b.shape[0])]))
        return out

    def infer(self, qs, outcomes):
        """Posterior marginals and log evidence; outcomes are probability vectors."""
        qs, evidence, deps = list(qs), 0.0, self.model.A_dependencies
        columns = [np.tensordot(o, self.likelihood(m), axes=1) for m, o in enumerate(outcomes)]  # p(o | states)
        if self.inference == "factorised":
            for floor in (0.0, FLOOR):  # what is impossible counts as e^-32, if nothing is possible
                joint = outer(qs).copy()
                for m, column in enumerate(columns):
                    for state in np.ndindex(*joint.shape):
                        joint[state] *= max(column[tuple(state[f] for f in deps[m])], floor)
                if joint.sum() > 0:
                    return marginals_of(joint / joint.sum()), math.log(joint.sum())
        for m, column in enumerate(columns):
            prior = outer([np.where(qs[f] > math.exp(-16), qs[f], 0.0) for f in deps[m]])
            joint = prior * np.maximum(column, FLOOR)
            alone = (prior > 0).sum() == 1
            evidence += math.log(max(column[prior > 0][0], FLOOR) if alone else joint.sum())
            for f, q in zip(deps[m], marginals_of(joint / joint.sum()), strict=True):
                qs[f] = q
        return qs, evidence

    # --- hypotheses ------------------------------------------------------------------------------------------------------
    def model_posterior(self, extra=None):
        """Posterior over hypotheses, given the counts so far (and counts that one modality may gain)."""
        scores = np.log(self.space.prior)
        for h in range(len(self.space)):
            for m in self.space.tables:
                evidence = self.counts[m] - self.model.pA[m] + (extra[1] if extra is not None and extra[0] == m else 0.0)
                evidence = np.maximum(evidence, -self.offset / 2)  # what was forgotten is no evidence against it
                scores[h] += log_evidence(evidence, self.space.dense(h, m) + self.offset)
        return softmax(scores)

    def information_about_models(self, m, joint, q_o):
        if self.model_gain == "plug-in":
            gained = np.multiply.outer(q_o, joint) * (self.counts[m] > 0)
            before, after = self.model_posterior(), self.model_posterior((m, gained))
            return sum(a * (math.log(a) - math.log(b)) for a, b in zip(after, before, strict=True) if a > 1e-290)
        evidence, gain = np.maximum(self.counts[m] - self.model.pA[m], 0.0), 0.0
        predictions = []
        for h in range(len(self.space)):
            counts = self.space.dense(h, m) + self.offset + evidence
            predictions.append(np.tensordot(counts / counts.sum(axis=0), joint, axes=joint.ndim))
        for o in range(len(q_o)):  # over outcomes: KL of the posterior over models from the one before
            p_o = sum(w * p[o] for w, p in zip(self.q_models, predictions, strict=True))
            for w, p in zip(self.q_models, predictions, strict=True):
                after = w * p[o] / p_o
                gain += p_o * after * (math.log(after) - math.log(w)) if after > 0 else 0.0
        return gain

    # --- policies --------------------------------------------------------------------------------------------------------
    def terms(self, qs, t, with_models=True):
        """Utility, state, parameter and model gain of beliefs that are predictions for outcomes at time t."""
        out = np.zeros(4)
        for m in range(self.model.num_modalities):
            a = self.likelihood(m)
            joint = outer([qs[f] for f in self.model.A_dependencies[m]])
            q_o = np.tensordot(a, joint, axes=joint.ndim)
            c = self.model.C[m]
            c = c[min(t, len(c) - 1)] if c.ndim == 2 else c
            out[0] += q_o @ np.maximum(np.log(softmax(c)), -32.0)
            if "state" in self.gains:
                ambiguity = -((a * log(a)).sum(axis=0) * joint).sum()
                out[1] += max(-(q_o * log(q_o)).sum() - ambiguity, 0.0)
            if m in self.counts and "param" in self.gains and self.counts[m].max(axis=0).min() < 256:
                out[2] += q_o @ np.tensordot(novelty(self.counts[m]), joint, axes=joint.ndim)
            if self.space is not None and with_models and "model" in self.gains and m in self.space.tables:
                out[3] += self.information_about_models(m, joint, q_o)
        return out

    def policy_terms(self, qs, t, with_models=True):
        rows = []
        for policy in self.model.policies:
            beliefs, row = qs, np.zeros(4)
            for h, controls in enumerate(policy):
                beliefs = self.predict(beliefs, controls)
                row = row + self.terms(beliefs, t + h + 1, with_models)
            rows.append(row)
        return np.array(rows)

    def search(self, qs, t, value, prior, depth):
        posterior, out = softmax(value + prior), []
        for k, policy in enumerate(self.model.policies):
            if posterior[k] <= posterior.max() / 16:
                out.append(max(value + prior) - 512 - prior[k])
                continue
            predicted, worth = self.predict(qs, policy[0]), value[k]
            relevant = sorted({f for deps in self.model.A_dependencies for f in deps})
            likely = [[s for s in range(len(predicted[f])) if predicted[f][s] > math.exp(-8)] for f in relevant]
            states = [state[::-1] for state in itertools.product(*likely[::-1])]  # the first factor varies fastest
            chances = [math.prod(predicted[f][s] for f, s in zip(relevant, state, strict=True)) for state in states]
            best = sorted(range(len(states)), key=lambda i: -round(chances[i], 12))[:4]
            for i in best:
                at = dict(zip(relevant, states[i], strict=True))
                deps = self.model.A_dependencies
                outcomes = [self.likelihood(m)[(slice(None), *(at[f] for f in deps[m]))] for m in range(len(deps))]
                beliefs, _ = self.infer(predicted, outcomes)
                ahead = self.policy_terms(beliefs, t + 1, with_models=False).sum(axis=1)
                later = self.model.log_policy_prior * (self.habit == "always")
                if depth > 1 and (self.trial_length is None or t + 2 < self.trial_length):
                    ahead = self.search(beliefs, t + 1, ahead, later, depth - 1)
                worth += chances[i] / sum(chances[j] for j in best) * (softmax(ahead + later) @ ahead)
            out.append(worth)
        return np.array(out)

    # --- a step ----------------------------------------------------------------------------------------------------------
    def step(self, outcomes, controls):
        """Perceive (outcomes as probability vectors), evaluate policies, learn; the action is given."""
        prior = self.qs if self.controls is None else self.predict(self.qs, self.controls)
        self.qs, evidence = self.infer(prior, outcomes)
        self.q_models = None if self.space is None else self.model_posterior()
        terms, prior_pi = self.policy_terms(self.qs, self.t), np.zeros(len(self.model.policies))
        if self.t == 0 or self.habit == "always":
            prior_pi = self.model.log_policy_prior
        value = terms.sum(axis=1)
        if self.depth > 0 and (self.trial_length is None or self.t + 1 < self.trial_length):
            value = self.search(self.qs, self.t, value, prior_pi, self.depth)
        for m in self.counts:
            belief = outer([self.qs[f] for f in self.model.A_dependencies[m]])
            self.counts[m] = self.counts[m] + self.rate * np.multiply.outer(outcomes[m], belief) * (self.counts[m] > 0)
        self.controls, self.t = controls, self.t + 1
        names = ("utility", "state_info_gain", "param_info_gain", "model_info_gain")
        return {
            "qs": self.qs,
            "free_energy": -evidence,
            **dict(zip(names, terms.T, strict=True)),
            "neg_efe": value,
            "q_pi": softmax(self.gamma * value + prior_pi),
            "model_posterior": self.q_models,
        }

    def end_trial(self):
        for m in self.counts:
            self.counts[m] = self.counts[m] * self.retention
        self.start()


def side_by_side(agent, seed, *, n_agents=2, trials=1, steps=3, soft=True):
    """Let a batch and one `Reference` per member live through the same random trials; yields both reports of every step."""
    from worlds import random_controls, random_outcomes

    rng, model, planner = np.random.default_rng([seed, 2]), agent.model, agent.planner
    slow = [
        Reference(
            model, agent.hypotheses, inference=agent.inference, depth=planner.depth, gains=planner.gains,
            model_gain=planner.model_gain, gamma=planner.gamma, habit=planner.habit, rate=agent.learning.rate,
            retention=agent.learning.retention, offset=agent.selection.offset, trial_length=agent.trial_length,
        )
        for _ in range(n_agents)
    ]  # fmt: skip
    state = agent.init(n_agents)
    for _ in range(trials):
        for _ in range(steps):
            outcomes = random_outcomes(rng, model, n_agents, soft)
            controls = random_controls(rng, model, n_agents)
            state, info = agent.step(state, outcomes, action=controls, rng=rng)
            for k, reference in enumerate(slow):
                seen = [np.eye(n)[o[k]] if o.ndim == 1 else o[k] for n, o in zip(model.num_outcomes, outcomes, strict=True)]
                expected = reference.step(seen, controls[k])
                counts = {m: (state.counts(m)[k], reference.counts[m]) for m in reference.counts}
                yield k, info, expected, counts
        state, _ = agent.end_trial(state)
        for reference in slow:
            reference.end_trial()
