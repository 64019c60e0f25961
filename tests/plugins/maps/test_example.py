"""Example 25 has maps under the names of Mars Visu's layers, which say that they are made up, and PSUP's catalogues fit it."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from asgi_client import Client
from PIL import Image

from example_sites import EXAMPLES, ingest_all, open_example, prepare_example
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from shared import EXAMPLES_FACTOR, ROOT

sys.path.insert(0, str(ROOT / "tests/real"))

from test_real import publish_collection

CASE = "25-psup"
# of the layers of Mars Visu, in the spelling of its addresses
MARS_VISU_NAMES = {"viking", "MARSTOPO_16", "OMEGA_solar_albedo", "ferric_bd530", "ferric_nnphs", "olivine_osp1", "olivine_osp2", "olivine_osp3", "pyroxene_bd2000", "albedo_r1080", "emissivity_5mic"}  # fmt: skip
MINERALS = "Minerals (OMEGA)"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with open_example(CASE, tmp_path_factory.mktemp("psup")) as directory:
        ingest_all(directory)
        with Site(load_settings(directory)) as site:
            yield Client(create_and_start_application(site))


def read_json(client: Client, address: str) -> Any:
    parts = urlsplit(address)
    answer = client.ask("GET", parts.path, parts.query.encode())
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


def test_backgrounds_overlays_and_legends(example: Client) -> None:
    """Mars Visu in the portal has at least 3 backgrounds and 8 overlays; each mineral has a legend with its quantity."""
    layers = read_json(example, "/maps/Mars.json")["layers"]
    assert {layer["layer"] for layer in layers} >= MARS_VISU_NAMES
    counts = Counter(layer["kind"] for layer in layers)
    assert counts["background"] >= 3
    assert counts["overlay"] >= 8
    minerals = [layer for layer in layers if layer["group"] == MINERALS]
    assert len(minerals) == 6
    for layer in minerals:
        assert layer["quantity"]
        assert layer["range"][0] < layer["range"][1]
        parts = urlsplit(layer["legend_url"])
        legend = example.ask("GET", parts.path, parts.query.encode())
        assert legend.body.startswith(b"\x89PNG")
    tables = read_json(example, "/maps/Mars/places")["tables"]
    assert {table["id"]: table["footprints"] for table in tables} == {"craters.main": False, "hydrated.epn_core": True}


@pytest.mark.parametrize(
    ("language", "words"), [("en", "made them up with a fixed seed"), ("fr", "les a inventées avec une graine fixe")]
)
def test_the_page_says_that_the_maps_are_made_up(example: Client, language: str, words: str) -> None:
    answer = example.ask("GET", "/maps/Mars", f"lang={language}".encode(), headers={"accept": "text/html"})
    text = " ".join(html.unescape(answer.text).split())
    assert words in text
    document = json.loads(text.partition('<script type="application/json">')[2].partition("</script>")[0])
    made = {"en": "Made up by example 25", "fr": "Inventé par l'exemple 25"}[language]
    assert {layer["attribution"] for layer in document["layers"]} == {made}


def test_the_maps_are_the_same_each_time(tmp_path: Path) -> None:
    kept = prepare_example(CASE)
    again = tmp_path / CASE
    shutil.copytree(EXAMPLES / CASE, again, ignore=shutil.ignore_patterns("var", "data"))
    subprocess.run([sys.executable, again / "make_data.py"], check=True, timeout=600)
    paths = sorted(path.relative_to(again) for path in again.rglob("data/**/*") if path.is_file())
    assert len(paths) > 400
    assert [path for path in paths if (again / path).read_bytes() != (kept / path).read_bytes()] == []


def test_the_demo_has_layers_of_mars_and_of_fourteen_other_bodies(tmp_path: Path) -> None:
    """With small pictures instead of the maps, which the demo fetches."""
    folder = tmp_path / "collections/planets"
    document = yaml.safe_load((ROOT / "demo/collections/planets/planets.yaml").read_text(encoding="utf-8"))
    for layer in document["layers"].values():
        path = folder / layer["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (36, 18), "red").save(path)
    kept = {name: document[name] for name in ("collection", "title", "layers")}
    (folder / "planets.yaml").write_text(yaml.safe_dump({**kept, "files": "data/maps/*.jpg"}))
    (tmp_path / "hven.toml").write_text('name = "x"\npublic_url = "https://vo.example"\n')
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "planets")
        client = Client(create_and_start_application(site))
        counts = {body["body"]: body["layer_count"] for body in read_json(client, "/maps.json")["bodies"]}
        assert len(counts) == 15
        assert counts["Mars"] == 3
        mars = read_json(client, "/maps/Mars.json")
        assert {layer["layer"] for layer in mars["layers"]} == {"Mars", "Mars-relief", "Mars-albedo"}
        assert {layer["frame"] for layer in mars["layers"]} == {"IAU_2015:49900"}
        for body in counts:
            layer = read_json(client, f"/maps/{body}.json")["layers"][0]
            tile = urlsplit(next(iter(layer["tiles"].values())).replace("{z}/{y}/{x}", "0/0/0"))
            assert client.get(tile.path).body.startswith(b"\x89PNG"), body


@pytest.mark.slow
def test_catalogues_of_psup_are_on_the_map(tmp_path: Path) -> None:
    """Polygons and craters as PSUP publishes them: rows of the map's page, and items with the same ids."""
    publish_collection("psup_hydrated", tmp_path, every=1 if EXAMPLES_FACTOR > 1 else 5)
    publish_collection("psup_craters", tmp_path)
    counts = {"psup_hydrated.epn_core": 17_445 if EXAMPLES_FACTOR > 1 else 3_489, "psup_craters.epn_core": 2_561}
    with Site(load_settings(tmp_path)) as site:
        client = Client(create_and_start_application(site))
        tables = {table["id"]: table for table in read_json(client, "/maps/Mars/places")["tables"]}
        assert {name: table["rows"] for name, table in tables.items()} == counts
        for name, count in counts.items():
            assert read_json(client, f"/stac/collections/{name}/items")["numberMatched"] == count
        table = tables["psup_hydrated.epn_core"]
        assert table["footprints"]
        places = read_json(client, f"{table['url']}/places?{table['query']}&_view_at=75,18,79,23")
        assert places["outlines"]
        named = [json.loads(key)[0] for key in places["keys"]]
        search = "/stac/collections/psup_hydrated.epn_core/items?bbox=75,18,79,23&limit=10000"
        items = read_json(client, search)["features"]
        assert {item["id"] for item in items} <= set(named) != set()
        assert {item["geometry"]["type"] for item in items} <= {"Polygon", "MultiPolygon"}
