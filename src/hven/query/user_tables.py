"""Tables that readers keep in the service: files -> snapshots that belong to their owner, within a quota and for a time."""

from __future__ import annotations

import re
import secrets
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.reserved import RESERVED
from hven.descriptor.tables import find_position
from hven.model import units
from hven.model.errors import Cancelled, Conflict, NotFound, ParamError, SourceError, Unauthenticated, say
from hven.query import uploads
from hven.site import USER_SCHEMA
from hven.site.store import Record, check_room, now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from hven.engines import Snapshot
    from hven.model.table import Column, Table
    from hven.site import Site
    from hven.site.auth import Reader

KNOWN = 0.3  # seconds after which every process has seen a change: then the next request can rely on it
PUBLISHING = 30.0  # seconds to wait for an ingest or a sweep that is at the files
LONGEST = 64  # characters of a table's name
SHOWN = 5
_BODY = "body"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def name_of(given: str) -> str:
    """Parse the name of a table as an address or a parameter has it: ``tap_user.t`` and ``t`` are one.

    Parameters
    ----------
    given
        With the schema or without.

    Returns
    -------
    name
        Without the schema.

    Raises
    ------
    ParamError
        No name that a table can have.
    """
    schema, dot, name = given.strip().rpartition(".")
    if dot and schema.lower() != USER_SCHEMA:
        raise ParamError(
            say("{given!r:.120} is no table of yours", given),
            remedy=say("your tables are in {schema}: {schema}.{name:.64}", USER_SCHEMA, name),
        )
    if not _NAME.fullmatch(name) or len(name) > LONGEST:
        raise ParamError(
            say("{name!r:.120} cannot be the name of a table", name),
            remedy=say("a letter, then letters, digits and _; {most} characters at most", LONGEST),
        )
    if name.upper() in RESERVED:
        raise ParamError(
            say("{name!r} is a reserved word of ADQL", name),
            remedy=say("another name, such as my_{name}", name.lower()),
        )
    return name


def keep(site: Site, who: Reader, name: str, path: Path, described: Table | None = None) -> Table:
    """Store the table of a file (VOTable, FITS, Parquet, Arrow, text) as ``tap_user.name``.

    Parameters
    ----------
    site
        Where it is kept.
    who
        Its owner.
    name
        As `name_of` takes it.
    path
        Of the file.
    described
        A table without rows, instead of what is in the file.

    Returns
    -------
    table
        As it is kept.

    Raises
    ------
    Unauthenticated
        Nobody is logged in.
    ParamError, SourceError, TooLarge
        The name, the file; the limits of uploads, the quota.
    Conflict
        Somebody else is writing the same table.
    """
    owner, name = _owner(who), name_of(name)
    with _held(site, owner, name):
        limits = site.settings.limits
        others = site.store.user_tables.beside(owner, name, most=limits.user_tables)
        table, rows = (described, described.arrow.empty_table()) if described is not None else _read(site, name, path)
        uploads.check_columns(table)
        check_room("rows", others + rows.num_rows, limits.user_rows)
        table = table.having(
            schema=USER_SCHEMA, name=name, columns=tuple(column.having(required=False) for column in table.columns),
            position=_position(table), access="private", owner=owner, primary=(), keys=(),
        )  # fmt: skip
        return _store(site, table, iter(rows.cast(table.arrow).to_batches()))


def append(site: Site, who: Reader, name: str, path: Path) -> Table:
    """Append the rows of a file to a table: columns are found by name, without case; those that the file lacks become null.

    Parameters
    ----------
    site
        Where it is kept.
    who
        Its owner.
    name
        As `name_of` takes it.
    path
        Of the file.

    Returns
    -------
    table
        As it is kept.

    Raises
    ------
    NotFound
        There is no such table.
    SourceError
        Columns that the table does not have, or values that do not fit; nothing was added.
    TooLarge, Conflict
        As `keep`.
    """
    owner, name = _owner(who), name_of(name)
    with _held(site, owner, name):
        record = found(site, who, name)
        table = record.table
        limits = site.settings.limits
        others = site.store.user_tables.beside(owner, name, most=limits.user_tables) + record.snapshot.rows
        given, rows = _read(site, name, path, like=table.columns)
        check_room("rows", others + rows.num_rows, limits.user_rows)
        more = _fitted(given, rows, table)

        def both() -> Iterator[pa.RecordBatch]:
            yield from site.engine.read(record.snapshot)
            yield from more.to_batches()

        return _store(site, table, both())


