"""GeoJSON (RFC 7946): a feature for each row, whose place is its region, or its position; the other columns are its properties."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats import Format
from hven.formats._json_cells import cells, document
from hven.model import literal, shape_columns
from hven.model.sky import bodies, region_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.formats import End, Head
    from hven.model.table import Column

_REGIONS = {"polygon", "circle", "shape", "multishape", "moc", "adql:region"}
_PAIRS = (
    ("pos.eq.ra", "pos.eq.dec"),
    ("pos.bodyrc.lon", "pos.bodyrc.lat"),
    ("pos.galactic.lon", "pos.galactic.lat"),
    ("pos.ecliptic.lon", "pos.ecliptic.lat"),
)


def write(
    head: Head,
    batches: Iterator[pa.RecordBatch],
    end: Callable[[], End],
    options: Mapping[str, str],  # noqa: ARG001
) -> Iterator[bytes]:
    """Write ``{"type": "FeatureCollection", ... "features": [...], "status": "OK"}``.

    The first column of regions is the geometry (right-hand rule, cut at 180 degrees); without one, the position is; a row without either has the
    geometry null. ``crs`` names the frame, if it is not the Earth's. ``status`` is as in JSON.
    """
    place, pair = _place(head.columns)
    start = region_files.opening(_crs(head, place if place is not None else pair[0] if pair else None)).encode()
    columns = head.columns
    yield from document(
        start, batches, len(columns), lambda part: _features(part, columns, place, pair), end, between=2
    )


def _place(columns: Sequence[Column]) -> tuple[int | None, tuple[int, int] | None]:
    """Find the column of regions, or those of a position."""
    kinds = [(column.type.xtype or "").lower() for column in columns]
    named = [
        number
        for number, column in enumerate(columns)
        if column.name.lower() == "s_region" or kinds[number] in _REGIONS
    ]
    if named:
        return min(named, key=lambda number: (columns[number].name.lower() != "s_region", number)), None
    words = [(column.ucd or "").lower() for column in columns]
    for pair in _PAIRS:
        found = [
            sorted((";meta.main" not in word, at) for at, word in enumerate(words) if word.partition(";")[0] == one)
            for one in pair
        ]
        if all(found):
            return None, (found[0][0][1], found[1][0][1])
    return None, None


def _crs(head: Head, column: int | None) -> str | None:
    name = None if column is None else head.columns[column].frame
    frame = next((one for one in head.frames if one.id == name), None)
    if frame is None or frame.system is None:
        return None
    body = bodies.find(frame.refposition or "")
    if frame.system.upper() != "BODY" or body is None:
        return frame.system
    return None if body.name == "Earth" else f"urn:ogc:def:crs:IAU:2015:{100 * int(body.ids[-1].split()[1])}"


def _features(
    part: pa.RecordBatch, columns: Sequence[Column], place: int | None, pair: tuple[int, int] | None
) -> pa.Array:
    said: list[pa.Array | str] = []
    for number, column in enumerate(columns):
        if number != place:
            shown = cells(literal.storage(part.column(number), column.type), column.type)
            said.append(literal.joined(json.dumps(column.name, ensure_ascii=False) + ":", shown))
    if place is not None:
        geometry = region_files.geometries(shape_columns.regions(part.column(place), columns[place].type))
    elif pair is not None:
        geometry = _points(*(part.column(number) for number in pair))
    else:
        geometry = pa.nulls(part.num_rows, pa.string())
    properties = literal.joined(*said, between=",") if said else pa.array([""] * part.num_rows)
    return literal.joined(
        ',\n{"type":"Feature","properties":{', properties, '},"geometry":', literal.filled(geometry, "null"), "}"
    )


def _points(lon: pa.Array, lat: pa.Array) -> pa.Array:
    x, y = (np.asarray(one.cast(pa.float64()).fill_null(np.nan), np.float64) for one in (lon, lat))
    x = np.where(x % 360.0 > 180.0, x % 360.0 - 360.0, x % 360.0)
    shown = literal.joined(
        '{"type":"Point","coordinates":[', pa.array(x).cast(pa.string()), ",", pa.array(y).cast(pa.string()), "]}"
    )
    return pc.if_else(pa.array(np.isfinite(x + y) & (np.abs(y) <= 90.0)), shown, literal.NULL)


def write_error(message: str) -> bytes:
    """Write an error document."""
    return json.dumps({"status": "ERROR", "message": message}, ensure_ascii=False).encode() + b"\n"


FORMAT = Format(
    name="geojson",
    title="GeoJSON",
    menu_rank=9,
    media_types=("application/geo+json",),
    extension="geojson",
    write=write,
    write_error=write_error,
)
