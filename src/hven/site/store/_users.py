"""Local accounts: a name and the salted hash of a token, which is shown once and kept nowhere."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.model.errors import Conflict, NotFound, UserError
from hven.site.store._database import drafts, jobs, now, sessions, user_tables, users
from hven.site.store._grants import leave
from hven.site.store._job_records import forget
from hven.site.store._user_table_records import retire

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.site.store._database import Database

NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
TAKEN = {"owner", "anonymous"}  # whom the program itself calls so
_NOBODY = ("0" * 32, "0" * 64)  # compared with when there is no such account: an answer takes as long


class Users:
    """The accounts of a site."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str) -> str:
        """Add an account.

        Returns
        -------
        str
            Its token, ``NAME.SECRET``; nobody can read it again.

        Raises
        ------
        UserError
            No name for an account.
        Conflict
            There is one already.
        """
        if not NAME.fullmatch(name) or name in TAKEN:
            raise UserError(
                f"{name!r:.80} cannot be the name of an account",
                remedy="a small letter, then small letters, digits, _ and -",
            )
        secret, salt = secrets.token_urlsafe(32), secrets.token_hex(16)
        with self._database.writing() as connection:
            if connection.execute(sa.select(users.c.name).where(users.c.name == name)).first():
                raise Conflict(
                    f"there is an account {name!r} already",
                    remedy=f"hven user remove {name} takes it away, with its tables",
                )
            forget(connection, jobs.c.owner == name)  # of somebody who had the name before
            connection.execute(sa.insert(users).values(name=name, salt=salt, hash=_hash(salt, secret), created=now()))
        return f"{name}.{secret}"

    def renew(self, name: str) -> str:
        """Renew the token of an account; the old one and all sessions end, tables and jobs stay.

        Raises
        ------
        NotFound
            There is none of that name.
        """
        secret, salt = secrets.token_urlsafe(32), secrets.token_hex(16)
        with self._database.writing() as connection:
            values = {"salt": salt, "hash": _hash(salt, secret)}
            if not connection.execute(sa.update(users).where(users.c.name == name).values(**values)).rowcount:
                raise NotFound(f"there is no account {name!r:.80}", remedy="hven user list shows them")
            connection.execute(sa.delete(sessions).where(sessions.c.owner == name))
        return f"{name}.{secret}"

    def all(self) -> list[tuple[str, str]]:
        """List every account's name and the time when it was made."""
        with self._database.reading() as connection:
            return [(row.name, row.created) for row in connection.execute(sa.select(users).order_by(users.c.name))]

    def there(self, name: str | None = None) -> bool:
        """Return whether there is an account of this name; None: any at all."""
        query = sa.select(users.c.name).where(sa.true() if name is None else users.c.name == name).limit(1)
        with self._database.reading() as connection:
            return connection.execute(query).first() is not None

    def remove(self, name: str) -> list[str]:
        """Remove an account with everything that is its own, at once: token, sessions, tables, jobs.

        Returns
        -------
        list of str
            Ids of its jobs: the caller removes their files. Those of its tables go with the next sweep.

        Raises
        ------
        NotFound
            There is none.
        """
        with self._database.writing() as connection:
            if not connection.execute(sa.delete(users).where(users.c.name == name)).rowcount:
                raise NotFound(f"there is no account {name!r:.80}", remedy="hven user list shows them")
            connection.execute(sa.delete(sessions).where(sessions.c.owner == name))
            retire(connection, user_tables.c.owner == name)
            connection.execute(sa.delete(drafts).where(drafts.c.owner == name))
            leave(connection, name)
            return forget(connection, jobs.c.owner == name)

    def forget_principals(self, beginning: str, lives: Callable[[str], bool]) -> list[str]:
        """Delete the jobs of principals that are no accounts, and live no more; who runs one notices.

        Parameters
        ----------
        beginning
            Of their names.
        lives
            Returns whether one of them does.

        Returns
        -------
        list of str
            Ids of the jobs: the caller removes their files.
        """
        query = sa.select(jobs.c.owner).where(jobs.c.owner.startswith(beginning, autoescape=True)).distinct()
        with self._database.reading() as connection:
            over = [name for name in connection.execute(query).scalars() if not lives(name)]
        if not over:
            return []
        with self._database.writing() as connection:
            return forget(connection, jobs.c.owner.in_(over))

    def holds(self, token: str) -> str | None:
        """Return the name of the account whose token this is; None: nobody's. The comparison takes the same time either way."""
        name, _, secret = token.partition(".")
        row = self._database.first("SELECT salt, hash FROM users WHERE name = ?", name)
        salt, kept = row or _NOBODY
        same = hmac.compare_digest(_hash(salt, secret), kept)
        return name if same and row is not None else None


def _hash(salt: str, secret: str) -> str:
    # the secret has 256 random bits: a slow hash would protect nothing more
    return hashlib.sha256(f"{salt}{secret}".encode("utf-8", "replace")).hexdigest()
