"""``hven fdw``: tables of another PostgreSQL database as foreign tables of ours - the SQL text that sets them up, and doing it.

The text is for an administrator to read and to run by psql; no secret is in it. What is set up only reads: the server
is not updatable, and readers get SELECT. `fdw_checks` looks whether it works.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from hven.engines.postgres import error_translation
from hven.engines.postgres.schema_installation import quote_identifier, quote_literal
from hven.model.errors import ForbiddenError, HvenError, StorageError, UserError

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
CONNECT_TIMEOUT_SECONDS = 5  # seconds
_COLUMNS_SQL = (
    "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_attribute a ON a.attrelid = c.oid WHERE n.nspname = $1 AND c.relname = ANY($2::text[]) AND c.relkind = ANY($3::text[]) "
    "AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attnum"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignTarget:
    """Tables of another database.

    Attributes
    ----------
    name
        Of the foreign server.
    url
        Where the other database is, and as whom it is read; may hold a password, which is never written.
    remote_schema, tables
        The tables there.
    local_schema
        The schema here that gets the foreign tables.
    roles
        Who may read them here.
    extensions
        Whose functions may be sent there; None: those that both databases have.
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
        """The parts of the address that the server there needs."""
        connection_info = conninfo_to_dict(self.url)
        return {key: str(connection_info[key]) for key in CONNECTION_OPTIONS if connection_info.get(key)}

    @property
    def user_name(self) -> str | None:
        """As whom it is read."""
        return find_user(self.url)

    @property
    def password(self) -> str | None:
        """The secret; for `apply_setup` alone."""
        password = conninfo_to_dict(self.url).get("password")
        return None if password is None else str(password)

    @property
    def password_variable(self) -> str:
        """The variable of the environment from which psql takes the password."""
        return f"HVEN_FDW_{re.sub(r'[^A-Z0-9]+', '_', self.name.upper())}_PASSWORD"

    @property
    def database_name(self) -> str:
        """The other database, as it may be shown."""
        options = self.server_options
        return (
            f"at {options.get('host') or options.get('hostaddr') or 'localhost'} (database "
            f"{options.get('dbname') or self.user_name or '?'})"
        )


def find_user(url: str) -> str | None:
    """Return the user that an address names."""
    user = conninfo_to_dict(url).get("user")
    return None if user is None else str(user)


