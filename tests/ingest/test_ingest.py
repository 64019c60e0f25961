"""From a descriptor and files to served rows: counts, rejects, unions, granules, tables from tables, tests, history."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from hven import query
from hven.ingest.api.runs import IngestProgress, ingest_collection, run_collection_tests
from hven.ingest.sync import sync_collection
from hven.model.errors import ConflictError, DataError, DescriptorError, NotFoundError, SourceError, StorageError
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

STARS = """\
collection: cat
title: A catalogue
tables:
  stars:
    primary: id
    columns:
      id: {type: int32}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      mag: {type: float32, unit: mag, minimum: -2, maximum: 30}
      name: {type: "string[8*]"}
    source: {kind: csv, files: stars.csv}
"""
ROWS = "id,ra,dec,mag,name\n1,10.5,-20.25,4.5,Alpha\n2,11.5,20,5.5,Beta\n3,359.5,89,,\n"


def rows(site: Site, adql: str) -> list[dict]:
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return [row for batch in result.iterate_batches() for row in batch.to_pylist()]


def rejects(report, table: str) -> list[dict]:
    with Path(report.tables[table].rejects).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_file_becomes_a_served_table(tmp_path):
    with open_site_with_uningested_files(tmp_path, STARS, {"stars.csv": ROWS}) as site:
        seen: list[IngestProgress] = []
        report = ingest_collection(site, "cat", progress=seen.append)
        table = report.tables["cat.stars"]
        assert (table.read, table.skipped, table.rejected, table.published) == (3, 0, 0, 3)
        assert report.published
        assert {item.step for item in seen} == {"read", "finish", "publish"}
        assert rows(site, "SELECT id, ra, dec, mag, name FROM cat.stars ORDER BY id") == [
            {"id": 1, "ra": 10.5, "dec": -20.25, "mag": 4.5, "name": "Alpha"},
            {"id": 2, "ra": 11.5, "dec": 20.0, "mag": 5.5, "name": "Beta"},
            {"id": 3, "ra": 359.5, "dec": 89.0, "mag": None, "name": None},
        ]
        run = site.store.runs.list_runs("cat")[0]
        assert (run.phase, run.summary["tables"]["cat.stars"]["published"]) == ("COMPLETED", 3)
        assert json.loads(Path(run.report).read_text())["tables"]["cat.stars"]["read"] == 3
        assert "3 rows" in report.format_text()


def test_what_is_stored_about_a_snapshot(tmp_path):
    import hashlib

    with open_site_with_uningested_files(tmp_path, STARS + "    map: {mag: mag + 1}\n", {"stars.csv": ROWS}) as site:
        report = ingest_collection(site, "cat")
        record = site.store.read_published_records()[1]["cat.stars"]
        assert (record.run, record.id) == (report.run, report.tables["cat.stars"].snapshot)
        told = record.provenance
        path = site.settings.collections_directory / "cat" / "cat.yaml"
        assert told["hashes"]["cat.yaml"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert told["pins"][0]["sha256"] == hashlib.sha256(ROWS.encode()).hexdigest()
        assert told["origins"]["mag"] == ["mag"]
        assert told["counts"] == {"read": 3, "skipped": 0, "rejected": 0, "published": 3}
        assert told["row_id"] == ["id"]
        assert told["software"].startswith("hven ")


BAD = """\
id,ra,dec,mag,name
1,10,20,4.5,good
2,10,95,4.5,lat
3,400,20,4.5,lon
4,10,20,99,range
5,10,20,4.5,far too long
x,10,20,4.5,id
7,10,20,4.5,good
8,10,20,4.5,good
9,10,20,4.5,good
10,10,20,4.5,good
11,10,20,4.5,good
12,10,20,4.5
"""


def test_bad_rows_are_kept_aside_with_place_value_and_reason(tmp_path):
    with open_site_with_uningested_files(tmp_path, STARS, {"stars.csv": BAD}) as site:
        report = ingest_collection(site, "cat")
        table = report.tables["cat.stars"]
        assert (table.read, table.rejected, table.published) == (12, 6, 6)
        kept = {row["row"]: row for row in rejects(report, "cat.stars")}
        assert sorted(kept, key=int) == ["2", "3", "4", "5", "6", "12"]
        assert (kept["2"]["column"], kept["2"]["value"], kept["2"]["file"]) == ("dec", "95.0", "stars.csv")
        assert "latitude" in kept["2"]["reason"]
        assert json.loads(kept["2"]["text"])["name"] == "lat"
        assert "outside -2 to 30" in kept["4"]["reason"]
        assert "longer than 8" in kept["5"]["reason"]
        assert (kept["6"]["column"], kept["6"]["value"]) == ("id", "x")
        assert [str(item) for item in table.findings["ra: sphere"].offenders] == ["stars.csv row 3: ra = 400.0"]
        assert [row["id"] for row in rows(site, "SELECT id FROM cat.stars ORDER BY id")] == [1, 7, 8, 9, 10, 11]


def test_too_many_rejects_or_no_rows_publish_nothing(tmp_path):
    lines = (
        "id,ra,dec,mag,name\n"
        + "".join(f"{n},10,95,1,a\n" for n in range(6))
        + "".join(f"1{n},10,5,1,a\n" for n in range(4))
    )
    with open_site_with_uningested_files(tmp_path, STARS, {"stars.csv": ROWS}) as site:
        ingest_collection(site, "cat")
        data = site.settings.collections_directory / "cat" / "stars.csv"
        data.write_text(lines)
        with pytest.raises(
            DataError,
            match=r"6 of 10 rows of cat.stars were rejected, more than the limit of 50%; most often: dec is not a latitude.*stars.csv row 1: dec = 95",
        ):
            ingest_collection(site, "cat")
        data.write_text("id,ra,dec,mag,name\n")
        with pytest.raises(DataError, match="would be empty: the source has no rows"):
            ingest_collection(site, "cat")
        assert len(rows(site, "SELECT id FROM cat.stars")) == 3
        assert [run.phase for run in site.store.runs.list_runs("cat")] == ["ERROR", "ERROR", "COMPLETED"]
        (site.settings.collections_directory / "cat" / "cat.yaml").write_text(STARS + "    max_rejects: 0.6\n")
        data.write_text(lines)
        assert ingest_collection(site, "cat").tables["cat.stars"].published == 4
        (site.settings.collections_directory / "cat" / "cat.yaml").write_text(STARS + "    max_rejects: 1\n")
        data.write_text("id,ra,dec,mag,name\n")
        assert ingest_collection(site, "cat").tables["cat.stars"].published == 0
        assert rows(site, "SELECT COUNT(*) AS n FROM cat.stars") == [{"n": 0}]
        # nothing of the failed runs is left on the disk
        kept = {Path(record.snapshot.path).name for record in site.store.list_snapshots("cat")}
        assert {path.name for path in (site.settings.var_directory / "snapshots" / "cat.stars").iterdir()} == kept


def test_a_duplicate_key_names_the_key_and_publishes_nothing(tmp_path):
    with open_site_with_uningested_files(tmp_path, STARS, {"stars.csv": ROWS + "2,1,1,1,x\n"}) as site:
        with pytest.raises(
            DataError, match=r"cat.stars: the primary key \(id\) is not unique.*first: id = 2 \(2 times\)"
        ):
            ingest_collection(site, "cat")
        assert site.get_published_state().tables_by_name == {}


def test_a_duplicate_key_with_a_time_is_written_as_elsewhere(tmp_path):
    text = """\
