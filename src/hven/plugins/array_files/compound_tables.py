"""Read tables of HDF5 files: datasets of a compound type, as pandas, PyTables, h5py and astropy write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import HeaderCard, TablePart
from hven.formats.media.api import (
    MAX_UNPACKED_BYTES,
    VOTABLE_TYPES,
    convert_library_errors,
    create_unpacked_size_error,
    format_arraysize,
)
from hven.model import DeviationKind, ReadDeviation
from hven.model.errors import SourceError, format_message
from hven.model.table import Column
from hven.model.types import ColumnType
from hven.plugins.array_files.array_variables import (
    MAX_BATCH_BYTES,
    build_cells,
    build_number_cells,
    create_batch_reader,
)
from hven.plugins.array_files.uint64_texts import (
    build_uint64_text_deviation,
    create_uint64_text_type,
    has_values_beyond_int64,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import h5py

MAX_GROUP_DEPTH = 20  # of nested groups
MAX_MEMBERS = 100_000  # datasets and groups of a file
# end of the name under which astropy keeps the units and descriptions of the columns of a table
COLUMN_METADATA_SUFFIX = ".__table_column_meta__"
MASK_SUFFIX = ".mask"  # end of the name of the field in which astropy marks missing values
_INDEX_PATTERN = re.compile(r"(?:^|/)_i_")  # in the path of an index of PyTables
_FIELD_TYPES = VOTABLE_TYPES | {"b1": "boolean", "c8": "floatComplex", "c16": "doubleComplex", "f2": "float"}
_LINE_PATTERN = re.compile(r"^- (?:!\S+ )?\{name: (?P<name>'[^']*'|[^,}]+)(?P<rest>.*)\}\s*$")
_UNIT_PATTERN = re.compile(r"\bunit: (?:!\S+ \{unit: )?(?P<unit>'[^']*'|[^,}]+)")
_DESCRIPTION_PATTERN = re.compile(r"\bdescription: (?P<description>'(?:[^']|'')*'|\"[^\"]*\"|[^,}]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _CompoundField:
    """A column: the path of its field, its description, and the name of the field that marks missing values."""

    path: tuple[str, ...]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    column: Column
    mask_name: str = ""


def find_compound_tables(hdf5_file: h5py.File, name: str) -> list[tuple[str, h5py.Dataset]]:
    """Find the datasets of a compound type and one dimension, and refuse values in other files.

    Parameters
    ----------
    hdf5_file
        An open file.
    name
        Name of the file.

    Returns
    -------
    tables
        Path and dataset of each table, in the order of the file.

    Raises
    ------
    SourceError
        Values are in other files, which HDF5 would open wherever they are, or the file has more than
        `MAX_MEMBERS` members or `MAX_GROUP_DEPTH` levels.
    """
    return [
        (path, dataset)
        for path, dataset in _iterate_datasets(hdf5_file, name, count(1))
        if dataset.dtype.names and len(dataset.shape or ()) == 1 and not _INDEX_PATTERN.search(path)
    ]


def _iterate_datasets(
    group: h5py.Group, name: str, member_numbers: Iterator[int], group_path: str = "", depth: int = 0
) -> Iterator[tuple[str, h5py.Dataset]]:
    import h5py  # noqa: PLC0415  (few requests need it)

    for title in group:
        # a member that is not looked at could lead into another file, and groups that hold each other have no end
        if depth > MAX_GROUP_DEPTH or next(member_numbers) > MAX_MEMBERS:
            raise SourceError(
                format_message(
                    "{name} has more than {members:,} members, or more than {depth} levels of groups",
                    name,
                    MAX_MEMBERS,
                    MAX_GROUP_DEPTH,
                ),
                remedy=format_message("copy the data that you need into a smaller file (`h5copy`)"),
            )
        link = group.get(title, getlink=True)
        is_external = isinstance(link, h5py.ExternalLink)
        if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
            member = None
        else:
            member = group.get(title)
        if isinstance(member, h5py.Dataset):
            is_external = bool(member.external) or member.is_virtual
        if is_external:
            raise SourceError(
                format_message("some values of {name} are in other files, which Hven does not read", name)
            )
        if isinstance(member, h5py.Dataset):
            yield group_path + title, member
        elif isinstance(member, h5py.Group):
            yield from _iterate_datasets(member, name, member_numbers, f"{group_path}{title}/", depth + 1)


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
        raise create_unpacked_size_error("a block of the file", max_chunk_bytes)
    column_metadata = _read_column_metadata(dataset, path)
    members: list[_CompoundField] = []
    deviations: list[ReadDeviation] = []
    mask_names = set()
    if column_metadata:
        mask_names = _find_mask_names(dataset.dtype)
    for names, kind in _list_fields(dataset.dtype, ()):
        if names[0] in mask_names:
            continue
        base, shape = kind.subdtype or (kind, ())
        column = _create_column("_".join(names), base, shape, column_metadata)
        if column is None:
            message = f"a VO table cannot contain values of the type {base}, so Hven does not read the field"
            field_path = f"{path}.{'.'.join(names)}"
            deviations.append(
                ReadDeviation(kind=DeviationKind.DROPPED_COLUMN, column=field_path, file=file, message=message)
            )
            continue
        if base.str[1:] == "u8":
            step = max(1, MAX_BATCH_BYTES // max(1, dataset.dtype.itemsize))
            if has_values_beyond_int64(partial(_read_field_values, dataset, names), int(dataset.shape[0]), step):
                column = column.copy_with(type=create_uint64_text_type(shape))
                deviations.append(build_uint64_text_deviation(column.name, file))
        mask_name = names[0] + MASK_SUFFIX
        if mask_name not in mask_names:
            mask_name = ""
        members.append(_CompoundField(path=names, dtype=base, shape=tuple(shape), column=column, mask_name=mask_name))
    if not members:
        return None, deviations
    cards = tuple(
        HeaderCard(word, str(value)[:2000])
        for word, value in dataset.attrs.items()
        if isinstance(value, str | int | float | np.generic)
    )
    return _create_table(dataset, members, path=path, index=index, file=file, cards=cards), deviations


def _find_mask_names(compound_type: np.dtype[Any]) -> set[str]:
    """Find the fields in which astropy marks the missing values of another field of the same shape."""
    names: set[str] = set()
    for name in compound_type.names or ():
        mask_name = name + MASK_SUFFIX
        if mask_name in (compound_type.names or ()):
            kind, mask_kind = compound_type[name], compound_type[mask_name]
            if mask_kind.base == np.bool_ and mask_kind.shape == kind.shape and kind.base.kind in "biufSO":
                names.add(mask_name)
    return names


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
    datatype = _FIELD_TYPES.get(base.str[1:])
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
            unit = None
            if unit_match:
                unit = _remove_quotes(unit_match["unit"])
            description = None
            if description_match:
                description = _remove_quotes(description_match["description"])
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
    tops = list(dict.fromkeys(name for member in members for name in (member.path[0], member.mask_name) if name))

    def read_columns(first: int, stop: int) -> list[pa.Array]:
        with convert_library_errors(file, "HDF5"):
            records = dataset.fields(tops)[first:stop]
        arrays = []
        for member, arrow_type in zip(members, schema.types, strict=True):
            array = _build_array(records, member, arrow_type)
            if member.mask_name:
                array = _replace_masked_with_null(array, records[member.mask_name])
            arrays.append(array)
        return arrays

    def select_columns(names: Collection[str]) -> TablePart:
        selected_members = [member for member in members if member.column.name in names]
        return _create_table(dataset, selected_members, path=path, index=index, file=file, cards=cards)

    columns = tuple(member.column for member in members)
    return TablePart(
        index=index,
        name=path,
        columns=columns,
        row_count=count,
        read_batches=create_batch_reader(schema, count, dataset.dtype.itemsize, read_columns),
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
        numbers = flat
        if base.str[1:] == "f2":
            numbers = flat.astype("f4")
        return build_number_cells(numbers, member.shape, arrow_type)
    return build_cells(flat_array, member.shape, arrow_type)


def _replace_masked_with_null(array: pa.Array, mask: Any) -> pa.Array:
    """Replace the marked values, or elements of cells, with null."""
    import pyarrow.compute as pc  # noqa: PLC0415  (slow to load, and few requests need it)

    is_masked = pa.array(np.ascontiguousarray(mask).reshape(-1))
    if mask.ndim == 1:
        return pc.if_else(is_masked, pa.scalar(None, array.type), array)
    elements = array.flatten()
    elements = pc.if_else(is_masked, pa.scalar(None, elements.type), elements)
    return pa.FixedSizeListArray.from_arrays(elements, mask[0].size).cast(array.type)


def _decode_texts(cells: pa.Array) -> pa.Array:
    import pyarrow.compute as pc  # noqa: PLC0415  (slow to load, and few requests need it)

    try:
        texts = cells.cast(pa.string())
    except pa.ArrowInvalid:
        latin_texts = [cell.as_py().decode("latin-1") for cell in cells]
        texts = pa.array(latin_texts, pa.string())
    return pc.utf8_rtrim(texts, " \0")
