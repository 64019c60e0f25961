"""DataLink 1.1: what rows lead to, by their descriptor, by standards' columns, by rows of other tables; services told in answers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Answer, Client
from astropy.io.votable import parse
from lxml import etree, html

from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.params import Param
from hven.model.table import SITE_URL_EXPRESSION, LinkTemplate, ServiceDescriptor, ServiceParameter, TemplateExpression
from hven.services import datalinks
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.site import open_site_with_uningested_files

V = "{http://www.ivoa.net/xml/VOTable/v1.3}"
DESCRIPTOR = """\
collection: maps
title: Maps
let: {base: "https://archive.example/a"}
files: [data/*]
services: [tap, datalink, files, obscore]  # not previews, which have tests of their own
tables:
  main:
    source: maps.csv
    primary: [obs_id]
    columns: {obs_id: {type: string, ucd: "meta.id;meta.main"}, ra: float64, fits: string, number: int32}
    obscore:
      set: {dataproduct_type: image, calib_level: 2, target_name: x, access_format: application/fits, facility_name: F, instrument_name: I}
      map: {access_url: fits}
    links:
      - {semantics: "#this", file: "{target.fits}", description: "map {target.obs_id}", qualifier: "#image"}
      - semantics: preview
        from: previews
        where: previews.obs = obs_id
        order: previews.freq DESC
        file: "{previews.png}"
        description: "at {IN_UNIT(previews.freq, 'GHz'):.1f} GHz"
        local: "band {IN_UNIT(previews.freq, 'GHz'):.0f}"
      - {semantics: documentation, text: "{base}/of/{target.obs_id}?id={target.obs_id}&n={target.number:03d}", type: text/html, size: "{target.number}", if: ra > 10}
      - semantics: cutout
        if: ra < 15
        type: application/fits
        description: "part of map {target.obs_id}"
        service:
          url: "{site.url}/cuts?of=maps"
          standard: ivo://ivoa.net/std/SODA#sync-1.0
          params:
            ID: {value: "{target.fits}", ucd: meta.id;meta.main}
            CIRCLE: {type: circle, unit: deg, ucd: pos.outline;obs, maximum: "{target.ra} 0 1", example: "{target.ra} 0 0.1"}
            POL: {values: [I, Q], description: "state & <sign>"}
  previews:
    source: previews.csv
    columns: {obs: string, freq: {type: float64, unit: Hz}, png: string}
  numbers:
    source: numbers.csv
    primary: [n]
    columns: {n: int64, access_url: string, access_format: string, access_estsize: {type: int64, unit: kbyte}, thumbnail_url: string}
"""
FILES = {
    "maps.csv": "obs_id,ra,fits,number\nm 1,10,data/m 1.fits,1\nm/2&?,20,data/m2.fits,2\nm3,30,data/gone.fits,3\nm4,5,,4\n",
    "previews.csv": "obs,freq,png\nm 1,350e9,data/b.png\nm 1,250.5e9,data/a.png\nm3,1e9,data/a.png\n",
    "numbers.csv": "n,access_url,access_format,access_estsize,thumbnail_url\n7,ftp://old.example/x y.fits,application/fits,3,\n8,,,,https://x.example/t.png\n",
    "data/m 1.fits": "12345",
    "data/m2.fits": "1",
    "data/a.png": "a",
    "data/b.png": "bb",
}


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("datalink")
    folder = directory / "collections/maps"
    (folder / "data").mkdir(parents=True)
    (directory / "hven.toml").write_text('name = "links"\npublic_url = "https://vo.example/x"\n')
    (folder / "maps.yaml").write_text(DESCRIPTOR)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    with Site(settings.load_settings(directory)) as made:
        ingest_collection(made, "maps")
        yield made


def links(client: Client, table: str, *ids: str, **more: str) -> list[dict[str, str]]:
    query = "&".join(
        [
            "RESPONSEFORMAT=csv",
            *(f"ID={quote_every_character(one)}" for one in ids),
            *(f"{k}={v}" for k, v in more.items()),
        ]
    )
    answer = client.ask("GET", f"/datalink/{table}", query.encode())
    assert answer.status == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def quote_every_character(text: str) -> str:
    return "".join(f"%{ord(one):02X}" for one in text)


BASE = "https://vo.example/x/collections/maps/files/data/"


def test_a_row_links_to_its_file_to_other_rows_and_to_pages(client: Client) -> None:
    this, *previews, _ = links(client, "maps.main", "m 1")
    assert this == {
        "ID": "m 1", "access_url": f"{BASE}m%201.fits", "service_def": "", "error_message": "", "description": "map m 1", "semantics": "#this",
        "content_type": "application/fits", "content_length": "5", "content_qualifier": "#image", "local_semantics": "", "link_auth": "false",
        "link_authorized": "true",
    }  # fmt: skip
    found = [
        (one["semantics"], one["access_url"], one["description"], one["content_length"], one["local_semantics"])
        for one in previews
    ]
    assert found == [
        ("#preview", f"{BASE}b.png", "at 350.0 GHz", "2", "band 350"),
        ("#preview", f"{BASE}a.png", "at 250.5 GHz", "1", "band 251"),
    ]


def test_check_reads_what_ingest_reads(client: Client, site: Site) -> None:
    assert client
    assert check_descriptor(site.settings.collections_directory / "maps/maps.yaml", site.settings) == []


def test_values_are_written_as_parts_of_an_address(client: Client) -> None:
    *_, page = links(client, "maps.main", "m/2&?")
    assert page["access_url"] == "https://archive.example/a/of/m/2%26%3F?id=m%2F2%26%3F&n=002"
    assert (page["content_type"], page["content_length"], page["link_auth"]) == ("text/html", "2", "")


def test_many_identifiers_keep_their_order_and_unknown_ones_are_reported(client: Client) -> None:
    found = links(client, "maps.main", "m3", "nothing", "m4", "m 1", "ivo://example.org/maps?m/2&?", "m3")
    assert [one["ID"] for one in found] == ["m3"] * 3 + ["nothing"] + ["m 1"] * 4 + ["ivo://example.org/maps?m/2&?"] * 2
    assert found[3]["error_message"] == "NotFoundFault: no row of maps.main has this identifier"
    assert (found[3]["semantics"], found[3]["access_url"]) == ("#this", "")


@pytest.mark.parametrize("address", ["/datalink/maps.main", "/soda/sync"])
def test_an_identifier_with_a_nul_character_is_refused(client: Client, address: str) -> None:
    answer = client.ask("GET", address, b"TABLE=maps.main&ID=m%001")
    assert answer.status == 400
    assert b"ID contains a NUL character (%00)" in answer.body


def test_a_form_can_have_thousands_of_identifiers(client: Client) -> None:
    def post_identifiers(many: int, long: int) -> Answer:
        body = "&".join(["RESPONSEFORMAT=csv", "ID=m3", *(f"ID=no{number:0{long}d}" for number in range(many - 2))])
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return client.ask("POST", "/datalink/maps.main", body=body.encode(), headers=kind)

    answer = post_identifiers(10_000, 100)
    assert answer.status == 200
    assert len(list(csv.DictReader(io.StringIO(answer.text)))) == 3 + 9998
    for refused, words in (
        (post_identifiers(10_001, 5), "more than 10,000 parameters"),
        (post_identifiers(9_999, 1000), "the limit is 8,388,608"),
    ):
        assert refused.status == 413
        assert words in refused.text


def test_a_file_that_is_gone_is_said_to_be(client: Client) -> None:
    this = links(client, "maps.main", "m3")[0]
    assert (this["access_url"], this["semantics"]) == ("", "#this")
    assert this["error_message"].startswith("NotFoundFault: the collection does not have this file")


def test_columns_of_standards_become_links_without_a_key(client: Client) -> None:
    (one,) = links(client, "maps.numbers", "007")
    assert one["ID"] == "007"
    assert one["access_url"] == "ftp://old.example/x%20y.fits"
    assert (one["content_type"], one["content_length"]) == ("application/fits", "3000")
    (two,) = links(client, "maps.numbers", "8")
    assert (two["semantics"], two["access_url"]) == ("#thumbnail", "https://x.example/t.png")
    assert links(client, "maps.numbers", "seven")[0]["error_message"]
    assert [one["ID"] for one in links(client, "maps.numbers", "7", "007", "8")] == ["7", "8"]
    (file,) = links(client, "maps.files", "data/a.png")
    assert (file["access_url"], file["content_type"], file["content_length"]) == (f"{BASE}a.png", "image/png", "1")


def test_the_document_is_that_of_the_standard(client: Client) -> None:
    answer = client.ask("GET", "/datalink/maps.main", b"ID=m3&id=m4")
    assert answer.headers["content-type"] == "application/x-votable+xml;content=datalink"
    root = etree.fromstring(answer.body)
    infos = {one.get("name"): one.get("value") for one in root.iter(f"{V}INFO")}
    assert infos.pop("request_date")  # data origin: tests/citation/test_data_origin.py
    assert infos.pop("request").startswith("http://vo.example/datalink/maps.main?ID=m3")
    assert infos == {"QUERY_STATUS": "OK", "standardID": "ivo://ivoa.net/std/DataLink#links-1.1", "service_protocol": "ivo://ivoa.net/std/DataLink#links-1.1"}  # fmt: skip
    assert root.find(f".//{V}TABLEDATA") is not None
    again = client.ask("GET", "/datalink/maps.main", b"ID=m3&id=m4", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    posted = client.post("/datalink/maps.main", ID="m3")
    assert parse(io.BytesIO(posted.body)).get_first_table().nrows == 3
    empty = client.get("/datalink/maps.main").body
    assert parse(io.BytesIO(empty)).get_first_table().nrows == 0
    (this,) = etree.fromstring(empty).iterfind(f"{V}RESOURCE[@utype='adhoc:service']")
    assert (this.get("name"), this.find(f".//{V}PARAM[@name='ID']") is not None) == ("this", True)
    assert b'value="ivo://ivoa.net/std/DataLink#links-1.1"' not in client.get("/datalink/maps.previews", ID=1).body


@pytest.mark.parametrize(("most", "rows"), [("0", 0), ("3", 0), ("4", 4), ("5", 4), ("6", 6), ("99", 6)])
def test_maxrec_cuts_only_between_identifiers(client: Client, most: str, rows: int) -> None:
    answer = client.ask("GET", "/datalink/maps.main", f"ID=m%201&ID=m%2F2%26%3F&MAXREC={most}".encode())
    found = parse(io.BytesIO(answer.body)).get_first_table()
    assert found.nrows == rows
    assert (b'value="OVERFLOW"' in answer.body) is (rows < 6)


def test_responses_describe_the_service(client: Client) -> None:
    def list_services(query: str) -> list[str]:
        root = etree.fromstring(client.get("/tap/sync", LANG="ADQL", QUERY=query).body)
        found = []
        for one in root.iterfind(f"{V}RESOURCE[@utype='adhoc:service']"):
            params = {param.get("name"): param for param in one.iter(f"{V}PARAM")}
            if one.get("name") == "cuts":  # the service that cuts files stands beside it
                assert params["standardID"].get("value") == "ivo://ivoa.net/std/SODA#sync-1.0"
                assert params["TABLE"].get("value") == "maps.main"
                assert params["ID"].get("ref")
                continue
            assert params["standardID"].get("value") == "ivo://ivoa.net/std/DataLink#links-1.1"
            ref = params["ID"].get("ref")
            (field,) = [item.get("name") for item in root.iter(f"{V}FIELD") if item.get("ID") == ref]
            found.append(f"{params['accessURL'].get('value')} {field}")
        return found

    assert list_services("SELECT * FROM maps.main") == ["https://vo.example/x/datalink/maps.main obs_id"]
    assert list_services("SELECT fits, obs_id FROM maps.main WHERE ra > 11") == [
        "https://vo.example/x/datalink/maps.main obs_id"
    ]
    assert list_services("SELECT ra FROM maps.main") == []
    assert list_services("SELECT UPPER(obs_id) AS obs_id FROM maps.main") == []
    assert list_services("SELECT a.obs_id, n FROM maps.main AS a, maps.numbers") == [
        "https://vo.example/x/datalink/maps.main obs_id",
        "https://vo.example/x/datalink/maps.numbers n",
    ]


def test_a_service_is_described_with_the_values_of_the_row(client: Client) -> None:
    answer = client.ask("GET", "/datalink/maps.main", b"ID=m%201&ID=m4&ID=m3")
    table = parse(io.BytesIO(answer.body)).get_first_table().to_table()
    named = {row["ID"]: row for row in table if row["semantics"] == "#cutout"}
    assert list(named) == ["m 1"]  # m4 has no value that is always sent, m3 does not meet the condition
    row = named["m 1"]
    assert (row["access_url"], row["content_type"], row["description"]) == ("", "application/fits", "part of map m 1")
    (resource,) = etree.fromstring(answer.body).iterfind(f"{V}RESOURCE[@utype='adhoc:service']")
    assert resource.get("ID") == row["service_def"] == "service_1"
    said = {one.get("name"): one.get("value") for one in resource.iterfind(f"{V}PARAM")}
    assert said == {
        "standardID": "ivo://ivoa.net/std/SODA#sync-1.0", "accessURL": "https://vo.example/x/cuts?of=maps", "contentType": "application/fits",
        "exampleURL": "https://vo.example/x/cuts?of=maps&ID=data/m%201.fits&CIRCLE=10%200%200.1",
    }  # fmt: skip
    fixed, circle, pol = resource.iterfind(f"{V}GROUP/{V}PARAM")
    assert (fixed.get("value"), fixed.get("ucd")) == ("data/m 1.fits", "meta.id;meta.main")
    assert dict(circle.attrib) == {"name": "CIRCLE", "datatype": "double", "arraysize": "3", "unit": "deg", "ucd": "pos.outline;obs", "xtype": "circle", "value": ""}  # fmt: skip
    assert circle.find(f"{V}VALUES/{V}MAX").get("value") == "10 0 1"
    assert [one.get("value") for one in pol.iter(f"{V}OPTION")] == ["I", "Q"]
    assert pol.findtext(f"{V}DESCRIPTION") == "state & <sign>"


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"  # of its own client, which TOPCAT has


def test_browsers_get_a_page(client: Client) -> None:
    answer = client.ask("GET", "/datalink/maps.main", b"ID=m%201&ID=m4", headers={"accept": BROWSER})
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "accept" in answer.headers["vary"].split(", ")
    root = html.fromstring(answer.body)
    assert [one.get("src") for one in root.iterfind(".//figure//img")] == [f"{BASE}b.png", f"{BASE}a.png"]
    assert [one.text for one in root.iterfind(".//figcaption")] == ["at 350.0 GHz", "at 250.5 GHz"]
    assert f'<a href="{BASE}m%201.fits" rel="noopener">map m 1</a> <span class="n">5 B</span>' in answer.text
    (form,) = root.iterfind(".//form")
    assert form.get("action") == "https://vo.example/x/cuts"
    assert {one.get("name"): one.get("value") for one in form.iterfind(".//input")} == {"of": "maps", "ID": "data/m 1.fits", "CIRCLE": "10 0 0.1"}  # fmt: skip
    assert "state &amp; &lt;sign&gt;" in answer.text
    french = client.ask("GET", "/datalink/maps.main", b"ID=m3", headers={"accept": BROWSER, "accept-language": "fr"})
    assert "Les données" in french.text
    assert "the collection does not have this file, or no longer has it" in french.text


def test_programs_get_no_page_but_by_name(client: Client) -> None:
    for accept in (JAVA, "*/*", "text/html"):
        answer = client.ask("GET", "/datalink/maps.main", b"ID=m3", headers={"accept": accept})
        assert answer.headers["content-type"] == "application/x-votable+xml;content=datalink"
    assert client.get("/datalink/maps.main", ID="m3", RESPONSEFORMAT="html").text.startswith("<!doctype html>")
    asked = client.ask("GET", "/datalink/maps.main", b"ID=m3&RESPONSEFORMAT=csv", headers={"accept": BROWSER})
    assert asked.headers["content-type"].startswith("text/csv")
    empty = client.ask("GET", "/datalink/maps.main", headers={"accept": BROWSER}).text
    assert '<input name="ID" required>' in empty
    lost = client.get("/datalink/maps.main", ID="<b>", RESPONSEFORMAT="html").text
    assert "&lt;b&gt;" in lost
    assert "<b>" not in lost


def test_rows_of_obscore_lead_to_their_links(client: Client) -> None:
    query = "SELECT obs_publisher_did, access_url, access_format FROM ivoa.obscore ORDER BY obs_publisher_did"
    answer = client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="csv").text
    first, *_, last = csv.DictReader(io.StringIO(answer))
    assert first["access_url"] == "https://vo.example/x/datalink/maps.main?ID=m%201"
    assert {first["access_format"], last["access_format"]} == {"application/x-votable+xml;content=datalink"}
    # and its own list is that of the row, so that nobody is sent from one to the next
    third, dids = "m3", [first["obs_publisher_did"], first["obs_publisher_did"].replace("?m 1", "?m3"), "ivo://none"]
    found = links(client, "ivoa.obscore", *dids)
    own = {dids[0]: "m 1", dids[1]: third}
    assert [own.get(one["ID"], one["ID"]) for one in found] == ["m 1"] * 4 + [third] * 3 + ["ivo://none"]
    alone = [{**one, "ID": did} for did, key in own.items() for one in links(client, "maps.main", key)]
    assert [one for one in found if one["ID"] in own] == alone
    assert found[-1]["error_message"].startswith("NotFoundFault")


