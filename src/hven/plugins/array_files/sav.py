"""Read IDL SAVE files with scipy, which reads a file as a whole.

Arrays become images and cubes, maps of the Sun with their position; arrays of structures become tables.
"""

from __future__ import annotations

import io
import re
import struct
import tempfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import MAX_PARTS, ArrayPart, Axis, HeaderCard, OpenProductFile, ProductFileFormat, TablePart
from hven.formats.media.api import (
    MAX_UNPACKED_BYTES,
    VOTABLE_TYPES,
    convert_library_errors,
    copy_remote_file_to_disk,
    create_sky_mapping_builder,
    create_unpacked_size_error,
    format_arraysize,
)
from hven.model import plugins
from hven.model.errors import SourceError, TooLargeError, format_message
from hven.model.table import Column
from hven.model.types import ColumnType
from hven.plugins.array_files.array_variables import build_number_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from hven.formats.media import Part, Place

MAX_NESTING_DEPTH = 10  # of structures
_END_RECORD = 6  # type of the last record
_MAX_DESCRIBED_BYTES = 4096  # of a record that are read for its description
# names of the types by their numbers, from 1 on
_IDL_TYPE_WORDS = "BYTE INT LONG FLOAT DOUBLE COMPLEX STRING STRUCT DCOMPLEX POINTER OBJREF UINT ULONG LONG64 ULONG64"
_IDL_TYPES = dict(enumerate(_IDL_TYPE_WORDS.split(), 1))
_RECORD_WORDS = {  # type of a record -> bytes before its texts, and what they are
    10: (1024, ("date", "user", "host")),
    13: (0, ("author", "title", "code")),
    14: (4, ("architecture", "system", "release")),
    19: (0, ("notice",)),
    20: (0, ("description",)),
}


def open_sav(file: Place) -> OpenProductFile:
    """Open a file.

    Parameters
    ----------
    file
        The file; one on another server is copied.

    Returns
    -------
    product
        Arrays of the file, a table for each array of structures, and one for one-dimensional arrays of one length.

    Raises
    ------
    SourceError
        The file is of another kind or damaged, or scipy is not installed.
    TooLargeError
        The file, or what it unpacks to, is larger than what is held in memory.
    """
    plugins.require_modules("an IDL SAVE file", "scipy", error_class=SourceError)
    from scipy.io import readsav  # noqa: PLC0415  (few requests need it)

    path, close = copy_remote_file_to_disk(file)
    name = path.name if path is file else "the file"
    max_bytes = MAX_UNPACKED_BYTES // 2
    try:
        if path.stat().st_size > max_bytes:
            raise TooLargeError(
                format_message(
                    "{name} is larger than {most} MB, which is more than Hven can read at once", name, max_bytes >> 20
                )
            )
        with convert_library_errors(name, "IDL SAVE"), tempfile.NamedTemporaryFile(suffix=".sav") as plain:
            was_packed = _unpack_file(path, plain, name)
            variables = readsav(plain.name if was_packed else str(path), python_dict=True)
            contents = _SavContents()
            for variable_name, value in variables.items():
                contents.add_value(str(variable_name), value, 0)
            parts = tuple(contents.create_parts())
            return OpenProductFile(medium="sav", parts=parts, cards=tuple(contents.cards))
    finally:
        close()


def _unpack_file(path: Path, unpacked_file: Any, name: str) -> bool:
    """Unpack a file that was saved with /COMPRESS, up to a limit; its records are compressed one by one."""
    max_bytes = MAX_UNPACKED_BYTES // 2
    with path.open("rb") as file:
        if file.read(4) != b"SR\x00\x06":
            return False
        unpacked_file.write(b"SR\x00\x04")
        while len(head := file.read(16)) == 16:
            kind, low, high = struct.unpack(">iII", head[:12])
            size = low + (high << 32) - file.tell()
            if kind == _END_RECORD:
                unpacked_file.write(head)
                break
            unpacker = zlib.decompressobj()
            body = unpacker.decompress(file.read(max(0, size)), max_bytes)
            if unpacker.unconsumed_tail or unpacked_file.tell() + len(body) > max_bytes:
                raise create_unpacked_size_error(name, max_bytes)
            after = unpacked_file.tell() + 16 + len(body)
            record_head = struct.pack(">iII", kind, after & 0xFFFFFFFF, after >> 32)
            unpacked_file.write(record_head + head[12:] + body)
        unpacked_file.flush()
    return True


