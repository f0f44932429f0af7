"""`replay`: agents in somebody else's life, as with recorded participants."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from worlds import columns, lamp_rules, random_world, two_rooms

from activebmr import POMDP, Agent, HypothesisSpace, Learning, Paradigm, Planner, Selection, load_recording, replay, simulate
from activebmr.inference.paths import PathSettings
from paradigms import three_ball

STEPWISE = ("neg_efe", "utility", "state_info_gain", "param_info_gain", "model_info_gain", "q_pi", "model_posterior")
SCORES = ("log_likelihood", "log_likelihood_q_pi", "action_probability", "chance")


def rooms(truth=1, **options) -> Paradigm:
    held = {"selection": Selection(threshold=3.0, curious=True, concentration=64.0), "learning": Learning(retention=0.999)}
    agent = Agent(two_rooms(), lamp_rules(), Planner(depth=1), **(held | {"inference": "factorised"} | options))
    return Paradigm("rooms", "s", agent, two_rooms(), 4, lamp_rules(), truth)


def swapped(trace: dict, agent: int = 0) -> list[np.ndarray]:
    """States, controls and outcomes of an agent of a trace as a recording (trial, factor or modality, time)."""
    return [np.swapaxes(trace[name][0, agent], 1, 2) for name in ("states", "controls", "outcomes")]


def softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_softmax(x):
    x = x - np.max(x, axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("scheme", ["reasoning", "paper", "paper-states", "knowing", "laboratory", "clairvoyant"])
def test_a_simulated_life_replayed_is_the_same_life(scheme):
    """Including the times after an insight, and what agents are told or set up: bit by bit what the agent thought, decided,
    learned and adopted.
    """
    paradigm = three_ball.paradigm(scheme)
    result = simulate(paradigm, 1, 24, seed=6, trace=True)
    out = replay(paradigm, *swapped(result.trace), every_policy=False)
    for name, array in out.items():
        if name == "adopted_model":
            assert array[-1] == result.adopted_model[0, 0]
        elif name in ("policy", "controls"):  # what follows the last outcome was not recorded
            assert_array_equal(array[:, :-1], result.trace[name][0, 0][:, :-1], err_msg=name)
        elif name not in SCORES:
            assert_array_equal(array, result.trace[name][0, 0], err_msg=name)
    if scheme in ("reasoning", "paper"):
        assert result.adopted_model[0, 0] == three_ball.PAPER_RULE


@pytest.mark.parametrize("scheme", ["paper", "knowing"])
def test_every_policy_is_evaluated_and_nothing_else_changes(scheme):
    """Where the scheme's own search cuts a policy it books the best one's worth less 512 nats."""
    paradigm = three_ball.paradigm(scheme)
    recorded = swapped(simulate(paradigm, 1, 24, seed=6, trace=True).trace)
    own, out = (replay(paradigm, *recorded, every_policy=every) for every in (False, True))
    cut = own["neg_efe"] < own["neg_efe"].max(axis=-1, keepdims=True) - 300
    assert cut.any() and not cut.all()
    span = np.ptp(out["neg_efe"], axis=-1)
    assert span.max() < 60
    assert_array_equal(out["neg_efe"][~cut], own["neg_efe"][~cut])
    changed = ("neg_efe", "q_pi", "confidence", "log_likelihood", "log_likelihood_q_pi", "action_probability")
    for name in set(out) - set(changed):
        assert_array_equal(out[name], own[name], err_msg=name)


def test_axes_of_the_report():
    result = simulate(rooms(), 1, 3, seed=0, trace=True)
    out = replay(rooms(), *swapped(result.trace))
    shapes = {name: array.shape for name, array in out.items()}
    assert all(shapes[name] == (3, 4, 2) for name in STEPWISE)
    assert shapes["qs_room"] == shapes["qs_lamp"] == shapes["controls"] == shapes["outcomes"] == shapes["states"] == (3, 4, 2)
    assert shapes["free_energy"] == shapes["confidence"] == shapes["policy"] == (3, 4)
    assert shapes["pA_light"] == (3, 3, 2, 2)
    assert shapes["log_odds"] == shapes["kl_to_truth"] == shapes["adopted_model"] == (3,)
    assert all(shapes[name] == (3, 4) for name in (*SCORES, "impossible"))
    assert out["impossible"].dtype == bool and not out["impossible"].any()
    assert np.isnan(out["log_likelihood"][:, -1]).all() and np.isfinite(out["log_likelihood"][:, :-1]).all()


def test_counts_are_those_after_forgetting_and_before_adoption():
    paradigm = rooms(learning=Learning(retention=0.999), selection=Selection(threshold=-100.0, concentration=64.0))
    result = simulate(paradigm, 1, 2, seed=0, trace=True)
    states, controls, outcomes = swapped(result.trace)
    out = replay(paradigm, states, controls, outcomes)
    assert out["adopted_model"][0] >= 0
    agent, state = paradigm.agent, paradigm.agent.init()
    for t in range(4):
        state, _ = agent.step(state, outcomes[0, :, t], action=controls[0, :, t])
    assert_array_equal(out["pA_light"][0], 0.999 * agent.posterior_counts(state, "light")[0])


def test_a_choice_that_the_scheme_does_not_have_is_reported_as_such():
    agent = Agent(two_rooms(policies=[[0, 0]]))
    paradigm = Paradigm("rooms", "s", agent, two_rooms(), 3)
    zeros = np.zeros((1, 2, 3), dtype=int)
    controls = zeros.copy()
    controls[0, 0, 0] = 1
    outcomes = zeros.copy()
    outcomes[0, 0, 1] = 1  # the other room, as one would see after that
    out = replay(paradigm, zeros, controls, outcomes)
    assert_array_equal(out["policy"][0], [-1, 0, -1])  # nothing is chosen at the last time
    assert_array_equal(out["log_likelihood"][0], [-np.inf, 0.0, np.nan])
    assert_array_equal(out["log_likelihood_q_pi"][0], [-np.inf, 0.0, np.nan])
    assert_array_equal(out["chance"][0], [0.0, 1.0, np.nan])
    assert_array_equal(out["adopted_model"], [-1])
    assert "model_posterior" not in out


def test_trials_may_be_shorter_than_the_paradigms():
    zeros = np.zeros((2, 2, 2), dtype=int)
    assert replay(rooms(), zeros, zeros, zeros)["q_pi"].shape == (2, 2, 2)


# --- likelihood ------------------------------------------------------------------------------------------------------------
def places(n=3, **options) -> Paradigm:
    """Places that one sees and goes to; place k is worth k nats."""
    go = np.repeat(np.eye(n)[:, None, :], n, axis=1)
    model = POMDP(A=[np.eye(n)], B=[go], C=[np.arange(n, dtype=float)], D=[np.eye(n)[0]], policy_length=options.pop("steps", 1))
    planner = Planner(gains=(), **options.pop("planner", {}))
    return Paradigm("places", "planning", Agent(model, planner=planner, **options), model, 4)


def visits(*where):
    """A trial in which one goes from place to place."""
    return {"controls": [[[*where[1:], 0]]], "outcomes": [[list(where)]]}


@pytest.mark.parametrize("alpha, gamma", [(512.0, 1.0), (2.0, 0.3), (1.0, 4.0)])
def test_both_likelihoods_in_closed_form(alpha, gamma):
    """Place k is worth k: acting has softmax(alpha k), the posterior over policies softmax(gamma k)."""
    out = replay(places(planner={"alpha": alpha, "gamma": gamma}), **visits(0, 2, 0, 1))
    value = np.arange(3.0)
    assert_allclose(out["log_likelihood"][0, :3], log_softmax(alpha * value)[[2, 0, 1]], rtol=1e-12, atol=1e-12)
    assert_allclose(out["log_likelihood_q_pi"][0, :3], log_softmax(gamma * value)[[2, 0, 1]], rtol=1e-12)
    assert_allclose(out["action_probability"][0, :3], softmax(alpha * value)[[2, 0, 1]], rtol=1e-12)
    assert_allclose(out["chance"][0, :3], 1 / 3)


def test_what_is_all_but_impossible_has_a_finite_likelihood():
    """e^-2e12 and e^-2000 are no numbers of their own; their logarithms are."""
    out = replay(places(planner={"alpha": 1e12, "gamma": 1000.0}), **visits(0, 0, 2, 2))
    assert_allclose(out["log_likelihood"][0, :3], [-2e12, 0, 0], rtol=1e-12)
    assert_allclose(out["log_likelihood_q_pi"][0, :3], [-2000, 0, 0], rtol=1e-12)


@pytest.mark.parametrize("alpha", [None, np.inf])
def test_agents_that_always_take_the_best(alpha):
    out = replay(places(planner={"alpha": alpha}), **visits(0, 2, 1, 2))
    assert_array_equal(out["log_likelihood"][0], [0.0, -np.inf, 0.0, np.nan])
    assert_array_equal(out["action_probability"][0], [1.0, 0.0, 1.0, np.nan])
    assert np.isfinite(out["log_likelihood_q_pi"][0, :3]).all()


def test_an_action_has_the_probability_of_all_policies_that_begin_with_it():
    """Policies of three steps: each step is worth its place, so that later ones cancel."""
    out = replay(places(steps=3, planner={"alpha": 1.5, "gamma": 0.7}), **visits(0, 1, 2, 0))
    value = np.arange(3.0)
    assert_allclose(out["log_likelihood"][0, :3], log_softmax(1.5 * value)[[1, 2, 0]], rtol=1e-12)
    assert_allclose(out["log_likelihood_q_pi"][0, :3], log_softmax(0.7 * value)[[1, 2, 0]], rtol=1e-12)
    assert_allclose(out["chance"][0, :3], 1 / 3)


@pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")
@pytest.mark.parametrize("sampling", ["policy", "marginal"])
@pytest.mark.parametrize("seed", range(6))
def test_likelihoods_are_what_steps_report(sampling, seed):
    """Of random worlds: what `StepInfo.action_probabilities` and q_pi say about what was done."""
    rng = np.random.default_rng(seed)
    model = random_world(seed, max_factors=3, policy_length=1 + seed % 2)
    paradigm = Paradigm("world", "s", Agent(model, planner=Planner(alpha=1.3, gamma=0.8, sampling=sampling)), model, 4)
    agent = paradigm.agent  # who knows when trials end
    controls = model.policies[rng.integers(len(model.policies), size=4), 0]
    outcomes = np.stack([rng.integers(n, size=4) for n in model.num_outcomes])
    out = replay(paradigm, controls=controls.T[None], outcomes=outcomes[None])
    state = agent.init()
    for t in range(3):
        state, info = agent.step(state, outcomes[:, t], action=controls[t])
        same = (info.actions == controls[t]).all(axis=1)
        begins = (model.policies[:, 0] == controls[t]).all(axis=1)
        assert_allclose(out["action_probability"][0, t], info.action_probabilities[same].sum(), rtol=1e-9)
        assert_allclose(out["log_likelihood"][0, t], np.log(info.acting.of(controls[t][None])[0]), rtol=1e-9, atol=1e-12)
        assert_allclose(out["log_likelihood_q_pi"][0, t], np.log(info.q_pi[begins].sum()), rtol=1e-9, atol=1e-12)
        assert_array_equal(out["impossible"][0, t], info.impossible)


def test_policies_of_a_whole_trial_are_judged_by_what_they_do_now():
    """Message passing with policies of a trial: what is chosen at time 1 are the policies' second moves."""
    go = np.repeat(np.eye(2)[:, None, :], 2, axis=1)
    plans = np.array([[[0], [0]], [[0], [1]], [[1], [1]]])  # (policy, step, factor)
    model = POMDP(A=[np.eye(2)], B=[go], C=[[0.0, 1.0]], D=[[1.0, 0.0]], policies=plans)
    settings = PathSettings(policies="trial")
    agent = Agent(model, planner=Planner(gains=(), alpha=2.0), inference="paths", paths=settings, trial_length=3)
    out = replay(Paradigm("plans", "s", agent, model, 3), controls=[[[0, 1]]], outcomes=[[[0, 0, 1]]])
    first, second = out["q_pi"][0, :2]
    chance = [first[:2].sum(), second[1:].sum()]  # plans 0 and 1 stay at first; 1 and 2 go then
    other = [first[2], second[0]]
    assert_allclose(out["log_likelihood_q_pi"][0, :2], np.log(chance), rtol=1e-12)
    assert_allclose(out["action_probability"][0, :2], np.square(chance) / (np.square(chance) + np.square(other)), rtol=1e-9)
    assert_allclose(out["chance"][0, :2], 2 / 3)
    dropping = agent.with_(paths=PathSettings(policies="trial", zeta=3.0))
    recorded = {"controls": [[[0, 1]]], "outcomes": [[[0, 0, 1]]]}
    with pytest.raises(ValueError, match="zeta of PathSettings must be inf for a replay in which every policy is evaluated"):
        replay(Paradigm("plans", "s", dropping, model, 3), **recorded)
    replay(Paradigm("plans", "s", dropping, model, 3), **recorded, every_policy=False)


