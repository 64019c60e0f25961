"""GeoJSON: regions to the flat map of RFC 7946 and back, and documents as people write them."""

from __future__ import annotations

import json

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings

from hven.model.sky import Regions
from hven.model.sky import region_files as geojson
from region_samples import count_differing_points, regions

SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]
HOLE = [(4, 4), (4, 6), (6, 6), (6, 4)]
CAP = [(0, 60), (90, 60), (180, 60), (270, 60)]
BELT = [[(0, -10), (120, -10), (240, -10)], [(240, 10), (120, 10), (0, 10)]]
ROWS = Regions.from_lists(
    [
        [[SQUARE, HOLE]], [], [[CAP]], [[SQUARE], [CAP]], [BELT], [[]], [[CAP[::-1]]], [[SQUARE[::-1]]],
        [[[(170, -5), (190, -5), (190, 5), (170, 5)]]], [[[(350, 80), (200, 90), (30, 80)]]], [[[(0, 80), (180, 80), (270, 80)]]],
        [[[(180, -5), (190, -5), (190, 5), (180, 5)]]], [[[(0, -90), (0, 0), (0, 90), (270, 0)]]],
    ]
)  # fmt: skip


def lawful(text: str) -> None:
    """As RFC 7946 wants it: within the map, no part over 180 degrees, shells anticlockwise, holes clockwise, closed; valid to GEOS."""
    for feature in json.loads(text)["features"]:
        if feature["geometry"] is None:
            continue
        shape = shapely.from_geojson(json.dumps(feature["geometry"]))
        assert shapely.is_valid(shape), shapely.is_valid_reason(shape)
        west, south, east, north = shapely.bounds(shape)
        assert west >= -180
        assert east <= 180
        assert south >= -90
        assert north <= 90
        for part in shapely.get_parts(shape):
            assert part.exterior.is_ccw
            assert not any(hole.is_ccw for hole in part.interiors)


def test_regions_become_features_and_come_back():
    text = geojson.write_geojson_features(
        ROWS, [{"n": row} for row in range(len(ROWS))], ids=[f"r{row}" for row in range(len(ROWS))]
    )
    lawful(text)
    found = geojson.parse_geojson(text)
    assert not any(found.faults)
    assert not found.is_reversed.any()
    assert found.crs is None
    assert found.ids[3] == "r3"
    assert found.properties[3] == {"n": 3}
    assert found.regions.compute_areas() == pytest.approx(ROWS.compute_areas(), rel=1e-9)
    assert not any(found.regions.find_faults())
    assert np.array(found.regions.compute_bounding_boxes()) == pytest.approx(
        np.array(ROWS.compute_bounding_boxes()), abs=1e-3, nan_ok=True
    )


def test_a_body_says_its_frame():
    text = geojson.write_geojson_features(ROWS, crs="urn:ogc:def:crs:IAU:2015:49900")
    assert json.loads(text)["crs"] == {"type": "name", "properties": {"name": "urn:ogc:def:crs:IAU:2015:49900"}}
    assert geojson.parse_geojson(text).crs == "urn:ogc:def:crs:IAU:2015:49900"


@settings(max_examples=12, deadline=None)
@given(regions())
def test_any_region_comes_back(region: Regions):
    text = geojson.write_geojson_features(region)
    lawful(text)
    found = geojson.parse_geojson(text)
    assert found.faults == [""]
    assert found.regions.compute_areas() == pytest.approx(region.compute_areas(), rel=1e-4, abs=1e-7)
    assert count_differing_points(region, found.regions) == 0


def polygon(*rings: list[tuple[float, float]]) -> dict:
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]] for ring in rings]}


@pytest.mark.parametrize(
    ("geometry", "box"),
    [
        (polygon([(170, 0), (-170, 0), (-170, 10), (170, 10)]), (170, 190)),  # not cut by its writer
        (polygon([(-170, 0), (170, 0), (170, 10), (-170, 10)]), (190, 170)),  # as the map has it
        (polygon([(0, 0), (360, 0), (360, 10), (0, 10)]), (0, 360)),
        (polygon([(-180, -90), (180, -90), (180, 90), (-180, 90)]), (0, 360)),
        (polygon([(0, 60), (90, 60), (180, 60), (-90, 60)]), (0, 360)),  # round the pole
        (polygon([(350, 0), (370, 0), (370, 10), (350, 10)]), (350, 10)),
        (polygon([(0, 10), (10, 10), (10, 0), (0, 0)]), (0, 10)),
    ],
)
def test_longitudes_as_people_write_them(geometry, box):
    found = geojson.parse_geojson(geometry)
    assert found.faults == [""]
    lon1, lon2, _, _ = found.regions.compute_bounding_boxes()
    assert (lon1[0], lon2[0]) == pytest.approx(box)


