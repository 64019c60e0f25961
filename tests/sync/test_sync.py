"""`sync`: what changed in the source is published, and nothing else."""

from __future__ import annotations

import pytest

from hven import query
from hven.ingest import ingest
from hven.ingest.sync import sync
from hven.model.errors import DataError
from hven.site.auth._permit import OWNER
from hven.testing.site import site_with

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
    with query.run(text, OWNER, site=site) as result:
        return [tuple(row.values()) for batch in result.batches() for row in batch.to_pylist()]


@pytest.fixture
def stars(tmp_path):
    with site_with(tmp_path, STARS, {"a.csv": "id,name,mag\n1,a,1\n2,b,2\n3,c,3\n"}) as site:
        ingest(site, "stars")
        yield site, tmp_path / "collections" / "stars" / "a.csv"


def test_nothing_changed(stars):
    site, _ = stars
    before = site.store.pointers()
    report = sync(site, "stars")
    assert (report.changed, report.published) == (False, False)
    assert site.store.pointers() == before
    assert [run.kind for run in site.store.runs.of("stars")] == ["sync", "ingest"]


def test_rows_come_go_and_change(stars):
    site, path = stars
    path.write_text("id,name,mag\n1,a,1\n3,c,3.5\n4,d,4\n")
    tried = sync(site, "stars", dry_run=True)
    assert not tried.published
    assert len(rows(site)) == 3
    report = sync(site, "stars")
    change = report.changes["stars.main"]
    assert (change.added, change.removed, change.changed, change.columns) == (1, 1, 1, {"mag": 1})
    assert {"change": "changed", "key": {"id": 3}, "before": {"mag": 3.0}, "after": {"mag": 3.5}} in change.samples
    assert rows(site) == [(1, "a", 1.0), (3, "c", 3.5), (4, "d", 4.0)]


def test_guards(stars):
    site, path = stars
    path.write_text("id,name,mag\n" + "".join(f"{n},x,1\n" for n in range(1, 101)))
    sync(site, "stars")
    path.write_text("id,name,mag\n" + "".join(f"{n},x,1\n" for n in range(1, 70)))
    with pytest.raises(DataError, match=r"31 of 100 rows of stars\.main would be removed, more than 10%"):
        sync(site, "stars")
    assert len(rows(site)) == 100
    assert sync(site, "stars", accept=True).changes["stars.main"].removed == 31
    assert len(rows(site)) == 69


def test_only_rows_that_changed_are_mapped(stars):
    site, path = stars
    path.write_text("id,name,mag\n" + "".join(f"{n},x,1\n" for n in range(1, 1001)))
    sync(site, "stars")
    path.write_text("id,name,mag\n" + "".join(f"{n},x,{2 if n == 7 else 1}\n" for n in range(2, 1002)))
    report = sync(site, "stars")
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
    again = sync(site, "stars")
    assert (again.changes["stars.main"].mapped, again.published) == (0, False)
