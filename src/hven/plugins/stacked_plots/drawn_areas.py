"""Areas in time and frequency that readers draw: parse them, find the rows that touch them, and offer them as rows.

The address has an area as ``_in=2003-10-28T11:00 1.5e6, 2003-10-28T11:20 1.2e7, ..``: times and frequencies in Hz.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.errors import ParamError, format_message
from hven.model.table import find_begin_and_end_time_columns
from hven.plugins.series.time_texts import (
    DAY_MICROSECONDS,
    UNIX_EPOCH_JD,
    format_instant,
    parse_time_as_microseconds,
)
from hven.plugins.stacked_plots.table_events import TableEvents, TimeFrequencyShape, find_range_columns, read_shape_axes
from hven.plugins.tfcat.tfcat_features import GEOMETRY_UTYPE

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.table import Column, Table

    Numbers = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

AREA_NAME = "_in"
MIN_CORNERS, MAX_CORNERS = 3, 100
MAX_AREA_CHARACTERS = 8000
MAX_HERTZ = 1e21
ROUNDING_ERROR = 1e-12  # of places as shares of the area's extent
_REMEDY = "write at least three corners, such as _in=2003-10-28T11:00 1e6, 2003-10-28T11:20 1e6, 2003-10-28T11:10 9e6"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnArea:
    """An area in time and frequency.

    Attributes
    ----------
    instants
        Times of the corners in microseconds since 1970.
    hertz
        Frequencies of the corners.
    """

    instants: tuple[int, ...]
    hertz: tuple[float, ...]

    def to_text(self) -> str:
        """Write the area as in an address."""
        times = [format_instant(instant).removesuffix("Z").rstrip("0").rstrip(".") for instant in self.instants]
        return ", ".join(f"{time} {hertz:.9g}" for time, hertz in zip(times, self.hertz, strict=True))

    @property
    def time_limits(self) -> tuple[int, int]:
        """The first and the last time."""
        return min(self.instants), max(self.instants)

    @property
    def hertz_limits(self) -> tuple[float, float]:
        """The lowest and the highest frequency."""
        return min(self.hertz), max(self.hertz)

    def to_shape(self) -> TimeFrequencyShape:
        """Return the outline as a shape that plots draw."""
        return TimeFrequencyShape(np.array(self.instants, np.float64), np.array(self.hertz), is_closed=True, row=0)


def parse_drawn_area(text: str) -> DrawnArea | None:
    """Parse an area; None for an empty text.

    Raises
    ------
    ParamError
        The text is no area, it has too many corners, or its lines cross.
    """
    if not text.strip():
        return None
    if len(text) > MAX_AREA_CHARACTERS:
        raise _build_area_error(format_message("the area has more than {limit} corners", MAX_CORNERS))
    instants, hertz = [], []
    for corner in filter(None, (part.strip() for part in text.split(","))):
        time_text, _, number_text = corner.rpartition(" ")
        try:
            instant, number = parse_time_as_microseconds(time_text.strip().replace(" ", "T")), float(number_text)
            format_instant(instant)
        except (ValueError, OverflowError):
            message = format_message("{corner!r:.60} is not a time and a frequency", corner)
            raise _build_area_error(message) from None
        if not 0 <= number <= MAX_HERTZ:
            raise _build_area_error(format_message("{corner!r:.60} is not a time and a frequency", corner))
        instants.append(instant)
        hertz.append(number)
    if not MIN_CORNERS <= len(instants) <= MAX_CORNERS:
        message = format_message("the area has {count} corners; it needs 3 to {limit}", len(instants), MAX_CORNERS)
        raise _build_area_error(message)
    area = DrawnArea(instants=tuple(instants), hertz=tuple(hertz))
    if _has_crossing_lines(area):
        raise _build_area_error(format_message("the lines of the area cross or lie on one another"))
    return area


def _build_area_error(message: Any) -> ParamError:
    return ParamError(message, name=AREA_NAME, remedy=_REMEDY)


def _scale_to_area(area: DrawnArea, instants: Any, hertz: Any) -> tuple[Numbers, Numbers]:
    """Return times and frequencies as shares of the area's extent, so that both have the same weight."""
    (first, last), (low, high) = area.time_limits, area.hertz_limits
    x = (np.asarray(instants, np.float64) - first) / max(last - first, 1)
    return x, (np.asarray(hertz, np.float64) - low) / ((high - low) or 1.0)


