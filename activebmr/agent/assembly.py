"""Which parts an agent is made of: the registry of ways of believing, and of planning with them.

A new way of believing is a line in `WAYS`: a function that makes a `Mind` of an `Order`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from activebmr.agent.bank import ByPosterior
from activebmr.agent.learning import Learner
from activebmr.agent.own import Own
from activebmr.agent.selection import Comparing, NoHypotheses, ScoredByCounts
from activebmr.agent.settings import Learning, Selection
from activebmr.agent.spm_learning import MoveLearning
from activebmr.agent.world_bank import ByWorlds
from activebmr.arrays import Floats, Ints
from activebmr.dirichlet import LOG_FLOOR
from activebmr.inference.beliefs import Belief
from activebmr.inference.by_factors import ByFactors, check_hindsight
from activebmr.inference.exact import Exact, check_size
from activebmr.inference.individuals import Individuals
from activebmr.inference.joint_belief import JointBelief, joint_of, marginals_of
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.models.own import OwnEvidence, own_size
from activebmr.inference.models.reasoner import joint_size
from activebmr.inference.models.settings import Reasoning
from activebmr.inference.models.shared import SharedEvidence
from activebmr.inference.paths import PathSettings
from activebmr.inference.protocol import Believing
from activebmr.inference.spm import AlongMoves
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.inference.worlds.worlds import Worlds
from activebmr.model.components import Component, components_of
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.naming import Table
from activebmr.model.pomdp import POMDP
from activebmr.planning.evaluation import Evaluation
from activebmr.planning.joint.planning import JointPlanning
from activebmr.planning.marginal import MarginalPlanning, warn_of_separate_gains
from activebmr.planning.models.own import OwnProspects
from activebmr.planning.models.planning import ReasonedPlanning, Thinking
from activebmr.planning.models.shared import SharedProspects
from activebmr.planning.paths.along import AlongPaths, AlongTrials, PathPlanning
from activebmr.planning.paths.inference import PathInference
from activebmr.planning.planner import Planner
from activebmr.planning.preferences import Preferences
from activebmr.planning.protocol import Planning
from activebmr.planning.spm.planning import SpmPlanning
from activebmr.planning.worlds.planning import WorldsPlanning

__all__ = ["ALIASES", "WAYS", "Mind", "Order"]

ALIASES = {"joint": "factorised", "message-passing": "paths"}
"""Former names of ways of believing; the first is deprecated."""


@dataclass(frozen=True, eq=False)
class Order:
    """What an agent is to be made of: the arguments of `Agent`, checked one by one but not together."""

    model: POMDP
    hypotheses: HypothesisSpace | None
    planner: Planner
    learning: Learning
    selection: Selection
    reasoning: Reasoning | None
    paths: PathSettings | None
    trial_length: int | None
    rounds: int
    tables: list[KnownTable | CountTable]
    introspects: bool
    own: Own

    def preferences(self) -> Preferences:
        """SPM's search knows no preference below -32 nats; all else takes them as they are."""
        return Preferences(self.model, LOG_FLOOR if self.planner.search == "states" else None, self.own.preferences)


@dataclass(frozen=True, eq=False)
class Mind:
    """Parts that fit together.

    Attributes:
        believing, planning, comparing: the parts.
        experimenting: who can be told states before a trial, or choose them; None where nobody can.
        scheme: the scheme of beliefs along paths, for those who want to see its iterations; None for others.
        learner: who learns; None for expected counts, as `Learning` has it.
    """

    believing: Believing
    planning: Planning
    comparing: Comparing
    experimenting: Experimenting | None = None
    scheme: PathInference | None = None
    learner: Learner | None = None


class Experimenting(Protocol):
    """Beliefs about hypotheses that a trial can be prepared for.

    Attributes:
        sets_states: whether it can be said which states would teach most.
    """

    sets_states: bool

    def told(self, belief: Any, states: Ints) -> Any:
        """Beliefs of agents that are told states ``(n_agents, n_factors)`` before a trial; -1 tells nothing about a factor, and
        those that actions set are ignored.
        """
        ...

    def experiments(self, belief: Any) -> Ints:
        """States ``(n_agents, n_factors)`` from which a trial would teach most about hypotheses; -1 where there are none."""
        ...


