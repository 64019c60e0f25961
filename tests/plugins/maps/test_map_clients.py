"""OWSLib, by which many programs read services of the OGC, reads the capabilities of maps, tiles and coverages."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from asgi_client import Client
from rasterio.io import MemoryFile

REASON = "pip install owslib (group test)"
wcs = pytest.importorskip("owslib.coverage.wcs100", reason=REASON)
wcs_2 = pytest.importorskip("owslib.coverage.wcs201", reason=REASON)
wms = pytest.importorskip("owslib.wms", reason=REASON)
wmts = pytest.importorskip("owslib.wmts", reason=REASON)


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_maps(client: Client, version: str) -> None:
    text = client.get(f"/wms/psup?SERVICE=WMS&REQUEST=GetCapabilities&VERSION={version}").body
    service = wms.WebMapService("https://vo.example/wms/psup", version=version, xml=text)
    assert list(service.contents) == ["latitude", "turned"]
    layer = service.contents["latitude"]
    assert layer.boundingBoxWGS84 == (-180.0, -90.0, 180.0, 90.0)
    assert {"IAU_2015:49900", "IAU_2015:49901", "IAU_2015:49930", "CRS:84"} <= set(layer.crsOptions)
    assert layer.queryable == 1
    assert "GetLegendGraphic" in layer.styles["default"]["legend"]
    operations = {operation.name: operation for operation in service.operations}
    assert "image/webp" in operations["GetMap"].formatOptions
    assert operations["GetFeatureInfo"].methods[0]["url"] == "https://vo.example/wms/psup?"


def test_tiles(client: Client) -> None:
    text = client.get("/wmts/psup?SERVICE=WMTS&REQUEST=GetCapabilities").body
    service = wmts.WebMapTileService("https://vo.example/wmts/psup", xml=text)
    assert list(service.contents) == ["latitude", "turned"]
    matrix_set = service.tilematrixsets["MarsNorthPolar"]
    assert matrix_set.crs == "urn:ogc:def:crs:IAU_2015::49930"
    west, north = matrix_set.tilematrix["0"].topleftcorner
    assert west == -north
    assert set(service.contents["latitude"].tilematrixsetlinks) == {
        "MarsEquirectangular",
        "MarsGeographic",
        "MarsNorthPolar",
        "MarsSouthPolar",
    }
    url = service.buildTileResource(layer="latitude", tilematrixset="MarsGeographic", tilematrix="0", row=0, column=1)
    path = url if isinstance(url, str) else url.decode()
    assert path == "https://vo.example/wmts/psup/1.0.0/latitude/default/MarsGeographic/0/0/1.png"
    assert client.get(path.removeprefix("https://vo.example")).status == 200


def test_coverages(client: Client) -> None:
    text = client.get("/wcs/psup?SERVICE=WCS&REQUEST=GetCapabilities&VERSION=1.0.0").body
    service = wcs.WebCoverageService_1_0_0("https://vo.example/wcs/psup", text, None)
    assert list(service.contents) == ["latitude", "turned"]
    assert service.contents["latitude"].boundingBoxWGS84 == (-180.0, -90.0, 180.0, 90.0)


def test_coverages_of_version_2(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """OWSLib's own requests are answered, without a network."""
    answers = []

    def open_url(url: str, data: str = "", *_: object, **__: object) -> SimpleNamespace:
        address = url if not data else f"{url.rstrip('?')}?{data}"
        answer = client.get(address.removeprefix("https://vo.example"))
        answers.append(answer)
        headers = {"Content-Type": answer.headers["content-type"]}
        return SimpleNamespace(read=lambda: answer.body, info=lambda: headers, geturl=lambda: url)

    monkeypatch.setattr("owslib.coverage.wcsBase.openURL", open_url)
    monkeypatch.setattr("owslib.coverage.wcs201.openURL", open_url)
    service = wcs_2.WebCoverageService_2_0_1("https://vo.example/wcs/psup", None, None)
    assert list(service.contents) == ["latitude", "turned"]
    assert service.identification.type == "OGC WCS"
    coverage = service.contents["latitude"]
    assert coverage.supportedFormats[0] == "image/tiff"
    assert coverage.grid.highlimits == ["359", "179"]
    assert coverage.grid.axislabels == ["i", "j"]
    assert coverage.boundingboxes[0]["bbox"] == (-90.0, -180.0, 90.0, 180.0)
    subsets = [("Lat", 10, 20), ("Lon", 0, 5)]
    body = service.getCoverage(identifier=["latitude"][0], format="image/tiff", subsets=subsets).read()
    assert [answer.status for answer in answers] == [200] * len(answers)
    with MemoryFile(body) as memory, memory.open() as dataset:
        assert dataset.shape == (10, 5)