def test_the_other_hand_is_turned_and_told():
    found = geojson.parse_geojson({"type": "Feature", "geometry": polygon(SQUARE[::-1])})
    assert found.is_reversed.tolist() == [True]
    assert found.regions.compute_areas() == pytest.approx(Regions.from_lists([[[SQUARE]]]).compute_areas(), rel=1e-2)


@pytest.mark.parametrize(
    ("geometry", "fault"),
    [
        (polygon([(0, 0), (10, 10), (10, 0), (0, 10)]), "self-intersection at 5.000000 5.000000"),
        (polygon([(0, 0), (1, 0), (1, 91)]), "a latitude is beyond 90 degrees: 91"),
        (polygon([(0, 0), (1, 0)]), "a ring has fewer than three vertices"),
        (polygon([(None, 0), (1, 0), (1, 1)]), "a longitude or latitude is not a number"),
        (polygon([("a", 0), (1, 0), (1, 1)]), "a position is not a pair of numbers"),
        (polygon([(0, 0), (1e9, 0), (1, 1)]), "a longitude is beyond 3600 degrees: 1e+09"),
        (polygon([(0, 0), (1, 0), (2, 0)]), "self-intersection"),
        ({"type": "Point", "coordinates": [1, 2]}, "a Point has no area"),
        ({"type": "Polygon"}, "'coordinates' must contain rings, and each ring must be a list of positions"),
        ({"type": "Square"}, "the type of a geometry is 'Square', but it must be one of"),
        ({"type": "GeometryCollection"}, "'geometries' is not a list, or is nested too deeply"),
    ],
)
def test_what_is_no_region_is_said_by_row(geometry, fault):
    good = {"type": "Feature", "geometry": polygon(SQUARE)}
    found = geojson.parse_geojson(
        {"type": "FeatureCollection", "features": [good, {"type": "Feature", "geometry": geometry}]}
    )
    assert found.faults[0] == ""
    assert found.faults[1].startswith(fault)
    assert (found.regions.compute_areas() > 0).tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the document is empty"),
        ("{", "the document is not JSON: unexpected end of data: line 1 column 2"),
        ("[]", "the document's type is None, but it must be one of the GeoJSON types FeatureCollection"),
        ('{"type": "x"}', "the document's type is 'x'"),
        ('{"type": "FeatureCollection"}', "'features' is not a list of objects"),
    ],
)
def test_what_is_no_geojson_is_refused(text, said):
    with pytest.raises(geojson.GeoJsonError, match=said):
        geojson.parse_geojson(text)


BODIES = (199, 299, 399, 301, 499, 501, 502, 503, 504, 599, 606, 699, 799, 899, 999, 10)  # NAIF's codes


def test_the_frame_that_is_written_has_longitudes_to_the_east():
    """PROJ's axes, of each body it knows; and what PROJ makes of a polygon in the planetographic frame lies where it was drawn."""
    judged = 0
    for body in BODIES:
        crs = pyproj.CRS(f"IAU_2015:{body}00")
        assert [axis.direction for axis in crs.axis_info] == ["north", "east"], crs.name
        try:
            graphic, centric = (pyproj.CRS(f"IAU_2015:{body}0{kind}") for kind in (1, 2))
        except pyproj.exceptions.CRSError:  # of spheres there is one frame
            continue
        judged += 1
        lon, lat = np.array([(170.0, -60.0), (190, -60), (190, 50), (170, 50)]).T
        there = pyproj.Transformer.from_crs(centric, graphic).transform(
            lat, lon
        )  # axes as the frames have them: latitudes first
        ring = [[float(x), float(y)] for y, x in zip(*there, strict=True)]
        west = graphic.axis_info[1].direction == "west"
        ring = ring[::-1] if west else ring  # by the right-hand rule of its map
        document = {"type": "Polygon", "coordinates": [[*ring, ring[0]]], "crs": f"urn:ogc:def:crs:IAU:2015:{body}01"}
        found = geojson.parse_geojson(document)
        assert (found.faults, found.crs) == ([""], f"urn:ogc:def:crs:IAU:2015:{body}00")
        assert np.ravel(found.regions.compute_bounding_boxes()) == pytest.approx([170, 190, -60, 50], abs=1e-3), (
            graphic.name,
            west,
        )
        assert found.regions.compute_areas()[0] == pytest.approx(
            np.radians(20) * (np.sin(np.radians(50)) + np.sin(np.radians(60))), rel=1e-3
        )
        text = geojson.write_geojson_features(found.regions, crs=found.crs)
        lawful(text)
        assert json.loads(text)["crs"]["properties"]["name"] == found.crs
        assert {round(abs(x)) for x, _ in shapely.get_coordinates(shapely.from_geojson(text)).tolist()} >= {170, 180}
        if west or centric.ellipsoid.inverse_flattening:
            with pytest.raises(ValueError, match=f"use the frame urn:ogc:def:crs:IAU:2015:{body}00"):
                geojson.write_geojson_features(found.regions, crs=document["crs"])
    assert judged >= 5


