"""Read the rows of tables that overlap a time span: bursts, observations and images, with their shapes and pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import quote_adql_name
from hven.model.errors import NotFoundError, format_message
from hven.model.table import find_begin_and_end_time_columns
from hven.plugins.series.column_times import to_instant, to_instants, write_instant_literal
from hven.plugins.tfcat.tfcat_features import CRS_UTYPE, GEOMETRY_UTYPE
from hven.portal.api.table_rows import format_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.model.table import Column, Table

    Numbers = npt.NDArray[np.float64]
    RowQuery = Callable[[str, int], pa.Table]  # runs a query with the rights of the reader, up to a number of rows

MAX_EVENTS = 2000
MAX_PICTURES = 12  # pictures below the marks, spread over the span
MAX_GEOMETRY_CHARACTERS = 8_000_000  # of all rows
LIGHT_SPEED = 299_792_458.0  # m/s
DAY_MICROSECONDS = 86_400_000_000
SECOND_MICROSECONDS = 1_000_000
# clock of TFCat -> microseconds since 1970 of its zero, and microseconds of its unit
_CLOCKS = {
    "unix": (0.0, 1e6),
    "jd": (-2_440_587.5 * DAY_MICROSECONDS, DAY_MICROSECONDS),
    "mjd": (-40_587.0 * DAY_MICROSECONDS, DAY_MICROSECONDS),
    "mjd_cnes": (-7_305.0 * DAY_MICROSECONDS, DAY_MICROSECONDS),
    "mjd_nasa": (-587.0 * DAY_MICROSECONDS, DAY_MICROSECONDS),
}
HERTZ_PER_UNIT = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}
_RANGE_NAMES = (("spectral_range_min", "spectral_range_max"), ("em_min", "em_max"))


@dataclass(frozen=True, slots=True)
class TimeFrequencyShape:
    """A point, a line or an area in time and frequency.

    Attributes
    ----------
    instants
        Microseconds since 1970.
    hertz
        Frequencies.
    is_closed
        Whether the last point is connected to the first one.
    row
        Number of the row.
    """

    instants: Numbers
    hertz: Numbers
    is_closed: bool
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEvents:
    """The rows of a table in a time span.

    Attributes
    ----------
    begins, ends
        Times in microseconds since 1970, in the order of their begins.
    labels, urls
        A name and a page for each row.
    pictures
        Addresses of pictures, empty for rows without one; no items: the table has none.
    boxes
        Lowest and highest frequency of each row without a shape, in Hz; NaN where it is not known. None: the table has
        no frequencies.
    shapes
        Shapes in time and frequency.
    notes
        What the reader should know about the rows.
    """

    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    labels: Sequence[str]
    urls: Sequence[str]
    pictures: Sequence[str] = ()
    boxes: tuple[Numbers, Numbers] | None = None
    shapes: Sequence[TimeFrequencyShape] = ()
    notes: Sequence[str] = ()

    def choose_pictures(self) -> list[tuple[int, str]]:
        """Choose pictures that are spread over the rows: numbers of rows, and addresses."""
        numbers = [number for number, address in enumerate(self.pictures) if address.startswith(("http:", "https:"))]
        step = max(-(-len(numbers) // MAX_PICTURES), 1)
        return [(number, self.pictures[number]) for number in numbers[::step]]


def find_table_span(query_rows: RowQuery, table: Table) -> tuple[int, int] | None:
    """Find the times of the first and the last row that the reader may see; None if there are none."""
    begin, end = _require_time_columns(table)
    low = f"MIN({quote_adql_name(begin.name)}) AS low"
    high = f"MAX({quote_adql_name(end.name)}) AS high, MAX({quote_adql_name(begin.name)}) AS latest"
    (row,) = query_rows(f"SELECT {low}, {high} FROM {_write_table_name(table)}", 1).to_pylist()
    lasts = [
        to_instant(row[name], column) for name, column in (("high", end), ("latest", begin)) if row[name] is not None
    ]
    if row["low"] is None or not lasts:
        return None
    first, last = to_instant(row["low"], begin), max(lasts)
    margin = max((last - first) // 50, SECOND_MICROSECONDS)
    return first - margin, last + margin


def write_events_query(table: Table, start: int, stop: int) -> str:
    """Write the ADQL query of all columns of the rows that overlap a time span, in microseconds since 1970."""
    begin, end = _require_time_columns(table)
    condition = _write_overlap_condition(begin, end, start, stop)
    order = quote_adql_name(begin.name)
    return f"SELECT TOP {MAX_EVENTS} * FROM {_write_table_name(table)} WHERE {condition} ORDER BY {order}"


def read_table_events(query_rows: RowQuery, table: Table, start: int, stop: int, table_address: str) -> TableEvents:
    """Read the rows that overlap a time span.

    Parameters
    ----------
    query_rows
        Runs a query with the rights of the reader.
    table
        A table that the reader may see.
    start, stop
        Microseconds since 1970.
    table_address
        Address of the table's page.

    Raises
    ------
    HvenError
        The rows have no times, or as for any query.
    """
    begin, end = _require_time_columns(table)
    columns = {column.name: column for column in table.columns}
    range_names = next((names for names in _RANGE_NAMES if columns.keys() >= set(names)), ())
    geometry = next((column.name for column in table.columns if column.utype == GEOMETRY_UTYPE), None)
    picture = _find_picture_column(table)
    label = table.identifier_column
    names = [begin.name, end.name, *table.primary, *range_names]
    names += [name for name in (geometry, picture, label.name if label is not None else None) if name is not None]
    select_list = ", ".join(quote_adql_name(name) for name in dict.fromkeys(names))
    condition = _write_overlap_condition(begin, end, start, stop)
    adql = (
        f"SELECT TOP {MAX_EVENTS + 1} {select_list} FROM {_write_table_name(table)} WHERE {condition} "
        f"ORDER BY {quote_adql_name(begin.name)}"
    )
    rows = query_rows(adql, MAX_EVENTS + 1)
    notes = []
    if rows.num_rows > MAX_EVENTS:
        rows = rows.slice(0, MAX_EVENTS)
        notes.append(format_message("This panel shows the first {limit:,} rows of this time span.", MAX_EVENTS))
    elif not rows.num_rows:
        notes.append(format_message("There are no rows in this time span."))
    begins = _read_instants(rows, begin)
    ends = np.maximum(np.where(_read_instants(rows, end) == _MISSING, begins, _read_instants(rows, end)), begins)
    keys = format_keys(rows, table.primary)
    if label is not None:
        texts = rows.column(label.name).to_pylist()
    else:
        texts = [""] * rows.num_rows
    shapes = []
    if geometry:
        shapes = list(_read_shapes(rows, geometry, table))
    boxes = None
    if range_names:
        boxes = _read_frequency_ranges(rows, range_names, columns)
    if boxes is not None:  # a shape is exact, and its box would hide it
        boxes[0][[shape.row for shape in shapes]] = np.nan
    return TableEvents(
        begins=begins,
        ends=ends,
        labels=["" if text is None else str(text) for text in texts],
        urls=[f"{table_address}?_row={quote(key, safe='')}" if key else table_address for key in keys],
        pictures=[str(address or "") for address in rows.column(picture).to_pylist()] if picture else (),
        boxes=boxes,
        shapes=shapes,
        notes=notes,
    )


_MISSING = np.iinfo(np.int64).min


def _read_instants(rows: pa.Table, column: Column) -> npt.NDArray[np.int64]:
    instants = to_instants(rows.column(column.name).combine_chunks(), column)
    return np.asarray(pc.fill_null(instants, int(_MISSING)), np.int64)


def _require_time_columns(table: Table) -> tuple[Column, Column]:
    begin, end = find_begin_and_end_time_columns(table)
    if begin is None:
        message = format_message("the rows of {name} have no times", table.qualified_name)
        raise NotFoundError(message, remedy="add a table whose columns have UCDs such as time.start or time.epoch")
    return begin, end or begin


def _write_table_name(table: Table) -> str:
    return f"{quote_adql_name(table.schema)}.{quote_adql_name(table.name)}"


def _write_overlap_condition(begin: Column, end: Column, start: int, stop: int) -> str:
    first, last = quote_adql_name(begin.name), quote_adql_name(end.name)
    starts_before_end = f"{first} < {write_instant_literal(stop, begin)}"
    if end is begin:
        return f"{first} >= {write_instant_literal(start, begin)} AND {starts_before_end}"
    ends_after_start = f"{last} >= {write_instant_literal(start, end)}"
    is_moment = f"{last} IS NULL AND {first} >= {write_instant_literal(start, begin)}"
    return f"({ends_after_start} OR ({is_moment})) AND {starts_before_end}"


def _find_picture_column(table: Table) -> str | None:
    """Find the column of the addresses of small pictures."""
    for column in table.columns:
        ucd = (column.ucd or "").lower()
        if not column.hidden and (
            column.name == "thumbnail_url" or (ucd.startswith("meta.ref.url") and "preview" in ucd)
        ):
            return column.name
    return None


def _read_frequency_ranges(
    rows: pa.Table, names: tuple[str, ...], columns: Mapping[str, Column]
) -> tuple[Numbers, Numbers] | None:
    """Read ranges in Hz; wavelengths are converted."""
    low, high = (
        np.asarray(pc.cast(rows.column(name).combine_chunks(), pa.float64()).to_numpy(zero_copy_only=False))
        for name in names
    )
    unit = columns[names[0]].unit or ""
    if unit == "m":
        with np.errstate(divide="ignore"):
            return LIGHT_SPEED / high, LIGHT_SPEED / low
    scale = HERTZ_PER_UNIT.get(unit)
    if scale is None:
        return None
    return (low * scale, high * scale)


def find_range_columns(table: Table) -> tuple[tuple[str, str], Callable[[float], float]] | None:
    """Find the columns of the range of a row's frequencies, and what converts Hz to their unit; None: no columns."""
    columns = {column.name: column for column in table.columns}
    names = next((names for names in _RANGE_NAMES if columns.keys() >= set(names)), None)
    if names is None:
        return None
    unit = columns[names[0]].unit or ""
    if unit == "m":
        return names, lambda hertz: LIGHT_SPEED / hertz if hertz else math.inf
    scale = HERTZ_PER_UNIT.get(unit)
    if scale is None:
        return None
    return (names, lambda hertz: hertz / scale)


