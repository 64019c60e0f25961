"""A searchable registry of one's own: records harvested into the tables of RegTAP 1.2, which pyvo and STILTS search; changes are followed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pyvo
import yaml
from lxml import etree
from oai_server import OaiServer, build_capability, build_record, build_tables

from hven import query
from hven.descriptor._merging import list_standards
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model import settings
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL
from json_servers import serve
from plugin_needs import require_plugins
from process_runner import run_hven
from process_runner import serve_site as hven_serving
from requirements import require, require_program
from shared import shared

NAMES = (
    "resource", "res_role", "res_subject", "capability", "interface", "intf_param", "res_schema", "res_table", "table_column", "relationship",
    "validation", "res_date", "res_detail", "alt_identifier", "stc_spatial", "stc_temporal", "stc_spectral",
)  # fmt: skip
DESCRIPTOR = """
collection: rr
title: Registry
utype: ivo://ivoa.net/std/regtap#1.2
for:
  - each: {{name: [{names}]}}
    tables:
      "{{name}}": {{standard: regtap-1.2, source: {{url: "{url}", full: 0, tries: 1}}}}
tables:
  tap_table: {{standard: regtap-1.2}}
"""
COVERAGE = """<coverage><spatial>0/0 3/70-72</spatial><spatial frame="mars">1/0</spatial><temporal>53000  53001.5</temporal><spectral>1e-19 2e-19</spectral>
  <waveband>Optical</waveband><waveband>Infrared</waveband></coverage>"""
TAP = '<dataModel ivo-id="ivo://ivoa.net/std/EPNcore">EPNcore</dataModel><language><name>ADQL</name><version ivo-id="ivo://ivoa.net/std/ADQL#v2.1">2.1</version></language>'
CONE = '<capability standardID="ivo://ivoa.net/std/ConeSearch" xsi:type="cs:ConeSearch" xmlns:cs="http://www.ivoa.net/xml/ConeSearch/v1.0"><validationLevel validatedBy="ivo://Judge">2</validationLevel><interface xsi:type="vs:ParamHTTP" role="std"><accessURL use="base">https://c.example/cone?</accessURL><securityMethod standardID="ivo://ivoa.net/sso#BasicAA"/><param std="1" use="required"><name>RA</name><unit>deg</unit><dataType>real</dataType></param></interface><maxSR>180.0</maxSR><testQuery><ra>10</ra></testQuery></capability>'


def write_descriptor(site: Path, url: str) -> None:
    folder = site / "collections/rr"
    folder.mkdir(parents=True)
    (site / "hven.toml").write_text("title = 'Registry'\nallow_private = true\n")
    (folder / "rr.yaml").write_text(DESCRIPTOR.format(names=", ".join(NAMES), url=url))


@pytest.fixture(scope="module")
def world() -> OaiServer:
    one = OaiServer(page=3)
    tap = build_capability(standard="ivo://ivoa.net/std/TAP").replace("</interface>", "</interface>" + TAP)
    one.put_record("ivo://example/TAP", build_record("ivo://example/TAP", "All tables", tap + build_tables("mars.epn_core", "mars.other", utype=""), kind="vs:CatalogService"))  # fmt: skip
    one.put_record(
        "ivo://example/Mars",
        build_record(
            "ivo://example/Mars", "Cubes of Mars", build_capability() + COVERAGE + build_tables("mars.epn_core")
        ),
    )
    one.put_record(
        "ivo://example/stars",
        build_record("ivo://example/stars", "Bright Stars", CONE, kind="vs:CatalogService", subject="stars"),
    )
    one.put_record("ivo://example/gone", None)
    return one


@pytest.fixture(scope="module")
def site(world: OaiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("registry")
    with serve(world) as url:
        write_descriptor(directory, url)
        with Site(settings.load_settings(directory)) as found:
            ingest_collection(found, "rr")
            yield found


def rows(site: Site, adql: str) -> list[tuple[Any, ...]]:
    found = query.run_query(adql, ANONYMOUS_PRINCIPAL, site=site)
    return [tuple(row.values()) for batch in found.iterate_batches() for row in batch.to_pylist()]


def test_one_harvest_fills_all_tables(site: Site, world: OaiServer) -> None:
    assert world.list_requests() == ["Identify", "ListRecords", "ListRecords"]
    assert rows(site, "SELECT ivoid, res_type, short_name, res_title, content_level, creator_seq, content_type, waveband FROM rr.resource WHERE ivoid = 'ivo://example/mars'") == [
        ("ivo://example/mars", "vs:catalogresource", None, "Cubes of Mars", "research", "Doe, J.; Roe, R.", "catalog#archive", "optical#infrared")
    ]  # fmt: skip
    assert rows(site, "SELECT base_role, role_name, role_ivoid, email FROM rr.res_role WHERE ivoid = 'ivo://example/mars' ORDER BY base_role, role_name") == [
        ("contact", "Help", None, "help@example.org"), ("creator", "Doe, J.", None, None), ("creator", "Roe, R.", None, None), ("publisher", "An Observatory", "ivo://example/org", None)
    ]  # fmt: skip
    assert rows(site, "SELECT relationship_type, related_id, related_name FROM rr.relationship WHERE ivoid = 'ivo://example/mars'") == [("isservedby", "ivo://example/tap", "TAP")]  # fmt: skip
    assert rows(site, "SELECT value_role, CAST(date_value AS VARCHAR) FROM rr.res_date WHERE ivoid = 'ivo://example/mars'") == [("updated", "2021-02-03T00:00:00")]  # fmt: skip
    assert rows(site, "SELECT cap_index, standard_id, cap_type FROM rr.capability WHERE ivoid = 'ivo://example/stars'") == [(1, "ivo://ivoa.net/std/conesearch", "cs:conesearch")]  # fmt: skip
    assert rows(site, "SELECT intf_index, intf_type, query_type, url_use, access_url, mirror_url, authenticated_only FROM rr.interface WHERE ivoid = 'ivo://example/mars'") == [
        (1, "vs:paramhttp", "get#post", "base", "https://example.org/tap", "https://a.example/tap#https://b.example/tap", 0)
    ]  # fmt: skip
    assert rows(site, "SELECT authenticated_only, intf_role FROM rr.interface WHERE ivoid = 'ivo://example/stars'") == [
        (1, "std")
    ]
    assert rows(site, "SELECT intf_index, name, unit, std, datatype, param_use FROM rr.intf_param") == [
        (1, "ra", "deg", 1, "real", "required")
    ]
    assert rows(site, "SELECT validated_by, val_level, cap_index FROM rr.validation") == [("ivo://judge", 2, 1)]
    assert rows(site, "SELECT table_index, schema_index, table_name, table_utype FROM rr.res_table WHERE ivoid = 'ivo://example/tap' ORDER BY table_index") == [
        (1, 1, "mars.epn_core", None), (2, 1, "mars.other", None)
    ]  # fmt: skip
    assert rows(site, "SELECT name, ucd, std, datatype, arraysize, type_system, flag FROM rr.table_column WHERE ivoid = 'ivo://example/mars'") == [
        ("granule_uid", "pos.eq.ra;meta.main", 1, "char", "*", "vs:votabletype", "indexed#primary"), ("own", "pos.eq.ra;meta.main", 0, "char", "*", "vs:votabletype", "indexed#primary")
    ]  # fmt: skip
    assert sorted(rows(site, "SELECT cap_index, detail_xpath, detail_value FROM rr.res_detail")) == [
        (1, "/capability/dataModel", "EPNcore"), (1, "/capability/dataModel/@ivo-id", "ivo://ivoa.net/std/EPNcore"), (1, "/capability/interface/securityMethod/@standardID", "ivo://ivoa.net/sso#BasicAA"),
        (1, "/capability/language/name", "ADQL"), (1, "/capability/language/version/@ivo-id", "ivo://ivoa.net/std/ADQL#v2.1"), (1, "/capability/maxSR", "180.0"), (1, "/capability/testQuery/ra", "10"),
    ]  # fmt: skip
    assert set(rows(site, "SELECT alt_identifier FROM rr.alt_identifier")) == {("doi:10.5555/1",)}
    assert rows(
        site, "SELECT ivoid FROM rr.stc_spatial WHERE 1 = CONTAINS(POINT(45, 40), coverage) AND ref_system_name IS NULL"
    ) == [("ivo://example/mars",)]
    assert rows(site, "SELECT ref_system_name FROM rr.stc_spatial WHERE 1 = CONTAINS(POINT(200, 40), coverage)") == []
    assert rows(site, "SELECT time_start, time_end FROM rr.stc_temporal WHERE 1 = ivo_interval_overlaps(time_start, time_end, 53001, 60000)") == [(53000.0, 53001.5)]  # fmt: skip
    assert rows(site, "SELECT spectral_start, spectral_end FROM rr.stc_spectral") == [(1e-19, 2e-19)]
    assert rows(site, "SELECT resid, svcid, table_name FROM rr.tap_table ORDER BY table_name") == [
        ("ivo://example/mars", "ivo://example/tap", "mars.epn_core"), ("ivo://example/tap", "ivo://example/tap", "mars.other")
    ]  # fmt: skip


def test_names_and_utypes_equal_the_standard(site: Site) -> None:
    found = rows(site, "SELECT utype FROM TAP_SCHEMA.schemas WHERE schema_name = 'rr'")
    assert found == [("ivo://ivoa.net/std/regtap#1.2",)]
    assert len(rows(site, "SELECT table_name FROM TAP_SCHEMA.tables WHERE schema_name = 'rr'")) == 18
    assert rows(site, "SELECT column_name FROM TAP_SCHEMA.columns WHERE table_name LIKE 'rr.%' AND std = 0") == []
    assert rows(site, "SELECT utype FROM TAP_SCHEMA.columns WHERE table_name = 'rr.interface' AND column_name = 'access_url'") == [("xpath:accessURL",)]  # fmt: skip
    assert dict(rows(site, "SELECT column_name, unit FROM TAP_SCHEMA.columns WHERE table_name LIKE 'rr.%' AND unit IS NOT NULL")) == {
        "region_of_regard": "deg", "time_start": "d", "time_end": "d", "spectral_start": "J", "spectral_end": "J"
    }  # fmt: skip


def test_columns_are_read_from_the_paths_of_their_utypes() -> None:
    """The standard gives most columns the path at which their values stand; the paths by which we read must end there."""
    checked = 0
    standard = yaml.safe_load(list_standards()["regtap-1.2"].read_text(encoding="utf-8"))
    for name, table in standard["tables"].items():
        for column, said in table["columns"].items() if "source" in table else ():
            assert table["source"]["fields"][column]
            path = said.get("utype", "").removeprefix("xpath:").rpartition("/")[2]
            if path not in {
                "",
                ".",
                "identifier",
                "date",
                "validationLevel",
                "relatedResource",
            } and not path.startswith("@xsi"):
                assert path.removeprefix("@") in table["source"]["fields"][column] + table["source"]["each"], (
                    name,
                    column,
                )
                checked += 1
    assert checked > 60


RECORDS = ("EPNTAP--example-record", "VODataService--catalog", "VODataService--sia", "VODataService--ssa", "VODataService--conesearch", "VODataService--foreignkey", "DocRegExt--dfbs-example", "VOResource--valid-record", "TAPRegExt--sample")  # fmt: skip


def record_of(name: str) -> tuple[str, etree._Element]:
    """Give a record of the corpus; one that is a capability alone stands in a record of ours."""
    root = etree.parse(shared(f"corpora/registry/{name}.xml")).getroot()
    record = next(root.iter("{*}Resource"), root)
    if record.get("created") is None:
        root.tag = "capability"
        record = etree.fromstring(build_record(f"ivo://ours/{name}", "A capability", "<put/>").encode())
        record.replace(record.find("put"), root)
    record.tag = "{http://www.ivoa.net/xml/RegistryInterface/v1.0}Resource"
    return record.findtext("{*}identifier") or "", record


def test_foreign_records_lose_no_elements(tmp_path: Path) -> None:
    """Each has as many rows as a plain reading of it finds elements."""
    records = dict(map(record_of, RECORDS))
    one = OaiServer()
    for ivoid, record in records.items():
        one.put_record(ivoid, etree.tostring(record, with_tail=False).decode())

    def count(record: etree._Element, *paths: str) -> int:
        return sum(
            len(record.xpath("/".join(f"*[local-name() = '{step}']" for step in path.split("/")))) for path in paths
        )  # type: ignore[arg-type]

    paths = {
        "capability": ["capability"], "interface": ["capability/interface"], "intf_param": ["capability/interface/param"], "res_subject": ["content/subject"],
        "res_schema": ["tableset/schema"], "res_table": ["tableset/schema/table", "table"], "table_column": ["tableset/schema/table/column", "table/column"],
        "res_date": ["curation/date"], "relationship": ["content/relationship/relatedResource"], "stc_spatial": ["coverage/spatial"],
        "alt_identifier": ["altIdentifier", "curation/creator/altIdentifier", "curation/contact/altIdentifier"],
        "res_role": [f"curation/{role}" for role in ("creator", "publisher", "contact", "contributor")],
    }  # fmt: skip
    with serve(one) as url:
        write_descriptor(tmp_path, url)
        with Site(settings.load_settings(tmp_path)) as found:
            ingest_collection(found, "rr")
            assert len(records) == len(RECORDS)
            assert {ivoid for (ivoid,) in rows(found, "SELECT ivoid FROM rr.resource")} == {
                ivoid.lower() for ivoid in records
            }
            for table, where in paths.items():
                counted = dict(rows(found, f"SELECT ivoid, COUNT(*) FROM rr.{table} GROUP BY ivoid"))
                assert counted == {
                    ivoid.lower(): many for ivoid, record in records.items() if (many := count(record, *where))
                }, table


def test_changes_are_followed_and_unchanged_tables_are_not_republished(tmp_path: Path) -> None:
    one = OaiServer()
    for at in range(6):
        one.put_record(f"ivo://x.y/r{at}", build_record(f"ivo://x.y/r{at}", f"Title {at}", build_capability()))
    with serve(one) as url:
        write_descriptor(tmp_path, url)
        with Site(settings.load_settings(tmp_path)) as found:
            ingest_collection(found, "rr")
            before = {name: record.snapshot.id for name, record in found.store.read_published_records()[1].items()}
            sync_collection(found, "rr")
            assert {
                name: record.snapshot.id for name, record in found.store.read_published_records()[1].items()
            } == before
            one.put_record("ivo://x.y/r1", None)
            one.put_record(
                "ivo://x.y/r2",
                build_record("ivo://x.y/r2", "Another title", build_capability() + build_capability(), subject="moons"),
            )
            sync_collection(found, "rr")
            assert rows(found, "SELECT ivoid, res_title FROM rr.resource ORDER BY ivoid") == [
                (f"ivo://x.y/r{at}", "Another title" if at == 2 else f"Title {at}") for at in (0, 2, 3, 4, 5)
            ]
            assert rows(found, "SELECT COUNT(*) FROM rr.interface") == [(6,)]
            assert sorted(rows(found, "SELECT ivoid, res_subject FROM rr.res_subject WHERE res_subject <> 'catalogs'"))[:2] == [("ivo://x.y/r0", "planets"), ("ivo://x.y/r2", "moons")]  # fmt: skip


@pytest.mark.xdist_group("registry")
def test_pyvo_searches_the_registry(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every constraint that pyvo knows is answered, by its own words."""
    monkeypatch.setattr(
        pyvo.registry.rtcons.vocabularies, "get_vocabulary", lambda _: {"terms": {"infrared": {}}}
    )  # it is elsewhere
    with hven_serving(site.settings.directory) as server:
        pyvo.registry.choose_RegTAP_service(f"{server.url}/tap")
        try:
            search = pyvo.registry.search

            def found(*words: Any, **more: Any) -> list[str]:
                return sorted(one.ivoid for one in search(*words, **more))

            assert found(datamodel="epntap") == ["ivo://example/mars"]
            assert found("bright") == ["ivo://example/stars"]
            assert found(servicetype="conesearch") == ["ivo://example/stars"]
            assert found(servicetype="tap") == ["ivo://example/tap"]
            assert found(pyvo.registry.Servicetype("tap").include_auxiliary_services()) == [
                "ivo://example/mars",
                "ivo://example/tap",
            ]
            assert found(waveband="infrared") == ["ivo://example/mars"]
            assert found(author="Doe, %") == ["ivo://example/mars", "ivo://example/stars", "ivo://example/tap"]
            assert found(ucd="pos.eq.ra%") == ["ivo://example/mars", "ivo://example/tap"]
            assert found(spatial=(45, 40)) == ["ivo://example/mars"]
            assert found(spatial=(45, 40, 2)) == ["ivo://example/mars"]
            assert found(temporal=(53001, 53002)) == ["ivo://example/mars"]
            assert found(spectral=(1.5e-19, 3e-19)) == ["ivo://example/mars"]
            assert found(ivoid="ivo://example/stars") == ["ivo://example/stars"]
            (one,) = search(ivoid="ivo://example/mars")
            assert (one.res_title, one.creators, one.waveband) == (
                "Cubes of Mars",
                ["Doe, J.", " Roe, R."],
                ["optical", "infrared"],
            )
            assert one.access_modes() == {"tap#aux"}
            assert one.get_service("tap#aux").baseurl == "https://example.org/tap"
            assert list(one.get_tables()) == ["mars.epn_core"]
            assert one.get_contact() == "Help <help@example.org>"
            assert list(one.get_alt_identifiers()) == ["doi:10.5555/1"]
            done = subprocess.run(
                [require_program("stilts"), "tapquery", f"tapurl={server.url}/tap", "adql=SELECT ivoid FROM rr.tap_table JOIN rr.resource ON ivoid = resid", "ofmt=csv-noheader"],
                capture_output=True, text=True, check=True, timeout=120,
            )  # fmt: skip
            assert sorted(done.stdout.split()) == ["ivo://example/mars", "ivo://example/tap"]
        finally:
            pyvo.registry.choose_RegTAP_service("http://reg.g-vo.org/tap")


