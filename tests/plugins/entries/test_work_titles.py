"""Titles of cited works: ADS on this machine is asked once, in the background; its failures fail no page."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from entry_site import Person, open_entry_site, read_entry

from hven.model.errors import SourceError
from hven.plugins.entries import work_titles
from hven.plugins.entries.entry_store import EntryStore
from hven.plugins.entries.settings import CitationSettings
from hven.plugins.entries.work_titles import WorkTitle, WorkTitleStore, parse_ads_answer
from hven.site import Site
from hven.site.store._package_tables import are_package_tables_usable

WORK = "2016A&A...589A.112C"
DOCUMENT = {
    "identifier": [WORK, "10.1051/0004-6361/201527986", "arXiv:1604.00001"],
    "title": ["A <SUB>catalogue</SUB> of <script>stars</script> &amp; discs"],
    "first_author": "Chelli, A.",
    "year": "2016",
}
PAST = "2020-01-01T00:00:00Z"


class FakeAds(ThreadingHTTPServer):
    """Answers searches with the documents that it has; `fault` replaces an answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FakeAdsHandler)
        self.fault: tuple[int, bytes] | None = None
        self.queries: list[dict[str, Any]] = []
        self.tokens: set[str] = set()


class FakeAdsHandler(BaseHTTPRequestHandler):
    server: FakeAds

    def do_GET(self) -> None:
        self.server.queries.append(parse_qs(urlsplit(self.path).query))
        self.server.tokens.add(self.headers["authorization"])
        body = json.dumps({"response": {"docs": [DOCUMENT]}}).encode()
        status, body = self.server.fault or (200, body)
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def ads() -> Iterator[FakeAds]:
    with FakeAds() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def cited_site(ads: FakeAds, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, dict[str, Person]]]:
    with (
        pytest.MonkeyPatch.context() as patch,
        open_entry_site(tmp_path_factory.mktemp("works"), allow_private=True) as (site, _, people),
    ):
        patch.setenv("ADS_TOKEN", "secret-of-ads")
        section = CitationSettings(token="$ADS_TOKEN", url=f"http://127.0.0.1:{ads.server_address[1]}/query", seconds=5)
        site.settings = replace(site.settings, brought={**site.settings.brought, "citations": section})
        yield site, people


@pytest.fixture
def row(cited_site: tuple[Site, dict[str, Person]]) -> str:
    people = cited_site[1]
    pushed = people["mia"].send("/push/bad.stars", {"name": "cited", "mag": 3.5})
    return f"[{json.loads(pushed.body)['ids'][0]}]"


@pytest.fixture(autouse=True)
def _forget(cited_site: tuple[Site, dict[str, Person]], ads: FakeAds) -> Iterator[None]:
    ads.fault = None
    ads.queries.clear()
    yield
    wait_for_the_thread()
    store = cited_site[0].store.get_or_create(WorkTitleStore)
    with store._database.begin_write() as connection:
        connection.execute(work_titles.cited_works.delete())


def wait_for_the_thread() -> None:
    """Wait until no thread asks ADS."""
    assert work_titles._running.acquire(timeout=60)
    work_titles._running.release()


def comment(people: dict[str, Person], row: str, text: str) -> dict[str, Any]:
    return read_entry(people["mia"].send("/comments/bad.stars", {"row": json.loads(row), "text": text}), 201)


def test_a_bibcode_gets_its_title_once(cited_site: tuple[Site, dict[str, Person]], ads: FakeAds, row: str) -> None:
    people = cited_site[1]
    written = comment(people, row, f"See {WORK}, and 10.1051/0004-6361/201527986.")
    assert [work["title"] for work in written["works"]] == ["", ""], "the answer does not wait for ADS"
    read_entry(people["mia"].send("/comments/bad.stars", {"number": written["number"], "action": "accept"}))
    wait_for_the_thread()
    path = f"/comments/bad.stars?row={row.replace('[', '%5B').replace(']', '%5D')}"
    (shown,) = read_entry(people["mia"].get(path))["comments"]
    title = "A catalogue of stars & discs"
    assert [(work["id"], work["title"], work["author"], work["year"]) for work in shown["works"]] == [
        (WORK, title, "Chelli, A.", "2016"), ("10.1051/0004-6361/201527986", title, "Chelli, A.", "2016"),
    ]  # fmt: skip
    page = people[""].show(path).text
    assert "<i>A catalogue of stars &amp; discs</i> (Chelli, A., 2016)" in page
    wait_for_the_thread()
    assert len(ads.queries) == 1, "its answer is kept"
    assert f'"{WORK}"' in ads.queries[0]["q"][0]
    assert ads.tokens == {"Bearer secret-of-ads"}
    assert "secret-of-ads" not in page


def test_an_entry_shows_the_works_of_its_values(cited_site: tuple[Site, dict[str, Person]], ads: FakeAds) -> None:
    anna = cited_site[1]["anna"]
    entry = anna.submit({"name": "cited star", "note": f"from {WORK}"})
    wait_for_the_thread()
    path = f"/entries/bad.stars/{entry['number']}"
    assert read_entry(anna.get(path))["works"][0]["title"] == "A catalogue of stars & discs"
    assert "(Chelli, A., 2016)" in anna.show(path).text