def test_a_lapse_is_scored_without_a_penalty():
    """The world shows the better one of two places at place 1; there a search over states cuts what looks bad at first."""
    sizes = (3, 2)
    seen = np.zeros((3, *sizes))
    seen[0, 0], seen[1:, 1], seen[0, 2] = 1.0, np.eye(2), 1.0
    pay = np.zeros((3, *sizes))
    pay[0, :2] = 1.0
    pay[1, 2, 0] = pay[2, 2, 1] = 1.0
    go = np.repeat(np.eye(3)[:, None, :], 3, axis=1)
    model = POMDP(
        A=[seen, pay], B=[go, np.eye(2)[:, :, None]], C=[None, [0.0, 3.0, -6.0]], D=[[1, 0, 0], [0.1, 0.9]]
    )  # fmt: skip
    searches = {}
    for search in ("states", "outcomes"):
        planner = Planner(depth=1, gains=("state",), search=search, modalities="separate")
        agent = Agent(model, planner=planner, trial_length=4)
        paradigm = Paradigm("bet", search, agent, model, 4)
        recorded = {"controls": [[[2, 2, 2, -1], [0] * 4]], "outcomes": [[[0, 0, 0, 0], [0, 2, 2, 2]]]}
        searches[search] = replay(paradigm, **recorded)
        penalised = replay(paradigm, **recorded, every_policy=False)["log_likelihood_q_pi"][0, 0]
        assert (penalised < -500) == (search == "states")
    # the world is certain once its side is known: both ways to search come to the same
    assert_allclose(searches["states"]["log_likelihood_q_pi"], searches["outcomes"]["log_likelihood_q_pi"], atol=1e-9)
    assert searches["states"]["log_likelihood_q_pi"][0, 0] > -30


