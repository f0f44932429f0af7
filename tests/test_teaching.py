"""Checks of exercises: right answers pass, known slips are named, and nothing that a student types ends in a traceback."""

from __future__ import annotations

import doctest
import importlib
import math

import numpy as np
import pytest

from activebmr.teaching import Remark, check, draw
from activebmr.teaching.networks import WEIGHTS
from activebmr.teaching.recordings import LEADS

ODD = ["red", [], [1, 2, 3], object, {"a": 1}, math.nan, [math.nan, 1], True, -5, [[1], [2, 3]], 1e300, b"x"]

RIGHT = {
    "belief_after_red": [[3 / 7, 4 / 7], np.array([0.43, 0.57]), {"mostly blue": 4 / 7, "mostly red": 3 / 7}],
    "belief_after_draws": [[0.75, 0.25], (3 / 4, 1 / 4)],
    "surprise_of_blue": [-math.log(0.3), 1.2],
    "gain_of_looking": [math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25), 0.13],
    "gain_of_noise": [0, 0.0, np.float64(0)],
    "evidence_of_any_coin": [1 / 12, 0.083],
    "lead_of_fair_coin": [math.log(1.5), 0.41],
    "probability_at_window": [1 / (1 + math.exp(-3)), 0.953, 0.95],
    "lead_of_motif": [2.004, 2.0],
    "lead_after_contradiction": [1.242],
    "what_sleep_needs": ["its counts", " Its counts "],
    "log_likelihood_of_three": [math.log(0.1), -2.3],
    "lead_of_class": [8.0, sum(LEADS)],
    "evidence_for_removal": [math.log(5) - 0.125, 1.48],
    "weights_that_go": [["a", "c"], {"c", "a"}, "a, c", "ac"],
}

SLIPS = [
    ("belief_after_red", [0.15, 0.2], "normalise"),
    ("belief_after_red", [0.75, 0.25], "one in five"),
    ("belief_after_red", [4 / 7, 3 / 7], "order"),
    ("belief_after_red", [42.86, 57.14], "per cent"),
    ("belief_after_draws", [2 / 3, 1 / 3], "share of red balls"),
    ("belief_after_draws", [0.75 * 0.75 * 0.25, 0.25 * 0.25 * 0.75], "normalise"),
    ("surprise_of_blue", math.log(0.3), "sign"),
    ("surprise_of_blue", -math.log2(0.3), "bits"),
    ("gain_of_looking", math.log(2), "before the look"),
    ("gain_of_noise", math.log(2), "uncertain the outcome"),
    ("evidence_of_any_coin", 4 / 27, "afterwards"),
    ("lead_of_fair_coin", math.log(8 / 12), "sign"),
    ("probability_at_window", math.exp(3), "odds"),
    ("lead_of_motif", 7.417, "logarithm"),
    ("lead_after_contradiction", -math.inf, "one"),
    ("log_likelihood_of_three", 0.1, "logarithm"),
    ("lead_of_class", float(np.mean(LEADS)), "mean"),
    ("evidence_for_removal", math.log(5) - 0.25, "half"),
    ("weights_that_go", ["a", "d"], "size"),
]


@pytest.mark.parametrize(("name", "answer"), [(n, a) for n, answers in RIGHT.items() for a in answers])
def test_right_answers_pass(name, answer):
    remark = getattr(check, name)(answer)
    assert remark and remark.grade == "right" and repr(remark).startswith("right: ")


@pytest.mark.parametrize(("name", "answer", "word"), SLIPS, ids=lambda x: str(x)[:30])
def test_slips_are_named(name, answer, word):
    remark = getattr(check, name)(answer)
    assert not remark and remark.grade == "almost" and word in remark.text


