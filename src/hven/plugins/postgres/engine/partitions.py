"""Native partitions of a snapshot's table, by time or by HEALPix cell, created when rows first need them.

Rows without time or position, and rows whose time is outside the calendar, go to the default partition. PostgreSQL
skips partitions that a query does not need, when it plans and again when it runs the query, so that prepared statements
and joins profit, too.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines.api.rows import MISSING_KEY
from hven.model.errors import DataError
from hven.model.table import MONTHS_PER_UNIT, SECONDS_PER_UNIT
from hven.plugins.postgres.engine.position_search import CELL_COLUMN
from hven.plugins.postgres.engine.schema_installation import quote_identifier, quote_literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from hven.model.table import PartitionScheme, Table

    Keys = npt.NDArray[np.int64]

MAX_PARTITIONS = 400  # of one table: each one costs time and a lock in every plan that cannot skip it
FIRST_INSTANT = np.datetime64("0001-01-01", "us")
LAST_INSTANT = np.datetime64("9999-12-01", "us")
DEFAULT_PARTITION_SUFFIX = "rest"
MICROSECONDS_PER_SECOND = 1e6


@dataclass(slots=True)
class TablePartitions:
    """The partitions of one table that is being written.

    Attributes
    ----------
    table
        The table of the descriptor.
    schema
        Schema of the database.
    name
        Name of the table in the database.
    row_counts_by_key
        Key of each existing partition (number of the month, day or cell) -> its number of rows.
    copied_suffixes
        Suffixes of the partitions that were created like those of another snapshot.
    """

    table: Table
    schema: str
    name: str
    row_counts_by_key: dict[int, int] = field(default_factory=dict)
    copied_suffixes: set[str] = field(default_factory=set)

    @property
    def partition_spec(self) -> PartitionScheme:
        """The partitioning of the descriptor."""
        if self.table.partition is None:
            raise TypeError(f"{self.table.qualified_name} is not partitioned")
        return self.table.partition

    @property
    def partition_column(self) -> str:
        """The column whose value selects the partition."""
        if self.partition_spec.by == "healpix":
            return CELL_COLUMN
        return str(self.partition_spec.column)

    def write_partition_clause(self) -> str:
        """Write the clause that follows the columns in ``CREATE TABLE``."""
        return f"PARTITION BY RANGE ({quote_identifier(self.partition_column)})"

    def write_default_partition_statement(self) -> str:
        """Write the statement that creates the default partition."""
        return self._write_create_statement(DEFAULT_PARTITION_SUFFIX, "DEFAULT")

    def _write_create_statement(self, suffix: str, bounds_sql: str) -> str:
        return (
            f"CREATE TABLE {self._quote_partition(suffix)} PARTITION OF {self._quoted_table} {bounds_sql} "
            "WITH (autovacuum_enabled = off)"
        )

    @property
    def _quoted_table(self) -> str:
        """The table, written with its schema."""
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.name)}"

    def write_needed_partition_statements(self, rows: pa.Table, cells: Keys | None) -> Iterator[str]:
        """Write the statements that create the partitions which these rows need and which do not exist.

        Raises
        ------
        DataError
            The table would have too many partitions.
        """
        keys, counts = np.unique(self._compute_row_partition_keys(rows, cells), return_counts=True)
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            if key not in self.row_counts_by_key:
                lower_bound, upper_bound, suffix = self._write_partition_bounds(key)
                if suffix not in self.copied_suffixes:
                    if len(self.copied_suffixes) + len(self.row_counts_by_key) >= MAX_PARTITIONS:
                        raise self._build_limit_error()
                    yield self._write_create_statement(suffix, f"FOR VALUES FROM ({lower_bound}) TO ({upper_bound})")
            self.row_counts_by_key[key] = self.row_counts_by_key.get(key, 0) + count

    def _build_limit_error(self) -> DataError:
        coarser = "set `every` to a longer time"
        if self.partition_spec.by == "healpix":
            coarser = "set `order` to 1 or 0"
        message = (
            f"{self.table.qualified_name}: its rows would need more than {MAX_PARTITIONS} partitions "
            f"by {self.partition_spec.column or 'position'}"
        )
        return DataError(message, remedy=f"{coarser}, and check the column for wrong values")

    @property
    def quoted_default_partition(self) -> str:
        """The default partition, written with its schema."""
        return self._quote_partition(DEFAULT_PARTITION_SUFFIX)

    def write_partition_listing_query(self) -> str:
        """Write the query for the partitions and their bounds, without the default partition."""
        default_name = build_partition_prefix(self.table.qualified_name, self.name) + DEFAULT_PARTITION_SUFFIX
        return (
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) "
            "FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            f"WHERE i.inhparent = {quote_literal(self._quoted_table)}::regclass "
            f"AND c.relname <> {quote_literal(default_name)} ORDER BY 1"
        )

    def write_copied_partition_statements(
        self, listing_rows: Iterable[Sequence[Any]], other_partitions: TablePartitions
    ) -> Iterator[str]:
        """Write the statements that create the partitions which another snapshot of the table has.

        `listing_rows` is the answer to its `write_partition_listing_query`.
        """
        name_prefix = build_partition_prefix(other_partitions.table.qualified_name, other_partitions.name)
        for name, bound_sql in listing_rows:
            suffix = name.removeprefix(name_prefix)
            self.copied_suffixes.add(suffix)
            yield self._write_create_statement(suffix, bound_sql)

    def _quote_partition(self, suffix: str) -> str:
        partition_name = build_partition_prefix(self.table.qualified_name, self.name) + suffix
        return f"{quote_identifier(self.schema)}.{quote_identifier(partition_name)}"

    def _compute_row_partition_keys(self, rows: pa.Table, cells: Keys | None) -> Keys:
        """Return the partition key of each row that does not go to the default partition."""
        if self.partition_spec.by == "healpix":
            if cells is None:
                return np.empty(0, np.int64)
            return _divide_rounding_down(cells[cells != MISSING_KEY], 1 << 2 * (29 - self.partition_spec.order))
        column = rows.column(self.partition_column).drop_null().combine_chunks()
        if pa.types.is_timestamp(column.type):
            instants = column.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False)
            return self._compute_calendar_keys(np.asarray(instants))
        values = np.asarray(column.to_numpy(zero_copy_only=False))
        is_integer = pa.types.is_integer(column.type)
        width = self._compute_partition_width(is_integer=is_integer)
        if is_integer:
            return _divide_rounding_down(values, int(width))
        values = values[np.isfinite(values) & (np.abs(values.astype(np.float64)) < width * 2.0**40)]
        value_type = values.dtype.type
        keys = np.floor(values.astype(np.float64) / width)
        # The server compares with bounds that are rounded to the column's precision, so the keys must fit these.
        keys += (((keys + 1) * width).astype(value_type) <= values).astype(np.float64)
        keys -= ((keys * width).astype(value_type) > values).astype(np.float64)
        return _divide_rounding_down(keys, 1)

    def _compute_calendar_keys(self, values: npt.NDArray[np.datetime64]) -> Keys:
        values = values[(values >= FIRST_INSTANT) & (values < LAST_INSTANT)]
        count, unit = self.partition_spec.partition_length or (1, "month")
        if unit in MONTHS_PER_UNIT:
            months = values.astype("datetime64[M]").astype(np.int64)
            return _divide_rounding_down(months, count * MONTHS_PER_UNIT[unit])
        return _divide_rounding_down(values, int(count * SECONDS_PER_UNIT[unit] * MICROSECONDS_PER_SECOND))

    def _compute_partition_width(self, *, is_integer: bool) -> float:
        """Return the width of a partition in the unit of a column of numbers."""
        count, unit = self.partition_spec.partition_length or (30, "d")
        column = self.table.find_column(self.partition_column)
        width = count * SECONDS_PER_UNIT[unit] / SECONDS_PER_UNIT[column.unit or "d"]
        if is_integer:
            return max(1.0, round(width))
        return width

    def _write_partition_bounds(self, partition_key: int) -> tuple[str, str, str]:
        """Return the lower and upper bound of a partition, and the suffix of its name."""
        if self.partition_spec.by == "healpix":
            shift = 2 * (29 - self.partition_spec.order)
            lower_cell = partition_key << shift
            upper_cell = (partition_key + 1) << shift
            return str(lower_cell), str(upper_cell), f"{self.partition_spec.order}_{partition_key}"
        column_type = self.table.find_column(self.partition_column).type
        if column_type.is_timestamp:
            return self._write_calendar_bounds(partition_key)
        width: float = self._compute_partition_width(is_integer=column_type.is_integer)
        if column_type.is_integer:
            width = int(width)
        lower_value = partition_key * width
        upper_value = (partition_key + 1) * width
        return f"'{lower_value!r}'", f"'{upper_value!r}'", str(partition_key).replace("-", "m")

    def _write_calendar_bounds(self, partition_key: int) -> tuple[str, str, str]:
        count, unit = self.partition_spec.partition_length or (1, "month")
        if unit in MONTHS_PER_UNIT:
            month_count = count * MONTHS_PER_UNIT[unit]
            first_month, end_month = (
                np.datetime64(0, "M") + np.timedelta64(key * month_count, "M")
                for key in (partition_key, partition_key + 1)
            )
            lower_bound = f"'{_format_instant(first_month)}-01'"
            upper_bound = f"'{_format_instant(end_month)}-01'"
            return lower_bound, upper_bound, str(first_month).replace("-", "_")
        width_microseconds = int(count * SECONDS_PER_UNIT[unit] * MICROSECONDS_PER_SECOND)
        begin, end = (np.datetime64(key * width_microseconds, "us") for key in (partition_key, partition_key + 1))
        suffix = re.sub(r"[^0-9]", "", str(begin))[:14]
        return f"'{_format_instant(begin)}'", f"'{_format_instant(end)}'", suffix

    # --- after all rows are written

    def list_partitions(self, connection: Any) -> list[str]:
        """Return the names of the partitions, written with their schema."""
        partition_rows = connection.execute(
            "SELECT n.nspname, c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.inhparent = $1::regclass ORDER BY 2",
            [self._quoted_table],
        ).fetchall()
        return [f"{quote_identifier(schema)}.{quote_identifier(name)}" for schema, name in partition_rows]

    def cluster_partitions(self, connection: Any) -> None:
        """Rewrite each partition in the order of its cells; it has one ordered run after the other."""
        for partition in self.list_partitions(connection):
            with connection.transaction():
                connection.execute(f"CREATE INDEX for_order ON {partition} ({quote_identifier(CELL_COLUMN)})")
                connection.execute(f"CLUSTER {partition} USING for_order")
                connection.execute(f"DROP INDEX {quote_identifier(self.schema)}.for_order")


def build_partition_prefix(qualified_name: str, table_name: str) -> str:
    """Return the beginning of the names of the partitions of a snapshot's table."""
    slug = re.sub(r"[^a-z0-9]+", "_", qualified_name.lower()).strip("_")[:20]
    return f"p_{slug}_{hashlib.sha256(table_name.encode()).hexdigest()[:12]}_"


def build_table_partitions(table: Table, schema: str, table_name: str) -> TablePartitions | None:
    """Return the partitions of a table that is to be written; None if it has none."""
    if table.partition is None:
        return None
    return TablePartitions(table, schema, table_name)


def _divide_rounding_down(values: npt.NDArray[Any], divisor: int) -> Keys:
    """Divide whole numbers, rounding towards minus infinity."""
    quotients: Keys = np.floor_divide(values.astype(np.int64), np.int64(divisor))
    return quotients


def _format_instant(instant: np.datetime64[Any]) -> str:
    """Write a time as PostgreSQL reads it; years have four digits, and the last bound is in the year 10000."""
    return str(instant).replace("T", " ")
