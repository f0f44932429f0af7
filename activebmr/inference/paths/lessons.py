"""What a trial teaches, from beliefs about its moments: counts of likelihoods, transitions, initial states and policies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Floats
from activebmr.inference.paths.likelihoods import shown
from activebmr.inference.paths.settings import PathSettings
from activebmr.inference.paths.state import PathCounts, Paths
from activebmr.inference.paths.transitions import Transitions, outer
from activebmr.model.pomdp import POMDP

__all__ = ["expected_transitions", "learned", "likelihood_lessons", "moved"]


def likelihood_lessons(model: POMDP, paths: Paths, beliefs: Sequence[Floats], modality: int) -> Floats:
    """Counts that a trial adds to a modality ``(n_agents, O_m, S_d0, ...)``; an outcome that was not seen adds none."""
    total: Floats | float = 0.0
    for t, outcomes in enumerate(paths.outcomes):
        joint, _ = shown(outcomes[modality], model.num_outcomes[modality])
        for f in model.A_dependencies[modality]:  # type: ignore[index]
            q = beliefs[f][:, t]
            joint = joint[..., None] * q.reshape(len(q), *[1] * (joint.ndim - 1), -1)
        total = total + joint
    return np.asarray(total)


def learned(model: POMDP, paths: Paths, settings: PathSettings) -> PathCounts:
    """Counts after a trial, of what `PathCounts` hold."""
    counts, policies = paths.counts, paths.policies
    if counts is None or policies is None:
        raise ValueError("paths must have counts, and have seen an outcome, to be learned from")
    eta, first = settings.eta, 1.0 if settings.quirks else settings.eta
    grow = lambda held, rate, seen: held + rate * (held > 0) * seen  # noqa: E731 (structural zeros stay)
    return PathCounts(
        [None if b is None else grow(b, eta, _pairs(model, paths, settings, f)) for f, b in enumerate(counts.pB)],
        [None if d is None else grow(d, first, paths.beliefs[f][:, 0]) for f, d in enumerate(counts.pD)],
        None if counts.pE is None else grow(counts.pE, eta, policies.q_pi),
    )


def _pairs(model: POMDP, paths: Paths, settings: PathSettings, f: int) -> Floats:
    """How often a factor's transitions were gone through in a trial ``(n_agents, S_f, S_d0, ..., U_f)``."""
    total = np.zeros((len(paths.likelihoods[0]), *model.B[f].shape))
    for t in range(1, len(paths.outcomes)):
        total += moved(model, paths, settings, f, t)
    return total


def moved(model: POMDP, paths: Paths, settings: PathSettings, f: int, t: int) -> Floats:
    """Which of a factor's transitions led to moment t >= 1, by what is believed of it and the moment before, which are
    independent under these beliefs ``(n_agents, S_f, S_d0, ..., U_f)``.
    """
    assert paths.x is not None
    n, x, lived = len(paths.x[f]), paths.x, paths.policies is None  # a trial that is recalled has no policies
    own_past = settings.own_past and not lived
    # SPM weighs a policy by what was thought of it then, also where it has been dropped since
    q_pi = np.ones((n, 1)) if lived else paths.posteriors[t if own_past else -1]
    before = outer([x[g][:, :, t - 1] for g in model.B_dependencies[f]])  # type: ignore[index]
    pairs = q_pi[..., None, None] * x[f][:, :, t, :, None] * before[..., None, :]
    out = np.zeros((n, *model.B[f].shape))
    pairs = pairs.reshape(*pairs.shape[:2], *out.shape[1:-1])
    if own_past:
        for u in range(out.shape[-1]):
            out[..., u] = np.take(pairs, np.flatnonzero(model.policies[:, t - 1, f] == u), axis=1).sum(axis=1)
    else:
        out[np.arange(n), ..., paths.controls[t - 1][:, f]] = pairs.sum(axis=1)
    return out


def expected_transitions(model: POMDP, counts: PathCounts, settings: PathSettings) -> Transitions:
    """Transitions and initial states as agents expect them in a trial."""
    mean = lambda a: a / a.sum(axis=1, keepdims=True)  # noqa: E731
    B = [model.B[f] if b is None else mean(b) for f, b in enumerate(counts.pB)]
    D = [model.D[f] if d is None else mean(d) for f, d in enumerate(counts.pD)]  # type: ignore[index]
    # SPM normalises the transposed counts, and so lets often visited states count more, not the transposed expectations
    backward = [b if given is None else given for b, given in zip(B, counts.pB, strict=True)] if settings.quirks else None
    return Transitions(model, B, D, settings.messages == "mean-field", backward)
