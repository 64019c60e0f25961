"""A region that is drawn on a map becomes a row: from the search to the form, to a table, and back to the map."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
from asgi_client import Client
from test_map_frames import BOXES, DISC

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.plugins.sky_maps.region_rows import find_drawn_region, write_region_values
from hven.portal._explore import parse_search
from hven.portal._pages import body_maps
from hven.site.auth.local import create_personal_token
from hven.testing.site import open_site_with_uningested_files

PUSHED = """
    source:
      kind: push
      columns: {id: int64, s_region: string, target_name: string, c1min: float64, c1max: float64, c2min: float64, c2max: float64}
      ids: id
      writers: [mia]
    entries: {submitters: [anna]}
    primary: id
"""
BOX_COLUMNS = "".join(f"      {name}: {{type: float64, unit: UNIT}}\n" for name in ("c1min", "c1max", "c2min", "c2max"))
DESCRIPTOR = f"""\
collection: drawn
title: Drawn
tables:
  stars:
    title: Stars
    source: stars.csv
    primary: name
    position: [ra, dec]
  tracks:
    title: Tracks
    source: tracks.csv
    primary: id
    columns:
      id: int32
      target_name: string
{BOX_COLUMNS.replace("UNIT", "deg")}
  spots:
    title: Spots
    source: spots.csv
    primary: id
    columns:
      id: int32
{BOX_COLUMNS.replace("UNIT", "arcsec")}
  marks:
    title: Marks on planets
{PUSHED}
    columns:
      id: {{type: int64, ucd: meta.id;meta.main}}
      s_region: {{type: string, ucd: pos.outline}}
      target_name: string
{BOX_COLUMNS.replace("UNIT", "deg")}
  sun_marks:
    title: Marks on the Sun
{PUSHED}
    columns:
      id: {{type: int64, ucd: meta.id;meta.main}}
      target_name: string
{BOX_COLUMNS.replace("UNIT", "arcsec")}
  fields:
    title: Fields of the sky
    source:
      kind: push
      columns: {{id: int64, s_region: string}}
      ids: id
      writers: [mia]
    entries: {{submitters: [anna]}}
    primary: id
    columns:
      id: {{type: int64, ucd: meta.id;meta.main}}
      s_region: {{type: string, ucd: pos.outline;obs.field}}
