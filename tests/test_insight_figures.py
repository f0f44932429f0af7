"""Figures of rule learning and plots of neuronal responses: the numbers on the page are the result's, nothing is cut off."""

import importlib.util
import sys
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from activebmr import POMDP, Agent, Planner, Result, plots, simulate
from activebmr.simulation.neurons import NeuronalResponses, neuronal_responses
from paradigms import insight, insight_figures

SCRIPTS = Path(__file__).parents[1] / "figures"


@pytest.fixture(autouse=True)
def untouched():
    """No plot may change matplotlib's settings or hand a figure to pyplot."""
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate([insight.paradigm(s) for s in ("naive", "sleep", "instructed")], n_agents=6, n_trials=10, seed=0)


@pytest.fixture(scope="module", params=["2017", "sophisticated"])
def responses(request) -> NeuronalResponses:
    agent = insight.paradigm("naive", planner=request.param).agent
    outcomes = [[3, 3, 0], [0, 1, 0], [2, 0, 0], [3, 3, 1], [3, 3, 1], [3, 3, 1]]
    controls = [[0, 0, 1, 3], [0, 0, 0, 3], [0, 0, 3, 2], [0, 0, 3, 2], [0, 0, 3, 2]]
    return neuronal_responses(agent, agent.init(), outcomes, controls)


def draw(ax) -> None:
    ax.figure.savefig(BytesIO(), format="png")


