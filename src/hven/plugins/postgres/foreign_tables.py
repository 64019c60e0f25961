"""``hven fdw``: tables of another PostgreSQL database as foreign tables of this one.

The module writes the SQL script that sets them up, or sets them up itself. An administrator can read the script and run
it with psql; it contains no secret. The foreign server is not updatable, and readers get SELECT only. The checks are in
`foreign_table_checks`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from hven.model.errors import ForbiddenError, HvenError, StorageError, UserError
from hven.plugins.postgres.engine import error_translation
from hven.plugins.postgres.engine.schema_installation import quote_identifier, quote_literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHIPPABLE_EXTENSIONS = (
    "pg_sphere",
    "q3c",
    "cube",
    "earthdistance",
    "intarray",
    "citext",
    "hstore",
    "ltree",
    "pg_trgm",
    "btree_gist",
)
CONNECTION_OPTIONS = (
    "host",
    "hostaddr",
    "port",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "service",
    "connect_timeout",
    "target_session_attrs",
)
CONNECT_TIMEOUT_SECONDS = 5
PSQL_PASSWORD = ":'password'"  # noqa: S105  (a variable of psql)
_COLUMNS_SQL = (
    "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid "
    "WHERE n.nspname = $1 AND c.relname = ANY($2::text[]) AND c.relkind = ANY($3::text[]) "
    "AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attnum"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignTableSpec:
    """Tables of another database that become foreign tables here.

    Attributes
    ----------
    name
        Name of the foreign server.
    url
        Address of the other database, with the user that reads it. It may contain a password, which is never written.
    remote_schema, tables
        The tables in the other database.
    local_schema
        The schema of the foreign tables here.
    roles
        Roles that may read the foreign tables here.
    fetch_size
        Number of rows that travel at a time.
    extensions
        Extensions whose functions may be sent to the other database; None: those that both databases have.
    """

    name: str
    url: str
    remote_schema: str
    tables: Sequence[str]
    local_schema: str
    roles: Sequence[str]
    fetch_size: int = 10_000
    extensions: Sequence[str] | None = None

    @property
    def server_options(self) -> Mapping[str, str]:
        """The parts of the address that are options of the foreign server."""
        connection_info = conninfo_to_dict(self.url)
        return {key: str(connection_info[key]) for key in CONNECTION_OPTIONS if connection_info.get(key)}

    @property
    def user_name(self) -> str | None:
        """The user that reads the other database."""
        return find_database_user(self.url)

    @property
    def password(self) -> str | None:
        """The password, for `apply_foreign_setup` alone."""
        password = conninfo_to_dict(self.url).get("password")
        if password is None:
            return None
        return str(password)

    @property
    def password_variable(self) -> str:
        """The environment variable from which psql takes the password."""
        return f"HVEN_FDW_{re.sub(r'[^A-Z0-9]+', '_', self.name.upper())}_PASSWORD"

    @property
    def database_label(self) -> str:
        """The other database, as messages show it."""
        options = self.server_options
        host = options.get("host") or options.get("hostaddr") or "localhost"
        database = options.get("dbname") or self.user_name or "?"
        return f"at {host} (database {database})"


def find_database_user(url: str) -> str | None:
    """Return the user that an address names; None if it names none."""
    user = conninfo_to_dict(url).get("user")
    if user is None:
        return None
    return str(user)


def connect_database(url: str, server_name: str, *, foreign_name: str = "") -> Any:
    """Connect to a database.

    Parameters
    ----------
    url
        Address of the database.
    server_name
        The server, as messages show it.
    foreign_name
        Name of the block of hven.toml, if it is the other database.

    Raises
    ------
    StorageError
        The database cannot be reached.
    """
    try:
        return psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            cursor_factory=psycopg.RawCursor,
            application_name="hven fdw",
        )
    except psycopg.Error as error:
        translated = error_translation.translate_postgres_error(error, server_name=server_name)
        if foreign_name:
            raise StorageError(
                f"{foreign_name}: {translated.message}",
                remedy=f"check `url` under [[foreign]] {foreign_name} in hven.toml, or the secret that it names",
            ) from error
        raise translated from error


def read_remote_columns(remote_connection: Any, target: ForeignTableSpec) -> dict[str, list[tuple[str, str]]]:
    """Return the columns of the tables in the other database, as far as its user sees them."""
    return _read_table_columns(remote_connection, target.remote_schema, target.tables, ("r", "p", "v", "m", "f"))


def read_local_columns(local_connection: Any, target: ForeignTableSpec) -> dict[str, list[tuple[str, str]]]:
    """Return the columns of the foreign tables."""
    return _read_table_columns(local_connection, target.local_schema, target.tables, ("f",))


def _read_table_columns(
    connection: Any, schema: str, tables: Sequence[str], relation_kinds: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    column_rows = connection.execute(_COLUMNS_SQL, [schema, list(tables), list(relation_kinds)]).fetchall()
    columns_by_table: dict[str, list[tuple[str, str]]] = {}
    for table, name, column_type in column_rows:
        columns_by_table.setdefault(table, []).append((name, column_type))
    return columns_by_table


def build_foreign_server_options(target: ForeignTableSpec, extensions: Sequence[str]) -> dict[str, str]:
    """Return the options of the foreign server."""
    server_options = dict(target.server_options)
    server_options |= {
        "fetch_size": str(target.fetch_size),
        "use_remote_estimate": "true",
        "updatable": "false",
        "truncatable": "false",
    }
    if extensions:
        server_options["extensions"] = ",".join(extensions)
    return server_options


def write_foreign_setup_statements(
    target: ForeignTableSpec,
    extensions: Sequence[str],
    tables: Sequence[str],
    *,
    password_sql: str | None,
    dropped_tables: Sequence[str] = (),
) -> list[str]:
    """Write the statements of the set-up, in order.

    `password_sql` is an expression of SQL (or of psql); None if there is no password.
    """
    server = quote_identifier(target.name)
    local_schema = quote_identifier(target.local_schema)
    server_options = build_foreign_server_options(target, extensions)
    option_list = ", ".join(f"{name} {quote_literal(value)}" for name, value in server_options.items())
    setup_statements = [
        "CREATE EXTENSION IF NOT EXISTS postgres_fdw",
        f"CREATE SERVER IF NOT EXISTS {server} FOREIGN DATA WRAPPER postgres_fdw\n  OPTIONS ({option_list})",
    ]
    mapping_clause = f"SERVER {server}"
    mapping_options = _write_mapping_options(target, password_sql)
    if mapping_options:
        mapping_clause += f"\n  OPTIONS ({', '.join(mapping_options)})"
    setup_statements += [
        f"CREATE USER MAPPING IF NOT EXISTS FOR {quote_identifier(role)} {mapping_clause}" for role in target.roles
    ]
    setup_statements.append(f"CREATE SCHEMA IF NOT EXISTS {local_schema}")
    setup_statements += [f"DROP FOREIGN TABLE {local_schema}.{quote_identifier(name)}" for name in dropped_tables]
    if tables:
        table_list = ", ".join(map(quote_identifier, tables))
        setup_statements.append(
            f"IMPORT FOREIGN SCHEMA {quote_identifier(target.remote_schema)} LIMIT TO ({table_list})\n  FROM "
            f"SERVER {server} INTO {local_schema}"
        )
    for role in target.roles:
        setup_statements.append(f"GRANT USAGE ON SCHEMA {local_schema} TO {quote_identifier(role)}")
        setup_statements.append(f"GRANT SELECT ON ALL TABLES IN SCHEMA {local_schema} TO {quote_identifier(role)}")
    return setup_statements


def _write_mapping_options(target: ForeignTableSpec, password_sql: str | None) -> list[str]:
    """Write the options of the user mappings."""
    mapping_options = []
    if target.user_name:
        mapping_options.append(f"user {quote_literal(target.user_name)}")
    if password_sql:
        mapping_options.append(f"password {password_sql}")
    elif target.user_name:
        # The other server trusts this user. PostgreSQL lets readers connect so only if a superuser allows it.
        mapping_options.append("password_required 'false'")
    return mapping_options


def write_foreign_setup_script(target: ForeignTableSpec, extensions: Sequence[str]) -> str:
    """Write the script for psql. It can be run again: what exists stays, and tables are imported anew."""
    header_lines = [
        (
            f"-- Foreign tables of the database {target.database_label}, for `[[foreign]]` {target.name} in "
            f"hven.toml; written by `hven fdw {target.name}`."
        ),
        "-- Run by an administrator of the database that Hven queries:  psql -d DATABASE -f FILE",
        (
            f"-- The other database is read as {target.user_name or 'the user of the same name'}: a role that may "
            f"SELECT these tables and nothing else."
        ),
        "\\set ON_ERROR_STOP on",
    ]
    password_sql = None
    if target.password is not None:
        password_sql = PSQL_PASSWORD
        header_lines += [
            f"-- The password is not in this text: set {target.password_variable} before (psql 15 or later reads it).",
            f"\\getenv password {target.password_variable}",
        ]
    setup_statements = write_foreign_setup_statements(target, extensions, target.tables, password_sql=password_sql)
    import_number = next(number for number, text in enumerate(setup_statements) if text.startswith("IMPORT"))
    setup_statements[import_number:import_number] = [
        f"DROP FOREIGN TABLE IF EXISTS {quote_identifier(target.local_schema)}.{quote_identifier(name)}"
        for name in target.tables
    ]
    script_lines = [*header_lines, "BEGIN;", *(f"{statement};" for statement in setup_statements), "COMMIT;"]
    return "\n".join(script_lines) + "\n"


def list_shippable_extensions(
    local_connection: Any, remote_connection: Any, target: ForeignTableSpec
) -> tuple[str, ...]:
    """Return the extensions whose functions may be sent to the other database: both databases must have them."""
    if target.extensions is not None:
        return tuple(target.extensions)
    local_names = _list_extensions(local_connection)
    remote_names = _list_extensions(remote_connection)
    return tuple(name for name in SHIPPABLE_EXTENSIONS if name in local_names and name in remote_names)


def _list_extensions(connection: Any) -> set[str]:
    """Return those of `SHIPPABLE_EXTENSIONS` that a database has."""
    extension_rows = connection.execute(
        "SELECT extname FROM pg_extension WHERE extname = ANY($1::text[])", [list(SHIPPABLE_EXTENSIONS)]
    ).fetchall()
    return {row[0] for row in extension_rows}


def connect_and_write_setup_script(target: ForeignTableSpec, url: str, server_name: str) -> tuple[str, str | None]:
    """Write the script, and the reason if the extensions of both databases could not be compared."""
    try:
        with (
            connect_database(url, server_name) as local,
            connect_database(target.url, target.database_label, foreign_name=target.name) as remote,
        ):
            return write_foreign_setup_script(target, list_shippable_extensions(local, remote, target)), None
    except HvenError as error:
        return write_foreign_setup_script(target, target.extensions or ()), str(error)


def apply_foreign_setup(target: ForeignTableSpec, url: str, server_name: str) -> list[str]:
    """Set up the foreign tables, all or nothing, and return the statements that were executed.

    Tables that exist with the right columns stay.

    Raises
    ------
    ForbiddenError
        The role of `url` may not do it: an administrator has to.
    StorageError
        One of the databases cannot be reached.
    UserError
        A table does not exist, or something depends on a table that must be replaced.
    """
    with (
        connect_database(url, server_name) as local,
        connect_database(target.url, target.database_label, foreign_name=target.name) as remote,
    ):
        setup_statements = _write_needed_statements(local, remote, target)
        try:
            with local.transaction():
                executed = _execute_needed_statements(local, target, setup_statements)
        except psycopg.errors.InsufficientPrivilege as error:
            reason = error_translation.extract_error_message(error)
            message = (
                f"{target.name}: the role in the engine's url is not allowed to set up the foreign tables: {reason}"
            )
            remedy = (
                f"write the SQL statements to a file with `hven fdw {target.name} > {target.name}.sql`, and send the "
                "file to an administrator"
            )
            raise ForbiddenError(message, remedy=remedy) from error
        except psycopg.errors.DependentObjectsStillExist as error:
            message = f"{target.name}: {error_translation.extract_error_message(error)}"
            remedy = (
                "drop the objects that depend on the table, or use ALTER FOREIGN TABLE; `hven fdw --check` shows the "
                "differences"
            )
            raise UserError(message, remedy=remedy) from error
        except psycopg.Error as error:
            raise error_translation.translate_postgres_error(error, server_name=server_name) from error
    return executed


def _write_needed_statements(local_connection: Any, remote_connection: Any, target: ForeignTableSpec) -> list[str]:
    """Compare both databases, and write the statements that are needed."""
    remote_columns = read_remote_columns(remote_connection, target)
    missing_tables = [name for name in target.tables if name not in remote_columns]
    if missing_tables:
        missing_list = ", ".join(f"{target.remote_schema}.{name}" for name in missing_tables)
        message = f"{target.name}: there is no table {missing_list} {target.database_label}"
        raise UserError(message, remedy=write_missing_tables_remedy(target, missing_tables))
    local_columns = read_local_columns(local_connection, target)
    new_tables = []
    changed_tables = []
    for name in target.tables:
        if name not in local_columns:
            new_tables.append(name)
        elif local_columns[name] != remote_columns[name]:
            changed_tables.append(name)
    password_sql = None
    if target.password is not None:
        password_sql = quote_literal(target.password)
    return write_foreign_setup_statements(
        target,
        list_shippable_extensions(local_connection, remote_connection, target),
        [*new_tables, *changed_tables],
        password_sql=password_sql,
        dropped_tables=changed_tables,
    )


def _execute_needed_statements(
    local_connection: Any, target: ForeignTableSpec, setup_statements: Sequence[str]
) -> list[str]:
    """Execute the statements that are needed here, and return them without the password."""
    executed = []
    for statement in setup_statements:
        if _is_statement_applied(local_connection, target, statement):
            continue
        local_connection.execute(statement)
        executed.append(re.sub(r"password '(?:[^']|'')*'", "password ..", statement))
    if not set(target.tables) <= read_local_columns(local_connection, target).keys():
        raise UserError(f"{target.name}: not all tables were imported")
    return executed


def _is_statement_applied(local_connection: Any, target: ForeignTableSpec, statement: str) -> bool:
    """Return whether a statement creates an extension or a schema that exists.

    Without the right to create it, PostgreSQL refuses even ``IF NOT EXISTS``.
    """
    if statement.startswith("CREATE EXTENSION"):
        extension_row = local_connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'postgres_fdw'").fetchone()
        return extension_row is not None
    if statement.startswith("CREATE SCHEMA"):
        quoted_schema = quote_identifier(target.local_schema)
        schema_row = local_connection.execute("SELECT to_regnamespace($1::text)", [quoted_schema]).fetchone()
        return bool(schema_row[0])
    return False


def write_missing_tables_remedy(target: ForeignTableSpec, missing_tables: Sequence[str]) -> str:
    """Write the remedy for tables that do not exist in the other database."""
    qualified_name = next((name for name in missing_tables if name.startswith(f"{target.remote_schema}.")), None)
    if qualified_name is not None:
        return (
            f"write {qualified_name.partition('.')[2]!r} in `tables`, without the schema; the schema is the value of "
            "`namespace`"
        )
    return (
        f"check `namespace` and `tables` under [[foreign]] {target.name} in hven.toml, and the privileges of "
        f"{target.user_name or 'its user'} in that database"
    )
