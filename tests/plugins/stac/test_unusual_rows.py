"""Rows as strangers have them: without ids, with equal ids, boxes over the meridian, regions alone, times of two epochs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pytest
import shapely
from asgi_client import Client
from granule_rows import build_granule_table, build_observation_table

from hven.app._server import create_and_start_application
from hven.model.table import Table
from hven.plugins.stac.export_verb import _build_item_file_name
from hven.plugins.stac.iau_bodies import find_frame_code
from hven.plugins.stac.item_documents import compute_boxes
from hven.testing.site import open_tiny_site

SKY_ITEMS = "/stac/collections/sky.observations/items"
WFS = {"SERVICE": "WFS", "VERSION": "2.0.0", "REQUEST": "GetFeature", "TYPENAMES": "mars.epn_core"}
FIRST_MJD = 53_000.0  # 2003-12-27, the first time of the granules, which are in Julian dates


def fill_rows(table: Table, rows: list[dict[str, object]]) -> pa.Table:
    filled = [{column.name: row.get(column.name) for column in table.columns} for row in rows]
    return pa.Table.from_pylist(filled, table.arrow_schema)


@pytest.fixture(scope="module")
def unusual_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Serve granules on Mars, and observations of the sky of which some lack an id and five have the same."""
    mars, other_mars = build_granule_table("mars"), build_granule_table("regions")
    sky = replace(build_observation_table("sky"), primary=())
    body = {"spatial_frame_type": "body", "target_name": "Mars"}
    granules = [
        {**body, "granule_uid": f"g{day}", "time_min": 2_453_000.5 + day, "time_max": 2_453_000.5 + day, "c1min": 100.0,
         "c1max": 110.0, "c2min": 0.0, "c2max": 5.0}
        for day in range(0, 10, 2)
    ]  # fmt: skip
    granules.append({**granules[0], "granule_uid": "over 0", "c1min": 105.0, "c1max": 104.0})
    ids = ["a", "b", "b", "b", "b", "b", "c", None, None]
    observations: list[dict[str, object]] = [
        {"obs_publisher_did": item_id, "obs_collection": "y", "obs_id": str(day), "target_name": "M 31", "s_ra": 1.0,
         "s_dec": 2.0, "t_min": FIRST_MJD + day + 0.25, "t_max": FIRST_MJD + day + 0.25}
        for day, item_id in enumerate(ids)
    ]  # fmt: skip
    regions = [
        {**granules[0], "granule_uid": "box"},
        {**body, "granule_uid": "region", "s_region": "POLYGON 200 0 210 0 210 9 200 9"},
    ]
    tables = {
        "mars.epn_core": (mars, fill_rows(mars, granules)),
        "regions.epn_core": (other_mars, fill_rows(other_mars, regions)),
        "sky.observations": (sky, fill_rows(sky, observations)),
    }
    with open_tiny_site(tmp_path_factory.mktemp("unusual"), tables) as site:
        yield Client(create_and_start_application(site))


def get_document(client: Client, path: str, **params: object) -> Any:
    answer = client.get(path, **params)
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 100])
@pytest.mark.parametrize("sortby", ["", "datetime"])
def test_equal_ids_are_not_lost_and_rows_without_ids_are_no_items(
    unusual_client: Client, limit: int, sortby: str
) -> None:
    order = {"sortby": sortby} if sortby else {}
    document = get_document(unusual_client, SKY_ITEMS, limit=limit, **order)
    found = []
    while True:
        found += [feature["properties"]["obscore:obs_id"] for feature in document["features"]]
        links = [link["href"] for link in document["links"] if link["rel"] == "next"]
        if not links:
            break
        address = urlsplit(links[0])
        document = json.loads(unusual_client.ask("GET", unquote(address.path), address.query.encode()).body)
    assert sorted(found) == [str(number) for number in range(7)]
    assert document["numberMatched"] == 7


