"""Estimates of PostgreSQL before a query runs: the rows of each table, the use of indexes, the rows of the answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hven.model.errors import HvenError
from hven.plugins.postgres.engine import error_translation, shared_tables
from hven.plugins.postgres.engine.partitions import build_partition_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.plugins.postgres.engine.engine_protocol import PostgresEngineProtocol
    from hven.plugins.postgres.engine.query_execution import ParameterizedQuery

_SCAN_NODES = frozenset(
    {"Seq Scan", "Sample Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Tid Scan", "Foreign Scan"}
)


def describe_postgres_estimates(
    engine: PostgresEngineProtocol,
    build_parameterized_query: Callable[[], ParameterizedQuery],
    names_by_table: Mapping[str, str],
) -> list[str]:
    """Return the estimates of PostgreSQL as lines, or the reason why there are none now.

    Parameters
    ----------
    engine
        The engine that runs the query.
    build_parameterized_query
        Function that writes the SQL of the query.
    names_by_table
        Name of a table in the database, or prefix of its partitions -> its name in queries.
    """
    try:
        return _describe_plan_estimates(engine, build_parameterized_query(), names_by_table)
    except HvenError as error:
        return [f"none at the moment: {error.message}"]


def _describe_plan_estimates(
    engine: PostgresEngineProtocol, parameterized_query: ParameterizedQuery, names_by_table: Mapping[str, str]
) -> list[str]:
    if parameterized_query.uploads:
        return []  # these rows are in the database only while the query runs
    try:
        with engine.query_pool.borrow_connection() as connection, connection.transaction():
            for number, value in enumerate(parameterized_query.arguments, 1):
                connection.execute("SELECT set_config($1::text, $2::text, true)", [f"hven.p{number}", value])
            shared_names = dict(_iterate_shared_table_query_names(connection, engine.schema, names_by_table))
            [(plan_json,)] = connection.execute(
                f"EXPLAIN (FORMAT JSON) {parameterized_query.copy_sql}", prepare=False
            ).fetchall()
    except error_translation.list_driver_error_classes() as error:
        raise error_translation.translate_postgres_error(error, server_name=engine.server_name) from error
    if isinstance(plan_json, str):
        plan_json = json.loads(plan_json)
    plan = plan_json[0]["Plan"]
    all_names = {**names_by_table, **shared_names}
    tables: dict[str, tuple[float, bool]] = {}
    for stored_name, scanned_rows, is_index_scan in _iterate_plan_scans(plan, 1.0):
        name = _find_query_name(stored_name, all_names)
        row_count, is_indexed = tables.get(name, (0.0, True))
        tables[name] = (row_count + scanned_rows, is_indexed and is_index_scan)
    lines = []
    for name, (row_count, is_indexed) in tables.items():
        method = "by an index" if is_indexed else "found by reading all rows"
        lines.append(f"{name}: about {row_count:,.0f} rows, {method}")
    answer_rows = plan["Plan Rows"]
    lines.append(f"PostgreSQL expects about {answer_rows:,} row{'s' * (answer_rows != 1)}")
    return lines


def _find_query_name(stored_name: str, names_by_table: Mapping[str, str]) -> str:
    """Return the name in queries of a table or partition, whose name begins with the longest matching prefix."""
    query_name = names_by_table.get(stored_name)
    if query_name:
        return query_name
    matching_prefixes = [prefix for prefix in names_by_table if stored_name.startswith(prefix)]
    if not matching_prefixes:
        return names_by_table.get("", stored_name)
    return names_by_table[max(matching_prefixes, key=len)]


def _iterate_shared_table_query_names(
    connection: Any, schema: str, names_by_table: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield the names of shared tables and the prefixes of their partitions, each with its name in queries."""
    if not names_by_table:
        return
    comment_rows = connection.execute(shared_tables.write_shared_views_query(schema)).fetchall()
    for view, share in shared_tables.parse_shared_states(comment_rows).items():
        if view in names_by_table:
            query_name = names_by_table[view]
            yield share.base_table, query_name
            yield build_partition_prefix(query_name, share.base_table), query_name


def _iterate_plan_scans(plan_node: Mapping[str, Any], loop_count: float) -> Iterator[tuple[str, float, bool]]:
    """Yield table, rows of all runs together, and whether an index serves, for each scan of a plan."""
    node_type = plan_node["Node Type"]
    if node_type in _SCAN_NODES and "Relation Name" in plan_node:
        is_index_scan = node_type not in {"Seq Scan", "Sample Scan", "Foreign Scan"}
        yield plan_node["Relation Name"], plan_node["Plan Rows"] * loop_count, is_index_scan
    inner_nodes = plan_node.get("Plans", ())
    for part_number, inner_node in enumerate(inner_nodes):
        inner_loop_count = loop_count
        if node_type == "Nested Loop" and part_number == 1:
            inner_loop_count *= max(inner_nodes[0]["Plan Rows"], 1)
        yield from _iterate_plan_scans(inner_node, inner_loop_count)
