"""The rule-learning paradigm of 2017, in which "aha moments" were first simulated (Friston et al., "Active inference,
curiosity and insight", Neural Computation 29).

A cue at the centre names a rule: red: the correct colour is shown at the left; green: the correct colour is green; blue: it is
shown at the right. The agent looks around and reports a colour, at the latest in the last two of six steps. It knows what the
cue looks like and what feedback means, but not what is to be seen at the left and at the right. After every trial, sleep can
show it that what it has seen has a simple structure: a *motif*, which says at which place each rule's colour is shown, and how
each colour looks there (6 x 6 = 36 motifs).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np

from activebmr import (
    POMDP,
    Agent,
    Alternatives,
    HypothesisSpace,
    Introspection,
    Learning,
    Paradigm,
    Planner,
    Result,
)
from activebmr.arrays import standard_error

NAME = "insight"
DESCRIPTION = "find out, awake or asleep, where a rule shows the correct colour (Friston et al. 2017)"
SCHEMES = {
    "knowing": "an agent that knows what is to be seen where from the start",
    "naive": "an agent that learns what is to be seen where, and never sleeps",
    "sleep": "the same, and after every trial the best of 36 motifs is adopted if it is 3 nats better than none",
    "sleep-dream": "the same, and when it has changed its mind, an agent lives through all trials again in a dream",
    "sleep-own": "as sleep, but what was seen is credited to what the agent has come to believe in (SPM's way)",
    "instructed": "a naive agent that was told the motif: the reduced prior of one that has slept",
}
DEFAULT_SCHEME = "sleep"
SCENE = "insight_scene.js"
PLANNERS = {
    "2017": "message passing along paths, one step ahead: number for number SPM's scheme of 2017",
    "sophisticated": "filtered beliefs, and a search over what may be done and where it may lead in the next two steps",
}
ADOPTIONS = {
    "claims": "all counts of a column go to the outcome that the motif claims there (SPM's way): nothing else can be seen",
    "reduced": "the motif's 8 counts and the evidence: it may yet turn out otherwise",
}
OPTIONS = {"planner": tuple(PLANNERS), "adopt": tuple(ADOPTIONS)}

RULES = ("left", "centre", "right")
COLOURS = ("red", "green", "blue")
TRIAL_LENGTH = 6
KNOWN_COUNTS = 128.0
CLAIMED_COUNTS = 8.0
WINDOW = 3.0
"""Nats by which a motif must be better than none to be adopted."""
DEPTH = 1


@cache
def world_model() -> POMDP:
    """The paradigm with the paper's motif: what is seen where, what feedback means, how gaze and report move."""
    what, where, feedback = np.zeros((4, 3, 3, 4, 4)), np.zeros((4, 3, 3, 4, 4)), np.zeros((3, 3, 3, 4, 4))
    for rule, colour, gaze, report in np.ndindex(3, 3, 4, 4):
        state = rule, colour, gaze, report
        if gaze == 3:
            what[(3, *state)] = 1.0
        elif gaze == 1:
            what[(rule, *state)] = 1.0
        elif gaze == rule:
            what[(colour, *state)] = 1.0
        else:
            what[(slice(0, 3), *state)] = 1 / 3
        where[(gaze, *state)] = 1.0
        correct = 1 if rule == 1 else colour
        feedback[(0 if report == 3 else 1 if report == correct else 2, *state)] = 1.0
    preferences = np.zeros((TRIAL_LENGTH, 3))
    preferences[:, 2], preferences[-2:, 0] = -4.0, -8.0
    still, move = np.eye(3)[:, :, None], np.repeat(np.eye(4)[:, None, :], 4, axis=1)
    places, reports = [*RULES, "start"], [*COLOURS, "undecided"]
    return POMDP(
        A=[what, where, feedback],
        B=[still, still, move, move],
        C=[None, None, preferences],
        D=[None, None, np.eye(4)[3], np.eye(4)[3]],
        policies=[[0, 0, place, 3] for place in range(3)] + [[0, 0, 3, colour] for colour in range(3)],
        labels={
            "factor": ["rule", "colour", "gaze", "report"],
            "modality": ["what", "where", "feedback"],
            "states": {"rule": RULES, "colour": COLOURS, "gaze": places, "report": reports},
            "outcomes": {"what": [*COLOURS, "null"], "where": places, "feedback": ["undecided", "right", "wrong"]},
            "controls": {"gaze": places, "report": reports},
        },
    )


@cache
def naive_counts() -> np.ndarray:
    """What a naive agent expects to see ``(4, 3, 3, 4, 4)``: one count on each colour at the left and at the right."""
    counts = KNOWN_COUNTS * world_model().A[0]
    counts[:3, :, :, 0] = counts[:3, :, :, 2] = 1.0
    return counts


