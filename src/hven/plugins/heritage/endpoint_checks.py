"""Endpoints over tables, before anything is published.

What they ask must be there, and of a type that goes with what is done to it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hven import adql
from hven.adql.syntax_tree import ColumnRef, Literal, transform_tree
from hven.model.errors import Fault, HvenError, ParseError
from hven.plugins.heritage.endpoint_loading import PARAM_PREFIX, SECONDS_PARAM
from hven.plugins.heritage.table_endpoints import list_endpoints

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.descriptor.api.keys import QueryColumnFinder
    from hven.model.params import Param
    from hven.model.resource import CollectionSpec
    from hven.plugins.heritage.table_endpoints import TableEndpoint

_FROM_ENDPOINT = " FROM endpoint"


def find_endpoint_faults(resource: CollectionSpec, find_query_columns: QueryColumnFinder) -> Iterator[Fault]:
    """Check that each part of an endpoint fits its table, by queries with values of the right types.

    Tables whose columns are not known are left out.
    """
    for spec in resource.tables:
        for endpoint in list_endpoints(spec.table):
            values = {each.param.name.lower(): _build_sample_value(each.param) for each in endpoint.params}
            tables = f" FROM {adql.quote_adql_name(resource.name)}.{adql.quote_adql_name(spec.table.name)}"
            for key, query_text in _iterate_endpoint_test_queries(endpoint):
                try:
                    query = adql.parse_query(query_text.replace(_FROM_ENDPOINT, tables))
                    query_tree = transform_tree(
                        query,
                        partial(_replace_param_reference, values={**values, SECONDS_PARAM: 60}),
                    )
                    has_known_columns = find_query_columns(query_tree) is not None
                except ParseError:
                    continue  # it is told already
                except HvenError as error:
                    message = f"tables.{spec.table.name}.endpoints.{endpoint.name}.{key}: {error.message}"
                    place = endpoint.place or spec.place
                    yield Fault(message=message, place=place, remedy=error.remedy)
                else:
                    if not has_known_columns:
                        return


def _iterate_endpoint_test_queries(endpoint: TableEndpoint) -> Iterator[tuple[str, str]]:
    """Yield queries for each key."""
    if endpoint.column is not None:
        yield "path", f"SELECT {adql.quote_adql_name(endpoint.column)} AS x{_FROM_ENDPOINT}"
    for key, condition in (
        ("where", endpoint.condition),
        *((f"params.{each.client_name}.where", each.condition) for each in endpoint.params),
        *((f"cadence.{name}", condition) for name, condition in endpoint.cadences.items()),
    ):
        if condition is not None:
            yield key, f"SELECT 1 AS x{_FROM_ENDPOINT} WHERE {condition}"
    column_lists = {"columns": endpoint.columns} | {
        f"params.{each.client_name}.columns.{value}": of
        for each in endpoint.params
        for value, of in each.columns.items()
    }
    for key, columns in column_lists.items():
        if columns:
            yield key, f"SELECT {', '.join(columns)}{_FROM_ENDPOINT}"
    if endpoint.order_by:
        yield "order", f"SELECT 1 AS x{_FROM_ENDPOINT} ORDER BY {', '.join(endpoint.order_by)}"


def _build_sample_value(param: Param) -> float | int | str | bool:
    """Make a value such as a request has."""
    if param.type.is_timestamp:
        return "2000-01-01T00:00:00"
    if param.type.is_boolean:
        return True
    if not param.type.is_numeric:
        return param.default or next(iter(param.allowed), "x")
    if param.type.is_integer:
        return int(param.minimum or 1)
    return float(param.minimum or 1)


def _replace_param_reference(node: Any, values: Mapping[str, float | str | bool]) -> Any:
    if not isinstance(node, ColumnRef) or [part.name.lower() for part in node.qualifier] != [PARAM_PREFIX]:
        return node
    return Literal(values.get(node.name.name.lower(), 1))
