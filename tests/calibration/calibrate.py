"""Reintroduce faults one at a time and count those that tests catch: ``scripts/calibrate [--count N] [--run N]``.

The program draws faults with a fixed seed (`source_faults.py`) and tries them in a clone. One run of the first tier
finds the tests that execute the place of each fault (`site_probes.py`). For each fault it then runs these tests with
``-x``, those that the fixing commit changed first, and after them the whole modules of these tests, because a server
may execute the place for several tests. A place outside functions, which an import executes, is tried with the modules
that are likely to catch it. A failing test counts if it passes without the fault. Outcomes are stored, and the next run
continues.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import json
import os
import py_compile
import queue
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import site_probes
from source_faults import Fault, draw_faults, read_old_faults, run_git

import tiers
from coverage_map import CoverageMap

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("HVEN_CALIBRATION") or ROOT / ".cache/calibration")
PAGE = ROOT / "docs/proofs/tests.md"
SEED = 41
FAULT_COUNT = 100
MIN_CAUGHT_PERCENT = 90  # of a hundred
TIMEOUT_SECONDS = 900  # of one run of pytest; a fault that makes it hang is caught
EXCLUDED_FOLDERS = (*(f"{folder}/" for folder in tiers.FOLDERS), "tests/calibration/")
MODULES_PER_RUN = 12  # modules of one run
TESTS_PER_RUN = 300  # tests of one run
TESTS_PER_MODULE = 5  # of each module, these run before its others
MIN_PARALLEL_TESTS = 40  # tests of one run, from which two processes are worth it
PROBE_TIMEOUT_SECONDS = 3600  # of the run that finds the tests
MAX_UNSTABLE_TESTS = 10  # tests that may fail without the fault, before a fault is given up
CLONE_COUNT = 2  # faults that are tried at once, each in a clone of its own


@dataclass(frozen=True)
class Outcome:
    """The outcome of one fault.

    Attributes
    ----------
    caught
        Whether a test failed because of the fault.
    by
        The test; empty if none failed.
    modules
        The number of test modules or tests that ran.
    seconds
        Wall clock time.
    whole
        Whether all tests of the tier that may catch it ran.
    """

    name: str
    kind: str
    path: str
    line: int
    what: str
    caught: bool
    by: str
    modules: int
    seconds: float
    whole: bool


class Clone:
    """A clone of the checkout in which faults are tried, with the environment of the checkout."""

    def __init__(self, directory: Path, commit: str) -> None:
        self.directory = directory
        if not (directory / ".git").exists():
            directory.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["git", "clone", "-q", "--shared", "--no-checkout", str(ROOT), str(directory)], check=True)
        run_git(directory, "fetch", "-q", "origin")
        run_git(directory, "checkout", "-q", "--force", "--detach", commit)
        for made in ("assets", "grounds"):  # by scripts/web, and not in Git
            source, target = ROOT / "src/hven/portal" / made, directory / "src/hven/portal" / made
            if source.exists() and not target.exists():
                shutil.copytree(source, target)
        # Python compares the hash of a source with the hash in its compiled file. Otherwise it would miss a fault that
        # keeps the size of the file, within the same second.
        compileall.compile_dir(
            directory / "src", quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
        )
        shared = directory.parent / "shared"
        if (ROOT.parent / "shared").exists() and not shared.exists():
            shared.symlink_to(ROOT.parent / "shared")

    def write(self, fault: Fault) -> None:
        """Write a fault into the clone."""
        for path, text in fault.texts.items():
            (self.directory / path).write_text(text, encoding="utf-8")

    def restore(self) -> None:
        """Remove the fault."""
        run_git(self.directory, "checkout", "-q", "--force", "--", "src")

    def run_pytest(
        self,
        words: list[str],
        seconds: float,
        parallel: tuple[str, ...] = ("-n", "0"),
        variables: dict[str, str] | None = None,
    ) -> tuple[int, str]:
        """Run pytest on the sources of the clone; return its exit code (1 if it hangs) and its output."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.directory / "src"),
            "CI": "",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", *parallel, "-p", "no:cacheprovider", "--tb=no", *words],
            cwd=self.directory, env={**environment, **(variables or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            told, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
            return 1, f"FAILED the run took more than {seconds:.0f} s"
        return process.returncode, told

    def find_tests(self, faults: list[Fault], folder: Path) -> None:
        """Run the first tier once, and note in a folder which tests execute the places of faults."""
        folder.mkdir(parents=True)
        texts = {fault.path: (self.directory / fault.path).read_text(encoding="utf-8") for fault in faults}
        places = [(number, fault.path, fault.line) for number, fault in enumerate(faults)]
        for path, text in site_probes.instrument(texts, places).items():
            (self.directory / path).write_text(text, encoding="utf-8")
        (self.directory / f"src/{site_probes.PROBE_MODULE}.py").write_text(site_probes.PROBE_PROGRAM, encoding="utf-8")
        variables = {site_probes.FOLDER_VARIABLE: str(folder)}
        _, told = self.run_pytest(["--tier", "first", "tests"], PROBE_TIMEOUT_SECONDS, ("--forks", "4"), variables)
        print(told.strip().splitlines()[-1])
        self.restore()

    def run_tier(self, tests: list[str], unstable: list[str]) -> str:
        """Run some modules or tests as the first tier does; return the first test that fails, or an empty text.

        Tests of `unstable` are left out: they fail without the fault, too.
        """
        names = self.directory.with_suffix(".txt")
        names.write_text("".join(f"{test}\n" for test in tests), encoding="utf-8")
        left_out = [f"--deselect={test.partition('@')[0]}" for test in unstable]
        parallel = ("--forks", "2") if len(tests) > MIN_PARALLEL_TESTS else ("-n", "0")
        code, told = self.run_pytest(["-x", "--tier", "first", *left_out, f"@{names}"], TIMEOUT_SECONDS, parallel)
        found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", told, re.MULTILINE)
        if found:
            return found[1].strip()
        return "" if code in {0, 5} else f"pytest ended with {code}: {told.strip().splitlines()[-1:]}"

    def passes(self, test: str) -> bool:
        """Return whether a test passes without the fault."""
        self.restore()
        return self.run_pytest([test.partition("@")[0]], TIMEOUT_SECONDS)[0] == 0


def list_modules(directory: Path) -> list[str]:
    """List the test modules that the first tier may run."""
    paths = (path.relative_to(directory).as_posix() for path in (directory / "tests").rglob("test_*.py"))
    return sorted(path for path in paths if not path.startswith(EXCLUDED_FOLDERS))


def is_in_function(path: Path, line: int) -> bool:
    """Return whether a line is in a function; other lines are executed by the test that imports the module first."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(path.read_bytes())
    return any(isinstance(node, functions) and node.lineno <= line <= (node.end_lineno or 0) for node in ast.walk(tree))


def order_modules(directory: Path, fault: Fault, *, whole: bool) -> list[list[str]]:
    """Order the test modules that may catch a fault in batches, the likeliest and cheapest first."""
    known = list_modules(directory)
    recorded = CoverageMap.read(directory / tiers.COVERAGE_PATH) or CoverageMap("", {}, {})
    seconds = recorded.seconds
    source = recorded.sources.get(fault.path)
    covering = source.tests if source else set()
    stem, folder = Path(fault.path).stem.strip("_"), fault.path.split("/")[2].removesuffix(".py")
    dotted = fault.path.removeprefix("src/").removesuffix(".py").replace("/", ".")
    importing = [name for name in known if dotted in (directory / name).read_text(encoding="utf-8")]
    groups = [
        [name for name in fault.tests if name in known],
        importing,
        sorted(covering, key=lambda name: seconds.get(name, 0.0)),
        [name for name in known if stem in Path(name).stem],
        [name for name in known if name.startswith(f"tests/{folder}/")],
        known if whole else [],
    ]
    batches, seen = [], set[str]()
    for group in groups:
        fresh = [name for name in dict.fromkeys(group) if name in known and name not in seen]
        seen.update(fresh)
        batches += [fresh[at : at + MODULES_PER_RUN] for at in range(0, len(fresh), MODULES_PER_RUN)]
    return batches


def order_tests(fault: Fault, tests: set[str]) -> list[list[str]]:
    """Order the tests that execute the place of a fault, and after them their modules, in batches."""
    likely = sorted(tests, key=lambda test: (test.partition("::")[0] not in fault.tests, test))
    # a few tests of each module come first: a common place is executed by thousands
    by_module: dict[str, int] = {}
    ranks = {}
    for test in likely:
        module = test.partition("::")[0]
        ranks[test] = by_module[module] = by_module.get(module, 0) + 1
    likely.sort(key=lambda test: (ranks[test] > TESTS_PER_MODULE, test.partition("::")[0] not in fault.tests))
    batches = [likely[at : at + TESTS_PER_RUN] for at in range(0, len(likely), TESTS_PER_RUN)]
    modules = sorted({test.partition("::")[0] for test in tests})
    return batches + [modules[at : at + MODULES_PER_RUN] for at in range(0, len(modules), MODULES_PER_RUN)]


def try_fault(clone: Clone, fault: Fault, tests: set[str], *, whole: bool) -> Outcome:
    """Run the tests that may catch a fault until one fails."""
    begun, count, by = time.monotonic(), 0, ""
    unstable: list[str] = []
    batches = order_tests(fault, tests) if tests else []
    if not tests or not is_in_function(clone.directory / fault.path, fault.line):
        batches += order_modules(clone.directory, fault, whole=whole)
    for batch in batches:
        count += len(batch)
        while not by and len(unstable) < MAX_UNSTABLE_TESTS:
            clone.write(fault)
            failed = clone.run_tier(batch, unstable)
            if not failed:
                break
            if failed.startswith(("pytest ended", "the run took")) or clone.passes(failed):
                by = failed
            else:
                unstable.append(failed)
        if by:
            break
    clone.restore()
    return Outcome(
        fault.name, fault.kind, fault.path, fault.line, fault.what, bool(by), by, count, round(time.monotonic() - begun, 1), whole or bool(tests)
    )  # fmt: skip


def read_outcomes(path: Path) -> Iterator[Outcome]:
    """Read the outcomes of earlier runs; skip an incomplete line."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            yield Outcome(**json.loads(line))
        except ValueError:
            continue


def write_page(outcomes: list[Outcome], commit: str, count: int, known_count: int) -> None:
    """Write the table of the outcomes of faults that were drawn from all known ones."""
    caught = sum(one.caught for one in outcomes)
    lines = [
        "# Calibration of the first tier",
        "",
        f"Do the tests find faults? Of the {known_count} faults of the past in `tests/calibration/old_faults.toml`, {count} were drawn with the seed",
        f"{SEED}. Each is written for the present code. The program puts one fault at a time into a clone and runs the tests of the first tier that execute",
        "this place, until one fails. A test counts if it passes without the fault.",
        "",
        f"`scripts/calibrate --count {count}` at commit {commit[:10]}: **{caught} of {len(outcomes)} caught**; the tests should catch {MIN_CAUGHT_PERCENT} %.",
        "",
        "fault (its name in that file) | caught by",
        "---|---",
    ]
    for one in sorted(outcomes, key=lambda one: (one.caught, one.name)):
        module, _, test = one.by.partition("[")[0].rpartition("::")
        by = f"`{Path(module).stem}::{test}`" if one.caught else "**nothing**"
        lines.append(f"{one.name} | {by}")
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Draw the faults, try them and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=FAULT_COUNT, help="faults that are drawn")
    parser.add_argument("--run", type=int, default=None, help="faults that are tried now (default: all that are left)")
    parser.add_argument("--whole", action="store_true", help="run all of the tier before a fault counts as not caught")
    parser.add_argument("--list", action="store_true", help="list the faults, and try none")
    words = parser.parse_args()
    commit = run_git(ROOT, "rev-parse", "HEAD").strip()
    kept = CACHE / f"{commit[:10]}-{SEED}-{words.count}.jsonl"
    faults = draw_faults(ROOT, SEED, words.count)
    known_count = len(read_old_faults(ROOT))
    if words.list:
        for fault in faults:
            print(f"{fault.kind} {fault.path}:{fault.line} {fault.what} ({fault.commit[:10]})")
        return 0
    done = {one.name: one for one in read_outcomes(kept)}
    left = [
        fault
        for fault in faults
        if fault.name not in done or (words.whole and not done[fault.name].caught and not done[fault.name].whole)
    ]
    clones: queue.Queue[Clone] = queue.Queue()
    for number in range(CLONE_COUNT):
        clones.put(Clone(CACHE / f"clone/hven-{number}", commit))
    kept.parent.mkdir(parents=True, exist_ok=True)
    notes = kept.with_suffix(".tests")
    if not (notes / "done").exists():
        shutil.rmtree(notes, ignore_errors=True)
        clone = clones.get()
        clone.find_tests(faults, notes)
        clones.put(clone)
        (notes / "done").touch()
    tests = site_probes.read_notes(notes)

    def try_in_free_clone(fault: Fault) -> Outcome:
        clone = clones.get()
        try:
            return try_fault(clone, fault, tests[faults.index(fault)] - {""}, whole=words.whole)
        finally:
            clones.put(clone)

    with ThreadPoolExecutor(CLONE_COUNT) as executor:
        for future in as_completed([executor.submit(try_in_free_clone, fault) for fault in left[: words.run]]):
            outcome = future.result()
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(vars(outcome)) + "\n")
            done[outcome.name] = outcome
            print(f"{'caught' if outcome.caught else 'NOT CAUGHT'} {outcome.path}:{outcome.line} {outcome.what} by {outcome.by or 'nothing'}, {outcome.seconds:.0f} s", flush=True)  # fmt: skip
            outcomes = [done[one.name] for one in faults if one.name in done]
            write_page(outcomes, commit, words.count, known_count)
    caught = sum(one.caught for one in done.values())
    print(f"{caught} of {len(done)} caught")
    return 0 if 100 * caught >= MIN_CAUGHT_PERCENT * len(done) else 1


if __name__ == "__main__":
    sys.exit(main())
