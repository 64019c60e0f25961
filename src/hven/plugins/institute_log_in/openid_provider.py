"""OpenID Connect: the providers in the settings vouch for users, who have accounts here.

Users log in with a browser (authorization code with PKCE); programs send tokens.
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
    from hven.plugins.institute_log_in.settings import IdentityProviderSettings
    from hven.site.store import AccessGrant, StateStore

# a token is signed with the provider's own keys, never with "none"
SIGNATURE_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
MAX_TOKEN_CHARACTERS = 16_384
CLOCK_LEEWAY_SECONDS = 60.0  # clocks may differ by this much
METADATA_LIFETIME_SECONDS = 3600.0  # addresses and keys are fetched again after this time
KEY_REFRESH_DELAY_SECONDS = 30.0  # between two requests for keys
REQUEST_TIMEOUT_SECONDS = 10.0
MAX_GROUPS = 1000
GROUP_LIFETIME_SECONDS = 14 * 86400.0  # groups are valid for this time after a log-in, as long as a session lasts
IDENTITY_GRANT_KIND = "identity"  # of the grant that ties an account to a person at a provider
_GROUP_NAME_PATTERN = re.compile(r"[^:\s]{1,255}")


class OpenIdProvider:
    """One OpenID Connect provider. Thread-safe."""

    def __init__(self, settings: Settings, provider_settings: IdentityProviderSettings) -> None:
        self.provider_settings = provider_settings
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
            Where the browser goes.
        kept
            Text for a cookie, which the browser sends when it comes back.

        Raises
        ------
        StorageUnavailableError
            The provider does not respond.
        """
        self._refresh_metadata()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge_digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(challenge_digest).rstrip(b"=").decode()
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
        separator = "&" if "?" in address else "?"
        return f"{address}{separator}{urlencode(authorization_params)}", f"{state}.{nonce}.{verifier}"

    def finish_login(
        self, store: StateStore, redirect_url: str, callback_params: Mapping[str, str], login_state: str
    ) -> str:
        """Finish a log-in in a browser.

        Parameters
        ----------
        store
            Store of the site.
        redirect_url
            As for `begin_login`.
        callback_params
            Query parameters with which the browser came back.
        login_state
            Value of its cookie.

        Returns
        -------
        account
            Name of the account.

        Raises
        ------
        UnauthenticatedError
            This browser did not begin the log-in, the provider does not vouch for the user, or the user has no account.
        StorageUnavailableError
            The provider does not respond.
        """
        provider_settings = self.provider_settings
        state, _, nonce_and_verifier = login_state.partition(".")
        nonce, _, verifier = nonce_and_verifier.partition(".")
        if not verifier or not hmac.compare_digest(state.encode(), callback_params.get("state", "").encode()):
            message = "the log-in was not started in this browser, or it has expired"
            raise UnauthenticatedError(message, remedy="start again at /login")
        issuer = callback_params.get("iss", provider_settings.issuer)
        if issuer != provider_settings.issuer or not callback_params.get("code"):
            reason = callback_params.get("error", "no code was sent")[:80]
            raise self._build_login_error(f"did not confirm your login: {reason}")
        self._refresh_metadata()
        form = [
            ("grant_type", "authorization_code"),
            ("code", callback_params["code"]),
            ("redirect_uri", redirect_url),
            ("code_verifier", verifier),
        ]
        token_response = self._request_endpoint("POST", "token_endpoint", form=form)
        claims = self.verify_token(_get_text(token_response, "id_token"), {provider_settings.client_id}, nonce)
        wanted_claims = {provider_settings.groups, provider_settings.account} - {None}
        if wanted_claims - claims.keys() and "userinfo_endpoint" in self._provider_metadata:
            access_token = _get_text(token_response, "access_token")
            userinfo = self._request_endpoint("GET", "userinfo_endpoint", access_token=access_token)
            if userinfo.get("sub") != claims["sub"]:
                raise self._build_login_error("returned the data of a different person")
            claims = {**userinfo, **claims}
        return self.find_or_create_account(store, claims, can_update_groups=True)

    def verify_token(
        self, token: str, audience: AbstractSet[str] | None = None, nonce: str | None = None
    ) -> dict[str, Any]:
        """Verify a token.

        Parameters
        ----------
        token
            A JWT.
        audience
            The accepted audience; None: that of the settings.
        nonce
            Nonce that must be in the token.

        Returns
        -------
        claims
            Claims of the token.

        Raises
        ------
        UnauthenticatedError
            It is not signed with the provider's keys, is for another audience, has expired, or has an invalid claim.
        StorageUnavailableError
            The provider's keys are not known, and it does not respond.
        """
        client_id = self.provider_settings.client_id
        if audience is None:
            audience = {client_id, *self.provider_settings.audience}
        token_claims = self._verify_signature(token)
        if token_claims.get("iss") != self.provider_settings.issuer:
            raise self._build_login_error("did not issue this token")
        token_audiences = token_claims.get("aud")
        if isinstance(token_audiences, str):
            token_audiences = [token_audiences]
        elif not isinstance(token_audiences, list):
            token_audiences = []
        if not any(isinstance(audience_name, str) and audience_name in audience for audience_name in token_audiences):
            raise self._build_login_error("issued this token for a different site")
        self._check_validity_period(token_claims)
        if not isinstance(token_claims.get("sub"), str) or not 0 < len(token_claims["sub"]) <= 255:
            raise self._build_login_error("sent a token without a valid subject")
        if nonce is not None:
            authorized_party = token_claims.get("azp", client_id)
            if token_claims.get("nonce") != nonce or authorized_party != client_id:
                raise self._build_login_error("responded to a different login")
        return token_claims

    def _check_validity_period(self, token_claims: Mapping[str, Any]) -> None:
        current_time = time.time()
        expiry_time = self._check_timestamp(token_claims.get("exp"))
        begin_times = [self._check_timestamp(token_claims[name]) for name in ("nbf", "iat") if name in token_claims]
        has_ended = expiry_time + CLOCK_LEEWAY_SECONDS <= current_time
        if has_ended or any(begin_time - CLOCK_LEEWAY_SECONDS > current_time for begin_time in begin_times):
            raise self._build_login_error("sent a token that has expired or is not yet valid")

    def list_groups(self, claims: Mapping[str, Any]) -> AbstractSet[str]:
        """Return the groups in claims, by their names on this site.

        Parameters
        ----------
        claims
            Claims of a token.

        Raises
        ------
        UnauthenticatedError
            The claim is no list of texts.
        """
        group_claim = claims.get(self.provider_settings.groups or "", [])
        if isinstance(group_claim, str):
            group_claim = [group_claim]
        is_valid = isinstance(group_claim, list) and len(group_claim) <= MAX_GROUPS
        if not is_valid or not all(isinstance(group_name, str) for group_name in group_claim):
            raise self._build_login_error(
                f"sent a claim {self.provider_settings.groups!r} that is not a list of strings"
            )
        names = {self.provider_settings.group_names.get(group_name, group_name) for group_name in group_claim}
        # only the site itself gives groups with a colon, and the owner's group
        return {name for name in names if _GROUP_NAME_PATTERN.fullmatch(name) and name != "owner"}

    def find_or_create_account(
        self, store: StateStore, claims: Mapping[str, Any], *, can_update_groups: bool = False
    ) -> str:
        """Return the account of a person, by issuer and sub; create it if the settings allow that.

        An address or a name never identifies a person, because it may pass to another one.

        Parameters
        ----------
        store
            Store of the site.
        claims
            Verified claims.
        can_update_groups
            Whether the groups in the claims are valid from now on.

        Raises
        ------
        UnauthenticatedError
            The person has no account.
        """
        provider_name = self.provider_settings.name
        identity = f"{self.provider_settings.issuer} {claims['sub']}"
        identity_grants = store.grants.list_grants(IDENTITY_GRANT_KIND, object=identity)
        name = self.provider_settings.accounts.get(claims["sub"])
        if not name and identity_grants:
            name = identity_grants[0].subject
        if not name:
            name = self._choose_account_name(store, identity, claims)
        if not store.users.has_account(name):
            store.users.add_account(name)
        if can_update_groups or name not in {identity_grant.subject for identity_grant in identity_grants}:
            groups = sorted(self.list_groups(claims))
            facts = {"provider": provider_name, "groups": groups, "seen": round(time.time())}
            if not (identity_grants and _is_recently_recorded(identity_grants[0], name, facts)):
                store.grants.add_grant(
                    IDENTITY_GRANT_KIND, subject=name, object=identity, actor=provider_name, facts=facts
                )
                for identity_grant in identity_grants:
                    store.grants.revoke_grant(identity_grant.id, actor=provider_name)
        return name

    def _choose_account_name(self, store: StateStore, identity: str, claims: Mapping[str, Any]) -> str:
        """Choose the name of a new account: one that nobody has, so that nobody gets what belongs to another."""
        provider_settings = self.provider_settings
        if not provider_settings.join:
            message = f"the user {claims['sub']} of {provider_settings.name} has no account on this site"
            raise UnauthenticatedError(
                message, remedy="ask the site's operators for an account, and quote this message"
            )
        if provider_settings.account is None:
            identity_digest = hashlib.sha256(identity.encode()).hexdigest()
            return f"{provider_settings.name}-{identity_digest[:12]}"
        account_claim = claims.get(provider_settings.account)
        if not isinstance(account_claim, str):
            raise self._build_login_error(f"sent no account name ({provider_settings.account})")
        name = re.sub(r"[^a-z0-9_-]+", "-", account_claim.lower())[:64]
        if store.users.has_account(name):
            message = f"the account {name} belongs to a different person"
            raise UnauthenticatedError(message, remedy="ask the site's operators to create an account for you")
        return name

    def _check_timestamp(self, timestamp: object) -> float:
        if isinstance(timestamp, bool) or not isinstance(timestamp, int | float) or not math.isfinite(timestamp):
            raise self._build_login_error("sent a token without valid timestamps")
        return timestamp

    def _verify_signature(self, token: str) -> dict[str, Any]:
        from joserfc import errors, jwt  # noqa: PLC0415  (only if a provider is used)

        if len(token) > MAX_TOKEN_CHARACTERS:
            raise self._build_login_error("sent a token that is too long")
        for is_retry in (False, True):
            self._refresh_metadata(is_forced=is_retry)
            try:
                return dict(jwt.decode(token, self._key_set, algorithms=SIGNATURE_ALGORITHMS).claims)
            except (errors.JoseError, ValueError, TypeError) as error:  # the provider may have new keys
                if is_retry or time.monotonic() - self._last_refresh < KEY_REFRESH_DELAY_SECONDS:
                    raise self._build_login_error(f"did not sign this token ({type(error).__name__})") from None
        raise AssertionError

    def _refresh_metadata(self, *, is_forced: bool = False) -> None:
        """Fetch the provider's addresses and keys if they are old; the old ones stay valid if it does not respond."""
        if not is_forced and time.monotonic() - self._last_refresh < METADATA_LIFETIME_SECONDS:
            return
        # one thread fetches them. The others use the old ones or fail at once: they must not all wait for a provider
        # that is down
        if self._key_set is not None:
            wait_seconds = 0.0
        else:
            wait_seconds = REQUEST_TIMEOUT_SECONDS / 5
        if not self._lock.acquire(timeout=wait_seconds):
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
        from joserfc import errors, jwk  # noqa: PLC0415  (only if a provider is used)

        issuer = self.provider_settings.issuer
        provider_metadata = self._request_json("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if provider_metadata.get("issuer") != issuer:
            message = (
                f"the issuer that {self.provider_settings.name} names is different from the issuer in the settings"
            )
            raise StorageUnavailableError(message, remedy="report this to the site's operators")
        keys = self._request_json("GET", str(provider_metadata.get("jwks_uri"))).get("keys")
        imported_keys = []
        for key in keys if isinstance(keys, list) else []:
            if not isinstance(key, dict):
                continue
            try:
                imported_keys.append(jwk.import_key(key))
            except (errors.JoseError, ValueError, TypeError, KeyError, AttributeError):
                continue  # a kind of key that is not known here
        return provider_metadata, jwk.KeySet(imported_keys)

    def _request_endpoint(
        self, method: str, endpoint_name: str, *, form: Any = (), access_token: str = ""
    ) -> dict[str, Any]:
        headers: dict[str, str] = {}
        if access_token:
            headers["authorization"] = f"Bearer {access_token}"
        client_id, client_secret = self.provider_settings.client_id, self.provider_settings.client_secret
        if form and client_secret is None:
            form = [*form, ("client_id", client_id)]
        elif form:
            # RFC 6749 section 2.3.1
            secret_text = self._settings.resolve_secret_address(client_secret or "")
            pair = urlencode({client_id: secret_text}).replace("=", ":", 1)
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        endpoint_url = self._find_endpoint_url(endpoint_name)
        return self._request_json(method, endpoint_url, form_fields=form, headers=headers)

    def _find_endpoint_url(self, endpoint_name: str) -> str:
        endpoint_url = self._provider_metadata.get(endpoint_name)
        if not isinstance(endpoint_url, str):
            message = f"{self.provider_settings.name} has no {endpoint_name}"
            raise StorageUnavailableError(message, remedy="report this to the site's operators")
        return endpoint_url

    def _request_json(self, method: str, url: str, **request_options: Any) -> dict[str, Any]:
        """Send a request to the provider and return its JSON; its error texts are never shown."""
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
            raise self._build_login_error("did not accept this login; it may have been used before")
        if answer.status != 200 or not isinstance(response_json, dict):
            raise self._build_unavailable_error()
        return response_json

    def _build_unavailable_error(self) -> StorageUnavailableError:
        return StorageUnavailableError(
            f"{self.provider_settings.name} does not respond",
            remedy="try again later; users who are logged in are not affected",
        )

    def _build_login_error(self, reason: str) -> UnauthenticatedError:
        return UnauthenticatedError(
            f"{self.provider_settings.name} {reason}",
            remedy="log in again; if the error persists, report it to the site's operators",
        )


def _is_recently_recorded(identity_grant: AccessGrant, account: str, facts: Mapping[str, Any]) -> bool:
    """Return whether nothing has to be written: the same groups were recorded a short time ago."""
    if identity_grant.subject != account or {**identity_grant.facts, "seen": 0} != {**facts, "seen": 0}:
        return False
    return bool(facts["seen"] - identity_grant.facts["seen"] < GROUP_LIFETIME_SECONDS / 100)


def _get_text(response_json: Mapping[str, Any], name: str) -> str:
    text = response_json.get(name)
    if isinstance(text, str):
        return text
    return ""
