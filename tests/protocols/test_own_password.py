"""Readers set their own password on the page: who knows the old one, or the account's token; sessions elsewhere end, and guesses are slow."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import anyio.to_thread
import pytest
from asgi_client import Answer, Client
from star_tables import STARS, build_rows

from hven.app._server import create_and_start_application
from hven.services import _proof_verification as proving
from hven.site.auth.local import LocalIdentityProvider, create_personal_token
from hven.testing.site import open_tiny_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hven.site import Site

FORM = {"content-type": "application/x-www-form-urlencoded"}
WORDS = "four words are enough"


@pytest.fixture
def star_site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"stars.main": (STARS, build_rows(10))}) as site:
        yield site


@pytest.fixture
def token(star_site: Site) -> str:
    return star_site.store.users.add_account("anna")


def session(star_site: Site) -> dict[str, str]:
    return {"cookie": f"hven_session={star_site.store.sessions.begin_session('anna', 60)}"}


def change(star_site: Site, old: str, new: str = WORDS, again: str | None = None, **headers: str) -> Answer:
    given = {"old": old, "new": new, "again": new if again is None else again}
    body = urlencode(given).encode()
    return Client(create_and_start_application(star_site)).ask(
        "POST", "/login/password", body=body, headers={**FORM, **headers}
    )


def test_a_password_of_ones_own(star_site: Site, token: str) -> None:
    mine, elsewhere = session(star_site), session(star_site)
    answer = change(star_site, token, **mine)
    assert (answer.status, "Your password has been changed" in answer.text) == (200, True), answer.text
    accounts = LocalIdentityProvider(star_site.store, star_site.settings)
    now = {"cookie": answer.headers["set-cookie"].partition(";")[0]}
    assert accounts.identify(now).name == "anna"  # type: ignore[union-attr]
    assert all(accounts.identify(one).is_anonymous for one in (mine, elsewhere))  # type: ignore[union-attr]
    assert accounts.verify_credentials("anna", WORDS).name == "anna"
    assert change(star_site, WORDS, "another four words", **now).status == 200
    assert accounts.verify_credentials("anna", token).name == "anna", "the token stays"
    lines = [(one.by, one.what, one.object) for one in star_site.store.grants.list_audit_entries(row_limit=2)]
    assert lines == [("anna", "password ended", "anna"), ("anna", "password given", "anna")]
    script = Client(create_and_start_application(star_site)).ask(
        "POST", "/login/password", body=json.dumps({"old": token, "new": WORDS}).encode(),
        headers={"content-type": "application/json", "authorization": f"Bearer {token}"},
    )  # fmt: skip
    assert (script.status, json.loads(script.body), "set-cookie" in script.headers) == (200, {"name": "anna"}, False)


def test_what_is_refused(star_site: Site, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(proving, "anyio", SimpleNamespace(sleep=sleep, to_thread=anyio.to_thread))
    mine, bert = session(star_site), star_site.store.users.add_account("bert")
    personal = create_personal_token(star_site.store, "anna", "all", 1, created_by="anna")[1]
    proof = mine["cookie"].partition("=")[2]
    for old in ("", "wrong", bert, personal, proof):
        answer = change(star_site, old, **mine)
        assert (answer.status, "neither the account" in answer.text) == (401, True), old
        assert "ni le mot de passe" in change(star_site, old, **mine, **{"accept-language": "fr"}).text
    assert len(pauses) == 10
    assert pauses[-1] > 1, "guesses are answered ever later"
    assert change(star_site, token, "short", **mine).status == 400
    assert change(star_site, token, " ", **mine).status == 400
    assert "the two new passwords differ" in change(star_site, token, WORDS, "another", **mine).text
    assert change(star_site, token).status == 401
    assert change(star_site, token, authorization=f"Bearer {personal}").status == 403
    assert change(star_site, token, origin="https://evil.example", **mine).status in {401, 403}
    assert not star_site.store.grants.list_grants("password")
    star_site.settings = replace(star_site.settings, login=replace(star_site.settings.login, own_passwords=False))
    assert change(star_site, token, **mine).status == 403
    assert (
        "/login/password" not in Client(create_and_start_application(star_site)).ask("GET", "/login", headers=mine).text
    )