def read_shape_axes(table: Table) -> tuple[float, float, float] | None:
    """Read the axes of a table's shapes: microseconds of zero, of the unit of time, and Hz of the unit of frequency.

    None: they are not known.
    """
    text = next((constant.value for constant in table.params if constant.utype == CRS_UTYPE), None)
    try:
        crs = orjson.loads(text or "{}")["properties"]
        origin, unit = _CLOCKS[crs["time_coords_id"]]
        scale = HERTZ_PER_UNIT[crs["spectral_coords"]["unit"]]
        return (origin, unit, scale) if crs["spectral_coords"]["type"] == "frequency" else None
    except (ValueError, KeyError, TypeError):
        return None


def _read_shapes(rows: pa.Table, name: str, table: Table) -> Iterator[TimeFrequencyShape]:
    """Read shapes of TFCat; none if their clock or their axis is not known."""
    axes = read_shape_axes(table)
    if axes is None:
        return
    origin, unit, scale = axes
    character_count = 0
    for row, geometry_text in enumerate(rows.column(name).to_pylist()):  # at most MAX_EVENTS
        character_count += len(geometry_text or "")
        if character_count > MAX_GEOMETRY_CHARACTERS:
            return
        try:
            geometry = orjson.loads(geometry_text or "{}")
        except ValueError:
            continue
        for points, is_closed in _list_traces(geometry):
            pairs = np.asarray(points, np.float64)
            if pairs.ndim == 2 and pairs.shape[1] == 2 and np.isfinite(pairs).all():
                yield TimeFrequencyShape(pairs[:, 0] * unit + origin, pairs[:, 1] * scale, is_closed, row)


