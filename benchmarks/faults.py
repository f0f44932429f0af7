"""What becomes of commands that are killed, interrupted, run out of disk, or get in each other's way.

    python benchmarks/faults.py [--kills 100] [--others 10] [--seed 0] [--only WORD ...]

A fault strikes a command at random times. A command that goes on where it was is begun again, and struck again, until it has
come to its end; then its numbers are compared, bit for bit, with those of one that nothing happened to. After each strike
every file is read: none may be there in part; and no process may be left. "held" says of how many strikes all that was so.
``--kills`` (SIGKILL) are shared out among the commands, ``--others`` is how often everything else is tried.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

WAIT = 300.0  # seconds after which a command is given up
TIMES = ("seconds", "latency")  # parts of names of columns that differ from run to run


@dataclass(frozen=True)
class Command:
    """What is struck: a name, its words, the file whose numbers count, and whether it goes on where it was."""

    name: str
    words: str
    file: str
    goes_on: bool = True

    def __call__(self, folder: Path, **how: object) -> subprocess.Popen[str]:
        out = "out" if self.file in ("result.npz", "report.json") else f"out/{self.file}"
        return start([*self.words.split(), "--out", out], folder, **how)


RUN = "run three-ball --scheme paper-no-selection --trials 6 --no-figures -q"
COMMANDS = (
    Command("run", f"{RUN} --agents 640", "result.npz"),
    Command("run --jobs 2", f"{RUN} --agents 640 --jobs 2", "result.npz"),
    Command("run ./mine.py, two schemes", "run ./mine.py --scheme all --agents 300 --no-figures -q", "result.npz"),
    Command("prune bmrs", "prune bmrs --seeds 2 --epochs 60 --criterion none --no-figures -q", "report.json"),
    Command(
        "prune bnn --jobs 2",
        "prune bnn --data sine --method full --seeds 4 --epochs 8 --jobs 2 --no-figures -q",
        "report.json",
    ),
    Command("prune sparse", "prune sparse --method flat --method bmr-ss --epochs 8 --start 4 --no-figures -q", "report.json"),
    Command("replay", "replay bandit person.npz -q", "replay.npz", goes_on=False),
    Command("page", "page lived.npz -q", "page.html", goes_on=False),
)


@dataclass
class Row:
    """What was seen of a fault."""

    fault: str
    command: str
    held: int = 0
    tries: int = 0
    seen: str = ""
    problems: list[str] = field(default_factory=list)

    def add(self, problems: list[str]) -> None:
        self.tries += 1
        self.held += not problems
        self.problems += problems

    def print(self) -> None:
        print(f"| {self.fault} | {self.command} | {self.held} of {self.tries} | {self.seen} |", flush=True)
        for problem in self.problems[:3]:
            print(f"  did not hold: {' '.join(problem.split())[:400]}", file=sys.stderr, flush=True)


# --- processes -------------------------------------------------------------------------------------------------------------
def start(words: list[str], folder: Path, limit: int | None = None, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """A command in a session of its own, with the signals that a terminal gives; ``limit``: bytes that a file may have."""

    def before() -> None:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        if limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-m", "activebmr", *words],
        cwd=folder,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=before,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str, float]:
    """Wait for a command and all its workers, which hold its output open: status, what it complained of, seconds."""
    begun = time.perf_counter()
    _, said = process.communicate(timeout=WAIT)
    return process.returncode, said, time.perf_counter() - begun


def children_of(pid: int) -> list[int]:
    """Workers of a command."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(p) for p in found if b"popen_loky" in Path(f"/proc/{p}/cmdline").read_bytes()]


# --- files -----------------------------------------------------------------------------------------------------------------
def prepare(folder: Path) -> None:
    """What commands work on: a paradigm, a recording, a result."""
    from activebmr import simulate
    from activebmr.cli.new import write_paradigm
    from activebmr.paradigms import bandit

    here = Path.cwd()
    os.chdir(folder)
    try:
        write_paradigm("mine")
    finally:
        os.chdir(here)
    result = simulate(bandit.paradigm(), 4, 60, trace=True)
    result.save(folder / "lived.npz")
    names = ("controls", "outcomes")
    np.savez(folder / "person.npz", **{name: np.swapaxes(result.trace[name][0], 2, 3) for name in names})


def damaged(folder: Path) -> list[str]:
    """Files that cannot be read to their end. What has not yet been moved to its place has a name that begins with a dot."""
    found = []
    for path in folder.rglob("[!.]*"):
        try:
            if path.suffix == ".npz":
                with np.load(path) as held:
                    [held[name] for name in held.files]
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".html" and not path.read_text().rstrip().endswith("</html>"):
                raise ValueError("it ends early")
        except Exception as error:
            found.append(f"{path.name} is damaged: {error}")
    return found


