"""The far road: a bound query, written once for Spark and run by the cluster over the Parquet files that it is given."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hven.adql.sql import Writer
from hven.adql.tree import Join
from hven.engines import Execution, Memory, Relay
from hven.engines._clock import Timed
from hven.engines._rows import LAST, position_keys
from hven.engines.hats import faults
from hven.engines.hats.connect import batches
from hven.engines.hats.dialect import Elsewhere, Spark, name_of
from hven.engines.hats.matches import CELL, CELLS, MARK, PLACE, SPREAD, Match, cells, order_of, widest
from hven.engines.hats.servers import NAME
from hven.engines.hats.spark_functions import named
from hven.model.errors import BindError, Cancelled, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from hven.adql.tree import Bound, ColumnRef, FromItem
    from hven.engines import Limits, Relation
    from hven.engines.hats.cluster import Cluster
    from hven.engines.hats.connect import Answer, Session
    from hven.model.table import Table

    Values = Sequence[float | str | None]

MOST = 2**31 - 2  # rows that a limit may say
SHOWN = 3  # files that are named


class SparkWriter(Writer):
    """Writes a query; what Spark does not compute is `Elsewhere`."""

    def source(self, node: FromItem) -> str:
        """Write an item of FROM."""
        text = super().source(node)
        outer = isinstance(node, Join) and node.on is not None and node.kind.upper() not in {"INNER", "CROSS"}
        if outer and isinstance(node, Join) and node.on is not None and named(self.expr(node.on)):
            raise Elsewhere("a function of ours in the condition of an outer join")
        return text


@dataclass(frozen=True)
class Text:
    """A query in Spark's words.

    Attributes
    ----------
    slots
        Of literals, in the order of the parameters.
    names
        Qualified table name -> the name that stands for its rows.
    celled
        Those of them whose cells are read.
    spreads, placed
        Such a name -> the match for which its rows are spread, or get the cells of another position.
    """

    sql: str
    slots: tuple[int, ...]
    names: Mapping[str, str]
    celled: frozenset[str]
    spreads: Mapping[str, Match]
    placed: Mapping[str, Match]

    @classmethod
    def of(cls, bound: Bound, dialect: Spark) -> Text:
        """Write a query."""
        dialect.most = bound.longest
        writer = SparkWriter(dialect, dialect.names, bound.free)
        try:
            sql = writer.query(bound.query)
        except RecursionError:
            raise BindError("the query is nested too deeply", remedy="write it flatter") from None
        spreads = {
            dialect.names[match.spread.table.qualified]: match
            for match in dialect.spreads.values()
            if match.spread.table is not None
        }
        return cls(sql, tuple(writer.parameters), dialect.names, frozenset(dialect.celled), spreads, dialect.placed)


class FarPlan:
    """A query for the cluster, free of literal values: immutable, shared by threads.

    Attributes
    ----------
    schema
        Of the batches.

    Raises
    ------
    Elsewhere
        Spark does not compute it; says why.
    """

    def __init__(self, cluster: Cluster, bound: Bound) -> None:
        self._cluster = cluster
        self._bound = bound
        self.schema = pa.schema([pa.field(column.name, column.type.arrow) for column in bound.columns])
        for field in self.schema:
            name_of(field.type)
        self.text = Text.of(bound, Spark(bound))

    def execute(
        self,
        values: Values,
        relations: Mapping[str, Relation],
        limits: Limits,
        files: Mapping[str, Sequence[str]],
        otherwise: Callable[[str], Execution] | None = None,
        holding: Callable[[], AbstractContextManager[object]] = nullcontext,
        leaves: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Execution:
        """Run with these literals.

        Parameters
        ----------
        values
            By `Literal.slot`.
        relations
            `Memory` of the tables that have no files.
        limits
            Rows, time and batches.
        files
            Qualified table name -> its Parquet files, as the cluster sees them.
        otherwise
            Computes in another way what only Spark itself knows not to compute, given the reason.
        holding
            Keeps the files from being removed for as long as the cluster may read them.
        leaves
            Qualified table name -> its columns that are called otherwise in the files, or stand in structs of them, and where.

        Returns
        -------
        execution
            Nothing is asked before somebody iterates; without `otherwise` it may then raise `Elsewhere`, before the first batch.
        """
        make = partial(self._relation, values, relations, files, leaves or {})
        asked = FarExecution(self._cluster, self.schema, make, limits, holding)
        return asked if otherwise is None else Otherwise(asked, otherwise)

    def explain(self, files: Mapping[str, Sequence[str]]) -> str:
        """Describe what the cluster is asked.

        Parameters
        ----------
        files
            As for `execute`.
        """
        lines = [
            f"{name}: {len(paths):,} files ({', '.join(path.rpartition('/')[2] for path in paths[:SHOWN])}{', ..' if len(paths) > SHOWN else ''})"
            for name, paths in files.items()
        ]
        text = self.text
        lines += [f"{name}: matched by HEALPix cells" for name, short in text.names.items() if short in text.spreads]
        return "\n".join([*lines, f"{NAME}: {text.sql.replace(MARK, '')}"])

    def _relation(
        self,
        values: Values,
        relations: Mapping[str, Relation],
        files: Mapping[str, Sequence[str]],
        leaves: Mapping[str, Mapping[str, str]],
        session: Session,
    ) -> Any:
        """Make what is asked in a session."""
        text = self.text
        session.define(named(text.sql))
        arguments: dict[str, object] = {f"p{number}": values[slot] for number, slot in enumerate(text.slots, 1)}
        views = {}
        for table in self._bound.tables:
            name = text.names[table.qualified]
            match = text.spreads.get(name)
            radii = None
            if table.qualified in files:
                if name in text.celled and not _celled(files[table.qualified]):
                    raise Elsewhere(f"{table.qualified} has no column {CELL}: a match or a cell of its positions")
                columns = {CELL: "BIGINT"} if name in text.celled else {}
                columns |= {column.name: name_of(column.type.arrow) for column in table.columns}
                plain = _stored(session, columns, files[table.qualified], leaves.get(table.qualified, {}))
                if name in text.placed:
                    lon, lat = _doubles(text.placed[name].probe)
                    session.define(["hven_healpix"])
                    plain = session.sql(
                        f"SELECT s.*, hven_healpix(29, {lon}, {lat}) AS `{PLACE}` FROM s{MARK} AS s",
                        {},
                        {f"s{MARK}": plain},
                    )
                if match is not None:
                    radii = match.size(values)
                    views[name + SPREAD] = _spread(session, plain, match, radii)
            else:
                rows = _rows(table, relations, celled=name in text.celled, placed=text.placed.get(name))
                if match is not None:
                    each = match.sizes(values, rows)
                    radii = widest(each)
                    views[name + SPREAD] = session.rows(_exploded(rows, match, each))
                plain = session.rows(rows)
            if match is not None and radii is not None:
                arguments[f"m{match.spread.number}"] = order_of(radii)
            views[name] = plain
        return session.sql(text.sql, arguments, views)


def _stored(session: Session, columns: Mapping[str, str], paths: Sequence[str], leaves: Mapping[str, str]) -> Any:
    """Make a relation of the rows of files, of which some columns are called otherwise there, or stand in structs."""
    if not leaves:
        return session.files(columns, paths)
    there: dict[str, str] = {}
    inner: dict[str, list[str]] = {}
    items = []
    for name, kind in columns.items():
        top, within, field = leaves.get(name, name).partition(".")
        if within:
            inner.setdefault(top, []).append(f"{_quoted(field)}: {kind}")
        else:
            there[top] = kind
        items.append(f"s.{_quoted(top)}{f'.{_quoted(field)}' if within else ''} AS {_quoted(name)}")
    there |= {top: f"STRUCT<{', '.join(fields)}>" for top, fields in inner.items()}
    return session.sql(f"SELECT {', '.join(items)} FROM s", {}, {"s": session.files(there, paths)})


def _quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def _celled(paths: Sequence[str]) -> bool:
    """Check whether the files of a catalogue have cells: those of others need not, and Spark would take all of them for null."""
    return not paths or CELL in pq.read_schema(paths[0]).names


def _spread(session: Session, plain: Any, match: Match, radius: float) -> Any:
    """Spread stored rows over cells, on the workers."""
    lon, lat = _doubles(match.centre)
    session.define(["hven_cells"])
    text = f"SELECT s.*, explode(hven_cells(CAST(:k AS INT), {lon}, {lat}, CAST(:r AS DOUBLE))) AS `{CELLS}` FROM s{MARK} AS s"
    return session.sql(text, {"k": order_of(radius), "r": radius}, {f"s{MARK}": plain})


def _exploded(rows: pa.Table, match: Match, radii: Any) -> pa.Table:
    """Spread rows in memory over cells."""
    lon, lat = (_floats(rows.column(item.column.name)) for item in match.centre if item.column is not None)
    listed = cells(order_of(widest(radii)), lon, lat, radii)
    taken = rows.take(pc.list_parent_indices(listed))
    return taken.append_column(CELLS, pc.list_flatten(listed))


def _doubles(pair: tuple[ColumnRef, ColumnRef]) -> list[str]:
    """Write a position of a view ``s``."""
    names = [item.column.name.replace("`", "``") for item in pair if item.column is not None]
    return [f"CAST(s.`{name}` AS DOUBLE)" for name in names]


def _rows(table: Table, relations: Mapping[str, Relation], *, celled: bool, placed: Match | None) -> pa.Table:
    """Return rows in memory as Spark takes them: its types, and the cell of each if it is read."""
    relation = relations.get(table.qualified)
    if not isinstance(relation, Memory):
        message = f"nobody said where the rows of {table.qualified} are"
        raise StorageError(message)
    chosen = relation.rows.select([column.name for column in table.columns])
    wanted = {CELL: table.position if celled else None, PLACE: None if placed is None else placed.columns}
    for own, position in wanted.items():
        if position is not None:
            keys = position_keys(*(relation.rows.column(name) for name in position))
            chosen = chosen.append_column(own, pa.array(keys, mask=keys == LAST))
    columns = [_sendable(column) for column in chosen.columns]
    return pa.table(dict(zip(chosen.schema.names, columns, strict=True))) if columns else relation.rows.select([])


def _sendable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert what Spark has no type for: bytes without sign, lists of fixed length, texts of 64 bits."""
    wanted = _plain(column.type)
    return column if column.type.equals(wanted) else column.cast(wanted)


