"""s_region as DALI's shapes: numbers with the type of what it is set to, in the frame of the sky or of the body, the same on both engines."""

from __future__ import annotations

import io

import pytest
from astropy.io import votable

from hven import query
from hven.descriptor import check_descriptor
from hven.formats.votable import write_votable
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import Settings
from hven.query import build_result_metadata as heading
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import build_settings
from postgres_cluster import run_server

DESCRIPTOR = """\
collection: {name}
title: Outlines
{head}tables:
  epn_core:
    standard: epn-tap-2.0
    frame: {frame}
    source: {{kind: csv, files: rows.csv}}
    {columns}
    set: {{granule_gid: site, dataproduct_type: im, processing_level: 3, target_name: Mars, target_class: planet, instrument_host_name: MRO, instrument_name: HiRISE}}
    text: {{granule_uid: "g{{n}}", obs_id: "o{{n}}"}}
    map: {{c1min: west, c1max: lon_360(west + 2), c2min: south, c2max: south + 1, s_region: "{region}"}}
    {obscore}
"""
ROWS = "n,west,south,text\n1,10,5,Polygon 10 5 12 5 12 6 10 6\n2,359,-20,polygon 359 -20 1 -20 1 -19 359 -19\n3,0,89,Polygon UNKNOWNFrame 0 89 90 89 180 89 270 89\n"
BOX = "lonlat_box(target.c1min, target.c1max, target.c2min, target.c2max, '{view}')"


def open_outline_site(place, region, frame="body", *, columns="", obscore="", head="", rows=ROWS, **settings) -> Site:
    text = DESCRIPTOR.format(name="maps", region=region, frame=frame, columns=columns, obscore=obscore, head=head)
    return open_site_with_uningested_files(place, text, {"rows.csv": rows}, **settings)


def run_adql(site, adql):
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return result.read_table().to_pylist()


def answer(site, adql, version="1.5"):
    """The VOTable of a query, and what astropy reads in it."""
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        head = heading(result)
        written = b"".join(
            write_votable(
                head, result.iterate_batches(), result.build_status, {"serialization": "TABLEDATA", "version": version}
            )
        )
    return written.decode(), votable.parse(io.BytesIO(written), verify="exception")


def test_a_box_on_a_body_leaves_as_a_polygon_with_the_frame_of_the_body(tmp_path):
    with open_outline_site(tmp_path, BOX.format(view="body"), rows=ROWS.replace("3,0,89", "3,0,88")) as site:
        assert ingest_collection(site, "maps").tables["maps.epn_core"].findings == {}
        text, read = answer(
            site, "SELECT granule_uid, c1min, s_region, time_min FROM maps.epn_core ORDER BY granule_uid"
        )
        field = next(one for one in read.iter_fields_and_params() if one.name == "s_region")
        assert (field.datatype, field.arraysize, field.xtype, field.ucd, field.unit) == (
            "double",
            "*",
            "polygon",
            "pos.outline;obs.field",
            None,
        )
        systems = {one.ID: (one.system, one.refposition) for one in read.iter_coosys()}
        assert systems[field.ref] == ("BODY", "Mars")
        assert next(one.ref for one in read.iter_fields_and_params() if one.name == "c1min") == field.ref
        assert '<VOTABLE version="1.5"' in text
        # Aladin looks for what the word of the COOSYS stands for
        (named,) = read.resources[0].groups
        assert (named.ID, named.utype, named.entries[0].value) == ("BODY", "stc:AstroCoordSystem", "mars")
        assert '<TIMESYS ID="times" timeorigin="JD-origin"' in text
        outlines = read.get_first_table().array["s_region"]
        assert outlines[0].tolist() == [10, 5, 12, 5, 12, 6, 10, 6]
        assert outlines[1].tolist() == [359, -20, 1, -20, 1, -19, 359, -19]
        text, read = answer(
            site, "SELECT granule_uid, c1min, s_region, time_min FROM maps.epn_core ORDER BY granule_uid", "1.4"
        )
        assert '<VOTABLE version="1.4"' in text
        assert list(read.iter_coosys()) == []  # 1.4 has no such system
        group = next(one for one in read.iter_groups() if one.utype == "stc:CatalogEntryLocation")
        said = {one.utype.rpartition(".")[2]: one.value for one in group.entries if one.utype}
        assert said == {
            "CoordRefFrame": "BODY",
            "ReferencePosition": "Mars",
            "coord_system_id": "mars",
        }  # the last for Aladin
        assert [one.get_ref().name for one in group.entries if not one.utype] == ["c1min", "s_region"]
        said = run_adql(
            site,
            "SELECT datatype, arraysize, xtype, unit FROM TAP_SCHEMA.columns WHERE table_name = 'maps.epn_core' AND column_name = 's_region'",
        )
        assert said == [{"datatype": "double", "arraysize": "*", "xtype": "polygon", "unit": None}]


