"""The table of branch coverage by package, of what `make coverage` has measured."""

from __future__ import annotations

import json
from pathlib import Path

import coverage

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    measured = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"))
    measured.load()
    report = ROOT / "build" / "coverage" / "report.json"
    measured.json_report(outfile=str(report), pretty_print=False)
    counts: dict[str, list[int]] = {}
    for name, file in json.loads(report.read_text(encoding="utf-8"))["files"].items():
        parts, numbers = Path(name).with_suffix("").parts, file["summary"]
        package = ".".join(parts[:2]) if len(parts) > 2 and parts[0] == "activebmr" else parts[0]
        if parts == ("activebmr", "dirichlet"):
            package = "activebmr.dirichlet"  # the one module that make mutation counts as a package
        row = counts.setdefault(package, [0, 0, 0, 0])
        keys = ("covered_lines", "num_statements", "covered_branches", "num_branches")
        counts[package] = [a + numbers[k] for a, k in zip(row, keys, strict=True)]
    counts["all"] = [sum(column) for column in zip(*counts.values(), strict=True)]
    print("| package | statements | covered | branches | covered |", "|---|---|---|---|---|", sep="\n")
    for package, (lines, of_lines, arms, of_arms) in sorted(counts.items(), key=lambda x: (x[0] == "all", x[0])):
        share = [f"{100 * a / n:.1f} %" if n else "-" for a, n in ((lines, of_lines), (arms, of_arms))]
        print(f"| {package} | {of_lines} | {share[0]} | {of_arms} | {share[1]} |")


if __name__ == "__main__":
    main()
