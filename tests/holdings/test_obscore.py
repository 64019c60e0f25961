"""ivoa.obscore: made of all tables that say ``obscore:``, for each reader of those that they see, served by their indexes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import Settings
from hven.site import Site
from hven.site.auth import Principal
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL
from hven.testing.policies import build_odd_rows_hidden_policies
from plugin_needs import build_settings
from postgres_cluster import run_server

IMAGES = """\
collection: {name}
title: Images
access: {access}
tables:
  main:
    source: {{kind: csv, files: rows.csv}}
    primary: ident
    columns:
      ident: {{type: string, description: Name}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: RA}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Dec}}
      wave: {{type: float64, unit: nm, ucd: em.wl, description: Wavelength}}
      start: {{type: timestamp, description: Begin}}
      n: {{type: int32, description: Number}}
    obscore:
      set: {{dataproduct_type: image, calib_level: 2, obs_collection: {name}, facility_name: OHP}}
      text: {{obs_title: "Image {{ident}} of {{n}}"}}
      map:
        em_min: wave
        s_region: "'Circle ICRS ' || CAST(ra AS VARCHAR) || ' ' || CAST(dec AS VARCHAR) || ' 0.1'"
      optional: obs_title
      columns:
        number_{name}: {{type: int32, description: A number}}
"""
MAPS = """\
collection: maps
title: Maps of Mars
created: 2020-01-02
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: body
    optional: access
    source: {kind: csv, files: rows.csv}
    set: {target_name: Mars, target_class: planet, dataproduct_type: ma, processing_level: 5, access_format: image/png, access_estsize: 10}
    text: {granule_uid: "{cube}_map", obs_id: "{cube}", access_url: "https://x.org/{cube}.png"}
    map: {time_min: jd(parse_time(t)), spectral_range_min: f1, spectral_range_max: f2, c1min: lon, c2min: lat}
    obscore: {}
