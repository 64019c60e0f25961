"""What PostgreSQL expects of a query before it runs: how many rows of each table, whether an index serves, and the rows of the answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hven.engines.postgres import faults
from hven.engines.postgres import shared_tables as sharing
from hven.engines.postgres.partitions import beginning
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.engines.postgres.machine import Machine
    from hven.engines.postgres.running import Work

_SCANS = frozenset(
    {"Seq Scan", "Sample Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Tid Scan", "Foreign Scan"}
)


def expected(engine: Machine, work: Callable[[], Work], called: Mapping[str, str]) -> list[str]:
    """Ask PostgreSQL what it expects, and say it in lines; or why it cannot be asked now.

    Parameters
    ----------
    called
        Name of a snapshot's table in the database, or what those of its partitions begin with -> its name in queries.
    """
    try:
        return _asked(engine, work(), called)
    except HvenError as error:
        return [f"none now: {error.message}"]


def _asked(engine: Machine, work: Work, called: Mapping[str, str]) -> list[str]:
    if work.uploads:
        return []  # they are in the database only while the query runs
    try:
        with engine.askers.borrowed() as connection, connection.transaction():
            for number, value in enumerate(work.arguments, 1):
                connection.execute("SELECT set_config($1::text, $2::text, true)", [f"hven.p{number}", value])
            called = {**called, **dict(_shared(connection, engine.schema, called))}
            [(found,)] = connection.execute(f"EXPLAIN (FORMAT JSON) {work.streamed}", prepare=False).fetchall()
    except faults.kinds() as error:
        raise faults.translate(error, where=engine.where) from error
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    tables: dict[str, tuple[float, bool]] = {}
    for name, rows, indexed in _scans(plan, 1.0):
        begin = max((begin for begin in called if name.startswith(begin)), key=len, default="")
        table = called.get(name) or called.get(begin, name)
        before = tables.get(table, (0.0, True))
        tables[table] = (before[0] + rows, before[1] and indexed)
    lines = [
        f"{name}: about {rows:,.0f} rows, {'by an index' if indexed else 'found by looking at all'}"
        for name, (rows, indexed) in tables.items()
    ]
    return [*lines, f"PostgreSQL expects about {plan['Plan Rows']:,} row{'s' * (plan['Plan Rows'] != 1)}"]


def _shared(connection: Any, schema: str, called: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the names of the tables, and what those of their partitions begin with, of which snapshots are views."""
    if not called:
        return
    for view, share in sharing.read_shares(connection.execute(sharing.shares(schema)).fetchall()).items():
        if view in called:
            yield share.base, called[view]
            yield beginning(called[view], share.base), called[view]


def _scans(node: Mapping[str, Any], loops: float) -> Iterator[tuple[str, float, bool]]:
    """Yield table, rows and whether an index serves, for each scan of a plan; the rows of all its runs together."""
    if node["Node Type"] in _SCANS and "Relation Name" in node:
        yield (
            node["Relation Name"],
            node["Plan Rows"] * loops,
            node["Node Type"] not in {"Seq Scan", "Sample Scan", "Foreign Scan"},
        )
    inner = node.get("Plans", ())
    for place, part in enumerate(inner):
        again = node["Node Type"] == "Nested Loop" and place == 1
        yield from _scans(part, loops * max(inner[0]["Plan Rows"], 1) if again else loops)


__all__ = ["expected"]
