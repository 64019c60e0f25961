"""The page and the feed of a curator's week: changes, refused rows, failures, late sources and slow queries."""

from __future__ import annotations

import html
import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from asgi_client import Answer, Client

from hven.app._server.application import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import Fault, HvenError
from hven.model.settings import load_settings
from hven.plugins.operations import disk_forecast
from hven.plugins.operations.feed_addresses import build_feed_query
from hven.plugins.operations.link_checks import read_link_check, record_link_check
from hven.plugins.operations.morning_page import write_morning_feed
from hven.plugins.operations.morning_report import list_collection_days
from hven.plugins.operations.query_log import SlowQueryLog
from hven.query import cited_results
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES, Principal
from process_runner import run_hven

TOML = """\
name = "x"
title = "Tycho & Sophie"
[health]
operators = ["olga"]
[projects.hesiod]
title = "HESIOD"
"""
TABLE = """\
collection: {name}
title: The {name}
{more}tables:
  main:
    primary: [id]
    source: {{kind: csv, files: a.csv}}
    columns: {{id: {{type: int32, ucd: meta.id;meta.main}}, vmag: {{type: float64, required: true}}}}
"""
ATOM = "{http://www.w3.org/2005/Atom}"
CURATOR = Principal(name="anna", groups=frozenset({"project:hesiod:curator", "project:hesiod"}))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a site with a collection of a project, whose last run failed, and another one."""
    place = tmp_path_factory.mktemp("morning") / "site"
    for name, more in (("stars", "project: hesiod\n"), ("moons", "")):
        (place / "collections" / name).mkdir(parents=True)
        (place / "collections" / name / "a.csv").write_text("id,vmag\n1,1\n2,bright\n3,3\n")
        (place / "collections" / name / f"{name}.yaml").write_text(TABLE.format(name=name, more=more))
    (place / "hven.toml").write_text(TOML)
    with Site(load_settings(place)) as site:
        for name in ("stars", "moons"):
            ingest_collection(site, name)
        (place / "collections/stars/a.csv").write_text("id,vmag\n1,none\n2,bright\n3,dark\n")
        with pytest.raises(HvenError):
            ingest_collection(site, "stars")
        entry = {"time": site.store.runs.list_runs("stars")[0].ended, "seconds": 9, "user": "account"}
        log = SlowQueryLog(site.settings)
        advice = ["stars.main: no index of vmag", "moons.main: no index of id"]
        tables = {"stars.main": 3, "moons.main": 3}
        log.append({**entry, "text": "SELECT 1 <b>", "tables": tables, "reads": [], "advice": advice})
        log.append({**entry, "text": "SELECT x FROM hidden.t", "tables": {**tables, "hidden.t": 1}})
    return place


@pytest.fixture
def ask(directory: Path) -> Iterator[Callable[..., Answer]]:
    principals = {"anna": CURATOR, "olga": Principal(name="olga"), "max": Principal(name="max")}
    with Site(load_settings(directory)) as site:
        application = create_and_start_application(
            site, identify_principal=lambda request: principals.get(request.headers["x-who"], ANONYMOUS_PRINCIPAL)
        )
        client = Client(application)
        yield lambda who, path, accept="": client.ask("GET", path, headers={"x-who": who, "accept": accept})


def test_a_week_of_a_collection(directory: Path) -> None:
    with Site(load_settings(directory)) as site:
        (day,) = list_collection_days(site, {"stars"}, 7)
        assert list_collection_days(site, set(), 7) == []
    lines = {(line.kind, line.text): line.command for line in day.lines}
    kinds = [line.kind for line in day.lines]
    assert kinds.count("failed") == 1
    refused = next(text for kind, text in lines if kind == "refused")
    assert refused.startswith("1 row of stars.main refused: ")
    assert refused.endswith(
        ', first in a.csv row 2; to publish them, write `null: ["bright"]` in the source, if such a value means that '
        "there is none (stars.yaml:7)"
    )
    assert any(text.endswith("ingest: stars.main: 2 rows") for _, text in lines)
    slow = [text for kind, text in lines if kind == "slow"]
    assert slow == [
        "1 slow query, 9 s in all: SELECT 1 <b>; stars.main: no index of vmag",
        "1 slow query, 9 s in all: a query of private data",
    ]
    assert ("late", "failing: the last run failed; the published rows are unchanged") in lines
    assert "hven ingest stars" in lines.values()


def test_dead_links_are_told_with_the_command_that_checks_them(directory: Path) -> None:
    faults = [Fault(message=f"the file {number}.fits is published, but does not exist") for number in range(7)]
    with Site(load_settings(directory)) as site:
        record_link_check(site, "moons", faults)
        (day,) = list_collection_days(site, {"moons"}, 7)
        dead = [line for line in day.lines if line.kind == "dead links"]
        assert [line.text for line in dead[:2]] == [fault.message for fault in faults[:2]]
        assert (len(dead), dead[-1].text) == (6, "2 more dead links")
        assert {line.command for line in dead} == {"hven check moons --links"}
        record_link_check(site, "moons", [])
        assert read_link_check(site.settings, "moons")[1:] == (0, [])  # type: ignore[index]
        (day,) = list_collection_days(site, {"moons"}, 7)
        assert "dead links" not in {line.kind for line in day.lines}
        path = directory / "var/operations/links/moons.json"
        for damage in ("", "[]", "{}", '{"time": 1, "dead": "x", "messages": []}', "\0"):
            path.write_text(damage)
            assert read_link_check(site.settings, "moons") is None
        path.unlink()


def test_the_command_keeps_what_it_finds(directory: Path, tmp_path: Path) -> None:
    site_directory = shutil.copytree(directory, tmp_path / "site")
    run_hven("check", "moons", "--links", "--site", site_directory)
    link_check = read_link_check(load_settings(site_directory), "moons")
    assert link_check is not None
    assert (link_check.dead_count, link_check.messages) == (0, [])


def test_cited_results_are_told_with_their_addresses(directory: Path, tmp_path: Path) -> None:
    site_directory = shutil.copytree(directory, tmp_path / "site")
    with Site(load_settings(site_directory)) as site:
        for number in range(5):
            cited_results.create_cited_result(
                f"SELECT TOP {number + 1} id FROM moons.main ORDER BY id",
                ANONYMOUS_PRINCIPAL,
                site=site,
                policies=DEFAULT_POLICIES,
                maker_name="somebody",
            )
        days = {day.name: day for day in list_collection_days(site, {"stars", "moons"}, 7)}
    (line,) = (line for line in days["moons"].lines if line.kind == "cited")
    assert line.text.startswith("5 results with an address to cite: http")
    assert line.text.count("/results/") == 3
    assert line.text.endswith(", ..")
    assert "cited" not in {line.kind for line in days["stars"].lines}


@pytest.mark.parametrize(("free", "text"), [(1e6, "the disk is almost full: only 1 MB are free"), (9e11, None)])
def test_a_full_disk_concerns_all_collections(
    directory: Path, monkeypatch: pytest.MonkeyPatch, free: float, text: str | None
) -> None:
    usage = SimpleNamespace(total=int(1e12), used=0, free=int(free))
    monkeypatch.setattr(disk_forecast.shutil, "disk_usage", lambda _: usage)
    with Site(load_settings(directory)) as site:
        days = list_collection_days(site, {"stars", "moons"}, 7)
        assert list_collection_days(site, set(), 7) == []
    assert [line.text for day in days for line in day.lines if line.kind == "disk"] == ([text] if text else [])
    assert [day.title for day in days if not day.name] == (["Tycho & Sophie"] if text else [])


def test_curators_see_their_own_collections(ask: Callable[..., Answer]) -> None:
    statuses = {who: ask(who, "/morning").status for who in ("nobody", "max", "anna", "olga")}
    assert statuses == {"nobody": 401, "max": 403, "anna": 200, "olga": 200}
    assert [ask(who, "/morning.atom").status for who in ("nobody", "max")] == [401, 403]
    names = {who: {day["collection"] for day in json.loads(ask(who, "/morning.json").body)} for who in ("anna", "olga")}
    assert names == {"anna": {"stars"}, "olga": {"stars", "moons"}}
    page = ask("anna", "/morning?lang=fr", "text/html")
    assert "Mes collections cette semaine" in page.text
    assert "SELECT 1 &lt;b&gt;" in page.text
    assert page.headers["cache-control"] == "private, no-store"


def test_the_feed_keeps_its_ids(ask: Callable[..., Answer]) -> None:
    answer = ask("anna", "/morning.atom")
    assert answer.headers["content-type"] == "application/atom+xml; charset=utf-8"
    assert answer.headers["cache-control"] == "private, no-store"
    feed = ET.fromstring(answer.body)
    (entry,) = feed.findall(f"{ATOM}entry")
    assert entry.findtext(f"{ATOM}title", "").startswith("The stars, 20")
    assert "SELECT 1 &lt;b&gt;" in entry.findtext(f"{ATOM}content", "")
    assert feed.findtext(f"{ATOM}updated") == entry.findtext(f"{ATOM}updated")
    again = ET.fromstring(ask("anna", "/morning.atom").body)
    assert again.findtext(f"{ATOM}id") == feed.findtext(f"{ATOM}id")
    assert again.findtext(f"{ATOM}entry/{ATOM}id") == entry.findtext(f"{ATOM}id")


def test_an_empty_feed_is_valid() -> None:
    feed = ET.fromstring(write_morning_feed([], "A < B", "https://x.example"))
    assert feed.findtext(f"{ATOM}title") == "A < B: collections"
    assert feed.findtext(f"{ATOM}updated")


WIDE_TABLE = """\
collection: wide
title: Wide
tables:
  main:
    source: {kind: csv, files: a.csv}
    max_rejects: 1
    columns:
      vmag: {type: float64, required: true, minimum: -2, maximum: 30}
      name: {type: 'string[3]'}
    rules:
      named: {if: name <> 'X', message: the star has no name}
