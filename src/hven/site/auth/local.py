"""Local accounts as an identity provider: ``Authorization: Bearer``, HTTP Basic with the account's name, or a cookie.

The secret in any of them is the account's token, a personal token, a session, a password (Basic and ``/login``), or a
token of another site (Bearer), which a plug-in package verifies.
"""

from __future__ import annotations

import base64
import binascii
import time
from typing import TYPE_CHECKING

from hven.model.errors import NotFoundError, UnauthenticatedError, UserError
from hven.site.auth import _passwords as passwords
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, Principal
from hven.site.auth._external_accounts import list_external_groups, open_external_accounts
from hven.site.auth.session import SESSION_SECONDS, find_cookie_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.settings import Settings
    from hven.site.store import AccessGrant, StateStore

MAX_SECRET_CHARACTERS = 1024  # a longer text is no secret of ours
# scope of a personal token -> the group of its user
TOKEN_SCOPE_GROUPS = {"read": "scope:read", "all": "scope:all"}
MAX_TOKEN_DAYS = 366.0  # longest validity of a token
MAX_TOKENS_PER_ACCOUNT = 100


class LocalIdentityProvider:
    """Identifies users by local accounts. Thread-safe."""

    def __init__(self, store: StateStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._external_accounts = open_external_accounts(store, settings)

    def identify(self, headers: Mapping[str, str]) -> Principal | None:
        """Identify the user that a request's headers prove.

        Parameters
        ----------
        headers
            Names in lower case.

        Returns
        -------
        principal
            None: they name no user; the anonymous user: their session has ended.

        Raises
        ------
        UnauthenticatedError
            They name a user, and do not prove it.
        """
        authorization = headers.get("authorization")
        if authorization is None:
            proof = find_cookie_value(headers)
            if proof is None:
                return None
            return self._find_principal_by_proof(proof) or ANONYMOUS_PRINCIPAL
        return self.verify_credentials(*parse_authorization(authorization))

    def identify_by_token(self, headers: Mapping[str, str]) -> Principal | None:
        """Identify the user as `identify` does, but only by tokens and sessions: passwords are not checked.

        Parameters
        ----------
        headers
            Names in lower case.

        Returns
        -------
        principal
            None: there is no such header.

        Raises
        ------
        UnauthenticatedError
            It contains no valid token or session.
        """
        authorization = headers.get("authorization")
        if authorization is None:
            return None
        return self.verify_credentials(*parse_authorization(authorization), can_be_password=False)

    def verify_credentials(self, account: str | None, secret: str, *, can_be_password: bool = True) -> Principal:
        """Return the user that a secret proves.

        Parameters
        ----------
        account
            The account that is claimed; None: the account of the secret.
        secret
            A token, a session's proof, or, with an account, a password.
        can_be_password
            False: a password proves nothing.

        Raises
        ------
        UnauthenticatedError
            It is wrong, or no longer valid.
        """
        principal = None
        if account is None and secret.count(".") == 2:
            return self._verify_external_token(secret)
        if len(secret) <= MAX_SECRET_CHARACTERS:
            principal = self._find_principal_by_proof(secret)
            if principal is None:
                holder = self._find_secret_holder(account, secret, can_be_password=can_be_password)
                if holder is not None:
                    principal = self.build_principal(holder)
        if principal is None or account not in {None, principal.name}:
            raise UnauthenticatedError(
                "these credentials are not valid here",
                remedy="check the account's name and the token or password; the token may have expired",
            )
        return principal

    def _find_secret_holder(self, account: str | None, secret: str, *, can_be_password: bool) -> str | None:
        """Return the account whose token or password this is, or None."""
        holder = self._store.users.find_account_by_token(secret)
        if holder is not None or account is None or not can_be_password:
            return holder
        if passwords.check_password(self._store, account, secret):
            return account
        return None

    def check_account_secret(self, account: str, secret: str, *, can_be_password: bool = True) -> None:
        """Check that a secret is the password or the token of an account.

        A session or a personal token, which both end, is not enough.

        Parameters
        ----------
        account
            Name of the account.
        secret
            The secret.
        can_be_password
            As for `verify_credentials`.

        Raises
        ------
        UnauthenticatedError
            It is neither.
        """
        is_valid = False
        if len(secret) <= MAX_SECRET_CHARACTERS:
            is_valid = self._store.users.find_account_by_token(secret) == account
            if not is_valid and can_be_password:
                is_valid = passwords.check_password(self._store, account, secret)
        if not is_valid:
            message = "the text is neither the account's password nor one of its tokens"
            raise UnauthenticatedError(
                message, remedy="if you have forgotten the password, ask the site's operators for a new one"
            )

    def begin_session(self, account: str | None, secret: str, *, can_be_password: bool = True) -> tuple[str, str]:
        """Begin a session.

        Parameters
        ----------
        account, secret, can_be_password
            As for `verify_credentials`.

        Returns
        -------
        account
            Name of the account.
        proof
            What proves it from now on. A personal token or a session is its own proof, and ends when it would have.

        Raises
        ------
        UnauthenticatedError
            As for `verify_credentials`.
        """
        principal = self.verify_credentials(account, secret, can_be_password=can_be_password)
        assert principal.name is not None  # noqa: S101
        if self._find_principal_by_proof(secret):
            return principal.name, secret
        return principal.name, self._store.sessions.begin_session(principal.name, SESSION_SECONDS)

    def _find_principal_by_proof(self, proof: str) -> Principal | None:
        """Return the user of a session or a personal token, or None."""
        grant = self._store.grants.verify_proof("token", proof)
        if grant is not None:
            return self.build_principal(grant.subject, TOKEN_SCOPE_GROUPS[grant.role])
        owner = self._store.sessions.find_session_owner(proof)
        if owner is None:
            return None
        return self.build_principal(owner)

    def _verify_external_token(self, token: str) -> Principal:
        """Return the user for whom another site issued a token."""
        for external_accounts in self._external_accounts:
            account_and_groups = external_accounts.find_or_create_account_by_token(token)
            if account_and_groups is not None:
                account, groups = account_and_groups
                return self.build_principal(account, *groups)
        message = "this site does not accept tokens from this issuer"
        raise UnauthenticatedError(message, remedy="log in at /login, and create a token")

    def build_principal(self, account: str, *groups: str) -> Principal:
        """Return the user of an account, with the groups that its provider states.

        Parameters
        ----------
        account, groups
            As for the function `build_principal`.
        """
        return build_principal(account, self._store, self._settings, *groups)


def build_principal(account: str, store: StateStore, settings: Settings, *groups: str) -> Principal:
    """Return the user of an account, with the groups that its provider states.

    Parameters
    ----------
    account
        Name of the account.
    store, settings
        Store and settings of the site.
    groups
        Groups that result from how the user logged in.
    """
    grants = store.grants.list_grants(subject=account)
    external_groups = list_external_groups(grants, settings)
    return Principal(name=account, groups=frozenset({f"user:{account}", *groups, *external_groups}))


def create_personal_token(
    store: StateStore, account: str, scope: str, validity_days: float, *, created_by: str, purpose: str = ""
) -> tuple[AccessGrant, str]:
    """Create a personal token, which is sent as Bearer or as the password of Basic.

    Parameters
    ----------
    store
        Store of the site.
    account
        Name of the account.
    scope
        A key of `TOKEN_SCOPE_GROUPS`: ``read`` runs queries and changes nothing.
    validity_days
        Days that the token is valid.
    created_by
        The account that creates it.
    purpose
        What it is for, in a few words.

    Returns
    -------
    grant
        A grant of the kind ``token``.
    token
        Nobody can read it again.

    Raises
    ------
    UserError
        There is no such scope, it would be valid for too long, or the account has too many tokens.
    NotFoundError
        There is no such account.
    """
    if scope not in TOKEN_SCOPE_GROUPS:
        raise UserError(f"there is no token scope {scope!r:.40}", remedy="use `read` or `all`")
    if not 0 < validity_days <= MAX_TOKEN_DAYS:
        message = f"a token can be valid for up to {MAX_TOKEN_DAYS:g} days, not {validity_days:g}"
        raise UserError(message, remedy="choose a number of days above 0 and within this limit")
    if not store.users.has_account(account):
        raise NotFoundError(f"there is no account {account!r:.80}", remedy="run `hven user list` to see all accounts")
    if len(store.grants.list_grants("token", subject=account)) >= MAX_TOKENS_PER_ACCOUNT:
        raise UserError(
            f"{account} already has {MAX_TOKENS_PER_ACCOUNT} tokens, which is the limit",
            remedy="revoke a token that is no longer used",
        )
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
    """Revoke a personal token, within a second in every process.

    Parameters
    ----------
    store
        Store of the site.
    grant_id
        Id of the grant.
    revoked_by
        The account that revokes it.
    account
        The account to which it must belong.

    Raises
    ------
    NotFoundError
        There is no such token.
    """
    if grant_id not in {grant.id for grant in store.grants.list_grants("token", subject=account)}:
        raise NotFoundError(f"there is no token {grant_id!r:.40}", remedy="use a number from the list of tokens")
    store.grants.revoke_grant(grant_id, actor=revoked_by)


def get_account_claimed_by_token(token: str) -> str:
    """Return the account that a token names, or the token's beginning: attempts are counted by it.

    Parameters
    ----------
    token
        A token, which need not be valid.
    """
    name, _, secret = token.partition(".")
    if "." in secret:
        return token[:128]
    return name[:128]


def get_claimed_account(authorization: str) -> str:
    """Return the account that a header Authorization names, which need not be right; empty: it cannot be read.

    Parameters
    ----------
    authorization
        Value of the header.
    """
    try:
        name, token = parse_authorization(authorization)
    except UnauthenticatedError:
        return ""
    if name is None:
        return get_account_claimed_by_token(token)
    return name[:128]


def parse_authorization(authorization: str) -> tuple[str | None, str]:
    """Parse a header Authorization.

    Parameters
    ----------
    authorization
        Value of the header.

    Returns
    -------
    name
        The account that is claimed, if any.
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
            credentials = base64.b64decode(encoded_credentials.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            credentials = ""
        name, colon, secret = credentials.partition(":")
        if colon:
            return name, secret
    remedy = "send `Bearer TOKEN`, or send `Basic` with the name of the account and the token"
    raise UnauthenticatedError("the Authorization header cannot be read", remedy=remedy)


def open_provider(store: StateStore, settings: Settings) -> LocalIdentityProvider:
    """Open the identity provider of a site: the entry point of every identity plug-in.

    Parameters
    ----------
    store
        Store of the site.
    settings
        Present settings; a change creates new providers.

    Returns
    -------
    provider
        Identifies users.
    """
    return LocalIdentityProvider(store, settings)