collection: cat
title: t
tables:
  t:
    primary: [at, name]
    columns: {at: {type: timestamp}, name: {type: string}}
    source: {kind: csv, files: t.csv}
"""
    lines = "at,name\n2026-01-01T06:00:00.5,x\n2026-01-01T06:00:00.5,x\n"
    expected = r"first: at = 2026-01-01T06:00:00\.500000, name = 'x' \(2 times\)"
    with (
        open_site_with_uningested_files(tmp_path, text, {"t.csv": lines}) as site,
        pytest.raises(DataError, match=expected),
    ):
        ingest_collection(site, "cat")


def test_values_that_do_not_fit_their_column(tmp_path):
    text = """\
collection: cat
title: t
tables:
  t:
    columns: {a: {type: int16}, b: {type: int16, required: true}}
    map: {a: x * 1.5, b: y}
    source: {kind: csv, files: t.csv}
"""
    with open_site_with_uningested_files(tmp_path, text, {"t.csv": "x,y\n2,1\n3,1\n4,70000\n6,\n8,5\n10,5\n"}) as site:
        report = ingest_collection(site, "cat")
        assert rows(site, "SELECT a, b FROM cat.t ORDER BY a") == [
            {"a": 3, "b": 1},
            {"a": 12, "b": 5},
            {"a": 15, "b": 5},
        ]
        kept = {row["row"]: row["reason"] for row in rejects(report, "cat.t")}
        assert sorted(kept) == ["2", "3", "4"]
        assert "does not fit the column 'a'" in kept["2"]
        assert "b is required" in kept["4"]


def test_where_rules_and_warnings(tmp_path):
    text = """\
