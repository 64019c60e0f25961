"""PDS3: labels, attached or beside their files; QUBEs with suffixes, IMAGEs, tables.

Read by windows (PDS Standards Reference 3.8).
"""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media import MAX_PARTS, ArrayPart, Axis, Medium, Product, convert_to_wavelengths
from hven.formats.media import _map_projections as map_projections
from hven.formats.media import _pvl_labels as pvl_labels
from hven.formats.media._record_tables import RecordField, create_delimited_table, create_fixed_table
from hven.formats.media._spectral_axes import normalize_unit
from hven.formats.media._stored_arrays import (
    ArrayLayout,
    ValueScale,
    create_window_reader,
    find_companion_file,
    read_constant,
)
from hven.model.errors import SourceError, format_message
from hven.model.sky import footprints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.formats.media import HeaderCard, Part, TablePart
    from hven.formats.media._pvl_labels import PvlLabel
    from hven.formats.media._remote_files import Place

_AXIS_KINDS = {"LONGITUDE": "longitude", "LATITUDE": "latitude"}
_NULL_KEYWORDS = (
    "MISSING_CONSTANT",
    "INVALID_CONSTANT",
    "MISSING",
    "NULL",
    "CORE_NULL",
    "UNKNOWN_CONSTANT",
    "NOT_APPLICABLE_CONSTANT",
    "CORE_LOW_REPR_SATURATION",
    "CORE_LOW_INSTR_SATURATION",
    "CORE_HIGH_REPR_SATURATION",
    "CORE_HIGH_INSTR_SATURATION",
)
_TABLE_OBJECTS = ("TABLE", "SERIES", "SPECTRUM", "PALETTE", "SPREADSHEET")


def open_pds3(file: Place) -> Product:
    """Open a product by its label.

    Parameters
    ----------
    file
        Path of a label, or of a file that begins with one.

    Returns
    -------
    product
        Its images, cubes and tables.

    Raises
    ------
    SourceError
        It has no label, the label promises more than there is, or points out of its folder.
    """
    label = pvl_labels.read_label(file)
    map_projection = _read_map_projection(label)
    parts: list[Part] = []
    companion_paths: set[Place] = set()
    for name, label_object in [*label.find_objects("QUBE", "IMAGE", *_TABLE_OBJECTS)][:MAX_PARTS]:
        file_and_offset = _find_data(label, name, file)
        if file_and_offset is None:
            continue
        path, offset = file_and_offset
        companion_paths.add(path)
        if name.endswith(("IMAGE", "QUBE")):
            create_arrays = _create_image_arrays if name.endswith("IMAGE") else _create_qube_arrays
            parts += create_arrays(label_object, path, offset, name, len(parts), map_projection)
        else:
            words = label_object.get("^STRUCTURE")
            column_objects = [*label_object.objects]
            if isinstance(words, str):
                # what its columns are stands in a file beside the label
                companion_paths.add(find_companion_file(file.parent, words))
                column_objects += pvl_labels.read_label(find_companion_file(file.parent, words)).objects
            table = _create_table(label_object, column_objects, path, offset, name, len(parts))
            parts.append(table)
    if not parts:
        raise SourceError(
            format_message("the label of {name} describes no image, cube or table", file.name),
            remedy=format_message("it may be a catalogue"),
        )
    return Product(
        medium="pds3",
        parts=tuple(parts),
        cards=tuple(label.list_cards()),
        companion_files=tuple(sorted(companion_paths - {file})),
    )


def read_cards(file: Place) -> Iterator[HeaderCard]:
    """Read the label alone, which may be that of a catalogue.

    Parameters
    ----------
    file
        Path of a label, or of a file that begins with one.

    Returns
    -------
    cards
        All that it says.

    Raises
    ------
    SourceError
        It has no label.
    """
    return pvl_labels.read_label(file).list_cards()


def _find_data(label: PvlLabel, name: str, file: Place) -> tuple[Place, int] | None:
    """Find an object's file and its first byte."""
    value = label.get(f"^{name}")
    unit = label.units.get(f"^{name}", "")
    record = int(label.find_number("RECORD_BYTES") or 1)
    if value is None:
        return None
    if isinstance(value, list):
        words = value
    else:
        words = [value]
    if isinstance(words[0], str):
        path = find_companion_file(file.parent, words[0])
    else:
        path = file
    position = next((word for word in words if isinstance(word, int)), 1)
    return path, (position - 1) * (1 if unit.upper().startswith("BYTE") else record)