def _list_traces(geometry: Any, depth: int = 0) -> Iterator[tuple[Any, bool]]:
    """List the points of a geometry of GeoJSON, line by line, and whether a line is closed."""
    if not isinstance(geometry, dict) or depth > 4:
        return
    coordinates = geometry.get("coordinates") or []
    match geometry.get("type"):
        case "Point":
            yield [coordinates], False
        case "MultiPoint":
            yield from (([point], False) for point in coordinates)
        case "LineString":
            yield coordinates, False
        case "MultiLineString":
            yield from ((line, False) for line in coordinates)
        case "Polygon":
            yield from ((ring, True) for ring in coordinates)
        case "MultiPolygon":
            yield from ((ring, True) for polygon in coordinates for ring in polygon)
        case "GeometryCollection":
            for part in geometry.get("geometries") or []:
                yield from _list_traces(part, depth + 1)


def compute_lanes(begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], gap: int, limit: int) -> list[int]:
    """Give each event a lane in which no other one overlaps it; more than `limit` lanes are used again.

    Parameters
    ----------
    begins, ends
        Times of the events, in the order of their begins.
    gap
        Shortest time between two events of a lane.
    limit
        Maximum number of lanes.
    """
    lane_ends = [-math.inf] * limit
    lanes: list[int] = []
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):  # at most MAX_EVENTS
        lane = next(
            (number for number, lane_end in enumerate(lane_ends) if lane_end + gap <= begin), len(lanes) % limit
        )
        lane_ends[lane] = max(end, lane_ends[lane])
        lanes.append(lane)
    return lanes
