"""TFCat 1.0: features, read and judged; and by which words a table says what is what in it."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._tfcat_crs import TfcatCrs, TfcatFault, check_fields, parse_crs, parse_time, to_julian_dates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "CRS_UTYPE",
    "DERIVED_UTYPE",
    "GEOMETRY_UTYPE",
    "ID_UTYPE",
    "PROPERTIES_UTYPE",
    "SCHEMA_URL",
    "TfcatCrs",
    "TfcatFault",
    "TfcatFeature",
    "check_fields",
    "find_crossings",
    "parse_crs",
    "parse_time",
    "read_feature",
    "to_julian_dates",
]

SCHEMA_URL = "https://voparis-ns.obspm.fr/maser/tfcat/v1.0/schema#"
GEOMETRY_UTYPE, CRS_UTYPE, ID_UTYPE, PROPERTIES_UTYPE, DERIVED_UTYPE = (
    f"tfcat:{word}" for word in ("geometry", "crs", "id", "properties", "derived")
)
"""Utypes by which columns and constants of a table say what they are of a TFCat document.

`DERIVED` follows from the geometry.
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
_INTEGER_PATTERN, _FLOAT_PATTERN = (
    re.compile(r"[+-]?\d+", re.ASCII),
    re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII),
)
_MAX_FLOAT = float(np.finfo(np.float64).max)
_DECODER = json.JSONDecoder()


@dataclass(slots=True)
class TfcatFeature:
    """A feature that was read.

    Attributes
    ----------
    id
        As it stands there; None: it has none.
    kind
        Of its geometry.
    geometry
        The text of its geometry, without blanks, number by number as it stands there.
    times, spectrum
        Least and greatest of its positions; NaN: it has none, and no fault.
    properties
        By name; texts of what is no single value.
    faults
        What is wrong; the rest is not complete then.
    rings
        Its polygons, for `find_crossings`: outline and holes.
    """

    id: str | float | None = None
    kind: str = ""
    geometry: str = ""
    times: tuple[float, float] = (0.0, 0.0)
    spectrum: tuple[float, float] = (0.0, 0.0)
    properties: dict[str, Any] = field(default_factory=dict)
    faults: list[TfcatFault] = field(default_factory=list)
    rings: list[list[list[tuple[float, float]]]] = field(default_factory=list)


class _GeometryError(ValueError):
    """A fault of a geometry: path, reason, remedy."""


