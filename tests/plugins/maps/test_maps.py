"""A raster of Mars is served as maps and tiles in frames of the body, against values computed here."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pyproj
import pytest
from asgi_client import Client
from map_raster_files import write_raster
from PIL import Image

from hven.descriptor import check_descriptor
from hven.model.errors import SourceError, TextPlace
from hven.model.settings import load_settings
from hven.plugins.maps.map_drawing import LayerRaster
from hven.plugins.maps.map_layers import MapLayer

MAP_FILE = "/" + "home/cnes/mars/mars.map"  # on the old server
INFO = "REQUEST=GetFeatureInfo&CRS=IAU_2015:49900&BBOX=0,0,9,9"


def get_map(client: Client, query: str, collection: str = "psup") -> np.ndarray:
    answer = client.get(f"/wms/{collection}?SERVICE=WMS&REQUEST=GetMap&STYLES=&FORMAT=image/png&{query}")
    assert answer.status == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.body)).convert("RGBA")).astype(int)


def to_grey(latitudes: np.ndarray) -> np.ndarray:
    return (np.asarray(latitudes) + 90) / 180 * 255


def test_the_axis_order_is_that_of_the_version(client: Client) -> None:
    new = get_map(client, "VERSION=1.3.0&LAYERS=latitude&CRS=IAU_2015:49900&BBOX=0,-180,90,180&WIDTH=36&HEIGHT=9")
    old = get_map(client, "VERSION=1.1.1&LAYERS=latitude&SRS=IAU_2015:49900&BBOX=-180,0,180,90&WIDTH=36&HEIGHT=9")
    alias = get_map(client, "VERSION=1.3.0&LAYERS=latitude&CRS=CRS:84&BBOX=-180,0,180,90&WIDTH=36&HEIGHT=9")
    assert np.abs(new[:, 0, 0] - to_grey(85 - 10 * np.arange(9))).max() <= 1.5
    assert (new == old).all()
    assert (new == alias).all()


def test_both_conventions_of_longitudes_show_the_same(client: Client) -> None:
    places = "VERSION=1.1.1&LAYERS=turned&SRS=IAU_2015:49900&WIDTH=18&HEIGHT=4&BBOX="
    east = get_map(client, f"{places}190,-20,280,20")
    west = get_map(client, f"{places}-170,-20,-80,20")
    assert np.abs(east[0, :, 0] - (192.5 + 5 * np.arange(18)) / 360 * 255).max() <= 1.5
    assert (east == west).all()


@pytest.mark.parametrize("code", [49901, 49902, 49910, 49915, 49911, 49930, 49931, 49965])
def test_frames_agree_with_proj(client: Client, code: int) -> None:
    """Control points: the latitude that the picture shows is the one that PROJ finds for the centre of each pixel."""
    geographic = code in {49901, 49902}
    low, high = (20.0, 60.0) if geographic else (200_000.0, 2_200_000.0)
    box = f"{low},{low},{high},{high}"
    picture = get_map(client, f"VERSION=1.1.1&LAYERS=latitude&SRS=IAU_2015:{code}&BBOX={box}&WIDTH=20&HEIGHT=20")
    centres = low + (np.arange(20) + 0.5) * (high - low) / 20
    x, y = np.meshgrid(centres, centres[::-1])
    crs = pyproj.CRS.from_authority("IAU_2015", code)
    if geographic:
        lat = y
    else:
        base = crs.geodetic_crs
        first, second = (y, x) if crs.axis_info[0].direction == "north" else (x, y)
        lat, _ = pyproj.Transformer.from_crs(crs, base).transform(first, second)
    if code % 5 == 1:  # planetographic
        lat = np.degrees(np.arctan(np.tan(np.radians(lat)) * (3376200 / 3396190) ** 2))
    assert np.abs(picture[..., 0] - to_grey(lat)).max() <= 1.5


def test_tiles_of_the_north_pole_have_the_pole_in_the_middle(client: Client) -> None:
    answer = client.get("/wmts/psup/1.0.0/latitude/default/MarsNorthPolar/0/0/0.png")
    picture = np.asarray(Image.open(io.BytesIO(answer.body)).convert("RGB")).astype(int)
    assert answer.headers["content-type"] == "image/png"
    assert picture[127:129, 127:129, 0].min() >= 253
    assert abs(picture[128, 0, 0] - to_grey(60)) <= 1.5, "the edge is at 60 degrees"


def test_the_document_of_a_body_names_the_layers_that_everybody_may_see(client: Client) -> None:
    document = json.loads(client.get("/maps/Mars.json").text)
    assert [layer["id"] for layer in document["layers"]] == ["psup/latitude", "psup/turned"]
    assert document["layers"][1]["bounds"] == [-180.0, -90.0, 180.0, 90.0]
    assert document["frames"]["IAU_2015:49930"]["proj4"].startswith("+proj=stere +lat_0=90 +lon_0=0")
    assert document["tile_matrix_sets"]["MarsGeographic"]["resolutions"][0] == 360 / 512
    url = document["layers"][0]["value_url"].removeprefix("https://vo.example").format(lon=200, lat=-12.3)
    assert json.loads(client.get(url).text)["value"] == -12.5
    assert json.loads(client.get("/maps.json").text)["bodies"][0]["layer_count"] == 2
    assert client.get("/maps/Moon.json").status == 404


def test_a_private_collection_has_no_maps_for_strangers(client: Client) -> None:
    query = "VERSION=1.3.0&REQUEST=GetMap&LAYERS=latitude&CRS=IAU_2015:49900&BBOX=0,0,9,9&WIDTH=9&HEIGHT=9"
    for path in (f"/wms/shut?{query}", "/wms/shut?REQUEST=GetCapabilities", "/wms/shut?REQUEST=GetMap&LAYERS=x",
                 "/wms/shut?REQUEST=GetLegendGraphic&LAYER=latitude",
                 f"/wms/shut?{query.replace('GetMap', 'GetFeatureInfo')}&QUERY_LAYERS=latitude&I=1&J=1",
                 "/wcs/shut?REQUEST=GetCapabilities", "/wcs/shut?REQUEST=DescribeCoverage&COVERAGE=latitude",
                 f"/wcs/shut?{query.replace('GetMap', 'GetCoverage')}&COVERAGE=latitude",
                 "/wmts/shut?REQUEST=GetCapabilities", "/wmts/shut/1.0.0/WMTSCapabilities.xml",
                 "/wmts/shut?REQUEST=GetTile&LAYER=latitude&TILEMATRIXSET=MarsGeographic&TILEMATRIX=0&TILEROW=0&TILECOL=0",
                 "/wmts/shut/1.0.0/latitude/default/MarsGeographic/0/0/0.png"):  # fmt: skip
        assert client.get(path).status == client.get(path.replace("shut", "nothing")).status == 404
    assert client.get("/maps/Mars/value?LAYER=shut/latitude&LON=1&LAT=2").status == 404
    assert "shut" not in client.get("/maps/Mars.json").text


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("CRS=IAU_2015:49900&BBOX=-180,0,180,90", "", "latitude, longitude (east)"),
        ("CRS=IAU_2015:49900&BBOX=nan,0,1,1", "", "does not describe a box"),
        (f"{INFO}&QUERY_LAYERS=x&I=0&J=0", "LayerNotDefined", "latitude"),
        (f"{INFO}&QUERY_LAYERS=latitude&I=9&J=0", "InvalidPoint", "outside the map"),
        (f"{INFO}&QUERY_LAYERS=latitude&I=0&J=0&INFO_FORMAT=text/html", "InvalidFormat", "text/plain"),
        ("CRS=EPSG:32632&BBOX=0,0,1,1", "InvalidCRS", "EPSG:32632"),
        ("CRS=IAU_2015:30100&BBOX=0,0,1,1", "InvalidCRS", "Moon"),
        ("CRS=IAU_2015:49900&BBOX=0,0,1,1&WIDTH=65536", "", "cannot be drawn"),
        ("CRS=IAU_2015:49900&BBOX=0,0,1,1&STYLES=nice", "StyleNotDefined", "nice"),
        ("CRS=IAU_2015:49900&BBOX=0,0,1,1&LAYERS=x", "LayerNotDefined", "latitude"),
        ("CRS=IAU_2015:49900&BBOX=0,0,1,1&FORMAT=image/gif", "InvalidFormat", "gif"),
    ],
)
def test_wrong_requests_are_refused_with_a_reason(client: Client, query: str, code: str, words: str) -> None:
    defaults = {"LAYERS": "latitude", "WIDTH": "9", "HEIGHT": "9"}
    more = "&".join(f"{name}={value}" for name, value in defaults.items() if f"{name}=" not in query)
    operation = "" if "REQUEST=" in query else "&REQUEST=GetMap"
    answer = client.get(f"/wms/psup?VERSION=1.3.0{operation}&{query}&{more}")
    assert answer.status == 400
    assert answer.headers["content-type"].startswith("text/xml")
    assert f'code="{code}"' in answer.text or not code
    assert words in answer.text


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_all_errors_of_a_request_are_told(client: Client, version: str) -> None:
    frame = "SRS" if version == "1.1.1" else "CRS"
    query = f"VERSION={version}&REQUEST=GetMap&{frame}=IAU_2015:49900&BBOX=0,0,1,1&HEIGHT=9"
    wrong = "&LAYERS=latitude,x&STYLES=nice&WIDTH=65536&FORMAT=image/gif"
    answer = client.get(f"/wms/psup?{query}{wrong}")
    assert answer.status == 400
    errors = [element for element in ET.fromstring(answer.text).iter() if element.tag.endswith("ServiceException")]
    assert [error.get("code") for error in errors] == ["LayerNotDefined", "StyleNotDefined", "InvalidFormat", None]
    for error, word in zip(errors, ("'x'", "nice", "gif", "65536"), strict=True):
        assert word in str(error.text)
    assert client.get(f"/wms/shut?{query}{wrong}").status == 404, "strangers learn nothing of a private collection"


def test_capabilities_name_layers_and_frames(client: Client) -> None:
    for version, tag in (("1.3.0", "CRS"), ("1.1.1", "SRS")):
        text = client.get(f"/wms/psup?SERVICE=WMS&REQUEST=GetCapabilities&VERSION={version}").text
        assert f'version="{version}"' in text
        assert f"<{tag}>IAU_2015:49930</{tag}>" in text
        assert "<Name>latitude</Name>" in text


def test_the_old_address_of_a_map_server_answers_literally(client: Client) -> None:
    """What CNES's Mizar sends to Mars Visu: lower-case values, a key twice, a foreign key, a frame of the Earth."""
    query = (
        f"map={MAP_FILE}&service=wms&version=1.3.0&request=getMap&layers=latitude&styles="
        "&format=image/png&transparent=false&width=256&height=256&transparent=false&crs=CRS:84&bbox=90,0,180,90"
    )
    answer = client.get(f"/cgi-bin/mapserv?{query}")
    assert answer.status == 200, answer.text
    picture = np.asarray(Image.open(io.BytesIO(answer.body)).convert("RGB")).astype(int)
    assert picture.shape == (256, 256, 3)
    centres = 90 - (np.arange(256) + 0.5) * 90 / 256
    assert np.abs(picture[:, 100, 0] - to_grey(centres)).max() <= 1.5
    capabilities = f"map={MAP_FILE}&service=WMS&request=getCapabilities&version=1.3.0"
    assert "<Name>latitude</Name>" in client.get(f"/cgi-bin/mapserv?{capabilities}").text