# --- what is missing -------------------------------------------------------------------------------------------------------
def lookout(**options) -> Paradigm:
    """At place 1 a cue of 90 % tells a hidden side; place 0 tells nothing. A second factor, moods, can be put on too."""
    seen = np.zeros((3, 2, 2))
    seen[0, 0], seen[1:, 1] = 1, [[0.9, 0.1], [0.1, 0.9]]
    go = np.repeat(np.eye(2)[:, None, :], 2, axis=1)
    model = POMDP(
        A=[np.eye(2), seen, np.eye(2)],
        A_dependencies=[[0], [0, 1], [2]],
        B=[go, np.eye(2)[:, :, None], go],
        C=[None, None, [0.0, 1.0]],
        D=[[1, 0], None, [1, 0]],
    )
    return Paradigm("lookout", "watching", Agent(model, planner=Planner(gains=("state",), alpha=2.0), **options), model, 4)


LOOKS = {
    "controls": np.array([[[1, 1, 1, 0], [0] * 4, [1, 0, 1, 0]]]),
    "outcomes": np.array([[[0, 1, 1, 1], [0, 1, 2, 1], [0, 1, 0, 1]]]),
}
SIDE = [0.5, 0.9, 0.5, 0.9]


def test_states_may_be_left_out_and_the_last_control_too():
    whole = replay(lookout(), **LOOKS)
    assert_allclose(whole["qs_factor_1"][0, :, 0], SIDE, atol=1e-12)
    assert "states" not in whole
    states = np.zeros((1, 3, 4), dtype=int)
    for other in (
        replay(lookout(), controls=LOOKS["controls"][..., :3], outcomes=LOOKS["outcomes"]),
        replay(lookout(), states, **LOOKS),
        replay(lookout(), **{name: array.tolist() for name, array in LOOKS.items()}),
        replay(lookout(), **{name: list(array) for name, array in LOOKS.items()}),
    ):
        for name in set(whole) - {"controls"}:
            assert_array_equal(other[name], whole[name], err_msg=name)


