"""Sessions of browsers: begun, used, ended, out of time; what foreign pages may not do with them; wrong ones are slowed down."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlencode, urlsplit

import anyio.to_thread
import pytest
from asgi_client import Answer, Client
from lxml import html
from star_tables import STARS, build_rows

from hven.app._server import create_and_start_application
from hven.services import _proof_verification as proving
from hven.site import Site
from hven.site.auth import change_password_and_end_sessions, session
from hven.site.store import StateStore
from hven.site.store._database import format_current_time
from hven.testing.site import open_tiny_site
from plugin_needs import require_plugins

CSV = b"id,mine\ns1,10\n"
FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}


@pytest.fixture
def star_site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"stars.main": (STARS, build_rows(100))}) as site:
        yield site


@pytest.fixture
def token(star_site: Site) -> str:
    return star_site.store.users.add_account("anna")


@pytest.fixture
def login_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that answers are held back; nobody waits."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(proving, "anyio", SimpleNamespace(sleep=sleep, to_thread=anyio.to_thread))
    return pauses


@pytest.fixture
def client(star_site: Site) -> Client:
    return Client(create_and_start_application(star_site))


def send(client: Client, body: dict[str, str], **headers: str) -> Answer:
    return client.ask("POST", "/login", body=json.dumps(body).encode(), headers={**JSON, **headers})


def begun(client: Client, token: str) -> dict[str, str]:
    answer = send(client, {"name": "anna", "token": token})
    assert answer.status == 200, answer.text
    return {"cookie": answer.headers["set-cookie"].partition(";")[0]}


def test_a_session_from_its_beginning_to_its_end(client: Client, token: str) -> None:
    require_plugins("protocols", "user_tables")
    page = client.get("/login")
    assert page.status == 200
    assert '<form method="post" action="http://vo.example/login">' in page.text
    assert "form-action 'self'" in page.headers["content-security-policy"]
    made = client.ask("POST", "/login", body=urlencode({"name": "anna", "token": token}).encode(), headers=FORM)
    assert made.status == 303
    assert made.headers["location"] == "http://vo.example/login"
    assert re.fullmatch(
        rf"{session.SESSION_COOKIE}=[\w-]{{43}}\.[0-9a-f]{{64}}; Path=/; Max-Age=1209600; HttpOnly; SameSite=Lax",
        made.headers["set-cookie"],
    )
    mine = {"cookie": made.headers["set-cookie"].partition(";")[0]}
    assert "Logged in as anna" in client.ask("GET", "/login", headers=mine).text
    assert client.ask("PUT", "/tap/user_tables/list", body=CSV, headers=mine).status == 201
    text = urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": "SELECT mine FROM tap_user.list"})
    assert client.ask("GET", f"/tap/sync?{text}", headers=mine).text.split() == ["mine", "10"]
    assert client.ask("POST", "/tap/sync", body=text.encode(), headers={**FORM, **mine}).status == 200
    assert client.ask("GET", f"/tap/sync?{text}").status == 400
    over = client.ask("POST", "/logout", headers=mine)
    assert over.status == 303
    assert "Max-Age=0" in over.headers["set-cookie"]
    assert client.ask("GET", "/tap/user_tables/list", headers=mine).status == 401, "whoever kept the cookie has nothing"
    told = client.ask("GET", "/tap/tables", headers=mine)
    assert (told.status, "Max-Age=0" in told.headers["set-cookie"]) == (401, True), (
        "what anybody sees would pass for all"
    )
    page = client.ask("GET", "/login", headers={**mine, "accept": "text/html"})
    assert (page.status, "Max-Age=0" in page.headers["set-cookie"]) == (200, True), "a page says that she is nobody"


def test_scripts(client: Client, token: str) -> None:
    mine = begun(client, token)
    accept = {"accept": "application/json"}
    assert json.loads(client.ask("GET", "/login", headers={**mine, **accept}).body) == {"name": "anna"}
    assert json.loads(client.ask("GET", "/login", headers=accept).body) == {"name": None}
    assert json.loads(send(client, {"token": token}).body) == {"name": "anna", "seconds": 1209600}
    assert json.loads(client.ask("POST", "/logout", headers={**mine, **accept}).body) == {"name": None}
    assert json.loads(client.ask("GET", "/login", headers={**mine, **accept}).body) == {"name": None}


def test_what_is_refused(client: Client, token: str, star_site: Site) -> None:
    bert = star_site.store.users.add_account("bert")
    for body in (
        {"name": "bert", "token": token},
        {"name": "anna", "token": bert},
        {"token": "x"},
        {"token": ""},
        {},
        {"name": "anna"},
    ):
        answer = send(client, body)
        assert answer.status == 401
        assert "set-cookie" not in answer.headers
        assert answer.headers["www-authenticate"] == 'Bearer realm="hven"', "no window of the browser's own"
    for raw in (b"{", b"[]", b'{"token": 1}', b"x" * 10_000):
        assert client.ask("POST", "/login", body=raw, headers=JSON).status in {400, 413}
    page = client.ask("POST", "/login", body=urlencode({"name": "<b>", "token": "x"}).encode(), headers=FORM)
    assert page.status == 401
    assert "Wrong account name" in page.text
    assert "<b>" not in page.text
    for method in ("PUT", "DELETE"):
        assert client.ask(method, "/login").status == 405
    assert client.get("/logout").status == 405, "a picture of another page must not log anybody out"


@pytest.mark.parametrize(
    ("following", "there"),
    [
        ("/tap/tables", "http://vo.example/tap/tables"),
        ("//evil.example", "http://vo.example/login"),
        ("/\\evil.example", "http://vo.example/login"),
        ("https://evil.example", "http://vo.example/login"),
        ("/a\r\nset-cookie: x=y", "http://vo.example/login"),
        ("javascript:alert(1)", "http://vo.example/login"),
        ("/\u2028", "http://vo.example/login"),
    ],
)
def test_where_one_is_sent_afterwards(client: Client, token: str, following: str, there: str) -> None:
    made = client.ask("POST", "/login", body=urlencode({"token": token, "next": following}).encode(), headers=FORM)
    assert (made.status, made.headers["location"]) == (303, there)
    assert ("evil" in client.get("/login", next=following).text) is False


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        ("/", "/hven/"),
        ("/collections/stars/main?vmag=..3&name=a%26b+c&lang=en", "/hven/collections/stars/main?vmag=..3&name=a%26b+c"),
        (f"/collections/stars/main?name={'a' * 1000}", "/hven/collections/stars/main"),
        ('/nothing/é ">', "/hven/nothing/%C3%A9%20%22%3E"),
        ("//evil.example/a", "/hven//evil.example/a"),
        (f"/{'a' * 2000}", "/hven/login"),
        ("/login?next=/tap", "/hven/login"),
    ],
)
def test_the_link_in_the_head_leads_back(star_site: Site, token: str, asked: str, there: str) -> None:
    star_site.settings = replace(star_site.settings, public_url="https://vo.example.org/hven", root_path="/hven")
    client, browser = Client(create_and_start_application(star_site)), {"accept": "text/html"}

    def link(**headers: str) -> str:
        page = html.fromstring(client.ask("GET", asked, headers={**browser, **headers}).text)
        (found,) = page.xpath("//header//a[contains(@href, '/login')]/@href")
        return str(found)

    following = parse_qs(urlsplit(link()).query).get("next", [""])[0]
    made = client.ask("POST", "/login", body=urlencode({"token": token, "next": following}).encode(), headers=FORM)
    assert (made.status, made.headers["location"]) == (303, f"https://vo.example.org{there}")
    cookie = made.headers["set-cookie"].partition(";")[0]
    assert link(cookie=cookie) == "https://vo.example.org/hven/login", "who is logged in is shown the account"


def test_foreign_pages_have_no_use_of_a_cookie(client: Client, token: str) -> None:
    require_plugins("protocols", "user_tables")
    mine = begun(client, token)
    assert client.ask("PUT", "/tap/user_tables/list", body=CSV, headers=mine).status == 201
    evil = {**mine, "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    for method, path in (
        ("PUT", "/tap/user_tables/list"),
        ("DELETE", "/tap/user_tables/list"),
        ("PUT", "/tap/tables/tap_user.list"),
        ("DELETE", "/tap/tables/tap_user.list"),
        ("POST", "/tap/load/list"),
        ("POST", "/tap/table-update"),
    ):
        assert client.ask(method, path, body=CSV, headers=evil).status == 401, path
    body = urlencode({"LANG": "ADQL", "QUERY": "SELECT * FROM tap_user.list"}).encode()
    assert client.ask("POST", "/tap/sync", body=body, headers={**FORM, **evil}).status == 400, "asked as anybody"
    assert send(client, {"token": token}, origin="https://evil.example").status == 403, (
        "nor may it log its victim in as somebody"
    )
    assert client.ask("POST", "/logout", headers=evil).status == 403
    home = {**mine, "origin": "http://vo.example", "sec-fetch-site": "same-origin"}
    assert client.ask("POST", "/tap/load/list", body=CSV, headers=home).status == 200
    basic = base64.b64encode(f"anna:{token}".encode()).decode()
    known = {"authorization": f"Basic {basic}"}  # as a browser remembers it
    assert (
        client.ask("POST", "/tap/load/list", body=CSV, headers={**known, "origin": "https://evil.example"}).status
        == 401
    )
    assert client.ask("POST", "/tap/load/list", body=CSV, headers=known).status == 200
    # a token is given on purpose: a page that has it may use it
    bearer = {"authorization": f"Bearer {token}", "origin": "https://aladin.example", "sec-fetch-site": "cross-site"}
    assert client.ask("POST", "/tap/load/list", body=CSV, headers=bearer).status == 200


def test_behind_https_the_cookie_is_secure_and_named_origins_are_trusted(star_site: Site, token: str) -> None:
    require_plugins("protocols", "user_tables")
    star_site.settings = replace(
        star_site.settings,
        public_url="https://vo.example.org/hven",
        root_path="/hven",
        cors=("https://portal.example.org",),
    )
    client = Client(create_and_start_application(star_site))
    said = send(client, {"token": token}).headers["set-cookie"]
    assert said.endswith("; Path=/hven; Max-Age=1209600; HttpOnly; SameSite=Lax; Secure")
    mine = {"cookie": said.partition(";")[0]}
    for origin, status in (
        ("https://vo.example.org", 201),
        ("https://portal.example.org", 201),
        ("https://other.example.org", 401),
    ):
        told = client.ask(
            "PUT", "/tap/user_tables/list", body=CSV, headers={**mine, "origin": origin, "sec-fetch-site": "same-site"}
        )
        assert told.status == status, origin


def test_forwarded_https_makes_it_secure(client: Client, token: str) -> None:
    assert send(client, {"token": token}, **{"x-forwarded-proto": "https"}).headers["set-cookie"].endswith("; Secure")


def test_a_hundred_wrong_ones_are_slowed_down_and_shut_nobody_out(
    client: Client, star_site: Site, token: str, login_pauses: list[float]
) -> None:
    berts = star_site.store.users.add_account("bert")
    basic = base64.b64encode(b"anna:anna.x").decode()
    for _ in range(50):
        assert send(client, {"name": "anna", "token": "anna.x"}).status == 401
        assert client.ask("GET", "/tap/tables", headers={"authorization": f"Basic {basic}"}).status == 401
    assert login_pauses[: session.FREE_ACCOUNT_FAILURES] == [0.0] * session.FREE_ACCOUNT_FAILURES
    assert login_pauses[10:] == [session.MAX_DELAY_SECONDS] * 90
    for right, address in ((token, "192.0.2.7"), (berts, "192.0.2.1"), (token, "192.0.2.1")):
        where = {"x-forwarded-for": address}
        assert send(client, {"token": right}, **where).status == 200
        assert client.ask("GET", "/tap/tables", headers={"authorization": f"Bearer {right}", **where}).status == 200
    assert len(login_pauses) == 100


def test_a_wrong_token_pays_for_no_password(
    client: Client, star_site: Site, token: str, login_pauses: list[float]
) -> None:
    """A program with an old token is told so at once, whatever passwords were tried from its address; and its failures slow nobody else down."""
    for _ in range(session.FREE_ADDRESS_FAILURES + 1):
        assert send(client, {"name": "anna", "token": "a guess"}).status == 401
    del login_pauses[:]
    old = {"authorization": f"Bearer {star_site.store.users.add_account('bert')}"}
    star_site.store.users.renew_token_and_end_sessions("bert")
    for _ in range(session.FREE_ADDRESS_FAILURES):
        assert client.ask("GET", "/tap/tables", headers=old).status == 401
    assert login_pauses == [0.0] * session.FREE_ADDRESS_FAILURES
    assert client.ask("GET", "/tap/tables", headers=old).status == 401
    assert login_pauses[-1] == session.FIRST_DELAY_SECONDS, "one that goes on and on is slowed down itself"
    del login_pauses[:]
    there = {"x-forwarded-for": "192.0.2.99"}
    for _ in range(session.FREE_ADDRESS_FAILURES):
        assert client.ask("GET", "/tap/tables", headers={**old, **there}).status == 401
        assert send(client, {"token": "carl.x"}, **there).status == 401, "without a name it is a token"
    assert send(client, {"name": "dora", "token": "a guess"}, **there).status == 401
    assert set(login_pauses) == {0.0}, "tokens leave no record that passwords are judged by"


def test_no_more_passwords_are_looked_at_than_are_answered(client: Client, star_site: Site, token: str) -> None:
    """Twenty wrong passwords from an address shut the right token of the same account out from nowhere."""
    address = "192.0.2.1"
    change_password_and_end_sessions(star_site.store, "anna", "a long password", changed_by="owner")
    for _ in range(session.MAX_DELAYED_ANSWERS):  # as if they were being held back
        session.get_login_attempts(star_site.store).count_failure_and_compute_delay(address, "anna")
    here = {"x-forwarded-for": address}
    for word in ("a long password", "another password"):
        late = send(client, {"name": "anna", "token": word}, **here)
        assert late.status == 429
        assert late.headers["retry-after"] == "60"
        assert "try again in a minute" in late.text
    for sent in ({"name": "anna", "token": token}, {"token": token}):
        assert send(client, sent, **here).status == 200, "her token"
    basic = base64.b64encode(f"anna:{token}".encode()).decode()
    for header in (f"Bearer {token}", f"Basic {basic}"):
        assert client.ask("GET", "/tap/tables", headers={"authorization": header, **here}).status == 200, header
    wrong = base64.b64encode(b"anna:another").decode()
    assert client.ask("GET", "/tap/tables", headers={"authorization": f"Basic {wrong}", **here}).status == 429
    assert send(client, {"token": star_site.store.users.add_account("bert")}, **here).status == 200, (
        "a proxy's crowd is let in"
    )
    elsewhere = {"x-forwarded-for": "192.0.2.7"}
    assert send(client, {"name": "anna", "token": "a long password"}, **elsewhere).status == 200, "and she, elsewhere"


def test_the_store_of_sessions(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.users.add_account("anna")
    proof = store.sessions.begin_session("anna", 100.0)
    other = StateStore(tmp_path)
    assert other.sessions.find_session_owner(proof) == "anna", "in every process"
    secret, _, seal = proof.partition(".")
    for wrong in (
        "",
        ".",
        secret,
        f"{secret}.",
        f".{seal}",
        f"{secret}.{seal[:-1]}",
        f"x{secret}.{seal}",
        f"{secret}.{'0' * 64}",
        "\udcff.é",
    ):
        assert other.sessions.find_session_owner(wrong) is None
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("hven.sqlite*"))
    assert secret.encode() not in raw, "only its digest is kept"
    assert store.sessions.find_session_owner(store.sessions.begin_session("anna", -1.0)) is None
    assert store.user_tables.is_expiry_cleanup_due(format_current_time())
    store.user_tables.delete_expired_tables_and_sessions(format_current_time())
    assert not store.user_tables.is_expiry_cleanup_due(format_current_time())
    many = [store.sessions.begin_session("anna", 1000.0 + n) for n in range(101)]
    assert store.sessions.find_session_owner(many[-1]) == "anna"
    assert [store.sessions.find_session_owner(one) for one in (proof, many[0])] == [None, None], (
        "an account has so many, the newest"
    )
    store.users.renew_token_and_end_sessions("anna")
    assert other.sessions.find_session_owner(many[-1]) is None
    store.close()
    other.close()
