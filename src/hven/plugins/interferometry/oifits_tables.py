"""Read the tables of an OIFITS file whole, as `oifits_checker` needs them: headers, formats and values."""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.errors import SourceError, TextPlace, format_message
from hven.sources.fits_headers import read_next_hdu_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from hven.sources.fits_headers import HduHeader

MAX_FILE_BYTES = 512 << 20  # of a file, decompressed; the values are in memory
MAX_CHECKED_HDUS = 20_000
_TFORM_PATTERN = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])")
_NUMPY_TYPES = {
    "L": "S1",
    "B": "u1",
    "I": ">i2",
    "J": ">i4",
    "K": ">i8",
    "E": ">f4",
    "D": ">f8",
    "C": ">c8",
    "M": ">c16",
}
_ELEMENT_BYTES = {"L": 1, "A": 1, "B": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
_TEXT_COPY_BYTES = 13  # per character, for the copy of the cells, and their decoded and stripped texts
_SCALED_BYTES = 16  # per value, and per step of its computation
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(slots=True)
class OifitsColumn:
    """A column of a table in a file.

    Attributes
    ----------
    code, repeat
        Letter and count of its TFORM; the letter is empty if TFORM is no format.
    unit
        TUNIT, or an empty text.
    values
        An array with a row for each row of the table: of texts, or two-dimensional; None if it cannot be read.
    is_within_row
        Whether rows are long enough for the column.
    offset
        Its first byte in a row.
    """

    code: str
    repeat: int
    unit: str
    values: Any = field(repr=False, default=None)
    is_within_row: bool = True
    offset: int = 0

    def list_first_values(self) -> Any:
        """Return the first value of each cell."""
        if self.code == "A":
            return self.values
        return self.values[:, 0]


@dataclass(slots=True)
class OifitsHdu:
    """An HDU of a file.

    Attributes
    ----------
    header
        Its header.
    row_count
        Rows of its table.
    columns
        Columns by name, in upper case.
    header_offset, data_offset
        First bytes of its header and of its data in the file, decompressed.
    """

    header: HduHeader
    row_count: int = 0
    columns: dict[str, OifitsColumn] = field(default_factory=dict)
    header_offset: int = 0
    data_offset: int = 0

    @property
    def kind(self) -> str:
        """EXTNAME in upper case."""
        return self.header.name.upper()

    @property
    def label(self) -> str:
        """Its name and number, for reports."""
        return f"{self.header.name or 'HDU'}#{self.header.index}"

    def find_keyword_text(self, key: str) -> str | None:
        """Return a keyword as text, which may be blank; None: it is missing."""
        value = self.header.card_values.get(key)
        if value is None:
            return None
        return str(value).strip()

    def find_column_values(self, name: str) -> Any:
        """Return the values of a column; None: it is missing, or cannot be read."""
        column = self.columns.get(name)
        if column is None:
            return None
        return column.values


def read_oifits_tables(path: Path) -> list[OifitsHdu]:
    """Read the HDUs of a file, with the values of its tables whose names begin with ``OI_``.

    Parameters
    ----------
    path
        The file, which may be compressed by gzip.

    Raises
    ------
    SourceError
        It is not FITS, is damaged, or too large.
    OSError
        It cannot be opened.
    """
    with path.open("rb") as plain_file:
        is_compressed = plain_file.read(2) == GZIP_MAGIC
        plain_file.seek(0)
        if not is_compressed:
            return list(_iterate_hdus(plain_file, path.name))
        try:
            with gzip.open(plain_file) as file:
                return list(_iterate_hdus(file, path.name))
        except (EOFError, OSError, zlib.error) as error:
            message = format_message("the compressed file is damaged: {reason}", str(error))
            raise SourceError(message, place=TextPlace(file=path.name)) from error


@dataclass(slots=True)
class _MemoryBudget:
    """The bytes that the values of a file may still need in memory."""

    file_name: str
    remaining_bytes: int = MAX_FILE_BYTES

    def reserve(self, byte_count: int) -> None:
        """Take a part; a `SourceError` says that there is not enough."""
        self.remaining_bytes -= byte_count
        if self.remaining_bytes < 0:
            raise SourceError(
                format_message("the file has more than {most:,} MB of data", MAX_FILE_BYTES >> 20),
                place=TextPlace(file=self.file_name),
                remedy="split it",
            )


def _iterate_hdus(file: BinaryIO | gzip.GzipFile, file_name: str) -> Iterator[OifitsHdu]:
    budget = _MemoryBudget(file_name)
    for index in range(MAX_CHECKED_HDUS):
        header_offset = file.tell()
        header = read_next_hdu_header(file.read, index, file_name)
        if header is None:
            return
        data_offset = file.tell()
        budget.reserve(header.data_bytes)
        body = file.read(header.data_bytes)
        if header.hdu_kind != "BINTABLE" or not header.name.upper().startswith("OI_"):
            _check_complete(len(body), header.data_bytes, header, file_name)
            yield OifitsHdu(header)
            continue
        row_bytes = header.read_integer("NAXIS1")
        row_count = header.read_integer("NAXIS2")
        _check_complete(len(body), row_bytes * row_count, header, file_name)
        columns = _read_columns(header, body, (row_bytes, row_count), budget)
        yield OifitsHdu(header, row_count, columns, header_offset, data_offset)


def _check_complete(read_bytes: int, needed_bytes: int, header: HduHeader, file_name: str) -> None:
    """Refuse a file that ends within its data; only the padding of the last block may be missing."""
    if read_bytes < needed_bytes:
        raise SourceError(
            format_message("the file ends within {table}", header.name or f"HDU {header.index}"),
            place=TextPlace(file=file_name),
            remedy="send the whole file",
        )


def _read_columns(
    header: HduHeader, body: bytes, layout: tuple[int, int], budget: _MemoryBudget
) -> dict[str, OifitsColumn]:
    """Read the columns; texts and scaled values are copies, which are larger than the cells of the file."""
    row_bytes, row_count = layout
    columns: dict[str, OifitsColumn] = {}
    offset = 0
    for number in range(1, header.read_integer("TFIELDS") + 1):
        name = header.read_text(f"TTYPE{number}") or f"#{number}"
        match = _TFORM_PATTERN.match((header.read_text(f"TFORM{number}") or "").upper())
        code, repeat = ("", 0) if match is None else (match[2], int(match[1] or 1))
        if code == "X":
            cell_bytes = (repeat + 7) // 8
        else:
            cell_bytes = repeat * _ELEMENT_BYTES.get(code, 0)
        column = OifitsColumn(code, repeat, header.read_text(f"TUNIT{number}") or "")
        column.is_within_row = offset + cell_bytes <= row_bytes
        column.offset = offset
        if column.is_within_row and cell_bytes and (code == "A" or code in _NUMPY_TYPES):
            scale, zero = header.card_values.get(f"TSCAL{number}"), header.card_values.get(f"TZERO{number}")
            is_scaled = isinstance(scale, int | float) or isinstance(zero, int | float)
            if code == "A":
                budget.reserve(_TEXT_COPY_BYTES * row_count * repeat)
            elif is_scaled:
                budget.reserve(_SCALED_BYTES * row_count * repeat)
            column.values = _view_values(body, column, (row_count, row_bytes, offset))
            if is_scaled:
                column.values = column.values * (scale or 1) + (zero or 0)
        columns.setdefault(name.upper(), column)
        offset += cell_bytes
    return columns


def _view_values(body: bytes, column: OifitsColumn, layout: tuple[int, int, int]) -> Any:
    """View the cells of a column in the rows of a table, without a copy."""
    row_count, row_bytes, offset = layout
    if not row_count:
        if column.code == "A":
            return np.zeros(0, np.str_)
        return np.zeros((0, column.repeat), _NUMPY_TYPES[column.code])
    if column.code == "A":
        text_type = np.dtype(f"S{column.repeat}")
        cells = np.ndarray((row_count,), text_type, body, offset, (row_bytes,))
        return np.char.strip(np.char.decode(cells.copy(), "latin-1"))
    value_type = np.dtype(_NUMPY_TYPES[column.code])
    return np.ndarray((row_count, column.repeat), value_type, body, offset, (row_bytes, value_type.itemsize))
