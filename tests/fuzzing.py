"""Malformed calls of the whole public API: valid calls (`examples`), one argument of which is spoiled at a time.

``python tests/fuzzing.py 12000 --files 3000`` prints how many calls (and damaged files, see `fuzzing_files`) end in what. An
error is *clear* if it is a ValueError or TypeError (of files also a FileNotFoundError) that the package itself raises, and that
names the argument and says a rule.
What must not be accepted is said by the kind of the argument: a nan among counts, half an index, a word for a number. What may
be read in several ways is judged only by how it fails.
"""

from __future__ import annotations

import argparse
import inspect
import linecache
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing_kinds import Example, Spoiled

CLEAR, RIGHT, ACCEPTED, UNCLEAR = "clear error", "right answer", "wrong input accepted", "unclear error"
RULE = re.compile(
    r"\b(must|needs?|not|no|cannot|lacks?|is none|neither|unknown|known|does|has|have|is none of|holds?|can be|give|call)\b",
    re.I,
)


@dataclass(frozen=True)
class Outcome:
    """What came of a malformed call."""

    example: str
    argument: str
    label: str
    verdict: str
    said: str


def judge(example: Example, argument: str, spoiled: Spoiled) -> Outcome:
    """Call with one argument spoiled."""
    function, arguments = example.make()
    told = {**arguments, argument: spoiled.value}
    kind = example.kinds[argument]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with np.errstate(all="ignore"):
                answer = function(**told)
                if inspect.isgenerator(answer):
                    list(answer)
                elif hasattr(answer, "__enter__") and hasattr(answer, "gen"):
                    with answer:
                        pass
    except (ValueError, TypeError, FileNotFoundError, FileExistsError, IsADirectoryError) as error:
        said = str(error)
        raised = _raised_by_us(error) or isinstance(error, OSError)
        named = any(re.search(rf"(?<![A-Za-z0-9]){re.escape(n)}(?![a-z0-9])", said) for n in (argument, *kind.names))
        named = named or ("path" in kind.names and str(spoiled.value) in said)
        ours = not isinstance(error, OSError) or "path" in kind.names
        clear = named and ours and raised and RULE.search(said) is not None
        verdict = CLEAR if clear else UNCLEAR
        return Outcome(example.name, argument, spoiled.label, verdict, f"{type(error).__name__}: {said}")
    except Exception as error:
        return Outcome(example.name, argument, spoiled.label, UNCLEAR, f"{type(error).__name__}: {error}")
    return Outcome(example.name, argument, spoiled.label, ACCEPTED if spoiled.wrong else RIGHT, "")


def _raised_by_us(error: BaseException) -> bool:
    """Whether a ``raise`` of the package's own made the error: what torch, NumPy or Python say is not said of the argument."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    file = trace.tb_frame.f_code.co_filename
    line = linecache.getline(file, trace.tb_lineno).strip()
    return bool({"activebmr", "paradigms", "tests"} & set(Path(file).parts)) and line.startswith("raise ")


def malformed(examples: list[Example], calls: int, start: int = 0) -> Iterator[tuple[Example, str, Spoiled]]:
    """``calls`` malformed calls, evenly over all arguments of all examples; the same for the same ``start``."""
    rng = np.random.default_rng(start)
    made = 0
    while made < calls:
        every = []
        for example in examples:
            arguments = example.make()[1]
            for name, kind in example.kinds.items():
                every += [(example, name, s) for s in kind.spoil(arguments.get(name), rng)]
        for i in rng.permutation(len(every))[: calls - made]:
            yield every[i]
            made += 1


def drawn(examples: list[Example], draw: Callable[[Any], Any]) -> tuple[Example, str, Spoiled]:
    """A malformed call that Hypothesis chooses with its ``draw``, and makes simpler if it goes wrong."""
    from hypothesis import strategies as st

    held = [e for e in examples if e.kinds]
    example = held[draw(st.integers(0, len(held) - 1))]
    names = list(example.kinds)
    name = names[draw(st.integers(0, len(names) - 1))]
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    every = list(example.kinds[name].spoil(example.make()[1].get(name), rng))
    return example, name, every[draw(st.integers(0, len(every) - 1))]


def check(outcomes: list[Outcome]) -> None:
    """AssertionError that tells what went wrong, if something did."""
    wrong = [o for o in outcomes if o.verdict in (ACCEPTED, UNCLEAR)]
    told = "\n".join(f"{o.verdict}: {o.example}({o.argument}={o.label}): {o.said[:200]}" for o in wrong[:20])
    assert not wrong, f"{len(wrong)} of {len(outcomes)}:\n{told}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", type=int, nargs="?", default=2000)
    parser.add_argument("--files", type=int, default=0, help="damage so many files too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="list what was not as it should be")
    parser.add_argument("--only", default="", help="examples whose name contains this")
    parser.add_argument("--part", choices=("core", "pruning", "both"), default="both")
    options = parser.parse_args()
    parts = {n: [e for e in p if options.only in e.name] for n, p in _parts(options.part).items()}
    bad = 0
    for name, held in parts.items():
        bad += _call(name, held, options.calls // len(parts), options) if held else 0
    if options.files:
        from fuzzing_files import damaged

        with tempfile.TemporaryDirectory() as folder:
            of_files = list(damaged(Path(folder), options.files, options.seed))
        _print(of_files, f"{len(of_files)} damaged files", options.show)
        bad += sum(o.verdict in (ACCEPTED, UNCLEAR) for o in of_files)
    return int(bad > 0)


def _parts(which: str) -> dict[str, list[Example]]:
    """Examples by part; without torch the pruning API has none."""
    found = {}
    if which in ("core", "both"):
        from fuzzing_examples import examples

        found["core"] = examples()
    if which in ("pruning", "both"):
        try:
            from fuzzing_pruning import pruning_examples
        except ModuleNotFoundError as missing:
            print(f"without the pruning API: {missing}", file=sys.stderr)
        else:
            found["pruning"] = pruning_examples()
    return found


def _call(part: str, held: list[Example], calls: int, options: argparse.Namespace) -> int:
    """So many malformed calls of one part; how many went wrong."""
    for example in held:  # a valid call is valid
        function, arguments = example.make()
        try:
            answer = function(**arguments)
            if hasattr(answer, "gen"):
                with answer:
                    pass
        except Exception as error:
            print(f"INVALID EXAMPLE {example.name}: {type(error).__name__}: {error}", file=sys.stderr)
    outcomes = [judge(*call) for call in malformed(held, calls, options.seed)]
    _print(outcomes, f"{part}: {len(outcomes)} malformed calls of {len(held)} callables", options.show)
    return sum(o.verdict in (ACCEPTED, UNCLEAR) for o in outcomes)


def _print(outcomes: list[Outcome], what: str, show: bool) -> None:
    wrong = {(o.verdict, o.example, o.argument, o.label, o.said[:230]) for o in outcomes if o.verdict in (ACCEPTED, UNCLEAR)}
    for told in sorted(wrong) if show else ():
        print(" | ".join(told))
    count = Counter(o.verdict for o in outcomes)
    print(what)
    for verdict in (CLEAR, RIGHT, ACCEPTED, UNCLEAR):
        print(f"  {verdict:22}{count[verdict]:8}")


if __name__ == "__main__":
    sys.exit(main())
