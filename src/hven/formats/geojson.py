"""GeoJSON (RFC 7946): a feature for each row, whose place is its region, or its position.

The other columns are its properties.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats import Format
from hven.formats._json_cells import write_document, write_json_cells
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

    The first column of regions is the geometry (right-hand rule, cut at 180 degrees); without one, the position is; a
    row without either has the geometry null. ``crs`` names the frame, if it is not the Earth's. ``status`` is as in
    JSON.
    """
    region_column, position_columns = _find_geometry_columns(metadata.columns)
    crs = _find_crs(
        metadata, region_column if region_column is not None else position_columns[0] if position_columns else None
    )
    start = region_files.write_collection_opening(crs).encode()
    columns = metadata.columns
    yield from write_document(
        start,
        batches,
        len(columns),
        lambda part: _write_features(part, columns, region_column, position_columns),
        finish,
        separator_bytes=2,
    )


def _find_geometry_columns(columns: Sequence[Column]) -> tuple[int | None, tuple[int, int] | None]:
    """Find the column of regions, or those of a position."""
    kinds = [(column.type.xtype or "").lower() for column in columns]
    region_columns = [
        number
        for number, column in enumerate(columns)
        if column.name.lower() == "s_region" or kinds[number] in _REGION_XTYPES
    ]
    if region_columns:
        return min(region_columns, key=lambda number: (columns[number].name.lower() != "s_region", number)), None
    words = [(column.ucd or "").lower() for column in columns]
    for pair in _POSITION_UCDS:
        candidates = [
            sorted(
                (";meta.main" not in word, position)
                for position, word in enumerate(words)
                if word.partition(";")[0] == ucd
            )
            for ucd in pair
        ]
        if all(candidates):
            return None, (candidates[0][0][1], candidates[1][0][1])
    return None, None


def _find_crs(metadata: TableMetadata, column: int | None) -> str | None:
    if column is None:
        name = None
    else:
        name = metadata.columns[column].frame
    frame = next((table_frame for table_frame in metadata.frames if table_frame.id == name), None)
    if frame is None or frame.system is None:
        return None
    body = bodies.find_body(frame.refposition or "")
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
            cell_texts = write_json_cells(literal.cast_to_storage(part.column(number), column.type), column.type)
            property_texts.append(literal.join_columns(json.dumps(column.name, ensure_ascii=False) + ":", cell_texts))
    if region_column is not None:
        regions = shape_columns.parse_regions(part.column(region_column), columns[region_column].type)
        geometry = region_files.to_geojson_geometries(regions)
    elif position_columns is not None:
        geometry = _write_points(*(part.column(number) for number in position_columns))
    else:
        geometry = pa.nulls(part.num_rows, pa.string())
    if property_texts:
        properties = literal.join_columns(*property_texts, separator=",")
    else:
        properties = pa.array([""] * part.num_rows)
    return literal.join_columns(
        ',\n{"type":"Feature","properties":{', properties, '},"geometry":', literal.fill_nulls(geometry, "null"), "}"
    )


def _write_points(lon: pa.Array, lat: pa.Array) -> pa.Array:
    x, y = (np.asarray(coordinates.cast(pa.float64()).fill_null(np.nan), np.float64) for coordinates in (lon, lat))
    x = np.where(x % 360.0 > 180.0, x % 360.0 - 360.0, x % 360.0)
    point_texts = literal.join_columns(
        '{"type":"Point","coordinates":[', pa.array(x).cast(pa.string()), ",", pa.array(y).cast(pa.string()), "]}"
    )
    return pc.if_else(pa.array(np.isfinite(x + y) & (np.abs(y) <= 90.0)), point_texts, literal.NULL_STRING)


def write_error(message: str) -> bytes:
    """Write an error document."""
    return json.dumps({"status": "ERROR", "message": message}, ensure_ascii=False).encode() + b"\n"


FORMAT = Format(
    name="geojson",
    title="GeoJSON",
    menu_rank=9,
    media_types=("application/geo+json",),
    extension="geojson",
    write=write_geojson,
    write_error=write_error,
)
