"""The same numbers as SPM: its functions one by one, and two recorded runs of its active-reasoning demo
(data/spm/README.md).
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import Agent, ModelProcess, dirichlet, reduction, replay
from paradigms import three_ball

CASES = range(16)
SPM_OFFSET = 1 / 32
LOG_NUMBERS_OF_OUTCOMES = np.log(4) + np.log(4) + np.log(3)
LOG_POLICY_PRIOR = 2 * np.log(1 / 4)

# Terms and beliefs that are zero in exact arithmetic come out as rounding on both sides: differences of entropies of order 1,
# floored logarithms (0 x 32), joint states of probability e^-16 dropped in different places, over up to 32 trials of learning.
# All of that stays below 1e-10 nats; every number that matters is larger by a factor of 1e4 and compared to 1e-8 of itself.
ROUNDING = 1e-10


def same(actual, expected, rtol=1e-10, atol=0.0, what=""):
    assert np.shape(actual) == np.shape(expected)
    assert_allclose(actual, expected, rtol=rtol, atol=atol, err_msg=what)


# --- functions -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", CASES)
def test_log_evidence(spm, case):
    z = spm("unit_log_evidence")
    q, p, r = (z[f"{name}_{case:02d}"] for name in ("qA", "pA", "rA"))
    # columns that saw nothing have a ratio of zero; SPM's is then a sum of logarithms that cancel
    same(-reduction.log_evidence_ratio(q, p, r, SPM_OFFSET), z[f"F_{case:02d}"], atol=1e-13)
    same(reduction.reduced_posterior(q, p, r), z[f"sA_{case:02d}"], atol=1e-14)


@pytest.mark.parametrize("case", CASES)
def test_dirichlet_functions(spm, case):
    z = {name: value for name, value in spm("unit_norms").items() if name.endswith(f"{case:02d}")}
    get = lambda name: z[f"{name}_{case:02d}"]  # noqa: E731
    counts = get("a")
    same(dirichlet.mean(counts), get("norm"))
    same(dirichlet.neg_entropy(dirichlet.mean(counts)), get("hnorm"))
    same(np.maximum(dirichlet.expected_log(counts), dirichlet.LOG_FLOOR), get("psi"))
    if get("wnorm").size:
        same(dirichlet.information_gain(counts), get("wnorm"))
    else:
        assert counts.max(axis=0).min() >= 256  # no novelty left, says SPM (here: `novelty_cutoff` of the planner)
    # SPM counts lnG(e^-32) = 32 for every structural zero, and lnG(K e^-32) = 32 - log K once more in a column of K zeros
    zeros, n = (counts == 0).sum(axis=0), len(counts)
    same(dirichlet.log_beta(counts) + 32.0 * zeros - np.where(zeros == n, 32.0 - np.log(n), 0.0), get("betaln"))


@pytest.mark.parametrize("case", CASES)
def test_kl(spm, case):
    z = spm("unit_KL")
    q, p = z[f"q_{case:02d}"], z[f"p_{case:02d}"]
    same(dirichlet.kl_divergence(q, p).sum(), z["KL_dir"][case], atol=1e-14)  # one case is zero up to rounding
    same(dirichlet.kl_categorical(dirichlet.mean(q), dirichlet.mean(p)).sum(), z["KL_cat"][case])


@pytest.mark.parametrize("case", CASES)
def test_mutual_information(spm, case):
    z = spm("unit_MI")
    counts = z[f"a_{case:02d}"]
    preferences = (z[f"c_{case:02d}"], z[f"h_{case:02d}"])
    for n in range(3):  # none; those of outcomes; those of states too
        # the number is a difference of entropies, one case comes to 1e-3 nats
        same(dirichlet.mutual_information(counts, *preferences[:n]), z["E"][case, n], atol=1e-14)
        same(dirichlet.mutual_information_gradient(counts, *preferences[:n]), z[f"dEdA_{case:02d}_{n}"], atol=1e-14)
    same(dirichlet.expected_mutual_information(counts), z["dirMI"][case], atol=1e-14)


@pytest.mark.parametrize("form", ["tensors", "HypothesisSpace"])
@pytest.mark.parametrize("case", CASES)
def test_model_posterior(spm, case, form):
    z, model = spm("unit_bmr"), spm("model")
    rules = list(model["rules"].astype(float)) if form == "tensors" else three_ball.rules()
    same(reduction.model_posterior(z["qp"][case], model["A0"], rules, offset=SPM_OFFSET), z["L"][case])


@pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")
@pytest.mark.parametrize("case", CASES)
def test_sequential_inference(spm, case):
    """From random beliefs, given random likelihoods of the feedback, and hard or soft outcomes, some of them impossible."""
    z, world = spm("unit_vbx"), three_ball.world_model()
    model = world.with_(A=[world.A[0], world.A[1], z["A3"][case]], D=[z[f"P{f}"][case] for f in range(1, 6)])
    agent = Agent(model, inference="sequential")
    outcomes = [z[f"O{m}"][case : case + 1] for m in range(1, 4)]
    _, info = agent.step(agent.init(), outcomes, action=[0] * 5)
    for f in range(5):
        # where one joint state is left, SPM keeps the marginals it had: up to 1e-12 of other states, here exactly 0
        same(info.qs[f], z[f"Q{f + 1}"][case], atol=1e-12)
    same(-info.free_energy, z["F"][case])


def test_the_world_is_the_same(spm):
    z, world, rules = spm("model"), three_ball.world_model(), three_ball.rules()
    what, where, feedback = (z[f"A{m}"] for m in (1, 2, 3))
    assert_array_equal(np.broadcast_to(world.A[0][..., None], what.shape), what)
    assert_array_equal(np.broadcast_to(world.A[1][:, None, None, None, :, None], where.shape), where)
    assert_array_equal(np.stack([rules.dense(j, 2) for j in range(81)]), z["rules"])
    assert_array_equal(rules.dense(three_ball.PAPER_RULE, 2), feedback)
    same(three_ball.naive_model().pA[2], z["A0"], atol=1e-18)
    same(dirichlet.mean(np.exp(world.C[2])), z["Ctrue"][:, 0])
    assert_array_equal(world.policies[:, 0, 3:], z["V"][:, 3:] - 1)


def test_rules_are_named_for_what_they_are(spm):
    z, rules = spm("model"), three_ball.rules()
    for j, (context, *criteria) in enumerate(z["rule_table"].astype(int) - 1):
        balls = [three_ball.BALLS[c] for c in criteria]
        assert rules.names[j] == f"{three_ball.BALLS[context]}({', '.join(balls)})"
        cases = ", ".join(f"{colour}: {ball}" for colour, ball in zip(three_ball.COLOURS, balls, strict=True))
        assert (
            rules.descriptions[j] == f"the colour of the {three_ball.BALLS[context]} ball says whose colour is right: {cases}"
        )


# --- recorded runs -------------------------------------------------------------------------------------------------------
RUNS = {"knowing": "traj_knowing1", "paper": "traj_naive32"}


def recorded(spm, scheme):
    """A run with trials on axis 0 and, where there is time, time on axis 1."""
    z = spm(RUNS[scheme])
    z = {k: v[None] for k, v in z.items()} if scheme == "knowing" else dict(z)
    over_time = ("G", "R", "GT", "X", "Pa_step")
    return {k: np.moveaxis(v, -1, 1) if k in over_time else v for k, v in z.items()}


@pytest.fixture(scope="module")
def replayed(spm):
    out = {}
    for scheme in RUNS:
        z = recorded(spm, scheme)
        states, controls, outcomes = (z[name].astype(int) - 1 for name in "suo")
        # as SPM's agents plan when they act: policies that the search cuts keep their penalty
        out[scheme] = replay(three_ball.paradigm(scheme), states, controls, outcomes, every_policy=False)
    return out


both = pytest.mark.parametrize("scheme", RUNS)


@both
@pytest.mark.parametrize(
    "ours, terms", [("state_info_gain", (0, 2)), ("utility", (1,)), ("param_info_gain", (3,)), ("model_info_gain", (4,))]
)
def test_terms_of_policies(spm, replayed, scheme, ours, terms):
    expected = recorded(spm, scheme)["GT"][..., terms].sum(axis=(-1, -2))
    assert np.abs(expected).max() > 1e-2 or (scheme == "knowing" and terms[0] > 2)  # there is something to compare
    same(replayed[scheme][ours], expected, 1e-8, ROUNDING)


@both
def test_values_of_policies(spm, replayed, scheme):
    """G without its constants; where the search went one step deeper, policies that it did not cut hold the constant twice."""
    z, value = recorded(spm, scheme), replayed[scheme]["neg_efe"]
    depth = z["N"] if "N" in z else np.ones(1)
    expected = z["G"] - LOG_NUMBERS_OF_OUTCOMES
    expected[:, 0] -= LOG_POLICY_PRIOR
    cut = z["G"] < -200
    deeper = np.zeros(cut.shape, dtype=bool)
    deeper[:, :-1] = (depth == 1)[:, None, None]
    expected = np.where(deeper & ~cut, expected - LOG_NUMBERS_OF_OUTCOMES, expected)
    same(value, expected, 1e-8, ROUNDING)
    # cut policies are worth 512 nats less than the best looked one step ahead, prior over policies included
    one_step = sum(replayed[scheme][f"{n}_info_gain"] for n in ("state", "param", "model")) + replayed[scheme]["utility"]
    assert cut.any() and cut.sum() < cut.size / 2 + (scheme == "knowing") * cut.size
    floor = np.broadcast_to(one_step.max(axis=-1, keepdims=True) - 512.0, cut.shape)
    same(value[cut], floor[cut], 1e-10)


@both
def test_beliefs(spm, replayed, scheme):
    factors = ("left", "centre", "right", "gaze", "choice")
    same(np.concatenate([replayed[scheme][f"qs_{f}"] for f in factors], axis=-1), recorded(spm, scheme)["X"], 1e-8, ROUNDING)


@both
def test_free_energy_policies_and_confidence(spm, replayed, scheme):
    z, ours = recorded(spm, scheme), replayed[scheme]
    same(-ours["free_energy"], z["F"].reshape(-1, 6), 1e-8, ROUNDING)
    same(ours["q_pi"], z["R"], 1e-8, ROUNDING)
    same(ours["confidence"], z["w"].reshape(-1, 6), 1e-8, ROUNDING)


def test_what_is_learned(spm, replayed):
    z, ours = recorded(spm, "paper"), replayed["paper"]
    # counts start at 8e-4 and the structural zeros are exact; 1e-10 is below anything that was learned or decayed
    same(ours["pA_feedback"], z["a3_post"], 1e-8, ROUNDING)
    assert_array_equal(ours["pA_feedback"] == 0, z["a3_post"] == 0)
    same(ours["model_posterior"], z["Pa_step"], 1e-8)  # down to probabilities of 1e-30
    told = np.isfinite(z["O"])  # SPM takes log(p / (1 - p)), which is inf where 1 - p has been rounded away
    same(ours["log_odds"][told], z["O"][told], 1e-8)
    assert (ours["log_odds"][~told] > 36.0).all() and np.isfinite(ours["log_odds"]).all()
    same(ours["kl_to_truth"], z["K"], 1e-8)
    assert_array_equal(ours["model_posterior"][:, -1].argmax(axis=1), z["map"] - 1)
    assert_array_equal(ours["adopted_model"], np.where(z["bms"] == 1, three_ball.PAPER_RULE, -1))


def test_same_random_numbers_same_life(spm):
    """World and agent draw from SPM's own stream, and do and see what SPM's agent did, through all 32 trials."""
    z, draws = spm("traj_naive32"), spm("model")["draws"]
    paradigm = three_ball.paradigm("paper")
    world = ModelProcess(paradigm.model, paradigm.hypotheses, np.array([three_ball.PAPER_RULE]))
    state, info, chosen = paradigm.agent.init(1), None, []
    for i, start in enumerate(z["pos0"].astype(int)):
        stream, seen = draws[start : start + 68], []
        for t in range(6):
            at = 5 if t == 0 else 13 + 11 * (t - 1) + 3  # 5 paths first; then 1 policy and 2 controls before each state
            moves = stream[None, at : at + 8]
            states, outcomes = world.reset(moves) if t == 0 or info is None else world.step(info.controls, moves)
            next_policy = stream[13 + 11 * t] if t < 5 else 0.0
            info = paradigm.agent.life.advance(state, list(outcomes.T), np.array([next_policy]), None)
            assert_array_equal(states[0], z["s"][i, :, t] - 1, err_msg=f"states of trial {i}, time {t}")
            assert_array_equal(outcomes[0], z["o"][i, :, t] - 1, err_msg=f"outcomes of trial {i}, time {t}")
            if t < 5:
                assert_array_equal(info.controls[0], z["u"][i, :, t] - 1, err_msg=f"action of trial {i}, time {t}")
                chosen.append(int(info.policy[0]))
            seen.append(outcomes[0, 2])
        assert [seen.count(1), seen.count(2)] == [z["wins"][i], z["losses"][i]]
        paradigm.agent.life.conclude(state)
    assert state.adopted[0] == three_ball.PAPER_RULE
    assert len(set(chosen)) > 10  # it was no trivial agreement


# --- statistics ----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize(
    "scheme, score, discovery",
    [
        ("paper", (146.4, 2.7), (20.07, 0.93)),
        ("paper-no-model", (147.1, 2.5), (20.09, 0.80)),
        ("paper-states", (92.5, 3.8), (28.05, 0.99)),
        ("paper-none", (9.1, 6.4), (48.2, 1.4)),
        ("paper-no-selection", (-11.0, 1.6), (64.0, 0.0)),
        ("knowing", (213.7, 0.7), (0.0, 0.0)),
    ],
)
def test_statistics_of_many_agents(scheme, score, discovery):
    """512 agents x 64 trials agree with SPM's own 128 agents within 2 joint standard errors (the seed is fixed)."""
    from activebmr import simulate

    row = simulate(three_ball.paradigm(scheme), 512, 64, seed=0).summary()[0]
    for name, (mean, error) in (("score", score), ("discovery", discovery)):
        joint = np.hypot(error, row[f"{name}_se"])
        assert abs(row[name] - mean) <= 2 * joint, f"{name} of {scheme}: {row[name]:.2f} against SPM's {mean} +- {joint:.2f}"
