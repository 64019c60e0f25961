"""The outward HTTP client: downloads, limits, redirects, and addresses it must not go to."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time

import pytest

from hven.model.errors import ForbiddenError, SourceError, TooLargeError, UserError
from hven.sources import http_client

BODY = b"a,b\n1,2\n" * 1000


class Pages(http.server.BaseHTTPRequestHandler):
    seen: list[str] = []

    def do_GET(self):
        type(self).seen.append(self.headers["Host"])
        if self.path in {"/drip", "/slowly"}:  # a byte now and then, in the body or in the headers
            self.drip(b"HTTP/1.0 200 OK\r\n" + (b"\r\n" if self.path == "/drip" else b"X-A: "))
            return
        status, headers, body = {
            "/data/stars.csv": (200, {}, BODY),
            "/named": (200, {"Content-Disposition": 'attachment; filename="../../etc/pass wd.csv"'}, BODY),
            "/typed": (200, {"Content-Type": "text/csv; charset=utf-8"}, BODY),
            "/moved": (302, {"Location": "/data/stars.csv"}, b""),
            "/around": (302, {"Location": "/around"}, b""),
            "/inside": (302, {"Location": "http://169.254.169.254/latest/meta-data"}, b""),
            "/file": (302, {"Location": "file:///etc/passwd"}, b""),
            "/packed": (200, {"Content-Encoding": "zstd"}, BODY),
            "/twice": (200, {"Content-Encoding": "gzip, gzip"}, BODY),
            "/short": (200, {"Content-Length": str(2 * len(BODY))}, BODY),
        }.get(self.path, (404, {}, b"no"))
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def drip(self, start):
        with contextlib.suppress(OSError):
            self.wfile.write(start)
            for _ in range(200):
                time.sleep(0.05)
                self.wfile.write(b"a")

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def site():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "name"),
    [("/data/stars.csv", "stars.csv"), ("/named", "pass_wd.csv"), ("/typed", "typed.csv"), ("/moved", "stars.csv")],
)
def test_files_arrive_whole_under_a_harmless_name(tmp_path, site, path, name):
    told = []
    found = http_client.download_file(
        site + path, tmp_path / "data", allow_private=True, on_progress=lambda got, of: told.append((got, of))
    )
    assert found == tmp_path / "data" / name
    assert found.read_bytes() == BODY
    assert told[-1] == (len(BODY), len(BODY))
    assert [item.name for item in (tmp_path / "data").iterdir()] == [name]
    assert Pages.seen[-1] == site.removeprefix("http://"), (
        "the host is asked by its name, at the address that was checked"
    )


@pytest.mark.parametrize(
    ("path", "options", "error", "message"),
    [
        ("/none", {}, UserError, "returned status 404"),
        ("/around", {}, UserError, "redirects too many times"),
        ("/file", {}, UserError, "not an http or https address"),
        ("/short", {}, UserError, "was lost"),
        ("/data/stars.csv", {"byte_limit": 100}, TooLargeError, "the limit is 100"),
    ],
)
def test_faults_leave_nothing_behind(tmp_path, site, path, options, error, message):
    with pytest.raises(error, match=message):
        http_client.download_file(site + path, tmp_path / "data", allow_private=True, **options)
    assert not list(tmp_path.glob("data/*"))
    assert not list(tmp_path.glob("data/.*"))


def test_private_addresses_are_refused_at_every_step(tmp_path, site, monkeypatch):
    with pytest.raises(ForbiddenError, match=r"^127\.0\.0\.1 is not on the public internet"):
        http_client.download_file(site.replace("localhost", "127.0.0.1") + "/data/stars.csv", tmp_path)
    with pytest.raises(ForbiddenError, match=r"^localhost \((127\.0\.0\.1|::1)\) is not on the public internet"):
        http_client.download_file(site.replace("127.0.0.1", "localhost") + "/data/stars.csv", tmp_path)
    monkeypatch.setattr(http_client, "_is_public", lambda number: number in {"127.0.0.1", "::1"})
    with pytest.raises(ForbiddenError, match=r"169\.254\.169\.254"):
        http_client.download_file(site + "/inside", tmp_path)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1/", "http://[::1]/", "http://10.1.2.3/x", "http://192.168.0.1/", "http://0.0.0.0/", "http://[::ffff:127.0.0.1]/", "http://2130706433/",
        "http://169.254.169.254/", "http://100.64.0.1/", "http://224.0.0.1/", "http://[fe80::1]/", "http://localhost/",
        "http://[64:ff9b::7f00:1]/", "http://[64:ff9b::a01:203]/", "http://[64:ff9b:1::7f00:1]/", "http://[::7f00:1]/", "http://[::ffff:0:7f00:1]/", "http://[fec0::1]/",
        "http://[2002:7f00:1::]/", "http://[2001:0:7f00:1::]/", "http://[fd00::1]/", "http://[ff02::1]/", "http://[5f00::1]/", "http://127.1/", "http://0x7f.1/",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address):
    with pytest.raises(ForbiddenError):
        http_client.resolve_url(address)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ftp://x/y", "not an http"),
        ("nonsense", "not an http"),
        ("http://u:p@example.org/", "must not contain a password"),
        ("http://x.invalid/", "there is no host"),
        ("http://[", "not an http"),
        ("http://[::1", "not an http"),
        ("http://a]b/", "not an http"),
        ("http://host:99999/", "not an http"),
        ("http://host:port/", "not an http"),
        ("http://ho st/", "no"),
        ("http://host\x00/", "no"),
        ("http://host\n.example/", "no"),
        ("http://\u2028/", "no"),
        ("http://" + "a" * 70_000 + "/", "no"),
        ("http://" + "a" * 64 + ".org/", "no"),
        ("http:///x", "not an http"),
        ("http://..../", "no"),
        ("http://xn--\u00e9/", "no"),
    ],
)
def test_addresses_that_are_none(address, message):
    with pytest.raises(UserError, match=message):
        http_client.resolve_url(address)


def test_translated_ipv6_addresses_of_public_hosts_are_allowed():
    assert [http_client._is_public(number) for number in ("64:ff9b::808:808", "::ffff:8.8.8.8", "2a00:1450::1")] == [
        True,
        True,
        True,
    ]


def test_a_host_without_a_proxy_is_resolved_once(tmp_path, site, monkeypatch):
    """A proxy is set, but not for this host: what its name led to when it was checked is where we go, whatever it leads to then."""
    looked, ask = [], socket.getaddrinfo
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setattr(http_client, "_is_public", lambda number: number in {"127.0.0.1", "::1"})
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more, **options: (looked.append(host), ask(host, *more, **options))[1]
    )
    assert http_client.download_file(site + "/data/stars.csv", tmp_path).read_bytes() == BODY
    assert http_client.fetch_bytes(site + "/data/stars.csv") == BODY
    assert http_client.send_request_once("GET", site + "/data/stars.csv").body == BODY
    assert looked.count("localhost") == 3
    monkeypatch.delenv("NO_PROXY")
    with pytest.raises(UserError, match="cannot be reached"):
        http_client.download_file(site + "/data/stars.csv", tmp_path)


def test_secrets_in_an_address_are_not_shown(tmp_path, site):
    with pytest.raises(UserError) as caught:
        http_client.download_file(site + "/none?token=sesame", tmp_path, allow_private=True)
    assert "sesame" not in str(caught.value)


def test_broken_responses_are_user_errors(tmp_path):
    assert issubclass(SourceError, UserError)
    with pytest.raises(UserError, match="cannot be reached"):
        http_client.download_file("http://127.0.0.1:9/", tmp_path, allow_private=True)


def test_streams_tell_every_status_and_follow_if_they_may(site, monkeypatch):
    with http_client.stream_answer("GET", site + "/moved", follow_redirects=False, allow_private=True) as answer:
        assert (answer.status, answer.location) == (302, site + "/data/stars.csv")
    with http_client.stream_answer("GET", site + "/moved", allow_private=True) as answer:
        assert (answer.status, answer.url, b"".join(answer.parts)) == (200, site + "/data/stars.csv", BODY)
    with http_client.stream_answer("GET", site + "/none", allow_private=True) as answer:
        assert answer.status == 404
    with (
        pytest.raises(UserError, match="redirects too many times"),
        http_client.stream_answer("GET", site + "/around", allow_private=True),
    ):
        pass
    with pytest.raises(http_client.PrivateAddressError), http_client.stream_answer("GET", site + "/moved"):
        pass
    monkeypatch.setattr(http_client, "_is_public", lambda number: number in {"127.0.0.1", "::1"})
    with (
        pytest.raises(http_client.PrivateAddressError, match=r"169\.254\.169\.254"),
        http_client.stream_answer("GET", site + "/inside"),
    ):
        pass
    with (
        pytest.raises(UserError, match="not an http or https address"),
        http_client.stream_answer("GET", site + "/file"),
    ):
        pass


def test_streams_that_end_early_may_be_tried_again(site):
    with (
        http_client.stream_answer("GET", site + "/short", allow_private=True) as answer,
        pytest.raises(http_client.UnreachableError, match="was lost"),
    ):
        b"".join(answer.parts)
    with (
        http_client.stream_answer("GET", site + "/packed", allow_private=True) as answer,
        pytest.raises(SourceError, match="which Hven did not request"),
    ):
        b"".join(answer.parts)
    with (
        pytest.raises(http_client.UnreachableError, match="cannot be reached"),
        http_client.stream_answer("GET", "http://127.0.0.1:9/", allow_private=True),
    ):
        pass


def test_hven_new_takes_an_address(tmp_path, site):
    from hven.model.settings import load_settings
    from plugin_needs import create_descriptor

    (tmp_path / "hven.toml").write_text("allow_private = true\n")
    path = create_descriptor(load_settings(tmp_path), "stars", f"{site}/data/stars.csv")
    assert "source: {kind: csv, files: data/stars.csv}" in path.read_text()
    (tmp_path / "hven.toml").write_text("")
    with pytest.raises(ForbiddenError):
        create_descriptor(load_settings(tmp_path), "others", f"{site}/data/stars.csv")
    assert not (tmp_path / "collections/others").exists()


@pytest.mark.parametrize("path", ["/drip", "/slowly"])
def test_an_endless_response_is_aborted(tmp_path, site, path):
    with pytest.raises(UserError, match=r"did not send the whole response within 0\.4 s"):
        http_client.download_file(site + path, tmp_path, allow_private=True, total_timeout_seconds=0.4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/drip", "/slowly"])
def test_time_that_is_over_before_there_is_a_connection_ends_it_too(tmp_path, site, monkeypatch, path):
    connect = socket.create_connection

    def slow(*words, **options):
        found = connect(*words, **options)
        time.sleep(0.6)
        return found

    monkeypatch.setattr(socket, "create_connection", slow)
    begun = len(Pages.seen)
    with pytest.raises(UserError, match=r"did not send the whole response within 0\.2 s"):
        http_client.download_file(site + path, tmp_path, allow_private=True, total_timeout_seconds=0.2)
    assert len(Pages.seen) == begun, "nothing is asked any more"


@pytest.mark.parametrize("path", ["/packed", "/twice"])
def test_encodings_that_were_not_asked_for_are_not_undone(tmp_path, site, path):
    with pytest.raises(SourceError, match="which Hven did not request"):
        http_client.download_file(site + path, tmp_path, allow_private=True)
    assert list(tmp_path.iterdir()) == []
