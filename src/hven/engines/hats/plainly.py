"""Rows by their cells out of files whose values stand there as they do in memory: of a row group a cone reads its own rows, and decodes none.

Parquet (2.11, "Data Pages"): the values of a page that is neither encoded nor compressed are its end, one behind the other; those that are NULL are missing.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from hven.formats import hats_layout as layout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

KINDS = {
    pa.int32(): ("INT32", "<i4"),
    pa.int64(): ("INT64", "<i8"),
    pa.float32(): ("FLOAT", "<f4"),
    pa.float64(): ("DOUBLE", "<f8"),
    pa.timestamp("us"): ("INT64", "<i8"),
}
STEP = 128  # rows from one cell that is kept to the next: what is searched stands in two pages of the disk
HEADER = 32  # bytes of a page's header that are looked at: its kind and sizes
FIELD = 0x15  # of a header: the next field, a whole number (Thrift's compact protocol)
_CELL = pa.field(layout.CELL, pa.int64())
NONE = np.empty(0, np.int64)
PAGES = {0, 3}  # kinds with values: of the first and of the second version


class NotInMemoryError(Exception):
    """What is to be read must be waited for."""


class Plain:
    """Where the values of a file stand. Thread-safe: what two threads find is the same.

    Parameters
    ----------
    footer
        Of the file (`pyarrow.parquet.FileMetaData`).
    """

    def __init__(self, footer: Any) -> None:
        self.footer = footer
        self._known: dict[tuple[int, str], int | None] = {}
        self._marks: dict[int, Rows | None] = {}
        self._begins: tuple[list[str], dict[int, dict[str, int]]] = [], {}  # of the columns that were asked for last

    @cached_property
    def _leaves(self) -> dict[str, int]:
        return {self.footer.schema.column(at).path: at for at in range(self.footer.num_columns)}

    def rows(self, group: int) -> int:
        """Count the rows of a row group."""
        found: int = self.footer.row_group(group).num_rows
        return found

    def begin(self, file: int, group: int, field: pa.Field, flags: int = 0) -> int | None:
        """Return where the values of a column of a row group begin; None: they do not stand there as they are."""
        key = group, field.name
        if key not in self._known:
            self._known[key] = self._look(file, group, field, flags) if field.type in KINDS else None
        return self._known[key]

    def begins(self, file: int, group: int, schema: pa.Schema, flags: int) -> dict[str, int]:
        """Return where the values of columns of a row group begin: of those that stand there as they are."""
        names, known = self._begins
        if names != schema.names:
            names, known = self._begins = schema.names, {}
        if group not in known:
            every = {field.name: self.begin(file, group, field, flags) for field in schema}
            known[group] = {name: begin for name, begin in every.items() if begin is not None}
        return known[group]

    def marks(self, file: int, group: int, flags: int = 0) -> Rows | None:
        """Return every `STEP`-th cell of a row group, and its last one; None: they do not stand there as they are, or not in their order."""
        if group not in self._marks:
            begin, found = self.begin(file, group, _CELL, flags), None
            if begin is not None and self.rows(group):
                cells = _values(file, begin, 0, self.rows(group), _CELL.type, flags)
                if (cells[1:] >= cells[:-1]).all():
                    found = np.append(cells[::STEP], cells[-1])
            self._marks[group] = found
        return self._marks[group]

    def _look(self, file: int, group: int, field: pa.Field, flags: int) -> int | None:
        leaf = self.footer.row_group(group).column(self._leaves[field.name])
        kind, form = KINDS[field.type]
        known = leaf.statistics
        plain = leaf.compression == "UNCOMPRESSED" and not leaf.has_dictionary_page and {*leaf.encodings} <= {"PLAIN", "RLE"}  # fmt: skip
        if not plain or leaf.physical_type != kind or known is None or not known.has_null_count or known.null_count:
            return None
        begin, whole = leaf.data_page_offset, leaf.total_compressed_size
        size = leaf.num_values * np.dtype(form).itemsize
        page = _page(bytes(_bytes(file, HEADER, begin, flags)))
        return begin + whole - size if size <= page < whole else None  # one page has them all, and ends with them


def _page(header: bytes) -> int:
    """Read the size of a page that is not compressed; 0: it has no values, or is."""
    at, found = 0, []
    for _ in range(3):  # its kind, its size, and that as it is compressed
        if header[at : at + 1] != bytes([FIELD]):
            return 0
        value = shift = 0
        while True:
            at += 1
            value |= (header[at] & 0x7F) << shift
            shift += 7
            if header[at] < 0x80:
                break
        at += 1
        found.append(value >> 1)  # zigzag
    kind, size, packed = found
    return size if kind in PAGES and size == packed else 0


def _span(marks: Rows, ranges: Rows, count: int) -> tuple[int, int]:
    """Find between which rows of a row group all rows in some cells are, by the cells that are kept of it."""
    met = ranges[(ranges[:, 1] > marks[0]) & (ranges[:, 0] <= marks[-1])]
    if not len(met):
        return 0, 0
    first = int(marks[:-1].searchsorted(met[0, 0], "left")) - 1
    last = int(marks[:-1].searchsorted(met[-1, 1], "left"))
    return max(first, 0) * STEP, min(last * STEP, count)


def rows_inside(cells: Rows, ranges: Rows) -> Rows | None:
    """Find the rows in some cells.

    Parameters
    ----------
    cells
        Of the rows, of order 29.
    ranges
        Cells, half-open, ascending, shape (r, 2).

    Returns
    -------
    rows
        Their numbers, ascending; None: cells are not in their order, or most rows are in these.
    """
    if not (cells[1:] >= cells[:-1]).all():
        return None
    found = _inside(cells, ranges)
    return None if len(found) * 2 > len(cells) else found


def _inside(cells: Rows, ranges: Rows) -> Rows:
    places = cells.searchsorted(ranges.ravel()).reshape(-1, 2)
    lengths = places[:, 1] - places[:, 0]
    ends = lengths.cumsum()
    found: Rows = np.arange(int(ends[-1]) if len(ends) else 0) + (places[:, 0] - (ends - lengths)).repeat(lengths)
    return found


class Within(NamedTuple):
    """Rows of some row groups: their columns that stand there as they are, and which rows they are, counted from the first row of the first group."""

    columns: dict[str, pa.Array]
    rows: Rows


def rows_within(
    path: str,
    plain: Plain,
    groups: Sequence[int],
    schema: pa.Schema,
    ranges: Rows,
    flags: int = 0,
    others: Callable[[list[str]], bool] | None = None,
) -> Within | None:
    """Read the rows in some cells.

    Parameters
    ----------
    path, plain
        Of the file.
    groups, schema
        Row groups, and the columns that are wanted.
    ranges
        Cells of order 29, half-open, ascending, shape (r, 2).
    flags
        ``os.RWF_NOWAIT``: nothing is waited for.
    others
        Says whether columns that do not stand there as they are are in memory; it is asked before any row is read.

    Returns
    -------
    rows
        None: cells do not stand there as they are, or not in their order; or most rows are in them.

    Raises
    ------
    OSError
        The file is cut off, or cannot be read.
    NotInMemoryError
        With that flag, or by `others`: something would have to be waited for.
    """
    pieces: dict[str, list[Any]] = {}
    taken, passed = [NONE], 0
    file = os.open(path, os.O_RDONLY)
    try:
        begins = [plain.begins(file, group, schema, flags) for group in groups]
        standing = [field for field in schema if all(field.name in one for one in begins)]
        if others is not None and len(standing) < len(schema):
            known = {field.name for field in standing}
            if not others([name for name in schema.names if name not in known]):
                raise NotInMemoryError
        for at, group in enumerate(groups):
            marks = plain.marks(file, group, flags)
            first = plain.begin(file, group, _CELL, flags)
            if marks is None or first is None:
                return None
            count = plain.rows(group)
            low, high = _span(marks, ranges, count)
            inside = _inside(_values(file, first, low, high, _CELL.type, flags), ranges) + low if high > low else NONE
            if len(inside) * 2 > count:
                return None
            if len(inside):
                low, high = int(inside[0]), int(inside[-1]) + 1
                taken.append(inside + passed)
                for field in standing:
                    found = _values(file, begins[at][field.name], low, high, field.type, flags)
                    pieces.setdefault(field.name, []).append(found[inside - low])
            passed += count
    finally:
        os.close(file)
    return Within({field.name: _array(field.type, pieces.get(field.name, [])) for field in standing}, np.concatenate(taken))  # fmt: skip


def taken(column: pa.ChunkedArray, rows: Rows) -> pa.Array:
    """Take some rows of a column that was decoded."""
    if column.num_chunks != 1:
        return column.take(pa.array(rows)).combine_chunks()
    whole = column.chunk(0)
    if whole.type not in KINDS or whole.null_count:
        return whole.take(pa.array(rows))
    values = np.frombuffer(whole.buffers()[1], KINDS[whole.type][1])  # Arrow takes ten times as long to take few
    return _array(whole.type, [values[rows + whole.offset]])


def _array(kind: pa.DataType, pieces: Sequence[Any]) -> pa.Array:
    whole = pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, KINDS[kind][1]), *pieces])
    return pa.Array.from_buffers(kind, len(whole), [None, pa.py_buffer(whole)])


def _values(file: int, begin: int, low: int, high: int, kind: pa.DataType, flags: int) -> Any:
    form = np.dtype(KINDS[kind][1])
    size = (high - low) * form.itemsize
    room = _bytes(file, size, begin + low * form.itemsize, flags)
    if len(room) != size:
        raise OSError("it is cut off")
    return room.view(form)


def _bytes(file: int, size: int, begin: int, flags: int) -> Any:
    """Read as many bytes as there are."""
    room = np.empty(size, np.uint8)
    try:
        count = os.preadv(file, [room.data], begin, flags)
    except OSError:
        if flags:
            raise NotInMemoryError from None
        raise
    if count < size and flags:
        raise NotInMemoryError
    return room[:count]


__all__ = ["NotInMemoryError", "Plain", "Within", "rows_inside", "rows_within", "taken"]
