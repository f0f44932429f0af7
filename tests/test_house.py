"""The house: floors that import downwards only, and agents that work with any parts that fulfil the protocols."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import activebmr
from activebmr import POMDP, Agent, Planner
from activebmr.agent.assembly import WAYS, Mind
from activebmr.agent.selection import NoHypotheses
from activebmr.inference.knowledge import Percept
from activebmr.planning.evaluation import Evaluation, Terms

ROOT = Path(activebmr.__file__).parent
EXCEPTION = "activebmr.__init__"  # gathers what is public


def modules() -> dict[str, Path]:
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = ("activebmr", *path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of the package that a module imports, anywhere in it, also under TYPE_CHECKING."""
    out = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            out |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            whole = {f"{node.module}.{a.name}" for a in node.names}
            out |= {n if n in known else node.module for n in whole}
    return {n for n in out if n in known and n != name}


def test_the_floors_hold():
    """The contract in pyproject.toml, as `make lint` checks it."""
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or shutil.which("lint-imports")
    if command is None:
        pytest.skip("import-linter is not installed")
    done = subprocess.run([command, "--no-cache"], cwd=ROOT.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]


def test_nothing_imports_in_circles():
    known = modules()
    graph = {name: imports_of(name, path, known) for name, path in known.items() if path.name != "__init__.py"}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"a circle: {' -> '.join((*trail[trail.index(name) :], name))}"
        if name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_no_floor_is_crowded():
    folders: dict[Path, int] = {}
    for path in ROOT.rglob("*.py"):
        folders[path.parent] = folders.get(path.parent, 0) + 1
    assert {str(f.relative_to(ROOT)): n for f, n in folders.items() if n > 24} == {}


# --- toy parts --------------------------------------------------------------------------------------------------------------
class LastSeen:
    """A way of believing: the state is what was seen last, of a model whose only modality shows it."""

    at_once, in_hindsight = True, False

    def begin(self, knowledge):
        return np.full(knowledge.n_agents, -1)

    def perceive(self, belief, knowledge, controls, outcomes):
        now, n = np.where(outcomes[0] >= 0, outcomes[0], belief), len(belief)
        return Percept(now, np.zeros(n), np.zeros(n, dtype=bool))

    def marginals(self, belief):
        return [np.where(belief[:, None] < 0, 1 / 3, np.arange(3) == belief[:, None])]

    def places(self, belief, modality):
        rows = np.flatnonzero(belief >= 0)
        return rows, belief[rows], np.ones(len(rows))

    def hindsight(self, memory, knowledge):
        return [m.belief for m in memory.moments]

    def recall(self, memory, knowledge):
        return [m.outcomes[0] for m in memory.moments]


class Rightwards:
    """A way of planning: the policy with the highest number is the best."""

    def __init__(self, model):
        self.n = len(model.policies)

    def evaluate(self, belief, knowledge, agents, t, model_posterior, curious):
        value = np.tile(np.arange(self.n, dtype=float), (len(agents), 1))
        return Evaluation(Terms.zeros(len(agents), self.n), value, np.eye(self.n)[value.argmax(axis=1)], 0.0)


class Diary:
    """A way of learning: it writes down what was seen, and changes no count."""

    def __init__(self):
        self.pages = []

    def take_in(self, knowledge, memory, controls, outcomes, belief):
        self.pages.append([o.copy() for o in outcomes])

    def conclude(self, knowledge, memory):
        self.pages.append("the end")

    def forget(self, knowledge):
        return {m: t.counts for m, t in enumerate(knowledge.tables) if t.learned}


def ring() -> POMDP:
    move = np.stack([np.roll(np.eye(3), u, axis=0) for u in range(3)], axis=2)
    return POMDP(A=[None], B=[move], pA=[np.eye(3) + 0.5])


def test_toy_parts_make_an_agent(monkeypatch):
    """One small class each, and a line in the registry: the agent steps, acts, learns and ends trials with them."""
    monkeypatch.setitem(WAYS, "last seen", lambda order: Mind(LastSeen(), Rightwards(order.model), NoHypotheses()))
    agent = Agent(ring(), inference="last seen", planner=Planner(alpha=None))
    state = agent.init(2)
    state, info = agent.step(state, [[0], [2]])
    assert_array_equal(info.qs[0], np.eye(3)[[0, 2]])
    assert_array_equal(info.policy, [2, 2])
    assert_array_equal(info.action, [[2], [2]])
    state, info = agent.step(state, [[1], [-1]])
    assert_array_equal(info.qs[0], np.eye(3)[[1, 2]])
    # counts: one for each state that was seen in it; what was missed taught nothing
    expected = np.eye(3) + 0.5
    assert_array_equal(agent.posterior_counts(state, 0)[0], expected + np.diag([1, 1, 0]))
    assert_array_equal(agent.posterior_counts(state, 0)[1], expected + np.diag([0, 0, 1]))
    state, _ = agent.end_trial(state)
    assert state.trial == 1 and state.t == 0 and (state.belief == -1).all()


def test_a_toy_way_of_learning(monkeypatch):
    diary = Diary()
    make = lambda order: Mind(LastSeen(), Rightwards(order.model), NoHypotheses(), learner=diary)  # noqa: E731
    monkeypatch.setitem(WAYS, "with a diary", make)
    agent = Agent(ring(), inference="with a diary", planner=Planner(alpha=None))
    state, _ = agent.step(agent.init(), [1])
    state, _ = agent.end_trial(state)
    assert diary.pages == [[np.array([1])], "the end"]
    assert_allclose(agent.posterior_counts(state, 0)[0], ring().pA[0])


def test_a_step_is_its_parts_in_sequence():
    agent, rng = Agent(ring()), np.random.default_rng
    state = agent.init(3)
    whole, info = agent.step(state, [[0], [1], [2]], rng(5))
    part, percept = agent.perceive(state, [[0], [1], [2]])
    evaluation = agent.plan(part)
    policy, controls = agent.act(evaluation, rng(5))
    part = agent.learn(part, [[0], [1], [2]], controls)
    assert_array_equal(policy, info.policy)
    assert_array_equal(evaluation.neg_efe, info.neg_efe)
    assert_array_equal(-percept.log_evidence, info.free_energy)
    assert_array_equal(part.qs[0], whole.qs[0])
    assert_array_equal(agent.posterior_counts(part, 0), agent.posterior_counts(whole, 0))
    assert part.t == whole.t == 1


@pytest.mark.slow
def test_tests_have_the_same_names_in_every_process():
    """Two processes share the tests by name: a name that follows the order of a set's hashes stops them before the first."""
    names = []
    for seed in "12":
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "--no-header"],
            cwd=ROOT.parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout[-3000:]
        names.append([line for line in done.stdout.splitlines() if "::" in line])
    assert names[0] == names[1] and len(names[0]) > 1000
