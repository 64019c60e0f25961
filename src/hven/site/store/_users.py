"""Local accounts: a name and the salted hash of a token. The token is shown once and not stored."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.model.errors import ConflictError, NotFoundError, UserError
from hven.site.store._database import format_current_time, hash_secret, jobs, sessions, user_tables, users
from hven.site.store._grants import delete_account_grants
from hven.site.store._job_records import delete_matching_jobs
from hven.site.store._user_table_records import schedule_table_deletion

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from hven.site.store._database import StateDatabase

ACCOUNT_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,63}")
RESERVED_NAMES = {"owner", "anonymous"}  # names of the program itself
_DUMMY_SALT_AND_HASH = ("0" * 32, "0" * 64)  # compared if there is no such account: the answer takes the same time


class UserStore:
    """The accounts of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def add_account(self, account: str) -> str:
        """Add an account.

        Returns
        -------
        str
            Its token, ``NAME.SECRET``; nobody can read it again.

        Raises
        ------
        UserError
            The name is not allowed.
        ConflictError
            The account exists already.
        """
        if not ACCOUNT_NAME_PATTERN.fullmatch(account) or account in RESERVED_NAMES:
            message = f"{account!r:.80} is not a valid name for an account"
            raise UserError(
                message,
                remedy="begin with a lower-case letter, and use only lower-case letters, digits, `_` and `-`; "
                "`owner` and `anonymous` are reserved",
            )
        secret = secrets.token_urlsafe(32)
        salt = secrets.token_hex(16)
        values = {"name": account, "salt": salt, "hash": hash_secret(salt + secret)}
        with self._database.begin_write() as connection:
            if connection.execute(sa.select(users.c.name).where(users.c.name == account)).first():
                remedy = (
                    f"choose a different name; to remove the account and its tables, run `hven user remove {account}`"
                )
                raise ConflictError(f"there is already an account {account!r}", remedy=remedy)
            _delete_jobs_of_former_account(connection, account)
            connection.execute(sa.insert(users).values(**values, created=format_current_time()))
        return f"{account}.{secret}"

    def renew_token_and_end_sessions(self, account: str) -> str:
        """Renew the token of an account; its old token and its sessions end, its tables and jobs stay.

        Raises
        ------
        NotFoundError
            There is no account of that name.
        """
        secret = secrets.token_urlsafe(32)
        salt = secrets.token_hex(16)
        values = {"salt": salt, "hash": hash_secret(salt + secret)}
        statement = sa.update(users).where(users.c.name == account).values(values)
        with self._database.begin_write() as connection:
            if not connection.execute(statement).rowcount:
                raise NotFoundError(
                    f"there is no account {account!r:.80}", remedy="run `hven user list` to see all accounts"
                )
            connection.execute(sa.delete(sessions).where(sessions.c.owner == account))
        return f"{account}.{secret}"

    def list_accounts(self) -> list[tuple[str, str]]:
        """List the name of every account and the time when it was created."""
        query = sa.select(users).order_by(users.c.name)
        with self._database.begin_read() as connection:
            return [(row.name, row.created) for row in connection.execute(query)]

    def has_account(self, account: str | None = None) -> bool:
        """Return whether there is an account of this name; None: any account at all."""
        query = sa.select(users.c.name).limit(1)
        if account is not None:
            query = query.where(users.c.name == account)
        with self._database.begin_read() as connection:
            return connection.execute(query).first() is not None

    def remove_account(self, account: str) -> list[str]:
        """Remove an account with everything it owns, at once: token, sessions, tables, jobs.

        Returns
        -------
        list of str
            Ids of its jobs: the caller removes their files. The next sweep removes the files of its tables.

        Raises
        ------
        NotFoundError
            There is no account of that name.
        """
        with self._database.begin_write() as connection:
            if not connection.execute(sa.delete(users).where(users.c.name == account)).rowcount:
                raise NotFoundError(
                    f"there is no account {account!r:.80}", remedy="run `hven user list` to see all accounts"
                )
            connection.execute(sa.delete(sessions).where(sessions.c.owner == account))
            schedule_table_deletion(connection, user_tables.c.owner == account)
            delete_account_grants(connection, account)
            return delete_matching_jobs(connection, jobs.c.owner == account)

    def delete_jobs_of_invalid_owners(self, owner_prefix: str, is_owner_valid: Callable[[str], bool]) -> list[str]:
        """Delete the jobs of principals that are no accounts and are no longer valid.

        A process that runs such a job notices.

        Parameters
        ----------
        owner_prefix
            Beginning of the names of these principals.
        is_owner_valid
            Returns whether the principal of a name is still valid.

        Returns
        -------
        list of str
            Ids of the jobs: the caller removes their files.
        """
        is_principal = jobs.c.owner.startswith(owner_prefix, autoescape=True)
        query = sa.select(jobs.c.owner).where(is_principal).distinct()
        with self._database.begin_read() as connection:
            orphan_owners = [name for name in connection.execute(query).scalars() if not is_owner_valid(name)]
        if not orphan_owners:
            return []
        with self._database.begin_write() as connection:
            return delete_matching_jobs(connection, jobs.c.owner.in_(orphan_owners))

    def find_account_by_token(self, token: str) -> str | None:
        """Return the name of the account whose token this is, or None.

        The comparison takes the same time either way.
        """
        name, _, secret = token.partition(".")
        row = self._database.fetch_first_row("SELECT salt, hash FROM users WHERE name = ?", name)
        salt, stored_hash = row or _DUMMY_SALT_AND_HASH
        is_match = hmac.compare_digest(hash_secret(salt + secret), stored_hash)
        if row is None or not is_match:
            return None
        return name


def _delete_jobs_of_former_account(connection: Connection, account: str) -> None:
    """Delete the jobs that a removed account of the same name left."""
    delete_matching_jobs(connection, jobs.c.owner == account)
