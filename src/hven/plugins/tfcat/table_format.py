"""Write TFCat 1.0: a feature for each row, with its geometry in time and frequency, or the box of its ranges.

The other columns are properties of the feature.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats import TableFormat
from hven.formats.api.json_cells import write_json_cells, write_json_document, write_json_error
from hven.model import literal
from hven.model.table import JD_EPOCH, MJD_EPOCH
from hven.plugins.tfcat import tfcat_features
from hven.plugins.tfcat.tfcat_features import DERIVED_UTYPE, GEOMETRY_UTYPE, ID_UTYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.formats import ResultStatus, TableMetadata
    from hven.model.table import Column


# names of the columns of ranges in EPN-TAP and in ObsCore
_RANGE_COLUMNS = (
    ("time_min", "time_max", "spectral_range_min", "spectral_range_max"),
    ("t_min", "t_max", "em_min", "em_max"),
)
_SPECTRAL_TYPES = {"Hz": "frequency", "m": "wavelength"}
_EMPTY_GEOMETRY = '{"type":"GeometryCollection","geometries":[]}'


class _GeometryColumns(NamedTuple):
    """The columns that give features their geometries (one, four or none), and their crs."""

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

    The geometry is the column with the utype ``tfcat:geometry``, with its own numbers. Without such a column, it is the
    box of times and frequencies of EPN-TAP or ObsCore. A row without either has an empty collection of geometries. A
    status that is not OK stands among the properties.
    """
    columns = metadata.columns
    geometry_source = _find_geometry_source(metadata)
    id_column = _find_column(columns, ID_UTYPE)
    property_columns = []
    for number, column in enumerate(columns):
        is_special = column.utype in {
            DERIVED_UTYPE,
            GEOMETRY_UTYPE,
            ID_UTYPE,
        }
        if not is_special and number not in {id_column, geometry_source.geometry}:
            property_columns.append(number)
    table_properties = _parse_json_object_constant(metadata, tfcat_features.PROPERTIES_UTYPE) or {}
    fields = {columns[number].name: _describe_field(columns[number], metadata.enums) for number in property_columns}
    members = {
        "type": "FeatureCollection",
        "$schema": tfcat_features.SCHEMA_URL,
        "crs": geometry_source.crs,
        "fields": fields,
    }
    start = json.dumps(members, ensure_ascii=False)[:-1].encode() + b',"features":['

    def write_rows(part: pa.RecordBatch) -> pa.Array:
        return _write_features(part, columns, property_columns, id_column, geometry_source)

    def build_closing_members(status: dict[str, str]) -> dict[str, object]:
        if status == {"status": "OK"}:
            return {"properties": table_properties}
        return {"properties": {**table_properties, **status}}

    yield from write_json_document(
        start,
        batches,
        len(columns),
        write_rows,
        finish,
        separator_bytes=2,
        build_closing_members=build_closing_members,
    )


def _find_column(columns: Sequence[Column], utype: str) -> int | None:
    for number, column in enumerate(columns):
        if column.utype == utype:
            return number
    return None


def _parse_json_object_constant(metadata: TableMetadata, utype: str) -> dict[str, Any] | None:
    """Read a constant of the table that is a JSON object."""
    for constant, value in metadata.params:
        if constant.utype == utype and isinstance(value, str):
            try:
                constant_object = json.loads(value)
            except ValueError:
                continue
            if isinstance(constant_object, dict):
                return constant_object
            return None
    return None


def _find_geometry_source(metadata: TableMetadata) -> _GeometryColumns:
    """Find the column of geometries, or the four columns of ranges."""
    geometry = _find_column(metadata.columns, GEOMETRY_UTYPE)
    crs = _parse_json_object_constant(metadata, tfcat_features.CRS_UTYPE)
    if geometry is not None and crs is not None:
        return _GeometryColumns(geometry, None, crs)
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
                position = None
                for frame in metadata.frames:
                    if frame.id == time.frame:
                        position = frame.refposition
                        break
                return _GeometryColumns(None, box, _build_crs(scale, spectrum.unit, position))
    return _GeometryColumns(None, None, _build_crs("jd", "Hz", None))


def _build_crs(times: str, unit: str, position: str | None) -> dict[str, Any]:
    spectrum = {"type": _SPECTRAL_TYPES[unit], "unit": unit}
    time_frequency_properties = {"name": "Time-Frequency", "time_coords_id": times, "spectral_coords": spectrum}
    return {"type": "local", "properties": {**time_frequency_properties, "ref_position_id": position or "GEOCENTER"}}


