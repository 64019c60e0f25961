"""Conditions of watermarks, and names of tables, in ADQL that every service understands."""

from __future__ import annotations

import datetime as dt
import math

import pyarrow as pa
import pytest

from hven.model.table import Column
from hven.model.types import build_type_from_arrow, parse_type
from hven.plugins.tap_source.adql_conditions import TapSourceConditionWriter, quote_irregular_table_name
from hven.sources.api.watermarks import parse_watermark

COLUMNS = [
    Column(name="a", type=parse_type("int64")),
    Column(name="b", type=parse_type("int32")),
    Column(name="x", type=parse_type("float64")),
    Column(name="Y z", type=parse_type("float64")),
    Column(name="f", type=parse_type("float32")),
    Column(name="t", type=build_type_from_arrow(pa.timestamp("us"))),
    Column(name="u", type=build_type_from_arrow(pa.timestamp("us"))),
    Column(name="s", type=parse_type("string")),
]


@pytest.mark.parametrize(
    ("expression", "value", "condition"),
    [
        ("t", dt.datetime(2026, 1, 2, 3, 4, 5), "(t >= '2026-01-02T03:04:05.000' OR t IS NULL)"),
        ("T", dt.datetime(2026, 1, 2, 3, 4, 5, 6), "(t >= '2026-01-02T03:04:05.000006' OR t IS NULL)"),
        ("s", "O'Neill", "(s >= 'O''Neill' OR s IS NULL)"),
        ("Y z", 1.0, f'("Y z" >= {1.0 - 8 * math.ulp(1.0)!r} OR "Y z" IS NULL)'),
        ("f", 1.0, f"(f >= {1 - 2.0**-22!r} OR f IS NULL)"),
        ("-a", -5, "((0 - a) >= -5 OR a IS NULL)"),
        ("a + b * 2", 7, "((a + (b * 2)) >= 7 OR (a IS NULL OR b IS NULL))"),
        ("x / 2", 7, "((x / 2) >= 7 OR x IS NULL)"),
        ("GREATEST(t, u)", dt.datetime(2026, 1, 1), "((t >= '2026-01-01T00:00:00.000' OR u >= '2026-01-01T00:00:00.000') OR (t IS NULL AND u IS NULL))"),
        ("COALESCE(a, b, 0)", 7, "((a >= 7 OR (a IS NULL AND b >= 7) OR (a IS NULL AND b IS NULL AND 1 = 0)) OR (a IS NULL AND b IS NULL AND 1 = 0))"),
        ("COALESCE(a, 1 + 2)", 7, "((a >= 7 OR (a IS NULL AND (1 + 2) >= 7)) OR (a IS NULL AND 1 = 0))"),
        ("LEAST(a, b)", 7, "(((a >= 7 OR a IS NULL) AND (b >= 7 OR b IS NULL)) OR (a IS NULL AND b IS NULL))"),
    ],
)  # fmt: skip
def test_adql_that_every_service_understands(expression, value, condition):
    assert parse_watermark(expression, COLUMNS).write_condition(value, TapSourceConditionWriter({})) == condition


def test_names_of_tables_elsewhere():
    assert [quote_irregular_table_name(name) for name in ("ivoa.obscore", "J/A+A/1/2", '"a b".c', "2mass.main")] == [
        "ivoa.obscore", '"J/A+A/1/2"', '"a b".c', '"2mass.main"',
    ]  # fmt: skip