def test_values_at_a_pixel(client: Client) -> None:
    query = f"{INFO}&WIDTH=9&HEIGHT=9&LAYERS=latitude&QUERY_LAYERS=latitude,turned"
    text = client.get(f"/wms/psup?VERSION=1.3.0&{query}&I=2&J=1&INFO_FORMAT=text/plain").text
    assert text == "latitude: 7.5 deg\nturned: 2.5\n"
    old = query.replace("CRS", "SRS").replace("0,0,9,9", "190,-9,199,0")
    answer = client.get(f"/wms/psup?VERSION=1.1.1&{old}&X=3&Y=0&INFO_FORMAT=application/json").text
    place = json.loads(answer)
    assert (place["lon"], place["lat"]) == (193.5, -0.5)
    assert [entry["value"] for entry in place["values"]] == [-0.5, 193.5]


def test_legends_show_the_scale(client: Client) -> None:
    document = json.loads(client.get("/maps/Mars.json").text)
    url = document["layers"][0]["legend_url"].removeprefix("https://vo.example")
    picture = np.asarray(Image.open(io.BytesIO(client.get(url).body)).convert("RGB")).astype(int)
    assert (picture[5, 0, 0], picture[5, -1, 0]) == (0, 255)
    assert np.abs(picture[5, :, 0] - np.arange(256)).max() <= 1


