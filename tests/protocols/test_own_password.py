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

from hven.app._server import create_application
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
def here(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"stars.main": (STARS, build_rows(10))}) as site:
        yield site


@pytest.fixture
def token(here: Site) -> str:
    return here.store.users.add_account("anna")


def session(here: Site) -> dict[str, str]:
    return {"cookie": f"hven_session={here.store.sessions.begin_session('anna', 60)}"}


def change(here: Site, old: str, new: str = WORDS, again: str | None = None, **headers: str) -> Answer:
    given = {"old": old, "new": new, "again": new if again is None else again}
    body = urlencode(given).encode()
    return Client(create_application(here)).ask("POST", "/login/password", body=body, headers={**FORM, **headers})


def test_a_password_of_ones_own(here: Site, token: str) -> None:
    mine, elsewhere = session(here), session(here)
    answer = change(here, token, **mine)
    assert (answer.status, "Your password is changed" in answer.text) == (200, True), answer.text
    accounts = LocalIdentityProvider(here.store, here.settings)
    now = {"cookie": answer.headers["set-cookie"].partition(";")[0]}
    assert accounts.identify(now).name == "anna"  # type: ignore[union-attr]
    assert all(accounts.identify(one).is_anonymous for one in (mine, elsewhere))  # type: ignore[union-attr]
    assert accounts.verify_credentials("anna", WORDS).name == "anna"
    assert change(here, WORDS, "another four words", **now).status == 200
    assert accounts.verify_credentials("anna", token).name == "anna", "the token stays"
    lines = [(one.by, one.what, one.object) for one in here.store.grants.list_audit_entries(row_limit=2)]
    assert lines == [("anna", "password ended", "anna"), ("anna", "password given", "anna")]
    script = Client(create_application(here)).ask(
        "POST", "/login/password", body=json.dumps({"old": token, "new": WORDS}).encode(),
        headers={"content-type": "application/json", "authorization": f"Bearer {token}"},
    )  # fmt: skip
    assert (script.status, json.loads(script.body), "set-cookie" in script.headers) == (200, {"name": "anna"}, False)


def test_what_is_refused(here: Site, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(proving, "anyio", SimpleNamespace(sleep=sleep, to_thread=anyio.to_thread))
    mine, bert = session(here), here.store.users.add_account("bert")
    personal = create_personal_token(here.store, "anna", "all", 1, created_by="anna")[1]
    proof = mine["cookie"].partition("=")[2]
    for old in ("", "wrong", bert, personal, proof):
        answer = change(here, old, **mine)
        assert (answer.status, "neither the account" in answer.text) == (401, True), old
        assert "ni le mot de passe" in change(here, old, **mine, **{"accept-language": "fr"}).text
    assert len(pauses) == 10
    assert pauses[-1] > 1, "guesses are answered ever later"
    assert change(here, token, "short", **mine).status == 400
    assert change(here, token, " ", **mine).status == 400
    assert "the two new passwords differ" in change(here, token, WORDS, "another", **mine).text
    assert change(here, token).status == 401
    assert change(here, token, authorization=f"Bearer {personal}").status == 403
    assert change(here, token, origin="https://evil.example", **mine).status in {401, 403}
    assert not here.store.grants.list_grants("password")
    here.settings = replace(here.settings, login=replace(here.settings.login, own_passwords=False))
    assert change(here, token, **mine).status == 403
    assert "/login/password" not in Client(create_application(here)).ask("GET", "/login", headers=mine).text
