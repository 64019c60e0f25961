"""FITS tables, binary and ASCII (FITS 4.0 section 7) -> Arrow, column by column.

The rows are never turned into Python objects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import Place, SourceError
from hven.model.table import Column
from hven.model.types import Type
from hven.sources._reading.cells import parse_cells
from hven.sources._reading.whole_numbers import MAX_UINT64_DIGITS, convert_unsigned

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.sources.fits_headers import HduHeader

_TFORM_PATTERN = re.compile(r"(\d*)([LXBIJKAEDCMPQ])(.*)")
_HEAP_TFORM_PATTERN = re.compile(r"([LXBIJKAEDCM])(?:\((\d*)\))?")
MAX_HEAP_BYTES = 1 << 31  # bytes of variable-length arrays in one batch: what 32-bit offsets reach
_MAX_SCALE = 1e308  # beyond, a scale is none
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

    def to_text_field(self) -> FitsField:
        """Return the same column of unsigned 64-bit integers as decimal text."""
        size = self.column.type.arraysize
        kind = Type(
            "char",
            f"{MAX_UINT64_DIGITS}*"
            if size is None
            else f"{MAX_UINT64_DIGITS}x{'*' if self.heap_descriptor else self.repeat}",
        )
        column = self.column.copy_with(type=kind)
        return replace(self, column=column)


def read_fields(header: HduHeader, file: str) -> list[FitsField]:
    """Read the columns' definitions.

    Raises
    ------
    SourceError
        A TFORM that the standard doesn't know, columns wider than the row.
    """
    ascii_table = header.hdu_kind == "TABLE"
    fields: list[FitsField] = []
    row_offset = 0
    names: set[str] = set()
    for number in range(1, header.read_integer("TFIELDS") + 1):
        form = (header.read_text(f"TFORM{number}") or "").upper()
        name = header.read_text(f"TTYPE{number}") or f"column_{number}"
        if name in names:
            name = f"{name}_{number}"
        names.add(name)
        match = (_ASCII_TFORM_PATTERN if ascii_table else _TFORM_PATTERN).match(form)
        if match is None:
            raise SourceError(
                f"TFORM{number} = {form!r} is no FITS format", place=Place(file=file), remedy="repair the header"
            )
        if ascii_table:
            parsed_field = _build_ascii_field(header, number, name, match)
        else:
            parsed_field = _build_binary_field(header, number, name, match, row_offset)
            row_offset += parsed_field.width
        if parsed_field.width:
            fields.append(parsed_field)
        if parsed_field.start + parsed_field.width > header.read_integer("NAXIS1"):
            raise SourceError(
                f"column {name} lies outside the row of {header.read_integer('NAXIS1')} bytes",
                place=Place(file=file),
                remedy="repair the header",
            )
    return fields


def _read_number(header: HduHeader, key: str, default: float) -> float:
    value = header.card_values.get(key, default)
    if isinstance(value, (int, float)) and abs(value) < _MAX_SCALE:
        return float(value)
    return default


def _build_column(header: HduHeader, column_number: int, name: str, column_type: Type) -> Column:
    unit = header.read_text(f"TUNIT{column_number}")
    comment = header.comments.get(f"TTYPE{column_number}", "")
    description = header.read_text(f"TCOMM{column_number}") or header.read_text(f"TDESC{column_number}")
    if (
        description is None
        and len(comment) > 3
        and not re.match(r"(?i)label for|name of|field name|(column|field) ?\d*$|column title", comment)
    ):
        description = comment
    ucd = header.read_text(f"TUCD{column_number}")
    utype = header.read_text(f"TUTYP{column_number}")
    display = header.read_text(f"TDISP{column_number}")
    return Column(
        name=name,
        type=column_type,
        unit=None if unit in {None, "None", "none", "-", "---", "unitless", "UNITLESS", "NA", "N/A"} else unit,
        ucd=ucd,
        utype=utype,
        description=description,
        display=display,
    )


def _parse_tdim(text: str | None, repeat: int) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in re.findall(r"\d+", text or ""))
    if sizes:
        count = int(np.prod(sizes))
    else:
        count = 0
    return sizes if sizes and count == repeat else ()


def _build_binary_field(
    header: HduHeader, column_number: int, name: str, match: re.Match[str], start: int
) -> FitsField:
    if match.group(1):
        repeat = int(match.group(1))
    else:
        repeat = 1
    code = match.group(2)
    heap = ""
    if code == "X":
        width = (repeat + 7) // 8
    else:
        width = repeat * np.dtype(_NUMPY_CODES.get(code, "u1")).itemsize
    if code in "PQ":
        inner = _HEAP_TFORM_PATTERN.match(match.group(3))
        heap = code
        code = inner.group(1) if inner else "B"
        if repeat:
            if heap == "P":
                width = 8
            else:
                width = 16
        else:
            width = 0
    scale = _read_number(header, f"TSCAL{column_number}", 1.0)
    zero = _read_number(header, f"TZERO{column_number}", 0.0)
    dim = () if heap else _parse_tdim(header.read_text(f"TDIM{column_number}"), repeat)
    datatype = _VOTABLE_DATATYPES[code]
    unsigned = code == "K" and (scale, zero) == (1.0, 2.0**63)
    if unsigned:
        datatype = "long"
    elif code in "BIJK" and (scale, zero) != (1.0, 0.0):
        if scale == 1.0:
            shifted = _UNSIGNED_BY_TZERO.get((code, int(zero)))
        else:
            shifted = None
        is_whole = scale == 1.0 and zero == int(zero) and abs(zero) < 2**31
        if shifted:
            datatype = shifted[1]
        elif is_whole:
            datatype = "long"
        else:
            datatype = "double"
    elif code == "K" or (code in "ED" and (scale, zero) != (1.0, 0.0)):
        datatype = "long" if code == "K" else "double"
    if code == "A":
        size = "*" if heap else "x".join(map(str, dim)) if len(dim) > 1 else str(repeat) + "*"
    else:
        size = "*" if heap else "x".join(map(str, dim)) if dim and repeat > 1 else str(repeat) if repeat > 1 else ""
    kind = Type(datatype, size or None)
    null = header.card_values.get(f"TNULL{column_number}")
    return FitsField(
        name=name,
        code=code,
        repeat=repeat,
        start=start,
        width=width,
        heap_descriptor=heap,
        scale=scale,
        zero=zero,
        dimensions=dim,
        # TNULL has no meaning but for whole numbers; real files have it everywhere
        null=null if isinstance(null, int) and code in "BIJK" and not isinstance(null, bool) else None,
        is_unsigned=unsigned,
        column=_build_column(header, column_number, name, kind),
    )


def _build_ascii_field(header: HduHeader, column_number: int, name: str, match: re.Match[str]) -> FitsField:
    code = match.group(1)
    width = int(match.group(2))
    scale = _read_number(header, f"TSCAL{column_number}", 1.0)
    zero = _read_number(header, f"TZERO{column_number}", 0.0)
    plain = (scale, zero) == (1.0, 0.0)
    if code == "A":
        kind = Type("char", f"{width}*")
    elif code == "I" and plain:
        kind = Type("int" if width < 10 else "long")
    else:
        kind = Type("double")
    start = header.read_integer(f"TBCOL{column_number}", 1) - 1
    null = header.read_text(f"TNULL{column_number}")
    decimals = int(match.group(3) or 0) if code in "FED" else 0
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
    row_bytes: np.ndarray, fits_field: FitsField, heap: Callable[[int, int], bytes] | None
) -> tuple[pa.Array, np.ndarray | None]:
    """Convert one column of a chunk of rows (n x NAXIS1 bytes) to an array of the column's type, and find the rows whose values do not fit; None: all fit."""
    if fits_field.heap_descriptor:
        return _read_heap_arrays(row_bytes, fits_field, heap)
    raw = np.ascontiguousarray(row_bytes[:, fits_field.start : fits_field.start + fits_field.width])
    if fits_field.code == "A":
        return _convert_strings(raw, fits_field), None
    count = fits_field.repeat
    values, bad = _convert_elements(raw, fits_field)
    if fits_field.code in "CM":
        values = pa.FixedSizeListArray.from_arrays(values, 2)
    if count == 1:
        return values, bad
    if bad is None:
        bad = None
    else:
        bad = np.asarray(bad.reshape(-1, count).any(axis=1))
    if pa.types.is_string(values.type):  # arrays of texts have no fixed size
        return pa.ListArray.from_arrays(pa.array(np.arange(0, len(values) + 1, count, dtype=np.int32)), values), bad
    return pa.FixedSizeListArray.from_arrays(values, count), bad


