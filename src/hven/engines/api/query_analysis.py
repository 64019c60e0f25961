"""What a bound query reads, and which rows its conditions need: columns, bounds, constants, narrowable SELECTs."""

from __future__ import annotations

from hven.engines._query_analysis.constants import (
    ColumnValueRange,
    Constant,
    Listed,
    analyse_column_bounds,
    compile_constant,
    parse_timestamp_microseconds,
)
from hven.engines._query_analysis.empty_members import is_certainly_empty
from hven.engines._query_analysis.narrowable_selects import (
    NarrowableSelect,
    analyse_select,
    bind_policy_condition_to_table,
    match_indexed_position,
)
from hven.engines._query_analysis.query_flattening import flatten_query
from hven.engines._query_analysis.row_policies import write_policy_conditions
from hven.engines._query_analysis.union_pushdown import push_conditions_into_unions

__all__ = [
    "ColumnValueRange",
    "Constant",
    "Listed",
    "NarrowableSelect",
    "analyse_column_bounds",
    "analyse_select",
    "bind_policy_condition_to_table",
    "compile_constant",
    "flatten_query",
    "is_certainly_empty",
    "match_indexed_position",
    "parse_timestamp_microseconds",
    "push_conditions_into_unions",
    "write_policy_conditions",
]
