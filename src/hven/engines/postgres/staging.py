"""Writing a snapshot: Arrow batches by binary COPY into a new table, in HEALPix order; then indexes and statistics.

A table that fits into memory (`RUN`) is ordered here and copied once. A larger one is copied as it comes, every run ordered in itself,
and ordered by the server when it is complete. Nobody reads the table before its `Snapshot` is published, so nothing is locked.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines import Snapshot
from hven.engines._regions import region_columns
from hven.engines._rows import LAST, SHOWN, conform, position_keys, refuse_nulls, repeated, stable_order
from hven.engines._statistics import Statistics, coverage
from hven.engines.postgres import faults, partitions, regions
from hven.engines.postgres.dialect import storage
from hven.engines.postgres.install import literal, quote
from hven.engines.postgres.places import CELL, PGSPHERE, Q3C
from hven.engines.postgres.relations import remembering
from hven.model.errors import DataError, Overloaded, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hven.engines.postgres.machine import Machine
    from hven.model.table import Table

RUN = 512 * 1024**2
MEMORY = "256MB"  # that the server may use to sort a table or the keys of an index
COARSE = 8  # order of the cells that are remembered for the coverage


class TableStaging:
    """A snapshot that is being written (`hven.engines.Staging`)."""

    def __init__(self, engine: Machine, table: Table, snapshot: str, name: str) -> None:
        self.table = table
        self.name = name
        self._engine = engine
        self._id = snapshot
        self._schema = table.arrow
        self._into = name  # the table that takes the rows
        self._here = f"{quote(engine.schema)}.{quote(name)}"
        self._statistics = Statistics(table)
        self._cells: list[Any] = []
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = self._rows = self._runs = 0
        self._done = False
        self._pieces = partitions.of(table, engine.schema, name)
        self._regions = region_columns(table)
        with self._engine.writers.borrowed() as connection, self._words(), connection.transaction():
            for text in self._begin():
                connection.execute(text)

    def _begin(self, more: str = "") -> Iterator[str]:
        """Write the statements that make the table; `more` are columns of ours."""
        how = "WITH (autovacuum_enabled = off)" if self._pieces is None else self._pieces.clause()
        yield f"CREATE TABLE {self._here} ({columns(self.table)}{more}) {how}"
        if self._pieces is not None:
            yield self._pieces.begin()
        yield f"COMMENT ON TABLE {self._here} IS {literal(remembering(self.table))}"

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; columns are found by name and must have the types of the table."""
        if self._done:
            raise StorageError("this staging is finished or abandoned")
        batch = conform(batch, self._schema)
        if not batch.num_rows:
            return
        self._rows += batch.num_rows
        self._waiting.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= RUN:
            with self._guard():
                self._copy()

    def finish(self) -> Snapshot:
        """Order, index, make durable; see `hven.engines.Staging.finish`."""
        if self._done:
            raise StorageError("this staging is finished or abandoned")
        with self._guard():
            self._copy()
            with self._engine.writers.borrowed() as connection:
                if self._runs > 1 and self.table.position is not None:
                    self._order(connection)
                self._complete(connection)
                size = self._size(connection)
            return self._finished(size, self._coverage())

    def _complete(self, connection: Any) -> None:
        """Make a snapshot of the table when all rows are in it."""
        self._index(connection)
        connection.execute(f"VACUUM (FREEZE, ANALYZE) {self._here}")
        for text in self._grants(self.name):
            connection.execute(text)

    def _grants(self, name: str) -> list[str]:
        """Write the statements that let readers read a table or view."""
        return [
            f"GRANT SELECT ON {quote(self._engine.schema)}.{quote(name)} TO {quote(reader)}"
            for reader in self._engine.readers_roles
        ]

    def _size(self, connection: Any) -> int:
        """Return the size of the table with its indexes and partitions."""
        return int(
            connection.execute(
                "SELECT pg_total_relation_size($1::regclass) + (SELECT coalesce(CAST(sum(pg_total_relation_size(inhrelid)) AS bigint), 0) "
                "FROM pg_inherits WHERE inhparent = $1::regclass)",
                [self._here],
            ).fetchone()[0]
        )

    def _finished(self, size: int, coverage: str | None) -> Snapshot:
        """Describe the snapshot that was made."""
        self._done = True
        return Snapshot(
            id=self._id,
            table=self.table.qualified,
            path=self.name,
            rows=self._rows,
            bytes=size,
            statistics=self._statistics.result(),
            coverage=coverage,
            engine=self._engine.name,
            regions=tuple(self._regions),
        )

    def abandon(self) -> None:
        """Remove everything written; see `hven.engines.Staging.abandon`."""
        if self._done:
            return
        self._done = True
        self._waiting = []
        self._engine.remove(self.name)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Abandon the staging when something goes wrong."""
        try:
            with self._words():
                yield
        except BaseException:
            try:
                self.abandon()
            except StorageError:
                self._done = True  # the server is away: `sweep` removes the table
            raise

    @contextmanager
    def _words(self) -> Iterator[None]:
        try:
            yield
        except faults.kinds() as error:
            raise faults.translate(error, where=self._engine.where) from error

    # --- pieces

    def _copy(self) -> None:
        """Send what waits, ordered."""
        if not self._waiting:
            return
        rows = pa.Table.from_batches(self._waiting, schema=self._schema)
        self._waiting, self._bytes = [], 0
        self._statistics.add(rows)
        refuse_nul(rows, self.table)
        keys = None
        if self.table.position is not None:
            lon, lat = self.table.position
            keys = position_keys(rows.column(lon), rows.column(lat))
            order = stable_order(keys)
            rows, keys = rows.take(pa.array(order)), keys[order]
            found = keys[: np.searchsorted(keys, LAST)]
            self._cells.append(np.unique(found >> 2 * (29 - COARSE)))
            rows = rows.append_column(CELL, pa.array(keys, mask=keys == LAST))
        for name in self._regions:
            rows = rows.append_column(regions.beside(name), regions.cells(rows.column(name).combine_chunks()))
        if self._pieces is not None:
            with self._engine.writers.borrowed() as connection:
                for text in self._pieces.needed(rows, keys):
                    connection.execute(text)
        with self._engine.senders.borrowed() as connection, connection.cursor() as cursor:
            cursor.adbc_ingest(
                self._into, sendable(rows).to_reader(65_536), mode="append", db_schema_name=self._engine.schema
            )
        self._runs += 1

    def _order(self, connection: Any) -> None:
        """Write the table anew in HEALPix order: the runs lie one after the other."""
        if self._pieces is not None:
            self._pieces.order(connection)
            return
        other = f"{quote(self._engine.schema)}.{quote('o' + self._into[1:])}"
        with connection.transaction():
            connection.execute("SELECT set_config('work_mem', $1, true)", [MEMORY])
            connection.execute(
                f"CREATE TABLE {other} (LIKE {self._here} INCLUDING ALL) WITH (autovacuum_enabled = off)"
            )
            connection.execute(f"INSERT INTO {other} SELECT * FROM {self._here} ORDER BY {quote(CELL)} NULLS LAST")
            connection.execute(f"DROP TABLE {self._here}")
            connection.execute(f"ALTER TABLE {other} RENAME TO {quote(self._into)}")
            connection.execute(f"COMMENT ON TABLE {self._here} IS {literal(remembering(self.table))}")

    def _index(self, connection: Any) -> None:
        """Build the indexes, on two connections if another one is free; that of the primary key proves that it is one."""
        later = deque(sorted(self._indexes(), key=lambda text: not text.startswith("USING")))  # the slow ones first

        def build(connection: Any) -> None:
            while later:
                connection.execute(f"CREATE INDEX ON {self._here} {later.popleft()}")

        with self._beside(build):
            self._ready(connection)
            try:
                if self.table.primary:
                    self._primary(connection)
                build(connection)
            except BaseException:
                later.clear()
                raise

    def _indexes(self) -> list[str]:
        """Write what follows ``CREATE INDEX ON table``, but for the primary key."""
        return indexes(self.table, self._engine.found.mode)

    def _ready(self, connection: Any) -> None:
        """Set a connection to see the extensions' functions, and to sort in memory."""
        connection.execute(
            "SELECT set_config('search_path', $1, false), set_config('maintenance_work_mem', $2, false)",
            [self._engine.found.path, MEMORY],
        )

    @contextmanager
    def _beside(self, work: Callable[[Any], None]) -> Iterator[None]:
        """Run something in another thread with another connection, unless none is free; its errors come at the end."""
        try:
            other = self._engine.writers.take(0.0)
        except Overloaded:
            yield
            return
        errors: list[BaseException] = []

        def run() -> None:
            try:
                self._ready(other)
                work(other)
            except BaseException as error:  # noqa: BLE001  (it is told below)
                errors.append(error)

        thread = threading.Thread(target=run, name="hven indexes", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            while thread.is_alive():  # a cancellation that comes between two statements is lost
                with suppress(*faults.kinds()):
                    other.cancel()
                thread.join(0.1)
            raise
        finally:
            thread.join()
            self._engine.writers.put(other, used_up=bool(errors))
        if errors:
            raise errors[0]

    def _primary(self, connection: Any, *beside: str) -> None:
        """Index the primary key, and check that it is one; `beside` are columns of ours in the index."""
        names = list(self.table.primary)
        self._no_nulls()
        listed = ", ".join(map(quote, (*names, *beside)))
        # one index over all partitions can then prove nothing
        if self._pieces is not None and self._pieces.column not in names:
            connection.execute(f"CREATE INDEX ON {self._here} ({listed})")
            self._no_twins(connection)
            return
        try:
            connection.execute(f"CREATE UNIQUE INDEX ON {self._here} ({listed})")
        except faults.kinds() as error:
            if faults.state(error) != "23505":
                raise
            self._no_twins(connection)
            raise

    def _no_nulls(self) -> None:
        """Check that the primary key is null nowhere."""
        names = list(self.table.primary)
        nulls = sum(int(str(self._statistics.result().get(name, {}).get("nulls", 0))) for name in names)
        if self._rows:
            refuse_nulls(self.table, nulls)

    def _no_twins(self, connection: Any) -> None:
        """Check that no two rows have one primary key."""
        quoted = ", ".join(map(quote, self.table.primary))
        groups = f'SELECT {quoted}, count(*) AS "hven:times" FROM {self._here} GROUP BY {quoted} HAVING count(*) > 1'
        keys, rows = connection.execute(
            f'SELECT count(*), CAST(sum("hven:times") AS bigint) FROM ({groups}) AS g'
        ).fetchone()
        if not keys:
            return
        first = connection.execute(f"{groups} ORDER BY {quoted} LIMIT {SHOWN}").fetchall()
        raise repeated(self.table, keys, rows, first)

    def _coverage(self) -> str | None:
        if self.table.position is None:
            return None
        cells = np.unique(np.concatenate(self._cells)) if self._cells else np.empty(0, np.int64)
        return coverage(cells << 2 * (29 - COARSE))


def columns(table: Table) -> str:
    """Write the columns of a table's storage; texts are compared byte by byte, as everywhere in Hven."""
    found = []
    for column in table.columns:
        kind = storage(column.type)
        found.append(f"{quote(column.name)} {kind}" + (' COLLATE "C"' if kind in {"text", "text[]"} else ""))
    if table.position is not None:
        found.append(f"{quote(CELL)} bigint")
    found += [f"{quote(regions.beside(name))} bigint[]" for name in region_columns(table)]
    return ", ".join(found)


def indexes(table: Table, mode: str) -> list[str]:
    """Write what follows ``CREATE INDEX ON table``: columns that are searched, and the position in the way that the database has."""
    wanted: list[tuple[str, ...]] = [(column.name,) for column in table.columns if column.indexed or column.unique]
    wanted += [(name,) for name in table.primary[1:]]
    wanted += table.indexes
    if table.partition is not None and table.partition.column is not None:
        wanted.append((table.partition.column,))
    # one of several columns serves its first one, too
    led = {(*index[:1],) for index in table.indexes if len(index) > 1}
    found = []
    for names in dict.fromkeys(wanted):
        if names == table.primary or names in led:
            continue
        kinds = [table.column(name).type for name in names]
        if all(kind.is_string or kind.is_timestamp or kind.is_numeric for kind in kinds):
            found.append(f"({', '.join(map(quote, names))})")
    if table.position is not None:
        lon, lat = (quote(name) for name in table.position)
        found += [f"({quote(CELL)})", f"({lat})"]
        if mode == PGSPHERE:
            found.append(f"USING gist (spoint(radians({lon}), radians({lat})))")
        elif mode == Q3C:
            found.append(f"(q3c_ang2ipix({lon}, {lat}))")
    found += [f"USING gin ({quote(regions.beside(name))}) WITH (fastupdate = off)" for name in region_columns(table)]
    return list(dict.fromkeys(found))


def sendable(rows: pa.Table) -> pa.Table:
    """Convert rows to the types that COPY has: PostgreSQL knows no unsigned bytes, and lists of pairs (complex numbers) become plain lists."""
    fields = []
    for place, item in enumerate(rows.schema):
        kind = item.type
        if paired(kind):
            kind = pa.list_(kind.value_type.value_type)
            rows = rows.set_column(
                place, item.name, pa.chunked_array([flattened(chunk) for chunk in rows.column(place).chunks], kind)
            )
        elif pa.types.is_uint8(kind):
            kind = pa.int16()
        elif (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)) and pa.types.is_uint8(kind.value_type):
            kind = pa.list_(pa.int16())
        elif pa.types.is_fixed_size_list(kind):
            kind = pa.list_(kind.value_type)
        fields.append(pa.field(item.name, kind))
    return rows.cast(pa.schema(fields))


