"""Documents of WMS, WMTS and WCS, by the OGC's schemas."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from asgi_client import Client

sys.path.insert(0, str(Path(__file__).parent))

from ogc_schemas import validate_documents

pytestmark = [pytest.mark.outside, pytest.mark.needs("HVEN_OGC_SCHEMAS", "xmllint")]
WMS = ("http://www.opengis.net/wms", "wms/1.3.0/capabilities_1_3_0.xsd")
OGC = ("http://www.opengis.net/ogc", "wms/1.3.0/exceptions_1_3_0.xsd")
WMTS = ("http://www.opengis.net/wmts/1.0", "wmts/1.0/wmts.xsd")
OWS = ("http://www.opengis.net/ows/1.1", "ows/1.1.0/owsAll.xsd")
WCS = ("http://www.opengis.net/wcs/2.0", "wcs/2.0/wcsAll.xsd")
OWS_2 = ("http://www.opengis.net/ows/2.0", "ows/2.0/owsAll.xsd")
OLD_WCS = ("http://www.opengis.net/wcs", "wcs/1.0.0/wcsAll.xsd")


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        (WMS, ["/wms/psup?SERVICE=WMS&REQUEST=GetCapabilities"]),
        (OGC, ["/wms/psup?SERVICE=WMS&REQUEST=GetMap&LAYERS=nothing", "/wms/psup"]),
        (WMTS, ["/wmts/psup/1.0.0/WMTSCapabilities.xml"]),
        (OWS, ["/wmts/psup?SERVICE=WMTS&REQUEST=GetTile"]),
        (WCS, ["/wcs/psup?REQUEST=GetCapabilities", "/wcs/psup?VERSION=2.0.1&REQUEST=DescribeCoverage&COVERAGEID=turned"]),
        (OWS_2, ["/wcs/psup?VERSION=2.0.1&REQUEST=GetCoverage&COVERAGEID=nothing"]),
        # the schema of DescribeCoverage has names of XML for formats, which no media type is
        (OLD_WCS, ["/wcs/psup?VERSION=1.0.0&REQUEST=GetCapabilities"]),
    ],
)  # fmt: skip
def test_documents_are_valid(client: Client, schema: tuple[str, str], paths: list[str], tmp_path: Path) -> None:
    validate_documents([client.get(path).body for path in paths], [schema], tmp_path)
