"""Read PDS3 by windows: labels, attached or beside their files; QUBEs with suffixes, IMAGEs, tables.

The standard is the PDS Standards Reference 3.8.
"""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.formats.media import MAX_PARTS, ArrayPart, Axis, OpenProductFile, ProductFileFormat, convert_to_wavelengths
from hven.formats.media.api import (
    ArrayLayout,
    create_sky_mapping_builder,
    normalize_length_unit,
    write_map_projection_cards,
)
from hven.model.errors import SourceError, format_message
from hven.plugins.planetary_media import pvl_labels
from hven.plugins.planetary_media.label_values import find_companion_file, parse_label_constant
from hven.plugins.planetary_media.record_tables import RecordField, create_delimited_table, create_fixed_record_table
from hven.plugins.planetary_media.stored_arrays import StoredValueEncoding, create_window_reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.formats.media import HeaderCard, Part, Place, TablePart
    from hven.plugins.planetary_media.pvl_labels import PvlLabel

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


def open_pds3(file: Place) -> OpenProductFile:
    """Open a product by its label.

    Parameters
    ----------
    file
        Path of a label, or of a file that begins with one.

    Returns
    -------
    product
        Images, cubes and tables of the product.

    Raises
    ------
    SourceError
        The file has no label, or the label promises more than there is or points out of its folder.
    """
    label = pvl_labels.read_pvl_label(file)
    map_projection = _read_map_projection(label)
    parts: list[Part] = []
    companion_paths: set[Place] = set()
    for name, label_object in [*label.find_objects("QUBE", "IMAGE", *_TABLE_OBJECTS)][:MAX_PARTS]:
        file_and_offset = _locate_object_data(label, name, file)
        if file_and_offset is None:
            continue
        path, offset = file_and_offset
        companion_paths.add(path)
        if name.endswith(("IMAGE", "QUBE")):
            stored_object = _LabelledObject(label_object, path, offset, name, len(parts))
            if name.endswith("IMAGE"):
                parts.append(_create_image_array(stored_object, map_projection))
            else:
                parts += _create_qube_arrays(stored_object)
        else:
            structure_name = label_object.get("^STRUCTURE")
            column_objects = [*label_object.objects]
            if isinstance(structure_name, str):  # its columns are described in a file beside the label
                structure_path = find_companion_file(file.parent, structure_name)
                companion_paths.add(structure_path)
                column_objects += pvl_labels.read_pvl_label(structure_path).objects
            stored_object = _LabelledObject(label_object, path, offset, name, len(parts))
            parts.append(_create_table(stored_object, column_objects))
    if not parts:
        raise SourceError(
            format_message("the label of {name} describes no image, cube or table", file.name),
            remedy=format_message("check whether the label describes a catalogue"),
        )
    cards = tuple(label.list_cards())
    companion_files = tuple(sorted(companion_paths - {file}))
    return OpenProductFile(medium="pds3", parts=tuple(parts), cards=cards, companion_files=companion_files)


class _LabelledObject(NamedTuple):
    """An object of a label, and the place of its data."""

    label: PvlLabel
    path: Place
    offset: int  # of the first byte
    name: str
    part_index: int  # of its first part


def read_pds3_label_cards(file: Place) -> Iterator[HeaderCard]:
    """Read the label only, which may be that of a catalogue.

    Parameters
    ----------
    file
        Path of a label, or of a file that begins with one.

    Returns
    -------
    cards
        Keywords of the label.

    Raises
    ------
    SourceError
        The file has no label.
    """
    return pvl_labels.read_pvl_label(file).list_cards()


def _locate_object_data(label: PvlLabel, name: str, file: Place) -> tuple[Place, int] | None:
    """Find the file of an object, and its first byte."""
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
    unit_bytes = record
    if unit.upper().startswith("BYTE"):
        unit_bytes = 1
    return path, (position - 1) * unit_bytes


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
        raise SourceError(format_message("Hven cannot read values of the type {kind}", f"{name} ({size} bytes)"))
    return np.dtype(f"{order}{kind}{size}"), name.startswith("VAX") and kind == "f"


