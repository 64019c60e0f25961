"""`/getstar` and the address of JMMC's GetStar: names, rights, the page, JSON, and the VOTable 1.1."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from asgi_client import Client
from astropy import units
from astropy.coordinates import Angle
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from star_samples import FILES, STARS, publish_getstar_of_jmmc

from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import ConflictError, HvenError, NotFoundError, OverloadedError
from hven.model.settings import Settings
from hven.model.table import Column
from hven.model.types import INT32, STRING
from hven.plugins.getstar.name_templates import NameTemplate, write_condition
from hven.plugins.getstar.old_votable import format_sexagesimal
from hven.testing.site import open_site_with_uningested_files
from shared import shared

NAMESPACE = {"v": "http://www.ivoa.net/xml/VOTable/v1.1"}


def fetch(client: Client, path: str, accept: str = "*/*", **parameters: str) -> Any:
    return client.ask("GET", f"{path}?{urlencode(parameters)}", headers={"accept": accept})


def fetch_stars(client: Client, names: str) -> list[dict[str, Any]]:
    return list(json.loads(fetch(client, "/getstar.json", star=names).text)["stars"])


def read_old_document(text: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Return the attributes of the FIELDs, and the rows by names."""
    tree = etree.fromstring(text.encode())
    fields = [dict(element.attrib) for element in tree.iterfind(".//v:FIELD", NAMESPACE)]
    rows = [
        {field["name"]: cell.text or "" for field, cell in zip(fields, row, strict=True)}
        for row in tree.iterfind(".//v:TR", NAMESPACE)
    ]
    return fields, rows


@pytest.mark.parametrize(
    "name",
    [
        "* alf CMa",
        "*  alf_CMa",
        "HD 48915",
        "hd48915",
        "HD_48915",
        "TYC 5949-2777",
        "tyc5949-2777",
        "* ALF CMA",
        "*ALF cma",
        "* alf cma",
        "Sirius",
    ],
)
def test_a_star_has_many_names(client: Client, name: str) -> None:
    star = fetch_stars(client, name)[0]
    assert star["fault"] is None, star
    values = {value["name"]: value for value in star["rows"][0]}
    assert values["main_id"]["value"] == "* alf CMa"
    assert (values["V"]["error"], values["V"]["origin"], values["VK"]["level"]) == ("0.01", "I/280", "medium")
    assert (star["resolved"] is not None) == (name == "Sirius")


@pytest.mark.parametrize(
    "name", ["HD 1", "HD", "HD 48915x", "zqhidden", "HD 7", "' OR 1=1 --", "{HD}", "M 31", "HD 99999999999999999999"]
)
def test_unknown_and_hidden_stars_are_told_alike(client: Client, name: str) -> None:
    response = fetch(client, "/getstar", "text/html", star=name)
    assert response.status == 404
    assert 'role="status"' in response.text
    assert "zqsecret" not in response.text
    old_response = fetch(client, "/sclwsGetStarProxy.php", star=name)
    assert old_response.status in {404, 400, 503}
    assert "<" not in old_response.text


def test_the_page_has_words_links_and_no_scripts_of_data(client: Client) -> None:
    response = fetch(client, "/getstar", "text/html", star="HD 48915,Vega,nothing")
    assert response.status == 200
    text = " ".join(response.text.split())
    assert 'href="https://example.org/simbad?Ident=%2A%20alf%20CMa"' in text
    assert "javascript:" not in text
    assert 'data-level="high"><span class="only-heard">confidence: </span>high' in text
    assert "a &lt;b&gt; &amp; c" in text
    assert '<th scope="rowgroup" colspan="5">Photometry</th>' in text
    assert "Unsafe" not in text
    assert "data-table=" in text  # SAMP
    votable = re.search(r'href="[^"]*(/tap/sync[^"]*)"', text)
    assert votable is not None
    answer = client.ask("GET", votable[1].replace("&amp;", "&"))
    assert answer.status == 200
    assert '<GROUP name="V"' in answer.text
    assert fetch(client, "/getstar", "text/html").status == 200
    assert "Étoiles par nom" in fetch(client, "/getstar", "text/html", lang="fr").text


