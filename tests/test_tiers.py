"""The first tier and the rest are everything, and no test that the first tier ran whole runs again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CONFTEST = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import tiers
def pytest_addoption(parser):
    tiers.add_options(parser)
def pytest_configure(config):
    tiers.configure(config)
"""
MODULE = """
import pytest, requirements
from hypothesis import given, settings, strategies
def test_quick(): pass
@pytest.mark.slow
def test_slow(): pass
@pytest.mark.parametrize("number", (1, 2))
def test_costly(number): pass
def test_needs_spark():
    requirements.require("spark")
@settings(max_examples=90)
@given(strategies.integers())
def test_property(number): pass
@settings(max_examples=5)
@given(strategies.integers())
def test_small_property(number): pass
"""


def run(place: Path, tier: str) -> tuple[set[str], str]:
    """Run the tests of a tier; give the names of those that were selected, and all words."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "--tier", tier, "tests"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300, check=False)
    return set(
        re.findall(r"^\S+::(\S+) (?:PASSED|SKIPPED|FAILED)", done.stdout, re.MULTILINE)
    ), done.stdout + done.stderr


def test_the_first_tier_and_the_rest_are_everything(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow: slow\n    outside: outside\n")
    (tmp_path / "tests/proofs").mkdir(parents=True)
    (tmp_path / "tests/test_some.py").write_text(MODULE)
    (tmp_path / "tests/proofs/test_proof.py").write_text("def test_proof(): pass\n")
    (tmp_path / "tests/coverage.json").write_text('{"slow": ["tests/test_some.py::test_costly"]}')
    assert "run scripts/test before" in run(tmp_path, "rest")[1]
    first, _ = run(tmp_path, "first")
    rest, _ = run(tmp_path, "rest")
    everything, told = run(tmp_path, "all")
    assert first == {"test_quick", "test_needs_spark", "test_property", "test_small_property"}, told
    assert rest == {"test_slow", "test_costly[1]", "test_costly[2]", "test_needs_spark", "test_property", "test_proof"}
    assert first | rest == everything
