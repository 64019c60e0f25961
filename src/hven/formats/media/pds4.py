"""PDS4: labels in XML beside their files; arrays, and tables in characters, bytes or between marks. Read by windows (PDS4 Standards Reference)."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media import MOST, Array, Axis, Card, Medium, Product, wavelengths
from hven.formats.media import _maps as maps
from hven.formats.media._grids import BitPattern, Layout, Scale, beside, bits, mapped
from hven.formats.media._records import Field, delimited, fixed
from hven.formats.media._spectral import spelled
from hven.model.errors import SourceError, say
from hven.model.sky import footprints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from hven.formats.media import Part, Rows
    from hven.formats.media._distant import Place

LONGEST = 32 << 20  # bytes of a label
_TYPES = {
    "UnsignedByte": "u1", "SignedByte": "i1", "UnsignedLSB2": "<u2", "UnsignedLSB4": "<u4", "UnsignedLSB8": "<u8", "UnsignedMSB2": ">u2", "UnsignedMSB4": ">u4",
    "UnsignedMSB8": ">u8", "SignedLSB2": "<i2", "SignedLSB4": "<i4", "SignedLSB8": "<i8", "SignedMSB2": ">i2", "SignedMSB4": ">i4", "SignedMSB8": ">i8",
    "IEEE754LSBSingle": "<f4", "IEEE754LSBDouble": "<f8", "IEEE754MSBSingle": ">f4", "IEEE754MSBDouble": ">f8",
}  # fmt: skip
_NULLS = ("missing_constant", "invalid_constant", "unknown_constant", "not_applicable_constant", "saturated_constant", "error_constant", "high_instrument_saturation",
          "high_representation_saturation", "low_instrument_saturation", "low_representation_saturation")  # fmt: skip
_ROLES = {"Uncertainty": "error", "Quality": "flag", "Mask": "flag"}
_KINDS = {"wavelength": "spectral", "band": "spectral", "spectral": "spectral", "longitude": "longitude", "latitude": "latitude"}  # fmt: skip


def open_pds4(file: Place) -> Product:
    """Open a product by its label.

    Parameters
    ----------
    file
        Path of a label; its files lie beside it.

    Returns
    -------
    product
        Its arrays and tables.

    Raises
    ------
    SourceError
        It is no label, promises more than there is, or points out of its folder.
    """
    from lxml import etree  # noqa: PLC0415  (beside the standard library's, of which nothing limits entities)

    if file.stat().st_size > LONGEST:
        raise SourceError(say("the label of {name} has no end", file.name))
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True)  # fmt: skip
    try:
        with file.open("rb") as source:
            root = etree.parse(source, parser).getroot()
    except etree.XMLSyntaxError as fault:
        raise SourceError(say("{name} is no label: {reason}", file.name, str(fault.msg)[:160])) from None
    for one in root.iter(etree.Element):
        one.tag = one.tag.rpartition("}")[2]
    if not root.tag.startswith("Product_"):
        raise SourceError(say("{name} is no label: {reason}", file.name, root.tag[:60]))
    world = _projection(root)
    parts: list[Part] = []
    others: set[Place] = set()
    for area in root:
        name = area.findtext("File/file_name")
        if not area.tag.startswith("File_Area") or not name:
            continue
        path = beside(file.parent, name.strip())
        others.add(path)
        for one in area:
            if len(parts) < MOST and one.tag.startswith("Array"):
                parts.append(_array(one, path, len(parts), root, world))
            elif len(parts) < MOST and one.tag.startswith("Table"):
                parts.append(_table(one, path, len(parts)))
    if not parts:
        raise SourceError(
            say("the label of {name} describes no image, cube or table", file.name), remedy=say("it may be a catalogue")
        )
    return Product(medium="pds4", parts=tuple(parts), cards=tuple(_cards(root)), beside=tuple(sorted(others)))


def _cards(root: Any) -> Iterator[Card]:
    """Yield what the label says of the product: leaves before its files, by their own names and their parents'."""
    for area in root:
        if area.tag.startswith("File_Area"):
            continue
        for one in area.iter():
            text = (one.text or "").strip()
            if text and not len(one) and one.tag not in {"modification_date", "reference_type", "lid_reference"}:
                parent = one.getparent()
                yield Card(one.tag if parent is None or parent is area else f"{parent.tag} {one.tag}", text, one.get("unit", ""))  # fmt: skip


def _number(one: Any, path: str, default: float | None = None) -> float:
    text = (one.findtext(path) or "").strip()
    try:
        found = float(text)
        if abs(found) < 1e18:
            return found
        raise SourceError(say("the label says {word}={value}", path, text[:40]))
    except ValueError:
        if default is None or text:
            raise SourceError(say("the label says {word}={value}", path, text[:40])) from None
        return default