def read_variable_cards(file: Place) -> Iterator[HeaderCard]:
    """Read the description of a file and of its variables: types and sizes, but no values.

    Parameters
    ----------
    file
        The file, which is read by ranges, wherever it lies.

    Yields
    ------
    cards
        Date, author and version of IDL; then each variable by its name: ``FLOAT 512x256``.

    Raises
    ------
    SourceError
        The file is of another kind, or damaged.
    """
    with file.open("rb") as source, convert_library_errors(file.name, "IDL SAVE"):
        start = source.read(4)
        if start[:3] != b"SR\x00" or start[3] not in (4, 6):
            raise SourceError(
                format_message(
                    "{name} is damaged, or not a valid {title} file: {reason}",
                    file.name,
                    "IDL SAVE",
                    "its first bytes are not valid",
                )
            )
        for _ in range(100 * MAX_PARTS):
            kind, low, high, _ = struct.unpack(">iIII", source.read(16))
            if kind == _END_RECORD:
                return
            record_start = source.tell()
            next_record = low + (high << 32)
            if next_record < record_start:
                raise SourceError(format_message("the records of the file refer to each other in a cycle"))
            body = source.read(min(next_record - record_start, _MAX_DESCRIBED_BYTES))
            if start[3] == 6:
                body = zlib.decompressobj().decompress(body, _MAX_DESCRIBED_BYTES)
            yield from _read_record_cards(kind, body)
            source.seek(next_record)