@pytest.mark.parametrize("form", ["-1", "nan", "masked", "None"])
def test_missed_outcomes_move_nothing(form):
    outcomes = LOOKS["outcomes"].astype(object if form == "None" else float)
    outcomes[0, 1, 2] = {"-1": -1, "nan": np.nan, "masked": 7, "None": None}[form]
    if form == "masked":
        outcomes = np.ma.masked_equal(outcomes, 7)
    out = replay(lookout(), controls=LOOKS["controls"], outcomes=outcomes.tolist() if form == "None" else outcomes)
    assert_allclose(out["qs_factor_1"][0, :, 0], [0.5, 0.9, 0.9, 81 / 82], atol=1e-12)
    assert_allclose(out["free_energy"][0, 2], 0.0, atol=1e-12)
    assert out["outcomes"][0, 2, 1] == -1


def test_a_missed_response_is_not_scored_and_the_world_stays_at_control_0():
    controls, outcomes = LOOKS["controls"].copy(), LOOKS["outcomes"].copy()
    controls[0, :, 1] = -1
    outcomes[0, :, 2] = [0, 0, 0]
    out = replay(lookout(), controls=controls, outcomes=outcomes)
    assert_array_equal(np.isnan(out["log_likelihood"][0]), [False, True, False, True])
    assert not out["impossible"].any()
    assert_array_equal(out["controls"][0, 1], [-1, 0, -1])  # a factor with one control misses nothing
    assert out["policy"][0, 1] == -1
    assert_allclose(out["qs_factor_1"][0, :, 0], [0.5, 0.9, 0.9, 81 / 82], atol=1e-12)