MOTIFS = [(places, looks) for places in permutations(range(3)) for looks in permutations(range(3))]
"""``places[rule]`` is where a rule shows its colour; ``looks[outcome]`` is the colour that looks so. In SPM's order."""


def claims(motif: int) -> np.ndarray:
    """What a motif says is to be seen ``(4, 3, 3, 4, 4)``, while the agent is undecided: 1 where it says so."""
    places, looks = MOTIFS[motif]
    claim = np.zeros((4, 3, 3, 4, 4))
    for rule, place in enumerate(places):
        for outcome, colour in enumerate(looks):
            claim[outcome, rule, colour, place, 3] = 1.0
    return claim


def _sentence(motif: int) -> str:
    places, looks = MOTIFS[motif]
    where = ", ".join(f"{rule} rule: {RULES[place]}" for rule, place in zip(RULES, places, strict=True))
    changed = [f"{COLOURS[c]} looks {COLOURS[o]}" for o, c in enumerate(looks) if c != o]
    return f"where each rule shows its colour: {where}" + (f"; {', '.join(changed)}" if changed else "")


def _space(counts: list[np.ndarray]) -> HypothesisSpace:
    names = ["".join(RULES[p][0] for p in places) + " " + "".join(COLOURS[c][0] for c in looks) for places, looks in MOTIFS]
    sentences = [_sentence(motif) for motif in range(len(MOTIFS))]
    return HypothesisSpace(dict(zip(names, ({0: c} for c in counts), strict=True)), descriptions=sentences)


@cache
def motifs() -> HypothesisSpace:
    """The 36 motifs as reduced priors: 8 more counts where a motif says what is seen."""
    return _space([naive_counts() + CLAIMED_COUNTS * claims(motif) for motif in range(len(MOTIFS))])


@cache
def worlds() -> HypothesisSpace:
    """The worlds in which each motif is true, as likelihoods; the first one is the paper's.

    At the left and at the right a rule's colour is seen where its motif says so, whatever the agent reports, and any colour
    elsewhere. At the centre there is always the cue.
    """
    likelihoods = []
    for motif in range(len(MOTIFS)):
        claim = claims(motif)[..., 3:].repeat(4, axis=-1) * (naive_counts() == 1.0)
        likelihoods.append(np.where(claim.any(axis=0), claim, naive_counts() / naive_counts().sum(axis=0)))
    return _space(likelihoods)


SOLVABLE = [motif for motif, (places, _) in enumerate(MOTIFS) if places[1] == 1]
"""Worlds in which the left and the right rule both show their colour somewhere: a random truth is one of these."""


def model_space(adopt: str = "claims") -> Alternatives:
    """What sleep searches: the motifs, scored as in SPM and adopted in one of the `ADOPTIONS`.

    SPM's motifs also claim colours at the centre, which the prior excludes: that counts against a motif a little.
    """
    if adopt not in ADOPTIONS:
        raise ValueError(f"adopt of {NAME} must be one of {list(ADOPTIONS)}; got {adopt!r}")
    return Alternatives(motifs(), threshold=WINDOW, offset=1 / 32, adopt=adopt, check_support=False)


def paradigm(
    scheme: str = DEFAULT_SCHEME,
    true_rule: int | str | None = None,
    *,
    planner: str = "2017",
    adopt: str = "claims",
    depth: int | None = None,
    agent: Agent | None = None,
) -> Paradigm:
    """The paradigm under one of its `SCHEMES`.

    Args:
        scheme: name of the scheme.
        true_rule: index of the motif that is true in the world (0, the paper's, by default), or ``"random"`` for another
            solvable one per agent.
        planner: name of one of the `PLANNERS`.
        adopt: name of one of the `ADOPTIONS`.
        depth: steps that the sophisticated planner looks ahead beyond the next one, 1 by default.
        agent: agents to use instead of the scheme's.

    Raises:
        ValueError: for an unknown scheme or planner, a motif out of range, or agents that were told a random one.
    """
    if scheme not in SCHEMES and agent is None:
        raise ValueError(f"scheme of {NAME} must be one of {list(SCHEMES)}; got {scheme!r}")
    truth: int | str = 0 if true_rule is None else true_rule
    settings = {"true_rule": truth, "planner": planner, "adopt": adopt}
    world = world_model()
    # the world alone first: it checks the truth before an agent is made for it
    nobody = Agent(world, trial_length=TRIAL_LENGTH)
    bare = Paradigm(
        NAME,
        scheme,
        nobody,
        world,
        TRIAL_LENGTH,
        worlds(),
        truth,
        {2: (0.0, 1.0, -1.0)},
        settings,
        candidates=SOLVABLE,
        measures=MEASURES,
    )
    return replace(bare, agent=agent or sleeper(scheme, truth, planner=planner, adopt=adopt, depth=depth))


