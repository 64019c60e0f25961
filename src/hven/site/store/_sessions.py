"""Sessions of browsers: a random secret whose digest is kept, sealed so that forged ones are refused without a look at the rows."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.model.errors import Unauthenticated
from hven.site.store import _deletion_clock as times
from hven.site.store._database import meta, now, sessions, users

if TYPE_CHECKING:
    from hven.site.store._database import Database

SEAL = "seal"  # in `meta`: the key that sessions are sealed with
LONGEST = timedelta(days=15)  # no session lasts so long: one that would was begun while the clock was ahead
MOST = 100  # sessions of one account: those that end first go


class Sessions:
    """Who is logged in. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seal: bytes | None = None

    def begin(self, owner: str, seconds: float) -> str:
        """Begin a session.

        Returns
        -------
        str
            What the reader proves it with, ``SECRET.SEAL``: kept nowhere here.

        Raises
        ------
        Unauthenticated
            The account is gone.
        """
        secret = secrets.token_urlsafe(32)
        until = (
            (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="microseconds").replace("+00:00", "Z")
        )
        with self._database.writing() as connection:
            if not connection.execute(sa.select(users.c.name).where(users.c.name == owner)).first():
                raise Unauthenticated("the account is gone")
            connection.execute(
                sa.delete(sessions).where(sessions.c.expires <= times.stamp(times.reckoned(connection).believed))
            )
            mine = sa.select(sessions.c.hash).where(sessions.c.owner == owner).order_by(sessions.c.expires.desc())
            old = list(connection.execute(mine).scalars())[MOST - 1 :]
            connection.execute(sa.delete(sessions).where(sessions.c.hash.in_(old)))
            connection.execute(sa.insert(sessions).values(hash=_digest(secret), owner=owner, expires=until))
        return f"{secret}.{self._sealed(secret)}"

    def holder(self, proof: str) -> str | None:
        """Return the name of the account whose session this is; None: nobody's, or it has ended."""
        secret = self._opened(proof)
        if secret is None:
            return None
        query = sa.select(sessions.c.owner, sessions.c.expires).where(
            sessions.c.hash == _digest(secret), sessions.c.expires > now()
        )
        with self._database.reading() as connection:
            found = connection.execute(query).first()
        if found is None or datetime.fromisoformat(found.expires) > datetime.now(UTC) + LONGEST:
            return None
        return str(found.owner)

    def end(self, proof: str) -> None:
        """End a session, in every process at once; one that has ended is left alone."""
        secret = self._opened(proof)
        if secret is not None:
            with self._database.writing() as connection:
                connection.execute(sa.delete(sessions).where(sessions.c.hash == _digest(secret)))

    def key_of(self, owner: str) -> bytes | None:
        """Return the key that addresses are signed with for an account: another one when its token is renewed or the name given anew; None: there is none."""
        query = sa.select(users.c.salt, users.c.hash, users.c.created).where(users.c.name == owner)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else hmac.digest(self._key(), repr((owner, *row)).encode(), hashlib.sha256)

    def end_of(self, owner: str) -> None:
        """End all sessions of an account."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.owner == owner))

    def _opened(self, proof: str) -> str | None:
        """Return the secret if the seal is ours; the comparison takes the same time either way."""
        secret, _, seal = proof.partition(".")
        return secret if hmac.compare_digest(self._sealed(secret).encode(), seal.encode("utf-8", "replace")) else None

    def _sealed(self, secret: str) -> str:
        return hmac.new(self._key(), secret.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def _key(self) -> bytes:
        if self._seal is None:
            query = sa.select(meta.c.value).where(meta.c.key == SEAL)
            with self._database.reading() as connection:
                found = connection.execute(query).scalar()
            if found is None:
                with self._database.writing() as connection:  # two processes may both come here: the first one's stays
                    found = connection.execute(query).scalar()
                    if found is None:
                        found = secrets.token_hex(32)
                        connection.execute(sa.insert(meta).values(key=SEAL, value=found))
            self._seal = bytes.fromhex(found)
        return self._seal


def _digest(secret: str) -> str:
    # the secret has 256 random bits: a slow hash would protect nothing more
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
