"""What maps tell of layers, times and authors to readers who may not know of them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from asgi_client import Client
from map_raster_files import write_raster

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site

DESCRIPTOR = """\
collection: mixed
title: Maps of Mars
publisher: Person A
creators: [{name: Person B}]
citation: Person C
files: "maps/*"
layers:
  open: {file: maps/open.tif, range: [0, 9]}
  hidden: {file: maps/hidden.tif, range: [0, 9]}
  locked: {file: maps/locked.tif, range: [0, 9]}
  weekly: {times: {2010-01-01: maps/open.tif, 2011-01-01: maps/hidden.tif}, range: [0, 9]}
tables:
  rasters:
    source: {kind: csv, files: rasters.csv}
    primary: [audience]
    access: {rows: "audience <> 'hidden'", take: "audience = 'open'", path: path}
    columns:
      path: {type: string, description: File}
      audience: {type: string, ucd: meta.id;meta.main, description: Who may see it}
"""
PRIVATE_DESCRIPTOR = """\
collection: night
title: Maps of Mars
access: private
publisher: Person A
creators: [{name: Person B}]
citation: Person C
doi: 10.5555/person-d
files: "maps/*"
layers:
  height: {file: maps/open.tif, range: [0, 9], attribution: Person E}
  weekly: {times: {2010-01-01: maps/open.tif}}
"""
NAMES = ("Person A", "Person B", "Person C", "person-d", "Person E")
GET_MAP = "VERSION=1.3.0&REQUEST=GetMap&CRS=IAU_2015:49900&BBOX=0,0,9,9&WIDTH=9&HEIGHT=9"
GET_COVERAGE = "VERSION=1.0.0&REQUEST=GetCoverage&CRS=IAU_2015:49900&BBOX=0,0,9,9&WIDTH=9&HEIGHT=9"


@pytest.fixture(scope="module")
def rights_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("rights")
    for name, descriptor in (("mixed", DESCRIPTOR), ("night", PRIVATE_DESCRIPTOR)):
        folder = directory / "collections" / name
        (folder / "maps").mkdir(parents=True)
        for number, file_name in enumerate(("open", "hidden", "locked")):
            write_raster(folder / f"maps/{file_name}.tif", np.full((18, 36), number), -180)
        (folder / "rasters.csv").write_text(
            "path,audience\n" + "".join(f"maps/{level}.tif,{level}\n" for level in ("open", "hidden", "locked"))
        )
        (folder / f"{name}.yaml").write_text(descriptor)
    (directory / "hven.toml").write_text('public_url = "https://vo.example"\n')
    with Site(load_settings(directory)) as site:
        for name in ("mixed", "night"):
            assert ingest_collection(site, name).published
        yield site


@pytest.fixture(scope="module")
def rights_client(rights_site: Site) -> Client:
    return Client(create_and_start_application(rights_site))


def test_a_hidden_layer_is_as_one_that_does_not_exist(rights_client: Client) -> None:
    def ask(path: str, layer: str) -> tuple[int, str]:
        answer = rights_client.get(path.format(layer))
        return answer.status, answer.text.partition("[request")[0].replace(layer, "LAYER")

    for path in (
        f"/wms/mixed?{GET_MAP}&LAYERS={{}}",
        f"/wms/mixed?{GET_MAP}&LAYERS=open,{{}}",
        f"/wms/mixed?{GET_MAP.replace('GetMap', 'GetFeatureInfo')}&QUERY_LAYERS={{}}&I=0&J=0",
        "/wms/mixed?REQUEST=GetLegendGraphic&LAYER={}",
        f"/wcs/mixed?{GET_COVERAGE}&FORMAT=GeoTIFF&COVERAGE={{}}",
        "/wcs/mixed?VERSION=2.0.1&REQUEST=DescribeCoverage&COVERAGEID={}",
        "/wmts/mixed/1.0.0/{}/default/MarsGeographic/0/0/0.png",
    ):
        assert ask(path, "hidden") == ask(path, "nothin")
        assert "hidden" not in ask(path, "nothin")[1]
        assert ask(path, "hidden")[0] >= 400
        status, text = ask(path, "locked")
        assert status in {401, 403}, path
        assert "until somebody unlocks it" in text
    assert rights_client.get(f"/wms/mixed?{GET_MAP}&LAYERS=open").status == 200
    for path in ("/wms/mixed?REQUEST=GetCapabilities", "/maps/Mars.json", "/wmts/mixed?REQUEST=GetCapabilities"):
        assert "hidden" not in rights_client.get(path).text
    early = rights_client.get(f"/wms/mixed?{GET_MAP}&LAYERS=weekly&TIME=2010-01-01")
    assert early.status == 200
    late = rights_client.get(f"/wms/mixed?{GET_MAP}&LAYERS=weekly&TIME=2011-01-01")
    assert late.status >= 400
    assert "hidden" not in late.text


def test_times_of_a_private_layer_are_told_to_nobody(rights_client: Client) -> None:
    """An unknown time made the error name the layer's times before the rights were looked at."""
    for query in (f"/wms/{{}}?{GET_MAP}&LAYERS=weekly&TIME=2099-01-01", f"/wms/{{}}?{GET_MAP}&LAYERS=height&TIME=2099"):
        answer, unknown = (rights_client.get(query.format(name)) for name in ("night", "unknown"))
        assert answer.status == unknown.status == 404
        assert "2010" not in answer.text
        assert "weekly" not in answer.text