collection: cat
title: t
tables:
  t:
    columns: {a: {type: int32}, t: {type: timestamp}}
    where: keep = 1
    map: {t: parse_time(seen)}
    rules:
      small: {if: a < 100, severity: error, message: a is too large}
      even: {if: "MOD(a, 2) = 0", severity: warning}
    source: {kind: csv, files: t.csv}
"""
    data = "a,keep,seen\n2,1,2020-01-01\n3,1,2020-01-02\n4,0,2020-01-03\n500,1,2020-01-04\n6,1,soon\n"
    with open_site_with_uningested_files(tmp_path, text, {"t.csv": data}) as site:
        report = ingest_collection(site, "cat")
        table = report.tables["cat.t"]
        assert (table.read, table.skipped, table.rejected, table.published) == (5, 1, 1, 3)
        found = {item.message: item for item in table.findings.values()}
        assert found["a is too large"].offenders[0].row == 4
        assert [item.severity for item in table.findings.values()].count("warning") == 2
        empty = table.findings["t: empty"]
        assert (empty.count, str(empty.offenders[0])) == (1, "t.csv row 5: seen = soon")
        assert "warning" in report.format_text()


def test_a_union_and_granules(tmp_path):
    text = """\
collection: cat
title: t
tables:
  t:
    columns: {id: {type: string}, kind: {type: string}, x: {type: float64}}
    granules:
      - {gid: a, set: {kind: first}, text: {id: "{n}_a"}}
      - {gid: b, set: {kind: second}, text: {id: "{n}_b"}, if: x > 1}
    source:
      - {kind: csv, files: one.csv}
      - {kind: csv, files: two.csv}
"""
    with open_site_with_uningested_files(
        tmp_path, text, {"one.csv": "n,x\n1,1\n2,2\n", "two.csv": "x,n\n3,3\n"}
    ) as site:
        report = ingest_collection(site, "cat")
        assert (report.tables["cat.t"].read, report.tables["cat.t"].published) == (3, 5)
        assert [row["id"] for row in rows(site, "SELECT id FROM cat.t ORDER BY id")] == [
            "1_a",
            "2_a",
            "2_b",
            "3_a",
            "3_b",
        ]
        assert len(site.store.read_published_records()[1]["cat.t"].provenance["pins"]) == 2


FROM_TABLES = """\
collection: cat
title: t
tables:
  brightest:
    source: {kind: query, adql: "SELECT name, mag FROM cat.bright WHERE mag < 5"}
  bright:
    source: {kind: query, adql: "SELECT id, name, mag FROM cat.stars WHERE mag < 6"}
"""


def test_tables_made_from_tables_follow_their_inputs(tmp_path):
    text = FROM_TABLES + STARS.partition("tables:\n")[2]
    with open_site_with_uningested_files(tmp_path, text, {"stars.csv": ROWS}) as site:
        ingest_collection(site, "cat")
        assert rows(site, "SELECT name FROM cat.brightest") == [{"name": "Alpha"}]
        records = site.store.read_published_records()[1]
        assert records["cat.bright"].provenance["inputs"] == {"cat.stars": records["cat.stars"].id}
        assert records["cat.brightest"].provenance["inputs"] == {"cat.bright": records["cat.bright"].id}
        assert site.get_published_state().tables_by_name["cat.bright"].table.find_column("mag").unit == "mag"


def test_tables_made_from_each_other_are_refused(tmp_path):
    text = FROM_TABLES.replace("FROM cat.stars", "FROM cat.brightest")
    with (
        open_site_with_uningested_files(tmp_path, text, {}) as site,
        pytest.raises(DescriptorError, match="depend on each other"),
    ):
        ingest_collection(site, "cat")


def test_the_descriptors_tests_keep_wrong_data_from_being_published(tmp_path):
    tests = """\
