"""Regions as texts and files: STC-S, DALI's shapes, MOC in three forms, DS9, CRTF; there, back, and what is none of these."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mocpy import MOC

from hven.model.sky import Moc, Regions, region_files, shape_text
from region_samples import count_differing_points, regions

SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]
HOLE = [(4, 4), (4, 6), (6, 6), (6, 4)]
CAP = [(0, 60), (90, 60), (180, 60), (270, 60)]
ROWS = Regions.from_lists([[[SQUARE, HOLE]], [], [[CAP]], [[SQUARE], [CAP]], [[]], [[CAP[::-1]]], [[SQUARE[::-1]]]])


def test_texts_of_regions():
    wanted = ROWS.take([1, 2, 3])
    assert region_files.write_region_texts(wanted, "polygon").to_pylist() == [None, "270 60 180 60 90 60 0 60", None]
    assert (
        region_files.write_region_texts(wanted, "shape", from_outside=True).to_pylist()[1]
        == "polygon 0 60 90 60 180 60 270 60"
    )
    both = region_files.write_region_texts(wanted, "multishape").to_pylist()[2]
    assert both == "polygon 0 10 10 10 10 0 0 0 polygon 270 60 180 60 90 60 0 60"
    said = region_files.write_region_texts(wanted, "stcs", frame="ICRS").to_pylist()
    assert said[1] == "Polygon ICRS 270 60 180 60 90 60 0 60"
    assert said[2] == "Union ICRS (Polygon 0 10 10 10 10 0 0 0 Polygon 270 60 180 60 90 60 0 60)"
    assert region_files.write_region_texts(wanted, "stcs").to_pylist()[1].startswith("Polygon 270 60")
    with pytest.raises(ValueError, match="'x' is not a kind of region text; use one of polygon, shape"):
        region_files.write_region_texts(wanted, "x")


@pytest.mark.parametrize("kind", ["multishape", "stcs"])
def test_holes_and_more_than_half_a_sphere_become_pieces(kind):
    said = region_files.write_region_texts(ROWS, kind, frame="ICRS").to_pylist()
    for text, area in zip(said, ROWS.compute_areas(), strict=True):
        if text is not None:  # the parts of the shapes touch, and do not overlap
            shape = (
                shape_text.parse_dali_shape("multishape", text)
                if kind == "multishape"
                else shape_text.parse_stcs(text).shape
            )
            parts = getattr(shape, "parts", (shape,))
            assert np.radians(np.radians(sum(part.compute_area() for part in parts))) == pytest.approx(area, rel=1e-8)
    back = region_files.parse_region_texts(said)
    assert not any(back.faults)
    assert back.regions.compute_areas() == pytest.approx(ROWS.compute_areas(), rel=1e-8)


@settings(max_examples=12, deadline=None)
@given(regions(), st.sampled_from(["multishape", "stcs"]), st.booleans())
def test_any_region_comes_back_from_its_text(region: Regions, kind: str, outside: bool):
    back = region_files.parse_region_texts(
        region_files.write_region_texts(region, kind, from_outside=outside).to_pylist()
    )
    assert back.faults == [""]
    assert back.regions.compute_areas() == pytest.approx(region.compute_areas(), rel=1e-4, abs=1e-7)
    assert count_differing_points(region, back.regions) == 0


def test_frames_of_the_sky_are_turned():
    found = region_files.parse_region_texts(
        ["Circle GALACTIC 0 0 1", "Circle ICRS 266.4049882865447 -28.936177761791473 1"]
    )
    assert found.frame == "ICRS"
    assert found.regions.take([0]).intersection(found.regions.take([1])).compute_areas() == pytest.approx(
        found.regions.compute_areas()[0], rel=1e-3
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("foo", "'foo' is not a shape; use Position, Circle"),
        ("point 1 2", "a point has no area"),
        ("Position ICRS 1 2", "a point has no area"),
        ("polygon 0 0 10 10 10 0 0 10", "self-intersection at 5.000000 +5.057515"),
        ("polygon 0 0 0 91 1 1", "the latitude 91.0 is not between -90 and 90"),
        ("0/0 29/0-5 3458764513820540900", "the outline of a MOC of order 29 would have 2,147,483,652 corners: degrade the MOC to order 19"),
        ("3/800", "offset 0: order 3 has no cell 800; its last cell is 767"),
    ],
)  # fmt: skip
def test_texts_that_are_no_region(text, fault):
    found = region_files.parse_region_texts(["circle 1 2 3", text, "0/0-11 29/"])
    assert found.faults[0] == found.faults[2] == ""
    assert found.faults[1].startswith(fault)
    assert (found.regions.compute_areas() > 0).tolist() == [True, False, True]


MOCS = st.builds(
    lambda seed, order, many: Moc.from_cells(np.random.default_rng(seed).integers(0, 12 << 2 * order, many), order),
    st.integers(0, 1000), st.integers(0, 29), st.sampled_from([0, 1, 30, 300]),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(MOCS)
def test_any_moc_comes_back_and_mocpy_reads_it(moc: Moc):
    for form in ("ascii", "json", "fits"):
        assert region_files.read_moc(region_files.write_moc(moc, form)) == moc
    theirs = MOC.from_str(region_files.write_moc(moc, "ascii").decode())
    assert np.array_equal(np.asarray(theirs.to_depth29_ranges, np.int64).reshape(-1, 2), moc.ranges)


def test_mocs_of_mocpy(tmp_path):
    theirs = MOC.from_string("3/5 7 6/1-4 9/", "ascii")
    for number, old in enumerate((False, True)):
        file = tmp_path / f"{number}.fits"
        theirs.save(file, format="fits", v1_compatible=old)
        assert str(region_files.read_moc(file.read_bytes())) == "3/5 7 6/1-4 9/"
    assert str(region_files.read_moc(json.dumps(theirs.serialize("json")).encode())).startswith("3/5 7 6/1-4")
    (tmp_path / "mine.fits").write_bytes(region_files.write_moc(Moc.parse("3/5 9/"), "fits"))
    assert MOC.load(tmp_path / "mine.fits", "fits").max_order == 9
    mars = region_files.write_moc(Moc.parse("3/5 9/"), "fits", body="Mars")
    assert (b"COORDSYS= 'mars" in mars, str(region_files.read_moc(mars))) == (True, "3/5 9/")


def test_what_is_no_moc():
    for data, said in (
        (b'{"6": [1', "a MOC in JSON must be an object that maps orders"),
        (b'{"30": [1]}', "order 30 is above 29"),
        (b"SIMPLE  =   x", "the FITS file has no table"),
        (
            region_files.write_moc(Moc.parse("1/1")).replace(b"COORDSYS= 'C", b"COORDSYS= 'G"),
            "the MOC is in the frame 'G'",
        ),
        (region_files.write_moc(Moc.parse("1/1")).replace(b"'SPACE", b"'TIME "), "not a space MOC"),
    ):
        with pytest.raises(ValueError, match=said):
            region_files.read_moc(data)


DS9 = b"""# Region file format: DS9 version 4.1
fk5
circle(10.0,20.0,1.5d) # text={a}
polygon(10,20,11,20,11,21)
box(100,40,2d,1d,30)
annulus(50,-20,1d,2d)
point(1,2)
-circle(1,2,3d)
foo(1)
image
circle(100,100,20)
"""
CRTF = b"#CRTFv0\nglobal coord=J2000, color=blue\ncircle[[10deg, 20deg], 1deg]\npoly[[10deg,10deg],[20deg,10deg],[15deg,20deg]]\n"


def test_ds9_and_casa():
    pytest.importorskip("regions")
    found = region_files.parse_region_file(DS9, "x.reg")
    assert found.names[0] == "a"
    assert [fault[:12] for fault in found.faults] == [
        "",
        "",
        "",
        "",
        "a point has ",
        "it is exclud",
        "it is drawn ",
        '"foo" frame ',
    ]
    area = np.degrees(np.degrees(found.regions.compute_areas()))
    assert area[:4] == pytest.approx([7.06, 0.4699, 2.0, 9.41], rel=1e-2)
    for kind, name in (("ds9", "y.reg"), ("crtf", "y.crtf")):
        back = region_files.parse_region_file(
            region_files.write_region_file(found.regions.take(range(4)), kind).encode(), name
        )
        assert not any(back.faults)
        assert back.regions.compute_areas().sum() == pytest.approx(found.regions.compute_areas().sum(), rel=1e-8)
    assert region_files.parse_region_file(CRTF).faults == ["", ""]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b" \n", "the file is empty"),
        (b"hello", "Hven cannot read regions from this file; it reads GeoJSON, DS9"),
        (b'{"a": 1}', "Hven cannot read regions from this file"),
        (b'{"type": "x"}', "the document's type is 'x'"),
    ],
)
def test_files_that_are_none(data, said):
    with pytest.raises(ValueError, match=said):
        region_files.parse_region_file(data, "some.file")


def test_files_are_known_by_what_is_in_them():
    assert region_files.parse_region_file(b"Circle ICRS 1 2 3\n\npolygon 1 2 3 4 5 6\n").faults == ["", ""]
    assert region_files.parse_region_file(b"6/1-4\n7/30").regions.compute_areas()[0] == pytest.approx(
        Moc.parse("6/1-4 7/30").fraction * 4 * np.pi, rel=1e-3
    )
    assert region_files.parse_region_file(b'{"6": [1]}').faults == [""]
    assert region_files.detect_region_format(b"fk5\ncircle(1,2,3)") == "ds9"


def test_pieces_that_touch_but_for_rounding_are_joined():
    lon = [0.486242587, 1e-300, 359.78756, 359.407401, 359.498236, 7.41984506e-17, 0.558454353, 0.620191909]
    lat = [
        -0.486225078,
        -0.691282696,
        -0.212438606,
        3.6170237e-15,
        0.501744452,
        0.605853746,
        0.558427828,
        3.47017406e-15,
    ]
    star = Regions.from_lists([[[list(zip(lon, lat, strict=True))]]])  # clockwise: all else
    back = region_files.parse_region_texts(region_files.write_region_texts(star, "multishape").to_pylist())
    assert back.faults == [""]
    assert back.regions.compute_areas() == pytest.approx(star.compute_areas(), rel=1e-9)


@pytest.mark.parametrize("kind", ["multishape", "stcs"])
def test_corners_next_to_longitude_0_are_corners_there(kind: str):
    """The least number of all is a longitude, too; what is warned of is an error in tests."""
    cap = [(3.5, 68.9), (np.finfo(float).tiny, 68.9), (60.9, 90), (60.8, 68.9), (30, 68.9)]
    belt = [[(0, -69), (120, -69), (240, -69)], [(0, 10), (240, 10), (120, 10)]]
    region = Regions.from_lists([[[cap], belt]]).make_valid()
    back = region_files.parse_region_texts(region_files.write_region_texts(region, kind, frame="ICRS").to_pylist())
    assert back.faults == [""]
    assert back.regions.compute_areas() == pytest.approx(region.compute_areas(), rel=1e-6)
