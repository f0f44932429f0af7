"""The rule-learning paradigm: its world, its motifs, its schemes, its command line, and what populations of agents find."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import Agent, Result, simulate
from activebmr.cli import command as cli
from activebmr.simulation import registry
from paradigms import insight

LEFT, CENTRE, RIGHT, START = range(4)
RED, GREEN, BLUE, UNDECIDED = range(4)
NULL = 3

PAIRS = list(itertools.product(insight.SCHEMES, insight.PLANNERS))


def likelihood(motif: int) -> np.ndarray:
    return insight.worlds().dense(motif, 0)


# --- the world -----------------------------------------------------------------------------------------------------------
def test_the_world_is_spms(spm):
    z = spm("rule2017")
    assert_array_equal(insight.world_model().A[0], z["true_A1"])
    assert_array_equal(likelihood(0), z["true_A1"])
    assert_array_equal(insight.naive_counts(), z["prior_a1"])


def test_what_is_seen_is_what_the_paper_says():
    """Told from a recording: where the gaze is, and in every state the outcomes that the story allows, and no others."""
    what, where, feedback = insight.world_model().A
    for a in (what, where, feedback):
        assert_allclose(a.sum(axis=0), 1.0)
    assert (what[NULL, :, :, START] == 1).all()  # nothing at the start
    for rule in range(3):
        assert (what[rule, rule, :, CENTRE] == 1).all()  # the cue
        for colour in range(3):
            for place in (LEFT, RIGHT):
                shown = what[:, rule, colour, place, UNDECIDED]
                assert_allclose(shown, np.eye(4)[colour] if place == rule else [1 / 3, 1 / 3, 1 / 3, 0.0])
    for gaze in range(4):
        assert (where[gaze, :, :, gaze] == 1).all()
    undecided, right, wrong = feedback
    assert (undecided[..., UNDECIDED] == 1).all() and (undecided[..., :UNDECIDED] == 0).all()
    assert (right[CENTRE, :, :, GREEN] == 1).all() and (wrong[CENTRE, :, :, [RED, BLUE]] == 1).all()
    for rule, colour, report in itertools.product((LEFT, RIGHT), range(3), range(3)):
        assert (right[rule, colour, :, report] == (colour == report)).all()
        assert (wrong[rule, colour, :, report] == (colour != report)).all()


def test_preferences_and_moves_are_the_papers():
    model = insight.world_model()
    assert_array_equal(model.C[2][:, 1], 0.0)
    assert_array_equal(model.C[2][:, 2], -4.0)
    assert_array_equal(model.C[2][:, 0], [0, 0, 0, 0, -8, -8])
    assert (model.C[0] == 0).all() and (model.C[1] == 0).all()
    moves = model.policies[:, 0]
    looks = {(0, 0, place, UNDECIDED) for place in range(3)}
    reports = {(0, 0, START, colour) for colour in range(3)}
    assert {tuple(m) for m in moves.tolist()} == looks | reports and len(moves) == 6
    assert_array_equal(model.D[0], np.full(3, 1 / 3))
    assert_array_equal(model.D[1], np.full(3, 1 / 3))


# --- motifs --------------------------------------------------------------------------------------------------------------
def test_there_are_36_different_motifs():
    assert len(insight.MOTIFS) == len(set(insight.MOTIFS)) == len(insight.motifs()) == len(insight.worlds()) == 36
    assert len(insight.motifs().distinct()[0]) == 36
    assert len(set(insight.motifs().names)) == len(set(insight.motifs().descriptions)) == 36
    assert insight.motifs().names == insight.worlds().names


def test_each_motif_adds_eight_counts_to_nine_entries():
    """A place for each rule, a look for each colour: 3 x 3 claims while undecided."""
    for motif in range(36):
        gain = insight.motifs().dense(motif, 0) - insight.naive_counts()
        assert_array_equal(np.unique(gain), [0.0, 8.0])
        assert (gain > 0).sum() == 9
        assert (gain[..., :UNDECIDED] == 0).all()
        claimed = gain.any(axis=0)[..., UNDECIDED]  # (rule, colour, gaze)
        assert (claimed.sum(axis=2) == 1).all()  # one place per rule, the same for all colours
        assert_array_equal(np.ptp(claimed.astype(int), axis=1), 0)


@pytest.mark.parametrize("motif", range(36))
def test_every_world_is_as_its_motif_says(motif):
    """At the place of a rule each colour has a look of its own, wherever else one looks colours tell nothing."""
    places, looks = insight.MOTIFS[motif]
    a = likelihood(motif)
    assert_allclose(a.sum(axis=0), 1.0)
    for rule in range(3):
        assert (a[rule, rule, :, CENTRE] == 1).all()
        for place in (LEFT, RIGHT):
            shown = a[:3, rule, :, place, UNDECIDED]  # (outcome, colour)
            if place == places[rule]:
                assert_array_equal(shown, np.eye(3)[:, np.argsort(looks)])
            else:
                assert_allclose(shown, 1 / 3)
    assert (a == a[..., :1]).all()  # whatever was reported


def test_a_solvable_world_tells_the_colour_to_whom_must_know_it():
    """Brute force: under the left and the right rule some place must look different for each colour."""
    solvable = []
    for motif in range(36):
        a = likelihood(motif)[..., UNDECIDED]
        told = [
            any(len({tuple(a[:, rule, colour, gaze]) for colour in range(3)}) == 3 for gaze in range(4))
            for rule in (LEFT, RIGHT)
        ]
        if all(told):
            solvable.append(motif)
    assert solvable == insight.SOLVABLE and len(solvable) == 12


def test_random_truths_are_solvable_ones():
    truths = insight.paradigm("naive", "random").truths(3, np.arange(600))
    counts = np.bincount(truths, minlength=36)
    assert set(np.flatnonzero(counts)) == set(insight.SOLVABLE)
    assert (np.abs(counts[insight.SOLVABLE] - 50) < 5 * np.sqrt(50)).all()
    result = simulate(insight.paradigm("sleep", "random", planner="sophisticated"), 12, 2, seed=3)
    assert_array_equal(result.true_model, truths[:12])


# --- schemes -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("planner", insight.PLANNERS)
def test_every_scheme_and_planner_runs(planner):
    schemes = [insight.paradigm(s, planner=planner) for s in insight.SCHEMES]
    result = simulate(schemes, 2, 3)
    assert result.schemes == list(insight.SCHEMES)
    assert result.sizes == {"scheme": 6, "agent": 2, "trial": 3, "model": 36}
    for name in ("free_energy", "confidence", "kl_to_truth", "score"):
        assert np.isfinite(result[name]).all()
    slept = np.isin(result.schemes, ["sleep", "sleep-dream", "sleep-own"])
    assert_array_equal(np.isfinite(result.log_odds).all(axis=(1, 2)), slept)
    assert_array_equal((result.best_model >= 0).all(axis=(1, 2)), slept)
    assert_allclose(result.kl_to_truth[result.schemes.index("knowing")], 0.0, atol=1e-9)
    assert (result.wins + result.losses <= 6).all()


@pytest.mark.parametrize("adopt", insight.ADOPTIONS)
@pytest.mark.parametrize("scheme", ["sleep", "sleep-dream", "sleep-own", "instructed"])
def test_every_adoption_runs(scheme, adopt):
    result = simulate(insight.paradigm(scheme, planner="sophisticated", adopt=adopt), 8, 12)
    assert np.isfinite(result.free_energy).all() and np.isfinite(result.kl_to_truth).all()
    if scheme != "instructed":
        assert result.adopted_truth.any()


@pytest.mark.parametrize("planner", insight.PLANNERS)
def test_agents_that_know_answer_right(planner):
    """Under every rule they look at the cue first; from then on nothing is left to chance."""
    result = simulate(insight.paradigm("knowing", planner=planner), 32, 3, trace=True)
    assert insight.hits(result).mean() > 0.97
    assert (result.trace["states"][0, :, :, 1, 2] == CENTRE).mean() > 0.95


@pytest.mark.parametrize("motif", [insight.SOLVABLE[4], insight.SOLVABLE[-1]])
@pytest.mark.parametrize("scheme", ["knowing", "instructed"])
def test_what_is_known_is_the_motif_that_is_true(scheme, motif):
    """Instructed about another motif, agents do as well as those who know it; about the wrong one, they do not."""
    right = simulate(insight.paradigm(scheme, motif, planner="sophisticated"), 32, 3)
    assert insight.hits(right).mean() > 0.9
    misled = insight.sleeper(scheme, insight.SOLVABLE[0], planner="sophisticated")
    wrong = simulate(insight.paradigm(scheme, motif, agent=misled), 32, 3)
    assert insight.hits(wrong).mean() < insight.hits(right).mean() - 0.2


def test_sleep_changes_nothing_before_it_finds_something():
    """Agents that live through the same random numbers are the same until their first insight."""
    result = simulate([insight.paradigm(s, planner="sophisticated") for s in ("naive", "sleep", "sleep-own")], 12, 10, seed=1)
    first = np.where(result.adoption_trial >= 0, result.adoption_trial, 9)
    when = insight.aha_trial(result)
    for s in (1, 2):
        for k in range(12):
            same = slice(0, int(first[s, k] if when[s, k] < 0 else min(first[s, k], when[s, k])) + 1)
            assert_array_equal(result.free_energy[s, k, same], result.free_energy[0, k, same])
    assert (result.free_energy[1] != result.free_energy[0]).any()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("clever",), r"scheme of insight must be one of \['knowing', .*\]; got 'clever'"),
        (("sleep", 36), r"truth must be 'random' or lie in 0\.\.35; got 36"),
        (("sleep", -1), r"truth must be 'random' or lie in 0\.\.35; got -1"),
        (("sleep", "mine"), r"truth must be 'random' or lie in 0\.\.35; got 'mine'"),
        (("knowing", "random"), "true_rule must be a number for the scheme 'knowing'.*; got 'random'"),
        (("instructed", "random"), "true_rule must be a number for the scheme 'instructed'.*; got 'random'"),
    ],
)
def test_bad_schemes_and_motifs_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        insight.paradigm(*arguments)


@pytest.mark.parametrize("scheme", ["sleep", "naive", "knowing"])
def test_bad_planners_are_named(scheme):
    with pytest.raises(ValueError, match=r"planner of insight must be one of \['2017', 'sophisticated'\]; got '2018'"):
        insight.paradigm(scheme, planner="2018")


def test_a_bad_adoption_is_named():
    with pytest.raises(ValueError, match=r"adopt of insight must be one of \['claims', 'reduced'\]; got 'faith'"):
        insight.paradigm("sleep", adopt="faith")


def test_own_agents_can_be_used_instead():
    agent = Agent(insight.world_model(), trial_length=6)
    assert insight.paradigm("mine", agent=agent).agent is agent


# --- results -------------------------------------------------------------------------------------------------------------
def made_up(scheme, wins, losses, best, odds, adopted, truth=0) -> Result:
    """A result with known measures ``(scheme, agent, trial)``."""
    shape = np.shape(wins)
    arrays = {n: np.zeros(shape) for n in ("free_energy", "confidence", "kl_to_truth", "true_model_posterior")}
    arrays |= {"wins": np.array(wins), "losses": np.array(losses), "best_model": np.array(best), "log_odds": np.array(odds)}
    arrays |= {n: np.zeros(shape[:2]) for n in ("score", "discovery_trials", "adoption_trial")}
    arrays |= {"model_posterior": np.zeros((*shape, 36)), "adopted_model": np.array(adopted), "scheme": np.array(scheme)}
    arrays |= {"model_names": np.array(insight.motifs().names), "model_class": np.arange(36), "true_model": truth}
    return Result(arrays | {"seed": 0, "version": "0", "settings": "{}"})


def test_hits_are_trials_with_a_right_answer_and_no_wrong_one():
    result = made_up(["a"], [[[1, 1, 0, 0]]], [[[0, 1, 1, 0]]], np.zeros((1, 1, 4)), np.zeros((1, 1, 4)), [[-1]])
    assert_array_equal(insight.hits(result), [[[True, False, False, False]]])


def test_the_aha_trial_is_the_first_with_the_true_motif_beyond_the_window():
    best = [[[0, 0, 3, 0], [3, 3, 3, 3], [0, 0, 0, 0], [0, 0, 0, 0]]]
    odds = [[[2.9, 2.9, 5.0, 3.0], [9.0] * 4, [3.0, 1.0, 1.0, 1.0], [-1.0, 0.0, 1.0, 2.0]]]
    result = made_up(["a"], np.zeros((1, 4, 4)), np.zeros((1, 4, 4)), best, odds, np.full((1, 4), -1))
    assert_array_equal(insight.aha_trial(result), [[3, -1, 0, -1]])
    # of each agent's own truth
    random = made_up(["a"], np.zeros((1, 4, 4)), np.zeros((1, 4, 4)), best, odds, np.full((1, 4), -1), np.array([3, 3, 0, 0]))
    assert_array_equal(insight.aha_trial(random), [[2, 0, 0, -1]])


def test_the_table_holds_the_right_numbers():
    wins = np.ones((2, 4, 10), dtype=int)
    losses = np.zeros((2, 4, 10), dtype=int)
    losses[0, 0, :2] = 1  # two wrong answers, before the last 8 trials
    losses[0, 1, -2:] = 1
    best, odds = np.zeros((2, 4, 10), dtype=int), np.full((2, 4, 10), -1.0)
    best[1] = -1  # the other scheme never sleeps
    odds[1] = np.nan
    odds[0, 0, 4:] = odds[0, 1, 6:] = odds[0, 2, 8:] = 5.0  # trials 5, 7 and 9 of people, who count from 1
    result = made_up(["sleep", "naive"], wins, losses, best, odds, [[0, 0, 7, -1], [-1] * 4])
    result.arrays["free_energy"][0] = np.array([1.0, 2.0, 3.0, 6.0])[:, None]
    header, rows, notes = insight.table(result)
    assert len(header) == len(rows[0]) == len(rows[1]) == 8 and all(isinstance(note, str) for note in notes)
    one, other = (dict(zip(header, row, strict=True)) for row in rows)
    assert (one["scheme"], other["scheme"]) == ("sleep", "naive")
    assert (one["found"], one["wrong"], one["aha"]) == ("75%", "1", "7 (5-9)")
    assert (other["found"], other["wrong"], other["aha"]) == ("-", "-", "-")
    # shares .8 .8 1 1: deviations of .1, standard error .1 sqrt(4/3) / 2; of the last 8 trials 1 .75 1 1
    assert one["correct"] == "90.0 +- 5.8%" and one["last 8"] == "93.8 +- 6.2%"
    assert other["correct"] == "100.0 +- 0.0%"
    # mean 3, deviations -2 -1 0 3: variance 14/3, standard error sqrt(14/12)
    assert one["free energy"] == "3.00 +- 1.08" and one["confidence"] == "0.00 +- 0.00"


def test_a_table_of_one_agent_and_few_trials_has_no_errors():
    header, rows, _ = insight.table(simulate(insight.paradigm("sleep", planner="sophisticated"), 1, 2))
    assert "last 2" in header and not any("+-" in cell or "nan" in cell for cell in rows[0])


# --- the command line ----------------------------------------------------------------------------------------------------
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys, tmp_path, monkeypatch) -> Call:
    """Run the command in an empty folder: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*words: object) -> tuple[int, str, str]:
        status = cli.main([str(w) for w in words])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


