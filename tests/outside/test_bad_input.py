"""What is wrong is told alike at once and by a job: queries with their place, tables that are sent or fetched from servers that lie, stall or never end."""

from __future__ import annotations

import gzip
import http.server
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from functools import cache

import pyarrow as pa
import pytest
from lxml import etree

from hven.testing.site import open_tiny_site
from process_runner import Server, run_hven, serve_site, wait_until
from requirements import require_program
from storage_engines import EMBEDDED, SiteEngine, use_engines

pytestmark = [pytest.mark.outside, pytest.mark.slow, pytest.mark.xdist_group("outside")]

LIMIT = 200_000


@cache
def build_gzip_bomb() -> bytes:
    """Give little that becomes much; made before it is asked for, for the seconds that it takes are not to be a server's silence."""
    return gzip.compress(b"x\n" + b"0\n" * 50_000_000, mtime=0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keeper: SiteEngine) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("bad") / "site"
    run_hven("init", directory)
    (directory / "hven.toml").write_text(
        f'name = "bad"\nallow_private = true\n[limits]\nupload = {LIMIT}\nupload_rows = 500\nseconds = 10\n'
    )
    rows = pa.table({"id": list(range(40)), "ra": [1.0] * 40, "dec": [2.0] * 40, "word": ["a"] * 40})
    keeper.write_settings(directory)
    with open_tiny_site(directory, {"s.t": rows}, **keeper.read_options(directory)):
        pass
    with serve_site(directory, workers=1) as made:
        yield made


def parse_error_message(body: bytes) -> str:
    """Give the message of an error document, without the id of its request."""
    (info,) = etree.fromstring(body).iter("{*}INFO")
    assert (info.get("name"), info.get("value")) == ("QUERY_STATUS", "ERROR")
    return re.sub(r" \[\w+ \w+\]$", "", info.text)


def ask_both_ways(
    server: Server, params: dict[str, str], files: dict[str, bytes] | None = None
) -> tuple[int, str, str]:
    """Ask at once and by a job; the status, and both messages."""
    mark = "----d9"
    head = {"Content-Type": f"multipart/form-data; boundary={mark}"}

    def body(more: dict[str, str]) -> bytes:
        parts = [(f'name="{name}"', value.encode()) for name, value in {"LANG": "ADQL", **params, **more}.items()]
        parts += [(f'name="{name}"; filename="{name}"', value) for name, value in (files or {}).items()]
        return (
            b"".join(
                f"--{mark}\r\nContent-Disposition: form-data; {said}\r\n\r\n".encode() + value + b"\r\n"
                for said, value in parts
            )
            + f"--{mark}--\r\n".encode()
        )

    made, headers, refused = server.send("POST", "/tap/async", body({"PHASE": "RUN"}), head)
    # the job waits meanwhile for whom both wait for
    status, _, answer = server.send("POST", "/tap/sync", body({}), head)
    if made != 303:
        assert made == status
        return status, parse_error_message(answer), parse_error_message(refused)
    job = headers["location"].removeprefix(server.url)
    wait_until(lambda: server.get(f"{job}/phase")[2] in {b"ERROR", b"COMPLETED"})
    assert server.get(f"{job}/phase")[2] == b"ERROR"
    code, _, later = server.get(f"{job}/error")
    assert code == 200
    assert server.get(f"{job}/results/result")[0] == 404
    server.send("DELETE", job)
    return status, parse_error_message(answer), parse_error_message(later)


