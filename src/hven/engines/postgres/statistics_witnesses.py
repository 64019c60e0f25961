"""Looks at a column of a new snapshot for what shows its statistics, and lets the database find it.

A few values, not the column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.engines.postgres.dialect import get_storage_type
from hven.engines.postgres.schema_installation import quote_identifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.engines import Snapshot
    from hven.engines.postgres.engine_protocol import PostgresEngineProtocol
    from hven.model.table import Table

    Facts = Mapping[str, object]

MAX_CATEGORICAL_FRACTION = 0.01  # distinct values of the rows: below, one that is as extreme is found soon


class WitnessReader:
    """How `hven.engines._statistics_update.update_statistics` looks at a column (its `Look`).

    Only if an extreme may have gone with the rows that went.

    First come values that are as extreme as those, if a column has few values or an index, and texts as long as the
    longest that went, or not in ASCII, if there are any. If they are not enough, the extremes themselves come: of all
    columns that may have lost theirs, by one pass inside the server.

    Parameters
    ----------
    quoted_table
        The new snapshot, quoted.
    base_snapshot
        The one from which rows went.
    removed_statistics
        Statistics of these.
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
        """Yield witnesses, as long as they are wanted."""
        if name not in self._equal_values:
            self._equal_values[name] = self._find_equal_values(name)
        yield self._equal_values[name]
        if name not in self._extreme_values:
            self._find_extremes(name)
        yield self._extreme_values[name]
        if self._may_have_lost(name, "max_length"):
            if name not in self._longest_texts:
                text = (
                    f"SELECT {quote_identifier(name)} FROM {self._quoted_table} WHERE {quote_identifier(name)} IS "
                    f"NOT NULL ORDER BY char_length({quote_identifier(name)}) DESC LIMIT 1"
                )
                self._longest_texts[name] = self._build_array(name, [row[0] for row in self._fetch_rows(text)])
            yield self._longest_texts[name]

    def _may_have_lost(self, column_name: str, fact_name: str) -> bool:
        """Return whether what went was as extreme as all."""
        removed_value = self._removed_statistics[column_name].get(fact_name)
        return removed_value is not None and removed_value == self._base_snapshot.statistics[column_name].get(fact_name)

    def _is_indexed(self, column_name: str) -> bool:
        return self._table.find_column(column_name).indexed or column_name == self._table.primary[0]

    def _has_few_values(self, column_name: str) -> bool:
        """Return whether a column has few values."""
        distinct = self._base_snapshot.statistics[column_name].get("distinct", 0)
        return isinstance(distinct, int | float) and distinct <= MAX_CATEGORICAL_FRACTION * self._base_snapshot.rows

    def _find_equal_values(self, column_name: str) -> pa.Array:
        """Find values like those that went."""
        column = self._table.find_column(column_name)
        facts = self._removed_statistics[column_name]
        quoted = quote_identifier(column_name)
        tests: list[str] = []
        values: list[str] = []
        if self._has_few_values(column_name) or self._is_indexed(column_name):
            for extreme in ("minimum", "maximum"):
                if self._may_have_lost(column_name, extreme):
                    values.append(str(facts[extreme]))
                    tests.append(f"{quoted} = CAST(${len(values)}::text AS {get_storage_type(column.type)})")
        if self._may_have_lost(column_name, "max_length"):
            values.append(str(facts["max_length"]))
            tests.append(f"char_length({quoted}) = CAST(${len(values)}::text AS int)")
        if facts.get("non_ascii"):
            tests.append(f"octet_length({quoted}) <> char_length({quoted})")
        if not tests:
            return self._build_array(column_name, [])
        parts = [f"(SELECT {quoted} FROM {self._quoted_table} WHERE {test} LIMIT 1)" for test in tests]
        return self._build_array(column_name, [row[0] for row in self._fetch_rows(" UNION ALL ".join(parts), values)])

    def _find_extremes(self, column_name: str) -> None:
        """Find the extremes of a column; if that takes a pass, of all columns of many values that may have lost one."""
        column_names = [column_name]
        if not self._is_indexed(column_name) and not self._has_few_values(column_name):
            column_names += [
                other_name
                for other_name in self._removed_statistics
                if other_name != column_name
                and (self._may_have_lost(other_name, "minimum") or self._may_have_lost(other_name, "maximum"))
                and not self._is_indexed(other_name)
                and not self._has_few_values(other_name)
            ]
        calls = [
            f"{call}({quote_identifier(each_name)})"
            for each_name in column_names
            for call in self._list_aggregates(each_name)
        ]
        (extremes,) = self._fetch_rows(f"SELECT {', '.join(calls)} FROM {self._quoted_table}")
        for column_index, each_name in enumerate(column_names):
            self._extreme_values[each_name] = self._build_array(
                each_name, extremes[2 * column_index : 2 * column_index + 2]
            )

    def _list_aggregates(self, column_name: str) -> tuple[str, str]:
        if get_storage_type(self._table.find_column(column_name).type) == "boolean":
            return ("bool_and", "bool_or")
        return ("min", "max")

    def _fetch_rows(self, sql: str, parameters: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        with self._engine.write_pool.borrow_connection() as connection:
            rows: list[tuple[Any, ...]] = connection.execute(sql, parameters).fetchall()
        return rows

    def _build_array(self, column_name: str, values: Sequence[object]) -> pa.Array:
        return pa.array(
            [value for value in values if value is not None], self._table.find_column(column_name).type.arrow
        )


__all__ = ["WitnessReader"]