SMALL = ("--agents", "4", "--trials", "3", "--no-figures")


def test_the_command_runs_it_with_options(call, tmp_path):
    status, out, err = call("run", "insight", *SMALL, "--scheme", "sleep", "--set", "planner=sophisticated", "--out", "o")
    assert (status, err) == (0, "")
    assert "insight: 4 agents, 3 trials, seed 0" in out and "aha: the trial after which" in out
    assert "true rule: 0, where each rule shows its colour: left rule: left" in out
    result = Result.load(tmp_path / "o" / "result.npz")
    expected = simulate(insight.paradigm("sleep", planner="sophisticated"), 4, 3)
    for name in ("free_energy", "log_odds", "best_model", "wins"):
        assert_array_equal(result[name], expected[name])
    assert result.settings["schemes"]["sleep"]["inference"] == "factorised"
    assert [str(n) for n in result.model_names] == list(insight.motifs().descriptions)


def test_the_default_is_the_scheme_of_2017(call, tmp_path):
    assert call("run", "insight", *SMALL, "--out", "a")[0] == 0
    assert call("run", "insight", *SMALL, "--set", "planner=2017", "--set", "adopt=claims", "--out", "b")[0] == 0
    one, two = (Result.load(tmp_path / n / "result.npz") for n in "ab")
    assert_array_equal(one.free_energy, two.free_energy)
    assert one.schemes == ["sleep"] and one.settings == two.settings


