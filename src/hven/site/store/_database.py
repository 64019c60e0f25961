"""The database of the store: its tables, its format version with upgrades, and its errors in plain words."""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import exc

from hven.model import plugins
from hven.model.errors import ConflictError, OverloadedError, StorageError, StorageUnavailableError
from hven.site.store._package_tables import (
    PACKAGE_KEY_PREFIX,
    are_package_tables_usable,
    create_or_upgrade_package_tables,
    read_package_values,
)
from hven.site.store._table_definitions import define_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

STATE_FORMAT = 15
# Programs of this format and of later ones can use a state of STATE_FORMAT. A format that only adds tables, or columns
# with a default, leaves it as it is ("expand"). One that removes what they need sets it to STATE_FORMAT ("contract").
OLDEST_FORMAT = 14
OLDEST_FORMAT_KEY = "oldest format"  # of `meta`, if it differs from the format
WRITER_LOCK_KEY = 4869466  # key of PostgreSQL's advisory lock; SQLite has one writer by itself
LOCK_TIMEOUT_SECONDS = 15.0  # a writer waits no longer for another one

CONNECT_TIMEOUT_SECONDS = 5.0  # a database server has this long to answer
_LOCK_TIMEOUT_MILLISECONDS = int(LOCK_TIMEOUT_SECONDS * 1000)
_IDLE_TRANSACTION_MILLISECONDS = int(2 * LOCK_TIMEOUT_SECONDS * 1000)
# a machine that vanishes in the middle of a transaction must not hold the lock for ever
POSTGRES_OPTIONS = {
    "connect_timeout": int(CONNECT_TIMEOUT_SECONDS),
    "application_name": "hven store",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "options": (
        f"-c lock_timeout={_LOCK_TIMEOUT_MILLISECONDS} -c "
        f"idle_in_transaction_session_timeout={_IDLE_TRANSACTION_MILLISECONDS}"
    ),
}

UNOPENED_STATE_REMEDY = "make its disk writable again, or check the owner and permissions of var/"
READ_ONLY_REMEDY = f"{UNOPENED_STATE_REMEDY}; then the server continues automatically"
MISSING_STATE_REMEDY = "restore its directory, or mount its disk again; then the server continues automatically"
FORMAT_CHANGE_REMEDY = (
    "run the same version of Hven on all machines: stop the processes of the older version, and start them with the "
    "newer one"
)
# addresses of states that a server of this process, or of the process that it was forked from, has found:
# none of them is created anew
_EXPECTED_ADDRESSES: set[str] = set()

metadata = sa.MetaData()
_define_table = partial(define_table, metadata)

meta = _define_table(
    "meta",
    """
    key   text key
    value text
    """,
)
snapshots = _define_table(
    "snapshots",
    """
    id         text key
    collection text index
    table_name text index
    run        text
    created    text
    rows       big
    bytes      big
    record     text
    number     big default 0  -- grows with each publication: the order of snapshots, whatever the clock said
    """,
)
pointers = _define_table(
    "pointers",
    """
    table_name text key
    collection text index
    snapshot   text -> snapshots.id
    since      text
    """,
)
events = _define_table(
    "events",
    """
    number     int key
    collection text index
    at         text
    action     text
    run        text null
    state      text
    """,
)
runs = _define_table(
    "runs",
    """
    id         text key
    collection text index
    kind       text
    phase      text
    holder     text
    started    text
    ended      text null
    message    text null
    summary    text null
    report     text null
    number     big default 0  -- grows with each run
    """,
)
leases = _define_table(
    "leases",
    """
    name    text key
    holder  text
    what    text
    since   text
    expires float
    """,
)
releases = _define_table(
    "releases",
    """
    collection  text key
    label       text key
    table_name  text key
    snapshot    text -> snapshots.id
    created     text
    description text null
    """,
)

