"""`activebmr new NAME`: a paradigm of one's own to begin with, a small T-maze with every part explained."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import sys
from pathlib import Path

__all__ = ["next_steps", "skeleton", "write_paradigm"]


def write_paradigm(name: str, folder: str | os.PathLike[str] = ".") -> Path:
    """Write a paradigm into a file of its own, ``my_maze.py`` for ``"my-maze"``.

    Args:
        name: what the paradigm is to be called: letters, digits, ``-`` and ``_``, a letter first; a final ``.py`` is dropped.
        folder: where to; it must be there.

    Returns:
        the file's path.

    Raises:
        ValueError: if the name is none, or that of an installed paradigm, or the file is there already.
    """
    from activebmr.simulation.registry import paradigm_names

    plain = name.removesuffix(".py")
    stem = plain.replace("-", "_")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", plain) or keyword.iskeyword(stem):
        raise ValueError(f"NAME must be letters, digits, - and _, and begin with a letter, such as my-maze; got {name!r}")
    if plain in paradigm_names():
        raise ValueError(f"NAME must not be that of an installed paradigm; got {name!r} (say my-{plain}, for instance)")
    path = Path(folder) / f"{stem}.py"
    if len(plain) > 100:
        raise ValueError(f"NAME must have at most 100 letters; got {len(plain)}")
    if not path.exists() and _imports(stem):
        raise ValueError(f"NAME must not be that of a Python module; got {name!r} (say my-{plain}, for instance)")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(skeleton(plain))
    except FileExistsError:
        raise ValueError(f"{path} is there already, and nothing is replaced: give another name, or move it away") from None
    return path


def _imports(stem: str) -> bool:
    """Whether there is a module of this name, which a file would hide, or be hidden by; files of paradigms that this process
    has loaded do not count.
    """
    from activebmr.simulation.registry import folders_of_files

    if stem in sys.stdlib_module_names:
        return True
    try:
        spec = importlib.util.find_spec(stem)
    except (ImportError, ValueError):  # of modules that are half there
        return True
    return spec is not None and (spec.origin is None or str(Path(spec.origin).parent) not in folders_of_files())


def next_steps(path: Path) -> list[str]:
    """What to do with the file, line by line."""
    here = f"./{path.name}" if path.parent == Path(".") else str(path)
    name = re.search(r'^NAME = "(.*)"', path.read_text(encoding="utf-8"), re.MULTILINE)
    folder = f"results/{name[1]}" if name else "results"
    return [
        f"written: {here}, a T-maze with three hypotheses about what its cue means",
        f"  run it:              activebmr run {here}",
        f"  compare its schemes: activebmr run {here} --scheme all",
        f"  watch it think:      activebmr run {here} --scheme all --agents 8 --page",
        f"  look at the results: {folder} has figures and result.npz",
        "  make it yours:       change a part, and run it again; every part says what it is for",
    ]


def skeleton(name: str) -> str:
    """The text of the file."""
    return _SKELETON.replace("__NAME__", name).replace("__FILE__", f"{name.replace('-', '_')}.py")


_SKELETON = '''"""__NAME__: a T-maze. A reward is in the left or in the right arm. A cue says where; but what does the cue mean?

Run it with:  activebmr run ./__FILE__

In every trial the reward is in the left or in the right arm. The agent begins at the centre and moves twice: to the cue, where
it sees one of two signs, or to an arm, where it finds the reward or a loss and has to stay. Three hypotheses say what the signs
mean, and one of them is true, in all trials. The agent has to find out which, while it would rather win than lose.

