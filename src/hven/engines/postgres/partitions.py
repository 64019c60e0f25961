"""Native partitions of a snapshot's table: by time or by HEALPix cell, made as rows come that need them.

What has no time or position, or one that no calendar has, goes to the default partition. PostgreSQL leaves out the partitions
that a query cannot need, when it plans and again when it runs: prepared statements and joins profit, too.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines._rows import LAST
from hven.engines.postgres.install import literal, quote
from hven.engines.postgres.places import CELL
from hven.model.errors import DataError
from hven.model.table import MONTHS, SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from hven.model.table import Partition, Table

    Keys = npt.NDArray[np.int64]

MOST = 400  # partitions of one table: each costs every plan that cannot leave it out some time and locks
FIRST, LAST_YEAR = np.datetime64("0001-01-01", "us"), np.datetime64("9999-12-01", "us")
REST = "rest"


@dataclass(slots=True)
class Pieces:
    """The partitions of one table that is being written.

    Attributes
    ----------
    here
        The schema, quoted.
    name
        The table.
    made
        Keys of those that are there: number of the month, day or cell; rows of each.
    taken
        Ends of the names of those that were made like another snapshot's.
    """

    table: Table
    schema: str
    name: str
    made: dict[int, int] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    @property
    def said(self) -> Partition:
        """What the descriptor says."""
        if self.table.partition is None:
            raise TypeError(f"{self.table.qualified} is in one piece")
        return self.table.partition

    @property
    def column(self) -> str:
        """The column whose value leads to the partition."""
        return CELL if self.said.by == "healpix" else str(self.said.column)

    def clause(self) -> str:
        """Write what follows the columns in ``CREATE TABLE``."""
        return f"PARTITION BY RANGE ({quote(self.column)})"

    def begin(self) -> str:
        """Write the statement that makes the default partition."""
        return f"CREATE TABLE {self._piece(REST)} PARTITION OF {quote(self.schema)}.{quote(self.name)} DEFAULT WITH (autovacuum_enabled = off)"

    def needed(self, rows: pa.Table, cells: Keys | None) -> Iterator[str]:
        """Write the statements that make the partitions which these rows need and which are not there.

        Raises
        ------
        DataError
            They would be too many.
        """
        keys, counts = np.unique(self._keys(rows, cells), return_counts=True)
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            if key not in self.made and (ends := self._bounds(key))[2] not in self.taken:
                if len(self.taken) + len(self.made) >= MOST:
                    shorter = "order 1 or 0" if self.said.by == "healpix" else "a longer time under 'every'"
                    message = f"{self.table.qualified}: its rows would make more than {MOST} partitions by {self.said.column or 'position'}"
                    raise DataError(message, remedy=f"say {shorter}; look for wrong values of the column, too")
                low, high, word = ends
                yield (
                    f"CREATE TABLE {self._piece(word)} PARTITION OF {quote(self.schema)}.{quote(self.name)} "
                    f"FOR VALUES FROM ({low}) TO ({high}) WITH (autovacuum_enabled = off)"
                )
            self.made[key] = self.made.get(key, 0) + count

    @property
    def rest(self) -> str:
        """The default partition, written with its schema."""
        return self._piece(REST)

    def listing(self) -> str:
        """Write the query for the partitions and their bounds, without the default one."""
        return (
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            f"WHERE i.inhparent = {literal(f'{quote(self.schema)}.{quote(self.name)}')}::regclass "
            f"AND c.relname <> {literal(beginning(self.table.qualified, self.name) + REST)} ORDER BY 1"
        )

    def like(self, found: Iterable[Sequence[Any]], other: Pieces) -> Iterator[str]:
        """Write the statements that make the partitions which another snapshot of the table has; `found` is its `listing`."""
        first = beginning(other.table.qualified, other.name)
        for name, bound in found:
            word = name.removeprefix(first)
            self.taken.add(word)
            yield (
                f"CREATE TABLE {self._piece(word)} PARTITION OF {quote(self.schema)}.{quote(self.name)} {bound} "
                "WITH (autovacuum_enabled = off)"
            )

    def _piece(self, word: str) -> str:
        return f"{quote(self.schema)}.{quote(beginning(self.table.qualified, self.name) + word)}"

    def _keys(self, rows: pa.Table, cells: Keys | None) -> Keys:
        """Return the key of each row's partition, without those of the default partition."""
        if self.said.by == "healpix":
            if cells is None:
                return np.empty(0, np.int64)
            return _whole(cells[cells != LAST], 1 << 2 * (29 - self.said.order))
        column = rows.column(self.column).drop_null().combine_chunks()
        if pa.types.is_timestamp(column.type):
            return self._calendar(np.asarray(column.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False)))
        values = np.asarray(column.to_numpy(zero_copy_only=False))
        width = self._width(whole=pa.types.is_integer(column.type))
        if pa.types.is_integer(column.type):
            return _whole(values, int(width))
        values = values[np.isfinite(values) & (np.abs(values.astype(np.float64)) < width * 2.0**40)]
        kind = values.dtype.type
        keys = np.floor(values.astype(np.float64) / width)
        # the ends are rounded to the column's precision, and the server compares with these
        keys += (((keys + 1) * width).astype(kind) <= values).astype(np.float64)
        keys -= ((keys * width).astype(kind) > values).astype(np.float64)
        return _whole(keys, 1)

    def _calendar(self, values: npt.NDArray[np.datetime64]) -> Keys:
        values = values[(values >= FIRST) & (values < LAST_YEAR)]
        count, unit = self.said.step or (1, "month")
        if unit in MONTHS:
            months = values.astype("datetime64[M]").astype(np.int64)
            return _whole(months, count * MONTHS[unit])
        return _whole(values, int(count * SECONDS[unit] * 1e6))

    def _width(self, *, whole: bool) -> float:
        """Return the length of a piece in the unit of a column of numbers."""
        count, unit = self.said.step or (30, "d")
        width = count * SECONDS[unit] / SECONDS[self.table.column(self.column).unit or "d"]
        return max(1.0, round(width)) if whole else width

    def _bounds(self, key: int) -> tuple[str, str, str]:
        """Return the ends of a partition and the end of its name."""
        if self.said.by == "healpix":
            shift = 2 * (29 - self.said.order)
            return str(key << shift), str((key + 1) << shift), f"{self.said.order}_{key}"
        kind = self.table.column(self.column).type
        if not kind.is_timestamp:
            width = self._width(whole=kind.is_integer)
            ends = [(key + more) * (int(width) if kind.is_integer else width) for more in (0, 1)]
            return f"'{ends[0]!r}'", f"'{ends[1]!r}'", f"{key}".replace("-", "m")
        count, unit = self.said.step or (1, "month")
        if unit in MONTHS:
            size = count * MONTHS[unit]
            first, last = (np.datetime64(0, "M") + np.timedelta64((key + more) * size, "M") for more in (0, 1))
            return f"'{_date(first)}-01'", f"'{_date(last)}-01'", str(first).replace("-", "_")
        width_us = int(count * SECONDS[unit] * 1e6)
        begin, end = (np.datetime64((key + more) * width_us, "us") for more in (0, 1))
        return f"'{_date(begin)}'", f"'{_date(end)}'", re.sub(r"[^0-9]", "", str(begin))[:14]

    # --- when all rows are there

    def names(self, connection: Any) -> list[str]:
        """Return the partitions, written with their schema."""
        found = connection.execute(
            "SELECT n.nspname, c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE i.inhparent = $1::regclass ORDER BY 2",
            [f"{quote(self.schema)}.{quote(self.name)}"],
        ).fetchall()
        return [f"{quote(schema)}.{quote(name)}" for schema, name in found]

    def order(self, connection: Any) -> None:
        """Write each partition anew in the order of its cells: the runs lie one after the other."""
        for piece in self.names(connection):
            with connection.transaction():
                connection.execute(f"CREATE INDEX for_order ON {piece} ({quote(CELL)})")
                connection.execute(f"CLUSTER {piece} USING for_order")
                connection.execute(f"DROP INDEX {quote(self.schema)}.for_order")


def beginning(qualified: str, name: str) -> str:
    """Return what the names of the partitions of a snapshot's table begin with."""
    slug = re.sub(r"[^a-z0-9]+", "_", qualified.lower()).strip("_")[:20]
    return f"p_{slug}_{hashlib.sha256(name.encode()).hexdigest()[:12]}_"


def of(table: Table, schema: str, name: str) -> Pieces | None:
    """Return the pieces of a table that is to be written, None if it stays whole."""
    return None if table.partition is None else Pieces(table, schema, name)


def _whole(values: npt.NDArray[Any], size: int) -> Keys:
    """Divide whole numbers, towards minus infinity."""
    found: Keys = np.floor_divide(values.astype(np.int64), np.int64(size))
    return found


def _date(when: np.datetime64[Any]) -> str:
    """Write a time; years up to 9999 have four figures, and 10000 is the end of the last."""
    return str(when).replace("T", " ")


__all__ = ["Pieces", "of"]
