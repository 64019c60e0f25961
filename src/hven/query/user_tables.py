"""Tables that users store in the service.

Files become snapshots that belong to their owner, within a quota and for a limited time.
"""

from __future__ import annotations

import re
import secrets
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.reserved_words import RESERVED_WORDS
from hven.descriptor.tables import find_position_columns
from hven.model import units
from hven.model.errors import (
    ConflictError,
    NotFoundError,
    OperationCancelledError,
    ParamError,
    SourceError,
    UnauthenticatedError,
    format_message,
)
from hven.query import uploads
from hven.site import USER_SCHEMA
from hven.site.store import SnapshotRecord, check_quota, format_current_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from hven.engines import Snapshot
    from hven.model.table import Column, Table
    from hven.site import Site
    from hven.site.auth import Principal

PROPAGATION_SECONDS = 0.3  # after this time every process has seen a change, so that the next request can rely on it
LEASE_TIMEOUT_SECONDS = 30.0  # time to wait for an ingest or a sweep that uses the files
MAX_TABLE_NAME_CHARACTERS = 64
MAX_SHOWN_NAMES = 5
_BODY_PART = "body"
_TABLE_NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def parse_table_name(written_name: str) -> str:
    """Parse the name of a table in an address or a parameter; ``tap_user.t`` and ``t`` are the same.

    Parameters
    ----------
    written_name
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
    schema, dot, name = written_name.strip().rpartition(".")
    if dot and schema.lower() != USER_SCHEMA:
        raise ParamError(
            format_message("{given!r:.120} is no table of yours", written_name),
            remedy=format_message("your tables are in {schema}: {schema}.{name:.64}", USER_SCHEMA, name),
        )
    if not _TABLE_NAME_PATTERN.fullmatch(name) or len(name) > MAX_TABLE_NAME_CHARACTERS:
        raise ParamError(
            format_message("{name!r:.120} cannot be the name of a table", name),
            remedy=format_message(
                "a letter, then letters, digits and _; {most} characters at most", MAX_TABLE_NAME_CHARACTERS
            ),
        )
    if name.upper() in RESERVED_WORDS:
        raise ParamError(
            format_message("{name!r} is a reserved word of ADQL", name),
            remedy=format_message("another name, such as my_{name}", name.lower()),
        )
    return name


def store_table(site: Site, principal: Principal, name: str, path: Path, empty_table: Table | None = None) -> Table:
    """Store the table of a file (VOTable, FITS, Parquet, Arrow, text) as ``tap_user.name``.

    Parameters
    ----------
    site
        Where it is kept.
    principal
        Its owner.
    name
        As `parse_table_name` takes it.
    path
        Of the file.
    empty_table
        A table without rows, instead of what is in the file.

    Returns
    -------
    table
        As it is kept.

    Raises
    ------
    UnauthenticatedError
        Nobody is logged in.
    ParamError, SourceError, TooLargeError
        The name, the file; the limits of uploads, the quota.
    ConflictError
        Somebody else is writing the same table.
    """
    owner = _require_owner(principal)
    name = parse_table_name(name)
    with _lock_table(site, owner, name):
        limits = site.settings.limits
        other_row_count = site.store.user_tables.count_other_rows(owner, name, table_limit=limits.user_tables)
        if empty_table is not None:
            table, rows = (empty_table, empty_table.arrow_schema.empty_table())
        else:
            table, rows = _read_file(site, name, path)
        uploads.check_columns(table)
        check_quota("rows", other_row_count + rows.num_rows, limits.user_rows)
        columns = tuple(column.copy_with(required=False) for column in table.columns)
        table = table.copy_with(
            schema=USER_SCHEMA,
            name=name,
            columns=columns,
            position=_find_position_columns(table),
            access="private",
            owner=owner,
            primary=(),
            keys=(),
        )
        return _publish_table(site, table, iter(rows.cast(table.arrow_schema).to_batches()))


def append_rows(site: Site, principal: Principal, name: str, path: Path) -> Table:
    """Append the rows of a file to a table; columns are found by name, ignoring case.

    Columns that the file does not have become null.

    Parameters
    ----------
    site
        Where it is kept.
    principal
        Its owner.
    name
        As `parse_table_name` takes it.
    path
        Of the file.

    Returns
    -------
    table
        As it is kept.

    Raises
    ------
    NotFoundError
        There is no such table.
    SourceError
        Columns that the table does not have, or values that do not fit; nothing was added.
    TooLargeError, ConflictError
        As `store_table`.
    """
    owner = _require_owner(principal)
    name = parse_table_name(name)
    with _lock_table(site, owner, name):
        record = find_table(site, principal, name)
        table = record.table
        limits = site.settings.limits
        other_row_count = (
            site.store.user_tables.count_other_rows(owner, name, table_limit=limits.user_tables) + record.snapshot.rows
        )
        uploaded_table, rows = _read_file(site, name, path, expected_columns=table.columns)
        check_quota("rows", other_row_count + rows.num_rows, limits.user_rows)
        cast_rows = _cast_rows(uploaded_table, rows, table)

        def iterate_all_rows() -> Iterator[pa.RecordBatch]:
            yield from site.embedded_engine.read_rows(record.snapshot)
            yield from cast_rows.to_batches()

        return _publish_table(site, table, iterate_all_rows())


def index_column(
    site: Site,
    principal: Principal,
    name: str,
    column_name: str,
    *,
    is_unique: bool = False,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Table:
    """Index a column, so that conditions, joins and orders by it do not read every row.

    Parameters
    ----------
    site
        Where it is kept.
    principal
        Its owner.
    name
        As `parse_table_name` takes it.
    column_name
        Its name, in double quotes or not.
    is_unique
        No value may come twice, now and whenever rows are added.
    is_cancelled
        Asked from time to time whether to give up.

    Returns
    -------
    table
        With the index.

    Raises
    ------
    NotFoundError
        There is no such table.
    ParamError
        It has no such column, or none that has an order.
    SourceError
        A value comes twice and must not.
    """
    owner = _require_owner(principal)
    name = parse_table_name(name)
    with _lock_table(site, owner, name):
        record = find_table(site, principal, name)
        target_column = _find_column(record.table, column_name)
        indexed_column = target_column.copy_with(indexed=True, unique=is_unique or target_column.unique)
        table = record.table.copy_with(
            columns=tuple(indexed_column if item is target_column else item for item in record.table.columns)
        )
        if not (indexed_column.type.is_string or indexed_column.type.is_timestamp or indexed_column.type.is_numeric):
            raise ParamError(
                format_message(
                    "the column {name!r:.80} cannot be indexed: it is {type}", indexed_column.name, indexed_column.type
                ),
                remedy="a number, a text or a time",
            )

        def iterate_rows() -> Iterator[pa.RecordBatch]:
            for batch in site.embedded_engine.read_rows(record.snapshot):
                if is_cancelled():
                    raise OperationCancelledError("the job was stopped")
                yield batch

        return _publish_table(site, table, iterate_rows())


def delete_table(site: Site, principal: Principal, name: str) -> None:
    """Delete a table.

    Parameters
    ----------
    site
        Where it is kept.
    principal
        Its owner.
    name
        As `parse_table_name` takes it.
    """
    owner = _require_owner(principal)
    name = parse_table_name(name)
    with _lock_table(site, owner, name):
        site.store.user_tables.delete_table(owner, name)
    time.sleep(PROPAGATION_SECONDS)


def find_table(site: Site, principal: Principal, name: str) -> SnapshotRecord:
    """Find a table of the user.

    Parameters
    ----------
    site
        Where it is kept.
    principal
        Its owner.
    name
        In any case, without the schema.

    Returns
    -------
    record
        What the store knows of it.

    Raises
    ------
    NotFoundError
        There is none of that name.
    """
    for record, _ in site.store.user_tables.list_owner_tables(_require_owner(principal)):
        if record.table.name.lower() == name.lower():
            return record
    raise NotFoundError(format_message("you have no table {name!r:.120}", name))


def delete_expired_tables(site: Site) -> int:
    """Delete the tables whose time is over, and files that no query can start to read any more.

    Parameters
    ----------
    site
        Where they are kept.

    Returns
    -------
    count
        Of tables.
    """
    count, expired_snapshots = site.store.user_tables.delete_expired(site.store.deletion_clock.get_trusted_time())
    for snapshot in expired_snapshots:
        site.embedded_engine.remove_snapshot(snapshot)
    return count


def delete_leftover_files(site: Site) -> None:
    """Delete expired tables, and the files that killed writers left.

    Parameters
    ----------
    site
        Where they are kept.
    """
    delete_expired_tables(site)
    try:
        with site.store.leases.hold_lease("files", description="tidying"):
            site.embedded_engine.remove_leftovers(site.store.list_known_paths())
    except ConflictError:
        return  # an ingest publishes at this moment, or sweeps itself


def _require_owner(principal: Principal) -> str:
    if principal.name is None:
        raise UnauthenticatedError(
            "only who has an account here can keep tables",
            remedy="send the header Authorization: Bearer TOKEN, or log in at /login",
        )
    return principal.name


@contextmanager
def _lock_table(site: Site, owner: str, name: str) -> Iterator[None]:
    """Lock a table for its change; whoever comes meanwhile is told at once."""
    with ExitStack() as stack:
        try:
            stack.enter_context(
                site.store.leases.hold_lease(
                    f"table of {owner}: {name.lower()}", description=f"a change of {USER_SCHEMA}.{name}"
                )
            )
        except ConflictError:
            raise ConflictError(
                format_message("{schema}.{name} is being changed by another request", USER_SCHEMA, name),
                remedy="try again when that is done",
            ) from None
        yield


def _read_file(site: Site, name: str, path: Path, expected_columns: Iterable[Column] = ()) -> tuple[Table, pa.Table]:
    references = [uploads.UploadReference(name=name, uri=f"param:{_BODY_PART}")]
    uploaded_tables = uploads.read_uploads(
        references, {_BODY_PART: path}, site.settings, expected_columns=expected_columns, renames_duplicates=False
    )
    for deviations in uploaded_tables.deviations.values():
        if deviations:
            raise SourceError(
                format_message("the table cannot be kept as it is: {message}", str(deviations[0])),
                remedy="correct the values, or leave the column out",
            )
    (uploaded_table,) = uploaded_tables.values()
    return uploaded_table


def _find_position_columns(table: Table) -> tuple[str, str] | None:
    """Find longitude and latitude: by UCD, or, where no column has one, by name; in degrees."""
    columns = table.columns
    if not any(column.ucd for column in columns):
        words = units.suggest_ucds([(column.name, column.unit, column.description) for column in columns])
        columns = tuple(column.copy_with(ucd=word) for column, word in zip(columns, words, strict=True))
    pair = find_position_columns(columns)
    if pair is None or any((table.find_column(name).unit or "deg").strip() != "deg" for name in pair):
        return None
    return pair


def _find_column(table: Table, written_name: str) -> Column:
    name = written_name.strip()
    quoted = len(name) > 1 and name[0] == name[-1] == '"'
    if quoted:
        name = name[1:-1].replace('""', '"')
    for column in table.columns:
        if column.name == name or (not quoted and column.name.lower() == name.lower()):
            return column
    raise ParamError(
        format_message("{table} has no column {name!r:.80}", table.qualified_name, name),
        name="index",
        remedy=format_message("its columns: {names}", _format_column_names(table)),
    )


def _publish_table(site: Site, table: Table, batches: Iterator[pa.RecordBatch]) -> Table:
    """Write a snapshot, and make it the table in one step."""
    limits = site.settings.limits
    delete_expired_tables(site)
    staging = site.embedded_engine.stage_snapshot(table, f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}")
    try:
        for batch in batches:
            staging.write(batch.select(table.arrow_schema.names).cast(table.arrow_schema))
        snapshot = staging.finish()
    except BaseException:
        staging.abandon()
        raise
    record = SnapshotRecord(
        snapshot=snapshot, table=table, collection=USER_SCHEMA, run=snapshot.id, created=format_current_time()
    )
    expiry_time = datetime.now(UTC) + timedelta(days=limits.user_days)
    expires = expiry_time.isoformat(timespec="microseconds").replace("+00:00", "Z")
    try:
        _check_unique(site, table, snapshot)
        # a sweep must not look at the store before and at the files behind this
        with site.store.leases.hold_lease(
            "files", description="a change of a user's table", wait_seconds=LEASE_TIMEOUT_SECONDS
        ):
            replaced_snapshots = site.store.user_tables.save_table(
                record,
                expires,
                table_limit=limits.user_tables,
                row_limit=limits.user_rows,
                byte_limit=limits.user_bytes,
            )
            site.embedded_engine.note_published(snapshot)
    except BaseException:
        site.embedded_engine.remove_snapshot(snapshot)
        raise
    time.sleep(PROPAGATION_SECONDS)
    for replaced_snapshot in replaced_snapshots:
        site.embedded_engine.remove_snapshot(replaced_snapshot)
    return table


def _check_unique(site: Site, table: Table, snapshot: Snapshot) -> None:
    for column in table.columns:
        if not column.unique:
            continue
        rows = site.embedded_engine.read_rows(snapshot, [column.name])
        batches = list(rows)
        values = pa.chunked_array([batch.column(0) for batch in batches], column.type.arrow).drop_null()
        if pc.count_distinct(values).as_py() != len(values):
            counts = pc.value_counts(values)
            duplicate_values = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
            examples = ", ".join(repr(value) for value in duplicate_values[:MAX_SHOWN_NAMES].to_pylist())
            raise SourceError(
                format_message(
                    "column {name!r:.80}: values come more than once, and must not: {examples:.200}",
                    column.name,
                    examples,
                ),
                remedy="send each once, or index the column without unique",
            )


def _cast_rows(uploaded_table: Table, rows: pa.Table, table: Table) -> pa.Table:
    """Cast rows to the columns and types of a table."""
    columns_by_name = {column.name.lower(): column for column in table.columns}
    uploaded_by_name = {column.name.lower(): column for column in uploaded_table.columns}
    unknown_names = [
        column.name for lower_name, column in uploaded_by_name.items() if lower_name not in columns_by_name
    ]
    if unknown_names:
        name_list = ", ".join(repr(name)[:80] for name in unknown_names[:MAX_SHOWN_NAMES])
        if len(unknown_names) > MAX_SHOWN_NAMES:
            name_list = format_message("{shown} and {count} more", name_list, len(unknown_names) - MAX_SHOWN_NAMES)
        raise SourceError(
            format_message("{table} has no column {names}; nothing was added", table.qualified_name, name_list),
            remedy=format_message("its columns: {names}", _format_column_names(table)),
        )
    columns = []
    for lower_name, column in columns_by_name.items():
        try:
            if lower_name in uploaded_by_name:
                values = rows[uploaded_by_name[lower_name].name]
            else:
                values = pa.nulls(rows.num_rows)
            columns.append(values.cast(column.type.arrow))
        except pa.ArrowException as error:
            raise SourceError(
                format_message(
                    "column {name!r:.80} is {type}, and in {table} it is {wanted}: {message}; nothing was added",
                    column.name,
                    uploaded_by_name[lower_name].type,
                    table.qualified_name,
                    column.type,
                    error,
                ),
                remedy=format_message("send {type}", column.type),
            ) from error
    return pa.Table.from_arrays(columns, schema=table.arrow_schema)


def _format_column_names(table: Table) -> str:
    return f"{', '.join(column.name for column in table.columns):.300}"


__all__ = [
    "PROPAGATION_SECONDS",
    "append_rows",
    "delete_expired_tables",
    "delete_leftover_files",
    "delete_table",
    "find_table",
    "index_column",
    "parse_table_name",
    "store_table",
]
