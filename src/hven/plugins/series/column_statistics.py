"""Statistics of columns that depend on the rows that a reader sees: lengths of texts, extremes of integers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from hven import query
from hven.adql.adql_writer import quote_adql_name
from hven.model import LruCache
from hven.plugins.series.sample_parameters import has_text_arrays
from hven.plugins.series.table_series import list_table_series

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from hven.model.table import Table
    from hven.services.face import ServiceContext
    from hven.site import PublishedState, PublishedTable
    from hven.site.auth import Principal

MAX_QUERY_ROWS = 2**62


class TableStatisticsCache(LruCache[Any]):
    """Facts of tables that the ingest cannot compute, because they differ between readers."""

    def __init__(self) -> None:
        super().__init__(10_000)


def find_column_statistics(
    context: ServiceContext, principal: Principal, published: PublishedTable, published_state: PublishedState
) -> Mapping[str, Mapping[str, Any]]:
    """Find the lengths of texts and the extremes of integers.

    They are those of the ingest; where a policy hides rows from some readers, those of the rows that this reader sees.
    """
    table = published.table
    text_columns = [column.name for column in table.columns if column.type.is_string]
    if table.policy is None and all("max_length" in published.statistics.get(name, {}) for name in text_columns):
        return published.statistics
    access_key = published_state.find_access_key(principal, context.policies)
    key = ("texts", table.qualified_name, published_state.version, access_key)
    fact_cache: TableStatisticsCache = context.site.get_or_create(TableStatisticsCache)
    statistics: dict[str, dict[str, Any]] | None = fact_cache.find(key)
    if statistics is None:
        run_query = _bind_query_runner(context, principal, published_state)
        statistics = _query_max_text_bytes(run_query, table, text_columns)
        statistics |= _query_integer_extremes(run_query, table)
        fact_cache.store(key, statistics)
    return statistics


def find_array_text_lengths(
    context: ServiceContext, principal: Principal, published: PublishedTable, published_state: PublishedState
) -> Mapping[str, Mapping[str, Any]]:
    """Find the lengths of the texts in arrays, among the rows that a reader sees.

    The ingest measures plain texts only.
    """
    table = published.table
    parameter_names: set[str] = set()
    for series in list_table_series(table):
        parameter_names.update(name.lower() for name in series.parameters)
    array_columns = [column.name for column in table.columns if has_text_arrays(column.type)]
    if parameter_names:
        array_columns = [name for name in array_columns if name.lower() in parameter_names]
    if not array_columns:
        return {}
    access_key = published_state.find_access_key(principal, context.policies)
    key = ("text arrays", table.qualified_name, published_state.version, access_key)
    fact_cache: TableStatisticsCache = context.site.get_or_create(TableStatisticsCache)
    statistics: dict[str, dict[str, Any]] | None = fact_cache.find(key)
    if statistics is None:
        run_query = _bind_query_runner(context, principal, published_state)
        statistics = _query_max_text_bytes(run_query, table, array_columns, flatten=pc.list_flatten)
        fact_cache.store(key, statistics)
    return statistics


def _bind_query_runner(
    context: ServiceContext, principal: Principal, published_state: PublishedState
) -> Callable[..., query.QueryResult]:
    return partial(
        query.run_query,
        principal=principal,
        site=context.site,
        policies=context.policies,
        published_state=published_state,
    )


def _query_max_text_bytes(
    run_query: Callable[..., query.QueryResult],
    table: Table,
    column_names: Sequence[str],
    *,
    flatten: Callable[[pa.Array], pa.Array] | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure the longest text of each column, in bytes; at least 1."""
    lengths = dict.fromkeys(column_names, 1)
    if column_names:
        text = f"SELECT {', '.join(map(quote_adql_name, column_names))} FROM {_quote_table_name(table)}"
        with run_query(text, maxrec=MAX_QUERY_ROWS, hard_row_limit=MAX_QUERY_ROWS) as result:
            for batch in result.iterate_batches():
                for name, column in zip(column_names, batch.columns, strict=True):
                    texts = column if flatten is None else flatten(column)
                    batch_length = pc.max(pc.binary_length(texts)).as_py() or 0
                    lengths[name] = max(lengths[name], batch_length)
    return {name: {"max_length": length} for name, length in lengths.items()}


def _query_integer_extremes(run_query: Callable[..., query.QueryResult], table: Table) -> dict[str, dict[str, Any]]:
    """Query the smallest and largest value of each integer column of 32 or 64 bits."""
    integer_types = {column.name: column.type for column in table.columns if column.type.is_integer}
    integer_columns = [name for name, column_type in integer_types.items() if column_type.datatype in {"int", "long"}]
    if not integer_columns:
        return {}
    items = ", ".join(f"MIN({quote_adql_name(name)}), MAX({quote_adql_name(name)})" for name in integer_columns)
    with run_query(f"SELECT {items} FROM {_quote_table_name(table)}") as result:
        extremes = [column[0].as_py() for column in result.read_table().columns]
    minima = extremes[::2]
    maxima = extremes[1::2]
    statistics = {}
    for name, minimum, maximum in zip(integer_columns, minima, maxima, strict=True):
        statistics[name] = {"minimum": minimum, "maximum": maximum}
    return statistics


def _quote_table_name(table: Table) -> str:
    return f"{quote_adql_name(table.schema)}.{quote_adql_name(table.name)}"