"""


def test_the_proposed_lines_publish_the_rows(tmp_path: Path) -> None:
    """Each proposed line is written where it belongs; then the next run refuses no row for this reason."""
    directory = tmp_path / "site"
    collection = directory / "collections/wide"
    collection.mkdir(parents=True)
    (directory / "hven.toml").write_text('name = "x"\n')
    (collection / "a.csv").write_text("vmag,name\n1,A\n,B\n99,C\n-7,D\nblue,E\n2,LONG\n3,X\n")
    descriptor = collection / "wide.yaml"
    descriptor.write_text(WIDE_TABLE)
    with Site(load_settings(directory)) as site:
        report = ingest_collection(site, "wide")
        assert [table.rejected for table in report.tables.values()] == [6]
        (day,) = list_collection_days(site, {"wide"}, 1)
    texts = [line.text for line in day.lines if line.kind == "refused"]
    lines = {line for text in texts for line in re.findall(r"write `([^`]+)` in", text)}
    assert lines == {
        "required: false",
        "minimum: -7, maximum: 99",
        'null: ["blue"]',
        "type: string",
        "severity: warning",
    }
    assert all(re.search(r"\(wide\.yaml:\d+\)$", text) for text in texts)
    mended = WIDE_TABLE.replace("required: true, minimum: -2, maximum: 30", "required: false, minimum: -7, maximum: 99")
    mended = mended.replace("files: a.csv}", 'files: a.csv, null: ["blue"]}').replace("'string[3]'", "string")
    descriptor.write_text(mended.replace("{if: name", "{severity: warning, if: name"))
    with Site(load_settings(directory)) as site:
        report = ingest_collection(site, "wide")
        assert [table.rejected for table in report.tables.values()] == [0]


def test_feed_readers_need_no_log_in(directory: Path, tmp_path: Path) -> None:
    site_directory = shutil.copytree(directory, tmp_path / "site")
    with Site(load_settings(site_directory)) as site:
        client = Client(create_and_start_application(site))
        tokens = {name: site.store.users.add_account(name) for name in ("olga", "max")}
        headers = {"authorization": f"Bearer {tokens['olga']}", "accept": "text/html"}
        page = client.ask("GET", "/morning", headers=headers)
        (feed_query,) = re.findall(r'/morning\.atom\?([^"]+)"', page.text)
        query_string = html.unescape(feed_query).encode()
        feed = client.ask("GET", "/morning.atom", query_string)
        assert (feed.status, feed.headers["cache-control"]) == (200, "private, no-store")
        assert len(ET.fromstring(feed.body).findall(f"{ATOM}entry")) == 2
        assert client.ask("GET", "/morning.atom", query_string.replace(b"olga", b"max")).status == 404
        assert client.ask("GET", "/morning.atom", query_string[:-1]).status == 404
        assert client.ask("GET", "/morning", query_string).status == 401, "the key is for the feed alone"
        assert build_feed_query(site, Principal(name="olga", groups=frozenset({"other"}))) == "", "fewer rights"
        assert build_feed_query(site, Principal(name="olga", impersonator="root")) == ""
        assert build_feed_query(site, Principal(name="nobody")) == build_feed_query(site, ANONYMOUS_PRINCIPAL) == ""
        site.store.users.renew_token_and_end_sessions("olga")
        assert client.ask("GET", "/morning.atom", query_string).status == 404
