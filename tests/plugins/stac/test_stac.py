"""The STAC API: documents, items, searches and pages, judged by pystac and by cql2's own evaluation."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from asgi_client import Client
from granule_rows import ROWS, SPECIAL, build_granule_table

from hven.adql.adql_writer import write_adql
from hven.adql.syntax_tree import build_table_query
from hven.model.errors import ParamError
from hven.model.table import Column
from hven.model.types import FLOAT32, INT64
from hven.plugins.stac.cql2_conditions import build_filter_condition, parse_cql2_text
from hven.plugins.stac.item_tables import ItemTable, find_item_table
from hven.plugins.stac.search_parameters import parse_get_search
from hven.plugins.stac.wfs_filters import parse_wfs_filter
from hven.site import Site

MARS = "/stac/collections/mars.epn_core"
JSON_HEADERS = {"content-type": "application/json"}


def post_search(client: Client, **body: Any) -> tuple[int, Any]:
    answer = client.ask("POST", "/stac/search", body=json.dumps(body).encode(), headers=JSON_HEADERS)
    return answer.status, json.loads(answer.body)


def get_items(client: Client, path: str = f"{MARS}/items", **params: Any) -> Any:
    answer = client.get(path, **params)
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


def list_ids(document: Any) -> list[str]:
    return [feature["id"] for feature in document["features"]]


def follow_pages(client: Client, document: Any) -> list[str]:
    ids = list_ids(document)
    while True:
        links = [link for link in document["links"] if link["rel"] == "next"]
        if not links:
            return ids
        address = urlsplit(links[0]["href"])
        answer = client.ask("GET", unquote(address.path), address.query.encode())
        document = json.loads(answer.body)
        ids += list_ids(document)


@pytest.fixture(scope="module")
def all_items(client: Client) -> dict[str, Any]:
    document = get_items(client, limit=1000)
    return {feature["id"]: feature for feature in document["features"]}


def test_documents_are_valid(client: Client, all_items: dict[str, Any]) -> None:
    validation = pytest.importorskip("pystac.validation")
    documents = [json.loads(client.get("/stac").body)]
    documents += json.loads(client.get("/stac/collections").body)["collections"]
    sky_items = get_items(client, "/stac/collections/sky.observations/items", limit=2)["features"]
    for document in [*documents, *list(all_items.values())[:8], *sky_items]:
        plain = {**document, "stac_extensions": []}  # the schemas of extensions are not in the wheel
        validation.validate_dict(plain, stac_version="1.1.0")


def test_private_tables_have_no_collection(client: Client) -> None:
    assert "secret" not in client.get("/stac").text + client.get("/stac/collections").text
    assert client.get("/stac/collections/secret.epn_core/items").status == 404
    assert post_search(client, collections=["secret.epn_core"])[1]["features"] == []


def test_links_and_types(client: Client) -> None:
    landing = json.loads(client.get("/stac").body)
    conformance = json.loads(client.get("/stac/conformance").body)
    assert landing["conformsTo"] == conformance["conformsTo"]
    for link in landing["links"]:
        if link.get("method") == "POST":
            continue
        answer = client.get(urlsplit(link["href"]).path)
        assert answer.status == 200
        assert answer.headers["content-type"].partition("; charset")[0] == link["type"]
    queryables = json.loads(client.get(f"{MARS}/queryables").body)
    assert queryables["$id"].endswith("/mars.epn_core/queryables")


def test_pages_have_each_item_once(client: Client) -> None:
    first = get_items(client, limit=37)
    assert first["numberMatched"] == ROWS + len(SPECIAL)
    ids = follow_pages(client, first)
    assert len(ids) == len(set(ids)) == ROWS + len(SPECIAL)
    ordered = follow_pages(client, get_items(client, limit=37, sortby="-epn:processing_level,id"))
    assert sorted(ordered) == sorted(ids)
    everything = follow_pages(client, get_items(client, "/stac/search", limit=50))
    assert len(everything) == ROWS + len(SPECIAL) + 12
    merged = follow_pages(client, get_items(client, "/stac/search", limit=50, sortby="datetime"))
    assert sorted(merged) == sorted(everything)


def test_posted_pages(client: Client) -> None:
    status, page = post_search(client, limit=100, collections=["mars.epn_core"])
    assert status == 200
    ids = list_ids(page)
    while page["links"][-1]["rel"] == "next":
        _, page = post_search(client, **page["links"][-1]["body"])
        ids += list_ids(page)
    assert len(set(ids)) == len(ids) == ROWS + len(SPECIAL)
    assert page["numberMatched"] == len(ids)


def test_items_by_id(client: Client) -> None:
    for item_id in ("a b:c/d", "quote \" '", "g0007"):
        item = json.loads(client.get(f"{MARS}/items/{item_id}").body)
        assert item["id"] == item_id
        own_link = next(link for link in item["links"] if link["rel"] == "self")
        assert unquote(urlsplit(own_link["href"]).path) == f"{MARS}/items/{item_id}"
    assert client.get(f"{MARS}/items/nothing").status == 404
    assert list_ids(get_items(client, "/stac/search", ids="g0001,g0002")) == ["g0001", "g0002"]


def test_geometries(all_items: dict[str, Any], client: Client) -> None:
    cut = all_items["over 180"]
    assert cut["geometry"]["type"] == "MultiPolygon"
    assert cut["bbox"] == [170, 10, -170, 20]
    assert all_items["a b:c/d"]["bbox"] == [-10, -5, 10, 5]
    assert all_items["point"]["geometry"] == {"type": "Point", "coordinates": [40.0, 3.0]}
    assert all_items["no place"]["geometry"] is None
    assert "bbox" not in all_items["no place"]
    sky = get_items(client, "/stac/collections/sky.observations/items")
    assert {feature["geometry"] for feature in sky["features"]} == {None}
    assert "on the sky" in client.get("/stac/collections/sky.observations").text


def test_row_without_time_has_span_of_collection(client: Client, all_items: dict[str, Any]) -> None:
    collection = json.loads(client.get(MARS).body)
    begin, end = collection["extent"]["temporal"]["interval"][0]
    properties = all_items["point"]["properties"]
    assert (properties["datetime"], properties["start_datetime"], properties["end_datetime"]) == (None, begin, end)
    assert all_items["g0000"]["properties"]["datetime"] == "2003-12-27T00:00:00.000Z"


@pytest.mark.parametrize("box", ["-140,-70,-120,-50", "170,0,-170,30", "0,0,0,0", "-180,-90,180,90", "5,-5,6,-4"])
def test_boxes(client: Client, all_items: dict[str, Any], box: str) -> None:
    west, south, east, north = map(float, box.split(","))
    east += 360 * (east < west)

    def touches(item: Any) -> bool:
        if item["geometry"] is None:
            return False
        low, bottom, high, top = item["bbox"]
        high += 360 * (high < low)
        in_lon = any(low + turn <= east and high + turn >= west for turn in (-360, 0, 360))
        return in_lon and bottom <= north and top >= south

    wanted = {item_id for item_id, item in all_items.items() if touches(item)}
    assert set(list_ids(get_items(client, bbox=box, limit=1000))) == wanted


def test_datetime(client: Client) -> None:
    ids = list_ids(get_items(client, datetime="2004-01-01T00:00:00Z/2004-01-02T12:00:00Z", limit=1000))
    assert [item_id for item_id in ids if item_id.startswith("g")] == ["g0005", "g0006"]
    assert len(list_ids(get_items(client, datetime="../2003-12-27T00:00:00Z", limit=1000))) == 1 + len(SPECIAL)


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0}, {"limit": "x"}, {"bbox": "1,2,3"}, {"bbox": "nan,0,1,1"}, {"bbox": "0,10,1,5"}, {"datetime": "2004"}, {"datetime": "2004-01-14"}, {"datetime": "2004-01-14/.."},
        {"datetime": "2005-01-01/2004-01-01"}, {"nonsense": 1}, {"filter": "a =="}, {"filter": "nothing = 1"}, {"sortby": "nothing"},
        {"token": "x"}, {"filter": "(" * 200 + "id='x'" + ")" * 200}, {"filter": "id = 'x'", "filter-crs": "EPSG:4326"}, {"filter": "s_touches(geometry, POINT(1 2))"},
    ],
)  # fmt: skip
def test_faults(client: Client, params: dict[str, Any]) -> None:
    answer = client.get(f"{MARS}/items", **params)
    assert answer.status in {400, 413}, answer.text
    assert set(json.loads(answer.body)) == {"code", "description"}


@pytest.mark.parametrize(
    "text", ["+1" * 20_000, "^2" * 20_000, "-" * 20_000 + "1", " -1" * 15_000, "+(1 -1 -1 -1 -1)" * 900]
)
def test_long_arithmetic_does_not_end_the_process(text: str) -> None:
    """The parser is recursive: its stack overflows, which no exception tells. Another process tries it."""
    pytest.importorskip("cql2")
    code = (
        "import sys; from hven.plugins.stac.cql2_conditions import parse_cql2_text; parse_cql2_text(sys.stdin.read())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], input=f"a = 1{text}", capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "TooLargeError" in ended.stderr
    assert "arithmetic operators" in ended.stderr


def test_long_lists_and_geometries_are_no_arithmetic(client: Client) -> None:
    numbers = ",".join(f"-{number}" for number in range(2_000))
    corners = ",".join(f"{-9 + np.cos(turn)} {-2e1 + np.sin(turn)}" for turn in np.linspace(0, 2 * np.pi, 900)[:-1])
    first = f"{-9 + np.cos(0)} {-2e1 + np.sin(0)}"
    for text in (f"epn:processing_level IN ({numbers})", f"S_INTERSECTS(geometry, POLYGON(({corners},{first})))"):
        assert client.get(f"{MARS}/items", filter=text).status == 200
    words = "-" * 2_000 + "(" * 200
    assert list_ids(get_items(client, filter=f"epn:granule_uid = '{words}'")) == []


@pytest.mark.parametrize(
    "body",
    [
        {"bbox": [0, 0, 1, 1], "intersects": {"type": "Point", "coordinates": [0, 0]}},
        {"intersects": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}},
        {"intersects": {"type": "Point"}}, {"intersects": 3}, {"ids": "x"}, {"filter": {"op": "nope", "args": []}}, {"filter": 3}, {"sortby": [3]},
        {"filter": {"op": "=", "args": [{"property": 1}, 2]}}, {"other": 1}, {"bbox": "0,0,1,1"}, {"fields": None}, {"fields": ["id"]},
    ],
)  # fmt: skip
def test_faults_of_bodies(client: Client, body: dict[str, Any]) -> None:
    status, document = post_search(client, **body)
    assert status == 400
    assert document["description"]


@pytest.mark.parametrize(
    "condition",
    [
        "epn:c1min > 'a'",
        "epn:target_name > 5",
        "epn:c1min BETWEEN 'a' AND 'b'",
        "epn:target_name IN (1)",
        "CASEI(c1min) = 'a'",
    ],
)
def test_a_filter_with_values_of_another_type_is_a_fault_of_the_filter(client: Client, condition: str) -> None:
    answer = client.get("/stac/search", filter=condition, collections="mars.epn_core")
    assert answer.status == 400
    assert "the filter does not fit the properties: " in answer.text
    assert "queryables" in answer.text
    assert not re.search(r"line \d|column \d|CAST", answer.text), "the query is Hven's own"


def test_a_property_that_one_collection_lacks_is_a_fault_on_every_page(client: Client) -> None:
    for limit in (1, 1000):
        answer = client.get("/stac/search", filter="epn:incidence_min > 0", limit=limit)
        assert answer.status == 400
        assert "incidence_min" in answer.text
        answer = client.get("/stac/search", filter="epn:incidence_min > 0", collections="mars.epn_core", limit=limit)
        assert answer.status == 200


IAU = "http://www.opengis.net/def/crs/IAU/2015/49900"


def test_items_in_the_frame_of_the_body_have_latitudes_first(client: Client) -> None:
    collection = json.loads(client.get(MARS).body)
    assert (collection["crs"][1], collection["storageCrs"]) == (IAU, IAU)
    assert "storageCrs" not in json.loads(client.get("/stac/collections/sky.observations").body)
    box = {"bbox": "-40,-30,40,30", "limit": 1000}
    swapped = {"bbox": "-30,-40,30,40", "bbox-crs": IAU, "limit": 1000}
    assert list_ids(get_items(client, **swapped)) == list_ids(get_items(client, **box))
    answer = client.get(f"{MARS}/items/point", crs=IAU)
    assert answer.headers["content-crs"] == f"<{IAU}>"
    item = json.loads(answer.body)
    assert (item["geometry"]["coordinates"], item["bbox"]) == ([3, 40], [3, 40, 3, 40])
    plain = client.get(f"{MARS}/items", ids="point")
    assert plain.headers["content-crs"] == "<http://www.opengis.net/def/crs/OGC/1.3/CRS84>"
    assert json.loads(plain.body)["features"][0]["geometry"]["coordinates"] == [40, 3]
    page = get_items(client, crs=IAU, limit=2)
    assert "crs=http" in next(link["href"] for link in page["links"] if link["rel"] == "next")
    for params in ({"crs": "EPSG:4326"}, {"bbox-crs": "x", "bbox": "0,0,1,1"}):
        assert client.get(f"{MARS}/items", **params).status == 400
    assert client.get("/stac/search", crs=IAU).status == 400, "part 2 is about the items of a collection"
    assert client.get("/stac/collections/sky.observations/items", crs=IAU).status == 400


def test_limit_is_lowered(client: Client) -> None:
    assert get_items(client, limit=999_999)["numberReturned"] == ROWS + len(SPECIAL)


def test_fields(client: Client) -> None:
    item = get_items(client, limit=1, fields="id,properties.title,-geometry", ids="g0000")["features"][0]
    assert "geometry" not in item
    assert "assets" not in item
    assert item["properties"].keys() == {"datetime", "start_datetime", "end_datetime", "title"}
    always = {"type", "stac_version", "id", "collection"}
    for fields, names in (("geometry", {"geometry"}), ("+bbox,-bbox", {"bbox"}), ("assets,id", {"assets"})):
        assert get_items(client, limit=1, fields=fields)["features"][0].keys() == {*always, *names}
    item = get_items(client, limit=1, ids="g0000", fields="-properties,+properties.title")["features"][0]
    assert item.keys() == {*always, "properties"}
    assert "title" in item["properties"]
    assert len(get_items(client, limit=1, fields="")["features"][0]) > 8


FILTERS = [
    "epn:target_name = 'Mars'",
    "epn:processing_level > 2 AND epn:instrument_name = 'OMEGA'",
    "epn:processing_level IN (1, 3) OR epn:incidence_min < 20",
    "NOT (epn:processing_level BETWEEN 1 AND 3)",
    "epn:granule_uid LIKE 'g000%'",
    "casei(epn:instrument_name) = casei('hrsc')",
    "epn:incidence_min / 2 > epn:processing_level * 10",
    "start_datetime >= TIMESTAMP('2004-03-01T00:00:00Z')",
    "datetime < TIMESTAMP('2004-01-05T00:00:00Z')",
    "S_INTERSECTS(geometry, BBOX(-30, -30, 30, 30))",
    "id = 'g0003'",
    "A_CONTAINS(ssys:targets, ('Mars'))",
    "epn:instrument_name <> 'CRISM' AND epn:processing_level <> 4",
    "collection = 'mars.epn_core' AND epn:processing_level = 0",
]


@pytest.mark.parametrize("text", FILTERS)
def test_filters_as_cql2_evaluates_them(client: Client, site: Site, all_items: dict[str, Any], text: str) -> None:
    cql2 = pytest.importorskip("cql2")
    expression = cql2.Expr(text)

    def matches(item: Any) -> bool:
        try:
            return bool(expression.matches(item))
        except Exception:  # noqa: BLE001  (a property that the item lacks is null, and null is not true)
            return False

    wanted = {item_id for item_id, item in all_items.items() if item_id.startswith("g") and matches(item)}
    by_text = list_ids(get_items(client, filter=text, limit=1000))
    _, posted = post_search(client, filter=expression.to_json(), limit=1000, collections=["mars.epn_core"])
    assert by_text == list_ids(posted)
    assert {item_id for item_id in by_text if item_id.startswith("g")} == wanted
    table = site.get_published_state().tables_by_name["mars.epn_core"].table
    item_table = find_item_table(table)
    assert item_table is not None
    condition = build_filter_condition(parse_cql2_text(text), item_table)
    query = write_adql(build_table_query(table, ["granule_uid"], condition))
    answer = client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="json")
    assert sorted(row[0] for row in json.loads(answer.body)["data"]) == sorted(by_text)


def build_numbers_table() -> ItemTable:
    table = build_granule_table("mars")
    columns = (*table.columns, Column(name="mag", type=FLOAT32), Column(name="source_id", type=INT64))
    item_table = find_item_table(dataclasses.replace(table, columns=columns))
    assert item_table is not None
    return item_table


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("mag = 6.46", "mag = 6.460000038146973"),
        ("-0.1 <= mag", "-0.10000000149011612 <= mag"),
        ("mag BETWEEN 0.1 AND 2.5", "mag BETWEEN 0.10000000149011612 AND 2.5"),
        ("mag IN (0.1, 3)", "mag IN (0.10000000149011612, 3)"),
        ("c1min = 6.46", "c1min = 6.46"),
    ],
)
def test_numbers_are_compared_in_the_precision_of_the_property(text: str, condition: str) -> None:
    item_table = build_numbers_table()
    assert write_adql(build_filter_condition(parse_cql2_text(text), item_table)).replace('"', "") == condition


def test_long_numbers_keep_their_digits() -> None:
    item_table = build_numbers_table()
    for number in (2**53 + 1, -(2**53) - 1, 2**63 - 1):
        with pytest.raises(ParamError, match="more digits than numbers in CQL2 text"):
            parse_cql2_text(f"source_id = {number}")
        filter_document = {"op": "=", "args": [{"property": "source_id"}, number]}
        assert write_adql(build_filter_condition(filter_document, item_table)) == f'"source_id" = {number}'
        element = f"<PropertyIsEqualTo><ValueReference>source_id</ValueReference><Literal>{number}</Literal></PropertyIsEqualTo>"
        found = parse_wfs_filter(f"<Filter>{element}</Filter>", item_table, lambda box, _: list(box))
        assert write_adql(build_filter_condition(found, item_table)) == f'"source_id" = {number}'
        search = parse_get_search([("source_id", str(number))], ["mars.epn_core"], item_table)
        assert search.filter == filter_document
    for text in ("source_id = 1e16", "source_id = 9007199254740992", "granule_uid = '9007199254740993'"):
        assert parse_cql2_text(text)


def test_properties_as_parameters(client: Client) -> None:
    found = get_items(client, **{"epn:instrument_name": "OMEGA", "epn:processing_level": "0", "limit": 500})
    assert len(found["features"]) == 14


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("T_AFTER(datetime, TIMESTAMP('2004-07-12T00:00:00Z'))", 1), ("T_BEFORE(datetime, TIMESTAMP('2003-12-28T00:00:00Z'))", 1),
        ("T_DURING(datetime, INTERVAL('2003-12-27T12:00:00Z','2003-12-29T12:00:00Z'))", 2),
        ("T_DURING(INTERVAL(start_datetime, end_datetime), INTERVAL('2003-12-27T12:00:00Z','2003-12-29T12:00:00Z'))", 2),
        ("T_CONTAINS(INTERVAL('2003-12-27T12:00:00Z','2003-12-29T12:00:00Z'), INTERVAL(start_datetime, end_datetime))", 2),
        ("datetime IS NULL", ROWS // 2 + len(SPECIAL)), ("start_datetime IS NULL", 0), ("NOT end_datetime IS NULL", ROWS + len(SPECIAL)),
        ("start_datetime <= TIMESTAMP('2003-12-27T00:00:00Z')", 1 + len(SPECIAL)), ("end_datetime > TIMESTAMP('2004-07-12T00:00:00Z')", 1 + len(SPECIAL)), ("epn:target_name IS NULL", 1), ("T_INTERSECTS(datetime, INTERVAL('2004-07-13T00:00:00Z', '..'))", 1 + len(SPECIAL)),
        ("T_DISJOINT(datetime, INTERVAL('2010-01-01T00:00:00Z', '..'))", ROWS + len(SPECIAL)), ("T_BEFORE(datetime, TIMESTAMP('2010-01-01T00:00:00Z'))", ROWS + len(SPECIAL)),
    ],
)  # fmt: skip
def test_temporal_and_null(client: Client, text: str, count: int) -> None:
    assert len(list_ids(get_items(client, filter=text, limit=1000))) == count


def test_items_without_geometry(client: Client, all_items: dict[str, Any]) -> None:
    wanted = {item_id for item_id, item in all_items.items() if item["geometry"] is None}
    assert wanted == {"no place", "celestial"}
    assert set(list_ids(get_items(client, filter="geometry IS NULL", limit=1000))) == wanted
    others = list_ids(get_items(client, filter="NOT geometry IS NULL", limit=1000))
    assert set(others) == set(all_items) - wanted
    sky = get_items(client, "/stac/collections/sky.observations/items", filter="geometry IS NULL", limit=1000)
    assert len(sky["features"]) == 12


def test_polygon(client: Client, all_items: dict[str, Any]) -> None:
    shapely = pytest.importorskip("shapely")
    polygon = {"type": "Polygon", "coordinates": [[[-60, -40], [20, -45], [30, 20], [-20, 35], [-60, -40]]]}
    _, found = post_search(client, intersects=polygon, limit=1000, collections=["mars.epn_core"])
    shape = shapely.from_geojson(json.dumps(polygon))
    with_region = {item_id: item for item_id, item in all_items.items() if "epn:s_region" in item["properties"]}
    shapes = {item_id: shapely.from_geojson(json.dumps(item["geometry"])) for item_id, item in with_region.items()}
    surely = {item_id for item_id, own in shapes.items() if own.intersection(shape).area > 0.1 * own.area}
    never = {item_id for item_id, own in shapes.items() if own.distance(shape) > 8}
    ids = set(list_ids(found))
    assert surely <= ids
    assert not never & ids


def test_cached_items_are_those_of_the_request(client: Client) -> None:
    """Small pages are cached by their rows, the address of the site and the members of items."""
    whole = [get_items(client, limit=3)["features"] for _ in range(2)]
    assert whole[0] == whole[1]
    assert [feature["id"] for feature in get_items(client, limit=3, fields="id")["features"]] == list_ids(
        {"features": whole[0]}
    )
    assert "assets" not in get_items(client, limit=3, fields="id")["features"][0]
    elsewhere = client.ask("GET", f"{MARS}/items", b"limit=3", headers={"host": "elsewhere.example"})
    links = [link["href"] for link in json.loads(elsewhere.body)["features"][0]["links"]]
    assert any("elsewhere.example" in link for link in links) != ("elsewhere.example" in str(whole[0]))


@pytest.mark.parametrize("parameters", [{}, {"sortby": "id"}])
def test_a_search_of_no_collection_has_no_items(client: Client, parameters: dict[str, str]) -> None:
    found = get_items(client, "/stac/search", collections="secret.epn_core", **parameters)
    assert (found["features"], found["numberMatched"]) == ([], 0)
