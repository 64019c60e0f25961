"""Log-ins by OpenID Connect that somebody mixes up: another state, nonce, issuer, audience or provider, and tokens signed otherwise than by the provider."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
import pytest
from joserfc import jwk, jwt

from hven.model.errors import UnauthenticatedError
from hven.model.settings import load_settings
from hven.plugins.institute_log_in.openid_provider import OpenIdProvider
from hven.site import Site
from hven.testing.site import open_tiny_site

ISSUER, OTHER_ISSUER = "https://aai.example.org", "https://evil.example.org"
BACK = "http://vo.example/login/oidc/ours/back"
KEY, OTHER_KEY = (jwk.RSAKey.generate_key(2048, {"kid": "one"}) for _ in range(2))
PUBLIC = KEY.as_dict(private=False)
TOML = """[identity.ours]
issuer = "{ours}"
client_id = "hven"
client_secret = "$OURS"
join = true
[identity.other]
issuer = "{other}"
client_id = "hven"
client_secret = "$OURS"
join = true
"""


class Provider:
    """A provider in this process: what it is asked, and the tokens that it gives."""

    def __init__(self, openid: OpenIdProvider, issuer: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.openid, self.issuer = openid, issuer
        self.asked: list[str] = []
        self.answer: dict[str, Any] = {}
        monkeypatch.setattr(openid, "_request_json", self._reply)

    def _reply(self, _: str, url: str, **more: Any) -> dict[str, Any]:
        self.asked.append(url)
        if url.endswith("/keys"):
            return {"keys": [PUBLIC]}
        if url.endswith("/token"):
            return {"id_token": self.answer["make"](dict(more["form_fields"]))}
        return {
            "issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys", "token_endpoint": f"{self.issuer}/token",
            "authorization_endpoint": f"{self.issuer}/authorize",
        }  # fmt: skip

    def begin(self) -> tuple[dict[str, str], str]:
        address, kept = self.openid.begin_login(BACK)
        return dict(parse_qsl(urlsplit(address).query)), kept

    def finish(self, site: Site, given: dict[str, str], kept: str, token: Any) -> str:
        self.answer["make"] = token if callable(token) else lambda _: token
        return self.openid.finish_login(site.store, BACK, given, kept)

    @property
    def tokens(self) -> int:
        """How often a code was handed over."""
        return sum(url.endswith("/token") for url in self.asked)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("OURS", "the secret of hven")
    place = tmp_path / "said"
    place.mkdir()
    (place / "hven.toml").write_text(TOML.format(ours=ISSUER, other=OTHER_ISSUER))
    with open_tiny_site(tmp_path / "site", {"stars.main": pa.table({"id": ["a"]})}) as found:
        found.settings = replace(found.settings, brought=load_settings(place, {}).brought)
        yield found


@pytest.fixture
def ours(site: Site, monkeypatch: pytest.MonkeyPatch) -> Provider:
    return Provider(OpenIdProvider(site.settings, site.settings.brought["identity"][0]), ISSUER, monkeypatch)


@pytest.fixture
def other_provider(site: Site, monkeypatch: pytest.MonkeyPatch) -> Provider:
    return Provider(OpenIdProvider(site.settings, site.settings.brought["identity"][1]), OTHER_ISSUER, monkeypatch)


def sign_token(nonce: str, key: Any = KEY, head: dict[str, Any] | None = None, **more: Any) -> str:
    now = time.time()
    claims = {"iss": ISSUER, "aud": "hven", "sub": "anna", "exp": now + 60, "iat": now, "nonce": nonce, **more}
    head = {"alg": "RS256", "kid": "one", **(head or {})}
    return jwt.encode(
        head, {name: one for name, one in claims.items() if one is not None}, key, algorithms=[head["alg"]]
    )


def test_a_log_in_as_it_should_be(site: Site, ours: Provider) -> None:
    asked, kept = ours.begin()

    def token(form: dict[str, str]) -> str:
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
        return sign_token(asked["nonce"])

    given = {"code": "c", "state": asked["state"], "iss": ISSUER}
    assert ours.finish(site, given, kept, token) == ours.finish(site, given, kept, token)


@pytest.mark.parametrize("state", ["", "wrong", None, "other"])
def test_another_state_hands_over_no_code(site: Site, ours: Provider, state: str | None) -> None:
    asked, kept = ours.begin()
    further, _ = ours.begin()  # of another browser
    given = {"code": "c"} | ({} if state is None else {"state": further["state"] if state == "other" else state})
    with pytest.raises(UnauthenticatedError, match="was not started in this browser"):
        ours.finish(site, given, kept, sign_token(asked["nonce"]))
    for broken in ("", "..", asked["state"], f"{asked['state']}.{asked['nonce']}"):
        with pytest.raises(UnauthenticatedError, match="was not started in this browser"):
            ours.finish(site, {"code": "c", "state": asked["state"]}, broken, sign_token(asked["nonce"]))
    assert ours.tokens == 0


@pytest.mark.parametrize(
    "given", [{"iss": OTHER_ISSUER}, {"iss": ""}, {"code": ""}, {"error": "access_denied", "code": ""}]
)
def test_an_answer_of_another_provider_hands_over_no_code(site: Site, ours: Provider, given: dict[str, str]) -> None:
    """As RFC 9207 has it: the code of one provider must not be shown to another one."""
    asked, kept = ours.begin()
    with pytest.raises(UnauthenticatedError, match="did not confirm your login"):
        ours.finish(site, {"code": "c", "state": asked["state"], **given}, kept, sign_token(asked["nonce"]))
    assert ours.tokens == 0


def test_a_log_in_of_one_provider_does_not_end_at_another(site: Site, ours: Provider, other_provider: Provider) -> None:
    asked, kept = ours.begin()
    with pytest.raises(
        UnauthenticatedError
    ):  # the page sends no cookie of one provider to another one; a token of ours is none of theirs
        other_provider.finish(site, {"code": "c", "state": asked["state"]}, kept, sign_token(asked["nonce"]))
    with pytest.raises(UnauthenticatedError):
        other_provider.finish(site, {"code": "c", "state": asked["state"]}, "", sign_token(asked["nonce"]))


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": None},
        {"nonce": ""},
        {"nonce": "of before"},
        {"nonce": ["x"]},
        {"iss": OTHER_ISSUER},
        {"iss": None},
        {"iss": f"{ISSUER}/"},
        {"iss": ISSUER.upper()},
        {"aud": "other"},
        {"aud": ["other", "more"]},
        {"aud": None},
        {"aud": "hven "},
        {"azp": "other"},
        {"aud": ["hven", "other"], "azp": "other"},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
    ],
)
def test_a_token_for_others_is_refused(site: Site, ours: Provider, claims: dict[str, Any]) -> None:
    asked, kept = ours.begin()
    with pytest.raises(UnauthenticatedError):
        ours.finish(
            site, {"code": "c", "state": asked["state"]}, kept, sign_token(**{"nonce": asked["nonce"], **claims})
        )
    assert not site.store.grants.list_grants("identity")


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", "HS256", "RS1", "dir"])
def test_a_token_without_a_signature_is_refused(site: Site, ours: Provider, alg: str) -> None:
    asked, kept = ours.begin()
    body = sign_token(asked["nonce"]).split(".")[1]
    for seal in ("", "AAAA", sign_token(asked["nonce"]).split(".")[2]):
        with pytest.raises(UnauthenticatedError):
            ours.finish(
                site, {"code": "c", "state": asked["state"]}, kept, f"{part({'alg': alg, 'kid': 'one'})}.{body}.{seal}"
            )


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_the_public_key_is_no_secret(site: Site, ours: Provider, alg: str) -> None:
    """A token that is signed with the words of the public key, whichever way they are written."""
    asked, kept = ours.begin()
    words = [
        json.dumps(PUBLIC).encode(),
        json.dumps(PUBLIC, separators=(",", ":"), sort_keys=True).encode(),
        KEY.as_pem(private=False),
        KEY.as_der(private=False),
        str(PUBLIC["n"]).encode(),
        base64.urlsafe_b64decode(str(PUBLIC["n"]) + "=="),
        b"the secret of hven",
    ]
    claims = sign_token(asked["nonce"]).split(".")[1]
    for secret in words:  # by hand: the library makes no such tokens
        text = f"{part({'alg': alg, 'kid': 'one'})}.{claims}"
        seal = hmac.new(secret, text.encode(), f"sha{alg[2:]}").digest()
        token = f"{text}.{base64.urlsafe_b64encode(seal).rstrip(b'=').decode()}"
        with pytest.raises(UnauthenticatedError):
            ours.finish(site, {"code": "c", "state": asked["state"]}, kept, token)


@pytest.mark.parametrize(
    "head",
    [
        {},
        {"jwk": OTHER_KEY.as_dict(private=False)},
        {"jku": f"{OTHER_ISSUER}/keys"},
        {"x5u": f"{OTHER_ISSUER}/cert"},
        {"kid": "two"},
        {"kid": "../../one"},
    ],
)
def test_a_token_brings_no_key_of_its_own(site: Site, ours: Provider, head: dict[str, Any]) -> None:
    asked, kept = ours.begin()
    token = sign_token(asked["nonce"], OTHER_KEY, head)
    with pytest.raises(UnauthenticatedError):
        ours.finish(site, {"code": "c", "state": asked["state"]}, kept, token)
    assert not any(url.startswith(OTHER_ISSUER) for url in ours.asked)
