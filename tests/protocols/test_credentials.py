"""Personal tokens and passwords: made, used, ended, and what they do not allow."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from asgi_client import Answer, Client
from star_tables import STARS, build_rows

from clocks import MovableClock
from hven.app._server import create_and_start_application
from hven.app._server.identification import CREDENTIAL_CACHE_SECONDS
from hven.model.errors import NotFoundError, UserError
from hven.site import Site
from hven.site.auth import change_password_and_end_sessions
from hven.site.auth import local as accounts
from hven.site.store import StateStore
from hven.testing.site import open_tiny_site
from plugin_needs import require_plugins

FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"accept": "application/json"}
CSV = b"id,mine\ns1,10\n"
SECRET = "four words are enough"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"stars.main": (STARS, build_rows(2))}) as found:
        yield found


@pytest.fixture
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


@pytest.fixture
def anna(site: Site) -> str:
    return site.store.users.add_account("anna")


def basic(name: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def send(client: Client, path: str, headers: dict[str, str], **given: str) -> Answer:
    return client.ask("POST", path, body=urlencode(given).encode(), headers={**FORM, **headers})


def count(client: Client, headers: dict[str, str], method: str = "GET") -> Answer:
    query = {"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": "SELECT COUNT(*) AS n FROM stars.main"}
    if method == "POST":
        return send(client, "/tap/sync", headers, **query)
    return client.ask("GET", f"/tap/sync?{urlencode(query)}", headers=headers)


def test_a_token_from_the_page_to_its_end(client: Client, site: Site, anna: str, clock: MovableClock) -> None:
    cookie = {"cookie": send(client, "/login", {}, username="anna", password=anna).headers["set-cookie"]}
    page = send(client, "/login/tokens", cookie, purpose="my <script>", scope="read", days="7")
    assert page.status == 200
    (grant,) = site.store.grants.list_grants("token")
    assert (grant.subject, grant.role, grant.facts) == ("anna", "read", {"purpose": "my <script>"})
    assert grant.until == pytest.approx(time.time() + 7 * 86400, abs=60)
    token = page.text.split("<code>")[2].split("</code>")[0]
    assert token.startswith(f"{grant.id}.")
    assert "my &lt;script&gt;" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert token not in client.ask("GET", "/login", headers=cookie).text
    for proof in (bearer(token), basic("anna", token), {"cookie": f"hven_session={token}"}):
        assert (count(client, proof).status, count(client, proof).headers["x-vo-authenticated"]) == (200, "anna")
    assert count(client, basic("bert", token)).status == 401
    bert = basic("bert", site.store.users.add_account("bert"))
    assert send(client, "/login/tokens/end", {**bert, **JSON}, id=grant.id).status == 404, "it is not his"
    assert send(client, "/login/tokens/end", cookie, id=grant.id).status == 303
    clock.move(CREDENTIAL_CACHE_SECONDS)
    for proof in (bearer(token), basic("anna", token), {"cookie": f"hven_session={token}"}):
        assert count(client, proof).status == 401
    assert token.partition(".")[2] not in repr(site.store.grants.list_audit_entries())


def test_a_token_that_may_only_read(client: Client, site: Site, anna: str) -> None:
    require_plugins("protocols", "user_tables")
    _, token = accounts.create_personal_token(site.store, "anna", "read", 1, created_by="anna")
    assert send(client, "/login", {}, username="anna", password=token).headers["x-vo-bearer"] == token, (
        "no more than it"
    )
    for mine in (bearer(token), basic("anna", token), {"cookie": f"hven_session={token}"}):
        assert count(client, mine).status == count(client, mine, "POST").status == 200
        assert send(client, "/cone/stars.main", mine, RA="1", DEC="2", SR="1").status == 200
        assert send(client, "/tap/async", mine, LANG="ADQL", QUERY="SELECT 1 FROM stars.main").status == 303
        for method, path in (
            ("PUT", "/tap/user_tables/list"),
            ("DELETE", "/tap/user_tables/list"),
            ("PUT", "/tap/tables/tap_user.list"),
            ("POST", "/tap/load/list"),
            ("POST", "/tap/table-update"),
            ("POST", "/login/tokens"),
            ("POST", "/login/tokens/end"),
        ):
            answer = client.ask(method, path, body=CSV, headers=mine)
            assert (answer.status, "is read-only" in answer.text) == (403, True), path
    _, whole = accounts.create_personal_token(site.store, "anna", "all", 1, created_by="anna")
    assert client.ask("PUT", "/tap/user_tables/list", body=CSV, headers=bearer(whole)).status == 201
    assert send(client, "/login/tokens", {**bearer(whole), **JSON}).status == 403, (
        "a token makes none that lasts longer"
    )
    made = send(client, "/login/tokens", {**bearer(anna), **JSON}, days="3", scope="all")
    assert json.loads(made.body)["scope"] == "all"


def test_a_token_that_may_only_read_changes_its_own_jobs_alone(client: Client, site: Site, anna: str) -> None:
    """Not those of nobody, which are for whoever knows their names, nor those that the account began by other proof."""
    _, token = accounts.create_personal_token(site.store, "anna", "read", 1, created_by="anna")
    _, other = accounts.create_personal_token(site.store, "anna", "read", 1, created_by="anna")
    began = {"nobody": {}, "the account": bearer(anna), "the token": bearer(token)}
    for who, headers in began.items():
        made = send(client, "/tap/async", headers, LANG="ADQL", QUERY="SELECT 1 FROM stars.main")
        job = made.headers["location"].partition("vo.example")[2]
        for mine in (bearer(token), bearer(other)):
            assert client.ask("GET", job, headers=mine).status == 200
            wanted = 303 if who == "the token" else 403
            for method, path, body in (
                ("POST", job, b"RUNID=x"),
                ("POST", f"{job}/phase", b"PHASE=ABORT"),
                ("POST", f"{job}/destruction", b"DESTRUCTION=2001-01-01"),
                ("PUT", f"{job}/parameters/maxrec", b"1"),
                ("POST", job, b"ACTION=DELETE"),
                ("DELETE", job, b""),
            ):
                if wanted == 303 and (method == "DELETE" or b"DELETE" in body or b"ABORT" in body):
                    continue
                kind = {"content-type": "application/x-www-form-urlencoded"}
                answer = client.ask(method, path, body=body, headers={**mine, **kind})
                assert answer.status == wanted, (who, method, path, answer.text)
        assert client.ask("GET", job, headers=headers).status == 200
        assert client.ask("DELETE", job, headers=headers).status == 303


def test_tokens_that_hold_no_more(client: Client, site: Site, anna: str, clock: MovableClock) -> None:
    _, brief = accounts.create_personal_token(site.store, "anna", "all", 0.8 / 86400, created_by="anna")
    assert count(client, bearer(brief)).status == 200
    clock.move(0.8 + CREDENTIAL_CACHE_SECONDS)
    told = count(client, bearer(brief))
    assert (told.status, "may have expired" in told.text) == (401, True)
    page = client.ask("GET", "/", headers={"cookie": f"hven_session={brief}", "accept": "text/html"})
    assert (page.status, "Max-Age=0" in page.headers["set-cookie"]) == (200, True), "a browser sees that it is nobody"
    assert count(client, {"cookie": f"hven_session={brief}"}).status == 401, "a part would pass for all"
    assert send(client, "/login", {"cookie": f"hven_session={brief}"}, username="anna", password=anna).status == 200
    grant, token = accounts.create_personal_token(site.store, "anna", "all", 1, created_by="anna")
    assert count(client, bearer(token)).status == 200
    site.store.users.remove_account("anna")
    clock.move(CREDENTIAL_CACHE_SECONDS)
    assert count(client, bearer(token)).status == count(client, bearer(anna)).status == 401
    site.store.users.add_account("anna")
    assert count(client, bearer(token)).status == 401, "somebody else of the same name"
    for wrong in (grant.id, f"{grant.id}.", f".{token}", f"{grant.id}.{'x' * 43}", "x" * 8000, "\u00e9.\u00e9", ""):
        assert client.ask("GET", "/tap/tables", headers={"authorization": f"Bearer {wrong}"}).status in {401, 429}


def test_a_token_ends_in_every_process(site: Site, anna: str, tmp_path: Path, clock: MovableClock) -> None:
    here, other = accounts.LocalIdentityProvider(site.store, site.settings), StateStore(site.settings.var_directory)
    there = accounts.LocalIdentityProvider(other, site.settings)
    grant, token = accounts.create_personal_token(site.store, "anna", "read", 1, created_by="anna")
    given = bearer(token)
    clock.move(0.3)
    for one in (here, there):
        assert one.identify(given) == accounts.build_principal("anna", site.store, site.settings, "scope:read")
    accounts.revoke_personal_token(site.store, grant.id, revoked_by="owner")
    clock.move(1 - CREDENTIAL_CACHE_SECONDS)
    for one in (here, there):
        with pytest.raises(Exception, match="not valid"):
            one.identify(given)
    other.close()


def test_what_cannot_be_given(site: Site, anna: str) -> None:
    for scope, days in (("write", 1.0), ("read", 0.0), ("read", -1.0), ("read", 367.0), ("read", float("nan"))):
        with pytest.raises(UserError):
            accounts.create_personal_token(site.store, "anna", scope, days, created_by="owner")
    with pytest.raises(NotFoundError):
        accounts.create_personal_token(site.store, "bert", "read", 1, created_by="owner")
    for number in range(accounts.MAX_TOKENS_PER_ACCOUNT):
        site.store.grants.add_grant("token", subject="anna", role="read", actor="owner", facts={"n": number})
    with pytest.raises(UserError, match="100 tokens"):
        accounts.create_personal_token(site.store, "anna", "read", 1, created_by="owner")


def test_passwords(client: Client, site: Site, anna: str, clock: MovableClock) -> None:
    store = site.store
    session = {"cookie": send(client, "/login", {}, username="anna", password=anna).headers["set-cookie"]}
    assert count(client, basic("anna", SECRET)).status == 401
    change_password_and_end_sessions(store, "anna", SECRET, changed_by="owner")
    assert count(client, session).status == 401, "its sessions end"
    raw = b"".join(path.read_bytes() for path in site.settings.var_directory.glob("hven.sqlite*"))
    assert SECRET.encode() not in raw
    assert "argon2" not in repr(store.grants.list_audit_entries()), "nor is the hash in the log"
    assert [line.what for line in store.grants.list_audit_entries()] == ["password given"]
    for name in ("token", "password"):
        made = send(client, "/login", {}, **{"name" if name == "token" else "username": "anna", name: SECRET})
        assert made.status in {200, 303}
        assert count(client, {"cookie": made.headers["set-cookie"].partition(";")[0]}).status == 200
    assert count(client, basic("anna", SECRET)).headers["x-vo-authenticated"] == "anna"
    assert count(client, basic("anna", anna)).status == 200, "its token goes on"
    for wrong in (
        bearer(SECRET),
        basic("bert", SECRET),
        basic("anna", SECRET + "x"),
        basic("anna", ""),
        basic("anna", "x" * 1_000_000),
    ):
        assert count(client, wrong).status == 401
    assert send(client, "/login", {}, username="anna", password="x" * 1_000_000).status == 413
    change_password_and_end_sessions(store, "anna", "another one, longer", changed_by="owner")
    clock.move(CREDENTIAL_CACHE_SECONDS)
    assert count(client, basic("anna", SECRET)).status == 401
    assert count(client, basic("anna", "another one, longer")).status == 200
    change_password_and_end_sessions(store, "anna", "", changed_by="owner")
    assert store.grants.list_grants("password") == []
    for password in ("short", "x" * 1025):
        with pytest.raises(UserError, match="10 to 1024"):
            change_password_and_end_sessions(store, "anna", password, changed_by="owner")
    with pytest.raises(NotFoundError):
        change_password_and_end_sessions(store, "bert", SECRET, changed_by="owner")
