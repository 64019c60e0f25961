"""What the engine needs in a database: its schema, its functions, and which of the extensions, collations and roles are there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from hven.engines.postgres import faults
from hven.engines.postgres.functions import AGGREGATES, FUNCTIONS
from hven.engines.postgres.places import HEALPIX, PGSPHERE, Q3C
from hven.engines.postgres.sessions import named
from hven.model.errors import StorageError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = hashlib.sha256("\n".join([*FUNCTIONS, *(text for _, text in AGGREGATES)]).encode()).hexdigest()[:16]
# collations that know upper and lower case, the most like DuckDB's first
LETTERS = ("pg_c_utf8", "C.utf8", "C.UTF-8", "und-x-icu")
FIRST, LAST = 140000, 180000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a database offers.

    Attributes
    ----------
    path
        ``search_path`` for queries: what is built in, ours, and where the extensions are.
    mode
        How positions are found: pgsphere, q3c or healpix.
    """

    path: str
    mode: str
    letters: str


def quote(name: str) -> str:
    """Write a delimited identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Write a string constant."""
    return "'" + text.replace("'", "''") + "'"


def prepare(connection: Any, schema: str, readers: Sequence[str], wanted: str) -> Found:
    """Create the schema and the functions, unless they are there, and look around.

    Raises
    ------
    StorageError
        The server is too old, the role may not make the schema, or what `wanted` names is not there.
    """
    number = connection.info.server_version
    if number < FIRST:
        message = f"the database server is PostgreSQL {number // 10000}, and the engine needs 14 or later"
        raise StorageError(message, remedy="upgrade the server, or keep the collection in the embedded engine")
    here = quote(schema)
    known = connection.execute(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1", [schema]
    ).fetchone()
    if known is None or f"hven functions {VERSION}" != known[0]:
        _install(connection, schema)
    for reader in readers:
        may = connection.execute(
            "SELECT has_schema_privilege($1::text, $2::text, 'USAGE')", [reader, schema]
        ).fetchone()
        if may is not None and not may[0]:
            connection.execute(f"GRANT USAGE ON SCHEMA {here} TO {quote(reader)}")
    places = dict(
        connection.execute(
            "SELECT DISTINCT ON (p.proname) p.proname, n.nspname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
            "WHERE p.proname IN ('scircle', 'q3c_radial_query') ORDER BY p.proname, n.nspname"
        ).fetchall()
    )
    modes = [PGSPHERE] * ("scircle" in places) + [Q3C] * ("q3c_radial_query" in places) + [HEALPIX]
    if wanted and wanted not in modes:
        message = f"the database has no {wanted}"
        raise StorageError(
            message, remedy=f"install it (CREATE EXTENSION), or set position to one of: {', '.join(modes)}"
        )
    has = {
        row[0]
        for row in connection.execute(
            "SELECT collname FROM pg_collation WHERE collname = ANY($1::text[])", [list(LETTERS)]
        ).fetchall()
    }
    letters = next((name for name in LETTERS if name in has), "C")
    path = ", ".join(dict.fromkeys(["pg_catalog", here, *(quote(name) for name in places.values())]))
    return Found(path=path, mode=wanted or modes[0], letters=letters)


def claim(connection: Any, schema: str, site: str, *, writing: bool) -> bool:
    """Check that a schema is no other site's; two sites in one would sweep each other's snapshots. Whoever writes makes it its own.

    Returns
    -------
    bool
        It is this site's. Who only looks may find that it is nobody's yet.

    Raises
    ------
    StorageError
        It is another site's.
    """
    if not site:
        return True
    here = f"{quote(schema)}.site"
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))", [f"hven install {schema}"])
        there = connection.execute("SELECT to_regclass($1::text)", [here]).fetchone()[0] is not None
        if writing and not there:
            connection.execute(f"CREATE TABLE {here} (id text NOT NULL)")
        known = connection.execute(f"SELECT id FROM {here}").fetchone() if there or writing else None
        if known is None and writing:
            connection.execute(f"INSERT INTO {here} VALUES ($1::text)", [site])
    if known is not None and known[0] != site:
        message = f"the schema {schema!r} of the database belongs to another site, {known[0]} (this one is {site})"
        raise StorageError(
            message,
            remedy=f"give this site a schema of its own: namespace under [postgres] in hven.toml; if that site is gone for good: hven adopt {known[0]}",
        )
    return writing or known is not None


def adopt(connection: Any, schema: str, site: str, gone: str) -> list[str]:
    """Take over the schema of a site that is gone; return its snapshots' tables, which a later sweep removes.

    Raises
    ------
    UserError
        The schema is not that site's, or a process of that site has it open.
    """
    here = f"{quote(schema)}.site"
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))", [f"hven install {schema}"])
        there = connection.execute("SELECT to_regclass($1::text)", [here]).fetchone()[0] is not None
        known = connection.execute(f"SELECT id FROM {here}").fetchone() if there else None
        if known is None or known[0] == site:
            message = f"the schema {schema!r} of the database is {'nobody' if known is None else 'this site'}'s already"
            raise UserError(message, remedy="there is nothing to adopt")
        if known[0] != gone:
            message = f"the schema {schema!r} of the database belongs to the site {known[0]}, not to {gone}"
            raise UserError(message, remedy=f"if that one is gone for good: hven adopt {known[0]}")
        alive = connection.execute(
            "SELECT count(*), min(client_addr::text) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = $1 AND pid <> pg_backend_pid()",
            [named(schema, gone)],
        ).fetchone()
        if alive[0]:
            place = f" from {alive[1]}" if alive[1] else ""
            message = f"the site {gone} is not gone: it has {alive[0]} session{'s' * (alive[0] > 1)}{place} in the schema {schema!r}"
            raise UserError(
                message,
                remedy="stop its servers and workers, or give this site a schema of its own (namespace under [postgres])",
            )
        connection.execute(f"UPDATE {here} SET id = $1::text", [site])
        rows = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v') AND c.relname ~ '^s_' ORDER BY 1",
            [schema],
        ).fetchall()
    return [row[0] for row in rows]


def _install(connection: Any, schema: str) -> None:
    here = quote(schema)
    try:
        with connection.transaction():
            connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))", [f"hven install {schema}"]
            )
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {here}")
            connection.execute("SET LOCAL check_function_bodies = off")
            connection.execute(f"SET LOCAL search_path = {here}, pg_catalog")
            for text in FUNCTIONS:
                connection.execute(f"CREATE OR REPLACE {text}", prepare=False)
            for name, text in AGGREGATES:
                found = connection.execute("SELECT to_regprocedure($1::text)", [f"{here}.{name}"]).fetchone()
                if found is None or found[0] is None:
                    connection.execute(f"CREATE {text}", prepare=False)
            connection.execute(f"COMMENT ON SCHEMA {here} IS 'hven functions {VERSION}'")
    except psycopg.errors.InsufficientPrivilege as error:
        message = f"the role of the engine's url may not make the schema {schema!r}: {faults.first_line(error)}"
        raise StorageError(
            message, remedy=f"as an administrator: CREATE SCHEMA {here} AUTHORIZATION that_role"
        ) from error