@pytest.mark.outside
@pytest.mark.xdist_group("registry")
def test_topcat_searches_the_registry(site: Site, tmp_path: Path) -> None:
    """Its own classes, with the queries of its windows: by words, and by identifiers."""
    require("topcat.jar", "javac", "java")
    jars = sorted(Path("/usr/share/java").glob("starlink-*.jar"))
    path = ":".join(map(str, (*jars, tmp_path)))
    subprocess.run(
        [require_program("javac"), "-cp", path, "-d", tmp_path, Path(__file__).with_name("TopcatSearch.java")],
        check=True,
        timeout=300,
    )
    with hven_serving(site.settings.directory) as server:

        def search_in_topcat(*words: str) -> list[list[str]]:
            done = subprocess.run(
                [require_program("java"), "-cp", path, "TopcatSearch", f"{server.url}/tap", *words],
                capture_output=True, text=True, check=False, timeout=120,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-2000:]
            found = [line.split("\t") for line in done.stdout.splitlines()]
            return [[",".join(sorted(word.split(","))) for word in words] for words in found]

        assert search_in_topcat("tap") == [
            ["tap", "ivo://example/tap", "All tables", "An Observatory", "catalogs,planets", "https://example.org/tap"]
        ]
        assert search_in_topcat("cone", "bright stars") == [
            [
                "cone",
                "ivo://example/stars",
                "Bright Stars",
                "An Observatory",
                "catalogs,stars",
                "https://c.example/cone?",
            ]
        ]
        assert search_in_topcat("cone", "moons") == []
        assert [line[:2] for line in search_in_topcat("ids", "ivo://example/stars ivo://example/tap")] == [
            ["cone", "ivo://example/stars"],
            ["tap", "ivo://example/tap"],
        ]


