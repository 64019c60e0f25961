"""Columns such as ``proj_shape`` describe the pixels of rasters, and items have them as the Projection extension says."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
import pytest
from asgi_client import Client
from granule_rows import build_granule_table, build_granules

from hven.app._server import create_and_start_application
from hven.model.table import Column
from hven.model.types import STRING, parse_type
from hven.plugins.stac.item_documents import write_frame_text
from hven.testing.site import open_tiny_site

ITEMS = "/stac/collections/mars.epn_core/items"
TRANSFORM = [100.0, 0.0, 5.0, 0.0, -100.0, 7.5]
GRIDS = [("IAU_2015:49910", [20, 30], TRANSFORM), (None, [4, 4], None), ("EPSG:4326", [2, 2], TRANSFORM), ('EPSG:1,"x":2', [1, 1], TRANSFORM)]  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    mars = build_granule_table("mars")
    grids = (
        Column(name="proj_code", type=STRING),
        Column(name="proj_shape", type=parse_type("int64[2]")),
        Column(name="proj_transform", type=parse_type("float64[6]")),
    )
    table = mars.copy_with(columns=(*mars.columns, *grids))
    rows = build_granules(mars).slice(0, 6).to_pylist()
    for row, (code, shape, transform) in zip(rows, GRIDS, strict=False):
        row |= {"proj_code": code, "proj_shape": shape, "proj_transform": transform}
    schema = pa.schema([pa.field(column.name, column.type.arrow) for column in table.columns])
    filled = pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema)
    with open_tiny_site(tmp_path_factory.mktemp("grids"), {"mars.epn_core": (table, filled)}) as site:
        yield Client(create_and_start_application(site))


def test_items_have_the_grids_of_rasters(client: Client) -> None:
    pytest.importorskip("pyproj")
    items = json.loads(client.get(ITEMS).body)["features"]
    first, second, third, fourth, plain, _ = (item["properties"] for item in items)
    assert (first["proj:code"], first["proj:shape"], first["proj:transform"]) == ("IAU_2015:49910", [20, 30], TRANSFORM)
    assert 'ELLIPSOID["Mars (2015) - Sphere",3396190,0' in first["proj:wkt2"]
    assert (second["proj:code"], second["proj:shape"]) == ("IAU_2015:49900", [4, 4]), "the frame of the body"
    assert "proj:transform" not in second
    assert "Mars" in second["proj:wkt2"]
    assert "WGS 84" in third["proj:wkt2"]
    assert "proj:wkt2" not in fourth, "no such frame is known"
    assert not {"proj:shape", "proj:transform", "proj:wkt2"} & plain.keys()
    assert plain["proj:code"] == "IAU_2015:49900"
    assert all(any("/projection/v2" in url for url in item["stac_extensions"]) for item in items)


def test_the_number_of_epsg_is_written_on_request(client: Client) -> None:
    """Version 2 of the extension has no such property, but GDAL 3.6 reads no item without it."""
    pytest.importorskip("pyproj")
    items = json.loads(client.get(ITEMS).body)["features"]
    assert not any("proj:epsg" in item["properties"] for item in items)
    items = json.loads(client.get(ITEMS, fields="properties,assets,proj:epsg").body)["features"]
    assert [item["properties"].get("proj:epsg", "none") for item in items] == [None, None, 4326, None, "none", "none"]


def test_frames_without_a_definition_have_no_text() -> None:
    assert write_frame_text("nonsense") is None


def test_grids_are_valid(client: Client) -> None:
    validation = pytest.importorskip("pystac.validation")
    for item in json.loads(client.get(ITEMS).body)["features"]:
        validation.validate_dict({**item, "stac_extensions": []}, stac_version="1.1.0")
