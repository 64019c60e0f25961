"""The publishing registry: every verb and error of OAI-PMH 2.0, records valid against the standards' schemas, harvesting by a client that is not ours."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import requests
from asgi_client import Client
from lxml import etree
from pyvo.io import vosi
from sickle import Sickle
from sickle import oaiexceptions as refusals

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.plugins.registry import oai_service
from hven.plugins.registry.record_store import RegistryRecordStore
from hven.plugins.registry.registry_records import PublishingRegistry
from hven.services.face import Capability, ServiceContext, load_service_faces
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL
from requirements import require_program
from shared import shared

BASE = "https://vo.example/hven"
TOML = f"""\
title = "Tycho's data"
public_url = "{BASE}"
authority = "tycho.example"
contact_name = "The data team"
contact_email = "vo@tycho.example"

[registry]
organisation = "Uraniborg & sons"
address = "Hven, 1 Castle"
authorities = ["idoc.ginco"]
ids = {{tap = "ivo://tycho.example/__system__/tap/run"}}
mirrors = {{tap = ["http://old.example/tap"]}}

[portals.psup]
path = "/psup"
collections = ["maps"]
authority = "idoc"

[portals.corot]
path = "/corot"
collections = ["stars"]
authority = "idoc.d2s"
"""
ABOUT = """\
subjects: [Stellar astronomy, solar-physics]
creators: [{name: "Brahe, T.", orcid: 0000-0002-1825-0097}, "Kepler, J. & al."]
contact: {name: Sophie, email: sophie@tycho.example}
licence: CC-BY-4.0
bibcode: 1602AsIn..........B
doi: 10.1000/182
created: 2016-03-30
description: "Stars <& others>"
facility: [Uraniborg]
instrument: [Quadrant]
waveband: [Optical]
"""
STARS = """\
  main:
    title: The stars
    source: rows.csv
    primary: id
    position: [ra, dec]
    columns:
      id: {type: string, ucd: meta.id;meta.main, description: Name}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      t: {type: timestamp, ucd: time.start;obs}
"""
SITE: Mapping[str, str] = {
    "stars": f"""\
