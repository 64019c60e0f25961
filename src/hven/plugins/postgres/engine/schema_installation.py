"""The schema and the functions that the engine installs in a database, and the features that it finds there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from hven.model.errors import StorageError, UserError
from hven.plugins.postgres.engine import error_translation
from hven.plugins.postgres.engine.connection_pool import build_application_name
from hven.plugins.postgres.engine.functions import AGGREGATE_DEFINITIONS, FUNCTION_DEFINITIONS
from hven.plugins.postgres.engine.position_search import HEALPIX, PGSPHERE, Q3C

if TYPE_CHECKING:
    from collections.abc import Sequence

_INSTALLED_TEXTS = [*FUNCTION_DEFINITIONS, *(definition for _, definition in AGGREGATE_DEFINITIONS)]
FUNCTIONS_VERSION = hashlib.sha256("\n".join(_INSTALLED_TEXTS).encode()).hexdigest()[:16]
# Collations that know upper and lower case of all letters; those that are most like DuckDB's come first.
CASE_COLLATIONS = ("pg_c_utf8", "C.utf8", "C.UTF-8", "und-x-icu")
MIN_SERVER_VERSION, MAX_SERVER_VERSION = 140000, 180000
_EXTENSION_NAMES = {PGSPHERE: "pg_sphere", Q3C: "q3c"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFeatures:
    """Features of a database.

    Attributes
    ----------
    search_path
        ``search_path`` of queries: the built-in functions, the schema of Hven, and the schemas of extensions.
    position_method
        Method to find positions: pgsphere, q3c or healpix.
    case_collation
        Name of a collation that knows upper and lower case of all letters; ``C`` if there is none.
    """

    search_path: str
    position_method: str
    case_collation: str


def quote_identifier(name: str) -> str:
    """Write a delimited identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Write a string constant."""
    return "'" + text.replace("'", "''") + "'"


def prepare_schema(connection: Any, schema: str, reader_roles: Sequence[str], wanted_method: str) -> DatabaseFeatures:
    """Create the schema and the functions unless they exist, and return the features of the database.

    Raises
    ------
    StorageError
        The server is too old, the role may not create the schema, or the database does not have `wanted_method`.
    """
    server_version = connection.info.server_version
    if server_version < MIN_SERVER_VERSION:
        message = f"the database server is PostgreSQL {server_version // 10000}, but the engine needs 14 or later"
        raise StorageError(message, remedy="upgrade the server, or keep the collection in the embedded engine")
    comment_row = connection.execute(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1", [schema]
    ).fetchone()
    if comment_row is None or f"hven functions {FUNCTIONS_VERSION}" != comment_row[0]:
        _create_schema_and_functions(connection, schema)
    _grant_schema_usage(connection, schema, reader_roles)
    function_schemas = _find_extension_functions(connection)
    methods = [HEALPIX]
    if "q3c_radial_query" in function_schemas:
        methods.insert(0, Q3C)
    if "scircle" in function_schemas:
        methods.insert(0, PGSPHERE)
    if wanted_method and wanted_method not in methods:
        message = f"the database has no {wanted_method}"
        remedy = (
            f"install it (CREATE EXTENSION {_EXTENSION_NAMES[wanted_method]}), or set position under [postgres] in "
            f"hven.toml to one of: {', '.join(methods)}"
        )
        raise StorageError(message, remedy=remedy)
    extension_schemas = [quote_identifier(name) for name in function_schemas.values()]
    path = dict.fromkeys(["pg_catalog", quote_identifier(schema), *extension_schemas])
    return DatabaseFeatures(
        search_path=", ".join(path),
        position_method=wanted_method or methods[0],
        case_collation=_choose_collation(connection),
    )


def _grant_schema_usage(connection: Any, schema: str, reader_roles: Sequence[str]) -> None:
    for reader in reader_roles:
        privilege_row = connection.execute(
            "SELECT has_schema_privilege($1::text, $2::text, 'USAGE')", [reader, schema]
        ).fetchone()
        if privilege_row is not None and not privilege_row[0]:
            connection.execute(f"GRANT USAGE ON SCHEMA {quote_identifier(schema)} TO {quote_identifier(reader)}")


def _find_extension_functions(connection: Any) -> dict[str, str]:
    """Return function -> schema, for one function of each extension that finds positions."""
    function_rows = connection.execute(
        "SELECT DISTINCT ON (p.proname) p.proname, n.nspname "
        "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "WHERE p.proname IN ('scircle', 'q3c_radial_query') ORDER BY p.proname, n.nspname"
    ).fetchall()
    return dict(function_rows)


def _choose_collation(connection: Any) -> str:
    """Return the best of `CASE_COLLATIONS` that the database has."""
    collation_rows = connection.execute(
        "SELECT collname FROM pg_collation WHERE collname = ANY($1::text[])", [list(CASE_COLLATIONS)]
    ).fetchall()
    collations = {row[0] for row in collation_rows}
    return next((name for name in CASE_COLLATIONS if name in collations), "C")


def claim_schema(connection: Any, schema: str, site_identity: str, *, is_writing: bool) -> bool:
    """Check that the schema does not belong to another site: two sites would remove each other's snapshots.

    A process that writes claims the schema for its site.

    Returns
    -------
    bool
        True if the schema belongs to this site. If the process does not write, it may belong to no site yet.

    Raises
    ------
    StorageError
        The schema belongs to another site.
    """
    if not site_identity:
        return True
    quoted_table = f"{quote_identifier(schema)}.site"
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))", [f"hven install {schema}"])
        is_present = connection.execute("SELECT to_regclass($1::text)", [quoted_table]).fetchone()[0] is not None
        if is_writing and not is_present:
            connection.execute(f"CREATE TABLE {quoted_table} (id text NOT NULL)")
        if is_present or is_writing:
            owner_row = connection.execute(f"SELECT id FROM {quoted_table}").fetchone()
        else:
            owner_row = None
        if owner_row is None and is_writing:
            connection.execute(f"INSERT INTO {quoted_table} VALUES ($1::text)", [site_identity])
    if owner_row is not None and owner_row[0] != site_identity:
        message = (
            f"the schema {schema!r} of the database belongs to another site, {owner_row[0]} (this one is "
            f"{site_identity})"
        )
        raise StorageError(
            message,
            remedy="give this site its own schema (set namespace under [postgres] in hven.toml); if the other site "
            f"no longer exists, run `hven reclaim {owner_row[0]}`",
        )
    return is_writing or owner_row is not None


def adopt_schema(connection: Any, schema: str, site_identity: str, former_site: str) -> list[str]:
    """Take over the schema of a site that is gone.

    The function returns the tables of its snapshots, which a later sweep removes.

    Raises
    ------
    UserError
        The schema does not belong to that site, or a process of that site is connected.
    """
    quoted_table = f"{quote_identifier(schema)}.site"
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))", [f"hven install {schema}"])
        is_present = connection.execute("SELECT to_regclass($1::text)", [quoted_table]).fetchone()[0] is not None
        if is_present:
            owner_row = connection.execute(f"SELECT id FROM {quoted_table}").fetchone()
        else:
            owner_row = None
        if owner_row is None or owner_row[0] == site_identity:
            ownership = "belongs to no site" if owner_row is None else "already belongs to this site"
            message = f"the schema {schema!r} of the database {ownership}"
            raise UserError(message, remedy="there is nothing to reclaim")
        if owner_row[0] != former_site:
            message = f"the schema {schema!r} of the database belongs to the site {owner_row[0]}, not to {former_site}"
            remedy = f"if the site {owner_row[0]} no longer exists, run `hven reclaim {owner_row[0]}`"
            raise UserError(message, remedy=remedy)
        application_name = build_application_name(schema, former_site)
        session_row = connection.execute(
            "SELECT count(*), min(client_addr::text) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = $1 AND pid <> pg_backend_pid()",
            [application_name],
        ).fetchone()
        if session_row[0]:
            if session_row[1]:
                place = f" from {session_row[1]}"
            else:
                place = ""
            message = (
                f"the site {former_site} still exists: it has {session_row[0]} "
                f"session{'s' * (session_row[0] > 1)}{place} in the schema {schema!r}"
            )
            raise UserError(
                message,
                remedy="stop the servers and workers of that site, or give this site its own schema (set namespace "
                "under [postgres])",
            )
        connection.execute(f"UPDATE {quoted_table} SET id = $1::text", [site_identity])
        rows = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v') AND c.relname ~ '^s_' ORDER BY 1",
            [schema],
        ).fetchall()
    return [row[0] for row in rows]


def _create_schema_and_functions(connection: Any, schema: str) -> None:
    quoted_schema = quote_identifier(schema)
    try:
        with connection.transaction():
            connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))", [f"hven install {schema}"]
            )
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted_schema}")
            connection.execute("SET LOCAL check_function_bodies = off")
            connection.execute(f"SET LOCAL search_path = {quoted_schema}, pg_catalog")
            for text in FUNCTION_DEFINITIONS:
                connection.execute(f"CREATE OR REPLACE {text}", prepare=False)
            for name, text in AGGREGATE_DEFINITIONS:
                procedure_row = connection.execute(
                    "SELECT to_regprocedure($1::text)", [f"{quoted_schema}.{name}"]
                ).fetchone()
                if procedure_row is None or procedure_row[0] is None:
                    connection.execute(f"CREATE {text}", prepare=False)
            connection.execute(f"COMMENT ON SCHEMA {quoted_schema} IS 'hven functions {FUNCTIONS_VERSION}'")
    except psycopg.errors.InsufficientPrivilege as error:
        message = (
            f"the role in the engine's url is not allowed to create the schema {schema!r}: "
            f"{error_translation.extract_error_message(error)}"
        )
        raise StorageError(
            message,
            remedy=f"as an administrator, run `CREATE SCHEMA {quoted_schema} AUTHORIZATION ROLE`, where ROLE is the "
            "role in the engine's url",
        ) from error
