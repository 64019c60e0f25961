"""The publishing registry before the rules of the registry of registries: each of its codes is asked, and each can fail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from unittest import mock

import pytest
import rofr_rules
from asgi_client import Client

from hven.adql.vocabularies import load_vocabularies
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.plugins.registry import oai_service
from hven.site import Site

TOML = """\
title = "Tycho's data"
public_url = "https://vo.example/hven"
authority = "tycho.example"
contact_email = "vo@tycho.example"

[registry]
authorities = ["idoc.ginco"]
"""
STARS = """\
collection: stars
title: Stars of Tycho
services: [tap, obscore, datalink, sia, sia2, ssa, cone, portal, oai]
tables:
  main:
    source: rows.csv
    primary: id
    position: [ra, dec]
    columns:
      id: {type: string, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
    links: [{semantics: preview, text: "https://x.example/{target.id}.png"}]
    obscore:
      set: {facility_name: F, calib_level: 2, access_estsize: 3000, s_fov: 1, dataproduct_type: image}
      map: {access_url: "'https://x.example/' || id || '.fits'", s_ra: ra, s_dec: dec, target_name: id}
"""
CODES = {
    "RI3.1.1", "RI3.1.2a", "RI3.1.2b", "RI3.1.2c", "RI3.1.3", "OAI2.5.1", "RI3.1.4a", "RI3.1.4b", "RI3.1.4c", "RI3.1.5a", "RI3.1.5b1", "RI3.1.5b2", "RI3.1.5b3",
    "RI3.1.6a", "RI3.1.6b", "VR3.1b1", "VR3.1b2", "VR3.1b3", "VRdate", "VR3.1.3a", "SIA7.0a", "SIA7.0b", "CS4.0a", "CS4.0b", "RI4.0a", "RI4.0b", "RI4.0c",
    "RI4.3.2b", "VR3.2.2a", "OAI.Identify",
}  # fmt: skip
RELATIONS = set(load_vocabularies()["voresource/relationship_type"])
BASE = "https://vo.example/hven/oai"


@pytest.fixture(scope="module")
def harvester(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("judged")
    (directory / "hven.toml").write_text(TOML)
    for name in ("stars", "gone"):
        folder = directory / "collections" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(STARS.replace("collection: stars", f"collection: {name}"))
        (folder / "rows.csv").write_text("id,ra,dec\na,10,5\nb,200,-40\n")
    with Site(settings.load_settings(directory)) as site:
        for name in ("stars", "gone"):
            ingest_collection(site, name)
        client = Client(create_and_start_application(site))
        client.get("/oai", verb="Identify")  # now it is told of both
        site.store.unpublish_collection("gone")
        site.refresh_published_state()
        yield client


def judge_answers(client: Client, old: str = "", new: str = "", address: str = BASE) -> dict[str, list[str]]:
    """Judge what is answered, with one thing in it changed."""
    changed = 0

    def ask(query: str) -> bytes:
        nonlocal changed
        body, many = (
            re.subn(old, new, client.ask("GET", "/oai", query.encode()).text, flags=re.DOTALL)
            if old
            else (client.ask("GET", "/oai", query.encode()).text, 0)
        )
        changed += many
        return body.encode()

    with mock.patch.object(oai_service, "RECORDS_PER_PAGE", 7):
        told = rofr_rules.check_registry(ask, address, RELATIONS)
    assert bool(changed) == bool(old)
    return told


def test_every_validator_code_is_checked_and_none_fails(harvester: Client) -> None:
    told = judge_answers(harvester)
    assert set(told) == CODES
    assert {code: wrong for code, wrong in told.items() if wrong} == {}


@pytest.mark.parametrize(
    ("code", "old", "new"),
    [
        ("RI3.1.2b", "<metadataPrefix>ivo_vor</metadataPrefix>", "<metadataPrefix>ivo</metadataPrefix>"),
        ("RI3.1.2c", "<metadataPrefix>oai_dc</metadataPrefix>", "<metadataPrefix>dc</metadataPrefix>"),
        ("RI3.1.3", "<identifier>ivo://tycho.example/stars</identifier>(?=<alt|<curation)", "<identifier>ivo://tycho.example/moons</identifier>"),
        ("OAI2.5.1", ' status="deleted"', ""),
        ("RI3.1.4b", "<managedAuthority>tycho.example</managedAuthority>", ""),
        ("RI3.1.4c", 'xsi:type="vg:Authority"', 'xsi:type="vr:Resource"'),
        ("RI3.1.5b2", "<description><ri:Resource.*</ri:Resource></description>", "<description><x/></description>"),
        ("RI3.1.6a", "<setSpec>ivo_managed</setSpec><setName>", "<setSpec>other</setSpec><setName>"),
        ("RI3.1.6b", "<setSpec>ivo_managed</setSpec><setName>", "<setSpec>ivo_more</setSpec><setName>"),
        ("VR3.1b1", ' status="active"', ""),
        ("VR3.1b2", r' updated="[^"]*"', ' updated=""'),
        ("VR3.1b3", r' created="[^"]*"', ' created="now"'),
        ("VRdate", r' created="[^"]*"', ' created="2999-01-01T00:00:00Z"'),
        ("VR3.1.3a", "IsServedBy", "IsFriendOf"),
        ("SIA7.0b", ' role="std"', ""),
        ("CS4.0a", 'xsi:type="vs:CatalogService"', 'xsi:type="vs:DataService"'),
        ("RI4.0a", 'xsi:type="vg:Harvest"', 'xsi:type="vr:Capability"'),
        ("RI4.3.2b", 'role="std" version="1.0"', 'role="std" version="0.9"'),
        ("VR3.2.2a", "<capability.*?</capability>", ""),
        ("RI3.1.1", "<ListSets>", '<error code="noSetHierarchy"/><ListSets>'),
    ],
)  # fmt: skip
def test_every_validator_code_can_fail(harvester: Client, code: str, old: str, new: str) -> None:
    assert judge_answers(harvester, old, new)[code]


def test_another_address_is_told(harvester: Client) -> None:
    assert judge_answers(harvester, address=f"{BASE}?")["RI3.1.5a"]
