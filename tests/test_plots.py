"""Plots: the numbers on the page are the result's, bad input is refused, and matplotlib is left as it was."""

import subprocess
import sys
from io import BytesIO

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from activebmr import POMDP, Agent, HypothesisSpace, Paradigm, Result, Selection, plots, replay, simulate
from activebmr.references import ideal_observer
from paradigms import three_ball, three_ball_figures

LIKELIHOOD = np.array([[0.9, 0.2], [0.1, 0.8]])


def two_states(threshold: float = 2.0) -> Paradigm:
    """A world that has nothing to do with balls: one hidden state, one look at it, two hypotheses about what is seen."""
    right, wrong = 8 * LIKELIHOOD, 8 * LIKELIHOOD[:, ::-1]
    world = POMDP(A=[LIKELIHOOD, np.eye(2)], B=[np.eye(2)[:, :, None]], D=[[0.5, 0.5]])
    model = world.with_(A=[None, np.eye(2)], pA=[(right + wrong) / 8, None])
    space = HypothesisSpace({"right": {0: right}, "wrong": {0: wrong}})
    agent = Agent(model, space, selection=Selection(threshold=threshold), trial_length=3)
    return Paradigm("two states", f"window {threshold:g}", agent, world, 3, space, 0, {0: (1.0, -1.0)})


@pytest.fixture(scope="module")
def small() -> Result:
    return simulate([two_states(), two_states(np.inf)], n_agents=5, n_trials=12, seed=3)


@pytest.fixture(scope="module")
def balls() -> Result:
    return simulate([three_ball.paradigm(s) for s in ("reasoning", "knowing")], n_agents=3, n_trials=4, seed=0)


@pytest.fixture(scope="module")
def traced() -> Result:
    return simulate(three_ball.paradigm(), n_agents=2, n_trials=3, seed=0, trace=True)


@pytest.fixture(autouse=True)
def untouched():
    """No plot may change matplotlib's settings or hand a figure to pyplot."""
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def points(collection) -> np.ndarray:
    return np.asarray(collection.get_offsets())


def draw(ax) -> None:
    """Rendering must go through without a warning (they are errors in the tests)."""
    ax.figure.savefig(BytesIO(), format="png")


