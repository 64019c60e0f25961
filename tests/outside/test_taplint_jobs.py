"""Other people's clients of jobs: STILTS (taplint's QAS and UWS, tapquery), pyvo."""

from __future__ import annotations

import csv
import io
import re
import time

import astropy.units as u
import pytest
import pyvo
from pyvo.dal.exceptions import DALQueryError

from process_runner import Server, assert_takes_less, wait_until
from stilts import run_stilts

pytestmark = [
    pytest.mark.standard,
    pytest.mark.outside,
    pytest.mark.slow,
    pytest.mark.xdist_group("outside"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # pyvo leaves its jobs' sockets open
]

# nothing can answer this one in a minute: 2 * 10^15 triples. With TOP, PostgreSQL computes it in one process: in three, it left nothing for those who
# look how soon it ends
STARS = "(SELECT TOP 130000 vmag FROM hipparcos.main)"
ENDLESS = f"SELECT COUNT(*) AS n FROM {STARS} AS a, {STARS} AS b, {STARS} AS c WHERE a.vmag + b.vmag * c.vmag > 1"


@pytest.fixture(scope="module")
def tap(server: Server) -> pyvo.dal.TAPService:
    return pyvo.dal.TAPService(f"{server.url}/tap")


def test_taplint_finds_no_fault_of_jobs(taplint_report: list[str]) -> None:
    assert [line for line in taplint_report if re.match("[EFW]-(QAS|UWS)-", line)] == []
    assert sum(bool(re.match("Section (QAS|UWS)", line)) for line in taplint_report) == 2
    found = next(
        re.search(r"Successful/submitted TAP queries: (\d+)/(\d+)", line)
        for line in taplint_report
        if "S-QAS-QNUM" in line
    )
    assert found is not None
    assert int(found[1]) == int(found[2]) > 3


def test_tapquery_asks_asynchronously(server: Server) -> None:
    query = "adql=SELECT COUNT(*) AS n, MIN(vmag) AS brightest FROM hipparcos.main"
    answer = run_stilts("tapquery", f"tapurl={server.url}/tap", "sync=false", "poll=200", "ofmt=csv", query)
    lines = answer.stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line == "n,brightest")
    assert list(csv.DictReader(io.StringIO("\n".join(lines[start:])))) == [{"n": "125982", "brightest": "-1.44"}]


def test_a_job_in_pyvo_from_its_making_to_its_end(tap: pyvo.dal.TAPService) -> None:
    job = tap.submit_job("SELECT TOP 5 star, vmag FROM hipparcos.main ORDER BY vmag", maxrec=3)
    assert job.phase == "PENDING"
    assert job.query.startswith("SELECT TOP 5")
    job.execution_duration = 600
    assert job.execution_duration.sec == 600
    before = job.destruction
    job.destruction = (before + 200 * u.day).datetime
    assert before < job.destruction < before + 100 * u.day  # the site's limit holds
    job.run().wait(timeout=120)
    assert job.phase == "COMPLETED"
    job.raise_if_error()
    found = job.fetch_result().to_table()
    assert len(found) == 3
    assert found["vmag"][0] == pytest.approx(-1.44)
    assert job.result_uri.endswith("/results/result")
    assert job.job_id in {item.jobid for item in tap.get_job_list()}
    assert [item.jobid for item in tap.get_job_list(last=1)] == [job.job_id]
    assert job.job_id in {item.jobid for item in tap.get_job_list(phases=["COMPLETED"])}
    job.delete()
    assert job.job_id not in {item.jobid for item in tap.get_job_list()}


def test_an_error_in_pyvo(tap: pyvo.dal.TAPService) -> None:
    job = tap.submit_job("SELECT vmagg FROM hipparcos.main").run()
    job.wait(phases={"ERROR", "COMPLETED", "ABORTED"}, timeout=120)
    assert job.phase == "ERROR"
    with pytest.raises(DALQueryError, match="did you mean 'vmag'"):
        job.raise_if_error()
    job.delete()


def test_run_async_in_pyvo_with_an_upload(tap: pyvo.dal.TAPService) -> None:
    bright = tap.search("SELECT TOP 4 star FROM hipparcos.main ORDER BY vmag").to_table()
    found = tap.run_async(
        "SELECT h.star, h.vmag FROM hipparcos.main AS h JOIN TAP_UPLOAD.mine AS m ON h.star = m.star",
        uploads={"mine": bright},
    )
    assert set(found.to_table()["star"]) == set(bright["star"])


def test_abort_in_pyvo_stops_the_query_within_a_second(tap: pyvo.dal.TAPService, server: Server) -> None:
    def measure_abort() -> float:
        job = tap.submit_job(ENDLESS).run()
        wait_until(lambda: job.phase == "EXECUTING")
        time.sleep(0.5)
        # one worker: it runs when the first is stopped
        follower = tap.submit_job("SELECT TOP 1 star FROM hipparcos.main").run()
        assert follower.phase == "QUEUED"
        job.abort()
        begun = time.monotonic()
        assert job.phase == "ABORTED"
        # pyvo's own waiting sleeps a second between two looks
        wait_until(lambda: follower.phase not in {"QUEUED", "EXECUTING"})
        seconds = time.monotonic() - begun
        assert follower.phase == "COMPLETED"
        job.delete()
        follower.delete()
        return seconds

    assert_takes_less(measure_abort, 2.5)  # a second, and the follower's own time
