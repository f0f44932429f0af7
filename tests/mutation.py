"""Mutation testing of the mathematical core: small faults are put into the code one by one, and the tests must notice them.

    python tests/mutation.py                            a random sample of every package, the table, and what survived
    python tests/mutation.py --package planning --all   every mutant of a package
    python tests/mutation.py --again                    once more what survived the last time, after tests were written
    python tests/mutation.py --record tests/test_x.py   learn anew what the tests of some files reach

A mutant is the source of one module with one fault in it; the faults are those of mutmut, and three more (`_ours`). The tests
are run once with coverage, to learn which lines each of them reaches and how long it takes. Then every mutant lives in a forked
process that imports it in place of the module and runs the tests that reach its statement, fastest first, until one fails.
Files are never changed. What is found is kept in build/mutation, one JSON line a mutant: a run that was stopped goes on there.

A mutant counts as killed when a test fails, when the tests cannot be imported, or when they take far longer than they should.
Tests that start other processes do not see the mutant, and no mutant is given more than `BUDGET` seconds of tests: the share
killed is a lower bound.
"""

from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import difflib
import importlib
import importlib.abc
import importlib.util
import itertools
import json
import math
import os
import random
import re
import resource
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "build" / "mutation"
PACKAGES = {
    "dirichlet": ["activebmr/dirichlet.py"],
    "reduction": ["activebmr/reduction"],
    "inference": ["activebmr/inference"],
    "planning": ["activebmr/planning"],
}
_NEAR = """
    acting agent b_tables batch checks dirichlet edges exact filters hypotheses informative introspection invariances joint
    learning_by_factors message_passing models models_way mutual_information observations outlook own parity paths
    paths_learning planning reduction reduction_tables search sleep_tables sparsity spm_paths structure thinking truths
    worlds worlds_models worlds_more
"""
NEAR = _NEAR.split()
"""Test files about these packages. Those of commands, figures, paradigms and other libraries reach them too: they can only
kill more, and take most of the time.
"""
FIRST, FEW_FILES = 40, 3  # tests that are tried before all the others, and the files that they may come from
BUDGET = 40.0
MEMORY = 24 << 30
_IMPORTED = """
    numpy scipy.special scipy.sparse scipy.stats scipy.optimize scipy.integrate matplotlib.pyplot pytest hypothesis
    hypothesis.extra.numpy typer.testing rich.console joblib
"""


# --- mutants -----------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Mutant:
    """One fault: where it is, what it changes, and the lines that a test must reach to notice it."""

    package: str
    path: str
    number: int
    operator: str
    line: int
    lines: tuple[int, int]
    diff: str

    @property
    def name(self) -> str:
        return f"{self.path}:{self.line}#{self.number}"


def _ours(node: cst.CSTNode) -> Iterator[tuple[str, cst.CSTNode]]:
    """Faults that mutmut does not make: a condition turned round, nothing returned, a call or a named argument left out."""
    if isinstance(node, (cst.If, cst.While)):
        inside = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield "condition", node.with_changes(test=cst.UnaryOperation(cst.Not(), inside))
    elif isinstance(node, cst.Return) and node.value is not None and not _is_name(node.value, "None"):
        yield "return", node.with_changes(value=cst.Name("None"))
    elif isinstance(node, cst.Expr) and isinstance(node.value, cst.Call):
        yield "statement", cst.Pass()
    elif isinstance(node, cst.Call):
        for i, arg in enumerate(node.args):
            if arg.keyword is not None:
                yield "argument", node.with_changes(args=[*node.args[:i], *node.args[i + 1 :]])


def _is_name(node: cst.CSTNode, name: str) -> bool:
    return isinstance(node, cst.Name) and node.value == name


_KINDS = {
    "operator_number": "number",
    "operator_name": "True, False",
    "operator_swap_op": "operator",
    "operator_keywords": "is, in, break",
    "operator_remove_unary_ops": "not, ~",
    "operator_augmented_assignment": "+=",
    "operator_lambda": "lambda",
    "operator_if_exp": "condition",
    "operator_match": "case",
    "operator_symmetric_string_methods_swap": "method",
    "operator_unsymmetrical_string_methods_swap": "method",
}
"""What mutmut's faults are called in the tables. Two are not among them: ``None`` in place of any argument or assigned value,
two thirds of its mutants, which nearly all end at once whatever the tests say; and other strings, here the words of errors.
"""


