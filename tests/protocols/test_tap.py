"""TAP's synchronous face, its metadata resources and their documents."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from asgi_client import Client
from astropy.io import fits
from astropy.io.votable import parse
from lxml import etree

from plugin_needs import require_plugins
from requirements import require_program
from shared import shared

V = {"v": "http://www.ivoa.net/xml/VOTable/v1.3"}


def status_of(body: bytes) -> list[str]:
    return [item.get("value") for item in etree.fromstring(body).iterfind(".//v:INFO[@name='QUERY_STATUS']", V)]


def message(body: bytes) -> str:
    (info,) = etree.fromstring(body).xpath("//v:INFO[@name='QUERY_STATUS']", namespaces=V)
    assert info.get("value") == "ERROR"
    return str(info.text)


def ask(client: Client, query: str, **params: object):
    return client.get("/tap/sync", LANG="ADQL", QUERY=query, **params)


def test_get_and_post_answer_the_same(client: Client) -> None:
    query = "SELECT TOP 5 id, mag FROM stars.main ORDER BY mag"
    assert ask(client, query).comparable_body == client.post("/tap/sync", LANG="ADQL", QUERY=query).comparable_body


def test_names_of_parameters_have_no_case(client: Client) -> None:
    answer = client.get("/tap/sync", lang="ADQL", Query="SELECT COUNT(*) AS n FROM stars.main", ResponseFormat="csv")
    assert answer.text.split() == ["n", "2000"]


@pytest.mark.parametrize(
    "path",
    [
        "/tap/sync?LANG=ADQL&QUERY=SELECT+id+FROM+stars.main&VERSION=1.0",
        "/cone/stars.main?RA=10&DEC=10&SR=5",
        "/changes/stars.main",
    ],
)
def test_parameters_that_a_service_does_not_know_change_no_row_and_are_told(client: Client, path: str) -> None:
    if path.startswith("/changes/"):
        require_plugins("protocols", "changes")
    path, _, query = path.partition("?")
    known, spurious = (
        parse_qsl(query),
        [("DUMMY", "ignore-me"), ("n\x00\n<umber", "foo"), ("empty", ""), ("RUNID", "mine")],
    )
    answers = [client.ask("GET", path, urlencode([*known, *more]).encode()) for more in ([], spurious)]
    warning = etree.fromstring(answers[1].body).find(".//v:INFO[@name='warning']", V).get("value")
    assert warning.startswith("parameters that are not used: DUMMY, N\\x00\\n<UMBER; known parameters: ")
    assert re.sub(rb'<INFO name="warning".*?/>\n', b"", answers[1].comparable_body) == answers[0].comparable_body
    assert answers[0].headers["etag"] != answers[1].headers["etag"]
    csv = client.ask("GET", path, urlencode([*known, *spurious, ("RESPONSEFORMAT", "csv")]).encode())
    assert csv.headers["hven-warning"] == warning


@pytest.mark.parametrize("form", ["csv", "tsv"])
@pytest.mark.parametrize("order", ["", " ORDER BY number"])
def test_formats_that_cannot_say_so_tell_an_overflow_in_a_header(client: Client, form: str, order: str) -> None:
    short = ask(client, f"SELECT id FROM stars.main{order}", RESPONSEFORMAT=form, MAXREC=7)
    assert short.status == 200, short.text
    assert (short.headers["hven-maxrec"], short.headers["hven-overflow"]) == ("7", "true")
    whole = ask(client, f"SELECT id FROM stars.main{order}", RESPONSEFORMAT=form, MAXREC=2000)
    assert whole.status == 200, whole.text
    assert whole.headers["hven-maxrec"] == "2000"
    assert "hven-overflow" not in whole.headers
    big = ask(
        client,
        f"SELECT a.*, b.ra AS more FROM stars.main AS a, stars.main AS b{order and ' ORDER BY a.number'}",
        RESPONSEFORMAT=form,
        MAXREC=20000,
    )
    assert big.status == 200, big.text
    # who gets as many rows must think of more
    assert (big.headers["hven-maxrec"], big.text.count("\n")) == ("20000", 20001)


@pytest.mark.parametrize(
    "form",
    [
        "votable",
        "votable/td",
        "votable/b2",
        "votable/b",
        "application/x-votable+xml;serialization=TABLEDATA",
        "text/xml",
    ],
)
def test_votables_are_read_by_astropy(client: Client, form: str) -> None:
    answer = ask(client, "SELECT TOP 50 * FROM stars.main", RESPONSEFORMAT=form)
    table = parse(io.BytesIO(answer.body)).get_first_table().to_table()
    assert len(table) == 50
    assert str(table["mag"].unit) == "mag"
    assert status_of(answer.body) == ["OK"]


def test_every_format_has_the_rows(client: Client) -> None:
    query = "SELECT TOP 20 id, ra, number FROM stars.main ORDER BY number"

    def body(form: str) -> bytes:
        answer = ask(client, query, RESPONSEFORMAT=form)
        assert answer.status == 200, form
        return answer.body

    assert body("csv").decode().splitlines()[1].startswith("s0,")
    assert body("tsv").decode().splitlines()[1].startswith("s0\t")
    assert len(json.loads(body("json"))["data"]) == 20
    assert pq.read_table(io.BytesIO(body("parquet"))).num_rows == 20
    assert pa.ipc.open_stream(body("arrow")).read_all().column("number").to_pylist() == list(range(20))
    with fits.open(io.BytesIO(body("fits"))) as file:
        assert list(file[1].data["number"]) == list(range(20))


def test_maxrec_marks_the_overflow_after_the_table(client: Client) -> None:
    answer = ask(client, "SELECT * FROM stars.main", MAXREC=10)
    assert status_of(answer.body) == ["OK", "OVERFLOW"]
    assert len(parse(io.BytesIO(answer.body)).get_first_table().array) == 10
    assert status_of(ask(client, "SELECT * FROM stars.main", MAXREC=2000).body) == ["OK"]


def test_maxrec_zero_is_metadata_alone(client: Client) -> None:
    answer = ask(client, "SELECT * FROM stars.main", MAXREC=0)
    assert "OVERFLOW" in status_of(answer.body)
    assert len(etree.fromstring(answer.body).findall(".//v:FIELD", V)) == 6


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("SELECT ramag FROM stars.main", 400, ["line 1, column 8", "ramag", "did you mean"]),
        ("SELECT * FROM stars.mian", 400, ["stars.main"]),
        ("SELCT * FROM stars.main", 400, ["line 1, column 1", "SELECT"]),
        ("SELECT * FROM stars.main WHERE id = \u2018s1\u2019", 400, ["typographic", "straight"]),
        ("SELECT \x00 FROM stars.main", 400, ["NUL"]),
        ("SELECT " + "(" * 10_000 + "1" + ")" * 10_000 + " FROM stars.main", 400, ["nested"]),
        ("SELECT 1 FROM stars.main WHERE id = '" + "x" * 1_100_000 + "'", 413, ["1,000,000"]),
        ("SELECT * FROM stars.main LIMIT 5", 400, ["TOP"]),
        ("SELECT * FROM secret.main", 400, ["secret.main"]),
        ("", 400, ["QUERY is missing"]),
    ],
)
def test_bad_queries_are_error_documents_with_a_place(
    client: Client, query: str, status: int, words: list[str]
) -> None:
    answer = client.post("/tap/sync", LANG="ADQL", QUERY=query)
    assert answer.status == status
    text = message(answer.body)
    for word in words:
        assert word in text
    assert "Traceback" not in text
    assert answer.headers["x-request-id"] in text


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"LANG": "OOBLECK"}, "OOBLECK"),
        ({"RESPONSEFORMAT": "docx"}, "docx"),
        ({"MAXREC": "-1"}, "MAXREC"),
        ({"MAXREC": "many"}, "MAXREC"),
        ({"REQUEST": "getCapabilities"}, "REQUEST"),
        ({"UPLOAD": "t,nowhere"}, "UPLOAD"),
    ],
)
def test_bad_parameters_are_said(client: Client, params: dict[str, str], word: str) -> None:
    answer = client.get("/tap/sync", **{"LANG": "ADQL", "QUERY": "SELECT TOP 1 * FROM stars.main", **params})
    assert answer.status == 400
    assert word in message(answer.body)


@pytest.mark.parametrize("hostile", ["'; DROP TABLE x; --", '"; DROP TABLE x; --', "' OR '1'='1", "\\'; SELECT 1"])
def test_strings_stay_strings(client: Client, hostile: str) -> None:
    quoted = hostile.replace("'", "''")
    answer = ask(client, f"SELECT COUNT(*) AS n FROM stars.main WHERE id = '{quoted}'", RESPONSEFORMAT="csv")
    assert answer.text.split() == ["n", "0"]


@pytest.mark.parametrize(
    "function", ["read_csv('/etc/passwd')", "read_text('/etc/passwd')", "duckdb_tables()", "pragma_database_list()"]
)
def test_the_engines_own_functions_are_out_of_reach(client: Client, function: str) -> None:
    assert ask(client, f"SELECT * FROM {function}").status == 400
    assert ask(client, f"SELECT {function} FROM stars.main").status == 400


def test_bodies_are_compressed_on_request(client: Client) -> None:
    query = b"LANG=ADQL&RESPONSEFORMAT=csv&QUERY=SELECT+TOP+1000+*+FROM+stars.main+ORDER+BY+number"
    plain = client.ask("GET", "/tap/sync", query)
    packed = client.ask("GET", "/tap/sync", query, headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    packed = client.ask("GET", "/tap/sync", query, headers={"accept-encoding": "gzip;q=0.5, zstd"})
    assert packed.headers["content-encoding"] == "zstd"
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed.body) == plain.body


def test_head_has_the_headers_alone(client: Client) -> None:
    answer = client.ask("HEAD", "/tap/sync", b"LANG=ADQL&QUERY=SELECT+TOP+1+*+FROM+stars.main")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"].startswith("application/x-votable+xml")


def test_an_etag_follows_query_format_and_data(client: Client) -> None:
    tags = {
        ask(client, "SELECT TOP 1 * FROM stars.main").headers["etag"],
        ask(client, "SELECT TOP 2 * FROM stars.main").headers["etag"],
        ask(client, "SELECT TOP 1 * FROM stars.main", RESPONSEFORMAT="csv").headers["etag"],
    }
    assert len(tags) == 3
    one = ask(client, "SELECT TOP 1 * FROM stars.main").headers["etag"]
    again = client.ask(
        "GET", "/tap/sync", b"LANG=ADQL&QUERY=SELECT+TOP+1+*+FROM+stars.main", headers={"if-none-match": one}
    )
    assert again.status == 304


def test_rand_is_never_answered_from_a_cache(client: Client) -> None:
    query = b"LANG=ADQL&QUERY=SELECT+TOP+1+RAND()+AS+r+FROM+stars.main"
    tag = client.ask("GET", "/tap/sync", query).headers["etag"]
    assert client.ask("GET", "/tap/sync", query, headers={"if-none-match": tag}).status == 200


@pytest.mark.parametrize(
    "form", ["text/csv;x=\r\nX-Evil: 1", "text/csv;x=日本", "text/csv;x=\x00", "text/csv;" + "x" * 5000]
)
def test_a_format_never_becomes_a_bad_header(client: Client, form: str) -> None:
    answer = client.get("/tap/sync", LANG="ADQL", QUERY="SELECT 1 AS x", RESPONSEFORMAT=form)
    assert (answer.status, "there is no RESPONSEFORMAT" in answer.text) == (400, True)


def test_a_media_type_whose_plus_was_not_escaped_is_understood(client: Client) -> None:
    answer = client.ask(
        "GET",
        "/tap/sync",
        b"LANG=ADQL&QUERY=SELECT+1+AS+x&RESPONSEFORMAT=application/x-votable+xml;serialization=TABLEDATA",
    )
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-votable+xml;serialization=TABLEDATA")


# --- documents -----------------------------------------------------------------------------------------------


def valid(body: bytes, tmp_path: Path) -> None:
    """Judge a document by the schemas of the standards."""
    schemas = shared("xsd/all.xsd")
    file = tmp_path / "document.xml"
    file.write_bytes(body)
    done = subprocess.run(
        [require_program("xmllint"), "--nonet", "--noout", "--schema", schemas, file], capture_output=True, text=True, check=False,
        env={**os.environ, "XML_CATALOG_FILES": str(schemas.with_name("catalog.xml"))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[:2000]


@pytest.mark.outside
@pytest.mark.parametrize(
    "path",
    ["/tap/capabilities", "/tap/availability", "/tap/tables", "/tap/tables?detail=min", "/tap/tables?detail=max"],
)
def test_documents_keep_their_schemas(client: Client, path: str, tmp_path: Path) -> None:
    answer = client.get(path)
    assert answer.status == 200
    valid(answer.body, tmp_path)


def test_one_table(client: Client) -> None:
    tree = etree.fromstring(client.get("/tap/tables/stars.main").body)
    assert tree.findtext("name") == "stars.main"
    assert [item.findtext("name") for item in tree.iterfind("column")] == ["id", "ra", "dec", "number", "mag", "note"]
    assert tree.find("column[name='note']").findtext("description") == "remarks & <more>"


@pytest.mark.parametrize("name", ["stars.nothing", "nothing.main", "secret.main", "main", "a.b.c", "'", "%00"])
def test_no_such_table_is_404(client: Client, name: str) -> None:
    assert client.get(f"/tap/tables/{name}").status == 404


def test_min_has_no_columns(client: Client) -> None:
    assert etree.fromstring(client.get("/tap/tables?detail=min").body).find(".//column") is None
    assert client.get("/tap/tables?detail=some").status == 400


def test_tables_and_tap_schema_say_the_same(client: Client) -> None:
    tree = etree.fromstring(client.get("/tap/tables").body)
    told = {
        (
            table.findtext("name"),
            column.findtext("name"),
            column.findtext("dataType"),
            column.find("dataType").get("arraysize"),
            column.findtext("unit"),
        )
        for table in tree.iterfind(".//table")
        for column in table.iterfind("column")
    }
    answer = ask(
        client,
        "SELECT table_name, column_name, datatype, arraysize, unit FROM TAP_SCHEMA.columns",
        RESPONSEFORMAT="json",
    )
    assert told == {tuple(row) for row in json.loads(answer.body)["data"]}


def test_every_example_runs(client: Client) -> None:
    answer = client.get("/tap/examples")
    assert answer.headers["content-type"] == "application/xhtml+xml"
    tree = etree.fromstring(answer.body)
    queries = [item.text for item in tree.xpath("//*[@typeof='example']//*[@property='query']")]
    assert len(queries) == 3
    for text in queries:
        assert len(json.loads(ask(client, text, RESPONSEFORMAT="json").body)["data"]) > 0, text
    (there,) = etree.fromstring(client.get("/tap/capabilities").body).xpath(
        "capability[@standardID='ivo://ivoa.net/std/DALI#examples']"
    )
    assert there.findtext("interface/accessURL") == "http://vo.example/tap/examples"


def test_capabilities_tell_what_is_true(client: Client) -> None:
    tree = etree.fromstring(client.get("/tap/capabilities").body)
    (tap,) = tree.xpath("capability[@standardID='ivo://ivoa.net/std/TAP']")
    assert tap.findtext("interface/accessURL") == "http://vo.example/tap"
    for form in tap.findall("outputFormat"):
        for name in [form.findtext("mime"), *(alias.text for alias in form.findall("alias"))]:
            assert ask(client, "SELECT TOP 1 id FROM stars.main", RESPONSEFORMAT=name).status == 200, name
    for version in tap.findall("language/version"):
        assert (
            client.get("/tap/sync", LANG=f"ADQL-{version.text}", QUERY="SELECT TOP 1 id FROM stars.main").status == 200
        )
