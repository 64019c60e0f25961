"""Items lead where DataLink leads, collections have the licence of their pages, and each portal has a `/stac` of its own."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from process_runner import run_hven

SETTINGS = """\
public_url = "https://vo.example"
[portals.red]
path = "/red"
collections = ["linked"]
[portals.blue]
host = "blue.example"
collections = ["plain"]
"""
DESCRIPTOR = """\
collection: {name}
title: Sites of Mars
licence: {licence}
files: ["data/*.fits", "data/*.png"]
tables:
  epn_core:
    title: Sites of Mars
    standard: epn-tap-2.0
    frame: body
    optional: [access, thumbnail_url]
    source: {{kind: csv, files: sites.csv, types: {{lon: float64, kilobytes: int64}}}}
    set: {{granule_gid: g, dataproduct_type: im, processing_level: 3, target_name: Mars, target_class: planet, access_format: application/fits, c2min: 1.0, c2max: 2.0}}
    text: {{granule_uid: "{{id}}", obs_id: "{{id}}", access_url: "https://elsewhere.example/{{id}}.fits", thumbnail_url: "https://elsewhere.example/{{id}}.png"}}
    map: {{c1min: lon, c1max: lon, access_estsize: kilobytes}}
"""
LINKS = """\
    links:
      - {semantics: this, file: "data/{target.granule_uid}.fits", description: "Image {target.granule_uid}"}
      - {semantics: preview, file: "data/{target.granule_uid}.png"}
      - {semantics: documentation, text: "https://elsewhere.example/about"}
      - {semantics: documentation, text: "https://elsewhere.example/{target.granule_uid}.html", description: 'the "log"'}
"""
IDS = ("a", "b", "gone")
SKY = """\
collection: seen
title: Images of the sky
files: "data/*.fits"
tables:
  maps:
    title: Images
    primary: [ident]
    source: {kind: csv, files: maps.csv, types: {ra: float64, dec: float64}}
    columns:
      ident: {type: string, ucd: meta.id;meta.main, description: Name}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
    links:
      - {semantics: this, file: "data/{target.ident}.fits"}
      - {semantics: documentation, text: "https://elsewhere.example/{target.ident}"}
    obscore: {set: {dataproduct_type: image, calib_level: 2, facility_name: OHP}}
"""
ROLES = {"#this": "data", "#preview": "overview", "#documentation": "metadata"}


@pytest.fixture(scope="module")
def linked_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Make a table with links of its descriptor to files, one of which is missing, and one with standard columns alone."""
    directory = tmp_path_factory.mktemp("linked")
    for name, licence, links in (("linked", "CC-BY-4.0", LINKS), ("plain", "free for all", ""), ("own", "other", "")):
        folder = directory / "collections" / name
        (folder / "data").mkdir(parents=True)
        descriptor = DESCRIPTOR.format(name=name, licence=licence) + links
        if name == "own":  # files of this site, in standard columns
            descriptor = descriptor.replace("https://elsewhere.example/", "{site.url}/collections/own/files/data/")
        (folder / f"{name}.yaml").write_text(descriptor)
        (folder / "sites.csv").write_text("id,lon,kilobytes\na,10,3\nb,20,7\ngone,30,9\n")
        for item_id in IDS[:2]:
            (folder / f"data/{item_id}.fits").write_bytes(bytes(2880 * len(item_id)))
            (folder / f"data/{item_id}.png").write_bytes(b"picture")
    folder = directory / "collections/seen"
    (folder / "data").mkdir(parents=True)
    (folder / "seen.yaml").write_text(SKY)
    (folder / "maps.csv").write_text("ident,ra,dec\nm1,10,20\nm2,30,40\n")
    (folder / "data/m1.fits").write_bytes(bytes(2880))
    (directory / "hven.toml").write_text(SETTINGS)
    with Site(load_settings(directory)) as site:
        for name in ("linked", "plain", "own", "seen"):
            ingest_collection(site, name)
        yield site


