"""``hven fdw``: tables of another PostgreSQL database as foreign tables of ours - the SQL text that sets them up, and doing it.

The text is for an administrator to read and to run by psql; no secret is in it. What is set up only reads: the server is not updatable,
and readers get SELECT. `fdw_checks` looks whether it works.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from hven.engines.postgres import faults
from hven.engines.postgres.install import literal, quote
from hven.model.errors import Forbidden, HvenError, StorageError, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHIPPED = (
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
KEPT = (
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
CONNECT = 5  # seconds
_COLUMNS = (
    "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_attribute a ON a.attrelid = c.oid WHERE n.nspname = $1 AND c.relname = ANY($2::text[]) AND c.relkind = ANY($3::text[]) "
    "AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attnum"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Tables of another database.

    Attributes
    ----------
    name
        Of the foreign server.
    url
        Where the other database is, and as whom it is read; may hold a password, which is never written.
    schema, tables
        The tables there.
    into
        The schema here that gets the foreign tables.
    roles
        Who may read them here.
    extensions
        Whose functions may be sent there; None: those that both databases have.
    """

    name: str
    url: str
    schema: str
    tables: Sequence[str]
    into: str
    roles: Sequence[str]
    fetch_size: int = 10_000
    extensions: Sequence[str] | None = None

    @property
    def address(self) -> Mapping[str, str]:
        """The parts of the address that the server there needs."""
        given = conninfo_to_dict(self.url)
        return {key: str(given[key]) for key in KEPT if given.get(key)}

    @property
    def user(self) -> str | None:
        """As whom it is read."""
        return user_of(self.url)

    @property
    def password(self) -> str | None:
        """The secret; for `apply` alone."""
        found = conninfo_to_dict(self.url).get("password")
        return None if found is None else str(found)

    @property
    def variable(self) -> str:
        """The variable of the environment from which psql takes the password."""
        return f"HVEN_FDW_{re.sub(r'[^A-Z0-9]+', '_', self.name.upper())}_PASSWORD"

    @property
    def where(self) -> str:
        """The other database, as it may be shown."""
        given = self.address
        return f"at {given.get('host') or given.get('hostaddr') or 'localhost'} (database {given.get('dbname') or self.user or '?'})"


def user_of(url: str) -> str | None:
    """Return the user that an address names."""
    found = conninfo_to_dict(url).get("user")
    return None if found is None else str(found)


def connect(url: str, where: str, *, name: str = "") -> Any:
    """Connect, or say why not.

    Raises
    ------
    StorageError
        With the name of the foreign server's block in hven.toml, if it is the other database.
    """
    try:
        return psycopg.connect(
            url, autocommit=True, connect_timeout=CONNECT, cursor_factory=psycopg.RawCursor, application_name="hven fdw"
        )
    except psycopg.Error as error:
        said = faults.translate(error, where=where)
        if name:
            raise StorageError(
                f"{name}: {said.message}", remedy=f"look at url of [[foreign]] {name} in hven.toml, or at its secret"
            ) from error
        raise said from error


def columns_there(there: Any, target: Target) -> dict[str, list[tuple[str, str]]]:
    """Return the columns of the tables in the other database, as far as its user sees them."""
    return _columns(there, target.schema, target.tables, ("r", "p", "v", "m", "f"))


def columns_here(here: Any, target: Target) -> dict[str, list[tuple[str, str]]]:
    """Return the columns of the foreign tables."""
    return _columns(here, target.into, target.tables, ("f",))


