"""Read tables of HDF5 files: datasets of a compound type, as pandas, PyTables, h5py and astropy write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import HeaderCard, TablePart
from hven.formats.media.api import MAX_UNPACKED_BYTES, VOTABLE_TYPES, convert_library_errors, format_arraysize
from hven.model import DeviationKind, ReadDeviation
from hven.model.errors import TooLargeError, format_message
from hven.model.table import Column
from hven.model.types import ColumnType
from hven.plugins.array_files.uint64_texts import (
    build_uint64_text_deviation,
    create_uint64_text_type,
    has_values_beyond_int64,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

# end of the name under which astropy keeps the units and descriptions of the columns of a table
COLUMN_METADATA_SUFFIX = ".__table_column_meta__"
_BLOCK_BYTES = 8 << 20  # bytes of rows that are read at a time
_LINE_PATTERN = re.compile(r"^- (?:!\S+ )?\{name: (?P<name>'[^']*'|[^,}]+)(?P<rest>.*)\}\s*$")
_UNIT_PATTERN = re.compile(r"\bunit: (?:!\S+ \{unit: )?(?P<unit>'[^']*'|[^,}]+)")
_DESCRIPTION_PATTERN = re.compile(r"\bdescription: (?P<description>'(?:[^']|'')*'|\"[^\"]*\"|[^,}]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _CompoundField:
    """A column: the path of its field in the compound type, and its description."""

    path: tuple[str, ...]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    column: Column


def find_compound_tables(group: Any, h5py: Any, table_limit: int, group_path: str = "") -> Iterator[tuple[str, Any]]:
    """Find the datasets of a compound type and one dimension.

    Parameters
    ----------
    group
        An open group of h5py. Links to other files have been refused before.
    h5py
        The module h5py.
    table_limit
        Maximum number of tables.
    group_path
        Path of the group, with a slash at its end.

    Yields
    ------
    path, dataset
        Path and dataset of each table, in the order of the file.
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


def create_compound_table(
    path: str, dataset: Any, index: int, file: str
) -> tuple[TablePart | None, list[ReadDeviation]]:
    """Create a table from a dataset.

    Parameters
    ----------
    path
        Path of the dataset.
    dataset
        Dataset of a compound type and one dimension.
    index
        Index of the part.
    file
        Name of the file.

    Returns
    -------
    rows, deviations
        The table, and the fields that no table can hold. `rows` is None if no field is left.

    Raises
    ------
    TooLargeError
        A chunk decompresses to more than is read at once.
    """
    max_chunk_bytes = MAX_UNPACKED_BYTES // 4
    if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > max_chunk_bytes:
        raise TooLargeError(
            format_message(
                "{name} is larger than {most} MB after decompression, which is the limit",
                "a block of the file",
                max_chunk_bytes >> 20,
            )
        )
    column_metadata = _read_column_metadata(dataset, path)
    members: list[_CompoundField] = []
    deviations: list[ReadDeviation] = []
    for names, kind in _list_fields(dataset.dtype, ()):
        base, shape = kind.subdtype or (kind, ())
        column = _create_column("_".join(names), base, shape, column_metadata)
        if column is not None and base.str[1:] == "u8":
            step = max(1, _BLOCK_BYTES // max(1, dataset.dtype.itemsize))
            if has_values_beyond_int64(partial(_read_field_values, dataset, names), int(dataset.shape[0]), step):
                column = column.copy_with(type=create_uint64_text_type(shape))
                deviations.append(build_uint64_text_deviation(column.name, file))
        if column is None:
            message = f"values of the type {base} have no form in a table of the VO: the field is not read"
            field_path = f"{path}.{'.'.join(names)}"
            deviation = ReadDeviation(kind=DeviationKind.DROPPED_COLUMN, column=field_path, file=file, message=message)
            deviations.append(deviation)
        else:
            members.append(_CompoundField(path=names, dtype=base, shape=tuple(shape), column=column))
    if not members:
        return None, deviations
    cards = []
    for word, value in dataset.attrs.items():
        if isinstance(value, str | int | float | np.generic):
            cards.append(HeaderCard(word, str(value)[:2000]))
    table = _create_table(dataset, members, path=path, index=index, file=file, cards=tuple(cards))
    return table, deviations


def _list_fields(
    compound_type: np.dtype[Any], outer_names: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], np.dtype[Any]]]:
    """List the fields of a compound type; fields of nested types are listed one by one."""
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
    size = format_arraysize(shape)
    is_variable_text = _is_variable_text(base)
    if base.kind == "S" or is_variable_text:
        if shape and is_variable_text:
            return None
        arraysize = "*" if size is None else f"{base.itemsize}x{size}"
        return Column(name=name, type=ColumnType("char", arraysize), unit=unit, description=description)
    datatype = None
    if base.kind == "b":
        datatype = "boolean"
    elif base.kind == "c":
        datatype = {8: "floatComplex", 16: "doubleComplex"}.get(base.itemsize)
    elif base.str[1:] == "f2":
        datatype = "float"
    elif base.kind in "iuf":
        datatype = VOTABLE_TYPES.get(base.str[1:])
    if datatype is None:
        return None
    return Column(name=name, type=ColumnType(datatype, size), unit=unit, description=description)