def check_page(figure: Figure) -> None:
    """Nothing on a page is cut off, and no words lie on other words."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box, (width, height) = figure.get_tightbbox(canvas.get_renderer()), figure.get_size_inches()
    assert box.x0 > -0.01 and box.y0 > -0.01 and box.x1 < width + 0.01 and box.y1 < height + 0.01, box
    words = list(figure.texts)
    for ax in figure.axes:
        words += ax.texts + [t for t in ax.get_children() if isinstance(t, Text)] + [ax.xaxis.label, ax.yaxis.label]
        words += list(ax.get_legend().get_texts()) if ax.get_legend() else []
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            words += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
            words += [t.label2 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    words = [t for t in dict.fromkeys(words) if t.get_visible() and t.get_text().strip()]
    boxes = [(t.get_text(), t.get_window_extent().padded(-1.5)) for t in words]
    for k, (text, one) in enumerate(boxes):
        clash = [other for other, two in boxes[k + 1 :] if one.overlaps(two)]
        assert not clash, (text, clash)


# --- measures ------------------------------------------------------------------------------------------------------------
def test_trajectories_draws_every_agent_and_the_mean(small):
    ax = plots.trajectories(small, "kl_to_truth", "window inf")
    segments = ax.collections[0].get_segments()
    np.testing.assert_allclose([s[:, 1] for s in segments], small.kl_to_truth[1])
    np.testing.assert_array_equal(segments[0][:, 0], np.arange(1, 13))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), small.kl_to_truth[1].mean(axis=0))
    assert "nats" in ax.get_ylabel() and ax.get_xlabel() == "trial"
    assert ax.get_xlim() == (0.5, 12.5)
    draw(ax)


def test_cumulative_trajectories_end_at_the_score_and_highlight_who_is_asked_for(small):
    marked = np.array([True, False, False, True, False])
    ax = plots.trajectories(small, "net_wins", 0, cumulative=True, highlight=marked)
    lines = ax.collections[0]
    np.testing.assert_allclose([s[-1, 1] for s in lines.get_segments()], small.score[0])
    black = [same_color(c[:3], plots.PALETTE["black"]) for c in lines.get_colors()]
    assert black == marked.tolist()
    assert f"{small.score[0].mean():.1f}".replace("-", "−") in ax.get_title(loc="left")


def test_infinite_log_odds_leave_gaps_and_the_bold_line_is_the_median():
    result = simulate(three_ball.paradigm(), n_agents=3, n_trials=24, seed=0)
    odds = np.where(result.log_odds > 30.0, np.inf, result.log_odds)  # as where all other models are impossible
    assert np.isinf(odds).any()
    result = Result({**result.arrays, "log_odds": odds})
    ax = plots.trajectories(result, "log_odds")
    median = np.median(result.log_odds[0], axis=0)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.where(np.isfinite(median), median, np.nan))
    assert "infinite in" in ax.get_title(loc="left")
    ax = plots.log_odds(result)
    certain = points(ax.collections[2])
    np.testing.assert_array_equal(certain[:, 0], np.flatnonzero(np.isinf(result.log_odds[0, 0])) + 1)
    assert (certain[:, 1] == ax.get_ylim()[1]).all()
    draw(ax)


def test_trajectories_of_many_agents_draw_some_and_average_all(small, monkeypatch):
    monkeypatch.setattr("activebmr.plots.measures.MOST_LINES", 2)
    ax = plots.trajectories(small, "free_energy")
    drawn = [s[:, 1] for s in ax.collections[0].get_segments()]
    np.testing.assert_allclose(drawn, small.free_energy[0][[0, 4]])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), small.free_energy[0].mean(axis=0))


def test_series_is_one_agent(small):
    ax = plots.series(small, "free_energy", 1, 4)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), small.free_energy[1, 4])
    assert len(ax.lines) == 1  # no insight without a window to pass
    agent = int(np.flatnonzero(small.adoption_trial[0] >= 0)[0])
    ax = plots.series(small, "free_energy", 0, agent)
    assert ax.lines[1].get_xdata()[0] == small.adoption_trial[0, agent] + 1.5
    assert "insight" in ax.get_title(loc="left")
    draw(ax)


def test_wins_go_up_and_losses_down(small):
    ax = plots.wins_and_losses(small, 0, 2)
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_array_equal(heights, [*small.wins[0, 2], *-small.losses[0, 2]])
    low, high = ax.get_ylim()
    assert low < -small.losses[0, 2].max() and high > small.wins[0, 2].max()
    draw(ax)


def test_histogram_counts_every_agent_once(small):
    ax = plots.histogram(small, "score", bins=6)
    rows = len(small.schemes)
    bars = np.array([[p.get_x(), p.get_width(), -p.get_height()] for p in ax.patches]).reshape(rows, -1, 3)
    for s in range(rows):
        inside = [((small.score[s] >= x) & (small.score[s] < x + w)).sum() for x, w, _ in bars[s]]
        assert sum(inside) == 5
        np.testing.assert_allclose(bars[s, :, 2], 0.8 * np.array(inside) / max(inside))
        dot = ax.containers[2 * s + 1].lines[0]
        assert dot.get_xdata()[0] == pytest.approx(small.score[s].mean())
    assert [t.get_text() for t in ax.get_yticklabels()] == small.schemes
    draw(ax)


def test_histogram_of_insight_leaves_out_agents_without_one(small):
    ax = plots.histogram(small, "adoption_trial", [0])
    found = small.adoption_trial[0][small.adoption_trial[0] >= 0] + 1
    assert ax.containers[1].lines[0].get_xdata()[0] == pytest.approx(found.mean())
    assert "no agent has any" in plots.histogram(small, "adoption_trial", [1]).get_title(loc="left")


def test_paired_scatter_pairs_agents(small):
    ax = plots.paired_scatter(small, "discovery_trials", 0, "window inf")
    np.testing.assert_array_equal(points(ax.collections[0]), small.discovery_trials.T)
    assert ax.get_xlim() == ax.get_ylim()
    gap = np.abs((small.discovery_trials[0] - small.discovery_trials[1]).mean())
    assert f"{gap:.1f}" in ax.get_title(loc="left")
    assert len(points(plots.paired_scatter(small, "adoption_trial", 0, 1).collections[0])) == 0
    draw(ax)


# --- hypotheses ----------------------------------------------------------------------------------------------------------
def test_model_posterior_has_hypotheses_as_rows_and_marks_the_truth(small):
    ax = plots.model_posterior(small, 0, 3)
    np.testing.assert_array_equal(ax.images[0].get_array(), small.model_posterior[0, 3].T)
    assert ax.images[0].get_extent() == [0.5, 12.5, 1.5, -0.5]
    (mark,) = (t for t in ax.texts if "true" in t.get_text())
    assert mark.xy[1] == 0
    assert [t.get_text() for t in ax.get_yticklabels()] == ["right", "wrong"]
    draw(ax)


def test_random_truths_are_marked_per_agent():
    result = simulate(three_ball.paradigm(true_rule="random"), n_agents=3, n_trials=2, seed=5)
    for agent in range(3):
        (mark,) = (t for t in plots.model_posterior(result, 0, agent).texts if "true" in t.get_text())
        assert mark.xy[1] == result.true_model[agent]


def test_log_odds_tells_right_from_wrong_favourites_and_draws_the_window(small):
    ax = plots.log_odds(small, 0, 1)
    right, wrong = points(ax.collections[0]), points(ax.collections[1])
    favourite, odds = small.best_model[0, 1], small.log_odds[0, 1]
    np.testing.assert_allclose(right, np.column_stack([np.flatnonzero(favourite == 0) + 1, odds[favourite == 0]]))
    np.testing.assert_allclose(wrong, np.column_stack([np.flatnonzero(favourite == 1) + 1, odds[favourite == 1]]))
    assert 2.0 in [line.get_ydata()[0] for line in ax.lines]  # the scheme's own window
    assert 7.5 in [line.get_ydata()[0] for line in plots.log_odds(small, 0, 1, threshold=7.5).lines]
    assert not any("Occam" in t.get_text() for t in plots.log_odds(small, 1, 1).texts)
    draw(ax)


def test_insight_sorts_agents_and_tells_adoptions_apart(small):
    ax = plots.insight(small)
    when = np.where(small.adoption_trial[0] < 0, 99, small.adoption_trial[0])
    order = np.argsort(when, kind="stable")
    np.testing.assert_array_equal(ax.images[0].get_array(), small.true_model_posterior[0][order])
    right, wrong = points(ax.collections[0]), points(ax.collections[1])
    assert len(right) == small.adopted_truth[0].sum() and len(wrong) == small.adopted_wrong[0].sum()
    for x, row in (*right, *wrong):
        assert x == small.adoption_trial[0][order[int(row)]] + 1
    draw(ax)


# --- within a trial ------------------------------------------------------------------------------------------------------
def test_beliefs_and_true_states(traced):
    model = three_ball.world_model()
    for f, name in enumerate(model.labels["factor"]):
        ax = plots.beliefs(traced, model, name, trial=2, agent=1)
        np.testing.assert_array_equal(ax.images[0].get_array(), traced.trace[f"qs_{name}"][0, 1, 2].T)
        np.testing.assert_array_equal(points(ax.collections[-1])[:, 1], traced.trace["states"][0, 1, 2, :, f])
        assert [t.get_text() for t in ax.get_yticklabels()] == model.labels["states"][name]
    draw(plots.beliefs(traced, model, 0, bar=True))


def test_policies_and_choices(traced):
    model = three_ball.world_model()
    ax = plots.policies(traced, model, trial=1, numbers=True)
    q_pi, chosen = traced.trace["q_pi"][0, 0, 1], traced.trace["policy"][0, 0, 1]
    np.testing.assert_array_equal(ax.images[0].get_array(), q_pi.T)
    np.testing.assert_array_equal(points(ax.collections[-1])[:, 1], chosen[:-1])  # the last choice has no consequence
    written = {(t.get_position()[0] - 1, t.get_position()[1]): float(t.get_text()) for t in ax.texts}
    assert len(written) == (q_pi >= 0.01).sum()
    assert all(abs(q_pi[at] - value) <= 0.005 + 1e-9 for at, value in written.items())
    names = plots.policy_names(model)
    assert names[0] == "left, red" and names[1] == "centre, red" and names[15] == "start, undecided"
    draw(ax)


def lengths(ax, colour: str, shape: tuple[int, int], unit: float, zero: float) -> np.ndarray:
    """Nats of the lying bars of one colour ``(time, policy)``."""
    out = np.zeros(shape)
    for bar in ax.patches:
        if bar.get_height() == 0.72 and same_color(bar.get_facecolor(), plots.PALETTE[colour]):
            out[int(np.floor(bar.get_x() + 0.47)) - 1, round(bar.get_y() + 0.36)] += bar.get_width() / unit
    return out


def test_values_are_bars_in_nats_and_choices_are_marked(traced):
    model = three_ball.world_model()
    ax = plots.values(traced, model, trial=1, numbers=True)
    rows = {name: array[0, 0, 1] for name, array in traced.trace.items()}
    state, about_rules = rows["state_info_gain"], rows["model_info_gain"]
    total = state + about_rules
    unit = 0.6 / total.max()  # (there is room for numbers)
    for name, values in (("blue", state), ("orange", about_rules)):
        np.testing.assert_allclose(lengths(ax, name, total.shape, unit, 0.0), values, atol=0.002 * total.max() + 1e-9)
    for text in ax.texts:
        at = int(np.floor(text.get_position()[0] + 0.5)) - 1, text.get_position()[1]
        assert float(text.get_text()) == pytest.approx(total[at], abs=0.005)
    assert len(ax.texts) == (total >= 0.005).sum()
    np.testing.assert_array_equal(points(ax.collections[0])[:, 1], rows["policy"][:-1])
    assert f"{total.max():.2f} nats" in ax.get_title(loc="left")
    draw(ax)
    (only,) = {b.get_facecolor() for b in plots.gains(traced, model, parts=["model"]).patches if b.get_height() == 0.72}
    assert same_color(only, plots.PALETTE["orange"])
    draw(plots.gains(traced, model, parts=[]))


def test_doubt_is_the_entropy_of_the_belief_over_hypotheses(traced):
    ax = plots.doubt(traced, trial=1, agent=1)
    belief = traced.trace["model_posterior"][0, 1, 1]
    entropy = [-sum(p * np.log(p) for p in row if p > 0) for row in belief]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), entropy, atol=1e-9)
    for text, value in zip(ax.texts, entropy, strict=True):
        assert float(text.get_text()) == pytest.approx(np.exp(value), abs=0.5)
    assert "nats" in ax.get_ylabel()
    draw(ax)


def test_confidence_and_outcomes(traced):
    model = three_ball.world_model()
    ax = plots.confidence(traced, trial=2)
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), traced.trace["confidence"][0, 0, 2])
    assert ax.lines[0].get_ydata()[0] == pytest.approx(-np.log(16))
    draw(ax)
    ax = plots.outcomes(traced, model, trial=2)
    seen = traced.trace["outcomes"][0, 0, 2]
    for text in ax.texts:
        t, m = int(text.get_position()[0]) - 1, text.get_position()[1]
        assert text.get_text() == model.labels["outcomes"][model.labels["modality"][m]][seen[t, m]]
    assert len(ax.texts) == seen.size
    draw(ax)


def test_a_replay_can_be_drawn_like_a_simulation(traced):
    done = {n: np.moveaxis(traced.trace[n][0, 0], 1, 2) for n in ("states", "controls", "outcomes")}
    again = replay(three_ball.paradigm(), **done)
    model = three_ball.world_model()
    for source in (again, traced, traced.trace):
        assert plots.record(source)["q_pi"].shape == (3, 6, 16)
        ax = plots.policies(source, model, trial=2)
        np.testing.assert_allclose(ax.images[0].get_array(), traced.trace["q_pi"][0, 0, 2].T, atol=1e-12)


def test_a_replay_of_people_of_whom_not_all_is_known(traced):
    """Several participants, no states, a missed outcome, a trial that ended early, and one that did not take place."""
    controls, outcomes = (np.moveaxis(traced.trace[n][0], 2, 3).copy() for n in ("controls", "outcomes"))
    outcomes[1, 0, 2, 3] = outcomes[1, 1, :, 4:] = controls[1, 1, :, 3:] = outcomes[1, 2] = controls[1, 2] = -1
    model = three_ball.world_model()
    told = replay(three_ball.paradigm(), controls=controls, outcomes=outcomes)
    for trial, times in ((0, 6), (1, 4)):
        ax = plots.beliefs(told, model, "left", agent=1, trial=trial)
        assert ax.images[0].get_array().shape == (3, times) and np.isfinite(ax.images[0].get_array()).all()
        assert len(points(ax.collections[-1])) == 0 or ax.collections[-1].get_facecolors().size > 0  # no rings
        assert plots.policies(told, model, agent=1, trial=trial).images[0].get_array().shape == (16, times)
        draw(ax)
    assert [t.get_text() for t in plots.outcomes(told, model, agent=1, trial=0).texts].count("–") == 1
    with pytest.raises(ValueError, match="trial 2 of source did not take place"):
        plots.policies(told, model, agent=1, trial=2)


def test_likelihood_arranges_states_as_asked():
    model, table = three_ball.world_model(), three_ball.rules().dense(64, 2)
    ax = plots.likelihood(7 * table, model, "feedback", "right", rows=["centre", "left", "right"], columns=["choice", "gaze"])
    grid = ax.images[0].get_array()
    assert grid.shape == (27, 16)
    for (c, left, right), (choice, gaze) in (((0, 2, 1), (2, 3)), ((1, 0, 2), (1, 0)), ((2, 1, 1), (0, 2))):
        assert grid[9 * c + 3 * left + right, 4 * choice + gaze] == table[1, left, c, right, gaze, choice]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["red", "green", "blue"]
    draw(ax)
    assert plots.likelihood(LIKELIHOOD, two_states().model, 0, 1).images[0].get_array().tolist() == [[0.1], [0.8]]


# --- whatever is drawn ---------------------------------------------------------------------------------------------------
def test_one_agent_and_one_trial_are_enough():
    result = simulate(two_states(), n_agents=1, n_trials=1, seed=0, trace=True)
    model = two_states().model
    drawn = [plots.trajectories(result, m) for m in ("net_wins", "confidence", "log_odds")]
    drawn += [plots.series(result), plots.wins_and_losses(result), plots.histogram(result), plots.insight(result)]
    drawn += [plots.model_posterior(result), plots.log_odds(result), plots.confidence(result), plots.policies(result, model)]
    drawn += [plots.outcomes(result, model), plots.beliefs(result, model, 0), plots.paired_scatter(result, "score", 0, 0)]
    for ax in drawn:
        assert ax.get_title(loc="left")
        draw(ax)


def test_plots_draw_on_the_axes_they_are_given(small):
    axes = Figure().subplots(2, 2).ravel()
    for ax, function in zip(axes, (plots.trajectories, plots.series, plots.insight, plots.log_odds), strict=True):
        assert function(small, ax=ax) is ax


def test_titles_are_no_wider_than_their_axes():
    ax = Figure(figsize=(3, 2)).subplots()
    plots.title(ax, "many words and $more of them$ " * 5)
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    (drawn,) = (t for t in ax.get_children() if isinstance(t, Text) and t.get_text())
    assert drawn.get_window_extent().height > 2 * drawn.get_fontsize() / 72 * ax.figure.dpi  # several lines
    assert drawn.get_window_extent().width <= ax.bbox.width


def test_style_is_undone_afterwards():
    before = matplotlib.rcParams["font.size"]
    with plots.style():
        assert matplotlib.rcParams["font.size"] != before
    assert matplotlib.rcParams["font.size"] == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r, t, m: plots.trajectories(r, "speed"), r"measure must be one of .*'net_wins'.*; got 'speed'"),
        (lambda r, t, m: plots.trajectories(r, "score"), r"measure must be one of .*; got 'score'"),
        (lambda r, t, m: plots.trajectories(r, "log_odds", "knowing"), r"measure 'log_odds' .* 'knowing' has no hypotheses"),
        (lambda r, t, m: plots.trajectories(r, "wins", "best"), r"scheme must be one of .*; got 'best'"),
        (lambda r, t, m: plots.trajectories(r, "wins", 2), r"scheme must lie in 0..1; got 2"),
        (lambda r, t, m: plots.trajectories(r, highlight=[True]), r"highlight must have shape \(3,\).*got \(1,\)"),
        (lambda r, t, m: plots.series(r, "wins", 0, 3), r"agent must be a whole number in 0..2; got 3"),
        (lambda r, t, m: plots.series(r, "wins", 0, -1), r"agent must be a whole number in 0..2; got -1"),
        (lambda r, t, m: plots.wins_and_losses(r, 0, 1.5), r"agent must be a whole number in 0..2; got 1.5"),
        (lambda r, t, m: plots.histogram(r, "wins"), r"measure must be one of .*'score'.*; got 'wins'"),
        (lambda r, t, m: plots.histogram(r, bins=0), r"bins must be a whole number >= 1; got 0"),
        (lambda r, t, m: plots.histogram(r, schemes=[]), r"schemes must name at least one scheme; got none"),
        (lambda r, t, m: plots.paired_scatter(r, "kl_to_truth"), r"measure must be one of .*; got 'kl_to_truth'"),
        (lambda r, t, m: plots.model_posterior(r, "knowing"), r"scheme must be one whose agents have hypotheses; 'knowing'"),
        (lambda r, t, m: plots.log_odds(r, "knowing"), r"scheme must be one whose agents have hypotheses; 'knowing'"),
        (lambda r, t, m: plots.insight(r, "knowing"), r"scheme must be one whose agents have hypotheses; 'knowing'"),
        (lambda r, t, m: plots.confidence(r), r"source must be recorded step by step: simulate\(..., trace=True\)"),
        (lambda r, t, m: plots.confidence({"q_pi": 0}), r"source must be .* with an array 'policy'; got \['q_pi'\]"),
        (lambda r, t, m: plots.confidence(t, trial=3), r"trial must be a whole number in 0..2; got 3"),
        (lambda r, t, m: plots.confidence(t, agent=2), r"agent must be a whole number in 0..1; got 2"),
        (lambda r, t, m: plots.beliefs(t, m, "top"), r"factor must be one of .*; got 'top'"),
        (lambda r, t, m: plots.policies(t, two_states().model), r"model must have the 16 policies of the source; it has 1"),
        (lambda r, t, m: plots.gains(t, two_states().model), r"model must have the 16 policies of the source; it has 1"),
        (lambda r, t, m: plots.gains(t, m, parts=["all"]), r"parts must be some of \['utility', 'state', .*\]; got 'all'"),
        (lambda r, t, m: plots.doubt({"policy": np.zeros((1, 2))}), r"source must be .* with hypotheses; its agents have none"),
        (lambda r, t, m: three_ball_figures.reasoning_trial(t, trial=9), r"trial must lie in 0..2; got 9"),
        (lambda r, t, m: three_ball_figures.discovery(r, [1, 2]), r"ideal must have shape \(3,\).*got \(2,\)"),
        (lambda r, t, m: plots.likelihood(np.ones(3), m, "what", 0), r"A must have shape \(4, 3, 3, 3, 4\).*got \(3,\)"),
        (lambda r, t, m: plots.likelihood(m.A[1], m, "where", "up"), r"outcome must be one of .*; got 'up'"),
        (lambda r, t, m: plots.likelihood(m.A[1], m, "where", 4), r"outcome must be a whole number in 0..3; got 4"),
        (lambda r, t, m: plots.likelihood(m.A[1], m, "where", 0, rows=["left"]), r"rows and columns must .*\['gaze'\] once"),
        (lambda r, t, m: three_ball_figures.one_trial(t, trial=9), r"trial must lie in 0..2; got 9"),
        (lambda r, t, m: three_ball_figures.one_agent(r, agent=7), r"agent must lie in 0..2; got 7"),
    ],
)
def test_bad_input_says_what_is_wrong(balls, traced, call, message):
    with pytest.raises(ValueError, match=message):
        call(balls, traced, three_ball.world_model())


def test_matplotlib_is_imported_by_plots_alone_and_pyplot_never():
    code = """