def _parse_data_type(word: object, size: int) -> tuple[np.dtype[Any], bool]:
    """Return numpy's type for a word of the standard, and whether it is VAX's."""
    name = str(word).upper()
    if name.startswith(("LSB", "PC", "VAX")):
        order = "<"
    else:
        order = ">"
    if re.search(r"REAL|FLOAT", name):
        kind = "f"
    elif "UNSIGNED" in name:
        kind = "u"
    elif "INTEGER" in name:
        kind = "i"
    else:
        kind = ""
    if (
        not kind
        or size not in {1, 2, 4, 8}
        or (kind == "f" and size < 4)
        or (name.startswith("VAX") and kind == "f" and size != 4)
    ):
        raise SourceError(format_message("values of the type {kind} are not read", f"{name} ({size} bytes)"))
    return np.dtype(f"{order}{kind}{size}"), name.startswith("VAX") and kind == "f"


def _read_scale(
    label_object: PvlLabel, dtype: np.dtype[Any], factor: str, zero: str, minimum_keyword: str = ""
) -> ValueScale:
    nulls = [read_constant(value, dtype) for word in _NULL_KEYWORDS for value in label_object.list_values(word)]
    number = label_object.find_number(factor)
    return ValueScale(
        factor=number or 1.0,
        zero=label_object.find_number(zero) or 0.0,
        nulls=tuple(sorted({null for null in nulls if null is not None})),
        lowest_valid=read_constant(label_object.get(minimum_keyword), dtype),
    )


def _check_sizes(values: list[Any], name: str, minimum: int = 1) -> list[int]:
    if not values or any(isinstance(size, bool) or not isinstance(size, int) or size < minimum for size in values):
        raise SourceError(format_message("the sizes of {name} are no numbers: {sizes}", name, str(values)[:60]))
    return [int(size) for size in values]


def _describe_bands(label_object: PvlLabel, size: int) -> dict[str, Any]:
    """Say what an axis of bands stands for, as its table has it; empty: nothing does."""
    for _, group in [("", label_object), *label_object.find_objects("BAND_BIN")]:
        prefix = "" if group is not label_object else "BAND_BIN_"
        centres = group.list_values(f"{prefix}CENTER") or group.list_values("BAND_BIN_CENTER")
        unit = group.get(f"{prefix}UNIT") or group.get("BAND_BIN_UNIT") or group.units.get("BAND_BIN_CENTER") or "um"
        if len(centres) == size and all(isinstance(value, int | float) for value in centres):
            centre_values = np.array(centres, np.float64)
            return {
                "kind": "spectral",
                "unit": normalize_unit(str(unit)),
                "read_values": partial(convert_to_wavelengths, centre_values, "", str(unit)),
                "read_file_values": partial(np.copy, centre_values),
            }
    return {}


def _create_axes(names: list[str], sizes: list[int], label_object: PvlLabel) -> tuple[Axis, ...]:
    axes = []
    for name, size in zip(names, sizes, strict=True):
        if name in {"BAND", "WAVELENGTH"}:
            axis_properties = _describe_bands(label_object, size)
        else:
            axis_properties = {"kind": _AXIS_KINDS.get(name, "")}
        axes.append(Axis(name=name, size=size, **axis_properties))
    return tuple(axes)


