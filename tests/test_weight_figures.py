"""Figures of ``activebmr prune bnn`` and ``activebmr prune sparse``: they say what rows and arrays say, nothing cut off."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text

pytest.importorskip("torch")

from activebmr import plots  # noqa: E402
from activebmr.arrays import standard_error  # noqa: E402
from activebmr.pruning.experiments import bnn_figures, sparse_figures  # noqa: E402

METHODS = ("full", "naive", "naive-snr", "naive-mean-sd", "iterative", "snr", "mean-sd")
SPARSE = ("map", "flat", "horseshoe", "bmr-ss", "bmr-rhs")
MLP = tuple(f"fc{i}.{kind}" for i in range(1, 6) for kind in ("weight", "bias"))


@pytest.fixture(autouse=True)
def untouched():
    """No figure may change matplotlib's settings or become pyplot's."""
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Figures by the name of their file, each checked when it is saved."""
    found: dict[str, Figure] = {}
    save = plots.save

    def check_and_save(figure: Figure, path: Path) -> Path:
        check_page(figure)
        found[path.name] = figure
        return save(figure, path)

    monkeypatch.setattr(plots, "save", check_and_save)
    return found


def check_page(figure: Figure) -> None:
    """Nothing is cut off, no words lie on other words, and all axes have titles and labels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box, (width, height) = figure.get_tightbbox(canvas.get_renderer()), figure.get_size_inches()
    assert box.x0 > -0.01 and box.y0 > -0.01 and box.x1 < width + 0.01 and box.y1 < height + 0.01, box
    words = [t for legend in figure.legends for t in (*legend.get_texts(), legend.get_title())]
    for ax in figure.axes:
        assert (
            ax.get_title(loc="left")
            and ax.get_xlabel()
            and (ax.get_ylabel() or ax.get_shared_y_axes().joined(ax, figure.axes[0]))
        )
        words += [t for t in ax.get_children() if isinstance(t, Text)] + [ax.xaxis.label, ax.yaxis.label]
        words += list(ax.get_legend().get_texts()) if ax.get_legend() else []
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            words += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    words = [t for t in dict.fromkeys(words) if t.get_visible() and t.get_text().strip()]
    boxes = [(t.get_text(), t.get_window_extent().padded(-1.5)) for t in words]
    for k, (text, one) in enumerate(boxes):
        clash = [other for other, two in boxes[k + 1 :] if one.overlaps(two)]
        assert not clash, (text, clash)


def title(ax: Axes) -> str:
    return " ".join(ax.get_title(loc="left").split())


def errorbar(ax: Axes, name: str) -> ErrorbarContainer:
    (found,) = (c for c in ax.containers if isinstance(c, ErrorbarContainer) and c.get_label() == name)
    return found


def line(ax: Axes, label: str) -> Any:
    (found,) = (x for x in ax.lines if x.get_label() == label)
    return found


# --- regression: made-up runs ------------------------------------------------------------------------------------------------
def bnn_kept(run: int = 0, rounds: int = 2, undone: bool = False) -> dict[str, Any]:
    """Predictions fall by 15 nats to their minimum at 30%; retraining falls to 22 nats below the trained network."""
    rng, share = np.random.default_rng(run), np.arange(100) / 100
    trained = 2300.0 + 100 * run
    kept = {"curve_share": share, "curve_predicted": trained + 15 * ((share / 0.3 - 1) ** 2 - 1)}
    for i, name in enumerate(("evidence", "snr", "mean-sd")):
        rise = np.exp(np.minimum(30 * (share - 0.45 + 0.05 * i), 15)) - np.exp(30 * (-0.45 + 0.05 * i))
        kept[f"curve_{name}"] = trained - 20 * share * (1 - share) * (1 + 0.1 * rng.normal()) + rise
    vfe = trained - np.array([0.0, 15.0, 20.0])[:rounds]
    for name in ("iterative", "snr", "mean-sd"):
        count = rounds - (undone and name != "iterative")
        kept |= {
            f"{name}_removed_in_all": np.array([0.3, 0.4, 0.45])[:count],
            f"{name}_vfe": vfe[:count],
            f"{name}_vfe_predicted": vfe[:count] - 3,
            f"{name}_vfe_observed": vfe[:count] + 4,
            f"{name}_end": np.array(vfe[-1] if undone else trained - 22.0 + 2 * (name != "iterative")),
        }
    return kept


def bnn_rows(
    runs: int = 3, methods: tuple[str, ...] = METHODS, all_rows: bool = False, far: float = 0.0, size: float = 1.0
) -> list[dict[str, Any]]:
    rng, rows = np.random.default_rng(5), []
    for run in range(runs):
        at = rng.normal()
        for i, name in enumerate(methods):
            rmse = size * (3 + 0.3 * at + 0.03 * i + 0.02 * rng.normal() + far * (name == "naive-mean-sd"))
            removed = 0.0 if name == "full" else 0.253 if name.startswith("naive") else 0.4
            row = {"method": name, "split": None if all_rows else run, "seed": run if all_rows else 0, "removed": removed}
            rows.append(row | {"rmse": rmse, "nll": 2.5 + 0.1 * at + 0.01 * i + 10 * far * (name == "naive-mean-sd")})
    return rows


def of(rows: list[dict[str, Any]], method: str, key: str) -> np.ndarray:
    return np.array([r[key] for r in rows if r["method"] == method])


@pytest.mark.parametrize(("runs", "undone"), [(1, False), (2, True), (20, False)])
def test_regression_figures_are_drawn(tmp_path: Path, pages: dict[str, Figure], runs: int, undone: bool) -> None:
    kept = [bnn_kept(i, undone=undone and i == 0) for i in range(runs)]
    files = bnn_figures.draw(bnn_rows(runs, far=5.0 * undone), kept, tmp_path)
    assert [f.name for f in files] == ["free_energy.png", "methods.png"] == list(pages)
    for file in files:
        assert file.parent == tmp_path and file.read_bytes().startswith(b"\x89PNG") and file.stat().st_size > 5000
    assert [len(p.axes) for p in pages.values()] == [1, 2]


def test_free_energy_is_the_arrays() -> None:
    kept = [bnn_kept(0), bnn_kept(1)]
    ax = bnn_figures.free_energy(kept)
    first = kept[0]
    seen = first["curve_evidence"][30] - 2300
    text = f"Removing 30% at once: −15.0 nats predicted, −{-seen:.1f} observed; 2 rounds: 40% removed, −22.0 nats"
    assert title(ax) == f"{text} (first of 2 runs; rounds of all: −22.0 ± 0.0 nats)"
    for name, label in (("predicted", "predicted by the evidence"), ("snr", "removed at once by SNR")):
        np.testing.assert_allclose(line(ax, label).get_xydata(), np.stack((np.arange(100), first[f"curve_{name}"]), axis=1))
    np.testing.assert_allclose(line(ax, "predicted optimum: 30% removed").get_xydata(), [[30, 2285]])
    np.testing.assert_allclose(line(ax, "before a round").get_xydata(), [[0, 2300], [30, 2285]])
    np.testing.assert_allclose(line(ax, "right after it").get_xydata(), [[30, 2304], [40, 2289]])
    np.testing.assert_allclose(line(ax, "its prediction").get_xydata(), [[30, 2297], [40, 2282]])
    np.testing.assert_allclose(line(ax, "end of 2 rounds").get_xydata(), [[40, 2278]])
    np.testing.assert_allclose(line(ax, "end of rounds by SNR").get_xydata(), [[40, 2280]])
    path = [[0, 2300], [30, 2304], [30, 2285], [40, 2289], [40, 2278]]
    assert sum(np.shape(x.get_xydata()) == (5, 2) and np.allclose(x.get_xydata(), path) for x in ax.lines) == 2  # both runs
    other = line(ax, "1 other run, faint").get_ydata()
    np.testing.assert_allclose(other, kept[1]["curve_evidence"] - 100)
    low, high = ax.get_ylim()
    assert 2270 < low < 2278 and 2304 < high < 2350 < first["curve_evidence"].max()
    assert ax.get_xlabel() == "weights removed (%)" and ax.get_ylabel() == "free energy (nats)"


def test_rounds_taken_back_do_not_count() -> None:
    ax = bnn_figures.free_energy([bnn_kept(rounds=3, undone=True)])
    assert title(ax).endswith("2 rounds: 40% removed, −20.0 nats (1 run)")
    np.testing.assert_allclose(line(ax, "end of 2 rounds").get_xydata(), [[40, 2280]])
    np.testing.assert_allclose(line(ax, "round taken back").get_xydata(), [[40, 2280], [45, 2284]])
    assert len(line(ax, "before a round").get_xydata()) == 2


@pytest.mark.parametrize("rounds", ["none", "no method", "nan"])
def test_free_energy_without_rounds(tmp_path: Path, pages: dict[str, Figure], rounds: str) -> None:
    kept = bnn_kept(rounds=0 if rounds == "none" else 2) if rounds != "none" else bnn_kept()
    if rounds == "none":
        kept |= {k: v[:0] for k, v in kept.items() if k.startswith(("iterative", "snr", "mean-sd")) and np.ndim(v)}
        kept |= {f"{n}_end": np.array(2300.0) for n in ("iterative", "snr", "mean-sd")}
    elif rounds == "no method":
        kept = {k: v for k, v in kept.items() if k.startswith("curve")}
    else:
        kept |= {k: np.full_like(v, np.nan) for k, v in kept.items() if "vfe" in k or k.endswith("_end")}
    bnn_figures.draw([], [kept, kept], tmp_path)
    (ax,) = pages["free_energy.png"].axes
    assert ("0 rounds: 0% removed, 0.0 nats" in title(ax).replace("+", "")) == (rounds == "none")
    assert "nan" not in title(ax) and title(ax).startswith("Removing 30% at once: −15.0 nats predicted")


def test_free_energies_of_any_size_can_be_drawn(tmp_path: Path, pages: dict[str, Figure]) -> None:
    kept = {k: v if "share" in k or "removed" in k else 1e5 + 7e3 * (v - 2300) for k, v in bnn_kept().items()}
    kept["curve_predicted"] = 1e5 - 1e-3 * np.arange(100.0)  # falls to the end, and hardly
    bnn_figures.draw([], [kept], tmp_path)
    (ax,) = pages["free_energy.png"].axes
    assert title(ax).startswith("Removing 99% at once: −0.1 nats") and "−154000 nats" in title(ax)
    same = {k: np.full_like(v, 2300.0) if k.startswith("curve_") and "share" not in k else v for k, v in bnn_kept().items()}
    bnn_figures.draw([], [{k: v for k, v in same.items() if k.startswith("curve")}], tmp_path)
    assert "0% at once: +0.0 nats" in title(pages["free_energy.png"].axes[0])


def test_methods_are_compared_run_by_run() -> None:
    rows = bnn_rows(4)
    left, right = bnn_figures.methods(rows).axes
    for ax, key, digits in ((left, "rmse", 2), (right, "nll", 3)):
        words = [t.get_text() for t in ax.texts]
        for i, name in enumerate(METHODS):
            values = of(rows, name, key)
            bar = [c for c in ax.containers if isinstance(c, ErrorbarContainer)][i]
            np.testing.assert_allclose(bar[0].get_xydata(), [[values.mean(), i]])
            ends = bar[2][0].get_segments()[0][:, 0]
            np.testing.assert_allclose(ends, values.mean() + np.array([-1, 1]) * standard_error(values))
            if name != "full":
                change = values - of(rows, "full", key)
                text = f"(+{change.mean():.{digits}f} ± {standard_error(change):.{digits}f})".replace("+-", "−")
                assert words[1 + i].splitlines() == [f"{values.mean():.{digits}f} ± {standard_error(values):.{digits}f}", text]
        assert sorted(len(x.get_xdata()) for x in ax.lines).count(4) == len(METHODS)
    change = of(rows, "iterative", "rmse") - of(rows, "full", "rmse")
    want = f"iterative, 40.0% removed: RMSE +{change.mean():.2f} ± {standard_error(change):.2f} against full (4 splits)"
    assert title(left) == want
    assert [t.get_text() for t in left.get_yticklabels()][:2] == ["full\n0.0% removed", "naive\n25.3% removed"]
    assert "held-out" in left.get_xlabel() and "held-out" in right.get_xlabel() and "nats" in right.get_xlabel()


def test_values_far_above_are_marked_at_the_edge() -> None:
    rows = bnn_rows(3, far=50.0)
    for ax in bnn_figures.methods(rows).axes:
        high = ax.get_xlim()[1]
        (mark,) = (x for x in ax.lines if x.get_marker() == ">")
        assert mark.get_xydata().tolist() == [[high, 3]] and high < 6
    assert bnn_figures.methods(rows).axes[0].texts[4].get_text().startswith("53.")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"runs": 1}, ("against full (1 split)", "value\n(less full)")),
        ({"runs": 3, "all_rows": True}, ("against full (3 seeds)", "mean ± s.e.\n(less full)")),
        ({"runs": 2, "methods": ("snr", "naive")}, ("(2 splits)", "mean ± s.e.")),
        ({"runs": 2, "methods": ("full",)}, ("full, 0.0% removed: RMSE", "mean ± s.e.\n(less full)")),
        ({"runs": 3, "size": 1e-4}, ("± 0.000", "mean ± s.e.\n(less full)")),
        ({"runs": 3, "size": 1e4}, ("against full (3 splits)", "mean ± s.e.\n(less full)")),
    ],
)
def test_methods_do_with_what_there_is(
    tmp_path: Path, pages: dict[str, Figure], options: dict[str, Any], words: tuple[str, str]
) -> None:
    rows = bnn_rows(**options)
    assert [f.name for f in bnn_figures.draw(rows, [{}], tmp_path)] == ["methods.png"]
    left, right = pages["methods.png"].axes
    assert words[0] in title(left) and left.texts[0].get_text() == words[1]
    assert ("training" in left.get_xlabel()) == ("training" in right.get_xlabel()) == options.get("all_rows", False)


def test_methods_with_several_seeds_for_a_split_are_paired_by_both() -> None:
    rows = [r | {"seed": seed, "rmse": r["rmse"] + seed} for seed in (0, 1) for r in bnn_rows(2)]
    left = bnn_figures.methods(rows).axes[0]
    assert title(left).endswith("(4 runs)")
    spread = standard_error(of(rows, "naive", "rmse") - of(rows, "full", "rmse"))
    assert spread < 0.05 and f"± {spread:.2f})" in left.texts[2].get_text()


def test_free_energy_needs_a_curve() -> None:
    with pytest.raises(ValueError, match="kept must hold a run with curve_share"):
        bnn_figures.free_energy([{}, {"curve_share": np.zeros(3)}])
    assert bnn_figures.draw([], [{}], Path("nowhere")) == []


# --- images: made-up runs ----------------------------------------------------------------------------------------------------
def sparse_kept(seed: int = 0, methods: tuple[str, ...] = SPARSE, epochs: int = 20, start: int = 5) -> dict[str, Any]:
    rng, epoch, kept = np.random.default_rng(seed), np.arange(1.0, epochs + 1), {}
    for i, name in enumerate(methods):
        accuracy = 0.98 - 0.003 * i - 0.6 * np.exp(-epoch / 2) + 0.004 * rng.random(epochs)
        gone = 0.94 * (1 - np.exp(-(epoch - start + 1) / 4)) * (epoch >= start) * name.startswith("bmr")
        kept |= {f"{name}_epoch": epoch, f"{name}_accuracy": accuracy, f"{name}_removed": gone}
        kept |= {f"{name}_nll": 4 * (1 - accuracy), f"{name}_ece": 0.5 * (1 - accuracy)}
    return kept


def sparse_rows(
    seeds: int = 3, methods: tuple[str, ...] = SPARSE, names: tuple[str, ...] = MLP, sizes: dict[str, int] | None = None
) -> list[dict[str, Any]]:
    rng, rows = np.random.default_rng(7), []
    for seed in range(seeds):
        for i, name in enumerate(methods):
            accuracy = 0.98 - 0.003 * i + 0.001 * rng.normal()
            row = {"method": name, "seed": seed, "accuracy": accuracy, "nll": 4 * (1 - accuracy), "ece": 0.5 * (1 - accuracy)}
            row["removed"] = 0.94 - 0.02 * rng.random() if name.startswith("bmr") else 0.0
            if name != "map":
                row["removed_by_layer"] = {n: min(row["removed"] + 0.04 * rng.random(), 1.0) for n in names}
            rows.append(row | ({"sizes_by_layer": sizes} if sizes else {}))
    return rows


@pytest.mark.parametrize(("seeds", "methods"), [(1, SPARSE), (5, SPARSE), (2, ("bmr-ss",)), (2, ("map", "flat"))])
def test_sparse_figures_are_drawn(tmp_path: Path, pages: dict[str, Figure], seeds: int, methods: tuple[str, ...]) -> None:
    kept = [sparse_kept(seed, methods) for seed in range(seeds)]
    files = sparse_figures.draw(sparse_rows(seeds, methods), kept, tmp_path)
    assert [f.name for f in files] == ["training.png", "sparsity.png"] == list(pages)
    for file in files:
        assert file.parent == tmp_path and file.read_bytes().startswith(b"\x89PNG") and file.stat().st_size > 5000
    pruned = any(n.startswith("bmr") for n in methods)
    assert [len(p.axes) for p in pages.values()] == [4, 3 + pruned]
    for page in pages.values():
        (legend,) = page.legends
        assert [t.get_text() for t in legend.get_texts() if t.get_text() != "first removal"] == list(methods)
        assert ("1 seed" if seeds == 1 else f"mean of {seeds} seeds") in legend.get_title().get_text()
        assert ("standard error" in legend.get_title().get_text()) == (seeds > 1)


def test_epochs_are_means_over_seeds_with_standard_errors() -> None:
    kept = [sparse_kept(seed) for seed in range(3)]
    for key, scale in (("accuracy", 100), ("nll", 1), ("ece", 100), ("removed", 100)):
        ax = sparse_figures.by_epoch(kept, key)
        for i, name in enumerate(SPARSE):
            values = scale * np.stack([k[f"{name}_{key}"] for k in kept])
            drawn = line(ax, name).get_xydata()
            np.testing.assert_allclose(drawn, np.stack((np.arange(1, 21), values.mean(axis=0)), axis=1))
            band = ax.collections[i].get_paths()[0].vertices[:, 1]
            error = values.std(axis=0, ddof=1) / np.sqrt(3)
            assert band.max() == pytest.approx((values.mean(axis=0) + error).max())
            assert band.min() == pytest.approx((values.mean(axis=0) - error).min())
        assert line(ax, "first removal").get_xdata()[0] == 5
        assert [t.get_text() for t in ax.get_legend().get_texts()] == [*SPARSE, "first removal"]
    ends = {n: 100 * np.array([k[f"{n}_accuracy"][-1] for k in kept]) for n in ("bmr-ss", "map")}
    said = ", ".join(f"{n} {v.mean():.2f} ± {standard_error(v):.2f}%" for n, v in ends.items())
    ax = sparse_figures.by_epoch(kept, "accuracy")
    assert title(ax) == f"Epoch 20: accuracy {said}"
    assert title(sparse_figures.by_epoch(kept[:1], "nll")).startswith("Epoch 20: NLL bmr-ss 0.")
    assert 50 < ax.get_ylim()[0] < 90 and line(ax, "map").get_ydata()[0] < ax.get_ylim()[0]  # early epochs leave the scale


def test_only_epochs_that_all_seeds_have_are_drawn() -> None:
    short = {k: v[3:15] for k, v in sparse_kept(1).items()}
    ax = sparse_figures.by_epoch([sparse_kept(0), short], "ece")
    assert list(line(ax, "flat").get_xdata()) == list(range(4, 16)) and title(ax).startswith("Epoch 15: ECE")
    values = [sparse_kept(0)["flat_ece"][3:15], short["flat_ece"]]
    np.testing.assert_allclose(line(ax, "flat").get_ydata(), 100 * np.mean(values, axis=0))
    with pytest.raises(
        ValueError, match="kept must hold METHOD_epoch and METHOD_ece of a method, at epochs that all seeds have"
    ):
        sparse_figures.by_epoch([{}, {"map_epoch": np.arange(3)}], "ece")


def test_scores_lie_at_the_share_removed() -> None:
    rows = sparse_rows(4)
    for key, scale in (("accuracy", 100), ("nll", 1), ("ece", 100)):
        ax = sparse_figures.score_by_removed(rows, key)
        for name in SPARSE:
            x, y = 100 * of(rows, name, "removed"), scale * of(rows, name, key)
            bar = errorbar(ax, name)
            np.testing.assert_allclose(bar[0].get_xydata(), [[x.mean(), y.mean()]])
            across, along = (b.get_segments()[0] for b in bar[2])
            np.testing.assert_allclose(across[:, 0], x.mean() + np.array([-1, 1]) * standard_error(x))
            np.testing.assert_allclose(along[:, 1], y.mean() + np.array([-1, 1]) * standard_error(y))
    change = 100 * (of(rows, "bmr-ss", "accuracy") - of(rows, "map", "accuracy"))
    text = f"−{-change.mean():.2f} ± {standard_error(change):.2f} points against map"
    share = 100 * of(rows, "bmr-ss", "removed").mean()
    ax = sparse_figures.score_by_removed(rows, "accuracy")
    assert title(ax) == f"bmr-ss, {share:.1f}% removed: accuracy {text}"
    alone = sparse_figures.score_by_removed([r for r in rows if r["method"] in ("flat", "bmr-rhs")], "nll")
    assert title(alone).startswith("bmr-rhs, 9") and f"NLL {of(rows, 'bmr-rhs', 'nll').mean():.3f} ±" in title(alone)
    dense = sparse_figures.score_by_removed([r for r in rows if r["method"] in ("flat", "map")], "ece")
    assert title(dense).startswith("map, 0.0% removed: ECE")


def test_layers_are_weighted_by_their_sizes() -> None:
    row = {
        "method": "bmr-ss",
        "seed": 0,
        "removed_by_layer": {"fc1.weight": 0.9, "fc1.bias": 0.5, "token": 0.2, "fc2.bias": 0.1},
    }
    shares = [b.get_width() for b in sparse_figures.removed_by_layer([row]).patches]
    np.testing.assert_allclose(shares, [90, 20, 10])  # no sizes: biases aside, where there is anything else
    row["sizes_by_layer"] = {"fc1.weight": 30, "fc1.bias": 10, "token": 4, "fc2.bias": 4}
    ax = sparse_figures.removed_by_layer([row, row | {"method": "flat"}])
    np.testing.assert_allclose([b.get_width() for b in ax.patches], [80, 20, 10])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["fc1", "token", "fc2"] and ax.get_ylabel() == "layer"
    assert [t.get_text() for t in ax.texts] == ["80.0", "20.0", "10.0"]
    assert title(ax) == "bmr-ss removes 80.0% of fc1, 10.0% of fc2 (1 seed)"


def test_layers_have_standard_errors_over_seeds() -> None:
    rows = sparse_rows(3)
    ax = sparse_figures.removed_by_layer(rows)
    for method, bars in zip(
        ("bmr-ss", "bmr-rhs"), (c for c in ax.containers if not isinstance(c, ErrorbarContainer)), strict=True
    ):
        values = 100 * np.array([[r["removed_by_layer"][n] for n in MLP[::2]] for r in rows if r["method"] == method])
        np.testing.assert_allclose([b.get_width() for b in bars], values.mean(axis=0))
        ends = np.array([s[:, 0] for s in bars.errorbar[2][0].get_segments()])
        np.testing.assert_allclose(ends[:, 1] - ends[:, 0], [2 * standard_error(v) for v in values.T])


def test_the_twelve_largest_layers_are_drawn(tmp_path: Path, pages: dict[str, Figure]) -> None:
    kinds = ("norm1.weight", "attn.q.weight", "fc1.weight", "fc1.bias", "fc2.weight")
    names = tuple(f"blocks.{i}.{kind}" for i in range(6) for kind in kinds) + ("head.weight",)
    sizes = {n: 256 if "norm" in n or "bias" in n else 2560 if "head" in n else 65536 * (1 + ("fc" in n)) for n in names}
    sparse_figures.draw(sparse_rows(2, names=names, sizes=sizes), [], tmp_path)
    ax = pages["sparsity.png"].axes[-1]
    largest = [f"blocks.{i}.fc{j}" for i in range(6) for j in (1, 2)]
    assert [t.get_text() for t in ax.get_yticklabels()] == largest and ax.get_ylabel() == "layer (12 of 25)"
    unknown = sparse_figures.removed_by_layer(sparse_rows(1, names=names))
    assert [t.get_text() for t in unknown.get_yticklabels()][:3] == ["blocks.0.norm1", "blocks.0.attn.q", "blocks.0.fc1"]
    assert len(unknown.get_yticks()) == 12


def test_networks_that_collapse_can_be_drawn(tmp_path: Path, pages: dict[str, Figure]) -> None:
    rows = sparse_rows(2)
    for row in rows:
        if row["method"].startswith("bmr"):
            row |= {"accuracy": 0.1, "nll": 2.303, "ece": 0.0, "removed": 1.0}
            row["removed_by_layer"] = dict.fromkeys(MLP, 1.0)
    sparse_figures.draw(rows, [], tmp_path)
    assert list(pages) == ["sparsity.png"] and "100.0% removed: accuracy −88" in title(pages["sparsity.png"].axes[0])


def test_layers_need_a_method_that_prunes() -> None:
    with pytest.raises(ValueError, match="rows must hold one of a method that prunes, with removed_by_layer"):
        sparse_figures.removed_by_layer(sparse_rows(1, ("map", "flat")))
    assert sparse_figures.draw([], [{}], Path("nowhere")) == []