def _read_value_scale(
    label_object: PvlLabel, dtype: np.dtype[Any], factor: str, zero: str, minimum_keyword: str = ""
) -> StoredValueEncoding:
    nulls = set()
    for word in _NULL_KEYWORDS:
        for value in label_object.list_values(word):
            null = parse_label_constant(value, dtype)
            if null is not None:
                nulls.add(null)
    return StoredValueEncoding(
        factor=label_object.find_number(factor) or 1.0,
        zero=label_object.find_number(zero) or 0.0,
        nulls=tuple(sorted(nulls)),
        lowest_valid=parse_label_constant(label_object.get(minimum_keyword), dtype),
    )


def _require_sizes(values: list[Any], name: str, minimum: int = 1) -> list[int]:
    if not values or any(isinstance(size, bool) or not isinstance(size, int) or size < minimum for size in values):
        raise SourceError(format_message("the sizes of {name} are not valid: {sizes}", name, str(values)[:60]))
    return [int(size) for size in values]


def _build_band_axis_options(label_object: PvlLabel, size: int) -> dict[str, Any]:
    """Describe an axis of bands by its table; return nothing if there is none."""
    for _, group in [("", label_object), *label_object.find_objects("BAND_BIN")]:
        prefix = "BAND_BIN_" if group is label_object else ""
        centres = group.list_values(f"{prefix}CENTER") or group.list_values("BAND_BIN_CENTER")
        unit = group.get(f"{prefix}UNIT") or group.get("BAND_BIN_UNIT") or group.units.get("BAND_BIN_CENTER")
        unit_name = str(unit or "um")
        if len(centres) == size and all(isinstance(value, int | float) for value in centres):
            centre_values = np.array(centres, np.float64)
            return {
                "kind": "spectral",
                "unit": normalize_length_unit(unit_name),
                "read_values": partial(convert_to_wavelengths, centre_values, "", unit_name),
                "read_file_values": partial(np.copy, centre_values),
            }
    return {}


def _create_axes(names: list[str], sizes: list[int], label_object: PvlLabel) -> tuple[Axis, ...]:
    axes = []
    for name, size in zip(names, sizes, strict=True):
        if name in {"BAND", "WAVELENGTH"}:
            axis_properties = _build_band_axis_options(label_object, size)
        else:
            axis_properties = {"kind": _AXIS_KINDS.get(name, "")}
        axes.append(Axis(name=name, size=size, **axis_properties))
    return tuple(axes)


class _QubeLayout(NamedTuple):
    """The layout of a cube in its file; its axes in the order of the file, the fastest first."""

    names: list[str]
    sizes: list[int]
    suffix_sizes: list[int]
    core_bytes: int
    suffix_bytes: int
    row_length: int  # items of a row of a suffix of lines
    row: int  # bytes of a row, with its suffix
    plane: int  # bytes of a plane, with its suffix


def _read_qube_layout(label_object: PvlLabel, name: str, available_bytes: int) -> _QubeLayout:
    sizes = _require_sizes(label_object.list_values("CORE_ITEMS"), name)
    names = [str(word).upper() for word in label_object.list_values("AXIS_NAME")]
    if len(sizes) != 3 or len(names) != 3:
        raise SourceError(
            format_message("{name} has {count} axes, but Hven reads only cubes with 3 axes", name, len(sizes))
        )
    suffix_items = label_object.list_values("SUFFIX_ITEMS") or [0, 0, 0]
    suffix_sizes = _require_sizes(suffix_items, name, 0)
    if len(suffix_sizes) != 3:
        raise SourceError(format_message("the sizes of {name} are not valid: {sizes}", name, str(suffix_sizes)))
    core_bytes = int(label_object.find_number("CORE_ITEM_BYTES") or 0)
    suffix_bytes = int(label_object.find_number("SUFFIX_BYTES") or core_bytes)
    row = sizes[0] * core_bytes + suffix_sizes[0] * suffix_bytes
    # the standard has a corner where two suffixes meet, but OMEGA's files have none: those with corners are longer
    row_length = sizes[0] + suffix_sizes[0]
    plane = sizes[1] * row + suffix_sizes[1] * row_length * suffix_bytes
    if sizes[2] * plane > available_bytes:
        row_length = sizes[0]
        plane = sizes[1] * row + suffix_sizes[1] * row_length * suffix_bytes
    return _QubeLayout(names, sizes, suffix_sizes, core_bytes, suffix_bytes, row_length, row, plane)