def test_no_document_names_the_authors_to_a_blind_referee(rights_site: Site) -> None:
    client, shown = Client(create_and_start_application(rights_site)), set[str]()
    for is_blind in (False, True, False):  # nothing is taken from a cache for the other referee
        _, secret = rights_site.store.grants.add_grant(
            "referee", object="night", actor="owner", with_secret=True, facts={"anonymous": is_blind}
        )
        headers = {"cookie": client.ask("GET", f"/referee/{secret}").headers["set-cookie"].partition(";")[0]}
        for path in ("/wms/night?REQUEST=GetCapabilities", "/wms/night?REQUEST=GetCapabilities&VERSION=1.1.1",
                     "/wmts/night?REQUEST=GetCapabilities", "/wcs/night?REQUEST=GetCapabilities", "/maps/Mars",
                     "/wcs/night?REQUEST=GetCapabilities&VERSION=1.0.0", "/maps/Mars.json", "/maps",
                     "/wcs/night?VERSION=2.0.1&REQUEST=DescribeCoverage&COVERAGEID=height"):  # fmt: skip
            address, _, query = path.partition("?")
            answer = client.ask("GET", address, query.encode(), headers=headers)
            assert answer.status == 200, (path, answer.text)
            named = {name for name in NAMES if name in answer.text} - (
                {"Person A"} if "mixed" in answer.text else set()
            )
            assert not (is_blind and named), (path, named)
            shown |= named
        layers = json.loads(client.ask("GET", "/maps/Mars.json", headers=headers).text)["layers"]
        assert "night/height" in {layer["id"] for layer in layers}, "the referee still sees the maps"
    assert "Person E" in shown, "another referee sees them"


def test_who_takes_values_of_a_restricted_raster_is_logged(rights_site: Site) -> None:
    client = Client(create_and_start_application(rights_site))
    _, secret = rights_site.store.grants.add_grant("referee", object="night", actor="owner", with_secret=True)
    headers = {"cookie": client.ask("GET", f"/referee/{secret}").headers["set-cookie"].partition(";")[0]}
    query = f"{GET_COVERAGE}&FORMAT=GeoTIFF&COVERAGE=height"
    assert client.ask("GET", "/wcs/night", query.encode(), headers=headers).status == 200
    events = [str(event) for event in rights_site.store.grants.list_audit_entries(object="night")]
    assert any("coverage taken" in event and "maps/open.tif" in event for event in events)
