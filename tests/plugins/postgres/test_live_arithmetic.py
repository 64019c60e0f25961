"""Functions that are programs in our own databases, written out for databases that have none of ours: the same values, special ones included."""

from __future__ import annotations

import datetime as dt
import math
import random
import re
from collections.abc import Iterator

import psycopg
import pytest

from hven.adql import bind_expression, parse_expression
from hven.model.errors import HvenError
from hven.model.table import Column
from hven.model.types import FLOAT64, INT64, STRING, TIMESTAMP, parse_type
from hven.plugins.postgres.engine.function_texts import join_folded_lines
from hven.plugins.postgres.engine.functions import FUNCTION_DEFINITIONS
from hven.plugins.postgres.engine.position_search import PositionConditions
from hven.plugins.postgres.live.dialect import (
    LivePostgresDialect,
    LiveSqlWriter,
    LiveTableWriter,
    find_unsupported_function,
    inline_hven_functions,
)
from postgres_cluster import run_server
from shared import ROOT

COLUMNS = (Column(name="x", type=FLOAT64), Column(name="y", type=FLOAT64))
# PostgreSQL's own power() fails for these, and so do our functions
SAME = "(SELECT * FROM t WHERE (x IS NULL OR x <> '-infinity') AND (y IS NULL OR y <> '-infinity') OFFSET 0) AS t"
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    1e-300,
    1e300,
    1e17,
    -8.0,
    3.0,
    1 / 3,
    math.inf,
    -math.inf,
    math.nan,
    None,
    1023.0,
    5e6,
    -5e6,
]


def write_live_sql(text: str) -> str:
    """Write an expression as a live table's query does."""
    writer = LiveSqlWriter(LivePostgresDialect(LiveTableWriter(PositionConditions(), {}, {}, "")), {}, frozenset())
    return inline_hven_functions(writer.write_expression(bind_expression(parse_expression(text), COLUMNS))).replace(
        "t0.", "t."
    )


@pytest.fixture(scope="module")
def connection() -> Iterator[psycopg.Connection]:
    with run_server() as url, psycopg.connect(f"postgresql://{url}", autocommit=True) as made:
        for text in FUNCTION_DEFINITIONS:
            made.execute(f"CREATE OR REPLACE {text}")
        made.execute("CREATE TABLE t (x double precision, y double precision)")
        chance = random.Random(6)
        rows = [(x, y) for x in SPECIAL for y in SPECIAL]
        rows += [(chance.uniform(-1e4, 1e4), chance.uniform(-40, 40)) for _ in range(2000)]
        with made.cursor() as cursor:
            cursor.executemany("INSERT INTO t VALUES (%s, %s)", rows)
        yield made


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("POWER(x, y)", "hven_power(x, y)"),
        ("POWER(x, 2)", "hven_power(x, 2)"),
        ("POWER(0, y)", "hven_power(0, y)"),
        ("POWER(-8, y)", "hven_power(-8, y)"),
        ("POWER(x, -0.5)", "hven_power(x, -0.5)"),
        ("ROUND(x)", "hven_round(x, 0)"),
        ("ROUND(x, 2)", "hven_round(x, 2)"),
        ("ROUND(x, -3)", "hven_round(x, -3)"),
        ("ROUND(x, 15)", "hven_round(x, 15)"),
        ("ROUND(x, 400)", "hven_round(x, 400)"),
        ("TRUNCATE(x, -2)", "hven_truncate(x, -2)"),
        ("TRUNCATE(x, 3)", "hven_truncate(x, 3)"),
        ("ROUND(POWER(x, 2), 1)", "hven_round(hven_power(x, 2), 1)"),
    ],
)
def test_values_are_those_of_our_functions(connection: psycopg.Connection, text: str, ours: str) -> None:
    query = write_live_sql(text)
    assert "hven_" not in query
    differing = connection.execute(
        f"SELECT x, y, {query}, {ours} FROM {SAME} WHERE ({query}) IS DISTINCT FROM ({ours})"
    ).fetchall()
    assert differing == []
    assert connection.execute(f"SELECT COUNT({query}), COUNT(DISTINCT {query}) FROM t").fetchone() > (400, 10)