Everything in capitals below, and the function `paradigm`, is what activebmr looks for (see activebmr.simulation.registry). The
rest is up to you. Everything counts from 0.
"""

import numpy as np

from activebmr import POMDP, Agent, HypothesisSpace, Paradigm, Planner, Reasoning, Selection

# --- what activebmr is told about this file ----------------------------------------------------------------------------------
NAME = "__NAME__"
DESCRIPTION = "find the reward in a T-maze whose cue may tell the truth, lie, or mean nothing"
SCHEMES = {
    "curious": "wants rewards, and to know: where the reward is, and what the cue means",
    "greedy": "wants rewards alone",
}
DEFAULT_SCHEME = "curious"
TRIALS = 24


def rewarded(result):
    """Trials in which the reward was found; `result.wins` has a number for every scheme, agent and trial."""
    return result.wins > 0


def trials_to_truth(result):
    """Trials until each agent adopted the truth, one number for every scheme and agent."""
    return np.where(result.adopted_truth, result.adoption_trial + 1, result.sizes["trial"])


# What is counted, beside what activebmr counts anyway: name -> (sentence, unit, function of the result). The first one says
# what counts as success.
MEASURES = {
    "rewarded": ("trials in which the reward was found", "share", rewarded),
    "trials_to_truth": ("trials until the true hypothesis is adopted (all, if it never is)", "trials", trials_to_truth),
}
# More that activebmr looks for, where it is there: OPTIONS = {"reliability": ["0.95", "0.75"]} for --set reliability=0.75, an
# argument of `paradigm` that is text; figures(result, folder) and table(result) instead of the general ones; SCENE and
# scene_data(paradigm), how the page draws a moment.


# --- the world ---------------------------------------------------------------------------------------------------------------
PLACES = ["centre", "left arm", "right arm", "cue"]
SIDES = ["left", "right"]  # where the reward is; nobody sees it
SIGHTS = ["centre", "left arm", "right arm", "a square", "a circle"]  # what is seen: a place, or at the cue one of two signs
REWARDS = ["nothing", "reward", "loss"]
CUES = {  # hypotheses: the probability of a square if the reward is at the left, and if it is at the right
    "a square means left": (0.95, 0.05),
    "a square means right": (0.05, 0.95),
    "the signs mean nothing": (0.5, 0.5),
}
COUNTS = 1000.0  # how sure each hypothesis is of these probabilities, in observations


def sights(square):
    """Probability of every sight, given the place and the side: an array (sight, place, side)."""
    table = np.zeros((len(SIGHTS), len(PLACES), len(SIDES)))
    for place in range(3):
        table[place, place, :] = 1.0
    for side in range(2):
        table[3, 3, side], table[4, 3, side] = square[side], 1.0 - square[side]
    return table


def rewards():
    """Probability of reward and loss, given the place and the side: an array (reward, place, side)."""
    table = np.zeros((len(REWARDS), len(PLACES), len(SIDES)))
    table[0, [0, 3], :] = 1.0  # nothing at the centre and at the cue
    for side in range(2):
        table[1, 1 + side, side] = 1.0  # the reward is in the arm of its side
        table[2, 2 - side, side] = 1.0  # the other arm is a loss
    return table


def model():
    """What agents know of the world: all but what the signs mean, about which they have counts (pA) to learn from."""
    go = np.repeat(np.eye(len(PLACES))[:, None, :], len(PLACES), axis=1)  # (next, now, control): control u leads to place u,
    go[:, 1:3, :] = np.eye(len(PLACES))[:, 1:3, None]  # but whoever is in an arm stays there
    stay = np.eye(len(SIDES))[:, :, None]  # the reward stays where it is; there is one control, which does nothing
    unsure = COUNTS * np.mean([sights(square) for square in CUES.values()], axis=0)
    return POMDP(
        A=[None, rewards()],  # likelihoods: of sights (learned, see pA) and of rewards
        pA=[unsure, None],
        B=[go, stay],  # transitions: of places and of sides
        # log preferences for nothing, reward and loss, nats. They count at every observation; with large ones (6 and -6, say)
        # what is preferred outweighs what looking tells, and agents stop exploring, or enter no arm at all
        C=[None, [0.0, 2.0, -2.0]],
        D=[[1.0, 0.0, 0.0, 0.0], [0.5, 0.5]],  # trials begin at the centre, with the reward on any side
        labels={
            "factor": ["place", "side"],
            "modality": ["sight", "outcome"],
            "states": {"place": PLACES, "side": SIDES},
            "outcomes": {"sight": SIGHTS, "outcome": REWARDS},
            "controls": {"place": PLACES},
        },
    )


def hypotheses():
    """What the signs may mean: for every hypothesis the counts that it begins with."""
    return HypothesisSpace({name: {"pA[sight]": COUNTS * sights(square)} for name, square in CUES.items()})


# --- the experiment ----------------------------------------------------------------------------------------------------------
def paradigm(scheme=DEFAULT_SCHEME, true_rule=None):
    """The experiment under one of the SCHEMES; `true_rule` is the number of the true hypothesis, or "random"."""
    if scheme not in SCHEMES:
        raise ValueError(f"scheme of {NAME} must be one of {list(SCHEMES)}; got {scheme!r}")
    gains = ("state", "model") if scheme == "curious" else ()  # what agents want to know, beside what they prefer
    agent = Agent(
        model(),
        hypotheses(),
        Planner(depth=1, gains=gains),  # look one move beyond the next,
        reasoning=Reasoning(lookahead=1),  # also while it is not clear which hypothesis is true (what the cue tells pays later)
        selection=Selection(threshold=3.0),  # adopt a hypothesis when its log odds are beyond 3 nats (20 to 1)
    )
    return Paradigm(
        NAME,
        scheme,
        agent,
        model(),
        trial_length=3,  # observations: at the centre, and after each of two moves
        hypotheses=hypotheses(),
        truth="random" if true_rule is None else true_rule,  # another hypothesis is true for every agent
        score={"outcome": (0, 1, -1)},  # what counts as won and lost
    )


if __name__ == "__main__":
    from activebmr import simulate

    print(simulate([paradigm(scheme) for scheme in SCHEMES], n_agents=16, n_trials=TRIALS).with_measures(MEASURES))
'''
