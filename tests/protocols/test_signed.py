"""Signed addresses: one address, one reader, some minutes; dead with the right, the account, the time; in no log and no cache."""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import pytest
from asgi_client import Answer, Client

from hven.app._server.application import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.settings._sections import AccountGroupSettings
from hven.site import Site
from hven.site.auth import _signed_addresses as signed_addresses
from hven.site.auth._signed_addresses import split_signature_from_query
from hven.testing.site import open_tiny_site
from plugin_needs import build_settings, list_query_addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DESCRIPTOR = """\
collection: night
title: Observations
access: "'spica' in groups"
files: [a.txt]
tables:
  main:
    source: {kind: csv, files: rows.csv}
    primary: id
    access: shown = 'yes' or 'spica' in groups
    columns:
      id: {type: int32}
      shown: {type: string}
  images:
    source: {kind: csv, files: images.csv}
    primary: id
    columns:
      id: {type: int32}
      access_url: {type: string, ucd: meta.ref.url}
"""
FILES = {
    "rows.csv": "id,shown\n1,yes\n2,no\n",
    "images.csv": "id,access_url\n1,http://vo.example/collections/night/files/a.txt\n2,https://other.example/b.fits\n",
    "a.txt": "hidden words\n",
}
TEXT = "SELECT id FROM night.main WHERE id < 9 ORDER BY id"
QUERY = "/tap/sync?" + urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": TEXT})
FILE = "/collections/night/files/a.txt"
PEOPLE = '\n[people]\ngroups = {spica = ["anna"]}\n'


@pytest.fixture
def night_site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "collections" / "night"
    folder.mkdir(parents=True)
    (tmp_path / "hven.toml").write_text(f'name = "signed"\n{PEOPLE}')
    for name, text in {"night.yaml": DESCRIPTOR, **FILES}.items():
        (folder / name).write_text(text)
    with Site(settings.load_settings(tmp_path)) as made:
        ingest_collection(made, "night")
        yield made


@pytest.fixture
def client(night_site: Site) -> Client:
    return Client(create_and_start_application(night_site))


@pytest.fixture
def token(night_site: Site) -> str:
    return night_site.store.users.add_account("anna")


def request_signature(client: Client, url: str, token: str = "", **headers: str) -> Answer:
    given = {"content-type": "application/x-www-form-urlencoded", **headers}
    if token:
        given["authorization"] = f"Bearer {token}"
    return client.ask("POST", "/sign", body=urlencode({"url": url}).encode(), headers=given)


def sign_address(client: Client, url: str, token: str) -> str:
    answer = request_signature(client, url, token)
    assert answer.status == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found = json.loads(answer.body)
    assert set(found) == {"url", "until"}
    return str(found["url"]).removeprefix("http://vo.example")


def test_one_address_for_one_reader(client: Client, token: str) -> None:
    assert client.ask("GET", QUERY).text.split() == ["id", "1"]
    assert client.ask("GET", FILE).status == 404
    for url in (QUERY, f"http://vo.example{QUERY}", f"http://vo.example{QUERY}#row"):
        answer = client.ask("GET", sign_address(client, url, token))
        assert answer.text.split() == ["id", "1", "2"]
        assert answer.headers["cache-control"] == "private, no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
    address = sign_address(client, FILE, token)
    assert client.ask("GET", address).text == "hidden words\n"
    part = client.ask("GET", address, headers={"range": "bytes=7-"})
    assert (part.status, part.text) == (206, "words\n")
    assert client.ask("HEAD", address).status == 200
    assert client.ask("GET", f"{address}&x=1").status == 403
    # another way to write the same: names in another order, other escapes
    path, _, query = sign_address(client, QUERY, token).partition("?")
    turned = "&".join(reversed(query.replace("+", "%20").split("&")))
    assert client.ask("GET", f"{path}?{turned}").text.split() == ["id", "1", "2"]