def test_powers_at_the_ends(connection: psycopg.Connection) -> None:
    query = write_live_sql("POWER(x, y)")
    found = connection.execute(
        f"SELECT x, y, {query} FROM t WHERE x = '-infinity' AND y IN (0.5, -0.5, 3) OR x = 0 AND abs(y) = 'infinity'"
    ).fetchall()
    assert {(x, y): value for x, y, value in found} == {
        (-math.inf, 0.5): math.inf, (-math.inf, -0.5): 0.0, (-math.inf, 3.0): -math.inf, (0.0, math.inf): 0.0, (0.0, -math.inf): math.inf,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "POWER(0, -1)",
        "POWER(-8, 0.5)",
        "POWER(10, 400)",
        "ROUND(2.5)",
        "POWER(0, 0)",
        "ROUND(1e308, 2)",
        "TRUNCATE(-7.9)",
    ],
)
def test_constants_are_computed_when_planned(connection: psycopg.Connection, text: str) -> None:
    found = connection.execute(f"SELECT {write_live_sql(text)} FROM t LIMIT 1").fetchone()
    expected = {
        "POWER(0, -1)": math.inf,
        "POWER(10, 400)": math.inf,
        "ROUND(2.5)": 3.0,
        "POWER(0, 0)": 1.0,
        "ROUND(1e308, 2)": 1e308,
        "TRUNCATE(-7.9)": -7.0,
    }
    assert found == (pytest.approx(expected.get(text, math.nan), nan_ok=True),)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("FROM_UNIX(x)", 1072915200.25, dt.datetime(2004, 1, 1, 0, 0, 0, 250000)),
        ("FROM_UNIX(x)", -1.5, dt.datetime(1969, 12, 31, 23, 59, 58, 500000)),
        ("FROM_JD(x)", 2453005.5, dt.datetime(2004, 1, 1, 12) - dt.timedelta(hours=12)),
        ("FROM_JD(x)", 2299160.5, dt.datetime(1582, 10, 15)),
        ("FROM_MJD(x)", 53005.25, dt.datetime(2004, 1, 1, 6) + dt.timedelta(days=0)),
    ],
)
def test_times_of_numbers(connection: psycopg.Connection, text: str, value: float, expected: dt.datetime) -> None:
    found = connection.execute(
        f"SELECT {write_live_sql(text)} FROM (SELECT CAST(%s AS double precision) AS x) AS t", [value]
    ).fetchone()
    assert found == (expected,)


def test_what_two_numbers_say_stays_with_the_embedded_engine() -> None:
    assert find_unsupported_function(bind_expression(parse_expression("FROM_JD(x, y)"), COLUMNS)) == "FROM_JD"
    assert find_unsupported_function(bind_expression(parse_expression("FROM_JD(x)"), COLUMNS)) == ""


CALLS = {
    "arr_avg": "a", "arr_count": "a", "arr_dot": "a, a", "arr_length": "a", "arr_max": "a", "arr_min": "a", "arr_stddev": "a", "arr_sum": "a",
    "area": "CIRCLE(x, y, 1)", "clean": "s", "epn_text": "s", "from_ccsds": "x", "from_day": "i, x", "from_tt2000": "i", "hashlist": "s, s",
    "ivo_dms_to_degrees": "s", "ivo_healpix_center": "6, i", "ivo_healpix_index": "6, x, y", "ivo_hms_to_degrees": "s", "parse_time": "s",
    "planetocentric": "x, s", "product_md5": "s", "product_size": "s", "regexp_extract": "s, 'a'", "row_number": "", "sexagesimal": "s",
    "tai_to_utc": "t", "target_class": "s", "target_name": "s", "tt_to_utc": "t", "url_path": "s", "utc_to_tai": "t",
}  # fmt: skip
MORE = (
    *COLUMNS,
    Column(name="a", type=parse_type("float64[3]")),
    Column(name="s", type=STRING),
    Column(name="t", type=TIMESTAMP),
    Column(name="i", type=INT64),
)


def test_what_mappings_cannot_have_is_listed() -> None:
    page = (ROOT / "src/hven/plugins/postgres/docs/live-tables.md").read_text(encoding="utf-8")
    listed = re.findall(
        r"`(\w+)`", page.partition("<!-- refused in mappings -->")[2].partition("<!-- /refused in mappings -->")[0]
    )
    assert listed == sorted(listed)
    assert set(listed) == CALLS.keys()
    wrong = []
    for name, arguments in CALLS.items():
        try:
            refused = find_unsupported_function(bind_expression(parse_expression(f"{name}({arguments})"), MORE))
        except HvenError as error:
            refused = ""
            wrong.append((name, str(error)))
        if refused.upper() != name.upper():
            wrong.append((name, refused))
    assert wrong == [], wrong


@pytest.mark.parametrize(
    "name", ["round", "truncate", "from_unix", "from_jd", "from_mjd", "lon_360", "mod", "iso", "jd", "length"]
)
def test_what_mappings_can_have(name: str) -> None:
    argument = {"jd": "t", "length": "s", "mod": "x, 360"}.get(name, "x")
    assert find_unsupported_function(bind_expression(parse_expression(f"{name}({argument})"), MORE)) == ""


def test_installed_functions_have_no_folded_lines() -> None:
    """A line that begins with ``...`` is joined to the line before it."""
    assert join_folded_lines(["SELECT 1\n      ... + 2,\n  3"]) == ("SELECT 1 + 2,\n  3",)
    assert not [text for text in FUNCTION_DEFINITIONS if "..." in text]
