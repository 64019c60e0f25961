"""Tables of HDF5 files: datasets of a compound type, as pandas, PyTables, h5py and astropy write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media._grids import LARGEST, guarded
from hven.formats.media._product import Card, Rows
from hven.formats.media._records import NAMES, UINT64_DIGITS, exceed_int64, text_deviation
from hven.model import Deviation, DeviationKind
from hven.model.errors import TooLarge, say
from hven.model.table import Column
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

META = ".__table_column_meta__"  # end of the name under which astropy keeps units and descriptions of a table's columns
_BLOCK = 8 << 20  # bytes of rows that are read at a time
_LINE = re.compile(r"^- (?:!\S+ )?\{name: (?P<name>'[^']*'|[^,}]+)(?P<rest>.*)\}\s*$")
_UNIT = re.compile(r"\bunit: (?:!\S+ \{unit: )?(?P<unit>'[^']*'|[^,}]+)")
_DESCRIPTION = re.compile(r"\bdescription: (?P<description>'(?:[^']|'')*'|\"[^\"]*\"|[^,}]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A column: the path of its field in the compound type, and what it becomes."""

    path: tuple[str, ...]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    column: Column


def find_tables(group: Any, h5py: Any, most: int, before: str = "") -> Iterator[tuple[str, Any]]:
    """Find the datasets of a compound type and one dimension.

    Parameters
    ----------
    group
        An open group of h5py; links to other files were refused before.
    h5py
        The module.
    most
        Tables at most.
    before
        Path of the group, with a slash at its end.

    Yields
    ------
    path, dataset
        In the order of the file.
    """
    count = 0
    for title in group:
        if count >= most:
            return
        if title.startswith("_i_"):  # indexes of PyTables
            continue
        one = None if isinstance(group.get(title, getlink=True), h5py.SoftLink) else group.get(title)
        if isinstance(one, h5py.Dataset) and one.dtype.names and len(one.shape or ()) == 1:
            count += 1
            yield before + title, one
        elif isinstance(one, h5py.Group) and before.count("/") < 20:
            for found in find_tables(one, h5py, most - count, f"{before}{title}/"):
                count += 1
                yield found


