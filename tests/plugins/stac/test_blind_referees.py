"""A referee who reviews a collection blind reads its items, and no document of STAC or WFS tells who made them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files

DESCRIPTOR = """\
collection: night
title: Images of Mars
creators: [{name: Person A}]
contact: {name: Person B, email: b@night.example}
publisher: Person C
citation: Person D
doi: 10.5555/person-e
access: private
tables:
  epn_core:
    title: Images of Mars
    standard: epn-tap-2.0
    frame: body
    source: {kind: csv, files: rows.csv, types: {lon: float64}}
    set: {granule_gid: g, dataproduct_type: im, processing_level: 3, target_name: Mars, target_class: planet, c2min: 1.0, c2max: 2.0}
    text: {granule_uid: "{id}", obs_id: "{id}"}
    map: {c1min: lon, c1max: lon}
"""
NAMES = ("Person A", "Person B", "night.example", "Person C", "Person D", "person-e")
COLLECTION = "/stac/collections/night.epn_core"
STAC_PATHS = ("/stac", "/stac/api", "/stac/api.html", "/stac/children", "/stac/collections", "/stac/search", COLLECTION,
    f"{COLLECTION}/items", f"{COLLECTION}/items/a", f"{COLLECTION}/queryables")  # fmt: skip
WFS_PATHS = tuple(
    f"/wfs?SERVICE=WFS&VERSION=2.0.0&REQUEST={request}"
    for request in ("GetCapabilities", "DescribeFeatureType", "GetFeature&TYPENAMES=night.epn_core")
)


@pytest.fixture
def private_site(tmp_path: Path) -> Iterator[Site]:
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, {"rows.csv": "id,lon\na,10\nb,20\n"}) as site:
        assert ingest_collection(site, "night").published
        yield site


def invite_referee(client: Client, site: Site, *, is_blind: bool) -> dict[str, str]:
    """Return the headers of a referee who has opened the address of an invitation."""
    _, secret = site.store.grants.add_grant(
        "referee", object="night", actor="owner", with_secret=True, facts={"anonymous": is_blind}
    )
    return {"cookie": client.ask("GET", f"/referee/{secret}").headers["set-cookie"].partition(";")[0]}


def test_no_document_names_people_to_a_blind_referee(private_site: Site) -> None:
    client = Client(create_and_start_application(private_site))
    referees = {is_blind: invite_referee(client, private_site, is_blind=is_blind) for is_blind in (False, True)}
    shown_names = set()
    for path in (*STAC_PATHS, *WFS_PATHS):
        address, _, parameters = path.partition("?")
        for is_blind in (False, True, False):  # no answer is taken from a cache for the other referee
            answer = client.ask("GET", address, parameters.encode(), headers=referees[is_blind])
            assert answer.status == 200, (path, answer.text)
            named = {name for name in NAMES if name in answer.text}
            assert not (is_blind and named), (path, named)
            shown_names |= named
        if path == COLLECTION:
            assert {"Person A", "Person D", "person-e"} <= named, "another referee sees them"
    assert shown_names
