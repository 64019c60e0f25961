"""Passwords of accounts: argon2 hashes, in grants; checked one at a time, for each takes its share of a processor."""

from __future__ import annotations

import hashlib
import secrets
import threading
from functools import cache
from typing import TYPE_CHECKING

from hven.model.errors import NotFound, TooOften, UserError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

    from hven.site.store import Store

SHORTEST, LONGEST = 10, 1024  # characters
KIND, HASH = "password", "_hash"  # what begins with _ is in no log
WAIT = 3.0  # seconds that one waits for another
_turn = threading.BoundedSemaphore(1)
_right: dict[bytes, str] = {}  # keyed digest of what was right -> its hash: a program sends it with each request
_KEY = secrets.token_bytes(32)
_MOST = 1024


def change_password(store: Store, name: str, password: str, *, by: str) -> None:
    """Give an account another password; its sessions end.

    Parameters
    ----------
    store
        Of the site.
    name
        Of the account.
    password
        Empty: it has none any more.
    by
        Who does.

    Raises
    ------
    UserError
        It is too short or too long.
    NotFound
        There is no such account.
    """
    if not store.users.there(name):
        raise NotFound(f"there is no account {name!r:.80}", remedy="hven user list shows them")
    password = password.strip()
    if password and not SHORTEST <= len(password) <= LONGEST:
        raise UserError(f"a password has {SHORTEST} to {LONGEST} characters", remedy="several words are easy to keep")
    old = store.grants.all(KIND, subject=name)
    if password:
        store.grants.add(KIND, subject=name, by=by, facts={HASH: _argon().hash(password)})
    for grant in old:
        store.grants.end(grant.id, by=by)
    store.sessions.end_of(name)


def right(store: Store, name: str, password: str) -> bool:
    """Return whether this is the password of an account. It takes as long where there is no such account; nothing where no account has one.

    Parameters
    ----------
    store
        Of the site.
    name
        That is claimed.
    password
        That is given.

    Raises
    ------
    TooOften
        Too many are checked.
    """
    if not store.grants.all(KIND):
        return False
    kept = [str(grant.facts[HASH]) for grant in store.grants.all(KIND, subject=name)]
    given = password.strip().encode("utf-8", "replace")
    digest = hashlib.blake2b(given, key=_KEY, digest_size=32).digest()
    if _right.get(digest) in kept:
        return True
    if not _turn.acquire(timeout=WAIT):
        raise TooOften("there are too many attempts to log in", remedy="wait a minute")
    try:
        same = any(_same(one, given) for one in kept or [_nobody()])
    finally:
        _turn.release()
    if same and kept:
        if len(_right) >= _MOST:
            _right.clear()
        _right[digest] = kept[0]
    return same and bool(kept)


def _same(kept: str, given: bytes) -> bool:
    from argon2.exceptions import VerificationError  # noqa: PLC0415  (only where somebody has a password)

    try:
        return _argon().verify(kept, given)
    except VerificationError:
        return False


@cache
def _argon() -> PasswordHasher:
    from argon2 import PasswordHasher  # noqa: PLC0415  (only where somebody has a password)

    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)  # what OWASP asks for at least


@cache
def _nobody() -> str:
    """Return the hash that is compared with where there is no such account."""
    return _argon().hash(secrets.token_urlsafe())
