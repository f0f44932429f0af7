"""The world that is made from a model."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from worlds import lamp_rules, random_world, two_rooms

from activebmr import ModelProcess
from paradigms import three_ball


def grid(n: int, width: int, rng) -> np.ndarray:
    """Uniform numbers that fill [0, 1) evenly in every column, so that frequencies are probabilities up to 1/n."""
    return np.stack([(rng.permutation(n) + 0.5) / n for _ in range(width)], axis=1)


@pytest.mark.parametrize("seed", range(8))
def test_frequencies_are_the_models_probabilities(seed, rng):
    """Initial states, transitions (which may depend on other factors) and outcomes, each given what it depends on."""
    model, n = random_world(seed), 20000
    world = ModelProcess(model)
    assert world.n_uniforms == model.num_factors + model.num_modalities
    old, outcomes = world.reset(grid(n, world.n_uniforms, rng))
    for f, d in enumerate(model.D):
        assert_allclose(np.bincount(old[:, f], minlength=len(d)) / n, d, atol=1.5 / n)
    controls = np.stack([rng.integers(k, size=n) for k in model.num_controls], axis=1)
    new, after = world.step(controls, rng.random((n, world.n_uniforms)))
    for f, b in enumerate(model.B):
        check_columns(b, [*(old[:, d] for d in model.B_dependencies[f]), controls[:, f]], new[:, f])
    for m, a in enumerate(model.A):
        check_columns(a, [old[:, f] for f in model.A_dependencies[m]], outcomes[:, m])
        check_columns(a, [new[:, f] for f in model.A_dependencies[m]], after[:, m])


def check_columns(table, given, drawn):
    """Of all that was drawn in a column of a table, the shares lie within 5 standard errors of its probabilities."""
    for at in np.ndindex(*table.shape[1:]):
        here = np.all([g == i for g, i in zip(given, at, strict=True)], axis=0)
        if here.sum() < 50:
            continue
        p = table[(slice(None), *at)]
        share = np.bincount(drawn[here], minlength=len(p)) / here.sum()
        assert (np.abs(share - p) <= 5 * np.sqrt(p * (1 - p) / here.sum()) + 1e-12).all()


def test_the_same_uniforms_make_the_same_world(rng):
    model = random_world(3)
    uniforms, controls = rng.random((2, 5, len(model.B) + len(model.A))), np.zeros((5, model.num_factors), dtype=int)
    lives = []
    for _ in range(2):
        world = ModelProcess(model)
        lives.append([*world.reset(uniforms[0]), *world.step(controls, uniforms[1])])
    for one, two in zip(*lives, strict=True):
        assert_array_equal(one, two)


def test_each_agent_has_its_own_truth():
    model, space = two_rooms(), lamp_rules()
    world = ModelProcess(model, space, np.array([0, 1, 1, 0]))
    tables = world.likelihood(1)
    for k, truth in enumerate([0, 1, 1, 0]):
        dense = space.dense(truth, 1)
        assert_allclose(tables[k].T.reshape(dense.shape), dense / dense.sum(axis=0))
    n = 4000
    many = ModelProcess(model, space, np.arange(n) % 2)
    many.reset(np.random.default_rng(0).random((n, 4)))
    states, outcomes = many.step(np.array([[1, 0]] * n), np.random.default_rng(1).random((n, 4)))
    assert (states[:, 0] == 1).all()
    right = outcomes[:, 1] == states[:, 1]
    assert right[1::2].all()  # "both": in the right room too one sees the lamp
    assert abs(right[::2].mean() - 0.5) < 0.06  # "left": there one sees anything


def test_what_no_hypothesis_speaks_about_is_the_models(rng):
    world = ModelProcess(three_ball.world_model(), three_ball.rules(), np.array([64, 3]))
    assert_array_equal(world.likelihood(1)[0], np.eye(4))
    assert world.likelihood(2).shape == (2, 432, 3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((lamp_rules(), None), "hypotheses and truth must be given together, or neither of them"),
        ((None, np.array([0])), "hypotheses and truth must be given together, or neither of them"),
        ((lamp_rules(), np.array([0, 2])), r"truth must lie in 0\.\.1; got 2"),
        ((lamp_rules(), np.array([-1])), r"truth must lie in 0\.\.1; got -1"),
        ((lamp_rules(), np.array(1)), r"truth must hold an index in 0\.\.1 for each agent; got 1"),
    ],
)
def test_bad_truths_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ModelProcess(two_rooms(), *arguments)
