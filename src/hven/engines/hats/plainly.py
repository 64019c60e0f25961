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
    from collections.abc import Sequence

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

KINDS = {
    pa.int32(): ("INT32", "<i4"),
    pa.int64(): ("INT64", "<i8"),
    pa.float32(): ("FLOAT", "<f4"),
    pa.float64(): ("DOUBLE", "<f8"),
    pa.timestamp("us"): ("INT64", "<i8"),
}
HEADER = 32  # bytes of a page's header that are looked at: its kind and sizes
FIELD = 0x15  # of a header: the next field, a whole number (Thrift's compact protocol)
_CELL = pa.field(layout.CELL, pa.int64())
PAGES = {0, 3}  # kinds with values: of the first and of the second version


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

    @cached_property
    def _leaves(self) -> dict[str, int]:
        return {self.footer.schema.column(at).path: at for at in range(self.footer.num_columns)}

    def rows(self, group: int) -> int:
        """Count the rows of a row group."""
        found: int = self.footer.row_group(group).num_rows
        return found

    def begin(self, file: int, group: int, field: pa.Field) -> int | None:
        """Return where the values of a column of a row group begin; None: they do not stand there as they are."""
        key = group, field.name
        if key not in self._known:
            self._known[key] = self._look(file, group, field) if field.type in KINDS else None
        return self._known[key]

    def _look(self, file: int, group: int, field: pa.Field) -> int | None:
        leaf = self.footer.row_group(group).column(self._leaves[field.name])
        kind, form = KINDS[field.type]
        known = leaf.statistics
        plain = leaf.compression == "UNCOMPRESSED" and not leaf.has_dictionary_page and {*leaf.encodings} <= {"PLAIN", "RLE"}  # fmt: skip
        if not plain or leaf.physical_type != kind or known is None or not known.has_null_count or known.null_count:
            return None
        begin, whole = leaf.data_page_offset, leaf.total_compressed_size
        size = leaf.num_values * np.dtype(form).itemsize
        page = _page(os.pread(file, HEADER, begin))
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
    places = cells.searchsorted(ranges.ravel()).reshape(-1, 2)
    places = places[places[:, 1] > places[:, 0]]
    lengths = places[:, 1] - places[:, 0]
    ends = np.cumsum(lengths)
    count = int(ends[-1]) if len(ends) else 0
    if count * 2 > len(cells):
        return None
    found: Rows = np.arange(count) + np.repeat(places[:, 0] - (ends - lengths), lengths)
    return found


class Within(NamedTuple):
    """Rows of some row groups: their columns that stand there as they are, and which rows they are, counted from the first row of the first group."""

    columns: dict[str, pa.Array]
    rows: Rows


def rows_within(path: str, plain: Plain, groups: Sequence[int], schema: pa.Schema, ranges: Rows) -> Within | None:
    """Read the rows in some cells.

    Parameters
    ----------
    path, plain
        Of the file.
    groups, schema
        Row groups, and the columns that are wanted.
    ranges
        Cells of order 29, half-open, ascending, shape (r, 2).

    Returns
    -------
    rows
        None: cells do not stand there as they are, or not in their order; or most rows are in them.

    Raises
    ------
    OSError
        The file is cut off, or cannot be read.
    """
    pieces: dict[str, list[Any]] = {}
    taken, passed = [np.empty(0, np.int64)], 0
    file = os.open(path, os.O_RDONLY)
    try:
        begins = {field.name: [plain.begin(file, group, field) for group in groups] for field in (_CELL, *schema)}
        standing = [field for field in schema if None not in begins[field.name]]
        for at, group in enumerate(groups):
            count, first = plain.rows(group), begins[layout.CELL][at]
            if first is None:
                return None
            cells = _values(file, first, 0, count, _CELL.type)
            inside = rows_inside(cells, ranges)
            if inside is None:
                return None
            if len(inside):
                low, high = int(inside[0]), int(inside[-1]) + 1
                taken.append(inside + passed)
                for field in standing:
                    found = _values(file, begins[field.name][at] or 0, low, high, field.type)
                    pieces.setdefault(field.name, []).append(found[inside - low])
            passed += count
    finally:
        os.close(file)
    return Within({field.name: _array(field.type, pieces.get(field.name, [])) for field in standing}, np.concatenate(taken))  # fmt: skip


def _array(kind: pa.DataType, pieces: Sequence[Any]) -> pa.Array:
    whole = np.concatenate([np.empty(0, KINDS[kind][1]), *pieces])
    return pa.Array.from_buffers(kind, len(whole), [None, pa.py_buffer(whole)])


def _values(file: int, begin: int, low: int, high: int, kind: pa.DataType) -> Any:
    form = np.dtype(KINDS[kind][1])
    data = os.pread(file, (high - low) * form.itemsize, begin + low * form.itemsize)
    if len(data) != (high - low) * form.itemsize:
        raise OSError("it is cut off")
    return np.frombuffer(data, form)


__all__ = ["Plain", "Within", "rows_inside", "rows_within"]