@pytest.mark.parametrize("fault", [(500, b""), (401, b"{}"), (200, b"<html>"), (200, b"[]"), (200, b'{"response": {"docs": [1]}}'), (200, b"x" * 2_000_000), (302, b"")])  # fmt: skip
def test_a_fault_of_ads_fails_no_page(
    cited_site: tuple[Site, dict[str, Person]], ads: FakeAds, row: str, fault: tuple[int, bytes]
) -> None:
    site, people = cited_site
    ads.fault = fault
    written = comment(people, row, f"See {WORK}; {fault!r:.60}")
    for _ in range(3):
        wait_for_the_thread()
        assert people["mia"].show("/comments/bad.stars").status == 200
    wait_for_the_thread()
    assert sum(WORK in query["q"][0] for query in ads.queries) == 1, "ADS is asked again after an hour"
    ads.fault = None
    store = site.store.get_or_create(WorkTitleStore)
    with store._database.begin_write() as connection:
        connection.execute(work_titles.cited_works.update().values(next_try=PAST))
    people["mia"].get("/comments/bad.stars")
    wait_for_the_thread()
    assert store.find_titles([WORK])[WORK].year == "2016"
    people["mia"].send("/comments/bad.stars", {"number": written["number"], "action": "withdraw"})


def test_without_a_server_pages_are_as_quick(cited_site: tuple[Site, dict[str, Person]], row: str) -> None:
    site, people = cited_site
    before = site.settings
    section = CitationSettings(token="$ADS_TOKEN", url="http://127.0.0.1:1/query", seconds=60)
    site.settings = replace(before, brought={**before.brought, "citations": section})
    try:
        assert comment(people, row, f"offline {WORK}")["works"][0]["title"] == ""
        wait_for_the_thread()
        assert site.store.get_or_create(WorkTitleStore).find_titles([WORK]) == {}
    finally:
        site.settings = before


def test_nothing_is_sent_without_a_token(cited_site: tuple[Site, dict[str, Person]], ads: FakeAds, row: str) -> None:
    site, people = cited_site
    before = site.settings
    section = replace(before.brought["citations"], token=None)
    site.settings = replace(before, brought={**before.brought, "citations": section})
    try:
        comment(people, row, f"private {WORK}")
        people["mia"].show("/comments/bad.stars")
        time.sleep(0.2)
        assert ads.queries == []
    finally:
        site.settings = before


def test_a_killed_request_is_made_again_after_an_hour(cited_site: tuple[Site, dict[str, Person]]) -> None:
    store = cited_site[0].store.get_or_create(WorkTitleStore)
    assert store.claim_missing_works([WORK, WORK]) == [WORK]
    assert store.claim_missing_works([WORK]) == [], "another process asks now"
    with store._database.begin_write() as connection:
        connection.execute(work_titles.cited_works.update().values(next_try=PAST))
    assert store.claim_missing_works([WORK]) == [WORK]
    store.store_titles([WORK, "10.1/x"], {WORK: WorkTitle(title="T")})
    assert store.claim_missing_works([WORK, "10.1/x"]) == []


def test_titles_are_plain_texts() -> None:
    document = {
        "identifier": ["doi:10.1/X", "other"],
        "title": ["a < b <i>and</i>\n &lt;c&gt; " + "x" * 600],
        "year": 2020,
    }
    titles = parse_ads_answer(json.dumps({"response": {"docs": [document, {}]}}).encode(), ["10.1/x"])
    assert titles["10.1/x"].title.startswith("a < b and <c> xxx")
    assert len(titles["10.1/x"].title) == work_titles.MAX_TITLE_CHARACTERS
    assert titles["10.1/x"].year == "2020"
    with pytest.raises(SourceError):
        parse_ads_answer(b"null", [])


def test_a_state_of_the_version_before_gets_the_table(tmp_path: Path) -> None:
    """The tables had format 1, without titles; programs of that version still read the new state."""
    with open_entry_site(tmp_path) as (site, _, people):
        people["anna"].submit({"name": "kept"})
        settings = site.settings
        with site.store.get_or_create(WorkTitleStore)._database.begin_write() as connection:
            connection.execute(sa.text("DROP TABLE cited_works"))
            old_value = json.dumps({"format": 1, "tables": ["entries", "entry_events", "row_comments"]})
            update = sa.text("UPDATE meta SET value = :value WHERE key = 'package entries'")
            assert connection.execute(update, {"value": old_value}).rowcount == 1
    with Site(settings) as site:
        store = site.store.get_or_create(WorkTitleStore)
        store.store_titles([WORK], {WORK: WorkTitle(title="T")})
        assert store.find_titles([WORK])[WORK].title == "T"
        assert len(site.store.get_or_create(EntryStore).list_entries(["bad.stars"])) == 1
        with store._database.begin_read() as connection:
            value = connection.execute(sa.text("SELECT value FROM meta WHERE key = 'package entries'")).scalar_one()
    assert are_package_tables_usable(value, old_value)
