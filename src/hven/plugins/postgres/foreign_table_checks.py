"""Checks of foreign tables.

They compare the columns of both sides, check the privileges, measure the speed, and find out which conditions
PostgreSQL sends to the other database.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from hven.model.errors import HvenError
from hven.plugins.postgres.engine import error_translation
from hven.plugins.postgres.engine.schema_installation import quote_identifier
from hven.plugins.postgres.foreign_tables import (
    build_foreign_server_options,
    connect_database,
    list_shippable_extensions,
    read_local_columns,
    read_remote_columns,
    write_missing_tables_remedy,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.plugins.postgres.foreign_tables import ForeignTableSpec

SAMPLE_ROWS = 10_000  # rows that are read to measure the speed
_TYPE_CONSTANTS = {
    "double precision": "1.5",
    "real": "1.5",
    "numeric": "1.5",
    "integer": "3",
    "bigint": "3",
    "smallint": "3",
    "text": "'x'",
    "character varying": "'x'",
    "timestamp without time zone": "'2000-01-01'",
    "timestamp with time zone": "'2000-01-01Z'",
    "date": "'2000-01-01'",
    "boolean": "true",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignSetupFinding:
    """A result of a check.

    `about` names what was checked; `level` is ``ok``, ``warning`` or ``error``.
    """

    about: str
    level: str
    message: str
    remedy: str = ""


def collect_foreign_setup_findings(
    target: ForeignTableSpec, url: str, server_name: str, *, role: str | None = None
) -> list[ForeignSetupFinding]:
    """Check everything; a side that cannot be reached is a finding, too."""
    about = target.name
    try:
        local = connect_database(url, server_name)
    except HvenError as error:
        return [_build_error_finding(about, error)]
    with local:
        try:
            remote = connect_database(target.url, target.database_label, foreign_name=about)
        except HvenError as error:
            return [_build_error_finding(about, error), *_check_foreign_server(local, target, None)]
        with remote:
            common_extensions = list_shippable_extensions(local, remote, target)
            findings = list(_check_foreign_server(local, target, common_extensions))
            findings += _check_foreign_tables(local, remote, target, role)
    return findings


def _build_error_finding(about: str, error: HvenError) -> ForeignSetupFinding:
    return ForeignSetupFinding(about=about, level="error", message=error.message, remedy=error.remedy or "")


def _check_foreign_server(
    local_connection: Any, target: ForeignTableSpec, extensions: Sequence[str] | None
) -> Iterator[ForeignSetupFinding]:
    """Check the options of the foreign server, and its user mappings."""
    row = local_connection.execute(
        "SELECT srvoptions FROM pg_foreign_server WHERE srvname = $1", [target.name]
    ).fetchone()
    if row is None:
        remedy = (
            f"run `hven fdw {target.name} --apply`, or have an administrator run the statements that "
            f"`hven fdw {target.name}` prints"
        )
        yield ForeignSetupFinding(
            about=target.name, level="error", message="the foreign server is not set up", remedy=remedy
        )
        return
    server_options = dict(item.split("=", 1) for item in row[0] or ())
    for name, wanted_value in build_foreign_server_options(target, extensions or ()).items():
        current_value = server_options.get(name)
        if current_value == wanted_value:
            continue
        if name == "extensions" and set(wanted_value.split(",")) <= set((current_value or "").split(",")):
            continue
        option_verb = "ADD" if current_value is None else "SET"
        level = "error" if name in target.server_options else "warning"
        shown_value = "not set" if current_value is None else current_value
        server = quote_identifier(target.name)
        yield ForeignSetupFinding(
            about=target.name,
            level=level,
            message=f"the option {name} is {shown_value}, but should be {wanted_value}",
            remedy=f"run `ALTER SERVER {server} OPTIONS ({option_verb} {name} '{wanted_value}')`",
        )
    yield from _check_user_mappings(local_connection, target)


def _check_user_mappings(local_connection: Any, target: ForeignTableSpec) -> Iterator[ForeignSetupFinding]:
    mapping_rows = local_connection.execute(
        "SELECT usename FROM pg_user_mappings WHERE srvname = $1", [target.name]
    ).fetchall()
    mapped_roles = {row[0] for row in mapping_rows}
    if "public" in mapped_roles:
        return
    for role in target.roles:
        if role not in mapped_roles:
            yield ForeignSetupFinding(
                about=target.name,
                level="error",
                message=f"the role {role} has no user mapping",
                remedy=f"run `hven fdw {target.name} --apply`, or `CREATE USER MAPPING FOR {quote_identifier(role)} "
                f"SERVER {quote_identifier(target.name)} OPTIONS (user .., password ..)`",
            )


def _check_foreign_tables(
    local_connection: Any, remote_connection: Any, target: ForeignTableSpec, role: str | None
) -> Iterator[ForeignSetupFinding]:
    remote_columns = read_remote_columns(remote_connection, target)
    local_columns = read_local_columns(local_connection, target)
    for name in target.tables:
        about = f"{target.local_schema}.{name}"
        if name not in remote_columns:
            message = f"{target.remote_schema}.{name} does not exist {target.database_label}"
            yield ForeignSetupFinding(
                about=about, level="error", message=message, remedy=write_missing_tables_remedy(target, [name])
            )
            continue
        can_select, privilege_findings = _check_privileges(remote_connection, target, name)
        yield from privilege_findings
        if name not in local_columns:
            yield ForeignSetupFinding(
                about=about,
                level="error",
                message="the foreign table does not exist",
                remedy=f"run `hven fdw {target.name} --apply`",
            )
            continue
        yield from _compare_columns(about, remote_columns[name], local_columns[name], target)
        if can_select:
            yield from _check_read_performance(local_connection, target, name, local_columns[name], role=role)


def _check_privileges(
    remote_connection: Any, target: ForeignTableSpec, table_name: str
) -> tuple[bool, list[ForeignSetupFinding]]:
    """Check what the user of the other database may do with a table; return whether it may read it."""
    about = f"{target.local_schema}.{table_name}"
    remote_table = f"{quote_identifier(target.remote_schema)}.{quote_identifier(table_name)}"
    user_name = target.user_name or "its user"
    findings = []
    can_select = can_write = False
    try:
        can_select, can_write = remote_connection.execute(
            "SELECT has_table_privilege($1::regclass, 'SELECT'), has_table_privilege($1::regclass, "
            "'INSERT, UPDATE, DELETE')",
            [remote_table],
        ).fetchone()
    except psycopg.Error as error:
        message = error_translation.extract_error_message(error)
        remedy = f"in the other database, grant USAGE on the schema {target.remote_schema} to {user_name}"
        findings.append(ForeignSetupFinding(about=about, level="error", message=message, remedy=remedy))
    if not can_select:
        message = f"{user_name} is not allowed to read the table {target.database_label}"
        remedy = f"in that database, run `GRANT SELECT ON {remote_table} TO ROLE` with the role in the url"
        if target.user_name:
            remedy = f"in that database, run `GRANT SELECT ON {remote_table} TO {quote_identifier(target.user_name)}`"
        findings.append(ForeignSetupFinding(about=about, level="error", message=message, remedy=remedy))
    elif can_write:
        message = f"{user_name} is allowed to write to the table {target.database_label}"
        remedy = "in the user mapping, use a role that has only the privilege SELECT on the table"
        findings.append(ForeignSetupFinding(about=about, level="warning", message=message, remedy=remedy))
    return can_select, findings


def _compare_columns(
    about: str, remote_columns: list[tuple[str, str]], local_columns: list[tuple[str, str]], target: ForeignTableSpec
) -> Iterator[ForeignSetupFinding]:
    local_types = dict(local_columns)
    remote_types = dict(remote_columns)
    table_parts = about.split(".", 1)
    table = f"{quote_identifier(table_parts[0])}.{quote_identifier(table_parts[1])}"
    for name, column_type in local_columns:
        if name not in remote_types:
            yield ForeignSetupFinding(
                about=about,
                level="error",
                message=f"the column {name} no longer exists on the remote server, so queries on this column fail",
                remedy=f"run `hven fdw {target.name} --apply`, or `ALTER FOREIGN TABLE {table} DROP COLUMN "
                f"{quote_identifier(name)}`",
            )
        elif remote_types[name] != column_type:
            yield ForeignSetupFinding(
                about=about,
                level="error",
                message=f"the column {name} has the type {remote_types[name]} on the remote server, but {column_type} "
                "here",
                remedy=f"run `hven fdw {target.name} --apply`, or `ALTER FOREIGN TABLE {table} ALTER COLUMN "
                f"{quote_identifier(name)} TYPE {remote_types[name]}`",
            )
    for name, column_type in remote_columns:
        if name not in local_types:
            yield ForeignSetupFinding(
                about=about,
                level="warning",
                message=f"the column {name} ({column_type}) is new on the remote server, so it is not visible here",
                remedy=f"run `hven fdw {target.name} --apply`, or `ALTER FOREIGN TABLE {table} ADD COLUMN "
                f"{quote_identifier(name)} {column_type}`",
            )


def _check_read_performance(
    local_connection: Any,
    target: ForeignTableSpec,
    table_name: str,
    columns: list[tuple[str, str]],
    *,
    role: str | None,
) -> Iterator[ForeignSetupFinding]:
    """Read rows of a foreign table as a role, and find the columns whose conditions are not sent."""
    about = f"{target.local_schema}.{table_name}"
    table = f"{quote_identifier(target.local_schema)}.{quote_identifier(table_name)}"
    try:
        with local_connection.transaction(force_rollback=True):
            local_connection.execute("SET TRANSACTION READ ONLY")
            if role:
                local_connection.execute(f"SET LOCAL ROLE {quote_identifier(role)}")
            yield ForeignSetupFinding(about=about, level="ok", message=_measure_read_time(local_connection, table))
            local_conditions = [
                column
                for column, column_type in columns
                if _is_condition_tested_locally(local_connection, table, column, column_type)
            ]
    except psycopg.Error as error:
        yield _build_error_finding(about, error_translation.translate_postgres_error(error, server_name=""))
        return
    if local_conditions:
        remedy = (
            "use the same collation for strings in both databases (IMPORT FOREIGN SCHEMA keeps the collations of "
            "columns, but not the default collation of a database)"
        )
        yield ForeignSetupFinding(
            about=about,
            level="warning",
            message=f"conditions on {', '.join(local_conditions)} are not sent to the remote server, so all rows are "
            "transferred",
            remedy=remedy,
        )
    else:
        yield ForeignSetupFinding(
            about=about, level="ok", message="conditions on the table's columns are sent to the remote server"
        )


def _measure_read_time(local_connection: Any, table: str) -> str:
    """Read some rows, and describe how long that takes."""
    start_time = time.monotonic()
    local_connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall()
    first_row_seconds = time.monotonic() - start_time
    start_time = time.monotonic()
    count_sql = f"SELECT count(*) FROM (SELECT * FROM {table} LIMIT {SAMPLE_ROWS} OFFSET 0) AS q"
    row_count = local_connection.execute(count_sql).fetchone()[0]
    duration_seconds = max(time.monotonic() - start_time, 1e-6)
    return (
        f"answers after {first_row_seconds * 1000:.1f} ms (including the connection), {row_count:,} rows read in "
        f"{duration_seconds * 1000:.0f} ms"
    )


def _is_condition_tested_locally(local_connection: Any, table: str, column: str, column_type: str) -> bool:
    """Return whether PostgreSQL tests a condition on a column here, and does not send it to the other database."""
    constant = _TYPE_CONSTANTS.get(column_type.split("(", 1)[0])
    if constant is None:
        return False
    query = f"SELECT * FROM {table} WHERE {quote_identifier(column)} = CAST({constant} AS {column_type})"
    plan_rows = local_connection.execute(f"EXPLAIN (VERBOSE, COSTS OFF) {query}").fetchall()
    plan_lines = "\n".join(row[0] for row in plan_rows).splitlines()
    remote_sql = next((line for line in plan_lines if "Remote SQL:" in line), "")
    return " WHERE " not in remote_sql
