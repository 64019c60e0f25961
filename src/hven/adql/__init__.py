"""ADQL 2.1: text -> tree -> bound tree -> SQL. Pure."""

from hven.adql.parser import parse, parse_condition, parse_expression

__all__ = ["parse", "parse_condition", "parse_expression"]