jobs = _define_table(
    "jobs",
    """
    id          text key
    type        text
    owner       text null
    groups      text       -- JSON: the groups of the owner
    queue       text       -- whose turn it is: a user, or an address
    phase       text
    run_id      text null
    parent      text null index
    depends_on  text       -- JSON: ids
    parameters  text       -- JSON: pairs
    created     text
    queued      text null
    started     text null
    ended       text null
    duration    int
    destruction text index
    results     text       -- JSON
    error       text null  -- JSON
    progress    text       -- JSON
    attempts    int
    holder      text null
    beat        int        -- grows as long as the holder lives: no clock is trusted
    request_id  text null  -- of the request that created it
    """,
    sa.Index("ix_jobs_listed", "queue", "type", "created"),
    sa.Index("ix_jobs_waiting", "phase", "queue", "queued"),
    sa.Index("ix_jobs_turns", "queue", "started"),
)
# see `_job_relations.resolve_dependencies`. The text suits both databases: naming PostgreSQL in an index would load
# its whole dialect
bound_jobs = sa.text(
    "CREATE INDEX IF NOT EXISTS ix_jobs_bound ON jobs (phase, queued) WHERE phase = 'QUEUED' AND queued IS NULL"
)


def _create_bound_jobs_index(_table: sa.Table, connection: sa.Connection, **_options: Any) -> None:
    connection.execute(bound_jobs)


sa.event.listen(jobs, "after_create", _create_bound_jobs_index)
# jobs that a browser without an account began, by its cookie: no other list has them
visits = _define_table(
    "visits",
    """
    job     text key
    visitor text index  -- hash of the cookie
    """,
)

users = _define_table(
    "users",
    """
    name    text key
    salt    text
    hash    text
    created text
    """,
)
user_tables = _define_table(
    "user_tables",
    """
    owner    text key
    name     text key  -- in lower case: names that differ only in case are the same
    snapshot text unique
    path     text
    bytes    big
    rows     big
    created  text
    expires  text index
    record   text
    """,
)

# tables of users that were replaced or deleted a moment ago: queries may still begin to read them
retired = _define_table(
    "retired",
    """
    path   text key
    owner  text
    name   text
    until  text index
    record text
    """,
)
sessions = _define_table(
    "sessions",
    """
    hash    text key
    owner   text index
    expires text index
    """,
)

# what the next sync of a table must know. It belongs to a snapshot, so a rollback finds the state of the older one
sync_state = _define_table(
    "sync_state",
    """
    snapshot   text key
    table_name text index
    collection text index
    state      text  -- JSON: watermark, last full reading, files, columns of the source
    updated    text
    """,
)

# of collections that are synchronised automatically; times are seconds since 1970 by the store's own clock
schedules = _define_table(
    "schedules",
    """
    collection text key
    timing     text        -- as the descriptor had it when `due` was computed
    due        float
    asked      float null  -- when somebody asked for a run at once
    paused     float null
    failures   int         -- in a row
    holder     text null   -- the process that runs it
    began      float null
    ended      float null
    phase      text null   -- of the last run
    message    text null
    succeeded  float null  -- end of the last run that succeeded
    lasted     float null  -- seconds that it took
    told       text        -- JSON: what alerts have reported
    """,
)
alerts = _define_table(
    "alerts",
    """
    id         text key
    collection text
    kind       text
    at         text
    message    text
    details    text              -- JSON
    ways       text              -- JSON: channel -> attempts, and their outcome
    due        float null index  -- of the next attempt; null: none is left
    """,
)
verifications = _define_table(  # of snapshots: whether their files are as they were written
    "verifications",
    """
    snapshot   text key
    table_name text
    collection text
    at         text
    bytes      big
    faults     text  -- JSON: file -> what is wrong
    unknown    int   -- files without a checksum
    """,
)

grants = _define_table(  # what one account gave to another: see `_grants`
    "grants",
    """
    id      text key
    kind    text
    subject text index
    object  text
    role    text
    by      text
    created text
    until   float null
    hash    text
    facts   text  -- JSON
    """,
)
audit = _define_table(
    "audit",
    """
    number big key
    at     text
    by     text
    what   text
    object text
    facts  text  -- JSON
    """,
)

