"""WITH RECURSIVE: tables that read themselves."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from adql_runner import run_query
from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.model.errors import BindError, ParseError
from hven.model.table import Column, Table
from hven.model.types import INT16, INT32, STRING

COLUMNS = (
    Column(name="id", type=INT32, ucd="meta.id"),
    Column(name="parent", type=INT32),
    Column(name="name", type=STRING),
    Column(name="short", type=INT16),
)
TABLE = Table(schema="s", name="t", columns=COLUMNS)
ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3, 4, 5], pa.int32()),
        "parent": pa.array([None, 1, 2, 1, 9], pa.int32()),
        "name": ["Sun", "Earth", "Moon", "Mars", "nobody's"],
        "short": pa.array([1] * 5, pa.int16()),
    }
)


def query_rows(query: str) -> list[tuple]:
    return [tuple(row.values()) for row in run_query(query, [(TABLE, ROWS)]).to_pylist()]


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a WHERE n < 100) SELECT SUM(n) AS s FROM a", [(5050,)]),
        (
            "WITH RECURSIVE a AS (SELECT id, name, 0 AS depth FROM s.t WHERE parent IS NULL UNION ALL SELECT c.id, a.name || '/' || c.name, a.depth + 1 FROM s.t AS c JOIN a ON c.parent = a.id) SELECT name, depth FROM a ORDER BY name",
            [("Sun", 0), ("Sun/Earth", 1), ("Sun/Earth/Moon", 2), ("Sun/Mars", 1)],
        ),
        ("WITH RECURSIVE a AS (SELECT 0 AS n UNION SELECT (n + 1) % 3 FROM a) SELECT COUNT(*) AS c FROM a", [(3,)]),
        ("WITH RECURSIVE a AS (SELECT short AS n FROM s.t WHERE id = 1 UNION ALL SELECT n * 2 FROM a WHERE n < 100000) SELECT MAX(n) AS m FROM a", [(131072,)]),
        ("WITH RECURSIVE a AS (SELECT 1 AS n FROM s.t), b AS (SELECT COUNT(*) AS n FROM a UNION ALL SELECT n - 1 FROM b WHERE n > 0) SELECT COUNT(*) AS c FROM b", [(6,)]),
        ("WITH recursive AS (SELECT id FROM s.t) SELECT COUNT(*) AS c FROM recursive", [(5,)]),
    ],
)  # fmt: skip
def test_tables_that_read_themselves(query, rows):
    assert query_rows(query) == rows


def test_metadata_of_the_first_part_stands():
    (column,) = bind_query(
        parse_query(
            "WITH RECURSIVE a AS (SELECT id FROM s.t UNION ALL SELECT parent FROM a JOIN s.t USING (id)) SELECT id FROM a"
        ),
        StaticTableCatalogue([TABLE]),
    ).columns
    assert (column.name, str(column.type), column.ucd) == ("id", "int32", "meta.id")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("WITH RECURSIVE a AS (SELECT id FROM a) SELECT id FROM a", "no table 'a'"),
        ("WITH a AS (SELECT id FROM s.t UNION SELECT id FROM a) SELECT id FROM a", "no table 'a'"),
        (
            "WITH RECURSIVE a AS (SELECT id FROM s.t UNION SELECT id FROM a ORDER BY 1) SELECT id FROM a",
            "the query of a recursive table cannot have ORDER BY or OFFSET",
        ),
        (
            "WITH RECURSIVE a AS (SELECT id FROM s.t UNION SELECT id, id + 1 FROM a) SELECT id FROM a",
            "both sides of UNION must have the same number of columns, but they have 1 and",
        ),
        (
            "WITH RECURSIVE a AS (SELECT id FROM s.t UNION SELECT 'x' FROM a) SELECT id FROM a",
            "is a number (id) on the left, but a string",
        ),
        (
            "WITH RECURSIVE a AS (SELECT id FROM s.t UNION SELECT nothing FROM a) SELECT id FROM a",
            "no column 'nothing'",
        ),
        (
            "WITH RECURSIVE a AS (SELECT id FROM s.t), a AS (SELECT id FROM a UNION SELECT id FROM a) SELECT id FROM a",
            "WITH defines 'a' twice",
        ),
    ],
)
def test_what_is_refused(query, words):
    with pytest.raises((BindError, ParseError), match=re.escape(words)) as caught:
        bind_query(parse_query(query), StaticTableCatalogue([TABLE]))
    assert caught.value.column > 1
