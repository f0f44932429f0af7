"""Scores of predictions and sparsity: examples worked out by hand, invariances, and scipy's densities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")
from torch.testing import assert_close  # noqa: E402

from activebmr.pruning.experiments.metrics import (  # noqa: E402
    calibration,
    classification_metrics,
    regression_metrics,
    removable_structures,
    sparsity,
    sparsity_by_layer,
    student_t_log_density,
)


def seeded(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def double(x) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


def distributions(*shape, seed=0, scale=2.0) -> torch.Tensor:
    return torch.softmax(scale * torch.randn(*shape, generator=seeded(seed), dtype=torch.float64), -1)


def drawn(p, seed=1) -> torch.Tensor:
    """Labels that have the probabilities that are predicted."""
    return torch.multinomial(p, 1, generator=seeded(seed))[:, 0]


# --- calibration -----------------------------------------------------------------------------------------------------
P = double([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.55, 0.45]])  # confidences 0.9, 0.8, 0.6, 0.55
Y = torch.tensor([0, 0, 0, 1])  # right, wrong, right, wrong


def test_two_bins_of_equal_counts():
    found = calibration(P, Y, bins=2)
    assert found.count.tolist() == [2, 2]
    assert_close(found.confidence, double([0.575, 0.85]))
    assert_close(found.accuracy, double([0.5, 0.5]))
    assert found.ece == pytest.approx(0.5 * 0.075 + 0.5 * 0.35)


def test_four_bins_of_equal_width():
    """Up to 0.75 two examples and above it two; the two bins below 0.5 are empty."""
    found = calibration(P, Y, bins=4, binning="equal-width")
    assert found.count.tolist() == [2, 2]
    assert_close(found.confidence, double([0.575, 0.85]))
    found = calibration(P, Y, bins=10, binning="equal-width")
    assert found.count.tolist() == [2, 1, 1]  # an upper end belongs to its bin: 0.6 is with 0.55
    assert_close(found.accuracy, double([0.5, 0.0, 1.0]))
    assert found.ece == pytest.approx((2 * 0.075 + 0.8 + 0.1) / 4)


def test_bins_that_cannot_be_filled():
    found = calibration(P, Y)
    assert found.count.tolist() == [1] * 4
    assert_close(found.confidence, double([0.55, 0.6, 0.8, 0.9]))
    assert found.ece == pytest.approx((0.55 + 0.4 + 0.8 + 0.1) / 4)
    p = distributions(47, 3)
    assert calibration(p, drawn(p)).count.tolist() == [3] * 7 + [2] * 13
    one = calibration(P, Y, bins=1)
    assert one.ece == pytest.approx(abs(0.5 - 0.7125)) and one.count.tolist() == [4]


@pytest.mark.parametrize("binning", ["equal-count", "equal-width"])
def test_certainty(binning):
    sure = torch.eye(3)[[0, 1, 2, 1]]
    assert calibration(sure, torch.tensor([0, 1, 2, 1]), binning=binning).ece == 0
    assert calibration(sure, torch.tensor([1, 2, 0, 0]), binning=binning).ece == 1


@pytest.mark.parametrize("binning", ["equal-count", "equal-width"])
def test_order_of_examples_and_classes_does_not_matter(binning):
    p = distributions(300, 4)
    y, order, classes = drawn(p), torch.randperm(300, generator=seeded(2)), torch.tensor([2, 0, 3, 1])
    before = calibration(p, y, binning=binning)
    for after in (
        calibration(p[order], y[order], binning=binning),
        calibration(p[:, classes], classes.argsort()[y], binning=binning),
    ):
        assert after.ece == pytest.approx(before.ece)
        for key in ("count", "confidence", "accuracy"):
            assert_close(getattr(after, key), getattr(before, key))


@pytest.mark.parametrize("binning", ["equal-count", "equal-width"])
def test_calibrated_predictions_have_a_small_error(binning):
    p = distributions(40_000, 5)
    y = drawn(p)
    assert calibration(p, y, binning=binning).ece < 0.015  # 20 bins of 2,000: about 0.8 x 0.5 / sqrt(2,000) by chance
    too_sure = p**3 / (p**3).sum(1, keepdim=True)
    assert calibration(too_sure, y, binning=binning).ece > 0.1


def test_single_precision_is_enough():
    p = distributions(200, 10)
    assert calibration(p.float(), drawn(p)).ece == pytest.approx(calibration(p, drawn(p)).ece, abs=1e-6)
    assert calibration(p.float(), drawn(p)).confidence.dtype == torch.float64


# --- classification --------------------------------------------------------------------------------------------------
def test_classification_by_hand():
    found = classification_metrics(P.log(), Y)
    assert found["accuracy"] == 0.5
    assert found["nll"] == pytest.approx(-math.log(0.9 * 0.2 * 0.6 * 0.45) / 4)
    assert found["ece"] == pytest.approx(calibration(P, Y).ece)
    assert classification_metrics(P.log(), Y, bins=2)["ece"] == pytest.approx(0.2125)


def test_samples_are_averaged_as_probabilities():
    """Their mean for the first example is 0.55, although its logarithms, averaged, are in favour of the other class."""
    logs = double([[[0.82, 0.18], [0.4, 0.6]], [[0.82, 0.18], [0.4, 0.6]], [[0.01, 0.99], [0.4, 0.6]]]).log()
    assert logs.mean(0).argmax(1).tolist() == [1, 1]
    found = classification_metrics(logs, torch.tensor([0, 1]))
    assert found["accuracy"] == 1
    assert found["nll"] == pytest.approx(-(math.log(0.55) + math.log(0.6)) / 2)
    assert found["ece"] == pytest.approx((0.45 + 0.4) / 2)


def test_order_of_samples_and_examples_does_not_matter():
    p = distributions(5, 100, 3)
    y = drawn(p.mean(0))
    order, samples = torch.randperm(100, generator=seeded(3)), torch.randperm(5, generator=seeded(4))
    before = classification_metrics(p.log(), y)
    assert classification_metrics(p.log()[samples][:, order], y[order]) == pytest.approx(before)
    assert classification_metrics(p.log().repeat(2, 1, 1), y) == pytest.approx(before)


def test_impossible_classes():
    logs = double([[[1.0, 0.0]], [[0.0, 1.0]]]).log()
    assert classification_metrics(logs, torch.tensor([1]))["nll"] == pytest.approx(math.log(2))
    assert classification_metrics(logs[0], torch.tensor([1]))["nll"] == math.inf


def test_chance():
    """Uniform predictions lose ln(classes) and are calibrated if the first class is as frequent as it should be."""
    found = classification_metrics(torch.full((10, 10), -math.log(10.0)), torch.arange(10), bins=1)
    assert found == pytest.approx({"accuracy": 0.1, "nll": math.log(10), "ece": 0.0}, abs=1e-6)


# --- regression ------------------------------------------------------------------------------------------------------
def test_regression_by_hand():
    means = double([[[1.0], [2.0]], [[3.0], [4.0]]])  # averages 2 and 3
    found = regression_metrics(means, double([[0.0], [4.0]]), double([[0.1, 0.2], [0.3, 0.4]]).log())
    assert found["rmse"] == pytest.approx(math.sqrt((4 + 1) / 2))
    assert found["nll"] == pytest.approx(-(math.log(0.2) + math.log(0.3)) / 2)


def test_several_outputs_and_units():
    means, y = (torch.randn(s, generator=seeded(), dtype=torch.float64) for s in ((4, 7, 3), (7, 3)))
    logs = torch.randn(4, 7, generator=seeded(1), dtype=torch.float64)
    found = regression_metrics(means, y, logs)
    assert found["rmse"] == pytest.approx(float(np.sqrt(((means.numpy().mean(0) - y.numpy()) ** 2).mean())))
    assert found["nll"] == pytest.approx(float(-np.log(np.exp(logs.numpy()).mean(0)).mean()))
    assert regression_metrics(100 * means, 100 * y, logs)["rmse"] == pytest.approx(100 * found["rmse"])


def test_densities_far_below_the_range_of_floats():
    logs = double([[-5000.0], [-5001.0]])
    want = 5000 - math.log((1 + math.exp(-1)) / 2)
    assert regression_metrics(torch.zeros(2, 1, 1), torch.zeros(1, 1), logs)["nll"] == pytest.approx(want)
    never = regression_metrics(torch.zeros(1, 1, 1), torch.zeros(1, 1), double([[-math.inf]]))
    assert never["nll"] == math.inf


def test_samples_of_a_mixture_give_its_density():
    """Means drawn from N(0, 1) and noise of sd 1/2 are one Gaussian of variance 5/4."""
    means = torch.randn(40_000, 1, 1, generator=seeded(), dtype=torch.float64).expand(-1, 3, 1)
    y = double([[-1.0], [0.0], [2.0]])
    logs = torch.distributions.Normal(means, 0.5).log_prob(y).sum(-1)
    want = -stats.norm.logpdf(y.numpy(), scale=math.sqrt(1.25)).mean()
    found = regression_metrics(means, y, logs)
    assert found["nll"] == pytest.approx(want, abs=0.02)
    assert found["rmse"] == pytest.approx(math.sqrt(5 / 3), abs=0.02)


# --- Student's t -----------------------------------------------------------------------------------------------------
def test_student_t_is_that_of_scipy():
    y, location = (3 * torch.randn(6, 2, generator=seeded(s), dtype=torch.float64) for s in (0, 1))
    for alpha in (0.3, 1.0, 7.5, 99.0, 101.0, 1e4):
        for beta in (0.02, 1.0, 500.0):
            want = stats.t.logpdf(y.numpy(), 2 * alpha, location.numpy(), math.sqrt(beta / alpha)).sum(-1)
            found = student_t_log_density(y, location, alpha, beta)
            assert found.shape == (6,)
            assert_close(found, torch.from_numpy(want), rtol=1e-9, atol=1e-9)


def test_student_t_becomes_a_gaussian():
    y = double([[-2.0, 0.5], [0.0, 30.0]])
    want = torch.from_numpy(stats.norm.logpdf(y.numpy(), 1.0, 0.5).sum(-1))
    assert_close(student_t_log_density(y, 1.0, 1e13, 0.25e13), want, rtol=1e-7, atol=1e-9)


def test_student_t_is_a_mixture_over_precisions():
    tau = torch.distributions.Gamma(double(3.0), double(2.0))
    torch.manual_seed(0)
    sd = tau.sample((200_000,)) ** -0.5
    for y in (-1.0, 0.3, 2.5):
        mean = torch.logsumexp(torch.distributions.Normal(0.5, sd).log_prob(double(y)), 0) - math.log(len(sd))
        assert student_t_log_density(double([y]), 0.5, 3.0, 2.0).item() == pytest.approx(mean.item(), abs=0.01)


def test_student_t_broadcasts_and_has_gradients():
    y = torch.randn(5, 1, 3, generator=seeded(), dtype=torch.float64)
    alpha, beta = double([2.0, 50.0, 300.0]).requires_grad_(), double(1.5).requires_grad_()
    location = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    found = student_t_log_density(y, location, alpha, beta)
    assert found.shape == (5, 4)
    assert torch.autograd.gradcheck(lambda *a: student_t_log_density(y, *a), (location, alpha, beta))
    assert student_t_log_density(torch.zeros(3), 0.0, 1.0, 1.0).dtype == torch.float64


# --- sparsity --------------------------------------------------------------------------------------------------------
def test_sparsity_by_hand():
    alive = {
        "fc1.weight": torch.tensor([[True, False], [False, False], [False, True]]),
        "fc1.bias": torch.tensor([True, True, False]),
        "fc2.weight": torch.ones(1, 3, dtype=torch.bool),
    }
    assert sparsity_by_layer(alive) == pytest.approx({"fc1.weight": 2 / 3, "fc1.bias": 1 / 3, "fc2.weight": 0.0})
    assert sparsity(alive) == pytest.approx(5 / 12)
    assert sparsity_by_layer({}) == {}


def test_structures_that_are_empty():
    linear = torch.tensor([[True, False, False], [False, False, False], [True, False, True], [False, False, False]])
    conv = torch.zeros(3, 2, 2, 2, dtype=torch.bool)
    conv[0, 1, 0, 1] = conv[2, 1, 1, 1] = True
    found = removable_structures({"fc": linear, "fc.bias": torch.ones(4, dtype=torch.bool), "conv": conv})
    assert found == {
        "fc": {"rows": 2, "columns": 1, "n_rows": 4, "n_columns": 3},
        "conv": {"rows": 1, "columns": 1, "n_rows": 3, "n_columns": 2},
    }


def test_whole_and_empty_layers():
    shapes = {"fc": (4, 3), "conv": (5, 2, 3, 3)}
    for value in (True, False):
        found = removable_structures({name: torch.full(shape, value) for name, shape in shapes.items()})
        for name, (n, m, *_) in shapes.items():
            assert found[name] == {"rows": 0 if value else n, "columns": 0 if value else m, "n_rows": n, "n_columns": m}


# --- what is refused -------------------------------------------------------------------------------------------------
ZEROS = torch.zeros(2, 3, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: calibration(P[0], Y), r"probabilities must have shape \(n, classes\), without a 0; got \(2,\)"),
        (lambda: calibration(P[:0], Y[:0]), r"probabilities must have shape \(n, classes\), without a 0; got \(0, 2\)"),
        (lambda: calibration(P, Y[:3]), r"labels must have shape \(4,\), one for each example; got \(3,\)"),
        (lambda: calibration(P, Y + 1), "labels must lie in 0..1; got 2"),
        (lambda: calibration(P, Y - 1), "labels must lie in 0..1; got -1"),
        (lambda: calibration(P, Y, bins=0), "bins must be a whole number >= 1; got 0"),
        (lambda: calibration(P, Y, bins=2.0), "bins must be a whole number >= 1; got 2.0"),
        (lambda: calibration(P, Y, binning="none"), r"binning must be one of \['equal-count', 'equal-width'\]; got 'none'"),
        (lambda: calibration(P * math.nan, Y), "probabilities must be finite; got nan"),
        (lambda: calibration(P * 1.001, Y), "probabilities must sum to 1 over classes; one sum is 1.001"),
        (lambda: calibration(P + double([0.5, -0.5]), Y), "probabilities must be >= 0; least value -0.4"),
        (lambda: classification_metrics(P.log()[0], Y), r"log_probabilities must have shape .*; got \(2,\)"),
        (lambda: classification_metrics(P, Y), "exponentials of log_probabilities must sum to 1 over classes; one sum is 3"),
        (lambda: classification_metrics(P.log(), Y[:2]), r"labels must have shape \(4,\), one for each example; got \(2,\)"),
        (lambda: classification_metrics(P.log() * math.nan, Y), "log_probabilities must be finite; got nan"),
        (lambda: regression_metrics(ZEROS[0], ZEROS[0], ZEROS[0]), r"means must have shape .*; got \(3, 1\)"),
        (lambda: regression_metrics(ZEROS, ZEROS[0, :, 0], ZEROS[..., 0]), r"y must have shape \(3, 1\), .*; got \(3,\)"),
        (lambda: regression_metrics(ZEROS, ZEROS[0], ZEROS), r"log_densities must have shape \(2, 3\), .*; got \(2, 3, 1\)"),
        (lambda: regression_metrics(ZEROS, ZEROS[0] + math.inf, ZEROS[..., 0]), "y must be finite; got inf"),
        (lambda: regression_metrics(ZEROS * math.nan, ZEROS[0], ZEROS[..., 0]), "means must be finite; got nan"),
        (
            lambda: regression_metrics(ZEROS, ZEROS[0], ZEROS[..., 0] + math.inf),
            "log_densities must be finite or -inf; got inf",
        ),
        (lambda: student_t_log_density(ZEROS, 0.0, 0.0, 1.0), "alpha must be > 0; least value 0"),
        (lambda: student_t_log_density(ZEROS, 0.0, 1.0, -2.0), "beta must be > 0; least value -2"),
        (lambda: student_t_log_density(ZEROS, math.nan, 1.0, 1.0), "location must be finite; got nan"),
        (lambda: student_t_log_density(ZEROS, torch.zeros(2, 1), 1.0, 1.0), "shapes of y, .* must broadcast; got .*2, 1"),
        (lambda: student_t_log_density(0.0, 0.0, 1.0, 1.0), "must have a last axis of outputs; got"),
        (lambda: sparsity({}), "alive must hold at least one mask; got none"),
        (lambda: sparsity({"a": torch.ones(0, dtype=torch.bool)}), r"alive\['a'\] must not be empty; got shape \(0,\)"),
    ],
)
def test_wrong_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: calibration(P, Y.float()), "labels must be whole numbers; got torch.float32"),
        (lambda: classification_metrics(P.log(), Y.bool()), "labels must be whole numbers; got torch.bool"),
        (lambda: sparsity_by_layer({"a": torch.ones(2)}), r"alive\['a'\] must be a bool tensor; got torch.float32"),
        (lambda: removable_structures({"a": [[True]]}), r"alive\['a'\] must be a bool tensor; got list"),
    ],
)
def test_wrong_types(make, message):
    with pytest.raises(TypeError, match=message):
        make()