FAULTS = {
    "{semantics: preview}": "tables.main.links[1]: a link needs exactly one of 'text', 'file' and 'service'; write `text` with an address, `file` with the path of one of the collection's files, or `service` with a service that takes values from the row",
    "{semantics: preview, text: a, file: b}": "tables.main.links[1]: a link needs exactly one of 'text', 'file' and 'service'; write `text` with an address, `file` with the path of one of the collection's files, or `service` with a service that takes values from the row",
    "{semantics: previews, text: a}": "tables.main.links[1].semantics: the DataLink vocabulary has no term 'previews'; did you mean 'preview'?",
    '{semantics: this, text: "{obs_id}"}': "tables.main.links[1].text: a link cannot use 'obs_id'; it can use {target.column}, {site.url} and constants; write {target.obs_id}",
    "{semantics: proc, service: {url: a, params: {b: {value: 1, maximum: 2}}}}": "tables.main.links[1].service.params.b: a parameter that is always sent cannot have bounds, allowed values or examples; remove 'value', or remove 'minimum', 'maximum', 'values' and 'example'",
    "{semantics: proc, service: {url: a, params: {b: '{target.fit}'}}}": "tables.main.links[1].service.params.b.value: the table has no column 'fit'; did you mean 'fits'?",
    "{semantics: proc, service: {url: a, params: {b: {type: flot}}}}": "tables.main.links[1].service.params.b: 'flot' is not a known type; did you mean 'float'?",
    "{semantics: this, text: a, where: x.a = 1}": "tables.main.links[1].where: this key needs 'from'; specify the other table, for example `from: previews`",
    "{semantics: this, from: previews, text: a}": "tables.main.links[1].from needs 'where', which selects the rows of the other table; write `where: previews.obs_id = target.obs_id`",
    '{semantics: this, from: previews, where: "prevews.obs = obs_id", text: a}': "tables.main.links[1].where: 'prevews' is not known here; use target or previews; did you mean 'previews'?",
    "{semantics: preview, from: previewz, where: previewz.obs = obs_id, text: a}": "tables.main.links[1].from: maps has no table 'previewz'; did you mean 'previews'?",
    "{semantics: preview, from: raw.maps, where: maps.obs = obs_id, text: a}": "tables.main.links[1].from: there is no collection 'raw'; write the table as collection.table",
    "{semantics: preview, from: previews, where: previews.obz = obs_id, text: a}": "tables.main.links[1].where: no column 'obz' in previews; did you mean 'obs'?",
    "{semantics: preview, from: previews, where: previews.obs = target.obs_id, order: previews.frek, text: a}": "tables.main.links[1].order: no column 'frek' in previews; did you mean 'freq'?",
    '{semantics: preview, from: previews, where: previews.obs = obs_id, text: "{previews.pngs}"}': "tables.main.links[1].text: no column 'pngs' in previews; did you mean 'png'?",
    "{semantics: preview, from: previews, where: previews.obs = obs_id, text: a, description: \"{IN_UNIT(previews.freq, 'm/s')}\"}": "tables.main.links[1].description: IN_UNIT: Hz cannot be converted to m/s: s**-1 is not m/s; write a VOUnits unit that is compatible with Hz",
    "{semantics: this, text: a, if: fits > 3}": "tables.main.links[1].if: > cannot compare a string (column fits) with a number (3); convert one of the two with CAST",
    '{semantics: this, text: "{UPPER(target.obs)}"}': "tables.main.links[1].text: the table has no column 'obs'; did you mean 'obs_id'?",
}  # fmt: skip


