"""Which part of a query is blamed for a value that could not be computed: never the reader's text for what a view does."""

from __future__ import annotations

import pytest

from hven.adql import bind_query, locate_evaluation_error, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.model.errors import EvaluationError
from hven.model.table import Column, Table
from hven.model.types import INT32, STRING

NOTES = Table(schema="a", name="notes", columns=(Column(name="note", type=STRING), Column(name="n", type=INT32)))
VIEW = Table(
    schema="a",
    name="seen",
    columns=(Column(name="m", type=INT32),),
    view="SELECT CAST(note AS INTEGER) AS m FROM a.notes",
)
OUTER = Table(schema="a", name="outer_one", columns=(Column(name="m", type=INT32),), view="SELECT m FROM a.seen")
PLAIN = Table(schema="a", name="plain", columns=(Column(name="n", type=INT32),), view="SELECT n FROM a.notes")
FAULT = EvaluationError("'x' cannot be read as INTEGER", remedy="CASE")


def locate_error(text: str) -> EvaluationError:
    return locate_evaluation_error(
        FAULT, text, bind_query(parse_query(text), StaticTableCatalogue((NOTES, VIEW, OUTER, PLAIN))).query
    )


@pytest.mark.parametrize(
    "text", ["SELECT m FROM a.seen", "SELECT m + 1 AS k FROM a.seen AS s", "SELECT m FROM a.outer_one WHERE m > 3"]
)
def test_a_cast_in_a_view_is_told_by_where_the_view_is_read(text):
    error = locate_error(text)
    assert error.offset == text.index("a.")
    assert "in the view that is read here" in error.message
    assert error.remedy == "CASE"


def test_the_view_or_the_text():
    text = "SELECT CAST(note AS INTEGER) AS k FROM a.notes, a.seen"
    error = locate_error(text)
    assert error.text == ""
    assert "(possible places: the view at line 1, column 49; CASTs at line 1, column 8)" in error.message


@pytest.mark.parametrize(
    "text",
    [
        "SELECT CAST(note AS INTEGER) AS k FROM a.notes",
        "SELECT CAST(note AS INTEGER) AS k FROM a.notes, a.plain WHERE plain.n = 3",
    ],
)
def test_the_text_alone(text):
    error = locate_error(text)
    assert error.offset == text.index("CAST")
    assert "view" not in error.message
