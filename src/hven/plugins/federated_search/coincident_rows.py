"""Find the rows of other tables at the same time and place, with the conditions that select them.

Tables may share a time, a place on the sky, or a place on the same body with the given ones. All shared aspects must
overlap. A table that shares none is not queried.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hven.model.table import find_begin_and_end_time_columns
from hven.plugins.federated_search import global_search
from hven.portal.api.page_rows import NEAR_PARAMETER, REGION_PARAMETER, quote_parameter_name, to_unix_microseconds
from hven.portal.api.table_places import (
    BODY_COLUMNS,
    classify_table_map,
    find_footprint_column,
    find_map_frame,
    find_single_body,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.plugins.federated_search.global_search import SearchableTable, TableQueryOutcome
    from hven.portal.api.page_rows import RowPage
    from hven.portal.api.table_rows import QueryRunner

MAX_TABLES = 60  # tables that are queried
MIN_MARGIN_MICROSECONDS = 1_800_000_000  # before and after a moment: a shorter span would overlap no other moment
SKY_RADIUS_DEGREES, BODY_MARGIN_DEGREES = 0.1, 0.5  # around a point of the sky, and of a body
MAX_RADIUS_DEGREES = 30.0  # of a field of view around a point
MAX_OUTLINE_CHARACTERS = 2_000  # of an outline that is used as a condition
DAY_MICROSECONDS = 86_400_000_000
OUTLINE_PATTERN = re.compile(r"(POLYGON|CIRCLE)((?:\s+[-+0-9.eE]+)+)\s*", re.IGNORECASE)
BODY_NAME_PATTERN = re.compile(r"[\w /'-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeAndPlace:
    """A time and a place.

    Attributes
    ----------
    begin, end
        Microseconds since 1970 in UTC; None: no time.
    sky_condition
        A condition on places of the sky: its name and value.
    body, body_box
        The name of a body, and west, south, east and north on it, in degrees.
    """

    begin: int | None = None
    end: int | None = None
    sky_condition: tuple[str, str] | None = None
    body: str = ""
    body_box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoincidentTable:
    """A table to query.

    Attributes
    ----------
    target
        The table.
    conditions
        Parameters of an address that select its rows.
    common_aspects
        What its rows share: ``time``, ``place``, or both.
    """

    target: SearchableTable
    conditions: tuple[tuple[str, str], ...]
    common_aspects: tuple[str, ...]


def find_row_time_and_place(page: RowPage, table: Table, runner: QueryRunner) -> TimeAndPlace:
    """Return the time and the place of a row; a moment becomes an hour, a point a small circle."""
    if not page.rows.num_rows:
        return TimeAndPlace()
    row = {column.name: page.rows.column(at)[0].as_py() for at, column in enumerate(page.columns)}
    time_columns = find_begin_and_end_time_columns(table)
    low, high = (
        None if column is None else to_unix_microseconds(row.get(column.name), column) for column in time_columns
    )
    if low is not None:
        high = max(low, low if high is None else high)
        margin = max(MIN_MARGIN_MICROSECONDS - (high - low) // 2, 0)
        low = low - margin
        high = high + margin
    located = TimeAndPlace(begin=low, end=high)
    if classify_table_map(table) == "sky":
        place = _build_row_sky_condition(row, table)
    else:
        place = _find_row_body_box(row, table, runner)
    return replace(located, **place)  # type: ignore[arg-type]


def list_coincident_tables(
    time_and_place: TimeAndPlace,
    tables: Sequence[Table],
    runner: QueryRunner,
    *,
    titles: Mapping[str, str | None],
    include_places: bool = True,
) -> list[CoincidentTable]:
    """List the tables that may have rows at a time and place, without those known to be of other times.

    Parameters
    ----------
    time_and_place
        Time and place of the rows.
    tables
        Tables of this site.
    runner
        Runs queries for the reader.
    titles
        Titles of collections.
    include_places
        True: also list tables that share only the place.

    Returns
    -------
    coincident_tables
        Each table with its conditions.
    """
    related = []
    for table in tables:
        time_conditions = _build_time_conditions(table, time_and_place)
        if include_places:
            place_conditions = _build_place_conditions(table, time_and_place, runner)
        else:
            place_conditions = []
        is_at_other_time = bool(time_conditions) and _has_no_rows_at_time(table, time_and_place, runner)
        if is_at_other_time or not (time_conditions or place_conditions):
            continue
        title_parts = dict.fromkeys((titles.get(table.schema), table.title or table.name))
        title = " - ".join(part for part in title_parts if part)
        common_aspects = []
        if time_conditions:
            common_aspects.append("time")
        if place_conditions:
            common_aspects.append("place")
        target = global_search.SearchableTable(name=table.qualified_name, title=title, table=table)
        conditions = (*time_conditions, *place_conditions)
        related.append(CoincidentTable(target=target, conditions=conditions, common_aspects=tuple(common_aspects)))
    return related


def count_coincident_rows(
    coincident_tables: Sequence[CoincidentTable],
    runner: QueryRunner,
    *,
    timeout_seconds: float,
    wait_seconds: float | None = None,
    on_result: Callable[[CoincidentTable, TableQueryOutcome], None] | None = None,
) -> list[tuple[CoincidentTable, TableQueryOutcome]]:
    """Count the rows of tables in parallel, the most first; tables that take too long have the status ``late``.

    Parameters
    ----------
    coincident_tables
        Tables and their conditions; the first `MAX_TABLES` are counted.
    runner
        Runs queries for the reader.
    timeout_seconds
        Time for one table.
    wait_seconds
        Time for the whole answer: counts that take longer go on, and are cached.
    on_result
        Called for tables with rows, in the thread that counted them.

    Returns
    -------
    results
        The result of each table.
    """
    related_by_key = {related_table.target.key: related_table for related_table in coincident_tables[:MAX_TABLES]}

    def count_one(target: SearchableTable) -> TableQueryOutcome:
        other = related_by_key[target.key]
        target_result = global_search.query_searchable_table(
            target, other.conditions, "epn", runner, timeout_seconds=timeout_seconds
        )
        if target_result.row_count and on_result is not None:
            on_result(other, target_result)
        return target_result

    targets = [related_table.target for related_table in related_by_key.values()]
    answer_timeout = timeout_seconds if wait_seconds is None else wait_seconds
    answers = global_search.query_searchable_tables(targets, count_one, timeout_seconds=answer_timeout)
    results = [(related_by_key[target_result.target.key], target_result) for target_result in answers]
    return sorted(results, key=lambda pair: -(pair[1].row_count or 0))


def format_instant(instant: int) -> str:
    """Format microseconds since 1970 as an ISO time."""
    return f"{np.datetime64(instant, 'us')}Z"


def _build_time_conditions(table: Table, time_and_place: TimeAndPlace) -> list[tuple[str, str]]:
    """Build the conditions that a row overlaps a time; none if the table has no times."""
    begin, end = find_begin_and_end_time_columns(table)
    if begin is None or end is None or time_and_place.begin is None or time_and_place.end is None:
        return []
    start = format_instant(time_and_place.begin)
    stop = format_instant(time_and_place.end)
    if begin.name == end.name:
        return [(quote_parameter_name(begin.name), f"{start}..{stop}")]
    return [(quote_parameter_name(begin.name), f"..{stop}"), (quote_parameter_name(end.name), f"{start}..")]


def _build_place_conditions(table: Table, time_and_place: TimeAndPlace, runner: QueryRunner) -> list[tuple[str, str]]:
    """Build the conditions that a row overlaps a place; none if the table has no such places."""
    if time_and_place.sky_condition is not None:
        if classify_table_map(table) == "sky":
            return [time_and_place.sky_condition]
        return []
    map_frame = find_map_frame(table)
    if time_and_place.body_box is None or map_frame is None or map_frame.radius or not time_and_place.body:
        return []
    west, south, east, north = time_and_place.body_box
    box = [
        (quote_parameter_name(map_frame.fields[0]), f"{west:.6g}..{east:.6g}"),
        (quote_parameter_name(map_frame.fields[1]), f"{south:.6g}..{north:.6g}"),
    ]
    if east - west >= 360:
        box = box[1:]
    column = _find_body_column(table)
    if column is not None:
        return [(quote_parameter_name(column.name), time_and_place.body), *box]
    if find_single_body(table, (), runner) == time_and_place.body:
        return box
    return []


def _has_no_rows_at_time(table: Table, time_and_place: TimeAndPlace, runner: QueryRunner) -> bool:
    """Return whether all rows of a table are known to be before or after a time."""
    statistics = runner.find_table_with_visible_counts(table).statistics
    begin, end = find_begin_and_end_time_columns(table)
    if begin is None or end is None or time_and_place.begin is None or time_and_place.end is None:
        return False
    low = _to_unix_microseconds_or_none(statistics.get(begin.name, {}).get("minimum"), begin)
    high = _to_unix_microseconds_or_none(statistics.get(end.name, {}).get("maximum"), end)
    is_later = low is not None and low > time_and_place.end
    is_earlier = high is not None and high < time_and_place.begin
    return is_later or is_earlier


def _to_unix_microseconds_or_none(value: object, column: Column) -> int | None:
    try:
        return to_unix_microseconds(value, column)
    except ValueError:
        return None


def _build_row_sky_condition(row: Mapping[str, object], table: Table) -> dict[str, object]:
    """Return the condition on the sky: a circle around the position, as wide as the field of view, or the outline."""
    region = find_footprint_column(table)
    outline = None
    if region is not None:
        outline_text = str(row.get(region.name) or "")[: MAX_OUTLINE_CHARACTERS + 1]
        outline = OUTLINE_PATTERN.fullmatch(outline_text)
    if table.position is not None:
        lon, lat = (_to_finite_float(row.get(name)) for name in table.position)
        if lon is not None and lat is not None:
            field_sizes = [value for name, value in row.items() if name.lower() == "s_fov"]
            field_of_view = None
            if field_sizes:
                field_of_view = _to_finite_float(field_sizes[0])
            radius = SKY_RADIUS_DEGREES
            if field_of_view is not None:
                radius = min(max(field_of_view / 2, SKY_RADIUS_DEGREES), MAX_RADIUS_DEGREES)
            return {"sky_condition": (NEAR_PARAMETER, f"{lon!r},{lat!r},{radius:.6g}")}
    if outline is not None:
        numbers = " ".join(outline[2].split())
        return {"sky_condition": (REGION_PARAMETER, f"{outline[1].upper()} {numbers}")}
    return {}


def _find_row_body_box(row: Mapping[str, object], table: Table, runner: QueryRunner) -> dict[str, object]:
    """Return the body of a row and its box there; none on the disc of the Sun, whose places rotate out of view."""
    map_frame = find_map_frame(table)
    column = _find_body_column(table)
    if map_frame is None or map_frame.radius:
        return {}
    if column is not None:
        body = str(row.get(column.name) or "")
    else:
        body = find_single_body(table, (), runner)
    west, south, east, north = (_to_finite_float(row.get(name)) for name in map_frame.bounds)
    if not BODY_NAME_PATTERN.fullmatch(body) or west is None or south is None or east is None or north is None:
        return {}
    if west == east and south == north:
        longitude_margin = BODY_MARGIN_DEGREES / max(math.cos(math.radians(south)), 0.05)
        west = west - longitude_margin
        east = east + longitude_margin
        south = max(south - BODY_MARGIN_DEGREES, -90.0)
        north = min(north + BODY_MARGIN_DEGREES, 90.0)
    return {"body": body, "body_box": (west, south, east, north)}


def _find_body_column(table: Table) -> Column | None:
    for column_name in BODY_COLUMNS:
        for column in table.columns:
            if column.name.lower() == column_name and column.type.is_string and not column.hidden:
                return column
    return None


def _to_finite_float(value: object) -> float | None:
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None
