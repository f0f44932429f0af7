"""Sleep on transitions and initial states: which tables, by what names, what evidence, dreams, instruction, records."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import (
    POMDP,
    Agent,
    Alternatives,
    HypothesisSpace,
    InformativeMappings,
    Introspection,
    Learning,
    Paradigm,
    Planner,
    SingleParameters,
    simulate,
)
from activebmr.agent.dreams import make_up
from activebmr.agent.instruction import instruct
from activebmr.agent.sleep import Sleeper
from activebmr.agent.tables import Inheritance
from activebmr.inference.knowledge import Knowledge
from activebmr.model.naming import Table
from activebmr.simulation.checkpoints import Checkpoint
from activebmr.simulation.paradigm import describe
from activebmr.simulation.recorder import Recorder
from activebmr.simulation.worlds import ModelProcess

B, D = Table("B", 0), Table("D", 0)
ROOMS = 4
LABELS = {"factor": ["place"], "modality": ["room"], "controls": {"place": ["left", "right"]}}


def ring(noise: float = 0.0) -> np.ndarray:
    """Rooms in a ring: left is one back, right is one on; with some probability one stays where one is."""
    go = np.stack([np.roll(np.eye(ROOMS), step, axis=0) for step in (-1, 1)], axis=2)
    return (1 - noise) * go + noise * np.eye(ROOMS)[:, :, None]


def house(**changes) -> POMDP:
    """Nobody knows yet which moves there are, nor where trials begin; rooms are seen."""
    held = {
        "A": [np.eye(ROOMS)],
        "B": [None],
        "D": [None],
        "pB": [np.ones((ROOMS, ROOMS, 2))],
        "pD": [np.ones(ROOMS)],
        "labels": LABELS,
    }
    return POMDP(**(held | changes))


def start_at(*rooms: int, counts: float = 8.0) -> np.ndarray:
    return np.where(np.isin(np.arange(ROOMS), rooms), counts, 0.0)


def maps(known: float, rest: float) -> HypothesisSpace:
    """Three maps: so many counts for the moves of each, and some for all others."""
    moves = {"ring": ring(), "back": ring()[:, :, ::-1], "slow": ring(0.5)}
    return HypothesisSpace({name: {"pB[place]": rest + known * b} for name, b in moves.items()})


MAPS, SOFT = maps(8.0, 0.05), maps(2.0, 0.5)
STARTS = HypothesisSpace({"first": {"pD[place]": 0.05 + start_at(0)}, "last": {"pD[place]": 0.05 + start_at(3)}})


# --- sleepers with knowledge made by hand -----------------------------------------------------------------------------------
def born(model: POMDP, n: int) -> Knowledge:
    inheritance = Inheritance(model, {}, np.inf)
    return Knowledge(inheritance.of(n), np.full(n, -1), others=inheritance.others(n))


def asleep(model, spaces, n, learning=None, **options) -> tuple[Sleeper, Knowledge]:
    """A sleeper without a dreamer, and knowledge at the beginning of life."""
    sleeper = Sleeper(model, Introspection(spaces, **options), learning or Learning(), (), lambda: None)
    knowledge = born(model, n)
    sleeper.start(knowledge)
    return sleeper, knowledge


def see(sleeper: Sleeper, knowledge: Knowledge, key, counts: np.ndarray) -> None:
    """All agents see so much ``(n_agents, ...)`` of a table."""
    columns = knowledge.counted(key).layout.columns(counts)
    agents, at = (x.ravel() for x in np.indices(columns.shape[:2]))
    amounts = columns.reshape(-1, columns.shape[2])
    change = knowledge.counted(key).observe(agents, at, amounts)
    sleeper.counted(knowledge, key, agents, at, amounts, change)


def moves_seen(rng, n, times=6, noise=0.0):
    return np.stack(
        [rng.multinomial(times, ring(noise)[:, s, u], size=n) for s in range(ROOMS) for u in range(2)], axis=-1
    ).reshape(n, ROOMS, ROOMS, 2)


def test_each_table_is_reduced_by_its_own_space(rng):
    """A, B and D at once: each as its space reduces the tensors of all that was seen."""
    model = house(A=[None], pA=[np.ones((ROOMS, ROOMS))])
    spaces = {
        "room": InformativeMappings(threshold=0.0),
        "pB[place]": SingleParameters(threshold=0.0, adopt="zero"),
        "pD[0]": Alternatives(STARTS),
    }
    sleeper, knowledge = asleep(model, spaces, 3)
    assert list(sleeper.spaces) == [0, B, D] and sleeper.listed == D and sleeper.names == ("first", "last")
    seen = {
        0: np.repeat(5.0 * np.eye(ROOMS)[None], 3, axis=0),
        B: moves_seen(rng, 3),
        D: np.tile(start_at(0), (3, 1)),
    }
    seen[D][2] = start_at(1)
    for key, counts in seen.items():
        see(sleeper, knowledge, key, np.asarray(counts, dtype=float))
    findings = sleeper.fall_asleep(knowledge, 0, None)
    assert list(findings.reductions) == [0, B, D]
    for key, space in sleeper.spaces.items():
        expected = space.reduce(1.0 + seen[key], np.ones(seen[key].shape))
        found = findings.reductions[key]
        assert_array_equal(found.prior, expected.prior)
        assert_array_equal(found.posterior, expected.posterior)
        assert_array_equal(knowledge.counted(key).tensor(), expected.posterior)
    assert_array_equal(findings.reductions[B].removed, np.repeat((ring() == 0)[None], 3, axis=0))
    assert_array_equal(knowledge.adopted, [0, 0, -1])  # the third begins elsewhere: of the list nothing is true
    assert findings.listed is findings.reductions[D]


def test_evidence_fades_as_the_table_in_question_does():
    """Retention by table: what came before the evidence stays, and so does what other tables have seen."""
    learning = Learning(retention={"pB": 0.5, "pD[place]": 0.9})
    spaces = {"pB[place]": SingleParameters(threshold=np.inf), "pD[0]": SingleParameters(threshold=np.inf)}
    sleeper, knowledge = asleep(house(), spaces, 2, learning)
    see(sleeper, knowledge, B, np.tile(4.0 * ring(), (2, 1, 1, 1)))
    see(sleeper, knowledge, D, np.tile(start_at(0), (2, 1)))
    sleeper.fall_asleep(knowledge, 0, None)
    full = {key: knowledge.others[key].layout.tensor(x) for key, x in knowledge.sleep.full.items()}
    assert_allclose(full[B], np.tile(1 + 2.0 * ring(), (2, 1, 1, 1)))
    assert_allclose(full[D], np.tile(1 + 0.9 * start_at(0), (2, 1)))


@pytest.mark.parametrize(
    "spaces, error, message",
    [
        (
            SingleParameters(),
            ValueError,
            r"spaces of Introspection must be keyed by table: the model learns \['pB\[0\]', 'pD\[0\]'\]",
        ),
        (
            {"room": SingleParameters()},
            ValueError,
            r"must speak about tables with counts, \['pB\[0\]', 'pD\[0\]'\]; got pA\[0\]",
        ),
        ({"pB[street]": SingleParameters()}, ValueError, "factor must be one of .*; got 'street'"),
        ({"pB[1]": SingleParameters()}, ValueError, r"factor must lie in 0\.\.0; got 1"),
        ({"pE[0]": SingleParameters()}, ValueError, r"must speak about tables with counts, .*; got pE\[0\]"),
        (
            {"pB[0]": SingleParameters(), "pB[place]": SingleParameters()},
            ValueError,
            "spaces of Introspection must name each table once",
        ),
        ({"pB[0]": MAPS}, TypeError, r"spaces of Introspection must be ModelSpaces \(with reduce\); got HypothesisSpace"),
        (
            {"pB[0]": Alternatives(STARTS)},
            ValueError,
            r"models about B\[0\] must have the shape of pB\[0\], \(4, 4, 2\); got \(4,\)",
        ),
        (
            {"pD[0]": Alternatives(HypothesisSpace({n: {0: np.ones(4) + k} for k, n in enumerate("ab")}))},
            ValueError,
            r"models that are searched for pD\[0\] must speak about it; these speak about pA\[0\]",
        ),
    ],
)
def test_spaces_that_do_not_fit_are_named(spaces, error, message):
    with pytest.raises(error, match=message):
        Introspection(spaces).of(house(pE=[np.ones(2)]))


def test_habits_are_no_structure():
    only = house(B=[ring()], pB=None, D=None, pD=None, pE=[np.ones(2)])
    with pytest.raises(ValueError, match=r"must be keyed by modality: the model learns \[\]"):
        Introspection(SingleParameters()).of(only)
    with pytest.raises(ValueError, match=r"taught must speak about tables with counts, .*; got pE\[0\]"):
        instruct(only, born(only, 2), {"pE[0]": np.ones(2)}, ())


def test_hypotheses_and_sleep_share_no_table():
    with pytest.raises(
        ValueError, match=r"introspection must speak about tables that no hypothesis .* both do about \['pB\[0\]'\]"
    ):
        Sleeper(house(), Introspection({"pB[0]": SingleParameters()}), Learning(), (B,), lambda: None)


def test_what_fades_for_each_agent_by_itself_is_refused_for_tables_that_are_slept_on():
    each = Learning(retention={"pB": [0.9, 1.0]})
    with pytest.raises(ValueError, match=r"retention of Learning of pB\[0\] must be one number for agents that introspect"):
        Sleeper(house(), Introspection({"pB[0]": SingleParameters()}), each, (), lambda: None)
    Sleeper(house(), Introspection({"pD[0]": SingleParameters()}), each, (), lambda: None)


# --- instruction ---------------------------------------------------------------------------------------------------------
def test_who_is_taught_moves_and_starts_goes_on_with_what_was_seen(rng):
    model, sleepers = house(), {"pB[place]": Alternatives(MAPS), "pD[place]": Alternatives(STARTS)}
    sleeper, knowledge = asleep(model, sleepers, 2)
    seen = moves_seen(rng, 2, noise=0.3).astype(float)
    see(sleeper, knowledge, B, seen)
    sleeper.fall_asleep(knowledge, 0, None)
    taught = 3.0 * ring(0.2) + (ring(0.2) > 0)
    about = instruct(model, knowledge, {"pB[place]": taught, "pD[0]": np.stack([start_at(0), start_at(1)])}, ())
    assert about == [B, D]
    table = lambda key, held: knowledge.others[key].layout.tensor(held[key])  # noqa: E731
    for held in (knowledge.sleep.prior, knowledge.sleep.origin):
        assert_array_equal(table(B, held), np.repeat(taught[None], 2, axis=0))
        assert_array_equal(table(D, held), [start_at(0), start_at(1)])
    possible = np.where(taught > 0, seen, 0.0)
    assert_allclose(table(B, knowledge.sleep.full), taught + possible, atol=1e-12)
    assert_allclose(knowledge.others[B].tensor(), taught + possible, atol=1e-12)
    assert_array_equal(knowledge.others[D].tensor(), [start_at(0), start_at(1)])
    assert_array_equal(knowledge.sleep.held[B], -1)


@pytest.mark.parametrize(
    "taught, message",
    [
        ({"room": np.eye(ROOMS)}, r"taught must speak about tables with counts, \['pB\[0\]', 'pD\[0\]'\]; got pA\[0\]"),
        ({"pB[place]": np.ones((ROOMS, ROOMS))}, r"taught\['pB\[place\]'\] must have shape \(4, 4, 2\), for each agent or for"),
        ({"pD[0]": -np.ones(ROOMS)}, r"taught\['pD\[0\]'\] must hold finite counts >= 0; entry \(0, 0\) is -1"),
        (
            {"pD[0]": np.zeros(ROOMS)},
            r"taught\['pD\[0\]'\] must have some count in every column; column \(0,\) \(agent, states\)",
        ),
        ({"pD[place]": np.ones(ROOMS)}, r"taught\['pD\[place\]'\] must be zero where pD\[0\] is, a structural zero"),
    ],
)
def test_a_bad_instruction_is_named(taught, message):
    model = house(pD=[start_at(0, 1)])
    with pytest.raises(ValueError, match=message):
        instruct(model, born(model, 2), taught, ())
    with pytest.raises(ValueError, match=r"taught must not speak about pB\[0\], which the agent has hypotheses about"):
        instruct(model, born(model, 2), {"pB[0]": np.ones((ROOMS, ROOMS, 2))}, (B,))


# --- trials that are made up -----------------------------------------------------------------------------------------------
@dataclass
class Witness:
    """A mind that turns right for ever and keeps what it sees."""

    model: POMDP
    trial_length: int = 6
    seen: list = field(default_factory=list)

    @property
    def life(self):
        return self

    def advance(self, mind, outcomes, uniform, controls):
        self.seen.append(outcomes[0].copy())
        return SimpleNamespace(controls=np.ones((mind.n_agents, 1), dtype=np.intp))

    def conclude(self, mind):
        pass


def test_made_up_trials_begin_and_go_on_as_each_agent_expects():
    """Agents that are sure of their own start and their own map: what they dream of is certain."""
    model = house()
    knowledge = born(model, 3)
    maps = np.stack([ring(), ring()[:, :, ::-1], np.repeat(np.eye(ROOMS)[:, :, None], 2, axis=2)])
    for key, counts in ((B, maps), (D, np.stack([start_at(k) for k in (0, 1, 2)]))):
        table = knowledge.others[key]
        table.replace(np.arange(3), table.layout.columns(counts), np.arange(table.n_states))
    mind, dreamer = SimpleNamespace(knowledge=knowledge, tables=knowledge.tables, n_agents=3), Witness(model)
    make_up(dreamer, mind, 2, [np.random.default_rng(k) for k in range(3)])
    path = np.array(dreamer.seen).reshape(2, 6, 3)
    for trial in path:
        assert_array_equal(trial[:, 0], [0, 1, 2, 3, 0, 1])
        assert_array_equal(trial[:, 1], [1, 0, 3, 2, 1, 0])
        assert_array_equal(trial[:, 2], [2] * 6)


def test_made_up_trials_have_the_odds_that_the_agent_expects():
    """Counts are what probabilities are expected from: starts 3 to 1, moves to the right 3 to 1 against staying."""
    model = house(pB=[3.0 * ring() + np.eye(ROOMS)[:, :, None]], pD=[np.array([3.0, 0.0, 1.0, 0.0])])
    n = 400
    knowledge = born(model, n)
    mind, dreamer = SimpleNamespace(knowledge=knowledge, tables=knowledge.tables, n_agents=n), Witness(model)
    make_up(dreamer, mind, 5, [np.random.default_rng(k) for k in range(n)])
    path = np.array(dreamer.seen).reshape(5, 6, n)
    assert_allclose((path[:, 0] == 0).mean(), 0.75, atol=4 * np.sqrt(0.1875 / (5 * n)))
    step = np.diff(path, axis=1) % ROOMS
    assert set(np.unique(step).tolist()) == {0, 1}
    assert_allclose(step.mean(), 0.75, atol=4 * np.sqrt(0.1875 / step.size))


# --- agents that live --------------------------------------------------------------------------------------------------------
def wander(agent, world, n_agents, n_trials, steps, seed=0, which=None):
    """Agents are led through a world at random: recorded trials of some of them, and the state and report after each."""
    which = np.arange(n_agents) if which is None else np.asarray(which)
    process, state, states, reports = ModelProcess(world), agent.init(len(which)), [], []
    for trial in range(n_trials):
        for t in range(steps):
            u = np.random.default_rng([seed, trial, t]).random((n_agents, process.n_uniforms + 1))[which]
            _, seen = process.reset(u) if t == 0 else process.step(done, u)  # noqa: F821 (what was done the time before)
            done = (2 * u[:, -1:]).astype(int)
            state, _ = agent.perceive(state, seen)
            state = agent.learn(state, seen, done)
        state, report = agent.end_trial(state, np.random.default_rng([seed, trial]))
        states.append(state)
        reports.append(report)
    return states, reports


WORLD = house(B=[ring(0.2)], D=[[0.5, 0.0, 0.5, 0.0]], pB=None, pD=None)
DIM = [0.88 * np.eye(ROOMS) + 0.04 * (1 - np.eye(ROOMS))]


@pytest.mark.parametrize("evidence", ["own", "unbiased"])
def test_wanderers_find_in_their_sleep_which_moves_do_not_exist(evidence):
    """240 moves in a ring of four rooms, in which nobody goes across it: 16 of 32 entries, and none of the others."""
    space = SingleParameters(adopt="zero")
    spaces = {"pB[place]": space, "pD[place]": SingleParameters(threshold=0.0)}
    agent = Agent(house(), introspection=Introspection(spaces, after=[19], evidence=evidence), trial_length=12)
    n = 8
    states, reports = wander(agent, WORLD, n, 20, 12)
    found, last = reports[-1].reductions, states[-1]
    absent = ring(0.2) == 0
    assert (found[B].removed == absent).all(axis=(1, 2, 3)).mean() > 0.8
    assert not (found[B].removed & ~absent & (states[-2].knowledge.others[B].tensor() > 2)).any()
    assert_array_equal(found[D].removed, np.tile([False, True, False, True], (n, 1)))
    after = agent.posterior_counts(last, "pB[place]")
    assert_array_equal(after == 0, found[B].removed)
    assert_array_equal(agent.prior_counts(last, "pB[place]"), found[B].prior)
    # states are seen: evidence is the counts of moves themselves
    seen = last.knowledge.others[B].layout.tensor(reports[-1].counts[B]) - 1
    assert_allclose(seen.sum(axis=(1, 2, 3)), 20 * 11)
    assert_allclose(found[B].posterior - found[B].prior, seen, atol=1e-12)
    with pytest.raises(ValueError, match=r"taught\['pB\[0\]'\] must have shape"):
        agent.instruct(last, {"pB[0]": np.ones(2)})


def test_lists_of_maps_and_of_starts_are_searched_side_by_side():
    """Two Occam's windows: the map is found, and where trials begin; reports are about the first list."""
    spaces = {"pB[place]": Alternatives(MAPS), "pD[place]": Alternatives(STARTS)}
    agent = Agent(house(), introspection=Introspection(spaces), trial_length=6)
    world = house(B=[ring()[:, :, ::-1]], D=[[0.0, 0.0, 0.0, 1.0]], pB=None, pD=None)
    states, reports = wander(agent, world, 12, 6, 6)
    assert agent.model_names == ("ring", "back", "slow")
    assert_array_equal(states[-1].sleep.held[B], 1)
    assert_array_equal(states[-1].sleep.held[D], 1)
    assert_array_equal(states[-1].adopted, 1)
    assert (states[-1].model_posterior[:, 1] > 0.95).all()
    assert_array_equal(reports[-1].log_odds, reports[-1].reductions[B].log_evidence_ratio)
    again, found = agent.sleep(states[-1])
    for key in (B, D):
        assert_array_equal(found[key].prior, reports[-1].reductions[key].prior)
    told = agent.instruct(again, {"pB[place]": np.ones((ROOMS, ROOMS, 2)), "pD[0]": start_at(2)})
    assert_array_equal(told.adopted, -1)
    assert_array_equal(told.qs[0], np.tile(np.eye(ROOMS)[2], (12, 1)))  # a new trial begins where they were told
    assert_array_equal(agent.prior_counts(told, "pD[0]"), np.tile(start_at(2), (12, 1)))


