"""`sync_collection`: what changed in the source is published, and nothing else."""

from __future__ import annotations

import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model.errors import DataError
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

STARS = """
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: "*.csv"}
    primary: id
    columns: {id: int32, name: string, mag: float64}
"""


def rows(site, text="SELECT * FROM stars.main ORDER BY id"):
    with query.run_query(text, OWNER_PRINCIPAL, site=site) as result:
        return [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]


@pytest.fixture
def stars(tmp_path):
    with open_site_with_uningested_files(tmp_path, STARS, {"a.csv": "id,name,mag\n1,a,1\n2,b,2\n3,c,3\n"}) as site:
        ingest_collection(site, "stars")
        yield site, tmp_path / "collections" / "stars" / "a.csv"


def test_nothing_changed(stars):
    site, _ = stars
    before = site.store.read_published_snapshot_ids()
    report = sync_collection(site, "stars")
    assert (report.has_changes, report.published) == (False, False)
    assert site.store.read_published_snapshot_ids() == before
    assert [run.kind for run in site.store.runs.list_runs("stars")] == ["sync", "ingest"]


def test_rows_come_go_and_change(stars):
    site, path = stars
    path.write_text("id,name,mag\n1,a,1\n3,c,3.5\n4,d,4\n")
    tried = sync_collection(site, "stars", dry_run=True)
    assert not tried.published
    assert len(rows(site)) == 3
    report = sync_collection(site, "stars")
    change = report.changes["stars.main"]
    assert (change.added, change.removed, change.changed, change.columns) == (1, 1, 1, {"mag": 1})
    assert {"change": "changed", "key": {"id": 3}, "before": {"mag": 3.0}, "after": {"mag": 3.5}} in change.samples
    assert rows(site) == [(1, "a", 1.0), (3, "c", 3.5), (4, "d", 4.0)]


def test_guards(stars):
    site, path = stars
    path.write_text("id,name,mag\n" + "".join(f"{n},x,1\n" for n in range(1, 101)))
    sync_collection(site, "stars")
    path.write_text("id,name,mag\n" + "".join(f"{n},x,1\n" for n in range(1, 70)))
    with pytest.raises(DataError, match=r"31 of 100 rows of stars\.main would be removed \(the limit is 10%\)"):
        sync_collection(site, "stars")
    assert len(rows(site)) == 100
    assert sync_collection(site, "stars", accept_changes=True).changes["stars.main"].removed == 31
    assert len(rows(site)) == 69


def test_only_rows_that_changed_are_mapped(stars):
    site, path = stars
    path.write_text("id,name,mag\n" + "".join(f"{n},x,1\n" for n in range(1, 1001)))
    sync_collection(site, "stars")
    path.write_text("id,name,mag\n" + "".join(f"{n},x,{2 if n == 7 else 1}\n" for n in range(2, 1002)))
    report = sync_collection(site, "stars")
    change = report.changes["stars.main"]
    assert (change.read, change.mapped, change.added, change.removed, change.changed, change.why) == (
        1000,
        2,
        1,
        1,
        1,
        None,
    )
    assert rows(site, "SELECT COUNT(*), SUM(mag) FROM stars.main") == [(1000, 1001.0)]
    again = sync_collection(site, "stars")
    assert (again.changes["stars.main"].mapped, again.published) == (0, False)
