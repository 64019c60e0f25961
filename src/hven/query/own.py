"""Tables that readers keep in the service: files -> snapshots that belong to their owner, within a quota and for a time."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.errors import NotFound, ParamError, SourceError, Unauthenticated
from hven.holdings import USER_SCHEMA
from hven.query import uploads
from hven.store import Record
from hven.store.database import now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hven.auth import Reader
    from hven.holdings import Site
    from hven.model.table import Table

KNOWN = 0.3  # seconds after which every process has seen a change: then the next request can rely on it, and old files may go
_BODY = "body"
_ROWS = 65_536


def name_of(given: str) -> str:
    """Take the schema off a table's name: ``tap_user.t`` and ``t`` are one."""
    schema, dot, name = given.rpartition(".")
    if dot and schema.lower() != USER_SCHEMA:
        raise ParamError(f"{given!r:.120} is no table of yours", remedy=f"your tables are in {USER_SCHEMA}: {USER_SCHEMA}.{name:.80}")
    return name


def keep(site: Site, who: Reader, name: str, path: Path, described: Table | None = None) -> Table:
    """Keep the table in a file (VOTable, FITS, Parquet, Arrow, text) as ``tap_user.name``.

    Parameters
    ----------
    described
        A table without rows, instead of what is in the file.

    Raises
    ------
    Unauthenticated
        Nobody is logged in.
    ParamError, SourceError, TooLarge
        The name, the file; the limits of uploads, the quota.
    Conflict
        Somebody else is writing the same table.
    """
    owner = _owner(who)
    with _held(site, owner, name):
        table, rows = (described, described.arrow.empty_table()) if described is not None else _read(site, name, path)
        uploads.pairs([f"{name},param:{_BODY}"])  # checks the name
        uploads.check_columns(table)
        return _store(site, table.having(schema=USER_SCHEMA, name=name, access="private", owner=owner), iter(rows.to_batches()))


def append(site: Site, who: Reader, name: str, path: Path) -> Table:
    """Add the rows of a file to a table: columns are found by name, without case; those that the file lacks become null.

    Raises
    ------
    NotFound
        There is no such table.
    SourceError
        A column that the table does not have, or values that do not fit.
    """
    owner = _owner(who)
    with _held(site, owner, name):
        record = found(site, who, name)
        table = record.table
        _, rows = _read(site, name, path)
        more = _fitted(rows, table)

        def both() -> Iterator[pa.RecordBatch]:
            yield from site.engine.read(record.snapshot)
            yield from more.to_batches(_ROWS)

        return _store(site, table, both())


def drop(site: Site, who: Reader, name: str) -> None:
    """Delete a table."""
    owner = _owner(who)
    with _held(site, owner, name):
        before = site.store.user_tables.drop(owner, name)
        time.sleep(KNOWN)
        site.engine.drop(before)


def found(site: Site, who: Reader, name: str) -> Record:
    """Find one of the reader's tables.

    Raises
    ------
    NotFound
        There is none of that name.
    """
    for record, _ in site.store.user_tables.of(_owner(who)):
        if record.table.name.lower() == name.lower():
            return record
    raise NotFound(f"you have no table {name!r:.120}")


def sweep(site: Site) -> int:
    """Drop the tables whose time is over; give how many."""
    gone = site.store.user_tables.expire()
    for snapshot in gone:
        site.engine.drop(snapshot)
    return len(gone)


def _owner(who: Reader) -> str:
    if who.name is None:
        raise Unauthenticated("only who has an account here can keep tables", remedy="send the header Authorization: Bearer TOKEN")
    return who.name


def _held(site: Site, owner: str, name: str) -> Any:
    return site.store.leases.held(f"table of {owner}: {name.lower()}", what=f"a change of {USER_SCHEMA}.{name}")


def _read(site: Site, name: str, path: Path) -> tuple[Table, pa.Table]:
    (found,) = uploads.read(uploads.pairs([f"{name},param:{_BODY}"]), {_BODY: path}, site.settings).values()
    return found


def _store(site: Site, table: Table, batches: Iterator[pa.RecordBatch]) -> Table:
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
        before = site.store.user_tables.put(record, expires, most=limits.user_tables, most_bytes=limits.user_bytes)
    except BaseException:
        site.engine.drop(snapshot)
        raise
    finally:
        site.engine.published(snapshot)
    time.sleep(KNOWN)
    if before is not None:
        site.engine.drop(before)
    return table


def _fitted(rows: pa.Table, table: Table) -> pa.Table:
    known = {column.name.lower(): column for column in table.columns}
    given = {name.lower(): name for name in rows.column_names}
    strange = [name for low, name in given.items() if low not in known]
    if strange:
        raise SourceError(f"the table has no column {strange[0]!r:.80}", remedy=f"its columns: {', '.join(list(known))[:200]}")
    columns = []
    for low, column in known.items():
        try:
            values = rows[given[low]] if low in given else pa.nulls(rows.num_rows)
            columns.append(values.cast(column.type.arrow))
        except pa.ArrowException as error:
            raise SourceError(f"column {column.name!r:.80}: {error}", remedy=f"the table keeps {column.type}") from error
    return pa.Table.from_arrays(columns, schema=table.arrow)


__all__ = ["KNOWN", "append", "drop", "found", "keep", "name_of", "sweep"]
