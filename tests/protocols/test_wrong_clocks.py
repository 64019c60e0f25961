"""What a reader has already is told by what is published, never by the time: the clock may stand anywhere while rows are published."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest import _ingest_pipeline as steps
from hven.ingest.api.runs import ingest_collection
from hven.portal._views import page_formats as answers
from hven.site import Site
from hven.site.store import _database as database
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import load_core_fixtures

TRUE = datetime(2026, 11, 21, 12, tzinfo=UTC)
DESCRIPTOR = """\
collection: cat
title: t
files: [{files: notes.txt}]
tables:
  stars:
    primary: id
    position: [ra, dec]
    columns:
      id: {type: int32, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      v: {type: int32}
    source: {kind: csv, files: stars.csv}
"""
QUERY = "/tap/sync?LANG=ADQL&RESPONSEFORMAT=csv&QUERY=SELECT+v+FROM+cat.stars"
ADDRESSES = [
    QUERY,
    f"{QUERY}&ASOF=2027-01-01",
    "/cone/cat.stars?RA=10&DEC=10&SR=1&RESPONSEFORMAT=csv",
    "/collections/cat",
    "/collections/cat/stars/rows",
    "/collections/cat/files/notes.txt",
    *(address.format(collection="cat", table="cat.stars") for address in load_core_fixtures("PUBLICATION_ADDRESSES")),
]
DAY = timedelta(days=1)
FILED = TRUE - 30 * DAY  # the time that every file claims to be of, as files from an archive do


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Set the clock: it stands at so much after the true time."""
    at = [TRUE]

    class Set(datetime):
        @classmethod
        def now(cls, tz=None):
            return at[0].astimezone(tz)

    for module in (database, steps, answers):
        monkeypatch.setattr(module, "datetime", Set)
    return lambda off: at.__setitem__(0, TRUE + off)


def publish(site: Site, value: int) -> None:
    place = site.settings.collections_directory / "cat"
    for name, text in (("stars.csv", f"id,ra,dec,v\n1,10,10,{value}\n"), ("notes.txt", f"note {value}\n")):
        (place / name).write_text(text)
        os.utime(place / name, (FILED.timestamp(), FILED.timestamp()))
    assert ingest_collection(site, "cat").published
    site.refresh_published_state()


def test_nobody_is_told_that_rows_are_the_same_which_are_not(
    tmp_path: Path, clock: Callable[[timedelta], None]
) -> None:
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, {"stars.csv": "", "notes.txt": ""}) as site:
        client = Client(create_and_start_application(site))
        known: dict[str, dict[str, bytes]] = {address: {} for address in ADDRESSES}
        dates = [format_datetime(moment, usegmt=True) for moment in (FILED, TRUE - DAY, TRUE, TRUE + 365 * DAY)]
        for value, off in enumerate([0 * DAY, -DAY, DAY, 0 * DAY]):  # the last stands where the first stood
            clock(off)
            publish(site, value)
            for address, tags in known.items():
                given = {"if-modified-since": dates[value]} | ({"if-none-match": ", ".join(tags)} if tags else {})
                answer = client.ask("GET", address, headers=given)
                assert answer.status == 200, (address, value, answer.text)
                assert answer.body not in tags.values(), (address, value)
                tags[answer.headers["etag"]] = answer.body
                assert len(tags) == value + 1, address
                assert client.ask("GET", address, headers={"if-none-match": answer.headers["etag"]}).status == 304, (
                    address
                )
        assert client.get(QUERY).body == b"v\r\n3\r\n"
        clock(-DAY)
        site.store.roll_back("cat")
        site.refresh_published_state()
        assert client.ask("GET", QUERY, headers={"if-none-match": next(reversed(known[QUERY]))}).body == b"v\r\n2\r\n"


def test_no_part_of_a_file_is_put_to_another_of_the_same_date(tmp_path: Path) -> None:
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, {"stars.csv": "", "notes.txt": ""}) as site:
        client = Client(create_and_start_application(site))
        publish(site, 1)
        first = client.get("/collections/cat/files/notes.txt")
        publish(site, 2)
        for seen in ("etag", "last-modified"):
            answer = client.ask(
                "GET",
                "/collections/cat/files/notes.txt",
                headers={"range": "bytes=5-", "if-range": first.headers[seen]},
            )
            assert (answer.status, answer.body) == (200, b"note 2\n"), seen