tests:
  - {query: SELECT COUNT(*) AS n FROM cat.stars, expect: {n: 3}}
  - {query: SELECT id FROM cat.stars WHERE ra < 20 ORDER BY id, expect: {rows: 2, id: 1}}
  - {query: SELECT MAX(ra) AS m FROM cat.stars, expect: {minimum: 300, maximum: 360}}
"""
    with open_site_with_uningested_files(tmp_path, STARS + tests, {"stars.csv": ROWS}) as site:
        report = ingest_collection(site, "cat")
        assert [test.passed for test in report.tests] == [True, True, True]
        (site.settings.collections_directory / "cat" / "stars.csv").write_text(ROWS + "4,1,1,1,new\n")
        with pytest.raises(
            DataError, match=r"2 of 3 tests of cat failed; the first is 'SELECT COUNT.* n is 4, expected 3"
        ):
            ingest_collection(site, "cat")
        assert len(rows(site, "SELECT id FROM cat.stars")) == 3
        assert run_collection_tests(site, "cat") == []
        (site.settings.collections_directory / "cat" / "cat.yaml").write_text(
            STARS + tests.replace("n: 3", "n: 12").replace("FROM cat.stars WHERE", "FROM cat.nope WHERE")
        )
        first, second = run_collection_tests(site, "cat")
        assert str(first).endswith(
            "cat.yaml:14:13: the test SELECT COUNT(*) AS n FROM cat.stars failed: n is 3, expected 12"
        )
        assert "nope" in second.message


def test_a_test_without_a_name_is_called_by_whole_words_of_its_query(tmp_path):
    tests = "tests:\n  - {query: \"SELECT id, ra, dec FROM cat.stars WHERE id <> 17 AND ra BETWEEN 0 AND 360 AND name = 'no such star'\", expect: {rows: 0}}\n"
    with open_site_with_uningested_files(tmp_path, STARS + tests, {"stars.csv": ROWS}) as site:
        (test,) = ingest_collection(site, "cat").tests
    assert test.name == "SELECT id, ra, dec FROM cat.stars WHERE id <> 17 AND ra BETWEEN 0 AND 360 AND .."


def test_what_a_test_expects_of_all_rows(tmp_path):
    query = "SELECT id, ra FROM cat.stars ORDER BY id"
    said = [
        ("{id: [1, 2, 3]}", ""),
        ("{ID: [1, 2]}", "ID: 2 values are expected, but there are 3 rows"),
        ("{id: [1, 2, 3, 4]}", "id: 4 values are expected, but there are 3 rows"),
        ("{id: [1, 9, 3], rows: 3}", "id is 2 in row 2, expected 9"),
        ("{nope: [1]}", "the query returns no column 'nope'"),
        ("{id: 1}", ""),
    ]
    tests = "tests:\n" + "".join(
        f"  - {{name: t{n}, query: '{query}', expect: {expect}}}\n" for n, (expect, _) in enumerate(said)
    )
    tests += "  - {name: none, query: SELECT id FROM cat.stars WHERE id > 99, expect: {id: []}}\n"
    tests += "  - {name: some, query: SELECT id FROM cat.stars WHERE id > 99, expect: {id: [1]}}\n"
    with open_site_with_uningested_files(tmp_path, STARS, {"stars.csv": ROWS}) as site:
        ingest_collection(site, "cat")
        (site.settings.collections_directory / "cat" / "cat.yaml").write_text(STARS + tests)
        told = {
            str(fault.message).split("the test ")[1].split(" ")[0]: fault.message
            for fault in run_collection_tests(site, "cat")
        }
    assert set(told) == {f"t{n}" for n, (_, fault) in enumerate(said) if fault} | {"some"}
    for n, (_, fault) in enumerate(said):
        assert fault in told.get(f"t{n}", "")


def test_samples_and_dry_runs(tmp_path):
    with open_site_with_uningested_files(tmp_path, STARS, {"stars.csv": ROWS}) as site:
        report = ingest_collection(site, "cat", dry_run=True)
        assert (report.published, report.row_count) == (False, 3)
        assert site.get_published_state().tables_by_name == {}
        assert list((site.settings.var_directory / "snapshots").glob("*/*")) == []
        report = ingest_collection(site, "cat", sample_rows=2)
        assert len(rows(site, "SELECT id FROM cat.stars")) == 2
        assert any("first 2 rows" in warning for warning in report.warnings)
        assert site.store.read_published_records()[1]["cat.stars"].provenance["sample"] == 2


def test_history_rollback_and_pruning(tmp_path):
    with open_site_with_uningested_files(tmp_path, STARS, {"stars.csv": ROWS}, keep_snapshots=2) as site:
        data = site.settings.collections_directory / "cat" / "stars.csv"
        for count in range(1, 5):
            data.write_text("".join(ROWS.splitlines(keepends=True)[: 1 + min(count, 3)]))
            ingest_collection(site, "cat")
        assert len(site.store.list_snapshots("cat")) == 2
        assert len(list((site.settings.var_directory / "snapshots").glob("*/*"))) == 2
        data.write_text("".join(ROWS.splitlines(keepends=True)[:2]))
        ingest_collection(site, "cat")
        assert len(rows(site, "SELECT id FROM cat.stars")) == 1
        site.store.roll_back("cat")
        site.refresh_published_state()
        assert len(rows(site, "SELECT id FROM cat.stars")) == 3


def test_a_second_ingest_is_told_who_runs(tmp_path):
    with open_site_with_uningested_files(tmp_path, STARS, {"stars.csv": ROWS}) as site:
        tried: list[str] = []

        def ingest_again(_progress: IngestProgress) -> None:
            if not tried:
                with (
                    Site(site.settings) as other,
                    pytest.raises(
                        ConflictError, match=r"the ingest of cat is already running: process \d+ on .* since 20"
                    ) as caught,
                ):
                    ingest_collection(other, "cat")
                tried.append(str(caught.value))

        ingest_collection(site, "cat", progress=ingest_again)
        assert tried
        ingest_collection(site, "cat")


def test_a_descriptor_that_changes_meanwhile_is_told(tmp_path):
    with open_site_with_uningested_files(tmp_path, STARS, {"stars.csv": ROWS}) as site:
        path = site.settings.collections_directory / "cat" / "cat.yaml"
        report = ingest_collection(site, "cat", progress=lambda _: path.write_text(STARS + "description: new\n"))
        assert any("cat.yaml changed during the ingest" in warning for warning in report.warnings)
        report = ingest_collection(site, "cat", progress=lambda _: path.write_text(STARS + "nonsense: 1\n"))
        assert any("now has faults" in warning for warning in report.warnings)
        assert report.published


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    with open_site_with_uningested_files(tmp_path, STARS, {"stars.csv": ROWS}) as site:
        ingest_collection(site, "cat")
        before = sorted((site.settings.var_directory / "snapshots").glob("*/*"))

        def stop(progress: IngestProgress) -> None:
            if progress.step == "finish":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ingest_collection(site, "cat", progress=stop)
        assert sorted((site.settings.var_directory / "snapshots").glob("*/*")) == before
        assert site.store.runs.list_runs("cat")[0].phase == "ABORTED"
        assert len(rows(site, "SELECT id FROM cat.stars")) == 3
        ingest_collection(site, "cat")


@pytest.mark.parametrize(
    ("files", "error", "match"),
    [
        ({}, SourceError, r"cat.yaml:\d+.*no file stars.csv"),
        ({"stars.csv": ""}, SourceError, "empty"),
        ({"stars.csv": b"\x00\x01\x02" * 100}, SourceError, "NUL bytes"),
        ({"stars.csv": "id;ra\n1;2\n"}, DescriptorError, "dec"),
    ],
)
def test_unreadable_sources_are_told_with_their_place(tmp_path, files, error, match):
    with open_site_with_uningested_files(tmp_path, STARS, files) as site:
        with pytest.raises(error, match=match):
            ingest_collection(site, "cat")
        assert site.store.runs.list_runs("cat")[0].phase == "ERROR"


def test_unknown_collections_and_faulty_descriptors(tmp_path):
    with open_site_with_uningested_files(tmp_path, STARS + "nonsense: 1\n", {}) as site:
        with pytest.raises(NotFoundError, match="use one of cat"):
            ingest_collection(site, "cot")
        with pytest.raises(DescriptorError, match="nonsense"):
            ingest_collection(site, "cat")


def test_room_is_asked_for_before_it_is_needed(tmp_path, monkeypatch):
    import shutil
    from types import SimpleNamespace

    with (
        open_site_with_uningested_files(tmp_path, STARS, {"stars.csv": ROWS}, disk_budget=10) as site,
        pytest.raises(StorageError, match="raise disk_budget"),
    ):
        ingest_collection(site, "cat")
    with Site(site.settings.__class__(directory=tmp_path)) as other:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5))
        with pytest.raises(StorageError, match="5 bytes are free"):
            ingest_collection(other, "cat")


def test_a_row_that_is_unreadable_in_several_columns_is_one_row(tmp_path):
    text = """\