def _describe_field(column: Column, enums: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    field_properties: dict[str, Any] = {}
    field_properties["info"] = column.description or ""
    field_properties["datatype"] = _name_datatype(column)
    field_properties["ucd"] = column.ucd or ""
    if column.unit:
        field_properties["unit"] = column.unit
    if column.enum is not None and column.enum in enums:
        field_properties["values"] = dict(enums[column.enum])
    return field_properties


def _name_datatype(column: Column) -> str:
    storage = column.type.arrow
    if column.type.is_timestamp:
        return "str"
    if column.type.datatype == "bit" or pa.types.is_integer(storage):
        return "int"
    if pa.types.is_boolean(storage):
        return "bool"
    if pa.types.is_floating(storage):
        return "float"
    return "str"


def _write_features(
    part: pa.RecordBatch,
    columns: Sequence[Column],
    property_columns: Sequence[int],
    id_column: int | None,
    geometry_source: _GeometryColumns,
) -> pa.Array:
    property_texts: list[pa.Array | str] = []
    for number in property_columns:
        column = columns[number]
        values = literal.cast_to_storage_type(part.column(number), column.type)
        cell_texts = write_json_cells(values, column.type)
        if pa.types.is_nested(column.type.arrow):  # a list is written as text, for TFCat has no lists
            quoted_texts = literal.quote_json_strings(cell_texts)
            cell_texts = pc.if_else(pc.equal(cell_texts, "null"), cell_texts, quoted_texts)
        key_text = json.dumps(column.name, ensure_ascii=False) + ":"
        property_texts.append(literal.concat_text_columns(key_text, cell_texts))
    if property_texts:
        properties = literal.concat_text_columns(*property_texts, separator=",")
    else:
        properties = pa.array([""] * part.num_rows)
    if geometry_source.geometry is not None:
        geometry = part.column(geometry_source.geometry).cast(pa.string())
    elif geometry_source.box is not None:
        bounds = [_replace_nonfinite_by_null(part.column(number)) for number in geometry_source.box]
        geometry = _write_range_geometries(*bounds)
    else:
        geometry = pa.nulls(part.num_rows, pa.string())
    names = pa.array([""] * part.num_rows)
    if id_column is not None:
        id_type = columns[id_column].type
        ids = literal.cast_to_storage_type(part.column(id_column), id_type)
        names = literal.concat_text_columns('"id":', write_json_cells(ids, id_type), ",")
        names = pc.if_else(part.column(id_column).is_valid(), names, "")
    geometry_texts = literal.fill_nulls(geometry, _EMPTY_GEOMETRY)
    feature_start = ',\n{"type":"Feature",'
    return literal.concat_text_columns(
        feature_start, names, '"geometry":', geometry_texts, ',"properties":{', properties, "}}"
    )


def _replace_nonfinite_by_null(array: pa.Array) -> pa.Array:
    values = array.cast(pa.float64())
    null_number = pa.scalar(None, pa.float64())
    return pc.if_else(pc.is_finite(values), values, null_number)


def _write_range_geometries(start: pa.Array, stop: pa.Array, low: pa.Array, high: pa.Array) -> pa.Array:
    """Write ranges as boxes, lines where one has no width, or points where neither has; null if one is unknown."""
    stop = pc.coalesce(stop, start)
    high = pc.coalesce(high, low)
    start = pc.coalesce(start, stop)
    low = pc.coalesce(low, high)
    t, u, f, g = (bounds.cast(pa.string()) for bounds in (start, stop, low, high))
    first_corner = literal.concat_text_columns("[", t, ",", f, "]")
    opposite_corner = literal.concat_text_columns("[", u, ",", g, "]")
    second_corner = literal.concat_text_columns("[", u, ",", f, "]")
    last_corner = literal.concat_text_columns("[", t, ",", g, "]")
    corners = (first_corner, second_corner, opposite_corner, last_corner, first_corner)
    point = literal.concat_text_columns('{"type":"Point","coordinates":', first_corner, "}")
    line_ends = literal.concat_text_columns(first_corner, opposite_corner, separator=",")
    line = literal.concat_text_columns('{"type":"LineString","coordinates":[', line_ends, "]}")
    ring = literal.concat_text_columns(*corners, separator=",")
    box = literal.concat_text_columns('{"type":"Polygon","coordinates":[[', ring, "]]}")
    has_no_duration = np.asarray(pc.fill_null(pc.equal(start, stop), fill_value=True))
    has_no_bandwidth = np.asarray(pc.fill_null(pc.equal(low, high), fill_value=True))
    line_or_box = pc.if_else(pa.array(has_no_duration | has_no_bandwidth), line, box)
    return pc.if_else(pa.array(has_no_duration & has_no_bandwidth), point, line_or_box)


FORMAT = TableFormat(
    name="tfcat",
    title="TFCat",
    menu_rank=10,
    media_types=("application/x-tfcat+json",),
    extension="tfcat",
    content_type="application/json",
    write=write_tfcat,
    write_error=write_json_error,
)
