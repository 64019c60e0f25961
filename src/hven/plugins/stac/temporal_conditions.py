"""Conditions on times: instants, intervals, and the temporal predicates of CQL2."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hven.adql.syntax_tree import (
    CastExpression,
    Comparison,
    Disjunction,
    Expr,
    FunctionCall,
    Literal,
    NullPredicate,
    build_column_ref,
    join_conditions_with_and,
)
from hven.model.errors import ParamError
from hven.model.table import is_time_column
from hven.plugins.stac.constant_conditions import FALSE_CONDITION, TRUE_CONDITION

if TYPE_CHECKING:
    from hven.model.table import Column
    from hven.plugins.stac.item_tables import ItemTable

UNIX_EPOCH_JD = 2_440_587.5
DAY_SECONDS = 86_400.0
# predicate -> conditions on the ends of the property (s, e) and those of the interval (a, b), or'ed if after "|"
TEMPORAL_OPERATORS = {
    "t_after": "s > b",
    "t_before": "e < a",
    "t_contains": "s < a, e > b",
    "t_disjoint": "e < a | s > b",
    "t_during": "s > a, e < b",
    "t_equals": "s = a, e = b",
    "t_finishedBy": "s < a, e = b",
    "t_finishes": "s > a, e = b",
    "t_intersects": "s <= b, e >= a",
    "t_meets": "e = a",
    "t_metBy": "s = b",
    "t_overlappedBy": "s > a, s < b, e > b",
    "t_overlaps": "s < a, e > a, e < b",
    "t_startedBy": "s = a, e > b",
    "t_starts": "s = a, e < b",
}
_REVERSED_OPERATORS = {
    "t_after": "t_before",
    "t_before": "t_after",
    "t_contains": "t_during",
    "t_during": "t_contains",
    "t_finishedBy": "t_finishes",
    "t_finishes": "t_finishedBy",
    "t_meets": "t_metBy",
    "t_metBy": "t_meets",
    "t_overlappedBy": "t_overlaps",
    "t_overlaps": "t_overlappedBy",
    "t_startedBy": "t_starts",
    "t_starts": "t_startedBy",
}
_END_NAMES = ("start_datetime", "end_datetime")
_COMPARE_BY_OPERATOR = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_INSTANT_PATTERN = re.compile(r"\d{4}-\d{2}-\d{2}(?:[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2}))?")


@dataclass(frozen=True)
class TimeSpan:
    """A span of time; None is open."""

    begin: datetime | None
    end: datetime | None

    def is_overlapping(self, other: TimeSpan) -> bool:
        """Return whether two spans have an instant in common.

        Parameters
        ----------
        other
            Another span.
        """
        begins_in_time = self.begin is None or other.end is None or self.begin <= other.end
        ends_in_time = self.end is None or other.begin is None or self.end >= other.begin
        return begins_in_time and ends_in_time


def parse_instant(text: str, name: str = "filter") -> datetime:
    """Parse a time of RFC 3339, or a date in a filter: the standard of the parameter ``datetime`` allows no dates.

    Parameters
    ----------
    text
        The time.
    name
        Name of the parameter.

    Returns
    -------
    instant
        In UTC.

    Raises
    ------
    ParamError
        The text is no time.
    """
    is_date = len(text) == len("2004-01-14")
    if _INSTANT_PATTERN.fullmatch(text) and not (is_date and name == "datetime"):
        try:
            # Python reads six digits of a second
            shortened_text = re.sub(r"(\.\d{6})\d+", r"\1", text.upper().replace(" ", "T"))
            parsed_time = datetime.fromisoformat(shortened_text)
        except ValueError:
            pass
        else:
            if parsed_time.tzinfo is None:
                return parsed_time.replace(tzinfo=UTC)
            return parsed_time.astimezone(UTC)
    raise ParamError(f"{text!r:.60} is not a time", name=name, remedy="write 2004-01-14T00:00:00Z")


def parse_time_span(text: str, name: str = "datetime") -> TimeSpan:
    """Parse an instant or an interval.

    Parameters
    ----------
    text
        ``a``, ``a/b``, ``../b`` or ``a/..``; an empty end is open, too.
    name
        Name of the parameter, for messages.

    Returns
    -------
    span
        An instant is a span whose ends are equal.

    Raises
    ------
    ParamError
        The text is no time, or ends before it begins.
    """
    ends = text.split("/")
    if len(ends) == 1:
        instant = parse_instant(text, name)
        return TimeSpan(instant, instant)
    remedy = "write 2004-01-14T00:00:00Z/2004-02-01T00:00:00Z, with .. for an open end"
    if len(ends) != 2 or all(end in {"", ".."} for end in ends):
        raise ParamError(f"{text!r:.80} is not a time interval", name=name, remedy=remedy)
    begin, end = (None if part in {"", ".."} else parse_instant(part, name) for part in ends)
    if begin is not None and end is not None and begin > end:
        raise ParamError(f"{text!r:.80} ends before it begins", name=name, remedy=remedy)
    return TimeSpan(begin, end)


def build_instant_literal(instant: datetime, column: Column) -> Expr:
    """Build the literal of an instant in the type of a column.

    Parameters
    ----------
    instant
        Time in UTC.
    column
        A timestamp, or days from an epoch.
    """
    if column.epoch is None:
        return CastExpression(Literal(instant.replace(tzinfo=None).isoformat()), "TIMESTAMP")
    unix_days = (instant - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() / DAY_SECONDS
    return Literal(unix_days + (UNIX_EPOCH_JD - column.epoch))


def find_time_columns(node: object, item_table: ItemTable) -> tuple[Column, Column] | None:
    """Find the columns of a temporal property: equal ones, or begin and end for ``datetime``.

    Parameters
    ----------
    node
        CQL2 JSON.
    item_table
        Table of the items.

    Returns
    -------
    columns
        None if the node is not a temporal property.
    """
    name = node.get("property") if isinstance(node, dict) else None
    if not isinstance(name, str):
        return None
    name = name.removeprefix("properties.")
    if name in {"datetime", "start_datetime", "end_datetime"}:
        if item_table.time_columns is None:
            return None
        begin, end = item_table.time_columns
        return {"datetime": (begin, end), "start_datetime": (begin, begin), "end_datetime": (end, end)}[name]
    column = item_table.find_property_column(name)
    if column is None or not is_time_column(column) or column.epoch is not None:
        return None
    return column, column


def build_span_condition(
    span: TimeSpan, item_table: ItemTable, collection_span: TimeSpan | None, operation: str = "t_intersects"
) -> Expr:
    """Build the condition on the times of rows; rows without a time have that of their collection.

    Parameters
    ----------
    span
        Span with which times are compared.
    item_table
        Table of the items.
    collection_span
        Span of the collection; None if it is not known.
    operation
        A key of `TEMPORAL_OPERATORS`.
    """
    if item_table.time_columns is None:
        is_true = collection_span is None or collection_span.is_overlapping(span)
        return TRUE_CONDITION if is_true else FALSE_CONDITION
    begin, end = item_table.time_columns
    condition = _build_temporal_predicate(operation, (begin, end), span)
    if operation == "t_intersects" and collection_span is not None and collection_span.is_overlapping(span):
        return Disjunction((condition, _build_missing_time_condition((begin, end))))
    return condition


def build_end_condition(
    op: str, node: dict[str, Any], instant: datetime, item_table: ItemTable, collection_span: TimeSpan | None
) -> Expr | None:
    """Build a comparison of ``start_datetime`` or ``end_datetime``, which each item has.

    Parameters
    ----------
    op
        Operator of the comparison.
    node
        The property in CQL2 JSON.
    instant
        Time with which it is compared.
    item_table
        Table of the items.
    collection_span
        Span of the collection, which items without a time have.

    Returns
    -------
    condition
        None for other properties.
    """
    name = str(node["property"]).removeprefix("properties.")
    if item_table.time_columns is None or name not in _END_NAMES:
        return None
    own, other = item_table.time_columns if name == "start_datetime" else item_table.time_columns[::-1]
    value: Expr = build_column_ref(own.name)
    if own.name != other.name:
        value = FunctionCall("COALESCE", (value, build_column_ref(other.name)))
    condition = Comparison(op, value, build_instant_literal(instant, own))
    if collection_span is None:
        return condition
    common_instant = collection_span.begin if name == "start_datetime" else collection_span.end
    if common_instant is None or not _COMPARE_BY_OPERATOR[op](common_instant, instant):
        return condition
    return Disjunction((condition, _build_missing_time_condition(item_table.time_columns)))


def _build_missing_time_condition(columns: tuple[Column, Column]) -> Expr:
    """Build the condition that a row has neither a begin nor an end."""
    names = dict.fromkeys(column.name for column in columns)
    condition = join_conditions_with_and(*(NullPredicate(build_column_ref(name)) for name in names))
    assert condition is not None  # noqa: S101  (there is a column)
    return condition


def build_missing_datetime_condition(
    node: dict[str, Any], item_table: ItemTable, collection_span: TimeSpan | None
) -> Expr | None:
    """Build the condition that ``datetime`` is null, which it is in items that last for some time.

    Parameters
    ----------
    node
        The property in CQL2 JSON.
    item_table
        Table of the items.
    collection_span
        Span of the collection, which items without a time have.

    Returns
    -------
    condition
        None for properties that are columns.
    """
    name = str(node["property"]).removeprefix("properties.")
    if item_table.time_columns is None or name not in {"datetime", *_END_NAMES}:
        return None
    if name in _END_NAMES:
        return FALSE_CONDITION
    begin, end = item_table.time_columns
    conditions: list[Expr] = []
    if begin.name != end.name:
        conditions.append(Comparison("<>", build_column_ref(begin.name), build_column_ref(end.name)))
    if collection_span is None or collection_span.begin != collection_span.end:
        conditions.append(_build_missing_time_condition(item_table.time_columns))
    return Disjunction(tuple(conditions)) if len(conditions) > 1 else (conditions or [FALSE_CONDITION])[0]


def _build_temporal_predicate(operation: str, columns: tuple[Column, Column], span: TimeSpan) -> Expr:
    """Build a temporal predicate; ends that are open are before or after all times."""
    begin, end = columns
    alternatives: list[Expr] = []
    for alternative in TEMPORAL_OPERATORS[operation].split("|"):
        parts = [_build_span_end_comparison(text, begin, end, span) for text in alternative.split(",")]
        joined = join_conditions_with_and(*parts)
        alternatives.append(joined if joined is not None else TRUE_CONDITION)
    return alternatives[0] if len(alternatives) == 1 else Disjunction(tuple(alternatives))


def _build_span_end_comparison(text: str, begin: Column, end: Column, span: TimeSpan) -> Expr:
    own_word, op, other_word = text.split()
    column, other_column = (begin, end) if own_word == "s" else (end, begin)
    instant = span.begin if other_word == "a" else span.end
    value: Expr = build_column_ref(column.name)
    if begin.name != end.name:  # one end alone is an instant
        value = FunctionCall("COALESCE", (value, build_column_ref(other_column.name)))
    if instant is not None:
        return Comparison(op, value, build_instant_literal(instant, column))
    is_below_end = other_word == "b" and op.startswith("<")
    is_above_begin = other_word == "a" and op.startswith(">")
    if is_below_end or is_above_begin:
        return NullPredicate(value, negated=True)
    return FALSE_CONDITION


def build_temporal_condition(
    operation: str, first: Any, second: Any, item_table: ItemTable, collection_span: TimeSpan | None
) -> Expr:
    """Build a temporal predicate of CQL2.

    Parameters
    ----------
    operation
        A key of `TEMPORAL_OPERATORS`.
    first, second
        A property, and an instant or an interval, in any order.
    item_table
        Table of the items.
    collection_span
        Span of the collection, for rows without a time.

    Raises
    ------
    ParamError
        There is no temporal property, or no time.
    """
    if _find_property_columns(first, item_table) is None:
        first, second = second, first
        operation = _REVERSED_OPERATORS.get(operation, operation)
    columns = _find_property_columns(first, item_table)
    if columns is None or not isinstance(second, dict):
        remedy = "compare datetime, start_datetime or end_datetime with a time"
        raise ParamError(f"{operation} needs a temporal property and a time", name="filter", remedy=remedy)
    span = _read_temporal_value(second)
    if columns == item_table.time_columns:
        return build_span_condition(span, item_table, collection_span, operation)
    return _build_temporal_predicate(operation, columns, span)


def _find_property_columns(node: Any, item_table: ItemTable) -> tuple[Column, Column] | None:
    """Find the columns of a temporal property, or of an interval between two of them."""
    interval = node.get("interval") if isinstance(node, dict) else None
    if not isinstance(interval, list) or len(interval) != 2:
        return find_time_columns(node, item_table)
    first, last = (find_time_columns(end, item_table) for end in interval)
    return None if first is None or last is None else (first[0], last[1])


def _read_temporal_value(node: dict[str, Any]) -> TimeSpan:
    interval = node.get("interval")
    if isinstance(interval, list) and len(interval) == 2:
        ends = [end.get("timestamp", end.get("date")) if isinstance(end, dict) else end for end in interval]
        return parse_time_span(f"{ends[0]}/{ends[1]}", "filter")
    instant = node.get("timestamp", node.get("date"))
    if isinstance(instant, str):
        return parse_time_span(instant, "filter")
    raise ParamError(
        "a temporal predicate has no time", name="filter", remedy="write TIMESTAMP('2004-01-14T00:00:00Z')"
    )
