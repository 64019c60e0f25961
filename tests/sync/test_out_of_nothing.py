"""What did not change is no change: tables made from others whose rows stay, sums whose order differs, settings that no row is made with."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from hven import query
from hven.ingest.api.runs import find_stale_table_warnings, ingest_collection
from hven.ingest.sync import sync_collection
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

TEXT = """
collection: c
title: C
tables:
  base:
    source: d.csv
    primary: [id]
    columns: {id: int64, g: string, v: float64}
  byg:
    source: {kind: query, adql: "SELECT g, COUNT(*) AS n FROM c.base GROUP BY g"}
    primary: [g]
    columns: {g: string, n: int64}
"""
ELSEWHERE = """
collection: e
title: E
tables:
  groups:
    source: {kind: query, adql: "SELECT g FROM c.base GROUP BY g HAVING COUNT(*) > 1"}
    primary: [g]
    columns: {g: string}
"""
FILES = {"d.csv": "id,g,v\n1,a,1\n2,a,2\n3,b,3\n"}


def edit(home, before, after):
    path = home / "collections/c/d.csv"
    path.write_text(path.read_text().replace(before, after))


def list_change_kinds(report):
    return {name: (change.how, change.why) for name, change in report.changes.items()}


def lines(site):
    return find_stale_table_warnings(site.store.read_published_records()[1])


def test_a_table_that_stays_is_not_stale_after_its_input_changed(tmp_path):
    open_site_with_uningested_files(tmp_path, ELSEWHERE).close()
    with open_site_with_uningested_files(tmp_path, TEXT, FILES) as site:
        ingest_collection(site, "c")
        ingest_collection(site, "e")
        made = site.store.read_published_records()[1]["c.byg"].id, site.store.read_published_records()[1]["e.groups"].id
        edit(tmp_path, "3,b,3", "3,b,9")
        said = list_change_kinds(sync_collection(site, "c"))
        assert (said["c.byg"], said.get("e.groups", ("1 key", None))) == (("1 key", None), ("1 key", None))
        assert lines(site) == []
        version = site.store.get_version()
        report = sync_collection(site, "c")
        assert {name: said[0] for name, said in list_change_kinds(report).items() if name != "c.base"} == {
            "c.byg": "nothing"
        }
        assert (report.published, site.store.get_version()) == (False, version), "nothing is written"
        now = site.store.read_published_records()[1]
        assert made == (now["c.byg"].id, now["e.groups"].id), "and no new rows were published of what stays"
        site.store.roll_back("c")
        assert lines(site) == [], "its rows come out of the rows before, too"


def test_what_an_older_run_left_stale_is_put_right_without_rows(tmp_path):
    with open_site_with_uningested_files(tmp_path, TEXT, FILES) as site:
        ingest_collection(site, "c")
        record = site.store.read_published_records()[1]["c.byg"]
        site.store.update_snapshot_records(
            [replace(record, provenance={**record.provenance, "inputs": {"c.base": "older"}})]
        )
        assert len(lines(site)) == 1
        sync_collection(site, "c", dry_run=True)
        assert len(lines(site)) == 1, "a dry run writes nothing"
        assert not sync_collection(site, "c").published
        assert lines(site) == []
        assert len(site.store.list_publication_events("c")) == 1


def test_a_descriptor_that_says_the_same_of_a_table_is_known_afterwards(tmp_path):
    with open_site_with_uningested_files(tmp_path, TEXT, FILES) as site:
        ingest_collection(site, "c")
        path = tmp_path / "collections/c/c.yaml"
        path.write_text(path.read_text().replace("title: C", "title: Other"))
        site.refresh_published_state()
        first, second = (list_change_kinds(sync_collection(site, "c")) for _ in range(2))
        assert first["c.byg"][0] == "everything"
        assert (second["c.byg"], second["c.base"][1]) == (("nothing", None), None)


SUMS = """
collection: s
title: S
tables:
  base:
    source: {kind: csv, files: d.csv}
    primary: [id]
    columns: {id: int64, g: int64, v: float64, w: float32}
  byg:
    source: {kind: query, adql: "SELECT g, SUM(v) AS s, AVG(v) AS a, STDDEV(v) AS d, VARIANCE(w) AS r, SUM(DISTINCT v) AS u, IVO_STRING_AGG(CAST(id AS VARCHAR(9)), ' ') AS t FROM s.base GROUP BY g"}
    primary: [g]
    columns: {g: int64, s: float64, a: float64, d: float64, r: float64, u: float64, t: string}
  grouped:
    source: {kind: csv, files: d.csv}
    group_by: g
    primary: [g]
    columns: {g: int64, s: float64, a: float64}
    map: {s: SUM(v), a: AVG(v)}
  asis:
    source: {kind: csv, files: d.csv}
    columns: {id: int64, g: int64, v: float64, w: float32}
  over:
    source: {kind: query, adql: "SELECT id, g, SUM(v) OVER (PARTITION BY g) AS s, AVG(w) OVER (PARTITION BY g) AS a, STDDEV(v) OVER () AS d, COUNT(*) OVER (PARTITION BY g) AS n FROM s.asis"}
    primary: [id]
    columns: {id: int64, g: int64, s: float64, a: float64, d: float64, n: int64}