def test_the_frame_of_two_bodies_is_that_of_a_body(tmp_path):
    second = DESCRIPTOR.format(
        name="more", region=BOX.format(view="body"), frame="body", columns="", obscore="", head=""
    ).replace("target_name: Mars", "target_name: Venus")
    with open_site_with_uningested_files(tmp_path, second, {"rows.csv": ROWS}):
        pass
    with open_outline_site(tmp_path, BOX.format(view="body")) as site:
        ingest_collection(site, "maps")
        ingest_collection(site, "more")
        site.refresh_published_state()
        _, read = answer(
            site,
            "SELECT a.s_region, b.s_region AS other FROM maps.epn_core AS a JOIN more.epn_core AS b ON a.granule_uid = b.granule_uid",
        )
        assert [(one.system, one.refposition) for one in read.iter_coosys()] == [("BODY", None)]


SAME = (
    "SELECT granule_uid, s_region, CAST(s_region AS VARCHAR) AS said, AREA(s_region) AS extent, CENTROID(s_region) AS middle FROM maps.epn_core ORDER BY granule_uid",
    "SELECT granule_uid FROM maps.epn_core WHERE 1 = CONTAINS(POINT(0.5, -19.5), s_region)",
    "SELECT granule_uid FROM maps.epn_core WHERE 1 = INTERSECTS(s_region, CIRCLE(11, 6.5, 1)) ORDER BY granule_uid",
    "SELECT granule_uid FROM maps.epn_core WHERE 1 = INTERSECTS(s_region, POLYGON(9, 4, 13, 4, 13, 7, 9, 7)) ORDER BY granule_uid",
    "SELECT granule_uid FROM maps.epn_core WHERE 1 = CONTAINS(s_region, CIRCLE(11, 5.5, 3)) ORDER BY granule_uid",
    "SELECT obs_id, s_region, AREA(s_region) AS extent FROM ivoa.obscore ORDER BY obs_id",
    "SELECT obs_id FROM ivoa.obscore WHERE 1 = CONTAINS(POINT(0.5, -19.5), s_region)",
)


@pytest.mark.outside
def test_both_engines_say_the_same(tmp_path):
    box, head, observed = BOX.format(view="sky"), "subjects: [mars]\n", "obscore: {}"
    with run_server() as address:
        found = []
        for engine, settings in (
            ("duckdb", {}),
            ("postgres", {"brought": {"postgres": build_settings("postgres", url=f"postgresql://{address}")}}),
        ):
            with open_outline_site(
                tmp_path / engine, box, "celestial", head=f"{head}engine: {engine}\n", obscore=observed, **settings
            ) as site:
                ingest_collection(site, "maps")
                site.refresh_published_state()
                found.append([run_adql(site, one) for one in SAME])
    for one, other in zip(*found, strict=True):
        assert len(one) == len(other) > 0
        for mine, theirs in zip(one, other, strict=True):
            for name, value in mine.items():
                assert theirs[name] == (
                    pytest.approx(value, rel=1e-9) if not isinstance(value, str | None) else value
                ), name
    assert [row["s_region"] for row in found[0][5]] == [
        "Polygon ICRS 10.0 5.0 10.0 6.0 12.0 6.0 12.0 5.0", "Polygon ICRS 359.0 -20.0 359.0 -19.0 1.0 -19.0 1.0 -20.0",
        "Polygon ICRS 0.0 89.0 0.0 90.0 2.0 90.0 2.0 89.0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("region", "xtype", "first"),
    [
        ("text", "polygon", [10, 5, 12, 5, 12, 6, 10, 6]),
        ("CIRCLE(west, south, 1)", "circle", [10, 5, 1]),
        ("POINT(west, south)", "point", [10, 5]),
    ],
)
def test_shapes_and_texts_have_their_types(tmp_path, region, xtype, first):
    with open_outline_site(
        tmp_path, region, columns="columns: {s_region: {type: polygon}}" if region == "text" else ""
    ) as site:
        assert ingest_collection(site, "maps").tables["maps.epn_core"].rejected == 0
        _, read = answer(site, "SELECT s_region FROM maps.epn_core ORDER BY granule_uid")
        assert next(iter(read.iter_fields_and_params())).xtype == xtype
        assert read.get_first_table().array["s_region"][0].tolist() == first


