"""How we behave toward services elsewhere: as often as they bear, again when they ask for it, and with a token where they want one."""

from __future__ import annotations

import base64
import contextlib
import http.server
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hven.model import plugins
from hven.model.errors import SourceError, UserError
from hven.sources import SourceContext, _rate_limiting, http_client
from hven.sources._reading import service_client
from hven.sources._reading.bearer_challenges import find_ivoa_token_endpoints
from hven.sources._reading.service_client import RequestOptions, ServiceClient
from plugin_needs import load_core_fixtures
from requirements import require_program

PROCESS = """
import sys
from pathlib import Path
from hven.sources._rate_limiting import HostRateLimiter
turns = HostRateLimiter({"far.example": 50}, Path(sys.argv[1]))
for _ in range(10):
    turns.wait_for_turn("far.example", 60)
"""


class Fake(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: list[tuple[float, str, str, bytes]] = []
    answers: dict[str, list[tuple[int, dict[str, str], bytes]]] = {}

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((time.monotonic(), self.path, self.headers.get("Authorization") or "", body))
        told = self.answers[self.path]
        status, headers, text = told.pop(0) if len(told) > 1 else told[0]
        self.send_response(status)
        for key, value in {"Content-Length": str(len(text)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET  # noqa: N815  (the name that the server asks for)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(_rate_limiting, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(http_client, "_rate_limiter", _rate_limiting.HostRateLimiter())
    Fake.asked, Fake.answers = [], {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Hands:
    """A clock that is moved by those who sleep."""

    now = 1_000_000.0

    def time(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_rate_limits_of_simbad_and_ned_are_respected(monkeypatch):
    hands = Hands()
    monkeypatch.setattr(_rate_limiting, "time", hands)
    turns = _rate_limiting.HostRateLimiter({"Own.example": 2})
    for host, rate in (("simbad.cds.unistra.fr", 5), ("NED.ipac.caltech.edu", 1), ("own.example", 2)):
        begin = hands.now
        for _ in range(9):
            turns.wait_for_turn(host, 60)
        assert hands.now - begin == pytest.approx(8 / rate)
        begin = hands.now
        hands.now += 100  # who was away does not catch up
        for _ in range(2):
            turns.wait_for_turn(host, 60)
        assert hands.now - begin == pytest.approx(100 + 1 / rate)
    begin = hands.now
    turns.wait_for_turn("anybody.example", 60)
    turns.wait_for_turn("anybody.example", 60)
    assert hands.now == begin


def test_who_would_wait_too_long_is_told_and_takes_nobodys_turn(monkeypatch):
    hands = Hands()
    monkeypatch.setattr(_rate_limiting, "time", hands)
    turns = _rate_limiting.HostRateLimiter({"slow.example": 0.1})
    turns.wait_for_turn("slow.example", 60)
    for _ in range(3):
        with pytest.raises(_rate_limiting.ServiceBusyError, match=r"at most 0\.1 requests a second.*10 s"):
            turns.wait_for_turn("slow.example", 5)
    turns.wait_for_turn("slow.example", 60)
    assert hands.now == pytest.approx(1_000_010)


def test_processes_share_the_rate_limit_of_a_host(tmp_path):
    begin = time.monotonic()
    started = [subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path)]) for _ in range(2)]
    assert [one.wait(60) for one in started] == [0, 0]
    assert time.monotonic() - begin >= 18 / 50  # twenty turns, less the first of each
    written = float((tmp_path / "far.example").read_bytes())
    assert written > time.time() - 60


ONE_ATTEMPT = RequestOptions(seconds=20, tries=1)


FIRST_LOOK_OPTIONS = load_core_fixtures("FIRST_LOOK_OPTIONS")


@pytest.mark.parametrize("kind", FIRST_LOOK_OPTIONS)
def test_a_first_look_soon_gives_up_a_silent_service(kind, monkeypatch):
    monkeypatch.setattr(service_client, "INSPECTION_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(service_client, "compute_backoff", lambda _number: 0.01)
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept_connections():
            with contextlib.suppress(OSError):
                while True:
                    connections.append(server.accept())

        threading.Thread(target=accept_connections, daemon=True).start()
        module = plugins.load_plugin("sources", kind)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/{kind}"
        options = module.Options(url=address, tries=9, **FIRST_LOOK_OPTIONS[kind])
        context = SourceContext(allow_private=True, is_inspection=True)
        with pytest.raises(SourceError, match="respond"):
            module.open(options, context).list_columns()
        server.shutdown(socket.SHUT_RDWR)
    for connection, _ in connections:
        connection.close()
    assert 1 <= len(connections) <= 2 * service_client.INSPECTION_ATTEMPTS


def test_a_turn_that_a_wrong_clock_wrote_is_not_waited_for(tmp_path):
    (tmp_path / "far.example").write_bytes(b"%020.6f" % (time.time() + 1e6))
    (tmp_path / "near.example").write_bytes(b"rubbish")
    turns = _rate_limiting.HostRateLimiter({"far.example": 1000, "near.example": 1000}, tmp_path)
    turns.wait_for_turn("far.example", 0.0)
    turns.wait_for_turn("near.example", 0.0)


def test_all_threads_share_the_rate_limit_of_a_host(fake, tmp_path):
    Fake.answers["/a"] = [(200, {}, b"yes")]
    http_client.set_host_rate_limits({"localhost": 50}, tmp_path / "turns")
    service = ServiceClient(fake, SourceContext(allow_private=True), options=ONE_ATTEMPT)

    def ask(number):
        if number % 2:
            return http_client.fetch_bytes(f"{fake}/a", allow_private=True)
        with service.request("GET", f"{fake}/a") as answer:
            return b"".join(answer.parts)

    begin = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(16))) == [b"yes"] * 16
    assert time.monotonic() - begin >= 15 / 50


def test_a_busy_server_is_retried_after_its_stated_delay(fake, tmp_path):
    Fake.answers["/a"] = [(429, {"Retry-After": "0"}, b""), (503, {}, b""), (200, {}, b"yes")]
    assert http_client.fetch_bytes(f"{fake}/a", allow_private=True) == b"yes"
    assert len(Fake.asked) == 3
    Fake.answers["/b"] = [(503, {"Retry-After": "90"}, b"")]
    begin = time.monotonic()
    with pytest.raises(UserError, match="returned status 503"):  # nobody waits longer than they have time
        http_client.fetch_bytes(f"{fake}/b", allow_private=True, total_timeout_seconds=30)
    assert time.monotonic() - begin < 20
    assert len(Fake.asked) == 4
    Fake.answers["/c"] = [(404, {}, b"")]
    with pytest.raises(UserError, match="returned status 404"):
        http_client.download_file(f"{fake}/c", tmp_path, allow_private=True)
    assert len(Fake.asked) == 5


CADC = 'Bearer, ivoa_bearer standard_id="ivo://ivoa.net/sso#OpenID", access_url="https://a.example/", ivoa_bearer standard_id="ivo://ivoa.net/sso#tls-with-password", access_url="{0}/login", ivoa_x509 standard_id="ivo://ivoa.net/sso#BasicAA", access_url="https://c.example"'


def _request_service(fake, service):
    with contextlib.closing(http_client.HttpConnections(20)), service.request("GET", f"{fake}/tap") as answer:
        return answer.status, b"".join(answer.parts)


def test_a_bearer_challenge_is_answered_with_a_token(fake):
    login = base64.b64encode(b"tycho:a:b ").decode()
    challenge = (401, {"WWW-Authenticate": CADC.format(fake)}, b"who?")
    Fake.answers["/tap"] = [challenge, (200, {}, b"rows"), (200, {}, b"rows"), challenge, (200, {}, b"rows")]
    Fake.answers["/login"] = [(200, {"X-VO-Bearer": "first"}, b""), (200, {"X-VO-Bearer": "second"}, b"")]
    service = ServiceClient(
        fake,
        SourceContext(allow_private=True),
        options=ONE_ATTEMPT,
        authorization=f"Basic {login}",
    )
    assert [_request_service(fake, service) for _ in range(3)] == [(200, b"rows")] * 3
    assert [(path, secret) for _, path, secret, _ in Fake.asked] == [
        ("/tap", f"Basic {login}"), ("/login", ""), ("/tap", "Bearer first"), ("/tap", "Bearer first"),
        ("/tap", "Bearer first"), ("/login", ""), ("/tap", "Bearer second"),
    ]  # fmt: skip
    assert Fake.asked[1][3] == b"username=tycho&password=a%3Ab+"


def test_refused_and_unencrypted_passwords_are_reported(fake):
    Fake.answers["/tap"] = [(401, {"WWW-Authenticate": CADC.format(fake)}, b"who?")]
    Fake.answers["/login"] = [(401, {}, b"")]
    service = ServiceClient(
        fake,
        SourceContext(allow_private=True),
        options=ONE_ATTEMPT,
        authorization="Basic YTpi",
    )
    with pytest.raises(SourceError, match=r"returned no token \(status 401\)"):
        _request_service(fake, service)
    service._allow_private = False
    with pytest.raises(SourceError, match="over plain http, where others can read it"):
        service._request_bearer_token(
            http_client.StreamedAnswer(
                status=401, headers={"www-authenticate": CADC.format(fake)}, url="", parts=iter(())
            )
        )
    bearer = ServiceClient(
        fake,
        SourceContext(allow_private=True),
        options=ONE_ATTEMPT,
        authorization="Bearer x",
    )
    assert _request_service(fake, bearer)[0] == 401


def test_challenges_as_they_are_written():
    assert list(find_ivoa_token_endpoints(CADC.format("https://b.example"))) == [
        ("ivo://ivoa.net/sso#OpenID", "https://a.example/"),
        ("ivo://ivoa.net/sso#tls-with-password", "https://b.example/login"),
    ]
    assert not list(find_ivoa_token_endpoints("Basic realm=ivoa_bearer"))


def test_hosts_that_were_found_are_forgotten_and_their_queries_never_kept(monkeypatch):
    found = []
    monkeypatch.setattr(http_client, "resolve_url", lambda url, **_: (found.append(url), ("host", "192.0.2.1"))[1])
    monkeypatch.setattr(http_client, "MAX_RESOLVED_HOSTS", 3)
    with contextlib.closing(http_client.HttpConnections(20)) as way:
        for number in range(5):
            way._resolve_host_and_proxy(f"http://host?x={number}", True)
            way._resolve_host_and_proxy(f"http://host/{number}#y", True)
        assert len(found) == 1
        for number in range(5):
            way._resolve_host_and_proxy(f"http://host{number}/", True)
        assert len(way._resolved_hosts) == 3
        way._resolve_host_and_proxy("http://host/", True)
        assert len(found) == 7


@pytest.fixture
def certified_server(tmp_path):
    """Serve by https with a certificate that the system does not know; give the address and the certificate."""
    words = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=own -addext subjectAltName=DNS:localhost"
    pem, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    subprocess.run(
        [require_program("openssl"), "req", *words.split(), "-keyout", key, "-out", pem],
        check=True,
        capture_output=True,
    )
    Fake.asked, Fake.answers = [], {"/a": [(200, {}, b"yes")]}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port, pem
    server.shutdown()
    thread.join()
    server.server_close()


def test_invalid_certificates_are_refused(certified_server, monkeypatch):
    """One that nobody vouches for, and one of another name, are refused before anything is sent; an institute's own is trusted where SSL_CERT_FILE names it."""
    port, pem = certified_server
    http_client._load_tls_context.cache_clear()
    with pytest.raises(UserError, match="certificate") as caught:
        http_client.fetch_bytes(f"https://localhost:{port}/a", allow_private=True)
    assert "SSL_CERT_FILE" in caught.value.remedy
    assert Fake.asked == []
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    http_client._load_tls_context.cache_clear()
    assert http_client.fetch_bytes(f"https://localhost:{port}/a", allow_private=True) == b"yes"
    with pytest.raises(UserError, match="certificate"):
        http_client.fetch_bytes(f"https://127.0.0.1:{port}/a", allow_private=True)
    http_client._load_tls_context.cache_clear()
