"""Bad input: told with place, count and remedy, kept aside - and what was served before is unharmed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import HvenError
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from process_runner import run_hven

TABLE = """\
collection: cat
title: Observations
tables:
  t:
    primary: uid
    columns:
      uid: {type: string}
      n: {type: int32}
      t: {type: timestamp}
    source: {kind: KIND, files: "data*"}
"""
GOOD = [{"uid": f"u{n}", "n": n, "t": "2004-01-01T00:00:00"} for n in range(200)]


def write_csv(records):
    names = list(records[0])
    return (
        ",".join(names)
        + "\n"
        + "".join(",".join(str(record.get(name, "")) for name in names) + "\n" for record in records)
    )


def write_json(records):
    return "".join(json.dumps(record) + "\n" for record in records)


FORMS = {"csv": write_csv, "json": write_json}


class PublishedCollection:
    """A collection that is published, before its source goes wrong."""

    def __init__(self, site, kind):
        self.site, self.kind = site, kind
        self.home = site.settings.collections_directory / "cat"
        ingest_collection(site, "cat")

    def put(self, records, name="data"):
        text = records if isinstance(records, str) else FORMS[self.kind](records)
        (self.home / name).write_text(text)

    def rows(self):
        with query.run_query(
            "SELECT COUNT(*) AS n, MAX(n) AS high FROM cat.t", OWNER_PRINCIPAL, site=self.site
        ) as result:
            return result.read_table().to_pylist()[0]

    def check_ingest_fails(self):
        """Ingest, which fails; what was served stays."""
        before = self.site.store.read_published_records()[1]["cat.t"].id
        with pytest.raises(HvenError) as caught:
            ingest_collection(self.site, "cat")
        assert self.site.store.read_published_records()[1]["cat.t"].id == before
        assert self.rows() == {"n": 200, "high": 199}
        return str(caught.value)


def rejects(report):
    with Path(report.tables["cat.t"].rejects).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(params=["csv", "json"])
def published_collection(request, tmp_path):
    with open_site_with_uningested_files(
        tmp_path, TABLE.replace("KIND", request.param), {"data": FORMS[request.param](GOOD)}
    ) as site:
        yield PublishedCollection(site, request.param)


def test_a_column_that_vanished(published_collection):
    published_collection.put([{"uid": one["uid"], "time": one["t"], "n": one["n"]} for one in GOOD])
    message = published_collection.check_ingest_fails()
    assert "cat.yaml:9:7: tables.t.columns.t: nothing sets this column, and the source has no column 't'" in message


def test_rows_with_a_changed_type_are_rejected(published_collection):
    published_collection.put([{**one, "n": "many" if one["n"] >= 150 else one["n"]} for one in GOOD])
    report = ingest_collection(published_collection.site, "cat")
    table = report.tables["cat.t"]
    assert (table.published, table.rejected) == (150, 50)
    [finding] = table.findings.values()
    assert (finding.count, finding.offenders[0].row) == (50, 151)
    assert len(rejects(report)) == 50


def test_most_of_a_type_changed(published_collection):
    published_collection.put([{**one, "n": "many" if one["n"] >= 50 else one["n"]} for one in GOOD])
    message = published_collection.check_ingest_fails()
    assert "150 of 200 rows of cat.t were rejected, more than the limit of 50%" in message
    assert "row 51" in message


def test_one_bad_date(published_collection):
    published_collection.put([{**one, "t": "2004-13-45T00:00:00" if one["n"] == 123 else one["t"]} for one in GOOD])
    report = ingest_collection(published_collection.site, "cat")
    assert (report.tables["cat.t"].published, report.tables["cat.t"].rejected) == (199, 1)
    [bad] = rejects(report)
    assert (bad["row"], bad["column"]) == ("124", "t")
    assert "2004-13-45" in bad["value"]


def test_an_object_where_a_number_was(published_collection):
    if published_collection.kind != "json":
        pytest.skip("delimited text has no objects")
    published_collection.put([{**one, "n": {"value": 1} if one["n"] == 7 else one["n"]} for one in GOOD])
    report = ingest_collection(published_collection.site, "cat")
    assert report.tables["cat.t"].published == 199
    assert any("n: it contains objects and single values" in str(one) for one in report.tables["cat.t"].deviations)
    [bad] = rejects(report)
    assert (bad["row"], bad["column"], bad["value"]) == ("8", "n", '{"value":1}')
    assert json.loads(json.loads(bad["text"])["n"]) == {"value": 1}


def test_one_key_in_two_files(published_collection):
    published_collection.put(GOOD[:100], "data")
    published_collection.put(GOOD[99:], "data2")
    message = published_collection.check_ingest_fails()
    assert "u99" in message
    assert "uid" in message


def test_a_source_that_stops_midway(published_collection):
    text = FORMS[published_collection.kind](GOOD)
    if published_collection.kind == "csv":
        import gzip

        (published_collection.home / "data").write_bytes(gzip.compress(text.encode())[:-200])
        assert "data is damaged or truncated (gz)" in published_collection.check_ingest_fails()
    else:
        published_collection.put(text[:-20])
        assert "data: the file ends in the middle of its last record" in published_collection.check_ingest_fails()
        published_collection.put("[" + text.strip().replace("\n", ",\n")[:-20])
        assert (
            "data:200: the file ends in the middle of its list, in record 200; download the file again; it is truncated"
            in published_collection.check_ingest_fails()
        )


def test_records_that_are_no_json_are_kept_aside(published_collection):
    if published_collection.kind != "json":
        pytest.skip("this is about JSON")
    lines = write_json(GOOD).splitlines()
    lines[30] = lines[30].replace(":", "", 1)
    lines[60] = lines[60][:-3]
    published_collection.put("\n".join(lines) + "\n")
    report = ingest_collection(published_collection.site, "cat")
    assert (report.tables["cat.t"].published, report.tables["cat.t"].rejected) == (198, 2)
    found = rejects(report)
    assert [(bad["row"], bad["reason"]) for bad in found] == [("31", "not JSON"), ("61", "not JSON")]
    assert found[1]["value"].startswith("line 61: ")
    assert found[1]["text"] == lines[60]


def test_a_first_descriptor_of_json(tmp_path):
    run_hven("init", tmp_path / "site")
    (tmp_path / "items.geojson").write_text(
        json.dumps(
            {
                "type": "FeatureCollection",
                "features": [
                    {"id": n, "geometry": {"type": "Point", "coordinates": [n, 2]}, "properties": {"a b": n}}
                    for n in range(5)
                ],
            }
        )
    )
    run_hven("new", "items", "--from", tmp_path / "items.geojson", cwd=tmp_path / "site")
    assert "0 errors" in run_hven("check", "items", cwd=tmp_path / "site").stdout
    assert "items.main: 5 rows" in run_hven("ingest", "items", cwd=tmp_path / "site").stdout


def test_a_fits_file_that_is_cut_short(tmp_path):
    """Cut within its rows, within its header, to nothing: refused each time, and what was served stays."""
    from astropy.io import fits
    from astropy.table import Table

    rows = Table({"uid": [record["uid"] for record in GOOD], "n": [record["n"] for record in GOOD]})
    rows.write(tmp_path / "whole.fits")
    whole = (tmp_path / "whole.fits").read_bytes()
    text = TABLE.replace("KIND", "fits").replace("      t: {type: timestamp}\n", "")
    with open_site_with_uningested_files(tmp_path / "site", text, {"data.fits": whole}) as site:
        served = PublishedCollection(site, "fits")
        assert served.rows() == {"n": 200, "high": 199}
        with fits.open(tmp_path / "whole.fits") as there:
            begin = there[1].fileinfo()["datLoc"]
        for size in (begin + 1000, begin - 1500, 2000, 0):
            (served.home / "data.fits").write_bytes(whole[:size])
            told = served.check_ingest_fails()
            assert "data.fits" in told, size
        (served.home / "data.fits").write_bytes(whole)
        assert ingest_collection(site, "cat").tables["cat.t"].published == 200


def test_regions_that_are_none_and_words_that_are_no_ucd(tmp_path):
    """One bad region and one bad UCD among good rows: told with their rows, the region's row kept aside, the others served."""
    text = """\
collection: cat
title: Granules
created: 2026-01-01
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: body
    source: {kind: csv, files: rows.csv}
    set: {dataproduct_type: im, target_class: planet, target_name: Mars, granule_gid: a, processing_level: 3}
    text: {granule_uid: "{id}", obs_id: "{id}"}
    map: {s_region: shape, measurement_type: words}
"""
    lines = [f"g{n},Polygon UNKNOWNFrame 10 1 20 1 20 2,phot.flux" for n in range(100)]
    lines[41] = "g41,Polygon UNKNOWNFrame 10 1 20,phot.flux"
    lines[57] = "g57,Polygon UNKNOWNFrame 10 1 20 1 20 2,phot.flx"
    with open_site_with_uningested_files(
        tmp_path, text, {"rows.csv": "id,shape,words\n" + "\n".join(lines) + "\n"}
    ) as site:
        report = ingest_collection(site, "cat").tables["cat.epn_core"]
        assert (report.published, report.rejected) == (99, 1)
        region, ucd = report.findings["epn.region"], report.findings["epn.measurement_type"]
        assert (region.severity, region.count, region.offenders[0].row) == ("error", 1, 42)
        assert (ucd.severity, ucd.count, ucd.offenders[0].row) == ("warning", 1, 58)
        assert "10 1 20" in str(region.offenders[0].value)
        with query.run_query("SELECT COUNT(*) AS n FROM cat.epn_core", OWNER_PRINCIPAL, site=site) as result:
            assert result.read_table().to_pylist() == [{"n": 99}]