def numbers(path: Path) -> object:
    """All that is in a file, but for what differs from run to run."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return {name: file[name].tobytes() for name in file.files}
    if path.suffix == ".json":
        rows = json.loads(path.read_text())["rows"]
        return [{k: v for k, v in row.items() if not any(t in k for t in TIMES)} for row in rows]
    return path.read_bytes()


# --- faults ----------------------------------------------------------------------------------------------------------------
class Struck:
    """A command with what comes of it when nothing happens."""

    def __init__(self, command: Command) -> None:
        self.command, self.folder = command, Path(tempfile.mkdtemp())
        prepare(self.folder)
        begun = time.perf_counter()
        status, said, _ = end(command(self.folder))
        if status != 0:
            raise SystemExit(f"{command.name} does not run: {said}")
        self.seconds, self.right = time.perf_counter() - begun, numbers(self.file)
        self.clear()

    @property
    def file(self) -> Path:
        return self.folder / "out" / self.command.file

    def clear(self) -> None:
        shutil.rmtree(self.folder / "out", ignore_errors=True)

    def finish(self) -> list[str]:
        """Let the command come to its end; what is wrong with its numbers."""
        status, said, _ = end(self.command(self.folder))
        wrong = (
            [] if status == 0 and numbers(self.file) == self.right else [f"again: status {status}, {said or 'other numbers'}"]
        )
        self.clear()
        return wrong


def by_signals(row: Row, struck: Struck, times: int, chance: random.Random, number: int) -> None:
    """Strike a command with a signal, until it was struck so often."""
    slowest, said_last = 0.0, ""
    while row.tries < times:
        process = struck.command(struck.folder)
        time.sleep(chance.uniform(0.1, 1.0) * struck.seconds)
        late = process.poll() is not None
        if not late:
            process.send_signal(number)
        status, said, took = end(process)
        if late or status == 0:  # it had come to its end
            problems = (
                [] if status == 0 and numbers(struck.file) == struck.right else [f"status {status}, {said or 'other numbers'}"]
            )
            if problems:
                row.add(problems)
            struck.clear()
            continue
        slowest, said_last = max(slowest, took), said
        problems = damaged(struck.folder)
        if status != -number and (number == signal.SIGKILL or status != 128 + number):
            problems.append(f"status {status}: {said}")
        if number != signal.SIGKILL and not (0 < said.strip().count("\n") + 1 <= 2 and "Traceback" not in said):
            problems.append(f"it said: {said}")
        if not struck.command.goes_on or row.tries == times - 1:
            problems += struck.finish()
        row.add(problems)
    row.seen = f"all processes gone after {slowest:.1f} s at most"
    if number != signal.SIGKILL and said_last:
        row.seen += f'; "{said_last.strip().splitlines()[0].split(":")[0]}: ..."'


def by_killed_workers(row: Row, struck: Struck, times: int, chance: random.Random) -> None:
    """Kill one worker of a command."""
    while row.tries < times:
        process = struck.command(struck.folder)
        time.sleep(chance.uniform(0.3, 0.9) * struck.seconds)
        workers = children_of(process.pid) if process.poll() is None else []
        if workers:
            os.kill(chance.choice(workers), signal.SIGKILL)
        status, said, _ = end(process)
        if workers and said:
            right = status == 0 and said.count("\n") == 1 and numbers(struck.file) == struck.right
            row.add([] if right else [f"status {status}: {said}"])
            row.seen = f'"{said.strip()}"'
        struck.clear()


def by_full_disk(row: Row, struck: Struck, times: int) -> None:
    """Files may have 600 bytes: neither what is finished nor the result can be written."""
    for _ in range(times):
        status, said, _ = end(struck.command(struck.folder, limit=600))
        problems = damaged(struck.folder)
        if status != 1 or "Traceback" in said or "could not be written" not in said:
            problems.append(f"status {status}: {said}")
        row.add(problems + struck.finish())
        row.seen = f'"{said.strip().splitlines()[-1].split("[Errno")[0].strip()} ..."'


def by_a_full_disk_for_checkpoints(row: Row, times: int) -> None:
    """The library, where finished batches cannot be kept."""
    code = (
        "import resource, signal, warnings; import activebmr as ab; from activebmr.paradigms import three_ball\n"
        "paradigm = three_ball.paradigm('paper'); right = ab.simulate(paradigm, 130, 2).free_energy\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"
        "with warnings.catch_warnings(record=True) as told:\n"
        "    found = ab.simulate(paradigm, 130, 2, checkpoint='kept').free_energy\n"
        "assert (found == right).all() and len(told) == 1; print(told[0].message)"
    )
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
        row.add([] if done.returncode == 0 else [done.stderr])
        row.seen = "right numbers and one warning"


def by_each_other(row: Row, struck: Struck, times: int) -> None:
    """Two runs with other seeds are begun at once in one folder."""
    for _ in range(times):
        words = struck.command.words.split()
        both = [start([*words, "--seed", str(seed), "--out", "out"], struck.folder) for seed in (0, 1)]
        ends = [end(process)[:2] for process in both]
        files = sorted(struck.folder.glob("out*/result.npz"))
        seeds = [int(np.load(file)["seed"]) for file in files]
        problems = damaged(struck.folder) + [f"{ends}" for status, _ in ends if status != 0]
        if sorted(seeds) != [0, 1] or numbers(files[seeds.index(0)]) != struck.right:
            problems.append(f"seeds {seeds} in {files}")
        row.add(problems)
        row.seen = "each has a folder: " + " and ".join(file.parent.name for file in files)
        for folder in struck.folder.glob("out*"):
            shutil.rmtree(folder)


def of_games(row: Row, times: int, chance: random.Random) -> None:
    """Kill games in a terminal: what had been played is there, and the next player can join."""
    from activebmr import load_recording

    lost = 0
    while row.tries < times:
        with tempfile.TemporaryDirectory() as held:
            folder = Path(held)
            words = ["play", "bandit", "--terminal", "--name", "Ada", "--trials", "500", "--out", "out"]
            process = start(words, folder, stdin=subprocess.PIPE)
            played = []
            reader = threading.Thread(
                target=lambda p=process, to=played: to.extend(line for line in p.stdout if "so far" in line)
            )
            reader.start()
            until = time.perf_counter() + chance.uniform(2.0, 5.0)
            try:
                while time.perf_counter() < until:
                    process.stdin.write("1\n")
                    process.stdin.flush()
                    time.sleep(0.01)
                process.kill()
                process.stdin.close()
            except BrokenPipeError:
                pass
            process.wait(WAIT)
            reader.join(WAIT)
            process.stdout.close()
            process.stderr.close()
            if not played:
                continue
            problems = damaged(folder)
            again = start(
                ["play", "bandit", "--terminal", "--name", "Bob", "--trials", "2", "--out", "out"],
                folder,
                stdin=subprocess.PIPE,
            )
            again.communicate("1\n1\n1\n1\n", timeout=WAIT)
            recording = load_recording(folder / "out" / "recordings.npz")
            kept = int((recording["outcomes"][0, :, 0, 0] >= 0).sum())
            lost = max(lost, len(played) - kept)
            if again.returncode != 0 or kept < len(played):
                problems.append(f"status {again.returncode}, {kept} of {len(played)} trials kept")
            row.add(problems)
    row.seen = f"trials lost that had been played to their end: {lost}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="how often SIGKILL is sent, over all commands")
    parser.add_argument("--others", type=int, default=10, help="how often each other fault is tried")
    parser.add_argument("--seed", type=int, default=0, help="of the times at which faults strike")
    parser.add_argument("--only", nargs="+", default=[""], help="only rows in which one of these is found, such as SIGINT")
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    wanted = lambda *words: any(part in " ".join(words) for part in asked.only)  # noqa: E731
    print("| fault | command | held | seen |\n|---|---|---:|---|", flush=True)
    rows: list[Row] = []

    def done(row: Row) -> None:
        rows.append(row)
        row.print()

    one, two = COMMANDS[:2]
    each = -(-asked.kills // (len(COMMANDS) + 1))
    for command in COMMANDS:
        if wanted("SIGKILL", command.name):
            row = Row("SIGKILL", command.name)
            by_signals(row, Struck(command), each, chance, signal.SIGKILL)
            done(row)
    if wanted("SIGKILL", "play --terminal"):
        row = Row("SIGKILL", "play --terminal")
        of_games(row, each, chance)
        done(row)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        for command in (two, COMMANDS[3]):
            if wanted(name, command.name):
                row = Row(name, command.name)
                by_signals(row, Struck(command), asked.others, chance, getattr(signal, name))
                done(row)
    faults: list[tuple[str, Command, Callable[[Row, Struck], None]]] = [
        ("a worker is killed", two, lambda row, struck: by_killed_workers(row, struck, asked.others, chance)),
        ("the disk is full", one, lambda row, struck: by_full_disk(row, struck, asked.others)),
        ("two in one folder", one, lambda row, struck: by_each_other(row, struck, asked.others)),
    ]
    for name, command, strike in faults:
        if wanted(name, command.name):
            row = Row(name, command.name)
            strike(row, Struck(command))
            done(row)
    if wanted("the disk is full", "simulate(checkpoint=)"):
        row = Row("the disk is full", "simulate(checkpoint=)")
        by_a_full_disk_for_checkpoints(row, asked.others)
        done(row)
    held, tries = sum(row.held for row in rows), sum(row.tries for row in rows)
    print(f"\n{held} of {tries} held.")
    sys.exit(held != tries)


if __name__ == "__main__":
    main()
