"""What engines would refuse in words of their own is refused by the binder, with its place; what they take for something else is written so that they don't."""

from __future__ import annotations

import pytest

from adql_runner import run_query
from adql_sky import CATALOGUE, ROWS
from hven.adql import bind_query, parse_query
from hven.model.errors import BindError

REFUSED = {
    "SELECT COUNT(*) AS n FROM stars GROUP BY 9223372036854775807": ("no output column", 42),
    "SELECT COUNT(*) AS n FROM stars GROUP BY 1": ("aggregate", 42),
    "SELECT ROW_NUMBER() OVER (ORDER BY id) AS r FROM stars GROUP BY r": ("window", 65),
    "SELECT ROW_NUMBER() OVER (ORDER BY id) + 1 AS r, COUNT(*) AS n FROM stars GROUP BY 1": ("window", 84),
    "SELECT ivo_string_agg(name, name) FROM stars": ("delimiter", 29),
    "SELECT ivo_string_agg('x', CAST(RAND() AS VARCHAR)) FROM stars": ("delimiter", 28),
    "SELECT CAST(name AS CHAR(99999999999999999999)) FROM stars": ("too long", 8),
    "SELECT CAST(name AS VARCHAR(2147483648)) FROM stars": ("too long", 8),
    "SELECT id, (SELECT MAX(s.rmag) FROM labels) AS m FROM stars AS s": ("uses only columns of the outer query", 20),
    "SELECT id FROM stars AS s WHERE 3 > (SELECT SUM(s.id + 1) FROM labels)": (
        "uses only columns of the outer query",
        45,
    ),
    "SELECT id FROM stars WHERE NULL BETWEEN 1 AND 'a'": ("cannot compare a number", 47),
    "SELECT id FROM stars WHERE NULL IN (1, 'a')": ("cannot compare a number", 40),
    "SELECT id FROM stars WHERE NULL NOT IN (id, name)": ("cannot compare a number", 45),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_no_engine_takes_is_refused_with_its_place(text):
    words, column = REFUSED[text]
    with pytest.raises(BindError, match=words) as told:
        bind_query(parse_query(text), CATALOGUE)
    assert (told.value.line, told.value.column) == (1, column)


ANSWERED = {
    "SELECT COUNT(*) AS n, 3 AS x FROM stars GROUP BY x": [(6, 3)],
    "SELECT COUNT(*) AS n, -5 AS x FROM stars GROUP BY 2": [(6, -5)],
    "SELECT COUNT(*) AS n, 'a' AS x FROM stars GROUP BY x, -1, NULL": [(6, "a")],
    "SELECT COUNT(*) AS n, 3 AS x FROM stars WHERE id > 100 GROUP BY x": [],  # no rows, no group
    "SELECT COUNT(*) AS n, 9223372036854775807 AS x FROM stars GROUP BY 2": [(6, 9223372036854775807)],
    "SELECT ivo_string_agg('x', ',' || LOWER(';')) AS t FROM labels": [("x,;x",)],
    "SELECT id, (SELECT COUNT(l.id) FROM labels AS l WHERE l.id = s.id) AS n FROM stars AS s WHERE id < 3 ORDER BY id": [
        (1, 1),
        (2, 0),
    ],
    "SELECT id FROM stars WHERE NULL BETWEEN '2020-01-01' AND seen": [],
    "SELECT ivo_histogram((SELECT MAX(l.id) FROM labels AS l WHERE l.id = s.id), 0, 4, 2) AS h FROM stars AS s": [
        ([4, 1, 1, 0],)
    ],
}


@pytest.mark.parametrize("text", ANSWERED)
def test_what_engines_take_for_something_else_is_answered(text):
    answer = run_query(text, ROWS, catalogue=CATALOGUE)
    assert list(zip(*(column.to_pylist() for column in answer.columns), strict=True)) == ANSWERED[text]
