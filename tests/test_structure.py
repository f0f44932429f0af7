"""`Alternatives`: SPM's motifs, exact evidences, Occam's window, and what becomes of the counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from test_reduction import log_evidence_of_sequence
from worlds import lamp_rules, two_rooms

from activebmr import Alternatives, HypothesisSpace
from activebmr.reduction.search.protocol import Reduction, checked_tables
from paradigms import insight


def small_space(rng, prior, n_models=4):
    """Random models of a table: some columns as in the prior, some with more or fewer counts; in whole numbers of eighths."""
    models = {}
    for j in range(n_models):
        changed = np.ceil(8 * rng.gamma(1.0, size=prior.shape)) / 8
        keep = rng.random(prior.shape[1:]) < 0.4
        models[f"m{j}"] = {0: np.where(keep, prior, changed) * (prior > 0)}
    return HypothesisSpace(models)


def observed(rng, n, shape, most=4):
    """Whole numbers of observations of each outcome in each state, some states unseen."""
    return rng.integers(0, most, size=(n, *shape)) * (rng.random((n, 1, *shape[1:])) < 0.7)


# --- SPM -----------------------------------------------------------------------------------------------------------------
def test_evidences_of_all_motifs_after_every_trial_are_spms(spm):
    """SPM's free energy is minus our ratio; its motifs come in the order of the paradigm's."""
    z = spm("rule2017")
    ratios = insight.model_space().ratios(z["a1"], z["prior_a1"])
    assert ratios.shape == (32, 36)
    assert_allclose(ratios, -z["motF"], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shared", [True, False])
def test_winner_and_adoption_are_spms(spm, shared):
    z = spm("rule2017")
    prior = z["prior_a1"] if shared else np.repeat(z["prior_a1"][None], 32, axis=0)
    found = insight.model_space().reduce(z["a1"], prior)
    assert_array_equal(found.model, z["motbest"] - 1)
    assert_array_equal(found.accepted, z["reduced"] == 1)
    assert_allclose(found.log_evidence_ratio, -z["motmin"], rtol=1e-8)
    first = int(z["sleep_trial"][0, 0]) - 1
    assert found.accepted.argmax() == first == 5
    assert_array_equal(found.held, np.where(z["reduced"] == 1, 0, -1))


def test_counts_after_sleep_are_spms_exactly(spm):
    z = spm("rule2017")
    found = insight.model_space().reduce(z["a1"][5:6], z["prior_a1"])
    assert_array_equal(found.posterior[0], z["sleep_a1"])
    assert_array_equal(found.prior[0], z["sleep_a0"])


def test_before_adoption_nothing_changes(spm):
    z = spm("rule2017")
    found = insight.model_space().reduce(z["a1"][:5], z["prior_a1"])
    assert not found.accepted.any()
    assert_array_equal(found.posterior, z["a1"][:5])
    assert_array_equal(found.prior, np.repeat(z["prior_a1"][None], 5, axis=0))


def test_one_table_at_a_time_gives_the_same_bits(spm):
    z = spm("rule2017")
    space = insight.model_space()
    whole = space.ratios(z["a1"], z["prior_a1"])
    for i in (0, 5, 31):
        assert_array_equal(space.ratios(z["a1"][i : i + 1], z["prior_a1"])[0], whole[i])


# --- exact evidence ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("offset", [0.0, 1 / 32])
@pytest.mark.parametrize("seed", range(4))
def test_ratios_are_those_of_the_exact_evidences_of_the_raw_observations(seed, offset):
    """ln p(observations | model) - ln p(observations | parent) by the chain rule, one observation after the other."""
    rng = np.random.default_rng(seed)
    prior = np.ceil(8 * rng.gamma(2.0, size=(3, 2, 2))) / 8
    space = small_space(rng, prior)
    n = observed(rng, 5, prior.shape)
    # a prior of each table's own
    priors = prior * (1.0 + np.arange(5.0)).reshape(5, 1, 1, 1)
    ratios = Alternatives(space, offset=offset).ratios(priors + n, priors)
    for i, j in np.ndindex(5, len(space)):
        exact, model = 0.0, space.dense(j, 0)
        for state in np.ndindex(2, 2):
            at = (slice(None), *state)
            outcomes = np.repeat(np.arange(3), n[i][at])
            exact += log_evidence_of_sequence(model[at] + offset, outcomes)
            exact -= log_evidence_of_sequence(priors[i][at] + offset, outcomes)
        assert ratios[i, j] == pytest.approx(exact, abs=1e-9)


@given(st.integers(0, 10**6))
def test_order_of_observations_and_of_states_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    prior = rng.gamma(2.0, size=(3, 4)) + 0.1
    space = small_space(rng, prior)
    posterior = prior + rng.gamma(1.0, size=(2, 3, 4))
    turn, swap = rng.permutation(4), rng.permutation(3)
    turned = HypothesisSpace({n: {0: space.dense(n, 0)[swap][:, turn]} for n in space.names})
    there = Alternatives(turned).ratios(posterior[:, swap][:, :, turn], prior[swap][:, turn])
    assert_allclose(Alternatives(space).ratios(posterior, prior), there, rtol=1e-9, atol=1e-10)


def test_without_data_every_ratio_is_zero(rng):
    prior = rng.gamma(2.0, size=(3, 2, 2)) + 0.1
    found = Alternatives(small_space(rng, prior)).reduce(prior[None], prior)
    assert_allclose(found.ratios, 0.0, atol=1e-12)
    assert not found.accepted.any()


def test_the_truth_wins_in_the_long_run(rng):
    """Data from each model in turn: with enough of it, that model is found, and with data from elsewhere none is."""
    prior = np.ones((3, 4))
    models = {f"m{k}": {0: 1.0 + 20.0 * np.eye(3)[:, (np.arange(4) + k) % 3]} for k in range(3)}
    space = Alternatives(HypothesisSpace(models))
    data = [rng.multinomial(60, m[0][:, s] / m[0][:, s].sum()) for m in models.values() for s in range(4)]
    n = np.array(data).reshape(3, 4, 3).transpose(0, 2, 1)
    found = space.reduce(1.0 + n, prior)
    assert_array_equal(found.held, [0, 1, 2])
    assert (found.log_evidence_ratio > 10).all()
    even = space.reduce(prior[None] + 20.0, prior)
    assert not even.accepted.any() and even.held[0] == -1 and (even.ratios < 0).all()


# --- impossible models ---------------------------------------------------------------------------------------------------
def two_models(**options):
    """The prior holds three outcomes possible; one model gives up the last, the other the first."""
    light, dark = np.array([[9.0], [1.0], [0.0]]), np.array([[0.0], [1.0], [9.0]])
    return Alternatives(HypothesisSpace({"no last": {0: light}, "no first": {0: dark}}), offset=0.0, **options)


def test_a_model_that_excludes_what_was_seen_never_wins():
    prior = np.ones((3, 1))
    seen = prior + np.array([[[20.0], [1.0], [0.0]], [[20.0], [1.0], [1.0]]])
    for threshold in (3.0, 0.0, -1e9):
        found = two_models(threshold=threshold).reduce(seen, prior)
        assert found.ratios[0, 0] > 4 and found.ratios[0, 1] == -np.inf
        assert (found.ratios[1] == -np.inf).all()
        assert_array_equal(found.held, [0, -1])
        assert_allclose(found.probabilities[1], 0.0)
        assert np.isfinite(found.posterior).all() and np.isfinite(found.prior).all()


def test_a_model_that_has_become_impossible_is_given_up():
    prior = np.ones((3, 1))
    seen = prior + np.array([[[20.0], [1.0], [1.0]], [[0.0], [1.0], [20.0]]])
    found = two_models(threshold=3.0).reduce(seen, prior, held=[0, 0])
    assert_array_equal(found.held, [-1, 1])
    assert_array_equal(found.posterior[0], seen[0])
    assert_array_equal(found.accepted, [False, True])


def test_one_impossible_column_is_enough():
    """... even if another column speaks for the model loudly."""
    prior = np.ones((2, 2))
    models = {"a": {0: np.array([[5.0, 5.0], [0.0, 0.1]])}, "b": {0: np.array([[2.0, 5.0], [2.0, 0.1]])}}
    space = Alternatives(HypothesisSpace(models), offset=0.0)
    ratios = space.ratios(prior[None] + np.array([[[0.0, 50.0], [1.0, 0.0]]]), prior)
    assert ratios[0, 0] == -np.inf and ratios[0, 1] > 0


# --- Occam's window ------------------------------------------------------------------------------------------------------
def judged(ratios, held, threshold):
    """What becomes of agents that hold some models, if the evidence of the models is as given."""
    n = len(ratios)
    space = Alternatives(lamp_rules(), threshold=threshold)
    space.ratios = lambda q, p: np.asarray(ratios, dtype=float)
    prior = two_rooms().pA[1]
    return space.reduce(np.repeat(prior[None], n, axis=0), prior, held)


@pytest.mark.parametrize(
    "held, ratios, after",
    [
        (-1, (3.0, 1.0), 0),  # the best is enough better than the parent
        (-1, (2.9, 1.0), -1),  # not enough
        (-1, (1.0, 7.0), 1),
        (-1, (-1.0, -5.0), -1),
        (0, (3.0, 5.0), 0),  # another is better, but not by enough
        (0, (3.0, 6.0), 1),  # by enough
        (0, (-2.0, 0.5), 0),  # the parent and the other lead by less than the window
        (0, (-2.0, 1.0), 1),
        (0, (-3.0, -3.5), -1),  # the parent leads by the window, and so it comes back
        (0, (-2.9, -3.5), 0),
        (0, (-5.0, 2.0), 1),  # both would do; the better one is taken
        (0, (-5.0, -1.0), -1),  # the parent is better than either
        (1, (9.0, -9.0), 0),
        (1, (0.1, 0.0), 1),  # below the window against the parent by now, but nothing leads by that much
        (0, (-np.inf, -np.inf), -1),
        (0, (-np.inf, 0.0), 1),
        (0, (-np.inf, -0.1), -1),
        (-1, (-np.inf, -np.inf), -1),
    ],
)
def test_what_is_held_gives_way_only_to_a_lead_of_the_window(held, ratios, after):
    found = judged([ratios], [held], 3.0)
    assert found.held[0] == after
    assert found.accepted[0] == (after >= 0)
    assert found.model[0] == int(np.argmax(ratios)) and found.log_evidence_ratio[0] == max(ratios)


def test_an_infinite_window_never_opens():
    """Neither to a model nor, if one is held, to any other that is possible."""
    found = judged([[1e9, 0.0], [-1e9, 0.0], [0.0, 1e9]], [-1, 0, 0], np.inf)
    assert_array_equal(found.held, [-1, 0, 0])


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=2), st.integers(-1, 1), st.floats(0.1, 10.0))
def test_whatever_is_held_in_the_end_is_not_beaten_by_the_window(ratios, held, threshold):
    """An invariant: nothing, parent included, leads by the window over what is held afterwards; and asking again changes
    nothing.
    """
    after = judged([ratios], [held], threshold).held[0]
    worth = [*ratios, 0.0]
    assert max(worth) - worth[after] < threshold
    assert judged([ratios], [after], threshold).held[0] == after
    if after != held:
        assert worth[after] == max(worth) and worth[after] - worth[held] >= threshold


def test_each_table_is_judged_by_itself():
    found = judged([[5.0, 0.0], [0.0, 5.0], [0.0, 0.0]], [-1, -1, -1], 3.0)
    prior, space = two_rooms().pA[1], Alternatives(lamp_rules())
    assert_array_equal(found.held, [0, 1, -1])
    for k in range(2):
        r, s = space.adopted(k, prior[None], prior)
        assert_array_equal(found.prior[k], r[0])
        assert_array_equal(found.posterior[k], s[0])
    assert_array_equal(found.prior[2], prior)


# --- what becomes of the counts ------------------------------------------------------------------------------------------
@given(st.integers(0, 10**6))
def test_reduced_counts_are_the_models_plus_the_evidence(seed):
    rng = np.random.default_rng(seed)
    prior = (rng.gamma(2.0, size=(3, 2, 2)) + 0.1) * (rng.random((3, 2, 2)) < 0.8)
    prior[0] += 0.5
    space = small_space(rng, prior)
    for name in space.names:
        if not (space.dense(name, 0).sum(axis=0) > 0).all():
            return
    n = rng.gamma(1.0, size=(4, 3, 2, 2)) * (prior > 0)
    alternatives = Alternatives(space)
    for j in range(len(space)):
        r, s = alternatives.adopted(j, prior + n, prior)
        assert_array_equal(r, np.repeat(space.dense(j, 0)[None], 4, axis=0))
        assert_allclose(s - r, n, atol=1e-12)  # evidence is neither lost nor made
        assert (s[:, prior == 0] == 0).all() and (r[:, prior == 0] == 0).all()


@given(st.integers(0, 10**6))
def test_claims_keep_the_mass_of_every_column_and_all_structural_zeros(seed):
    rng = np.random.default_rng(seed)
    prior = (rng.gamma(2.0, size=(3, 5)) + 0.1) * (rng.random((3, 5)) < 0.7)
    prior[0] += 0.5
    space = HypothesisSpace({f"m{j}": {0: prior + 4.0 * (rng.random((3, 5)) < 0.3)} for j in range(3)})
    posterior = prior + rng.gamma(1.0, size=(2, 3, 5)) * (prior > 0)
    alternatives = Alternatives(space, adopt="claims", check_support=False)
    for j in range(3):
        r, s = alternatives.adopted(j, posterior, prior)
        claimed = (space.dense(j, 0) > prior) & (prior > 0)
        for fresh, before in ((r, np.repeat(prior[None], 2, axis=0)), (s, posterior)):
            assert_allclose(fresh.sum(axis=1), before.sum(axis=1), rtol=1e-12)
            assert (fresh[:, prior == 0] == 0).all()
            some = claimed.any(axis=0)
            assert_array_equal(fresh[:, :, ~some], before[:, :, ~some])  # what is not claimed stays as it was
            assert (fresh[:, :, some][:, ~claimed[:, some]] == 0).all()  # what is claimed takes all
        # the models add 4 wherever they claim, so claimed outcomes of a column share it evenly
        top = np.where(claimed, s, np.nan)
        spread = np.nanmax(top[:, :, some], axis=1) - np.nanmin(top[:, :, some], axis=1)
        assert_allclose(spread, 0.0, atol=1e-12)


def test_claims_about_the_impossible_change_nothing_and_count_against_a_model(spm):
    """At the centre SPM's motifs claim colours that the prior excludes: the offset lets them pass, at a price."""
    z = spm("rule2017")
    space = insight.model_space()
    prior = z["prior_a1"]
    r, s = space.adopted(0, z["a1"][31:], prior)
    assert_array_equal(s[0][:, :, :, 1], z["a1"][31][:, :, :, 1])
    claims_centre = insight.claims(0)[..., 1, :] * (prior[..., 1, :] == 0)
    assert claims_centre.any()
    within = HypothesisSpace({n: {0: np.where(prior > 0, space.space.dense(n, 0), 0.0)} for n in space.space.names})
    honest = Alternatives(within, offset=1 / 32).ratios(z["a1"][31:], prior)
    assert honest[0, 0] > space.ratios(z["a1"][31:], prior)[0, 0]


