"""Which test modules execute which files of src/hven: `scripts/test --record` records it, `--changed` selects by it.

    python tests/coverage_map.py prepare FOLDER     number the functions, and record the processes of .venv into that folder
    python tests/coverage_map.py write FOLDER       write tests/coverage.json from a recording
    python tests/coverage_map.py select [COMMIT]    print the test modules for the changes since a commit, or the word "first"

A function that more than a third of all test modules execute identifies no test: a site runs it when it starts, or an
answer when it is written. A change of such a function selects the whole first tier. Any other change selects the
modules that execute a rarer function of the same file.
"""

from __future__ import annotations

import ast
import base64
import json
import math
import re
import subprocess
import sys
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import coverage_recorder
import run_report
from tiers import COVERAGE_PATH, FOLDERS

ROOT = Path(__file__).resolve().parent.parent
MAP = ROOT / COVERAGE_PATH
PTH_NAME = "hven_coverage.pth"  # of .venv: starts the recorder in each process
COMMON_SHARE = 1 / 3  # of all test modules: what more than these execute is common to all
# processor seconds: a test function whose cases cost more on average is not in the first tier
SLOW_SECONDS = 0.4
# the same for tests whose failure must be seen at once: who may see what, and the rules of the house
ESSENTIAL_SLOW_SECONDS = 1.0
ESSENTIAL_PREFIXES = (
    "tests/protocols/test_rights_",
    "tests/protocols/test_policies",
    "tests/protocols/test_roles",
    "tests/protocols/test_see_as",
    "tests/test_",
)
MAX_UNKNOWN_SHARE = 0.05  # of the test modules of the first tier: a map that lacks more of them is too old to select by
MAX_SELECTED_SHARE = 0.5  # of the seconds of the first tier: a selection that costs more is the first tier
FIRST_TIER = "first"  # the output that selects the whole first tier
COMMON_PATHS = (
    "src/hven/model/",
    "src/hven/adql/",
    "pyproject.toml",
    "constraints.txt",
    "scripts/",
    "tests/conftest.py",
)
SECOND_TIER = tuple(f"{folder}/" for folder in FOLDERS)
TESTS_BY_FOLDER = {
    "docs/": ("tests/test_docs.py", "tests/test_howto.py", "tests/descriptor/test_docs.py"),
    "README.md": ("tests/test_docs.py",),
    "examples/": ("tests/examples", "tests/test_docs.py"),
    "web/": ("tests/test_web.py",),
    "demo/": ("tests/test_demo.py",),
    "bench/": ("tests/test_bench.py",),
}  # of files that no process executes by Python's import
HOUSE_TESTS = "tests/test_house.py"  # judges any file of src
CONTRACT_TESTS = "tests/contracts"  # go over the registry of plug-ins


@dataclass
class Source:
    """The recording of a file of src/hven."""

    common: set[str] = field(default_factory=set)  # functions
    tests: set[str] = field(default_factory=set)  # modules that execute one of its rarer functions


