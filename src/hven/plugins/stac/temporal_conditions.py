"""Conditions on times: instants, intervals, and the temporal predicates of CQL2; and the times of rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.syntax_tree import (
    CastExpression,
    Comparison,
    Expr,
    FunctionCall,
    Literal,
    NullPredicate,
    build_column_ref,
    join_conditions_with_and,
)
from hven.model.errors import ParamError
from hven.model.table import is_time_column
from hven.plugins.stac.condition_parts import (
    FALSE_CONDITION,
    TRUE_CONDITION,
    build_filter_error,
    join_alternatives,
)

if TYPE_CHECKING:
    from hven.model.table import Column
    from hven.plugins.stac.item_tables import ItemTable

UNIX_EPOCH_JD = 2_440_587.5
DAY_SECONDS = 86_400.0
DAY_MILLISECONDS = 86_400_000
_LARGEST_INSTANT = pa.scalar(253_402_300_799_000)  # end of the year 9999, milliseconds
_SMALLEST_INSTANT = pa.scalar(-62_135_596_800_000)  # begin of the year 1, milliseconds
_NULL_INTEGER = pa.scalar(None, pa.int64())
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
_REVERSED_PAIRS = {
    "t_after": "t_before",
    "t_contains": "t_during",
    "t_finishedBy": "t_finishes",
    "t_meets": "t_metBy",
    "t_overlappedBy": "t_overlaps",
    "t_startedBy": "t_starts",
}
_REVERSED_OPERATORS = _REVERSED_PAIRS | {second: first for first, second in _REVERSED_PAIRS.items()}
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
    return Literal(instant.timestamp() / DAY_SECONDS + (UNIX_EPOCH_JD - column.epoch))


def to_instants(values: pa.Array, column: Column) -> pa.Array:
    """Convert the values of a column of times to timestamps in milliseconds; those outside the years 1 to 9999 to null.

    Parameters
    ----------
    values
        Timestamps, or days from the epoch of the column.
    column
        The column.
    """
    if column.epoch is None:
        milliseconds = values.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
    else:
        days = np.asarray(values.cast(pa.float64()).fill_null(np.nan), np.float64)
        unix_days = days + (column.epoch - UNIX_EPOCH_JD)
        is_time = np.isfinite(unix_days) & (np.abs(unix_days) < 1e7)
        rounded = np.round(np.where(is_time, unix_days, 0.0) * DAY_MILLISECONDS).astype(np.int64)
        milliseconds = pa.array(rounded, mask=~is_time)
    is_in_range = pc.and_(
        pc.greater_equal(milliseconds, _SMALLEST_INSTANT),
        pc.less_equal(milliseconds, _LARGEST_INSTANT),
    )
    return pc.if_else(is_in_range, milliseconds, _NULL_INTEGER).cast(pa.timestamp("ms"))


@dataclass(frozen=True)
class TemporalProperty:
    """The begin and the end of a temporal property in each row.

    Attributes
    ----------
    begin, end
        Values of the begin and the end in ADQL; equal for an instant.
    columns
        Columns whose types the begin and the end have.
    """

    begin: Expr
    end: Expr
    columns: tuple[Column, Column]

    def build_comparison(self, op: str, instant: datetime) -> Expr:
        """Build the comparison of the begin with an instant."""
        return Comparison(op, self.begin, build_instant_literal(instant, self.columns[0]))


def find_temporal_property(
    node: object, item_table: ItemTable, collection_span: TimeSpan | None
) -> TemporalProperty | None:
    """Find a temporal property; rows without a time have that of their collection, as their items have.

    Parameters
    ----------
    node
        CQL2 JSON: a property, or an interval between two of them.
    item_table
        Table of the items.
    collection_span
        Span of the items without a time; None if it is not known.

    Returns
    -------
    temporal_property
        None if the node is not a temporal property.
    """
    match node:
        case {"interval": [_, _] as interval}:
            first, last = (find_temporal_property(end, item_table, collection_span) for end in interval)
            if first is None or last is None:
                return None
            return TemporalProperty(first.begin, last.end, (first.columns[0], last.columns[1]))
        case {"property": str(name)}:
            return _find_named_property(name.removeprefix("properties."), item_table, collection_span)
    return None


def _find_named_property(name: str, item_table: ItemTable, collection_span: TimeSpan | None) -> TemporalProperty | None:
    if name in {"datetime", "start_datetime", "end_datetime"} and item_table.time_columns is not None:
        begin, end = item_table.time_columns
        span = collection_span or TimeSpan(None, None)
        first_value, last_value = _build_end_value(begin, end, span.begin), _build_end_value(end, begin, span.end)
        values = {
            "datetime": TemporalProperty(first_value, last_value, (begin, end)),
            "start_datetime": TemporalProperty(first_value, first_value, (begin, begin)),
            "end_datetime": TemporalProperty(last_value, last_value, (end, end)),
        }
        return values[name]
    column = item_table.find_property_column(name)
    if column is None or not is_time_column(column) or column.epoch is not None:
        return None
    value = build_column_ref(column.name)
    return TemporalProperty(value, value, (column, column))


def _build_end_value(own: Column, other: Column, missing_instant: datetime | None) -> Expr:
    """Build the value of an end: one end alone is an instant."""
    values: list[Expr] = [build_column_ref(name) for name in dict.fromkeys((own.name, other.name))]
    if missing_instant is not None:
        values.append(build_instant_literal(missing_instant, own))
    return values[0] if len(values) == 1 else FunctionCall("COALESCE", tuple(values))


def build_span_condition(span: TimeSpan, item_table: ItemTable, collection_span: TimeSpan) -> Expr:
    """Build the condition that the times of rows overlap a span.

    Parameters
    ----------
    span
        Span with which times are compared.
    item_table
        Table of the items.
    collection_span
        Span of the items without a time.
    """
    own = find_temporal_property({"property": "datetime"}, item_table, collection_span)
    if own is None:
        return TRUE_CONDITION if collection_span.is_overlapping(span) else FALSE_CONDITION
    return _build_temporal_predicate("t_intersects", own, span)


def _build_temporal_predicate(operation: str, own: TemporalProperty, span: TimeSpan) -> Expr:
    """Build a temporal predicate; ends that are open are before or after all times."""
    alternatives = []
    for alternative in TEMPORAL_OPERATORS[operation].split("|"):
        parts = [_build_span_end_comparison(text, own, span) for text in alternative.split(",")]
        alternatives.append(join_conditions_with_and(*parts) or TRUE_CONDITION)
    return join_alternatives(alternatives)


def _build_span_end_comparison(text: str, own: TemporalProperty, span: TimeSpan) -> Expr:
    own_word, op, other_word = text.split()
    value, column = (own.begin, own.columns[0]) if own_word == "s" else (own.end, own.columns[1])
    instant = span.begin if other_word == "a" else span.end
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
    own = find_temporal_property(first, item_table, collection_span)
    if own is None:
        own, second = find_temporal_property(second, item_table, collection_span), first
        operation = _REVERSED_OPERATORS.get(operation, operation)
    if own is None or not isinstance(second, dict):
        remedy = "compare datetime, start_datetime or end_datetime with a time"
        raise build_filter_error(f"{operation} needs a temporal property and a time", remedy)
    return _build_temporal_predicate(operation, own, _read_temporal_value(second))


def _read_temporal_value(node: dict[str, Any]) -> TimeSpan:
    match node:
        case {"interval": [_, _] as interval}:
            ends = [end.get("timestamp", end.get("date")) if isinstance(end, dict) else end for end in interval]
            return parse_time_span(f"{ends[0]}/{ends[1]}", "filter")
        case {"timestamp": str(instant)} | {"date": str(instant)}:
            return parse_time_span(instant, "filter")
    raise build_filter_error("a temporal predicate has no time", "write TIMESTAMP('2004-01-14T00:00:00Z')")
