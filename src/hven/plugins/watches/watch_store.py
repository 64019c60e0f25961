"""Keep watches and their matches. A watch moves to a later state of its table together with what it found there."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from base64 import b64encode
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson
import sqlalchemy as sa

from hven.model.errors import ConflictError, format_message
from hven.plugins.changes.row_definitions import RowDefinition, definition_from_json
from hven.plugins.watches.store_tables import watch_matches, watches
from hven.site.api.events import SiteEvent, notify_accounts
from hven.site.api.store_tables import get_next_number

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from hven.model.errors import TranslatableMessage
    from hven.site.api.store_tables import StateDatabase
    from hven.site.store import StateStore

NEW, CHANGED, GONE = "new", "changed", "gone"  # changes of a row, as a watch sees it
ALL = "all"  # a watch tells all changes; else only new rows
NO_CHANNEL = "none"
STOPPED_KIND = "watches.stopped"  # of the event that tells an account that a watch delivers nothing, or misses rows
WAITING, SENT, FAILED, DROPPED, KEPT = "waiting", "sent", "failed", "dropped", "kept"  # kept: for feeds alone
CLAIM_SECONDS = 600.0  # a claimed match is due again after this time, if its process has died
RETENTION_SECONDS = 30 * 86_400.0
FAULTY_WATCHES_SECONDS = 60.0
MAX_LISTED_MATCHES = 200
MAX_DEFINITION_CHARACTERS = 64 * 1024**2  # of the watches that are matched together: 3 million targets


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What an account watches.

    Attributes
    ----------
    number
        Its number; 0: it is not stored yet.
    name
        Its name in addresses.
    account
        The account.
    table_name
        The table.
    title
        What the account calls it.
    definition_text
        What it finds, as JSON.
    tells
        ``new``: rows that are new in it; ``all``: also rows that changed in it or left it.
    channel
        ``none`` (feeds alone), ``mail`` or ``webhook``.
    webhook
        Address of the webhook.
    problem
        Why Hven delivers nothing any more; empty: it does.
    fault
        Why its condition could not be evaluated the last time: it may have missed rows. Empty: it could.
    nonce
        Part of what signed links and the secret of the webhook are made from.
    language
        Language of mails.
    created
        When it was created, in seconds since 1970.
    snapshot
        The state of the table up to which changes have been matched.
    """

    number: int = 0
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    account: str
    table_name: str
    title: str
    definition_text: str
    tells: str = NEW
    channel: str = NO_CHANNEL
    webhook: str = ""
    problem: str = ""
    fault: str = ""
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))
    language: str = "en"
    created: float = field(default_factory=time.time)
    snapshot: str = ""

    @cached_property
    def definition(self) -> RowDefinition:
        """What it finds."""
        return definition_from_json(self.definition_text)

    def sign_word(self, store: StateStore, word: str) -> str:
        """Sign a word for this watch, in letters for addresses."""
        return self._compute_digest(store, word).hex()[:40]

    def is_signature_valid(self, store: StateStore, signature: str, word: str) -> bool:
        """Return whether a signature belongs to a word; the comparison takes the same time either way."""
        return hmac.compare_digest(self.sign_word(store, word).encode(), signature.encode("utf-8", "replace"))

    def build_webhook_secret(self, store: StateStore) -> str:
        """Build the secret with which Hven signs calls of the webhook."""
        return f"whsec_{b64encode(self._compute_digest(store, 'webhook')).decode()}"

    def _compute_digest(self, store: StateStore, word: str) -> bytes:
        text = json.dumps(["watches", self.name, self.nonce, word])
        return hmac.digest(store.get_site_secret(), text.encode(), hashlib.sha256)


