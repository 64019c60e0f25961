"""The near road: row groups are read into memory, and the embedded engine's plan computes over them, at once or as they come."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines import Memory, Relay
from hven.engines._rows import conform
from hven.engines.gather import Gathering
from hven.engines.hats.plainly import rows_inside
from hven.engines.hats.reading import awaited
from hven.formats import hats_layout as layout
from hven.model.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.engines import Limits, Plan, Relation
    from hven.engines.hats.machine import Machine, Wanted

    Values = Sequence[float | str | None]
    Rows = npt.NDArray[np.int64]

AT_ONCE = 8  # row groups on a disk of this machine that are read where they are asked for
AHEAD = 3  # pieces of a stream that are read ahead
FIRST, LATER = 1, 4  # row groups of its first piece, and of the others
TRIED = 16  # row groups of a piece where conditions leave rows out


class Near(Gathering):
    """A running query over row groups (`hven.engines.Execution`)."""

    def __init__(
        self,
        engine: Machine,
        rest: Plan,
        wanted: Mapping[str, Wanted],
        values: Values,
        relations: Mapping[str, Relation],
        limits: Limits,
    ) -> None:
        super().__init__(rest, list(relations), values, relations, limits)
        self._engine, self._wanted = engine, wanted

    def _fetch(self) -> Iterator[tuple[str, pa.Table]]:
        with self._engine.reading([one.snapshot.path for one in self._wanted.values()]):
            for name, one in self._wanted.items():
                few = len(one.chosen) <= AT_ONCE and one.manifest.local
                # another thread, which can be left behind, costs a cone of few row groups a third of its time
                yield (
                    name,
                    rows_of(self._engine, one, one.chosen)
                    if few
                    else awaited(begun(self._engine, one, one.chosen), self._check),
                )

    def _check(self) -> None:
        check(self, self._limits)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for name, rows in self._fetch():
                self._relations[name] = Memory(rows, stored=True)
            yield from self._ran(self._rest, self._left, self._limits.rows)
        finally:
            self.close()
            self._relations.clear()


class Streamed(Relay):
    """A running query whose rows are made as row groups come (`hven.engines.Execution`).

    Parameters
    ----------
    top
        How many rows it has at most; None: all.
    """

    def __init__(
        self,
        engine: Machine,
        rest: Plan,
        name: str,
        wanted: Wanted,
        top: int | None,
        values: Values,
        limits: Limits,
    ) -> None:
        super().__init__(rest.schema)
        self._engine, self._rest, self._name, self._one = engine, rest, name, wanted
        self._values, self._limits = values, limits
        most = None if limits.rows is None else limits.rows + 1
        self._left = most if top is None else top if most is None else min(top, most)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        left = self._left
        step = self._limits.step(len(self.schema))
        with ExitStack() as stack:
            stack.callback(self.close)
            stack.enter_context(self._engine.reading([self._one.snapshot.path]))
            for rows in self._read():
                if left is not None and left <= 0:
                    return
                limits = replace(self._limits, rows=None if left is None else left - 1)
                execution = self._begin(
                    self._rest.execute(self._values, {self._name: Memory(rows, stored=True)}, limits)
                )
                try:
                    for batch in execution:
                        given = batch if left is None else batch.slice(0, left)
                        for begin in range(0, given.num_rows, step):
                            yield given.slice(begin, step)
                        if left is not None:
                            left -= given.num_rows
                            if left <= 0:
                                return
                finally:
                    self._runs(None)
                    execution.close()

    def _read(self) -> Iterator[pa.Table]:
        """Read pieces, a few ahead."""
        waiting: deque[Any] = deque()
        try:
            for chosen in self._pieces():
                waiting.append(begun(self._engine, self._one, chosen))
                if len(waiting) >= AHEAD:
                    yield awaited(waiting.popleft(), self._check)
            while waiting:
                yield awaited(waiting.popleft(), self._check)
        finally:
            for one in waiting:
                one.cancel()

    def _pieces(self) -> Iterator[Rows]:
        """Cut the row groups into pieces, none of which has those of two files."""
        chosen = self._one.chosen
        files = self._one.manifest.array("file")[chosen]
        begin, step = 0, FIRST
        while begin < len(chosen):
            end = int(np.searchsorted(files[begin : begin + step], files[begin], side="right")) + begin
            yield chosen[begin:end]
            begin, step = end, min(max(LATER, step * 2), TRIED)

    def _check(self) -> None:
        check(self, self._limits)


def check(execution: Any, limits: Limits) -> None:
    """Raise if nobody wants the answer any more, or no time is left."""
    if execution._stopped():  # noqa: SLF001  (of a Relay)
        raise Cancelled("the query was cancelled")
    if limits.clock is not None:
        limits.clock.check()


def begun(engine: Machine, wanted: Wanted, chosen: Rows) -> Any:
    """Begin to read row groups of a table in another thread."""
    return engine.reader.later(rows_of, engine, wanted, chosen, web=wanted.manifest.web)


def rows_of(engine: Machine, wanted: Wanted, chosen: Rows) -> pa.Table:
    """Read row groups of a table: the columns that are wanted, and no rows whose cells are not."""
    manifest = wanted.manifest
    if not wanted.columns:  # rows are counted
        count = int(manifest.array("rows")[chosen].sum())
        return pa.table({manifest.schema.names[0]: pa.nulls(count)})
    schema = manifest.narrowed(wanted.columns)
    names = schema.names
    sliced = wanted.cells is not None and bool(manifest.head.cell) and len(chosen) > 0
    asked = [layout.CELL, *names] if sliced and layout.CELL not in names else names
    pieces = []
    own = sliced and not manifest.head.foreign
    for path, groups in manifest.files(chosen):
        few = engine.reader.within(path, groups, schema, manifest.written[path], wanted.cells) if own else None
        if few is not None:
            pieces.append(pa.Table.from_batches([few], schema))
            continue
        found = engine.reader.read(path, groups, asked, manifest.written[path], manifest.head.leaves)
        if sliced:
            found = within(found, wanted.cells)
        found = found.select(names)
        if manifest.head.foreign or not found.schema.equals(schema):
            found = pa.Table.from_batches([conform(batch, schema) for batch in found.to_batches()], schema)
        pieces.append(found)
    return pa.concat_tables(pieces) if pieces else schema.empty_table()


def at_once(engine: Machine, wanted: Wanted) -> pa.Table | None:
    """Read rows in some cells out of what is in memory: an event loop may ask for them.

    Returns
    -------
    rows
        None: something would have to be waited for, or there is much.
    """
    manifest = wanted.manifest
    if (
        not manifest.head.cell
        or not manifest.local
        or wanted.cells is None
        or not wanted.columns
        or len(wanted.chosen) > AT_ONCE
    ):
        return None
    schema = manifest.narrowed(wanted.columns)
    pieces = []
    for path, groups in manifest.files(wanted.chosen):
        few = engine.reader.within(path, groups, schema, manifest.written[path], wanted.cells, at_once=True)
        if few is None:
            return None
        pieces.append(few)
    return pa.Table.from_batches(pieces, schema)


def within(rows: pa.Table, ranges: Any) -> pa.Table:
    """Return the rows in some cells; they must be in the order of their cells, else all are returned."""
    column = rows.column(layout.CELL)
    if column.null_count:
        return rows
    cells = np.asarray(column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)) if len(rows) else np.empty(0, np.int64)  # fmt: skip
    inside = rows_inside(cells, ranges)
    if inside is None:
        return rows
    if not len(inside):
        return rows.slice(0, 0)
    taken = pa.array(inside)
    if any(column.num_chunks != 1 for column in rows.columns):
        return rows.take(taken)
    arrays = [column.chunk(0) for column in rows.columns]  # a batch is quicker to take from than a table
    return pa.Table.from_batches([pa.RecordBatch.from_arrays(arrays, schema=rows.schema).take(taken)])


__all__ = ["Near", "Streamed", "at_once", "rows_of"]
