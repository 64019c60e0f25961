"""Elements of arrays and groups of rows as rows: counted, in step, with the columns they came from, judged by plain Python."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import DataError
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

EACH = """\
collection: cat
title: Observations
tables:
  t:
    for_each: [freq, flux]
    max_rejects: 1
    columns:
      uid: {type: string}
      n: {type: int32}
      f: {type: float64}
      flux: {type: float64}
    text: {uid: "{obs}_{each.index}"}
    map: {n: each.index, f: freq * 2}
    source: {kind: json, files: a.jsonl}
"""
GROUP = """\
collection: cat
title: Orbits
tables:
  t:
    group_by: [orbit, morning]
    where: q > 0
    let: {morning: "substring(t, 1, 10)"}
    primary: [orbit, morning]
    max_rejects: 1
    columns:
      orbit: {type: int32}
      morning: {type: string}
      n: {type: int32}
      lo: {type: float64}
      span: {type: float64}
      files: {type: string}
      earliest: {type: string}
      target: {type: string}
    map:
      morning: morning
      n: count(*)
      lo: min(x)
      span: max(x) - min(x)
      files: string_agg(name, '#')
      earliest: first_of(name, x)
    source: {kind: csv, files: g.csv, types: {t: string}}
"""


def rows(site, adql):
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return [row for batch in result.iterate_batches() for row in batch.to_pylist()]


def rejects(report):
    with Path(report.tables["cat.t"].rejects).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def test_elements_become_rows_in_step(tmp_path):
    text = lines(
        {"obs": "a", "freq": [1, 2, 3], "flux": [0.1, 0.2, None]},
        {"obs": "b", "freq": [], "flux": None},
        {"obs": "c", "freq": [1], "flux": [1, 2]},
        {"obs": "d", "freq": [9], "flux": [8.5]},
        {"obs": "e", "freq": [4, 5]},
    )
    with open_site_with_uningested_files(tmp_path, EACH, {"a.jsonl": text}) as site:
        report = ingest_collection(site, "cat")
        assert rows(site, "SELECT uid, n, f, flux FROM cat.t ORDER BY uid") == [
            {"uid": "a_1", "n": 1, "f": 2.0, "flux": 0.1},
            {"uid": "a_2", "n": 2, "f": 4.0, "flux": 0.2},
            {"uid": "a_3", "n": 3, "f": 6.0, "flux": None},
            {"uid": "d_1", "n": 1, "f": 18.0, "flux": 8.5},
            {"uid": "e_1", "n": 1, "f": 8.0, "flux": None},
            {"uid": "e_2", "n": 2, "f": 10.0, "flux": None},
        ]
        table = report.tables["cat.t"]
        assert (table.rejected, table.published) == (1, 6)
        assert table.findings["for_each: empty"].count == 1
        assert table.findings["for_each: empty"].offenders[0].row == 2
        [bad] = rejects(report)
        assert (bad["row"], bad["value"], bad["reason"]) == (
            "3",
            "freq has 1, flux has 2",
            "arrays of different lengths cannot be unrolled together",
        )
        assert json.loads(bad["text"])["flux"] == [1.0, 2.0]
        assert site.store.read_published_records()[1]["cat.t"].provenance["origins"]["f"] == ["freq"]


def test_objects_in_an_array_become_rows(tmp_path):
    text = lines(
        {"id": 1, "assets": [{"href": "a.nc", "size": 3}, {"href": "a.png"}]},
        {"id": 2, "assets": [{"href": "b.nc", "size": 5}]},
        {"id": 3},
    )
    descriptor = """\
collection: cat
title: Assets
tables:
  t:
    for_each: assets
    columns: {id: int32, href: string, bytes: int64, no: int32}
    map: {href: assets.href, bytes: assets.size, no: each.index}
    where: assets.href LIKE '%.nc'
    granules:
      - {gid: plain}
      - {gid: zipped, if: "assets.size > 4", text: {href: "{assets.href}.gz"}}
    source: {kind: json, files: a.jsonl}