"""


def rows(name: str, count: int, seed: int) -> str:
    made = np.random.default_rng(seed)
    lines = ["ident,ra,dec,wave,start,n"]
    for number in range(count):
        ra, dec = made.uniform(0, 360), np.degrees(np.arcsin(made.uniform(-1, 1)))
        lines.append(
            f"{name}{number},{ra:.6f},{dec:.6f},{500 + number % 7},2004-01-{number % 28 + 1:02d}T00:00:00,{number}"
        )
    return "\n".join(lines) + "\n"


def write(directory, name, text, content):
    place = directory / "collections" / name
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.yaml").write_text(text)
    (place / "rows.csv").write_text(content)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("observations")
    for number, (name, access) in enumerate((("one", "public"), ("two", "public"), ("secret", "private"))):
        text = IMAGES.format(name=name, access=access)
        if name != "two":
            text = text.replace("      columns:\n        number_" + name, "      columns:\n        number").replace(
                "map:\n", "map:\n        number: n\n", 1
            )
        else:
            text = text.split("      columns:\n        number_")[0]
        write(directory, name, text, rows(name, 3000, number))
    write(
        directory,
        "maps",
        MAPS,
        "cube,t,lon,lat,f1,f2\nc1,2004-01-01T12:00:00,10,20,1e14,2e14\nc2,2004-01-02T00:00:00,11,21,1e14,1e14\n",
    )
    with Site(Settings(directory=directory, authority="ohp.fr"), watch_for_changes=False) as found:
        for name in ("one", "two", "secret", "maps"):
            ingest_collection(found, name)
        found.refresh_published_state()
        yield found


OWNER = Principal(name="owner", groups=frozenset({"owner"}))


def ask(site, text, who=ANONYMOUS_PRINCIPAL, **more):
    with query.run_query(text, who, site=site, **more) as result:
        batches = list(result.iterate_batches())
    return pa.Table.from_batches(
        batches,
        schema=pa.schema([(column.name, column.type.arrow) for column in result.columns])
        if not batches
        else batches[0].schema,
    )


def test_all_public_collections_are_in_it(site):
    found = ask(
        site, "SELECT obs_collection, COUNT(*) AS n FROM ivoa.obscore GROUP BY obs_collection ORDER BY obs_collection"
    )
    assert found.to_pylist() == [
        {"obs_collection": "maps", "n": 2},
        {"obs_collection": "one", "n": 3000},
        {"obs_collection": "two", "n": 3000},
    ]


def test_eyes_of_each_reader(site):
    assert ask(site, "SELECT COUNT(*) AS n FROM ivoa.obscore").to_pylist() == [{"n": 6002}]
    assert ask(site, "SELECT COUNT(*) AS n FROM ivoa.obscore", OWNER).to_pylist() == [{"n": 9002}]
    hidden = ask(
        site, "SELECT * FROM ivoa.obscore WHERE obs_collection = 'secret' OR obs_publisher_did LIKE '%secret%'"
    )
    assert hidden.num_rows == 0
    assert ask(site, "SELECT COUNT(*) AS n FROM ivoa.obscore WHERE obs_collection = 'secret'", OWNER).to_pylist() == [
        {"n": 3000}
    ]


def test_rows_that_a_policy_hides_are_hidden_here_too(site):
    policies = build_odd_rows_hidden_policies("n")
    found = ask(
        site,
        "SELECT obs_collection, COUNT(*) AS n FROM ivoa.obscore GROUP BY obs_collection ORDER BY 1",
        policies=policies,
    )
    assert found.to_pylist() == [
        {"obs_collection": "maps", "n": 2},
        {"obs_collection": "one", "n": 1500},
        {"obs_collection": "two", "n": 1500},
    ]
    one = "SELECT obs_id FROM ivoa.obscore WHERE obs_publisher_did = 'ivo://ohp.fr/one?one7'"
    assert ask(site, one).to_pylist() == [{"obs_id": "one7"}]
    assert ask(site, one, policies=policies).num_rows == 0


def test_what_follows_from_epn_tap(site):
    found = ask(site, "SELECT * FROM ivoa.obscore WHERE obs_collection = 'maps' ORDER BY obs_id").to_pylist()
    first, second = found
    assert first["obs_publisher_did"] == "ivo://ohp.fr/maps?c1_map"
    assert (first["dataproduct_type"], first["calib_level"], first["t_min"], first["t_max"]) == (
        "image",
        3,
        53005.5 - 0.0,
        53005.5 - 0.0,
    )
    # longitudes on Mars are no place on the sky
    assert (first["s_ra"], first["s_dec"], first["s_region"]) == (None, None, None)
    assert first["em_min"] == pytest.approx(299792458.0 / 2e14, rel=1e-14)
    assert first["em_max"] == pytest.approx(299792458.0 / 1e14, rel=1e-14)
    assert second["em_min"] == second["em_max"]
    assert first["access_estsize"] == 10
    assert first["number"] is None


def test_units_are_converted(site):
    found = ask(site, "SELECT obs_id, em_min, obs_title FROM ivoa.obscore WHERE obs_id = 'one3'").to_pylist()
    assert found == [{"obs_id": "one3", "em_min": pytest.approx(503e-9), "obs_title": "Image one3 of 3"}]


def test_columns_are_the_standards_then_their_own(site):
    shown = ask(
        site,
        "SELECT column_name, datatype, arraysize, xtype, std FROM TAP_SCHEMA.columns WHERE table_name = 'ivoa.obscore' ORDER BY column_index",
    ).to_pylist()
    assert [row["column_name"] for row in shown[-2:]] == ["obs_title", "number"]
    assert shown[-1]["std"] == 0
    by = {row["column_name"]: row for row in shown}
    assert (by["s_region"]["datatype"], by["s_region"]["xtype"]) == ("char", "adql:REGION")
    assert by["access_estsize"]["datatype"] == "long"
    assert by["em_xel"]["datatype"] == "long"  # a column that is always null has its type all the same
    row = ask(site, "SELECT TOP 1 * FROM ivoa.obscore")
    assert row.column_names == list(by)


CONE = "SELECT obs_id FROM ivoa.obscore WHERE 1 = CONTAINS(POINT(s_ra, s_dec), CIRCLE(120, 30, 8))"


def test_a_cone_uses_the_indexes_of_the_members(site):
    said = query.explain_query(CONE, site=site)
    assert str(said).count("position index (circle)") == 2
    assert "there is no position" in str(said)
    inside = set(ask(site, CONE).column("obs_id").to_pylist())
    expected = set()
    for name in ("one", "two"):
        table = ask(site, f"SELECT ident, DISTANCE(ra, dec, 120, 30) AS d FROM {name}.main")
        expected |= {row["ident"] for row in table.to_pylist() if row["d"] <= 8}
    assert inside == expected
    assert inside


def test_a_key_finds_its_row_by_index(site):
    text = "SELECT obs_collection FROM ivoa.obscore WHERE obs_publisher_did = 'ivo://ohp.fr/two?two77'"
    assert "after 'ivo://ohp.fr/two?'" in str(query.explain_query(text, site=site))
    assert ask(site, text).to_pylist() == [{"obs_collection": "two"}]
    assert ask(site, text.replace("two77", "one77")).num_rows == 0
    assert "a constant" in str(
        query.explain_query("SELECT * FROM ivoa.obscore WHERE obs_collection = 'one'", site=site)
    )


def test_regions_are_regions(site):
    found = ask(site, "SELECT obs_id FROM ivoa.obscore WHERE 1 = CONTAINS(POINT(120, 30), s_region)")
    near = ask(
        site,
        "SELECT ident AS obs_id FROM one.main WHERE DISTANCE(ra, dec, 120, 30) <= 0.1 UNION ALL SELECT ident FROM two.main WHERE DISTANCE(ra, dec, 120, 30) <= 0.1",
    )
    assert set(found.column(0).to_pylist()) == set(near.column(0).to_pylist())


def test_it_comes_and_goes_with_its_collections(tmp_path):
    write(
        tmp_path,
        "maps",
        MAPS.replace("    obscore: {}\n", ""),
        "cube,t,lon,lat,f1,f2\nc1,2004-01-01T12:00:00,10,20,1e14,2e14\n",
    )
    with Site(Settings(directory=tmp_path), watch_for_changes=False) as site:
        ingest_collection(site, "maps")
        assert "ivoa.obscore" not in site.refresh_published_state().tables_by_name
        (tmp_path / "collections/maps/maps.yaml").write_text(MAPS)
        before = site.get_published_state()
        after = site.refresh_published_state()
        assert "ivoa.obscore" in after.tables_by_name  # no ingest is needed, and it is one picture
        assert after.version != before.version
        (tmp_path / "collections/maps/maps.yaml").write_text(
            MAPS.replace("obscore: {}", "obscore: {map: {s_fov: nothing}}")
        )
        assert any("nothing" in problem for problem in site.refresh_published_state().problems)


RADIO = """\
collection: nda
title: Radio
tables:
  main:
    source: {kind: csv, files: rows.csv}
    primary: ident
    columns:
      ident: {type: string, description: Name}
      fmin: {type: float64, unit: MHz, description: f}
    obscore:
      set: {dataproduct_type: timeseries, calib_level: 1, s_resolution_min: 1}
      optional: s_resolution_min
      radio:
        set: {instr_tel_number: 144, scan_mode: none}
        map: {f_resolution: fmin}