@pytest.mark.xdist_group("registry")
def test_a_publishing_registry_of_hven_can_be_harvested(tmp_path: Path) -> None:
    """What `/oai` of a site says is what a registry knows of it: its service, its table, and that this is served by that."""
    require_plugins("protocols", "oai")
    publisher = tmp_path / "publisher"
    folder = publisher / "collections/stars"
    folder.mkdir(parents=True)
    (publisher / "hven.toml").write_text(
        "title = 'Uraniborg'\nauthority = 'tycho.example'\ncontact_email = 'vo@tycho.example'\ncontact_name = 'Sophie'\n"
    )
    (folder / "rows.csv").write_text("id,ra,dec\na,10,20\nb,11,21\n")
    (folder / "stars.yaml").write_text(
        """
collection: stars
title: Stars of Tycho
description: Where they were
subjects: [solar-physics]
creators: ["Brahe, T."]
contact: {name: Sophie, email: sophie@tycho.example}
licence: CC-BY-4.0
created: 2016-03-30
tables:
  main:
    title: The stars
    source: rows.csv
    primary: id
    position: [ra, dec]
    columns:
      id: {type: string, ucd: meta.id;meta.main, description: Name}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
"""
    )
    with Site(settings.load_settings(publisher)) as made:
        ingest_collection(made, "stars")
    ours = tmp_path / "registry"
    with hven_serving(publisher) as server:
        write_descriptor(ours, f"{server.url}/oai")
        with Site(settings.load_settings(ours)) as found:
            ingest_collection(found, "rr")
            services = dict(
                rows(
                    found,
                    "SELECT standard_id, access_url FROM rr.capability NATURAL JOIN rr.interface WHERE intf_role = 'std'",
                )
            )
            assert services["ivo://ivoa.net/std/tap"] == f"{server.url}/tap"
            assert services["ivo://ivoa.net/std/conesearch"].startswith(f"{server.url}/cone/stars.main")
            assert ("Stars of Tycho",) in rows(found, "SELECT res_title FROM rr.resource")
            assert rows(found, "SELECT COUNT(*) FROM rr.tap_table WHERE table_name = 'stars.main'") == [(1,)]
            assert {("ra",), ("dec",), ("id",)} <= set(
                rows(found, "SELECT DISTINCT name FROM rr.table_column WHERE unit = 'deg' OR ucd LIKE 'meta.id%'")
            )
            assert {kind for (kind,) in rows(found, "SELECT res_type FROM rr.resource")} >= {
                "vg:authority",
                "vg:registry",
                "vr:organisation",
            }
        with hven_serving(ours) as registry:
            asks = ["register", "--harvested", "--at", f"{registry.url}/tap", "--site", publisher]
            told = json.loads(run_hven(*asks, "--json").stdout)
            assert (told["harvested"], told["lacking"], told["others"]) == (told["records"], [], [])
            assert told["records"] >= 6
            (publisher / "hven.toml").write_text((publisher / "hven.toml").read_text() + "[registry]\nauthorities = ['later.example']\n")  # fmt: skip
            assert "missing from the registry: ivo://later.example\n" in run_hven(*asks, expected_code=1).stdout