def paired(kind: pa.DataType) -> bool:
    """Return whether a type is a list of complex numbers."""
    return bool(pa.types.is_list(kind) and pa.types.is_fixed_size_list(kind.value_type))


def flattened(column: pa.ListArray) -> pa.ListArray:
    """Flatten lists of complex numbers to lists of their parts."""
    size = column.type.value_type.list_size
    parts = column.flatten().flatten()
    counts = pc.fill_null(pc.multiply(pc.list_value_length(column), size), 0).to_numpy(zero_copy_only=False)
    return _lists(counts, parts, column)


def folded(column: pa.ListArray, kind: pa.DataType) -> pa.ListArray:
    """Fold lists of parts into lists of complex numbers."""
    size = kind.value_type.list_size
    counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False) // size
    return _lists(counts, pa.FixedSizeListArray.from_arrays(column.flatten(), type=kind.value_type), column)


def _lists(counts: np.ndarray[Any, Any], values: pa.Array, like: pa.ListArray) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=like.is_null())


def refuse_nul(rows: pa.Table, table: Table) -> None:
    """Refuse texts with a NUL, which PostgreSQL cannot keep."""
    for item, column in zip(rows.schema, rows.columns, strict=True):
        if pa.types.is_string(item.type) and pc.any(pc.match_substring(column, "\0")).as_py():
            message = f"{table.qualified}: a text in {item.name} has the character NUL, which PostgreSQL cannot keep"
            raise DataError(message, remedy="remove it by an expression, or keep the collection in the embedded engine")
