"""Bad requests over HTTP, as a reader sends them: the right status, a sentence with its place, and a server that goes on."""

from __future__ import annotations

import contextlib
import io
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from astropy.io import votable

from process_runner import Server, run_hven, serve_site
from star_descriptors import write_stars_descriptor

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("bad requests")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("bad") / "site"
    run_hven("init", site)
    (site.parent / "stars.csv").write_text(
        "id,name,ra (deg),dec (deg)\n" + "".join(f"{n},s{n},{n % 360},{n % 90}\n" for n in range(1, 1001))
    )
    write_stars_descriptor(site, site.parent / "stars.csv")
    run_hven("ingest", "stars", "--site", site)
    with serve_site(site, workers=1) as made:
        pid = made.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        before = children.read_text()
        yield made
        # after all this: the same processes, the same rows, and no traceback in the log
        assert made.process.poll() is None
        assert children.read_text() == before
        assert made.rows("SELECT COUNT(*) AS n FROM stars.main") == [[1000]]
        log = (site / "serve.log").read_text()
        assert "Traceback" not in log, log[-3000:]


def parse_error_message(answer: tuple[int, dict[str, str], bytes], status: int) -> str:
    """Take the sentence out of DALI's error document; it must be one."""
    assert answer[0] == status, answer[2][:500]
    assert answer[1]["content-type"].startswith("application/x-votable+xml")
    document = votable.parse(io.BytesIO(answer[2]))
    (info,) = [info for resource in document.resources for info in resource.infos if info.name == "QUERY_STATUS"]
    assert info.value == "ERROR"
    assert "Traceback" not in info.content
    assert ".py" not in info.content
    return str(info.content)


def ask(server: Server, query: str | bytes) -> tuple[int, dict[str, str], bytes]:
    body = b"LANG=ADQL&QUERY=" + quote(query).encode()
    return server.send("POST", "/tap/sync", body, {"Content-Type": "application/x-www-form-urlencoded"})


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (
            "SELECT " + "(" * 10_000 + "1" + ")" * 10_000 + " AS a FROM stars.main",
            r"line 1, column \d+: the query is nested too deeply",
        ),
        (
            "SELECT id FROM stars.main WHERE " + "NOT " * 50_000 + "id = 1",
            r"line 1, column \d+: the query is nested too deeply|line 1, column",
        ),
        ("SELECT id FROM stars.main WHERE name = \u2018s1\u2019", r"line 1, column 40: a typographic quote"),
        ("SELECT id FROM stars.main WHERE name = “s1”", r"line 1, column 40: a typographic double quote"),
        ("SELECT id\0 FROM stars.main", r"line 1, column 10: the text contains a NUL"),
        (
            "SELECT\n\nid, nmae FROM stars.main",
            r"line 3, column 5: no column 'nmae' in stars.main; did you mean 'name'\?",
        ),
        ("SELECT id FROM stars.main WHERE name = 's1", r"line 1, column 40: "),
        ("SELECT id FROM stars.main -- ok\n; DROP TABLE stars.main", r"line 2, column (1|3): "),
        ("DROP TABLE stars.main", r"line 1, column 1: .*SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", r"line 1, column \d+: "),
        ("SELECT * FROM '/etc/passwd'", r"line 1, column \d+: "),
        ("SELECT * FROM information_schema.tables", r"line 1, column 15: no table"),
        ("SELECT * FROM duckdb_settings()", r"line 1, column \d+: "),
        ('SELECT "id""; DROP TABLE stars.main; --" FROM stars.main', r"line 1, column 8: no column"),
        ("SELECT 1/0 AS a, id FROM stars.main WHERE id = CAST('x' AS INTEGER)", r"."),
        ("", r"QUERY"),
        ("   \n ", r"QUERY|line"),
        ("💥", r"line 1, column 1: "),
        ("SELECT id FROM stars.main WHERE id IN (" + ",".join(map(str, range(140_000))) + ")", None),
        ("SELECT id FROM stars.main WHERE name = 'x' OR '1'='1' UNION SELECT password FROM users", r"no table 'users'"),
    ],
    ids=lambda value: None if value is None else re.sub(r"\W+", "-", value[:30]),
)
def test_a_query_that_is_wrong_is_told_where(server: Server, query: str, said: str | None) -> None:
    answer = ask(server, query)
    if said is None:
        assert answer[0] == 200
    else:
        assert re.search(said, parse_error_message(answer, 400))


def test_a_query_of_more_than_a_megabyte_is_refused(server: Server) -> None:
    assert "limit is 1,000,000" in parse_error_message(
        ask(server, "SELECT id FROM stars.main WHERE id = 1" + " OR id = 2" * 100_000), 413
    )


