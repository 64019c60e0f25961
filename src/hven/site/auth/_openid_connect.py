"""OpenID Connect: providers of the settings vouch for readers, who have accounts here.

In browsers (code with PKCE), and by tokens that programs send.
"""

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

from hven.model.errors import HvenError, StorageUnavailableError, UnauthenticatedError
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from hven.model.settings import Settings
    from hven.site.store import Grant, StateStore

SIGNATURE_ALGORITHMS = (
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
MAX_TOKEN_CHARACTERS = 16_384  # characters of a token
CLOCK_LEEWAY_SECONDS = 60.0  # seconds that clocks may differ
METADATA_LIFETIME_SECONDS = 3600.0  # seconds after which addresses and keys are asked for again
KEY_REFRESH_DELAY_SECONDS = 30.0  # seconds between two questions for keys
REQUEST_TIMEOUT_SECONDS = 10.0  # that an answer may take
MAX_GROUPS = 1000  # groups
GROUP_LIFETIME_SECONDS = 14 * 86400.0  # seconds that groups are believed after a log-in, as long as a session lasts
IDENTITY_GRANT_KIND = "identity"  # of the grant that ties an account to a person there
_GROUP_NAME_PATTERN = re.compile(r"[^:\s]{1,255}")


class OpenIdProvider:
    """One provider. Thread-safe."""

    def __init__(self, settings: Settings, provider_number: int) -> None:
        self.provider_settings = settings.identity[provider_number]
        self._settings = settings
        self._lock = threading.Lock()
        self._provider_metadata: Mapping[str, Any] = {}
        self._key_set: Any = None
        self._last_refresh = self._last_failure = -math.inf

    def begin_login(self, redirect_url: str) -> tuple[str, str]:
        """Begin a log-in in a browser.

        Parameters
        ----------
        redirect_url
            Address to which the provider sends the browser.

        Returns
        -------
        address
            To which the browser goes.
        kept
            What it shows when it comes back; for a cookie.

        Raises
        ------
        StorageUnavailableError
            The provider does not answer.
        """
        self._refresh_metadata()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        authorization_params = {
            "response_type": "code",
            "client_id": self.provider_settings.client_id,
            "redirect_uri": redirect_url,
            "scope": self.provider_settings.scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        address = self._find_endpoint_url("authorization_endpoint")
        return (
            f"{address}{'&' if '?' in address else '?'}{urlencode(authorization_params)}",
            f"{state}.{nonce}.{verifier}",
        )

    def finish_login(
        self, store: StateStore, redirect_url: str, callback_params: Mapping[str, str], login_state: str
    ) -> str:
        """End a log-in in a browser.

        Parameters
        ----------
        store
            Of the site.
        redirect_url
            As for `begin_login`.
        callback_params
            Parameters with which the browser came back.
        login_state
            Its cookie.

        Returns
        -------
        account
            Its name.

        Raises
        ------
        UnauthenticatedError
            It is not the log-in that this browser began; the provider vouches for nobody; they have no account.
        StorageUnavailableError
            The provider does not answer.
        """
        state, _, nonce_and_verifier = login_state.partition(".")
        nonce, _, verifier = nonce_and_verifier.partition(".")
        if not verifier or not hmac.compare_digest(state.encode(), callback_params.get("state", "").encode()):
            raise UnauthenticatedError(
                "this browser did not begin this log-in, or it is over", remedy="begin again at /login"
            )
        if callback_params.get(
            "iss", self.provider_settings.issuer
        ) != self.provider_settings.issuer or not callback_params.get("code"):
            raise self._build_login_error(
                f"does not vouch for you: {callback_params.get('error', 'it sent no code')[:80]}"
            )
        self._refresh_metadata()
        form = [
            ("grant_type", "authorization_code"),
            ("code", callback_params["code"]),
            ("redirect_uri", redirect_url),
            ("code_verifier", verifier),
        ]
        token_response = self._request_endpoint("POST", "token_endpoint", form=form)
        claims = self.verify_token(_get_text(token_response, "id_token"), {self.provider_settings.client_id}, nonce)
        wanted_claims = {
            name for name in (self.provider_settings.groups, self.provider_settings.account) if name is not None
        }
        if wanted_claims - claims.keys() and "userinfo_endpoint" in self._provider_metadata:
            access_token = _get_text(token_response, "access_token")
            userinfo = self._request_endpoint("GET", "userinfo_endpoint", access_token=access_token)
            if userinfo.get("sub") != claims["sub"]:
                raise self._build_login_error("tells of somebody else")
            claims = {**userinfo, **claims}
        return self.find_or_create_account(store, claims, update_groups=True)

    def verify_token(
        self, token: str, audience: AbstractSet[str] | None = None, nonce: str | None = None
    ) -> dict[str, Any]:
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
        UnauthenticatedError
            It is not signed by the provider's keys, is for others, or holds no more; a claim is none.
        StorageUnavailableError
            The provider's keys are not known, and it does not answer.
        """
        if audience is None:
            audience = {self.provider_settings.client_id, *self.provider_settings.audience}
        token_claims = self._verify_signature(token)
        current_time = time.time()
        audience_claim = token_claims.get("aud")
        if isinstance(audience_claim, str):
            token_audiences = [audience_claim]
        elif isinstance(audience_claim, list):
            token_audiences = audience_claim
        else:
            token_audiences = []
        if token_claims.get("iss") != self.provider_settings.issuer:
            raise self._build_login_error("did not issue this token")
        if not any(isinstance(audience_name, str) and audience_name in audience for audience_name in token_audiences):
            raise self._build_login_error("made this token for others")
        expiry_time, *begin_times = (
            self._check_timestamp(token_claims.get(name))
            for name in ("exp", "nbf", "iat")
            if name in {"exp", *token_claims}
        )
        if expiry_time + CLOCK_LEEWAY_SECONDS <= current_time or any(
            audience_name - CLOCK_LEEWAY_SECONDS > current_time for audience_name in begin_times
        ):
            raise self._build_login_error("sent a token that does not hold now")
        if not isinstance(token_claims.get("sub"), str) or not 0 < len(token_claims["sub"]) <= 255:
            raise self._build_login_error("does not say in its token whose it is")
        if nonce is not None and (
            token_claims.get("nonce"),
            token_claims.get("azp", self.provider_settings.client_id),
        ) != (
            nonce,
            self.provider_settings.client_id,
        ):
            raise self._build_login_error("answers another log-in")
        return token_claims

    def list_groups(self, claims: Mapping[str, Any]) -> AbstractSet[str]:
        """Return the groups that claims tell, by their names here.

        Parameters
        ----------
        claims
            Of a token.

        Raises
        ------
        UnauthenticatedError
            The claim is no list of texts.
        """
        group_claim = claims.get(self.provider_settings.groups or "", [])
        if isinstance(group_claim, str):
            group_claim = [group_claim]
        if (
            not isinstance(group_claim, list)
            or len(group_claim) > MAX_GROUPS
            or not all(isinstance(group_name, str) for group_name in group_claim)
        ):
            raise self._build_login_error(f"says groups ({self.provider_settings.groups}) that are no list of texts")
        names = {self.provider_settings.group_names.get(group_name, group_name) for group_name in group_claim}
        # what has a colon, and the owner's group, are the site's own to give
        return {
            group_name for group_name in names if _GROUP_NAME_PATTERN.fullmatch(group_name) and group_name != "owner"
        }

    def find_or_create_account(
        self, store: StateStore, claims: Mapping[str, Any], *, update_groups: bool = False
    ) -> str:
        """Return the account of a person, by issuer and sub.

        Never by an address or a name, which go from one to another.

        Parameters
        ----------
        store
            Of the site.
        claims
            Verified.
        update_groups
            What they say of groups counts from now on.

        Raises
        ------
        UnauthenticatedError
            They have none.
        """
        identity = f"{self.provider_settings.issuer} {claims['sub']}"
        configured_account = self.provider_settings.accounts.get(claims["sub"])
        identity_grants = store.grants.list_grants(IDENTITY_GRANT_KIND, object=identity)
        name = configured_account or (
            identity_grants[0].subject if identity_grants else self._choose_account_name(store, identity, claims)
        )
        if not store.users.has_account(name):
            store.users.add_account(name)
        if update_groups or name not in {identity_grant.subject for identity_grant in identity_grants}:
            facts = {
                "provider": self.provider_settings.name,
                "groups": sorted(self.list_groups(claims)),
                "seen": round(time.time()),
            }
            if not (identity_grants and _is_recently_recorded(identity_grants[0], name, facts)):
                store.grants.add_grant(
                    IDENTITY_GRANT_KIND, subject=name, object=identity, actor=self.provider_settings.name, facts=facts
                )
                for identity_grant in identity_grants:
                    store.grants.revoke_grant(identity_grant.id, actor=self.provider_settings.name)
        return name

    def _choose_account_name(self, store: StateStore, identity: str, claims: Mapping[str, Any]) -> str:
        """Name the account of a newcomer: one that nobody has, so that nobody gets what is another's."""
        if not self.provider_settings.join:
            raise UnauthenticatedError(
                f"{claims['sub']} of {self.provider_settings.name} has no account here",
                remedy="ask the site's owner, and tell what is written here",
            )
        if self.provider_settings.account is None:
            return f"{self.provider_settings.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        account_claim = claims.get(self.provider_settings.account)
        if not isinstance(account_claim, str):
            raise self._build_login_error(f"says no name of an account ({self.provider_settings.account})")
        name = re.sub(r"[^a-z0-9_-]+", "-", account_claim.lower())[:64]
        if store.users.has_account(name):
            raise UnauthenticatedError(
                f"{name} is the account of somebody else", remedy="ask the site's owner, who can list you"
            )
        return name

    def _check_timestamp(self, timestamp: object) -> float:
        if isinstance(timestamp, bool) or not isinstance(timestamp, int | float) or not math.isfinite(timestamp):
            raise self._build_login_error("sent a token without times that can be read")
        return timestamp

    def _verify_signature(self, token: str) -> dict[str, Any]:
        from joserfc import errors, jwt  # noqa: PLC0415  (only where a provider is asked)

        if len(token) > MAX_TOKEN_CHARACTERS:
            raise self._build_login_error("sent a token that is too long")
        for is_retry in (False, True):
            self._refresh_metadata(force=is_retry)
            try:
                return dict(jwt.decode(token, self._key_set, algorithms=SIGNATURE_ALGORITHMS).claims)
            except (errors.JoseError, ValueError, TypeError) as error:  # perhaps it has other keys by now
                if is_retry or time.monotonic() - self._last_refresh < KEY_REFRESH_DELAY_SECONDS:
                    raise self._build_login_error(f"did not sign this token ({type(error).__name__})") from None
        raise AssertionError

    def _refresh_metadata(self, *, force: bool = False) -> None:
        """Look that the provider's addresses and keys are known; those of before are good where it does not answer."""
        if not force and time.monotonic() - self._last_refresh < METADATA_LIFETIME_SECONDS:
            return
        # one asks; the others go on with what was known, or are told at once: they must not all wait for a provider
        # that is down
        if not self._lock.acquire(timeout=0.0 if self._key_set is not None else REQUEST_TIMEOUT_SECONDS / 5):
            if self._key_set is None:
                raise self._build_unavailable_error()
            return
        try:
            if self._key_set is None and time.monotonic() - self._last_failure < KEY_REFRESH_DELAY_SECONDS / 3:
                raise self._build_unavailable_error()
            try:
                self._provider_metadata, self._key_set = self._fetch_metadata_and_keys()
            except StorageUnavailableError:
                self._last_failure = time.monotonic()
                if self._key_set is None:
                    raise
            self._last_refresh = time.monotonic()
        finally:
            self._lock.release()

    def _fetch_metadata_and_keys(self) -> tuple[Mapping[str, Any], Any]:
        from joserfc import errors, jwk  # noqa: PLC0415  (only where a provider is asked)

        provider_metadata = self._request_json(
            "GET", f"{self.provider_settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        )
        if provider_metadata.get("issuer") != self.provider_settings.issuer:
            raise StorageUnavailableError(
                f"{self.provider_settings.name} calls itself otherwise than the settings do",
                remedy="tell the site's owner",
            )
        keys = self._request_json("GET", str(provider_metadata.get("jwks_uri"))).get("keys")
        imported_keys = []
        for key in keys if isinstance(keys, list) else []:
            if not isinstance(key, dict):
                continue
            try:
                imported_keys.append(jwk.import_key(key))
            except (errors.JoseError, ValueError, TypeError, KeyError, AttributeError):
                continue  # of a kind that is not known here
        return provider_metadata, jwk.KeySet(imported_keys)

    def _request_endpoint(
        self, method: str, endpoint_name: str, *, form: Any = (), access_token: str = ""
    ) -> dict[str, Any]:
        if access_token:
            headers = {"authorization": f"Bearer {access_token}"}
        else:
            headers = {}
        if form and self.provider_settings.client_secret is None:
            form = [*form, ("client_id", self.provider_settings.client_id)]
        elif form:
            pair = urlencode(
                {
                    self.provider_settings.client_id: self._settings.resolve_address(
                        self.provider_settings.client_secret or ""
                    )
                }
            ).replace("=", ":", 1)
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"  # RFC 6749 section 2.3.1
        endpoint_url = self._find_endpoint_url(endpoint_name)
        return self._request_json(method, endpoint_url, form_fields=form, headers=headers)

    def _find_endpoint_url(self, endpoint_name: str) -> str:
        endpoint_url = self._provider_metadata.get(endpoint_name)
        if not isinstance(endpoint_url, str):
            raise StorageUnavailableError(
                f"{self.provider_settings.name} has no {endpoint_name}", remedy="tell the site's owner"
            )
        return endpoint_url

    def _request_json(self, method: str, url: str, **request_options: Any) -> dict[str, Any]:
        """Ask the provider for JSON; what it says is never shown."""
        try:
            answer = http_client.send_request_once(
                method,
                url,
                timeout_seconds=REQUEST_TIMEOUT_SECONDS,
                total_timeout_seconds=2 * REQUEST_TIMEOUT_SECONDS,
                allow_private=self._settings.allow_private,
                **request_options,
            )
            response_json = json.loads(answer.body)
        except (HvenError, ValueError, RecursionError) as error:
            raise self._build_unavailable_error() from error
        if 400 <= answer.status < 500 and request_options:
            raise self._build_login_error("does not accept this log-in; it may have been used before")
        if answer.status != 200 or not isinstance(response_json, dict):
            raise self._build_unavailable_error()
        return response_json

    def _build_unavailable_error(self) -> StorageUnavailableError:
        return StorageUnavailableError(
            f"{self.provider_settings.name} does not answer", remedy="try again later; who is logged in goes on"
        )

    def _build_login_error(self, reason: str) -> UnauthenticatedError:
        return UnauthenticatedError(
            f"{self.provider_settings.name} {reason}", remedy="log in again; if it stays so, tell the site's owner"
        )


def read_issuer(token: str) -> object:
    """Return who issued a token, as it says itself; nothing of it is verified.

    Parameters
    ----------
    token
        Perhaps a JWT.
    """
    part = token[:MAX_TOKEN_CHARACTERS].split(".")[1]
    try:
        token_claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return None
    if isinstance(token_claims, dict):
        return token_claims.get("iss")
    return None


def list_provider_groups(grants: list[Grant], settings: Settings) -> set[str]:
    """Return the groups that providers said of an account at its last log-in.

    Parameters
    ----------
    grants
        Of the account.
    settings
        Of the site.
    """
    provider_names = {grant.name for grant in settings.identity}
    now = time.time()
    identity_facts = (grant.facts for grant in grants if grant.kind == IDENTITY_GRANT_KIND)
    return {
        name
        for facts in identity_facts
        if facts["provider"] in provider_names and now < facts["seen"] + GROUP_LIFETIME_SECONDS
        for name in facts["groups"]
    }


def _is_recently_recorded(identity_grant: Grant, account: str, facts: Mapping[str, Any]) -> bool:
    """Return whether nothing is to be written: the same groups, seen a moment ago."""
    has_same_facts = {**identity_grant.facts, "seen": 0} == {**facts, "seen": 0}
    return (
        has_same_facts
        and identity_grant.subject == account
        and facts["seen"] - identity_grant.facts["seen"] < GROUP_LIFETIME_SECONDS / 100
    )


def _get_text(response_json: Mapping[str, Any], name: str) -> str:
    text_value = response_json.get(name)
    return text_value if isinstance(text_value, str) else ""