def _create_qube_arrays(stored_object: _LabelledObject) -> Iterator[ArrayPart]:
    """Create a cube as bands, lines, samples, in whatever order it is stored; then each suffix as an array."""
    label_object, path, offset, name, index = stored_object
    qube = _read_qube_layout(label_object, name, path.stat().st_size - offset)
    dtype, vax = _parse_data_type(label_object.get("CORE_ITEM_TYPE"), qube.core_bytes)
    strides = [qube.core_bytes, qube.row, qube.plane]
    order = [2, 1, 0]
    if {"BAND", "LINE", "SAMPLE"} == set(qube.names):
        order = [qube.names.index(word) for word in ("BAND", "LINE", "SAMPLE")]
    scale = _read_value_scale(label_object, dtype, "CORE_MULTIPLIER", "CORE_BASE", "CORE_VALID_MINIMUM")
    ordered_names = [qube.names[axis_number] for axis_number in order]
    ordered_sizes = [qube.sizes[axis_number] for axis_number in order]
    ordered_strides = tuple(strides[axis_number] for axis_number in order)
    layout = ArrayLayout(offset, dtype, tuple(ordered_sizes), ordered_strides)
    value_type, read = create_window_reader(path, layout, scale._replace(is_vax=vax))
    yield ArrayPart(
        index=index,
        name=name,
        axes=_create_axes(ordered_names, ordered_sizes, label_object),
        dtype=value_type,
        read=read,
        unit=_read_unit(label_object, "CORE_UNIT"),
        cards=tuple(label_object.list_cards()),
    )
    for axis_number in range(3):
        has_type = label_object.list_values(f"{qube.names[axis_number]}_SUFFIX_ITEM_TYPE")
        if qube.suffix_sizes[axis_number] and has_type:
            index += 1
            yield _create_suffix_array(stored_object._replace(part_index=index), qube, axis_number)


def _create_suffix_array(stored_object: _LabelledObject, qube: _QubeLayout, axis_number: int) -> ArrayPart:
    """Create the array of the suffix of an axis, the axis of the suffix first."""
    label_object = stored_object.label
    axis_name = qube.names[axis_number]
    sizes = qube.sizes
    suffix_bytes = qube.suffix_bytes
    # where the suffix begins, its own stride, and those of the other axes
    begin, stride, other_strides = (
        (sizes[0] * qube.core_bytes, suffix_bytes, (qube.plane, qube.row)),
        (sizes[1] * qube.row, qube.row_length * suffix_bytes, (qube.plane, suffix_bytes)),
        (sizes[2] * qube.plane, sizes[1] * sizes[0] * suffix_bytes, (sizes[0] * suffix_bytes, suffix_bytes)),
    )[axis_number]
    other_axes = [number for number in (2, 1, 0) if number != axis_number]
    item_types = label_object.list_values(f"{axis_name}_SUFFIX_ITEM_TYPE")
    item_sizes = label_object.list_values(f"{axis_name}_SUFFIX_ITEM_BYTES")
    size = suffix_bytes
    if item_sizes and isinstance(item_sizes[0], int):
        size = int(item_sizes[0])
    suffix_type, vax = _parse_data_type(item_types[0], size)
    suffix_size = qube.suffix_sizes[axis_number]
    shape = (suffix_size, *(sizes[number] for number in other_axes))
    layout = ArrayLayout(stored_object.offset + begin, suffix_type, shape, (stride, *other_strides))
    value_type, read = create_window_reader(stored_object.path, layout, StoredValueEncoding(is_vax=vax))
    title = f"{axis_name}_SUFFIX"
    suffix_axis = Axis(name=title, size=suffix_size)
    axes = (suffix_axis, *(Axis(name=qube.names[number], size=sizes[number]) for number in other_axes))
    suffix_names = [str(word) for word in label_object.list_values(f"{axis_name}_SUFFIX_NAME")]
    if len(suffix_names) == 1:
        title = suffix_names[0]
    return ArrayPart(index=stored_object.part_index, name=title, axes=axes, dtype=value_type, read=read, role="flag")


def _read_unit(label_object: PvlLabel, *names: str) -> str | None:
    for name in names:
        word = str(label_object.get(name) or "")
        if word and word.upper() not in {"N/A", "NONE", "NULL", "UNK", "DIMENSIONLESS"}:
            return word
    return None