def test_unbiased_evidence_about_moves_is_that_of_agents_who_never_sleep():
    model = house(A=DIM)
    spaces = {"pB[place]": Alternatives(SOFT, threshold=0.5), "pD[place]": Alternatives(STARTS, threshold=0.5)}
    agent = Agent(model, introspection=Introspection(spaces, evidence="unbiased"), trial_length=5)
    naive = Agent(model, trial_length=5)
    world = house(A=DIM, B=[ring()], D=[[1.0, 0, 0, 0]], pB=None, pD=None)
    (ours, reports), (theirs, _) = (wander(a, world, 6, 5, 5) for a in (agent, naive))
    for parent, report in zip(theirs, reports, strict=True):
        for key, space, born in ((B, SOFT, model.pB[0]), (D, STARTS, model.pD[0])):
            expected = Alternatives(space).ratios(naive.posterior_counts(parent, f"p{key}"), born)
            assert_allclose(report.reductions[key].ratios, expected, rtol=1e-9, atol=1e-9)
    assert (ours[-1].adopted >= 0).any()
    gap = agent.posterior_counts(ours[-1], "pB[0]") - naive.posterior_counts(theirs[-1], "pB[0]")
    assert np.abs(gap).max() > 0.5


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("learned", ["moves", "moves and starts"])
def test_after_a_dream_counts_of_moves_are_those_learned_under_the_reduced_prior(learned, smooth):
    """Rooms are seen dimly, so that what one believes about moves says what was seen: agents who were born with the reduced
    prior live through all trials so far."""
    both = learned != "moves"
    rest = {} if both else {"D": [[0.5, 0.0, 0.0, 0.5]], "pD": None}
    model, world = house(A=DIM, **rest), house(A=DIM, B=[ring()], D=[[0.5, 0.0, 0.0, 0.5]], pB=None, pD=None)
    spaces = {"pB[place]": Alternatives(SOFT, threshold=0.3)}
    if both:
        spaces["pD[place]"] = SingleParameters(threshold=-np.inf, remainder=1 / 32)
    learning = Learning(smooth=smooth)
    agent = Agent(
        model,
        learning=learning,
        introspection=Introspection(spaces, evidence="unbiased", dream="remembered", after=[4]),
        trial_length=5,
    )
    n = 5
    state = wander(agent, world, n, 5, 5, seed=3)[0][-1]
    assert (state.sleep.held[B] >= 0).sum() >= 3
    for k in range(n):
        reduced = {"pB": [agent.prior_counts(state, "pB[0]")[k]]} | (
            {"pD": [agent.prior_counts(state, "pD[0]")[k]]} if both else {}
        )
        born = Agent(model.with_(**reduced), learning=learning, trial_length=5)
        again = wander(born, world, n, 5, 5, seed=3, which=[k])[0][-1]
        for name in ("pB[0]", "pD[0]")[: 1 + both]:
            assert_allclose(
                agent.posterior_counts(state, name)[k], born.posterior_counts(again, name)[0], rtol=1e-10, atol=1e-10
            )