def test_adoption_by_name_or_index_is_the_same(rng):
    prior = two_rooms().pA[1]
    space = Alternatives(lamp_rules())
    assert_array_equal(space.adopted("both", prior[None], prior)[0], space.adopted(1, prior[None], prior)[0])
    with pytest.raises(ValueError, match="model must lie in 0..1; got 2"):
        space.adopted(2, prior[None], prior)


def test_inputs_stay_as_they_were(spm):
    z = spm("rule2017")
    q, p = z["a1"][4:7].copy(), z["prior_a1"].copy()
    found = insight.model_space().reduce(q, p)
    found.prior[:], found.posterior[:] = -1.0, -1.0
    assert_array_equal(q, z["a1"][4:7])
    assert_array_equal(p, z["prior_a1"])


# --- probabilities -------------------------------------------------------------------------------------------------------
ratio_lists = st.lists(st.floats(-800, 800) | st.just(-np.inf), min_size=1, max_size=6)


@given(ratio_lists)
def test_probabilities_are_the_softmax_with_the_parent_at_zero(ratios):
    found = Reduction(*[np.zeros((1, 2, 1))] * 2, *[np.zeros(1)] * 3, ratios=np.array([ratios]))
    worth = np.array([*ratios, 0.0])
    weight = np.exp(worth - worth.max())
    assert_allclose(found.probabilities[0], (weight / weight.sum())[:-1], rtol=1e-12, atol=1e-300)
    assert 0 <= found.probabilities.sum() <= 1 + 1e-12


