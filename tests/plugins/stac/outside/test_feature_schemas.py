"""Documents of WFS 1.0.0 and 2.0.0, by the OGC's schemas and by the schema that the service describes."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from asgi_client import Client

sys.path.insert(0, str(Path(__file__).parents[2] / "maps" / "outside"))

from ogc_schemas import validate_documents

pytestmark = [pytest.mark.outside, pytest.mark.needs("HVEN_OGC_SCHEMAS", "xmllint")]
TYPE, SKY = "mars.epn_core", "sky.observations"
WFS = {
    "1.0.0": [("http://www.opengis.net/wfs", "wfs/1.0.0/WFS-capabilities.xsd")],
    "2.0.0": [("http://www.opengis.net/wfs/2.0", "wfs/2.0/wfs.xsd")],
}
ERRORS = {
    "1.0.0": [("http://www.opengis.net/ogc", "wfs/1.0.0/OGC-exception.xsd")],
    "2.0.0": [("http://www.opengis.net/ows/1.1", "ows/1.1.0/owsAll.xsd")],
}


def read(client: Client, version: str, **params: str) -> bytes:
    """Read a document with a longer name of the frame: xmllint takes the `_` in IAU_2015 for a fault of an address."""
    body = client.get("/wfs", SERVICE="WFS", VERSION=version, **params).body
    return body.replace(b"IAU_2015:49900", b"urn:ogc:def:crs:IAU_2015::49900")


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
def test_documents_are_valid(client: Client, version: str, tmp_path: Path) -> None:
    documents = [read(client, version, REQUEST="GetCapabilities")]
    if version == "2.0.0":
        documents += [read(client, version, REQUEST=f"{name}StoredQueries") for name in ("List", "Describe")]
    validate_documents(documents, WFS[version], tmp_path)
    validate_documents([read(client, version, REQUEST="x")], ERRORS[version], tmp_path)


def test_features_are_valid(client: Client, tmp_path: Path) -> None:
    """Geometries of all kinds, and the properties, by the schema of DescribeFeatureType."""
    version = "2.0.0"
    schema = tmp_path / "features.xsd"
    schema.write_bytes(read(client, version, REQUEST="DescribeFeatureType", TYPENAME=f"{TYPE},{SKY}"))
    namespace = ET.parse(schema).getroot().get("targetNamespace", "")
    several = {"TYPENAMES": f"({TYPE})({SKY})", "COUNT": "250"}
    urn = {"TYPENAMES": TYPE, "SRSNAME": "urn:ogc:def:crs:IAU:2015:49900", "COUNT": "3"}
    features = [read(client, version, REQUEST="GetFeature", **params) for params in ({"TYPENAMES": TYPE}, several, urn)]
    validate_documents(features, [*WFS[version], (namespace, str(schema))], tmp_path)
