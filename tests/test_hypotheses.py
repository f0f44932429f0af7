"""`HypothesisSpace` and the generator of context rules."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from worlds import lamp_rules, random_space, random_world, two_rooms

from activebmr import POMDP, Agent, ColumnTable, HypothesisSpace, context_rules
from paradigms import three_ball

SURE, UNSURE = np.array([[2.0, 0.0], [0.0, 2.0]]), np.array([[1.0, 1.0], [1.0, 1.0]])


def simple(**options) -> HypothesisSpace:
    return HypothesisSpace({"sure": {"pA[0]": SURE}, "unsure": {"pA[0]": UNSURE}}, **options)


# --- storage -------------------------------------------------------------------------------------------------------------
@given(st.integers(0, 10**6))
def test_columns_hold_what_was_given(seed):
    model = random_world(seed)
    rng = np.random.default_rng(seed)
    m = model.learned_modalities[0]
    pool = [np.asarray(model.pA[m]) * scale for scale in (1.0, 2.0)]
    given_ = [np.where(rng.random(pool[0].shape[1:]) < 0.5, *pool) for _ in range(3)]
    space = HypothesisSpace({str(i): {m: g} for i, g in enumerate(given_)})
    for i, dense in enumerate(given_):
        assert_array_equal(space.dense(i, m), dense)
        assert_array_equal(space.dense(str(i), m), dense)
    weights = rng.dirichlet(np.ones(3))
    assert_allclose(space.average(m, weights), sum(w * g for w, g in zip(weights, given_, strict=True)), rtol=1e-12)
    assert_allclose(space.average(m, total=3.0).sum(), 3.0)
    space.check_against(model)


def test_a_space_stores_each_column_once():
    rules = three_ball.rules()
    assert rules.tables[2].columns.shape == (3, 3)
    assert rules.tables[2].assignment.shape == (81, 432)
    dense = HypothesisSpace({n: {2: rules.dense(n, 2)} for n in rules.names}, descriptions=rules.descriptions)
    assert dense.tables[2].columns.shape == (3, 3)
    for j in range(81):
        assert_array_equal(dense.dense(j, 2), rules.dense(j, 2))


def test_names_prior_and_descriptions():
    space = simple(prior=[3, 1], descriptions=["it is sure", "it is not"])
    assert len(space) == 2
    assert space.names == ("sure", "unsure")
    assert space.descriptions == ("it is sure", "it is not")
    assert_array_equal(space.prior, [0.75, 0.25])
    assert simple().descriptions == ("sure", "unsure")
    assert repr(simple()) == "HypothesisSpace(2 hypotheses about modalities [0]; 2 distinct)"


def test_hypotheses_that_agree_everywhere_are_merged():
    space = HypothesisSpace(
        {n: {"pA[0]": x} for n, x in (("a", SURE), ("b", UNSURE), ("c", SURE), ("d", SURE))}, prior=[0.1, 0.4, 0.2, 0.3]
    )
    first, which = space.distinct()
    assert_array_equal(first, [0, 1])
    assert_array_equal(which, [0, 1, 0, 0])
    merged = space.merged()
    assert merged.names == ("a", "b")
    assert_allclose(merged.prior, [0.6, 0.4])
    assert_array_equal(merged.dense("a", 0), SURE)
    assert merged.merged().names == merged.names


def test_hypotheses_must_agree_about_every_modality_to_be_merged():
    pairs = (("a", SURE, SURE), ("b", SURE, UNSURE), ("c", SURE, SURE))
    space = HypothesisSpace({n: {"pA[0]": x, "pA[2]": y} for n, x, y in pairs})
    assert_array_equal(space.distinct()[1], [0, 1, 0])
    merged = space.merged()
    assert_array_equal(merged.dense("b", 2), UNSURE)
    assert_array_equal(merged.dense("a", 2), SURE)


@pytest.mark.parametrize("size", [1e-300, 1e-13, 1.0, 1e15])
def test_columns_are_told_apart_by_their_ratios_whatever_their_size(size):
    """1e-13 and 1e-15 are two numbers; a few units in the last place are none, nor are both zero."""
    point, other, flat = size * np.array([[1.0, 0.01], [0.01, 1.0], [0.01, 0.01]])[:, :, None]
    space = HypothesisSpace({"point": {0: point}, "other": {0: other}, "flat": {0: flat}, "again": {0: point * (1 + 4e-16)}})
    assert_array_equal(space.distinct()[1], [0, 1, 2, 0])
    assert_array_equal(space.dense("again", 0), point)
    third = np.full((3, 1), size / 3)
    up = np.nextafter(third, np.inf)
    assert len(HypothesisSpace({"third": {0: third}, "up": {0: up}, "up and down": {0: np.nextafter(third, 0)}}).merged()) == 1
    zero = third.copy()
    zero[0] = 0.0
    assert len(HypothesisSpace({"third": {0: third}, "zero": {0: zero}}).merged()) == 2


@given(st.integers(0, 10**6))
def test_rounding_never_splits_and_never_joins(seed):
    rng = np.random.default_rng(seed)
    pool = 10.0 ** rng.uniform(-20, 10, size=(3, 4, 2)) * (rng.random((3, 4, 2)) < 0.8) + [[1e-22], [0], [0], [0]]
    noisy = [p * (1 + rng.integers(-2, 3, size=p.shape) * 2.0**-52) for p in pool]
    given_ = [*pool, *noisy]
    space = HypothesisSpace({str(i): {0: g} for i, g in enumerate(given_)})
    assert_array_equal(space.distinct()[1], [0, 1, 2, 0, 1, 2])


def test_distinct_pairs_of_state_and_column():
    table = three_ball.rules().tables[2]
    state, column, pair = table.placed
    assert len(set(zip(state, column, strict=True))) == len(state)
    assert_array_equal(state[pair], np.broadcast_to(np.arange(432), (81, 432)))
    assert_array_equal(column[pair], table.assignment)


# --- modalities by name --------------------------------------------------------------------------------------------------
def test_modalities_may_be_named():
    model = two_rooms()
    by_index, light = lamp_rules(model), lamp_rules(model).dense
    named = HypothesisSpace({n: {"pA[light]": light(n, 1)} for n in by_index.names}, prior=[1, 3], descriptions=["l", "b"])
    assert list(named.tables) == ["light"]
    assert_array_equal(named.dense("both", "light"), light("both", 1))
    found = named.resolved(model)
    assert list(found.tables) == [1] and found.names == named.names and found.descriptions == ("l", "b")
    assert_array_equal(found.prior, [0.25, 0.75])
    assert_array_equal(found.dense("both", 1), light("both", 1))
    assert found.resolved(model) is found and by_index.resolved(model) is by_index
    named.check_against(model)
    with pytest.raises(ValueError, match=r"modality must be one of \['place', 'light'\]; got 'sound'"):
        HypothesisSpace({n: {"pA[sound]": light(n, 1)} for n in by_index.names}).resolved(model)


def test_several_modalities_named_and_numbered():
    space = HypothesisSpace({n: {"pA[light]": x, 0: x} for n, x in (("sure", SURE), ("unsure", UNSURE))})
    assert list(space.tables) == [0, "light"]
    model = two_rooms(A=[None, None], pA=[np.ones((2, 2)), two_rooms().pA[1]])
    assert list(space.resolved(model).tables) == [0, 1]
    twice = HypothesisSpace({n: {"pA[place]": x, 0: x} for n, x in (("sure", SURE), ("unsure", UNSURE))})
    with pytest.raises(ValueError, match="keys of a hypothesis must name different modalities; 0 and 'place' are one"):
        twice.resolved(model)


def test_a_space_shows_itself_in_a_few_words():
    wide = {n: {f"pA[modality number {m}]": x for m in range(40)} for n, x in (("sure", SURE), ("unsure", UNSURE))}
    assert repr(HypothesisSpace(wide)) == "HypothesisSpace(2 hypotheses about modalities [40 of them]; 2 distinct)"
    assert repr(three_ball.rules()) == "HypothesisSpace(81 hypotheses about modalities [2]; 75 distinct)"


# --- bad input -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "hypotheses, options, message",
    [
        ({"a": {0: SURE}}, {}, "hypotheses must name at least 2 models; got 1"),
        ({"a": {}, "b": {}}, {}, r"hypotheses\['a'\] must give the counts or values of at least one table; got none"),
        (
            {"a": {0: SURE}, "b": {1: SURE}},
            {},
            r"hypotheses\['b'\] must speak about the tables \['A\[0\]'\] like 'a'; got \['A\[1\]'\]",
        ),
        (
            {"a": {0: SURE}, "b": {0: np.ones((2, 3))}},
            {},
            r"hypotheses\['b'\] must give A\[0\] the shape \(2, 2\) like 'a'; got \(2, 3\)",
        ),
        (
            {"a": {"A": SURE}, "b": {"A": SURE}},
            {},
            r"keys of a hypothesis must be names of tables like 'pA\[m\]', .* m >= 0 of a modality; got 'A'",
        ),
        (
            {"a": {-1: SURE}, "b": {-1: SURE}},
            {},
            r"keys of a hypothesis must be names of tables .* m >= 0 of a modality; got -1",
        ),
        ({"a": {"pA[-1]": SURE}, "b": {"pA[-1]": SURE}}, {}, r"m >= 0 of a modality; got 'pA\[-1\]'"),
        ({"a": {0.0: SURE}, "b": {0.0: SURE}}, {}, r"keys of a hypothesis must be names of tables .* of a modality; got 0.0"),
        ({"a": {True: SURE}, "b": {True: SURE}}, {}, r"names of tables .* of a modality; got True"),
        (
            {"a": {0: SURE}, "b": {0: UNSURE, "pA[0]": SURE}},
            {},
            r"hypotheses\['b'\] must give each table once; got \[0, 'pA\[0\]'\]",
        ),
        ({"a": {0: SURE}, "b": {0: np.ma.array(SURE, mask=SURE == 0)}}, {}, r"hypotheses\['b'\]\[0\] must not be masked"),
        ({"a": {0: SURE}, "b": {0: -SURE}}, {}, r"hypotheses\['b'\]\[0\] must not be negative; entry \(0, 0\) is -2"),
        ({"a": {0: SURE}, "b": {0: SURE * np.nan}}, {}, r"hypotheses\['b'\]\[0\] must be finite; got nan"),
        (
            {"a": {0: SURE}, "b": {0: [[1.0, 0.0], [1.0, 0.0]]}},
            {},
            "every column of a hypothesis about modality 0 must hold some",
        ),
        (
            {"a": {0: SURE}, "b": {0: UNSURE}},
            {"prior": [1.0]},
            r"prior must hold 2 positive numbers, one per hypothesis; got \[1.0\]",
        ),
        ({"a": {0: SURE}, "b": {0: UNSURE}}, {"prior": [1.0, 0.0]}, "prior must hold 2 positive numbers"),
        ({"a": {0: SURE}, "b": {0: UNSURE}}, {"prior": [1.0, np.inf]}, "prior must hold 2 positive numbers"),
        (
            {"a": {0: SURE}, "b": {0: UNSURE}},
            {"descriptions": ["one"]},
            "descriptions must hold 2 sentences, one per hypothesis; got 1",
        ),
    ],
)
def test_bad_hypotheses_are_named(hypotheses, options, message):
    with pytest.raises(ValueError, match=message):
        HypothesisSpace(hypotheses, **options)


def test_bad_columns_are_named():
    with pytest.raises(ValueError, match=r"assignment of ColumnTable must have shape \(n_hypotheses, 2\).*got \(2, 3\)"):
        ColumnTable(np.eye(2), np.zeros((2, 3), dtype=np.intp), (2, 2))
    three = ColumnTable(np.eye(2), np.zeros((3, 2), dtype=np.intp), (2, 2))
    with pytest.raises(ValueError, match=r"assignment of modality 0 must have shape \(2, 2\), .*names.*; got \(3, 2\)"):
        HypothesisSpace.from_columns(["a", "b"], {0: three})
    fine = ColumnTable(np.eye(2), np.zeros((2, 2), dtype=np.intp), (2, 2))
    with pytest.raises(ValueError, match="names of hypotheses must differ; 'a' stands twice"):
        HypothesisSpace.from_columns(["a", "a"], {0: fine})
    with pytest.raises(ValueError, match="modalities of a HypothesisSpace must be at least 0; got -1"):
        HypothesisSpace.from_columns(["a", "b"], {-1: fine})
    with pytest.raises(ValueError, match=r"assignment of ColumnTable must lie in 0\.\.1; got 2"):
        ColumnTable(np.eye(2), np.full((2, 2), 2), (2, 2))
    with pytest.raises(ValueError, match="columns of ColumnTable must be a finite number >= 0; got nan"):
        ColumnTable(np.eye(2) * np.nan, fine.assignment, (2, 2))


@pytest.mark.parametrize(
    "hypotheses, message",
    [
        ({"a": {0: SURE}, "b": {0: UNSURE}}, r"hypotheses speak about modality 0, but pA\[0\] of the model is None"),
        ({"a": {5: SURE}, "b": {5: UNSURE}}, r"hypotheses speak about modality 5, but pA\[5\] of the model is None"),
        (
            {"a": {1: SURE}, "b": {1: UNSURE}},
            r"hypotheses about modality 1 must have the shape of pA\[1\], \(3, 2, 2\); got \(2, 2\)",
        ),
        (
            {"a": {1: two_rooms().pA[1]}, "b": {1: np.full((3, 2, 2), 0.5)}},
            r"hypothesis 'b' gives 0.5 counts to pA\[1\]\[2, 1, 0\], a structural zero of the model's prior: a reduced",
        ),
    ],
)
def test_hypotheses_must_be_reductions_of_the_model(hypotheses, message):
    with pytest.raises(ValueError, match=message):
        HypothesisSpace(hypotheses).check_against(two_rooms())


def test_unknown_names_are_named():
    with pytest.raises(ValueError, match="nobody"):
        simple().dense("nobody", 0)


# --- context rules -------------------------------------------------------------------------------------------------------
def ball_world(n: int, answers: int | None = None) -> POMDP:
    """n balls of n colours, an answer (and "none yet"), and feedback that depends on them; as small as it can be said."""
    sizes = [n] * n + [answers if answers is not None else n + 1]
    balls = [f"ball {chr(97 + i)}" for i in range(n)]
    return POMDP(
        A=[np.full((3, *sizes), 1 / 3)],
        B=[np.eye(k)[:, :, None] for k in sizes],
        labels={
            "factor": [*balls, "answer"],
            "modality": ["verdict"],
            "states": {b: [f"c{i}" for i in range(n)] for b in balls},
            "outcomes": {"verdict": ["silence", "good", "bad"]},
        },
    )


def rules_of(model: POMDP, **options) -> HypothesisSpace:
    objects = [n for n in model.labels["factor"] if n != "answer"]
    held = {"objects": objects, "answer": "answer", "null": "silence", "right": "good", "wrong": "bad"}
    return context_rules(model, "verdict", **(held | options))


@pytest.mark.parametrize("n, count, distinct", [(3, 81, 75), (4, 1024, 1012)])
def test_number_of_rules(n, count, distinct):
    """n contexts x n^n criteria; the n rules with one criterion for all colours are the same for every context."""
    rules = rules_of(ball_world(n))
    assert len(rules) == len(set(rules.names)) == count == n * n**n
    assert len(rules.distinct()[0]) == len(rules.merged()) == distinct == count - n * (n - 1)
    assert rules.tables[0].columns.shape == (3, 3)
    merged = rules.merged()
    assert_allclose(merged.prior.sum(), 1.0)
    assert_allclose(np.sort(merged.prior)[-n:], n / count)  # the merged ones carry the prior of all that they were
    assert_allclose(np.sort(merged.prior)[:-n], 1 / count)


def test_two_balls_leave_four_rules():
    """ "The first", "the second", "both must be c1" and "either": each can be said in two ways with 2 colours."""
    assert_allclose(rules_of(ball_world(2)).merged().prior, [0.25] * 4)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_rules_say_what_their_names_say(n):
    """Every rule (for 4 balls, some) read back from its name and applied to all states by hand."""
    model = ball_world(n)
    rules = rules_of(model, concentration=2.5)
    balls = model.labels["factor"][:n]
    chosen = range(len(rules)) if n < 4 else np.random.default_rng(0).integers(len(rules), size=12)
    for j in chosen:
        context, criteria = rules.names[j][:-1].split("(")
        criteria = criteria.split(", ")
        table = rules.dense(j, 0)
        for *colours, answer in product(*(range(k) for k in model.num_states)):
            criterion = criteria[colours[balls.index(context)]]
            right = answer == colours[balls.index(criterion)]
            outcome = 0 if answer >= n else (1 if right else 2)
            assert_array_equal(table[(slice(None), *colours, answer)], 2.5 * np.eye(3)[outcome])


def test_rules_are_ordered_with_the_context_fastest():
    assert rules_of(ball_world(2)).names == (
        "ball a(ball a, ball a)",
        "ball b(ball a, ball a)",
        "ball a(ball b, ball a)",
        "ball b(ball b, ball a)",
        "ball a(ball a, ball b)",
        "ball b(ball a, ball b)",
        "ball a(ball b, ball b)",
        "ball b(ball b, ball b)",
    )


def test_sentences():
    model = ball_world(2)
    assert rules_of(model).descriptions[3] == "the colour of ball b says whose colour is right: c0: ball b, c1: ball a"
    mine = rules_of(model, sentence="look at {context} ({cases})")
    assert mine.descriptions[3] == "look at ball b (c0: ball b, c1: ball a)"


def test_outcomes_and_factors_may_be_given_by_index():
    model = ball_world(2)
    by_index = context_rules(model, 0, objects=[0, 1], answer=2, null=0, right=1, wrong=2)
    assert by_index.names == rules_of(model).names
    for j in range(8):
        assert_array_equal(by_index.dense(j, 0), rules_of(model).dense(j, 0))
    swapped = rules_of(model, right="bad", wrong="good")
    assert_array_equal(swapped.dense(3, 0), rules_of(model).dense(3, 0)[[0, 2, 1]])


def test_an_answer_need_not_have_a_state_for_none():
    rules = rules_of(ball_world(2, answers=2))
    assert (rules.dense(0, 0)[0] == 0).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"null": "nothing"}, r"null must be an outcome of verdict, one of \['silence', 'good', 'bad'\]; got 'nothing'"),
        ({"right": 3}, "right must be an outcome of verdict"),
        ({"wrong": -1}, "wrong must be an outcome of verdict"),
        ({"objects": ["ball a", "answer"]}, r"objects must be factors with equally many states; got \[2, 3\]"),
        ({"objects": []}, r"objects must be factors with equally many states; got \[\]"),
        ({"objects": ["ball z"]}, "factor must be one of"),
        ({"answer": "reply"}, "factor must be one of"),
        ({"concentration": 0.0}, "concentration must be a finite number > 0; got 0"),
        ({"concentration": -1.0}, "concentration must be a finite number > 0; got -1"),
    ],
)
def test_bad_arguments_of_rules_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        rules_of(ball_world(2), **options)


def test_feedback_must_depend_on_what_rules_speak_about():
    world = three_ball.world_model()
    arguments = {"objects": three_ball.BALLS, "answer": "choice"}
    with pytest.raises(ValueError, match=r"what must depend on every object and the answer; it does not on \['choice'\]"):
        context_rules(world, "what", **arguments)
    with pytest.raises(ValueError, match="answer must have a state for each of the 3 values; it has 2"):
        rules_of(
            POMDP(A=[np.full((3, 3, 3, 2), 1 / 3)], B=[np.eye(k)[:, :, None] for k in (3, 3, 2)], labels=LABELS),
            objects=["a", "b"],
        )


LABELS = {"factor": ["a", "b", "answer"], "modality": ["verdict"], "outcomes": {"verdict": ["silence", "good", "bad"]}}


def test_random_spaces_fit_their_models():
    for seed in range(20):
        model = random_world(seed)
        random_space(seed, model).check_against(model)


def test_columns_that_differ_by_rounding_alone_say_the_same():
    """0.1 + 0.2 is not 0.3 to a computer: no evidence may come of that."""
    one, two = np.array([[0.3], [1.0], [2.0]]), np.array([[0.1 + 0.2], [2.0], [1.0]])
    model = POMDP(A=[None], B=[np.ones((1, 1, 1))], pA=[np.ones((3, 1))])
    space = HypothesisSpace({"one": {0: one}, "two": {0: two}, "again": {0: one * (1 + 1e-15)}})
    assert len(space.distinct()[0]) == 2
    agent = Agent(model, space)
    state = agent.init(1)
    for _ in range(4):
        state, _ = agent.step(state, np.array([[0]]), action=np.array([[0]]))
    posterior = agent.end_trial(agent.step(state, np.array([[0]]), action=np.array([[0]]))[0])[1].model_posterior[0]
    assert_allclose(posterior, 1 / 3, rtol=1e-9)
