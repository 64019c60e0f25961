"""Watches tell only what their account may see at the time of delivery."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from notification_site import MailServer, WebhookServer
from watch_site import STARS, WatchSite, write_settings

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.plugins.notifications.recipients import RecipientRights
from hven.plugins.watches.visible_matches import select_visible_rows
from hven.site import Site

DESCRIPTOR = """\
collection: night
tables:
  main:
    source: {{kind: csv, file: rows.csv}}
    primary: id
    access: {access}
    columns: {{id: int32, pi: string, inner: {{type: string, hidden: true}}}}
"""
OWN_ROWS = "reader in (pi)"


class NightSite(WatchSite):
    """A site whose rows belong to people."""

    def ingest(self, rows: str, access: str = OWN_ROWS) -> None:
        folder = self.site.settings.directory / "collections" / "night"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "night.yaml").write_text(DESCRIPTOR.format(access=access))
        lines = [f"{line},x" for line in rows.split()]
        (folder / "rows.csv").write_text("\n".join(["id,pi,inner", *lines]) + "\n")
        ingest_collection(self.site, "night")
        self.site.refresh_published_state()


@pytest.fixture
def night(tmp_path: Path, mail_server: MailServer) -> Iterator[NightSite]:
    (tmp_path / "collections").mkdir()
    write_settings(tmp_path, mail_server.port)
    with Site(load_settings(tmp_path, {})) as opened_site:
        night_site = NightSite(opened_site)
        for name in ("anna", "mia"):
            opened_site.store.users.add_account(name)
        night_site.ingest("1,mia 2,anna")
        yield night_site


def test_a_removed_account_gets_nothing(site: WatchSite, webhook_server: WebhookServer) -> None:
    watch = site.watch("mia", channel="webhook", webhook=webhook_server.url)
    site.publish([*STARS, (4, 1.0, 1.0, 1.0, "x")])
    site.match()
    site.site.store.users.remove_account("mia")
    site.deliver()
    assert webhook_server.calls == []
    assert site.find_matches(watch)[0].state == "dropped"


def test_accounts_are_told_of_their_own_rows(night: NightSite) -> None:
    watches = {name: night.watch(name, table="night.main", changes="all") for name in ("anna", "mia")}
    searches = {name: night.watch(name, query="SELECT * FROM night.main WHERE id > 2") for name in ("anna", "mia")}
    rows = night.watch("mia", table="night.main", row=["[3]", "[4]"])
    night.ingest("1,mia 2,anna 3,mia 4,anna 5,nobody")
    night.match()
    for each in (watches, searches):
        assert {name: night.find_rows(watch) for name, watch in each.items()} == {
            "anna": [("[4]", "new")],
            "mia": [("[3]", "new")],
        }
    assert night.find_rows(rows) == [("[3]", "new")]
    night.ingest("1,anna 2,anna 3,mia 4,anna 5,nobody")
    night.match()
    assert night.find_rows(watches["anna"]) == [("[4]", "new"), ("[1]", "new")]
    assert night.find_rows(watches["mia"]) == [("[3]", "new"), ("[1]", "gone")]


def test_a_right_to_a_row_ends_before_delivery(night: NightSite, webhook_server: WebhookServer) -> None:
    watch = night.watch("mia", table="night.main", channel="webhook", webhook=webhook_server.url)
    night.ingest("1,mia 2,anna 3,mia 4,mia")
    night.match()
    assert night.find_rows(watch) == [("[3]", "new"), ("[4]", "new")]
    night.ingest("1,mia 2,anna 3,anna 4,mia")
    night.deliver()
    ((_, body),) = webhook_server.calls
    assert b"[4]" in body
    assert b"[3]" not in body
    assert b'{"new": 1}' in body, "the number of rows does not tell of hidden ones"
    page = night.open_browser("mia").show(f"/watches/{watch.name}").text
    assert "[4]" in page
    assert "[3]" not in page


def test_a_table_becomes_private_before_delivery(night: NightSite, webhook_server: WebhookServer) -> None:
    watch = night.watch("mia", table="night.main", channel="webhook", webhook=webhook_server.url)
    mia, nobody = night.open_browser("mia"), night.open_browser()
    feed = mia.read(f"/watches/{watch.name}")["feed"]
    path = feed[feed.index("/watches/") :]
    night.ingest("1,mia 2,anna 3,mia")
    night.match()
    assert "[3]" in nobody.show(path).text, "the key in the address is that of mia's feed"
    night.ingest("1,mia 2,anna 3,mia 4,mia", access="private")
    night.deliver()
    assert webhook_server.calls == []
    assert night.find_matches(watch)[0].state == "dropped"
    assert mia.read(f"/watches/{watch.name}")["matches"] == []
    assert "[3]" not in nobody.show(path).text
    night.match()
    assert len(night.find_matches(watch)) == 1, "what comes after the right has ended is not matched"
    assert mia.post("/watches", {"TABLE": "night.main"}).status == 404


def test_a_hidden_column_cannot_be_searched(night: NightSite) -> None:
    answer = night.open_browser("mia").post("/watches", {"QUERY": "SELECT * FROM night.main WHERE inner = 'x'"})
    assert answer.status == 400


def test_positions_that_are_hidden_later_are_not_shown(site: WatchSite, webhook_server: WebhookServer) -> None:
    watch = site.watch(targets="10 20", radius=1, channel="webhook", webhook=webhook_server.url)
    site.publish([*STARS, (4, 10.2, 20.1, 8.0, "delta")])
    site.match()
    table = site.site.get_published_state().tables_by_name["stars.main"].table
    columns = tuple(replace(column, hidden=column.name in {"ra", "dec"}) for column in table.columns)
    site.publish([*STARS, (4, 10.2, 20.1, 8.0, "delta")], columns=columns)
    site.deliver()
    ((_, body),) = webhook_server.calls
    assert json.loads(body)["data"]["rows"][0] | {"url": ""} == {
        "key": "[4]",
        "change": "new",
        "ra": None,
        "dec": None,
        "url": "",
    }
    document = site.open_browser("anna").read(f"/watches/{watch.name}")
    assert "10.2" not in json.dumps(document["matches"])


def test_a_position_that_the_reader_does_not_see_any_more(night: NightSite) -> None:
    watch = night.watch("mia", table="night.main", changes="all")
    night.ingest("1,mia 2,anna 3,mia")
    night.match()
    (match,) = night.find_matches(watch)
    told = match.with_rows([[*row[:2], 10.2, 20.1] for row in match.rows], match.counts)
    principal = RecipientRights(night.site).find_principal("mia")
    assert principal is not None
    (visible_match,) = select_visible_rows(night.site, principal, "night.main", [told])
    assert visible_match.rows == [["[3]", "new", None, None]], "the table has no position now"