def _convert_elements(element_bytes: np.ndarray, fits_field: FitsField) -> tuple[pa.Array, np.ndarray | None]:
    """Convert bytes of whole elements to a flat array with nulls, scaled, and find the elements that do not fit."""
    if not fits_field.is_unsigned:
        return _scale_elements(element_bytes, fits_field), None
    words = element_bytes.reshape(-1).view(">i8")
    mask: np.ndarray | None = None if fits_field.null is None else np.asarray(words == fits_field.null)
    return convert_unsigned(convert_unsigned_words(words, mask), fits_field.column.type.scalar.arrow)


def convert_unsigned_words(words: np.ndarray, mask: np.ndarray | None = None) -> pa.Array:
    """Convert 64-bit words that TZERO = 2**63 makes unsigned (FITS 4.0 section 4.4.2.5)."""
    return pa.array((words.astype("i8") ^ np.int64(-(2**63))).view("u8"), mask=mask)


def _scale_elements(element_bytes: np.ndarray, fits_field: FitsField) -> pa.Array:
    """Convert bytes of whole elements to a flat array with nulls, scaled."""
    if fits_field.code == "X":
        bits = np.unpackbits(element_bytes, axis=1)[:, : fits_field.repeat]
        return pa.array(bits.astype(bool).ravel())
    values = element_bytes.reshape(-1).view(_NUMPY_CODES[fits_field.code])
    if fits_field.code == "L":
        return pa.array(values == ord("T"), mask=(values != ord("T")) & (values != ord("F")))
    if fits_field.code in "CM":
        return pa.array(values.astype(values.dtype.newbyteorder("=")).view("f4" if fits_field.code == "C" else "f8"))
    target = fits_field.column.type.scalar.arrow
    if fits_field.code in "ED":
        real = values.astype(values.dtype.newbyteorder("="))
        if target == pa.float64() and (fits_field.scale, fits_field.zero) != (1.0, 0.0):
            real = real.astype("f8") * fits_field.scale + fits_field.zero
        return pa.array(real, mask=np.isnan(real))
    if fits_field.null is not None and np.iinfo(values.dtype).min <= int(fits_field.null) <= np.iinfo(values.dtype).max:
        mask = values == fits_field.null
    else:
        mask = None
    native = values.astype(values.dtype.newbyteorder("="))
    if pa.types.is_floating(target):
        return pa.array(native * fits_field.scale + fits_field.zero, mask=mask)
    if fits_field.zero:
        native = native.astype("i8") + int(fits_field.zero)
    return pa.array(native.astype(target.to_pandas_dtype()), mask=mask)


