"""A running server, searched by pystac-client and OWSLib."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator

import pytest
from granule_rows import ROWS, SPECIAL, build_granule_table, build_granules

from hven.testing.site import open_tiny_site
from process_runner import serve_site
from requirements import ROOT, require

pytestmark = pytest.mark.outside


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a site with a table of EPN-TAP."""
    directory = tmp_path_factory.mktemp("served") / "site"
    mars = build_granule_table("mars")
    open_tiny_site(directory, {"mars.epn_core": (mars, build_granules(mars))}).close()
    (directory / "hven.toml").write_text('name = "x"\n')
    with serve_site(directory) as served:
        yield f"http://127.0.0.1:{served.port}"


def test_pystac_client(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require("stac-api-validator")
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT / ".cache/stac-api-validator")])  # it came with pystac-client
    client_module = importlib.import_module("pystac_client")
    client = client_module.Client.open(f"{address}/stac")
    assert [collection.id for collection in client.get_collections()] == ["mars.epn_core"]
    everything = client.search(limit=60)
    assert len(list(everything.items())) == ROWS + len(SPECIAL)
    assert everything.matched() == ROWS + len(SPECIAL)
    found = client.search(
        bbox=[-60, -60, 60, 60],
        datetime="2003-12-27/2004-03-01",
        filter="epn:instrument_name = 'OMEGA'",
        sortby="-datetime",
        limit=5,
    )
    times = [item.datetime or item.common_metadata.start_datetime for item in found.items()]
    assert times == sorted(times, reverse=True)
    assert client.get_collection("mars.epn_core").get_item("a b:c/d").id == "a b:c/d"


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
def test_owslib(address: str, version: str) -> None:
    wfs_module = pytest.importorskip("owslib.wfs")
    service = wfs_module.WebFeatureService(f"{address}/wfs", version=version)
    assert list(service.contents) == ["f:mars.epn_core"]
    answer = service.getfeature(typename=["f:mars.epn_core"], maxfeatures=7, outputFormat="application/json").read()
    assert len(json.loads(answer)["features"]) == 7


def test_owslib_posts_a_filter(address: str) -> None:
    wfs_module = pytest.importorskip("owslib.wfs")
    service = wfs_module.WebFeatureService(f"{address}/wfs", version="2.0.0")
    methods = [method["type"] for method in service.getOperationByName("GetFeature").methods]
    assert sorted(methods) == ["Get", "Post"]
    condition = (
        '<fes:Filter xmlns:fes="http://www.opengis.net/fes/2.0"><fes:PropertyIsEqualTo><fes:ValueReference>'
        "instrument_name</fes:ValueReference><fes:Literal>OMEGA</fes:Literal></fes:PropertyIsEqualTo></fes:Filter>"
    )
    wanted = {"typename": ["f:mars.epn_core"], "filter": condition, "outputFormat": "application/json"}
    # OWSLib sends the filter as QUERY by GET, which no server reads
    posted = json.loads(service.getfeature(method="Post", **wanted).read())
    instruments = [feature["properties"]["instrument_name"] for feature in posted["features"]]
    assert instruments == ["OMEGA"] * len(range(0, ROWS, 3))


def test_owslib_features(address: str) -> None:
    features_module = pytest.importorskip("owslib.ogcapi.features")
    service = features_module.Features(f"{address}/stac")
    assert service.feature_collections() == ["mars.epn_core"]
    found = service.collection_items("mars.epn_core", limit=3)
    assert found["numberReturned"] == 3