import sys, activebmr, paradigms.three_ball
assert not any(m.partition(".")[0] == "matplotlib" for m in sys.modules)
import activebmr.plots, paradigms.three_ball_figures
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# --- three balls ---------------------------------------------------------------------------------------------------------
def run(names, agents, trials, rule=None):
    return simulate([three_ball.paradigm(n, rule) for n in names], n_agents=agents, n_trials=trials, seed=1)


@pytest.mark.parametrize(
    ("names", "agents", "trials", "rule"),
    [
        (("reasoning",), 1, 1, None),
        (("knowing",), 1, 1, None),
        (("knowing", "reasoning"), 2, 3, None),
        (("reasoning", "paper"), 2, 2, "random"),
        (tuple(three_ball.SCHEMES), 2, 2, None),
    ],
)
def test_figures_need_only_the_saved_result(tmp_path, names, agents, trials, rule):
    result = Result.load(run(names, agents, trials, rule).save(tmp_path / "result.npz"))
    written = three_ball_figures.figures(result, tmp_path / "new" / "folder")
    wanted = {"schemes.png", "one_agent.png"} | ({"model_posterior.png"} if set(names) != {"knowing"} else set())
    assert {p.name for p in written} == wanted and len(written) == len(wanted)
    reasoning = [s for s in names if s != "knowing"]
    with plots.style():
        pages = [three_ball_figures.schemes(result), three_ball_figures.one_agent(result, *reasoning[:1])]
        for page in pages + ([three_ball_figures.model_posterior(result)] if reasoning else []):
            check_page(page)
    for path in written:
        assert path.parent == tmp_path / "new" / "folder"
        assert imread(path).shape[1] == 1125  # 9 inches


