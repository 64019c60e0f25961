"""Record outcome, processor seconds, seconds, assertions and executed files of each test, as lines of JSON."""

from __future__ import annotations

import ast
import builtins
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from _pytest.assertion import rewrite

import coverage_recorder

_assertions = 0


def _count_assertion() -> None:
    global _assertions  # noqa: PLW0603  (a call for each assertion of a run)
    _assertions += 1


def count_assertions(folder: Path) -> None:
    """Count each assertion of test modules when it runs; rewritten modules have a cache of their own."""
    visit_assert = rewrite.AssertionRewriter.visit_Assert

    def count_and_visit(self, node: ast.Assert) -> list[ast.stmt]:
        call = ast.parse("__hven_count_assertion__()").body[0]
        for part in ast.walk(call):
            if isinstance(part, ast.stmt | ast.expr):
                ast.copy_location(part, node)
        return [call, *visit_assert(self, node)]

    rewrite.AssertionRewriter.visit_Assert = count_and_visit
    # modules that were rewritten earlier do not count assertions, and those that count must not run in other runs
    rewrite.get_cache_dir = lambda path: folder.joinpath("pycache", *path.parts[1:-1])
    builtins.__hven_count_assertion__ = _count_assertion


def _read_processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def name_fixture(fixture: pytest.FixtureDef) -> str:
    """Return the name of a fixture with its location."""
    return f"{fixture.baseid}::{fixture.argname}"


def list_wide_fixtures(item: pytest.Item) -> list[str]:
    """List the fixtures of a test that it shares with others."""
    found = getattr(item, "_fixtureinfo", None)
    fixtures = [] if found is None else [each[-1] for each in found.name2fixturedefs.values()]
    return sorted(name_fixture(fixture) for fixture in fixtures if fixture.scope != "function")


class RunRecorder:
    """Write the records of one worker."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.root = root
        self.module = ""
        self.process = 0
        self.outcome = ""
        self.fixtures: dict[str, float] = {}  # of several tests, that the running one was the first to ask for

    def enter_process(self) -> None:
        """Begin records of this process: a worker is a fork of the collecting process and has its map."""
        self.process = os.getpid()
        self.lines = (self.folder / f"tests-{self.process}.jsonl").open("a")
        hits = getattr(builtins, coverage_recorder.HITS_NAME, None)
        if hits is not None:
            own = coverage_recorder.open_map(self.folder, f"other-{self.process}", len(hits))
            setattr(builtins, coverage_recorder.HITS_NAME, own)

    def enter_module(self, module: str) -> None:
        """Assign what ran so far to the module that ends."""
        hits = getattr(builtins, coverage_recorder.HITS_NAME, None)
        if hits is not None:
            seen = hits[:]
            if any(seen):
                account = coverage_recorder.open_map(self.folder, self.module or "collection", len(seen))
                # a child may write at the same time: bytes are set, never cleared
                for number in np.flatnonzero(np.frombuffer(seen, np.uint8)).tolist():
                    account[number] = 1
                account.close()
                hits[:] = bytes(len(seen))
        self.module = module
        if hits is not None and module:  # a module that executes nothing is known, too
            coverage_recorder.open_map(self.folder, module, len(hits)).close()
        os.environ[coverage_recorder.MODULE_VARIABLE] = module

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        module = item.path.relative_to(self.root).as_posix()
        if self.process != os.getpid():
            self.enter_process()
        if module != self.module:
            self.enter_module(module)
        self.outcome = "passed"
        self.fixtures = {}
        before, began, checks = _read_processor_seconds(), time.perf_counter(), _assertions
        result = yield
        line = {
            "id": item.nodeid,
            "module": module,
            "outcome": self.outcome,
            "cpu": round(_read_processor_seconds() - before, 3),
            "wall": round(time.perf_counter() - began, 3),
            "asserts": _assertions - checks,
            "fixtures": {name: round(seconds, 3) for name, seconds in self.fixtures.items()},
            "uses": list_wide_fixtures(item),
            "marks": sorted({mark.name for mark in item.iter_markers()}),
        }
        self.lines.write(json.dumps(line) + "\n")
        self.lines.flush()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef):
        before, inner = _read_processor_seconds(), sum(self.fixtures.values())
        result = yield
        if fixturedef.scope != "function":
            seconds = _read_processor_seconds() - before
            # fixtures that it uses have accounts of their own
            self.fixtures[name_fixture(fixturedef)] = seconds - (sum(self.fixtures.values()) - inner)
        return result

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.outcome = "failed"
        elif report.skipped and self.outcome == "passed":
            self.outcome = "xfailed" if hasattr(report, "wasxfail") else "skipped"

    def pytest_sessionfinish(self):
        self.enter_module("")


def pytest_configure(config: pytest.Config) -> None:
    """Record the run, if `coverage_recorder.FOLDER` names a folder."""
    folder = os.environ.get(coverage_recorder.FOLDER_VARIABLE)
    if not folder or config.pluginmanager.has_plugin("run-recorder"):
        return
    count_assertions(Path(folder))
    # the controller of several workers sees their reports, and runs nothing
    if hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None):
        config.pluginmanager.register(RunRecorder(Path(folder), config.rootpath), "run-recorder")
