"""Log-in by OpenID Connect, vouched for by a provider that is not ours (npm oidc-provider); tokens with faults and surprises."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pyarrow as pa
import pytest
from joserfc import jwk, jwt

from hven.app._server import create_and_start_application
from hven.app._server.identification import CREDENTIAL_CACHE_SECONDS
from hven.model.errors import HvenError, StorageUnavailableError, UnauthenticatedError
from hven.model.settings import load_settings
from hven.plugins.institute_log_in.openid_provider import OpenIdProvider
from hven.site import Site
from hven.site.auth.local import LocalIdentityProvider
from hven.testing.site import open_tiny_site
from process_runner import reserve_port
from requirements import find_node, require

HERE = Path(__file__).parent
MODULE = HERE.parents[2] / "web" / "node_modules" / "oidc-provider" / "lib" / "index.js"
ISSUER = "https://aai.example.org"
TOML = """allow_private = true
[identity.ours]
issuer = "{issuer}"
client_id = "hven"
client_secret = "$OURS"
title = "Our institute"
audience = ["http://vo.example"]
groups = "groups"
group_names = {{members = "project-x"}}
{more}
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    require("node")
    port = reserve_port()
    words = [find_node() or "", str(HERE / "openid_provider.js"), str(port), MODULE.as_uri()]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert running.stdout is not None
    while "listens" not in (line := running.stdout.readline()):
        assert line, "it ended"
    yield f"http://127.0.0.1:{port}", running
    running.kill()
    running.wait()
    running.stdout.close()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("OURS", "the secret of hven")
    with open_tiny_site(tmp_path / "site", {"stars.main": pa.table({"id": ["a"]})}) as found:
        yield found


def settle(site: Site, tmp_path: Path, issuer: str, more: str = "join = true") -> None:
    place = tmp_path / "said"
    place.mkdir(exist_ok=True)
    (place / "hven.toml").write_text(TOML.format(issuer=issuer, more=more))
    said = load_settings(place, {})
    site.settings = replace(site.settings, brought=said.brought, allow_private=True)


class Browser:
    """Goes to and fro between the site, in this process, and the provider."""

    def __init__(self, site: Site, who: str) -> None:
        self.site, self.who, self.cookies = create_and_start_application(site), who, dict[str, str]()

    def ask(self, path: str, **headers: str) -> httpx.Response:
        import asyncio

        async def send_request() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.site)
            async with httpx.AsyncClient(transport=transport, base_url="http://vo.example") as client:
                cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
                return await client.get(path, headers={"accept": "text/html", "cookie": cookie, **headers})

        answer = asyncio.run(send_request())
        for said in answer.headers.get_list("set-cookie"):
            name, _, value = said.partition(";")[0].partition("=")
            self.cookies[name] = value
        self.cookies = {name: value for name, value in self.cookies.items() if value}
        return answer

    def go(self, start: str = "/login/oidc/ours") -> str:
        """Return the address to which the provider sends it back."""
        place = self.ask(start).headers["location"]
        assert dict(parse_qsl(urlsplit(place).query))["code_challenge_method"] == "S256"
        place += f"&login_hint={self.who}" if self.who else ""
        with httpx.Client(trust_env=False) as there:
            while not place.startswith("http://vo.example/"):
                place = str(httpx.URL(place).join(there.get(place).headers["location"]))
        return place.removeprefix("http://vo.example")

    def who_am_i(self) -> str | None:
        found: str | None = self.ask("/login", accept="application/json").json()["name"]
        return found