def test_states_say_with_what_the_world_went_on():
    controls, states = LOOKS["controls"].copy(), np.array([[[0, 1, 1, 1], [0] * 4, [0, 1, 0, 1]]])
    controls[0, 0, 1] = controls[0, 2, 1] = -1
    out = replay(lookout(), states, controls, LOOKS["outcomes"])
    assert not out["impossible"].any()
    assert_allclose(out["qs_factor_1"][0, :, 0], SIDE, atol=1e-12)
    without = replay(lookout(), None, controls, LOOKS["outcomes"])
    assert_array_equal(without["impossible"][0], [False, False, True, False])


@pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")
def test_half_a_response_is_scored_by_its_half():
    """Where to go was answered, the mood was not: the probability of all that agree with the answer."""
    controls = LOOKS["controls"].copy()
    controls[0, 2, 0] = -1
    for sampling in ("policy", "marginal"):
        planner = Planner(gains=("state",), alpha=2.0, sampling=sampling)
        paradigm = lookout()
        paradigm = Paradigm("lookout", "s", paradigm.agent.with_(planner=planner), paradigm.model, 4)
        half = replay(paradigm, controls=controls, outcomes=LOOKS["outcomes"])
        whole = []
        for mood in (0, 1):
            controls[0, 2, 0] = mood
            whole.append(replay(paradigm, controls=controls, outcomes=LOOKS["outcomes"]))
        controls[0, 2, 0] = -1
        for name in ("log_likelihood", "log_likelihood_q_pi"):
            assert_allclose(half[name][0, 0], np.logaddexp(*(w[name][0, 0] for w in whole)), rtol=1e-12)


@pytest.mark.parametrize("scheme, needs", [("clairvoyant", "told"), ("laboratory", "chosen")])
def test_what_agents_are_told_must_have_been_recorded(scheme, needs):
    paradigm = three_ball.paradigm(scheme)
    states, controls, outcomes = swapped(simulate(paradigm, 1, 2, seed=0, trace=True).trace)
    with pytest.raises(ValueError, match=f"states of the recording must be given: the scheme '{scheme}' .*{needs}"):
        replay(paradigm, controls=controls, outcomes=outcomes)
    states = states.copy()
    states[1, 2, 0] = -1
    with pytest.raises(
        ValueError, match="states of the recording must be known at the first time .* factor 2 has -1 in trial 1"
    ):
        replay(paradigm, states, controls, outcomes)
    states[1, 2, 0], states[1, 3:, 0] = 0, -1  # what actions set they know anyway
    replay(paradigm, states, controls, outcomes)


@pytest.mark.parametrize("sure", [False, True])
def test_what_agents_are_told_includes_states_that_actions_move_but_do_not_set(sure):
    """Unless they are sure before a trial anyway."""
    turn = np.stack([np.eye(2), np.eye(2)[::-1]], axis=2)
    model = POMDP(A=[None], B=[turn], pA=[np.ones((2, 2))], D=[[0.0, 1.0] if sure else [0.5, 0.5]])
    space = HypothesisSpace({"as it is": {0: np.eye(2) + 0.1}, "turned": {0: np.eye(2)[::-1] + 0.1}})
    paradigm = Paradigm("turns", "s", Agent(model, space), model, 2, space, 0, preparation="told")
    states, controls, outcomes = swapped(simulate(paradigm, 1, 2, seed=0, trace=True).trace)
    whole = replay(paradigm, states, controls, outcomes)
    assert_allclose(whole["qs_factor_0"][:, 0], np.eye(2)[states[:, 0, 0]], atol=1e-12)
    states[1, 0, 0] = -1
    if sure:
        assert_array_equal(replay(paradigm, states, controls, outcomes)["q_pi"], whole["q_pi"])
        return
    with pytest.raises(ValueError, match="at the first time .* factor 0 has -1 in trial 1 of participant 0"):
        replay(paradigm, states, controls, outcomes)