def _create_qube_arrays(
    label_object: PvlLabel, path: Place, offset: int, name: str, index: int, _map_projection: dict[str, Any]
) -> Iterator[ArrayPart]:
    """Read a cube as bands, lines, samples, in whichever order it is stored.

    Then its suffixes, each an array of its own.
    """
    sizes = _check_sizes(label_object.list_values("CORE_ITEMS"), name)
    names = [str(word).upper() for word in label_object.list_values("AXIS_NAME")]
    if len(sizes) != 3 or len(names) != 3:
        raise SourceError(format_message("{name} has {count} axes, and 3 are read", name, len(sizes)))
    extra = _check_sizes(label_object.list_values("SUFFIX_ITEMS") or [0, 0, 0], name, 0)
    if len(extra) != 3:
        raise SourceError(format_message("the sizes of {name} are no numbers: {sizes}", name, str(extra)))
    core = int(label_object.find_number("CORE_ITEM_BYTES") or 0)
    suffix_bytes = int(label_object.find_number("SUFFIX_BYTES") or core)
    dtype, vax = _parse_data_type(label_object.get("CORE_ITEM_TYPE"), core)
    row = sizes[0] * core + extra[0] * suffix_bytes
    row_length = sizes[0] + extra[0]
    # where two suffixes meet, the standard has a corner; OMEGA's files have none: who writes one writes a longer file
    if offset + sizes[2] * (sizes[1] * row + extra[1] * row_length * suffix_bytes) > path.stat().st_size:
        row_length = sizes[0]
    plane = sizes[1] * row + extra[1] * row_length * suffix_bytes
    steps = [core, row, plane]
    if {"BAND", "LINE", "SAMPLE"} == set(names):
        order = [names.index(word) for word in ("BAND", "LINE", "SAMPLE")]
    else:
        order = [2, 1, 0]
    scale = _read_scale(label_object, dtype, "CORE_MULTIPLIER", "CORE_BASE", "CORE_VALID_MINIMUM")
    layout = ArrayLayout(
        offset,
        dtype,
        tuple(sizes[axis_number] for axis_number in order),
        tuple(steps[axis_number] for axis_number in order),
        vax,
    )
    value_type, read = create_window_reader(path, layout, scale)
    cards = tuple(label_object.list_cards())
    axes = _create_axes(
        [names[axis_number] for axis_number in order], [sizes[axis_number] for axis_number in order], label_object
    )
    unit = _read_unit(label_object, "CORE_UNIT")
    yield ArrayPart(
        index=index,
        name=name,
        axes=axes,
        dtype=value_type,
        read=read,
        unit=unit,
        cards=cards,
    )
    # (its axis, where it begins, its sizes and strides: the axis of the suffix first)
    begins = [sizes[0] * core, sizes[1] * row, sizes[2] * plane]
    inner = [suffix_bytes, row_length * suffix_bytes, (sizes[1] * sizes[0]) * suffix_bytes]
    for axis_number in range(3):
        if not extra[axis_number]:
            continue
        other_axes = [number for number in (2, 1, 0) if number != axis_number]
        strides = {0: [plane, row], 1: [plane, suffix_bytes], 2: [sizes[0] * suffix_bytes, suffix_bytes]}[axis_number]
        kinds = label_object.list_values(f"{names[axis_number]}_SUFFIX_ITEM_TYPE")
        if not kinds:
            continue
        item_sizes = label_object.list_values(f"{names[axis_number]}_SUFFIX_ITEM_BYTES") or [suffix_bytes]
        if isinstance(item_sizes[0], int):
            size = int(item_sizes[0])
        else:
            size = suffix_bytes
        suffix_type, vax = _parse_data_type(kinds[0], size)
        shape = (extra[axis_number], *(sizes[number] for number in other_axes))
        suffix_names = [str(word) for word in label_object.list_values(f"{names[axis_number]}_SUFFIX_NAME")]
        index += 1
        value_type, read = create_window_reader(
            path,
            ArrayLayout(offset + begins[axis_number], suffix_type, shape, (inner[axis_number], *strides), vax),
            ValueScale(),
        )
        axes = (
            Axis(name=f"{names[axis_number]}_SUFFIX", size=extra[axis_number]),
            *(Axis(name=names[number], size=sizes[number]) for number in other_axes),
        )
        if len(suffix_names) == 1:
            title = suffix_names[0]
        else:
            title = f"{names[axis_number]}_SUFFIX"
        yield ArrayPart(index=index, name=title, axes=axes, dtype=value_type, read=read, role="flag")


def _read_unit(label_object: PvlLabel, *names: str) -> str | None:
    words = (str(label_object.get(name) or "") for name in names)
    return next(
        (word for word in words if word and word.upper() not in {"N/A", "NONE", "NULL", "UNK", "DIMENSIONLESS"}), None
    )


