"""A test that writes to a site which others read fails; one that reads it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import shared_sites

TESTS = """
import pytest, shared_sites

@pytest.fixture(scope="session")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    (directory / "rows").write_text("1")
    shared_sites.share(directory)
    yield directory
    (directory / "rows").unlink()
    shared_sites.release(directory)

@pytest.fixture
def changed(site):
    (site / "more").write_text("2")

def test_reads(site):
    assert (site / "rows").read_text() == "1"

def test_writes(site):
    (site / "rows").write_text("12")

def test_writes_in_a_fixture(changed):
    pass

def test_asks_while_the_machine_is_busy(site):
    (site / "var/operations").mkdir(parents=True)
    (site / "var/operations/slow-queries.jsonl").write_text("{}")

def test_reads_again(site):
    assert (site / "rows").read_text() == "12"
"""


def test_who_writes_fails_and_nobody_else(tmp_path):
    (tmp_path / "test_sites.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "shared_sites", "-p", "no:cacheprovider", "-rE", "-c", "/dev/null", "--rootdir", tmp_path, tmp_path]  # fmt: skip
    told = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env={"PYTHONPATH": str(Path(shared_sites.__file__).parent), "COLUMNS": "300"}
    ).stdout  # fmt: skip
    assert "5 passed, 2 errors" in told, told
    assert "test_writes - Failed: this test writes to a site that other tests read (rows)" in told
    assert "test_writes_in_a_fixture - Failed: this test writes to a site that other tests read (more)" in told