@pytest.mark.parametrize("options", [{}, {"evidence": "unbiased", "dream": "remembered"}])
def test_agent_k_is_the_same_in_any_batch(options):
    model = house(A=[None], pA=[0.2 + 5 * np.eye(ROOMS)])
    spaces = {
        "room": SingleParameters(threshold=0.0, remainder=1 / 32),
        "pB[place]": Alternatives(MAPS, threshold=0.5),
        "pD[place]": SingleParameters(threshold=0.0, remainder=1 / 32),
    }
    agent = Agent(
        model, introspection=Introspection(spaces, **options), learning=Learning(retention={"pB": 0.99}), trial_length=5
    )
    everyone = wander(agent, WORLD, 9, 3, 5)[0][-1]
    for which in ([4], [7, 4, 0]):
        few = wander(agent, WORLD, 9, 3, 5, which=which)[0][-1]
        for name in ("room", "pB[0]", "pD[0]"):
            assert_array_equal(agent.posterior_counts(few, name)[which.index(4)], agent.posterior_counts(everyone, name)[4])


def test_agents_with_retention_of_their_own_do_not_dream_in_part():
    options = {"introspection": Introspection({"pD[0]": SingleParameters()}, dream="remembered"), "trial_length": 3}
    with pytest.raises(ValueError, match="dream of Introspection must be None for agents that differ"):
        Agent(house(), learning=Learning(retention={"pB": [0.9, 1.0]}), **options)


