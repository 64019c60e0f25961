"""The checks that come with EPN-TAP: each planted fault is found, counted, shown, and the good rows are published."""

from __future__ import annotations

import csv
import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hven.ingest._unique_checks import SeenRowHashes
from hven.ingest.api.runs import ingest_collection
from hven.model.literal import hash_rows
from hven.testing.site import open_site_with_uningested_files

HEAD = """\
collection: maps
title: Maps
created: 2020-01-02
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: body
    max_rejects: 1
    optional: [access, thumbnail_url, local_time, messenger, measurement_unit, species_inchikey, coverage, internal_reference]
    source: {kind: csv, files: rows.csv}
"""
GOOD = {
    "granule_uid": "a1", "granule_gid": "map", "obs_id": "a", "dataproduct_type": "ma", "measurement_type": "phys.reflectance", "processing_level": "5",
    "target_name": "Mars", "target_class": "planet", "time_min": "2453005.5", "time_max": "2453005.6", "time_exp_min": "1", "time_exp_max": "2",
    "spectral_range_min": "1e14", "spectral_range_max": "2e14", "c1min": "10", "c1max": "20", "c2min": "-5", "c2max": "5", "s_region": "Polygon UNKNOWNFrame 10 -5 20 -5 20 5",
    "incidence_min": "10", "incidence_max": "20", "emergence_min": "5", "emergence_max": "6", "phase_min": "8", "phase_max": "24", "instrument_name": "OMEGA",
    "instrument_host_name": "mex", "access_url": "https://x.org/a.png", "access_format": "image/png", "access_estsize": "10", "thumbnail_url": "https://x.org/t.png",
    "local_time_min": "1", "local_time_max": "2", "messenger": "Infrared", "measurement_unit": "W/m**2", "species_inchikey": "XLYOFNOQVPJJNP-UHFFFAOYSA-N",
    "coverage": "6/1-4 9 7/120", "internal_reference": "a2#a3", "modification_date": "2021-01-01",
}  # fmt: skip
FAULTS = [
    ("granule_uid", "a#1", "epn.uid_text", "error"),
    ("granule_uid", "é1", "epn.uid_text", "error"),
    ("dataproduct_type", "map", "epn.dataproduct_type", "error"),
    ("dataproduct_type", "ma#xx", "epn.dataproduct_type", "error"),
    ("target_class", "Planet", "epn.target_class", "error"),
    ("processing_level", "9", "epn.processing_level", "error"),
    ("processing_level", "4", "epn.level_4", "warning"),
    ("measurement_type", "phys.reflectanze", "epn.measurement_type", "warning"),
    ("measurement_type", "phys.reflectance#phot..flux", "epn.measurement_type", "warning"),
    ("measurement_unit", "Watt per m2", "epn.unit", "warning"),
    ("messenger", "infrared", "epn.messenger", "error"),
    ("species_inchikey", "XLYOFNOQVPJJNP-UHFFFAOYSA", "epn.inchikey", "error"),
    ("target_name", "Mars #Phobos", "epn.items: target_name", "warning"),
    ("target_name", "'Mars'", "epn.items: target_name", "warning"),
    ("access_format", "PNG", "epn.access_format", "error"),
    ("access_format", "", "epn.access", "error"),
    ("access_estsize", "", "epn.access", "error"),
    ("access_url", "x.org/a.png", "epn.access_url", "error"),
    ("access_url", "https://x.org/a b.png", "epn.access_url", "error"),
    ("thumbnail_url", "file:///tmp/t.png", "epn.links", "warning"),
    ("time_max", "", "epn.pair: time_min, time_max", "error"),
    ("c1min", "", "epn.pair: c1min, c1max", "error"),
    ("time_max", "2453004", "epn.time_order", "error"),
    ("time_exp_min", "5", "epn.order: time_exp_min, time_exp_max", "error"),
    ("time_min", "53005", "epn.julian: time_min", "error"),
    ("time_min", "1721058", "epn.epoch: time_min", "warning"),
    ("c1max", "-10", "epn.longitude: c1max", "error"),
    ("c1max", "361", "epn.longitude: c1max", "error"),
    ("c1min", "20", "epn.all_longitudes", "warning"),
    ("c2max", "95", "epn.latitude: c2max", "error"),
    ("c2min", "6", "epn.order_c: c2min, c2max", "error"),
    ("local_time_max", "25", "epn.local_time: local_time_max", "error"),
    ("incidence_max", "181", "epn.angles: incidence_max", "error"),
    ("incidence_max", "95", "epn.horizon: incidence_max", "info"),
    ("phase_max", "190", "epn.phase: phase_max", "error"),
    ("phase_max", "60", "epn.phase_relation", "warning"),
    ("time_exp_min", "-1", "epn.not_negative: time_exp_min", "error"),
    ("s_region", "Polygon 10 -5 20", "epn.region", "error"),
    ("s_region", "around the pole", "epn.region", "error"),
    ("s_region", "Circle UNKNOWNFrame 10 95 1", "epn.region", "error"),
    ("coverage", "6/1-4 x", "epn.coverage", "error"),
    ("internal_reference", "a2##a3", "epn.items: internal_reference", "warning"),
    ("modification_date", "2019-01-01", "epn.dates", "warning"),
    ("granule_gid", "", "granule_gid: required", "error"),
    ("obs_id", "", "obs_id: required", "error"),
]


