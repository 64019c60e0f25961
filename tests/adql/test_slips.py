"""Slips of people who know another database: each error has its place, its reason and a remedy that holds (tests/corpus/adql-bind/slips.sql)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adql_sky import CATALOGUE
from hven.adql import bind_query, parse_expression, parse_query
from hven.adql._foreign_functions import FOREIGN_FUNCTION_REMEDIES
from hven.adql.functions import NAME_RESOLVING_FUNCTIONS, QUERY_FUNCTIONS, WINDOW_FUNCTIONS
from hven.model.errors import BindError, ParseError

SLIPS = Path(__file__).parent.parent / "corpus" / "adql-bind" / "slips.sql"


def slips():
    for block in SLIPS.read_text(encoding="utf-8").split("--# ")[1:]:
        _, rest = block.split("\n", 1)
        query, said = rest.strip("\n").split("\n--! ")
        yield pytest.param(query, said, id=query)


@pytest.mark.parametrize(("query", "said"), list(slips()))
def test_slip(query, said):
    with pytest.raises((BindError, ParseError)) as caught:
        bind_query(parse_query(query), CATALOGUE)
    error = caught.value
    assert str(error) == said
    assert error.message
    assert error.remedy
    assert 0 <= error.offset <= len(query)
    assert (error.line, error.column) == (1, error.offset + 1)


def test_there_are_many():
    assert len(list(slips())) > 120


def test_the_position_is_right_behind_line_breaks():
    with pytest.raises(BindError) as caught:
        bind_query(parse_query("SELECT ra,\n  NVL(rmag, 0)\nFROM stars"), CATALOGUE)
    assert str(caught.value) == "line 2, column 3: no function NVL; write COALESCE(a, b)"


@pytest.mark.parametrize("name", sorted(FOREIGN_FUNCTION_REMEDIES))
def test_what_is_said_of_other_functions(name):
    """None of them is a function here, and what the remedy calls is one, or CASE, CAST, IN ..."""
    assert QUERY_FUNCTIONS.find_function(name) is None
    for called in re.findall(r"\b([A-Za-z_][A-Za-z_0-9]*)\(", FOREIGN_FUNCTION_REMEDIES[name]):
        assert QUERY_FUNCTIONS.find_function(called.upper()) or called.upper() in {
            *WINDOW_FUNCTIONS,
            *NAME_RESOLVING_FUNCTIONS,
            "CAST",
            "CHAR",
        }, called


@pytest.mark.parametrize("name", ["IFNULL", "SUBSTR", "YEAR", "LEFT", "Q3C_DIST", "TO_CHAR", "BITAND"])
def test_their_remedy_is_told(name):
    with pytest.raises((BindError, ParseError), match=re.escape(FOREIGN_FUNCTION_REMEDIES[name])):
        bind_query(parse_query(f"SELECT {name}(ra, dec) FROM stars"), CATALOGUE)


def test_a_function_beside_a_descriptor_may_have_such_a_name():
    """The parser leaves names alone whose arguments it can read: the function table decides."""
    assert parse_query("SELECT IFNULL(ra, 0) FROM stars")
    assert parse_expression("SUBSTRING(a, 1, 2)")