def test_limits_of_requests(client: Client) -> None:
    assert fetch(client, "/getstar", star=",".join(f"HD {number}" for number in range(101))).status == 400
    assert fetch(client, "/getstar", star="x" * 201).status == 400
    assert fetch(client, "/getstar", table="stars.nothing").status == 404
    assert fetch(client, "/sclwsGetStarProxy.php").status == 400
    assert fetch(client, "/sclwsGetStarProxy.php", star=" , ").status == 400


def test_stars_are_found_together_whatever_their_case_and_blanks(client: Client) -> None:
    names = ["hd 172167", "NGC1", "* ALFcma", "ngc  1", "* alf lyr", "ZQHIDDEN"]
    stars = fetch_stars(client, ",".join(names))
    rows = [[value["value"] for row in star["rows"] for value in row if value["name"] == "main_id"] for star in stars]
    assert rows == [["* alf Lyr"], ["NGC 1"], ["* alf CMa"], ["NGC 1"], ["* alf Lyr"], []]


MEASUREMENTS = """\
collection: jmdc
title: Measurements
description: Several rows for each star.
creators: [{name: Tycho Brahe}]
subjects: [stars]
tables:
  main:
    title: Measurements
    source: {kind: csv, files: a.csv}
    primary: n
    columns:
      n: {type: int32, ucd: meta.id, description: Number}
      name: {type: string, ucd: meta.id, description: Name}
    getstar: {names: ["{name}"]}
"""


def test_a_star_with_many_rows_hides_no_other_and_is_told(tmp_path: Path) -> None:
    """In JMDC, a star has a row for each measurement; 30 of Vega filled the places of two names."""
    rows = "".join(f"{number},Vega\n" for number in range(30)) + "30,alf Boo\n"
    with open_site_with_uningested_files(tmp_path, MEASUREMENTS, {"a.csv": f"n,name\n{rows}"}) as site:
        ingest_collection(site, "jmdc")
        site.refresh_published_state()
        client = Client(create_and_start_application(site))
        for names in ("vega,alf boo", "Vega,ALF BOO", "vega,alfboo,nothing"):
            stars = fetch_stars(client, names)
            assert [(len(star["rows"]), star["more_rows"]) for star in stars[:2]] == [(10, True), (1, False)], names
        page = fetch(client, "/getstar", "text/html", star="vega,alf boo").text
        assert page.count("The table has more rows of this star. Only the first 10 are shown.") == 1
        old_document = fetch(client, "/sclwsGetStarProxy.php", star="vega,alf boo").text
        infos = etree.fromstring(old_document.encode()).iterfind(".//v:INFO", NAMESPACE)
        assert [(info.get("name"), info.get("value")) for info in infos] == [("moreRows", "vega")]
        assert len(read_old_document(old_document)[1]) == 11


def fail_for(reasons: Mapping[str, HvenError]) -> Callable[..., Any]:
    def resolve(name: str, **_: object) -> Any:
        raise reasons[name]

    return resolve


@pytest.mark.parametrize(
    ("names", "status", "old_status"),
    [
        ("lost", 404, 404),
        ("away", 503, 503),
        ("lost,away", 503, 503),
        ("lost,gone", 404, 404),
        ("two", 409, 409),
        ("two,lost", 404, 404),
        ("lost,away,HD 48915", 200, 200),
        ("", 200, 400),
    ],
)
def test_the_status_tells_why_no_star_was_found(
    client: Client, monkeypatch: pytest.MonkeyPatch, names: str, status: int, old_status: int
) -> None:
    reasons = {
        "lost": NotFoundError("no service knows lost", remedy="check the spelling"),
        "gone": NotFoundError("no service knows gone"),
        "away": OverloadedError("the resolver does not answer", remedy="try again later"),
        "two": ConflictError("two objects are called so"),
    }
    monkeypatch.setattr("hven.plugins.getstar.star_search.resolver.resolve_object_name", fail_for(reasons))
    for path in ("/getstar", "/getstar.json"):
        assert fetch(client, path, star=names).status == status
    old_response = fetch(client, "/sclwsGetStarProxy.php", star=names)
    assert old_response.status == old_status
    for name in filter(None, names.split(",")):
        assert name not in reasons or reasons[name].message in old_response.text
    if old_status == 200:
        tree = etree.fromstring(old_response.text.encode())
        missing = {info.get("value"): info.text for info in tree.iterfind(".//v:INFO", NAMESPACE)}
        assert missing["away"] == "the resolver does not answer; try again later"
    elif names.count(","):
        assert len(old_response.text.splitlines()) == names.count(",") + 1


