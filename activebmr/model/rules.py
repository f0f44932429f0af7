"""Generators of hypothesis spaces: all rules of a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from activebmr import checks
from activebmr.model.hypotheses import ColumnTable, HypothesisSpace, checked_concentration
from activebmr.model.pomdp import POMDP
from activebmr.model.probabilities import columns

__all__ = ["context_rules", "depends", "frozen", "reachable_rules"]


def _callable(value: Any, name: str) -> Any:
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"{name} must be a function; got {checks.brief(value)}")
    return value


@checks.checked(
    model=checks.an(POMDP), objects=checks.sequence, concentration=checks.real(checks.POSITIVE), sentence=checks.text
)
def context_rules(
    model: POMDP,
    feedback: str | int,
    *,
    objects: Sequence[str | int],
    answer: str | int,
    null: str | int = 0,
    right: str | int = 1,
    wrong: str | int = 2,
    concentration: float = 1.0,
    sentence: str = "the colour of {context} says whose colour is right: {cases}",
) -> HypothesisSpace:
    """All rules of the kind "the colour of <context> says which object's colour is right" (Friston et al. 2025, eq. 14).

    Each rule picks one object as the context and, for every value that it can have, one object as the criterion; an answer is
    right if it equals the criterion's value. For n objects of k values there are ``n * n**k`` rules; some agree everywhere.

    Args:
        model: gives sizes, dependencies and the labels that the names and sentences are made of.
        feedback: modality (name or index) that says whether an answer was right.
        objects: the factors (names or indices) that can be context or criterion; all with the same number of values.
        answer: the factor that holds the answer. Its first values are those of the objects; any further state is "no answer".
        null, right, wrong: outcomes (names or indices) of the feedback when nothing was answered, and for right and wrong
            answers.
        concentration: Dirichlet counts that a rule puts on the outcome it predicts.
        sentence: format of the description, with ``{context}`` and ``{cases}``.

    Returns:
        a space whose rules are ordered with the context fastest, then the criterion of the first value, stored as its
        (at most three) distinct columns.

    Example:
        >>> model = three_ball.world_model(2, 2)
        >>> rules = context_rules(model, "feedback", objects=["ball 1", "ball 2"], answer="choice")
        >>> print(rules.descriptions[0])
        the colour of ball 1 says whose colour is right: red: ball 1, green: ball 1
    """
    m = model.modality(feedback)
    deps = model.A_dependencies[m]
    outcomes = model.labels["outcomes"][model.labels["modality"][m]]
    null_, right_, wrong_ = (outcomes.index(x) if isinstance(x, str) and x in outcomes else x for x in (null, right, wrong))
    for name, value in (("null", null_), ("right", right_), ("wrong", wrong_)):
        if not checks.is_whole(value) or not 0 <= value < len(outcomes):
            raise ValueError(f"{name} must be an outcome of {model.labels['modality'][m]}, one of {outcomes}; got {value!r}")
    if len({int(null_), int(right_), int(wrong_)}) != 3:
        raise ValueError(f"null, right and wrong must be three different outcomes; got {null!r}, {right!r} and {wrong!r}")
    factors = [model.factor(o) for o in objects]
    sizes = {model.num_states[f] for f in factors}
    if len(factors) < 1 or len(sizes) != 1:
        raise ValueError(f"objects must be factors with equally many states; got {[model.num_states[f] for f in factors]}")
    k = sizes.pop()
    answer_factor = model.factor(answer)
    missing = [model.labels["factor"][f] for f in (*factors, answer_factor) if f not in deps]
    if missing:
        raise ValueError(f"{model.labels['modality'][m]} must depend on every object and the answer; it does not on {missing}")
    if model.num_states[answer_factor] < k:
        raise ValueError(f"answer must have a state for each of the {k} values; it has {model.num_states[answer_factor]}")

    grid = np.indices([model.num_states[f] for f in deps]).reshape(len(deps), -1)
    value = np.stack([grid[deps.index(f)] for f in factors])  # (objects, states)
    said = grid[deps.index(answer_factor)]
    cases_of = np.eye(len(outcomes))[[int(null_), int(right_), int(wrong_)]] * checked_concentration(concentration)
    names, descriptions, assignment = [], [], []
    labels = [model.labels["factor"][f] for f in factors]
    values = model.labels["states"][labels[0]]
    for reverse in product(range(len(factors)), repeat=k):
        criteria = reverse[::-1]
        for context in range(len(factors)):
            criterion = np.asarray(criteria)[value[context]]
            correct = np.take_along_axis(value, criterion[None], axis=0)[0] == said
            assignment.append(np.where(said >= k, 0, np.where(correct, 1, 2)))
            cases = ", ".join(f"{v}: {labels[c]}" for v, c in zip(values, criteria, strict=False))
            names.append(f"{labels[context]}({', '.join(labels[c] for c in criteria)})")
            descriptions.append(sentence.format(context=labels[context], cases=cases))
    table = ColumnTable(cases_of, np.array(assignment, dtype=np.intp), model.A[m].shape)
    return HypothesisSpace.from_columns(names, {m: table}, descriptions=descriptions)


@checks.checked(model=checks.an(POMDP), moves=checks.mapping, sentence=checks.text)
def reachable_rules(
    model: POMDP,
    factor: str | int,
    moves: Mapping[str, Sequence[tuple[Any, Any]]],
    *,
    concentration: float | None = None,
    sentence: str = "{name}: {cases}",
) -> HypothesisSpace:
    """Hypotheses about which moves exist: each says where the controls of a factor lead, and that all others stay where they
    are.

    Args:
        model: gives sizes and labels; the factor's transitions must depend on the factor alone.
        factor: the factor (name or index) that moves.
        moves: from the name of each hypothesis to the moves that exist, as pairs ``((state, control), next state)`` (names or
            indices). A pair ``(state, control)`` may stand several times: it then leads to each of these, equally likely.
        concentration: Dirichlet counts of a column (the hypothesis goes on being learned); None for values: moves are certain.
        sentence: format of the description, with ``{name}`` and ``{cases}``.

    Raises:
        ValueError: if a state or control does not exist, a move is no such pair, or the factor moves with others.

    Example:
        >>> rooms = {"factor": ["room"], "states": {"room": ["hall", "kitchen"]}, "controls": {"room": ["east"]}}
        >>> house = POMDP(A=[np.eye(2)], B=[np.eye(2)[:, :, None]], labels=rooms)
        >>> space = reachable_rules(house, "room", {"door": [(("hall", "east"), "kitchen")], "wall": []})
    """
    if len(moves) < 2:
        raise ValueError(f"moves must name at least 2 hypotheses; got {len(moves)}")
    f = model.factor(factor)
    name = model.labels["factor"][f]
    if model.B_dependencies[f] != (f,):  # type: ignore[index]
        raise ValueError(f"factor must move by itself; the transitions of {name} depend on {list(model.B_dependencies[f])}")  # type: ignore[index]
    states, controls = model.labels["states"][name], model.labels["controls"][name]
    hypotheses, told = {}, []
    for title, pairs in moves.items():
        checks.sequence(pairs, f"moves[{title!r}]")
        counts = np.zeros((len(states), len(states), len(controls)))
        cases = []
        for move in pairs:
            here, control, there = _move(move, title)
            s, u, t = _index(states, here, "state"), _index(controls, control, "control"), _index(states, there, "state")
            counts[t, s, u] += 1.0
            cases.append(f"{states[s]} -{controls[u]}-> {states[t]}")
        nowhere = counts.sum(axis=0) == 0
        counts[:, nowhere] = np.repeat(np.eye(len(states))[:, :, None], len(controls), axis=2)[:, nowhere]
        counts /= counts.sum(axis=0)
        hypotheses[title] = _said("B", f, counts, concentration)
        told.append(sentence.format(name=title, cases=", ".join(cases) if cases else "nothing moves"))
    return HypothesisSpace(hypotheses, descriptions=told)


@checks.checked(model=checks.an(POMDP), concentration=checks.optional(checks.real(checks.POSITIVE)))
def frozen(
    model: POMDP,
    factor: str | int,
    *,
    otherwise: ArrayLike | None = None,
    concentration: float | None = None,
) -> HypothesisSpace:
    """Two hypotheses about a factor that no action moves: it never changes, or it does.

    Args:
        model: gives the size of the factor, whose transitions must depend on itself alone.
        factor: name or index.
        otherwise: how it moves if it does, probabilities ``(S, S)`` of the next state (axis 0) given the state; by default any
            state follows any other, each as likely.
        concentration: Dirichlet counts of a column; None for values. (That it never changes leaves nothing to learn: zeros are
            structural.)

    Raises:
        ValueError: if the factor has several controls or moves with others, or ``otherwise`` does not fit.

    Example:
        >>> season = POMDP(A=[np.eye(2)], B=[np.full((2, 2, 1), 0.5)], labels={"factor": ["season"]})
        >>> frozen(season, "season").names
        ('season stays', 'season changes')
    """
    f = model.factor(factor)
    name, n = model.labels["factor"][f], model.num_states[f]
    if model.num_controls[f] != 1 or model.B_dependencies[f] != (f,):  # type: ignore[index]
        raise ValueError(f"factor must be moved by no action and by no other factor; {name} is")
    moving = np.full((n, n), 1.0 / n) if otherwise is None else columns(otherwise, "otherwise", "next states")
    if moving.shape != (n, n):
        raise ValueError(f"otherwise must have shape {(n, n)}; got {moving.shape}")
    return HypothesisSpace(
        {
            f"{name} stays": _said("B", f, np.eye(n)[:, :, None], concentration),
            f"{name} changes": _said("B", f, moving[:, :, None], concentration),
        },
        descriptions=[f"{name} never changes", f"{name} changes by itself"],
    )


@checks.checked(model=checks.an(POMDP), table=checks.text, drivers=checks.items(checks.sequence), values=_callable)
def depends(
    model: POMDP,
    table: str,
    drivers: Sequence[Sequence[str | int]],
    values: Callable[..., ArrayLike],
    *,
    concentration: float | None = None,
) -> HypothesisSpace:
    """Hypotheses about which factors drive a table: its columns are the same whatever the states of the others.

    Args:
        model: whose table depends on all factors that may drive it.
        table: a likelihood or transitions, ``"A[m]"`` or ``"B[f]"``.
        drivers: for each hypothesis the factors that drive it (names or indices, in any order).
        values: called with the state of each driver, in the order given, and (for transitions) last with the control: the
            probabilities of outcomes, or of next states.
        concentration: Dirichlet counts of a column; None for values.

    Raises:
        ValueError: if the table does not depend on a driver, or is neither A nor B; if drivers stand twice, or ``values``
            returns no probabilities of as many outcomes as there are.

    Example:
        >>> factors = {"factor": ["colour", "side"], "modality": ["payoff"]}
        >>> seen = POMDP(A=[np.full((2, 2, 2), 0.5)], B=[np.eye(2)[:, :, None]] * 2, labels=factors)
        >>> pays = lambda state: [0.9, 0.1] if state == 0 else [0.2, 0.8]
        >>> space = depends(seen, "A[payoff]", [["colour"], ["side"]], pays)
    """
    try:
        at = model.table(table)
    except (ValueError, TypeError) as error:
        raise type(error)(f"table must be the name of a table of the model: {error}") from None
    if not len(drivers):
        raise ValueError("drivers must hold sets of factors; got none")
    if at.kind not in ("A", "B"):
        raise ValueError(f"table must be one of A or B; got {table!r}")
    deps = (model.A_dependencies if at.kind == "A" else model.B_dependencies)[at.index]  # type: ignore[index]
    shape, names = model.values_of(at).shape, model.labels["factor"]
    hypotheses, told = {}, []
    for given in drivers:
        factors = [model.factor(d) for d in given]
        strange = [names[f] for f in factors if f not in deps]
        if strange:
            raise ValueError(f"{table} must depend on every driver; it does not on {strange}")
        who = " and ".join(names[f] for f in factors) or "nothing"
        if who in hypotheses:
            raise ValueError(f"drivers must name different sets of factors; {list(given)} stands twice")
        dense = np.empty(shape)
        for column in np.ndindex(*shape[1:]):
            states = [column[deps.index(f)] for f in factors]
            said = np.asarray(values(*states, *column[len(deps) :]))
            if said.shape != shape[:1]:
                raise ValueError(f"values must return {shape[0]} probabilities, of {table}; got shape {said.shape}")
            dense[(slice(None), *column)] = said
        dense = columns(dense, "what values returns", "outcomes" if at.kind == "A" else "next states")
        what = model.labels["modality" if at.kind == "A" else "factor"][at.index]
        told.append(f"{what} depends on {who}")
        hypotheses[who] = _said(at.kind, at.index, dense, concentration)
    return HypothesisSpace(hypotheses, descriptions=told)


def _move(given: Any, title: str) -> tuple[Any, Any, Any]:
    try:
        (here, control), there = given
    except (TypeError, ValueError):
        raise ValueError(f"moves[{title!r}] must hold pairs ((state, control), next state); got {given!r}") from None
    return here, control, there


def _said(kind: str, index: int | str, values: NDArray[np.float64], concentration: float | None) -> dict[str, Any]:
    """What a hypothesis says of a table: values, or counts in their proportion."""
    if concentration is None:
        return {f"{kind}[{index}]": values}
    return {f"p{kind}[{index}]": checked_concentration(concentration) * values}


def _index(names: Sequence[str], given: Any, what: str) -> int:
    if isinstance(given, str):
        checks.choice(given, what, names)
        return list(names).index(given)
    return checks.whole_number(given, what, 0, len(names) - 1)
