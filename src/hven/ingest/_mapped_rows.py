"""Source rows -> what one mapped row is made of: elements of arrays (`for_each`), groups of rows (`group_by`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor.elements import INDEX
from hven.descriptor.mapping import SOURCE
from hven.ingest._casting import whole
from hven.ingest._transform import positions
from hven.sources import ROW
from hven.sources.groups import Grouped, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt

    from hven.descriptor.outcome import Groups, Mapping
    from hven.engines import Engine

MOST = 131_072  # elements of a batch
FILE = "file.path"


class Unrolled:
    """A batch whose array columns become their elements.

    Attributes
    ----------
    uneven
        Rows whose arrays have different lengths.
    empty
        Rows without any element: null or empty arrays.
    """

    def __init__(self, batch: pa.RecordBatch, names: Sequence[str]) -> None:
        self.batch, self.names = batch, names
        sizes = np.stack(
            [np.asarray(pc.fill_null(pc.list_value_length(batch.column(name)), 0), np.int64) for name in names]
        )
        # a null array has nulls for elements
        self.there = {name: np.asarray(pc.is_valid(batch.column(name))) for name in names}
        most = sizes.max(axis=0)
        self.uneven: npt.NDArray[np.bool_] = ((sizes != most) & np.stack(list(self.there.values()))).any(axis=0)
        self.sizes = np.where(self.uneven, 0, most)
        self.empty: npt.NDArray[np.bool_] = (sizes == 0).all(axis=0)
        self.lengths = sizes

    def parts(self) -> Iterator[pa.RecordBatch]:
        """Yield the elements with their rows' other values and their number in `INDEX`, so many at a time."""
        bounds = np.concatenate([[0], np.cumsum(self.sizes)])
        lists = {name: self._flat(name) for name in self.names}
        for begin in range(0, int(bounds[-1]), MOST):
            at = np.arange(begin, min(begin + MOST, int(bounds[-1])))
            row = np.searchsorted(bounds, at, side="right") - 1
            within = at - bounds[row]
            taken = pa.array(row)
            columns = []
            for name, values in zip(self.batch.schema.names, self.batch.columns, strict=True):
                if name in lists:
                    starts, flat = lists[name]
                    columns.append(flat.take(pa.array(starts[row] + within, mask=~self.there[name][row])))
                else:
                    columns.append(values.take(taken))
            names = [*self.batch.schema.names, INDEX]
            yield pa.RecordBatch.from_arrays([*columns, pa.array(within + 1, pa.int64())], names=names)

    def _flat(self, name: str) -> tuple[npt.NDArray[np.int64], Any]:
        """Return where each row's elements begin, and the elements."""
        column = self.batch.column(name)
        if pa.types.is_fixed_size_list(column.type):
            return (np.arange(len(column)) + column.offset) * column.type.list_size, column.values
        return np.asarray(column.offsets, np.int64)[:-1], column.values


class Grouper:
    """Collects the rows of a source, and gives them as groups that the mapping sees as rows."""

    def __init__(self, engine: Engine, mapping: Mapping, groups: Groups, directory: Path) -> None:
        self.engine, self.mapping, self.how = engine, mapping, groups
        results = [
            Result(
                output=one.output,
                function=one.function,
                args=one.args,
                distinct=one.distinct,
                separator=one.separator,
                type=one.type.arrow,
            )
            for one in groups.aggregates
        ]
        self.taken = tuple(dict.fromkeys((*groups.simple, *groups.plain)))
        facts = [name for name in (ROW, FILE) if name not in self.taken]
        self.facts = facts
        self.grouped = Grouped(
            directory,
            keys=(*groups.simple, *groups.keys),
            results=results,
            plain=[name for name in groups.plain if name not in facts],
            facts=facts,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.grouped.__exit__(kind, error, trace)

    def add(self, batch: pa.RecordBatch) -> int:
        """Add a batch; return how many rows ``where`` left out."""
        numbered = batch.set_column(
            batch.schema.get_field_index(ROW), ROW, pa.array(np.arange(batch.num_rows, dtype=np.int64))
        )
        found = self.engine.compute(self.how.bound, {SOURCE: numbered})
        at = positions(found.column(ROW), numbered)
        kept = batch if at is None else batch.take(pa.array(at))
        names = [*self.taken, *self.facts]
        arrays = [kept.column(name) for name in names]
        for name in found.column_names:
            if name != ROW:
                names.append(name)
                arrays.append(whole(found.column(name)))
        if kept.num_rows:
            self.grouped.add(pa.RecordBatch.from_arrays(arrays, names=names))
        return int(batch.num_rows - kept.num_rows)

    def groups(self) -> Iterator[tuple[pa.RecordBatch, dict[str, pa.Array]]]:
        """Yield groups as source rows, and by column the groups in which it had several values."""
        yield from self.grouped.groups(MOST)