"""
FILES = {
    "../../hven.toml": 'name = "drawn"\n',
    "stars.csv": b"name,ra,dec\nVega,279.2,38.8\n",
    "tracks.csv": b"id,target_name,c1min,c1max,c2min,c2max\n1,Mars,10,20,0,5\n2,Mars,100,110,-50,-40\n",
    "spots.csv": b"id,c1min,c1max,c2min,c2max\n1,-100,-50,200,250\n2,300,320,-10,10\n",
}
FORMS = "/collections/drawn/{}/forms"
JSON = {"accept": "application/json"}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[str, dict[str, str]]]]:
    with open_site_with_uningested_files(tmp_path_factory.mktemp("drawn"), DESCRIPTOR, FILES) as site:
        assert ingest_collection(site, "drawn").published
        site.refresh_published_state()
        headers = {}
        for name in ("anna", "mia"):
            site.store.users.add_account(name)
            token = create_personal_token(site.store, name, "all", 1, created_by=name)[1]
            headers[name] = {"authorization": f"Bearer {token}"}
        yield Client(create_and_start_application(site)), headers


def list_forms(client: Client, table: str, headers: dict[str, str], **parameters: str) -> dict[str, dict[str, str]]:
    """List the forms by the titles of their tables, with the values that they are opened with."""
    answer = client.ask("GET", FORMS.format(table), urlencode(parameters).encode(), headers={**JSON, **headers})
    assert answer.status == 200, answer.text
    forms = json.loads(answer.body)["forms"]
    return {form["title"]: dict(parse_qsl(urlsplit(form["url"]).query)) for form in forms}


def test_a_region_is_offered_where_rows_have_such_regions(members: tuple[Client, dict[str, dict[str, str]]]) -> None:
    client, headers = members
    anna = headers["anna"]
    assert list_forms(client, "stars", anna, _in="POLYGON 10 10 20 10 15 25") == {
        "Fields of the sky": {"s_region": "POLYGON 10 10 20 10 15 25"}
    }
    assert list_forms(client, "stars", anna, _in="CIRCLE 10 10 2.5")["Fields of the sky"] == {
        "s_region": "CIRCLE 10 10 2.5"
    }
    on_sun = list_forms(client, "spots", anna, _polygon="-300 200, 100 250.5, 0 -50")
    assert on_sun == {"Marks on the Sun": {"c1min": "-300", "c1max": "100", "c2min": "-50", "c2max": "250.5"}}
    (title, values), *others = list_forms(client, "tracks", anna, _polygon="350 -10, 15 -10, 0 20").items()
    assert (title, others) == ("Marks on planets", [])
    assert values["target_name"] == "Mars"
    assert [values[name] for name in ("c1min", "c1max", "c2min", "c2max")] == ["350", "15", "-10", "20"]
    assert values["s_region"].startswith("POLYGON 350 -10 355 -10 0 -10 ")


def test_without_a_region_or_the_right_there_is_no_form(members: tuple[Client, dict[str, dict[str, str]]]) -> None:
    client, headers = members
    region = {"_in": "POLYGON 10 10 20 10 15 25"}
    assert list_forms(client, "stars", {}, **region) == {}
    assert list_forms(client, "stars", headers["anna"]) == {}
    assert list_forms(client, "stars", headers["anna"], _in="POINT 10 10") == {}
    assert list_forms(client, "stars", headers["anna"], _in="POLYGON 10 10") == {}, "the search has a fault"
    two = f"_polygon={quote('1 2, 3 4, 5 9')}&_polygon={quote('1 2, 3 4, 5 7')}".encode()
    answer = client.ask("GET", FORMS.format("tracks"), two, headers={**JSON, **headers["anna"]})
    assert json.loads(answer.body) == {"forms": []}, "a row has one region"


def test_a_polygon_on_the_sun_becomes_a_row(members: tuple[Client, dict[str, dict[str, str]]]) -> None:
    client, headers = members
    anna, sent = headers["anna"], {"content-type": "application/json", "accept": "application/json"}
    query = urlencode({"_polygon": "-300 200, 100 250, 0 -50"}).encode()
    (form,) = json.loads(client.ask("GET", FORMS.format("spots"), query, headers={**JSON, **anna}).body)["forms"]
    address = urlsplit(form["url"])
    page = client.ask("GET", address.path, address.query.encode(), headers={"accept": "text/html", **anna})
    assert page.status == 200
    assert 'value="-300"' in html.unescape(page.text)

    def post(path: str, document: dict[str, Any], name: str) -> Any:
        answer = client.ask("POST", path, body=json.dumps(document).encode(), headers={**sent, **headers[name]})
        assert answer.status in {200, 201}, answer.text
        return json.loads(answer.body)

    entry = post("/entries/drawn.sun_marks", {"values": dict(parse_qsl(address.query)), "action": "submit"}, "anna")
    post(f"/entries/drawn.sun_marks/{entry['number']}", {"action": "accept", "etag": entry["etag"]}, "mia")
    for polygon, total in (("-290 190, -280 190, -280 200", 1), ("290 190, 280 190, 280 200", 0)):
        found = json.loads(client.get("/collections/drawn/sun_marks/places", _polygon=polygon).body)
        assert found["total"] == total


def test_regions_around_a_pole_have_all_longitudes() -> None:
    region = find_drawn_region(parse_search([("_polygon", "0 60, 90 60, 180 50, 270 60")], BOXES))
    assert region is not None
    assert write_region_values(region, BOXES) == {"c1min": "0", "c1max": "360", "c2min": "50", "c2max": "90"}
    assert region.text.count(" ") > 100
    region = find_drawn_region(parse_search([("_in", "CIRCLE 5 -85 10")], BOXES))
    assert region is not None, "boxes are searched by regions of the sphere, too"
    assert write_region_values(region, BOXES) == {"c1min": "0", "c1max": "360", "c2min": "-90", "c2max": "-75"}
    assert find_drawn_region(parse_search([("_in", "CIRCLE 5 -85 10")], DISC)) is None
    assert write_region_values(find_drawn_region(parse_search([("_polygon", "1 2, 3 4, 5 9")], DISC)), DISC) == {}  # type: ignore[arg-type]


def test_the_forms_are_found_without_scripts(members: tuple[Client, dict[str, dict[str, str]]]) -> None:
    client, headers = members
    query = urlencode({"_polygon": "-300 200, 100 250, 0 -50"}).encode()
    as_page = {"accept": "text/html", **headers["anna"]}
    page = client.ask("GET", "/collections/drawn/spots", query, headers=as_page).text
    (address,) = re.findall(r'<noscript><p><a href="([^"]*/forms\?[^"]*)"', page)
    parts = urlsplit(html.unescape(address))
    forms = client.ask("GET", parts.path, parts.query.encode(), headers=as_page).text
    assert "Marks on the Sun</a>" in forms
    assert "c1min=-300" in html.unescape(forms)
    anonymous = client.ask("GET", parts.path, parts.query.encode(), headers={"accept": "text/html"}).text
    assert "takes rows from you" in anonymous
    assert "/forms?" not in client.ask("GET", "/collections/drawn/spots", query, headers={"accept": "text/html"}).text


def test_a_map_says_that_no_pictures_of_bodies_are_installed(
    members: tuple[Client, dict[str, dict[str, str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The map would be black without a word."""
    client, _ = members
    monkeypatch.setattr(body_maps, "INSTALLED_DIRECTORY", tmp_path)
    assert json.loads(client.get("/collections/drawn/tracks/places").body)["uninstalled"] is True
    (tmp_path / "mars.jpg").write_bytes(b"")
    assert json.loads(client.get("/collections/drawn/tracks/places").body)["uninstalled"] is False