results = _define_table(  # persistent addresses of results
    "results",
    """
    id     text key       -- digest of the body
    made   text index
    maker  text           -- digest of the client that asked for it, and the day
    body   text           -- query, snapshots, count, checksum
    """,
)
descriptors = _define_table(  # of each collection, as it was last read without faults: see `_descriptors`
    "descriptors",
    """
    collection text key
    read_at    text
    digest     text
    body       text  -- JSON: files, standards, defaults
    """,
)


def _create_descriptor_table(connection: sa.Connection) -> None:
    """Upgrade to format 14: add the descriptors that were last read without faults."""
    descriptors.create(connection, checkfirst=True)


def _add_request_id_column(connection: sa.Connection) -> None:
    """Upgrade to format 15: add the request that created a job."""
    connection.exec_driver_sql("ALTER TABLE jobs ADD COLUMN request_id TEXT")


def get_next_number(connection: sa.Connection, table: sa.Table) -> int:
    """Return the next number of a table.

    Parameters
    ----------
    connection
        The connection of a transaction that writes, of which there is one at a time.
    table
        A table with a column ``number``.
    """
    largest_number = sa.func.coalesce(sa.func.max(table.c.number), 0)
    return int(connection.execute(sa.select(largest_number)).scalar_one()) + 1


# format n -> the step that makes it n + 1
UPGRADE_STEPS: dict[int, Callable[[sa.Connection], None]] = {13: _create_descriptor_table, 14: _add_request_id_column}
SERVER_UNAVAILABLE_PHRASES = (  # phrases of psycopg about a server that is not there, or goes away
    "connection failed",
    "connection is bad",
    "could not connect",
    "connection refused",
    "server closed the connection",
    "terminating connection",
    "the connection is closed",
    "the database system is",
    "connection timeout",
    "consuming input failed",
    "connection is lost",
)


def build_state_address(directory: Path, url: str | None) -> str:
    """Return the address of a site's state: `url`, or that of a file in its directory."""
    return url or f"sqlite:///{directory / 'hven.sqlite'}"


def mark_state_required(directory: Path, url: str | None) -> None:
    """Mark a state as one that a server has found.

    If it is missing later, the server waits for it and creates no empty one in its place.

    Parameters
    ----------
    directory
        The directory of the site's state.
    url
        URL of its database; None: SQLite in the directory.
    """
    _EXPECTED_ADDRESSES.add(build_state_address(directory, url))


def is_state_required(directory: Path, url: str | None) -> bool:
    """Return whether a server has found this state before."""
    return build_state_address(directory, url) in _EXPECTED_ADDRESSES


def format_current_time() -> str:
    """Return the current time as ISO text in UTC, with microseconds; such texts sort by time."""
    time_text = datetime.now(UTC).isoformat(timespec="microseconds")
    return time_text.replace("+00:00", "Z")


def hash_secret(secret: str) -> str:
    """Return the hash by which the store knows a secret."""
    # the secret has 256 random bits: a slow hash would not protect it better
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def read_meta_value(connection: sa.Connection, key: str) -> str | None:
    """Return the value of a key in `meta`.

    Parameters
    ----------
    connection
        The connection of the caller's transaction.
    key
        A key, such as ``format``.

    Returns
    -------
    value
        None: the key is not there.
    """
    query = sa.select(meta.c.value).where(meta.c.key == key)
    value: str | None = connection.execute(query).scalar()
    return value


def get_or_create_secret(database: StateDatabase, key: str) -> bytes:
    """Return a secret that `meta` has under a key, and that all processes share; the first call creates it."""
    with database.begin_read() as connection:
        secret_text = read_meta_value(connection, key)
    if secret_text is None:
        # two processes may both get here: the secret of the first one stays
        with database.begin_write() as connection:
            secret_text = read_meta_value(connection, key)
            if secret_text is None:
                secret_text = secrets.token_hex(32)
                insert_meta_value(connection, key, secret_text)
    return bytes.fromhex(secret_text)