def test_an_address_without_end_is_refused_without_harm(server: Server) -> None:
    with contextlib.suppress(OSError):
        assert server.get("/tap/sync?LANG=ADQL&QUERY=" + "x" * 2_000_000)[0] in {400, 413, 414, 431}
    assert server.rows("SELECT COUNT(*) AS n FROM stars.main") == [[1000]]


def test_bytes_that_are_no_utf8_are_named(server: Server) -> None:
    assert "UTF-8" in parse_error_message(ask(server, b"SELECT id FROM stars.main WHERE name = '\xe9'"), 400)


@pytest.mark.parametrize(
    "hostile",
    [
        "'; DROP TABLE stars.main; --",
        "\\'; --",
        "''",
        "%' OR '1'='1",
        "\\x27",
        "$1",
        "{}",
        "s1\n--",
        "s1\0",
        "' UNION SELECT 1 --",
    ],
)
def test_strings_stay_strings(server: Server, hostile: str) -> None:
    escaped = hostile.replace("'", "''")
    answer = ask(server, f"SELECT id FROM stars.main WHERE name = '{escaped}'")
    if "\0" in hostile:
        assert "NUL" in parse_error_message(answer, 400)
    else:
        assert server.rows(f"SELECT id FROM stars.main WHERE name = '{escaped}'") == []
        assert server.rows(f"SELECT id FROM stars.main WHERE name LIKE '{escaped}'") == []
        (row,) = server.rows(f"SELECT id, '{escaped}' AS text FROM stars.main WHERE id = 1")
        assert row[1] == hostile


@pytest.mark.parametrize("hostile", ["'); DROP TABLE x; --", "1e999", "nan", "1,2", "0x10", "\uff11", "1 ", ""])
def test_numbers_of_cone_search_are_numbers(server: Server, hostile: str) -> None:
    status, _, body = server.get("/cone/stars.main", RA=hostile, DEC=1, SR=1)
    assert status == 200  # as the standard has it: the fault is an INFO in the document
    text = body.decode()
    assert ('name="Error"' in text) == (hostile != "1 ")
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/tap/nothing", 404),
        ("/tap/tables/stars.nothing", 404),
        ("/cone/stars.mian?RA=1&DEC=1&SR=1", 404),
        ("/cone/..%2f..%2fetc%2fpasswd?RA=1&DEC=1&SR=1", 404),
        ("/collections/..%2f..%2fetc", 404),
        ("/collections/%3Cscript%3Ealert(1)%3C%2Fscript%3E", 404),
        ("/tap/sync", 400),
        ("/tap/sync?LANG=SQL&QUERY=SELECT+1", 400),
        ("/tap/sync?LANG=ADQL&QUERY=SELECT+1+AS+a&MAXREC=-1", 400),
        ("/tap/sync?LANG=ADQL&QUERY=SELECT+1+AS+a&MAXREC=many", 400),
        ("/tap/sync?LANG=ADQL&QUERY=SELECT+id+FROM+stars.main&RESPONSEFORMAT=xls", 400),
        ("/tap/sync?LANG=ADQL&QUERY=SELECT+id+FROM+stars.main&%00=%00", 200),
    ],
)
def test_addresses_that_are_wrong(server: Server, path: str, status: int) -> None:
    for accept in ("*/*", "text/html,*/*;q=0.8"):
        found, headers, body = server.send("GET", path, headers={"Accept": accept})
        assert found == status
        assert b"Traceback" not in body
        assert b"root:" not in body
        assert b"<script>alert" not in body or headers["content-type"].startswith("text/plain")
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "NONSENSE"])
def test_methods_that_are_not_offered(server: Server, method: str) -> None:
    assert server.send(method, "/tap/sync")[0] in {400, 405, 501}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"QUERY": "SELECT 1"}'),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=QUERY\r\n\r\nSELECT"),
        ("application/x-www-form-urlencoded", b"%zz=%&&&=;;\xff\xfe"),
        ("text/plain; charset=utf-32", b"\x00\x00"),
    ],
)
def test_bodies_that_are_broken(server: Server, kind: str, body: bytes) -> None:
    assert parse_error_message(server.send("POST", "/tap/sync", body, {"Content-Type": kind}), 400)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"GET /tap/sync HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /tap/sync HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nLANG=A",
    ],
)
def test_what_is_no_http_does_no_harm(server: Server, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as link, contextlib.suppress(OSError):
        link.sendall(raw)
        link.shutdown(socket.SHUT_WR)
        assert b"Traceback" not in link.recv(10_000)
    assert server.rows("SELECT COUNT(*) AS n FROM stars.main") == [[1000]]
