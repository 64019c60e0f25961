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

from hven.model.sky._tfcat_crs import Crs, Fault, crs, fields, julian, moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "CRS", "DERIVED", "GEOMETRY", "ID", "PROPERTIES", "SCHEMA", "Crs", "Fault", "Feature", "crossings", "crs", "feature", "fields", "julian", "moment",
]  # fmt: skip

SCHEMA = "https://voparis-ns.obspm.fr/maser/tfcat/v1.0/schema#"
GEOMETRY, CRS, ID, PROPERTIES, DERIVED = (
    f"tfcat:{word}" for word in ("geometry", "crs", "id", "properties", "derived")
)
"""Utypes by which columns and constants of a table say what they are of a TFCat document; `DERIVED` follows from the geometry."""
DEPTHS = {"Point": 0, "MultiPoint": 1, "LineString": 1, "MultiLineString": 2, "Polygon": 2, "MultiPolygon": 3}
KINDS = (*DEPTHS, "GeometryCollection")
DEEPEST = 8  # collections within collections
_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|\s+')
_BLANK = re.compile(r"[ \t\n\r]*")
_INT, _FLOAT = re.compile(r"[+-]?\d+", re.ASCII), re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_HUGE = float(np.finfo(np.float64).max)
_decoder = json.JSONDecoder()


@dataclass(slots=True)
class Feature:
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
        Its polygons, for `crossings`: outline and holes.
    """

    id: str | float | None = None
    kind: str = ""
    geometry: str = ""
    times: tuple[float, float] = (0.0, 0.0)
    spectrum: tuple[float, float] = (0.0, 0.0)
    properties: dict[str, Any] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    rings: list[list[list[tuple[float, float]]]] = field(default_factory=list)


class _Wrong(ValueError):
    """A fault of a geometry: path, reason, remedy."""


def members(text: str, at: int = 0) -> Iterator[tuple[str, Any, str]]:
    """Read the members of a JSON object.

    Parameters
    ----------
    text
        With the object, and blanks around it.
    at
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
    at = _blank(text, at)
    if text[at : at + 1] != "{":
        raise json.JSONDecodeError("Expecting an object", text, at)
    at = _blank(text, at + 1)
    if text[at : at + 1] == "}":
        return
    while True:
        if text[at : at + 1] != '"':
            raise json.JSONDecodeError("Expecting a name in quotes", text, at)
        name, at = scanstring(text, at + 1)
        at = _blank(text, at)
        if text[at : at + 1] != ":":
            raise json.JSONDecodeError("Expecting ':'", text, at)
        start = _blank(text, at + 1)
        value, end = _decoder.raw_decode(text, start)
        yield name, value, text[start:end]
        at = _blank(text, end)
        if text[at : at + 1] != ",":
            if text[at : at + 1] != "}" or text[at + 1 :].strip(" \t\n\r"):
                raise json.JSONDecodeError("Expecting ',' or '}'", text, at)
            return
        at = _blank(text, at + 1)


def _blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found is not None else at