@dataclass
class CoverageMap:
    """A recording of the source files and test modules of a commit."""

    commit: str
    sources: dict[str, Source]
    seconds: dict[str, float]  # of processor, by test module
    means: dict[str, float] = field(
        default_factory=dict, compare=False
    )  # seconds of a test function for each of its cases
    slow: set[str] = field(default_factory=set)  # test functions that the first tier leaves out for what they cost

    @classmethod
    def read(cls, path: Path = MAP) -> CoverageMap | None:
        if not path.exists():
            return None
        said = json.loads(path.read_text(encoding="utf-8"))
        modules = list(said["tests"])
        sources = {}
        for name, row in said["sources"].items():
            bits = int.from_bytes(base64.b64decode(row["tests"]), "little")
            tests = {module for number, module in enumerate(modules) if bits >> number & 1}
            sources[name] = Source(set(row["common"].split()), tests)
        return cls(said["commit"], sources, said["tests"], slow=set(said["slow"]))

    def add_missing(self, older: CoverageMap) -> None:
        """Add the test modules of an older map that this one lacks and that still exist: those of another tier."""
        # what still costs half of the limit stays: the tier of a test does not change with each recording
        mean = self.means
        self.slow |= {
            name
            for name in older.slow
            if mean.get(name, math.inf) > get_cost_limit(name) / 2 and (ROOT / name.partition("::")[0]).exists()
        }
        lacking = {name for name in older.seconds if name not in self.seconds and (ROOT / name).exists()}
        self.seconds = dict(sorted((self.seconds | {name: older.seconds[name] for name in lacking}).items()))
        for name, source in older.sources.items():
            if name in self.sources:
                self.sources[name].tests |= source.tests & lacking

    def write(self, path: Path = MAP) -> None:
        modules = list(self.seconds)
        rows = {}
        for name, source in sorted(self.sources.items()):
            bits = sum(1 << number for number, module in enumerate(modules) if module in source.tests)
            packed_bits = bits.to_bytes((bits.bit_length() + 7) // 8, "little")
            rows[name] = {"common": " ".join(sorted(source.common)), "tests": base64.b64encode(packed_bits).decode()}
        lines = [json.dumps({name: row})[1:-1] for name, row in rows.items()]
        tests = [json.dumps({name: seconds})[1:-1] for name, seconds in self.seconds.items()]
        sections = (",\n".join(lines), ",\n".join(tests), json.dumps(sorted(self.slow), indent=0))
        text = '{{"commit": "{}",\n"sources": {{\n{}\n}},\n"tests": {{\n{}\n}},\n"slow": {}}}\n'.format(
            self.commit, *sections
        )
        path.write_text(text, encoding="utf-8")


def run_git(*words: str) -> str:
    """Run Git in the checkout; raises CalledProcessError."""
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True).stdout


# --- recording


def prepare_recording(folder: Path) -> None:
    """Number the functions of the checkout, and start the recorder in each process of this environment."""
    coverage_recorder.prepare_folder(folder, ROOT)
    line = (
        f"import os, sys; os.environ.get({coverage_recorder.FOLDER_VARIABLE!r}) and "
        f"(sys.path.append({str(ROOT / 'tests')!r}), __import__('coverage_recorder').start_recording(), sys.path.remove({str(ROOT / 'tests')!r}))\n"
    )
    (Path(sysconfig.get_path("purelib")) / PTH_NAME).write_text(line, encoding="utf-8")


