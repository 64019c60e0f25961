"""Limits of rows and of time for jobs that differ from those of synchronous queries: as the capabilities say them, in every format."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from lxml import etree

from hven.app._server import create_and_start_application
from hven.jobs import _worker as worker
from hven.jobs._worker import run_next_job
from hven.model.settings import QueryLimits
from hven.model.settings._sections import JobLimits
from hven.site import Site
from hven.testing.site import open_tiny_site
from process_runner import wait_until
from requirements import require_program
from shared import shared

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from asgi_client import Client

ROWS = 60
LIMITS = QueryLimits(maxrec_default=10, maxrec_hard=25, seconds=2.5)
JOBS = JobLimits(maxrec_default=15, maxrec_hard=40, seconds=2, seconds_hard=3)
TABLE = pa.table({"id": list(range(ROWS)), "ra": [1.0 * n for n in range(ROWS)]})
QUERY = "SELECT id, ra FROM s.t"
ENDLESS = "SELECT COUNT(*) AS n FROM s.t AS a, s.t AS b, s.t AS c, s.t AS d, s.t AS e, s.t AS f WHERE SIN(a.ra + b.ra * c.ra + d.ra * e.ra + f.ra) > 2"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(tmp_path_factory.mktemp("limits"), {"s.t": TABLE}, limits=LIMITS, jobs=JOBS) as made:
        yield made


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Make a site with the same limits of rows, whose time is over on no machine."""
    limits, jobs = replace(LIMITS, seconds=300), replace(JOBS, seconds=300, seconds_hard=600)
    with open_tiny_site(tmp_path_factory.mktemp("patient"), {"s.t": TABLE}, limits=limits, jobs=jobs) as made:
        yield made


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def tap_of(client: Client) -> etree._Element:
    (found,) = etree.fromstring(client.get("/tap/capabilities").body).xpath(
        "capability[@standardID='ivo://ivoa.net/std/TAP']"
    )
    return found


@pytest.fixture(scope="module")
def tap(client: Client) -> etree._Element:
    return tap_of(client)


def count_rows(kind: str, body: bytes) -> int:
    if "votable" in kind:
        return len(parse(io.BytesIO(body)).get_first_table().array)
    if "json" in kind:
        return len(json.loads(body)["features" if "geo" in kind or "tfcat" in kind else "data"])
    if "fits" in kind:
        with fits.open(io.BytesIO(body)) as found:
            return len(found[1].data)
    if "parquet" in kind:
        return int(pq.read_table(io.BytesIO(body)).num_rows)
    if "arrow" in kind:
        return int(pa.ipc.open_stream(io.BytesIO(body)).read_all().num_rows)
    return len(body.splitlines()) - 1


def fetch_answer(client: Client, site: Site, mode: str, **params: object) -> bytes:
    if mode == "sync":
        answer = client.post("/tap/sync", LANG="ADQL", QUERY=QUERY, **params)
        assert answer.status == 200, answer.text
        return answer.body
    path = (
        client.post("/tap/async", LANG="ADQL", QUERY=QUERY, PHASE="RUN", **params)
        .headers["location"]
        .removeprefix("http://vo.example")
    )
    run_next_job(site)
    answer = client.get(f"{path}/results/result")
    assert answer.status == 200, client.get(path).text
    return answer.body


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_each_mode_gives_as_many_rows_as_is_said_of_it(patient: Site, mode: str) -> None:
    client = Client(create_and_start_application(patient))
    tap = tap_of(client)
    (limit,) = tap.xpath(f"outputLimit[@forMode='{mode}']")
    default, hard = (int(limit.findtext(name)) for name in ("default", "hard"))
    assert (default, hard) == ((10, 25) if mode == "sync" else (15, 40))
    kinds = [item.findtext("mime") for item in tap.iterfind("outputFormat")]
    assert len(kinds) > 6
    for kind in kinds:
        if "html" in kind or kind.startswith("text/plain"):
            continue
        for maxrec, rows in ((None, default), (7, 7), (hard, hard), (hard + 1, hard)):
            body = fetch_answer(
                client, patient, mode, RESPONSEFORMAT=kind, **({} if maxrec is None else {"MAXREC": maxrec})
            )
            assert count_rows(kind, body) == rows, (kind, maxrec)
            if "votable" in kind:
                assert b'value="OVERFLOW"' in body