def index(
    site: Site,
    who: Reader,
    name: str,
    column: str,
    *,
    unique: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Table:
    """Index a column: conditions on it, joins and orders by it need not look at every row any more.

    Parameters
    ----------
    site
        Where it is kept.
    who
        Its owner.
    name
        As `name_of` takes it.
    column
        Its name, in double quotes or not.
    unique
        No value may come twice, now and whenever rows are added.
    stopped
        Asked from time to time whether to give up.

    Returns
    -------
    table
        With the index.

    Raises
    ------
    NotFound
        There is no such table.
    ParamError
        It has no such column, or none that has an order.
    SourceError
        A value comes twice and must not.
    """
    owner, name = _owner(who), name_of(name)
    with _held(site, owner, name):
        record = found(site, who, name)
        wanted = _column(record.table, column)
        change = wanted.having(indexed=True, unique=unique or wanted.unique)
        table = record.table.having(columns=tuple(change if item is wanted else item for item in record.table.columns))
        if not (change.type.is_string or change.type.is_timestamp or change.type.is_numeric):
            raise ParamError(
                say("the column {name!r:.80} cannot be indexed: it is {type}", change.name, change.type),
                remedy="a number, a text or a time",
            )

        def rows() -> Iterator[pa.RecordBatch]:
            for batch in site.engine.read(record.snapshot):
                if stopped():
                    raise Cancelled("the job was stopped")
                yield batch

        return _store(site, table, rows())


def drop(site: Site, who: Reader, name: str) -> None:
    """Delete a table.

    Parameters
    ----------
    site
        Where it is kept.
    who
        Its owner.
    name
        As `name_of` takes it.
    """
    owner, name = _owner(who), name_of(name)
    with _held(site, owner, name):
        site.store.user_tables.drop(owner, name)
    time.sleep(KNOWN)


def found(site: Site, who: Reader, name: str) -> Record:
    """Find one of the reader's tables.

    Parameters
    ----------
    site
        Where it is kept.
    who
        Its owner.
    name
        In any case, without the schema.

    Returns
    -------
    record
        What the store knows of it.

    Raises
    ------
    NotFound
        There is none of that name.
    """
    for record, _ in site.store.user_tables.of(_owner(who)):
        if record.table.name.lower() == name.lower():
            return record
    raise NotFound(say("you have no table {name!r:.120}", name))


def sweep(site: Site) -> int:
    """Delete the tables whose time is over, and the files that nobody can begin to read any more.

    Parameters
    ----------
    site
        Where they are kept.

    Returns
    -------
    count
        Of tables.
    """
    count, gone = site.store.user_tables.expire(site.store.times.believed())
    for snapshot in gone:
        site.engine.drop(snapshot)
    return count


def tidy(site: Site) -> None:
    """Delete what `sweep` does, and the files that killed writers left.

    Parameters
    ----------
    site
        Where they are kept.
    """
    sweep(site)
    try:
        with site.store.leases.held("files", what="tidying"):
            site.engine.sweep(site.store.known())
    except Conflict:
        return  # an ingest publishes at this moment, or sweeps itself


def _owner(who: Reader) -> str:
    if who.name is None:
        raise Unauthenticated(
            "only who has an account here can keep tables",
            remedy="send the header Authorization: Bearer TOKEN, or log in at /login",
        )
    return who.name


@contextmanager
def _held(site: Site, owner: str, name: str) -> Iterator[None]:
    """Lock a table for its change; whoever comes meanwhile is told at once."""
    with ExitStack() as stack:
        try:
            stack.enter_context(
                site.store.leases.held(f"table of {owner}: {name.lower()}", what=f"a change of {USER_SCHEMA}.{name}")
            )
        except Conflict:
            raise Conflict(
                say("{schema}.{name} is being changed by another request", USER_SCHEMA, name),
                remedy="try again when that is done",
            ) from None
        yield


def _read(site: Site, name: str, path: Path, like: Iterable[Column] = ()) -> tuple[Table, pa.Table]:
    wanted = [uploads.Pair(name=name, uri=f"param:{_BODY}")]
    found = uploads.read(wanted, {_BODY: path}, site.settings, like=like, rename=False)
    for deviations in found.deviations.values():
        if deviations:
            raise SourceError(
                say("the table cannot be kept as it is: {message}", str(deviations[0])),
                remedy="correct the values, or leave the column out",
            )
    (given,) = found.values()
    return given


def _position(table: Table) -> tuple[str, str] | None:
    """Find longitude and latitude: by UCD, or, where no column has one, by name; in degrees."""
    columns = table.columns
    if not any(column.ucd for column in columns):
        words = units.suggest_ucds([(column.name, column.unit, column.description) for column in columns])
        columns = tuple(column.having(ucd=word) for column, word in zip(columns, words, strict=True))
    pair = find_position(columns)
    if pair is None or any((table.column(name).unit or "deg").strip() != "deg" for name in pair):
        return None
    return pair


def _column(table: Table, given: str) -> Column:
    name = given.strip()
    quoted = len(name) > 1 and name[0] == name[-1] == '"'
    name = name[1:-1].replace('""', '"') if quoted else name
    for column in table.columns:
        if column.name == name or (not quoted and column.name.lower() == name.lower()):
            return column
    raise ParamError(
        say("{table} has no column {name!r:.80}", table.qualified, name),
        name="index",
        remedy=say("its columns: {names}", _names(table)),
    )


def _store(site: Site, table: Table, batches: Iterator[pa.RecordBatch]) -> Table:
    """Write a snapshot, and make it the table in one step."""
    limits = site.settings.limits
    sweep(site)
    staging = site.engine.stage(table, f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}")
    try:
        for batch in batches:
            staging.write(batch.select(table.arrow.names).cast(table.arrow))
        snapshot = staging.finish()
    except BaseException:
        staging.abandon()
        raise
    record = Record(snapshot=snapshot, table=table, collection=USER_SCHEMA, run=snapshot.id, created=now())
    until = datetime.now(UTC) + timedelta(days=limits.user_days)
    expires = until.isoformat(timespec="microseconds").replace("+00:00", "Z")
    try:
        _check_unique(site, table, snapshot)
        # a sweep must not look at the store before and at the files behind this
        with site.store.leases.held("files", what="a change of a user's table", wait=PUBLISHING):
            before = site.store.user_tables.put(
                record, expires, most=limits.user_tables, most_rows=limits.user_rows, most_bytes=limits.user_bytes
            )
            site.engine.published(snapshot)
    except BaseException:
        site.engine.drop(snapshot)
        raise
    time.sleep(KNOWN)
    for old in before:
        site.engine.drop(old)
    return table


def _check_unique(site: Site, table: Table, snapshot: Snapshot) -> None:
    for column in table.columns:
        if not column.unique:
            continue
        batches = list(site.engine.read(snapshot, [column.name]))
        values = pa.chunked_array([batch.column(0) for batch in batches], column.type.arrow).drop_null()
        if pc.count_distinct(values).as_py() != len(values):
            counts = pc.value_counts(values)
            twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
            examples = ", ".join(repr(value) for value in twice[:SHOWN].to_pylist())
            raise SourceError(
                say(
                    "column {name!r:.80}: values come more than once, and must not: {examples:.200}",
                    column.name,
                    examples,
                ),
                remedy="send each once, or index the column without unique",
            )


def _fitted(given: Table, rows: pa.Table, table: Table) -> pa.Table:
    """Cast rows to the columns and types of a table."""
    known = {column.name.lower(): column for column in table.columns}
    there = {column.name.lower(): column for column in given.columns}
    strange = [column.name for low, column in there.items() if low not in known]
    if strange:
        listed = ", ".join(repr(name)[:80] for name in strange[:SHOWN])
        listed = say("{shown} and {count} more", listed, len(strange) - SHOWN) if len(strange) > SHOWN else listed
        raise SourceError(
            say("{table} has no column {names}; nothing was added", table.qualified, listed),
            remedy=say("its columns: {names}", _names(table)),
        )
    columns = []
    for low, column in known.items():
        try:
            values = rows[there[low].name] if low in there else pa.nulls(rows.num_rows)
            columns.append(values.cast(column.type.arrow))
        except pa.ArrowException as error:
            raise SourceError(
                say(
                    "column {name!r:.80} is {type}, and in {table} it is {wanted}: {message}; nothing was added",
                    column.name,
                    there[low].type,
                    table.qualified,
                    column.type,
                    error,
                ),
                remedy=say("send {type}", column.type),
            ) from error
    return pa.Table.from_arrays(columns, schema=table.arrow)


def _names(table: Table) -> str:
    return f"{', '.join(column.name for column in table.columns):.300}"


__all__ = ["KNOWN", "append", "drop", "found", "index", "keep", "name_of", "sweep", "tidy"]
