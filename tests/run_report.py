"""Report a recorded run by folder (cases, assertions, processor seconds), and modules that need no mark `slow`.

python tests/run_report.py FOLDER              FOLDER: of HVEN_COVERAGE during the run (`scripts/test --record` prints
the report)
python tests/run_report.py FOLDER --save FILE
python tests/run_report.py FOLDER --before FILE    compare with a saved report: a folder that checks less is an error
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

QUICK_SECONDS = 2.0  # a module whose slow tests all take less does not need the mark
COUNTS = ("cases", "executed", "assertions", "seconds")


def read_tests(folder: Path) -> list[dict]:
    """Read the records of all workers; a test that ran twice has its last record."""
    lines = [line for path in sorted(folder.glob("tests-*.jsonl")) for line in path.read_text().splitlines()]
    return list({test["id"]: test for test in map(json.loads, lines)}.values())


def count_by_folder(tests: list[dict]) -> dict[str, dict[str, float]]:
    """Count the cases of each folder below tests, and of the modules beside the folders."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for test in tests:
        parts = test["module"].split("/")
        for name in (parts[1] if len(parts) > 2 else "(tests)", "all"):
            row = counts[name]
            row["cases"] += 1
            row["executed"] += test["outcome"] != "skipped"
            row["assertions"] += test["asserts"]
            row["seconds"] += test["cpu"]
    return {name: {word: round(row[word], 1) for word in COUNTS} for name, row in sorted(counts.items())}


def find_needless_marks(tests: list[dict]) -> list[str]:
    """List the modules that are marked slow without a slow test."""
    slow: dict[str, float] = defaultdict(float)
    for test in tests:
        if "slow" in test["marks"] and test["outcome"] == "passed":
            slow[test["module"]] = max(slow[test["module"]], test["cpu"], test["wall"])
    return [
        f"marked slow, {cost:.1f} s at most: {module}" for module, cost in sorted(slow.items()) if cost < QUICK_SECONDS
    ]


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description="report a recorded run")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--modules", type=int, default=15, help="how many of the dearest modules are listed")
    said = parser.parse_args(words)
    tests = read_tests(said.folder)
    counts = count_by_folder(tests)
    before = json.loads(said.before.read_text()) if said.before else {}
    print(f"{'folder':14} {'cases':>7} {'executed':>9} {'assertions':>11} {'seconds':>9}")
    for name, row in counts.items():
        print(f"{name:14} {row['cases']:7,} {row['executed']:9,} {row['assertions']:11,} {row['seconds']:9,.1f}")
        old = before.get(name)
        if old:
            print(
                f"{'  before':14} {old['cases']:7,} {old['executed']:9,} {old['assertions']:11,} {old['seconds']:9,.1f}"
            )
    modules: Counter[str] = Counter()
    for test in tests:
        modules[test["module"]] += test["cpu"]
    print("\nprocessor seconds by module:")
    for name, seconds in modules.most_common(said.modules):
        print(f"{seconds:8.1f} {name}")
    for line in find_needless_marks(tests):
        print(line)
    if said.save:
        said.save.write_text(json.dumps(counts, indent=1) + "\n")
    less = [name for name, old in before.items() if counts.get(name, {}).get("assertions", 0) < old["assertions"]]
    if less:
        print(f"fewer assertions than before: {', '.join(less)}", file=sys.stderr)
    return int(bool(less))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
