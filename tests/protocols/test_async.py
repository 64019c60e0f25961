"""/tap/async: UWS 1.1's resources and rules, asked in this process; jobs are run by `run_next_job`."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import logging
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio import CapacityLimiter
from asgi_client import Answer, Client
from lxml import etree
from star_tables import PRIVATE_STARS, STARS, build_rows

from hven.app._server import create_and_start_application
from hven.app._server.logging_setup import MessageFormatter
from hven.jobs._worker import run_next_job
from hven.services.uws import PhaseChangeWaiter
from hven.site import Site
from hven.site.auth import Principal
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site
from requirements import require_program
from shared import shared

UWS = "{http://www.ivoa.net/xml/UWS/v1.0}"
XLINK = "{http://www.w3.org/1999/xlink}href"
NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
QUERY = "SELECT TOP 3 id, mag FROM stars.main ORDER BY mag"
HOST = "http://vo.example"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(
        tmp_path, {"stars.main": (STARS, build_rows()), "secret.main": (PRIVATE_STARS, build_rows())}
    ) as made:
        yield made


@pytest.fixture
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def create_job(client: Client, **params: object) -> str:
    answer = client.post("/tap/async", **{"LANG": "ADQL", "QUERY": QUERY, **params})
    assert (answer.status, answer.body) == (303, b"")
    location = answer.headers["location"]
    assert location.startswith(f"{HOST}/tap/async/")
    return location.removeprefix(HOST)


def job(client: Client, path: str) -> etree._Element:
    answer = client.get(path)
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"].startswith("text/xml")
    return etree.fromstring(answer.body)


def text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


def error(answer: Answer) -> str:
    """Read a DALI error document."""
    info = etree.fromstring(answer.body).find(".//{*}INFO[@name='QUERY_STATUS']")
    assert info is not None
    assert info.get("value") == "ERROR"
    return str(info.text)


# --- a job's life --------------------------------------------------------------------------------------------


def test_a_job_from_its_making_to_its_end(client: Client, site: Site) -> None:
    path = create_job(client, RESPONSEFORMAT="csv", RUNID="mine")
    root = job(client, path)
    assert root.tag == f"{UWS}job"
    assert root.get("version") == "1.1"
    assert root.findtext(f"{UWS}jobId") == path.rpartition("/")[2]
    assert root.findtext(f"{UWS}runId") == "mine"
    assert root.findtext(f"{UWS}phase") == text(client, f"{path}/phase") == "PENDING"
    assert root.find(f"{UWS}startTime").get(NIL) == "true"
    assert {item.get("id"): item.text for item in root.iter(f"{UWS}parameter")} == {
        "LANG": "ADQL",
        "QUERY": QUERY,
        "RESPONSEFORMAT": "csv",
    }
    assert client.get(f"{path}/results/result").status == client.get(f"{path}/error").status == 404

    answer = client.post(f"{path}/phase", PHASE="RUN")
    assert (answer.status, answer.headers["location"]) == (303, HOST + path)
    root = job(client, path)
    assert root.findtext(f"{UWS}phase") == "QUEUED"
    assert root.findtext(f"{UWS}jobInfo/place") == "1"
    assert run_next_job(site)

    root = job(client, path)
    assert root.findtext(f"{UWS}phase") == "COMPLETED"
    times = [root.findtext(f"{UWS}{name}") for name in ("creationTime", "startTime", "endTime", "destruction")]
    assert times == sorted(times)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(found)) for found in times)
    assert root.findtext(f"{UWS}jobInfo/rows") == "3"
    result = root.find(f"{UWS}results/{UWS}result")
    answer = client.get(result.get(XLINK).removeprefix(HOST))
    assert answer.status == 200
    assert answer.headers["content-length"] == result.get("size") == str(len(answer.body))
    assert answer.headers["content-type"] == result.get("mime-type")
    assert answer.body == client.post("/tap/sync", LANG="ADQL", QUERY=QUERY, RESPONSEFORMAT="csv").body
    assert etree.fromstring(client.get(f"{path}/results").body)[0].get("id") == "result"
    head = client.ask("HEAD", f"{path}/results/result")
    assert (head.body, head.headers["content-length"]) == (b"", result.get("size"))
    part = client.ask("GET", f"{path}/results/result", headers={"range": "bytes=2-9"})
    assert (part.status, part.body) == (206, answer.body[2:10])


def test_an_error_is_told_as_in_sync(client: Client, site: Site) -> None:
    path = create_job(client, QUERY="SELECT magg FROM stars.main", PHASE="RUN")
    run_next_job(site)
    assert text(client, f"{path}/phase") == "ERROR"
    summary = job(client, path).find(f"{UWS}errorSummary")
    assert dict(summary.attrib) == {"type": "fatal", "hasDetail": "true"}
    told = summary.findtext(f"{UWS}message")
    assert told == error(client.get(f"{path}/error"))
    assert (
        told
        == error(client.post("/tap/sync", LANG="ADQL", QUERY="SELECT magg FROM stars.main")).partition(" [request")[0]
    )
    assert client.get(f"{path}/results/result").status == 404
    assert not list((site.settings.var_directory / "jobs").glob("*/*"))


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"QUERY": ""}, "QUERY is missing"),
        ({"LANG": "PQL"}, "the query language 'PQL' is not supported"),
        ({"MAXREC": "many"}, "MAXREC='many' is not a whole number"),
        ({"RESPONSEFORMAT": "papyrus"}, "there is no RESPONSEFORMAT 'papyrus'"),
        ({"UPLOAD": "t,param:nothing"}, "nothing"),
        ({"QUERY": "SELECT * FROM secret.main"}, "secret.main"),
        ({"QUERY": "SELECT CAST(id AS INTEGER) FROM stars.main"}, "cannot be read as INTEGER"),
    ],
)
def test_what_cannot_be_run_ends_in_error(client: Client, site: Site, params: dict[str, str], words: str) -> None:
    path = create_job(client, **params, PHASE="RUN")
    run_next_job(site)
    assert words in error(client.get(f"{path}/error"))


def test_a_query_that_fails_after_many_rows_is_an_error_in_every_format(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, {"stars.main": (STARS, build_rows(200_000))}) as site:
        client = Client(create_and_start_application(site))
        last = client.post(
            "/tap/sync", LANG="ADQL", QUERY="SELECT number FROM stars.main", RESPONSEFORMAT="csv"
        ).text.split()[-1]
        query = f"SELECT id, CAST(CASE WHEN number = {last} THEN 'x' ELSE '1' END AS INTEGER) AS x FROM stars.main"
        for form in ("votable", "csv", "tsv", "fits", "json", "text", "parquet", "arrow"):
            path = create_job(client, QUERY=query, RESPONSEFORMAT=form, PHASE="RUN")
            run_next_job(site)
            assert "cannot be read as INTEGER" in error(client.get(f"{path}/error")), form
            assert client.get(f"{path}/results/result").status == 404
            assert not len(etree.fromstring(client.get(f"{path}/results").body)), form
            assert job(client, path).findtext(f"{UWS}phase") == "ERROR"
            assert int(job(client, path).findtext(f"{UWS}jobInfo/rows", "0")) > 1000  # it came late


def test_explain_gives_the_plan(client: Client, site: Site) -> None:
    path = create_job(client, EXPLAIN="true", PHASE="RUN")
    run_next_job(site)
    answer = client.get(f"{path}/results/result")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.body == client.post("/tap/sync", LANG="ADQL", QUERY=QUERY, EXPLAIN="true").body


def test_an_upload_is_kept_until_the_job_runs(client: Client, site: Site) -> None:
    parts = {
        "LANG": "ADQL",
        "QUERY": "SELECT COUNT(*) AS n FROM TAP_UPLOAD.mine AS m",
        "UPLOAD": "mine,param:the file",
        "PHASE": "RUN",
    }
    body = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts.items()
    )
    body += '--x\r\nContent-Disposition: form-data; name="the file"; filename="a.csv"\r\nContent-Type: text/csv\r\n\r\na,b\n1,2\n3,4\n\r\n--x--\r\n'
    answer = client.ask(
        "POST", "/tap/async", body=body.encode(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    path = answer.headers["location"].removeprefix(HOST)
    run_next_job(site)
    assert text(client, f"{path}/phase") == "COMPLETED", error(client.get(f"{path}/error"))
    found = etree.fromstring(client.get(f"{path}/results/result").body)
    assert found.find(".//{*}INFO[@name='QUERY_STATUS']").get("value") == "OK"
    client.ask("DELETE", path)
    assert not list((site.settings.var_directory / "jobs").iterdir())


# --- changing -------------------------------------------------------------------------------------------------


def test_parameters_change_while_the_job_is_pending(client: Client, site: Site) -> None:
    path = create_job(client)
    assert client.post(path, maxrec=1, RESPONSEFORMAT="csv").status == 303
    assert client.post(f"{path}/parameters", query=QUERY.replace("TOP 3", "TOP 2")).status == 303
    assert text(client, f"{path}/parameters/QUERY") == QUERY.replace("TOP 3", "TOP 2")
    assert client.ask("PUT", f"{path}/parameters/MAXREC", body=b"7").status == 303
    listed = {item.get("id"): item.text for item in etree.fromstring(client.get(f"{path}/parameters").body)}
    assert listed == {"LANG": "ADQL", "QUERY": QUERY.replace("TOP 3", "TOP 2"), "MAXREC": "7", "RESPONSEFORMAT": "csv"}
    assert client.get(f"{path}/parameters/NOTHING").status == 404
    client.post(f"{path}/phase", PHASE="RUN")
    assert client.post(path, MAXREC=5).status == 403
    run_next_job(site)
    assert len(list(csv.reader(io.StringIO(client.get(f"{path}/results/result").text)))) == 3
    assert client.post(f"{path}/parameters", MAXREC=5).status == 403


def test_times_are_set_within_limits(client: Client, site: Site) -> None:
    path = create_job(client)
    assert text(client, f"{path}/executionduration") == str(site.settings.jobs.seconds)
    for asked, set_ in (
        ("77", 77),
        ("0", site.settings.jobs.seconds_hard),
        ("999999999", site.settings.jobs.seconds_hard),
    ):
        assert client.post(f"{path}/executionduration", EXECUTIONDURATION=asked).status == 303
        assert (
            text(client, f"{path}/executionduration")
            == job(client, path).findtext(f"{UWS}executionDuration")
            == str(set_)
        )
    soon = time.strftime("%Y-%m-%dT12:00:00", time.gmtime(time.time() + 2 * 86400))
    for asked in (f"{soon}Z", soon, f"{soon}.000+00:00"):
        assert client.post(f"{path}/destruction", DESTRUCTION=asked).status == 303
        assert text(client, f"{path}/destruction") == job(client, path).findtext(f"{UWS}destruction") == f"{soon}.000Z"
    client.post(f"{path}/destruction", DESTRUCTION="9999-12-31")
    assert text(client, f"{path}/destruction") < time.strftime("%Y-%m-%dT%H", time.gmtime(time.time() + 93 * 86400))
    assert text(client, f"{path}/quote") == text(client, f"{path}/owner") == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PHASE", "GO"),
        ("PHASE", "COMPLETED"),
        ("EXECUTIONDURATION", "-1"),
        ("EXECUTIONDURATION", "1e3"),
        ("EXECUTIONDURATION", "forever"),
        ("DESTRUCTION", "tomorrow"),
        ("DESTRUCTION", "2026-02-30T00:00:00Z"),
        ("DESTRUCTION", "0001-01-01T00:00:00+14:00"),
        ("DESTRUCTION", "2026-11-20T25:00:00Z"),
        ("RUNID", "x" * 65),
        ("RUNID", "a\nb"),
        ("ACTION", "EXPLODE"),
        ("DESTRUCTION", ""),
        ("PHASE", ""),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(client: Client, site: Site, name: str, value: str) -> None:
    path = create_job(client)
    before = client.get(path).body
    if value:
        assert client.post(path, **{name: value}).status == 400
    if name in {"PHASE", "EXECUTIONDURATION", "DESTRUCTION"}:
        answer = client.post(f"{path}/{name.lower()}", **{name: value})
        assert answer.status == 400
        assert name in error(answer)
    if value and name != "ACTION":
        assert client.post("/tap/async", QUERY=QUERY, **{name: value}).status == 400
    assert client.get(path).body == before
    assert len(etree.fromstring(client.get("/tap/async").body)) == 1


def test_phases_only_go_where_they_may(client: Client, site: Site) -> None:
    path = create_job(client)
    assert client.post(f"{path}/phase", PHASE="ABORT").status == 303
    assert text(client, f"{path}/phase") == "ABORTED"
    assert client.post(f"{path}/phase", PHASE="ABORT").status == 303  # it is so already
    answer = client.post(f"{path}/phase", PHASE="RUN")
    assert answer.status == 403
    assert "ABORTED and cannot be run again" in error(answer)
    assert client.post(f"{path}/executionduration", EXECUTIONDURATION=5).status == 403
    waiting = create_job(client, PHASE="RUN")
    client.post(f"{waiting}/phase", PHASE="RUN")
    client.post(f"{waiting}/phase", PHASE="ABORT")
    assert text(client, f"{waiting}/phase") == "ABORTED"
    assert not run_next_job(site)
    assert job(client, waiting).findtext(f"{UWS}endTime") is not None


def test_a_job_is_deleted_either_way(client: Client, site: Site) -> None:
    for way in ("DELETE", "POST"):
        path = create_job(client, PHASE="RUN")
        run_next_job(site)
        assert list((site.settings.var_directory / "jobs").glob("*/result-1.*"))
        answer = client.ask("DELETE", path) if way == "DELETE" else client.post(path, ACTION="DELETE")
        assert (answer.status, answer.headers["location"]) == (303, f"{HOST}/tap/async")
        for part in ("", "/phase", "/results", "/results/result", "/error", "/parameters"):
            assert client.get(path + part).status == 404
        assert client.ask("DELETE", path).status == client.post(f"{path}/phase", PHASE="RUN").status == 404
        assert not list((site.settings.var_directory / "jobs").iterdir())
    assert len(etree.fromstring(client.get("/tap/async").body)) == 0


@pytest.mark.parametrize("name", ["nothing", "..", "%2e%2e%2fhven.sqlite", "a" * 3000, "'; DROP TABLE jobs", "é"])
def test_a_job_that_is_not_there_is_not_found(client: Client, name: str) -> None:
    assert client.get(f"/tap/async/{name}").status == 404
    path = create_job(client)
    assert client.get(f"{path}/results/{name}").status == 404
    assert client.get(f"{path}/nothing").status == 404


def test_what_is_no_way_to_ask_is_refused(client: Client) -> None:
    path = create_job(client)
    assert (
        client.ask("DELETE", "/tap/async").status
        == client.ask("PUT", path).status
        == client.post(f"{path}/quote").status
        == 405
    )
    assert client.ask("POST", path, body=b"{}", headers={"content-type": "application/json"}).status == 400


def test_the_value_of_a_parameter_is_counted_as_it_comes(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hven.services.uws.MAX_FORM_BYTES", 1000)
    path = f"{create_job(client)}/parameters/QUERY"
    before = text(client, path)
    refused = client.ask("PUT", path, body=b"x" * 1001)
    assert refused.status == 413
    assert "the limit is 1,000" in refused.text
    assert text(client, path) == before
    assert client.ask("PUT", path, body=b"x" * 1000).status == 303


# --- lists --------------------------------------------------------------------------------------------------------


def test_the_list_is_filtered(client: Client, site: Site) -> None:
    paths = []
    for number in range(5):
        paths.append(create_job(client, RUNID=f"n{number}"))
        time.sleep(0.002)

    def list_run_ids(query: str = "") -> list[str]:
        root = etree.fromstring(client.get(f"/tap/async{query}").body)
        assert root.tag == f"{UWS}jobs"
        assert root.get("version") == "1.1"
        return [str(ref.findtext(f"{UWS}runId")) for ref in root]

    assert list_run_ids() == ["n4", "n3", "n2", "n1", "n0"]
    assert list_run_ids("?LAST=2") == ["n4", "n3"]
    moment = job(client, paths[2]).findtext(f"{UWS}creationTime")
    assert list_run_ids(f"?AFTER={moment}") == ["n4", "n3"]
    assert list_run_ids(f"?AFTER={moment}&LAST=1") == ["n4"]
    client.post(f"{paths[1]}/phase", PHASE="RUN")
    client.post(f"{paths[3]}/phase", PHASE="ABORT")
    assert list_run_ids("?PHASE=QUEUED") == ["n1"]
    assert list_run_ids("?phase=ABORTED&Phase=QUEUED") == ["n3", "n1"]
    assert list_run_ids("?PHASE=PENDING&LAST=1") == ["n4"]
    site.store.jobs.update_job(paths[0].rpartition("/")[2], allowed_phases=("PENDING",), phase="ARCHIVED")
    assert list_run_ids() == ["n4", "n3", "n2", "n1"]
    assert list_run_ids("?PHASE=ARCHIVED") == ["n0"]
    for bad in ("PHASE=LOST", "LAST=0", "LAST=-3", "LAST=x", "AFTER=yesterday"):
        assert client.get(f"/tap/async?{bad}").status == 400, bad
    ref = etree.fromstring(client.get("/tap/async?LAST=1").body)[0]
    assert ref.get(XLINK) == HOST + paths[4]
    assert ref.get("id") == paths[4].rpartition("/")[2]


def test_documents_are_valid(client: Client, site: Site, tmp_path: Path) -> None:
    done, failed, open_ = (
        create_job(client, PHASE="RUN", RUNID="a & <b>"),
        create_job(client, QUERY="SELECT '\u0001<&\"' FROM", PHASE="RUN"),
        create_job(client),
    )
    while run_next_job(site):
        pass
    asked = [
        done,
        failed,
        open_,
        create_job(client, PHASE="RUN"),
        "/tap/async",
        f"{done}/parameters",
        f"{done}/results",
        "/tap/capabilities",
    ]
    files = []
    for number, path in enumerate(asked):
        files.append(tmp_path / f"{number}.xml")
        files[-1].write_bytes(client.get(path).body)
    schemas = shared("xsd/all.xsd")
    judged = subprocess.run(
        [require_program("xmllint"), "--nonet", "--noout", "--schema", schemas, *files], capture_output=True, text=True, check=False,
        env={**os.environ, "XML_CATALOG_FILES": str(schemas.with_name("catalog.xml"))},
    )  # fmt: skip
    assert judged.returncode == 0, judged.stderr


def test_documents_have_the_elements_of_the_standards_own_example(client: Client, site: Site) -> None:
    path = create_job(client, PHASE="RUN", RUNID="x")
    run_next_job(site)
    theirs = etree.parse(shared("corpora/uws/UWS--UWSJobInstance.xml")).getroot()
    ours = job(client, path)
    assert ours.tag == theirs.tag
    assert {etree.QName(item).localname for item in theirs} - {etree.QName(item).localname for item in ours} <= {
        "errorSummary"
    }
    order = [etree.QName(item).localname for item in theirs]
    mine = [etree.QName(item).localname for item in ours if etree.QName(item).localname in order]
    assert mine == [name for name in order if name in mine]


def test_json_says_the_same(client: Client, site: Site) -> None:
    path = create_job(client, PHASE="RUN")
    run_next_job(site)
    wanted = {"accept": "application/json"}
    told = json.loads(client.ask("GET", path, headers=wanted).body)
    root = job(client, path)
    for name in ("jobId", "phase", "creationTime", "startTime", "endTime", "destruction"):
        assert told[name] == root.findtext(f"{UWS}{name}")
    assert told["parameters"][1] == {"id": "QUERY", "value": QUERY}
    assert told["results"][0]["href"] == f"{HOST}{path}/results/result"
    assert told["jobInfo"]["rows"] == 3
    assert [ref["id"] for ref in json.loads(client.ask("GET", "/tap/async", headers=wanted).body)["jobs"]] == [
        told["jobId"]
    ]
    assert json.loads(client.ask("GET", f"{path}/results", headers=wanted).body) == told["results"]
    missing = client.ask("GET", f"{path}x", headers=wanted)
    assert (missing.status, json.loads(missing.body)["status"]) == (404, 404)


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_wait_ends_with_the_phase(client: Client, site: Site) -> None:
    path = create_job(client, PHASE="RUN")
    later = threading.Timer(0.4, lambda: client.post(f"{path}/phase", PHASE="ABORT"))
    begun = time.monotonic()
    later.start()
    root = job(client, f"{path}?WAIT=60")
    assert 0.3 < time.monotonic() - begun < 60  # and not the minute that it would wait
    assert root.findtext(f"{UWS}phase") == "ABORTED"
    later.join()
    begun = time.monotonic()
    job(client, f"{path}?WAIT=-1")  # a final phase never blocks
    pending = create_job(client)
    job(client, f"{pending}?WAIT=60&PHASE=QUEUED")  # it is not in that phase
    job(client, f"{pending}?WAIT=0")
    assert time.monotonic() - begun < 60
    assert job(client, f"{pending}?WAIT=1&PHASE=PENDING").findtext(f"{UWS}phase") == "PENDING"
    assert time.monotonic() - begun >= 1
    assert client.get(f"{pending}?WAIT=-2").status == client.get(f"{pending}?WAIT=soon").status == 400


def test_wait_ends_when_the_job_is_destroyed(client: Client) -> None:
    path = create_job(client, PHASE="RUN")
    later = threading.Timer(0.3, lambda: client.ask("DELETE", path))
    later.start()
    assert client.get(f"{path}?WAIT=20").status == 404
    later.join()


def test_a_hundred_wait_for_one_look(site: Site) -> None:
    app = create_and_start_application(site)
    path = create_job(Client(app), PHASE="RUN")

    async def wait_for_job() -> bytes:
        sent: list[dict[str, object]] = []
        given = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, object]:
            if given:
                return given.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        scope = {
            "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": path, "raw_path": path.encode(),
            "root_path": "", "query_string": b"WAIT=30", "headers": [(b"host", b"vo.example")], "client": ("127.0.0.1", 1),
        }  # fmt: skip
        await app(scope, receive, send)
        return b"".join(message.get("body", b"") for message in sent)  # type: ignore[misc]

    async def all_of_them() -> list[bytes]:
        tasks = [asyncio.create_task(wait_for_job()) for _ in range(100)]
        await asyncio.sleep(0.5)
        assert not any(task.done() for task in tasks)
        await asyncio.to_thread(
            site.store.jobs.update_job, path.rpartition("/")[2], allowed_phases=("QUEUED",), phase="ABORTED"
        )
        return await asyncio.wait_for(asyncio.gather(*tasks), 25)

    assert all(b"<phase>ABORTED</phase>" in body for body in asyncio.run(all_of_them()))


def test_who_comes_with_a_phase_that_was_left_is_told_at_once(site: Site) -> None:
    """Somebody read QUEUED, the job was aborted and those who waited were told: who comes only then may not wait for ever."""
    jobs = [create_job(Client(create_and_start_application(site)), PHASE="RUN").rpartition("/")[2] for _ in range(2)]

    async def wait_for_left_phase() -> None:
        waiting = PhaseChangeWaiter(site, CapacityLimiter(2))
        other = asyncio.create_task(waiting.wait_for_change(jobs[1], "QUEUED"))  # so that the looks go on
        first = asyncio.create_task(waiting.wait_for_change(jobs[0], "QUEUED"))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(site.store.jobs.update_job, jobs[0], allowed_phases=("QUEUED",), phase="ABORTED")
        await asyncio.wait_for(first, 25)
        await asyncio.wait_for(waiting.wait_for_change(jobs[0], "QUEUED"), 25)
        assert not other.done()
        other.cancel()

    asyncio.run(wait_for_left_phase())


# --- whose --------------------------------------------------------------------------------------------------------------


def test_a_users_jobs_are_theirs_alone(site: Site) -> None:
    who = {"name": "tycho"}
    client = Client(create_and_start_application(site, identify_principal=lambda _: Principal(name=who["name"])))
    path = create_job(client, PHASE="RUN", RESPONSEFORMAT="csv")
    run_next_job(site)
    assert job(client, path).findtext(f"{UWS}ownerId") == text(client, f"{path}/owner") == "tycho"
    who["name"] = "kepler"
    for part in ("", "/phase", "/parameters", "/results/result", "/error", "/owner"):
        assert client.get(path + part).status == 403, part
    assert (
        client.ask("DELETE", path).status
        == client.post(f"{path}/phase", PHASE="ABORT").status
        == client.post(path, A=1).status
        == 403
    )
    assert len(etree.fromstring(client.get("/tap/async").body)) == 0
    who["name"] = None  # type: ignore[assignment]
    assert client.get(path).status == 403
    who["name"] = "tycho"
    assert client.get(f"{path}/results/result").status == 200
    assert len(etree.fromstring(client.get("/tap/async").body)) == 1


def test_a_job_sees_what_its_owner_may(site: Site) -> None:
    client = Client(
        create_and_start_application(
            site, identify_principal=lambda _: Principal(name="curator", groups=frozenset({"owner"}))
        )
    )
    path = create_job(client, QUERY="SELECT COUNT(*) AS n FROM secret.main", RESPONSEFORMAT="csv", PHASE="RUN")
    run_next_job(site)
    assert client.get(f"{path}/results/result").text.split() == ["n", "2000"]


def test_a_job_runs_under_the_policies_of_the_site(site: Site) -> None:
    policies = build_odd_rows_hidden_policies("number")
    client = Client(create_and_start_application(site, policies=policies))
    path = create_job(client, QUERY="SELECT COUNT(*) AS n FROM stars.main", RESPONSEFORMAT="csv", PHASE="RUN")
    run_next_job(site, policies=policies)
    assert client.get(f"{path}/results/result").text.split() == ["n", "1000"]


def test_the_anonymous_of_another_address_list_their_own(client: Client) -> None:
    create_job(client)
    elsewhere = {"x-forwarded-for": "203.0.113.9, 192.0.2.7"}  # a proxy on this machine speaks for its client
    assert len(etree.fromstring(client.ask("GET", "/tap/async", headers=elsewhere).body)) == 0
    client.ask("POST", "/tap/async", b"QUERY=x", headers=elsewhere)
    assert len(etree.fromstring(client.ask("GET", "/tap/async", headers={"x-forwarded-for": "192.0.2.7"}).body)) == 1
    assert len(etree.fromstring(client.get("/tap/async").body)) == 1


def test_the_log_joins_a_job_with_the_request_that_created_it(
    client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HVEN_LOG_FORMAT", "json")
    monkeypatch.setattr(caplog.handler, "formatter", MessageFormatter())
    with caplog.at_level(logging.INFO, "hven"):
        answer = client.ask("POST", "/tap/async", b"QUERY=x", headers={"x-request-id": "abc-123"})
    job_id = answer.headers["location"].rpartition("/")[2]
    lines = [json.loads(line) for line in caplog.text.splitlines() if line.startswith("{") and "has created" in line]
    assert [line["id"] for line in lines if job_id in line["message"]] == ["abc-123"]


def test_limits_are_those_of_the_capabilities(client: Client, site: Site) -> None:
    limits = etree.fromstring(client.get("/tap/capabilities").body)
    path = create_job(client)
    assert limits.findtext(".//executionDuration/default") == text(client, f"{path}/executionduration")
    client.post(f"{path}/executionduration", EXECUTIONDURATION=0)
    assert limits.findtext(".//executionDuration/hard") == text(client, f"{path}/executionduration")
    assert limits.findtext(".//retentionPeriod/default") == str(7 * 86400)
    assert limits.findtext(".//retentionPeriod/hard") == str(92 * 86400)
