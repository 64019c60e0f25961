"""The straight edges of polygons on the map become few great circles that stay near them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import shapely
from granule_rows import build_granule_table

from hven.adql.syntax_tree import Literal, walk_tree
from hven.plugins.stac.item_tables import find_item_table
from hven.plugins.stac.spatial_conditions import (
    EDGE_TOLERANCE_DEGREES,
    build_box_condition,
    build_geometry_condition,
)

ITEM_TABLE = find_item_table(build_granule_table("mars"))
CORNERS = [(-100.0, 84.0), (-140.0, 20.0), (-95.0, -30.0), (-60.0, -84.0), (-40.0, 70.0)]


def read_vertices(condition: object) -> np.ndarray:
    """Read the vertices of the only polygon of a condition, with longitudes from -180 to 180."""
    (text,) = {
        node.value for node in walk_tree(condition) if isinstance(node, Literal) and len(str(node.value).split()) > 5
    }
    vertices = np.array(str(text).split(), float).reshape(-1, 2)
    vertices[:, 0] = (vertices[:, 0] + 180) % 360 - 180
    return vertices


def measure_largest_distance(vertices: np.ndarray, outline: shapely.Polygon) -> float:
    """Measure how far the great circles between vertices are from an outline on the map, in degrees of the sphere."""
    lon, lat = np.radians(vertices).T
    xyz = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    following = np.roll(xyz, -1, axis=1)
    distances = []
    for share in (0.0, 0.25, 0.5, 0.75):
        x, y, z = (1 - share) * xyz + share * following
        for point in np.degrees([np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))]).T:
            scale = [np.cos(np.radians(point[1])), 1.0]  # around the point, the map is as the sphere then
            edges = shapely.linearrings(shapely.get_coordinates(outline) * scale)
            distances.append(shapely.distance(edges, shapely.Point(point * scale)))
    return float(max(distances))


@pytest.mark.parametrize("pieces", [1, 30])
def test_edges_are_near_those_of_the_map(pieces: int) -> None:
    """Vertices along a straight edge are left out: each makes the test of every footprint slower."""
    assert ITEM_TABLE is not None
    edges = itertools.pairwise([*CORNERS, CORNERS[0]])
    vertices = np.concatenate([np.linspace(begin, end, pieces, endpoint=False) for begin, end in edges])
    geometry = {"type": "Polygon", "coordinates": [[*vertices.tolist(), CORNERS[0]]]}
    found = read_vertices(build_geometry_condition(geometry, ITEM_TABLE))
    outline = shapely.Polygon(CORNERS)
    assert measure_largest_distance(found, outline) <= EDGE_TOLERANCE_DEGREES
    assert len(found) <= len(CORNERS) + outline.length / 2


def test_edges_of_boxes_are_near_those_of_the_map() -> None:
    assert ITEM_TABLE is not None
    for box in ((-120.0, 50.0, -10.0, 80.0), (-3.0, -84.0, 40.0, -60.0), (1.0, 1.0, 2.0, 1.5)):
        found = read_vertices(build_box_condition(box, ITEM_TABLE))
        assert measure_largest_distance(found, shapely.box(*box)) <= EDGE_TOLERANCE_DEGREES
    found = read_vertices(build_box_condition((170.0, 10.0, -170.0, 20.0), ITEM_TABLE))
    assert np.abs(found[:, 0]).min() == 170.0, "the box crosses 180 degrees"


def test_polygons_with_holes_keep_them() -> None:
    assert ITEM_TABLE is not None
    outline = [[0.0, 0.0], [20.0, 0.0], [20.0, 20.0], [0.0, 20.0], [0.0, 0.0]]
    hole = [[5.0, 5.0], [5.0, 9.0], [9.0, 9.0], [5.0, 5.0]]
    condition = build_geometry_condition({"type": "Polygon", "coordinates": [outline, hole]}, ITEM_TABLE)
    texts = {node.value for node in walk_tree(condition) if isinstance(node, Literal) and " " in str(node.value)}
    assert len(texts) == 2
