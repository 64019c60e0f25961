"""The tables of random queries (`random_queries`): all kinds of columns, NULLs, extremes, quoted names, an upload."""

from __future__ import annotations

import pyarrow as pa

from adql_sky import LABELS, PHOTOMETRY, ROWS, STARS
from hven.model.table import Column, Table
from hven.model.types import (
    CIRCLE,
    FLOAT32,
    FLOAT64,
    INT16,
    INT32,
    INT64,
    MOC,
    POINT,
    POLYGON,
    STRING,
    TIMESTAMP,
    ColumnType,
)

SHAPES = Table(
    schema="sky", name="shapes",
    columns=(
        Column(name="id", type=INT32, required=True), Column(name="p", type=POINT), Column(name="c", type=CIRCLE), Column(name="area", type=POLYGON), Column(name="m", type=MOC),
        Column(name="spectrum", type=ColumnType("double", "*")), Column(name="counts", type=ColumnType("int", "3")), Column(name="short", type=INT16), Column(name="big", type=INT64),
        Column(name="x", type=FLOAT64, unit="nm"), Column(name="order", type=FLOAT32, unit="deg"),
    ),
)  # fmt: skip
SHAPE_ROWS = pa.table({
    "id": pa.array([1, 2, 3, 9], pa.int32()),
    "p": pa.array([[10.0, 20.0], [0.0, -90.0], None, [359.9, 0.0]], POINT.arrow),
    "c": pa.array([[10.0, 20.0, 1.0], None, [200.0, -45.0, 179.0], [0.0, 0.0, 0.0]], CIRCLE.arrow),
    "area": pa.array([[9.0, 19.0, 11.0, 19.0, 11.0, 21.0], [0.0, 0.0, 0.0, 10.0, 10.0, 10.0, 10.0, 0.0], None, [350.0, -5.0, 10.0, -5.0, 0.0, 5.0]], POLYGON.arrow),
    "m": ["3/1-4", None, "0/0-11", "6/100"],
    "spectrum": pa.array([[1.0, 2.0, None], [], None, [1e308, -1e308]], pa.list_(pa.float64())),
    "counts": pa.array([[1, 2, 3], [2147483647, -2147483648, 0], None, [0, 0, 0]], ColumnType("int", "3").arrow),
    "short": pa.array([-32768, 32767, None, 0], pa.int16()),
    "big": pa.array([-(2**63), 2**63 - 1, None, 0], pa.int64()),
    "x": pa.array([-2.5, float("inf"), None, 5e-324]),
    "order": pa.array([1.5, -1.5, None, 3e38], pa.float32()),
})  # fmt: skip
UPLOAD = Table(
    schema="TAP_UPLOAD", name="mine",
    columns=(Column(name="id", type=INT64), Column(name="ra", type=FLOAT64), Column(name="dec", type=FLOAT64), Column(name="label", type=STRING), Column(name="at", type=TIMESTAMP)),
)  # fmt: skip
UPLOAD_ROWS = pa.table({
    "id": pa.array([1, 2, None], pa.int64()), "ra": [10.0, 200.0, None], "dec": [20.0, -45.0, 0.0], "label": ["Vega", "", None],
    "at": pa.array([0, 10**15, None], pa.timestamp("us")),
})  # fmt: skip

PUBLISHED_TABLES = [*ROWS, (SHAPES, SHAPE_ROWS)]
UPLOADED_TABLES = [(UPLOAD, UPLOAD_ROWS)]
TABLES = {table.qualified_name: table for table in (STARS, PHOTOMETRY, LABELS, SHAPES, UPLOAD)}
