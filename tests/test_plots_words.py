"""Titles that never clip, adoptions that are no insight, styles, formats, notebooks, colours that all can tell apart."""

import itertools
import subprocess
import sys
from io import BytesIO

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from activebmr import POMDP, Agent, HypothesisSpace, Paradigm, Result, plots, simulate
from activebmr.plots.canvas import Picture
from activebmr.plots.style import STYLES
from activebmr.plots.values import PARTS
from paradigms import three_ball, three_ball_figures

LONG = "the coin falls as it likes, whoever throws it and however often it was thrown before, unless somebody looks"


def coin(adopted: int, names=("the coin falls on heads", "the coin falls on tails", "the coin falls as it likes")) -> Result:
    """An agent that adopts one of three hypotheses after trial 2; the first one is true."""
    model = POMDP(A=[None], B=[np.eye(1)[:, :, None]], pA=[np.ones((2, 1))])
    tables = dict(zip(names, ([[9.0], [1.0]], [[1.0], [9.0]], [[5.0], [5.0]]), strict=True))
    space = HypothesisSpace({name: {0: np.array(t)} for name, t in tables.items()})
    run = simulate(Paradigm("coin", "watching", Agent(model, space), model, 1, space, 0), n_agents=1, n_trials=4)
    return Result({**run.arrays, "adopted_model": np.array([[adopted]]), "adoption_trial": np.array([[1]])})


def words_of(figure) -> str:
    return " ".join(t.get_text() for t in figure.findobj(Text))


def title_of(ax) -> Text:
    (found,) = (
        t for t in ax.get_children() if isinstance(t, Text) and t.get_text() and t.get_text() == ax.get_title(loc="left")
    )
    return found


