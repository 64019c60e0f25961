"""UPLOAD through /tap/sync: what is sent is what is asked, and what is no table is told."""

from __future__ import annotations

import asyncio
import gzip
import html
import http.server
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pyarrow as pa
import pytest
from asgi_client import Answer, Client
from astropy.coordinates import angular_separation
from astropy.io.votable import parse
from astropy.table import Table
from lxml import etree
from star_tables import STARS, build_rows
from upload_requests import build_upload_table, send, votable

from hven.app._server import create_and_start_application
from hven.model.errors import OverloadedError
from hven.model.params import UploadedFile, collect_params
from hven.model.settings import QueryLimits
from hven.query import memory_watchdog
from hven.services._uploads import UploadReader
from hven.site import Site
from hven.testing.site import open_tiny_site

V = {"v": "http://www.ivoa.net/xml/VOTable/v1.3"}
ONE = "SELECT TOP 1 1 AS n FROM stars.main"
ALL = "SELECT * FROM TAP_UPLOAD.t"


@pytest.mark.parametrize(
    ("content", "status"), [(b"a,b\n1,2\n", 200), (b"a,b\n1,2,3\n", 400), (b"x" * 2 * 1024**2, 400)]
)
def test_memory_is_given_back_after_an_upload(
    content: bytes, status: int, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    trimmed: SimpleQueue[int] = SimpleQueue()
    monkeypatch.setattr(memory_watchdog, "TRIM_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(memory_watchdog, "_malloc_trim", trimmed.put)
    assert send(client, ONE, {"t": content}).status == status
    assert trimmed.get(timeout=60) == 0


def test_a_repeated_name_gets_a_number_and_is_told(client: Client) -> None:
    answer = send(client, "SELECT a, a_2 FROM TAP_UPLOAD.t", {"t": b"a,a\n1,2\n"})
    assert answer.status == 200
    assert "several columns have this name; Hven renames the next one to a_2" in answer.text


def parse_error_message(answer: Answer) -> str:
    (info,) = etree.fromstring(answer.body).xpath("//v:INFO[@name='QUERY_STATUS']", namespaces=V)
    assert info.get("value") == "ERROR"
    return str(info.text)


def table_of(answer: Answer) -> Table:
    assert answer.status == 200, answer.text
    return parse(io.BytesIO(answer.body)).get_first_table().to_table(use_names_over_ids=True)


@pytest.mark.parametrize("form", ["tabledata", "binary", "binary2"])
@pytest.mark.parametrize("back", ["votable/td", "votable/b2"])
def test_values_come_back_as_they_went(client: Client, form: str, back: str) -> None:
    one = build_upload_table()
    if form == "binary":
        one.remove_column("count")
    two = table_of(send(client, ALL, {"t": votable(one, form)}, RESPONSEFORMAT=back))
    assert two.colnames == one.colnames
    for name in one.colnames:
        mask = np.zeros(one[name].shape, bool) | getattr(one[name], "mask", False)
        gone = np.zeros(two[name].shape, bool) | getattr(two[name], "mask", False)
        if name == "name":  # BINARY and TABLEDATA have one form for both: an empty string is no value
            assert [str(value) if value else "" for value in two[name].filled("")] == [
                str(value) for value in one[name]
            ]
            continue
        assert (mask == gone).all(), name
        assert two[name].dtype == one[name].dtype
        assert (np.asarray(two[name])[~mask] == np.asarray(one[name])[~mask]).all(), name
    assert str(two["mag"].unit) == "mag"
    assert two["mag"].description == "how bright"


def test_units_ucds_utypes_and_xtypes_are_kept(client: Client) -> None:
    fields = (
        '<FIELD name="t" datatype="char" arraysize="*" xtype="timestamp" ucd="time.epoch"/>'
        '<FIELD name="p" datatype="double" arraysize="2" xtype="point" unit="deg" utype="a:b.c"/>'
        '<FIELD name="old" datatype="char" arraysize="*" xtype="adql:TIMESTAMP"/>'
    )
    row = "<TR><TD>2020-02-29T12:00:00.5</TD><TD>1 2</TD><TD>1999-01-01</TD></TR>"
    text = f'<VOTABLE version="1.4"><RESOURCE><TABLE>{fields}<DATA><TABLEDATA>{row}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>'
    answer = send(client, ALL, {"t": text.encode()}, RESPONSEFORMAT="votable/td")
    found = etree.fromstring(answer.body)
    said = [
        {key: field.get(key) for key in ("name", "xtype", "ucd", "utype", "unit")}
        for field in found.iterfind(".//v:FIELD", V)
    ]
    assert said == [
        {"name": "t", "xtype": "timestamp", "ucd": "time.epoch", "utype": None, "unit": None},
        {"name": "p", "xtype": "point", "ucd": None, "utype": "a:b.c", "unit": "deg"},
        {"name": "old", "xtype": "adql:TIMESTAMP", "ucd": None, "utype": None, "unit": None},
    ]
    assert [cell.text for cell in found.iterfind(".//v:TD", V)] == [
        "2020-02-29T12:00:00.5",
        "1 2",
        "1999-01-01T00:00:00",
    ]
    asked = "SELECT 1 AS n FROM TAP_UPLOAD.t WHERE CONTAINS(p, CIRCLE(1, 2, 0.1)) = 1 AND t > '2020-01-01'"
    assert send(client, asked, {"t": text.encode()}, RESPONSEFORMAT="csv").text.split() == ["n", "1"]


def test_no_rows_are_rows_too(client: Client) -> None:
    answer = send(client, ALL, {"t": votable(build_upload_table()[:0])})
    assert len(table_of(answer)) == 0
    assert send(
        client, "SELECT COUNT(*) AS n FROM tap_upload.T", {"t": b"a,b\n"}, RESPONSEFORMAT="csv"
    ).text.split() == ["n", "0"]


def test_delimited_names_can_be_asked(client: Client) -> None:
    query = 'SELECT "of the day" AS o, t."SELECT" FROM TAP_UPLOAD.t AS t WHERE "of the day" < 2 ORDER BY o'
    assert list(table_of(send(client, query, {"t": votable(build_upload_table())}))["o"]) == [0.0, 1.5]


def test_several_tables_join_with_each_other_and_with_ours(client: Client) -> None:
    query = "SELECT s.id, b.w FROM stars.main AS s JOIN TAP_UPLOAD.a AS a ON s.id = a.id JOIN TAP_UPLOAD.b AS b ON a.k = b.k ORDER BY s.id"
    files = {"a": b"id,k\ns1,1\ns2,2\nnobody,3\n", "b": b"k\tw\n1\tone\n2\ttwo\n"}
    expected = ["id,w", "s1,one", "s2,two"]
    assert send(client, query, files, RESPONSEFORMAT="csv").text.split() == expected
    assert (
        send(client, query, {name.upper(): body for name, body in files.items()}, RESPONSEFORMAT="csv").text.split()
        == expected
    )


def test_an_upload_lives_for_one_query(client: Client) -> None:
    query = "SELECT MAX(x) AS x FROM TAP_UPLOAD.t"
    for value in (b"1", b"2"):
        answer = send(client, query, {"t": b"x\n" + value}, RESPONSEFORMAT="csv")
        assert answer.text.split() == ["x", value.decode()]
        assert "etag" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"
    assert client.post("/tap/sync", LANG="ADQL", QUERY=query).status == 400
    everything = send(client, "SELECT table_name FROM TAP_SCHEMA.tables", {"t": b"x\n1\n"}, RESPONSEFORMAT="csv").text
    assert "main" in everything
    assert "upload" not in everything.lower()


def test_types_may_change_under_one_and_the_same_query(client: Client) -> None:
    query = "SELECT x FROM TAP_UPLOAD.t WHERE x IS NOT NULL"
    for body, back in ((b"x\n1\n", "1"), (b"x\nword\n", "word"), (b"x,y\n2.5,1\n", "2.5")):
        assert send(client, query, {"t": body}, RESPONSEFORMAT="csv").text.split() == ["x", back]


def test_what_is_hidden_stays_hidden_from_an_upload(client: Client) -> None:
    answer = send(client, "SELECT m.* FROM secret.main AS m JOIN TAP_UPLOAD.t AS t ON t.id = m.id", {"t": b"id\ns1\n"})
    assert answer.status == 400
    assert "secret" in parse_error_message(answer)


@pytest.mark.parametrize(
    ("upload", "words"),
    [
        ("t", ["a table name, a comma and an address"]),
        ("t,", ["a table name, a comma and an address"]),
        ("t,param:nowhere", ["nowhere", "t, u"]),
        ("TAP_UPLOAD.t,param:t", ["leave out TAP_UPLOAD"]),
        ("1t,param:t", ["ADQL identifier"]),
        ('"t",param:t', ["ADQL identifier"]),
        ("ü,param:t", ["ADQL identifier"]),
        ("select,param:t", ["reserved word", "my_select"]),
        ("t,param:t;T,param:u", ["two tables"]),
        ("t,file:///etc/passwd", ["cannot be fetched"]),
        ("t,ftp://host/x", ["cannot be fetched"]),
        ("t,vos://host/x", ["cannot be fetched"]),
        (";".join(f"t{n},param:t" for n in range(40)), ["limit is 32"]),
    ],
)
def test_faults_of_the_parameter(client: Client, upload: str, words: list[str]) -> None:
    answer = send(client, ONE, {"t": b"a\n1\n", "u": b"a\n1\n"}, UPLOAD=upload)
    assert answer.status == 400
    for word in words:
        assert word in parse_error_message(answer)


FIELDS = b'<VOTABLE><RESOURCE><TABLE><FIELD name="%s" datatype="int"/><FIELD name="%s" datatype="int"/></TABLE></RESOURCE></VOTABLE>'
BOMB = b"""<?xml version="1.0"?><!DOCTYPE VOTABLE [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>
<VOTABLE><RESOURCE><TABLE><FIELD name="x" datatype="char" arraysize="*"/><DATA><TABLEDATA><TR><TD>&c;</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"""


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"<!DOCTYPE html>\n<html><head><title>Log in</title></head></html>", "HTML"),
        (b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'/>", "HTML"),
        (b"<tableset/>", "root element is tableset"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04.......", "ZIP"),
        (b'{"a": 1}', "JSON"),
        (b"\x7fELF\0\0\0", "not a table in a known format"),
        (b"PAR1\x15\0 and no more", "Parquet"),
        (b"\xff\xff\xff\xff\x10\0\0\0garbage", "Arrow"),
        (b"ARROW1\0\0garbage", "Arrow"),
        (b"SIMPLE  =                    T" + b" " * 50, "cannot be read"),
        (BOMB, "entities"),
        (FIELDS % (b"a ", b"b"), "blank"),
        (FIELDS % (b" ", b"b"), "empty"),
        (b"a,b\n" + b"1,2\n" * 50 + b"1,2,3\n", "row 51"),
        (b"<!-- a page --><HTML>", "HTML"),
        (b"BZh91AY&SY and no more", "bzip2 stream"),
        (gzip.compress(gzip.compress(b"a\n1\n", mtime=0), mtime=0), "twice"),
        (gzip.compress(b"a\n1\n" * 99, mtime=0)[:-12], "gzip stream"),
    ],
)
def test_what_is_no_table_is_told(client: Client, content: bytes, word: str) -> None:
    answer = send(client, ALL, {"t": content})
    assert answer.status == 400
    assert word in parse_error_message(answer)
    assert "/tmp" not in answer.text


@pytest.mark.parametrize("second", [b"ra", b"Ra"])
def test_fields_of_one_name_are_told_apart_as_in_files(client: Client, second: bytes) -> None:
    answer = send(client, ALL, {"t": FIELDS % (b"ra", second)})
    assert answer.status == 200
    assert f'name="{second.decode()}_2"' in answer.text


@pytest.mark.parametrize(
    "content",
    [
        b"a,A,b\n1,2,3\n",
        FIELDS.replace(b"</TABLE>", b"<DATA><TABLEDATA><TR><TD>1</TD><TD>2</TD></TR></TABLEDATA></DATA></TABLE>")
        % (b"a", b"A"),
    ],
)
def test_names_that_differ_in_case_alone_are_told_apart(client: Client, content: bytes) -> None:
    answer = send(
        client, "SELECT t.a AS one, t.a_2 AS two FROM TAP_UPLOAD.t AS t", {"t": content}, RESPONSEFORMAT="votable/td"
    )
    assert answer.status == 200
    assert "<TD>1</TD><TD>2</TD>" in answer.text
    assert "the names of several columns of the upload 't' differ only in case: 'A' is now A_2" in html.unescape(
        answer.text
    )


@pytest.mark.parametrize("form", ["tabledata", "binary", "binary2"])
def test_a_truncated_votable_is_refused_wherever_it_ends(client: Client, form: str) -> None:
    whole = votable(build_upload_table()["name", "ra", "mag", "SELECT"], form)
    for end in range(len(whole) // 7, len(whole) - 20, len(whole) // 7):
        answer = send(client, ALL, {"t": whole[:end]})
        assert answer.status == 400, end
        assert "the upload 't' cannot be read" in parse_error_message(answer)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that takes little: 200 kB and 500 rows, and may fetch from this machine."""
    limits = QueryLimits(upload=200_000, upload_rows=500)
    with open_tiny_site(
        tmp_path_factory.mktemp("narrow"), {"stars.main": (STARS, build_rows())}, limits=limits, allow_private=True
    ) as made_site:
        yield made_site


@pytest.fixture(scope="module")
def small(narrow: Site) -> Client:
    return Client(create_and_start_application(narrow))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"a\n" + b"123456789\n" * 20_001, "200,000 bytes"),
        (gzip.compress(b"a\n" + b"0\n" * 5_000_000, mtime=0), "200,000 bytes"),
        (b"a\n" + b"1\n" * 501, "500 rows"),
        (
            b'<VOTABLE><RESOURCE><TABLE><FIELD name="x" datatype="double" arraysize="100000"/><DATA><TABLEDATA>'
            + b"<TR><TD/></TR>" * 400
            + b"</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>",
            "in memory",
        ),
    ],
)
def test_too_much_is_413(small: Client, content: bytes, word: str) -> None:
    answer = send(small, ALL, {"t": content})
    assert answer.status == 413
    assert word in parse_error_message(answer)


def test_all_tables_together_count(small: Client) -> None:
    part = b"a\n" + b"1" * 150_000
    assert send(small, ONE, {"a": part}).status == 200
    assert send(small, ONE, {"a": part, "b": part}).status == 413


def test_a_body_beyond_all_limits_is_not_read(small: Client) -> None:
    assert send(small, ALL, {"t": b"a\n" + b"1" * 17_000_000}).status == 413


def test_the_capabilities_say_what_is_enforced(small: Client) -> None:
    found = etree.fromstring(small.get("/tap/capabilities").body)
    methods = [item.get("ivo-id").partition("#")[2] for item in found.iter("uploadMethod")]
    assert methods == ["upload-inline", "upload-http", "upload-https"]
    (limit,) = found.iter("uploadLimit")
    assert [(item.tag, item.get("unit"), item.text) for item in limit] == [
        ("default", "byte", "200000"),
        ("hard", "byte", "200000"),
    ]


def test_a_site_may_offer_none(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, {"stars.main": (STARS, build_rows())}, limits=QueryLimits(upload=0)) as site:
        client = Client(create_and_start_application(site))
        assert b"upload" not in client.get("/tap/capabilities").body
        answer = send(client, ALL, {"t": b"a\n1\n"})
        assert answer.status == 400
        assert "does not accept uploads" in parse_error_message(answer)


# --- by address


class UploadHandler(http.server.BaseHTTPRequestHandler):
    over = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/t.csv")
            self.end_headers()
        elif self.path == "/drip":
            self.send_response(200)
            self.end_headers()
            while not self.over.wait(0.1):
                try:
                    self.wfile.write(b"1\n")
                except OSError:
                    return
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            while not self.over.is_set():
                try:
                    self.wfile.write(b"1\n" * 50_000)
                except OSError:
                    return
        elif self.path == "/gone":
            self.send_error(404)
        else:
            body = {"/t.csv.gz": gzip.compress(b"x\n7\n"), "/page": b"<html>no</html>"}.get(self.path, b"x\n7\n")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def upload_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), UploadHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    UploadHandler.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(client: Client, url: str) -> Answer:
    return client.post(
        "/tap/sync", LANG="ADQL", QUERY="SELECT x FROM TAP_UPLOAD.t", UPLOAD=f"t,{url}", RESPONSEFORMAT="csv"
    )


@pytest.mark.parametrize("path", ["/t.csv", "/moved", "/t.csv.gz", "/t.csv?a=1,2;b=3"])
def test_tables_are_fetched(small: Client, upload_server: str, path: str) -> None:
    assert fetch(small, upload_server + path).text.split() == ["x", "7"]


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/gone", 400, "returned status 404"),
        ("/page", 400, "HTML"),
        ("/endless", 413, "200,000 bytes"),
    ],
)
def test_addresses_that_give_no_table(small: Client, upload_server: str, path: str, status: int, word: str) -> None:
    answer = fetch(small, upload_server + path)
    assert answer.status == status
    assert word in parse_error_message(answer)


def test_an_address_that_drips_is_given_up(tmp_path: Path, upload_server: str) -> None:
    limits = QueryLimits(upload=200_000, upload_rows=500, seconds=2)
    with open_tiny_site(tmp_path, {"stars.main": (STARS, build_rows())}, limits=limits, allow_private=True) as site:
        answer = fetch(Client(create_and_start_application(site)), f"{upload_server}/drip")
    assert answer.status == 400
    assert "within" in parse_error_message(answer)


@pytest.mark.parametrize(
    "address",
    [
        "https://[",
        "http://[::1",
        "http://[v1.x]/",
        "http://a]b/",
        "https://host:port/",
        "http://host:99999/",
        "http://\x00/",
        "http:///x",
        "http://",
        "http://..",
        "http://xn--/",
        "http://%zz/",
        f"https://{'a' * 300}/",
        "http://\uff41\uff0e\uff42/",
        "http://user:word@[::]/",
    ],
)
def test_what_is_no_address_is_told(client: Client, address: str) -> None:
    answer = fetch(client, address)
    assert answer.status == 400
    assert "QUERY_STATUS" in answer.text


def test_a_redirect_to_no_address_is_told(tmp_path: Path) -> None:
    class Leading(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("location", "https://[")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Leading) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with open_tiny_site(tmp_path, {"stars.main": (STARS, build_rows())}, allow_private=True) as site:
            answer = fetch(Client(create_and_start_application(site)), f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
    assert answer.status == 400
    assert "no" in parse_error_message(answer)


@pytest.mark.parametrize(
    "content",
    [
        b"# %ECSV 1.0\n",
        b"# %ECSV 1.0\n# ---\n",
        b"# %ECSV 1.0\na b\n1 2\n",
        b"# %ECSV 1.0\n# ---\na b\n1 2\n",
        b"# %ECSV 1.0\n# ---\n# datatype: 5\na\n1\n",
        b"# %ECSV 1.0\n# ---\n# datatype: [{name: a, datatype: nothing}]\n",
        b"# %ECSV 1.0\n# ---\n# - x\na\n1\n",
        b"# %ECSV 1.0\n# ---\n# {delimiter: [1], datatype: [{name: a, datatype: int64}]}\na\n1\n",
    ],
)
def test_an_ecsv_file_with_a_broken_header_is_told(client: Client, content: bytes) -> None:
    answer = send(client, ALL, {"t": content})
    assert answer.status == 400
    assert "upload &#x27;t&#x27;" in answer.text or "upload 't'" in parse_error_message(answer)


def test_a_reader_that_breaks_is_the_fault_of_the_file(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a plug-in's may: whatever it raises, the answer names the upload, and the log has the rest."""
    from hven.query import uploads

    def broken(*_: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(uploads, "open_table_file", broken)
    answer = send(client, ALL, {"t": b"a\n1\n"})
    assert answer.status == 400
    assert "the reader of this format failed (RuntimeError)" in parse_error_message(answer)
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "10.1.2.3", "[::ffff:127.0.0.1]", "2130706433"],
)
def test_the_own_network_is_out_of_reach(client: Client, host: str) -> None:
    answer = fetch(client, f"http://{host}:9/x")
    assert answer.status == 403
    assert "not on the public internet" in parse_error_message(answer)
    assert "127.0.0.1" not in parse_error_message(answer)  # which number a name has is nobody's business


# --- much of it


def test_a_positional_match_agrees_with_astropy(client: Client) -> None:
    stars = build_rows()
    made_up = np.random.default_rng(3)
    number = 10_000
    picked = made_up.integers(0, stars.num_rows, number)
    ra = np.asarray(stars["ra"])[picked] + made_up.normal(0, 1 / 3600, number)
    dec = np.clip(np.asarray(stars["dec"])[picked] + made_up.normal(0, 1 / 3600, number), -90, 90)
    list_ = Table({"n": np.arange(number), "ra": ra, "dec": dec})
    query = "SELECT u.n, s.number FROM TAP_UPLOAD.t AS u JOIN stars.main AS s ON DISTANCE(s.ra, s.dec, u.ra, u.dec) < 1.0/3600"
    found = table_of(send(client, query, {"t": votable(list_)}))
    sky_ra, sky_dec = np.radians(np.asarray(stars["ra"])), np.radians(np.asarray(stars["dec"]))
    close = [
        (start + one, other)
        for start in range(0, number, 500)
        for one, other in np.argwhere(
            angular_separation(
                np.radians(ra[start : start + 500, None]), np.radians(dec[start : start + 500, None]), sky_ra, sky_dec
            )
            < np.radians(1 / 3600)
        ).tolist()
    ]
    assert 3_000 < len(close) < number
    assert sorted(zip(found["n"].tolist(), found["number"].tolist(), strict=True)) == sorted(close)


def test_memory_for_uploads_is_counted_and_given_back(site: Site) -> None:
    uploads = UploadReader(replace(site.settings, limits=QueryLimits(memory=64_000, upload=8_000)))

    def read() -> dict[str, tuple[object, pa.Table]]:
        body = b"a\n" + b"123456\n" * 1000
        params = collect_params(
            [("UPLOAD", "t,param:t")], {"t": UploadedFile(name="t", file=io.BytesIO(body), size=len(body))}
        )
        return asyncio.run(uploads.read_uploads(params))

    held = [read() for _ in range(8)]
    with pytest.raises(OverloadedError):
        read()
    held.clear()
    assert read()["TAP_UPLOAD.t"][1].num_rows == 1000


# --- EXPLAIN


def test_explain_gives_the_plan_as_text(client: Client) -> None:
    answer = client.get(
        "/tap/sync", LANG="ADQL", QUERY="SELECT number, COUNT(*) AS n FROM stars.main GROUP BY number", EXPLAIN="true"
    )
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "GROUP BY" in answer.text
    assert send(client, ALL, {"t": b"x\n1\n"}, EXPLAIN="true").status == 200
    assert client.get("/tap/sync", LANG="ADQL", QUERY=ONE, EXPLAIN="false", RESPONSEFORMAT="csv").text.split() == [
        "n",
        "1",
    ]
    assert client.get("/tap/sync", LANG="ADQL", QUERY=ONE, EXPLAIN="maybe").status == 400
    hidden = client.get("/tap/sync", LANG="ADQL", QUERY="SELECT * FROM secret.main", EXPLAIN="true")
    assert hidden.status == 400


@pytest.mark.parametrize("form", ["csv", "tsv", "fits", "parquet", "arrow", "votable/td", "votable/b", "votable/b2"])
def test_our_own_answers_can_be_sent_back(client: Client, form: str) -> None:
    query = "SELECT TOP 100 * FROM stars.main ORDER BY number"
    sent = client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT=form).body
    for body in (sent, gzip.compress(sent)):
        back = json.loads(
            send(client, "SELECT * FROM TAP_UPLOAD.t ORDER BY number", {"t": body}, RESPONSEFORMAT="json").body
        )
        first = json.loads(client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="json").body)
        if form == "fits":  # which has ASCII only
            first["data"] = [
                [value.replace("é", "e") if isinstance(value, str) else value for value in row] for row in first["data"]
            ]
        assert back["data"] == first["data"]
        assert [column["name"] for column in back["metadata"]] == [column["name"] for column in first["metadata"]]