def _soft(order: Order) -> Comparing:
    if order.hypotheses is not None and not order.hypotheses.plain:
        raise ValueError(
            "inference of Agent must be 'models' (or None) for hypotheses that give values, speak about transitions or initial "
            "states, or are models of their own"
        )
    if order.selection.at_once and order.hypotheses is not None:
        raise ValueError("at_once of Selection must be False but for inference='models'")
    if order.hypotheses is None:
        return NoHypotheses(curious=order.selection.curious and order.introspects)
    return ScoredByCounts(order.model, order.hypotheses, order.selection, order.own.prior)


def _individuals(order: Order) -> Mind:
    """Exact beliefs of agents with tables of their own."""
    planner, believing = order.planner, Individuals(order.model, order.own.tables)
    if planner.search == "states" or order.hypotheses is not None:
        raise ValueError("own A, B and D of Agent need search='outcomes' of Planner, and no hypotheses")
    tables = [believing.tables.get(m, t) for m, t in enumerate(order.tables)]
    planning = JointPlanning(believing.extended, planner, tables, order.preferences(), order.trial_length)
    return Mind(believing, planning, _soft(order))


def _moving(model: POMDP) -> bool:
    """Whether transitions or initial states are learned."""
    return any(table.kind in ("B", "D") for table in model.learned)


def _worlds(order: Order, space: HypothesisSpace | None, comparing: Comparing | None = None) -> Mind:
    """Exact beliefs where transitions or initial states are learned or in question, or hypotheses give values."""
    settings, planner, learning = order.reasoning or Reasoning(), order.planner, order.learning
    if order.own.tables:
        raise ValueError("own A, B and D of Agent must not go with learned transitions, or hypotheses about them; use counts")
    if planner.search == "states":
        raise ValueError(
            "search of Planner must be 'outcomes' for agents that learn, or reason about, transitions; got 'states'"
        )
    if space is not None and planner.model_gain == "plug-in" and "model" in planner.gains:
        raise ValueError("model_gain of Planner must be 'exact' for hypotheses about tables of any kind; got 'plug-in'")
    if settings.counts == "shared" or settings.evidence == "counts":
        raise ValueError(
            "counts of Reasoning must be 'own', and evidence 'joint', for hypotheses about tables of any kind; got "
            f"{settings.counts!r} and {settings.evidence!r}"
        )
    models = space.models if space is not None and space.models else (order.model,)
    each = [learning.among(m, models) for m in models]
    kept = [x.retentions_of(m) for x, m in zip(each, models, strict=True)]
    believing = Worlds(order.model, space, [x.rates_of(m) for x, m in zip(each, models, strict=True)], settings.max_size, kept)
    if comparing is None:
        assert space is not None
        comparing = ByWorlds(believing, space, order.selection, learning, order.own.prior)
    planning = WorldsPlanning(believing, planner, settings, order.preferences(), order.trial_length)
    experimenting = None if space is None or space.models else believing
    return Mind(believing, planning, comparing, experimenting=experimenting)


def _exact(order: Order) -> Mind:
    if _moving(order.model):
        if order.hypotheses is not None:
            raise ValueError(
                "inference of Agent must be 'models' (or None) for hypotheses beside learned transitions or initial states; "
                "got 'exact'"
            )
        return _worlds(order, None, _soft(order))
    if order.own.tables:
        return _individuals(order)
    believing = Exact(order.model)
    components = believing.components
    if order.planner.search == "states":
        warn_of_separate_gains(order.model, order.planner)
        states = MarginalPlanning(order.model, order.planner, "factorised", order.preferences(), order.trial_length)
        return Mind(believing, _Converted(states, partial(marginals_of, components)), _soft(order))
    gain = None
    if order.hypotheses is not None:
        scores = MarginalPlanning(order.model, order.planner, "factorised", Preferences(order.model), order.trial_length)
        gain = partial(_gain_of_joint, components, scores)
    planning = JointPlanning(order.model, order.planner, order.tables, order.preferences(), order.trial_length, model_gain=gain)
    return Mind(believing, planning, _soft(order))


def _gain_of_joint(components: Sequence[Component], scores: MarginalPlanning, belief: JointBelief, *rest: Any) -> Floats | None:
    return scores.model_gain(marginals_of(components, belief), *rest)


class _Converted:
    """A way of planning for beliefs that have to be turned into another form first."""

    def __init__(self, planning: Planning, convert: Callable[..., object]) -> None:
        self._planning, self._convert = planning, convert

    def evaluate(self, belief, knowledge, agents, t, model_posterior, curious):  # type: ignore[no-untyped-def]
        return self._planning.evaluate(self._convert(belief), knowledge, agents, t, model_posterior, curious)