def test_the_old_votable(client: Client) -> None:
    response = fetch(
        client, "/sclwsGetStarProxy.php", format="vot", star="HD 48915,Vega,NGC 1,nothing", scenario="true"
    )
    assert response.status == 200
    fields, rows = read_old_document(response.text)
    assert [row["SIMBAD"] for row in rows] == ["* alf CMa", "* alf Lyr", "NGC 1"]
    assert (rows[0]["RAJ2000"], rows[0]["DEJ2000"]) == ("06 45 08.917279", "-16 42 58.017096")
    assert (rows[0]["V.origin"], rows[0]["V.confidence"], rows[0]["V-K.confidence"]) == ("4", "3", "2")
    assert (rows[2]["K"], rows[2]["K.origin"], rows[2]["HD"], rows[0]["variable"]) == ("", "0", "", "true")
    by_name = {field["name"]: field for field in fields}
    assert by_name["e_V"]["ucd"] == "PHOT_JHN_V_ERROR"
    assert by_name["V-K"]["ucd"] == "PHOT_JHN_V-K"
    assert by_name["V.origin"]["type"] == "hidden"
    tree = etree.fromstring(response.text.encode())
    groups = {
        group.get("name"): [ref.get("ref") for ref in group[1:]] for group in tree.iterfind(".//v:GROUP", NAMESPACE)
    }
    assert groups["V"] == [by_name[name]["ID"] for name in ("V", "V.origin", "V.confidence", "e_V")]
    options = tree.findall(".//v:PARAM[@name='OriginIndexes']//v:OPTION", NAMESPACE)
    assert [(one.get("name"), one.get("value")) for one in options][-1] == ("14", "II/246")
    link = tree.find(".//v:FIELD[@name='HD']/v:LINK", NAMESPACE)
    assert link is not None
    assert link.get("href") == "https://example.org/sim?Ident=HD${HD}&q=${SIMBAD}"
    assert [info.get("value") for info in tree.iterfind(".//v:INFO", NAMESPACE)] == ["nothing"]
    assert '<?xml-stylesheet href="https://example.org/getstar.xsl" type="text/xsl"?>' in response.text
    schema = etree.XMLSchema(etree.parse(shared("xsd/VOTable-v1.1.xsd")))
    schema.assertValid(tree)


def test_getstar_of_jmmc_comes_back_field_by_field(tmp_path: Path) -> None:
    original = shared("data/interferometry/getstar-votable.vot")
    text = publish_getstar_of_jmmc(tmp_path)
    fields, rows = read_old_document(text)
    old_fields, old_rows = read_old_document(original.read_text())
    attributes = ("name", "ucd", "datatype", "arraysize", "type", "ID")
    assert [[field.get(name) for name in attributes] for field in fields] == [
        [field.get(name) for name in attributes] for field in old_fields
    ]
    units_differ = [
        new["name"] for new, old in zip(fields, old_fields, strict=True) if new.get("unit") != old.get("unit")
    ]
    assert units_differ == []
    truth_values = {field["name"] for field in fields if field["datatype"] == "boolean"}
    assert len(truth_values) == 2
    for name in truth_values:
        assert {"0": "false", "1": "true"}.get(old_rows[0][name], old_rows[0][name]) == rows[0].pop(name)
        del old_rows[0][name]
    assert rows == old_rows
    written, expected = (_describe_elements(document) for document in (text.encode(), original.read_bytes()))
    # the flag that SearchCal's program sets has no measured origin, which JMMC's server writes as constants
    expected["params"] = [param for param in expected["params"] if not param[0].startswith("deletedFlag.")]
    expected["groups"] = [
        (name, ucd, texts, [field for field in fields if not field.startswith("deletedFlag.")])
        for name, ucd, texts, fields in expected["groups"]
    ]
    expected["groups"][-1][2][0] = "deletedFlag with its origin and confidence indexes and its error when available"
    assert written == expected
    etree.XMLSchema(etree.parse(shared("xsd/VOTable-v1.1.xsd"))).assertValid(etree.fromstring(text.encode()))


