"""Does the set-up of foreign tables work? Columns on both sides, rights, speed, and which conditions are sent to the other database."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from hven.engines.postgres import faults
from hven.engines.postgres.fdw import columns_here, columns_there, common, connect, options, remedy_of
from hven.engines.postgres.install import quote
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.engines.postgres.fdw import Target

SAMPLE = 10_000  # rows that are read to measure
_CONSTANTS = {"double precision": "1.5", "real": "1.5", "numeric": "1.5", "integer": "3", "bigint": "3", "smallint": "3", "text": "'x'",
              "character varying": "'x'", "timestamp without time zone": "'2000-01-01'", "timestamp with time zone": "'2000-01-01Z'",
              "date": "'2000-01-01'", "boolean": "true"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: `level` is ``ok``, ``warning`` or ``error``."""

    about: str
    level: str
    message: str
    remedy: str = ""


def check(target: Target, url: str, where: str, *, role: str | None = None) -> list[Finding]:
    """Check everything; a side that cannot be reached is a finding, too."""
    about = target.name
    try:
        here = connect(url, where)
    except HvenError as error:
        return [Finding(about=about, level="error", message=error.message, remedy=error.remedy or "")]
    with here:
        try:
            there = connect(target.url, target.where, name=about)
        except HvenError as error:
            return [
                Finding(about=about, level="error", message=error.message, remedy=error.remedy or ""),
                *_server(here, target, None),
            ]
        with there:
            found = list(_server(here, target, common(here, there, target)))
            found += _tables(here, there, target, role)
    return found


def _server(here: Any, target: Target, extensions: Sequence[str] | None) -> Iterator[Finding]:
    row = here.execute("SELECT srvoptions FROM pg_foreign_server WHERE srvname = $1", [target.name]).fetchone()
    if row is None:
        remedy = f"hven fdw {target.name} --apply, or let an administrator run what hven fdw {target.name} writes"
        yield Finding(about=target.name, level="error", message="the foreign server is not set up", remedy=remedy)
        return
    has = dict(item.split("=", 1) for item in row[0] or ())
    for name, value in options(target, extensions or ()).items():
        if has.get(name) == value or (
            name == "extensions" and set(value.split(",")) <= set(has.get(name, "").split(","))
        ):
            continue
        verb = "SET" if name in has else "ADD"
        serious = name in target.address
        yield Finding(
            about=target.name,
            level="error" if serious else "warning",
            message=f"the option {name} is {has.get(name, 'not set')}, and should be {value}",
            remedy=f"ALTER SERVER {quote(target.name)} OPTIONS ({verb} {name} '{value}')",
        )
    mapped = {
        row[0]
        for row in here.execute("SELECT usename FROM pg_user_mappings WHERE srvname = $1", [target.name]).fetchall()
    }
    for role in target.roles:
        if role not in mapped and "public" not in mapped:
            remedy = f"hven fdw {target.name} --apply, or CREATE USER MAPPING FOR {quote(role)} SERVER {quote(target.name)} OPTIONS (user .., password ..)"
            yield Finding(
                about=target.name, level="error", message=f"the role {role} has no user mapping", remedy=remedy
            )


def _tables(here: Any, there: Any, target: Target, role: str | None) -> Iterator[Finding]:
    wanted, present = columns_there(there, target), columns_here(here, target)
    for name in target.tables:
        about = f"{target.into}.{name}"
        if name not in wanted:
            message = f"{target.schema}.{name} is not there {target.where}"
            yield Finding(about=about, level="error", message=message, remedy=remedy_of(target, [name]))
            continue
        try:
            may = there.execute(
                "SELECT has_table_privilege($1::regclass, 'SELECT'), has_table_privilege($1::regclass, 'INSERT, UPDATE, DELETE')",
                [f"{quote(target.schema)}.{quote(name)}"],
            ).fetchone()
        except psycopg.Error as error:
            may = (False, False)
            yield Finding(
                about=about, level="error", message=faults.first_line(error), remedy="grant USAGE on the schema there"
            )
        who = target.user or "its user"
        if not may[0]:
            remedy = f"there: GRANT SELECT ON {quote(target.schema)}.{quote(name)} TO {quote(who)}"
            yield Finding(about=about, level="error", message=f"{who} may not read it {target.where}", remedy=remedy)
        elif may[1]:
            remedy = "map to a role that has SELECT and nothing else"
            yield Finding(about=about, level="warning", message=f"{who} may write it {target.where}", remedy=remedy)
        if name not in present:
            yield Finding(
                about=about,
                level="error",
                message="the foreign table is not there",
                remedy=f"hven fdw {target.name} --apply",
            )
            continue
        yield from _differences(about, wanted[name], present[name], target)
        if may[0]:
            yield from _reading(here, about, target, name, present[name], role)