"""


def test_the_radio_extension_joins_by_the_identifier_alone(tmp_path):
    write(tmp_path, "nda", RADIO, "ident,fmin\na,10\nb,20\n")
    with Site(Settings(directory=tmp_path), watch_for_changes=False) as site:
        ingest_collection(site, "nda")
        site.refresh_published_state()
        both = ask(
            site,
            "SELECT obs_id, f_resolution, instr_tel_number, s_fov FROM ivoa.obscore NATURAL JOIN ivoa.obscore_radio ORDER BY obs_id",
        )
        assert both.to_pylist() == [
            {"obs_id": "a", "f_resolution": 1e4, "instr_tel_number": 144, "s_fov": None},
            {"obs_id": "b", "f_resolution": 2e4, "instr_tel_number": 144, "s_fov": None},
        ]


def test_faults_of_observations_are_told_and_refuse_no_row(tmp_path):
    text = (
        IMAGES.format(name="one", access="public")
        .replace("dataproduct_type: image,", "")
        .replace("map:\n", "map:\n        dataproduct_type: kind\n        calib_level: lvl\n")
    )
    text = text.replace("calib_level: 2, ", "").replace(
        "      n: {", "      kind: {type: string, description: k}\n      lvl: {type: int32, description: l}\n      n: {"
    )
    text = text.split("      columns:\n        number_")[0]
    write(
        tmp_path,
        "one",
        text,
        "ident,ra,dec,wave,start,n,kind,lvl\na,1,2,5,2004-01-01,1,image,2\nb,1,2,5,2004-01-01,2,picture,2\nc,1,2,-5,2004-01-01,3,image,\nd,1,2,5,2004-01-01,4,image,7\n",
    )
    with Site(Settings(directory=tmp_path), watch_for_changes=False) as site:
        report = ingest_collection(site, "one").tables["one.main"]
        assert (report.published, report.rejected) == (4, 0)
        found = {
            name: (item.severity, [offender.row for offender in item.offenders])
            for name, item in report.findings.items()
            if name.startswith("obscore")
        }
        assert found == {
            "obscore: obs.dataproduct_type": ("warning", [2]),
            "obscore: obs.not_negative: em_min": ("warning", [3]),
            "obscore: calib_level: required": ("warning", [3]),
            "obscore: obs.calib_level": ("warning", [4]),
        }
        site.refresh_published_state()
        assert ask(site, "SELECT obs_id FROM ivoa.obscore ORDER BY obs_id").column(0).to_pylist() == ["a", "b", "d"]


def test_footprints_of_observations_are_judged_as_those_of_a_table_of_the_standard(tmp_path):
    text = IMAGES.format(name="one", access="public").replace(
        """s_region: "'Circle ICRS ' || CAST(ra AS VARCHAR) || ' ' || CAST(dec AS VARCHAR) || ' 0.1'\"""",
        """s_region: "'Polygon ' || ident\"""",
    )
    text = text.split("      columns:\n        number_")[0]
    outlines = "ICRS 10 10 10 11 11 11 11 10", "ICRS 10 10 11 10 11 11 10 11", "UNKNOWNFrame 10 10 10 11 11 11 11 10"
    lines = [f"{outline},10,10,5,2004-01-01,1" for outline in outlines]
    write(tmp_path, "one", text, "\n".join(["ident,ra,dec,wave,start,n", *lines, ""]))
    with Site(Settings(directory=tmp_path), watch_for_changes=False) as site:
        report = ingest_collection(site, "one").tables["one.main"]
    found = {
        name: [offender.row for offender in item.offenders]
        for name, item in report.findings.items()
        if "footprint" in name
    }
    assert found == {"obscore: footprint.orientation": [2], "obscore: footprint.unknown": [3]}