collection: cat
title: t
tables:
  t:
    columns: {a: int32, b: int32}
    source: {kind: KIND}
"""
    code = "def rows():\n    yield from [{'a': 1, 'b': 2}] * 1500\n    yield {'a': 'foo', 'b': 'bar'}\n    yield {'a': 3, 'b': 4}\n"
    sources = {
        "csv, files: t.csv": {"t.csv": "a,b\n" + "1,2\n" * 1500 + "foo,bar\n3,4\n"},
        "python, file: t.py": {"t.py": code},
    }
    for number, (kind, files) in enumerate(sources.items()):
        with open_site_with_uningested_files(tmp_path / str(number), text.replace("KIND", kind), files) as site:
            report = ingest_collection(site, "cat")
            table = report.tables["cat.t"]
            assert (table.read, table.rejected, table.published) == (1502, 1, 1501)
            assert {row["row"] for row in rejects(report, "cat.t")} == {"1501"}


def test_lookups_and_codes(tmp_path):
    text = """\
collection: cat
title: t
tables:
  t:
    columns: {nm: {type: float32, unit: nm}, grade: {type: string, enum: grades}, seen: {type: timestamp}}
    enums: {grades: {A: good, B: bad}}
    lookup: {nm: {from: band, table: bands.csv, key: name, value: nm}}
    map: {grade: UPPER(g), seen: "CASE WHEN g <> 'x' THEN parse_time(t) END"}
    source: {kind: csv, files: t.csv}