def _create_image_arrays(
    label_object: PvlLabel, path: Place, offset: int, name: str, index: int, map_projection: dict[str, Any]
) -> Iterator[ArrayPart]:
    encoding = str(label_object.get("ENCODING_TYPE") or "N/A").upper()
    if encoding not in {"N/A", "NONE"}:
        raise SourceError(format_message("{name} is packed as {kind}, which is not read", name, encoding))
    number = label_object.find_number("LINES")
    lines, samples = _check_sizes([number, label_object.find_number("LINE_SAMPLES")], name)
    bands = int(label_object.find_number("BANDS") or 1)
    size = int(label_object.find_number("SAMPLE_BITS") or 0) // 8
    dtype, vax = _parse_data_type(label_object.get("SAMPLE_TYPE") or "UNSIGNED_INTEGER", size)
    prefix_bytes = int(label_object.find_number("LINE_PREFIX_BYTES") or 0)
    suffix_bytes = int(label_object.find_number("LINE_SUFFIX_BYTES") or 0)
    band_storage = str(label_object.get("BAND_STORAGE_TYPE") or "BAND_SEQUENTIAL").upper()
    row = prefix_bytes + samples * size * (bands if band_storage == "SAMPLE_INTERLEAVED" else 1) + suffix_bytes
    steps: tuple[int, ...] = {
        "LINE_INTERLEAVED": (row, row * bands, size),
        "SAMPLE_INTERLEAVED": (size, row, size * bands),
    }.get(band_storage, (row * lines, row, size))
    mask = label_object.find_number("SAMPLE_BIT_MASK")
    is_full_mask = mask is None or mask < 0 or dtype.kind == "f" or mask >= 2 ** (8 * size) - 1 or "N/A" in str(mask)
    scale = _read_scale(label_object, dtype, "SCALING_FACTOR", "OFFSET")._replace(
        bit_mask=None if is_full_mask else int(mask or 0)
    )
    shape: tuple[int, ...] = (bands, lines, samples)
    names = ["BAND", "LINE", "SAMPLE"]
    if bands == 1:
        shape = shape[1:]
        steps = steps[1:]
        names = names[1:]
    value_type, read = create_window_reader(path, ArrayLayout(offset + prefix_bytes, dtype, shape, steps, vax), scale)
    if map_projection:
        wcs_cards = map_projections.write_map_cards(map_projection)
    else:
        wcs_cards = []
    axes = list(_create_axes(names, list(shape), label_object))
    if wcs_cards:
        axes[-1] = Axis(name="LONGITUDE", size=samples, kind="longitude", unit="deg")
        axes[-2] = Axis(name="LATITUDE", size=lines, kind="latitude", unit="deg")
    cards: tuple[HeaderCard, ...] = (*wcs_cards, *label_object.list_cards())
    if wcs_cards:
        places = partial(footprints.build_image_wcs, {card.keyword: card.value for card in wcs_cards})
    else:
        places = None
    yield ArrayPart(
        index=index,
        name=name,
        axes=tuple(axes),
        dtype=value_type,
        read=read,
        unit=_read_unit(label_object, "UNIT", "SAMPLE_UNIT"),
        cards=cards,
        create_sky_mapping=places,
    )


def _read_map_projection(label: PvlLabel) -> dict[str, Any]:
    """Take the words of a map's projection, lengths in km."""
    projection = next((projection_object for _, projection_object in label.find_objects("IMAGE_MAP_PROJECTION")), None)
    if projection is None:
        return {}
    map_keywords = {"TARGET_NAME": label.get("TARGET_NAME"), **projection}
    for word in ("A_AXIS_RADIUS", "B_AXIS_RADIUS", "C_AXIS_RADIUS", "MAP_SCALE"):
        unit = projection.units.get(word, "").upper()
        if isinstance(map_keywords.get(word), int | float) and re.match(r"M(ETERS?)?(/|$)", unit):
            map_keywords[word] /= 1e3
    return map_keywords