def _has_crossing_lines(area: DrawnArea) -> bool:
    """Return whether two sides that are no neighbours touch, or the area has no extent."""
    x, y = _scale_to_area(area, area.instants, area.hertz)
    count = len(x)
    doubled_area = float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
    if abs(doubled_area) < 1e-9:
        return True
    ends = np.roll(np.arange(count), -1)
    for side in range(count - 2):
        others = np.arange(side + 2, count - (side == 0))
        if _find_crossing_lines(
            (x[side], y[side], x[ends[side]], y[ends[side]]), x[others], y[others], x[ends[others]], y[ends[others]]
        ).any():
            return True
    return False


def _find_crossing_lines(
    side: tuple[float, float, float, float], x1: Numbers, y1: Numbers, x2: Numbers, y2: Numbers
) -> npt.NDArray[np.bool_]:
    """Return which lines touch or cross one side; a point is a line of length 0."""
    from_x, from_y, to_x, to_y = side
    margin = ROUNDING_ERROR
    first = (to_x - from_x) * (y1 - from_y) - (to_y - from_y) * (x1 - from_x)
    second = (to_x - from_x) * (y2 - from_y) - (to_y - from_y) * (x2 - from_x)
    begin = (x2 - x1) * (from_y - y1) - (y2 - y1) * (from_x - x1)
    end = (x2 - x1) * (to_y - y1) - (y2 - y1) * (to_x - x1)
    first, second, begin, end = (np.where(np.abs(turn) <= margin, 0.0, turn) for turn in (first, second, begin, end))
    overlaps = (
        (np.minimum(x1, x2) <= max(from_x, to_x) + margin)
        & (np.maximum(x1, x2) >= min(from_x, to_x) - margin)
        & (np.minimum(y1, y2) <= max(from_y, to_y) + margin)
        & (np.maximum(y1, y2) >= min(from_y, to_y) - margin)
    )
    return np.asarray((first * second <= 0) & (begin * end <= 0) & overlaps)


def _find_contained_points(x: Numbers, y: Numbers, at_x: Numbers, at_y: Numbers) -> Flags:
    """Return which points lie inside a ring (even-odd rule)."""
    is_inside = np.zeros(len(at_x), np.bool_)
    for index in range(len(x)):
        x1, y1, x2, y2 = x[index - 1], y[index - 1], x[index], y[index]
        if y1 == y2:
            continue
        crosses = ((y1 > at_y) != (y2 > at_y)) & (at_x < x1 + (at_y - y1) / (y2 - y1) * (x2 - x1))
        is_inside ^= crosses
    return is_inside


