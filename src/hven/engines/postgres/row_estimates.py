"""What PostgreSQL expects of a query before it runs.

How many rows of each table, whether an index serves, and the rows of the answer.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hven.engines.postgres import error_translation, shared_tables
from hven.engines.postgres.partitions import build_partition_prefix
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.engines.postgres.engine_protocol import PostgresEngineProtocol
    from hven.engines.postgres.query_execution import QueryWork

_SCAN_NODES = frozenset(
    {"Seq Scan", "Sample Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Tid Scan", "Foreign Scan"}
)


def estimate_rows(
    engine: PostgresEngineProtocol, build_work: Callable[[], QueryWork], names_by_table: Mapping[str, str]
) -> list[str]:
    """Ask PostgreSQL what it expects, and say it in lines; or why it cannot be asked now.

    Parameters
    ----------
    names_by_table
        Name of a snapshot's table in the database, or what those of its partitions begin with -> its name in queries.
    """
    try:
        return _explain_work(engine, build_work(), names_by_table)
    except HvenError as error:
        return [f"none now: {error.message}"]


def _explain_work(engine: PostgresEngineProtocol, work: QueryWork, names_by_table: Mapping[str, str]) -> list[str]:
    if work.uploads:
        return []  # they are in the database only while the query runs
    try:
        with engine.query_pool.borrow_connection() as connection, connection.transaction():
            for number, value in enumerate(work.arguments, 1):
                connection.execute("SELECT set_config($1::text, $2::text, true)", [f"hven.p{number}", value])
            shared_names = _list_shared_names(connection, engine.schema, names_by_table)
            names_by_table = {**names_by_table, **dict(shared_names)}
            [(explained,)] = connection.execute(f"EXPLAIN (FORMAT JSON) {work.copy_sql}", prepare=False).fetchall()
    except error_translation.list_driver_errors() as error:
        raise error_translation.translate_error(error, server_name=engine.server_name) from error
    plan = (json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"]
    tables: dict[str, tuple[float, bool]] = {}
    for name, rows, indexed in _iterate_scans(plan, 1.0):
        name_prefix = max(
            (name_prefix for name_prefix in names_by_table if name.startswith(name_prefix)), key=len, default=""
        )
        table = names_by_table.get(name) or names_by_table.get(name_prefix, name)
        totals = tables.get(table, (0.0, True))
        tables[table] = (totals[0] + rows, totals[1] and indexed)
    lines = [
        f"{name}: about {rows:,.0f} rows, {'by an index' if indexed else 'found by looking at all'}"
        for name, (rows, indexed) in tables.items()
    ]
    return [*lines, f"PostgreSQL expects about {plan['Plan Rows']:,} row{'s' * (plan['Plan Rows'] != 1)}"]


def _list_shared_names(connection: Any, schema: str, names_by_table: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the names of the tables, and what those of their partitions begin with, of which snapshots are views."""
    if not names_by_table:
        return
    for view, share in shared_tables.parse_shared_states(
        connection.execute(shared_tables.write_shares_query(schema)).fetchall()
    ).items():
        if view in names_by_table:
            yield share.base_table, names_by_table[view]
            partition_prefix = build_partition_prefix(names_by_table[view], share.base_table)
            yield partition_prefix, names_by_table[view]


def _iterate_scans(plan_node: Mapping[str, Any], loop_count: float) -> Iterator[tuple[str, float, bool]]:
    """Yield table, rows and whether an index serves, for each scan of a plan; the rows of all its runs together."""
    if plan_node["Node Type"] in _SCAN_NODES and "Relation Name" in plan_node:
        yield (
            plan_node["Relation Name"],
            plan_node["Plan Rows"] * loop_count,
            plan_node["Node Type"] not in {"Seq Scan", "Sample Scan", "Foreign Scan"},
        )
    inner_nodes = plan_node.get("Plans", ())
    for part_number, part in enumerate(inner_nodes):
        is_repeated = plan_node["Node Type"] == "Nested Loop" and part_number == 1
        yield from _iterate_scans(part, loop_count * max(inner_nodes[0]["Plan Rows"], 1) if is_repeated else loop_count)


__all__ = ["estimate_rows"]