def _create_table(
    label_object: PvlLabel, column_objects: list[tuple[str, PvlLabel]], path: Place, offset: int, name: str, index: int
) -> TablePart:
    binary = str(label_object.get("INTERCHANGE_FORMAT")).upper() == "BINARY"
    count = int(label_object.find_number("ROWS", "RECORDS") or 0)
    cards = tuple(label_object.list_cards())
    fields: list[RecordField] = []
    _collect_fields(column_objects, 0, binary, fields)
    if name.endswith("SPREADSHEET"):
        mark = {"COMMA": ",", "SEMICOLON": ";", "TAB": "\t", "VERTICAL BAR": "|", "VERTICAL_BAR": "|"}.get(
            str(label_object.get("FIELD_DELIMITER")).upper(), ","
        )
        return create_delimited_table(
            path, fields, index=index, name=name, offset=offset, size=0, line_count=count, delimiter=mark, cards=cards
        )
    record = int(label_object.find_number("ROW_BYTES") or 0)
    before = int(label_object.find_number("ROW_PREFIX_BYTES") or 0)
    after = int(label_object.find_number("ROW_SUFFIX_BYTES") or 0)
    return create_fixed_table(
        path,
        fields,
        index=index,
        name=name,
        offset=offset + before,
        record_bytes=record + before + after,
        record_count=count,
        cards=cards,
    )


def _collect_fields(
    column_objects: list[tuple[str, PvlLabel]], offset: int, binary: bool, fields: list[RecordField]
) -> None:
    for kind, label_object in column_objects:
        if kind == "CONTAINER":
            size = int(label_object.find_number("BYTES") or 0)
            start = int(label_object.find_number("START_BYTE") or 1) - 1
            for repetition in range(min(int(label_object.find_number("REPETITIONS") or 1), MAX_PARTS)):
                _collect_fields(label_object.objects, offset + start + repetition * size, binary, fields)
        elif kind in {"COLUMN", "FIELD"} and len(fields) < MAX_PARTS:
            fields.append(_create_field(label_object, offset, binary))


def _create_field(label_object: PvlLabel, offset: int, binary: bool) -> RecordField:
    items = int(label_object.find_number("ITEMS") or 1)
    size = int(label_object.find_number("ITEM_BYTES") or 0) or math.floor(
        (label_object.find_number("BYTES") or 1) / items
    )
    word = str(label_object.get("DATA_TYPE") or label_object.get("ITEM_TYPE") or "CHARACTER").upper()
    nulls = [
        value for name in _NULL_KEYWORDS for value in label_object.list_values(name) if value not in ("N/A", "UNK")
    ]
    kind = "text"
    if binary and not re.match(r"CHAR|ASCII|DATE|TIME|EBCDIC", word):
        dtype, vax = _parse_data_type("UNSIGNED_INTEGER" if "BIT_STRING" in word or word == "BOOLEAN" else word, size)
        kind = "vax" if vax else dtype.str
        nulls = [read_constant(value, dtype) for value in nulls]
    elif re.search(r"INTEGER", word):
        kind = "integer"
    elif re.search(r"REAL|FLOAT", word):
        kind = "real"
    return RecordField(
        name=str(label_object.get("NAME") or "column"),
        kind=kind,
        offset=offset + int(label_object.find_number("START_BYTE", "FIELD_NUMBER") or 1) - 1,
        size=size,
        item_count=items,
        step_bytes=int(label_object.find_number("ITEM_OFFSET") or 0),
        unit=_read_unit(label_object, "UNIT"),
        description=str(label_object.get("DESCRIPTION") or "")[:500] or None,
        nulls=tuple(null for null in nulls if null is not None),
        factor=label_object.find_number("SCALING_FACTOR") or 1.0,
        zero=label_object.find_number("OFFSET") or 0.0,
    )


MEDIUM = Medium(
    name="pds3",
    title="PDS3",
    media_types=("application/x-pds3", "application/x-pds"),
    extensions=("lbl", "img", "qub", "imq"),
    signature_pattern=rb"(CCSD\w+ *= *\w+\s|\s|/\*.*?\*/)*(PDS_VERSION_ID|ODL_VERSION_ID|RECORD_TYPE|FILE_NAME)\s*=|CCSD3ZF",
    open=open_pds3,
    is_label=True,
    read_cards=read_cards,
)