def test_groups_of_a_provider_count_as_in_the_session(night_site: Site) -> None:
    ours = build_settings("identity", name="ours", issuer="x", client_id="y")
    brought = {**night_site.settings.brought, "identity": (ours,)}
    night_site.settings = replace(night_site.settings, brought=brought, people=AccountGroupSettings())
    facts = {"provider": "ours", "groups": ["spica"], "seen": time.time()}
    token = night_site.store.users.add_account("bob")
    night_site.store.grants.add_grant("identity", subject="bob", object="x bob", actor="ours", facts=facts)
    client = Client(create_and_start_application(night_site))
    assert client.ask("GET", sign_address(client, QUERY, token)).text.split() == ["id", "1", "2"]


@pytest.mark.parametrize(
    ("change", "method"),
    [
        (lambda address: address, "POST"),
        (lambda address: address, "DELETE"),
        (lambda address: address.replace("9", "8"), "GET"),
        (lambda address: address.replace("sync", "sync/"), "GET"),
        (lambda address: f"/tap/sync?hven-signed={address.partition('hven-signed=')[2]}", "GET"),
        (lambda address: address[:-1], "GET"),
        (lambda address: address[:-1] + ("A" if address[-1] != "A" else "B"), "HEAD"),
        (lambda address: address.replace("hven-signed=1", "hven-signed=2"), "GET"),
        (lambda address: address.partition("hven-signed=")[0] + "hven-signed=", "GET"),
        (lambda address: address.partition("hven-signed=")[0] + "HVEN-signed=ü.%FF..", "GET"),
    ],
)
def test_what_is_not_signed_is_refused_and_never_answered_in_part(
    client: Client, token: str, change: Callable[[str], str], method: str
) -> None:
    address = change(sign_address(client, QUERY, token))
    answer = client.ask(method, address)
    assert answer.status == 403
    assert answer.headers["cache-control"] == "private, no-store"
    if method != "HEAD":
        assert "signed" in answer.text
        assert "id" not in answer.text.split()
    # whoever else asks, by their own right
    assert client.ask(method, address, headers={"authorization": f"Bearer {token}"}).status == 403