def test_spaces_that_are_no_lists_have_no_probabilities():
    assert Reduction(*[np.zeros((1, 2, 1))] * 2, *[np.zeros(1)] * 3).probabilities is None


def test_probabilities_are_bayes_rule_over_the_models_and_the_parent(rng):
    """From exact evidences of raw observations, all models and the parent equally likely before."""
    prior = np.ones((3, 2))
    space = small_space(rng, prior, 3)
    n = observed(rng, 1, (3, 2))
    evidence = []
    for model in [*(space.dense(j, 0) for j in range(3)), prior]:
        logs = [log_evidence_of_sequence(model[:, s] + 1 / 32, np.repeat(np.arange(3), n[0, :, s])) for s in range(2)]
        evidence.append(np.exp(sum(logs)))
    found = Alternatives(space).reduce(prior + n, prior)
    assert_allclose(found.probabilities[0], np.array(evidence[:3]) / sum(evidence), rtol=1e-9)


# --- refusals ------------------------------------------------------------------------------------------------------------
def test_columns_of_zeros_are_left_as_they_are():
    prior = np.array([[1.0, 0.0], [1.0, 0.0]])
    models = HypothesisSpace({"a": {0: np.array([[4.0, 1.0], [1.0, 1.0]])}, "b": {0: np.array([[1.0, 1.0], [4.0, 1.0]])}})
    for adopt, before, now in (("claims", [2.0, 0.0], [32.0, 0.0]), ("reduced", [4.0, 1.0], [34.0, 1.0])):
        found = Alternatives(models, check_support=False, adopt=adopt, threshold=1.0).reduce(
            prior[None] + np.array([[[30.0, 0.0], [0.0, 0.0]]]), prior
        )
        assert found.held[0] == 0 and np.isfinite(found.ratios).all()
        assert_array_equal(found.prior[0], np.transpose([before, [0.0, 0.0]]))
        assert_array_equal(found.posterior[0], np.transpose([now, [0.0, 0.0]]))


