"""A bench that lacks a program or a package says so in a sentence with the remedy, before it measures anything."""

from __future__ import annotations

import importlib
import re

import pytest

from shared import ROOT
from type_checker import run_mypy


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    """Give ``python -m bench`` on a machine where nothing is installed."""
    monkeypatch.syspath_prepend(ROOT)
    needs = importlib.import_module("bench.needs")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(needs, "find_spec", lambda _name: None)
    monkeypatch.setattr(needs, "POSTGRES", ROOT / "no such directory")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    program = importlib.import_module("bench.__main__")

    def run_bench(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["bench", *words])
        return program.main()

    return run_bench


def test_benches_call_what_exists() -> None:
    """No bench runs in the tests: the type checker finds calls of what was renamed or takes other arguments."""
    benches = ["bench", *map(str, sorted(ROOT.glob("tests/plugins/*/bench_*.py")))]
    done = run_mypy(*benches, "--no-error-summary", "--hide-error-context")
    assert done.stderr == ""
    kinds = ("[attr-defined]", "[call-arg]", "[name-defined]", "[call-overload]")
    own_module = re.compile(r'.*named "hven.*')
    # keys of descriptors have aliases, which mypy does not know
    lines = [line for line in done.stdout.splitlines() if 'for "Options"' not in line]
    faults = [line for line in lines if line.endswith(kinds) or own_module.match(line)]
    assert faults == []


def test_what_is_missing_is_told_with_its_remedy(bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("foundation", "tap", "postgres", "epn", "sync", "portal") == 2
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert [line.split()[1] for line in lines] == ["foundation", "tap", "postgres", "epn", "sync", "portal"]
    assert lines[0] == "bench foundation needs wrk (apt-get install wrk)"
    assert lines[4] == "bench sync needs pytest (`.venv/bin/python -m pip install --group test` brings it)"
    assert "root (" in lines[2]
    assert "PostgreSQL 15 (apt-get" in lines[3]
    assert "playwright (" in lines[5]
    assert "chromium (apt-get" in lines[5]


def test_only_what_is_measured_is_asked_for(bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("foundation", "tap", "postgres", "epn", "portal", "--only", "portal.weight.home") == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["portal"]
