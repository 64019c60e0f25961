"""Tables with edge cases for tests of engines, and functions that run queries with or without indexes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pyarrow as pa

from hven.adql import bind_query, parse_query
from hven.adql._parser import parse_condition
from hven.adql.binder import bind_condition
from hven.adql.scope import StaticTableCatalogue
from hven.engines import ExecutionLimits
from hven.model.table import Column, Table
from hven.model.types import FLOAT32, FLOAT64, INT32, INT64, STRING, TIMESTAMP

COLUMNS = (
    Column(name="id", type=INT64),
    Column(name="ra", type=FLOAT64),
    Column(name="dec", type=FLOAT64),
    Column(name="mag", type=FLOAT64, indexed=True),
    Column(name="colour", type=FLOAT32, indexed=True),
    Column(name="field", type=INT32, indexed=True),
    Column(name="name", type=STRING, indexed=True),
    Column(name="seen", type=TIMESTAMP, indexed=True),
    Column(name="note", type=STRING),
)
STARS = Table(schema="sky", name="stars", columns=COLUMNS, primary=("id",), position=("ra", "dec"))
CIRCLES = Table(
    schema="TAP_UPLOAD",
    name="list",
    columns=(
        Column(name="n", type=INT64),
        Column(name="lon"),
        Column(name="lat"),
        Column(name="r"),
        Column(name="k", type=INT64),
    ),
)
_count = itertools.count()


def build_sky(rows: int, seed: int = 0) -> pa.Table:
    """Build stars everywhere, more of them at the poles and the meridian, with missing, NaN and infinite values."""
    rng = np.random.default_rng(seed)
    ra = rng.uniform(0, 360, rows)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, rows)))
    kind = rng.integers(0, 12, rows)
    ra[kind == 0] = rng.choice([0.0, 360.0, 359.9999999, 1e-9, -1e-7, 180.0], int((kind == 0).sum()))
    dec[kind == 1] = rng.choice([90.0, -90.0, 89.9999993, -89.9998], int((kind == 1).sum()))
    ra[kind == 2] = np.nan
    ra, dec = (
        np.where(kind == 3, 10 + rng.normal(0, 0.01, rows), ra),
        np.where(kind == 3, 20 + rng.normal(0, 0.01, rows), dec),
    )
    mag = np.round(rng.normal(10, 3, rows), 1)
    mag[rng.random(rows) < 0.05] = np.nan
    mag[rng.random(rows) < 0.02] = math.inf
    words = np.array(["", "a", "Ä", "ab", "alpha Cen", "NGC 224", "NGC 7000", "zz", "日本", "a'b"])
    return pa.table(
        {
            "id": pa.array(rng.permutation(rows).astype(np.int64) * 3),
            "ra": pa.array(ra, mask=kind == 4),
            "dec": pa.array(dec, mask=(kind == 4) | (kind == 5)),
            "mag": pa.array(mag, mask=rng.random(rows) < 0.1),
            "colour": pa.array(np.round(rng.normal(0.5, 1, rows), 2).astype(np.float32), mask=rng.random(rows) < 0.1),
            "field": pa.array(rng.integers(-5, 40, rows).astype(np.int32), mask=rng.random(rows) < 0.1),
            "name": pa.array(words[rng.integers(0, len(words), rows)], mask=rng.random(rows) < 0.1),
            "seen": pa.array(rng.integers(0, 10**15, rows), mask=rng.random(rows) < 0.1).cast(pa.timestamp("us")),
            "note": pa.array(words[rng.integers(0, len(words), rows)]),
        },
        schema=STARS.arrow_schema,
    )


def build_circles(rows: int, seed: int = 1) -> pa.Table:
    """Build the circles of an upload, small and large ones, and some invalid ones."""
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(-10, 370, rows), np.degrees(np.arcsin(rng.uniform(-1, 1, rows)))
    lon[::5], lat[::5] = 10.0, 20.0 + rng.normal(0, 0.01, len(lat[::5]))
    lat[::7] = rng.choice([90.0, -90.0, 89.9999], len(lat[::7]))
    radius = rng.choice([0.0, 1e-6, 0.01, 1.0, 20.0, -1.0], rows)
    return pa.table(
        {
            "n": np.arange(rows),
            "lon": pa.array(lon, mask=rng.random(rows) < 0.05),
            "lat": lat,
            "r": pa.array(radius, mask=rng.random(rows) < 0.1),
            "k": rng.integers(-10, 3000, rows),
        },
        schema=CIRCLES.arrow_schema,
    )


def stage_table(engine, table: Table, rows: pa.Table, step: int = 1000):
    """Write a snapshot of a table."""
    staging = engine.stage_snapshot(table, f"test-{next(_count):04d}")
    for batch in rows.to_batches(max_chunksize=step):
        staging.write(batch)
    return staging.finish()


def plan_query(engine, text: str, tables):
    bound = bind_query(parse_query(text), StaticTableCatalogue(tables))
    return bound, engine.plan_query(bound)


def run_query(engine, text: str, relations, tables=(STARS, CIRCLES), limits: ExecutionLimits | None = None) -> pa.Table:
    """Run a query."""
    bound, prepared = plan_query(engine, text, tables)
    execution = prepared.execute(bound.literal_values, relations, limits or ExecutionLimits())
    return pa.Table.from_batches(execution, schema=execution.schema)


class HalfVisiblePolicy:
    """A policy that shows the stars of half of the fields."""

    def __init__(self) -> None:
        self._hidden = bind_condition(parse_condition("field > 10"), STARS.columns)

    def decide_visibility(self, table, who):
        return True

    def find_row_condition(self, table, who):
        return self._hidden if table.qualified_name == "sky.stars" else None


def run_with_and_without_indexes(engine, text: str, relations, tables=(STARS, CIRCLES)) -> tuple[list, list]:
    """Run a query with and without indexes."""
    with_them = run_query(engine, text, relations, tables)
    engine.uses_indexes = False
    try:
        without = run_query(engine, text, relations, tables)
    finally:
        engine.uses_indexes = True
    return normalize_rows(with_them), normalize_rows(without)


def normalize_rows(rows: pa.Table) -> list[tuple]:
    """Convert rows for comparison: floats with nine digits, NaN as text."""
    columns = (column.to_pylist() for column in rows.columns)
    return list(
        zip(
            *(
                map(_normalize_value, values) if pa.types.is_floating(field.type) else values
                for field, values in zip(rows.schema, columns, strict=True)
            ),
            strict=True,
        )
    )


def _normalize_value(value):
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value if math.isinf(value) else float(f"{value:.9g}") + 0.0
    return value


def sort_rows(rows: list[tuple]) -> list[str]:
    return sorted(map(repr, rows))