def _describe_elements(document: bytes) -> dict[str, list[Any]]:
    """Describe the PARAMs, OPTIONs in their order, GROUPs and LINKs of an answer."""
    tree = etree.fromstring(document)
    params = list(tree.iter("{*}PARAM"))
    names = {element.get("ID"): element.get("name", "") for element in tree.iter("{*}FIELD", "{*}PARAM")}
    return {
        "params": [
            (item.get("name", ""), item.get("datatype"), item.get("arraysize"), item.get("unit")) for item in params
        ],
        "options": [
            (param.get("name"), option.get("name"), option.get("value"))
            for param in params
            for option in param.iter("{*}OPTION")
        ],
        "groups": [
            (
                group.get("name"),
                group.get("ucd"),
                [element.text for element in group.iter("{*}DESCRIPTION")],
                [names[element.get("ref")] for element in group.iter("{*}FIELDref", "{*}PARAMref")],
            )
            for group in tree.iter("{*}GROUP")
        ],
        "links": [
            (field.get("name"), [link.get("href") for link in field.iter("{*}LINK")]) for field in tree.iter("{*}FIELD")
        ],
    }


@given(degrees=st.floats(0, 360, exclude_max=True))
def test_right_ascensions_are_those_of_astropy(degrees: float) -> None:
    text = format_sexagesimal(degrees, is_longitude=True)
    assert re.fullmatch(r"[0-2][0-9] [0-5][0-9] [0-5][0-9]\.[0-9]{6}", text)
    difference = abs(Angle(text, unit=units.hourangle).degree - degrees)
    assert min(difference, 360 - difference) < 1e-8


@given(degrees=st.floats(-90, 90))
def test_declinations_are_those_of_astropy(degrees: float) -> None:
    text = format_sexagesimal(degrees, is_longitude=False)
    assert re.fullmatch(r"[+-][0-9]{2} [0-5][0-9] [0-5][0-9]\.[0-9]{6}", text)
    assert abs(Angle(text, unit=units.deg).degree - degrees) < 1e-9


@given(number=st.integers(1, 999_999), prefix=st.sampled_from(["HD ", "hd", "HD  ", "Hd_"]))
def test_templates_find_numbers_in_any_spelling(number: int, prefix: str) -> None:
    parts = NameTemplate("HD {HD}").split_name(f"{prefix}{number}", {"HD": Column(name="HD", type=INT32)})
    assert parts is not None
    assert write_condition(parts) == f"HD IN ({number})"


@given(name=st.text(max_size=30))
def test_conditions_quote_whatever_a_name_contains(name: str) -> None:
    parts = NameTemplate("{n}").split_name(name, {"n": Column(name="n", type=STRING)})
    for is_loose, place in ((False, "n"), (True, r"LOWER\(REPLACE\(n, ' ', ''\)\)")):
        condition = None if parts is None else write_condition(parts, is_loose=is_loose)
        assert condition is None or re.fullmatch(rf"{place} IN \((?:'(?:[^']|'')*'(?:, )?)+\)", condition, re.DOTALL)


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ('{names: ["HD"]}', "does not name a column"),
        ('{names: ["HD {HD2}"]}', "the table has no column 'HD2'"),
        ('{names: ["{ra}"]}', "so it cannot be part of a name"),
        ('{names: ["{HD}"], links: {A: "https://x/{hd2}"}}', "the table has no column 'hd2'"),
        ('{names: ["{HD}"], fields: {v: V}}', "the table has no column 'v'"),
        ('{names: ["{HD}"], radius: 1000}', "radius"),
        ("{links: {}}", "names"),
        ('{names: ["{HD}"]}', ""),
    ],
)
def test_faults_of_the_key(tmp_path: Path, key: str, fault: str) -> None:
    path = tmp_path / "collections" / "stars" / "stars.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(re.sub(r"    getstar:\n(      .*\n)+", f"    getstar: {key}\n", STARS))
    for name, content in FILES.items():
        (path.parent / name).write_text(content)
    faults = [one for one in check_descriptor(path, Settings(directory=tmp_path)) if one.severity == "error"]
    assert bool(faults) == bool(fault), faults
    assert all(fault in one.message and one.place.line for one in faults), faults
