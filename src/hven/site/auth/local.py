"""Local accounts as an identity provider: ``Authorization: Bearer``, HTTP Basic with the account's name, or a cookie.

Behind any of them stand the account's token, a personal one, a session, a password (Basic and ``/login``), or a token
of OpenID Connect (Bearer).
"""

from __future__ import annotations

import base64
import binascii
import time
from typing import TYPE_CHECKING

from hven.model.errors import NotFoundError, UnauthenticatedError, UserError
from hven.site.auth import _passwords as passwords
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, Principal
from hven.site.auth._openid_connect import OpenIdProvider, list_provider_groups, read_issuer
from hven.site.auth.session import SESSION_SECONDS, find_session_cookie

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.settings import Settings
    from hven.site.store import Grant, StateStore

MAX_SECRET_CHARACTERS = 1024  # characters of a secret: what has more is none
TOKEN_SCOPE_GROUPS = {
    "read": "scope:read",
    "all": "scope:all",
}  # what a personal token is for, and the group that says so
MAX_TOKEN_DAYS = 366.0  # that one holds at most
MAX_TOKENS_PER_ACCOUNT = 100  # of one account


class LocalIdentityProvider:
    """Identify readers by local accounts. Thread-safe."""

    def __init__(self, store: StateStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self.openid_providers = {
            provider_settings.name: OpenIdProvider(settings, n) for n, provider_settings in enumerate(settings.identity)
        }

    def identify(self, headers: Mapping[str, str]) -> Principal | None:
        """Identify the reader that a request's headers prove.

        Parameters
        ----------
        headers
            Names in lower case.

        Returns
        -------
        reader
            None: they name nobody; the anonymous one: by a session that is over.

        Raises
        ------
        UnauthenticatedError
            They name somebody, and do not prove it.
        """
        authorization = headers.get("authorization")
        if authorization is None:
            proof = find_session_cookie(headers)
            if proof is None:
                return None
            return self._find_session_or_token(proof) or ANONYMOUS_PRINCIPAL
        return self.verify_credentials(*parse_authorization(authorization))

    def identify_by_token(self, headers: Mapping[str, str]) -> Principal | None:
        """Identify the reader as `identify` does, but by tokens and sessions alone: no password is looked at.

        Parameters
        ----------
        headers
            Names in lower case.

        Returns
        -------
        reader
            None: they have no such header.

        Raises
        ------
        UnauthenticatedError
            It is no token or session that holds.
        """
        authorization = headers.get("authorization")
        if authorization is None:
            return None
        return self.verify_credentials(*parse_authorization(authorization), passwords_too=False)

    def verify_credentials(self, account: str | None, secret: str, *, passwords_too: bool = True) -> Principal:
        """Return whom a secret proves.

        Parameters
        ----------
        account
            The account that is claimed; None: whose the secret is.
        secret
            A token, a session's, or, with a name, a password.
        passwords_too
            False: a password proves nothing.

        Raises
        ------
        UnauthenticatedError
            It is wrong, or holds no more.
        """
        principal = None
        if account is None and secret.count(".") == 2:
            return self._verify_provider_token(secret)
        if len(secret) <= MAX_SECRET_CHARACTERS:
            principal = self._find_session_or_token(secret)
            if principal is None:
                holder = self._store.users.verify_token(secret)
                if (
                    passwords_too
                    and holder is None
                    and account is not None
                    and passwords.check_password(self._store, account, secret)
                ):
                    holder = account
                if holder is None:
                    principal = None
                else:
                    principal = self.build_principal(holder)
        if principal is None or account not in {None, principal.name}:
            raise UnauthenticatedError(
                "these credentials are not valid here",
                remedy="check the account's name and the token or password; one that had an end may be over",
            )
        return principal

    def check_account_secret(self, account: str, secret: str, *, passwords_too: bool = True) -> None:
        """Check that a secret is the password of an account, or its token.

        What lasts, no session's and no personal token's.

        Parameters
        ----------
        account
            Of the account.
        secret
            That is given.
        passwords_too
            As for `verify_credentials`.

        Raises
        ------
        UnauthenticatedError
            It is neither.
        """
        is_valid = len(secret) <= MAX_SECRET_CHARACTERS and (
            self._store.users.verify_token(secret) == account
            or (passwords_too and passwords.check_password(self._store, account, secret))
        )
        if not is_valid:
            raise UnauthenticatedError(
                "this is neither the account's password nor its token", remedy="the site's owner can set another one"
            )

    def begin_session(self, account: str | None, secret: str, *, passwords_too: bool = True) -> tuple[str, str]:
        """Begin a session.

        Parameters
        ----------
        account, secret, passwords_too
            As for `verify_credentials`.

        Returns
        -------
        account
            Whose it is.
        proof
            What goes on proving it: a personal token, and a session, do so themselves, and end as they did.

        Raises
        ------
        UnauthenticatedError
            As `verify_credentials`.
        """
        principal = self.verify_credentials(account, secret, passwords_too=passwords_too)
        assert principal.name is not None  # noqa: S101
        return principal.name, secret if self._find_session_or_token(secret) else self._store.sessions.begin_session(
            principal.name, SESSION_SECONDS
        )

    def _find_session_or_token(self, proof: str) -> Principal | None:
        """Return whose session or personal token this is."""
        grant = self._store.grants.verify_proof("token", proof)
        if grant is not None:
            return self.build_principal(grant.subject, TOKEN_SCOPE_GROUPS[grant.role])
        owner = self._store.sessions.find_session_owner(proof)
        if owner is None:
            return None
        return self.build_principal(owner)

    def _verify_provider_token(self, token: str) -> Principal:
        """Return for whom a provider made a token."""
        issuer = read_issuer(token)
        for openid_provider in self.openid_providers.values():
            if openid_provider.provider_settings.issuer == issuer:
                claims = openid_provider.verify_token(token)
                return self.build_principal(
                    openid_provider.find_or_create_account(self._store, claims), *openid_provider.list_groups(claims)
                )
        raise UnauthenticatedError(
            "this token is of nobody whom this site believes", remedy="log in at /login, and make one"
        )

    def build_principal(self, account: str, *groups: str) -> Principal:
        """Return the reader behind an account, with the groups that its provider said.

        Parameters
        ----------
        account, groups
            As for `build_principal`.
        """
        return build_principal(account, self._store, self._settings, *groups)


def build_principal(account: str, store: StateStore, settings: Settings, *groups: str) -> Principal:
    """Return the reader behind an account, with the groups that its provider said.

    Parameters
    ----------
    account
        Of the account.
    store, settings
        Of the site.
    groups
        Of how they came.
    """
    grants = store.grants.list_grants(subject=account)
    provider_groups = list_provider_groups(grants, settings)
    return Principal(name=account, groups=frozenset({f"user:{account}", *groups, *provider_groups}))


def create_personal_token(
    store: StateStore, account: str, scope: str, validity_days: float, *, created_by: str, purpose: str = ""
) -> tuple[Grant, str]:
    """Make a personal token, which serves as Bearer and as the password of Basic.

    Parameters
    ----------
    store
        Of the site.
    account
        Of the account.
    scope
        A key of `TOKEN_SCOPE_GROUPS`: ``read`` asks queries and changes nothing.
    validity_days
        That it holds.
    created_by
        Who makes it.
    purpose
        What it is for, in a few words.

    Returns
    -------
    grant
        Of the kind ``token``.
    token
        Nobody can read it again.

    Raises
    ------
    UserError
        There is no such scope, or it would hold for too long; there are too many.
    NotFoundError
        There is no such account.
    """
    if scope not in TOKEN_SCOPE_GROUPS:
        raise UserError(f"a token has no scope {scope!r:.40}", remedy="read or all")
    if not 0 < validity_days <= MAX_TOKEN_DAYS:
        raise UserError(
            f"a token holds for {MAX_TOKEN_DAYS:g} days at most, not {validity_days:g}", remedy="make another one then"
        )
    if not store.users.has_account(account):
        raise NotFoundError(f"there is no account {account!r:.80}", remedy="hven user list shows them")
    if len(store.grants.list_grants("token", subject=account)) >= MAX_TOKENS_PER_ACCOUNT:
        raise UserError(f"{account} has {MAX_TOKENS_PER_ACCOUNT} tokens", remedy="end one that is not used")
    expiry_timestamp = time.time() + validity_days * 86400
    facts = {"purpose": purpose.strip()[:100]}
    return store.grants.add_grant(
        "token",
        subject=account,
        role=scope,
        expiry_time=expiry_timestamp,
        actor=created_by,
        facts=facts,
        with_secret=True,
    )


def revoke_personal_token(store: StateStore, grant_id: str, *, revoked_by: str, account: str | None = None) -> None:
    """End a personal token, within a second in every process.

    Parameters
    ----------
    store
        Of the site.
    grant_id
        Of the grant.
    revoked_by
        Who does.
    account
        Of the account whose it must be.

    Raises
    ------
    NotFoundError
        There is none.
    """
    if grant_id not in {grant.id for grant in store.grants.list_grants("token", subject=account)}:
        raise NotFoundError(f"there is no token {grant_id!r:.40}", remedy="the list has their numbers")
    store.grants.revoke_grant(grant_id, actor=revoked_by)


def get_token_account(token: str) -> str:
    """Return the account that a token names, or what stands for it: attempts are counted for it.

    Parameters
    ----------
    token
        Right or wrong.
    """
    name, _, secret = token.partition(".")
    if "." in secret:
        return token[:128]
    return name[:128]


def get_claimed_account(authorization: str) -> str:
    """Return the account that a header Authorization names, right or wrong; empty: it cannot be read.

    Parameters
    ----------
    authorization
        The header's value.
    """
    try:
        name, token = parse_authorization(authorization)
    except UnauthenticatedError:
        return ""
    if name is None:
        return get_token_account(token)
    return name[:128]


def parse_authorization(authorization: str) -> tuple[str | None, str]:
    """Read a header Authorization.

    Parameters
    ----------
    authorization
        Its value.

    Returns
    -------
    name
        That is claimed, if any.
    secret
        A token or a password.

    Raises
    ------
    UnauthenticatedError
        It is neither Bearer nor Basic.
    """
    scheme, _, encoded_credentials = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return None, encoded_credentials.strip()
    if scheme.lower() == "basic":
        try:
            name, colon, token = base64.b64decode(encoded_credentials.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if colon:
            return name, token
    raise UnauthenticatedError(
        "the header Authorization cannot be read", remedy="Bearer TOKEN, or Basic with the account's name and the token"
    )


def open_provider(store: StateStore, settings: Settings) -> LocalIdentityProvider:
    """Open the provider for a site: what every identity plug-in has.

    Parameters
    ----------
    store
        Of the site.
    settings
        As they are now; a change makes providers anew.

    Returns
    -------
    provider
        Identifies readers.
    """
    return LocalIdentityProvider(store, settings)