"""
    with open_site_with_uningested_files(tmp_path, descriptor, {"a.jsonl": text}) as site:
        report = ingest_collection(site, "cat")
        assert rows(site, "SELECT * FROM cat.t ORDER BY href") == [
            {"id": 1, "href": "a.nc", "bytes": 3, "no": 1},
            {"id": 2, "href": "b.nc", "bytes": 5, "no": 1},
            {"id": 2, "href": "b.nc.gz", "bytes": 5, "no": 1},
        ]
        assert report.tables["cat.t"].skipped == 1


def test_long_arrays_do_not_stand_in_memory_at_once(tmp_path, monkeypatch):
    from hven.ingest import _row_grouping as units

    monkeypatch.setattr(units, "MAX_BATCH_ELEMENTS", 7)
    text = lines(*({"obs": str(n), "freq": list(range(n)), "flux": [n] * n} for n in range(1, 20)))
    with open_site_with_uningested_files(tmp_path, EACH, {"a.jsonl": text}) as site:
        ingest_collection(site, "cat")
        assert rows(site, "SELECT COUNT(*) AS n, SUM(f) AS f, SUM(flux) AS x, MAX(n) AS most FROM cat.t") == [
            {
                "n": 190,
                "f": 2.0 * sum(sum(range(n)) for n in range(20)),
                "x": float(sum(n * n for n in range(20))),
                "most": 19,
            }
        ]


def test_rows_that_are_alike_become_one(tmp_path):
    text = (
        "orbit,t,x,name,target,q\n1,2004-01-01T00,5,a,Mars,1\n1,2004-01-01T01,3,b,Mars,1\n1,2004-01-02T00,7,c,,1\n"
        "2,2004-01-01T00,1,d,Mars,1\n2,2004-01-01T00,1,e,Venus,1\n3,2004-01-01T00,1,f,Venus,0\n"
    )
    with open_site_with_uningested_files(tmp_path, GROUP, {"g.csv": text}) as site:
        report = ingest_collection(site, "cat")
        first = {
            "orbit": 1,
            "morning": "2004-01-01",
            "n": 2,
            "lo": 3.0,
            "span": 2.0,
            "files": "a#b",
            "earliest": "b",
            "target": "Mars",
        }
        second = {
            "orbit": 1,
            "morning": "2004-01-02",
            "n": 1,
            "lo": 7.0,
            "span": 0.0,
            "files": "c",
            "earliest": "c",
            "target": None,
        }
        assert rows(site, "SELECT * FROM cat.t ORDER BY morning") == [first, second]
        table = report.tables["cat.t"]
        assert (table.read, table.skipped, table.rejected, table.published) == (6, 1, 2, 2)
        [bad] = rejects(report)
        assert (bad["row"], bad["column"], bad["value"]) == ("4", "target", "Mars and Venus")
        assert "several values in one group" in bad["reason"]
        origins = site.store.read_published_records()[1]["cat.t"].provenance["origins"]
        assert (origins["span"], origins["earliest"], origins["morning"]) == (["x"], ["name", "x"], ["t"])
        assert not list((site.settings.var_directory / "spool").iterdir())


def test_every_aggregate(tmp_path):
    descriptor = """\
collection: cat
title: Aggregates
tables:
  t:
    group_by: k
    columns: {k: string, total: int64, mean: float64, kinds: int32, words: string, ends: string, xs: "float64[*]", area: multishape}
    map:
      total: sum(n)
      mean: avg(x)
      kinds: count(DISTINCT word)
      words: string_agg(word, ', ')
      ends: first_of(word) || last_of(word) || last_of(word, n)
      xs: array_agg(x, n)
      area: union_of(s)
    source: {kind: csv, files: g.csv}
"""
    text = "k,n,x,word,s\na,3,1.5,x,circle 1 2 3\na,1,2.5,y,circle 4 5 6\na,2,,x,circle 1 2 3\nb,1,1,z,\n"
    with open_site_with_uningested_files(tmp_path, descriptor, {"g.csv": text}) as site:
        ingest_collection(site, "cat")
        a, b = rows(site, "SELECT * FROM cat.t ORDER BY k")
        assert (a["total"], a["mean"], a["kinds"], a["words"], a["ends"], a["xs"]) == (
            6,
            2.0,
            2,
            "x, y, x",
            "xxx",
            [2.5, 1.5],
        )
        assert a["area"].lower().count("circle") == 2
        assert (b["total"], b["words"], b["area"]) == (1, "z", None)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.integers(-9, 9))), min_size=1, max_size=40))
def test_groups_are_those_of_plain_python(tmp_path_factory, pairs):
    descriptor = """\