@pytest.mark.parametrize("crs", ["IAU_2015:50101", "urn:ogc:def:crs:IAU:2015:50101", "urn:ogc:def:crs:IAU2000::50101", "http://www.opengis.net/def/crs/IAU/2015/50101"])  # fmt: skip
def test_west_longitudes_are_read_by_their_frame(crs):
    named = {"type": "name", "properties": {"name": crs}}
    ring = [[30, -10], [40, -10], [40, 10], [30, 10], [30, -10]]
    found = geojson.parse_geojson({"type": "Polygon", "coordinates": [ring], "crs": named})
    assert found.crs == crs[:-2] + "00"
    assert np.ravel(found.regions.compute_bounding_boxes())[:2] == pytest.approx([320, 330])
    assert not found.is_reversed.any()
    plain = geojson.parse_geojson({"type": "Polygon", "coordinates": [ring]}, west_positive=True)
    assert np.ravel(plain.regions.compute_bounding_boxes())[:2] == pytest.approx([320, 330])
    over = [[[-10, 0], [10, 0], [10, 5], [-10, 5], [-10, 0]], [[-5, 1], [-5, 2], [5, 2], [5, 1], [-5, 1]]]
    west, east = (
        geojson.parse_geojson({"type": "Polygon", "coordinates": over}, west_positive=west).regions
        for west in (True, False)
    )
    assert west.compute_areas() == pytest.approx(east.compute_areas())
    assert west.contains([7.0], [1.5]).tolist() == [True]
    assert west.contains([0.0], [1.5]).tolist() == [False]


def test_a_vertex_a_rounding_from_180_cuts_the_map_all_the_same():
    """Halves of edges come to lie at 179.99999999999997: the cap was left out, without a word."""
    lon = [0.0, 60.0, 120.0, 178.18181818181816, 181.81818181818178, 240.0, 300.0]
    cap = Regions.from_lists([[[[(one, 21.869985838848894) for one in lon]]]])
    back = geojson.parse_geojson(geojson.write_geojson_features(cap))
    assert back.regions.compute_areas() == pytest.approx(cap.compute_areas(), rel=1e-6)


def test_edges_have_as_many_corners_as_keep_place_and_area():
    """Of a wide polygon edges are within 1e-4 degrees, of a narrow one so near that its area stays: clients draw, and decide, by corners."""
    wide = [[0, 40], [10, 40], [10, 50], [0, 50], [0, 40]]
    narrow = [[0, 40], [10, 40], [10, 40.01], [0, 40.01], [0, 40]]
    small = [[0, 40], [0.01, 40], [0.01, 40.01], [0, 40.01], [0, 40]]
    for ring, corners in ((wide, 120), (narrow, 800), (small, 4)):
        found = geojson.parse_geojson({"type": "Polygon", "coordinates": [ring]}).regions
        fine = geojson.parse_geojson({"type": "Polygon", "coordinates": [ring]}, 1e-9).regions
        assert len(found.lon) <= corners
        assert found.compute_areas() == pytest.approx(fine.compute_areas(), rel=3e-4)
        points = fine.lon[::20], fine.lat[::20]
        gap = found.prepared_rings.take(np.zeros(len(points[0]), np.int64)).compute_boundary_distances(*points)
        assert gap.max() < 1e-4
        back = geojson.write_geojson_features(found)
        assert geojson.parse_geojson(back).regions.compute_areas() == pytest.approx(found.compute_areas(), rel=3e-4)


def test_geometries_on_the_map_are_those_that_are_written():
    drawn = Regions.from_lists([[[[(1, 1), (3, 1), (2, 4)]]], [], [[[(170, 0), (190, 0), (190, 9), (170, 9)]]]])
    geometries = geojson.to_map_geometries(drawn)
    assert [geometry and geometry.geom_type for geometry in geometries] == ["Polygon", None, "MultiPolygon"]
    written = geojson.to_geojson_geometries(drawn).to_pylist()
    assert [None if text is None else shapely.from_geojson(text) for text in written] == list(geometries)