@use_engines(EMBEDDED)
@pytest.mark.parametrize(
    ("query", "place", "words"),
    [
        ("SELECT id FROM s.t WHERE word = \u2018a\u2019", "line 1, column 33", "write a straight single quote: '"),
        ("SELECT id\nFROM s.t\nWHERE wrd = 'a'", "line 3, column 7", "did you mean 'word'?"),
        ("SELECT * FROM s.tt", "line 1, column 15", "did you mean 's.t'?"),
        ("SELECT id, FROM s.t", "line 1, column 12", "leave out the comma before FROM"),
        ("SELECT a.id FROM s.t AS a, s.t AS b WHERE id = 1", "line 1, column 43", "ambiguous: a.id, b.id; qualify it"),
        ("SELECT SUM(word) FROM s.t", "line 1, column 8", "must be a number"),
        ("DROP TABLE s.t", "line 1, column 1", "only queries are"),
        ("SELECT 1; SELECT 2", "line 1, column 11", "send each query separately"),
        ("SELECT MOC('x')", "line 1, column 12", "write a MOC such as"),
        ("SELECT COUNT(*) FROM TAP_UPLOAD.nothing", "line 1, column", "TAP_UPLOAD.nothing"),
    ],
)
def test_a_query_that_is_wrong(server: Server, query: str, place: str, words: str) -> None:
    check_refusal(server, query, place, words)


def test_a_value_that_is_wrong(server: Server) -> None:
    """Which an engine finds, where all else here is refused before it is asked."""
    check_refusal(server, "SELECT CAST(word AS INTEGER) FROM s.t", "line 1, column", "'a' cannot be read as INTEGER")


def check_refusal(server: Server, query: str, place: str, words: str) -> None:
    status, now, later = ask_both_ways(server, {"QUERY": query})
    assert status == 400
    assert now == later
    assert now.startswith(place)
    assert words in now


VOTABLE = b'<VOTABLE><RESOURCE><TABLE><FIELD name="x" datatype="char" arraysize="*"/><DATA><TABLEDATA>%s'
BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE VOTABLE [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    + VOTABLE % b"<TR><TD>&b;</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
)
OUTSIDE = BOMB.replace(b'<!ENTITY a "ha">', b'<!ENTITY a SYSTEM "file:///etc/hostname">')


@use_engines(EMBEDDED)
@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"<!DOCTYPE html><html><title>Log in</title></html>", 400, "HTML page"),
        (VOTABLE % b"<TR><TD>a</TD></TR><TR><T", 400, "the upload 't' cannot be read"),
        (BOMB, 400, "entities"),
        (OUTSIDE, 400, "entities"),
        (None, 413, f"after unpacking; the limit is {LIMIT:,} bytes"),
        (gzip.compress(b"x\n1\n" * 99, mtime=0)[:-12], 400, "damaged"),
        (b"x\n" + b"1\n" * 501, 413, "the limit is 500 rows"),
        (b"", 400, "empty"),
    ],
    ids=["html", "truncated", "entities", "outside entity", "zip bomb", "damaged", "rows", "empty"],
)
def test_a_table_that_is_none(server: Server, content: bytes | None, status: int, words: str) -> None:
    content = build_gzip_bomb() if content is None else content
    found, now, later = ask_both_ways(
        server, {"QUERY": "SELECT * FROM TAP_UPLOAD.t", "UPLOAD": "t,param:p"}, {"p": content}
    )
    assert (found, words in now) == (status, True), now
    assert now == later


@use_engines(EMBEDDED)
@pytest.mark.parametrize(
    ("upload", "words"),
    [
        ("t,param:p;T,param:p", "two tables"),
        ("select,param:p", "reserved word"),
        ("TAP_UPLOAD.t,param:p", "leave out TAP_UPLOAD"),
        ("1t,param:p", "not an ADQL identifier"),
        ("t,param:q", "no file 'q'"),
        ("t,file:///etc/passwd", "cannot be fetched"),
        ("t", "must be a table name, a comma and an address"),
    ],
)
def test_names_and_addresses_that_are_none(server: Server, upload: str, words: str) -> None:
    status, now, later = ask_both_ways(
        server, {"QUERY": "SELECT * FROM TAP_UPLOAD.t", "UPLOAD": upload}, {"p": b"x\n1\n"}
    )
    assert (status, words in now) == (400, True), now
    assert now == later


# --- servers of all kinds


class FaultyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    over = threading.Event()

    def do_GET(self) -> None:
        self.close_connection = True
        body = {"/page": b"<!DOCTYPE html><html>"}.get(self.path, b"x\n7\n")
        match self.path:
            case "/gone":
                return self.send_error(404)
            case "/broken":
                return self.send_error(500)
            case "/round":
                return self.head(302, location="/round", content_length="0")
            case "/secret":
                return self.head(302, location="file:///etc/hostname", content_length="0")
            case "/more":
                self.head(content_length="100")
            case "/huge":
                self.head(content_length="999999999999")
            case "/cut":
                self.head(transfer_encoding="chunked")
                body = b"4\r\nx\n7\n\r\n"
            case "/packed":
                body = build_gzip_bomb()
                self.head(content_length=str(len(body)), content_encoding="gzip")
            case "/drip" | "/endless":
                self.head(connection="close")
                while not self.over.wait(0.2 if self.path == "/drip" else 0):
                    try:
                        self.wfile.write(b"1" if self.path == "/drip" else b"1\n" * 50_000)
                        self.wfile.flush()
                    except OSError:
                        return None
                return None
            case "/silent":
                self.over.wait()  # the reader ends it, whose time limit is looked at
                return None
            case "/garbage":
                body = b"\0\1 garbage\r\n\r\n"
            case _:
                self.head(content_length=str(len(body)))
        self.wfile.write(body)
        return None

    def head(self, code: int = 200, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def faulty_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A web server, and the same one with a certificate that nobody trusts and that is for another name."""
    FaultyHandler.over.clear()
    build_gzip_bomb()
    place = tmp_path_factory.mktemp("far")
    words = f"req -x509 -newkey rsa:2048 -nodes -keyout {place}/key.pem -out {place}/cert.pem -days 2 -subj /CN=other.example"
    subprocess.run([require_program("openssl"), *words.split()], check=True, capture_output=True)
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(place / "cert.pem", place / "key.pem")
    servers = {
        "http": http.server.ThreadingHTTPServer(("127.0.0.1", 0), FaultyHandler),
        "https": http.server.ThreadingHTTPServer(("127.0.0.1", 0), FaultyHandler),
    }
    servers["https"].socket = secure.wrap_socket(servers["https"].socket, server_side=True)
    servers["https"].handle_error = lambda *_: None  # type: ignore[method-assign]  # handshakes that fail are what is wanted
    threads = [threading.Thread(target=each.serve_forever, args=(0.05,)) for each in servers.values()]
    for thread in threads:
        thread.start()
    yield {scheme: f"{scheme}://127.0.0.1:{each.server_port}" for scheme, each in servers.items()}
    FaultyHandler.over.set()
    for each in servers.values():
        each.shutdown()
        each.server_close()
    for thread in threads:
        thread.join()


@use_engines(EMBEDDED)
@pytest.mark.parametrize(
    ("scheme", "path", "status", "words"),
    [
        ("http", "/page", 400, "HTML page"),
        ("http", "/gone", 400, "returned status 404"),
        ("http", "/broken", 400, "returned status 500"),
        ("http", "/round", 400, "redirects too many times"),
        ("http", "/secret", 400, "not an http or https address"),
        ("http", "/more", 400, "was lost"),
        ("http", "/cut", 400, "was lost"),
        ("http", "/huge", 413, f"{LIMIT:,} bytes"),
        ("http", "/packed", 413, f"{LIMIT:,} bytes"),
        ("http", "/endless", 413, f"{LIMIT:,} bytes"),
        ("http", "/drip", 400, "did not send the whole response within"),
        ("http", "/silent", 400, "did not send the whole response within"),
        ("http", "/garbage", 400, "cannot be reached"),
        ("https", "/t.csv", 400, "certificate verify failed"),
    ],
)
def test_an_address_that_gives_no_table(
    server: Server, faulty_servers: dict[str, str], scheme: str, path: str, status: int, words: str
) -> None:
    found, now, later = ask_both_ways(
        server, {"QUERY": "SELECT * FROM TAP_UPLOAD.t", "UPLOAD": f"t,{faulty_servers[scheme]}{path}"}
    )
    assert (found, words in now) == (status, True), now
    assert re.sub(r"within [\d.]+ s", "", now) == re.sub(r"within [\d.]+ s", "", later)
    assert server.get("/health")[0] == 200