def test_tiles_by_parameters_are_those_by_path(client: Client) -> None:
    text = client.get("/wmts/psup?SERVICE=WMTS&REQUEST=GetCapabilities").text
    assert text == client.get("/wmts/psup/1.0.0/WMTSCapabilities.xml").text
    document = ET.fromstring(text)
    names = {"": "http://www.opengis.net/wmts/1.0", "ows": "http://www.opengis.net/ows/1.1"}
    template = document.find("Contents/Layer/ResourceURL", names).get("template")  # type: ignore[union-attr]
    tile = {"TileMatrixSet": "MarsGeographic", "TileMatrix": "1", "TileRow": "0", "TileCol": "3"}
    by_path = client.get(str(template).removeprefix("https://vo.example").format(**tile))
    query = "SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0&LAYER=latitude&STYLE=default&FORMAT=image/png&TILEMATRIXSET="
    by_parameters = client.get(f"/wmts/psup?{query}MarsGeographic&TILEMATRIX=1&TILEROW=0&TILECOL=3")
    assert by_path.body == by_parameters.body
    corners = {
        matrix_set.findtext("ows:Identifier", "", names): matrix_set.findtext("TileMatrix/TopLeftCorner", "", names)
        for matrix_set in document.iterfind("Contents/TileMatrixSet", names)
    }
    assert corners["MarsGeographic"] == "90.0 -180.0", "the order of IAU_2015:49900"
    x, y = map(float, corners["MarsEquirectangular"].split())
    assert (x, y) == pytest.approx((-math.pi * 3_396_190, math.pi / 2 * 3_396_190))
    tile["TileMatrixSet"] = "MarsEquirectangular"
    in_metres = client.get(str(template).removeprefix("https://vo.example").format(**tile))
    assert in_metres.body == by_path.body, "the same tile"
    for matrix_set in document.findall("Contents/TileMatrixSet", names)[:2]:
        scale = float(matrix_set.findtext("TileMatrix/ScaleDenominator", "", names))
        assert scale == pytest.approx(148_848_291.77, abs=0.01)


