"""A declared type over HTTP: curl and pyvo's UWS client use it as any other UWS service; its documents are valid."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from job_programs import ECHO_PROGRAM, write_job_type
from process_runner import Server, run_hven, serve_site
from requirements import require_program

SUM = "import sys\nprint('progress: 50%', flush=True)\nopen('sum.txt', 'w').write(str(sum(map(float, open(sys.argv[1]).read().split())) * float(sys.argv[2])))\n"
TEXT = """title: Add up
command: [./sum.py, "{NUMBERS}", "{FACTOR}"]
params:
  NUMBERS: {file: true, required: true, description: numbers in lines}
  FACTOR: {type: float64, default: 1, maximum: 100}
results: {sum: {file: sum.txt, type: text/plain}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("served") / "site"
    run_hven("init", site)
    write_job_type(site, "sum", TEXT, sum_py=SUM)
    write_job_type(site, "echo", "title: Echo\naccess: private\ncommand: [./echo.py]\n", echo_py=ECHO_PROGRAM)
    with serve_site(site) as made:
        yield made


@pytest.mark.outside
def test_curl(server: Server, tmp_path: Path) -> None:
    curl = require_program("curl")
    (tmp_path / "numbers.txt").write_text("1\n2.5\n3\n")
    line = [
        curl,
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{redirect_url}",
        "-F",
        f"NUMBERS=@{tmp_path}/numbers.txt",
        "-F",
        "FACTOR=2",
        "-F",
        "PHASE=RUN",
    ]
    job = subprocess.run(
        [*line, f"{server.url}/jobs/sum"], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert job.startswith(f"{server.url}/jobs/sum/")
    deadline = time.monotonic() + 120
    while (phase := _curl(curl, f"{job}/phase")) not in {"COMPLETED", "ERROR"}:
        assert time.monotonic() < deadline
        _curl(curl, f"{job}?WAIT=5&PHASE={phase}")
    assert phase == "COMPLETED"
    assert _curl(curl, f"{job}/results/sum") == "13.0"
    told = json.loads(_curl(curl, "-H", "Accept: application/json", job))
    assert [item["id"] for item in told["results"]] == ["stdout", "sum"]
    assert told["jobInfo"]["share"] == 0.5


def _curl(curl: str, *words: str) -> str:
    return subprocess.run([curl, "-s", *words], capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.outside
def test_pyvo(server: Server) -> None:
    """Its UWS client reads jobs, lists and results of the type."""
    import requests
    from pyvo.dal.tap import AsyncTAPJob

    answer = requests.post(
        f"{server.url}/jobs/sum",
        data={"FACTOR": "3"},
        files={"NUMBERS": ("n.txt", b"1 2 3")},
        allow_redirects=False,
        timeout=60,
    )
    assert answer.status_code == 303
    job = AsyncTAPJob(answer.headers["location"])
    assert job.phase == "PENDING"
    job.run()
    job.wait(phases=["COMPLETED"], timeout=120)
    assert [result.id_ for result in job.results if result.id_] == ["stdout", "sum"]
    assert requests.get(f"{answer.headers['location']}/results/sum", timeout=60).text == "18.0"
    job.delete()
    assert requests.get(answer.headers["location"], timeout=60).status_code == 404


def test_the_list_of_types_shows_what_the_asker_may_use(server: Server) -> None:
    status, _, body = server.get("/jobs")
    assert status == 200
    told = json.loads(body)["types"]
    assert [kind["name"] for kind in told] == ["sum"]
    assert told[0]["url"] == f"{server.url}/jobs/sum"
    assert told[0]["parameters"] == [
        {"name": "NUMBERS", "type": "file", "required": True, "description": "numbers in lines"},
        {"name": "FACTOR", "type": "float64", "default": "1", "maximum": 100.0},
    ]
    assert server.post("/jobs/echo", PHASE="RUN")[0] == 401
    assert server.get("/jobs/nothing")[0] == 404


def test_values_that_cannot_be_are_refused_at_once(server: Server) -> None:
    status, _, body = server.post("/jobs/sum", FACTOR="1000", PHASE="RUN")
    assert status == 400
    assert b"the file NUMBERS is missing" in body
    status, headers, _ = server.post("/jobs/sum", FACTOR="1000")
    path = headers["location"].removeprefix(server.url)
    status, _, body = server.post(f"{path}/phase", PHASE="RUN")
    assert (status, b"the file NUMBERS is missing" in body) == (400, True)


def test_all_processes_of_a_running_server_know_a_new_type(server: Server) -> None:
    path = write_job_type(server.site, "late", "title: Late\ncommand: [./late.py]\n", late_py="print(7)")
    try:
        for _ in range(8):  # each on a connection of its own, so that several workers answer
            assert [kind["name"] for kind in json.loads(server.get("/jobs")[2])["types"]] == ["late", "sum"]
        status, headers, _ = server.post("/jobs/late", PHASE="RUN")
        assert status == 303
        job = headers["location"].partition("/jobs/")[2]
        assert server.get(f"/jobs/{job}/phase?WAIT=60&PHASE=QUEUED")[0] == 200
        while server.get(f"/jobs/{job}/phase")[2] in {b"QUEUED", b"EXECUTING"}:
            server.get(f"/jobs/{job}?WAIT=5")
        assert server.get(f"/jobs/{job}/results/stdout")[2] == b"7\n"
    finally:
        path.unlink()
    assert server.get("/jobs/late")[0] == 404
