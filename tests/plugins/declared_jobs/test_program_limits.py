"""Programs that behave badly: they fork for ever, fill the disk, ignore SIGTERM, print secrets."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.jobs._worker import run_next_job
from hven.jobs.job_service import JobRequester, JobService
from hven.model.params import collect_params
from hven.plugins.declared_jobs import program_limits
from hven.site import Site
from hven.site.auth import Principal
from hven.site.store import JobRecord
from hven.testing.site import open_tiny_site
from job_programs import write_job_type

HERE = JobRequester(principal=Principal(), address="192.0.2.1")
LIMITS = "limits: {disk: 8 MiB, processes: 20, seconds: 300}\n"
MANY_FILES = """
for number in range(100_000):
    with open(f"{number}", "wb") as file:
        file.write(bytes(1 << 20))
"""
FOLDERS = """
import os
for number in range(100_000):
    os.makedirs(f"a/{number}")
    open(f"a/{number}/big", "wb").write(bytes(1 << 20))
"""
ENDLESS_OUTPUT = "while True: print('x' * 1_000_000)"
FORKS_FOR_EVER = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    try:
        child = os.fork()
    except OSError:
        continue
    if child == 0:
        os.setsid()
        while True: time.sleep(1)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(tmp_path_factory.mktemp("limits"), {"s.t": pa.table({"x": [1]})}) as made:
        yield made


def run_program(site: Site, script: str, more: str = LIMITS) -> tuple[JobRecord, dict[str, bytes]]:
    """Run a program as a job, and return the job and its results."""
    write_job_type(site.settings.directory, "bad", f"title: Bad\ncommand: [./bad.py]\n{more}", bad_py=script)
    desk = JobService(site, "bad")
    job = desk.create_job(collect_params([("PHASE", "RUN")]), HERE)
    assert run_next_job(site)
    job = site.store.jobs.get_job(job.id)
    return job, {item["id"]: desk.find_result_file(job, item["id"])[0].read_bytes() for item in job.results}


def find_processes(directory: Path) -> list[str]:
    """Find the processes that have a directory as their working directory, or had it before it was deleted."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith(str(directory)):
            found.append(target)
    return found


@pytest.mark.parametrize("script", [MANY_FILES, FOLDERS, ENDLESS_OUTPUT])
def test_a_program_that_fills_the_disk(site: Site, script: str) -> None:
    job, results = run_program(site, script)
    assert job.phase == "ERROR"
    assert job.error is not None
    assert "limits.disk" in job.error["message"] or "File too large" in job.error["message"]
    directory = site.settings.data_directory / "jobs" / job.id
    assert sorted(path.name for path in directory.iterdir()) == sorted(f"{name}-1.txt" for name in results)
    assert sum(map(len, results.values())) < 9 << 20


def test_a_program_that_forks_for_ever_and_ignores_sigterm(site: Site) -> None:
    job, _ = run_program(site, FORKS_FOR_EVER)
    assert job.phase == "ERROR"
    assert job.error is not None
    assert "more than 20 processes (limits.processes)" in job.error["message"]
    assert find_processes(site.settings.data_directory / "jobs" / job.id) == []


def test_a_program_that_prints_secrets(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIVE_KEY", "s3cret-k3y")
    script = "import os, sys\nprint('x' * 1_048_570 + os.environ['KEY'] * 2)\nsys.exit('bad key ' + os.environ['KEY'])"
    job, results = run_program(site, script, "environment: {KEY: $ARCHIVE_KEY, MODE: fast}\n")
    assert job.error is not None
    assert "bad key ***" in job.error["message"]
    assert results["stderr"] == b"bad key ***\n"
    assert results["stdout"] == b"x" * 1_048_570 + b"******\n"


def test_ordinary_programs_are_not_stopped(site: Site) -> None:
    job, _ = run_program(site, "import time\nopen('a', 'wb').write(bytes(4 << 20))\ntime.sleep(0.6)\n")
    assert job.phase == "COMPLETED", job.error


def test_a_process_that_ends_while_it_is_looked_at_has_no_children(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its directory in /proc vanishes between two steps of the search, which must not fail the job."""

    glob = Path.glob

    def find_vanished(path: Path, pattern: str) -> Iterator[Path]:
        if path.is_relative_to("/proc"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        yield from glob(path, pattern)

    monkeypatch.setattr(Path, "glob", find_vanished)
    assert program_limits.list_descendants(1, 10) == []
    job, _ = run_program(site, "import time\ntime.sleep(0.3)\n")
    assert job.phase == "COMPLETED", job.error


@given(st.lists(st.sampled_from(["abcd", "abcde", "ab", "x", "\n"]), max_size=60), st.integers(4, 9))
def test_secrets_are_found_wherever_a_part_ends(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], part_bytes: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "text"
    path.write_text("".join(words))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program_limits, "CHUNK_BYTES", part_bytes)
        program_limits.redact_file(path, ["abcd", "abcde", ""])
    assert "abcd" not in path.read_text()
    assert path.read_text().count("x") == words.count("x")
