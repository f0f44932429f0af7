"""The bandit: its worlds, its rivals and its agents against closed forms, and what populations of agents find and miss."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.special import betaln, digamma
from scipy.stats import beta

from activebmr import Agent, Planner, Result, simulate
from activebmr.arrays import standard_error
from activebmr.cli import command as cli
from paradigms import bandit
from paradigms.bandit import rivals, world

NEITHER, COLOUR, SIDE, BOTH = range(4)
MATTERS = [(False, False), (True, False), (False, True), (True, True)]  # colour, side


def truths(n: int) -> np.ndarray:
    return np.arange(n) % 4


# --- the world -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("truth", range(4))
def test_payoffs_depend_on_what_matters_and_on_nothing_else(truth):
    p = world.payoffs(3, np.arange(5), np.full(5, truth))
    colour, side = MATTERS[truth]
    assert p.shape == (5, 3, 3, 3) and (p > 0).all() and (p < 1).all()
    assert (np.ptp(p, axis=1) > 0).all() == colour and (np.ptp(p, axis=1) == 0).all() != colour
    assert (np.ptp(p, axis=2) > 0).all() == side and (np.ptp(p, axis=2) == 0).all() != side
    assert len(np.unique(p)) == 5 * 3 * (3 if colour else 1) * (3 if side else 1)  # agents and arms all have their own


def test_payoffs_are_uniform_draws_of_the_agents_number_alone():
    p = world.payoffs(0, np.arange(400), np.full(400, BOTH)).ravel()
    assert abs(p.mean() - 0.5) < 4 * np.sqrt(1 / 12 / len(p)) and abs(np.mean(p < 0.25) - 0.25) < 0.02
    assert_array_equal(
        world.payoffs(0, np.array([7]), np.array([SIDE]))[0], world.payoffs(0, np.arange(9), np.full(9, SIDE))[7]
    )
    assert (world.payoffs(1, np.arange(2), np.zeros(2, int)) != world.payoffs(0, np.arange(2), np.zeros(2, int))).all()


def test_outcomes_follow_the_payoffs_and_one_number_decides_about_all_arms():
    n = 4000
    process = world.worlds(0, np.zeros(n, int), np.full(n, BOTH))  # one agent's world, many times
    rng = np.random.default_rng(0)
    states, outcomes = process.reset(rng.random((n, process.n_uniforms)))
    assert_array_equal(outcomes[:, :2], states[:, :2])
    assert (outcomes[:, 2] == 0).all() and (states[:, 2] == 3).all()
    assert_allclose(np.bincount(3 * states[:, 0] + states[:, 1]) / n, 1 / 9, atol=0.02)
    p = world.payoffs(0, np.zeros(1, int), np.array([BOTH]))[0]
    uniforms, paid = rng.random((n, process.n_uniforms)), []
    for arm in range(3):
        process.states = states
        _, seen = process.step(np.column_stack([np.zeros((n, 2), int), np.full(n, arm)]), uniforms)
        paid.append(seen[:, 2] == 2)
        assert (seen[:, 2] > 0).all()
        for c, s in np.ndindex(3, 3):
            here = (states[:, 0] == c) & (states[:, 1] == s)
            chance = p[c, s, arm]
            assert abs(paid[arm][here].mean() - chance) < 4 * np.sqrt(chance * (1 - chance) / here.sum())
    for a, b in np.ndindex(3, 3):
        better = p[states[:, 0], states[:, 1], a] >= p[states[:, 0], states[:, 1], b]
        assert (paid[a] >= paid[b])[better].all()


@pytest.mark.parametrize("structure", world.STRUCTURES)
def test_models_differ_in_what_the_payoff_depends_on(structure):
    model = world.model(structure)
    assert [model.labels["factor"][f] for f in model.A_dependencies[2]] == [*world.STRUCTURES[structure], "arm"]
    counts = np.moveaxis(model.pA[2], -1, 0)  # by arm
    assert_allclose(counts[:3, 1:], 1.0)  # uniform probabilities of paying
    assert (counts[:3, 0] == 0).all() and (counts[3, 1:] == 0).all()
    assert_allclose(model.C[2][2] - model.C[2][1], world.PREFERENCE)


# --- beliefs in closed form ----------------------------------------------------------------------------------------------
def evidence(colour, side, arm, paid) -> np.ndarray:
    """Log evidence of each structure by products of Beta functions, for one player."""
    out = np.zeros(4)
    for m, (c, s) in enumerate(MATTERS):
        cells = {}
        for cell, win in zip(zip(colour * c, side * s, arm, strict=True), paid, strict=True):
            cells.setdefault(cell, []).append(win)
        out[m] = sum(betaln(1 + sum(x), 1 + len(x) - sum(x)) for x in cells.values())
    return out


def test_evidence_and_counts_are_those_of_beta_distributions():
    rng = np.random.default_rng(0)
    seen = rng.integers(3, size=(3, 40, 2)), rng.integers(2, size=(40, 2))
    beliefs = rivals.Beliefs(2)
    for t in range(40):
        beliefs.see(*(x[t] for x in seen[0]), seen[1][t])
    for k in range(2):
        colour, side, arm, paid = (*(x[:, k] for x in seen[0]), seen[1][:, k])
        log = evidence(colour, side, arm, paid)
        assert_allclose(beliefs.log_evidence[k], log, rtol=1e-12)
        assert_allclose(beliefs.posterior[k], np.exp(log) / np.exp(log).sum(), rtol=1e-10)
        counts = beliefs.counts(np.array([1, 1]), np.array([2, 2]))[k]
        for m, (c, s) in enumerate(MATTERS):
            here = (not c or colour == 1) & (not s or side == 2) if c or s else np.ones(40, bool)
            for a in range(3):
                wins = paid[here & (arm == a)]
                assert_array_equal(counts[m, a], [1 + wins.sum(), 1 + (1 - wins).sum()])


def test_evidence_is_the_integral_over_payoffs():
    """Two pulls of one arm in two contexts: 1/3 if they pay alike, 1/4 if not, for two payoffs."""
    beliefs = rivals.Beliefs(1)
    zero, one = np.array([0]), np.array([1])
    beliefs.see(zero, zero, zero, one)
    beliefs.see(one, zero, zero, one)
    alike = quad(lambda p: p * p, 0, 1)[0]
    assert_allclose(np.exp(beliefs.log_evidence[0]), [alike, 0.25, alike, 0.25])


# --- rivals --------------------------------------------------------------------------------------------------------------
def test_thompson_pulls_arms_with_the_probability_that_they_are_best():
    rng, n = np.random.default_rng(1), 20000
    counts = np.array([[[3.0, 2.0], [2.0, 2.0], [1.0, 1.0]], [[1.0, 4.0], [5.0, 2.0], [2.0, 1.0]]])
    posterior = np.array([0.3, 0.7])
    arms = rivals.thompson(np.tile(posterior, (n, 1)), np.tile(counts, (n, 1, 1, 1)), rng.random((n, 4)))
    expected = np.zeros(3)
    for weight, held in zip(posterior, counts, strict=True):
        for a in range(3):
            others = [beta(*held[b]) for b in range(3) if b != a]
            expected[a] += (
                weight * quad(lambda x, a=a, h=held, o=others: beta(*h[a]).pdf(x) * o[0].cdf(x) * o[1].cdf(x), 0, 1)[0]
            )
    assert_allclose(expected.sum(), 1.0)
    assert_allclose(np.bincount(arms, minlength=3) / n, expected, atol=4 * 0.5 / np.sqrt(n))


def test_upper_bounds_are_mean_and_width():
    choose = rivals.upper_bound(0.5)
    lots = np.array([[0.0, 0.9, 0.5, 0.1]])
    few = np.array([[[[3.0, 1.0], [2.0, 3.0], [1.0, 1.0]]]])
    assert choose(np.ones((1, 1)), few, lots) == 2  # not pulled yet
    pulls = np.array([[[[7.0, 5.0], [4.0, 3.0], [2.0, 2.0]]]])  # 6/10, 3/5, 1/2, pulled 10, 5, 2 times
    bounds = np.array([6 / 10, 3 / 5, 1 / 2]) + 0.5 * np.sqrt(np.log(17) / np.array([10, 5, 2]))
    assert choose(np.ones((1, 1)), pulls, lots) == bounds.argmax() == 2
    assert rivals.upper_bound(0.0)(np.ones((1, 1)), pulls, lots) == 0  # the tie goes by lot
    assert rivals.upper_bound(0.0)(np.ones((1, 1)), pulls, lots[:, ::-1] + 0.1) == 1


def test_regret_is_never_negative_and_on_average_the_gap_between_probabilities():
    agents = np.arange(400)
    top = rivals.best(0, agents, truths(400), 30)
    p = world.payoffs(0, agents, truths(400))
    played = rivals.play("random", 0, agents, truths(400), 30)
    missed = top - played.wins
    assert missed.min() == 0 and set(np.unique(played.arms)) == {0, 1, 2}
    # random pulls, random contexts: the mean gap over both
    gaps = p.max(axis=3) - p.mean(axis=3)
    assert abs(missed.mean() - gaps.mean()) < 4 * standard_error(missed.mean(axis=1) - gaps.mean(axis=(1, 2)))


def test_players_do_not_depend_on_each_other():
    for name in bandit.RIVALS:
        some = rivals.play(name, 5, np.array([2, 6]), np.array([1, 3]), 12)
        more = rivals.play(name, 5, np.arange(8), np.array([0, 0, 1, 0, 0, 0, 3, 0]), 12)
        for one in ("wins", "arms", "posterior"):
            assert_array_equal(getattr(some, one), getattr(more, one)[[2, 6]])
    with pytest.raises(ValueError, match="rival must be one of"):
        rivals.play("nobody", 0, np.arange(2), np.zeros(2, int), 3)


# --- agents --------------------------------------------------------------------------------------------------------------
@cache
def traced(scheme: str, truth: int | str | None, window: float = np.inf, n_agents: int = 12, n_trials: int = 40) -> Result:
    given = "random" if truth is None else truth
    agent = bandit.agent_of(scheme, given, window=window)
    return simulate(bandit.paradigm(scheme, truth, agent=agent), n_agents, n_trials, seed=3, trace=True)


def believed(result: Result, structures: tuple[str, ...]):
    """Trial by trial what a player believes in closed form who saw what the agents saw: posterior and counts before, and the
    posterior after it."""
    states, paid = result.trace["states"][0].astype(int), (result.trace["outcomes"][0, :, :, 1, 2] == 2).astype(int)
    beliefs = rivals.Beliefs(len(states), structures)
    for t in range(states.shape[1]):
        colour, side, arm = states[:, t, 1].T
        before = beliefs.posterior, beliefs.counts(colour, side)
        beliefs.see(colour, side, arm, paid[:, t])
        yield (*before, beliefs.posterior)


def entropy(p: np.ndarray) -> np.ndarray:
    return -p * np.log(p) - (1 - p) * np.log1p(-p)


def free_energy(posterior: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """The terms of the negative expected free energy of every arm ``(n, arms)``, from the definitions."""
    paid, not_paid = np.moveaxis(counts, -1, 0)
    total = paid + not_paid
    p, w = paid / total, posterior[..., None]
    mean = (w * p).sum(axis=1)
    spread = -p * (digamma(paid + 1) - digamma(total + 1)) - (1 - p) * (digamma(not_paid + 1) - digamma(total + 1))
    return {
        # of nine contexts none is preferred to another, of three outcomes one is
        "utility": mean * world.PREFERENCE - np.log(2 + np.exp(world.PREFERENCE)) - np.log(9),
        "param": (w * (entropy(p) - spread)).sum(axis=1),
        "model": entropy(mean) - (w * entropy(p)).sum(axis=1),
    }


ALL = tuple(world.STRUCTURES)
CASES = [("efe", None, ALL), ("no-model-gain", None, ALL), ("greedy", None, ALL), ("apart", None, ("both",))]
CASES += [("knowing", m, (s,)) for m, s in enumerate(ALL)]


@pytest.mark.parametrize(("scheme", "truth", "held"), CASES)
def test_agents_believe_and_choose_as_the_closed_forms_say(scheme, truth, held):
    result = traced(scheme, truth)
    trace = {name: x[0] for name, x in result.trace.items()}
    arms = trace["states"][:, :, 1, 2].astype(int)
    gains = {"no-model-gain": ("param",), "greedy": ()}.get(scheme, ("param", "model"))
    for t, (posterior, counts, after) in enumerate(believed(result, held)):
        terms = free_energy(posterior, counts)
        worth = terms["utility"] + sum(terms[g] for g in gains)
        assert_allclose(trace["neg_efe"][:, t, 0], worth, atol=1e-10)
        chosen = np.take_along_axis(worth, arms[:, t, None], axis=1)[:, 0]
        assert_allclose(chosen, worth.max(axis=1), atol=1e-7)
        if len(held) > 1:
            assert_allclose(result.model_posterior[0, :, t], after, atol=1e-10)
    assert len(np.unique(arms)) == 3


def test_agents_who_adopt_a_structure_go_on_with_it_alone():
    result = traced("efe", None, 1.0, 12, 60)
    adopted, when = result.adopted_model[0], result.adoption_trial[0]
    assert (adopted >= 0).sum() >= 6
    trace = {name: x[0] for name, x in result.trace.items()}
    for t, (_, counts, after) in enumerate(believed(result, ALL)):
        mine = np.flatnonzero((adopted >= 0) & (when < t))
        if len(mine):
            terms = free_energy(np.eye(4)[adopted[mine]], counts[mine])
            assert_allclose(trace["neg_efe"][mine, t, 0], terms["utility"] + terms["param"], atol=1e-10)
        now = np.flatnonzero(when == t)
        assert_array_equal(after[now].argmax(axis=1), adopted[now])


def test_agents_do_not_depend_on_each_other():
    some, more = (simulate(bandit.paradigm(), n, 10, seed=2) for n in (3, 7))
    for name in ("wins", "model_posterior", "free_energy"):
        assert_array_equal(some[name], more[name][:, :3])


def test_regret_of_results_and_of_who_knows_is_that_of_their_simulations():
    result = simulate([bandit.paradigm(s) for s in ("efe", "apart")], 8, 10, seed=1)
    missed = bandit.regret(result)
    assert missed.shape == (2, 8, 10) and missed.min() >= 0
    floor = bandit.floor(result)
    for m in range(4):
        mine = result.true_model == m
        told = simulate(bandit.paradigm("knowing", m), 8, 10, seed=1)
        assert_array_equal(floor[mine], bandit.regret(told)[0, mine])
    header, rows, notes = bandit.table(result)
    assert [r[0] for r in rows] == ["efe", "apart", "knowing", *bandit.RIVALS] and {len(r) for r in rows} == {len(header)}


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="scheme of bandit must be one of"):
        bandit.paradigm("none")
    with pytest.raises(ValueError, match="lie in 0..3"):
        bandit.paradigm(true_rule=4)
    with pytest.raises(ValueError, match="true_rule must be a number for the scheme 'knowing'"):
        bandit.paradigm("knowing")
    for given in ("much", -1.0, np.inf, None, True):
        with pytest.raises(ValueError, match="preference of bandit must be a number >= 0"):
            bandit.paradigm(preference=given)


def test_the_command_runs_all_schemes_and_prints_rivals(tmp_path, capsys):
    command = ["run", "bandit", "--scheme", "all", "--true-rule", "1", "--agents", "2", "--trials", "3", "--no-figures"]
    cli.main([*command, "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert all(name in out for name in [*bandit.SCHEMES, *bandit.RIVALS])


def test_any_agent_can_play():
    agent = Agent(world.model("side"), planner=Planner(alpha=None), trial_length=2)
    result = simulate(bandit.paradigm("my own", agent=agent), 2, 5)
    assert result.schemes == ["my own"] and bandit.regret(result).shape == (1, 2, 5)


@pytest.mark.parametrize("truth", [None, 2])
def test_figures_are_drawn(tmp_path, truth):
    result = simulate([bandit.paradigm(s, truth) for s in ("efe", "greedy")], 6, 8)
    files = bandit.figures(result, tmp_path / "new")
    assert [f.name for f in files] == ["bandit.png"] and all(f.stat().st_size > 10000 for f in files)


def test_one_agent_and_one_trial_are_enough_for_a_figure(tmp_path):
    assert bandit.figures(simulate(bandit.paradigm("apart", 1), 1, 1), tmp_path)


# --- what it must show ---------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_regret_is_below_thompsons_and_structure_is_found():
    """96 agents, 200 trials: far below Thompson sampling with the same beliefs, and below all rivals."""
    result = simulate(bandit.paradigm(), 96, 200, seed=0)
    missed = bandit.regret(result)[0].sum(axis=1)
    for name, errors in {"thompson": 4, "thompson-apart": 4, "ucb": 4, "ucb-structures": 2}.items():
        gap = missed - bandit.rival_regret(result, name).sum(axis=1)
        assert gap.mean() + errors * standard_error(gap) < 0
    gap = missed - bandit.rival_regret(result, "thompson").sum(axis=1)
    for m in range(4):
        mine = result.true_model == m
        assert gap[mine].mean() < 0
        assert result.true_model_posterior[0, mine, -1].mean() > 0.75
        assert (result.best_model[0, mine, -1] == m).mean() > 0.8
    assert result.adopted_wrong.mean() < 0.06 < 0.6 < result.adopted_truth.mean()