def _convert_strings(element_bytes: np.ndarray, fits_field: FitsField) -> pa.Array:
    if len(fits_field.dimensions) > 1:
        length = fits_field.dimensions[0]
    else:
        length = fits_field.width
    cells = element_bytes.reshape(-1, length)
    text = bytes_to_text(cells)
    if len(fits_field.dimensions) < 2:
        return text
    count = fits_field.width // length
    offsets = np.arange(0, len(text) + 1, count, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), text)


def bytes_to_text(cells: np.ndarray) -> pa.Array:
    """Convert n x width bytes to strings: cut at the first NUL, trailing blanks off, empty is null."""
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
        except pa.ArrowInvalid:  # the standard allows ASCII only; people write Latin-1
            text = pa.array(np.char.decode(fixed, "latin-1"), pa.string())
    else:
        text = pa.Array.from_buffers(
            pa.string(),
            len(cells),
            [None, pa.py_buffer(np.arange(len(cells) + 1, dtype=np.int32) * width), pa.py_buffer(cells)],
        )
    text = pc.utf8_rtrim(text, characters=" ")
    empty = pc.equal(text, "")
    return pc.if_else(empty, pa.scalar(None, pa.string()), text)


def _read_heap_arrays(
    row_bytes: np.ndarray, fits_field: FitsField, heap: Callable[[int, int], bytes] | None
) -> tuple[pa.Array, np.ndarray | None]:
    """Gather variable-length arrays (FITS 4.0 section 7.3.5) of a chunk of rows."""
    raw = (
        np.ascontiguousarray(row_bytes[:, fits_field.start : fits_field.start + fits_field.width])
        .view(">i4" if fits_field.heap_descriptor == "P" else ">i8")
        .astype("i8")
    )
    lengths = raw[:, 0]
    starts = raw[:, 1]
    if fits_field.code in "LBAX":
        size = 1
    else:
        size = np.dtype(_NUMPY_CODES[fits_field.code]).itemsize
    sizes = ((lengths + 7) // 8 if fits_field.code == "X" else lengths * size).astype("i8")
    is_filled = sizes > 0
    if (
        (lengths < 0).any()
        or (starts < 0).any()
        or starts.max(initial=0) > 2**48
        or lengths.max(initial=0) > MAX_HEAP_BYTES
        or sizes.sum() > MAX_HEAP_BYTES
    ):
        raise SourceError(
            f"column {fits_field.name}: the descriptors of its variable-length arrays make no sense",
            remedy="get the file anew",
        )
    if is_filled.any():
        low = int(starts[is_filled].min())
    else:
        low = 0
    if is_filled.any():
        high = int((starts + sizes)[is_filled].max())
    else:
        high = 0
    data = np.frombuffer(heap(low, min(high - low, 2 * MAX_HEAP_BYTES)) if heap and high else b"", np.uint8)
    if len(data) < high - low:
        raise SourceError(
            f"column {fits_field.name}: variable-length arrays lie beyond the end of the file",
            remedy="get the file anew",
        )
    ends = np.cumsum(sizes)
    if len(ends):
        total = int(ends[-1])
    else:
        total = 0
    index = np.arange(total) - np.repeat(ends - sizes, sizes) + np.repeat(starts - low, sizes)
    if total:
        packed = data[index]
    else:
        packed = np.zeros(0, np.uint8)
    offsets = pa.array(np.concatenate([[0], ends]).astype("i4"))
    if fits_field.code == "A":
        text = pa.Array.from_buffers(pa.binary(), len(row_bytes), [None, offsets.buffers()[1], pa.py_buffer(packed)])
        text = pc.utf8_rtrim(pc.replace_substring_regex(text.cast(pa.string()), "\x00.*", ""), characters=" ")
        return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text), None
    if fits_field.code == "X":
        offsets = pa.array((np.concatenate([[0], ends]) * 8).astype("i4"))
        packed = np.unpackbits(packed)
        return pa.ListArray.from_arrays(offsets, pa.array(packed.astype(bool))), None
    counts = pa.array((np.concatenate([[0], ends]) // size).astype("i4"))
    values, wrong = _convert_elements(packed.reshape(1, -1), fits_field)
    bad = None
    if wrong is not None:
        bad = np.zeros(len(row_bytes), bool)
        bad[np.searchsorted(ends // size, np.flatnonzero(wrong), side="right")] = True
    if fits_field.code in "CM":
        values = pa.FixedSizeListArray.from_arrays(values, 2)
    return pa.ListArray.from_arrays(counts, values), bad


def convert_ascii_column(
    row_bytes: np.ndarray, fits_field: FitsField
) -> tuple[pa.Array, pa.Array | None, pa.Array | None]:
    """Convert one column of an ASCII table to an array.

    Returns
    -------
    values, bad, implied
        `bad` marks cells that are no numbers, `implied` those whose decimal point TFORM places; None: no cell.
    """
    text = bytes_to_text(np.ascontiguousarray(row_bytes[:, fits_field.start : fits_field.start + fits_field.width]))
    kind = fits_field.column.type.arrow
    nulls = (str(fits_field.null),) if fits_field.null is not None else ()
    implied = None
    if fits_field.decimals:
        implied = pc.fill_null(pc.match_substring_regex(text, _POINTLESS_NUMBER_PATTERN), False)
        implied = pc.and_not(implied, pc.is_in(pc.utf8_trim(text, " "), pa.array(nulls, pa.string())))
        if not pc.any(implied).as_py():
            implied = None
    if implied is not None:
        text = pc.if_else(implied, _insert_decimal_point(text, fits_field.decimals), text)
    values, bad = parse_cells(text, kind, null_words=nulls)
    if kind == pa.float64() and (fits_field.scale, fits_field.zero) != (1.0, 0.0):
        values = pc.add(pc.multiply(values, fits_field.scale), fits_field.zero)
    return values, bad, implied


def _insert_decimal_point(text: pa.Array, decimals: int) -> pa.Array:
    """Place the decimal point before the last digits of the mantissa (FITS 4.0 section 7.2.5)."""
    text = pc.replace_substring_regex(text, _POINTLESS_NUMBER_PATTERN, rf"\1{'0' * decimals}\2\3")
    return pc.replace_substring_regex(text, rf"^([+-]?)(\d*)(\d{{{decimals}}})([eEdD].*)?$", r"\1\2.\3\4")