def test_where_both_modes_have_the_same_limits_they_are_said_once(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, {"s.t": pa.table({"id": [1]})}) as site:
        found = etree.fromstring(Client(create_and_start_application(site)).get("/tap/capabilities").body)
    (limit,) = found.iterfind("capability/outputLimit")
    assert dict(limit.attrib) == {}


def test_the_document_is_valid_by_the_schema_that_has_modes(client: Client, tmp_path: Path) -> None:
    """TAPRegExt 1.1, a draft: 1.0 allows one outputLimit."""
    schemas = shared("xsd/all.xsd")
    here = schemas.parent
    driver, catalog = tmp_path / "all.xsd", tmp_path / "catalog.xml"
    draft = (here / "TAPRegExt-v1.1-draft.xsd").as_uri()
    driver.write_text(re.sub(r'schemaLocation="(?!http)([^"]+)"', lambda found: f'schemaLocation="{(here / found[1]).as_uri()}"', schemas.read_text()
    ).replace((here / "TAPRegExt-v1.0.xsd").as_uri(), draft))  # fmt: skip
    catalog.write_text(
        re.sub(
            r'uri="(?!http)([^"]+)"',
            lambda found: f'uri="{(here / found[1]).as_uri()}"',
            (here / "catalog.xml").read_text(),
        ).replace((here / "TAPRegExt-v1.0.xsd").as_uri(), draft)
    )
    document = tmp_path / "capabilities.xml"
    document.write_bytes(client.get("/tap/capabilities").body)
    judged = subprocess.run(
        [require_program("xmllint"), "--nonet", "--noout", "--schema", driver, document], capture_output=True, text=True, check=False,
        env={**os.environ, "XML_CATALOG_FILES": str(catalog)},
    )  # fmt: skip
    assert judged.returncode == 0, judged.stderr


def test_a_running_job_may_be_given_more_time(patient: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that the test sets: it cannot be over while the job is given more."""
    clock = [0.0]
    seen: list[float] = []

    def monotonic() -> float:
        seen.append(clock[0])
        return clock[0]

    def advance_clock(seconds: float) -> None:
        clock[0] = seconds
        wait_until(lambda: seen.count(seconds) > 6 or not running.is_alive())  # it has looked at least twice

    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=monotonic, sleep=time.sleep))
    client = Client(create_and_start_application(patient))
    answer = client.post("/tap/async", LANG="ADQL", QUERY=ENDLESS, PHASE="RUN", EXECUTIONDURATION=3)
    path = answer.headers["location"].removeprefix("http://vo.example")
    running = threading.Thread(target=run_next_job, args=(patient,))
    running.start()
    wait_until(lambda: client.get(f"{path}/phase").text == "EXECUTING")
    assert client.post(f"{path}/executionduration", EXECUTIONDURATION=5).status == 303
    advance_clock(4)
    assert client.get(f"{path}/phase").text == "EXECUTING"
    advance_clock(6)
    running.join(60)
    found = json.loads(client.ask("GET", path, headers={"accept": "application/json"}).body)
    assert found["phase"] == "ABORTED"
    assert "5 seconds" in found["errorSummary"]["message"]


def test_the_words_say_what_the_elements_cannot(client: Client, tap: etree._Element) -> None:
    said = [
        int(number) if number.isdigit() else float(number)
        for number in re.findall(r"\d+(?:\.\d+)?", tap.findtext("description"))
    ]
    assert said == [2.5, 25, 10, 2, 3, 40, 15, JOBS.queued, JOBS.open]
    answer = client.post("/tap/sync", LANG="ADQL", QUERY=ENDLESS)
    assert "time limit" in answer.text
    assert "2.5" in answer.text


@pytest.mark.parametrize(("asks", "gets"), [(None, 2), (1, 1), (0, 3), (99, 3)])
def test_a_job_runs_as_long_as_is_said(
    client: Client, site: Site, tap: etree._Element, asks: int | None, gets: int
) -> None:
    default, hard = (int(tap.findtext(f"executionDuration/{name}")) for name in ("default", "hard"))
    assert (default, hard) == (2, 3)
    given = {} if asks is None else {"EXECUTIONDURATION": asks}
    path = (
        client.post("/tap/async", LANG="ADQL", QUERY=ENDLESS, PHASE="RUN", **given)
        .headers["location"]
        .removeprefix("http://vo.example")
    )
    assert client.get(f"{path}/executionduration").text == str(gets)
    run_next_job(site)
    found = json.loads(client.ask("GET", path, headers={"accept": "application/json"}).body)
    assert found["phase"] == "ABORTED"
    assert f"{gets} seconds" in found["errorSummary"]["message"]
