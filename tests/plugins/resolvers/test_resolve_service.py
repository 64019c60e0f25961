"""``/resolve`` and Sesame's addresses: all formats, read by the clients' own rules; statuses; bad requests."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord, name_resolve
from astropy.io.votable import parse_single_table
from starlette.applications import Starlette

from hven.model.table import Column, Table
from hven.model.types import STRING
from hven.plugins.resolvers.sesame import parse_sesame_answer
from hven.plugins.resolvers.sesame_documents import format_sexagesimal
from hven.services.face import ServiceContext, load_service_faces
from hven.site.auth import ANONYMOUS_PRINCIPAL
from hven.testing.face import FaceContract
from hven.testing.site import open_tiny_site

OBJECTS = Table(
    schema="sky",
    name="objects",
    columns=(
        Column(name="name", type=STRING, ucd="meta.id;meta.main"),
        Column(name="others", type=STRING, ucd="meta.id"),
        Column(name="ra", unit="deg", ucd="pos.eq.ra;meta.main"),
        Column(name="dec", unit="deg", ucd="pos.eq.dec;meta.main"),
    ),
    position=("ra", "dec"),
)
ROWS = pa.table(
    {
        "name": ["<b>A & B", "Twin", "twin", "NGC 650/1"],
        "others": ["Alpha|Beta", None, None, None],
        "ra": [10.68470833, 20.0, 30.0, 25.6],
        "dec": [-0.00001, 1.0, 1.0, 51.57],
    }
)
BROWSER = {"accept": "text/html,application/xhtml+xml"}


class TestResolve(FaceContract):
    name = "resolve"
    table = OBJECTS
    rows = ROWS


@pytest.fixture(scope="module")
def send(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Yield a function of an address, parameters, method and headers that returns the answer."""
    faces = load_service_faces()
    with open_tiny_site(tmp_path_factory.mktemp("resolve"), {"sky.objects": (OBJECTS, ROWS)}) as site:
        context = replace(ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL), faces=faces)
        routes = [route for face in faces.values() for route in face.build_routes_and_register_standard_ids(context)]
        transport = httpx.ASGITransport(Starlette(routes=routes))

        async def send_request(path: str, parameters: Any, method: str, headers: Any) -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://vo.example") as client:
                return await client.request(method, path, params=parameters or None, headers=headers)

        yield lambda path, parameters=None, method="GET", **headers: asyncio.run(
            send_request(path, parameters, method, headers)
        )


def test_json_has_all_facts(send: Any) -> None:
    facts = send("/resolve/alpha", {"RESPONSEFORMAT": "json"}).json()
    assert facts["query"] == "alpha"
    assert facts["name"] == "<b>A & B"
    assert facts["position"] == pytest.approx([10.68470833, -0.00001])
    assert (facts["ids"], facts["confidence"], facts["source"]) == (["Alpha", "Beta"], 0.8, "table sky.objects")


def test_a_table_lists_several_names_and_those_that_are_unknown(send: Any) -> None:
    response = send("/resolve?NAME=Beta&NAME=nobody&NAME=twin&NAME=M31", {}, "POST")
    rows = parse_single_table(io.BytesIO(response.content)).to_table()
    assert [str(name) for name in rows["query"]] == ["Beta", "nobody", "twin", "M31"]
    assert rows["ra"].mask.tolist() == [False, True, True, False]
    assert rows["ra"].unit == "deg"
    assert "is the name of 2 objects" in rows["note"][2]


def test_xml_is_what_hven_itself_reads_from_sesame(send: Any) -> None:
    for address in ("/resolve/Beta?RESPONSEFORMAT=sesame", "/cgi-bin/nph-sesame/-oxpI/S?Beta"):
        response = send(address)
        assert response.headers["content-type"].startswith("text/xml")
        (resolved,) = parse_sesame_answer(response.content, "Beta")
        assert resolved.position == pytest.approx((10.68470833, -0.00001))
        assert (resolved.name, resolved.ids) == ("<b>A & B", ("Alpha", "Beta"))