def test_other_options_are_other_numbers(call, tmp_path):
    for name, value in (("planner", "sophisticated"), ("planner", "2017")):
        assert call("run", "insight", *SMALL, "--set", f"{name}={value}", "--out", value, "--quiet") == (0, "", "")
    one, two = (Result.load(tmp_path / v / "result.npz") for v in insight.PLANNERS)
    assert (one.free_energy != two.free_energy).any()


def test_several_values_of_an_option_are_refused(call):
    words = ("--set", "planner=2017", "--set", "planner=sophisticated")
    said = "error: --set planner must be given once; got '2017' and 'sophisticated'\n"
    assert call("run", "insight", *SMALL, *words, "--out", "o", "--quiet") == (2, "", said)


def test_random_motifs_from_the_command_line(call, tmp_path):
    status, out, _ = call("run", "insight", *SMALL, "--set", "planner=sophisticated", "--true-rule", "random", "--out", "o")
    assert status == 0 and "another one for every agent" in out
    assert set(Result.load(tmp_path / "o" / "result.npz").true_model.tolist()) <= set(insight.SOLVABLE)


def test_a_recording_can_be_replayed_with_options(call, tmp_path, spm):
    z = spm("rule2017")
    controls = np.concatenate([z["u"], z["u"][..., -1:]], axis=2)
    arrays = {"states": z["s"], "controls": controls, "outcomes": z["o"]}
    np.savez(tmp_path / "r.npz", **{n: x[:3].astype(int) - 1 for n, x in arrays.items()})
    words = ("replay", "insight", "r.npz", "--scheme", "naive", "--set", "planner=2017", "--out", "x.npz")
    status, out, err = call(*words)
    assert (status, err) == (0, "") and "insight, naive: 3 trials of 6 observations" in out
    with np.load(tmp_path / "x.npz") as held:
        assert_allclose(held["free_energy"].sum(axis=1), z["F"][:3], rtol=1e-8)


