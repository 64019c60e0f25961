"""Does the set-up of foreign tables work? Columns on both sides, rights, speed, and which conditions are sent to the other database."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from hven.engines.postgres import error_translation
from hven.engines.postgres.foreign_tables import (
    build_server_options,
    connect_database,
    list_common_extensions,
    read_local_columns,
    read_remote_columns,
    write_missing_remedy,
)
from hven.engines.postgres.schema_installation import quote_identifier
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.engines.postgres.foreign_tables import ForeignTarget

SAMPLE_ROWS = 10_000  # rows that are read to measure
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
class SetupFinding:
    """One thing that was looked at: `level` is ``ok``, ``warning`` or ``error``."""

    about: str
    level: str
    message: str
    remedy: str = ""


def check_setup(target: ForeignTarget, url: str, server_name: str, *, role: str | None = None) -> list[SetupFinding]:
    """Check everything; a side that cannot be reached is a finding, too."""
    about = target.name
    try:
        local = connect_database(url, server_name)
    except HvenError as error:
        return [SetupFinding(about=about, level="error", message=error.message, remedy=error.remedy or "")]
    with local:
        try:
            remote = connect_database(target.url, target.database_name, foreign_name=about)
        except HvenError as error:
            return [
                SetupFinding(about=about, level="error", message=error.message, remedy=error.remedy or ""),
                *_check_server(local, target, None),
            ]
        with remote:
            common_extensions = list_common_extensions(local, remote, target)
            findings = list(_check_server(local, target, common_extensions))
            findings += _check_tables(local, remote, target, role)
    return findings


def _check_server(local: Any, target: ForeignTarget, extensions: Sequence[str] | None) -> Iterator[SetupFinding]:
    row = local.execute("SELECT srvoptions FROM pg_foreign_server WHERE srvname = $1", [target.name]).fetchone()
    if row is None:
        remedy = f"hven fdw {target.name} --apply, or let an administrator run what hven fdw {target.name} writes"
        yield SetupFinding(about=target.name, level="error", message="the foreign server is not set up", remedy=remedy)
        return
    server_options = dict(item.split("=", 1) for item in row[0] or ())
    for name, value in build_server_options(target, extensions or ()).items():
        if server_options.get(name) == value or (
            name == "extensions" and set(value.split(",")) <= set(server_options.get(name, "").split(","))
        ):
            continue
        option_verb = "SET" if name in server_options else "ADD"
        is_serious = name in target.server_options
        yield SetupFinding(
            about=target.name,
            level="error" if is_serious else "warning",
            message=f"the option {name} is {server_options.get(name, 'not set')}, and should be {value}",
            remedy=f"ALTER SERVER {quote_identifier(target.name)} OPTIONS ({option_verb} {name} '{value}')",
        )
    mapped_roles = {
        row[0]
        for row in local.execute("SELECT usename FROM pg_user_mappings WHERE srvname = $1", [target.name]).fetchall()
    }
    for role in target.roles:
        if role not in mapped_roles and "public" not in mapped_roles:
            remedy = (
                f"hven fdw {target.name} --apply, or CREATE USER MAPPING FOR {quote_identifier(role)} SERVER "
                f"{quote_identifier(target.name)} OPTIONS (user .., password ..)"
            )
            yield SetupFinding(
                about=target.name, level="error", message=f"the role {role} has no user mapping", remedy=remedy
            )


def _check_tables(local: Any, remote: Any, target: ForeignTarget, role: str | None) -> Iterator[SetupFinding]:
    remote_columns = read_remote_columns(remote, target)
    local_columns = read_local_columns(local, target)
    for name in target.tables:
        about = f"{target.local_schema}.{name}"
        if name not in remote_columns:
            message = f"{target.remote_schema}.{name} is not there {target.database_name}"
            yield SetupFinding(about=about, level="error", message=message, remedy=write_missing_remedy(target, [name]))
            continue
        try:
            privileges = remote.execute(
                "SELECT has_table_privilege($1::regclass, 'SELECT'), has_table_privilege($1::regclass, "
                "'INSERT, UPDATE, DELETE')",
                [f"{quote_identifier(target.remote_schema)}.{quote_identifier(name)}"],
            ).fetchone()
        except psycopg.Error as error:
            privileges = (False, False)
            yield SetupFinding(
                about=about,
                level="error",
                message=error_translation.extract_message(error),
                remedy="grant USAGE on the schema there",
            )
        user_name = target.user_name or "its user"
        if not privileges[0]:
            remedy = (
                f"there: GRANT SELECT ON {quote_identifier(target.remote_schema)}.{quote_identifier(name)} TO "
                f"{quote_identifier(user_name)}"
            )
            yield SetupFinding(
                about=about, level="error", message=f"{user_name} may not read it {target.database_name}", remedy=remedy
            )
        elif privileges[1]:
            remedy = "map to a role that has SELECT and nothing else"
            yield SetupFinding(
                about=about, level="warning", message=f"{user_name} may write it {target.database_name}", remedy=remedy
            )
        if name not in local_columns:
            yield SetupFinding(
                about=about,
                level="error",
                message="the foreign table is not there",
                remedy=f"hven fdw {target.name} --apply",
            )
            continue
        yield from _compare_columns(about, remote_columns[name], local_columns[name], target)
        if privileges[0]:
            yield from _check_reading(local, about, target, name, local_columns[name], role)


def _compare_columns(
    about: str, remote_columns: list[tuple[str, str]], local_columns: list[tuple[str, str]], target: ForeignTarget
) -> Iterator[SetupFinding]:
    local_types = dict(local_columns)
    remote_types = dict(remote_columns)
    table_parts = about.split(".", 1)
    table = f"{quote_identifier(table_parts[0])}.{quote_identifier(table_parts[1])}"
    for name, column_type in local_columns:
        if name not in remote_types:
            yield SetupFinding(
                about=about,
                level="error",
                message=f"the column {name} is gone there: queries that read it fail",
                remedy=f"hven fdw {target.name} --apply, or ALTER FOREIGN TABLE {table} DROP COLUMN "
                f"{quote_identifier(name)}",
            )
        elif remote_types[name] != column_type:
            yield SetupFinding(
                about=about,
                level="error",
                message=f"the column {name} is {remote_types[name]} there, and {column_type} here",
                remedy=f"hven fdw {target.name} --apply, or ALTER FOREIGN TABLE {table} ALTER COLUMN "
                f"{quote_identifier(name)} TYPE {remote_types[name]}",
            )
    for name, column_type in remote_columns:
        if name not in local_types:
            yield SetupFinding(
                about=about,
                level="warning",
                message=f"the column {name} ({column_type}) is new there, and not to be seen here",
                remedy=f"hven fdw {target.name} --apply, or ALTER FOREIGN TABLE {table} ADD COLUMN "
                f"{quote_identifier(name)} {column_type}",
            )


def _check_reading(
    local: Any, about: str, target: ForeignTarget, name: str, columns: list[tuple[str, str]], role: str | None
) -> Iterator[SetupFinding]:
    table = f"{quote_identifier(target.local_schema)}.{quote_identifier(name)}"
    try:
        with local.transaction(force_rollback=True):
            local.execute("SET TRANSACTION READ ONLY")
            if role:
                local.execute(f"SET LOCAL ROLE {quote_identifier(role)}")
            start_time = time.monotonic()
            local.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall()
            first_row_seconds = time.monotonic() - start_time
            start_time = time.monotonic()
            count = local.execute(
                f"SELECT count(*) FROM (SELECT * FROM {table} LIMIT {SAMPLE_ROWS} OFFSET 0) AS q"
            ).fetchone()[0]
            duration_seconds = max(time.monotonic() - start_time, 1e-6)
            message = (
                f"answers after {first_row_seconds * 1000:.1f} ms (with connecting), {count:,} rows read in "
                f"{duration_seconds * 1000:.0f} ms"
            )
            yield SetupFinding(about=about, level="ok", message=message)
            local_conditions = []
            for column, column_type in columns:
                constant = _TYPE_CONSTANTS.get(column_type.split("(")[0])
                if constant is None:
                    continue
                text = f"SELECT * FROM {table} WHERE {quote_identifier(column)} = CAST({constant} AS {column_type})"
                plan = "\n".join(row[0] for row in local.execute(f"EXPLAIN (VERBOSE, COSTS OFF) {text}").fetchall())
                remote_sql = next((line for line in plan.splitlines() if "Remote SQL:" in line), "")
                if " WHERE " not in remote_sql:
                    local_conditions.append(column)
    except psycopg.Error as error:
        translated = error_translation.translate_error(error, server_name="")
        yield SetupFinding(about=about, level="error", message=translated.message, remedy=translated.remedy or "")
        return
    if local_conditions:
        remedy = "texts: the collation must be the same on both sides (IMPORT keeps it; the databases' own must agree)"
        yield SetupFinding(
            about=about,
            level="warning",
            message=f"conditions on {', '.join(local_conditions)} are not sent there: all rows travel",
            remedy=remedy,
        )
    else:
        yield SetupFinding(about=about, level="ok", message="conditions on its columns are sent to the other database")


__all__ = ["SetupFinding", "check_setup"]