def test_topcat_finds_a_position(send: Any) -> None:
    """TOPCAT 4 asks for ``-ox2``, and reads the elements of the first ``Resolver`` below ``Sesame``."""
    root = ET.fromstring(send("/cgi-bin/nph-sesame/-ox2?Beta").content)
    assert root.tag == "Sesame"
    resolver_element = next(element for element in root if element.tag == "Resolver")
    position = [float(resolver_element.findtext(name) or "nan") for name in ("jradeg", "jdedeg")]
    assert position == pytest.approx([10.68470833, -0.00001])


def test_astropy_reads_the_text(send: Any) -> None:
    text = send("/cgi-bin/nph-sesame/A?Beta").text
    assert [float(number) for number in name_resolve._parse_response(text)] == [10.68470833, -0.00001]
    assert name_resolve._parse_response(send("/cgi-bin/nph-sesame/A?nobody").text) == (None, None)


def test_aladin_lite_gets_a_script(send: Any) -> None:
    text = send("/cgi-bin/nph-sesame.jsonp", {"object": "Beta", "callback": "jQuery1.x"}).text
    call = re.fullmatch(r"jQuery1\.x\((.*) \);", text)
    assert call is not None
    assert "<b>" not in text
    assert json.loads(call[1])["Target"]["Resolver"]["oname"] == "<b>A & B"
    assert send("/cgi-bin/nph-sesame.jsonp", {"object": "x", "callback": "alert(1)//"}).status_code == 400


def test_several_targets_in_one_address(send: Any) -> None:
    root = ET.fromstring(send("/cgi-bin/nph-sesame/-ox/SNV?Beta&nobody+at+all&M%2031").content)
    assert [target.findtext("name") for target in root] == ["Beta", "nobody at all", "M 31"]
    assert "Nothing found" in (root[1].findtext("Resolver/INFO") or "")


@pytest.mark.parametrize(("name", "status"), [("nobody", 404), ("twin", 400), ("x" * 201, 400), ("NGC 650/1", 200)])
@pytest.mark.parametrize("response_format", ["json", "votable", "sesame", "html"])
def test_statuses_tell_unknown_from_ambiguous(send: Any, name: str, status: int, response_format: str) -> None:
    response = send(f"/resolve/{name}", {"RESPONSEFORMAT": response_format})
    assert response.status_code == status
    if response_format == "json" and name == "twin":
        assert [item["position"][0] for item in response.json()["alternatives"]] == [20, 30]


def test_bad_requests_are_told(send: Any) -> None:
    assert "NAME is missing" in send("/resolve").text
    assert send("/cgi-bin/nph-sesame/-oxp").status_code == 400
    assert send("/resolve?" + "&".join(["NAME=x"] * 1001)).status_code == 400
    assert send("/resolve/M31", {"RESPONSEFORMAT": "nonsense"}).status_code == 400


def test_the_page_escapes_names_and_links_formats(send: Any) -> None:
    text = send("/resolve", {"NAME": "Beta"}, **BROWSER).text
    assert "&lt;b&gt;A &amp; B" in text
    assert "<b>A" not in text
    assert "/resolve/Beta?RESPONSEFORMAT=json" in text
    assert "NAME" in send("/resolve", **BROWSER).text
    assert "is the name of 2 objects" in send("/resolve/twin", **BROWSER).text


@pytest.mark.parametrize("lon", [0.0, 359.9999999, 10.68470833, 179.99999])
@pytest.mark.parametrize("lat", [-90.0, -0.00001, 41.26875, 89.9999999])
def test_sexagesimal_positions_are_those_of_astropy(lon: float, lat: float) -> None:
    place = SkyCoord(format_sexagesimal(lon, lat), unit=("hourangle", "deg"))
    assert place.separation(SkyCoord(lon, lat, unit="deg")).arcsec < 0.12
