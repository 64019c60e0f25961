"""The database under the store: its tables, its format version with upgrades, its errors in plain words."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import exc

from hven.model import plugins
from hven.model.errors import Overloaded, StorageError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FORMAT = 14
ONE_WRITER = 4869466  # key of PostgreSQL's advisory lock; SQLite has one writer by itself
BUSY = 15.0  # seconds that a writer waits for another one

LOOKED = 5.0  # seconds that a server may take to answer at all
# a machine that vanishes in the middle of a transaction must not hold the lock for ever
POSTGRES = {
    "connect_timeout": int(LOOKED),
    "application_name": "hven store",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "options": f"-c lock_timeout={int(BUSY * 1000)} -c idle_in_transaction_session_timeout={int(2 * BUSY * 1000)}",
}

FIXED = "make its disk writable again, or check the owner and the rights of var/: the server goes on by itself then"
AWAY_NOW = "bring its directory back, or mount its disk again: the server goes on by itself then"
_standing: set[str] = (
    set()
)  # addresses of states that a server of this process, or of the one it was forked from, has found: none is made anew

metadata = sa.MetaData()
KINDS = {"text": sa.Text, "int": sa.Integer, "big": sa.BigInteger, "float": sa.Float}


def _table(name: str, columns: str, *more: sa.Index) -> sa.Table:
    """Declare a table by its columns, one a line: name, type, what else holds for it; there is a value in each, but for those with `null`."""
    made: list[sa.Column[Any]] = []
    for line in columns.strip().splitlines():
        column, kind, *said = line.partition("--")[0].split()
        leads = [sa.ForeignKey(said[-1])] if "->" in said else []
        key, none, unique, index = (word in said or None for word in ("key", "null", "unique", "index"))
        start = sa.text(said[-1]) if "default" in said else None
        made.append(sa.Column(column, KINDS[kind], *leads, primary_key=bool(key), nullable=bool(none), unique=unique, index=index, server_default=start, autoincrement=bool(key) and kind == "int"))  # fmt: skip
    return sa.Table(name, metadata, *made, *more)


meta = _table(
    "meta",
    """
    key   text key
    value text
    """,
)
snapshots = _table(
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
    number     big default 0  -- grows with each publication: what came later, whatever the clock said
    """,
)
pointers = _table(
    "pointers",
    """
    table_name text key
    collection text index
    snapshot   text -> snapshots.id
    since      text
    """,
)
events = _table(
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
runs = _table(
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
leases = _table(
    "leases",
    """
    name    text key
    holder  text
    what    text
    since   text
    expires float
    """,
)
releases = _table(
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

jobs = _table(
    "jobs",
    """
    id          text key
    type        text
    owner       text null
    groups      text       -- JSON: what the owner belonged to
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
    beat        int        -- grows as long as the holder lives: nobody's clock is trusted
    """,
    sa.Index("ix_jobs_listed", "queue", "type", "created"),
    sa.Index("ix_jobs_waiting", "phase", "queue", "queued"),
    sa.Index("ix_jobs_turns", "queue", "started"),
)
# see `kin.settle`; in words of both databases: to name PostgreSQL in an index loads all its dialects
bound_jobs = sa.text(
    "CREATE INDEX IF NOT EXISTS ix_jobs_bound ON jobs (phase, queued) WHERE phase = 'QUEUED' AND queued IS NULL"
)
sa.event.listen(jobs, "after_create", lambda _, connection, **_more: connection.execute(bound_jobs))
visits = _table(  # jobs that a browser without an account began, by its cookie: nobody else's list has them
    "visits",
    """
    job     text key
    visitor text index  -- hash of the cookie
    """,
)

users = _table(
    "users",
    """
    name    text key
    salt    text
    hash    text
    created text
    """,
)
user_tables = _table(
    "user_tables",
    """
    owner    text key
    name     text key  -- in lower case: names that differ in case alone are one
    snapshot text unique
    path     text
    bytes    big
    rows     big
    created  text
    expires  text index
    record   text
    """,
)

retired = _table(  # tables of users that were replaced or deleted a moment ago: queries may still begin to read them
    "retired",
    """
    path   text key
    owner  text
    name   text
    until  text index
    record text
    """,
)
sessions = _table(
    "sessions",
    """
    hash    text key
    owner   text index
    expires text index
    """,
)

# what the next sync of a table must know; it belongs to a snapshot, so that a rollback finds the older one's
sync_state = _table(
    "sync_state",
    """
    snapshot   text key
    table_name text index
    collection text index
    state      text  -- JSON: watermark, last full reading, files, columns of the source
    updated    text
    """,
)

# of collections that are synchronised by themselves; times are seconds since 1970 by the store's own clock
schedules = _table(
    "schedules",
    """
    collection text key
    timing     text        -- as the descriptor said it when `due` was worked out
    due        float
    asked      float null  -- since when somebody wants it to run now
    paused     float null
    failures   int         -- in a row
    holder     text null   -- who runs it
    began      float null
    ended      float null
    phase      text null   -- of the last run
    message    text null
    succeeded  float null  -- end of the last run that did
    lasted     float null  -- seconds that it took
    told       text        -- JSON: what alerts have said
    """,
)
alerts = _table(
    "alerts",
    """
    id         text key
    collection text
    kind       text
    at         text
    message    text
    details    text              -- JSON
    ways       text              -- JSON: way -> attempts, and how it went
    due        float null index  -- of the next attempt; null: none is left
    """,
)
verifications = _table(  # of snapshots: whether their files are what was written
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

grants = _table(  # what somebody gave to somebody: see `_grants`
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
audit = _table(
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

pushes = _table(  # every write by a client into a table that takes them: see `_pushes`
    "pushes",
    """
    number     big key
    run        text
    table_name text
    collection text
    at         text
    by         text
    action     text
    rows       big
    removed    big
    token      text
    digest     text
    top        big
    answer     text  -- JSON
    """,
    sa.Index("ix_pushes_numbers", "table_name", "number"),
    sa.Index("ix_pushes_digests", "table_name", "digest"),
)
pushed = _table(  # their rows, which are nowhere else
    "pushed",
    """
    table_name text key
    last       big key
    first      big
    rows       big
    body       text  -- an Arrow stream in base64
    """,
)

drafts = _table(  # texts that curators write in the page: see `_drafts`
    "drafts",
    """
    owner   text key
    subject text key
    at      text
    texts   text  -- JSON: part -> text
    bases   text  -- JSON: part -> digest of what stood there when the draft began
    """,
)
registered = _table(  # records of the publishing registry: see `_registered`
    "registered",
    """
    id         text key       -- IVOID in lower case
    ivoid      text
    number     big            -- grows with each change: the order in which records are told
    part       text index     -- the collection that it is of; empty: the site
    created    text
    changed    text index     -- here, in whole seconds
    deleted    int
    kind       text           -- its type: vs:CatalogService
    body       text
    dublin     text           -- the same as Dublin Core
    """,
    sa.Index("ix_registered_number", "number"),
)
citations = _table(  # DOIs, and what is said of what was withdrawn: see `_citations`
    "citations",
    """
    id         text key       -- collection, @ and label of the release in small letters
    collection text index
    label      text           -- empty: the collection as a whole
    doi        text null unique
    state      text           -- reserved, draft, findable, withdrawn
    url        text           -- to which it leads
    told       text           -- its metadata as they were told last
    changed    text
    reason     text null      -- why it was withdrawn
    """,
)
results = _table(  # persistent addresses of results
    "results",
    """
    id     text key       -- digest of what it is
    made   text index
    maker  text           -- digest of who asked for it, and the day
    body   text           -- query, snapshots, count, checksum
    """,
)
parts = _table(  # what the records of a collection were made of
    "registered_parts",
    """
    part text key
    made text
    """,
)
uses = _table(  # what was used how often: see `_uses`
    "uses",
    """
    month                 text key
    collection            text key  -- empty: the site
    table_name            text key  -- empty: the collection as a whole
    service               text key  -- empty: all together
    access                text key
    investigations        big
    requests              big
    unique_investigations big
    unique_requests       big
    files                 big
    rows                  big
    bytes                 big
    """,
)


descriptors = _table(  # as each collection's was read last without faults: see `_descriptors`
    "descriptors",
    """
    collection text key
    read_at    text
    digest     text
    body       text  -- JSON: files, standards, defaults
    """,
)


def _create_descriptors(connection: sa.Connection) -> None:
    """Upgrade to format 14: the descriptors that were read last without faults."""
    descriptors.create(connection, checkfirst=True)


def following(connection: sa.Connection, table: sa.Table) -> int:
    """Return the next number of a table: the one writer there is takes it."""
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.number), 0))).scalar_one()) + 1


UPGRADES: dict[int, Callable[[sa.Connection], None]] = {
    13: _create_descriptors
}  # format n -> the step that makes it n + 1


_FORMAT = sa.select(meta.c.value).where(meta.c.key == "format")
AWAY = (  # what psycopg says of a server that is not there, or goes
    "connection failed", "connection is bad", "could not connect", "connection refused", "server closed the connection", "terminating connection",
    "the connection is closed", "the database system is", "connection timeout", "consuming input failed", "connection is lost",
)  # fmt: skip


def address(directory: Path, url: str | None) -> str:
    """Return where the state of a site is: `url`, or a file in its directory."""
    return url or f"sqlite:///{directory / 'hven.sqlite'}"


def stand(directory: Path, url: str | None) -> None:
    """Mark a state as one that a server found: where it is away from now on it is waited for, and no empty one is made in its place.

    Parameters
    ----------
    directory
        Of the site's state.
    url
        Of its database; None: SQLite in the directory.
    """
    _standing.add(address(directory, url))


def stands(directory: Path, url: str | None) -> bool:
    """Return whether a server found this state."""
    return address(directory, url) in _standing


def now() -> str:
    """Return the time as ISO text in UTC, with microseconds: sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Database:
    """A connection pool with the two kinds of transaction that the store needs."""

    def __init__(self, url: str) -> None:
        try:
            self._address = url
            self.url = sa.make_url(url)
            self.sqlite = self.url.get_backend_name() == "sqlite"
            if self.url.get_driver_name() == "psycopg":
                plugins.need("a store in PostgreSQL", "psycopg", error=StorageError)
            # a connection that broke is noticed before it is used again: a restart of PostgreSQL needs none of Hven
            options: dict[str, Any] = (
                {"creator": self._connect}
                if self.sqlite
                else {"pool_pre_ping": True, "pool_timeout": BUSY, "connect_args": POSTGRES}
            )
            self._file = self.url.database if self.sqlite else None
            self._known: tuple[int, int] | None = None  # which file that was when it was looked at last
            self.engine = sa.create_engine(self.url, **options)
        except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
            message = (
                f"the store's address {url if '@' not in url else url.partition(':')[0]!r} cannot be used: {error}"
            )
            raise StorageError(
                message, remedy="set store to sqlite:///path or postgresql+psycopg://user@host/database"
            ) from error
        if not self.sqlite and self.url.get_backend_name() != "postgresql":
            message = f"the store cannot be kept in {self.url.get_backend_name()}"
            raise StorageError(message, remedy="sqlite or postgresql+psycopg")
        if self.sqlite:
            sa.event.listen(self.engine, "connect", _pragmas)
            sa.event.listen(self.engine, "begin", _begin)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        """Connect to the file that is there: SQLite by itself would make an empty one where the site was."""
        address = f"file:{quote(self._file)}?mode=rw" if self._file else ":memory:"
        return sqlite3.connect(address, uri=True, timeout=BUSY, check_same_thread=False)

    def _there(self) -> None:
        """Check that the file is where it was; if it is another one, ask that.

        Raises
        ------
        Unavailable
            It is gone: the site was renamed or unmounted.
        """
        if not self._file:
            return
        try:
            found = Path(self._file).stat()
        except OSError as error:
            if self._known is None and self._address not in _standing:
                return  # `_open` makes it, or tells why it cannot be
            raise Unavailable(
                f"the system state {self.shown} is not there: {(error.strerror or '').lower()}", remedy=AWAY_NOW
            ) from error
        known, self._known = self._known, (found.st_dev, found.st_ino)
        if known not in {None, self._known}:  # mounted again
            self.engine.dispose()

    @property
    def shown(self) -> str:
        """Its address, for a person: without a password."""
        return self.url.render_as_string(hide_password=True)

    def _open(self) -> None:
        self._there()
        if self._file and self._known is None:
            with suppress(OSError):  # SQLite says it in words
                os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o644))
        with self._alone() as connection:
            if not sa.inspect(connection).has_table("meta"):
                metadata.create_all(connection)
                if connection.execute(sa.select(meta.c.value).where(meta.c.key == "format")).scalar() is None:
                    connection.execute(
                        sa.insert(meta),
                        [
                            {"key": "format", "value": str(FORMAT)},
                            {"key": "version", "value": "0"},
                            {"key": "jobs", "value": "0"},
                        ],
                    )
                return
            self._upgrade(connection)

    def _upgrade(self, connection: sa.Connection) -> None:
        found = connection.execute(sa.select(meta.c.value).where(meta.c.key == "format")).scalar()
        number = int(found) if found and found.isdigit() else -1
        if number > FORMAT:
            message = f"the system state {self.shown} has format {number}, this Hven knows formats up to {FORMAT}"
            raise StorageError(
                message, remedy="run the newer Hven that wrote it, or restore the backup made before the upgrade"
            )
        if number < 1:
            message = f"the system state {self.shown} says format {found!r}, which no Hven wrote"
            raise StorageError(message, remedy="restore it from a backup, or move it away and ingest again")
        steps = range(number, FORMAT)
        if any(step not in UPGRADES for step in steps):
            message = f"the system state {self.shown} has format {number} of a Hven before 0.1.0, which this one does not upgrade"
            raise StorageError(message, remedy="move it away and ingest again")
        for step in steps:
            UPGRADES[step](connection)
            connection.execute(sa.update(meta).where(meta.c.key == "format").values(value=str(step + 1)))

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Begin a transaction that writes: all or nothing, one writer at a time.

        Raises
        ------
        StorageError
            Another Hven has changed the format since this process began: nothing is written.
        Unavailable
            The state can only be read.
        """
        self._there()
        # asked before: where a disk takes nothing any more, to touch the memory that SQLite's users share kills the process (SIGBUS)
        if self._file and not os.access(self._file, os.W_OK):
            raise Unavailable(f"the system state {self.shown} can only be read", remedy=FIXED)
        with self._alone() as connection:
            self._unchanged(connection.execute(_FORMAT).scalar())
            yield connection

    @contextmanager
    def _alone(self) -> Iterator[sa.Connection]:
        with self._plain(), self.engine.connect().execution_options(hven_write=True) as connection, connection.begin():
            if not self.sqlite:
                connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({ONE_WRITER}, hashtext(current_schema()))"))
            yield connection

    def counter(self, name: str) -> int:
        """Return a counter of `meta` in one statement: this is asked many times a second by every process."""
        options: dict[str, Any] = {} if self.sqlite else {"isolation_level": "AUTOCOMMIT"}
        query = sa.select(meta.c.key, meta.c.value).where(meta.c.key.in_(("format", name)))
        with self._plain(), self.engine.connect().execution_options(**options) as connection:
            found = {row[0]: row[1] for row in connection.execute(query)}
        self._unchanged(found.get("format"))
        return int(found[name])

    def _unchanged(self, found: str | None) -> None:
        if found != str(FORMAT):
            message = f"another Hven has made the format of the system state {self.shown} {found}; this process knows {FORMAT}"
            raise StorageError(
                message,
                remedy="let all machines and processes run the same version: stop the older ones, then start again",
            )

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Begin a transaction that sees one state."""
        options = {} if self.sqlite else {"isolation_level": "REPEATABLE READ"}
        with self._plain(), self.engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    def first(self, text: str, *values: str) -> Sequence[Any] | None:
        """Ask for one row in one statement, in which values are ``?``; of SQLite past SQLAlchemy, which would take most of the time."""
        if not self.sqlite:
            with self.reading() as connection:
                return connection.exec_driver_sql(text.replace("?", "%s"), values).first()
        with self._plain():
            try:
                with closing(self.engine.raw_connection()) as raw:
                    found: Sequence[Any] | None = raw.cursor().execute(text, values).fetchone()
            except sqlite3.Error as error:
                raise exc.DBAPIError(text, values, error) from error
        return found

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    @contextmanager
    def _plain(self) -> Iterator[None]:
        self._there()
        try:
            yield
        except exc.DBAPIError as error:
            raise self._explained(error) from error

    def _explained(self, error: exc.DBAPIError) -> StorageError | Overloaded:
        why = str(error.orig)
        low = why.lower()
        where = f"the system state {self.shown}"
        if not self.sqlite and any(word in low for word in AWAY):
            first = why.strip().splitlines()[0]
            return StorageError(
                f"{where} does not answer: {first}", remedy="start PostgreSQL; Hven goes on by itself then"
            )
        if "lock timeout" in low:
            why, low = "busy", "busy"
        if "full" in low or "no space" in low or "disk i/o" in low:
            return StorageError(f"{where} cannot be written: {why}", remedy="make room on the disk of var/")
        if "locked" in low or "busy" in low:
            return Overloaded(
                f"{where} has been busy for {BUSY:g} seconds",
                remedy="try again; if it stays so, look for a process that hangs",
            )
        if "malformed" in low or "not a database" in low or "corrupt" in low:
            return StorageError(
                f"{where} is damaged: {why}",
                remedy="restore it from a backup, or move it away and ingest the collections again",
            )
        if "readonly" in low:  # SQLite has opened it for reading alone, and would never try again
            self.engine.dispose()
        if "readonly" in low or "unable to open" in low or "permission" in low:
            return StorageError(f"{where} cannot be opened: {why}", remedy="check the owner and the rights of var/")
        return StorageError(f"{where}: {why}")


def turn(connection: sa.Connection) -> int:
    """Count one more state, so that every process looks anew."""
    version = int(connection.execute(sa.select(meta.c.value).where(meta.c.key == "version")).scalar_one()) + 1
    connection.execute(sa.update(meta).where(meta.c.key == "version").values(value=str(version)))
    return version


def clock(connection: sa.Connection) -> float:
    """Return the seconds since 1970 by the one clock that all users of the store share."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())


def _pragmas(connection: Any, _record: object) -> None:
    # transactions are begun by hand below, so that a writer takes its lock at once and never fails half way
    connection.isolation_level = None
    cursor = connection.cursor()
    for line in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={int(BUSY * 1000)}"):
        cursor.execute(f"PRAGMA {line}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("hven_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