def find_touched_rows(area: DrawnArea, events: TableEvents) -> Flags:
    """Find the rows whose shape, or else whose box, touches an area; rows without frequencies need only its times."""
    first, last = area.time_limits
    is_touched = np.asarray((events.begins <= last) & (events.ends >= first), np.bool_)
    parts = [(shape.row, shape.instants, shape.hertz, shape.is_closed) for shape in events.shapes]
    if events.boxes is not None:
        low, high = events.boxes
        for row in np.flatnonzero(np.isfinite(low) & np.isfinite(high)).tolist():  # at most MAX_EVENTS
            begin, end = float(events.begins[row]), float(events.ends[row])
            times = np.array([begin, end, end, begin])
            parts.append((row, times, np.array([low[row], low[row], high[row], high[row]]), True))
    if not parts:
        return is_touched
    sizes = np.array([len(times) for _, times, _, _ in parts])
    owners = np.repeat(np.arange(len(parts)), sizes)
    x, y = _scale_to_area(
        area, np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts])
    )
    begins = np.cumsum(sizes) - sizes
    following = np.arange(len(x)) + 1
    is_closed = np.array([part[3] for part in parts])
    ends = begins + sizes - 1
    following[ends] = np.where(is_closed, begins, ends)
    ring_x, ring_y = _scale_to_area(area, area.instants, area.hertz)
    hits = _find_contained_points(ring_x, ring_y, x, y)
    for index in range(len(ring_x)):
        side = (float(ring_x[index - 1]), float(ring_y[index - 1]), float(ring_x[index]), float(ring_y[index]))
        hits |= _find_crossing_lines(side, x, y, x[following], y[following])
    is_hit = np.zeros(len(parts), np.bool_)
    np.logical_or.at(is_hit, owners, hits)
    # an area that lies inside of a shape touches none of its sides
    crossings = (y > ring_y[0]) != (y[following] > ring_y[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings &= ring_x[0] < x + (ring_y[0] - y) / (y[following] - y) * (x[following] - x)
    is_around = np.bincount(owners, crossings, len(parts)).astype(np.int64) % 2 == 1
    is_hit |= is_around & is_closed
    rows = np.array([part[0] for part in parts])
    has_shape = np.zeros(len(is_touched), np.bool_)
    has_shape[rows] = True
    by_shape = np.zeros(len(is_touched), np.bool_)
    by_shape[rows[is_hit]] = True
    return np.asarray(np.where(has_shape, by_shape, is_touched))


def select_touched_rows(area: DrawnArea, events: TableEvents) -> TableEvents:
    """Keep the rows that touch an area, and say how many there were."""
    is_touched = find_touched_rows(area, events)
    rows = np.flatnonzero(is_touched).tolist()
    new_rows = np.cumsum(is_touched) - 1
    count, total = f"{len(rows):,}", f"{len(is_touched):,}"
    note = format_message("{count} of {total} rows of this time span touch the drawn area.", count, total)
    boxes = events.boxes
    return replace(
        events,
        begins=events.begins[is_touched],
        ends=events.ends[is_touched],
        labels=[events.labels[row] for row in rows],
        urls=[events.urls[row] for row in rows],
        pictures=[events.pictures[row] for row in rows] if events.pictures else (),
        boxes=None if boxes is None else (boxes[0][is_touched], boxes[1][is_touched]),
        shapes=[replace(shape, row=int(new_rows[shape.row])) for shape in events.shapes if is_touched[shape.row]],
        notes=[*events.notes, note],
    )


def write_area_values(area: DrawnArea, table: Table) -> dict[str, str]:
    """Write the area as values of the columns of a row: its geometry (TFCat), its times and its frequencies."""
    values: dict[str, str] = {}
    geometry = next((column.name for column in table.columns if column.utype == GEOMETRY_UTYPE), None)
    axes = None
    if geometry is not None:
        axes = read_shape_axes(table)
    if geometry is not None and axes is not None:
        values[geometry] = _write_tfcat_polygon(area, axes)
    begin, end = find_begin_and_end_time_columns(table)
    for column, instant in zip((begin, end), area.time_limits, strict=True):
        if column is not None:
            values[column.name] = _write_time_value(instant, column)
    ranges = find_range_columns(table)
    if ranges is not None:
        names, convert_from_hertz = ranges
        numbers = sorted(convert_from_hertz(hertz) for hertz in area.hertz_limits)
        values |= {name: f"{number:.9g}" for name, number in zip(names, numbers, strict=True) if math.isfinite(number)}
    return values


def _write_tfcat_polygon(area: DrawnArea, axes: tuple[float, float, float]) -> str:
    """Write the area as a Polygon of TFCat 1.0: closed, and counter-clockwise."""
    origin, unit, scale = axes
    corners = [
        [round((instant - origin) / unit, 9 if unit > 1e9 else 3), float(f"{hertz / scale:.9g}")]
        for instant, hertz in zip(area.instants, area.hertz, strict=True)
    ]
    x, y = _scale_to_area(area, area.instants, area.hertz)
    if float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) < 0:
        corners.reverse()
    return json.dumps({"type": "Polygon", "coordinates": [[*corners, corners[0]]]}, separators=(",", ":"))


def _write_time_value(instant: int, column: Column) -> str:
    if column.epoch is None:
        return format_instant(instant).removesuffix("Z")
    return f"{instant / DAY_MICROSECONDS + UNIX_EPOCH_JD - column.epoch:.9f}"