"""
    files = {
        "t.csv": "band,g,t\nu,a,2020-01-01\ng,b,2020-01-01\nq,a,2020-01-01\nu,x,2020-01-01\n",
        "bands.csv": "name,nm\nu,365\ng,464\n",
    }
    with open_site_with_uningested_files(tmp_path, text, files) as site:
        report = ingest_collection(site, "cat")
        table = report.tables["cat.t"]
        assert (table.rejected, table.published) == (1, 3)
        assert [(row["file"], row["row"]) for row in rejects(report, "cat.t")] == [("t.csv", "3")]
        assert {
            name: (item.severity, item.count) for name, item in table.findings.items() if item.severity == "warning"
        } == {"grade: enum": ("warning", 1)}
        assert rows(site, "SELECT nm, grade FROM cat.t ORDER BY nm, grade") == [
            {"nm": 365.0, "grade": "A"},
            {"nm": 365.0, "grade": "X"},
            {"nm": 464.0, "grade": "B"},
        ]
        pinned = site.store.read_published_records()[1]["cat.t"].provenance["hashes"]
        assert "bands.csv" in pinned


def test_large_lookups_copy_no_column_of_the_source(tmp_path):
    """A lookup with more than 64 keys is joined: its values are copied as they are, with and without a default."""
    text = """\