@pytest.mark.parametrize(
    "words, parts",
    [
        (("run", "insight", "--set", "planer=2017"), ("no option of insight 'planer'", "did you mean 'planner'", "adopt")),
        (("run", "insight", "--set", "planner=2018"), ("--set planner must be one of 2017, sophisticated; got '2018'",)),
        (("run", "insight", "--set", "planner"), ("--set must look like NAME=VALUE; got 'planner'",)),
        (("run", "insight", "--set", "planner="), ("--set planner must be one of 2017, sophisticated; got ''",)),
        (("run", "insight", "--set", "=2017"), ("no option of insight ''",)),
        (("run", "insight", "--set", "adopt=Claims"), ("--set adopt must be one of claims, reduced; got 'Claims'",)),
        (("run", "insight", "--scheme", "slep"), ("did you mean 'sleep'",)),
        (("run", "insight", "--true-rule", "36"), ("--true-rule must be 0 to 35; got 36",)),
        (("run", "insight", "--scheme", "instructed", "--true-rule", "random"), ("instructed", "random")),
        (("run", "three-ball", "--set", "planner=2017"), ("option of three-ball 'planner'",)),
        (("replay", "insight", "r.npz", "--out", "x.npz", "--set", "planner=2018"), ("--set planner must be one of",)),
    ],
)
def test_wrong_options_are_refused_in_a_line(call, tmp_path, words, parts):
    status, out, err = call(*words)
    assert (status, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    for part in parts:
        assert part in err
    assert not list(tmp_path.iterdir())


def test_list_shows_schemes_and_options(call):
    status, out, err = call("list")
    assert (status, err) == (0, "")
    words = " ".join(out.split())
    assert "insight: find out, awake or asleep" in words and "0 to 35; by default 0" in words
    for scheme in insight.SCHEMES:
        assert f"  {scheme} " in out
    assert "sleep (default)" in out
    assert "option (--set planner=...): 2017, sophisticated; the first by default" in words
    assert "option (--set adopt=...): claims, reduced; the first by default" in words


def test_options_are_arguments_of_the_paradigm():
    options = registry.options_of(registry.load_paradigm("insight"))
    assert options == {"planner": list(insight.PLANNERS), "adopt": list(insight.ADOPTIONS)}
    for name, values in options.items():
        for value in values:
            assert insight.paradigm("sleep", None, **{name: value}).settings[name] == value
        assert insight.paradigm("sleep").settings[name] == values[0]


# --- populations ---------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def population() -> Result:
    """256 agents of 2017 through 32 trials, naive and sleeping, paired."""
    return simulate([insight.paradigm(s, planner="2017") for s in ("naive", "sleep")], 256, 32, seed=0)


@pytest.mark.slow
def test_nearly_all_sleepers_find_the_motif_and_none_ends_with_a_wrong_one(population):
    aha = insight.aha_trial(population)[1]
    assert (aha >= 0).mean() >= 0.98
    assert population.adopted_wrong[1].sum() == 0
    assert population.adopted_truth[1].mean() >= 0.98


@pytest.mark.slow
def test_insight_comes_when_it_came_to_spm(population, spm):
    """Trials counted from 1, as SPM does: its single run had its insight in trial 6."""
    aha = insight.aha_trial(population)[1]
    trials = aha[aha >= 0] + 1
    assert 4 <= np.median(trials) <= 8
    low, high = np.quantile(trials, [0.1, 0.9])
    assert low <= spm("rule2017")["sleep_trial"][0, 0] <= high


@pytest.mark.slow
def test_spms_single_run_is_one_of_ours(population, spm):
    """Right answers, free energy and confidence of its 32 trials lie within what our naive agents do."""
    z = spm("rule2017")
    right = insight.hits(population)[0].sum(axis=1)
    assert z["hit"].sum() == 28 and np.quantile(right, 0.05) <= 28 <= np.quantile(right, 0.95)
    for ours, theirs in ((population.free_energy[0], z["F"]), (population.confidence[0], z["Fu"])):
        means = ours.mean(axis=1)
        assert means.min() <= theirs.mean() <= means.max()
        # and not as an outlier: within three standard deviations of single agents
        assert abs(theirs.mean() - means.mean()) < 3 * means.std(ddof=1)


@pytest.mark.slow
def test_sleepers_answer_more_trials_right_than_their_naive_twins(population):
    gain = np.diff(insight.hits(population).sum(axis=2), axis=0)[0]
    assert gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(len(gain))
    # their trials after insight are nearly all right
    aha = insight.aha_trial(population)[1]
    later = [insight.hits(population)[1, k, t + 1 :].mean() for k, t in enumerate(aha) if 0 <= t < 24]
    assert np.mean(later) > 0.95
