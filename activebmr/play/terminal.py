"""The game in a shell: what is seen is printed, what is done is typed, and afterwards a table compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from activebmr.play.debrief import debrief
from activebmr.play.game import Game
from activebmr.play.journal import Journal, belief_entry, trial_entry
from activebmr.play.room import clean_name
from activebmr.play.setting import Setting

__all__ = ["comparison", "play_in_terminal"]

_FEW = 12  # hypotheses that are printed at once

Ask = Callable[[str], str]
Say = Callable[[str], None]


def play_in_terminal(
    setting: Setting,
    journal: Journal,
    name: str = "",
    ask: Ask | None = None,
    say: Say = print,
    unsaved: list[dict[str, Any]] | None = None,
) -> Game:
    """Let somebody play; every trial is kept as soon as it is over, and "q" or the end of the input ends the game.

    Args:
        setting: the game.
        journal: where it is kept.
        name: what the participant calls himself.
        ask, say: how a line is read (``input``) and printed.
        unsaved: a list that then holds what could not be written; it is tried again with whatever comes next.

    Returns:
        the game, which is over.

    Raises:
        OSError: if the participant cannot be entered; what cannot be written later is a warning, and the game goes on.
    """
    unsaved = [] if unsaved is None else unsaved
    ask = input if ask is None else ask
    number = journal.join(clean_name(name))
    game = Game(setting, setting.agent_of(number))
    moves = setting.paradigm.trial_length - 1
    say(f"{setting.paradigm.name}: {setting.description}" if setting.description else setting.paradigm.name)
    say(f"You play {_count(setting.n_trials, 'trial')} of {_count(moves, 'move')}. Type numbers; q ends the game.")
    try:
        while game.phase != "over":
            if game.phase == "ready":
                game.begin()
                say(f"\ntrial {len(game.trials)} of {setting.n_trials}")
            elif game.phase == "ask":
                trial = len(game.trials) - 1
                game.believe(_asked_belief(setting, ask, say))
                _keep(journal, unsaved, belief_entry(number, trial, game.beliefs[trial]), say)
            else:
                entry = _move(game, number, ask, say)
                if entry is not None:
                    _keep(journal, unsaved, entry, say)
    except EOFError:
        game.leave()
    return game


def _keep(journal: Journal, unsaved: list[dict[str, Any]], entry: dict[str, Any], say: Say) -> None:
    """Write what is new, and what could not be written before; a full disk does not end the game."""
    unsaved.append(entry)
    try:
        journal.add(unsaved)
    except OSError as error:
        say(f"  warning: trial {entry['trial'] + 1} could not be saved ({error}); the game goes on, and it will be tried again")
        return
    unsaved.clear()
    if journal.problem is not None:
        say(f"  warning: {journal.problem}")


def comparison(game: Game) -> tuple[list[str], list[list[str]], list[str]]:
    """What came of a game, the observer and the agent: header, a row for each trial, and sentences (see `debrief`)."""
    told = debrief(game)
    you, observer, agent = told["you"], told["observer"], told["agent"]
    scored, sentences = game.setting.scored, told["hypotheses"]
    cell = lambda values, i: _number(values[i]) if values and i < len(values) else "-"  # noqa: E731
    header = ["trial", *(["you", "agent"] if scored else []), "observer's log odds", "agent's log odds", "you said"]
    rows = []
    for i in range(game.setting.n_trials):
        said = you["beliefs"].get(str(i + 1))
        right = said is not None and said >= 0 and told["classes"][said] == told["classes"][told["truth"]]
        row = [str(i + 1), *([cell(you["score"], i), cell(agent["score"], i)] if scored else [])]
        row += [cell(observer and observer["odds"], i), cell(agent["odds"], i)]
        rows.append([*row, "-" if said is None else "not known" if said < 0 else "right" if right else "wrong"])
    notes = []
    if sentences:
        notes.append(f"true was: {sentences[told['truth']]}")
    watcher = f"an{' ideal' * bool(observer and observer['ideal'])} observer of what you saw"
    for who, side in ((watcher, observer), ("the agent in your place", agent)):
        if side is not None and sentences:
            notes.append(f"{who} ({side['scheme']}) {_sure(side)}")
    if you["beliefs"]:
        notes.append(
            f"you named the right hypothesis from trial {you['sure']} on"
            if you["sure"]
            else "you did not name the right hypothesis last"
        )
    return header, rows, notes


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if abs(value) < 1e9 else "inf" if value > 0 else "-inf"


def _sure(side: dict[str, Any]) -> str:
    if side["odds"] is None:
        return "has no hypotheses to compare"
    window = f"log odds beyond {side['window']:g} nats"
    if side["sure"] is None:
        return f"was not sure after {_count(len(side['trials']), 'trial')} ({window})"
    right = {True: "", False: ", of a wrong hypothesis", None: ""}[side["right"]]
    return f"was sure after {_count(side['sure'], 'trial')} ({window}){right}"


def _move(game: Game, number: int, ask: Ask, say: Say) -> dict[str, Any] | None:
    """Have a move made; what is to be kept, if that was the trial's last."""
    setting, trial = game.setting, len(game.trials) - 1
    played = game.trials[-1]
    time = len(played.controls)
    say(f"  {time + 1}: {_seen(setting, played.outcomes[-1])}")
    controls = _asked_move(setting, ask, say)
    if not game.move(trial, time, controls):
        return None
    say(f"  {time + 2}: {_seen(setting, played.outcomes[-1])}")
    if setting.scored:
        say(f"  this trial brought you {game.worth(played)[2]:g}; so far {game.sums()[2]:g}")
    return trial_entry(number, trial, played)


