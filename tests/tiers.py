"""The tiers of tests: ``--tier first`` needs only Python packages, ``--tier all`` is everything.

``--tier rest`` is what a run of the first tier left out or tried in part: both together are everything.

The first tier finds nearly all faults. It has all tests that are not

* in one of `FOLDERS`, whose tests run browsers, external programs or full-size data;
* marked `slow` (long waits or many processes) or `outside` (checked by a program of others);
* recorded with much processor time (`slow` in `COVERAGE_PATH`, which `scripts/test --record` writes);
* in need of a group of `requirements.GROUPS` beyond `FIRST_TIER_NEEDS`: PostgreSQL, Spark, STILTS. Such a test is skipped.

Property tests try a third of their examples there (`reduce_examples`), and all of them in ``--tier all``.

Tests that the command line names belong to ``all``. A run of the first tier lists what it left out.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

import requirements

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST, ALL, REST = "first", "all", "rest"
FOLDER_KINDS = {
    "browser": "pages in Chromium",
    "outside": "programs of others",
    "proofs": "proofs",
    "recorded": "recorded answers",
}
TESTS = Path(__file__).resolve().parent
FOLDERS = {  # folder of tests -> what is in it; plug-in packages have such folders, too
    path.relative_to(TESTS.parent).as_posix(): text
    for name, text in FOLDER_KINDS.items()
    for path in (TESTS / name, *sorted(TESTS.glob(f"plugins/*/{name}")))
}
MARKS = {"slow": "marked slow", "outside": "marked outside"}
# what any machine with Git and Python has, or what costs nothing where it exists
FIRST_TIER_NEEDS = {
    "shared",
    "git checkout",
    "git",
    "tar",
    "patch",
    "unzip",
    "curl",
    "wget",
    "openssl",
    "chattr",
    "ip",
    "prlimit",
    "setpriv",
    "mount",
    "root",
    "packages",
}
COVERAGE_PATH = "tests/coverage.json"  # by coverage_map.py
COSTLY = "that take much time of the processor"
EXAMPLES_DIVISOR = 3  # of a test of properties, in the first tier
MIN_EXAMPLES = 10  # no test is reduced to fewer, unless it has fewer itself
COMMAND = "scripts/test --all"
SKIPPED_PATH = ".cache/tests/skipped.json"  # what the last run skipped: group -> tests


def list_excluded_groups() -> set[str]:
    """List the groups of `requirements` that the first tier does without."""
    return set(requirements.GROUPS) - FIRST_TIER_NEEDS


def count_tests(folder: Path) -> tuple[int, int]:
    """Count the test modules of a folder and their test functions, without importing them."""
    modules = sorted(folder.rglob("test_*.py"))
    pattern = re.compile(r"^ *(?:async )?def test_", re.MULTILINE)
    return len(modules), sum(len(pattern.findall(path.read_text(encoding="utf-8"))) for path in modules)


def reduce_examples(item: pytest.Item) -> bool:
    """Let a property test try fewer examples; its explicit examples all run.

    Returns
    -------
    reduced
        Whether the number of examples changed.
    """
    test, wanted, count = _find_example_counts(item)
    if wanted is None or count == wanted.max_examples:
        return False
    test._hypothesis_internal_use_settings = settings(wanted, max_examples=count)
    return True


def has_reduced_examples(item: pytest.Item) -> bool:
    """Return whether the first tier tries fewer examples of a property test."""
    _, wanted, count = _find_example_counts(item)
    return wanted is not None and count != wanted.max_examples


def _find_example_counts(item: pytest.Item) -> tuple[Any, settings | None, int]:
    """Find the function of a test, its settings if it tests properties, and its number of examples in the first tier."""
    test = getattr(item, "obj", None)
    test = getattr(test, "__func__", test)
    wanted = getattr(test, "_hypothesis_internal_use_settings", None)
    if wanted is None:
        return test, None, 0
    return test, wanted, max(wanted.max_examples // EXAMPLES_DIVISOR, min(MIN_EXAMPLES, wanted.max_examples))


def read_costly_tests(root: Path) -> set[str]:
    """Read the names of the tests that took much time of the processor when they were recorded."""
    path = root / COVERAGE_PATH
    return set(json.loads(path.read_text(encoding="utf-8"))["slow"]) if path.exists() else set()


def find_exclusion_reason(item: pytest.Item, costly_tests: set[str]) -> str | None:
    """Return why a test outside of `FOLDERS` is not in the first tier; None: it is."""
    reason = next((MARKS[name] for name in MARKS if item.get_closest_marker(name) is not None), None)
    if reason is None and item.nodeid.partition("[")[0] in costly_tests:
        return COSTLY
    return reason


class FirstTier:
    """Leave out tests that are not in the first tier, and list them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.counts: Counter[str] = Counter()
        self.folders: list[str] = []
        self.reduced = 0  # tests of properties
        self.slow = read_costly_tests(root)
        for name in FOLDERS:
            if (root / name).is_dir():
                self.folders.append(name)

    @pytest.hookimpl(tryfirst=True)
    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        name = collection_path.relative_to(self.root).as_posix() if self.root in collection_path.parents else ""
        return True if name in FOLDERS else None

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        kept, left = [], []
        for item in items:
            reason = find_exclusion_reason(item, self.slow)
            if reason is None:
                kept.append(item)
            else:
                left.append(item)
                self.counts[reason] += 1
        if left:
            items[:] = kept
            config.hook.pytest_deselected(items=left)
        # cases of one function share its settings
        functions = {getattr(item.obj, "__func__", item.obj): item for item in kept if hasattr(item, "obj")}
        self.reduced = sum(reduce_examples(item) for item in functions.values())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.summarize():
            terminalreporter.line(line)

    def summarize(self) -> Iterator[str]:
        """Yield a line for each group of left-out tests; skipped tests have lines of their own."""
        yield f"left out of the first tier, `{COMMAND}` runs them:"
        for name in self.folders:
            modules, functions = count_tests(self.root / name)
            yield f"  {functions:5,} test functions in {modules} modules of {name}: {FOLDERS[name]}"
        for reason, count in self.counts.items():
            yield f"  {count:5,} tests {reason}"
        if self.reduced:
            yield f"        most examples of {self.reduced:,} tests of properties: a third is tried"


