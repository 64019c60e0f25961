"""WFS 1.0.0 and 2.0.0: the same features as STAC, in GML and GeoJSON."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest
from asgi_client import Answer, Client
from granule_rows import ROWS, SPECIAL

from hven.plugins.stac.wfs_filters import decode_feature_id

GML = "{http://www.opengis.net/gml/3.2}"
GML2 = "{http://www.opengis.net/gml}"
WFS = "{http://www.opengis.net/wfs/2.0}"
TYPE = "mars.epn_core"


def get_xml(client: Client, status: int = 200, **params: object) -> ET.Element:
    answer = client.get("/wfs", SERVICE="WFS", **params)
    assert answer.status == status, answer.text
    return ET.fromstring(answer.text)


def get_ids(client: Client, **params: object) -> list[str]:
    answer = client.get(
        "/wfs", SERVICE="WFS", REQUEST="GetFeature", TYPENAMES=f"f:{TYPE}", OUTPUTFORMAT="json", **params
    )
    assert answer.status == 200, answer.text
    return [feature["id"].removeprefix(f"{TYPE}.") for feature in json.loads(answer.body)["features"]]


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
def test_capabilities_and_schema(client: Client, version: str) -> None:
    capabilities = get_xml(client, REQUEST="GetCapabilities", VERSION=version)
    assert capabilities.get("version") == version
    text = ET.tostring(capabilities, encoding="unicode")
    assert f"f:{TYPE}" in text
    assert "secret" not in text
    schema = get_xml(client, REQUEST="DescribeFeatureType", VERSION=version, TYPENAME=TYPE)
    assert [element.get("name") for element in schema.iter() if element.get("name") == "c1min"] == ["c1min"]


def test_gml3(client: Client) -> None:
    query = {"REQUEST": "GetFeature", "VERSION": "2.0.0", "TYPENAMES": f"f:{TYPE}", "COUNT": 500}
    found = get_xml(client, **query, SRSNAME="urn:ogc:def:crs:IAU:2015:49900")
    assert found.get("numberMatched") == found.get("numberReturned") == str(ROWS + len(SPECIAL))
    ids = [element.get(f"{GML}id") for element in found.iter() if element.get(f"{GML}id")]
    assert len(ids) == len(set(ids))
    features = {member[0].get(f"{GML}id"): member[0] for member in found.iter(f"{WFS}member")}
    positions = features[f"{TYPE}.over_20180"].findall(f".//{GML}posList")
    assert len(positions) == 2
    numbers = [float(word) for word in (positions[0].text or "").split()]
    assert sorted(set(numbers)) == [10, 20, 170, 180]
    assert max(numbers[::2]) == 20  # latitudes come first in frames of the IAU
    assert features[f"{TYPE}.point"].find(f".//{GML}pos").text == "3 40"
    for name in ({}, {"SRSNAME": "IAU_2015:49900"}, {"SRSNAME": "urn:ogc:def:crs:OGC:1.3:CRS84"}):
        found = get_xml(client, **query, **name)
        point = next(element for element in found.iter(f"{GML}Point") if "point" in element.get(f"{GML}id", ""))
        assert point.get("srsName") == name.get("SRSNAME", "IAU_2015:49900")
        assert point[0].text == "40 3", "GDAL and QGIS take the longitude first for frames that are not of EPSG"


def test_gml2(client: Client) -> None:
    found = get_xml(client, REQUEST="getFeature", VERSION="1.0.0", typeName=TYPE, maxFeatures=3)
    assert len(found.findall(f"{GML2}featureMember")) == 3
    coordinates = found.find(f".//{GML2}coordinates")
    assert coordinates is not None
    assert (coordinates.text or "").split()[0] == "10,-5"


def test_pages_and_hits(client: Client) -> None:
    ids = [item_id for start in range(0, 210, 70) for item_id in get_ids(client, COUNT=70, STARTINDEX=start)]
    assert len(set(ids)) == len(ids) == ROWS + len(SPECIAL)
    hits = get_xml(client, REQUEST="GetFeature", VERSION="2.0.0", TYPENAMES=TYPE, RESULTTYPE="hits")
    assert (hits.get("numberMatched"), hits.get("numberReturned")) == (str(len(ids)), "0")


def test_stored_query(client: Client) -> None:
    query = "urn:ogc:def:query:OGC-WFS::GetFeatureById"
    for item_id in ("g0003", "a_20b_3Ac_2Fd"):
        feature = get_xml(client, REQUEST="GetFeature", VERSION="2.0.0", STOREDQUERY_ID=query, ID=f"{TYPE}.{item_id}")
        assert feature.get(f"{GML}id") == f"{TYPE}.{item_id}"
    assert get_xml(client, REQUEST="ListStoredQueries", VERSION="2.0.0")[0].get("id") == query


def test_boxes(client: Client) -> None:
    stac = json.loads(client.get(f"/stac/collections/{TYPE}/items", bbox="-40,-30,40,30", limit=1000).body)
    wanted = len(stac["features"])
    assert wanted > 10
    assert len(get_ids(client, BBOX="-40,-30,40,30")) == wanted
    for frame in ("urn:ogc:def:crs:IAU:2015:49900", "http://www.opengis.net/def/crs/IAU/2015/49900"):
        assert len(get_ids(client, BBOX=f"-30,-40,30,40,{frame}")) == wanted
        assert len(get_ids(client, BBOX="-30,-40,30,40", SRSNAME=frame)) == wanted
    assert len(get_ids(client, BBOX="-40,-30,40,30,CRS:84")) == wanted
    assert len(get_ids(client, BBOX="-40,-30,40,30", VERSION="1.0.0")) == wanted


FES = (
    '<fes:Filter xmlns:fes="http://www.opengis.net/fes/2.0" xmlns:gml="http://www.opengis.net/gml/3.2">{}</fes:Filter>'
)
EQUAL = (
    "<fes:PropertyIs{0}><fes:ValueReference>{1}</fes:ValueReference><fes:Literal>{2}</fes:Literal></fes:PropertyIs{0}>"
)


@pytest.mark.parametrize(
    ("content", "cql2"),
    [
        (EQUAL.format("EqualTo", "instrument_name", "OMEGA"), "instrument_name = 'OMEGA'"),
        (f"<fes:And>{EQUAL.format('GreaterThan', 'processing_level', 2)}{EQUAL.format('NotEqualTo', 'instrument_name', 'HRSC')}</fes:And>", "processing_level > 2 AND instrument_name <> 'HRSC'"),
        (f"<fes:Not>{EQUAL.format('LessThanOrEqualTo', 'incidence_min', 40.5)}</fes:Not>", "NOT incidence_min <= 40.5"),
        (f"<fes:Or>{EQUAL.format('EqualTo', 'processing_level', 1)}<fes:PropertyIsNull><fes:ValueReference>target_name</fes:ValueReference></fes:PropertyIsNull></fes:Or>", "processing_level = 1 OR target_name IS NULL"),
        ('<fes:PropertyIsLike wildCard="*" singleChar="?" escapeChar="!"><fes:ValueReference>granule_uid</fes:ValueReference><fes:Literal>g00?1*</fes:Literal></fes:PropertyIsLike>', "granule_uid LIKE 'g00_1%'"),
        ('<fes:ResourceId rid="mars.epn_core.g0001"/><fes:ResourceId rid="mars.epn_core.over_20180"/>', "id IN ('g0001', 'over 180')"),
        ('<fes:BBOX><gml:Envelope srsName="CRS:84"><gml:lowerCorner>-40 -30</gml:lowerCorner><gml:upperCorner>40 30</gml:upperCorner></gml:Envelope></fes:BBOX>', "S_INTERSECTS(geometry, BBOX(-40,-30,40,30))"),
        ("<fes:PropertyIsBetween><fes:ValueReference>incidence_min</fes:ValueReference><fes:LowerBoundary><fes:Literal>10</fes:Literal></fes:LowerBoundary><fes:UpperBoundary><fes:Literal>20</fes:Literal></fes:UpperBoundary></fes:PropertyIsBetween>", "incidence_min BETWEEN 10 AND 20"),
    ],
)  # fmt: skip
def test_filters(client: Client, content: str, cql2: str) -> None:
    stac = json.loads(client.get(f"/stac/collections/{TYPE}/items", filter=cql2, limit=1000).body)
    ids = [feature["id"] for feature in stac["features"]]
    assert [decode_feature_id(text) for text in get_ids(client, FILTER=FES.format(content))] == ids
    assert ids


POST = (
    '<wfs:GetFeature service="WFS" version="2.0.0" outputFormat="application/json" count="500" {1} '
    'xmlns:wfs="http://www.opengis.net/wfs/2.0" xmlns:fes="http://www.opengis.net/fes/2.0" '
    'xmlns:gml="http://www.opengis.net/gml/3.2" xmlns:f="https://vo.example/wfs"><!-- a comment -->{0}</wfs:GetFeature>'
)
QUERY = f'<wfs:Query typeNames="f:{TYPE}">{{}}</wfs:Query>'
NOT_OMEGA = f"<fes:Filter><fes:Not>{EQUAL.format('EqualTo', 'f:instrument_name', 'OMEGA')}</fes:Not></fes:Filter>"
SORTED = (
    "<fes:SortBy><fes:SortProperty><fes:ValueReference>f:incidence_min</fes:ValueReference>"
    "<fes:SortOrder>DESC</fes:SortOrder></fes:SortProperty></fes:SortBy>"
)


def post_xml(client: Client, body: str) -> Answer:
    return client.ask("POST", "/wfs", body=body.encode(), headers={"content-type": "text/xml; charset=utf-8"})


def test_a_document_that_is_posted_is_answered_as_its_parameters_are(client: Client) -> None:
    box = (
        '<fes:Filter><fes:And><fes:BBOX><gml:Envelope srsName="CRS:84"><gml:lowerCorner>-90 -60</gml:lowerCorner>'
        "<gml:upperCorner>90 60</gml:upperCorner></gml:Envelope></fes:BBOX>"
        f"{EQUAL.format('GreaterThan', 'incidence_min', 20)}</fes:And></fes:Filter>"
    )
    for content in (NOT_OMEGA, box):
        answer = post_xml(client, POST.format(QUERY.format(content + SORTED), ""))
        assert answer.status == 200, answer.text
        ids = [feature["id"].removeprefix(f"{TYPE}.") for feature in json.loads(answer.body)["features"]]
        namespaces = 'xmlns:fes="http://www.opengis.net/fes/2.0" xmlns:gml="http://www.opengis.net/gml/3.2"'
        text = content.replace("<fes:Filter>", f"<fes:Filter {namespaces}>")
        assert ids == get_ids(client, FILTER=text, SORTBY="incidence_min DESC", COUNT=500)
        assert ids
    page = ET.fromstring(post_xml(client, POST.format(QUERY.format(NOT_OMEGA), "").replace(
        'outputFormat="application/json" count="500"', 'count="5" startIndex="5"')).text)  # fmt: skip
    assert page.get("numberReturned") == "5"
    following = client.get(f"/wfs{page.get('next', '').partition('/wfs')[2]}")
    assert ET.fromstring(following.text).get("numberReturned") == "5"
    hits = ET.fromstring(post_xml(client, POST.format(QUERY.format(""), 'resultType="hits"').replace(
        'outputFormat="application/json"', "")).text)  # fmt: skip
    assert hits.get("numberMatched") == str(ROWS + len(SPECIAL))


SKY = "sky.observations"


def test_several_queries_are_answered_in_their_order(client: Client) -> None:
    sky_query = f'<wfs:Query typeNames="f:{SKY}">{{}}</wfs:Query>'
    body = POST.format(sky_query.format("") + QUERY.format(NOT_OMEGA), "")
    ids = [feature["id"] for feature in json.loads(post_xml(client, body).body)["features"]]
    wanted = [f"{TYPE}.{item_id}" for item_id in get_ids(client, FILTER=FES.format(NOT_OMEGA[12:-13]), COUNT=500)]
    assert ids[12:] == wanted
    assert all(item_id.startswith(f"{SKY}.") for item_id in ids[:12])
    gml = ET.fromstring(post_xml(client, body.replace('outputFormat="application/json"', "")).text)
    parts = gml.findall(f"{WFS}member/{WFS}FeatureCollection")
    assert [part.get("numberReturned") for part in parts] == ["12", str(len(wanted))]
    assert gml.get("numberReturned") == gml.get("numberMatched") == str(12 + len(wanted))
    short = json.loads(post_xml(client, body.replace('count="500"', 'count="13"')).body)
    assert [feature["id"] for feature in short["features"]] == ids[:13]
    hits = body.replace('outputFormat="application/json"', 'resultType="hits"')
    assert ET.fromstring(post_xml(client, hits).text).get("numberMatched") == str(len(ids))
    literal = EQUAL.format("EqualTo", "f:instrument_name", "a)(b")
    conditions = f"({FES.format(literal)})()"
    params = {"SERVICE": "WFS", "VERSION": "2.0.0", "REQUEST": "GetFeature", "OUTPUTFORMAT": "json"}
    answer = client.get("/wfs", **params, TYPENAMES=f"({TYPE})(f:{SKY})", FILTER=conditions)
    assert [feature["id"] for feature in json.loads(answer.body)["features"]] == ids[:12]
    answer = client.get("/wfs", **params, TYPENAMES=f"({TYPE})(f:{SKY})", FILTER=f"({FES.format(literal)})")
    assert answer.status == 400
    old = client.get("/wfs", SERVICE="WFS", VERSION="1.0.0", REQUEST="GetFeature", TYPENAME=f"({SKY})({TYPE})")
    assert len(ET.fromstring(old.text).findall(f"{GML2}featureMember")) == 12 + ROWS + len(SPECIAL)


def test_other_documents_that_are_posted(client: Client) -> None:
    old = (
        '<GetFeature xmlns="http://www.opengis.net/wfs" xmlns:ogc="http://www.opengis.net/ogc" service="WFS" '
        f'version="1.0.0" maxFeatures="3"><Query typeName="{TYPE}"><ogc:PropertyName>granule_uid</ogc:PropertyName>'
        "<ogc:Filter><ogc:PropertyIsLessThan><ogc:PropertyName>incidence_min</ogc:PropertyName>"
        "<ogc:Literal>60</ogc:Literal></ogc:PropertyIsLessThan></ogc:Filter></Query></GetFeature>"
    )
    assert len(ET.fromstring(post_xml(client, old).text).findall(f"{GML2}featureMember")) == 3
    space = 'xmlns="http://www.opengis.net/wfs/2.0" service="WFS" version="2.0.0"'
    assert "ImplementsSimpleWFS" in post_xml(client, f"<GetCapabilities {space}/>").text
    described = post_xml(client, f"<DescribeFeatureType {space}><TypeName>f:{TYPE}</TypeName></DescribeFeatureType>")
    assert 'name="incidence_min"' in described.text
    stored = '<wfs:StoredQuery id="urn:ogc:def:query:OGC-WFS::GetFeatureById"><wfs:Parameter name="ID">'
    stored += f"{TYPE}.g0003</wfs:Parameter></wfs:StoredQuery>"
    body = POST.format(stored, "").replace('outputFormat="application/json"', "")
    assert ET.fromstring(post_xml(client, body).text).get(f"{GML}id") == f"{TYPE}.g0003"
    form = client.post("/wfs", REQUEST="GetFeature", TYPENAMES=TYPE, COUNT=2, OUTPUTFORMAT="json")
    assert len(json.loads(form.body)["features"]) == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("<GetFeature", 400),
        ('<!DOCTYPE a [<!ENTITY b "c">]><GetFeature>&b;</GetFeature>', 400),
        ("<Transaction/>", 400),
        (POST.format("", ""), 400),
        (POST.format(QUERY.format("") * 21, ""), 400),
        (POST.format(QUERY.format("") * 2, ""), 400),
        (POST.format(QUERY.format("") + QUERY.format("").replace(TYPE, "secret.epn_core"), ""), 404),
        (POST.format(QUERY.format("") * 2, 'startIndex="5"'), 400),
        (POST.format(QUERY.format("") + '<wfs:StoredQuery id="x"/>', ""), 400),
        (POST.format(QUERY.format("<fes:Join/>"), ""), 400),
        (POST.format(QUERY.format("<fes:Filter><fes:Touches/></fes:Filter>"), ""), 400),
        (
            POST.format(QUERY.format("<fes:Filter>" + "<fes:Not>" * 3000 + "</fes:Not>" * 3000 + "</fes:Filter>"), ""),
            413,
        ),
        (POST.format(QUERY.format("").replace(TYPE, "secret.epn_core"), ""), 404),
        (POST.format(QUERY.format("").replace(TYPE, "nothing.at_all"), ""), 404),
        ("<GetCapabilities>" + " " * 1024**2 + "</GetCapabilities>", 413),
    ],
)
def test_documents_with_faults(client: Client, body: str, status: int) -> None:
    answer = post_xml(client, body)
    assert answer.status == status, answer.text
    assert ET.fromstring(answer.text).tag.endswith("ExceptionReport")


@pytest.mark.parametrize(
    "params",
    [
        {}, {"REQUEST": "Nothing"}, {"REQUEST": "GetFeature"}, {"REQUEST": "GetFeature", "TYPENAMES": "nothing"}, {"REQUEST": "GetFeature", "TYPENAMES": "secret.epn_core"},
        {"REQUEST": "GetFeature", "TYPENAMES": TYPE, "COUNT": "x"}, {"REQUEST": "GetFeature", "TYPENAMES": TYPE, "BBOX": "nan,0,1,1"}, {"REQUEST": "GetFeature", "TYPENAMES": TYPE, "FILTER": "<a"},
        {"REQUEST": "GetFeature", "TYPENAMES": TYPE, "FILTER": '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'}, {"REQUEST": "GetFeature", "TYPENAMES": TYPE, "FILTER": FES.format("<fes:Touches/>")}, {"REQUEST": "GetFeature", "TYPENAMES": TYPE, "SRSNAME": "EPSG:3857"},
    ],
)  # fmt: skip
def test_faults(client: Client, params: dict[str, str]) -> None:
    for version, tag in (("1.0.0", "ServiceExceptionReport"), ("2.0.0", "ExceptionReport")):
        if version == "1.0.0" and "SRSNAME" in params:
            continue
        answer = client.get("/wfs", SERVICE="WFS", VERSION=version, **params)
        assert answer.status in {400, 404}, answer.text
        assert ET.fromstring(answer.text).tag.endswith(tag)
