"""The publishing registry in time: what changed is told from then on, what is gone stays as gone, and what only seems to be away is left alone."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import yaml
from asgi_client import Client
from lxml import etree
from test_oai_service import code, fetch_document, found, valid

from hven import descriptor
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.errors import DescriptorError
from hven.model.table import Schema
from hven.plugins.registry import record_store
from hven.plugins.registry.oai_service import DOCUMENT_OPENING, _write_oai_record
from hven.plugins.registry.record_store import RegistryRecordStore
from hven.plugins.registry.registry_records import _RegistryRecordBuilder
from hven.services.face import ServiceContext, load_service_faces
from hven.site import PublishedState, PublishedTable, Site
from hven.site.auth import ANONYMOUS_PRINCIPAL
from process_runner import wait_until
from shared import EXAMPLES_FACTOR

TOML = 'public_url = "https://vo.example"\nauthority = "a.example"\ncontact_email = "vo@a.example"\n'
HERE = "ivo://a.example/"


def write_collection(directory: Path, name: str, more: str = "", description: str = "First") -> None:
    folder = directory / "collections" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.csv").write_text("n\n1\n")
    text = (
        f"collection: {name}\ntitle: {name}\ndescription: {description}\n{more}\ntables: {{t: {{source: rows.csv}}}}\n"
    )
    (folder / f"{name}.yaml").write_text(text)


class World:
    """A site whose registry is asked at moments of its own."""

    def __init__(self, directory: Path, site: Site) -> None:
        self.directory, self.site, self.at = directory, site, 0
        self.client = Client(create_and_start_application(site))

    def told(self, since: str | None = None) -> dict[str, str]:
        """Harvest, a second later: identifier -> date, with a cross behind those that are gone."""
        self.at += 1
        with mock.patch.object(record_store, "datetime", wraps=record_store.datetime) as clock:
            clock.now.return_value = record_store.datetime(2030, 1, 1, 0, 0, self.at, tzinfo=record_store.UTC)
            self.site.refresh_published_state()
            more = {"from": since} if since else {}
            root = fetch_document(self.client, "ListRecords", metadataPrefix="oai_dc", **more)
        if found(root, "o:error"):
            assert code(root) == "noRecordsMatch"
            return {}
        heads = {}
        for record in found(root, "//o:record"):
            gone = record.xpath("*[1]/@status") == ["deleted"]
            assert gone == (len(record) == 1)  # what is gone has no metadata
            heads[record.findtext("{*}header/{*}identifier").removeprefix(HERE)] = record.findtext("{*}header/{*}datestamp")[-3:-1] + "x" * gone  # fmt: skip
        return heads


@contextmanager
def publish_collections(directory: Path, *names: str) -> Iterator[World]:
    (directory / "hven.toml").write_text(TOML)
    for name in names:
        write_collection(directory, name)
    with Site(settings.load_settings(directory)) as site:
        for name in names:
            ingest_collection(site, name)
        yield World(directory, site)


def test_changes_and_deletions_appear_in_a_harvest_by_date(tmp_path: Path) -> None:
    with publish_collections(tmp_path, "one", "two") as world:
        first = world.told()
        assert set(first.values()) == {"01"}
        assert {"one", "two", "tap", "registry", "organisation"} < set(first)
        assert world.told() == first  # nobody is told anew of what is as it was
        write_collection(tmp_path, "one", description="Second")
        assert world.told("2030-01-01T00:00:02Z") == {"one": "03", "tap": "03"}  # TAP's tables are described, too
        assert world.told("2030-01-01T00:00:04Z") == {}
        world.site.store.unpublish_collection("two")
        now = world.told()
        assert now["two"] == "05x"
        assert now["tap"] == "05"
        assert now["one"] == "03"
        assert (
            code(fetch_document(world.client, "GetRecord", metadataPrefix="marc", identifier=f"{HERE}two"))
            == "cannotDisseminateFormat"
        )
        write_collection(tmp_path, "one", "access: private")
        assert {key: value for key, value in world.told().items() if key in {"one", "two"}} == {
            "one": "06x",
            "two": "05x",
        }
        write_collection(tmp_path, "one", description="Second")
        assert world.told()["one"] == "07"
        write_collection(tmp_path, "one", "registry: {publish: false}")
        assert world.told()["one"] == "08x"
    with Site(settings.load_settings(tmp_path)) as site:  # a restart tells nobody
        again = World(tmp_path, site)
        again.at = 20
        told = again.told()
        assert told.pop("portal") == "07"  # pages had nothing to show while all was private
        assert set(told.values()) <= {"01", "08", "08x", "05x"}


def test_a_change_is_known_before_somebody_asks(tmp_path: Path) -> None:
    with publish_collections(tmp_path, "one"):
        pass
    with Site(settings.load_settings(tmp_path), watch_for_changes=True) as site:
        client = Client(create_and_start_application(site))
        fetch_document(client, "Identify")  # somebody harvests this site
        write_collection(tmp_path, "one", description="Second")

        def second() -> bool:
            told = site.store.get_or_create(RegistryRecordStore).find_record(f"{HERE}one")
            return told is not None and "Second" in told.body

        wait_until(second)


def test_what_seems_to_be_away_stays(tmp_path: Path) -> None:
    with publish_collections(tmp_path, "one") as world:
        first = world.told()
        (tmp_path / "collections/one/one.yaml").write_text("collection: one\ntitle: [\n")
        assert world.told() == first
    with Site(settings.load_settings(tmp_path)) as site:  # nobody has read it before
        assert World(tmp_path, site).told() == first


def test_dates_are_never_set_back(tmp_path: Path) -> None:
    with publish_collections(tmp_path, "one") as world:
        world.at = 30
        world.told()
        world.at = 10  # the clock was ahead
        write_collection(tmp_path, "one", description="Second")
        assert world.told()["one"] == "31"


def test_an_identifier_claimed_twice_stays_with_its_first_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with publish_collections(tmp_path, "one", "two") as world:
        world.told()
        write_collection(tmp_path, "two", "registry: {id: one}")
        now = world.told()
        assert (now["one"], now["two"]) == ("01", "02x")
        assert "another record already has the id ivo://a.example/one" in caplog.text
        told = world.site.store.get_or_create(RegistryRecordStore).find_record(f"{HERE}one")
        assert told is not None
        assert "<title>one</title>" in told.body
        world.site.store.unpublish_collection("one")
        assert world.told()["one"] == "03"  # it is free
        told = world.site.store.get_or_create(RegistryRecordStore).find_record(f"{HERE}one")
        assert told is not None
        assert "<title>two</title>" in told.body


def test_a_changed_authority_replaces_all_records(tmp_path: Path) -> None:
    with publish_collections(tmp_path, "one") as world:
        world.told()
    (tmp_path / "hven.toml").write_text(TOML.replace('"a.example"', '"b.example"'))
    with Site(settings.load_settings(tmp_path)) as site:
        again = World(tmp_path, site)
        again.at = 20
        now = again.told()
        assert now["one"] == "21x"
        assert now["ivo://b.example/one"] == "21"


WORDS = string.ascii_letters + string.digits + " <>&\"'{}[]#%/\\?:;,=+~^`|()éß漢\u200b\u0007\ufffe\U0001d49c"


def generate_descriptor(rng: random.Random, number: int) -> dict[str, object]:
    """Make a descriptor that says anything that a descriptor may."""

    def words(most: int = 30) -> str:
        return "".join(rng.choice(WORDS) for _ in range(rng.randint(1, most))).strip() or "x"

    def draw_list(make: object, most: int = 3) -> list[object]:
        return [make() for _ in range(rng.randint(1, most))]  # type: ignore[operator]

    own: dict[str, object] = {
        "title": words(), "description": words(300), "short_name": words(16), "subjects": draw_list(words), "licence": words(), "licence_url": words(),
        "creators": draw_list(lambda: {"name": words(), "orcid": words()}), "contact": {"name": words(), "email": words(), "orcid": "https://orcid.org/0000-0002-1825-0097"},
        "publisher": words(), "citation": words(), "bibcode": words(), "doi": words(), "reference_url": words(), "facility": draw_list(words),
        "instrument": draw_list(words), "waveband": draw_list(words), "content_level": draw_list(words), "type": draw_list(words), "created": words(),
    }  # fmt: skip
    kept = {key: value for key, value in own.items() if rng.random() < 0.6}
    columns = {f"c{at}": {"type": rng.choice(["int32", "string", "float64[3]", "boolean", "timestamp"]), "description": words(60)} for at in range(3)}  # fmt: skip
    place = {
        "id": {"type": "string", "ucd": "meta.id;meta.main"},
        "ra": {"type": "float64", "unit": "deg", "ucd": "pos.eq.ra;meta.main"},
        "dec": {"type": "float64", "unit": "deg", "ucd": "pos.eq.dec;meta.main"},
    }
    table = {"source": "rows.csv", "title": words(), "description": words(200), "columns": {**place, **columns}, "position": ["ra", "dec"]}  # fmt: skip
    return {"collection": f"c{number}", **kept, "tables": {"main": table}}


def test_records_of_generated_collections_are_valid(tmp_path: Path) -> None:
    """Whatever descriptors say that can be read, records are valid."""
    rng = random.Random(23)
    (tmp_path / "hven.toml").write_text(TOML)
    site = Site(settings.load_settings(tmp_path))
    with site:
        most = 40 if EXAMPLES_FACTOR == 1 else 1_000  # the more in scripts/proof
        assert judge_generated_collections(site, tmp_path, rng, most) >= 0.8 * most  # the others cannot be read


def judge_generated_collections(site: Site, directory: Path, rng: random.Random, most: int) -> int:
    """Publish generated collections as tables that are read from their descriptors, and judge what is told of them."""
    resources, published, schemas = {}, {}, []
    for number in range(most):
        said = generate_descriptor(rng, number)
        folder = directory / "collections" / str(said["collection"])
        folder.mkdir(parents=True)
        (folder / "rows.csv").write_text("id,ra,dec\na,1,2\n")
        path = folder / f"{folder.name}.yaml"
        path.write_text(yaml.safe_dump(said, allow_unicode=True, default_style='"', sort_keys=False), encoding="utf-8")
        try:
            resource = descriptor.load_descriptor(path, site.settings)
        except DescriptorError:
            continue
        name = rng.choice(
            ["main", "a.b/c", "..", "é 漢", "".join(rng.choice(WORDS) for _ in range(5))]
        )  # of tables without descriptors
        tables = tuple(spec.table.copy_with(name=name) for spec in resource.tables)
        resources[resource.name] = resource
        schemas.append(
            Schema(name=resource.name, title=resource.title, description=resource.description, tables=tables)
        )
        published |= {
            one.qualified_name: PublishedTable(table=one, relation=None, updated="2026-01-01T00:00:00.000000Z", resource=resource, coverage="6/1 8/", statistics={})
            for one in tables
        }  # fmt: skip
    around = replace(ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL), faces=load_service_faces())
    now = PublishedState(schemas=tuple(schemas), tables_by_name=published, resources=resources)
    making = _RegistryRecordBuilder(around, now)
    assert set(making.digests_by_part) == {"", *resources}
    told = {part: ("x", making.build_records(part)) for part in making.digests_by_part}
    assert not site.store.get_or_create(RegistryRecordStore).replace_records_listing_conflicts(told)
    for prefix in ("ivo_vor", "oai_dc"):
        rows = site.store.get_or_create(RegistryRecordStore).list_records(0, 100_000)
        assert len(rows) >= 2 * len(resources)
        request = "<responseDate>2026-01-01T00:00:00Z</responseDate><request verb='ListRecords'>https://vo.example/oai</request>"
        body = f"{DOCUMENT_OPENING}{request}<ListRecords>{''.join(piece for one in rows for piece in _write_oai_record(one, prefix))}</ListRecords></OAI-PMH>"
        etree.fromstring(body.encode())
        valid(directory, body.encode())
    return len(resources)
