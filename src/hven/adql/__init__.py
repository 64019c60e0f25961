"""ADQL 2.1 without I/O: parse a query, bind its names to columns, and write it as SQL."""

from hven.adql._error_locations import locate_evaluation_error
from hven.adql._parser import parse_condition, parse_expression, parse_query
from hven.adql._row_policy import (
    MAX_PERSON_TEXTS,
    MAX_UPCOMING_INSTANTS,
    UNIX_EPOCH,
    PolicyRowFacts,
    RowDelegation,
    RowPolicy,
    build_instant_literal,
    check_row_policy,
    decide_policy_for_everybody,
    describe_row_policy,
    get_current_instant,
    normalize_person_name,
    parse_person_names,
)
from hven.adql.adql_writer import quote_adql_name, quote_table_name
from hven.adql.binder import bind_condition, bind_expression, bind_query

__all__ = [
    "MAX_PERSON_TEXTS",
    "MAX_UPCOMING_INSTANTS",
    "UNIX_EPOCH",
    "PolicyRowFacts",
    "RowDelegation",
    "RowPolicy",
    "bind_condition",
    "bind_expression",
    "bind_query",
    "build_instant_literal",
    "check_row_policy",
    "decide_policy_for_everybody",
    "describe_row_policy",
    "get_current_instant",
    "locate_evaluation_error",
    "normalize_person_name",
    "parse_condition",
    "parse_expression",
    "parse_person_names",
    "parse_query",
    "quote_adql_name",
    "quote_table_name",
]
