"""Services that are broken, old, hostile or not there: clear words, no traceback, no endless waiting."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tap_server import TapServer, serve

from hven.model.errors import UsageError, UserError
from hven.plugins.lint.client import LintHttpClient
from hven.plugins.lint.validation import LintRequestLimits, validate_service
from hven.plugins.lint.xml_documents import NotXmlError, parse_xml
from hven.sources import http_client
from process_runner import reserve_port, run_hven

LITTLE = LintRequestLimits(pause_seconds=0.0, byte_limit=1 << 20)


@contextmanager
def page(status: int, media: str, body: bytes, location: str = "") -> Iterator[str]:
    """Serve the same answer at every address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status)
            self.send_header("Content-Type", media)
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/tap"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)


@pytest.mark.parametrize(
    ("status", "media", "body", "words"),
    [
        (404, "text/html", b"<html>no</html>", "returns status 404"),
        (200, "text/html", b"<!DOCTYPE html><html><body>Welcome<br></body></html>", "it is an HTML page"),
        (200, "application/json", b'{"error": "no"}', "it is JSON"),
        (200, "text/xml", b"", "it is empty"),
        (200, "text/plain", b"moved to another place", "it is text"),
        (200, "text/xml", b"<rss><channel/></rss>", "has the root <rss>"),
        (500, "text/plain", b"oops", "returns status 500"),
        (200, "text/xml", b'<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;">]><a>&d;</a>', "entities"),
    ],
)
def test_what_is_no_tap_service_is_said_in_words(status: int, media: str, body: bytes, words: str) -> None:
    with page(status, media, body) as url:
        report = validate_service(url, limits=LITTLE)
        assert not report.is_judged
        assert words in report.reason
        assert "/capabilities" in report.reason
        done = run_hven("lint", url, expected_code=2)
    assert words in done.stderr
    assert done.stdout == ""


def test_nobody_listens() -> None:
    url = f"http://127.0.0.1:{reserve_port()}/tap"
    done = run_hven("lint", url, "--json", expected_code=2)
    told = json.loads(done.stdout)
    assert told["judged"] is False
    assert "cannot be reached" in told["reason"]
    assert told["findings"] == []


def test_broken_tls_is_said() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # without a certificate: every handshake fails
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def accept_twice() -> None:
            for _ in range(2):
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                with line:
                    try:
                        context.wrap_socket(line, server_side=True)
                    except OSError:
                        continue

        thread = threading.Thread(target=accept_twice, daemon=True)
        thread.start()
        report = validate_service(f"https://127.0.0.1:{port}/tap", limits=LITTLE)
    assert not report.is_judged
    assert "cannot be reached" in report.reason


def test_an_endless_answer_is_cut() -> None:
    with page(200, "text/xml", b"<a>" + b"x" * (2 << 20)) as url:
        report = validate_service(url, limits=LITTLE)
    assert not report.is_judged
    assert "more than 1,048,576 bytes" in report.reason


def test_redirects_without_an_end_are_left() -> None:
    with page(302, "text/plain", b"", "/tap/capabilities") as url:
        report = validate_service(url, limits=LITTLE)
    assert not report.is_judged
    assert "redirects too many times" in report.reason


def test_it_is_not_led_to_private_addresses_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def exchange(method: str, url: str, *, allow_private: bool, **_: object) -> http_client.HttpAnswer:
        asked.append((url, allow_private))
        return http_client.HttpAnswer(
            status=302, headers={"location": "http://10.0.0.1/capabilities"}, body=b"", url=url
        )

    monkeypatch.setattr(http_client, "send_request_once", exchange)
    with pytest.raises(UserError, match="redirects too many times"):
        LintHttpClient("http://127.0.0.1/tap", LITTLE).send_get("http://127.0.0.1/tap/capabilities")
    assert asked[0] == ("http://127.0.0.1/tap/capabilities", True)
    assert {private for url, private in asked if "10.0.0.1" in url} == {False}


def test_requests_are_counted_and_end(tap_server: TapServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(tap_server) as url:
        report = validate_service(url, limits=LintRequestLimits(pause_seconds=0.0, request_limit=8))
    assert report.request_count == 8
    assert any("the limit" in why for _, why in report.unjudged)


def test_an_old_service_is_asked_as_tap_1_0_wants_it(tap_server: TapServer, judge_server) -> None:
    """TAP 1.0: no arraysize and xtype in TAP_SCHEMA, REQUEST needed, types of its own."""
    old = {"char": "VARCHAR", "int": "INTEGER", "float": "REAL", "double": "DOUBLE"}
    tap_server.replacements.append(("capabilities", ' version="1.1"', ""))
    for name in ("arraysize", "xtype", "column_index"):
        tap_server.table("TAP_SCHEMA.columns").drop_column(name)
    tap_server.table("TAP_SCHEMA.schemas").drop_column("schema_index")
    tap_server.table("TAP_SCHEMA.tables").drop_column("table_index")
    tap_server.schema_edits += [
        f"UPDATE TAP_SCHEMA.columns SET datatype = 'adql:{new}' WHERE datatype = '{word}'" for word, new in old.items()
    ]
    report = judge_server(tap_server, "vosi", "cap", "schema", "tables", "query", "error", "obscore")
    asked = [
        {name.upper(): value for name, value in given.items()} for _, path, given in tap_server.asked if path == "sync"
    ]
    assert {given.get("REQUEST") for given in asked} == {"doQuery"}
    assert not any("ADQL-2.1" in given.get("LANG", "") for _, _, given in tap_server.asked)
    assert {one.code for one in report.findings} == {"cap.version"}


def test_a_service_without_tap_schema_is_judged_by_its_tables(tap_server: TapServer, judge_server) -> None:
    tap_server.tables = [one for one in tap_server.tables if not one.name.startswith("TAP_SCHEMA.")]
    tap_server.epn.rows[0]["processing_level"] = 9
    tap_server._fill_schema = lambda: None
    codes = {one.code for one in judge_server(tap_server).findings}
    assert {"schema.absent", "epn.processing-level"} == codes


def test_only_names_groups_and_codes(tap_server: TapServer, judge_server) -> None:
    tap_server.epn.utype = ""
    tap_server.epn.rows[0]["processing_level"] = 9
    assert {one.code for one in judge_server(tap_server, "epn").findings} == {"epn.utype", "epn.processing-level"}
    report = judge_server(tap_server, "epn.utype")
    assert [one.code for one in report.findings] == ["epn.utype"]
    assert report.groups == ("epn",)
    with pytest.raises(UsageError, match="there is no group or code") as told:
        validate_service("http://127.0.0.1:9", selected_codes=["colour"])
    assert "footprint" in told.value.remedy


def test_bombs_are_not_unfolded() -> None:
    bomb = (
        b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
        + b"".join(b'<!ENTITY %c "&%c;&%c;">' % (98 + n, 97 + n, 97 + n) for n in range(20))
        + b"]><a>&u;</a>"
    )
    with pytest.raises(NotXmlError, match="entities"):
        parse_xml(bomb)
    with pytest.raises(NotXmlError):
        parse_xml("<!DOCTYPE a [<!ENTITY a 'x'>]><a>&a;</a>".encode("utf-16"))
    with pytest.raises(NotXmlError):
        parse_xml(b"<a>" * 100_000)