def test_its_time(night_site: Site, client: Client, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = sign_address(client, QUERY, token)
    begun = time.time()
    for seconds, status in ((0, 200), (595, 200), (601, 403), (-90_000, 403)):
        monkeypatch.setattr(signed_addresses.time, "time", lambda moment=begun + seconds: moment)
        answer = client.ask("GET", address)
        assert answer.status == status
    assert "expired at" in answer.text
    assert "log in, and make a new signed address" in answer.text


def test_it_dies_with_the_right(night_site: Site, client: Client, token: str) -> None:
    address = sign_address(client, QUERY, token)
    assert client.ask("GET", address).text.split() == ["id", "1", "2"]
    (night_site.settings.directory / "hven.toml").write_text('name = "signed"\n')
    with Site(settings.load_settings(night_site.settings.directory)) as later:
        assert Client(create_and_start_application(later)).ask("GET", address).text.split() == ["id", "1"]


@pytest.mark.parametrize("end", ["renew", "remove", "anew"])
def test_it_dies_with_the_account(night_site: Site, client: Client, token: str, end: str) -> None:
    address = sign_address(client, FILE, token)
    if end == "renew":
        night_site.store.users.renew_token_and_end_sessions("anna")
    else:
        night_site.store.users.remove_account("anna")
        if end == "anew":
            night_site.store.users.add_account("anna")
    assert client.ask("GET", address).status == 403


def test_another_site_signs_nothing_for_this_one(client: Client, token: str, tmp_path: Path) -> None:
    with open_tiny_site(tmp_path / "other", {}) as other:
        foreign = Client(create_and_start_application(other))
        address = sign_address(foreign, FILE, other.store.users.add_account("anna"))
    assert client.ask("GET", address).status == 403


def test_who_may_sign_what(client: Client, token: str) -> None:
    assert request_signature(client, QUERY).status == 401
    assert request_signature(client, QUERY, token, origin="https://evil.example").status == 403
    for url in ("https://evil.example/x", "//evil.example/x", "javascript:alert(1)", "http://vo.example@evil.example/"):
        answer = request_signature(client, url, token)
        assert answer.status == 400, url
        assert "is not an address of this site" in answer.text
    assert client.ask("GET", "/sign").status == 405
    # nobody signs by a signature
    assert client.ask("POST", sign_address(client, "/sign", token), body=b"url=/").status == 403


def test_no_log_and_no_face_sees_it(
    client: Client, token: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("hven.access"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("hven"), "propagate", True)
    caplog.set_level(logging.INFO, "hven.access")
    addresses = [
        QUERY,
        QUERY.replace("night.main", "night.nothing"),
        FILE,
        "/collections/night/main?shown=yes",
        "/collections/night/main/rows?shown=yes",
        "/collections/night/main/take",
        "/health",
        "/nowhere?a=1",
        *list_query_addresses("/adql?QUERY=" + quote(TEXT)),
        "/tap/capabilities",
    ]
    for url in addresses:
        address = sign_address(client, url, token)
        answer = client.ask("GET", address, headers={"accept": "text/html"})
        secret = address.rpartition("=")[2]
        seen = answer.text + repr(answer.headers) + caplog.text
        assert secret not in seen
        assert "hven-signed" not in answer.text + caplog.text
        # a wrong one is as quiet
        client.ask("GET", address[:-2])
        assert secret[:-2] not in caplog.text
    assert len([record for record in caplog.records if record.name == "hven.access"]) >= 3 * len(addresses)


def test_answers_are_those_of_the_reader_with_a_token(client: Client, token: str) -> None:
    for url in (QUERY, "/collections/night/main/rows", "/collections/night/main/take", "/tap/tables", "/tap/sync"):
        mine = client.ask("GET", url, headers={"authorization": f"Bearer {token}"})
        signed_ = client.ask("GET", sign_address(client, url, token))
        assert (signed_.status, signed_.headers.get("content-type")) == (mine.status, mine.headers.get("content-type"))
        if mine.status == 200 and "take" not in url:
            assert signed_.body == mine.body


def test_the_query_without_its_signature() -> None:
    for query, rest, found in (
        (b"", b"", None),
        (b"a=1&b=x?y", b"a=1&b=x?y", None),
        (b"hven-signed=s&a=x?y", b"a=x?y", "s"),
        (b"a=1&hven%2Dsigned=s", b"a=1", "s"),
        (b"a=hven-signed", b"a=hven-signed", None),
        (b"HVEN-SIGNED=a&hven-signed=b", b"", "a"),
    ):
        assert split_signature_from_query(query) == (rest, found)


def test_lists_of_files_have_signed_lines(night_site: Site, client: Client, token: str) -> None:
    mine = {"authorization": f"Bearer {token}"}
    listed = client.ask("GET", "/collections/night/files", headers=mine)
    assert listed.headers["cache-control"] == "private, no-store"
    line = listed.text.split()
    assert line[1].startswith(f"{night_site.settings.site_url}{FILE}?hven-signed=")
    assert client.ask("GET", line[1].removeprefix(night_site.settings.site_url)).text == "hidden words\n"
    for kind in ("wget", "curl", "aria2", "links"):
        script = client.ask("GET", f"/collections/night/images/script?_as={kind}", headers=mine)
        assert script.headers["cache-control"] == "private, no-store"
        assert script.text.count("hven-signed=") == 1
        assert "https://other.example/b.fits\n" in script.text.replace(" ", "\n").replace("'", "")
        address = re.search(r"http://vo\.example([^\s']*hven-signed=[^\s']*)", script.text)
        assert address
        assert "out=a.txt" in script.text if kind == "aria2" else kind == "links" or "a.txt\n" in script.text
        assert client.ask("GET", address[1]).text == "hidden words\n"
    # a list that is asked for by a signed address is of the same reader
    assert "hven-signed=" in client.ask("GET", sign_address(client, "/collections/night/files", token)).text


def test_what_everybody_may_have_is_not_signed(night_site: Site, token: str) -> None:
    place = night_site.settings.collections_directory / "night" / "night.yaml"
    place.write_text(DESCRIPTOR.replace("access: \"'spica' in groups\"\n", "", 1))
    mine = {"authorization": f"Bearer {token}"}
    with Site(settings.load_settings(night_site.settings.directory)) as later:
        changed = Client(create_and_start_application(later))
        assert changed.ask("GET", FILE).status == 200
        for url in ("/collections/night/files", "/collections/night/images/script?_as=wget"):
            assert "hven-signed" not in changed.ask("GET", url, headers=mine).text
