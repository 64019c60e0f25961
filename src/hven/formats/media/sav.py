"""IDL SAVE files: arrays as images and cubes, maps of the Sun with their places, arrays of structures as tables.

Scipy reads, all of a file at once.
"""

from __future__ import annotations

import re
import struct
import tempfile
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import MAX_PARTS, ArrayPart, Axis, HeaderCard, Medium, Product, TablePart
from hven.formats.media._record_tables import VOTABLE_TYPES
from hven.formats.media._stored_arrays import MAX_UNPACKED_BYTES, convert_library_errors, copy_to_disk
from hven.model import plugins
from hven.model.errors import SourceError, TooLargeError, format_message
from hven.model.sky import footprints
from hven.model.table import Column
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from hven.formats.media import Part
    from hven.formats.media._remote_files import Place

MAX_NESTING_DEPTH = 10  # structures in each other
_END_RECORD = 6  # of records
_MAX_DESCRIBED_BYTES = 4096  # bytes of a record that are looked at for what it says of itself
_IDL_TYPES = {
    1: "BYTE",
    2: "INT",
    3: "LONG",
    4: "FLOAT",
    5: "DOUBLE",
    6: "COMPLEX",
    7: "STRING",
    8: "STRUCT",
    9: "DCOMPLEX",
    10: "POINTER",
    11: "OBJREF",
    12: "UINT",
    13: "ULONG",
    14: "LONG64",
    15: "ULONG64",
}


def open_sav(file: Place) -> Product:
    """Open a file.

    Parameters
    ----------
    file
        One on another server is copied.

    Returns
    -------
    product
        Its arrays, and a table for each array of structures and for one-dimensional arrays of one length.

    Raises
    ------
    SourceError
        It is none, damaged, or scipy is not installed.
    TooLargeError
        It, or what it unpacks to, is larger than what is held in memory.
    """
    plugins.require_modules("an IDL SAVE file", "scipy", error_class=SourceError)
    from scipy.io import readsav  # noqa: PLC0415  (asked by few)

    path, close = copy_to_disk(file)
    name = path.name if path is file else "the file"
    try:
        if path.stat().st_size > MAX_UNPACKED_BYTES // 2:
            raise TooLargeError(
                format_message(
                    "{name} has more than the {most} MB that are read at once", name, MAX_UNPACKED_BYTES // 2 >> 20
                )
            )
        with convert_library_errors(name, "IDL SAVE"), tempfile.NamedTemporaryFile(suffix=".sav") as plain:
            was_packed = _unpack_file(path, plain, name)
            variables = readsav(plain.name if was_packed else str(path), python_dict=True)
            contents = _FileContents()
            for variable_name, value in variables.items():
                contents.add_value(str(variable_name), value, 0)
            return Product(medium="sav", parts=tuple(contents.create_parts()), cards=tuple(contents.cards))
    finally:
        close()