def _differences(
    about: str, there: list[tuple[str, str]], here: list[tuple[str, str]], target: Target
) -> Iterator[Finding]:
    old, new = dict(here), dict(there)
    here_ = about.split(".", 1)
    table = f"{quote(here_[0])}.{quote(here_[1])}"
    for name, kind in here:
        if name not in new:
            yield Finding(about=about, level="error", message=f"the column {name} is gone there: queries that read it fail",
                          remedy=f"hven fdw {target.name} --apply, or ALTER FOREIGN TABLE {table} DROP COLUMN {quote(name)}")  # fmt: skip
        elif new[name] != kind:
            yield Finding(about=about, level="error", message=f"the column {name} is {new[name]} there, and {kind} here",
                          remedy=f"hven fdw {target.name} --apply, or ALTER FOREIGN TABLE {table} ALTER COLUMN {quote(name)} TYPE {new[name]}")  # fmt: skip
    for name, kind in there:
        if name not in old:
            yield Finding(about=about, level="warning", message=f"the column {name} ({kind}) is new there, and not to be seen here",
                          remedy=f"hven fdw {target.name} --apply, or ALTER FOREIGN TABLE {table} ADD COLUMN {quote(name)} {kind}")  # fmt: skip


def _reading(
    here: Any, about: str, target: Target, name: str, columns: list[tuple[str, str]], role: str | None
) -> Iterator[Finding]:
    table = f"{quote(target.into)}.{quote(name)}"
    try:
        with here.transaction(force_rollback=True):
            here.execute("SET TRANSACTION READ ONLY")
            if role:
                here.execute(f"SET LOCAL ROLE {quote(role)}")
            began = time.monotonic()
            here.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall()
            first = time.monotonic() - began
            began = time.monotonic()
            count = here.execute(
                f"SELECT count(*) FROM (SELECT * FROM {table} LIMIT {SAMPLE} OFFSET 0) AS q"
            ).fetchone()[0]
            took = max(time.monotonic() - began, 1e-6)
            message = (
                f"answers after {first * 1000:.1f} ms (with connecting), {count:,} rows read in {took * 1000:.0f} ms"
            )
            yield Finding(about=about, level="ok", message=message)
            kept = []
            for column, kind in columns:
                constant = _CONSTANTS.get(kind.split("(")[0])
                if constant is None:
                    continue
                text = f"SELECT * FROM {table} WHERE {quote(column)} = CAST({constant} AS {kind})"
                plan = "\n".join(row[0] for row in here.execute(f"EXPLAIN (VERBOSE, COSTS OFF) {text}").fetchall())
                sent = next((line for line in plan.splitlines() if "Remote SQL:" in line), "")
                if " WHERE " not in sent:
                    kept.append(column)
    except psycopg.Error as error:
        said = faults.translate(error, where="")
        yield Finding(about=about, level="error", message=said.message, remedy=said.remedy or "")
        return
    if kept:
        remedy = "texts: the collation must be the same on both sides (IMPORT keeps it; the databases' own must agree)"
        yield Finding(
            about=about,
            level="warning",
            message=f"conditions on {', '.join(kept)} are not sent there: all rows travel",
            remedy=remedy,
        )
    else:
        yield Finding(about=about, level="ok", message="conditions on its columns are sent to the other database")


__all__ = ["Finding", "check"]
