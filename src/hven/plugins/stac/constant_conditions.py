"""Conditions that are true or false in every row: ADQL has no literals for them."""

from __future__ import annotations

from hven.adql.syntax_tree import Comparison, Literal

TRUE_CONDITION = Comparison("=", Literal(1), Literal(1))
FALSE_CONDITION = Comparison("=", Literal(1), Literal(0))
