"""Store, extend, index and delete the tables that users keep in the service.

Uploaded files become snapshots that belong to their owner, within a quota and for a limited time.
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
from hven.descriptor.api.column_names import find_position_columns
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
from hven.plugins.user_tables.table_records import UserTableRecordWriter, check_quota
from hven.query import uploads
from hven.site import USER_SCHEMA
from hven.site.store import SnapshotRecord, format_current_time
from hven.site.user_tables import delete_expired_user_tables

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


def parse_user_table_name(written_name: str) -> str:
    """Parse the name of a table in an address or a parameter; ``tap_user.t`` and ``t`` are the same.

    Parameters
    ----------
    written_name
        The name, with or without the schema.

    Returns
    -------
    name
        The name without the schema.

    Raises
    ------
    ParamError
        A table cannot have this name.
    """
    schema, dot, name = written_name.strip().rpartition(".")
    if dot and schema.lower() != USER_SCHEMA:
        raise ParamError(
            format_message("{given!r:.120} is not one of your tables", written_name),
            remedy=format_message(
                "write {schema}.{name:.64}; your tables are in the schema {schema}", USER_SCHEMA, name
            ),
        )
    if not _TABLE_NAME_PATTERN.fullmatch(name) or len(name) > MAX_TABLE_NAME_CHARACTERS:
        raise ParamError(
            format_message("{name!r:.120} cannot be the name of a table", name),
            remedy=format_message(
                "begin the name with a letter, and use only letters, digits and _ (at most {most} characters)",
                MAX_TABLE_NAME_CHARACTERS,
            ),
        )
    if name.upper() in RESERVED_WORDS:
        raise ParamError(
            format_message("{name!r} is a reserved word of ADQL", name),
            remedy=format_message("use another name, such as my_{name}", name.lower()),
        )
    return name


def store_user_table(
    site: Site, principal: Principal, name: str, path: Path, empty_table: Table | None = None
) -> Table:
    """Store the table of a file (VOTable, FITS, Parquet, Arrow, text) as ``tap_user.name``.

    Parameters
    ----------
    site
        The site that stores it.
    principal
        The owner of the table.
    name
        A name as `parse_user_table_name` takes it.
    path
        The file.
    empty_table
        A table without rows, which is stored instead of the file.

    Returns
    -------
    table
        The stored table.

    Raises
    ------
    UnauthenticatedError
        The user is not logged in.
    ParamError, SourceError, TooLargeError
        The name or the file is not valid, or a limit of uploads or the quota is exceeded.
    ConflictError
        Another request is writing the same table.
    """
    owner = require_account_name(principal)
    name = parse_user_table_name(name)
    with _lock_table(site, owner, name):
        limits = site.settings.limits
        writer = site.store.get_or_create(UserTableRecordWriter)
        other_row_count = writer.check_table_limit_and_sum_other_rows(owner, name, limits)
        if empty_table is not None:
            uploaded_table = empty_table
            rows = empty_table.arrow_schema.empty_table()
        else:
            uploaded_table, rows = _read_table_file(site, name, path)
        uploads.check_upload_columns(uploaded_table)
        check_quota("rows", other_row_count + rows.num_rows, limits.user_rows)
        table = uploaded_table.copy_with(
            schema=USER_SCHEMA,
            name=name,
            columns=tuple(column.copy_with(required=False) for column in uploaded_table.columns),
            position=_find_position_columns_in_degrees(uploaded_table),
            access="private",
            owner=owner,
            primary=(),
            keys=(),
        )
        batches = rows.cast(table.arrow_schema).to_batches()
        return _write_and_publish_user_table(site, table, iter(batches))


def append_user_table_rows(site: Site, principal: Principal, name: str, path: Path) -> Table:
    """Append the rows of a file to a table; columns are found by name, ignoring case.

    Columns that the file does not have become null.

    Parameters
    ----------
    site
        The site that stores it.
    principal
        The owner of the table.
    name
        A name as `parse_user_table_name` takes it.
    path
        The file.

    Returns
    -------
    table
        The stored table.

    Raises
    ------
    NotFoundError
        There is no such table.
    SourceError
        The file has columns that the table does not have, or values that do not fit. Nothing is added.
    TooLargeError, ConflictError
        As in `store_user_table`.
    """
    owner = require_account_name(principal)
    name = parse_user_table_name(name)
    with _lock_table(site, owner, name):
        record = find_user_table(site, principal, name)
        table = record.table
        limits = site.settings.limits
        writer = site.store.get_or_create(UserTableRecordWriter)
        other_row_count = writer.check_table_limit_and_sum_other_rows(owner, name, limits)
        stored_row_count = other_row_count + record.snapshot.rows
        uploaded_table, rows = _read_table_file(site, name, path, expected_columns=table.columns)
        check_quota("rows", stored_row_count + rows.num_rows, limits.user_rows)
        cast_rows = _cast_rows(uploaded_table, rows, table)

        def iterate_all_rows() -> Iterator[pa.RecordBatch]:
            yield from site.embedded_engine.read_rows(record.snapshot)
            yield from cast_rows.to_batches()

        return _write_and_publish_user_table(site, table, iterate_all_rows())


def index_user_table_column(
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
        The site that stores it.
    principal
        The owner of the table.
    name
        A name as `parse_user_table_name` takes it.
    column_name
        Name of the column, with or without double quotes.
    is_unique
        Whether values must be unique, now and when rows are added.
    is_cancelled
        Returns whether to give up; called for each batch.

    Returns
    -------
    table
        The table with the index.

    Raises
    ------
    NotFoundError
        There is no such table.
    ParamError
        The table has no such column, or values of the column have no order.
    SourceError
        Values must be unique, and are not.
    """
    owner = require_account_name(principal)
    name = parse_user_table_name(name)
    with _lock_table(site, owner, name):
        record = find_user_table(site, principal, name)
        target_column = _find_column(record.table, column_name)
        indexed_column = target_column.copy_with(indexed=True, unique=is_unique or target_column.unique)
        columns = [indexed_column if column is target_column else column for column in record.table.columns]
        table = record.table.copy_with(columns=tuple(columns))
        column_type = indexed_column.type
        if not (column_type.is_string or column_type.is_timestamp or column_type.is_numeric):
            message = format_message(
                "the column {name!r:.80} cannot be indexed, because its type is {type}",
                indexed_column.name,
                column_type,
            )
            raise ParamError(message, remedy="index a column of numbers, strings or times")

        def iterate_rows() -> Iterator[pa.RecordBatch]:
            for batch in site.embedded_engine.read_rows(record.snapshot):
                if is_cancelled():
                    raise OperationCancelledError("the job was stopped")
                yield batch

        return _write_and_publish_user_table(site, table, iterate_rows())


