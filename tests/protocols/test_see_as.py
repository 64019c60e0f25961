"""See as: an operator looks as an account, a group or nobody, a curator as a role of the project; read only, on record, and never with more rights than one has."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest import mock
from urllib.parse import urlencode

import pytest
from asgi_client import Answer, Client
from rights_clock import stop_policy_clock
from rights_matrix import NOW, PEOPLE, POLICY, QUERY_STRINGS, fill_route, normalize_answer
from rights_matrix import ROWS as ROWS_OF_MATRIX
from rights_matrix import open_rights_site as matrix_place

from hven.app._server.application import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.settings._sections import HealthSettings
from hven.site import Site
from hven.site.auth import impersonation
from package_rights import merge_package_rights
from plugin_needs import list_query_addresses, require_plugins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = """\
name = "seen"
[people]
groups = {spica = ["anna"]}
[health]
operators = ["olga"]
see_as = true
[projects.hesiod]
"""
DESCRIPTOR = """\
collection: {name}
title: Observations
{more}
files: [a.txt]
tables:
  main:
    source: {{kind: csv, files: rows.csv}}
    primary: id
    {access}
    columns:
      id: {{type: int32}}
      pi: {{type: string}}
      team: {{type: string}}
"""
ROWS = "id,pi,team\n1,Anna,\n2,carl,\n3,,spica\n4,,project:hesiod:reader\n5,,project:hesiod:curator\n"
FORM = {"content-type": "application/x-www-form-urlencoded"}
# what tells of the account, what all have asked, and addresses that are signed for the reader alone
LOG_IN = {"/login", "/login/oidc/{name}", "/login/oidc/{name}/back"}  # one page, which says who is logged in
# pages of one's own account, and what only a token may do
OF_THE_ACCOUNT = {
    *LOG_IN, "/access", "/metrics", "/adql/explain", "/collections/{name}/files", *merge_package_rights("ACCOUNT_ROUTES", {}),
}  # fmt: skip
NAMES = ("anna", "carl", "ines", "rena", "olga")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("seen")
    (place / "hven.toml").write_text(SETTINGS)
    for name, access, more in (
        ("night", "access: reader in (pi) or team in groups", ""),
        ("psz", "", "project: hesiod"),
    ):
        folder = place / "collections" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, access=access, more=more))
        (folder / "rows.csv").write_text(ROWS)
        (folder / "a.txt").write_text("words\n")
    with Site(settings.load_settings(place)) as made:
        for name in ("night", "psz"):
            ingest_collection(made, name)
    return place


@pytest.fixture
def roles_site(place: Path) -> Iterator[Site]:
    with Site(settings.load_settings(place), watch_for_changes=False) as made:
        for name in NAMES:
            made.store.users.add_account(name)
        for name, role in (("rena", "reader"), ("ines", "curator")):
            made.store.grants.add_grant("member", subject=name, object="hesiod", role=role, actor="owner")
        yield made
        for name in NAMES:
            made.store.users.remove_account(name)


@pytest.fixture
def client(roles_site: Site) -> Client:
    return Client(create_and_start_application(roles_site))


def session(roles_site: Site, name: str, seconds: float = 60) -> dict[str, str]:
    return {"cookie": f"hven_session={roles_site.store.sessions.begin_session(name, seconds)}"}


def look(client: Client, who: dict[str, str], whom: str, **more: str) -> Answer:
    return client.ask("POST", "/access/as", body=urlencode({"AS": whom}).encode(), headers={**FORM, **who, **more})


def see_as(client: Client, who: dict[str, str], whom: str) -> dict[str, str]:
    answer = look(client, who, whom)
    assert answer.status == 303, answer.text
    assert "HttpOnly; SameSite=Lax" in answer.headers["set-cookie"]
    return {"cookie": f"{who['cookie']}; {answer.headers['set-cookie'].partition(';')[0]}"}


def ids(client: Client, headers: dict[str, str], table: str = "night.main") -> list[str]:
    query = {"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": f"SELECT id FROM {table} ORDER BY id"}
    answer = client.ask("GET", f"/tap/sync?{urlencode(query)}", headers=headers)
    assert answer.headers.get("cache-control", "").startswith("private"), answer.headers
    return answer.text.split()[1:] if answer.status == 200 else [str(answer.status)]


def test_an_operator_sees_what_another_sees_and_nothing_mixes(roles_site: Site, client: Client) -> None:
    olga, anna = session(roles_site, "olga"), session(roles_site, "anna")
    expected = {
        "anna": ["1", "3"],
        "carl": ["2"],
        "anonymous": [],
        "group:spica": ["3"],
        "project:hesiod:curator": ["4", "5"],
    }
    for _ in range(2):  # what was remembered for one is not another's
        assert ids(client, olga) == []
        for whom, rows in expected.items():
            assert ids(client, see_as(client, olga, whom)) == rows, whom
        assert ids(client, anna) == ["1", "3"]
    mine = see_as(client, olga, "anna")
    for path in (
        "/",
        "/collections/night",
        "/collections/night/main",
        "/access",
        *list_query_addresses("/adql", "/jobs"),
        "/health",
        "/no",
    ):
        answer = client.ask("GET", path, headers={**mine, "accept": "text/html"})
        assert "You see this site as anna does" in answer.text, path
        assert answer.headers["x-vo-authenticated"] == "olga", path
        assert answer.headers["cache-control"].startswith(("private", "no-store")), path
        theirs = client.ask("GET", path, headers={**anna, "accept": "text/html"})
        assert "You see this site" not in theirs.text
        assert not theirs.headers.get("etag") or theirs.headers["etag"] != answer.headers["etag"], path
    page = client.ask("GET", "/access", headers=mine)
    assert '<td class="code">night.main</td><td class="n">2</td>' in page.text
    assert "Audit log" not in page.text
    lines = roles_site.store.grants.list_audit_entries(by="olga", object="anna")
    assert lines
    assert lines[0].what == "sees as"
    assert lines[0].facts["until"].endswith(" UTC")
    assert "as an anonymous reader does" in client.ask("GET", "/", headers=see_as(client, olga, "anonymous")).text


def test_every_way_out_answers_as_to_the_other(tmp_path: Path) -> None:
    """Ask all routes of the matrix of rights as somebody, and as who sees as them: the same, but for users who are logged in."""
    unlike, answered = [], 0
    with (
        asyncio.Runner() as runner,  # one for all requests, with its threads
        mock.patch("asgi_client.asyncio.run", runner.run),
        stop_policy_clock(lambda: NOW),
        matrix_place(tmp_path, ROWS_OF_MATRIX, POLICY) as at,
    ):
        at.site.settings = replace(at.site.settings, health=HealthSettings(operators=("otto",), see_as=True))
        at.site.store.users.add_account("otto")
        client = Client(create_and_start_application(at.site))
        otto = session(at.site, "otto", 1e6)
        for who in [one for one in PEOPLE if one.account in {"anna", "ines", "gerd"}]:
            mine = see_as(client, otto, str(who.account))
            theirs = {"authorization": f"Bearer {at.tokens[str(who.account)]}"}
            for path, lines in QUERY_STRINGS.items():
                if path in OF_THE_ACCOUNT:
                    continue
                address = "?".join(filter(None, (fill_route(path)[0], lines[0].replace("{first}", at.first))))
                one, two = (
                    client.ask("GET", address, headers={**given, "accept": "application/json"})
                    for given in (mine, theirs)
                )
                answered += 1
                assert (one.headers.pop("x-vo-authenticated"), two.headers.pop("x-vo-authenticated")) == ("otto", who.account)  # fmt: skip
                if normalize_answer(one) != normalize_answer(two):
                    unlike.append((who.name, address))
    assert unlike == []
    assert answered > 150


def test_nothing_is_changed_and_nothing_of_theirs_is_shown(roles_site: Site, client: Client) -> None:
    require_plugins("protocols", "user_tables")
    anna, olga = session(roles_site, "anna"), session(roles_site, "olga")
    assert client.ask("PUT", "/tap/user_tables/list", body=b"id\n1\n", headers=anna).status == 201
    body = urlencode({"LANG": "ADQL", "QUERY": "SELECT id FROM night.main"}).encode()
    made = client.ask("POST", "/tap/async", body=body, headers={**FORM, **anna})
    assert made.status == 303
    mine = see_as(client, olga, "anna")
    for method, path in (
        ("POST", "/tap/async"),
        ("POST", "/jobs"),
        ("POST", "/login"),
        ("POST", "/login/tokens"),
        ("POST", "/login/password"),
        ("POST", "/access/end"),
        ("POST", "/sign"),
        ("POST", "/projects/hesiod"),
        ("PUT", "/tap/user_tables/other"),
        ("PUT", "/tap/user_tables/take"),
        ("DELETE", "/tap/user_tables/list"),
    ):
        answer = client.ask(method, path, body=body, headers={**FORM, **mine})
        assert (
            answer.status,
            "you cannot change anything while you view the site as another user" in answer.text,
        ) == (403, True), path
    assert look(client, mine, "carl").status == 403
    assert ids(client, mine, "tap_user.list") == ["400"]
    job = made.headers["location"].partition("vo.example")[2]
    assert client.ask("GET", job, headers=mine).status == 403
    for path in ("/tap/sync", "/collections/night/main/take", "/cone/night.main"):
        assert client.ask("POST", path, body=body, headers={**FORM, **mine}).status in {200, 404}, path
    # the way back, and out
    over = client.ask("POST", "/access/as", headers={**FORM, **mine})
    assert (over.status, over.headers["location"].rpartition("/")[2]) == (303, "access")
    assert over.headers["set-cookie"].startswith("hven_as=; ")
    assert client.ask("POST", "/logout", headers=mine).status == 303


def test_nobody_gets_more_than_they_have(roles_site: Site, client: Client) -> None:
    ines, rena, anna = (session(roles_site, name) for name in ("ines", "rena", "anna"))
    assert ids(client, ines, "psz.main") == ["1", "2", "3", "4", "5"]
    assert ids(client, ines) == ["4", "5"]
    as_reader = see_as(client, ines, "project:hesiod:reader")
    assert ids(client, as_reader, "psz.main") == ["1", "2", "3", "4", "5"]
    assert ids(client, as_reader) == ["4"]
    assert ids(client, see_as(client, ines, "anonymous"), "psz.main") == ["400"]
    for who, whom in (
        (ines, "rena"), (ines, "project:hesiod:owner"), (ines, "group:spica"), (ines, "project:other:reader"), (ines, "project:hesiod"),
        (rena, "anonymous"), (rena, "project:hesiod:reader"), (anna, "carl"), ({}, "anonymous"),
    ):  # fmt: skip
        assert look(client, who, whom).status == 403, whom
    olga = session(roles_site, "olga")
    for whom in ("nobody", "group:owner", "group:", "group:a:b", "referee:night", "project:hesiod:", "owner"):
        assert look(client, olga, whom).status == 403, whom
    evil = look(client, olga, "anna", origin="https://evil.example")
    assert evil.status in {401, 403}
    token = roles_site.store.users.renew_token_and_end_sessions("olga")
    assert look(client, {"authorization": f"Bearer {token}"}, "anna").status == 303
    given = client.ask("POST", "/login/tokens", body=b"scope=all", headers={**FORM, "authorization": f"Bearer {token}", "accept": "application/json"})  # fmt: skip
    personal = {"authorization": f"Bearer {json.loads(given.body)['token']}"}
    assert look(client, personal, "anna").status == 403, "a token that leaked opens no more"
    for page, names in (("olga", ("anna", "group:spica", "project:hesiod:owner")), ("ines", ("project:hesiod:reader",)), ("anna", ())):  # fmt: skip
        text = client.ask("GET", "/access", headers=session(roles_site, page)).text
        assert ("See the site as somebody else" in text) == bool(names)
        assert all(f'<option value="{name}">' in text for name in names)
    assert '<option value="anna">' not in client.ask("GET", "/access", headers=ines).text


def test_the_cookie_is_good_for_its_account_and_its_hour(roles_site: Site, client: Client) -> None:
    olga, carl = session(roles_site, "olga"), session(roles_site, "carl")
    mine = see_as(client, olga, "anna")
    proof = mine["cookie"].partition("hven_as=")[2]
    assert ids(client, {"cookie": f"{carl['cookie']}; hven_as={proof}"}) == ["2"]
    assert ids(client, {"cookie": f"{olga['cookie']}; hven_as={proof.replace(b'anna'.hex(), b'carl'.hex())}"}) == []
    for wrong in ("x", "..", f"{proof}0", proof.partition(".")[2], "1.zz.3"):
        assert ids(client, {"cookie": f"{olga['cookie']}; hven_as={wrong}"}) == [], wrong
    past = impersonation.sign_impersonation_cookie(roles_site.store, "olga", "anna", int(time.time()) - 1)
    assert ids(client, {"cookie": f"{olga['cookie']}; hven_as={past}"}) == []
    anonymous = client.ask("GET", "/", headers={"cookie": f"hven_as={proof}"})
    assert "You see this site" not in anonymous.text
    roles_site.store.users.renew_token_and_end_sessions("olga")
    assert ids(client, {"cookie": f"{session(roles_site, 'olga')['cookie']}; hven_as={proof}"}) == []


def test_operators_see_nobodys_rows_unless_the_owner_says_so(place: Path, roles_site: Site) -> None:
    text = SETTINGS.replace("see_as = true\n", "")
    try:
        (place / "hven.toml").write_text(text)
        with Site(settings.load_settings(place), watch_for_changes=False) as closed:
            client, olga = Client(create_and_start_application(closed)), session(closed, "olga")
            assert look(client, olga, "anna").status == 403
            assert "see_as" in look(client, olga, "group:spica").text
            assert ids(client, see_as(client, olga, "anonymous")) == []
    finally:
        (place / "hven.toml").write_text(SETTINGS)


def test_a_closed_site_shows_nobody_anything_but_the_way_back(roles_site: Site) -> None:
    roles_site.settings = replace(roles_site.settings, login=replace(roles_site.settings.login, required=True))
    client = Client(create_and_start_application(roles_site))
    mine = {**see_as(client, session(roles_site, "olga"), "anonymous"), "accept": "text/html"}
    away = client.ask("GET", "/collections/night", headers=mine)
    assert (away.status, "/login?next=" in away.headers["location"]) == (303, True)
    page = client.ask("GET", "/login", headers=mine).text
    assert "Return to your own account" in page
    assert "Logged in as olga" in page
    assert client.ask("POST", "/access/as", headers={**FORM, **mine}).status == 303


def test_files_are_looked_at_on_record(roles_site: Site, client: Client) -> None:
    before = len(roles_site.store.grants.list_audit_entries())
    mine = see_as(client, session(roles_site, "olga"), "rena")
    assert client.ask("GET", "/collections/psz/files/a.txt", headers=mine).text == "words\n"
    told = [
        (one.by, one.what, one.object, one.facts) for one in roles_site.store.grants.list_audit_entries(row_limit=1)
    ]
    assert told == [("olga", "file taken", "psz", {"file": "a.txt", "as": "as rena"})]
    assert len(roles_site.store.grants.list_audit_entries()) == before + 2
