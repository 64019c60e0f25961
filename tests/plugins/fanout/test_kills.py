"""Processes that are killed: each row is done exactly once, and the joined table is complete."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from list_sites import (
    PLAIN_LIST,
    SQUARE_PROGRAM,
    SQUARE_TYPE,
    list_children,
    read_result,
    run_to_end,
    start_list,
    write_list_type,
)

from hven.jobs import RunningJob, type_catalogue
from hven.jobs._worker import run_next_job
from hven.jobs.job_service import get_job_directory
from hven.site import Site
from hven.site.auth import DEFAULT_POLICIES
from job_programs import write_job_type
from process_runner import run_hven, serve_site, wait_until


def test_a_list_whose_worker_dies_after_any_of_its_writes_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_LOG", "")
    write_list_type(site, "squares", PLAIN_LIST)
    job = start_list(site, "squares", "1\n2\n3\n4")
    store = site.store.jobs
    for children_before_death in (0, 4):  # it dies when it has created its jobs, and when it has joined their results
        if children_before_death:
            while run_next_job(site):
                if all(child.phase == "COMPLETED" for child in list_children(site, job)):
                    break
        claimed = store.claim_job()
        assert claimed is not None
        assert claimed.id == job.id
        running_job = RunningJob(site, claimed, get_job_directory(site.settings, job.id), DEFAULT_POLICIES)
        type_catalogue.find_job_type(site.settings, "squares").run(running_job)
        assert store.requeue_job(claimed, is_attempt_counted=True)  # as the supervisor does
        assert len(list_children(site, job)) == 4
        if not children_before_death:
            assert run_next_job(site)  # the next attempt creates no job again
            assert [child.run_id for child in list_children(site, job)] == [f"square {row}" for row in range(1, 5)]
    job = run_to_end(site, job)
    assert job.phase == "COMPLETED", job.error
    rows = Counter(row["list_row"] for row in csv.DictReader(io.StringIO(read_result(site, job, "csv"))))
    assert rows == {"1": 2, "2": 3, "3": 1, "4": 2}


def find_descendants(pid: int) -> list[int]:
    """Find the processes below one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(entry.name)] = int(parent)
    found: list[int] = []
    generation = [pid]
    while generation:
        generation = [child for child, parent in parents.items() if parent in generation]
        found += generation
    return found


@pytest.mark.slow
def test_a_list_survives_kills_of_any_process(tmp_path: Path) -> None:
    site = tmp_path / "site"
    run_hven("init", site)
    slow_program = SQUARE_PROGRAM.replace("import os,", "import time; time.sleep(0.2)\nimport os,")
    slow_type = SQUARE_TYPE.replace("environment: {RUN_LOG: $RUN_LOG}\n", "")
    write_job_type(site, "square", slow_type, square_py=slow_program)
    write_list_type(site, "squares", PLAIN_LIST + "retries: 5\n")
    toml = site / "hven.toml"
    toml.write_text("job_workers = 2\n" + toml.read_text())
    chooser = random.Random(48)
    with serve_site(site) as server:
        rows = "\n".join(map(str, range(20, 50)))
        path = server.post("/jobs/squares", LIST=rows, PHASE="RUN")[1]["location"].removeprefix(server.url)

        def read_phase() -> str:
            return server.get(f"{path}/phase")[2].decode()

        def kill_one() -> bool:
            processes = find_descendants(server.process.pid)
            # the server's own workers answer requests, so they may be killed, too
            if processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chooser.choice(processes), signal.SIGKILL)
            return read_phase() in {"COMPLETED", "ERROR"}

        for _ in range(15):
            with contextlib.suppress(OSError):
                if kill_one():
                    break
            with contextlib.suppress(AssertionError):
                wait_until(lambda: read_phase() in {"COMPLETED", "ERROR"}, 0.7)
        wait_until(lambda: read_phase() in {"COMPLETED", "ERROR"}, 300)
        job = json.loads(server.send("GET", path, headers={"Accept": "application/json"})[2])
        assert job["phase"] == "COMPLETED", job
        joined = list(csv.DictReader(io.StringIO(server.get(f"{path}/results/csv")[2].decode())))
    counts = Counter(float(row["X"]) for row in joined)
    assert counts == {float(x): x % 3 + 1 for x in range(20, 50)}
