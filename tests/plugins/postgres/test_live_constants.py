"""Rows in memory as constants of a query, and functions of ours written out: texts that PostgreSQL reads as they were meant."""

from __future__ import annotations

import pyarrow as pa
import pytest

from hven.engines import LiveColumn, LiveRelation
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, STRING
from hven.plugins.postgres.engine.dialect import UnsupportedByPostgresError
from hven.plugins.postgres.live.dialect import find_comparable_raw_columns, inline_hven_functions, write_live_rows_sql
from hven.plugins.postgres.live.query_plan import write_rows_as_constants

COLUMNS = (
    LiveColumn(name="mag", value="nullif({0}, 'NaN')", is_comparable=True, guard_condition="{0} <> 'NaN'"),
    LiveColumn(name='odd "name'),
)


def test_only_what_is_needed_is_asked_for() -> None:
    live = LiveRelation("$X", '"public"."t"', "live $X", columns=COLUMNS)
    assert write_live_rows_sql(live, {'odd "name'}) == '(SELECT s."odd ""name" AS "odd ""name" FROM "public"."t" AS s)'
    whole = write_live_rows_sql(live)
    assert """nullif(s."mag", 'NaN') AS "mag", s."mag" AS "hven:raw:mag\"""" in whole
    assert write_live_rows_sql(live, set()) == '(SELECT  FROM "public"."t" AS s)'
    assert find_comparable_raw_columns(live).guards == {"mag": "{0} <> 'NaN'"}


def test_rows_become_constants_whatever_stands_in_them() -> None:
    table = Table(
        schema="TAP_UPLOAD", name="t", columns=(Column(name="x", type=FLOAT64), Column(name="s", type=STRING))
    )
    rows = pa.table({"x": [1.5, None, float("nan")], "s": ["it's", 'a "b" \\', None]})
    assert write_rows_as_constants(table, rows) == (
        '(SELECT * FROM unnest(\'{1.5,NULL,nan}\'::double precision[], \'{"it\'\'s","a \\"b\\" \\\\",NULL}\'::text[]) AS r("x", "s"))'
    )


def test_functions_are_written_out_but_not_inside_quotes() -> None:
    text = inline_hven_functions(
        "SELECT 'hven_distance(1, 2)' AS \"hven_distance(x)\", hven_distance(a, b, f(c, ')'), 4)"
    )
    assert text.startswith(
        "SELECT 'hven_distance(1, 2)' AS \"hven_distance(x)\", (CASE WHEN CAST(a AS double precision)"
    )
    assert "f(c, ')')" in text
    assert "hven_" not in text.split('"hven_distance(x)"')[1]


@pytest.mark.parametrize("text", ["hven_in_ring(a, b, c)", "hven_distance(random(), b, c, d)", "hven_nothing(x)"])
def test_what_is_no_expression_is_computed_elsewhere(text: str) -> None:
    with pytest.raises(UnsupportedByPostgresError):
        inline_hven_functions(text)