class _ByStates:
    """Planning from joint beliefs of some agents by a search over states."""

    def __init__(self, components: Sequence[Component], planning: MarginalPlanning) -> None:
        self._components, self._planning = components, planning

    def evaluate_rows(self, now: JointBelief, knowledge: Knowledge, agents: Ints, t: int, curious: bool) -> Evaluation:
        return self._planning.evaluate(marginals_of(self._components, now), knowledge, agents, t, None, curious)


class _ByMarginals:
    """Planning from what is believed about each factor by itself, whatever the way of believing."""

    def __init__(self, believing: Believing, planning: MarginalPlanning) -> None:
        self._believing, self._planning = believing, planning

    def evaluate(
        self, belief: Any, knowledge: Knowledge, agents: Ints, t: int, model_posterior: Floats | None, curious: bool
    ) -> Evaluation:
        marginals = Belief.of(self._believing.marginals(belief))
        return self._planning.evaluate(marginals, knowledge, agents, t, model_posterior, curious)


def _by_factors(name: str) -> Callable[[Order], Mind]:
    def make(order: Order) -> Mind:
        believing = ByFactors(order.model, name, order.rounds)
        model, planner, comparing = order.model, order.planner, _soft(order)
        if order.learning.smooth:
            check_hindsight(model)
        own_moves = any(table.kind == "B" for table in model.learned)
        marginal = lambda p: MarginalPlanning(order.model, planner, name, p, order.trial_length, order.rounds)  # noqa: E731
        # where factors move each other, the future is a product of marginals too, if gains are sums: SPM's and pymdp's values
        apart = planner.modalities == "separate" and planner.depth == 0 and _interact(model)
        if planner.search == "states" or apart or own_moves or not _fits(model):
            if planner.search != "states" and planner.depth > 0:
                why = "its coupled factors have too many joint states for exact beliefs, which a search over outcomes needs"
                if own_moves:
                    why = f"agents learn its transitions, and a search over outcomes needs inference='exact' then; got {name!r}"
                raise ValueError(f"search of Planner must be 'states' for this model: {why}")
            warn_of_separate_gains(model, planner)
            return Mind(believing, marginal(order.preferences()), comparing)
        gain = None
        if order.hypotheses is not None:
            gain = marginal(Preferences(model)).model_gain
        components = components_of(model)
        planning = JointPlanning(
            model,
            planner,
            order.tables,
            order.preferences(),
            order.trial_length,
            joint=partial(joint_of, components),
            model_gain=gain,
        )
        return Mind(believing, planning, comparing)

    return make


def _interact(model: POMDP) -> bool:
    return any(set(deps) - {f} for f, deps in enumerate(model.B_dependencies))  # type: ignore[arg-type]


def _fits(model: POMDP) -> bool:
    try:
        for c in components_of(model):
            check_size(model, c)
    except ValueError:
        return False
    return True


def _models(order: Order) -> Mind:
    if order.hypotheses is None:
        raise ValueError("reasoning of Agent needs hypotheses to reason about; got None")
    learning = order.learning
    by_table = isinstance(learning.rate, Mapping) or isinstance(learning.retention, Mapping)
    if not order.hypotheses.plain or _moving(order.model) or order.selection.at_once or by_table:
        return _worlds(order, order.hypotheses)
    settings = order.reasoning or Reasoning()
    believing = _reasoning(order, order.hypotheses, settings)
    if believing is None:
        return _by_factors("sequential")(order)
    planner, together = order.planner, order.planner.modalities == "together"
    plug_in = planner.model_gain == "plug-in" and "model" in planner.gains
    comparing = ByPosterior(believing, order.hypotheses, order.selection, order.learning, order.own.prior, plug_in)
    if plug_in:
        return Mind(believing, _plugged_in(order, settings, believing), comparing, experimenting=believing)
    acting: JointPlanning | _ByStates
    if planner.search == "states":
        states = MarginalPlanning(order.model, planner, "factorised", order.preferences(), order.trial_length)
        acting = _ByStates(believing.inner.components, states)
    else:
        acting = JointPlanning(order.model, planner, order.tables, order.preferences(), order.trial_length)
    if isinstance(believing, SharedEvidence):
        thinking: Thinking = SharedProspects(believing.reasoner, together)
    else:
        thinking = OwnProspects(believing, order.tables, planner.gains, together, settings.lookahead > 0)
    planning: Planning = ReasonedPlanning(
        order.model, thinking, planner, settings, order.preferences(), order.trial_length, acting
    )
    return Mind(believing, planning, comparing, experimenting=believing)


