"""Spatial predicates against shapely on the map: footprints with a region and with a box alone, and all geometries."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import shapely
from asgi_client import Client
from granule_rows import build_granule_table

from hven.adql.syntax_tree import Comparison, Conjunction, FunctionCall
from hven.plugins.stac.item_tables import find_item_table
from hven.plugins.stac.spatial_conditions import build_box_condition

ITEMS = "/stac/collections/mars.epn_core/items"
SLACK_DEGREES = 0.05  # edges of footprints are great circles in one place and straight in the other
RELATIONS = {
    "s_intersects": shapely.intersects,
    "s_within": shapely.covered_by,
    "s_contains": shapely.covers,
    "s_disjoint": shapely.disjoint,
}


@dataclass(frozen=True)
class Footprints:
    ids: list[str]
    shapes: Any
    with_region: set[str]


def find_ids(client: Client, operation: str, *args: object) -> set[str]:
    text = json.dumps({"op": operation, "args": args})
    answer = client.get(ITEMS, **{"filter": text, "filter-lang": "cql2-json", "limit": 1000})
    assert answer.status == 200, answer.text
    return {feature["id"] for feature in json.loads(answer.body)["features"]}


@pytest.fixture(scope="module")
def footprints(client: Client) -> Footprints:
    """The items that have an area."""
    features = json.loads(client.get(ITEMS, limit=1000).body)["features"]
    features = [item for item in features if item["geometry"] is not None and item["geometry"]["type"] != "Point"]
    shapes = np.array([shapely.from_geojson(json.dumps(item["geometry"])) for item in features], object)
    with_region = {item["id"] for item in features if "epn:s_region" in item["properties"]}
    return Footprints([item["id"] for item in features], shapes, with_region)


def make_shapes() -> dict[str, Any]:
    """Make a geometry of each kind, and some of the hard ones."""
    random = np.random.default_rng(7)
    shapes: dict[str, Any] = {
        "whole map": shapely.box(-180, -90, 180, 90),
        "cap": shapely.box(-180, 60, 180, 90),
        "over 180": shapely.union(shapely.box(150, -40, 180, 40), shapely.box(-180, -40, -140, 40)),
        "wide": shapely.box(-120, -50, 110, 60),
        "hole": shapely.difference(shapely.box(-100, -60, 100, 60), shapely.box(-60, -30, 50, 35)),
        "two": shapely.union(shapely.box(-90, -60, -30, 60), shapely.box(30, -60, 90, 60)),
        "diagonal": shapely.Polygon([(-80, -60), (-75, -60), (85, 60), (80, 60)]),
        "line": shapely.LineString([(-150, -70), (10, 10), (140, 65)]),
        "lines": shapely.MultiLineString([[(-20, -2), (-15, -2)], [(5, 3), (9, 4)]]),
        "point": shapely.Point(2, 1),
        "points": shapely.MultiPoint([(2, 1), (5, -2), (-3, 3)]),
        "collection": shapely.GeometryCollection([shapely.Point(100, 10), shapely.box(-5, -30, 40, 0)]),
    }
    for number in range(2):
        corners = random.uniform([-170, -75], [170, 75], (6, 2))
        shapes[f"hull {number}"] = shapely.convex_hull(shapely.multipoints(corners))
    return shapes


def check(found: set[str], operation: str, shape: Any, footprints: Footprints, *, is_box: bool = False) -> None:
    """Compare with the relation of footprints that are a little smaller, and a little larger.

    Rows that have a box alone are compared with the box of the shape, so more of them intersect it.
    """
    smaller, larger = (
        RELATIONS[operation](shapely.buffer(footprints.shapes, by), shape) for by in (-SLACK_DEGREES, SLACK_DEGREES)
    )
    ids = np.array(footprints.ids)
    wanted, possible = set(ids[smaller & larger]), set(ids[smaller | larger])
    missing, surplus = wanted - found, found & set(ids) - possible
    if not is_box:
        inexact = missing if operation == "s_disjoint" else surplus
        inexact &= footprints.with_region
    assert (missing, surplus) == (set(), set()), shape


@pytest.mark.parametrize("operation", RELATIONS)
def test_geometries(client: Client, footprints: Footprints, operation: str, subtests: Any) -> None:
    """Each relation to each geometry; only areas have footprints within them."""
    for name, shape in make_shapes().items():
        with subtests.test(name):
            geometry = json.loads(shapely.to_geojson(shape))
            if operation == "s_within" and not shapely.area(shape):
                answer = client.get(ITEMS, filter=f"S_WITHIN(geometry, {shape.wkt})")
                assert answer.status == 400, name
                assert "s_intersects" in answer.text
                continue
            found = find_ids(client, operation, {"property": "geometry"}, geometry)
            is_mixed = operation == "s_within" and name == "collection"  # GEOS has no footprints within those
            check(found, operation, shapely.get_geometry(shape, 1) if is_mixed else shape, footprints)
            if name == "diagonal":
                reversed_operation = {"s_within": "s_contains", "s_contains": "s_within"}.get(operation, operation)
                assert find_ids(client, reversed_operation, geometry, {"property": "geometry"}) == found


@pytest.mark.parametrize("operation", RELATIONS)
def test_boxes(client: Client, footprints: Footprints, operation: str) -> None:
    """Boxes of any width, one that goes over 180 degrees, and a point."""
    for west, south, east, north in ((-120, -50, 110, 60), (-30, -20, 40, 50), (-180, -90, 180, 90), (2, 1, 2, 1)):
        if operation == "s_within" and west == east:
            continue
        found = find_ids(client, operation, {"property": "geometry"}, {"bbox": [west, south, east, north]})
        shape = shapely.box(west, south, east, north) if west < east else shapely.Point(west, south)
        check(found, operation, shape, footprints, is_box=True)
    found = find_ids(client, operation, {"property": "geometry"}, {"bbox": [150, -40, -140, 40]})
    check(found, operation, make_shapes()["over 180"], footprints, is_box=True)


def test_rows_without_geometry_have_no_relation(client: Client) -> None:
    everywhere = {"bbox": [-180, -90, 180, 90]}
    for operation in RELATIONS:
        found = find_ids(client, operation, {"property": "geometry"}, everywhere)
        assert not {"no place", "celestial"} & found
    text = json.dumps({"op": "s_disjoint", "args": [{"property": "geometry"}, everywhere]})
    sky = client.get("/stac/collections/sky.observations/items", **{"filter": text, "filter-lang": "cql2-json"})
    assert json.loads(sky.body)["features"] == []


def test_conditions_of_complete_tables_use_the_index_alone() -> None:
    """Where each row has a region on a body, no other condition keeps the engine from looking regions up."""
    item_table = find_item_table(build_granule_table("mars"))
    assert item_table is not None
    complete = replace(item_table, has_all_regions=True, has_only_bodies=True)
    for box in ((-30.0, -20.0, 40.0, 50.0), (-170.0, -20.0, 160.0, 50.0)):
        assert isinstance(build_box_condition(box, item_table), Conjunction)
        condition = build_box_condition(box, complete)
        assert isinstance(condition, Comparison)
        assert isinstance(condition.right, FunctionCall)
        assert condition.right.name == "INTERSECTS"
