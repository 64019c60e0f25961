"""Convert FITS tables, binary and ASCII (FITS 4.0 section 7), to Arrow, column by column.

The rows are never turned into Python objects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import SourceError, TextPlace
from hven.model.table import Column
from hven.model.types import ColumnType
from hven.sources.api.cells import MAX_UINT64_DIGITS, cast_integers_masking_overflow, parse_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.sources.fits_headers import HduHeader

_TFORM_PATTERN = re.compile(r"(\d*)([LXBIJKAEDCMPQ])(.*)")
_HEAP_TFORM_PATTERN = re.compile(r"([LXBIJKAEDCM])(?:\((\d*)\))?")
MAX_HEAP_BYTES = 1 << 31  # bytes of variable-length arrays in one batch: what 32-bit offsets reach
_MAX_SCALE = 1e308  # a larger scale is ignored
_ASCII_TFORM_PATTERN = re.compile(r"([AIFED])(\d+)(?:\.(\d+))?")
_POINTLESS_NUMBER_PATTERN = r"^ *([+-]?)(\d+)([eEdD][+-]?\d+)? *$"
_NUMPY_CODES = {
    "L": "u1",
    "X": "u1",
    "B": "u1",
    "I": ">i2",
    "J": ">i4",
    "K": ">i8",
    "E": ">f4",
    "D": ">f8",
    "C": ">c8",
    "M": ">c16",
    "A": "u1",
}
_VOTABLE_DATATYPES = {
    "L": "boolean",
    "X": "bit",
    "B": "unsignedByte",
    "I": "short",
    "J": "int",
    "K": "long",
    "E": "float",
    "D": "double",
    "C": "floatComplex",
    "M": "doubleComplex",
    "A": "char",
}
# TZERO that turns signed words into unsigned ones and back (FITS 4.0 table 19)
_UNSIGNED_BY_TZERO = {
    ("B", -128): (pa.int16(), "short"),
    ("I", 2**15): (pa.int32(), "int"),
    ("J", 2**31): (pa.int64(), "long"),
}
_COMPLEX_PARTS = {"C": "f4", "M": "f8"}
_DESCRIPTOR_BYTES = {"P": 8, "Q": 16}  # of a variable-length array, within its row
_NON_UNITS = frozenset({"None", "none", "-", "---", "unitless", "UNITLESS", "NA", "N/A"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FitsField:
    """One column of a table HDU."""

    name: str
    code: str  # TFORM letter; of the elements, for P and Q
    repeat: int
    start: int  # byte within the row
    width: int
    heap_descriptor: str = ""  # P or Q
    null: str | int | None = None
    scale: float = 1.0
    zero: float = 0.0
    dimensions: tuple[int, ...] = ()
    decimals: int = 0  # digits behind the point of an ASCII table's real numbers, where none is written
    is_unsigned: bool = False  # 64-bit words that TZERO = 2**63 makes unsigned
    column: Column

    def to_uint64_text_field(self) -> FitsField:
        """Return the same column of unsigned 64-bit integers as decimal text."""
        size = self.column.type.arraysize
        if size is None:
            text_size = f"{MAX_UINT64_DIGITS}*"
        elif self.heap_descriptor:
            text_size = f"{MAX_UINT64_DIGITS}x*"
        else:
            text_size = f"{MAX_UINT64_DIGITS}x{self.repeat}"
        column = self.column.copy_with(type=ColumnType("char", text_size))
        return replace(self, column=column)


def read_fits_fields(header: HduHeader, file: str) -> list[FitsField]:
    """Read the definitions of the columns.

    Raises
    ------
    SourceError
        A TFORM that the standard doesn't know, columns wider than the row.
    """
    is_ascii_table = header.hdu_kind == "TABLE"
    tform_pattern = _TFORM_PATTERN
    if is_ascii_table:
        tform_pattern = _ASCII_TFORM_PATTERN
    fields: list[FitsField] = []
    row_offset = 0
    names: set[str] = set()
    for number in range(1, header.read_integer("TFIELDS") + 1):
        form = (header.read_text(f"TFORM{number}") or "").upper()
        name = header.read_text(f"TTYPE{number}") or f"column_{number}"
        if name in names:
            name = f"{name}_{number}"
        names.add(name)
        match = tform_pattern.match(form)
        if match is None:
            raise SourceError(
                f"TFORM{number} = {form!r} is not a FITS format", place=TextPlace(file=file), remedy="repair the header"
            )
        if is_ascii_table:
            parsed_field = _build_ascii_field(header, number, name, match)
        else:
            parsed_field = _build_binary_field(header, number, name, match, row_offset)
            row_offset += parsed_field.width
        if parsed_field.width:
            fields.append(parsed_field)
        if parsed_field.start + parsed_field.width > header.read_integer("NAXIS1"):
            raise SourceError(
                f"column {name!r} extends beyond the row of {header.read_integer('NAXIS1')} bytes",
                place=TextPlace(file=file),
                remedy="repair the header",
            )
    return fields


def _read_number(header: HduHeader, key: str, default: float) -> float:
    value = header.card_values.get(key, default)
    if isinstance(value, (int, float)) and abs(value) < _MAX_SCALE:
        return float(value)
    return default


def _build_column(header: HduHeader, column_number: int, name: str, column_type: ColumnType) -> Column:
    unit = header.read_text(f"TUNIT{column_number}")
    comment = header.comments.get(f"TTYPE{column_number}", "")
    description = header.read_text(f"TCOMM{column_number}") or header.read_text(f"TDESC{column_number}")
    is_comment_generic = re.match(r"(?i)label for|name of|field name|(column|field) ?\d*$|column title", comment)
    if description is None and len(comment) > 3 and not is_comment_generic:
        description = comment
    if unit in _NON_UNITS:
        unit = None
    ucd = header.read_text(f"TUCD{column_number}")
    utype = header.read_text(f"TUTYP{column_number}")
    display = header.read_text(f"TDISP{column_number}")
    return Column(
        name=name,
        type=column_type,
        unit=unit,
        ucd=ucd,
        utype=utype,
        description=description,
        display=display,
    )


def _parse_tdim(text: str | None, repeat: int) -> tuple[int, ...]:
    """Parse TDIM; return () where it does not fit the repeat count."""
    sizes = tuple(int(size) for size in re.findall(r"\d+", text or ""))
    if sizes and int(np.prod(sizes)) == repeat:
        return sizes
    return ()


def _build_binary_field(
    header: HduHeader, column_number: int, name: str, match: re.Match[str], start: int
) -> FitsField:
    repeat = 1
    if match.group(1):
        repeat = int(match.group(1))
    code = match.group(2)
    heap_descriptor = ""
    if code in "PQ":
        heap_descriptor = code
        inner = _HEAP_TFORM_PATTERN.match(match.group(3))
        code = "B"
        if inner:
            code = inner.group(1)
    scale = _read_number(header, f"TSCAL{column_number}", 1.0)
    zero = _read_number(header, f"TZERO{column_number}", 0.0)
    dimensions: tuple[int, ...] = ()
    if not heap_descriptor:
        dimensions = _parse_tdim(header.read_text(f"TDIM{column_number}"), repeat)
    is_unsigned = code == "K" and (scale, zero) == (1.0, 2.0**63)
    datatype = _choose_datatype(code, scale, zero)
    if heap_descriptor:
        size = "*"
    else:
        size = _choose_arraysize(code, repeat, dimensions)
    kind = ColumnType(datatype, size or None)
    null = header.card_values.get(f"TNULL{column_number}")
    # TNULL has a meaning for whole numbers only; real files have it everywhere
    if code not in "BIJK" or not isinstance(null, int) or isinstance(null, bool):
        null = None
    return FitsField(
        name=name,
        code=code,
        repeat=repeat,
        start=start,
        width=_compute_field_width(code, repeat, heap_descriptor),
        heap_descriptor=heap_descriptor,
        scale=scale,
        zero=zero,
        dimensions=dimensions,
        null=null,
        is_unsigned=is_unsigned,
        column=_build_column(header, column_number, name, kind),
    )


def _compute_field_width(code: str, repeat: int, heap_descriptor: str) -> int:
    """Compute the bytes of a binary field within its row."""
    if heap_descriptor:
        if not repeat:
            return 0
        return _DESCRIPTOR_BYTES[heap_descriptor]
    if code == "X":
        return (repeat + 7) // 8
    return repeat * np.dtype(_NUMPY_CODES[code]).itemsize


def _choose_datatype(code: str, scale: float, zero: float) -> str:
    """Choose the VOTable datatype of elements, with their scale and zero point."""
    is_scaled = (scale, zero) != (1.0, 0.0)
    if code == "K" and (scale, zero) == (1.0, 2.0**63):
        return "long"
    if code in "BIJK" and is_scaled and scale == 1.0:
        unsigned = _UNSIGNED_BY_TZERO.get((code, int(zero)))
        if unsigned is not None:
            return unsigned[1]
        if zero == int(zero) and abs(zero) < 2**31:
            return "long"
    if code in "BIJKED" and is_scaled:
        return "double"
    return _VOTABLE_DATATYPES[code]


def _choose_arraysize(code: str, repeat: int, dimensions: Sequence[int]) -> str:
    """Choose the VOTable arraysize of a column without a heap; empty: a single value."""
    shape = "x".join(map(str, dimensions))
    if code == "A":
        if len(dimensions) > 1:
            return shape
        return f"{repeat}*"
    if repeat <= 1:
        return ""
    return shape or str(repeat)


def _build_ascii_field(header: HduHeader, column_number: int, name: str, match: re.Match[str]) -> FitsField:
    code = match.group(1)
    width = int(match.group(2))
    scale = _read_number(header, f"TSCAL{column_number}", 1.0)
    zero = _read_number(header, f"TZERO{column_number}", 0.0)
    is_plain = (scale, zero) == (1.0, 0.0)
    if code == "A":
        kind = ColumnType("char", f"{width}*")
    elif code == "I" and is_plain and width < 10:
        kind = ColumnType("int")
    elif code == "I" and is_plain:
        kind = ColumnType("long")
    else:
        kind = ColumnType("double")
    start = header.read_integer(f"TBCOL{column_number}", 1) - 1
    null = header.read_text(f"TNULL{column_number}")
    decimals = 0
    if code in "FED":
        decimals = int(match.group(3) or 0)
    return FitsField(
        name=name,
        code=code,
        repeat=1,
        start=start,
        width=width,
        scale=scale,
        zero=zero,
        null=null,
        decimals=decimals,
        column=_build_column(header, column_number, name, kind),
    )


def convert_binary_column(
    row_bytes: np.ndarray, fits_field: FitsField, read_heap: Callable[[int, int], bytes] | None
) -> tuple[pa.Array, np.ndarray | None]:
    """Convert one column of a chunk of rows to an array of the column's type.

    Parameters
    ----------
    row_bytes
        n rows of NAXIS1 bytes.
    read_heap
        Reads the bytes of the heap between two offsets.

    Returns
    -------
    values, bad
        `bad` marks the rows whose values do not fit; None: all fit.
    """
    if fits_field.heap_descriptor:
        return _read_heap_arrays(row_bytes, fits_field, read_heap)
    raw = _slice_field(row_bytes, fits_field)
    if fits_field.code == "A":
        return _convert_strings(raw, fits_field), None
    count = fits_field.repeat
    values, bad = _convert_elements(raw, fits_field)
    if fits_field.code in "CM":
        values = pa.FixedSizeListArray.from_arrays(values, 2)
    if count == 1:
        return values, bad
    if bad is not None:
        bad = np.asarray(bad.reshape(-1, count).any(axis=1))
    if pa.types.is_string(values.type):  # arrays of texts have no fixed size
        offsets = np.arange(0, len(values) + 1, count, dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), values), bad
    return pa.FixedSizeListArray.from_arrays(values, count), bad


def _slice_field(row_bytes: np.ndarray, fits_field: FitsField) -> np.ndarray:
    end = fits_field.start + fits_field.width
    return np.ascontiguousarray(row_bytes[:, fits_field.start : end])


def _convert_elements(element_bytes: np.ndarray, fits_field: FitsField) -> tuple[pa.Array, np.ndarray | None]:
    """Convert bytes of whole elements to a flat array with nulls, scaled, and find the elements that do not fit."""
    if not fits_field.is_unsigned:
        return _scale_elements(element_bytes, fits_field), None
    words = element_bytes.reshape(-1).view(">i8")
    mask: np.ndarray | None = None
    if fits_field.null is not None:
        mask = np.asarray(words == fits_field.null)
    unsigned = convert_unsigned_words(words, mask)
    return cast_integers_masking_overflow(unsigned, fits_field.column.type.scalar_type.arrow)


def convert_unsigned_words(words: np.ndarray, mask: np.ndarray | None = None) -> pa.Array:
    """Convert 64-bit words that TZERO = 2**63 makes unsigned (FITS 4.0 section 4.4.2.5)."""
    flipped = words.astype("i8") ^ np.int64(-(2**63))
    return pa.array(flipped.view("u8"), mask=mask)


def _scale_elements(element_bytes: np.ndarray, fits_field: FitsField) -> pa.Array:
    """Convert bytes of whole elements to a flat array with nulls, scaled."""
    if fits_field.code == "X":
        bits = np.unpackbits(element_bytes, axis=1)[:, : fits_field.repeat]
        return pa.array(bits.astype(bool).ravel())
    values = element_bytes.reshape(-1).view(_NUMPY_CODES[fits_field.code])
    if fits_field.code == "L":
        is_true = values == ord("T")
        is_false = values == ord("F")
        return pa.array(is_true, mask=~(is_true | is_false))
    native = values.astype(values.dtype.newbyteorder("="))
    if fits_field.code in _COMPLEX_PARTS:
        return pa.array(native.view(_COMPLEX_PARTS[fits_field.code]))
    target = fits_field.column.type.scalar_type.arrow
    if fits_field.code in "ED":
        if target == pa.float64() and (fits_field.scale, fits_field.zero) != (1.0, 0.0):
            native = native.astype("f8") * fits_field.scale + fits_field.zero
        return pa.array(native, mask=np.isnan(native))
    limits = np.iinfo(values.dtype)
    mask = None
    if fits_field.null is not None and limits.min <= int(fits_field.null) <= limits.max:
        mask = values == fits_field.null
    if pa.types.is_floating(target):
        return pa.array(native * fits_field.scale + fits_field.zero, mask=mask)
    if fits_field.zero:
        native = native.astype("i8") + int(fits_field.zero)
    return pa.array(native.astype(target.to_pandas_dtype()), mask=mask)


def _convert_strings(element_bytes: np.ndarray, fits_field: FitsField) -> pa.Array:
    length = fits_field.width
    if len(fits_field.dimensions) > 1:
        length = fits_field.dimensions[0]
    cells = element_bytes.reshape(-1, length)
    text = bytes_to_text(cells)
    if len(fits_field.dimensions) < 2:
        return text
    count = fits_field.width // length
    offsets = np.arange(0, len(text) + 1, count, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), text)


def bytes_to_text(cells: np.ndarray) -> pa.Array:
    """Convert n x width bytes to strings: they end at the first NUL, trailing blanks are cut, empty is null."""
    width = cells.shape[1]
    nul = cells == 0
    if nul.any():
        after = np.logical_or.accumulate(nul, axis=1)
        cells = np.where(after, np.uint8(32), cells)
    cells = np.ascontiguousarray(cells)
    if (cells > 127).any():
        fixed = cells.view(f"S{width}").ravel()
        try:
            text = pa.array(fixed).cast(pa.string())
        except pa.ArrowInvalid:  # the standard allows ASCII only, but real files hold Latin-1
            decoded = np.char.decode(fixed, "latin-1")
            text = pa.array(decoded, pa.string())
    else:
        offsets = np.arange(len(cells) + 1, dtype=np.int32) * width
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(cells)]
        text = pa.Array.from_buffers(pa.string(), len(cells), buffers)
    text = pc.utf8_rtrim(text, characters=" ")
    empty = pc.equal(text, "")
    return pc.if_else(empty, pa.scalar(None, pa.string()), text)


def _read_heap_arrays(
    row_bytes: np.ndarray, fits_field: FitsField, read_heap: Callable[[int, int], bytes] | None
) -> tuple[pa.Array, np.ndarray | None]:
    """Gather variable-length arrays (FITS 4.0 section 7.3.5) of a chunk of rows."""
    descriptor_dtype = ">i8"
    if fits_field.heap_descriptor == "P":
        descriptor_dtype = ">i4"
    descriptors = _slice_field(row_bytes, fits_field).view(descriptor_dtype).astype("i8")
    lengths = descriptors[:, 0]
    starts = descriptors[:, 1]
    element_bytes = 1
    if fits_field.code not in "LBAX":
        element_bytes = np.dtype(_NUMPY_CODES[fits_field.code]).itemsize
    if fits_field.code == "X":
        sizes = (lengths + 7) // 8
    else:
        sizes = lengths * element_bytes
    _check_heap_descriptors(fits_field, lengths, starts, sizes)
    packed = _gather_heap_bytes(fits_field, starts, sizes, read_heap)
    ends = np.cumsum(sizes)
    bounds = np.concatenate([[0], ends])
    if fits_field.code == "A":
        return _build_heap_texts(packed, bounds), None
    if fits_field.code == "X":
        bit_offsets = pa.array((bounds * 8).astype("i4"))
        bits = np.unpackbits(packed).astype(bool)
        return pa.ListArray.from_arrays(bit_offsets, pa.array(bits)), None
    offsets = pa.array((bounds // element_bytes).astype("i4"))
    values, wrong = _convert_elements(packed.reshape(1, -1), fits_field)
    bad = None
    if wrong is not None:
        bad = np.zeros(len(row_bytes), bool)
        wrong_elements = np.flatnonzero(wrong)
        bad[np.searchsorted(ends // element_bytes, wrong_elements, side="right")] = True
    if fits_field.code in "CM":
        values = pa.FixedSizeListArray.from_arrays(values, 2)
    return pa.ListArray.from_arrays(offsets, values), bad


def _check_heap_descriptors(fits_field: FitsField, lengths: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> None:
    is_negative = (lengths < 0).any() or (starts < 0).any()
    is_too_far = starts.max(initial=0) > 2**48
    is_too_long = lengths.max(initial=0) > MAX_HEAP_BYTES or sizes.sum() > MAX_HEAP_BYTES
    if is_negative or is_too_far or is_too_long:
        raise SourceError(
            f"column {fits_field.name!r}: the descriptors of its variable-length arrays are invalid",
            remedy="download the file again",
        )


def _gather_heap_bytes(
    fits_field: FitsField, starts: np.ndarray, sizes: np.ndarray, read_heap: Callable[[int, int], bytes] | None
) -> np.ndarray:
    """Read the arrays of a chunk from the heap, and lay them one behind the other."""
    is_filled = sizes > 0
    if not is_filled.any():
        return np.zeros(0, np.uint8)
    low = int(starts[is_filled].min())
    high = int((starts + sizes)[is_filled].max())
    heap_bytes = b""
    if read_heap is not None:
        heap_bytes = read_heap(low, min(high - low, 2 * MAX_HEAP_BYTES))
    if len(heap_bytes) < high - low:
        raise SourceError(
            f"column {fits_field.name!r}: its variable-length arrays extend beyond the end of the file",
            remedy="download the file again",
        )
    ends = np.cumsum(sizes)
    total = int(ends[-1])
    index = np.arange(total) - np.repeat(ends - sizes, sizes)
    index += np.repeat(starts - low, sizes)
    gathered: np.ndarray = np.frombuffer(heap_bytes, np.uint8)[index]
    return gathered


def _build_heap_texts(packed: np.ndarray, bounds: np.ndarray) -> pa.Array:
    """Build texts: they end at the first NUL, trailing blanks are cut, empty is null."""
    offsets = bounds.astype("i4")
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(packed)]
    raw_texts = pa.Array.from_buffers(pa.binary(), len(bounds) - 1, buffers)
    text = pc.replace_substring_regex(raw_texts.cast(pa.string()), "\x00.*", "")
    text = pc.utf8_rtrim(text, characters=" ")
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def convert_ascii_column(
    row_bytes: np.ndarray, fits_field: FitsField
) -> tuple[pa.Array, pa.Array | None, pa.Array | None]:
    """Convert one column of an ASCII table to an array.

    Returns
    -------
    values, bad, implied
        `bad` marks the cells that are no numbers. `implied` marks those whose decimal point TFORM places.
        Each is None if it marks no cell.
    """
    text = bytes_to_text(_slice_field(row_bytes, fits_field))
    kind = fits_field.column.type.arrow
    null_words: tuple[str, ...] = ()
    if fits_field.null is not None:
        null_words = (str(fits_field.null),)
    implied = None
    if fits_field.decimals:
        implied = pc.fill_null(pc.match_substring_regex(text, _POINTLESS_NUMBER_PATTERN), False)
        is_null = pc.is_in(pc.utf8_trim(text, " "), pa.array(null_words, pa.string()))
        implied = pc.and_not(implied, is_null)
        if not pc.any(implied).as_py():
            implied = None
    if implied is not None:
        text = pc.if_else(implied, _insert_decimal_point(text, fits_field.decimals), text)
    values, bad = parse_cells(text, kind, null_words=null_words)
    if kind == pa.float64() and (fits_field.scale, fits_field.zero) != (1.0, 0.0):
        values = pc.add(pc.multiply(values, fits_field.scale), fits_field.zero)
    return values, bad, implied


def _insert_decimal_point(text: pa.Array, decimals: int) -> pa.Array:
    """Place the decimal point before the last digits of the mantissa (FITS 4.0 section 7.2.5)."""
    text = pc.replace_substring_regex(text, _POINTLESS_NUMBER_PATTERN, rf"\1{'0' * decimals}\2\3")
    return pc.replace_substring_regex(text, rf"^([+-]?)(\d*)(\d{{{decimals}}})([eEdD].*)?$", r"\1\2.\3\4")
