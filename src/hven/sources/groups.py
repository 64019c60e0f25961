"""Rows -> groups, in DuckDB and on disk if need be: memory stays flat however many rows or groups there are."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

SEQUENCE = "group.sequence"
ROWS = "group.rows"
PART = "group.part"
MEMORY = "512MB"
AT_ONCE = 400_000  # rows that are grouped in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One column of groups: ``function(args)`` as `output`. `order`: last of the args.

    Attributes
    ----------
    distinct
        Each value once.
    separator
        Between texts that are joined.
    type
        Of the result.
    """

    output: str
    function: str
    args: tuple[str, ...]
    distinct: bool
    separator: str | None
    type: pa.DataType


class Grouped:
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
        results: Sequence[Result],
        plain: Sequence[str],
        facts: Sequence[str],
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._spool = tempfile.TemporaryDirectory(prefix="group-", dir=directory)
        self.keys, self.results, self.plain, self.facts = keys, results, plain, facts
        self._schema: pa.Schema | None = None
        self._count = 0
        self._connection = duckdb.connect(
            Path(self._spool.name) / "rows.duckdb",
            config={
                "memory_limit": MEMORY,
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

    def add(self, rows: pa.RecordBatch) -> None:
        """Add rows.

        Parameters
        ----------
        rows
            Keys, arguments of the aggregates, plain columns and facts.

        Raises
        ------
        StorageError
            The disk is full.
        """
        if self._schema is None:
            self._schema = rows.schema
        numbers = np.arange(self._count, self._count + rows.num_rows, dtype=np.int64)
        self._count += rows.num_rows
        table = pa.Table.from_batches([rows.append_column(SEQUENCE, pa.array(numbers))])
        self._connection.register("batch", table)
        try:
            exists = self._count > rows.num_rows
            self._connection.execute(
                "INSERT INTO rows SELECT * FROM batch" if exists else "CREATE TABLE rows AS SELECT * FROM batch"
            )
        except duckdb.Error as error:
            raise StorageError(
                f"rows cannot be spooled for group_by: {error}", remedy="make room on the disk of var/"
            ) from error
        finally:
            self._connection.unregister("batch")

    def groups(self, size: int) -> Iterator[tuple[pa.RecordBatch, dict[str, pa.Array]]]:
        """Yield groups, a batch at a time.

        Parameters
        ----------
        size
            Groups of a batch, at most.

        Yields
        ------
        batch
            Their columns, and `ROWS` (how many rows each has).
        others
            By plain column another value where a group has several, shape (n,).

        Raises
        ------
        StorageError
            The disk is full.
        """
        if self._schema is None:
            return
        items = [_name(key) for key in self.keys]
        items += [f"{_sql(one)} AS {_name(one.output)}" for one in self.results]
        items += [f"min({_name(one)}) AS {_name(one)}" for one in self.plain]
        items += [f"arg_min({_name(one)}, {_name(SEQUENCE)}) AS {_name(one)}" for one in self.facts]
        items += [f"count(*) AS {_name(ROWS)}"]
        items += [
            f"CASE WHEN min({_name(one)}) <> max({_name(one)}) THEN max({_name(one)})::VARCHAR END AS {_name(f'odd.{one}')}"
            for one in self.plain
        ]
        keys = ", ".join(_name(key) for key in self.keys)
        sql = f"SELECT {', '.join(items)} FROM rows"
        types = (
            {item.name: item.type for item in self._schema}
            | {one.output: one.type for one in self.results}
            | {ROWS: pa.int64()}
        )
        parts = -(-self._count // AT_ONCE)
        try:
            if parts > 1:  # joined texts and first values do not spill: so many groups at a time as have room
                self._connection.execute(
                    f"CREATE TABLE parted AS SELECT *, hash({keys}) % {parts} AS {_name(PART)} FROM rows ORDER BY {_name(PART)}"
                )
                self._connection.execute("DROP TABLE rows; ALTER TABLE parted RENAME TO rows")
            for part in range(parts):
                where = f" WHERE {_name(PART)} = {part}" if parts > 1 else ""
                for batch in self._connection.execute(f"{sql}{where} GROUP BY {keys}").to_arrow_reader(size):
                    if batch.num_rows:
                        yield _typed(batch, types)
        except duckdb.Error as error:
            raise StorageError(
                f"the rows cannot be grouped: {error}", remedy="make room on the disk of var/"
            ) from error


def _typed(batch: pa.RecordBatch, types: dict[str, pa.DataType]) -> tuple[pa.RecordBatch, dict[str, pa.Array]]:
    arrays, odd = {}, {}
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        if name.startswith("odd."):
            odd[name.removeprefix("odd.")] = values
        else:
            arrays[name] = values if values.type == types[name] else values.cast(types[name])
    return pa.RecordBatch.from_pydict(arrays), odd


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _sql(one: Result) -> str:
    args = [_name(arg) for arg in one.args]
    word = "DISTINCT " if one.distinct else ""
    value = args[0] if args else "*"
    order = args[1] if len(args) > 1 else value if one.distinct else _name(SEQUENCE)
    match one.function:
        case "STRING_AGG" | "IVO_STRING_AGG":
            separator = "'" + (one.separator or "").replace("'", "''") + "'"
            value = f"{value}::VARCHAR"
            return f"string_agg({word}{value}, {separator} ORDER BY {value if one.distinct else order})"
        case "FIRST_OF":
            return f"arg_min({value}, {order})"
        case "LAST_OF":
            return f"arg_max({value}, {order})"
        case "ARRAY_AGG":
            return f"list({word}{value} ORDER BY {order}) FILTER ({value} IS NOT NULL)"
        case "UNION_OF":
            return f"string_agg(DISTINCT {value}, ' ' ORDER BY {value})"
        case "SUM" | "AVG" if pa.types.is_floating(one.type):  # in order: the last bits of a sum hang on it
            return f"list_{one.function.lower()}(list_sort(list({word}{value})))"
        case name:
            return f"{name.lower()}({word}{value})"
