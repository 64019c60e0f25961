"""ADQL 2.1: text -> tree -> bound tree -> SQL. Pure."""

from hven.adql._blame import placed
from hven.adql._parser import parse, parse_condition, parse_expression
from hven.adql._row_policy import (
    AHEAD,
    EPOCH,
    PEOPLE,
    Delegation,
    Facts,
    RowPolicy,
    check_policy,
    instant,
    names_in,
    normal,
    present,
    sees_all,
    told,
)
from hven.adql.bind import bind, bind_condition, bind_expression
from hven.adql.text import quote

__all__ = [
    "AHEAD",
    "EPOCH",
    "PEOPLE",
    "Delegation",
    "Facts",
    "RowPolicy",
    "bind",
    "bind_condition",
    "bind_expression",
    "check_policy",
    "instant",
    "names_in",
    "normal",
    "parse",
    "parse_condition",
    "parse_expression",
    "placed",
    "present",
    "quote",
    "sees_all",
    "told",
]
