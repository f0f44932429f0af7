"""The command `activebmr play`, in the terminal and as a server of a class."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from playing import play_on, setting_of
from worlds import lamp_rules, two_rooms

import activebmr as ab
from activebmr.cli import main
from activebmr.cli import play as play_cli
from activebmr.play.debrief import debrief
from activebmr.play.game import Game
from activebmr.play.journal import Journal
from activebmr.play.setting import Setting
from activebmr.play.terminal import comparison, play_in_terminal


# --- the command -----------------------------------------------------------------------------------------------------------
def answers(*lines: str) -> Any:
    left = iter(lines)

    def ask(prompt: str) -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return ask


def test_a_game_in_the_terminal(tmp_path):
    setting, said = setting_of(n_trials=2, ask=1, description="find the rule"), []
    journal = Journal(tmp_path, setting)
    trial = ["9", "x", "2", "undecided", "left", "4", "3", "4", "start", "4", "4", "re"]
    game = play_in_terminal(
        setting, journal, "Ada", answers(*trial, "centre red: left green: centre", "82", "?", *trial[2:4], "q"), said.append
    )
    text = "\n".join(said)
    assert text.startswith("three-ball: find the rule\nYou play 2 trials of 5 moves.")
    assert "a number from 1 to 4, or the beginning of a name, please" in text and "trial 2 of 2" in text
    assert game.phase == "over" and len(game.finished) == 1 and game.beliefs == {0: -1}
    assert game.trials[0].controls[0] == [0, 0, 0, 1, 3] and game.trials[0].controls[4] == [0, 0, 0, 3, 0]
    assert ab.load_recording(journal.recording)["outcomes"].shape[:2] == (1, 1)
    header, rows, notes = comparison(game)
    assert header[0] == "trial" and len(rows) == 2 and rows[0][-1] == "not known" and rows[1][1] == "-"
    assert notes[0].startswith("true was: the colour of the centre ball") and "was not sure after 1 trial" in notes[1]


def follow(out: str) -> None:
    """Do what the command says comes next: replay what was played under all schemes."""
    line = next(line for line in out.splitlines() if line.startswith("next: activebmr replay"))
    assert main([*line.split()[2:], "--quiet"]) == 0


def test_play_in_the_terminal_by_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("builtins.input", answers("1", "2", "1", "3", "3", "3"))
    assert main(["play", "causal", "--terminal", "--trials", "2", "--name", "Ada", "--against", "random"]) == 0
    out = capsys.readouterr().out
    assert "your game, and what others made of it" in out and "recorded: 2 trials of 1 participant" in out
    assert f"activebmr replay causal {Path('results', 'causal', 'play', 'recordings.npz')} --scheme all --out" in out
    follow(out)
    monkeypatch.setattr("builtins.input", answers("1", "2", "1"))
    assert main(["play", "causal", "--terminal", "--trials", "2"]) == 0
    out = capsys.readouterr().out
    assert "recorded: 3 trials of 2 participants" in out
    follow(out)
    monkeypatch.setattr("builtins.input", answers())
    assert main(["play", "bandit", "--terminal", "--out", "other"]) == 0
    assert "no trial was played to its end" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["no-such"], "there is no paradigm 'no-such'"),
        (["bandit", "--against", "gready"], "did you mean 'greedy'"),
        (["bandit", "--observer", "x"], "there is no scheme of bandit 'x'"),
        (["bandit", "--trials", "0"], "--trials must be 1 to 1000; got 0"),
        (["bandit", "--trials", "1001"], "--trials must be 1 to 1000; got 1001"),
        (["bandit", "--ask", "-1"], "--ask must be 0 or more; got -1"),
        (["bandit", "--seed", "-1"], "--seed must be 0 to 9223372036854775807; got -1"),
        (["bandit", "--true-rule", "x"], "--true-rule must be a whole number"),
        (["bandit", "--set", "x"], "--set must look like NAME=VALUE"),
        (["bandit", "--participants", "0"], "--participants must be 1 to 1000; got 0"),
        (["bandit", "--port", "70000"], "--port must be 0 to 65535; got 70000"),
        (["bandit", "--terminal", "--host", "0.0.0.0"], "--terminal needs neither --host nor --port"),
        (["bandit", "--host", "192.0.2.1"], "nothing can listen at 192.0.2.1"),
    ],
)
def test_wrong_words_are_told_in_a_line(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    assert main(["play", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and says in err


def test_without_a_server_there_is_the_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(play_cli, "find_spec", lambda name: None)
    assert main(["play", "bandit"]) == 2
    assert "needs starlette and uvicorn: pip install -e '.[play]' (or play with --terminal)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("builtins.input", answers())
    assert main(["play", "bandit", "--terminal"]) == 0


def test_a_paradigm_of_ones_own_is_played(tmp_path, monkeypatch, capsys):
    """A file, as `activebmr new` writes it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["new", "mine"]) == 0
    monkeypatch.setattr("builtins.input", answers(*"1111"))
    assert main(["play", "./mine.py", "--terminal", "--trials", "1"]) == 0
    follow(capsys.readouterr().out)