@pytest.fixture(scope="module")
def linked_client(linked_site: Site) -> Client:
    return Client(create_and_start_application(linked_site))


def read_json(client: Client, path: str, query: str = "", host: str = "vo.example") -> Any:
    answer = client.ask("GET", path, query.encode(), headers={"host": host})
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


def list_datalinks(client: Client, item: dict[str, Any]) -> list[dict[str, str]]:
    """List what DataLink lists of an item, at the address that the item has for it."""
    address = urlsplit(next(link["href"] for link in item["links"] if link.get("title") == "DataLink"))
    answer = client.ask("GET", address.path, f"{address.query}&RESPONSEFORMAT=csv".encode())
    assert answer.status == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


@pytest.mark.parametrize(
    ("table", "count"), [("linked.epn_core", 3), ("plain.epn_core", 3), ("own.epn_core", 3), ("ivoa.obscore", 2)]
)
def test_assets_are_the_links_of_datalink(linked_client: Client, table: str, count: int) -> None:
    """Each asset is a link and each link an asset, with role, address, title, media type and size."""
    path = f"/stac/collections/{table}/items"
    items = read_json(linked_client, path)["features"]
    assert len(items) == count
    for item in items:
        if "?" not in item["id"]:
            assert read_json(linked_client, f"{path}/{item['id']}") == item
        links = [link for link in list_datalinks(linked_client, item) if link["access_url"]]
        assert links or (table, item["id"]) == ("own.epn_core", "gone")
        wanted = sorted(
            (ROLES.get(link["semantics"], link["semantics"][1:]), link["access_url"], link["description"], link["content_type"], link["content_length"])
            for link in links
        )  # fmt: skip
        found = sorted(
            (
                *asset["roles"],
                asset["href"],
                asset.get("title", ""),
                asset.get("type", ""),
                str(asset.get("file:size", "")),
            )
            for asset in item["assets"].values()
        )
        assert found == wanted
        has_size = any("file:size" in asset for asset in item["assets"].values())
        assert any("/file/" in address for address in item["stac_extensions"]) == has_size


def test_keys_of_assets(linked_client: Client) -> None:
    items = read_json(linked_client, "/stac/collections/linked.epn_core/items")["features"]
    assert list(items[0]["assets"]) == ["thumbnail", "data", "preview", "documentation", "documentation-2", "package"]
    assert items[0]["assets"]["data"]["href"] == "https://vo.example/collections/linked/files/data/a.fits"
    assert items[0]["assets"]["data"]["file:size"] == 2880
    assert items[0]["assets"]["documentation-2"]["title"] == 'the "log"'
    assert set(items[2]["assets"]) == {"thumbnail", "documentation", "documentation-2"}, "DataLink: NotFoundFault"
    plain = read_json(linked_client, "/stac/collections/plain.epn_core/items")["features"]
    assert plain[1]["assets"]["data"]["file:size"] == 7000, "kbyte of VOUnits are 1,000 bytes"
    own = read_json(linked_client, "/stac/collections/own.epn_core/items")["features"]
    assert own[2]["assets"] == {}, "no file is there"
    few = read_json(linked_client, "/stac/collections/linked.epn_core/items", "fields=id")["features"][0]
    assert "assets" not in few
    assert "stac_extensions" not in few


def test_cached_items_follow_their_files(linked_client: Client, linked_site: Site) -> None:
    """A file that appears becomes an asset, although the row stays as it was."""
    path = "/stac/collections/linked.epn_core/items"
    assert "data" not in read_json(linked_client, path, "ids=gone")["features"][0]["assets"]
    folder = linked_site.settings.directory / "collections/linked/data"
    (folder / "gone.fits").write_bytes(bytes(100))
    ingest_collection(linked_site, "linked")
    try:
        item = read_json(linked_client, path, "ids=gone")["features"][0]
        assert item["assets"]["data"]["file:size"] == 100
    finally:
        (folder / "gone.fits").unlink()
        ingest_collection(linked_site, "linked")