def make_rows(path: str, dataset: Any, index: int, file: str) -> tuple[Rows | None, list[Deviation]]:
    """Make a table of a dataset.

    Parameters
    ----------
    path
        Of the dataset.
    dataset
        Of a compound type and one dimension.
    index
        Of the part.
    file
        Name of the file.

    Returns
    -------
    rows, deviations
        The table, and its fields that no table can hold. `rows` is None if none is left.

    Raises
    ------
    TooLarge
        A chunk unpacks to more than is read at once.
    """
    if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > LARGEST // 4:
        raise TooLarge(say("{name} unpacks to more than {most} MB", "a block of the file", LARGEST // 4 >> 20))
    said = _column_metadata(dataset, path)
    members: list[_Member] = []
    deviations: list[Deviation] = []
    for names, kind in _fields(dataset.dtype, ()):
        base, shape = kind.subdtype or (kind, ())
        column = _column("_".join(names), base, shape, said)
        if column is not None and base.str[1:] == "u8":
            step = max(1, _BLOCK // max(1, dataset.dtype.itemsize))
            if exceed_int64(partial(_words, dataset, names), int(dataset.shape[0]), step):
                column = column.having(type=_text_type(shape))
                deviations.append(text_deviation(column.name, file))
        if column is None:
            deviations.append(
                Deviation(
                    kind=DeviationKind.DROPPED_COLUMN,
                    column=f"{path}.{'.'.join(names)}",
                    file=file,
                    message=f"values of the type {base} have no form in a table of the VO: the field is not read",
                )
            )
        else:
            members.append(_Member(path=names, dtype=base, shape=tuple(shape), column=column))
    if not members:
        return None, deviations
    cards = tuple(Card(word, str(value)[:2000]) for word, value in dataset.attrs.items() if isinstance(value, str | int | float | np.generic))  # fmt: skip
    return _rows(path, dataset, members, index, file, cards), deviations


def _fields(kind: np.dtype[Any], before: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], np.dtype[Any]]]:
    """List the fields of a compound type, those within others one by one."""
    for name in kind.names or ():
        inner = kind.fields[name][0]  # type: ignore[index]  # a compound type has fields
        if inner.names:
            yield from _fields(inner, (*before, name))
        else:
            yield (*before, name), inner


def _column(
    name: str, base: np.dtype[Any], shape: Sequence[int], said: dict[str, tuple[str | None, str | None]]
) -> Column | None:
    unit, description = said.get(name, (None, None))
    size = "x".join(str(one) for one in reversed(shape)) or None
    if base.kind == "S" or _is_text(base):
        width = base.itemsize if base.kind == "S" else "*"
        if shape and _is_text(base):
            return None
        return Column(name=name, type=Type("char", "*" if size is None else f"{width}x{size}"), unit=unit, description=description)  # fmt: skip
    word = {"b": "boolean", "c": {8: "floatComplex", 16: "doubleComplex"}.get(base.itemsize)}.get(base.kind)
    if base.kind in "iuf":
        word = "float" if base.str[1:] == "f2" else NAMES.get(base.str[1:])
    return None if word is None else Column(name=name, type=Type(word, size), unit=unit, description=description)


def _text_type(shape: Sequence[int]) -> Type:
    """Return the type of decimal digits of unsigned 64-bit integers."""
    size = "x".join(str(one) for one in (UINT64_DIGITS, *reversed(shape)))
    return Type("char", size if shape else f"{UINT64_DIGITS}*")


def _words(dataset: Any, names: Sequence[str], first: int, stop: int) -> Any:
    values = dataset.fields([names[0]])[first:stop]
    for name in names:
        values = values[name]
    return values


def _is_text(base: np.dtype[Any]) -> bool:
    """Return whether values are texts of any length."""
    metadata: Any = base.metadata or {}
    return base.kind == "O" and metadata.get("vlen") in {str, bytes}


def _column_metadata(dataset: Any, path: str) -> dict[str, tuple[str | None, str | None]]:
    """Read the units and descriptions that astropy keeps beside a table, as lines of YAML."""
    name = path.rpartition("/")[2] + META
    lines = dataset.parent.get(name)
    if lines is None or lines.dtype.kind not in "SO" or (lines.size or 0) > 100_000:
        return {}
    found = {}
    for line in lines[()]:
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else str(line)
        if (match := _LINE.match(text)) is not None:
            unit, description = _UNIT.search(match["rest"]), _DESCRIPTION.search(match["rest"])
            found[_unquoted(match["name"])] = (
                _unquoted(unit["unit"]) if unit else None,
                _unquoted(description["description"]) if description else None,
            )
    return found


def _unquoted(text: str) -> str:
    text = text.strip()
    if text[:1] == text[-1:] and text[:1] in {"'", '"'} and len(text) > 1:
        return text[1:-1].replace("''", "'")
    return text


def _rows(path: str, dataset: Any, members: Sequence[_Member], index: int, file: str, cards: tuple[Card, ...]) -> Rows:
    schema = pa.schema([member.column.arrow for member in members])
    count = int(dataset.shape[0])
    tops = list(dict.fromkeys(member.path[0] for member in members))

    def batches(start: int, most: int) -> Iterator[pa.RecordBatch]:
        step = max(1, min(65_536, _BLOCK // max(1, dataset.dtype.itemsize)))
        for first in range(start, min(count, start + most), step):
            stop = min(count, start + most, first + step)
            with guarded(file, "HDF5"):
                records = dataset.fields(tops)[first:stop]
            arrays = [_array(records, member, kind) for member, kind in zip(members, schema.types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def narrow(names: Collection[str]) -> Rows:
        kept = [member for member in members if member.column.name in names]
        return _rows(path, dataset, kept, index, file, cards)

    columns = tuple(member.column for member in members)
    return Rows(
        index=index, name=path, columns=columns, count=count, batches=batches, cards=cards, narrow=narrow, declared=True
    )


def _array(records: Any, member: _Member, kind: pa.DataType) -> pa.Array:
    values = records
    for name in member.path:
        values = values[name]
    flat = np.ascontiguousarray(values).reshape(-1)
    base = member.dtype
    if base.kind == "S" or _is_text(base):
        cells = pa.array(flat, pa.binary()) if base.kind == "S" else pa.array([one if isinstance(one, bytes) else str(one).encode() for one in flat], pa.binary())  # fmt: skip
        found = _texts(cells)
    elif base.kind == "c":
        parts = flat.astype(flat.dtype.newbyteorder("=")).view(f"f{base.itemsize // 2}")
        found = pa.FixedSizeListArray.from_arrays(pa.array(parts), 2)
    else:
        native = flat.astype("f4" if base.str[1:] == "f2" else flat.dtype.newbyteorder("="))
        found = pa.array(native, from_pandas=base.kind == "f")
        if pa.types.is_string(kind) or (pa.types.is_list(kind) and pa.types.is_string(kind.value_type)):
            found = found.cast(pa.string())
    if not member.shape:
        return found.cast(kind)
    size = math.prod(member.shape)
    if pa.types.is_string(found.type):
        return pa.ListArray.from_arrays(pa.array(np.arange(0, len(found) + 1, size, dtype=np.int32)), found)
    inner = kind.value_type
    return pa.FixedSizeListArray.from_arrays(found.cast(inner), kind.list_size).cast(kind)


def _texts(cells: pa.Array) -> pa.Array:
    import pyarrow.compute as pc  # noqa: PLC0415  (slow to load, asked by few)

    try:
        texts = cells.cast(pa.string())
    except pa.ArrowInvalid:
        texts = pa.array([cell.as_py().decode("latin-1") for cell in cells], pa.string())
    return pc.utf8_rtrim(texts, " \0")


__all__ = ["META", "find_tables", "make_rows"]