def test_figures_of_agents_with_and_without_insight():
    result = run(("reasoning", "paper-no-selection"), 3, 24)
    found = int(np.flatnonzero(result.adopted_truth[0])[0])
    trial = result.adoption_trial[0, found] + 1
    head = three_ball_figures.one_agent(result, 0, found).texts[0].get_text()
    assert f"Insight after trial {trial}" in head and "the true rule" in head
    losses = result.losses[0, found]
    assert f"{losses[:trial].sum()} losses until then, {losses[trial:].sum() or 'none'} afterwards" in head
    head = three_ball_figures.one_agent(result, "paper-no-selection", 0).texts[0].get_text()
    assert head == "An agent of the scheme 'paper-no-selection' adopts no rule in 24 trials"


def test_the_typical_agent_discovers_in_the_median_time(balls):
    result = run(("reasoning",), 9, 20)
    agent = three_ball_figures.typical_agent(result)
    assert result.discovery_trials[0, agent] == np.median(result.discovery_trials[0])


def test_one_trial_tells_what_happened(traced):
    with plots.style():
        figure = three_ball_figures.one_trial(traced, trial=1, agent=1)
    states = traced.trace["states"][0, 1, 1]
    answered = np.flatnonzero(states[:, 4] < 3)
    words = figure.texts[0].get_text().replace("\n", " ").replace(" ball (", " (")
    for t in range(answered[0]):
        if states[t, 3] < 3:
            assert f"{three_ball.BALLS[states[t, 3]]} ({three_ball.COLOURS[states[t, states[t, 3]]]})" in words
    told = traced.trace["outcomes"][0, 1, 1, :, 2]
    assert words.endswith(f"{(told == 1).sum()} of {(told > 0).sum()} right")
    strip = [t.get_text() for t in figure.axes[0].texts]
    assert strip.count("✓ right") == (told == 1).sum() and strip.count("✗ wrong") == (told == 2).sum()
    letters = [c[0].upper() for s in states for c in (three_ball.COLOURS[k] for k in s[:3])]
    assert [t for t in strip if t in ("R", "G", "B")] == letters
    check_page(figure)