def test_a_file_of_a_collection_without_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "collections/maps/maps.yaml"
    path.parent.mkdir(parents=True)
    (tmp_path / "hven.toml").touch()
    path.write_text(DESCRIPTOR.replace("files: [data/*]\n", ""))
    said = [
        f"{one.message}; {one.remedy}"
        for one in check_descriptor(path, settings.load_settings(tmp_path))
        if "links" in one.message
    ]
    wanted = "tables.main.links[1].file: the collection publishes no files; add `files: data/*`, or write `text` with an address"
    assert said[0] == wanted


@pytest.mark.parametrize("link", FAULTS)
def test_faults_of_a_descriptor_are_reported_with_a_remedy(link: str, tmp_path: Path) -> None:
    path = tmp_path / "collections/maps/maps.yaml"
    path.parent.mkdir(parents=True)
    before = DESCRIPTOR.partition("    links:")[0]
    previews = DESCRIPTOR.partition("  previews:")[2].partition("  numbers:")[0]
    path.write_text(f"{before}    links: [{link}]\n  previews:{previews}")
    (path.parent / "previews.csv").write_text(FILES["previews.csv"])
    (tmp_path / "hven.toml").touch()
    (path.parent / "maps.csv").write_text(FILES["maps.csv"])
    (path.parent / "data").mkdir()
    (path.parent / "data/a.png").touch()
    said = [
        fault.message + (f"; {fault.remedy}" if fault.remedy else "")
        for fault in check_descriptor(path, settings.load_settings(tmp_path))
    ]
    assert said == [FAULTS[link]]