collection: cat
title: Groups
tables:
  t:
    group_by: k
    columns: {k: string, n: int32, values: int32, low: int32, total: int64}
    map: {n: count(*), values: count(x), low: min(x), total: sum(x)}
    source: {kind: json, files: g.jsonl, types: {x: int64}}
"""
    wanted = []
    for key in sorted({key for key, _ in pairs}):
        xs = [x for k, x in pairs if k == key and x is not None]
        count = sum(k == key for k, _ in pairs)
        wanted.append(
            {"k": key, "n": count, "values": len(xs), "low": min(xs, default=None), "total": sum(xs) if xs else None}
        )
    with open_site_with_uningested_files(
        tmp_path_factory.mktemp("site"), descriptor, {"g.jsonl": lines(*({"k": k, "x": x} for k, x in pairs))}
    ) as site:
        ingest_collection(site, "cat")
        assert rows(site, "SELECT * FROM cat.t ORDER BY k") == wanted


def test_a_group_that_is_wrong_everywhere_leaves_what_was_served(tmp_path):
    good = "orbit,t,x,name,target,q\n1,2004-01-01T00,5,a,Mars,1\n"
    with open_site_with_uningested_files(tmp_path, GROUP.replace("    max_rejects: 1\n", ""), {"g.csv": good}) as site:
        ingest_collection(site, "cat")
        bad = good + "1,2004-01-01T00,5,a,Venus,1\n"
        (site.settings.collections_directory / "cat" / "g.csv").write_text(bad)
        with pytest.raises(
            DataError,
            match=r"2 of 2 rows of cat.t were rejected.*target has several values.*row 1: target = Mars and Venus",
        ):
            ingest_collection(site, "cat")
        assert rows(site, "SELECT target FROM cat.t") == [{"target": "Mars"}]


def test_more_rows_than_fit_in_memory_are_grouped_in_parts(tmp_path, monkeypatch):
    from hven.sources import row_grouping

    monkeypatch.setattr(row_grouping, "ROWS_PER_PARTITION", 50)
    text = "orbit,t,x,name,target,q\n" + "".join(f"{n % 60},2004-01-01T00,{n},f{n},Mars,1\n" for n in range(600))
    with open_site_with_uningested_files(tmp_path, GROUP, {"g.csv": text}) as site:
        ingest_collection(site, "cat")
        found = rows(site, "SELECT orbit, n, lo, span, files FROM cat.t ORDER BY orbit")
        assert found == [
            {"orbit": o, "n": 10, "lo": float(o), "span": 540.0, "files": "#".join(f"f{n}" for n in range(o, 600, 60))}
            for o in range(60)
        ]


def test_arrays_become_hash_lists(tmp_path):
    text = lines(
        {"id": 1, "filters": ["U", "V", " U ", "", None, "K#L"], "bands": [3, 1, 3], "flux": [0.5, 1.0]},
        {"id": 2, "filters": [], "bands": None, "flux": [2.5]},
        {"id": 3, "filters": ["é"], "bands": [7], "flux": []},
    )
    descriptor = """\
collection: cat
title: t
tables:
  t:
    columns: {id: int32, filters: string, bands: string, flux: string}
    map: {filters: hashlist(filters), bands: hashlist(bands), flux: hashlist(flux)}
    source: {kind: json, files: a.jsonl}
"""
    with open_site_with_uningested_files(tmp_path, descriptor, {"a.jsonl": text}) as site:
        ingest_collection(site, "cat")
        with query.run_query("SELECT * FROM cat.t ORDER BY id", OWNER_PRINCIPAL, site=site) as result:
            rows = [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]
    assert rows == [(1, "U#V#K#L", "3#1", "0.5#1.0"), (2, None, None, "2.5"), (3, "é", "7", None)]
