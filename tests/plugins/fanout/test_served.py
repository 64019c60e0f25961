"""A list over HTTP: its workers are processes of a server, and a job of another service is a step like any other."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from list_sites import SQUARE_PROGRAM, SQUARE_TYPE, write_list_type

from job_programs import write_job_type
from process_runner import reserve_port, run_hven, serve_site, wait_until

REMOTE_LIST = """\
title: Far and near
rows: {X: {type: float64, required: true}}
steps:
  far: {job: far}
  near: {job: square, files: {GIVEN: far.squares}, after: {failed: skip}}
join: near.squares
limits: {running: 1}
"""


@pytest.mark.slow
def test_a_list_with_a_remote_step(tmp_path: Path) -> None:
    site = tmp_path / "site"
    run_hven("init", site)
    port = reserve_port()
    square_type = SQUARE_TYPE.replace("environment: {RUN_LOG: $RUN_LOG}\n", "")
    write_job_type(site, "square", square_type, square_py=SQUARE_PROGRAM)
    write_job_type(
        site, "far", f"title: Far\nremote: http://127.0.0.1:{port}/jobs/square\nparams: {{X: {{type: float64}}}}\n"
    )
    write_list_type(site, "both", REMOTE_LIST)
    toml = site / "hven.toml"
    toml.write_text("allow_private = true\njob_workers = 3\n" + toml.read_text())
    with serve_site(site, port=port) as server:
        path = server.post("/jobs/both", LIST="3\n13\n4\n5", PHASE="RUN")[1]["location"].removeprefix(server.url)

        def read_job() -> dict[str, object]:
            return dict(json.loads(server.send("GET", path, headers={"Accept": "application/json"})[2]))

        assert read_job()["phase"] in {"QUEUED", "EXECUTING"}
        wait_until(lambda: read_job()["phase"] in {"COMPLETED", "ERROR"}, 120)
        job = read_job()
        assert job["phase"] == "COMPLETED", job
        joined = list(csv.DictReader(io.StringIO(server.get(f"{path}/results/csv")[2].decode())))
        page = server.get(f"/job-lists/{path.rpartition('/')[2]}")[2].decode()
    assert sorted({row["X"] for row in joined}) == ["3", "4", "5"]
    assert all(int(row["given"]) > 10 for row in joined)
    assert "1 of 4 rows have failed" in page
