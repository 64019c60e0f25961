"""What the TAP capability says, taken from the document and asked of the service: languages, features, functions, formats, limits."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from asgi_client import Client
from astropy.io.votable import parse
from lxml import etree

from hven.app._server import create_and_start_application
from hven.model.settings import QueryLimits
from hven.testing.site import open_tiny_site

V = {"v": "http://www.ivoa.net/xml/VOTable/v1.3"}
ROWS = 40
DEFAULT, HARD = 10, 25
FEATURES = "ivo://ivoa.net/std/"


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A site with small limits of rows."""
    limits = QueryLimits(maxrec_default=DEFAULT, maxrec_hard=HARD)
    table = pa.table(
        {"id": list(range(ROWS)), "ra": [1.0 * n for n in range(ROWS)], "dec": [0.5 * n for n in range(ROWS)]}
    )
    with open_tiny_site(tmp_path_factory.mktemp("narrow"), {"s.t": table}, limits=limits) as site:
        yield Client(create_and_start_application(site))


@pytest.fixture(scope="module")
def tap(narrow: Client) -> etree._Element:
    (found,) = etree.fromstring(narrow.get("/tap/capabilities").body).xpath(
        "capability[@standardID='ivo://ivoa.net/std/TAP']"
    )
    return found


def ask(client: Client, query: str, **params: object) -> list[list[object]]:
    answer = client.get("/tap/sync", LANG="ADQL", QUERY=query, **{"RESPONSEFORMAT": "json", **params})
    assert answer.status == 200, answer.text
    return list(json.loads(answer.body)["data"])


def forms(tap: etree._Element, kind: str) -> list[str]:
    found = [
        item
        for item in tap.iterfind("language/languageFeatures")
        if item.get("type").lower() == f"{FEATURES}tapregext#{kind}".lower()
    ]
    assert len(found) == 1, kind
    return [form.text for form in found[0].iterfind("feature/form")]


# --- limits


def test_output_limits_hold_in_every_format(narrow: Client, tap: etree._Element) -> None:
    default, hard = (int(tap.findtext(f"outputLimit/{name}")) for name in ("default", "hard"))
    assert (default, hard) == (DEFAULT, HARD)
    assert tap.find("outputLimit/default").get("unit") == tap.find("outputLimit/hard").get("unit") == "row"
    for form in tap.iterfind("outputFormat"):
        if "votable" not in form.findtext("mime"):
            continue
        for maxrec, rows in ((None, default), (7, 7), (hard, hard), (hard + 1, hard), (10**9, hard)):
            params = {} if maxrec is None else {"MAXREC": maxrec}
            body = narrow.get(
                "/tap/sync", LANG="ADQL", QUERY="SELECT * FROM s.t", RESPONSEFORMAT=form.findtext("mime"), **params
            ).body
            assert len(parse(io.BytesIO(body)).get_first_table().array) == rows
            infos = [
                item.get("value") for item in etree.fromstring(body).iterfind(".//v:INFO[@name='QUERY_STATUS']", V)
            ]
            assert infos == ["OK", "OVERFLOW"]
    for name in ("json", "csv", "tsv"):
        body = narrow.get("/tap/sync", LANG="ADQL", QUERY="SELECT id FROM s.t", RESPONSEFORMAT=name).body
        assert (len(json.loads(body)["data"]) if name == "json" else len(body.split()) - 1) == default


def test_execution_ends_at_its_limit(tmp_path: Path) -> None:
    table = pa.table({"ra": [1.0 * n for n in range(ROWS)]})
    with open_tiny_site(tmp_path, {"s.t": table}, limits=QueryLimits(seconds=2.5)) as site:
        hasty = Client(create_and_start_application(site))
        found = etree.fromstring(hasty.get("/tap/capabilities").body)
        default, hard = (int(found.findtext(f".//executionDuration/{name}")) for name in ("default", "hard"))
        assert 0 < default <= hard
        tables = ", ".join(f"s.t AS t{n}" for n in range(7))
        answer = hasty.get("/tap/sync", LANG="ADQL", QUERY=f"SELECT SUM(SIN(t0.ra + t1.ra * t2.ra)) FROM {tables}")
        assert answer.status in {408, 503, 504, 400}, answer.text
        assert "time limit" in answer.text
        endless = "WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a) SELECT MAX(n) AS m FROM a"
        assert "time limit" in hasty.get("/tap/sync", LANG="ADQL", QUERY=endless).text