def test_a_reasoning_trial_shows_gains_and_the_rules_left(traced):
    for trial in range(3):
        with plots.style():
            figure = three_ball_figures.reasoning_trial(traced, trial=trial, agent=1)
        check_page(figure)
        belief = traced.trace["model_posterior"][0, 1, trial]
        (squares,) = (c for ax in figure.axes for c in ax.collections if c.get_array() is not None)
        np.testing.assert_allclose(np.asarray(squares.get_array()), belief.ravel())
        x, y = points(squares)[three_ball.PAPER_RULE]
        frame = next(c for c in squares.axes.collections if len(points(c)) == len(belief))
        np.testing.assert_allclose(points(frame)[0], (x, y))  # the true rule is the one that is framed
        left = np.exp(-(belief * np.log(np.maximum(belief, 1e-300))).sum(axis=1))
        assert f"{left[0]:.0f}" in figure.texts[0].get_text() and f"{left[-1]:.0f}" in figure.texts[0].get_text()


def test_discovery_says_how_agents_compare_with_logic():
    result = run(("reasoning", "paper", "laboratory"), 6, 24)
    ideal = ideal_observer(three_ball.paradigm(), n_agents=6, n_trials=24, seed=1).trials
    with plots.style():
        figure = three_ball_figures.discovery(result, ideal)
    check_page(figure)
    assert len(figure.axes) == 4
    assert f"after {result.discovery_trials[0].mean():.1f} trials" in figure.texts[0].get_text()
    same = int((result.discovery_trials[0] == ideal).sum())
    assert f"{'all 6' if same == 6 else f'{same} of 6'} agents" in figure.texts[1].get_text()
    means = [float(ax.texts[0].get_text().split()[0]) for ax in figure.axes]
    np.testing.assert_allclose(sorted(means), sorted([*result.discovery_trials.mean(axis=1), ideal.mean()]), atol=0.051)
    for ax in figure.axes:
        assert sum(bar.get_height() for bar in ax.patches if not hasattr(bar, "get_data")) == pytest.approx(100)
    with plots.style():
        for page in (
            three_ball_figures.discovery(result, ideal + 1),
            three_ball_figures.discovery(run(("paper",), 1, 2), [3]),
            three_ball_figures.discovery(run(("knowing", "reasoning"), 2, 2), [1, 2]),
        ):
            check_page(page)


def test_one_agent_with_a_trace_shows_what_was_learned_beside_the_truth(traced):
    with plots.style():
        figure = three_ball_figures.one_agent(traced, agent=1)
    check_page(figure)
    grids = [ax.images[0].get_array() for ax in figure.axes if ax.images and ax.images[0].get_array().shape == (27, 16)]
    assert len(grids) == 3
    truth = three_ball.rules().dense(64, 2)[1].transpose(1, 0, 2, 4, 3).reshape(27, 16)
    np.testing.assert_array_equal(grids[-1], truth)
    counts = traced.trace["pA_feedback"][0, 1, -1]
    np.testing.assert_allclose(grids[1], (counts[1] / counts.sum(axis=0)).transpose(1, 0, 2, 4, 3).reshape(27, 16))
