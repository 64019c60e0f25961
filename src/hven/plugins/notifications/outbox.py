"""The outbox: events, and one message for each account that an event reaches.

An event is written in the transaction of what it reports. Its messages are written in one transaction, too, so that a
process that dies leaves none out and makes none twice. A message is claimed before it is sent; if the process dies
then, it is sent again after a while with the same Message-ID, by which mail programs recognise it.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import message_from_json
from hven.plugins.notifications.choice_store import MAIL
from hven.plugins.notifications.store_tables import notification_choices, notification_events, notification_messages
from hven.site.api.store_tables import get_next_number

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from hven.model.errors import TranslatableMessage
    from hven.plugins.notifications.choice_store import AccountChoices
    from hven.site.api.events import SiteEvent
    from hven.site.api.store_tables import StateDatabase

WAITING, SENT, FAILED, DROPPED = "waiting", "sent", "failed", "dropped"
CLAIM_SECONDS = 600.0  # a claimed message is due again after this time, if its process has died
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS, MAX_ATTEMPTS = 30.0, 4 * 3600.0, 14  # a day and a half in all
LIFETIME_SECONDS = 7 * 86_400.0  # an older event reaches nobody any more
RETENTION_SECONDS = 30 * 86_400.0
HOUR_SECONDS = 3600.0
MAX_EVENTS_AT_ONCE, MAX_MESSAGES_AT_ONCE = 100, 200
CONFIRMATION_KIND = "address.confirm"  # of the mail with the link that confirms an address


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event in the outbox.

    Attributes
    ----------
    number
        Its number.
    at
        When it was recorded, in seconds since 1970.
    kind, accounts, message, path, table_name
        As in `hven.site.api.events.SiteEvent`.
    lines
        Lines of a digest.
    """

    number: int
    at: float
    kind: str
    accounts: Collection[str]
    message: TranslatableMessage
    lines: Sequence[str]
    path: str
    table_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxMessage:
    """A message to an account.

    Attributes
    ----------
    number, account, channel
        Its number, the account, and ``mail`` or ``webhook``.
    message_id
        Its name for receivers, the same at each attempt.
    state
        ``waiting``, ``sent``, ``failed`` (given up) or ``dropped`` (the account no longer wants it, or may not get it).
    attempts
        Number of attempts.
    due, ended
        When it is due, and when it ended (0: not yet), in seconds since 1970.
    error
        What went wrong last.
    event
        The event.
    """

    number: int
    account: str
    channel: str
    message_id: str
    state: str
    attempts: int
    due: float
    ended: float
    error: str
    event: StoredEvent


