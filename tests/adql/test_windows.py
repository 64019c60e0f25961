"""Window functions: against Python's own sorting, with groups and subqueries, and what is refused."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adql_running import run
from hven.adql import bind, parse
from hven.adql.functions import OVER_GROUPS, WINDOWS
from hven.adql.scope import Tables
from hven.errors import BindError, ParseError
from hven.model.table import Column, Table
from hven.model.types import INT32, INT64, STRING
from shared import MORE, ROOT

COLUMNS = (Column(name="id", type=INT64, required=True), Column(name="g", type=STRING), Column(name="x", type=INT32, unit="mag"))
TABLE = Table(schema="s", name="t", columns=COLUMNS)
rows_of = st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.none() | st.integers(-5, 5)), max_size=25)


def asked(query: str, rows: list[tuple[str | None, int | None]]) -> list[tuple]:
    data = pa.table(
        {
            "id": pa.array(range(len(rows)), pa.int64()),
            "g": pa.array([g for g, _ in rows], pa.string()),
            "x": pa.array([x for _, x in rows], pa.int32()),
        }
    )
    return [tuple(row.values()) for row in run(query, [(TABLE, data)]).to_pylist()]


def place(x: int | None) -> tuple[bool, int]:
    return (x is None, x or 0)  # NULLs come last


@settings(max_examples=30 * MORE, deadline=None)
@given(rows_of)
def test_ranks_and_sums_as_python_counts_them(rows):
    got = asked(
        "SELECT id, ROW_NUMBER() OVER (PARTITION BY g ORDER BY x, id) AS n, RANK() OVER (PARTITION BY g ORDER BY x) AS r, DENSE_RANK() OVER (PARTITION BY g ORDER BY x) AS d,"
        " COUNT(*) OVER (PARTITION BY g) AS c, SUM(x) OVER (PARTITION BY g ORDER BY id) AS s, LAG(x) OVER (ORDER BY id) AS before, LEAD(x, 2) OVER (ORDER BY id) AS later,"
        " MAX(x) OVER () AS most FROM s.t ORDER BY id",
        rows,
    )
    known = [x for _, x in rows if x is not None]
    expected = []
    for number, (g, x) in enumerate(rows):
        mine = [(other, m) for m, (h, other) in enumerate(rows) if h == g]
        before = [item for item in mine if (place(item[0]), item[1]) < (place(x), number)]
        smaller = [item for item in mine if place(item[0]) < place(x)]
        running = [other for other, m in mine if m <= number and other is not None]
        expected.append(
            (
                number, len(before) + 1, len(smaller) + 1, len({place(item[0]) for item in smaller}) + 1, len(mine), sum(running) if running else None,
                rows[number - 1][1] if number else None, rows[number + 2][1] if number + 2 < len(rows) else None, max(known, default=None),
            )
        )  # fmt: skip
    assert got == expected


ROWS = [("a", 1), ("a", 2), ("b", 2), ("b", None), (None, 7)]


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("SELECT g, RANK() OVER (ORDER BY COUNT(*) DESC, g) AS r FROM s.t GROUP BY g ORDER BY r", [("a", 1), ("b", 2), (None, 3)]),
        ("SELECT SUM(COUNT(*)) OVER () AS n FROM s.t GROUP BY g", [(5,)] * 3),
        ("SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY g ORDER BY id) AS n FROM s.t) AS q WHERE n = 2 ORDER BY id", [(1,), (3,)]),
        ("SELECT TOP 2 id, COUNT(*) OVER () AS n FROM s.t ORDER BY x DESC, id", [(4, 5), (1, 5)]),
        ("SELECT id FROM s.t ORDER BY ROW_NUMBER() OVER (ORDER BY id DESC) OFFSET 3", [(1,), (0,)]),
        ("SELECT NTILE(2) OVER (ORDER BY id) AS q, FIRST_VALUE(id) OVER (ORDER BY id DESC) AS f FROM s.t ORDER BY id", [(1, 4)] * 3 + [(2, 4)] * 2),
        ("SELECT COUNT(DISTINCT x) OVER () AS n, AVG(x) OVER (PARTITION BY g) AS m FROM s.t WHERE g = 'a'", [(2, 1.5)] * 2),
        ("SELECT PERCENT_RANK() OVER (ORDER BY id) AS p, CUME_DIST() OVER (ORDER BY id) AS c FROM s.t ORDER BY 1", [(n / 4, (n + 1) / 5) for n in range(5)]),
        ("SELECT MEDIAN(x) OVER () AS m, LAST_VALUE(id) OVER (ORDER BY g) AS l FROM s.t WHERE g IS NOT NULL AND x = 2 ORDER BY l", [(2.0, 1), (2.0, 2)]),
    ],
)  # fmt: skip
def test_where_windows_stand(query, answer):
    assert asked(query, ROWS) == answer


def test_what_is_known_of_them():
    columns = bind(
        parse("SELECT LAG(id) OVER (ORDER BY id), MAX(x) OVER () AS most, COUNT(*) OVER (), RANK() OVER (ORDER BY x) FROM s.t"),
        Tables([TABLE]),
    ).columns
    assert [(item.name, str(item.type), item.unit) for item in columns] == [
        ("lag_id", "int64", None), ("most", "int32", "mag"), ("count_all", "int64", None), ("rank_4", "int64", None),
    ]  # fmt: skip
    assert not columns[0].required  # the first row has no row before it


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT id FROM s.t WHERE RANK() OVER (ORDER BY x) < 3", "cannot stand in WHERE; put its query into FROM"),
        ("SELECT g FROM s.t GROUP BY g HAVING COUNT(*) OVER () > 1", "cannot stand in HAVING"),
        ("SELECT MAX(RANK() OVER (ORDER BY x)) FROM s.t", "cannot stand in the argument of MAX"),
        ("SELECT SUM(RANK() OVER (ORDER BY x)) OVER () FROM s.t", "cannot stand in a window"),
        ("SELECT g, RANK() OVER (ORDER BY x) FROM s.t GROUP BY g", "column 'x' is neither grouped by"),
        ("SELECT RANK() FROM s.t", "RANK is a window function; write RANK"),
        ("SELECT UPPER(g) OVER () FROM s.t", "UPPER cannot stand before OVER"),
        ("SELECT RANKK() OVER () FROM s.t", "did you mean 'RANK'"),
        ("SELECT RANK(DISTINCT x) OVER () FROM s.t", "DISTINCT"),
        ("SELECT NTILE(id) OVER () FROM s.t", "must be written as a literal"),
        ("SELECT RANK(3) OVER () FROM s.t", "RANK takes 0 arguments"),
        ("SELECT RANK() OVER (PARTITION x) FROM s.t", "BY after PARTITION"),
        ("SELECT RANK() OVER (ORDER BY x RANGE 1 PRECEDING) FROM s.t", "no frame"),
        ("SELECT RANK() OVER (ORDER BY x FROM s.t", "PARTITION BY, ORDER BY or a closing parenthesis"),
    ],
)
def test_what_is_refused(query, words):
    with pytest.raises((BindError, ParseError), match=re.escape(words)) as caught:
        bind(parse(query), Tables([TABLE]))
    assert caught.value.column > 1


def test_adql_20_has_none():
    with pytest.raises(ParseError, match="extension"):
        parse("SELECT COUNT(*) OVER () FROM t", "2.0")


def test_the_reference_names_each():
    page = Path(ROOT / "docs/reference/adql.md").read_text(encoding="utf-8")
    for name in itertools.chain(WINDOWS, OVER_GROUPS):
        assert re.search(rf"\b{name}\b", page), name
    assert all(entry.doc in page for entry in WINDOWS.values())
