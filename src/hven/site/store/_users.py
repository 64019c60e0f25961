"""Local accounts: a name and the salted hash of a token, which is shown once and kept nowhere."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.model.errors import ConflictError, NotFoundError, UserError
from hven.site.store._database import drafts, format_current_time, jobs, sessions, user_tables, users
from hven.site.store._grants import delete_account_grants
from hven.site.store._job_records import delete_matching_jobs
from hven.site.store._user_table_records import schedule_table_deletion

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.site.store._database import StateDatabase

ACCOUNT_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,63}")
RESERVED_NAMES = {"owner", "anonymous"}  # whom the program itself calls so
_DUMMY_SALT_AND_HASH = ("0" * 32, "0" * 64)  # compared with when there is no such account: an answer takes as long


class UserStore:
    """The accounts of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def add_account(self, name: str) -> str:
        """Add an account.

        Returns
        -------
        str
            Its token, ``ACCOUNT_NAME_PATTERN.SECRET``; nobody can read it again.

        Raises
        ------
        UserError
            No name for an account.
        ConflictError
            There is one already.
        """
        if not ACCOUNT_NAME_PATTERN.fullmatch(name) or name in RESERVED_NAMES:
            raise UserError(
                f"{name!r:.80} cannot be the name of an account",
                remedy="a small letter, then small letters, digits, _ and -",
            )
        secret = secrets.token_urlsafe(32)
        salt = secrets.token_hex(16)
        with self._database.begin_write() as connection:
            if connection.execute(sa.select(users.c.name).where(users.c.name == name)).first():
                raise ConflictError(
                    f"there is an account {name!r} already",
                    remedy=f"hven user remove {name} takes it away, with its tables",
                )
            delete_matching_jobs(connection, jobs.c.owner == name)  # of somebody who had the name before
            connection.execute(
                sa.insert(users).values(
                    name=name, salt=salt, hash=_hash_token(salt, secret), created=format_current_time()
                )
            )
        return f"{name}.{secret}"

    def renew_token(self, name: str) -> str:
        """Renew the token of an account; the old one and all sessions end, tables and jobs stay.

        Raises
        ------
        NotFoundError
            There is none of that name.
        """
        secret = secrets.token_urlsafe(32)
        salt = secrets.token_hex(16)
        with self._database.begin_write() as connection:
            values = {"salt": salt, "hash": _hash_token(salt, secret)}
            if not connection.execute(sa.update(users).where(users.c.name == name).values(**values)).rowcount:
                raise NotFoundError(f"there is no account {name!r:.80}", remedy="hven user list shows them")
            connection.execute(sa.delete(sessions).where(sessions.c.owner == name))
        return f"{name}.{secret}"

    def list_accounts(self) -> list[tuple[str, str]]:
        """List every account's name and the time when it was made."""
        with self._database.begin_read() as connection:
            return [(row.name, row.created) for row in connection.execute(sa.select(users).order_by(users.c.name))]

    def has_account(self, name: str | None = None) -> bool:
        """Return whether there is an account of this name; None: any at all."""
        query = sa.select(users.c.name).where(sa.true() if name is None else users.c.name == name).limit(1)
        with self._database.begin_read() as connection:
            return connection.execute(query).first() is not None

    def remove_account(self, name: str) -> list[str]:
        """Remove an account with everything that is its own, at once: token, sessions, tables, jobs.

        Returns
        -------
        list of str
            Ids of its jobs: the caller removes their files. Those of its tables go with the next sweep.

        Raises
        ------
        NotFoundError
            There is none.
        """
        with self._database.begin_write() as connection:
            if not connection.execute(sa.delete(users).where(users.c.name == name)).rowcount:
                raise NotFoundError(f"there is no account {name!r:.80}", remedy="hven user list shows them")
            connection.execute(sa.delete(sessions).where(sessions.c.owner == name))
            schedule_table_deletion(connection, user_tables.c.owner == name)
            connection.execute(sa.delete(drafts).where(drafts.c.owner == name))
            delete_account_grants(connection, name)
            return delete_matching_jobs(connection, jobs.c.owner == name)

    def delete_orphan_jobs(self, owner_prefix: str, is_alive: Callable[[str], bool]) -> list[str]:
        """Delete the jobs of principals that are no accounts, and live no more; who runs one notices.

        Parameters
        ----------
        owner_prefix
            Of their names.
        is_alive
            Returns whether one of them does.

        Returns
        -------
        list of str
            Ids of the jobs: the caller removes their files.
        """
        query = sa.select(jobs.c.owner).where(jobs.c.owner.startswith(owner_prefix, autoescape=True)).distinct()
        with self._database.begin_read() as connection:
            orphan_owners = [name for name in connection.execute(query).scalars() if not is_alive(name)]
        if not orphan_owners:
            return []
        with self._database.begin_write() as connection:
            return delete_matching_jobs(connection, jobs.c.owner.in_(orphan_owners))

    def verify_token(self, token: str) -> str | None:
        """Return the name of the account whose token this is; None: nobody's.

        The comparison takes the same time either way.
        """
        name, _, secret = token.partition(".")
        row = self._database.fetch_first_row("SELECT salt, hash FROM users WHERE name = ?", name)
        salt, stored_hash = row or _DUMMY_SALT_AND_HASH
        is_match = hmac.compare_digest(_hash_token(salt, secret), stored_hash)
        return name if is_match and row is not None else None


def _hash_token(salt: str, secret: str) -> str:
    # the secret has 256 random bits: a slow hash would protect nothing more
    return hashlib.sha256(f"{salt}{secret}".encode("utf-8", "replace")).hexdigest()
