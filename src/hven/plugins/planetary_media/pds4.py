"""Read PDS4 by windows: labels in XML beside their files; arrays, and tables in characters, in bytes or delimited.

The standard is the PDS4 Standards Reference.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media import (
    MAX_PARTS,
    ArrayPart,
    Axis,
    HeaderCard,
    OpenProductFile,
    ProductFileFormat,
    convert_to_wavelengths,
)
from hven.formats.media.api import (
    ArrayLayout,
    create_sky_mapping_builder,
    normalize_length_unit,
    write_map_projection_cards,
)
from hven.model.errors import SourceError, format_message
from hven.plugins.planetary_media.label_values import RadixInteger, find_companion_file, parse_label_constant
from hven.plugins.planetary_media.record_tables import RecordField, create_delimited_table, create_fixed_record_table
from hven.plugins.planetary_media.stored_arrays import StoredValueEncoding, create_window_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from hven.formats.media import Part, Place, TablePart

MAX_LABEL_BYTES = 32 << 20  # of a label
_NUMPY_TYPES = {
    "UnsignedByte": "u1",
    "SignedByte": "i1",
    "UnsignedLSB2": "<u2",
    "UnsignedLSB4": "<u4",
    "UnsignedLSB8": "<u8",
    "UnsignedMSB2": ">u2",
    "UnsignedMSB4": ">u4",
    "UnsignedMSB8": ">u8",
    "SignedLSB2": "<i2",
    "SignedLSB4": "<i4",
    "SignedLSB8": "<i8",
    "SignedMSB2": ">i2",
    "SignedMSB4": ">i4",
    "SignedMSB8": ">i8",
    "IEEE754LSBSingle": "<f4",
    "IEEE754LSBDouble": "<f8",
    "IEEE754MSBSingle": ">f4",
    "IEEE754MSBDouble": ">f8",
}
_NULL_CONSTANTS = (
    "missing_constant",
    "invalid_constant",
    "unknown_constant",
    "not_applicable_constant",
    "saturated_constant",
    "error_constant",
    "high_instrument_saturation",
    "high_representation_saturation",
    "low_instrument_saturation",
    "low_representation_saturation",
)
_TITLE_ROLES = {"Uncertainty": "error", "Quality": "flag", "Mask": "flag"}
_AXIS_KINDS = {
    "wavelength": "spectral",
    "band": "spectral",
    "spectral": "spectral",
    "longitude": "longitude",
    "latitude": "latitude",
}


def open_pds4(file: Place) -> OpenProductFile:
    """Open a product by its label.

    Parameters
    ----------
    file
        Path of a label, with its files beside it.

    Returns
    -------
    product
        Arrays and tables of the product.

    Raises
    ------
    SourceError
        The file is no label, or the label promises more than there is or points out of its folder.
    """
    root = _parse_label(file)
    map_projection = _convert_cartography_to_pds3(root)
    parts: list[Part] = []
    companion_paths: set[Place] = set()
    for area in root:
        name = area.findtext("File/file_name")
        if not area.tag.startswith("File_Area") or not name:
            continue
        path = find_companion_file(file.parent, name.strip())
        companion_paths.add(path)
        for element in area:
            if len(parts) < MAX_PARTS and element.tag.startswith("Array"):
                array = _create_array(element, path, len(parts), root, map_projection)
                parts.append(array)
            elif len(parts) < MAX_PARTS and element.tag.startswith("Table"):
                parts.append(_create_table(element, path, len(parts)))
    if not parts:
        raise SourceError(
            format_message("the label of {name} describes no image, cube or table", file.name),
            remedy=format_message("check whether the label describes a catalogue"),
        )
    cards = tuple(_iterate_label_cards(root))
    companion_files = tuple(sorted(companion_paths))
    return OpenProductFile(medium="pds4", parts=tuple(parts), cards=cards, companion_files=companion_files)


def _parse_label(file: Place) -> Any:
    """Parse a label, and return its root with names without namespaces."""
    from lxml import etree  # noqa: PLC0415  (the standard library's parser does not limit entities)

    label_bytes = file.stat().st_size
    if label_bytes > MAX_LABEL_BYTES:
        raise SourceError(
            format_message(
                "the label {name} has {size:,} bytes; the limit is {limit:,}", file.name, label_bytes, MAX_LABEL_BYTES
            )
        )
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        with file.open("rb") as source:
            root = etree.parse(source, parser).getroot()
    except etree.XMLSyntaxError as fault:
        reason = str(fault.msg)[:160]
        raise SourceError(format_message("{name} is not a label: {reason}", file.name, reason)) from None
    for element in root.iter(etree.Element):
        element.tag = element.tag.rpartition("}")[2]
    if not root.tag.startswith("Product_"):
        raise SourceError(format_message("{name} is not a label: its root element is {tag}", file.name, root.tag[:60]))
    return root


def _iterate_label_cards(root: Any) -> Iterator[HeaderCard]:
    """Yield the leaves of the label outside its file areas as cards, by their own names and those of their parents."""
    for area in root:
        if area.tag.startswith("File_Area"):
            continue
        for element in area.iter():
            text = (element.text or "").strip()
            if not text or len(element) or element.tag in {"modification_date", "reference_type", "lid_reference"}:
                continue
            keyword = element.tag
            parent = element.getparent()
            if parent is not None and parent is not area:
                keyword = f"{parent.tag} {element.tag}"
            yield HeaderCard(keyword, text, element.get("unit", ""))


def _read_number(element: Any, element_path: str, default: float | None = None) -> float:
    text = (element.findtext(element_path) or "").strip()
    try:
        number = float(text)
        if abs(number) < 1e18:
            return number
        raise SourceError(format_message("the label has an invalid value: {word}={value}", element_path, text[:40]))
    except ValueError:
        if default is None or text:
            raise SourceError(
                format_message("the label has an invalid value: {word}={value}", element_path, text[:40])
            ) from None
        return default


def _parse_constant(text: str | None, dtype: np.dtype[Any]) -> float | None:
    """Parse a constant: a number, or bits with their radix (16#FF7FFFFB#, 0xFF7FFFFB)."""
    word = (text or "").strip()
    match = re.fullmatch(r"(?:(\d{1,2})#|0[xX])([0-9A-Fa-f]+)#?", word)
    try:
        if match is not None:
            radix = int(match[1] or 16)
            return parse_label_constant(RadixInteger(match[2], radix), dtype)
        if re.fullmatch(r"[+-]?\d{1,18}", word):
            return parse_label_constant(int(word), dtype)
        return parse_label_constant(float(word), dtype)
    except (ValueError, OverflowError):
        return None


def _create_array(element: Any, path: Place, index: int, root: Any, map_projection: dict[str, object]) -> ArrayPart:
    axis_elements = sorted(element.iterfind("Axis_Array"), key=lambda axis: _read_number(axis, "sequence_number", 1.0))
    names = [str(axis.findtext("axis_name") or "").strip() for axis in axis_elements]
    shape = tuple(int(_read_number(axis, "elements")) for axis in axis_elements)
    title = _read_object_name(element)
    data_type = str(element.findtext("Element_Array/data_type") or "").strip()
    if data_type not in _NUMPY_TYPES or not shape or len(shape) > 16:
        raise SourceError(format_message("Hven cannot read values of the type {kind}", data_type or "-"))
    dtype = np.dtype(_NUMPY_TYPES[data_type])
    if str(element.findtext("axis_index_order") or "Last Index Fastest").strip().lower().startswith("first"):
        shape = shape[::-1]
        names.reverse()
    nulls = set()
    for constant_name in _NULL_CONSTANTS:
        null = _parse_constant(element.findtext(f"Special_Constants/{constant_name}"), dtype)
        if null is not None:
            nulls.add(null)
    factor = _read_number(element, "Element_Array/scaling_factor", 1.0)
    zero = _read_number(element, "Element_Array/value_offset", 0.0)
    scale = StoredValueEncoding(factor, zero, tuple(sorted(nulls)))
    layout = ArrayLayout(int(_read_number(element, "offset", 0.0)), dtype, shape)
    value_type, read = create_window_reader(path, layout, scale)
    axes = []
    for name, size in zip(names, shape, strict=True):
        axis_description = _build_axis_options(name, size, root)
        axes.append(Axis(name=name, size=size, **axis_description))
    cards = []
    if map_projection and len(shape) >= 2:
        cards = write_map_projection_cards(map_projection, origin_pixel=0.5)
    if cards:
        axes[-1] = Axis(name="LONGITUDE", size=shape[-1], kind="longitude", unit="deg")
        axes[-2] = Axis(name="LATITUDE", size=shape[-2], kind="latitude", unit="deg")
    unit = str(element.findtext("Element_Array/unit") or "").strip() or None
    return ArrayPart(
        index=index,
        name=title,
        axes=tuple(axes),
        dtype=value_type,
        read=read,
        unit=unit,
        create_sky_mapping=create_sky_mapping_builder(cards),
        cards=tuple(cards),
        role=_find_array_role(title) if index else "data",
    )


def _read_object_name(element: Any) -> str:
    title = element.findtext("name") or element.findtext("local_identifier") or element.tag
    return str(title).strip()


def _find_array_role(title: str) -> str:
    """Find the role of an array by its title."""
    for title_part, role in _TITLE_ROLES.items():
        if title_part.lower() in title.lower():
            return role
    return "data"


def _build_axis_options(name: str, size: int, root: Any) -> dict[str, Any]:
    """Describe an axis; wavelengths of bands stand in a list of bins (Band_Bin), or are centres of spectra."""
    kind = _AXIS_KINDS.get(name.lower(), "")
    if kind != "spectral":
        return {"kind": kind}
    bin_elements = list(root.iter("Band_Bin", "Axis_Bin", "Bin"))
    values = []
    for bin_element in bin_elements:
        text = bin_element.findtext("center_value") or bin_element.findtext("center_wavelength")
        if text:
            values.append(text)
    if len(values) != size:
        return {}
    center_element = bin_elements[0].find("center_value")
    if center_element is None:
        center_element = bin_elements[0].find("center_wavelength")
    unit = center_element.get("unit", "um")
    centres = np.array([float(text) for text in values])
    read_wavelengths: Callable[[], npt.NDArray[Any]] = partial(convert_to_wavelengths, centres, "", unit)
    return {
        "kind": kind,
        "unit": normalize_length_unit(unit),
        "read_values": read_wavelengths,
        "read_file_values": lambda: centres,
    }


def _convert_cartography_to_pds3(root: Any) -> dict[str, object]:
    """Convert the class of maps (cart:Map_Projection) to the keywords of PDS3."""
    cartography = next(root.iter("Cartography"), None)
    if cartography is None:
        return {}

    def find_number(*names: str) -> float | None:
        for name in names:
            number_element = next(cartography.iter(name), None)
            if number_element is not None and number_element.text:
                try:
                    unit = str(number_element.get("unit")).lower()
                    unit_metres = {"km": 1e3, "km/pixel": 1e3}.get(unit, 1.0)
                    return float(number_element.text) * unit_metres
                except ValueError:
                    return None
        return None

    step = find_number("pixel_resolution_x")
    left = find_number("upperleft_corner_x")
    top = find_number("upperleft_corner_y")
    if not step or left is None or top is None:
        return {}
    projection_name = cartography.find(".//map_projection_name")
    a = find_number("semi_major_radius", "a_axis_radius")
    c = find_number("polar_radius", "c_axis_radius")
    is_west_positive = "West" in str(cartography.findtext(".//longitude_direction"))
    central_longitude = find_number(
        "longitude_of_central_meridian", "straight_vertical_longitude_from_pole", "center_longitude"
    )
    central_latitude = find_number("standard_parallel_1", "latitude_of_projection_origin", "center_latitude")
    return {
        "MAP_PROJECTION_TYPE": projection_name.text if projection_name is not None else None,
        "TARGET_NAME": root.findtext(".//Target_Identification/name"),
        "A_AXIS_RADIUS": a and a / 1e3,
        "C_AXIS_RADIUS": c and c / 1e3,
        "MAP_SCALE": step / 1e3,
        "CENTER_LONGITUDE": central_longitude,
        "CENTER_LATITUDE": central_latitude,
        "POSITIVE_LONGITUDE_DIRECTION": "WEST" if is_west_positive else "EAST",
        "COORDINATE_SYSTEM_NAME": str(cartography.findtext(".//latitude_type") or "").upper(),
        "SAMPLE_PROJECTION_OFFSET": -left / step,
        "LINE_PROJECTION_OFFSET": top / step,
    }


_DELIMITERS = {"comma": ",", "semicolon": ";", "horizontal tab": "\t", "vertical bar": "|"}


def _create_table(element: Any, path: Place, index: int) -> TablePart:
    title = _read_object_name(element)
    offset = int(_read_number(element, "offset", 0.0))
    count = int(_read_number(element, "records"))
    fields: list[RecordField] = []
    kind = element.tag.removeprefix("Table_")
    record = element.find(f"Record_{kind}")
    if record is None:
        raise SourceError(format_message("the table {name} lacks columns or rows", title))
    _collect_fields(record, 0, kind, fields)
    leaves = [leaf for leaf in element if leaf.text and leaf.text.strip() and not len(leaf)]
    cards = tuple(HeaderCard(leaf.tag, " ".join(leaf.text.split())) for leaf in leaves)
    if kind == "Delimited":
        delimiter_name = str(element.findtext("field_delimiter")).strip().lower()
        mark = _DELIMITERS.get(delimiter_name, ",")
        size = int(_read_number(element, "object_length", 0.0))
        return create_delimited_table(
            path,
            fields,
            index=index,
            name=title,
            offset=offset,
            size=size,
            line_count=count,
            delimiter=mark,
            cards=cards,
        )
    record_bytes = int(_read_number(record, "record_length"))
    return create_fixed_record_table(
        path,
        fields,
        index=index,
        name=title,
        offset=offset,
        record_bytes=record_bytes,
        record_count=count,
        cards=cards,
    )


def _collect_fields(
    record: Any, offset: int, record_format: str, fields: list[RecordField], name_suffix: str = ""
) -> None:
    for element in record:
        if len(fields) >= MAX_PARTS:
            return
        if element.tag.startswith("Group_Field"):
            repetitions = int(_read_number(element, "repetitions", 1.0))
            number = _read_number(element, "group_length", 0.0)
            size = int(number) // max(1, repetitions)
            start = int(_read_number(element, "group_location", 1.0)) - 1
            for repetition in range(min(repetitions, MAX_PARTS)):
                _collect_fields(
                    element,
                    offset + start + repetition * size,
                    record_format,
                    fields,
                    f"{name_suffix}_{repetition + 1}",
                )
        elif element.tag.startswith("Field_"):
            field = _create_field(element, offset, record_format, len(fields), name_suffix)
            fields.append(field)


def _create_field(element: Any, offset: int, record_format: str, number: int, name_suffix: str) -> RecordField:
    word = str(element.findtext("data_type") or "").strip()
    size = int(_read_number(element, "field_length", 1.0))
    null_texts = [element.findtext(f"Special_Constants/{name}") for name in _NULL_CONSTANTS]
    nulls: list[Any]
    if word in _NUMPY_TYPES and record_format == "Binary":
        field_kind = np.dtype(_NUMPY_TYPES[word]).str
        size = np.dtype(field_kind).itemsize
        nulls = [_parse_constant(text, np.dtype(field_kind)) for text in null_texts]
    else:
        field_kind = _TEXT_KINDS.get(word, "text")
        if field_kind == "text":
            nulls = list(null_texts)
        else:
            nulls = [_parse_constant(text, np.dtype("f8")) if text else text for text in null_texts]
    place = number
    if record_format != "Delimited":
        place = offset + int(_read_number(element, "field_location", 1.0)) - 1
    description = " ".join(str(element.findtext("description") or "").split())
    return RecordField(
        name=str(element.findtext("name") or f"column{number + 1}").strip() + name_suffix,
        kind=field_kind,
        offset=place,
        size=size,
        unit=str(element.findtext("unit") or "").strip() or None,
        description=description[:500] or None,
        nulls=tuple(null for null in nulls if null is not None),
        factor=_read_number(element, "scaling_factor", 1.0),
        zero=_read_number(element, "value_offset", 0.0),
    )


_TEXT_KINDS = {
    "ASCII_Integer": "integer",
    "ASCII_NonNegative_Integer": "integer",
    "ASCII_Real": "real",
    "ASCII_Boolean": "boolean",
}


MEDIUM = ProductFileFormat(
    name="pds4",
    title="PDS4",
    media_types=("application/x-pds4+xml", "application/xml"),
    extensions=("lblx",),
    signature_pattern=rb"(\xef\xbb\xbf)?\s*<\?xml.*<(\w+:)?Product_\w+",
    open=open_pds4,
    label_extensions=(".xml", ".lblx"),
    has_units_as_comments=True,
)