@pytest.mark.parametrize("adopt", insight.ADOPTIONS)
def test_what_the_prior_excludes_stays_impossible_under_every_motif(spm, adopt):
    z = spm("rule2017")
    space = insight.model_space(adopt)
    for j in range(36):
        for table in space.adopted(j, z["a1"][31:], z["prior_a1"]):
            assert (table[0][z["prior_a1"] == 0] == 0).all()
            assert (table[0].sum(axis=0) > 0).all()


BAD_TABLES = [
    (np.ones((1, 3, 2, 2)), -np.ones((3, 2, 2)), "prior must not be negative"),
    (-np.ones((1, 3, 2, 2)), np.ones((3, 2, 2)), "posterior must not be negative"),
    (np.full((1, 3, 2, 2), np.nan), np.ones((3, 2, 2)), "posterior must be finite; got nan"),
    (np.full((1, 3, 2, 2), np.inf), np.ones((3, 2, 2)), "posterior must be finite; got inf"),
    (np.ones((1, 3, 2, 2)), np.full((3, 2, 2), np.nan), "prior must be finite; got nan"),
    (np.ones((1, 3, 2, 2)), np.zeros((3, 2, 2)), "prior must hold some counts; all of them are zero"),
    (np.ones((0, 3, 2, 2)), np.ones((3, 2, 2)), r"posterior must be a batch of tables .*; got shape \(0, 3, 2, 2\)"),
    (np.ones(3), np.ones(3), r"posterior must be a batch of tables .*; got shape \(3,\)"),
    (np.ones((2, 3, 2, 2)), np.ones((1, 3, 2, 2)), r"prior must have the shape of posterior, \(2, 3, 2, 2\)"),
    (np.ones((2, 3, 2, 2)), np.ones((2, 2)), "prior must have the shape of posterior"),
    (np.ones((1, 3, 2)), np.ones((3, 2)), r"posterior must hold tables of shape \(3, 2, 2\), the models'; got \(3, 2\)"),
]