collection: cat
title: t
tables:
  t:
    columns: {night: int32, seeing: float32, clouds: string, word: string}
    lookup:
      seeing: {from: night, table: nights.csv, key: night, value: seeing, missing: "null"}
      clouds: {from: night, table: nights.csv, key: night, value: clouds, missing: "null"}
      word: {from: night, table: nights.csv, key: night, value: clouds, default: unknown}
    source: {kind: csv, files: t.csv}
"""
    nights = "".join(f"{number},{number / 4},clouds {number}\n" for number in range(100))
    files = {"t.csv": "night\n7\n500\n99\n", "nights.csv": f"night,seeing,clouds\n{nights}"}
    with open_site_with_uningested_files(tmp_path, text, files) as site:
        ingest_collection(site, "cat")
        assert rows(site, "SELECT night, seeing, clouds, word FROM cat.t ORDER BY night") == [
            {"night": 7, "seeing": 1.75, "clouds": "clouds 7", "word": "clouds 7"},
            {"night": 99, "seeing": 24.75, "clouds": "clouds 99", "word": "clouds 99"},
            {"night": 500, "seeing": None, "clouds": None, "word": "unknown"},
        ]


@pytest.mark.parametrize("table", ["nights.csv", "{kind: csv, files: nights.csv}", "{kind: csv, files: [nights.csv]}"])
def test_a_sync_reads_changed_lookups(tmp_path, table):
    text = f"""\
collection: cat
title: t
tables:
  t:
    primary: n
    columns: {{n: int32, clouds: string}}
    lookup: {{clouds: {{from: n, table: {table}, key: n, value: clouds, missing: "null"}}}}
    source: {{kind: csv, files: t.csv}}
"""
    files = {"t.csv": "n\n1\n2\n", "nights.csv": "n,clouds\n1,none\n"}
    with open_site_with_uningested_files(tmp_path, text, files) as site:
        ingest_collection(site, "cat")
        path = site.settings.collections_directory / "cat/nights.csv"
        path.write_text("n,clouds\n1,thick\n2,thin\n", encoding="utf-8")
        sync_collection(site, "cat")
        assert rows(site, "SELECT n, clouds FROM cat.t ORDER BY n") == [
            {"n": 1, "clouds": "thick"},
            {"n": 2, "clouds": "thin"},
        ]


def test_python_functions_beside_the_descriptor(tmp_path):
    text = """\
collection: cat
title: t
functions: [{file: fun.py, names: {twice: float64}}]
tables:
  t:
    columns: {a: {type: float64}}
    map: {a: twice(x)}
    source: {kind: csv, files: t.csv}
"""
    good = "import pyarrow.compute as pc\n\ndef twice(x):\n    return pc.multiply(x, 2.0)\n"
    with open_site_with_uningested_files(tmp_path, text, {"t.csv": "x\n1\n2\n", "fun.py": good}) as site:
        ingest_collection(site, "cat")
        assert rows(site, "SELECT a FROM cat.t ORDER BY a") == [{"a": 2.0}, {"a": 4.0}]
        (site.settings.collections_directory / "cat" / "fun.py").write_text("def twice(x):\n    return x[:1]\n")
        with pytest.raises(DataError, match="returned 1 values for 2 rows"):
            ingest_collection(site, "cat")
        (site.settings.collections_directory / "cat" / "fun.py").write_text("def twice(x):\n    return 1 / 0\n")
        with pytest.raises(DataError, match="the function 'twice' failed: ZeroDivisionError"):
            ingest_collection(site, "cat")


def test_a_table_made_from_another_collections_tables(tmp_path):
    other = """\
collection: derived
title: t
tables:
  bright:
    source: {kind: query, adql: "SELECT id, mag FROM cat.stars WHERE mag < 5"}
"""
    with open_site_with_uningested_files(tmp_path, STARS, {"stars.csv": ROWS}) as site:
        ingest_collection(site, "cat")
    with open_site_with_uningested_files(tmp_path, other, {}) as site:
        ingest_collection(site, "derived")
        record = site.store.read_published_records()[1]["derived.bright"]
        assert record.provenance["inputs"] == {"cat.stars": site.store.read_published_records()[1]["cat.stars"].id}
        assert record.table.find_column("mag").unit == "mag"
        assert rows(site, "SELECT id FROM derived.bright") == [{"id": 1}]


def test_a_collection_of_nothing_but_views(tmp_path):
    views = """\