def _constant(text: str | None, dtype: np.dtype[Any]) -> float | None:
    """Read a constant: a number, or bits with their radix (16#FF7FFFFB#, 0xFF7FFFFB)."""
    word = (text or "").strip()
    match = re.fullmatch(r"(?:(\d{1,2})#|0[xX])([0-9A-Fa-f]+)#?", word)
    try:
        if match is not None:
            return bits(BitPattern(match[2], int(match[1] or 16)), dtype)
        return bits(int(word) if re.fullmatch(r"[+-]?\d{1,18}", word) else float(word), dtype)
    except (ValueError, OverflowError):
        return None


def _array(one: Any, path: Place, index: int, root: Any, world: dict[str, object]) -> Array:
    listed = sorted(one.iterfind("Axis_Array"), key=lambda axis: _number(axis, "sequence_number", 1.0))
    names = [str(axis.findtext("axis_name") or "").strip() for axis in listed]
    shape = tuple(int(_number(axis, "elements")) for axis in listed)
    title = str(one.findtext("name") or one.findtext("local_identifier") or one.tag).strip()
    word = str(one.findtext("Element_Array/data_type") or "").strip()
    if word not in _TYPES or not shape or len(shape) > 16:
        raise SourceError(say("values of the type {kind} are not read", word or "-"))
    dtype = np.dtype(_TYPES[word])
    if str(one.findtext("axis_index_order") or "Last Index Fastest").strip().lower().startswith("first"):
        shape, names = shape[::-1], names[::-1]
    nulls = {_constant(one.findtext(f"Special_Constants/{name}"), dtype) for name in _NULLS} - {None}
    scale = Scale(_number(one, "Element_Array/scaling_factor", 1.0), _number(one, "Element_Array/value_offset", 0.0), tuple(sorted(null for null in nulls if null is not None)))  # fmt: skip
    meant, read = mapped(path, Layout(int(_number(one, "offset", 0.0)), dtype, shape), scale)
    kind = next((role for tail, role in _ROLES.items() if tail.lower() in title.lower()), "data")
    axes = [Axis(name=name, size=size, **_meaning(name, size, root)) for name, size in zip(names, shape, strict=True)]
    cards = maps.cards(world, pixel=0.5) if world and len(shape) >= 2 else []
    places = None
    if cards:
        axes[-1] = Axis(name="LONGITUDE", size=shape[-1], kind="longitude", unit="deg")
        axes[-2] = Axis(name="LATITUDE", size=shape[-2], kind="latitude", unit="deg")
        places = partial(footprints.places, {card.keyword: card.value for card in cards})
    unit = str(one.findtext("Element_Array/unit") or "").strip() or None
    return Array(index=index, name=title, axes=tuple(axes), dtype=meant, read=read, unit=unit, places=places, cards=tuple(cards), role=kind if index else "data")  # fmt: skip


def _meaning(name: str, size: int, root: Any) -> dict[str, Any]:
    """Find the wavelengths of bands: a list of bins (Band_Bin), centres of a class of spectra."""
    kind = _KINDS.get(name.lower(), "")
    if kind != "spectral":
        return {"kind": kind}
    found = [(one.findtext("center_value") or one.findtext("center_wavelength"), one) for one in root.iter("Band_Bin", "Axis_Bin", "Bin")]  # fmt: skip
    values = [text for text, _ in found if text]
    if len(values) != size:
        return {}
    tagged = found[0][1].find("center_value")
    tagged = found[0][1].find("center_wavelength") if tagged is None else tagged
    unit = tagged.get("unit", "um")
    centres = np.array([float(text) for text in values])
    made: Callable[[], npt.NDArray[Any]] = partial(wavelengths, centres, "", unit)
    return {"kind": kind, "unit": spelled(unit), "values": made, "own": lambda: centres}