def insert_meta_value(connection: sa.Connection, key: str, value: str) -> None:
    """Add a key and its value to `meta`."""
    connection.execute(sa.insert(meta).values(key=key, value=value))


def update_meta_value(connection: sa.Connection, key: str, value: str) -> None:
    """Replace the value of a key in `meta`."""
    connection.execute(sa.update(meta).where(meta.c.key == key).values(value=value))


class StateDatabase:
    """A connection pool with the two kinds of transaction that the store needs.

    Parameters
    ----------
    state_address
        Address of the database.
    list_users
        Describes the processes that use the database now.
    """

    def __init__(self, state_address: str, list_users: Callable[[sa.Connection], Sequence[str]] = lambda _: ()) -> None:
        self._list_users = list_users
        try:
            self._state_address = state_address
            self.url = sa.make_url(state_address)
            self.is_sqlite = self.url.get_backend_name() == "sqlite"
            if self.url.get_driver_name() == "psycopg":
                plugins.require_modules("a store in PostgreSQL", "psycopg", error_class=StorageError)
            if self.is_sqlite:
                self._file = self.url.database
            else:
                self._file = None
            self._package_values: dict[str, str] = {}  # of `meta`: the tables of the packages that this process uses
            self._known_file_id: tuple[int, int] | None = None  # device and inode of the file at the last look
            self.engine = sa.create_engine(self.url, **self._build_engine_options())
        except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
            # an address with @ may hold a password: only its scheme is shown
            shown_address = state_address
            if "@" in state_address:
                shown_address = state_address.partition(":")[0]
            message = f"the address of the store, {shown_address!r}, cannot be used: {error}"
            remedy = "set store to sqlite:///path or postgresql+psycopg://user@host/database"
            raise StorageError(message, remedy=remedy) from error
        if not self.is_sqlite and self.url.get_backend_name() != "postgresql":
            message = f"the store cannot be a database of the type {self.url.get_backend_name()}"
            raise StorageError(message, remedy="use sqlite or postgresql+psycopg")
        if self.is_sqlite:
            sa.event.listen(self.engine, "connect", _set_pragmas)
            sa.event.listen(self.engine, "begin", _begin_transaction)
        try:
            self._open_or_create()
        except BaseException:
            self.close()
            raise

    def _build_engine_options(self) -> dict[str, Any]:
        if self.is_sqlite:
            return {"creator": self._connect_sqlite}
        # a broken connection is noticed before it is used again: Hven needs no restart after one of PostgreSQL
        return {"pool_pre_ping": True, "pool_timeout": LOCK_TIMEOUT_SECONDS, "connect_args": POSTGRES_OPTIONS}

    def _connect_sqlite(self) -> sqlite3.Connection:
        """Connect to an existing file: by default SQLite would create an empty one where the site was."""
        if self._file:
            address = f"file:{quote(self._file)}?mode=rw"
        else:
            address = ":memory:"
        return sqlite3.connect(address, uri=True, timeout=LOCK_TIMEOUT_SECONDS, check_same_thread=False)

    def _check_file_and_reconnect(self) -> None:
        """Check that the file is in its place; if another file is there now, open new connections.

        Raises
        ------
        StorageUnavailableError
            The file is gone: the site was renamed or unmounted.
        """
        if not self._file:
            return
        try:
            file_stat = Path(self._file).stat()
        except OSError as error:
            if self._known_file_id is None and self._state_address not in _EXPECTED_ADDRESSES:
                return  # `_open_or_create` creates it, or says why it cannot
            reason = (error.strerror or "").lower()
            message = f"the system state {self.display_address} is missing: {reason}"
            raise StorageUnavailableError(message, remedy=MISSING_STATE_REMEDY) from error
        old_file_id = self._known_file_id
        self._known_file_id = (file_stat.st_dev, file_stat.st_ino)
        if old_file_id not in {None, self._known_file_id}:  # mounted again
            self.engine.dispose()

    @property
    def display_address(self) -> str:
        """The address for display, without a password."""
        return self.url.render_as_string(hide_password=True)

    def _open_or_create(self) -> None:
        self._check_file_and_reconnect()
        if self._file and self._known_file_id is None:
            with suppress(OSError):  # the connection below reports the error in words
                os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o644))
        with self._begin_exclusive_write() as connection:
            if sa.inspect(connection).has_table("meta"):
                self._update_state_format(connection)
            else:
                metadata.create_all(connection)
                if read_meta_value(connection, "format") is None:
                    insert_meta_value(connection, "format", str(STATE_FORMAT))
                    _write_oldest_format(connection)
                    insert_meta_value(connection, "version", "0")
                    insert_meta_value(connection, "jobs", "0")
            self._update_package_tables(connection)

    def _update_package_tables(self, connection: sa.Connection) -> None:
        """Create or upgrade the tables of plug-in packages."""
        stored_values = read_package_values(connection)
        self._package_values = create_or_upgrade_package_tables(connection, stored_values, self.display_address)
        for key, value in self._package_values.items():
            if key not in stored_values:
                insert_meta_value(connection, key, value)
            elif not are_package_tables_usable(stored_values[key], value):
                update_meta_value(connection, key, value)

    def _update_state_format(self, connection: sa.Connection) -> None:
        format_text = read_meta_value(connection, "format")
        format_number = -1
        if format_text and format_text.isdigit():
            format_number = int(format_text)
        if is_format_usable(format_text, read_meta_value(connection, OLDEST_FORMAT_KEY), STATE_FORMAT):
            return
        if format_number > STATE_FORMAT:
            message = (
                f"the system state {self.display_address} has format {format_number}, but this version of Hven "
                f"supports only formats up to {STATE_FORMAT}"
            )
            remedy = "run the newer version of Hven that wrote it, or restore the backup made before the upgrade"
            raise StorageError(message, remedy=remedy)
        if format_number < 1:
            message = (
                f"the system state {self.display_address} has format {format_text!r}, which is not a format of Hven"
            )
            raise StorageError(message, remedy="restore the file from a backup, or move it away and ingest again")
        steps = range(format_number, STATE_FORMAT)
        if any(step not in UPGRADE_STEPS for step in steps):
            message = (
                f"the system state {self.display_address} has format {format_number}, which is older than "
                "Hven 0.1.0 and cannot be upgraded"
            )
            raise StorageError(message, remedy="move the system state out of the way, then ingest again")
        if format_number < OLDEST_FORMAT:
            self._check_no_process_works(connection, format_number)
        for step in steps:
            UPGRADE_STEPS[step](connection)
            update_meta_value(connection, "format", str(step + 1))
        _write_oldest_format(connection)

    def _check_no_process_works(self, connection: sa.Connection, format_number: int) -> None:
        """Check that no process of an older version would lose the state by its upgrade."""
        for user in self._list_users(connection)[:1]:
            message = (
                f"the system state {self.display_address} has format {format_number}, and {user} uses it now; older "
                f"versions of Hven could not use it after the upgrade to format {STATE_FORMAT}"
            )
            raise ConflictError(message, remedy="stop the servers and workers of the older version first")

    @contextmanager
    def begin_write(self) -> Iterator[sa.Connection]:
        """Begin a transaction that writes: all or nothing, one writer at a time.

        Returns
        -------
        connection
            The connection of the transaction, which ends with the ``with`` statement.

        Raises
        ------
        StorageError
            Another Hven has changed the format since this process began: nothing is written.
        StorageUnavailableError
            The state is read-only.
        """
        self._check_file_and_reconnect()
        # this check comes first: SQLite's users share memory, and touching it on a disk that accepts no more writes
        # kills the process (SIGBUS)
        if self._file and not os.access(self._file, os.W_OK):
            message = f"the system state {self.display_address} is read-only"
            raise StorageUnavailableError(message, remedy=READ_ONLY_REMEDY)
        with self._begin_exclusive_write() as connection:
            self._check_formats_unchanged(self._read_meta_values(connection))
            yield connection

    @contextmanager
    def _begin_exclusive_write(self) -> Iterator[sa.Connection]:
        with (
            self._translate_errors(),
            self.engine.connect().execution_options(hven_write=True) as connection,
            connection.begin(),
        ):
            if not self.is_sqlite:
                lock_call = f"SELECT pg_advisory_xact_lock({WRITER_LOCK_KEY}, hashtext(current_schema()))"
                connection.execute(sa.text(lock_call))
            yield connection

    def check_formats_and_read_counter(self, counter_name: str) -> int:
        """Return a counter of `meta` in one statement: each process reads it many times a second.

        Parameters
        ----------
        counter_name
            Key of the counter.
        """
        if self.is_sqlite:
            keys = ("format", OLDEST_FORMAT_KEY, *self._package_values, counter_name)
            places = ", ".join("?" * len(keys))
            rows = self._fetch_raw_rows(f"SELECT key, value FROM meta WHERE key IN ({places})", keys)
            meta_values = {row[0]: row[1] for row in rows}
        else:
            with (
                self._translate_errors(),
                self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
            ):
                meta_values = self._read_meta_values(connection, counter_name)
        self._check_formats_unchanged(meta_values)
        return int(meta_values[counter_name])

    def _read_meta_values(self, connection: sa.Connection, *keys: str) -> dict[str, str]:
        """Return values of `meta`: those of some keys, and the formats of the state and of the tables of packages."""
        format_keys = ("format", OLDEST_FORMAT_KEY, *self._package_values)
        query = sa.select(meta.c.key, meta.c.value).where(meta.c.key.in_((*format_keys, *keys)))
        return {row[0]: row[1] for row in connection.execute(query)}

    def _check_formats_unchanged(self, meta_values: Mapping[str, str]) -> None:
        """Check that this process can use the format of the state, and of the tables of packages.

        Another process may have changed them.
        """
        format_text = meta_values.get("format")
        if not is_format_usable(format_text, meta_values.get(OLDEST_FORMAT_KEY), STATE_FORMAT):
            message = (
                f"another version of Hven has changed the format of the system state {self.display_address} to "
                f"{format_text}; this process supports format {STATE_FORMAT}"
            )
            raise StorageError(message, remedy=FORMAT_CHANGE_REMEDY)
        for key, value in self._package_values.items():
            if not are_package_tables_usable(meta_values.get(key), value):
                name = key.removeprefix(PACKAGE_KEY_PREFIX)
                message = (
                    f"another version of Hven has changed the tables of the plug-in package {name} in the system "
                    f"state {self.display_address}"
                )
                raise StorageError(message, remedy=FORMAT_CHANGE_REMEDY)

    @contextmanager
    def begin_read(self) -> Iterator[sa.Connection]:
        """Begin a transaction that sees one state of the database from its beginning to its end.

        Returns
        -------
        connection
            The connection of the transaction, which ends with the ``with`` statement.
        """
        options = {}
        if not self.is_sqlite:
            options["isolation_level"] = "REPEATABLE READ"
        with (
            self._translate_errors(),
            self.engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            yield connection

    def fetch_first_row(self, query_text: str, *values: str) -> Sequence[Any] | None:
        """Return the first row of a query whose values are written as ``?``.

        For SQLite it bypasses SQLAlchemy, which would take most of the time.

        Parameters
        ----------
        query_text
            SQL.
        values
            The values, in their order.

        Returns
        -------
        row
            None if there is none.

        Raises
        ------
        DBAPIError
            The query cannot be executed.
        """
        if not self.is_sqlite:
            with self.begin_read() as connection:
                return connection.exec_driver_sql(query_text.replace("?", "%s"), values).first()
        return next(iter(self._fetch_raw_rows(query_text, values)), None)

    def _fetch_raw_rows(self, query_text: str, values: Sequence[str]) -> Sequence[Sequence[Any]]:
        """Return the rows of a query in SQLite, without SQLAlchemy: it takes most of the time, and memory to run."""
        with self._translate_errors():
            try:
                with closing(self.engine.raw_connection()) as raw:
                    rows: Sequence[Sequence[Any]] = raw.cursor().execute(query_text, values).fetchall()
            except sqlite3.Error as error:
                raise exc.DBAPIError(query_text, values, error) from error
        return rows

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        self._check_file_and_reconnect()
        try:
            yield
        except exc.DBAPIError as error:
            raise self._build_storage_error(error) from error

    def _build_storage_error(self, error: exc.DBAPIError) -> StorageError | OverloadedError:
        reason = str(error.orig)
        reason = str(error.orig)
        lowercase_reason = reason.lower()
        state_label = f"the system state {self.display_address}"

        def has_phrase(*phrases: str) -> bool:
            return any(phrase in lowercase_reason for phrase in phrases)

        if not self.is_sqlite and has_phrase(*SERVER_UNAVAILABLE_PHRASES):
            first_line = reason.strip().splitlines()[0]
            message = f"{state_label} does not respond: {first_line}"
            return StorageError(message, remedy="start PostgreSQL; then Hven continues automatically")
        if has_phrase("lock timeout"):
            reason, lowercase_reason = "busy", "busy"
        if has_phrase("full", "no space", "disk i/o"):
            return StorageError(
                f"{state_label} cannot be written: {reason}", remedy="free some space on the disk that contains var/"
            )
        if has_phrase("locked", "busy"):
            message = f"{state_label} has been busy for {LOCK_TIMEOUT_SECONDS:g} seconds"
            remedy = "try again; if the error persists, look for a process that is hanging"
            return OverloadedError(message, remedy=remedy)
        if has_phrase("malformed", "not a database", "corrupt"):
            remedy = "restore the system state from a backup, or move it away and ingest the collections again"
            return StorageError(f"{state_label} is damaged: {reason}", remedy=remedy)
        if has_phrase("readonly"):  # SQLite has opened the file read-only, and would never try again to write
            self.engine.dispose()
        if has_phrase("readonly", "unable to open", "permission"):
            message = f"{state_label} cannot be opened: {reason}"
            return StorageError(message, remedy=UNOPENED_STATE_REMEDY)
        return StorageError(f"{state_label}: {reason}")


def _write_oldest_format(connection: sa.Connection) -> None:
    connection.execute(sa.delete(meta).where(meta.c.key == OLDEST_FORMAT_KEY))
    if OLDEST_FORMAT < STATE_FORMAT:
        insert_meta_value(connection, OLDEST_FORMAT_KEY, str(OLDEST_FORMAT))


def is_format_usable(format_text: str | None, oldest_text: str | None, own_format: int) -> bool:
    """Return whether a program of a format can use a state without upgrading it.

    Parameters
    ----------
    format_text, oldest_text
        Format of the state, and the oldest format whose programs can use it, as `meta` has them.
    own_format
        Format of the program.
    """
    if format_text is None or not format_text.isdigit():
        return False
    return int(oldest_text or format_text) <= own_format <= int(format_text)


def increment_state_version(connection: sa.Connection) -> int:
    """Increment the version of the state, so that every process reads it again; return the new version."""
    version_text = connection.execute(sa.select(meta.c.value).where(meta.c.key == "version")).scalar_one()
    version = int(version_text) + 1
    update_meta_value(connection, "version", str(version))
    return version


def read_shared_clock(connection: sa.Connection) -> float:
    """Return the seconds since 1970 by the one clock that all users of the store share.

    Parameters
    ----------
    connection
        The connection of the caller's transaction.

    Returns
    -------
    seconds
        Time of the database server; with SQLite, of this machine.
    """
    if connection.dialect.name == "sqlite":
        return time.time()
    clock_query = sa.text("SELECT extract(epoch FROM clock_timestamp())")
    return float(connection.execute(clock_query).scalar_one())


def _set_pragmas(connection: Any, _record: object) -> None:
    # transactions are begun by hand below: a writer takes its lock at once, and never fails half way
    connection.isolation_level = None
    cursor = connection.cursor()
    milliseconds = _LOCK_TIMEOUT_MILLISECONDS
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={milliseconds}"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _begin_transaction(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("hven_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