@dataclass(frozen=True, kw_only=True)
class WatchMatch:
    """What a watch found between two states of its table.

    Attributes
    ----------
    number
        Counts up; the id of an event in a stream.
    id
        Its name for receivers, the same at each attempt.
    watch
        Name of the watch.
    since, version
        The two states.
    at
        When it was found, in seconds since 1970.
    rows_json
        The first rows as JSON: key, what happened, and longitude and latitude (degrees) or null.
    counts
        Numbers of all rows by what happened; empty: the changes between the states were not kept.
    state
        ``waiting``, ``sent``, ``failed`` (given up), ``dropped`` (no longer wanted or allowed) or ``kept``
        (for feeds).
    attempts, due, ended, error
        Number of attempts, when it is due, when it ended (0: not yet), and what went wrong last.
    """

    number: int = 0
    id: str
    watch: str
    since: str
    version: str
    at: float = field(default_factory=time.time)
    rows_json: str
    counts: Mapping[str, int]
    state: str = KEPT
    attempts: int = 0
    due: float = 0.0
    ended: float = 0.0
    error: str = ""

    @cached_property
    def rows(self) -> Sequence[Sequence[Any]]:
        """The first rows: key, what happened, and position (degrees) or None."""
        rows: Sequence[Sequence[Any]] = orjson.loads(self.rows_json)
        return rows

    def with_rows(self, rows: Sequence[Sequence[Any]], counts: Mapping[str, int]) -> WatchMatch:
        """Return the match with other rows."""
        return replace(self, rows_json=orjson.dumps(rows).decode(), counts=counts)


def compute_match_id(watch_name: str, since: str, version: str) -> str:
    """Compute the id of what a watch found between two states of its table."""
    return hashlib.sha256(f"{watch_name}\n{since}\n{version}".encode()).hexdigest()[:32]


