"""Rows -> groups, in DuckDB and on disk if need be: memory stays flat however many rows or groups there are."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

SEQUENCE_COLUMN = "group.sequence"
ROW_COUNT_COLUMN = "group.rows"
PARTITION_COLUMN = "group.part"
DUCKDB_MEMORY_LIMIT = "512MB"
ROWS_PER_PARTITION = 400_000  # rows that are grouped in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateColumn:
    """One column of groups: ``function(argument_names)`` as `output`; the last argument may be `order`.

    Attributes
    ----------
    is_distinct
        Each value once.
    separator
        Between texts that are joined.
    type
        Type of the result.
    """

    output: str
    function: str
    argument_names: tuple[str, ...]
    is_distinct: bool
    separator: str | None
    type: pa.DataType


class RowGrouper:
    """Collects rows, then gives groups.

    Parameters
    ----------
    directory
        Where rows are spooled.
    keys
        Columns whose values make a group. Null is a value.
    results
        Aggregates.
    plain
        Columns that have one value in each group; nulls beside it do not count.
    facts
        Columns of which the first row's value is taken.
    """

    def __init__(
        self,
        directory: Path,
        *,
        keys: Sequence[str],
        results: Sequence[AggregateColumn],
        plain: Sequence[str],
        facts: Sequence[str],
    ) -> None:
        import duckdb  # noqa: PLC0415  (the import takes a tenth of a second, and few tables have groups)

        directory.mkdir(parents=True, exist_ok=True)
        self._spool = tempfile.TemporaryDirectory(prefix="group-", dir=directory)
        self.keys = keys
        self.results = results
        self.plain = plain
        self.facts = facts
        self._schema: pa.Schema | None = None
        self._count = 0
        self._database_error = duckdb.Error
        self._connection = duckdb.connect(
            Path(self._spool.name) / "rows.duckdb",
            config={
                "memory_limit": DUCKDB_MEMORY_LIMIT,
                "temp_directory": str(Path(self._spool.name) / "temp"),
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._spool.cleanup()

    def add_rows(self, batch: pa.RecordBatch) -> None:
        """Add rows.

        Parameters
        ----------
        batch
            Keys, arguments of the aggregates, plain columns and facts.

        Raises
        ------
        StorageError
            The disk is full.
        """
        if self._schema is None:
            self._schema = batch.schema
        numbers = np.arange(self._count, self._count + batch.num_rows, dtype=np.int64)
        self._count += batch.num_rows
        table = pa.Table.from_batches([batch.append_column(SEQUENCE_COLUMN, pa.array(numbers))])
        self._connection.register("batch", table)
        try:
            exists = self._count > batch.num_rows
            self._connection.execute(
                "INSERT INTO rows SELECT * FROM batch" if exists else "CREATE TABLE rows AS SELECT * FROM batch"
            )
        except self._database_error as error:
            raise StorageError(
                f"the rows for `group_by` cannot be written to disk: {error}",
                remedy="free some space on the disk that contains var/",
            ) from error
        finally:
            self._connection.unregister("batch")

    def read_groups_with_conflicts(self, batch_row_limit: int) -> Iterator[tuple[pa.RecordBatch, dict[str, pa.Array]]]:
        """Yield groups, a batch at a time.

        Parameters
        ----------
        batch_row_limit
            Groups of a batch, at most.

        Yields
        ------
        batch
            Their columns, and `ROW_COUNT_COLUMN` (how many rows each has).
        others
            By plain column another value where a group has several, shape (n,).

        Raises
        ------
        StorageError
            The disk is full.
        """
        if self._schema is None:
            return
        items = [_quote_name(key) for key in self.keys]
        items += [f"{_write_aggregate_sql(column)} AS {_quote_name(column.output)}" for column in self.results]
        items += [f"min({_quote_name(column)}) AS {_quote_name(column)}" for column in self.plain]
        items += [
            f"arg_min({_quote_name(column)}, {_quote_name(SEQUENCE_COLUMN)}) AS {_quote_name(column)}"
            for column in self.facts
        ]
        items += [f"count(*) AS {_quote_name(ROW_COUNT_COLUMN)}"]
        items += [
            (
                f"CASE WHEN min({_quote_name(column)}) <> max({_quote_name(column)}) THEN "
                f"max({_quote_name(column)})::VARCHAR END AS {_quote_name(f'odd.{column}')}"
            )
            for column in self.plain
        ]
        keys = ", ".join(_quote_name(key) for key in self.keys)
        sql = f"SELECT {', '.join(items)} FROM rows"
        types = (
            {item.name: item.type for item in self._schema}
            | {column.output: column.type for column in self.results}
            | {ROW_COUNT_COLUMN: pa.int64()}
        )
        parts = -(-self._count // ROWS_PER_PARTITION)
        try:
            if parts > 1:  # joined texts and first values do not spill: so many groups at a time as have room
                self._connection.execute(
                    f"CREATE TABLE parted AS SELECT *, hash({keys}) % {parts} AS "
                    f"{_quote_name(PARTITION_COLUMN)} FROM rows ORDER BY {_quote_name(PARTITION_COLUMN)}"
                )
                self._connection.execute("DROP TABLE rows; ALTER TABLE parted RENAME TO rows")
            for part in range(parts):
                if parts > 1:
                    partition_clause = f" WHERE {_quote_name(PARTITION_COLUMN)} = {part}"
                else:
                    partition_clause = ""
                for batch in self._connection.execute(f"{sql}{partition_clause} GROUP BY {keys}").to_arrow_reader(
                    batch_row_limit
                ):
                    if batch.num_rows:
                        yield _split_conflict_columns(batch, types)
        except self._database_error as error:
            raise StorageError(
                f"the rows cannot be grouped: {error}", remedy="free some space on the disk that contains var/"
            ) from error


def _split_conflict_columns(
    batch: pa.RecordBatch, types: dict[str, pa.DataType]
) -> tuple[pa.RecordBatch, dict[str, pa.Array]]:
    arrays = {}
    odd = {}
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        if name.startswith("odd."):
            odd[name.removeprefix("odd.")] = values
        elif values.type == types[name]:
            arrays[name] = values
        else:
            arrays[name] = values.cast(types[name])
    return pa.RecordBatch.from_pydict(arrays), odd


def _quote_name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _write_aggregate_sql(column: AggregateColumn) -> str:
    """Write the aggregate of DuckDB that a column stands for."""
    args = [_quote_name(arg) for arg in column.argument_names]
    value = "*"
    if args:
        value = args[0]
    order = _quote_name(SEQUENCE_COLUMN)
    if len(args) > 1:
        order = args[1]
    elif column.is_distinct:
        order = value
    distinct_value = value
    if column.is_distinct:
        distinct_value = f"DISTINCT {value}"
    function = column.function
    if function in {"STRING_AGG", "IVO_STRING_AGG"}:
        return _write_string_aggregate_sql(column, value, order)
    if function in {"SUM", "AVG"} and pa.types.is_floating(column.type):  # the order decides the last bits of a sum
        return f"list_{function.lower()}(list_sort(list({distinct_value})))"
    templates = {
        "FIRST_OF": f"arg_min({value}, {order})",
        "LAST_OF": f"arg_max({value}, {order})",
        "ARRAY_AGG": f"list({distinct_value} ORDER BY {order}) FILTER ({value} IS NOT NULL)",
        "UNION_OF": f"string_agg(DISTINCT {value}, ' ' ORDER BY {value})",
    }
    return templates.get(function, f"{function.lower()}({distinct_value})")


def _write_string_aggregate_sql(column: AggregateColumn, value: str, order: str) -> str:
    separator = (column.separator or "").replace("'", "''")
    text = f"{value}::VARCHAR"
    if column.is_distinct:
        return f"string_agg(DISTINCT {text}, '{separator}' ORDER BY {text})"
    return f"string_agg({text}, '{separator}' ORDER BY {order})"
