"""The page of a list: its rows, what changes, and what is done with several rows."""

from __future__ import annotations

import io
import re
import tarfile
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest
from asgi_client import Answer, Client
from list_sites import HERE, PLAIN_LIST, list_children, run_to_end, start_list, write_list_type

from hven.app._server import create_and_start_application
from hven.jobs._worker import run_next_job
from hven.jobs.job_service import JobService
from hven.model.params import collect_params
from hven.site import Site
from hven.site.store import JobRecord

FORM = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin", "accept": "text/html"}


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    write_list_type(site, "squares", PLAIN_LIST.replace("rows: 50", "rows: 10000"))
    return Client(create_and_start_application(site))


@pytest.fixture(autouse=True)
def _run_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_LOG", str(tmp_path / "runs.txt"))


def look(client: Client, job: JobRecord, rest: str = "", **headers: str) -> Answer:
    return client.ask("GET", f"/job-lists/{job.id}{rest}", headers={"accept": "text/html", **headers})


def send(client: Client, job: JobRecord, *pairs: tuple[str, str], headers: dict[str, str] | None = None) -> Answer:
    body = urlencode(pairs).encode()
    return client.ask("POST", f"/job-lists/{job.id}", body=body, headers=headers or FORM)


def test_the_page_shows_rows_and_what_can_be_done(site: Site, client: Client) -> None:
    job = start_list(site, "squares", "3 <three>\n13\n5000")
    waiting = look(client, job)
    assert waiting.status == 200
    assert "There are no rows to show" in waiting.text
    assert "data-active" in waiting.text
    assert run_next_job(site)
    started = look(client, job).text
    assert started.count('data-phase="QUEUED"') == 2
    assert "In the queue: number 1" in started
    assert run_to_end(site, job).phase == "COMPLETED"
    page = look(client, job).text
    assert "&lt;three&gt;" in page
    assert "2 of 3 rows have failed" in page
    assert "13 brings bad luck" in page
    assert re.findall(r'data-phase="(\w+)"', page) == ["COMPLETED", "COMPLETED", "ERROR", "ERROR"]
    child = list_children(site, job)[0]
    assert f"/jobs/square/{child.id}/results/squares" in page
    assert f"/jobs?new=squares&amp;from={job.id}" in page
    failed = look(client, job, "/rows?phase=ERROR")
    assert re.findall(r'name="ROW" value="(\d+)"', failed.text) == ["2", "3"]
    assert "<html" not in failed.text
    assert look(client, job, "/rows?phase=ERROR", **{"if-none-match": failed.headers["etag"]}).status == 304


def test_a_clone_has_the_parameters(site: Site, client: Client) -> None:
    job = start_list(site, "squares", "3 first\n4 second")
    form = client.ask("GET", f"/jobs?new=squares&from={job.id}", headers={"accept": "text/html"})
    assert "3 first\n4 second</textarea>" in form.text
    assert client.ask("GET", "/jobs?new=squares&from=nothing", headers={"accept": "text/html"}).status == 404
    run_to_end(site, job)


def test_the_list_of_jobs_leads_to_the_page(site: Site, client: Client) -> None:
    answer = client.ask("POST", "/jobs", body=urlencode({"TYPE": "squares", "LIST": "3\n4\n"}).encode(), headers=FORM)
    assert answer.status == 303
    job_id = answer.headers["location"].rpartition("/")[2]
    assert answer.headers["location"].endswith(f"/job-lists/{job_id}")
    assert run_to_end(site, site.store.jobs.get_job(job_id)).phase == "COMPLETED"


def test_rows_are_run_again(site: Site, client: Client) -> None:
    job = run_to_end(site, start_list(site, "squares", "3 a\n13 b\n4 c"))
    answer = send(client, job, ("ACTION", "rerun"))
    assert answer.status == 303
    again = site.store.jobs.get_job(answer.headers["location"].rpartition("/")[2])
    assert again.parameters == (("LIST", "X\tNAME\n13\tb"),)
    answer = send(client, job, ("ACTION", "rerun"), ("ROW", "3"), ("ROW", "1"), ("ROW", "99"), ("ROW", "x"))
    again = run_to_end(site, site.store.jobs.get_job(answer.headers["location"].rpartition("/")[2]))
    assert again.parameters == (("LIST", "X\tNAME\n3\ta\n4\tc"),)
    assert again.phase == "COMPLETED"
    assert send(client, again, ("ACTION", "rerun")).status == 400