def _plugged_in(order: Order, settings: Reasoning, believing: SharedEvidence | OwnEvidence) -> _ByMarginals:
    """Planning with the plug-in gain, which scores hypotheses by the counts in tables, and sees marginals of states."""
    planner = order.planner
    if settings.counts != "shared" or planner.search != "states" or settings.lookahead:
        raise ValueError(
            "model_gain of Planner must be 'exact' for agents that reason exactly; 'plug-in' is had with "
            "inference='sequential' (or with counts='shared' and lookahead=0 of Reasoning and search='states' of Planner)"
        )
    return _ByMarginals(
        believing, MarginalPlanning(order.model, planner, "factorised", order.preferences(), order.trial_length)
    )


def _reasoning(order: Order, space: HypothesisSpace, settings: Reasoning) -> SharedEvidence | OwnEvidence | None:
    """Beliefs about hypotheses and states as far as they can be kept; None, with a warning, if they cannot."""
    model, offset, rate = order.model, order.selection.offset, order.learning.rate
    large = "{} hypotheses and the states would hold {} numbers per agent, more than max_size={}: {}"
    joint = joint_size(model, len(space.distinct()[0]))
    if settings.counts == "own":
        size = own_size(model, space)
        if size <= settings.max_size:
            return OwnEvidence(model, space, offset, settings, rate)
        if joint <= settings.max_size and not order.own.preferences:
            try:
                shared = SharedEvidence(model, space, offset, settings, rate)
            except ValueError:
                pass
            else:
                what = large.format(len(space), size, settings.max_size, "they share their counts instead")
                warnings.warn(f"counts of their own of {what} (Reasoning(counts='shared'))", stacklevel=4)
                return shared
        joint = size
    elif joint <= settings.max_size:
        if order.own.preferences:
            raise ValueError("counts of Reasoning must be 'own' for agents with preferences of their own; got 'shared'")
        return SharedEvidence(model, space, offset, settings, rate)
    what = large.format(len(space), joint, settings.max_size, "beliefs are kept as factor marginals instead")
    warnings.warn(f"the joint posterior of {what}", stacklevel=4)
    return None


def _paths(order: Order) -> Mind:
    planner = order.planner
    if planner.depth > 0:
        raise ValueError(f"depth of Planner must be 0 for message passing, which looks one step ahead; got {planner.depth}")
    if order.reasoning is not None or (order.hypotheses is not None and "model" in planner.gains):
        raise ValueError("message passing must go without reasoning and without the gain about models: it knows neither")
    if order.selection.curious:
        raise ValueError("curious of Selection must be False for message passing: its preferences are always in force")
    gains = [g for g in planner.gains if g != "model"]
    settings = PathSettings.curiosity() if order.paths is None else order.paths
    if settings.eta != 1.0:
        raise ValueError(
            f"eta of PathSettings must be 1 for agents, who learn at the rates of Learning, rate={{'pB': ..., 'pE': ...}}; got "
            f"{settings.eta}"
        )
    trial = settings.policies == "trial"
    if trial and order.introspects and Table("E", -1) in order.model.learned:
        raise ValueError("pE of POMDP must be per factor for agents that introspect: trials lived again choose no policy")
    preferences = Preferences(order.model, LOG_FLOOR if settings.quirks else None, order.own.preferences)
    gamma = planner.gamma
    inference = PathInference(order.model, order.trial_length, gains, gamma, preferences.at, settings)
    believing = (AlongTrials if trial else AlongPaths)(order.model, inference)
    return Mind(believing, PathPlanning(inference, planner), _soft(order), scheme=inference)


def _spm(order: Order) -> Mind:
    for name, given in (("hypotheses", order.hypotheses), ("introspection", order.introspects)):
        if given:
            raise ValueError(f"{name} of Agent must be left out for inference='spm', which only learns counts; got {given!r}")
    believing = AlongMoves(order.model)
    planning = SpmPlanning(order.model, order.planner, order.preferences(), order.trial_length)
    return Mind(believing, planning, _soft(order), learner=MoveLearning(order.model, order.learning, believing))


WAYS: dict[str, Callable[[Order], Mind]] = {
    "exact": _exact,
    "factorised": _by_factors("factorised"),
    "sequential": _by_factors("sequential"),
    "mean-field": _by_factors("mean-field"),
    "paths": _paths,
    "models": _models,
    "spm": _spm,
}
"""Ways of believing, by name."""