# --- languages


def test_every_version_is_spoken_and_no_other(narrow: Client, tap: etree._Element) -> None:
    assert tap.findtext("language/name") == "ADQL"
    versions = [item.text for item in tap.iterfind("language/version")]
    assert versions == ["2.0", "2.1"]
    for version in versions:
        assert narrow.get("/tap/sync", LANG=f"ADQL-{version}", QUERY="SELECT TOP 1 id FROM s.t").status == 200
    assert narrow.get("/tap/sync", LANG="ADQL-3.0", QUERY="SELECT TOP 1 id FROM s.t").status == 400


USES = {
    "LOWER": ("SELECT LOWER('Ab')", "ab"),
    "UPPER": ("SELECT UPPER('Ab')", "AB"),
    "ILIKE": ("SELECT COUNT(*) FROM s.t WHERE 'NGC' ILIKE 'n%'", ROWS),
    "WITH": ("WITH q AS (SELECT id FROM s.t WHERE id < 3) SELECT COUNT(*) FROM q", 3),
    "UNION": ("SELECT COUNT(*) FROM (SELECT id FROM s.t UNION SELECT id FROM s.t) AS q", ROWS),
    "EXCEPT": ("SELECT COUNT(*) FROM (SELECT id FROM s.t EXCEPT SELECT id FROM s.t WHERE id > 3) AS q", 4),
    "INTERSECT": ("SELECT COUNT(*) FROM (SELECT id FROM s.t INTERSECT SELECT id FROM s.t WHERE id > 3) AS q", ROWS - 4),
    "CAST": ("SELECT CAST('12' AS INTEGER)", 12),
    "COALESCE": ("SELECT COALESCE(NULL, 5)", 5),
    "IN_UNIT": ("SELECT IN_UNIT(DISTANCE(0, 0, 0, 1), 'arcmin')", 60.0),
    "OFFSET": ("SELECT id FROM s.t ORDER BY id OFFSET 17", 17),
    "POINT": ("SELECT COORD1(POINT(3, 4))", 3.0),
    "CIRCLE": ("SELECT CONTAINS(POINT(3, 4), CIRCLE(3, 4, 1))", 1),
    "BOX": ("SELECT CONTAINS(POINT(3, 4), BOX(3, 4, 1, 1))", 1),
    "POLYGON": ("SELECT CONTAINS(POINT(3, 4), POLYGON(2, 3, 4, 3, 3, 6))", 1),
    "REGION": ("SELECT CONTAINS(POINT(3, 4), REGION('CIRCLE ICRS 3 4 1'))", 1),
    "AREA": ("SELECT AREA(POINT(1, 2))", 0.0),
    "CENTROID": ("SELECT COORD2(CENTROID(CIRCLE(3, 4, 1)))", 4.0),
    "COORD1": ("SELECT COORD1(POINT(3, 4))", 3.0),
    "COORD2": ("SELECT COORD2(POINT(3, 4))", 4.0),
    "COORDSYS": ("SELECT COORDSYS(POINT('ICRS', 3, 4))", "ICRS"),
    "DISTANCE": ("SELECT DISTANCE(POINT(0, 0), POINT(90, 0))", pytest.approx(90)),
    "CONTAINS": ("SELECT CONTAINS(POINT(3, 4), CIRCLE(5, 4, 1))", 0),
    "INTERSECTS": ("SELECT INTERSECTS(CIRCLE(3, 4, 1), CIRCLE(4, 4, 1))", 1),
}


def test_every_feature_is_there_and_every_one_is_tried(narrow: Client, tap: etree._Element) -> None:
    features = [item for item in tap.iterfind("language/languageFeatures") if not item.get("type").endswith("-udf")]
    declared = [form.text for item in features for form in item.iterfind("feature/form")]
    assert sorted(declared) == sorted(USES)
    for form in declared:
        query, value = USES[form]
        assert ask(narrow, query)[0][0] == value, form