def test_models_of_their_own_leave_nothing_to_sleep_on():
    models = HypothesisSpace.from_models({"open": house(), "known": WORLD})
    with pytest.raises(ValueError, match=r"tables that no hypothesis speaks about; both do about \['pB\[0\]'\]"):
        Agent(models.models[0], models, introspection=Introspection({"pB[0]": SingleParameters()}), trial_length=3)


# --- runs --------------------------------------------------------------------------------------------------------------------
def journey(**options) -> Paradigm:
    """Agents that move about by themselves, curious about what moves do, and sleep on moves and starts."""
    spaces = {"pB[place]": SingleParameters(threshold=0.0, adopt="zero"), "pD[place]": Alternatives(STARTS, threshold=1.0)}
    held = {"planner": Planner(gains=("state", "param")), "introspection": Introspection(spaces, **options)}
    agent = Agent(house(), **held, trial_length=5)
    world = house(B=[ring()], D=[start_at(0) / 8], pB=None, pD=None)
    return Paradigm("journey", "sleep", agent, world, 5, hypotheses=STARTS, truth="first")


@pytest.mark.parametrize("dream", [None, "remembered", "generated"])
def test_runs_of_sleepers_on_moves_and_starts(dream, tmp_path):
    """Records, settings and finished parts on disk name the tables; agent k is the same whatever the batches."""
    paradigm = journey(dream=dream, dreams=None if dream is None else 2, after=2)
    result = simulate(paradigm, n_agents=5, n_trials=8, seed=1, trace=True)
    assert result.trace["pB_place"].shape == (1, 5, 8, ROOMS, ROOMS, 2)
    assert result.trace["pD_place"].shape == (1, 5, 8, ROOMS)
    assert (result.adopted_model == 0).all()
    told = describe(paradigm)["introspection"]
    assert told["pB[0]"]["space"] == "SingleParameters" and told["pB[0]"]["adopt"] == "zero"
    assert told["pD[0]"]["space"] == "Alternatives" and told["pD[0]"]["threshold"] == 1.0
    few = simulate(paradigm, n_agents=2, n_trials=8, seed=1, checkpoint=tmp_path)
    assert_array_equal(few.log_odds[0], result.log_odds[0, :2])
    again = simulate(paradigm, n_agents=2, n_trials=8, seed=1, checkpoint=tmp_path)
    assert_array_equal(few.log_odds[0], again.log_odds[0])