def test_rows_are_removed(site: Site, client: Client) -> None:
    job = start_list(site, "squares", "3\n4\n5")
    assert run_next_job(site)
    assert send(client, job, ("ACTION", "remove"), ("ROW", "2")).status == 303
    job = run_to_end(site, job)
    assert [child.phase for child in list_children(site, job)] == ["COMPLETED", "ABORTED", "COMPLETED"]
    assert send(client, job, ("ACTION", "remove"), ("ROW", "1"), ("ROW", "2")).status == 303
    assert [child.run_id for child in list_children(site, job)] == ["square 3"]
    assert send(client, job, ("ACTION", "remove")).status == 400
    assert look(client, job).status == 200
    answer = send(client, job, ("ACTION", "delete"))
    assert answer.headers["location"].endswith("/jobs")
    assert look(client, job).status == 404


def test_a_list_is_aborted(site: Site, client: Client) -> None:
    job = start_list(site, "squares", "3\n4\n5")
    assert run_next_job(site)
    assert send(client, job, ("ACTION", "abort")).status == 303
    assert {child.phase for child in list_children(site, job)} == {"ABORTED"}
    assert send(client, job, ("ACTION", "explode")).status == 400


def test_everything_is_in_one_archive(site: Site, client: Client) -> None:
    job = run_to_end(site, start_list(site, "squares", "3\n13\n5"))
    answer = look(client, job, "/results.tar")
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        names = archive.getnames()
        member = archive.extractfile("00003-square/squares.csv")
        assert member is not None
        assert member.read().startswith(b"part,square,given\n0,25,0\n")
    assert names == [
        "result.vot", "csv.csv", "parquet.parquet", "rows.csv", "00001-square/squares.csv", "00002-square/stderr.txt",
        "00003-square/squares.csv",
    ]  # fmt: skip


def test_other_jobs_and_other_users_have_no_such_page(site: Site, client: Client) -> None:
    from list_sites import TYCHO

    plain = JobService(site, "square").create_job(collect_params([("X", "2")]), HERE)
    assert look(client, plain).status == 404
    assert client.ask("GET", "/job-lists/nothing", headers={"accept": "text/html"}).status == 404
    private = run_to_end(site, start_list(site, "squares", "3\n4", who=TYCHO))
    for rest in ("", "/rows", "/results.tar"):
        answer = look(client, private, rest)
        assert answer.status in {401, 403}
        assert "squares.csv" not in answer.text
    assert send(client, private, ("ACTION", "delete")).status in {401, 403}
    cross_site = {**FORM, "sec-fetch-site": "cross-site"}
    assert send(client, private, ("ACTION", "delete"), headers=cross_site).status == 403
    assert site.store.jobs.get_job(private.id).phase == "COMPLETED"


def test_ten_thousand_children_are_listed_quickly(site: Site, client: Client) -> None:
    job = start_list(site, "squares", "\n".join(map(str, range(10_000))))
    assert run_next_job(site)
    from hven.plugins.fanout import child_jobs
    from hven.site.store import JobRecord as Record

    parent = site.store.jobs.get_job(job.id)
    children = [
        Record(
            id=child_jobs.compute_child_id(job.id, f"square {row}"), type="square",
            queue=child_jobs.name_child_queue(job.id), phase="COMPLETED", run_id=f"square {row}", parent=job.id,
            duration=60, destruction=parent.destruction,
        )
        for row in range(501, 10_001)
    ]  # fmt: skip
    site.store.jobs.update_job(job.id, allowed_phases=("EXECUTING",), holder="me")
    parent = site.store.jobs.get_job(job.id)
    assert site.store.jobs.add_children(parent, children)
    look(client, job, "/rows?from=5000")
    seconds = []
    for offset in (0, 5000, 9950):
        begin = time.process_time()
        answer = look(client, job, f"/rows?from={offset}")
        seconds.append(time.process_time() - begin)
        assert f'value="{offset + 1}"' in answer.text
    print(f"milliseconds of processor for 10,000 children: {[round(1000 * value) for value in seconds]}")
    assert "10,000" in answer.text
    JobService(site, "squares").destroy_job(parent)
