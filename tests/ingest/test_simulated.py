"""Tables of which some rows are simulated: said by a condition, told in each row, in answers, in ivoa.obscore and on pages."""

from __future__ import annotations

import pytest

from hven import query
from hven.descriptor import check
from hven.ingest import ingest
from hven.query.head import head
from hven.site.auth._permit import OWNER
from hven.testing.site import site_with

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


def told(site, adql):
    with query.run(adql, OWNER, site=site) as result:
        columns = {one.name: one for one in result.columns}
        infos = [one.value for one in head(result).infos if one.name == "data_type"]
        return result.table().to_pylist(), columns, infos


@pytest.mark.parametrize(
    "table",
    [
        "",
        "    columns: {id: int64, ra: float64, dec: float64}\n",
        "    columns: {data_source: {description: Ours}}\n    follow: true\n",
    ],
)
def test_rows_say_whether_they_are_simulated(tmp_path, table):
    with site_with(
        tmp_path,
        TEXT.format(condition="model IS NOT NULL AND model <> 'vip4'", more="", table=table),
        {"rows.csv": ROWS},
    ) as site:
        assert [
            one
            for one in check(site.settings.collections / "emission" / "emission.yaml", site.settings)
            if one.severity == "error"
        ] == []
        ingest(site, "emission")
        rows, columns, infos = told(site, "SELECT id, data_source FROM emission.main ORDER BY id")
        assert [row["data_source"] for row in rows] == ["observation", "theory", "observation"]
        assert (columns["data_source"].ucd, columns["data_source"].utype) == (
            "meta.code.class",
            "http://www.ivoa.net/rdf/data-source",
        )
        assert columns["data_source"].description.startswith("Ours" if "Ours" in table else "Where the row comes from")
        assert infos == ["emission.main: observation, simulation where data_source is theory"]
        assert told(site, "SELECT ra FROM emission.main")[2] == infos  # who does not ask for the column hears of it
        assert site.current().published["emission.main"].resource.partly_simulated


def test_what_nobody_knows_is_null_and_all_simulated_is_said_once(tmp_path):
    text = TEXT.format(condition="model LIKE 'j%'", more="type: [Simulation]\n", table="")
    with site_with(tmp_path, text, {"rows.csv": ROWS}) as site:
        ingest(site, "emission")
        rows, _, infos = told(site, "SELECT data_source FROM emission.main ORDER BY id")
        assert ([row["data_source"] for row in rows], infos) == ([None, "theory", "observation"], ["simulation"])


def test_observations_carry_the_mark(tmp_path):
    with site_with(
        tmp_path,
        TEXT.format(condition="model IS NOT NULL", more="subjects: [jupiter]\n", table=OBSCORE),
        {"rows.csv": ROWS},
    ) as site:
        ingest(site, "emission")
        site.refresh()
        rows, columns, infos = told(site, "SELECT obs_id, data_source FROM ivoa.obscore ORDER BY obs_id")
        assert [row["data_source"] for row in rows] == ["observation", "theory", "theory"]
        assert columns["data_source"].utype == "http://www.ivoa.net/rdf/data-source"
        assert infos == ["emission.main: observation, simulation where data_source is theory"]


@pytest.mark.parametrize(("condition", "words"), [("modell = 'x'", "modell"), ("model IS", "simulated"), ("ra", "")])
def test_a_wrong_condition_is_told_with_its_place(tmp_path, condition, words):
    with site_with(tmp_path, TEXT.format(condition=condition, more="", table=""), {"rows.csv": ROWS}) as site:
        found = [
            one
            for one in check(site.settings.collections / "emission" / "emission.yaml", site.settings)
            if one.severity == "error"
        ]
    assert found, "nothing is told"
    assert {one.place.line for one in found} == {7}
    assert words in " ".join(map(str, found))
