"""Measures of a paradigm's own, measures that there are not, and what a result shows of itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from worlds import lamp_rules, two_rooms

from activebmr import POMDP, Agent, HypothesisSpace, Measure, Paradigm, Planner, Result, simulate
from activebmr.simulation.measures import ABOUT_HYPOTHESES, DIMENSIONS, STANDARD


def rooms(scheme="s", score=None, space=None, **more) -> Paradigm:
    truth = {} if space is None else {"hypotheses": space, "truth": "random"}
    return Paradigm("rooms", scheme, Agent(two_rooms(), space), two_rooms(), 4, score=score or {}, **truth, **more)


BRIGHT = {
    "lit": ("trials in which the light was seen", "share", lambda result: result.wins > 0),
    "points": ("worth of all that was seen", "points", "score"),
}


# --- what there is -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("score", [False, True])
@pytest.mark.parametrize("hypotheses", [False, True])
def test_only_what_a_paradigm_has_is_there(score, hypotheses):
    result = simulate(rooms(score={1: (1, 0, -1)} if score else None, space=lamp_rules() if hypotheses else None), 3, 2)
    expected = set(STANDARD) - (set() if score else {"wins", "losses", "score"})
    expected -= set() if hypotheses else set(ABOUT_HYPOTHESES)
    assert set(result.measures) == expected
    for name, array in result.measures.items():
        assert result.dims(name) == DIMENSIONS[name]
        assert array.shape == tuple(result.sizes[axis] for axis in DIMENSIONS[name])
        assert all(result.about(name))
    assert set(result.to_xarray().data_vars) - {"true_model"} == expected
    if not score:
        with pytest.raises(AttributeError, match="Result has no measure 'score'"):
            result.score  # noqa: B018
        with pytest.raises(KeyError, match="Result has no measure 'wins'"):
            result["wins"]
        assert "score" not in repr(result)


def test_agents_that_know_all_have_no_discovery():
    model = two_rooms(A=[np.eye(2), np.full((3, 2, 2), 1 / 3)], pA=None)
    result = simulate(Paradigm("rooms", "s", Agent(model), model, 4), 3, 2)
    assert list(result.measures) == ["confidence", "free_energy", "impossible"]
    assert "nats a trial" in repr(result) and "discovery" not in repr(result)
    assert_array_equal(result.adopted_model, -1)
    assert np.isnan(result.log_odds).all() and result.log_odds.shape == (1, 3, 2)
    assert result.summary()[0]["undiscovered"] == 0


def test_a_paradigms_own_measures():
    result = simulate([rooms("a", {1: (1, 0, -1)}, measures=BRIGHT), rooms("b", {1: (1, 0, -1)}, measures=BRIGHT)], 5, 3)
    assert result.own_measures == list(result.measures)[:2] == ["lit", "points"]
    assert_array_equal(result.lit, result.wins > 0)
    assert_array_equal(result.points, result.score)
    assert (result.dims("lit"), result.dims("points")) == (("scheme", "agent", "trial"), ("scheme", "agent"))
    assert result.about("lit") == ("trials in which the light was seen", "share")
    mean, error = result.summary()[1]["measures"]["lit"]
    each = result.lit[1].mean(axis=1)
    assert (mean, error) == pytest.approx((each.mean(), each.std(ddof=1) / np.sqrt(5)))
    assert f"lit {mean:.1%} +- {100 * error:.1f}, points" in repr(result)


def test_own_measures_are_saved(tmp_path):
    result = simulate(rooms(score={1: (1, 0, -1)}, measures=BRIGHT), 4, 3)
    again = Result.load(result.save(tmp_path / "r.npz"))
    assert again.own_measures == ["lit", "points"] and again.about("points") == result.about("points")
    assert_array_equal(again.lit, result.lit)
    assert repr(again) == repr(result)


def test_what_is_known_of_nobody_or_of_some():
    """nan stands for what is not known: means are over who is known, and of nobody there is none."""
    some = {
        "when": ("first trial, if any", "trials", lambda r: np.array([[1.0, np.nan, 3.0]])),
        "never": ("nothing", "", lambda r: np.full((1, 3), np.nan)),
        "each": ("by trial", "", lambda r: np.array([[[1.0, np.nan], [np.nan, np.nan], [2.0, 4.0]]])),
    }
    result = simulate(rooms(measures=some), 3, 2)
    told = result.summary()[0]["measures"]
    assert told["when"] == pytest.approx((2.0, 1.0)) and np.isnan(told["never"]).all()
    assert_array_equal(result.per_agent("each"), [[1.0, np.nan, 3.0]])
    assert "when 2.00 +- 1.00 trials, never -, each 2.00" in repr(result)


def test_axes_of_ones_own():
    by_time = Measure("a number per place", "", lambda r: np.ones((1, 3, 5)), axes=("scheme", "agent", "place"))
    result = simulate(rooms(measures={"places": by_time}), 3, 2)
    assert result.dims("places") == ("scheme", "agent", "place") and result.sizes["place"] == 5
    assert result.to_xarray()["places"].sizes["place"] == 5
    assert list(result.to_dataframe("places").columns) == ["scheme", "agent", "trial", "place", "measure", "value"]


def test_measures_of_schemes_without_hypotheses():
    space = lamp_rules()
    knowing = Paradigm("rooms", "knowing", Agent(two_rooms()), two_rooms(), 4, space, "random")
    own = {"truth": ("posterior of the truth", "probability", "true_model_posterior")}
    result = simulate([rooms("asking", space=space, measures=own), knowing], 3, 2)
    assert np.isfinite(result.truth[0]).all() and np.isnan(result.truth[1]).all()


# --- what is refused -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("measures", "error", "message"),
    [
        ([1], TypeError, r"measures must be a dict; got \[1\]"),
        ({"two words": BRIGHT["lit"]}, ValueError, "measures must have names like variables.* got 'two words'"),
        ({"wins": BRIGHT["lit"]}, ValueError, "must not have the name of a standard measure; got 'wins'"),
        ({"lit": "wins"}, TypeError, r"measure 'lit' must be \(sentence, unit, function or name\); got 'wins'"),
        ({"lit": ("", "share", "wins")}, TypeError, "measure 'lit': sentence of Measure must be a sentence; got ''"),
        ({"lit": ("light", 3, "wins")}, TypeError, "measure 'lit': unit of Measure must be a string"),
        ({"lit": ("light", "", 3)}, TypeError, "measure 'lit': source of Measure must be a function of the result or a name"),
        (
            {"lit": ("light", "", "wins", ("agent",))},
            ValueError,
            "measure 'lit': axes of Measure must be names that begin with",
        ),
    ],
)
def test_measures_that_are_none_are_refused_before_anything_is_simulated(measures, error, message):
    with pytest.raises(error, match=message):
        rooms(measures=measures)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda r: r.luck, "could not be worked out: AttributeError: Result has no measure 'luck'"),
        (lambda r: 1 / 0, "could not be worked out: ZeroDivisionError"),
        (lambda r: np.ones((2, 3)), "must have 1 along scheme; got 2"),
        (lambda r: np.ones(3), r"must have axes \(scheme, agent\) or \(scheme, agent, trial\); got shape \(3,\)"),
        (lambda r: np.full((1, 3), "much"), "must hold numbers; got <U4"),
        ("luck", "could not be worked out: AttributeError"),
    ],
)
def test_a_measure_that_fails_does_not_cost_the_result(source, message):
    with pytest.warns(UserWarning, match=f"measure 'odd' {message}.*; it is left out"):
        result = simulate(rooms(measures={"odd": ("odd", "", source)}), 3, 2)
    assert "odd" not in result and "free_energy" in result
    with pytest.raises(ValueError, match=f"measure 'odd' {message}"):
        result.with_measures({"odd": ("odd", "", source)})


@pytest.mark.parametrize("name", ["settings", "summary", "seed", "trace", "save", "model_names"])
def test_measures_take_no_names_of_others(name):
    result = simulate(rooms(), 2, 2)
    with pytest.raises(ValueError, match=f"must not have the name of something that every Result has; got '{name}'"):
        result.with_measures({name: ("x", "", lambda r: np.ones((1, 2)))})


def test_a_file_whose_settings_say_nonsense(tmp_path):
    arrays = simulate(rooms(), 2, 2).arrays
    for settings, message in (
        ("[]", "must be a JSON object"),
        ('{"measures": {"wins": 3}}', "must say a sentence, a unit and"),
    ):
        with pytest.raises(ValueError, match=f"settings of Result {message}"):
            Result({**arrays, "settings": settings})
    told = json.loads(str(arrays["settings"]))
    told["measures"]["luck"] = {"sentence": "x", "unit": "", "axes": ["scheme", "agent"]}
    np.savez(tmp_path / "r.npz", **{**arrays, "settings": json.dumps(told)})
    with pytest.raises(ValueError, match=r"it lacks \['luck'\]"):
        Result.load(tmp_path / "r.npz")


# --- what is shown -------------------------------------------------------------------------------------------------------
BAD = "<script>alert('x')</script>"


def test_html_escapes_every_word():
    model = two_rooms(labels={"factor": [BAD, "lamp"], "states": {BAD: ["<b>left", "right"]}})
    space = HypothesisSpace({BAD: {1: model.pA[1]}, "other": {1: 2 * model.pA[1]}})
    agent = Agent(model, space, Planner(gains=()))
    own = {"m": (f"it says {BAD}", "<i>", lambda r: np.ones((1, 2)))}
    result = simulate(Paradigm(BAD, BAD, agent, model, 2, space, 0, measures=own), 2, 2)
    for thing in (model, space, agent, result):
        html = thing._repr_html_()
        assert "<script" not in html and "<b>" not in html and "<i>" not in html, type(thing)
        assert "&lt;script&gt;" in html


def test_html_is_short_for_large_things():
    pixels = np.full((2, 2), 0.5)
    model = POMDP(A=[pixels] * 300, B=[np.eye(2)[:, :, None]])
    assert len(model._repr_html_()) < 3000 and "289 more" in model._repr_html_()
    result = simulate([rooms(f"scheme {k}") for k in range(30)], 1, 1)
    assert len(repr(result).splitlines()) == 14 and "18 more schemes" in repr(result)


def test_tab_completion_offers_own_measures_too():
    result = simulate(rooms(score={1: (1, 0, -1)}, measures=BRIGHT), 2, 2)
    assert {"lit", "points", "wins", "measures", "dims", "to_dataframe"} <= set(dir(result))
    assert "model_posterior" not in dir(result)


def test_one_agent_has_no_standard_error():
    result = simulate(rooms(score={1: (1, 0, -1)}), 1, 2)
    assert "nan" not in repr(result) and "nan" not in result._repr_html_()
    assert_allclose(result.per_agent("score"), result.score)