# --- records ---------------------------------------------------------------------------------------------------------------
def test_records_name_every_table():
    model = house(A=[None], pA=[np.ones((ROOMS, ROOMS))], pE=[np.array([1.0, 2.0])])
    knowledge = born(model, 2)
    recorder = Recorder(model)
    info = SimpleNamespace(
        log_odds=None, counts={0: knowledge.tables[0].counts, **{k: t.counts for k, t in knowledge.others.items()}}
    )
    recorder.trial(info, np.zeros(2))
    records = recorder.arrays()
    shapes = {"pA_room": (4, 4), "pB_place": (4, 4, 2), "pD_place": (4,), "pE_place": (2,)}
    assert {n: a.shape[2:] for n, a in records.items() if n != "kl_to_truth"} == shapes
    assert_array_equal(records["pE_place"][0, 0], [1.0, 2.0])
    whole = house(pE=np.array([3.0, 1.0]))
    recorder = Recorder(whole)
    recorder.trial(SimpleNamespace(log_odds=None, counts={k: t.counts for k, t in born(whole, 2).others.items()}), np.zeros(2))
    assert_array_equal(recorder.arrays()["pE"][1, 0], [3.0, 1.0])


def folder(tmp_path, model=None, space=None, world=None) -> str:
    """Where `simulate` would keep the finished parts of a run."""
    agent = SimpleNamespace(
        model=model or house(), hypotheses=space, spaces={}, trial_length=3, given={"own": None, "paths": None, "rounds": 1}
    )
    paradigm = SimpleNamespace(agent=agent, model=world or house(), hypotheses=space, candidates=None, score={}, worlds=None)
    return Checkpoint(tmp_path, [paradigm], {"seed": 0}).folder.name


