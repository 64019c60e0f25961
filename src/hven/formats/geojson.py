"""Write GeoJSON (RFC 7946): a feature for each row, with its region or its position as geometry.

The other columns are properties of the feature.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats import TableFormat
from hven.formats._json_cells import write_json_cells, write_json_document, write_json_error
from hven.model import literal, shape_columns
from hven.model.sky import bodies, region_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.formats import ResultStatus, TableMetadata
    from hven.model.table import Column

_REGION_XTYPES = {"polygon", "circle", "shape", "multishape", "moc", "adql:region"}
_POSITION_UCDS = (
    ("pos.eq.ra", "pos.eq.dec"),
    ("pos.bodyrc.lon", "pos.bodyrc.lat"),
    ("pos.galactic.lon", "pos.galactic.lat"),
    ("pos.ecliptic.lon", "pos.ecliptic.lat"),
)


def write_geojson(
    metadata: TableMetadata,
    batches: Iterator[pa.RecordBatch],
    finish: Callable[[], ResultStatus],
    options: Mapping[str, str],  # noqa: ARG001
) -> Iterator[bytes]:
    """Write ``{"type": "FeatureCollection", ... "features": [...], "status": "OK"}``.

    The geometry is the first column of regions (right-hand rule, cut at 180 degrees), or else the position. A row
    without either has the geometry null. ``crs`` names the frame, if it is not the Earth's. ``status`` is as in JSON.
    """
    region_column, position_columns = _find_geometry_columns(metadata.columns)
    frame_column = region_column
    if frame_column is None and position_columns is not None:
        frame_column = position_columns[0]
    crs = _find_crs(metadata, frame_column)
    start = region_files.write_feature_collection_opening(crs).encode()
    columns = metadata.columns

    def write_rows(part: pa.RecordBatch) -> pa.Array:
        return _write_features(part, columns, region_column, position_columns)

    yield from write_json_document(start, batches, len(columns), write_rows, finish, separator_bytes=2)


def _find_geometry_columns(columns: Sequence[Column]) -> tuple[int | None, tuple[int, int] | None]:
    """Find the column of regions, or the two columns of a position."""
    region_columns = []
    for number, column in enumerate(columns):
        xtype = (column.type.xtype or "").lower()
        if column.name.lower() == "s_region":
            return number, None
        if xtype in _REGION_XTYPES:
            region_columns.append(number)
    if region_columns:
        return region_columns[0], None
    words = [(column.ucd or "").lower() for column in columns]
    for longitude_ucd, latitude_ucd in _POSITION_UCDS:
        longitude_column = _find_column_by_ucd(words, longitude_ucd)
        latitude_column = _find_column_by_ucd(words, latitude_ucd)
        if longitude_column is not None and latitude_column is not None:
            return None, (longitude_column, latitude_column)
    return None, None


def _find_column_by_ucd(column_ucds: Sequence[str], ucd: str) -> int | None:
    """Find the column with this primary UCD; prefer a main column (``meta.main``)."""
    candidates = [number for number, word in enumerate(column_ucds) if word.partition(";")[0] == ucd]
    for number in candidates:
        if ";meta.main" in column_ucds[number]:
            return number
    return next(iter(candidates), None)


def _find_crs(metadata: TableMetadata, column: int | None) -> str | None:
    if column is None:
        name = None
    else:
        name = metadata.columns[column].frame
    frame = next((table_frame for table_frame in metadata.frames if table_frame.id == name), None)
    if frame is None or frame.system is None:
        return None
    body = bodies.find_solar_system_body(frame.refposition or "")
    if frame.system.upper() != "BODY" or body is None:
        return frame.system
    if body.name == "Earth":
        return None
    return f"urn:ogc:def:crs:IAU:2015:{100 * int(body.ids[-1].split()[1])}"


def _write_features(
    part: pa.RecordBatch, columns: Sequence[Column], region_column: int | None, position_columns: tuple[int, int] | None
) -> pa.Array:
    property_texts: list[pa.Array | str] = []
    for number, column in enumerate(columns):
        if number != region_column:
            values = literal.cast_to_storage_type(part.column(number), column.type)
            cell_texts = write_json_cells(values, column.type)
            key_text = json.dumps(column.name, ensure_ascii=False) + ":"
            property_texts.append(literal.concat_text_columns(key_text, cell_texts))
    if region_column is not None:
        regions = shape_columns.parse_regions(part.column(region_column), columns[region_column].type)
        geometry = region_files.to_geojson_geometries(regions)
    elif position_columns is not None:
        geometry = _write_points(*(part.column(number) for number in position_columns))
    else:
        geometry = pa.nulls(part.num_rows, pa.string())
    if property_texts:
        properties = literal.concat_text_columns(*property_texts, separator=",")
    else:
        properties = pa.array([""] * part.num_rows)
    geometry_texts = literal.fill_nulls(geometry, "null")
    return literal.concat_text_columns(
        ',\n{"type":"Feature","properties":{', properties, '},"geometry":', geometry_texts, "}"
    )


def _write_points(lon: pa.Array, lat: pa.Array) -> pa.Array:
    x = _convert_to_numbers(lon)
    y = _convert_to_numbers(lat)
    x = np.where(x % 360.0 > 180.0, x % 360.0 - 360.0, x % 360.0)
    x_texts = pa.array(x).cast(pa.string())
    y_texts = pa.array(y).cast(pa.string())
    point_texts = literal.concat_text_columns('{"type":"Point","coordinates":[', x_texts, ",", y_texts, "]}")
    is_position = np.isfinite(x + y) & (np.abs(y) <= 90.0)
    return pc.if_else(pa.array(is_position), point_texts, literal.NULL_STRING)


def _convert_to_numbers(coordinates: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Convert coordinates to numbers; null becomes NaN."""
    numbers = coordinates.cast(pa.float64()).fill_null(np.nan)
    return np.asarray(numbers, np.float64)


FORMAT = TableFormat(
    name="geojson",
    title="GeoJSON",
    menu_rank=9,
    media_types=("application/geo+json",),
    extension="geojson",
    write=write_geojson,
    write_error=write_json_error,
)
