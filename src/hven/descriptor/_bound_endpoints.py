"""Endpoints over tables, before anything is published: what they ask must be there, and of a type that goes with what is done to it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hven import adql
from hven.adql.tree import ColumnRef, Literal, transform
from hven.descriptor._old_queries import PARAM, SECONDS
from hven.model.errors import Fault, HvenError, ParseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.descriptor._derived import Derived
    from hven.model.params import Param
    from hven.model.resource import Resource
    from hven.model.table import Endpoint

_FROM = " FROM endpoint"


def unanswered(resource: Resource, derived: Derived) -> Iterator[Fault]:
    """Ask for all that endpoints take of their tables, part by part, with values of the right types, as far as the tables' columns are known."""
    for spec in resource.tables:
        for one in spec.table.endpoints:
            values = {each.param.name.lower(): _sample(each.param) for each in one.params}
            tables = f" FROM {adql.quote(resource.name)}.{adql.quote(spec.table.name)}"
            for key, text in _parts(one):
                try:
                    made = transform(
                        adql.parse(text.replace(_FROM, tables)), partial(_put, values={**values, SECONDS: 60})
                    )
                    known = derived.columns(made, resource) is not None
                except ParseError:
                    continue  # it is told already
                except HvenError as error:
                    message = f"tables.{spec.table.name}.endpoints.{one.name}.{key}: {error.message}"
                    yield Fault(message=message, place=one.place or spec.place, remedy=error.remedy)
                else:
                    if not known:
                        return


def _parts(one: Endpoint) -> Iterator[tuple[str, str]]:
    """Yield queries for each key."""
    if one.column is not None:
        yield "path", f"SELECT {adql.quote(one.column)} AS x{_FROM}"
    for key, condition in (
        ("where", one.condition),
        *((f"params.{each.said}.where", each.condition) for each in one.params),
        *((f"cadence.{name}", condition) for name, condition in one.cadences.items()),
    ):
        if condition is not None:
            yield key, f"SELECT 1 AS x{_FROM} WHERE {condition}"
    some = {"columns": one.columns} | {
        f"params.{each.said}.columns.{value}": of for each in one.params for value, of in each.columns.items()
    }
    for key, columns in some.items():
        if columns:
            yield key, f"SELECT {', '.join(columns)}{_FROM}"
    if one.order:
        yield "order", f"SELECT 1 AS x{_FROM} ORDER BY {', '.join(one.order)}"


def _sample(param: Param) -> float | int | str | bool:
    """Make a value such as a request has."""
    if param.type.is_timestamp:
        return "2000-01-01T00:00:00"
    if param.type.is_boolean:
        return True
    if not param.type.is_numeric:
        return param.default or next(iter(param.allowed), "x")
    return int(param.minimum or 1) if param.type.is_integer else float(param.minimum or 1)


def _put(node: Any, values: Mapping[str, float | str | bool]) -> Any:
    if not isinstance(node, ColumnRef) or [part.name.lower() for part in node.qualifier] != [PARAM]:
        return node
    return Literal(values.get(node.name.name.lower(), 1))