def sleeper(
    scheme: str, truth: int | str = 0, *, planner: str = "2017", adopt: str = "claims", depth: int | None = None
) -> Agent:
    """The agents of a scheme; see `paradigm`."""
    if planner not in PLANNERS:
        raise ValueError(f"planner of {NAME} must be one of {list(PLANNERS)}; got {planner!r}")
    if planner == "2017" and depth is not None:
        raise ValueError(f"depth of {NAME} must not be given for the planner '2017', which looks one step ahead; got {depth}")
    world = world_model()
    if scheme in ("knowing", "instructed") and truth == "random":
        raise ValueError(f"true_rule must be a number for the scheme {scheme!r}: all its agents know one motif; got 'random'")
    if scheme == "knowing":
        model = world.with_(A=[worlds().dense(int(truth), 0), *world.A[1:]])
    else:
        prior = naive_counts()
        if scheme == "instructed":
            prior = model_space(adopt).adopted(int(truth), prior[None], prior[None])[0][0]
        model = world.with_(A=[None, *world.A[1:]], pA=[prior, None, None])
    sleeps = {
        "sleep": Introspection(model_space(adopt), evidence="unbiased"),
        "sleep-dream": Introspection(model_space(adopt), evidence="unbiased", dream="remembered"),
        "sleep-own": Introspection(model_space(adopt), evidence="own"),
    }
    old = planner == "2017"
    ahead = 0 if old else DEPTH if depth is None else depth
    return Agent(
        model,
        planner=Planner(ahead, gains=("state", "param"), search="states", modalities="separate", extra_step=True),
        inference="paths" if old else "factorised",
        learning=Learning(smooth=True),
        introspection=sleeps.get(scheme),
        trial_length=TRIAL_LENGTH,
    )


def hits(result: Result) -> np.ndarray:
    """Trials that were answered right and never wrong ``(scheme, agent, trial)``, as SPM counts them."""
    return (result.wins > 0) & (result.losses == 0)


def aha_trial(result: Result) -> np.ndarray:
    """Trial after which sleep first finds the true motif, counted from 0 ``(scheme, agent)``; -1 for never.

    Found is: the best motif is the true one, and its evidence is `WINDOW` nats better than none's.
    """
    truth = np.broadcast_to(result.true_model, result.adopted_model.shape)[..., None]
    found = (result.best_model == truth) & (result.log_odds >= WINDOW)
    return np.where(found.any(axis=-1), found.argmax(axis=-1), -1)


def _trials_to_insight(result: Result) -> np.ndarray:
    aha = aha_trial(result)
    return np.where(aha < 0, np.nan, aha + 1.0)


MEASURES = {
    "answered_right": ("trials that were answered right, and never wrong", "share", hits),
    "trials_to_insight": ("trials until sleep first finds the true motif (missing, if never)", "trials", _trials_to_insight),
}
"""What is counted: the first says what counts as success."""


def table(result: Result) -> tuple[list[str], list[list[str]], list[str]]:
    """What the command prints: one row per scheme."""
    last = min(8, result.sizes["trial"])
    hit, aha = hits(result), aha_trial(result)
    rows = []
    for s, scheme in enumerate(result.schemes):
        slept = bool((result.best_model[s] >= 0).any())
        when = aha[s][aha[s] >= 0] + 1
        rows.append(
            [
                scheme,
                f"{np.mean(aha[s] >= 0):.0%}" if slept else "-",
                str(int(result.adopted_wrong[s].sum())) if slept else "-",
                f"{np.median(when):g} ({when.min()}-{when.max()})" if len(when) else "-",
                _percent(hit[s].mean(axis=1)),
                _percent(hit[s, :, -last:].mean(axis=1)),
                _pm(result.free_energy[s].mean(axis=1)),
                _pm(result.confidence[s].mean(axis=1)),
            ]
        )
    notes = [
        "found: agents whose sleep found the true motif at some time; wrong: agents that hold another one in the end",
        "aha: the trial after which it was first found, median (range)",
        f"correct: trials answered right and never wrong, of all and of the last {last}",
        "free energy, confidence: nats per trial, as the planner counts them; +-: standard error over agents",
    ]
    return ["scheme", "found", "wrong", "aha", "correct", f"last {last}", "free energy", "confidence"], rows, notes


def _pm(values: np.ndarray) -> str:
    return f"{values.mean():.2f}" + (f" +- {standard_error(values):.2f}" if len(values) > 1 else "")


def _percent(values: np.ndarray) -> str:
    return f"{100 * values.mean():.1f}" + (f" +- {100 * standard_error(values):.1f}%" if len(values) > 1 else "%")


def figures(result: Result, folder: str | Path) -> list[Path]:
    """Draw a result of this paradigm into a folder and return the files written (imports matplotlib)."""
    from activebmr.paradigms.insight_figures import figures as draw

    return draw(result, folder)