collection: stars
title: Stars of Tycho
{ABOUT}
registry:
  id: corot/bright
  services:
    main.cone: {{id: ivo://idoc.d2s/corot/brightstars-conesearch, mirrors: ["http://old.example/scs?"], test: RA=10&DEC=5&SR=1}}
  also: [ivo://old.example/stars]
  related: [{{type: derived-from, id: "ivo://cds.vizier/i/239", title: Hipparcos}}]
tables:
{STARS}""",
    "images": f"""\
collection: images
title: Images
services: [tap, obscore, datalink, sia, sia2, ssa, portal, oai]
registry:
  services: {{main.sia: ivo://idoc.ginco/herschel/spirepacs}}
{ABOUT}
tables:
{STARS}
    links: [{{semantics: preview, text: "https://x.example/{{target.id}}.png"}}]
    obscore:
      set: {{facility_name: F, instrument_name: Camera, calib_level: 2, s_xel1: 400, s_xel2: 300, em_xel: 7, t_min: 51000, t_max: 51001, em_min: 4e-7, em_max: 6e-7, access_estsize: 3000, s_fov: 1, dataproduct_type: image}}
      map: {{access_url: "'https://x.example/' || id || '.fits'", s_ra: ra, s_dec: dec, target_name: id}}
""",
    "maps": """\
collection: maps
title: Maps
created: 2020-01-02
registry: {services: {epn_core: psup/omega_maps/q/epn_core}}
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: body
    optional: [access]
    source: {kind: csv, files: rows.csv}
""",
    "series": """\
collection: series
title: Series
tables:
  mag:
    source: rows.csv
    columns: {time: {type: timestamp, ucd: time.epoch}, b: {type: float64, unit: nT}}
    series: {time: time}
""",
    "sealed_zq": f"collection: sealed_zq\ntitle: Closed\naccess: private\ntables:\n{STARS}",
    "hushed_zq": f"collection: hushed_zq\ntitle: Quiet\nregistry: {{publish: false}}\n{ABOUT}tables:\n{STARS}",
}
ROWS = "id,ra,dec,t\na,10,5,2020-01-01T00:00:00\nb,200,-40,2021-01-01T00:00:00\n"
EPN = {
    "granule_uid": "a1", "granule_gid": "map", "obs_id": "a", "dataproduct_type": "ma", "measurement_type": "phys.reflectance", "processing_level": "5",
    "target_name": "Mars", "target_class": "planet", "time_min": "2453005.5", "time_max": "2453006.5", "instrument_name": "OMEGA", "instrument_host_name": "mex",
    "spectral_range_min": "1e14", "spectral_range_max": "2e14", "c1min": "10", "c1max": "11", "c2min": "20", "c2max": "21",
    "access_url": "https://x.org/a.png", "access_format": "image/png", "access_estsize": "10", "modification_date": "2021-01-01",
}  # fmt: skip
OTHER = {"series": "time,b\n2020-01-01T00:00:00,1\n2020-01-02T00:00:00,2\n"}


def _epn() -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, EPN)
    writer.writeheader()
    writer.writerow(EPN)
    return file.getvalue()


def _write_collection(directory: Path, name: str, text: str) -> None:
    folder = directory / "collections" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(text)
    (folder / "rows.csv").write_text(_epn() if name == "maps" else OTHER.get(name, ROWS))


@pytest.fixture(scope="module")
def oai_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("oai")
    (directory / "hven.toml").write_text(TOML)
    for name, text in SITE.items():
        _write_collection(directory, name, text)
    with Site(settings.load_settings(directory)) as site:
        for name in SITE:
            ingest_collection(site, name)
        yield site


@pytest.fixture(scope="module")
def harvester(oai_site: Site) -> Client:
    return Client(create_and_start_application(oai_site))


def fetch_document(client: Client, verb: str, path: str = "/oai", **more: str) -> etree._Element:
    answer = client.get(path, verb=verb, **more)
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "text/xml; charset=utf-8"
    return etree.fromstring(answer.body)


def found(root: etree._Element, path: str) -> Any:
    return root.xpath(path, namespaces={"o": "http://www.openarchives.org/OAI/2.0/", "ri": "http://www.ivoa.net/xml/RegistryInterface/v1.0", "dc": "http://purl.org/dc/elements/1.1/"})  # fmt: skip


def code(root: etree._Element) -> str:
    (error,) = found(root, "o:error")
    assert error.text
    return str(error.get("code"))


@pytest.fixture(scope="module")
def records(harvester: Client) -> dict[str, etree._Element]:
    root = fetch_document(harvester, "ListRecords", metadataPrefix="ivo_vor", set="ivo_managed")
    return {one.findtext("identifier"): one for one in found(root, "//ri:Resource")}


def valid(place: Path, *bodies: bytes) -> None:
    """Judge documents by the schemas of the standards."""
    files = []
    for number, body in enumerate(bodies):
        files.append(place / f"{number}.xml")
        files[-1].write_bytes(body)
    schemas = shared("xsd/all.xsd")
    done = subprocess.run(
        [require_program("xmllint"), "--nonet", "--noout", "--schema", schemas, *files], capture_output=True, text=True, check=False,
        env={**os.environ, "XML_CATALOG_FILES": str(schemas.with_name("catalog.xml"))},
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if "Schemas parser warning" not in line]
    assert done.returncode == 0, "\n".join(lines)[:3000]


def test_every_document_is_valid(harvester: Client, tmp_path: Path) -> None:
    asks = [
        {"verb": "Identify"}, {"verb": "ListSets"}, {"verb": "ListMetadataFormats"}, {"verb": "ListIdentifiers", "metadataPrefix": "oai_dc"},
        {"verb": "ListRecords", "metadataPrefix": "oai_dc"}, {"verb": "ListRecords", "metadataPrefix": "ivo_vor"}, {"verb": "Nothing"},
        {"verb": "ListRecords", "metadataPrefix": "ivo_vor", "from": "2999-01-01"},
    ]  # fmt: skip
    bodies = [harvester.get("/oai", **one).body for one in asks]
    valid(tmp_path, *bodies, harvester.get("/oai/capabilities").body, harvester.get("/oai/availability").body)


def test_each_resource_has_a_record_of_its_type(records: dict[str, etree._Element]) -> None:
    kinds = {ivoid: one.get("{http://www.w3.org/2001/XMLSchema-instance}type") for ivoid, one in records.items()}
    assert kinds == {
        **dict.fromkeys(("ivo://tycho.example", "ivo://idoc", "ivo://idoc.d2s", "ivo://idoc.ginco"), "vg:Authority"),
        "ivo://tycho.example/organisation": "vr:Organisation",
        "ivo://tycho.example/registry": "vg:Registry",
        "ivo://tycho.example/__system__/tap/run": "vs:CatalogService",
        **dict.fromkeys(("ivo://tycho.example/hapi", "ivo://tycho.example/das2", "ivo://tycho.example/portal", "ivo://tycho.example/stac"), "vs:DataService"),
        "ivo://idoc.d2s/corot/bright": "vs:CatalogResource",
        "ivo://idoc.d2s/corot/brightstars-conesearch": "vs:CatalogService",
        "ivo://tycho.example/images": "vs:CatalogResource",
        "ivo://idoc.ginco/herschel/spirepacs": "vs:CatalogService",
        **dict.fromkeys(("ivo://tycho.example/images/main/sia2", "ivo://tycho.example/images/main/ssa"), "vs:CatalogService"),
        "ivo://tycho.example/images/main/datalink": "vs:DataService",
        "ivo://idoc/maps": "vs:CatalogResource",
        "ivo://idoc/maps/epn_core/datalink": "vs:DataService",
        "ivo://idoc/psup/omega_maps/q/epn_core": "vs:CatalogResource",
        "ivo://tycho.example/series": "vs:CatalogResource",
        "ivo://tycho.example/ivoa": "vs:CatalogResource",
        **dict.fromkeys((f"ivo://tycho.example/ivoa/obscore/{one}" for one in ("cone", "sia", "sia2", "ssa")), "vs:CatalogService"),
        "ivo://tycho.example/ivoa/obscore/datalink": "vs:DataService",
    }  # fmt: skip


def test_a_collection_record_has_the_metadata_of_its_descriptor(records: dict[str, etree._Element]) -> None:
    one = records["ivo://idoc.d2s/corot/bright"]
    text = {name: one.xpath(f"{name}/text()") for name in (
        "title", "altIdentifier", "curation/publisher", "curation/creator/name", "curation/creator/altIdentifier", "curation/contact/email", "content/subject",
        "content/description", "content/source", "content/referenceURL", "rights", "rights/@rightsURI", "facility", "instrument", "coverage/waveband",
        "coverage/temporal", "coverage/spatial", "tableset/schema/table/name",
    )}  # fmt: skip
    text = {name: one.xpath(name) if "@" in name else values for name, values in text.items()}
    spatial = text.pop("coverage/spatial")
    assert text == {
        "title": ["Stars of Tycho"], "altIdentifier": ["doi:10.1000/182", "ivo://old.example/stars"], "curation/publisher": ["Uraniborg & sons"],
        "curation/creator/name": ["Brahe, T.", "Kepler, J. & al."], "curation/creator/altIdentifier": ["orcid:0000-0002-1825-0097"],
        "curation/contact/email": ["sophie@tycho.example"], "content/subject": ["stellar-astronomy", "solar-physics"],
        "content/description": ["Stars <& others>"], "content/source": ["1602AsIn..........B"], "content/referenceURL": [f"{BASE}/collections/stars"],
        "rights": ["CC-BY-4.0"], "rights/@rightsURI": ["http://spdx.org/licenses/CC-BY-4.0"], "facility": ["Uraniborg"], "instrument": ["Quadrant"],
        "coverage/waveband": ["Optical"], "coverage/temporal": ["58849 59215"], "tableset/schema/table/name": ["stars.main"],
    }  # fmt: skip
    assert re.fullmatch(r"6/\d+ \d+", spatial[0])
    assert one.get("created") == "2016-03-30T00:00:00Z"
    related = {(item.findtext("relationshipType"), item.find("relatedResource").get("ivo-id")) for item in one.iterfind("content/relationship")}  # fmt: skip
    assert related == {
        ("IsServedBy", "ivo://tycho.example/__system__/tap/run"),
        ("IsServedBy", "ivo://idoc.d2s/corot/brightstars-conesearch"),
        ("IsDerivedFrom", "ivo://cds.vizier/i/239"),
    }
    assert capability(one, "ivo://ivoa.net/std/TAP#aux").findtext("interface/mirrorURL") == "http://old.example/tap"
    pages = [item.findtext("interface/accessURL") for item in one.iterfind("capability") if not item.get("standardID")]
    assert pages == [f"{BASE}/collections/stars"]


def capability(one: etree._Element, standard: str) -> etree._Element:
    (item,) = [item for item in one.iterfind("capability") if item.get("standardID") == standard]
    return item


def test_service_records_have_addresses_and_test_queries(records: dict[str, etree._Element], harvester: Client) -> None:
    cone = capability(records["ivo://idoc.d2s/corot/brightstars-conesearch"], "ivo://ivoa.net/std/ConeSearch")
    assert cone.findtext("interface/accessURL") == f"{BASE}/cone/stars.main?"
    assert cone.findtext("interface/mirrorURL") == "http://old.example/scs?"
    assert cone.findtext("interface/testQueryString") == "RA=10&DEC=5&SR=1"
    place = {name: cone.findtext(f"testQuery/{name}") for name in ("ra", "dec", "sr")}
    told = harvester.get("/cone/stars.main", RA=place["ra"], DEC=place["dec"], SR=place["sr"], RESPONSEFORMAT="csv")
    assert len(told.text.splitlines()) == 2, told.text  # the head, and a row
    trial = capability(records["ivo://idoc.ginco/herschel/spirepacs"], "ivo://ivoa.net/std/SIA").findtext(
        "interface/testQueryString"
    )
    assert len(harvester.get(f"/sia/images.main?{trial}&RESPONSEFORMAT=csv").text.splitlines()) == 2
    tap = records["ivo://tycho.example/__system__/tap/run"]
    assert capability(tap, "ivo://ivoa.net/std/TAP").find("language") is not None
    assert "maps.epn_core" in tap.xpath("tableset/schema/table/name/text()")
    assert not {
        name for name in tap.xpath("tableset/schema/table/name/text()") if name.startswith(("sealed", "hushed"))
    }
    pages = records["ivo://tycho.example/portal"].find("capability/interface")
    assert pages.get("{http://www.w3.org/2001/XMLSchema-instance}type") == "vr:WebBrowser"
    assert harvester.get(pages.findtext("accessURL").removeprefix(BASE)).headers["content-type"].startswith("text/html")
    epn = records["ivo://idoc/psup/omega_maps/q/epn_core"]
    assert epn.xpath("tableset/schema/table/utype/text()") == ["ivo://ivoa.net/std/epntap#table-2.0"]
    assert capability(epn, "ivo://ivoa.net/std/TAP#aux").find("interface").get("role") == "std"
    assert epn.xpath("coverage/temporal/text()") == ["53005 53006"]
    low, high = map(float, epn.findtext("coverage/spectral").split())
    assert low == pytest.approx(6.62607015e-34 * 1e14)
    assert high == pytest.approx(2 * low)


def test_a_plugin_service_registers_its_own_capabilities(oai_site: Site) -> None:
    """What a plug-in says of itself stands in the registry as what is built in does."""
    own = replace(load_service_faces()["hapi"], name="own", list_capabilities=lambda *_: [Capability(standard_id="ivo://x.example/std/own", url="https://x.example/own")])  # fmt: skip
    around = replace(
        ServiceContext.create_for_principal(oai_site, ANONYMOUS_PRINCIPAL), faces={**load_service_faces(), "own": own}
    )
    PublishingRegistry(around).refresh_listing_conflicts()
    told = oai_site.store.get_or_create(RegistryRecordStore).find_record("ivo://tycho.example/own")
    assert told is not None
    assert "ivo://x.example/std/own" in told.body
    PublishingRegistry(replace(around, faces=load_service_faces())).refresh_listing_conflicts()
    gone = oai_site.store.get_or_create(RegistryRecordStore).find_record("IVO://Tycho.example/own")
    assert gone is not None
    assert gone.deleted


def test_a_failing_service_removes_no_other_records(oai_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    def fails(*_: object) -> list[Capability]:
        raise ZeroDivisionError("never mind")

    bad = replace(load_service_faces()["hapi"], name="bad", list_capabilities=fails)
    around = replace(
        ServiceContext.create_for_principal(oai_site, ANONYMOUS_PRINCIPAL), faces={**load_service_faces(), "bad": bad}
    )
    before = {
        one.ivoid for one in oai_site.store.get_or_create(RegistryRecordStore).list_records(0, 1_000) if not one.deleted
    }
    PublishingRegistry(around).refresh_listing_conflicts()
    assert {
        one.ivoid for one in oai_site.store.get_or_create(RegistryRecordStore).list_records(0, 1_000) if not one.deleted
    } == before
    assert "the capabilities of the face bad cannot be listed: never mind" in caplog.text


def test_private_collections_are_never_listed(harvester: Client) -> None:
    for prefix in ("ivo_vor", "oai_dc"):
        body = harvester.get("/oai", verb="ListRecords", metadataPrefix=prefix).text
        assert "sealed_zq" not in body
        assert "hushed_zq" not in body
    assert code(fetch_document(harvester, "GetRecord", metadataPrefix="oai_dc", identifier="ivo://tycho.example/sealed_zq")) == "idDoesNotExist"  # fmt: skip


def test_records_are_available_in_dublin_core(harvester: Client) -> None:
    root = fetch_document(harvester, "GetRecord", metadataPrefix="oai_dc", identifier="ivo://IDOC.d2s/corot/bright")
    assert found(root, "//dc:creator/text()") == ["Brahe, T.", "Kepler, J. & al."]
    assert found(root, "//dc:rights/text()") == ["CC-BY-4.0"]
    assert "ivo://idoc.d2s/corot/bright" in found(root, "//dc:identifier/text()")


def test_identify_describes_the_registry(harvester: Client, records: dict[str, etree._Element]) -> None:
    root = fetch_document(harvester, "Identify")
    told = {name: root.findtext(f"{{*}}Identify/{{*}}{name}") for name in ("baseURL", "adminEmail", "deletedRecord", "granularity")}  # fmt: skip
    assert told == {"baseURL": f"{BASE}/oai", "adminEmail": "vo@tycho.example", "deletedRecord": "transient", "granularity": "YYYY-MM-DDThh:mm:ssZ"}  # fmt: skip
    (own,) = found(root, "//ri:Resource")
    assert etree.tostring(own, method="c14n") == etree.tostring(records["ivo://tycho.example/registry"], method="c14n")
    managed = own.xpath("managedAuthority/text()")
    assert managed == ["tycho.example", "idoc", "idoc.d2s", "idoc.ginco"]
    assert {one.partition("//")[2].partition("/")[0] for one in records} == set(managed)
    # one registry, whichever portal it is asked by
    assert found(fetch_document(harvester, "Identify", path="/psup/oai"), "//o:baseURL/text()") == [f"{BASE}/oai"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "badVerb"),
        ("verb=Nothing", "badVerb"),
        ("verb=identify", "badVerb"),
        ("verb=Identify&verb=Identify", "badVerb"),
        ("verb=Identify&x=1", "badArgument"),
        ("verb=Identify&metadataPrefix=oai_dc", "badArgument"),
        ("verb=ListRecords", "badArgument"),
        ("verb=ListRecords&metadataPrefix=", "badArgument"),
        ("verb=ListRecords&metadataPrefix=oai_dc&metadataPrefix=oai_dc", "badArgument"),
        ("verb=ListRecords&metadataPrefix=marc", "cannotDisseminateFormat"),
        ("verb=ListIdentifiers&metadataPrefix=a%20b", "badArgument"),
        ("verb=ListRecords&metadataPrefix=oai_dc&from=yesterday", "badArgument"),
        ("verb=ListRecords&metadataPrefix=oai_dc&from=2026-13-01", "badArgument"),
        ("verb=ListRecords&metadataPrefix=oai_dc&from=2026-01-01T00:00Z", "badArgument"),
        ("verb=ListRecords&metadataPrefix=oai_dc&until=2026-01-01T00:00:00%2B01:00", "badArgument"),
        ("verb=ListRecords&metadataPrefix=oai_dc&from=2026-01-01&until=2026-01-02T00:00:00Z", "badArgument"),
        ("verb=ListRecords&metadataPrefix=oai_dc&from=2026-01-02&until=2026-01-01", "badArgument"),
        ("verb=ListRecords&metadataPrefix=oai_dc&until=1999-01-01", "noRecordsMatch"),
        ("verb=ListRecords&metadataPrefix=oai_dc&from=2999-01-01T00:00:00Z", "noRecordsMatch"),
        ("verb=ListRecords&metadataPrefix=oai_dc&set=ivo_other", "noRecordsMatch"),
        ("verb=ListRecords&metadataPrefix=oai_dc&set=a%20b", "badArgument"),
        ("verb=ListRecords&resumptionToken=x", "badResumptionToken"),
        ("verb=ListRecords&resumptionToken=", "badResumptionToken"),
        ("verb=ListRecords&resumptionToken=%C3%A9.%C3%A9", "badResumptionToken"),
        ("verb=ListSets&resumptionToken=x", "badResumptionToken"),
        ("verb=ListRecords&metadataPrefix=oai_dc&resumptionToken=x", "badArgument"),
        ("verb=GetRecord&metadataPrefix=oai_dc", "badArgument"),
        ("verb=GetRecord&identifier=ivo://tycho.example", "badArgument"),
        ("verb=GetRecord&metadataPrefix=marc&identifier=ivo://tycho.example", "cannotDisseminateFormat"),
        ("verb=GetRecord&metadataPrefix=oai_dc&identifier=really%20wrong%22%3C%01", "idDoesNotExist"),
        ("verb=ListMetadataFormats&identifier=ivo://nobody/x", "idDoesNotExist"),
    ],
)
def test_invalid_requests_return_oai_errors(harvester: Client, tmp_path: Path, query: str, expected: str) -> None:
    answers = [
        harvester.ask("GET", "/oai", query.encode()),
        harvester.ask("POST", "/oai", body=query.encode(), headers={"content-type": "application/x-www-form-urlencoded"}),
    ]  # fmt: skip
    for answer in answers:
        assert answer.status == 200
        root = etree.fromstring(answer.body)
        assert code(root) == expected
        (request,) = found(root, "o:request")
        assert request.text == f"{BASE}/oai"
        assert bool(request.attrib) == (expected not in {"badVerb", "badArgument"})
    assert re.sub(rb"<responseDate>[^<]*", b"", answers[0].body) == re.sub(
        rb"<responseDate>[^<]*", b"", answers[1].body
    )


def test_long_lists_are_split_with_resumption_tokens(
    harvester: Client, records: dict[str, etree._Element], tmp_path: Path
) -> None:
    with mock.patch.object(oai_service, "RECORDS_PER_PAGE", 4):
        root, seen, bodies = fetch_document(harvester, "ListRecords", metadataPrefix="ivo_vor"), [], []
        while True:
            bodies.append(etree.tostring(root))
            seen += found(root, "//ri:Resource/identifier/text()")
            (token,) = found(root, "//o:resumptionToken")
            assert int(token.get("completeListSize")) >= len(records)  # with what is gone
            if not token.text:
                break
            first = token.text
            root = fetch_document(harvester, "ListRecords", resumptionToken=token.text)
        assert sorted(seen) == sorted(records)
        # asked once more, a token gives the same; of another verb, another sign, another day it gives nothing
        assert found(fetch_document(harvester, "ListRecords", resumptionToken=first), "//ri:Resource/identifier/text()") == found(root, "//ri:Resource/identifier/text()")  # fmt: skip
        assert code(fetch_document(harvester, "ListIdentifiers", resumptionToken=first)) == "badResumptionToken"
        body, _, signature = first.partition(".")
        for changed in (f"{body}A.{signature}", f"{body}.A{signature[1:]}", body, f"{body}.{signature}=", f"{first}."):
            if changed != first:
                assert (
                    code(fetch_document(harvester, "ListRecords", resumptionToken=changed)) == "badResumptionToken"
                ), changed
        with mock.patch.object(oai_service.time, "time", return_value=4e9):
            assert code(fetch_document(harvester, "ListRecords", resumptionToken=first)) == "badResumptionToken"
    valid(tmp_path, *bodies)


class _Wire(requests.adapters.BaseAdapter):
    """Leads a client of HTTP to the application in this process."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    def send(self, request: Any, **_: Any) -> requests.Response:  # type: ignore[override]
        path = request.url.removeprefix(BASE)
        answer = self._client.ask(
            request.method,
            path,
            body=(request.body or "").encode(),
            headers={"content-type": request.headers.get("content-type", "")},
        )
        made = requests.Response()
        made.status_code, made._content, made.request, made.url = answer.status, answer.body, request, request.url
        made.headers.update(answer.headers)
        return made

    def close(self) -> None:
        pass


def test_sickle_harvests_the_registry(
    harvester: Client, records: dict[str, etree._Element], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests.Session, "get_adapter", lambda *_, **__: _Wire(harvester))
    with mock.patch.object(oai_service, "RECORDS_PER_PAGE", 5):
        client = Sickle(f"{BASE}/oai")
        assert client.Identify().repositoryName == "Tycho's data"
        assert [one.setSpec for one in client.ListSets()] == ["ivo_managed"]
        assert {one.metadataPrefix for one in client.ListMetadataFormats()} == {"ivo_vor", "oai_dc"}
        heads = [one.identifier for one in client.ListIdentifiers(metadataPrefix="ivo_vor", ignore_deleted=True)]
        assert sorted(heads) == sorted(records)
        listed = list(client.ListRecords(metadataPrefix="oai_dc", set="ivo_managed", ignore_deleted=True))
        assert sorted(one.header.identifier for one in listed) == sorted(records)
        one = client.GetRecord(metadataPrefix="oai_dc", identifier="ivo://idoc.d2s/corot/bright")
        assert one.metadata["title"] == ["Stars of Tycho"]
        with pytest.raises(refusals.NoRecordsMatch):
            client.ListRecords(**{"metadataPrefix": "oai_dc", "from": "2999-01-01"})


def test_pyvo_reads_the_capabilities(records: dict[str, etree._Element]) -> None:
    found = {}
    for ivoid, one in records.items():
        inside = b"".join(etree.tostring(item) for item in one.iterfind("capability"))
        body = (
            b'<v:capabilities xmlns:v="http://www.ivoa.net/xml/VOSICapabilities/v1.0">' + inside + b"</v:capabilities>"
        )
        with warnings.catch_warnings():  # pyvo knows neither parameters of interfaces nor registries
            warnings.simplefilter("ignore")
            items = vosi.parse_capabilities(io.BytesIO(body)) if inside else ()
        for item in items:
            found[ivoid, item.standardid] = type(item).__name__, {way.accessurls[0].content for way in item.interfaces}
    assert found["ivo://tycho.example/__system__/tap/run", "ivo://ivoa.net/std/TAP"] == ("TableAccess", {f"{BASE}/tap"})
    assert found["ivo://idoc.d2s/corot/bright", "ivo://ivoa.net/std/TAP#aux"] == ("Capability", {f"{BASE}/tap"})
    assert found["ivo://tycho.example/images/main/sia2", "ivo://ivoa.net/std/SIA#query-2.0"][1] == {
        f"{BASE}/sia2/images.main"
    }


def test_identify_requires_a_contact_email(tmp_path: Path) -> None:
    with Site(settings.Settings(directory=tmp_path)) as site:
        answer = Client(create_and_start_application(site)).get("/oai", verb="Identify")
    assert answer.status == 404
    assert "contact_email in hven.toml" in answer.text
