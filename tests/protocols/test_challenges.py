"""Challenges (AuthVO): how a program learns that it may log in, logs in, and sees as whom; what a site shows that is closed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
from asgi_client import Answer, Client
from lxml import etree
from star_tables import STARS, build_rows

from clocks import MovableClock
from hven.app._server import create_and_start_application
from hven.app._server.identification import CREDENTIAL_CACHE_SECONDS
from hven.site import Site
from hven.testing.site import open_tiny_site

FORM = {"content-type": "application/x-www-form-urlencoded"}
PASSWORD = 'standard_id="ivo://ivoa.net/sso#tls-with-password", access_url="http://vo.example/login"'
CHALLENGES = f'ivoa_cookie {PASSWORD}, Basic realm="hven", charset="UTF-8", ivoa_bearer {PASSWORD}, Bearer realm="hven"'
CAPABILITIES = ("/tap/capabilities", "/cone/stars.main/capabilities")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"stars.main": (STARS, build_rows(2))}) as found:
        yield found


@pytest.fixture
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def basic(name: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def count(client: Client, headers: dict[str, str]) -> Answer:
    query = urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": "SELECT COUNT(*) AS n FROM stars.main"})
    return client.ask("GET", f"/tap/sync?{query}", headers=headers)


def test_where_nobody_has_an_account_nobody_is_asked(client: Client) -> None:
    for path in CAPABILITIES:
        for method in ("GET", "HEAD"):
            answer = client.ask(method, path)
            assert answer.status == 200, path
            assert "www-authenticate" not in answer.headers
            assert "x-vo-authenticated" not in answer.headers


def test_capabilities_say_how_to_log_in_and_as_whom_one_is(client: Client, site: Site) -> None:
    token = site.store.users.add_account("anna")
    for path in CAPABILITIES:
        for method in ("GET", "HEAD"):
            free, mine = client.ask(method, path), client.ask(method, path, headers=basic("anna", token))
            assert (free.status, free.headers["www-authenticate"]) == (200, CHALLENGES)
            assert "x-vo-authenticated" not in free.headers
            assert (mine.status, mine.headers["x-vo-authenticated"]) == (200, "anna")
            assert {"authorization", "cookie"} <= set(mine.headers["vary"].split(", "))
            assert "public" not in mine.headers["cache-control"]
            assert {"authorization", "cookie"} <= set(free.headers["vary"].split(", ")), "not for her from a cache"
            wrong = client.ask(method, path, headers=basic("anna", "anna.x"))
            assert (wrong.status, wrong.headers["www-authenticate"]) == (401, CHALLENGES)
        methods = etree.fromstring(client.get(path).body).xpath("//securityMethod/@standardID")
        assert {"ivo://ivoa.net/sso#BasicAA", "ivo://ivoa.net/sso#cookie"} <= set(methods)
    assert "www-authenticate" not in count(client, {}).headers
    etag = client.get("/tap/capabilities").headers["etag"]
    again = client.ask("GET", "/tap/capabilities", headers={"if-none-match": etag})
    assert (again.status, again.headers["www-authenticate"]) == (304, CHALLENGES)


def test_the_steps_of_starlink(client: Client, site: Site, clock: MovableClock) -> None:
    """HEAD of the capabilities, a challenge, its address with name and password, the cookie with each request."""
    token = site.store.users.add_account("anna")
    assert PASSWORD in client.ask("HEAD", "/tap/capabilities").headers["www-authenticate"]
    body = urlencode({"username": "anna", "password": token}).encode()
    made = client.ask("POST", "/login", body=body, headers=FORM)
    assert (made.status, made.headers["x-vo-authenticated"]) == (200, "anna")
    cookie = {"cookie": made.headers["set-cookie"].partition(";")[0]}
    bearer = {"authorization": f"Bearer {made.headers['x-vo-bearer']}"}
    for proof in (cookie, bearer):
        answer = count(client, proof)
        assert (answer.status, answer.headers["x-vo-authenticated"], answer.text.split()) == (200, "anna", ["n", "2"])
    assert client.ask("HEAD", "/tap/capabilities", headers=cookie).headers["x-vo-authenticated"] == "anna"
    client.ask("POST", "/logout", headers=cookie)
    clock.move(CREDENTIAL_CACHE_SECONDS)
    assert count(client, bearer).status == 401, "it was the same session"
    for wrong in ({"username": "anna", "password": "x"}, {"username": "bert", "password": token}, {"username": "anna"}):
        answer = client.ask("POST", "/login", body=urlencode(wrong).encode(), headers=FORM)
        assert answer.status == 401
        assert not {"set-cookie", "x-vo-bearer", "x-vo-authenticated"} & answer.headers.keys()


def test_a_login_by_basic(client: Client, site: Site) -> None:
    token = site.store.users.add_account("anna")
    made = client.ask("GET", "/login", headers=basic("anna", token))
    assert (made.status, made.headers["x-vo-authenticated"]) == (200, "anna")
    assert count(client, {"cookie": made.headers["set-cookie"].partition(";")[0]}).status == 200
    assert client.ask("GET", "/login", headers=basic("anna", "x")).status == 401
    page = client.ask("GET", "/login", headers={**basic("anna", token), "accept": "text/html"})
    assert "Logged in as anna" in page.text


def test_each_scheme_has_a_switch(client: Client, site: Site) -> None:
    token = site.store.users.add_account("anna")
    bearer = {"authorization": f"Bearer {token}"}
    site.settings = replace(site.settings, login=replace(site.settings.login, schemes=("Bearer", "ivoa_cookie")))
    assert client.get("/tap/capabilities").headers["www-authenticate"] == f'Bearer realm="hven", ivoa_cookie {PASSWORD}'
    assert count(client, basic("anna", token)).status == 401
    assert count(client, bearer).status == 200
    assert "BasicAA" not in client.get("/tap/capabilities").text
    site.settings = replace(site.settings, login=replace(site.settings.login, schemes=("Basic",)))
    assert [count(client, one).status for one in (basic("anna", token), bearer)] == [200, 401]


def test_a_closed_site(client: Client, site: Site) -> None:
    site.settings = replace(site.settings, login=replace(site.settings.login, required=True))
    mine = basic("anna", site.store.users.add_account("anna"))
    for path in (*CAPABILITIES, "/tap/availability", "/health/live"):
        assert client.ask("HEAD", path).status == 200, path
        assert client.get(path).status == 200, path
    assert client.get("/login").status == 200
    for path in ("/", "/tap/tables", "/tap/sync", "/cone/stars.main", "/tables/stars.main", "/health", "/nothing"):
        for method in ("GET", "HEAD", "POST"):
            answer = client.ask(method, path)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, CHALLENGES), path
    assert count(client, mine).status == 200
    shown = client.ask("GET", "/tables/stars.main?page=2", headers={"accept": "text/html"})
    assert shown.headers["location"] == "http://vo.example/login?next=/tables/stars.main%3Fpage%3D2"
    found = etree.fromstring(client.get("/tap/capabilities").body)
    tap = found.xpath("capability[@standardID='ivo://ivoa.net/std/TAP']/interface")
    assert [len(one.findall("securityMethod")) for one in tap] == [1, 1], "nobody is told to come as nobody"


def test_everything_that_is_told_to_a_reader_names_them_and_is_theirs(client: Client, site: Site) -> None:
    mine = basic("anna", site.store.users.add_account("anna"))
    for path in (
        "/",
        "/login",
        "/tap/tables",
        "/tap/async",
        "/tables/stars.main",
        "/robots.txt",
        "/nothing",
        "/tap/sync",
    ):
        answer = client.ask("GET", path, headers={**mine, "accept": "text/html"})
        assert answer.headers["x-vo-authenticated"] == "anna", path
        assert "public" not in answer.headers["cache-control"], path
        assert "x-vo-authenticated" not in client.get(path).headers
    assert json.loads(client.ask("GET", "/login", headers={"accept": "application/json"}).body) == {"name": None}
