"""Fixtures and hooks of all tests."""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from pathlib import Path

# Numpy's arctan2, exp, log and the like have other last digits with AVX-512. Recorded answers must be the same on each
# machine. It must be set before numpy is imported, and the programs that tests start inherit it.
os.environ.setdefault("NPY_DISABLE_CPU_FEATURES", "X86_V4")

import pytest
from _pytest.assertion import rewrite
from _pytest.subtests import SubtestReport
from hypothesis import HealthCheck, settings

# the helpers beside the tests (shared.py, ...) are plain modules
sys.path.insert(0, str(Path(__file__).parent))

import requirements
import run_records
import tiers
from clocks import MovableClock
from shared import EXAMPLES_FACTOR

pytest_plugins = ["absent_plugins", "failure_log", "forks", "shared_sites", "source_trees", "state_templates"]

gc.set_threshold(5_000)  # as `hven` does it
gc.disable()  # until tests are collected: thousands of objects are created and none is freed

# speed is measured in bench/: a busy machine must not fail a test of correctness
# examples are random, but in CI each test repeats the same ones, so that it fails only because of a change
CI = os.environ.get("CI") == "true"
settings.register_profile(
    "hven",
    deadline=None,
    max_examples=40 * EXAMPLES_FACTOR,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=CI,
    print_blob=True,
)
settings.load_profile("hven")


MAX_ID_CHARACTERS = 200  # characters of a parameter that stand in the name of its test


# answers of requests that are not closed: pyvo reads to the end of the table and leaves the socket to the collector
_open_answers = []


def pytest_runtest_setup(item):
    for mark in item.iter_markers("needs"):
        requirements.require(*mark.args)
    requests = sys.modules.get("requests")
    if requests is None or hasattr(requests.Session.send, "unwatched"):
        return
    send = requests.Session.send

    def send_and_record(self, request, **options):
        answer = send(self, request, **options)
        _open_answers.append(answer)
        return answer

    send_and_record.unwatched = send
    requests.Session.send = send_and_record


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    result = yield  # fixtures may still read
    while _open_answers:
        _open_answers.pop().close()
    if any(
        "ResourceWarning" in word or "Unraisable" in word
        for mark in item.iter_markers("filterwarnings")
        for word in mark.args
    ):
        # report sockets that external clients leave open here, where they are allowed, and not during another test
        gc.collect()
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session):
    """Let each of several workers rewrite its share of new test modules for asserts.

    All workers find the result in the cache. A worker that rewrites all modules alone takes eight seconds.
    """
    worker = getattr(session.config, "workerinput", None)
    if worker is None or sys.dont_write_bytecode:
        return
    state = session.config.stash[rewrite.assertstate_key]
    paths = sorted(Path(__file__).parent.rglob("test_*.py"))
    for path in paths[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
        made = rewrite.get_cache_dir(path) / f"{path.stem}{rewrite.PYC_TAIL}"
        if not made.exists():
            found, code = rewrite._rewrite_test(path, session.config)
            made.parent.mkdir(parents=True, exist_ok=True)
            rewrite._write_pyc(state, code, found, made)


def pytest_make_parametrize_id(config, val):
    """Shorten long parameters in the names of tests: each worker sends these names with every step of a test."""
    if isinstance(val, str | bytes) and len(val) > MAX_ID_CHARACTERS:
        head = val[:MAX_ID_CHARACTERS] if isinstance(val, str) else val[:MAX_ID_CHARACTERS].decode("latin-1")
        return f"{head.encode('unicode_escape').decode('ascii')}... of {len(val):,}"
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Give all tests of a module to one worker, and start slow tests first.

    The worker sets up the fixtures of a module once. No worker starts a long test at the end of the run.
    """
    marks = {}  # of modules
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            mark = marks.get(item.path)
            if mark is None:
                mark = marks[item.path] = pytest.mark.xdist_group(item.path.relative_to(config.rootpath).as_posix())
            item.add_marker(mark)
    if "PYTEST_XDIST_WORKER" in os.environ or config.option.forks:
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish(session):
    if getattr(session.config.option, "loadgroup", False) and not all("@" in item.nodeid for item in session.items):
        raise pytest.UsageError(
            "pytest-xdist does not see the groups of the tests: take the versions of constraints.txt"
        )
    gc.collect()
    # tests and modules stay: each of the collector's rounds would go over all half a million of their objects
    gc.freeze()
    gc.enable()


def pytest_addoption(parser):
    parser.addoption("--update", action="store_true", help="rewrite the golden documents (refused when CI=true)")
    tiers.add_options(parser)


def pytest_configure(config):
    tiers.configure(config)
    run_records.pytest_configure(config)
    if config.getoption("--update") and CI:
        raise pytest.UsageError(
            "golden documents are not rewritten in CI: rewrite them at home and read the difference"
        )


_subtest_outcomes = Counter()  # number of subtests by outcome


def pytest_runtest_logreport(report):
    if isinstance(report, SubtestReport):
        _subtest_outcomes[report.outcome] += 1


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    """List what was skipped, with a line for each missing group; `-r` of pytest would list each place in the source."""
    if _subtest_outcomes["passed"]:
        terminalreporter.line(f"{_subtest_outcomes['passed']:,} parts of these tests passed (subtests)")
    reasons = [
        report.longrepr[2]
        for category in ("skipped", "subtests skipped")
        for report in terminalreporter.stats.get(category, ())
        if isinstance(report.longrepr, tuple)
    ]
    for line in requirements.summarize_skips(reasons):
        terminalreporter.line(line)


@pytest.fixture
def clock(monkeypatch):
    """Give a clock that the test can move."""
    return MovableClock(monkeypatch)


@pytest.fixture
def golden(request):
    """Compare bytes with a golden document below tests/golden, or rewrite the document with --update."""
    update = request.config.getoption("--update")

    def compare(name: str, data: bytes) -> None:
        path = Path(__file__).parent / "golden" / name
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        assert path.exists(), f"there is no golden document {name}: write it with pytest --update"
        assert data == path.read_bytes(), f"{path} has changed; if that is meant, rewrite it with pytest --update"

    return compare