def _read_record_cards(record_type: int, body: bytes) -> Iterator[HeaderCard]:
    """Read the description that a record holds."""
    stream = io.BytesIO(body)

    def read_number() -> int:
        return int.from_bytes(stream.read(4), "big", signed=True)

    def read_word() -> str:
        size = max(0, read_number())
        padded_text = stream.read(-(-size // 4) * 4)
        return padded_text[:size].decode("latin-1").strip()

    if record_type == 2:  # a variable
        name = read_word()
        code = read_number()
        flags = read_number()
        sizes: list[int] = []
        if flags & 0x24:  # an array, a structure
            array_start, *_, count = (read_number() for _ in range(5))
            *_, dimension_limit = (read_number() for _ in range(3))
            if array_start == 8 and 0 <= count <= dimension_limit <= 8:
                sizes = [read_number() for _ in range(count)]
        type_name = _IDL_TYPES.get(code, str(code))
        shape_text = "x".join(map(str, sizes))
        yield HeaderCard(name.lower(), f"{type_name} {shape_text}".strip())
    elif record_type in _RECORD_WORDS:
        words_offset, words = _RECORD_WORDS[record_type]
        stream.seek(words_offset)
        yield from (HeaderCard(name, text) for name in words if (text := read_word()))


class _SavContents:
    """The contents of a file by kind: images, tables, columns of tables by their lengths, single values."""

    def __init__(self) -> None:
        self.arrays: list[tuple[str, npt.NDArray[Any], list[HeaderCard]]] = []
        self.tables: list[tuple[str, dict[str, npt.NDArray[Any]]]] = []
        self.columns: dict[int, dict[str, npt.NDArray[Any]]] = {}
        self.cards: list[HeaderCard] = []

    def add_value(self, name: str, value: Any, depth: int) -> None:
        if depth > MAX_NESTING_DEPTH or value is None:
            return
        if isinstance(value, bytes | str | int | float | bool | np.generic) and not isinstance(value, np.void):
            self.cards.append(HeaderCard(name, _convert_scalar(value)))
            return
        if isinstance(value, np.void):  # a single record
            value = np.array([value], value.dtype).view(np.recarray)
        values = np.asarray(value)
        if values.dtype.names:
            self._add_structures(name, values.ravel(), depth)
        elif values.dtype.kind == "O":
            self._add_objects(name, values, depth)
        elif values.dtype.kind in "SU" or values.ndim <= 1 < values.size:
            self.columns.setdefault(values.size, {})[name] = values.ravel()
        elif values.dtype.kind in "iufbc" and values.size > 1:
            self.arrays += [(part_name, part, []) for part_name, part in _split_complex_numbers(name, values)]
        elif values.size == 1:
            self.cards.append(HeaderCard(name, _convert_scalar(values.ravel()[0])))

    def _add_objects(self, name: str, values: npt.NDArray[Any], depth: int) -> None:
        """Add texts, values behind pointers, and structures in structures."""
        flat = values.ravel()
        if len(flat) > 1 and all(isinstance(element, bytes | str) for element in flat):
            self.columns.setdefault(len(flat), {})[name] = _decode_texts(flat)
            return
        elements = [np.asarray(element) for element in flat if element is not None]
        shapes = {element.shape for element in elements}
        kinds = {element.dtype.kind for element in elements}
        is_uniform = len(elements) == len(flat) and len(shapes) == 1 and kinds <= set("iuf")
        if len(flat) > 1 and is_uniform:
            stacked = np.stack(elements).reshape(*values.shape, *elements[0].shape)
            self.add_value(name, stacked, depth + 1)
            return
        if len(flat) == 1:
            self.add_value(name, flat[0], depth + 1)
            return
        for number, element in enumerate(flat[:MAX_PARTS], 1):
            self.add_value(f"{name}.{number}", element, depth + 1)

    def _add_structures(self, name: str, values: npt.NDArray[Any], depth: int) -> None:
        fields = {str(field_name).lower(): values[field_name] for field_name in values.dtype.names or ()}
        if len(values) > 1:
            field_columns = {field_name: _create_column_values(column) for field_name, column in fields.items()}
            columns = {field_name: column for field_name, column in field_columns.items() if column is not None}
            if columns:
                self.tables.append((name, columns))
            for field_name, field_values in fields.items():
                if field_name not in columns:
                    self._add_objects(f"{name}.{field_name}", np.asarray(field_values, object), depth + 1)
            return
        single = {field_name: field_values[0] for field_name, field_values in fields.items()}
        data = np.asarray(single.get("data"))
        if {"data", "xc", "yc", "dx", "dy"} <= single.keys() and data.ndim == 2 and data.dtype.kind in "iuf":
            self.arrays.append((name, data, _write_solar_map_cards(single, data.shape)))
            return
        for field_name, field_values in single.items():
            self.add_value(f"{name}.{field_name}", field_values, depth + 1)

    def create_parts(self) -> Iterator[Part]:
        arrays = self.arrays[:MAX_PARTS]
        for index, (name, values, cards) in enumerate(arrays):
            yield _create_array(name, values, cards, index)
        has_one_length = len(self.columns) == 1
        column_groups = [
            ("arrays" if has_one_length else f"arrays of {size}", columns) for size, columns in self.columns.items()
        ]
        tables = [*self.tables, *column_groups][:MAX_PARTS]
        if not arrays and not tables and self.cards:  # single values only: a row of them
            tables = [("values", {card.keyword: np.array([card.value]) for card in self.cards[:MAX_PARTS]})]
        for index, (name, columns) in enumerate(tables, len(arrays)):
            yield _create_table(name, columns, index)


def _convert_scalar(value: Any) -> str | int | float | bool:
    python_value = value
    if isinstance(value, np.generic):
        python_value = value.item()
    if isinstance(python_value, bytes):
        return python_value.decode("latin-1").strip()
    if isinstance(python_value, str | int | float | bool):
        return python_value
    return str(python_value)


def _create_column_values(values: Any) -> npt.NDArray[Any] | None:
    """Create a column of a field of several structures: numbers, texts, or arrays of one shape; None for others."""
    field_array = np.asarray(values)
    if field_array.dtype.kind in "iufbc" and field_array.ndim >= 1:
        return field_array
    elements = field_array.ravel()
    if all(isinstance(element, bytes | str) for element in elements):
        return _decode_texts(elements)
    arrays = [np.asarray(element) for element in elements]
    shapes = {array.shape for array in arrays}
    is_numeric = all(array.dtype.kind in "iufc" for array in arrays)
    if len(shapes) == 1 and is_numeric and arrays[0].size:
        return np.stack(arrays)
    return None


def _decode_texts(elements: Iterable[Any]) -> npt.NDArray[np.str_]:
    return np.array([str(_convert_scalar(element)) for element in elements])


def _write_solar_map_cards(map_values: Mapping[str, Any], shape: tuple[int, ...]) -> list[HeaderCard]:
    """Write the position of a SolarSoft map: arcseconds from the centre of the disc."""
    cards: list[tuple[str, Any]] = []
    for axis_number, (axis, ctype) in enumerate((("x", "HPLN-TAN"), ("y", "HPLT-TAN")), 1):
        cards += [
            (f"CTYPE{axis_number}", ctype),
            (f"CUNIT{axis_number}", "arcsec"),
            (f"CRPIX{axis_number}", (shape[2 - axis_number] + 1) / 2.0),
            (f"CRVAL{axis_number}", float(map_values[f"{axis}c"])),
            (f"CDELT{axis_number}", float(map_values[f"d{axis}"])),
        ]
    roll_angle = map_values.get("roll_angle")
    if isinstance(roll_angle, int | float | np.number):
        cards.append(("CROTA2", -float(roll_angle)))
    if "time" in map_values:
        cards.append(("DATE-OBS", _convert_date_to_iso(str(_convert_scalar(map_values["time"])))))
    for keyword, name in (("RSUN_OBS", "rsun"), ("HGLT_OBS", "b0"), ("HGLN_OBS", "l0")):
        cards.append((keyword, map_values.get(name)))
    position_names = {"xc", "yc", "dx", "dy", "time", "rsun", "b0", "l0", "roll_angle"}
    for name, value in map_values.items():
        if isinstance(value, bytes | str | np.number) and name not in position_names:
            cards.append((name, _convert_scalar(value)))
    return [
        HeaderCard(keyword, float(value) if isinstance(value, np.floating) else value)
        for keyword, value in cards
        if value is not None
    ]


def _convert_date_to_iso(text: str) -> str | None:
    """Parse a date of SolarSoft: ``15-Feb-2011 02:00:00.000``."""
    match = re.fullmatch(r"\s*(\d{1,2})-([A-Za-z]{3})-(\d{2,4})(?:\s+([\d:.]+))?\s*", text)
    months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
    if match is None or match[2].lower() not in months:
        return None
    year = int(match[3])
    if len(match[3]) < 4:
        year += 1900 if year > 50 else 2000
    month = months.index(match[2].lower()) + 1
    date = f"{year:04d}-{month:02d}-{int(match[1]):02d}"
    if match[4]:
        return f"{date}T{match[4]}"
    return date


def _create_array(name: str, values: npt.NDArray[Any], cards: list[HeaderCard], index: int) -> ArrayPart:
    native_type = "u1" if values.dtype.kind == "b" else values.dtype.newbyteorder("=")
    native_values = values.astype(native_type, copy=False)
    axis_kinds = {}
    if cards:
        axis_kinds = {1: "longitude", 2: "latitude"}
    axes = [
        Axis(name=f"axis{axis_number}", size=size, kind=axis_kinds.get(axis_number, ""))
        for axis_number, size in enumerate(reversed(native_values.shape), 1)
    ]
    return ArrayPart(
        index=index,
        name=name,
        axes=tuple(reversed(axes)),
        dtype=native_values.dtype,
        read=lambda window: np.array(native_values[tuple(window)]),
        cards=tuple(cards),
        create_sky_mapping=create_sky_mapping_builder(cards),
    )


def _split_complex_numbers(name: str, values: npt.NDArray[Any]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Split complex numbers into their parts; other values stay as they are."""
    if values.dtype.kind == "c":
        yield f"{name}_real", values.real
        yield f"{name}_imag", values.imag
    else:
        yield name, values


def _create_table(name: str, columns: Mapping[str, npt.NDArray[Any]], index: int) -> TablePart:
    column_pairs = [
        _build_column(part_name, part)
        for column_name, values in columns.items()
        for part_name, part in _split_complex_numbers(column_name, values)
    ]
    schema = pa.schema([column.arrow_field for column, _ in column_pairs])
    record_batch = pa.RecordBatch.from_arrays([cells for _, cells in column_pairs], schema=schema)

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        yield record_batch.slice(start, row_limit)

    return TablePart(
        index=index,
        name=name,
        columns=tuple(column for column, _ in column_pairs),
        row_count=record_batch.num_rows,
        read_batches=read_batches,
    )


def _build_column(name: str, values: npt.NDArray[Any]) -> tuple[Column, pa.Array]:
    """Describe the values of a column, and convert them to Arrow."""
    if values.dtype.str[1:] == "u8":  # no format has unsigned 64-bit integers: they become signed ones, or texts
        fits_int64 = int(values.max()) < 1 << 63
        if fits_int64:
            values = values.astype("i8")
        else:
            values = values.astype("U20")
    if values.dtype.kind in "SU":
        text_column = Column(name=name, type=ColumnType("char", "*"))
        return text_column, pa.array(_decode_texts(values).tolist()).cast(text_column.arrow_field.type)
    datatype = "boolean"
    if values.dtype.kind != "b":
        datatype = VOTABLE_TYPES.get(values.dtype.str[1:], "double")
    column = Column(name=name, type=ColumnType(datatype, format_arraysize(values.shape[1:])))
    cells = build_number_cells(values, values.shape[1:], column.arrow_field.type, keeps_nan=True)
    return column, cells


MEDIUM = ProductFileFormat(
    name="sav",
    title="IDL SAVE",
    media_types=("application/x-idl-save",),
    extensions=("sav", "save", "xdr", "idlsav"),
    signature_pattern=rb"SR\x00[\x04\x06]",
    open=open_sav,
    read_cards=read_variable_cards,
)
