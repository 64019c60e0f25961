"""``/changes/<table>``: what changed, for whom; pages, tags, states that are gone."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Answer, Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.ingest.sync.change_sets import list_change_sets
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL, DescriptorAccessPolicy
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_site_with_uningested_files

STARS = """
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: "a.csv"}
    primary: id
    columns: {id: int32, n: int32, name: string, inner: {type: string, hidden: true}}
  nameless:
    source: {kind: csv, files: "a.csv"}
    columns: {name: string}
  secret:
    access: private
    source: {kind: csv, files: "a.csv"}
    primary: id
    columns: {id: int32, n: int32}
"""

# id -> n (odd: hidden by the policy), name, inner
FIRST = {
    1: (0, "a", "x"),
    2: (0, "b", "x"),
    3: (0, "c", "x"),
    4: (1, "d", "x"),
    5: (1, "e", "x"),
    6: (1, "f", "x"),
    7: (0, "g", "x"),
}
SECOND = {
    1: (0, "A", "x"),
    2: (1, "b", "x"),
    4: (0, "d", "x"),
    5: (1, "E", "x"),
    7: (0, "g", "y"),
    8: (0, "h", "x"),
    9: (1, "i", "x"),
}
EVERYBODY = {(1, "changed", "name"), (2, "changed", "n"), (3, "removed", ""), (4, "changed", "n"), (5, "changed", "name"), (6, "removed", ""), (8, "added", ""), (9, "added", "")}  # fmt: skip
HALF = {(1, "changed", "name"), (2, "removed", ""), (3, "removed", ""), (4, "added", ""), (8, "added", "")}


def text(rows: dict[int, tuple[int, str, str]]) -> str:
    return "id,n,name,inner\n" + "".join(f"{key},{n},{name},{inner}\n" for key, (n, name, inner) in rows.items())


def list_changes(answer: Answer) -> set[tuple[int, str, str]]:
    assert answer.status == 200, answer.text
    return {(int(row["id"]), row["change"], row["columns"]) for row in csv.DictReader(io.StringIO(answer.text))}


def state(client: Client) -> str:
    return client.get("/changes/stars.main", RESPONSEFORMAT="csv").headers["hven-snapshot"]


class ChangedSite:
    """A site with two states, and who asks it."""

    def __init__(self, site: Site, path: Path) -> None:
        self.site, self.path = site, path
        self.all = Client(create_and_start_application(site))
        self.policies = build_odd_rows_hidden_policies("n")
        self.half = Client(create_and_start_application(site, policies=self.policies))
        self.owner = Client(
            create_and_start_application(site, policies=self.policies, identify_principal=lambda _: OWNER_PRINCIPAL)
        )
        ingest_collection(site, "stars")
        site.refresh_published_state()
        self.first, self.first_half = state(self.all), state(self.half)
        path.write_text(text(SECOND))

    def second(self, how: object) -> None:
        how(self.site, "stars")  # type: ignore[operator]
        self.site.refresh_published_state()


@pytest.fixture(scope="module", params=[sync_collection, ingest_collection], ids=["sync", "ingest"])
def changed_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChangedSite]:
    """Both states are kept; a full ingest leaves no change set."""
    directory = tmp_path_factory.mktemp("site")
    with open_site_with_uningested_files(directory, STARS, {"a.csv": text(FIRST)}, keep_snapshots=3) as site:
        found = ChangedSite(site, directory / "collections" / "stars" / "a.csv")
        found.second(request.param)
        yield found


def test_everybody_is_told_what_changed(changed_site: ChangedSite) -> None:
    assert (
        list_changes(changed_site.all.get("/changes/stars.main", since=changed_site.first, RESPONSEFORMAT="csv"))
        == EVERYBODY
    )
    assert (
        list_changes(changed_site.all.get("/changes/stars.main", since=state(changed_site.all), RESPONSEFORMAT="csv"))
        == set()
    )
    back = list_changes(
        changed_site.all.get(
            "/changes/stars.main", since=state(changed_site.all), until=changed_site.first, RESPONSEFORMAT="csv"
        )
    )
    turned = {"added": "removed", "removed": "added", "changed": "changed"}
    assert {(key, turned[kind]) for key, kind, _ in back} == {(key, kind) for key, kind, _ in EVERYBODY}


def test_the_feed_says_where_its_rows_are_from(changed_site: ChangedSite) -> None:
    for since in ({}, {"since": changed_site.first}):
        assert '<INFO name="title" value="Stars"/>' in changed_site.all.get("/changes/stars.main", **since).text


def test_who_sees_some_rows_is_told_of_these(changed_site: ChangedSite) -> None:
    assert (
        list_changes(changed_site.half.get("/changes/stars.main", since=changed_site.first_half, RESPONSEFORMAT="csv"))
        == HALF
    )
    assert (
        list_changes(changed_site.owner.get("/changes/stars.main", since=changed_site.first, RESPONSEFORMAT="csv"))
        == EVERYBODY
    )
    answer = changed_site.half.get("/changes/stars.main", since=changed_site.first_half)
    assert answer.headers["cache-control"].startswith("private")
    assert 'value="5"' in re.search(r'<INFO[^>]*name="changes"[^>]*', answer.text).group(0)  # type: ignore[union-attr]


def test_the_same_by_values_and_no_hidden_row_comes_with_them(changed_site: ChangedSite) -> None:
    answer = changed_site.half.get(
        "/changes/stars.main", since=changed_site.first_half, ROWS="values", RESPONSEFORMAT="csv"
    )
    rows = {int(row["id"]): row for row in csv.DictReader(io.StringIO(answer.text))}
    assert {key for key, _, _ in HALF} == set(rows)
    assert {key: (row["n"], row["name"]) for key, row in rows.items()} == {
        1: ("0", "A"),
        2: ("", ""),
        3: ("", ""),
        4: ("0", "d"),
        8: ("0", "h"),
    }
    assert "inner" not in answer.text.splitlines()[0]


def test_a_state_seen_under_other_rules_is_no_beginning(changed_site: ChangedSite) -> None:
    for asking, since in (
        (changed_site.half, changed_site.first),
        (changed_site.all, changed_site.first_half),
        (changed_site.half, changed_site.first_half[:-1]),
    ):
        answer = asking.get("/changes/stars.main", since=since)
        assert answer.status == 410
        assert "read the whole table" in answer.text
    # embargoes that end change what a policy says, and with it the name of the state
    third = Client(
        create_and_start_application(
            changed_site.site, policies=(DescriptorAccessPolicy(), *build_odd_rows_hidden_policies("id")[1:])
        )
    )
    assert third.get("/changes/stars.main", since=changed_site.first_half).status == 410


def test_times_are_states_too(changed_site: ChangedSite) -> None:
    events = changed_site.site.store.list_publication_events("stars")
    assert list_changes(changed_site.half.get("/changes/stars.main", since=events[-1].at, RESPONSEFORMAT="csv")) == HALF
    assert (
        list_changes(changed_site.all.get("/changes/stars.main", since=events[-1].run, RESPONSEFORMAT="csv"))
        == EVERYBODY
    )
    assert changed_site.all.get("/changes/stars.main", since="2001-01-01").status == 410
    assert changed_site.all.get("/changes/stars.main", since="yesterday").status == 400
    assert changed_site.all.get("/changes/stars.main", since="20010101T000000-0122").status == 410, (
        "an id, not a time in a zone"
    )


def test_pages_are_of_one_answer(changed_site: ChangedSite) -> None:
    path, found, pages = f"/changes/stars.main?since={changed_site.first}&MAXREC=3&RESPONSEFORMAT=csv", [], 0
    while path:
        address, _, asked = path.partition("?")
        answer = changed_site.all.ask("GET", address, asked.encode())
        found += [row["id"] for row in csv.DictReader(io.StringIO(answer.text))]
        pages += 1
        following = re.search(r'<([^>]+)>; rel="next"', answer.headers["link"])
        path = "" if following is None else "/" + following.group(1).split("/", 3)[3]
        assert not path or "until=" in path
    assert (pages, found) == (3, [str(key) for key in sorted(key for key, _, _ in EVERYBODY)])
    assert "OVERFLOW" in changed_site.all.get("/changes/stars.main", since=changed_site.first, MAXREC=3).text
    whole, most = (
        changed_site.all.get("/changes/stars.main", since=changed_site.first, RESPONSEFORMAT="csv", **more).text
        for more in ({}, {"MAXREC": 2**63 - 1})
    )
    assert whole == most
    assert (
        changed_site.all.get(
            "/changes/stars.main", since=changed_site.first, OFFSET=100, RESPONSEFORMAT="csv"
        ).text.count("\n")
        == 1
    )


def test_tags_outlive_what_is_published_elsewhere(changed_site: ChangedSite) -> None:
    answer = changed_site.all.get("/changes/stars.main", since=changed_site.first, until=state(changed_site.all))
    again = changed_site.all.ask(
        "GET",
        "/changes/stars.main",
        f"since={changed_site.first}".encode(),
        headers={"if-none-match": answer.headers["etag"]},
    )
    assert again.status == 304
    assert again.headers["hven-snapshot"] == answer.headers["hven-snapshot"]
    assert (
        changed_site.half.get("/changes/stars.main", since=changed_site.first_half).headers["etag"]
        != answer.headers["etag"]
    )


def test_formats(changed_site: ChangedSite) -> None:
    answer = json.loads(
        changed_site.all.get("/changes/stars.main", since=changed_site.first, RESPONSEFORMAT="json").body
    )
    assert len(answer["data"]) == len(EVERYBODY)
    assert (
        changed_site.all.post("/changes/stars.main", since=changed_site.first, RESPONSEFORMAT="csv").text.count("\n")
        == len(EVERYBODY) + 1
    )
    assert changed_site.all.ask("HEAD", "/changes/stars.main", f"since={changed_site.first}".encode()).status in {
        200,
        405,
    }


def test_tables_without_a_feed(changed_site: ChangedSite) -> None:
    for name in ("stars.nameless", "stars.secret", "stars.none", "tap_schema.tables", "ivoa.obscore"):
        assert changed_site.all.get(f"/changes/{name}").status == 404, name
    assert (
        changed_site.all.get("/changes/stars.secret").text.replace("secret", "none")[:200]
        == changed_site.all.get("/changes/stars.none").text[:200]
    )
    assert (
        changed_site.owner.get(
            "/changes/stars.secret", since=changed_site.site.store.list_publication_events("stars")[-1].at
        ).status
        == 200
    )


def test_when_snapshots_are_gone(tmp_path: Path) -> None:
    """Who sees all rows needs no old rows; of others it cannot be said what they saw."""
    with open_site_with_uningested_files(tmp_path, STARS, {"a.csv": text(FIRST)}, keep_snapshots=1) as site:
        made = ChangedSite(site, tmp_path / "collections" / "stars" / "a.csv")
        made.second(sync_collection)
        made.path.write_text(text(SECOND).replace("h,x", "H,x"))
        made.second(sync_collection)
        made.path.write_text(text(SECOND).replace("h,x", "HH,x"))
        made.second(sync_collection)
        assert list_changes(made.all.get("/changes/stars.main", since=made.first, RESPONSEFORMAT="csv")) == EVERYBODY
        answer = made.half.get("/changes/stars.main", since=made.first_half)
        assert answer.status == 410
        assert "request the feed without `since`" in answer.text
        for path in (tmp_path / "var").rglob("changes/stars.main/*.arrow"):
            path.unlink()
        assert Client(create_and_start_application(site)).get("/changes/stars.main", since=made.first).status == 410


def test_big_tables_are_not_compared_for_a_reader(changed_site: ChangedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hven.plugins.changes.change_feeds.MAX_COMPARED_ROWS", 10)
    kept = bool(list_change_sets(changed_site.site, "stars.main"))
    answer = Client(create_and_start_application(changed_site.site)).get(
        "/changes/stars.main", since=changed_site.first
    )
    assert answer.status == (200 if kept else 410)
    assert kept or "too large to compare" in answer.text