def table(*rows: dict[str, str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(GOOD))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def report_of(tmp_path, rows, more="", **settings_):
    with open_site_with_uningested_files(tmp_path, HEAD + more, {"rows.csv": rows}, **settings_) as site:
        return ingest_collection(site, "maps").tables["maps.epn_core"]


@pytest.fixture(scope="module")
def faulty_report(tmp_path_factory):
    rows = [GOOD]
    for number, (column, value, *_) in enumerate(FAULTS, 2):
        rows.append({**GOOD, "granule_uid": f"a{number}", "obs_id": f"o{number}", column: value})
    return report_of(tmp_path_factory.mktemp("faults"), table(*rows))


def test_a_good_row_has_no_findings(tmp_path):
    # over 0 to 20
    report = report_of(tmp_path, table(GOOD, {**GOOD, "granule_uid": "a2", "granule_gid": "cube", "c1min": "350"}))
    assert not report.findings
    assert report.published == 2


@pytest.mark.parametrize(("number", "fault"), list(enumerate(FAULTS)), ids=[f"{item[2]}-{item[1]}" for item in FAULTS])
def test_each_fault_is_found(faulty_report, number, fault):
    column, value, rule, severity = fault
    found = faulty_report.findings[rule]
    assert found.severity == severity
    assert number + 2 in {offender.row for offender in found.offenders}
    mine = next(offender for offender in found.offenders if offender.row == number + 2)
    if mine.value is not None and mine.column == column and value:
        assert mine.value.strip() in {
            value.strip(),
            str(float(value)) if value.replace(".", "").strip("-").isdigit() else value,
        }


def test_rows_with_errors_alone_are_kept_aside(faulty_report):
    wrong = sum(1 for *_, severity in FAULTS if severity == "error")
    assert faulty_report.rejected == wrong
    assert faulty_report.published == 1 + len(FAULTS) - wrong


def test_two_files_with_one_granule(tmp_path):
    more = {"granule_uid": "a2", "granule_gid": "cube"}
    files = {"one.csv": table(GOOD), "two.csv": table({**GOOD, **more}, GOOD)}
    text = HEAD.replace("files: rows.csv", "files: ['*.csv']")
    with open_site_with_uningested_files(tmp_path, text, files) as site:
        report = ingest_collection(site, "maps").tables["maps.epn_core"]
    assert (report.published, report.rejected) == (2, 1)
    offender = report.findings["epn.unique"].offenders[0]
    assert (offender.file, offender.row, offender.value) == ("two.csv", 2, "a1")


def test_two_sources_with_one_granule(tmp_path):
    text = HEAD.replace(
        "source: {kind: csv, files: rows.csv}", "source: [{kind: csv, files: one.csv}, {kind: csv, files: two.csv}]"
    )
    with open_site_with_uningested_files(tmp_path, text, {"one.csv": table(GOOD), "two.csv": table(GOOD)}) as site:
        report = ingest_collection(site, "maps").tables["maps.epn_core"]
    assert report.findings["epn.unique"].count == 1
    assert report.published == 1


@pytest.mark.parametrize(
    ("column", "value"), [("c1min", "ten"), ("target_class", "Planet"), ("access_estsize", ""), ("obs_id", "")]
)
def test_a_row_that_is_set_aside_takes_no_name_from_a_later_one(tmp_path, column, value):
    bad = {**GOOD, column: value}
    text = HEAD.replace("files: rows.csv", "files: ['*.csv']")
    with open_site_with_uningested_files(
        tmp_path / "apart", text, {"one.csv": table(bad), "two.csv": table(GOOD, bad)}
    ) as site:
        report = ingest_collection(site, "maps").tables["maps.epn_core"]
    assert (report.published, report.rejected, report.findings.get("epn.unique")) == (1, 2, None)
    with open_site_with_uningested_files(
        tmp_path / "together", text, {"one.csv": table(bad, GOOD, GOOD), "two.csv": table(GOOD)}
    ) as site:
        report = ingest_collection(site, "maps").tables["maps.epn_core"]
    assert (report.published, report.rejected, report.findings["epn.unique"].count) == (1, 3, 2)


def test_severities_of_a_table_and_of_a_site(tmp_path):
    bad = table({**GOOD, "time_max": "2453004", "target_class": "Planet"})
    report = report_of(
        tmp_path / "a", bad, "    rules: {epn.time_order: {severity: warning}, epn.target_class: {severity: 'off'}}\n"
    )
    assert report.published == 1
    assert {name: item.severity for name, item in report.findings.items()} == {"epn.time_order": "warning"}
    report = report_of(tmp_path / "b", bad, rules={"epn.time_order": "info", "epn.target_class": "warning"})
    assert {name: item.severity for name, item in report.findings.items()} == {
        "epn.time_order": "info",
        "epn.target_class": "warning",
    }
    report = report_of(
        tmp_path / "c",
        bad,
        "    rules: {epn.target_class: {severity: 'off'}}\n",
        rules={"epn.time_order": "off", "epn.target_class": "error"},
    )
    assert not report.findings  # the table's own word counts more than the site's


def test_what_is_not_said_follows(tmp_path):
    keys = ("granule_uid", "dataproduct_type", "target_class", "time_min")
    text = HEAD.replace(
        "    optional: [access, thumbnail_url, local_time, messenger, measurement_unit, species_inchikey, coverage, internal_reference]\n",
        "",
    )
    rows = ",".join(keys) + "\n" + ",".join(GOOD[key] for key in keys) + "\n"
    from hven import query

    with open_site_with_uningested_files(tmp_path, text, {"rows.csv": rows}) as site:
        ingest_collection(site, "maps")
        site.refresh_published_state()
        with query.run_query("SELECT * FROM maps.epn_core", site=site) as result:
            (row,) = pa.Table.from_batches(list(result.iterate_batches())).to_pylist()
    assert (row["service_title"], row["granule_gid"], row["obs_id"], row["spatial_frame_type"]) == (
        "maps",
        "granule",
        "a1",
        "body",
    )
    assert str(row["release_date"]) == str(row["creation_date"]) == "2020-01-02 00:00:00"
    assert row["time_max"] == row["time_min"]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(st.sampled_from(["", "a", "b", "ab", "ba", "é", "a" * 300, "a" * 299 + "b", None]), max_size=12),
        max_size=6,
    )
)
def test_rows_seen_before_are_those_of_a_set(batches):
    seen, known = SeenRowHashes(), set()
    for batch in batches:
        mask, code = hash_rows([pa.array(batch, pa.string())])
        expected = []
        for value in batch:
            expected.append(value is not None and value in known)
            known.add(value)
        assert seen.add_rows_and_find_repeated(code, mask).tolist() == expected


def test_hashes_of_slices_and_of_several_columns():
    one, two = pa.array(["x", "ab", "c", "ab"]), pa.array(["y", "c", "ab", "c"])
    _, whole = hash_rows([one, two])
    _, part = hash_rows([one.slice(1), two.slice(1)])
    assert np.array_equal(whole[1:], part)
    assert whole[1] != whole[2]
    assert whole[1] == whole[3]
