"""FITS tables, binary and ASCII (FITS 4.0 section 7) -> Arrow, column by column; the rows are never turned into Python objects."""

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
from hven.sources._reading.cells import convert
from hven.sources._reading.wholenumbers import DIGITS, fit_unsigned

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.sources.cards import Header

_BINARY = re.compile(r"(\d*)([LXBIJKAEDCMPQ])(.*)")
_HEAP = re.compile(r"([LXBIJKAEDCM])(?:\((\d*)\))?")
MOST = 1 << 31  # bytes of variable-length arrays in one batch: what 32-bit offsets reach
_FINITE = 1e308  # beyond, a scale is none
_ASCII = re.compile(r"([AIFED])(\d+)(?:\.(\d+))?")
_POINTLESS = r"^ *([+-]?)(\d+)([eEdD][+-]?\d+)? *$"
_NUMPY = {
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
_VOTABLE = {"L": "boolean", "X": "bit", "B": "unsignedByte", "I": "short", "J": "int", "K": "long", "E": "float", "D": "double",
            "C": "floatComplex", "M": "doubleComplex", "A": "char"}  # fmt: skip
# TZERO that turns signed words into unsigned ones and back (FITS 4.0 table 19)
_SHIFTED = {("B", -128): (pa.int16(), "short"), ("I", 2**15): (pa.int32(), "int"), ("J", 2**31): (pa.int64(), "long")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column of a table HDU."""

    name: str
    code: str  # TFORM letter; of the elements, for P and Q
    repeat: int
    start: int  # byte within the row
    width: int
    heap: str = ""  # P or Q
    null: str | int | None = None
    scale: float = 1.0
    zero: float = 0.0
    dim: tuple[int, ...] = ()
    decimals: int = 0  # digits behind the point of an ASCII table's real numbers, where none is written
    unsigned: bool = False  # 64-bit words that TZERO = 2**63 makes unsigned
    column: Column

    def to_text(self) -> Field:
        """Return the same column of unsigned 64-bit integers as decimal text."""
        size = self.column.type.arraysize
        kind = Type("char", f"{DIGITS}*" if size is None else f"{DIGITS}x{'*' if self.heap else self.repeat}")
        return replace(self, column=self.column.having(type=kind))


def fields_of(header: Header, file: str) -> list[Field]:
    """Read the columns' definitions.

    Raises
    ------
    SourceError
        A TFORM that the standard doesn't know, columns wider than the row.
    """
    ascii_table = header.kind == "TABLE"
    found: list[Field] = []
    at = 0
    names: set[str] = set()
    for number in range(1, header.number("TFIELDS") + 1):
        form = (header.text(f"TFORM{number}") or "").upper()
        name = header.text(f"TTYPE{number}") or f"column_{number}"
        if name in names:
            name = f"{name}_{number}"
        names.add(name)
        match = (_ASCII if ascii_table else _BINARY).match(form)
        if match is None:
            raise SourceError(
                f"TFORM{number} = {form!r} is no FITS format", place=Place(file=file), remedy="repair the header"
            )
        if ascii_table:
            made = _ascii_field(header, number, name, match)
        else:
            made = _binary_field(header, number, name, match, at)
            at += made.width
        if made.width:
            found.append(made)
        if made.start + made.width > header.number("NAXIS1"):
            raise SourceError(
                f"column {name} lies outside the row of {header.number('NAXIS1')} bytes",
                place=Place(file=file),
                remedy="repair the header",
            )
    return found


def _number(header: Header, key: str, default: float) -> float:
    value = header.values.get(key, default)
    return float(value) if isinstance(value, (int, float)) and abs(value) < _FINITE else default


def _described(header: Header, number: int, name: str, kind: Type) -> Column:
    unit = header.text(f"TUNIT{number}")
    comment = header.comments.get(f"TTYPE{number}", "")
    about = header.text(f"TCOMM{number}") or header.text(f"TDESC{number}")
    if (
        about is None
        and len(comment) > 3
        and not re.match(r"(?i)label for|name of|field name|(column|field) ?\d*$|column title", comment)
    ):
        about = comment
    return Column(
        name=name,
        type=kind,
        unit=None if unit in {None, "None", "none", "-", "---", "unitless", "UNITLESS", "NA", "N/A"} else unit,
        ucd=header.text(f"TUCD{number}"),
        utype=header.text(f"TUTYP{number}"),
        description=about,
        display=header.text(f"TDISP{number}"),
    )


def _dims(text: str | None, repeat: int) -> tuple[int, ...]:
    found = tuple(int(size) for size in re.findall(r"\d+", text or ""))
    count = int(np.prod(found)) if found else 0
    return found if found and count == repeat else ()


def _binary_field(header: Header, number: int, name: str, match: re.Match[str], start: int) -> Field:
    repeat = int(match.group(1)) if match.group(1) else 1
    code, heap = match.group(2), ""
    width = (repeat + 7) // 8 if code == "X" else repeat * np.dtype(_NUMPY.get(code, "u1")).itemsize
    if code in "PQ":
        inner = _HEAP.match(match.group(3))
        heap, code = code, inner.group(1) if inner else "B"
        width = (8 if heap == "P" else 16) if repeat else 0
    scale, zero = _number(header, f"TSCAL{number}", 1.0), _number(header, f"TZERO{number}", 0.0)
    dim = () if heap else _dims(header.text(f"TDIM{number}"), repeat)
    datatype = _VOTABLE[code]
    unsigned = code == "K" and (scale, zero) == (1.0, 2.0**63)
    if unsigned:
        datatype = "long"
    elif code in "BIJK" and (scale, zero) != (1.0, 0.0):
        shifted = _SHIFTED.get((code, int(zero))) if scale == 1.0 else None
        whole = scale == 1.0 and zero == int(zero) and abs(zero) < 2**31
        datatype = shifted[1] if shifted else "long" if whole else "double"
    elif code == "K" or (code in "ED" and (scale, zero) != (1.0, 0.0)):
        datatype = "long" if code == "K" else "double"
    if code == "A":
        size = "*" if heap else "x".join(map(str, dim)) if len(dim) > 1 else str(repeat) + "*"
    else:
        size = "*" if heap else "x".join(map(str, dim)) if dim and repeat > 1 else str(repeat) if repeat > 1 else ""
    kind = Type(datatype, size or None)
    null = header.values.get(f"TNULL{number}")
    return Field(
        name=name, code=code, repeat=repeat, start=start, width=width, heap=heap, scale=scale, zero=zero, dim=dim,
        # TNULL has no meaning but for whole numbers; real files have it everywhere
        null=null if isinstance(null, int) and code in "BIJK" and not isinstance(null, bool) else None,
        unsigned=unsigned, column=_described(header, number, name, kind),
    )  # fmt: skip


def _ascii_field(header: Header, number: int, name: str, match: re.Match[str]) -> Field:
    code, width = match.group(1), int(match.group(2))
    scale, zero = _number(header, f"TSCAL{number}", 1.0), _number(header, f"TZERO{number}", 0.0)
    plain = (scale, zero) == (1.0, 0.0)
    kind = (
        Type("char", f"{width}*")
        if code == "A"
        else Type("int" if width < 10 else "long")
        if code == "I" and plain
        else Type("double")
    )
    return Field(
        name=name, code=code, repeat=1, start=header.number(f"TBCOL{number}", 1) - 1, width=width, scale=scale, zero=zero,
        null=header.text(f"TNULL{number}"), decimals=int(match.group(3) or 0) if code in "FED" else 0, column=_described(header, number, name, kind),
    )  # fmt: skip


def binary_column(
    rows: np.ndarray, item: Field, heap: Callable[[int, int], bytes] | None
) -> tuple[pa.Array, np.ndarray | None]:
    """Convert one column of a chunk of rows (n x NAXIS1 bytes) to an array of the column's type, and find the rows whose values do not fit; None: all fit."""
    if item.heap:
        return _from_heap(rows, item, heap)
    raw = np.ascontiguousarray(rows[:, item.start : item.start + item.width])
    if item.code == "A":
        return _strings(raw, item), None
    count = item.repeat
    values, bad = _flat(raw, item)
    if item.code in "CM":
        values = pa.FixedSizeListArray.from_arrays(values, 2)
    if count == 1:
        return values, bad
    bad = None if bad is None else np.asarray(bad.reshape(-1, count).any(axis=1))
    if pa.types.is_string(values.type):  # arrays of texts have no fixed size
        return pa.ListArray.from_arrays(pa.array(np.arange(0, len(values) + 1, count, dtype=np.int32)), values), bad
    return pa.FixedSizeListArray.from_arrays(values, count), bad


def _flat(raw: np.ndarray, item: Field) -> tuple[pa.Array, np.ndarray | None]:
    """Convert bytes of whole elements to a flat array with nulls, scaled, and find the elements that do not fit."""
    if not item.unsigned:
        return _scaled(raw, item), None
    words = raw.reshape(-1).view(">i8")
    mask: np.ndarray | None = None if item.null is None else np.asarray(words == item.null)
    return fit_unsigned(unsigned_words(words, mask), item.column.type.scalar.arrow)


def unsigned_words(words: np.ndarray, mask: np.ndarray | None = None) -> pa.Array:
    """Convert 64-bit words that TZERO = 2**63 makes unsigned (FITS 4.0 section 4.4.2.5)."""
    return pa.array((words.astype("i8") ^ np.int64(-(2**63))).view("u8"), mask=mask)


def _scaled(raw: np.ndarray, item: Field) -> pa.Array:
    """Convert bytes of whole elements to a flat array with nulls, scaled."""
    if item.code == "X":
        bits = np.unpackbits(raw, axis=1)[:, : item.repeat]
        return pa.array(bits.astype(bool).ravel())
    values = raw.reshape(-1).view(_NUMPY[item.code])
    if item.code == "L":
        return pa.array(values == ord("T"), mask=(values != ord("T")) & (values != ord("F")))
    if item.code in "CM":
        return pa.array(values.astype(values.dtype.newbyteorder("=")).view("f4" if item.code == "C" else "f8"))
    target = item.column.type.scalar.arrow
    if item.code in "ED":
        real = values.astype(values.dtype.newbyteorder("="))
        if target == pa.float64() and (item.scale, item.zero) != (1.0, 0.0):
            real = real.astype("f8") * item.scale + item.zero
        return pa.array(real, mask=np.isnan(real))
    mask = (
        values == item.null
        if item.null is not None and np.iinfo(values.dtype).min <= int(item.null) <= np.iinfo(values.dtype).max
        else None
    )
    native = values.astype(values.dtype.newbyteorder("="))
    if pa.types.is_floating(target):
        return pa.array(native * item.scale + item.zero, mask=mask)
    if item.zero:
        native = native.astype("i8") + int(item.zero)
    return pa.array(native.astype(target.to_pandas_dtype()), mask=mask)


def _strings(raw: np.ndarray, item: Field) -> pa.Array:
    length = item.dim[0] if len(item.dim) > 1 else item.width
    cells = raw.reshape(-1, length)
    text = text_of(cells)
    if len(item.dim) < 2:
        return text
    count = item.width // length
    offsets = np.arange(0, len(text) + 1, count, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), text)


def text_of(cells: np.ndarray) -> pa.Array:
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


def _from_heap(
    rows: np.ndarray, item: Field, heap: Callable[[int, int], bytes] | None
) -> tuple[pa.Array, np.ndarray | None]:
    """Gather variable-length arrays (FITS 4.0 section 7.3.5) of a chunk of rows."""
    raw = (
        np.ascontiguousarray(rows[:, item.start : item.start + item.width])
        .view(">i4" if item.heap == "P" else ">i8")
        .astype("i8")
    )
    lengths, starts = raw[:, 0], raw[:, 1]
    size = 1 if item.code in "LBAX" else np.dtype(_NUMPY[item.code]).itemsize
    sizes = ((lengths + 7) // 8 if item.code == "X" else lengths * size).astype("i8")
    kept = sizes > 0
    if (
        (lengths < 0).any()
        or (starts < 0).any()
        or starts.max(initial=0) > 2**48
        or lengths.max(initial=0) > MOST
        or sizes.sum() > MOST
    ):
        raise SourceError(
            f"column {item.name}: the descriptors of its variable-length arrays make no sense",
            remedy="get the file anew",
        )
    low = int(starts[kept].min()) if kept.any() else 0
    high = int((starts + sizes)[kept].max()) if kept.any() else 0
    data = np.frombuffer(heap(low, min(high - low, 2 * MOST)) if heap and high else b"", np.uint8)
    if len(data) < high - low:
        raise SourceError(
            f"column {item.name}: variable-length arrays lie beyond the end of the file", remedy="get the file anew"
        )
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    index = np.arange(total) - np.repeat(ends - sizes, sizes) + np.repeat(starts - low, sizes)
    packed = data[index] if total else np.zeros(0, np.uint8)
    offsets = pa.array(np.concatenate([[0], ends]).astype("i4"))
    if item.code == "A":
        text = pa.Array.from_buffers(pa.binary(), len(rows), [None, offsets.buffers()[1], pa.py_buffer(packed)])
        text = pc.utf8_rtrim(pc.replace_substring_regex(text.cast(pa.string()), "\x00.*", ""), characters=" ")
        return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text), None
    if item.code == "X":
        offsets, packed = pa.array((np.concatenate([[0], ends]) * 8).astype("i4")), np.unpackbits(packed)
        return pa.ListArray.from_arrays(offsets, pa.array(packed.astype(bool))), None
    counts = pa.array((np.concatenate([[0], ends]) // size).astype("i4"))
    values, wrong = _flat(packed.reshape(1, -1), item)
    bad = None
    if wrong is not None:
        bad = np.zeros(len(rows), bool)
        bad[np.searchsorted(ends // size, np.flatnonzero(wrong), side="right")] = True
    if item.code in "CM":
        values = pa.FixedSizeListArray.from_arrays(values, 2)
    return pa.ListArray.from_arrays(counts, values), bad


def ascii_column(rows: np.ndarray, item: Field) -> tuple[pa.Array, pa.Array | None, pa.Array | None]:
    """Convert one column of an ASCII table to an array.

    Returns
    -------
    values, bad, implied
        `bad` marks cells that are no numbers, `implied` those whose decimal point TFORM places; None: no cell.
    """
    text = text_of(np.ascontiguousarray(rows[:, item.start : item.start + item.width]))
    kind = item.column.type.arrow
    nulls = (str(item.null),) if item.null is not None else ()
    implied = None
    if item.decimals:
        implied = pc.fill_null(pc.match_substring_regex(text, _POINTLESS), False)
        implied = pc.and_not(implied, pc.is_in(pc.utf8_trim(text, " "), pa.array(nulls, pa.string())))
        implied = implied if pc.any(implied).as_py() else None
    if implied is not None:
        text = pc.if_else(implied, _pointed(text, item.decimals), text)
    values, bad = convert(text, kind, nulls=nulls)
    if kind == pa.float64() and (item.scale, item.zero) != (1.0, 0.0):
        values = pc.add(pc.multiply(values, item.scale), item.zero)
    return values, bad, implied


def _pointed(text: pa.Array, decimals: int) -> pa.Array:
    """Place the decimal point before the last digits of the mantissa (FITS 4.0 section 7.2.5)."""
    text = pc.replace_substring_regex(text, _POINTLESS, rf"\1{'0' * decimals}\2\3")
    return pc.replace_substring_regex(text, rf"^([+-]?)(\d*)(\d{{{decimals}}})([eEdD].*)?$", r"\1\2.\3\4")