def test_texts_stay_texts_and_what_is_no_polygon_is_told(tmp_path):
    rows = ROWS.replace("Polygon 10 5 12 5 12 6 10 6", "Circle 10 5 1").replace("polygon 359", "Polygon ICRS 359")
    with open_outline_site(tmp_path / "text", "text", rows=rows) as site:
        ingest_collection(site, "maps")
        assert [
            row["s_region"] for row in run_adql(site, "SELECT TOP 1 s_region FROM maps.epn_core ORDER BY granule_uid")
        ] == ["Circle 10 5 1"]
    for number, region in enumerate(("text", "text || ''")):
        with open_outline_site(
            tmp_path / f"polygon{number}",
            region,
            columns="max_rejects: 1\n    columns: {s_region: {type: polygon}}",
            rows=rows,
        ) as site:
            table = ingest_collection(site, "maps").tables["maps.epn_core"]
            assert (table.published, table.rejected) == (1, 2)  # a circle, and a place on the sky
            told = next(one for name, one in table.findings.items() if name == "read.s_region")
            assert "the region is not a single polygon in the column's frame" in told.message
    with open_outline_site(
        tmp_path / "kept", BOX.format(view="body"), columns="columns: {s_region: {type: 'adql:REGION'}}"
    ) as site:
        ingest_collection(site, "maps")
        assert run_adql(site, "SELECT TOP 1 s_region FROM maps.epn_core ORDER BY granule_uid") == [
            {"s_region": "Polygon 10.0 5.0 12.0 5.0 12.0 6.0 10.0 6.0"}
        ]


def test_shapes_of_numbers_are_checked_as_texts_are(tmp_path):
    with open_outline_site(tmp_path / "way", BOX.format(view="sky")) as site:
        table = ingest_collection(site, "maps").tables["maps.epn_core"]
        assert [
            (name.partition("(")[0], one.count) for name, one in table.findings.items() if "orientation" in name
        ] == [("footprint.orientation", 3)]
    with open_outline_site(
        tmp_path / "off", "POLYGON(west, south + 80, west + 1, south, west + 1, south + 1)", columns="max_rejects: 1"
    ) as site:
        assert ingest_collection(site, "maps").tables["maps.epn_core"].rejected == 1  # latitude 169


def test_what_is_on_a_body_is_not_in_obscore(tmp_path):
    wrong = "obscore: {map: {s_region: s_region, s_ra: c1min}}"
    with open_outline_site(tmp_path / "one", BOX.format(view="body"), obscore=wrong) as site:
        path = site.settings.collections_directory / "maps" / "maps.yaml"
        told = [
            str(one) for one in check_descriptor(path, Settings(directory=tmp_path / "one")) if one.severity == "error"
        ]
    assert [
        word in "".join(told)
        for word in (
            "obscore.s_region: 's_region' contains places on a body",
            "obscore.s_ra: 'c1min' contains places on a body",
        )
    ] == [
        True,
        True,
    ]


@pytest.mark.parametrize(("frame", "system"), [("body", "BODY"), ("celestial", "ICRS")])
def test_the_system_of_a_column_is_that_of_its_frame(tmp_path, frame, system):
    with open_outline_site(tmp_path, BOX.format(view="body"), frame) as site:
        ingest_collection(site, "maps")
        assert run_adql(site, "SELECT TOP 1 COORDSYS(s_region) AS s FROM maps.epn_core AS m") == [{"s": system}]


def test_an_unknown_frame_beside_a_known_one_is_told(tmp_path):
    for frame, count in (("celestial", 1), ("body", 0)):
        with open_outline_site(tmp_path / frame, "text", frame) as site:
            found = ingest_collection(site, "maps").tables["maps.epn_core"].findings.values()
        told = {one.rule: one.count for one in found if "unknown" in one.rule}
        assert told == ({"footprint.unknown": 1} if count else {})