def delete_user_table(site: Site, principal: Principal, name: str) -> None:
    """Delete a table.

    Parameters
    ----------
    site
        The site that stores it.
    principal
        The owner of the table.
    name
        A name as `parse_user_table_name` takes it.
    """
    owner = require_account_name(principal)
    name = parse_user_table_name(name)
    with _lock_table(site, owner, name):
        site.store.get_or_create(UserTableRecordWriter).delete_table_record(owner, name)
    time.sleep(PROPAGATION_SECONDS)


def find_user_table(site: Site, principal: Principal, name: str) -> SnapshotRecord:
    """Find a table of a user.

    Parameters
    ----------
    site
        The site that stores it.
    principal
        The owner of the table.
    name
        Name without the schema; its case does not matter.

    Returns
    -------
    record
        The record of the store.

    Raises
    ------
    NotFoundError
        The user has no table of this name.
    """
    for record, _ in site.store.user_tables.list_unexpired_owner_tables(require_account_name(principal)):
        if record.table.name.lower() == name.lower():
            return record
    raise NotFoundError(format_message("you have no table {name!r:.120}", name))


def require_account_name(principal: Principal) -> str:
    """Return the name under which a user can keep tables.

    Parameters
    ----------
    principal
        The user.

    Returns
    -------
    owner
        Name of the account.

    Raises
    ------
    UnauthenticatedError
        The user is not logged in.
    """
    if principal.name is None:
        raise UnauthenticatedError(
            "only users with an account on this site can store tables",
            remedy="send the header Authorization: Bearer TOKEN, or log in at /login",
        )
    return principal.name


@contextmanager
def _lock_table(site: Site, owner: str, name: str) -> Iterator[None]:
    """Lock a table for a change.

    Raises
    ------
    ConflictError
        Another request is changing it.
    """
    lease_name = f"table of {owner}: {name.lower()}"
    lease = site.store.leases.hold_lease(lease_name, description=f"a change of {USER_SCHEMA}.{name}")
    with ExitStack() as stack:
        try:
            stack.enter_context(lease)
        except ConflictError:
            raise ConflictError(
                format_message("{schema}.{name} is being changed by another request", USER_SCHEMA, name),
                remedy="try again when that request is finished",
            ) from None
        yield


def _read_table_file(
    site: Site, name: str, path: Path, expected_columns: Iterable[Column] = ()
) -> tuple[Table, pa.Table]:
    references = [uploads.UploadReference(name=name, uri=f"param:{_BODY_PART}")]
    uploaded_tables = uploads.read_uploads(
        references, {_BODY_PART: path}, site.settings, expected_columns=expected_columns, renames_duplicates=False
    )
    for deviations in uploaded_tables.deviations.values():
        if deviations:
            raise SourceError(
                format_message("storing the table would change its values: {message}", str(deviations[0])),
                remedy="correct the values, or leave out the column",
            )
    (uploaded_table,) = uploaded_tables.values()
    return uploaded_table


def _find_position_columns_in_degrees(table: Table) -> tuple[str, str] | None:
    """Find longitude and latitude in degrees: by UCD, or by name if no column has a UCD."""
    columns = table.columns
    if not any(column.ucd for column in columns):
        ucds = units.suggest_ucds([(column.name, column.unit, column.description) for column in columns])
        columns = tuple(column.copy_with(ucd=ucd) for column, ucd in zip(columns, ucds, strict=True))
    position_columns = find_position_columns(columns)
    if position_columns is None:
        return None
    for name in position_columns:
        unit = table.find_column(name).unit or "deg"
        if unit.strip() != "deg":
            return None
    return position_columns