def _create_image_array(stored_object: _LabelledObject, map_projection: dict[str, Any]) -> ArrayPart:
    label_object, path, offset, name, index = stored_object
    encoding = str(label_object.get("ENCODING_TYPE") or "N/A").upper()
    if encoding not in {"N/A", "NONE"}:
        raise SourceError(format_message("{name} uses the compression {kind}, which Hven cannot read", name, encoding))
    declared_sizes = [label_object.find_number("LINES"), label_object.find_number("LINE_SAMPLES")]
    lines, samples = _require_sizes(declared_sizes, name)
    bands = int(label_object.find_number("BANDS") or 1)
    size = int(label_object.find_number("SAMPLE_BITS") or 0) // 8
    dtype, vax = _parse_data_type(label_object.get("SAMPLE_TYPE") or "UNSIGNED_INTEGER", size)
    prefix_bytes = int(label_object.find_number("LINE_PREFIX_BYTES") or 0)
    suffix_bytes = int(label_object.find_number("LINE_SUFFIX_BYTES") or 0)
    band_storage = str(label_object.get("BAND_STORAGE_TYPE") or "BAND_SEQUENTIAL").upper()
    row = prefix_bytes + samples * size + suffix_bytes
    steps: tuple[int, ...] = (row * lines, row, size)
    if band_storage == "LINE_INTERLEAVED":
        steps = (row, row * bands, size)
    elif band_storage == "SAMPLE_INTERLEAVED":
        row = prefix_bytes + samples * size * bands + suffix_bytes
        steps = (size, row, size * bands)
    scale = _read_value_scale(label_object, dtype, "SCALING_FACTOR", "OFFSET")
    mask = label_object.find_number("SAMPLE_BIT_MASK")
    if mask is not None and dtype.kind != "f" and 0 <= mask < 2 ** (8 * size) - 1:
        scale = scale._replace(bit_mask=int(mask))
    shape: tuple[int, ...] = (bands, lines, samples)
    names = ["BAND", "LINE", "SAMPLE"]
    if bands == 1:
        shape = shape[1:]
        steps = steps[1:]
        names = names[1:]
    layout = ArrayLayout(offset + prefix_bytes, dtype, shape, steps)
    value_type, read = create_window_reader(path, layout, scale._replace(is_vax=vax))
    wcs_cards: list[HeaderCard] = []
    if map_projection:
        wcs_cards = write_map_projection_cards(map_projection)
    axes = list(_create_axes(names, list(shape), label_object))
    if wcs_cards:
        axes[-1] = Axis(name="LONGITUDE", size=samples, kind="longitude", unit="deg")
        axes[-2] = Axis(name="LATITUDE", size=lines, kind="latitude", unit="deg")
    return ArrayPart(
        index=index,
        name=name,
        axes=tuple(axes),
        dtype=value_type,
        read=read,
        unit=_read_unit(label_object, "UNIT", "SAMPLE_UNIT"),
        cards=(*wcs_cards, *label_object.list_cards()),
        create_sky_mapping=create_sky_mapping_builder(wcs_cards),
    )


def _read_map_projection(label: PvlLabel) -> dict[str, Any]:
    """Read the keywords of the projection of a map, lengths in km."""
    projection = next((projection_object for _, projection_object in label.find_objects("IMAGE_MAP_PROJECTION")), None)
    if projection is None:
        return {}
    map_keywords = {"TARGET_NAME": label.get("TARGET_NAME"), **projection}
    for word in ("A_AXIS_RADIUS", "B_AXIS_RADIUS", "C_AXIS_RADIUS", "MAP_SCALE"):
        unit = projection.units.get(word, "").upper()
        if isinstance(map_keywords.get(word), int | float) and re.match(r"M(ETERS?)?(/|$)", unit):
            map_keywords[word] /= 1e3
    return map_keywords


_DELIMITERS = {"COMMA": ",", "SEMICOLON": ";", "TAB": "\t", "VERTICAL BAR": "|", "VERTICAL_BAR": "|"}


