"""Tables of which some rows are simulated: said by a condition, told in each row, in answers, in ivoa.obscore and on pages."""

from __future__ import annotations

import pytest

from hven import query
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.query import build_result_metadata
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

TEXT = """\
collection: emission
title: Emissions
{more}tables:
  main:
    source: {{kind: csv, files: rows.csv}}
    primary: id
    simulated: "{condition}"
{table}"""
ROWS = "id,ra,dec,model\n1,10,20,\n2,11,21,jrm09\n3,12,22,vip4\n"
OBSCORE = "    obscore: {map: {calib_level: '2'}}\n"


def fetch_rows(site, adql):
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        columns = {one.name: one for one in result.columns}
        infos = [one.value for one in build_result_metadata(result).infos if one.name == "data_type"]
        return result.read_table().to_pylist(), columns, infos


@pytest.mark.parametrize(
    "table",
    [
        "",
        "    columns: {id: int64, ra: float64, dec: float64}\n",
        "    columns: {data_source: {description: Ours}}\n    follow: true\n",
    ],
)
def test_rows_say_whether_they_are_simulated(tmp_path, table):
    with open_site_with_uningested_files(
        tmp_path,
        TEXT.format(condition="model IS NOT NULL AND model <> 'vip4'", more="", table=table),
        {"rows.csv": ROWS},
    ) as site:
        assert [
            one
            for one in check_descriptor(
                site.settings.collections_directory / "emission" / "emission.yaml", site.settings
            )
            if one.severity == "error"
        ] == []
        ingest_collection(site, "emission")
        rows, columns, infos = fetch_rows(site, "SELECT id, data_source FROM emission.main ORDER BY id")
        assert [row["data_source"] for row in rows] == ["observation", "theory", "observation"]
        assert (columns["data_source"].ucd, columns["data_source"].utype) == (
            "meta.code.class",
            "http://www.ivoa.net/rdf/data-source",
        )
        assert columns["data_source"].description.startswith("Ours" if "Ours" in table else "Where the row comes from")
        assert infos == ["emission.main: observation, or simulation where data_source is theory"]
        assert (
            fetch_rows(site, "SELECT ra FROM emission.main")[2] == infos
        )  # who does not ask for the column hears of it
        assert site.get_published_state().tables_by_name["emission.main"].resource.is_partly_simulated


def test_what_nobody_knows_is_null_and_all_simulated_is_said_once(tmp_path):
    text = TEXT.format(condition="model LIKE 'j%'", more="type: [Simulation]\n", table="")
    with open_site_with_uningested_files(tmp_path, text, {"rows.csv": ROWS}) as site:
        ingest_collection(site, "emission")
        rows, _, infos = fetch_rows(site, "SELECT data_source FROM emission.main ORDER BY id")
        assert ([row["data_source"] for row in rows], infos) == ([None, "theory", "observation"], ["simulation"])


def test_observations_carry_the_mark(tmp_path):
    with open_site_with_uningested_files(
        tmp_path,
        TEXT.format(condition="model IS NOT NULL", more="subjects: [jupiter]\n", table=OBSCORE),
        {"rows.csv": ROWS},
    ) as site:
        ingest_collection(site, "emission")
        site.refresh_published_state()
        rows, columns, infos = fetch_rows(site, "SELECT obs_id, data_source FROM ivoa.obscore ORDER BY obs_id")
        assert [row["data_source"] for row in rows] == ["observation", "theory", "theory"]
        assert columns["data_source"].utype == "http://www.ivoa.net/rdf/data-source"
        assert infos == ["emission.main: observation, or simulation where data_source is theory"]


@pytest.mark.parametrize(("condition", "words"), [("modell = 'x'", "modell"), ("model IS", "simulated"), ("ra", "")])
def test_a_wrong_condition_is_told_with_its_place(tmp_path, condition, words):
    with open_site_with_uningested_files(
        tmp_path, TEXT.format(condition=condition, more="", table=""), {"rows.csv": ROWS}
    ) as site:
        found = [
            one
            for one in check_descriptor(
                site.settings.collections_directory / "emission" / "emission.yaml", site.settings
            )
            if one.severity == "error"
        ]
    assert found, "nothing is told"
    assert {one.place.line for one in found} == {7}
    assert words in " ".join(map(str, found))
