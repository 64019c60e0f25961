"""The news of a collection: a valid Atom feed with stable ids, and nothing that its reader may not know."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from asgi_client import Client
from lxml import etree

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_site_with_uningested_files

ATOM = "{http://www.w3.org/2005/Atom}"
STARS = """
collection: stars
title: Stars & <planets>
licence: CC-BY-4.0
creators: [{name: Tycho Brahe}]
tables:
  main:
    source: {kind: csv, files: "a.csv"}
    primary: id
    columns: {id: int32, n: int32}
  secret:
    access: private
    source: {kind: csv, files: "b.csv"}
    primary: id
    columns: {id: int32}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three publications: the first one, one of the open table, one of the private table alone; then the open one is set back."""
    directory = tmp_path_factory.mktemp("news")
    with open_site_with_uningested_files(
        directory, STARS, {"a.csv": "id,n\n1,1\n2,2\n3,3\n", "b.csv": "id\n1\n3\n"}, keep_snapshots=5
    ) as made:
        place = directory / "collections" / "stars"
        ingest_collection(made, "stars")
        (place / "a.csv").write_text("id,n\n1,2\n3,3\n4,4\n5,5\n")
        sync_collection(made, "stars")
        (place / "b.csv").write_text("id\n2\n3\n")
        sync_collection(made, "stars")
        made.refresh_published_state()
        yield made


def read(client: Client) -> etree._Element:
    answer = client.get("/collections/stars/changes.atom")
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "application/atom+xml; charset=utf-8"
    return etree.fromstring(answer.body)


def entries(feed: etree._Element) -> list[str]:
    return [entry.findtext(f"{ATOM}content") or "" for entry in feed.iter(f"{ATOM}entry")]


def check_feed(feed: etree._Element) -> None:
    """RFC 4287 sections 4.1.1 and 4.1.2: what must be there, once."""
    assert feed.tag == f"{ATOM}feed"
    known = {"id", "title", "updated", "author", "link", "entry", "rights", "generator", "content"}
    ids = []
    for element in (feed, *feed.iter(f"{ATOM}entry")):
        assert {child.tag.removeprefix(ATOM) for child in element} <= known
        for name in ("id", "title", "updated"):
            assert len(element.findall(ATOM + name)) == 1, name
        assert dt.datetime.fromisoformat(element.findtext(f"{ATOM}updated")).tzinfo is not None  # type: ignore[arg-type]
        ids.append(element.findtext(f"{ATOM}id"))
        links = [(link.get("rel"), link.get("type")) for link in element.findall(f"{ATOM}link")]
        assert links.count(("alternate", "text/html")) == 1
        assert all(urlsplit(link.get("href")).scheme == "http" for link in element.findall(f"{ATOM}link"))
    assert len(set(ids)) == len(ids)
    assert feed.findall(f"{ATOM}author/{ATOM}name")
    assert [link.get("rel") for link in feed.findall(f"{ATOM}link")] == ["self", "alternate"]
    times = [entry.findtext(f"{ATOM}updated") for entry in feed.iter(f"{ATOM}entry")]
    assert times == sorted(times, reverse=True)
    assert feed.findtext(f"{ATOM}updated") == times[0]


def test_what_everybody_is_told(site: Site) -> None:
    feed = read(Client(create_and_start_application(site)))
    check_feed(feed)
    assert entries(feed) == ["main: 2 rows added, 1 changed, 1 removed", "main: 3 rows"]
    assert feed.findtext(f"{ATOM}rights") == "CC-BY-4.0"
    assert feed.findtext(f"{ATOM}title") == "Stars & <planets>: what changed"


def test_the_owner_is_told_of_private_tables(site: Site) -> None:
    feed = read(Client(create_and_start_application(site, identify_principal=lambda _: OWNER_PRINCIPAL)))
    check_feed(feed)
    assert entries(feed) == [
        "secret: 1 row added, 0 changed, 1 removed",
        "main: 2 rows added, 1 changed, 1 removed",
        "main: 3 rows\nsecret: 2 rows",
    ]


def test_counts_are_not_told_to_who_sees_some_rows(site: Site) -> None:
    assert entries(read(Client(create_and_start_application(site, policies=build_odd_rows_hidden_policies("n"))))) == [
        "main: published",
        "main: published",
    ]


def test_entries_lead_to_what_changed(site: Site) -> None:
    client = Client(create_and_start_application(site))
    links = [link.get("href") for link in read(client).iter(f"{ATOM}link") if link.get("rel") == "related"]
    assert len(links) == 1
    address = urlsplit(links[0])
    assert client.ask("GET", address.path, f"{address.query}&RESPONSEFORMAT=csv".encode()).text.count("\n") == 1 + 4


def test_ids_stay_and_nothing_new_is_not_sent_again(site: Site) -> None:
    client = Client(create_and_start_application(site))
    answer = client.get("/collections/stars/changes.atom")
    again = Client(create_and_start_application(site)).ask(
        "GET", "/collections/stars/changes.atom", headers={"if-none-match": answer.headers["etag"]}
    )
    assert again.status == 304
    ids = [entry.findtext(f"{ATOM}id") for entry in etree.fromstring(answer.body).iter(f"{ATOM}entry")]
    elsewhere = client.ask("GET", "/collections/stars/changes.atom", headers={"host": "other.example"})
    assert [entry.findtext(f"{ATOM}id") for entry in etree.fromstring(elsewhere.body).iter(f"{ATOM}entry")] == ids


def test_the_page_links_it_and_others_have_none(site: Site) -> None:
    client = Client(create_and_start_application(site))
    page = client.ask("GET", "/collections/stars", headers={"accept": "text/html"}).text
    assert '<link rel="alternate" type="application/atom+xml"' in page
    assert "/collections/stars/changes.atom" in page
    assert client.get("/collections/none/changes.atom").status == 404


def test_rss_says_the_same(site: Site) -> None:
    client = Client(create_and_start_application(site))
    answer = client.get("/collections/stars/changes.rss")
    assert answer.headers["content-type"] == "application/rss+xml; charset=utf-8"
    channel = etree.fromstring(answer.body).find("channel")
    assert channel is not None
    items = channel.findall("item")
    assert [one.findtext("description") for one in items] == entries(read(client))
    assert [one.findtext("guid") for one in items] == [
        one.findtext(f"{ATOM}id") for one in read(client).iter(f"{ATOM}entry")
    ]
    assert all(urlsplit(one.findtext("link") or "").scheme == "http" for one in (channel, *items))
    assert all(parsedate_to_datetime(one.findtext("pubDate") or "").tzinfo is not None for one in items)
    again = client.ask("GET", "/collections/stars/changes.rss", headers={"if-none-match": answer.headers["etag"]})
    assert again.status == 304
    page = client.ask("GET", "/collections/stars", headers={"accept": "text/html"}).text
    assert '<link rel="alternate" type="application/rss+xml"' in page
    assert client.get("/collections/none/changes.rss").status == 404


def test_set_back(tmp_path: Path) -> None:
    with open_site_with_uningested_files(
        tmp_path, STARS, {"a.csv": "id,n\n1,1\n", "b.csv": "id\n1\n"}, keep_snapshots=5
    ) as made:
        ingest_collection(made, "stars")
        (tmp_path / "collections" / "stars" / "a.csv").write_text("id,n\n1,2\n")
        sync_collection(made, "stars")
        made.store.roll_back("stars")
        made.refresh_published_state()
        assert entries(read(Client(create_and_start_application(made)))) == [
            "main: rolled back",
            "main: 0 rows added, 1 changed, 0 removed",
            "main: 1 row",
        ]
