"""Entries of tables in the system state: the proposed values, the state, and each step with its author and reason.

The rows that moderators accepted are in the journal of `push`; a step that changes them is written in the transaction
that publishes them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa

from hven.model.errors import PreconditionFailedError, TooManyRequestsError, format_message
from hven.plugins.entries.store_tables import entries, entry_events
from hven.plugins.entries.stored_messages import decode_message, encode_message
from hven.site.api.events import SiteEvent, notify_accounts
from hven.site.api.store_tables import get_next_number
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hven.site.api.store_tables import StateDatabase

DRAFT, SUBMITTED, ACCEPTED, REFUSED, WITHDRAWN = "draft", "submitted", "accepted", "refused", "withdrawn"
ENTRY_STATES = (DRAFT, SUBMITTED, ACCEPTED, REFUSED, WITHDRAWN)
SUBMITTED_KIND, DECIDED_KIND = "entries.submitted", "entries.decided"  # of events
MAX_OPEN_ENTRIES = 500  # drafts and submitted entries of an account
LIST_PAGE_ENTRIES = 100
_JSON_COLUMNS = ("row_values", "base_values", "warnings")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEntry:
    """One version of a row, as a user proposed it.

    Attributes
    ----------
    number
        Its number in the site; 0: it is not stored yet.
    table
        ``schema.table``.
    row_key
        Key of the row as JSON text; empty for a new row without a key.
    version
        Number of this version of the row; 0: it was not accepted yet.
    state
        One of `ENTRY_STATES`.
    revision
        Grows with each step.
    author
        The account; empty: it was removed.
    created, changed
        When; ISO, UTC.
    row_values
        Column -> proposed value.
    base_values
        The values before, if the entry changes a row; None for a new row.
    base_state, row_state
        State of the row before, and after the entry was accepted, as `push` names it; empty: none.
    warnings
        Warnings of rules when it was submitted.
    token
        Token of the request that made it.
    """

    number: int = 0
    table: str
    row_key: str = ""
    version: int = 0
    state: str = DRAFT
    revision: int = 1
    author: str
    created: str = ""
    changed: str = ""
    row_values: Mapping[str, Any]
    base_values: Mapping[str, Any] | None = None
    base_state: str = ""
    row_state: str = ""
    warnings: Sequence[str] = ()
    token: str = ""

    @property
    def etag(self) -> str:
        """The name of its state, for If-Match."""
        return f"{self.number}-{self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryStep:
    """A step of an entry: who did what, when and why.

    Attributes
    ----------
    at
        When; ISO, UTC. Empty: now.
    by
        The account.
    action
        ``save``, ``submit``, ``accept``, ``refuse`` or ``withdraw``.
    state
        State of the entry after it.
    reason
        Why, in the words of the account.
    digest
        Digest of the request.
    moderators
        Accounts and groups that learn of an entry that is submitted.
    changes
        Further attributes of the entry that change.
    """

    at: str = ""
    by: str
    action: str
    state: str
    reason: str = ""
    digest: str = ""
    moderators: Collection[str] = field(default=(), compare=False)
    changes: Mapping[str, Any] = field(default_factory=dict, compare=False)


class EntryStore:
    """The entries of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def add_entry(self, entry: TableEntry, step: EntryStep) -> tuple[TableEntry, bool]:
        """Store a new entry.

        Parameters
        ----------
        entry
            The entry.
        step
            Its first step.

        Returns
        -------
        entry, is_new
            The stored entry; and False if the same account sent its token before.

        Raises
        ------
        TooManyRequestsError
            The account has too many open entries.
        """
        now = format_current_time()
        with self._database.begin_write() as connection:
            is_own = entries.c.author == entry.author
            if entry.token:
                is_same = is_own & (entries.c.table_name == entry.table) & (entries.c.token == entry.token)
                row = connection.execute(sa.select(entries).where(is_same)).first()
                if row is not None:
                    return _entry_from_row(row), False
            is_open = is_own & entries.c.state.in_((DRAFT, SUBMITTED))
            count_query = sa.select(sa.func.count()).select_from(entries).where(is_open)
            if connection.execute(count_query).scalar_one() >= MAX_OPEN_ENTRIES:
                message = format_message("you already have {count} open entries, which is the limit", MAX_OPEN_ENTRIES)
                raise TooManyRequestsError(
                    message, remedy="withdraw some of them, or submit them and wait for decisions"
                )
            stored_entry = replace(entry, number=get_next_number(connection, entries), created=now, changed=now)
            connection.execute(sa.insert(entries).values(_entry_to_row(stored_entry)))
            _insert_step(connection, stored_entry.number, step, now)
        return stored_entry, True

    def find_entry(self, table: str, number: int) -> TableEntry | None:
        """Find an entry of a table by its number."""
        query = sa.select(entries).where(entries.c.number == number, entries.c.table_name == table)
        with self._database.begin_read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _entry_from_row(row)

    def list_entries(
        self,
        tables: Collection[str],
        *,
        author: str | None = None,
        states: Collection[str] = ENTRY_STATES,
        row_key: str | None = None,
        before_number: int | None = None,
        is_by_change: bool = False,
    ) -> list[TableEntry]:
        """List entries of tables, the newest first; at most `LIST_PAGE_ENTRIES`.

        Parameters
        ----------
        tables
            Names as ``schema.table``.
        author
            Only entries of this account; None: of all, without their drafts.
        states
            Only entries in these states.
        row_key
            Only versions of this row.
        before_number
            Only entries with a smaller number.
        is_by_change
            Whether the last changed entry comes first.
        """
        conditions: list[sa.ColumnElement[bool]] = [entries.c.table_name.in_(tables), entries.c.state.in_(states)]
        if author is not None:
            conditions.append(entries.c.author == author)
        else:
            conditions.append(entries.c.state != DRAFT)
        if row_key is not None:
            conditions.append(entries.c.row_key == row_key)
        if before_number is not None:
            conditions.append(entries.c.number < before_number)
        order = (entries.c.changed if is_by_change else entries.c.number).desc()
        query = sa.select(entries).where(*conditions).order_by(order).limit(LIST_PAGE_ENTRIES)
        with self._database.begin_read() as connection:
            return [_entry_from_row(row) for row in connection.execute(query)]

    def list_steps(self, number: int) -> list[EntryStep]:
        """List the steps of an entry, the oldest first."""
        query = sa.select(entry_events).where(entry_events.c.entry == number).order_by(entry_events.c.number)
        names = ("at", "by", "action", "state", "reason", "digest")
        with self._database.begin_read() as connection:
            return [EntryStep(**{name: getattr(row, name) for name in names}) for row in connection.execute(query)]

    def add_step(self, entry: TableEntry, step: EntryStep) -> TableEntry:
        """Store a step of an entry, and return the changed entry.

        Parameters
        ----------
        entry
            The entry in the state in which the step found it.
        step
            The step.

        Raises
        ------
        PreconditionFailedError
            Another step came first.
        """
        with self._database.begin_write() as connection:
            return write_step_and_notify(connection, entry, step)

    def remove_author_data(self, account: str) -> None:
        """Delete an account's drafts, and its name in other entries and steps."""
        with self._database.begin_write() as connection:
            if not sa.inspect(connection).has_table(entries.name):
                return
            draft_query = sa.select(entries.c.number).where(entries.c.author == account, entries.c.state == DRAFT)
            draft_numbers = [row.number for row in connection.execute(draft_query)]
            connection.execute(sa.delete(entry_events).where(entry_events.c.entry.in_(draft_numbers)))
            connection.execute(sa.delete(entries).where(entries.c.number.in_(draft_numbers)))
            connection.execute(sa.update(entries).where(entries.c.author == account).values(author=""))
            connection.execute(sa.update(entry_events).where(entry_events.c.by == account).values(by=""))