def connect_database(url: str, server_name: str, *, foreign_name: str = "") -> Any:
    """Connect, or say why not.

    Raises
    ------
    StorageError
        With the name of the foreign server's block in hven.toml, if it is the other database.
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
        translated = error_translation.translate_error(error, server_name=server_name)
        if foreign_name:
            raise StorageError(
                f"{foreign_name}: {translated.message}",
                remedy=f"look at url of [[foreign]] {foreign_name} in hven.toml, or at its secret",
            ) from error
        raise translated from error


def read_remote_columns(remote: Any, target: ForeignTarget) -> dict[str, list[tuple[str, str]]]:
    """Return the columns of the tables in the other database, as far as its user sees them."""
    return _read_columns(remote, target.remote_schema, target.tables, ("r", "p", "v", "m", "f"))


def read_local_columns(local: Any, target: ForeignTarget) -> dict[str, list[tuple[str, str]]]:
    """Return the columns of the foreign tables."""
    return _read_columns(local, target.local_schema, target.tables, ("f",))


def _read_columns(
    connection: Any, schema: str, tables: Sequence[str], relation_kinds: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    columns_by_table: dict[str, list[tuple[str, str]]] = {}
    for table, name, column_type in connection.execute(
        _COLUMNS_SQL, [schema, list(tables), list(relation_kinds)]
    ).fetchall():
        columns_by_table.setdefault(table, []).append((name, column_type))
    return columns_by_table


def build_server_options(target: ForeignTarget, extensions: Sequence[str]) -> dict[str, str]:
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


def write_setup_statements(
    target: ForeignTarget,
    extensions: Sequence[str],
    tables: Sequence[str],
    *,
    password_sql: str | None,
    dropped_tables: Sequence[str] = (),
) -> list[str]:
    """Write what is to be done, in order.

    `password_sql` is an expression of SQL (or of psql), None if there is none.
    """
    server = quote_identifier(target.name)
    into = quote_identifier(target.local_schema)
    option_texts = [
        f"{name} {quote_literal(value)}" for name, value in build_server_options(target, extensions).items()
    ]
    if target.user_name:
        mapping_options = [f"user {quote_literal(target.user_name)}"]
    else:
        mapping_options = []
    mapping_options += [f"password {password_sql}"] if password_sql else []
    # the other server trusts this user: PostgreSQL lets readers in so only if a superuser says it
    if target.user_name and not password_sql:
        mapping_options.append("password_required 'false'")
    setup_statements = [
        "CREATE EXTENSION IF NOT EXISTS postgres_fdw",
        (
            f"CREATE SERVER IF NOT EXISTS {server} FOREIGN DATA WRAPPER postgres_fdw\n  OPTIONS "
            f"({', '.join(option_texts)})"
        ),
    ]
    if mapping_options:
        mapping_clause = f"SERVER {server}\n  OPTIONS ({', '.join(mapping_options)})"
    else:
        mapping_clause = f"SERVER {server}"
    setup_statements += [
        f"CREATE USER MAPPING IF NOT EXISTS FOR {quote_identifier(role)} {mapping_clause}" for role in target.roles
    ]
    setup_statements.append(f"CREATE SCHEMA IF NOT EXISTS {into}")
    setup_statements += [f"DROP FOREIGN TABLE {into}.{quote_identifier(name)}" for name in dropped_tables]
    if tables:
        table_list = ", ".join(map(quote_identifier, tables))
        setup_statements.append(
            f"IMPORT FOREIGN SCHEMA {quote_identifier(target.remote_schema)} LIMIT TO ({table_list})\n  FROM "
            f"SERVER {server} INTO {into}"
        )
    for role in target.roles:
        setup_statements.append(f"GRANT USAGE ON SCHEMA {into} TO {quote_identifier(role)}")
        setup_statements.append(f"GRANT SELECT ON ALL TABLES IN SCHEMA {into} TO {quote_identifier(role)}")
    return setup_statements


def write_setup_script(target: ForeignTarget, extensions: Sequence[str]) -> str:
    """Write the text for psql. It may be run again: what is there stays; tables are imported anew."""
    header_lines = [
        (
            f"-- Foreign tables of the database {target.database_name}, for `[[foreign]]` {target.name} in "
            f"hven.toml; written by `hven fdw {target.name}`."
        ),
        "-- Run by an administrator of the database that Hven queries:  psql -d DATABASE -f FILE",
        (
            f"-- The other database is read as {target.user_name or 'the user of the same name'}: a role that may "
            f"SELECT these tables and nothing else."
        ),
        "\\set ON_ERROR_STOP on",
    ]
    if target.password is not None:
        header_lines += [
            f"-- The password is not in this text: set {target.password_variable} before (psql 15 or later reads it).",
            f"\\getenv password {target.password_variable}",
        ]
    if target.password is not None:
        password = ":'password'"
    else:
        password = None
    drop_statements = [
        f"DROP FOREIGN TABLE IF EXISTS {quote_identifier(target.local_schema)}.{quote_identifier(name)}"
        for name in target.tables
    ]
    setup_statements = write_setup_statements(target, extensions, target.tables, password_sql=password)
    import_number = next(number for number, text in enumerate(setup_statements) if text.startswith("IMPORT"))
    setup_statements[import_number:import_number] = drop_statements
    return "\n".join([*header_lines, "BEGIN;", *(f"{text};" for text in setup_statements), "COMMIT;"]) + "\n"


def list_common_extensions(local: Any, remote: Any, target: ForeignTarget) -> tuple[str, ...]:
    """Return the extensions whose functions may be sent: both databases must have them."""
    if target.extensions is not None:
        return tuple(target.extensions)
    text = "SELECT extname FROM pg_extension WHERE extname = ANY($1::text[])"
    common_names = {row[0] for row in local.execute(text, [list(SHIPPABLE_EXTENSIONS)]).fetchall()} & {
        row[0] for row in remote.execute(text, [list(SHIPPABLE_EXTENSIONS)]).fetchall()
    }
    return tuple(name for name in SHIPPABLE_EXTENSIONS if name in common_names)


def write_script_for(target: ForeignTarget, url: str, server_name: str) -> tuple[str, str | None]:
    """Write the text, and say why extensions could not be compared, if so."""
    try:
        with (
            connect_database(url, server_name) as local,
            connect_database(target.url, target.database_name, foreign_name=target.name) as remote,
        ):
            return write_setup_script(target, list_common_extensions(local, remote, target)), None
    except HvenError as error:
        return write_setup_script(target, target.extensions or ()), str(error)


def apply_setup(target: ForeignTarget, url: str, server_name: str) -> list[str]:
    """Set up the foreign tables, all or nothing; what is there and right stays. Return what was done.

    Raises
    ------
    ForbiddenError
        The role of `url` may not: an administrator has to.
    StorageError
        One of the databases cannot be reached.
    UserError
        A table is not there, or something hangs on one that must be replaced.
    """
    with (
        connect_database(url, server_name) as local,
        connect_database(target.url, target.database_name, foreign_name=target.name) as remote,
    ):
        remote_columns = read_remote_columns(remote, target)
        missing = [name for name in target.tables if name not in remote_columns]
        if missing:
            raise UserError(
                f"{target.name}: there is no table "
                f"{', '.join(f'{target.remote_schema}.{name}' for name in missing)} {target.database_name}",
                remedy=write_missing_remedy(target, missing),
            )
        local_columns = read_local_columns(local, target)
        changed = [
            name for name in target.tables if name in local_columns and local_columns[name] != remote_columns[name]
        ]
        new_tables = [name for name in target.tables if name not in local_columns]
        if target.password is None:
            password = None
        else:
            password = quote_literal(target.password)
        common_extensions = list_common_extensions(local, remote, target)
        setup_statements = write_setup_statements(
            target,
            common_extensions,
            [*new_tables, *changed],
            password_sql=password,
            dropped_tables=changed,
        )
        executed = []
        try:
            with local.transaction():
                for text in setup_statements:
                    if (
                        text.startswith("CREATE EXTENSION")
                        and local.execute("SELECT 1 FROM pg_extension WHERE extname = 'postgres_fdw'").fetchone()
                    ):
                        continue  # without the right to make it, IF NOT EXISTS is refused, too
                    if (
                        text.startswith("CREATE SCHEMA")
                        and local.execute(
                            "SELECT to_regnamespace($1::text)", [quote_identifier(target.local_schema)]
                        ).fetchone()[0]
                    ):
                        continue
                    local.execute(text)
                    executed.append(re.sub(r"password '(?:[^']|'')*'", "password ..", text))
                if not set(target.tables) <= read_local_columns(local, target).keys():
                    raise UserError(f"{target.name}: not all tables came")
        except psycopg.errors.InsufficientPrivilege as error:
            remedy = f"give an administrator the text: hven fdw {target.name} > {target.name}.sql"
            raise ForbiddenError(
                f"{target.name}: the role of the engine's url may not do this: "
                f"{error_translation.extract_message(error)}",
                remedy=remedy,
            ) from error
        except psycopg.errors.DependentObjectsStillExist as error:
            remedy = (
                "drop what hangs on it, or make the change by ALTER FOREIGN TABLE: hven fdw --check says what differs"
            )
            raise UserError(f"{target.name}: {error_translation.extract_message(error)}", remedy=remedy) from error
        except psycopg.Error as error:
            raise error_translation.translate_error(error, server_name=server_name) from error
    return executed


def write_missing_remedy(target: ForeignTarget, missing_tables: Sequence[str]) -> str:
    """Phrase what to look at if tables are not there."""
    qualified_name = next((name for name in missing_tables if name.startswith(f"{target.remote_schema}.")), None)
    if qualified_name is not None:
        return f"write {qualified_name.partition('.')[2]!r} among the tables: their schema is said by namespace"
    return (
        f"look at namespace and tables of [[foreign]] {target.name}, and at what {target.user_name or 'its user'} "
        f"may see there"
    )


__all__ = [
    "ForeignTarget",
    "apply_setup",
    "connect_database",
    "find_user",
    "list_common_extensions",
    "read_local_columns",
    "read_remote_columns",
    "write_missing_remedy",
    "write_script_for",
    "write_setup_script",
]