def _unpack_file(path: Path, unpacked_file: Any, name: str) -> bool:
    """Unpack a file that was saved with /COMPRESS, up to a bound: its records are packed one by one."""
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
            body = unpacker.decompress(file.read(max(0, size)), MAX_UNPACKED_BYTES // 2)
            if unpacker.unconsumed_tail or unpacked_file.tell() + len(body) > MAX_UNPACKED_BYTES // 2:
                raise TooLargeError(
                    format_message("{name} unpacks to more than {most} MB", name, MAX_UNPACKED_BYTES // 2 >> 20)
                )
            after = unpacked_file.tell() + 16 + len(body)
            unpacked_file.write(struct.pack(">iII", kind, after & 0xFFFFFFFF, after >> 32) + head[12:] + body)
        unpacked_file.flush()
    return True


def read_cards(file: Place) -> Iterator[HeaderCard]:
    """Read what a file says of itself and of its variables: types and sizes, and no values.

    Parameters
    ----------
    file
        It is read by ranges, wherever it lies.

    Yields
    ------
    cards
        When, by whom and by which IDL it was written; then each variable by its name: ``FLOAT 512x256``.

    Raises
    ------
    SourceError
        It is none, or damaged.
    """
    with file.open("rb") as source, convert_library_errors(file.name, "IDL SAVE"):
        start = source.read(4)
        if start[:3] != b"SR\x00" or start[3] not in (4, 6):
            raise SourceError(
                format_message(
                    "{name} is damaged, or no {title} file: {reason}", file.name, "IDL SAVE", "its first bytes"
                )
            )
        for _ in range(100 * MAX_PARTS):
            kind, low, high, _ = struct.unpack(">iIII", source.read(16))
            if kind == _END_RECORD:
                return
            record_start = source.tell()
            next_record = low + (high << 32)
            if next_record < record_start:
                raise SourceError(format_message("its records lead in a circle"))
            body = source.read(min(next_record - record_start, _MAX_DESCRIBED_BYTES))
            if start[3] == 6:
                body = zlib.decompressobj().decompress(body, _MAX_DESCRIBED_BYTES)
            yield from _read_record_cards(kind, body)
            source.seek(next_record)


def _read_record_cards(record_type: int, body: bytes) -> Iterator[HeaderCard]:
    """Read what a record says of itself."""
    position = 0

    def read_word() -> str:
        nonlocal position
        size = read_number()
        text_bytes = body[position : position + size]
        position += -(-size // 4) * 4
        return text_bytes.decode("latin-1").strip()

    def read_number() -> int:
        nonlocal position
        position += 4
        return int(struct.unpack(">i", body[position - 4 : position].ljust(4, b"\0"))[0])

    if record_type == 2:  # a variable
        name = read_word()
        code = read_number()
        flags = read_number()
        sizes: list[int] = []
        if flags & 0x24:  # an array, a structure
            array_start = read_number()
            _ = read_number()
            _ = read_number()
            _ = read_number()
            count = read_number()
            position += 8
            dimension_limit = read_number()
            if array_start == 8 and 0 <= count <= dimension_limit <= 8:
                sizes = [read_number() for _ in range(count)]
        yield HeaderCard(name.lower(), " ".join([_IDL_TYPES.get(code, str(code)), "x".join(map(str, sizes))]).strip())
    elif record_type in {13, 14, 19, 20}:
        if record_type == 14:
            read_number()
        words = {
            13: ("author", "title", "code"),
            14: ("architecture", "system", "release"),
            19: ("notice",),
            20: ("description",),
        }[record_type]
        yield from (HeaderCard(name, text) for name in words if (text := read_word()))
    elif record_type == 10:  # when, by whom
        position = 1024
        yield from (HeaderCard(name, text) for name in ("date", "user", "host") if (text := read_word()))


class _FileContents:
    """What is in a file, sorted: images, tables, columns of tables by their lengths, single values."""

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
        if isinstance(value, np.void):  # a record by itself
            value = np.array([value], value.dtype).view(np.recarray)
        values = np.asarray(value)
        if values.dtype.names:
            self._add_records(name, values.ravel(), depth)
        elif values.dtype.kind == "O":
            self._add_objects(name, values, depth)
        elif values.dtype.kind in "SU" or values.ndim <= 1 < values.size:
            self.columns.setdefault(values.size, {})[name] = values.ravel()
        elif values.dtype.kind == "c" and values.size > 1:
            self.arrays += [(f"{name}_real", values.real, []), (f"{name}_imag", values.imag, [])]
        elif values.dtype.kind in "iufb" and values.size > 1:
            self.arrays.append((name, values, []))
        elif values.size == 1:
            self.cards.append(HeaderCard(name, _convert_scalar(values.ravel()[0])))

    def _add_objects(self, name: str, values: npt.NDArray[Any], depth: int) -> None:
        """Take texts, what pointers lead to, and structures in structures."""
        flat = values.ravel()
        if all(isinstance(element, bytes | str) for element in flat) and len(flat) > 1:
            self.columns.setdefault(len(flat), {})[name] = np.array([str(_convert_scalar(element)) for element in flat])
            return
        shapes = {np.shape(element) for element in flat if element is not None}
        kinds = {np.asarray(element).dtype.kind for element in flat if element is not None}
        if len(flat) > 1 and len(shapes) == 1 and kinds <= set("iuf") and all(element is not None for element in flat):
            self.add_value(
                name,
                np.stack([np.asarray(element) for element in flat]).reshape(*values.shape, *shapes.pop()),
                depth + 1,
            )
            return
        for number, element in enumerate(flat[:MAX_PARTS], 1):
            self.add_value(name if len(flat) == 1 else f"{name}.{number}", element, depth + 1)

    def _add_records(self, name: str, values: npt.NDArray[Any], depth: int) -> None:
        fields = {str(field_name).lower(): values[field_name] for field_name in values.dtype.names or ()}
        if len(values) > 1:
            columns = {
                field_name: column
                for field_name, field_values in fields.items()
                if (column := _create_column_values(field_values)) is not None
            }
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
        index = 0
        for name, values, cards in self.arrays[:MAX_PARTS]:
            yield _create_array(name, values, cards, index)
            index += 1
        column_groups = [
            ("arrays" if len(self.columns) == 1 else f"arrays of {size}", columns)
            for size, columns in self.columns.items()
        ]
        for name, columns in [*self.tables, *column_groups][:MAX_PARTS]:
            yield _create_table(name, columns, index)
            index += 1
        if not index and self.cards:  # single values alone: a row of them
            yield _create_table("values", {card.keyword: np.array([card.value]) for card in self.cards[:MAX_PARTS]}, 0)


def _convert_scalar(value: Any) -> str | int | float | bool:
    if isinstance(value, bytes):
        return value.decode("latin-1").strip()
    if isinstance(value, np.generic):
        python_value = value.item()
    else:
        python_value = value
    if isinstance(python_value, bytes):
        return python_value.decode("latin-1").strip()
    if isinstance(python_value, str | int | float | bool):
        return python_value
    return str(python_value)


def _create_column_values(values: Any) -> npt.NDArray[Any] | None:
    """Make a column of a field of several structures: numbers, texts, or arrays of one shape; None: it is neither."""
    field_array = np.asarray(values)
    if field_array.dtype.kind in "iufbc" and field_array.ndim >= 1:
        return field_array
    elements = field_array.ravel()
    if all(isinstance(element, bytes | str | np.bytes_) for element in elements):
        return np.array([str(_convert_scalar(element)) for element in elements])
    shapes = {np.shape(element) for element in elements}
    if (
        len(shapes) == 1
        and all(np.asarray(element).dtype.kind in "iufc" for element in elements)
        and min(shapes.pop(), default=1)
    ):
        return np.stack([np.asarray(element) for element in elements])
    return None


def _write_solar_map_cards(map_values: Mapping[str, Any], shape: tuple[int, ...]) -> list[HeaderCard]:
    """Write where a map of SolarSoft's lies: arcseconds from the middle of the disc."""
    numbers = {ctype: float(map_values[ctype]) for ctype in ("xc", "yc", "dx", "dy")}
    cards: list[tuple[str, Any]] = []
    for axis_number, (axis, ctype) in enumerate((("x", "HPLN-TAN"), ("y", "HPLT-TAN")), 1):
        cards += [
            (f"CTYPE{axis_number}", ctype),
            (f"CUNIT{axis_number}", "arcsec"),
            (f"CRPIX{axis_number}", (shape[2 - axis_number] + 1) / 2.0),
        ]
        cards += [(f"CRVAL{axis_number}", numbers[f"{axis}c"]), (f"CDELT{axis_number}", numbers[f"d{axis}"])]
    if isinstance(map_values.get("roll_angle"), int | float | np.number):
        cards.append(("CROTA2", -float(map_values["roll_angle"])))
    if "time" in map_values:
        time = _parse_date(str(_convert_scalar(map_values["time"])))
    else:
        time = None
    cards += [
        ("DATE-OBS", time),
        ("DSUN_OBS", None),
        ("RSUN_OBS", map_values.get("rsun")),
        ("HGLT_OBS", map_values.get("b0")),
        ("HGLN_OBS", map_values.get("l0")),
    ]
    cards += [
        (ctype, _convert_scalar(value))
        for ctype, value in map_values.items()
        if isinstance(value, bytes | str | np.number)
        and ctype not in {*numbers, "time", "rsun", "b0", "l0", "roll_angle"}
    ]
    return [
        HeaderCard(ctype, float(value) if isinstance(value, np.floating) else value)
        for ctype, value in cards
        if value is not None
    ]


def _parse_date(text: str) -> str | None:
    """Read a date of SolarSoft's: ``15-Feb-2011 02:00:00.000``."""
    match = re.fullmatch(r"\s*(\d{1,2})-([A-Za-z]{3})-(\d{2,4})(?:\s+([\d:.]+))?\s*", text)
    months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
    if match is None or match[2].lower() not in months:
        return None
    year = int(match[3]) + (0 if len(match[3]) == 4 else 1900 if int(match[3]) > 50 else 2000)
    return f"{year:04d}-{months.index(match[2].lower()) + 1:02d}-{int(match[1]):02d}" + (
        f"T{match[4]}" if match[4] else ""
    )


def _create_array(name: str, values: npt.NDArray[Any], cards: list[HeaderCard], index: int) -> ArrayPart:
    if values.dtype.kind == "b":
        native_values = values.astype("u1")
    else:
        native_values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if cards:
        kinds = ["longitude", "latitude"]
    else:
        kinds = []
    axes = [
        Axis(name=f"axis{axis_number}", size=size, kind=kinds[axis_number - 1] if axis_number <= len(kinds) else "")
        for axis_number, size in enumerate(reversed(native_values.shape), 1)
    ]
    card_values = {card.keyword: card.value for card in cards}
    return ArrayPart(
        index=index,
        name=name,
        axes=tuple(reversed(axes)),
        dtype=native_values.dtype,
        read=lambda window: np.array(native_values[tuple(window)]),
        cards=tuple(cards),
        create_sky_mapping=partial(footprints.build_image_wcs, card_values) if cards else None,
    )


def _split_complex_columns(columns: Mapping[str, npt.NDArray[Any]]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Take complex numbers apart."""
    for word, values in columns.items():
        if values.dtype.kind == "c":
            yield f"{word}_real", values.real
            yield f"{word}_imag", values.imag
        else:
            yield word, values


def _create_table(name: str, columns: Mapping[str, npt.NDArray[Any]], index: int) -> TablePart:
    table_columns = []
    arrays = []
    for word, values in _split_complex_columns(columns):
        if values.dtype.str[1:] == "u8":  # no format of ours has these: as long, or as texts
            values = values.astype("i8") if int(values.max()) < 1 << 63 else values.astype("U20")  # noqa: PLW2901
        is_text = values.dtype.kind in "SU"
        native_values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if is_text:
            kind = "char"
        elif native_values.dtype.kind == "b":
            kind = "boolean"
        else:
            kind = VOTABLE_TYPES.get(native_values.dtype.str[1:], "double")
        size = "*" if is_text else "x".join(str(element) for element in reversed(native_values.shape[1:])) or None
        table_columns.append(Column(name=word, type=Type(kind, size)))
        arrow_type = table_columns[-1].arrow_field.type
        flat = pa.array(
            [str(_convert_scalar(element)) for element in native_values]
            if is_text
            else np.ascontiguousarray(native_values).ravel()
        )
        arrays.append(
            flat.cast(arrow_type)
            if is_text or native_values.ndim == 1
            else pa.FixedSizeListArray.from_arrays(flat.cast(arrow_type.value_type), arrow_type.list_size).cast(
                arrow_type
            )
        )
    schema = pa.schema([column.arrow_field for column in table_columns])
    record_batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    return TablePart(
        index=index,
        name=name,
        columns=tuple(table_columns),
        row_count=record_batch.num_rows,
        read_batches=lambda start, row_limit: iter([record_batch.slice(start, row_limit)]),
    )


MEDIUM = Medium(
    name="sav",
    title="IDL SAVE",
    media_types=("application/x-idl-save",),
    extensions=("sav", "save", "xdr", "idlsav"),
    signature_pattern=rb"SR\x00[\x04\x06]",
    open=open_sav,
    read_cards=read_cards,
)
