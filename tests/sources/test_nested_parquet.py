"""Parquet types beyond tables of the VO: what is read of them, exactly, and that the others are reported."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hven.model import DeviationKind
from hven.sources import SourceContext, parquet

NESTED = {
    "curve": pa.array([[{"mjd": 1.0, "mag": 2.0}], [], None], pa.list_(pa.struct([("mjd", pa.float64()), ("mag", pa.float32())]))),
    "image": pa.array([[[1, 2], [3, 4]], None, [[]]], pa.list_(pa.list_(pa.int32()))),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int32())),
    "deep": pa.array([{"a": {"b": 1}}, None, {"a": None}], pa.struct([("a", pa.struct([("b", pa.int8())]))])),
}  # fmt: skip


def read(directory, table, **more):
    pq.write_table(table, directory / "a.parquet", **more)
    told, rejects = [], []
    source = parquet.open(
        parquet.Options(files=["a.parquet"]),
        SourceContext(directory=directory, on_notice=told.append, on_reject=rejects.append),
    )
    columns = {column.name: column for column in source.list_columns()}
    return columns, pa.Table.from_batches(list(source.read_batches())), told, rejects


def test_nested_types_are_reported(tmp_path):
    columns, rows, told, _ = read(tmp_path, pa.table({"id": [1, 2, 3], **NESTED}))
    assert list(columns) == ["id"]
    assert rows.column("id").to_pylist() == [1, 2, 3]
    assert [(item.kind, item.column) for item in told] == [
        (DeviationKind.DROPPED_COLUMN, name) for name in ("curve", "image", "map", "deep_a")
    ]
    assert "list<element: list<element: int32>>" in told[1].message


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_durations_are_seconds(tmp_path, unit):
    ticks = [0, 1, -7, None, 86_400 * 10**3]
    columns, rows, told, _ = read(tmp_path, pa.table({"d": pa.array(ticks, pa.duration(unit))}))
    per = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    assert rows.column("d").to_pylist() == [None if tick is None else tick / per for tick in ticks]
    assert (columns["d"].unit, str(columns["d"].type)) == ("s", "float64")
    assert [(item.kind, item.column) for item in told] == [(DeviationKind.TYPE, "d")]


def test_fixed_size_binaries_are_bytes(tmp_path):
    values = [b"ab", None, b"\x00\xff", b"zz"]
    table = pa.table({"b": pa.array(values, pa.binary(2)), "n": range(4)})
    columns, rows, told, _ = read(tmp_path, table, row_group_size=3)
    assert rows.column("b").to_pylist() == [None if value is None else list(value) for value in values]
    assert str(columns["b"].type) == "uint8[2]"
    assert not told


def test_decimals_without_a_fraction_are_whole_numbers(tmp_path):
    small = [Decimal(2**53 + 1), None, Decimal(-(2**63))]
    large = [Decimal(2**53 + 1), None, Decimal(10**37 + 1)]
    table = pa.table({"small": pa.array(small, pa.decimal128(38, 0)), "large": pa.array(large, pa.decimal128(38, 0))})
    for more in ({}, {"write_statistics": False}):
        columns, rows, told, _ = read(tmp_path, table, **more)
        assert rows.column("small").to_pylist() == [2**53 + 1, None, -(2**63)]
        assert rows.column("large").to_pylist() == [str(2**53 + 1), None, str(10**37 + 1)]
        assert columns["large"].type.is_string
        assert [(item.kind, item.column) for item in told] == [(DeviationKind.WHOLE_NUMBER, "large")]


def test_decimals_with_more_digits_than_a_double_are_reported(tmp_path):
    table = pa.table(
        {"a": pa.array([Decimal("0.1")], pa.decimal128(15, 3)), "b": pa.array([Decimal("0.1")], pa.decimal128(16, 3))}
    )
    _, rows, told, _ = read(tmp_path, table)
    assert rows.to_pylist() == [{"a": 0.1, "b": 0.1}]
    assert [(item.kind, item.column) for item in told] == [(DeviationKind.PRECISION, "b")]


def test_decimals_become_the_nearest_doubles(tmp_path):
    decimals = [Decimal(f"{84223 + number}.1574") for number in range(50)] + [None, Decimal("0.0001")]
    expected = [number if number is None else float(number) for number in decimals]
    for arrow_type in (pa.decimal128(9, 4), pa.decimal256(50, 4)):
        table = pa.table(
            {
                "a": pa.array(decimals, arrow_type),
                "l": pa.array([[number] for number in decimals], pa.list_(arrow_type)),
            }
        )
        _, rows, _, _ = read(tmp_path, table)
        assert rows.column("a").to_pylist() == expected
        assert [cell[0] for cell in rows.column("l").drop_null().to_pylist()] == expected


def test_a_field_that_another_column_hides_is_reported(tmp_path):
    _, rows, told, _ = read(tmp_path, pa.table({"a_b": [1], "a": pa.array([{"b": 2, "c": 3}])}))
    assert rows.to_pylist() == [{"a_b": 1, "a_c": 3}]
    assert [(item.kind, item.column) for item in told] == [(DeviationKind.DUPLICATE_NAME, "a.b")]


def test_lists_of_unsigned_numbers(tmp_path):
    lists = [[1, 2**53 + 1], None, [2**63], []]
    _, rows, _, rejects = read(tmp_path, pa.table({"n": range(4), "l": pa.array(lists, pa.list_(pa.uint64()))}))
    assert rows.column("l").to_pylist() == [[1, 2**53 + 1], None, []]
    assert [(item.row, item.column, item.value) for item in rejects] == [(3, "l", "[9223372036854775808]")]


def test_times_of_day_and_dates(tmp_path):
    table = pa.table(
        {"t": pa.array([dt.time(23, 59, 59)]), "d": pa.array([dt.date(2020, 2, 29)]), "h": np.array([1.5], "f2")}
    )
    _, rows, told, _ = read(tmp_path, table)
    assert rows.to_pylist() == [{"t": "23:59:59.000000", "d": dt.datetime(2020, 2, 29), "h": 1.5}]
    assert not told