def test_impossible_observations_are_counted():
    outcomes = np.zeros((2, 2, 4), dtype=int)
    outcomes[1, 0, 1] = outcomes[1, 0, 3] = 1  # the right room, where nobody went
    zeros = np.zeros((2, 2, 4), dtype=int)
    out = replay(rooms(), zeros, zeros, outcomes)
    assert_array_equal(out["impossible"], [[False] * 4, [False, True, False, True]])
    assert np.isfinite(out["free_energy"]).all() and np.isfinite(out["q_pi"]).all()


# --- many people -----------------------------------------------------------------------------------------------------------
def cut_short(recorded, lengths, missed=()):
    """A participant's recording whose trials end early, and in which some (trial, modality, time) were missed."""
    states, controls, outcomes = (array.copy() for array in recorded)
    for at in missed:
        outcomes[at] = -1
    for i, n in enumerate(lengths):
        for array, end in ((states, n), (controls, n - 1 if n else 0), (outcomes, n)):
            array[i, :, end:] = -1
    return states, controls, outcomes


def people(paradigm, n_trials, lengths):
    trace = simulate(paradigm, len(lengths), n_trials, seed=4, trace=True).trace
    return [cut_short(swapped(trace, k), row, [(0, 1, k % 2)]) for k, row in enumerate(lengths)]


LENGTHS = [(4, 4, 4), (4, 4, 0), (4, 2, 3), (4, 2, 3), (1, 4, 4), (4, 0, 4), (4, 4, 4)]


@pytest.mark.parametrize("way", ["models", "factorised", "sequential", "exact"])
def test_participants_in_batches_are_as_one_by_one(way):
    """Trials of unequal length, fewer trials, one that did not take place, missed outcomes: bit by bit as if alone."""
    options = {"inference": way} if way != "models" else {"inference": None}
    paradigm = rooms(selection=Selection(threshold=0.5, curious=True), **options)
    crowd = people(paradigm, 3, LENGTHS)
    out = replay(paradigm, *(np.stack(arrays) for arrays in zip(*crowd, strict=True)))
    for k, recorded in enumerate(crowd):
        alone = replay(paradigm, *recorded)
        assert set(alone) == set(out)
        for name, array in alone.items():
            assert_array_equal(out[name][k], array, err_msg=f"{name} of {k}")
    seen = np.isfinite(out["free_energy"]).sum(axis=-1)
    assert_array_equal(seen, LENGTHS)
    assert_array_equal(np.isfinite(out["log_likelihood"]).sum(axis=-1), np.maximum(np.array(LENGTHS) - 1, 0))
    assert np.isnan(out["pA_light"][1, 2]).all() and np.isnan(out["pA_light"][5, 1]).all()
    assert out["adopted_model"][1, 2] == out["adopted_model"][1, 1]


def test_a_shorter_trial_is_that_trial_alone():
    """Not a whole one in which nothing more was seen: counts and adoption come after its own last observation."""
    paradigm = rooms()
    states, controls, outcomes = people(paradigm, 1, [(3,)])[0]
    padded = replay(paradigm, states, controls, outcomes)
    alone = replay(paradigm, states[..., :3], controls[..., :3], outcomes[..., :3])
    for name, array in alone.items():
        whole = padded[name][:, :3] if array.ndim > 1 and not name.startswith("pA") else padded[name]
        assert_array_equal(whole, array, err_msg=name)


def test_trials_as_lists_of_unequal_length():
    paradigm = rooms()
    crowd = people(paradigm, 3, [(4, 2, 3), (3, 4, 4)])
    out = replay(paradigm, *(np.stack(arrays) for arrays in zip(*crowd, strict=True)))
    cut = [[[array[i][:, :n] for i, n in enumerate(row)] for array, row in zip(arrays, [(4, 2, 3), (3, 4, 4)], strict=True)]
           for arrays in zip(*crowd, strict=True)]  # fmt: skip
    ragged = replay(paradigm, *cut)
    fewer = replay(
        paradigm,
        cut[0],
        [[c[:, : o.shape[1] - 1] for c, o in zip(*p, strict=True)] for p in zip(*cut[1:], strict=True)],
        cut[2],
    )
    for name, array in out.items():
        assert_array_equal(ragged[name], array, err_msg=name)
        assert_array_equal(fewer[name], array, err_msg=name)
    one = replay(paradigm, *(array[0] for array in cut))
    for name, array in out.items():
        assert_array_equal(one[name], array[0], err_msg=name)