def _create_table(stored_object: _LabelledObject, column_objects: list[tuple[str, PvlLabel]]) -> TablePart:
    label_object, path, offset, name, index = stored_object
    binary = str(label_object.get("INTERCHANGE_FORMAT")).upper() == "BINARY"
    count = int(label_object.find_number("ROWS", "RECORDS") or 0)
    cards = tuple(label_object.list_cards())
    fields: list[RecordField] = []
    _collect_fields(column_objects, 0, binary, fields)
    if name.endswith("SPREADSHEET"):
        delimiter_name = str(label_object.get("FIELD_DELIMITER")).upper()
        return create_delimited_table(
            path,
            fields,
            index=index,
            name=name,
            offset=offset,
            size=0,
            line_count=count,
            delimiter=_DELIMITERS.get(delimiter_name, ","),
            cards=cards,
        )
    record = int(label_object.find_number("ROW_BYTES") or 0)
    before = int(label_object.find_number("ROW_PREFIX_BYTES") or 0)
    after = int(label_object.find_number("ROW_SUFFIX_BYTES") or 0)
    return create_fixed_record_table(
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
    column_objects: list[tuple[str, PvlLabel]], offset: int, is_binary: bool, fields: list[RecordField]
) -> None:
    for kind, label_object in column_objects:
        if kind == "CONTAINER":
            size = int(label_object.find_number("BYTES") or 0)
            start = int(label_object.find_number("START_BYTE") or 1) - 1
            for repetition in range(min(int(label_object.find_number("REPETITIONS") or 1), MAX_PARTS)):
                _collect_fields(label_object.objects, offset + start + repetition * size, is_binary, fields)
        elif kind in {"COLUMN", "FIELD"} and len(fields) < MAX_PARTS:
            fields.append(_create_field(label_object, offset, is_binary))


def _create_field(label_object: PvlLabel, offset: int, is_binary: bool) -> RecordField:
    items = int(label_object.find_number("ITEMS") or 1)
    size = int(label_object.find_number("ITEM_BYTES") or 0)
    if not size:
        size = math.floor((label_object.find_number("BYTES") or 1) / items)
    word = str(label_object.get("DATA_TYPE") or label_object.get("ITEM_TYPE") or "CHARACTER").upper()
    nulls: list[Any] = []
    for keyword in _NULL_KEYWORDS:
        nulls += [value for value in label_object.list_values(keyword) if value not in ("N/A", "UNK")]
    kind = "text"
    if is_binary and not re.match(r"CHAR|ASCII|DATE|TIME|EBCDIC", word):
        if "BIT_STRING" in word or word == "BOOLEAN":
            word = "UNSIGNED_INTEGER"
        dtype, vax = _parse_data_type(word, size)
        kind = "vax" if vax else dtype.str
        nulls = [parse_label_constant(value, dtype) for value in nulls]
    elif re.search(r"INTEGER", word):
        kind = "integer"
    elif re.search(r"REAL|FLOAT", word):
        kind = "real"
    place = int(label_object.find_number("START_BYTE", "FIELD_NUMBER") or 1)
    return RecordField(
        name=str(label_object.get("NAME") or "column"),
        kind=kind,
        offset=offset + place - 1,
        size=size,
        item_count=items,
        step_bytes=int(label_object.find_number("ITEM_OFFSET") or 0),
        unit=_read_unit(label_object, "UNIT"),
        description=str(label_object.get("DESCRIPTION") or "")[:500] or None,
        nulls=tuple(null for null in nulls if null is not None),
        factor=label_object.find_number("SCALING_FACTOR") or 1.0,
        zero=label_object.find_number("OFFSET") or 0.0,
    )


MEDIUM = ProductFileFormat(
    name="pds3",
    title="PDS3",
    media_types=("application/x-pds3", "application/x-pds"),
    extensions=("lbl", "img", "qub", "imq"),
    signature_pattern=(
        rb"(CCSD\w+ *= *\w+\s|\s|/\*.*?\*/)*(PDS_VERSION_ID|ODL_VERSION_ID|RECORD_TYPE|FILE_NAME)\s*=|CCSD3ZF"
    ),
    open=open_pds3,
    label_extensions=(".lbl", ".LBL"),
    product_types={"qub": "#spectral-cube", "img": "#image"},
    has_units_as_comments=True,
    read_cards=read_pds3_label_cards,
)
