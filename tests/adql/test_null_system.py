"""NULL or '' as the coordinate system of a constructor: others write it so; where NULL is a coordinate, it stays one. Units of powers, and none."""

from __future__ import annotations

import pyarrow as pa
import pytest

from adql_runner import run_query
from hven.adql import bind_query, parse_query
from hven.adql.functions import MAPPING_FUNCTIONS, QUERY_FUNCTIONS
from hven.adql.scope import StaticTableCatalogue
from hven.model.table import Column, Table
from hven.model.types import INT32, POINT

TABLE = Table(
    schema="s", name="t",
    columns=(Column(name="plx", unit="mas"), Column(name="angle", unit="mas"), Column(name="n", type=INT32), Column(name="place", type=POINT)),
)  # fmt: skip
ROWS = pa.table(
    [[2.0], [3.0], pa.array([4], pa.int32()), pa.array([[10.0, 20.0]], pa.list_(pa.float64(), 2))],
    names=["plx", "angle", "n", "place"],
)


@pytest.mark.parametrize("system", ["NULL", "''", "'ICRS'"])
@pytest.mark.parametrize(
    "shape",
    [
        "CIRCLE({}10, 20, 1)", "CIRCLE({}POINT({}10, 20), 1)", "CIRCLE({}place, 1)", "BOX({}10, 20, 1, 1)", "BOX({}POINT(10, 20), 1, 1)",
        "POLYGON({}10, 0, 11, 0, 11, 1, 10, 1)", "POLYGON({}POINT({}10, 0), POINT(11, 0), POINT(11, 1), POINT(10, 1))", "POINT({}10, 20)", "POINT({}n, 20)",
    ],
)  # fmt: skip
def test_a_null_system_is_left_out(shape, system):
    with_system, without = (
        run_query(f"SELECT {shape.replace('{}', head)} AS g FROM s.t", [(TABLE, ROWS)])["g"].to_pylist()
        for head in (f"{system}, ", "")
    )
    assert with_system == without
    assert with_system[0]


@pytest.mark.parametrize(
    "shape", ["POINT(NULL, 20)", "CIRCLE(NULL, 20, 1)", "CIRCLE(NULL, n, 1)", "POLYGON(NULL, 0, 11, 0, 11, 1)"]
)
def test_a_null_coordinate_stays_one(shape):
    assert run_query(f"SELECT {shape} AS g FROM s.t", [(TABLE, ROWS)])["g"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("expression", "unit", "value"),
    [
        ("power(plx, -1)", "mas**-1", 0.5), ("power(plx, 2)", "mas**2", 4.0), ("sqrt(plx * plx)", "mas", 2.0), ("power(n, 2)", None, 16.0),
        ("power(plx, n)", None, 16.0), ("without_unit(angle / plx)", None, 1.5), ("without_unit(plx)", None, 2.0), ("angle / power(plx, 1)", None, 1.5),
    ],
)  # fmt: skip
def test_units_of_powers_and_none(expression, unit, value):
    functions = MAPPING_FUNCTIONS if "without" in expression else QUERY_FUNCTIONS
    bound = bind_query(
        parse_query(f"SELECT {expression} AS x FROM s.t"), StaticTableCatalogue([TABLE]), functions=functions
    )
    assert bound.columns[0].unit == unit
    assert run_query(f"SELECT {expression} AS x FROM s.t", [(TABLE, ROWS)], functions=functions)["x"].to_pylist() == [
        value
    ]


def test_an_exponent_is_part_of_the_plan():
    bound = bind_query(
        parse_query("SELECT power(plx, -2) AS x FROM s.t WHERE angle > 7"), StaticTableCatalogue([TABLE])
    )
    # the plan may be used again with another 7, but not with another 2
    assert [bound.literal_values[slot] for slot in bound.free_slots] == [7]