def check_page(figure: Figure) -> None:
    """Nothing on a page is cut off, and no words lie on other words."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box, (width, height) = figure.get_tightbbox(canvas.get_renderer()), figure.get_size_inches()
    assert box.x0 > -0.01 and box.y0 > -0.01 and box.x1 < width + 0.01 and box.y1 < height + 0.01, box
    words = list(figure.texts) + [t for legend in figure.legends for t in legend.get_texts()]
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


def page(function, *arguments) -> Figure:
    with plots.style():
        figure = function(*arguments)
    check_page(figure)
    return figure


def titles(figure: Figure) -> list[str]:
    return [ax.get_title(loc="left").replace("\n", " ") for ax in figure.axes]


# --- neuronal responses --------------------------------------------------------------------------------------------------
def test_firing_rates_stack_moments_and_leave_those_to_come_blank(responses):
    for f, name in enumerate(("rule", "colour", "gaze", "report")):
        ax = plots.firing_rates(responses, name)
        grid, rates = ax.images[0].get_array(), responses.rates[f]
        n_states = rates.shape[-1]
        assert grid.shape == (6 * n_states, 6 * 16)
        for t, i, m, s in ((0, 0, 0, 0), (2, 15, 1, n_states - 1), (5, 7, 5, 1)):
            assert grid[m * n_states + s, t * 16 + i] == rates[t, i, m, s]
        assert np.array_equal(np.ma.getmaskarray(grid)[::n_states, ::16].T, np.isnan(rates[:, 0, :, 0]))
        assert np.ma.getmaskarray(grid)[-1, 0]
        assert ax.get_xlim() == pytest.approx((0, responses.seconds[-1])) and "(s)" in ax.get_xlabel()
        assert [t.get_text() for t in ax.get_yticklabels()] == list("123456")
    draw(ax)
    assert plots.firing_rates(responses, 1).get_title(loc="left") == plots.firing_rates(responses, "colour").get_title(
        loc="left"
    )


def test_outcomes_are_marked_when_they_are_seen(responses):
    lines = [c for c in plots.dopamine(responses).collections if len(c.get_segments()) == 6]
    np.testing.assert_allclose([s[0, 0] for s in lines[0].get_segments()], 0.256 * np.arange(6))


def test_local_field_potentials_integrate_to_the_rates(responses):
    ax = plots.local_field_potentials(responses, "rule")
    rates = responses.rates[0]
    represented = (~np.isnan(rates[:, 0, :, 0])).sum()
    for s, unit in enumerate(ax.collections[:3]):
        segments = unit.get_segments()
        assert len(segments) == represented and unit.get_label() == ("left", "centre", "right")[s]
        moved = sum(((v[1:] + v[:-1]) / 2 * np.diff(x)).sum() for x, v in (line.T for line in segments))
        assert moved == pytest.approx(np.nansum(rates[:, -1, :, s] - rates[:, 0, :, s]), abs=0.15 * represented)
    chosen = plots.local_field_potentials(responses, "rule", colours=["red", "green", "blue"])
    assert same_color(chosen.collections[1].get_color()[0][:3], matplotlib.colors.to_rgb("green"))
    draw(ax)


def test_dopamine_is_one_bar_per_iteration(responses):
    ax = plots.dopamine(responses)
    np.testing.assert_allclose([b.get_height() for b in ax.patches], responses.dopamine)
    np.testing.assert_allclose([b.get_x() + b.get_width() / 2 for b in ax.patches], responses.seconds - 0.008)
    assert f"{responses.seconds[responses.dopamine.argmax()]:.2f} s" in ax.get_title(loc="left")
    draw(ax)


def test_policy_rates_are_named(responses):
    names = plots.policy_names(insight.world_model())
    ax = plots.policy_rates(responses, names=names)
    np.testing.assert_allclose(ax.images[0].get_array(), responses.policies.reshape(-1, 6).T)
    assert [t.get_text() for t in ax.get_yticklabels()] == names
    assert plots.policy_rates(responses).get_yticklabels()[2].get_text() == "policy 2"
    draw(ax)


def test_an_agent_with_one_state_and_one_outcome_can_be_drawn():
    agent = Agent(POMDP(A=[np.eye(2)], B=[np.eye(2)[:, :, None]], D=[[1.0, 0.0]]), planner=Planner(gains=()), trial_length=1)
    few = neuronal_responses(agent, agent.init(), [[0]], [[0]])
    for ax in (plots.firing_rates(few, 0), plots.local_field_potentials(few, 0), plots.dopamine(few), plots.policy_rates(few)):
        assert ax.get_title(loc="left")
        draw(ax)
    assert "never rises" in plots.dopamine(few).get_title(loc="left")
    assert "known at all times" in plots.firing_rates(few, 0, bar=True).get_title(loc="left")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: plots.firing_rates(r, "left"), r"factor must be one of \['rule', 'colour', 'gaze', 'report'\]; got 'left'"),
        (lambda r: plots.local_field_potentials(r, 4), r"factor must be a whole number in 0..3; got 4"),
        (lambda r: plots.local_field_potentials(r, 0, colours=["red"]), r"colours must have one entry for .* 3 states .*got 1"),
        (lambda r: plots.policy_rates(r, names=["look"]), r"names must have one entry for each of the 6 policies; got 1"),
    ],
)
def test_bad_input_says_what_is_wrong(responses, call, message):
    with pytest.raises(ValueError, match=message):
        call(responses)


# --- pages ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("names", "agents", "trials", "planner", "truth"),
    [
        (("naive",), 1, 1, "2017", 0),
        (("sleep",), 1, 1, "2017", 0),
        (("instructed", "naive"), 1, 1, "2017", 3),
        (("sleep-dream", "sleep"), 2, 5, "2017", "random"),
        (tuple(insight.SCHEMES), 2, 2, "2017", 0),
        (("naive", "sleep", "instructed"), 2, 2, "sophisticated", 0),
    ],
)
def test_figures_need_only_the_saved_result(tmp_path, monkeypatch, names, agents, trials, planner, truth):
    made = simulate([insight.paradigm(n, truth, planner=planner) for n in names], n_agents=agents, n_trials=trials, seed=1)
    kept = Result.load(made.save(tmp_path / "result.npz"))
    checked = []
    save = plots.save
    monkeypatch.setattr(plots, "save", lambda f, path: checked.append(check_page(f)) or save(f, path))
    written = insight.figures(kept, tmp_path / "new" / "folder")
    wanted = ["performance.png"]
    wanted += ["aha.png", "evidence.png"] if any(n.startswith("sleep") for n in names) else []
    wanted += ["instruction.png"] if {"instructed", "naive"} <= set(names) else []
    assert [p.name for p in written] == wanted and len(checked) == len(wanted)
    for path in written:
        assert path.parent == tmp_path / "new" / "folder" and imread(path).shape[1] == 1125  # 9 inches


def test_performance_is_the_mean_over_agents_with_its_standard_error(result):
    figure = page(insight_figures.performance, result)
    right = 100 * insight.hits(result)
    for ax, values in zip(figure.axes[::2], (right, result.free_energy, result.confidence), strict=True):
        for s, name in enumerate(result.schemes):
            (line,) = (x for x in ax.lines if x.get_label() == name)
            np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 11))
            np.testing.assert_allclose(line.get_ydata(), values[s].mean(axis=0))
        spans = [c.get_paths()[0].vertices[:, 1] for c in ax.collections]
        error = values.std(axis=1, ddof=1) / np.sqrt(6)
        assert max(v.max() for v in spans) == pytest.approx((values.mean(axis=1) + error).max())
    gain = right[1].mean(axis=1) - right[0].mean(axis=1)
    words = figure.texts[0].get_text().replace("\n", " ")
    assert f"sleep {right[1].mean():.1f}%, naive {right[0].mean():.1f}%" in words
    assert f"+{gain.mean():.1f} ± {gain.std(ddof=1) / np.sqrt(6):.1f}" in words
    assert [t.get_text().split()[0] for t in figure.axes[1].get_yticklabels()] == result.schemes


def test_ahas_sort_agents_and_mark_the_moment(result):
    figure = page(insight_figures.ahas, result)
    when, right = insight.aha_trial(result)[1], insight.hits(result)[1]
    order = np.argsort(np.where(when < 0, 99, when), kind="stable")
    raster, bars = figure.axes
    np.testing.assert_array_equal(np.asarray(raster.images[0].get_array()) == 0, right[order])
    for x, row in np.asarray(raster.collections[0].get_offsets()):
        assert x == when[order][int(row)] + 1
    assert len(raster.collections[0].get_offsets()) == (when >= 0).sum() > 0
    heights = [b.get_height() for b in bars.patches]
    np.testing.assert_allclose(heights, [100 * np.mean(when + 1 == k) for k in range(1, 11)])
    assert f"{(when >= 0).sum()} of 6 agents" in titles(figure)[0]


def test_evidence_is_the_log_ratio_of_every_motif_against_none(result):
    agent = insight_figures.typical_agent(result, "sleep")
    figure = page(insight_figures.evidence, result)
    p = result.model_posterior[1, agent]
    expected = np.log(p) - np.log1p(-p.sum(axis=1))[:, None]
    lines = [x for x in figure.axes[0].lines if len(x.get_ydata()) == 10]
    assert len(lines) == 36
    (truth,) = (x for x in lines if x.get_linewidth() > 2)
    np.testing.assert_allclose(truth.get_ydata(), expected[:, 0], atol=1e-9)
    drawn = np.sort([x.get_ydata() for x in lines], axis=0)
    np.testing.assert_allclose(drawn, np.sort(expected, axis=1).T, atol=1e-9)
    assert insight.WINDOW in [x.get_ydata()[0] for x in figure.axes[0].lines]
    best = result.log_odds[1, agent, -1]
    assert expected[-1].max() == pytest.approx(best)


def test_instruction_shows_the_paired_difference(result):
    figure = page(insight_figures.instruction, result)
    gaps = (
        100.0 * (insight.hits(result)[2].astype(int) - insight.hits(result)[0]),
        result.free_energy[2] - result.free_energy[0],
    )
    for ax, gap in zip(figure.axes[1::2], gaps, strict=True):
        np.testing.assert_allclose(ax.lines[0].get_ydata(), gap.mean(axis=0))
        assert ax.get_xlabel() == "trial" and "difference" in ax.get_ylabel()
        early = f"{gap[:, :5].mean():+.{0 if gap is gaps[0] else 2}f}".replace("-", "−")
        assert f"{early} ±" in ax.get_title(loc="left") and "in trials 1–5" in ax.get_title(loc="left").replace("\n", " ")


def test_the_summary_shows_all_schemes_and_one_that_sleeps(result):
    figure = page(insight_figures.summary, result)
    assert f"sleep {100 * insight.hits(result)[1].mean():.0f}%" in figure.texts[0].get_text().replace("\n", " ")
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == result.schemes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: insight_figures.evidence(r, "naive"), r"scheme must be one whose agents sleep, \['sleep'\]; got 'naive'"),
        (lambda r: insight_figures.evidence(r, "sleep", 6), r"agent must lie in 0..5; got 6"),
        (lambda r: insight_figures.life(1, 1), r"n_agents must be enough for .*; got 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(result, call, message):
    with pytest.raises(ValueError, match=message):
        call(result)


def test_pages_without_their_schemes_are_refused():
    naive = simulate(insight.paradigm("naive"), n_agents=1, n_trials=1, seed=0)
    for function in (insight_figures.ahas, insight_figures.evidence):
        with pytest.raises(ValueError, match=r"result must hold a scheme whose agents sleep; it holds \['naive'\]"):
            function(naive)
    with pytest.raises(ValueError, match=r"result must hold the schemes .*; it lacks \['instructed'\]"):
        insight_figures.instruction(naive)


# --- scripts -------------------------------------------------------------------------------------------------------------
def script(name: str):
    spec = importlib.util.spec_from_file_location(f"{name}_figure", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lived():
    return insight_figures.life(3, 9)


def test_reliving_a_life_gives_the_same_agent(lived):
    outcomes, controls, aha = lived
    agent, sleeper = insight_figures.relived("sleep", outcomes[:aha], controls[:aha])
    _, naive = insight_figures.relived("naive", outcomes[:aha], controls[:aha])
    np.testing.assert_array_equal(agent.posterior_counts(naive, "what"), agent.posterior_counts(sleeper, "what"))
    assert sleeper.adopted[0] == -1
    for o, c in zip(outcomes[aha], controls[aha], strict=True):
        sleeper, _ = agent.step(sleeper, o, action=c)
    assert agent.end_trial(sleeper)[0].adopted[0] == 0


def test_likelihoods_before_and_after_sleep(lived):
    drawing, (outcomes, controls, aha) = script("insight_likelihood"), lived
    counts = {
        name: agent.posterior_counts(state, "what")[0]
        for name in ("naive", "sleep", "sleep-dream")
        for agent, state in [insight_figures.relived(name, outcomes[: aha + 1], controls[: aha + 1])]
    }
    truth = insight.worlds().dense(0, 0)
    tables = {"Before": insight.naive_counts(), "Trials": counts["naive"], "Sleep": counts["sleep"]}
    figure = page(drawing.draw, tables | {"Dream": counts["sleep-dream"], "The truth": truth}, aha)
    assert len(figure.axes) == 15
    for ax, place in zip(figure.axes[12:], range(3), strict=True):
        heights = [-b.get_height() / 0.86 for b in ax.patches]
        np.testing.assert_allclose(np.reshape(heights, (3, 3, 3)), np.moveaxis(truth[:3, :, :, place, 3], 0, -1), atol=1e-12)
    assert "framed: 1.00" in figure.axes[6].get_title(loc="left")


def test_responses_to_the_same_trial_before_and_after_sleep(lived):
    drawing, (outcomes, controls, aha) = script("insight_neurons"), lived
    shown = {}
    for name, n in (("Before", 0), ("After", aha + 1)):
        agent, state = insight_figures.relived("sleep", outcomes[:n], controls[:n])
        seen, done = drawing.trial(agent, state)
        assert seen.shape == (6, 3) and done.shape == (6, 4)
        assert set(seen[seen[:, 1] == 1, 0]) <= {drawing.HIDDEN[0]}  # the cue is the rule's
        shown[name] = (seen, done), neuronal_responses(agent, state, seen, done)
    figure = page(drawing.draw, shown, aha)
    assert len(figure.axes) == 12
    assert figure.axes[3].get_ylim() == figure.axes[9].get_ylim()
