"""Entries and comments with the system state in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from entry_site import STAR, make_name, open_entry_site, query_stars, read_entry

from hven.plugins.entries.comment_store import CommentStore
from hven.plugins.entries.entry_store import EntryStore
from postgres_cluster import run_cluster


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with run_cluster() as found:
        yield found.url


def test_entries_and_comments_in_postgresql(database: str, tmp_path: Path) -> None:
    with open_entry_site(tmp_path, store=database.replace("://", "+psycopg://")) as (site, client, people):
        name = make_name()
        entry = read_entry(people["mia"].take(people["anna"].submit({**STAR, "name": name}), "accept"))
        assert query_stars(client, "mag", name) == [["0.03"]]
        assert people["max"].take(entry, "refuse", reason="no").status == 409
        row = json.loads(entry["row"])
        correction = people["bob"].submit({"mag": 5}, row=row)
        read_entry(people["mia"].take(correction, "accept"))
        assert query_stars(client, "mag", name) == [["5"]]
        versions = read_entry(people["mia"].get(f"/entries/bad.stars?row=%5B{row[0]}%5D"))["entries"]
        assert [version["version"] for version in versions] == [2, 1]
        comment = read_entry(people["anna"].send("/comments/bad.stars", {"row": row, "text": "x \0 \ud83d\ude00"}), 201)
        decision = {"number": comment["number"], "action": "accept"}
        assert read_entry(people["mia"].send("/comments/bad.stars", decision))["state"] == "accepted"
        assert len(read_entry(people[""].get(f"/comments/bad.stars?row=%5B{row[0]}%5D"))["comments"]) == 1
        for store in (EntryStore, CommentStore):
            site.store.get_or_create(store).remove_author_data("anna")
        assert read_entry(people["mia"].get("/entries/bad.stars"))["entries"][-1]["author"] == ""