def test_a_service_of_ours_is_fitted_to_the_file_of_a_row(site: Site) -> None:
    seen: list[str | None] = []

    def narrow_service(service: ServiceDescriptor, path: str | None, _: dict[str, Any]) -> ServiceDescriptor | None:
        seen.append(path)
        more = ServiceParameter(param=Param(name="HDU"), high=("3",))
        return None if path is None else replace(service, inputs=(*service.inputs, more))

    key = ServiceParameter(param=Param(name="ID"), value=(TemplateExpression('target."obs_id"'),))
    service = ServiceDescriptor(address=(SITE_URL_EXPRESSION, "/soda"), inputs=(key,))
    link = LinkTemplate(semantics="#proc", address=(), service=service, adapt_service=narrow_service)
    holdings = site.get_published_state()
    table = holdings.tables_by_name["maps.main"].table
    found = datalinks.list_row_links(
        table,
        ["m 1", "m4"],
        principal=ANONYMOUS_PRINCIPAL,
        site=site,
        policies=DEFAULT_POLICIES,
        published_state=holdings,
        base_url="",
        face_links=[link],
    )
    found, (_, resource) = datalinks.extract_descriptors(found)
    (row,) = (one for one in found.to_pylist() if one["semantics"] == "#proc")
    assert (row["ID"], row["service_def"], row["link_auth"], row["link_authorized"]) == (
        "m 1",
        "service_2",
        "false",
        True,
    )
    assert seen == ["data/m 1.fits", None]
    assert 'name="ID" datatype="char" arraysize="*" value="m 1"' in resource
    assert '<VALUES><MAX value="3"/></VALUES>' in resource


def test_a_wrong_descriptor_is_not_the_fault_of_who_asks(tmp_path: Path) -> None:
    """The columns of a view are checked by `hven check` alone; the query of its links has places that nobody knows."""
    text = (
        DESCRIPTOR.replace("from: previews", "from: few")
        .replace("previews.", "few.")
        .replace("few.csv", "previews.csv")
    )
    text += "  few: {title: Few, view: SELECT freq FROM maps.previews}\n"
    with open_site_with_uningested_files(tmp_path, text, FILES) as made:
        ingest_collection(made, "maps")
        answer = Client(create_and_start_application(made)).ask("GET", "/datalink/maps.main", b"ID=m+1")
    assert answer.status == 500
    assert "FatalFault: the links of maps.main cannot be queried: its descriptor is not valid" in answer.text
    assert "column" not in answer.text