class _Faults(cst.CSTVisitor):
    """Collects the faults of a module in the order of its source."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode, str, int]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        # no fault of the program: types, what is imported or public, docstrings, and the words of errors, which tests read by
        # patterns. Decorators are what a function is, not what it does.
        if isinstance(node, (cst.Annotation, cst.Import, cst.ImportFrom, cst.Decorator, cst.FormattedString)):
            return False
        if isinstance(node, cst.Assign) and _is_name(node.targets[0].target, "__all__"):
            return False
        if isinstance(node, cst.Expr) and isinstance(node.value, (cst.SimpleString, cst.ConcatenatedString)):
            return False
        if isinstance(node, cst.If) and _is_name(node.test, "TYPE_CHECKING"):
            return False
        line = self.get_metadata(PositionProvider, node).start.line
        if isinstance(node, cst.Raise):
            self.found.append((node, cst.Pass(), "statement", line))
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind) and operator.__name__ in _KINDS:
                self.found += [(node, new, _KINDS[operator.__name__], line) for new in operator(node)]
        self.found += [(node, new, kind, line) for kind, new in _ours(node)]
        return True


def _statements(source: str) -> list[tuple[int, int, int, int, bool]]:
    """Lines of every statement less those of the statements inside it, those of the function or class around it, and whether it
    is done when that is called (and not when the module is imported).
    """
    out = []

    def visit(body: Iterable[ast.stmt], around: tuple[int, int], called: bool) -> None:
        for node in body:
            inner = [s for name in ("body", "orelse", "finalbody") for s in getattr(node, name, [])]
            inner += [s for name in ("handlers", "cases") for part in getattr(node, name, []) for s in part.body]
            first = getattr(node, "body", None)
            end = (first[0].lineno - 1 if first else node.end_lineno) or node.lineno
            whole = (node.lineno, node.end_lineno or node.lineno)
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                out.append((node.lineno, max(end, node.lineno), *whole, False))
                visit(inner, whole, isinstance(node, ast.FunctionDef))
            else:
                out.append((node.lineno, max(end, node.lineno), *around, called))
                visit(inner, around, called)

    visit(ast.parse(source).body, (1, len(source.splitlines())), False)
    return out


def _same_by_form(diff: str) -> bool:
    """Two forms that no test could tell from the program: a zip that does not check what is so, and reshape(-2), which is to
    NumPy what reshape(-1) is.
    """
    lines = diff.split("\n")
    if len(lines) != 2:
        return False
    old, new = (re.sub(r"\s", "", line[1:]).replace(",)", ")") for line in lines)
    at_ends = [m.start() for m in re.finditer(r"-1(?=[,)])", old) if _in_reshape(old, m.start())]
    unchecked = {old.replace(",strict=True", with_, 1) for with_ in ("", ",strict=False")}
    return "strict=True" in old and new in unchecked or any(old[:i] + "-2" + old[i + 2 :] == new for i in at_ends)


def _in_reshape(code: str, at: int) -> bool:
    """Whether an argument of reshape begins there."""
    depth = 0
    for i in range(at - 1, -1, -1):
        depth += {")": 1, "]": 1, "(": -1, "[": -1}.get(code[i], 0)
        if depth < 0:
            return code[:i].endswith("reshape") and code[at - 1] in "(,"
    return False


class Module:
    """The faults of one module. Their sources are made when they are asked for: that takes far longer than to find them."""

    def __init__(self, package: str, path: Path) -> None:
        self.package, self.path = package, path
        self.source = path.read_text(encoding="utf-8")
        self.lines = self.source.splitlines()
        wrapper = MetadataWrapper(cst.parse_module(self.source))
        faults = _Faults()
        wrapper.visit(faults)
        self.module, self.faults = wrapper.module, faults.found
        self.statements, self.tree = _statements(self.source), ast.dump(ast.parse(self.source))

    def mutant(self, number: int) -> tuple[Mutant, str] | None:
        """A fault as a mutant, with the source of the module; None if it is no Python, or the same program."""
        old, new, operator, line = self.faults[number]
        changed = self.module.deep_replace(old, new).code
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compile(changed, str(self.path), "exec")
        except SyntaxError:
            return None
        start, end, first, last, called = max(s for s in self.statements if s[0] <= line <= s[1])
        changes = difflib.unified_diff(self.lines, changed.splitlines(), n=0, lineterm="")
        diff = "\n".join(d.rstrip() for d in changes if not d.startswith(("---", "+++", "@@")))
        if _same_by_form(diff) or ast.dump(ast.parse(changed)) == self.tree:  # 1e30 + 1 is 1e30
            return None
        # what is done at import is tried by all that reaches the class, or the module
        reached = (start, end) if called else (first, last)
        return Mutant(self.package, str(self.path.relative_to(ROOT)), number, operator, line, reached, diff), changed


def modules_of(package: str) -> list[Module]:
    paths = [ROOT / name for name in PACKAGES[package]]
    return [Module(package, file) for p in paths for file in ([p] if p.suffix else sorted(p.rglob("*.py")))]


# --- which test reaches which line -------------------------------------------------------------------------------------------
def record(files: list[str]) -> None:
    """Run tests once, and keep which of them reach which lines of the packages, and how long they take."""
    import coverage
    import pytest

    kept = _reach()
    whole = not files
    files = files or [f"tests/test_{name}.py" for name in NEAR]
    targets = [str(ROOT / (p if p.endswith(".py") else p + "/*")) for names in PACKAGES.values() for p in names]
    seconds: dict[str, float] = collections.Counter()
    failed: set[str] = set()
    cover = coverage.Coverage(data_file=None, include=targets, config_file=False)

    class Watch:
        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_protocol(self, item):
            cover.switch_context(item.nodeid)
            try:
                return (yield)
            finally:
                cover.switch_context("")

        def pytest_runtest_logreport(self, report):
            seconds[report.nodeid] += report.duration
            if not report.passed:
                failed.add(report.nodeid)

    cover.start()
    pytest.main([*files, "-m", "not slow", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"], plugins=[Watch()])
    cover.stop()
    reach: dict[str, dict[str, list[int]]] = {}
    for file in cover.get_data().measured_files():
        by_line = cover.get_data().contexts_by_lineno(file)
        reach[str(Path(file).relative_to(ROOT))] = {n: [c for c in cs if c and c not in failed] for n, cs in by_line.items()}
    out = {} if whole else {t: s for t, s in kept.items() if t.split("::")[0] not in files}
    for path, by_line in reach.items():
        for line, tests in by_line.items():
            for test in tests:
                out.setdefault(test, {"seconds": seconds[test], "lines": {}})["lines"].setdefault(path, []).append(line)
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / "reach.json").write_text(json.dumps(out))
    print(f"{len(out)} tests reach the packages; {len(failed)} failed or were skipped: {sorted(failed)[:5]}")


def _reach() -> dict[str, dict]:
    path = KEPT / "reach.json"
    return json.loads(path.read_text()) if path.exists() else {}


def tests_for(mutant: Mutant, reach: dict[str, dict]) -> list[str]:
    """Tests that reach the statement, fastest first."""
    lines = range(mutant.lines[0], mutant.lines[1] + 1)
    hit = [(r["seconds"], t) for t, r in reach.items() if any(n in lines for n in r["lines"].get(mutant.path, ()))]
    return [t for _, t in sorted(hit)]


def in_stages(tests: list[str], reach: dict[str, dict]) -> list[list[str]]:
    """A few from few files, since collecting a file takes time; then the others while they fit into the budget."""
    first, files = [], set()
    for test in tests:
        file = test.split("::")[0]
        if len(first) < FIRST and (file in files or len(files) < FEW_FILES):
            first.append(test)
            files.add(file)
    rest, spent, taken = [], 0.0, set(first)
    for test in tests:
        spent += reach[test]["seconds"]
        if test not in taken and spent <= BUDGET:
            rest.append(test)
    return [s for s in (first, rest) if s]


# --- running one -------------------------------------------------------------------------------------------------------------
class _Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a mutant in place of its module."""

    def __init__(self, path: str, source: str) -> None:
        parts = Path(path).with_suffix("").parts
        self.package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.package else parts)
        self.path, self.source = str(ROOT / path), source

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(
            fullname, self.path, loader=self, submodule_search_locations=[str(Path(self.path).parent)] if self.package else None
        )

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(self.source, self.path, "exec"), module.__dict__)