@pytest.mark.parametrize("name", sorted(RIGHT))
@pytest.mark.parametrize(
    "answer",
    ["red", [], [1, 2, 3], object(), {"a": 1}, math.nan, [math.nan, 1], True, -5, [[1], [2, 3]], 1e300, b"x"],
    ids=lambda answer: type(answer).__name__ + repr(answer)[:12] * (type(answer) is not object),
)
def test_odd_answers_get_a_remark_and_no_traceback(name, answer):
    remark = getattr(check, name)(answer)
    assert isinstance(remark, Remark) and not remark and remark.text
    assert len(remark.text) < 300


@pytest.mark.parametrize("name", sorted(RIGHT))
@pytest.mark.parametrize("answer", [..., None, "", "  "])
def test_no_answer_is_no_wrong_answer(name, answer):
    assert getattr(check, name)(answer).grade == "open"


def test_remarks_are_escaped_in_notebooks():
    remark = check.weights_that_go("<script>alert(1)</script>")
    assert "<script>" not in remark._repr_html_() and "&lt;script&gt;" in remark._repr_html_()
    with pytest.raises(ValueError, match="grade of Remark"):
        Remark("good", "")


def test_motives():
    names = check.motives(dict.fromkeys(["eat the cake"], "utility"))
    assert names.grade == "no"
    right = {
        "look whether the bus is already there": "state",
        "press a button that you have never pressed": "param",
        "ask a friend which of two explanations of his holds": "model",
        "eat the cake": "utility",
    }
    assert check.motives(right)
    assert check.motives(right | {"eat the cake": ...}).grade == "open"
    assert "the terms are" in check.motives(right | {"eat the cake": "hunger"}).text
    assert check.motives(right | {"eat the cake": ["utility"]}).grade == "no"
    swapped = check.motives(right | {"eat the cake": "state", "look whether the bus is already there": "utility"})
    assert swapped.grade == "almost" and "liked" in swapped.text and "at the moment" in swapped.text


def test_best_scheme():
    table = {"a": [10.0, 0.0, 5.0], "b": [2.0, 1.0, 5.0]}
    assert check.best_scheme("A", table, student=1) and "8.0 nats" in check.best_scheme("a", table, student=1).text
    assert check.best_scheme("b", table, student=1).grade == "no"
    assert check.best_scheme("a", table, student=2).grade == "almost"
    assert "window" in check.best_scheme("b", table, student=2).text
    assert check.best_scheme("c", table, student=1).grade == "no"
    with pytest.raises(ValueError, match="student must be a whole number in 1..3; got 0"):
        check.best_scheme("a", table, student=0)
    with pytest.raises(ValueError, match="log_evidence must have one number per student"):
        check.best_scheme("a", {"a": [1.0], "b": [1.0, 2.0]}, student=1)
    with pytest.raises(TypeError, match="log_evidence must be a dict"):
        check.best_scheme("a", [1.0], student=1)
    with pytest.raises(ValueError, match="leads must be a list of finite numbers"):
        check.lead_of_class(1.0, leads=[math.nan])


def test_both_of_equal_schemes_are_best():
    table = {"a": [5.0], "b": [5.0]}
    assert check.best_scheme("a", table, student=1) and check.best_scheme("b", table, student=1)


def test_inputs_needed():
    layer, names = np.array([[1.0, 0.0, 0.5], [0.0, 0.0, 2.0]]), ["x1", "x2", "x3"]
    assert check.inputs_needed(["x3", "x1"], layer, names) and check.inputs_needed("x1 x3", layer, names)
    assert check.inputs_needed(["x2"], layer, names).grade == "almost"
    assert "still reads x3" in check.inputs_needed(["x1"], layer, names).text
    assert check.inputs_needed(..., layer, names).grade == "open"
    assert check.inputs_needed([0, 2], layer, names).grade == "no"
    with pytest.raises(ValueError, match="names must have one name for every column"):
        check.inputs_needed(["x1"], layer, ["x1"])