@pytest.mark.parametrize(
    ("tile", "code", "locator"),
    [
        ("TILEMATRIX=0&TILEROW=1&TILECOL=0", "TileOutOfRange", "TILEROW"),
        ("TILEMATRIX=99999&TILEROW=99999&TILECOL=99999", "TileOutOfRange", "TILEROW"),
        ("TILEMATRIX=0&TILECOL=0", "MissingParameterValue", "TILEROW"),
        ("TILEMATRIX=x&TILEROW=0&TILECOL=0", "InvalidParameterValue", "TILEMATRIX"),
    ],
)
def test_wrong_tiles_are_refused_with_a_reason(client: Client, tile: str, code: str, locator: str) -> None:
    answer = client.get(f"/wmts/psup?REQUEST=GetTile&LAYER=latitude&TILEMATRIXSET=MarsGeographic&{tile}")
    assert answer.status == 400
    assert f'exceptionCode="{code}" locator="{locator}"' in answer.text


def test_wrong_paths_of_tiles_have_the_codes_of_wrong_parameters(client: Client) -> None:
    path = "/wmts/psup/1.0.0/{}/default/{}/0/{}/0.png"
    for layer, set_name, row, code, locator in (
        ("latitude", "MarsGeographic", 9, "TileOutOfRange", "TILEROW"),
        ("x", "MarsGeographic", 0, "InvalidParameterValue", "LAYER"),
        ("latitude", "MarsMercator", 0, "InvalidParameterValue", "TILEMATRIXSET"),
    ):
        answer = client.get(path.format(layer, set_name, row))
        assert answer.status == 400
        assert f'exceptionCode="{code}" locator="{locator}"' in answer.text


def test_a_raster_that_changes_is_read_again_or_refused(directory: Path) -> None:
    """Nothing of the earlier raster is kept."""
    path = directory / "collections/psup/maps/latitude.tif"
    layer_path = directory / "changed.tif"
    layer = MapLayer(name="x", title="x", files={"": "changed.tif"}, place=TextPlace())
    raster = LayerRaster(layer, layer_path, directory)
    layer_path.write_bytes(path.read_bytes())
    assert raster.read_info().width == 360
    write_raster(layer_path, np.zeros((90, 180)), -180)
    assert raster.read_info().width == 180
    layer_path.write_bytes(b"II*\0 no raster")
    with pytest.raises(SourceError, match="cannot be read"):
        raster.read_info()


def test_check_tells_of_rasters_without_a_frame(directory: Path, tmp_path: Path) -> None:
    folder = tmp_path / "collections/bare"
    (folder / "maps").mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(folder / "maps/bare.png")
    (folder / "bare.yaml").write_text('collection: bare\ntitle: Bare\nfiles: "maps/*"\nlayers: {bare: maps/bare.png}\n')
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    faults = [str(fault) for fault in check_descriptor(folder / "bare.yaml", load_settings(tmp_path))]
    assert any("the raster bare.png has no frame" in fault for fault in faults)
