"""Values in a box by WCS 2.0.1: pixels as they are, subsets, frames, scaling, FITS, and errors by their codes."""

from __future__ import annotations

import io
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits
from astropy.wcs import WCS
from rasterio.io import MemoryFile

GET = "/wcs/psup?SERVICE=WCS&VERSION=2.0.1&REQUEST=GetCoverage&COVERAGEID=latitude"
OLD_GET = "/wcs/psup?SERVICE=WCS&VERSION=1.0.0&REQUEST=GetCoverage&COVERAGE=latitude"
NAMES = {
    "wcs": "http://www.opengis.net/wcs/2.0",
    "ows": "http://www.opengis.net/ows/2.0",
    "gml": "http://www.opengis.net/gml/3.2",
    "crs": "http://www.opengis.net/wcs/service-extension/crs/1.0",
}
SPHERE = "http://www.opengis.net/def/crs/IAU/2015/49900"
NORTH = "http://www.opengis.net/def/crs/IAU/2015/49930"


def read_tiff(client: Client, query: str) -> tuple[np.ndarray, tuple[float, ...]]:
    answer = client.get(f"{GET}&{query}")
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "image/tiff"
    with MemoryFile(answer.body) as memory, memory.open() as dataset:
        return dataset.read(1), tuple(dataset.bounds)


def test_a_coverage_has_the_pixels_of_its_raster(client: Client) -> None:
    values, bounds = read_tiff(client, "FORMAT=image/tiff")
    assert bounds == (-180, -90, 180, 90)
    assert (values == np.repeat(89.5 - np.arange(180)[:, None], 360, axis=1)).all()


def test_subsets_are_pixels_whose_centres_are_inside(client: Client) -> None:
    values, bounds = read_tiff(client, "SUBSET=Lat(10,20)&SUBSET=Lon(-5.2,7.9)")
    assert bounds == (-5, 10, 8, 20)
    assert values[:, 0].tolist() == [19.5 - step for step in range(10)]
    assert values.shape == (10, 13)
    again = read_tiff(client, f"subset=Long,{SPHERE}(-5.2,7.9)&subset=latitude(10,20)")
    assert (again[0] == values).all()
    whole, bounds = read_tiff(client, "SUBSET=Lat(80,*)")
    assert whole.shape == (10, 360)
    row, bounds = read_tiff(client, "SUBSET=Lat(12.4)")
    assert (row == 12.5).all()
    assert bounds == (-180, 12, 180, 13)


def test_coverages_change_frames_and_sizes(client: Client) -> None:
    values, bounds = read_tiff(client, f"SUBSET=Lat(70,90)&OUTPUTCRS={NORTH}&SCALESIZE=E(64),N(64)")
    assert values.shape == (64, 64)
    assert bounds[0] == -bounds[2] == bounds[1]
    assert values[31:33, 31:33].min() > 89
    box = "SUBSET=E(-500000,500000)&SUBSET=N(-500000,500000)"
    polar, bounds = read_tiff(client, f"{box}&SUBSETTINGCRS={NORTH}&SCALEFACTOR=0.5")
    assert bounds == (-500_000, -500_000, 500_000, 500_000)
    assert polar.shape == (8, 8), "half of the pixels of 59 km"
    _, bounds = read_tiff(client, f"{box}&SUBSETTINGCRS={NORTH}&OUTPUTCRS={SPHERE}")
    assert bounds[1] == pytest.approx(78.1, abs=0.5)
    for query, shape in (
        ("SCALEAXES=Lat(0.5),Lon(0.25)", (90, 90)),
        ("SCALESIZE=Lat(20),Lon(30)", (20, 30)),
        ("SCALEEXTENT=Lat(0:9),Lon(10:14)", (10, 5)),
        ("SCALEFACTOR=2&SUBSET=Lat(0,1)", (2, 720)),
    ):
        assert read_tiff(client, query)[0].shape == shape


@pytest.mark.parametrize(
    ("query", "projection"),
    [
        (f"{GET}&SUBSET=Lat(10,20)&SUBSET=Lon(-5,8)", "CAR"),
        (f"{GET}&SUBSET=Lat(60,90)&OUTPUTCRS={NORTH}", "STG"),
        (f"{OLD_GET}&CRS=IAU_2015:49930&BBOX=-900000,-900000,900000,900000&WIDTH=20&HEIGHT=20", "STG"),
    ],
)
def test_fits_files_find_their_places_again(client: Client, query: str, projection: str) -> None:
    answer = client.get(f"{query}&FORMAT=application/fits")
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "application/fits"
    with fits.open(io.BytesIO(answer.body)) as file:
        header, values = file[0].header, file[0].data
        lat = WCS(header).pixel_to_world_values(*np.meshgrid(*(np.arange(n) for n in values.shape[::-1])))[1]
    assert (header["CTYPE1"], header["OBJECT"], header["A_RADIUS"]) == (f"MALN-{projection}", "Mars", 3_396_190)
    assert header["BUNIT"] == "deg"
    has_data = np.isfinite(values)
    assert has_data.any()
    assert np.abs(values - lat)[has_data].max() <= 0.6