class RestTier:
    """Leave out what a run of the first tier ran whole."""

    def __init__(self, root: Path) -> None:
        path = root / SKIPPED_PATH
        if not path.exists():
            raise pytest.UsageError("--tier rest completes a run of the first tier: run scripts/test before")
        self.root = root
        self.slow = read_costly_tests(root)
        self.skipped = {name for names in json.loads(path.read_text(encoding="utf-8")).values() for name in names}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        left = [item for item in items if not self._is_rest(item)]
        if left:
            items[:] = [item for item in items if self._is_rest(item)]
            config.hook.pytest_deselected(items=left)

    def _is_rest(self, item: pytest.Item) -> bool:
        return (
            any(
                parent.relative_to(self.root).as_posix() in FOLDERS
                for parent in item.path.parents
                if self.root in parent.parents
            )
            or item.nodeid in self.skipped
            or find_exclusion_reason(item, self.slow) is not None
            or has_reduced_examples(item)
        )


class SkipRecorder:
    """Record which tests were skipped because of which group, so that they can run alone elsewhere."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped: dict[str, list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            name = requirements.find_requirement(report.longrepr[2])
            if name:
                self.skipped.setdefault(name, []).append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.skipped, indent=0), encoding="utf-8")


class SkippedTests:
    """Run only the tests that the last run skipped because of a group."""

    def __init__(self, path: Path, group: str) -> None:
        if group not in requirements.GROUPS:
            raise pytest.UsageError(f"no group {group!r}: tests/requirements.py has {', '.join(requirements.GROUPS)}")
        skipped = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.wanted = set(skipped.get(group, ()))
        if not self.wanted:
            raise pytest.UsageError(f"the last run skipped nothing for want of {group}")
        self.modules = {name.partition("::")[0] for name in self.wanted}

    def pytest_ignore_collect(self, collection_path: Path, config: pytest.Config) -> bool | None:
        if not collection_path.name.startswith("test_") or collection_path.suffix != ".py":
            return None
        return True if collection_path.relative_to(config.rootpath).as_posix() not in self.modules else None

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        left = [item for item in items if item.nodeid not in self.wanted]
        if left:
            items[:] = [item for item in items if item.nodeid in self.wanted]
            config.hook.pytest_deselected(items=left)


def add_options(parser: pytest.Parser) -> None:
    """Add the options of tiers to pytest's."""
    parser.addoption(
        "--tier",
        choices=(FIRST, ALL, REST),
        default=ALL,
        help="first: what needs Python packages alone; rest: what the first tier left out",
    )
    parser.addoption("--skipped-for", metavar="GROUP", help="run what the last run skipped for want of a group of tests/requirements.py")  # fmt: skip


def configure(config: pytest.Config) -> None:
    """Register the plug-ins that the options ask for."""
    path = config.rootpath / SKIPPED_PATH
    group = config.getoption("--skipped-for")
    if group:
        config.pluginmanager.register(SkippedTests(path, group), "skipped-tests")
    if config.getoption("--tier") == REST and not hasattr(config, "workerinput"):
        config.pluginmanager.register(RestTier(config.rootpath), "rest-tier")
    if config.getoption("--tier") == FIRST:
        if not group and not hasattr(config, "workerinput"):
            config.pluginmanager.register(SkipRecorder(path), "skip-recorder")
        named = os.environ.get("HVEN_TESTS_WITHOUT", "").replace(",", " ").split()
        os.environ["HVEN_TESTS_WITHOUT"] = ",".join(sorted({*named, *list_excluded_groups()}))
        config.pluginmanager.register(FirstTier(config.rootpath), "first-tier")
