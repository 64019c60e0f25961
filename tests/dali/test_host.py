"""Links are of the host that a request names, if it can be one, and of the settings' where these say so."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.requests import Request

from hven.model.settings import Settings
from hven.services.addresses import _find_forwarded_address, get_base_url


def build_request(host: str) -> Request:
    headers = [(b"host", host.encode("latin-1")), (b"x-forwarded-host", b"evil.example")]
    return Request(
        {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "path": "/",
            "query_string": b"",
            "headers": headers,
            "server": ("h", 80),
        }
    )


@pytest.mark.parametrize(
    "host", ["vo.example", "vo.example:8080", "127.0.0.1:1", "[::1]:80", "localhost", "a_b.example"]
)
def test_a_host(host: str) -> None:
    assert get_base_url(build_request(host), Settings(directory=Path())) == f"http://{host}"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        'a"><script>',
        "a/b",
        "a@b",
        "a\\b",
        "a:b",
        "a:123456",
        "[::1",
        "a?b",
        "a#b",
        "x" * 300,
        "\xe9.example",
        "a%2fb",
        "-a",
        "a\nb",
    ],
)
def test_what_can_be_no_host(host: str) -> None:
    assert (
        get_base_url(build_request(host), Settings(directory=Path(), host="0.0.0.0", port=8042))
        == "http://0.0.0.0:8042"
    )


def test_the_settings_come_first() -> None:
    assert (
        get_base_url(build_request("evil.example"), Settings(directory=Path(), public_url="https://vo.example/hven/"))
        == "https://vo.example/hven"
    )


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:5123", "192.0.2.1"),  # as Azure and IIS write it
        ("[2001:db8::1]:5123", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("203.0.113.9, 192.0.2.1:1", "192.0.2.1"),
        ("unknown", "127.0.0.1"),
        (":5123", "127.0.0.1"),
        ("[", "127.0.0.1"),
    ],
)
def test_forwarded_addresses_may_have_ports(forwarded: str, address: str) -> None:
    assert _find_forwarded_address("127.0.0.1", forwarded.encode(), ("127.0.0.0/8",)) == address
