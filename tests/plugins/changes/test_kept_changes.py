"""Change sets that sites keep, and their feed: what one publication changed, what several did, and what is told when they are gone."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import change_sets, sync_collection
from hven.ingest.sync.change_sets import CHANGE_COLUMN, CHANGED_COLUMNS_COLUMN
from hven.model.errors import NotFoundError
from hven.plugins.changes import change_feeds
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files

STARS = """
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: "a.csv"}
    primary: id
    columns: {id: int32, name: string, mag: float64}
"""


def list_changes(rows: pa.Table) -> list[tuple[int, str, list[str] | None]]:
    return sorted((row["id"], row[CHANGE_COLUMN], row[CHANGED_COLUMNS_COLUMN]) for row in rows.to_pylist())


def find_changes_to_now(site: Site, since: str) -> pa.Table:
    published_snapshot = site.store.read_published_snapshot_ids()[1]["stars.main"]
    return change_feeds.find_changes_between(site, "stars.main", since, published_snapshot)


def test_each_publication_leaves_one(tmp_path: Path) -> None:
    with open_site_with_uningested_files(
        tmp_path, STARS, {"a.csv": "id,name,mag\n1,a,1\n2,b,2\n3,c,3\n"}, keep_snapshots=2
    ) as site:
        path = tmp_path / "collections" / "stars" / "a.csv"
        ingest_collection(site, "stars")
        first = site.store.read_published_snapshot_ids()[1]["stars.main"]
        ids = [first]
        for text in ("1,a,9\n2,b,2\n3,c,3\n4,d,4", "1,z,9\n3,c,3\n4,d,5", "1,z,1\n2,b,2\n3,c,3\n5,e,5"):
            path.write_text(f"id,name,mag\n{text}\n")
            sync_collection(site, "stars")
            ids.append(site.store.read_published_snapshot_ids()[1]["stars.main"])
        assert [one.after for one in change_sets.list_change_sets(site, "stars.main")] == ids[:0:-1]
        assert list_changes(find_changes_to_now(site, ids[2])) == [
            (1, "changed", ["mag"]),
            (2, "added", []),
            (4, "removed", []),
            (5, "added", []),
        ]
        # the snapshots are pruned, the change sets lead back all the same; row 2 went and came back
        whole = find_changes_to_now(site, first)
        assert list_changes(whole.filter(pa.compute.not_equal(whole["id"], 2))) == [
            (1, "changed", ["mag", "name"]),
            (5, "added", []),
        ]
        assert whole.filter(pa.compute.equal(whole["id"], 2)).to_pylist() == [
            {"id": 2, CHANGE_COLUMN: "changed", CHANGED_COLUMNS_COLUMN: None}
        ]
        assert find_changes_to_now(site, ids[3]).num_rows == 0
        site.store.roll_back("stars")
        assert list_changes(find_changes_to_now(site, ids[3])) == [
            (1, "changed", ["mag"]),
            (2, "removed", []),
            (4, "added", []),
            (5, "removed", []),
        ]
        with pytest.raises(NotFoundError, match=r"the changes to stars\.main since gone are no longer kept"):
            find_changes_to_now(site, "gone")