def run(mutant: Mutant, source: str, tests: list[str], seconds: float) -> tuple[int | None, str]:
    """Exit status of the tests with this mutant, None if they took too long, and the end of what they printed."""
    said = KEPT / f"said-{os.getpid()}.txt"
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        status = 3
        try:
            import pytest

            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            sys.meta_path.insert(0, _Instead(mutant.path, source))
            options = "-x -q --tb=line -p no:cacheprovider -p no:xdist -p no:cov -W ignore::pytest.PytestAssertRewriteWarning"
            status = int(pytest.main([*tests, *options.split()]))
        except BaseException as error:  # whatever ends the child must not come back into the parent's loop
            print("ended:", repr(error))
            status = 3
        finally:
            sys.stdout.flush()
            os._exit(status)
    deadline, status = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(code)
            break
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
    return status, said.read_text(errors="replace")


def judge(mutant: Mutant, source: str, reach: dict[str, dict]) -> dict:
    """What becomes of a mutant: killed (by a test, at import, by time), or survived."""
    began, tests, by, n = time.monotonic(), tests_for(mutant, reach), "", 0
    outcome = "survived" if tests else "not reached"
    for stage in in_stages(tests, reach):
        expected = sum(reach[t]["seconds"] for t in stage)
        status, said = run(mutant, source, stage, 60 + 5 * expected)
        n += len(stage)
        if status == 0:
            continue
        outcome = "too long" if status is None else "killed"
        if status in (3, 5) or status == 4 and "ERROR collecting" not in said:
            outcome = "error"  # of this script; where a file of tests cannot be imported, pytest finds no test of that name
        failed = re.findall(r"^FAILED (\S+)", said, re.M)
        by = failed[0] if failed else said.strip().splitlines()[-1][:120] if said.strip() else ""
        break
    return {
        **asdict(mutant),
        "name": mutant.name,
        "outcome": outcome,
        "by": by,
        "tests": n,
        "seconds": time.monotonic() - began,
    }