class WatchStore:
    """The watches of a site, and what they found."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database
        self._faulty_watches: tuple[float, list[tuple[str, str]]] | None = None  # when they were read, and they
        self._late_tables: tuple[float, list[str]] | None = None

    # --- watches ----------------------------------------------------------------------------------------------

    def add_watch(self, watch: Watch, max_count: int) -> Watch:
        """Store a watch, and return it with its number.

        Parameters
        ----------
        watch
            The watch.
        max_count
            Maximum number of watches of the account.

        Raises
        ------
        ConflictError
            The account has as many.
        """
        count_query = sa.select(sa.func.count()).where(watches.c.account == watch.account)
        with self._database.begin_write() as connection:
            if connection.execute(count_query).scalar_one() >= max_count:
                message = format_message(
                    "you already have {count} watches, which is the most that this site allows", max_count
                )
                raise ConflictError(message, remedy="remove a watch, or watch a list of targets")
            numbered_watch = replace(watch, number=_get_later_number(connection, watches))
            connection.execute(sa.insert(watches).values(_watch_to_row(numbered_watch)))
        return numbered_watch

    def find_watch(self, name: str) -> Watch | None:
        """Find a watch by its name."""
        return next(iter(self.list_watches(watches.c.name == name)), None)

    def list_watches(self, *conditions: sa.ColumnElement[bool]) -> list[Watch]:
        """List watches, the oldest first.

        Parameters
        ----------
        conditions
            Conditions on columns of `watches`.
        """
        with self._database.begin_read() as connection:
            rows = connection.execute(sa.select(watches).where(*conditions).order_by(watches.c.number))
            return [_watch_from_row(row) for row in rows]

    def iterate_watches(self, table_name: str, snapshot: str) -> Iterator[list[Watch]]:
        """Yield the watches of a table that have been matched up to a state, in parts that fit into memory.

        Parameters
        ----------
        table_name
            The table.
        snapshot
            The state.
        """
        is_chosen = (watches.c.table_name == table_name) & (watches.c.snapshot == snapshot)
        query = sa.select(watches).where(is_chosen).order_by(watches.c.number)
        last_number = 0
        while part := self._read_part(query.where(watches.c.number > last_number)):
            yield part
            last_number = part[-1].number

    def _read_part(self, query: sa.Select[Any]) -> list[Watch]:
        """Read watches until their definitions fill a part."""
        part: list[Watch] = []
        size = 0
        with self._database.begin_read() as connection:
            for row in connection.execute(query, execution_options={"stream_results": True}):
                part.append(_watch_from_row(row))
                size += len(part[-1].definition_text)
                if size >= MAX_DEFINITION_CHARACTERS:
                    break
        return part

    def find_faulty_watches(self, limit: int) -> list[tuple[str, str]]:
        """Find the accounts and the problems of some watches that deliver nothing any more, or miss rows.

        Each page about the health of the site asks for them, so an answer is kept for a minute.

        Returns
        -------
        problems
            Account, and why nothing is delivered; empty: the condition of the watch cannot be evaluated.
        """
        now = time.monotonic()
        if self._faulty_watches is None or self._faulty_watches[0] < now - FAULTY_WATCHES_SECONDS:
            is_faulty = (watches.c.problem != "") | (watches.c.fault != "")
            query = sa.select(watches.c.account, watches.c.problem).where(is_faulty).order_by(watches.c.number)
            with self._database.begin_read() as connection:
                rows = connection.execute(query.limit(limit))
                self._faulty_watches = now, [(account, problem) for account, problem in rows]
        return self._faulty_watches[1]

    def find_late_tables(self, read_published_ids: Callable[[], Mapping[str, str]], latest_id: str) -> list[str]:
        """Find the tables whose published changes have waited for a long time to be matched.

        An answer is kept for a minute, as that of `find_faulty_watches`.

        Parameters
        ----------
        read_published_ids
            Returns the id of the published snapshot of each table; an id begins with the time at which it was made.
        latest_id
            Snapshots with a later id are still being matched.
        """
        now = time.monotonic()
        if self._late_tables is None or self._late_tables[0] < now - FAULTY_WATCHES_SECONDS:
            published_ids = read_published_ids()
            states = self.list_watched_states()
            late_tables = [name for name, since in states if since != published_ids.get(name, since) < latest_id]
            self._late_tables = now, late_tables
        return self._late_tables[1]

    def list_watched_states(self) -> list[tuple[str, str]]:
        """List the tables of watches, each with the states up to which changes have been matched."""
        query = sa.select(watches.c.table_name, watches.c.snapshot).distinct().order_by(watches.c.table_name)
        with self._database.begin_read() as connection:
            return [(table_name, snapshot) for table_name, snapshot in connection.execute(query)]

    def update_watch(self, name: str, **values: Any) -> None:
        """Change columns of a watch."""
        self._faulty_watches = None
        with self._database.begin_write() as connection:
            connection.execute(sa.update(watches).where(watches.c.name == name).values(**values))

    def remove_watches(self, *conditions: sa.ColumnElement[bool]) -> None:
        """Delete watches, and what they found.

        Parameters
        ----------
        conditions
            Conditions on columns of `watches`.
        """
        self._faulty_watches = None
        with self._database.begin_write() as connection:
            if not sa.inspect(connection).has_table(watches.name):
                return
            names = sa.select(watches.c.name).where(*conditions)
            connection.execute(sa.delete(watch_matches).where(watch_matches.c.watch.in_(names)))
            connection.execute(sa.delete(watches).where(*conditions))

    # --- matches ----------------------------------------------------------------------------------------------

    def record_matches(
        self,
        matched_watches: Sequence[Watch],
        since: str,
        version: str,
        matches: Sequence[WatchMatch],
        faults: Mapping[str, str] | None = None,
    ) -> None:
        """Move watches to a later state of their table, and store what they found; a second process stores nothing.

        Parameters
        ----------
        matched_watches
            All watches of one table whose state was `since`, in the order of their numbers.
        since, version
            The two states.
        matches
            What some of them found.
        faults
            Names of the watches whose condition was evaluated -> why this failed; empty: it did not.
        """
        last_watch = matched_watches[-1]
        columns = watches.c
        is_moved = (columns.table_name == last_watch.table_name) & (columns.number <= last_watch.number)
        with self._database.begin_write() as connection:
            update = sa.update(watches).where(is_moved, columns.snapshot == since).values(snapshot=version)
            if not connection.execute(update).rowcount:
                return
            names_query = sa.select(columns.name).where(is_moved, columns.snapshot == version)
            names = set(connection.execute(names_query).scalars())
            ids_query = sa.select(watch_matches.c.id).where(watch_matches.c.version == version)
            known_ids = set(connection.execute(ids_query).scalars())
            first_number = _get_later_number(connection, watch_matches)
            new_matches = [match for match in matches if match.watch in names and match.id not in known_ids]
            rows = [
                {**_match_to_row(match), "number": number} for number, match in enumerate(new_matches, first_number)
            ]
            if rows:
                _insert_rows(connection, watch_matches, rows)
            for watch in matched_watches:
                fault = (faults or {}).get(watch.name, watch.fault)
                if watch.name in names and fault != watch.fault:
                    self._record_fault(connection, watch, fault)

    def _record_fault(self, connection: sa.Connection, watch: Watch, fault: str) -> None:
        """Store why the condition of a watch cannot be evaluated; the first time, tell its account."""
        self._faulty_watches = None
        connection.execute(sa.update(watches).where(watches.c.name == watch.name).values(fault=fault))
        if fault and not watch.fault:
            message = format_message(
                "the watch {title!r} may have missed rows, because its condition cannot be evaluated: {reason}",
                watch.title,
                fault,
            )
            notify_accounts(connection, _build_stop_event(watch, message))

    def list_matches(
        self,
        names: Collection[str] | sa.Select[tuple[str]],
        *conditions: sa.ColumnElement[bool],
        newest_first: bool = True,
        limit: int = MAX_LISTED_MATCHES,
    ) -> list[WatchMatch]:
        """List what watches found.

        Parameters
        ----------
        names
            Names of the watches, or a query of them.
        conditions
            Conditions on columns of `watch_matches`.
        newest_first
            False: the oldest first.
        limit
            At most this many.
        """
        order = watch_matches.c.number.desc() if newest_first else watch_matches.c.number
        query = sa.select(watch_matches).where(watch_matches.c.watch.in_(names), *conditions)
        with self._database.begin_read() as connection:
            rows = connection.execute(query.order_by(order).limit(limit))
            return [_match_from_row(row) for row in rows]

    def has_due_match(self) -> bool:
        """Return whether a match is due."""
        is_due = (watch_matches.c.state == WAITING) & (watch_matches.c.due <= time.time())
        with self._database.begin_read() as connection:
            return connection.execute(sa.select(watch_matches.c.number).where(is_due).limit(1)).first() is not None

    def claim_due_matches(self, limit: int) -> list[tuple[WatchMatch, Watch]]:
        """Claim matches that are due, the oldest first, with their watches; no other process gets them for a while.

        Parameters
        ----------
        limit
            At most this many.
        """
        columns = watch_matches.c
        now = time.time()
        is_due = (columns.state == WAITING) & (columns.due <= now)
        query = sa.select(watch_matches).where(is_due).order_by(columns.due, columns.number).limit(limit)
        with self._database.begin_write() as connection:
            matches = [_match_from_row(row) for row in connection.execute(query)]
            numbers = [match.number for match in matches]
            claim = sa.update(watch_matches).where(columns.number.in_(numbers))
            connection.execute(claim.values(due=now + CLAIM_SECONDS, attempts=columns.attempts + 1))
            names = {match.watch for match in matches}
            rows = connection.execute(sa.select(watches).where(watches.c.name.in_(names)))
            watches_by_name = {watch.name: watch for watch in map(_watch_from_row, rows)}
        return [
            (replace(match, attempts=match.attempts + 1), watches_by_name[match.watch])
            for match in matches
            if match.watch in watches_by_name
        ]

    def update_matches(self, values_by_number: Mapping[int, Mapping[str, Any]]) -> None:
        """Change columns of matches, in one transaction.

        Parameters
        ----------
        values_by_number
            Number of a match -> new values of its columns.
        """
        with self._database.begin_write() as connection:
            for number, values in values_by_number.items():
                update = sa.update(watch_matches).where(watch_matches.c.number == number)
                connection.execute(update.values(**values))

    def hold_matches(self, watch_name: str, due: float) -> None:
        """Postpone what a watch has found."""
        columns = watch_matches.c
        is_earlier = (columns.watch == watch_name) & (columns.state == WAITING) & (columns.due < due)
        with self._database.begin_write() as connection:
            connection.execute(sa.update(watch_matches).where(is_earlier).values(due=due))

    def count_sent_mails(self, since: float) -> dict[str, int]:
        """Count the mails that were sent since a time, by account."""
        joined_tables = watch_matches.join(watches, watch_matches.c.watch == watches.c.name)
        is_sent = (watch_matches.c.state == SENT) & (watch_matches.c.ended > since) & (watches.c.channel == "mail")
        query = sa.select(watches.c.account, sa.func.count()).select_from(joined_tables).where(is_sent)
        with self._database.begin_read() as connection:
            rows = connection.execute(query.group_by(watches.c.account))
            return {str(row[0]): int(row[1]) for row in rows}

    def delete_old_matches(self) -> None:
        """Delete what was found long ago, or by watches that are removed."""
        is_old = watch_matches.c.at < time.time() - RETENTION_SECONDS
        is_orphan = watch_matches.c.watch.not_in(sa.select(watches.c.name))
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(watch_matches).where(is_old | is_orphan))

    def stop_watch(self, watch: Watch, reason: str) -> None:
        """Deliver nothing of a watch any more, and tell its account why."""
        columns = watch_matches.c
        is_waiting = (columns.watch == watch.name) & (columns.state == WAITING)
        message = format_message(
            "Hven no longer delivers what the watch {title!r} finds: {reason}", watch.title, reason
        )
        event = _build_stop_event(watch, message)
        self._faulty_watches = None
        with self._database.begin_write() as connection:
            connection.execute(sa.update(watches).where(watches.c.name == watch.name).values(problem=reason))
            values = {"state": FAILED, "ended": time.time(), "error": reason}
            connection.execute(sa.update(watch_matches).where(is_waiting).values(values))
            notify_accounts(connection, event)


def _build_stop_event(watch: Watch, message: TranslatableMessage) -> SiteEvent:
    return SiteEvent(kind=STOPPED_KIND, accounts=(watch.account,), message=message, path=f"/watches/{watch.name}")


def _insert_rows(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows with values for the driver: SQLAlchemy's own binding takes longer than all the rest."""
    statement = sa.insert(table).compile(dialect=connection.dialect)
    values: Any = rows
    if statement.positiontup is not None:
        values = [tuple(map(row.__getitem__, statement.positiontup)) for row in rows]
    connection.exec_driver_sql(str(statement), values)


def _get_later_number(connection: sa.Connection, table: sa.Table) -> int:
    """Return a number that no row has or had: the largest may have been deleted, so the time is the least."""
    return max(get_next_number(connection, table), time.time_ns() // 1000)


MATCH_FIELDS = tuple(column.name for column in watch_matches.columns if column.name not in {"rows", "counts"})
WATCH_FIELDS = tuple(column.name.replace("definition", "definition_text") for column in watches.columns)


def _watch_to_row(watch: Watch) -> dict[str, Any]:
    values = {name: getattr(watch, name) for name in Watch.__dataclass_fields__}
    values["definition"] = values.pop("definition_text")
    return values


def _watch_from_row(row: Any) -> Watch:
    return Watch(**dict(zip(WATCH_FIELDS, row, strict=True)))


def _match_to_row(match: WatchMatch) -> dict[str, Any]:
    values = {name: getattr(match, name) for name in MATCH_FIELDS}
    return {**values, "rows": match.rows_json, "counts": orjson.dumps(match.counts).decode()}


def _match_from_row(row: Any) -> WatchMatch:
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's name of the mapping of a row)
    return WatchMatch(rows_json=values.pop("rows"), counts=json.loads(values.pop("counts")), **values)
