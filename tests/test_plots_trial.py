"""The inside of a trial: every paradigm, every panel, lives that are lived again, and the parts of a value."""

import json
import warnings
from io import BytesIO

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from activebmr import POMDP, Agent, HypothesisSpace, Paradigm, Planner, Result, plots, replay, simulate
from activebmr.plots.events import events
from activebmr.plots.values import parts_of
from activebmr.simulation.registry import load_paradigm
from paradigms import three_ball

CASES = [
    ("bandit", "efe", 1, 4),
    ("causal", "gain", 1, 3),
    ("how-many", "gain", 1, 2),
    ("insight", "sleep", 1, 3),
    ("maze", "look-ahead", 1, 1),
    ("t-maze", "preferences", 1, 3),
    ("three-ball", "reasoning", 3, 3),
]


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return {n: simulate(load_paradigm(n).paradigm(s, None), n_agents=a, n_trials=t, seed=4) for n, s, a, t in CASES}


def words_of(figure) -> str:
    return " ".join(t.get_text() for t in figure.findobj(Text))


def check_inside(figure) -> None:
    """Every title and every other text that is not beside an axis lies within the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box = figure.bbox
    for text in figure.findobj(Text):
        if text.get_text().strip() and text.get_visible() and text.get_window_extent().width > 0:
            extent = text.get_window_extent()
            assert extent.x0 >= -1 and extent.x1 <= box.x1 + 1, (text.get_text(), extent)
            assert extent.y0 >= -1 and extent.y1 <= box.y1 + 1, (text.get_text(), extent)


@pytest.mark.parametrize("kind", ["print", "talk"])
@pytest.mark.parametrize("name", [c[0] for c in CASES])
def test_every_paradigm_has_an_inside(results, name, kind):
    """From results without a trace and without a model, on paper and on slides; nothing is cut off."""
    result = results[name]
    trial = result.sizes["trial"] - 1
    with plots.style(kind):
        figure = plots.trial(result, agent=0, trial=trial)
        check_inside(figure)
    assert f"in trial {trial + 1} of {trial + 1}" in figure.get_suptitle()
    width, height = figure.get_size_inches()
    assert (width / height == pytest.approx(16 / 9)) == (kind == "talk")
    assert "What happened" in words_of(figure)


def test_a_life_that_is_lived_again_is_the_one_that_was(results):
    result = results["three-ball"]
    traced = simulate(three_ball.paradigm(), n_agents=3, n_trials=3, seed=4, trace=True)
    again = plots.relive(result, 0, 2, 1)
    for name, array in again.items():
        np.testing.assert_allclose(array, traced.trace[name][0, 2, :2], rtol=1e-12, atol=1e-12, err_msg=name)
    one, two = (plots.trial(r, "reasoning", 2, 1) for r in (result, traced))
    assert words_of(one) == words_of(two)


def test_a_life_that_cannot_be_lived_again_says_why(results):
    result = results["three-ball"]
    other = Result({**result.arrays, "free_energy": result.free_energy + 1e-3})
    with pytest.raises(ValueError, match=r"agent 1 under 'reasoning' lives another life now \(free_energy in trial 1 was"):
        plots.relive(other, 0, 1, 1)
    settings = json.dumps(result.settings | {"paradigm": "gone"})
    with pytest.raises(ValueError, match="must be of a paradigm that is installed.*'gone' is not.*trace=True"):
        plots.trial(Result({**result.arrays, "settings": np.array(settings)}))


def test_values_sum_to_the_worth_of_policies():
    """Of a planner that looks ahead too: what is left is what it expects of later moves."""
    for name, scheme in (("t-maze", "preferences"), ("three-ball", "knowing"), ("insight", "sleep")):
        rows = {k: v[0] for k, v in plots.relive(_quiet(name, scheme), 0, 0, 0).items()}
        parts = parts_of(rows, relative=False)
        np.testing.assert_allclose(sum(parts.values()), rows["neg_efe"], atol=1e-9)
        assert parts["later"].any() == (name != "insight")
        shifted = parts_of(rows)
        gap = rows["neg_efe"] - sum(shifted.values())
        np.testing.assert_allclose(gap, np.broadcast_to(gap[:, :1], gap.shape), atol=1e-9)  # the same for all policies
        assert (shifted["utility"].max(axis=1) == 0).all() and (shifted["later"].max(axis=1) == 0).all()


def _quiet(name: str, scheme: str) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # (a paradigm may tell of measures that a scheme does not have)
        return simulate(load_paradigm(name).paradigm(scheme, None), n_agents=1, n_trials=1, seed=1)


def test_bars_of_utility_and_gains_have_their_lengths():
    """Two actions, of which one is preferred and the other one tells something: lengths by hand."""
    rows = {
        "utility": np.array([[-1.0, -3.0], [-1.0, -1.0]]),
        "state_info_gain": np.array([[0.0, 1.5], [0.5, 0.0]]),
        "param_info_gain": np.zeros((2, 2)),
        "model_info_gain": np.zeros((2, 2)),
        "neg_efe": np.array([[-1.0, -1.5], [-0.5, -1.0]]),
        "q_pi": np.full((2, 2), 0.5),
        "policy": np.array([1, 0]),
    }
    source = {k: v[None] for k, v in rows.items()} | {"qs_place": np.full((1, 2, 2), 0.5)}
    ax = plots.values(source)
    bars = {
        (round(b.get_y() + 0.36), b.get_facecolor()[:3]): b for b in ax.patches if b.get_height() == 0.72 and b.get_x() < 1.4
    }
    unit = 0.72 / (2.0 + 1.5)
    sizes = sorted(round(b.get_width() / unit, 6) for b in bars.values())
    assert sizes == [-2.0, 1.5]  # the first policy has the best utility, and nothing else
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert legend == ["utility, below the best policy's", "gain about states", "the sum", "what it does next"]
    ax.figure.savefig(BytesIO())
    assert [t.get_text() for t in ax.get_yticklabels()] == ["policy 0", "policy 1"]
    numbers = plots.values(source, numbers=True, relative=False)
    assert {t.get_text() for t in numbers.texts} == {"−1.00", "−1.50", "−0.50"}


def test_worth_that_is_far_below_the_best_is_cut_and_said_to_be():
    rows = {f"{n}_info_gain": np.zeros((1, 1, 2)) for n in ("state", "param", "model")}
    rows |= {"utility": np.array([[[0.0, -900.0]]]), "neg_efe": np.array([[[0.0, -900.0]]]), "q_pi": np.full((1, 1, 2), 0.5)}
    rows |= {"policy": np.zeros((1, 1), dtype=int), "qs_f": np.ones((1, 1, 2)) / 2}
    ax = plots.values(rows)
    assert any("over 16 nats below" in t.get_text() for t in ax.get_legend().get_texts())
    assert all(b.get_x() >= 0.5 and b.get_x() + b.get_width() <= 1.5 for b in ax.patches)


def test_panels_can_be_chosen_and_must_be_there(results):
    result = results["three-ball"]
    figure = plots.trial(result, panels=["odds", "values"])
    assert len(figure.axes) == 2
    for panels, message in (
        (["all"], r"panels must be some of \['events', .*; got 'all'"),
        ([], "at least one panel; got none"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.trial(result, panels=panels)
    for arguments, message in (
        ({"agent": 3}, r"agent must be a whole number in 0..2; got 3"),
        ({"trial": 3}, r"trial must be a whole number in 0..2; got 3"),
        ({"scheme": "best"}, r"scheme must be one of \['reasoning'\]; got 'best'"),
        ({"model": load_paradigm("t-maze").world_model()}, "model must have the 16 policies of the source; it has 3"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.trial(result, **arguments)
    with pytest.raises(ValueError, match="nothing to show in"):
        plots.trial(simulate(_plain(), n_agents=1, n_trials=1, trace=True), panels=["hypotheses"])


def _plain(n: int = 2, names: str = "") -> Paradigm:
    """A world without hypotheses or labels."""
    go = np.repeat(np.eye(n)[:, None, :], n, axis=1)
    labels = {"factor": [names], "states": {names: [f"{names} {i}" for i in range(n)]}} if names else {}
    model = POMDP(A=[np.eye(n)], B=[go], D=[np.full(n, 1 / n)], C=[np.arange(n) / n], labels=labels)
    return Paradigm("plain", "only", Agent(model, planner=Planner(gains=("state",))), model, 3)


def test_a_world_of_ones_own_needs_neither_names_nor_hypotheses():
    result = simulate(_plain(), n_agents=2, n_trials=2, seed=0, trace=True)
    figure = plots.trial(result, agent=1, trial=1)
    check_inside(figure)
    assert "factor_0" in words_of(figure) and "policy 1" in words_of(figure)
    named = plots.trial(result, agent=1, trial=1, model=_plain().agent.model)
    check_inside(named)
    assert "policy 1" not in words_of(named)


@pytest.mark.parametrize("length", [5, 40, 120])
def test_many_states_policies_and_long_names_fit(length):
    """200 states, 200 policies and names of any length: the likeliest policies are drawn, and it is said."""
    name = "a rather long name of a place "[:length] if length < 30 else "x" * length
    result = simulate(_plain(200, name.strip()), n_agents=1, n_trials=1, seed=0, trace=True)
    for kind in ("print", "talk"):
        with plots.style(kind):
            figure = plots.trial(result, model=_plain(200, name.strip()).agent.model)
            check_inside(figure)
    assert "Of 200 policies the 12 that were chosen or likeliest are shown" in words_of(figure)


def test_long_trials_are_drawn_with_marks_and_upright_bars(results):
    rows = plots.relive(results["maze"])
    ax = events(rows, load_paradigm("maze").paradigm("look-ahead", None).agent.model)
    states = rows["states"][0, :, 0]
    marks = {t.get_text(): c for t, c in zip(ax.get_yticklabels(), ax.collections, strict=True)}
    for place in np.unique(states):
        at = np.asarray(marks[f"room: room {place}"].get_offsets())[:, 0]
        np.testing.assert_array_equal(at, np.flatnonzero(states == place) + 1)  # times count from 1
    ax = plots.values(rows, load_paradigm("maze").paradigm("look-ahead", None).agent.model)
    assert {round(b.get_width(), 2) for b in ax.patches} == {0.82, 1.0}


def test_hypotheses_are_named_and_the_truth_is_marked(results):
    result = results["three-ball"]
    figure = plots.trial(result, agent=1, trial=2, panels=["hypotheses", "odds"])
    rows = plots.relive(result, 0, 1, 2)
    belief = rows["model_posterior"][2]
    ax = figure.axes[0]
    names = [t.get_text().replace("\n", " ") for t in ax.get_yticklabels()]
    kept = [int(n.split(":")[0]) for n in names[:-1]]
    assert three_ball.PAPER_RULE in kept and len(kept) == 8 and names[-1] == "the other 73 together"
    shown = np.asarray(ax.images[0].get_array())
    np.testing.assert_allclose(shown[:-1], belief[:, kept].T)
    np.testing.assert_allclose(shown.sum(axis=0), 1)
    (mark,) = (t for t in ax.texts if "true" in t.get_text())
    assert mark.xy[1] == kept.index(three_ball.PAPER_RULE)
    p = np.sort(belief)[:, ::-1]
    odds = np.log(p[:, 0]) - np.log(p[:, 1:].sum(axis=1))
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), odds, atol=1e-9)
    window = next(line for line in figure.axes[1].lines if "Occam" in str(line.get_label()))
    assert window.get_ydata()[0] == 16.0


def test_hypotheses_that_agree_everywhere_count_as_one():
    from activebmr.plots.thoughts import draw_odds

    belief = np.array([[0.4, 0.4, 0.2], [0.45, 0.45, 0.1]])
    apart, together = (draw_odds(belief, c, 0, 1.0) for c in (None, np.array([0, 0, 1])))
    np.testing.assert_allclose(apart.lines[0].get_ydata(), np.log([0.4 / 0.6, 0.45 / 0.55]))
    np.testing.assert_allclose(together.lines[0].get_ydata(), np.log([0.8 / 0.2, 0.9 / 0.1]))


def test_a_replay_has_an_inside_too():
    traced = simulate(three_ball.paradigm(), n_agents=2, n_trials=2, seed=0, trace=True)
    done = {n: np.moveaxis(traced.trace[n][0], 2, 3) for n in ("controls", "outcomes")}
    told = replay(three_ball.paradigm(), **done)
    figure = plots.trial(told, agent=1, trial=1, model=three_ball.paradigm().agent.model)
    check_inside(figure)
    assert figure.get_suptitle() == "Trial 2 of participant 1"
    assert "true state" not in words_of(figure)  # nobody recorded them
    named = plots.trial({**told, "paradigm": "three-ball", "scheme": "reasoning", "true_model": 64}, agent=1, trial=1)
    assert "whose colour" in words_of(named)


def test_schemes_with_other_policies_have_their_own_in_one_result():
    """A trace has one shape: the policies that only another scheme has are nan, and are not drawn."""
    two = [load_paradigm("maze").paradigm(s, None) for s in ("look-ahead", "novelty-informed")]
    result = simulate(two, n_agents=1, n_trials=1, seed=0, trace=True)
    for s, paradigm in enumerate(two):
        ax = plots.policies(result, paradigm.agent.model, scheme=s)
        assert ax.images[0].get_array().shape == (len(paradigm.agent.model.policies), 65)
        assert np.isfinite(ax.images[0].get_array()).all()
        check_inside(plots.trial(result, s))


def test_a_scheme_without_a_trace_beside_others_says_so(results):
    traced = simulate(three_ball.paradigm(), n_agents=1, n_trials=1, seed=0, trace=True)
    arrays = {n: np.repeat(a, 2, axis=0) if a.ndim > 1 else a for n, a in traced.arrays.items()}
    lost = {n: np.stack([a[0], np.full_like(a[0], np.nan if a.dtype.kind == "f" else -1)]) for n, a in traced.trace.items()}
    result = Result(arrays | {"scheme": np.array(["reasoning", "paper"])}, lost)
    with pytest.raises(ValueError, match="scheme must be one that has a trace; 'paper' has none .* simulate it alone"):
        plots.confidence(result, scheme=1)


def test_the_world_may_have_states_that_the_agent_knows_nothing_of():
    space = HypothesisSpace.from_models({"two": _plain(2).model, "three": _plain(2).model.with_(D=[[0.9, 0.1]])})
    assert len(space) == 2
    rows = {"qs_place": np.array([[[0.5, 0.5], [0.9, 0.1]]]), "states": np.array([[[7], [1]]]), "policy": np.zeros((1, 2), int)}
    rows |= {"q_pi": np.ones((1, 2, 1)), "outcomes": np.zeros((1, 2, 1), int), "controls": np.zeros((1, 2, 1), int)}
    model = POMDP(A=[np.eye(2)], B=[np.eye(2)[:, :, None]], labels={"factor": ["place"]})
    ax = plots.beliefs(rows, model, "place")
    np.testing.assert_array_equal(np.asarray(ax.collections[-1].get_offsets()), [[2, 1]])
    assert "–" in [t.get_text() for t in events(rows, model).texts]