def _plain(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_list(type_) or pa.types.is_fixed_size_list(type_) or pa.types.is_large_list(type_):
        return pa.list_(_plain(type_.value_type))
    if pa.types.is_dictionary(type_):
        return _plain(type_.value_type)
    return pa.int16() if type_ == pa.uint8() else pa.string() if pa.types.is_large_string(type_) else type_


def _floats(column: pa.ChunkedArray) -> Any:
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)


class FarExecution(Timed):
    """A running query (`hven.engines.Execution`). Nothing happens before somebody iterates; then it can be stopped from any thread."""

    def __init__(
        self,
        cluster: Cluster,
        schema: pa.Schema,
        make: Any,
        limits: Limits,
        holding: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.schema = schema
        self._holding = holding
        self._cluster = cluster
        self._watch = cluster.watch
        self._make = make
        self._limits = limits
        self._lock = threading.Lock()
        self._stopped: str | None = None
        self._over = False
        self._running: Answer | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self._count()
        try:
            with self._holding(), self._cluster.turn(lambda: self._stopped is not None, self._limits.clock):
                yield from self._twice()
        finally:
            self.close()

    def _twice(self) -> Generator[pa.RecordBatch]:
        """Ask; and once more if the server began anew, or was away for a moment, as long as nothing was given."""
        given = False
        for again in (False, True):
            self._check()
            session = self._cluster.session()
            try:
                for batch in self._asked(session):
                    self._check()
                    given = True
                    yield batch
            except session.errors as error:
                gone = faults.lost(error) or faults.away(error)
                if self._stopped is None and gone:
                    self._cluster.forget(session, away=faults.away(error))
                if self._stopped is None and (gone or faults.forgotten(error)) and not given and not again:
                    continue
                told = self._translated(error)
                if given and isinstance(told, Elsewhere):  # it cannot begin anew
                    raise faults.unexpected(str(told)) from error
                raise told from error
            except pa.ArrowException as error:
                raise self._translated(error) from error
            return

    def _asked(self, session: Session) -> Iterator[pa.RecordBatch]:
        relation = self._make(session)
        if self._limits.rows is not None and self._limits.rows < MOST:
            relation = session.limited(relation, self._limits.rows + 1)
        answer = session.ask(relation, self._watch)
        with self._lock:
            self._running = answer
        try:
            self._check()
            step = self._limits.step(len(self.schema))
            for batch in batches(answer):
                whole = fit(batch, self.schema)
                for begin in range(0, whole.num_rows, step):
                    yield whole.slice(begin, step)
            if self._stopped is not None or self._over:
                self._check()
        finally:
            answer.leave()

    # --- stopping

    def _check(self) -> None:
        if self._stopped is not None:
            raise self._translated(InterruptedError())
        if self._over:
            raise Cancelled("the query was cancelled")
        if self._limits.clock is not None:
            self._limits.clock.check()

    def _translated(self, error: BaseException) -> Exception:
        seconds = None if self._limits.clock is None else self._limits.clock.seconds
        return faults.translate(error, where=self._cluster.where, stopped=self._stopped, seconds=seconds)

    @property
    def under_way(self) -> bool:
        """See `Timed`."""
        return not self._over

    def stop(self, why: str) -> None:
        """See `Timed`."""
        with self._lock:
            if self._over or self._stopped is not None:
                return
            self._stopped = why
        self._leave()
        self._cluster.wake()

    def close(self) -> None:
        """Free everything; see `hven.engines.Execution.close`."""
        self._over = True
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            running = self._running
        if running is not None:
            running.leave()


class Otherwise(Relay):
    """A query that is asked of the cluster, and computed in another way if Spark knows no such query: it says so before any row."""

    def __init__(self, asked: FarExecution, otherwise: Callable[[str], Execution]) -> None:
        super().__init__(asked.schema, asked)
        self._asked = asked
        self._otherwise = otherwise

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            try:
                yield from self._asked
            except Elsewhere as reason:
                yield from self._begin(self._otherwise(str(reason)))
        finally:
            self.close()


def fit(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Convert the columns of an answer to the promised names and types."""
    columns = [_fitting(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _fitting(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type.equals(kind):
        return column
    if pa.types.is_list(kind):
        values = _fitting(column.values, kind.value_type)
        return pa.ListArray.from_arrays(
            column.offsets, values, type=kind, mask=column.is_null() if column.null_count else None
        )
    if not pa.types.is_fixed_size_list(kind):
        return column.cast(kind)
    # a cast to lists of fixed length takes no nulls; they are filled up
    size = kind.list_size
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), size).to_numpy(zero_copy_only=False))
    if (lengths != size).any():
        raise pa.ArrowInvalid(f"a list of {int(lengths[lengths != size][0])} elements, where {size} are wanted")
    values = _fitting(column.flatten(), kind.value_type)
    if not column.null_count:
        return pa.FixedSizeListArray.from_arrays(values, type=kind)
    null = np.asarray(column.is_null())
    places = np.repeat(np.where(null, 0, np.cumsum(~null) - 1) * size, size) + np.tile(np.arange(size), len(column))
    filled = values.take(pa.array(places, mask=np.repeat(null, size)))
    return pa.FixedSizeListArray.from_arrays(filled, type=kind, mask=pa.array(null))


__all__ = ["FarExecution", "FarPlan", "Otherwise", "fit"]