def test_a_shared_game_is_warned_of(tmp_path, monkeypatch, capsys):
    pytest.importorskip("starlette")
    from activebmr.play import server

    seen = []
    monkeypatch.setattr(server, "serve", lambda app, socket: (seen.append(app), socket.close()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["play", "bandit", "--host", "0.0.0.0", "--port", "0", "--no-browser", "--participants", "30"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("warning: every machine that reaches one of this machine's addresses") and "not encrypted" in err
    assert (
        f"127.0.0.1:{seen[0].port}/{seen[0].token}/class#" in out
        and f"/{seen[0].token}/" in out
        and len(seen[0].token) == 9
        and "up to 30 participants" in out
        and seen[0].any_address
    )
    assert main(["play", "bandit", "--port", "0", "--no-browser"]) == 0
    out, err = capsys.readouterr()
    assert (
        err == ""
        and "class#" not in out
        and len(seen[1].token) >= 24
        and not seen[1].any_address
        and f"http://127.0.0.1:{seen[1].port}/" in out
    )


def strange_words(url: str) -> None:
    """What no browser says: the server refuses it or ends the connection, and goes on."""
    place = urlsplit(url)
    host, path = place.netloc, place.path
    long = "a" * 20_000
    for words, statuses in (
        (f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n", "200"),
        (f"GET {path} HTTP/1.0\r\n\r\n", "403"),
        (f"GET {path} HTTP/1.1\r\n\r\n", "400"),
        (f"GET {path} HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n\r\n", "400 403"),
        (f"GET http://evil.example{path} HTTP/1.1\r\nHost: {host}\r\n\r\n", "403 404"),
        (f"GET {path}../../../../etc/passwd HTTP/1.1\r\nHost: {host}\r\n\r\n", "404"),
        (f"GET {path}{long} HTTP/1.1\r\nHost: {host}\r\n\r\n", "400 431"),
        (f"GET {path} HTTP/1.1\r\nHost: {host}\r\nX: {long}\r\n\r\n", "400 431"),
        (
            f"POST {path}api/join HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Transfer-Encoding: chunked\r\n\r\n4000\r\n{'a' * 0x4000}\r\n0\r\n\r\n",
            "413",
        ),
        (
            f"POST {path}api/join HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n",
            "400 413",
        ),
        ("\x16\x03\x01 hello\r\n\r\n", "400"),
    ):
        with socket.create_connection((place.hostname, place.port), 10) as line:
            line.sendall(words.encode("latin-1"))
            answer = line.recv(200).decode("latin-1")
        assert answer.split()[1] in statuses.split(), (words[:80], answer)
    with socket.create_connection((place.hostname, place.port), 10) as line:  # half a request, and then nothing
        line.sendall(f"POST {path}api/join HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10\r\n".encode())


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_a_class_plays_at_the_same_time(tmp_path):
    """The command serves thirty participants at once over real sockets; Ctrl-C ends it, and everything is in one file."""
    pytest.importorskip("uvicorn")
    httpx = pytest.importorskip("httpx")
    from concurrent.futures import ThreadPoolExecutor

    code = (  # a shell may have started the tests in the background, with SIGINT ignored
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from activebmr.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = [
        "play",
        "three-ball",
        "--trials",
        "2",
        "--port",
        "0",
        "--out",
        str(tmp_path),
        "--no-browser",
        "--participants",
        "30",
    ]
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]

        def ask(client, call, **asked):
            for _ in range(50):  # until it listens
                try:
                    answer = client.post(f"{url}api/{call}", json=asked)
                    break
                except httpx.ConnectError:
                    time.sleep(0.1)
            assert answer.status_code == 200, answer.text
            return answer.json()

        def one(k):
            with httpx.Client(timeout=60) as client:
                client.headers["x-key"] = ask(client, "join", name=f"student {k}")["key"]
                for i in range(2):
                    ask(client, "begin")
                    for t in range(5):
                        ask(client, "move", trial=i, time=t, controls=[0, 0, 0, (k + t) % 4, 3])
                return ask(client, "state")["phase"]

        with ThreadPoolExecutor(30) as pool:
            assert list(pool.map(one, range(30))) == ["over"] * 30
        strange_words(url)
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and err == ""
    assert "recorded: 60 trials of 30 participants" in out
    held = ab.load_recording(tmp_path / "recordings.npz")
    assert held["outcomes"].shape == (30, 2, 3, 6) and (held["outcomes"] >= 0).all()
    with np.load(tmp_path / "recordings.npz") as file:
        assert sorted(file["name"]) == sorted(f"student {k}" for k in range(30))


def test_lamps_are_played_too(tmp_path):
    """Hypotheses beside a model of the tests' own, counted as agents count them."""
    held = ab.Agent(two_rooms(), lamp_rules(), ab.Planner(depth=1), inference="factorised")
    one = ab.Paradigm("rooms", "s", held, two_rooms(), 4, lamp_rules(), 1)
    setting = Setting(one, one, n_trials=2, ask=1)
    told = debrief(play_on(Game(setting)))
    assert told["truth"] == 1 and len(told["observer"]["trials"][0][0]["posterior"]) == len(lamp_rules())
