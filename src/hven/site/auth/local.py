"""Local accounts as an identity provider: ``Authorization: Bearer``, HTTP Basic with the account's name, or a cookie.

Behind any of them stand the account's token, a personal one, a session, a password (Basic and ``/login``), or a token of OpenID Connect (Bearer).
"""

from __future__ import annotations

import base64
import binascii
import time
from typing import TYPE_CHECKING

from hven.model.errors import NotFound, Unauthenticated, UserError
from hven.site.auth import _passwords as passwords
from hven.site.auth._openid import OpenID, groups_of, issuer_of
from hven.site.auth._permit import ANONYMOUS, Reader
from hven.site.auth.session import SECONDS, proof_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.settings import Settings
    from hven.site.store import Grant, Store

LONGEST = 1024  # characters of a secret: what has more is none
SCOPES = {"read": "scope:read", "all": "scope:all"}  # what a personal token is for, and the group that says so
DAYS = 366.0  # that one holds at most
TOKENS = 100  # of one account


class Local:
    """Identify readers by local accounts. Thread-safe."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self.providers = {one.name: OpenID(settings, n) for n, one in enumerate(settings.identity)}

    def identify(self, headers: Mapping[str, str]) -> Reader | None:
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
        Unauthenticated
            They name somebody, and do not prove it.
        """
        given = headers.get("authorization")
        if given is None:
            proof = proof_of(headers)
            return None if proof is None else self._lasting(proof) or ANONYMOUS
        return self.found(*credentials(given))

    def identify_by_token(self, headers: Mapping[str, str]) -> Reader | None:
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
        Unauthenticated
            It is no token or session that holds.
        """
        given = headers.get("authorization")
        return None if given is None else self.found(*credentials(given), passwords_too=False)

    def found(self, name: str | None, secret: str, *, passwords_too: bool = True) -> Reader:
        """Return whom a secret proves.

        Parameters
        ----------
        name
            The account that is claimed; None: whose the secret is.
        secret
            A token, a session's, or, with a name, a password.
        passwords_too
            False: a password proves nothing.

        Raises
        ------
        Unauthenticated
            It is wrong, or holds no more.
        """
        who = None
        if name is None and secret.count(".") == 2:
            return self._vouched(secret)
        if len(secret) <= LONGEST:
            who = self._lasting(secret)
            if who is None:
                holder = self._store.users.holds(secret)
                if passwords_too and holder is None and name is not None and passwords.right(self._store, name, secret):
                    holder = name
                who = None if holder is None else self.reader(holder)
        if who is None or name not in {None, who.name}:
            raise Unauthenticated(
                "these credentials are not valid here",
                remedy="check the account's name and the token or password; one that had an end may be over",
            )
        return who

    def proves(self, name: str, secret: str, *, passwords_too: bool = True) -> None:
        """Check that a secret is the password of an account, or its token: what lasts, no session's and no personal token's.

        Parameters
        ----------
        name
            Of the account.
        secret
            That is given.
        passwords_too
            As for `found`.

        Raises
        ------
        Unauthenticated
            It is neither.
        """
        known = len(secret) <= LONGEST and (
            self._store.users.holds(secret) == name or (passwords_too and passwords.right(self._store, name, secret))
        )
        if not known:
            raise Unauthenticated(
                "this is neither the account's password nor its token", remedy="the site's owner can set another one"
            )

    def begin(self, name: str | None, secret: str, *, passwords_too: bool = True) -> tuple[str, str]:
        """Begin a session.

        Parameters
        ----------
        name, secret, passwords_too
            As for `found`.

        Returns
        -------
        account
            Whose it is.
        proof
            What goes on proving it: a personal token, and a session, do so themselves, and end as they did.

        Raises
        ------
        Unauthenticated
            As `found`.
        """
        who = self.found(name, secret, passwords_too=passwords_too)
        assert who.name is not None  # noqa: S101
        return who.name, secret if self._lasting(secret) else self._store.sessions.begin(who.name, SECONDS)

    def _lasting(self, proof: str) -> Reader | None:
        """Return whose session or personal token this is."""
        grant = self._store.grants.holds("token", proof)
        if grant is not None:
            return self.reader(grant.subject, SCOPES[grant.role])
        owner = self._store.sessions.holder(proof)
        return None if owner is None else self.reader(owner)

    def _vouched(self, token: str) -> Reader:
        """Return for whom a provider made a token."""
        issuer = issuer_of(token)
        for one in self.providers.values():
            if one.said.issuer == issuer:
                claims = one.claims(token)
                return self.reader(one.account(self._store, claims), *one.groups(claims))
        raise Unauthenticated(
            "this token is of nobody whom this site believes", remedy="log in at /login, and make one"
        )

    def reader(self, name: str, *groups: str) -> Reader:
        """Return the reader behind an account, with the groups that its provider said.

        Parameters
        ----------
        name, groups
            As for `reader`.
        """
        return reader(name, self._store, self._settings, *groups)


def reader(name: str, store: Store, settings: Settings, *groups: str) -> Reader:
    """Return the reader behind an account, with the groups that its provider said.

    Parameters
    ----------
    name
        Of the account.
    store, settings
        Of the site.
    groups
        Of how they came.
    """
    said = groups_of(store.grants.all(subject=name), settings)
    return Reader(name=name, groups=frozenset({f"user:{name}", *groups, *said}))


def give_token(store: Store, name: str, scope: str, days: float, *, by: str, purpose: str = "") -> tuple[Grant, str]:
    """Make a personal token, which serves as Bearer and as the password of Basic.

    Parameters
    ----------
    store
        Of the site.
    name
        Of the account.
    scope
        A key of `SCOPES`: ``read`` asks queries and changes nothing.
    days
        That it holds.
    by
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
    NotFound
        There is no such account.
    """
    if scope not in SCOPES:
        raise UserError(f"a token has no scope {scope!r:.40}", remedy="read or all")
    if not 0 < days <= DAYS:
        raise UserError(f"a token holds for {DAYS:g} days at most, not {days:g}", remedy="make another one then")
    if not store.users.there(name):
        raise NotFound(f"there is no account {name!r:.80}", remedy="hven user list shows them")
    if len(store.grants.all("token", subject=name)) >= TOKENS:
        raise UserError(f"{name} has {TOKENS} tokens", remedy="end one that is not used")
    until = time.time() + days * 86400
    facts = {"purpose": purpose.strip()[:100]}
    return store.grants.add("token", subject=name, role=scope, until=until, by=by, facts=facts, secret=True)


def end_token(store: Store, ident: str, *, by: str, name: str | None = None) -> None:
    """End a personal token, within a second in every process.

    Parameters
    ----------
    store
        Of the site.
    ident
        Of the grant.
    by
        Who does.
    name
        Of the account whose it must be.

    Raises
    ------
    NotFound
        There is none.
    """
    if ident not in {grant.id for grant in store.grants.all("token", subject=name)}:
        raise NotFound(f"there is no token {ident!r:.40}", remedy="the list has their numbers")
    store.grants.end(ident, by=by)


def named(token: str) -> str:
    """Return the account that a token names, or what stands for it: attempts are counted for it.

    Parameters
    ----------
    token
        Right or wrong.
    """
    name, _, secret = token.partition(".")
    return token[:128] if "." in secret else name[:128]


def claimed(given: str) -> str:
    """Return the account that a header Authorization names, right or wrong; empty: it cannot be read.

    Parameters
    ----------
    given
        The header's value.
    """
    try:
        name, token = credentials(given)
    except Unauthenticated:
        return ""
    return named(token) if name is None else name[:128]


def credentials(given: str) -> tuple[str | None, str]:
    """Read a header Authorization.

    Parameters
    ----------
    given
        Its value.

    Returns
    -------
    name
        That is claimed, if any.
    secret
        A token or a password.

    Raises
    ------
    Unauthenticated
        It is neither Bearer nor Basic.
    """
    scheme, _, rest = given.strip().partition(" ")
    if scheme.lower() == "bearer":
        return None, rest.strip()
    if scheme.lower() == "basic":
        try:
            name, colon, token = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if colon:
            return name, token
    raise Unauthenticated(
        "the header Authorization cannot be read", remedy="Bearer TOKEN, or Basic with the account's name and the token"
    )


def provider(store: Store, settings: Settings) -> Local:
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
    return Local(store, settings)
