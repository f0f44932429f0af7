"""SPM's functions of Dirichlet counts on transition tables (next state, state, path): the same numbers, data/spm/README.md."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import digamma

from activebmr import dirichlet, reduction
from activebmr.reduction.search.informative import InformativeMappings

CASES = range(6)
SPM_OFFSET = 1 / 32
SPM_CUTOFF = np.log(32.0)


@pytest.fixture(params=CASES)
def table(request, spm):
    """What SPM recorded about one table; its columns are unfolded with the state fastest."""
    z = spm("b_tables")
    suffix, prune = f"_{request.param}", f"_{request.param}_v"
    out = {k.removesuffix(suffix): v for k, v in z.items() if k.endswith(suffix)}
    out |= {k.replace(prune, "_v"): v for k, v in z.items() if prune in k}
    return out


def preferences(table):
    """Preferences of next states, and of columns in our order: the path fastest."""
    _, states, paths = table["q"].shape
    return table["c"], table["h"].reshape(paths, states).T.ravel()


def unfolded(x):
    return x.transpose(0, 2, 1).reshape(len(x), -1)


def test_mutual_information(table):
    q, (c, h) = table["q"], preferences(table)
    share = q / q.sum()
    for n, wanted in enumerate([(), (c,), (c, h)]):
        assert_allclose(dirichlet.mutual_information(q, *wanted), table["MI"][n], rtol=1e-12)
        slope = dirichlet.mutual_information_gradient(q, *wanted)
        assert_allclose(unfolded(slope), table[f"dEdA{n}"], rtol=1e-12, atol=1e-14)
        # SPM's slope by the counts has the diagonal alone of the derivative of q / sum(q)
        assert_allclose(unfolded(slope * (1 - share) / q.sum()), table[f"dEda{n}"], rtol=1e-12, atol=1e-16)


def test_expected_mutual_information(table):
    """Preferences add what they add to the mutual information of the mean, for they are linear in it."""
    q, (c, h) = table["q"], preferences(table)
    expected = dirichlet.expected_mutual_information(q)
    for n, wanted in enumerate([(), (c,), (c, h), (None, h)]):
        worth = dirichlet.mutual_information(q, *wanted) - dirichlet.mutual_information(q)
        assert_allclose(expected + worth, table["dirMI"][n], rtol=1e-12)


def test_log_evidence(table):
    q, p, r = table["q"], table["p"], table["r"]
    assert_allclose(-reduction.log_evidence_ratio(q, p, r, SPM_OFFSET), table["F"], rtol=1e-10, atol=1e-13)
    s = reduction.reduced_posterior(q, p, r)
    assert_allclose(s, table["sA"], rtol=1e-12)
    # the slope of the ratio by the reduced prior, in our sign: E[log A] under the reduced posterior less that under the prior
    log = lambda counts: digamma(counts + SPM_OFFSET) - digamma((counts + SPM_OFFSET).sum(axis=0))  # noqa: E731
    assert_allclose(log(r) - log(s), table["dFdA"], rtol=1e-10, atol=1e-12)


def test_the_slope_of_the_evidence_is_that_of_our_ratio(table):
    q, p, r = table["q"], table["p"], table["r"]
    h = 1e-5
    for at in [(0, 0, 0), (1, 1, 1), (len(q) - 1, 0, 1)]:
        step = np.zeros_like(r)
        step[at] = h * max(r[at], 0.1)
        ratio = lambda sign: reduction.log_evidence_ratio(q, p, r + sign * step, SPM_OFFSET)[at[1:]]  # noqa: E731, B023
        assert_allclose(-(ratio(1) - ratio(-1)) / (2 * step[at]), table["dFdA"][at], rtol=1e-4, atol=1e-5)


def test_beta_function_and_divergence(table):
    q, p = table["q"], table["p"]
    assert q.min() > 0 and p.min() > 0  # SPM's conventions for structural zeros are in test_parity.py
    assert_allclose(dirichlet.log_beta(q), table["betaln"], rtol=1e-12, atol=1e-13)
    assert_allclose(dirichlet.kl_divergence(q, p).sum(), table["KLdir"], rtol=1e-12)


PRUNE = {
    0: dict(combine="spm-average"),
    1: dict(threshold=2.0),
    2: dict(combine="spm-average", wanted=True),
    3: dict(threshold=3.0, wanted=True),
    6: dict(combine="spm-average", contract=[1]),
    7: dict(threshold=2.0, contract=[1]),
    9: dict(combine="spm-average", contract=[1], wanted=True),
}


@pytest.mark.parametrize("call", PRUNE)
def test_pruning(table, call):
    q, p = table["q"], table["p"]
    options = dict(PRUNE[call])
    log_preferences = np.log(table["c"]) if options.pop("wanted", False) else None
    found = InformativeMappings(at="prior", preferences=log_preferences, **options).reduce(q[None], p)
    assert_allclose(found.posterior[0], table[f"prune_q_v{call}"], rtol=1e-12, atol=1e-14)
    assert_allclose(found.prior[0], table[f"prune_p_v{call}"], rtol=1e-12, atol=1e-14)


def test_pruning_of_what_is_implausible(table):
    """SPM's option SIMPLE gives up what is less than a 32nd as probable as the best; we discard what was seen of it too."""
    q, p, spm_q, spm_p = table["q"], table["p"], table["prune_q_v4"], table["prune_p_v4"]
    found = InformativeMappings(method="suppress", threshold=0.0, cutoff=SPM_CUTOFF).reduce(q[None], p)
    assert_allclose(found.prior[0], spm_p, rtol=1e-12, atol=1e-14)
    removed = (p > 0) & (spm_p == 0)
    assert_allclose(np.where(removed, 0.0, spm_q), found.posterior[0], rtol=1e-12, atol=1e-14)
    assert_allclose(spm_q[removed], (q - p)[removed], atol=1e-14)


def test_something_changes_in_the_calls_that_should(spm):
    z = spm("b_tables")
    same = lambda i, v: np.allclose(z[f"prune_p_{i}_v{v}"], z[f"p_{i}"], rtol=1e-12)  # noqa: E731
    changed = {v: sum(not same(i, v) for i in CASES) for v in (*PRUNE, 4)}
    assert changed == {0: 2, 1: 0, 2: 6, 3: 0, 6: 2, 7: 2, 9: 6, 4: 3}