def size_of(path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def check_title(ax) -> None:
    ax.figure.savefig(BytesIO(), format="png", dpi=ax.figure.dpi)  # what is measured afterwards is of the same size
    extent, box = title_of(ax).get_window_extent(), ax.figure.bbox
    assert extent.x0 >= -1 and extent.x1 <= box.x1 + 1 and extent.y1 <= box.y1 + 1, (ax.get_title(loc="left"), extent, box)
    assert extent.width <= ax.bbox.width + 1 or ax.bbox.width < ax.figure.dpi  # an inch at least


# --- titles --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("width", [3.0, 3.6, 5.5, 9.0])
@pytest.mark.parametrize("words", ["short", LONG, "x" * 150, "a b " * 60, "$not_maths$ and 100 % {braces}"])
def test_titles_lie_within_their_axes_at_any_width(width, words):
    ax = plots.curves(coin(0), "free_energy").figure.axes[0]
    ax.figure.set_size_inches(width, 6.0)
    plots.title(ax, words)
    ax.set_yticks(ax.get_yticks(), [f"{'names ' * 2}{t:g}" for t in ax.get_yticks()])  # room that only the layout knows of
    check_title(ax)
    assert " ".join(ax.get_title(loc="left").split()) == words.strip()  # no word is lost


@pytest.mark.parametrize("kind", STYLES)
@pytest.mark.parametrize("length", [5, 24, 100])
@pytest.mark.parametrize("adopted", [0, 1])
def test_titles_of_figures_with_long_names_lie_within_them(kind, length, adopted):
    result = coin(adopted, [f"{k}: {LONG}"[:length] for k in range(3)])
    with plots.style(kind):
        for draw in (plots.model_posterior, plots.log_odds, plots.series, plots.insight, plots.trajectories):
            arguments = {"measure": "confidence"} if draw in (plots.series, plots.trajectories) else {}
            check_title(draw(result, **arguments))
        check_title(plots.histogram(result, "adoption_trial"))


def test_a_title_in_somebodys_own_figure_fits_too_whatever_becomes_of_it():
    figure = Figure(figsize=(8, 3))
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    plots.title(ax, LONG)
    figure.canvas.draw()
    assert title_of(ax).get_window_extent().width <= ax.bbox.width
    figure.set_size_inches(3, 3)  # as when a window is made narrower
    figure.canvas.draw()
    assert title_of(ax).get_window_extent().width <= ax.bbox.width


def test_words_are_broken_where_they_must_and_lose_nothing():
    broken = plots.wrap("one two " + "x" * 80 + " three", 100, 9)
    assert broken.replace("\n", "").replace(" ", "") == "onetwo" + "x" * 80 + "three"
    assert plots.wrap("one two", 1000, 9) == "one two"
    assert plots.wrap("", 100, 9) == ""
    assert all(plots.wrap("abc", 0.1, 9).split("\n"))  # a letter in each line, and no endless loop


# --- adoptions -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("adopted", [0, 1])
def test_only_the_truth_is_an_insight(adopted):
    result = coin(adopted)
    drawn = [plots.model_posterior(result), plots.log_odds(result), plots.series(result), plots.insight(result)]
    words = " ".join(words_of(ax.figure) for ax in drawn)
    assert ("insight" in words.lower()) == (adopted == 0)
    assert ("wrong" in words) == (adopted == 1)
    assert "after trial 2" in words  # trials count from 1


def test_the_page_of_an_agent_with_a_wrong_rule_speaks_of_no_insight():
    result = simulate(three_ball.paradigm(), n_agents=1, n_trials=4, seed=0)
    wrong = {"adopted_model": np.array([[3]]), "adoption_trial": np.array([[1]])}
    figure = three_ball_figures.one_agent(Result({**result.arrays, **wrong}))
    words = words_of(figure)
    assert "insight" not in words.replace("No insight", "")
    assert "No insight: after trial 2 the agent adopts a wrong rule (3)" in words


# --- styles and files ----------------------------------------------------------------------------------------------------
def test_slides_have_their_shape_and_settings_come_back():
    before = dict(matplotlib.rcParams)
    result = coin(0)
    with plots.style("talk"):
        with plots.style():
            assert plots.log_odds(result).figure.get_size_inches()[0] == 5.5
        figure = plots.log_odds(result).figure
    assert figure.get_figwidth() / figure.get_figheight() == pytest.approx(16 / 9)
    assert dict(matplotlib.rcParams) == before
    assert plots.log_odds(result).figure.get_size_inches()[0] == 5.5
    with pytest.raises(ValueError, match=r"kind must be one of \['print', 'talk'\]; got 'poster'"), plots.style("poster"):
        pass


def test_type_on_slides_is_large():
    """Of the width of the slide: 9 points on 7.5 inches are 16 points on a screen of 13.3 inches."""
    with plots.style("talk"):
        ax = plots.log_odds(coin(0))
        sizes = [t.get_fontsize() * 13.33 / ax.figure.get_figwidth() for t in ax.figure.findobj(Text) if t.get_text()]
    assert min(sizes) > 12


def test_files_are_what_they_are_called_and_always_the_same(tmp_path):
    result = coin(0)
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    for form, start in starts.items():
        paths = [plots.save(plots.log_odds(result), tmp_path / f"{k}.{form}") for k in range(2)]
        one, two = (p.read_bytes() for p in paths)
        assert one.startswith(start) and one == two
    with plots.style("talk"):
        plots.save(plots.log_odds(result), tmp_path / "slide.png")
    assert size_of(tmp_path / "slide.png") == (1920, 1080)
    plots.save(plots.log_odds(result), tmp_path / "fine.png", dpi=300)
    assert size_of(tmp_path / "fine.png") == (1650, 960)
    with pytest.raises(ValueError, match=r"path must end in one of \['.png', '.svg', '.pdf'\]; got '.*figure.jpg'"):
        plots.save(plots.log_odds(result), tmp_path / "figure.jpg")


def test_figures_that_others_draw_can_be_had_in_another_format(tmp_path):
    result = simulate(three_ball.paradigm(), n_agents=2, n_trials=2, seed=0)
    with plots.output("svg"):
        written = three_ball_figures.figures(result, tmp_path)
    assert {p.suffix for p in written} == {".svg"} and all(p.exists() for p in written)
    with plots.output(dpi=50):
        assert size_of(three_ball_figures.figures(result, tmp_path)[0])[0] == 450
    for arguments, message in (({"form": "gif"}, "form must be one of"), ({"dpi": 5}, "dpi must lie in 20..1200; got 5")):
        with pytest.raises(ValueError, match=message), plots.output(**arguments):
            pass


def test_general_figures_of_any_result(tmp_path):
    for kind in STYLES:
        with plots.style(kind):
            written = plots.general_figures(coin(0), tmp_path / kind / "new")
        names = {p.stem for p in written}
        assert {"adoptions", "hypotheses", "log_odds"} <= names and any(n.startswith("trials_") for n in names)
        assert all((size_of(p) == (1920, 1080)) == (kind == "talk") for p in written)


def test_curves_are_means_and_errors():
    result = simulate([three_ball.paradigm(s) for s in ("reasoning", "paper")], n_agents=4, n_trials=3, seed=0)
    ax = plots.curves(result, "net_wins")
    for s, line in enumerate(ax.lines):
        net = (result.wins - result.losses)[s].astype(float)
        np.testing.assert_allclose(line.get_ydata(), net.mean(axis=0))
        band = ax.collections[s].get_paths()[0].vertices
        error = net.std(axis=0, ddof=1) / 2
        assert band[:, 1].max() == pytest.approx((net.mean(axis=0) + error).max())
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["reasoning", "paper"]
    with pytest.raises(ValueError, match="measure must be one of"):
        plots.curves(result, "speed")
    with pytest.raises(ValueError, match="at least one scheme; got none"):
        plots.curves(result, "net_wins", [])


# --- notebooks -----------------------------------------------------------------------------------------------------------
def test_figures_axes_and_pages_show_themselves_in_notebooks():
    axes = plots.log_odds(coin(0))
    page = plots.Page(2.0, "A head", "and more")
    page.axes(1, 0, 5, 1)
    for thing in (axes, axes.figure, page, page.figure, page.figure.axes[0]):
        image = Image.open(BytesIO(thing._repr_png_()))
        assert image.format == "PNG" and image.size[0] > 300
    assert isinstance(axes.figure, Picture) and isinstance(axes.figure, Figure)


def test_plots_are_there_without_an_import_and_matplotlib_only_then():
    code = (
        "import sys, activebmr as ab\n"
        "assert 'plots' in dir(ab) and not any(m.split('.')[0] == 'matplotlib' for m in sys.modules)\n"
        "assert callable(ab.plots.model_posterior) and 'matplotlib.pyplot' not in sys.modules\n"
        "try: ab.plotz\nexcept AttributeError as e: assert 'plotz' in str(e)\nelse: raise SystemExit(1)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- colours -------------------------------------------------------------------------------------------------------------
SEEN_AS = {  # linear RGB as people with all cones, without red, green or blue ones see it (Machado et al. 2009)
    "all": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(colour: str, matrix) -> np.ndarray:
    """CIELAB of a colour as somebody sees it."""
    c = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.clip(np.asarray(matrix) @ np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4), 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("who", SEEN_AS)
def test_parts_of_values_can_be_told_apart_by_everybody(who):
    paints = [plots.PALETTE[paint] for _, paint in PARTS.values()]
    gaps = [np.linalg.norm(lab(a, SEEN_AS[who]) - lab(b, SEEN_AS[who])) for a, b in itertools.combinations(paints, 2)]
    assert min(gaps) > 15  # a difference of 2 can just be seen
