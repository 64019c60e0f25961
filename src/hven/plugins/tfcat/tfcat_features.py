"""Read and validate the features of TFCat 1.0, and name the utypes by which a table describes a TFCat document."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.plugins.tfcat.coordinate_systems import (
    TfcatCrs,
    TfcatFault,
    parse_tfcat_crs,
    parse_tfcat_time,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Position = tuple[float, float]

SCHEMA_URL = "https://voparis-ns.obspm.fr/maser/tfcat/v1.0/schema#"
GEOMETRY_UTYPE, CRS_UTYPE, ID_UTYPE, PROPERTIES_UTYPE, DERIVED_UTYPE = (
    f"tfcat:{word}" for word in ("geometry", "crs", "id", "properties", "derived")
)
"""Utypes of the columns and constants of a table that hold parts of a TFCat document.

`DERIVED_UTYPE` marks columns that follow from the geometry.
"""
COORDINATE_DEPTHS = {
    "Point": 0,
    "MultiPoint": 1,
    "LineString": 1,
    "MultiLineString": 2,
    "Polygon": 2,
    "MultiPolygon": 3,
}
GEOMETRY_TYPES = (*COORDINATE_DEPTHS, "GeometryCollection")
MAX_COLLECTION_DEPTH = 8  # collections within collections
_WHITESPACE_PATTERN = re.compile(r'("(?:[^"\\]|\\.)*")|\s+')
_BLANK_PATTERN = re.compile(r"[ \t\n\r]*")
_INTEGER_PATTERN = re.compile(r"[+-]?\d+", re.ASCII)
_FLOAT_PATTERN = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_MAX_FLOAT = float(np.finfo(np.float64).max)
_DECODER = json.JSONDecoder()


@dataclass(slots=True)
class TfcatFeature:
    """Hold a feature that was read.

    Attributes
    ----------
    id
        The identifier as it is written; None if there is none.
    kind
        Type of the geometry.
    geometry
        The text of the geometry, without blanks, each number as it is written.
    times, spectrum
        Minimum and maximum over its positions; NaN if it has no position and no fault.
    properties
        Values by name; objects and lists as texts.
    faults
        The faults; a feature with faults may be incomplete.
    rings
        The rings of its polygons, for `add_crossing_faults`: outline and holes.
    """

    id: str | float | None = None
    kind: str = ""
    geometry: str = ""
    times: tuple[float, float] = (0.0, 0.0)
    spectrum: tuple[float, float] = (0.0, 0.0)
    properties: dict[str, Any] = field(default_factory=dict)
    faults: list[TfcatFault] = field(default_factory=list)
    rings: list[list[list[Position]]] = field(default_factory=list)

    def add_fault(self, json_path: str, reason: str, remedy: str) -> None:
        """Add a fault."""
        self.faults.append(TfcatFault(json_path, reason, remedy))


class _GeometryError(ValueError):
    """Report a fault of a geometry: path, reason, remedy."""


def iterate_json_members(text: str, position: int = 0) -> Iterator[tuple[str, Any, str]]:
    """Read the members of a JSON object.

    Parameters
    ----------
    text
        A text that contains the object.
    position
        Where the object begins, or blanks before it.

    Yields
    ------
    name, value, raw
        The name, the value and the text of the value of each member.

    Raises
    ------
    JSONDecodeError
        The text is not an object, or not JSON.
    """
    position = _skip_blanks(text, position)
    if text[position : position + 1] != "{":
        raise json.JSONDecodeError("Expecting an object", text, position)
    position = _skip_blanks(text, position + 1)
    if text[position : position + 1] == "}":
        return
    while True:
        if text[position : position + 1] != '"':
            raise json.JSONDecodeError("Expecting a name in quotes", text, position)
        name, position = scanstring(text, position + 1)
        position = _skip_blanks(text, position)
        if text[position : position + 1] != ":":
            raise json.JSONDecodeError("Expecting ':'", text, position)
        start = _skip_blanks(text, position + 1)
        value, end = _DECODER.raw_decode(text, start)
        yield name, value, text[start:end]
        position = _skip_blanks(text, end)
        if text[position : position + 1] != ",":
            if text[position : position + 1] != "}" or text[position + 1 :].strip(" \t\n\r"):
                raise json.JSONDecodeError("Expecting ',' or '}'", text, position)
            return
        position = _skip_blanks(text, position + 1)


def _skip_blanks(text: str, position: int) -> int:
    match = _BLANK_PATTERN.match(text, position)
    if match is not None:
        return match.end()
    return position


def parse_tfcat_feature(
    text: str, system: TfcatCrs, field_definitions: Mapping[str, Mapping[str, Any]]
) -> TfcatFeature:
    """Read and validate a feature.

    Parameters
    ----------
    text
        The JSON of the feature.
    system
        The document's reference system.
    field_definitions
        The document's fields.

    Returns
    -------
    feature
        The feature with its faults, except those that `add_crossing_faults` finds.
    """
    feature = TfcatFeature()
    try:
        members_by_name = _parse_feature_members(text, feature)
    except RecursionError:
        return TfcatFeature(faults=[TfcatFault("", "the text is nested too deeply", "check the brackets")])
    except ValueError as error:
        error_text = str(error)
        if isinstance(error, json.JSONDecodeError):
            error_text = f"{error.msg}, character {error.pos + 1:,}"
        faults = [TfcatFault("", f"the text is not JSON ({error_text})", "check the file at this place")]
        return TfcatFeature(faults=faults)
    _check_feature_type(members_by_name, feature)
    feature.id = _read_feature_id(members_by_name, feature)
    properties, raw_properties = members_by_name.get("properties", ({}, "{}"))
    _convert_feature_properties(properties, raw_properties, field_definitions, feature)
    _check_bounding_box(members_by_name, system, feature)
    geometry, raw_geometry = members_by_name.get("geometry", (None, ""))
    feature.geometry = _WHITESPACE_PATTERN.sub(r"\1", raw_geometry)
    _check_feature_geometry(geometry, system, feature)
    try:
        feature.geometry.encode()
        json.dumps([feature.id, feature.properties], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        reason = "the feature contains half of a surrogate pair, which is not a character"
        feature.add_fault("", reason, "write the character itself")
    return feature


def _parse_feature_members(text: str, feature: TfcatFeature) -> dict[str, tuple[Any, str]]:
    """Read the value and the text of each member; a name that comes twice is a fault."""
    members_by_name: dict[str, tuple[Any, str]] = {}
    for name, value, raw in iterate_json_members(text):
        if name in members_by_name:
            feature.add_fault(f"{name:.60}", "the name occurs twice", "remove one of the two members")
        members_by_name[name] = value, raw
    return members_by_name


def _check_feature_type(members_by_name: Mapping[str, tuple[Any, str]], feature: TfcatFeature) -> None:
    kind, _ = members_by_name.get("type", (None, ""))
    if kind != "Feature":
        reason = f"{kind!r:.60} is not a Feature"
        feature.add_fault("type", reason, 'write "type": "Feature"')


def _read_feature_id(members_by_name: Mapping[str, tuple[Any, str]], feature: TfcatFeature) -> str | float | None:
    """Read the identifier of a feature; None if it is missing, or neither a text nor a number, which is a fault."""
    feature_id, _ = members_by_name.get("id", (None, ""))
    if feature_id is None:
        return None
    if not isinstance(feature_id, str | int | float) or isinstance(feature_id, bool):
        remedy = "write a name or a number that is different for each feature"
        feature.add_fault("id", "it is neither a string nor a number", remedy)
        return None
    return feature_id


def _check_bounding_box(
    members_by_name: Mapping[str, tuple[Any, str]], system: TfcatCrs, feature: TfcatFeature
) -> None:
    box, _ = members_by_name.get("bbox", (None, ""))
    if box is None:
        return
    has_four_items = isinstance(box, list) and len(box) == 4
    if has_four_items and (system.iso or all(_is_number(number) for number in box)):
        return
    remedy = "write [time, frequency, time, frequency] with the least and greatest values, or leave bbox out"
    feature.add_fault("bbox", "it is not a list of four numbers", remedy)


def _check_feature_geometry(geometry: Any, system: TfcatCrs, feature: TfcatFeature) -> None:
    """Check a geometry, and find the ranges of its positions."""
    reader = _GeometryReader(system, feature)
    try:
        reader.read_geometry(geometry, "geometry")
    except _GeometryError as error:
        feature.add_fault(*error.args)
        return
    if reader.positions:
        times, frequencies = zip(*reader.positions, strict=True)
        feature.times = (min(times), max(times))
        feature.spectrum = (min(frequencies), max(frequencies))
    elif feature.kind == "GeometryCollection":  # an empty one: it has no place (RFC 7946, 3.1.8)
        feature.times = feature.spectrum = (math.nan, math.nan)
    else:
        feature.add_fault("geometry", "the geometry has no position", "leave the feature out")


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e300  # type: ignore[arg-type]


class _GeometryReader:
    """Checks the geometry of a feature, and collects its positions, and the rings of polygons.

    Its methods raise `_GeometryError`.
    """

    def __init__(self, system: TfcatCrs, feature: TfcatFeature) -> None:
        self._system = system
        self._feature = feature
        self.positions: list[Position] = []

    def read_geometry(self, geometry: Any, json_path: str, depth: int = 0) -> None:
        """Read a geometry, at a depth of nesting."""
        if geometry is None:
            raise _GeometryError(json_path, "the geometry is missing", "add a geometry with times and frequencies")
        kind = None
        if isinstance(geometry, dict):
            kind = geometry.get("type")
        if not isinstance(kind, str) or kind not in GEOMETRY_TYPES:
            remedy = f"write one of {', '.join(GEOMETRY_TYPES)}"
            raise _GeometryError(f"{json_path}.type", f"{kind!r:.60} is not a TFCat geometry type", remedy)
        if geometry.get("crs") is not None and parse_tfcat_crs(geometry["crs"])[0] != self._system:
            remedy = "use one reference system for all features of a document"
            raise _GeometryError(f"{json_path}.crs", "the crs differs from the document's crs", remedy)
        if depth == 0:
            self._feature.kind = kind
        if kind == "GeometryCollection":
            self._read_collection(geometry.get("geometries"), f"{json_path}.geometries", depth)
            return
        coordinates_path = f"{json_path}.coordinates"
        for path, line in self._iterate_lines(geometry.get("coordinates"), COORDINATE_DEPTHS[kind], coordinates_path):
            self.positions += line
            if kind.endswith("LineString") and len(line) < 2:
                raise _GeometryError(
                    path, f"a line needs at least two positions, not {len(line)}", "write a Point instead"
                )
            if kind.endswith("Polygon"):
                self._read_ring(path, line, is_hole=not path.endswith("[0]"))

    def _read_collection(self, geometries: Any, json_path: str, depth: int) -> None:
        if not isinstance(geometries, list):
            reason = "they are missing" if geometries is None else "it is not a list"
            raise _GeometryError(json_path, reason, "write a list of geometries")
        if depth == MAX_COLLECTION_DEPTH:
            reason = f"collections are nested more than {MAX_COLLECTION_DEPTH} levels deep"
            raise _GeometryError("geometry", reason, "put the geometries of the nested collections into one collection")
        for number, member in enumerate(geometries):
            self.read_geometry(member, f"{json_path}[{number}]", depth + 1)

    def _iterate_lines(self, coordinates: Any, depth: int, json_path: str) -> Iterator[tuple[str, list[Position]]]:
        """Yield lists of positions with their paths; a position that is not in a list gets a list for itself."""
        if depth == 0:
            yield json_path, [self._parse_position(coordinates, json_path)]
            return
        if not isinstance(coordinates, list):
            reason = "it is missing" if coordinates is None else "it is not a list"
            remedy = "check the brackets, whose number depends on the geometry type"
            raise _GeometryError(json_path, reason, remedy)
        members = [(member, f"{json_path}[{number}]") for number, member in enumerate(coordinates)]
        if depth == 1:
            yield json_path, [self._parse_position(member, path) for member, path in members]
            return
        for member, path in members:
            yield from self._iterate_lines(member, depth - 1, path)

    def _parse_position(self, position: Any, json_path: str) -> Position:
        if type(position) is not list or len(position) != 2:
            reason = f"a position is a time and a frequency, not {json.dumps(position):.60}"
            raise _GeometryError(json_path, reason, "write two numbers in the form [time, frequency]")
        time: Any = parse_tfcat_time(position[0]) if self._system.iso else position[0]
        if not _is_number(time) or not _is_number(position[1]):
            reason = f"{json.dumps(position):.60} is not a pair of finite numbers"
            raise _GeometryError(json_path, reason, "write two finite numbers in the form [time, frequency]")
        return time, position[1]

    def _read_ring(self, json_path: str, ring: list[Position], *, is_hole: bool) -> None:
        if len(ring) < 4:
            reason = f"a ring needs at least four positions (the last repeats the first), but this ring has {len(ring)}"
            raise _GeometryError(json_path, reason, "write a LineString instead")
        if ring[0] != ring[-1]:
            reason = f"the ring does not close: it begins at {list(ring[0])} and ends at {list(ring[-1])}"
            raise _GeometryError(json_path, reason, "repeat the first position of the ring at its end")
        start, base = ring[0]
        moved = [(float(t - start), float(f - base)) for t, f in ring]
        area = sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(moved))
        if area == 0.0 and len(set(ring)) < 3:
            raise _GeometryError(json_path, "the ring has no area", "write a LineString instead")
        if (area > 0.0 and is_hole) or (area < 0.0 and not is_hole):
            raise _GeometryError(
                json_path,
                "the hole runs counter-clockwise" if is_hole else "the outline runs clockwise",
                "reverse the order of the positions; outlines run counter-clockwise, and holes run clockwise",
            )
        rings = self._feature.rings
        if is_hole:
            shell = rings[-1][0][-1]  # the outline begins and ends there
            time_shift = float(start - shell[0])
            frequency_shift = float(base - shell[1])
            rings[-1].append([(t + time_shift, f + frequency_shift) for t, f in moved])
        else:
            rings.append([[*moved, ring[0]]])


def add_crossing_faults(features: Sequence[TfcatFeature]) -> None:
    """Add faults to features with rings that cross themselves or others of their polygon, or with holes outside.

    Parameters
    ----------
    features
        Features without other faults.
    """
    polygons = [(feature, polygon) for feature in features for polygon in feature.rings]
    if not polygons:
        return
    import shapely  # noqa: PLC0415  (0.1 s)

    rings = []
    for _, polygon in polygons:
        rings.append(polygon[0][:-1])
        rings.extend(polygon[1:])
    xy = np.array([position for ring in rings for position in ring])
    ring_sizes = [len(ring) for ring in rings]
    indices = np.repeat(np.arange(len(rings)), ring_sizes)
    linear_rings = shapely.linearrings(xy, indices=indices)
    ring_counts = [len(polygon) for _, polygon in polygons]
    polygon_numbers = np.repeat(np.arange(len(polygons)), ring_counts)
    shapes = shapely.polygons(linear_rings, indices=polygon_numbers)
    wrong = np.flatnonzero(~shapely.is_valid(shapes))
    reasons = np.atleast_1d(shapely.is_valid_reason(shapes[wrong])).tolist()
    for number, reason in zip(wrong.tolist(), reasons, strict=True):
        if reason.startswith("Ring Self-intersection"):  # it touches itself
            continue
        feature, polygon = polygons[number]
        start, base = polygon[0][-1]
        location = re.search(r"\[(\S+) (\S+)\]", reason)
        place = ""
        if location is not None:
            time = start + float(location[1])
            frequency = base + float(location[2])
            place = f" at [{time!r}, {frequency!r}]"
        if reason.startswith("Self-intersection"):
            text = f"a ring crosses itself or another ring{place}"
        else:
            text = f"{reason.partition('[')[0]} (a ring is in a place that is not allowed){place}"
        remedy = "split the polygon into several polygons, and write them as a MultiPolygon"
        feature.add_fault("geometry.coordinates", text, remedy)


def _convert_feature_properties(
    properties: Any, raw: str, field_definitions: Mapping[str, Mapping[str, Any]], feature: TfcatFeature
) -> None:
    if properties is None:
        return
    if not isinstance(properties, dict):
        feature.add_fault("properties", "it is not an object", "write an object that maps names to values")
        return
    for name, value in properties.items():
        json_path = f"properties.{name:.60}"
        if name not in field_definitions:
            remedy = f"add {json.dumps(name[:60])} to the document's fields, with info, datatype and ucd"
            feature.add_fault(json_path, "no field describes the property", remedy)
            continue
        kind = field_definitions[name].get("datatype", "str")
        property_value = None
        if value is not None:
            property_value = _convert_property_value(value, kind)
        if property_value is None and value is not None:
            if isinstance(value, dict | list) and kind == "str":
                property_value = _find_member_text(raw, name)
            else:
                reason = f"{json.dumps(value):.60} is not of type {kind}"
                remedy = "write a value of this type, or change the datatype of the field"
                feature.add_fault(json_path, reason, remedy)
        feature.properties[name] = property_value


def _find_member_text(raw: str, name: str) -> str:
    """Return the text of a member of an object, without blanks."""
    texts = (text for key, _, text in iterate_json_members(raw) if key == name)
    return _WHITESPACE_PATTERN.sub(r"\1", next(texts))


def _convert_property_value(value: Any, datatype: str) -> Any:
    """Convert the value of a property to the datatype of its field; None if it has another type."""
    if datatype == "str":
        return _convert_to_text(value)
    if datatype == "bool":
        return _convert_to_bool(value)
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and len(value) < 400:
        value = _parse_number(value, datatype)
    if datatype == "int":
        is_integer = isinstance(value, int) and abs(value) < 2**63
        return value if is_integer else None
    if isinstance(value, int | float) and -_MAX_FLOAT <= value <= _MAX_FLOAT:
        return float(value)
    return None


def _convert_to_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return None
    return json.dumps(value)


def _convert_to_bool(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value)
    if isinstance(value, bool):
        return value
    return None


def _parse_number(text: str, datatype: str) -> int | float | None:
    """Parse a text as a number of a datatype; None if it is none."""
    if datatype == "int":
        if _INTEGER_PATTERN.fullmatch(text):
            return int(text)
        return None
    if _FLOAT_PATTERN.fullmatch(text):
        return float(text)
    return None
