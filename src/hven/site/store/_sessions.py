"""Sessions of browsers: each has a random secret, and the store keeps its digest.

The secret carries a seal, so that a forged one is rejected without a query.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.model.errors import UnauthenticatedError
from hven.site.store import _deletion_time as deletion_time
from hven.site.store._database import format_current_time, get_or_create_secret, hash_secret, sessions, users

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from hven.site.store._database import StateDatabase

SEAL_META_KEY = "seal"  # key in `meta` of the key that seals sessions
MAX_SESSION_AGE = timedelta(days=15)  # a session that would last longer began while the clock was ahead
MAX_SESSIONS_PER_ACCOUNT = 100  # of more, those that end first are deleted


class SessionStore:
    """The sessions of users who are logged in. Thread-safe."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database
        self._seal_key: bytes | None = None

    def begin_session(self, owner: str, duration_seconds: float) -> str:
        """Begin a session.

        Returns
        -------
        str
            The proof that the browser sends, ``SECRET.SEAL``; it is not stored.

        Raises
        ------
        UnauthenticatedError
            The account has been removed.
        """
        secret = secrets.token_urlsafe(32)
        expiry_time = datetime.now(UTC) + timedelta(seconds=duration_seconds)
        expiry_text = expiry_time.isoformat(timespec="microseconds").replace("+00:00", "Z")
        with self._database.begin_write() as connection:
            if not connection.execute(sa.select(users.c.name).where(users.c.name == owner)).first():
                raise UnauthenticatedError("the account no longer exists")
            _delete_expired_sessions(connection)
            _delete_sessions_above_limit(connection, owner)
            values = {"hash": hash_secret(secret), "owner": owner, "expires": expiry_text}
            connection.execute(sa.insert(sessions).values(values))
        return f"{secret}.{self._compute_seal(secret)}"

    def find_session_owner(self, proof: str) -> str | None:
        """Return the account of a session; None: the proof belongs to no session, or the session has ended."""
        secret = self._extract_sealed_secret(proof)
        if secret is None:
            return None
        is_current = sessions.c.expires > format_current_time()
        query = sa.select(sessions).where(sessions.c.hash == hash_secret(secret), is_current)
        with self._database.begin_read() as connection:
            session_row = connection.execute(query).first()
        if session_row is None:
            return None
        if datetime.fromisoformat(session_row.expires) > datetime.now(UTC) + MAX_SESSION_AGE:
            return None
        return str(session_row.owner)

    def end_session(self, proof: str) -> None:
        """End a session in all processes at once; one that has already ended is left alone."""
        secret = self._extract_sealed_secret(proof)
        if secret is not None:
            with self._database.begin_write() as connection:
                connection.execute(sa.delete(sessions).where(sessions.c.hash == hash_secret(secret)))

    def derive_signing_key(self, owner: str) -> bytes | None:
        """Return the key that signs addresses for an account; None: there is no such account.

        The key changes when the account's token is renewed, and when the name is given to a new account.
        """
        columns = (users.c.salt, users.c.hash, users.c.created)
        query = sa.select(*columns).where(users.c.name == owner)
        with self._database.begin_read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return hmac.digest(self._get_seal_key(), repr((owner, *row)).encode(), hashlib.sha256)

    def end_account_sessions(self, owner: str) -> None:
        """End all sessions of an account."""
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.owner == owner))

    def _extract_sealed_secret(self, proof: str) -> str | None:
        """Return the secret if its seal is valid; the comparison takes the same time either way."""
        secret, _, seal = proof.partition(".")
        if hmac.compare_digest(self._compute_seal(secret).encode(), seal.encode("utf-8", "replace")):
            return secret
        return None

    def _compute_seal(self, secret: str) -> str:
        secret_bytes = secret.encode("utf-8", "replace")
        return hmac.new(self._get_seal_key(), secret_bytes, hashlib.sha256).hexdigest()

    def _get_seal_key(self) -> bytes:
        if self._seal_key is None:
            self._seal_key = get_or_create_secret(self._database, SEAL_META_KEY)
        return self._seal_key


def _delete_expired_sessions(connection: Connection) -> None:
    trusted_time = deletion_time.compute_trusted_clock_state(connection).trusted_time
    is_over = sessions.c.expires <= deletion_time.format_timestamp(trusted_time)
    connection.execute(sa.delete(sessions).where(is_over))


def _delete_sessions_above_limit(connection: Connection, owner: str) -> None:
    """Delete the sessions of an account that end first, so that one more does not exceed the limit."""
    own_sessions = sa.select(sessions.c.hash).where(sessions.c.owner == owner)
    own_hashes = list(connection.execute(own_sessions.order_by(sessions.c.expires.desc())).scalars())
    excess_hashes = own_hashes[MAX_SESSIONS_PER_ACCOUNT - 1 :]
    connection.execute(sa.delete(sessions).where(sessions.c.hash.in_(excess_hashes)))
