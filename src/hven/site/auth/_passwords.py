"""Passwords of accounts: argon2 hashes, stored in grants, and checked one at a time, because each check is costly."""

from __future__ import annotations

import hashlib
import secrets
import threading
from functools import cache
from typing import TYPE_CHECKING

from hven.model.errors import NotFoundError, TooManyRequestsError, UserError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

    from hven.site.store import StateStore

MIN_PASSWORD_CHARACTERS, MAX_PASSWORD_CHARACTERS = 10, 1024
PASSWORD_GRANT_KIND, PASSWORD_HASH_FACT = "password", "_hash"  # facts whose names begin with _ are in no log
CHECK_WAIT_SECONDS = 3.0  # a check waits this long for another one
_CHECK_SEMAPHORE = threading.BoundedSemaphore(1)
# keyed digest of a correct password -> its hash: a program sends its password with each request
_VERIFIED_HASHES: dict[bytes, str] = {}
_DIGEST_KEY = secrets.token_bytes(32)
_MAX_VERIFIED_HASHES = 1024


def change_password_and_end_sessions(store: StateStore, account: str, password: str, *, changed_by: str) -> None:
    """Give an account another password; its sessions end.

    Parameters
    ----------
    store
        Store of the site.
    account
        Name of the account.
    password
        The new password; empty: the account has no password any more.
    changed_by
        The account that changes it.

    Raises
    ------
    UserError
        It is too short or too long.
    NotFoundError
        There is no such account.
    """
    if not store.users.has_account(account):
        raise NotFoundError(f"there is no account {account!r:.80}", remedy="run `hven user list` to see all accounts")
    password = password.strip()
    if password and not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        message = f"a password must have {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} characters"
        raise UserError(message, remedy="choose several words, which are easy to remember")
    old_grants = store.grants.list_grants(PASSWORD_GRANT_KIND, subject=account)
    if password:
        facts = {PASSWORD_HASH_FACT: _get_password_hasher().hash(password)}
        store.grants.add_grant(PASSWORD_GRANT_KIND, subject=account, actor=changed_by, facts=facts)
    for grant in old_grants:
        store.grants.revoke_grant(grant.id, actor=changed_by)
    store.sessions.end_account_sessions(account)


def check_password(store: StateStore, account: str, password: str) -> bool:
    """Return whether this is the password of an account. The check takes as long if there is no such account.

    It takes no time if no account of the site has a password.

    Parameters
    ----------
    store
        Store of the site.
    account
        The account that is claimed.
    password
        The password.

    Raises
    ------
    TooManyRequestsError
        Too many passwords are being checked.
    """
    if not store.grants.list_grants(PASSWORD_GRANT_KIND):
        return False
    account_grants = store.grants.list_grants(PASSWORD_GRANT_KIND, subject=account)
    stored_hashes = [str(grant.facts[PASSWORD_HASH_FACT]) for grant in account_grants]
    password_bytes = password.strip().encode("utf-8", "replace")
    digest = hashlib.blake2b(password_bytes, key=_DIGEST_KEY, digest_size=32).digest()
    if _VERIFIED_HASHES.get(digest) in stored_hashes:
        return True
    if not _CHECK_SEMAPHORE.acquire(timeout=CHECK_WAIT_SECONDS):
        raise TooManyRequestsError(
            "the server is checking too many logins at the moment", remedy="try again in a minute"
        )
    try:
        compared_hashes = stored_hashes or [_get_dummy_hash()]
        is_match = any(_is_password_correct(compared_hash, password_bytes) for compared_hash in compared_hashes)
    finally:
        _CHECK_SEMAPHORE.release()
    if is_match and stored_hashes:
        if len(_VERIFIED_HASHES) >= _MAX_VERIFIED_HASHES:
            _VERIFIED_HASHES.clear()
        _VERIFIED_HASHES[digest] = stored_hashes[0]
    return is_match and bool(stored_hashes)


def _is_password_correct(stored_hash: str, password_bytes: bytes) -> bool:
    from argon2.exceptions import VerificationError  # noqa: PLC0415  (only if an account has a password)

    try:
        return _get_password_hasher().verify(stored_hash, password_bytes)
    except VerificationError:
        return False


@cache
def _get_password_hasher() -> PasswordHasher:
    from argon2 import PasswordHasher  # noqa: PLC0415  (only if an account has a password)

    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)  # the minimum that OWASP recommends


@cache
def _get_dummy_hash() -> str:
    """Return the hash that is compared if there is no such account."""
    return _get_password_hasher().hash(secrets.token_urlsafe())
