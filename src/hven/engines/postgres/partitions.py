"""Native partitions of a snapshot's table: by time or by HEALPix cell, made as rows come that need them.

What has no time or position, or one that no calendar has, goes to the default partition. PostgreSQL leaves out the
partitions that a query cannot need, when it plans and again when it runs: prepared statements and joins profit, too.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines._row_preparation import MISSING_KEY
from hven.engines.postgres.position_search import CELL_COLUMN
from hven.engines.postgres.schema_installation import quote_identifier, quote_literal
from hven.model.errors import DataError
from hven.model.table import MONTHS_PER_UNIT, SECONDS_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from hven.model.table import Partition, Table

    Keys = npt.NDArray[np.int64]

MAX_PARTITIONS = 400  # partitions of one table: each costs every plan that cannot leave it out some time and locks
FIRST_INSTANT, LAST_INSTANT = np.datetime64("0001-01-01", "us"), np.datetime64("9999-12-01", "us")
DEFAULT_PARTITION_SUFFIX = "rest"


@dataclass(slots=True)
class TablePartitions:
    """The partitions of one table that is being written.

    Attributes
    ----------
    here
        The schema, quoted.
    name
        The table.
    row_counts_by_key
        Keys of those that are there: number of the month, day or cell; rows of each.
    copied_suffixes
        Ends of the names of those that were made like another snapshot's.
    """

    table: Table
    schema: str
    name: str
    row_counts_by_key: dict[int, int] = field(default_factory=dict)
    copied_suffixes: set[str] = field(default_factory=set)

    @property
    def partition_spec(self) -> Partition:
        """What the descriptor says."""
        if self.table.partition is None:
            raise TypeError(f"{self.table.qualified_name} is in one piece")
        return self.table.partition

    @property
    def partition_column(self) -> str:
        """The column whose value leads to the partition."""
        if self.partition_spec.by == "healpix":
            return CELL_COLUMN
        return str(self.partition_spec.column)

    def write_partition_clause(self) -> str:
        """Write what follows the columns in ``CREATE TABLE``."""
        return f"PARTITION BY RANGE ({quote_identifier(self.partition_column)})"

    def write_default_partition(self) -> str:
        """Write the statement that makes the default partition."""
        return (
            f"CREATE TABLE {self._quote_partition(DEFAULT_PARTITION_SUFFIX)} PARTITION OF "
            f"{quote_identifier(self.schema)}.{quote_identifier(self.name)} DEFAULT WITH (autovacuum_enabled = off)"
        )

    def write_needed_partitions(self, rows: pa.Table, cells: Keys | None) -> Iterator[str]:
        """Write the statements that make the partitions which these rows need and which are not there.

        Raises
        ------
        DataError
            They would be too many.
        """
        keys, counts = np.unique(self._compute_keys(rows, cells), return_counts=True)
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            if key not in self.row_counts_by_key and (bounds := self._write_bounds(key))[2] not in self.copied_suffixes:
                if len(self.copied_suffixes) + len(self.row_counts_by_key) >= MAX_PARTITIONS:
                    if self.partition_spec.by == "healpix":
                        shorter = "order 1 or 0"
                    else:
                        shorter = "a longer time under 'every'"
                    message = (
                        f"{self.table.qualified_name}: its rows would make more than {MAX_PARTITIONS} partitions "
                        f"by {self.partition_spec.column or 'position'}"
                    )
                    raise DataError(message, remedy=f"say {shorter}; look for wrong values of the column, too")
                lower_bound, upper_bound, suffix = bounds
                yield (
                    f"CREATE TABLE {self._quote_partition(suffix)} PARTITION OF {quote_identifier(self.schema)}.{quote_identifier(self.name)} "
                    f"FOR VALUES FROM ({lower_bound}) TO ({upper_bound}) WITH (autovacuum_enabled = off)"
                )
            self.row_counts_by_key[key] = self.row_counts_by_key.get(key, 0) + count

    @property
    def quoted_default(self) -> str:
        """The default partition, written with its schema."""
        return self._quote_partition(DEFAULT_PARTITION_SUFFIX)

    def write_listing_query(self) -> str:
        """Write the query for the partitions and their bounds, without the default one."""
        return (
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            f"WHERE i.inhparent = {quote_literal(f'{quote_identifier(self.schema)}.{quote_identifier(self.name)}')}::regclass "
            f"AND c.relname <> {quote_literal(build_partition_prefix(self.table.qualified_name, self.name) + DEFAULT_PARTITION_SUFFIX)} ORDER BY 1"
        )

    def write_like_partitions(
        self, listing_rows: Iterable[Sequence[Any]], other_partitions: TablePartitions
    ) -> Iterator[str]:
        """Write the statements that make the partitions which another snapshot of the table has.

        `listing_rows` is its `write_listing_query`.
        """
        name_prefix = build_partition_prefix(other_partitions.table.qualified_name, other_partitions.name)
        for name, bound_sql in listing_rows:
            suffix = name.removeprefix(name_prefix)
            self.copied_suffixes.add(suffix)
            yield (
                f"CREATE TABLE {self._quote_partition(suffix)} PARTITION OF {quote_identifier(self.schema)}.{quote_identifier(self.name)} {bound_sql} "
                "WITH (autovacuum_enabled = off)"
            )

    def _quote_partition(self, suffix: str) -> str:
        return f"{quote_identifier(self.schema)}.{quote_identifier(build_partition_prefix(self.table.qualified_name, self.name) + suffix)}"

    def _compute_keys(self, rows: pa.Table, cells: Keys | None) -> Keys:
        """Return the key of each row's partition, without those of the default partition."""
        if self.partition_spec.by == "healpix":
            if cells is None:
                return np.empty(0, np.int64)
            return _divide_rounding_down(cells[cells != MISSING_KEY], 1 << 2 * (29 - self.partition_spec.order))
        column = rows.column(self.partition_column).drop_null().combine_chunks()
        if pa.types.is_timestamp(column.type):
            return self._compute_calendar_keys(
                np.asarray(column.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False))
            )
        values = np.asarray(column.to_numpy(zero_copy_only=False))
        is_integer = pa.types.is_integer(column.type)
        width = self._compute_width(is_integer=is_integer)
        if pa.types.is_integer(column.type):
            return _divide_rounding_down(values, int(width))
        values = values[np.isfinite(values) & (np.abs(values.astype(np.float64)) < width * 2.0**40)]
        value_type = values.dtype.type
        keys = np.floor(values.astype(np.float64) / width)
        # the ends are rounded to the column's precision, and the server compares with these
        keys += (((keys + 1) * width).astype(value_type) <= values).astype(np.float64)
        keys -= ((keys * width).astype(value_type) > values).astype(np.float64)
        return _divide_rounding_down(keys, 1)

    def _compute_calendar_keys(self, values: npt.NDArray[np.datetime64]) -> Keys:
        values = values[(values >= FIRST_INSTANT) & (values < LAST_INSTANT)]
        count, unit = self.partition_spec.step or (1, "month")
        if unit in MONTHS_PER_UNIT:
            months = values.astype("datetime64[M]").astype(np.int64)
            return _divide_rounding_down(months, count * MONTHS_PER_UNIT[unit])
        return _divide_rounding_down(values, int(count * SECONDS_PER_UNIT[unit] * 1e6))

    def _compute_width(self, *, is_integer: bool) -> float:
        """Return the length of a piece in the unit of a column of numbers."""
        count, unit = self.partition_spec.step or (30, "d")
        column = self.table.find_column(self.partition_column)
        width = count * SECONDS_PER_UNIT[unit] / SECONDS_PER_UNIT[column.unit or "d"]
        if is_integer:
            return max(1.0, round(width))
        return width

    def _write_bounds(self, partition_key: int) -> tuple[str, str, str]:
        """Return the ends of a partition and the end of its name."""
        if self.partition_spec.by == "healpix":
            shift = 2 * (29 - self.partition_spec.order)
            return (
                str(partition_key << shift),
                str((partition_key + 1) << shift),
                f"{self.partition_spec.order}_{partition_key}",
            )
        column_type = self.table.find_column(self.partition_column).type
        if not column_type.is_timestamp:
            width = self._compute_width(is_integer=column_type.is_integer)
            bounds = [
                (partition_key + increment) * (int(width) if column_type.is_integer else width) for increment in (0, 1)
            ]
            return f"'{bounds[0]!r}'", f"'{bounds[1]!r}'", f"{partition_key}".replace("-", "m")
        count, unit = self.partition_spec.step or (1, "month")
        if unit in MONTHS_PER_UNIT:
            size = count * MONTHS_PER_UNIT[unit]
            first_month, end_month = (
                np.datetime64(0, "M") + np.timedelta64((partition_key + increment) * size, "M") for increment in (0, 1)
            )
            return (
                f"'{_format_instant(first_month)}-01'",
                f"'{_format_instant(end_month)}-01'",
                str(first_month).replace("-", "_"),
            )
        width_us = int(count * SECONDS_PER_UNIT[unit] * 1e6)
        begin, end = (np.datetime64((partition_key + increment) * width_us, "us") for increment in (0, 1))
        return f"'{_format_instant(begin)}'", f"'{_format_instant(end)}'", re.sub(r"[^0-9]", "", str(begin))[:14]

    # --- when all rows are there

    def list_partitions(self, connection: Any) -> list[str]:
        """Return the partitions, written with their schema."""
        partition_rows = connection.execute(
            "SELECT n.nspname, c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE i.inhparent = $1::regclass ORDER BY 2",
            [f"{quote_identifier(self.schema)}.{quote_identifier(self.name)}"],
        ).fetchall()
        return [f"{quote_identifier(schema)}.{quote_identifier(name)}" for schema, name in partition_rows]

    def cluster_partitions(self, connection: Any) -> None:
        """Write each partition anew in the order of its cells: the runs lie one after the other."""
        for partition in self.list_partitions(connection):
            with connection.transaction():
                connection.execute(f"CREATE INDEX for_order ON {partition} ({quote_identifier(CELL_COLUMN)})")
                connection.execute(f"CLUSTER {partition} USING for_order")
                connection.execute(f"DROP INDEX {quote_identifier(self.schema)}.for_order")


def build_partition_prefix(qualified_name: str, table_name: str) -> str:
    """Return what the names of the partitions of a snapshot's table begin with."""
    slug = re.sub(r"[^a-z0-9]+", "_", qualified_name.lower()).strip("_")[:20]
    return f"p_{slug}_{hashlib.sha256(table_name.encode()).hexdigest()[:12]}_"


def create_partitions(table: Table, schema: str, table_name: str) -> TablePartitions | None:
    """Return the pieces of a table that is to be written, None if it stays whole."""
    if table.partition is None:
        return None
    return TablePartitions(table, schema, table_name)


def _divide_rounding_down(values: npt.NDArray[Any], divisor: int) -> Keys:
    """Divide whole numbers, towards minus infinity."""
    quotients: Keys = np.floor_divide(values.astype(np.int64), np.int64(divisor))
    return quotients


def _format_instant(instant: np.datetime64[Any]) -> str:
    """Write a time; years up to 9999 have four figures, and 10000 is the end of the last."""
    return str(instant).replace("T", " ")


__all__ = ["TablePartitions", "create_partitions"]