def test_checkpoints_tell_models_and_spaces_apart(tmp_path):
    known = house(B=[ring()], pB=None)
    models = [
        house(),
        house(pB=[2 * np.ones((ROOMS, ROOMS, 2))]),
        house(pD=[2 * np.ones(ROOMS)]),
        house(pE=[np.ones(2)]),
        house(pE=[2 * np.ones(2)]),
        house(pE=np.ones(2)),
        known,
    ]
    told = {"a": {"pD[0]": [0.5, 0.5, 0, 0], 0: np.eye(4)}, "b": {"pD[0]": [0.5, 0, 0, 0.5], 0: np.eye(4)}}
    sharp = {h: {k.replace("pD", "D") if isinstance(k, str) else k: v for k, v in x.items()} for h, x in told.items()}
    spaces = [
        HypothesisSpace(told),
        HypothesisSpace(sharp),
        HypothesisSpace.from_models({"a": house(), "b": known}),
        HypothesisSpace.from_models({"a": house(pD=[2 * np.ones(ROOMS)]), "b": known}),
    ]
    found = [folder(tmp_path, m) for m in models] + [folder(tmp_path, space=s) for s in spaces]
    assert len(set(found)) == len(found)
    assert found == [folder(tmp_path, m) for m in models] + [folder(tmp_path, space=s) for s in spaces]
