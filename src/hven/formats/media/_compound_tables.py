"""Tables of HDF5 files: datasets of a compound type, as pandas, PyTables, h5py and astropy write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media._product import HeaderCard, TablePart
from hven.formats.media._record_tables import (
    UINT64_DIGITS,
    VOTABLE_TYPES,
    describe_text_deviation,
    has_values_beyond_int64,
)
from hven.formats.media._stored_arrays import MAX_UNPACKED_BYTES, convert_library_errors
from hven.model import Deviation, DeviationKind
from hven.model.errors import TooLargeError, format_message
from hven.model.table import Column
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

COLUMN_METADATA_SUFFIX = (
    ".__table_column_meta__"  # end of the name under which astropy keeps units and descriptions of a table's columns
)
_BLOCK_BYTES = 8 << 20  # bytes of rows that are read at a time
_LINE_PATTERN = re.compile(r"^- (?:!\S+ )?\{name: (?P<name>'[^']*'|[^,}]+)(?P<rest>.*)\}\s*$")
_UNIT_PATTERN = re.compile(r"\bunit: (?:!\S+ \{unit: )?(?P<unit>'[^']*'|[^,}]+)")
_DESCRIPTION_PATTERN = re.compile(r"\bdescription: (?P<description>'(?:[^']|'')*'|\"[^\"]*\"|[^,}]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _CompoundField:
    """A column: the path of its field in the compound type, and what it becomes."""

    path: tuple[str, ...]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    column: Column


def find_compound_tables(group: Any, h5py: Any, table_limit: int, group_path: str = "") -> Iterator[tuple[str, Any]]:
    """Find the datasets of a compound type and one dimension.

    Parameters
    ----------
    group
        An open group of h5py; links to other files were refused before.
    h5py
        The module.
    table_limit
        Tables at most.
    group_path
        Path of the group, with a slash at its end.

    Yields
    ------
    path, dataset
        In the order of the file.
    """
    count = 0
    for title in group:
        if count >= table_limit:
            return
        if title.startswith("_i_"):  # indexes of PyTables
            continue
        if isinstance(group.get(title, getlink=True), h5py.SoftLink):
            member = None
        else:
            member = group.get(title)
        if isinstance(member, h5py.Dataset) and member.dtype.names and len(member.shape or ()) == 1:
            count += 1
            yield group_path + title, member
        elif isinstance(member, h5py.Group) and group_path.count("/") < 20:
            for inner_table in find_compound_tables(member, h5py, table_limit - count, f"{group_path}{title}/"):
                count += 1
                yield inner_table


def create_compound_table(path: str, dataset: Any, index: int, file: str) -> tuple[TablePart | None, list[Deviation]]:
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
    TooLargeError
        A chunk unpacks to more than is read at once.
    """
    if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > MAX_UNPACKED_BYTES // 4:
        raise TooLargeError(
            format_message(
                "{name} unpacks to more than {most} MB", "a block of the file", MAX_UNPACKED_BYTES // 4 >> 20
            )
        )
    column_metadata = _read_column_metadata(dataset, path)
    members: list[_CompoundField] = []
    deviations: list[Deviation] = []
    for names, kind in _list_fields(dataset.dtype, ()):
        base, shape = kind.subdtype or (kind, ())
        column = _create_column("_".join(names), base, shape, column_metadata)
        if column is not None and base.str[1:] == "u8":
            step = max(1, _BLOCK_BYTES // max(1, dataset.dtype.itemsize))
            if has_values_beyond_int64(partial(_read_field_values, dataset, names), int(dataset.shape[0]), step):
                column = column.copy_with(type=_create_digits_type(shape))
                deviations.append(describe_text_deviation(column.name, file))
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
            members.append(_CompoundField(path=names, dtype=base, shape=tuple(shape), column=column))
    if not members:
        return None, deviations
    cards = tuple(
        HeaderCard(word, str(value)[:2000])
        for word, value in dataset.attrs.items()
        if isinstance(value, str | int | float | np.generic)
    )
    table = _create_table(path, dataset, members, index, file, cards)
    return table, deviations


def _list_fields(
    compound_type: np.dtype[Any], outer_names: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], np.dtype[Any]]]:
    """List the fields of a compound type, those within others one by one."""
    for name in compound_type.names or ():
        inner = compound_type.fields[name][0]  # type: ignore[index]  # a compound type has fields
        if inner.names:
            yield from _list_fields(inner, (*outer_names, name))
        else:
            yield (*outer_names, name), inner


def _create_column(
    name: str, base: np.dtype[Any], shape: Sequence[int], column_metadata: dict[str, tuple[str | None, str | None]]
) -> Column | None:
    unit, description = column_metadata.get(name, (None, None))
    size = "x".join(str(length) for length in reversed(shape)) or None
    if base.kind == "S" or _is_variable_text(base):
        width = base.itemsize if base.kind == "S" else "*"
        if shape and _is_variable_text(base):
            return None
        return Column(
            name=name, type=Type("char", "*" if size is None else f"{width}x{size}"), unit=unit, description=description
        )
    datatype = {"b": "boolean", "c": {8: "floatComplex", 16: "doubleComplex"}.get(base.itemsize)}.get(base.kind)
    if base.kind in "iuf":
        if base.str[1:] == "f2":
            datatype = "float"
        else:
            datatype = VOTABLE_TYPES.get(base.str[1:])
    if datatype is None:
        return None
    return Column(name=name, type=Type(datatype, size), unit=unit, description=description)