"""  # fmt: skip


def floats(seed=None):
    """Give rows whose sums have other bits in each order: big ones that take each other away, small ones, and some that are alike."""
    chance = random.Random(3)
    rows = [
        (n, n % 3, chance.choice([1e16, -1e16, 0.1, 0.3, 1 / 3, 7.7e-9, float(n)]) * chance.random(), chance.random())
        for n in range(3000)
    ]
    if seed is not None:
        random.Random(seed).shuffle(rows)
    return "id,g,v,w\n" + "".join(f"{n},{g},{v!r},{w!r}\n" for n, g, v, w in rows)


def values(site, name):
    with query.run_query(f"SELECT * FROM {name} ORDER BY 1", OWNER_PRINCIPAL, site=site) as result:
        return [row for batch in result.iterate_batches() for row in batch.to_pylist()]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sums_do_not_hang_on_the_order_of_rows(tmp_path, seed):
    with open_site_with_uningested_files(tmp_path, SUMS, {"d.csv": floats()}) as site:
        ingest_collection(site, "s")
        before = values(site, "s.byg"), values(site, "s.grouped"), values(site, "s.over")
        (tmp_path / "collections/s/d.csv").write_text(floats(seed))
        report = sync_collection(site, "s", read_everything=True)
        assert not report.changes["s.byg"].has_changes
        assert not report.changes["s.grouped"].has_changes
        assert not report.changes["s.over"].has_changes
        ingest_collection(site, "s")
        assert (values(site, "s.byg"), values(site, "s.grouped"), values(site, "s.over")) == before, (
            "and an ingest gives the same bits"
        )


def test_sums_of_all_queries_but_those_are_as_quick_as_before(tmp_path):
    with open_site_with_uningested_files(tmp_path, SUMS, {"d.csv": floats()}) as site:
        ingest_collection(site, "s")
        text = "SELECT SUM(v) AS x, AVG(w) AS y FROM s.base"
        assert "list_sort" not in query.explain_query(text, OWNER_PRINCIPAL, site=site)
        with query.run_query(text, OWNER_PRINCIPAL, site=site, is_order_independent=True) as result:
            found = result.read_table().to_pylist()[0]
        ordered = sorted(row["v"] for batch in [values(site, "s.base")] for row in batch)
        assert found["x"] == sum(ordered)


SITE = """
collection: w
title: W
tables:
  main:
    source: d.csv
    primary: [id]
    columns: {id: int64, g: string, v: float64}
  linked:
    source: d.csv
    primary: [id]
    columns: {id: int64, who: string}
    map: {who: "'ivo://' || site.authority || '/' || g"}
"""


def test_an_edit_of_the_site_file_counts_where_rows_are_made_with_it(tmp_path):
    with open_site_with_uningested_files(tmp_path, SITE, FILES, authority="one.example") as site:
        ingest_collection(site, "w")
        sync_collection(site, "w")
    with open_site_with_uningested_files(tmp_path, SITE, FILES, authority="two.example", title="Another title") as site:
        report = sync_collection(site, "w", accept_changes=True)
        assert list_change_kinds(report)["w.main"][1] is None
        assert list_change_kinds(report)["w.linked"] == ("everything", "hven.toml has a different authority")
        assert (report.changes["w.main"].has_changes, report.changes["w.linked"].changed) == (False, 3)
        assert [why for _, why in list_change_kinds(sync_collection(site, "w")).values()] == [None, None]
