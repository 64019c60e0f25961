"""Local accounts as an identity provider: ``Authorization: Bearer TOKEN``, HTTP Basic with the account's name and the token, or the cookie of a session."""

from __future__ import annotations

import base64
import binascii
import hashlib
import threading
import time
from typing import TYPE_CHECKING

from hven.model.errors import Unauthenticated
from hven.site.auth._permit import Reader
from hven.site.auth.session import proof_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.site.store import Store

REMEMBERED = 5.0  # seconds after which an account that was taken away is known to be gone
MOST = 4096  # tokens that are remembered


class Local:
    """Identify readers by local accounts. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[bytes, tuple[str, float]] = {}  # digests, so that memory holds no token
        self._lock = threading.Lock()

    def identify(self, headers: Mapping[str, str]) -> Reader | None:
        """Identify the reader that a request's headers prove.

        Parameters
        ----------
        headers
            Names in lower case.

        Returns
        -------
        reader
            None: they name nobody.

        Raises
        ------
        Unauthenticated
            They name somebody, and do not prove it.
        """
        given = headers.get("authorization")
        if given is None:
            # a session that has ended is as none: browsers go on sending its cookie. Nothing is remembered here: a logout holds at once, everywhere
            proof = proof_of(headers)
            owner = None if proof is None else self._store.sessions.holder(proof)
            return None if owner is None else reader(owner)
        claimed, token = _credentials(given)
        name = self._holder(token)
        if name is None or claimed not in {None, name}:
            raise Unauthenticated(
                "these credentials are not valid here", remedy="check the account's name and the token"
            )
        return reader(name)

    def _holder(self, token: str) -> str | None:
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        known = self._known.get(digest)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        name = self._store.users.holds(token)
        if name is None:  # a session's, which is asked for each time, as where it is a cookie
            return self._store.sessions.holder(token)
        with self._lock:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[digest] = (name, time.monotonic() + REMEMBERED)
        return name


def reader(name: str) -> Reader:
    """Return the reader behind an account.

    Parameters
    ----------
    name
        Of the account.
    """
    return Reader(name=name, groups=frozenset({f"user:{name}"}))


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
        name, token = _credentials(given)
    except Unauthenticated:
        return ""
    return named(token) if name is None else name[:128]


def _credentials(given: str) -> tuple[str | None, str]:
    """Read the header: the name that is claimed, if any, and the token."""
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


def provider(store: Store) -> Local:
    """Open the provider for a site: what every identity plug-in has.

    Parameters
    ----------
    store
        Of the site.

    Returns
    -------
    provider
        Identifies readers.
    """
    return Local(store)