def _create_digits_type(shape: Sequence[int]) -> Type:
    """Return the type of decimal digits of unsigned 64-bit integers."""
    size = "x".join(str(length) for length in (UINT64_DIGITS, *reversed(shape)))
    return Type("char", size if shape else f"{UINT64_DIGITS}*")


def _read_field_values(dataset: Any, names: Sequence[str], first: int, stop: int) -> Any:
    values = dataset.fields([names[0]])[first:stop]
    for name in names:
        values = values[name]
    return values


def _is_variable_text(base: np.dtype[Any]) -> bool:
    """Return whether values are texts of any length."""
    metadata: Any = base.metadata or {}
    return base.kind == "O" and metadata.get("vlen") in {str, bytes}


def _read_column_metadata(dataset: Any, path: str) -> dict[str, tuple[str | None, str | None]]:
    """Read the units and descriptions that astropy keeps beside a table, as lines of YAML."""
    name = path.rpartition("/")[2] + COLUMN_METADATA_SUFFIX
    lines = dataset.parent.get(name)
    if lines is None or lines.dtype.kind not in "SO" or (lines.size or 0) > 100_000:
        return {}
    metadata_by_column = {}
    for line in lines[()]:
        if isinstance(line, bytes):
            text = line.decode("utf-8", "replace")
        else:
            text = str(line)
        match = _LINE_PATTERN.match(text)
        if match is not None:
            unit = _UNIT_PATTERN.search(match["rest"])
            description = _DESCRIPTION_PATTERN.search(match["rest"])
            metadata_by_column[_remove_quotes(match["name"])] = (
                _remove_quotes(unit["unit"]) if unit else None,
                _remove_quotes(description["description"]) if description else None,
            )
    return metadata_by_column


def _remove_quotes(text: str) -> str:
    text = text.strip()
    if text[:1] == text[-1:] and text[:1] in {"'", '"'} and len(text) > 1:
        return text[1:-1].replace("''", "'")
    return text


def _create_table(
    path: str, dataset: Any, members: Sequence[_CompoundField], index: int, file: str, cards: tuple[HeaderCard, ...]
) -> TablePart:
    schema = pa.schema([member.column.arrow_field for member in members])
    count = int(dataset.shape[0])
    tops = list(dict.fromkeys(member.path[0] for member in members))

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        step = max(1, min(65_536, _BLOCK_BYTES // max(1, dataset.dtype.itemsize)))
        for first in range(start, min(count, start + row_limit), step):
            stop = min(count, start + row_limit, first + step)
            with convert_library_errors(file, "HDF5"):
                records = dataset.fields(tops)[first:stop]
            arrays = [_build_array(records, member, kind) for member, kind in zip(members, schema.types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def select_columns(names: Collection[str]) -> TablePart:
        selected_members = [member for member in members if member.column.name in names]
        return _create_table(path, dataset, selected_members, index, file, cards)

    columns = tuple(member.column for member in members)
    return TablePart(
        index=index,
        name=path,
        columns=columns,
        row_count=count,
        read_batches=read_batches,
        cards=cards,
        select_columns=select_columns,
        is_declared=True,
    )


def _build_array(records: Any, member: _CompoundField, arrow_type: pa.DataType) -> pa.Array:
    values = records
    for name in member.path:
        values = values[name]
    flat = np.ascontiguousarray(values).reshape(-1)
    base = member.dtype
    if base.kind == "S" or _is_variable_text(base):
        if base.kind == "S":
            cells = pa.array(flat, pa.binary())
        else:
            cells = pa.array(
                [element if isinstance(element, bytes) else str(element).encode() for element in flat], pa.binary()
            )
        flat_array = _decode_texts(cells)
    elif base.kind == "c":
        parts = flat.astype(flat.dtype.newbyteorder("=")).view(f"f{base.itemsize // 2}")
        flat_array = pa.FixedSizeListArray.from_arrays(pa.array(parts), 2)
    else:
        native = flat.astype("f4" if base.str[1:] == "f2" else flat.dtype.newbyteorder("="))
        flat_array = pa.array(native, from_pandas=base.kind == "f")
        if pa.types.is_string(arrow_type) or (
            pa.types.is_list(arrow_type) and pa.types.is_string(arrow_type.value_type)
        ):
            flat_array = flat_array.cast(pa.string())
    if not member.shape:
        return flat_array.cast(arrow_type)
    size = math.prod(member.shape)
    if pa.types.is_string(flat_array.type):
        return pa.ListArray.from_arrays(pa.array(np.arange(0, len(flat_array) + 1, size, dtype=np.int32)), flat_array)
    inner = arrow_type.value_type
    return pa.FixedSizeListArray.from_arrays(flat_array.cast(inner), arrow_type.list_size).cast(arrow_type)


def _decode_texts(cells: pa.Array) -> pa.Array:
    import pyarrow.compute as pc  # noqa: PLC0415  (slow to load, asked by few)

    try:
        texts = cells.cast(pa.string())
    except pa.ArrowInvalid:
        texts = pa.array([cell.as_py().decode("latin-1") for cell in cells], pa.string())
    return pc.utf8_rtrim(texts, " \0")


__all__ = ["COLUMN_METADATA_SUFFIX", "create_compound_table", "find_compound_tables"]