collection: views
title: t
tables:
  bright:
    view: SELECT id, mag FROM cat.stars WHERE mag < 5
tests: [{query: SELECT COUNT(*) AS n FROM views.bright, expect: {n: 1}}]
"""
    with open_site_with_uningested_files(tmp_path, STARS, {"stars.csv": ROWS}) as site:
        ingest_collection(site, "cat")
    with open_site_with_uningested_files(tmp_path, views, {}) as site:
        assert rows(site, "SELECT id FROM views.bright") == [{"id": 1}]
        report = ingest_collection(site, "views")
        assert (report.published, [test.passed for test in report.tests]) == (True, [True])
        assert rows(site, "SELECT id FROM views.bright") == [{"id": 1}]


def test_a_table_taken_out_of_the_descriptor_goes_with_the_next_ingest(tmp_path):
    more = STARS + "  more:\n    source: {kind: csv, files: stars.csv}\n"
    with open_site_with_uningested_files(tmp_path, more, {"stars.csv": ROWS}) as site:
        ingest_collection(site, "cat")
        (site.settings.collections_directory / "cat" / "cat.yaml").write_text(STARS)
        assert "cat.more" in site.refresh_published_state().tables_by_name
        ingest_collection(site, "cat")
        assert set(site.get_published_state().tables_by_name) == {"cat.stars"}
        site.store.roll_back("cat")
        assert set(site.refresh_published_state().tables_by_name) == {"cat.stars", "cat.more"}


def test_warnings_of_the_mapping_are_in_the_report(tmp_path):
    text = "collection: cat\ntables:\n  main:\n    source: {kind: csv, files: a.csv}\n"
    with open_site_with_uningested_files(tmp_path, text, {"a.csv": "id,B-V\n1,2\n"}) as site:
        report = ingest_collection(site, "cat")
        assert report.published
        (warning,) = report.warnings
        assert 'cat.yaml:3:3: tables.main: queries must write "B-V" in double quotes' in warning
        assert f"warning: {warning}" in report.format_text()
        assert ingest_collection(site, "cat", dry_run=True).warnings == report.warnings


@pytest.mark.parametrize("kind", ["fits", "votable", "csv"])
def test_columns_that_differ_in_case_alone(tmp_path, kind):
    from astropy.io import fits

    from hven.model.settings import Settings
    from plugin_needs import create_descriptor

    path = tmp_path / f"a.{kind}"
    if kind == "fits":
        columns = [
            fits.Column(name, "J", array=[number, number + 1]) for name, number in (("R", 1), ("r", 10), ("R_2", 100))
        ]
        fits.BinTableHDU.from_columns(columns).writeto(path)
    elif kind == "csv":
        path.write_text("R,r,R_2\n1,10,100\n2,11,101\n")
    else:
        fields = "".join(f"<FIELD name='{name}' datatype='int'/>" for name in ("R", "r", "R_2"))
        cells = "".join(f"<TR><TD>{n}</TD><TD>{n + 9}</TD><TD>{n + 99}</TD></TR>" for n in (1, 2))
        path.write_text(
            f"<VOTABLE version='1.4'><RESOURCE><TABLE>{fields}<DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
        )
    made = create_descriptor(Settings(directory=tmp_path), "cat", str(path))
    with Site(Settings(directory=tmp_path)) as site:
        assert ingest_collection(site, "cat").warnings == []
        found = rows(site, "SELECT * FROM cat.main ORDER BY 1")
        assert [list(row.values()) for row in found] == [[1, 10, 100], [2, 11, 101]]
        assert next(iter(found[0])) == "r"
        followed = f"collection: cat\ntables:\n  main:\n    source: {{kind: {kind}, files: ../../a.{kind}}}\n"
        made.write_text(followed)
        if kind == "votable":  # the reader has numbered them already
            assert ingest_collection(site, "cat").published
        else:
            with pytest.raises(
                DescriptorError, match="'R' and 'r', which differ only in case; list the table's columns"
            ):
                ingest_collection(site, "cat")