def iterate_members(text: str, position: int = 0) -> Iterator[tuple[str, Any, str]]:
    """Read the members of a JSON object.

    Parameters
    ----------
    text
        With the object, and blanks around it.
    position
        Where it begins.

    Yields
    ------
    name, value, raw
        Of each: its name, what it is, and its own text.

    Raises
    ------
    JSONDecodeError
        It is no object, or no JSON.
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


def read_feature(text: str, system: TfcatCrs, field_definitions: Mapping[str, Mapping[str, Any]]) -> TfcatFeature:
    """Read a feature, and judge it.

    Parameters
    ----------
    text
        Its JSON.
    system
        The document's reference system.
    field_definitions
        The document's fields.

    Returns
    -------
    feature
        With its faults; `find_crossings` finds those that are left.
    """
    feature = TfcatFeature()
    members_by_name: dict[str, tuple[Any, str]] = {}
    try:
        for name, value, raw in iterate_members(text):
            if name in members_by_name:
                feature.faults.append(TfcatFault(f"{name:.60}", "it stands there twice", "leave one out"))
            members_by_name[name] = value, raw
    except RecursionError:
        return TfcatFeature(faults=[TfcatFault("", "it is nested too deeply", "look at its brackets")])
    except ValueError as error:
        if isinstance(error, json.JSONDecodeError):
            error_text = f": {error.msg}, character {error.pos + 1:,}"
        else:
            error_text = f": {error}"
        faults = [TfcatFault("", f"it is no JSON{error_text}", "look at the file there")]
        return TfcatFeature(faults=faults)
    kind = members_by_name.get("type", (None, ""))[0]
    if kind != "Feature":
        feature.faults.append(
            TfcatFault("type", f"{kind!r:.60} stands where a Feature does", 'write "type": "Feature"')
        )
    feature.id = members_by_name.get("id", (None, ""))[0]
    if feature.id is not None and (isinstance(feature.id, bool) or not isinstance(feature.id, str | int | float)):
        feature.faults.append(
            TfcatFault("id", "it is no text and no number", "a name or a number, another one for each feature")
        )
        feature.id = None
    _read_properties(
        members_by_name.get("properties", ({}, "{}"))[0],
        members_by_name.get("properties", ({}, "{}"))[1],
        field_definitions,
        feature,
    )
    box = members_by_name.get("bbox", (None, ""))[0]
    if box is not None and not (
        isinstance(box, list) and len(box) == 4 and (system.iso or all(_is_number(number) for number in box))
    ):
        feature.faults.append(
            TfcatFault(
                "bbox",
                "it is no list of four numbers",
                "[time, frequency, time, frequency], least and greatest; or leave it out",
            )
        )
    geometry, raw = members_by_name.get("geometry", (None, ""))
    feature.geometry = _WHITESPACE_PATTERN.sub(r"\1", raw)
    try:
        places: list[tuple[float, float]] = []
        _check_geometry(geometry, "geometry", system, feature, places, 0)
        if places:
            t = [place[0] for place in places]
            f = [place[1] for place in places]
            feature.times = (min(t), max(t))
            feature.spectrum = (min(f), max(f))
        elif feature.kind == "GeometryCollection":  # an empty one: it has no place (RFC 7946, 3.1.8)
            feature.times = feature.spectrum = (math.nan, math.nan)
        else:
            feature.faults.append(TfcatFault("geometry", "it has no position", "leave the feature out"))
    except _GeometryError as error:
        feature.faults.append(TfcatFault(*error.args))
    try:
        feature.geometry.encode()
        json.dumps([feature.id, feature.properties], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        feature.faults.append(
            TfcatFault("", "it holds half of a surrogate pair, which is no character", "write the character itself")
        )
    return feature


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e300  # type: ignore[arg-type]


def _check_geometry(
    geometry: Any,
    json_path: str,
    system: TfcatCrs,
    feature: TfcatFeature,
    positions: list[tuple[float, float]],
    depth: int,
) -> None:
    if isinstance(geometry, dict):
        kind = geometry.get("type")
    else:
        kind = None
    if not isinstance(kind, str) or kind not in GEOMETRY_TYPES:
        if geometry is None:
            raise _GeometryError(json_path, "it is missing", "a feature has a place in time and frequency")
        raise _GeometryError(
            f"{json_path}.type", f"{kind!r:.60} is no geometry of TFCat", f"one of {', '.join(GEOMETRY_TYPES)}"
        )
    if geometry.get("crs") is not None and parse_crs(geometry["crs"])[0] != system:
        raise _GeometryError(
            f"{json_path}.crs", "it is not that of the document", "one reference system for all features of a document"
        )
    if depth == 0:
        feature.kind = kind
    if kind == "GeometryCollection":
        inner = geometry.get("geometries")
        if not isinstance(inner, list):
            raise _GeometryError(
                f"{json_path}.geometries",
                "they are missing" if inner is None else "it is no list",
                "a list of geometries",
            )
        if depth == MAX_COLLECTION_DEPTH:
            raise _GeometryError(
                "geometry",
                f"collections lie more than {MAX_COLLECTION_DEPTH} deep in one another",
                "put their geometries into one",
            )
        for number, member in enumerate(inner):
            _check_geometry(member, f"{json_path}.geometries[{number}]", system, feature, positions, depth + 1)
        return
    json_path += ".coordinates"
    for path, line in _iterate_position_lists(geometry.get("coordinates"), COORDINATE_DEPTHS[kind], json_path, system):
        positions += line
        if kind.endswith("LineString") and len(line) < 2:
            raise _GeometryError(path, f"a line has two positions at least, not {len(line)}", "make it a Point")
        if kind.endswith("Polygon"):
            _check_ring(path, line, feature, hole=not path.endswith("[0]"))


def _iterate_position_lists(
    coordinates: Any, depth: int, json_path: str, system: TfcatCrs
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Yield lists of positions with their paths: a position, or several, is a list of its own."""
    if depth == 0:
        yield json_path, [_read_position(coordinates, json_path, system)]
        return
    if not isinstance(coordinates, list):
        raise _GeometryError(
            json_path,
            "it is missing" if coordinates is None else "it is no list",
            "look at the brackets: their number says which kind it is",
        )
    if depth == 1:
        yield (
            json_path,
            [_read_position(member, f"{json_path}[{number}]", system) for number, member in enumerate(coordinates)],
        )
        return
    for number, member in enumerate(coordinates):
        yield from _iterate_position_lists(member, depth - 1, f"{json_path}[{number}]", system)


def _read_position(position: Any, json_path: str, system: TfcatCrs) -> tuple[float, float]:
    if type(position) is not list or len(position) != 2:
        raise _GeometryError(
            json_path,
            f"a position is a time and a frequency, not {json.dumps(position):.60}",
            "[time, frequency]: two numbers",
        )
    time: Any = parse_time(position[0]) if system.iso else position[0]
    if not _is_number(time) or not _is_number(position[1]):
        raise _GeometryError(
            json_path, f"{json.dumps(position):.60} are no two numbers", "[time, frequency]: two finite numbers"
        )
    return time, position[1]


