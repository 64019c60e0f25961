"""The query pipeline: `run_query` applies access control, limits and cancellation to the queries of every service."""

from __future__ import annotations

from hven.query._data_origin import describe_origins
from hven.query._pipeline import explain_query, has_cached_plan, may_name_objects, run_query
from hven.query._query_result import QueryResult
from hven.query.result_head import WARNING_INFO_NAME, build_result_head, warn_unused_parameters

__all__ = [
    "WARNING_INFO_NAME",
    "QueryResult",
    "build_result_head",
    "describe_origins",
    "explain_query",
    "has_cached_plan",
    "may_name_objects",
    "run_query",
    "warn_unused_parameters",
]
