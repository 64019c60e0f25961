"""A proxy that says who is logged in there: believed from its own addresses alone, and said once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from asgi_client import Client
from star_tables import STARS, build_rows

from hven.app._server import create_and_start_application
from hven.model.errors import DescriptorError
from hven.model.settings import load_settings
from hven.site import Site
from hven.testing.site import open_tiny_site
from plugin_needs import require_plugins

CSV = b"id,mine\ns1,10\n"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"stars.main": (STARS, build_rows(2))}) as found:
        yield found


def client(site: Site, *proxies: str) -> Client:
    login = replace(site.settings.login, proxy_header="X-Remote-User", proxies=proxies)
    site.settings = replace(site.settings, login=login)
    return Client(create_and_start_application(site))


def test_its_own_proxy_is_believed(site: Site) -> None:
    require_plugins("protocols", "user_tables")
    told = client(site, "10.0.0.0/8", "127.0.0.1")
    mine = {"x-remote-user": "Anna"}
    answer = told.ask("GET", "/tap/tables", headers=mine)
    assert (answer.status, answer.headers["x-vo-authenticated"]) == (200, "anna")
    assert "private" in answer.headers["cache-control"]
    assert [name for name, _ in site.store.users.list_accounts()] == ["anna"]
    assert told.ask("PUT", "/tap/user_tables/list", body=CSV, headers=mine).status == 201
    evil = {**mine, "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert told.ask("DELETE", "/tap/user_tables/list", headers=evil).status == 401, "a foreign page makes a browser ask"
    assert "x-vo-authenticated" not in told.ask("GET", "/tap/tables", headers={"x-remote-user": " "}).headers
    for said in ("anna", "proxy anna", "Anna"):  # what was believed of the proxy a moment ago
        assert told.ask("GET", "/tap/tables", headers={"authorization": said}).status == 401, said
    other = {"authorization": f"Bearer {site.store.users.add_account('bob')}"}
    assert told.ask("GET", "/tap/tables", headers={**mine, **other}).headers["x-vo-authenticated"] == "anna"
    assert told.ask("GET", "/tap/tables", headers=other).headers["x-vo-authenticated"] == "bob"
    for name in ("owner", "anonymous", "anna, bob", "a" * 100, "\u00e9", "anna@example.org"):
        assert told.ask("GET", "/tap/tables", headers={"x-remote-user": name}).status == 400, name


def test_others_are_not(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for proxies in (("10.0.0.0/8",), ("192.0.2.1", "::1"), ()):
        told = client(site, *proxies)
        for headers in ({}, {"x-forwarded-for": "10.0.0.1"}):
            answer = told.ask("GET", "/tap/tables", headers={"x-remote-user": "anna", **headers})
            assert (answer.status, "only the site's proxy" in answer.text) == (401, True)
        assert told.get("/tap/tables").status == 200
    assert "ignored the header x-remote-user from 127.0.0.1: the address is not in login.proxies" in caplog.text
    assert site.store.users.list_accounts() == []
    site.settings = replace(site.settings, login=replace(site.settings.login, proxy_header=None))
    assert (
        "x-vo-authenticated"
        not in Client(create_and_start_application(site)).ask("GET", "/", headers={"x-remote-user": "anna"}).headers
    )


def test_a_header_that_is_sent_twice(site: Site) -> None:
    told = client(site, "127.0.0.1")
    app = told._app

    async def repeat_header(scope: dict[str, object], *rest: object) -> None:
        await app({**scope, "headers": [*scope["headers"], (b"x-remote-user", b"bob")]}, *rest)  # type: ignore[misc]

    told._app = repeat_header
    assert told.ask("GET", "/tap/tables", headers={"x-remote-user": "anna"}).status == 401


def test_settings_that_cannot_be_meant(tmp_path: Path) -> None:
    for line, why in (
        ('proxy_header = "X-Remote-User"', "has no effect without `proxies`"),
        ('proxies = ["10.0.0.1/8"]', "host bits"),
        ('proxies = ["somewhere"]', "somewhere"),
        ('proxy_header = "X Remote"', "name of a header"),
    ):
        (tmp_path / "hven.toml").write_text(f"[login]\n{line}\n")
        with pytest.raises(DescriptorError, match=why):
            load_settings(tmp_path, {})