@pytest.fixture(scope="module")
def two_engine_site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("both")
    for number, (name, engine) in enumerate((("one", "postgres"), ("two", "postgres"), ("three", "duckdb"))):
        text = IMAGES.format(name=name, access="public").split("      columns:\n        number_")[0]
        write(directory, name, f"engine: {engine}\n{text}", rows(name, 2000, number))
    with run_server() as address:
        settings = Settings(
            directory=directory,
            authority="ohp.fr",
            brought={"postgres": build_settings("postgres", url=f"postgresql://{address}")},
        )
        with Site(settings, watch_for_changes=False) as found:
            for name in ("one", "two", "three"):
                ingest_collection(found, name)
            found.refresh_published_state()
            yield found


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("1 = 1", 6000),
        ("obs_collection = 'two'", 2000),
        ("obs_publisher_did = 'ivo://ohp.fr/one?one7'", 1),
        ("obs_publisher_did = 'ivo://ohp.fr/three?three7'", 1),
        ("em_min < 501e-9 AND obs_collection = 'one'", 286),
        ("s_xel1 < 0 OR t_resolution > 1 OR pol_states LIKE '/I%'", 0),
    ],
)
def test_both_engines_answer_alike(two_engine_site, condition, count):
    assert ask(two_engine_site, f"SELECT COUNT(*) AS n FROM ivoa.obscore WHERE {condition}").to_pylist() == [
        {"n": count}
    ]


def test_a_cone_over_both(two_engine_site):
    found = ask(
        two_engine_site, "SELECT obs_id FROM ivoa.obscore WHERE 1 = CONTAINS(POINT(s_ra, s_dec), CIRCLE(120, 30, 8))"
    )
    expected = set()
    for name in ("one", "two", "three"):
        table = ask(two_engine_site, f"SELECT ident, DISTANCE(ra, dec, 120, 30) AS d FROM {name}.main")
        expected |= {row["ident"] for row in table.to_pylist() if row["d"] <= 8}
    assert set(found.column(0).to_pylist()) == expected
    assert expected


def test_a_column_that_no_member_fills_has_its_type(site):
    for condition in (
        "s_xel1 < 0",
        "t_resolution > 0.5",
        "pol_states LIKE '/I%'",
        "facility_name = 'OHP' AND s_xel1 < 0",
        "obs_title > 'x' AND em_xel = 1",
    ):
        assert ask(site, f"SELECT COUNT(*) AS n FROM ivoa.obscore WHERE {condition}").to_pylist() == [{"n": 0}]
    assert ask(site, "SELECT COUNT(*) AS n FROM ivoa.obscore WHERE s_xel1 IS NULL AND s_fov IS NULL").to_pylist() == [
        {"n": 6002}
    ]
    assert ask(
        site, "SELECT MAX(s_xel1) + 1 AS a, MAX(t_resolution) AS b, MAX(pol_states) AS c FROM ivoa.obscore"
    ).to_pylist() == [{"a": None, "b": None, "c": None}]
