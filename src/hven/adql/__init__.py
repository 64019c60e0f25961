"""ADQL 2.1: text -> tree -> bound tree -> SQL. Pure."""

from hven.adql.bind import bind, bind_condition, bind_expression
from hven.adql.parser import parse, parse_condition, parse_expression

__all__ = ["bind", "bind_condition", "bind_expression", "parse", "parse_condition", "parse_expression"]