def compute_means(tests: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Compute the mean processor seconds of a case of each test function.

    All cases that use a shared fixture share its cost. If the first test that uses it bore the whole cost, that test
    would leave the first tier, the next test would bear the cost, and nothing would be saved.
    """
    executed = [test for test in tests if test["outcome"] != "skipped"]
    users: Counter[str] = Counter()
    prices: Counter[str] = Counter()
    for test in executed:
        own = test.get("fixtures", {})
        users.update({*own, *test.get("uses", ())})
        prices.update(own)
    costs: dict[str, list[float]] = defaultdict(list)
    for test in executed:
        own = test.get("fixtures", {})
        shares = sum(prices[name] / users[name] for name in {*own, *test.get("uses", ())})
        costs[test["id"].partition("[")[0]].append(test["cpu"] - sum(own.values()) + shares)
    return {name: sum(each) / len(each) for name, each in costs.items()}


def read_recording(folder: Path) -> CoverageMap:
    """Build a map from the records of processes."""
    _, files = coverage_recorder.read_files(folder)
    hits = {name: row for name, row in coverage_recorder.read_maps(folder) if name.startswith("tests/")}
    seconds: Counter[str] = Counter()
    tests = run_report.read_tests(folder)
    for test in tests:
        seconds[test["module"]] += test["cpu"]
    means = compute_means(tests)
    most = COMMON_SHARE * len(hits)
    sources = {}
    for name, (first, count) in files.items():
        names = coverage_recorder.list_functions(ROOT / name)
        source = sources[name] = Source()
        for number in range(1, count):  # 0 is the module, which is executed by whatever imports it
            tests = {module for module, row in hits.items() if row[first + number]}
            if len(tests) > most:
                source.common.add(names[number - 1])
            else:
                source.tests |= tests
    return CoverageMap(
        commit=run_git("rev-parse", "HEAD").strip(),
        sources=sources,
        seconds={name: round(seconds[name], 1) for name in sorted(hits)},
        means=means,
        slow={name for name, mean in means.items() if mean > get_cost_limit(name)},
    )


def get_cost_limit(test_name: str) -> float:
    """Return how many seconds of processor a test of the first tier may take."""
    return ESSENTIAL_SLOW_SECONDS if test_name.startswith(ESSENTIAL_PREFIXES) else SLOW_SECONDS


def find_unexecuted(folder: Path) -> list[str]:
    """Find the files that no process of a recording imported."""
    _, files = coverage_recorder.read_files(folder)
    seen = np.zeros(sum(count for _, count in files.values()), bool)
    for _, row in coverage_recorder.read_maps(folder):
        seen |= np.frombuffer(row, bool)
    return [name for name, (first, count) in files.items() if not seen[first : first + count].any()]


# --- selecting


IMPORT = re.compile(
    r"^[ \t]*(?:import[ \t]+([\w., \t]+)|from[ \t]+([\w.]+)[ \t]+import[ \t]*(?:\(([^)]*)\)|([^\n(]+)))", re.MULTILINE
)


@cache
def find_importers(root: Path) -> Mapping[str, set[str]]:
    """Find for each file of src/hven and of tests the files that import it."""
    paths = [*(root / "src").rglob("*.py"), *(root / "tests").rglob("*.py")]
    names = {path.relative_to(root).as_posix() for path in paths}
    found: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        importer = path.relative_to(root).as_posix()
        # helpers of tests are modules of tests/ or of the folder of the test
        places = ("src", "tests", Path(importer).parent.as_posix())
        for match in IMPORT.finditer(path.read_text(encoding="utf-8", errors="replace")):
            for word in list_modules(match):
                inner = word.replace(".", "/")
                for place in places:
                    found_here = {f"{place}/{inner}.py", f"{place}/{inner}/__init__.py"} & names
                    for imported in found_here:
                        found[imported].add(importer)
    return found


def list_modules(match: re.Match[str]) -> list[str]:
    """List the modules that an import may mean: the module itself, and each imported name."""
    plain, module, *taken = match.groups()
    if plain:
        return [word.split()[0] for word in plain.split(",") if word.split()]
    inner = re.sub(r"#.*", "", taken[0] or taken[1] or "")
    return [module, *(f"{module}.{word.split()[0]}" for word in inner.split(",") if word.split())]


@dataclass
class Selection:
    """The tests that a change selects."""

    tests: set[str] = field(default_factory=set)  # modules and folders
    whole: list[str] = field(default_factory=list)  # why the whole first tier: a sentence each


class Selector:
    """Select test modules by the changes since a commit."""

    def __init__(self, recorded: CoverageMap, root: Path = ROOT) -> None:
        self.recorded = recorded
        self.root = root

    @property
    def importers(self) -> Mapping[str, set[str]]:
        """Files of src/hven and of tests -> those that import them."""
        return find_importers(self.root)

    def select(self, changes: Iterable[tuple[str, str, set[str] | None]]) -> Selection:
        """Select the tests for changed files.

        Parameters
        ----------
        changes
            For each file: its path, its path in the recording, and the functions that changed; None if the change is not within functions.
        """
        selection = Selection()
        for path, before, functions in changes:
            if path.startswith(COMMON_PATHS):
                selection.whole.append(f"{path} is used by everything")
            elif path.startswith("src/hven/"):
                self.select_source(path, before, functions, selection)
                selection.tests.add(HOUSE_TESTS)
            elif path.startswith("tests/"):
                self.select_test(path, selection)
            else:
                rule = next(
                    (tests for begin, tests in TESTS_BY_FOLDER.items() if path.startswith(begin)), (HOUSE_TESTS,)
                )
                selection.tests.update(rule)
        selection.tests = {name for name in selection.tests if (self.root / name).exists()}
        seconds = {name: cost for name, cost in self.recorded.seconds.items() if not name.startswith(SECOND_TIER)}
        total = sum(seconds.values())
        cost = sum(each for name, each in seconds.items() if self.is_within(name, selection.tests))
        if total and cost > MAX_SELECTED_SHARE * total:
            selection.whole.append(f"the tests that execute it take {cost / total:.0%} of the time of all")
        return selection

    def count_unknown(self) -> float:
        """Return the share of the test modules of the first tier that the map lacks."""
        paths = [path.relative_to(self.root).as_posix() for path in (self.root / "tests").rglob("test_*.py")]
        modules = [path for path in paths if not path.startswith(SECOND_TIER)]
        return sum(path not in self.recorded.seconds for path in modules) / len(modules)

    @staticmethod
    def is_within(module: str, names: set[str]) -> bool:
        """Return whether a module is selected by itself or with its folder."""
        return module in names or any(parent.as_posix() in names for parent in Path(module).parents)

    def select_source(self, path: str, before: str, functions: set[str] | None, selection: Selection) -> None:
        """Select for a file of src/hven."""
        if not path.endswith(".py"):
            # a template, a table of facts: what executes the code beside it
            beside = [name for name in self.recorded.sources if Path(name).parent == Path(before).parent]
            for name in beside:
                selection.tests |= self.recorded.sources[name].tests
            if not beside:
                selection.whole.append(f"no code stands beside {path}")
            return
        source = self.recorded.sources.get(before)
        if source is not None and functions is not None and functions & source.common:
            names = ", ".join(sorted(functions & source.common))
            selection.whole.append(f"most tests execute {names} of {path}")
            return
        tests = set(source.tests) if source is not None else set()
        if not tests:
            # a new file, or one without functions: its importers use it, and the plug-in registry loads it by name
            for importer in self.importers.get(path, ()):
                mapped = self.recorded.sources.get(importer)
                tests |= mapped.tests if mapped is not None else set()
        if self.find_plugin_group(path):
            tests.add(CONTRACT_TESTS)
        # test modules that are newer than the map are chosen by what they import
        known = self.recorded.seconds
        tests |= {name for name in self.importers.get(path, ()) if self.is_test(name) and name not in known}
        if not tests:
            selection.whole.append(f"no test is known to execute {path}")
        selection.tests |= tests

    def find_plugin_group(self, path: str) -> str | None:
        """Find the group of plug-ins that a file belongs to, as the registry does."""
        from hven.model import plugins

        module = path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for group in plugins.PLUGIN_GROUPS:
            # a plug-in is a module or a folder of the group's room
            if any(
                module == own or module.startswith(f"{own}.") for own in plugins._map_builtin_modules(group).values()
            ):
                return group
        return None

    @staticmethod
    def is_test(name: str) -> bool:
        return Path(name).name.startswith("test_")

    def select_test(self, path: str, selection: Selection) -> None:
        """Select for a file of tests."""
        if self.is_test(path) and path.endswith(".py"):
            selection.tests.add(path)
            return
        if Path(path).name == "conftest.py":
            selection.tests.add(Path(path).parent.as_posix())
            return
        if not path.endswith(".py"):
            # data: the modules that name its folder or itself
            words = {Path(path).name, Path(path).parts[1]}
            for module in sorted((self.root / "tests").rglob("test_*.py")):
                text = module.read_text(encoding="utf-8")
                if any(re.search(rf"\b{re.escape(word)}\b", text) for word in words):
                    selection.tests.add(module.relative_to(self.root).as_posix())
            return
        # a helper: its direct and indirect importers
        todo, seen = [path], {path}
        while todo:
            for importer in self.importers.get(todo.pop(), ()):
                if importer in seen:
                    continue
                seen.add(importer)
                if importer == "tests/conftest.py":
                    selection.whole.append(f"all tests use {path}")
                elif self.is_test(importer) or Path(importer).name == "conftest.py":
                    self.select_test(importer, selection)
                else:
                    todo.append(importer)


def find_base() -> str:
    """Find the commit where this branch left main; on main, the last commit."""
    for name in ("main", "origin/main", "master", "origin/master"):
        try:
            return run_git("merge-base", "HEAD", name).strip()
        except subprocess.CalledProcessError:
            continue
    return "HEAD"


def list_changed_functions(path: Path, difference: str) -> set[str] | None:
    """List the functions that a diff without context changes; None if it changes other lines."""
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (OSError, SyntaxError):
        return None
    spans = [
        (min([node.lineno, *(each.lineno for each in node.decorator_list)]), node.end_lineno or node.lineno, node.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    names = set()
    for hunk in re.finditer(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", difference, re.MULTILINE):
        first, count = int(hunk[1]), int(hunk[2] or 1)
        for line in range(first, first + max(count, 1)):
            # the innermost, which is the one that begins last
            inner = max((span for span in spans if span[0] <= line <= span[1]), default=None)
            if inner is None:
                return None
            names.add(inner[2])
    return names


def list_changes(recorded: CoverageMap, base: str) -> Iterator[tuple[str, str, set[str] | None]]:
    """List the changes since a commit, including uncommitted and untracked files."""
    renamed = {}
    try:
        for line in run_git("diff", "--name-status", "-M", "--diff-filter=R", recorded.commit).splitlines():
            _, before, now = line.split("\t")
            renamed[now] = before
    except subprocess.CalledProcessError:
        pass  # a clone without history: names are taken as they are
    paths = set(run_git("diff", "--name-only", "-z", base).split("\0"))
    paths |= set(run_git("ls-files", "-z", "--others", "--exclude-standard").split("\0"))
    for path in sorted(paths - {""}):
        functions = None
        if path.startswith("src/hven/") and path.endswith(".py"):
            functions = list_changed_functions(ROOT / path, run_git("diff", "-U0", base, "--", path))
        yield path, renamed.get(path, path), functions


def main(words: list[str]) -> int:
    match words:
        case ["prepare", folder]:
            prepare_recording(Path(folder))
        case ["write", folder]:
            made = read_recording(Path(folder))
            older = CoverageMap.read()
            if older is not None:
                made.add_missing(older)
            made.write()
            print(
                f"{MAP.relative_to(ROOT)}: {len(made.seconds):,} test modules, {len(made.sources):,} files",
                file=sys.stderr,
            )
            unexecuted = find_unexecuted(Path(folder))
            print(f"files that this run did not execute: {len(unexecuted)}", *unexecuted, sep="\n  ", file=sys.stderr)
        case ["select", *base]:
            recorded = CoverageMap.read()
            if recorded is None:
                print("nothing is recorded (scripts/test --record does it): the first tier runs", file=sys.stderr)
                print(FIRST_TIER)
                return 0
            selector = Selector(recorded)
            unknown = selector.count_unknown()
            selection = selector.select(list_changes(recorded, base[0] if base else find_base()))
            if unknown > MAX_UNKNOWN_SHARE:
                selection.whole.insert(0, f"the map lacks {unknown:.0%} of the test modules: record it anew")
            later = {name for name in selection.tests if name.startswith(SECOND_TIER)}
            if selection.whole:
                print("the first tier runs:", *selection.whole[:5], sep="\n  ", file=sys.stderr)
                print(FIRST_TIER)
            else:
                print(*sorted(selection.tests - later), sep="\n")
                print(f"{len(selection.tests)} test modules or folders execute what changed", file=sys.stderr)
            if later:
                print(f"of the second tier, not run now: scripts/test {' '.join(sorted(later))}", file=sys.stderr)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
