"""TFCat 1.0: a feature for each row, whose place in time and frequency is its geometry, or the box of its ranges.

The other columns are its properties.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats import Format
from hven.formats._json_cells import write_document, write_json_cells
from hven.model import literal
from hven.model.sky import region_files
from hven.model.table import JD_EPOCH, MJD_EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.formats import ResultStatus, TableMetadata
    from hven.model.table import Column

tfcat = region_files.tfcat

_RANGE_COLUMNS = (
    ("time_min", "time_max", "spectral_range_min", "spectral_range_max"),
    ("t_min", "t_max", "em_min", "em_max"),
)  # of EPN-TAP, and of ObsCore
_SPECTRAL_TYPES = {"Hz": "frequency", "m": "wavelength"}
_EMPTY_GEOMETRY = '{"type":"GeometryCollection","geometries":[]}'


class _GeometrySource(NamedTuple):
    """Where features get their geometries from: one column, or four, or none; and the crs of these."""

    geometry: int | None
    box: tuple[int, int, int, int] | None
    crs: Mapping[str, Any]


def write_tfcat(
    metadata: TableMetadata,
    batches: Iterator[pa.RecordBatch],
    finish: Callable[[], ResultStatus],
    options: Mapping[str, str],  # noqa: ARG001
) -> Iterator[bytes]:
    """Write ``{"type": "FeatureCollection", "crs": .., "fields": .., "features": [...], "properties": ..}``.

    The geometry is the column that the table's source or descriptor names as such (utype ``tfcat:geometry``), in the
    numbers that it has; without one, the box of times and frequencies of EPN-TAP or ObsCore; of a row without either an
    empty collection of geometries. A status that is not OK stands among the properties.
    """
    columns = metadata.columns
    geometry_source = _find_geometry_source(metadata)
    id_column = next((number for number, column in enumerate(columns) if column.utype == tfcat.ID_UTYPE), None)
    property_columns = [
        number
        for number, column in enumerate(columns)
        if number not in {id_column, geometry_source.geometry}
        and column.utype not in {tfcat.DERIVED_UTYPE, tfcat.GEOMETRY_UTYPE, tfcat.ID_UTYPE}
    ]
    table_properties = _read_constant(metadata, tfcat.PROPERTIES_UTYPE) or {}
    start = {
        "type": "FeatureCollection",
        "$schema": tfcat.SCHEMA_URL,
        "crs": geometry_source.crs,
        "fields": {
            columns[number].name: _describe_field(columns[number], metadata.enums) for number in property_columns
        },
    }
    yield from write_document(
        json.dumps(start, ensure_ascii=False)[:-1].encode() + b',"features":[',
        batches,
        len(columns),
        lambda part: _write_features(part, columns, property_columns, id_column, geometry_source),
        finish,
        separator_bytes=2,
        build_closing_members=lambda status: {
            "properties": table_properties if status == {"status": "OK"} else {**table_properties, **status}
        },
    )


def _read_constant(metadata: TableMetadata, utype: str) -> dict[str, Any] | None:
    """Read a constant of the table that is an object."""
    for constant, value in metadata.params:
        if constant.utype == utype and isinstance(value, str):
            try:
                constant_object = json.loads(value)
            except ValueError:
                continue
            return constant_object if isinstance(constant_object, dict) else None
    return None


def _find_geometry_source(metadata: TableMetadata) -> _GeometrySource:
    """Find the column of geometries, or those of ranges."""
    geometry = next(
        (
            number
            for number, column_or_frame in enumerate(metadata.columns)
            if column_or_frame.utype == tfcat.GEOMETRY_UTYPE
        ),
        None,
    )
    crs = _read_constant(metadata, tfcat.CRS_UTYPE)
    if geometry is not None and crs is not None:
        return _GeometrySource(geometry, None, crs)
    names = [column.name.lower() for column in metadata.columns]
    for range_names in _RANGE_COLUMNS:
        if set(range_names) <= set(names):
            start, stop, low, high = (names.index(name) for name in range_names)
            box = start, stop, low, high
            time = metadata.columns[box[0]]
            spectrum = metadata.columns[box[2]]
            if time.epoch is not None:
                scale = {JD_EPOCH: "jd", MJD_EPOCH: "mjd"}.get(time.epoch)
            else:
                scale = None
            if scale is not None and spectrum.unit in _SPECTRAL_TYPES:
                frame = next(
                    (column_or_frame for column_or_frame in metadata.frames if column_or_frame.id == time.frame), None
                )
                return _GeometrySource(
                    None, box, _build_crs(scale, spectrum.unit, frame.refposition if frame is not None else None)
                )
    return _GeometrySource(None, None, _build_crs("jd", "Hz", None))


def _build_crs(times: str, unit: str, position: str | None) -> dict[str, Any]:
    spectrum = {"type": _SPECTRAL_TYPES[unit], "unit": unit}
    time_frequency_properties = {"name": "Time-Frequency", "time_coords_id": times, "spectral_coords": spectrum}
    return {"type": "local", "properties": {**time_frequency_properties, "ref_position_id": position or "GEOCENTER"}}


def _describe_field(column: Column, enums: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    field_properties: dict[str, Any] = {
        "info": column.description or "",
        "datatype": _name_datatype(column),
        "ucd": column.ucd or "",
    }
    if column.unit:
        field_properties["unit"] = column.unit
    if column.enum is not None and column.enum in enums:
        field_properties["values"] = dict(enums[column.enum])
    return field_properties


def _name_datatype(column: Column) -> str:
    storage = column.type.arrow
    if column.type.is_timestamp or column.type.datatype == "bit":
        return "str" if column.type.is_timestamp else "int"
    if pa.types.is_boolean(storage):
        return "bool"
    if pa.types.is_integer(storage):
        return "int"
    if pa.types.is_floating(storage):
        return "float"
    return "str"


def _write_features(
    part: pa.RecordBatch,
    columns: Sequence[Column],
    property_columns: Sequence[int],
    id_column: int | None,
    geometry_source: _GeometrySource,
) -> pa.Array:
    property_texts: list[pa.Array | str] = []
    for number in property_columns:
        column = columns[number]
        value = write_json_cells(literal.cast_to_storage(part.column(number), column.type), column.type)
        if pa.types.is_nested(column.type.arrow):  # a list is a text, for there are no others
            value = pc.if_else(pc.equal(value, "null"), value, literal.quote_json_strings(value))
        property_texts.append(literal.join_columns(json.dumps(column.name, ensure_ascii=False) + ":", value))
    if property_texts:
        properties = literal.join_columns(*property_texts, separator=",")
    else:
        properties = pa.array([""] * part.num_rows)
    if geometry_source.geometry is not None:
        geometry = part.column(geometry_source.geometry).cast(pa.string())
    elif geometry_source.box is not None:
        geometry = _write_boxes(*(_convert_finite_numbers(part.column(number)) for number in geometry_source.box))
    else:
        geometry = pa.nulls(part.num_rows, pa.string())
    names = pa.array([""] * part.num_rows)
    if id_column is not None:
        names = literal.join_columns(
            '"id":',
            write_json_cells(
                literal.cast_to_storage(part.column(id_column), columns[id_column].type), columns[id_column].type
            ),
            ",",
        )
        names = pc.if_else(part.column(id_column).is_valid(), names, "")
    return literal.join_columns(
        ',\n{"type":"Feature",',
        names,
        '"geometry":',
        literal.fill_nulls(geometry, _EMPTY_GEOMETRY),
        ',"properties":{',
        properties,
        "}}",
    )


def _convert_finite_numbers(array: pa.Array) -> pa.Array:
    values = array.cast(pa.float64())
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, pa.float64()))


def _write_boxes(start: pa.Array, stop: pa.Array, low: pa.Array, high: pa.Array) -> pa.Array:
    """Draw ranges: boxes, lines where one of them has no width, points; null without one."""
    stop = pc.coalesce(stop, start)
    high = pc.coalesce(high, low)
    start = pc.coalesce(start, stop)
    low = pc.coalesce(low, high)
    t, u, f, g = (bounds.cast(pa.string()) for bounds in (start, stop, low, high))
    point = literal.join_columns('{"type":"Point","coordinates":[', t, ",", f, "]}")
    line = literal.join_columns('{"type":"LineString","coordinates":[[', t, ",", f, "],[", u, ",", g, "]]}")
    box = literal.join_columns(
        '{"type":"Polygon","coordinates":[[[',
        t,
        ",",
        f,
        "],[",
        u,
        ",",
        f,
        "],[",
        u,
        ",",
        g,
        "],[",
        t,
        ",",
        g,
        "],[",
        t,
        ",",
        f,
        "]]]}",
    )
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
    write=write_tfcat,
    write_error=write_error,
)