def _seen(setting: Setting, outcomes: list[int]) -> str:
    labels = setting.labels
    return ", ".join(f"{labels['modality'][m]}: {labels['outcome'][m][o]}" for m, o in enumerate(outcomes) if o >= 0)


def _asked_move(setting: Setting, ask: Ask, say: Say) -> list[int]:
    labels, acting = setting.labels, setting.acting
    moves = setting.moves.tolist()
    if len(acting) == 1 or len(moves) <= 8:  # few enough to be named one by one
        names = [", ".join(labels["control"][f][move[f]] for f in acting) for move in moves]
        return list(moves[_chosen(ask, say, "do", names)])
    while True:
        controls = [0] * setting.model.num_factors
        for f in acting:
            controls[f] = _chosen(ask, say, labels["factor"][f], labels["control"][f])
        if controls in moves:
            return controls
        say("    these cannot be done together")


def _asked_belief(setting: Setting, ask: Ask, say: Say) -> int:
    """The hypothesis that is believed, by its number from 1; where there are many, words find those that hold them."""
    sentences = setting.sentences_of_hypotheses
    shown = list(range(len(sentences))) if len(sentences) <= _FEW else []
    find = "words to find it, " if len(sentences) > _FEW else ""
    while True:
        for i in shown:
            say(f"    {i + 1}: {sentences[i]}")
        answer = _line(
            ask, f"  which hypothesis do you believe? ({find}a number from 1 to {len(sentences)}, ? for: not known) "
        )
        if answer == "?":
            return -1
        if answer.isdecimal():
            if _in_menu(answer, len(sentences)):
                return int(answer) - 1
            say(f"    a number from 1 to {len(sentences)}, please")
            continue
        words = answer.lower().split()
        found = [i for i, s in enumerate(sentences) if words and answer.lower() in s.lower()]
        found = found or [i for i, s in enumerate(sentences) if words and all(w in s.lower() for w in words)]
        shown = found[:_FEW]
        say(f"    {len(found)} hypotheses hold these words" + (f"; the first {_FEW}:" if len(found) > _FEW else ""))


def _chosen(ask: Ask, say: Say, what: str, names: list[str]) -> int:
    """One of some names, by its number from 1 or its beginning. A number is always that of the menu, never a name: names may
    be numbers too.
    """
    menu = "  ".join(f"{i + 1}: {name}" for i, name in enumerate(names))
    while True:
        answer = _line(ask, f"    {what}?  {menu}: ")
        near = [i for i, name in enumerate(names) if answer and name.lower().startswith(answer.lower())]
        exact = [i for i, name in enumerate(names) if name.lower() == answer.lower()]
        if _in_menu(answer, len(names)):
            return int(answer) - 1
        if not answer.isdecimal() and len(exact or near) == 1:
            return (exact or near)[0]
        say(f"    a number from 1 to {len(names)}, or the beginning of a name, please")


def _in_menu(answer: str, most: int) -> bool:
    """Whether an answer is a number from 1 on."""
    return answer.isdecimal() and len(answer) <= len(str(most)) and 1 <= int(answer) <= most


def _line(ask: Ask, prompt: str) -> str:
    answer = ask(prompt).strip()
    if answer == "q":
        raise EOFError
    return answer


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'s' * (n != 1)}"
