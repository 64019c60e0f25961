"""UWS 1.1, rule by rule: what may be asked of a job in each phase, where one is sent, what is told of it in XML and in JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import pytest
import sqlalchemy as sa
from lxml import etree

from hven.app._server import create_and_start_application
from hven.jobs._worker import run_next_job
from hven.jobs.job_service import format_sortable_timestamp
from hven.jobs.job_supervisor import JobSupervisor
from hven.model.settings._sections import JobLimits
from hven.services import uws
from hven.site import Site
from hven.site.store import _database as db
from hven.site.store._job_records import _encode_json_columns
from hven.testing.site import open_tiny_site
from requirements import require_program
from shared import shared

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from asgi_client import Answer, Client
from star_tables import STARS, build_rows

UWS = "{http://www.ivoa.net/xml/UWS/v1.0}"
NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
HOST = "http://vo.example"
QUERY = "SELECT TOP 3 id FROM stars.main"
LIMITS = JobLimits(queued=2, open=6, archive_days=5)
FINAL = ("COMPLETED", "ERROR", "ABORTED", "ARCHIVED")
PHASES = ("PENDING", "HELD", "QUEUED", "EXECUTING", *FINAL)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"stars.main": (STARS, build_rows(20))}, jobs=LIMITS) as made:
        yield made


@pytest.fixture
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def create_job(client: Client, **params: object) -> str:
    answer = client.post("/tap/async", **{"LANG": "ADQL", "QUERY": QUERY, **params})
    assert (answer.status, answer.body) == (303, b""), answer.text
    return answer.headers["location"].removeprefix(HOST)


def name(path: str) -> str:
    return path.rpartition("/")[2]


def put_into(site: Site, path: str, phase: str) -> None:
    with site.store._database.begin_write() as connection:
        values = {"phase": phase, "ended": db.format_current_time() if phase in FINAL else None}
        connection.execute(sa.update(db.jobs).where(db.jobs.c.id == name(path)).values(**values))


def job(client: Client, path: str) -> etree._Element:
    answer = client.get(path)
    assert answer.status == 200
    return etree.fromstring(answer.body)


def fetch_json(client: Client, path: str) -> dict[str, object]:
    return dict(json.loads(client.ask("GET", path, headers={"accept": "application/json"}).body))


def check_redirect(answer: Answer, path: str) -> None:
    assert (answer.status, answer.headers["location"], answer.headers["cache-control"]) == (
        303,
        HOST + path,
        "no-store",
    ), answer.text


# --- what each phase allows --------------------------------------------------------------------------------------


RUN = dict.fromkeys(("PENDING", "HELD"), "QUEUED") | {"QUEUED": "QUEUED", "EXECUTING": "EXECUTING"}


@pytest.mark.parametrize("phase", PHASES)
def test_phases_go_where_the_standard_lets_them(client: Client, site: Site, phase: str) -> None:
    for wanted, after in (("RUN", RUN.get(phase)), ("ABORT", phase if phase in FINAL else "ABORTED")):
        path = create_job(client)
        put_into(site, path, phase)
        before = client.get(path).body
        answer = client.post(f"{path}/phase", PHASE=wanted)
        if after is None:
            assert answer.status == 403
            assert f"the job is {phase} and cannot be run again" in answer.text
            assert client.get(path).body == before
        else:
            check_redirect(answer, path)
            assert client.get(f"{path}/phase").text == after
        client.ask("DELETE", path)


@pytest.mark.parametrize("phase", PHASES)
def test_what_can_be_changed_in_each_phase(client: Client, site: Site, phase: str) -> None:
    path = create_job(client)
    put_into(site, path, phase)
    before = client.get(path).body
    changes = {
        f"{path}/parameters": ({"MAXREC": "5"}, phase == "PENDING"),
        path: ({"RUNID": "mine"}, phase == "PENDING"),
        f"{path}/executionduration": ({"EXECUTIONDURATION": "77"}, phase not in FINAL),
        f"{path}/destruction": ({"DESTRUCTION": f"{datetime.now(UTC).year + 1}-01-01"}, phase != "ARCHIVED"),
    }
    for address, (params, allowed) in changes.items():
        answer = client.post(address, **params)
        if allowed:
            check_redirect(answer, path)
        else:
            assert answer.status == 403, (address, phase)
            assert etree.fromstring(answer.body).find(".//{*}INFO[@value='ERROR']").text
    assert (client.get(path).body == before) == (phase == "ARCHIVED")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("way", ["DELETE", "POST"])
def test_a_job_is_destroyed_in_every_phase(client: Client, site: Site, phase: str, way: str) -> None:
    path = create_job(client)
    put_into(site, path, phase)
    check_redirect(client.ask("DELETE", path) if way == "DELETE" else client.post(path, ACTION="DELETE"), "/tap/async")
    for part in ("", "/phase", "/quote", "/error", "/results", "/results/result", "/parameters", "/owner"):
        assert client.get(path + part).status == 404
    assert len(etree.fromstring(client.get("/tap/async").body)) == 0


def test_what_is_of_the_job_is_no_parameter(client: Client) -> None:
    path = create_job(client)
    for control in ("PHASE", "phase", "DESTRUCTION", "EXECUTIONDURATION", "RUNID", "ACTION", "WAIT"):
        answer = client.ask("PUT", f"{path}/parameters/{control}", body=b"RUN")
        assert answer.status == 400, control
        assert client.get(f"{path}/parameters/{control}").status == 404
    assert client.get(f"{path}/phase").text == "PENDING"


# --- too many ---------------------------------------------------------------------------------------------------------


def test_too_many_jobs_are_held_then_refused_and_each_says_why(client: Client, site: Site) -> None:
    paths = [create_job(client, PHASE="RUN") for _ in range(3)]
    assert [client.get(f"{path}/phase").text for path in paths] == ["QUEUED", "QUEUED", "HELD"]
    note = "you already have 2 waiting or running jobs; set this job to RUN when some of them have ended"
    assert (
        job(client, paths[2]).findtext(f"{UWS}jobInfo/note") == fetch_json(client, paths[2])["jobInfo"]["note"] == note
    )  # type: ignore[index]
    check_redirect(client.post(f"{paths[2]}/phase", PHASE="RUN"), paths[2])
    assert client.get(f"{paths[2]}/phase").text == "HELD"  # still too many
    more = [create_job(client) for _ in range(3)]
    answer = client.post("/tap/async", QUERY=QUERY)
    assert answer.status == 403
    assert "you have reached the limit of 6 unfinished jobs" in answer.text
    assert "location" not in answer.headers
    assert len(etree.fromstring(client.get("/tap/async").body)) == 6
    assert client.get(f"{paths[2]}?WAIT=30").status == 200  # HELD never blocks (section 2.2.1.1)
    client.ask("DELETE", more[0])
    while run_next_job(site):
        pass
    check_redirect(client.post(f"{paths[2]}/phase", PHASE="RUN"), paths[2])
    assert run_next_job(site)
    assert client.get(f"{paths[2]}/phase").text == "COMPLETED"
    create_job(client)


def test_an_archived_job_is_known_by_its_name_alone(client: Client, site: Site) -> None:
    from hven.jobs.job_supervisor import JobSupervisor

    path, stays = create_job(client, PHASE="RUN"), create_job(client)
    run_next_job(site)
    assert client.get(f"{path}/results/result").status == 200
    client.post(f"{path}/destruction", DESTRUCTION="2020-01-01T00:00:00Z")
    with site.store._database.begin_write() as connection:  # archived an hour ago
        moment = format_sortable_timestamp(datetime.fromtimestamp(datetime.now(UTC).timestamp() - 3600, UTC))
        connection.execute(sa.update(db.jobs).where(db.jobs.c.id == name(path)).values(destruction=moment))
    JobSupervisor(
        site.settings, worker_limit=1, idle_seconds=1.0, parent_pid=None
    )._delete_expired_jobs_files_and_grants()
    root = job(client, path)
    assert root.findtext(f"{UWS}phase") == "ARCHIVED"
    assert len(root.find(f"{UWS}results")) == 0
    assert {item.get("id"): item.text for item in root.iter(f"{UWS}parameter")}["QUERY"] == QUERY
    assert client.get(f"{path}/results/result").status == 404
    listed = [ref.get("id") for ref in etree.fromstring(client.get("/tap/async").body)]
    assert listed == [name(stays)]
    assert [ref.get("id") for ref in etree.fromstring(client.get("/tap/async?PHASE=ARCHIVED").body)] == [name(path)]


# --- what is told -----------------------------------------------------------------------------------------------------


def test_quote_share_and_place_are_told_alike_everywhere(client: Client, site: Site, tmp_path: Path) -> None:
    for number in range(2):
        path = create_job(client, QUERY=f"SELECT TOP {number + 3} id FROM stars.main", PHASE="RUN")
        run_next_job(site)
    with site.store._database.begin_write() as connection:  # each took two seconds, on whatever machine
        begun, ended = (
            format_sortable_timestamp(datetime.fromtimestamp(datetime.now(UTC).timestamp() - ago, UTC))
            for ago in (62, 60)
        )
        connection.execute(sa.update(db.jobs).values(started=begun, ended=ended))
    assert fetch_json(client, path)["quote"] is None  # it has ended
    assert client.get(f"{path}/quote").text == ""
    assert job(client, path).findtext(f"{UWS}jobInfo/share") == "1.0"
    pending = create_job(client, QUERY="SELECT TOP 7 id FROM stars.main")
    strange = create_job(client, QUERY="SELECT MAX(id) FROM stars.main")
    running = create_job(client, QUERY="SELECT MIN(id) FROM stars.main", PHASE="RUN")
    held = site.store.jobs.claim_job()
    site.store.jobs.record_heartbeat_and_read_duration(held, {"rows": 500, "share": 0.25})
    begun = format_sortable_timestamp(datetime.fromtimestamp(datetime.now(UTC).timestamp() - 30, UTC))
    with site.store._database.begin_write() as connection:
        connection.execute(sa.update(db.jobs).where(db.jobs.c.id == name(running)).values(started=begun))
    waiting = create_job(client, QUERY="SELECT TOP 5 id FROM stars.main", PHASE="RUN")
    now = format_sortable_timestamp(datetime.now(UTC))
    for asked in (pending, running, waiting):
        quote = client.get(f"{asked}/quote").text
        assert quote.endswith("Z")
        assert quote > now[:19]
        # it is estimated anew whenever somebody asks
        for again in (job(client, asked).find(f"{UWS}quote").text, str(fetch_json(client, asked)["quote"])):
            assert abs((datetime.fromisoformat(again) - datetime.fromisoformat(quote)).total_seconds()) < 60
    assert client.get(f"{strange}/quote").text == ""
    assert job(client, strange).find(f"{UWS}quote").get(NIL) == "true"
    assert fetch_json(client, strange)["quote"] is None
    # a quarter in thirty seconds: ninety more
    since = datetime.fromisoformat(begun).timestamp()
    before = datetime.now(UTC).timestamp()
    done = datetime.fromisoformat(client.get(f"{running}/quote").text).timestamp()
    after = datetime.now(UTC).timestamp()
    assert since + 4 * (before - since) - 1 < done < since + 4 * (after - since) + 1
    info = job(client, running).find(f"{UWS}jobInfo")
    assert (info.findtext("rows"), info.findtext("share"), info.findtext("attempts")) == ("500", "0.25", "1")
    assert fetch_json(client, running)["jobInfo"] == {"rows": 500, "share": 0.25, "attempts": 1}
    assert job(client, waiting).findtext(f"{UWS}jobInfo/place") == "1"
    assert fetch_json(client, waiting)["jobInfo"] == {"place": 1}
    files = []
    for number, address in enumerate(
        (path, pending, strange, running, waiting, "/tap/async", f"{path}/results", f"{path}/parameters")
    ):
        files.append(tmp_path / f"{number}.xml")
        files[-1].write_bytes(client.get(address).body)
    schemas = shared("xsd/all.xsd")
    judged = subprocess.run(
        [require_program("xmllint"), "--nonet", "--noout", "--schema", schemas, *files], capture_output=True, text=True, check=False,
        env={**os.environ, "XML_CATALOG_FILES": str(schemas.with_name("catalog.xml"))},
    )  # fmt: skip
    assert judged.returncode == 0, judged.stderr


def test_the_list_says_the_same_in_xml_and_json(client: Client, site: Site) -> None:
    paths = [create_job(client, RUNID=f"a<b>&\"{number}'") for number in range(3)] + [create_job(client)]
    put_into(site, paths[1], "ERROR")
    for query in ("", "?LAST=2", "?PHASE=PENDING", "?PHASE=ERROR&PHASE=PENDING", "?PHASE=HELD"):
        root = etree.fromstring(client.get(f"/tap/async{query}").body)
        ours = [
            {
                "id": ref.get("id"),
                "href": ref.get("{http://www.w3.org/1999/xlink}href"),
                "phase": ref.findtext(f"{UWS}phase"),
                "runId": ref.findtext(f"{UWS}runId"),
                "ownerId": ref.findtext(f"{UWS}ownerId") or None,
                "creationTime": ref.findtext(f"{UWS}creationTime"),
            }
            for ref in root
        ]
        assert ours == fetch_json(client, f"/tap/async{query}")["jobs"]
    assert len(ours) == 0


# --- long lists ------------------------------------------------------------------------------------------------


MANY = 2_345


@pytest.fixture
def many_jobs(client: Client, site: Site) -> list[str]:
    """Jobs of the one who asks, of which seven always began at one moment; in the order of the list."""
    path = create_job(client)
    job = site.store.jobs.get_job(name(path))
    client.ask("DELETE", path)
    rows = [
        _encode_json_columns(
            asdict(
                replace(
                    job,
                    id=f"j{number:05d}",
                    created=f"2026-01-01T00:{number // 420:02d}:{number // 7 % 60:02d}.000000Z",
                )
            )
        )
        for number in range(MANY)
    ]
    with site.store._database.begin_write() as connection:
        connection.execute(sa.insert(db.jobs), rows)
    return [
        one["id"]
        for one in sorted(sorted(rows, key=lambda one: one["id"]), key=lambda one: one["created"], reverse=True)
    ]


def pages(client: Client, path: str) -> list[list[str]]:
    """Follow a list to its end."""
    found = []
    while path:
        answer = client.get(path)
        assert answer.status == 200, answer.text
        found.append([ref.get("id") for ref in etree.fromstring(answer.body)])
        link = re.fullmatch(r'<(.*)>; rel="next"', answer.headers.get("link", ""))
        path = link[1].removeprefix(HOST) if link else ""
    return found


def test_a_long_list_comes_in_pages_and_none_is_lost(client: Client, site: Site, many_jobs: list[str]) -> None:
    found = pages(client, "/tap/async")
    assert [len(page) for page in found] == [1000, 1000, 345]
    assert list(chain.from_iterable(found)) == many_jobs
    first = client.ask("GET", "/tap/async", headers={"accept": "application/json"})
    assert json.loads(first.body)["next"] == re.fullmatch(r'<(.*)>; rel="next"', first.headers["link"])[1]  # type: ignore[index]
    assert pages(client, f"/tap/async?LAST={MANY}") == [many_jobs], "who says how many gets them at once"
    assert pages(client, "/tap/async?LAST=3") == [many_jobs[:3]]
    with site.store._database.begin_write() as connection:
        connection.execute(sa.update(db.jobs).where(db.jobs.c.id < "j01500").values(phase="COMPLETED"))
    done = [one for one in many_jobs if one < "j01500"]
    assert pages(client, "/tap/async?PHASE=COMPLETED") == [done[:1000], done[1000:]]
    pending = [one for one in many_jobs if one >= "j01500"]
    assert pages(client, "/tap/async?PHASE=PENDING&LAST=100") == [pending[:100]]
    assert list(chain.from_iterable(pages(client, "/tap/async?PHASE=PENDING&BEFORE=2026-01-01T00:05:00Z"))) == [
        one for one in pending if one < "j02100"
    ]
    assert list(chain.from_iterable(pages(client, "/tap/async?AFTER=2026-01-01T00:01:00Z"))) == [
        one for one in many_jobs if one >= "j00427"
    ]
    assert client.get("/tap/async?BEFORE=yesterday").status == 400


def test_a_list_that_is_longer_than_any_answer(
    client: Client, many_jobs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uws, "MAX_LIST_LIMIT", 900)
    assert [len(page) for page in pages(client, "/tap/async?LAST=2000")] == [900, 900, 200]
    assert list(chain.from_iterable(pages(client, "/tap/async?LAST=2000"))) == many_jobs[:2000]


def test_what_is_due_goes_in_few_transactions_with_its_files(client: Client, site: Site, many_jobs: list[str]) -> None:
    place = site.settings.data_directory / "jobs" / many_jobs[5]
    place.mkdir(parents=True)
    (place / "result").touch()
    with site.store._database.begin_write() as connection:
        connection.execute(
            sa.update(db.jobs).where(db.jobs.c.id != many_jobs[7]).values(destruction="2026-01-01T00:00:00.000000Z")
        )
    keeper = JobSupervisor(replace(site.settings, jobs=JobLimits()), worker_limit=1, idle_seconds=1.0, parent_pid=None)
    version = site.store.jobs.get_phase_change_count()
    for _ in range(3):
        keeper._delete_expired_jobs_files_and_grants()
    keeper._close_store()
    assert pages(client, "/tap/async") == [[many_jobs[7]]]
    assert site.store.jobs.get_phase_change_count() - version < 30
    assert not place.exists()
