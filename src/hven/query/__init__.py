"""The query pipeline: `run_query` applies access control, limits and cancellation to the queries of every service."""

from __future__ import annotations

from hven.query._data_origin import build_data_origin_infos
from hven.query._pipeline import explain_query, run_query
from hven.query._planning import PlannedQuery, find_cached_query_plan, has_object_name_call
from hven.query._query_observers import QueryObserver
from hven.query._query_result import (
    WARNING_INFO_NAME,
    QueryResult,
    build_result_metadata,
    build_unused_parameter_warnings,
)

__all__ = [
    "WARNING_INFO_NAME",
    "PlannedQuery",
    "QueryObserver",
    "QueryResult",
    "build_data_origin_infos",
    "build_result_metadata",
    "build_unused_parameter_warnings",
    "explain_query",
    "find_cached_query_plan",
    "has_object_name_call",
    "run_query",
]