def _projection(root: Any) -> dict[str, object]:
    """Write the class of maps (cart:Map_Projection) in the words of PDS3."""
    one = next(root.iter("Cartography"), None)
    if one is None:
        return {}

    def number(*names: str) -> float | None:
        for name in names:
            found = next(one.iter(name), None)
            if found is not None and found.text:
                try:
                    scale = {"km": 1e3, "km/pixel": 1e3}.get(str(found.get("unit")).lower(), 1.0)
                    return float(found.text) * scale
                except ValueError:
                    return None
        return None

    step, left, top = number("pixel_resolution_x"), number("upperleft_corner_x"), number("upperleft_corner_y")
    if not step or left is None or top is None:
        return {}
    named = next(one.iter("map_projection_name"), None)
    a, c = number("semi_major_radius", "a_axis_radius"), number("polar_radius", "c_axis_radius")
    way = next(one.iter("longitude_direction"), None)
    latitude = next(one.iter("latitude_type"), None)
    return {
        "MAP_PROJECTION_TYPE": named.text if named is not None else None,
        "TARGET_NAME": root.findtext(".//Target_Identification/name"),
        "A_AXIS_RADIUS": a and a / 1e3,
        "C_AXIS_RADIUS": c and c / 1e3,
        "MAP_SCALE": step / 1e3,
        "CENTER_LONGITUDE": number("longitude_of_central_meridian", "straight_vertical_longitude_from_pole", "center_longitude"),
        "CENTER_LATITUDE": number("standard_parallel_1", "latitude_of_projection_origin", "center_latitude"),
        "POSITIVE_LONGITUDE_DIRECTION": "WEST" if way is not None and "West" in str(way.text) else "EAST",
        "COORDINATE_SYSTEM_NAME": str(latitude.text if latitude is not None else "").upper(),
        "SAMPLE_PROJECTION_OFFSET": -left / step,
        "LINE_PROJECTION_OFFSET": top / step,
    }  # fmt: skip


def _table(one: Any, path: Place, index: int) -> Rows:
    title = str(one.findtext("name") or one.findtext("local_identifier") or one.tag).strip()
    offset, count = int(_number(one, "offset", 0.0)), int(_number(one, "records"))
    fields: list[Field] = []
    kind = one.tag.removeprefix("Table_")
    record = one.find(f"Record_{kind}")
    if record is None:
        raise SourceError(say("the table {name} has no columns, or no rows", title))
    _fields(record, 0, kind, fields)
    cards = tuple(Card(leaf.tag, " ".join(leaf.text.split())) for leaf in one if leaf.text and leaf.text.strip() and not len(leaf))  # fmt: skip
    if kind == "Delimited":
        mark = {"comma": ",", "semicolon": ";", "horizontal tab": "\t", "vertical bar": "|"}.get(str(one.findtext("field_delimiter")).strip().lower(), ",")  # fmt: skip
        return delimited(path, fields, index=index, name=title, offset=offset, size=int(_number(one, "object_length", 0.0)), count=count, mark=mark, cards=cards)  # fmt: skip
    return fixed(path, fields, index=index, name=title, offset=offset, record=int(_number(record, "record_length")), count=count, cards=cards)  # fmt: skip


def _fields(record: Any, shift: int, kind: str, fields: list[Field], tail: str = "") -> None:
    for one in record:
        if len(fields) >= MOST:
            return
        if one.tag.startswith("Group_Field"):
            turns = int(_number(one, "repetitions", 1.0))
            size = int(_number(one, "group_length", 0.0)) // max(1, turns)
            start = int(_number(one, "group_location", 1.0)) - 1
            for turn in range(min(turns, MOST)):
                _fields(one, shift + start + turn * size, kind, fields, f"{tail}_{turn + 1}")
        elif one.tag.startswith("Field_"):
            fields.append(_field(one, shift, kind, len(fields), tail))


def _field(one: Any, shift: int, kind: str, number: int, tail: str) -> Field:
    word = str(one.findtext("data_type") or "").strip()
    size = int(_number(one, "field_length", 1.0))
    if word in _TYPES and kind == "Binary":
        own = np.dtype(_TYPES[word]).str
        size = np.dtype(own).itemsize
        nulls = [_constant(one.findtext(f"Special_Constants/{name}"), np.dtype(own)) for name in _NULLS]
    else:
        own = "integer" if word in {"ASCII_Integer", "ASCII_NonNegative_Integer"} else "real" if word == "ASCII_Real" else "boolean" if word == "ASCII_Boolean" else "text"  # fmt: skip
        texts = [one.findtext(f"Special_Constants/{name}") for name in _NULLS]
        nulls = [text if own == "text" or not text else _constant(text, np.dtype("f8")) for text in texts]
    return Field(
        name=str(one.findtext("name") or f"column{number + 1}").strip() + tail,
        kind=own,
        at=number if kind == "Delimited" else shift + int(_number(one, "field_location", 1.0)) - 1,
        size=size,
        unit=str(one.findtext("unit") or "").strip() or None,
        description=" ".join(str(one.findtext("description") or "").split())[:500] or None,
        nulls=tuple(null for null in nulls if null is not None),
        factor=_number(one, "scaling_factor", 1.0),
        zero=_number(one, "value_offset", 0.0),
    )


MEDIUM = Medium(
    name="pds4",
    title="PDS4",
    media_types=("application/x-pds4+xml", "application/xml"),
    endings=("lblx",),
    begins=rb"(\xef\xbb\xbf)?\s*<\?xml.*<(\w+:)?Product_\w+",
    open=open_pds4,
    beside=True,
)
