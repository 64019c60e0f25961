"""A package of 50 GB needs the memory of one of 1 GB; after 100 kills each package is valid or says what it lacks.

With HVEN_PROOF=full there are 50 GB in 10,000 files, and 100 kills.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from package_sites import create_site

from hven.plugins.packages.package_reader import PackageReader

FULL = os.environ.get("HVEN_PROOF") == "full"
PROGRAM = Path(__file__).with_name("package_processes.py")
GIGABYTE = 10**9
TOTAL_BYTES, FILE_COUNT = (50 * GIGABYTE, 10_000) if FULL else (GIGABYTE // 2, 1_000)
KILL_COUNT = 100 if FULL else 8
FIRST_MEMBERS_BYTES = 4096  # a part that is shorter has no plan yet
MAX_GROWTH_KILOBYTES = 100_000  # records of 10,000 members, and one Parquet file at a time


def run_program(*arguments: object) -> dict[str, Any]:
    words = [sys.executable, str(PROGRAM), *map(str, arguments)]
    completed = subprocess.run(words, check=True, capture_output=True, text=True)
    facts: dict[str, Any] = json.loads(completed.stdout.splitlines()[-1])
    return facts


@pytest.mark.slow
def test_memory_does_not_depend_on_size(tmp_path: Path) -> None:
    directory = create_site(tmp_path / "site")
    facts = run_program("stream", directory, TOTAL_BYTES, FILE_COUNT)
    print(json.dumps(facts))
    assert facts["bytes"] > TOTAL_BYTES
    assert facts["members"] > FILE_COUNT
    assert facts["peak_kilobytes"] - facts["begin_kilobytes"] < MAX_GROWTH_KILOBYTES


@pytest.mark.slow
def test_packages_are_killed(tmp_path: Path) -> None:
    directory = create_site(tmp_path / "site", row_count=2_000)
    path = tmp_path / "night.tar"
    part = tmp_path / "night.tar.part"
    states = {"nothing": 0, "lacks": 0, "valid": 0}
    continued_count = 0
    words = [sys.executable, str(PROGRAM), "write", str(directory)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def write(kill_at: int = 0) -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            print(json.dumps({"path": str(path), "kill": kill_at}), file=process.stdin, flush=True)
            facts: dict[str, Any] = json.loads(process.stdout.readline())
            assert "error" not in facts, facts
            return facts

        expected = write()
        path.unlink()
        for kill_number in range(KILL_COUNT):
            kill_at = 1 + expected["calls"] * kill_number // KILL_COUNT
            assert write(kill_at)["killed"]
            if path.exists():  # it was complete before the kill
                assert PackageReader(path).verify().is_valid
                states["valid"] += 1
                path.unlink()
            elif not part.exists() or part.stat().st_size < FIRST_MEMBERS_BYTES:
                states["nothing"] += 1
            else:
                check = PackageReader(part).verify()
                assert not check.is_valid
                assert check.missing, f"kill {kill_number}: a part says what it lacks"
                states["lacks"] += 1
            facts = write()
            continued_count += facts["continued"] > 0
            assert facts["hash"] == expected["hash"]
            assert PackageReader(path).verify().is_valid
            path.unlink()
        assert process.stdin is not None
        process.stdin.close()
    print(json.dumps({"kills": KILL_COUNT, "continued": continued_count, **states}))
    assert states["lacks"] > KILL_COUNT // 2
    assert continued_count > KILL_COUNT // 2
