"""Values of a column that prove its statistics after a merge.

The database finds them without reading the whole column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.plugins.postgres.engine.dialect import get_storage_type
from hven.plugins.postgres.engine.schema_installation import quote_identifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.engines import Snapshot
    from hven.model.table import Table
    from hven.plugins.postgres.engine.engine_protocol import PostgresEngineProtocol

    Facts = Mapping[str, object]

MAX_CATEGORICAL_FRACTION = 0.01  # of distinct values among the rows; with fewer, an equal value is found quickly


class StatisticsWitnessReader:
    """A reader of values that prove the statistics of a column (`hven.engines.api.statistics`).

    It reads a column only if the removed rows may have had an extreme of it.

    First come values that are as extreme as the removed ones, if the column has few values or an index; then texts as
    long as the longest removed one, or not in ASCII, if there are any. If these are not enough, the extremes themselves
    follow, for all columns that may have lost theirs in one pass inside the server.

    Parameters
    ----------
    engine
        The engine.
    table
        The table of the descriptor.
    quoted_table
        Quoted name of the new snapshot.
    base_snapshot
        The snapshot from which rows were removed.
    removed_statistics
        Statistics of the removed rows.
    """

    def __init__(
        self,
        engine: PostgresEngineProtocol,
        table: Table,
        quoted_table: str,
        base_snapshot: Snapshot,
        removed_statistics: Mapping[str, Facts],
    ) -> None:
        self._engine = engine
        self._table = table
        self._quoted_table = quoted_table
        self._base_snapshot = base_snapshot
        self._removed_statistics = removed_statistics
        self._equal_values: dict[str, pa.Array] = {}
        self._extreme_values: dict[str, pa.Array] = {}
        self._longest_texts: dict[str, pa.Array] = {}

    def __call__(self, name: str) -> Iterator[pa.Array]:
        """Yield values of a column, until they are enough."""
        if name not in self._equal_values:
            self._equal_values[name] = self._find_equal_values(name)
        yield self._equal_values[name]
        if name not in self._extreme_values:
            self._fill_extreme_values(name)
        yield self._extreme_values[name]
        if self._has_possibly_lost_extreme(name, "max_length"):
            if name not in self._longest_texts:
                self._longest_texts[name] = self._find_longest_text(name)
            yield self._longest_texts[name]

    def _find_longest_text(self, column_name: str) -> pa.Array:
        quoted = quote_identifier(column_name)
        rows = self._fetch_rows(
            f"SELECT {quoted} FROM {self._quoted_table} WHERE {quoted} IS NOT NULL "
            f"ORDER BY char_length({quoted}) DESC LIMIT 1"
        )
        return self._build_array(column_name, [row[0] for row in rows])

    def _has_possibly_lost_extreme(self, column_name: str, fact_name: str) -> bool:
        """Return whether the removed rows had the extreme of all rows."""
        removed_value = self._removed_statistics[column_name].get(fact_name)
        return removed_value is not None and removed_value == self._base_snapshot.statistics[column_name].get(fact_name)

    def _is_indexed(self, column_name: str) -> bool:
        return self._table.find_column(column_name).indexed or column_name == self._table.primary[0]

    def _has_few_values(self, column_name: str) -> bool:
        """Return whether a column has few values."""
        distinct = self._base_snapshot.statistics[column_name].get("distinct", 0)
        return isinstance(distinct, int | float) and distinct <= MAX_CATEGORICAL_FRACTION * self._base_snapshot.rows

    def _find_equal_values(self, column_name: str) -> pa.Array:
        """Find values that are as extreme as the removed ones."""
        facts = self._removed_statistics[column_name]
        storage_type = get_storage_type(self._table.find_column(column_name).type)
        quoted = quote_identifier(column_name)
        conditions: list[str] = []
        parameters: list[str] = []
        if self._has_few_values(column_name) or self._is_indexed(column_name):
            for extreme in ("minimum", "maximum"):
                if self._has_possibly_lost_extreme(column_name, extreme):
                    parameters.append(str(facts[extreme]))
                    conditions.append(f"{quoted} = CAST(${len(parameters)}::text AS {storage_type})")
        if self._has_possibly_lost_extreme(column_name, "max_length"):
            parameters.append(str(facts["max_length"]))
            conditions.append(f"char_length({quoted}) = CAST(${len(parameters)}::text AS int)")
        if facts.get("non_ascii"):
            conditions.append(f"octet_length({quoted}) <> char_length({quoted})")
        if not conditions:
            return self._build_array(column_name, [])
        selects = [f"(SELECT {quoted} FROM {self._quoted_table} WHERE {condition} LIMIT 1)" for condition in conditions]
        rows = self._fetch_rows(" UNION ALL ".join(selects), parameters)
        return self._build_array(column_name, [row[0] for row in rows])

    def _fill_extreme_values(self, column_name: str) -> None:
        """Find the extremes of a column.

        If that needs a pass over the rows, it finds those of other columns that need one, too.
        """
        column_names = [column_name]
        if self._is_full_scan_needed(column_name):
            for other_name in self._removed_statistics:
                has_lost = self._has_possibly_lost_extreme(other_name, "minimum") or self._has_possibly_lost_extreme(
                    other_name, "maximum"
                )
                if other_name != column_name and has_lost and self._is_full_scan_needed(other_name):
                    column_names.append(other_name)
        calls = []
        for name in column_names:
            calls += [f"{aggregate}({quote_identifier(name)})" for aggregate in self._choose_extreme_aggregates(name)]
        (extremes,) = self._fetch_rows(f"SELECT {', '.join(calls)} FROM {self._quoted_table}")
        for number, name in enumerate(column_names):
            self._extreme_values[name] = self._build_array(name, extremes[2 * number : 2 * number + 2])

    def _is_full_scan_needed(self, column_name: str) -> bool:
        """Return whether only a pass over the rows finds the extremes of a column."""
        return not self._is_indexed(column_name) and not self._has_few_values(column_name)

    def _choose_extreme_aggregates(self, column_name: str) -> tuple[str, str]:
        if get_storage_type(self._table.find_column(column_name).type) == "boolean":
            return ("bool_and", "bool_or")
        return ("min", "max")

    def _fetch_rows(self, sql: str, parameters: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        with self._engine.write_pool.borrow_connection() as connection:
            rows: list[tuple[Any, ...]] = connection.execute(sql, parameters).fetchall()
        return rows

    def _build_array(self, column_name: str, values: Sequence[object]) -> pa.Array:
        present_values = [value for value in values if value is not None]
        return pa.array(present_values, self._table.find_column(column_name).type.arrow)
