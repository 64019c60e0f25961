"""GeoJSON through the contract of formats; its geometries judged by GEOS's reader and by the rules of RFC 7946."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
import shapely

from hven.formats import ResultStatus
from hven.model.table import Column, ReferenceFrame
from hven.model.types import parse_type
from hven.testing.format import write_document


def write_geojson(
    kind: str, values: list, *, end: ResultStatus | None = None, frame: ReferenceFrame | None = None
) -> dict:
    columns = [
        Column(name="name", type=parse_type("string")),
        Column(name="s_region", type=parse_type(kind), frame=frame and frame.id),
        Column(name="n", type=parse_type("int32")),
    ]
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([f"r{row}" for row in range(len(values))]),
            pa.array(values, columns[1].type.arrow),
            pa.array(range(len(values)), pa.int32()),
        ],
        names=[column.name for column in columns],
    )
    return json.loads(write_document("geojson", columns, [batch], end, {}, frames=[frame] if frame else []))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (
            "polygon",
            [
                [10.0, 0, 10, 10, 20, 10, 20, 0],
                [170.0, -5, 190, -5, 190, 5, 170, 5],
                [0.0, 60, 90, 60, 180, 60, 270, 60],
                None,
            ],
        ),
        ("circle", [[10.0, 20, 1], [180.0, 0, 5], [0.0, -90, 10], None]),
        ("shape", ["circle 10 20 1", "polygon 170 -5 190 -5 190 5 170 5", "range 0 360 -90 -60", None]),
        ("multishape", ["circle 10 20 1 circle 12 20 1", "circle 180 0 1", "range 0 360 60 90", None]),
        (
            "string",
            [
                "Circle ICRS 10 20 1",
                "Union ICRS (Circle 179 0 2 Circle 182 0 2)",
                "Polygon 0 60 90 60 180 60 270 60",
                "nonsense",
            ],
        ),
        ("string", ["3/5", "0/0-3", "0/0-11 1/", None]),
    ],
)
def test_regions_are_geometries(kind, values):
    told = write_geojson(kind, values)
    assert told["status"] == "OK"
    shapes = [one["geometry"] and shapely.from_geojson(json.dumps(one["geometry"])) for one in told["features"]]
    assert [one["properties"] for one in told["features"]] == [{"name": f"r{row}", "n": row} for row in range(4)]
    assert shapes[3] is None
    for shape in shapes[:3]:
        assert shapely.is_valid(shape)
        assert shapely.area(shape) > 0
        west, south, east, north = shapely.bounds(shape)
        assert min(west + 180, 180 - east, south + 90, 90 - north) >= 0
        assert all(
            part.exterior.is_ccw and not any(hole.is_ccw for hole in part.interiors)
            for part in shapely.get_parts(shape)
        )
    if kind in {"polygon", "shape"}:
        assert shapely.get_num_geometries(shapes[1]) == 2, "cut at 180 degrees"


@pytest.mark.parametrize(
    ("frame", "crs"),
    [
        (ReferenceFrame(id="f", kind="coosys", system="ICRS"), "ICRS"),
        (ReferenceFrame(id="f", kind="coosys", system="BODY", refposition="Mars"), "urn:ogc:def:crs:IAU:2015:49900"),
        (ReferenceFrame(id="f", kind="coosys", system="BODY", refposition="Sun"), "urn:ogc:def:crs:IAU:2015:1000"),
        (ReferenceFrame(id="f", kind="coosys", system="BODY", refposition="Earth"), None),
        (None, None),
    ],
)
def test_the_frame_is_named(frame, crs):
    told = write_geojson("circle", [[10.0, 20, 1]], frame=frame)
    assert told.get("crs", {}).get("properties", {}).get("name") == crs


def test_positions_are_points_and_an_overflow_is_said():
    columns = [
        Column(name="lon", type=parse_type("double"), ucd="pos.bodyrc.lon;meta.main"),
        Column(name="lat", type=parse_type("double"), ucd="pos.bodyrc.lat"),
    ]
    batch = pa.RecordBatch.from_arrays(
        [pa.array([350.5, None, 0.0, 10.0]), pa.array([1.0, 2.0, 95.0, -90.0])], names=["lon", "lat"]
    )
    told = json.loads(write_document("geojson", columns, [batch], ResultStatus(overflow=True), {}))
    assert told["status"] == "OVERFLOW"
    places = [one["geometry"] and one["geometry"]["coordinates"] for one in told["features"]]
    assert places == [[-9.5, 1], None, None, [10, -90]]
    assert told["features"][0]["properties"] == {"lon": 350.5, "lat": 1.0}