SAMPLES = {
    "INTEGER": "1", "BIGINT": "1", "REAL": "0.5", "DOUBLE PRECISION": "0.5", "VARCHAR": "'a'", "TIMESTAMP": "'2020-01-01'", "POINT": "POINT(1, 2)",
    "REGION": "CIRCLE(1, 2, 3)", "CIRCLE": "CIRCLE(1, 2, 3)", "POLYGON": "POLYGON(1, 1, 3, 1, 2, 3)", "MOC": "MOC('3/5')", "DOUBLE PRECISION[]": "ivo_histogram(1, 0, 2, 2)",
}  # fmt: skip
SAID = {
    "vocname": "'product-type'",
    "term": "'image'",
    "from_sys": "'ICRS'",
    "to_sys": "'GALACTIC'",
    "dest_unit": "'m'",
    "expr_unit": "'Hz'",
    "jd": "2451545.0",
}
TYPES = {
    "INTEGER": ("int", None), "BIGINT": ("long", None), "DOUBLE PRECISION": ("double", None), "VARCHAR": ("char", "*"), "TIMESTAMP": ("char", "*"),
    "POINT": ("double", "2"), "CIRCLE": ("double", "3"), "POLYGON": ("double", "*"), "MOC": ("char", "*"), "INTEGER[]": ("int", "*"),
}  # fmt: skip


def test_every_function_is_there_as_it_is_declared(narrow: Client, tap: etree._Element) -> None:
    """Each form is called with values of its types; the answer has the type that the form says."""
    declared = forms(tap, "features-udf")
    assert len(declared) > 40
    for form in declared:
        name, inside, result = re.fullmatch(r"([a-z]\w*)\((.*)\) -> ([A-Z \[\]]+)", form).groups()
        words = [word.split(" ", 1) for word in inside.split(", ")] if inside else []
        values = [SAID.get(arg, SAMPLES[kind]) for arg, kind in words]
        if name == "moc" and len(values) == 1:
            values = ["'3/5'"]
        if name == "gavo_specconv" and len(values) == 2:
            values[0] = "gavo_specconv(1, 'Hz', 'm')"
        answer = narrow.get("/tap/sync", LANG="ADQL", QUERY=f"SELECT {name}({', '.join(values)}) AS v")
        assert answer.status == 200, (form, answer.text)
        (field,) = etree.fromstring(answer.body).iterfind(".//v:FIELD", V)
        wanted = TYPES[result]
        if result == "DOUBLE PRECISION" and name in {"greatest", "least", "arr_min", "arr_max", "arr_sum"}:
            continue  # as their arguments
        assert (field.get("datatype"), field.get("arraysize")) == wanted, form


def test_formats_are_known_by_name_and_media_type(narrow: Client, tap: etree._Element) -> None:
    for form in tap.iterfind("outputFormat"):
        for name in [form.findtext("mime"), *(alias.text for alias in form.iterfind("alias"))]:
            answer = narrow.get("/tap/sync", LANG="ADQL", QUERY="SELECT TOP 1 id FROM s.t", RESPONSEFORMAT=name)
            assert answer.status == 200, name
            if name == form.findtext("mime"):
                assert (
                    answer.headers["content-type"].replace(" ", "").lower().startswith(name.replace(" ", "").lower())
                ), name
    assert (
        narrow.get(
            "/tap/sync", LANG="ADQL", QUERY="SELECT TOP 1 id FROM s.t", RESPONSEFORMAT="application/x-other"
        ).status
        == 400
    )


def test_every_resource_of_the_document_answers(narrow: Client) -> None:
    for item in etree.fromstring(narrow.get("/tap/capabilities").body).iterfind("capability"):
        if item.get("standardID") == "ivo://ivoa.net/std/TAP":
            continue
        address = item.findtext("interface/accessURL")
        status = 200 if item.find("interface").find("securityMethod") is None else 401
        assert narrow.get(Path(address.removeprefix("http://vo.example")).as_posix()).status == status, address
