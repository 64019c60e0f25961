"""Statistics of columns that depend on the rows that a reader sees: lengths of texts, extremes of integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import quote_adql_name, quote_table_name
from hven.plugins.series.sample_parameters import has_text_arrays
from hven.plugins.series.table_series import list_table_series

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Table
    from hven.plugins.series.reader_view import ReaderView
    from hven.plugins.series.sample_parameters import SampleParameter
    from hven.site import PublishedTable

    Statistics = Mapping[str, Mapping[str, Any]]


def find_column_bounds(view: ReaderView, published: PublishedTable) -> Statistics:
    """Find the lengths of texts and the extremes of integers.

    They are those of the ingest; where a policy hides rows from some readers, those of the rows that this reader sees.
    The ingest does not measure texts in arrays.
    """
    table = published.table
    statistics = published.statistics
    text_columns = [column.name for column in table.columns if column.type.is_string]
    has_lengths = all("max_length" in statistics.get(name, {}) for name in text_columns)
    if table.policy is not None or not has_lengths:
        statistics = view.find_or_compute(
            "texts",
            table.qualified_name,
            lambda: {**_query_max_text_bytes(view, table, text_columns), **_query_integer_extremes(view, table)},
        )
    array_columns = _list_text_array_series_columns(table)
    if not array_columns:
        return statistics
    lengths = view.find_or_compute(
        "text arrays", table.qualified_name, lambda: _query_max_text_bytes(view, table, array_columns)
    )
    return {**statistics, **lengths}


def _list_text_array_series_columns(table: Table) -> list[str]:
    """List the columns of arrays of texts that data sets of a table may have."""
    parameter_names: set[str] = set()
    for series in list_table_series(table):
        parameter_names.update(name.lower() for name in series.parameters)
    array_columns = [column.name for column in table.columns if has_text_arrays(column.type)]
    if parameter_names:
        return [name for name in array_columns if name.lower() in parameter_names]
    return array_columns


def _query_integer_extremes(view: ReaderView, table: Table) -> dict[str, dict[str, Any]]:
    """Query the minimum and the maximum of each column of integers of 32 or 64 bits."""
    statistics: dict[str, dict[str, Any]] = {}
    types_by_name = {column.name: column.type for column in table.columns if column.type.is_integer}
    integer_columns = [name for name, column_type in types_by_name.items() if column_type.datatype in {"int", "long"}]
    if integer_columns:
        items = ", ".join(f"MIN({quote_adql_name(name)}), MAX({quote_adql_name(name)})" for name in integer_columns)
        extremes = pa.Table.from_batches(view.read_batches(f"SELECT {items} FROM {quote_table_name(table)}"))
        values = [column[0].as_py() for column in extremes.columns]
        for name, minimum, maximum in zip(integer_columns, values[::2], values[1::2], strict=True):
            statistics[name] = {"minimum": minimum, "maximum": maximum}
    return statistics


def _query_max_text_bytes(view: ReaderView, table: Table, column_names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Measure the longest text of each column, in bytes; at least 1."""
    lengths = dict.fromkeys(column_names, 1)
    if column_names:
        text = f"SELECT {', '.join(map(quote_adql_name, column_names))} FROM {quote_table_name(table)}"
        for batch in view.read_batches(text):
            for name, column in zip(column_names, batch.columns, strict=True):
                texts = column
                if pa.types.is_nested(column.type):
                    texts = pc.list_flatten(column)
                batch_length = pc.max(pc.binary_length(texts)).as_py() or 0
                lengths[name] = max(lengths[name], batch_length)
    return {name: {"max_length": length} for name, length in lengths.items()}


def write_any_not_null_condition(parameters: Sequence[SampleParameter], statistics: Statistics) -> tuple[str, ...]:
    """Write as ADQL which rows of a table are samples of one of its data sets: those where a parameter has a value.

    Nothing if one has a value in each row.
    """
    nulls = [statistics.get(parameter.name, {}).get("nulls") for parameter in parameters]
    if not nulls or 0 in nulls:
        return ()
    names = (quote_adql_name(parameter.name) for parameter in parameters)
    return (f"({' OR '.join(f'{name} IS NOT NULL' for name in names)})",)