class Outbox:
    """The outbox of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def list_new_events(self) -> list[StoredEvent]:
        """List events without messages, the oldest first."""
        query = sa.select(notification_events).where(notification_events.c.expanded == 0)
        with self._database.begin_read() as connection:
            rows = connection.execute(query.order_by(notification_events.c.number).limit(MAX_EVENTS_AT_ONCE))
            return [_event_from_row(row) for row in rows]

    def add_messages(self, event: StoredEvent, channels: Iterable[tuple[str, str]]) -> None:
        """Write the messages of an event; a process that comes second writes none.

        Parameters
        ----------
        event
            The event.
        channels
            Accounts and their channels.
        """
        is_new = (notification_events.c.number == event.number) & (notification_events.c.expanded == 0)
        with self._database.begin_write() as connection:
            if connection.execute(sa.update(notification_events).where(is_new).values(expanded=1)).rowcount:
                for account, channel in channels:
                    insert_message(connection, event.number, account, channel)

    def has_due_work(self, enabled_channels: Collection[str]) -> bool:
        """Return whether an event has no messages yet, or a message is due."""
        is_due = (notification_messages.c.state == WAITING) & (notification_messages.c.due <= time.time())
        event_query = sa.select(notification_events.c.number).where(notification_events.c.expanded == 0).limit(1)
        message_query = sa.select(notification_messages.c.number).where(
            is_due, notification_messages.c.channel.in_(enabled_channels)
        )
        with self._database.begin_read() as connection:
            queries = (event_query, message_query.limit(1))
            return any(connection.execute(query).first() is not None for query in queries)

    def list_messages(
        self, *conditions: sa.ColumnElement[bool], newest_first: bool = False, limit: int = MAX_MESSAGES_AT_ONCE
    ) -> list[OutboxMessage]:
        """List messages, the oldest first unless stated otherwise.

        Parameters
        ----------
        conditions
            Conditions on columns of `notification_messages`.
        newest_first
            True: the newest first.
        limit
            At most this many.
        """
        columns = notification_messages.c
        order = columns.number.desc() if newest_first else columns.number
        joined_tables = notification_messages.join(notification_events, columns.event == notification_events.c.number)
        query = sa.select(notification_messages, notification_events).select_from(joined_tables)
        query = query.where(*conditions).order_by(order).limit(limit).set_label_style(sa.LABEL_STYLE_TABLENAME_PLUS_COL)
        with self._database.begin_read() as connection:
            return [_message_from_row(row) for row in connection.execute(query)]

    def list_due_messages(self, enabled_channels: Collection[str]) -> list[OutboxMessage]:
        """List messages that are due."""
        columns = notification_messages.c
        is_due = (columns.state == WAITING) & (columns.due <= time.time())
        return self.list_messages(is_due, columns.channel.in_(enabled_channels))

    def count_sent_messages(self, account: str = "") -> int:
        """Count the messages that were sent in the last hour, to all accounts or to one."""
        columns = notification_messages.c
        query = sa.select(sa.func.count()).select_from(notification_messages)
        query = query.where(columns.state == SENT, columns.ended > time.time() - HOUR_SECONDS)
        if account:
            query = query.where(columns.account == account)
        with self._database.begin_read() as connection:
            return int(connection.execute(query).scalar_one())

    def count_messages_about(self, account: str, kind: str, seconds: float) -> int:
        """Count the messages to an account about events of a kind in the last time, sent or not."""
        columns = notification_messages.c
        joined_tables = notification_messages.join(notification_events, columns.event == notification_events.c.number)
        query = sa.select(sa.func.count()).select_from(joined_tables)
        query = query.where(notification_events.c.kind == kind, notification_events.c.at > time.time() - seconds)
        query = query.where(columns.account == account)
        with self._database.begin_read() as connection:
            return int(connection.execute(query).scalar_one())

    def claim_message(self, message: OutboxMessage) -> bool:
        """Claim a message before it is sent; return False if another process was first."""
        is_unchanged = (notification_messages.c.number == message.number) & (
            notification_messages.c.attempts == message.attempts
        )
        claim = sa.update(notification_messages).where(is_unchanged, notification_messages.c.state == WAITING)
        values = {"attempts": message.attempts + 1, "due": time.time() + CLAIM_SECONDS}
        with self._database.begin_write() as connection:
            return bool(connection.execute(claim.values(values)).rowcount)

    def end_message(self, message: OutboxMessage, state: str, error: str = "") -> None:
        """Record how a message ended."""
        self._update_message(message.number, state=state, ended=time.time(), error=error)

    def schedule_retry(self, message: OutboxMessage, error: str) -> None:
        """Record that an attempt failed, and when the next one is due."""
        pause_seconds = min(FIRST_RETRY_SECONDS * 2.0**message.attempts, MAX_RETRY_SECONDS)
        self._update_message(message.number, due=time.time() + pause_seconds, error=error)

    def hold_messages(self, seconds: float, account: str = "", channel: str = "") -> None:
        """Postpone messages that are due: all, those of an account, or those of a channel."""
        columns = notification_messages.c
        now = time.time()
        update = sa.update(notification_messages).where(columns.state == WAITING, columns.due <= now)
        if account:
            update = update.where(columns.account == account)
        if channel:
            update = update.where(columns.channel == channel)
        with self._database.begin_write() as connection:
            connection.execute(update.values(due=now + seconds))

    def _update_message(self, number: int, **values: Any) -> None:
        update = sa.update(notification_messages).where(notification_messages.c.number == number)
        with self._database.begin_write() as connection:
            connection.execute(update.values(**values))

    def delete_old_messages(self) -> None:
        """Delete what ended long ago, and new events that are too old."""
        now = time.time()
        columns = notification_messages.c
        is_old = (columns.state != WAITING) & (columns.ended < now - RETENTION_SECONDS)
        used_events = sa.select(columns.event)
        is_unused = (notification_events.c.expanded == 1) & notification_events.c.number.not_in(used_events)
        is_late = (notification_events.c.expanded == 0) & (notification_events.c.at < now - LIFETIME_SECONDS)
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(notification_messages).where(is_old))
            connection.execute(sa.delete(notification_events).where(is_unused | is_late))

    def add_digest_message(self, choices: AccountChoices, event: SiteEvent, lines: Sequence[str], day: str) -> None:
        """Write the digest of a day for an account, once; without lines, only record that there is none.

        Parameters
        ----------
        choices
            What the account chose.
        event
            The event.
        lines
            Lines of the digest.
        day
            The day.
        """
        columns = notification_choices.c
        is_own = columns.account == choices.account
        with self._database.begin_write() as connection:
            digests = json.loads(connection.execute(sa.select(columns.digests).where(is_own)).scalar() or "null")
            if digests is None or digests.get(event.kind) == day:
                return
            new_text = json.dumps({**digests, event.kind: day})
            connection.execute(sa.update(notification_choices).where(is_own).values(digests=new_text))
            if lines:
                number = insert_event(connection, event, lines, is_expanded=True)
                insert_message(connection, number, choices.account, choices.find_reachable_channel(event.kind))

    def add_confirmation_mail(self, event: SiteEvent) -> None:
        """Write the mail with which an account confirms its address."""
        (account,) = event.accounts
        with self._database.begin_write() as connection:
            insert_message(connection, insert_event(connection, event, is_expanded=True), account, MAIL)


def is_event_kind_wanted(connection: sa.Connection, kind: str) -> bool:
    """Return whether any account has chosen a channel for a kind of events."""
    names_kind = notification_choices.c.channels.contains(f"{json.dumps(kind)}: ", autoescape=True)
    query = sa.select(sa.literal(1)).select_from(notification_choices).where(names_kind).limit(1)
    return connection.execute(query).first() is not None


def insert_event(
    connection: sa.Connection, event: SiteEvent, lines: Sequence[str] = (), *, is_expanded: bool = False
) -> int:
    """Write an event in the caller's transaction, and return its number.

    Parameters
    ----------
    connection
        The connection of the transaction.
    event
        The event.
    lines
        Lines of a digest.
    is_expanded
        True: the caller writes its messages, too.
    """
    number = get_next_number(connection, notification_events)
    values = {
        "number": number,
        "at": time.time(),
        "kind": event.kind,
        "accounts": json.dumps(sorted(event.accounts)),
        "message": json.dumps(event.message.to_json()),
        "lines": json.dumps(list(lines)),
        "path": event.path,
        "table_name": event.table,
        "expanded": int(is_expanded),
    }
    connection.execute(sa.insert(notification_events).values(values))
    return number


def insert_message(connection: sa.Connection, event_number: int, account: str, channel: str) -> None:
    """Write a message in the caller's transaction.

    Parameters
    ----------
    connection
        The connection of the transaction.
    event_number
        Number of its event.
    account, channel
        The account and its channel.
    """
    values = {
        "number": get_next_number(connection, notification_messages),
        "event": event_number,
        "account": account,
        "channel": channel,
        "message_id": f"hven-{secrets.token_hex(16)}",
        "state": WAITING,
        "attempts": 0,
        "due": time.time(),
        "ended": 0.0,
        "error": "",
    }
    connection.execute(sa.insert(notification_messages).values(values))


def _event_from_row(row: Any, prefix: str = "") -> StoredEvent:
    values = {name: getattr(row, f"{prefix}{name}") for name in StoredEvent.__slots__}
    for name in ("accounts", "message", "lines"):
        values[name] = json.loads(values[name])
    return StoredEvent(**{**values, "message": message_from_json(values["message"])})


def _message_from_row(row: Any) -> OutboxMessage:
    names = [name for name in OutboxMessage.__slots__ if name != "event"]
    values = {name: getattr(row, f"notification_messages_{name}") for name in names}
    return OutboxMessage(**values, event=_event_from_row(row, "notification_events_"))


def has_attempts_left(message: OutboxMessage) -> bool:
    """Return whether a message may be sent again after an attempt that failed."""
    return message.attempts + 1 < MAX_ATTEMPTS and message.event.at + LIFETIME_SECONDS >= time.time()
