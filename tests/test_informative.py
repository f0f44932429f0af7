"""The structural prior for informative mappings: against SPM (tests/data/spm), its gradient, contraction and its use."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import dirichlet, reduction
from activebmr.reduction.search.informative import InformativeMappings

CASES = range(16)
SPM = {
    0: dict(at="prior", combine="spm-average"),
    1: dict(at="prior", threshold=2.0),
    2: dict(at="prior", combine="spm-average"),
    3: dict(at="prior", threshold=3.0),
    4: dict(method="suppress", threshold=0.0),
    5: dict(at="prior", combine="spm-average", contract=[1]),
}
SPM_PREFERENCES = (2, 3)


def counts(rng, shape, prior=1.0, seen=6):
    """Random counts after and before data, (n, n_outcomes, n_states_0, ...)."""
    p = np.full(shape, prior) * rng.uniform(0.5, 2.0, shape)
    return p + rng.integers(0, seen, shape), p


def noisy_identity(n_tables, n_states, observations, noise, rng):
    """A truth that is deterministic but for noise, and flat counts after and before some observations of each state."""
    truth = np.full((n_states, n_states), noise / (n_states - 1))
    np.fill_diagonal(truth, 1.0 - noise)
    seen = np.stack([rng.multinomial(observations, truth[:, s], size=n_tables) for s in range(n_states)], axis=2)
    p = np.ones((n_tables, n_states, n_states))
    return truth, p + seen, p


# --- SPM -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("call", SPM)
@pytest.mark.parametrize("case", CASES)
def test_the_same_counts_as_spm(spm, case, call):
    z = spm("unit_prune")
    q, p = z[f"q_{case:02d}"], z[f"p_{case:02d}"]
    if call == 5 and q.ndim == 2:
        assert f"qA_{case:02d}_5" not in z
        return
    preferences = np.log(z[f"c_{case:02d}"][:, 0]) if call in SPM_PREFERENCES else None
    found = InformativeMappings(preferences=preferences, **SPM[call]).reduce(q[None], p)
    assert_allclose(found.posterior[0], z[f"qA_{case:02d}_{call}"], rtol=1e-12, atol=1e-14)
    assert_allclose(found.prior[0], z[f"pA_{case:02d}_{call}"], rtol=1e-12, atol=1e-14)


def test_spm_changes_something_in_the_calls_that_should(spm):
    z = spm("unit_prune")
    changed = {v: sum(not np.allclose(z[f"p_{n:02d}"], z[f"pA_{n:02d}_{v}"], rtol=1e-12) for n in CASES) for v in range(5)}
    assert changed == {0: 0, 1: 0, 2: 16, 3: 0, 4: 8}


# --- the step ------------------------------------------------------------------------------------------------------------
def column_slopes(table, preferences, h=1e-6):
    """d E / d log counts, (n_outcomes, n_columns), each column rescaled to the mass it had: central differences."""
    value = lambda t: dirichlet.mutual_information(t, reduction.softmax(preferences))  # noqa: E731
    slopes = np.zeros_like(table)
    for o, s in np.ndindex(*table.shape):
        moved = []
        for sign in (1.0, -1.0):
            t = table.copy()
            t[o, s] *= np.exp(sign * h)
            t[:, s] *= table[:, s].sum() / t[:, s].sum()
            moved.append(value(t))
        slopes[o, s] = (moved[0] - moved[1]) / (2 * h)
    return slopes


@pytest.mark.parametrize("rate", [1.0, 2.5])
def test_the_step_at_the_posterior_is_the_slope_by_the_log_counts_of_a_column(rng, rate):
    q, p = counts(rng, (1, 4, 3))
    preferences = rng.normal(size=4)
    r = InformativeMappings(preferences=preferences, rate=rate).candidate(q, p)[0]
    assert_allclose(r.sum(axis=0), p[0].sum(axis=0))
    exponent = np.log(r / p[0])
    mass = q[0].sum(axis=0) / q[0].sum()
    expected = rate * column_slopes(q[0], preferences) / mass
    # rescaling leaves a constant of each column open
    assert_allclose(exponent - exponent.mean(axis=0), expected - expected.mean(axis=0), atol=1e-7)


def test_the_step_at_the_prior_is_spms(rng):
    q, p = counts(rng, (1, 4, 3))
    preferences = rng.normal(size=4)
    table, h = p[0], 1e-6
    # the derivative by A of a joint that is not held to sum to one, then the diagonal of that of p / sum(p)
    joint = table / table.sum()
    log_preferences = preferences - np.log(np.exp(preferences).sum())

    def value(a):
        outcomes, columns = a.sum(axis=1), a.sum(axis=0)
        return (
            (a * np.log(a)).sum()
            - (outcomes * np.log(outcomes)).sum()
            - (columns * np.log(columns)).sum()
            + (outcomes @ log_preferences / outcomes.sum())
        )

    slope = np.zeros_like(joint)
    for at in np.ndindex(*joint.shape):
        step = np.zeros_like(joint)
        step[at] = h
        slope[at] = (value(joint + step) - value(joint - step)) / (2 * h)
    expected = joint * (1 - joint) * slope
    exponent = np.log(InformativeMappings(at="prior", preferences=preferences).candidate(q, p)[0] / table)
    assert_allclose(exponent - exponent.mean(axis=0), expected - expected.mean(axis=0), atol=1e-7)


def test_a_step_is_worth_it_in_terms_of_information(rng):
    q, p = counts(rng, (20, 4, 5))
    r = InformativeMappings(at="posterior", rate=0.1).candidate(q, q)
    assert all(dirichlet.mutual_information(a) > dirichlet.mutual_information(b) for a, b in zip(r, q, strict=True))


def test_a_constant_preference_changes_nothing_and_preferences_move_counts_towards_what_is_liked(rng):
    q, p = counts(rng, (3, 4, 5))
    plain = InformativeMappings().candidate(q, p)
    assert_allclose(InformativeMappings(preferences=[7.0] * 4).candidate(q, p), plain)
    liked = InformativeMappings(preferences=[2.0, 0.0, 0.0, 0.0]).candidate(q, p)
    assert (liked[:, 0] > plain[:, 0]).all()


# --- which columns, and what becomes of them -----------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["information", "suppress"])
def test_columns_pass_by_their_own_evidence(rng, method):
    q, p = counts(rng, (6, 3, 2, 3), prior=0.3, seen=12)
    space = InformativeMappings(method=method, threshold=0.3, offset=0.0)
    r, found = space.candidate(q, p), space.reduce(q, p)
    ratio = np.stack([reduction.log_evidence_ratio(a, b, c) for a, b, c in zip(q, p, r, strict=True)])
    passed = ratio >= 0.3
    assert passed.any() and not passed.all()
    assert_allclose(found.prior, np.where(passed[:, None], r, p))
    assert_allclose(found.posterior, np.where(passed[:, None], r + (q - p), q))
    assert_allclose(found.log_evidence_ratio, np.where(passed, ratio, 0.0).sum(axis=(1, 2)))
    assert_array_equal(found.accepted, passed.any(axis=(1, 2)))
    assert_array_equal(found.model, -1)
    assert found.ratios is None and found.probabilities is None
    if method == "suppress":
        assert_array_equal(found.removed, (found.prior == 0))
    else:
        assert found.removed is None


@pytest.mark.parametrize("options", [dict(), dict(at="prior"), dict(method="suppress")])
def test_an_infinite_threshold_changes_nothing(rng, options):
    q, p = counts(rng, (4, 3, 5), prior=0.25)
    found = InformativeMappings(threshold=np.inf, **options).reduce(q, p)
    assert_array_equal(found.prior, p)
    assert_array_equal(found.posterior, q)
    assert not found.accepted.any() and not found.log_evidence_ratio.any()


@pytest.mark.parametrize("options", [dict(), dict(combine="average"), dict(contract=[0]), dict(method="suppress", cutoff=1.0)])
def test_rows_of_a_batch_do_not_see_each_other(rng, options):
    q, p = counts(rng, (5, 3, 2, 3), prior=0.25)
    space = InformativeMappings(threshold=0.0, **options)
    together = space.reduce(q, p)
    for i in range(5):
        alone = space.reduce(q[i : i + 1], p[i])
        for name in ("prior", "posterior", "log_evidence_ratio", "accepted"):
            assert_allclose(getattr(together, name)[i : i + 1], getattr(alone, name), rtol=1e-12, err_msg=name)


def test_the_arguments_are_left_alone(rng):
    q, p = counts(rng, (2, 3, 2, 3))
    before = q.copy(), p.copy()
    for options in (dict(contract=[0]), dict(method="suppress", cutoff=0.5), dict()):
        InformativeMappings(threshold=-np.inf, **options).reduce(q, p)
    assert_array_equal(q, before[0])
    assert_array_equal(p, before[1])


@pytest.mark.parametrize("at", ["prior", "posterior"])
@pytest.mark.parametrize("contract", [(), (0,)])
def test_structural_zeros_and_columns_without_counts_stay(rng, at, contract):
    q, p = counts(rng, (3, 4, 2, 3))
    zero = np.zeros(p.shape, dtype=bool)
    zero[:, 0, 0, 1] = True  # impossible in one state of the factor that may be contracted only
    zero[:, 2, :, 0] = True
    zero[:, :, 1, 2] = True  # a combination of states that does not occur
    q[zero] = p[zero] = 0.0
    q[2] = p[2] = 0.0  # a table without any counts
    found = InformativeMappings(at=at, threshold=-np.inf, contract=contract).reduce(q, p)
    assert found.accepted.tolist() == [True, True, False]
    for before, after in ((p, found.prior), (q, found.posterior)):
        assert_array_equal(after == 0, before == 0)
        assert_allclose(after.sum(axis=(1, 2, 3)), before.sum(axis=(1, 2, 3)))


def test_nothing_happens_to_a_flat_prior_at_the_prior(rng):
    p = np.ones((2, 3, 4))
    found = InformativeMappings(at="prior", threshold=0.0).reduce(p + rng.integers(0, 9, p.shape), p)
    assert_array_equal(found.prior, p)
    assert not found.accepted.any()


def test_suppression_discards_a_stray_observation_only_if_the_evidence_agrees():
    p = np.full((2, 3, 1), 0.25)
    q = p + np.array([[[40.0], [0.01], [0.0]], [[40.0], [3.0], [0.0]]])
    found = InformativeMappings(method="suppress", cutoff=0.5).reduce(q, p)
    assert_array_equal(found.removed[:, :, 0], [[False, True, True], [False, False, False]])
    assert_allclose(found.prior[0, :, 0], [0.75, 0.0, 0.0])
    assert_allclose(found.posterior[0, :, 0], [40.75, 0.0, 0.0])
    assert_array_equal(found.posterior[1], q[1])
    InformativeMappings().reduce(found.posterior, found.prior)  # what comes out may go in again


def test_a_column_of_which_more_was_forgotten_than_the_reduced_prior_holds_is_left_alone():
    p = np.full((1, 3, 2), 1.0)
    q = p + np.array([[[9.0, 9.0], [0.0, -0.5], [0.0, -0.5]]])
    found = InformativeMappings(method="suppress", cutoff=1.0).reduce(q, p)
    assert_allclose(found.prior[0], [[3.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    assert_array_equal(found.posterior[0, :, 1], q[0, :, 1])


# --- averages ------------------------------------------------------------------------------------------------------------
def test_the_average_favours_the_better_model_and_spms_the_worse(rng):
    q, p = counts(rng, (8, 3, 5), prior=0.5)
    preferences = [2.0, 0.0, -2.0]  # some columns speak against them
    space = InformativeMappings(preferences=preferences)
    r = space.candidate(q, p)
    ratio = np.stack([reduction.log_evidence_ratio(a, b, c, 1 / 32) for a, b, c in zip(q, p, r, strict=True)])
    assert (ratio > 0).any() and (ratio < 0).any()
    weights = {}
    for combine in ("average", "spm-average"):
        found = InformativeMappings(preferences=preferences, combine=combine, threshold=np.inf).reduce(q, p)
        weights[combine] = ((found.prior - p) * (r - p)).sum(axis=1) / ((r - p) ** 2).sum(axis=1)
        assert_allclose(found.prior, p + weights[combine][:, None] * (r - p))
        assert_allclose(found.posterior - found.prior, q - p, atol=1e-12)
        gain = [reduction.log_evidence_ratio(a, b, c, 1 / 32).sum() for a, b, c in zip(q, p, found.prior, strict=True)]
        assert_allclose(found.log_evidence_ratio, gain)
    full_and_reduced = np.stack([np.zeros_like(ratio), ratio])
    assert_allclose(weights["average"], reduction.softmax(full_and_reduced, axis=0)[1])
    assert_allclose(weights["spm-average"], reduction.softmax(-32 * full_and_reduced, axis=0)[1], atol=1e-12)
    assert_array_equal(weights["average"] > 0.5, ratio > 0)
    assert_array_equal(weights["spm-average"] < 0.5, ratio > 0)


# --- contraction ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [dict(), dict(combine="average"), dict(method="suppress", cutoff=1.5), dict(at="prior")])
@pytest.mark.parametrize("factor", [0, 1])
def test_contraction_of_any_factor_is_that_of_the_last_one_after_a_transposition(rng, factor, options):
    q, p = counts(rng, (4, 3, 2, 2, 2), prior=0.2)  # equal sizes: a misalignment would go unnoticed by shapes
    there = [0, 1, *(f + 2 for f in range(3) if f != factor), factor + 2]
    back = np.argsort(there)
    ours = InformativeMappings(threshold=0.0, contract=[factor], **options).reduce(q, p)
    last = InformativeMappings(threshold=0.0, contract=[2], **options).reduce(q.transpose(there), p.transpose(there))
    assert ours.accepted.any()
    assert_allclose(ours.prior, last.prior.transpose(back), rtol=1e-12)
    assert_allclose(ours.posterior, last.posterior.transpose(back), rtol=1e-12)
    assert_allclose(ours.log_evidence_ratio, last.log_evidence_ratio, rtol=1e-10, atol=1e-12)
    assert ours.prior.shape == q.shape
    assert_allclose(ours.prior, ours.prior.mean(axis=factor + 2, keepdims=True) + 0 * q)
    if ours.removed is not None:
        assert_array_equal(ours.removed, last.removed.transpose(back))


def test_a_contracted_table_is_the_table_of_the_sums(rng):
    q, p = counts(rng, (4, 3, 2, 4, 2), prior=0.2)
    whole = InformativeMappings(threshold=0.0, contract=[2, 0]).reduce(q, p)
    summed = InformativeMappings(threshold=0.0).reduce(q.sum(axis=(2, 4)), p.sum(axis=(2, 4)))
    assert_allclose(whole.prior.sum(axis=(2, 4)), summed.prior)
    assert_allclose(whole.posterior.sum(axis=(2, 4)), summed.posterior)
    assert_allclose(whole.log_evidence_ratio, summed.log_evidence_ratio)


# --- what it is good for -------------------------------------------------------------------------------------------------
def test_at_the_posterior_a_noisy_mapping_is_sharpened_and_predicts_better(rng):
    truth, q, p = noisy_identity(200, 4, 5, 0.1, rng)
    found = InformativeMappings().reduce(q, p)
    assert found.accepted.mean() > 0.9
    assert found.log_evidence_ratio[found.accepted].min() >= 0.5
    predicted, before = (x / x.sum(axis=1, keepdims=True) for x in (found.posterior, q))
    held_out = (truth * np.log(predicted / before)).sum(axis=1)  # expected gain per future observation, nats
    assert held_out.mean() > 0.03
    assert (held_out.mean(axis=1) > 0).mean() > 0.9
    sharper = [
        dirichlet.mutual_information(a) - dirichlet.mutual_information(b) for a, b in zip(found.posterior, q, strict=True)
    ]
    assert np.min(np.array(sharper)[found.accepted]) > 0


def test_at_the_posterior_a_mapping_that_tells_nothing_is_hardly_touched(rng):
    _, q, p = noisy_identity(200, 4, 10, 0.75, rng)
    found = InformativeMappings().reduce(q, p)
    changed = (found.prior != p).any(axis=1)
    assert changed.mean() < 0.02


def test_sleeping_again_goes_on_up_the_slope(rng):
    _, q, p = noisy_identity(20, 4, 10, 0.05, rng)
    space = InformativeMappings()
    first = space.reduce(q, p)
    again = space.reduce(first.posterior, first.prior)
    total = [reduction.log_evidence_ratio(a, b, c, 1 / 32).sum() for a, b, c in zip(q, p, again.prior, strict=True)]
    assert_allclose(total, first.log_evidence_ratio + again.log_evidence_ratio)
    assert (again.log_evidence_ratio[first.accepted] > 0).all()


# --- errors --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(method="simple"), ValueError, "method of InformativeMappings must be one of .*; got 'simple'"),
        (dict(at="mean"), ValueError, "at of InformativeMappings must be one of .*; got 'mean'"),
        (dict(combine="bma"), ValueError, "combine of InformativeMappings must be one of .*; got 'bma'"),
        (dict(threshold=np.nan), ValueError, "threshold of InformativeMappings must be"),
        (dict(rate=0.0), ValueError, "rate of InformativeMappings must be a finite number > 0; got 0.0"),
        (dict(cutoff=-3.0), ValueError, "cutoff of InformativeMappings must be a finite number > 0; got -3.0"),
        (dict(offset=-1.0), ValueError, "offset of InformativeMappings must be a finite number >= 0; got -1.0"),
        (dict(contract=[-1]), ValueError, r"contract of InformativeMappings must hold different factors, >= 0; got \(-1,\)"),
        (dict(contract=[1, 1]), ValueError, "contract of InformativeMappings must hold different factors"),
        (dict(contract=[0.5]), TypeError, r"contract of InformativeMappings must hold whole numbers; got \[0.5\]"),
        (dict(contract=1), TypeError, "contract of InformativeMappings must hold whole numbers; got 1"),
        (dict(preferences=[0.0, -np.inf]), ValueError, "preferences of InformativeMappings must be finite"),
        (dict(preferences=[[0.0, 1.0]]), ValueError, "preferences of InformativeMappings must be finite"),
        (dict(preferences=[0.0, 1.0], method="suppress"), ValueError, "preferences of InformativeMappings must be None"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        InformativeMappings(**options)


@pytest.mark.parametrize(
    ("options", "q", "p", "message"),
    [
        (dict(preferences=[0.0, 1.0]), np.ones((1, 3, 2)), np.ones((3, 2)), "preferences .* must hold 3 numbers.*got 2"),
        (dict(contract=[1]), np.ones((1, 3, 2)), np.ones((3, 2)), r"contract .* 0 to 0; got \(1,\)"),
        (dict(), np.ones((1, 3, 2)), np.ones((2, 3)), "prior must have the shape of posterior"),
        (dict(), -np.ones((1, 3, 2)), np.ones((3, 2)), "posterior must not be negative"),
        (dict(), np.zeros((1, 3, 2)), np.zeros((3, 2)), "prior must hold some counts"),
    ],
)
def test_bad_tables_are_refused(options, q, p, message):
    with pytest.raises(ValueError, match=message):
        InformativeMappings(**options).reduce(q, p)