@pytest.mark.parametrize("posterior, prior, message", BAD_TABLES)
@pytest.mark.parametrize("call", ["reduce", "ratios", "adopted"])
def test_bad_counts_are_named(posterior, prior, message, call):
    space = Alternatives(lamp_rules(), check_support=False)
    arguments = (0, posterior, prior) if call == "adopted" else (posterior, prior)
    with pytest.raises(ValueError, match=message):
        getattr(space, call)(*arguments)


def test_counts_where_the_prior_has_none_are_named():
    prior = two_rooms().pA[1]
    posterior = prior[None] + 1.0
    with pytest.raises(
        ValueError, match=r"posterior must be zero where prior is, a structural zero; entry \(0, 2, 1, 0\) is 1"
    ):
        Alternatives(lamp_rules()).reduce(posterior, prior)


def test_models_beyond_the_support_of_the_prior_are_named():
    prior = two_rooms().pA[1]
    rules = lamp_rules()
    wide = {n: {1: rules.dense(n, 1) + (0.5 if n == "both" else 0.0)} for n in rules.names}
    space = Alternatives(HypothesisSpace(wide))
    with pytest.raises(ValueError, match=r"model 'both' gives 0.5 counts to entry \(2, 1, 1\), a structural zero of the prior"):
        space.reduce(prior[None], prior)
    assert np.isfinite(Alternatives(HypothesisSpace(wide), check_support=False).ratios(prior[None], prior)).all()