# --- the whole ---------------------------------------------------------------------------------------------------------------
def _preload() -> None:
    """What every mutant needs and no mutant changes is imported once."""
    for name in _IMPORTED.split():
        with warnings.catch_warnings(), contextlib.suppress(ImportError):
            warnings.simplefilter("ignore")
            importlib.import_module(name)
    assert not any(name.split(".")[0] == "activebmr" for name in sys.modules), "the parent must not import what is mutated"
    warnings.filterwarnings("ignore", message="os.fork")


def _control(every: list[tuple[Module, int]], reach: dict[str, dict]) -> None:
    """Tests must pass, run as for mutants, while nothing is changed; else all of what follows would count as killed."""
    module, n = every[len(every) // 2]
    found = module.mutant(n)
    for tests in in_stages(tests_for(found[0], reach), reach)[:1] if found else []:
        status, said = run(found[0], module.source, tests, 600)
        assert status == 0, f"tests fail without any fault: {said[-1000:]}"


def table(results: list[dict], totals: dict[str, int], column: str = "package") -> str:
    """Shares killed with binomial standard errors, as a Markdown table."""
    out = [f"| {column} | mutants | tried | killed | share killed |", "|---|---|---|---|---|"]
    groups: dict[str, list[dict]] = {}
    for r in results:
        groups.setdefault(r[column], []).append(r)
    for name, rows in groups.items():
        n, killed = len(rows), sum(r["outcome"] in ("killed", "too long") for r in rows)
        share = killed / n
        error = 0.0 if totals.get(name) == n else math.sqrt(share * (1 - share) / n)
        out.append(f"| {name} | {totals.get(name, '')} | {n} | {killed} | {100 * share:.1f} % +- {100 * error:.1f} |")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--package", action="append", choices=list(PACKAGES), help="which to mutate; all by default")
    parser.add_argument("--number", type=int, default=150, help="mutants drawn from each package")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample")
    parser.add_argument("--all", action="store_true", help="every mutant instead of a sample")
    parser.add_argument("--again", action="store_true", help="try again what survived")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run found")
    parser.add_argument("--record", nargs="*", metavar="FILE", help="only learn what tests reach: of these files, or of all")
    given = parser.parse_args()
    os.chdir(ROOT)
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MPLBACKEND="Agg", PYTHONHASHSEED="0")
    sys.path.insert(0, str(ROOT))
    if given.record is not None:
        record(given.record)
        return
    if not _reach():
        child = os.fork()  # coverage and the packages stay out of this process
        if child == 0:
            record([])
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
    reach = _reach()
    file = KEPT / f"found-{'all' if given.all else given.seed}.jsonl"
    known: dict[tuple, dict] = {}
    if file.exists() and not given.fresh:
        for line in file.read_text().splitlines():
            r = json.loads(line)
            known[r["path"], r["diff"], r["line"]] = r
    _preload()
    results, totals = [], {}
    with file.open("w" if given.fresh else "a") as out:
        for package in given.package or list(PACKAGES):
            every = [(module, n) for module in modules_of(package) for n in range(len(module.faults))]
            totals[package] = len(every)
            if not given.all:
                random.Random(f"{given.seed} {package}").shuffle(every)
            _control(every, reach)
            made = (m for module, n in every if (m := module.mutant(n)) is not None)
            for mutant, source in made if given.all else itertools.islice(made, given.number):
                found = known.get((mutant.path, mutant.diff, mutant.line))
                if found is None or (given.again and found["outcome"] not in ("killed", "too long")):
                    found = judge(mutant, source, reach)
                    out.write(json.dumps(found) + "\n")
                    out.flush()
                    print(f"{found['outcome']:11} {found['seconds']:5.1f} s  {mutant.name}", flush=True)
                results.append(found)
    survivors = [r for r in results if r["outcome"] not in ("killed", "too long")]
    print("\nSurvivors\n")
    for r in sorted(survivors, key=lambda r: (r["path"], r["line"])):
        print(f"{r['name']} ({r['operator']}, {r['outcome']}, {r['tests']} tests)\n{r['diff']}\n")
    print(table(results, totals), table(results, {}, "operator"), sep="\n\n")


if __name__ == "__main__":
    main()
