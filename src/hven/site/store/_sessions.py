"""Sessions of browsers: a random secret, of which the store has the digest.

The secret is sealed, so that a forged one is refused without a look at the rows.
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
from hven.site.store._database import format_current_time, meta, sessions, users

if TYPE_CHECKING:
    from hven.site.store._database import StateDatabase

SEAL_META_KEY = "seal"  # in `meta`: the key that sessions are sealed with
MAX_SESSION_AGE = timedelta(days=15)  # no session lasts so long: one that would was begun while the clock was ahead
MAX_SESSIONS_PER_ACCOUNT = 100  # sessions of one account: those that end first go


class SessionStore:
    """Who is logged in. Thread-safe."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database
        self._seal_key: bytes | None = None

    def begin_session(self, owner: str, duration_seconds: float) -> str:
        """Begin a session.

        Returns
        -------
        str
            What the reader proves it with, ``SECRET.SEAL``: kept nowhere here.

        Raises
        ------
        UnauthenticatedError
            The account is gone.
        """
        secret = secrets.token_urlsafe(32)
        expiry_text = (
            (datetime.now(UTC) + timedelta(seconds=duration_seconds))
            .isoformat(timespec="microseconds")
            .replace("+00:00", "Z")
        )
        with self._database.begin_write() as connection:
            if not connection.execute(sa.select(users.c.name).where(users.c.name == owner)).first():
                raise UnauthenticatedError("the account is gone")
            connection.execute(
                sa.delete(sessions).where(
                    sessions.c.expires
                    <= deletion_time.format_timestamp(deletion_time.compute_deletion_time(connection).trusted_time)
                )
            )
            session_query = (
                sa.select(sessions.c.hash).where(sessions.c.owner == owner).order_by(sessions.c.expires.desc())
            )
            excess_sessions = list(connection.execute(session_query).scalars())[MAX_SESSIONS_PER_ACCOUNT - 1 :]
            connection.execute(sa.delete(sessions).where(sessions.c.hash.in_(excess_sessions)))
            connection.execute(sa.insert(sessions).values(hash=_hash_secret(secret), owner=owner, expires=expiry_text))
        return f"{secret}.{self._compute_seal(secret)}"

    def find_session_owner(self, proof: str) -> str | None:
        """Return the name of the account whose session this is; None: nobody's, or it has ended."""
        secret = self._verify_seal(proof)
        if secret is None:
            return None
        query = sa.select(sessions.c.owner, sessions.c.expires).where(
            sessions.c.hash == _hash_secret(secret), sessions.c.expires > format_current_time()
        )
        with self._database.begin_read() as connection:
            session_row = connection.execute(query).first()
        if session_row is None or datetime.fromisoformat(session_row.expires) > datetime.now(UTC) + MAX_SESSION_AGE:
            return None
        return str(session_row.owner)

    def end_session(self, proof: str) -> None:
        """End a session, in every process at once; one that has ended is left alone."""
        secret = self._verify_seal(proof)
        if secret is not None:
            with self._database.begin_write() as connection:
                connection.execute(sa.delete(sessions).where(sessions.c.hash == _hash_secret(secret)))

    def derive_signing_key(self, owner: str) -> bytes | None:
        """Return the key that addresses are signed with for an account.

        Another one when its token is renewed or the name given anew; None: there is none.
        """
        query = sa.select(users.c.salt, users.c.hash, users.c.created).where(users.c.name == owner)
        with self._database.begin_read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return hmac.digest(self._get_seal_key(), repr((owner, *row)).encode(), hashlib.sha256)

    def end_account_sessions(self, owner: str) -> None:
        """End all sessions of an account."""
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.owner == owner))

    def _verify_seal(self, proof: str) -> str | None:
        """Return the secret if the seal is ours; the comparison takes the same time either way."""
        secret, _, seal = proof.partition(".")
        if hmac.compare_digest(self._compute_seal(secret).encode(), seal.encode("utf-8", "replace")):
            return secret
        return None

    def _compute_seal(self, secret: str) -> str:
        return hmac.new(self._get_seal_key(), secret.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def _get_seal_key(self) -> bytes:
        if self._seal_key is None:
            query = sa.select(meta.c.value).where(meta.c.key == SEAL_META_KEY)
            with self._database.begin_read() as connection:
                key_text = connection.execute(query).scalar()
            if key_text is None:
                with (
                    self._database.begin_write() as connection
                ):  # two processes may both come here: the first one's stays
                    key_text = connection.execute(query).scalar()
                    if key_text is None:
                        key_text = secrets.token_hex(32)
                        connection.execute(sa.insert(meta).values(key=SEAL_META_KEY, value=key_text))
            self._seal_key = bytes.fromhex(key_text)
        return self._seal_key


def _hash_secret(secret: str) -> str:
    # the secret has 256 random bits: a slow hash would protect nothing more
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