def test_after_a_choice_comes_an_observation_even_if_it_was_missed():
    """With a control less than observations every choice was followed by one; the last one of a trial too."""
    outcomes = LOOKS["outcomes"].copy()
    outcomes[..., 3] = -1
    out = replay(lookout(), controls=LOOKS["controls"][..., :3], outcomes=outcomes)
    assert np.isfinite(out["log_likelihood"][0, :3]).all() and np.isfinite(out["free_energy"][0]).all()


def test_participants_with_settings_of_their_own():
    lengths = [(4, 4), (4, 2), (4, 4), (3, 4)]
    crowd = people(rooms(), 2, lengths)
    alpha, rate, threshold = [1.0, 2.0, 4.0, 8.0], [1.0, 0.5, 0.2, 2.0], [0.1, 0.5, 2.0, 9.0]
    build = lambda a, r, w: rooms(learning=Learning(rate=r), selection=Selection(threshold=w)).agent.with_(  # noqa: E731
        planner=Planner(alpha=a, gamma=a)
    )
    model, space = two_rooms(), lamp_rules()
    crowded = Paradigm("rooms", "s", build(alpha, rate, threshold), model, 4, space, 1)
    out = replay(crowded, *(np.stack(arrays) for arrays in zip(*crowd, strict=True)))
    for k, recorded in enumerate(crowd):
        alone = replay(Paradigm("rooms", "s", build(alpha[k], rate[k], threshold[k]), model, 4, space, 1), *recorded)
        for name, array in alone.items():
            assert_array_equal(out[name][k], array, err_msg=f"{name} of {k}")
    with pytest.raises(ValueError, match="4"):
        replay(crowded, *(np.stack(arrays[:3]) for arrays in zip(*crowd, strict=True)))


def test_more_participants_than_one_batch_holds():
    model = POMDP(A=[columns(np.random.default_rng(0), (2, 2))], B=[np.stack([np.eye(2), np.eye(2)[::-1]], axis=2)])
    paradigm = Paradigm("two", "s", Agent(model), model, 3)
    rng = np.random.default_rng(1)
    controls, outcomes = rng.integers(2, size=(150, 2, 1, 2)), rng.integers(2, size=(150, 2, 1, 3))
    out = replay(paradigm, controls=controls, outcomes=outcomes)
    for k in (0, 64, 149):
        alone = replay(paradigm, controls=controls[k], outcomes=outcomes[k])
        for name, array in alone.items():
            assert_array_equal(out[name][k], array, err_msg=name)


# --- bad input -----------------------------------------------------------------------------------------------------------
GOOD = np.zeros((2, 2, 4), dtype=int)


def edited(at, value):
    array = GOOD.copy()
    array[at] = value
    return array


@pytest.mark.parametrize(
    "changes, error, message",
    [
        (
            {"outcomes": GOOD[0]},
            ValueError,
            r"outcomes of the recording must have axes \(trial, modality, time\), or \(participant, .*\); got shape \(2, 4\)",
        ),
        ({"outcomes": GOOD[:0]}, ValueError, r"outcomes of the recording must have axes .*; got shape \(0, 2, 4\)"),
        (
            {"outcomes": GOOD[:, :1]},
            ValueError,
            r"outcomes of the recording must have shape \(2, 2, 4\) \(trials, modalities, times\)",
        ),
        (
            {"states": GOOD[:1]},
            ValueError,
            r"states of the recording must have shape \(2, 2, 4\) \(trials, factors, times\); got \(1,",
        ),
        (
            {"controls": GOOD[..., :2]},
            ValueError,
            r"controls of the recording must have shape \(2, 2, 4\) \(trials, factors, times\), or one time less; got \(2, 2,",
        ),
        (
            {"controls": [GOOD]},
            ValueError,
            "controls of the recording must have an axis for participants just if outcomes have",
        ),
        (
            {name: [GOOD, GOOD] for name in ("controls", "outcomes")},
            ValueError,
            "states of the recording must have an axis for",
        ),
        (
            {"controls": [GOOD, GOOD[:1]], "outcomes": [GOOD, GOOD], "states": None},
            ValueError,
            r"controls of the recording must have as many trials .* as outcomes, \[2, 2\]; got \[2, 1\]",
        ),
        (
            {"controls": [GOOD[0], GOOD[1, :, :2]]},
            ValueError,
            r"controls\[1\] of the recording must have shape \(2, 4\) \(factors, times\), or one time less; got \(2, 2\)",
        ),
        ({"outcomes": GOOD - 1, "controls": GOOD - 1}, ValueError, "outcomes of the recording must hold some that are not -1"),
        ({"outcomes": None}, TypeError, "outcomes of the recording must be given; got None"),
        (
            {name: np.zeros((2, 2, 5), dtype=int) for name in ("states", "controls", "outcomes")},
            ValueError,
            "outcomes of the recording must have at most 4 times per trial; got 5",
        ),
        (
            {"states": edited((1, 0, 2), 2)},
            ValueError,
            r"states\[1, 0, 2\] of the recording must lie in 0\.\.1, or be -1 where it was not known; got 2 \(counted from 0\)",
        ),
        (
            {"outcomes": edited((0, 1, 3), 3)},
            ValueError,
            r"outcomes\[0, 1, 3\] of the recording must lie in 0\.\.2, or be -1 where it was missed; got 3 \(counted from 0\)",
        ),
        (
            {"outcomes": np.stack([GOOD, edited((0, 1, 3), 3)]), "states": None, "controls": np.stack([GOOD, GOOD])},
            ValueError,
            r"outcomes\[1, 0, 1, 3\] of the recording must lie in 0\.\.2",
        ),
        ({"controls": edited((0, 0, 2), -2)}, ValueError, r"controls\[0, 0, 2\] of the recording must lie in 0\.\.1.*; got -2"),
        ({"states": GOOD + 0.5}, TypeError, "states of the recording must hold integers; got float64"),
        ({"controls": GOOD.astype(str)}, TypeError, "controls of the recording must hold integers; got <U21"),
    ],
)
def test_bad_recordings_are_named(changes, error, message):
    with pytest.raises(error, match=message):
        replay(rooms(), **({"states": GOOD, "controls": GOOD, "outcomes": GOOD} | changes))


