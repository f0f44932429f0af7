"""`simulate`: what it measures, what it refuses, and how it survives interruption."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from worlds import lamp_rules, two_rooms

from activebmr import POMDP, Agent, HypothesisSpace, Learning, Paradigm, Planner, Selection, simulate
from activebmr.simulation.paradigm import describe
from paradigms import three_ball

module = importlib.import_module("activebmr.simulation.simulate")
discard_checkpoint = module.discard_checkpoint


def rooms(scheme="plain", truth=1, space=None, model=None, score=None, **options) -> Paradigm:
    model = two_rooms() if model is None else model
    space = lamp_rules() if space is None else space
    held = {"planner": Planner(depth=1), "selection": Selection(threshold=1.0, curious=True)}
    score = {1: (1.0, 0.5, -2.0)} if score is None else score
    return Paradigm("rooms", scheme, Agent(model, space, **(held | options)), model, 4, space, truth, score)


def without_hypotheses(scheme="naive") -> Paradigm:
    return Paradigm("rooms", scheme, Agent(two_rooms()), two_rooms(), 4, score={0: (0.0, 1.0)})


def same(one, two) -> None:
    for name, array in one.arrays.items():
        if name != "settings":
            assert_array_equal(two.arrays[name], array, err_msg=name)


# --- measures ------------------------------------------------------------------------------------------------------------
def test_measures_are_sums_of_what_happened():
    result = simulate([rooms(), rooms("blind", planner=Planner(gains=()))], 6, 5, seed=2, trace=True)
    trace, worth = result.trace, np.array([1.0, 0.5, -2.0])
    light = trace["outcomes"][..., 1]
    assert trace["outcomes"].shape == (2, 6, 5, 4, 2)
    assert_array_equal(result.wins, (worth[light] > 0).sum(axis=-1))
    assert_array_equal(result.losses, (worth[light] < 0).sum(axis=-1))
    assert_allclose(result.score, worth[light].sum(axis=(-1, -2)))
    assert_allclose(result.free_energy, trace["free_energy"].sum(axis=-1), rtol=1e-12)
    assert_allclose(result.confidence, trace["confidence"].sum(axis=-1), rtol=1e-12)
    assert_array_equal(result.model_posterior, trace["model_posterior"][..., -1, :])
    assert_array_equal(result.true_model_posterior, result.model_posterior[..., 1])
    assert_array_equal(result.best_model, result.model_posterior.argmax(axis=-1))
    best = result.model_posterior.max(axis=-1)
    assert_allclose(result.log_odds, np.log(best / (1 - best)), rtol=1e-9)
    assert_array_equal(result.discovery_trials, (result.kl_to_truth > 1).sum(axis=-1))
    adopts = result.log_odds > 1.0
    first = np.where(adopts.any(axis=-1), adopts.argmax(axis=-1), -1)
    assert_array_equal(result.adoption_trial, first)
    picked = np.take_along_axis(result.best_model, np.maximum(first, 0)[..., None], axis=-1)[..., 0]
    assert_array_equal(result.adopted_model, np.where(first >= 0, picked, -1))
    assert (first >= 0).any()


def test_divergence_is_from_the_true_likelihood_summed_over_columns():
    learns_at_once = rooms(inference="factorised", planner=Planner(depth=1, search="states", modalities="separate"))
    result = simulate(learns_at_once, 3, 4, seed=1, trace=True)
    truth = lamp_rules().dense("both", 1)
    truth = truth / truth.sum(axis=0)
    counts = result.trace["pA_light"][0]
    learned = counts / counts.sum(axis=2, keepdims=True)
    log = lambda x: np.log(np.maximum(x, np.exp(-32.0)))  # noqa: E731
    assert_allclose(result.kl_to_truth[0], (truth * (log(truth) - log(learned))).sum(axis=(2, 3, 4)), rtol=1e-9)


def test_the_world_obeys_the_true_hypothesis():
    result = simulate(rooms(truth=1), 40, 10, seed=0, trace=True)
    lamp, light = result.trace["states"][0, ..., 1], result.trace["outcomes"][0, ..., 1]
    assert_array_equal(light, lamp)  # "both": on is bright, off is dark, in both rooms
    assert_array_equal(result.trace["outcomes"][..., 0], result.trace["states"][..., 0])
    assert_array_equal(result.trace["states"][0, :, :, 1:, 0], result.trace["controls"][0, :, :, :-1, 0])
    assert abs(lamp[..., 0].mean() - 0.5) < 4 * 0.5 / np.sqrt(400)
    assert (np.ptp(lamp, axis=-1) == 0).all()  # the lamp is not switched within a trial


def test_random_truths_depend_on_seed_and_agent_only():
    few, many = (simulate(rooms(truth="random"), n, 1, seed=7) for n in (5, 40))
    assert_array_equal(many.true_model[:5], few.true_model)
    assert set(many.true_model) == {0, 1}
    assert_array_equal(
        many.true_model_posterior[0, :, 0], np.take_along_axis(many.model_posterior[0, :, 0], many.true_model[:, None], 1)[:, 0]
    )
    other = simulate(rooms(truth="random"), 40, 1, seed=8)
    assert (other.true_model != many.true_model).any()


def test_schemes_with_and_without_hypotheses_share_a_result():
    result = simulate([three_ball.paradigm("paper"), three_ball.paradigm("knowing")], 2, 2)
    assert result.model_posterior.shape == (2, 2, 2, 81)
    assert np.isfinite(result.model_posterior[0]).all()
    for name in ("model_posterior", "log_odds", "true_model_posterior"):
        assert np.isnan(getattr(result, name)[1]).all()
    for name in ("best_model", "adopted_model", "adoption_trial"):
        assert_array_equal(getattr(result, name)[1], -1)
    assert_array_equal(result.kl_to_truth[1], 0.0)
    assert [row["has_hypotheses"] for row in result.summary()] == [True, False]


def test_a_world_without_hypotheses():
    result = simulate(without_hypotheses(), 3, 2)
    assert result.model_posterior.shape == (1, 3, 2, 0)
    assert_array_equal(result.true_model, -1)
    assert len(result.model_names) == len(result.model_class) == 0
    assert not result.adopted_truth.any()
    assert not result.adopted_wrong.any()
    assert np.isfinite(result.kl_to_truth).all()  # from the model's own likelihood


def test_settings_say_all_that_was_set():
    result = simulate([rooms(), rooms("other", learning=Learning(retention=0.999, rate=2.0))], 2, 3, seed=9)
    settings = result.settings
    assert {k: settings[k] for k in ("paradigm", "truth", "n_agents", "n_trials", "seed", "interrupted")} == {
        "paradigm": "rooms",
        "truth": 1,
        "n_agents": 2,
        "n_trials": 3,
        "seed": 9,
        "interrupted": False,
    }
    assert settings["schemes"]["other"]["learning"] == {"rate": 2.0, "retention": 0.999, "smooth": False, "at_end": False}
    assert settings["schemes"]["plain"]["selection"]["threshold"] == 1.0
    assert settings["schemes"]["plain"]["planner"]["depth"] == 1
    assert [str(s) for s in result.scheme] == ["plain", "other"]
    assert [str(n) for n in result.model_names] == ["left", "both"]


def test_settings_are_json_that_any_program_reads():
    result = simulate(rooms(selection=Selection(threshold=np.inf)), 1, 1)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    json.loads(str(result.arrays["settings"]), parse_constant=refuse)


def test_progress_is_shown_on_standard_error(capsys):
    simulate(rooms(), 2, 3, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "6/6" in shown.err
    simulate(rooms(), 2, 3)
    assert capsys.readouterr().err == ""


# --- bad input -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"paradigm": []}, TypeError, r"paradigm must be a Paradigm or a list of them; got \[\]"),
        ({"paradigm": ["paper"]}, TypeError, r"paradigm must be a Paradigm or a list of them; got \['paper'\]"),
        ({"paradigm": [rooms(), rooms()]}, ValueError, r"schemes must differ; got \['plain', 'plain'\]"),
        (
            {"paradigm": [rooms(), rooms("b", truth=0)]},
            ValueError,
            "schemes to compare must belong to one paradigm with one truth",
        ),
        ({"n_agents": 0}, ValueError, "n_agents must be a whole number >= 1.*; got 0"),
        ({"n_agents": 2.5}, ValueError, "n_agents must be a whole number >= 1.*; got 2.5"),
        ({"n_agents": True}, ValueError, "n_agents must be a whole number >= 1.*; got True"),
        ({"n_trials": -1}, ValueError, "n_trials must be a whole number >= 1.*; got -1"),
        ({"seed": -1}, ValueError, "seed must be a whole number >= 0.*; got -1"),
        ({"n_agents": "many"}, ValueError, "n_agents must be a whole number >= 1.*; got 'many'"),
        ({"jobs": 0}, ValueError, "jobs must be a whole number >= 1, or -1 for all cores; got 0"),
        ({"jobs": -2}, ValueError, "jobs must be a whole number >= 1, or -1 for all cores; got -2"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        simulate(**({"paradigm": rooms(), "n_agents": 2, "n_trials": 2} | arguments))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"trial_length": 0}, "trial_length must be at least 1; got 0"),
        ({"truth": None}, "hypotheses and truth must be given together, or neither of them"),
        ({"hypotheses": None}, "hypotheses and truth must be given together, or neither of them"),
        ({"truth": 2}, r"truth must be 'random' or lie in 0\.\.1; got 2"),
        ({"truth": -1}, r"truth must be 'random' or lie in 0\.\.1; got -1"),
        ({"truth": "neither"}, r"truth must be 'random' or lie in 0\.\.1; got 'neither'"),
    ],
)
def test_bad_paradigms_are_named(changes, message):
    held = {"name": "rooms", "scheme": "s", "agent": Agent(two_rooms()), "model": two_rooms(), "trial_length": 4}
    with pytest.raises(ValueError, match=message):
        Paradigm(**(held | {"hypotheses": lamp_rules(), "truth": 1} | changes))


def test_hypotheses_and_modalities_of_a_paradigm_may_be_named():
    model, by_index = two_rooms(), lamp_rules()
    space = HypothesisSpace({n: {"pA[light]": by_index.dense(n, 1)} for n in by_index.names})
    held = {"name": "rooms", "scheme": "s", "agent": Agent(model), "model": model, "trial_length": 4}
    named = Paradigm(**held, hypotheses=space, truth="both", score={"light": (1.0, 0.0, -1.0)}, candidates=["both", 0])
    assert named.truth == 1 and named.candidates == [1, 0] and named.score == {1: (1.0, 0.0, -1.0)}
    assert list(named.hypotheses.tables) == [1]
    assert repr(named).startswith("Paradigm('rooms', 's'; trials of 4; POMDP(2 factors") and len(repr(named)) < 300
    with pytest.raises(ValueError, match=r"score must be keyed by names of modalities or by modalities in 0\.\.1; got 'sound'"):
        Paradigm(**held, score={"sound": (1.0, 0.0)})
    with pytest.raises(ValueError, match=r"candidates must be names of hypotheses or lie in 0\.\.1; got 'neither'"):
        Paradigm(**held, hypotheses=space, truth="random", candidates=["neither"])


def test_settings_with_one_number_per_agent_are_kept_as_lists():
    settings = {"rates": np.array([0.5, np.inf]), "counts": np.arange(2), "table": np.eye(2)}
    held = describe(Paradigm("rooms", "s", Agent(two_rooms()), two_rooms(), 4, settings=settings))
    assert (held["rates"], held["counts"], held["table"]) == ([0.5, "inf"], [0, 1], [[1.0, 0.0], [0.0, 1.0]])


def test_a_paradigm_is_asked_for_by_name():
    with pytest.raises(TypeError, match="paradigm must be a Paradigm or a list of them; got"):
        simulate(Agent(two_rooms()), 1, 1)


def test_an_agent_must_fit_the_world():
    """Outcomes and controls of the agent's model are those of the world's: said when the paradigm is made, not later."""
    other = POMDP(A=[np.eye(2)], B=[np.eye(2)[:, :, None]])
    with pytest.raises(ValueError, match="model"):
        Paradigm("x", "s", Agent(other), two_rooms(), 4)


def test_agents_know_when_a_trial_of_their_paradigm_ends():
    """Those that have been told another time would plan for a trial that is not there."""
    paradigm = Paradigm("rooms", "s", Agent(two_rooms(), planner=Planner(depth=1)), two_rooms(), 4)
    assert paradigm.agent.trial_length == 4
    trace = simulate(paradigm, 3, 2, seed=0, trace=True).trace
    assert (trace["neg_efe"][..., -1, :] == 0).all() and trace["neg_efe"][..., 0, :].any()  # nothing comes after the last time
    given = Agent(two_rooms(), trial_length=4)
    assert Paradigm("rooms", "s", given, two_rooms(), 4).agent is given
    further = Planner(depth=1, extra_step=True)  # what planning counts beyond the end is its own setting
    after = simulate(Paradigm("rooms", "s", Agent(two_rooms(), planner=further), two_rooms(), 4), 3, 2, seed=0, trace=True)
    assert after.trace["neg_efe"][..., -1, :].any()
    for length in (3, 5):
        with pytest.raises(ValueError, match=f"trial_length of the agent must be the paradigm's, 4, or None; got {length}"):
            Paradigm("rooms", "s", Agent(two_rooms(), trial_length=length), two_rooms(), 4)


@pytest.mark.parametrize("score", [{7: (1.0, 0.0)}, {1: (1.0,)}])
def test_a_score_must_fit_the_world(score):
    with pytest.raises(ValueError, match="score"):
        simulate(rooms(score=score), 1, 1)


def test_agents_and_world_must_speak_of_the_same_hypotheses():
    """Otherwise the posterior of "the true one" would be that of another hypothesis with its number."""
    space = lamp_rules()
    turned = HypothesisSpace({n: {1: space.dense(n, 1)} for n in ("both", "left")})
    with pytest.raises(ValueError, match="hypotheses"):
        Paradigm("rooms", "s", Agent(two_rooms(), turned), two_rooms(), 4, space, 1)


# --- interruption and checkpoints ----------------------------------------------------------------------------------------
@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(module, "BATCH", 4)


def interrupt_after(monkeypatch, n):
    """Ctrl-C while batch n is at work."""
    run, count = module.run_batch, []

    def interrupted(*args, **kwargs):
        if len(count) == n:
            raise KeyboardInterrupt
        count.append(1)
        return run(*args, **kwargs)

    monkeypatch.setattr(module, "run_batch", interrupted)
    return count


def test_ctrl_c_keeps_the_finished_agents(small_batches, monkeypatch):
    whole = simulate(rooms(), 10, 3, seed=5)
    interrupt_after(monkeypatch, 2)
    part = simulate(rooms(), 10, 3, seed=5)
    assert part.settings["interrupted"] is True
    assert part.settings["n_agents"] == 8
    assert_array_equal(part.free_energy, whole.free_energy[:, :8])
    assert part.wins.shape == (1, 8, 3)


def test_ctrl_c_keeps_agents_that_finished_under_all_schemes(small_batches, monkeypatch):
    interrupt_after(monkeypatch, 3)
    part = simulate([rooms(), rooms("b")], 10, 2)
    assert part.wins.shape == (2, 4, 2)


def test_ctrl_c_before_anything_is_finished(small_batches, monkeypatch, tmp_path):
    interrupt_after(monkeypatch, 0)
    with pytest.raises(KeyboardInterrupt):
        simulate(rooms(), 10, 2, checkpoint=tmp_path)


def test_a_checkpoint_is_resumed_and_can_be_discarded(small_batches, monkeypatch, tmp_path):
    whole, folder = simulate(rooms(), 10, 3, seed=5), tmp_path / "unfinished"
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        simulate(rooms(), 10, 3, seed=5, checkpoint=folder)
    assert len(list(folder.glob("*/*.npz"))) == 2
    with monkeypatch.context() as patch:
        runs = interrupt_after(patch, 99)
        resumed = simulate(rooms(), 10, 3, seed=5, checkpoint=folder)
    assert len(runs) == 1  # the last batch only
    same(whole, resumed)
    assert resumed.settings["interrupted"] is False
    discard_checkpoint(folder)
    assert not folder.exists()


def test_discarding_a_checkpoint_leaves_other_files_alone(small_batches, tmp_path):
    """Results of other runs in a folder beside it, above all."""
    other = tmp_path / "three-ball" / "result.npz"
    simulate(rooms(), 5, 1).save(other)
    simulate(rooms(), 5, 1, checkpoint=tmp_path)
    discard_checkpoint(tmp_path)
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()] == ["three-ball/result.npz"]


def test_more_agents_go_on_from_those_there_are(small_batches, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        simulate(rooms(), 10, 2, checkpoint=tmp_path)
    with monkeypatch.context() as patch:
        runs = interrupt_after(patch, 99)
        more = simulate(rooms(), 16, 2, checkpoint=tmp_path)
    assert len(runs) == 2
    same(simulate(rooms(), 16, 2), more)


def test_a_damaged_checkpoint_is_done_again(small_batches, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        simulate(rooms(), 10, 3, seed=5, checkpoint=tmp_path)
    damaged = sorted(tmp_path.glob("*/*.npz"))[0]
    damaged.write_bytes(damaged.read_bytes()[:200])
    same(simulate(rooms(), 10, 3, seed=5), simulate(rooms(), 10, 3, seed=5, checkpoint=tmp_path))


def test_only_the_batches_of_a_run_are_discarded(small_batches, monkeypatch, tmp_path):
    simulate(rooms(), 5, 2, seed=1, checkpoint=tmp_path)
    kept = set(tmp_path.rglob("*.npz"))
    simulate(rooms(), 5, 1, seed=1, checkpoint=tmp_path)
    discard_checkpoint(tmp_path, module.checkpoint_name(rooms(), 5, 1, 1))
    assert set(tmp_path.rglob("*.npz")) == kept and len(kept) == 2


def test_a_full_disk_does_not_cost_the_result(small_batches, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("activebmr.simulation.checkpoints.write_npz", full)
    with pytest.warns(UserWarning, match="finished batches can no longer be kept in .*: .*No space left") as said:
        result = simulate(rooms(), 10, 2, checkpoint=tmp_path)
    assert len(said) == 1
    same(simulate(rooms(), 10, 2), result)


def world_of(sharpness, also=None):
    """A function that makes worlds, with a setting in its closure that nothing else tells of (and itself, by a class)."""

    class Maker:
        def __init__(self):
            self._hidden = sharpness
            super().__init__()

        def __call__(self, seed, agents, truths):
            return make(seed, agents, truths)

    def make(seed, agents, truths):
        return module_of_worlds.ModelProcess(two_rooms(), lamp_rules(sharp=sharpness), truths)

    return Maker() if also == "object" else make


module_of_worlds = importlib.import_module("activebmr.simulation.worlds")


@pytest.mark.parametrize("kind", ["function", "object"])
def test_worlds_are_told_apart_by_what_their_makers_hold(tmp_path, kind):
    names = []
    for sharpness in (1.0, 1.0, 9.0):
        paradigm = replace(rooms(truth="random"), worlds=world_of(sharpness, kind))
        names.append(module.checkpoint_name(paradigm, 3, 2, 0))
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    "other",
    [
        lambda: (rooms(), 10, 3, 6),
        lambda: (rooms(), 10, 4, 5),
        lambda: (rooms(truth=0), 10, 3, 5),
        lambda: (rooms(planner=Planner(depth=0)), 10, 3, 5),
        lambda: (rooms(learning=Learning(rate=0.5)), 10, 3, 5),
        # what the paradigm itself is made of
        lambda: (rooms(model=two_rooms(C=[None, [0.0, 3.0, 0.0]])), 10, 3, 5),
        lambda: (rooms(model=two_rooms(D=[[0.0, 1.0], None])), 10, 3, 5),
        lambda: (rooms(space=lamp_rules(sharp=1.0)), 10, 3, 5),
        lambda: (rooms(score={1: (0.0, 0.0, 1.0)}), 10, 3, 5),
    ],
)
def test_a_checkpoint_of_something_else_is_left_alone(small_batches, monkeypatch, tmp_path, other):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        simulate(rooms(), 10, 3, seed=5, checkpoint=tmp_path)
    paradigm, n_agents, n_trials, seed = other()
    fresh = simulate(paradigm, n_agents, n_trials, seed=seed)
    same(fresh, simulate(paradigm, n_agents, n_trials, seed=seed, checkpoint=tmp_path))


# --- the paradigm --------------------------------------------------------------------------------------------------------
def test_every_scheme_of_three_balls_runs():
    result = simulate([three_ball.paradigm(s) for s in three_ball.SCHEMES], 3, 2)
    assert result.schemes == list(three_ball.SCHEMES)
    assert result.sizes == {"scheme": 11, "agent": 3, "trial": 2, "model": 81}
    for name in ("free_energy", "confidence", "kl_to_truth", "score"):
        assert np.isfinite(getattr(result, name)).all()
    # all but those who know the rule report on the 81 rules: awake, or in their sleep
    wondering = np.isfinite(result.model_posterior).all(axis=(1, 2, 3))
    assert_array_equal(wondering, [s != "knowing" for s in result.schemes])


def test_an_agent_that_knows_the_rule_looks_before_it_answers():
    result = simulate(three_ball.paradigm("knowing"), 64, 4, trace=True)
    assert result.losses.sum() < 0.02 * result.wins.sum()
    gaze, choice = result.trace["states"][0, ..., 3], result.trace["states"][0, ..., 4]
    answered = (choice < 3).argmax(axis=-1)
    assert (gaze[:, :, 1] == 1).all()  # first to the centre ball, which says whose colour is right
    assert (answered >= 2).all()


@pytest.mark.parametrize(
    "scheme, rule, message",
    [
        ("clever", None, r"scheme of three-ball must be one of \['reasoning', .*\]; got 'clever'"),
        (
            "knowing",
            "random",
            "true_rule must be a number for the scheme 'knowing': all its agents know one rule; got 'random'",
        ),
        ("paper", 81, r"truth must be 'random' or lie in 0\.\.80; got 81"),
        ("paper", "mine", r"truth must be 'random' or lie in 0\.\.80; got 'mine'"),
        ("knowing", 81, "81"),
        ("knowing", "mine", "mine"),
    ],
)
def test_bad_schemes_and_rules_are_named(scheme, rule, message):
    with pytest.raises(ValueError, match=message):
        three_ball.paradigm(scheme, rule)