def test_documents_describe_the_coverages(client: Client) -> None:
    for version in ("", "&VERSION=2.0.1", "&ACCEPTVERSIONS=2.0.1,1.0.0", "&version=2.0.0"):
        answer = client.get(f"/wcs/psup?SERVICE=WCS&REQUEST=GetCapabilities{version}")
        capabilities = ET.fromstring(answer.text)
        assert capabilities.get("version") == "2.0.1"
    path = "wcs:Contents/wcs:CoverageSummary/wcs:CoverageId"
    assert [item.text for item in capabilities.iterfind(path, NAMES)] == ["latitude", "turned"]
    assert SPHERE in [item.text for item in capabilities.iterfind(".//crs:crsSupported", NAMES)]
    old = client.get("/wcs/psup?SERVICE=WCS&REQUEST=GetCapabilities&ACCEPTVERSIONS=1.0.0")
    assert 'version="1.0.0"' in old.text
    answer = client.get("/wcs/psup?SERVICE=WCS&VERSION=2.0.1&REQUEST=DescribeCoverage&COVERAGEID=turned,latitude")
    descriptions = ET.fromstring(answer.text)
    ids = [item.text for item in descriptions.iterfind("wcs:CoverageDescription/wcs:CoverageId", NAMES)]
    assert ids == ["turned", "latitude"]
    turned = descriptions[0]
    envelope = turned.find("gml:boundedBy/gml:Envelope", NAMES)
    assert envelope is not None
    assert (envelope.get("srsName"), envelope.get("axisLabels")) == (SPHERE, "Lat Lon")
    assert turned.findtext(".//gml:lowerCorner", "", NAMES) == "-90.0 0.0", "the raster begins at 0"
    assert turned.findtext(".//gml:pos", "", NAMES) == "89.5 0.5"
    assert [vector.text for vector in turned.iterfind(".//gml:offsetVector", NAMES)] == ["0.0 1.0", "-1.0 0.0"]


@pytest.mark.parametrize(
    ("query", "status", "code", "locator", "words"),
    [
        ("REQUEST=GetCoverage&COVERAGEID=x", 404, "NoSuchCoverage", "COVERAGEID", "latitude"),
        ("REQUEST=GetCoverage", 400, "MissingParameterValue", "COVERAGEID", "COVERAGEID is missing"),
        ("REQUEST=DescribeCoverage", 404, "emptyCoverageIdList", "COVERAGEID", "missing"),
        ("REQUEST=Transaction", 501, "OperationNotSupported", "REQUEST", "Transaction"),
        ("REQUEST=GetCoverage&REQUEST=DescribeCoverage", 400, "InvalidParameterValue", "REQUEST", "REQUEST"),
        ("SUBSET=Lat(91,92)&SUBSET=Long(1,2)", 404, "InvalidSubsetting", "SUBSET", "from -90 to 90"),
        ("SUBSET=Height(1,2)", 404, "InvalidAxisLabel", "SUBSET", "Lat or Lon"),
        ("SUBSET=Lat(1,2)&SUBSET=Lat(3,4)", 404, "InvalidAxisLabel", "SUBSET", "two subsets"),
        ("SUBSET=Lat(91,92)", 404, "InvalidSubsetting", "SUBSET", "from -90 to 90"),
        ("SUBSET=Lat(20,10)", 404, "InvalidSubsetting", "SUBSET", "interval"),
        ("SUBSET=Lat(nan,10)", 404, "InvalidSubsetting", "SUBSET", "interval"),
        ("SUBSET=Lat", 404, "InvalidSubsetting", "SUBSET", "cannot be read"),
        ("SUBSET=Lat(1,2)&SUBSETTINGCRS=EPSG:32632", 404, "SubsettingCrs-NotSupported", "SUBSETTINGCRS", "32632"),
        ("OUTPUTCRS=IAU_2015:30100", 404, "OutputCrs-NotSupported", "OUTPUTCRS", "Moon"),
        ("OUTPUTCRS=IAU_2015:49901", 400, "InvalidParameterValue", "CRS", "GeoTIFF cannot represent"),
        ("SCALEFACTOR=0", 404, "InvalidScaleFactor", "SCALEFACTOR", "positive"),
        ("SCALEAXES=Lat(-1)", 404, "InvalidScaleFactor", "SCALEAXES", "half the size"),
        ("SCALESIZE=Lat(0)", 400, "InvalidParameterValue", "SCALESIZE", "how many pixels"),
        ("SCALEEXTENT=Lat(10:3)", 400, "InvalidParameterValue", "SCALEEXTENT", "how many pixels"),
        ("SCALEFACTOR=1e300", 400, "InvalidParameterValue", "SCALESIZE", "pixels"),
        ("SCALEFACTOR=2&SCALESIZE=Lat(1)", 400, "InvalidParameterValue", "SCALESIZE", "cannot be combined"),
        ("SCALESIZE=Lat(many)", 400, "InvalidParameterValue", "SCALESIZE", "number"),
        ("FORMAT=image/gif", 400, "InvalidParameterValue", "FORMAT", "image/tiff"),
        ("MEDIATYPE=multipart/related", 400, "InvalidParameterValue", "MEDIATYPE", "one file"),
    ],
)
def test_wrong_requests_have_the_codes_of_the_standard(
    client: Client, query: str, status: int, code: str, locator: str, words: str
) -> None:
    request = query if "REQUEST=" in query else f"REQUEST=GetCoverage&COVERAGEID=latitude&{query}"
    answer = client.get(f"/wcs/psup?SERVICE=WCS&VERSION=2.0.1&{request}")
    assert answer.status == status
    report = ET.fromstring(answer.text)
    assert (report.tag, report.get("version")) == (f"{{{NAMES['ows']}}}ExceptionReport", "2.0.1")
    error = report.find("ows:Exception", NAMES)
    assert error is not None
    assert (error.get("exceptionCode"), error.get("locator")) == (code, locator)
    assert words in error.findtext("ows:ExceptionText", "", NAMES)


def test_strangers_know_of_no_private_coverage(client: Client) -> None:
    for query in ("GetCapabilities", "DescribeCoverage&COVERAGEID=latitude", "GetCoverage&COVERAGEID=latitude"):
        path = f"/wcs/shut?SERVICE=WCS&VERSION=2.0.1&REQUEST={query}"
        assert client.get(path).status == client.get(path.replace("shut", "nothing")).status == 404