def _find_column(table: Table, written_name: str) -> Column:
    name = written_name.strip()
    is_quoted = len(name) > 1 and name[0] == name[-1] == '"'
    if is_quoted:
        name = name[1:-1].replace('""', '"')
    for column in table.columns:
        if column.name == name:
            return column
        if not is_quoted and column.name.lower() == name.lower():
            return column
    raise ParamError(
        format_message("{table} has no column {name!r:.80}", table.qualified_name, name),
        name="index",
        remedy=format_message("use one of its columns: {names}", _format_column_names(table)),
    )


def _write_and_publish_user_table(site: Site, table: Table, batches: Iterator[pa.RecordBatch]) -> Table:
    """Write a snapshot, and make it the table in one step."""
    limits = site.settings.limits
    delete_expired_user_tables(site)
    snapshot_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
    staging = site.embedded_engine.stage_snapshot(table, snapshot_id)
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
    expiry_text = expiry_time.isoformat(timespec="microseconds").replace("+00:00", "Z")
    try:
        _check_unique_columns(site, table, snapshot)
        # A deletion of leftover files must not read the store before this change, and list the files after it.
        with site.store.leases.hold_lease(
            "files", description="a change of a user's table", wait_seconds=LEASE_TIMEOUT_SECONDS
        ):
            replaced_snapshots = site.store.get_or_create(UserTableRecordWriter).check_quotas_and_replace_table_record(
                record, expiry_text, limits
            )
            site.embedded_engine.note_published_snapshot(snapshot)
    except BaseException:
        site.embedded_engine.remove_snapshot(snapshot)
        raise
    time.sleep(PROPAGATION_SECONDS)
    for replaced_snapshot in replaced_snapshots:
        site.embedded_engine.remove_snapshot(replaced_snapshot)
    return table


def _check_unique_columns(site: Site, table: Table, snapshot: Snapshot) -> None:
    for column in table.columns:
        if not column.unique:
            continue
        batches = site.embedded_engine.read_rows(snapshot, [column.name])
        chunks = [batch.column(0) for batch in batches]
        values = pa.chunked_array(chunks, column.type.arrow).drop_null()
        if pc.count_distinct(values).as_py() == len(values):
            continue
        counts = pc.value_counts(values)
        is_repeated = pc.greater(counts.field("counts"), 1)
        repeated_values = counts.field("values").filter(is_repeated)
        examples = ", ".join(repr(value) for value in repeated_values[:MAX_SHOWN_NAMES].to_pylist())
        raise SourceError(
            format_message(
                "column {name!r:.80} must have unique values, but some are repeated: {examples:.200}",
                column.name,
                examples,
            ),
            remedy="send each value once, or index the column without UNIQUE=true",
        )


def _cast_rows(uploaded_table: Table, rows: pa.Table, table: Table) -> pa.Table:
    """Cast rows to the columns and types of a table.

    Raises
    ------
    SourceError
        There are columns that the table does not have, or values that do not fit.
    """
    columns_by_name = {column.name.lower(): column for column in table.columns}
    uploaded_by_name = {column.name.lower(): column for column in uploaded_table.columns}
    unknown_names = [column.name for key, column in uploaded_by_name.items() if key not in columns_by_name]
    if unknown_names:
        raise _build_unknown_columns_error(table, unknown_names)
    columns = []
    for key, column in columns_by_name.items():
        uploaded_column = uploaded_by_name.get(key)
        if uploaded_column is None:
            columns.append(pa.nulls(rows.num_rows).cast(column.type.arrow))
            continue
        try:
            columns.append(rows[uploaded_column.name].cast(column.type.arrow))
        except pa.ArrowException as error:
            message = format_message(
                "column {name!r:.80} has the type {type}, but in {table} its type is {wanted}: {message}; "
                "nothing was added",
                column.name,
                uploaded_column.type,
                table.qualified_name,
                column.type,
                error,
            )
            raise SourceError(message, remedy=format_message("send {type}", column.type)) from error
    return pa.Table.from_arrays(columns, schema=table.arrow_schema)


def _build_unknown_columns_error(table: Table, unknown_names: list[str]) -> SourceError:
    name_list = ", ".join(repr(name)[:80] for name in unknown_names[:MAX_SHOWN_NAMES])
    if len(unknown_names) > MAX_SHOWN_NAMES:
        name_list = format_message("{shown} and {count} more", name_list, len(unknown_names) - MAX_SHOWN_NAMES)
    return SourceError(
        format_message(
            "these columns do not exist in {table}: {names}; nothing was added", table.qualified_name, name_list
        ),
        remedy=format_message("use one of its columns: {names}", _format_column_names(table)),
    )


def _format_column_names(table: Table) -> str:
    return f"{', '.join(column.name for column in table.columns):.300}"