def _check_ring(json_path: str, ring: list[tuple[float, float]], feature: TfcatFeature, *, hole: bool) -> None:
    if len(ring) < 4:
        raise _GeometryError(
            json_path,
            f"a ring has four positions at least, the first one again at its end, not {len(ring)}",
            "make it a LineString",
        )
    if ring[0] != ring[-1]:
        raise _GeometryError(
            json_path,
            f"the ring does not close: it begins at {list(ring[0])} and ends at {list(ring[-1])}",
            "repeat its first position at its end",
        )
    start, base = ring[0]
    moved = [(float(t - start), float(f - base)) for t, f in ring]
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(moved))
    if area == 0.0 and len(set(ring)) < 3:
        raise _GeometryError(json_path, "the ring has no area", "make it a LineString")
    if area < 0.0 and not hole:
        raise _GeometryError(
            json_path,
            "the outline runs clockwise",
            "turn its positions round: outlines run counter-clockwise, holes clockwise",
        )
    if area > 0.0 and hole:
        raise _GeometryError(
            json_path,
            "the hole runs counter-clockwise",
            "turn its positions round: outlines run counter-clockwise, holes clockwise",
        )
    if hole:
        shell = feature.rings[-1][0][-1]  # where the outline begins, which is where it ends
        time_shift = float(start - shell[0])
        frequency_shift = float(base - shell[1])
        feature.rings[-1].append([(t + time_shift, f + frequency_shift) for t, f in moved])
    else:
        feature.rings.append([[*moved, ring[0]]])


def find_crossings(features: Sequence[TfcatFeature]) -> None:
    """Find rings that cross themselves or others of their polygon, and holes outside.

    The features have these faults then, too.

    Parameters
    ----------
    features
        Without other faults.
    """
    polygons = [(feature, polygon) for feature in features for polygon in feature.rings]
    if not polygons:
        return
    import shapely  # noqa: PLC0415  (0.1 s)

    rings = [ring if number else ring[:-1] for _, polygon in polygons for number, ring in enumerate(polygon)]
    xy = np.array([place for ring in rings for place in ring])
    indices = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    linear_rings = shapely.linearrings(xy, indices=indices)
    shapes = shapely.polygons(
        linear_rings, indices=np.repeat(np.arange(len(polygons)), [len(polygon) for _, polygon in polygons])
    )
    wrong = np.flatnonzero(~shapely.is_valid(shapes))
    for at, reason in zip(wrong.tolist(), np.atleast_1d(shapely.is_valid_reason(shapes[wrong])).tolist(), strict=True):
        if reason.startswith("Ring Self-intersection"):  # it touches itself
            continue
        feature, polygon = polygons[at]
        start, base = polygon[0][-1]
        location = re.search(r"\[(\S+) (\S+)\]", reason)
        if location is None:
            place = ""
        else:
            place = f" at [{start + float(location[1])!r}, {base + float(location[2])!r}]"
        crosses = reason.startswith("Self-intersection")
        if crosses:
            text = f"a ring crosses itself or another one{place}"
        else:
            text = f"{reason.partition('[')[0]} (a ring lies where it must not){place}"
        feature.faults.append(TfcatFault("geometry.coordinates", text, "make parts of it: a MultiPolygon"))


def _read_properties(
    properties: Any, raw: str, field_definitions: Mapping[str, Mapping[str, Any]], feature: TfcatFeature
) -> None:
    if properties is None:
        return
    if not isinstance(properties, dict):
        feature.faults.append(TfcatFault("properties", "it is no object", "an object: name -> value"))
        return
    for name, value in properties.items():
        json_path = f"properties.{name:.60}"
        if name not in field_definitions:
            feature.faults.append(
                TfcatFault(
                    json_path,
                    "no field describes it",
                    f"add {json.dumps(name[:60])} to the document's fields: info, datatype, ucd",
                )
            )
            continue
        kind = field_definitions[name].get("datatype", "str")
        if value is None:
            read = None
        else:
            read = _convert_value(value, kind)
        if read is None and value is not None:
            if isinstance(value, dict | list) and kind == "str":
                read = next(
                    _WHITESPACE_PATTERN.sub(r"\1", text) for key, _, text in iterate_members(raw) if key == name
                )
            else:
                feature.faults.append(
                    TfcatFault(
                        json_path,
                        f"{json.dumps(value):.60} is no {kind}",
                        "write such a value, or another datatype into the field",
                    )
                )
        feature.properties[name] = read


def _convert_value(value: Any, datatype: str) -> Any:
    """Return the value of a property as its field says; None: it is none."""
    if datatype == "str":
        if isinstance(value, str):
            return value
        if isinstance(value, dict | list):
            return None
        return json.dumps(value)
    if datatype == "bool":
        if isinstance(value, str):
            return {"true": True, "false": False}.get(value)
        if isinstance(value, bool):
            return value
        return None
    if isinstance(value, bool):
        return None
    if (
        isinstance(value, str)
        and (_INTEGER_PATTERN if datatype == "int" else _FLOAT_PATTERN).fullmatch(value)
        and len(value) < 400
    ):
        if datatype == "int":
            value = int(value)
        else:
            value = float(value)
    if datatype == "int":
        if isinstance(value, int) and abs(value) < 2**63:
            return value
        return None
    if isinstance(value, int | float) and -_MAX_FLOAT <= value <= _MAX_FLOAT:
        return float(value)
    return None