def _read_field_values(dataset: Any, names: Sequence[str], first: int, stop: int) -> Any:
    values = dataset.fields([names[0]])[first:stop]
    for name in names:
        values = values[name]
    return values


def _is_variable_text(base: np.dtype[Any]) -> bool:
    """Return whether values are texts of variable length."""
    metadata: Any = base.metadata or {}
    return base.kind == "O" and metadata.get("vlen") in {str, bytes}


def _read_column_metadata(dataset: Any, path: str) -> dict[str, tuple[str | None, str | None]]:
    """Read the units and descriptions that astropy writes beside a table, as lines of YAML."""
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
            unit_match = _UNIT_PATTERN.search(match["rest"])
            description_match = _DESCRIPTION_PATTERN.search(match["rest"])
            unit = _remove_quotes(unit_match["unit"]) if unit_match else None
            description = _remove_quotes(description_match["description"]) if description_match else None
            metadata_by_column[_remove_quotes(match["name"])] = (unit, description)
    return metadata_by_column


def _remove_quotes(text: str) -> str:
    text = text.strip()
    if text[:1] == text[-1:] and text[:1] in {"'", '"'} and len(text) > 1:
        return text[1:-1].replace("''", "'")
    return text


def _create_table(
    dataset: Any,
    members: Sequence[_CompoundField],
    *,
    path: str,
    index: int,
    file: str,
    cards: tuple[HeaderCard, ...],
) -> TablePart:
    schema = pa.schema([member.column.arrow_field for member in members])
    count = int(dataset.shape[0])
    tops = list(dict.fromkeys(member.path[0] for member in members))

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        row_bytes = max(1, dataset.dtype.itemsize)
        step = max(1, min(65_536, _BLOCK_BYTES // row_bytes))
        for first in range(start, min(count, start + row_limit), step):
            stop = min(count, start + row_limit, first + step)
            with convert_library_errors(file, "HDF5"):
                records = dataset.fields(tops)[first:stop]
            arrays = []
            for member, arrow_type in zip(members, schema.types, strict=True):
                arrays.append(_build_array(records, member, arrow_type))
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def select_columns(names: Collection[str]) -> TablePart:
        selected_members = [member for member in members if member.column.name in names]
        return _create_table(dataset, selected_members, path=path, index=index, file=file, cards=cards)

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
            texts = [element if isinstance(element, bytes) else str(element).encode() for element in flat]
            cells = pa.array(texts, pa.binary())
        flat_array = _decode_texts(cells)
    elif base.kind == "c":
        parts = flat.astype(flat.dtype.newbyteorder("=")).view(f"f{base.itemsize // 2}")
        flat_array = pa.FixedSizeListArray.from_arrays(pa.array(parts), 2)
    else:
        native_type = "f4" if base.str[1:] == "f2" else flat.dtype.newbyteorder("=")
        flat_array = pa.array(flat.astype(native_type), from_pandas=base.kind == "f")
        element_type = arrow_type.value_type if pa.types.is_list(arrow_type) else arrow_type
        if pa.types.is_string(element_type):
            flat_array = flat_array.cast(pa.string())
    if not member.shape:
        return flat_array.cast(arrow_type)
    size = math.prod(member.shape)
    if pa.types.is_string(flat_array.type):
        offsets = np.arange(0, len(flat_array) + 1, size, dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), flat_array)
    items = flat_array.cast(arrow_type.value_type)
    return pa.FixedSizeListArray.from_arrays(items, arrow_type.list_size).cast(arrow_type)


def _decode_texts(cells: pa.Array) -> pa.Array:
    import pyarrow.compute as pc  # noqa: PLC0415  (slow to load, and few requests need it)

    try:
        texts = cells.cast(pa.string())
    except pa.ArrowInvalid:
        latin_texts = [cell.as_py().decode("latin-1") for cell in cells]
        texts = pa.array(latin_texts, pa.string())
    return pc.utf8_rtrim(texts, " \0")


__all__ = ["COLUMN_METADATA_SUFFIX", "create_compound_table", "find_compound_tables"]