@pytest.mark.parametrize("held", [[0], [0, 1, 2], [0, 2], [-2, 0], [[0, 0]]])
def test_a_bad_list_of_what_is_held_is_named(held):
    prior = two_rooms().pA[1]
    with pytest.raises(ValueError, match=r"held must hold 2 numbers in -1\.\.1, one per table"):
        Alternatives(lamp_rules()).reduce(np.repeat(prior[None], 2, axis=0), prior, held)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"threshold": np.nan}, "threshold of Alternatives must be a number of nats, or inf for never; got nan"),
        ({"offset": -0.1}, "offset of Alternatives must be a finite number >= 0; got -0.1"),
        ({"offset": np.inf}, "offset of Alternatives must be a finite number >= 0; got inf"),
        ({"offset": np.nan}, "offset of Alternatives must be a finite number >= 0; got nan"),
        ({"adopt": "soft"}, r"adopt of Alternatives must be one of \['reduced', 'claims'\]; got 'soft'"),
        ({"modality": 0}, r"modality must be one that the models speak about, \[1\]; got 0"),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Alternatives(lamp_rules(), **options)


def test_of_several_modalities_one_must_be_chosen():
    table = np.ones((2, 2))
    models = {n: {0: table + k, 2: table * (1 + k)} for k, n in enumerate("ab")}
    space = HypothesisSpace(models)
    with pytest.raises(ValueError, match=r"modality must be given, one of \[0, 2\]: the models speak about several"):
        Alternatives(space)
    for m in (0, 2):
        r, _ = Alternatives(space, m).adopted(1, table[None], table)
        assert_array_equal(r[0], models["b"][m])


def test_a_list_tells_its_length_and_names():
    space = Alternatives(lamp_rules())
    assert len(space) == 2 and space.names == ("left", "both")


def test_checked_tables_share_one_prior():
    q, p = checked_tables(np.ones((3, 2, 2)), np.ones((2, 2)))
    assert q.shape == p.shape == (3, 2, 2)


def test_no_motif_is_a_repetition_of_another():
    tables = [insight.motifs().dense(j, 0) for j in range(36)]
    assert all((a != b).any() for a, b in itertools.combinations(tables, 2))
