"""OpenID Connect: providers of the settings vouch for readers, who have accounts here; in browsers (code with PKCE), and by tokens that programs send."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import re
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hven.model.errors import HvenError, Unauthenticated, Unavailable
from hven.sources import remote

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from hven.model.settings import Settings
    from hven.site.store import Grant, Store

ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)  # signed by its keys alone, never "none"
LONGEST = 16_384  # characters of a token
LEEWAY = 60.0  # seconds that clocks may differ
FRESH = 3600.0  # seconds after which addresses and keys are asked for again
AGAIN = 30.0  # seconds between two questions for keys
SECONDS = 10.0  # that an answer may take
MOST = 1000  # groups
KEPT = 14 * 86400.0  # seconds that groups are believed after a log-in, as long as a session lasts
KIND = "identity"  # of the grant that ties an account to a person there
_GROUP = re.compile(r"[^:\s]{1,255}")


class OpenID:
    """One provider. Thread-safe."""

    def __init__(self, settings: Settings, number: int) -> None:
        self.said = settings.identity[number]
        self._settings = settings
        self._lock = threading.Lock()
        self._about: Mapping[str, Any] = {}
        self._keys: Any = None
        self._looked = self._failed = -math.inf

    def begin(self, back: str) -> tuple[str, str]:
        """Begin a log-in in a browser.

        Parameters
        ----------
        back
            Address to which the provider sends the browser.

        Returns
        -------
        address
            To which the browser goes.
        kept
            What it shows when it comes back; for a cookie.

        Raises
        ------
        Unavailable
            The provider does not answer.
        """
        self._look()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code", "client_id": self.said.client_id, "redirect_uri": back, "scope": self.said.scope,
            "state": state, "nonce": nonce, "code_challenge": challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        address = self._place("authorization_endpoint")
        return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}", f"{state}.{nonce}.{verifier}"

    def finish(self, store: Store, back: str, given: Mapping[str, str], kept: str) -> str:
        """End a log-in in a browser.

        Parameters
        ----------
        store
            Of the site.
        back
            As for `begin`.
        given
            Parameters with which the browser came back.
        kept
            Its cookie.

        Returns
        -------
        account
            Its name.

        Raises
        ------
        Unauthenticated
            It is not the log-in that this browser began; the provider vouches for nobody; they have no account.
        Unavailable
            The provider does not answer.
        """
        state, _, rest = kept.partition(".")
        nonce, _, verifier = rest.partition(".")
        if not verifier or not hmac.compare_digest(state.encode(), given.get("state", "").encode()):
            raise Unauthenticated(
                "this browser did not begin this log-in, or it is over", remedy="begin again at /login"
            )
        if given.get("iss", self.said.issuer) != self.said.issuer or not given.get("code"):
            raise self._refused(f"does not vouch for you: {given.get('error', 'it sent no code')[:80]}")
        self._look()
        form = [
            ("grant_type", "authorization_code"), ("code", given["code"]), ("redirect_uri", back), ("code_verifier", verifier),
        ]  # fmt: skip
        told = self._said("POST", "token_endpoint", form=form)
        claims = self.claims(_text(told, "id_token"), {self.said.client_id}, nonce)
        wanted = {name for name in (self.said.groups, self.said.account) if name is not None}
        if wanted - claims.keys() and "userinfo_endpoint" in self._about:
            more = self._said("GET", "userinfo_endpoint", bearer=_text(told, "access_token"))
            if more.get("sub") != claims["sub"]:
                raise self._refused("tells of somebody else")
            claims = {**more, **claims}
        return self.account(store, claims, anew=True)

    def claims(self, token: str, audience: AbstractSet[str] | None = None, nonce: str | None = None) -> dict[str, Any]:
        """Verify a token.

        Parameters
        ----------
        token
            A JWT.
        audience
            For whom it may be; None: as the settings have it.
        nonce
            That must be in it.

        Returns
        -------
        claims
            Of it.

        Raises
        ------
        Unauthenticated
            It is not signed by the provider's keys, is for others, or holds no more; a claim is none.
        Unavailable
            The provider's keys are not known, and it does not answer.
        """
        audience = {self.said.client_id, *self.said.audience} if audience is None else audience
        found, now = self._verified(token), time.time()
        said = found.get("aud")
        meant = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        if found.get("iss") != self.said.issuer:
            raise self._refused("did not issue this token")
        if not any(isinstance(one, str) and one in audience for one in meant):
            raise self._refused("made this token for others")
        until, *since = (self._moment(found.get(name)) for name in ("exp", "nbf", "iat") if name in {"exp", *found})
        if until + LEEWAY <= now or any(one - LEEWAY > now for one in since):
            raise self._refused("sent a token that does not hold now")
        if not isinstance(found.get("sub"), str) or not 0 < len(found["sub"]) <= 255:
            raise self._refused("does not say in its token whose it is")
        if nonce is not None and (found.get("nonce"), found.get("azp", self.said.client_id)) != (
            nonce,
            self.said.client_id,
        ):
            raise self._refused("answers another log-in")
        return found

    def groups(self, claims: Mapping[str, Any]) -> AbstractSet[str]:
        """Return the groups that claims tell, by their names here.

        Parameters
        ----------
        claims
            Of a token.

        Raises
        ------
        Unauthenticated
            The claim is no list of texts.
        """
        said = claims.get(self.said.groups or "", [])
        said = [said] if isinstance(said, str) else said
        if not isinstance(said, list) or len(said) > MOST or not all(isinstance(one, str) for one in said):
            raise self._refused(f"says groups ({self.said.groups}) that are no list of texts")
        names = {self.said.group_names.get(one, one) for one in said}
        # what has a colon, and the owner's group, are the site's own to give
        return {one for one in names if _GROUP.fullmatch(one) and one != "owner"}

    def account(self, store: Store, claims: Mapping[str, Any], *, anew: bool = False) -> str:
        """Return the account of a person, by issuer and sub: never by an address or a name, which go from one to another.

        Parameters
        ----------
        store
            Of the site.
        claims
            Verified.
        anew
            What they say of groups counts from now on.

        Raises
        ------
        Unauthenticated
            They have none.
        """
        person, listed = f"{self.said.issuer} {claims['sub']}", self.said.accounts.get(claims["sub"])
        old = store.grants.all(KIND, object=person)
        name = listed or (old[0].subject if old else self._new(store, person, claims))
        if not store.users.there(name):
            store.users.add(name)
        if anew or name not in {one.subject for one in old}:
            facts = {"provider": self.said.name, "groups": sorted(self.groups(claims)), "seen": round(time.time())}
            if not (old and _same(old[0], name, facts)):
                store.grants.add(KIND, subject=name, object=person, by=self.said.name, facts=facts)
                for one in old:
                    store.grants.end(one.id, by=self.said.name)
        return name

    def _new(self, store: Store, person: str, claims: Mapping[str, Any]) -> str:
        """Name the account of a newcomer: one that nobody has, so that nobody gets what is another's."""
        if not self.said.join:
            raise Unauthenticated(
                f"{claims['sub']} of {self.said.name} has no account here",
                remedy="ask the site's owner, and tell what is written here",
            )
        if self.said.account is None:
            return f"{self.said.name}-{hashlib.sha256(person.encode()).hexdigest()[:12]}"
        said = claims.get(self.said.account)
        if not isinstance(said, str):
            raise self._refused(f"says no name of an account ({self.said.account})")
        name = re.sub(r"[^a-z0-9_-]+", "-", said.lower())[:64]
        if store.users.there(name):
            raise Unauthenticated(
                f"{name} is the account of somebody else", remedy="ask the site's owner, who can list you"
            )
        return name

    def _moment(self, said: object) -> float:
        if isinstance(said, bool) or not isinstance(said, int | float) or not math.isfinite(said):
            raise self._refused("sent a token without times that can be read")
        return said

    def _verified(self, token: str) -> dict[str, Any]:
        from joserfc import errors, jwt  # noqa: PLC0415  (only where a provider is asked)

        if len(token) > LONGEST:
            raise self._refused("sent a token that is too long")
        for again in (False, True):
            self._look(again=again)
            try:
                return dict(jwt.decode(token, self._keys, algorithms=ALGORITHMS).claims)
            except (errors.JoseError, ValueError, TypeError) as error:  # perhaps it has other keys by now
                if again or time.monotonic() - self._looked < AGAIN:
                    raise self._refused(f"did not sign this token ({type(error).__name__})") from None
        raise AssertionError

    def _look(self, *, again: bool = False) -> None:
        """Look that the provider's addresses and keys are known; those of before are good where it does not answer."""
        if not again and time.monotonic() - self._looked < FRESH:
            return
        # one asks; the others go on with what was known, or are told at once: they must not all wait for a provider that is down
        if not self._lock.acquire(timeout=0.0 if self._keys is not None else SECONDS / 5):
            if self._keys is None:
                raise self._away()
            return
        try:
            if self._keys is None and time.monotonic() - self._failed < AGAIN / 3:
                raise self._away()
            try:
                self._about, self._keys = self._learned()
            except Unavailable:
                self._failed = time.monotonic()
                if self._keys is None:
                    raise
            self._looked = time.monotonic()
        finally:
            self._lock.release()

    def _learned(self) -> tuple[Mapping[str, Any], Any]:
        from joserfc import errors, jwk  # noqa: PLC0415  (only where a provider is asked)

        about = self._asked("GET", f"{self.said.issuer.rstrip('/')}/.well-known/openid-configuration")
        if about.get("issuer") != self.said.issuer:
            raise Unavailable(
                f"{self.said.name} calls itself otherwise than the settings do", remedy="tell the site's owner"
            )
        keys, good = self._asked("GET", str(about.get("jwks_uri"))).get("keys"), []
        for key in keys if isinstance(keys, list) else []:
            if not isinstance(key, dict):
                continue
            try:
                good.append(jwk.import_key(key))
            except (errors.JoseError, ValueError, TypeError, KeyError, AttributeError):
                continue  # of a kind that is not known here
        return about, jwk.KeySet(good)

    def _said(self, method: str, place: str, *, form: Any = (), bearer: str = "") -> dict[str, Any]:
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        if form and self.said.client_secret is None:
            form = [*form, ("client_id", self.said.client_id)]
        elif form:
            pair = urlencode({self.said.client_id: self._settings.resolved(self.said.client_secret or "")}).replace(
                "=", ":", 1
            )
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"  # RFC 6749 section 2.3.1
        return self._asked(method, self._place(place), form=form, headers=headers)

    def _place(self, name: str) -> str:
        found = self._about.get(name)
        if not isinstance(found, str):
            raise Unavailable(f"{self.said.name} has no {name}", remedy="tell the site's owner")
        return found

    def _asked(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        """Ask the provider for JSON; what it says is never shown."""
        try:
            answer = remote.exchange(
                method, url, seconds=SECONDS, total=2 * SECONDS, allow_private=self._settings.allow_private, **more
            )
            found = json.loads(answer.body)
        except (HvenError, ValueError, RecursionError) as error:
            raise self._away() from error
        if 400 <= answer.status < 500 and more:
            raise self._refused("does not accept this log-in; it may have been used before")
        if answer.status != 200 or not isinstance(found, dict):
            raise self._away()
        return found

    def _away(self) -> Unavailable:
        return Unavailable(f"{self.said.name} does not answer", remedy="try again later; who is logged in goes on")

    def _refused(self, why: str) -> Unauthenticated:
        return Unauthenticated(f"{self.said.name} {why}", remedy="log in again; if it stays so, tell the site's owner")


def issuer_of(token: str) -> object:
    """Return who issued a token, as it says itself; nothing of it is verified.

    Parameters
    ----------
    token
        Perhaps a JWT.
    """
    part = token[:LONGEST].split(".")[1]
    try:
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return None
    return found.get("iss") if isinstance(found, dict) else None


def groups_of(grants: list[Grant], settings: Settings) -> set[str]:
    """Return the groups that providers said of an account at its last log-in.

    Parameters
    ----------
    grants
        Of the account.
    settings
        Of the site.
    """
    known, now = {one.name for one in settings.identity}, time.time()
    told = (one.facts for one in grants if one.kind == KIND)
    return {
        name for facts in told if facts["provider"] in known and now < facts["seen"] + KEPT for name in facts["groups"]
    }


def _same(old: Grant, name: str, facts: Mapping[str, Any]) -> bool:
    """Return whether nothing is to be written: the same groups, seen a moment ago."""
    kept = {**old.facts, "seen": 0} == {**facts, "seen": 0}
    return kept and old.subject == name and facts["seen"] - old.facts["seen"] < KEPT / 100


def _text(told: Mapping[str, Any], name: str) -> str:
    found = told.get(name)
    return found if isinstance(found, str) else ""