def test_exported_items_are_those_of_the_service(linked_client: Client, linked_site: Site, tmp_path: Path) -> None:
    run_hven("--site", linked_site.settings.directory, "stac", "export", tmp_path / "catalogue")
    documents = [json.loads(path.read_text()) for path in (tmp_path / "catalogue").rglob("*.json")]
    exported = {
        (document["collection"], document["id"]): document for document in documents if document["type"] == "Feature"
    }
    items = read_json(linked_client, "/stac/search", "limit=100")["features"]
    assert len(exported) == len(items) == 3 * len(IDS) + 2
    for item in items:
        assert {**exported[item["collection"], item["id"]], "links": []} == {**item, "links": []}


@pytest.mark.parametrize(
    ("name", "licence", "title", "address"),
    [
        ("linked", "CC-BY-4.0", "CC-BY-4.0", "https://spdx.org/licenses/CC-BY-4.0"),
        ("plain", "other", "free for all", "https://vo.example/collections/plain/epn_core"),
    ],
)
def test_licences_are_those_of_the_pages(
    linked_client: Client, name: str, licence: str, title: str, address: str
) -> None:
    document = read_json(linked_client, f"/stac/collections/{name}.epn_core")
    assert document["license"] == licence
    (link,) = (link for link in document["links"] if link["rel"] == "license")
    assert (link["href"], link["title"]) == (address, title)
    page = linked_client.ask("GET", f"/collections/{name}", headers={"accept": "text/html"}).text
    assert title in page


@pytest.mark.parametrize(
    ("path", "host", "base", "name", "other"),
    [
        ("/red", "vo.example", "https://vo.example/red", "linked", "plain"),
        ("", "blue.example", "https://blue.example", "plain", "linked"),
    ],
)
def test_each_portal_has_its_own_root(
    linked_client: Client, path: str, host: str, base: str, name: str, other: str
) -> None:
    """A portal has its collections alone; all its links lead to addresses below the portal, and these answer."""
    landing = read_json(linked_client, f"{path}/stac", host=host)
    assert [link["title"] for link in landing["links"] if link["rel"] == "child"] == ["Sites of Mars"]
    listed = read_json(linked_client, f"{path}/stac/collections", host=host)["collections"]
    assert [collection["id"] for collection in listed] == [f"{name}.epn_core"]
    page = read_json(linked_client, f"{path}/stac/search", "limit=2", host=host)
    assert {item["collection"] for item in page["features"]} == {f"{name}.epn_core"}
    assert linked_client.ask("GET", f"{path}/stac/collections/{other}.epn_core", headers={"host": host}).status == 404
    links = [*landing["links"], *listed[0]["links"], *page["links"], *page["features"][0]["links"]]
    links = [link for link in links if link["rel"] != "license" and link.get("method") != "POST"]
    for link in links:
        assert link["href"].startswith(f"{base}/"), link
        address = urlsplit(link["href"])
        answer = linked_client.ask("GET", address.path, address.query.encode(), headers={"host": host})
        assert answer.status == 200, (link, answer.text[:300])
    assert (
        read_json(linked_client, f"{path}/stac/collections", host=host)["links"][0]["href"]
        == f"{base}/stac/collections"
    )
    everything = read_json(linked_client, "/stac/collections")["collections"]
    assert {collection["id"] for collection in everything} == {
        "linked.epn_core",
        "plain.epn_core",
        "own.epn_core",
        "ivoa.obscore",
    }
    capabilities = linked_client.ask(
        "GET", f"{path}/wfs", b"SERVICE=WFS&REQUEST=GetCapabilities", headers={"host": host}
    ).text
    assert f"{name}.epn_core" in capabilities
    assert f"{other}.epn_core" not in capabilities
    assert f"{base}/wfs" in capabilities