def test_controls_after_the_last_time_do_not_matter():
    first = replay(rooms(), GOOD, GOOD, GOOD)
    other = replay(rooms(), GOOD, edited((slice(None), slice(None), -1), -1), GOOD)
    for name in STEPWISE:
        assert_array_equal(first[name], other[name])


def test_one_truth_is_needed_to_compare_with():
    told = replay(rooms(truth="random"), GOOD, GOOD, GOOD)  # what was true is not known
    assert np.isnan(told["kl_to_truth"]).all() and np.isfinite(told["free_energy"]).any()
    of = lambda k: replay(rooms(truth=k), GOOD, GOOD, GOOD)["kl_to_truth"]  # noqa: E731
    for k in (0, 1):
        assert np.array_equal(replay(rooms(truth="random"), GOOD, GOOD, GOOD, true_model=k)["kl_to_truth"], of(k))
    two = [np.stack([GOOD, GOOD])] * 3
    both = replay(rooms(truth="random"), *two, true_model=[1, -1])["kl_to_truth"]
    assert np.array_equal(both[0], of(1)) and np.isnan(both[1]).all()
    with pytest.raises(ValueError, match="true_model must be hypotheses in -1..1, one or 2 .*got 5"):
        replay(rooms(truth="random"), *two, true_model=5)


def test_recordings_on_disk(tmp_path):
    path = tmp_path / "life.npz"
    np.savez(path, states=GOOD.astype(float), controls=GOOD, outcomes=GOOD, remark="whole numbers may be stored as floats")
    held = load_recording(path)
    assert set(held) == {"states", "controls", "outcomes"}
    assert all(array.dtype == np.intp for array in held.values())
    replay(rooms(), **held)
    np.savez(path, controls=GOOD, outcomes=np.where(GOOD > 0, GOOD, np.nan))
    held = load_recording(path)
    assert set(held) == {"controls", "outcomes"} and (held["outcomes"] == -1).all()


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "life.npz"
    with pytest.raises(FileNotFoundError, match=r"recording .*life\.npz does not exist"):
        load_recording(path)
    np.savez(path, outcomes=GOOD)
    with pytest.raises(ValueError, match=r"recording .* must hold the arrays .*; it lacks \['controls'\]"):
        load_recording(path)
    np.savez(path, states=GOOD, outcomes=GOOD, controls=GOOD + 0.25)
    with pytest.raises(TypeError, match="controls of the recording must hold integers; got float64"):
        load_recording(path)
    np.savez(path, states=GOOD, outcomes=GOOD, controls=np.array([[{}]], dtype=object))
    with pytest.raises(
        ValueError, match=r"recording .* is not a readable \.npz file: truncated, damaged or with pickled objects"
    ):
        load_recording(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="is not a readable"):
        load_recording(path)
    path.write_text("trial,time,gaze\n0,0,3\n")
    with pytest.raises(ValueError, match="is not a readable .* it is text, or a CSV table"):
        load_recording(path)
