"""hven new from a collection of STAC: each draft passes the check, and its rows come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hven import descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import SourceError
from hven.model.settings import Settings, create_site_directory, load_settings
from hven.query import run_query
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL
from plugin_needs import create_descriptor


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    create_site_directory(tmp_path / "site")
    return load_settings(tmp_path / "site")


def draft_descriptor(settings: Settings, source: Path, **more: object) -> dict:
    """Write a first descriptor, and check it."""
    path = create_descriptor(settings, "x", str(source), **more)
    faults = [str(fault) for fault in descriptor.check_descriptor(path, settings)]
    assert not faults, f"{faults}\n{path.read_text()}"
    return yaml.safe_load(path.read_text())


def rows(settings: Settings, query: str) -> list[dict]:
    with Site(settings) as opened:
        ingest_collection(opened, "x")
        with run_query(query, ANONYMOUS_PRINCIPAL, site=opened) as result:
            return result.read_table().to_pylist()


# --- Felis -----------------------------------------------------------------------------------------------------------


def item(at: int) -> dict:
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": f"cube{at}", "collection": "omega", "bbox": [at, 0, at + 1, 1],
        "geometry": {"type": "Polygon", "coordinates": [[[at, 0], [at + 1, 0], [at + 1, 1], [at, 0]]]},
        "properties": {"datetime": f"2004-01-0{at + 1}T00:00:00Z", "gsd": 300.5, "ssys:targets": ["Mars"], "orbit": at},
        "assets": {"data": {"href": f"cube{at}.nc", "type": "application/x-netcdf", "file:size": 100 + at}},
    }  # fmt: skip


COLLECTION = {
    "type": "Collection", "stac_version": "1.0.0", "id": "omega", "title": "OMEGA cubes", "description": "Cubes of Mars", "license": "CC-BY-4.0",
    "keywords": ["Mars"], "providers": [{"name": "IAS", "roles": ["host"]}, {"name": "OMEGA team", "roles": ["producer"], "url": "https://omega.example.org"}],
    "item_assets": {"data": {"title": "Reflectances"}}, "summaries": {"instruments": ["OMEGA"], "platform": ["Mars Express"]},
    "table:columns": [{"name": "orbit", "description": "Number of the orbit"}],
}  # fmt: skip


def test_a_stac_collection_becomes_a_descriptor(site):
    home = site.collections_directory / "x"
    (home / "items").mkdir(parents=True)
    links = []
    for at in range(3):
        (home / f"items/cube{at}.json").write_text(json.dumps(item(at)))
        links.append({"rel": "item", "href": f"./items/cube{at}.json"})
    (home / "collection.json").write_text(json.dumps({**COLLECTION, "links": links}, indent=1))
    made = draft_descriptor(site, home / "collection.json")
    assert (made["title"], made["licence"], made["subjects"]) == ("OMEGA cubes", "CC-BY-4.0", ["Mars"])
    assert made["creators"] == [{"name": "OMEGA team", "url": "https://omega.example.org"}]
    assert (made["instrument"], made["facility"]) == (["OMEGA"], ["Mars Express"])
    table = made["tables"]["items"]
    assert table["source"] == {"kind": "json", "files": "items/*.json", "records": "."}
    assert table["primary"] == ["id"]
    said = {one["description"]: one for one in table["columns"].values() if "description" in one}
    assert said["Distance on the ground between two pixels"]["unit"] == "m"
    assert said["Reflectances: address"]["ucd"] == "meta.ref.url"
    assert "Number of the orbit" in said
    (gsd,) = (name for name, one in table["columns"].items() if one.get("unit") == "m")
    found = rows(site, f"SELECT id, {gsd} AS gsd FROM x.items ORDER BY id")
    assert found == [{"id": f"cube{at}", "gsd": 300.5} for at in range(3)]


def stac_catalogue(home):
    (home / "items").mkdir(parents=True)
    links = []
    for at in range(3):
        (home / f"items/cube{at}.json").write_text(json.dumps(item(at)))
        links.append({"rel": "item", "href": f"./items/cube{at}.json"})
    (home / "collection.json").write_text(json.dumps({**COLLECTION, "links": links}, indent=1))


@pytest.mark.parametrize("inside", ["collection.json", ""])
def test_a_collection_of_stac_for_a_standard_has_its_items_as_granules(site, inside):
    home = site.collections_directory / "x"
    stac_catalogue(home)
    path = create_descriptor(site, "x", str(home / inside), standard="epn-tap")
    (table,) = yaml.safe_load(path.read_text())["tables"].values()
    assert table["source"] == {"kind": "json", "files": "items/*.json", "records": "."}


def test_a_folder_with_a_collection_of_stac_has_no_row_of_the_collection(site):
    home = site.collections_directory / "x"
    stac_catalogue(home)
    made = draft_descriptor(site, home)
    assert made["title"] == "OMEGA cubes"
    assert made["tables"]["items"]["source"]["files"] == "items/*.json"
    assert [row["id"] for row in rows(site, "SELECT id FROM x.items ORDER BY id")] == ["cube0", "cube1", "cube2"]


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ([], "links neither to its items nor to an API"),
        (
            [{"rel": "item", "href": "./gone/a.json"}],
            "the collection links to 1 items, but none of them is in the collection's directory",
        ),
        (
            [{"rel": "item", "href": "../../../../../etc/hostname"}],
            "the collection links to 1 items, but none of them is in the collection's directory",
        ),
    ],
)
def test_collections_without_items(site, tmp_path, links, message):
    (tmp_path / "collection.json").write_text(json.dumps({**COLLECTION, "links": links}))
    with pytest.raises(SourceError, match=message):
        create_descriptor(site, "x", str(tmp_path / "collection.json"))