def feature(text: str, system: Crs, known: Mapping[str, Mapping[str, Any]]) -> Feature:
    """Read a feature, and judge it.

    Parameters
    ----------
    text
        Its JSON.
    system
        The document's reference system.
    known
        The document's fields.

    Returns
    -------
    feature
        With its faults; `crossings` finds those that are left.
    """
    made = Feature()
    said: dict[str, tuple[Any, str]] = {}
    try:
        for name, value, raw in members(text):
            if name in said:
                made.faults.append(Fault(f"{name:.60}", "it stands there twice", "leave one out"))
            said[name] = value, raw
    except RecursionError:
        return Feature(faults=[Fault("", "it is nested too deeply", "look at its brackets")])
    except ValueError as error:
        where = (
            f": {error.msg}, character {error.pos + 1:,}" if isinstance(error, json.JSONDecodeError) else f": {error}"
        )
        return Feature(faults=[Fault("", f"it is no JSON{where}", "look at the file there")])
    kind = said.get("type", (None, ""))[0]
    if kind != "Feature":
        made.faults.append(Fault("type", f"{kind!r:.60} stands where a Feature does", 'write "type": "Feature"'))
    made.id = said.get("id", (None, ""))[0]
    if made.id is not None and (isinstance(made.id, bool) or not isinstance(made.id, str | int | float)):
        made.faults.append(
            Fault("id", "it is no text and no number", "a name or a number, another one for each feature")
        )
        made.id = None
    _properties(said.get("properties", ({}, "{}"))[0], said.get("properties", ({}, "{}"))[1], known, made)
    box = said.get("bbox", (None, ""))[0]
    if box is not None and not (
        isinstance(box, list) and len(box) == 4 and (system.iso or all(_number(one) for one in box))
    ):
        made.faults.append(
            Fault(
                "bbox",
                "it is no list of four numbers",
                "[time, frequency, time, frequency], least and greatest; or leave it out",
            )
        )
    geometry, raw = said.get("geometry", (None, ""))
    made.geometry = _SPACE.sub(r"\1", raw)
    try:
        places: list[tuple[float, float]] = []
        _geometry(geometry, "geometry", system, made, places, 0)
        if places:
            t, f = [place[0] for place in places], [place[1] for place in places]
            made.times, made.spectrum = (min(t), max(t)), (min(f), max(f))
        elif made.kind == "GeometryCollection":  # an empty one: it has no place (RFC 7946, 3.1.8)
            made.times = made.spectrum = (math.nan, math.nan)
        else:
            made.faults.append(Fault("geometry", "it has no position", "leave the feature out"))
    except _Wrong as error:
        made.faults.append(Fault(*error.args))
    try:
        made.geometry.encode()
        json.dumps([made.id, made.properties], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        made.faults.append(
            Fault("", "it holds half of a surrogate pair, which is no character", "write the character itself")
        )
    return made


def _number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e300  # type: ignore[arg-type]


def _geometry(said: Any, where: str, system: Crs, made: Feature, places: list[tuple[float, float]], depth: int) -> None:
    kind = said.get("type") if isinstance(said, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        if said is None:
            raise _Wrong(where, "it is missing", "a feature has a place in time and frequency")
        raise _Wrong(f"{where}.type", f"{kind!r:.60} is no geometry of TFCat", f"one of {', '.join(KINDS)}")
    if said.get("crs") is not None and crs(said["crs"])[0] != system:
        raise _Wrong(
            f"{where}.crs", "it is not that of the document", "one reference system for all features of a document"
        )
    if depth == 0:
        made.kind = kind
    if kind == "GeometryCollection":
        inner = said.get("geometries")
        if not isinstance(inner, list):
            raise _Wrong(
                f"{where}.geometries", "they are missing" if inner is None else "it is no list", "a list of geometries"
            )
        if depth == DEEPEST:
            raise _Wrong(
                "geometry", f"collections lie more than {DEEPEST} deep in one another", "put their geometries into one"
            )
        for number, one in enumerate(inner):
            _geometry(one, f"{where}.geometries[{number}]", system, made, places, depth + 1)
        return
    where += ".coordinates"
    for path, line in _lines(said.get("coordinates"), DEPTHS[kind], where, system):
        places += line
        if kind.endswith("LineString") and len(line) < 2:
            raise _Wrong(path, f"a line has two positions at least, not {len(line)}", "make it a Point")
        if kind.endswith("Polygon"):
            _ring(path, line, made, hole=not path.endswith("[0]"))


def _lines(said: Any, depth: int, where: str, system: Crs) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Yield lists of positions with their paths: a position, or several, is a list of its own."""
    if depth == 0:
        yield where, [_position(said, where, system)]
        return
    if not isinstance(said, list):
        raise _Wrong(
            where,
            "it is missing" if said is None else "it is no list",
            "look at the brackets: their number says which kind it is",
        )
    if depth == 1:
        yield where, [_position(one, f"{where}[{number}]", system) for number, one in enumerate(said)]
        return
    for number, one in enumerate(said):
        yield from _lines(one, depth - 1, f"{where}[{number}]", system)


def _position(said: Any, where: str, system: Crs) -> tuple[float, float]:
    if type(said) is not list or len(said) != 2:
        raise _Wrong(
            where, f"a position is a time and a frequency, not {json.dumps(said):.60}", "[time, frequency]: two numbers"
        )
    time: Any = moment(said[0]) if system.iso else said[0]
    if not _number(time) or not _number(said[1]):
        raise _Wrong(where, f"{json.dumps(said):.60} are no two numbers", "[time, frequency]: two finite numbers")
    return time, said[1]


def _ring(where: str, ring: list[tuple[float, float]], made: Feature, *, hole: bool) -> None:
    if len(ring) < 4:
        raise _Wrong(
            where,
            f"a ring has four positions at least, the first one again at its end, not {len(ring)}",
            "make it a LineString",
        )
    if ring[0] != ring[-1]:
        raise _Wrong(
            where,
            f"the ring does not close: it begins at {list(ring[0])} and ends at {list(ring[-1])}",
            "repeat its first position at its end",
        )
    start, base = ring[0]
    moved = [(float(t - start), float(f - base)) for t, f in ring]
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(moved))
    if area == 0.0 and len(set(ring)) < 3:
        raise _Wrong(where, "the ring has no area", "make it a LineString")
    if area < 0.0 and not hole:
        raise _Wrong(
            where,
            "the outline runs clockwise",
            "turn its positions round: outlines run counter-clockwise, holes clockwise",
        )
    if area > 0.0 and hole:
        raise _Wrong(
            where,
            "the hole runs counter-clockwise",
            "turn its positions round: outlines run counter-clockwise, holes clockwise",
        )
    if hole:
        shell = made.rings[-1][0][-1]  # where the outline begins, which is where it ends
        more, up = float(start - shell[0]), float(base - shell[1])
        made.rings[-1].append([(t + more, f + up) for t, f in moved])
    else:
        made.rings.append([[*moved, ring[0]]])


def crossings(features: Sequence[Feature]) -> None:
    """Find rings that cross themselves or others of their polygon, and holes outside; the features have these faults then, too.

    Parameters
    ----------
    features
        Without other faults.
    """
    given = [(one, polygon) for one in features for polygon in one.rings]
    if not given:
        return
    import shapely  # noqa: PLC0415  (0.1 s)

    rings = [ring if number else ring[:-1] for _, polygon in given for number, ring in enumerate(polygon)]
    xy = np.array([place for ring in rings for place in ring])
    made = shapely.linearrings(xy, indices=np.repeat(np.arange(len(rings)), [len(ring) for ring in rings]))
    shapes = shapely.polygons(made, indices=np.repeat(np.arange(len(given)), [len(polygon) for _, polygon in given]))
    wrong = np.flatnonzero(~shapely.is_valid(shapes))
    for at, why in zip(wrong.tolist(), np.atleast_1d(shapely.is_valid_reason(shapes[wrong])).tolist(), strict=True):
        if why.startswith("Ring Self-intersection"):  # it touches itself
            continue
        one, polygon = given[at]
        start, base = polygon[0][-1]
        found = re.search(r"\[(\S+) (\S+)\]", why)
        place = "" if found is None else f" at [{start + float(found[1])!r}, {base + float(found[2])!r}]"
        crosses = why.startswith("Self-intersection")
        text = (
            f"a ring crosses itself or another one{place}"
            if crosses
            else f"{why.partition('[')[0]} (a ring lies where it must not){place}"
        )
        one.faults.append(Fault("geometry.coordinates", text, "make parts of it: a MultiPolygon"))


def _properties(said: Any, raw: str, known: Mapping[str, Mapping[str, Any]], made: Feature) -> None:
    if said is None:
        return
    if not isinstance(said, dict):
        made.faults.append(Fault("properties", "it is no object", "an object: name -> value"))
        return
    for name, value in said.items():
        where = f"properties.{name:.60}"
        if name not in known:
            made.faults.append(
                Fault(
                    where,
                    "no field describes it",
                    f"add {json.dumps(name[:60])} to the document's fields: info, datatype, ucd",
                )
            )
            continue
        kind = known[name].get("datatype", "str")
        read = None if value is None else _value(value, kind)
        if read is None and value is not None:
            if isinstance(value, dict | list) and kind == "str":
                read = next(_SPACE.sub(r"\1", text) for key, _, text in members(raw) if key == name)
            else:
                made.faults.append(
                    Fault(
                        where,
                        f"{json.dumps(value):.60} is no {kind}",
                        "write such a value, or another datatype into the field",
                    )
                )
        made.properties[name] = read


def _value(value: Any, kind: str) -> Any:
    """Return the value of a property as its field says; None: it is none."""
    if kind == "str":
        return value if isinstance(value, str) else None if isinstance(value, dict | list) else json.dumps(value)
    if kind == "bool":
        return (
            {"true": True, "false": False}.get(value)
            if isinstance(value, str)
            else value
            if isinstance(value, bool)
            else None
        )
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and (_INT if kind == "int" else _FLOAT).fullmatch(value) and len(value) < 400:
        value = int(value) if kind == "int" else float(value)
    if kind == "int":
        return value if isinstance(value, int) and abs(value) < 2**63 else None
    return float(value) if isinstance(value, int | float) and -_HUGE <= value <= _HUGE else None