def _columns(
    connection: Any, schema: str, tables: Sequence[str], kinds: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for table, name, kind in connection.execute(_COLUMNS, [schema, list(tables), list(kinds)]).fetchall():
        found.setdefault(table, []).append((name, kind))
    return found


def options(target: Target, extensions: Sequence[str]) -> dict[str, str]:
    """Return the options of the foreign server."""
    found = dict(target.address)
    found |= {
        "fetch_size": str(target.fetch_size),
        "use_remote_estimate": "true",
        "updatable": "false",
        "truncatable": "false",
    }
    if extensions:
        found["extensions"] = ",".join(extensions)
    return found


def statements(
    target: Target, extensions: Sequence[str], tables: Sequence[str], *, password: str | None, drop: Sequence[str] = ()
) -> list[str]:
    """Write what is to be done, in order; `password` is an expression of SQL (or of psql), None if there is none."""
    server, into = quote(target.name), quote(target.into)
    written = [f"{name} {literal(value)}" for name, value in options(target, extensions).items()]
    mapped = [f"user {literal(target.user)}"] if target.user else []
    mapped += [f"password {password}"] if password else []
    # the other server trusts this user: PostgreSQL lets readers in so only if a superuser says it
    if target.user and not password:
        mapped.append("password_required 'false'")
    found = [
        "CREATE EXTENSION IF NOT EXISTS postgres_fdw",
        f"CREATE SERVER IF NOT EXISTS {server} FOREIGN DATA WRAPPER postgres_fdw\n  OPTIONS ({', '.join(written)})",
    ]
    said = f"SERVER {server}\n  OPTIONS ({', '.join(mapped)})" if mapped else f"SERVER {server}"
    found += [f"CREATE USER MAPPING IF NOT EXISTS FOR {quote(role)} {said}" for role in target.roles]
    found.append(f"CREATE SCHEMA IF NOT EXISTS {into}")
    found += [f"DROP FOREIGN TABLE {into}.{quote(name)}" for name in drop]
    if tables:
        listed = ", ".join(map(quote, tables))
        found.append(
            f"IMPORT FOREIGN SCHEMA {quote(target.schema)} LIMIT TO ({listed})\n  FROM SERVER {server} INTO {into}"
        )
    for role in target.roles:
        found.append(f"GRANT USAGE ON SCHEMA {into} TO {quote(role)}")
        found.append(f"GRANT SELECT ON ALL TABLES IN SCHEMA {into} TO {quote(role)}")
    return found


def script(target: Target, extensions: Sequence[str]) -> str:
    """Write the text for psql. It may be run again: what is there stays; tables are imported anew."""
    head = [
        f"-- Foreign tables of the database {target.where}, for `[[foreign]]` {target.name} in hven.toml; written by `hven fdw {target.name}`.",
        "-- Run by an administrator of the database that Hven queries:  psql -d DATABASE -f FILE",
        f"-- The other database is read as {target.user or 'the user of the same name'}: a role that may SELECT these tables and nothing else.",
        "\\set ON_ERROR_STOP on",
    ]
    if target.password is not None:
        head += [
            f"-- The password is not in this text: set {target.variable} before (psql 15 or later reads it).",
            f"\\getenv password {target.variable}",
        ]
    password = ":'password'" if target.password is not None else None
    drop = [f"DROP FOREIGN TABLE IF EXISTS {quote(target.into)}.{quote(name)}" for name in target.tables]
    body = statements(target, extensions, target.tables, password=password)
    place = next(number for number, text in enumerate(body) if text.startswith("IMPORT"))
    body[place:place] = drop
    return "\n".join([*head, "BEGIN;", *(f"{text};" for text in body), "COMMIT;"]) + "\n"


def common(here: Any, there: Any, target: Target) -> tuple[str, ...]:
    """Return the extensions whose functions may be sent: both databases must have them."""
    if target.extensions is not None:
        return tuple(target.extensions)
    text = "SELECT extname FROM pg_extension WHERE extname = ANY($1::text[])"
    both = {row[0] for row in here.execute(text, [list(SHIPPED)]).fetchall()} & {
        row[0] for row in there.execute(text, [list(SHIPPED)]).fetchall()
    }
    return tuple(name for name in SHIPPED if name in both)


def text_for(target: Target, url: str, where: str) -> tuple[str, str | None]:
    """Write the text, and say why extensions could not be compared, if so."""
    try:
        with connect(url, where) as here, connect(target.url, target.where, name=target.name) as there:
            return script(target, common(here, there, target)), None
    except HvenError as error:
        return script(target, target.extensions or ()), str(error)


def apply(target: Target, url: str, where: str) -> list[str]:
    """Set up the foreign tables, all or nothing; what is there and right stays. Return what was done.

    Raises
    ------
    Forbidden
        The role of `url` may not: an administrator has to.
    StorageError
        One of the databases cannot be reached.
    UserError
        A table is not there, or something hangs on one that must be replaced.
    """
    with connect(url, where) as here, connect(target.url, target.where, name=target.name) as there:
        wanted = columns_there(there, target)
        missing = [name for name in target.tables if name not in wanted]
        if missing:
            raise UserError(
                f"{target.name}: there is no table {', '.join(f'{target.schema}.{name}' for name in missing)} {target.where}",
                remedy=remedy_of(target, missing),
            )
        present = columns_here(here, target)
        changed = [name for name in target.tables if name in present and present[name] != wanted[name]]
        new = [name for name in target.tables if name not in present]
        password = None if target.password is None else literal(target.password)
        todo = statements(target, common(here, there, target), [*new, *changed], password=password, drop=changed)
        done = []
        try:
            with here.transaction():
                for text in todo:
                    if (
                        text.startswith("CREATE EXTENSION")
                        and here.execute("SELECT 1 FROM pg_extension WHERE extname = 'postgres_fdw'").fetchone()
                    ):
                        continue  # without the right to make it, IF NOT EXISTS is refused, too
                    if (
                        text.startswith("CREATE SCHEMA")
                        and here.execute("SELECT to_regnamespace($1::text)", [quote(target.into)]).fetchone()[0]
                    ):
                        continue
                    here.execute(text)
                    done.append(re.sub(r"password '(?:[^']|'')*'", "password ..", text))
                if not set(target.tables) <= columns_here(here, target).keys():
                    raise UserError(f"{target.name}: not all tables came")
        except psycopg.errors.InsufficientPrivilege as error:
            remedy = f"give an administrator the text: hven fdw {target.name} > {target.name}.sql"
            raise Forbidden(
                f"{target.name}: the role of the engine's url may not do this: {faults.first_line(error)}",
                remedy=remedy,
            ) from error
        except psycopg.errors.DependentObjectsStillExist as error:
            remedy = (
                "drop what hangs on it, or make the change by ALTER FOREIGN TABLE: hven fdw --check says what differs"
            )
            raise UserError(f"{target.name}: {faults.first_line(error)}", remedy=remedy) from error
        except psycopg.Error as error:
            raise faults.translate(error, where=where) from error
    return done


def remedy_of(target: Target, missing: Sequence[str]) -> str:
    """Phrase what to look at if tables are not there."""
    twice = next((name for name in missing if name.startswith(f"{target.schema}.")), None)
    if twice is not None:
        return f"write {twice.partition('.')[2]!r} among the tables: their schema is said by namespace"
    return f"look at namespace and tables of [[foreign]] {target.name}, and at what {target.user or 'its user'} may see there"


__all__ = [
    "Target",
    "apply",
    "columns_here",
    "columns_there",
    "common",
    "connect",
    "remedy_of",
    "script",
    "text_for",
    "user_of",
]