def write_step_and_notify(connection: sa.Connection, entry: TableEntry, step: EntryStep) -> TableEntry:
    """Write a step of an entry in the caller's transaction, and return the changed entry.

    Parameters
    ----------
    connection
        The connection of the transaction.
    entry
        The entry in the state in which the step found it.
    step
        The step.

    Raises
    ------
    PreconditionFailedError
        Another step came first.
    """
    now = step.at or format_current_time()
    changed_entry = replace(entry, state=step.state, revision=entry.revision + 1, changed=now, **step.changes)
    is_unchanged = (entries.c.number == entry.number) & (entries.c.revision == entry.revision)
    update = sa.update(entries).where(is_unchanged).values(_entry_to_row(changed_entry))
    if not connection.execute(update).rowcount:
        raise build_changed_entry_error()
    _insert_step(connection, entry.number, step, now)
    _notify_of_step(connection, changed_entry, step)
    return changed_entry


def count_accepted_versions(connection: sa.Connection, table: str, row_key: str) -> int:
    """Count the versions of a row that were accepted, in the caller's transaction.

    Parameters
    ----------
    connection
        The connection of the transaction.
    table, row_key
        As in `TableEntry`.
    """
    largest_version = sa.func.coalesce(sa.func.max(entries.c.version), 0)
    query = sa.select(largest_version).where(entries.c.table_name == table, entries.c.row_key == row_key)
    return int(connection.execute(query).scalar_one())


def build_changed_entry_error() -> PreconditionFailedError:
    """Build the error of a step that comes too late."""
    return PreconditionFailedError(
        "somebody else has changed the entry in the meantime",
        remedy="open the entry again, and check whether your change still applies",
    )


def _notify_of_step(connection: sa.Connection, entry: TableEntry, step: EntryStep) -> None:
    """Announce a submission to the moderators, and a step of somebody else to the author."""
    kind, accounts = DECIDED_KIND, [entry.author]
    if entry.state == SUBMITTED:
        kind, accounts = SUBMITTED_KIND, list(step.moderators)
    elif step.by == entry.author or not entry.author:
        return
    message = format_message(
        "entry {number} of {table} is {state}", entry.number, entry.table, format_message(entry.state)
    )
    path = f"/entries/{quote(entry.table, safe='')}/{entry.number}"
    notify_accounts(connection, SiteEvent(kind=kind, accounts=accounts, message=message, path=path, table=entry.table))


def _insert_step(connection: sa.Connection, entry_number: int, step: EntryStep, at: str) -> None:
    names = ("by", "action", "state", "reason", "digest")
    values: dict[str, Any] = {name: getattr(step, name) for name in names}
    number = get_next_number(connection, entry_events)
    connection.execute(sa.insert(entry_events).values(number=number, entry=entry_number, at=at, **values))


def _entry_to_row(entry: TableEntry) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(entry, name) for name in TableEntry.__slots__}
    values["table_name"] = values.pop("table")
    values["row_values"] = json.dumps(dict(entry.row_values))
    values["base_values"] = "" if entry.base_values is None else json.dumps(dict(entry.base_values))
    values["warnings"] = json.dumps(list(map(encode_message, entry.warnings)))
    return values


def _entry_from_row(row: Any) -> TableEntry:
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's name of the mapping of a row)
    values["table"] = values.pop("table_name")
    for name in _JSON_COLUMNS:
        values[name] = json.loads(values[name]) if values[name] else None
    values["warnings"] = list(map(decode_message, values["warnings"] or ()))
    return TableEntry(**values)