def test_trial_of_insight():
    from activebmr import simulate
    from paradigms import insight

    result = simulate(insight.paradigm("sleep-own"), n_agents=2, n_trials=4, seed=0)
    found = np.asarray(result.adoption_trial[0])
    for agent, trial in enumerate(found):
        if trial < 0:
            with pytest.raises(ValueError, match=f"agent {agent} of result adopted none"):
                check.trial_of_insight(1, result, agent)
        else:
            assert check.trial_of_insight(trial + 1, result, agent)
            assert "from 1" in check.trial_of_insight(trial, result, agent).text
    with pytest.raises(ValueError, match=r"agent must lie in 0..1; got 2"):
        check.trial_of_insight(1, result, 2)
    with pytest.raises(TypeError, match="result must be a Result; got 3"):
        check.trial_of_insight(1, 3, 0)


def test_answers_agree_with_the_library():
    """What the checks hold true is what the library computes."""
    from activebmr.gaussian import removal_evidence
    from activebmr.reduction.evidence import log_evidence_ratio

    assert check.lead_of_motif(float(log_evidence_ratio([5, 1, 1], [1, 1, 1], [9, 1, 1])))
    assert check.lead_after_contradiction(float(log_evidence_ratio([5, 1, 2], [1, 1, 1], [9, 1, 1])))
    assert check.lead_of_fair_coin(float(log_evidence_ratio([3, 2], [1, 1], [1e7, 1e7])))
    evidence = {n: float(removal_evidence(m, s**2, 1.0)) for n, (m, s) in WEIGHTS.items()}
    assert check.evidence_for_removal(evidence["a"])
    assert check.weights_that_go([n for n, e in evidence.items() if e > 0])


# --- pictures --------------------------------------------------------------------------------------------------------------
def test_pictures_show_in_notebooks():
    x = np.linspace(0, 1, 5)
    for axes in (
        draw.bars({"red": 0.5, "blue": -0.25}, "share", "Title", most=1),
        draw.bars({"before": {"red": 0.5}, "after": {"red": 0.75}}, "share", legend="when"),
        draw.bars({"a": {"x": 0.5}, "b": {"x": 0.75}}, "nats", stacked=True),
        draw.lines({"a": [1, 2], "b": [2, 1]}, "nats", "trial", level=(1.5, "window")),
        draw.curves(x, {"bell": x**2}, "density", "x"),
        draw.dots(x, x**2, "x", "y"),
        draw.shades(np.eye(2), ["a", "b"], ["c", "d"], "probability", most=1),
    ):
        assert axes._repr_png_().startswith(b"\x89PNG")


def test_stacked_bars_write_their_sum():
    axes = draw.bars({"a": {"x": 0.5, "y": 0.0}, "b": {"x": 0.75, "y": 0.25}}, "nats", stacked=True)
    assert [t.get_text() for t in axes.texts] == ["1.25", "0.25"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: draw.bars({}, "x"), "values must have a name"),
        (lambda: draw.bars({"a": {"x": 1}, "b": {"y": 1}}, "x"), "same names in every series"),
        (lambda: draw.bars({"a": {"x": -1}}, "x", stacked=True), "must not be negative"),
        (lambda: draw.lines({}, "x", "y"), "values must have a name"),
        (lambda: draw.curves([1, 2], {"a": [1]}, "x", "y"), "a height for every x"),
        (lambda: draw.curves([1, 2], {}, "x", "y"), "values must have a name"),
        (lambda: draw.dots([1, 2], [1], "x", "y"), "same shape"),
        (lambda: draw.shades(np.eye(2), ["a"], ["b", "c"], "x"), r"values must have shape \(1, 2\)"),
    ],
)
def test_pictures_say_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "module", ["beliefs", "check", "curiosity", "draw", "insight", "networks", "recordings", "remark", "sleep", "__init__"]
)
def test_examples_in_docstrings(module):
    name = "activebmr.teaching" if module == "__init__" else f"activebmr.teaching.{module}"
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
