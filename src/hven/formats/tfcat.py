"""TFCat 1.0: a feature for each row, whose place in time and frequency is its geometry, or the box of its ranges; the other columns are its properties."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats import Format
from hven.formats._json_cells import cells, document
from hven.model import literal
from hven.model.sky import region_files
from hven.model.table import JD, MJD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.formats import End, Head
    from hven.model.table import Column

tfcat = region_files.tfcat

_RANGES = (
    ("time_min", "time_max", "spectral_range_min", "spectral_range_max"),
    ("t_min", "t_max", "em_min", "em_max"),
)  # of EPN-TAP, and of ObsCore
_SPECTRA = {"Hz": "frequency", "m": "wavelength"}
_NOWHERE = '{"type":"GeometryCollection","geometries":[]}'


class _Place(NamedTuple):
    """Where features get their geometries from: one column, or four, or none; and the crs of these."""

    geometry: int | None
    box: tuple[int, int, int, int] | None
    crs: Mapping[str, Any]


def write(
    head: Head,
    batches: Iterator[pa.RecordBatch],
    end: Callable[[], End],
    options: Mapping[str, str],  # noqa: ARG001
) -> Iterator[bytes]:
    """Write ``{"type": "FeatureCollection", "crs": .., "fields": .., "features": [...], "properties": ..}``.

    The geometry is the column that the table's source or descriptor names as such (utype ``tfcat:geometry``), in the numbers that it has; without
    one, the box of times and frequencies of EPN-TAP or ObsCore; of a row without either an empty collection of geometries. A status that is not OK stands among the properties.
    """
    columns = head.columns
    place = _place(head)
    named = next((number for number, column in enumerate(columns) if column.utype == tfcat.ID), None)
    shown = [
        number
        for number, column in enumerate(columns)
        if number not in {named, place.geometry} and column.utype not in {tfcat.DERIVED, tfcat.GEOMETRY, tfcat.ID}
    ]
    said = _constant(head, tfcat.PROPERTIES) or {}
    start = {
        "type": "FeatureCollection",
        "$schema": tfcat.SCHEMA,
        "crs": place.crs,
        "fields": {columns[number].name: _field(columns[number], head.enums) for number in shown},
    }
    yield from document(
        json.dumps(start, ensure_ascii=False)[:-1].encode() + b',"features":[',
        batches,
        len(columns),
        lambda part: _features(part, columns, shown, named, place),
        end,
        between=2,
        closing=lambda status: {"properties": said if status == {"status": "OK"} else {**said, **status}},
    )


def _constant(head: Head, utype: str) -> dict[str, Any] | None:
    """Read a constant of the table that is an object."""
    for one, value in head.params:
        if one.utype == utype and isinstance(value, str):
            try:
                found = json.loads(value)
            except ValueError:
                continue
            return found if isinstance(found, dict) else None
    return None


def _place(head: Head) -> _Place:
    """Find the column of geometries, or those of ranges."""
    geometry = next((number for number, one in enumerate(head.columns) if one.utype == tfcat.GEOMETRY), None)
    crs = _constant(head, tfcat.CRS)
    if geometry is not None and crs is not None:
        return _Place(geometry, None, crs)
    names = [column.name.lower() for column in head.columns]
    for four in _RANGES:
        if set(four) <= set(names):
            start, stop, low, high = (names.index(name) for name in four)
            box = start, stop, low, high
            time, spectrum = head.columns[box[0]], head.columns[box[2]]
            scale = {JD: "jd", MJD: "mjd"}.get(time.epoch) if time.epoch is not None else None
            if scale is not None and spectrum.unit in _SPECTRA:
                frame = next((one for one in head.frames if one.id == time.frame), None)
                return _Place(None, box, _crs(scale, spectrum.unit, frame.refposition if frame is not None else None))
    return _Place(None, None, _crs("jd", "Hz", None))


def _crs(times: str, unit: str, position: str | None) -> dict[str, Any]:
    spectrum = {"type": _SPECTRA[unit], "unit": unit}
    said = {"name": "Time-Frequency", "time_coords_id": times, "spectral_coords": spectrum}
    return {"type": "local", "properties": {**said, "ref_position_id": position or "GEOCENTER"}}


def _field(column: Column, enums: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "info": column.description or "",
        "datatype": _datatype(column),
        "ucd": column.ucd or "",
    }
    if column.unit:
        said["unit"] = column.unit
    if column.enum is not None and column.enum in enums:
        said["values"] = dict(enums[column.enum])
    return said


def _datatype(column: Column) -> str:
    storage = column.type.arrow
    if column.type.is_timestamp or column.type.datatype == "bit":
        return "str" if column.type.is_timestamp else "int"
    if pa.types.is_boolean(storage):
        return "bool"
    if pa.types.is_integer(storage):
        return "int"
    return "float" if pa.types.is_floating(storage) else "str"


def _features(
    part: pa.RecordBatch, columns: Sequence[Column], shown: Sequence[int], named: int | None, place: _Place
) -> pa.Array:
    said: list[pa.Array | str] = []
    for number in shown:
        column = columns[number]
        value = cells(literal.storage(part.column(number), column.type), column.type)
        if pa.types.is_nested(column.type.arrow):  # a list is a text, for there are no others
            value = pc.if_else(pc.equal(value, "null"), value, literal.json_strings(value))
        said.append(literal.joined(json.dumps(column.name, ensure_ascii=False) + ":", value))
    properties = literal.joined(*said, between=",") if said else pa.array([""] * part.num_rows)
    if place.geometry is not None:
        geometry = part.column(place.geometry).cast(pa.string())
    elif place.box is not None:
        geometry = _boxes(*(_numbers(part.column(number)) for number in place.box))
    else:
        geometry = pa.nulls(part.num_rows, pa.string())
    names = pa.array([""] * part.num_rows)
    if named is not None:
        names = literal.joined(
            '"id":', cells(literal.storage(part.column(named), columns[named].type), columns[named].type), ","
        )
        names = pc.if_else(part.column(named).is_valid(), names, "")
    return literal.joined(
        ',\n{"type":"Feature",', names, '"geometry":', literal.filled(geometry, _NOWHERE), ',"properties":{', properties, "}}"
    )  # fmt: skip


def _numbers(array: pa.Array) -> pa.Array:
    values = array.cast(pa.float64())
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, pa.float64()))


def _boxes(start: pa.Array, stop: pa.Array, low: pa.Array, high: pa.Array) -> pa.Array:
    """Draw ranges: boxes, lines where one of them has no width, points; null without one."""
    stop, high = pc.coalesce(stop, start), pc.coalesce(high, low)
    start, low = pc.coalesce(start, stop), pc.coalesce(low, high)
    t, u, f, g = (one.cast(pa.string()) for one in (start, stop, low, high))
    point = literal.joined('{"type":"Point","coordinates":[', t, ",", f, "]}")
    line = literal.joined('{"type":"LineString","coordinates":[[', t, ",", f, "],[", u, ",", g, "]]}")
    box = literal.joined(
        '{"type":"Polygon","coordinates":[[[', t, ",", f, "],[", u, ",", f, "],[", u, ",", g, "],[", t, ",", g, "],[", t, ",", f, "]]]}"
    )  # fmt: skip
    flat = [np.asarray(pc.fill_null(pc.equal(a, b), fill_value=True)) for a, b in ((start, stop), (low, high))]
    return pc.if_else(pa.array(flat[0] & flat[1]), point, pc.if_else(pa.array(flat[0] | flat[1]), line, box))


def write_error(message: str) -> bytes:
    """Write an error document."""
    return json.dumps({"status": "ERROR", "message": message}, ensure_ascii=False).encode() + b"\n"


FORMAT = Format(
    name="tfcat",
    title="TFCat",
    menu_rank=10,
    media_types=("application/x-tfcat+json",),
    extension="tfcat",
    content_type="application/json",
    write=write,
    write_error=write_error,
)