def test_from_the_page_to_the_page(
    site: Site, tmp_path: Path, issuer: tuple[str, subprocess.Popen[str]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="hven.access")
    settle(site, tmp_path, issuer[0], 'join = true\naccount = "preferred_username"')
    anna = Browser(site, "anna")
    page = anna.ask("/login?next=/tap/tables").text
    assert 'href="http://vo.example/login/oidc/ours?next=/tap/tables"' in page
    assert "Log in with Our institute" in page
    back = anna.go("/login/oidc/ours?next=/tap/tables")
    kept = dict(anna.cookies)
    done = anna.ask(back)
    assert (done.status_code, done.headers["location"]) == (303, "http://vo.example/tap/tables")
    assert anna.who_am_i() == "anna"
    assert "hven_oidc" not in anna.cookies
    assert "/login/oidc/ours/back" in caplog.text
    assert "code=" not in caplog.text
    (grant,) = site.store.grants.list_grants("identity")
    assert (grant.subject, grant.object, grant.facts["groups"]) == ("anna", f"{issuer[0]} anna", ["spica"])
    who = LocalIdentityProvider(site.store, site.settings).identify(
        {"cookie": f"hven_session={anna.cookies['hven_session']}"}
    )
    assert who is not None
    assert who.groups == {"user:anna", "spica"}, "what the site alone gives is not taken from a provider"
    for cookies, status in (
        (kept, 401),
        ({}, 401),
        ({"hven_oidc": "ours%7Cx.y.z%7C"}, 401),
    ):  # used, of another, forged
        other = Browser(site, "anna")
        other.cookies = dict(cookies)
        assert other.ask(back).status_code == status
        assert "hven_session" not in other.cookies
    assert anna.ask(back.replace("state=", "state=x")).status_code == 401
    again = Browser(site, "anna")
    again.ask(again.go())
    assert (again.who_am_i(), len(site.store.users.list_accounts())) == ("anna", 1)
    denied = Browser(site, "")
    answer = denied.ask(denied.go())
    assert (answer.status_code, "did not confirm your login: access_denied" in answer.text) == (401, True)
    carla = Browser(site, "carla")
    answer = carla.ask(carla.go())
    assert (answer.status_code, "not a list of strings" in answer.text) == (401, True)
    site.store.users.add_account("bob")
    bob = Browser(site, "bob")
    answer = bob.ask(bob.go())
    assert (answer.status_code, "belongs to a different person" in answer.text) == (401, True)
    site.store.users.remove_account("anna")
    assert anna.ask("/tap/tables", accept="*/*").status_code == 401
    site.settings = replace(site.settings, brought={**site.settings.brought, "identity": ()})
    assert LocalIdentityProvider(site.store, site.settings).build_principal("anna").groups == {"user:anna"}


def test_those_alone_who_are_listed(site: Site, tmp_path: Path, issuer: tuple[str, subprocess.Popen[str]]) -> None:
    settle(site, tmp_path, issuer[0], 'accounts = {anna = "berg"}')
    anna, bob = Browser(site, "anna"), Browser(site, "bob")
    answer = bob.ask(bob.go())
    assert (answer.status_code, "the user bob of ours has no account on this site" in answer.text) == (401, True)
    assert anna.ask(anna.go()).status_code == 303
    assert anna.who_am_i() == "berg"


def test_tokens_of_programs(site: Site, tmp_path: Path, issuer: tuple[str, subprocess.Popen[str]]) -> None:
    settle(site, tmp_path, issuer[0], 'accounts = {machine = "robot"}')
    script = Browser(site, "")

    def ask_with_token(resource: str) -> httpx.Response:
        form = {"grant_type": "client_credentials", "resource": resource}
        token = httpx.post(
            f"{issuer[0]}/token", data=form, auth=("machine", "the secret of machine"), trust_env=False
        ).json()["access_token"]
        return script.ask("/tap/tables", authorization=f"Bearer {token}")

    mine, others = ask_with_token("http://vo.example"), ask_with_token("http://other.example")
    assert (mine.status_code, mine.headers["x-vo-authenticated"]) == (200, "robot")
    assert (others.status_code, "issued this token for a different site" in others.text) == (401, True)


def test_a_provider_that_is_down(site: Site, tmp_path: Path, issuer: tuple[str, subprocess.Popen[str]]) -> None:
    """The last one: it ends the provider."""
    settle(site, tmp_path, issuer[0])
    anna = Browser(site, "anna")
    anna.ask(anna.go())
    name = anna.who_am_i()
    assert name is not None
    assert name.startswith("ours-")
    back = Browser(site, "bob")
    place = back.go()
    issuer[1].kill()
    issuer[1].wait()
    assert anna.who_am_i() == name, "who is logged in goes on"
    for browser, path in ((back, place), (Browser(site, "bob"), "/login/oidc/ours")):
        answer = browser.ask(path)
        assert (answer.status_code, "ours does not respond; try again later" in answer.text) == (503, True)
        assert "<form" in answer.text, "there may be other ways"
    token = jwt.encode({"alg": "RS256"}, {"iss": issuer[0]}, jwk.RSAKey.generate_key(2048))
    assert anna.ask("/tap/tables", authorization=f"Bearer {token}").status_code in {401, 503}


KEY, OTHER = jwk.RSAKey.generate_key(2048, {"kid": "one"}), jwk.RSAKey.generate_key(2048, {"kid": "one"})


@pytest.fixture
def provider(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenIdProvider:
    settle(site, tmp_path, ISSUER)
    said: dict[str, Any] = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}
    keys = {"keys": [KEY.as_dict(private=False), {"kty": "odd"}, "no key"]}
    found = OpenIdProvider(site.settings, site.settings.brought["identity"][0])
    monkeypatch.setattr(found, "_request_json", lambda _, url: keys if url.endswith("/keys") else said)
    return found


def sign_token(key: Any = KEY, alg: str = "RS256", **more: Any) -> str:
    now = time.time()
    claims = {"iss": ISSUER, "aud": "hven", "sub": "anna", "exp": now + 60, "iat": now, **more}
    return jwt.encode({"alg": alg, "kid": "one"}, {name: one for name, one in claims.items() if one != "gone"}, key)


def test_tokens_with_faults(provider: OpenIdProvider) -> None:
    assert provider.verify_token(sign_token())["sub"] == "anna"
    assert provider.verify_token(sign_token(aud=["x", "http://vo.example", 3]))["sub"] == "anna"
    now = time.time()
    for wrong in (
        {"exp": now - 3600},
        {"exp": "gone"},
        {"exp": str(now + 60)},
        {"exp": True},
        {"exp": None},
        {"nbf": now + 3600},
        {"nbf": []},
        {"iat": now + 3600},
        {"iss": "https://evil.example"},
        {"iss": [ISSUER]},
        {"iss": f"{ISSUER}/"},
        {"aud": "other"},
        {"aud": "gone"},
        {"aud": []},
        {"aud": [["hven"]]},
        {"aud": {"hven": 1}},
        {"sub": ""},
        {"sub": 7},
        {"sub": "gone"},
        {"sub": "x" * 256},
        {"sub": ["anna"]},
        {"key": OTHER},
    ):
        with pytest.raises(UnauthenticatedError):
            provider.verify_token(sign_token(**wrong))
    head, body, seal = sign_token().split(".")
    none = "eyJhbGciOiJub25lIiwia2lkIjoib25lIn0"  # {"alg":"none","kid":"one"}
    secret = jwk.OctKey.import_key(json.dumps(KEY.as_dict(private=False)))
    for text in (f"{none}.{body}.", f"{none}.{body}.{seal}", f"{head}.{body}.", "a.b.c", "..", "x" * 20_000 + "..", "\u00e9.\u00e9.\u00e9",
                 sign_token(secret, "HS256")):  # fmt: skip
        with pytest.raises(UnauthenticatedError):
            provider.verify_token(text)
    with pytest.raises(UnauthenticatedError, match="a different login"):
        provider.verify_token(sign_token(nonce="of before"), nonce="of now")


def test_claims_with_surprises(provider: OpenIdProvider, site: Site) -> None:
    store = site.store
    for said, groups in (
        ("spica", {"spica"}),
        (["spica", "members", "owner", "user:bob", "project:x", "two words", ""], {"spica", "project-x"}),
        ([], set()),
        ("gone", set()),
    ):
        assert provider.list_groups({} if said == "gone" else {"groups": said}) == groups
    for odd in (None, 7, {"spica": True}, [["spica"]], [None], ["x"] * 1001):
        with pytest.raises(UnauthenticatedError, match="not a list of strings"):
            provider.list_groups({"groups": odd})
    name = provider.find_or_create_account(store, {"sub": "anna", "groups": ["spica"]})
    assert (
        provider.find_or_create_account(store, {"sub": "anna", "preferred_username": "another name", "groups": []})
        == name
    )
    assert LocalIdentityProvider(store, site.settings).build_principal(name).groups == {f"user:{name}", "spica"}, (
        "a token changes nothing kept"
    )
    provider.find_or_create_account(store, {"sub": "anna", "groups": []}, can_update_groups=True)
    assert LocalIdentityProvider(store, site.settings).build_principal(name).groups == {f"user:{name}"}
    assert provider.find_or_create_account(store, {"sub": "Anna"}) != name
    store.users.remove_account(name)
    assert store.grants.list_grants("identity", subject=name) == []


def test_a_provider_is_not_asked_by_everybody(provider: OpenIdProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()

    def fail_to_answer(_: str, url: str) -> dict[str, Any]:
        asked.append(url)
        raise StorageUnavailableError("away")

    provider.verify_token(sign_token())
    monkeypatch.setattr(provider, "_request_json", fail_to_answer)
    for _ in range(5):
        with pytest.raises(UnauthenticatedError):
            provider.verify_token(sign_token(OTHER))
        provider.verify_token(sign_token())
    assert asked == [], "its keys were looked at a moment ago"
    monkeypatch.setattr(provider, "_last_refresh", time.monotonic() - 40.0)
    for _ in range(5):
        with pytest.raises(UnauthenticatedError):
            provider.verify_token(sign_token(OTHER))
    assert len(asked) == 1
    monkeypatch.setattr(provider, "_key_set", None)
    monkeypatch.setattr(provider, "_last_refresh", -1e9)
    for _ in range(5):
        with pytest.raises(HvenError):
            provider.verify_token(sign_token())
    assert len(asked) == 1, "nor while it was away a moment ago"
    assert CREDENTIAL_CACHE_SECONDS < 1