def test_times_of_several_epochs_are_sorted_together(unusual_client: Client) -> None:
    """Those of EPN-TAP are Julian dates, those of ObsCore modified ones."""
    for sortby, is_reversed in (("datetime", False), ("-datetime", True)):
        document = get_document(
            unusual_client, "/stac/search", sortby=sortby, limit=100, collections="mars.epn_core,sky.observations"
        )
        times = [feature["properties"]["datetime"] for feature in document["features"]]
        assert len(times) == 13
        assert times == sorted(times, reverse=is_reversed)
        assert len({feature["collection"] for feature in document["features"][:4]}) == 2


def test_the_extent_has_boxes_over_the_meridian_and_regions_alone(unusual_client: Client) -> None:
    collection = get_document(unusual_client, "/stac/collections/mars.epn_core")
    assert collection["extent"]["spatial"]["bbox"] == [[-180, 0, 180, 5]]
    collection = get_document(unusual_client, "/stac/collections/regions.epn_core")
    assert collection["extent"]["spatial"]["bbox"] == [[-180, -90, 180, 90]]


def test_features_that_are_skipped_are_not_counted_wrongly(unusual_client: Client) -> None:
    """A STARTINDEX that was lowered made clients read the same page for ever."""
    answer = unusual_client.get("/wfs", **WFS, STARTINDEX=20_000_000)
    assert answer.status == 400
    assert 'locator="STARTINDEX"' in answer.text
    page = get_document(unusual_client, "/wfs", **WFS, STARTINDEX=2_000_000, OUTPUTFORMAT="json")
    assert (page["features"], page["numberMatched"]) == ([], 6)
    filtered = {**WFS, "BBOX": "0,0,120,9", "OUTPUTFORMAT": "json"}
    assert "numberMatched" not in get_document(unusual_client, "/wfs", **filtered, STARTINDEX=500)
    assert get_document(unusual_client, "/wfs", **filtered, STARTINDEX=1)["numberMatched"] == 6


def test_unknown_names_of_properties_are_refused(unusual_client: Client) -> None:
    answer = unusual_client.get("/wfs", **WFS, PROPERTYNAME="granule_uid,nothing")
    assert answer.status == 400
    assert "nothing" in answer.text
    assert unusual_client.get("/wfs", **WFS, PROPERTYNAME="f:granule_uid,f:geometry").status == 200


def test_the_box_of_a_polar_cap_and_another_polygon_has_both() -> None:
    cap, plain = shapely.box(-180, 80, 180, 90), shapely.box(50, 0, 60, 10)
    over = shapely.multipolygons([shapely.box(170, 0, 180, 9), shapely.box(-180, 0, -170, 9)])
    geometries = np.array([shapely.multipolygons([cap, plain]), over], object)
    assert compute_boxes(geometries).tolist() == [[-180, 0, 180, 90], [170, 0, -170, 9]]


def test_only_frames_that_proj_knows_are_named() -> None:
    pyproj = pytest.importorskip("pyproj")
    codes = [find_frame_code(name) for name in ("Mars", "Moon", "Itokawa", "Ida", "Bennu", "Nix", "Gaspra")]
    assert codes == ["IAU_2015:49900", "IAU_2015:30100", "IAU_2015:202514300", None, None, None, None]
    for code in codes[:3]:
        assert pyproj.CRS.from_user_input(code).is_geographic


def test_no_item_takes_the_name_of_the_file_of_its_collection(tmp_path: Path) -> None:
    assert _build_item_file_name("collection") not in {"collection", _build_item_file_name("Collection")}
    assert _build_item_file_name("g0001") == "g0001"


def test_items_lead_to_the_page_of_a_table_that_is_named_like_another_resource(tmp_path: Path) -> None:
    table = replace(build_granule_table("mars"), name="files")
    rows = fill_rows(table, [{"granule_uid": "g", "target_name": "Mars", "spatial_frame_type": "body"}])
    with open_tiny_site(tmp_path, {"mars.files": (table, rows)}) as site:
        client = Client(create_and_start_application(site))
        for path in ("/stac/collections/mars.files", "/stac/collections/mars.files/items/g"):
            links = get_document(client, path)["links"]
            (address,) = (urlsplit(link["href"]) for link in links if link["rel"] == "alternate")
            assert address.path == "/collections/mars/~files~"
            assert client.get(f"{address.path}?{address.query}").status == 200
