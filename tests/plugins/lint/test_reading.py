"""Lint's own readers against others: VOTables by astropy, MOCs by mocpy, polygons by shapely; and its facts against the standards' tables."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import votable as astropy_votable
from astropy.table import Table as AstropyTable
from hypothesis import given
from hypothesis import strategies as st
from mocpy import MOC

from hven.plugins.lint import regions, votable, xml_documents
from hven.plugins.lint.facts import load_standard_columns
from shared import shared


def test_the_shape_of_a_document_is_that_of_its_schema() -> None:
    empty = xml_documents.parse_xml(b'<t:tableset xmlns:t="http://www.ivoa.net/xml/VOSITables/v1.0"/>')
    assert [what for _, what in xml_documents.find_content_model_faults(empty)] == ["<schema> is missing"]
    uws = (
        '<u:job xmlns:u="http://www.ivoa.net/xml/UWS/v1.0"><u:jobId>1</u:jobId><u:ownerId/><u:phase>PENDING</u:phase>{}<u:startTime/>'
        "<u:endTime/><u:executionDuration>1</u:executionDuration><u:destruction/><u:results/></u:job>"
    )
    for quote in ("", "<u:quote/>"):  # minOccurs is 0
        assert not list(xml_documents.find_content_model_faults(xml_documents.parse_xml(uws.format(quote).encode())))


@pytest.mark.parametrize("serialization", ["tabledata", "binary", "binary2"])
def test_votables_of_astropy_are_read_in_all_serialisations(serialization: str) -> None:
    table = AstropyTable(
        {"name": ["Vega", "β Cyg", ""], "n": np.array([1, -2, 2**31 - 1], "int32"), "big": np.array([2**40, 0, -1], "int64"),
         "x": [1.5, float("nan"), -2.25], "v": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])}
    )  # fmt: skip
    document = astropy_votable.from_table(table)
    out = io.BytesIO()
    astropy_votable.writeto(document, out, tabledata_format=serialization)
    found = votable.parse_votable(out.getvalue())
    assert found.anomalies == []
    assert [one.name for one in found.fields] == ["name", "n", "big", "x", "v"]
    assert [row[1:] for row in found.rows] == [
        [1, 2**40, 1.5, [1.0, 2.0]], [-2, 0, None, [3.0, 4.0]], [2**31 - 1, -1, -2.25, [5.0, 6.0]]
    ]  # fmt: skip
    assert [row[0] for row in found.rows] == ["Vega", "β Cyg", None]


@pytest.mark.parametrize(
    ("datatype", "said"),
    [
        ("short", "40000"),
        ("int", "1.5"),
        ("int", "many"),
        ("double", "1,5"),
        ("boolean", "yes"),
        ("unsignedByte", "-1"),
    ],
)
def test_a_cell_of_another_type_is_odd(datatype: str, said: str) -> None:
    text = f'<VOTABLE version="1.4"><RESOURCE type="results"><TABLE><FIELD name="a" datatype="{datatype}"/><DATA><TABLEDATA><TR><TD>{said}</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>'
    found = votable.parse_votable(text.encode())
    assert [(kind, column) for kind, column, _ in found.anomalies] == [("cell", "a")]
    assert found.rows == [[None]]


@pytest.mark.parametrize("data", ["AAAA", "!!!", "AAAAAQAA"])
def test_binary_rows_that_break_off_are_odd(data: str) -> None:
    text = f'<VOTABLE version="1.4"><RESOURCE type="results"><TABLE><FIELD name="a" datatype="char" arraysize="*"/><FIELD name="b" datatype="long"/><DATA><BINARY2><STREAM encoding="base64">{data}</STREAM></BINARY2></DATA></TABLE></RESOURCE></VOTABLE>'
    assert [kind for kind, _, _ in votable.parse_votable(text.encode()).anomalies] == ["stream"]


places = st.tuples(st.floats(0, 359.999), st.floats(-80, 80))


@given(st.lists(st.integers(0, 12 * 4**5 - 1), min_size=1, max_size=40, unique=True))
def test_mocs_are_read_as_mocpy_writes_them(cells: list[int]) -> None:
    moc = MOC.from_healpix_cells(np.array(cells, np.uint64), np.full(len(cells), 5, np.uint8), 5)
    found = regions.parse_moc_cell_ranges(moc.to_string("ascii"))
    again = {
        cell >> 0
        for order, low, high in found
        for one in range(low, high + 1)
        for cell in range(one << 2 * (5 - order), (one + 1) << 2 * (5 - order))
    }
    assert again == set(cells)


@given(places, st.integers(2, 7))
def test_a_place_is_in_the_moc_of_its_cell(place: tuple[float, float], order: int) -> None:
    moc = MOC.from_lonlat(SkyCoord(*place, unit="deg").ra, SkyCoord(*place, unit="deg").dec, max_norder=order)
    assert regions.is_any_direction_in_moc(regions.parse_moc_cell_ranges(moc.to_string("ascii")), [place])


@pytest.mark.parametrize("said", ["30/1", "3/800", "5", "3/9-4", "x/1", "3/1;4", "3/-4", "POLYGON 1 2 3 4 5 6"])
def test_what_is_no_moc_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        regions.parse_moc_cell_ranges(said)


def test_space_of_a_space_time_moc() -> None:
    assert regions.parse_moc_cell_ranges("t61/1 3 5 s3/1-3") == [(3, 1, 3)]
    assert regions.parse_moc_cell_ranges("1/1 2 4 2/12-14 21 8/") == [
        (1, 1, 1),
        (1, 2, 2),
        (1, 4, 4),
        (2, 12, 14),
        (2, 21, 21),
    ]


@given(places, st.floats(0.01, 5), st.integers(3, 9), st.booleans())
def test_the_turn_of_a_polygon(place: tuple[float, float], radius: float, corners: int, clockwise: bool) -> None:
    """Corners at growing position angles (north through east) turn right-handed seen from inside, left-handed from outside."""
    centre = SkyCoord(*place, unit="deg")
    angles = np.arange(corners) * 360 / corners
    ring = centre.directional_offset_by(
        (angles if clockwise else angles[::-1]) * np.pi / 180 * 1.0 * _radian(), radius * _degree()
    )
    numbers = " ".join(f"{lon:.10f} {lat:.10f}" for lon, lat in zip(ring.ra.deg, ring.dec.deg, strict=True))
    (shape,) = regions.parse_region_shapes(f"POLYGON ICRS {numbers}")
    assert regions.has_wrong_orientation(shape, seen_from_outside=True) is clockwise
    assert regions.has_wrong_orientation(shape, seen_from_outside=False) is (not clockwise)


def _radian():
    from astropy import units

    return units.rad


def _degree():
    from astropy import units

    return units.deg


@given(places, places)
def test_separations_are_astropys(a: tuple[float, float], b: tuple[float, float]) -> None:
    wanted = SkyCoord(*a, unit="deg").separation(SkyCoord(*b, unit="deg")).deg
    assert regions.compute_angular_separation(a, b) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    ("said", "kinds"),
    [
        ("Circle ICRS GEOCENTER 10 20 1", ["circle"]),
        ("POLYGON 1 2 3 4 5 6", ["polygon"]),
        ("Union ICRS ( Circle 1 2 3 Polygon 1 2 3 4 5 6 )", ["circle", "polygon"]),
        ("Position FK5 1 2", ["point"]),
        ("range 10 20 -5 5", ["range"]),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], ["polygon"]),
    ],
)
def test_regions_in_all_spellings(said: object, kinds: list[str]) -> None:
    assert [one.kind for one in regions.parse_region_shapes(said)] == kinds


@pytest.mark.parametrize(
    "said",
    [
        "",
        "POLYGON",
        "POLYGON 1 2 3",
        "POLYGON 1 2 3 4",
        "CIRCLE 1 2",
        "BLOB 1 2 3",
        "1 2 3",
        "Union ( Circle 1 2 3",
        [1.0, 2.0],
        [1.0, None, 3.0],
    ],
)
def test_what_is_no_region_is_refused(said: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        regions.parse_region_shapes(said)


def test_facts_are_those_of_taplints_own_stage() -> None:
    known = load_standard_columns("epncore")
    theirs = json.loads(shared("corpora/epntap/epncore-checks.json").read_text())
    assert {one["name"] for one in theirs["mandatory_columns"]} == {
        fact.name for fact in known.values() if fact.is_mandatory
    }
    assert {one["name"] for one in theirs["mandatory_columns"] if one.get("not_null")} == {
        fact.name for fact in known.values() if fact.is_filled
    }
    newer = {"shape", "observer_name"}  # renamed, or with another UCD, since the draft that stage was written for
    for one in [*theirs["mandatory_columns"], *theirs["optional_columns"], *theirs["extension_columns"]]:
        if one["name"] in newer:
            continue
        fact = known[one["name"]]
        if one["ucd"]:
            assert fact.ucd == one["ucd"], one["name"]
        if one["unit"]:
            assert fact.unit == one["unit"], one["name"]
        assert fact.type.rstrip("!") == one["type"], one["name"]


@pytest.mark.parametrize(
    ("ours", "theirs"), [("epncore", "standards/epn_core.csv"), ("obscore", "standards/obscore.csv")]
)
def test_facts_have_every_column_of_the_standard(ours: str, theirs: str) -> None:
    rows = list(csv.DictReader(shared(theirs).read_text(encoding="utf-8").splitlines()))
    known = load_standard_columns(ours)
    assert set(known) == {row["name"] for row in rows}
    assert all(known[row["name"]].unit == row["unit"] for row in rows)
    assert all(known[row["name"]].ucd == row["ucd"] for row in rows)
