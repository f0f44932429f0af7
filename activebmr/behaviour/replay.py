"""`replay`: let agents live through a recording, of another program or of people, and report what they would have thought.

Agents perceive the recorded outcomes, learn, evaluate policies and select models as always, but the world and the actions are
the recording's. This is how recorded participants are analysed: how probable a scheme makes what they did says how well it
explains them. Two probabilities answer that: those by which the scheme's agents act (softmax of alpha x what policies are
worth, which for a large alpha makes the smallest lapse all but impossible), and the posterior over policies ``q_pi`` (precision
gamma).
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr import checks
from activebmr.agent.acting import ActionProbabilities
from activebmr.agent.agent import Agent
from activebmr.agent.state import AgentState
from activebmr.arrays import Bools, Ints
from activebmr.behaviour.recordings import Recording
from activebmr.model.layout import dynamics_of
from activebmr.simulation.paradigm import Paradigm, stream
from activebmr.simulation.recorder import Recorder, divergence_from, nothing, surprise_of_truth

__all__ = ["replay"]

_AT_ONCE = 64  # participants in a batch, as many as simulations put into one


def replay(
    paradigm: Paradigm,
    states: Any = None,
    controls: Any = None,
    outcomes: Any = None,
    *,
    true_model: Any = None,
    every_policy: bool = True,
) -> dict[str, NDArray[Any]]:
    """Let agents of a paradigm live through recorded trials, one agent for each participant.

    Trials end where nothing was observed and nothing chosen any more; they may also be handed over as lists of arrays of
    unequal length, ``[array (modality, time), ...]``, and participants as lists of these. Participants do not know of one
    another: each one's numbers are those of a replay of his recording alone.

    Args:
        paradigm: gives the agents, and the truth that their likelihood is compared with (``kl_to_truth`` is nan if random).
        states: the world's states ``(trial, factor, time)``, 0-based, -1 where they are not known; None if they were not
            recorded. Kept beside the result; agents see them only if the scheme tells them what no action sets before a trial
            (``preparation`` of `Paradigm`).
        controls: controls ``(trial, factor, time)`` applied between t and t + 1, or one time less: at the last time they are
            not used. -1 for a response that was missed: it is not scored, and the world went on with control 0, or with the
            control that explains the recorded states if they say otherwise.
        outcomes: what was observed ``(trial, modality, time)``, -1 for what was missed.
        true_model: the hypothesis that was true ``(participant,)`` or one for all, -1 where it is not known; by default the
            paradigm's. ``kl_to_truth`` is nan where there is none.
        every_policy: evaluate every policy, also those that the scheme's own search would cut off, so that nothing that people
            do is scored with a penalty; False evaluates as the scheme does when it acts by itself.

    Returns:
        named arrays, 0-based, nats; with several participants (arrays with an axis for them before all others) that axis leads.
        How well the scheme explains every choice, axes (trial, time), nan where nothing was chosen: ``log_likelihood`` of what
        was done and ``action_probability``, by the probabilities with which the agents act; ``log_likelihood_q_pi``, by the
        posterior over policies; ``chance``, share of the policies that do that. What no policy does has -inf.

        Axes (trial, time, policy): ``neg_efe``, ``utility``, ``state_info_gain``, ``param_info_gain``, ``model_info_gain``,
        ``q_pi``. Axes (trial, time, ...): ``qs_<factor>``, ``model_posterior``, ``free_energy``, ``impossible`` (whether the
        agent's model held the observation impossible), ``confidence``, ``policy`` (first one that does what was done, -1 if
        none does or nothing was chosen), ``controls`` and ``outcomes`` as recorded, ``states`` if they were. Axes (trial, ...):
        ``pA_<modality>`` (end of the trial, after forgetting, before a model is adopted), ``log_odds``, ``kl_to_truth``,
        ``adopted_model`` (in force after the trial, -1 for none). Times and trials that a participant does not have are nan, -1
        or False.

    Raises:
        ValueError, TypeError: if the arrays do not have the same trials and times, do not hold whole numbers or lie out of
            range; if the scheme is to be told states that were not recorded; or if its agents cannot evaluate every policy.

    Example:
        >>> told = replay(three_ball.paradigm("paper"), **load_recording("participant7.npz"))
        >>> np.nansum(told["log_likelihood_q_pi"])
    """
    checks.an(Paradigm)(paradigm, "paradigm")
    checks.flag(every_policy, "every_policy")
    recording = Recording.of(paradigm.model, states, controls, outcomes)
    _check(paradigm, recording)
    agent = _thorough(paradigm.agent) if every_policy else paradigm.agent
    truths = _truths(paradigm, true_model, recording.n_participants)
    out: dict[str, NDArray[Any]] = {}
    for lengths, who, wanted in _batches(agent, recording.lengths):
        arrays = _live(replace(paradigm, agent=agent), recording, who, lengths, truths[who])
        for name, array in arrays.items():
            if name not in out:
                shape = (recording.n_participants, *array.shape[1:])
                out[name] = np.full(shape, nothing(array.dtype), dtype=array.dtype)
            out[name][who[wanted]] = array[wanted]
    _blank(out, recording.lengths)
    return {name: array[0] for name, array in out.items()} if recording.single else out


def _check(paradigm: Paradigm, recording: Recording) -> None:
    longest = int(recording.lengths.max())
    if longest > paradigm.trial_length:
        raise ValueError(f"outcomes of the recording must have at most {paradigm.trial_length} times per trial; got {longest}")
    if paradigm.preparation is None:
        return
    why = f"the scheme {paradigm.scheme!r} knows them before a trial (preparation={paradigm.preparation!r})"
    if recording.states is None:
        raise ValueError(f"states of the recording must be given: {why}; got None")
    # what no action sets, as `Agent.tell` has it; what is sure before a trial need not be told, but may be chosen otherwise
    sure = [paradigm.preparation == "told" and _sure(paradigm, f) for f in range(paradigm.model.num_factors)]
    unset = [f for f, kind in enumerate(dynamics_of(paradigm.agent.model).kind) if kind != "set" and not sure[f]]
    unknown = (recording.states[:, :, 0, unset] < 0) & (recording.lengths > 0)[:, :, None]
    if unknown.any():
        k, i, f = (int(x) for x in np.argwhere(unknown)[0])
        raise ValueError(
            f"states of the recording must be known at the first time of every trial: {why}; factor {unset[f]} has -1 in trial "
            f"{i} of participant {k}"
        )


def _truths(paradigm: Paradigm, true_model: Any, n: int) -> Ints:
    """The true hypothesis of each participant ``(n,)``; -1 where it is not known or there are none."""
    if paradigm.hypotheses is None:
        return np.full(n, -1)
    if true_model is None:
        return np.full(n, -1 if paradigm.truth == "random" else int(paradigm.truth))  # type: ignore[arg-type]
    given = np.asarray(true_model)
    most = len(paradigm.hypotheses) - 1
    if given.dtype.kind not in "iu" or given.shape not in ((), (1,), (n,)) or (given < -1).any() or (given > most).any():
        raise ValueError(
            f"true_model must be hypotheses in -1..{most}, one or {n} (one for each participant); got {given.tolist()!r:.80}"
        )
    return np.broadcast_to(given, (n,)).astype(np.intp)


def _sure(paradigm: Paradigm, factor: int) -> bool:
    """Whether a factor begins every trial in the same state, and the agents know it."""
    world, mind = paradigm.model.D[factor], paradigm.agent.model.D[factor]  # type: ignore[index]
    return bool(((world == 1) & (mind == 1)).any())


def _thorough(agent: Agent) -> Agent:
    """The same agents, whose planning cuts off no policy; what they believe and learn stays the same."""
    paths, planner = agent.given["paths"], agent.planner
    if agent.inference == "paths" and paths is not None and np.isfinite(paths.zeta):
        raise ValueError(
            f"zeta of PathSettings must be inf for a replay in which every policy is evaluated: what such agents believe rests "
            f"on the policies that they drop (zeta={paths.zeta:g}); use every_policy=False to score them as they are"
        )
    if planner.search == "states" and planner.depth > 0 and planner.policy_cutoff > 0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what there was to say was said when the agents were made
            return agent.with_(planner=replace(planner, policy_cutoff=0.0))
    return agent


# --- participants in batches -----------------------------------------------------------------------------------------------
def _batches(agent: Agent, lengths: Ints) -> list[tuple[Ints, Ints, Ints]]:
    """Which participants live together: the lengths of their trials, who they are, and which of these are wanted.

    A batch goes through its trials in step, so its participants have trials of the same lengths; some may have fewer trials.
    """
    kept = [np.trim_zeros(row, "b") for row in lengths]
    groups: list[tuple[Ints, list[int]]] = []
    for k in sorted(range(len(kept)), key=lambda k: -len(kept[k])):
        for whole, members in groups:
            if np.array_equal(whole[: len(kept[k])], kept[k]):
                members.append(k)
                break
        else:
            groups.append((lengths[k], [k]))
    if agent.differ and len(lengths) > 1:  # each agent of the whole batch has settings of its own
        everyone = np.arange(len(lengths))
        return [(whole, everyone, np.array(sorted(members))) for whole, members in groups]
    out = []
    for whole, members in groups:
        ordered = np.array(sorted(members))
        for a in range(0, len(ordered), _AT_ONCE):
            part = ordered[a : a + _AT_ONCE]
            out.append((whole, part, np.arange(len(part))))
    return out


def _blank(out: dict[str, NDArray[Any]], lengths: Ints) -> None:
    """Take away what the agents of participants with fewer trials went on with."""
    for k, row in enumerate(lengths):
        n = len(np.trim_zeros(row, "b"))
        for name, array in out.items():
            array[k, n:] = array[k, max(n - 1, 0)] if name == "adopted_model" else nothing(array.dtype)


def _live(paradigm: Paradigm, recording: Recording, who: Ints, lengths: Ints, truths: Ints) -> dict[str, NDArray[Any]]:
    """The lives of a batch of participants, with an axis for them."""
    model, agent, n = paradigm.model, paradigm.agent, len(who)
    known = truths >= 0 if paradigm.hypotheses is not None else np.ones(n, dtype=bool)
    true = None if paradigm.hypotheses is None else np.maximum(truths, 0)  # (of those that are not known nothing is told)
    process = paradigm.world(0, who, true)
    chosen, applied = recording.chosen(model)[who], recording.applied(model)[who]
    recorded, seen = recording.controls[who], recording.outcomes[who]
    states = None if recording.states is None else recording.states[who]
    state, recorder = agent.init(n), Recorder(agent.model, recording.outcomes.shape[2])
    dreams = [stream(0, 0, 2) for _ in who]  # the same for everyone, as if he were alone
    adopted, space = [], agent.hypotheses
    for i, length in enumerate(lengths):
        if length == 0:
            recorder.skip()
            adopted.append(state.adopted.copy())
            continue
        if states is not None and paradigm.preparation is not None:
            _tell(paradigm, agent, state, states[:, i, 0])
        for t in range(length):
            info = agent.life.advance(state, list(seen[:, i, t].T), np.zeros(n), applied[:, i, t])
            more = {"outcomes": seen[:, i, t], "controls": recorded[:, i, t]}
            if states is not None:
                more["states"] = states[:, i, t]
            recorder.step(info, **_scores(info.acting, recorded[:, i, t], chosen[:, i, t]), **more)
        divergence = divergence_from(state, process)
        done = agent.life.conclude(state, dreams)
        if space is not None and not space.plain and true is not None and done.model_posterior is not None:
            divergence = surprise_of_truth(done.model_posterior, true, space.distinct()[1])  # as `simulate` has it
        recorder.trial(done, np.where(known, divergence, np.nan))
        adopted.append(state.adopted.copy())
    return recorder.arrays() | {"adopted_model": np.stack(adopted, axis=1)}


def _tell(paradigm: Paradigm, agent: Agent, state: AgentState, states: Ints) -> None:
    """What agents know of a trial before it begins. Those that set states themselves do so while it teaches them something."""
    if paradigm.preparation == "chosen":
        asked = agent.experiments(state)
        states = np.where(asked >= 0, states, -1)
    state.belief = agent.told(state, states)


def _scores(acting: ActionProbabilities, controls: Ints, chosen: Bools) -> dict[str, NDArray[Any]]:
    """How probable the recorded controls ``(n, n_factors)`` were; nan where nothing was chosen."""
    log, does = acting.log_of(controls), acting.begin(controls)
    scores = {
        "log_likelihood": log,
        "log_likelihood_q_pi": acting.log_q_pi_of(controls),
        "action_probability": np.exp(log),
        "chance": does.mean(axis=1),
    }
    out = {name: np.where(chosen, value, np.nan) for name, value in scores.items()}
    return out | {"policy": np.where(chosen & does.any(axis=1), does.argmax(axis=1), -1)}
